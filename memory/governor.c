/* governor.c -- see governor_private.h and docs/MEMORY.md, "resident bound". */
#include "elastic_private.h"
#include "loan_private.h"
#include "malloc_hooks_private.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <malloc.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CAPACITY_DOWN_STEP (INT64_C(128) << 10) /* smaller cuts are not worth an eviction */
#define CAPACITY_UP_STEP (INT64_C(1) << 20)
#define CAPACITY_USAGE_STEP (INT64_C(64) << 10)
#define ALLOWANCE_ROOM_MIN (INT64_C(4) << 20)
#define ALLOWANCE_DOWN_STEP (UINT64_C(1) << 20)
#define FULL_PART 16 /* a cache with less than this part unused asks for more */
#define PARK_ABOVE_FLOOR (8 * MIB)
#define SLOT_SLACK_BYTES (512 * KIB)

/* ------------------------------------------------------------------------------------------------
 * the thread */

void governor_init(struct governor *governor)
{
    *governor = (struct governor){.slack_low = {INT64_MAX, INT64_MAX}};
    pthread_mutex_init(&governor->lock, NULL);
}

void governor_deinit(struct governor *governor)
{
    assert(!governor->is_running && atomic_load(&governor->elastic_count) == 0);
    pthread_mutex_destroy(&governor->lock);
}

void governor_wake(struct cistern_pool *pool)
{
    struct governor *governor = &pool->governor;
    if (atomic_exchange_explicit(&governor->wake, 1, memory_order_release) == 0) {
        syscall(SYS_futex, &governor->wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

void cistern_governor_kick(struct cistern_pool *pool)
{
    governor_wake(pool);
}

void cistern_governor_pause(struct cistern_pool *pool, uint32_t paused)
{
    atomic_store(&pool->governor.paused, paused);
    if (paused) {
        /* A credit that nobody watches is not a credit. */
        atomic_store(&pool->ledger.limit, (int64_t)pool->budget_bytes);
    }
    governor_wake(pool);
}

static void sleep_until_kicked(struct governor *governor)
{
    int quiet = atomic_load(&governor->elastic_count) == 0 ||
                governor->quiet_ticks >= GOVERNOR_QUIET_TICKS || atomic_load(&governor->paused);
    struct timespec period = {.tv_nsec = quiet ? GOVERNOR_PERIOD_QUIET_NS : GOVERNOR_PERIOD_NS};
    syscall(SYS_futex, &governor->wake, FUTEX_WAIT_PRIVATE, 0, &period, NULL, 0);
    atomic_exchange_explicit(&governor->wake, 0, memory_order_acquire);
}

static void *run(void *arg)
{
    struct cistern_pool *pool = arg;
    struct governor *governor = &pool->governor;
    ledger_evict_begin(); /* this thread makes the room that others wait for */
    while (!atomic_load(&governor->stop)) {
        sleep_until_kicked(governor);
        if (!atomic_load(&governor->paused) &&
            atomic_load_explicit(&governor->is_ready, memory_order_acquire)) {
            governor_tick(pool);
        }
    }
    ledger_evict_end();
    return NULL;
}

static int create_thread(struct cistern_pool *pool)
{
    pthread_attr_t attributes;
    int os_errno = pthread_attr_init(&attributes);
    if (os_errno != 0) {
        return os_errno;
    }
    /* refused under some sanitizers: default then */
    (void)pthread_attr_setstacksize(&attributes, GOVERNOR_STACK_BYTES);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    os_errno = pthread_create(&pool->governor.thread, &attributes, run, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (os_errno == 0) {
        /* the kernel keeps 15 characters */
        (void)pthread_setname_np(pool->governor.thread, "cistern-governo");
    }
    return os_errno;
}

int governor_start(struct cistern_pool *pool)
{
    struct governor *governor = &pool->governor;
    int os_errno = 0;
    pthread_mutex_lock(&governor->lock);
    int must_start = !governor->is_running;
    governor->is_running = 1;
    pthread_mutex_unlock(&governor->lock);
    /* outside the lock: creating a thread allocates, and the hooks take the lock */
    if (must_start) {
        os_errno = create_thread(pool);
        if (os_errno != 0) {
            pthread_mutex_lock(&governor->lock);
            governor->is_running = 0;
            pthread_mutex_unlock(&governor->lock);
        }
    }
    return os_errno;
}

void governor_stop(struct cistern_pool *pool)
{
    struct governor *governor = &pool->governor;
    if (!governor->is_running) {
        return;
    }
    atomic_store(&governor->stop, 1);
    governor_wake(pool);
    pthread_join(governor->thread, NULL);
    governor->is_running = 0;
}

static int64_t real_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------
 * the ledger's terms */

/* Committed bytes that nobody touched are lent to the cache: half of what stayed untouched for a
 * whole window, less a margin. Resident memory itself is the guard: near the budget the limit
 * sinks by the excess. */
static void refresh_credit(struct cistern_pool *pool, int64_t used, int64_t growth)
{
    struct governor *governor = &pool->governor;
    int64_t budget = (int64_t)pool->budget_bytes;
    int64_t untouched = used - growth;
    if (untouched < governor->slack_low[0]) {
        governor->slack_low[0] = untouched;
    }
    int64_t low = governor->slack_low[0] < governor->slack_low[1] ? governor->slack_low[0]
                                                                  : governor->slack_low[1];
    int64_t credit = low > GOVERNOR_CREDIT_MARGIN ? (low - GOVERNOR_CREDIT_MARGIN) / 2 : 0;
    if (governor->tick_count < GOVERNOR_CREDIT_TICKS) {
        credit = 0; /* no window is complete yet */
    }
    if (governor->tick_count % GOVERNOR_CREDIT_TICKS == 0) {
        governor->slack_low[1] = governor->slack_low[0];
        governor->slack_low[0] = untouched;
    }
    int64_t limit = budget + credit;
    if (growth > budget - GOVERNOR_RESIDENT_MARGIN) {
        limit = budget - (growth - (budget - GOVERNOR_RESIDENT_MARGIN));
    }
    atomic_store(&pool->ledger.limit, limit);
}

static void refresh_owned(struct cistern_pool *pool)
{
    struct governor *governor = &pool->governor;
    if (governor->tick_count % GOVERNOR_METADATA_TICKS == 0) {
        atomic_store(&pool->ledger.metadata, malloc_hooks_metadata_bytes());
    }
    uint64_t rss = resident_sample(&pool->resident);
    int64_t growth = rss == 0 ? 0 : (int64_t)rss - (int64_t)pool->resident.rss_baseline;
    int64_t used = ledger_used(pool);
    if (growth > used) { /* bytes that no line explains: learn them */
        atomic_fetch_add(&pool->ledger.fixed, growth - used);
        used = growth;
    }
    refresh_credit(pool, used, growth);
}

static void refresh_guest(struct cistern_pool *pool)
{
    if (pool->governor.tick_count % GOVERNOR_METADATA_TICKS != 0) {
        return;
    }
    (void)resident_sample(&pool->resident); /* for the report only: nothing is steered by it */
    if (pool->measure == NULL) {
        return;
    }
    int64_t native =
        (int64_t)pool->measure(pool->measure_arg) - (int64_t)pool->resident.measured_baseline;
    int64_t charged = 0;
    for (uint32_t i = 0; i <= pool->slot_count_max; i++) {
        charged += (int64_t)(atomic_load(&pool->slots[i].quota.used) -
                             atomic_load(&pool->slots[i].reported));
    }
    atomic_store(&pool->ledger.measured_rest, native > charged ? native - charged : 0);
}

/* Room beyond the slack; negative: caches must shrink. */
static int64_t room_now(struct cistern_pool *pool)
{
    return ledger_free(pool) - atomic_load(&pool->ledger.tickets) -
           ledger_slack(pool->budget_bytes);
}

/* Dirty pages do not decay while nobody allocates: what waits for memory would wait for ever. */
void governor_purge(struct cistern_pool *pool, int64_t gap_ns)
{
    int64_t now = real_now_ns();
    int64_t last = atomic_load(&pool->governor.last_purge_ns);
    if (pool->accounting != CISTERN_ACCOUNTING_OWNED || now - last < gap_ns ||
        !atomic_compare_exchange_strong(&pool->governor.last_purge_ns, &last, now)) {
        return;
    }
    malloc_hooks_purge();
}

void cistern_pool_trim(struct cistern_pool *pool)
{
    if (pool->accounting == CISTERN_ACCOUNTING_OWNED) {
        governor_purge(pool, 0);
    } else if (pool->allocator == CISTERN_ALLOCATOR_OWN) {
        (void)malloc_trim(0);
    }
}

/* ------------------------------------------------------------------------------------------------
 * dividing the room */

static uint32_t count_in_slot(
    struct cistern_elastic **elastics, uint32_t count, const struct cistern_slot *slot)
{
    uint32_t in_slot = 0;
    for (uint32_t i = 0; i < count; i++) {
        in_slot += elastics[i]->slot == slot;
    }
    return in_slot;
}

/* Positive room in equal parts; negative room by how much each cache holds, so that one at its
 * floor is not asked. Never more than the elastic's slot leaves. */
static void divide(struct cistern_elastic **elastics, uint32_t count, int64_t room)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        elastics[i]->tick_usage = elastics[i]->options.cache_usage(elastics[i]->options.arg);
        total += elastics[i]->tick_usage;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct cistern_elastic *elastic = elastics[i];
        const struct cistern_slot *slot = elastic->slot;
        int64_t share = room / (int64_t)count;
        if (room < 0) {
            double part = total == 0 ? 1.0 / count : (double)elastic->tick_usage / (double)total;
            share = (int64_t)((double)room * part);
        }
        int64_t slot_room =
            slot_free(slot) - (int64_t)(SLOT_SLACK_BYTES + cistern_slot_limit_bytes(slot) / 128);
        slot_room /= (int64_t)count_in_slot(elastics, count, slot);
        elastic->tick_room = share < slot_room ? share : slot_room;
        elastic->tick_beyond = share - slot_room;
    }
}

/* Limits follow need: a full cache whose slot is what stops it gets back what its slot has lent,
 * or else a loan; what is not used of a loan returns. */
static void move_limits(struct cistern_pool *pool, struct cistern_elastic *elastic)
{
    struct cistern_slot *slot = elastic->slot;
    uint64_t capacity = atomic_load(&elastic->capacity);
    int is_full = elastic->tick_usage + capacity / FULL_PART >= capacity;
    if (is_full && elastic->tick_beyond > (int64_t)LOAN_PIECE_MIN) {
        uint64_t bytes = (uint64_t)elastic->tick_beyond;
        bytes = bytes < LOAN_RECALL_AT_ONCE ? bytes : LOAN_RECALL_AT_ONCE;
        if (loan_recall(slot, bytes, 0) == 0) {
            (void)loan_borrow(slot, bytes);
        }
    } else if (!is_full && pool->governor.tick_count % GOVERNOR_RETURN_TICKS == 0) {
        int64_t unused = slot_free(slot) - (int64_t)LOAN_RECALL_AT_ONCE;
        if (unused > 0) {
            (void)loan_return(slot, (uint64_t)unused);
        }
    }
}

/* Caller holds elastic.lock. */
static void resize_cache(struct cistern_pool *pool, struct cistern_elastic *elastic)
{
    int64_t usage = (int64_t)elastic->tick_usage;
    int64_t floor = (int64_t)elastic->options.cache_bytes_min;
    int64_t capacity = (int64_t)atomic_load(&elastic->capacity);
    int64_t want = usage + elastic->tick_room;
    want = want > (int64_t)pool->budget_bytes ? (int64_t)pool->budget_bytes : want;
    want = want < floor ? floor : want;
    if (want >= capacity - CAPACITY_DOWN_STEP && want <= capacity + CAPACITY_UP_STEP) {
        return;
    }
    if (want < usage && want > usage - CAPACITY_USAGE_STEP) {
        return;
    }
    /* Large cuts go in steps, as at a safe point: the lock is held for 1-2 ms, and the next tick
     * goes on. */
    if (want < usage - (int64_t)ELASTIC_EVICT_STEP) {
        want = usage - (int64_t)ELASTIC_EVICT_STEP;
        governor_wake(pool);
    }
    elastic_capacity_set(elastic, (uint64_t)want);
}

/* Write buffers take what the cache does not ask for, and give it back when the cache is full.
 * Caller holds elastic.lock. */
static void resize_allowance(struct cistern_elastic *elastic)
{
    uint64_t allowance = atomic_load(&elastic->allowance);
    uint64_t capacity = atomic_load(&elastic->capacity);
    uint64_t unused_min = capacity / 16 < ELASTIC_EVICT_STEP ? ELASTIC_EVICT_STEP : capacity / 16;
    uint64_t least = elastic->options.write_buffer_bytes_min;
    uint64_t most = elastic->options.write_buffer_bytes_max;
    uint64_t limit = cistern_slot_limit_bytes(elastic->slot) / 4 * 3; /* it may have shrunk */
    most = most < limit ? most : limit;
    least = least < most ? least : most;
    uint64_t want = allowance;
    if (elastic->tick_usage + unused_min < capacity) {
        if (elastic->tick_room > ALLOWANCE_ROOM_MIN) {
            want = allowance + (uint64_t)elastic->tick_room / 2;
            want = want > most ? most : want;
        }
    } else {
        uint64_t step = allowance / 64 < ALLOWANCE_DOWN_STEP ? ALLOWANCE_DOWN_STEP : allowance / 64;
        want = allowance > least + step ? allowance - step : least;
    }
    if (want != allowance) {
        elastic_allowance_set(elastic, want);
    }
}

static void serve(struct cistern_pool *pool, struct cistern_elastic *elastic)
{
    if (pthread_mutex_trylock(&elastic->lock) != 0) {
        return; /* a safe point is resizing it; the next tick sees the result */
    }
    resize_cache(pool, elastic);
    if (pool->governor.tick_count % GOVERNOR_ALLOWANCE_TICKS == 0) {
        resize_allowance(elastic);
    }
    if (elastic->tick_room < 0) {
        if (elastic->options.drain != NULL) {
            (void)elastic->options.drain(elastic->options.arg);
        }
        if (elastic->options.park_idle != NULL &&
            elastic->tick_usage <= elastic->options.cache_bytes_min + PARK_ABOVE_FLOOR) {
            elastic->options.park_idle(elastic->options.arg);
        }
    }
    pthread_mutex_unlock(&elastic->lock);
}

/* A cycle in which nothing moved counts towards the long period. */
static void note_quiet(struct governor *governor, int64_t used, int64_t room)
{
    governor->quiet_ticks =
        used == governor->last_used && room >= 0 ? governor->quiet_ticks + 1 : 0;
    governor->last_used = used;
}

void governor_tick(struct cistern_pool *pool)
{
    struct governor *governor = &pool->governor;
    struct cistern_elastic *elastics[GOVERNOR_ELASTIC_COUNT_MAX];
    governor->tick_count++;
    if (pool->accounting == CISTERN_ACCOUNTING_OWNED) {
        refresh_owned(pool);
    } else {
        refresh_guest(pool);
    }
    ledger_peak_update(pool);
    int64_t room = room_now(pool);
    if (room < 0) {
        governor_purge(pool, GOVERNOR_PURGE_GAP_NS);
        room = room_now(pool);
    }
    atomic_store(&pool->ledger.kick, atomic_load(&pool->ledger.limit) -
                                         ledger_slack(pool->budget_bytes) / 2 -
                                         atomic_load(&pool->ledger.tickets));
    uint32_t count = elastic_set_acquire(pool, elastics);
    if (count > 0) {
        divide(elastics, count, room);
    }
    for (uint32_t i = 0; i < count; i++) {
        move_limits(pool, elastics[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        serve(pool, elastics[i]);
    }
    elastic_set_release(elastics, count);
    note_quiet(governor, ledger_used(pool), room);
}
