/* value_test.c -- what the data calls mean: batches, reducers, namespaces, time to live, sizes,
 * refusals. */
#include "support.h"
#include "cistern/alloc.h"
#include "cistern/endian.h"

#include <string.h>

static int64_t fake_wall_ms;

static int64_t read_fake_clock(void *arg)
{
    (void)arg;
    return fake_wall_ms;
}

static struct cistern_address address_of(const char *key)
{
    struct cistern_address address = {.key = {key, strlen(key)}, .key_group = 5};
    return address;
}

static struct cistern_span span_of(const char *text)
{
    return (struct cistern_span){text, strlen(text)};
}

static void put_text(struct rig *rig, const char *key, const char *value)
{
    struct cistern_address address = address_of(key);
    assert_ok(cistern_value_put(rig->state, &address, span_of(value), &rig->error), rig->error);
}

/* NULL = must be absent. */
static void expect_text(struct rig *rig, const char *key, const char *value)
{
    struct cistern_address address = address_of(key);
    struct cistern_span got = {NULL, 0};
    uint32_t status = cistern_value_get(rig->state, &address, &got, &rig->error);
    if (value == NULL) {
        assert_status(status, CISTERN_NOT_FOUND);
        return;
    }
    assert_ok(status, rig->error);
    assert_true(span_equal(got, span_of(value)));
}

static void values_come_back(void **context)
{
    (void)context;
    struct rig rig;
    rig_open_value(&rig, 16u << 20);
    expect_text(&rig, "a", NULL);
    put_text(&rig, "a", "one");
    put_text(&rig, "b", "");
    expect_text(&rig, "a", "one");
    expect_text(&rig, "b", "");
    put_text(&rig, "a", "two"); /* in place */
    expect_text(&rig, "a", "two");
    put_text(&rig, "a", "a longer value than before");
    expect_text(&rig, "a", "a longer value than before");
    put_text(&rig, "a", "a longer value, same 8s ..");
    expect_text(&rig, "a", "a longer value, same 8s ..");
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(rig.backend, &statistics);
    assert_int_equal(statistics.entries, 2);
    assert_int_equal(statistics.in_place_count, 2);
    assert_true(statistics.dead_bytes > 0);
    struct cistern_address a = address_of("a");
    assert_ok(cistern_value_remove(rig.state, &a, &rig.error), rig.error);
    assert_ok(cistern_value_remove(rig.state, &a, &rig.error), rig.error); /* absent is fine */
    expect_text(&rig, "a", NULL);
    struct cistern_state_info info;
    uint32_t count = 0;
    assert_ok(cistern_backend_states(rig.backend, &info, 1, &count, &rig.error), rig.error);
    assert_int_equal(info.entries, 1);
    assert_int_equal(info.bytes, 1); /* the key "b" */
    rig_close(&rig);
}

static void namespaces_are_apart(void **context)
{
    (void)context;
    struct rig rig;
    rig_open_value(&rig, 16u << 20);
    struct cistern_address addresses[3] = {address_of("k"), address_of("k"), address_of("k")};
    addresses[1].name_space = (struct cistern_span){"", 0};
    addresses[2].name_space = span_of("window");
    const char *values[3] = {"void", "empty", "window"};
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(
            cistern_value_put(rig.state, &addresses[i], span_of(values[i]), &rig.error), rig.error);
    }
    struct cistern_span got[3];
    assert_ok(cistern_value_get_many(rig.state, addresses, 3, got, &rig.error), rig.error);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(span_equal(got[i], span_of(values[i])));
    }
    assert_ok(cistern_value_remove(rig.state, &addresses[1], &rig.error), rig.error);
    assert_ok(cistern_value_get_many(rig.state, addresses, 3, got, &rig.error), rig.error);
    assert_true(got[0].data != NULL && got[1].data == NULL && got[2].data != NULL);
    rig_close(&rig);
}

static void states_are_apart_and_kinds_checked(void **context)
{
    (void)context;
    struct rig rig;
    rig_open_value(&rig, 16u << 20);
    struct cistern_state *first = rig.state;
    struct cistern_state_descriptor second = {.name = "t", .kind = CISTERN_VALUE};
    rig_register(&rig, &second);
    struct rig other = rig;
    other.state = first;
    put_text(&rig, "k", "second");
    expect_text(&other, "k", NULL);
    put_text(&other, "k", "first");
    expect_text(&rig, "k", "second");
    struct cistern_state_descriptor broadcast = {.name = "m", .kind = CISTERN_BROADCAST};
    struct cistern_state *state = NULL;
    assert_status(
        cistern_state_register(rig.backend, &broadcast, &state, &rig.error), CISTERN_UNSUPPORTED);
    assert_non_null(strstr(rig.error.message, "map"));
    rig_close(&rig);
}

static uint64_t get_number(struct rig *rig, const char *key)
{
    struct cistern_address address = address_of(key);
    struct cistern_span got;
    assert_ok(cistern_value_get(rig->state, &address, &got, &rig->error), rig->error);
    assert_int_equal(got.bytes, 8);
    return cistern_get_u64_be(got.data);
}

static void reducers_combine_in_order(void **context)
{
    (void)context;
    static const struct {
        uint32_t reduce;
        int64_t expected;
    } cases[] = {{CISTERN_REDUCE_SUM_I64, 5 - 7 + 40}, {CISTERN_REDUCE_MIN_I64, -7},
        {CISTERN_REDUCE_MAX_I64, 40}};
    struct rig rig;
    rig_open_value(&rig, 16u << 20);
    for (uint32_t i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "r%u", i);
        struct cistern_state_descriptor descriptor = {
            .name = name, .kind = CISTERN_REDUCING, .value_bytes = 8, .reduce = cases[i].reduce};
        rig_register(&rig, &descriptor);
        uint8_t raw[3][8];
        cistern_put_u64_be(raw[0], 5);
        cistern_put_u64_be(raw[1], (uint64_t)-7);
        cistern_put_u64_be(raw[2], 40);
        struct cistern_address addresses[3] = {
            address_of("k"), address_of("k"), address_of("k")}; /* repeats in one batch */
        struct cistern_span inputs[3] = {{raw[0], 8}, {raw[1], 8}, {raw[2], 8}};
        uint32_t done = 0;
        assert_ok(
            cistern_value_add_many(rig.state, addresses, inputs, 3, &done, &rig.error), rig.error);
        assert_int_equal(done, 3);
        assert_int_equal((int64_t)get_number(&rig, "k"), cases[i].expected);
    }
    rig_close(&rig);
}

/* Appends the input to the value: needs ever more room than the first call offers. */
static uint64_t concatenate(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    (void)arg;
    uint64_t bytes = old_value.bytes + input.bytes;
    if (bytes <= result.capacity_bytes) {
        if (old_value.bytes != 0) {
            memcpy(result.data, old_value.data, old_value.bytes);
        }
        memcpy((uint8_t *)result.data + old_value.bytes, input.data, input.bytes);
    }
    return bytes;
}

static void a_hosts_reducer_may_grow_the_value(void **context)
{
    (void)context;
    struct rig rig;
    rig_open_value(&rig, 16u << 20);
    struct cistern_state_descriptor descriptor = {
        .name = "log", .kind = CISTERN_AGGREGATING, .reduce_fn = concatenate};
    rig_register(&rig, &descriptor);
    struct cistern_address address = address_of("k");
    for (uint32_t i = 0; i < 2000; i++) {
        char piece = (char)('a' + i % 26);
        assert_ok(
            cistern_value_add(rig.state, &address, (struct cistern_span){&piece, 1}, &rig.error),
            rig.error);
    }
    struct cistern_span got;
    assert_ok(cistern_value_get(rig.state, &address, &got, &rig.error), rig.error);
    assert_int_equal(got.bytes, 2000);
    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(((const char *)got.data)[i], 'a' + i % 26);
    }
    rig_close(&rig);
}

static void big_values_live_in_runs(void **context)
{
    (void)context;
    struct rig rig;
    rig_open_value(&rig, 16u << 20);
    uint64_t bytes = 3u << 20;
    uint8_t *value = malloc(bytes);
    struct cistern_address address = address_of("big");
    for (uint32_t round = 0; round < 20; round++) { /* far more than the slot holds at once */
        uint64_t size = bytes - round * 1000;
        memset(value, (int)round, size);
        assert_ok(
            cistern_value_put(rig.state, &address, (struct cistern_span){value, size}, &rig.error),
            rig.error);
        struct cistern_span got;
        assert_ok(cistern_value_get(rig.state, &address, &got, &rig.error), rig.error);
        assert_true(span_equal(got, (struct cistern_span){value, size}));
    }
    assert_ok(cistern_value_remove(rig.state, &address, &rig.error), rig.error);
    assert_ok(cistern_backend_step(rig.backend, INT64_MAX, &rig.error), rig.error);
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(rig.backend, &statistics);
    assert_int_equal(statistics.entries, 0);
    assert_true(statistics.segment_bytes <= 2 * (64u << 10));
    struct cistern_span too_big = {value, (4u << 20) + 1};
    assert_status(cistern_value_put(rig.state, &address, too_big, &rig.error), CISTERN_INVALID);
    free(value);
    rig_close(&rig);
}

/* ---- time to live ---- */

static void open_ttl(struct rig *rig, uint32_t update_on_read, uint32_t return_expired)
{
    struct cistern_host host = {.wall_ms = read_fake_clock};
    fake_wall_ms = 1000;
    assert_status(cistern_host_install(&host), CISTERN_OK);
    struct cistern_key_group_range all = {0, TEST_MAX_PARALLELISM - 1};
    rig_open(rig, 16u << 20, all);
    struct cistern_state_descriptor descriptor = {
        .name = "ttl",
        .kind = CISTERN_VALUE,
        .ttl = {.time_to_live_ms = 100,
            .update_on_read = update_on_read,
            .return_expired = return_expired},
    };
    rig_register(rig, &descriptor);
}

static void close_ttl(struct rig *rig)
{
    rig_close(rig);
    assert_status(cistern_host_install(NULL), CISTERN_OK);
}

static uint64_t entries_of(struct rig *rig)
{
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(rig->backend, &statistics);
    return statistics.entries;
}

static void values_expire(void **context)
{
    (void)context;
    struct rig rig;
    open_ttl(&rig, 0, 0);
    put_text(&rig, "a", "x");
    fake_wall_ms = 1050;
    put_text(&rig, "b", "y");
    fake_wall_ms = 1099;
    expect_text(&rig, "a", "x"); /* a read does not renew */
    fake_wall_ms = 1100;
    expect_text(&rig, "a", NULL);
    expect_text(&rig, "b", "y");
    assert_int_equal(entries_of(&rig), 1); /* the read dropped it */
    put_text(&rig, "a", "z");
    expect_text(&rig, "a", "z");
    fake_wall_ms = 1300;
    assert_ok(cistern_backend_step(rig.backend, INT64_MAX, &rig.error), rig.error);
    assert_int_equal(entries_of(&rig), 0); /* idle work finds what nobody reads */
    close_ttl(&rig);
}

static void reads_may_renew(void **context)
{
    (void)context;
    struct rig rig;
    open_ttl(&rig, 1, 0);
    put_text(&rig, "a", "x");
    for (uint32_t i = 0; i < 10; i++) {
        fake_wall_ms += 90;
        expect_text(&rig, "a", "x");
    }
    fake_wall_ms += 100;
    expect_text(&rig, "a", NULL);
    close_ttl(&rig);
}

static void expired_values_may_be_returned_once(void **context)
{
    (void)context;
    struct rig rig;
    open_ttl(&rig, 0, 1);
    put_text(&rig, "a", "x");
    fake_wall_ms = 5000;
    expect_text(&rig, "a", "x");
    expect_text(&rig, "a", NULL);
    close_ttl(&rig);
}

static void expired_sums_start_anew(void **context)
{
    (void)context;
    struct rig rig;
    open_ttl(&rig, 0, 0);
    struct cistern_state_descriptor descriptor = {.name = "sum",
        .kind = CISTERN_REDUCING,
        .reduce = CISTERN_REDUCE_SUM_I64,
        .ttl = {.time_to_live_ms = 100}};
    rig_register(&rig, &descriptor);
    uint8_t one[8];
    cistern_put_u64_be(one, 1);
    struct cistern_address address = address_of("k");
    for (uint32_t i = 0; i < 3; i++) {
        fake_wall_ms += 60; /* each add renews */
        assert_ok(cistern_value_add(rig.state, &address, (struct cistern_span){one, 8}, &rig.error),
            rig.error);
    }
    assert_int_equal(get_number(&rig, "k"), 3);
    fake_wall_ms += 100;
    assert_ok(cistern_value_add(rig.state, &address, (struct cistern_span){one, 8}, &rig.error),
        rig.error);
    assert_int_equal(get_number(&rig, "k"), 1);
    close_ttl(&rig);
}

/* A read that renews while a snapshot owes the entry must leave the old stamp to the snapshot;
 * stamps survive a restore, and what expired meanwhile stays out. */
static void snapshots_keep_written_times(void **context)
{
    (void)context;
    struct rig rig;
    open_ttl(&rig, 1, 0);
    put_text(&rig, "a", "x"); /* written at 1000 */
    fake_wall_ms = 1050;
    put_text(&rig, "b", "y");
    struct cistern_snapshot *snapshot = snapshot_begin(&rig, 1, 0, CISTERN_SNAPSHOT_FULL);
    fake_wall_ms = 1090;
    expect_text(&rig, "a", "x"); /* 1090 now, 1000 in the snapshot */
    expect_text(&rig, "b", "y");
    struct vault vault = {0};
    struct stored stored;
    assert_ok(vault_take(&vault, snapshot, 4096, &stored, &rig.error), rig.error);
    fake_wall_ms = 1120;
    struct rig twin;
    struct cistern_key_group_range all = {0, TEST_MAX_PARALLELISM - 1};
    struct cistern_state_descriptor descriptor = rig.state->descriptor;
    rig_open(&twin, 16u << 20, all);
    assert_ok(vault_restore(&vault, &stored, 1, "heap", &twin), twin.error);
    rig_register(&twin, &descriptor);
    assert_int_equal(entries_of(&twin), 1);
    expect_text(&twin, "a", NULL);
    expect_text(&twin, "b", "y");
    expect_text(&rig, "a", "x");
    rig_close(&twin);
    vault_deinit(&vault);
    close_ttl(&rig);
}

/* ---- refusals ---- */

static void a_full_slot_refuses_and_explains(void **context)
{
    (void)context;
    struct rig rig;
    struct model model;
    rig_open_value(&rig, 4u << 20);
    model_init(&model, 200000);
    uint32_t number = 0;
    uint32_t status = CISTERN_OK;
    while (number < model.count && status == CISTERN_OK) {
        status = model_put(&model, &rig, number, 40, 1);
        number += status == CISTERN_OK;
    }
    assert_status(status, CISTERN_LIMIT);
    struct cistern_error error = {0};
    assert_status(cistern_backend_explain(rig.backend, &error), CISTERN_LIMIT);
    assert_true(error.message[0] != 0 && error.bytes_missing != 0);
    struct cistern_key_group_range all = {0, TEST_MAX_PARALLELISM - 1};
    model_check(&model, &rig, all);
    assert_true(cistern_slot_used_bytes(rig.slot) <= 4u << 20);
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(rig.backend, &statistics);
    assert_true(statistics.live_bytes > (4u << 20) / 2);
    for (uint32_t i = 0; i < number; i += 2) { /* deleting always works, and makes room */
        assert_status(model_remove(&model, &rig, i), CISTERN_OK);
    }
    for (uint32_t i = 0; i < number / 4; i++) {
        assert_status(model_put(&model, &rig, i, 40, 2), CISTERN_OK);
    }
    model_check(&model, &rig, all);
    model_deinit(&model);
    rig_close(&rig);
}

static void a_batch_stops_where_the_room_ends(void **context)
{
    (void)context;
    enum { BATCH = 100 };
    struct rig rig;
    rig_open_value(&rig, 4u << 20);
    static struct test_key keys[BATCH];
    struct cistern_address addresses[BATCH];
    struct cistern_span values[BATCH];
    uint8_t value[300];
    test_value_fill(value, sizeof value, 0, 0);
    uint64_t total = 0;
    uint32_t status = CISTERN_OK;
    while (status == CISTERN_OK) {
        for (uint32_t i = 0; i < BATCH; i++) {
            test_key_make(&keys[i], (uint32_t)total + i);
            addresses[i] = keys[i].address;
            values[i] = (struct cistern_span){value, sizeof value};
        }
        uint32_t done = BATCH + 1;
        status = cistern_value_put_many(rig.state, addresses, values, BATCH, &done, &rig.error);
        assert_true(status == CISTERN_OK ? done == BATCH : done < BATCH);
        total += done;
        assert_int_equal(entries_of(&rig), total);
    }
    assert_status(status, CISTERN_LIMIT);
    rig_close(&rig);
}

static void a_slot_too_small_names_the_least(void **context)
{
    (void)context;
    struct rig rig;
    rig_open_value(&rig, 16u << 20);
    struct cistern_component *component = NULL;
    struct cistern_component_options options = {
        .name = "hog", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_component_open(rig.slot, &options, &component, &rig.error), rig.error);
    uint64_t held = 0;
    while (cistern_component_charge(component, 64u << 10) == CISTERN_OK) {
        held += 64u << 10;
    }
    struct cistern_heap_options heap = {.backend = {.max_parallelism = 128, .range = {0, 127}}};
    struct cistern_backend *second = NULL;
    uint64_t before = cistern_allocation_count();
    assert_status(cistern_heap_open(rig.slot, &heap, &second, &rig.error), CISTERN_LIMIT);
    assert_non_null(strstr(rig.error.message, "KiB"));
    assert_int_equal(cistern_allocation_count(), before);
    heap.segment_bytes = 100000;
    assert_status(cistern_heap_open(rig.slot, &heap, &second, &rig.error), CISTERN_INVALID);
    cistern_component_uncharge(component, held);
    cistern_component_close(component);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back),
        cmocka_unit_test(namespaces_are_apart),
        cmocka_unit_test(states_are_apart_and_kinds_checked),
        cmocka_unit_test(reducers_combine_in_order),
        cmocka_unit_test(a_hosts_reducer_may_grow_the_value),
        cmocka_unit_test(big_values_live_in_runs),
        cmocka_unit_test(values_expire),
        cmocka_unit_test(reads_may_renew),
        cmocka_unit_test(expired_values_may_be_returned_once),
        cmocka_unit_test(expired_sums_start_anew),
        cmocka_unit_test(snapshots_keep_written_times),
        cmocka_unit_test(a_full_slot_refuses_and_explains),
        cmocka_unit_test(a_batch_stops_where_the_room_ends),
        cmocka_unit_test(a_slot_too_small_names_the_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
