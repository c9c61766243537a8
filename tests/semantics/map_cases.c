/* map_cases.c -- map states. */
#include "semantics/world.h"

#include <string.h>

#define M KIND_BIT(CISTERN_MAP)

static struct cistern_error error;

static void map_put_get_remove(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    struct cistern_address address = at("k");
    struct cistern_span value = ABSENT;
    check_map(map, "k", "");
    put_map(map, "k", "u=1 v=2");
    put_map(map, "k", "u=longer,than,it,was w=");
    check_map(map, "k", "u=longer,than,it,was v=2 w=");
    remove_map(map, "k", "w");
    assert_ok(cistern_map_get(map, &address, SPAN("v"), &value, &error), error);
    assert_int_equal(value.bytes, 1);
    assert_memory_equal(value.data, "2", 1);
    remove_map(map, "k", "u nobody");
    assert_status(cistern_map_get(map, &address, SPAN("u"), &value, &error), CISTERN_NOT_FOUND);
    check_map(map, "k", "v=2");
    check_entries(map, 1);
}

static void map_null_value_is_kept(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    struct cistern_address address = at("k");
    struct cistern_span value = SPAN("before");
    put_map(map, "k", "n e= v=1");
    check_map(map, "k", "e= n v=1");
    assert_ok(cistern_map_get(map, &address, SPAN("n"), &value, &error), error);
    assert_null(value.data);
    assert_int_equal(value.bytes, 0);
    assert_ok(cistern_map_get(map, &address, SPAN("e"), &value, &error), error);
    assert_non_null(value.data); /* empty is not null */
    assert_int_equal(value.bytes, 0);
    put_map(map, "k", "n=2 v e");
    check_map(map, "k", "e n=2 v");
    remove_map(map, "k", "v");
    check_map(map, "k", "e n=2");
}

static void map_null_value_of_a_fixed_size(struct world *world)
{
    struct cistern_state_descriptor descriptor = descriptor_of(CISTERN_MAP);
    descriptor.value_bytes = 2;
    descriptor.user_key_bytes = 1;
    struct cistern_state *map = register_state(world->backend, &descriptor);
    put_map(map, "k", "a=11 b c=33");
    check_map(map, "k", "a=11 b c=33");
    put_map(map, "k", "b=22 a");
    check_map(map, "k", "a b=22 c=33");
}

static void map_remove_last_entry_makes_it_empty(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    put_map(map, "k", "u=1 v");
    check_pairs(map, "k");
    remove_map(map, "k", "u");
    check_pairs(map, "k");
    remove_map(map, "k", "v");
    check_map(map, "k", "");
    check_pairs(map, "");
    check_entries(map, 0);
    put_map(map, "k", "w=3");
    check_map(map, "k", "w=3");
}

static void map_clear_takes_every_entry(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    put_map(map, "k", "u=1 v w=2");
    put_map(map, "k@w", "u=1");
    put_map(map, "kk", "u=2");
    clear_place(map, "k");
    clear_place(map, "nobody");
    check_map(map, "k", "");
    check_map(map, "k@w", "u=1");
    check_map(map, "kk", "u=2");
    put_map(map, "k", "x=9"); /* nothing of before comes back */
    check_map(map, "k", "x=9");
}

static void map_user_keys_of_any_bytes(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    put_map(map, "k", "_=empty a=1 aa=2 \x80=3 \xff\xff=4");
    put_map(map, "ka", "a=5");
    put_map(map, "k@a", "a=6 _=7");
    check_map(map, "k", "_=empty a=1 aa=2 \x80=3 \xff\xff=4");
    check_map(map, "ka", "a=5");
    check_map(map, "k@a", "_=7 a=6");
    remove_map(map, "k", "_ a");
    check_map(map, "k", "aa=2 \x80=3 \xff\xff=4");
    check_map(map, "k@a", "_=7 a=6");
}

static void map_batch_touches_many_maps(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    struct cistern_address addresses[6] = {at("a"), at("b"), at("a"), at("a@w"), at("a"), at("b")};
    struct cistern_span user_keys[6] = {
        SPAN("u"), SPAN("u"), SPAN("v"), SPAN("u"), SPAN("u"), SPAN("u")};
    struct cistern_span values[6] = {
        SPAN("1"), SPAN("2"), ABSENT, SPAN("4"), SPAN("five"), SPAN("")};
    uint32_t done = 0;
    assert_ok(cistern_map_put_many(map, addresses, user_keys, values, 6, &done, &error), error);
    assert_int_equal(done, 6);
    check_map(map, "a", "u=five v");
    check_map(map, "b", "u=");
    check_map(map, "a@w", "u=4");
    addresses[5] = at("nobody");
    uint8_t present[6];
    struct cistern_span got[6];
    assert_ok(cistern_map_get_many(map, addresses, user_keys, 6, got, present, &error), error);
    const uint8_t there[6] = {1, 1, 1, 1, 1, 0};
    assert_memory_equal(present, there, 6);
    assert_memory_equal(got[0].data, "five", 4);
    assert_null(got[2].data);
    assert_null(got[5].data);
    assert_ok(cistern_map_get_many(map, addresses, user_keys, 6, got, NULL, &error), error);
    assert_memory_equal(got[4].data, "five", 4);
    assert_ok(cistern_map_remove_many(map, addresses, user_keys, 6, &done, &error), error);
    assert_int_equal(done, 6);
    check_map(map, "a", "");
    check_map(map, "b", "");
    check_map(map, "a@w", "");
}

/* ---- maps of numbers, of each size a backend may treat differently ---- */

static const uint32_t sizes[] = {1, 2, 7, 31, 32, 33, 100, 1000, 5000};
#define SIZE_COUNT (sizeof sizes / sizeof sizes[0])

static uint32_t size_max(const struct world *world)
{
    return strcmp(world->semantics->name, "table") == 0 ? 100 : UINT32_MAX;
}

static void number_put(struct cistern_state *map, const char *place, uint32_t number, uint32_t tag)
{
    struct cistern_address address = at(place);
    char user_key[16];
    char value[64];
    snprintf(user_key, sizeof user_key, "u%u", number);
    snprintf(value, sizeof value, "%u:%0*u", number, (int)(1 + (number + tag) % 40), tag);
    struct cistern_span span = number % 11 == 3 ? ABSENT : span_of(value);
    assert_ok(cistern_map_put(map, &address, span_of(user_key), span, &error), error);
}

static void numbers_put(struct cistern_state *map, const char *place, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        number_put(map, place, i, 0);
    }
}

static uint32_t number_of(const struct cistern_entry *entry)
{
    char text[16] = {0};
    assert_true(entry->user_key.bytes > 1 && entry->user_key.bytes < sizeof text);
    memcpy(text, entry->user_key.data, entry->user_key.bytes);
    uint32_t number = (uint32_t)strtoul(text + 1, NULL, 10);
    if (number % 11 == 3) {
        assert_null(entry->value.data);
    } else {
        char value[64] = {0};
        assert_true(entry->value.bytes < sizeof value);
        memcpy(value, entry->value.data, entry->value.bytes);
        assert_int_equal(strtoul(value, NULL, 10), number);
    }
    return number;
}

typedef void (*visit_fn)(struct cistern_state *map, const char *place,
    const struct cistern_entry *entry, uint32_t number);

/* Each of the numbers below `count` once; `visit` changes the map meanwhile. Spans are copies of
 * the entry's: a change makes them stale. */
static void walk(
    struct cistern_state *map, const char *place, uint32_t count, uint32_t step, visit_fn visit)
{
    struct cistern_address address = at(place);
    struct cistern_cursor *cursor;
    struct cistern_entry entries[16];
    uint8_t *seen = calloc(1, 100000);
    uint32_t got = 0;
    uint32_t total = 0;
    assert_ok(cistern_map_open(map, &address, &cursor, &error), error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, step, &got, &error), error);
        uint32_t numbers[16];
        for (uint32_t i = 0; i < got; i++) {
            numbers[i] = number_of(&entries[i]);
            assert_true(numbers[i] < 100000);
        }
        for (uint32_t i = 0; i < got; i++) {
            if (numbers[i] < count) {
                assert_int_equal(seen[numbers[i]], 0);
                seen[numbers[i]] = 1;
                total++;
            }
            if (visit != NULL) {
                visit(map, place, &entries[i], numbers[i]);
            }
        }
    } while (got != 0);
    cistern_cursor_close(cursor);
    free(seen);
    assert_int_equal(total, count);
}

static void visit_remove(struct cistern_state *map, const char *place,
    const struct cistern_entry *entry, uint32_t number)
{
    (void)entry;
    if (number % 2 == 1) {
        char user_key[16];
        snprintf(user_key, sizeof user_key, "u%u", number);
        remove_map(map, place, user_key);
    }
}

static void map_iterator_sees_each_once_while_removing(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    for (uint32_t i = 0; i < SIZE_COUNT && sizes[i] <= size_max(world); i++) {
        for (uint32_t step = 1; step <= 16; step += 5) {
            struct cistern_address address = at("k@w");
            uint64_t left = 0;
            numbers_put(map, "k@w", sizes[i]);
            put_map(map, "k", "other=1");
            walk(map, "k@w", sizes[i], step, visit_remove);
            assert_ok(cistern_map_count(map, &address, &left, &error), error);
            assert_int_equal(left, (sizes[i] + 1) / 2);
            clear_place(map, "k@w");
        }
    }
    check_map(map, "k", "other=1");
}

/* Flink's setValue: in place, longer, shorter; and new entries beside it, which may be seen. */
static void visit_update(struct cistern_state *map, const char *place,
    const struct cistern_entry *entry, uint32_t number)
{
    (void)entry;
    number_put(map, place, number, number % 7);
    if (number < 5000) {
        number_put(map, place, 50000 + number, 1);
    }
}

static void map_iterator_sees_each_once_while_updating(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    for (uint32_t i = 0; i < SIZE_COUNT && sizes[i] <= size_max(world); i++) {
        struct cistern_address address = at("k");
        uint64_t count = 0;
        numbers_put(map, "k", sizes[i]);
        walk(map, "k", sizes[i], 1 + i % 16, visit_update);
        assert_ok(cistern_map_count(map, &address, &count, &error), error);
        assert_int_equal(count, 2 * sizes[i]);
        clear_place(map, "k");
    }
}

/* What is gone may still be seen once in its old form, but not twice, and the walk ends. */
static void map_iterator_ends_when_the_map_is_cleared(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    for (uint32_t i = 0; i < SIZE_COUNT && sizes[i] <= size_max(world); i++) {
        struct cistern_address address = at("k");
        struct cistern_cursor *cursor;
        struct cistern_entry entry;
        static uint8_t seen[5000];
        uint32_t count = 0;
        numbers_put(map, "k", sizes[i]);
        memset(seen, 0, sizeof seen);
        assert_ok(cistern_map_open(map, &address, &cursor, &error), error);
        do {
            assert_ok(cistern_cursor_next(cursor, &entry, 1, &count, &error), error);
            if (count != 0) {
                assert_int_equal(seen[number_of(&entry)]++, 0);
                clear_place(map, "k");
            }
        } while (count != 0);
        cistern_cursor_close(cursor);
        check_map(map, "k", "");
    }
}

static void map_grows_and_shrinks(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    uint32_t most = size_max(world) < 3000 ? size_max(world) : 3000;
    struct cistern_address address = at("k");
    for (uint32_t round = 0; round < 3; round++) {
        numbers_put(map, "k", most);
        walk(map, "k", most, 16, NULL);
        for (uint32_t i = most; i > 3; i--) {
            char user_key[16];
            uint64_t count = 0;
            snprintf(user_key, sizeof user_key, "u%u", i - 1);
            remove_map(map, "k", user_key);
            if (i % 97 == 0 || i < 60) {
                assert_ok(cistern_map_count(map, &address, &count, &error), error);
                assert_int_equal(count, i - 1);
            }
        }
        walk(map, "k", 3, 2, NULL);
    }
}

static void map_big_values(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    struct cistern_address address = at("k");
    uint8_t *bytes = malloc(2 << 20);
    for (uint32_t i = 0; i < 4; i++) {
        char user_key[2] = {(char)('a' + i), 0};
        memset(bytes, user_key[0], 2 << 20);
        struct cistern_span value = {bytes, i == 3 ? 2u << 20 : 50u << (4 * i)};
        assert_ok(cistern_map_put(map, &address, span_of(user_key), value, &error), error);
    }
    for (uint32_t i = 0; i < 4; i++) {
        char user_key[2] = {(char)('a' + i), 0};
        struct cistern_span value = ABSENT;
        memset(bytes, user_key[0], 2 << 20);
        assert_ok(cistern_map_get(map, &address, span_of(user_key), &value, &error), error);
        assert_int_equal(value.bytes, i == 3 ? 2u << 20 : 50u << (4 * i));
        assert_memory_equal(value.data, bytes, value.bytes);
    }
    put_map(map, "k", "d=small");
    remove_map(map, "k", "a b c");
    check_map(map, "k", "d=small");
    free(bytes);
}

static void borrowed_map_entries_as_inputs(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    struct cistern_address address = at("k");
    struct cistern_cursor *cursor;
    struct cistern_entry entries[3];
    struct cistern_address addresses[3];
    struct cistern_span user_keys[3];
    struct cistern_span values[3];
    uint32_t count = 0;
    uint32_t done = 0;
    put_map(map, "k", "a=x bb=yy c");
    assert_ok(cistern_map_open(map, &address, &cursor, &error), error);
    assert_ok(cistern_cursor_next(cursor, entries, 3, &count, &error), error);
    assert_int_equal(count, 3);
    for (uint32_t i = 0; i < 3; i++) { /* each into a map named by its user key, turned round */
        addresses[i] = (struct cistern_address){
            .key = entries[i].user_key, .name_space = entries[i].address.key, .key_group = 3};
        user_keys[i] = entries[i].user_key;
        values[i] = entries[i].value;
    }
    assert_ok(cistern_map_put_many(map, addresses, user_keys, values, 3, &done, &error), error);
    cistern_cursor_close(cursor);
    check_pairs(map, "a@k bb@k c@k k");
    check_map(map, "k", "a=x bb=yy c");
    struct cistern_address named = {.key = {"bb", 2}, .name_space = {"k", 1}, .key_group = 3};
    struct cistern_span value = ABSENT;
    assert_ok(cistern_map_get(map, &named, SPAN("bb"), &value, &error), error);
    assert_int_equal(value.bytes, 2);
    assert_memory_equal(value.data, "yy", 2);
    /* A value becomes the user key of the same map. */
    assert_ok(cistern_map_get(map, &address, SPAN("bb"), &value, &error), error);
    assert_ok(cistern_map_put(map, &address, value, value, &error), error);
    check_map(map, "k", "a=x bb=yy c yy=yy");
}

const struct semantics_case map_cases[] = {
    CASE(M, map_put_get_remove),
    CASE(M, map_null_value_is_kept),
    CASE(M, map_null_value_of_a_fixed_size),
    CASE(M, map_remove_last_entry_makes_it_empty),
    CASE(M, map_clear_takes_every_entry),
    CASE(M, map_user_keys_of_any_bytes),
    CASE(M, map_batch_touches_many_maps),
    CASE(M, map_iterator_sees_each_once_while_removing),
    CASE(M, map_iterator_sees_each_once_while_updating),
    CASE(M, map_iterator_ends_when_the_map_is_cleared),
    CASE(M, map_grows_and_shrinks),
    CASE(M, map_big_values),
    CASE(M, borrowed_map_entries_as_inputs),
    CASE_END,
};
