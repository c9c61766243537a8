/* reduce_test.c -- the reducers, the age of a value, and the names of kinds, reducers and roles. */
#include "cistern/backend_ops.h"
#include "cistern/endian.h"
#include "test.h"

#include <string.h>

static int64_t i64_reduce(uint32_t reduce, int64_t old_value, int64_t input)
{
    struct cistern_state_descriptor descriptor = {
        .name = "s", .kind = CISTERN_REDUCING, .reduce = reduce};
    struct cistern_error error;
    uint8_t old_bytes[8];
    uint8_t input_bytes[8];
    uint8_t result[8];
    uint64_t bytes = 0;
    cistern_put_u64_be(old_bytes, (uint64_t)old_value);
    cistern_put_u64_be(input_bytes, (uint64_t)input);
    assert_ok(cistern_reduce_apply(&descriptor, (struct cistern_span){old_bytes, 8},
                  (struct cistern_span){input_bytes, 8}, (struct cistern_bytes){result, 8}, &bytes,
                  &error),
        error);
    assert_int_equal(bytes, 8);
    return (int64_t)cistern_get_u64_be(result);
}

static void test_built_in(void **state)
{
    (void)state;
    assert_true(i64_reduce(CISTERN_REDUCE_SUM_I64, 40, 2) == 42);
    assert_true(i64_reduce(CISTERN_REDUCE_SUM_I64, -1, 1) == 0);
    assert_true(i64_reduce(CISTERN_REDUCE_SUM_I64, INT64_MAX, 1) == INT64_MIN);
    assert_true(i64_reduce(CISTERN_REDUCE_SUM_I64, INT64_MIN, -1) == INT64_MAX);
    assert_true(i64_reduce(CISTERN_REDUCE_MIN_I64, -5, 3) == -5);
    assert_true(i64_reduce(CISTERN_REDUCE_MIN_I64, 3, -5) == -5);
    assert_true(i64_reduce(CISTERN_REDUCE_MAX_I64, -5, 3) == 3);
    assert_true(i64_reduce(CISTERN_REDUCE_MAX_I64, INT64_MIN, INT64_MAX) == INT64_MAX);
}

static void test_built_in_operands(void **state)
{
    (void)state;
    struct cistern_state_descriptor descriptor = {
        .name = "s", .kind = CISTERN_REDUCING, .reduce = CISTERN_REDUCE_SUM_I64};
    struct cistern_error error;
    const struct cistern_span absent = {NULL, 0};
    const struct cistern_span good = {"\0\0\0\0\0\0\0\7", 8};
    const struct cistern_span bad = {"1234567", 7};
    uint8_t result[8];
    struct cistern_bytes into = {result, 8};
    uint64_t bytes = 0;
    assert_ok(cistern_reduce_apply(&descriptor, absent, good, into, &bytes, &error), error);
    assert_memory_equal(result, good.data, 8);
    assert_status(
        cistern_reduce_apply(&descriptor, absent, bad, into, &bytes, &error), CISTERN_INVALID);
    assert_status(
        cistern_reduce_apply(&descriptor, bad, good, into, &bytes, &error), CISTERN_INVALID);
    assert_non_null(strstr(error.message, "7 bytes"));
    into.capacity_bytes = 7;
    bytes = 0;
    assert_status(
        cistern_reduce_apply(&descriptor, absent, good, into, &bytes, &error), CISTERN_LIMIT);
    assert_int_equal(bytes, 8);
    descriptor.reduce = CISTERN_REDUCE_NONE;
    assert_status(
        cistern_reduce_apply(&descriptor, absent, good, into, &bytes, &error), CISTERN_INVALID);
}

/* Joins with a comma. */
static uint64_t join(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    ++*(uint32_t *)arg;
    uint64_t wanted = (old_value.data != NULL ? old_value.bytes + 1 : 0) + input.bytes;
    if (wanted <= result.capacity_bytes) {
        char *to = result.data;
        if (old_value.data != NULL) {
            memcpy(to, old_value.data, old_value.bytes);
            to[old_value.bytes] = ',';
            to += old_value.bytes + 1;
        }
        memcpy(to, input.data, input.bytes);
    }
    return wanted;
}

static void test_function(void **state)
{
    (void)state;
    uint32_t calls = 0;
    struct cistern_state_descriptor descriptor = {
        .name = "s", .kind = CISTERN_AGGREGATING, .reduce_fn = join, .reduce_arg = &calls};
    struct cistern_error error;
    char result[16];
    uint64_t bytes = 0;
    assert_ok(cistern_reduce_apply(&descriptor, (struct cistern_span){"ab", 2},
                  (struct cistern_span){"c", 1}, (struct cistern_bytes){result, sizeof result},
                  &bytes, &error),
        error);
    assert_int_equal(bytes, 4);
    assert_memory_equal(result, "ab,c", 4);
    assert_status(
        cistern_reduce_apply(&descriptor, (struct cistern_span){"ab", 2},
            (struct cistern_span){"c", 1}, (struct cistern_bytes){result, 3}, &bytes, &error),
        CISTERN_LIMIT);
    assert_int_equal(bytes, 4);
    assert_int_equal(calls, 2);
}

static void test_ttl(void **state)
{
    (void)state;
    const struct {
        int64_t ttl;
        int64_t written;
        int64_t now;
        int expired;
    } cases[] = {
        {0, 0, INT64_MAX, 0}, /* no TTL */
        {10, 100, 109, 0},
        {10, 100, 110, 1}, /* at the moment itself */
        {10, 100, 99, 0},  /* the clock went back */
        {INT64_MAX, 1, INT64_MAX - 1, 0},
        {INT64_MAX, 1, INT64_MAX, 1}, /* the sum is capped, not wrapped */
        {INT64_MAX, INT64_MAX, 0, 0},
        {INT64_MAX, 0, INT64_MAX - 1, 0},
        {INT64_MAX, -5, INT64_MAX - 6, 0}, /* a time before 1970 */
        {INT64_MAX, -5, INT64_MAX - 5, 1},
        {1, INT64_MIN, INT64_MIN, 0},
        {1, INT64_MIN, INT64_MIN + 1, 1},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cistern_ttl ttl = {.time_to_live_ms = cases[i].ttl};
        if (cistern_ttl_expired(&ttl, cases[i].written, cases[i].now) != cases[i].expired) {
            print_error("case %u\n", i);
            fail();
        }
    }
}

/* On event time an entry that was written before there was any watermark waits for its first
 * renewal; with processing time the same number is just long ago. */
static void test_event_time(void **state)
{
    (void)state;
    struct cistern_ttl ttl = {.time_to_live_ms = 10, .event_time = 1};
    assert_false(cistern_ttl_expired(&ttl, INT64_MIN, INT64_MAX));
    assert_true(cistern_ttl_expired(&ttl, INT64_MIN + 1, 0));
    assert_false(cistern_ttl_expired(&ttl, 0, INT64_MIN));
    assert_false(cistern_ttl_expired(&ttl, -100, -91));
    assert_true(cistern_ttl_expired(&ttl, -100, -90));
    ttl.event_time = 0;
    assert_true(cistern_ttl_expired(&ttl, INT64_MIN, INT64_MAX));
}

static void test_names(void **state)
{
    (void)state;
    assert_null(cistern_state_kind_name(0));
    assert_null(cistern_state_kind_name(10));
    assert_null(cistern_state_kind_name(UINT32_MAX));
    assert_string_equal(cistern_state_kind_name(CISTERN_VALUE), "value");
    assert_string_equal(cistern_state_kind_name(CISTERN_BROADCAST), "broadcast");
    assert_string_equal(cistern_reduce_name(CISTERN_REDUCE_NONE), "none");
    assert_string_equal(cistern_reduce_name(CISTERN_REDUCE_MAX_I64), "max_i64");
    assert_null(cistern_reduce_name(4));
    assert_null(cistern_part_role_name(0));
    for (uint32_t role = CISTERN_ROLE_SST; role <= CISTERN_ROLE_CANONICAL; role++) {
        uint32_t parsed = 0;
        assert_int_equal(
            cistern_part_role_parse(cistern_part_role_name(role), &parsed), CISTERN_OK);
        assert_int_equal(parsed, role);
    }
    uint32_t parsed;
    assert_int_equal(cistern_part_role_parse("sstx", &parsed), CISTERN_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in),
        cmocka_unit_test(test_built_in_operands),
        cmocka_unit_test(test_function),
        cmocka_unit_test(test_ttl),
        cmocka_unit_test(test_event_time),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
