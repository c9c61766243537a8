/* value_test.c -- values, batches and cursors against a model; reducers and how far a failing
 * batch got. */
#include "rocks_fixture.h"

#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <string.h>

#define UNIVERSE 3000u
#define BATCH_MAX 700u
#define GROUPS 128u

struct model {
    int64_t values[UNIVERSE];
    uint8_t present[UNIVERSE];
};

/* Entry i: two in three in the void namespace, the rest in one of two others, so that keys
 *          repeat across namespaces. */
static struct cistern_address model_address(struct test_address *storage, uint32_t index)
{
    struct cistern_address address = fixture_address(storage, index / 3, GROUPS);
    if (index % 3 != 0) {
        storage->name_space[0] = (uint8_t)index % 3;
        address.name_space = (struct cistern_span){storage->name_space, index % 3 == 1 ? 1 : 0};
    }
    return address;
}

struct batch {
    struct test_address storage[BATCH_MAX];
    struct cistern_address addresses[BATCH_MAX];
    uint32_t indexes[BATCH_MAX];
    uint8_t bytes[BATCH_MAX][8];
    struct cistern_span values[BATCH_MAX];
    uint32_t count;
};

static void batch_draw(struct batch *batch, uint64_t *random, uint32_t universe)
{
    batch->count =
        1 + (uint32_t)(test_random(random) % (test_random(random) % 4 == 0 ? BATCH_MAX : 20));
    for (uint32_t i = 0; i < batch->count; i++) {
        batch->indexes[i] = (uint32_t)(test_random(random) % universe);
        batch->addresses[i] = model_address(&batch->storage[i], batch->indexes[i]);
        cistern_put_u64_be(batch->bytes[i], test_random(random) % 1000);
        batch->values[i] = (struct cistern_span){batch->bytes[i], 8};
    }
}

static void check_get(struct fixture *fixture, struct cistern_state *state,
    const struct model *model, struct batch *batch)
{
    struct cistern_span got[BATCH_MAX];
    assert_ok(cistern_value_get_many(state, batch->addresses, batch->count, got, &fixture->error),
        fixture->error);
    for (uint32_t i = 0; i < batch->count; i++) {
        uint32_t index = batch->indexes[i];
        assert_int_equal(got[i].data != NULL, model->present[index]);
        if (got[i].data != NULL) {
            assert_int_equal(got[i].bytes, 8);
            assert_int_equal((int64_t)cistern_get_u64_be(got[i].data), model->values[index]);
        }
    }
}

static void check_cursor(struct fixture *fixture, struct cistern_state *state,
    const struct model *model, uint32_t capacity)
{
    static uint8_t seen[UNIVERSE];
    memset(seen, 0, sizeof seen);
    struct cistern_cursor *cursor = NULL;
    assert_ok(cistern_entries_open(state, &cursor, &fixture->error), fixture->error);
    struct cistern_entry entries[64];
    uint32_t count = 0;
    do {
        assert_ok(cistern_cursor_next(cursor, entries, capacity, &count, &fixture->error),
            fixture->error);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t key = cistern_get_u64_be(entries[i].address.key.data);
            uint32_t index = UNIVERSE;
            for (uint32_t k = 0; k < UNIVERSE / 3;
                 k++) { /* the key's factor has no short inverse: look it up */
                if (k * UINT64_C(0x9E3779B97F4A7C15) == key) {
                    index = k * 3;
                }
            }
            if (entries[i].address.name_space.data != NULL) {
                index += entries[i].address.name_space.bytes == 1 ? 1 : 2;
            }
            assert_true(index < UNIVERSE);
            assert_int_equal(entries[i].address.key_group, index / 3 % GROUPS);
            assert_int_equal(seen[index]++, 0);
            assert_true(model->present[index]);
            assert_int_equal(
                (int64_t)cistern_get_u64_be(entries[i].value.data), model->values[index]);
        }
    } while (count != 0);
    cistern_cursor_close(cursor);
    for (uint32_t i = 0; i < UNIVERSE; i++) {
        assert_int_equal(seen[i], model->present[i]);
    }
}

static void model_apply(struct model *model, const struct batch *batch, uint32_t kind)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        uint32_t index = batch->indexes[i];
        int64_t value = (int64_t)cistern_get_u64_be(batch->bytes[i]);
        if (kind == 2) {
            model->present[index] = 0;
            continue;
        }
        model->values[index] =
            kind == 1 && model->present[index] ? model->values[index] + value : value;
        model->present[index] = 1;
    }
}

static uint32_t model_write(struct fixture *fixture, struct cistern_state *state,
    const struct batch *batch, uint32_t kind, uint32_t *ret_done)
{
    struct cistern_error *error = &fixture->error;
    if (kind == 2) {
        return cistern_value_remove_many(state, batch->addresses, batch->count, ret_done, error);
    }
    if (kind == 1) {
        return cistern_value_add_many(
            state, batch->addresses, batch->values, batch->count, ret_done, error);
    }
    return cistern_value_put_many(
        state, batch->addresses, batch->values, batch->count, ret_done, error);
}

static void test_model(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    uint64_t random = test_seed("rocks_value_test", 11);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state_descriptor descriptor = {
        .name = "sum", .kind = CISTERN_REDUCING, .key_bytes = 8, .reduce = CISTERN_REDUCE_SUM_I64};
    struct cistern_state *state = fixture_state(&fixture, backend, &descriptor);
    static struct model model;
    static struct batch batch;
    for (uint32_t round = 0; round < 1500; round++) {
        batch_draw(&batch, &random,
            round < 750 ? 40 : UNIVERSE); /* few keys first: batches full of repeats */
        uint32_t kind = (uint32_t)(test_random(&random) % 4);
        uint32_t done = 0;
        if (kind == 3) {
            check_get(&fixture, state, &model, &batch);
            continue;
        }
        uint32_t status = model_write(&fixture, state, &batch, kind, &done);
        assert_ok(status, fixture.error);
        assert_int_equal(done, batch.count);
        model_apply(&model, &batch, kind);
    }
    check_cursor(&fixture, state, &model, 1);
    check_cursor(&fixture, state, &model, 64);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

/* A cursor sees the moment it was opened, whatever is written or removed meanwhile. */
static void test_cursor_moment(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 10, 99);
    struct cistern_state_descriptor descriptor = {.name = "v", .kind = CISTERN_VALUE};
    struct cistern_state *state = fixture_state(&fixture, backend, &descriptor);
    struct test_address storage;
    for (uint32_t i = 10; i < 100; i++) {
        struct cistern_address address = fixture_address(&storage, i, GROUPS);
        assert_ok(cistern_value_put(state, &address, (struct cistern_span){"x", 1}, &fixture.error),
            fixture.error);
    }
    struct cistern_cursor *cursor = NULL;
    assert_ok(cistern_entries_open(state, &cursor, &fixture.error), fixture.error);
    struct cistern_entry entry;
    uint32_t count = 0;
    uint32_t total = 0;
    for (;;) {
        assert_ok(cistern_cursor_next(cursor, &entry, 1, &count, &fixture.error), fixture.error);
        if (count == 0) {
            break;
        }
        total++;
        struct cistern_address copy = entry.address;
        assert_ok(cistern_value_remove(state, &copy, &fixture.error), fixture.error);
        copy = fixture_address(&storage, 1000 + 128 * total + 10, GROUPS);
        copy.key_group = 10 + total % 90;
        assert_ok(cistern_value_put(state, &copy, (struct cistern_span){"", 0}, &fixture.error),
            fixture.error);
    }
    assert_int_equal(total, 90);
    cistern_cursor_close(cursor);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

/* An accumulator that is no number: the inputs in order; refuses to grow past `arg` bytes by
 * asking for more for ever. */
static uint64_t append(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    (void)arg;
    uint64_t bytes = old_value.bytes + input.bytes;
    if (bytes <= result.capacity_bytes) {
        memcpy(result.data, old_value.data != NULL ? old_value.data : "", old_value.bytes);
        memcpy((uint8_t *)result.data + old_value.bytes, input.data, input.bytes);
    }
    return bytes;
}

static void test_aggregate_order(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state_descriptor descriptor = {
        .name = "a", .kind = CISTERN_AGGREGATING, .reduce_fn = append};
    struct cistern_state *state = fixture_state(&fixture, backend, &descriptor);
    struct test_address storage[2];
    struct cistern_address two[2] = {
        fixture_address(&storage[0], 1, GROUPS), fixture_address(&storage[1], 2, GROUPS)};
    struct cistern_address addresses[6] = {two[0], two[1], two[0], two[0], two[1], two[0]};
    struct cistern_span inputs[6] = {{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", 1}, {"f", 1}};
    uint32_t done = 0;
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(cistern_value_add_many(state, addresses, inputs, 6, &done, &fixture.error),
            fixture.error);
        assert_int_equal(done, 6);
    }
    struct cistern_span got[2];
    assert_ok(cistern_value_get_many(state, two, 2, got, &fixture.error), fixture.error);
    assert_int_equal(got[0].bytes, 8);
    assert_memory_equal(got[0].data, "acdfacdf", 8);
    assert_int_equal(got[1].bytes, 4);
    assert_memory_equal(got[1].data, "bebe", 4);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

/* The reducer's value would pass value_bytes_max at the 4th item: the three before are applied,
 * nothing after. */
static void test_add_partial(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_rocks_options options = {
        .backend = {.max_parallelism = GROUPS, .range = {0, GROUPS - 1}, .value_bytes_max = 16},
        .directory = fixture_path(&fixture, "db"),
    };
    struct cistern_backend *backend = NULL;
    assert_ok(
        cistern_rocks_open(fixture.slots[0], &options, &backend, &fixture.error), fixture.error);
    struct cistern_state_descriptor descriptor = {
        .name = "a", .kind = CISTERN_AGGREGATING, .reduce_fn = append};
    struct cistern_state *state = fixture_state(&fixture, backend, &descriptor);
    struct test_address storage[3];
    struct cistern_address a = fixture_address(&storage[0], 1, GROUPS);
    struct cistern_address b = fixture_address(&storage[1], 2, GROUPS);
    struct cistern_address addresses[6] = {a, b, a, a, b, b};
    struct cistern_span eight = {"01234567", 8};
    struct cistern_span inputs[6] = {eight, eight, eight, eight, eight, eight};
    uint32_t done = 99;
    assert_status(cistern_value_add_many(state, addresses, inputs, 6, &done, &fixture.error),
        CISTERN_INVALID);
    assert_int_equal(done, 3);
    assert_non_null(strstr(fixture.error.message, "24"));
    assert_non_null(strstr(fixture.error.message, "16"));
    struct cistern_span got;
    assert_ok(cistern_value_get(state, &a, &got, &fixture.error), fixture.error);
    assert_int_equal(got.bytes, 16);
    assert_ok(cistern_value_get(state, &b, &got, &fixture.error), fixture.error);
    assert_int_equal(got.bytes, 8);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

/* Batches whose results are far larger than one write batch, and results that come in many
 * reads. */
static void test_large(void **unused)
{
    (void)unused;
    enum { COUNT = 1024, VALUE = 20000, LARGE_COUNT = 300 };
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", 300, 0, 299);
    struct cistern_state_descriptor descriptor = {
        .name = "a", .kind = CISTERN_AGGREGATING, .reduce_fn = append};
    struct cistern_state *state = fixture_state(&fixture, backend, &descriptor);
    static struct test_address storage[COUNT];
    static struct cistern_address addresses[COUNT];
    static struct cistern_span spans[COUNT];
    static uint8_t bytes[VALUE];
    for (uint32_t i = 0; i < COUNT; i++) {
        addresses[i] = fixture_address(&storage[i], i, 300);
        spans[i] = (struct cistern_span){storage[i].key, 8};
    }
    memset(bytes, 'v', sizeof bytes);
    uint32_t done = 0;
    assert_ok(cistern_value_add_many(state, addresses, spans, COUNT, &done, &fixture.error),
        fixture.error);
    assert_int_equal(done, COUNT);
    struct cistern_span large[LARGE_COUNT];
    for (uint32_t i = 0; i < LARGE_COUNT; i++) {
        large[i] = (struct cistern_span){bytes, VALUE};
    }
    assert_ok(cistern_value_add_many(state, addresses, large, LARGE_COUNT, &done, &fixture.error),
        fixture.error);
    assert_int_equal(done, LARGE_COUNT);
    static struct cistern_span got[COUNT];
    assert_ok(cistern_value_get_many(state, addresses, COUNT, got, &fixture.error), fixture.error);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(got[i].bytes, i < LARGE_COUNT ? 8 + VALUE : 8);
        assert_memory_equal(got[i].data, storage[i].key, 8);
        assert_int_equal(((const uint8_t *)got[i].data)[got[i].bytes - 1],
            i < LARGE_COUNT ? 'v' : storage[i].key[7]);
    }
    struct cistern_entry entries[64];
    uint64_t total = 0;
    uint32_t count = 0;
    struct cistern_cursor *cursor = NULL;
    assert_ok(cistern_entries_open(state, &cursor, &fixture.error), fixture.error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 64, &count, &fixture.error), fixture.error);
        total += count;
    } while (count != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(total, COUNT);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_cursor_moment),
        cmocka_unit_test(test_aggregate_order),
        cmocka_unit_test(test_add_partial),
        cmocka_unit_test(test_large),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
