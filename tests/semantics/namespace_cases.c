/* namespace_cases.c -- namespaces, keys, merging, dropping, clearing: the same question of every
 * kind that knows it. */
#include "semantics/world.h"

#include "cistern/endian.h"

#include <string.h>

#define V KIND_BIT(CISTERN_VALUE)
#define R KIND_BIT(CISTERN_REDUCING)
#define A KIND_BIT(CISTERN_AGGREGATING)
#define L KIND_BIT(CISTERN_LIST)
#define M KIND_BIT(CISTERN_MAP)

static struct cistern_error error;

/* Calls `ask` with a fresh state of each kind that the backend holds, timers left out. */
static void for_each_kind(struct world *world, void (*ask)(struct cistern_state *state))
{
    for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
        if (world->semantics->kinds & KIND_BIT(kind)) {
            ask(state_of(world->backend, kind));
        }
    }
}

static void ask_separate(struct cistern_state *state)
{
    put_thing(state, "k@a", "one");
    put_thing(state, "k@b", "two");
    put_thing(state, "k@ab", "three");
    put_thing(state, "l@a", "four");
    check_thing(state, "k@a", "one");
    check_thing(state, "k@b", "two");
    check_thing(state, "k@ab", "three");
    check_thing(state, "l@a", "four");
    check_nothing(state, "k");
    clear_place(state, "k@a");
    check_nothing(state, "k@a");
    check_thing(state, "k@b", "two");
    check_thing(state, "l@a", "four");
}

static void namespaces_are_separate(struct world *world)
{
    for_each_kind(world, ask_separate);
}

static void ask_void(struct cistern_state *state)
{
    put_thing(state, "k", "void");
    check_nothing(state, "k@");
    put_thing(state, "k@", "empty");
    check_thing(state, "k", "void");
    check_thing(state, "k@", "empty");
    check_keys(state, "", "k");
    check_keys(state, "@", "k");
    check_pairs(state, "k k@");
    clear_place(state, "k");
    check_nothing(state, "k");
    check_thing(state, "k@", "empty");
    check_keys(state, "", "");
}

static void void_namespace_is_not_the_empty_one(struct world *world)
{
    for_each_kind(world, ask_void);
}

static void ask_fixed(struct cistern_state *some)
{
    struct cistern_state_descriptor descriptor = descriptor_of(some->descriptor.kind);
    char name[32];
    snprintf(name, sizeof name, "fixed-%s", descriptor.name);
    descriptor.name = name;
    descriptor.key_bytes = 2;
    descriptor.namespace_bytes = 3;
    struct cistern_state *state = register_state(some->backend, &descriptor);
    put_thing(state, "ka", "void"); /* the void namespace has no size */
    put_thing(state, "ka@nsA", "one");
    put_thing(state, "kb@nsA", "two");
    put_thing(state, "kb@nsB", "three");
    check_thing(state, "ka", "void");
    check_thing(state, "ka@nsA", "one");
    check_thing(state, "kb@nsA", "two");
    check_pairs(state, "ka ka@nsA kb@nsA kb@nsB");
    assert_ok(cistern_state_drop_namespace(state, SPAN("nsA"), &error), error);
    check_pairs(state, "ka kb@nsB");
}

static void fixed_sizes_hold_the_same(struct world *world)
{
    for_each_kind(world, ask_fixed);
}

static void ask_keys(struct cistern_state *state)
{
    check_keys(state, "", "");
    put_thing(state, "a", "x");
    put_thing(state, "b", "x");
    put_thing(state, "b@w", "x");
    put_thing(state, "c@w", "x");
    if (state->descriptor.kind == CISTERN_LIST) {
        append_list(state, "a", "y z");
    } else if (state->descriptor.kind == CISTERN_MAP) {
        put_map(state, "a", "y=1 z=2 null");
    }
    check_keys(state, "", "a b");
    check_keys(state, "@w", "b c");
    check_keys(state, "@", "");
    check_keys(state, "@nobody", "");
    check_pairs(state, "a b b@w c@w");
    clear_place(state, "b");
    check_keys(state, "", "a");
    check_pairs(state, "a b@w c@w");
}

static void keys_lists_each_key_once(struct world *world)
{
    for_each_kind(world, ask_keys);
}

static uint32_t many(const struct cistern_state *state)
{
    return strcmp(cistern_backend_name(state->backend), "table") == 0 ? 100 : 1500;
}

/* Clears and writes while the keys are listed: each that stays from open to close is seen once. */
static void ask_keys_while_changing(struct cistern_state *state)
{
    struct cistern_cursor *cursor;
    struct cistern_entry entries[5];
    static uint8_t seen[4000];
    char place[40];
    uint32_t count = 0;
    uint32_t total = 0;
    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < many(state); i++) {
        snprintf(place, sizeof place, "%u@w", i);
        put_thing(state, place, "x");
    }
    assert_ok(cistern_keys_open(state, SPAN("w"), &cursor, &error), error);
    do {
        uint32_t numbers[5];
        assert_ok(cistern_cursor_next(cursor, entries, 5, &count, &error), error);
        for (uint32_t i = 0; i < count; i++) {
            char text[16] = {0};
            memcpy(text, entries[i].address.key.data, entries[i].address.key.bytes);
            numbers[i] = (uint32_t)strtoul(text, NULL, 10);
        }
        for (uint32_t i = 0; i < count; i++) {
            if (numbers[i] >= many(state)) {
                continue; /* written meanwhile */
            }
            assert_int_equal(seen[numbers[i]], 0);
            seen[numbers[i]] = 1;
            total++;
            snprintf(place, sizeof place, "%u@w", numbers[i]);
            if (numbers[i] % 3 == 0) {
                clear_place(state, place);
            } else if (numbers[i] % 3 == 1) {
                put_thing(state, place, "anew");
            }
            snprintf(place, sizeof place, "%u@w", 10000 + numbers[i]);
            put_thing(state, place, "x");
        }
    } while (count != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(total, many(state));
}

static void keys_are_seen_once_while_changing(struct world *world)
{
    for_each_kind(world, ask_keys_while_changing);
}

static uint32_t apply_rewrite(void *arg, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *apply_error)
{
    (void)apply_error;
    char place[32];
    snprintf(
        place, sizeof place, "%.*s@w", (int)address->key.bytes, (const char *)address->key.data);
    ++*(uint32_t *)arg;
    if (address->key.bytes % 2 == 0) {
        clear_place(state, place);
    } else {
        put_thing(state, place, "seen");
    }
    return CISTERN_OK;
}

static void ask_apply(struct cistern_state *state)
{
    uint32_t calls = 0;
    put_thing(state, "a@w", "x");
    put_thing(state, "bb@w", "x");
    put_thing(state, "ccc@w", "x");
    put_thing(state, "d", "x");
    assert_ok(
        cistern_state_apply_to_all_keys(state, SPAN("w"), apply_rewrite, &calls, &error), error);
    assert_int_equal(calls, 3);
    check_thing(state, "a@w", "seen");
    check_nothing(state, "bb@w");
    check_thing(state, "ccc@w", "seen");
    check_thing(state, "d", "x");
}

static void apply_to_all_keys_may_change_them(struct world *world)
{
    for_each_kind(world, ask_apply);
}

static void ask_drop(struct cistern_state *state)
{
    char place[40];
    for (uint32_t i = 0; i < many(state); i++) {
        snprintf(place, sizeof place, "%u@%s", i, i % 2 ? "gone" : "stays");
        put_thing(state, place, "x");
    }
    put_thing(state, "k", "void");
    put_thing(state, "k@", "empty");
    assert_ok(cistern_state_drop_namespace(state, SPAN("gone"), &error), error);
    check_keys(state, "@gone", "");
    check_thing(state, "k", "void");
    check_thing(state, "k@", "empty");
    check_thing(state, "0@stays", "x");
    check_nothing(state, "1@gone");
    check_entries(state, many(state) / 2 + 2);
    assert_ok(cistern_state_drop_namespace(state, ABSENT, &error), error);
    check_nothing(state, "k");
    check_thing(state, "k@", "empty");
    put_thing(state, "1@gone", "back");
    check_thing(state, "1@gone", "back");
}

static void drop_namespace_leaves_others(struct world *world)
{
    for_each_kind(world, ask_drop);
}

static void ask_clear_many(struct cistern_state *state)
{
    struct cistern_address addresses[4] = {at("a"), at("b@w"), at("nobody"), at("a")};
    uint32_t done = 0;
    put_thing(state, "a", "x");
    put_thing(state, "b", "x");
    put_thing(state, "b@w", "x");
    assert_ok(cistern_state_clear_many(state, addresses, 4, &done, &error), error);
    assert_int_equal(done, 4);
    check_pairs(state, "b");
    cistern_state_prefetch(state, addresses, 4); /* a hint changes nothing */
    cistern_state_prefetch(state, addresses, 0);
    check_pairs(state, "b");
}

static void clear_many_and_hints(struct world *world)
{
    for_each_kind(world, ask_clear_many);
}

/* ---- merging ---- */

static void merge_namespaces_appends_in_order(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    append_list(list, "k@t", "t1 t2");
    append_list(list, "k@b", "b1");
    append_list(list, "k@a", "a1 a2 a3");
    append_list(list, "other@a", "x");
    merge_places(list, "k@t", "a nobody b");
    check_list(list, "k@t", "t1 t2 a1 a2 a3 b1");
    check_list(list, "k@a", "");
    check_list(list, "k@b", "");
    check_list(list, "other@a", "x");
    check_pairs(list, "k@t other@a");
    append_list(list, "k@t", "after");
    append_list(list, "k@a", "new");
    check_list(list, "k@t", "t1 t2 a1 a2 a3 b1 after");
    check_list(list, "k@a", "new");
    check_entries(list, 9);
}

static void merge_of_the_target_itself_is_passed_over(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    append_list(list, "k@t", "t1");
    append_list(list, "k@a", "a1");
    merge_places(list, "k@t", "t a t a");
    check_list(list, "k@t", "t1 a1");
    merge_places(list, "k@t", "t");
    check_list(list, "k@t", "t1 a1");
    merge_places(list, "k@new", "t"); /* a target that held nothing */
    check_list(list, "k@new", "t1 a1");
    check_list(list, "k@t", "");
    merge_places(list, "k", "new"); /* into the void namespace */
    check_list(list, "k", "t1 a1");
    merge_places(list, "nobody", "t");
    check_pairs(list, "k");
}

static void merge_of_long_lists(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    const uint32_t count = many(list);
    size_t used = 0;
    char *expected = malloc(count * 64);
    for (uint32_t part = 0; part < 3; part++) {
        for (uint32_t i = 0; i < count; i++) {
            char place[24];
            char element[32];
            snprintf(place, sizeof place, "k@%u", part);
            snprintf(element, sizeof element, "%0*u", (int)(1 + i % 20), part * 100000 + i);
            append_list(list, place, element);
            used += (size_t)sprintf(expected + used, "%s%s", used > 0 ? " " : "", element);
        }
        if (part == 1) {
            append_list(list, "l@1", "bystander");
        }
    }
    merge_places(list, "k@0", "1 2");
    append_list(list, "k@0", "end");
    strcpy(expected + used, " end");
    check_list(list, "k@0", expected);
    check_list(list, "l@1", "bystander");
    check_entries(list, 3 * count + 2);
    free(expected);
}

static void reducing_merge_combines(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_REDUCING);
    add_sum(state, "k@a", 1);
    add_sum(state, "k@b", 20);
    add_sum(state, "k@t", 300);
    add_sum(state, "other@a", 7);
    merge_places(state, "k@t", "a nobody b t a");
    check_sum(state, "k@t", 321);
    check_nothing(state, "k@a");
    check_nothing(state, "k@b");
    check_sum(state, "other@a", 7);
    merge_places(state, "k@u", "t");
    check_sum(state, "k@u", 321);
    check_nothing(state, "k@t");
    check_entries(state, 2);
}

static void aggregating_merge_without_a_function_of_its_own(struct world *world)
{
    struct cistern_state *state = state_of(world->backend, CISTERN_AGGREGATING);
    add_value(state, "k@t", "t");
    add_value(state, "k@b", "b");
    add_value(state, "k@a", "a");
    add_value(state, "k@a", "aa");
    merge_places(state, "k@t", "a b");
    check_value(state, "k@t", "t,a,aa,b");
    check_entries(state, 1);
}

/* A mean: inputs are numbers in one byte, the accumulator is count and sum. */
static uint64_t mean_add(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    (void)arg;
    uint8_t accumulator[16] = {0};
    if (old_value.data != NULL) {
        memcpy(accumulator, old_value.data, 16);
    }
    cistern_put_u64_be(accumulator, cistern_get_u64_be(accumulator) + 1);
    cistern_put_u64_be(accumulator + 8,
        cistern_get_u64_be(accumulator + 8) + (uint64_t)(*(const char *)input.data - '0'));
    if (result.capacity_bytes >= 16) {
        memcpy(result.data, accumulator, 16);
    }
    return 16;
}

static uint64_t mean_merge(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    (void)arg;
    if (result.capacity_bytes >= 16) {
        for (uint32_t i = 0; i < 16; i += 8) {
            uint64_t sum = cistern_get_u64_be((const uint8_t *)old_value.data + i) +
                           cistern_get_u64_be((const uint8_t *)input.data + i);
            cistern_put_u64_be((uint8_t *)result.data + i, sum);
        }
    }
    return 16;
}

static void aggregating_merge_combines(struct world *world)
{
    struct cistern_state_descriptor descriptor = {.name = "mean",
        .kind = CISTERN_AGGREGATING,
        .value_bytes = 16,
        .reduce_fn = mean_add,
        .merge_fn = mean_merge};
    struct cistern_state *state = register_state(world->backend, &descriptor);
    for (const char *digit = "123456789"; *digit != '\0'; digit++) {
        char text[2] = {*digit, '\0'};
        add_value(state, *digit % 2 ? "k@a" : "k@b", text);
    }
    add_value(state, "k@t", "5");
    merge_places(state, "k@t", "a b");
    struct cistern_address address = at("k@t");
    struct cistern_span value = ABSENT;
    assert_ok(cistern_value_get(state, &address, &value, &error), error);
    assert_int_equal(cistern_get_u64_be(value.data), 10);
    assert_int_equal(cistern_get_u64_be((const uint8_t *)value.data + 8), 50);
}

/* Values and maps do not merge: nothing of theirs is touched. */
static void merge_of_other_kinds_is_refused(struct world *world)
{
    const uint32_t kinds[] = {CISTERN_VALUE, CISTERN_MAP};
    for (uint32_t i = 0; i < 2; i++) {
        if (world->semantics->kinds & KIND_BIT(kinds[i])) {
            struct cistern_state *state = state_of(world->backend, kinds[i]);
            struct cistern_address address = at("k@t");
            struct cistern_span source = SPAN("a");
            put_thing(state, "k@a", "x");
            assert_status(
                cistern_state_merge(state, &address, &source, 1, &error), CISTERN_INVALID);
            check_thing(state, "k@a", "x");
        }
    }
}

const struct semantics_case namespace_cases[] = {
    CASE(V, namespaces_are_separate),
    CASE(V | KEYS, void_namespace_is_not_the_empty_one),
    CASE(V | KEYS, fixed_sizes_hold_the_same),
    CASE(V | KEYS, keys_lists_each_key_once),
    CASE(V | KEYS, keys_are_seen_once_while_changing),
    CASE(V | KEYS, apply_to_all_keys_may_change_them),
    CASE(V | KEYS, drop_namespace_leaves_others),
    CASE(V | KEYS, clear_many_and_hints),
    CASE(L, merge_namespaces_appends_in_order),
    CASE(L, merge_of_the_target_itself_is_passed_over),
    CASE(L, merge_of_long_lists),
    CASE(R, reducing_merge_combines),
    CASE(A, aggregating_merge_without_a_function_of_its_own),
    CASE(A, aggregating_merge_combines),
    CASE(V, merge_of_other_kinds_is_refused),
    CASE_END,
};
