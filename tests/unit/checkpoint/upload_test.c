/* upload_test.c -- uploads that wait, are cancelled, copy what cannot be linked, and those large
 * enough for list deltas, slices and states of their own; on each engine. */
#include "frame_private.h"
#include "rig.h"

#include "writer_private.h"

#include <errno.h>
#include <pthread.h>

#define WAIT_SECONDS_MAX 20u

/* ---- a snapshot whose origins are a window that moves by one each checkpoint ---- */
struct gate { /* lets one part pass for each time it was asked */
    uint32_t asked;
    uint32_t allowed;
};
struct shape {
    uint32_t parts;
    uint32_t states;
    struct gate *gates; /* [RIG_SLOTS]; NULL = never BUSY */
};
struct wide_snapshot {
    struct cistern_snapshot base; /* first */
    struct shape shape;
    uint64_t base_id;
    uint32_t slot;
    uint32_t next;
    uint32_t origin; /* the current one */
    uint64_t offset;
};

static uint64_t wide_bytes(uint32_t origin)
{
    return 20 + 3 * (origin % 50);
}

static uint32_t pass(struct gate *gate)
{
    uint32_t allowed = __atomic_load_n(&gate->allowed, __ATOMIC_ACQUIRE);
    if (allowed > 0) {
        __atomic_sub_fetch(&gate->allowed, 1, __ATOMIC_ACQ_REL);
        return CISTERN_OK;
    }
    __atomic_store_n(&gate->asked, 1, __ATOMIC_RELEASE);
    return CISTERN_BUSY;
}

static uint32_t wide_next(
    struct cistern_snapshot *given, struct cistern_part *part, struct cistern_error *error)
{
    struct wide_snapshot *snapshot = (struct wide_snapshot *)given;
    uint64_t id = given->checkpoint_id;
    uint64_t base_id = snapshot->base_id;
    (void)error;
    if (snapshot->shape.gates != NULL &&
        pass(&snapshot->shape.gates[snapshot->slot]) != CISTERN_OK) {
        return CISTERN_BUSY;
    }
    if (snapshot->next == snapshot->shape.parts) {
        return CISTERN_NOT_FOUND;
    }
    snapshot->origin = (uint32_t)id + snapshot->next++;
    snapshot->offset = 0;
    int reuse = base_id != 0 && snapshot->origin < base_id + snapshot->shape.parts;
    *part = (struct cistern_part){.kind = reuse ? CISTERN_PART_REUSE : CISTERN_PART_STREAM,
        .role = CISTERN_ROLE_SST,
        .bytes = reuse ? wide_bytes(snapshot->origin) : 0,
        .range = {0, 127}};
    part->origin[0] = (uint8_t)(snapshot->slot + 1);
    part->origin[1] = (uint8_t)snapshot->origin;
    part->origin[2] = (uint8_t)(snapshot->origin >> 8);
    return CISTERN_OK;
}

static uint32_t wide_read(struct cistern_snapshot *given, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct wide_snapshot *snapshot = (struct wide_snapshot *)given;
    uint64_t left = wide_bytes(snapshot->origin) - snapshot->offset;
    (void)error;
    *ret_bytes = left < into.capacity_bytes ? left : into.capacity_bytes;
    for (uint64_t at = 0; at < *ret_bytes; at++) {
        ((uint8_t *)into.data)[at] = rig_byte(snapshot->origin, snapshot->offset + at);
    }
    snapshot->offset += *ret_bytes;
    return CISTERN_OK;
}

static struct cistern_snapshot *wide_snapshot(
    uint64_t id, uint64_t base_id, uint32_t slot, const struct shape *shape)
{
    static const struct cistern_backend_ops ops = {.size = sizeof ops,
        .name = "wide",
        .snapshot_next = wide_next,
        .snapshot_read = wide_read,
        .snapshot_release = rig_release};
    static struct cistern_backend backend = {.ops = &ops};
    struct wide_snapshot *snapshot = calloc(1, sizeof *snapshot);
    assert_non_null(snapshot);
    snapshot->base.backend = &backend;
    snapshot->base.checkpoint_id = id;
    snapshot->base_id = base_id;
    snapshot->slot = slot;
    snapshot->shape = *shape;
    snapshot->base.states =
        cistern_allocate_zeroed(shape->states, sizeof(struct cistern_state_info));
    assert_non_null(snapshot->base.states);
    snapshot->base.state_count = shape->states;
    for (uint32_t index = 0; index < shape->states; index++) {
        struct cistern_state_info *info = &snapshot->base.states[index];
        info->id = index + 1;
        info->kind = CISTERN_VALUE;
        info->entries = id;
        snprintf(info->name, sizeof info->name, "state-%04u-with-a-name-of-some-length", index);
    }
    __atomic_add_fetch(&backend.snapshots_in_flight, 1, __ATOMIC_RELAXED);
    return &snapshot->base;
}

static void begin(struct rig *rig, uint64_t id, uint64_t base_id, const struct shape *shape,
    struct cistern_upload *uploads[RIG_SLOTS])
{
    struct cistern_error error;
    rig->done_count = 0;
    for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
        struct cistern_upload_options options = {.slot_index = slot,
            .kind = base_id == 0 ? CISTERN_SNAPSHOT_FULL : CISTERN_SNAPSHOT_INCREMENT,
            .checkpoint_id = id,
            .base_checkpoint_id = base_id,
            .range = {slot * 64, slot * 64 + 63},
            .backend = "wide",
            .done = rig_done,
            .arg = rig};
        rig->statuses[slot] = UINT32_MAX;
        assert_ok(cistern_upload_begin(rig->writer, wide_snapshot(id, base_id, slot, shape),
                      &options, &uploads[slot], &error),
            error);
    }
}

/* Until both slots are done; the test fails when that never happens. */
static void finish(struct rig *rig)
{
    if (rig->disk != NULL) {
        rig_settle(rig);
    }
    for (uint32_t tries = 0; rig->disk == NULL && tries < WAIT_SECONDS_MAX * 10000 &&
                             __atomic_load_n(&rig->done_count, __ATOMIC_ACQUIRE) < RIG_SLOTS;
         tries++) {
        usleep(100);
    }
    assert_int_equal(__atomic_load_n(&rig->done_count, __ATOMIC_ACQUIRE), RIG_SLOTS);
}

static void checkpoint(struct rig *rig, uint64_t id, uint64_t base_id, const struct shape *shape)
{
    struct cistern_upload *uploads[RIG_SLOTS];
    struct cistern_error error;
    begin(rig, id, base_id, shape, uploads);
    finish(rig);
    for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
        assert_ok(rig->statuses[slot], rig->error);
    }
    assert_ok(rig_publish(rig, rig->writer, id, base_id, NULL, &error), error);
}

/* Everything of checkpoint `id`, byte for byte. */
static void compare(
    struct rig *rig, struct cistern_store *store, uint64_t id, const struct shape *shape)
{
    char pointer[32];
    struct cistern_restore *restore;
    struct cistern_source source;
    struct cistern_part part;
    struct cistern_error error;
    uint32_t count = 0;
    uint32_t status;
    snprintf(pointer, sizeof pointer, "%llu", (unsigned long long)id);
    assert_ok(cistern_restore_open(rig->io, store, pointer, NULL, &restore, &error), error);
    assert_ok(
        cistern_restore_source(restore, (struct cistern_key_group_range){0, 127}, &source, &error),
        error);
    while ((status = source.next(source.arg, &part, &error)) == CISTERN_OK) {
        uint8_t bytes[256];
        uint64_t got;
        uint32_t origin = (uint32_t)part.origin[1] | (uint32_t)part.origin[2] << 8;
        assert_true(origin >= id && origin < id + shape->parts);
        assert_int_equal(part.bytes, wide_bytes(origin));
        assert_ok(
            source.read(source.arg, 0, (struct cistern_bytes){bytes, sizeof bytes}, &got, &error),
            error);
        assert_int_equal(got, part.bytes);
        for (uint64_t at = 0; at < got; at++) {
            assert_int_equal(bytes[at], rig_byte(origin, at));
        }
        count++;
    }
    assert_int_equal(status, CISTERN_NOT_FOUND);
    assert_int_equal(count, RIG_SLOTS * shape->parts);
    cistern_restore_source_close(&source);
    cistern_restore_close(restore);
}

static uint64_t count_files(struct rig *rig, const char *name)
{
    struct place place = {.io = rig->io, .directory = RIG_ROOT};
    struct place_entry *entries;
    struct cistern_error error;
    uint64_t count = 0;
    assert_ok(place_list(&place, name, &entries, &error), error);
    for (struct place_entry *entry = entries; entry != NULL; entry = entry->next) {
        count++;
    }
    place_list_free(entries);
    return count;
}

static uint64_t count_data(struct rig *rig)
{
    return count_files(rig, "data/e0001/w0001") + count_files(rig, "data/e0001/w0002");
}

/* ---- waiting ---- */
static void test_waits_for_ready(void **state)
{
    (void)state;
    struct rig rig;
    struct gate gates[RIG_SLOTS] = {0};
    struct shape shape = {.parts = 5, .states = 1, .gates = gates};
    struct cistern_upload *uploads[RIG_SLOTS];
    struct cistern_error error;
    uint64_t held = cistern_allocation_count();
    rig_open(&rig, test_seed("upload_test", 1));
    begin(&rig, 1, 0, &shape, uploads);
    rig_settle(&rig);
    for (uint32_t part = 0; part <= shape.parts; part++) {
        assert_int_equal(rig.done_count, 0);
        assert_int_equal(gates[0].asked, 1);
        assert_int_equal(gates[1].asked, 1);
        /* a wake-up that changes nothing: asked again, and waits again */
        gates[0].asked = 0;
        cistern_writer_ready(rig.writer);
        rig_settle(&rig);
        assert_int_equal(gates[0].asked, 1);
        gates[0].allowed = 1;
        gates[1].allowed = 1;
        cistern_writer_ready(rig.writer);
        cistern_writer_ready(rig.writer);
        rig_settle(&rig);
    }
    finish(&rig);
    assert_ok(rig.statuses[0], rig.error);
    assert_ok(rig.statuses[1], rig.error);
    assert_ok(rig_publish(&rig, rig.writer, 1, 0, NULL, &error), error);
    compare(&rig, rig.store, 1, &shape);
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_cancel_while_it_waits(void **state)
{
    (void)state;
    struct rig rig;
    struct gate gates[RIG_SLOTS] = {0};
    struct shape shape = {.parts = 5, .states = 1, .gates = gates};
    struct cistern_upload *uploads[RIG_SLOTS];
    uint64_t held = cistern_allocation_count();
    rig_open(&rig, test_seed("upload_test", 2));
    for (uint64_t id = 1; id <= 4; id++) {
        begin(&rig, id, 0, &shape, uploads);
        rig_settle(&rig);
        /* the second time it has parts stored already */
        gates[0].allowed = (uint32_t)(id - 1);
        cistern_writer_ready(rig.writer);
        rig_settle(&rig);
        cistern_upload_cancel(uploads[0]);
        if (id % 2 == 0) {
            cistern_upload_cancel(uploads[0]); /* twice is once */
        }
        rig_settle(&rig);
        assert_int_equal(rig.done_count, 1);
        assert_int_equal(rig.statuses[0], CISTERN_ABORTED);
        cistern_writer_discard(rig.writer, id); /* cancels the other one */
        finish(&rig);
        assert_int_equal(rig.statuses[1], CISTERN_ABORTED);
        assert_int_equal(count_data(&rig), 0);
        gates[0] = (struct gate){0};
        gates[1] = (struct gate){0};
    }
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

/* Cancelled after each number of steps of the I/O thread there is. */
static void test_cancel_at_every_step(void **state)
{
    (void)state;
    uint64_t seed = test_seed("upload_test", 3);
    struct shape shape = {.parts = 3, .states = CISTERN_STATE_COUNT_MAX};
    uint32_t aborted = 0;
    uint32_t over = 0;
    for (uint64_t steps = 0; !over; steps++) {
        struct rig rig;
        struct cistern_upload *uploads[RIG_SLOTS];
        uint64_t held = cistern_allocation_count();
        rig_open(&rig, seed + steps);
        begin(&rig, 1, 0, &shape, uploads);
        uint64_t step = 0;
        while (step < steps && cistern_io_step(rig.io) != 0) {
            step++;
        }
        over = rig.done_count == RIG_SLOTS;
        cistern_writer_discard(rig.writer, 1);
        finish(&rig);
        for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
            assert_true(rig.statuses[slot] == CISTERN_OK || rig.statuses[slot] == CISTERN_ABORTED);
            aborted += rig.statuses[slot] == CISTERN_ABORTED;
        }
        cistern_writer_discard(rig.writer, 1);
        assert_int_equal(count_data(&rig), 0);
        checkpoint(&rig, 2, 0, &shape);
        compare(&rig, rig.store, 2, &shape);
        rig_close(&rig);
        assert_int_equal(cistern_allocation_count(), held);
    }
    assert_true(aborted > 50);
}

/* ---- what cannot be linked is copied ---- */
static uint64_t links_of(struct rig *rig, const char *path)
{
    struct cistern_io_operation stat = {.opcode = CISTERN_IO_STAT, .path = path};
    assert_int_equal(cistern_io_run(rig->io, &stat), 0);
    return stat.result_stat.link_count;
}

static void test_copies_over_a_border(void **state)
{
    (void)state;
    static const int32_t borders[] = {EXDEV, EPERM, EMLINK, ENOTSUP, ENOSYS};
    uint64_t seed = test_seed("upload_test", 4);
    for (uint32_t which = 0; which < sizeof borders / sizeof *borders; which++) {
        uint32_t copies = 0;
        uint32_t fired = 1;
        for (uint64_t nth = 1; fired; nth++) {
            struct rig rig;
            uint64_t id;
            struct cistern_error error;
            uint64_t held = cistern_allocation_count();
            rig_open(&rig, seed); /* the same disorder each time: nth is the same operation */
            sim_disk_fail_at(rig.disk, nth, borders[which]);
            uint32_t status = rig_upload(&rig, rig.writer, 1, 0, NULL);
            sim_disk_fail_at(rig.disk, 0, 0);
            if (status == CISTERN_OK) {
                uint64_t links = links_of(&rig, RIG_LOCAL);
                fired = links == RIG_SLOTS; /* one linked, one copied */
                assert_true(fired || links == 1 + RIG_SLOTS);
                copies += fired;
                assert_ok(rig_publish(&rig, rig.writer, 1, 0, NULL, &error), error);
                assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
            } else {
                cistern_writer_discard(rig.writer, 1);
                assert_int_equal(count_data(&rig), 0);
            }
            rig_close(&rig);
            assert_int_equal(cistern_allocation_count(), held);
        }
        assert_int_equal(copies, RIG_SLOTS);
    }
}

/* The local file is not what its backend said: linked or copied, nothing of it stays. */
static void test_local_file_is_another(void **state)
{
    (void)state;
    uint64_t seed = test_seed("upload_test", 5);
    for (uint64_t nth = 0; nth < 60; nth++) {
        struct rig rig;
        rig_open(&rig, seed);
        struct cistern_io_operation open = {
            .opcode = CISTERN_IO_OPEN, .path = RIG_LOCAL, .flags = O_RDWR};
        int64_t fd = cistern_io_run(rig.io, &open);
        assert_true(fd >= 0);
        struct cistern_io_operation longer = {.opcode = CISTERN_IO_WRITE,
            .fd = (int32_t)fd,
            .offset = rig_bytes(50),
            .data = (char[]){'x'},
            .bytes = 1};
        assert_int_equal(cistern_io_run(rig.io, &longer), 1);
        struct cistern_io_operation close = {.opcode = CISTERN_IO_CLOSE, .fd = (int32_t)fd};
        assert_int_equal(cistern_io_run(rig.io, &close), 0);
        sim_disk_fail_at(rig.disk, nth, EXDEV);
        uint32_t status = rig_upload(&rig, rig.writer, 1, 0, NULL);
        sim_disk_fail_at(rig.disk, 0, 0);
        assert_true(status == CISTERN_CORRUPT || status == CISTERN_IO);
        assert_true(rig.statuses[0] == CISTERN_CORRUPT || rig.statuses[1] == CISTERN_CORRUPT);
        cistern_writer_discard(rig.writer, 1);
        assert_int_equal(count_data(&rig), 0);
        assert_int_equal(links_of(&rig, RIG_LOCAL), 1);
        rig_close(&rig);
    }
}

/* ---- chains of list deltas ---- */
static uint32_t list_count(struct rig *rig)
{
    struct slice slice;
    struct cistern_error error;
    assert_ok(
        slice_decode("slice", (struct cistern_span){rig->slices[0], rig->results[0].slice.bytes},
            &slice, &error),
        error);
    uint32_t count = slice.list_count;
    slice_deinit(&slice);
    return count;
}

static void test_list_chains(void **state)
{
    (void)state;
    struct rig rig;
    struct shape shape = {.parts = 250, .states = 1};
    struct cistern_error error;
    uint64_t held = cistern_allocation_count();
    rig_open(&rig, test_seed("upload_test", 6));
    for (uint64_t id = 1; id <= 40; id++) {
        checkpoint(&rig, id, id - 1, &shape);
        /* a base list, sixteen deltas, and a base again */
        assert_int_equal(list_count(&rig), (id - 1) % LIST_COUNT_MAX + 1);
        if (id > 2) {
            assert_ok(cistern_writer_retire(rig.writer, id - 2, &error), error);
        }
        compare(&rig, rig.store, id, &shape);
        /* two checkpoints share all parts but one, and the lists of one chain */
        uint64_t lists = (id - 1) % LIST_COUNT_MAX + 1;
        lists += id > 1 && lists == 1 ? LIST_COUNT_MAX : 0;
        assert_int_equal(count_data(&rig), RIG_SLOTS * (shape.parts + (id > 1 ? 1u : 0u) + lists));
    }
    rig_shut(&rig);
    /* whoever opens it next knows every list of the chain as a file to keep, and to remove */
    assert_ok(rig_try_open(&rig, &error), error);
    compare(&rig, rig.store, 40, &shape);
    compare(&rig, rig.store, 39, &shape);
    checkpoint(&rig, 41, 0, &shape);
    for (uint64_t id = 39; id <= 40; id++) {
        assert_ok(cistern_writer_retire(rig.writer, id, &error), error);
    }
    compare(&rig, rig.store, 41, &shape);
    assert_int_equal(count_data(&rig), 0);
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

static void ignore(void *arg, const struct cistern_check_problem *problem)
{
    snprintf(arg, 200, "%s", problem->path);
}

/* A chain is as strong as each of its lists. */
static void test_each_list_of_a_chain_counts(void **state)
{
    (void)state;
    struct rig rig;
    struct shape shape = {.parts = 250, .states = 1};
    struct cistern_check_report report;
    struct cistern_error error;
    struct slice slice;
    rig_open(&rig, 7);
    for (uint64_t id = 1; id <= LIST_COUNT_MAX; id++) {
        checkpoint(&rig, id, id - 1, &shape);
    }
    assert_ok(slice_decode("slice",
                  (struct cistern_span){rig.slices[1], rig.results[1].slice.bytes}, &slice, &error),
        error);
    assert_int_equal(slice.list_count, LIST_COUNT_MAX);
    for (uint32_t index = 0; index < slice.list_count; index++) {
        char name[NAME_BYTES_MAX];
        char path[200];
        char found[200] = "";
        struct cistern_restore *restore;
        data_name_format(name, &slice.lists[index].name);
        snprintf(path, sizeof path, RIG_ROOT "/%s", name);
        assert_int_equal(sim_disk_flip(rig.disk, path, 250, 0), 1);
        assert_ok(cistern_check(rig.io, RIG_ROOT "/chk/0000000017-e0001", 0, ignore, NULL, found,
                      &report, &error),
            error);
        assert_true(report.problem_count >= 1);
        assert_string_equal(found, name);
        assert_status(
            cistern_restore_open(rig.io, rig.store, "17", NULL, &restore, &error), CISTERN_CORRUPT);
        assert_string_equal(error.object, name);
        assert_int_equal(sim_disk_flip(rig.disk, path, 250, 0), 1);
    }
    slice_deinit(&slice);
    compare(&rig, rig.store, LIST_COUNT_MAX, &shape);
    rig_close(&rig);
}

/* ---- slices and states too large for the manifest ---- */
static uint32_t problems(struct rig *rig, char path[200])
{
    struct cistern_check_report report;
    struct cistern_error error;
    path[0] = '\0';
    assert_ok(cistern_check(rig->io, RIG_ROOT, 0, ignore, NULL, path, &report, &error), error);
    return (uint32_t)report.problem_count;
}

static void check_external(uint32_t states, uint32_t files_in_directory, const char *external)
{
    struct rig rig;
    struct shape shape = {.parts = 4, .states = states};
    struct cistern_restore *restore;
    struct cistern_error error;
    char path[200];
    uint64_t held = cistern_allocation_count();
    rig_open(&rig, 8);
    checkpoint(&rig, 1, 0, &shape);
    checkpoint(&rig, 2, 1, &shape);
    assert_int_equal(count_files(&rig, "chk/0000000002-e0001"), files_in_directory);
    compare(&rig, rig.store, 2, &shape);
    assert_ok(cistern_restore_open(rig.io, rig.store, "2", NULL, &restore, &error), error);
    snprintf(path, sizeof path, "state-%04u-with-a-name", states - 1);
    assert_non_null(strstr(cistern_restore_manifest_json(restore), path));
    cistern_restore_close(restore);
    assert_int_equal(problems(&rig, path), 0);
    char file[200];
    snprintf(file, sizeof file, RIG_ROOT "/%s", external);
    for (uint64_t at = 0; sim_disk_flip(rig.disk, file, at, (uint32_t)(at % 8)); at += 97) {
        assert_true(problems(&rig, path) >= 1);
        assert_string_equal(path, external);
        assert_status(
            cistern_restore_open(rig.io, rig.store, "2", NULL, &restore, &error), CISTERN_CORRUPT);
        assert_string_equal(error.object, external);
        assert_int_equal(sim_disk_flip(rig.disk, file, at, (uint32_t)(at % 8)), 1);
    }
    assert_int_equal(problems(&rig, path), 0);
    assert_ok(cistern_writer_retire(rig.writer, 1, &error), error);
    assert_int_equal(count_files(&rig, "chk"), 1);
    rig_shut(&rig);
    assert_ok(rig_try_open(&rig, &error), error);
    compare(&rig, rig.store, 2, &shape);
    checkpoint(&rig, 3, 0, &shape);
    assert_ok(cistern_writer_retire(rig.writer, 2, &error), error);
    assert_int_equal(count_files(&rig, "chk"), 1);
    assert_int_equal(count_data(&rig), 0);
    struct cistern_io_operation unlink = {.opcode = CISTERN_IO_UNLINK, .path = path};
    snprintf(path, sizeof path, RIG_ROOT "/%s", external);
    assert_int_equal(cistern_io_run(rig.io, &unlink), -ENOENT);
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_slices_of_their_own(void **state)
{
    (void)state;
    struct cistern_hash128 id = cistern_hash128("count", 5);
    char file[32];
    char path[100];
    manifest_slice_file(file, 1, id.bytes);
    snprintf(path, sizeof path, "chk/0000000002-e0001/%s", file);
    check_external(60, 1 + RIG_SLOTS, path);
}

static void test_states_of_their_own(void **state)
{
    (void)state;
    /* slot 1: of 1 its four parts, list, states; of 2 one part, list, states */
    check_external(CISTERN_STATE_COUNT_MAX, 1, "data/e0001/w0002/000009.sts");
}

/* ---- real engines: other threads wake and cancel ---- */
struct opener {
    struct cistern_writer *writer;
    struct gate *gates;
    uint32_t stop;
};

static void *open_gates(void *arg)
{
    struct opener *opener = arg;
    while (!__atomic_load_n(&opener->stop, __ATOMIC_ACQUIRE)) {
        for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
            if (__atomic_exchange_n(&opener->gates[slot].asked, 0, __ATOMIC_ACQ_REL)) {
                __atomic_add_fetch(&opener->gates[slot].allowed, 1, __ATOMIC_ACQ_REL);
                cistern_writer_ready(opener->writer); /* once: a lost one is a hang */
            }
        }
    }
    return NULL;
}

static int open_real(struct rig *rig, uint32_t engine, const char *uri)
{
    struct cistern_error error;
    struct cistern_io_options options = {.engine = engine};
    memset(rig, 0, sizeof *rig);
    uint32_t status = cistern_io_create(NULL, &options, &rig->io, &error);
    if (status == CISTERN_UNSUPPORTED && engine == CISTERN_IO_URING) {
        print_message("skipped: %s\n", error.message);
        return 0;
    }
    assert_ok(status, error);
    assert_ok(cistern_store_open(rig->io, uri, 1, &rig->store, &error), error);
    assert_ok(rig_try_writer(rig, &rig->writer, 0, &error), error);
    return 1;
}

static void close_real(struct rig *rig)
{
    rig_shut(rig);
    for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
        free(rig->slices[slot]);
    }
    cistern_io_destroy(rig->io);
}

static void woken_and_cancelled(struct rig *rig, uint64_t *seed)
{
    struct gate gates[RIG_SLOTS] = {0};
    struct shape gated = {.parts = 40, .states = 1, .gates = gates};
    struct shape open = {.parts = 40, .states = 1};
    struct opener opener = {.writer = rig->writer, .gates = gates};
    struct cistern_error error;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, open_gates, &opener), 0);
    uint64_t base = 0;
    uint32_t aborted = 0;
    for (uint64_t id = 1; id <= 40; id++) {
        struct cistern_upload *uploads[RIG_SLOTS];
        begin(rig, id, base, &gated, uploads);
        if (id % 2 == 0) {
            usleep((useconds_t)(test_random(seed) % 3000));
            cistern_writer_discard(rig->writer, id);
        }
        finish(rig);
        if (rig->statuses[0] == CISTERN_OK && rig->statuses[1] == CISTERN_OK && id % 2 == 1) {
            assert_ok(rig_publish(rig, rig->writer, id, base, NULL, &error), error);
            if (base != 0) {
                assert_ok(cistern_writer_retire(rig->writer, base, &error), error);
            }
            base = id;
        } else {
            assert_int_equal(id % 2, 0);
            aborted += rig->statuses[0] == CISTERN_ABORTED;
            cistern_writer_discard(rig->writer, id);
        }
    }
    __atomic_store_n(&opener.stop, 1, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("%u of 20 uploads were cancelled in time\n", aborted);
    compare(rig, rig->store, base, &open);
}

static void run_for_real(uint32_t engine)
{
    char root[] = "/tmp/cistern-upload-XXXXXX";
    char command[100];
    struct rig rig;
    uint64_t seed = test_seed("upload_test", 9);
    uint64_t held = cistern_allocation_count();
    uint64_t id;
    struct cistern_error error;
    assert_non_null(mkdtemp(root));
    if (open_real(&rig, engine, root)) {
        woken_and_cancelled(&rig, &seed);
        close_real(&rig);
    }
    snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
    assert_int_equal(cistern_allocation_count(), held);
    if (!open_real(&rig, engine, root)) {
        return;
    }
    /* files, linked: the rig's own snapshot */
    char local[] = "/tmp/cistern-upload-local-XXXXXX";
    int fd = mkstemp(local);
    assert_true(fd >= 0);
    (void)close(fd);
    rig_local = local;
    rig_write_local(&rig);
    for (uint64_t round = 1; round <= 5; round++) {
        assert_ok(rig_checkpoint(&rig, round, round - 1, &error), error);
        assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
        assert_int_equal(id, round);
    }
    rig_local = RIG_LOCAL;
    close_real(&rig);
    snprintf(command, sizeof command, "rm -rf %s %s", root, local);
    assert_int_equal(system(command), 0);
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_threads(void **state)
{
    (void)state;
    run_for_real(CISTERN_IO_THREADS);
}

static void test_uring(void **state)
{
    (void)state;
    run_for_real(CISTERN_IO_URING);
}

int main(void)
{
    frame_use_allocator();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_ready),
        cmocka_unit_test(test_cancel_while_it_waits),
        cmocka_unit_test(test_cancel_at_every_step),
        cmocka_unit_test(test_copies_over_a_border),
        cmocka_unit_test(test_local_file_is_another),
        cmocka_unit_test(test_list_chains),
        cmocka_unit_test(test_each_list_of_a_chain_counts),
        cmocka_unit_test(test_slices_of_their_own),
        cmocka_unit_test(test_states_of_their_own),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_uring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
