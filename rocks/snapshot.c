/*
 * snapshot.c -- a snapshot's handle: table files and the MANIFEST's prefix of a native one, the
 * container of a canonical one.
 *
 * Every native snapshot lists every table file; whoever carries it decides by `origin` what is
 * stored already.
 * Threads: snapshot_begin is the owner's; the rest belongs to the transfer thread.
 */
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct rocks_snapshot {
    struct cistern_snapshot base;
    struct rocks *rocks;
    struct shim_capture *capture; /* native */
    struct canonical *canonical;
    uint32_t part_next; /* native: counts table files, then the MANIFEST */
    uint32_t manifest_given;
    int manifest_fd; /* -1 = not being read */
    uint64_t manifest_offset;
    uint64_t manifest_bytes;
};

static uint32_t native_begin(struct rocks *rocks, const struct cistern_snapshot_request *request,
    struct rocks_snapshot *snapshot, struct cistern_error *error)
{
    struct shim_barrier_options options = {
        .id = request->checkpoint_id,
        .wait_max_ns = rocks->write_wait_max_ns,
        .ready = request->ready,
        .ready_arg = request->ready_arg,
    };
    uint32_t stalled = 0;
    uint32_t status = table_watermark_write(rocks, error);
    if (status == CISTERN_OK) {
        status = shim_barrier(rocks->db, &options, &snapshot->capture, &stalled, error);
    }
    if (stalled) {
        __atomic_fetch_add(&rocks->counters.barrier_stall_count, 1, __ATOMIC_RELAXED);
    }
    return status;
}

uint32_t snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    value_begin(rocks);
    struct rocks_snapshot *snapshot = cistern_allocate_zeroed(1, sizeof *snapshot);
    if (snapshot == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, backend->options.operator_id, "no memory for a snapshot");
    }
    snapshot->rocks = rocks;
    snapshot->manifest_fd = -1;
    if (request->kind == CISTERN_SNAPSHOT_CANONICAL) {
        status = canonical_open(rocks, request, &snapshot->canonical, error);
        if (status == CISTERN_OK && request->ready != NULL) {
            /* nothing has to be waited for: the moment is marked */
            request->ready(request->ready_arg);
        }
    } else {
        status = native_begin(rocks, request, snapshot, error);
    }
    if (status != CISTERN_OK) {
        cistern_release(snapshot);
        return status;
    }
    *ret_snapshot = &snapshot->base;
    return CISTERN_OK;
}

static void manifest_close(struct rocks_snapshot *snapshot)
{
    if (snapshot->manifest_fd >= 0) {
        close(snapshot->manifest_fd);
        snapshot->manifest_fd = -1;
    }
}

static void part_of_file(const struct rocks_snapshot *snapshot, const struct shim_file *file,
    struct cistern_part *ret_part)
{
    memset(ret_part, 0, sizeof *ret_part);
    ret_part->kind = file->is_manifest ? CISTERN_PART_STREAM : CISTERN_PART_FILE;
    ret_part->role = file->is_manifest ? CISTERN_ROLE_ROCKS_MANIFEST : CISTERN_ROLE_SST;
    ret_part->local_path = file->is_manifest ? NULL : file->path;
    ret_part->restore_name = file->name;
    ret_part->bytes = file->is_manifest ? 0 : file->bytes;
    ret_part->has_hash = file->has_hash;
    memcpy(ret_part->content_hash, file->hash, sizeof ret_part->content_hash);
    memcpy(ret_part->origin, file->origin, sizeof ret_part->origin);
    ret_part->range = snapshot->rocks->base.options.range;
}

static uint32_t manifest_open(
    struct rocks_snapshot *snapshot, const struct shim_file *file, struct cistern_error *error)
{
    snapshot->manifest_fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (snapshot->manifest_fd < 0) {
        return cistern_fail_errno(error, errno, file->path, "opening the database's MANIFEST");
    }
    snapshot->manifest_offset = 0;
    snapshot->manifest_bytes = file->bytes;
    return CISTERN_OK;
}

/* Table files in the order listed, the MANIFEST last: whoever has read it has everything. */
static uint32_t native_next(
    struct rocks_snapshot *snapshot, struct cistern_part *ret_part, struct cistern_error *error)
{
    uint32_t status = shim_capture_poll(snapshot->capture, error);
    if (status != CISTERN_OK) {
        return status;
    }
    manifest_close(snapshot);
    uint32_t count = shim_capture_count(snapshot->capture);
    struct shim_file file;
    while (snapshot->part_next < count) {
        shim_capture_file(snapshot->capture, snapshot->part_next++, &file);
        if (!file.is_manifest) {
            part_of_file(snapshot, &file, ret_part);
            return CISTERN_OK;
        }
    }
    for (uint32_t i = 0; i < count && !snapshot->manifest_given; i++) {
        shim_capture_file(snapshot->capture, i, &file);
        if (file.is_manifest) {
            status = manifest_open(snapshot, &file, error);
            if (status == CISTERN_OK) {
                snapshot->manifest_given = 1;
                part_of_file(snapshot, &file, ret_part);
            }
            return status;
        }
    }
    return CISTERN_NOT_FOUND;
}

static uint32_t canonical_next(struct rocks_snapshot *snapshot, struct cistern_part *ret_part)
{
    if (snapshot->part_next != 0) {
        return CISTERN_NOT_FOUND;
    }
    snapshot->part_next = 1;
    memset(ret_part, 0, sizeof *ret_part);
    ret_part->kind = CISTERN_PART_STREAM;
    ret_part->role = CISTERN_ROLE_CANONICAL;
    ret_part->range = snapshot->rocks->base.options.range;
    return CISTERN_OK;
}

uint32_t snapshot_next(
    struct cistern_snapshot *base, struct cistern_part *ret_part, struct cistern_error *error)
{
    struct rocks_snapshot *snapshot = (struct rocks_snapshot *)base;
    return snapshot->canonical != NULL ? canonical_next(snapshot, ret_part)
                                       : native_next(snapshot, ret_part, error);
}

static uint32_t manifest_read(struct rocks_snapshot *snapshot, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    if (snapshot->manifest_fd < 0) {
        return cistern_fail(error, CISTERN_INVALID, "snapshot", "the current part is no stream");
    }
    uint64_t rest = snapshot->manifest_bytes - snapshot->manifest_offset;
    uint64_t wanted = rest < into.capacity_bytes ? rest : into.capacity_bytes;
    if (wanted == 0) {
        *ret_bytes = 0;
        return CISTERN_OK;
    }
    ssize_t got = pread(snapshot->manifest_fd, into.data, wanted, (off_t)snapshot->manifest_offset);
    if (got < 0) {
        return cistern_fail_errno(error, errno, "MANIFEST", "reading the database's MANIFEST");
    }
    if (got == 0) {
        return cistern_fail_corrupt(error, "MANIFEST", snapshot->manifest_offset,
            "the database's MANIFEST ends %llu bytes early", (unsigned long long)rest);
    }
    snapshot->manifest_offset += (uint64_t)got;
    *ret_bytes = (uint64_t)got;
    return CISTERN_OK;
}

uint32_t snapshot_read(struct cistern_snapshot *base, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct rocks_snapshot *snapshot = (struct rocks_snapshot *)base;
    if (snapshot->canonical != NULL) {
        return canonical_read(snapshot->canonical, into, ret_bytes, error);
    }
    return manifest_read(snapshot, into, ret_bytes, error);
}

void snapshot_release(struct cistern_snapshot *base)
{
    struct rocks_snapshot *snapshot = (struct rocks_snapshot *)base;
    manifest_close(snapshot);
    shim_capture_release(snapshot->capture);
    canonical_close(snapshot->canonical);
    cistern_release(snapshot);
}
