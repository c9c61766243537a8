/* pages.c -- see pages.h. What a caller may have is decided here; which pages they are in
 * page_store.c. */
#include "cistern/pages.h"
#include "cistern/error.h"
#include "cistern/log.h"
#include "cistern/size.h"
#include "page_store_private.h"
#include "pool_private.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Each round either has the pages or has asked the slot's holders, who gave something. */
#define ROUNDS_MAX 8

static uint64_t total_count(const struct cistern_slot *slot)
{
    return cistern_slot_share_bytes(slot) / slot->pool->page_bytes;
}

/* Caller holds pool.lock. */
static void store_join(struct cistern_slot *slot, struct cistern_component *component)
{
    slot->page_owner_count++;
    atomic_store_explicit(&component->page_store, slot->page_store, memory_order_release);
}

/* The slot's store, with the component as one of its owners. Two threads may both make one: the
 * later one drops its own. */
static uint32_t store_acquire(
    struct cistern_component *component, struct page_store **ret_store, struct cistern_error *error)
{
    struct cistern_slot *slot = component->slot;
    struct page_store *made = NULL;
    for (;;) {
        pthread_mutex_lock(&slot->pool->lock);
        if (slot->page_store == NULL && made != NULL) {
            slot->page_store = made;
            made = NULL;
        }
        if (slot->page_store != NULL && atomic_load(&component->page_store) == NULL) {
            store_join(slot, component);
        }
        *ret_store = slot->page_store;
        pthread_mutex_unlock(&slot->pool->lock);
        if (*ret_store != NULL) {
            page_store_destroy(made);
            return CISTERN_OK;
        }
        uint32_t status = page_store_create(slot, &made, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
}

static struct page_store *store_of(struct cistern_component *component)
{
    return atomic_load_explicit(&component->page_store, memory_order_acquire);
}

/* All of page_count, or none and the status; *ret_missing_bytes is what LIMIT was about. */
static uint32_t gather(struct page_store *store, struct cistern_component *component,
    uint32_t page_count, void **ret_pages, uint64_t *ret_missing_bytes)
{
    uint64_t page_bytes = component->slot->pool->page_bytes;
    uint32_t taken = page_store_take_warm(store, component, page_count, ret_pages);
    /* Bounded although others may take or evict what was committed. */
    for (uint32_t i = 0;
         i < page_count && taken < page_count && page_store_commit_chunk(store) == CISTERN_OK;
         i++) {
        taken += page_store_take_warm(store, component, page_count - taken, ret_pages + taken);
    }
    if (taken == page_count) {
        return CISTERN_OK;
    }
    uint32_t missing = page_count - taken;
    *ret_missing_bytes = missing * page_bytes;
    uint32_t status = cistern_component_charge(component, missing * page_bytes);
    if (status == CISTERN_OK) {
        uint32_t cold = 0;
        status = page_store_take_cold(store, component, missing, ret_pages + taken, &cold);
        taken += cold;
        if (cold < missing) {
            *ret_missing_bytes = 0; /* not for want of room */
            cistern_component_uncharge(component, (missing - cold) * page_bytes);
        }
    }
    if (status != CISTERN_OK) {
        page_store_give(store, component, ret_pages, taken);
    }
    return status;
}

/* The sentence of what no reclaim can help with. */
static uint32_t refuse(const struct cistern_component *component, uint32_t status,
    uint32_t page_count, struct cistern_error *error)
{
    const struct cistern_slot *slot = component->slot;
    if (status == CISTERN_LIMIT) {
        return cistern_fail(error, status, component->name,
            "%s: %s could not allocate %u pages: the addresses reserved for pages are used up; "
            "close and open the slot to have more",
            slot->name, component->name, page_count);
    }
    return cistern_fail(error, status, component->name,
        "%s: %s could not allocate %u pages: no memory for their control structures (or "
        "vm.overcommit_memory=2 and no commit charge left)",
        slot->name, component->name, page_count);
}

uint32_t cistern_pages_allocate(struct cistern_component *component, uint32_t page_count,
    void **ret_pages, struct cistern_error *error)
{
    assert(component != NULL && (ret_pages != NULL || page_count == 0));
    struct cistern_slot *slot = component->slot;
    if (page_count == 0) {
        return CISTERN_OK;
    }
    uint64_t bytes = page_count * slot->pool->page_bytes;
    if (bytes > cistern_slot_share_bytes(slot) && bytes > slot_share_exact(slot)) {
        return cistern_fail(error, CISTERN_INVALID, component->name,
            "%s: cannot allocate %u pages for %s: the slot has %llu of %llu bytes in all",
            slot->name, page_count, component->name, (unsigned long long)total_count(slot),
            (unsigned long long)slot->pool->page_bytes);
    }
    struct page_store *store = store_of(component);
    uint32_t status = store != NULL ? CISTERN_OK : store_acquire(component, &store, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint64_t missing_bytes = 0;
    for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
        status = gather(store, component, page_count, ret_pages, &missing_bytes);
        if (status != CISTERN_LIMIT || missing_bytes == 0) {
            return status == CISTERN_OK ? status : refuse(component, status, page_count, error);
        }
        /* What was taken is back among the warm pages, so the whole must fit, less those. */
        status =
            cistern_component_reserve(component, page_count * slot->pool->page_bytes, 0, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return cistern_fail(error, CISTERN_LIMIT, component->name,
        "%s: %s could not allocate %u pages: others took the room made for them %d times; raise "
        "--managed (budget_bytes)",
        slot->name, component->name, page_count, ROUNDS_MAX);
}

void cistern_pages_release(
    struct cistern_component *component, void *const *pages, uint32_t page_count)
{
    assert(component != NULL && (pages != NULL || page_count == 0));
    struct page_store *store = store_of(component);
    if (store != NULL) { /* else it never had a page: all are foreign */
        page_store_give(store, component, pages, page_count);
    }
}

void cistern_pages_release_all(struct cistern_component *component)
{
    assert(component != NULL);
    struct page_store *store = store_of(component);
    if (store != NULL) {
        page_store_give_all(store, component);
    }
}

uint64_t cistern_pages_held(struct cistern_component *component)
{
    struct page_store *store = store_of(component);
    return store == NULL ? 0 : page_store_held(store, component);
}

void pages_component_close(struct cistern_component *component)
{
    struct cistern_slot *slot = component->slot;
    struct page_store *store = store_of(component);
    if (store == NULL) {
        return;
    }
    uint64_t held = page_store_held(store, component);
    if (held > 0) {
        char size[16];
        cistern_log(CISTERN_LOG_WARNING,
            "%s: component %s closes with %llu pages (%s) that nobody released", slot->name,
            component->name, (unsigned long long)held,
            cistern_size_format(size, held * slot->pool->page_bytes));
        page_store_give_all(store, component);
    }
    pthread_mutex_lock(&slot->pool->lock);
    assert(slot->page_owner_count > 0 && slot->page_store == store);
    /* whoever looks at the slot still finds the component, but no store that may be gone */
    atomic_store_explicit(&component->page_store, NULL, memory_order_relaxed);
    slot->page_owner_count--;
    int is_last = slot->page_owner_count == 0;
    slot->page_store = is_last ? NULL : store;
    pthread_mutex_unlock(&slot->pool->lock);
    if (is_last) {
        page_store_destroy(store);
    }
}

/* Charged bytes of the slot that owners hold; the store's own warm pages are nobody's.
 * Caller holds pool.lock. */
static uint64_t held_bytes(
    const struct cistern_slot *slot, const struct cistern_component **ret_largest)
{
    uint64_t sum = 0;
    uint64_t most = 0;
    const struct cistern_component *free_pages =
        slot->page_store == NULL ? NULL : page_store_component(slot->page_store);
    *ret_largest = NULL;
    for (const struct cistern_component *c = slot->components; c != NULL; c = c->next) {
        uint64_t bytes = atomic_load(&c->used) + atomic_load(&c->reported);
        if (c != free_pages && bytes > 0) {
            sum += bytes;
            *ret_largest = bytes > most ? c : *ret_largest;
            most = bytes > most ? bytes : most;
        }
    }
    return sum;
}

void cistern_pages_usage(struct cistern_slot *slot, struct cistern_pages_usage *ret_usage)
{
    assert(slot != NULL && ret_usage != NULL);
    struct page_store_counts counts = {0};
    pthread_mutex_lock(&slot->pool->lock);
    if (slot->page_store != NULL) {
        page_store_counts(slot->page_store, &counts);
    }
    pthread_mutex_unlock(&slot->pool->lock);
    uint64_t page_bytes = slot->pool->page_bytes;
    int64_t room = slot_free_own(slot) + (int64_t)(counts.warm * page_bytes);
    *ret_usage = (struct cistern_pages_usage){.page_bytes = page_bytes,
        .total_count = total_count(slot),
        .available_bytes = room > 0 ? (uint64_t)room : 0,
        .available_count = room > 0 ? (uint64_t)room / page_bytes : 0,
        .held_count = counts.live,
        .warm_count = counts.warm,
        .stray_count = counts.stray};
}

uint32_t cistern_pages_verify_empty(struct cistern_slot *slot, struct cistern_error *error)
{
    assert(slot != NULL);
    const struct cistern_component *largest;
    uint32_t status = CISTERN_OK;
    pthread_mutex_lock(&slot->pool->lock);
    uint64_t bytes = held_bytes(slot, &largest);
    if (bytes > 0) {
        char all[16];
        char most[16];
        struct page_store *store = store_of((struct cistern_component *)largest);
        uint64_t pages =
            store == NULL ? 0 : page_store_held(store, (struct cistern_component *)largest);
        status = cistern_fail(error, CISTERN_BUSY, slot->name,
            "%s is not empty: %s held, most of it by %s: %s, of it %llu pages", slot->name,
            cistern_size_format(all, bytes), largest->name,
            cistern_size_format(
                most, atomic_load(&largest->used) + atomic_load(&largest->reported)),
            (unsigned long long)pages);
    }
    pthread_mutex_unlock(&slot->pool->lock);
    return status;
}

uint32_t cistern_pages_of_fraction(const struct cistern_slot *slot, double fraction,
    uint64_t *ret_count, uint64_t *ret_bytes, struct cistern_error *error)
{
    assert(slot != NULL);
    if (fraction == 0) {
        return cistern_fail(error, CISTERN_INVALID, "fraction",
            "the fraction of memory to allocate should not be 0: give every kind of consumer of "
            "managed memory in the job a positive weight "
            "(taskmanager.memory.managed.consumer-weights)");
    }
    if (!(fraction > 0 && fraction <= 1)) {
        return cistern_fail(error, CISTERN_INVALID, "fraction",
            "the fraction of memory to allocate must be within (0, 1], was: %g", fraction);
    }
    if (ret_count != NULL) {
        *ret_count = (uint64_t)((double)total_count(slot) * fraction);
    }
    if (ret_bytes != NULL) {
        *ret_bytes = (uint64_t)((double)cistern_slot_share_bytes(slot) * fraction);
    }
    return CISTERN_OK;
}
