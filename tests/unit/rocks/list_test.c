/*
 * list_test.c -- lists: order over chunks, elements of any size, replace, merge, cursors while the
 * list grows or goes, random operations against a model across flushes and restores.
 */
#include "rocks_fixture.h"

#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/keys.h"
#include "cistern/list.h"
#include "rocks_private.h"

#include <string.h>

#define GROUPS 128u
#define KEYS 5u
#define NAMES 4u /* void, empty, "n", "nn" */
#define ELEMENTS_MAX 60000u

static const struct cistern_state_descriptor list_descriptor = {.name = "l", .kind = CISTERN_LIST};
static const struct cistern_state_descriptor fixed_descriptor = {
    .name = "f", .kind = CISTERN_LIST, .key_bytes = 4, .namespace_bytes = 1, .value_bytes = 8};

struct model { /* elements are numbers; their bytes follow from them */
    uint32_t count[KEYS][NAMES];
    uint64_t *elements[KEYS][NAMES];
};

static uint8_t element_bytes[300000];

/* Mostly 8 bytes; some empty, some large. */
static struct cistern_span element_of(uint64_t number, uint8_t storage[8], int is_fixed)
{
    cistern_put_u64_be(storage, number);
    if (is_fixed || number % 16 < 12) {
        return (struct cistern_span){storage, 8};
    }
    if (number % 16 < 14) {
        return (struct cistern_span){storage, number % 9};
    }
    uint64_t bytes = number % 256 == 255 ? sizeof element_bytes : 500 + number % 3000;
    return (struct cistern_span){element_bytes + number % 7, bytes - 7};
}

static struct cistern_address address_of(uint32_t key, uint32_t name, int is_fixed)
{
    struct cistern_address address = {.key = {"\0\0\1\0\0", key}, .key_group = key * 25};
    if (is_fixed) {
        static const char keys[KEYS][5] = {"key0", "key1", "key2", "key3", "key4"};
        address.key = (struct cistern_span){keys[key], 4};
    }
    if (name != 0) {
        address.name_space = is_fixed ? (struct cistern_span){&"abcd"[name], 1}
                                      : (struct cistern_span){"nn", name - 1};
    }
    return address;
}

static void model_append(struct model *model, uint32_t key, uint32_t name, uint64_t number)
{
    if (model->elements[key][name] == NULL) {
        model->elements[key][name] = malloc(ELEMENTS_MAX * sizeof(uint64_t));
    }
    assert_true(model->count[key][name] < ELEMENTS_MAX);
    model->elements[key][name][model->count[key][name]++] = number;
}

static void model_free(struct model *model)
{
    for (uint32_t i = 0; i < KEYS * NAMES; i++) {
        free(model->elements[i / NAMES][i % NAMES]);
    }
}

static void check_element(const struct cistern_entry *entry, uint64_t number, int is_fixed)
{
    uint8_t storage[8];
    struct cistern_span expected = element_of(number, storage, is_fixed);
    assert_non_null(entry->value.data);
    assert_int_equal(entry->value.bytes, expected.bytes);
    assert_memory_equal(entry->value.data, expected.data, expected.bytes);
    assert_null(entry->user_key.data);
}

static void list_check(struct fixture *fixture, struct cistern_state *state,
    const struct model *model, uint32_t key, uint32_t name, int is_fixed)
{
    struct cistern_address address = address_of(key, name, is_fixed);
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[37];
    uint32_t got = 0;
    uint32_t total = 0;
    assert_ok(cistern_list_open(state, &address, &cursor, &fixture->error), fixture->error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 37, &got, &fixture->error), fixture->error);
        for (uint32_t i = 0; i < got; i++) {
            assert_true(total < model->count[key][name]);
            check_element(&entries[i], model->elements[key][name][total++], is_fixed);
        }
    } while (got != 0);
    assert_int_equal(total, model->count[key][name]);
    cistern_cursor_close(cursor);
}

/* Over the whole state: elements of one list come in order. */
static void model_check(struct fixture *fixture, struct cistern_state *state,
    const struct model *model, struct cistern_key_group_range range, int is_fixed)
{
    uint32_t at[KEYS][NAMES] = {{0}};
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[50];
    uint32_t got = 0;
    assert_ok(cistern_entries_open(state, &cursor, &fixture->error), fixture->error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 50, &got, &fixture->error), fixture->error);
        for (uint32_t i = 0; i < got; i++) {
            uint32_t key = entries[i].address.key_group / 25;
            uint32_t name = 0;
            if (entries[i].address.name_space.data != NULL) {
                name = is_fixed
                           ? (uint32_t)(*(const uint8_t *)entries[i].address.name_space.data - 'a')
                           : 1 + (uint32_t)entries[i].address.name_space.bytes;
            }
            assert_true(at[key][name] < model->count[key][name]);
            check_element(&entries[i], model->elements[key][name][at[key][name]++], is_fixed);
        }
    } while (got != 0);
    cistern_cursor_close(cursor);
    uint32_t keys_expected = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        for (uint32_t n = 0; n < NAMES; n++) {
            if (k * 25 >= range.first && k * 25 <= range.last) {
                assert_int_equal(at[k][n], model->count[k][n]);
                list_check(fixture, state, model, k, n, is_fixed);
                keys_expected += model->count[k][n] != 0;
            } else {
                assert_int_equal(at[k][n], 0);
            }
        }
    }
    assert_ok(cistern_keys_and_namespaces_open(state, &cursor, &fixture->error), fixture->error);
    uint32_t keys = 0;
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 50, &got, &fixture->error), fixture->error);
        keys += got;
    } while (got != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(keys, keys_expected);
}

static void merge(struct fixture *fixture, struct cistern_state *state, struct model *model,
    uint32_t key, uint32_t target, uint64_t *random, int is_fixed)
{
    struct cistern_span sources[6];
    struct cistern_address address = address_of(key, target, is_fixed);
    for (uint32_t i = 0; i < 6; i++) { /* also the target, also some twice */
        uint32_t name = (uint32_t)(test_random(random) % NAMES);
        sources[i] = address_of(key, name, is_fixed).name_space;
        if (name != target) {
            for (uint32_t e = 0; e < model->count[key][name]; e++) {
                model_append(model, key, target, model->elements[key][name][e]);
            }
            model->count[key][name] = 0;
        }
    }
    assert_ok(cistern_state_merge(state, &address, sources, 6, &fixture->error), fixture->error);
}

static void change(struct fixture *fixture, struct cistern_state *state, struct model *model,
    uint64_t *random, uint64_t *number, int is_fixed)
{
    enum { BATCH = 200 };
    struct cistern_span elements[BATCH];
    uint8_t storage[BATCH][8];
    uint32_t key = (uint32_t)(test_random(random) % KEYS);
    uint32_t name = (uint32_t)(test_random(random) % NAMES);
    uint32_t what = (uint32_t)(test_random(random) % 64);
    uint32_t count = what % 2 == 0 ? 1 : 1 + (uint32_t)(test_random(random) % (BATCH - 1));
    struct cistern_address address = address_of(key, name, is_fixed);
    if (what >= 61) {
        merge(fixture, state, model, key, name, random, is_fixed);
        return;
    }
    if (what == 60) {
        assert_ok(cistern_state_clear(state, &address, &fixture->error), fixture->error);
        model->count[key][name] = 0;
        return;
    }
    if (what >= 54) {
        model->count[key][name] = 0;
        count = what == 54 ? 0 : count;
    }
    for (uint32_t i = 0; i < count; i++) {
        model_append(model, key, name, *number);
        elements[i] = element_of((*number)++, storage[i], is_fixed);
    }
    uint32_t status =
        what >= 54 ? cistern_list_replace(state, &address, elements, count, &fixture->error)
                   : cistern_list_append_many(state, &address, elements, count, &fixture->error);
    assert_ok(status, fixture->error);
}

/* shares_tail: all lists count as one for the choice of chunks. */
static void run_model(
    const struct cistern_state_descriptor *descriptor, uint64_t seed, int shares_tail)
{
    int is_fixed = descriptor->value_bytes != 0;
    uint64_t random = seed;
    uint64_t number = 0;
    struct cistern_key_group_range whole = {0, GROUPS - 1};
    struct model model;
    memset(&model, 0, sizeof model);
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *state = fixture_state(&fixture, backend, descriptor);
    for (uint32_t life = 0; life < 4; life++) { /* by native, by canonical, and again */
        if (shares_tail) {
            rocks_of(backend)->tails.count = 1;
        }
        for (uint32_t i = 0; i < 300; i++) {
            change(&fixture, state, &model, &random, &number, is_fixed);
            if (i % 75 == 74) {
                assert_ok(shim_db_settle(rocks_of(backend)->db, i % 150 == 149, &fixture.error),
                    fixture.error);
                model_check(&fixture, state, &model, whole, is_fixed);
            }
        }
        uint32_t kind = life % 2 == 0 ? CISTERN_SNAPSHOT_FULL : CISTERN_SNAPSHOT_CANONICAL;
        const char *from = life % 2 == 0 ? "rocks" : "canonical";
        char name[16];
        snprintf(name, sizeof name, "taken%u", life);
        struct taken *taken =
            fixture_take(&fixture, fixture_begin(&fixture, backend, 1, kind), name);
        assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
        for (uint32_t part = 0; part < 2; part++) { /* some groups, then all */
            struct cistern_key_group_range range = {part == 0 ? 25 : 0, part == 0 ? 60 : 127};
            struct test_source source;
            test_source_init(&source, from, &taken, 1);
            snprintf(name, sizeof name, "db%u.%u", life, part);
            backend = fixture_backend(&fixture, 0, name, GROUPS, range.first, range.last);
            assert_ok(
                cistern_backend_restore(backend, &source.source, &fixture.error), fixture.error);
            state = fixture_state(&fixture, backend, descriptor);
            model_check(&fixture, state, &model, range, is_fixed);
            if (part == 0) {
                assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
            }
        }
        free(taken);
    }
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
    model_free(&model);
}

static void test_model(void **unused)
{
    (void)unused;
    for (uint64_t i = 0; i < sizeof element_bytes; i++) {
        element_bytes[i] = (uint8_t)(i * 131 >> 3);
    }
    uint64_t seed = test_seed("rocks_list_test", 5);
    run_model(&list_descriptor, seed, 0);
    run_model(&list_descriptor, seed + 1, 1);
    run_model(&fixed_descriptor, seed + 2, 1);
}

struct list_test {
    struct fixture fixture;
    struct cistern_backend *backend;
    struct cistern_state *state;
    struct cistern_address address;
};

static void list_open(struct list_test *test)
{
    fixture_open(&test->fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    test->backend = fixture_backend(&test->fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    test->state = fixture_state(&test->fixture, test->backend, &list_descriptor);
    test->address = address_of(2, 0, 0);
}

static void list_close(struct list_test *test)
{
    assert_ok(cistern_backend_close(test->backend, &test->fixture.error), test->fixture.error);
    fixture_close(&test->fixture);
}

static void append(struct list_test *test, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        uint8_t bytes[8];
        cistern_put_u64_be(bytes, i);
        assert_ok(cistern_list_append(test->state, &test->address, (struct cistern_span){bytes, 8},
                      &test->fixture.error),
            test->fixture.error);
    }
}

static uint32_t next(struct list_test *test, struct cistern_cursor *cursor, uint64_t *ret_number)
{
    struct cistern_entry entry;
    uint32_t got = 0;
    assert_ok(
        cistern_cursor_next(cursor, &entry, 1, &got, &test->fixture.error), test->fixture.error);
    if (got != 0) {
        assert_int_equal(entry.value.bytes, 8);
        *ret_number = cistern_get_u64_be(entry.value.data);
    }
    return got;
}

/* Elements appended while a cursor is open are seen by it: one by one, and many. */
static void test_cursor_grows(void **unused)
{
    (void)unused;
    struct list_test test;
    list_open(&test);
    struct cistern_cursor *cursor = NULL;
    uint64_t number = 0;
    assert_ok(cistern_list_open(test.state, &test.address, &cursor, &test.fixture.error),
        test.fixture.error);
    assert_int_equal(next(&test, cursor, &number), 0);
    for (uint64_t i = 0; i < 200; i++) {
        append(&test, 3 * i, 3 * i + 3);
        for (uint64_t k = 0; k < 3; k++) {
            assert_int_equal(next(&test, cursor, &number), 1);
            assert_int_equal(number, 3 * i + k);
        }
        if (i % 2 == 0) {
            assert_int_equal(next(&test, cursor, &number), 0);
        }
    }
    append(&test, 600, 20000); /* many chunks */
    for (uint64_t i = 600; i < 20000; i++) {
        assert_int_equal(next(&test, cursor, &number), 1);
        assert_int_equal(number, i);
        if (i == 15000) {
            append(&test, 20000, 20001);
        }
    }
    assert_int_equal(next(&test, cursor, &number), 1);
    assert_int_equal(number, 20000);
    assert_int_equal(next(&test, cursor, &number), 0);
    cistern_cursor_close(cursor);
    list_close(&test);
}

static void test_cursor_ends(void **unused)
{
    (void)unused;
    struct list_test test;
    list_open(&test);
    struct cistern_error *error = &test.fixture.error;
    struct cistern_span element = {"replaced", 8};
    for (uint32_t how = 0; how < 4; how++) {
        struct cistern_cursor *cursors[2] = {NULL, NULL};
        uint64_t number = 0;
        struct cistern_address other = address_of(2, 1, 0);
        append(&test, 0, 3);
        assert_ok(cistern_list_open(test.state, &test.address, &cursors[0], error), *error);
        assert_ok(cistern_list_open(test.state, &other, &cursors[1], error), *error);
        assert_int_equal(next(&test, cursors[0], &number), 1);
        if (how == 0) {
            assert_ok(cistern_state_clear(test.state, &test.address, error), *error);
        } else if (how == 1) {
            assert_ok(cistern_list_replace(test.state, &test.address, &element, 1, error), *error);
        } else if (how == 2) {
            assert_ok(cistern_list_replace(test.state, &test.address, NULL, 0, error), *error);
        } else {
            assert_ok(cistern_state_merge(test.state, &other, &test.address.name_space, 1, error),
                *error);
        }
        append(&test, 7, 8);
        assert_int_equal(next(&test, cursors[0], &number), 0);
        assert_int_equal(next(&test, cursors[1], &number), how == 3);
        cistern_cursor_close(cursors[how % 2]);
        cistern_cursor_close(cursors[1 - how % 2]);
        assert_ok(cistern_state_clear(test.state, &test.address, error), *error);
        assert_ok(cistern_state_clear(test.state, &other, error), *error);
    }
    list_close(&test);
}

/* What the backend handed out goes in again. */
static void test_own_spans(void **unused)
{
    (void)unused;
    struct list_test test;
    list_open(&test);
    struct cistern_error *error = &test.fixture.error;
    struct cistern_entry entries[3];
    struct cistern_cursor *cursor = NULL;
    uint32_t got = 0;
    append(&test, 0, 3);
    assert_ok(cistern_list_open(test.state, &test.address, &cursor, error), *error);
    assert_ok(cistern_cursor_next(cursor, entries, 3, &got, error), *error);
    assert_int_equal(got, 3);
    struct cistern_span elements[3] = {entries[2].value, entries[1].value, entries[0].value};
    assert_ok(cistern_list_replace(test.state, &entries[0].address, elements, 3, error), *error);
    cistern_cursor_close(cursor);
    assert_ok(cistern_list_open(test.state, &test.address, &cursor, error), *error);
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t number = 99;
        assert_int_equal(next(&test, cursor, &number), 1);
        assert_int_equal(number, 2 - i);
    }
    cistern_cursor_close(cursor);
    list_close(&test);
}

/* More than any write batch in one call: all of it or, when there is no room, nothing. */
static void test_large_call(void **unused)
{
    (void)unused;
    struct list_test test;
    memset(&test, 0, sizeof test);
    fixture_open(&test.fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_error *error = &test.fixture.error;
    struct cistern_rocks_options options = {
        .backend = {.max_parallelism = GROUPS, .range = {0, GROUPS - 1}},
        .directory = fixture_path(&test.fixture, "db"),
        .write_wait_max_ms = 100};
    assert_ok(cistern_rocks_open(test.fixture.slots[0], &options, &test.backend, error), *error);
    test.state = fixture_state(&test.fixture, test.backend, &list_descriptor);
    test.address = address_of(2, 0, 0);
    append(&test, 0, 3);
    struct cistern_span elements[300];
    for (uint32_t i = 0; i < 300; i++) {
        elements[i] = (struct cistern_span){element_bytes, 60000 + i};
    }
    struct cistern_component_options other = {
        .name = "other", .reclaim_class = CISTERN_RECLAIM_NEVER};
    struct cistern_component *component = NULL;
    assert_ok(cistern_component_open(test.fixture.slots[0], &other, &component, error), *error);
    uint64_t held = 0;
    while (cistern_component_charge(component, 65536) == CISTERN_OK) {
        held += 65536;
    }
    for (uint32_t how = 0; how < 2; how++) {
        uint32_t status =
            how == 0 ? cistern_list_append_many(test.state, &test.address, elements, 300, error)
                     : cistern_list_replace(test.state, &test.address, elements, 300, error);
        assert_status(status, CISTERN_TIMEOUT);
        struct cistern_cursor *cursor = NULL;
        assert_ok(cistern_list_open(test.state, &test.address, &cursor, error), *error);
        for (uint64_t i = 0; i < 4; i++) {
            uint64_t number = 99;
            assert_int_equal(next(&test, cursor, &number), i < 3);
            assert_int_equal(number, i < 3 ? i : 99);
        }
        cistern_cursor_close(cursor);
    }
    cistern_component_uncharge(component, held);
    assert_ok(cistern_list_append_many(test.state, &test.address, elements, 300, error), *error);
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entry;
    uint32_t got = 0;
    assert_ok(cistern_list_open(test.state, &test.address, &cursor, error), *error);
    for (uint32_t i = 0; i < 304; i++) {
        assert_ok(cistern_cursor_next(cursor, &entry, 1, &got, error), *error);
        assert_int_equal(got, i < 303);
        assert_true(i < 3 || i == 303 || entry.value.bytes == 60000 + i - 3);
    }
    cistern_cursor_close(cursor);
    cistern_component_close(component);
    list_close(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_cursor_grows),
        cmocka_unit_test(test_cursor_ends),
        cmocka_unit_test(test_own_spans),
        cmocka_unit_test(test_large_call),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
