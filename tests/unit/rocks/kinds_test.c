/*
 * kinds_test.c -- lists, maps and timers together: an allocation that fails at any place, canonical
 * containers out of and into the heap backend, runs of a list with and without stamps.
 */
#include "rocks_fixture.h"

#include "cistern/alloc.h"
#include "cistern/backend_ops.h"
#include "cistern/clock.h"
#include "cistern/endian.h"
#include "cistern/heap.h"
#include "cistern/keys.h"
#include "cistern/list.h"
#include "cistern/list_frame.h"
#include "cistern/map.h"
#include "cistern/seg.h"
#include "cistern/timer.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define GROUPS 128u

static const struct cistern_state_descriptor descriptors[3] = {
    {.name = "list",
        .kind = CISTERN_LIST,
        .ttl = {.time_to_live_ms = 86400000, .update_on_read = 1}},
    {.name = "map", .kind = CISTERN_MAP, .ttl = {.time_to_live_ms = 86400000, .update_on_read = 1}},
    {.name = "timers", .kind = CISTERN_TIMERS}};

static struct cistern_address address_of(uint32_t index, uint8_t key[4])
{
    cistern_put_u32_be(key, index << 16);
    struct cistern_address address = {.key = {key, 2 + index % 3}, .key_group = index % GROUPS};
    if (index % 3 != 0) {
        address.name_space = (struct cistern_span){"n", index % 3 - 1};
    }
    return address;
}

/* ---- allocations ---- */

static uint32_t use_list(struct cistern_state *list, struct cistern_error *error)
{
    static uint8_t bytes[30000];
    uint8_t key[4];
    struct cistern_address address = address_of(1, key);
    struct cistern_span elements[5] = {
        {bytes, 30000}, {bytes, 30000}, {bytes, 10}, {bytes, 0}, {bytes, 30000}};
    struct cistern_span sources[2] = {address.name_space, {"other", 5}};
    struct cistern_address other = address;
    other.name_space = sources[1];
    uint32_t status = cistern_list_append_many(list, &address, elements, 5, error);
    status =
        status == CISTERN_OK ? cistern_list_replace(list, &address, elements, 3, error) : status;
    status = status == CISTERN_OK ? cistern_list_append(list, &other, elements[2], error) : status;
    status = status == CISTERN_OK ? cistern_state_merge(list, &other, sources, 2, error) : status;
    return status == CISTERN_OK ? cistern_state_clear(list, &address, error) : status;
}

static uint32_t use_map(struct cistern_state *map, struct cistern_error *error)
{
    uint8_t key[4];
    struct cistern_address addresses[2] = {address_of(1, key), address_of(1, key)};
    struct cistern_span user_keys[2] = {{"a", 1}, {"", 0}};
    struct cistern_span values[2] = {{NULL, 0}, {"v", 1}};
    uint8_t present[2];
    uint64_t count = 0;
    uint32_t done = 0;
    uint32_t status = cistern_map_put_many(map, addresses, user_keys, values, 2, &done, error);
    status = status == CISTERN_OK
                 ? cistern_map_get_many(map, addresses, user_keys, 2, values, present, error)
                 : status;
    status = status == CISTERN_OK ? cistern_map_count(map, addresses, &count, error) : status;
    status =
        status == CISTERN_OK ? cistern_map_remove(map, addresses, user_keys[0], error) : status;
    return status;
}

static uint32_t use_timers(struct cistern_state *timers, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < 6 && status == CISTERN_OK; i++) {
        uint8_t key[4];
        struct cistern_address address = address_of(i, key);
        status = cistern_timer_add(timers, i, &address, error);
    }
    int64_t next_ms = 0;
    status = status == CISTERN_OK ? cistern_timer_next(timers, &next_ms, error) : status;
    struct cistern_entry popped[8];
    uint32_t got = 0;
    status =
        status == CISTERN_OK ? cistern_timer_pop_due(timers, 3, popped, 8, &got, error) : status;
    assert_true(status != CISTERN_OK || got == 4);
    return status;
}

static uint32_t drain(uint32_t status, struct cistern_cursor *cursor, struct cistern_error *error)
{
    struct cistern_entry entries[4];
    uint32_t got = 1;
    while (status == CISTERN_OK && got != 0) {
        status = cistern_cursor_next(cursor, entries, 4, &got, error);
    }
    cistern_cursor_close(cursor);
    return status;
}

static uint32_t use_cursors(struct cistern_state **states, struct cistern_error *error)
{
    uint8_t key[4];
    struct cistern_address address = address_of(1, key);
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < 5 && status == CISTERN_OK; i++) {
        struct cistern_cursor *cursor = NULL;
        if (i < 3) {
            status = cistern_entries_open(states[i], &cursor, error);
        } else if (i == 3) {
            status = cistern_map_open(states[1], &address, &cursor, error);
        } else {
            status =
                cistern_keys_open(states[0], (struct cistern_span){"other", 5}, &cursor, error);
        }
        status = drain(status, cursor, error);
    }
    return status;
}

static uint32_t take_canonical(struct cistern_backend *backend, struct cistern_error *error)
{
    static uint8_t buffer[65536];
    struct cistern_snapshot_request request = {
        .checkpoint_id = 1, .kind = CISTERN_SNAPSHOT_CANONICAL};
    struct cistern_snapshot *snapshot = NULL;
    struct cistern_part part;
    uint64_t got = 1;
    uint32_t status = cistern_snapshot_begin(backend, &request, &snapshot, error);
    status = status == CISTERN_OK ? cistern_snapshot_next(snapshot, &part, error) : status;
    while (status == CISTERN_OK && got != 0) {
        status = cistern_snapshot_read(
            snapshot, (struct cistern_bytes){buffer, sizeof buffer}, &got, error);
    }
    cistern_snapshot_release(snapshot);
    return status;
}

static uint32_t life(struct fixture *fixture)
{
    struct cistern_rocks_options options = {
        .backend = {.max_parallelism = GROUPS, .range = {0, GROUPS - 1}},
        .directory = fixture_path(fixture, "db")};
    struct cistern_backend *backend = NULL;
    struct cistern_error *error = &fixture->error;
    uint32_t status = cistern_rocks_open(fixture->slots[0], &options, &backend, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_state *states[3] = {NULL, NULL, NULL};
    for (uint32_t i = 0; i < 3 && status == CISTERN_OK; i++) {
        status = cistern_state_register(backend, &descriptors[i], &states[i], error);
    }
    status = status == CISTERN_OK ? use_list(states[0], error) : status;
    status = status == CISTERN_OK ? use_map(states[1], error) : status;
    status = status == CISTERN_OK ? use_timers(states[2], error) : status;
    status = status == CISTERN_OK ? use_cursors(states, error) : status;
    status = status == CISTERN_OK ? take_canonical(backend, error) : status;
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
    for (; nth < 1000; nth++) {
        cistern_allocation_fail_at(nth);
        uint32_t status = life(&fixture);
        int failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_int_equal(cistern_allocation_count(), before);
        if (!failed) {
            assert_ok(status, fixture.error);
            break;
        }
        assert_status(status, CISTERN_NO_MEMORY);
    }
    assert_true(nth > 60 && nth < 1000);
    fixture_close(&fixture);
}

/* What a failing allocation leaves of a list's call: all of it or nothing. */
static void test_list_allocations(void **unused)
{
    (void)unused;
    struct fixture fixture;
    static uint8_t bytes[200000];
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *list = fixture_state(&fixture, backend, &descriptors[0]);
    uint8_t key[4];
    struct cistern_address address = address_of(3, key);
    struct cistern_span elements[9];
    for (uint32_t i = 0; i < 9; i++) { /* several write batches; the last one is the largest */
        elements[i] = (struct cistern_span){bytes, 100000 + i * 12000};
    }
    uint64_t nth = 1;
    int failed = 1;
    uint32_t calls = 0;
    for (; failed; nth++) {
        cistern_allocation_fail_at(nth);
        uint32_t status = cistern_list_append_many(list, &address, elements, 9, &fixture.error);
        failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_status(status, failed ? CISTERN_NO_MEMORY : CISTERN_OK);
        calls += status == CISTERN_OK;
        struct cistern_cursor *cursor = NULL;
        struct cistern_entry entry;
        uint32_t got = 1;
        uint32_t total = 0;
        assert_ok(cistern_list_open(list, &address, &cursor, &fixture.error), fixture.error);
        while (got != 0) {
            assert_ok(cistern_cursor_next(cursor, &entry, 1, &got, &fixture.error), fixture.error);
            total += got;
        }
        cistern_cursor_close(cursor);
        assert_int_equal(total, 9 * calls);
    }
    assert_true(nth > 4);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

/* ---- into and out of the heap backend ---- */

static struct cistern_backend *backend_open(struct fixture *fixture, uint32_t slot, int is_rocks)
{
    static uint32_t turn;
    char name[16];
    snprintf(name, sizeof name, "db%u", turn++);
    if (is_rocks) {
        return fixture_backend(fixture, slot, name, GROUPS, 0, GROUPS - 1);
    }
    struct cistern_heap_options options = {
        .backend = {.max_parallelism = GROUPS, .range = {0, GROUPS - 1}}};
    struct cistern_backend *backend = NULL;
    assert_ok(cistern_heap_open(fixture->slots[slot], &options, &backend, &fixture->error),
        fixture->error);
    return backend;
}

static void fill(struct fixture *fixture, struct cistern_state **states)
{
    struct cistern_error *error = &fixture->error;
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t key[4];
        struct cistern_address address = address_of(i, key);
        for (uint32_t e = 0; e <= i % 7 * i; e++) { /* up to 1,794 elements and user keys */
            uint8_t bytes[8];
            cistern_put_u64_be(bytes, e);
            struct cistern_span number = {bytes, 8};
            struct cistern_span user_key = {bytes + 8 - e % 9, e % 9};
            struct cistern_span null = {NULL, 0};
            assert_ok(cistern_list_append(states[0], &address, number, error), *error);
            assert_ok(
                cistern_map_put(states[1], &address, user_key, e % 5 == 0 ? null : number, error),
                *error);
        }
        assert_ok(
            cistern_timer_add(states[2], (int64_t)i * 1000 - 150000, &address, error), *error);
    }
}

/* A sum over everything a cursor gives that does not depend on the order. */
static uint64_t digest(struct fixture *fixture, struct cistern_state *state)
{
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[64];
    uint32_t got = 0;
    uint64_t sum = 0;
    assert_ok(cistern_entries_open(state, &cursor, &fixture->error), fixture->error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 1, &got, &fixture->error), fixture->error);
        for (uint32_t i = 0; i < got; i++) {
            const struct cistern_span parts[4] = {entries[i].address.key,
                entries[i].address.name_space, entries[i].user_key, entries[i].value};
            uint64_t hash = 14695981039346656037u + entries[i].address.key_group;
            for (uint32_t p = 0; p < 4; p++) {
                hash = (hash ^ (parts[p].data == NULL ? 0xabcd : parts[p].bytes)) * 1099511628211u;
                for (uint64_t b = 0; b < parts[p].bytes; b++) {
                    hash = (hash ^ ((const uint8_t *)parts[p].data)[b]) * 1099511628211u;
                }
            }
            hash = (hash ^ (uint64_t)entries[i].written_ms) * 1099511628211u;
            sum += hash;
        }
    } while (got != 0);
    cistern_cursor_close(cursor);
    return sum;
}

static void lists_check(struct fixture *fixture, struct cistern_state *list)
{
    for (uint32_t i = 0; i < 300; i += 13) {
        uint8_t key[4];
        struct cistern_address address = address_of(i, key);
        struct cistern_cursor *cursor = NULL;
        struct cistern_entry entry;
        uint32_t got = 0;
        assert_ok(cistern_list_open(list, &address, &cursor, &fixture->error), fixture->error);
        for (uint32_t e = 0; e <= i % 7 * i + 1; e++) {
            assert_ok(
                cistern_cursor_next(cursor, &entry, 1, &got, &fixture->error), fixture->error);
            assert_int_equal(got, e <= i % 7 * i);
            assert_true(got == 0 || cistern_get_u64_be(entry.value.data) == e);
        }
        cistern_cursor_close(cursor);
    }
}

static void register_all(
    struct fixture *fixture, struct cistern_backend *backend, struct cistern_state **states)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct cistern_state_descriptor descriptor = descriptors[i];
        descriptor.ttl.update_on_read = 0; /* looking changes nothing */
        states[i] = fixture_state(fixture, backend, &descriptor);
    }
}

static void test_crossing(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 256u << 20, 2, CISTERN_ACCOUNTING_GUEST);
    uint64_t expected[3] = {0, 0, 0};
    struct taken *taken = NULL;
    for (uint32_t i = 0; i < 5; i++) { /* rocks, rocks, heap, rocks, heap */
        int is_rocks = i != 2 && i != 4;
        struct cistern_backend *backend = backend_open(&fixture, i % 2, is_rocks);
        struct cistern_state *states[3];
        if (i == 0) {
            register_all(&fixture, backend, states);
            fill(&fixture, states);
        } else {
            struct test_source source;
            test_source_init(&source, "canonical", &taken, 1);
            assert_ok(
                cistern_backend_restore(backend, &source.source, &fixture.error), fixture.error);
            register_all(&fixture, backend, states);
            free(taken);
        }
        for (uint32_t k = 0; k < 3; k++) {
            uint64_t sum = digest(&fixture, states[k]);
            expected[k] = i == 0 ? sum : expected[k];
            assert_int_equal(sum, expected[k]);
        }
        lists_check(&fixture, states[0]);
        char name[16];
        snprintf(name, sizeof name, "canonical%u", i);
        taken = fixture_take(
            &fixture, fixture_begin(&fixture, backend, 1, CISTERN_SNAPSHOT_CANONICAL), name);
        assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    }
    free(taken);
    fixture_close(&fixture);
}

/* The heap's own files hold parts of maps and lists: refused, and the way is named. */
static void test_heap_native(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 128u << 20, 2, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *heap = backend_open(&fixture, 0, 0);
    struct cistern_state *map = fixture_state(&fixture, heap, &descriptors[1]);
    uint8_t key[4];
    struct cistern_address address = address_of(5, key);
    struct cistern_span value = {"v", 1};
    assert_ok(cistern_map_put(map, &address, value, value, &fixture.error), fixture.error);
    struct taken *taken =
        fixture_take(&fixture, fixture_begin(&fixture, heap, 1, CISTERN_SNAPSHOT_FULL), "native");
    assert_ok(cistern_backend_close(heap, &fixture.error), fixture.error);
    struct cistern_backend *backend = backend_open(&fixture, 1, 1);
    struct test_source source;
    test_source_init(&source, "heap", &taken, 1);
    assert_status(
        cistern_backend_restore(backend, &source.source, &fixture.error), CISTERN_UNSUPPORTED);
    assert_non_null(strstr(fixture.error.message, "canonical savepoint"));
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    free(taken);
    fixture_close(&fixture);
}

/* ---- runs ---- */

static void run_add(struct fixture *fixture, struct cistern_seg_writer *writer, uint64_t number,
    uint32_t has_written, const char *element)
{
    struct cistern_frame_format format = {0, has_written};
    uint8_t frames[64];
    uint8_t user_key[8];
    struct cistern_span span = {element, strlen(element)};
    uint8_t *end = cistern_frame_write(&format, frames, span, 1234);
    end = cistern_frame_write(&format, end, span, cistern_wall_ms());
    cistern_put_u64_be(user_key, number);
    struct cistern_seg_entry entry = {.state_id = 1,
        .key_group = 5,
        .key = {"k", 1},
        .user_key = {user_key, 8},
        .value = {frames, (uint64_t)(end - frames)},
        .has_written = has_written};
    assert_ok(cistern_seg_writer_add(writer, &entry, &fixture->error), fixture->error);
}

static void container_write(struct fixture *fixture, struct taken *taken,
    const struct cistern_state_descriptor *descriptor, uint64_t number_last)
{
    struct cistern_seg_writer_options options = {
        .role = CISTERN_ROLE_CANONICAL, .range = {0, GROUPS - 1}, .checkpoint_id = 5};
    struct cistern_seg_writer *writer = NULL;
    char *descriptor_text = NULL;
    assert_ok(cistern_seg_writer_create(&options, &writer, &fixture->error), fixture->error);
    assert_ok(cistern_descriptor_encode(descriptor, 1, &descriptor_text, &fixture->error),
        fixture->error);
    assert_ok(
        cistern_seg_writer_state(writer, 1, descriptor_text, &fixture->error), fixture->error);
    cistern_release(descriptor_text);
    run_add(fixture, writer, 3, 0, "plain");
    run_add(fixture, writer, number_last, 1, "stamped");
    assert_ok(cistern_seg_writer_finish(writer, &fixture->error), fixture->error);
    struct taken_part *part = &taken->parts[taken->part_count++];
    static uint32_t turn;
    snprintf(part->path, sizeof part->path, "%.400s/runs%u.seg", fixture->root, turn++);
    part->part = (struct cistern_part){
        .kind = CISTERN_PART_STREAM, .role = CISTERN_ROLE_CANONICAL, .range = options.range};
    static uint8_t buffer[65536];
    int fd = open(part->path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    assert_true(fd >= 0);
    uint64_t got = 0;
    do {
        assert_ok(cistern_seg_writer_take(
                      writer, (struct cistern_bytes){buffer, sizeof buffer}, &got, &fixture->error),
            fixture->error);
        assert_int_equal(write(fd, buffer, got), (ssize_t)got);
        part->part.bytes += got;
    } while (got != 0);
    close(fd);
    cistern_seg_writer_destroy(writer);
}

/* Runs with and without stamps into a list with and without a time to live; what is appended then
 * comes last, whatever number the runs had. */
static void test_runs(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    for (uint32_t has_ttl = 0; has_ttl < 2; has_ttl++) {
        for (uint32_t is_far = 0; is_far < 3; is_far++) {
            struct cistern_state_descriptor descriptor = {.name = "l", .kind = CISTERN_LIST};
            descriptor.ttl.time_to_live_ms = has_ttl ? 3600000 : 0;
            struct taken *taken = calloc(1, sizeof *taken);
            uint64_t last = is_far == 0 ? 4 : is_far == 1 ? INT32_MAX : INT32_MAX + UINT64_C(1);
            container_write(&fixture, taken, &descriptor, last);
            struct cistern_backend *backend = backend_open(&fixture, 0, 1);
            struct test_source source;
            test_source_init(&source, "canonical", &taken, 1);
            uint32_t status = cistern_backend_restore(backend, &source.source, &fixture.error);
            assert_status(status, is_far == 2 ? CISTERN_CORRUPT : CISTERN_OK);
            if (is_far != 2) {
                struct cistern_state *list = fixture_state(&fixture, backend, &descriptor);
                struct cistern_address address = {.key = {"k", 1}, .key_group = 5};
                struct cistern_span appended = {"appended", 8};
                assert_ok(
                    cistern_list_append(list, &address, appended, &fixture.error), fixture.error);
                struct cistern_cursor *cursor = NULL;
                struct cistern_entry entries[8];
                uint32_t got = 0;
                uint32_t total = 0;
                assert_ok(
                    cistern_list_open(list, &address, &cursor, &fixture.error), fixture.error);
                for (;;) {
                    static const char *const all[] = {
                        "plain", "plain", "stamped", "stamped", "appended"};
                    assert_ok(cistern_cursor_next(cursor, entries, 1, &got, &fixture.error),
                        fixture.error);
                    if (got == 0) {
                        break;
                    }
                    total += has_ttl && total == 2; /* stamped 1234: long expired */
                    assert_int_equal(entries[0].value.bytes, strlen(all[total]));
                    assert_memory_equal(entries[0].value.data, all[total], entries[0].value.bytes);
                    assert_int_equal(entries[0].written_ms != 0, has_ttl);
                    total++;
                }
                assert_int_equal(total, 5);
                cistern_cursor_close(cursor);
            }
            assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
            free(taken);
        }
    }
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_list_allocations),
        cmocka_unit_test(test_crossing),
        cmocka_unit_test(test_heap_native),
        cmocka_unit_test(test_runs),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
