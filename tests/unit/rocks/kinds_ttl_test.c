/*
 * kinds_ttl_test.c -- time to live of map entries and list elements, each by itself; and on event
 * time, for every kind: reads, cursors, counts, keys, updates on read, compactions, restores. The
 * wall clock is the test's own.
 */
#include "rocks_fixture.h"

#include "cistern/alloc.h"
#include "cistern/keys.h"
#include "cistern/list.h"
#include "cistern/map.h"
#include "rocks_private.h"

#include <string.h>

#define GROUPS 128u

static int64_t now_ms;

static int64_t wall_ms(void *arg)
{
    (void)arg;
    return __atomic_load_n(&now_ms, __ATOMIC_RELAXED);
}

static void clock_set(int64_t ms)
{
    __atomic_store_n(&now_ms, ms, __ATOMIC_RELAXED);
}

static int install_clock(void **unused)
{
    (void)unused;
    struct cistern_host host = {.wall_ms = wall_ms};
    return cistern_host_install(&host) == CISTERN_OK ? 0 : -1;
}

struct ttl_test {
    struct fixture fixture;
    struct cistern_backend *backend;
    struct cistern_state *state;
    struct cistern_state_descriptor descriptor;
    struct cistern_address address;
};

static void ttl_open(struct ttl_test *test, uint32_t kind, struct cistern_ttl ttl)
{
    memset(test, 0, sizeof *test);
    clock_set(1000);
    fixture_open(&test->fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    test->backend = fixture_backend(&test->fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    test->descriptor = (struct cistern_state_descriptor){.name = "t", .kind = kind, .ttl = ttl};
    test->state = fixture_state(&test->fixture, test->backend, &test->descriptor);
    test->address = (struct cistern_address){.key = {"key", 3}, .key_group = 9};
}

static void ttl_close(struct ttl_test *test)
{
    assert_ok(cistern_backend_close(test->backend, &test->fixture.error), test->fixture.error);
    fixture_close(&test->fixture);
}

static struct cistern_span text(const char *bytes)
{
    return (struct cistern_span){bytes, strlen(bytes)};
}

static void item_put(struct ttl_test *test, const char *user_key, const char *value)
{
    struct cistern_span span = value != NULL ? text(value) : (struct cistern_span){NULL, 0};
    assert_ok(
        cistern_map_put(test->state, &test->address, text(user_key), span, &test->fixture.error),
        test->fixture.error);
}

static uint32_t item_get(struct ttl_test *test, const char *user_key)
{
    struct cistern_span value;
    return cistern_map_get(
        test->state, &test->address, text(user_key), &value, &test->fixture.error);
}

static void element_append(struct ttl_test *test, const char *element)
{
    assert_ok(cistern_list_append(test->state, &test->address, text(element), &test->fixture.error),
        test->fixture.error);
}

/* What a cursor gives, joined by commas, with the times: "a@1000,b@1200,". */
static const char *walk(struct ttl_test *test, struct cistern_cursor *cursor)
{
    static char line[400];
    size_t used = 0;
    struct cistern_entry entry;
    uint32_t got = 0;
    line[0] = '\0';
    for (;;) {
        assert_ok(cistern_cursor_next(cursor, &entry, 1, &got, &test->fixture.error),
            test->fixture.error);
        if (got == 0) {
            break;
        }
        struct cistern_span shown = entry.user_key.data != NULL ? entry.user_key : entry.value;
        used += (size_t)snprintf(line + used, sizeof line - used, "%.*s@%lld,", (int)shown.bytes,
            (const char *)shown.data, (long long)entry.written_ms);
        assert_true(used < sizeof line);
    }
    cistern_cursor_close(cursor);
    return line;
}

static const char *opened(struct ttl_test *test)
{
    struct cistern_cursor *cursor = NULL;
    uint32_t status =
        test->descriptor.kind == CISTERN_MAP
            ? cistern_map_open(test->state, &test->address, &cursor, &test->fixture.error)
            : cistern_list_open(test->state, &test->address, &cursor, &test->fixture.error);
    assert_ok(status, test->fixture.error);
    return walk(test, cursor);
}

static const char *entries(struct ttl_test *test)
{
    struct cistern_cursor *cursor = NULL;
    assert_ok(
        cistern_entries_open(test->state, &cursor, &test->fixture.error), test->fixture.error);
    return walk(test, cursor);
}

static uint32_t key_count(struct ttl_test *test)
{
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry found[4];
    uint32_t got = 0;
    struct cistern_span none = {NULL, 0};
    assert_ok(
        cistern_keys_open(test->state, none, &cursor, &test->fixture.error), test->fixture.error);
    assert_ok(
        cistern_cursor_next(cursor, found, 4, &got, &test->fixture.error), test->fixture.error);
    cistern_cursor_close(cursor);
    return got;
}

static void compact(struct ttl_test *test)
{
    assert_ok(
        shim_db_settle(rocks_of(test->backend)->db, 1, &test->fixture.error), test->fixture.error);
}

static void test_map(void **unused)
{
    (void)unused;
    struct ttl_test test;
    ttl_open(&test, CISTERN_MAP, (struct cistern_ttl){.time_to_live_ms = 500});
    item_put(&test, "a", "1");
    clock_set(1200);
    item_put(&test, "b", NULL);
    clock_set(1499);
    assert_string_equal(opened(&test), "a@1000,b@1200,");
    assert_string_equal(entries(&test), "a@1000,b@1200,");
    clock_set(1500);
    uint64_t count = 0;
    assert_ok(cistern_map_count(test.state, &test.address, &count, &test.fixture.error),
        test.fixture.error);
    assert_int_equal(count, 1);
    assert_status(item_get(&test, "a"), CISTERN_NOT_FOUND);
    assert_status(item_get(&test, "b"), CISTERN_OK);
    assert_string_equal(opened(&test), "b@1200,");
    assert_int_equal(key_count(&test), 1);
    clock_set(1700);
    uint32_t is_empty = 0;
    assert_ok(cistern_map_is_empty(test.state, &test.address, &is_empty, &test.fixture.error),
        test.fixture.error);
    assert_int_equal(is_empty, 1);
    assert_int_equal(key_count(&test), 0);
    assert_string_equal(entries(&test), "");
    ttl_close(&test);
}

/* Reading renews, by key and by cursor, null values too; counting does not. */
static void test_map_update_on_read(void **unused)
{
    (void)unused;
    struct ttl_test test;
    ttl_open(&test, CISTERN_MAP, (struct cistern_ttl){.time_to_live_ms = 500, .update_on_read = 1});
    item_put(&test, "a", "1");
    item_put(&test, "b", NULL);
    item_put(&test, "c", "3");
    clock_set(1400);
    assert_status(item_get(&test, "b"), CISTERN_OK);
    clock_set(1500);
    struct cistern_span value = text("x");
    assert_string_equal(entries(&test), "b@1400,");
    assert_ok(cistern_map_get(test.state, &test.address, text("b"), &value, &test.fixture.error),
        test.fixture.error);
    assert_null(value.data);
    clock_set(1999);
    assert_string_equal(opened(&test), "b@1999,");
    clock_set(2498);
    uint64_t count = 0;
    assert_ok(cistern_map_count(test.state, &test.address, &count, &test.fixture.error),
        test.fixture.error);
    assert_int_equal(count, 1);
    clock_set(2499);
    assert_status(item_get(&test, "b"), CISTERN_NOT_FOUND);
    ttl_close(&test);
}

static void test_map_compaction(void **unused)
{
    (void)unused;
    struct ttl_test test;
    ttl_open(&test, CISTERN_MAP,
        (struct cistern_ttl){.time_to_live_ms = 500, .update_on_read = 1, .return_expired = 1});
    item_put(&test, "a", NULL);
    clock_set(1300);
    item_put(&test, "b", "2");
    clock_set(1600);
    assert_status(item_get(&test, "a"), CISTERN_OK); /* which does not renew it */
    assert_string_equal(opened(&test), "a@1000,b@1600,");
    compact(&test);
    assert_status(item_get(&test, "a"), CISTERN_NOT_FOUND);
    assert_string_equal(entries(&test), "b@1600,");
    ttl_close(&test);
}

/* Elements go one by one, from the middle too: in a chunk, and in appends that have not met it. */
static void test_list_compaction(void **unused)
{
    (void)unused;
    struct ttl_test test;
    ttl_open(
        &test, CISTERN_LIST, (struct cistern_ttl){.time_to_live_ms = 500, .return_expired = 1});
    element_append(&test, "a");
    clock_set(1300);
    element_append(&test, "b");
    clock_set(1000);
    element_append(&test, "c");
    compact(&test); /* one chunk */
    element_append(&test, "d");
    clock_set(1300);
    element_append(&test, "e");
    clock_set(1600);
    assert_string_equal(opened(&test), "a@1000,b@1300,c@1000,d@1000,e@1300,");
    compact(&test);
    assert_string_equal(opened(&test), "b@1300,e@1300,");
    element_append(&test, "f");
    compact(&test);
    assert_string_equal(entries(&test), "b@1300,e@1300,f@1600,");
    clock_set(1900);
    compact(&test);
    assert_string_equal(entries(&test), "f@1600,");
    clock_set(3000);
    compact(&test);
    assert_int_equal(key_count(&test), 0);
    element_append(&test, "g");
    assert_string_equal(opened(&test), "g@3000,");
    ttl_close(&test);
}

static void test_list(void **unused)
{
    (void)unused;
    struct ttl_test test;
    ttl_open(&test, CISTERN_LIST, (struct cistern_ttl){.time_to_live_ms = 500});
    element_append(&test, "a");
    clock_set(1200);
    element_append(&test, "b");
    clock_set(1500);
    assert_string_equal(opened(&test), "b@1200,");
    assert_string_equal(entries(&test), "b@1200,");
    assert_int_equal(key_count(&test), 1);
    /* merging keeps the stamps */
    struct cistern_address target = test.address;
    target.name_space = text("target");
    struct cistern_span source = {NULL, 0};
    assert_ok(cistern_state_merge(test.state, &target, &source, 1, &test.fixture.error),
        test.fixture.error);
    assert_string_equal(entries(&test), "b@1200,");
    clock_set(1700);
    assert_string_equal(entries(&test), "");
    assert_int_equal(key_count(&test), 0);
    ttl_close(&test);
}

static void test_list_update_on_read(void **unused)
{
    (void)unused;
    struct ttl_test test;
    ttl_open(
        &test, CISTERN_LIST, (struct cistern_ttl){.time_to_live_ms = 500, .update_on_read = 1});
    element_append(&test, "a");
    clock_set(1200);
    element_append(&test, "b");
    clock_set(1500);
    assert_string_equal(opened(&test), "b@1500,");
    assert_string_equal(entries(&test), "b@1500,");
    clock_set(1999);
    assert_string_equal(opened(&test), "b@1999,");
    element_append(&test, "c");
    clock_set(2499);
    assert_string_equal(opened(&test), "");
    ttl_close(&test);
}

static void restore(struct ttl_test *test, struct taken *taken, const char *from, const char *name)
{
    struct test_source source;
    test_source_init(&source, from, &taken, 1);
    assert_ok(cistern_backend_close(test->backend, &test->fixture.error), test->fixture.error);
    test->backend = fixture_backend(&test->fixture, 0, name, GROUPS, 0, GROUPS - 1);
    assert_ok(cistern_backend_restore(test->backend, &source.source, &test->fixture.error),
        test->fixture.error);
    test->state = fixture_state(&test->fixture, test->backend, &test->descriptor);
}

/* The watermark is the clock: it stands still with the wall, is stored, and compactions know it. */
static void event_time(uint32_t kind)
{
    struct ttl_test test;
    ttl_open(&test, kind,
        (struct cistern_ttl){.time_to_live_ms = 500, .event_time = 1, .return_expired = 1});
    int is_map = kind == CISTERN_MAP;
    void (*put)(struct ttl_test *, const char *) = element_append;
    struct taken *taken[2] = {NULL, NULL};
    for (uint32_t i = 0; i < 3; i++) { /* before any watermark, at 100, at 400 */
        static const char *const names[] = {"a", "b", "c"};
        if (i != 0) {
            cistern_backend_set_watermark(test.backend, i == 1 ? 100 : 400);
        }
        if (is_map) {
            item_put(&test, names[i], "v");
        } else {
            put(&test, names[i]);
        }
    }
    clock_set(1000000);
    compact(&test);
    const char *all = "a@-9223372036854775808,b@100,c@400,";
    assert_string_equal(entries(&test), all);
    cistern_backend_set_watermark(test.backend, 599);
    compact(&test);
    assert_string_equal(entries(&test), all);
    cistern_backend_set_watermark(test.backend, 600);
    cistern_backend_set_watermark(test.backend, 20);
    assert_string_equal(entries(&test), all); /* returned until it is cleaned up */
    taken[0] = fixture_take(&test.fixture,
        fixture_begin(&test.fixture, test.backend, 1, CISTERN_SNAPSHOT_FULL), "native");
    taken[1] = fixture_take(&test.fixture,
        fixture_begin(&test.fixture, test.backend, 2, CISTERN_SNAPSHOT_CANONICAL), "canonical");
    compact(&test);
    assert_string_equal(entries(&test), "a@-9223372036854775808,c@400,");
    for (uint32_t i = 0; i < 2; i++) {
        test.descriptor.ttl.return_expired = 0;
        restore(&test, taken[i], i == 0 ? "rocks" : "canonical", i == 0 ? "n" : "c");
        assert_string_equal(entries(&test), "a@-9223372036854775808,c@400,");
        cistern_backend_set_watermark(test.backend, 899);
        assert_string_equal(entries(&test), "a@-9223372036854775808,c@400,");
        cistern_backend_set_watermark(test.backend, 900);
        assert_string_equal(entries(&test), "a@-9223372036854775808,");
        compact(&test);
        assert_string_equal(entries(&test), "a@-9223372036854775808,");
        free(taken[i]);
    }
    ttl_close(&test);
}

static void test_event_time(void **unused)
{
    (void)unused;
    event_time(CISTERN_LIST);
    event_time(CISTERN_MAP);
}

/* Values on event time; and a state stored with one clock is not registered with the other. */
static void test_clocks(void **unused)
{
    (void)unused;
    struct ttl_test test;
    struct cistern_span value;
    ttl_open(&test, CISTERN_VALUE,
        (struct cistern_ttl){.time_to_live_ms = 500, .event_time = 1, .update_on_read = 1});
    struct cistern_error *error = &test.fixture.error;
    cistern_backend_set_watermark(test.backend, 100);
    assert_ok(cistern_value_put(test.state, &test.address, text("v"), error), *error);
    cistern_backend_set_watermark(test.backend, 599);
    assert_ok(cistern_value_get(test.state, &test.address, &value, error), *error);
    cistern_backend_set_watermark(test.backend, 1098);
    struct taken *taken = fixture_take(&test.fixture,
        fixture_begin(&test.fixture, test.backend, 1, CISTERN_SNAPSHOT_FULL), "native");
    struct test_source source;
    test_source_init(&source, "rocks", &taken, 1);
    assert_ok(cistern_backend_close(test.backend, error), *error);
    test.backend = fixture_backend(&test.fixture, 0, "again", GROUPS, 0, GROUPS - 1);
    assert_ok(cistern_backend_restore(test.backend, &source.source, error), *error);
    test.descriptor.ttl.event_time = 0;
    assert_status(cistern_state_register(test.backend, &test.descriptor, &test.state, error),
        CISTERN_MISMATCH);
    assert_non_null(strstr(error->message, "event time"));
    test.descriptor.ttl.event_time = 1;
    test.state = fixture_state(&test.fixture, test.backend, &test.descriptor);
    assert_ok(cistern_value_get(test.state, &test.address, &value, error), *error);
    cistern_backend_set_watermark(test.backend, 1598);
    assert_status(cistern_value_get(test.state, &test.address, &value, error), CISTERN_NOT_FOUND);
    free(taken);
    ttl_close(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_update_on_read),
        cmocka_unit_test(test_map_compaction),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_update_on_read),
        cmocka_unit_test(test_list_compaction),
        cmocka_unit_test(test_event_time),
        cmocka_unit_test(test_clocks),
    };
    int failures = cmocka_run_group_tests(tests, install_clock, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
