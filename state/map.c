/* map.c -- the data calls of map states: checked here, done by the backend; see cistern/map.h. */
#include "cistern/map.h"
#include "rules_private.h"

#include <stddef.h>

static uint32_t map_validate(const struct cistern_state *state, const char *call,
    const struct cistern_address *addresses, const struct cistern_span *user_keys, uint32_t count,
    struct cistern_error *error)
{
    uint32_t status = call_validate(state, call, KIND_BIT(CISTERN_MAP), count, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, addresses, count, error);
    }
    if (status == CISTERN_OK && user_keys != NULL) {
        struct size_rule rule =
            size_rule_make(state->descriptor.user_key_bytes, CISTERN_KEY_BYTES_MAX);
        status = spans_validate(
            state, rule, user_keys, count, "user key", "CISTERN_KEY_BYTES_MAX", error);
    }
    return status;
}

/* Unlike other values these may be null: no data and no bytes. */
static uint32_t values_validate(const struct cistern_state *state,
    const struct cistern_span *values, uint32_t count, struct cistern_error *error)
{
    struct size_rule rule =
        size_rule_make(state->descriptor.value_bytes, state->backend->options.value_bytes_max);
    for (uint32_t i = 0; i < count; i++) {
        int is_null = values[i].data == NULL && values[i].bytes == 0;
        if (__builtin_expect(
                !is_null && (values[i].data == NULL || !size_is_good(rule, values[i].bytes)), 0)) {
            return span_fail(state, i, "value", rule, values[i], "value_bytes_max", error);
        }
    }
    return CISTERN_OK;
}

uint32_t cistern_map_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, uint32_t count, struct cistern_span *ret_values,
    uint8_t *ret_present, struct cistern_error *error)
{
    uint32_t status = map_validate(state, "get", addresses, user_keys, count, error);
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->map_get_many(
        state, addresses, user_keys, count, ret_values, ret_present, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_map_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = map_validate(state, "put", addresses, user_keys, count, error);
    if (status == CISTERN_OK) {
        status = values_validate(state, values, count, error);
    }
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->map_put_many(
        state, addresses, user_keys, values, count, ret_done, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_map_remove_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *user_keys, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = map_validate(state, "remove", addresses, user_keys, count, error);
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status =
        state->backend->ops->map_remove_many(state, addresses, user_keys, count, ret_done, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_map_get(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span user_key, struct cistern_span *ret_value, struct cistern_error *error)
{
    struct cistern_span value = {NULL, 0};
    uint8_t present = 0;
    uint32_t status = cistern_map_get_many(state, address, &user_key, 1, &value, &present, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (!present) {
        return CISTERN_NOT_FOUND;
    }
    *ret_value = value;
    return CISTERN_OK;
}

uint32_t cistern_map_put(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span user_key, struct cistern_span value, struct cistern_error *error)
{
    uint32_t done;
    return cistern_map_put_many(state, address, &user_key, &value, 1, &done, error);
}

uint32_t cistern_map_remove(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span user_key, struct cistern_error *error)
{
    uint32_t done;
    return cistern_map_remove_many(state, address, &user_key, 1, &done, error);
}

static uint32_t map_count(struct cistern_state *state, const struct cistern_address *address,
    uint64_t count_max, uint64_t *ret_count, struct cistern_error *error)
{
    *ret_count = 0;
    uint32_t status = map_validate(state, "count", address, NULL, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->map_count(state, address, count_max, ret_count, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_map_count(struct cistern_state *state, const struct cistern_address *address,
    uint64_t *ret_count, struct cistern_error *error)
{
    return map_count(state, address, UINT64_MAX, ret_count, error);
}

uint32_t cistern_map_is_empty(struct cistern_state *state, const struct cistern_address *address,
    uint32_t *ret_is_empty, struct cistern_error *error)
{
    uint64_t count;
    uint32_t status = map_count(state, address, 1, &count, error);
    *ret_is_empty = count == 0;
    return status;
}

uint32_t cistern_map_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    uint32_t status = map_validate(state, "open", address, NULL, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_cursor *cursor = NULL;
    backend_enter(state->backend);
    status = state->backend->ops->map_open(state, address, &cursor, error);
    backend_leave(state->backend);
    return cursor_give(state, status, cursor, ret_cursor);
}
