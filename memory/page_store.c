/*
 * page_store.c -- see page_store_private.h.
 *
 * Lists:  each chunk with a page to give is on one list: TAKEN (warm pages beside live ones), IDLE
 *         (warm pages, none live), COLD (single pages that are only addresses), FREE (nothing but
 *         addresses). Callers are served in this order, so that live pages stay close together.
 * Order:  madvise, then uncharge, then the cold list. What is in between hangs on a struct limbo of
 *         the thread that gives it back.
 */
#include "page_store_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/size.h"
#include "pool_private.h"
#include "range_private.h"

#include <assert.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_BYTES (2 * MIB)
#define WHOLE_SHARE_BYTES_MIN (128 * MIB) /* a chunk that stays warm is a 64th of the slot */
/* What may stay warm, as shifts of the slot's limit: 1/128, and 1/8 in chunks where others live. */
#define WARM_SHIFT 7
#define PARTIAL_SHIFT 3
#define RESERVE_SHARE_FACTOR 4
#define PAGE_COUNT_MAX (UINT64_C(1) << 31) /* links are 32 bits; Flink's own maximum */
#define SPINS_BEFORE_YIELD 64
#define GIVE_BATCH 256   /* pages handled under the lock at once */
#define DRAIN_BATCH 1024 /* the same for a reclaim: a list walk, no madvise */
#define NAME "free pages"

/* A link is a page's number plus 1, so that 0 ends a list. */
struct page_note {
    struct cistern_component *owner; /* NULL: not live */
    uint32_t next;
    uint32_t prev; /* of the owner's list only */
};

enum chunk_list { LIST_NONE, LIST_TAKEN, LIST_IDLE, LIST_COLD, LIST_FREE, LIST_COUNT };

struct page_chunk {
    struct page_chunk *next;
    struct page_chunk *prev;
    uint32_t index;
    uint32_t list;       /* enum chunk_list */
    uint32_t is_whole;   /* charged and returned at once */
    uint32_t is_single;  /* the kernel was told to keep huge pages away from it */
    uint32_t live_count; /* live + warm + cold + in limbo = pages of a chunk, unless it is FREE */
    uint32_t warm_count;
    uint32_t cold_count;
    uint32_t warm_head;
    uint32_t cold_head;
    struct page_note notes[];
};

/* What one call took off the lists and gives back to the system after the lock is released. */
struct limbo {
    struct page_chunk *chunks; /* whole, of `free pages`' charge */
    uint32_t owned_head;       /* pages of the owner's charge */
    uint32_t owned_count;
    uint32_t warm_head; /* pages of `free pages`' charge */
    uint32_t warm_count;
    uint32_t chunk_count;
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
    struct page_chunk *lists[LIST_COUNT];
    struct page_chunk **chunks;
};

static void spin_lock(struct page_store *store)
{
    for (uint32_t spins = 1; atomic_exchange_explicit(&store->lock, 1, memory_order_acquire) != 0;
         spins++) {
        if (spins % SPINS_BEFORE_YIELD == 0) {
            sched_yield();
        }
    }
}

static void spin_unlock(struct page_store *store)
{
    atomic_store_explicit(&store->lock, 0, memory_order_release);
}

static uint64_t page_bytes(const struct page_store *store)
{
    return UINT64_C(1) << store->page_shift;
}

static uint32_t chunk_pages(const struct page_store *store)
{
    return 1u << store->chunk_shift;
}

static uint64_t chunk_bytes(const struct page_store *store)
{
    return page_bytes(store) << store->chunk_shift;
}

static struct page_chunk *chunk_of(const struct page_store *store, uint32_t link)
{
    return store->chunks[(link - 1) >> store->chunk_shift];
}

static struct page_note *note_of(const struct page_store *store, uint32_t link)
{
    return &chunk_of(store, link)->notes[(link - 1) & (chunk_pages(store) - 1)];
}

static uint64_t offset_of(const struct page_store *store, uint32_t link)
{
    return (uint64_t)(link - 1) << store->page_shift;
}

static uint32_t first_link(const struct page_store *store, const struct page_chunk *chunk)
{
    return (chunk->index << store->chunk_shift) + 1;
}

/* ---- lists of chunks; Caller holds store.lock, here and below unless said otherwise ---- */

static void chunk_unlist(struct page_store *store, struct page_chunk *chunk)
{
    if (chunk->list == LIST_NONE) {
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
    chunk->list = LIST_NONE;
}

/* Puts the chunk where its counts say. */
static void chunk_list(struct page_store *store, struct page_chunk *chunk)
{
    uint32_t list = LIST_NONE;
    if (chunk->warm_count > 0) {
        list = chunk->live_count > 0 ? LIST_TAKEN : LIST_IDLE;
    } else if (chunk->cold_count == chunk_pages(store)) {
        list = LIST_FREE;
    } else if (chunk->cold_count > 0) {
        list = LIST_COLD;
    }
    if (list == chunk->list) {
        return;
    }
    chunk_unlist(store, chunk);
    if (list != LIST_NONE) {
        chunk->next = store->lists[list];
        chunk->prev = NULL;
        if (chunk->next != NULL) {
            chunk->next->prev = chunk;
        }
        store->lists[list] = chunk;
        chunk->list = list;
    }
}

/* All pages of a chunk as one list, in address order. */
static uint32_t chunk_string(struct page_store *store, struct page_chunk *chunk)
{
    uint32_t pages = chunk_pages(store);
    uint32_t first = first_link(store, chunk);
    for (uint32_t i = 0; i < pages; i++) {
        chunk->notes[i] = (struct page_note){.next = i + 1 < pages ? first + i + 1 : 0};
    }
    return first;
}

/* Huge pages on or off for a chunk of a huge store: a fault must not make a cold page resident. */
static void chunk_advise(struct page_store *store, struct page_chunk *chunk, uint32_t is_single)
{
    if (store->is_huge && chunk->is_single != is_single) {
        (void)madvise(store->range.base + chunk->index * chunk_bytes(store), chunk_bytes(store),
            is_single ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
        chunk->is_single = is_single;
    }
}

/* ---- the account ---- */

/* Charged bytes change their owner inside the slot: the slot's own word does not move, so nobody
 * can be refused or slip in between. The count of `free pages` changes under store.lock only, so it
 * needs no atomic addition. */
static void count_change(struct cistern_component *component, uint64_t change, int is_serial)
{
    if (is_serial) {
        atomic_store_explicit(&component->used,
            atomic_load_explicit(&component->used, memory_order_relaxed) + change,
            memory_order_relaxed);
    } else {
        (void)atomic_fetch_add_explicit(&component->used, change, memory_order_relaxed);
    }
}

static void charge_to_owner(
    struct page_store *store, struct cistern_component *owner, uint64_t bytes)
{
    assert(atomic_load_explicit(&store->component->used, memory_order_relaxed) >= bytes);
    count_change(store->component, 0 - bytes, 1);
    count_change(owner, bytes, (int)owner->is_exclusive);
    component_peak_update(owner);
}

static void charge_from_owner(
    struct page_store *store, struct cistern_component *owner, uint64_t bytes)
{
    assert(atomic_load_explicit(&owner->used, memory_order_relaxed) >= bytes);
    count_change(owner, 0 - bytes, (int)owner->is_exclusive);
    count_change(store->component, bytes, 1);
    component_peak_update(store->component);
}

/* Whether `warm_count` pages may stay resident for nobody. */
static int may_stay(const struct page_store *store, uint64_t warm_count, uint32_t shift)
{
    if (store->range.is_guarded) {
        return 0; /* what was released shall fault */
    }
    uint64_t most = cistern_slot_limit_bytes(store->slot) >> shift;
    if (store->is_huge && most < chunk_bytes(store)) {
        most = chunk_bytes(store);
    }
    return warm_count << store->page_shift <= most && slot_free(store->slot) > 0 &&
           (store->slot->pool->accounting != CISTERN_ACCOUNTING_OWNED ||
               ledger_free(store->slot->pool) > 0);
}

/* ---- pages of an owner ---- */

static void *page_attach(struct page_store *store, struct cistern_component *owner, uint32_t link)
{
    struct page_note *note = note_of(store, link);
    assert(note->owner == NULL);
    *note = (struct page_note){.owner = owner, .next = owner->page_head};
    if (owner->page_head != 0) {
        note_of(store, owner->page_head)->prev = link;
    }
    owner->page_head = link;
    owner->page_count++;
    store->live_count++;
    chunk_of(store, link)->live_count++;
    return store->range.base + offset_of(store, link);
}

static void page_detach(struct page_store *store, struct cistern_component *owner, uint32_t link)
{
    struct page_note *note = note_of(store, link);
    assert(note->owner == owner && owner->page_count > 0);
    if (note->prev != 0) {
        note_of(store, note->prev)->next = note->next;
    } else {
        owner->page_head = note->next;
    }
    if (note->next != 0) {
        note_of(store, note->next)->prev = note->prev;
    }
    *note = (struct page_note){0};
    owner->page_count--;
    store->live_count--;
    chunk_of(store, link)->live_count--;
}

/* The live page of this owner that starts at `memory`; 0 = there is none. */
static uint32_t page_find(
    const struct page_store *store, const struct cistern_component *owner, const void *memory)
{
    uint64_t offset = (uintptr_t)memory - (uintptr_t)store->range.base;
    if (memory == NULL || offset >= store->chunk_count * chunk_bytes(store) ||
        (offset & (page_bytes(store) - 1)) != 0) {
        return 0;
    }
    uint32_t link = (uint32_t)(offset >> store->page_shift) + 1;
    return note_of(store, link)->owner == owner ? link : 0;
}

static void page_warm(struct page_store *store, struct page_chunk *chunk, uint32_t link)
{
    note_of(store, link)->next = chunk->warm_head;
    chunk->warm_head = link;
    chunk->warm_count++;
    store->warm_count++;
}

uint32_t page_store_take_warm(struct page_store *store, struct cistern_component *owner,
    uint32_t page_count, void **ret_pages)
{
    uint32_t taken = 0;
    spin_lock(store);
    while (taken < page_count) {
        struct page_chunk *chunk = store->lists[LIST_TAKEN];
        chunk = chunk != NULL ? chunk : store->lists[LIST_IDLE];
        if (chunk == NULL) {
            break;
        }
        uint32_t link = chunk->warm_head;
        chunk->warm_head = note_of(store, link)->next;
        chunk->warm_count--;
        store->warm_count--;
        ret_pages[taken++] = page_attach(store, owner, link);
        chunk_list(store, chunk);
    }
    if (taken > 0) {
        charge_to_owner(store, owner, (uint64_t)taken << store->page_shift);
    }
    spin_unlock(store);
    return taken;
}

/* ---- chunks come ---- */

/* A FREE chunk off its list, or one never used, for which *spare is taken. NULL: ret_status says
 * why; BUSY asks for a spare. */
static struct page_chunk *chunk_take(
    struct page_store *store, struct page_chunk **spare, uint32_t *ret_status)
{
    struct page_chunk *chunk = store->lists[LIST_FREE];
    if (chunk != NULL) {
        chunk_unlist(store, chunk);
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
    if (range_extend(&store->range, (store->chunk_count + 1) * chunk_bytes(store)) != 0) {
        return NULL;
    }
    chunk = *spare;
    *spare = NULL;
    chunk->index = store->chunk_count;
    store->chunks[store->chunk_count++] = chunk;
    return chunk;
}

static void chunk_free(struct page_store *store, struct page_chunk *chunk)
{
    assert(chunk->live_count == 0 && chunk->warm_count == 0);
    chunk->is_whole = 0;
    chunk->warm_head = 0;
    chunk->cold_head = 0;
    chunk->cold_count = chunk_pages(store);
    chunk_list(store, chunk);
}

/* No lock is held. */
static struct page_chunk *spare_allocate(const struct page_store *store)
{
    return cistern_allocate_zeroed(
        1, sizeof(struct page_chunk) + chunk_pages(store) * sizeof(struct page_note));
}

static uint32_t commit_locked(struct page_store *store, struct page_chunk **spare)
{
    uint32_t status = CISTERN_OK;
    struct page_chunk *chunk = chunk_take(store, spare, &status);
    if (chunk == NULL) {
        return status;
    }
    status = cistern_component_charge(store->component, chunk_bytes(store));
    if (status != CISTERN_OK) {
        chunk_free(store, chunk);
        return status;
    }
    chunk_advise(store, chunk, 0);
    chunk->is_whole = 1;
    chunk->warm_head = chunk_string(store, chunk);
    chunk->warm_count = chunk_pages(store);
    store->warm_count += chunk_pages(store);
    chunk_list(store, chunk);
    return CISTERN_OK;
}

uint32_t page_store_commit_chunk(struct page_store *store)
{
    uint32_t status = CISTERN_LIMIT;
    struct page_chunk *spare = NULL;
    /* asked before, so that what is no refusal is not counted as one */
    if (store->is_huge && slot_free_own(store->slot) >= (int64_t)chunk_bytes(store)) {
        spin_lock(store);
        status = commit_locked(store, &spare);
        spin_unlock(store);
        if (status == CISTERN_BUSY) {
            spare = spare_allocate(store);
            status = CISTERN_NO_MEMORY;
        }
        if (spare != NULL) {
            spin_lock(store);
            status = commit_locked(store, &spare);
            spin_unlock(store);
        }
    }
    cistern_release(spare);
    return status;
}

/* As many as the first COLD chunk has, at most page_count; *ret_status as of chunk_take(). */
static uint32_t take_cold_locked(struct page_store *store, struct cistern_component *owner,
    uint32_t page_count, void **ret_pages, struct page_chunk **spare, uint32_t *ret_status)
{
    struct page_chunk *chunk = store->lists[LIST_COLD];
    if (chunk == NULL) {
        chunk = chunk_take(store, spare, ret_status);
        if (chunk == NULL) {
            return 0;
        }
        chunk_advise(store, chunk, 1);
        chunk->cold_head = chunk_string(store, chunk);
        chunk->cold_count = chunk_pages(store);
    }
    uint32_t taken = 0;
    *ret_status = CISTERN_OK;
    while (taken < page_count && chunk->cold_count > 0) {
        uint32_t link = chunk->cold_head;
        if (range_reopen(&store->range, offset_of(store, link), page_bytes(store)) != 0) {
            *ret_status = CISTERN_NO_MEMORY;
            break;
        }
        chunk->cold_head = note_of(store, link)->next;
        chunk->cold_count--;
        ret_pages[taken++] = page_attach(store, owner, link);
    }
    chunk_list(store, chunk);
    return taken;
}

uint32_t page_store_take_cold(struct page_store *store, struct cistern_component *owner,
    uint32_t page_count, void **ret_pages, uint32_t *ret_taken)
{
    uint32_t status = CISTERN_OK;
    struct page_chunk *spare = NULL;
    *ret_taken = 0;
    while (status == CISTERN_OK && *ret_taken < page_count) {
        spin_lock(store);
        *ret_taken += take_cold_locked(
            store, owner, page_count - *ret_taken, ret_pages + *ret_taken, &spare, &status);
        spin_unlock(store);
        if (status == CISTERN_BUSY) {
            spare = spare_allocate(store);
            status = spare == NULL ? CISTERN_NO_MEMORY : CISTERN_OK;
        }
    }
    cistern_release(spare);
    return status;
}

/* ---- pages go ---- */

static void limbo_add(struct page_store *store, uint32_t link, uint32_t *head, uint32_t *count)
{
    note_of(store, link)->next = *head;
    *head = link;
    (*count)++;
}

/* Every warm page of a chunk of single pages; a whole chunk is broken into such before. */
static void chunk_to_limbo(struct page_store *store, struct page_chunk *chunk, struct limbo *limbo)
{
    if (chunk->is_whole && chunk->live_count == 0) {
        store->warm_count -= chunk->warm_count;
        chunk->warm_count = 0;
        chunk_unlist(store, chunk);
        chunk->next = limbo->chunks;
        limbo->chunks = chunk;
        limbo->chunk_count++;
        return;
    }
    if (chunk->is_whole) {
        chunk->is_whole = 0;
        chunk_advise(store, chunk, 1);
    }
    while (chunk->warm_head != 0) {
        uint32_t link = chunk->warm_head;
        chunk->warm_head = note_of(store, link)->next;
        limbo_add(store, link, &limbo->warm_head, &limbo->warm_count);
    }
    store->warm_count -= chunk->warm_count;
    chunk->warm_count = 0;
    chunk_list(store, chunk);
}

static void give_one(
    struct page_store *store, struct cistern_component *owner, uint32_t link, struct limbo *limbo)
{
    struct page_chunk *chunk = chunk_of(store, link);
    page_detach(store, owner, link);
    if (!chunk->is_whole && !may_stay(store, store->warm_count + 1, WARM_SHIFT)) {
        limbo_add(store, link, &limbo->owned_head, &limbo->owned_count);
        chunk_list(store, chunk); /* warm pages beside no live one are IDLE */
        return;
    }
    page_warm(store, chunk, link);
    charge_from_owner(store, owner, page_bytes(store));
    chunk_list(store, chunk);
    if (chunk->is_whole &&
        !may_stay(store, store->warm_count, chunk->live_count == 0 ? WARM_SHIFT : PARTIAL_SHIFT)) {
        chunk_to_limbo(store, chunk, limbo);
    }
}

/* No lock is held. */
static void pages_discard(struct page_store *store, uint32_t head)
{
    while (head != 0) {
        range_discard(&store->range, offset_of(store, head), page_bytes(store));
        head = note_of(store, head)->next; /* nobody else looks at a page in limbo */
    }
}

static void pages_to_cold(struct page_store *store, uint32_t head)
{
    while (head != 0) {
        struct page_chunk *chunk = chunk_of(store, head);
        struct page_note *note = note_of(store, head);
        uint32_t next = note->next;
        note->next = chunk->cold_head;
        chunk->cold_head = head;
        chunk->cold_count++;
        chunk_list(store, chunk);
        head = next;
    }
}

/* No lock is held. Gives back to the system, then uncharges, then says that the addresses are free.
 * owner: whose charge limbo's owned pages are. Returns the bytes. */
static uint64_t limbo_settle(
    struct page_store *store, struct cistern_component *owner, struct limbo *limbo)
{
    uint64_t warm_bytes = ((uint64_t)limbo->warm_count << store->page_shift) +
                          limbo->chunk_count * chunk_bytes(store);
    uint64_t owned_bytes = (uint64_t)limbo->owned_count << store->page_shift;
    if (warm_bytes + owned_bytes == 0) {
        return 0;
    }
    pages_discard(store, limbo->owned_head);
    pages_discard(store, limbo->warm_head);
    for (struct page_chunk *chunk = limbo->chunks; chunk != NULL; chunk = chunk->next) {
        range_discard(&store->range, chunk->index * chunk_bytes(store), chunk_bytes(store));
    }
    if (owned_bytes > 0) {
        cistern_component_uncharge(owner, owned_bytes);
    }
    spin_lock(store);
    if (warm_bytes > 0) {
        cistern_component_uncharge(store->component, warm_bytes);
    }
    pages_to_cold(store, limbo->owned_head);
    pages_to_cold(store, limbo->warm_head);
    while (limbo->chunks != NULL) {
        struct page_chunk *chunk = limbo->chunks;
        limbo->chunks = chunk->next;
        chunk_free(store, chunk);
    }
    spin_unlock(store);
    return warm_bytes + owned_bytes;
}

void page_store_give(struct page_store *store, struct cistern_component *owner, void *const *pages,
    uint32_t page_count)
{
    for (uint32_t done = 0; done < page_count;) {
        struct limbo limbo = {0};
        uint32_t end = page_count - done > GIVE_BATCH ? done + GIVE_BATCH : page_count;
        spin_lock(store);
        for (; done < end; done++) {
            uint32_t link = page_find(store, owner, pages[done]);
            if (link != 0) {
                give_one(store, owner, link, &limbo);
            } else {
                store->stray_count += pages[done] != NULL;
            }
        }
        spin_unlock(store);
        (void)limbo_settle(store, owner, &limbo);
    }
}

void page_store_give_all(struct page_store *store, struct cistern_component *owner)
{
    uint32_t left;
    do {
        struct limbo limbo = {0};
        spin_lock(store);
        for (uint32_t i = 0; i < GIVE_BATCH && owner->page_head != 0; i++) {
            give_one(store, owner, owner->page_head, &limbo);
        }
        left = owner->page_head;
        spin_unlock(store);
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
        spin_lock(store);
        while (batch < DRAIN_BATCH && drained + (batch << store->page_shift) < target_bytes) {
            struct page_chunk *chunk = store->lists[LIST_IDLE];
            chunk = chunk != NULL ? chunk : store->lists[LIST_TAKEN];
            if (chunk == NULL) {
                break;
            }
            batch += chunk->warm_count;
            chunk_to_limbo(store, chunk, &limbo);
        }
        spin_unlock(store);
        got = limbo_settle(store, NULL, &limbo);
        drained += got;
    } while (got > 0 && drained < target_bytes);
    return drained;
}

uint64_t page_store_held(struct page_store *store, const struct cistern_component *owner)
{
    spin_lock(store);
    uint64_t held = owner->page_count;
    spin_unlock(store);
    return held;
}

void page_store_counts(struct page_store *store, struct page_store_counts *ret_counts)
{
    spin_lock(store);
    *ret_counts = (struct page_store_counts){
        .live = store->live_count, .warm = store->warm_count, .stray = store->stray_count};
    spin_unlock(store);
}

const struct cistern_component *page_store_component(const struct page_store *store)
{
    return store->component;
}

/* ---- the store itself ---- */

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
    bytes = (bytes + chunk_bytes(store) - 1) & ~(chunk_bytes(store) - 1);
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
    if (range_reserve(&store->range, bytes, chunk_bytes(store), (int)store->is_huge) != 0) {
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
