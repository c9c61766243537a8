/* sorter_test.c -- the sorter equals qsort over the same pairs: in memory, over runs, over
 * several merge passes, within its charge. */
#include "test.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "sorter_private.h"

#include <string.h>

struct pairs { /* the model */
    struct pair *list;
    uint64_t count;
    uint64_t at; /* emitted so far */
};
struct fixture {
    struct cistern_pool *pool;
    struct cistern_component *component;
};

static int setup(void **state)
{
    static struct fixture fixture;
    struct cistern_error error;
    struct cistern_pool_options options = {.budget_bytes = 64 << 20};
    struct cistern_component_options component = {
        .name = "sort", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_pool_create(&options, &fixture.pool, &error), error);
    assert_ok(cistern_component_open(
                  cistern_pool_process_slot(fixture.pool), &component, &fixture.component, &error),
        error);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_error error;
    cistern_component_close(fixture->component);
    assert_ok(cistern_pool_destroy(fixture->pool, &error), error);
    return 0;
}

static int pair_order(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int order = pair_compare(x->word, y->word);
    return order != 0 ? order : (x->count > y->count) - (x->count < y->count);
}

static uint32_t compare_emit(
    void *arg, struct cistern_span word, uint64_t count, struct cistern_error *error)
{
    struct pairs *pairs = arg;
    (void)error;
    assert_true(pairs->at < pairs->count);
    const struct pair *expected = &pairs->list[pairs->at++];
    assert_int_equal(word.bytes, expected->word.bytes);
    assert_memory_equal(word.data, expected->word.data, word.bytes);
    assert_int_equal(count, expected->count);
    return CISTERN_OK;
}

/* Unique words, as a state's keys are; some of the largest size. */
static struct pairs pairs_make(uint64_t count, uint64_t large_each, uint64_t *seed)
{
    struct pairs pairs = {.list = malloc((count + 1) * sizeof *pairs.list), .count = count};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t bytes = 8 + test_random(seed) % 24;
        if (large_each != 0 && i % large_each == 0) {
            bytes = SORTER_WORD_BYTES_MAX - test_random(seed) % 8;
        }
        uint8_t *word = malloc(bytes);
        memset(word, (int)(test_random(seed) % 3), bytes); /* long common prefixes, NUL bytes too */
        uint64_t tail = (i * 0x9E3779B97F4A7C15ULL) ^ (i << 20);
        memcpy(word + bytes - 8, &tail, 8);
        pairs.list[i] = (struct pair){.word = {word, bytes}, .count = test_random(seed)};
    }
    return pairs;
}

static void pairs_free(struct pairs *pairs)
{
    for (uint64_t i = 0; i < pairs->count; i++) {
        free((void *)(uintptr_t)pairs->list[i].word.data);
    }
    free(pairs->list);
}

static void sort_and_compare(
    struct fixture *fixture, struct pairs *pairs, uint64_t memory_bytes, uint64_t runs_min)
{
    struct cistern_error error;
    struct sorter *sorter = NULL;
    struct sorter_options options = {
        .component = fixture->component, .directory = "/tmp", .memory_bytes = memory_bytes};
    assert_ok(sorter_create(&options, &sorter, &error), error);
    uint64_t used = cistern_slot_used_bytes(cistern_pool_process_slot(fixture->pool));
    for (uint64_t i = 0; i < pairs->count; i++) {
        assert_ok(sorter_add(sorter, pairs->list[i].word, pairs->list[i].count, &error), error);
    }
    qsort(pairs->list, pairs->count, sizeof *pairs->list, pair_order);
    assert_ok(sorter_finish(sorter, compare_emit, pairs, &error), error);
    assert_int_equal(pairs->at, pairs->count);
    assert_int_equal(cistern_slot_used_bytes(cistern_pool_process_slot(fixture->pool)), used);
    assert_true(sorter_run_count(sorter) >= runs_min);
    sorter_destroy(sorter);
}

static void sorts(struct fixture *fixture, uint64_t count, uint64_t large_each,
    uint64_t memory_bytes, uint64_t runs_min)
{
    uint64_t seed = test_seed("tools_sorter_test", 7 + count) | 1;
    struct pairs pairs = pairs_make(count, large_each, &seed);
    sort_and_compare(fixture, &pairs, memory_bytes, runs_min);
    pairs_free(&pairs);
}

static void nothing_sorts_to_nothing(void **state)
{
    sorts(*state, 0, 0, SORTER_MEMORY_BYTES_MIN, 0);
    sorts(*state, 1, 0, 0, 0);
}

static void memory_is_enough(void **state)
{
    sorts(*state, 5000, 0, SORTER_MEMORY_BYTES_MIN, 0);
}

static void runs_are_merged(void **state)
{
    sorts(*state, 60000, 0, 1 << 20, 3);
}

static void many_passes(void **state)
{
    /* 512 KiB merge 6 runs at a time: dozens of runs need more than one pass. */
    sorts(*state, 300000, 0, SORTER_MEMORY_BYTES_MIN, 30);
}

static void largest_words(void **state)
{
    sorts(*state, 3000, 10, SORTER_MEMORY_BYTES_MIN, 40);
}

static void ordered_input_is_no_trap(void **state)
{
    uint64_t seed = 3;
    struct pairs pairs = pairs_make(20000, 0, &seed);
    qsort(pairs.list, pairs.count, sizeof *pairs.list, pair_order);
    sort_and_compare(*state, &pairs, 2 << 20, 0);
    pairs_free(&pairs);
}

static uint32_t stop_emit(
    void *arg, struct cistern_span word, uint64_t count, struct cistern_error *error)
{
    (void)word;
    (void)count;
    return ++*(uint32_t *)arg == 10 ? cistern_fail(error, CISTERN_NO_SPACE, "x", "enough")
                                    : CISTERN_OK;
}

static void emit_may_stop(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_error error;
    struct sorter *sorter = NULL;
    struct sorter_options options = {
        .component = fixture->component, .directory = "/tmp", .memory_bytes = 1 << 20};
    uint64_t seed = 5;
    struct pairs pairs = pairs_make(60000, 0, &seed);
    assert_ok(sorter_create(&options, &sorter, &error), error);
    for (uint64_t i = 0; i < pairs.count; i++) {
        assert_ok(sorter_add(sorter, pairs.list[i].word, 1, &error), error);
    }
    uint32_t emitted = 0;
    assert_status(sorter_finish(sorter, stop_emit, &emitted, &error), CISTERN_NO_SPACE);
    assert_int_equal(emitted, 10);
    sorter_destroy(sorter);
    pairs_free(&pairs);
}

static void missing_directory_is_named(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_error error;
    struct sorter *sorter = NULL;
    struct sorter_options options = {.component = fixture->component,
        .directory = "/nonexistent",
        .memory_bytes = SORTER_MEMORY_BYTES_MIN};
    assert_ok(sorter_create(&options, &sorter, &error), error);
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < 100000 && status == CISTERN_OK; i++) {
        status = sorter_add(sorter, (struct cistern_span){&i, sizeof i}, 1, &error);
    }
    assert_int_equal(status, CISTERN_NOT_FOUND);
    assert_string_equal(error.object, "/nonexistent");
    sorter_destroy(sorter);
}

static void failed_allocation_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct sorter_options options = {.component = fixture->component,
        .directory = "/tmp",
        .memory_bytes = SORTER_MEMORY_BYTES_MIN};
    uint64_t held = cistern_allocation_count();
    for (uint64_t nth = 1;; nth++) {
        struct cistern_error error;
        struct sorter *sorter = NULL;
        uint32_t emitted = 100;
        cistern_allocation_fail_at(nth);
        uint32_t status = sorter_create(&options, &sorter, &error);
        for (uint32_t i = 0; i < 40000 && status == CISTERN_OK; i++) {
            status = sorter_add(sorter, (struct cistern_span){&i, sizeof i}, 1, &error);
        }
        if (status == CISTERN_OK) {
            status = sorter_finish(sorter, stop_emit, &emitted, &error);
        }
        int failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        sorter_destroy(sorter);
        assert_int_equal(status, failed ? CISTERN_NO_MEMORY : CISTERN_OK);
        assert_int_equal(cistern_allocation_count(), held);
        if (!failed) {
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_sorts_to_nothing),
        cmocka_unit_test(memory_is_enough),
        cmocka_unit_test(runs_are_merged),
        cmocka_unit_test(many_passes),
        cmocka_unit_test(largest_words),
        cmocka_unit_test(ordered_input_is_no_trap),
        cmocka_unit_test(emit_may_stop),
        cmocka_unit_test(missing_directory_is_named),
        cmocka_unit_test(failed_allocation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
