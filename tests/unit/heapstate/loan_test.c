/* loan_test.c -- what a heap's slot lent to another's cache is the heap's again when it needs
 * it: no put is refused for it, nor does the cleaner work harder because of it. */
#include "support.h"
#include "support/soft_cache.h"

#include "cistern/alloc.h"
#include "cistern/heap.h"

#define MIB (UINT64_C(1) << 20)
#define SLOT_BYTES (32 * MIB)

struct two_slots {
    struct cistern_pool *pool;
    struct cistern_slot *slots[2];
    struct cistern_backend *heap; /* in slot 0 */
    struct cistern_state *state;
    struct soft_cache cache; /* in slot 1 */
};

static void open_both(struct two_slots *two)
{
    struct cistern_error error;
    struct cistern_pool_options options = {.budget_bytes = 8 * MIB + 2 * SLOT_BYTES,
        .process_reserve_bytes = 8 * MIB,
        .slot_count_max = 2};
    struct cistern_heap_options heap = {.backend = {.max_parallelism = TEST_MAX_PARALLELISM,
                                            .range = {0, TEST_MAX_PARALLELISM - 1}}};
    struct cistern_state_descriptor descriptor = {.name = "s", .kind = CISTERN_VALUE};
    assert_ok(cistern_pool_create(&options, &two->pool, &error), error);
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(cistern_slot_open(two->pool, NULL, &two->slots[i], &error), error);
    }
    assert_ok(cistern_heap_open(two->slots[0], &heap, &two->heap, &error), error);
    assert_ok(cistern_state_register(two->heap, &descriptor, &two->state, &error), error);
    soft_open(&two->cache, two->slots[1]);
}

static void close_both(struct two_slots *two)
{
    struct cistern_error error;
    assert_ok(cistern_backend_close(two->heap, &error), error);
    soft_close(&two->cache);
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(cistern_slot_close(two->slots[i], &error), error);
    }
    assert_ok(cistern_pool_destroy(two->pool, &error), error);
    assert_int_equal(cistern_allocation_count(), 0);
}

/* More than both slots hold: in the end the cache evicts itself. */
static void borrow_all(struct two_slots *two)
{
    for (uint64_t i = 0; i < 2 * SLOT_BYTES / MIB; i++) {
        (void)soft_fill(&two->cache, MIB);
    }
}

static uint32_t put_one(struct two_slots *two, uint32_t number, uint32_t bytes, uint32_t seed)
{
    uint8_t value[TEST_VALUE_BYTES_MAX];
    struct test_key key;
    struct cistern_error error;
    test_key_make(&key, number);
    test_value_fill(value, bytes, number, seed);
    return cistern_value_put(two->state, &key.address, (struct cistern_span){value, bytes}, &error);
}

static void puts_take_back_what_was_lent(void **state)
{
    (void)state;
    struct two_slots two = {0};
    open_both(&two);
    borrow_all(&two);
    assert_true(cistern_slot_lent_bytes(two.slots[0]) > SLOT_BYTES / 2);
    uint32_t count = 0;
    while (put_one(&two, count, 400, 1) == CISTERN_OK) {
        count++;
    }
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(two.heap, &statistics);
    assert_int_equal(cistern_slot_lent_bytes(two.slots[0]), 0);
    assert_true(statistics.live_bytes + statistics.index_bytes >
                cistern_slot_share_bytes(two.slots[0]) / 100 * 90);
    close_both(&two);
}

static void overwrites_with_other_sizes_take_back_before_they_clean(void **state)
{
    (void)state;
    struct two_slots two = {0};
    open_both(&two);
    for (uint32_t i = 0; i < 10000; i++) { /* 4 of 31 MiB */
        assert_int_equal(put_one(&two, i, 400, 1), CISTERN_OK);
    }
    borrow_all(&two);
    for (uint32_t i = 0; i < 20000; i++) { /* 8 more of dead ones fit beside them */
        assert_int_equal(put_one(&two, i % 10000, 380 + i % 40, i), CISTERN_OK);
    }
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(two.heap, &statistics);
    assert_int_equal(statistics.cleaned_bytes, 0);
    close_both(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_take_back_what_was_lent),
        cmocka_unit_test(overwrites_with_other_sizes_take_back_before_they_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
