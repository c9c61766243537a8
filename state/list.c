/* list.c -- the data calls of list states: checked here, done by the backend; see
 * cistern/list.h. */
#include "cistern/list.h"
#include "rules_private.h"

static struct size_rule element_rule_make(const struct cistern_state *state)
{
    return size_rule_make(state->descriptor.value_bytes, state->backend->options.value_bytes_max);
}

static uint32_t list_validate(const struct cistern_state *state, const char *call,
    const struct cistern_address *address, const struct cistern_span *elements, uint32_t count,
    struct cistern_error *error)
{
    uint32_t status = call_validate(state, call, KIND_BIT(CISTERN_LIST), count, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, address, 1, error);
    }
    if (status == CISTERN_OK) {
        status = spans_validate(
            state, element_rule_make(state), elements, count, "element", "value_bytes_max", error);
    }
    return status;
}

uint32_t cistern_list_append_many(struct cistern_state *state,
    const struct cistern_address *address, const struct cistern_span *elements, uint32_t count,
    struct cistern_error *error)
{
    uint32_t status = list_validate(state, "append", address, elements, count, error);
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->list_append(state, address, elements, count, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_list_append(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span element, struct cistern_error *error)
{
    return cistern_list_append_many(state, address, &element, 1, error);
}

uint32_t cistern_list_replace(struct cistern_state *state, const struct cistern_address *address,
    const struct cistern_span *elements, uint32_t count, struct cistern_error *error)
{
    uint32_t status = list_validate(state, "replace", address, elements, count, error);
    if (status != CISTERN_OK) {
        return status;
    }
    backend_enter(state->backend);
    if (count == 0) {
        uint32_t done = 0;
        status = state->backend->ops->clear_many(state, address, 1, &done, error);
    } else {
        status = state->backend->ops->list_replace(state, address, elements, count, error);
    }
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_list_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    uint32_t status = list_validate(state, "open", address, NULL, 0, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_cursor *cursor = NULL;
    backend_enter(state->backend);
    status = state->backend->ops->list_open(state, address, &cursor, error);
    backend_leave(state->backend);
    return cursor_give(state, status, cursor, ret_cursor);
}
