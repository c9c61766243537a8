/*
 * dirty_private.h -- which old entries of a segment were overwritten in place since the last
 * confirmed checkpoint.
 *
 * A list of 4-byte offsets hangs off each segment (never a global array: a list must not outlive
 * what it points into). A block holds the offsets of one epoch only, newest block first, so that
 * confirming a checkpoint cuts the list's end off. When a list grows past a quarter of its
 * segment, or memory for it is refused, the segment is scanned instead.
 *
 * Threads: owner only; a snapshot's reader follows lists captured at begin. Those blocks are
 *          never written again: begin ends their epoch, and while a snapshot owes the segment
 *          its list is neither cut nor freed.
 */
#ifndef CISTERN_HEAPSTATE_DIRTY_PRIVATE_H
#define CISTERN_HEAPSTATE_DIRTY_PRIVATE_H

#include "segment_private.h"

#define DIRTY_BLOCK_OFFSETS 12u

struct dirty_block {
    uint32_t link; /* block number + 1 of the next older block; 0 = none */
    uint32_t count;
    uint64_t epoch;
    uint32_t offsets[DIRTY_BLOCK_OFFSETS]; /* in units of 8 bytes from the segment's start */
};
static_assert(sizeof(struct dirty_block) == 64, "a block is a cache line");

struct dirty_pool {
    struct cistern_region *region;
    struct dirty_block *blocks;
    uint32_t free_head; /* number + 1 */
    uint32_t frontier;  /* blocks ever used since the region was last empty */
    uint32_t used_count;
};

CISTERN_MUST_USE uint32_t dirty_pool_init(struct dirty_pool *pool,
    struct cistern_component *component, uint64_t reserve_bytes, struct cistern_error *error);
void dirty_pool_deinit(struct dirty_pool *pool);
/* Lists an offset under `epoch`, or falls back to scanning; never fails. count_max: where
 * scanning becomes cheaper. */
void dirty_push(struct dirty_pool *pool, struct segment *segment, uint64_t offset, uint64_t epoch,
    uint32_t count_max);
/* Forgets what checkpoint epoch `confirmed` covers. The segment must not be owed. */
void dirty_prune(struct dirty_pool *pool, struct segment *segment, uint64_t confirmed);
void dirty_free(struct dirty_pool *pool, struct segment *segment);
/* Gives the pages back when no list is left. */
void dirty_pool_trim(struct dirty_pool *pool);

#endif
