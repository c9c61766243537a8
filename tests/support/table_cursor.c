/* table_cursor.c -- cursors over rows by their ids, which outlive any change of the array. */
#include "support/table_private.h"
#include "test.h"

#include <string.h>

struct table_cursor {
    struct cistern_cursor base;
    uint64_t *ids; /* of the rows that were there at open; of a list unused */
    uint64_t id_count;
    uint64_t at;
    uint32_t is_keys; /* address only, each once */
    uint32_t is_list;
    struct cistern_address address; /* of a list: a copy */
    void *storage;
    uint64_t birth; /* of the list; 0 = it was not there yet */
    uint64_t id_last;
    uint32_t ended;
};

static struct table_cursor *cursor_new(struct cistern_cursor **ret_cursor)
{
    struct table_cursor *cursor = calloc(1, sizeof *cursor);
    assert_non_null(cursor);
    *ret_cursor = &cursor->base;
    return cursor;
}

static void id_add(struct table_cursor *cursor, uint64_t id)
{
    cursor->ids = realloc(cursor->ids, (cursor->id_count + 1) * sizeof *cursor->ids);
    assert_non_null(cursor->ids);
    cursor->ids[cursor->id_count++] = id;
}

uint32_t plain_entries_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    struct table_cursor *cursor = cursor_new(ret_cursor);
    for (uint64_t i = 0; i < table->row_count; i++) {
        if (table->rows[i]->state_id == state->id) {
            id_add(cursor, table->rows[i]->id);
        }
    }
    plain_leave(table);
    return CISTERN_OK;
}

uint32_t plain_map_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    struct table_cursor *cursor = cursor_new(ret_cursor);
    for (uint64_t i = 0; i < table->row_count; i++) {
        if (plain_row_is_at(table->rows[i], state, address)) {
            id_add(cursor, table->rows[i]->id);
        }
    }
    plain_leave(table);
    return CISTERN_OK;
}

uint32_t plain_keys_open(struct cistern_state *state, const struct cistern_span *name_space,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    struct table_cursor *cursor = cursor_new(ret_cursor);
    cursor->is_keys = 1;
    for (uint64_t i = 0; i < table->row_count; i++) {
        const struct row *row = table->rows[i];
        struct cistern_address address = {
            .key = row->key, .name_space = name_space != NULL ? *name_space : row->name_space};
        if (plain_row_is_at(row, state, &address) && !plain_row_is_gone(state, row)) {
            /* The first one that is seen speaks for its key. */
            uint64_t first = 0;
            while ((first = plain_row_find(table, state, &address, NULL, first)) < i &&
                   plain_row_is_gone(state, table->rows[first])) {
                first++;
            }
            if (first == i) {
                id_add(cursor, row->id);
            }
        }
    }
    plain_leave(table);
    return CISTERN_OK;
}

uint32_t plain_list_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    struct table_cursor *cursor = cursor_new(ret_cursor);
    uint8_t *at = malloc(address->key.bytes + address->name_space.bytes + 1);
    assert_non_null(at);
    cursor->is_list = 1;
    cursor->storage = at;
    cursor->address = *address;
    memcpy(at, address->key.data, address->key.bytes);
    cursor->address.key.data = at;
    if (address->name_space.data != NULL) {
        memcpy(at + address->key.bytes, address->name_space.data, address->name_space.bytes);
        cursor->address.name_space.data = at + address->key.bytes;
    }
    uint64_t first = plain_row_find(table, state, address, NULL, 0);
    cursor->birth = first == UINT64_MAX ? 0 : table->rows[first]->birth;
    plain_leave(table);
    return CISTERN_OK;
}

static struct row *row_by_id(const struct table_backend *table, uint64_t id)
{
    for (uint64_t i = 0; i < table->row_count; i++) {
        if (table->rows[i]->id == id) {
            return table->rows[i];
        }
    }
    return NULL;
}

static struct row *list_next(struct table_backend *table, struct table_cursor *cursor)
{
    uint64_t at = 0;
    while (!cursor->ended && (at = plain_row_find(table, cursor->base.state, &cursor->address, NULL,
                                  at)) != UINT64_MAX) {
        struct row *row = table->rows[at++];
        cursor->birth = cursor->birth == 0 ? row->birth : cursor->birth;
        if (row->birth != cursor->birth) {
            break;
        }
        if (row->id > cursor->id_last) {
            cursor->id_last = row->id;
            return row;
        }
    }
    /* A list that was there and is not, or is another one: over for good. */
    cursor->ended |= cursor->birth != 0 && at != UINT64_MAX;
    cursor->ended |= cursor->birth != 0 && plain_row_find(table, cursor->base.state,
                                               &cursor->address, NULL, 0) == UINT64_MAX;
    return NULL;
}

static struct row *row_next(struct table_backend *table, struct table_cursor *cursor)
{
    if (cursor->is_list) {
        return list_next(table, cursor);
    }
    struct row *row = NULL;
    while (row == NULL && cursor->at < cursor->id_count) {
        row = row_by_id(table, cursor->ids[cursor->at++]);
    }
    return row;
}

uint32_t plain_cursor_next(struct cistern_cursor *base, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    (void)error;
    struct table_cursor *cursor = (struct table_cursor *)(void *)base;
    struct cistern_state *state = base->state;
    struct table_backend *table = plain_enter(state);
    uint32_t count = 0;
    struct row *row;
    while (count < capacity && count < 500 && (row = row_next(table, cursor)) != NULL) {
        if (plain_row_is_gone(state, row)) {
            continue;
        }
        if (cursor->is_list) {
            plain_row_renew(state, row);
        }
        ret_entries[count] = plain_give_entry(table, row);
        if (cursor->is_keys) {
            ret_entries[count] = (struct cistern_entry){.address = ret_entries[count].address};
        }
        count++;
    }
    *ret_count = count;
    plain_leave(table);
    return CISTERN_OK;
}

void plain_cursor_close(struct cistern_cursor *base)
{
    struct table_cursor *cursor = (struct table_cursor *)(void *)base;
    free(cursor->ids);
    free(cursor->storage);
    free(cursor);
}
