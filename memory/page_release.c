/*
 * page_release.c -- pages go: to the warm list, or back to the system.
 *
 * Order: madvise, then uncharge, then the cold list. What is in between hangs on a struct limbo of
 *        the thread that gives it back.
 */
#include "page_chunk_private.h"

#include <assert.h>

/* What may stay warm, as shifts of the slot's limit: 1/128, and 1/8 in chunks where others live. */
#define WARM_SHIFT 7
#define PARTIAL_SHIFT 3
#define GIVE_BATCH 256   /* pages handled under the lock at once */
#define DRAIN_BATCH 1024 /* the same for a reclaim: a list walk, no madvise */

/* What one call took off the lists and gives back to the system after the lock is released. */
struct limbo {
    struct page_chunk *chunks; /* whole, of `free pages`' charge */
    uint32_t owned_head;       /* pages of the owner's charge */
    uint32_t owned_count;
    uint32_t warm_head; /* pages of `free pages`' charge */
    uint32_t warm_count;
    uint32_t chunk_count;
};

static void charge_from_owner(
    struct page_store *store, struct cistern_component *owner, uint64_t bytes)
{
    assert(atomic_load_explicit(&owner->used, memory_order_relaxed) >= bytes);
    page_count_change(owner, 0 - bytes, (int)owner->is_exclusive);
    page_count_change(store->component, bytes, 1);
    component_peak_update(store->component);
}

/* Whether `warm_count` pages may stay resident for nobody. */
static int may_stay(const struct page_store *store, uint64_t warm_count, uint32_t shift)
{
    if (store->range.is_guarded) {
        return 0; /* what was released shall fault */
    }
    uint64_t most = cistern_slot_limit_bytes(store->slot) >> shift;
    if (store->is_huge && most < page_store_chunk_bytes(store)) {
        most = page_store_chunk_bytes(store);
    }
    return warm_count << store->page_shift <= most && slot_free(store->slot) > 0 &&
           (store->slot->pool->accounting != CISTERN_ACCOUNTING_OWNED ||
               ledger_free(store->slot->pool) > 0);
}

static void page_detach(struct page_store *store, struct cistern_component *owner, uint32_t link)
{
    struct page_note *note = page_note_of(store, link);
    assert(note->owner == owner && owner->page_count > 0);
    if (note->prev != 0) {
        page_note_of(store, note->prev)->next = note->next;
    } else {
        owner->page_head = note->next;
    }
    if (note->next != 0) {
        page_note_of(store, note->next)->prev = note->prev;
    }
    *note = (struct page_note){0};
    owner->page_count--;
    store->live_count--;
    page_chunk_of(store, link)->live_count--;
}

/* The live page of this owner that starts at `memory`; 0 = there is none. */
static uint32_t page_find(
    const struct page_store *store, const struct cistern_component *owner, const void *memory)
{
    uint64_t offset = (uintptr_t)memory - (uintptr_t)store->range.base;
    if (memory == NULL || offset >= store->chunk_count * page_store_chunk_bytes(store) ||
        (offset & (page_store_page_bytes(store) - 1)) != 0) {
        return 0;
    }
    uint32_t link = (uint32_t)(offset >> store->page_shift) + 1;
    return page_note_of(store, link)->owner == owner ? link : 0;
}

static void page_warm(struct page_store *store, struct page_chunk *chunk, uint32_t link)
{
    page_note_of(store, link)->next = chunk->warm_head;
    chunk->warm_head = link;
    chunk->warm_count++;
    store->warm_count++;
}

static void limbo_add(struct page_store *store, uint32_t link, uint32_t *head, uint32_t *count)
{
    page_note_of(store, link)->next = *head;
    *head = link;
    (*count)++;
}

/* Every warm page of a chunk of single pages; a whole chunk is broken into such before. */
static void chunk_to_limbo(struct page_store *store, struct page_chunk *chunk, struct limbo *limbo)
{
    if (chunk->is_whole && chunk->live_count == 0) {
        store->warm_count -= chunk->warm_count;
        chunk->warm_count = 0;
        page_chunk_unlist(store, chunk);
        chunk->next = limbo->chunks;
        limbo->chunks = chunk;
        limbo->chunk_count++;
        return;
    }
    if (chunk->is_whole) {
        chunk->is_whole = 0;
        page_chunk_advise(store, chunk, 1);
    }
    while (chunk->warm_head != 0) {
        uint32_t link = chunk->warm_head;
        chunk->warm_head = page_note_of(store, link)->next;
        limbo_add(store, link, &limbo->warm_head, &limbo->warm_count);
    }
    store->warm_count -= chunk->warm_count;
    chunk->warm_count = 0;
    page_chunk_list(store, chunk);
}

static void give_one(
    struct page_store *store, struct cistern_component *owner, uint32_t link, struct limbo *limbo)
{
    struct page_chunk *chunk = page_chunk_of(store, link);
    page_detach(store, owner, link);
    if (!chunk->is_whole && !may_stay(store, store->warm_count + 1, WARM_SHIFT)) {
        limbo_add(store, link, &limbo->owned_head, &limbo->owned_count);
        page_chunk_list(store, chunk); /* warm pages beside no live one are IDLE */
        return;
    }
    page_warm(store, chunk, link);
    charge_from_owner(store, owner, page_store_page_bytes(store));
    page_chunk_list(store, chunk);
    if (chunk->is_whole &&
        !may_stay(store, store->warm_count, chunk->live_count == 0 ? WARM_SHIFT : PARTIAL_SHIFT)) {
        chunk_to_limbo(store, chunk, limbo);
    }
}

/* No lock is held. */
static void pages_discard(struct page_store *store, uint32_t head)
{
    while (head != 0) {
        range_discard(&store->range, page_offset_of(store, head), page_store_page_bytes(store));
        head = page_note_of(store, head)->next; /* nobody else looks at a page in limbo */
    }
}

static void pages_to_cold(struct page_store *store, uint32_t head)
{
    while (head != 0) {
        struct page_chunk *chunk = page_chunk_of(store, head);
        struct page_note *note = page_note_of(store, head);
        uint32_t next = note->next;
        note->next = chunk->cold_head;
        chunk->cold_head = head;
        chunk->cold_count++;
        page_chunk_list(store, chunk);
        head = next;
    }
}

/* No lock is held. Gives back to the system, then uncharges, then says that the addresses are free.
 * owner: whose charge limbo's owned pages are. Returns the bytes. */
static uint64_t limbo_settle(
    struct page_store *store, struct cistern_component *owner, struct limbo *limbo)
{
    uint64_t warm_bytes = ((uint64_t)limbo->warm_count << store->page_shift) +
                          limbo->chunk_count * page_store_chunk_bytes(store);
    uint64_t owned_bytes = (uint64_t)limbo->owned_count << store->page_shift;
    if (warm_bytes + owned_bytes == 0) {
        return 0;
    }
    pages_discard(store, limbo->owned_head);
    pages_discard(store, limbo->warm_head);
    for (struct page_chunk *chunk = limbo->chunks; chunk != NULL; chunk = chunk->next) {
        range_discard(&store->range, chunk->index * page_store_chunk_bytes(store),
            page_store_chunk_bytes(store));
    }
    if (owned_bytes > 0) {
        cistern_component_uncharge(owner, owned_bytes);
    }
    page_store_lock(store);
    if (warm_bytes > 0) {
        cistern_component_uncharge(store->component, warm_bytes);
    }
    pages_to_cold(store, limbo->owned_head);
    pages_to_cold(store, limbo->warm_head);
    while (limbo->chunks != NULL) {
        struct page_chunk *chunk = limbo->chunks;
        limbo->chunks = chunk->next;
        page_chunk_free(store, chunk);
    }
    page_store_unlock(store);
    return warm_bytes + owned_bytes;
}

void page_store_give(struct page_store *store, struct cistern_component *owner, void *const *pages,
    uint32_t page_count)
{
    for (uint32_t done = 0; done < page_count;) {
        struct limbo limbo = {0};
        uint32_t end = page_count - done > GIVE_BATCH ? done + GIVE_BATCH : page_count;
        page_store_lock(store);
        for (; done < end; done++) {
            uint32_t link = page_find(store, owner, pages[done]);
            if (link != 0) {
                give_one(store, owner, link, &limbo);
            } else {
                store->stray_count += pages[done] != NULL;
            }
        }
        page_store_unlock(store);
        (void)limbo_settle(store, owner, &limbo);
    }
}

void page_store_give_all(struct page_store *store, struct cistern_component *owner)
{
    uint32_t left;
    do {
        struct limbo limbo = {0};
        page_store_lock(store);
        for (uint32_t i = 0; i < GIVE_BATCH && owner->page_head != 0; i++) {
            give_one(store, owner, owner->page_head, &limbo);
        }
        left = owner->page_head;
        page_store_unlock(store);
        (void)limbo_settle(store, owner, &limbo);
    } while (left != 0);
}

uint64_t page_store_drain(struct page_store *store, uint64_t target_bytes)
{
    uint64_t drained = 0;
    uint64_t got;
    do {
        struct limbo limbo = {0};
        uint64_t batch = 0;
        page_store_lock(store);
        while (batch < DRAIN_BATCH && drained + (batch << store->page_shift) < target_bytes) {
            struct page_chunk *chunk = store->lists[PAGE_LIST_IDLE];
            chunk = chunk != NULL ? chunk : store->lists[PAGE_LIST_TAKEN];
            if (chunk == NULL) {
                break;
            }
            batch += chunk->warm_count;
            chunk_to_limbo(store, chunk, &limbo);
        }
        page_store_unlock(store);
        got = limbo_settle(store, NULL, &limbo);
        drained += got;
    } while (got > 0 && drained < target_bytes);
    return drained;
}
