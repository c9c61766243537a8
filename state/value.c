/* value.c -- the data calls of value, reducing and aggregating states: checked here, done by the
 * backend. */
#include "rules_private.h"

#include <stddef.h>

/* What may be added: of an aggregating state with its own function the input is of another type
 * than the accumulator. */
static inline struct size_rule input_rule_make(const struct cistern_state *state)
{
    if (state->descriptor.kind == CISTERN_AGGREGATING &&
        state->descriptor.reduce == CISTERN_REDUCE_NONE) {
        return size_rule_make(0, state->backend->options.value_bytes_max);
    }
    return value_rule_make(state);
}

/* ---- batches ---- */

static uint32_t get_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error)
{
    uint32_t status = call_validate(state, "get", KINDS_VALUE, count, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, addresses, count, error);
    }
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->value_get_many(state, addresses, count, ret_values, error);
    backend_leave(state->backend);
    return status;
}

static uint32_t put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = call_validate(state, "put", KINDS_VALUE, count, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, addresses, count, error);
    }
    if (status == CISTERN_OK) {
        status = spans_validate(
            state, value_rule_make(state), values, count, "value", "value_bytes_max", error);
    }
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->value_put_many(state, addresses, values, count, ret_done, error);
    backend_leave(state->backend);
    return status;
}

static uint32_t add_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *inputs, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = call_validate(state, "add", KINDS_REDUCED, count, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, addresses, count, error);
    }
    if (status == CISTERN_OK) {
        status = spans_validate(
            state, input_rule_make(state), inputs, count, "value", "value_bytes_max", error);
    }
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->value_add_many(state, addresses, inputs, count, ret_done, error);
    backend_leave(state->backend);
    return status;
}

static uint32_t remove_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = call_validate(state, "remove", KINDS_VALUE, count, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, addresses, count, error);
    }
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->value_remove_many(state, addresses, count, ret_done, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_value_get_many(struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, struct cistern_span *ret_values,
    struct cistern_error *error)
{
    return get_many(state, addresses, count, ret_values, error);
}

uint32_t cistern_value_put_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    return put_many(state, addresses, values, count, ret_done, error);
}

uint32_t cistern_value_add_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *inputs, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    return add_many(state, addresses, inputs, count, ret_done, error);
}

uint32_t cistern_value_remove_many(struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    return remove_many(state, addresses, count, ret_done, error);
}

/* ---- single calls: batches of one ---- */

/* The kinds that have values, and an address that keeps to the rules: on the fast side. */
static inline int get_is_good(
    const struct cistern_state *state, const struct cistern_address *address)
{
    const struct address_rule rule = address_rule_make(state);
    return (KIND_BIT(state->descriptor.kind) & KINDS_VALUE) != 0 && address_is_good(&rule, address);
}

uint32_t cistern_value_get(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span *ret_value, struct cistern_error *error)
{
    struct cistern_span value = {NULL, 0};
    uint32_t status;
    if (state->backend->ops->value_get != NULL && get_is_good(state, address)) {
        backend_enter(state->backend);
        status = state->backend->ops->value_get(state, address, &value, error);
        backend_leave(state->backend);
    } else {
        status = get_many(state, address, 1, &value, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    if (value.data == NULL) {
        return CISTERN_NOT_FOUND;
    }
    *ret_value = value;
    return CISTERN_OK;
}

uint32_t cistern_value_put(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span value, struct cistern_error *error)
{
    uint32_t done;
    return put_many(state, address, &value, 1, &done, error);
}

uint32_t cistern_value_add(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span input, struct cistern_error *error)
{
    uint32_t done;
    return add_many(state, address, &input, 1, &done, error);
}

uint32_t cistern_value_remove(
    struct cistern_state *state, const struct cistern_address *address, struct cistern_error *error)
{
    uint32_t done;
    return remove_many(state, address, 1, &done, error);
}
