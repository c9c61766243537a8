/*
 * restore_test.c -- state out of one backend into another: canonical files, heap increments with
 * tombstones, other key-group ranges, and parts that are damaged or do not belong.
 */
#include "rocks_fixture.h"

#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/backend_ops.h"
#include "cistern/seg.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUPS 300u /* two bytes of key group */
#define COUNT 5000u

static const struct cistern_state_descriptor count_descriptor = {.name = "count",
    .kind = CISTERN_REDUCING,
    .key_bytes = 8,
    .value_bytes = 8,
    .reduce = CISTERN_REDUCE_SUM_I64};
static const struct cistern_state_descriptor text_descriptor = {
    .name = "text", .kind = CISTERN_VALUE};

/* `text` has variable keys and namespaces: absent, empty and not, by the index. */
static struct cistern_address text_address(struct test_address *storage, uint64_t index)
{
    struct cistern_address address = fixture_address(storage, index, GROUPS);
    address.key.bytes = 8 - index % 2;
    if (index % 3 != 0) {
        storage->name_space[0] = 'n';
        address.name_space = (struct cistern_span){storage->name_space, index % 3 - 1};
    }
    return address;
}

static void fill(struct fixture *fixture, struct cistern_backend *backend)
{
    struct cistern_state *count = fixture_state(fixture, backend, &count_descriptor);
    struct cistern_state *text = fixture_state(fixture, backend, &text_descriptor);
    for (uint64_t i = 0; i < COUNT; i++) {
        struct test_address storage;
        uint8_t value[8];
        cistern_put_u64_be(value, i);
        struct cistern_address address = fixture_address(&storage, i, GROUPS);
        assert_ok(
            cistern_value_put(count, &address, (struct cistern_span){value, 8}, &fixture->error),
            fixture->error);
        address = text_address(&storage, i);
        assert_ok(
            cistern_value_put(text, &address, (struct cistern_span){value, i % 9}, &fixture->error),
            fixture->error);
    }
}

static uint32_t entries_of(struct fixture *fixture, struct cistern_state *state)
{
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[100];
    uint32_t count = 0;
    uint32_t total = 0;
    assert_ok(cistern_entries_open(state, &cursor, &fixture->error), fixture->error);
    do {
        assert_ok(
            cistern_cursor_next(cursor, entries, 100, &count, &fixture->error), fixture->error);
        total += count;
    } while (count != 0);
    cistern_cursor_close(cursor);
    return total;
}

/* Everything whose group lies in the backend's range, and nothing else. */
static void check(struct fixture *fixture, struct cistern_backend *backend)
{
    struct cistern_key_group_range range = cistern_backend_options_of(backend)->range;
    struct cistern_state *count = fixture_state(fixture, backend, &count_descriptor);
    struct cistern_state *text = fixture_state(fixture, backend, &text_descriptor);
    uint32_t expected = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        uint32_t group = (uint32_t)(i % GROUPS);
        if (group < range.first || group > range.last) {
            continue;
        }
        expected++;
        struct test_address storage;
        uint8_t value[8];
        struct cistern_span got;
        cistern_put_u64_be(value, i);
        struct cistern_address address = fixture_address(&storage, i, GROUPS);
        assert_ok(cistern_value_get(count, &address, &got, &fixture->error), fixture->error);
        assert_int_equal(got.bytes, 8);
        assert_memory_equal(got.data, value, 8);
        address = text_address(&storage, i);
        assert_ok(cistern_value_get(text, &address, &got, &fixture->error), fixture->error);
        assert_int_equal(got.bytes, i % 9);
        assert_memory_equal(got.data, value, i % 9);
    }
    assert_int_equal(entries_of(fixture, count), expected);
    assert_int_equal(entries_of(fixture, text), expected);
}

static struct cistern_backend *restore(struct fixture *fixture, uint32_t slot, const char *name,
    uint32_t first, uint32_t last, const char *from, struct taken **slices, uint32_t slice_count)
{
    struct test_source source;
    test_source_init(&source, from, slices, slice_count);
    struct cistern_backend *backend = fixture_backend(fixture, slot, name, GROUPS, first, last);
    assert_ok(cistern_backend_restore(backend, &source.source, &fixture->error), fixture->error);
    check(fixture, backend);
    return backend;
}

/* 1 -> 2 -> 1, native and canonical. */
static void rescale(uint32_t kind, const char *from)
{
    struct fixture fixture;
    fixture_open(&fixture, 128u << 20, 2, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *one = fixture_backend(&fixture, 0, "one", GROUPS, 0, GROUPS - 1);
    fill(&fixture, one);
    struct taken *whole = fixture_take(&fixture, fixture_begin(&fixture, one, 1, kind), "whole");
    check(&fixture, one);
    assert_ok(cistern_backend_close(one, &fixture.error), fixture.error);
    struct cistern_key_group_range low = cistern_key_group_range_of(0, GROUPS, 2);
    struct cistern_key_group_range high = cistern_key_group_range_of(1, GROUPS, 2);
    struct cistern_backend *left =
        restore(&fixture, 0, "left", low.first, low.last, from, &whole, 1);
    struct cistern_backend *right =
        restore(&fixture, 1, "right", high.first, high.last, from, &whole, 1);
    struct taken *halves[2];
    halves[0] = fixture_take(&fixture, fixture_begin(&fixture, left, 2, kind), "half0");
    halves[1] = fixture_take(&fixture, fixture_begin(&fixture, right, 2, kind), "half1");
    assert_ok(cistern_backend_close(left, &fixture.error), fixture.error);
    assert_ok(cistern_backend_close(right, &fixture.error), fixture.error);
    struct cistern_backend *again = restore(&fixture, 0, "again", 0, GROUPS - 1, from, halves, 2);
    assert_int_equal(access(fixture_path(&fixture, "again/restore"), F_OK), -1);
    assert_ok(cistern_backend_close(again, &fixture.error), fixture.error);
    /* One half is also someone else's business: only what overlaps is taken. */
    struct cistern_backend *middle = restore(&fixture, 0, "middle", 100, 200, from, halves, 2);
    assert_ok(cistern_backend_close(middle, &fixture.error), fixture.error);
    free(whole);
    free(halves[0]);
    free(halves[1]);
    fixture_close(&fixture);
}

static void test_rescale_native(void **unused)
{
    (void)unused;
    rescale(CISTERN_SNAPSHOT_FULL, "rocks");
}

static void test_rescale_canonical(void **unused)
{
    (void)unused;
    rescale(CISTERN_SNAPSHOT_CANONICAL, "canonical");
}

/* A heap container: a base, or an increment that overwrites, adds and deletes. */
static void seg_write(struct fixture *fixture, struct taken *taken, uint32_t role, const char *name)
{
    struct cistern_seg_writer_options options = {
        .role = role, .range = {0, GROUPS - 1}, .checkpoint_id = 5};
    struct cistern_seg_writer *writer = NULL;
    assert_ok(cistern_seg_writer_create(&options, &writer, &fixture->error), fixture->error);
    char *text = NULL;
    assert_ok(
        cistern_descriptor_encode(&text_descriptor, 1, &text, &fixture->error), fixture->error);
    assert_ok(cistern_seg_writer_state(writer, 1, text, &fixture->error), fixture->error);
    cistern_release(text);
    struct taken_part *part = &taken->parts[taken->part_count++];
    snprintf(part->path, sizeof part->path, "%s", fixture_path(fixture, name));
    part->part =
        (struct cistern_part){.kind = CISTERN_PART_STREAM, .role = role, .range = options.range};
    for (uint64_t i = 0; i < 100; i++) {
        struct test_address storage;
        struct cistern_address address = text_address(&storage, i);
        struct cistern_seg_entry entry = {.state_id = 1,
            .key_group = address.key_group,
            .key = address.key,
            .name_space = address.name_space};
        entry.value = (struct cistern_span){role == CISTERN_ROLE_HEAP_BASE ? "base" : "next", 4};
        if (role == CISTERN_ROLE_HEAP_INCREMENT) {
            if (i % 4 == 3) {
                continue;
            }
            entry.tombstone = i % 4 == 0;
            entry.value.data = entry.tombstone ? NULL : entry.value.data;
            entry.value.bytes = entry.tombstone ? 0 : entry.value.bytes;
        }
        assert_ok(cistern_seg_writer_add(writer, &entry, &fixture->error), fixture->error);
    }
    assert_ok(cistern_seg_writer_finish(writer, &fixture->error), fixture->error);
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

static void test_heap_increment(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct taken *taken = calloc(1, sizeof *taken);
    seg_write(&fixture, taken, CISTERN_ROLE_HEAP_BASE, "base.seg");
    seg_write(&fixture, taken, CISTERN_ROLE_HEAP_INCREMENT, "next.seg");
    struct test_source source;
    test_source_init(&source, "heap", &taken, 1);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    assert_ok(cistern_backend_restore(backend, &source.source, &fixture.error), fixture.error);
    struct cistern_state *state = fixture_state(&fixture, backend, &text_descriptor);
    for (uint64_t i = 0; i < 100; i++) {
        struct test_address storage;
        struct cistern_span got;
        struct cistern_address address = text_address(&storage, i);
        uint32_t status = cistern_value_get(state, &address, &got, &fixture.error);
        assert_status(status, i % 4 == 0 ? CISTERN_NOT_FOUND : CISTERN_OK);
        if (status == CISTERN_OK) {
            assert_memory_equal(got.data, i % 4 == 3 ? "base" : "next", 4);
        }
    }
    assert_int_equal(entries_of(&fixture, state), 75);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    free(taken);
    fixture_close(&fixture);
}

/* Restores what must be refused; the backend then only closes, and says so. */
static void refuse(struct fixture *fixture, const char *from, struct taken *taken,
    uint32_t max_parallelism, uint32_t expected)
{
    struct test_source source;
    test_source_init(&source, from, &taken, 1);
    struct cistern_backend *backend =
        fixture_backend(fixture, 0, "refused", max_parallelism, 0, GROUPS - 1);
    assert_status(cistern_backend_restore(backend, &source.source, &fixture->error), expected);
    if (expected != CISTERN_UNSUPPORTED) {
        assert_non_null(strstr(fixture->error.message, "close the backend"));
        struct cistern_state *state = NULL;
        struct cistern_state_descriptor descriptor = {.name = "other", .kind = CISTERN_VALUE};
        assert_status(
            cistern_state_register(backend, &descriptor, &state, &fixture->error), CISTERN_CLOSED);
    }
    assert_ok(cistern_backend_close(backend, &fixture->error), fixture->error);
}

static void test_refused(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *one = fixture_backend(&fixture, 0, "one", GROUPS, 0, GROUPS - 1);
    fill(&fixture, one);
    struct taken *taken =
        fixture_take(&fixture, fixture_begin(&fixture, one, 1, CISTERN_SNAPSHOT_FULL), "taken");
    assert_ok(cistern_backend_close(one, &fixture.error), fixture.error);
    refuse(&fixture, "tape", taken, GROUPS, CISTERN_UNSUPPORTED);
    refuse(&fixture, "rocks", taken, GROUPS + 1, CISTERN_MISMATCH);
    char *manifest = taken->parts[taken->part_count - 1].name;
    snprintf(manifest, 64, "../MANIFEST-000001");
    refuse(&fixture, "rocks", taken, GROUPS, CISTERN_CORRUPT);
    taken->part_count--; /* no MANIFEST at all */
    refuse(&fixture, "rocks", taken, GROUPS, CISTERN_CORRUPT);
    taken->parts[0].part.role = CISTERN_ROLE_CANONICAL; /* bytes of a table file */
    taken->part_count = 1;
    refuse(&fixture, "canonical", taken, GROUPS, CISTERN_CORRUPT);
    free(taken);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rescale_native),
        cmocka_unit_test(test_rescale_canonical),
        cmocka_unit_test(test_heap_increment),
        cmocka_unit_test(test_refused),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
