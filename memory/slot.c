/* slot.c -- a slot is one word that is compared with one limit; everything else here moves
 * limits under pool.lock. */
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/size.h"
#include "elastic_private.h"
#include "holders_private.h"
#include "loan_private.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define OPEN_RECALL_NS INT64_C(1000000000)
#define CLOSE_POLL_NS INT64_C(100000)

/* A slot that is all debt could charge nothing: the default takes at most a quarter of a small
 * limit. */
static uint64_t default_debt(uint64_t limit_bytes)
{
    uint64_t debt = limit_bytes / 32;
    debt = debt < BUDGET_DEBT_MIN ? BUDGET_DEBT_MIN : debt;
    return debt > limit_bytes / 4 ? limit_bytes / 4 : debt;
}

void slot_init(struct cistern_slot *slot, struct cistern_pool *pool, uint32_t index)
{
    slot->pool = pool;
    slot->index = index;
    slot->weight = 1;
    if (index == 0) {
        snprintf(slot->name, sizeof slot->name, "process");
    } else {
        snprintf(slot->name, sizeof slot->name, "slot %u", index);
    }
}

int64_t slot_free_own(const struct cistern_slot *slot)
{
    return (int64_t)atomic_load_explicit(&slot->quota.limit, memory_order_relaxed) -
           (int64_t)atomic_load_explicit(&slot->quota.used, memory_order_relaxed);
}

int64_t slot_free(const struct cistern_slot *slot)
{
    return slot_free_own(slot) +
           (int64_t)atomic_load_explicit(&slot->quota.loan, memory_order_relaxed);
}

uint64_t slot_debt(const struct cistern_slot *slot)
{
    int64_t free_bytes = slot_free(slot);
    return free_bytes < 0 ? (uint64_t)-free_bytes : 0;
}

uint64_t slot_share_exact(struct cistern_slot *slot)
{
    pthread_mutex_lock(&slot->pool->lock);
    uint64_t share = cistern_slot_share_bytes(slot);
    pthread_mutex_unlock(&slot->pool->lock);
    return share;
}

void counter_raise(_Atomic uint64_t *counter, uint64_t value)
{
    uint64_t seen = atomic_load_explicit(counter, memory_order_relaxed);
    while (value > seen && !atomic_compare_exchange_weak_explicit(
                               counter, &seen, value, memory_order_relaxed, memory_order_relaxed)) {
    }
}

void slot_peak_update(struct cistern_slot *slot, uint64_t used)
{
    if (used > atomic_load_explicit(&slot->peak, memory_order_relaxed)) {
        counter_raise(&slot->peak, used);
        ledger_peak_update(slot->pool);
    }
}

static uint64_t even_share(const struct cistern_pool *pool)
{
    return (pool->budget_bytes - pool->process_reserve_bytes) / pool->slot_count_max;
}

static uint32_t options_resolve(const struct cistern_pool *pool,
    struct cistern_slot_options *options, struct cistern_error *error)
{
    if (options->limit_bytes == 0) {
        options->limit_bytes = even_share(pool);
    }
    if (options->debt_max_bytes == 0) {
        options->debt_max_bytes = default_debt(options->limit_bytes);
    }
    if (options->guarantee_bytes == 0) {
        options->guarantee_bytes = options->limit_bytes;
    }
    if (options->weight == 0) {
        options->weight = 1;
    }
    if (options->debt_max_bytes >= options->limit_bytes) {
        return cistern_fail(error, CISTERN_INVALID, "debt_max_bytes",
            "debt_max_bytes (%llu) leaves nothing of limit_bytes (%llu)",
            (unsigned long long)options->debt_max_bytes, (unsigned long long)options->limit_bytes);
    }
    if (options->guarantee_bytes > options->limit_bytes) {
        return cistern_fail(error, CISTERN_INVALID, "guarantee_bytes",
            "guarantee_bytes (%llu) is more than limit_bytes (%llu)",
            (unsigned long long)options->guarantee_bytes, (unsigned long long)options->limit_bytes);
    }
    return CISTERN_OK;
}

/* Caller holds pool.lock. */
static uint64_t granted_total(const struct cistern_pool *pool)
{
    uint64_t total = pool->process_reserve_bytes;
    total += atomic_load(&pool->orphaned) + atomic_load(&pool->orphaned_in_hand);
    for (uint32_t i = 1; i <= pool->slot_count_max; i++) {
        total += pool->slots[i].is_open ? pool->slots[i].granted_bytes : 0;
    }
    assert(total <= pool->budget_bytes);
    return total;
}

/* Caller holds pool.lock. */
static struct cistern_slot *find_closed(struct cistern_pool *pool)
{
    for (uint32_t i = 1; i <= pool->slot_count_max; i++) {
        if (!pool->slots[i].is_open) {
            return &pool->slots[i];
        }
    }
    return NULL;
}

/* Caller holds pool.lock. */
static uint32_t grant(struct cistern_pool *pool, const struct cistern_slot_options *options,
    struct cistern_slot **ret_slot, struct cistern_error *error)
{
    if (pool->is_resizing) {
        return cistern_fail(error, CISTERN_BUSY, "budget_bytes",
            "the pool is being resized; open the slot after that");
    }
    struct cistern_slot *slot = find_closed(pool);
    if (slot == NULL) {
        return cistern_fail(error, CISTERN_LIMIT, "slot_count_max",
            "all %u slots are open; raise slot_count_max", pool->slot_count_max);
    }
    uint64_t left = pool->budget_bytes - granted_total(pool);
    if (options->limit_bytes > left) {
        char wanted[16];
        char rest[16];
        char budget[16];
        uint32_t status = cistern_fail(error, CISTERN_LIMIT, "limit_bytes",
            "a slot of %s does not fit: %s of the budget of %s is not granted yet; raise --managed "
            "(budget_bytes)",
            cistern_size_format(wanted, options->limit_bytes), cistern_size_format(rest, left),
            cistern_size_format(budget, pool->budget_bytes));
        if (error != NULL) {
            error->bytes_missing = options->limit_bytes - left;
        }
        return status;
    }
    assert(atomic_load(&slot->quota.used) == 0 && atomic_load(&slot->reported) == 0);
    atomic_store(&slot->quota.limit, options->limit_bytes - options->debt_max_bytes);
    atomic_store(&slot->peak, 0);
    slot->debt_max = options->debt_max_bytes;
    slot->granted_bytes = options->limit_bytes;
    slot->guarantee_bytes = options->guarantee_bytes;
    slot->weight = options->weight;
    slot->is_open = 1;
    *ret_slot = slot;
    return CISTERN_OK;
}

uint32_t cistern_slot_open_sized(struct cistern_pool *pool,
    const struct cistern_slot_options *given, uint64_t options_bytes,
    struct cistern_slot **ret_slot, struct cistern_error *error)
{
    assert(pool != NULL && ret_slot != NULL);
    struct cistern_slot_options options;
    uint32_t status = cistern_options_read(
        &options, sizeof options, given, options_bytes, "cistern_slot_options", error);
    if (status == CISTERN_OK) {
        status = options_resolve(pool, &options, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    pthread_mutex_lock(&pool->lock);
    status = grant(pool, &options, ret_slot, error);
    pthread_mutex_unlock(&pool->lock);
    if (status == CISTERN_LIMIT && atomic_load(&pool->orphaned) > 0) {
        (void)loan_recall_orphaned(pool, UINT64_MAX, cistern_now_ns() + OPEN_RECALL_NS);
        pthread_mutex_lock(&pool->lock);
        status = grant(pool, &options, ret_slot, error);
        pthread_mutex_unlock(&pool->lock);
    }
    return status;
}

/* Caller holds pool.lock. What stands in the way of closing. */
static uint32_t check_idle(struct cistern_slot *slot, struct cistern_error *error)
{
    const struct cistern_component *component = slot->components;
    if (elastic_set_serves(slot)) {
        return cistern_fail(error, CISTERN_BUSY, slot->name,
            "%s cannot close: an elastic of it is open", slot->name);
    }
    if (component != NULL) {
        char held[HOLDERS_TEXT_BYTES];
        holders_format(slot, held, sizeof held);
        return cistern_fail(error, CISTERN_BUSY, slot->name,
            "%s cannot close: component %s is open; held by %s", slot->name, component->name, held);
    }
    return CISTERN_OK;
}

uint32_t cistern_slot_close(struct cistern_slot *slot, struct cistern_error *error)
{
    assert(slot != NULL && slot->index != 0);
    struct cistern_pool *pool = slot->pool;
    pthread_mutex_lock(&pool->lock);
    assert(slot->is_open);
    uint32_t status = check_idle(slot, error);
    slot->is_closing = status == CISTERN_OK;
    pthread_mutex_unlock(&pool->lock);
    if (status != CISTERN_OK) {
        return status;
    }
    (void)loan_return(slot, UINT64_MAX);
    (void)loan_recall(slot, UINT64_MAX, 0);
    for (;;) { /* a resize, or another slot's owner, may have it in hand; its steps are bounded */
        pthread_mutex_lock(&pool->lock);
        if (slot->recall_count == 0) {
            break;
        }
        pthread_mutex_unlock(&pool->lock);
        cistern_sleep_ns(CLOSE_POLL_NS);
    }
    assert(atomic_load(&slot->quota.used) == 0 && atomic_load(&slot->quota.loan) == 0);
    atomic_fetch_add(&pool->orphaned, atomic_exchange(&slot->lent, 0)); /* pinned elsewhere */
    slot->is_closing = 0;
    slot->is_open = 0;
    atomic_store(&slot->quota.limit, 0);
    slot->granted_bytes = 0;
    pthread_mutex_unlock(&pool->lock);
    return CISTERN_OK;
}

struct cistern_pool *cistern_slot_pool(struct cistern_slot *slot)
{
    return slot->pool;
}

uint32_t cistern_slot_index(const struct cistern_slot *slot)
{
    return slot->index;
}

uint64_t cistern_slot_limit_bytes(const struct cistern_slot *slot)
{
    return atomic_load_explicit(&slot->quota.limit, memory_order_relaxed);
}

uint64_t cistern_slot_share_bytes(const struct cistern_slot *slot)
{
    return cistern_slot_limit_bytes(slot) + cistern_slot_lent_bytes(slot) +
           atomic_load_explicit(&slot->lent_in_hand, memory_order_relaxed);
}

uint64_t cistern_slot_loan_bytes(const struct cistern_slot *slot)
{
    return atomic_load_explicit(&slot->quota.loan, memory_order_relaxed);
}

uint64_t cistern_slot_lent_bytes(const struct cistern_slot *slot)
{
    return atomic_load_explicit(&slot->lent, memory_order_relaxed);
}

uint64_t cistern_slot_used_bytes(const struct cistern_slot *slot)
{
    return atomic_load_explicit(&slot->quota.used, memory_order_relaxed);
}
