/* component.c -- the lines of a slot's account and the verbs that change them. The limit is
 * checked in one place. */
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/log.h"
#include "cistern/size.h"
#include "page_store_private.h"
#include "pool_private.h"

#include <assert.h>
#include <string.h>

#define CLOSE_POLL_NS INT64_C(100000)
#define PEAK_TIMED_PART 32 /* a peak's time is read again when it has grown by this part */

static uint32_t options_check(
    const struct cistern_component_options *options, struct cistern_error *error)
{
    if (options->name == NULL || options->name[0] == '\0') {
        return cistern_fail(error, CISTERN_INVALID, "name", "a component needs a name");
    }
    if (strlen(options->name) >= POOL_NAME_BYTES) {
        return cistern_fail(error, CISTERN_INVALID, "name",
            "the component name \"%.64s\" is longer than %d characters", options->name,
            POOL_NAME_BYTES - 1);
    }
    if (options->reclaim_class > CISTERN_RECLAIM_NEVER) {
        return cistern_fail(error, CISTERN_INVALID, "reclaim_class",
            "component %s: %u is no reclaim class", options->name, options->reclaim_class);
    }
    if (options->reclaim_class == CISTERN_RECLAIM_NEVER && options->reclaim != NULL) {
        return cistern_fail(error, CISTERN_INVALID, "reclaim",
            "component %s has a reclaim callback, but its class says that it never gives bytes "
            "back",
            options->name);
    }
    return CISTERN_OK;
}

/* Appends, so that the list keeps the order of opening. */
static uint32_t attach(
    struct cistern_slot *slot, struct cistern_component *component, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    pthread_mutex_lock(&slot->pool->lock);
    assert(slot->is_open);
    if (slot->component_count == SLOT_COMPONENT_COUNT_MAX) {
        status = cistern_fail(error, CISTERN_LIMIT, slot->name, "%s has %d components already",
            slot->name, SLOT_COMPONENT_COUNT_MAX);
    } else {
        struct cistern_component **tail = &slot->components;
        while (*tail != NULL) {
            tail = &(*tail)->next;
        }
        *tail = component;
        slot->component_count++;
        component->sequence = ++slot->component_sequence;
    }
    pthread_mutex_unlock(&slot->pool->lock);
    return status;
}

static void detach(struct cistern_component *component)
{
    struct cistern_slot *slot = component->slot;
    pthread_mutex_lock(&slot->pool->lock);
    struct cistern_component **link = &slot->components;
    while (*link != component) {
        assert(*link != NULL);
        link = &(*link)->next;
    }
    *link = component->next;
    slot->component_count--;
    pthread_mutex_unlock(&slot->pool->lock);
}

uint32_t cistern_component_open_sized(struct cistern_slot *slot,
    const struct cistern_component_options *given, uint64_t options_bytes,
    struct cistern_component **ret_component, struct cistern_error *error)
{
    assert(slot != NULL && ret_component != NULL);
    struct cistern_component_options options;
    uint32_t status = cistern_options_read(
        &options, sizeof options, given, options_bytes, "cistern_component_options", error);
    if (status == CISTERN_OK) {
        status = options_check(&options, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_component *component = cistern_allocate_zeroed(1, sizeof *component);
    if (component == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, options.name,
            "no memory for the component's control structure");
    }
    component->slot = slot;
    memcpy(component->name, options.name, strlen(options.name) + 1);
    component->reclaim_class = options.reclaim_class;
    component->reclaim_from_any_thread = options.reclaim_from_any_thread;
    component->is_exclusive = options.is_exclusive;
    component->may_borrow =
        options.reclaim_class == CISTERN_RECLAIM_INSTANT && options.reclaim_from_any_thread;
    component->reclaim = options.reclaim;
    component->arg = options.arg;
    status = attach(slot, component, error);
    if (status != CISTERN_OK) {
        cistern_release(component);
        return status;
    }
    *ret_component = component;
    return CISTERN_OK;
}

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* What no stash may be used in, nor kept: the slot repays first. */
static int is_above_limit(const struct cistern_slot *slot)
{
    return load(&slot->quota.used) > load(&slot->quota.limit);
}

/* Both by the one caller of an exclusive component: a load and a store. */
static int stash_take(struct cistern_component *component, uint64_t bytes)
{
    uint64_t stash = load(&component->stash);
    if (bytes > stash || is_above_limit(component->slot)) {
        return 0;
    }
    atomic_store_explicit(&component->stash, stash - bytes, memory_order_relaxed);
    return 1;
}

static int stash_put(struct cistern_component *component, uint64_t bytes)
{
    uint64_t stash = load(&component->stash) + bytes;
    uint64_t limit = load(&component->slot->quota.limit);
    if (bytes > COMPONENT_STASH_BYTES || stash > COMPONENT_STASH_BYTES ||
        stash > limit / COMPONENT_STASH_PART || is_above_limit(component->slot)) {
        return 0;
    }
    atomic_store_explicit(&component->stash, stash, memory_order_relaxed);
    return 1;
}

static void stash_return(struct cistern_component *component)
{
    uint64_t stash = load(&component->stash);
    if (stash > 0) {
        atomic_store_explicit(&component->stash, 0, memory_order_relaxed);
        quota_uncharge(&component->slot->quota, stash);
    }
}

void cistern_component_quiesce(struct cistern_component *component)
{
    if (component == NULL) {
        return;
    }
    pthread_mutex_lock(&component->slot->pool->lock);
    component->is_quiet = 1;
    pthread_mutex_unlock(&component->slot->pool->lock);
    /* Another thread may be inside the callback; it was found before, and nobody finds us now. */
    while (atomic_load_explicit(&component->in_reclaim, memory_order_acquire) != 0) {
        cistern_sleep_ns(CLOSE_POLL_NS);
    }
}

/* What its owner never gave back: said, and taken off the account, so that nobody inherits it. */
static void leak_settle(struct cistern_component *component)
{
    uint64_t leaked = load(&component->used);
    if (leaked > 0) {
        char size[16];
        cistern_log(CISTERN_LOG_ERROR,
            "%s: component %s closes with %s (%llu bytes) charged that nobody gave back",
            component->slot->name, component->name, cistern_size_format(size, leaked),
            (unsigned long long)leaked);
        assert(leaked == 0); /* the caller's bug: the log says whose */
        cistern_component_uncharge(component, leaked);
    }
}

void cistern_component_close(struct cistern_component *component)
{
    if (component == NULL) {
        return;
    }
    cistern_component_quiesce(component);
    pages_component_close(component);
    cistern_component_report(component, 0);
    leak_settle(component);
    stash_return(component);
    detach(component); /* last: whoever finds the slot without components may close it */
    cistern_release(component);
}

struct cistern_slot *cistern_component_slot(struct cistern_component *component)
{
    return component->slot;
}

/* Adds to the component's own count, modulo 2^64, and returns it. */
static uint64_t count_add(struct cistern_component *component, uint64_t change)
{
    if (!component->is_exclusive) {
        return atomic_fetch_add_explicit(&component->used, change, memory_order_relaxed) + change;
    }
    uint64_t used = atomic_load_explicit(&component->used, memory_order_relaxed) + change;
    atomic_store_explicit(&component->used, used, memory_order_relaxed);
    return used;
}

static void peak_raise(struct cistern_component *component, uint64_t bytes)
{
    counter_raise(&component->peak, bytes);
    uint64_t timed = atomic_load_explicit(&component->peak_timed, memory_order_relaxed);
    if (bytes >= timed + timed / PEAK_TIMED_PART + 1) {
        atomic_store_explicit(&component->peak_timed, bytes, memory_order_relaxed);
        atomic_store_explicit(&component->peak_ms, cistern_wall_ms(), memory_order_relaxed);
    }
}

static void count_raise(struct cistern_component *component, uint64_t used)
{
    if (used > atomic_load_explicit(&component->peak, memory_order_relaxed)) {
        peak_raise(
            component, used + atomic_load_explicit(&component->reported, memory_order_relaxed));
    }
}

void component_peak_update(struct cistern_component *component)
{
    count_raise(component, load(&component->used));
}

static void component_add(struct cistern_component *component, uint64_t bytes, uint64_t slot_used)
{
    count_raise(component, count_add(component, bytes));
    slot_peak_update(component->slot, slot_used);
}

/* Whether the ledger of the process leaves `bytes`; in GUEST accounting nobody asks it. */
static int ledger_leaves(const struct cistern_pool *pool, uint64_t bytes)
{
    return pool->accounting != CISTERN_ACCOUNTING_OWNED ||
           (bytes <= INT64_MAX && ledger_free(pool) >= (int64_t)bytes);
}

/* The slot's own word, and in OWNED accounting the ledger of the process. */
static uint32_t charge_slot(struct cistern_component *component, uint64_t bytes)
{
    struct cistern_slot *slot = component->slot;
    /* Before, so that nobody sees bytes that cannot be granted; and after, because others may have
     * asked at the same time and been told of the same room. */
    if (!ledger_leaves(slot->pool, bytes)) {
        return CISTERN_LIMIT;
    }
    uint64_t used = quota_charge(&slot->quota, bytes, (int)component->may_borrow);
    if (used == 0) {
        return CISTERN_LIMIT;
    }
    if (!ledger_leaves(slot->pool, 0)) {
        quota_uncharge(&slot->quota, bytes);
        return CISTERN_LIMIT;
    }
    component_add(component, bytes, used);
    return CISTERN_OK;
}

uint32_t cistern_component_charge(struct cistern_component *component, uint64_t bytes)
{
    assert(!reserve_in_callback());
    if (bytes == 0) {
        return CISTERN_OK;
    }
    if (component->is_exclusive) {
        if (stash_take(component, bytes)) {
            count_raise(component, count_add(component, bytes));
            return CISTERN_OK;
        }
        stash_return(component); /* it may be what is missing */
    }
    uint32_t status = charge_slot(component, bytes);
    if (status != CISTERN_OK) {
        atomic_fetch_add_explicit(&component->refusal_count, 1, memory_order_relaxed);
    }
    return status;
}

void cistern_component_uncharge(struct cistern_component *component, uint64_t bytes)
{
    assert(atomic_load_explicit(&component->used, memory_order_relaxed) >= bytes);
    assert(quota_load(&component->slot->quota.used) >= bytes);
    (void)count_add(component, 0 - bytes);
    if (!component->is_exclusive || !stash_put(component, bytes)) {
        quota_uncharge(&component->slot->quota, bytes);
    }
}

void cistern_component_charge_forced(struct cistern_component *component, uint64_t bytes)
{
    assert(!reserve_in_callback());
    struct cistern_slot *slot = component->slot;
    component_add(component, bytes, quota_force(&slot->quota, bytes));
    ledger_admit(slot->pool, slot);
}

void cistern_component_report(struct cistern_component *component, uint64_t bytes)
{
    struct cistern_slot *slot = component->slot;
    uint64_t before = atomic_exchange_explicit(&component->reported, bytes, memory_order_relaxed);
    uint64_t change = bytes - before; /* modulo 2^64: a smaller report subtracts */
    atomic_fetch_add_explicit(&slot->reported, change, memory_order_relaxed);
    uint64_t used =
        atomic_fetch_add_explicit(&slot->quota.used, change, memory_order_relaxed) + change;
    if (bytes > before) {
        peak_raise(component, bytes + atomic_load_explicit(&component->used, memory_order_relaxed));
        slot_peak_update(slot, used);
    }
}
