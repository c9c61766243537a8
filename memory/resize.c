/*
 * resize.c -- another budget for a pool that is in use: whole, or not at all.
 *
 * Each slot keeps its share. Growing is a raise of limits. Shrinking first lowers every limit, so
 * that nothing new is admitted above the new shares; then it waits, evicting, until nothing is used
 * above them either; then the budget is the new one. When that cannot be reached the old limits
 * come back: nothing was refused for good, and nothing was lost.
 */
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/size.h"
#include "elastic_private.h"
#include "loan_private.h"
#include "reserve_private.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define PAUSE_NS INT64_C(1000000)
#define ROUNDING_BYTES 4096 /* shares are rounded down, what they must hold is not */
#define ROUNDS_MAX 600000   /* ten minutes of pauses: a host clock that stands still ends too */

/* The new shares, computed under pool.lock and applied or dropped as one. */
struct resize {
    struct cistern_pool *pool;
    uint64_t budget_before;
    uint64_t budget;
    uint64_t reserve_before;
    uint64_t reserve;
    uint64_t process_limit_before;
    uint64_t process_limit;
    int is_default_reserve; /* it follows the budget */
};

/* bytes * part / whole; UINT64_MAX where that is more, and of nothing (a tiny slot's share). */
static uint64_t scaled(uint64_t bytes, uint64_t part, uint64_t whole)
{
    unsigned __int128 product = (unsigned __int128)bytes * part;
    return whole == 0 || product / whole > UINT64_MAX ? UINT64_MAX : (uint64_t)(product / whole);
}

/* What a slot that was granted `bytes` has under the new budget. */
static uint64_t share_of(const struct resize *resize, uint64_t bytes)
{
    return scaled(
        bytes, resize->budget - resize->reserve, resize->budget_before - resize->reserve_before);
}

/* The limit of a slot without loans, before and after. */
static uint64_t limit_after(const struct resize *resize, const struct cistern_slot *slot)
{
    if (slot->index == 0) {
        return resize->process_limit;
    }
    return share_of(resize, slot->granted_bytes) - share_of(resize, slot->debt_max);
}

static uint64_t limit_before(const struct resize *resize, const struct cistern_slot *slot)
{
    return slot->index == 0 ? resize->process_limit_before : slot->granted_bytes - slot->debt_max;
}

static uint32_t budget_check(
    const struct cistern_pool *pool, uint64_t budget, uint64_t reserve, struct cistern_error *error)
{
    uint64_t least = cistern_pool_budget_min(pool->slot_count_max, 1);
    if (reserve > BUDGET_PROCESS_RESERVE_MIN) {
        least += reserve - BUDGET_PROCESS_RESERVE_MIN;
    }
    if (budget >= least && budget <= POOL_BUDGET_BYTES_MAX) {
        return CISTERN_OK;
    }
    char given[16];
    char bound[16];
    return cistern_fail(error, CISTERN_INVALID, "budget_bytes",
        budget < least ? "a budget of %s is too small: %u slot(s) need at least %s"
                       : "a budget of %s for %u slot(s) is more than %s",
        cistern_size_format(given, budget), pool->slot_count_max,
        cistern_size_format(bound, budget < least ? least : POOL_BUDGET_BYTES_MAX));
}

/* What the process slot may charge of its new reserve. The part that nobody charges grows with the
 * budget: where the reserve was given, growing would take it from the process slot, which may use
 * it. */
static void process_limits_fill(struct resize *resize)
{
    uint64_t before = cistern_slot_limit_bytes(&resize->pool->slots[0]); /* it lends nothing */
    uint64_t limit = pool_process_limit(resize->budget, resize->reserve);
    int is_lower = resize->budget >= resize->budget_before && limit < before;
    resize->process_limit_before = before;
    resize->process_limit = is_lower ? before : limit;
}

/* One resize at a time; none lends meanwhile. */
static uint32_t begin(struct cistern_pool *pool, uint64_t budget, struct resize *ret_resize,
    struct cistern_error *error)
{
    pthread_mutex_lock(&pool->lock);
    uint64_t before = pool->budget_bytes;
    uint64_t reserve = pool->process_reserve_bytes;
    int is_default_reserve = reserve == pool_process_reserve(before);
    if (is_default_reserve) {
        reserve = pool_process_reserve(budget);
    }
    uint32_t status = budget_check(pool, budget, reserve, error);
    if (status == CISTERN_OK && pool->is_resizing) {
        status = cistern_fail(
            error, CISTERN_BUSY, "budget_bytes", "another thread is resizing this pool");
    }
    if (status == CISTERN_OK) {
        pool->is_resizing = 1;
        *ret_resize = (struct resize){.pool = pool,
            .budget_before = before,
            .budget = budget,
            .reserve_before = pool->process_reserve_bytes,
            .reserve = reserve,
            .is_default_reserve = is_default_reserve};
        process_limits_fill(ret_resize);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

static void budget_set(struct cistern_pool *pool, uint64_t budget)
{
    pool->budget_bytes = budget;
    ledger_limit_set(pool, (int64_t)budget);
}

/* Moves every limit by what it differs; either direction. Caller holds pool.lock. */
static void limits_move(const struct resize *resize, int forward)
{
    for (uint32_t i = 0; i <= resize->pool->slot_count_max; i++) {
        struct cistern_slot *slot = &resize->pool->slots[i];
        uint64_t from = slot->is_open ? limit_before(resize, slot) : 0;
        uint64_t to = slot->is_open ? limit_after(resize, slot) : 0;
        if (!forward) {
            uint64_t swap = from;
            from = to;
            to = swap;
        }
        if (to > from) {
            quota_raise(&slot->quota.limit, to - from);
        } else if (to < from) {
            (void)quota_lower(&slot->quota, &slot->quota.limit, from - to);
        }
    }
}

/* The slot furthest above its limit; NULL when none is. */
static struct cistern_slot *find_over(struct cistern_pool *pool, uint64_t *ret_bytes)
{
    struct cistern_slot *found = NULL;
    *ret_bytes = 0;
    for (uint32_t i = 0; i <= pool->slot_count_max; i++) {
        int64_t room = slot_free(&pool->slots[i]);
        if (room < 0 && (uint64_t)-room > *ret_bytes) {
            found = &pool->slots[i];
            *ret_bytes = (uint64_t)-room;
        }
    }
    return found;
}

/* The ledger's limit may hold a credit that the governor gave under the old budget. */
static int is_ledger_over(const struct cistern_pool *pool)
{
    return pool->accounting == CISTERN_ACCOUNTING_OWNED &&
           ledger_used(pool) > (int64_t)pool->budget_bytes;
}

/* Evicts what any thread can evict, once round. */
static void make_room(struct cistern_pool *pool, int64_t deadline_ns)
{
    for (uint32_t i = 0; i <= pool->slot_count_max; i++) {
        struct cistern_slot *slot = &pool->slots[i];
        int64_t room = slot_free(slot);
        if (room < 0) {
            (void)reserve_evict(slot, (uint64_t)-room, deadline_ns);
            elastic_slot_evict(slot, 0);
        }
        room = slot_free(slot);
        if (room < 0) {
            (void)reserve_write_out(slot, (uint64_t)-room, deadline_ns);
        }
    }
    if (is_ledger_over(pool)) {
        governor_purge(pool, 0);
        (void)elastic_set_make_room(pool, NULL, 0);
    }
}

/* Until nothing is used above the lowered limits, or the deadline. */
static void wait_for_room(struct cistern_pool *pool, int64_t deadline_ns)
{
    uint64_t over;
    for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
        if (find_over(pool, &over) == NULL && !is_ledger_over(pool)) {
            return;
        }
        make_room(pool, deadline_ns);
        if (find_over(pool, &over) == NULL && !is_ledger_over(pool)) {
            return;
        }
        if (deadline_ns == 0 || cistern_now_ns() >= deadline_ns) {
            return;
        }
        cistern_sleep_ns(PAUSE_NS);
    }
}

/* The largest holder of a slot, for the message. Caller holds pool.lock. */
static const struct cistern_component *largest_holder(
    const struct cistern_slot *slot, uint64_t *ret_bytes)
{
    const struct cistern_component *largest = NULL;
    *ret_bytes = 0;
    for (const struct cistern_component *c = slot->components; c != NULL; c = c->next) {
        uint64_t bytes = atomic_load(&c->used) + atomic_load(&c->reported);
        if (bytes > *ret_bytes) {
            largest = c;
            *ret_bytes = bytes;
        }
    }
    return largest;
}

/* The least budget whose slots have `slots_bytes` between them. */
static uint64_t budget_around(const struct resize *resize, uint64_t slots_bytes)
{
    uint64_t reserve = resize->reserve;
    if (slots_bytes > POOL_BUDGET_BYTES_MAX) {
        slots_bytes = POOL_BUDGET_BYTES_MAX; /* more than any budget: the caller cuts it */
    }
    /* a sixteenth of what it is part of, and no less than 8 MiB */
    if (resize->is_default_reserve) {
        uint64_t sixteenth = (slots_bytes + 14) / 15;
        reserve = sixteenth < BUDGET_PROCESS_RESERVE_MIN ? BUDGET_PROCESS_RESERVE_MIN : sixteenth;
    }
    return slots_bytes + reserve + ROUNDING_BYTES;
}

/* Caller holds pool.lock; the limits are still the lowered ones. The least budget in which every
 * slot's share, at the fraction it has, would have held what it uses. */
static uint64_t reached_bytes(const struct resize *resize)
{
    struct cistern_pool *pool = resize->pool;
    uint64_t slots_before = resize->budget_before - resize->reserve_before;
    uint64_t reached = resize->budget;
    for (uint32_t i = 1; i <= pool->slot_count_max; i++) {
        const struct cistern_slot *slot = &pool->slots[i];
        if (slot->is_open && slot_free(slot) < 0) {
            uint64_t needed = budget_around(resize,
                scaled(cistern_slot_used_bytes(slot), slots_before, limit_before(resize, slot)));
            needed = needed > resize->budget ? needed : resize->budget + 1;
            reached = needed > reached ? needed : reached;
        }
    }
    if (slot_free(&pool->slots[0]) < 0) {
        return resize->budget_before;
    }
    if (is_ledger_over(pool)) {
        uint64_t used = (uint64_t)ledger_used(pool);
        reached = used > reached ? used : reached;
    }
    return reached > resize->budget_before ? resize->budget_before : reached;
}

static uint32_t explain(
    const struct resize *resize, uint32_t status, uint64_t reached, struct cistern_error *error)
{
    char wanted[16];
    char size[16];
    char over_size[16];
    char held_size[16];
    uint64_t over;
    uint64_t held;
    const char *when = status == CISTERN_TIMEOUT ? "at the deadline" : "now";
    cistern_size_format(wanted, resize->budget);
    cistern_size_format(size, reached);
    const struct cistern_slot *slot = find_over(resize->pool, &over);
    const struct cistern_component *holder = slot == NULL ? NULL : largest_holder(slot, &held);
    if (holder == NULL) {
        (void)cistern_fail(error, status, "budget_bytes",
            "the budget cannot shrink to %s %s, only to %s: %s; the old budget stays", wanted, when,
            size,
            is_ledger_over(resize->pool) ? "malloc holds the rest"
                                         : "the rest was just being given back, try again");
    } else {
        (void)cistern_fail(error, status, slot->name,
            "the budget cannot shrink to %s %s, only to %s: %s is %s above its share, its largest "
            "holder %s has %s; the old budget stays",
            wanted, when, size, slot->name, cistern_size_format(over_size, over), holder->name,
            cistern_size_format(held_size, held));
    }
    if (error != NULL) {
        error->bytes_missing = reached - resize->budget;
    }
    return status;
}

/* Caller holds pool.lock: the new shares are the truth from here on. */
static void commit(const struct resize *resize)
{
    struct cistern_pool *pool = resize->pool;
    for (uint32_t i = 1; i <= pool->slot_count_max; i++) {
        struct cistern_slot *slot = &pool->slots[i];
        if (slot->is_open) {
            uint64_t guarantee = share_of(resize, slot->guarantee_bytes);
            uint64_t debt_max = share_of(resize, slot->debt_max);
            slot->granted_bytes = share_of(resize, slot->granted_bytes);
            slot->guarantee_bytes = guarantee;
            slot->debt_max = debt_max;
        }
    }
    pool->process_reserve_bytes = resize->reserve;
    budget_set(pool, resize->budget);
}

static void loans_recall(struct cistern_pool *pool, int64_t deadline_ns)
{
    for (uint32_t i = 1; i <= pool->slot_count_max; i++) {
        (void)loan_return(&pool->slots[i], UINT64_MAX);
        (void)loan_recall(&pool->slots[i], UINT64_MAX, deadline_ns);
    }
    (void)loan_recall_orphaned(pool, UINT64_MAX, deadline_ns);
}

/* Ends loans. Nobody lends meanwhile, so that none stays none; but what another thread recalls is in
 * no limit and no loan until it is through with it, and may turn out to be pinned. OK, or the
 * status and the sentence of what is still lent. */
static uint32_t loans_end(
    struct cistern_pool *pool, int64_t deadline_ns, struct cistern_error *error)
{
    uint64_t lent;
    uint32_t recalls;
    for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
        loans_recall(pool, deadline_ns);
        pthread_mutex_lock(&pool->lock);
        lent = atomic_load(&pool->orphaned);
        recalls = 0;
        for (uint32_t i = 1; i <= pool->slot_count_max; i++) {
            lent += cistern_slot_lent_bytes(&pool->slots[i]);
            recalls += pool->slots[i].recall_count;
        }
        pthread_mutex_unlock(&pool->lock);
        if (recalls == 0 && lent == 0) {
            return CISTERN_OK;
        }
        if (deadline_ns == 0 || cistern_now_ns() >= deadline_ns) {
            break;
        }
        cistern_sleep_ns(PAUSE_NS);
    }
    char size[16];
    return cistern_fail(error, deadline_ns == 0 ? CISTERN_LIMIT : CISTERN_TIMEOUT, "budget_bytes",
        recalls > 0 ? "the budget cannot shrink: another thread is calling back what slots lent, "
                      "beside %s that is lent; try again"
                    : "the budget cannot shrink: %s that slots lent are pinned in other slots' "
                      "caches",
        cistern_size_format(size, lent));
}

static uint32_t shrink(const struct resize *resize, int64_t deadline_ns, uint64_t *ret_reached,
    struct cistern_error *error)
{
    struct cistern_pool *pool = resize->pool;
    uint32_t status = loans_end(pool, deadline_ns, error);
    if (status != CISTERN_OK) {
        return status;
    }
    pthread_mutex_lock(&pool->lock);
    limits_move(resize, 1);
    budget_set(pool, resize->budget);
    pthread_mutex_unlock(&pool->lock);
    governor_wake(pool);
    wait_for_room(pool, deadline_ns);
    pthread_mutex_lock(&pool->lock);
    /* One look decides: under the lowered limits a slot that fits goes on fitting, and what does
     * not fit says how far it got. */
    *ret_reached = reached_bytes(resize);
    int is_room = *ret_reached == resize->budget;
    if (is_room) {
        commit(resize);
    } else {
        status = explain(
            resize, deadline_ns == 0 ? CISTERN_LIMIT : CISTERN_TIMEOUT, *ret_reached, error);
        limits_move(resize, 0);
        budget_set(pool, resize->budget_before);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

uint32_t cistern_pool_resize(struct cistern_pool *pool, uint64_t budget_bytes, int64_t deadline_ns,
    uint64_t *ret_reached_bytes, struct cistern_error *error)
{
    assert(pool != NULL && !reserve_in_callback());
    struct resize resize;
    uint64_t reached = pool->budget_bytes;
    uint32_t status = begin(pool, budget_bytes, &resize, error);
    if (status == CISTERN_OK) {
        if (budget_bytes < resize.budget_before) {
            status = shrink(&resize, deadline_ns, &reached, error);
        } else {
            pthread_mutex_lock(&pool->lock);
            limits_move(&resize, 1);
            commit(&resize);
            pthread_mutex_unlock(&pool->lock);
            reached = budget_bytes;
        }
        pthread_mutex_lock(&pool->lock);
        pool->is_resizing = 0;
        pthread_mutex_unlock(&pool->lock);
        governor_wake(pool);
    }
    if (ret_reached_bytes != NULL) {
        *ret_reached_bytes = reached;
    }
    return status;
}
