/*
 * restore_native.c -- table files and a MANIFEST become a database again: ours, when the range is
 * ours; else one to read out.
 *
 * The stored MANIFEST is copied, never linked: RocksDB appends to it. CURRENT is derived from its
 * name.
 * Threads: owner only.
 */
#include "rocks_private.h"
#include "directory_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (256u << 10)
#define NAME_BYTES_MAX 64u
#define MANIFEST_PREFIX "MANIFEST-"
#define TABLE_SUFFIX ".sst"
#define SCRATCH_NAME "restore"

struct slice { /* one slice being gathered */
    struct rocks *rocks;
    const struct cistern_source *source;
    uint32_t index;
    uint32_t is_direct;  /* its directory is the backend's own */
    uint32_t is_ignored; /* it holds nothing of our range */
    char directory[DIRECTORY_PATH_BYTES_MAX];
    char manifest[NAME_BYTES_MAX]; /* "" = not seen yet */
    char object[NAME_BYTES_MAX];
};

static int all_digits(const char *text, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        if (!isdigit((unsigned char)text[i])) {
            return 0;
        }
    }
    return bytes != 0;
}

/* A name from outside becomes a path only if it is one RocksDB gives: digits and ".sst", or
 * "MANIFEST-" and digits. */
static int name_is_good(const char *name, uint32_t role)
{
    uint64_t bytes = name != NULL ? strnlen(name, NAME_BYTES_MAX) : 0;
    if (bytes == 0 || bytes >= NAME_BYTES_MAX) {
        return 0;
    }
    if (role == CISTERN_ROLE_SST) {
        uint64_t suffix = strlen(TABLE_SUFFIX);
        return bytes > suffix && strcmp(name + bytes - suffix, TABLE_SUFFIX) == 0 &&
               all_digits(name, bytes - suffix);
    }
    uint64_t prefix = strlen(MANIFEST_PREFIX);
    return strncmp(name, MANIFEST_PREFIX, prefix) == 0 && all_digits(name + prefix, bytes - prefix);
}

static uint32_t write_all(
    int fd, const uint8_t *data, uint64_t bytes, const char *path, struct cistern_error *error)
{
    while (bytes != 0) {
        ssize_t written = write(fd, data, bytes);
        if (written < 0) {
            return cistern_fail_errno(error, errno, path, "writing a restored file");
        }
        data += written;
        bytes -= (uint64_t)written;
    }
    return CISTERN_OK;
}

static uint32_t copy_bytes(const struct cistern_source *source, const struct cistern_part *part,
    int fd, struct cistern_bytes buffer, const char *path, struct cistern_error *error)
{
    uint64_t offset = 0;
    while (offset < part->bytes) {
        uint64_t got = 0;
        uint32_t status = source->read(source->arg, offset, buffer, &got, error);
        if (status == CISTERN_OK && (got == 0 || got > buffer.capacity_bytes)) {
            status = cistern_fail_corrupt(error, source->describe(source->arg), offset,
                "the part ends %llu bytes early", (unsigned long long)(part->bytes - offset));
        }
        if (status == CISTERN_OK) {
            status = write_all(fd, buffer.data, got, path, error);
        }
        if (status != CISTERN_OK) {
            return status;
        }
        offset += got;
    }
    return CISTERN_OK;
}

static uint32_t copy_part(const struct cistern_source *source, const struct cistern_part *part,
    const char *path, struct cistern_error *error)
{
    struct cistern_bytes buffer = {cistern_allocate(COPY_BYTES), COPY_BYTES};
    if (buffer.data == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, path, "no memory to copy a file");
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        cistern_release(buffer.data);
        return cistern_fail_errno(error, errno, path, "creating a restored file");
    }
    uint32_t status = copy_bytes(source, part, fd, buffer, path, error);
    if (status == CISTERN_OK && fsync(fd) != 0) {
        status = cistern_fail_errno(error, errno, path, "syncing a restored file");
    }
    if (close(fd) != 0 && status == CISTERN_OK) {
        status = cistern_fail_errno(error, errno, path, "closing a restored file");
    }
    cistern_release(buffer.data);
    return status;
}

static uint32_t slice_begin(
    struct slice *slice, const struct cistern_part *part, struct cistern_error *error)
{
    struct rocks *rocks = slice->rocks;
    const struct cistern_key_group_range *ours = &rocks->base.options.range;
    slice->index = part->slice_index;
    slice->manifest[0] = '\0';
    snprintf(slice->object, sizeof slice->object, "slice %u", slice->index);
    slice->is_ignored = part->range.first > ours->last || part->range.last < ours->first;
    slice->is_direct = slice->source->slice_count == 1 && part->range.first == ours->first &&
                       part->range.last == ours->last;
    if (slice->is_ignored) {
        return CISTERN_OK;
    }
    if (slice->is_direct) {
        snprintf(slice->directory, sizeof slice->directory, "%s", rocks->directory);
        struct shim_db *empty = rocks->db;
        rocks->db = NULL;
        uint32_t status = shim_db_close(empty, error);
        shim_cache_clear(rocks->memory);
        return status != CISTERN_OK ? status : directory_clear(rocks->directory, 0, error);
    }
    uint32_t status = directory_join(slice->directory, rocks->directory, SCRATCH_NAME, error);
    return status != CISTERN_OK ? status : directory_create(slice->directory, error);
}

static uint32_t slice_add(
    struct slice *slice, const struct cistern_part *part, struct cistern_error *error)
{
    const struct cistern_source *source = slice->source;
    if (slice->is_ignored) {
        return CISTERN_OK;
    }
    if ((part->role != CISTERN_ROLE_SST && part->role != CISTERN_ROLE_ROCKS_MANIFEST) ||
        !name_is_good(part->restore_name, part->role)) {
        return cistern_fail(error, CISTERN_CORRUPT, source->describe(source->arg),
            "a part of role %u named \"%.60s\" is no file of a RocksDB database", part->role,
            part->restore_name != NULL ? part->restore_name : "");
    }
    char path[DIRECTORY_PATH_BYTES_MAX];
    uint32_t status = directory_join(path, slice->directory, part->restore_name, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (part->role == CISTERN_ROLE_ROCKS_MANIFEST) {
        if (slice->manifest[0] != '\0') {
            return cistern_fail(error, CISTERN_CORRUPT, slice->object, "two MANIFESTs, %s and %s",
                slice->manifest, part->restore_name);
        }
        snprintf(slice->manifest, sizeof slice->manifest, "%s", part->restore_name);
    } else if (source->link != NULL) {
        return source->link(source->arg, path, error);
    }
    return copy_part(source, part, path, error);
}

static uint32_t current_write(const struct slice *slice, struct cistern_error *error)
{
    if (slice->manifest[0] == '\0') {
        return cistern_fail(error, CISTERN_CORRUPT, slice->object, "no MANIFEST among the parts");
    }
    char path[DIRECTORY_PATH_BYTES_MAX];
    uint32_t status = directory_join(path, slice->directory, "CURRENT", error);
    if (status != CISTERN_OK) {
        return status;
    }
    char text[NAME_BYTES_MAX + 1];
    int bytes = snprintf(text, sizeof text, "%s\n", slice->manifest);
    status = directory_write_file(path, text, (uint64_t)bytes, error);
    return status != CISTERN_OK ? status : directory_sync(slice->directory, error);
}

/* Every entry of our range, stored form to stored form: the layout is the descriptor's, and that
 * was compared. */
static uint32_t state_copy(
    void *arg, struct rocks_state *state, struct shim_family *source, struct cistern_error *error)
{
    struct rocks *rocks = arg;
    uint8_t lower_bytes[KEY_GROUP_BYTES_MAX];
    uint8_t upper_bytes[KEY_GROUP_BYTES_MAX];
    struct cistern_span lower = {
        lower_bytes, key_group_bound(&state->layout, rocks->base.options.range.first, lower_bytes)};
    struct cistern_span upper = {upper_bytes,
        key_group_bound(&state->layout, rocks->base.options.range.last + 1, upper_bytes)};
    if (upper.bytes == 0) {
        upper.data = NULL;
    }
    struct shim_iterator *iterator = NULL;
    uint32_t status = shim_iterator_open(source, NULL, lower, upper, &iterator, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_span key;
    struct cistern_span value;
    uint64_t bytes_max = value_batch_bytes_max(rocks);
    shim_iterator_seek(iterator, lower);
    while (status == CISTERN_OK && shim_iterator_entry(iterator, &key, &value)) {
        gate_value_seen(rocks, value.bytes);
        status = shim_batch_put(
            rocks->batch, state->family, key, (struct cistern_span){NULL, 0}, value, error);
        if (status == CISTERN_OK && shim_batch_bytes(rocks->batch) >= bytes_max) {
            status = value_flush_batch(rocks, error);
        }
        shim_iterator_next(iterator);
    }
    if (status == CISTERN_OK) {
        status = shim_iterator_status(iterator, error);
    }
    shim_iterator_close(iterator);
    return status == CISTERN_OK ? value_flush_batch(rocks, error) : status;
}

static uint32_t slice_read_out(struct slice *slice, struct cistern_error *error)
{
    struct rocks *rocks = slice->rocks;
    struct shim_db *db = NULL;
    uint32_t status = rocks_database_open(rocks, slice->directory, 1, &db, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = table_restore(rocks, db, slice->object, state_copy, rocks, error);
    shim_reader_reset(rocks->reader);
    uint32_t closed = shim_db_close(db, status == CISTERN_OK ? error : NULL);
    return status != CISTERN_OK ? status : closed;
}

static uint32_t slice_end(struct slice *slice, struct cistern_error *error)
{
    if (slice->is_ignored) {
        return CISTERN_OK;
    }
    uint32_t status = current_write(slice, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (slice->is_direct) {
        status = rocks_database_open(slice->rocks, slice->directory, 0, &slice->rocks->db, error);
        return status != CISTERN_OK ? status
                                    : table_restore(slice->rocks, slice->rocks->db, slice->object,
                                          NULL, NULL, error);
    }
    status = slice_read_out(slice, error);
    return status != CISTERN_OK ? status : directory_clear(slice->directory, 1, error);
}

uint32_t restore_native(struct rocks *rocks, const struct cistern_source *source,
    const struct cistern_part *first, struct cistern_error *error)
{
    struct slice *slice = cistern_allocate_zeroed(1, sizeof *slice);
    if (slice == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, rocks->base.options.operator_id, "no memory for a restore");
    }
    slice->rocks = rocks;
    slice->source = source;
    struct cistern_part part = *first;
    uint32_t status = slice_begin(slice, &part, error);
    while (status == CISTERN_OK) {
        status = slice_add(slice, &part, error);
        if (status == CISTERN_OK) {
            status = source->next(source->arg, &part, error);
        }
        if (status == CISTERN_OK && part.slice_index != slice->index) {
            status = slice_end(slice, error);
            if (status == CISTERN_OK) {
                status = slice_begin(slice, &part, error);
            }
        }
    }
    if (status == CISTERN_NOT_FOUND) {
        status = slice_end(slice, error);
    }
    cistern_release(slice);
    return status;
}
