/*
 * sorter.h -- sorts (word, count) pairs bytewise by word in a fixed, charged piece of memory; what
 * does not fit goes to a temporary file as sorted runs, which are merged.
 *
 * Owns:       one region (charged to the component it was given), one or two unlinked temporary
 *             files.
 * Invariant:  memory never grows after create; a file's space is freed when the sorter is
 *             destroyed, also by a kill.
 * Threads:    owner only.
 * Full when:  never: more runs than fit one merge are merged in several passes. NO_SPACE: the disk
 *             is full.
 */
#ifndef CISTERN_SORTER_H
#define CISTERN_SORTER_H

#include "cistern/pool.h"

#define SORTER_WORD_BYTES_MAX 65535u
#define SORTER_MEMORY_BYTES_MIN (512u << 10) /* two runs to read and one to write */

struct sorter;

struct sorter_options {
    struct cistern_component *component;
    const char *directory; /* for runs */
    /* 0 = the largest of 8 MiB, 4, 2, 1, 1/2 that the component is granted */
    uint64_t memory_bytes;
};
/* LIMIT: not even SORTER_MEMORY_BYTES_MIN is to be had. */
CISTERN_MUST_USE uint32_t sorter_create(
    const struct sorter_options *options, struct sorter **ret_sorter, struct cistern_error *error);
void sorter_destroy(struct sorter *sorter);
/* The word is copied. */
CISTERN_MUST_USE uint32_t sorter_add(
    struct sorter *sorter, struct cistern_span word, uint64_t count, struct cistern_error *error);
typedef uint32_t (*sorter_emit_fn)(
    void *arg, struct cistern_span word, uint64_t count, struct cistern_error *error);
/* Calls emit for every pair, in order; a status other than OK ends it and is returned. Once,
 * after the last add. */
CISTERN_MUST_USE uint32_t sorter_finish(
    struct sorter *sorter, sorter_emit_fn emit, void *arg, struct cistern_error *error);
/* runs written so far, merged ones included */
uint64_t sorter_run_count(const struct sorter *sorter);

#endif
