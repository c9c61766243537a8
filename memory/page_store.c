/* page_store.c -- see page_store_private.h. The store itself, and how pages come out of it. */
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/size.h"
#include "page_chunk_private.h"

#include <assert.h>

#define CHUNK_BYTES (2 * MIB)
#define WHOLE_SHARE_BYTES_MIN (128 * MIB) /* a chunk that stays warm is a 64th of the slot */
#define RESERVE_SHARE_FACTOR 4
#define PAGE_COUNT_MAX (UINT64_C(1) << 31) /* links are 32 bits; Flink's own maximum */
#define NAME "free pages"

static void charge_to_owner(
    struct page_store *store, struct cistern_component *owner, uint64_t bytes)
{
    assert(atomic_load_explicit(&store->component->used, memory_order_relaxed) >= bytes);
    page_count_change(store->component, 0 - bytes, 1);
    page_count_change(owner, bytes, (int)owner->is_exclusive);
    component_peak_update(owner);
}

static void *page_attach(struct page_store *store, struct cistern_component *owner, uint32_t link)
{
    struct page_note *note = page_note_of(store, link);
    assert(note->owner == NULL);
    *note = (struct page_note){.owner = owner, .next = owner->page_head};
    if (owner->page_head != 0) {
        page_note_of(store, owner->page_head)->prev = link;
    }
    owner->page_head = link;
    owner->page_count++;
    store->live_count++;
    page_chunk_of(store, link)->live_count++;
    return store->range.base + page_offset_of(store, link);
}

uint32_t page_store_take_warm(struct page_store *store, struct cistern_component *owner,
    uint32_t page_count, void **ret_pages)
{
    uint32_t taken = 0;
    page_store_lock(store);
    while (taken < page_count) {
        struct page_chunk *chunk = store->lists[PAGE_LIST_TAKEN];
        chunk = chunk != NULL ? chunk : store->lists[PAGE_LIST_IDLE];
        if (chunk == NULL) {
            break;
        }
        uint32_t link = chunk->warm_head;
        chunk->warm_head = page_note_of(store, link)->next;
        chunk->warm_count--;
        store->warm_count--;
        ret_pages[taken++] = page_attach(store, owner, link);
        page_chunk_list(store, chunk);
    }
    if (taken > 0) {
        charge_to_owner(store, owner, (uint64_t)taken << store->page_shift);
    }
    page_store_unlock(store);
    return taken;
}

static uint32_t commit_locked(struct page_store *store, struct page_chunk **spare)
{
    uint32_t status = CISTERN_OK;
    struct page_chunk *chunk = page_chunk_take(store, spare, &status);
    if (chunk == NULL) {
        return status;
    }
    status = cistern_component_charge(store->component, page_store_chunk_bytes(store));
    if (status != CISTERN_OK) {
        page_chunk_free(store, chunk);
        return status;
    }
    page_chunk_advise(store, chunk, 0);
    chunk->is_whole = 1;
    chunk->warm_head = page_chunk_string(store, chunk);
    chunk->warm_count = page_store_chunk_pages(store);
    store->warm_count += page_store_chunk_pages(store);
    page_chunk_list(store, chunk);
    return CISTERN_OK;
}

uint32_t page_store_commit_chunk(struct page_store *store)
{
    uint32_t status = CISTERN_LIMIT;
    struct page_chunk *spare = NULL;
    /* asked before, so that what is no refusal is not counted as one */
    if (store->is_huge && slot_free_own(store->slot) >= (int64_t)page_store_chunk_bytes(store)) {
        page_store_lock(store);
        status = commit_locked(store, &spare);
        page_store_unlock(store);
        if (status == CISTERN_BUSY) {
            spare = page_chunk_allocate(store);
            status = CISTERN_NO_MEMORY;
        }
        if (spare != NULL) {
            page_store_lock(store);
            status = commit_locked(store, &spare);
            page_store_unlock(store);
        }
    }
    cistern_release(spare);
    return status;
}

/* As many as the first COLD chunk has, at most page_count; *ret_status as of page_chunk_take(). */
static uint32_t take_cold_locked(struct page_store *store, struct cistern_component *owner,
    uint32_t page_count, void **ret_pages, struct page_chunk **spare, uint32_t *ret_status)
{
    struct page_chunk *chunk = store->lists[PAGE_LIST_COLD];
    if (chunk == NULL) {
        chunk = page_chunk_take(store, spare, ret_status);
        if (chunk == NULL) {
            return 0;
        }
        page_chunk_advise(store, chunk, 1);
        chunk->cold_head = page_chunk_string(store, chunk);
        chunk->cold_count = page_store_chunk_pages(store);
    }
    uint32_t taken = 0;
    *ret_status = CISTERN_OK;
    while (taken < page_count && chunk->cold_count > 0) {
        uint32_t link = chunk->cold_head;
        if (range_reopen(
                &store->range, page_offset_of(store, link), page_store_page_bytes(store)) != 0) {
            *ret_status = CISTERN_NO_MEMORY;
            break;
        }
        chunk->cold_head = page_note_of(store, link)->next;
        chunk->cold_count--;
        ret_pages[taken++] = page_attach(store, owner, link);
    }
    page_chunk_list(store, chunk);
    return taken;
}

uint32_t page_store_take_cold(struct page_store *store, struct cistern_component *owner,
    uint32_t page_count, void **ret_pages, uint32_t *ret_taken)
{
    uint32_t status = CISTERN_OK;
    struct page_chunk *spare = NULL;
    *ret_taken = 0;
    while (status == CISTERN_OK && *ret_taken < page_count) {
        page_store_lock(store);
        *ret_taken += take_cold_locked(
            store, owner, page_count - *ret_taken, ret_pages + *ret_taken, &spare, &status);
        page_store_unlock(store);
        if (status == CISTERN_BUSY) {
            spare = page_chunk_allocate(store);
            status = spare == NULL ? CISTERN_NO_MEMORY : CISTERN_OK;
        }
    }
    cistern_release(spare);
    return status;
}

uint64_t page_store_held(struct page_store *store, const struct cistern_component *owner)
{
    page_store_lock(store);
    uint64_t held = owner->page_count;
    page_store_unlock(store);
    return held;
}

void page_store_counts(struct page_store *store, struct page_store_counts *ret_counts)
{
    page_store_lock(store);
    *ret_counts = (struct page_store_counts){
        .live = store->live_count, .warm = store->warm_count, .stray = store->stray_count};
    page_store_unlock(store);
}

const struct cistern_component *page_store_component(const struct page_store *store)
{
    return store->component;
}

/* ---- the store itself; no lock is held ---- */

static uint64_t reclaim(void *arg, uint64_t target_bytes, int64_t deadline_ns)
{
    (void)deadline_ns; /* microseconds per chunk */
    return page_store_drain(arg, target_bytes);
}

static uint32_t log2_of(uint64_t power)
{
    return (uint32_t)__builtin_ctzll(power);
}

/* Addresses for four times the share, should the pool grow; never more than the pool can pay. */
static uint64_t reserve_bytes(const struct page_store *store, uint64_t share)
{
    uint64_t budget = atomic_load(&store->slot->pool->budget_bytes);
    uint64_t bytes = share > budget / RESERVE_SHARE_FACTOR ? budget : RESERVE_SHARE_FACTOR * share;
    uint64_t most = PAGE_COUNT_MAX << store->page_shift;
    bytes = (bytes + page_store_chunk_bytes(store) - 1) & ~(page_store_chunk_bytes(store) - 1);
    return bytes > most ? most : bytes;
}

static void store_configure(struct page_store *store, struct cistern_slot *slot, uint64_t share)
{
    uint64_t page = slot->pool->page_bytes;
    store->slot = slot;
    store->page_shift = log2_of(page);
    store->chunk_shift = page < CHUNK_BYTES ? log2_of(CHUNK_BYTES / page) : 0;
    uint32_t wish = slot->pool->huge_pages;
    store->is_huge =
        !slot->pool->guard && (wish == 2 || (wish == 0 && share >= WHOLE_SHARE_BYTES_MIN));
}

static uint32_t store_open(struct page_store *store, struct cistern_error *error)
{
    static const char *const object = NAME;
    const struct cistern_component_options options = {.name = NAME,
        .reclaim_class = CISTERN_RECLAIM_INSTANT,
        .reclaim_from_any_thread = 1,
        .reclaim = reclaim,
        .arg = store};
    uint64_t bytes = reserve_bytes(store, cistern_slot_share_bytes(store->slot));
    store->chunk_count_max = (uint32_t)(bytes >> store->page_shift >> store->chunk_shift);
    store->chunks = cistern_allocate_zeroed(store->chunk_count_max, sizeof store->chunks[0]);
    if (store->chunks == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, object,
            "%s: no memory for the pages' control structure", store->slot->name);
    }
    if (range_reserve(&store->range, bytes, page_store_chunk_bytes(store), (int)store->is_huge) !=
        0) {
        char size[16];
        return cistern_fail(error, CISTERN_NO_MEMORY, object,
            "%s: no address space for %s of pages (see ulimit -v)", store->slot->name,
            cistern_size_format(size, bytes));
    }
    store->range.is_guarded = store->slot->pool->guard != 0;
    uint32_t status = cistern_component_open(store->slot, &options, &store->component, error);
    if (status == CISTERN_OK) {
        /* A warm page goes to any owner: it may not stand on another slot's loan. */
        store->component->may_borrow = 0;
    }
    return status;
}

uint32_t page_store_create(
    struct cistern_slot *slot, struct page_store **ret_store, struct cistern_error *error)
{
    struct page_store *store = cistern_allocate_zeroed(1, sizeof *store);
    if (store == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NAME,
            "%s: no memory for the pages' control structure", slot->name);
    }
    store_configure(store, slot, cistern_slot_share_bytes(slot));
    uint32_t status = store_open(store, error);
    if (status != CISTERN_OK) {
        page_store_destroy(store);
        return status;
    }
    *ret_store = store;
    return CISTERN_OK;
}

void page_store_destroy(struct page_store *store)
{
    if (store == NULL) {
        return;
    }
    assert(store->live_count == 0);
    if (store->component != NULL) {
        (void)page_store_drain(store, UINT64_MAX);
        cistern_component_close(store->component); /* waits for a reclaim that is in it */
    }
    range_unreserve(&store->range);
    for (uint32_t i = 0; i < store->chunk_count; i++) {
        cistern_release(store->chunks[i]);
    }
    cistern_release(store->chunks);
    cistern_release(store);
}
