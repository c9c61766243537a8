/* keys_test.c -- apply-to-all-keys and drop-namespace, which state/ does by cursor and call. */
#include "kinds_fixture.h"

#define KEY_COUNT 500u /* several steps of a cursor */

static struct cistern_address key_at(char text[16], uint32_t index, struct cistern_span name_space)
{
    int length = snprintf(text, 16, "key-%u", index);
    return (struct cistern_address){
        .key = {text, (uint64_t)length}, .name_space = name_space, .key_group = 10 + index % 10};
}

static void put(struct cistern_state *state, const struct cistern_address *address)
{
    struct cistern_error error;
    switch (state->descriptor.kind) {
    case CISTERN_LIST:
        assert_ok(cistern_list_append(state, address, address->key, &error), error);
        break;
    case CISTERN_MAP:
        assert_ok(cistern_map_put(state, address, SPAN("u"), address->key, &error), error);
        assert_ok(cistern_map_put(state, address, SPAN("v"), ABSENT, &error), error);
        break;
    default:
        assert_ok(cistern_value_put(state, address, address->key, &error), error);
    }
}

static void fill(struct cistern_state *state)
{
    const struct cistern_span name_spaces[] = {ABSENT, SPAN(""), SPAN("w")};
    for (uint32_t i = 0; i < 3 * KEY_COUNT; i++) {
        char text[16];
        struct cistern_address address = key_at(text, i / 3, name_spaces[i % 3]);
        put(state, &address);
    }
}

static uint32_t keys_count(struct cistern_state *state, struct cistern_span name_space)
{
    struct cistern_error error;
    struct cistern_cursor *cursor;
    struct cistern_entry entries[100];
    uint32_t total = 0;
    assert_ok(cistern_keys_open(state, name_space, &cursor, &error), error);
    for (uint32_t count = 1; count != 0; total += count) {
        assert_ok(cistern_cursor_next(cursor, entries, 100, &count, &error), error);
    }
    cistern_cursor_close(cursor);
    return total;
}

struct visit {
    uint8_t seen[KEY_COUNT];
    uint32_t calls;
    uint32_t stop_at;    /* 0 = never */
    uint32_t remove_odd; /* clears the key at hand */
    struct cistern_span expected_namespace;
};

static uint32_t visit_key(void *arg, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error)
{
    struct visit *visit = arg;
    char text[16] = {0};
    assert_true(address->key.bytes < sizeof text);
    memcpy(text, address->key.data, address->key.bytes);
    uint32_t index = (uint32_t)strtoul(text + 4, NULL, 10);
    assert_true(index < KEY_COUNT);
    assert_int_equal(visit->seen[index], 0);
    visit->seen[index] = 1;
    assert_int_equal(address->key_group, 10 + index % 10);
    assert_int_equal(address->name_space.bytes, visit->expected_namespace.bytes);
    assert_true((address->name_space.data == NULL) == (visit->expected_namespace.data == NULL));
    /* Another call on the backend makes every result stale, but not the argument. */
    struct cistern_address other = kinds_at("other");
    struct cistern_span value;
    if (state->descriptor.kind == CISTERN_VALUE) {
        assert_status(cistern_value_get(state, &other, &value, error), CISTERN_NOT_FOUND);
        assert_ok(cistern_value_get(state, address, &value, error), *error);
        assert_int_equal(value.bytes, address->key.bytes);
        assert_memory_equal(value.data, address->key.data, value.bytes);
    }
    if (visit->remove_odd && index % 2 == 1) {
        assert_ok(cistern_state_clear(state, address, error), *error);
    }
    return ++visit->calls == visit->stop_at ? CISTERN_ABORTED : CISTERN_OK;
}

static void test_apply(void **state)
{
    struct kinds_fixture *f = *state;
    for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_AGGREGATING; kind++) {
        struct cistern_state *on = f->states[kind];
        fill(on);
        struct visit visit = {.remove_odd = 1, .expected_namespace = SPAN("w")};
        assert_ok(
            cistern_state_apply_to_all_keys(on, SPAN("w"), visit_key, &visit, &f->error), f->error);
        assert_int_equal(visit.calls, KEY_COUNT);
        assert_int_equal(keys_count(on, SPAN("w")), KEY_COUNT / 2);
        assert_int_equal(keys_count(on, SPAN("")), KEY_COUNT);
        assert_int_equal(keys_count(on, ABSENT), KEY_COUNT);
    }
}

static void test_apply_stops(void **state)
{
    struct kinds_fixture *f = *state;
    fill(f->states[CISTERN_VALUE]);
    struct visit visit = {.stop_at = 100};
    assert_status(cistern_state_apply_to_all_keys(
                      f->states[CISTERN_VALUE], ABSENT, visit_key, &visit, &f->error),
        CISTERN_ABORTED);
    assert_int_equal(visit.calls, 100);
}

static void test_drop(void **state)
{
    struct kinds_fixture *f = *state;
    for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_AGGREGATING; kind++) {
        struct cistern_state *on = f->states[kind];
        fill(on);
        assert_ok(cistern_state_drop_namespace(on, SPAN(""), &f->error), f->error);
        assert_int_equal(keys_count(on, SPAN("")), 0);
        assert_int_equal(keys_count(on, SPAN("w")), KEY_COUNT);
        assert_int_equal(keys_count(on, ABSENT), KEY_COUNT);
        assert_ok(cistern_state_drop_namespace(on, ABSENT, &f->error), f->error);
        assert_int_equal(keys_count(on, ABSENT), 0);
        assert_int_equal(keys_count(on, SPAN("w")), KEY_COUNT);
        assert_ok(cistern_state_drop_namespace(on, SPAN("nobody"), &f->error), f->error);
        assert_int_equal(keys_count(on, SPAN("w")), KEY_COUNT);
    }
}

static void test_namespace_that_is_a_result(void **state)
{
    struct kinds_fixture *f = *state;
    fill(f->states[CISTERN_MAP]);
    kinds_put(f, CISTERN_VALUE, "name", "w");
    struct cistern_address address = kinds_at("name");
    struct cistern_span name_space;
    assert_ok(
        cistern_value_get(f->states[CISTERN_VALUE], &address, &name_space, &f->error), f->error);
    assert_ok(
        cistern_state_drop_namespace(f->states[CISTERN_MAP], name_space, &f->error), f->error);
    assert_int_equal(keys_count(f->states[CISTERN_MAP], SPAN("w")), 0);
    assert_int_equal(keys_count(f->states[CISTERN_MAP], ABSENT), KEY_COUNT);
}

static void test_allocations(void **state)
{
    struct kinds_fixture *f = *state;
    uint64_t held = cistern_allocation_count();
    int failed = 1;
    fill(f->states[CISTERN_LIST]);
    for (uint64_t nth = 1; failed; nth++) {
        cistern_allocation_fail_at(nth);
        uint32_t status =
            cistern_state_drop_namespace(f->states[CISTERN_LIST], SPAN("w"), &f->error);
        failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_status(status, failed ? CISTERN_NO_MEMORY : CISTERN_OK);
        assert_int_equal(cistern_allocation_count(), held);
        assert_true(nth < 20);
    }
    assert_int_equal(keys_count(f->states[CISTERN_LIST], SPAN("w")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_apply, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_apply_stops, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_drop, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_namespace_that_is_a_result, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_allocations, kinds_open, kinds_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
