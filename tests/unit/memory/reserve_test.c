/* reserve_test.c -- the ladder: who is asked, in which order, when it stops, and the sentence of
 * a refusal. */
#include "pool_fixture.h"

#include "cistern/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define CALL_COUNT_MAX 64

struct ladder { /* what the callbacks saw; Thread: the test's own */
    const char *calls[CALL_COUNT_MAX];
    uint64_t targets[CALL_COUNT_MAX];
    uint32_t count;
};

struct holder {
    const char *name;
    struct ladder *ladder;
    struct cistern_component *component;
    uint64_t held;
    uint64_t per_call; /* what one call frees at most */
};

static uint64_t give_back(void *arg, uint64_t target_bytes, int64_t deadline_ns)
{
    struct holder *holder = arg;
    (void)deadline_ns;
    if (holder->ladder->count < CALL_COUNT_MAX) {
        holder->ladder->calls[holder->ladder->count] = holder->name;
        holder->ladder->targets[holder->ladder->count] = target_bytes;
        holder->ladder->count++;
    }
    uint64_t freed = target_bytes < holder->per_call ? target_bytes : holder->per_call;
    freed = freed < holder->held ? freed : holder->held;
    if (freed > 0) {
        cistern_component_uncharge(holder->component, freed);
        holder->held -= freed;
    }
    return freed;
}

static void open_holder(
    struct holder *holder, struct cistern_slot *slot, uint32_t reclaim_class, uint64_t bytes)
{
    struct cistern_error error;
    struct cistern_component_options options = {
        .name = holder->name, .reclaim_class = reclaim_class, .reclaim = give_back, .arg = holder};
    assert_ok(cistern_component_open(slot, &options, &holder->component, &error), error);
    if (bytes > 0) {
        assert_int_equal(cistern_component_charge(holder->component, bytes), CISTERN_OK);
    }
    holder->held = bytes;
}

static void close_holder(struct holder *holder)
{
    if (holder->held > 0) {
        cistern_component_uncharge(holder->component, holder->held);
    }
    cistern_component_close(holder->component);
}

static void instant_comes_before_io(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1100, 100);
    struct ladder ladder = {0};
    struct holder flush = {.name = "memtable", .ladder = &ladder, .per_call = 1000};
    struct holder cache = {.name = "cache", .ladder = &ladder, .per_call = 1000};
    open_holder(&flush, f.slot, CISTERN_RECLAIM_WITH_IO, 600); /* opened first, asked last */
    open_holder(&cache, f.slot, CISTERN_RECLAIM_INSTANT, 300);
    assert_ok(cistern_component_reserve(f.component, 100, 0, &f.error), f.error);
    assert_int_equal(ladder.count, 0); /* there was room */
    assert_ok(cistern_component_reserve(f.component, 300, 0, &f.error), f.error);
    assert_int_equal(ladder.count, 1);
    assert_string_equal(ladder.calls[0], "cache");
    assert_int_equal(ladder.targets[0], 200);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 700); /* reserve does not charge */
    assert_ok(cistern_component_reserve(f.component, 800, 0, &f.error), f.error);
    assert_int_equal(ladder.count, 3);
    assert_string_equal(ladder.calls[1], "cache");
    assert_int_equal(ladder.targets[1], 500);
    assert_string_equal(ladder.calls[2], "memtable");
    assert_int_equal(ladder.targets[2], 400);
    assert_int_equal(cistern_component_charge(f.component, 800), CISTERN_OK);
    cistern_component_uncharge(f.component, 800);
    close_holder(&flush);
    close_holder(&cache);
    fixture_close(&f);
}

static void a_ladder_that_frees_goes_on_and_one_that_does_not_ends(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1100, 100);
    struct ladder ladder = {0};
    struct holder slow = {.name = "slow", .ladder = &ladder, .per_call = 100};
    open_holder(&slow, f.slot, CISTERN_RECLAIM_INSTANT, 1000);
    assert_ok(cistern_component_reserve(f.component, 300, 0, &f.error), f.error);
    assert_int_equal(ladder.count, 3);
    slow.per_call = 0;
    assert_status(cistern_component_reserve(f.component, 400, 0, &f.error), CISTERN_LIMIT);
    assert_int_equal(ladder.count, 4);
    slow.per_call = 1; /* progress without end is bounded too */
    assert_status(cistern_component_reserve(f.component, 400, 0, &f.error), CISTERN_LIMIT);
    assert_in_range(ladder.count, 5, 20);
    close_holder(&slow);
    fixture_close(&f);
}

static void debt_counts_as_missing(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1100, 100);
    struct ladder ladder = {0};
    struct holder cache = {.name = "cache", .ladder = &ladder, .per_call = 1000};
    open_holder(&cache, f.slot, CISTERN_RECLAIM_INSTANT, 1000);
    cistern_component_charge_forced(f.component, 50);
    assert_ok(cistern_component_reserve(f.component, 10, 0, &f.error), f.error);
    assert_int_equal(ladder.targets[0], 60);
    cistern_component_uncharge(f.component, 50);
    close_holder(&cache);
    fixture_close(&f);
}

static void a_refusal_names_everything(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 10 * FIXTURE_MIB + 1000, 1000);
    struct ladder ladder = {0};
    struct holder index = {.name = "index", .ladder = &ladder};
    struct holder segments = {.name = "segments", .ladder = &ladder};
    open_holder(&index, f.slot, CISTERN_RECLAIM_NEVER - 1, FIXTURE_MIB);
    open_holder(&segments, f.slot, CISTERN_RECLAIM_INSTANT, 8 * FIXTURE_MIB);
    assert_status(
        cistern_component_reserve(f.component, 3 * FIXTURE_MIB, 0, &f.error), CISTERN_LIMIT);
    print_message("%s\n", f.error.message);
    assert_int_equal(f.error.bytes_missing, 2 * FIXTURE_MIB);
    assert_string_equal(f.error.object, "slot 1, component state");
    assert_string_equal(f.error.message,
        "slot 1: state needs 3.0 MiB, 2.0 MiB missing of 10.0 MiB; held by segments 8.0 MiB, "
        "index 1.0 MiB; raise --managed (budget_bytes)");
    close_holder(&segments);
    close_holder(&index);
    fixture_close(&f);
}

static void a_long_list_of_holders_ends_with_a_count(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1100000, 100000);
    struct ladder ladder = {0};
    struct holder holders[30];
    char names[30][32];
    for (uint32_t i = 0; i < 30; i++) {
        snprintf(names[i], sizeof names[i], "component number %u of many", i);
        holders[i] = (struct holder){.name = names[i], .ladder = &ladder};
        open_holder(&holders[i], f.slot, CISTERN_RECLAIM_INSTANT, 30000 + i);
    }
    assert_status(cistern_component_reserve(f.component, 900000, 0, &f.error), CISTERN_LIMIT);
    print_message("%s\n", f.error.message);
    assert_non_null(strstr(f.error.message, "held by component number 29 of many"));
    assert_non_null(strstr(f.error.message, " more; raise --managed (budget_bytes)"));
    for (uint32_t i = 0; i < 30; i++) {
        close_holder(&holders[i]);
    }
    fixture_close(&f);
}

static void more_than_the_limit_is_refused_unasked(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1100, 100);
    struct ladder ladder = {0};
    struct holder cache = {.name = "cache", .ladder = &ladder, .per_call = 1000};
    open_holder(&cache, f.slot, CISTERN_RECLAIM_INSTANT, 500);
    assert_status(cistern_component_reserve(
                      f.component, 1001, cistern_now_ns() + INT64_C(10000000000), &f.error),
        CISTERN_LIMIT);
    assert_int_equal(ladder.count, 0);
    close_holder(&cache);
    fixture_close(&f);
}

static void a_deadline_ends_in_timeout(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1100, 100);
    assert_int_equal(cistern_component_charge(f.component, 1000), CISTERN_OK);
    int64_t start = cistern_now_ns();
    assert_status(
        cistern_component_reserve(f.component, 1, start + 30000000, &f.error), CISTERN_TIMEOUT);
    assert_true(cistern_now_ns() - start >= 30000000);
    assert_non_null(strstr(f.error.message, "at the deadline"));
    cistern_component_uncharge(f.component, 1000);
    fixture_close(&f);
}

static void *uncharge_later(void *arg)
{
    cistern_sleep_ns(20000000);
    cistern_component_uncharge(arg, 1000);
    return NULL;
}

static void a_deadline_waits_for_another_thread(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1100, 100);
    assert_int_equal(cistern_component_charge(f.component, 1000), CISTERN_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, uncharge_later, f.component), 0);
    assert_ok(cistern_component_reserve(
                  f.component, 1000, cistern_now_ns() + INT64_C(10000000000), &f.error),
        f.error);
    pthread_join(thread, NULL);
    fixture_close(&f);
}

static void another_slots_holders_are_left_alone(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1100, 100);
    struct cistern_slot *other = NULL;
    struct cistern_slot_options options = {.limit_bytes = 1100, .debt_max_bytes = 100};
    assert_ok(cistern_slot_open(f.pool, &options, &other, &f.error), f.error);
    struct ladder ladder = {0};
    struct holder cache = {.name = "cache", .ladder = &ladder, .per_call = 1000};
    open_holder(&cache, other, CISTERN_RECLAIM_INSTANT, 900);
    assert_int_equal(cistern_component_charge(f.component, 1000), CISTERN_OK);
    assert_status(cistern_component_reserve(f.component, 1, 0, &f.error), CISTERN_LIMIT);
    assert_int_equal(ladder.count, 0);
    cistern_component_uncharge(f.component, 1000);
    close_holder(&cache);
    assert_ok(cistern_slot_close(other, &f.error), f.error);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instant_comes_before_io),
        cmocka_unit_test(a_ladder_that_frees_goes_on_and_one_that_does_not_ends),
        cmocka_unit_test(debt_counts_as_missing),
        cmocka_unit_test(a_refusal_names_everything),
        cmocka_unit_test(a_long_list_of_holders_ends_with_a_count),
        cmocka_unit_test(more_than_the_limit_is_refused_unasked),
        cmocka_unit_test(a_deadline_ends_in_timeout),
        cmocka_unit_test(a_deadline_waits_for_another_thread),
        cmocka_unit_test(another_slots_holders_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
