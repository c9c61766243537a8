/*
 * kinds_cursors.c -- cursors that stay open while the owner changes what they walk over.
 *
 * Promise under test: what is there from open to close and is not changed is seen exactly once; of
 * everything else only whole values are seen. A list's elements come in order, those appended
 * meanwhile included, until the list is replaced, cleared or merged away.
 */
#include "model/kinds_run.h"

#include <string.h>

static struct cistern_error error;

static uint32_t key_of(uint32_t place)
{
    return place / MODEL_NAMESPACES;
}

void cursors_touch(struct kinds_run *run, uint32_t kind, uint32_t place, uint32_t user_key)
{
    for (uint32_t i = 0; i < CURSORS_MAX; i++) {
        struct open_cursor *one = &run->cursors[i];
        if (one->cursor == NULL || one->kind != kind) {
            continue;
        }
        if (one->is_keys && place % MODEL_NAMESPACES == one->name_space) {
            one->stable[key_of(place)] = 0;
        } else if (!one->is_keys && kind == CISTERN_MAP && place == one->place) {
            if (user_key < MODEL_USER_KEYS) {
                one->stable[user_key] = 0;
            } else {
                memset(one->stable, 0, sizeof one->stable);
            }
        }
    }
}

void cursors_touch_all(struct kinds_run *run)
{
    for (uint32_t i = 0; i < CURSORS_MAX; i++) {
        struct open_cursor *one = &run->cursors[i];
        if (one->cursor != NULL && run->model.ttl_ms[one->kind] != 0) {
            memset(one->stable, 0, sizeof one->stable);
        }
    }
}

static uint32_t open_keys(struct kinds_run *run, struct open_cursor *one)
{
    one->is_keys = 1;
    one->name_space = one->place % MODEL_NAMESPACES;
    for (uint32_t key = 0; key < MODEL_KEYS; key++) {
        uint32_t place = key * MODEL_NAMESPACES + one->name_space;
        one->stable[key] = kinds_model_entries(&run->model, one->kind, place) > 0;
    }
    return cistern_keys_open(
        run->states[one->kind], place_at(one->place)->address.name_space, &one->cursor, &error);
}

static uint32_t open_map(struct kinds_run *run, struct open_cursor *one)
{
    for (uint32_t u = 0; u < MODEL_USER_KEYS; u++) {
        one->stable[u] = run->model.places[one->place].map[u].tag != ABSENT_TAG;
    }
    return cistern_map_open(
        run->states[CISTERN_MAP], &place_at(one->place)->address, &one->cursor, &error);
}

static uint32_t open_list(struct kinds_run *run, struct open_cursor *one)
{
    one->list_birth = run->model.places[one->place].list_birth;
    return cistern_list_open(
        run->states[CISTERN_LIST], &place_at(one->place)->address, &one->cursor, &error);
}

void cursors_open_one(struct kinds_run *run)
{
    uint32_t slot = 0;
    while (slot < CURSORS_MAX && run->cursors[slot].cursor != NULL) {
        slot++;
    }
    static const uint32_t kinds[] = {CISTERN_VALUE, CISTERN_LIST, CISTERN_MAP, CISTERN_MAP};
    struct open_cursor one = {.kind = kinds[run_pick(run, 4)]};
    uint32_t is_keys = one.kind == CISTERN_VALUE || run_pick(run, 4) == 0;
    one.place = run_pick(run, 24);
    int is_held = run->states[one.kind] != NULL && (!is_keys || run->semantics->kinds & KEYS);
    if (slot == CURSORS_MAX || !is_held) {
        return;
    }
    if (one.kind == CISTERN_LIST && !is_keys &&
        (run->model.ttl_ms[CISTERN_LIST] != 0 || run->model.places[one.place].list_count == 0)) {
        return; /* elements that expire have no fixed number */
    }
    run_log(run, "open a cursor over %s %s of %u", cistern_state_kind_name(one.kind),
        is_keys ? "keys" : "entries", one.place);
    uint32_t status = is_keys                   ? open_keys(run, &one)
                      : one.kind == CISTERN_MAP ? open_map(run, &one)
                                                : open_list(run, &one);
    if (run_answer(run, status, &error) == CISTERN_OK) {
        run->cursors[slot] = one;
    }
}

static void cursor_end(struct kinds_run *run, struct open_cursor *one)
{
    cistern_cursor_close(one->cursor);
    one->cursor = NULL;
    uint32_t count = one->is_keys ? MODEL_KEYS : one->kind == CISTERN_MAP ? MODEL_USER_KEYS : 0;
    for (uint32_t i = 0; i < count; i++) {
        if (one->stable[i] && !one->seen[i]) {
            run_log(run, "  item %u of the cursor was not seen", i);
        }
        assert_true(!one->stable[i] || one->seen[i]);
    }
    if (one->kind == CISTERN_LIST && !one->is_keys) {
        const struct model_place *place = &run->model.places[one->place];
        assert_true(place->list_birth != one->list_birth || one->list_at == place->list_count);
    }
}

static void item_see(struct kinds_run *run, struct open_cursor *one, uint32_t item)
{
    run_log(run, "  sees item %u", item);
    assert_true(!one->stable[item] || !one->seen[item]);
    one->seen[item] = 1;
}

static uint32_t number_of(struct cistern_span digits)
{
    char text[24] = {0};
    assert_true(digits.bytes < sizeof text);
    memcpy(text, digits.data, digits.bytes);
    return (uint32_t)strtoul(text, NULL, 10);
}

static void entry_see(
    struct kinds_run *run, struct open_cursor *one, const struct cistern_entry *entry)
{
    const struct model_place *place = &run->model.places[one->place];
    if (one->is_keys) {
        uint32_t key = number_of(entry->address.key);
        assert_true(key < MODEL_KEYS);
        item_see(run, one, key);
    } else if (one->kind == CISTERN_MAP) {
        uint32_t user_key = number_of(entry->user_key);
        assert_true(user_key < MODEL_USER_KEYS);
        int32_t tag = kinds_tag(entry->value);
        assert_true(!one->stable[user_key] || tag == place->map[user_key].tag);
        item_see(run, one, user_key);
    } else {
        assert_int_equal(place->list_birth, one->list_birth);
        assert_true(one->list_at < place->list_count);
        assert_int_equal(kinds_tag(entry->value), place->list[one->list_at].tag);
        one->list_at++;
    }
}

void cursors_advance(struct kinds_run *run)
{
    struct open_cursor *one = &run->cursors[run_pick(run, CURSORS_MAX)];
    struct cistern_entry entries[9];
    uint32_t capacity = 1 + run_pick(run, 9);
    uint32_t count = 0;
    if (one->cursor == NULL) {
        return;
    }
    run_log(run, "cursor %u: up to %u", (uint32_t)(one - run->cursors), capacity);
    uint32_t status = cistern_cursor_next(one->cursor, entries, capacity, &count, &error);
    assert_ok(status, error);
    assert_true(count <= capacity);
    for (uint32_t i = 0; i < count; i++) {
        entry_see(run, one, &entries[i]);
    }
    if (count == 0) {
        cursor_end(run, one);
    }
}

void cursors_close_all(struct kinds_run *run)
{
    for (uint32_t i = 0; i < CURSORS_MAX; i++) {
        cistern_cursor_close(run->cursors[i].cursor);
        run->cursors[i].cursor = NULL;
    }
}
