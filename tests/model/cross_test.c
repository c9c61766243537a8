/* cross_test.c -- what one backend writes in the canonical form, the other reads: entries,
 * states, namespaces and TTL stamps. */
#include "support/capture.h"
#include "test.h"

#include "cistern/endian.h"
#include "cistern/heap.h"
#include "cistern/pool.h"
#include "cistern/rocks.h"

#include <string.h>

#define KEY_COUNT 5000u

struct fixture {
    struct cistern_pool *pool;
    struct cistern_slot *slots[2];
};

static const struct cistern_state_descriptor descriptor = {.name = "counts",
    .kind = CISTERN_REDUCING,
    .value_bytes = 8,
    .reduce = CISTERN_REDUCE_SUM_I64,
    .ttl = {.time_to_live_ms = 86400000}};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    struct cistern_error error;
    struct cistern_pool_options options = {.budget_bytes = 128 << 20, .slot_count_max = 2};
    assert_ok(cistern_pool_create(&options, &f->pool, &error), error);
    for (int i = 0; i < 2; i++) {
        assert_ok(cistern_slot_open(f->pool, NULL, &f->slots[i], &error), error);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    for (int i = 0; i < 2; i++) {
        assert_ok(cistern_slot_close(f->slots[i], &error), error);
    }
    assert_ok(cistern_pool_destroy(f->pool, &error), error);
    free(f);
    return 0;
}

static struct cistern_backend *open_backend(struct cistern_slot *slot, int rocks)
{
    struct cistern_error error;
    struct cistern_backend *backend;
    struct cistern_backend_options options = {.max_parallelism = 300, .range = {0, 299}};
    if (rocks) {
        char directory[] = "/tmp/cistern-cross-XXXXXX";
        assert_non_null(mkdtemp(directory));
        struct cistern_rocks_options rocks_options = {.backend = options, .directory = directory};
        assert_ok(cistern_rocks_open(slot, &rocks_options, &backend, &error), error);
    } else {
        struct cistern_heap_options heap_options = {.backend = options};
        assert_ok(cistern_heap_open(slot, &heap_options, &backend, &error), error);
    }
    return backend;
}

static struct cistern_address address_of(uint32_t index, uint8_t key[12])
{
    cistern_put_u32_be(key, index);
    memcpy(key + 4, "namespace", 8);
    struct cistern_address address = {.key = {key, 4}, .key_group = index % 300};
    if (index % 5 != 0) {
        address.name_space = (struct cistern_span){key + 4, index % 5};
    }
    return address;
}

static void fill(struct cistern_state *counts)
{
    struct cistern_error error;
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        uint8_t key[12];
        uint8_t amount[8];
        struct cistern_address address = address_of(i, key);
        cistern_put_u64_be(amount, i * 3u + 1u);
        assert_ok(
            cistern_value_add(counts, &address, (struct cistern_span){amount, 8}, &error), error);
        if (i % 11 == 0) {
            assert_ok(cistern_value_remove(counts, &address, &error), error);
        }
    }
}

static void compare(struct cistern_state *counts)
{
    struct cistern_error error;
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        uint8_t key[12];
        struct cistern_address address = address_of(i, key);
        struct cistern_span value;
        uint32_t status = cistern_value_get(counts, &address, &value, &error);
        if (i % 11 == 0) {
            assert_status(status, CISTERN_NOT_FOUND);
        } else {
            assert_ok(status, error);
            assert_int_equal(cistern_get_u64_be(value.data), i * 3u + 1u);
        }
    }
}

static void carry(struct fixture *f, int from_rocks, int to_rocks, uint32_t kind, const char *form)
{
    struct cistern_error error;
    struct cistern_state *counts;
    struct cistern_backend *from = open_backend(f->slots[0], from_rocks);
    assert_ok(cistern_state_register(from, &descriptor, &counts, &error), error);
    fill(counts);
    struct cistern_snapshot_request request = {.checkpoint_id = 1, .kind = kind};
    struct cistern_snapshot *snapshot;
    assert_ok(cistern_snapshot_begin(from, &request, &snapshot, &error), error);
    struct capture *capture = capture_take(snapshot, form, NULL);
    assert_ok(cistern_backend_close(from, &error), error);

    struct cistern_backend *to = open_backend(f->slots[1], to_rocks);
    struct cistern_source source = capture_source(&capture, 1);
    assert_ok(cistern_backend_restore(to, &source, &error), error);
    capture_source_close(&source);
    assert_ok(cistern_state_register(to, &descriptor, &counts, &error), error);
    compare(counts);
    assert_ok(cistern_backend_close(to, &error), error);
    capture_free(capture);
}

static void test_canonical_every_way(void **state)
{
    for (int from = 0; from < 2; from++) {
        for (int to = 0; to < 2; to++) {
            carry(*state, from, to, CISTERN_SNAPSHOT_CANONICAL, "canonical");
        }
    }
}

static void test_heap_native_into_rocks(void **state)
{
    carry(*state, 0, 1, CISTERN_SNAPSHOT_FULL, "heap");
}

static void test_rocks_native_into_heap_says_the_way(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    struct cistern_backend *from = open_backend(f->slots[0], 1);
    struct cistern_state *counts;
    assert_ok(cistern_state_register(from, &descriptor, &counts, &error), error);
    fill(counts);
    struct cistern_snapshot_request request = {.checkpoint_id = 1, .kind = CISTERN_SNAPSHOT_FULL};
    struct cistern_snapshot *snapshot;
    assert_ok(cistern_snapshot_begin(from, &request, &snapshot, &error), error);
    struct capture *capture = capture_take(snapshot, "rocks", NULL);
    assert_ok(cistern_backend_close(from, &error), error);
    struct cistern_backend *to = open_backend(f->slots[1], 0);
    struct cistern_source source = capture_source(&capture, 1);
    assert_status(cistern_backend_restore(to, &source, &error), CISTERN_UNSUPPORTED);
    assert_non_null(strstr(error.message, "savepoint"));
    capture_source_close(&source);
    assert_ok(cistern_backend_close(to, &error), error);
    capture_free(capture);
}

static void test_other_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    struct cistern_backend *from = open_backend(f->slots[0], 0);
    struct cistern_state *counts;
    assert_ok(cistern_state_register(from, &descriptor, &counts, &error), error);
    fill(counts);
    struct cistern_snapshot_request request = {.checkpoint_id = 1, .kind = CISTERN_SNAPSHOT_FULL};
    struct cistern_snapshot *snapshot;
    assert_ok(cistern_snapshot_begin(from, &request, &snapshot, &error), error);
    struct capture *capture = capture_take(snapshot, "heap", NULL);
    assert_ok(cistern_backend_close(from, &error), error);
    struct cistern_backend *to = open_backend(f->slots[1], 0);
    struct cistern_source source = capture_source(&capture, 1);
    assert_ok(cistern_backend_restore(to, &source, &error), error);
    capture_source_close(&source);
    struct cistern_state_descriptor other = descriptor;
    other.kind = CISTERN_VALUE;
    other.reduce = CISTERN_REDUCE_NONE;
    assert_status(cistern_state_register(to, &other, &counts, &error), CISTERN_MISMATCH);
    assert_non_null(strstr(error.message, "kind"));
    assert_ok(cistern_backend_close(to, &error), error);
    capture_free(capture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_canonical_every_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heap_native_into_rocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rocks_native_into_heap_says_the_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_schema_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
