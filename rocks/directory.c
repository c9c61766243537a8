/* directory.c -- creates, empties and removes the live database's directory; see
 * directory_private.h. */
#include "directory_private.h"
#include "cistern/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 3u /* the directory, a restore's scratch inside it, and one to spare */

uint32_t directory_join(char into[DIRECTORY_PATH_BYTES_MAX], const char *directory,
    const char *name, struct cistern_error *error)
{
    int bytes = snprintf(into, DIRECTORY_PATH_BYTES_MAX, "%s/%s", directory, name);
    if (bytes < 0 || (unsigned)bytes >= DIRECTORY_PATH_BYTES_MAX) {
        return cistern_fail(error, CISTERN_INVALID, directory,
            "a path in this directory has more than %u bytes", DIRECTORY_PATH_BYTES_MAX - 1);
    }
    return CISTERN_OK;
}

static int is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static uint32_t require_empty(const char *path, struct cistern_error *error)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return cistern_fail_errno(error, errno, path, "opening the live directory");
    }
    uint32_t status = CISTERN_OK;
    struct dirent *entry;
    while (status == CISTERN_OK && (entry = readdir(directory)) != NULL) {
        if (!is_dot(entry->d_name)) {
            status = cistern_fail(error, CISTERN_EXISTS, path,
                "the live directory holds \"%.64s\"; it must not exist or be empty", entry->d_name);
        }
    }
    closedir(directory);
    return status;
}

uint32_t directory_create(const char *path, struct cistern_error *error)
{
    if (mkdir(path, 0777) == 0) {
        return CISTERN_OK;
    }
    if (errno != EEXIST) {
        return cistern_fail_errno(error, errno, path, "creating the live directory");
    }
    return require_empty(path, error);
}

static uint32_t clear_level(
    const char *path, int remove_self, uint32_t depth, struct cistern_error *error);

static uint32_t remove_entry(
    const char *directory, const char *name, uint32_t depth, struct cistern_error *error)
{
    char path[DIRECTORY_PATH_BYTES_MAX];
    uint32_t status = directory_join(path, directory, name, error);
    if (status != CISTERN_OK || unlink(path) == 0 || errno == ENOENT) {
        return status;
    }
    if (errno != EISDIR && errno != EPERM) {
        return cistern_fail_errno(error, errno, path, "removing a file of the live database");
    }
    return clear_level(path, 1, depth + 1, error);
}

static uint32_t clear_level(
    const char *path, int remove_self, uint32_t depth, struct cistern_error *error)
{
    if (depth >= DEPTH_MAX) {
        return cistern_fail(
            error, CISTERN_INVALID, path, "not removed: directories lie deeper than ours ever do");
    }
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return errno == ENOENT
                   ? CISTERN_OK
                   : cistern_fail_errno(error, errno, path, "opening a directory to empty it");
    }
    uint32_t status = CISTERN_OK;
    struct dirent *entry;
    while (status == CISTERN_OK && (entry = readdir(directory)) != NULL) {
        if (!is_dot(entry->d_name)) {
            status = remove_entry(path, entry->d_name, depth, error);
        }
    }
    closedir(directory);
    if (status == CISTERN_OK && remove_self && rmdir(path) != 0 && errno != ENOENT) {
        status = cistern_fail_errno(error, errno, path, "removing a directory");
    }
    return status;
}

uint32_t directory_clear(const char *path, int remove_self, struct cistern_error *error)
{
    return clear_level(path, remove_self, 0, error);
}

uint32_t directory_write_file(
    const char *path, const void *data, uint64_t bytes, struct cistern_error *error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        return cistern_fail_errno(error, errno, path, "creating a file");
    }
    uint32_t status = CISTERN_OK;
    ssize_t written = write(fd, data, bytes);
    if (written < 0 || (uint64_t)written != bytes) {
        status = cistern_fail_errno(error, written < 0 ? errno : ENOSPC, path, "writing a file");
    } else if (fsync(fd) != 0) {
        status = cistern_fail_errno(error, errno, path, "syncing a file");
    }
    if (close(fd) != 0 && status == CISTERN_OK) {
        status = cistern_fail_errno(error, errno, path, "closing a file");
    }
    return status;
}

uint32_t directory_sync(const char *path, struct cistern_error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return cistern_fail_errno(error, errno, path, "opening a directory");
    }
    uint32_t status =
        fsync(fd) == 0 ? CISTERN_OK : cistern_fail_errno(error, errno, path, "syncing a directory");
    close(fd);
    return status;
}
