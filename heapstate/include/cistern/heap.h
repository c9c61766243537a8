/*
 * heap.h -- keyed state in memory: a log of segments under one index, inside a slot's budget.
 *
 * Holds all keyed kinds: value, list, map, reducing, aggregating, timers. Grows without a stall (linear hashing, one bucket
 * at a time), gives memory back, snapshots in microseconds, increments that a cleaner cannot
 * inflate. See heapstate/README.md for the layout and the proofs.
 * Full when: the slot's limit is reached and the cleaner has nothing to gain -> LIMIT; nothing of
 *            the failed item is applied.
 */
#ifndef CISTERN_HEAP_H
#define CISTERN_HEAP_H

#include "cistern/backend.h"
#include "cistern/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_heap_options {
    struct cistern_backend_options backend;
    /* 0 = clamp(power of two <= slot limit / 256, 64 KiB, 2 MiB); never reaches disk */
    uint64_t segment_bytes;
    /* 0 = random per process: user keys must not be able to build one chain. Tests fix it */
    uint64_t hash_seed;
    uint32_t huge_pages; /* 0 = when segments are 2 MiB; 1 = never; 2 = always */
    uint32_t reserved;
};
/* The slot must outlive the backend. LIMIT: the slot is too small for the fixed parts; names
 * them and the least that works. */
CISTERN_MUST_USE uint32_t cistern_heap_open_sized(struct cistern_slot *slot,
    const struct cistern_heap_options *options, uint64_t options_bytes,
    struct cistern_backend **ret_backend, struct cistern_error *error);
#define cistern_heap_open(slot, options, ret_backend, error)                                       \
    cistern_heap_open_sized(                                                                       \
        (slot), (options), sizeof(struct cistern_heap_options), (ret_backend), (error))

struct cistern_heap_statistics {
    uint64_t entries;
    uint64_t live_bytes; /* entries that are indexed, header and padding included */
    uint64_t dead_bytes;
    uint64_t segment_bytes; /* all segments in use */
    uint64_t index_bytes;
    uint64_t cleaned_bytes; /* survivors copied since open */
    uint64_t appended_bytes;
    uint64_t in_place_count; /* overwrites that did not append */
    uint64_t overwrite_count;
    uint64_t tombstone_count; /* held for the next increment */
    uint64_t dirty_list_bytes;
};
void cistern_heap_statistics(
    struct cistern_backend *backend, struct cistern_heap_statistics *ret_statistics);

#ifdef __cplusplus
}
#endif
#endif
