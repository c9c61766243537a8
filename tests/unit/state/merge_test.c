/* merge_test.c -- namespaces of a key brought into one: accumulators combined, refusals without a
 * trace. */
#include "kinds_fixture.h"

#include "cistern/endian.h"

static const struct cistern_span sources[] = {{"a", 1}, {"b", 1}, {"c", 1}, {"none", 4}};

static uint32_t merge(struct kinds_fixture *f, struct cistern_state *state, const char *place)
{
    struct cistern_address target = kinds_at(place);
    return cistern_state_merge(state, &target, sources, 4, &f->error);
}

static void fill(struct kinds_fixture *f)
{
    kinds_put(f, CISTERN_REDUCING, "k@t", "T");
    kinds_put(f, CISTERN_REDUCING, "k@a", "A");
    kinds_put(f, CISTERN_REDUCING, "k@b", "B");
    kinds_put(f, CISTERN_REDUCING, "k@c", "C");
    kinds_put(f, CISTERN_REDUCING, "other@a", "O");
}

static void test_order(void **state)
{
    struct kinds_fixture *f = *state;
    fill(f);
    assert_ok(merge(f, f->states[CISTERN_REDUCING], "k@t"), f->error);
    kinds_expect(f, CISTERN_REDUCING, "k@t", "T,A,B,C");
    kinds_expect(f, CISTERN_REDUCING, "k@a", NULL);
    kinds_expect(f, CISTERN_REDUCING, "k@b", NULL);
    kinds_expect(f, CISTERN_REDUCING, "k@c", NULL);
    kinds_expect(f, CISTERN_REDUCING, "other@a", "O");
}

static void test_target_is_new_or_among_the_sources(void **state)
{
    struct kinds_fixture *f = *state;
    fill(f);
    assert_ok(merge(f, f->states[CISTERN_REDUCING], "k"), f->error); /* the void namespace */
    kinds_expect(f, CISTERN_REDUCING, "k", "A,B,C");
    kinds_expect(f, CISTERN_REDUCING, "k@t", "T");
    fill(f);
    assert_ok(merge(f, f->states[CISTERN_REDUCING], "k@b"), f->error);
    kinds_expect(f, CISTERN_REDUCING, "k@b", "B,A,C");
    kinds_expect(f, CISTERN_REDUCING, "k@a", NULL);
    /* Nothing anywhere: nothing comes to be. */
    assert_ok(merge(f, f->states[CISTERN_REDUCING], "nobody@t"), f->error);
    kinds_expect(f, CISTERN_REDUCING, "nobody@t", NULL);
}

/* A namespace that is named twice holds nothing the second time. */
static void test_source_twice(void **state)
{
    struct kinds_fixture *f = *state;
    const struct cistern_span twice[] = {{"a", 1}, {"b", 1}, {"a", 1}};
    struct cistern_address target = kinds_at("k@t");
    fill(f);
    assert_ok(
        cistern_state_merge(f->states[CISTERN_REDUCING], &target, twice, 3, &f->error), f->error);
    kinds_expect(f, CISTERN_REDUCING, "k@t", "T,A,B");
}

static void test_empty_accumulator_is_one(void **state)
{
    struct kinds_fixture *f = *state;
    kinds_put(f, CISTERN_REDUCING, "k@a", "");
    kinds_put(f, CISTERN_REDUCING, "k@c", "");
    assert_ok(merge(f, f->states[CISTERN_REDUCING], "k@"), f->error);
    kinds_expect(f, CISTERN_REDUCING, "k@", ",");
    kinds_expect(f, CISTERN_REDUCING, "k", NULL);
}

/* Counts in its accumulator of 8 bytes; two of them add up. */
static uint64_t count_input(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    (void)arg;
    uint64_t count = old_value.data != NULL ? cistern_get_u64_be(old_value.data) : 0;
    if (result.capacity_bytes >= 8) {
        cistern_put_u64_be(result.data, count + input.bytes);
    }
    return 8;
}

static uint64_t count_merge(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    ++*(uint32_t *)arg;
    if (result.capacity_bytes >= 8) {
        cistern_put_u64_be(
            result.data, cistern_get_u64_be(old_value.data) + cistern_get_u64_be(input.data));
    }
    return 8;
}

static void test_merge_function(void **state)
{
    struct kinds_fixture *f = *state;
    uint32_t merges = 0;
    struct cistern_state_descriptor descriptor = {.name = "counts",
        .kind = CISTERN_AGGREGATING,
        .value_bytes = 8,
        .reduce_fn = count_input,
        .reduce_arg = &merges,
        .merge_fn = count_merge};
    struct cistern_state *counts;
    assert_ok(cistern_state_register(f->backend, &descriptor, &counts, &f->error), f->error);
    for (uint32_t i = 0; i < 3; i++) {
        struct cistern_address address = {
            .key = {"k", 1}, .name_space = sources[i], .key_group = 10};
        assert_ok(cistern_value_add(counts, &address, SPAN("12345"), &f->error), f->error);
        assert_ok(cistern_value_add(counts, &address, SPAN("67"), &f->error), f->error);
    }
    assert_int_equal(merges, 0);
    assert_ok(merge(f, counts, "k@t"), f->error);
    assert_int_equal(merges, 2);
    struct cistern_address target = kinds_at("k@t");
    struct cistern_span value;
    assert_ok(cistern_value_get(counts, &target, &value, &f->error), f->error);
    assert_int_equal(cistern_get_u64_be(value.data), 21);
}

/* A function whose result has another size than the descriptor says never reaches the backend. */
static uint64_t nine_bytes(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    (void)arg;
    (void)old_value;
    (void)input;
    if (result.capacity_bytes >= 9) {
        memcpy(result.data, "ninebytes", 9);
    }
    return 9;
}

static void test_result_of_a_wrong_size(void **state)
{
    struct kinds_fixture *f = *state;
    struct cistern_state_descriptor descriptor = {
        .name = "eight", .kind = CISTERN_AGGREGATING, .value_bytes = 8, .reduce_fn = nine_bytes};
    struct cistern_state *eight;
    assert_ok(cistern_state_register(f->backend, &descriptor, &eight, &f->error), f->error);
    for (uint32_t i = 0; i < 2; i++) {
        struct cistern_address address = {
            .key = {"k", 1}, .name_space = sources[i], .key_group = 10};
        assert_ok(cistern_value_put(eight, &address, SPAN("12345678"), &f->error), f->error);
    }
    assert_status(merge(f, eight, "k@t"), CISTERN_INVALID);
    assert_non_null(strstr(f->error.message, "9 bytes"));
    struct cistern_address target = kinds_at("k@t");
    struct cistern_address source = kinds_at("k@a");
    struct cistern_span value;
    assert_status(cistern_value_get(eight, &target, &value, &f->error), CISTERN_NOT_FOUND);
    assert_ok(cistern_value_get(eight, &source, &value, &f->error), f->error);
}

static void test_results_as_inputs(void **state)
{
    struct kinds_fixture *f = *state;
    fill(f);
    kinds_put(f, CISTERN_VALUE, "names", "a");
    struct cistern_address names = kinds_at("names");
    struct cistern_address target = kinds_at("k@t");
    struct cistern_span name_space;
    assert_ok(
        cistern_value_get(f->states[CISTERN_VALUE], &names, &name_space, &f->error), f->error);
    target.key_group = 10;
    assert_ok(cistern_state_merge(f->states[CISTERN_REDUCING], &target, &name_space, 1, &f->error),
        f->error);
    kinds_expect(f, CISTERN_REDUCING, "k@t", "T,A");
    kinds_expect(f, CISTERN_REDUCING, "k@a", NULL);
    kinds_expect(f, CISTERN_REDUCING, "k@b", "B");
}

static void expect_as_filled(struct kinds_fixture *f)
{
    kinds_expect(f, CISTERN_REDUCING, "k@t", "T");
    kinds_expect(f, CISTERN_REDUCING, "k@a", "A");
    kinds_expect(f, CISTERN_REDUCING, "k@b", "B");
    kinds_expect(f, CISTERN_REDUCING, "k@c", "C");
}

static void test_limit_leaves_all(void **state)
{
    struct kinds_fixture *f = *state;
    fill(f);
    f->table->write_fails_at = 1;
    assert_status(merge(f, f->states[CISTERN_REDUCING], "k@t"), CISTERN_LIMIT);
    expect_as_filled(f);
    f->table->row_count_max = f->table->row_count; /* a target that would be new */
    assert_status(merge(f, f->states[CISTERN_REDUCING], "k@new"), CISTERN_LIMIT);
    expect_as_filled(f);
    kinds_expect(f, CISTERN_REDUCING, "k@new", NULL);
    f->table->row_count_max = UINT64_MAX;
    assert_ok(merge(f, f->states[CISTERN_REDUCING], "k@t"), f->error);
    kinds_expect(f, CISTERN_REDUCING, "k@t", "T,A,B,C");
}

static void test_allocations(void **state)
{
    struct kinds_fixture *f = *state;
    fill(f);
    uint64_t held = cistern_allocation_count();
    int failed = 1;
    for (uint64_t nth = 1; failed; nth++) {
        cistern_allocation_fail_at(nth);
        uint32_t status = merge(f, f->states[CISTERN_REDUCING], "k@t");
        failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_status(status, failed ? CISTERN_NO_MEMORY : CISTERN_OK);
        assert_int_equal(cistern_allocation_count(), held);
        if (failed) {
            assert_non_null(strstr(f->error.message, "no memory"));
            expect_as_filled(f);
        }
        assert_true(nth < 30);
    }
    kinds_expect(f, CISTERN_REDUCING, "k@t", "T,A,B,C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(
            test_target_is_new_or_among_the_sources, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_source_twice, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_empty_accumulator_is_one, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_merge_function, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_result_of_a_wrong_size, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_results_as_inputs, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_limit_leaves_all, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_allocations, kinds_open, kinds_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
