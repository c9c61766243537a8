/* describe_test.c -- the picture of who holds what: every word it can say, cut at any size. */
#include "support/soft_cache.h"

#include "pool_fixture.h"

#include <string.h>

static void expect_text(struct cistern_pool *pool, const char *expected)
{
    char text[4000];
    uint64_t bytes = cistern_pool_describe(pool, text, sizeof text);
    assert_string_equal(text, expected);
    assert_int_equal(bytes, strlen(expected));
}

/* A buffer of any size gets the lines that fit, whole, and is never written beyond. */
static void expect_whole_lines(struct cistern_pool *pool)
{
    char whole[4000];
    char part[4000];
    uint64_t bytes = cistern_pool_describe(pool, whole, sizeof whole);
    assert_true(bytes > 0 && bytes < sizeof whole);
    for (uint64_t capacity = 0; capacity <= bytes + 1; capacity++) {
        memset(part, '~', sizeof part);
        assert_int_equal(cistern_pool_describe(pool, part, capacity), bytes);
        assert_int_equal(part[capacity], '~');
        if (capacity == 0) {
            continue;
        }
        uint64_t written = strlen(part);
        uint64_t end = 0; /* of the last line that fits with the NUL */
        for (uint64_t i = 0; i + 1 < capacity && i < bytes; i++) {
            end = whole[i] == '\n' ? i + 1 : end;
        }
        assert_int_equal(written, end);
        assert_memory_equal(part, whole, written);
    }
}

static void an_empty_pool_is_one_line(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_pool *pool;
    struct cistern_pool_options options = {.budget_bytes = 64 * FIXTURE_MIB};
    assert_ok(cistern_pool_create(&options, &pool, &error), error);
    expect_text(pool, "budget 64.0 MiB, charged 0 B\n");
    expect_whole_lines(pool);
    assert_ok(cistern_pool_destroy(pool, &error), error);
}

static void debt_and_refusals_are_said(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 9 * FIXTURE_MIB, FIXTURE_MIB);
    struct cistern_component *buffers;
    struct cistern_component_options options = {
        .name = "a name of thirty-one characters", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_component_open(
                  cistern_pool_process_slot(f.pool), &options, &buffers, &f.error),
        f.error);
    cistern_component_charge_forced(f.component, 10 * FIXTURE_MIB);
    assert_int_equal(cistern_component_charge(f.component, 1), CISTERN_LIMIT);
    cistern_component_report(buffers, 5 * FIXTURE_MIB + FIXTURE_MIB / 2);
    expect_text(f.pool,
        "budget 64.0 MiB, charged 15.5 MiB\n"
        "process: 5.5 MiB of 5.0 MiB, 512.0 KiB in debt\n"
        "  a name of thirty-one characters    5.5 MiB  [########################]  peak 5.5 MiB\n"
        "slot 1: 10.0 MiB of 8.0 MiB, 2.0 MiB in debt\n"
        "  state                      10.0 MiB  [########################]  peak 10.0 MiB, refused "
        "1 times\n");
    expect_whole_lines(f.pool);
    cistern_component_uncharge(f.component, 10 * FIXTURE_MIB);
    cistern_component_close(buffers);
    fixture_close(&f);
}

static void loans_are_said_on_both_sides(void **state)
{
    (void)state;
    struct pool_fixture f;
    struct soft_cache cache;
    struct cistern_slot *second;
    struct cistern_slot_options options = {
        .limit_bytes = 17 * FIXTURE_MIB, .debt_max_bytes = FIXTURE_MIB};
    fixture_open(&f, 64 * FIXTURE_MIB, 17 * FIXTURE_MIB, FIXTURE_MIB);
    assert_ok(cistern_slot_open(f.pool, &options, &second, &f.error), f.error);
    soft_open(&cache, second);
    for (uint32_t i = 0; i < 24; i++) {
        assert_true(soft_fill(&cache, FIXTURE_MIB));
    }
    expect_text(f.pool,
        "budget 64.0 MiB, charged 24.0 MiB\n"
        "slot 1: 0 B of 8.0 MiB, 8.0 MiB lent\n"
        "  state                           0 B  [........................]  peak 0 B\n"
        "slot 2: 24.0 MiB of 16.0 MiB + 8.0 MiB borrowed\n"
        "  cache                      24.0 MiB  [########################]  peak 24.0 MiB, refused "
        "8 times\n");
    expect_whole_lines(f.pool);
    soft_close(&cache);
    assert_ok(cistern_slot_close(second, &f.error), f.error);
    fixture_close(&f);
}

static void without_memory_the_sum_is_said_all_the_same(void **state)
{
    (void)state;
    struct pool_fixture f;
    char text[200];
    fixture_open(&f, 64 * FIXTURE_MIB, 9 * FIXTURE_MIB, FIXTURE_MIB);
    cistern_allocation_fail_at(1);
    uint64_t bytes = cistern_pool_describe(f.pool, text, sizeof text);
    assert_true(cistern_allocation_failed());
    assert_int_equal(bytes, strlen(text));
    assert_string_equal(text, "budget 64.0 MiB, charged 0 B\nno memory to list the holders\n");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_pool_is_one_line),
        cmocka_unit_test(debt_and_refusals_are_said),
        cmocka_unit_test(loans_are_said_on_both_sides),
        cmocka_unit_test(without_memory_the_sum_is_said_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
