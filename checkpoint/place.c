/* place.c -- reading files of a root or savepoint; see place_private.h. */
#include "place_private.h"

#include "store_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PIECE_BYTES (64u << 10) /* of a whole-file read when every I/O buffer is out */

struct place place_of_store(struct cistern_store *store)
{
    return (struct place){store_io(store), store, NULL};
}

uint32_t place_path(
    const struct place *place, const char *name, char *path, struct cistern_error *error)
{
    if (place->store != NULL) {
        return store_absolute_path(place->store, name, path, error);
    }
    int bytes = snprintf(path, STORE_PATH_BYTES_MAX, "%s/%s", place->directory, name);
    if (bytes < 0 || bytes >= (int)STORE_PATH_BYTES_MAX) {
        return cistern_fail(
            error, CISTERN_INVALID, name, "the path is longer than %u bytes", STORE_PATH_BYTES_MAX);
    }
    return CISTERN_OK;
}

/* Runs one operation on a path of the place; `what` completes "<what>: <strerror>". */
static uint32_t run(const struct place *place, const char *name, const char *what,
    struct cistern_io_operation *operation, struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    uint32_t status = place_path(place, name, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    operation->path = path;
    int64_t result = cistern_io_run(place->io, operation);
    operation->path = NULL;
    return result < 0 ? cistern_fail_errno(error, (int32_t)-result, path, what) : CISTERN_OK;
}

uint32_t place_file_open(const struct place *place, const char *name, struct place_file *ret_file,
    struct cistern_error *error)
{
    struct place_file file = {.place = place, .fd = -1};
    uint32_t status = place_size(place, name, &file.bytes, error);
    if (status != CISTERN_OK) {
        return status;
    }
    file.name = cistern_duplicate_string(name);
    if (file.name == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, name, "no memory for a file name");
    }
    struct cistern_io_operation open = {.opcode = CISTERN_IO_OPEN, .flags = O_RDONLY | O_CLOEXEC};
    status = run(place, name, "open", &open, error);
    file.fd = (int32_t)open.result;
    if (status != CISTERN_OK) {
        cistern_release(file.name);
        return status;
    }
    *ret_file = file;
    return CISTERN_OK;
}

uint32_t place_file_read(const struct place_file *file, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct cistern_io_operation read = {.opcode = CISTERN_IO_READ,
        .fd = file->fd,
        .offset = offset,
        .data = into.data,
        .bytes = into.capacity_bytes};
    int64_t result = cistern_io_run(file->place->io, &read);
    if (result < 0) {
        return cistern_fail_errno(error, (int32_t)-result, file->name, "read");
    }
    *ret_bytes = (uint64_t)result;
    return CISTERN_OK;
}

void place_file_close(struct place_file *file)
{
    if (file->name != NULL && file->fd >= 0) {
        struct cistern_io_operation close = {.opcode = CISTERN_IO_CLOSE, .fd = file->fd};
        (void)cistern_io_run(file->place->io, &close);
    }
    cistern_release(file->name);
    *file = (struct place_file){.fd = -1};
}

uint32_t place_size(
    const struct place *place, const char *name, uint64_t *ret_bytes, struct cistern_error *error)
{
    struct cistern_io_operation stat = {.opcode = CISTERN_IO_STAT};
    uint32_t status = run(place, name, "look at", &stat, error);
    if (status == CISTERN_OK) {
        *ret_bytes = stat.result_stat.bytes;
    }
    return status;
}

uint32_t place_load(const struct place *place, const char *name, uint64_t bytes_max,
    struct text *text, struct cistern_error *error)
{
    struct place_file file;
    uint32_t status = place_file_open(place, name, &file, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (file.bytes > bytes_max) {
        status = cistern_fail_corrupt(error, name, bytes_max,
            "the file has %llu bytes; at most %llu belong there", (unsigned long long)file.bytes,
            (unsigned long long)bytes_max);
    } else {
        void *data = cistern_allocate(file.bytes + 1);
        uint64_t bytes = 0;
        if (data == NULL) {
            status = cistern_fail(error, CISTERN_NO_MEMORY, name, "no memory for %llu bytes",
                (unsigned long long)file.bytes);
        } else {
            status =
                place_file_read(&file, 0, (struct cistern_bytes){data, file.bytes}, &bytes, error);
        }
        if (status == CISTERN_OK) {
            text_append(text, data, bytes);
            status = text_check(text, error);
        }
        cistern_release(data);
    }
    place_file_close(&file);
    return status;
}

/* What is left to read of a file, in one buffer; *ret_own says whom to give it back to. */
static void *acquire_buffer(struct cistern_io *io, uint64_t *ret_bytes, uint32_t *ret_own)
{
    void *buffer = cistern_io_buffer_acquire(io);
    *ret_own = buffer == NULL;
    *ret_bytes = buffer == NULL ? PIECE_BYTES : cistern_io_buffer_bytes(io);
    return buffer != NULL ? buffer : cistern_allocate(PIECE_BYTES);
}

static void release_buffer(struct cistern_io *io, void *buffer, uint32_t own)
{
    if (own) {
        cistern_release(buffer);
    } else if (buffer != NULL) {
        cistern_io_buffer_release(io, buffer);
    }
}

static uint32_t hash_file(const struct place_file *file, struct cistern_hash_stream *stream,
    struct cistern_bytes buffer, uint64_t *ret_bytes, void (*progress)(void *arg, uint64_t bytes),
    void *arg, struct cistern_error *error)
{
    uint64_t offset = 0;
    for (;;) {
        uint64_t bytes = 0;
        uint32_t status = place_file_read(file, offset, buffer, &bytes, error);
        if (status != CISTERN_OK) {
            return status;
        }
        cistern_hash_stream_update(stream, buffer.data, bytes);
        offset += bytes;
        if (progress != NULL) {
            progress(arg, bytes);
        }
        if (bytes < buffer.capacity_bytes) {
            *ret_bytes = offset;
            return CISTERN_OK;
        }
    }
}

uint32_t place_hash(const struct place *place, const char *name, uint64_t *ret_bytes,
    struct cistern_hash128 *ret_hash, void (*progress)(void *arg, uint64_t bytes), void *arg,
    struct cistern_error *error)
{
    struct place_file file;
    uint32_t status = place_file_open(place, name, &file, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint32_t own;
    struct cistern_bytes buffer;
    buffer.data = acquire_buffer(place->io, &buffer.capacity_bytes, &own);
    struct cistern_hash_stream *stream = cistern_hash_stream_create();
    if (buffer.data == NULL || stream == NULL) {
        status = cistern_fail(error, CISTERN_NO_MEMORY, name, "no memory to read a file");
    } else {
        status = hash_file(&file, stream, buffer, ret_bytes, progress, arg, error);
    }
    if (status == CISTERN_OK) {
        *ret_hash = cistern_hash_stream_finish(stream);
    }
    cistern_hash_stream_destroy(stream);
    release_buffer(place->io, buffer.data, own);
    place_file_close(&file);
    return status;
}

struct listing {
    struct place_entry *entries;
    uint32_t failed;
};

/* On the thread that runs the operation, which is over before anybody looks. */
static void add_entry(void *arg, const char *name, uint32_t is_directory)
{
    struct listing *listing = arg;
    uint64_t bytes = strlen(name) + 1;
    struct place_entry *entry = cistern_allocate(sizeof *entry + bytes);
    if (entry == NULL) {
        listing->failed = 1;
        return;
    }
    entry->is_directory = is_directory;
    memcpy(entry->name, name, bytes);
    entry->next = listing->entries;
    listing->entries = entry;
}

uint32_t place_list(const struct place *place, const char *name, struct place_entry **ret_entries,
    struct cistern_error *error)
{
    struct listing listing = {0};
    struct cistern_error scratch;
    struct cistern_io_operation list = {
        .opcode = CISTERN_IO_LIST, .entry = add_entry, .entry_arg = &listing};
    uint32_t status = run(place, name, "list", &list, &scratch);
    if (status == CISTERN_NOT_FOUND) {
        status = CISTERN_OK;
    } else if (status == CISTERN_OK && listing.failed) {
        status =
            cistern_fail(&scratch, CISTERN_NO_MEMORY, name, "no memory for a directory listing");
    }
    if (status != CISTERN_OK) {
        place_list_free(listing.entries);
        if (error != NULL) {
            *error = scratch;
        }
        return status;
    }
    *ret_entries = listing.entries;
    return CISTERN_OK;
}

void place_list_free(struct place_entry *entries)
{
    while (entries != NULL) {
        struct place_entry *next = entries->next;
        cistern_release(entries);
        entries = next;
    }
}

uint32_t place_publish(const struct place *place, const char *name, struct cistern_span data,
    struct cistern_error *error)
{
    return store_publish_exclusive(place->store, name, data, error);
}

uint32_t place_replace(const struct place *place, const char *name, struct cistern_span data,
    struct cistern_error *error)
{
    return store_replace(place->store, name, data, error);
}

uint32_t place_make_directory(
    const struct place *place, const char *name, struct cistern_error *error)
{
    return store_make_directory(place->store, name, error);
}

uint32_t place_sync_directory(
    const struct place *place, const char *name, struct cistern_error *error)
{
    return store_sync_directory(place->store, name, error);
}

uint32_t place_remove(const struct place *place, const char *name, struct cistern_error *error)
{
    return store_remove(place->store, name, error);
}

uint32_t place_remove_directory(
    const struct place *place, const char *name, struct cistern_error *error)
{
    uint32_t status = store_remove_directory(place->store, name, error);
    return status == CISTERN_BUSY ? CISTERN_OK : status;
}

/* Names we did not choose (a backend's working directory) may be outside the store's alphabet:
 * by path. */
static uint32_t remove_by_path(
    const struct place *place, const char *name, uint32_t opcode, struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    struct cistern_io_operation remove = {.opcode = opcode, .path = path};
    char root[STORE_PATH_BYTES_MAX];
    uint32_t status = store_absolute_path(place->store, "", root, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (snprintf(path, sizeof path, "%s/%s", root, name) >= (int)sizeof path) {
        return cistern_fail(
            error, CISTERN_INVALID, name, "the path is longer than %u bytes", STORE_PATH_BYTES_MAX);
    }
    int64_t result = cistern_io_run(place->io, &remove);
    return result < 0 && result != -ENOENT
               ? cistern_fail_errno(error, (int32_t)-result, path, "remove")
               : CISTERN_OK;
}

uint32_t place_remove_tree(
    const struct place *place, const char *name, uint32_t depth, struct cistern_error *error)
{
    struct place_entry *entries;
    if (depth == PLACE_DEPTH_MAX) {
        return cistern_fail(error, CISTERN_LIMIT, name,
            "directories nested deeper than %u are not removed", PLACE_DEPTH_MAX);
    }
    uint32_t status = place_list(place, name, &entries, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL && status == CISTERN_OK;
         entry = entry->next) {
        char *path = text_path("%s/%s", name, entry->name);
        if (path == NULL) {
            status = cistern_fail(error, CISTERN_NO_MEMORY, name, "no memory for a path");
        } else if (entry->is_directory) {
            status = place_remove_tree(place, path, depth + 1, error);
        } else {
            status = remove_by_path(place, path, CISTERN_IO_UNLINK, error);
        }
        cistern_release(path);
    }
    place_list_free(entries);
    return status == CISTERN_OK ? remove_by_path(place, name, CISTERN_IO_RMDIR, error) : status;
}
