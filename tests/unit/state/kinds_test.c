/* kinds_test.c -- the calls of lists, maps, timers and keys: what is refused before a backend sees
 * it, and that the message names what is wrong. */
#include "kinds_fixture.h"

#define KIND(kind) (1u << (kind))
#define VALUES (KIND(CISTERN_VALUE) | KIND(CISTERN_REDUCING) | KIND(CISTERN_AGGREGATING))

/* One call with this address, user key and value; whatever it does not take it leaves alone. */
typedef uint32_t (*call_fn)(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span user_key, struct cistern_span value, struct cistern_error *error);

#define CALL(name, expression)                                                                     \
    static uint32_t call_##name(struct cistern_state *state,                                       \
        const struct cistern_address *address, struct cistern_span user_key,                       \
        struct cistern_span value, struct cistern_error *error)                                    \
    {                                                                                              \
        uint32_t done = 0;                                                                         \
        uint64_t count = 0;                                                                        \
        int64_t time = 5;                                                                          \
        struct cistern_span result = ABSENT;                                                       \
        struct cistern_entry entry;                                                                \
        struct cistern_cursor *cursor = NULL;                                                      \
        (void)address, (void)user_key, (void)value, (void)done, (void)count, (void)time;           \
        (void)result, (void)entry;                                                                 \
        uint32_t status = expression;                                                              \
        cistern_cursor_close(cursor);                                                              \
        return status;                                                                             \
    }

static uint32_t apply_nothing(void *arg, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error)
{
    (void)arg;
    (void)state;
    (void)address;
    (void)error;
    return CISTERN_OK;
}

CALL(value_put, cistern_value_put(state, address, value, error))
CALL(value_add, cistern_value_add(state, address, value, error))
CALL(list_append, cistern_list_append(state, address, value, error))
CALL(list_replace, cistern_list_replace(state, address, &value, 1, error))
CALL(list_open, cistern_list_open(state, address, &cursor, error))
CALL(map_get, cistern_map_get(state, address, user_key, &result, error))
CALL(map_put, cistern_map_put(state, address, user_key, value, error))
CALL(map_remove, cistern_map_remove(state, address, user_key, error))
CALL(map_count, cistern_map_count(state, address, &count, error))
CALL(map_is_empty, cistern_map_is_empty(state, address, &done, error))
CALL(map_open, cistern_map_open(state, address, &cursor, error))
CALL(timer_add, cistern_timer_add(state, time, address, error))
CALL(timer_remove, cistern_timer_remove(state, time, address, error))
CALL(timer_next, cistern_timer_next(state, &time, error))
CALL(timer_pop_due, cistern_timer_pop_due(state, time, &entry, 1, &done, error))
CALL(clear, cistern_state_clear(state, address, error))
CALL(keys, cistern_keys_open(state, address->name_space, &cursor, error))
CALL(pairs, cistern_keys_and_namespaces_open(state, &cursor, error))
CALL(merge, cistern_state_merge(state, address, &address->name_space, 1, error))
CALL(apply, cistern_state_apply_to_all_keys(state, address->name_space, apply_nothing, NULL, error))
CALL(drop, cistern_state_drop_namespace(state, address->name_space, error))

static const struct call {
    const char *name;
    call_fn run;
    uint32_t kinds;
    uint32_t takes;   /* 1 key, 2 namespace, 4 user key, 8 value, 16 value may be null */
    const char *says; /* of a wrong kind */
} calls[] = {
    {"value_put", call_value_put, VALUES, 1 | 2 | 8, "put works on value, reducing and aggreg"},
    {"value_add", call_value_add, VALUES & ~KIND(CISTERN_VALUE), 1 | 2 | 8,
        "add works on reducing and aggregating"},
    {"list_append", call_list_append, KIND(CISTERN_LIST), 1 | 2 | 8, "append works on list"},
    {"list_replace", call_list_replace, KIND(CISTERN_LIST), 1 | 2 | 8, "replace works on list"},
    {"list_open", call_list_open, KIND(CISTERN_LIST), 1 | 2, "open works on list"},
    {"map_get", call_map_get, KIND(CISTERN_MAP), 1 | 2 | 4, "get works on map"},
    {"map_put", call_map_put, KIND(CISTERN_MAP), 1 | 2 | 4 | 8 | 16, "put works on map"},
    {"map_remove", call_map_remove, KIND(CISTERN_MAP), 1 | 2 | 4, "remove works on map"},
    {"map_count", call_map_count, KIND(CISTERN_MAP), 1 | 2, "count works on map"},
    {"map_is_empty", call_map_is_empty, KIND(CISTERN_MAP), 1 | 2, "count works on map"},
    {"map_open", call_map_open, KIND(CISTERN_MAP), 1 | 2, "open works on map"},
    {"timer_add", call_timer_add, KIND(CISTERN_TIMERS), 1 | 2, "add works on timers"},
    {"timer_remove", call_timer_remove, KIND(CISTERN_TIMERS), 1 | 2, "remove works on timers"},
    {"timer_next", call_timer_next, KIND(CISTERN_TIMERS), 0, "next works on timers"},
    {"timer_pop_due", call_timer_pop_due, KIND(CISTERN_TIMERS), 0, "pop_due works on timers"},
    {"clear", call_clear, VALUES | KIND(CISTERN_LIST) | KIND(CISTERN_MAP), 1 | 2,
        "clear works on value, list, map, reducing and aggregating"},
    {"keys", call_keys, VALUES | KIND(CISTERN_LIST) | KIND(CISTERN_MAP), 2,
        "keys works on value, list, map, reducing and aggregating"},
    {"pairs", call_pairs, VALUES | KIND(CISTERN_LIST) | KIND(CISTERN_MAP), 0,
        "keys works on value, list, map, reducing and aggregating"},
    {"merge", call_merge, (VALUES & ~KIND(CISTERN_VALUE)) | KIND(CISTERN_LIST), 1 | 2,
        "merge works on list, reducing and aggregating"},
    {"apply", call_apply, VALUES | KIND(CISTERN_LIST) | KIND(CISTERN_MAP), 2, "works on value, li"},
    {"drop", call_drop, VALUES | KIND(CISTERN_LIST) | KIND(CISTERN_MAP), 2, "works on value, li"},
};
#define CALL_COUNT (sizeof calls / sizeof calls[0])

static void expect(struct kinds_fixture *f, const struct call *call, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span user_key, struct cistern_span value,
    const char *says)
{
    uint32_t reached = f->table->calls;
    memset(&f->error, 0, sizeof f->error);
    uint32_t status = call->run(state, address, user_key, value, &f->error);
    int is_refused = status == CISTERN_INVALID && strstr(f->error.message, says) != NULL &&
                     strstr(f->error.message, state->descriptor.name) != NULL &&
                     f->table->calls == reached;
    if (!is_refused) {
        print_error("%s on %s, expected \"%s\": %s (%s), %u ops\n", call->name,
            state->descriptor.name, says, cistern_status_name(status), f->error.message,
            f->table->calls - reached);
        fail();
    }
}

static void test_kinds(void **state)
{
    struct kinds_fixture *f = *state;
    struct cistern_address address = kinds_at("k@w");
    for (uint32_t i = 0; i < CALL_COUNT; i++) {
        for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
            if ((calls[i].kinds & KIND(kind)) == 0) {
                expect(
                    f, &calls[i], f->states[kind], &address, SPAN("u"), SPAN("v"), calls[i].says);
                continue;
            }
            uint32_t status =
                calls[i].run(f->states[kind], &address, SPAN("u"), SPAN("v"), &f->error);
            if (status != CISTERN_OK && status != CISTERN_NOT_FOUND) {
                print_error("%s on kind %u: %s\n", calls[i].name, kind, f->error.message);
                fail();
            }
        }
    }
}

static void test_places(void **state)
{
    struct kinds_fixture *f = *state;
    static const uint8_t bytes[70000];
    const struct {
        uint32_t needs;
        struct cistern_address address;
        const char *says;
    } cases[] = {
        {1, {.key = {NULL, 0}, .key_group = 10}, "no key is given"},
        {1, {.key = {bytes, 65536}, .key_group = 10}, "key has 65536 bytes, at most 65535"},
        {1, {.key = {"k", 1}, .key_group = 9}, "key group 9 is not one of 10 to 19"},
        {1, {.key = {"k", 1}, .key_group = 20}, "key group 20"},
        {2, {.key = {"k", 1}, .key_group = 10, .name_space = {NULL, 1}}, "no data"},
        {2, {.key = {"k", 1}, .key_group = 10, .name_space = {bytes, 65536}},
            "namespace has 65536 bytes, at most 65535"},
    };
    for (uint32_t i = 0; i < CALL_COUNT; i++) {
        for (uint32_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
            for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
                if ((calls[i].kinds & KIND(kind)) && (calls[i].takes & cases[k].needs)) {
                    expect(f, &calls[i], f->states[kind], &cases[k].address, SPAN("u"), SPAN("v"),
                        cases[k].says);
                }
            }
        }
    }
}

static void test_user_keys_and_values(void **state)
{
    struct kinds_fixture *f = *state;
    uint64_t big_bytes = (1u << 20) + 1;
    uint8_t *bytes = calloc(1, big_bytes);
    struct cistern_address address = kinds_at("k@w");
    for (uint32_t i = 0; i < CALL_COUNT; i++) {
        for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
            if ((calls[i].kinds & KIND(kind)) == 0) {
                continue;
            }
            struct cistern_state *on = f->states[kind];
            const char *what = kind == CISTERN_LIST ? "element" : "value";
            char says[80];
            if (calls[i].takes & 4) {
                expect(f, &calls[i], on, &address, ABSENT, SPAN("v"), "no user key is given");
                expect(f, &calls[i], on, &address, (struct cistern_span){bytes, 65536}, SPAN("v"),
                    "the user key has 65536 bytes, at most 65535");
            }
            if (calls[i].takes & 8) {
                snprintf(says, sizeof says, "the %s has 1048577 bytes, at most 1048576", what);
                expect(f, &calls[i], on, &address, SPAN("u"),
                    (struct cistern_span){bytes, big_bytes}, says);
                snprintf(says, sizeof says, "no %s is given", what);
                expect(f, &calls[i], on, &address, SPAN("u"), (struct cistern_span){NULL, 1}, says);
                if ((calls[i].takes & 16) == 0) {
                    expect(f, &calls[i], on, &address, SPAN("u"), ABSENT, says);
                }
            }
        }
    }
    free(bytes);
}

/* Sizes that the descriptor fixes; a null value has none. */
static void test_fixed_sizes(void **state)
{
    struct kinds_fixture *f = *state;
    struct cistern_address address = kinds_at("key1");
    struct cistern_state *map;
    struct cistern_state *list;
    struct cistern_state_descriptor descriptor = {.name = "fixed",
        .kind = CISTERN_MAP,
        .key_bytes = 4,
        .user_key_bytes = 2,
        .value_bytes = 3};
    assert_ok(cistern_state_register(f->backend, &descriptor, &map, &f->error), f->error);
    descriptor.name = "elements";
    descriptor.kind = CISTERN_LIST;
    assert_ok(cistern_state_register(f->backend, &descriptor, &list, &f->error), f->error);
    assert_ok(cistern_map_put(map, &address, SPAN("u1"), SPAN("abc"), &f->error), f->error);
    assert_ok(cistern_map_put(map, &address, SPAN("u2"), ABSENT, &f->error), f->error);
    assert_status(
        cistern_map_put(map, &address, SPAN("u"), SPAN("abc"), &f->error), CISTERN_INVALID);
    assert_non_null(strstr(f->error.message, "the user key has 1 bytes, the descriptor says 2"));
    assert_status(
        cistern_map_put(map, &address, SPAN("u1"), SPAN("ab"), &f->error), CISTERN_INVALID);
    assert_non_null(strstr(f->error.message, "the value has 2 bytes, the descriptor says 3"));
    struct cistern_span elements[3] = {SPAN("abc"), SPAN("def"), SPAN("gh")};
    assert_ok(cistern_list_append_many(list, &address, elements, 2, &f->error), f->error);
    assert_status(
        cistern_list_append_many(list, &address, elements, 3, &f->error), CISTERN_INVALID);
    assert_non_null(strstr(f->error.message, "item 2: the element has 2 bytes"));
}

static void test_counts(void **state)
{
    struct kinds_fixture *f = *state;
    static struct cistern_address addresses[CISTERN_BATCH_COUNT_MAX + 1];
    static struct cistern_span spans[CISTERN_BATCH_COUNT_MAX + 1];
    static int64_t times[CISTERN_BATCH_COUNT_MAX + 1];
    const uint32_t most = CISTERN_BATCH_COUNT_MAX;
    for (uint32_t i = 0; i <= most; i++) {
        addresses[i] = kinds_at("k");
        spans[i] = SPAN("s");
        times[i] = (int64_t)i;
    }
    struct cistern_error *error = &f->error;
    struct cistern_state *list = f->states[CISTERN_LIST];
    struct cistern_state *map = f->states[CISTERN_MAP];
    struct cistern_state *timers = f->states[CISTERN_TIMERS];
    uint32_t done = 77;
    uint32_t reached = f->table->calls;
#define REFUSED(expression)                                                                        \
    do {                                                                                           \
        assert_status(expression, CISTERN_INVALID);                                                \
        assert_non_null(strstr(error->message, "1025 items in one call, at most 1024"));           \
        assert_int_equal(done, 0);                                                                 \
    } while (0)
    REFUSED(cistern_map_put_many(map, addresses, spans, spans, most + 1, &done, error));
    REFUSED(cistern_map_remove_many(map, addresses, spans, most + 1, &done, error));
    REFUSED(cistern_timer_add_many(timers, times, addresses, most + 1, &done, error));
    REFUSED(cistern_timer_remove_many(timers, times, addresses, most + 1, &done, error));
    REFUSED(cistern_state_clear_many(map, addresses, most + 1, &done, error));
    REFUSED(cistern_map_get_many(map, addresses, spans, most + 1, spans, NULL, error));
    REFUSED(cistern_list_append_many(list, addresses, spans, most + 1, error));
    REFUSED(cistern_list_replace(list, addresses, spans, most + 1, error));
    REFUSED(cistern_state_merge(list, addresses, spans, most + 1, error));
#undef REFUSED
    addresses[700].key_group = 20;
    assert_status(
        cistern_map_put_many(map, addresses, spans, spans, most, &done, error), CISTERN_INVALID);
    assert_non_null(strstr(error->message, "item 700: key group 20"));
    /* Nothing to do reaches nobody, replacing by nothing clears. */
    assert_ok(cistern_map_put_many(map, addresses, spans, spans, 0, &done, error), *error);
    assert_ok(cistern_map_get_many(map, addresses, spans, 0, spans, NULL, error), *error);
    assert_ok(cistern_list_append_many(list, addresses, spans, 0, error), *error);
    assert_ok(cistern_state_merge(list, addresses, spans, 0, error), *error);
    assert_ok(cistern_state_clear_many(map, addresses, 0, &done, error), *error);
    assert_ok(cistern_timer_add_many(timers, times, addresses, 0, &done, error), *error);
    assert_int_equal(f->table->calls, reached);
    struct cistern_entry entry;
    assert_status(cistern_timer_pop_due(timers, 0, &entry, 0, &done, error), CISTERN_INVALID);
    assert_non_null(strstr(error->message, "room for at least one"));
}

/* A namespace of an impossible size is refused before a byte of it is read. */
static void test_namespace_of_any_size(void **state)
{
    struct kinds_fixture *f = *state;
    const uint64_t sizes[] = {65536, UINT64_C(1) << 40, UINT64_MAX};
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct cistern_span name_space = {"w", sizes[i]};
        assert_status(cistern_state_drop_namespace(f->states[CISTERN_MAP], name_space, &f->error),
            CISTERN_INVALID);
        assert_status(cistern_state_apply_to_all_keys(
                          f->states[CISTERN_VALUE], name_space, apply_nothing, NULL, &f->error),
            CISTERN_INVALID);
        assert_non_null(strstr(f->error.message, "at most 65535"));
    }
}

static void test_single_map_calls(void **state)
{
    struct kinds_fixture *f = *state;
    struct cistern_error *error = &f->error;
    struct cistern_state *map = f->states[CISTERN_MAP];
    struct cistern_address address = kinds_at("k");
    struct cistern_span value = SPAN("untouched");
    assert_status(cistern_map_get(map, &address, SPAN("u"), &value, error), CISTERN_NOT_FOUND);
    assert_int_equal(value.bytes, 9);
    assert_ok(cistern_map_put(map, &address, SPAN("u"), ABSENT, error), *error);
    assert_ok(cistern_map_get(map, &address, SPAN("u"), &value, error), *error);
    assert_null(value.data);
    uint32_t is_empty = 9;
    uint64_t count = 9;
    assert_ok(cistern_map_is_empty(map, &address, &is_empty, error), *error);
    assert_int_equal(is_empty, 0);
    assert_ok(cistern_map_put(map, &address, SPAN("v"), SPAN(""), error), *error);
    assert_ok(cistern_map_count(map, &address, &count, error), *error);
    assert_int_equal(count, 2);
    assert_ok(cistern_state_clear(map, &address, error), *error);
    assert_ok(cistern_map_is_empty(map, &address, &is_empty, error), *error);
    assert_int_equal(is_empty, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kinds, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_places, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_user_keys_and_values, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_fixed_sizes, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_counts, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_namespace_of_any_size, kinds_open, kinds_close),
        cmocka_unit_test_setup_teardown(test_single_map_calls, kinds_open, kinds_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
