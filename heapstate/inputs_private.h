/*
 * inputs_private.h -- the inputs of a batch that changes the heap, when they are spans the heap
 * itself handed out.
 *
 * A cursor's entries are naturally passed on to remove, a read value to put. While such a batch
 * runs, an earlier item may overwrite what a later one points to, or the cleaner may free it. So
 * these batches work on a copy.
 * Threads: owner only.
 */
#ifndef CISTERN_HEAPSTATE_INPUTS_PRIVATE_H
#define CISTERN_HEAPSTATE_INPUTS_PRIVATE_H

#include "segment_private.h"

struct inputs {
    struct cistern_address *addresses;
    struct cistern_span *values; /* NULL when the batch has none */
    void *storage;               /* one block for all of it */
};

/* 1 when any span points into the log. values may be NULL. */
int inputs_are_borrowed(const struct segment_table *table, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count);
CISTERN_MUST_USE uint32_t inputs_copy(struct inputs *inputs,
    const struct cistern_address *addresses, const struct cistern_span *values, uint32_t count,
    struct cistern_error *error);
void inputs_deinit(struct inputs *inputs);

#endif
