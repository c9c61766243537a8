/*
 * malloc_hooks_test.c -- OWNED accounting on the real jemalloc: hooks see malloc, and resident
 * growth of a process with a malloc'ed cache stays within the budget.
 */
#include "pool_fixture.h"
#include "fake_elastic.h"

#include "cistern/clock.h"
#include "cistern/region.h"
#include "malloc_hooks_private.h"
#include "pool_private.h"

#include <spawn.h>
#include <sys/wait.h>

extern const char *malloc_conf;
const char *malloc_conf =
    "narenas:4,muzzy_decay_ms:0,dirty_decay_ms:100,oversize_threshold:0,retain:false";

#define BUDGET (64 * FIXTURE_MIB)
#define TOLERANCE (2 * FIXTURE_MIB)

static void open_owned(struct pool_fixture *f)
{
    struct cistern_pool_options options = {
        .budget_bytes = BUDGET, .accounting = CISTERN_ACCOUNTING_OWNED};
    assert_ok(cistern_pool_create(&options, &f->pool, &f->error), f->error);
    assert_ok(cistern_slot_open(f->pool, NULL, &f->slot, &f->error), f->error);
    struct cistern_component_options component_options = {.name = "state"};
    assert_ok(
        cistern_component_open(f->slot, &component_options, &f->component, &f->error), f->error);
}

static struct cistern_holder find_holder(struct cistern_pool *pool, const char *name)
{
    struct cistern_holder holders[16];
    uint32_t count = 0;
    assert_int_equal(cistern_pool_holders(pool, holders, 16, &count), CISTERN_OK);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(holders[i].component, name) == 0) {
            return holders[i];
        }
    }
    fail_msg("no holder %s", name);
    return holders[0];
}

/* What no slot holds stands under a heading of its own, and each heading once. */
static void a_description_tells_malloc_from_the_process_slot(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct cistern_component *buffers;
    struct cistern_component_options options = {
        .name = "buffers", .reclaim_class = CISTERN_RECLAIM_NEVER};
    char text[4000];
    open_owned(&f);
    assert_ok(cistern_component_open(
                  cistern_pool_process_slot(f.pool), &options, &buffers, &f.error),
        f.error);
    uint64_t bytes = cistern_pool_describe(f.pool, text, sizeof text);
    assert_true(bytes < sizeof text);
    const char *process = strstr(text, "\nprocess: ");
    const char *slot = strstr(text, "\nslot 1: ");
    const char *beside = strstr(text, "\nbeside the slots:\n  malloc ");
    assert_true(process != NULL && slot > process && beside > slot);
    assert_null(strstr(process + 1, "\nprocess: "));
    assert_non_null(strstr(beside, "\n  unattributed "));
    cistern_component_close(buffers);
    fixture_close(&f);
}

static void hooks_see_malloc(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_owned(&f);
    struct cistern_pool_usage usage;
    cistern_pool_usage(f.pool, &usage);
    assert_int_equal(usage.accounting, CISTERN_ACCOUNTING_OWNED);
    assert_int_equal(usage.allocator, CISTERN_ALLOCATOR_JEMALLOC);
    uint64_t charged = usage.charged_bytes;
    char *large = malloc(20 * FIXTURE_MIB);
    assert_non_null(large);
    memset(large, 1, 20 * FIXTURE_MIB);
    cistern_pool_usage(f.pool, &usage);
    assert_in_range(usage.charged_bytes - charged, 20 * FIXTURE_MIB, 22 * FIXTURE_MIB);
    assert_in_range(usage.rss_bytes - usage.rss_baseline_bytes, 19 * FIXTURE_MIB, 22 * FIXTURE_MIB);
    assert_true(find_holder(f.pool, "malloc").used_bytes >= 20 * FIXTURE_MIB);
    /* says whose they are: not counted twice */
    cistern_component_report(f.component, 15 * FIXTURE_MIB);
    struct cistern_pool_usage reported;
    cistern_pool_usage(f.pool, &reported);
    assert_in_range(
        reported.charged_bytes, usage.charged_bytes - 65536, usage.charged_bytes + FIXTURE_MIB);
    assert_in_range(find_holder(f.pool, "malloc").used_bytes, 5 * FIXTURE_MIB, 7 * FIXTURE_MIB);
    free(large);
    malloc_hooks_purge();
    cistern_component_report(f.component, 0);
    cistern_pool_usage(f.pool, &usage);
    assert_true(usage.charged_bytes < charged + 2 * FIXTURE_MIB);
    assert_true(usage.rss_bytes < usage.rss_baseline_bytes + 3 * FIXTURE_MIB);
    fixture_close(&f);
}

static void a_process_has_one_owner(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_owned(&f);
    struct cistern_pool *second = NULL;
    struct cistern_pool_options options = {
        .budget_bytes = BUDGET, .accounting = CISTERN_ACCOUNTING_OWNED};
    assert_status(cistern_pool_create(&options, &second, &f.error), CISTERN_BUSY);
    assert_null(second);
    fixture_close(&f);
    open_owned(&f); /* and the next one may follow */
    fixture_close(&f);
}

static void a_full_ledger_refuses_a_charge_within_the_limit(void **state)
{
    (void)state;
    struct pool_fixture f;
    open_owned(&f);
    /* far beyond the process reserve, and nobody reports it */
    char *large = malloc(40 * FIXTURE_MIB);
    assert_non_null(large);
    memset(large, 1, 40 * FIXTURE_MIB);
    assert_true(cistern_slot_limit_bytes(f.slot) > 40 * FIXTURE_MIB);
    assert_int_equal(cistern_component_charge(f.component, 40 * FIXTURE_MIB), CISTERN_LIMIT);
    assert_status(
        cistern_component_reserve(f.component, 40 * FIXTURE_MIB, 0, &f.error), CISTERN_LIMIT);
    assert_int_equal(cistern_component_charge(f.component, 10 * FIXTURE_MIB), CISTERN_OK);
    cistern_component_uncharge(f.component, 10 * FIXTURE_MIB);
    free(large);
    malloc_hooks_purge();
    assert_int_equal(cistern_component_charge(f.component, 40 * FIXTURE_MIB), CISTERN_OK);
    cistern_component_uncharge(f.component, 40 * FIXTURE_MIB);
    fixture_close(&f);
}

/* ---------------------------------------------------------------- charges at the same time */

#define RACERS 4

struct racer {
    struct cistern_component *component;
    _Atomic uint32_t *stop;
    _Atomic uint64_t *granted; /* bytes all of them have now, each from after to before */
    uint64_t granted_max;
    uint64_t grant_count;
};

static void *charge_and_uncharge(void *arg)
{
    struct racer *racer = arg;
    while (!atomic_load(racer->stop)) {
        if (cistern_component_charge(racer->component, FIXTURE_MIB) != CISTERN_OK) {
            continue;
        }
        uint64_t granted = atomic_fetch_add(racer->granted, FIXTURE_MIB) + FIXTURE_MIB;
        racer->granted_max = granted > racer->granted_max ? granted : racer->granted_max;
        racer->grant_count++;
        atomic_fetch_sub(racer->granted, FIXTURE_MIB);
        cistern_component_uncharge(racer->component, FIXTURE_MIB);
    }
    return NULL;
}

/* The ledger has room for two charges, the slot for many: no third one is granted because it asked
 * at the same time. */
static void charges_at_the_same_time_stay_within_the_ledger(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct cistern_component *rest;
    struct cistern_component_options options = {
        .name = "rest", .reclaim_class = CISTERN_RECLAIM_NEVER};
    struct racer racers[RACERS];
    pthread_t threads[RACERS];
    _Atomic uint32_t stop = 0;
    _Atomic uint64_t granted = 0;
    open_owned(&f);
    cistern_governor_pause(f.pool, 1); /* no credit, no limit that moves */
    assert_ok(cistern_component_open(
                  cistern_pool_process_slot(f.pool), &options, &rest, &f.error),
        f.error);
    for (uint32_t i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.component = f.component, .stop = &stop, .granted = &granted};
        assert_int_equal(pthread_create(&threads[i], NULL, charge_and_uncharge, &racers[i]), 0);
    }
    cistern_sleep_ns(20000000); /* what threads cost is in the ledger now */
    atomic_store(&stop, 1);
    for (uint32_t i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    int64_t room = ledger_free(f.pool) - (int64_t)(5 * FIXTURE_MIB / 2);
    assert_true(room > 0 && (uint64_t)room < cistern_slot_limit_bytes(f.slot) + 8 * FIXTURE_MIB);
    cistern_component_charge_forced(rest, (uint64_t)room);
    atomic_store(&stop, 0);
    for (uint32_t i = 0; i < RACERS; i++) {
        racers[i].granted_max = 0;
        assert_int_equal(pthread_create(&threads[i], NULL, charge_and_uncharge, &racers[i]), 0);
    }
    cistern_sleep_ns(300000000);
    atomic_store(&stop, 1);
    for (uint32_t i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(racers[i].grant_count > 0);
        assert_in_range(racers[i].granted_max, FIXTURE_MIB, 2 * FIXTURE_MIB);
    }
    cistern_component_uncharge(rest, (uint64_t)room);
    cistern_component_close(rest);
    fixture_close(&f);
}

/* ---------------------------------------------------------------- the resident bound */

struct filler {
    struct cistern_elastic *elastic;
    struct fake_cache *cache;
    uint32_t chunks;
};

static void *fill(void *arg)
{
    struct filler *filler = arg;
    for (uint32_t i = 0; i < filler->chunks; i++) {
        (void)cistern_elastic_ensure(filler->elastic, 2 * filler->cache->chunk_bytes);
        fake_insert(filler->cache);
    }
    return NULL;
}

static uint64_t growth_peak(struct cistern_pool *pool)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(pool, &usage);
    uint64_t rss = usage.rss_peak_bytes > usage.rss_baseline_bytes
                       ? usage.rss_peak_bytes - usage.rss_baseline_bytes
                       : 0;
    uint64_t anon = usage.anon_peak_bytes > usage.anon_baseline_bytes
                        ? usage.anon_peak_bytes - usage.anon_baseline_bytes
                        : 0;
    print_message("budget %llu, resident growth peak %llu, anonymous growth peak %llu, charged "
                  "peak %llu, overruns %llu\n",
        (unsigned long long)usage.budget_bytes, (unsigned long long)rss, (unsigned long long)anon,
        (unsigned long long)usage.charged_peak_bytes, (unsigned long long)usage.overrun_count);
    return rss > anon ? rss : anon;
}

/* Two threads fill a malloc'ed cache with several budgets' worth, a region grows and shrinks
 * beside it. */
static void run_bound(uint64_t chunk_bytes, int governor_paused, uint64_t live_min)
{
    struct pool_fixture f;
    struct fake_cache *cache = calloc(1, sizeof *cache);
    assert_non_null(cache);
    memset(cache, 0, sizeof *cache); /* touched before the baseline */
    pthread_mutex_init(&cache->lock, NULL);
    cache->chunk_bytes = chunk_bytes;
    open_owned(&f);
    struct cistern_elastic *elastic = NULL;
    struct cistern_elastic_options options = fake_options(cache);
    assert_ok(cistern_elastic_open(f.slot, &options, &elastic, &f.error), f.error);
    struct cistern_region *region = NULL;
    struct cistern_region_options region_options = {.reserve_bytes = BUDGET};
    assert_ok(cistern_region_create(f.component, &region_options, &region, &f.error), f.error);
    cistern_governor_pause(f.pool, (uint32_t)governor_paused);
    for (uint32_t round = 0; round < 6; round++) {
        struct filler filler = {elastic, cache, (uint32_t)(2 * BUDGET / chunk_bytes)};
        pthread_t threads[2];
        assert_int_equal(pthread_create(&threads[0], NULL, fill, &filler), 0);
        assert_int_equal(pthread_create(&threads[1], NULL, fill, &filler), 0);
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
        /* a heap store asks for a third of the budget: the cache makes room */
        if (round % 2 == 0) {
            assert_true(cistern_elastic_ensure(elastic, 20 * FIXTURE_MIB));
            assert_int_equal(cistern_region_commit(region, 0, 16 * FIXTURE_MIB), CISTERN_OK);
            memset(cistern_region_base(region), 1, 16 * FIXTURE_MIB);
        } else {
            cistern_region_decommit(region, 0, 16 * FIXTURE_MIB);
        }
    }
    uint64_t peak = growth_peak(f.pool);
    assert_true(peak <= BUDGET + TOLERANCE);
    assert_true(peak >= live_min);
    cistern_elastic_close(elastic);
    cistern_region_destroy(region);
    fake_set_capacity(cache, 0);
    free(cache);
    fixture_close(&f);
}

static void resident_growth_stays_within_the_budget(void **state)
{
    (void)state;
    run_bound(6000, 0, BUDGET / 4 * 3);
    run_bound(70000, 0, BUDGET / 2);
}

static void the_bound_holds_with_the_governor_stopped(void **state)
{
    (void)state;
    run_bound(6000, 1, BUDGET / 4);
}

/* Runs this program again with MALLOC_CONF, which wins over malloc_conf; the child tries to open
 * and says whether it was refused by the option's name. */
static void expect_refusal(const char *configuration, const char *option)
{
    char variable[128];
    snprintf(variable, sizeof variable, "MALLOC_CONF=%s", configuration);
    char *environment[] = {variable, NULL};
    char name[32];
    snprintf(name, sizeof name, "%s", option);
    char program[] = "memory_malloc_hooks_test";
    char *arguments[] = {program, name, NULL};
    pid_t child = 0;
    int wait_status = 0;
    assert_int_equal(posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environment), 0);
    assert_int_equal(waitpid(child, &wait_status, 0), child);
    assert_true(WIFEXITED(wait_status));
    assert_int_equal(WEXITSTATUS(wait_status), 0);
}

static int try_to_open(const char *option)
{
    struct cistern_error error = {0};
    struct cistern_pool *pool = NULL;
    struct cistern_pool_options options = {
        .budget_bytes = BUDGET, .accounting = CISTERN_ACCOUNTING_OWNED};
    uint32_t status = cistern_pool_create(&options, &pool, &error);
    return status == CISTERN_UNSUPPORTED && strcmp(error.object, option) == 0 &&
                   cistern_allocation_count() == 0
               ? 0
               : 1;
}

static void jemalloc_with_another_option_is_refused(void **state)
{
    (void)state;
    expect_refusal("retain:true", "retain");
    expect_refusal("oversize_threshold:8388608", "oversize_threshold");
    expect_refusal("percpu_arena:percpu", "percpu_arena");
}

int main(int argument_count, char **arguments)
{
    if (argument_count == 2) {
        return try_to_open(arguments[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_description_tells_malloc_from_the_process_slot),
        cmocka_unit_test(hooks_see_malloc),
        cmocka_unit_test(jemalloc_with_another_option_is_refused),
        cmocka_unit_test(a_process_has_one_owner),
        cmocka_unit_test(a_full_ledger_refuses_a_charge_within_the_limit),
        cmocka_unit_test(charges_at_the_same_time_stay_within_the_ledger),
        cmocka_unit_test(resident_growth_stays_within_the_budget),
        cmocka_unit_test(the_bound_holds_with_the_governor_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
