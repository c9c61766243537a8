/* content.c -- see content.h. */
#include "semantics/content.h"

#include <string.h>

#define TEXT_BYTES 4096u

static struct cistern_error error;

static const char *place_of(uint32_t index, char place[24])
{
    snprintf(place, 24, index % 2 ? "key%u@w%u" : "key%u", index, index % 3);
    return place;
}

static int is_clearing(uint32_t index, uint32_t change)
{
    return change > 0 && (index + change) % 5 == 4;
}

/* The first change since the last clearing one; change + 1: nothing is there. */
static uint32_t first_of(uint32_t index, uint32_t change)
{
    uint32_t first = change + 1;
    while (first > 0 && !is_clearing(index, first - 1)) {
        first--;
    }
    return first;
}

static int64_t time_of(uint32_t index, uint32_t change)
{
    return (int64_t)change * 1000 + index - 500; /* some before 1970 */
}

static void timers_change(struct cistern_state *timers, uint32_t index, uint32_t change)
{
    char place[24];
    struct cistern_address address = at(place_of(index, place));
    if (!is_clearing(index, change)) {
        assert_ok(cistern_timer_add(timers, time_of(index, change), &address, &error), error);
    } else if (change >= 1) {
        assert_ok(
            cistern_timer_remove(timers, time_of(index, change - 1), &address, &error), error);
    }
    if (change >= 2) {
        assert_ok(
            cistern_timer_remove(timers, time_of(index, change - 2), &address, &error), error);
    }
}

static void state_change(struct cistern_state *state, uint32_t index, uint32_t change)
{
    char place[24];
    char text[TEXT_BYTES];
    place_of(index, place);
    if (state->descriptor.kind == CISTERN_TIMERS) {
        timers_change(state, index, change);
        return;
    }
    if (is_clearing(index, change)) {
        clear_place(state, place);
        return;
    }
    switch (state->descriptor.kind) {
    case CISTERN_LIST:
        snprintf(text, sizeof text, "e%u.%0*u _", index, (int)(1 + index % 30), change);
        if (change % 3 == 2) {
            replace_list(state, place, text);
        } else {
            append_list(state, place, text);
        }
        break;
    case CISTERN_MAP:
        snprintf(
            text, sizeof text, "same=%u.%u u%u%s", index, change, change, change % 2 ? "" : "=x");
        put_map(state, place, text);
        if (change >= 2) {
            snprintf(text, sizeof text, "u%u", change - 2);
            remove_map(state, place, text);
        }
        break;
    case CISTERN_REDUCING:
        add_sum(state, place, index + change);
        break;
    case CISTERN_AGGREGATING:
        snprintf(text, sizeof text, "%u", change);
        add_value(state, place, text);
        break;
    default:
        snprintf(text, sizeof text, "%u.%0*u", index, (int)(1 + index % 300), change);
        put_value(state, place, text);
    }
}

void change_content(
    struct cistern_backend *backend, uint32_t kinds, struct content *content, uint32_t index)
{
    content->changes[index]++;
    for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
        if (kinds & KIND_BIT(kind)) {
            state_change(state_of(backend, kind), index, content->changes[index]);
        }
    }
}

void fill_content(struct cistern_backend *backend, uint32_t kinds, struct content *content)
{
    for (uint32_t index = 0; index < ITEM_COUNT; index++) {
        content->changes[index] = UINT32_MAX;
        change_content(backend, kinds, content, index);
    }
}

/* ---- expectations: each returns how many entries it stands for ---- */

static uint32_t list_check(
    struct cistern_state *list, const char *place, uint32_t index, uint32_t first, uint32_t change)
{
    char text[TEXT_BYTES] = "";
    size_t used = 0;
    uint32_t from = first;
    for (uint32_t i = first; i <= change; i++) {
        from = i % 3 == 2 ? i : from;
    }
    for (uint32_t i = from; i <= change; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%se%u.%0*u _",
            used > 0 ? " " : "", index, (int)(1 + index % 30), i);
    }
    check_list(list, place, text);
    return 2 * (change + 1 - from);
}

static uint32_t map_check(
    struct cistern_state *map, const char *place, uint32_t index, uint32_t first, uint32_t change)
{
    char words[3][64];
    char text[TEXT_BYTES] = "";
    uint32_t count = 0;
    if (first <= change) {
        snprintf(words[0], sizeof words[0], "same=%u.%u", index, change);
        for (uint32_t i = change > first ? change - 1 : change; i <= change; i++) {
            snprintf(words[++count], sizeof words[0], "u%u%s", i, i % 2 ? "" : "=x");
        }
        if (count == 2 && strcmp(words[1], words[2]) > 0) { /* sorted as text */
            char swap[64];
            memcpy(swap, words[1], sizeof swap);
            memcpy(words[1], words[2], sizeof swap);
            memcpy(words[2], swap, sizeof swap);
        }
        count++;
    }
    for (uint32_t i = 0; i < count; i++) {
        strcat(strcat(text, i > 0 ? " " : ""), words[i]);
    }
    check_map(map, place, text);
    return count;
}

static uint32_t scalar_check(
    struct cistern_state *state, const char *place, uint32_t index, uint32_t first, uint32_t change)
{
    char text[TEXT_BYTES] = "";
    size_t used = 0;
    int64_t sum = 0;
    if (first > change) {
        check_value(state, place, NULL);
        return 0;
    }
    for (uint32_t i = first; i <= change; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u", used > 0 ? "," : "", i);
        sum += index + i;
    }
    if (state->descriptor.kind == CISTERN_REDUCING) {
        check_sum(state, place, sum);
        return 1;
    }
    if (state->descriptor.kind == CISTERN_VALUE) {
        snprintf(text, sizeof text, "%u.%0*u", index, (int)(1 + index % 300), change);
    }
    check_value(state, place, text);
    return 1;
}

static int is_expected_timer(const struct cistern_entry *entry, const struct content *content)
{
    char text[24] = {0};
    char place[24];
    assert_true(entry->address.key.bytes > 3 && entry->address.key.bytes < sizeof text);
    memcpy(text, entry->address.key.data, entry->address.key.bytes);
    uint32_t index = (uint32_t)strtoul(text + 3, NULL, 10);
    assert_true(index < ITEM_COUNT);
    struct cistern_address address = at(place_of(index, place));
    uint32_t change = content->changes[index];
    uint32_t first = first_of(index, change);
    int is_time = first <= change && entry->written_ms == time_of(index, change);
    is_time |= first < change && entry->written_ms == time_of(index, change - 1);
    return is_time && entry->address.key_group == address.key_group &&
           entry->address.name_space.bytes == address.name_space.bytes &&
           memcmp(entry->address.key.data, address.key.data, address.key.bytes) == 0;
}

static void timers_check(struct cistern_state *timers, const struct content *content)
{
    struct cistern_cursor *cursor;
    struct cistern_entry entries[7];
    uint32_t count = 0;
    assert_ok(cistern_entries_open(timers, &cursor, &error), error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 7, &count, &error), error);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(is_expected_timer(&entries[i], content));
        }
    } while (count != 0);
    cistern_cursor_close(cursor);
}

static uint32_t item_check(
    struct cistern_state *state, const struct content *content, uint32_t index)
{
    char place[24];
    uint32_t change = content->changes[index];
    uint32_t first = first_of(index, change);
    place_of(index, place);
    switch (state->descriptor.kind) {
    case CISTERN_LIST:
        return list_check(state, place, index, first, change);
    case CISTERN_MAP:
        return map_check(state, place, index, first, change);
    case CISTERN_TIMERS:
        return first > change ? 0 : first == change ? 1 : 2;
    default:
        return scalar_check(state, place, index, first, change);
    }
}

void check_content(struct cistern_backend *backend, uint32_t kinds, const struct content *content,
    struct cistern_key_group_range range)
{
    for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
        uint64_t entries = 0;
        if ((kinds & KIND_BIT(kind)) == 0) {
            continue;
        }
        struct cistern_state *state = state_of(backend, kind);
        for (uint32_t index = 0; index < ITEM_COUNT; index++) {
            char place[24];
            uint32_t group = at(place_of(index, place)).key_group;
            if (group >= range.first && group <= range.last) {
                entries += item_check(state, content, index);
            }
        }
        if (kind == CISTERN_TIMERS) {
            timers_check(state, content);
        }
        check_entries(state, entries);
    }
}
