/*
 * output.h -- where the result goes: standard output, a device, or a file that appears whole or not
 * at all.
 *
 * A file is written under no name (or a temporary one where the file system cannot), synced, and
 * put over the target by rename only in
 * output_commit(): a killed or fenced run leaves the target as it was. Threads: owner only.
 */
#ifndef CISTERN_OUTPUT_H
#define CISTERN_OUTPUT_H

#include "cistern/base.h"

#define OUTPUT_BUFFER_BYTES (64u << 10)

struct output {
    char *target;      /* resolved; NULL = standard output */
    char *directory;   /* of the target */
    char *temporary;   /* a name that has to go when the output is given up; NULL = none */
    uint32_t in_place; /* the target is a device or a pipe: written directly */
    int fd;
    uint8_t *buffer;
    uint64_t buffered;
    uint64_t line_count;
};
/* Sees that the target can be written, without creating anything. NOT_FOUND: its directory is
 * not there. */
CISTERN_MUST_USE uint32_t output_init(
    struct output *output, const char *path, struct cistern_error *error);
void output_deinit(struct output *output); /* gives up what was not committed */
CISTERN_MUST_USE uint32_t output_open(struct output *output, struct cistern_error *error);
/* "word<TAB>count\n" */
CISTERN_MUST_USE uint32_t output_line(
    struct output *output, struct cistern_span word, uint64_t count, struct cistern_error *error);
/* Everything is on disk, under no name yet. */
CISTERN_MUST_USE uint32_t output_sync(struct output *output, struct cistern_error *error);
/* The name; after output_sync(). */
CISTERN_MUST_USE uint32_t output_commit(struct output *output, struct cistern_error *error);

#endif
