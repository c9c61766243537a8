/* input.c -- see input.h. */
#include "input.h"

#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static uint32_t file_head_hash(const char *path, uint8_t *scratch, struct stat *ret_stat,
    struct cistern_hash128 *ret_hash, struct cistern_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return cistern_fail_errno(error, errno, path, "cannot open the input");
    }
    ssize_t bytes = -1;
    if (fstat(fd, ret_stat) == 0) {
        bytes = pread(fd, scratch, INPUT_HEAD_BYTES, 0);
    }
    int32_t os_errno = errno;
    (void)close(fd);
    if (bytes < 0) {
        return cistern_fail_errno(error, os_errno, path, "cannot read the input");
    }
    *ret_hash = cistern_hash128(scratch, (uint64_t)bytes);
    return CISTERN_OK;
}

static uint64_t file_identity(
    const char *path, const struct stat *stat_of, const struct cistern_hash128 *head)
{
    uint8_t facts[32 + sizeof head->bytes];
    cistern_put_u64_be(facts, (uint64_t)stat_of->st_size);
    cistern_put_u64_be(facts + 8, (uint64_t)stat_of->st_mtim.tv_sec);
    cistern_put_u64_be(facts + 16, (uint64_t)stat_of->st_mtim.tv_nsec);
    cistern_put_u64_be(facts + 24, (uint64_t)stat_of->st_ino);
    memcpy(facts + 32, head->bytes, sizeof head->bytes);
    return cistern_hash64_seeded(facts, sizeof facts, cistern_hash64(path, strlen(path)));
}

static uint32_t list_grow(struct input_list *list, const char *path, struct cistern_error *error)
{
    if (list->count == INPUT_FILES_MAX) {
        return cistern_fail(
            error, CISTERN_LIMIT, path, "more than %u input files", INPUT_FILES_MAX);
    }
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        void *files = cistern_reallocate(list->files, capacity * sizeof list->files[0]);
        if (files == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, path, "no memory for the list of inputs");
        }
        list->files = files;
        list->capacity = capacity;
    }
    return CISTERN_OK;
}

/* Like realpath(), of something whose last names need not exist yet. */
static int path_resolve(const char *path, char resolved[PATH_MAX])
{
    char whole[PATH_MAX], head[PATH_MAX];
    int length = snprintf(whole, sizeof whole, "%s%s", path[0] == '/' ? "" : "./", path);
    if (length < 0 || (size_t)length >= sizeof whole) {
        return 0;
    }
    memcpy(head, whole, (size_t)length + 1);
    const char *tail = ""; /* of `whole`: what is not there */
    while (realpath(head, resolved) == NULL) {
        char *slash = strrchr(head, '/');
        if (slash == NULL || slash == head) {
            return 0;
        }
        tail = whole + (slash - head);
        *slash = '\0';
    }
    size_t at = strlen(resolved);
    length = snprintf(resolved + at, PATH_MAX - at, "%s", tail);
    return length >= 0 && (size_t)length < PATH_MAX - at;
}

uint32_t input_list_exclude(struct input_list *list, const char *path, struct cistern_error *error)
{
    char resolved[PATH_MAX];
    assert(list->excluded_count < INPUT_EXCLUDED_MAX && list->count == 0);
    if (!path_resolve(path, resolved)) {
        return CISTERN_OK; /* whoever opens it says why it cannot be */
    }
    char *copy = cistern_duplicate_string(resolved);
    if (copy == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, path, "no memory for the list of inputs");
    }
    list->excluded[list->excluded_count++] = copy;
    return CISTERN_OK;
}

static int is_excluded(const struct input_list *list, const char *resolved)
{
    for (uint32_t i = 0; i < list->excluded_count; i++) {
        if (strcmp(list->excluded[i], resolved) == 0) {
            return 1;
        }
    }
    return 0;
}

static uint32_t excluded_named(const char *path, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_INVALID, path,
        "the job would read what it writes: input and output, report or checkpoints are the same");
}

static uint32_t file_add(
    struct input_list *list, const char *path, uint32_t named, struct cistern_error *error)
{
    char resolved[PATH_MAX];
    if (realpath(path, resolved) == NULL) {
        return cistern_fail_errno(error, errno, path, "cannot open the input");
    }
    if (is_excluded(list, resolved)) {
        return named ? excluded_named(path, error) : CISTERN_OK;
    }
    uint32_t status = list_grow(list, path, error);
    uint8_t *scratch = status == CISTERN_OK ? cistern_allocate(INPUT_HEAD_BYTES) : NULL;
    if (status == CISTERN_OK && scratch == NULL) {
        status = cistern_fail(error, CISTERN_NO_MEMORY, path, "no memory to look at the input");
    }
    struct stat stat_of;
    struct cistern_hash128 head;
    if (status == CISTERN_OK) {
        status = file_head_hash(resolved, scratch, &stat_of, &head, error);
    }
    cistern_release(scratch);
    if (status != CISTERN_OK) {
        return status;
    }
    char *copy = cistern_duplicate_string(resolved);
    if (copy == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, path, "no memory for the list of inputs");
    }
    list->files[list->count++] = (struct input_file){.path = copy,
        .bytes = (uint64_t)stat_of.st_size,
        .identity = file_identity(copy, &stat_of, &head)};
    list->bytes += (uint64_t)stat_of.st_size;
    return CISTERN_OK;
}

static int entry_wanted(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int entry_compare(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static uint32_t directory_add(
    struct input_list *list, const char *path, uint32_t depth, struct cistern_error *error);

static uint32_t entry_add(struct input_list *list, const char *directory, const char *name,
    uint32_t depth, struct cistern_error *error)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (length < 0 || (size_t)length >= sizeof path) {
        return cistern_fail(
            error, CISTERN_INVALID, directory, "a path below it is longer than %u bytes", PATH_MAX);
    }
    struct stat itself, target;
    if (lstat(path, &itself) != 0) {
        return cistern_fail_errno(error, errno, path, "cannot look at the input");
    }
    if (S_ISDIR(itself.st_mode)) {
        return directory_add(list, path, depth + 1, error);
    }
    if (stat(path, &target) != 0 || !S_ISREG(target.st_mode)) {
        return CISTERN_OK; /* a dangling link, a socket, a device: nothing to read words from */
    }
    return file_add(list, path, 0, error);
}

static uint32_t directory_add(
    struct input_list *list, const char *path, uint32_t depth, struct cistern_error *error)
{
    if (depth > INPUT_DEPTH_MAX) {
        return cistern_fail(
            error, CISTERN_LIMIT, path, "directories nest deeper than %u", INPUT_DEPTH_MAX);
    }
    char resolved[PATH_MAX];
    if (realpath(path, resolved) == NULL) {
        return cistern_fail_errno(error, errno, path, "cannot read the input directory");
    }
    if (is_excluded(list, resolved)) {
        return depth == 0 ? excluded_named(path, error) : CISTERN_OK;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, entry_wanted, entry_compare);
    if (count < 0) {
        return cistern_fail_errno(error, errno, path, "cannot read the input directory");
    }
    uint32_t status = CISTERN_OK;
    for (int i = 0; i < count; i++) {
        if (status == CISTERN_OK) {
            status = entry_add(list, path, entries[i]->d_name, depth, error);
        }
        (free)(entries[i]); /* scandir's, not ours */
    }
    (free)(entries);
    return status;
}

uint32_t input_list_add(struct input_list *list, const char *path, struct cistern_error *error)
{
    struct stat stat_of;
    if (stat(path, &stat_of) != 0) {
        return cistern_fail_errno(error, errno, path, "cannot open the input");
    }
    if (S_ISDIR(stat_of.st_mode)) {
        return directory_add(list, path, 0, error);
    }
    if (!S_ISREG(stat_of.st_mode)) {
        return cistern_fail(error, CISTERN_INVALID, path,
            "the input is neither a file nor a directory; a source must be able to go back to an "
            "offset");
    }
    return file_add(list, path, 1, error);
}

void input_list_deinit(struct input_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        cistern_release(list->files[i].path);
    }
    for (uint32_t i = 0; i < list->excluded_count; i++) {
        cistern_release(list->excluded[i]);
    }
    cistern_release(list->files);
    *list = (struct input_list){0};
}

struct cistern_hash128 input_list_identity(const struct input_list *list)
{
    struct cistern_hash_stream *stream = cistern_hash_stream_create();
    struct cistern_hash128 hash = {{0}};
    if (stream == NULL) {
        return hash;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        uint8_t identity[8];
        cistern_put_u64_be(identity, list->files[i].identity);
        cistern_hash_stream_update(stream, identity, sizeof identity);
    }
    hash = cistern_hash_stream_finish(stream);
    cistern_hash_stream_destroy(stream);
    return hash;
}
