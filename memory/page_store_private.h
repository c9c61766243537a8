/*
 * page_store_private.h -- the pages of one slot: who has which, which are free and resident, which
 * are only addresses.
 *
 * Owns:      a range, divided into chunks of 2 MiB (one page where pages are larger), each divided
 *            into pages; and the slot's component "free pages".
 * Invariant: a page is live (charged to its owner), warm (resident, charged to "free pages") or
 *            cold (neither); "free pages" is charged for the warm ones and nothing else.
 * Threads:   any. store.lock is a leaf spin lock: nothing is allocated and nothing given back under
 *            it.
 *
 * A whole chunk is one huge page: charged, made resident and given back at once, so a page of it is
 * live or warm. It is broken into single pages when too much of it would stay warm, or when
 * somebody needs the bytes.
 */
#ifndef CISTERN_PAGE_STORE_PRIVATE_H
#define CISTERN_PAGE_STORE_PRIVATE_H

#include "cistern/pages.h"

struct page_store;

struct page_store_counts {
    uint64_t live;
    uint64_t warm;
    uint64_t stray;
};

/* Makes the store of a slot. NO_MEMORY. */
CISTERN_MUST_USE uint32_t page_store_create(
    struct cistern_slot *slot, struct page_store **ret_store, struct cistern_error *error);
/* Nobody holds a page. NULL is fine. */
void page_store_destroy(struct page_store *store);

/* Moves up to page_count warm pages to the owner; returns how many. */
uint32_t page_store_take_warm(struct page_store *store, struct cistern_component *owner,
    uint32_t page_count, void **ret_pages);
/* One more chunk, whole, all warm: OK; LIMIT: no room, no addresses, or not that kind of store. */
CISTERN_MUST_USE uint32_t page_store_commit_chunk(struct page_store *store);
/* Pages that the owner was charged for before the call; ret_taken of them on any outcome. LIMIT: no
 * addresses. NO_MEMORY. */
CISTERN_MUST_USE uint32_t page_store_take_cold(struct page_store *store,
    struct cistern_component *owner, uint32_t page_count, void **ret_pages, uint32_t *ret_taken);
void page_store_give(struct page_store *store, struct cistern_component *owner, void *const *pages,
    uint32_t page_count);
void page_store_give_all(struct page_store *store, struct cistern_component *owner);
/* Gives warm pages back to the system until target_bytes are; returns bytes. */
uint64_t page_store_drain(struct page_store *store, uint64_t target_bytes);
uint64_t page_store_held(struct page_store *store, const struct cistern_component *owner);
void page_store_counts(struct page_store *store, struct page_store_counts *ret_counts);
/* "free pages" */
const struct cistern_component *page_store_component(const struct page_store *store);

/* When a component closes: what it still holds is released, with a warning; the last one takes the
 * store with it. */
void pages_component_close(struct cistern_component *component);

#endif
