/* keys.c -- calls for states of any keyed kind: clear, keys, whole namespaces, hints; see
 * cistern/keys.h. */
#include "cistern/keys.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "rules_private.h"

#include <string.h>

#define KEYS_PER_STEP 64u /* addresses held as copies at a time */

uint32_t cistern_state_clear_many(struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = call_validate(state, "clear", KINDS_CLEARED, count, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, addresses, count, error);
    }
    if (status != CISTERN_OK || count == 0) {
        return status;
    }
    const struct cistern_backend_ops *ops = state->backend->ops;
    int is_value = (KIND_BIT(state->descriptor.kind) & KINDS_VALUE) != 0;
    backend_enter(state->backend);
    status = is_value ? ops->value_remove_many(state, addresses, count, ret_done, error)
                      : ops->clear_many(state, addresses, count, ret_done, error);
    backend_leave(state->backend);
    return status;
}

uint32_t cistern_state_clear(
    struct cistern_state *state, const struct cistern_address *address, struct cistern_error *error)
{
    uint32_t done;
    return cistern_state_clear_many(state, address, 1, &done, error);
}

static uint32_t keys_open(struct cistern_state *state, const struct cistern_span *name_space,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct cistern_cursor *cursor = NULL;
    if (state->backend->ops->keys_open == NULL) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, state->descriptor.name,
            "state \"%s\": the %s backend cannot list keys", state->descriptor.name,
            state->backend->ops->name);
    }
    backend_enter(state->backend);
    uint32_t status = state->backend->ops->keys_open(state, name_space, &cursor, error);
    backend_leave(state->backend);
    return cursor_give(state, status, cursor, ret_cursor);
}

static uint32_t keys_validate(const struct cistern_state *state,
    const struct cistern_span *name_space, struct cistern_error *error)
{
    uint32_t status = call_validate(state, "keys", KINDS_CLEARED, 0, error);
    return status == CISTERN_OK ? namespaces_validate(state, name_space, 1, error) : status;
}

uint32_t cistern_keys_open(struct cistern_state *state, struct cistern_span name_space,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    uint32_t status = keys_validate(state, &name_space, error);
    return status == CISTERN_OK ? keys_open(state, &name_space, ret_cursor, error) : status;
}

uint32_t cistern_keys_and_namespaces_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    uint32_t status = call_validate(state, "keys", KINDS_CLEARED, 0, error);
    return status == CISTERN_OK ? keys_open(state, NULL, ret_cursor, error) : status;
}

/* ---- every key of a namespace ---- */

/* Addresses that outlive calls on the backend. */
struct copies {
    struct cistern_address addresses[KEYS_PER_STEP];
    struct cistern_entry entries[KEYS_PER_STEP];
    uint8_t *storage;
    uint64_t capacity_bytes;
    uint32_t count;
};

static struct cistern_span span_move(struct cistern_span span, uint8_t **at)
{
    if (span.data == NULL) {
        return span;
    }
    uint8_t *copy = *at;
    memcpy(copy, span.data, span.bytes);
    *at += span.bytes;
    return (struct cistern_span){copy, span.bytes};
}

static uint32_t copies_fill(
    struct copies *copies, struct cistern_cursor *cursor, struct cistern_error *error)
{
    uint32_t status =
        cistern_cursor_next(cursor, copies->entries, KEYS_PER_STEP, &copies->count, error);
    uint64_t bytes = 1; /* an empty key has a place, too */
    for (uint32_t i = 0; status == CISTERN_OK && i < copies->count; i++) {
        const struct cistern_address *address = &copies->entries[i].address;
        bytes += address->key.bytes + address->name_space.bytes;
    }
    if (status == CISTERN_OK && bytes > copies->capacity_bytes) {
        uint8_t *storage = cistern_reallocate(copies->storage, bytes);
        if (storage == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, cursor->state->descriptor.name,
                "no memory for the copies of %u keys", copies->count);
        }
        copies->storage = storage;
        copies->capacity_bytes = bytes;
    }
    uint8_t *at = copies->storage;
    for (uint32_t i = 0; status == CISTERN_OK && i < copies->count; i++) {
        const struct cistern_address *address = &copies->entries[i].address;
        copies->addresses[i] = (struct cistern_address){
            .key = span_move(address->key, &at),
            .name_space = span_move(address->name_space, &at),
            .key_group = address->key_group,
        };
    }
    return status;
}

typedef uint32_t (*step_fn)(void *arg, struct cistern_state *state, const struct copies *copies,
    struct cistern_error *error);

/* Calls `step` with every key of the namespace (NULL = of all), some at a time. */
static uint32_t for_keys(struct cistern_state *state, const struct cistern_span *name_space,
    step_fn step, void *arg, struct cistern_error *error)
{
    struct copies copies = {.storage = NULL};
    struct cistern_cursor *cursor = NULL;
    uint32_t status = keys_open(state, name_space, &cursor, error);
    do {
        status = status == CISTERN_OK ? copies_fill(&copies, cursor, error) : status;
        if (status == CISTERN_OK && copies.count != 0) {
            status = step(arg, state, &copies, error);
        }
    } while (status == CISTERN_OK && copies.count != 0);
    cistern_cursor_close(cursor);
    cistern_release(copies.storage);
    return status;
}

struct apply {
    cistern_apply_fn apply;
    void *arg;
};

static uint32_t apply_step(void *arg, struct cistern_state *state, const struct copies *copies,
    struct cistern_error *error)
{
    const struct apply *apply = arg;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; status == CISTERN_OK && i < copies->count; i++) {
        status = apply->apply(apply->arg, state, &copies->addresses[i], error);
    }
    return status;
}

uint32_t cistern_state_apply_to_all_keys(struct cistern_state *state,
    struct cistern_span name_space, cistern_apply_fn apply, void *arg, struct cistern_error *error)
{
    struct apply call = {apply, arg};
    uint32_t status = keys_validate(state, &name_space, error);
    return status == CISTERN_OK ? for_keys(state, &name_space, apply_step, &call, error) : status;
}

uint32_t keys_for_all(
    struct cistern_state *state, cistern_apply_fn apply, void *arg, struct cistern_error *error)
{
    struct apply call = {apply, arg};
    return for_keys(state, NULL, apply_step, &call, error);
}

static uint32_t drop_step(void *arg, struct cistern_state *state, const struct copies *copies,
    struct cistern_error *error)
{
    (void)arg;
    uint32_t done;
    return cistern_state_clear_many(state, copies->addresses, copies->count, &done, error);
}

uint32_t cistern_state_drop_namespace(
    struct cistern_state *state, struct cistern_span name_space, struct cistern_error *error)
{
    uint32_t status = keys_validate(state, &name_space, error);
    return status == CISTERN_OK ? for_keys(state, &name_space, drop_step, NULL, error) : status;
}

/* ---- hints ---- */

void cistern_state_prefetch(
    struct cistern_state *state, const struct cistern_address *addresses, uint32_t count)
{
    if (state->backend->ops->prefetch != NULL) {
        backend_enter(state->backend);
        state->backend->ops->prefetch(state, addresses, count);
        backend_leave(state->backend);
    }
}
