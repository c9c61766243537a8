/* ttl_test.c -- time to live with a clock of the test's own: reads, cursors, updates on read,
 * compactions, restores. */
#include "rocks_fixture.h"

#include "cistern/alloc.h"
#include "rocks_private.h"

#include <string.h>

#define GROUPS 128u

static int64_t now_ms = 1000000;

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
    struct test_address storage;
    struct cistern_address address;
};

static void ttl_open(struct ttl_test *test, struct cistern_ttl ttl)
{
    clock_set(1000000);
    fixture_open(&test->fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    test->backend = fixture_backend(&test->fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state_descriptor descriptor = {
        .name = "t", .kind = CISTERN_REDUCING, .reduce = CISTERN_REDUCE_SUM_I64, .ttl = ttl};
    test->state = fixture_state(&test->fixture, test->backend, &descriptor);
    test->address = fixture_address(&test->storage, 7, GROUPS);
    struct cistern_span one = {"\0\0\0\0\0\0\0\1", 8};
    assert_ok(cistern_value_put(test->state, &test->address, one, &test->fixture.error),
        test->fixture.error);
}

static void ttl_close(struct ttl_test *test)
{
    assert_ok(cistern_backend_close(test->backend, &test->fixture.error), test->fixture.error);
    fixture_close(&test->fixture);
}

static uint32_t get(struct ttl_test *test)
{
    struct cistern_span value = {NULL, 0};
    uint32_t status = cistern_value_get(test->state, &test->address, &value, &test->fixture.error);
    if (status == CISTERN_OK) {
        assert_int_equal(value.bytes, 8);
    }
    return status;
}

static uint32_t cursor_count(struct ttl_test *test, int64_t *ret_written_ms)
{
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entry;
    uint32_t count = 0;
    uint32_t total = 0;
    assert_ok(
        cistern_entries_open(test->state, &cursor, &test->fixture.error), test->fixture.error);
    do {
        assert_ok(cistern_cursor_next(cursor, &entry, 1, &count, &test->fixture.error),
            test->fixture.error);
        *ret_written_ms = count != 0 ? entry.written_ms : *ret_written_ms;
        total += count;
    } while (count != 0);
    cistern_cursor_close(cursor);
    return total;
}

static void test_expiry(void **unused)
{
    (void)unused;
    struct ttl_test test;
    int64_t written = 0;
    ttl_open(&test, (struct cistern_ttl){.time_to_live_ms = 500});
    clock_set(1000499);
    assert_status(get(&test), CISTERN_OK);
    assert_int_equal(cursor_count(&test, &written), 1);
    assert_int_equal(written, 1000000);
    clock_set(1000500);
    assert_status(get(&test), CISTERN_NOT_FOUND);
    assert_int_equal(cursor_count(&test, &written), 0);
    struct cistern_span two = {"\0\0\0\0\0\0\0\2", 8};
    assert_ok(
        cistern_value_add(test.state, &test.address, two, &test.fixture.error), test.fixture.error);
    struct cistern_span value;
    assert_ok(cistern_value_get(test.state, &test.address, &value, &test.fixture.error),
        test.fixture.error);
    assert_memory_equal(value.data, two.data, 8); /* what had expired was not added to */
    ttl_close(&test);
}

static void test_update_on_read(void **unused)
{
    (void)unused;
    struct ttl_test test;
    ttl_open(&test, (struct cistern_ttl){.time_to_live_ms = 500, .update_on_read = 1});
    for (int64_t ms = 1000000; ms <= 1002000; ms += 400) {
        clock_set(ms);
        assert_status(get(&test), CISTERN_OK);
    }
    clock_set(1002500);
    assert_status(get(&test), CISTERN_NOT_FOUND);
    ttl_close(&test);
}

/* ReturnExpiredIfNotCleanedUp sees it until a compaction has dropped it; reading it does not
 * bring it back to life. */
static void test_compaction(void **unused)
{
    (void)unused;
    struct ttl_test test;
    ttl_open(&test,
        (struct cistern_ttl){.time_to_live_ms = 500, .update_on_read = 1, .return_expired = 1});
    clock_set(1000600);
    assert_status(get(&test), CISTERN_OK);
    assert_status(get(&test), CISTERN_OK);
    assert_ok(
        shim_db_settle(rocks_of(test.backend)->db, 1, &test.fixture.error), test.fixture.error);
    assert_status(get(&test), CISTERN_NOT_FOUND);
    ttl_close(&test);
}

static void test_restored(void **unused)
{
    (void)unused;
    struct ttl_test test;
    ttl_open(&test, (struct cistern_ttl){.time_to_live_ms = 500});
    struct taken *native = fixture_take(&test.fixture,
        fixture_begin(&test.fixture, test.backend, 1, CISTERN_SNAPSHOT_FULL), "native");
    struct taken *canonical = fixture_take(&test.fixture,
        fixture_begin(&test.fixture, test.backend, 2, CISTERN_SNAPSHOT_CANONICAL), "canonical");
    assert_ok(cistern_backend_close(test.backend, &test.fixture.error), test.fixture.error);
    for (uint32_t kind = 0; kind < 2; kind++) {
        struct test_source source;
        test_source_init(
            &source, kind == 0 ? "rocks" : "canonical", kind == 0 ? &native : &canonical, 1);
        test.backend = fixture_backend(&test.fixture, 0, "again", GROUPS, 0, GROUPS - 1);
        clock_set(1000100);
        assert_ok(cistern_backend_restore(test.backend, &source.source, &test.fixture.error),
            test.fixture.error);
        struct cistern_state_descriptor descriptor = {
            .name = "t", .kind = CISTERN_REDUCING, .reduce = CISTERN_REDUCE_SUM_I64};
        assert_status(
            cistern_state_register(test.backend, &descriptor, &test.state, &test.fixture.error),
            CISTERN_MISMATCH);
        descriptor.ttl.time_to_live_ms = 300;
        test.state = fixture_state(&test.fixture, test.backend, &descriptor);
        clock_set(1000299);
        assert_status(get(&test), CISTERN_OK);
        clock_set(1000300);
        assert_status(get(&test), CISTERN_NOT_FOUND);
        assert_ok(cistern_backend_close(test.backend, &test.fixture.error), test.fixture.error);
    }
    free(native);
    free(canonical);
    fixture_close(&test.fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_update_on_read),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_restored),
    };
    int failures = cmocka_run_group_tests(tests, install_clock, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
