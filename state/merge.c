/*
 * merge.c -- the contents of some namespaces of a key are brought into one; see cistern/keys.h.
 *
 * Lists are the backend's own matter: it can move elements without copying them. Accumulators are
 * few bytes: they are read, combined and put here, the target before any source is removed, so that
 * a refusal leaves all as it was.
 */
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/keys.h"
#include "rules_private.h"

#include <string.h>

struct accumulator { /* an owned value */
    uint8_t *bytes;
    uint64_t size;
    uint64_t capacity_bytes;
    uint32_t present;
};

static uint32_t fail_no_memory(
    const struct cistern_state *state, uint64_t bytes, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_NO_MEMORY, state->descriptor.name,
        "no memory for an accumulator of %llu bytes", (unsigned long long)bytes);
}

static uint32_t accumulator_reserve(const struct cistern_state *state,
    struct accumulator *accumulator, uint64_t bytes, struct cistern_error *error)
{
    if (accumulator->bytes != NULL && bytes <= accumulator->capacity_bytes) {
        return CISTERN_OK;
    }
    uint8_t *larger = cistern_reallocate(accumulator->bytes, bytes + 1);
    if (larger == NULL) {
        return fail_no_memory(state, bytes, error);
    }
    accumulator->bytes = larger;
    accumulator->capacity_bytes = bytes;
    return CISTERN_OK;
}

static uint32_t accumulator_load(struct cistern_state *state, const struct cistern_address *address,
    struct accumulator *accumulator, struct cistern_error *error)
{
    struct cistern_span value = {NULL, 0};
    accumulator->present = 0;
    uint32_t status = state->backend->ops->value_get_many(state, address, 1, &value, error);
    if (status != CISTERN_OK || value.data == NULL) {
        return status;
    }
    status = accumulator_reserve(state, accumulator, value.bytes, error);
    if (status == CISTERN_OK) {
        memcpy(accumulator->bytes, value.data, value.bytes);
        accumulator->size = value.bytes;
        accumulator->present = 1;
    }
    return status;
}

/* into = into + from, by way of `spare`. */
static uint32_t accumulator_combine(const struct cistern_state *state, struct accumulator *into,
    const struct accumulator *from, struct accumulator *spare, struct cistern_error *error)
{
    struct cistern_state_descriptor descriptor = state->descriptor;
    if (descriptor.merge_fn != NULL) {
        descriptor.reduce_fn = descriptor.merge_fn;
    }
    struct cistern_span old_value = {into->present ? into->bytes : NULL, into->size};
    struct cistern_span input = {from->bytes, from->size};
    uint64_t wanted = into->size > from->size ? into->size : from->size;
    wanted = wanted < I64_BYTES ? I64_BYTES : wanted;
    uint32_t status;
    do {
        uint64_t room = wanted;
        status = accumulator_reserve(state, spare, room, error);
        if (status != CISTERN_OK) {
            return status;
        }
        status = cistern_reduce_apply(&descriptor, old_value, input,
            (struct cistern_bytes){spare->bytes, room}, &wanted, error);
    } while (status == CISTERN_LIMIT);
    if (status == CISTERN_OK) {
        struct accumulator old = *into;
        *into = *spare;
        into->size = wanted;
        into->present = 1;
        *spare = old;
    }
    return status;
}

/* The inputs may be results, which the first call makes stale. */
struct inputs {
    struct cistern_address target;
    struct cistern_span *sources;
    void *storage;
};

static struct cistern_span span_copy(struct cistern_span span, uint8_t **at)
{
    if (span.data == NULL) {
        return span;
    }
    uint8_t *copy = *at;
    memcpy(copy, span.data, span.bytes);
    *at += span.bytes;
    return (struct cistern_span){copy, span.bytes};
}

static uint32_t inputs_copy(const struct cistern_state *state, struct inputs *inputs,
    const struct cistern_address *target, const struct cistern_span *sources, uint32_t count,
    struct cistern_error *error)
{
    uint64_t bytes = count * sizeof *sources + target->key.bytes + target->name_space.bytes;
    for (uint32_t i = 0; i < count; i++) {
        bytes += sources[i].bytes;
    }
    inputs->storage = cistern_allocate(bytes + 1); /* empty spans have a place, too */
    if (inputs->storage == NULL) {
        return fail_no_memory(state, bytes, error);
    }
    inputs->sources = inputs->storage;
    uint8_t *at = (uint8_t *)(inputs->sources + count);
    inputs->target = *target;
    inputs->target.key = span_copy(target->key, &at);
    inputs->target.name_space = span_copy(target->name_space, &at);
    for (uint32_t i = 0; i < count; i++) {
        inputs->sources[i] = span_copy(sources[i], &at);
    }
    return CISTERN_OK;
}

static int is_same(struct cistern_span a, struct cistern_span b)
{
    return (a.data != NULL) == (b.data != NULL) && a.bytes == b.bytes &&
           (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

/* The target itself, or a namespace that stood in the list before: it holds nothing any more. */
static int is_passed_over(
    const struct cistern_address *target, const struct cistern_span *sources, uint32_t index)
{
    int passed = is_same(target->name_space, sources[index]);
    for (uint32_t i = 0; i < index && !passed; i++) {
        passed = is_same(sources[i], sources[index]);
    }
    return passed;
}

static struct cistern_address source_address(
    const struct cistern_address *target, struct cistern_span name_space)
{
    struct cistern_address address = *target;
    address.name_space = name_space;
    return address;
}

static uint32_t combine_all(struct cistern_state *state, const struct cistern_address *target,
    const struct cistern_span *sources, uint32_t count, struct accumulator parts[3], int *changed,
    struct cistern_error *error)
{
    uint32_t status = accumulator_load(state, target, &parts[0], error);
    for (uint32_t i = 0; status == CISTERN_OK && i < count; i++) {
        if (is_passed_over(target, sources, i)) {
            continue;
        }
        struct cistern_address address = source_address(target, sources[i]);
        status = accumulator_load(state, &address, &parts[1], error);
        if (status == CISTERN_OK && parts[1].present) {
            *changed = 1;
            if (parts[0].present) {
                status = accumulator_combine(state, &parts[0], &parts[1], &parts[2], error);
            } else {
                struct accumulator swap = parts[0];
                parts[0] = parts[1];
                parts[1] = swap;
            }
        }
    }
    return status;
}

static uint32_t remove_sources(struct cistern_state *state, const struct cistern_address *target,
    const struct cistern_span *sources, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; status == CISTERN_OK && i < count; i++) {
        if (!is_passed_over(target, sources, i)) {
            struct cistern_address address = source_address(target, sources[i]);
            uint32_t done;
            status = state->backend->ops->value_remove_many(state, &address, 1, &done, error);
        }
    }
    return status;
}

static uint32_t merge_accumulators(struct cistern_state *state,
    const struct cistern_address *target, const struct cistern_span *sources, uint32_t count,
    struct cistern_error *error)
{
    struct inputs inputs;
    uint32_t status = inputs_copy(state, &inputs, target, sources, count, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct accumulator parts[3] = {{0}};
    int changed = 0;
    status = combine_all(state, &inputs.target, inputs.sources, count, parts, &changed, error);
    if (status == CISTERN_OK && changed) {
        struct cistern_span value = {parts[0].bytes, parts[0].size};
        uint32_t done;
        status = spans_validate(
            state, value_rule_make(state), &value, 1, "merged value", "value_bytes_max", error);
        if (status == CISTERN_OK) {
            status =
                state->backend->ops->value_put_many(state, &inputs.target, &value, 1, &done, error);
        }
        if (status == CISTERN_OK) {
            status = remove_sources(state, &inputs.target, inputs.sources, count, error);
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        cistern_release(parts[i].bytes);
    }
    cistern_release(inputs.storage);
    return status;
}

uint32_t cistern_state_merge(struct cistern_state *state, const struct cistern_address *target,
    const struct cistern_span *source_namespaces, uint32_t source_count,
    struct cistern_error *error)
{
    uint32_t status =
        call_validate(state, "merge", KINDS_REDUCED | KIND_BIT(CISTERN_LIST), source_count, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, target, 1, error);
    }
    if (status == CISTERN_OK) {
        status = namespaces_validate(state, source_namespaces, source_count, error);
    }
    if (status != CISTERN_OK || source_count == 0) {
        return status;
    }
    backend_enter(state->backend);
    status =
        state->descriptor.kind == CISTERN_LIST
            ? state->backend->ops->list_merge(state, target, source_namespaces, source_count, error)
            : merge_accumulators(state, target, source_namespaces, source_count, error);
    backend_leave(state->backend);
    return status;
}
