/* table_rows.c -- the rows of the table backend, and the copies it hands out. */
#include "support/table_private.h"
#include "test.h"

#include <string.h>

static int span_equal(struct cistern_span a, struct cistern_span b)
{
    return (a.data == NULL) == (b.data == NULL) && a.bytes == b.bytes &&
           (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static void *bytes_copy(struct cistern_span span)
{
    if (span.data == NULL) {
        return NULL;
    }
    void *copy = malloc(span.bytes + 1); /* empty is not null */
    assert_non_null(copy);
    memcpy(copy, span.data, span.bytes);
    return copy;
}

int plain_row_is_at(
    const struct row *row, const struct cistern_state *state, const struct cistern_address *address)
{
    return row->state_id == state->id && span_equal(row->key, address->key) &&
           span_equal(row->name_space, address->name_space);
}

uint64_t plain_row_find(const struct table_backend *table, const struct cistern_state *state,
    const struct cistern_address *address, const struct cistern_span *user_key, uint64_t start)
{
    for (uint64_t i = start; i < table->row_count; i++) {
        const struct row *row = table->rows[i];
        if (plain_row_is_at(row, state, address) &&
            (user_key == NULL || span_equal(row->user_key, *user_key))) {
            return i;
        }
    }
    return UINT64_MAX;
}

static struct cistern_span part_place(uint8_t **at, struct cistern_span span)
{
    if (span.data == NULL) {
        return span;
    }
    uint8_t *copy = *at;
    memcpy(copy, span.data, span.bytes);
    *at += span.bytes;
    return (struct cistern_span){copy, span.bytes};
}

uint32_t plain_row_add(struct table_backend *table, const struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span user_key, struct cistern_span value,
    int64_t written_ms)
{
    int fails = table->write_fails_at != 0 && --table->write_fails_at == 0;
    if (fails || table->row_count >= table->row_count_max) {
        return CISTERN_LIMIT;
    }
    if (table->row_count == table->row_capacity) {
        table->row_capacity = table->row_capacity * 2 + 64;
        table->rows = realloc(table->rows, table->row_capacity * sizeof *table->rows);
        assert_non_null(table->rows);
    }
    struct row *row = calloc(1, sizeof *row);
    assert_non_null(row);
    uint8_t *at = malloc(address->key.bytes + address->name_space.bytes + user_key.bytes + 1);
    assert_non_null(at);
    row->storage = at;
    row->key = part_place(&at, address->key);
    row->name_space = part_place(&at, address->name_space);
    row->user_key = part_place(&at, user_key);
    row->value = (struct cistern_span){bytes_copy(value), value.bytes};
    row->written_ms = written_ms;
    row->state_id = state->id;
    row->key_group = address->key_group;
    row->id = ++table->row_id_last;
    uint64_t first = plain_row_find(table, state, address, NULL, 0);
    row->birth = first == UINT64_MAX ? row->id : table->rows[first]->birth;
    table->rows[table->row_count++] = row;
    return CISTERN_OK;
}

void plain_row_set(struct row *row, struct cistern_span value, int64_t written_ms)
{
    void *copy = bytes_copy(value);
    free((void *)row->value.data);
    row->value = (struct cistern_span){copy, value.bytes};
    row->written_ms = written_ms;
}

void plain_row_remove(struct table_backend *table, uint64_t at)
{
    struct row *row = table->rows[at];
    free(row->storage);
    free((void *)row->value.data);
    free(row);
    table->row_count--;
    memmove(table->rows + at, table->rows + at + 1, (table->row_count - at) * sizeof *table->rows);
}

void plain_rows_clear(struct table_backend *table, const struct cistern_state *state,
    const struct cistern_address *address)
{
    uint64_t at = 0;
    while ((at = plain_row_find(table, state, address, NULL, at)) != UINT64_MAX) {
        plain_row_remove(table, at);
    }
}

/* ---- time to live ---- */

int plain_row_is_expired(const struct cistern_state *state, const struct row *row)
{
    const struct cistern_ttl *ttl = &state->descriptor.ttl;
    return ttl->time_to_live_ms != 0 &&
           cistern_ttl_expired(ttl, row->written_ms, cistern_state_now_ms(state));
}

int plain_row_is_gone(const struct cistern_state *state, const struct row *row)
{
    return !state->descriptor.ttl.return_expired && plain_row_is_expired(state, row);
}

void plain_row_renew(const struct cistern_state *state, struct row *row)
{
    if (state->descriptor.ttl.update_on_read && !plain_row_is_expired(state, row)) {
        row->written_ms = cistern_state_now_ms(state);
    }
}

/* ---- results ---- */

struct table_backend *plain_enter(struct cistern_state *state)
{
    struct table_backend *table = table_backend_of(state->backend);
    memcpy(table->stale, table->given, table->given_count * sizeof *table->given);
    table->stale_count = table->given_count;
    table->given_count = 0;
    table->calls++;
    return table;
}

void plain_leave(struct table_backend *table)
{
    for (uint32_t i = 0; i < table->stale_count; i++) {
        memset(table->stale[i], 0xdb, 1); /* who still looks finds out also without a sanitizer */
        free(table->stale[i]);
    }
    table->stale_count = 0;
}

struct cistern_span plain_give(struct table_backend *table, struct cistern_span span)
{
    if (span.data == NULL) {
        return span;
    }
    assert_true(table->given_count < sizeof table->given / sizeof table->given[0]);
    void *copy = bytes_copy(span);
    table->given[table->given_count++] = copy;
    return (struct cistern_span){copy, span.bytes};
}

struct cistern_entry plain_give_entry(struct table_backend *table, const struct row *row)
{
    return (struct cistern_entry){.address = {.key = plain_give(table, row->key),
                                      .name_space = plain_give(table, row->name_space),
                                      .key_group = row->key_group},
        .user_key = plain_give(table, row->user_key),
        .value = plain_give(table, row->value),
        .written_ms = row->written_ms};
}
