/* io_execute.c -- one operation by plain system calls: the worker threads' way, and the ring's
 * for what a ring cannot do. */
#include "io_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t outcome(int64_t result)
{
    return result < 0 ? -(int64_t)errno : result;
}

static int64_t execute_read(const struct cistern_io_operation *operation)
{
    uint64_t done = 0;
    while (done < operation->bytes) {
        ssize_t got = pread(operation->fd, (char *)operation->data + done, operation->bytes - done,
            (off_t)(operation->offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -(int64_t)errno;
        }
        if (got == 0) {
            break;
        }
        done += (uint64_t)got;
    }
    return (int64_t)done;
}

static int64_t execute_write(const struct cistern_io_operation *operation)
{
    uint64_t done = 0;
    while (done < operation->bytes) {
        ssize_t put = pwrite(operation->fd, (const char *)operation->data + done,
            operation->bytes - done, (off_t)(operation->offset + done));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? -(int64_t)errno : -ENOSPC;
        }
        done += (uint64_t)put;
    }
    return (int64_t)done;
}

static int64_t execute_allocate(const struct cistern_io_operation *operation)
{
    int64_t result =
        outcome(fallocate(operation->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)operation->bytes));
    return result == -EOPNOTSUPP ? 0 : result;
}

static int64_t execute_stat(struct cistern_io_operation *operation)
{
    struct stat stat;
    if (lstat(operation->path, &stat) != 0) {
        return -(int64_t)errno;
    }
    operation->result_stat = (struct cistern_io_stat){
        .bytes = (uint64_t)stat.st_size,
        .link_count = stat.st_nlink,
        .inode = stat.st_ino,
        .device = stat.st_dev,
        .mtime_ns = (int64_t)stat.st_mtim.tv_sec * 1000000000 + stat.st_mtim.tv_nsec,
        .is_directory = S_ISDIR(stat.st_mode),
    };
    return 0;
}

static uint32_t entry_is_directory(const char *directory, const struct dirent *entry)
{
    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_DIR;
    }
    char path[4352];
    struct stat stat;
    snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    return lstat(path, &stat) == 0 && S_ISDIR(stat.st_mode);
}

static int64_t execute_list(const struct cistern_io_operation *operation)
{
    DIR *directory = opendir(operation->path);
    if (directory == NULL) {
        return -(int64_t)errno;
    }
    const struct dirent *entry;
    errno = 0;
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            operation->entry(
                operation->entry_arg, entry->d_name, entry_is_directory(operation->path, entry));
        }
        errno = 0;
    }
    int64_t result = -(int64_t)errno;
    closedir(directory);
    return result;
}

void io_execute(struct cistern_io_operation *operation)
{
    switch (operation->opcode) {
    case CISTERN_IO_OPEN:
        operation->result = outcome(
            open(operation->path, (int)operation->flags | O_CLOEXEC, (mode_t)operation->mode));
        break;
    case CISTERN_IO_CLOSE:
        operation->result = outcome(close(operation->fd));
        break;
    case CISTERN_IO_READ:
        operation->result = execute_read(operation);
        break;
    case CISTERN_IO_WRITE:
        operation->result = execute_write(operation);
        break;
    case CISTERN_IO_FSYNC:
        operation->result = outcome(fsync(operation->fd));
        break;
    case CISTERN_IO_ALLOCATE:
        operation->result = execute_allocate(operation);
        break;
    case CISTERN_IO_LINK:
        operation->result = outcome(link(operation->path, operation->path2));
        break;
    case CISTERN_IO_RENAME:
        operation->result = outcome(rename(operation->path, operation->path2));
        break;
    case CISTERN_IO_UNLINK:
        operation->result = outcome(unlink(operation->path));
        break;
    case CISTERN_IO_RMDIR:
        operation->result = outcome(rmdir(operation->path));
        break;
    case CISTERN_IO_MKDIR:
        operation->result = outcome(mkdir(operation->path, (mode_t)operation->mode));
        break;
    case CISTERN_IO_STAT:
        operation->result = execute_stat(operation);
        break;
    case CISTERN_IO_LIST:
        operation->result = execute_list(operation);
        break;
    default:
        operation->result = -EINVAL;
    }
}
