/*
 * block_pool.h -- page runs for block caches: what stands behind rocksdb::MemoryAllocator
 * (docs/MEMORY.md, "blocks").
 *
 * Owns:       one reserved range; runs of 1..256 pages of 4 KiB, by exact length, on two lists:
 *             warm (resident, charged) and cold.
 * Invariant:  charged bytes == resident bytes of the range. A run handed out is whole pages, so the
 *             cache's own charge is true.
 * Never:      returns NULL for want of budget: a refusing allocator under a block cache crashes
 *             RocksDB. What passes the limit is a forced charge, repaid by the next safe point.
 * Threads:    any (a spin lock per run length).
 */
#ifndef CISTERN_BLOCK_POOL_H
#define CISTERN_BLOCK_POOL_H

#include "cistern/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_block_pool;

struct cistern_block_pool_options {
    uint64_t reserve_bytes;  /* address space; 0 = 4 x the slot's share, at least 256 MiB */
    uint64_t warm_bytes_max; /* resident bytes kept for the next caller; 0 = slot share / 128 */
    /* Called before a cold run is taken, with no lock held: makes room by evicting (the safe
     * point). May be NULL. */
    void (*ensure)(void *arg, uint64_t bytes);
    void *arg;
};
/* INVALID: reserve_bytes below 8 KiB or above 8 TiB. NO_MEMORY: no address space (ulimit -v). options
 * may be NULL: all defaults. */
CISTERN_MUST_USE uint32_t cistern_block_pool_create(struct cistern_component *component,
    const struct cistern_block_pool_options *options, struct cistern_block_pool **ret_pool,
    struct cistern_error *error);
/* every run must be back; NULL is fine */
void cistern_block_pool_destroy(struct cistern_block_pool *pool);

/* bytes <= 2048 or > 1 MiB comes from malloc. NULL only when malloc itself fails. */
void *cistern_block_pool_allocate(struct cistern_block_pool *pool, uint64_t bytes);
void cistern_block_pool_deallocate(struct cistern_block_pool *pool, void *memory);
uint64_t cistern_block_pool_usable_bytes(
    const struct cistern_block_pool *pool, void *memory, uint64_t asked_bytes);
/* gives the warm runs back; returns bytes */
uint64_t cistern_block_pool_drain(struct cistern_block_pool *pool);
uint64_t cistern_block_pool_live_bytes(const struct cistern_block_pool *pool);
uint64_t cistern_block_pool_warm_bytes(const struct cistern_block_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
