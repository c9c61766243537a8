/* cycle_test.c -- a job takes checkpoints on a simulated disk while one allocation, one operation
 * or the power fails, at every place where it can. */
#include "cycle.h"

#include "frame_private.h"
#include "io_private.h"

#include "cistern/alloc.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Sanitizers make a cycle ten times as long: they look at a part of the places, each run at
 * others. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SWEEP_STEP 16u
#else
#define SWEEP_STEP 1u
#endif
#define STEPS_MAX 20000u /* of a sweep: more means that it does not end */

/* A job that something happened to goes on where it is; or dies and starts anew; or both, and then
 * every byte of the root is read, too. Takes turns by `turn`: each costs a cycle. */
static void recover(struct cycle *cycle, uint32_t opened, uint64_t turn)
{
    int goes_on = opened == CISTERN_OK && turn % 3 != 0;
    int starts_anew = turn % 3 != 1 || !goes_on;
    if (goes_on) {
        cycle_check(cycle);
        assert_ok(cycle_story(cycle), cycle->error);
    }
    cycle_close(cycle);
    if (starts_anew) {
        assert_ok(cycle_open(cycle), cycle->error);
        cycle_check(cycle);
        assert_ok(cycle_story(cycle), cycle->error);
        if (turn % 3 == 2) {
            cycle_check(cycle);
            cycle_check_root(cycle);
        }
        cycle_close(cycle);
    }
}

static void test_nothing_fails(void **state)
{
    (void)state;
    struct cycle cycle;
    uint64_t held = cistern_allocation_count();
    cycle_init(&cycle, test_seed("fault_cycle_test", 1));
    uint32_t opened = cycle_open(&cycle);
    assert_ok(opened, cycle.error);
    assert_ok(cycle_story(&cycle), cycle.error);
    assert_int_equal(cycle.confirmed, 2);
    assert_int_equal(cycle_newest(&cycle, FATE_PUBLISHED), 2);
    assert_int_equal(cycle_newest(&cycle, FATE_RETIRED), 1);
    recover(&cycle, opened, 2);
    cycle_deinit(&cycle);
    assert_int_equal(cistern_allocation_count(), held);
}

static uint64_t sweep_first(void)
{
    return SWEEP_STEP == 1 ? 1 : 1 + (uint64_t)time(NULL) % SWEEP_STEP;
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    uint64_t held = cistern_allocation_count();
    uint32_t failures = 0;
    uint32_t fired = 1;
    for (uint64_t nth = sweep_first(); fired; nth += SWEEP_STEP) {
        struct cycle cycle;
        assert_true(nth < STEPS_MAX);
        cycle_init(&cycle, nth);
        cistern_allocation_fail_at(nth);
        uint32_t opened = cycle_open(&cycle);
        uint32_t status = opened == CISTERN_OK ? cycle_story(&cycle) : opened;
        fired = cistern_allocation_failed() != 0;
        cistern_allocation_fail_at(0);
        if (status != CISTERN_OK && (!fired || status != CISTERN_NO_MEMORY)) {
            print_error("allocation %llu: %s: %s\n", (unsigned long long)nth,
                cistern_status_name(status), cycle.error.message);
            fail();
        }
        failures += status != CISTERN_OK;
        recover(&cycle, opened, nth);
        cycle_deinit(&cycle);
        assert_int_equal(cistern_allocation_count(), held);
    }
    print_message("%u allocations failed the cycle\n", failures);
    assert_true(failures > 100 / SWEEP_STEP);
}

/* Closing belongs to what may fail. */
static void fail_every_operation(int32_t os_errno, uint32_t expected)
{
    uint64_t held = cistern_allocation_count();
    uint32_t failures = 0;
    uint64_t operations = 0;
    uint64_t used = SWEEP_STEP;
    for (uint64_t nth = sweep_first(); nth <= used; nth += SWEEP_STEP) {
        struct cycle cycle;
        assert_true(nth < STEPS_MAX);
        cycle_init(&cycle, nth);
        sim_disk_fail_at(cycle.disk, nth, os_errno);
        uint32_t opened = cycle_open(&cycle);
        uint32_t status = opened == CISTERN_OK ? cycle_story(&cycle) : opened;
        /* a run that the failure ended short has not seen the last operation */
        used = sim_disk_operation_count(cycle.disk) < nth ? 0 : nth + SWEEP_STEP;
        sim_disk_fail_at(cycle.disk, 0, 0);
        if (status != CISTERN_OK && status != expected) {
            print_error("operation %llu: %s: %s\n", (unsigned long long)nth,
                cistern_status_name(status), cycle.error.message);
            fail();
        }
        failures += status != CISTERN_OK;
        recover(&cycle, opened, nth);
        cycle_deinit(&cycle);
        assert_int_equal(cistern_allocation_count(), held);
        operations = nth;
    }
    print_message(
        "%u of %llu operations failed the cycle\n", failures, (unsigned long long)operations - 1);
    assert_true(failures > 100 / SWEEP_STEP);
}

static void test_every_operation_fails_with_eio(void **state)
{
    (void)state;
    fail_every_operation(EIO, CISTERN_IO);
}

static void test_every_operation_fails_with_enospc(void **state)
{
    (void)state;
    fail_every_operation(ENOSPC, CISTERN_NO_SPACE);
}

/* The lights go out at the n-th operation; what was not synced survives or not. */
static void power_cut_at(uint64_t nth, uint64_t seed, uint64_t round, uint32_t *ret_reached_end)
{
    struct cycle cycle;
    uint64_t held = cistern_allocation_count();
    cycle_init(&cycle, seed);
    sim_disk_halt_at(cycle.disk, nth);
    uint32_t status = cycle_open(&cycle);
    if (status == CISTERN_OK) {
        status = cycle_story(&cycle);
    }
    *ret_reached_end = sim_disk_operation_count(cycle.disk) < nth;
    cycle_close(&cycle);
    sim_disk_power_cut(cycle.disk, seed ^ nth);
    if (round == 0) {
        recover(&cycle, CISTERN_CLOSED, 2 * nth);
    } else {
        assert_ok(cycle_open(&cycle), cycle.error);
        cycle_check(&cycle);
        cycle_close(&cycle);
    }
    cycle_deinit(&cycle);
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_power_cut_after_every_operation(void **state)
{
    (void)state;
    uint64_t seed = test_seed("fault_cycle_test", 7);
    uint32_t reached_end = 0;
    uint64_t nth = sweep_first();
    for (; !reached_end; nth += SWEEP_STEP) {
        assert_true(nth < STEPS_MAX);
        for (uint64_t round = 0; round < 3; round++) {
            power_cut_at(nth, seed + 1000 * round, round, &reached_end);
        }
    }
    print_message(
        "power was cut at each of %llu operations\n", (unsigned long long)(nth / SWEEP_STEP) - 1);
    assert_true(nth > 100);
}

int main(void)
{
    frame_use_allocator();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_fails),
        cmocka_unit_test(test_every_allocation_fails_once),
        cmocka_unit_test(test_every_operation_fails_with_eio),
        cmocka_unit_test(test_every_operation_fails_with_enospc),
        cmocka_unit_test(test_power_cut_after_every_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
