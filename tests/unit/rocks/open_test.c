/* open_test.c -- opening and closing: what is refused, what is left behind, what each failed
 * allocation leaves. */
#include "rocks_fixture.h"

#include "cistern/alloc.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint32_t try_open(struct fixture *fixture, const struct cistern_rocks_options *options)
{
    struct cistern_backend *backend = NULL;
    uint32_t status = cistern_rocks_open(fixture->slots[0], options, &backend, &fixture->error);
    assert_null(backend);
    return status;
}

static void test_refused(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_rocks_options options = {.backend = {.max_parallelism = 128, .range = {0, 127}}};
    assert_status(try_open(&fixture, &options), CISTERN_INVALID);
    options.directory = fixture_path(&fixture, "absent/db");
    assert_status(try_open(&fixture, &options), CISTERN_NOT_FOUND);
    options.directory = fixture_path(&fixture, "db");
    options.background_compactions_max = 65;
    assert_status(try_open(&fixture, &options), CISTERN_INVALID);
    options.background_compactions_max = 0;
    options.write_wait_max_ms = -1;
    assert_status(try_open(&fixture, &options), CISTERN_INVALID);
    options.write_wait_max_ms = 0;
    options.backend.range.last = 128;
    assert_status(try_open(&fixture, &options), CISTERN_INVALID);
    options.backend.range.last = 127;
    assert_int_equal(access(options.directory, F_OK), -1);
    assert_int_equal(mkdir(options.directory, 0777), 0);
    int fd = open(fixture_path(&fixture, "db/somebody's"), O_WRONLY | O_CREAT, 0666);
    close(fd);
    assert_status(try_open(&fixture, &options), CISTERN_EXISTS);
    assert_non_null(strstr(fixture.error.message, "somebody's"));
    assert_int_equal(access(fixture_path(&fixture, "db/somebody's"), F_OK), 0);
    fixture_close(&fixture);
}

static void test_small_slot(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_slot *small = NULL;
    assert_ok(cistern_slot_close(fixture.slots[0], &fixture.error), fixture.error);
    struct cistern_slot_options slot = {.limit_bytes = 5u << 20};
    assert_ok(cistern_slot_open(fixture.pool, &slot, &small, &fixture.error), fixture.error);
    fixture.slots[0] = small;
    struct cistern_rocks_options options = {.backend = {.max_parallelism = 128, .range = {0, 127}},
        .directory = fixture_path(&fixture, "db")};
    assert_status(try_open(&fixture, &options), CISTERN_LIMIT);
    assert_int_equal(fixture.error.bytes_missing, (6u << 20) - cistern_slot_limit_bytes(small));
    fixture_close(&fixture);
}

static void test_directory_kept(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    for (uint32_t keep = 0; keep < 2; keep++) {
        struct cistern_rocks_options options = {
            .backend = {.max_parallelism = 128, .range = {0, 127}},
            .directory = fixture_path(&fixture, "db"),
            .keep_directory = keep};
        struct cistern_backend *backend = NULL;
        assert_ok(cistern_rocks_open(fixture.slots[0], &options, &backend, &fixture.error),
            fixture.error);
        assert_string_equal(cistern_backend_name(backend), "rocks");
        assert_ok(cistern_backend_step(backend, 0, &fixture.error), fixture.error);
        assert_ok(cistern_backend_explain(backend, &fixture.error), fixture.error);
        assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
        assert_int_equal(access(options.directory, F_OK), keep ? 0 : -1);
    }
    fixture_close(&fixture);
}

static void test_kinds(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", 128, 0, 127);
    struct cistern_state_descriptor descriptor = {.name = "m", .kind = CISTERN_BROADCAST};
    struct cistern_state *state = NULL;
    assert_status(
        cistern_state_register(backend, &descriptor, &state, &fixture.error), CISTERN_UNSUPPORTED);
    assert_non_null(strstr(fixture.error.message, "broadcast"));
    const char *build = cistern_rocks_build();
    assert_non_null(strstr(build, "assertions o"));
    print_message("RocksDB %s\n", build);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

/* In GUEST accounting what RocksDB holds shows in the slot's lines, and is gone after close. */
static void test_accounting(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    uint64_t before = cistern_slot_used_bytes(fixture.slots[0]);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", 128, 0, 127);
    struct cistern_state_descriptor descriptor = {.name = "v", .kind = CISTERN_VALUE};
    struct cistern_state *state = fixture_state(&fixture, backend, &descriptor);
    static uint8_t value[4000];
    uint64_t random = 3;
    for (uint64_t i = 0; i < 40000; i++) { /* 160 MB through 56 MiB */
        struct test_address storage;
        struct cistern_address address = fixture_address(&storage, i, 128);
        for (uint32_t b = 0; b < sizeof value; b += 8) {
            uint64_t word = test_random(&random);
            memcpy(value + b, &word, 8);
        }
        assert_ok(cistern_value_put(
                      state, &address, (struct cistern_span){value, sizeof value}, &fixture.error),
            fixture.error);
        if (i % 3 == 0) {
            address = fixture_address(&storage, i / 2, 128);
            struct cistern_span got;
            assert_ok(cistern_value_get(state, &address, &got, &fixture.error), fixture.error);
            assert_int_equal(got.bytes, sizeof value);
        }
        /* the limit and the debt that is part of it, plus what cannot be hooked in this mode */
        if (i % 64 == 0) {
            assert_true(cistern_slot_used_bytes(fixture.slots[0]) <=
                        cistern_slot_limit_bytes(fixture.slots[0]) + (2u << 20));
        }
    }
    struct cistern_rocks_statistics statistics;
    cistern_rocks_statistics(backend, &statistics);
    assert_true(statistics.flush_count > 0 && statistics.file_count > 0 &&
                statistics.block_cache_bytes > 0);
    assert_true(statistics.write_buffer_allowance_bytes > 0);
    struct cistern_holder holders[16];
    uint32_t count = 0;
    assert_int_equal(cistern_pool_holders(fixture.pool, holders, 16, &count), CISTERN_OK);
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        found += strcmp(holders[i].component, "rocks blocks") == 0 &&
                 holders[i].used_bytes >= statistics.block_cache_bytes / 2;
        found +=
            strcmp(holders[i].component, "rocks write buffers") == 0 && holders[i].used_bytes > 0;
    }
    assert_int_equal(found, 2);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    assert_int_equal(cistern_slot_used_bytes(fixture.slots[0]), before);
    fixture_close(&fixture);
}

/* Somebody else holds the slot: a write waits its time, answers TIMEOUT, applies nothing; with
 * room it goes on. */
static void test_gate_timeout(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_rocks_options options = {.backend = {.max_parallelism = 128, .range = {0, 127}},
        .directory = fixture_path(&fixture, "db"),
        .write_wait_max_ms = 150};
    struct cistern_backend *backend = NULL;
    assert_ok(
        cistern_rocks_open(fixture.slots[0], &options, &backend, &fixture.error), fixture.error);
    struct cistern_state_descriptor descriptor = {.name = "v", .kind = CISTERN_VALUE};
    struct cistern_state *state = fixture_state(&fixture, backend, &descriptor);
    struct cistern_component_options other = {
        .name = "other", .reclaim_class = CISTERN_RECLAIM_NEVER};
    struct cistern_component *component = NULL;
    assert_ok(cistern_component_open(fixture.slots[0], &other, &component, &fixture.error),
        fixture.error);
    uint64_t held = 0;
    while (cistern_component_charge(component, 65536) == CISTERN_OK) {
        held += 65536;
    }
    static uint8_t value[200000];
    struct test_address storage;
    struct cistern_address address = fixture_address(&storage, 1, 128);
    struct cistern_span span = {value, sizeof value};
    struct cistern_span got;
    assert_status(cistern_value_put(state, &address, span, &fixture.error), CISTERN_TIMEOUT);
    assert_non_null(strstr(fixture.error.message, "waited 150 ms"));
    assert_status(cistern_value_get(state, &address, &got, &fixture.error), CISTERN_NOT_FOUND);
    cistern_component_uncharge(component, held);
    assert_ok(cistern_value_put(state, &address, span, &fixture.error), fixture.error);
    assert_ok(cistern_value_get(state, &address, &got, &fixture.error), fixture.error);
    struct cistern_rocks_statistics statistics;
    cistern_rocks_statistics(backend, &statistics);
    assert_true(statistics.gate_wait_count >= 1 && statistics.gate_wait_ns >= 150000000);
    cistern_component_close(component);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

/* One life of a backend; returns the first status that is not OK. Everything is closed again
 * whatever fails. */
static uint32_t life(struct fixture *fixture)
{
    struct cistern_rocks_options options = {.backend = {.max_parallelism = 128, .range = {0, 127}},
        .directory = fixture_path(fixture, "db")};
    struct cistern_backend *backend = NULL;
    struct cistern_error *error = &fixture->error;
    uint32_t status = cistern_rocks_open(fixture->slots[0], &options, &backend, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_state_descriptor descriptor = {
        .name = "v", .kind = CISTERN_REDUCING, .reduce = CISTERN_REDUCE_SUM_I64};
    struct cistern_state *state = NULL;
    status = cistern_state_register(backend, &descriptor, &state, error);
    struct test_address storage[2];
    struct cistern_address addresses[2] = {
        fixture_address(&storage[0], 1, 128), fixture_address(&storage[1], 2, 128)};
    struct cistern_span values[2] = {{"\0\0\0\0\0\0\0\1", 8}, {"\0\0\0\0\0\0\0\2", 8}};
    uint32_t done = 0;
    if (status == CISTERN_OK) {
        status = cistern_value_add_many(state, addresses, values, 2, &done, error);
        assert_true(status == CISTERN_OK || done < 2);
    }
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[4];
    uint32_t count = 0;
    status = status == CISTERN_OK ? cistern_entries_open(state, &cursor, error) : status;
    status = status == CISTERN_OK ? cistern_cursor_next(cursor, entries, 4, &count, error) : status;
    if (cursor != NULL) {
        cistern_cursor_close(cursor);
    }
    for (uint32_t kind = CISTERN_SNAPSHOT_FULL;
         kind <= CISTERN_SNAPSHOT_CANONICAL && status == CISTERN_OK; kind += 2) {
        struct cistern_snapshot_request request = {.checkpoint_id = kind + 1, .kind = kind};
        struct cistern_snapshot *snapshot = NULL;
        status = cistern_snapshot_begin(backend, &request, &snapshot, error);
        if (status == CISTERN_OK && kind == CISTERN_SNAPSHOT_CANONICAL) {
            struct cistern_part part;
            static uint8_t buffer[65536];
            uint64_t got = 0;
            status = cistern_snapshot_next(snapshot, &part, error);
            while (status == CISTERN_OK) {
                status = cistern_snapshot_read(
                    snapshot, (struct cistern_bytes){buffer, sizeof buffer}, &got, error);
                if (got == 0) {
                    break;
                }
            }
        }
        cistern_snapshot_release(snapshot);
    }
    assert_ok(cistern_backend_close(backend, error), *error);
    return status;
}

static void test_allocations(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    uint64_t before = cistern_allocation_count();
    uint64_t nth = 1;
    for (; nth < 500; nth++) {
        cistern_allocation_fail_at(nth);
        uint32_t status = life(&fixture);
        int failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_int_equal(cistern_allocation_count(), before);
        assert_int_equal(access(fixture_path(&fixture, "db"), F_OK), -1);
        if (!failed) {
            assert_ok(status, fixture.error);
            break;
        }
        assert_status(status, CISTERN_NO_MEMORY);
    }
    assert_true(nth > 20 && nth < 500);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_small_slot),
        cmocka_unit_test(test_directory_kept),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_accounting),
        cmocka_unit_test(test_gate_timeout),
        cmocka_unit_test(test_allocations),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
