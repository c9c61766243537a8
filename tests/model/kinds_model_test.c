/*
 * kinds_model_test.c -- random operations of every kind against arrays: batches, merges, dropped
 * namespaces, TTL, cursors that stay open, snapshots, restores, refusals.
 *
 * Each round is a run of its own with a seed of its own; a failing one prints the seed and the last
 * operations. CISTERN_SEED and CISTERN_ROUNDS as everywhere; CISTERN_STEPS: operations per round.
 */
#include "model/kinds_run.h"

#include "cistern/alloc.h"

#include <string.h>

#define STEPS_PER_ROUND 3000u
#define STEPS_PER_COMPARISON 250u
#define TTL_MS 500
#define START_MS 1000000

static const struct semantics_backend *const semantics = &SEMANTICS_BACKEND;
static struct kinds_run run;

static void slots_open(uint64_t first_bytes)
{
    struct cistern_error error;
    struct cistern_pool_options options = {.budget_bytes = 160 << 20, .slot_count_max = 2};
    struct cistern_slot_options slot = {.limit_bytes = first_bytes};
    assert_ok(cistern_pool_create(&options, &run.pool, &error), error);
    assert_ok(cistern_slot_open(run.pool, &slot, &run.slots[0], &error), error);
    slot.limit_bytes = 64 << 20;
    assert_ok(cistern_slot_open(run.pool, &slot, &run.slots[1], &error), error);
}

static void run_open(uint64_t seed)
{
    memset(&run, 0, sizeof run);
    run.semantics = semantics;
    run.random = (seed + 1) * 0x9E3779B97F4A7C15u | 1; /* neighbours have nothing in common */
    int is_heap = strcmp(semantics->name, "heap") == 0;
    run.is_tiny = is_heap && run_pick(&run, 3) == 0;
    run.fails_allocations = strcmp(semantics->name, "rocks") != 0 && run_pick(&run, 2);
    world_hash_seed = test_random(&run.random) >> 1 | 1;
    kinds_model_init(&run.model);
    for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
        if (run_pick(&run, 2)) {
            run.ttl[kind].time_to_live_ms = run.model.ttl_ms[kind] = TTL_MS;
            int is_renewed = kind == CISTERN_VALUE || kind == CISTERN_LIST;
            /* where reading writes, a full slot answers LIMIT to reads: not in tiny ones */
            run.ttl[kind].update_on_read = is_renewed && !run.is_tiny && run_pick(&run, 3) == 0;
        }
    }
    run.now_ms = START_MS;
    world_clock_set(run.now_ms);
    slots_open(run.is_tiny ? (3 + run_pick(&run, 2)) << 19 : 64 << 20);
    run.backend = semantics->open(run.slots[0], all_groups);
    run_states(&run, run.backend, run.states);
}

static void run_close(void)
{
    struct cistern_error error;
    cursors_close_all(&run);
    snapshot_give_up(&run);
    capture_free(run.base);
    close_backend(run.backend);
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(cistern_slot_close(run.slots[i], &error), error);
    }
    assert_ok(cistern_pool_destroy(run.pool, &error), error);
}

static char config[200];

static int log_print(void **state)
{
    (void)state;
    if (!run.is_done) {
        uint32_t from = run.log_count > LOG_LINES ? run.log_count - LOG_LINES : 0;
        for (uint32_t i = from; i < run.log_count; i++) {
            print_error("%s\n", run.log[i % LOG_LINES]);
        }
        print_error("%s\n", config);
    }
    return 0;
}

static void print_config(uint64_t seed)
{
    int used = snprintf(config, sizeof config,
        "CISTERN_SEED=%llu CISTERN_ROUNDS=1: tiny %u, failing allocations %u, TTL of",
        (unsigned long long)seed, run.is_tiny, run.fails_allocations);
    for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
        if (run.ttl[kind].time_to_live_ms != 0) {
            used += snprintf(config + used, sizeof config - (size_t)used, " %s%s",
                cistern_state_kind_name(kind),
                run.ttl[kind].update_on_read ? " (renewed by reading)" : "");
        }
    }
}

static void test_everything(void **state)
{
    (void)state;
    uint64_t seed = test_seed("model_kinds_test", 20261123);
    const char *text = getenv("CISTERN_STEPS");
    uint32_t steps = text != NULL ? (uint32_t)strtoul(text, NULL, 10) : STEPS_PER_ROUND;
    uint32_t limits = 0;
    uint32_t no_memories = 0;
    uint32_t aborts = 0;
    uint32_t restores = 0;
    for (uint64_t round = 0; round < test_rounds(KINDS_ROUNDS); round++) {
        uint64_t held = cistern_allocation_count();
        run_open(seed + round);
        print_config(seed + round);
        for (run.step = 1; run.step <= steps; run.step++) {
            run_operation(&run);
            if (run.step % STEPS_PER_COMPARISON == 0) {
                run_log(&run, "compare");
                run_compare(&run, run.backend, &run.model, all_groups);
            }
        }
        run_close();
        run.is_done = 1;
        limits += run.limits;
        no_memories += run.no_memories;
        aborts += run.aborts;
        restores += run.restores;
        assert_int_equal(cistern_allocation_count(), held);
    }
    print_message("%s: %u answers LIMIT, %u NO_MEMORY, %u snapshots given up, %u restores\n",
        semantics->name, limits, no_memories, aborts, restores);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(test_everything, log_print)};
    return cmocka_run_group_tests(tests, world_clock_install, NULL);
}
