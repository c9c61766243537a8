/*
 * store.c -- a root directory through an io: names, small files, the two publishing primitives; see
 * store_private.h.
 *
 * One implementation serves file: and memory:, because both are operations on paths: memory: brings
 * an io of its own.
 */
#include "io_private.h"
#include "store_internal_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_PIECE_BYTES (64u << 10)

/* ---- names ---- */

static int name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static int name_valid(const char *name)
{
    size_t bytes = strlen(name);
    if (bytes > STORE_NAME_BYTES_MAX) {
        return 0;
    }
    for (const char *at = name; *at != '\0';) {
        size_t width = strcspn(at, "/");
        if (width == 0 || (width == 1 && at[0] == '.') ||
            (width == 2 && at[0] == '.' && at[1] == '.')) {
            return 0;
        }
        for (size_t i = 0; i < width; i++) {
            if (!name_character(at[i])) {
                return 0;
            }
        }
        at += width;
        if (*at == '/' && *++at == '\0') {
            return 0;
        }
    }
    return 1;
}

uint32_t store_absolute_path(const struct cistern_store *store, const char *name,
    char ret_path[STORE_PATH_BYTES_MAX], struct cistern_error *error)
{
    if (!name_valid(name)) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "a name inside a checkpoint folder is [a-zA-Z0-9._-] components of at most %u bytes in "
            "all",
            STORE_NAME_BYTES_MAX);
    }
    int bytes = snprintf(
        ret_path, STORE_PATH_BYTES_MAX, "%s%s%s", store->root, *name == '\0' ? "" : "/", name);
    if (bytes < 0 || bytes >= (int)STORE_PATH_BYTES_MAX) {
        return cistern_fail(
            error, CISTERN_INVALID, name, "the path of the checkpoint folder is too long");
    }
    return CISTERN_OK;
}

/* ---- operations on absolute paths ---- */

static int64_t run_path(
    struct cistern_store *store, uint32_t opcode, const char *path, const char *path2)
{
    struct cistern_io_operation operation = {
        .opcode = opcode, .path = path, .path2 = path2, .mode = 0777};
    return cistern_io_run(store->io, &operation);
}

static int64_t run_open(struct cistern_store *store, const char *path, uint32_t flags)
{
    struct cistern_io_operation operation = {
        .opcode = CISTERN_IO_OPEN, .path = path, .flags = flags, .mode = 0666};
    return cistern_io_run(store->io, &operation);
}

static void run_close(struct cistern_store *store, int64_t fd)
{
    struct cistern_io_operation operation = {.opcode = CISTERN_IO_CLOSE, .fd = (int32_t)fd};
    /* read-only, or synced before: closing has nothing to report */
    (void)cistern_io_run(store->io, &operation);
}

static int64_t run_sync(struct cistern_store *store, const char *path, uint32_t flags)
{
    int64_t fd = run_open(store, path, flags);
    if (fd < 0) {
        return fd;
    }
    struct cistern_io_operation operation = {.opcode = CISTERN_IO_FSYNC, .fd = (int32_t)fd};
    int64_t result = cistern_io_run(store->io, &operation);
    run_close(store, fd);
    return result;
}

/* The directory a path lies in. */
static void path_parent(char parent[STORE_PATH_BYTES_MAX], const char *path)
{
    snprintf(parent, STORE_PATH_BYTES_MAX, "%s", path);
    char *slash = strrchr(parent, '/');
    assert(slash != NULL);
    slash[slash == parent] = '\0';
}

static int64_t sync_parent(struct cistern_store *store, const char *path)
{
    char parent[STORE_PATH_BYTES_MAX];
    path_parent(parent, path);
    return run_sync(store, parent, O_RDONLY | O_DIRECTORY);
}

/* link(2). A file system that lost the reply (NFS) may answer with any error to a link that took
 * place, EEXIST among them when the request was sent twice: two names mean that it did. `path` has
 * one name before, and nobody else knows it. */
static int64_t run_link(struct cistern_store *store, const char *path, const char *path2)
{
    int64_t result = run_path(store, CISTERN_IO_LINK, path, path2);
    struct cistern_io_operation stat = {.opcode = CISTERN_IO_STAT, .path = path};
    return result < 0 && cistern_io_run(store->io, &stat) == 0 && stat.result_stat.link_count == 2
               ? 0
               : result;
}

/* mkdir -p, durable. A directory is made only in one whose own entry has been synced; so one
 * that is found has nothing but its own entry left to sync: whoever made it may have died before
 * that. */
static int64_t make_directories(struct cistern_store *store, const char *path)
{
    struct cistern_io_operation stat = {.opcode = CISTERN_IO_STAT, .path = path};
    int64_t result = cistern_io_run(store->io, &stat);
    if (result == 0) {
        result = sync_parent(store, path);
        /* In a parent that we may not open, somebody else made it. */
        return result == -EACCES ? 0 : result;
    }
    if (result == -ENOENT) {
        char parent[STORE_PATH_BYTES_MAX];
        path_parent(parent, path);
        result = make_directories(store, parent);
    }
    if (result == 0) {
        result = run_path(store, CISTERN_IO_MKDIR, path, NULL);
    }
    return result == 0 || result == -EEXIST ? sync_parent(store, path) : result;
}

/* ---- open, close ---- */

static uint32_t file_root(const char *uri, char **ret_root, struct cistern_error *error)
{
    if (strncmp(uri, "file://", 7) == 0 && uri[7] != '/') {
        return cistern_fail(error, CISTERN_INVALID, uri,
            "file:// is followed by a path that begins with '/', as in file:///srv/checkpoints; "
            "file:PATH and PATH may be relative");
    }
    const char *path = strncmp(uri, "file://", 7) == 0 ? uri + 7
                       : strncmp(uri, "file:", 5) == 0 ? uri + 5
                                                       : uri;
    if (*path == '\0' || (path == uri && strstr(uri, "://") != NULL)) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, uri,
            "checkpoints are kept in a directory (a path or file:PATH) or in memory:; this build "
            "knows no other store");
    }
    char here[STORE_PATH_BYTES_MAX];
    if (*path != '/' && getcwd(here, sizeof here) == NULL) {
        return cistern_fail_errno(error, errno, uri, "the working directory cannot be read");
    }
    uint64_t bytes = strlen(path) + STORE_PATH_BYTES_MAX;
    char *root = cistern_allocate(bytes);
    if (root == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, uri, "no memory for the store");
    }
    snprintf(root, bytes, "%s%s%s", *path == '/' ? "" : here, *path == '/' ? "" : "/", path);
    for (size_t end = strlen(root); end > 1 && root[end - 1] == '/'; end--) {
        root[end - 1] = '\0';
    }
    if (strlen(root) + STORE_NAME_BYTES_MAX + 2 > STORE_PATH_BYTES_MAX) {
        cistern_release(root);
        return cistern_fail(
            error, CISTERN_INVALID, uri, "the path of the checkpoint folder is too long");
    }
    *ret_root = root;
    return CISTERN_OK;
}

static uint32_t root_prepare(
    struct cistern_store *store, uint32_t create, struct cistern_error *error)
{
    int64_t result = create ? make_directories(store, store->root) : 0;
    struct cistern_io_operation stat = {.opcode = CISTERN_IO_STAT, .path = store->root};
    if (result == 0) {
        result = cistern_io_run(store->io, &stat);
    }
    if (create && result == -EINVAL) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, store->root,
            "this file system cannot make a directory entry durable (fsync of a directory), which "
            "publishing a checkpoint needs");
    }
    if (result < 0) {
        return cistern_fail_errno(error, (int32_t)-result, store->root,
            create ? "the checkpoint folder cannot be made" : "no checkpoint folder is there");
    }
    /* A symbolic link is followed by every later call; only its target has to be a directory. */
    if (!stat.result_stat.is_directory &&
        run_sync(store, store->root, O_RDONLY | O_DIRECTORY) < 0) {
        return cistern_fail(error, CISTERN_INVALID, store->root,
            "a checkpoint folder is a directory; this is a file");
    }
    return CISTERN_OK;
}

/* Publishing needs hard links: says so before the first checkpoint, not at it. */
static uint32_t links_probe(struct cistern_store *store, struct cistern_error *error)
{
    char first[STORE_PATH_BYTES_MAX];
    char second[STORE_PATH_BYTES_MAX];
    uint64_t random = cistern_io_random(store->io);
    snprintf(first, sizeof first, "%s/.probe-%016llx", store->root, (unsigned long long)random);
    snprintf(
        second, sizeof second, "%s/.probe-%016llx.link", store->root, (unsigned long long)random);
    int64_t fd = run_open(store, first, O_WRONLY | O_CREAT | O_EXCL);
    if (fd < 0) {
        return cistern_fail_errno(
            error, (int32_t)-fd, store->root, "the checkpoint folder cannot be written to");
    }
    run_close(store, fd);
    int64_t result = run_link(store, first, second);
    (void)run_path(store, CISTERN_IO_UNLINK, second, NULL);
    (void)run_path(store, CISTERN_IO_UNLINK, first, NULL);
    if (result == -EPERM || result == -EOPNOTSUPP || result == -ENOSYS || result == -EMLINK) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, store->root,
            "this file system has no hard links, which publishing a checkpoint needs");
    }
    if (result < 0) {
        return cistern_fail_errno(
            error, (int32_t)-result, store->root, "a hard link cannot be made here");
    }
    return CISTERN_OK;
}

static uint32_t store_prepare(
    struct cistern_store *store, const char *uri, uint32_t create, struct cistern_error *error)
{
    if (strncmp(uri, "memory:", 7) == 0) {
        if (uri[7] != '\0') {
            return cistern_fail(error, CISTERN_INVALID, uri,
                "a store in memory has no name, and ends with its process: memory:");
        }
        store->in_memory = 1;
        store->root = cistern_duplicate_string("/memory");
        uint32_t status = store->root == NULL ? cistern_fail(error, CISTERN_NO_MEMORY, uri,
                                                    "no memory for the store")
                                              : io_create_memory(&store->io, error);
        return status == CISTERN_OK ? root_prepare(store, 1, error) : status;
    }
    uint32_t status = file_root(uri, &store->root, error);
    if (status == CISTERN_OK) {
        status = root_prepare(store, create, error);
    }
    return status == CISTERN_OK && create ? links_probe(store, error) : status;
}

uint32_t cistern_store_open(struct cistern_io *io, const char *uri, uint32_t create,
    struct cistern_store **ret_store, struct cistern_error *error)
{
    struct cistern_store *store = cistern_allocate_zeroed(1, sizeof *store);
    if (store == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, uri, "no memory for the store");
    }
    store->lock_fd = -1;
    store->io = io;
    store->uri = cistern_duplicate_string(uri);
    uint32_t status = store->uri == NULL
                          ? cistern_fail(error, CISTERN_NO_MEMORY, uri, "no memory for the store")
                          : store_prepare(store, uri, create, error);
    if (status != CISTERN_OK) {
        if (store->in_memory && store->io == io) {
            store->io = NULL; /* its own was not made */
        }
        cistern_store_close(store);
        return status;
    }
    *ret_store = store;
    return CISTERN_OK;
}

void cistern_store_close(struct cistern_store *store)
{
    if (store == NULL) {
        return;
    }
    store_unlock(store);
    if (store->in_memory) {
        cistern_io_destroy(store->io);
    }
    cistern_release(store->root);
    cistern_release(store->uri);
    cistern_release(store);
}

const char *cistern_store_uri(const struct cistern_store *store)
{
    return store->uri;
}

const char *cistern_store_path(const struct cistern_store *store)
{
    return store->in_memory ? NULL : store->root;
}

struct cistern_io *store_io(struct cistern_store *store)
{
    return store->io;
}

uint64_t store_part_bytes_max(const struct cistern_store *store)
{
    return store->in_memory ? CISTERN_MEMORY_STORE_PART_BYTES_MAX : UINT64_MAX;
}

/* ---- small files ---- */

static uint32_t file_load(struct cistern_store *store, int64_t fd, const char *path,
    uint64_t bytes_max, void **ret_data, uint64_t *ret_bytes, struct cistern_error *error)
{
    char *data = NULL;
    uint64_t bytes = 0;
    for (;;) {
        char *grown = cistern_reallocate(data, bytes + READ_PIECE_BYTES + 1);
        if (grown == NULL) {
            cistern_release(data);
            return cistern_fail(error, CISTERN_NO_MEMORY, path, "no memory to read the file");
        }
        data = grown;
        struct cistern_io_operation read = {.opcode = CISTERN_IO_READ,
            .fd = (int32_t)fd,
            .data = data + bytes,
            .bytes = READ_PIECE_BYTES,
            .offset = bytes};
        int64_t got = cistern_io_run(store->io, &read);
        if (got < 0) {
            cistern_release(data);
            return cistern_fail_errno(error, (int32_t)-got, path, "the file cannot be read");
        }
        bytes += (uint64_t)got;
        if (bytes > bytes_max) {
            cistern_release(data);
            return cistern_fail_corrupt(error, path, bytes_max,
                "the file is larger than the %llu bytes it may have",
                (unsigned long long)bytes_max);
        }
        if ((uint64_t)got < READ_PIECE_BYTES) {
            break;
        }
    }
    data[bytes] = '\0';
    *ret_data = data;
    *ret_bytes = bytes;
    return CISTERN_OK;
}

uint32_t store_read(struct cistern_store *store, const char *name, uint64_t bytes_max,
    void **ret_data, uint64_t *ret_bytes, struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    uint32_t status = store_absolute_path(store, name, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    int64_t fd = run_open(store, path, O_RDONLY);
    if (fd < 0) {
        return cistern_fail_errno(error, (int32_t)-fd, path, "the file cannot be opened");
    }
    status = file_load(store, fd, path, bytes_max, ret_data, ret_bytes, error);
    run_close(store, fd);
    return status;
}

/* Writes a temporary with these bytes and syncs it; the name is unique, in tmp/. Neither the
 * directory nor the entry has to outlive a power cut. */
static int64_t temporary_write(
    struct cistern_store *store, struct cistern_span data, char temporary[STORE_PATH_BYTES_MAX])
{
    snprintf(temporary, STORE_PATH_BYTES_MAX, "%s/tmp/t-%016llx", store->root,
        (unsigned long long)cistern_io_random(store->io));
    int64_t fd = run_open(store, temporary, O_WRONLY | O_CREAT | O_EXCL);
    if (fd == -ENOENT) {
        char directory[STORE_PATH_BYTES_MAX];
        path_parent(directory, temporary);
        int64_t made = run_path(store, CISTERN_IO_MKDIR, directory, NULL);
        fd = made == 0 || made == -EEXIST ? run_open(store, temporary, O_WRONLY | O_CREAT | O_EXCL)
                                          : made;
    }
    if (fd < 0) {
        return fd;
    }
    struct cistern_io_operation write = {.opcode = CISTERN_IO_WRITE,
        .fd = (int32_t)fd,
        .data = (void *)(uintptr_t)data.data,
        .bytes = data.bytes};
    int64_t result = data.bytes > 0 ? cistern_io_run(store->io, &write) : 0;
    if (result >= 0) {
        struct cistern_io_operation sync = {.opcode = CISTERN_IO_FSYNC, .fd = (int32_t)fd};
        result = cistern_io_run(store->io, &sync);
    }
    run_close(store, fd);
    if (result < 0) {
        (void)run_path(store, CISTERN_IO_UNLINK, temporary, NULL);
    }
    return result < 0 ? result : 0;
}

static uint32_t file_put(struct cistern_store *store, const char *name, struct cistern_span data,
    uint32_t opcode, struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    char temporary[STORE_PATH_BYTES_MAX];
    uint32_t status = store_absolute_path(store, name, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    int64_t result = temporary_write(store, data, temporary);
    if (result < 0) {
        return cistern_fail_errno(error, (int32_t)-result, path, "the file cannot be written");
    }
    result = opcode == CISTERN_IO_LINK ? run_link(store, temporary, path)
                                       : run_path(store, opcode, temporary, path);
    if (opcode == CISTERN_IO_LINK || result < 0) {
        (void)run_path(store, CISTERN_IO_UNLINK, temporary, NULL);
    }
    if (result >= 0) {
        result = sync_parent(store, path);
    }
    return result < 0
               ? cistern_fail_errno(error, (int32_t)-result, path, "the file cannot be published")
               : CISTERN_OK;
}

uint32_t store_publish_exclusive(struct cistern_store *store, const char *name,
    struct cistern_span data, struct cistern_error *error)
{
    return file_put(store, name, data, CISTERN_IO_LINK, error);
}

uint32_t store_replace(struct cistern_store *store, const char *name, struct cistern_span data,
    struct cistern_error *error)
{
    return file_put(store, name, data, CISTERN_IO_RENAME, error);
}

/* ---- directories and entries ---- */

uint32_t store_make_directory(
    struct cistern_store *store, const char *name, struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    uint32_t status = store_absolute_path(store, name, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    int64_t result = make_directories(store, path);
    return result < 0
               ? cistern_fail_errno(error, (int32_t)-result, path, "the directory cannot be made")
               : CISTERN_OK;
}

uint32_t store_sync_directory(
    struct cistern_store *store, const char *name, struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    uint32_t status = store_absolute_path(store, name, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    int64_t result = run_sync(store, path, O_RDONLY | O_DIRECTORY);
    return result < 0
               ? cistern_fail_errno(error, (int32_t)-result, path, "the directory cannot be synced")
               : CISTERN_OK;
}

uint32_t store_stat(struct cistern_store *store, const char *name, struct cistern_io_stat *ret_stat,
    struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    uint32_t status = store_absolute_path(store, name, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_io_operation stat = {.opcode = CISTERN_IO_STAT, .path = path};
    int64_t result = cistern_io_run(store->io, &stat);
    if (result < 0) {
        return cistern_fail_errno(error, (int32_t)-result, path, "the file is not to be seen");
    }
    *ret_stat = stat.result_stat;
    return CISTERN_OK;
}

static uint32_t entry_remove(
    struct cistern_store *store, const char *name, uint32_t opcode, struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    uint32_t status = store_absolute_path(store, name, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    int64_t result = run_path(store, opcode, path, NULL);
    if (result == -ENOTEMPTY || (opcode == CISTERN_IO_RMDIR && result == -EEXIST)) {
        return cistern_fail(error, CISTERN_BUSY, path, "the directory is not empty");
    }
    return result < 0 && result != -ENOENT
               ? cistern_fail_errno(error, (int32_t)-result, path, "cannot be removed")
               : CISTERN_OK;
}

uint32_t store_remove(struct cistern_store *store, const char *name, struct cistern_error *error)
{
    return entry_remove(store, name, CISTERN_IO_UNLINK, error);
}

uint32_t store_remove_directory(
    struct cistern_store *store, const char *name, struct cistern_error *error)
{
    return entry_remove(store, name, CISTERN_IO_RMDIR, error);
}

uint32_t store_list(struct cistern_store *store, const char *name,
    void (*entry)(void *arg, const char *name, uint32_t is_directory), void *arg,
    struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    uint32_t status = store_absolute_path(store, name, path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_io_operation list = {
        .opcode = CISTERN_IO_LIST, .path = path, .entry = entry, .entry_arg = arg};
    int64_t result = cistern_io_run(store->io, &list);
    return result < 0
               ? cistern_fail_errno(error, (int32_t)-result, path, "the directory cannot be listed")
               : CISTERN_OK;
}
