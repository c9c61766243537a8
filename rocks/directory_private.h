/* directory_private.h -- the live database's directory on disk. Threads: pure system calls. */
#ifndef CISTERN_ROCKS_DIRECTORY_PRIVATE_H
#define CISTERN_ROCKS_DIRECTORY_PRIVATE_H

#include "cistern/base.h"

#define DIRECTORY_PATH_BYTES_MAX 4096u

/* Creates it (its parent must be there). EXISTS: it holds something. */
CISTERN_MUST_USE uint32_t directory_create(const char *path, struct cistern_error *error);
/* Removes everything in it, and with remove_self the directory too. An absent one is fine. */
CISTERN_MUST_USE uint32_t directory_clear(
    const char *path, int remove_self, struct cistern_error *error);
/* "directory/name". INVALID when that is too long. */
CISTERN_MUST_USE uint32_t directory_join(char into[DIRECTORY_PATH_BYTES_MAX], const char *directory,
    const char *name, struct cistern_error *error);
/* A small file, whole and synced. */
CISTERN_MUST_USE uint32_t directory_write_file(
    const char *path, const void *data, uint64_t bytes, struct cistern_error *error);
CISTERN_MUST_USE uint32_t directory_sync(const char *path, struct cistern_error *error);

#endif
