/*
 * backend_model_test.c -- random operations on a backend against a table of arrays; at every round
 * a snapshot is taken while writing goes on, and what it holds is restored (same range, and split
 * over two) and compared with the model of that moment.
 *
 * The model: KEY_COUNT keys x 2 states, a value or nothing each. Values carry their own length and
 *            content, so that a swapped or
 * torn value is seen.
 */
#include "model/model.h"
#include "support/capture.h"
#include "test.h"

#include "cistern/clock.h"
#include "cistern/endian.h"

#include <string.h>

#define KEY_COUNT 3000u
#define STEPS_PER_ROUND 4000u
#define VALUE_BYTES_MAX 700u
#define BATCH 64u

struct model {
    int16_t value_length[KEY_COUNT]; /* -1 = absent */
    uint8_t value_tag[KEY_COUNT];
    int64_t sum[KEY_COUNT];
    uint8_t sum_there[KEY_COUNT];
};
struct fixture {
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    struct cistern_slot *scratch_slot;
    struct cistern_backend *backend;
    struct cistern_state *values;
    struct cistern_state *sums;
    struct model model;
    uint64_t random;
};

static const struct cistern_key_group_range all_groups = {0, 127};

static struct cistern_address address_of(uint32_t index, char text[32])
{
    /* Odd keys live in a namespace; key lengths vary. */
    int length = snprintf(text, 24, "key-%0*u", (int)(index % 9) + 1, index);
    struct cistern_address address = {.key = {text, (uint64_t)length}};
    if (index % 2 == 1) {
        memcpy(text + 24, "window", 6);
        address.name_space = (struct cistern_span){text + 24, 1 + index % 6};
    }
    address.key_group = cistern_key_group_bytes(address.key, 128);
    return address;
}

static struct cistern_span value_of(uint8_t tag, int16_t length, uint8_t buffer[VALUE_BYTES_MAX])
{
    for (int16_t i = 0; i < length; i++) {
        buffer[i] = (uint8_t)(tag + i * 7);
    }
    return (struct cistern_span){buffer, (uint64_t)length};
}

static void states_register(
    struct cistern_backend *backend, struct cistern_state **values, struct cistern_state **sums)
{
    struct cistern_error error;
    struct cistern_state_descriptor value = {.name = "values", .kind = CISTERN_VALUE};
    struct cistern_state_descriptor sum = {.name = "sums",
        .kind = CISTERN_REDUCING,
        .value_bytes = 8,
        .reduce = CISTERN_REDUCE_SUM_I64};
    assert_ok(cistern_state_register(backend, &value, values, &error), error);
    assert_ok(cistern_state_register(backend, &sum, sums, &error), error);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    struct cistern_error error;
    struct cistern_pool_options options = {.budget_bytes = 256 << 20, .slot_count_max = 2};
    assert_ok(cistern_pool_create(&options, &f->pool, &error), error);
    assert_ok(cistern_slot_open(f->pool, NULL, &f->slot, &error), error);
    assert_ok(cistern_slot_open(f->pool, NULL, &f->scratch_slot, &error), error);
    f->backend = model_open(f->slot, all_groups);
    states_register(f->backend, &f->values, &f->sums);
    memset(f->model.value_length, 0xff, sizeof f->model.value_length);
    f->random = test_seed(model_backend, 20261123);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    assert_ok(cistern_backend_close(f->backend, &error), error);
    assert_ok(cistern_slot_close(f->slot, &error), error);
    assert_ok(cistern_slot_close(f->scratch_slot, &error), error);
    assert_ok(cistern_pool_destroy(f->pool, &error), error);
    free(f);
    return 0;
}

static void put_batch(struct fixture *f)
{
    struct cistern_address addresses[BATCH];
    struct cistern_span values[BATCH];
    static char text[BATCH][32];
    static uint8_t bytes[BATCH][VALUE_BYTES_MAX];
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t key = (uint32_t)(test_random(&f->random) % KEY_COUNT);
        uint8_t tag = (uint8_t)test_random(&f->random);
        int16_t length = (int16_t)(test_random(&f->random) % (key % 3 == 0 ? 16 : VALUE_BYTES_MAX));
        addresses[i] = address_of(key, text[i]);
        values[i] = value_of(tag, length, bytes[i]);
        f->model.value_length[key] = length; /* repeated keys of a batch: the last one stays */
        f->model.value_tag[key] = tag;
    }
    uint32_t done = 0;
    struct cistern_error error;
    assert_ok(cistern_value_put_many(f->values, addresses, values, BATCH, &done, &error), error);
    assert_int_equal(done, BATCH);
}

static void add_batch(struct fixture *f)
{
    struct cistern_address addresses[BATCH];
    struct cistern_span inputs[BATCH];
    static char text[BATCH][32];
    static uint8_t bytes[BATCH][8];
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t key = (uint32_t)(test_random(&f->random) % (i % 2 ? KEY_COUNT : 50));
        int64_t amount = (int64_t)(test_random(&f->random) % 2001) - 1000;
        addresses[i] = address_of(key, text[i]);
        cistern_put_u64_be(bytes[i], (uint64_t)amount);
        inputs[i] = (struct cistern_span){bytes[i], 8};
        f->model.sum[key] += amount;
        f->model.sum_there[key] = 1;
    }
    uint32_t done = 0;
    struct cistern_error error;
    assert_ok(cistern_value_add_many(f->sums, addresses, inputs, BATCH, &done, &error), error);
    assert_int_equal(done, BATCH);
}

static void remove_some(struct fixture *f)
{
    struct cistern_error error;
    for (uint32_t i = 0; i < BATCH / 2; i++) {
        char text[32];
        uint32_t key = (uint32_t)(test_random(&f->random) % KEY_COUNT);
        struct cistern_address address = address_of(key, text);
        assert_ok(cistern_value_remove(f->values, &address, &error), error);
        f->model.value_length[key] = -1;
        if (i % 4 == 0) {
            assert_ok(cistern_value_remove(f->sums, &address, &error), error);
            f->model.sum[key] = 0;
            f->model.sum_there[key] = 0;
        }
    }
}

static void steps_run(struct fixture *f, uint32_t steps)
{
    struct cistern_error error;
    for (uint32_t step = 0; step < steps; step += BATCH) {
        switch (test_random(&f->random) % 8) {
        case 0:
            remove_some(f);
            break;
        case 1:
        case 2:
        case 3:
            add_batch(f);
            break;
        case 4:
            assert_ok(cistern_backend_step(f->backend, 0, &error), error);
            break;
        default:
            put_batch(f);
        }
    }
}

static void key_compare(struct cistern_state *values, struct cistern_state *sums,
    const struct model *model, uint32_t key)
{
    struct cistern_error error;
    char text[32];
    uint8_t bytes[VALUE_BYTES_MAX];
    struct cistern_address address = address_of(key, text);
    struct cistern_span got = {0};
    uint32_t status = cistern_value_get(values, &address, &got, &error);
    if (model->value_length[key] < 0) {
        assert_status(status, CISTERN_NOT_FOUND);
    } else {
        assert_ok(status, error);
        struct cistern_span expected =
            value_of(model->value_tag[key], model->value_length[key], bytes);
        assert_int_equal(got.bytes, expected.bytes);
        assert_non_null(got.data);
        assert_memory_equal(got.data, expected.data, expected.bytes);
    }
    status = cistern_value_get(sums, &address, &got, &error);
    if (!model->sum_there[key]) {
        assert_status(status, CISTERN_NOT_FOUND);
    } else {
        assert_ok(status, error);
        assert_int_equal(got.bytes, 8);
        assert_int_equal((int64_t)cistern_get_u64_be(got.data), model->sum[key]);
    }
}

/* The cursor shows each entry of `state` once: their number equals the model's. */
static uint32_t entries_count(struct cistern_state *state)
{
    struct cistern_error error;
    struct cistern_cursor *cursor;
    struct cistern_entry entries[37];
    uint32_t total = 0;
    assert_ok(cistern_entries_open(state, &cursor, &error), error);
    for (uint32_t count = 1; count > 0; total += count) {
        assert_ok(cistern_cursor_next(cursor, entries, 37, &count, &error), error);
    }
    cistern_cursor_close(cursor);
    return total;
}

static int key_in(uint32_t key, struct cistern_key_group_range range)
{
    char text[32];
    uint32_t group = address_of(key, text).key_group;
    return group >= range.first && group <= range.last;
}

static void backend_compare(struct cistern_backend *backend, const struct model *model,
    struct cistern_key_group_range range)
{
    struct cistern_state *values;
    struct cistern_state *sums;
    states_register(backend, &values, &sums);
    uint32_t value_count = 0;
    uint32_t sum_count = 0;
    for (uint32_t key = 0; key < KEY_COUNT; key++) {
        if (key_in(key, range)) {
            key_compare(values, sums, model, key);
            value_count += model->value_length[key] >= 0;
            sum_count += model->sum_there[key];
        }
    }
    assert_int_equal(entries_count(values), value_count);
    assert_int_equal(entries_count(sums), sum_count);
}

static void restore_and_compare(struct fixture *f, struct capture *capture,
    const struct model *model, struct cistern_key_group_range range)
{
    struct cistern_error error;
    struct cistern_backend *restored = model_open(f->scratch_slot, range);
    struct cistern_source source = capture_source(&capture, 1);
    assert_ok(cistern_backend_restore(restored, &source, &error), error);
    capture_source_close(&source);
    backend_compare(restored, model, range);
    assert_ok(cistern_backend_close(restored, &error), error);
}

/* RocksDB answers BUSY while the flush of an abandoned snapshot is still under way: a host tries
 * again later. */
static struct cistern_snapshot *snapshot_begin(
    struct fixture *f, uint64_t id, uint64_t base, uint32_t kind)
{
    struct cistern_error error;
    struct cistern_snapshot *snapshot = NULL;
    struct cistern_snapshot_request request = {
        .checkpoint_id = id, .base_checkpoint_id = base, .kind = kind};
    uint32_t status = CISTERN_BUSY;
    for (int tries = 0; tries < 10000 && status == CISTERN_BUSY; tries++) {
        status = cistern_snapshot_begin(f->backend, &request, &snapshot, &error);
        if (status == CISTERN_BUSY) {
            cistern_sleep_ns(1000000);
        }
    }
    assert_ok(status, error);
    return snapshot;
}

static void test_random_operations(void **state)
{
    struct fixture *f = *state;
    for (uint32_t round = 0; round < model_round_count; round++) {
        steps_run(f, STEPS_PER_ROUND);
        backend_compare(f->backend, &f->model, all_groups);
    }
}

static void test_snapshots_hold_their_moment(void **state)
{
    struct fixture *f = *state;
    struct capture *confirmed = NULL;
    static struct model frozen;
    for (uint64_t id = 1; id <= model_round_count; id++) {
        steps_run(f, STEPS_PER_ROUND);
        frozen = f->model;
        uint64_t base = confirmed != NULL ? confirmed->checkpoint_id : 0;
        struct cistern_snapshot *snapshot = snapshot_begin(
            f, id, base, base != 0 ? CISTERN_SNAPSHOT_INCREMENT : CISTERN_SNAPSHOT_FULL);
        steps_run(f, STEPS_PER_ROUND / 4); /* the writer goes on before the first part is pulled */
        struct capture *capture = capture_take(snapshot, model_backend, confirmed);
        capture->checkpoint_id = id;
        if (id % 3 == 0) { /* an attempt that never gets published: the base stays what it was */
            cistern_backend_notify(f->backend, id, CISTERN_DISCARDED);
            capture_free(capture);
            continue;
        }
        cistern_backend_notify(f->backend, id, CISTERN_CONFIRMED);
        if (base != 0) {
            cistern_backend_notify(f->backend, base, CISTERN_SUBSUMED);
        }
        if (id % 4 == 1) {
            restore_and_compare(f, capture, &frozen, all_groups);
            restore_and_compare(f, capture, &frozen, (struct cistern_key_group_range){0, 41});
            restore_and_compare(f, capture, &frozen, (struct cistern_key_group_range){42, 127});
        }
        capture_free(confirmed);
        confirmed = capture;
    }
    capture_free(confirmed);
    backend_compare(f->backend, &f->model, all_groups);
}

static void test_abort_at_any_point(void **state)
{
    struct fixture *f = *state;
    for (uint64_t id = 1; id <= model_round_count; id++) {
        steps_run(f, STEPS_PER_ROUND / 8);
        struct cistern_snapshot *snapshot = snapshot_begin(f, id, 0, CISTERN_SNAPSHOT_FULL);
        struct cistern_part part;
        struct cistern_error error;
        uint8_t bytes[4096];
        for (uint64_t pulls = 0; pulls < id % 5; pulls++) {
            uint32_t status = cistern_snapshot_next(snapshot, &part, &error);
            if (status == CISTERN_OK && part.kind == CISTERN_PART_STREAM) {
                uint64_t got = 0;
                struct cistern_bytes room = {bytes, sizeof bytes};
                assert_ok(cistern_snapshot_read(snapshot, room, &got, &error), error);
            }
        }
        cistern_snapshot_release(snapshot);
        cistern_backend_notify(f->backend, id, CISTERN_DISCARDED);
        steps_run(f, STEPS_PER_ROUND / 8);
    }
    backend_compare(f->backend, &f->model, all_groups);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_operations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshots_hold_their_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abort_at_any_point, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
