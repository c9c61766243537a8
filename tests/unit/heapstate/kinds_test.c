/*
 * kinds_test.c -- maps, lists and timers against models: random operations of all sizes in small
 * and roomy slots, cursors open while the operations go on, snapshots of every kind, restores.
 */
#include "support.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/keys.h"
#include "cistern/list.h"
#include "cistern/map.h"
#include "cistern/timer.h"

#include <stdio.h>
#include <string.h>

static const struct cistern_key_group_range all_groups = {0, TEST_MAX_PARALLELISM - 1};

#define OBJECTS 40u
#define USER_KEYS 400u
#define ELEMENTS_MAX 3000u
#define TIMES 64u
#define VALUE_BYTES_MAX 3000u

struct model_map {
    uint32_t seeds[USER_KEYS]; /* 0 = absent; size and bytes follow from it */
    uint32_t count;
};
struct model_list {
    uint32_t seeds[ELEMENTS_MAX];
    uint32_t count;
};
struct kinds_model {
    struct model_map maps[OBJECTS];
    struct model_list lists[OBJECTS];
    uint8_t timers[OBJECTS][TIMES];
};
struct kinds {
    struct rig rig;
    struct cistern_state *map;
    struct cistern_state *list;
    struct cistern_state *timers;
    struct kinds_model *model;
    uint64_t random;
    uint32_t seed;
    uint32_t value_bytes_max;
    uint64_t limits;
};

/* Size 1 in 16 is null (0 bytes with bit), otherwise up to the most. */
static uint32_t bytes_of(uint32_t seed, uint32_t max)
{
    uint32_t mixed = seed * 2654435761u;
    return (mixed & 0x1f) == 0 ? max : (mixed >> 8) % 40;
}
static int is_null(uint32_t seed)
{
    return seed % 13 == 0;
}
static void fill(uint8_t *to, uint32_t bytes, uint32_t seed)
{
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(seed + i * 7u + (seed >> 8));
    }
}

static void register_kinds(struct kinds *kinds, uint32_t user_key_bytes)
{
    const struct {
        struct cistern_state_descriptor descriptor;
        struct cistern_state **state;
    } states[] = {
        {{.name = "map", .kind = CISTERN_MAP, .user_key_bytes = user_key_bytes}, &kinds->map},
        {{.name = "list", .kind = CISTERN_LIST}, &kinds->list},
        {{.name = "timers", .kind = CISTERN_TIMERS}, &kinds->timers},
    };
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(cistern_state_register(kinds->rig.backend, &states[i].descriptor, states[i].state,
                      &kinds->rig.error),
            kinds->rig.error);
    }
}

static void kinds_open(struct kinds *kinds, uint64_t limit, uint64_t seed)
{
    memset(kinds, 0, sizeof *kinds);
    rig_open(&kinds->rig, limit, all_groups);
    kinds->model = cistern_allocate_zeroed(1, sizeof *kinds->model);
    kinds->random = test_seed("heapstate_kinds", seed);
    kinds->value_bytes_max = VALUE_BYTES_MAX;
    register_kinds(kinds, 8);
}

static void kinds_close(struct kinds *kinds)
{
    cistern_release(kinds->model);
    rig_close(&kinds->rig);
}

static uint32_t pick(struct kinds *kinds, uint32_t count)
{
    return (uint32_t)(test_random(&kinds->random) % count);
}

static struct cistern_span user_key_of(uint64_t *number)
{
    return (struct cistern_span){number, sizeof *number};
}

/* Lists of LIST_SPACES objects in a row are of one key. */
#define LIST_SPACES 4u
struct list_key {
    struct cistern_address address;
    uint8_t bytes[2];
};
static void list_key_make(struct list_key *key, uint32_t object)
{
    key->bytes[0] = (uint8_t)('A' + object / LIST_SPACES);
    key->bytes[1] = (uint8_t)('a' + object % LIST_SPACES);
    key->address = (struct cistern_address){
        .key = {&key->bytes[0], 1},
        .key_group = object / LIST_SPACES,
    };
    if (object % LIST_SPACES != 0) {
        key->address.name_space = (struct cistern_span){&key->bytes[1], 1};
    }
}

/* ---- operations, on both ---- */

static void map_put(struct kinds *kinds, uint32_t object, uint32_t number)
{
    uint8_t value[VALUE_BYTES_MAX];
    struct test_key key;
    test_key_make(&key, object);
    uint32_t seed = ++kinds->seed;
    uint64_t user_key = number;
    uint32_t bytes = bytes_of(seed, kinds->value_bytes_max);
    fill(value, bytes, seed);
    struct cistern_span span = {is_null(seed) ? NULL : value, is_null(seed) ? 0 : bytes};
    uint32_t status =
        cistern_map_put(kinds->map, &key.address, user_key_of(&user_key), span, &kinds->rig.error);
    if (status == CISTERN_LIMIT) {
        kinds->limits++;
        return;
    }
    assert_ok(status, kinds->rig.error);
    struct model_map *map = &kinds->model->maps[object];
    map->count += map->seeds[number] == 0;
    map->seeds[number] = seed;
}

static void map_remove(struct kinds *kinds, uint32_t object, uint32_t number)
{
    struct test_key key;
    test_key_make(&key, object);
    uint64_t user_key = number;
    uint32_t status =
        cistern_map_remove(kinds->map, &key.address, user_key_of(&user_key), &kinds->rig.error);
    if (status == CISTERN_LIMIT) {
        kinds->limits++;
        return;
    }
    assert_ok(status, kinds->rig.error);
    struct model_map *map = &kinds->model->maps[object];
    map->count -= map->seeds[number] != 0;
    map->seeds[number] = 0;
}

static void list_change(struct kinds *kinds, uint32_t object, uint32_t count, int replace)
{
    static uint8_t bytes[64][VALUE_BYTES_MAX];
    struct cistern_span spans[64];
    struct list_key key;
    list_key_make(&key, object);
    struct model_list *list = &kinds->model->lists[object];
    uint32_t from = replace ? 0 : list->count;
    if (from + count > ELEMENTS_MAX) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = bytes_of(kinds->seed + 1 + i, kinds->value_bytes_max);
        fill(bytes[i], size, kinds->seed + 1 + i);
        spans[i] = (struct cistern_span){bytes[i], size};
    }
    uint32_t status =
        replace
            ? cistern_list_replace(kinds->list, &key.address, spans, count, &kinds->rig.error)
            : cistern_list_append_many(kinds->list, &key.address, spans, count, &kinds->rig.error);
    if (status == CISTERN_LIMIT) {
        kinds->limits++;
        kinds->seed += count;
        return;
    }
    assert_ok(status, kinds->rig.error);
    for (uint32_t i = 0; i < count; i++) {
        list->seeds[from + i] = ++kinds->seed;
    }
    list->count = from + count;
}

static void clear_object(struct kinds *kinds, uint32_t object, int is_map)
{
    struct test_key map_key;
    struct list_key list_key;
    test_key_make(&map_key, object);
    list_key_make(&list_key, object);
    uint32_t status = is_map
                          ? cistern_state_clear(kinds->map, &map_key.address, &kinds->rig.error)
                          : cistern_state_clear(kinds->list, &list_key.address, &kinds->rig.error);
    if (status == CISTERN_LIMIT) {
        kinds->limits++;
        return;
    }
    assert_ok(status, kinds->rig.error);
    if (is_map) {
        memset(&kinds->model->maps[object], 0, sizeof kinds->model->maps[object]);
    } else {
        kinds->model->lists[object].count = 0;
    }
}

static void timer_change(struct kinds *kinds, uint32_t object, uint32_t time, int add)
{
    struct test_key key;
    test_key_make(&key, object);
    int64_t timestamp = (int64_t)time - TIMES / 2;
    uint32_t status =
        add ? cistern_timer_add(kinds->timers, timestamp, &key.address, &kinds->rig.error)
            : cistern_timer_remove(kinds->timers, timestamp, &key.address, &kinds->rig.error);
    if (status == CISTERN_LIMIT) {
        kinds->limits++;
        return;
    }
    assert_ok(status, kinds->rig.error);
    kinds->model->timers[object][time] = (uint8_t)add;
}

static uint32_t number_of(const struct cistern_address *address)
{
    for (uint32_t i = 0; i < OBJECTS; i++) {
        struct test_key key;
        test_key_make(&key, i);
        if (span_equal(key.address.key, address->key) &&
            span_equal(key.address.name_space, address->name_space)) {
            return i;
        }
    }
    fail_msg("an address that nobody put");
    return 0;
}

static void timers_pop(struct kinds *kinds)
{
    int64_t up_to = (int64_t)pick(kinds, TIMES) - TIMES / 2;
    struct cistern_entry due[7];
    int64_t last = INT64_MIN;
    uint32_t count;
    do {
        assert_ok(cistern_timer_pop_due(kinds->timers, up_to, due, 7, &count, &kinds->rig.error),
            kinds->rig.error);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(due[i].written_ms >= last && due[i].written_ms <= up_to);
            last = due[i].written_ms;
            uint32_t object = number_of(&due[i].address);
            uint8_t *there = &kinds->model->timers[object][due[i].written_ms + TIMES / 2];
            assert_int_equal(*there, 1);
            *there = 0;
        }
    } while (count != 0);
    int64_t first = INT64_MAX;
    for (uint32_t object = 0; object < OBJECTS; object++) {
        for (uint32_t time = 0; time < TIMES; time++) {
            int64_t timestamp = (int64_t)time - TIMES / 2;
            if (kinds->model->timers[object][time]) {
                assert_true(timestamp > up_to);
                first = timestamp < first ? timestamp : first;
            }
        }
    }
    int64_t next = INT64_MAX;
    uint32_t status = cistern_timer_next(kinds->timers, &next, &kinds->rig.error);
    assert_int_equal(status, first == INT64_MAX ? CISTERN_NOT_FOUND : CISTERN_OK);
    assert_true(next == first);
}

/* Some namespaces of one key into another of it. */
static void merge_lists(struct kinds *kinds)
{
    uint32_t base = pick(kinds, OBJECTS / LIST_SPACES) * LIST_SPACES;
    uint32_t target = base + pick(kinds, LIST_SPACES);
    struct list_key keys[LIST_SPACES];
    struct cistern_span sources[3];
    uint32_t total = kinds->model->lists[target].count;
    uint32_t objects[3];
    for (uint32_t i = 0; i < LIST_SPACES; i++) {
        list_key_make(&keys[i], base + i);
    }
    for (uint32_t i = 0; i < 3; i++) { /* the target and repeats may be among them */
        objects[i] = base + pick(kinds, LIST_SPACES);
        sources[i] = keys[objects[i] - base].address.name_space;
        total += kinds->model->lists[objects[i]].count;
    }
    if (total > ELEMENTS_MAX) {
        return;
    }
    uint32_t status = cistern_state_merge(
        kinds->list, &keys[target - base].address, sources, 3, &kinds->rig.error);
    if (status == CISTERN_LIMIT) {
        kinds->limits++;
        return;
    }
    assert_ok(status, kinds->rig.error);
    struct model_list *into = &kinds->model->lists[target];
    for (uint32_t i = 0; i < 3; i++) {
        struct model_list *from = &kinds->model->lists[objects[i]];
        if (from != into) {
            memcpy(into->seeds + into->count, from->seeds, from->count * sizeof from->seeds[0]);
            into->count += from->count;
            from->count = 0;
        }
    }
}

static void step(struct kinds *kinds)
{
    uint32_t object = pick(kinds, OBJECTS);
    uint32_t action = pick(kinds, 100);
    /* a few maps and lists are large, most are small */
    uint32_t user_keys = object < 4 ? USER_KEYS : 12;
    if (action < 45) {
        map_put(kinds, object, pick(kinds, user_keys));
    } else if (action < 60) {
        map_remove(kinds, object, pick(kinds, user_keys));
    } else if (action < 78) {
        list_change(kinds, object, 1 + pick(kinds, object < 4 ? 40 : 2), 0);
    } else if (action < 80) {
        list_change(kinds, object, pick(kinds, 30), 1);
    } else if (action < 82) {
        clear_object(kinds, object, (int)pick(kinds, 2));
    } else if (action < 92) {
        timer_change(kinds, object, pick(kinds, TIMES), 1);
    } else if (action < 98) {
        timer_change(kinds, object, pick(kinds, TIMES), 0);
    } else if (action < 99) {
        timers_pop(kinds);
    } else {
        merge_lists(kinds);
    }
}

/* ---- checks ---- */

static void check_value(struct cistern_span value, uint32_t seed, uint32_t value_bytes_max)
{
    uint8_t expected[VALUE_BYTES_MAX];
    uint32_t bytes = bytes_of(seed, value_bytes_max);
    fill(expected, bytes, seed);
    assert_int_equal(value.bytes, bytes);
    assert_memory_equal(value.data, expected, bytes);
}

static void check_map(struct kinds *kinds, uint32_t object)
{
    const struct model_map *map = &kinds->model->maps[object];
    struct test_key key;
    test_key_make(&key, object);
    uint64_t count;
    assert_ok(
        cistern_map_count(kinds->map, &key.address, &count, &kinds->rig.error), kinds->rig.error);
    assert_int_equal(count, map->count);
    for (uint64_t number = 0; number < USER_KEYS; number++) {
        struct cistern_span value;
        uint32_t status = cistern_map_get(
            kinds->map, &key.address, user_key_of(&number), &value, &kinds->rig.error);
        uint32_t seed = map->seeds[number];
        assert_int_equal(status, seed == 0 ? CISTERN_NOT_FOUND : CISTERN_OK);
        if (seed != 0 && is_null(seed)) {
            assert_null(value.data);
        } else if (seed != 0) {
            check_value(value, seed, kinds->value_bytes_max);
        }
    }
    uint8_t seen[USER_KEYS] = {0};
    uint32_t seen_count = 0;
    uint32_t capacity = 1 + pick(kinds, 40);
    struct cistern_entry entries[40];
    struct cistern_cursor *cursor;
    assert_ok(
        cistern_map_open(kinds->map, &key.address, &cursor, &kinds->rig.error), kinds->rig.error);
    uint32_t got;
    do {
        assert_ok(cistern_cursor_next(cursor, entries, capacity, &got, &kinds->rig.error),
            kinds->rig.error);
        for (uint32_t i = 0; i < got; i++) {
            uint64_t number;
            memcpy(&number, entries[i].user_key.data, sizeof number);
            assert_true(number < USER_KEYS && !seen[number]);
            seen[number] = 1;
            seen_count++;
            if (is_null(map->seeds[number])) {
                assert_null(entries[i].value.data);
            } else {
                check_value(entries[i].value, map->seeds[number], kinds->value_bytes_max);
            }
        }
    } while (got != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(seen_count, map->count);
}

static void check_list(struct kinds *kinds, uint32_t object)
{
    const struct model_list *list = &kinds->model->lists[object];
    struct list_key key;
    list_key_make(&key, object);
    struct cistern_entry entries[32];
    struct cistern_cursor *cursor;
    uint32_t capacity = 1 + pick(kinds, 32);
    assert_ok(
        cistern_list_open(kinds->list, &key.address, &cursor, &kinds->rig.error), kinds->rig.error);
    uint32_t at = 0;
    uint32_t got;
    do {
        assert_ok(cistern_cursor_next(cursor, entries, capacity, &got, &kinds->rig.error),
            kinds->rig.error);
        for (uint32_t i = 0; i < got; i++) {
            assert_true(at < list->count);
            check_value(entries[i].value, list->seeds[at++], kinds->value_bytes_max);
        }
    } while (got != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(at, list->count);
}

static void check_timers(struct kinds *kinds)
{
    uint32_t expected = 0;
    for (uint32_t object = 0; object < OBJECTS; object++) {
        for (uint32_t time = 0; time < TIMES; time++) {
            expected += kinds->model->timers[object][time];
        }
    }
    struct cistern_entry entries[16];
    struct cistern_cursor *cursor;
    assert_ok(cistern_entries_open(kinds->timers, &cursor, &kinds->rig.error), kinds->rig.error);
    uint32_t got;
    uint32_t seen = 0;
    do {
        assert_ok(
            cistern_cursor_next(cursor, entries, 16, &got, &kinds->rig.error), kinds->rig.error);
        for (uint32_t i = 0; i < got; i++) {
            uint32_t object = number_of(&entries[i].address);
            assert_int_equal(kinds->model->timers[object][entries[i].written_ms + TIMES / 2], 1);
        }
        seen += got;
    } while (got != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(seen, expected);
}

static void check_keys(struct kinds *kinds)
{
    uint32_t expected = 0;
    uint64_t items = 0;
    for (uint32_t object = 0; object < OBJECTS; object++) {
        expected += kinds->model->maps[object].count != 0;
        items += kinds->model->maps[object].count;
    }
    struct cistern_entry entries[16];
    struct cistern_cursor *cursor;
    assert_ok(
        cistern_keys_and_namespaces_open(kinds->map, &cursor, &kinds->rig.error), kinds->rig.error);
    uint32_t got;
    uint32_t seen = 0;
    do {
        assert_ok(
            cistern_cursor_next(cursor, entries, 16, &got, &kinds->rig.error), kinds->rig.error);
        seen += got;
    } while (got != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(seen, expected);
    struct cistern_state_info infos[3];
    uint32_t count;
    assert_ok(cistern_backend_states(kinds->rig.backend, infos, 3, &count, &kinds->rig.error),
        kinds->rig.error);
    for (uint32_t i = 0; i < count; i++) {
        if (infos[i].kind == CISTERN_MAP) {
            assert_int_equal(infos[i].entries, items);
        }
    }
}

static void check_all(struct kinds *kinds)
{
    for (uint32_t object = 0; object < OBJECTS; object++) {
        check_map(kinds, object);
        check_list(kinds, object);
    }
    check_timers(kinds);
    check_keys(kinds);
}

/* ---- tests ---- */

static void random_operations(void **context)
{
    (void)context;
    struct kinds kinds;
    kinds_open(&kinds, 16u << 20, 1);
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < 3000; i++) {
            step(&kinds);
        }
        check_all(&kinds);
    }
    assert_int_equal(kinds.limits, 0);
    kinds_close(&kinds);
}

static void a_full_slot_changes_nothing(void **context)
{
    (void)context;
    struct kinds kinds;
    kinds_open(&kinds, 1u << 20, 2);
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < 3000; i++) {
            step(&kinds);
        }
        check_all(&kinds);
    }
    assert_true(kinds.limits > 0);
    for (uint32_t object = 0; object < OBJECTS; object++) {
        clear_object(&kinds, object, 0);
        clear_object(&kinds, object, 1);
        for (uint32_t time = 0; time < TIMES; time++) {
            timer_change(&kinds, object, time, 0);
        }
    }
    check_all(&kinds);
    assert_ok(
        cistern_backend_step(kinds.rig.backend, cistern_now_ns() + 1000000000, &kinds.rig.error),
        kinds.rig.error);
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(kinds.rig.backend, &statistics);
    assert_int_equal(statistics.entries, 0); /* no part of an object is left behind */
    assert_int_equal(statistics.live_bytes, 0);
    kinds_close(&kinds);
}

struct taken {
    struct stored stored;
    struct kinds_model *model;
    uint32_t kind;
};

static void check_taken(struct kinds *kinds, const struct vault *vault, const struct taken *taken)
{
    struct kinds restored;
    kinds_open(&restored, 32u << 20, 3);
    *restored.model = *taken->model;
    rig_close(&restored.rig);
    rig_open(&restored.rig, 32u << 20, all_groups);
    const char *backend = taken->kind == CISTERN_SNAPSHOT_CANONICAL ? "canonical" : "heap";
    assert_ok(vault_restore(vault, &taken->stored, 1, backend, &restored.rig), restored.rig.error);
    register_kinds(&restored, 8);
    restored.random = kinds->random;
    check_all(&restored);
    for (uint32_t i = 0; i < 3000; i++) { /* and it goes on from there */
        step(&restored);
    }
    check_all(&restored);
    kinds_close(&restored);
}

static void snapshots_hold_their_moment(void **context)
{
    (void)context;
    struct kinds kinds;
    struct vault vault = {.file_count = 0};
    kinds_open(&kinds, 16u << 20, 4);
    uint64_t confirmed = 0;
    for (uint32_t round = 1; round <= 24; round++) {
        static const uint32_t cycle[] = {CISTERN_SNAPSHOT_FULL, CISTERN_SNAPSHOT_INCREMENT,
            CISTERN_SNAPSHOT_INCREMENT, CISTERN_SNAPSHOT_CANONICAL, CISTERN_SNAPSHOT_INCREMENT};
        struct taken taken = {.kind = cycle[round % 5]};
        for (uint32_t i = 0; i < 1500; i++) {
            step(&kinds);
        }
        taken.model = cistern_allocate_zeroed(1, sizeof *taken.model);
        *taken.model = *kinds.model;
        struct cistern_snapshot *snapshot =
            snapshot_begin(&kinds.rig, round, confirmed, taken.kind);
        for (uint32_t i = 0; i < 800; i++) {
            step(&kinds);
        }
        assert_ok(vault_take(&vault, snapshot, 4096 + pick(&kinds, 100000), &taken.stored,
                      &kinds.rig.error),
            kinds.rig.error);
        if (taken.kind != CISTERN_SNAPSHOT_CANONICAL && pick(&kinds, 4) != 0) {
            cistern_backend_notify(kinds.rig.backend, round, CISTERN_CONFIRMED);
            confirmed = round;
        }
        check_taken(&kinds, &vault, &taken);
        cistern_release(taken.model);
    }
    check_all(&kinds);
    vault_deinit(&vault);
    kinds_close(&kinds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(a_full_slot_changes_nothing),
        cmocka_unit_test(snapshots_hold_their_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
