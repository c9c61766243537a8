/*
 * map_test.c -- maps: null values, empty user keys, void and empty namespaces, random operations
 * against a model across flushes and restores, cursors while the map changes, keys, clear.
 */
#include "rocks_fixture.h"

#include "cistern/alloc.h"
#include "cistern/keys.h"
#include "cistern/map.h"
#include "rocks_private.h"

#include <string.h>

#define GROUPS 300u
#define KEYS 7u
#define NAMES 3u /* void, empty, "n" */
#define USER_KEYS 40u

static const struct cistern_state_descriptor map_descriptor = {.name = "m", .kind = CISTERN_MAP};

struct model {
    uint8_t present[KEYS][NAMES][USER_KEYS];
    uint32_t value[KEYS][NAMES][USER_KEYS]; /* 0 = null; else its low byte is the length */
};

static struct cistern_span text(const char *bytes)
{
    return (struct cistern_span){bytes, strlen(bytes)};
}

/* Keys that are prefixes of each other, and one that is empty. */
static struct cistern_address address_of(uint32_t key, uint32_t name)
{
    struct cistern_address address = {.key = {"\0\0\1\0\0\0", key}, .key_group = key * 40};
    if (name != 0) {
        address.name_space = (struct cistern_span){"n", name - 1};
    }
    return address;
}

/* Of 0 to 3 bytes, all different, and some beginning with others. */
static struct cistern_span user_key_of(uint32_t user_key)
{
    static uint8_t bytes[USER_KEYS][3];
    uint32_t size = user_key == 0 ? 0 : 1 + user_key % 3;
    memset(bytes[user_key], user_key % 2 == 0 ? 0 : 255, 3);
    if (user_key != 0) {
        bytes[user_key][size - 1] = (uint8_t)user_key;
    }
    return (struct cistern_span){bytes[user_key], size};
}

static struct cistern_span value_of(uint32_t value, uint8_t storage[256])
{
    if (value == 0) {
        return (struct cistern_span){NULL, 0};
    }
    memset(storage, (int)(value >> 8), 256);
    return (struct cistern_span){storage, value & 255};
}

static void check_value(struct cistern_span got, uint32_t value)
{
    uint8_t storage[256];
    struct cistern_span expected = value_of(value, storage);
    assert_int_equal(got.data == NULL, expected.data == NULL);
    assert_int_equal(got.bytes, expected.bytes);
    if (expected.bytes != 0) {
        assert_memory_equal(got.data, expected.data, expected.bytes);
    }
}

static int same(struct cistern_span a, struct cistern_span b)
{
    return (a.data == NULL) == (b.data == NULL) && a.bytes == b.bytes &&
           (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static void map_check(struct fixture *fixture, struct cistern_state *state,
    const struct model *model, uint32_t key, uint32_t name)
{
    struct cistern_address addresses[USER_KEYS];
    struct cistern_span user_keys[USER_KEYS];
    struct cistern_span values[USER_KEYS];
    uint8_t present[USER_KEYS];
    uint64_t expected = 0;
    for (uint32_t u = 0; u < USER_KEYS; u++) {
        addresses[u] = address_of(key, name);
        user_keys[u] = user_key_of(u);
        expected += model->present[key][name][u];
    }
    assert_ok(cistern_map_get_many(
                  state, addresses, user_keys, USER_KEYS, values, present, &fixture->error),
        fixture->error);
    for (uint32_t u = 0; u < USER_KEYS; u++) {
        assert_int_equal(present[u], model->present[key][name][u]);
        check_value(values[u], present[u] ? model->value[key][name][u] : 0);
    }
    uint64_t count = 77;
    uint32_t is_empty = 77;
    assert_ok(cistern_map_count(state, addresses, &count, &fixture->error), fixture->error);
    assert_int_equal(count, expected);
    assert_ok(cistern_map_is_empty(state, addresses, &is_empty, &fixture->error), fixture->error);
    assert_int_equal(is_empty, expected == 0);
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[3];
    uint32_t got = 0;
    uint64_t total = 0;
    assert_ok(cistern_map_open(state, addresses, &cursor, &fixture->error), fixture->error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 3, &got, &fixture->error), fixture->error);
        for (uint32_t i = 0; i < got; i++) {
            uint32_t u = 0;
            while (u < USER_KEYS && !same(user_keys[u], entries[i].user_key)) {
                u++;
            }
            assert_true(u < USER_KEYS && model->present[key][name][u]);
            assert_true(same(entries[i].address.key, addresses[0].key));
            assert_true(same(entries[i].address.name_space, addresses[0].name_space));
            check_value(entries[i].value, model->value[key][name][u]);
        }
        total += got;
    } while (got != 0);
    assert_int_equal(total, expected);
    cistern_cursor_close(cursor);
}

/* The keys of a namespace, each once; NAMES = of all. */
static void keys_check(struct fixture *fixture, struct cistern_state *state,
    const struct model *model, uint32_t wanted, struct cistern_key_group_range range)
{
    uint8_t seen[KEYS][NAMES] = {{0}};
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entry;
    uint32_t got = 0;
    uint32_t status =
        wanted == NAMES
            ? cistern_keys_and_namespaces_open(state, &cursor, &fixture->error)
            : cistern_keys_open(state, address_of(0, wanted).name_space, &cursor, &fixture->error);
    assert_ok(status, fixture->error);
    for (;;) {
        assert_ok(cistern_cursor_next(cursor, &entry, 1, &got, &fixture->error), fixture->error);
        if (got == 0) {
            break;
        }
        uint32_t key = (uint32_t)entry.address.key.bytes;
        uint32_t name = entry.address.name_space.data == NULL
                            ? 0
                            : 1 + (uint32_t)entry.address.name_space.bytes;
        assert_true(key < KEYS && name < NAMES);
        assert_int_equal(entry.address.key_group, key * 40);
        assert_null(entry.user_key.data);
        seen[key][name]++;
    }
    cistern_cursor_close(cursor);
    for (uint32_t k = 0; k < KEYS; k++) {
        for (uint32_t n = 0; n < NAMES; n++) {
            int holds = memchr(model->present[k][n], 1, USER_KEYS) != NULL &&
                        k * 40 >= range.first && k * 40 <= range.last &&
                        (wanted == NAMES || wanted == n);
            assert_int_equal(seen[k][n], holds);
        }
    }
}

static uint64_t entries_count(struct fixture *fixture, struct cistern_state *state)
{
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[50];
    uint32_t got = 0;
    uint64_t total = 0;
    assert_ok(cistern_entries_open(state, &cursor, &fixture->error), fixture->error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 50, &got, &fixture->error), fixture->error);
        for (uint32_t i = 0; i < got; i++) {
            assert_non_null(entries[i].user_key.data);
        }
        total += got;
    } while (got != 0);
    cistern_cursor_close(cursor);
    return total;
}

static void model_check(struct fixture *fixture, struct cistern_state *state,
    const struct model *model, struct cistern_key_group_range range)
{
    uint64_t expected = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        for (uint32_t n = 0; n < NAMES && k * 40 >= range.first && k * 40 <= range.last; n++) {
            map_check(fixture, state, model, k, n);
            for (uint32_t u = 0; u < USER_KEYS; u++) {
                expected += model->present[k][n][u];
            }
        }
    }
    assert_int_equal(entries_count(fixture, state), expected);
    for (uint32_t wanted = 0; wanted <= NAMES; wanted++) {
        keys_check(fixture, state, model, wanted, range);
    }
}

static void change(
    struct fixture *fixture, struct cistern_state *state, struct model *model, uint64_t *random)
{
    enum { BATCH = 17 };
    struct cistern_address addresses[BATCH];
    struct cistern_span user_keys[BATCH];
    struct cistern_span values[BATCH];
    uint8_t storage[BATCH][256];
    uint32_t key = (uint32_t)(test_random(random) % KEYS);
    uint32_t name = (uint32_t)(test_random(random) % NAMES);
    uint32_t what = (uint32_t)(test_random(random) % 20);
    uint32_t done = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t u = (uint32_t)(test_random(random) % USER_KEYS);
        uint32_t value =
            test_random(random) % 4 == 0 ? 0 : 256 + (uint32_t)(test_random(random) >> 48);
        addresses[i] = address_of(key, name);
        user_keys[i] = user_key_of(u);
        values[i] = value_of(value, storage[i]);
        if (what < 12) {
            model->present[key][name][u] = 1;
            model->value[key][name][u] = value;
        } else if (what < 19) {
            model->present[key][name][u] = 0;
        }
    }
    if (what < 12) {
        assert_ok(cistern_map_put_many(
                      state, addresses, user_keys, values, BATCH, &done, &fixture->error),
            fixture->error);
        assert_int_equal(done, BATCH);
    } else if (what < 19) {
        assert_ok(
            cistern_map_remove_many(state, addresses, user_keys, BATCH, &done, &fixture->error),
            fixture->error);
        assert_int_equal(done, BATCH);
    } else {
        assert_ok(cistern_state_clear(state, addresses, &fixture->error), fixture->error);
        memset(model->present[key][name], 0, USER_KEYS);
    }
}

static void test_semantics(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *state = fixture_state(&fixture, backend, &map_descriptor);
    struct cistern_error *error = &fixture.error;
    struct cistern_address nowhere = address_of(2, 0);
    struct cistern_address empty = address_of(2, 1);
    struct cistern_span null = {NULL, 0};
    struct cistern_span value = text("unchanged");
    assert_status(cistern_map_get(state, &nowhere, text(""), &value, error), CISTERN_NOT_FOUND);
    assert_int_equal(value.bytes, 9);
    assert_ok(cistern_map_put(state, &nowhere, text(""), null, error), *error);
    assert_ok(cistern_map_get(state, &nowhere, text(""), &value, error), *error);
    assert_true(value.data == NULL && value.bytes == 0);
    assert_status(cistern_map_get(state, &empty, text(""), &value, error), CISTERN_NOT_FOUND);
    assert_ok(cistern_map_put(state, &empty, text(""), text(""), error), *error);
    assert_ok(cistern_map_get(state, &empty, text(""), &value, error), *error);
    assert_true(value.data != NULL && value.bytes == 0);
    /* what was handed out goes in again, as key and as value, from a single read and from many */
    assert_ok(cistern_map_put(state, &empty, text("a"), text("source"), error), *error);
    assert_ok(shim_db_settle(rocks_of(backend)->db, 0, error), *error);
    assert_ok(cistern_map_get(state, &empty, text("a"), &value, error), *error);
    assert_ok(cistern_map_put(state, &nowhere, value, value, error), *error);
    assert_ok(cistern_map_get(state, &nowhere, text("source"), &value, error), *error);
    assert_memory_equal(value.data, "source", 6);
    assert_ok(cistern_map_get(state, &nowhere, value, &value, error), *error);
    assert_ok(cistern_map_remove(state, &nowhere, value, error), *error);
    assert_status(
        cistern_map_get(state, &nowhere, text("source"), &value, error), CISTERN_NOT_FOUND);
    assert_ok(cistern_state_clear(state, &nowhere, error), *error);
    assert_ok(cistern_state_clear(state, &nowhere, error), *error);
    assert_status(cistern_map_get(state, &nowhere, text(""), &value, error), CISTERN_NOT_FOUND);
    assert_ok(cistern_map_get(state, &empty, text("a"), &value, error), *error);
    assert_ok(cistern_backend_close(backend, error), *error);
    fixture_close(&fixture);
}

static void test_model(void **unused)
{
    (void)unused;
    uint64_t random = test_seed("rocks_map_test", 11);
    struct cistern_key_group_range whole = {0, GROUPS - 1};
    static struct model model;
    memset(&model, 0, sizeof model);
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *state = fixture_state(&fixture, backend, &map_descriptor);
    for (uint32_t i = 0; i < 400; i++) {
        change(&fixture, state, &model, &random);
        if (i % 40 == 39) {
            assert_ok(
                shim_db_settle(rocks_of(backend)->db, i % 80 == 79, &fixture.error), fixture.error);
            model_check(&fixture, state, &model, whole);
        }
    }
    struct taken *taken[2];
    taken[0] = fixture_take(
        &fixture, fixture_begin(&fixture, backend, 1, CISTERN_SNAPSHOT_FULL), "native");
    taken[1] = fixture_take(
        &fixture, fixture_begin(&fixture, backend, 2, CISTERN_SNAPSHOT_CANONICAL), "canonical");
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    for (uint32_t i = 0; i < 4; i++) { /* native and canonical; all groups and some */
        struct cistern_key_group_range range = {i < 2 ? 0 : 40, i < 2 ? GROUPS - 1 : 170};
        struct test_source source;
        test_source_init(&source, i % 2 == 0 ? "rocks" : "canonical", &taken[i % 2], 1);
        backend = fixture_backend(&fixture, 0, "again", GROUPS, range.first, range.last);
        assert_ok(cistern_backend_restore(backend, &source.source, &fixture.error), fixture.error);
        state = fixture_state(&fixture, backend, &map_descriptor);
        model_check(&fixture, state, &model, range);
        assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    }
    free(taken[0]);
    free(taken[1]);
    fixture_close(&fixture);
}

#define LARGE 5000u

static void large_put(struct fixture *fixture, struct cistern_state *state, uint32_t from,
    uint32_t to, const char *value)
{
    for (uint32_t i = from; i < to; i++) {
        char user_key[16];
        snprintf(user_key, sizeof user_key, "%08u", i);
        struct cistern_address address = address_of(3, 2);
        assert_ok(cistern_map_put(state, &address, text(user_key), text(value), &fixture->error),
            fixture->error);
    }
}

/* Every returned entry is removed, others are changed and added: what was there from open to close
 * and was not touched comes exactly once. */
static void test_cursor_changes(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *state = fixture_state(&fixture, backend, &map_descriptor);
    struct cistern_address address = address_of(3, 2);
    large_put(&fixture, state, 0, LARGE, "old");
    static uint8_t seen[2 * LARGE];
    memset(seen, 0, sizeof seen);
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[7];
    uint32_t got = 0;
    uint32_t round = 0;
    assert_ok(cistern_map_open(state, &address, &cursor, &fixture.error), fixture.error);
    for (;; round++) {
        assert_ok(cistern_cursor_next(cursor, entries, 7, &got, &fixture.error), fixture.error);
        char keys[7][9];
        for (uint32_t i = 0; i < got; i++) {
            assert_int_equal(entries[i].user_key.bytes, 8);
            memcpy(keys[i], entries[i].user_key.data, 8);
            keys[i][8] = '\0';
            seen[atoi(keys[i])]++;
        }
        for (uint32_t i = 0; i < got; i++) {
            assert_ok(
                cistern_map_remove(state, &address, text(keys[i]), &fixture.error), fixture.error);
        }
        if (got == 0) {
            break;
        }
        large_put(&fixture, state, LARGE + round, LARGE + round + 1, "new");
        uint32_t ahead = LARGE - 1 - round % (LARGE / 4); /* from the end, where it was not yet */
        large_put(&fixture, state, ahead, ahead + 1, "changed");
    }
    cistern_cursor_close(cursor);
    for (uint32_t i = 0; i < LARGE; i++) {
        assert_int_equal(seen[i], 1);
    }
    for (uint32_t i = LARGE; i < 2 * LARGE; i++) {
        assert_true(seen[i] <= 1);
    }
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

struct applied {
    uint32_t count;
};

static uint32_t apply_clear(void *arg, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error)
{
    struct applied *applied = arg;
    applied->count++;
    return cistern_state_clear(state, address, error);
}

/* A map of many write batches is cleared, next to neighbours that stay. */
static void test_clear_large(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *state = fixture_state(&fixture, backend, &map_descriptor);
    struct cistern_error *error = &fixture.error;
    struct cistern_address address = address_of(3, 2);
    struct cistern_address others[] = {
        address_of(3, 1), address_of(3, 0), address_of(2, 2), address_of(4, 2)};
    large_put(&fixture, state, 0, 40000, "v");
    for (uint32_t i = 0; i < 4; i++) {
        assert_ok(cistern_map_put(state, &others[i], text(""), text("kept"), error), *error);
    }
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entry;
    uint32_t got = 0;
    assert_ok(cistern_keys_open(state, address.name_space, &cursor, error), *error);
    for (uint32_t i = 0; i < 4; i++) { /* keys 2, 3 and 4, then the end */
        assert_ok(cistern_cursor_next(cursor, &entry, 1, &got, error), *error);
        assert_int_equal(got, i < 3);
    }
    cistern_cursor_close(cursor);
    assert_ok(cistern_state_clear(state, &address, error), *error);
    uint64_t count = 1;
    assert_ok(cistern_map_count(state, &address, &count, error), *error);
    assert_int_equal(count, 0);
    assert_int_equal(entries_count(&fixture, state), 4);
    struct applied applied = {0};
    assert_ok(
        cistern_state_apply_to_all_keys(state, others[2].name_space, apply_clear, &applied, error),
        *error);
    assert_int_equal(applied.count, 2);
    assert_ok(cistern_state_drop_namespace(state, others[0].name_space, error), *error);
    assert_int_equal(entries_count(&fixture, state), 1);
    assert_ok(cistern_backend_close(backend, error), *error);
    fixture_close(&fixture);
}

/* Keys of values: in their form of the key one address may begin like another. */
static void test_value_keys(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state_descriptor descriptors[2] = {{.name = "v", .kind = CISTERN_VALUE},
        {.name = "f", .kind = CISTERN_VALUE, .key_bytes = 2, .namespace_bytes = 1}};
    for (uint32_t d = 0; d < 2; d++) {
        struct cistern_state *state = fixture_state(&fixture, backend, &descriptors[d]);
        struct model *model = calloc(1, sizeof *model);
        for (uint32_t k = 0; k < KEYS; k++) {
            for (uint32_t n = 0; n < NAMES; n++) {
                struct cistern_address address = address_of(k, n);
                if (d == 0 || (k == 2 && n != 1)) {
                    assert_ok(cistern_value_put(state, &address, text("x"), &fixture.error),
                        fixture.error);
                    model->present[k][n][0] = 1;
                }
            }
        }
        struct cistern_key_group_range whole = {0, GROUPS - 1};
        for (uint32_t wanted = 0; wanted <= NAMES; wanted++) {
            if (d == 0 || wanted != 1) { /* the empty namespace has not the fixed size */
                keys_check(&fixture, state, model, wanted, whole);
            }
        }
        free(model);
    }
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

static void test_cursor_ends(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *state = fixture_state(&fixture, backend, &map_descriptor);
    struct cistern_address address = address_of(3, 2);
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entry;
    uint32_t got = 0;
    large_put(&fixture, state, 0, 300, "v");
    assert_ok(cistern_map_open(state, &address, &cursor, &fixture.error), fixture.error);
    assert_ok(cistern_cursor_next(cursor, &entry, 1, &got, &fixture.error), fixture.error);
    assert_int_equal(got, 1);
    assert_ok(cistern_state_clear(state, &address, &fixture.error), fixture.error);
    large_put(&fixture, state, 0, 300, "again");
    assert_ok(cistern_cursor_next(cursor, &entry, 1, &got, &fixture.error), fixture.error);
    assert_int_equal(got, 0);
    cistern_cursor_close(cursor);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_semantics),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_cursor_changes),
        cmocka_unit_test(test_clear_large),
        cmocka_unit_test(test_value_keys),
        cmocka_unit_test(test_cursor_ends),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
