/*
 * source.c -- hands the parts of a checkpoint to a backend: slice by slice, oldest first, every
 * byte checked on its way.
 *
 * Threads: one thread per source; several sources of one restore may run side by side, they share
 *          only what is fixed.
 */
#include "restore_private.h"

#include "store_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define COPY_BYTES (64u << 10) /* of a copy when every I/O buffer is out */

struct source {
    const struct cistern_restore *restore;
    struct cistern_key_group_range range;
    uint32_t slice_index;     /* of the open one */
    struct list_merge *merge; /* of the open slice; NULL = none is open */
    struct list_feed feed;
    struct part *part;      /* the current one */
    struct place_file file; /* of the current part; opened by the first read */
    struct cistern_hash_stream *hash;
    uint64_t hashed_bytes;  /* read so far without a gap */
    uint32_t hash_is_whole; /* every read followed the one before it */
    char description[2 * NAME_BYTES_MAX + 64];
};

static int overlaps(struct cistern_key_group_range a, struct cistern_key_group_range b)
{
    return a.first <= b.last && b.first <= a.last;
}

static void drop_part(struct source *source)
{
    place_file_close(&source->file);
    if (source->part != NULL) {
        part_drop(source->part, NULL);
        source->part = NULL;
    }
}

static void close_slice(struct source *source)
{
    list_merge_close(source->merge);
    source->merge = NULL;
    place_file_close(&source->feed.file);
}

/* The next part of any slice whose range is wanted; NULL at the end. */
static uint32_t advance(struct source *source, struct part **ret_part, struct cistern_error *error)
{
    const struct manifest *manifest = &source->restore->manifest;
    *ret_part = NULL;
    while (source->slice_index < manifest->slice_count) {
        const struct slice *slice = &manifest->slices[source->slice_index].slice;
        uint32_t status = CISTERN_OK;
        if (!overlaps(slice->range, source->range)) {
            source->slice_index++;
            continue;
        }
        if (source->merge == NULL) {
            status = list_merge_open(list_feed_read, &source->feed, slice->lists, slice->list_count,
                &source->merge, error);
        }
        if (status == CISTERN_OK) {
            status = list_merge_next(source->merge, ret_part, error);
        }
        if (status != CISTERN_OK || *ret_part != NULL) {
            return status;
        }
        close_slice(source);
        source->slice_index++;
    }
    return CISTERN_OK;
}

static uint32_t source_next(void *arg, struct cistern_part *ret_part, struct cistern_error *error)
{
    struct source *source = arg;
    drop_part(source);
    do {
        if (source->part != NULL) {
            drop_part(source);
        }
        uint32_t status = advance(source, &source->part, error);
        if (status != CISTERN_OK) {
            return status;
        }
        if (source->part == NULL) {
            return CISTERN_NOT_FOUND;
        }
    } while (!overlaps(source->part->range, source->range));
    const struct part *part = source->part;
    char name[NAME_BYTES_MAX];
    data_name_format(name, &part->name);
    snprintf(source->description, sizeof source->description, "%s of checkpoint %llu, slot %u",
        name, (unsigned long long)source->restore->manifest.checkpoint_id, source->slice_index);
    cistern_hash_stream_reset(source->hash);
    source->hashed_bytes = 0;
    source->hash_is_whole = 1;
    struct cistern_part result = {
        .kind = part->restore_name[0] != '\0' ? CISTERN_PART_FILE : CISTERN_PART_STREAM,
        .role = part->role,
        .restore_name = part->restore_name[0] != '\0' ? part->restore_name : NULL,
        .bytes = part->bytes,
        .has_hash = 1,
        .slice_index = source->slice_index,
        .range = part->range};
    memcpy(result.content_hash, part->hash.bytes, sizeof result.content_hash);
    memcpy(result.origin, part->origin, sizeof result.origin);
    *ret_part = result;
    return CISTERN_OK;
}

/* A read in sequence extends the hash; at the last byte the whole must be what was recorded. */
static uint32_t verify(struct source *source, uint64_t offset, const void *data, uint64_t bytes,
    struct cistern_error *error)
{
    if (offset != source->hashed_bytes) {
        source->hash_is_whole = 0;
    }
    if (!source->hash_is_whole) {
        return CISTERN_OK;
    }
    cistern_hash_stream_update(source->hash, data, bytes);
    source->hashed_bytes += bytes;
    if (source->hashed_bytes < source->part->bytes) {
        return CISTERN_OK;
    }
    struct cistern_hash128 hash = cistern_hash_stream_finish(source->hash);
    if (!cistern_hash128_equal(&hash, &source->part->hash)) {
        return cistern_fail_corrupt(
            error, source->file.name, 0, "the file does not have the hash its list records");
    }
    source->hash_is_whole = 0; /* verified: what is read again needs no second time */
    return CISTERN_OK;
}

static uint32_t source_read(void *arg, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct source *source = arg;
    uint64_t left = offset < source->part->bytes ? source->part->bytes - offset : 0;
    uint64_t wanted = into.capacity_bytes < left ? into.capacity_bytes : left;
    uint64_t bytes = 0;
    if (source->file.name == NULL) {
        char name[NAME_BYTES_MAX];
        data_name_format(name, &source->part->name);
        uint32_t status = place_file_open(&source->restore->place, name, &source->file, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    if (wanted > 0) {
        uint32_t status = place_file_read(
            &source->file, offset, (struct cistern_bytes){into.data, wanted}, &bytes, error);
        if (status != CISTERN_OK) {
            return status;
        }
        if (bytes != wanted) {
            return cistern_fail_corrupt(error, source->file.name, offset + bytes,
                "the file ends early: %llu bytes were recorded",
                (unsigned long long)source->part->bytes);
        }
    }
    *ret_bytes = bytes;
    return verify(source, offset, into.data, bytes, error);
}

/* ---- link, or copy ---- */
static uint32_t write_all(struct source *source, int32_t fd, struct cistern_bytes buffer,
    const char *path, struct cistern_error *error)
{
    uint64_t offset = 0;
    while (offset < source->part->bytes) {
        uint64_t bytes;
        uint32_t status = source_read(source, offset, buffer, &bytes, error);
        if (status != CISTERN_OK) {
            return status;
        }
        struct cistern_io_operation write = {.opcode = CISTERN_IO_WRITE,
            .fd = fd,
            .data = buffer.data,
            .bytes = bytes,
            .offset = offset};
        int64_t result = cistern_io_run(source->restore->io, &write);
        if (result < 0) {
            return cistern_fail_errno(error, (int32_t)-result, path, "write");
        }
        offset += bytes;
    }
    return CISTERN_OK;
}

static uint32_t copy_to(struct source *source, const char *local_path, struct cistern_error *error)
{
    struct cistern_io *io = source->restore->io;
    struct cistern_io_operation open = {.opcode = CISTERN_IO_OPEN,
        .path = local_path,
        .flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
        .mode = 0644};
    int64_t fd = cistern_io_run(io, &open);
    if (fd < 0) {
        return cistern_fail_errno(error, (int32_t)-fd, local_path, "create");
    }
    struct cistern_bytes buffer = {cistern_allocate(COPY_BYTES), COPY_BYTES};
    uint32_t status =
        buffer.data == NULL
            ? cistern_fail(error, CISTERN_NO_MEMORY, local_path, "no memory to copy a file")
            : write_all(source, (int32_t)fd, buffer, local_path, error);
    cistern_release(buffer.data);
    struct cistern_io_operation close = {.opcode = CISTERN_IO_CLOSE, .fd = (int32_t)fd};
    int64_t closed = cistern_io_run(io, &close);
    if (status == CISTERN_OK && closed < 0) {
        status = cistern_fail_errno(error, (int32_t)-closed, local_path, "close");
    }
    if (status != CISTERN_OK) {
        struct cistern_io_operation unlink = {.opcode = CISTERN_IO_UNLINK, .path = local_path};
        (void)cistern_io_run(io, &unlink);
    }
    return status;
}

static uint32_t source_link(void *arg, const char *local_path, struct cistern_error *error)
{
    struct source *source = arg;
    const struct place *place = &source->restore->place;
    char name[NAME_BYTES_MAX];
    char path[STORE_PATH_BYTES_MAX];
    data_name_format(name, &source->part->name);
    uint32_t status = place_path(place, name, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_io_operation link = {
        .opcode = CISTERN_IO_LINK, .path = path, .path2 = local_path};
    int64_t result = cistern_io_run(source->restore->io, &link);
    if (result >= 0) {
        return CISTERN_OK;
    }
    if (result == -EEXIST) {
        return cistern_fail_errno(error, EEXIST, local_path, "link");
    }
    return copy_to(source, local_path,
        error); /* another file system, or one without links; what is really wrong shows there */
}

static const char *source_describe(void *arg)
{
    const struct source *source = arg;
    return source->description;
}

uint32_t cistern_restore_source(struct cistern_restore *restore,
    struct cistern_key_group_range range, struct cistern_source *ret_source,
    struct cistern_error *error)
{
    if (restore->is_bare) {
        return cistern_fail(error, CISTERN_NOT_FOUND, restore->path,
            "a copied checkpoint directory without its data files: restore from the root it was "
            "copied from, or from a savepoint");
    }
    struct source *source = cistern_allocate_zeroed(1, sizeof *source);
    if (source == NULL || (source->hash = cistern_hash_stream_create()) == NULL) {
        cistern_release(source);
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a restore");
    }
    source->restore = restore;
    source->range = range;
    source->feed.place = &restore->place;
    snprintf(source->description, sizeof source->description, "checkpoint %llu",
        (unsigned long long)restore->manifest.checkpoint_id);
    *ret_source = (struct cistern_source){.arg = source,
        .backend = restore->manifest.slices[0].slice.backend,
        .slice_count = restore->manifest.slice_count,
        .next = source_next,
        .read = source_read,
        .link = source_link,
        .describe = source_describe};
    return CISTERN_OK;
}

void cistern_restore_source_close(struct cistern_source *given)
{
    struct source *source = given->arg;
    if (source != NULL) {
        drop_part(source);
        close_slice(source);
        cistern_hash_stream_destroy(source->hash);
        cistern_release(source);
        given->arg = NULL;
    }
}
