/*
 * timer_test.c -- timers: a set, ordered by time over all key groups; random operations against a
 * model with little room for heads, restores, many timers at one time.
 */
#include "rocks_fixture.h"

#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/timer.h"
#include "heads_private.h"

#include <string.h>

#define GROUPS 300u
#define KEYS 40u
#define NAMES 3u
#define TIMES 30u

static const struct cistern_state_descriptor timer_descriptor = {
    .name = "t", .kind = CISTERN_TIMERS};

struct model {
    uint8_t present[TIMES][KEYS][NAMES];
    uint32_t count;
};

static int64_t time_of(uint32_t index)
{
    static const int64_t far[] = {INT64_MIN, INT64_MIN + 1, -1000000000000, INT64_MAX};
    if (index < 3) {
        return far[index];
    }
    return index == TIMES - 1 ? far[3] : (int64_t)index - 10;
}

static uint32_t index_of(int64_t time_ms)
{
    uint32_t i = 0;
    while (i < TIMES && time_of(i) != time_ms) {
        i++;
    }
    return i;
}

/* Keys in a few groups, several in each; some are long. */
static struct cistern_address address_of(uint32_t key, uint32_t name)
{
    static uint8_t keys[KEYS][9000];
    memset(keys[key], 'k', sizeof keys[key]);
    keys[key][0] = (uint8_t)key;
    uint64_t bytes = key % 20 == 19 ? sizeof keys[key] : 1 + key % 5 * 100;
    struct cistern_address address = {.key = {keys[key], bytes}, .key_group = key % 7 * 49};
    if (name != 0) {
        address.name_space = (struct cistern_span){"n", name - 1};
    }
    return address;
}

static void model_take(struct model *model, const struct cistern_entry *entry)
{
    uint32_t time = index_of(entry->written_ms);
    uint32_t key = *(const uint8_t *)entry->address.key.data;
    uint32_t name =
        entry->address.name_space.data == NULL ? 0 : 1 + (uint32_t)entry->address.name_space.bytes;
    assert_true(time < TIMES && key < KEYS && name < NAMES);
    struct cistern_address address = address_of(key, name);
    assert_int_equal(entry->address.key_group, address.key_group);
    assert_int_equal(entry->address.key.bytes, address.key.bytes);
    assert_memory_equal(entry->address.key.data, address.key.data, address.key.bytes);
    assert_int_equal(model->present[time][key][name], 1);
    model->present[time][key][name] = 0;
    model->count--;
}

/* TIMES = there is none */
static uint32_t model_first(const struct model *model)
{
    uint32_t time = 0;
    while (time < TIMES && memchr(model->present[time], 1, sizeof model->present[time]) == NULL) {
        time++;
    }
    return time;
}

static void entries_check(
    struct fixture *fixture, struct cistern_state *state, const struct model *model)
{
    struct model *copy = malloc(sizeof *copy);
    *copy = *model;
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[20];
    uint32_t got = 0;
    assert_ok(cistern_entries_open(state, &cursor, &fixture->error), fixture->error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 20, &got, &fixture->error), fixture->error);
        for (uint32_t i = 0; i < got; i++) {
            model_take(copy, &entries[i]);
        }
    } while (got != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(copy->count, 0);
    free(copy);
}

static void next_check(
    struct fixture *fixture, struct cistern_state *state, const struct model *model)
{
    int64_t time_ms = 77;
    uint32_t first = model_first(model);
    uint32_t status = cistern_timer_next(state, &time_ms, &fixture->error);
    assert_status(status, first == TIMES ? CISTERN_NOT_FOUND : CISTERN_OK);
    assert_true(time_ms == (first == TIMES ? 77 : time_of(first)));
}

static void pop(struct fixture *fixture, struct cistern_state *state, struct model *model,
    int64_t up_to_ms, uint32_t capacity)
{
    struct cistern_entry timers[64];
    uint32_t got = 99;
    uint32_t before = model->count;
    assert_ok(cistern_timer_pop_due(state, up_to_ms, timers, capacity, &got, &fixture->error),
        fixture->error);
    assert_true(got <= capacity);
    for (uint32_t i = 0; i < got; i++) {
        assert_true(timers[i].written_ms <= up_to_ms);
        assert_true(timers[i].written_ms == time_of(model_first(model)));
        assert_null(timers[i].value.data);
        model_take(model, &timers[i]);
    }
    assert_int_equal(before - model->count, got);
    if (got < capacity) {
        uint32_t first = model_first(model);
        assert_true(first == TIMES || time_of(first) > up_to_ms);
    }
}

static void change(
    struct fixture *fixture, struct cistern_state *state, struct model *model, uint64_t *random)
{
    enum { BATCH = 12 };
    struct cistern_address addresses[BATCH];
    int64_t times[BATCH];
    uint32_t what = (uint32_t)(test_random(random) % 8);
    uint32_t span = test_random(random) % 3 == 0 ? TIMES : 6;
    if (what >= 6) {
        uint32_t due = model_first(model) + (uint32_t)(test_random(random) % 4);
        pop(fixture, state, model, time_of(due < TIMES ? due : TIMES - 1),
            1 + (uint32_t)(test_random(random) % 40));
        return;
    }
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t time = (uint32_t)(test_random(random) % span) + (span == TIMES ? 0 : 8);
        uint32_t key = (uint32_t)(test_random(random) % KEYS);
        uint32_t name = (uint32_t)(test_random(random) % NAMES);
        times[i] = time_of(time);
        addresses[i] = address_of(key, name);
        uint8_t *present = &model->present[time][key][name];
        model->count -= *present;
        *present = what < 4;
        model->count += *present;
    }
    uint32_t done = 0;
    uint32_t status =
        what < 4
            ? cistern_timer_add_many(state, times, addresses, BATCH, &done, &fixture->error)
            : cistern_timer_remove_many(state, times, addresses, BATCH, &done, &fixture->error);
    assert_ok(status, fixture->error);
    assert_int_equal(done, BATCH);
}

/* blocks_bytes_max: how much room the heads get. */
static void run_model(uint64_t seed, uint64_t blocks_bytes_max)
{
    uint64_t random = seed;
    struct model *model = calloc(1, sizeof *model);
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *state = fixture_state(&fixture, backend, &timer_descriptor);
    for (uint32_t life = 0; life < 3; life++) {
        rocks_state_of(state)->heads->blocks_bytes_max = blocks_bytes_max;
        for (uint32_t i = 0; i < 1500; i++) {
            change(&fixture, state, model, &random);
            if (i % 5 == 0) {
                next_check(&fixture, state, model);
            }
            if (i % 500 == 250) {
                assert_ok(shim_db_settle(rocks_of(backend)->db, 1, &fixture.error), fixture.error);
                entries_check(&fixture, state, model);
            }
        }
        char name[16];
        snprintf(name, sizeof name, "taken%u", life);
        uint32_t kind = life == 1 ? CISTERN_SNAPSHOT_CANONICAL : CISTERN_SNAPSHOT_FULL;
        struct taken *taken =
            fixture_take(&fixture, fixture_begin(&fixture, backend, 1, kind), name);
        assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
        struct test_source source;
        test_source_init(&source, life == 1 ? "canonical" : "rocks", &taken, 1);
        snprintf(name, sizeof name, "db%u", life);
        backend = fixture_backend(&fixture, 0, name, GROUPS, 0, GROUPS - (life == 2 ? 2 : 1));
        assert_ok(cistern_backend_restore(backend, &source.source, &fixture.error), fixture.error);
        state = fixture_state(&fixture, backend, &timer_descriptor);
        entries_check(&fixture, state, model);
        free(taken);
    }
    while (model->count != 0) {
        pop(&fixture, state, model, INT64_MAX, 50);
    }
    pop(&fixture, state, model, INT64_MAX, 50);
    next_check(&fixture, state, model);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
    free(model);
}

static void test_model(void **unused)
{
    (void)unused;
    uint64_t seed = test_seed("rocks_timer_test", 3);
    run_model(seed, 1u << 20);
    run_model(seed + 1, 3 * 4096);
    run_model(seed + 2, 0);
}

/* A window's end: very many timers at one time, taken a few at a time. */
static void test_one_time(void **unused)
{
    (void)unused;
    enum { COUNT = 60000 };
    struct fixture fixture;
    fixture_open(&fixture, 64u << 20, 1, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *state = fixture_state(&fixture, backend, &timer_descriptor);
    struct test_address *storage = calloc(1000, sizeof *storage);
    struct cistern_address addresses[1000];
    int64_t times[1000];
    uint32_t done = 0;
    for (uint32_t i = 0; i < COUNT; i += 1000) {
        for (uint32_t k = 0; k < 1000; k++) {
            times[k] = 12345;
            addresses[k] = fixture_address(&storage[k], i + k, GROUPS);
            addresses[k].key_group = (i + k) % 2; /* of all groups two */
        }
        assert_ok(cistern_timer_add_many(state, times, addresses, 1000, &done, &fixture.error),
            fixture.error);
    }
    uint8_t *seen = calloc(COUNT, 1);
    struct cistern_entry timers[100];
    uint32_t total = 0;
    uint32_t got = 0;
    assert_ok(
        cistern_timer_pop_due(state, 12344, timers, 100, &got, &fixture.error), fixture.error);
    assert_int_equal(got, 0);
    do {
        assert_ok(
            cistern_timer_pop_due(state, 12345, timers, 100, &got, &fixture.error), fixture.error);
        for (uint32_t i = 0; i < got; i++) {
            uint64_t key = cistern_get_u64_be(timers[i].address.key.data);
            uint64_t index = key * UINT64_C(0xF1DE83E19937733D); /* the inverse of the factor */
            assert_true(index < COUNT);
            seen[index]++;
        }
        total += got;
        /* what was handed out goes in again, later */
        if (total == 500) {
            struct cistern_address address = timers[3].address;
            assert_ok(cistern_timer_add(state, 20000, &address, &fixture.error), fixture.error);
        }
    } while (got != 0);
    assert_int_equal(total, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(seen[i], 1);
    }
    int64_t next_ms = 0;
    assert_ok(cistern_timer_next(state, &next_ms, &fixture.error), fixture.error);
    assert_int_equal(next_ms, 20000);
    free(seen);
    free(storage);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_one_time),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
