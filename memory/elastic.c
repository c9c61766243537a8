/*
 * elastic.c -- safe points, tickets and the set of elastics of a pool.
 *
 * Locks:   governor.lock (rank 1, never held across a callback), elastic.lock (rank 2, held across
 *          the elastic's own callbacks; two of them are never held at once), ticket_lock (leaf).
 */
#include "elastic_private.h"
#include "loan_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"

#include <assert.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLOSE_POLL_NS INT64_C(100000)

/* ------------------------------------------------------------------------------------------------
 * open and close */

static uint32_t options_check(
    const struct cistern_elastic_options *options, struct cistern_error *error)
{
    if (options->name == NULL || strlen(options->name) >= POOL_NAME_BYTES) {
        return cistern_fail(error, CISTERN_INVALID, "name",
            "an elastic needs a name of at most %d characters", POOL_NAME_BYTES - 1);
    }
    if (options->cache_usage == NULL || options->cache_set_capacity == NULL ||
        options->write_buffer_usage == NULL || options->write_buffer_set_allowance == NULL) {
        return cistern_fail(error, CISTERN_INVALID, options->name,
            "elastic %s lacks one of cache_usage, cache_set_capacity, write_buffer_usage, "
            "write_buffer_set_allowance",
            options->name);
    }
    return CISTERN_OK;
}

static void options_default(struct cistern_elastic_options *options, uint64_t share)
{
    if (options->cache_bytes_min == 0) {
        options->cache_bytes_min = ELASTIC_CACHE_MIN;
    }
    if (options->write_buffer_bytes_min == 0) {
        options->write_buffer_bytes_min = share / 4;
    }
    if (options->write_buffer_bytes_max == 0) {
        options->write_buffer_bytes_max = share / 4 * 3;
    }
    if (options->write_buffer_bytes_max < options->write_buffer_bytes_min) {
        options->write_buffer_bytes_max = options->write_buffer_bytes_min;
    }
}

static uint32_t attach(struct cistern_elastic *elastic, struct cistern_error *error)
{
    struct governor *governor = &elastic->slot->pool->governor;
    uint32_t index = 0;
    pthread_mutex_lock(&governor->lock);
    while (index < GOVERNOR_ELASTIC_COUNT_MAX && governor->elastics[index] != NULL) {
        index++;
    }
    if (index < GOVERNOR_ELASTIC_COUNT_MAX) {
        governor->elastics[index] = elastic;
        atomic_fetch_add(&governor->elastic_count, 1);
    }
    pthread_mutex_unlock(&governor->lock);
    if (index == GOVERNOR_ELASTIC_COUNT_MAX) {
        return cistern_fail(error, CISTERN_LIMIT, elastic->name_copy,
            "a pool has at most %d elastics", GOVERNOR_ELASTIC_COUNT_MAX);
    }
    return CISTERN_OK;
}

static void detach(struct cistern_elastic *elastic)
{
    struct governor *governor = &elastic->slot->pool->governor;
    pthread_mutex_lock(&governor->lock);
    for (uint32_t i = 0; i < GOVERNOR_ELASTIC_COUNT_MAX; i++) {
        if (governor->elastics[i] == elastic) {
            governor->elastics[i] = NULL;
            atomic_fetch_sub(&governor->elastic_count, 1);
        }
    }
    pthread_mutex_unlock(&governor->lock);
    while (atomic_load_explicit(&elastic->user_count, memory_order_acquire) != 0) {
        cistern_sleep_ns(CLOSE_POLL_NS);
    }
}

static int64_t tickets_free(const struct cistern_pool *pool)
{
    return ledger_free(pool) - atomic_load_explicit(&pool->ledger.tickets, memory_order_relaxed);
}

/* A good first guess, because nothing raises it while the governor is stopped: all that is free
 * beyond the slack and what the write buffer may take. */
static void set_first_sizes(struct cistern_elastic *elastic)
{
    const struct cistern_pool *pool = elastic->slot->pool;
    int64_t room = tickets_free(pool);
    int64_t slot_room = slot_free(elastic->slot);
    room = (slot_room < room ? slot_room : room) - ledger_slack(pool->budget_bytes) -
           (int64_t)elastic->options.write_buffer_bytes_min;
    int64_t floor = (int64_t)elastic->options.cache_bytes_min;
    pthread_mutex_lock(&elastic->lock);
    elastic_capacity_set(elastic, (uint64_t)(room < floor ? floor : room));
    elastic_allowance_set(elastic, elastic->options.write_buffer_bytes_min);
    pthread_mutex_unlock(&elastic->lock);
}

uint32_t cistern_elastic_open(struct cistern_slot *slot,
    const struct cistern_elastic_options *options, struct cistern_elastic **ret_elastic,
    struct cistern_error *error)
{
    assert(slot != NULL && options != NULL && ret_elastic != NULL);
    uint32_t status = options_check(options, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_elastic *elastic = cistern_allocate_zeroed(1, sizeof *elastic);
    if (elastic == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, options->name,
            "no memory for the elastic's control structure");
    }
    elastic->slot = slot;
    elastic->options = *options;
    memcpy(elastic->name_copy, options->name, strlen(options->name) + 1);
    elastic->options.name = elastic->name_copy;
    options_default(&elastic->options, cistern_slot_share_bytes(slot));
    pthread_mutex_init(&elastic->lock, NULL);
    set_first_sizes(elastic);
    status = attach(elastic, error);
    if (status == CISTERN_OK) {
        int os_errno = governor_start(slot->pool);
        if (os_errno != 0) {
            detach(elastic);
            status = cistern_fail_errno(
                error, os_errno, "cistern-governor", "cannot start the governor thread");
        }
    }
    if (status != CISTERN_OK) {
        pthread_mutex_destroy(&elastic->lock);
        cistern_release(elastic);
        return status;
    }
    governor_wake(slot->pool);
    *ret_elastic = elastic;
    return CISTERN_OK;
}

void cistern_elastic_close(struct cistern_elastic *elastic)
{
    if (elastic == NULL) {
        return;
    }
    int64_t held = 0;
    for (uint32_t i = 0; i < ELASTIC_TICKET_COUNT_MAX; i++) {
        held += (int64_t)elastic->tickets[i].bytes;
    }
    atomic_fetch_sub(&elastic->slot->pool->ledger.tickets, held);
    detach(elastic); /* last: from here on slot and pool may go */
    pthread_mutex_destroy(&elastic->lock);
    cistern_release(elastic);
}

/* ------------------------------------------------------------------------------------------------
 * the set */

uint32_t elastic_set_acquire(
    struct cistern_pool *pool, struct cistern_elastic *ret_elastics[GOVERNOR_ELASTIC_COUNT_MAX])
{
    struct governor *governor = &pool->governor;
    uint32_t count = 0;
    if (atomic_load_explicit(&governor->elastic_count, memory_order_relaxed) == 0) {
        return 0;
    }
    pthread_mutex_lock(&governor->lock);
    for (uint32_t i = 0; i < GOVERNOR_ELASTIC_COUNT_MAX; i++) {
        if (governor->elastics[i] != NULL) {
            ret_elastics[count++] = governor->elastics[i];
            atomic_fetch_add_explicit(&governor->elastics[i]->user_count, 1, memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&governor->lock);
    return count;
}

void elastic_set_release(struct cistern_elastic **elastics, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        atomic_fetch_sub_explicit(&elastics[i]->user_count, 1, memory_order_release);
    }
}

int elastic_set_serves(const struct cistern_slot *slot)
{
    struct governor *governor = &slot->pool->governor;
    int serves = 0;
    pthread_mutex_lock(&governor->lock);
    for (uint32_t i = 0; i < GOVERNOR_ELASTIC_COUNT_MAX; i++) {
        serves |= governor->elastics[i] != NULL && governor->elastics[i]->slot == slot;
    }
    pthread_mutex_unlock(&governor->lock);
    return serves;
}

void elastic_set_drain(struct cistern_pool *pool)
{
    struct cistern_elastic *elastics[GOVERNOR_ELASTIC_COUNT_MAX];
    uint32_t count = elastic_set_acquire(pool, elastics);
    for (uint32_t i = 0; i < count; i++) {
        if (elastics[i]->options.drain != NULL) {
            (void)elastics[i]->options.drain(elastics[i]->options.arg);
        }
    }
    elastic_set_release(elastics, count);
}

/* ------------------------------------------------------------------------------------------------
 * safe points */

void elastic_capacity_set(struct cistern_elastic *elastic, uint64_t bytes)
{
    atomic_store_explicit(&elastic->capacity, bytes, memory_order_relaxed);
    elastic->options.cache_set_capacity(elastic->options.arg, bytes);
}

void elastic_allowance_set(struct cistern_elastic *elastic, uint64_t bytes)
{
    atomic_store_explicit(&elastic->allowance, bytes, memory_order_relaxed);
    elastic->options.write_buffer_set_allowance(elastic->options.arg, bytes);
}

int64_t cistern_elastic_free_bytes(struct cistern_elastic *elastic)
{
    int64_t ledger_bytes = ledger_free(elastic->slot->pool);
    int64_t slot_bytes = slot_free(elastic->slot);
    return ledger_bytes < slot_bytes ? ledger_bytes : slot_bytes;
}

static int64_t room_of(struct cistern_elastic *elastic)
{
    int64_t ledger_bytes = tickets_free(elastic->slot->pool);
    int64_t slot_bytes = slot_free(elastic->slot);
    return ledger_bytes < slot_bytes ? ledger_bytes : slot_bytes;
}

/* One step of at most ELASTIC_EVICT_STEP. Returns 0 when the cache is at its floor. Caller holds
 * elastic.lock. */
static int evict_step(struct cistern_elastic *elastic, uint64_t missing)
{
    uint64_t floor = elastic->options.cache_bytes_min;
    uint64_t usage = elastic->options.cache_usage(elastic->options.arg);
    uint64_t cut = missing + ELASTIC_EVICT_EXTRA;
    cut = cut > ELASTIC_EVICT_STEP ? ELASTIC_EVICT_STEP : cut;
    uint64_t target = usage > floor + cut ? usage - cut : floor;
    if (usage <= floor) {
        /* Nothing to evict; a cache that may not grow leaves what is freed elsewhere to the
         * caller. */
        if (atomic_load_explicit(&elastic->capacity, memory_order_relaxed) > floor) {
            elastic_capacity_set(elastic, floor);
        }
        return 0;
    }
    elastic_capacity_set(elastic, target);
    return target > floor;
}

/* Whose room an eviction is for. */
enum room_scope {
    ROOM_PROCESS, /* the ledger */
    ROOM_ELASTIC, /* the ledger and the slot with its loan */
    ROOM_LOAN,    /* the slot with its loan */
    ROOM_LIMIT    /* the slot without its loan */
};

static int64_t room_for(struct cistern_elastic *elastic, enum room_scope scope)
{
    switch (scope) {
    case ROOM_PROCESS:
        return tickets_free(elastic->slot->pool);
    case ROOM_ELASTIC:
        return room_of(elastic);
    case ROOM_LOAN:
        return slot_free(elastic->slot);
    case ROOM_LIMIT:
        break;
    }
    return slot_free_own(elastic->slot);
}

/* One round: evict a step, give warm runs back, and when that did not reach the ledger,
 *            jemalloc's dirty pages: evicted
 * malloc memory stays charged until they are purged. Caller holds elastic.lock. Returns 0 when
 * nothing is left to evict. */
static int make_room_step(struct cistern_elastic *elastic, int64_t bytes, enum room_scope scope)
{
    int64_t before = room_for(elastic, scope);
    uint64_t usage = elastic->options.cache_usage(elastic->options.arg);
    int is_left = evict_step(elastic, (uint64_t)(bytes - before));
    int has_evicted = elastic->options.cache_usage(elastic->options.arg) < usage;
    if (room_for(elastic, scope) < bytes && elastic->options.drain != NULL) {
        (void)elastic->options.drain(elastic->options.arg);
    }
    int64_t room = room_for(elastic, scope);
    if (room < bytes && (!is_left || room - before < (int64_t)ELASTIC_EVICT_EXTRA / 2)) {
        governor_purge(elastic->slot->pool, has_evicted ? 0 : GOVERNOR_PURGE_SAFE_POINT_GAP_NS);
    }
    return is_left;
}

/* Evicts until the room reaches bytes. */
static int evict_until(struct cistern_elastic *elastic, int64_t bytes, enum room_scope scope)
{
    int is_left = 1;
    ledger_evict_begin();
    for (uint32_t round = 0; round < ELASTIC_EVICT_ROUNDS_MAX && is_left; round++) {
        /* let go between steps: the governor and other threads want it too */
        pthread_mutex_lock(&elastic->lock);
        if (room_for(elastic, scope) < bytes) {
            is_left = make_room_step(elastic, bytes, scope);
        }
        pthread_mutex_unlock(&elastic->lock);
        if (room_for(elastic, scope) >= bytes) {
            break;
        }
    }
    ledger_evict_end();
    return room_for(elastic, scope) >= bytes;
}

int elastic_set_make_room(struct cistern_pool *pool, struct cistern_elastic *first, uint64_t bytes)
{
    struct cistern_elastic *elastics[GOVERNOR_ELASTIC_COUNT_MAX];
    int is_room = tickets_free(pool) >= (int64_t)bytes;
    uint32_t count = elastic_set_acquire(pool, elastics);
    for (uint32_t i = 0; i < count && !is_room; i++) {
        if (elastics[i] != first) {
            is_room = evict_until(elastics[i], (int64_t)bytes, ROOM_PROCESS);
        }
    }
    elastic_set_release(elastics, count);
    return is_room;
}

void elastic_slot_evict(struct cistern_slot *slot, uint64_t bytes)
{
    struct cistern_elastic *elastics[GOVERNOR_ELASTIC_COUNT_MAX];
    uint32_t count = elastic_set_acquire(slot->pool, elastics);
    int is_room = 0;
    for (uint32_t i = 0; i < count && !is_room; i++) {
        if (elastics[i]->slot == slot) {
            is_room = bytes > 0 ? evict_until(elastics[i], (int64_t)bytes, ROOM_LIMIT)
                                : evict_until(elastics[i], 0, ROOM_LOAN);
        }
    }
    elastic_set_release(elastics, count);
}

int cistern_elastic_ensure(struct cistern_elastic *elastic, uint64_t bytes)
{
    int64_t wanted = bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
    if (room_of(elastic) >= wanted) {
        return 1;
    }
    /* what was lent first: an owner that wakes does not evict itself for a borrower */
    uint64_t short_bytes = (uint64_t)(wanted - room_of(elastic));
    if (slot_free(elastic->slot) < wanted &&
        loan_recall(elastic->slot, short_bytes + LOAN_RECALL_AT_ONCE, 0) > 0 &&
        room_of(elastic) >= wanted) {
        return 1;
    }
    if (evict_until(elastic, wanted, ROOM_ELASTIC)) {
        return 1;
    }
    /* the process is short, not the slot: other caches may have it */
    if (slot_free(elastic->slot) >= wanted) {
        (void)elastic_set_make_room(elastic->slot->pool, elastic, bytes);
    }
    governor_wake(elastic->slot->pool);
    return room_of(elastic) >= wanted;
}

uint64_t cistern_elastic_write_buffer_allowance(struct cistern_elastic *elastic)
{
    return atomic_load_explicit(&elastic->allowance, memory_order_relaxed);
}

/* ------------------------------------------------------------------------------------------------
 * tickets */

static void ticket_lock(struct cistern_elastic *elastic)
{
    while (atomic_exchange_explicit(&elastic->ticket_lock, 1, memory_order_acquire) != 0) {
        sched_yield();
    }
}

/* The thread's ticket, a free one, or, when all are taken, the smallest: its thread has most
 * likely ended. */
static struct elastic_ticket *find_ticket(struct cistern_elastic *elastic, int32_t thread)
{
    struct elastic_ticket *free_ticket = NULL;
    struct elastic_ticket *smallest = &elastic->tickets[0];
    for (uint32_t i = 0; i < ELASTIC_TICKET_COUNT_MAX; i++) {
        struct elastic_ticket *ticket = &elastic->tickets[i];
        if (ticket->thread == thread) {
            return ticket;
        }
        if (ticket->thread == 0 && free_ticket == NULL) {
            free_ticket = ticket;
        }
        if (ticket->bytes < smallest->bytes) {
            smallest = ticket;
        }
    }
    return free_ticket != NULL ? free_ticket : smallest;
}

void cistern_elastic_ticket(struct cistern_elastic *elastic, uint64_t bytes)
{
    int32_t thread = (int32_t)syscall(SYS_gettid);
    ticket_lock(elastic);
    struct elastic_ticket *ticket = find_ticket(elastic, thread);
    int64_t change = (int64_t)bytes - (int64_t)ticket->bytes;
    if (bytes == 0 && ticket->thread != thread) {
        change = 0; /* a job that ends without having begun: nothing of another thread is dropped */
    } else {
        ticket->thread = bytes == 0 ? 0 : thread;
        ticket->bytes = bytes;
    }
    atomic_store_explicit(&elastic->ticket_lock, 0, memory_order_release);
    atomic_fetch_add_explicit(&elastic->slot->pool->ledger.tickets, change, memory_order_relaxed);
    if (change > 0) {
        governor_wake(elastic->slot->pool);
    }
}

void cistern_elastic_value_seen(struct cistern_elastic *elastic, uint64_t bytes)
{
    counter_raise(&elastic->value_max, bytes);
}

uint64_t cistern_elastic_value_bytes_max(struct cistern_elastic *elastic)
{
    return atomic_load_explicit(&elastic->value_max, memory_order_relaxed);
}
