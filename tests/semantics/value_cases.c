/* value_cases.c -- value, reducing and aggregating states. */
#include "semantics/world.h"

#include "cistern/endian.h"

#include <string.h>

#define V KIND_BIT(CISTERN_VALUE)
#define R KIND_BIT(CISTERN_REDUCING)
#define A KIND_BIT(CISTERN_AGGREGATING)

static struct cistern_error error;

static void value_absent_at_first(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    check_value(state, "k", NULL);
    check_value(state, "", NULL); /* an empty key is a key */
    check_entries(state, 0);
}

static void value_update_replaces(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    put_value(state, "k", "one");
    put_value(state, "k", "two");
    check_value(state, "k", "two");
    put_value(state, "k", "a much longer value than it was before");
    check_value(state, "k", "a much longer value than it was before");
    put_value(state, "k", "3");
    check_value(state, "k", "3");
    check_entries(state, 1);
}

/* A host maps update(null) to clear: the library refuses the null and changes nothing. */
static void value_update_null_is_clear(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    struct cistern_address address = at("k");
    put_value(state, "k", "one");
    assert_status(cistern_value_put(state, &address, ABSENT, &error), CISTERN_INVALID);
    check_value(state, "k", "one");
    clear_place(state, "k");
    check_value(state, "k", NULL);
    clear_place(state, "k");
    check_entries(state, 0);
}

static void value_empty_is_not_absent(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    put_value(state, "k", "");
    check_value(state, "k", "");
    struct cistern_address address = at("k");
    struct cistern_span value = ABSENT;
    assert_ok(cistern_value_get_many(state, &address, 1, &value, &error), error);
    assert_non_null(value.data);
}

/* Where key, namespace and value meet in a stored key, no byte may wander. */
static void keys_of_any_bytes_are_apart(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    static const char *const places[] = {"", "@", "a", "a@", "a@b", "ab", "ab@", "@ab", "abc@",
        "a@bc", "ab@c", "\x01", "\x01@\x01", "\x01\x01", "\xff", "\xff\xff@\xff", "a\x80",
        "a@\x80"};
    const uint32_t count = sizeof places / sizeof places[0];
    char text[8];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "v%u", i);
        put_value(state, places[i], text);
    }
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "v%u", i);
        check_value(state, places[i], text);
    }
    /* Zero bytes: what a C string cannot say. */
    struct cistern_address zeros[3] = {
        {.key = {"\0", 1}}, {.key = {"\0\0", 2}}, {.key = {"\0", 1}, .name_space = {"\0", 1}}};
    for (uint32_t i = 0; i < 3; i++) {
        struct cistern_span value = {&"012"[i], 1};
        assert_ok(cistern_value_put(state, &zeros[i], value, &error), error);
    }
    for (uint32_t i = 0; i < 3; i++) {
        struct cistern_span value = ABSENT;
        assert_ok(cistern_value_get(state, &zeros[i], &value, &error), error);
        assert_memory_equal(value.data, &"012"[i], 1);
    }
    check_entries(state, count + 3);
}

static void longest_key_and_namespace(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    static char bytes[2][CISTERN_KEY_BYTES_MAX];
    memset(bytes[0], 'k', sizeof bytes[0]);
    memset(bytes[1], 'n', sizeof bytes[1]);
    struct cistern_address address = {.key = {bytes[0], CISTERN_KEY_BYTES_MAX},
        .name_space = {bytes[1], CISTERN_KEY_BYTES_MAX},
        .key_group = 127};
    assert_ok(cistern_value_put(state, &address, SPAN("here"), &error), error);
    struct cistern_span value = ABSENT;
    assert_ok(cistern_value_get(state, &address, &value, &error), error);
    assert_memory_equal(value.data, "here", 4);
    address.key.bytes--;
    assert_status(cistern_value_get(state, &address, &value, &error), CISTERN_NOT_FOUND);
}

static void value_big_comes_back_whole(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    uint64_t most = cistern_backend_options_of(world->backend)->value_bytes_max;
    most = most < 8u << 20 ? most : 8u << 20;
    const uint64_t sizes[] = {16 << 10, (64 << 10) - 1, 64 << 10, 1 << 20, most, 100};
    uint8_t *bytes = malloc(most);
    struct cistern_address address = at("big");
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (uint64_t b = 0; b < sizes[i]; b++) {
            bytes[b] = (uint8_t)(b * 2654435761u >> 13 ^ i);
        }
        assert_ok(
            cistern_value_put(state, &address, (struct cistern_span){bytes, sizes[i]}, &error),
            error);
        struct cistern_span value = ABSENT;
        assert_ok(cistern_value_get(state, &address, &value, &error), error);
        assert_int_equal(value.bytes, sizes[i]);
        assert_memory_equal(value.data, bytes, sizes[i]);
    }
    check_entries(state, 1);
    free(bytes);
}

static void value_too_big_is_refused(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    uint64_t most = cistern_backend_options_of(world->backend)->value_bytes_max;
    struct cistern_address address = at("k");
    put_value(state, "k", "small");
    struct cistern_span value = {"", most + 1};
    assert_status(cistern_value_put(state, &address, value, &error), CISTERN_INVALID);
    assert_non_null(strstr(error.message, "value_bytes_max"));
    check_value(state, "k", "small");
}

static void batch_applies_repeated_keys_in_order(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    struct cistern_address addresses[6] = {at("a"), at("b"), at("a"), at("c"), at("a"), at("b")};
    struct cistern_span values[6] = {
        SPAN("1"), SPAN("22"), SPAN("333"), SPAN("4444"), SPAN("55555"), SPAN("")};
    uint32_t done = 0;
    assert_ok(cistern_value_put_many(state, addresses, values, 6, &done, &error), error);
    assert_int_equal(done, 6);
    check_value(state, "a", "55555");
    check_value(state, "b", "");
    check_value(state, "c", "4444");
    struct cistern_span got[6];
    assert_ok(cistern_value_get_many(state, addresses, 6, got, &error), error);
    for (uint32_t i = 0; i < 6; i++) {
        const char *expected = i == 3 ? "4444" : i % 2 == 0 ? "55555" : "";
        assert_int_equal(got[i].bytes, strlen(expected));
        assert_memory_equal(got[i].data, expected, got[i].bytes);
    }
    assert_ok(cistern_value_remove_many(state, addresses, 3, &done, &error), error);
    check_value(state, "a", NULL);
    check_value(state, "b", NULL);
    check_value(state, "c", "4444");
    check_entries(state, 1);
}

static void batch_of_the_largest_count(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    static struct cistern_address addresses[CISTERN_BATCH_COUNT_MAX];
    static struct cistern_span values[CISTERN_BATCH_COUNT_MAX];
    static struct cistern_span got[CISTERN_BATCH_COUNT_MAX];
    static char texts[CISTERN_BATCH_COUNT_MAX][8];
    for (uint32_t i = 0; i < CISTERN_BATCH_COUNT_MAX; i++) {
        snprintf(texts[i], sizeof texts[i], "%u", i % 1000);
        addresses[i] = at(texts[i]);
        values[i] = span_of(texts[i]);
    }
    uint32_t done = 0;
    assert_ok(
        cistern_value_put_many(state, addresses, values, CISTERN_BATCH_COUNT_MAX, &done, &error),
        error);
    assert_ok(
        cistern_value_get_many(state, addresses, CISTERN_BATCH_COUNT_MAX, got, &error), error);
    for (uint32_t i = 0; i < CISTERN_BATCH_COUNT_MAX; i++) {
        assert_int_equal(got[i].bytes, values[i].bytes);
        assert_memory_equal(got[i].data, values[i].data, got[i].bytes);
    }
    check_entries(state, 1000);
}

/* Results live until the next call, and may be that call's inputs. */
static void borrowed_values_as_inputs(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_VALUE);
    struct cistern_address addresses[3] = {at("a"), at("b"), at("c")};
    struct cistern_address rotated[3] = {at("b"), at("c"), at("a")};
    put_value(state, "a", "value of a");
    put_value(state, "b", "b");
    put_value(state, "c", "and this is the value of c, which is longer");
    struct cistern_span got[3];
    uint32_t done = 0;
    assert_ok(cistern_value_get_many(state, addresses, 3, got, &error), error);
    assert_ok(cistern_value_put_many(state, rotated, got, 3, &done, &error), error);
    check_value(state, "b", "value of a");
    check_value(state, "c", "b");
    check_value(state, "a", "and this is the value of c, which is longer");
    /* A value as key, namespace and value of the next. */
    struct cistern_address address = at("c");
    assert_ok(cistern_value_get(state, &address, &got[0], &error), error);
    struct cistern_address named = {.key = got[0], .name_space = got[0], .key_group = 5};
    assert_ok(cistern_value_put(state, &named, got[0], &error), error);
    named = (struct cistern_address){.key = {"b", 1}, .name_space = {"b", 1}, .key_group = 5};
    assert_ok(cistern_value_get(state, &named, &got[1], &error), error);
    assert_int_equal(got[1].bytes, 1);
    assert_memory_equal(got[1].data, "b", 1);
}

static void reducing_combines(struct world *world)
{
    const struct {
        uint32_t reduce;
        int64_t expected;
    } cases[] = {
        {CISTERN_REDUCE_SUM_I64, -1}, {CISTERN_REDUCE_MIN_I64, -9}, {CISTERN_REDUCE_MAX_I64, 5}};
    for (uint32_t i = 0; i < 3; i++) {
        struct cistern_state_descriptor descriptor = descriptor_of(CISTERN_REDUCING);
        descriptor.name = cistern_reduce_name(cases[i].reduce);
        descriptor.reduce = cases[i].reduce;
        struct cistern_state *state = register_state(world->backend, &descriptor);
        add_sum(state, "k", 3);
        check_sum(state, "k", 3); /* the first input is the value */
        add_sum(state, "k", -9);
        add_sum(state, "k", 5);
        check_sum(state, "k", cases[i].expected);
        clear_place(state, "k");
        add_sum(state, "k", 4);
        check_sum(state, "k", 4);
        check_entries(state, 1);
    }
}

static void reducing_batch_with_repeated_keys(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_REDUCING);
    struct cistern_address addresses[100];
    struct cistern_span inputs[100];
    uint8_t bytes[100][8];
    for (uint32_t i = 0; i < 100; i++) {
        addresses[i] = at(i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "b@w");
        cistern_put_u64_be(bytes[i], i);
        inputs[i] = (struct cistern_span){bytes[i], 8};
    }
    uint32_t done = 0;
    assert_ok(cistern_value_add_many(state, addresses, inputs, 100, &done, &error), error);
    assert_int_equal(done, 100);
    check_sum(state, "a", 1683);
    check_sum(state, "b", 1617);
    check_sum(state, "b@w", 1650);
}

static void aggregating_calls_back(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_AGGREGATING);
    add_value(state, "k", "a");
    check_value(state, "k", "a");
    add_value(state, "k", "bc");
    add_value(state, "k", "");
    add_value(state, "k", "d");
    check_value(state, "k", "a,bc,,d");
    check_value(state, "other", NULL);
}

/* The accumulator outgrows any first guess of its size. */
static void aggregating_accumulator_grows(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_AGGREGATING);
    char *expected = malloc(200 * 1001);
    char input[1001];
    size_t used = 0;
    for (uint32_t i = 0; i < 200; i++) {
        memset(input, 'a' + (int)(i % 26), 1000);
        input[1000] = '\0';
        add_value(state, "k", input);
        used += (size_t)sprintf(expected + used, "%s%s", i > 0 ? "," : "", input);
    }
    check_value(state, "k", expected);
    free(expected);
}

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

static void aggregating_result_of_a_wrong_size_is_refused(struct world *world)
{
    struct cistern_state_descriptor descriptor = {
        .name = "eight", .kind = CISTERN_AGGREGATING, .value_bytes = 8, .reduce_fn = nine_bytes};
    struct cistern_state *state = register_state(world->backend, &descriptor);
    struct cistern_address address = at("k");
    assert_status(cistern_value_add(state, &address, SPAN("x"), &error), CISTERN_INVALID);
    assert_non_null(strstr(error.message, "9"));
    check_value(state, "k", NULL);
}

static void states_are_separate(struct world *world)
{
    struct cistern_state_descriptor descriptor = descriptor_of(CISTERN_VALUE);
    struct cistern_state *one = register_state(world->backend, &descriptor);
    descriptor.name = "value2";
    struct cistern_state *two = register_state(world->backend, &descriptor);
    put_value(one, "k", "one");
    check_value(two, "k", NULL);
    put_value(two, "k", "two");
    clear_place(one, "k");
    check_value(one, "k", NULL);
    check_value(two, "k", "two");
    check_entries(one, 0);
    check_entries(two, 1);
}

const struct semantics_case value_cases[] = {
    CASE(V, value_absent_at_first),
    CASE(V, value_update_replaces),
    CASE(V, value_update_null_is_clear),
    CASE(V, value_empty_is_not_absent),
    CASE(V, keys_of_any_bytes_are_apart),
    CASE(V, longest_key_and_namespace),
    CASE(V, value_big_comes_back_whole),
    CASE(V, value_too_big_is_refused),
    CASE(V, batch_applies_repeated_keys_in_order),
    CASE(V, batch_of_the_largest_count),
    CASE(V, borrowed_values_as_inputs),
    CASE(R, reducing_combines),
    CASE(R, reducing_batch_with_repeated_keys),
    CASE(A, aggregating_calls_back),
    CASE(A, aggregating_accumulator_grows),
    CASE(A, aggregating_result_of_a_wrong_size_is_refused),
    CASE(V, states_are_separate),
    CASE_END,
};
