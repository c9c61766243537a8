/* pool.c -- creation and destruction of a budget, and the least one that opens. */
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/size.h"
#include "elastic_private.h"
#include "holders_private.h"
#include "malloc_hooks_private.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define POOL_PAGE_BYTES_DEFAULT (32 * KIB)
#define POOL_PAGE_BYTES_MIN (4 * KIB)
#define POOL_PAGE_BYTES_MAX (1024 * MIB)

static uint64_t slot_min(uint32_t state_count)
{
    return BUDGET_DEBT_MIN + BUDGET_INDEX_MIN +
           (BUDGET_CLEANER_SEGMENTS + BUDGET_OPEN_SEGMENTS) * BUDGET_SEGMENT_MIN +
           BUDGET_CACHE_FLOOR + BUDGET_WRITE_BUFFER_MIN + state_count * BUDGET_STATE_MIN;
}

uint64_t cistern_pool_budget_min(uint32_t slot_count, uint32_t state_count)
{
    return BUDGET_PROCESS_RESERVE_MIN + slot_count * slot_min(state_count);
}

uint64_t pool_process_reserve(uint64_t budget_bytes)
{
    uint64_t share = budget_bytes / 16;
    return share < BUDGET_PROCESS_RESERVE_MIN ? BUDGET_PROCESS_RESERVE_MIN : share;
}

uint64_t pool_process_limit(uint64_t budget_bytes, uint64_t reserve_bytes)
{
    uint64_t kept = (uint64_t)(ledger_slack(budget_bytes) + LEDGER_FIXED_BYTES);
    uint64_t half = reserve_bytes / 2;
    return reserve_bytes - (kept < half ? kept : half);
}

static void options_default(struct cistern_pool_options *options)
{
    if (options->process_reserve_bytes == 0) {
        options->process_reserve_bytes = pool_process_reserve(options->budget_bytes);
    }
    if (options->page_bytes == 0) {
        options->page_bytes = POOL_PAGE_BYTES_DEFAULT;
    }
    if (options->slot_count_max == 0) {
        options->slot_count_max = 1;
    }
    if (options->allocator == CISTERN_ALLOCATOR_AUTO) {
        options->allocator =
            malloc_hooks_possible() ? CISTERN_ALLOCATOR_JEMALLOC : CISTERN_ALLOCATOR_OWN;
    }
}

static uint32_t enums_check(const struct cistern_pool_options *options, struct cistern_error *error)
{
    if (options->accounting > CISTERN_ACCOUNTING_OWNED) {
        return cistern_fail(
            error, CISTERN_INVALID, "accounting", "%u is no accounting mode", options->accounting);
    }
    if (options->allocator > CISTERN_ALLOCATOR_JEMALLOC) {
        return cistern_fail(
            error, CISTERN_INVALID, "allocator", "%u is no allocator", options->allocator);
    }
    if (options->huge_pages > 2) {
        return cistern_fail(error, CISTERN_INVALID, "huge_pages", "huge_pages is 0, 1 or 2, not %u",
            options->huge_pages);
    }
    if (options->guard > 1) {
        return cistern_fail(
            error, CISTERN_INVALID, "guard", "guard is 0 or 1, not %u", options->guard);
    }
    if (options->allocator == CISTERN_ALLOCATOR_JEMALLOC && !malloc_hooks_possible()) {
        return cistern_fail(
            error, CISTERN_UNSUPPORTED, "allocator", "this process does not run on jemalloc");
    }
    if (options->accounting == CISTERN_ACCOUNTING_OWNED &&
        options->allocator != CISTERN_ALLOCATOR_JEMALLOC) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, "accounting",
            "OWNED accounting hooks jemalloc, and this process does not run on it; use GUEST, link "
            "or preload jemalloc");
    }
    return CISTERN_OK;
}

static uint32_t budget_check(
    const struct cistern_pool_options *options, struct cistern_error *error)
{
    char given[16];
    char least[16];
    char reserve[16];
    char each[16];
    uint64_t budget_min = cistern_pool_budget_min(options->slot_count_max, 1);
    if (options->budget_bytes < budget_min) {
        uint32_t status = cistern_fail(error, CISTERN_INVALID, "budget_bytes",
            "a budget of %s is too small: %u slot(s) need at least %s (%llu bytes) = %s for the "
            "process + %u x %s for index, "
            "segments, cache floor, write buffer and debt; raise --managed (budget_bytes)",
            cistern_size_format(given, options->budget_bytes), options->slot_count_max,
            cistern_size_format(least, budget_min), (unsigned long long)budget_min,
            cistern_size_format(reserve, BUDGET_PROCESS_RESERVE_MIN), options->slot_count_max,
            cistern_size_format(each, slot_min(1)));
        if (error != NULL) {
            error->bytes_missing = budget_min - options->budget_bytes;
        }
        return status;
    }
    if (options->budget_bytes > POOL_BUDGET_BYTES_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "budget_bytes",
            "a budget of %llu bytes is more than 64 TiB",
            (unsigned long long)options->budget_bytes);
    }
    uint64_t slots_min = options->slot_count_max * slot_min(1);
    if (options->process_reserve_bytes > options->budget_bytes - slots_min) {
        return cistern_fail(error, CISTERN_INVALID, "process_reserve_bytes",
            "a process reserve of %s leaves less than %s for each of %u slot(s) of a budget of %s",
            cistern_size_format(reserve, options->process_reserve_bytes),
            cistern_size_format(each, slot_min(1)), options->slot_count_max,
            cistern_size_format(given, options->budget_bytes));
    }
    return CISTERN_OK;
}

static uint32_t options_check(
    const struct cistern_pool_options *options, struct cistern_error *error)
{
    if (options->slot_count_max > POOL_SLOT_COUNT_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "slot_count_max",
            "a pool has at most %d slots, not %u", POOL_SLOT_COUNT_MAX, options->slot_count_max);
    }
    uint64_t page = options->page_bytes;
    if (page < POOL_PAGE_BYTES_MIN || page > POOL_PAGE_BYTES_MAX || (page & (page - 1)) != 0) {
        return cistern_fail(error, CISTERN_INVALID, "page_bytes",
            "page_bytes is a power of two from 4096 bytes to 1 GiB, not %llu",
            (unsigned long long)page);
    }
    uint32_t status = enums_check(options, error);
    return status != CISTERN_OK ? status : budget_check(options, error);
}

static void pool_fill(struct cistern_pool *pool, const struct cistern_pool_options *options)
{
    pool->budget_bytes = options->budget_bytes;
    pool->process_reserve_bytes = options->process_reserve_bytes;
    pool->page_bytes = options->page_bytes;
    pool->slot_count_max = options->slot_count_max;
    pool->accounting = options->accounting;
    pool->allocator = options->allocator;
    pool->huge_pages = options->huge_pages;
    pool->guard = options->guard;
    pool->measure = options->accounting == CISTERN_ACCOUNTING_GUEST ? options->measure : NULL;
    pool->measure_arg = options->measure_arg;
    for (uint32_t i = 0; i <= pool->slot_count_max; i++) {
        slot_init(&pool->slots[i], pool, i);
    }
    atomic_store(&pool->slots[0].quota.limit,
        pool_process_limit(options->budget_bytes, options->process_reserve_bytes));
    pool->slots[0].is_open = 1;
    ledger_init(pool);
}

/* What only a process of our own may have done to it; the hooks come first, so that the thread's
 * memory is seen. */
static uint32_t own_process(struct cistern_pool *pool, struct cistern_error *error)
{
    uint32_t status = malloc_hooks_install(pool, error);
    if (status != CISTERN_OK) {
        return status;
    }
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    resident_prefault();
    int os_errno = governor_start(pool);
    if (os_errno != 0) {
        malloc_hooks_release(pool);
        return cistern_fail_errno(
            error, os_errno, "cistern-governor", "cannot start the governor thread");
    }
    return CISTERN_OK;
}

static void baseline_read(struct cistern_pool *pool)
{
    if (pool->measure != NULL) {
        pool->resident.measured_baseline = pool->measure(pool->measure_arg);
    }
    if (pool->accounting == CISTERN_ACCOUNTING_OWNED) {
        malloc_hooks_purge(); /* dirty pages of before would make room that growth could hide in */
        int64_t metadata = malloc_hooks_metadata_bytes();
        atomic_store(&pool->ledger.metadata, metadata);
        pool->ledger.malloc_baseline = malloc_hooks_bytes() + metadata;
    }
    resident_baseline_read(&pool->resident, pool->accounting == CISTERN_ACCOUNTING_OWNED);
    atomic_store_explicit(&pool->governor.is_ready, 1, memory_order_release);
}

uint32_t cistern_pool_create_sized(const struct cistern_pool_options *given, uint64_t options_bytes,
    struct cistern_pool **ret_pool, struct cistern_error *error)
{
    assert(ret_pool != NULL);
    struct cistern_pool_options options;
    uint32_t status = cistern_options_read(
        &options, sizeof options, given, options_bytes, "cistern_pool_options", error);
    if (status != CISTERN_OK) {
        return status;
    }
    options_default(&options);
    status = options_check(&options, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (options.host != NULL && cistern_host_install(options.host) != CISTERN_OK) {
        return cistern_fail(error, CISTERN_BUSY, "host",
            "other host callbacks are in use by memory of this process; give the same ones, or "
            "none");
    }
    struct cistern_pool *pool = cistern_allocate_zeroed(
        1, sizeof *pool + (options.slot_count_max + UINT64_C(1)) * sizeof pool->slots[0]);
    if (pool == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "pool", "no memory for the pool's control structure");
    }
    pthread_mutex_init(&pool->lock, NULL);
    governor_init(&pool->governor);
    resident_init(&pool->resident);
    pool_fill(pool, &options);
    if (pool->accounting == CISTERN_ACCOUNTING_OWNED) {
        status = own_process(pool, error);
    }
    if (status != CISTERN_OK) {
        resident_deinit(&pool->resident);
        governor_deinit(&pool->governor);
        pthread_mutex_destroy(&pool->lock);
        cistern_release(pool);
        return status;
    }
    baseline_read(pool);
    *ret_pool = pool;
    return CISTERN_OK;
}

static uint32_t check_idle(struct cistern_pool *pool, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    pthread_mutex_lock(&pool->lock);
    for (uint32_t i = 0; i <= pool->slot_count_max && status == CISTERN_OK; i++) {
        const struct cistern_slot *slot = &pool->slots[i];
        if (i > 0 && slot->is_open) {
            char held[HOLDERS_TEXT_BYTES];
            holders_format(slot, held, sizeof held);
            status = cistern_fail(error, CISTERN_BUSY, slot->name,
                "the pool cannot be destroyed: %s is open; held by %s", slot->name, held);
        } else if (slot->components != NULL) {
            char held[HOLDERS_TEXT_BYTES];
            holders_format(slot, held, sizeof held);
            status = cistern_fail(error, CISTERN_BUSY, slot->components->name,
                "the pool cannot be destroyed: component %s of the process slot is open; held by "
                "%s",
                slot->components->name, held);
        }
    }
    if (status == CISTERN_OK && elastic_set_serves(&pool->slots[0])) {
        status = cistern_fail(error, CISTERN_BUSY, pool->slots[0].name,
            "the pool cannot be destroyed: an elastic of the process slot is open");
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

uint32_t cistern_pool_destroy(struct cistern_pool *pool, struct cistern_error *error)
{
    if (pool == NULL) {
        return CISTERN_OK;
    }
    uint32_t status = check_idle(pool, error);
    if (status != CISTERN_OK) {
        return status;
    }
    governor_stop(pool);
    if (pool->accounting == CISTERN_ACCOUNTING_OWNED) {
        malloc_hooks_release(pool);
    }
    resident_deinit(&pool->resident);
    governor_deinit(&pool->governor);
    pthread_mutex_destroy(&pool->lock);
    cistern_release(pool);
    return CISTERN_OK;
}

struct cistern_slot *cistern_pool_process_slot(struct cistern_pool *pool)
{
    return &pool->slots[0];
}

uint64_t cistern_pool_page_bytes(const struct cistern_pool *pool)
{
    return pool->page_bytes;
}

uint32_t cistern_pool_huge_pages(const struct cistern_pool *pool)
{
    return pool->huge_pages;
}
