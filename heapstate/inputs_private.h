/*
 * inputs_private.h -- the inputs of a call that changes the heap, when they are spans the heap
 * itself handed out.
 *
 * A cursor's entries are naturally passed on to remove, a read value to put. While such a call
 * runs, an earlier item may overwrite what a later one points to, or the cleaner may free it. So
 * these calls work on a copy.
 * Threads: owner only.
 */
#ifndef CISTERN_HEAPSTATE_INPUTS_PRIVATE_H
#define CISTERN_HEAPSTATE_INPUTS_PRIVATE_H

#include "segment_private.h"

#define INPUTS_SETS 2u

struct inputs {
    const struct cistern_address *addresses;
    uint32_t address_count;
    uint32_t span_counts[INPUTS_SETS];
    const struct cistern_span *spans[INPUTS_SETS]; /* NULL with count 0: the call has none */
    void *storage; /* one block for all of it; NULL = nothing had to be copied */
};

/* Filled in by the caller but for `storage`. When any span points into the log, all of them are
 * replaced by copies. NO_MEMORY. */
CISTERN_MUST_USE uint32_t inputs_own(
    struct inputs *inputs, const struct segment_table *table, struct cistern_error *error);
void inputs_deinit(struct inputs *inputs);

#endif
