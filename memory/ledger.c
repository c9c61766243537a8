/* ledger.c -- see ledger_private.h. */
#include "cistern/clock.h"
#include "elastic_private.h"
#include "malloc_hooks_private.h"

#include <assert.h>
#include <time.h>

/* Four bytes of static TLS on purpose: the dynamic model may call malloc at first use, and hooks
 * run inside malloc. */
static _Thread_local uint32_t evict_depth __attribute__((tls_model("initial-exec")));

void ledger_evict_begin(void)
{
    evict_depth++;
}

void ledger_evict_end(void)
{
    assert(evict_depth > 0);
    evict_depth--;
}

int ledger_evicting(void)
{
    return evict_depth != 0;
}

int64_t ledger_slack(uint64_t budget_bytes)
{
    return (int64_t)(MIB + budget_bytes / 128);
}

void ledger_limit_set(struct cistern_pool *pool, int64_t bytes)
{
    atomic_store(&pool->ledger.limit, bytes);
    atomic_store(&pool->ledger.kick, bytes - ledger_slack(pool->budget_bytes) / 2);
}

void ledger_init(struct cistern_pool *pool)
{
    struct ledger *ledger = &pool->ledger;
    ledger_limit_set(pool, (int64_t)pool->budget_bytes);
    atomic_store(
        &ledger->fixed, pool->accounting == CISTERN_ACCOUNTING_OWNED ? LEDGER_FIXED_BYTES : 0);
}

static int64_t load(const _Atomic int64_t *term)
{
    return atomic_load_explicit(term, memory_order_relaxed);
}

static void sum_slots(const struct cistern_pool *pool, int64_t *ret_charged, int64_t *ret_reported)
{
    int64_t used = 0;
    int64_t reported = 0;
    for (uint32_t i = 0; i <= pool->slot_count_max; i++) {
        /* in one order with the charges: of two that look after they charged, one sees both */
        used += (int64_t)atomic_load(&pool->slots[i].quota.used);
        reported += (int64_t)atomic_load_explicit(&pool->slots[i].reported, memory_order_relaxed);
    }
    *ret_charged = used - reported;
    *ret_reported = reported;
}

int64_t ledger_malloc(const struct cistern_pool *pool)
{
    if (pool->accounting != CISTERN_ACCOUNTING_OWNED) {
        return 0;
    }
    return malloc_hooks_bytes() - pool->ledger.malloc_baseline + load(&pool->ledger.metadata);
}

int64_t ledger_used(const struct cistern_pool *pool)
{
    int64_t charged;
    int64_t reported;
    sum_slots(pool, &charged, &reported);
    if (pool->accounting == CISTERN_ACCOUNTING_OWNED) {
        /* Reported bytes are malloc'ed: the hooks have seen them already. */
        return charged + ledger_malloc(pool) + load(&pool->ledger.fixed);
    }
    int64_t modelled = reported / 100 * LEDGER_GUEST_FACTOR_PERCENT;
    int64_t measured = load(&pool->ledger.measured_rest);
    return charged + (measured > modelled ? measured : modelled);
}

int64_t ledger_free(const struct cistern_pool *pool)
{
    return load(&pool->ledger.limit) - ledger_used(pool);
}

uint64_t ledger_charged(const struct cistern_pool *pool)
{
    int64_t charged;
    int64_t reported;
    sum_slots(pool, &charged, &reported);
    int64_t malloc_bytes = ledger_malloc(pool);
    int64_t total = charged + (malloc_bytes > reported ? malloc_bytes : reported);
    return total < 0 ? 0 : (uint64_t)total;
}

void ledger_peak_update(struct cistern_pool *pool)
{
    counter_raise(&pool->ledger.peak, ledger_charged(pool));
}

/* Above the limit of the process, or a slot deeper in debt than the budget has set aside for it. */
static int is_over(const struct cistern_pool *pool, const struct cistern_slot *slot)
{
    return ledger_free(pool) < 0 || (slot != NULL && slot_debt(slot) > slot->debt_max);
}

/* Real time, not the host's clock: this wait protects memory, and a test's clock may stand
 * still. */
static int64_t real_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void wait_for_room(struct cistern_pool *pool, const struct cistern_slot *slot)
{
    int64_t deadline = real_now_ns() + LEDGER_WAIT_NS;
    while (is_over(pool, slot) && real_now_ns() < deadline) {
        cistern_sleep_ns(LEDGER_WAIT_STEP_NS);
    }
}

void ledger_admit(struct cistern_pool *pool, const struct cistern_slot *slot)
{
    if (ledger_used(pool) > load(&pool->ledger.kick) || (slot != NULL && slot_free(slot) < 0)) {
        governor_wake(pool);
    }
    if (!is_over(pool, slot)) {
        return;
    }
    elastic_set_drain(pool);
    /* Without an elastic nobody would make room: the wait would only cost time. */
    if (!ledger_evicting() &&
        atomic_load_explicit(&pool->governor.elastic_count, memory_order_relaxed) > 0) {
        wait_for_room(pool, slot);
    }
    if (is_over(pool, slot)) {
        atomic_fetch_add_explicit(&pool->ledger.overrun_count, 1, memory_order_relaxed);
    }
}
