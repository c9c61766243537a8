/* capture.c -- see capture.h. */
#include "support/capture.h"
#include "test.h"

#include "cistern/clock.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define WAIT_STEP_NS 200000
#define WAIT_NS_MAX 30000000000

struct cursor { /* what cistern_source.arg points to */
    struct capture *const *captures;
    uint32_t count;
    uint32_t slice;
    uint32_t next_part;
    const struct captured_part *current;
};

static void bytes_append(struct captured_part *into, const void *data, uint64_t bytes)
{
    into->bytes = realloc(into->bytes, into->part.bytes + bytes + 1);
    assert_non_null(into->bytes);
    memcpy(into->bytes + into->part.bytes, data, bytes);
    into->part.bytes += bytes;
}

static void stream_read(struct cistern_snapshot *snapshot, struct captured_part *into)
{
    static uint8_t buffer[64 << 10];
    struct cistern_error error;
    into->part.bytes = 0;
    for (;;) {
        uint64_t bytes = 0;
        struct cistern_bytes room = {buffer, sizeof buffer};
        assert_ok(cistern_snapshot_read(snapshot, room, &bytes, &error), error);
        if (bytes == 0) {
            return;
        }
        bytes_append(into, buffer, bytes);
    }
}

static void file_read(const char *path, struct captured_part *into)
{
    static uint8_t buffer[64 << 10];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    uint64_t expected = into->part.bytes;
    into->part.bytes = 0;
    while (into->part.bytes < expected) {
        ssize_t got = read(fd, buffer, sizeof buffer);
        assert_true(got > 0);
        bytes_append(into, buffer, (uint64_t)got);
    }
    close(fd);
    assert_int_equal(into->part.bytes, expected);
}

static const struct captured_part *part_find(const struct capture *capture, const uint8_t *origin)
{
    static const uint8_t none[CISTERN_ORIGIN_BYTES];
    if (capture == NULL || memcmp(origin, none, sizeof none) == 0) {
        return NULL;
    }
    for (uint32_t i = 0; i < capture->part_count; i++) {
        if (memcmp(capture->parts[i].part.origin, origin, CISTERN_ORIGIN_BYTES) == 0) {
            return &capture->parts[i];
        }
    }
    return NULL;
}

static void part_take(struct cistern_snapshot *snapshot, const struct cistern_part *part,
    const struct capture *base, struct captured_part *into)
{
    memset(into, 0, sizeof *into);
    into->part = *part;
    if (part->restore_name != NULL) {
        snprintf(into->name, sizeof into->name, "%s", part->restore_name);
    }
    const struct captured_part *known = part_find(base, part->origin);
    if (part->kind == CISTERN_PART_STREAM) {
        stream_read(snapshot, into);
    } else if (part->kind == CISTERN_PART_FILE && known == NULL) {
        file_read(part->local_path, into);
    } else {
        assert_non_null(known);
        into->part.bytes = 0;
        into->reused = 1;
        bytes_append(into, known->bytes, known->part.bytes);
    }
    into->part.local_path = NULL;
}

static uint32_t part_wait(
    struct cistern_snapshot *snapshot, struct cistern_part *part, struct cistern_error *error)
{
    for (int64_t waited = 0; waited < WAIT_NS_MAX; waited += WAIT_STEP_NS) {
        uint32_t status = cistern_snapshot_next(snapshot, part, error);
        if (status != CISTERN_BUSY) {
            return status;
        }
        cistern_sleep_ns(WAIT_STEP_NS);
    }
    return CISTERN_TIMEOUT;
}

struct capture *capture_take(
    struct cistern_snapshot *snapshot, const char *backend, const struct capture *base)
{
    struct capture *capture = calloc(1, sizeof *capture);
    assert_non_null(capture);
    snprintf(capture->backend, sizeof capture->backend, "%s", backend);
    for (;;) {
        struct cistern_part part = {0};
        struct cistern_error error;
        uint32_t status = part_wait(snapshot, &part, &error);
        if (status == CISTERN_NOT_FOUND) {
            break;
        }
        assert_ok(status, error);
        capture->parts =
            realloc(capture->parts, (capture->part_count + 1) * sizeof *capture->parts);
        assert_non_null(capture->parts);
        struct captured_part *into = &capture->parts[capture->part_count++];
        part_take(snapshot, &part, base, into);
        capture->new_bytes += into->reused ? 0 : into->part.bytes;
    }
    cistern_snapshot_release(snapshot);
    return capture;
}

static uint32_t stream_step(struct capture *capture, struct cistern_snapshot *snapshot,
    uint64_t bytes, struct cistern_error *error)
{
    static uint8_t buffer[64 << 10];
    struct captured_part *into = &capture->parts[capture->part_count - 1];
    struct cistern_bytes room = {buffer, bytes < sizeof buffer ? bytes : sizeof buffer};
    uint64_t got = 0;
    uint32_t status = cistern_snapshot_read(snapshot, room, &got, error);
    if (status == CISTERN_OK) {
        bytes_append(into, buffer, got);
        capture->new_bytes += got;
        capture->streaming = got != 0;
    }
    return status;
}

uint32_t capture_step(struct capture *capture, struct cistern_snapshot *snapshot,
    const struct capture *base, uint64_t bytes, struct cistern_error *error)
{
    if (capture->streaming) {
        return stream_step(capture, snapshot, bytes, error);
    }
    struct cistern_part part = {0};
    uint32_t status = cistern_snapshot_next(snapshot, &part, error);
    if (status != CISTERN_OK) {
        return status;
    }
    capture->parts = realloc(capture->parts, (capture->part_count + 1) * sizeof *capture->parts);
    assert_non_null(capture->parts);
    struct captured_part *into = &capture->parts[capture->part_count++];
    if (part.kind != CISTERN_PART_STREAM) {
        part_take(snapshot, &part, base, into);
        capture->new_bytes += into->reused ? 0 : into->part.bytes;
        return CISTERN_OK;
    }
    memset(into, 0, sizeof *into);
    into->part = part;
    into->part.bytes = 0;
    into->part.local_path = NULL;
    if (part.restore_name != NULL) {
        snprintf(into->name, sizeof into->name, "%s", part.restore_name);
    }
    capture->streaming = 1;
    return CISTERN_OK;
}

void capture_free(struct capture *capture)
{
    if (capture != NULL) {
        for (uint32_t i = 0; i < capture->part_count; i++) {
            free(capture->parts[i].bytes);
        }
        free(capture->parts);
        free(capture);
    }
}

static uint32_t source_next(void *arg, struct cistern_part *ret_part, struct cistern_error *error)
{
    (void)error;
    struct cursor *cursor = arg;
    while (cursor->slice < cursor->count &&
           cursor->next_part == cursor->captures[cursor->slice]->part_count) {
        cursor->slice++;
        cursor->next_part = 0;
    }
    if (cursor->slice == cursor->count) {
        return CISTERN_NOT_FOUND;
    }
    cursor->current = &cursor->captures[cursor->slice]->parts[cursor->next_part++];
    *ret_part = cursor->current->part;
    ret_part->restore_name = cursor->current->name[0] != '\0' ? cursor->current->name : NULL;
    ret_part->slice_index = cursor->slice;
    return CISTERN_OK;
}

static uint32_t source_read(void *arg, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    (void)error;
    const struct captured_part *part = ((struct cursor *)arg)->current;
    uint64_t left = offset < part->part.bytes ? part->part.bytes - offset : 0;
    uint64_t bytes = left < into.capacity_bytes ? left : into.capacity_bytes;
    if (bytes > 0) {
        memcpy(into.data, part->bytes + offset, bytes);
    }
    *ret_bytes = bytes;
    return CISTERN_OK;
}

static uint32_t source_link(void *arg, const char *local_path, struct cistern_error *error)
{
    (void)error;
    const struct captured_part *part = ((struct cursor *)arg)->current;
    int fd = open(local_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, part->bytes, part->part.bytes), part->part.bytes);
    close(fd);
    return CISTERN_OK;
}

static const char *source_describe(void *arg)
{
    const struct captured_part *part = ((struct cursor *)arg)->current;
    return part != NULL && part->name[0] != '\0' ? part->name : "captured part";
}

struct cistern_source capture_source(struct capture *const *captures, uint32_t count)
{
    struct cursor *cursor = calloc(1, sizeof *cursor);
    assert_non_null(cursor);
    cursor->captures = captures;
    cursor->count = count;
    return (struct cistern_source){.arg = cursor,
        .backend = captures[0]->backend,
        .slice_count = count,
        .next = source_next,
        .read = source_read,
        .link = source_link,
        .describe = source_describe};
}

void capture_source_close(struct cistern_source *source)
{
    free(source->arg);
    source->arg = NULL;
}
