/*
 * suite.c -- runs the cases of the semantic suite on the backend that SEMANTICS_BACKEND names.
 *
 * A case whose kinds the backend does not hold is not run, and is not passed over in silence: the
 * kind must be refused as UNSUPPORTED, so that the day the backend holds it this program fails
 * until the backend's file here says so. CISTERN_CASE=name runs one case.
 */
#include "semantics/world.h"

#include "cistern/alloc.h"

#include <string.h>

static const struct semantics_case *const tables[] = {value_cases, list_cases, map_cases,
    namespace_cases, timer_cases, ttl_cases, snapshot_cases, evolution_cases};
#define TABLE_COUNT (sizeof tables / sizeof tables[0])
#define CASE_COUNT_MAX 256u

static const struct semantics_backend *const semantics = &SEMANTICS_BACKEND;

struct run { /* one case on its way */
    const struct semantics_case *semantics_case;
    struct world world;
    uint64_t held;
};

static int run_open(void **state)
{
    struct run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    run->semantics_case = *state;
    run->held = cistern_allocation_count();
    world_open(&run->world, semantics);
    *state = run;
    return 0;
}

static int run_close(void **state)
{
    struct run *run = *state;
    world_close(&run->world);
    assert_int_equal(cistern_allocation_count(), run->held);
    free(run);
    return 0;
}

static void run_case(void **state)
{
    struct run *run = *state;
    run->semantics_case->run(&run->world);
}

static void other_kinds_are_refused(void **unused)
{
    (void)unused;
    struct world world;
    world_open(&world, semantics);
    for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
        struct cistern_error error = {0};
        struct cistern_state *state = NULL;
        struct cistern_state_descriptor descriptor = descriptor_of(kind);
        if ((semantics->kinds & KIND_BIT(kind)) != 0) {
            descriptor.ttl = (struct cistern_ttl){.time_to_live_ms = 5, .event_time = 1};
            if ((semantics->kinds & EVENT_TIME) != 0 || kind == CISTERN_TIMERS) {
                continue;
            }
        }
        uint32_t status = cistern_state_register(world.backend, &descriptor, &state, &error);
        if (status != CISTERN_UNSUPPORTED) {
            print_error("%s holds %s%s now: its cases are to be run\n", semantics->name,
                cistern_state_kind_name(kind),
                descriptor.ttl.event_time ? " with TTL on event time" : "");
        }
        assert_status(status, CISTERN_UNSUPPORTED);
    }
    if ((semantics->kinds & KEYS) == 0) {
        struct cistern_state *state = state_of(world.backend, CISTERN_VALUE);
        struct cistern_cursor *cursor;
        struct cistern_error error;
        uint32_t status = cistern_keys_open(state, ABSENT, &cursor, &error);
        if (status != CISTERN_UNSUPPORTED) {
            print_error("%s lists keys now: its cases are to be run\n", semantics->name);
        }
        assert_status(status, CISTERN_UNSUPPORTED);
    }
    world_close(&world);
}

int main(void)
{
    static struct CMUnitTest tests[CASE_COUNT_MAX];
    static uint32_t left_out_count;
    const char *only = getenv("CISTERN_CASE");
    size_t count = 0;
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(other_kinds_are_refused);
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        for (const struct semantics_case *one = tables[i]; one->name != NULL; one++) {
            if (only != NULL && strcmp(only, one->name) != 0) {
                continue;
            }
            if ((one->kinds & ~semantics->kinds) != 0) {
                print_message("not held by %s: %s\n", semantics->name, one->name);
                left_out_count++;
                continue;
            }
            assert_true(count < CASE_COUNT_MAX);
            tests[count++] =
                (struct CMUnitTest){one->name, run_case, run_open, run_close, (void *)one};
        }
    }
    print_message("%s: %zu cases, %u not held\n", semantics->name, count, left_out_count);
    return _cmocka_run_group_tests(semantics->name, tests, count, world_clock_install, NULL);
}
