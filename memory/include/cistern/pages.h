/*
 * pages.h -- managed memory in pages of one size (pool option page_bytes, 32 KiB by default), by
 * owner: what Flink's MemoryManager hands to sorters, hash tables and Python workers.
 *
 * Owns:      per slot one reserved range, made with the first page and gone when the last component
 *            that ever held one closes. An owner is a component: its pages are part of what it is
 *            charged for, and cistern_pool_holders() says so.
 * Invariant: resident bytes of the range <= bytes charged for it. Pages are charged before they can
 *            be touched, and uncharged after they were given back to the system.
 * Threads:   any; pages of an exclusive component (pool.h) by one thread at a time.
 * Full when: the slot's limit is used up -> LIMIT, all or nothing.
 *
 * A released page may stay resident for the next caller: it is then charged to the slot's component
 * "free pages" (clean cache: any reclaim takes it), counts as available here, and is at most 1/128
 * of the slot's limit, 1/8 where huge pages are in use and their neighbours still live.
 * Semantics, messages and vectors: Flink 1.20 MemoryManager (docs/MEMORY.md, "pages").
 */
#ifndef CISTERN_PAGES_H
#define CISTERN_PAGES_H

#include "cistern/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes page_count pointers, each to cistern_pool_page_bytes() bytes aligned to their size, with
 * undefined content; all or nothing. The pages belong to the component until released. Evicts clean
 * cache of the slot when that makes room, never waits.
 * INVALID: more pages than the slot has in all. LIMIT: the slot has no room (message and
 * bytes_missing as of cistern_component_reserve()), or the address range is used up (after the pool
 * grew). NO_MEMORY: the kernel or the host's allocator refused. */
CISTERN_MUST_USE uint32_t cistern_pages_allocate(struct cistern_component *component,
    uint32_t page_count, void **ret_pages, struct cistern_error *error);
/* Gives pages back. A NULL, a page that was released before, a page of another component and a
 * pointer that is none of ours are passed over (and counted, see cistern_pages_usage). */
void cistern_pages_release(
    struct cistern_component *component, void *const *pages, uint32_t page_count);
/* Every page of the component; what else it is charged for stays. */
void cistern_pages_release_all(struct cistern_component *component);
uint64_t cistern_pages_held(struct cistern_component *component); /* pages, not bytes */

struct cistern_pages_usage {
    uint64_t page_bytes;
    uint64_t total_count;     /* whole pages of the slot's share */
    uint64_t available_count; /* that could be allocated now without evicting anybody */
    uint64_t held_count;      /* by owners */
    uint64_t warm_count;      /* released, resident, charged to "free pages" */
    uint64_t stray_count;     /* releases that were passed over, since the range was made */
    /* of the slot, the part smaller than a page included: share - charged + warm */
    uint64_t available_bytes;
};
void cistern_pages_usage(struct cistern_slot *slot, struct cistern_pages_usage *ret_usage);
/* Whether nobody holds a byte of the slot, be it pages, charges or reports.
 * BUSY: somebody does; the message names the largest holder, its bytes and pages. */
CISTERN_MUST_USE uint32_t cistern_pages_verify_empty(
    struct cistern_slot *slot, struct cistern_error *error);

/* Flink's arithmetic for a consumer's fraction of the slot's share: pages truncated (may be 0),
 * bytes rounded down. INVALID: fraction is 0, negative, above 1 or no number. Either result may be
 * NULL. */
CISTERN_MUST_USE uint32_t cistern_pages_of_fraction(const struct cistern_slot *slot,
    double fraction, uint64_t *ret_count, uint64_t *ret_bytes, struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
