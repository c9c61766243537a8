/* pool_test.c -- the account: limits, debt, reports, grants, the least budget, and that no slot
 * is refused for another. */
#include "pool_fixture.h"

#include "cistern/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static struct cistern_component *open_component(struct cistern_slot *slot, const char *name)
{
    struct cistern_error error;
    struct cistern_component *component = NULL;
    struct cistern_component_options options = {
        .name = name, .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_component_open(slot, &options, &component, &error), error);
    return component;
}

/* ---------------------------------------------------------------- limits */

static void charge_stops_at_the_limit(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1000, 100);
    assert_int_equal(cistern_slot_limit_bytes(f.slot), 900);
    assert_int_equal(cistern_component_charge(f.component, 900), CISTERN_OK);
    assert_int_equal(cistern_component_charge(f.component, 1), CISTERN_LIMIT);
    cistern_component_uncharge(f.component, 1);
    assert_int_equal(cistern_component_charge(f.component, 2), CISTERN_LIMIT);
    assert_int_equal(cistern_component_charge(f.component, UINT64_MAX), CISTERN_LIMIT);
    assert_int_equal(cistern_component_charge(f.component, 1), CISTERN_OK);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 900);
    cistern_component_uncharge(f.component, 900);
    fixture_close(&f);
}

static void debt_is_repaid_first(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1000, 100);
    cistern_component_charge_forced(f.component, 950); /* 50 above the limit */
    assert_int_equal(cistern_slot_used_bytes(f.slot), 950);
    assert_int_equal(cistern_component_charge(f.component, 1), CISTERN_LIMIT);
    cistern_component_uncharge(f.component, 40);
    assert_int_equal(cistern_component_charge(f.component, 1), CISTERN_LIMIT);
    cistern_component_uncharge(f.component, 20);
    assert_int_equal(cistern_component_charge(f.component, 11), CISTERN_LIMIT);
    assert_int_equal(cistern_component_charge(f.component, 10), CISTERN_OK);
    cistern_component_uncharge(f.component, 900);
    fixture_close(&f);
}

static void debt_beyond_its_maximum_is_counted(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1000, 100);
    struct cistern_pool_usage usage;
    cistern_component_charge_forced(f.component, 1000);
    cistern_pool_usage(f.pool, &usage);
    assert_int_equal(usage.overrun_count, 0);
    cistern_component_charge_forced(f.component, 1);
    cistern_pool_usage(f.pool, &usage);
    assert_int_equal(usage.overrun_count, 1);
    cistern_component_uncharge(f.component, 1001);
    fixture_close(&f);
}

static void report_is_absolute(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1000, 100);
    cistern_component_report(f.component, 500);
    cistern_component_report(f.component, 300);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 300);
    assert_int_equal(cistern_component_charge(f.component, 601), CISTERN_LIMIT);
    assert_int_equal(cistern_component_charge(f.component, 600), CISTERN_OK);
    cistern_component_report(f.component, 2000); /* admitted as debt */
    assert_int_equal(cistern_slot_used_bytes(f.slot), 2600);
    struct cistern_holder holder;
    uint32_t count = 0;
    assert_int_equal(cistern_pool_holders(f.pool, &holder, 1, &count), CISTERN_OK);
    assert_int_equal(count, 1);
    assert_string_equal(holder.slot, "slot 1");
    assert_string_equal(holder.component, "state");
    assert_int_equal(holder.used_bytes, 2600);
    assert_int_equal(holder.limit_bytes, 900);
    assert_int_equal(holder.debt_bytes, 1700);
    assert_int_equal(holder.peak_bytes, 2600);
    assert_int_equal(holder.refusal_count, 1);
    cistern_component_uncharge(f.component, 600);
    fixture_close(&f); /* closing reports 0 */
}

static void holders_counts_what_does_not_fit(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 1000, 100);
    struct cistern_component *buffers =
        open_component(cistern_pool_process_slot(f.pool), "buffers");
    struct cistern_holder holder = {.used_bytes = 7};
    uint32_t count = 0;
    assert_int_equal(cistern_pool_holders(f.pool, NULL, 0, &count), CISTERN_OK);
    assert_int_equal(count, 2);
    assert_int_equal(cistern_pool_holders(f.pool, &holder, 1, &count), CISTERN_OK);
    assert_int_equal(count, 2);
    assert_string_equal(holder.slot, "process");
    cistern_component_close(buffers);
    fixture_close(&f);
}

static void a_description_shows_every_holder(void **state)
{
    (void)state;
    struct pool_fixture f;
    char text[2000];
    fixture_open(&f, 64 * FIXTURE_MIB, 8 * FIXTURE_MIB, FIXTURE_MIB);
    assert_int_equal(cistern_component_charge(f.component, 4 * FIXTURE_MIB), CISTERN_OK);
    assert_int_equal(cistern_component_charge(f.component, 4 * FIXTURE_MIB), CISTERN_LIMIT);
    uint64_t bytes = cistern_pool_describe(f.pool, text, sizeof text);
    assert_int_equal(bytes, strlen(text));
    assert_non_null(strstr(text, "budget 64.0 MiB, charged 4.0 MiB\n"));
    assert_non_null(strstr(text, "slot 1: 4.0 MiB of 7.0 MiB\n"));
    assert_non_null(strstr(text, "  state "));
    assert_non_null(strstr(text, "[##############..........]  peak 4.0 MiB, refused 1 times\n"));
    /* a small buffer gets whole lines, and the size of the whole */
    char first[40];
    assert_int_equal(cistern_pool_describe(f.pool, first, sizeof first), bytes);
    assert_string_equal(first, "budget 64.0 MiB, charged 4.0 MiB\n");
    assert_int_equal(cistern_pool_describe(f.pool, NULL, 0), bytes);
    cistern_component_uncharge(f.component, 4 * FIXTURE_MIB);
    fixture_close(&f);
}

/* ---------------------------------------------------------------- false refusals */

struct refusal_case {
    struct cistern_component *component;
    uint64_t bytes;
    _Atomic int *stop;
    uint64_t attempts;
    uint64_t refusals;
};

static void *charge_in_a_loop(void *arg)
{
    struct refusal_case *c = arg;
    while (!atomic_load(c->stop)) {
        c->attempts++;
        if (cistern_component_charge(c->component, c->bytes) == CISTERN_OK) {
            cistern_component_uncharge(c->component, c->bytes);
        } else {
            c->refusals++;
        }
    }
    return NULL;
}

static void one_slots_refusals_never_reach_another(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 50, 1);
    struct cistern_slot *roomy = NULL;
    struct cistern_slot_options options = {.limit_bytes = 101, .debt_max_bytes = 1};
    assert_ok(cistern_slot_open(f.pool, &options, &roomy, &f.error), f.error);
    _Atomic int stop = 0;
    struct refusal_case a = {.component = f.component, .bytes = 60, .stop = &stop};
    struct refusal_case b = {.component = open_component(roomy, "b"), .bytes = 60, .stop = &stop};
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, charge_in_a_loop, &a), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, charge_in_a_loop, &b), 0);
    cistern_sleep_ns(1000000000);
    atomic_store(&stop, 1);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    print_message("a: %llu attempts, b: %llu attempts\n", (unsigned long long)a.attempts,
        (unsigned long long)b.attempts);
    assert_true(a.attempts > 1000 && a.refusals == a.attempts);
    assert_true(b.attempts > 1000);
    assert_int_equal(b.refusals, 0);
    cistern_component_close(b.component);
    assert_ok(cistern_slot_close(roomy, &f.error), f.error);
    fixture_close(&f);
}

/* ---------------------------------------------------------------- many threads */

#define MIX_THREADS 8
#define MIX_HELD_MAX 64

struct mix {
    struct cistern_component *component;
    struct cistern_slot *slot;
    uint64_t seed;
    uint64_t rounds;
    int forced;
    _Atomic int *over;
};

/* Holds a random set of charges; without forced ones the slot must never be seen above its
 * limit. */
static void *charge_at_random(void *arg)
{
    struct mix *mix = arg;
    uint64_t held[MIX_HELD_MAX];
    uint32_t count = 0;
    for (uint64_t i = 0; i < mix->rounds; i++) {
        uint64_t dice = test_random(&mix->seed);
        uint64_t bytes = 1 + dice % 5000;
        if (count < MIX_HELD_MAX && dice >> 63) {
            if (mix->forced && (dice >> 60 & 3) == 0) {
                cistern_component_charge_forced(mix->component, bytes);
                held[count++] = bytes;
            } else if (cistern_component_charge(mix->component, bytes) == CISTERN_OK) {
                held[count++] = bytes;
            }
        } else if (count > 0) {
            cistern_component_uncharge(mix->component, held[--count]);
        }
        if (!mix->forced &&
            cistern_slot_used_bytes(mix->slot) > cistern_slot_limit_bytes(mix->slot)) {
            atomic_store(mix->over, 1);
        }
    }
    while (count > 0) {
        cistern_component_uncharge(mix->component, held[--count]);
    }
    return NULL;
}

static void run_mix(int forced, uint64_t rounds)
{
    uint64_t seed = test_seed("memory_pool_test", 20261123);
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 200000, 1000);
    _Atomic int over = 0;
    struct mix mixes[MIX_THREADS];
    pthread_t threads[MIX_THREADS];
    for (uint32_t i = 0; i < MIX_THREADS; i++) {
        mixes[i] = (struct mix){f.component, f.slot, seed + i + 1, rounds, forced, &over};
        assert_int_equal(pthread_create(&threads[i], NULL, charge_at_random, &mixes[i]), 0);
    }
    for (uint32_t i = 0; i < MIX_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&over), 0);
    assert_int_equal(cistern_slot_used_bytes(f.slot), 0);
    fixture_close(&f);
}

static void eight_threads_sum_to_zero(void **state)
{
    (void)state;
    run_mix(0, 40000);
    run_mix(1, 10000);
}

/* ---------------------------------------------------------------- grants and options */

static void grants_never_pass_the_budget(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 40 * FIXTURE_MIB, 0);
    struct cistern_slot *second = NULL;
    struct cistern_slot_options options = {.limit_bytes = 17 * FIXTURE_MIB};
    assert_status(cistern_slot_open(f.pool, &options, &second, &f.error), CISTERN_LIMIT);
    assert_int_equal(f.error.bytes_missing, FIXTURE_MIB);
    assert_non_null(strstr(f.error.message, "--managed"));
    options.limit_bytes = 16 * FIXTURE_MIB;
    assert_ok(cistern_slot_open(f.pool, &options, &second, &f.error), f.error);
    struct cistern_slot *third = NULL;
    assert_status(cistern_slot_open(f.pool, &options, &third, &f.error), CISTERN_LIMIT);
    assert_non_null(strstr(f.error.message, "slot_count_max"));
    assert_null(third);
    assert_int_equal(cistern_slot_index(second), 2);
    assert_status(cistern_pool_destroy(f.pool, &f.error), CISTERN_BUSY);
    assert_non_null(strstr(f.error.message, "slot 1"));
    assert_ok(cistern_slot_close(second, &f.error), f.error);
    /* the grant came back */
    assert_ok(cistern_slot_open(f.pool, &options, &second, &f.error), f.error);
    assert_ok(cistern_slot_close(second, &f.error), f.error);
    fixture_close(&f);
}

static void a_slot_with_bytes_does_not_close(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 8 * FIXTURE_MIB, 0);
    assert_int_equal(cistern_component_charge(f.component, 2 * FIXTURE_MIB), CISTERN_OK);
    assert_status(cistern_slot_close(f.slot, &f.error), CISTERN_BUSY);
    assert_non_null(strstr(f.error.message, "component state"));
    assert_non_null(strstr(f.error.message, "2.0 MiB"));
    cistern_component_uncharge(f.component, 2 * FIXTURE_MIB);
    fixture_close(&f);
}

static void the_least_budget_opens_and_less_says_so(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_pool *pool = NULL;
    struct cistern_pool_options options = {.budget_bytes = 4 * FIXTURE_MIB};
    uint64_t least = cistern_pool_budget_min(1, 1);
    assert_status(cistern_pool_create(&options, &pool, &error), CISTERN_INVALID);
    print_message("%s\n", error.message);
    char number[32];
    snprintf(number, sizeof number, "(%llu bytes)", (unsigned long long)least);
    assert_non_null(strstr(error.message, number));
    assert_non_null(strstr(error.message, "4.0 MiB"));
    assert_non_null(strstr(error.message, "--managed"));
    assert_string_equal(error.object, "budget_bytes");
    assert_int_equal(error.bytes_missing, least - 4 * FIXTURE_MIB);
    options.budget_bytes = least - 1;
    assert_status(cistern_pool_create(&options, &pool, &error), CISTERN_INVALID);
    for (int round = 0; round < 2; round++) {
        options.budget_bytes = round == 0 ? least : 32 * FIXTURE_MIB;
        assert_ok(cistern_pool_create(&options, &pool, &error), error);
        struct cistern_slot *slot = NULL;
        assert_ok(cistern_slot_open(pool, NULL, &slot, &error), error);
        assert_true(cistern_slot_limit_bytes(slot) >= 3 * FIXTURE_MIB);
        assert_true(round == 0 || cistern_slot_limit_bytes(slot) >= 22 * FIXTURE_MIB);
        assert_ok(cistern_slot_close(slot, &error), error);
        assert_ok(cistern_pool_destroy(pool, &error), error);
    }
    assert_true(cistern_pool_budget_min(2, 1) > least && cistern_pool_budget_min(1, 2) > least);
    assert_int_equal(cistern_allocation_count(), 0);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    const struct {
        struct cistern_pool_options options;
        uint32_t status;
        const char *object;
    } cases[] = {
        {{.budget_bytes = 64 * FIXTURE_MIB, .page_bytes = 5000}, CISTERN_INVALID, "page_bytes"},
        {{.budget_bytes = 64 * FIXTURE_MIB, .page_bytes = 2048}, CISTERN_INVALID, "page_bytes"},
        {{.budget_bytes = 64 * FIXTURE_MIB, .accounting = 9}, CISTERN_INVALID, "accounting"},
        {{.budget_bytes = 64 * FIXTURE_MIB, .allocator = 9}, CISTERN_INVALID, "allocator"},
        {{.budget_bytes = 64 * FIXTURE_MIB, .huge_pages = 3}, CISTERN_INVALID, "huge_pages"},
        {{.budget_bytes = 64 * FIXTURE_MIB, .slot_count_max = 1u << 30}, CISTERN_INVALID,
            "slot_count_max"},
        {{.budget_bytes = UINT64_MAX}, CISTERN_INVALID, "budget_bytes"},
        {{.budget_bytes = 64 * FIXTURE_MIB, .process_reserve_bytes = 63 * FIXTURE_MIB},
            CISTERN_INVALID, "process_reserve_bytes"},
        {{.budget_bytes = 64 * FIXTURE_MIB, .process_reserve_bytes = UINT64_MAX}, CISTERN_INVALID,
            "process_reserve_bytes"},
        {{.budget_bytes = 64 * FIXTURE_MIB,
             .accounting = CISTERN_ACCOUNTING_OWNED,
             .allocator = CISTERN_ALLOCATOR_OWN},
            CISTERN_UNSUPPORTED, "accounting"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cistern_error error;
        struct cistern_pool *pool = NULL;
        assert_status(cistern_pool_create(&cases[i].options, &pool, &error), cases[i].status);
        assert_string_equal(error.object, cases[i].object);
        assert_null(pool);
    }
    assert_int_equal(cistern_allocation_count(), 0);
}

static void wrong_components_are_named(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 8 * FIXTURE_MIB, 0);
    struct cistern_component *component = NULL;
    struct cistern_component_options options = {
        .name = "a name that is longer than the account allows"};
    assert_status(cistern_component_open(f.slot, &options, &component, &f.error), CISTERN_INVALID);
    options.name = "";
    assert_status(cistern_component_open(f.slot, &options, &component, &f.error), CISTERN_INVALID);
    options = (struct cistern_component_options){.name = "x", .reclaim_class = 3};
    assert_status(cistern_component_open(f.slot, &options, &component, &f.error), CISTERN_INVALID);
    assert_null(component);
    fixture_close(&f);
}

static int64_t stopped_clock(void *arg)
{
    (void)arg;
    return 42;
}

static void the_hosts_callbacks_are_installed(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_pool *pool = NULL;
    struct cistern_host host = {.now_ns = stopped_clock};
    struct cistern_pool_options options = {.budget_bytes = 64 * FIXTURE_MIB, .host = &host};
    assert_ok(cistern_pool_create(&options, &pool, &error), error);
    assert_int_equal(cistern_now_ns(), 42);
    struct cistern_host other = {0};
    struct cistern_pool *second = NULL;
    options.host = &other;
    assert_status(cistern_pool_create(&options, &second, &error), CISTERN_BUSY);
    assert_ok(cistern_pool_destroy(pool, &error), error);
    assert_int_equal(cistern_host_install(NULL), CISTERN_OK);
}

static void every_failed_allocation_leaves_nothing(void **state)
{
    (void)state;
    struct cistern_error error;
    uint64_t nth = 1;
    for (;; nth++) {
        assert_true(nth < 100);
        struct cistern_pool *pool = NULL;
        struct cistern_slot *slot = NULL;
        struct cistern_component *component = NULL;
        struct cistern_pool_options options = {.budget_bytes = 64 * FIXTURE_MIB};
        struct cistern_component_options component_options = {.name = "c"};
        cistern_allocation_fail_at(nth);
        uint32_t status = cistern_pool_create(&options, &pool, &error);
        if (status == CISTERN_OK) {
            status = cistern_slot_open(pool, NULL, &slot, &error);
        }
        if (status == CISTERN_OK) {
            status = cistern_component_open(slot, &component_options, &component, &error);
        }
        int fired = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        cistern_component_close(component);
        if (slot != NULL) {
            assert_ok(cistern_slot_close(slot, &error), error);
        }
        assert_int_equal(cistern_pool_destroy(pool, &error), CISTERN_OK);
        assert_int_equal(cistern_allocation_count(), 0);
        if (!fired) {
            assert_int_equal(status, CISTERN_OK);
            break;
        }
        assert_int_equal(status, CISTERN_NO_MEMORY);
    }
    assert_true(nth > 2);
}

/* Not a limit: printed, so that a regression is seen. The bound only catches a lock or a system
 *              call on the path. */
static void a_charge_is_a_few_nanoseconds(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 8 * FIXTURE_MIB, 0);
    int64_t best = INT64_MAX;
    const int64_t pairs = 200000;
    for (int round = 0; round < 10; round++) {
        int64_t start = cistern_now_ns();
        for (int64_t i = 0; i < pairs; i++) {
            assert_int_equal(cistern_component_charge(f.component, 4096), CISTERN_OK);
            cistern_component_uncharge(f.component, 4096);
        }
        int64_t taken = cistern_now_ns() - start;
        best = taken < best ? taken : best;
    }
    print_message("charge + uncharge: %.1f ns\n", (double)best / (double)pairs);
    assert_true(best / pairs < 2000);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(charge_stops_at_the_limit),
        cmocka_unit_test(debt_is_repaid_first),
        cmocka_unit_test(debt_beyond_its_maximum_is_counted),
        cmocka_unit_test(report_is_absolute),
        cmocka_unit_test(holders_counts_what_does_not_fit),
        cmocka_unit_test(a_description_shows_every_holder),
        cmocka_unit_test(one_slots_refusals_never_reach_another),
        cmocka_unit_test(eight_threads_sum_to_zero),
        cmocka_unit_test(grants_never_pass_the_budget),
        cmocka_unit_test(a_slot_with_bytes_does_not_close),
        cmocka_unit_test(the_least_budget_opens_and_less_says_so),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(wrong_components_are_named),
        cmocka_unit_test(the_hosts_callbacks_are_installed),
        cmocka_unit_test(every_failed_allocation_leaves_nothing),
        cmocka_unit_test(a_charge_is_a_few_nanoseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
