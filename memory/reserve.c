/*
 * reserve.c -- the hard path: asks the holders of a slot to give bytes back, cheapest first, and
 * says why when they cannot.
 *
 * Never:   holds a lock across a callback; charges.
 * Bounds:  one ladder asks each component at most once; RESERVE_ROUNDS_MAX ladders, each at least
 *          RESERVE_PAUSE_NS apart when the last one freed nothing.
 */
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/size.h"
#include "elastic_private.h"
#include "loan_private.h"
#include "holders_private.h"
#include "reserve_private.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define RESERVE_PAUSE_NS INT64_C(1000000)
#define RESERVE_ROUNDS_MAX                                                                         \
    600000 /* ten minutes of pauses: a host clock that stands still must not mean for ever */
#define RESERVE_ROUNDS_AT_ONCE 8 /* deadline 0: ladders while each of them still frees something */
#define OPTION_TO_RAISE "raise --managed (budget_bytes)"

static _Thread_local uint32_t callback_depth __attribute__((tls_model("initial-exec")));

int reserve_in_callback(void)
{
    return callback_depth != 0;
}

/* The next component of the class after `sequence` that can be asked, marked in_reclaim so that
 * it cannot go away. */
static struct cistern_component *next_holder(
    struct cistern_slot *slot, uint32_t reclaim_class, uint64_t *sequence, int any_thread_only)
{
    struct cistern_component *found = NULL;
    pthread_mutex_lock(&slot->pool->lock);
    for (struct cistern_component *c = slot->components; c != NULL && found == NULL; c = c->next) {
        uint32_t idle = 0;
        if (c->sequence > *sequence && c->reclaim != NULL && !c->is_quiet &&
            c->reclaim_class == reclaim_class && (!any_thread_only || c->reclaim_from_any_thread) &&
            atomic_compare_exchange_strong(&c->in_reclaim, &idle, 1)) {
            found = c;
            *sequence = c->sequence;
        }
    }
    pthread_mutex_unlock(&slot->pool->lock);
    return found;
}

static uint64_t ask_holder(
    struct cistern_component *component, uint64_t target_bytes, int64_t deadline_ns)
{
    callback_depth++;
    ledger_evict_begin();
    uint64_t freed = component->reclaim(component->arg, target_bytes, deadline_ns);
    ledger_evict_end();
    callback_depth--;
    atomic_store_explicit(&component->in_reclaim, 0, memory_order_release);
    return freed;
}

/* What the slot alone leaves this component. */
static int64_t room_in_slot(const struct cistern_component *component)
{
    return component->may_borrow ? slot_free(component->slot) : slot_free_own(component->slot);
}

/* Whether a voluntary charge of `bytes` would be granted now. */
static int has_room(const struct cistern_component *component, uint64_t bytes)
{
    const struct cistern_pool *pool = component->slot->pool;
    int64_t wanted = bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
    return room_in_slot(component) >= wanted &&
           (pool->accounting != CISTERN_ACCOUNTING_OWNED || ledger_free(pool) >= wanted);
}

/* How many bytes are missing before `bytes` fit: of the slot, or of the ledger when that is what
 * is short. */
static uint64_t missing_bytes(const struct cistern_component *component, uint64_t bytes)
{
    const struct cistern_slot *slot = component->slot;
    int64_t free_bytes = room_in_slot(component);
    if (slot->pool->accounting == CISTERN_ACCOUNTING_OWNED) {
        int64_t ledger_bytes = ledger_free(slot->pool);
        free_bytes = ledger_bytes < free_bytes ? ledger_bytes : free_bytes;
    }
    if (free_bytes < 0) {
        return bytes + (uint64_t)-free_bytes;
    }
    return bytes > (uint64_t)free_bytes ? bytes - (uint64_t)free_bytes : 0;
}

static uint64_t ask_slot(struct cistern_slot *slot, uint32_t reclaim_class,
    const struct cistern_component *for_component, uint64_t bytes, int64_t deadline_ns)
{
    uint64_t freed = 0;
    uint64_t sequence = 0;
    while (!has_room(for_component, bytes)) {
        struct cistern_component *holder =
            next_holder(slot, reclaim_class, &sequence, slot != for_component->slot);
        if (holder == NULL) {
            break;
        }
        freed += ask_holder(holder, missing_bytes(for_component, bytes), deadline_ns);
    }
    return freed;
}

static uint64_t ask_any_thread(
    struct cistern_slot *slot, uint32_t reclaim_class, uint64_t bytes, int64_t deadline_ns)
{
    uint64_t freed = 0;
    uint64_t sequence = 0;
    while (freed < bytes) {
        struct cistern_component *holder = next_holder(slot, reclaim_class, &sequence, 1);
        if (holder == NULL) {
            break;
        }
        freed += ask_holder(holder, bytes - freed, deadline_ns);
    }
    return freed;
}

uint64_t reserve_evict(struct cistern_slot *slot, uint64_t bytes, int64_t deadline_ns)
{
    return ask_any_thread(slot, CISTERN_RECLAIM_INSTANT, bytes, deadline_ns);
}

uint64_t reserve_write_out(struct cistern_slot *slot, uint64_t bytes, int64_t deadline_ns)
{
    return ask_any_thread(slot, CISTERN_RECLAIM_WITH_IO, bytes, deadline_ns);
}

/* Bytes of another slot help only when the process as a whole is short: limits move by loans. */
static uint64_t ask_others(const struct cistern_component *component, uint32_t reclaim_class,
    uint64_t bytes, int64_t deadline_ns)
{
    struct cistern_pool *pool = component->slot->pool;
    uint64_t freed = 0;
    if (pool->accounting != CISTERN_ACCOUNTING_OWNED || room_in_slot(component) < (int64_t)bytes) {
        return 0;
    }
    for (uint32_t i = 0; i <= pool->slot_count_max; i++) {
        if (&pool->slots[i] != component->slot) {
            freed += ask_slot(&pool->slots[i], reclaim_class, component, bytes, deadline_ns);
        }
    }
    return freed;
}

/* What the slot lent, back; or for what may fill a loan, a loan. Returns the bytes moved. */
static uint64_t move_limits(
    const struct cistern_component *component, uint64_t bytes, int64_t deadline_ns)
{
    struct cistern_slot *slot = component->slot;
    int64_t room = room_in_slot(component);
    if (room >= (int64_t)bytes) {
        return 0;
    }
    uint64_t missing = bytes + (uint64_t)-room;
    uint64_t moved = loan_recall(slot, missing + LOAN_RECALL_AT_ONCE, deadline_ns);
    if (component->may_borrow && room_in_slot(component) < (int64_t)bytes) {
        moved += loan_borrow(slot, missing);
    }
    return moved;
}

/* One ladder: what was lent (or a loan, for clean cache), own clean cache, own state by I/O, then
 *             what the rest of the process can give from any thread. */
static uint64_t climb(
    const struct cistern_component *component, uint64_t bytes, int64_t deadline_ns)
{
    struct cistern_slot *slot = component->slot;
    uint64_t freed = move_limits(component, bytes, deadline_ns);
    freed += ask_slot(slot, CISTERN_RECLAIM_INSTANT, component, bytes, deadline_ns);
    if (room_in_slot(component) < (int64_t)bytes) {
        int64_t before = slot_free_own(slot);
        elastic_slot_evict(slot, bytes);
        freed += slot_free_own(slot) > before ? (uint64_t)(slot_free_own(slot) - before) : 0;
    }
    freed += ask_slot(slot, CISTERN_RECLAIM_WITH_IO, component, bytes, deadline_ns);
    freed += ask_others(component, CISTERN_RECLAIM_INSTANT, bytes, deadline_ns);
    freed += ask_others(component, CISTERN_RECLAIM_WITH_IO, bytes, deadline_ns);
    if (slot->pool->accounting == CISTERN_ACCOUNTING_OWNED && !has_room(component, bytes) &&
        room_in_slot(component) >= (int64_t)bytes) {
        governor_purge(slot->pool, 0);
        (void)elastic_set_make_room(slot->pool, NULL, bytes);
    }
    return freed;
}

static uint32_t refuse(struct cistern_component *component, uint64_t bytes, uint32_t status,
    struct cistern_error *error)
{
    struct cistern_slot *slot = component->slot;
    if (error == NULL) {
        return status;
    }
    char holders[HOLDERS_TEXT_BYTES];
    char wanted[16];
    char missing[16];
    char limit[16];
    uint64_t missing_count = missing_bytes(component, bytes);
    pthread_mutex_lock(&slot->pool->lock);
    holders_format(slot, holders, sizeof holders);
    pthread_mutex_unlock(&slot->pool->lock);
    char object[sizeof error->object];
    snprintf(object, sizeof object, "%s, component %s", slot->name, component->name);
    (void)cistern_fail(error, status, object,
        "%s: %s needs %s, %s missing of %s%s; held by %s; " OPTION_TO_RAISE, slot->name,
        component->name, cistern_size_format(wanted, bytes),
        cistern_size_format(missing, missing_count),
        cistern_size_format(limit, cistern_slot_limit_bytes(slot)),
        status == CISTERN_TIMEOUT ? " at the deadline" : "", holders);
    error->bytes_missing = missing_count;
    return status;
}

uint32_t cistern_component_reserve(struct cistern_component *component, uint64_t bytes,
    int64_t deadline_ns, struct cistern_error *error)
{
    assert(!reserve_in_callback());
    struct cistern_slot *slot = component->slot;
    if (bytes > slot_share_exact(slot) &&
        !(component->may_borrow && bytes <= slot->pool->budget_bytes)) {
        return refuse(component, bytes, CISTERN_LIMIT, error);
    }
    for (uint32_t round = 0; round < RESERVE_ROUNDS_MAX; round++) {
        if (has_room(component, bytes)) {
            return CISTERN_OK;
        }
        uint64_t freed = climb(component, bytes, deadline_ns);
        if (has_room(component, bytes)) {
            return CISTERN_OK;
        }
        if (deadline_ns == 0 && (freed == 0 || round + 1 == RESERVE_ROUNDS_AT_ONCE)) {
            return refuse(component, bytes, CISTERN_LIMIT, error);
        }
        if (deadline_ns != 0 && cistern_now_ns() >= deadline_ns) {
            return refuse(component, bytes, CISTERN_TIMEOUT, error);
        }
        if (freed == 0) {
            cistern_sleep_ns(RESERVE_PAUSE_NS);
        }
    }
    return refuse(component, bytes, CISTERN_TIMEOUT, error);
}
