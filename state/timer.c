/* timer.c -- the calls of timer states: checked here, done by the backend; see cistern/timer.h. */
#include "cistern/timer.h"
#include "rules_private.h"
#include "cistern/error.h"

static uint32_t timer_validate(const struct cistern_state *state, const char *call,
    const struct cistern_address *addresses, uint32_t count, struct cistern_error *error)
{
    uint32_t status = call_validate(state, call, KIND_BIT(CISTERN_TIMERS), count, error);
    return status == CISTERN_OK ? addresses_validate(state, addresses, count, error) : status;
}

uint32_t cistern_timer_add_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = timer_validate(state, "add", addresses, count, error);
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->timer_add_many(
        state, timestamps_ms, addresses, count, ret_done, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_timer_remove_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = timer_validate(state, "remove", addresses, count, error);
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->timer_remove_many(
        state, timestamps_ms, addresses, count, ret_done, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_timer_add(struct cistern_state *state, int64_t timestamp_ms,
    const struct cistern_address *address, struct cistern_error *error)
{
    uint32_t done;
    return cistern_timer_add_many(state, &timestamp_ms, address, 1, &done, error);
}

uint32_t cistern_timer_remove(struct cistern_state *state, int64_t timestamp_ms,
    const struct cistern_address *address, struct cistern_error *error)
{
    uint32_t done;
    return cistern_timer_remove_many(state, &timestamp_ms, address, 1, &done, error);
}

uint32_t cistern_timer_next(
    struct cistern_state *state, int64_t *ret_timestamp_ms, struct cistern_error *error)
{
    uint32_t status = timer_validate(state, "next", NULL, 0, error);
    if (status != CISTERN_OK) {
        return status;
    }
    backend_enter(state->backend);
    status = state->backend->ops->timer_next(state, ret_timestamp_ms, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_timer_pop_due(struct cistern_state *state, int64_t up_to_ms,
    struct cistern_entry *ret_timers, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error)
{
    *ret_count = 0;
    uint32_t status = timer_validate(state, "pop_due", NULL, 0, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (capacity == 0) {
        return cistern_fail(error, CISTERN_INVALID, state->descriptor.name,
            "popping timers needs room for at least one");
    }
    backend_enter(state->backend);
    status =
        state->backend->ops->timer_pop_due(state, up_to_ms, ret_timers, capacity, ret_count, error);
    backend_leave(state->backend);
    return status;
}
