/* page_chunk.c -- see page_chunk_private.h. */
#include "page_chunk_private.h"
#include "cistern/alloc.h"

#include <assert.h>
#include <sys/mman.h>

void page_chunk_unlist(struct page_store *store, struct page_chunk *chunk)
{
    if (chunk->list == PAGE_LIST_NONE) {
        return;
    }
    if (chunk->prev != NULL) {
        chunk->prev->next = chunk->next;
    } else {
        store->lists[chunk->list] = chunk->next;
    }
    if (chunk->next != NULL) {
        chunk->next->prev = chunk->prev;
    }
    chunk->list = PAGE_LIST_NONE;
}

void page_chunk_list(struct page_store *store, struct page_chunk *chunk)
{
    uint32_t list = PAGE_LIST_NONE;
    if (chunk->warm_count > 0) {
        list = chunk->live_count > 0 ? PAGE_LIST_TAKEN : PAGE_LIST_IDLE;
    } else if (chunk->cold_count == page_store_chunk_pages(store)) {
        list = PAGE_LIST_FREE;
    } else if (chunk->cold_count > 0) {
        list = PAGE_LIST_COLD;
    }
    if (list == chunk->list) {
        return;
    }
    page_chunk_unlist(store, chunk);
    if (list != PAGE_LIST_NONE) {
        chunk->next = store->lists[list];
        chunk->prev = NULL;
        if (chunk->next != NULL) {
            chunk->next->prev = chunk;
        }
        store->lists[list] = chunk;
        chunk->list = list;
    }
}

uint32_t page_chunk_string(struct page_store *store, struct page_chunk *chunk)
{
    uint32_t pages = page_store_chunk_pages(store);
    uint32_t first = page_chunk_first(store, chunk);
    for (uint32_t i = 0; i < pages; i++) {
        chunk->notes[i] = (struct page_note){.next = i + 1 < pages ? first + i + 1 : 0};
    }
    return first;
}

void page_chunk_advise(struct page_store *store, struct page_chunk *chunk, uint32_t is_single)
{
    if (store->is_huge && chunk->is_single != is_single) {
        (void)madvise(store->range.base + chunk->index * page_store_chunk_bytes(store),
            page_store_chunk_bytes(store), is_single ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
        chunk->is_single = is_single;
    }
}

struct page_chunk *page_chunk_take(
    struct page_store *store, struct page_chunk **spare, uint32_t *ret_status)
{
    struct page_chunk *chunk = store->lists[PAGE_LIST_FREE];
    if (chunk != NULL) {
        page_chunk_unlist(store, chunk);
        chunk->cold_count = 0;
        return chunk;
    }
    *ret_status = CISTERN_LIMIT;
    if (store->chunk_count == store->chunk_count_max) {
        return NULL;
    }
    *ret_status = CISTERN_BUSY;
    if (*spare == NULL) {
        return NULL;
    }
    *ret_status = CISTERN_NO_MEMORY;
    if (range_extend(&store->range, (store->chunk_count + 1) * page_store_chunk_bytes(store)) !=
        0) {
        return NULL;
    }
    chunk = *spare;
    *spare = NULL;
    chunk->index = store->chunk_count;
    store->chunks[store->chunk_count++] = chunk;
    return chunk;
}

void page_chunk_free(struct page_store *store, struct page_chunk *chunk)
{
    assert(chunk->live_count == 0 && chunk->warm_count == 0);
    chunk->is_whole = 0;
    chunk->warm_head = 0;
    chunk->cold_head = 0;
    chunk->cold_count = page_store_chunk_pages(store);
    page_chunk_list(store, chunk);
}

struct page_chunk *page_chunk_allocate(const struct page_store *store)
{
    return cistern_allocate_zeroed(
        1, sizeof(struct page_chunk) + page_store_chunk_pages(store) * sizeof(struct page_note));
}
