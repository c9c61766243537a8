/*
 * page_chunk_private.h -- what a page store is made of; shared by page_chunk.c (chunks on their
 * lists), page_store.c (pages come) and page_release.c (pages go).
 *
 * Lists:   each chunk with a page to give is on one list: TAKEN (warm pages beside live ones), IDLE
 *          (warm pages, none live), COLD (single pages that are only addresses), FREE (nothing but
 *          addresses). Callers are served in this order, so that live pages stay close together.
 * Threads: the caller of every function here holds store.lock unless it says otherwise.
 */
#ifndef CISTERN_PAGE_CHUNK_PRIVATE_H
#define CISTERN_PAGE_CHUNK_PRIVATE_H

#include "page_store_private.h"
#include "pool_private.h"
#include "range_private.h"

#include <sched.h>

#define PAGE_SPINS_BEFORE_YIELD 64

/* A link is a page's number plus 1, so that 0 ends a list. */
struct page_note {
    struct cistern_component *owner; /* NULL: not live */
    uint32_t next;
    uint32_t prev; /* of the owner's list only */
};

enum page_list {
    PAGE_LIST_NONE,
    PAGE_LIST_TAKEN,
    PAGE_LIST_IDLE,
    PAGE_LIST_COLD,
    PAGE_LIST_FREE,
    PAGE_LIST_COUNT
};

struct page_chunk {
    struct page_chunk *next;
    struct page_chunk *prev;
    uint32_t index;
    uint32_t list;       /* enum page_list */
    uint32_t is_whole;   /* charged and returned at once */
    uint32_t is_single;  /* the kernel was told to keep huge pages away from it */
    uint32_t live_count; /* live + warm + cold + in limbo = pages of a chunk, unless it is FREE */
    uint32_t warm_count;
    uint32_t cold_count;
    uint32_t warm_head;
    uint32_t cold_head;
    struct page_note notes[];
};

struct page_store {
    _Atomic uint32_t lock;
    uint32_t page_shift;  /* log2 of a page's bytes */
    uint32_t chunk_shift; /* log2 of the pages of a chunk */
    uint32_t is_huge;     /* new chunks are whole while there is room for one */
    struct cistern_component *component;
    struct cistern_slot *slot;
    struct range range;
    uint32_t chunk_count; /* ever used; Guarded by: lock */
    uint32_t chunk_count_max;
    uint64_t live_count; /* Guarded by: lock, as all below */
    uint64_t warm_count;
    uint64_t stray_count;
    struct page_chunk *lists[PAGE_LIST_COUNT];
    struct page_chunk **chunks;
};

static inline void page_store_lock(struct page_store *store)
{
    for (uint32_t spins = 1; atomic_exchange_explicit(&store->lock, 1, memory_order_acquire) != 0;
         spins++) {
        if (spins % PAGE_SPINS_BEFORE_YIELD == 0) {
            sched_yield();
        }
    }
}

static inline void page_store_unlock(struct page_store *store)
{
    atomic_store_explicit(&store->lock, 0, memory_order_release);
}

static inline uint64_t page_store_page_bytes(const struct page_store *store)
{
    return UINT64_C(1) << store->page_shift;
}

static inline uint32_t page_store_chunk_pages(const struct page_store *store)
{
    return 1u << store->chunk_shift;
}

static inline uint64_t page_store_chunk_bytes(const struct page_store *store)
{
    return page_store_page_bytes(store) << store->chunk_shift;
}

static inline struct page_chunk *page_chunk_of(const struct page_store *store, uint32_t link)
{
    return store->chunks[(link - 1) >> store->chunk_shift];
}

static inline struct page_note *page_note_of(const struct page_store *store, uint32_t link)
{
    return &page_chunk_of(store, link)->notes[(link - 1) & (page_store_chunk_pages(store) - 1)];
}

static inline uint64_t page_offset_of(const struct page_store *store, uint32_t link)
{
    return (uint64_t)(link - 1) << store->page_shift;
}

static inline uint32_t page_chunk_first(
    const struct page_store *store, const struct page_chunk *chunk)
{
    return (chunk->index << store->chunk_shift) + 1;
}

/* Charged bytes change their owner inside the slot: the slot's own word does not move, so nobody
 * can be refused or slip in between. The count of `free pages` changes under store.lock only, so it
 * needs no atomic addition. */
static inline void page_count_change(
    struct cistern_component *component, uint64_t change, int is_serial)
{
    if (is_serial) {
        atomic_store_explicit(&component->used,
            atomic_load_explicit(&component->used, memory_order_relaxed) + change,
            memory_order_relaxed);
    } else {
        (void)atomic_fetch_add_explicit(&component->used, change, memory_order_relaxed);
    }
}

/* Puts the chunk where its counts say. */
void page_chunk_list(struct page_store *store, struct page_chunk *chunk);
void page_chunk_unlist(struct page_store *store, struct page_chunk *chunk);
/* All pages of a chunk as one list, in address order; returns its head. */
uint32_t page_chunk_string(struct page_store *store, struct page_chunk *chunk);
/* Huge pages on or off for a chunk of a huge store: a fault must not make a cold page resident. */
void page_chunk_advise(struct page_store *store, struct page_chunk *chunk, uint32_t is_single);
/* A FREE chunk off its list, or one never used, for which *spare is taken. NULL: ret_status says
 * why; BUSY asks for a spare. */
struct page_chunk *page_chunk_take(
    struct page_store *store, struct page_chunk **spare, uint32_t *ret_status);
void page_chunk_free(struct page_store *store, struct page_chunk *chunk);
/* No lock is held. NULL: no memory. */
struct page_chunk *page_chunk_allocate(const struct page_store *store);

#endif
