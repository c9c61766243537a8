/*
 * rig.h -- a writer on a simulated disk, fed by a snapshot whose parts follow from the checkpoint's
 * id, and the comparison of what restore hands out with the same rule.
 *
 * Rule: checkpoint `id` of a slot holds origins 1..4 (streams), 50 (a local file), 100 + id, and
 *       100 + id - 1 (streams). With a base,
 * what the base holds too is REUSEd.
 */
#ifndef CISTERN_TEST_RIG_H
#define CISTERN_TEST_RIG_H

#include "test.h"

#include "io_private.h"
#include "sim_private.h"

#include "cistern/alloc.h"
#include "cistern/backend_ops.h"
#include "cistern/error.h"
#include "cistern/hash.h"
#include "cistern/restore.h"
#include "cistern/writer.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define RIG_SLOTS 2u
#define RIG_ROOT "/job"
#define RIG_LOCAL "/local.sst"

struct rig {
    struct sim_disk *disk;
    struct cistern_io *io;
    struct cistern_store *store;
    struct cistern_writer *writer;
    uint32_t done_count;
    uint32_t statuses[RIG_SLOTS];
    struct cistern_error error; /* of the last failed upload */
    struct cistern_upload_result results[RIG_SLOTS];
    char *slices[RIG_SLOTS];
};

static inline uint64_t rig_bytes(uint32_t origin)
{
    return origin == 3 ? 0 : 3000 + 37 * (uint64_t)origin;
}

static inline uint8_t rig_byte(uint32_t origin, uint64_t at)
{
    return (uint8_t)(131 * origin + 7 * at + (at >> 8));
}

static inline int rig_holds(uint64_t id, uint32_t origin)
{
    return id != 0 && ((origin >= 1 && origin <= 4) || origin == 50 || origin == 100 + id ||
                          (id > 1 && origin == 99 + id));
}

/* ---- the snapshot ---- */
/* where the local file is; NULL = origin 50 is a stream too */
static const char *rig_local = RIG_LOCAL;
struct rig_snapshot {
    struct cistern_snapshot base; /* first */
    uint64_t id;
    uint64_t base_id;
    uint32_t slot;
    uint32_t busy;   /* answers BUSY until it is 0 */
    uint32_t origin; /* the current one */
    uint64_t offset;
    uint32_t wrong_hash;
};

static inline uint32_t rig_next(
    struct cistern_snapshot *given, struct cistern_part *part, struct cistern_error *error)
{
    struct rig_snapshot *snapshot = (struct rig_snapshot *)given;
    static char name[32];
    (void)error;
    if (snapshot->busy) {
        return CISTERN_BUSY;
    }
    do {
        snapshot->origin++;
    } while (snapshot->origin <= 100 + snapshot->id && !rig_holds(snapshot->id, snapshot->origin));
    if (snapshot->origin > 100 + snapshot->id) {
        return CISTERN_NOT_FOUND;
    }
    snapshot->offset = 0;
    snprintf(name, sizeof name, "%06u.sst", snapshot->origin);
    *part = (struct cistern_part){.kind = CISTERN_PART_STREAM,
        .role = CISTERN_ROLE_SST,
        .restore_name = name,
        .range = {0, 127}};
    part->origin[0] = (uint8_t)(snapshot->slot + 1);
    part->origin[1] = (uint8_t)snapshot->origin;
    part->origin[2] = (uint8_t)(snapshot->origin >> 8);
    if (rig_holds(snapshot->base_id, snapshot->origin)) {
        part->kind = CISTERN_PART_REUSE;
        part->bytes = rig_bytes(snapshot->origin);
    } else if (snapshot->origin == 50 && rig_local != NULL) {
        part->kind = CISTERN_PART_FILE;
        part->local_path = rig_local;
        part->bytes = rig_bytes(50);
        part->has_hash = snapshot->slot == 0;
        uint8_t content[8192];
        for (uint64_t at = 0; at < part->bytes; at++) {
            content[at] = rig_byte(50, at);
        }
        struct cistern_hash128 hash = cistern_hash128(content, part->bytes);
        memcpy(part->content_hash, hash.bytes, sizeof hash.bytes);
    }
    return CISTERN_OK;
}

static inline uint32_t rig_read(struct cistern_snapshot *given, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct rig_snapshot *snapshot = (struct rig_snapshot *)given;
    uint64_t left = rig_bytes(snapshot->origin) - snapshot->offset;
    (void)error;
    *ret_bytes = left < into.capacity_bytes ? left : into.capacity_bytes;
    *ret_bytes = *ret_bytes > 1000 ? 1000 : *ret_bytes;
    for (uint64_t at = 0; at < *ret_bytes; at++) {
        ((uint8_t *)into.data)[at] = rig_byte(snapshot->origin, snapshot->offset + at);
    }
    snapshot->offset += *ret_bytes;
    return CISTERN_OK;
}

static inline void rig_release(struct cistern_snapshot *snapshot)
{
    free(snapshot);
}

static inline struct rig_snapshot *rig_snapshot(uint64_t id, uint64_t base_id, uint32_t slot)
{
    static const struct cistern_backend_ops ops = {.size = sizeof ops,
        .name = "rig",
        .snapshot_next = rig_next,
        .snapshot_read = rig_read,
        .snapshot_release = rig_release};
    static struct cistern_backend backend = {.ops = &ops};
    struct rig_snapshot *snapshot = calloc(1, sizeof *snapshot);
    snapshot->base.backend = &backend;
    snapshot->base.checkpoint_id = id;
    snapshot->id = id;
    snapshot->base_id = base_id;
    snapshot->slot = slot;
    snapshot->base.states = cistern_allocate_zeroed(1, sizeof(struct cistern_state_info));
    if (snapshot->base.states != NULL) {
        snapshot->base.state_count = 1;
        snapshot->base.states[0] = (struct cistern_state_info){
            .name = "words", .id = 1, .kind = CISTERN_VALUE, .entries = id};
    }
    __atomic_add_fetch(&backend.snapshots_in_flight, 1, __ATOMIC_RELAXED);
    return snapshot;
}

/* ---- the rig ---- */
static inline void rig_write_local(struct rig *rig)
{
    uint8_t content[8192];
    uint64_t bytes = rig_bytes(50);
    for (uint64_t at = 0; at < bytes; at++) {
        content[at] = rig_byte(50, at);
    }
    struct cistern_io_operation open = {
        .opcode = CISTERN_IO_OPEN, .path = rig_local, .flags = O_RDWR | O_CREAT, .mode = 0644};
    int64_t fd = cistern_io_run(rig->io, &open);
    assert_true(fd >= 0);
    struct cistern_io_operation write = {
        .opcode = CISTERN_IO_WRITE, .fd = (int32_t)fd, .data = content, .bytes = bytes};
    assert_int_equal(cistern_io_run(rig->io, &write), bytes);
    struct cistern_io_operation close = {.opcode = CISTERN_IO_CLOSE, .fd = (int32_t)fd};
    (void)cistern_io_run(rig->io, &close);
}

static inline uint32_t rig_try_writer(struct rig *rig, struct cistern_writer **ret_writer,
    uint32_t takeover, struct cistern_error *error)
{
    struct cistern_writer_options options = {.job_name = "rig",
        .key_group_hash = "bytes-xxh3",
        .max_parallelism = 128,
        .start = CISTERN_START_CONTINUE,
        .takeover = takeover,
        .slot_count = RIG_SLOTS};
    return cistern_writer_open(rig->store, &options, ret_writer, error);
}

static inline uint32_t rig_try_open(struct rig *rig, struct cistern_error *error)
{
    uint32_t status = cistern_store_open(rig->io, RIG_ROOT, 1, &rig->store, error);
    return status == CISTERN_OK ? rig_try_writer(rig, &rig->writer, 0, error) : status;
}

static inline void rig_disk(struct rig *rig, uint64_t seed)
{
    struct cistern_error error;
    memset(rig, 0, sizeof *rig);
    rig->disk = sim_disk_create(seed);
    assert_ok(io_create_simulated(NULL, rig->disk, 0, &rig->io, &error), error);
    rig_write_local(rig);
}

static inline void rig_open(struct rig *rig, uint64_t seed)
{
    struct cistern_error error;
    rig_disk(rig, seed);
    assert_ok(rig_try_open(rig, &error), error);
}

static inline void rig_shut(struct rig *rig)
{
    cistern_writer_close(rig->writer);
    cistern_store_close(rig->store);
    rig->writer = NULL;
    rig->store = NULL;
}

static inline void rig_close(struct rig *rig)
{
    rig_shut(rig);
    for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
        free(rig->slices[slot]);
    }
    cistern_io_destroy(rig->io);
    sim_disk_destroy(rig->disk);
}

static inline void rig_done(void *arg, const struct cistern_upload_result *result)
{
    struct rig *rig = arg;
    rig->statuses[result->slot_index] = result->status;
    rig->results[result->slot_index] = *result;
    if (result->status == CISTERN_OK) {
        free(rig->slices[result->slot_index]);
        rig->slices[result->slot_index] = malloc(result->slice.bytes);
        memcpy(rig->slices[result->slot_index], result->slice.data, result->slice.bytes);
    } else {
        rig->error = *result->error;
    }
    /* with a real engine this is the I/O thread */
    __atomic_fetch_add(&rig->done_count, 1, __ATOMIC_RELEASE);
}

static inline void rig_settle(struct rig *rig)
{
    while (cistern_io_step(rig->io) != 0) {
    }
}

/* Both slots' uploads, to their end. The status of the first that failed. */
static inline uint32_t rig_upload(struct rig *rig, struct cistern_writer *writer, uint64_t id,
    uint64_t base_id, const char *savepoint)
{
    uint32_t begun = 0;
    uint32_t status = CISTERN_OK;
    rig->done_count = 0;
    for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
        struct cistern_upload_options options = {.slot_index = slot,
            .kind = base_id == 0 ? CISTERN_SNAPSHOT_FULL : CISTERN_SNAPSHOT_INCREMENT,
            .checkpoint_id = id,
            .base_checkpoint_id = base_id,
            .range = {slot * 64, slot * 64 + 63},
            .backend = "rig",
            .savepoint_directory = savepoint,
            .done = rig_done,
            .arg = rig};
        rig->statuses[slot] = CISTERN_OK;
        uint32_t begin = cistern_upload_begin(
            writer, &rig_snapshot(id, base_id, slot)->base, &options, NULL, &rig->error);
        begun += begin == CISTERN_OK;
        status = status == CISTERN_OK ? begin : status;
    }
    if (rig->disk != NULL) {
        rig_settle(rig);
    }
    while (rig->disk == NULL && __atomic_load_n(&rig->done_count, __ATOMIC_ACQUIRE) < begun) {
        usleep(100);
    }
    assert_int_equal(rig->done_count, begun);
    for (uint32_t slot = 0; slot < RIG_SLOTS && status == CISTERN_OK; slot++) {
        status = rig->statuses[slot];
    }
    return status;
}

static inline uint32_t rig_publish(struct rig *rig, struct cistern_writer *writer, uint64_t id,
    uint64_t base_id, const char *savepoint, struct cistern_error *error)
{
    struct cistern_span slices[RIG_SLOTS];
    for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
        slices[slot] = (struct cistern_span){rig->slices[slot], rig->results[slot].slice.bytes};
    }
    struct cistern_publish publish = {.checkpoint_id = id,
        .base_checkpoint_id = base_id,
        .kind = base_id == 0 ? CISTERN_SNAPSHOT_FULL : CISTERN_SNAPSHOT_INCREMENT,
        .slice_count = RIG_SLOTS,
        .slices = slices,
        .job_state = {&id, sizeof id},
        .savepoint_directory = savepoint,
        .operator_name = "count"};
    return cistern_writer_publish(writer, &publish, error);
}

/* Upload and publication; what fails is discarded, as a host does. */
static inline uint32_t rig_checkpoint(
    struct rig *rig, uint64_t id, uint64_t base_id, struct cistern_error *error)
{
    uint32_t status = rig_upload(rig, rig->writer, id, base_id, NULL);
    if (status == CISTERN_OK) {
        status = rig_publish(rig, rig->writer, id, base_id, NULL, error);
    } else {
        *error = rig->error;
    }
    if (status != CISTERN_OK) {
        cistern_writer_discard(rig->writer, id);
    }
    return status;
}

static inline uint32_t rig_read_part(struct cistern_source *source, const struct cistern_part *part,
    uint64_t id, struct cistern_error *error)
{
    uint8_t piece[777];
    uint32_t origin = (uint32_t)part->origin[1] | (uint32_t)part->origin[2] << 8;
    uint64_t offset = 0;
    uint64_t bytes;
    assert_true(rig_holds(id, origin));
    assert_int_equal(part->bytes, rig_bytes(origin));
    do {
        uint32_t status = source->read(
            source->arg, offset, (struct cistern_bytes){piece, sizeof piece}, &bytes, error);
        if (status != CISTERN_OK) {
            return status;
        }
        for (uint64_t at = 0; at < bytes; at++) {
            assert_int_equal(piece[at], rig_byte(origin, offset + at));
        }
        offset += bytes;
    } while (bytes == sizeof piece);
    assert_int_equal(offset, part->bytes);
    return CISTERN_OK;
}

/* Reads a checkpoint whole and compares it with the rule. *ret_id: which one it was. */
static inline uint32_t rig_restore(struct rig *rig, struct cistern_store *store,
    const char *pointer, uint64_t *ret_id, struct cistern_error *error)
{
    struct cistern_restore *restore;
    struct cistern_restore_info info;
    struct cistern_source source;
    struct cistern_part part;
    uint32_t count = 0;
    uint32_t status = cistern_restore_open(rig->io, store, pointer, NULL, &restore, error);
    if (status != CISTERN_OK) {
        return status;
    }
    cistern_restore_info(restore, &info);
    *ret_id = info.checkpoint_id;
    assert_int_equal(info.job_state.bytes, 8);
    assert_memory_equal(info.job_state.data, &info.checkpoint_id, 8);
    status =
        cistern_restore_source(restore, (struct cistern_key_group_range){0, 127}, &source, error);
    if (status == CISTERN_OK) {
        while ((status = source.next(source.arg, &part, error)) == CISTERN_OK) {
            status = rig_read_part(&source, &part, info.checkpoint_id, error);
            if (status != CISTERN_OK) {
                break;
            }
            count++;
        }
        cistern_restore_source_close(&source);
    }
    cistern_restore_close(restore);
    if (status == CISTERN_NOT_FOUND) {
        assert_int_equal(count, RIG_SLOTS * (*ret_id > 1 ? 7 : 6));
        status = CISTERN_OK;
    }
    return status;
}

#endif
