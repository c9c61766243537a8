/*
 * bench_loan.c -- how fast a waking owner gets back what its idle slot lent to another's cache.
 *
 * The cache is pages that are committed and touched, evicted by giving them back to the system: the
 * least that any cache does. Each sample waits out the second in which a slot does not lend again.
 */
#include "bench.h"

#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/region.h"

#include <pthread.h>
#include <string.h>

#define LOAN_BUDGET_BYTES ((uint64_t)576 << 20)
#define LOAN_BLOCK_BYTES ((uint64_t)1 << 20)
#define LOAN_FIRST_BYTES ((uint64_t)16 << 20)
#define LOAN_REST_NS INT64_C(1100000000)

/* Blocks 0 .. count - 1 of the region are in the cache. Guarded by: lock. */
struct loan_cache {
    pthread_mutex_t lock;
    struct cistern_component *component;
    struct cistern_region *region;
    uint64_t count;
};

static uint64_t evict(void *arg, uint64_t target_bytes, int64_t deadline_ns)
{
    (void)deadline_ns;
    struct loan_cache *cache = arg;
    uint64_t freed = 0;
    pthread_mutex_lock(&cache->lock);
    while (freed < target_bytes && cache->count > 0) {
        cache->count--;
        cistern_region_decommit(cache->region, cache->count * LOAN_BLOCK_BYTES, LOAN_BLOCK_BYTES);
        freed += LOAN_BLOCK_BYTES;
    }
    pthread_mutex_unlock(&cache->lock);
    return freed;
}

/* Until neither the slot nor a loan gives more. The loan is asked for before each block, so that
 * the cache does not evict itself. */
static void cache_fill(struct loan_cache *cache)
{
    struct cistern_slot *slot = cistern_component_slot(cache->component);
    for (;;) {
        uint64_t offset = cache->count * LOAN_BLOCK_BYTES;
        uint64_t held = cache->count;
        if (cistern_region_commit(cache->region, offset, LOAN_BLOCK_BYTES) != CISTERN_OK) {
            if (cistern_component_reserve(cache->component, LOAN_BLOCK_BYTES, 0, NULL) !=
                    CISTERN_OK ||
                cache->count < held || cistern_slot_loan_bytes(slot) == 0) {
                return;
            }
            continue;
        }
        memset((char *)cistern_region_base(cache->region) + offset, 1, LOAN_BLOCK_BYTES);
        cache->count++;
    }
}

static uint32_t take(struct cistern_component *owner, uint64_t bytes, struct cistern_error *error)
{
    if (cistern_component_charge(owner, bytes) == CISTERN_OK) {
        return CISTERN_OK;
    }
    uint32_t status = cistern_component_reserve(owner, bytes, 0, error);
    return status == CISTERN_OK ? cistern_component_charge(owner, bytes) : status;
}

static uint32_t sample(struct loan_cache *cache, struct cistern_component *owner,
    double *ret_first_ms, double *ret_rate, struct cistern_error *error)
{
    struct cistern_slot *slot = cistern_component_slot(owner);
    cistern_sleep_ns(LOAN_REST_NS);
    cache_fill(cache);
    uint64_t lent = cistern_slot_lent_bytes(slot);
    uint64_t free_bytes = cistern_slot_limit_bytes(slot);
    uint64_t held = free_bytes; /* what it may have without asking is not the question */
    uint32_t status = take(owner, free_bytes, error);
    int64_t begin_ns = cistern_now_ns();
    int64_t first_ns = 0;
    while (status == CISTERN_OK && held < free_bytes + lent) {
        uint64_t piece = free_bytes + lent - held;
        piece = piece < LOAN_BLOCK_BYTES ? piece : LOAN_BLOCK_BYTES;
        status = take(owner, piece, error);
        held += status == CISTERN_OK ? piece : 0;
        if (first_ns == 0 && held >= free_bytes + LOAN_FIRST_BYTES) {
            first_ns = cistern_now_ns() - begin_ns;
        }
    }
    int64_t all_ns = cistern_now_ns() - begin_ns;
    cistern_component_uncharge(owner, held);
    *ret_first_ms = (double)first_ns / 1e6;
    *ret_rate = (double)lent / (double)all_ns * 1e9 / (double)(1 << 30);
    return status;
}

static uint32_t samples_run(
    struct bench *bench, struct cistern_slot *other, struct cistern_error *error)
{
    static struct loan_cache cache;
    struct cistern_component *owner = NULL;
    double first[BENCH_SAMPLES];
    double rate[BENCH_SAMPLES];
    const struct cistern_component_options cache_options = {.name = "cache",
        .reclaim_class = CISTERN_RECLAIM_INSTANT,
        .reclaim_from_any_thread = 1,
        .reclaim = evict,
        .arg = &cache};
    const struct cistern_component_options owner_options = {
        .name = "state", .reclaim_class = CISTERN_RECLAIM_NEVER};
    const struct cistern_region_options region = {.reserve_bytes = LOAN_BUDGET_BYTES};
    pthread_mutex_init(&cache.lock, NULL);
    uint32_t status = cistern_component_open(bench->slot, &cache_options, &cache.component, error);
    if (status == CISTERN_OK) {
        status = cistern_component_open(other, &owner_options, &owner, error);
    }
    if (status == CISTERN_OK) {
        status = cistern_region_create(cache.component, &region, &cache.region, error);
    }
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        status = sample(&cache, owner, &first[i], &rate[i], error);
    }
    if (status == CISTERN_OK) {
        bench_print(bench, "recall_first_16_MiB", "ms", first, NULL, NULL);
        bench_print(bench, "recall_rate", "GiB/s", rate, NULL, NULL);
    }
    (void)evict(&cache, UINT64_MAX, 0);
    cistern_region_destroy(cache.region);
    cistern_component_close(cache.component);
    cistern_component_close(owner);
    pthread_mutex_destroy(&cache.lock);
    memset(&cache, 0, sizeof cache);
    return status;
}

uint32_t bench_loan(struct bench *bench, struct cistern_error *error)
{
    struct cistern_slot *other = NULL;
    uint32_t status = bench_pool_open(bench, LOAN_BUDGET_BYTES, 2, error);
    if (status == CISTERN_OK) {
        status = cistern_slot_open(bench->pool, NULL, &other, error);
    }
    if (status == CISTERN_OK) {
        status = samples_run(bench, other, error);
        uint32_t closed = cistern_slot_close(other, status == CISTERN_OK ? error : NULL);
        status = status == CISTERN_OK ? closed : status;
    }
    bench_pool_close(bench);
    return status;
}
