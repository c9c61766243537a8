/* table_backend.c -- the data calls over rows; see table_backend.h. */
#include "support/table_private.h"
#include "test.h"

#include "cistern/error.h"

#include <string.h>

#define NO_USER_KEY ((struct cistern_span){NULL, 0})

struct table_backend *table_backend_of(struct cistern_backend *backend)
{
    return (struct table_backend *)(void *)backend;
}

static int64_t stamp(const struct cistern_state *state)
{
    return state->descriptor.ttl.time_to_live_ms != 0 ? cistern_state_now_ms(state) : 0;
}

/* ---- life ---- */

static uint32_t table_close(struct cistern_backend *backend, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = table_backend_of(backend);
    while (table->row_count != 0) {
        plain_row_remove(table, table->row_count - 1);
    }
    for (uint32_t i = 0; i < table->given_count; i++) {
        free(table->given[i]);
    }
    free(table->rows);
    cistern_backend_deinit(backend);
    free(table);
    return CISTERN_OK;
}

static uint32_t table_step(
    struct cistern_backend *backend, int64_t deadline_ns, struct cistern_error *error)
{
    (void)backend;
    (void)deadline_ns;
    (void)error;
    return CISTERN_OK;
}

static uint32_t table_explain(struct cistern_backend *backend, struct cistern_error *error)
{
    (void)backend;
    (void)error;
    return CISTERN_OK;
}

static uint32_t table_state_create(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint32_t id,
    struct cistern_state **ret_state, struct cistern_error *error)
{
    struct cistern_state *state = calloc(1, sizeof *state);
    assert_non_null(state);
    uint32_t status = cistern_state_init(state, backend, descriptor, id, error);
    if (status != CISTERN_OK) {
        free(state);
        return status;
    }
    *ret_state = state;
    return CISTERN_OK;
}

static void table_state_destroy(struct cistern_state *state)
{
    cistern_state_deinit(state);
    free(state);
}

static uint32_t table_measure(struct cistern_state *state, uint64_t *ret_entries,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    (void)error;
    const struct table_backend *table = table_backend_of(state->backend);
    *ret_entries = 0;
    *ret_bytes = 0;
    for (uint64_t i = 0; i < table->row_count; i++) {
        *ret_entries += table->rows[i]->state_id == state->id;
    }
    return CISTERN_OK;
}

static void table_notify(struct cistern_backend *backend, uint64_t checkpoint_id, uint32_t outcome)
{
    (void)backend;
    (void)checkpoint_id;
    (void)outcome;
}

/* ---- values ---- */

static uint32_t row_put(struct table_backend *table, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span user_key, struct cistern_span value)
{
    uint64_t at = plain_row_find(table, state, address, &user_key, 0);
    if (at == UINT64_MAX) {
        return plain_row_add(table, state, address, user_key, value, stamp(state));
    }
    if (table->write_fails_at != 0 && --table->write_fails_at == 0) {
        return CISTERN_LIMIT;
    }
    plain_row_set(table->rows[at], value, stamp(state));
    return CISTERN_OK;
}

static uint32_t table_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = plain_row_find(table, state, &addresses[i], NULL, 0);
        ret_values[i] = NO_USER_KEY;
        if (at != UINT64_MAX && !plain_row_is_gone(state, table->rows[at])) {
            plain_row_renew(state, table->rows[at]);
            ret_values[i] = plain_give(table, table->rows[at]->value);
        }
    }
    plain_leave(table);
    return CISTERN_OK;
}

static uint32_t table_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    uint32_t status = CISTERN_OK;
    for (*ret_done = 0; *ret_done < count && status == CISTERN_OK; *ret_done += status == 0) {
        status = row_put(table, state, &addresses[*ret_done], NO_USER_KEY, values[*ret_done]);
    }
    plain_leave(table);
    return status;
}

static uint32_t row_combine(struct table_backend *table, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span input, struct cistern_error *error)
{
    uint64_t at = plain_row_find(table, state, address, NULL, 0);
    struct cistern_span old_value = NO_USER_KEY;
    if (at != UINT64_MAX && !plain_row_is_expired(state, table->rows[at])) {
        old_value = table->rows[at]->value;
    }
    uint64_t bytes = 8;
    uint32_t status = CISTERN_LIMIT;
    void *result = NULL;
    while (status == CISTERN_LIMIT) {
        result = realloc(result, bytes);
        assert_non_null(result);
        struct cistern_bytes room = {result, bytes};
        status = cistern_reduce_apply(&state->descriptor, old_value, input, room, &bytes, error);
    }
    uint32_t fixed = state->descriptor.value_bytes;
    if (status == CISTERN_OK && fixed != 0 && bytes != fixed) {
        status = cistern_fail(error, CISTERN_INVALID, state->descriptor.name,
            "the reducer made %llu bytes, the descriptor says %u", (unsigned long long)bytes,
            fixed);
    }
    if (status == CISTERN_OK) {
        struct cistern_span value = {result, bytes};
        status = row_put(table, state, address, NO_USER_KEY, value);
    }
    free(result);
    return status;
}

static uint32_t table_add_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *inputs, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    struct table_backend *table = plain_enter(state);
    uint32_t status = CISTERN_OK;
    for (*ret_done = 0; *ret_done < count && status == CISTERN_OK; *ret_done += status == 0) {
        status = row_combine(table, state, &addresses[*ret_done], inputs[*ret_done], error);
    }
    plain_leave(table);
    return status;
}

static uint32_t table_clear_many(struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    for (uint32_t i = 0; i < count; i++) {
        plain_rows_clear(table, state, &addresses[i]);
    }
    *ret_done = count;
    plain_leave(table);
    return CISTERN_OK;
}

/* ---- lists ---- */

/* All or none. */
static uint32_t elements_add(struct table_backend *table, struct cistern_state *state,
    const struct cistern_address *address, const struct cistern_span *elements, uint32_t count)
{
    uint64_t first = table->row_count;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        status = plain_row_add(table, state, address, NO_USER_KEY, elements[i], stamp(state));
    }
    while (status != CISTERN_OK && table->row_count > first) {
        plain_row_remove(table, table->row_count - 1);
    }
    return status;
}

static uint32_t table_list_append(struct cistern_state *state,
    const struct cistern_address *address, const struct cistern_span *elements, uint32_t count,
    struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    uint32_t status = elements_add(table, state, address, elements, count);
    plain_leave(table);
    return status;
}

static uint32_t table_list_replace(struct cistern_state *state,
    const struct cistern_address *address, const struct cistern_span *elements, uint32_t count,
    struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    uint64_t first = table->row_count;
    uint32_t status = elements_add(table, state, address, elements, count);
    if (status == CISTERN_OK) {
        uint64_t at = 0;
        uint64_t birth = table->rows[first]->id;
        while ((at = plain_row_find(table, state, address, NULL, at)) < first) {
            plain_row_remove(table, at);
            first--;
        }
        for (at = first; at < table->row_count; at++) {
            table->rows[at]->birth = birth;
        }
    }
    plain_leave(table);
    return status;
}

static uint32_t table_list_merge(struct cistern_state *state, const struct cistern_address *target,
    const struct cistern_span *source_namespaces, uint32_t source_count,
    struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    for (uint32_t i = 0; i < source_count; i++) {
        struct cistern_address source = *target;
        source.name_space = source_namespaces[i];
        uint64_t at = 0;
        uint64_t end = table->row_count; /* behind it stand those that were moved */
        while ((at = plain_row_find(table, state, &source, NULL, at)) < end) {
            struct row *row = table->rows[at];
            if (plain_row_is_at(row, state, target)) {
                break;
            }
            uint32_t status =
                plain_row_add(table, state, target, NO_USER_KEY, row->value, row->written_ms);
            assert_int_equal(status, CISTERN_OK);
            plain_row_remove(table, at);
            end--;
        }
    }
    plain_leave(table);
    return CISTERN_OK;
}

/* ---- maps ---- */

static uint32_t table_map_get_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *user_keys, uint32_t count,
    struct cistern_span *ret_values, uint8_t *ret_present, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = plain_row_find(table, state, &addresses[i], &user_keys[i], 0);
        int present = at != UINT64_MAX && !plain_row_is_gone(state, table->rows[at]);
        if (present) {
            plain_row_renew(state, table->rows[at]);
        }
        ret_values[i] = present ? plain_give(table, table->rows[at]->value) : NO_USER_KEY;
        if (ret_present != NULL) {
            ret_present[i] = (uint8_t)present;
        }
    }
    plain_leave(table);
    return CISTERN_OK;
}

static uint32_t table_map_put_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *user_keys,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    uint32_t status = CISTERN_OK;
    for (*ret_done = 0; *ret_done < count && status == CISTERN_OK; *ret_done += status == 0) {
        uint32_t i = *ret_done;
        status = row_put(table, state, &addresses[i], user_keys[i], values[i]);
    }
    plain_leave(table);
    return status;
}

static uint32_t table_map_remove_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *user_keys, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = plain_row_find(table, state, &addresses[i], &user_keys[i], 0);
        if (at != UINT64_MAX) {
            plain_row_remove(table, at);
        }
    }
    *ret_done = count;
    plain_leave(table);
    return CISTERN_OK;
}

static uint32_t table_map_count(struct cistern_state *state, const struct cistern_address *address,
    uint64_t count_max, uint64_t *ret_count, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    uint64_t count = 0;
    uint64_t at = 0;
    for (; count < count_max; at++) {
        at = plain_row_find(table, state, address, NULL, at);
        if (at == UINT64_MAX) {
            break;
        }
        count += !plain_row_is_expired(state, table->rows[at]);
    }
    *ret_count = count;
    plain_leave(table);
    return CISTERN_OK;
}

/* ---- timers ---- */

static uint64_t timer_find(const struct table_backend *table, const struct cistern_state *state,
    const struct cistern_address *address, int64_t timestamp_ms)
{
    uint64_t at = 0;
    while ((at = plain_row_find(table, state, address, NULL, at)) != UINT64_MAX &&
           table->rows[at]->written_ms != timestamp_ms) {
        at++;
    }
    return at;
}

static uint32_t table_timer_add_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    uint32_t status = CISTERN_OK;
    for (*ret_done = 0; *ret_done < count && status == CISTERN_OK; *ret_done += status == 0) {
        uint32_t i = *ret_done;
        if (timer_find(table, state, &addresses[i], timestamps_ms[i]) == UINT64_MAX) {
            status = plain_row_add(
                table, state, &addresses[i], NO_USER_KEY, NO_USER_KEY, timestamps_ms[i]);
        }
    }
    plain_leave(table);
    return status;
}

static uint32_t table_timer_remove_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = timer_find(table, state, &addresses[i], timestamps_ms[i]);
        if (at != UINT64_MAX) {
            plain_row_remove(table, at);
        }
    }
    *ret_done = count;
    plain_leave(table);
    return CISTERN_OK;
}

static uint64_t timer_first(const struct table_backend *table, const struct cistern_state *state)
{
    uint64_t first = UINT64_MAX;
    for (uint64_t i = 0; i < table->row_count; i++) {
        if (table->rows[i]->state_id == state->id &&
            (first == UINT64_MAX || table->rows[i]->written_ms < table->rows[first]->written_ms)) {
            first = i;
        }
    }
    return first;
}

static uint32_t table_timer_next(
    struct cistern_state *state, int64_t *ret_timestamp_ms, struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    uint64_t first = timer_first(table, state);
    plain_leave(table);
    if (first == UINT64_MAX) {
        return CISTERN_NOT_FOUND;
    }
    *ret_timestamp_ms = table->rows[first]->written_ms;
    return CISTERN_OK;
}

static uint32_t table_timer_pop_due(struct cistern_state *state, int64_t up_to_ms,
    struct cistern_entry *ret_timers, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error)
{
    (void)error;
    struct table_backend *table = plain_enter(state);
    uint32_t count = 0;
    for (; count < capacity; count++) {
        uint64_t first = timer_first(table, state);
        if (first == UINT64_MAX || table->rows[first]->written_ms > up_to_ms) {
            break;
        }
        ret_timers[count] = plain_give_entry(table, table->rows[first]);
        plain_row_remove(table, first);
    }
    *ret_count = count;
    plain_leave(table);
    return CISTERN_OK;
}

static const struct cistern_backend_ops table_ops = {
    .size = sizeof table_ops,
    .name = "table",
    .close = table_close,
    .step = table_step,
    .explain = table_explain,
    .state_create = table_state_create,
    .state_destroy = table_state_destroy,
    .value_get_many = table_get_many,
    .value_put_many = table_put_many,
    .value_add_many = table_add_many,
    .value_remove_many = table_clear_many,
    .entries_open = plain_entries_open,
    .cursor_next = plain_cursor_next,
    .cursor_close = plain_cursor_close,
    .state_measure = table_measure,
    .snapshot_begin = plain_snapshot_begin,
    .snapshot_next = plain_snapshot_next,
    .snapshot_read = plain_snapshot_read,
    .snapshot_release = plain_snapshot_release,
    .notify = table_notify,
    .restore = plain_restore,
    .list_append = table_list_append,
    .list_replace = table_list_replace,
    .list_merge = table_list_merge,
    .list_open = plain_list_open,
    .map_get_many = table_map_get_many,
    .map_put_many = table_map_put_many,
    .map_remove_many = table_map_remove_many,
    .map_count = table_map_count,
    .map_open = plain_map_open,
    .timer_add_many = table_timer_add_many,
    .timer_remove_many = table_timer_remove_many,
    .timer_next = table_timer_next,
    .timer_pop_due = table_timer_pop_due,
    .clear_many = table_clear_many,
    .keys_open = plain_keys_open,
};

struct table_backend *table_backend_open(struct cistern_key_group_range range)
{
    struct cistern_error error;
    struct table_backend *table = calloc(1, sizeof *table);
    assert_non_null(table);
    table->row_count_max = UINT64_MAX;
    struct cistern_backend_options options = {.max_parallelism = 128, .range = range};
    assert_ok(
        cistern_backend_init(&table->backend, &table_ops, NULL, &options, 1u << 20, &error), error);
    return table;
}
