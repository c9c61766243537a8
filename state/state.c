/*
 * state.c -- one keyed state: registration by the host, creation by a restore, its copy of the
 * descriptor; see backend.h.
 *
 * Invariant: backend->states[id - 1]->id == id; no two states of a backend have one name.
 */
#include "backend_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/hash.h"
#include "descriptor_private.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct cistern_state *backend_state_find(const struct cistern_backend *backend, const char *name)
{
    for (uint32_t i = 0; i < backend->state_count; i++) {
        struct cistern_state *state = backend->states[i];
        if (state != NULL && strcmp(state->descriptor.name, name) == 0) {
            return state;
        }
    }
    return NULL;
}

/* Copies of name and serializer in one block, the name first, in place of those that are there. */
static uint32_t identity_take(struct cistern_state *state, const char *name,
    struct cistern_span serializer, struct cistern_error *error)
{
    uint64_t name_bytes = strlen(name) + 1;
    char *storage = cistern_allocate(name_bytes + serializer.bytes);
    if (storage == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, name, "no memory for the descriptor of state \"%s\"", name);
    }
    memcpy(storage, name, name_bytes);
    memset(state->serializer_hash, 0, sizeof state->serializer_hash);
    struct cistern_span copy = {NULL, serializer.bytes};
    if (serializer.bytes > 0) {
        memcpy(storage + name_bytes, serializer.data, serializer.bytes);
        copy.data = storage + name_bytes;
        struct cistern_hash128 hash = cistern_hash128(copy.data, copy.bytes);
        memcpy(state->serializer_hash, hash.bytes, sizeof state->serializer_hash);
    }
    cistern_release((void *)state->descriptor.name);
    state->descriptor.name = storage;
    state->descriptor.serializer = copy;
    return CISTERN_OK;
}

uint32_t cistern_state_init(struct cistern_state *state, struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint32_t id, struct cistern_error *error)
{
    assert(id >= 1 && id <= CISTERN_STATE_COUNT_MAX);
    memset(state, 0, sizeof *state);
    state->descriptor = *descriptor;
    state->descriptor.name = NULL;
    state->descriptor.replaces = (struct cistern_span){NULL, 0};
    state->descriptor.migrate_fn = NULL;
    state->descriptor.migrate_arg = NULL;
    state->backend = backend;
    uint32_t status = identity_take(state, descriptor->name, descriptor->serializer, error);
    if (status != CISTERN_OK) {
        return status;
    }
    state->id = id;
    return CISTERN_OK;
}

void cistern_state_deinit(struct cistern_state *state)
{
    cistern_release((void *)state->descriptor.name);
    state->descriptor.name = NULL;
    state->descriptor.serializer = (struct cistern_span){NULL, 0};
}

/* 0 = none is free. Above the highest one first: an id that a restore left out stays unused as
 * long as possible. */
static uint32_t id_next(const struct cistern_backend *backend)
{
    if (backend->state_count < CISTERN_STATE_COUNT_MAX) {
        return backend->state_count + 1;
    }
    for (uint32_t i = 0; i < backend->state_count; i++) {
        if (backend->states[i] == NULL) {
            return i + 1;
        }
    }
    return 0;
}

static uint32_t state_create(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint32_t wanted_id,
    struct cistern_state **ret_state, struct cistern_error *error)
{
    int wanted_is_free = wanted_id >= 1 && wanted_id <= CISTERN_STATE_COUNT_MAX &&
                         backend->states[wanted_id - 1] == NULL;
    uint32_t id = wanted_is_free ? wanted_id : id_next(backend);
    if (id == 0) {
        return cistern_fail(error, CISTERN_LIMIT, descriptor->name,
            "state \"%s\": a backend holds at most %u states", descriptor->name,
            CISTERN_STATE_COUNT_MAX);
    }
    struct cistern_state *state = NULL;
    uint32_t status = backend->ops->state_create(backend, descriptor, id, &state, error);
    if (status != CISTERN_OK) {
        return status;
    }
    assert(state != NULL && state->id == id && state->backend == backend);
    backend->states[id - 1] = state;
    if (id > backend->state_count) {
        backend->state_count = id;
    }
    *ret_state = state;
    return CISTERN_OK;
}

/* *ret_migrates: the stored values have the form of the serializer that was replaced. */
static uint32_t state_adopt(struct cistern_state *state,
    const struct cistern_state_descriptor *descriptor, int *ret_migrates,
    struct cistern_error *error)
{
    uint32_t status =
        descriptor_compare(&state->descriptor, descriptor, 0, CISTERN_MISMATCH, error);
    int evolves =
        status == CISTERN_OK && !descriptor_same_serializer(&state->descriptor, descriptor);
    if (status == CISTERN_OK && state->backend->ops->state_adopt != NULL) {
        status = state->backend->ops->state_adopt(state, descriptor, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    state->descriptor.reduce = descriptor->reduce;
    state->descriptor.reduce_fn = descriptor->reduce_fn;
    state->descriptor.reduce_arg = descriptor->reduce_arg;
    state->descriptor.merge_fn = descriptor->merge_fn;
    state->descriptor.ttl = descriptor->ttl;
    state->registered = 1;
    if (evolves) {
        status = identity_take(state, state->descriptor.name, descriptor->serializer, error);
        *ret_migrates = status == CISTERN_OK && descriptor->migrate_fn != NULL;
    }
    return status;
}

static uint32_t state_register(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, struct cistern_state **ret_state,
    int *ret_migrates, struct cistern_error *error)
{
    uint32_t status = descriptor_validate_live(descriptor, backend->options.value_bytes_max, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_state *state = backend_state_find(backend, descriptor->name);
    if (state == NULL) {
        status = state_create(backend, descriptor, 0, &state, error);
    } else if (state->registered) {
        status = descriptor_compare(&state->descriptor, descriptor, 1, CISTERN_EXISTS, error);
    } else {
        status = state_adopt(state, descriptor, ret_migrates, error);
    }
    if (status == CISTERN_OK) {
        state->registered = 1;
        *ret_state = state;
    }
    return status;
}

uint32_t cistern_state_register_sized(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint64_t descriptor_bytes,
    struct cistern_state **ret_state, struct cistern_error *error)
{
    struct cistern_state_descriptor known;
    uint32_t status = cistern_options_read(
        &known, sizeof known, descriptor, descriptor_bytes, "state descriptor", error);
    if (status != CISTERN_OK) {
        return status;
    }
    int migrates = 0;
    backend_enter(backend);
    status = state_register(backend, &known, ret_state, &migrates, error);
    backend_leave(backend);
    return status == CISTERN_OK && migrates ? state_migrate(*ret_state, &known, error) : status;
}

uint32_t cistern_backend_check_registered(
    const struct cistern_backend *backend, struct cistern_error *error)
{
    for (uint32_t i = 0; i < backend->state_count; i++) {
        const struct cistern_state *state = backend->states[i];
        if (state != NULL && !state->registered) {
            return cistern_fail(error, CISTERN_MISMATCH, state->descriptor.name,
                "state \"%s\" (%s) was restored and nobody registered it: was it renamed?",
                state->descriptor.name, cistern_state_kind_name(state->descriptor.kind));
        }
    }
    return CISTERN_OK;
}

/* Called by a backend from inside its restore op: the guard is held by
 * cistern_backend_restore(). */
uint32_t cistern_backend_state_restored(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint32_t stored_id,
    struct cistern_state **ret_state, struct cistern_error *error)
{
    uint32_t status = descriptor_validate(descriptor, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (descriptor->ttl.event_time) {
        cistern_backend_set_watermark(backend, descriptor->ttl.watermark_ms);
    }
    struct cistern_state *state = backend_state_find(backend, descriptor->name);
    if (state == NULL) {
        return state_create(backend, descriptor, stored_id, ret_state, error);
    }
    status = descriptor_compare(&state->descriptor, descriptor, 0, CISTERN_MISMATCH, error);
    if (status != CISTERN_OK) {
        return status;
    }
    /* a chain is fed oldest first: the newest file knows the reducer and TTL that were in force */
    if (!state->registered) {
        state->descriptor.reduce = descriptor->reduce;
        state->descriptor.ttl = descriptor->ttl;
    }
    *ret_state = state;
    return CISTERN_OK;
}

uint32_t state_describe(
    struct cistern_state *state, struct cistern_state_info *ret_info, struct cistern_error *error)
{
    const struct cistern_state_descriptor *descriptor = &state->descriptor;
    memset(ret_info, 0, sizeof *ret_info);
    snprintf(ret_info->name, sizeof ret_info->name, "%s", descriptor->name);
    ret_info->id = state->id;
    ret_info->kind = descriptor->kind;
    ret_info->time_to_live_ms = descriptor->ttl.time_to_live_ms;
    ret_info->serializer_bytes = descriptor->serializer.bytes;
    memcpy(ret_info->serializer_hash, state->serializer_hash, sizeof ret_info->serializer_hash);
    return state->backend->ops->state_measure(state, &ret_info->entries, &ret_info->bytes, error);
}
