/*
 * table_backend.h -- every keyed kind in one array of rows, searched from end to end: slow, and
 * plainly right. Unit tests of state/ run over it, and so does the semantic suite, so that a case
 * which asks for the wrong thing fails here and not first in a real backend.
 *
 * Keeps to the borrowing rule to the letter: results are copies which the next call overwrites and
 * frees, after it has read its inputs.
 * Snapshots: canonical only, one `.seg` container written at begin; restores canonical and heap
 * containers without tombstones. Threads: one at a time. Memory comes from malloc, so that a sweep
 * over failing allocations meets those of state/ alone.
 */
#ifndef CISTERN_TEST_TABLE_BACKEND_H
#define CISTERN_TEST_TABLE_BACKEND_H

#include "cistern/backend_ops.h"

struct row {
    uint64_t id;    /* ascending in order of insertion, never used again */
    uint64_t birth; /* of a list: the id of its first row when it came to be */
    uint32_t state_id;
    uint32_t key_group;
    struct cistern_span key; /* the three are one block, `storage` */
    struct cistern_span name_space;
    struct cistern_span user_key;
    void *storage;
    struct cistern_span value; /* a block of its own; NULL = null */
    int64_t written_ms;        /* of a timer: its time */
};
struct table_backend {
    struct cistern_backend backend;
    struct row **rows;
    uint64_t row_count;
    uint64_t row_capacity;
    uint64_t row_id_last;
    void *given[4096]; /* copies that the last call handed out */
    uint32_t given_count;
    void *stale[4096]; /* those of the call before: freed when the present one ends */
    uint32_t stale_count;
    uint32_t calls;
    uint64_t row_count_max;  /* above it LIMIT; UINT64_MAX at first */
    uint32_t write_fails_at; /* the n-th item written from now on answers LIMIT, once; 0 = never */
};

/* value_bytes_max: 1 MiB. */
struct table_backend *table_backend_open(struct cistern_key_group_range range);
struct table_backend *table_backend_of(struct cistern_backend *backend);

#endif
