/*
 * reading.h -- the library objects behind a command that only reads: a small pool, an I/O engine,
 * and what a path turns out to be.
 *
 * Never writes anything. Threads: main only.
 */
#ifndef CISTERN_READING_H
#define CISTERN_READING_H

#include "cistern/restore.h"

#include <jansson.h>

struct reading {
    struct cistern_pool *pool;
    struct cistern_io *io;
    struct cistern_store *store; /* set by reading_open_store() */
};
CISTERN_MUST_USE uint32_t reading_init(struct reading *reading, struct cistern_error *error);
void reading_deinit(struct reading *reading);
/* What a path or file: URI names; points into it. */
const char *reading_path(const char *uri);
int reading_holds(const char *path, const char *name); /* is there such a file in it */
/* A folder of checkpoints. UNSUPPORTED: it holds Flink's. NOT_FOUND. */
CISTERN_MUST_USE uint32_t reading_open_store(
    struct reading *reading, const char *path, struct cistern_error *error);
/* A checkpoint or savepoint; for a whole folder its newest one. */
CISTERN_MUST_USE uint32_t reading_open_checkpoint(struct reading *reading, const char *path,
    struct cistern_restore **ret_restore, struct cistern_error *error);
/* UNSUPPORTED when Flink's `_metadata` is in `path` or one level below, or when `path` is a URI of
 * another store; NOT_FOUND when there is
 * no such path. */
CISTERN_MUST_USE uint32_t reading_refuse_foreign(const char *path, struct cistern_error *error);

/* Prints one JSON value as a line (compact) or a document (indented), and gives it back. NULL
 * means no memory. IO: standard output cannot be written. */
CISTERN_MUST_USE uint32_t reading_print_json(
    json_t *value, uint32_t indented, struct cistern_error *error);

#endif
