/*
 * pages_owned_test.c -- pages under OWNED accounting on the real jemalloc: beside malloc they stay
 * within budget + 2 MiB resident, and each page that is gone is gone.
 */
#include "pool_fixture.h"

#include "cistern/governor.h"
#include "cistern/pages.h"

#include <string.h>

extern const char *malloc_conf;
const char *malloc_conf =
    "narenas:4,muzzy_decay_ms:0,dirty_decay_ms:100,oversize_threshold:0,retain:false";

#define PAGE UINT64_C(32768)
#define TOLERANCE (2 * FIXTURE_MIB)
#define BUDGET_SMALL (96 * FIXTURE_MIB)  /* single pages */
#define BUDGET_LARGE (256 * FIXTURE_MIB) /* 2 MiB at a time */
#define NOISE_COUNT 64u

static void open_owned(struct pool_fixture *f, uint64_t budget_bytes)
{
    struct cistern_pool_options options = {
        .budget_bytes = budget_bytes, .accounting = CISTERN_ACCOUNTING_OWNED};
    assert_ok(cistern_pool_create(&options, &f->pool, &f->error), f->error);
    assert_ok(cistern_slot_open(f->pool, NULL, &f->slot, &f->error), f->error);
    struct cistern_component_options component = {
        .name = "sorter", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_component_open(f->slot, &component, &f->component, &f->error), f->error);
}

static uint64_t growth(struct cistern_pool *pool)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(pool, &usage);
    return usage.anon_bytes > usage.anon_baseline_bytes
               ? usage.anon_bytes - usage.anon_baseline_bytes
               : 0;
}

/* Pages until none is left, then half of them at random, then again, with malloc beside. */
static void fill_and_drop(uint64_t budget_bytes)
{
    struct pool_fixture f;
    uint64_t seed = test_seed("memory_pages_owned_test", 5);
    open_owned(&f, budget_bytes);
    uint32_t count_max = (uint32_t)(budget_bytes / PAGE);
    void **pages = cistern_allocate_zeroed(count_max, sizeof *pages);
    void *noise[NOISE_COUNT] = {NULL};
    assert_non_null(pages);
    uint32_t live = 0;
    for (uint32_t round = 0; round < 6; round++) {
        while (cistern_pages_allocate(f.component, 1, &pages[live], &f.error) == CISTERN_OK) {
            memset(pages[live++], (int)round + 1, PAGE);
            uint32_t at = (uint32_t)(test_random(&seed) % NOISE_COUNT);
            free(noise[at]);
            noise[at] = malloc(at * 512 + 1);
            memset(noise[at], 1, at * 512 + 1);
        }
        assert_true(live * PAGE > budget_bytes / 2);
        assert_true(growth(f.pool) <= budget_bytes + TOLERANCE);
        for (uint32_t i = live / 2; i > 0; i--) {
            uint32_t at = (uint32_t)(test_random(&seed) % live);
            cistern_pages_release(f.component, &pages[at], 1);
            pages[at] = pages[--live];
        }
        struct cistern_pages_usage usage;
        cistern_pages_usage(f.slot, &usage);
        assert_int_equal(usage.held_count, live);
        assert_true(growth(f.pool) <= budget_bytes + TOLERANCE);
    }
    cistern_pages_release_all(f.component);
    for (uint32_t i = 0; i < NOISE_COUNT; i++) {
        free(noise[i]);
    }
    cistern_release(pages);
    uint64_t used = cistern_slot_used_bytes(f.slot);
    assert_true(used <= budget_bytes / 64);
    cistern_component_close(f.component);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 0);
    cistern_pool_trim(f.pool);
    assert_true(growth(f.pool) <= 8 * FIXTURE_MIB); /* what jemalloc and our structures keep */
    assert_ok(cistern_slot_close(f.slot, &f.error), f.error);
    assert_ok(cistern_pool_destroy(f.pool, &f.error), f.error);
}

static void single_pages_keep_the_bound(void **state)
{
    (void)state;
    fill_and_drop(BUDGET_SMALL);
}

static void huge_pages_keep_the_bound(void **state)
{
    (void)state;
    fill_and_drop(BUDGET_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_pages_keep_the_bound),
        cmocka_unit_test(huge_pages_keep_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
