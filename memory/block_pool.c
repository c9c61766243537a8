/*
 * block_pool.c -- see block_pool.h. A run is 1..256 pages; freed runs wait by exact length, so that
 * a block of the usual size is one list pop.
 *
 * Locks:   one spin lock per run length and one for the bump pointer; leaves, never held across
 *          madvise or a charge.
 * Order:   charge, then hand out; madvise, then uncharge, then the cold list.
 */
#include "cistern/block_pool.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/size.h"
#include "pool_private.h"
#include "range_private.h"

#include <assert.h>
#include <malloc.h>
#include <sched.h>
#include <stdlib.h>

#define RUN_PAGES_MAX 256
#define MALLOC_BYTES_MAX 2048 /* at or below, a page would waste half of itself */
#define RESERVE_BYTES_MIN (256 * MIB)
#define RESERVE_BYTES_MAX (UINT64_C(8) << 40) /* page numbers are 31 bits */
#define RESERVE_SHARE_FACTOR 4
#define WARM_SHARE_DIVISOR 128
#define SPINS_BEFORE_YIELD 64
/* Starts of blocks are spread over eight cache lines, else all of them meet in one set of the
 * first-level cache. */
#define COLOUR_BYTES 64
#define COLOUR_COUNT 8
#define PAGE_NIL 0 /* page 0 is never handed out: it ends a list */

struct page_note { /* one per page; only the first page of a run uses it */
    uint32_t next; /* Guarded by: lock of the run's length */
    uint32_t run_pages;
};

struct run_list {
    _Atomic uint32_t lock;
    uint32_t warm; /* resident and charged; Guarded by: lock */
    uint32_t cold; /* neither; Guarded by: lock */
};

struct cistern_block_pool {
    struct cistern_component *component;
    void (*ensure)(void *arg, uint64_t bytes);
    void *ensure_arg;
    uint64_t warm_bytes_max;
    int charges_malloc; /* GUEST: no hook sees the blocks that malloc serves */
    struct range pages;
    struct range notes;
    _Atomic uint32_t bump_lock;
    uint64_t page_count; /* pages handed out once; Guarded by: bump_lock */
    uint64_t note_bytes; /* charged bytes of `notes`; Guarded by: bump_lock */
    _Atomic uint64_t live_bytes;
    _Atomic uint64_t warm_bytes;
    struct run_list lists[RUN_PAGES_MAX + 1];
};

static void spin_lock(_Atomic uint32_t *lock)
{
    for (uint32_t spins = 1; atomic_exchange_explicit(lock, 1, memory_order_acquire) != 0;
         spins++) {
        if (spins % SPINS_BEFORE_YIELD == 0) {
            sched_yield();
        }
    }
}

static void spin_unlock(_Atomic uint32_t *lock)
{
    atomic_store_explicit(lock, 0, memory_order_release);
}

static struct page_note *note_of(const struct cistern_block_pool *pool, uint32_t page)
{
    return (struct page_note *)(void *)pool->notes.base + page;
}

/* The page a pointer lies in; PAGE_NIL when it is malloc's. */
static uint32_t page_of(const struct cistern_block_pool *pool, const void *memory)
{
    uintptr_t offset = (uintptr_t)memory - (uintptr_t)pool->pages.base;
    return offset < pool->pages.bytes ? (uint32_t)(offset / RANGE_PAGE_BYTES) : PAGE_NIL;
}

static uint64_t round_to_page(uint64_t bytes)
{
    return (bytes + RANGE_PAGE_BYTES - 1) / RANGE_PAGE_BYTES * RANGE_PAGE_BYTES;
}

static uint64_t reserve_default(const struct cistern_component *component)
{
    uint64_t share = cistern_slot_share_bytes(component->slot);
    uint64_t bytes = share > RESERVE_BYTES_MAX / RESERVE_SHARE_FACTOR
                         ? RESERVE_BYTES_MAX
                         : RESERVE_SHARE_FACTOR * share;
    return bytes < RESERVE_BYTES_MIN ? RESERVE_BYTES_MIN : bytes;
}

static int ranges_reserve(struct cistern_block_pool *pool, uint64_t bytes)
{
    int os_errno = range_reserve(&pool->pages, bytes, RANGE_PAGE_BYTES, 0);
    if (os_errno != 0) {
        return os_errno;
    }
    return range_reserve(&pool->notes,
        round_to_page(bytes / RANGE_PAGE_BYTES * sizeof(struct page_note)), RANGE_PAGE_BYTES, 0);
}

uint32_t cistern_block_pool_create(struct cistern_component *component,
    const struct cistern_block_pool_options *given, struct cistern_block_pool **ret_pool,
    struct cistern_error *error)
{
    assert(component != NULL && ret_pool != NULL);
    struct cistern_block_pool_options options = {0};
    if (given != NULL) {
        options = *given;
    }
    uint64_t bytes = round_to_page(
        options.reserve_bytes == 0 ? reserve_default(component) : options.reserve_bytes);
    if (bytes < 2 * RANGE_PAGE_BYTES || bytes > RESERVE_BYTES_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "reserve_bytes",
            "a block pool reserves 8 KiB to 8 TiB, not %llu bytes",
            (unsigned long long)options.reserve_bytes);
    }
    struct cistern_block_pool *pool = cistern_allocate_zeroed(1, sizeof *pool);
    if (pool == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, component->name,
            "no memory for the block pool's control structure");
    }
    if (ranges_reserve(pool, bytes) != 0) {
        char size[16];
        range_unreserve(&pool->pages);
        cistern_release(pool);
        return cistern_fail(error, CISTERN_NO_MEMORY, component->name,
            "no address space for a block pool of %s (see ulimit -v)",
            cistern_size_format(size, bytes));
    }
    struct cistern_slot *slot = component->slot;
    pool->component = component;
    pool->ensure = options.ensure;
    pool->ensure_arg = options.arg;
    pool->warm_bytes_max = options.warm_bytes_max == 0
                               ? cistern_slot_share_bytes(slot) / WARM_SHARE_DIVISOR
                               : options.warm_bytes_max;
    pool->charges_malloc = slot->pool->accounting == CISTERN_ACCOUNTING_GUEST;
    pool->page_count = PAGE_NIL + 1;
    pool->pages.is_guarded = (int)slot->pool->guard;
    *ret_pool = pool;
    return CISTERN_OK;
}

void cistern_block_pool_destroy(struct cistern_block_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    assert(atomic_load(&pool->live_bytes) == 0);
    uint64_t charged = atomic_load(&pool->warm_bytes) + pool->note_bytes;
    range_unreserve(&pool->pages);
    range_unreserve(&pool->notes);
    if (charged > 0) {
        cistern_component_uncharge(pool->component, charged);
    }
    cistern_release(pool);
}

static uint32_t pop(struct cistern_block_pool *pool, struct run_list *list, uint32_t *head)
{
    spin_lock(&list->lock);
    uint32_t page = *head;
    if (page != PAGE_NIL) {
        *head = note_of(pool, page)->next;
    }
    spin_unlock(&list->lock);
    return page;
}

static void push(
    struct cistern_block_pool *pool, struct run_list *list, uint32_t *head, uint32_t page)
{
    spin_lock(&list->lock);
    note_of(pool, page)->next = *head;
    *head = page;
    spin_unlock(&list->lock);
}

/* A run that was never used. PAGE_NIL: the range is used up, or the kernel refuses the frontier.
 * ret_note_bytes: pages of notes that the run needs for the first time, not charged yet. */
static uint32_t bump(struct cistern_block_pool *pool, uint32_t run_pages, uint64_t *ret_note_bytes)
{
    uint32_t page = PAGE_NIL;
    *ret_note_bytes = 0;
    spin_lock(&pool->bump_lock);
    uint64_t end = pool->page_count + run_pages;
    uint64_t note_bytes = round_to_page(end * sizeof(struct page_note));
    if (end * RANGE_PAGE_BYTES <= pool->pages.bytes &&
        range_extend(&pool->pages, end * RANGE_PAGE_BYTES) == 0 &&
        range_extend(&pool->notes, note_bytes) == 0) {
        page = (uint32_t)pool->page_count;
        pool->page_count = end;
        if (note_bytes > pool->note_bytes) {
            *ret_note_bytes = note_bytes - pool->note_bytes;
            pool->note_bytes = note_bytes;
        }
    }
    spin_unlock(&pool->bump_lock);
    return page;
}

static uint32_t take_cold(struct cistern_block_pool *pool, uint32_t run_pages)
{
    uint64_t run_bytes = run_pages * RANGE_PAGE_BYTES;
    if (pool->ensure != NULL) {
        pool->ensure(pool->ensure_arg, run_bytes);
    }
    uint64_t note_bytes = 0;
    uint32_t page = pop(pool, &pool->lists[run_pages], &pool->lists[run_pages].cold);
    if (page != PAGE_NIL && range_reopen(&pool->pages, page * RANGE_PAGE_BYTES, run_bytes) != 0) {
        push(pool, &pool->lists[run_pages], &pool->lists[run_pages].cold, page);
        page = PAGE_NIL;
    }
    if (page == PAGE_NIL) {
        page = bump(pool, run_pages, &note_bytes);
    }
    if (page != PAGE_NIL) {
        cistern_component_charge_forced(pool->component, run_bytes + note_bytes);
        note_of(pool, page)->run_pages = run_pages;
    }
    return page;
}

static void *allocate_by_malloc(struct cistern_block_pool *pool, uint64_t bytes)
{
    if (pool->ensure != NULL && bytes > MALLOC_BYTES_MAX) {
        pool->ensure(pool->ensure_arg, bytes);
    }
    void *memory = malloc(bytes);
    if (memory != NULL && pool->charges_malloc) {
        cistern_component_charge_forced(pool->component, malloc_usable_size(memory));
    }
    return memory;
}

void *cistern_block_pool_allocate(struct cistern_block_pool *pool, uint64_t bytes)
{
    if (bytes <= MALLOC_BYTES_MAX || bytes > RUN_PAGES_MAX * RANGE_PAGE_BYTES) {
        return allocate_by_malloc(pool, bytes);
    }
    uint64_t run_bytes = round_to_page(bytes);
    uint32_t run_pages = (uint32_t)(run_bytes / RANGE_PAGE_BYTES);
    uint32_t page = pop(pool, &pool->lists[run_pages], &pool->lists[run_pages].warm);
    if (page != PAGE_NIL) {
        atomic_fetch_sub_explicit(&pool->warm_bytes, run_bytes, memory_order_relaxed);
    } else {
        page = take_cold(pool, run_pages);
    }
    if (page == PAGE_NIL) {
        return allocate_by_malloc(pool, bytes);
    }
    atomic_fetch_add_explicit(&pool->live_bytes, run_bytes, memory_order_relaxed);
    uint64_t colour = page % COLOUR_COUNT * COLOUR_BYTES;
    colour = colour > run_bytes - bytes ? 0 : colour;
    return pool->pages.base + page * RANGE_PAGE_BYTES + colour;
}

static void give_back(struct cistern_block_pool *pool, uint32_t page, uint32_t run_pages)
{
    uint64_t run_bytes = run_pages * RANGE_PAGE_BYTES;
    range_discard(&pool->pages, page * RANGE_PAGE_BYTES, run_bytes);
    cistern_component_uncharge(pool->component, run_bytes);
    push(pool, &pool->lists[run_pages], &pool->lists[run_pages].cold, page);
}

/* Whether a freed run may stay resident; counts it as warm when so. */
static int keep_warm(struct cistern_block_pool *pool, uint64_t run_bytes)
{
    const struct cistern_slot *slot = pool->component->slot;
    if (pool->pages.is_guarded || slot_free(slot) <= 0 || ledger_free(slot->pool) <= 0) {
        return 0;
    }
    uint64_t warm =
        atomic_fetch_add_explicit(&pool->warm_bytes, run_bytes, memory_order_relaxed) + run_bytes;
    if (warm <= pool->warm_bytes_max) {
        return 1;
    }
    atomic_fetch_sub_explicit(&pool->warm_bytes, run_bytes, memory_order_relaxed);
    return 0;
}

void cistern_block_pool_deallocate(struct cistern_block_pool *pool, void *memory)
{
    if (memory == NULL) {
        return;
    }
    uint32_t page = page_of(pool, memory);
    if (page == PAGE_NIL) {
        uint64_t usable_bytes = malloc_usable_size(memory);
        free(memory);
        if (pool->charges_malloc) {
            cistern_component_uncharge(pool->component, usable_bytes);
        }
        return;
    }
    uint32_t run_pages = note_of(pool, page)->run_pages;
    uint64_t run_bytes = run_pages * RANGE_PAGE_BYTES;
    assert(run_pages >= 1 && run_pages <= RUN_PAGES_MAX);
    uint64_t live = atomic_fetch_sub_explicit(&pool->live_bytes, run_bytes, memory_order_relaxed);
    assert(live >= run_bytes);
    (void)live;
    if (keep_warm(pool, run_bytes)) {
        push(pool, &pool->lists[run_pages], &pool->lists[run_pages].warm, page);
    } else {
        give_back(pool, page, run_pages);
    }
}

uint64_t cistern_block_pool_usable_bytes(
    const struct cistern_block_pool *pool, void *memory, uint64_t asked_bytes)
{
    (void)asked_bytes;
    uint32_t page = page_of(pool, memory);
    return page == PAGE_NIL ? malloc_usable_size(memory)
                            : note_of(pool, page)->run_pages * RANGE_PAGE_BYTES;
}

/* Takes the whole list at once, so that allocations go on while the pages are given back. */
static uint64_t drain_length(struct cistern_block_pool *pool, uint32_t run_pages)
{
    struct run_list *list = &pool->lists[run_pages];
    spin_lock(&list->lock);
    uint32_t page = list->warm;
    list->warm = PAGE_NIL;
    spin_unlock(&list->lock);
    uint64_t drained = 0;
    while (page != PAGE_NIL) {
        uint32_t next = note_of(pool, page)->next;
        atomic_fetch_sub_explicit(
            &pool->warm_bytes, run_pages * RANGE_PAGE_BYTES, memory_order_relaxed);
        give_back(pool, page, run_pages);
        drained += run_pages * RANGE_PAGE_BYTES;
        page = next;
    }
    return drained;
}

uint64_t cistern_block_pool_drain(struct cistern_block_pool *pool)
{
    uint64_t drained = 0;
    for (uint32_t run_pages = 1; run_pages <= RUN_PAGES_MAX; run_pages++) {
        if (atomic_load_explicit(&pool->warm_bytes, memory_order_relaxed) == 0) {
            break;
        }
        drained += drain_length(pool, run_pages);
    }
    return drained;
}

uint64_t cistern_block_pool_live_bytes(const struct cistern_block_pool *pool)
{
    return atomic_load_explicit(&pool->live_bytes, memory_order_relaxed);
}

uint64_t cistern_block_pool_warm_bytes(const struct cistern_block_pool *pool)
{
    return atomic_load_explicit(&pool->warm_bytes, memory_order_relaxed);
}
