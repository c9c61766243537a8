/* list_cases.c -- list states. */
#include "semantics/world.h"

#include <string.h>

#define L KIND_BIT(CISTERN_LIST)

static struct cistern_error error;

static void list_append_keeps_order(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    check_list(list, "k", "");
    append_list(list, "k", "a");
    append_list(list, "k", "bb c");
    append_list(list, "other", "x");
    append_list(list, "k", "a"); /* again: a list is no set */
    check_list(list, "k", "a bb c a");
    check_list(list, "other", "x");
    check_entries(list, 5);
}

static void list_update_replaces_all(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    replace_list(list, "k", "a b c");
    check_list(list, "k", "a b c");
    replace_list(list, "k", "d");
    check_list(list, "k", "d");
    append_list(list, "k", "e");
    check_list(list, "k", "d e");
    check_entries(list, 2);
}

static void list_update_empty_is_clear(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    append_list(list, "k", "a b");
    replace_list(list, "k", "");
    check_list(list, "k", "");
    check_pairs(list, "");
    replace_list(list, "k", "");
    append_list(list, "k", "c");
    check_list(list, "k", "c");
    clear_place(list, "k");
    check_list(list, "k", "");
    check_entries(list, 0);
}

static void list_elements_may_not_be_null(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    struct cistern_address address = at("k");
    struct cistern_span elements[3] = {SPAN("b"), ABSENT, SPAN("c")};
    append_list(list, "k", "a");
    assert_status(cistern_list_append_many(list, &address, elements, 3, &error), CISTERN_INVALID);
    assert_non_null(strstr(error.message, "item 1"));
    assert_status(cistern_list_replace(list, &address, elements, 3, &error), CISTERN_INVALID);
    check_list(list, "k", "a"); /* none of them */
}

static void list_elements_may_be_empty(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    append_list(list, "k", "_ _");
    append_list(list, "k", "a _");
    check_list(list, "k", "_ _ a _");
}

/* Nothing is joined by a delimiter: any bytes are an element. */
static void list_elements_of_any_bytes(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    append_list(list, "k", ", ,, a,b \x80\x80 \x01");
    append_list(list, "k", ",");
    check_list(list, "k", ", ,, a,b \x80\x80 \x01 ,");
}

static void list_elements_of_fixed_size(struct world *world)
{
    struct cistern_state_descriptor descriptor = descriptor_of(CISTERN_LIST);
    descriptor.value_bytes = 2;
    struct cistern_state *list = register_state(world->backend, &descriptor);
    append_list(list, "k", "aa bb");
    append_list(list, "k", "cc");
    check_list(list, "k", "aa bb cc");
    struct cistern_address address = at("k");
    assert_status(cistern_list_append(list, &address, SPAN("ccc"), &error), CISTERN_INVALID);
    check_list(list, "k", "aa bb cc");
    merge_places(list, "k@t", "none");
    check_list(list, "k", "aa bb cc");
}

/* The number stands in each element, so that order and content are checked in one walk. */
static void numbers_append(struct cistern_state *list, const char *place, uint32_t from,
    uint32_t to, uint32_t element_bytes)
{
    struct cistern_address address = at(place);
    static char bytes[256][600];
    struct cistern_span spans[256];
    while (from < to) {
        uint32_t count = to - from < 256 ? to - from : 256;
        for (uint32_t i = 0; i < count; i++) {
            int length = snprintf(bytes[i], sizeof bytes[i], "%0*u",
                (int)(element_bytes != 0 ? element_bytes : 1 + (from + i) % 500), from + i);
            spans[i] = (struct cistern_span){bytes[i], (uint64_t)length};
        }
        assert_ok(cistern_list_append_many(list, &address, spans, count, &error), error);
        from += count;
    }
}

static uint32_t number_of(struct cistern_span element)
{
    char text[600];
    assert_true(element.bytes > 0 && element.bytes < sizeof text);
    memcpy(text, element.data, element.bytes);
    text[element.bytes] = '\0';
    return (uint32_t)strtoul(text, NULL, 10);
}

static void numbers_expect(struct cistern_state *list, const char *place, uint32_t to)
{
    struct cistern_address address = at(place);
    struct cistern_cursor *cursor;
    struct cistern_entry entries[64];
    uint32_t next = 0;
    uint32_t count = 0;
    assert_ok(cistern_list_open(list, &address, &cursor, &error), error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 64, &count, &error), error);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(number_of(entries[i].value), next++);
            assert_int_equal(entries[i].address.key.bytes, address.key.bytes);
            assert_int_equal(entries[i].address.key_group, address.key_group);
        }
    } while (count != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(next, to);
}

static void list_of_many_elements(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    uint32_t many = strcmp(world->semantics->name, "table") == 0 ? 1000 : 20000;
    for (uint32_t i = 0; i < many; i += 100) { /* three lists grow side by side */
        numbers_append(list, "a", i, i + 100, 0);
        numbers_append(list, "b@w", i, i + 100, 12);
        if (i % 500 == 0) {
            numbers_append(list, "c", i / 500, i / 500 + 1, 0);
        }
    }
    numbers_expect(list, "a", many);
    numbers_expect(list, "b@w", many);
    numbers_expect(list, "c", many / 500);
    clear_place(list, "a");
    check_list(list, "a", "");
    numbers_expect(list, "b@w", many);
    numbers_append(list, "a", 0, 300, 0);
    numbers_expect(list, "a", 300);
}

static void list_of_big_elements(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    struct cistern_address address = at("k");
    uint8_t *bytes = malloc(2 << 20);
    append_list(list, "k", "first");
    for (uint32_t i = 0; i < 4; i++) {
        memset(bytes, 'a' + (int)i, 2 << 20);
        struct cistern_span element = {bytes, (i % 2 == 0 ? 2u << 20 : 100u << 10)};
        assert_ok(cistern_list_append(list, &address, element, &error), error);
    }
    append_list(list, "k", "last");
    struct cistern_cursor *cursor;
    struct cistern_entry entry;
    uint32_t count = 0;
    assert_ok(cistern_list_open(list, &address, &cursor, &error), error);
    for (uint32_t i = 0; i < 6; i++) {
        assert_ok(cistern_cursor_next(cursor, &entry, 1, &count, &error), error);
        assert_int_equal(count, 1);
        if (i >= 1 && i <= 4) {
            memset(bytes, 'a' + (int)(i - 1), 2 << 20);
            assert_int_equal(entry.value.bytes, i % 2 == 1 ? 2u << 20 : 100u << 10);
            assert_memory_equal(entry.value.data, bytes, entry.value.bytes);
        }
    }
    assert_memory_equal(entry.value.data, "last", 4);
    assert_ok(cistern_cursor_next(cursor, &entry, 1, &count, &error), error);
    assert_int_equal(count, 0);
    cistern_cursor_close(cursor);
    free(bytes);
}

static uint32_t cursor_take(struct cistern_cursor *cursor, char text[64])
{
    struct cistern_entry entry;
    uint32_t count = 0;
    assert_ok(cistern_cursor_next(cursor, &entry, 1, &count, &error), error);
    if (count != 0) {
        assert_true(entry.value.bytes < 64);
        memcpy(text, entry.value.data, entry.value.bytes);
        text[entry.value.bytes] = '\0';
    }
    return count;
}

static void list_cursor_sees_what_is_appended(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    struct cistern_address address = at("k");
    struct cistern_cursor *cursor;
    char text[64];
    append_list(list, "k", "a b");
    assert_ok(cistern_list_open(list, &address, &cursor, &error), error);
    assert_int_equal(cursor_take(cursor, text), 1);
    assert_string_equal(text, "a");
    append_list(list, "k", "c");
    append_list(list, "other", "x");
    assert_int_equal(cursor_take(cursor, text), 1);
    assert_string_equal(text, "b");
    append_list(list, "k", "d");
    assert_int_equal(cursor_take(cursor, text), 1);
    assert_string_equal(text, "c");
    assert_int_equal(cursor_take(cursor, text), 1);
    assert_string_equal(text, "d");
    assert_int_equal(cursor_take(cursor, text), 0);
    cistern_cursor_close(cursor);
}

static void list_cursor_ends_when_the_list_is_gone(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    for (uint32_t way = 0; way < 4; way++) {
        struct cistern_address address = at("k@w");
        struct cistern_cursor *cursor;
        char text[64];
        replace_list(list, "k@w", "a b c");
        assert_ok(cistern_list_open(list, &address, &cursor, &error), error);
        assert_int_equal(cursor_take(cursor, text), 1);
        if (way == 0) {
            replace_list(list, "k@w", "x y z");
        } else if (way == 1) {
            clear_place(list, "k@w");
        } else if (way == 2) {
            merge_places(list, "k@target", "w");
        } else {
            assert_ok(cistern_state_drop_namespace(list, SPAN("w"), &error), error);
        }
        assert_int_equal(cursor_take(cursor, text), 0);
        assert_int_equal(cursor_take(cursor, text), 0);
        cistern_cursor_close(cursor);
    }
}

/* Elements that were read are appended: to the same list, and to another. */
static void borrowed_elements_as_inputs(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    struct cistern_address address = at("k");
    struct cistern_address other = at("other");
    struct cistern_cursor *cursor;
    struct cistern_entry entries[3];
    uint32_t count = 0;
    append_list(list, "k", "a bb ccc");
    for (uint32_t round = 0; round < 2; round++) {
        assert_ok(cistern_list_open(list, &address, &cursor, &error), error);
        assert_ok(cistern_cursor_next(cursor, entries, 3, &count, &error), error);
        assert_int_equal(count, 3);
        struct cistern_span spans[3] = {entries[2].value, entries[1].value, entries[0].value};
        assert_ok(round == 0 ? cistern_list_append_many(list, &address, spans, 3, &error)
                             : cistern_list_replace(list, &other, spans, 3, &error),
            error);
        cistern_cursor_close(cursor);
    }
    check_list(list, "k", "a bb ccc ccc bb a");
    check_list(list, "other", "ccc bb a");
    /* A list that replaces itself by what it holds. */
    assert_ok(cistern_list_open(list, &other, &cursor, &error), error);
    assert_ok(cistern_cursor_next(cursor, entries, 3, &count, &error), error);
    struct cistern_span spans[2] = {entries[1].value, entries[0].value};
    assert_ok(cistern_list_replace(list, &other, spans, 2, &error), error);
    cistern_cursor_close(cursor);
    check_list(list, "other", "bb ccc");
}

const struct semantics_case list_cases[] = {
    CASE(L, list_append_keeps_order),
    CASE(L, list_update_replaces_all),
    CASE(L, list_update_empty_is_clear),
    CASE(L, list_elements_may_not_be_null),
    CASE(L, list_elements_may_be_empty),
    CASE(L, list_elements_of_any_bytes),
    CASE(L, list_elements_of_fixed_size),
    CASE(L, list_of_many_elements),
    CASE(L, list_of_big_elements),
    CASE(L, list_cursor_sees_what_is_appended),
    CASE(L, list_cursor_ends_when_the_list_is_gone),
    CASE(L, borrowed_elements_as_inputs),
    CASE_END,
};
