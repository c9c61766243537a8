/*
 * convert.c -- a heap backend from what RocksDB wrote natively: restored into a RocksDB backend of
 * the same slot, written out in the canonical form to an unlinked file, read back by the heap. One
 * backend is open at a time, so the slot's share suffices.
 */
#include "run.h"

#include "cistern/clock.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES (256u << 10)
#define READY_WAIT_NS 1000000
#define READY_WAITS_MAX 600000u /* 10 minutes for a snapshot to become ready */

struct spool {
    int fd;
    uint64_t bytes;
    uint32_t given; /* next() was answered */
    struct cistern_key_group_range range;
};

static uint32_t spool_next(void *arg, struct cistern_part *ret_part, struct cistern_error *error)
{
    struct spool *spool = arg;
    if (spool->given) {
        return cistern_fail(error, CISTERN_NOT_FOUND, "canonical copy", "no more parts");
    }
    spool->given = 1;
    *ret_part = (struct cistern_part){.kind = CISTERN_PART_STREAM,
        .role = CISTERN_ROLE_CANONICAL,
        .bytes = spool->bytes,
        .range = spool->range};
    return CISTERN_OK;
}

static uint32_t spool_read(void *arg, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct spool *spool = arg;
    uint64_t at = 0;
    while (at < into.capacity_bytes && offset + at < spool->bytes) {
        uint64_t left = spool->bytes - offset - at, room = into.capacity_bytes - at;
        ssize_t bytes = pread(
            spool->fd, (uint8_t *)into.data + at, left < room ? left : room, (off_t)(offset + at));
        if (bytes < 0 && errno == EINTR) {
            continue;
        }
        if (bytes <= 0) {
            return cistern_fail_errno(
                error, bytes < 0 ? errno : EIO, "canonical copy", "cannot read it back");
        }
        at += (uint64_t)bytes;
    }
    *ret_bytes = at;
    return CISTERN_OK;
}

static uint32_t spool_link(void *arg, const char *local_path, struct cistern_error *error)
{
    (void)arg;
    return cistern_fail(
        error, CISTERN_UNSUPPORTED, local_path, "a canonical copy is read, not linked");
}

static const char *spool_describe(void *arg)
{
    (void)arg;
    return "canonical copy";
}

static uint32_t spool_write(
    struct spool *spool, const uint8_t *data, uint64_t bytes, struct cistern_error *error)
{
    for (uint64_t at = 0; at < bytes;) {
        ssize_t written = pwrite(spool->fd, data + at, bytes - at, (off_t)(spool->bytes + at));
        if (written < 0 && errno != EINTR) {
            return cistern_fail_errno(error, errno, "canonical copy", "cannot write it");
        }
        at += written > 0 ? (uint64_t)written : 0;
    }
    spool->bytes += bytes;
    return CISTERN_OK;
}

static uint32_t snapshot_next_ready(
    struct cistern_snapshot *snapshot, struct cistern_part *part, struct cistern_error *error)
{
    uint32_t status = cistern_snapshot_next(snapshot, part, error);
    for (uint32_t i = 0; status == CISTERN_BUSY && i < READY_WAITS_MAX; i++) {
        cistern_sleep_ns(READY_WAIT_NS);
        status = cistern_snapshot_next(snapshot, part, error);
    }
    return status;
}

static uint32_t snapshot_spool(struct cistern_snapshot *snapshot, struct spool *spool,
    uint8_t *buffer, struct cistern_error *error)
{
    struct cistern_part part;
    uint32_t status = snapshot_next_ready(snapshot, &part, error);
    if (status == CISTERN_OK && part.kind != CISTERN_PART_STREAM) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, "canonical copy",
            "the canonical form is expected as one stream");
    }
    while (status == CISTERN_OK) {
        uint64_t bytes = 0;
        status = cistern_snapshot_read(
            snapshot, (struct cistern_bytes){buffer, COPY_BYTES}, &bytes, error);
        if (status != CISTERN_OK || bytes == 0) {
            break;
        }
        status = spool_write(spool, buffer, bytes, error);
    }
    if (status == CISTERN_OK && snapshot_next_ready(snapshot, &part, error) != CISTERN_NOT_FOUND) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, "canonical copy",
            "the canonical form is expected as one stream");
    }
    return status;
}

static uint32_t backend_spool(
    struct cistern_backend *backend, struct spool *spool, struct cistern_error *error)
{
    struct cistern_snapshot_request request = {
        .checkpoint_id = 1, .kind = CISTERN_SNAPSHOT_CANONICAL};
    struct cistern_snapshot *snapshot = NULL;
    uint8_t *buffer = cistern_allocate(COPY_BYTES);
    if (buffer == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "canonical copy", "no memory to copy with");
    }
    uint32_t status = cistern_snapshot_begin(backend, &request, &snapshot, error);
    if (status == CISTERN_OK) {
        status = snapshot_spool(snapshot, spool, buffer, error);
        cistern_snapshot_release(snapshot);
    }
    cistern_release(buffer);
    return status;
}

uint32_t convert_restore(struct run *run, uint32_t index, const struct cistern_source *source,
    struct cistern_error *error)
{
    struct cistern_backend *rocks = NULL;
    struct spool spool = {.fd = open(run->local_directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600),
        .range = cistern_key_group_range_of(index, run->max_parallelism, run->slot_count)};
    if (spool.fd < 0) {
        return cistern_fail_errno(error, errno, run->local_directory,
            "cannot create a temporary file to convert through");
    }
    uint32_t status = backend_open(run, index, 1, &rocks, error);
    if (status == CISTERN_OK) {
        status = cistern_backend_restore(rocks, source, error);
        if (status == CISTERN_OK) {
            status = backend_spool(rocks, &spool, error);
        }
        struct cistern_error close_error;
        uint32_t closed = cistern_backend_close(rocks, &close_error);
        if (status == CISTERN_OK && closed != CISTERN_OK) {
            status = closed;
            *error = close_error;
        }
    }
    if (status == CISTERN_OK) {
        status = backend_open(run, index, 0, &run->workers[index].backend, error);
    }
    if (status == CISTERN_OK) {
        struct cistern_source canonical = {.arg = &spool,
            .backend = "canonical",
            .slice_count = 1,
            .next = spool_next,
            .read = spool_read,
            .link = spool_link,
            .describe = spool_describe};
        status = cistern_backend_restore(run->workers[index].backend, &canonical, error);
    }
    (void)close(spool.fd);
    return status;
}
