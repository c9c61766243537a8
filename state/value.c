/*
 * value.c -- the data calls of value, reducing and aggregating states, and the cursor: checked
 * here, done by the backend.
 *
 * The checks stand on a path of some 60 ns per item, so each item costs three comparisons of the
 * form (x - min) <= (max - min) in unsigned arithmetic; what exactly is wrong is found out only
 * after one of them failed.
 */
#include "backend_private.h"
#include "cistern/error.h"

#include <assert.h>
#include <stddef.h>

#define I64_BYTES 8u

struct size_rule {
    uint64_t min;
    uint64_t slack; /* max - min */
};
struct address_rule { /* what an address of one state must keep to; made once per call */
    struct size_rule key;
    struct size_rule name_space;
    uint32_t group_first;
    uint32_t group_slack;
};

static inline struct size_rule size_rule_make(uint64_t fixed_bytes, uint64_t bytes_max)
{
    struct size_rule rule = {.min = fixed_bytes, .slack = fixed_bytes != 0 ? 0 : bytes_max};
    return rule;
}

static inline int size_is_good(struct size_rule rule, uint64_t bytes)
{
    return bytes - rule.min <= rule.slack;
}

static inline struct address_rule address_rule_make(const struct cistern_state *state)
{
    const struct cistern_key_group_range *range = &state->backend->options.range;
    struct address_rule rule = {
        .key = size_rule_make(state->descriptor.key_bytes, CISTERN_KEY_BYTES_MAX),
        .name_space = size_rule_make(state->descriptor.namespace_bytes, CISTERN_KEY_BYTES_MAX),
        .group_first = range->first,
        .group_slack = range->last - range->first,
    };
    return rule;
}

static inline int address_is_good(
    const struct address_rule *rule, const struct cistern_address *address)
{
    int name_space_is_good = address->name_space.data == NULL
                                 ? address->name_space.bytes == 0
                                 : size_is_good(rule->name_space, address->name_space.bytes);
    return name_space_is_good && address->key.data != NULL &&
           size_is_good(rule->key, address->key.bytes) &&
           address->key_group - rule->group_first <= rule->group_slack;
}

static inline struct size_rule value_rule_make(const struct cistern_state *state)
{
    uint64_t fixed_bytes =
        state->descriptor.reduce != CISTERN_REDUCE_NONE ? I64_BYTES : state->descriptor.value_bytes;
    return size_rule_make(fixed_bytes, state->backend->options.value_bytes_max);
}

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

/* ---- the slow side: names what is wrong ---- */

static uint32_t size_fail(const struct cistern_state *state, uint32_t index, const char *what,
    struct size_rule rule, struct cistern_span span, const char *limit_name,
    struct cistern_error *error)
{
    const char *name = state->descriptor.name;
    if (span.data == NULL) {
        return cistern_fail(error, CISTERN_INVALID, name, "state \"%s\", item %u: no %s is given",
            name, index, what);
    }
    if (rule.slack == 0 && rule.min != 0) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\", item %u: the %s has %llu bytes, the descriptor says %llu", name, index,
            what, (unsigned long long)span.bytes, (unsigned long long)rule.min);
    }
    return cistern_fail(error, CISTERN_INVALID, name,
        "state \"%s\", item %u: the %s has %llu bytes, at most %llu (%s)", name, index, what,
        (unsigned long long)span.bytes, (unsigned long long)(rule.min + rule.slack), limit_name);
}

static uint32_t address_fail(const struct cistern_state *state, const struct address_rule *rule,
    const struct cistern_address *address, uint32_t index, struct cistern_error *error)
{
    const char *name = state->descriptor.name;
    if (address->key.data == NULL || !size_is_good(rule->key, address->key.bytes)) {
        return size_fail(
            state, index, "key", rule->key, address->key, "CISTERN_KEY_BYTES_MAX", error);
    }
    if (address->key_group - rule->group_first > rule->group_slack) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\", item %u: key group %u is not one of %u to %u, which this backend owns",
            name, index, address->key_group, rule->group_first,
            rule->group_first + rule->group_slack);
    }
    if (address->name_space.data == NULL) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\", item %u: the namespace has %llu bytes and no data; void is data NULL "
            "and bytes 0",
            name, index, (unsigned long long)address->name_space.bytes);
    }
    return size_fail(state, index, "namespace", rule->name_space, address->name_space,
        "CISTERN_KEY_BYTES_MAX", error);
}

static uint32_t call_validate(const struct cistern_state *state, const char *call, uint32_t count,
    int adds, struct cistern_error *error)
{
    uint32_t kind = state->descriptor.kind;
    const char *name = state->descriptor.name;
    if (count > CISTERN_BATCH_COUNT_MAX) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": %u items in one call, at most %u are possible", name, count,
            CISTERN_BATCH_COUNT_MAX);
    }
    int is_reduced = kind == CISTERN_REDUCING || kind == CISTERN_AGGREGATING;
    if (is_reduced || (kind == CISTERN_VALUE && !adds)) {
        return CISTERN_OK;
    }
    return cistern_fail(error, CISTERN_INVALID, name, "state \"%s\" is of kind %s: %s works on %s",
        name, cistern_state_kind_name(kind), call,
        adds ? "reducing and aggregating" : "value, reducing and aggregating");
}

static uint32_t addresses_validate(const struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, struct cistern_error *error)
{
    const struct address_rule rule = address_rule_make(state);
    for (uint32_t i = 0; i < count; i++) {
        if (__builtin_expect(!address_is_good(&rule, &addresses[i]), 0)) {
            return address_fail(state, &rule, &addresses[i], i, error);
        }
    }
    return CISTERN_OK;
}

static uint32_t values_validate(const struct cistern_state *state, struct size_rule rule,
    const struct cistern_span *values, uint32_t count, struct cistern_error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        if (__builtin_expect(values[i].data == NULL || !size_is_good(rule, values[i].bytes), 0)) {
            return size_fail(state, i, "value", rule, values[i], "value_bytes_max", error);
        }
    }
    return CISTERN_OK;
}

/* ---- batches ---- */

static uint32_t get_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error)
{
    uint32_t status = call_validate(state, "get", count, 0, error);
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
    uint32_t status = call_validate(state, "put", count, 0, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, addresses, count, error);
    }
    if (status == CISTERN_OK) {
        status = values_validate(state, value_rule_make(state), values, count, error);
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
    uint32_t status = call_validate(state, "add", count, 1, error);
    if (status == CISTERN_OK) {
        status = addresses_validate(state, addresses, count, error);
    }
    if (status == CISTERN_OK) {
        status = values_validate(state, input_rule_make(state), inputs, count, error);
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
    uint32_t status = call_validate(state, "remove", count, 0, error);
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

uint32_t cistern_value_get(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span *ret_value, struct cistern_error *error)
{
    struct cistern_span value = {NULL, 0};
    uint32_t status = get_many(state, address, 1, &value, error);
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

/* ---- cursor ---- */

uint32_t cistern_entries_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct cistern_cursor *cursor = NULL;
    backend_enter(state->backend);
    uint32_t status = state->backend->ops->entries_open(state, &cursor, error);
    backend_leave(state->backend);
    if (status == CISTERN_OK) {
        cursor->state = state;
        *ret_cursor = cursor;
    }
    return status;
}

uint32_t cistern_cursor_next(struct cistern_cursor *cursor, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    struct cistern_backend *backend = cursor->state->backend;
    if (capacity == 0) {
        return cistern_fail(error, CISTERN_INVALID, cursor->state->descriptor.name,
            "a cursor needs room for at least one entry");
    }
    backend_enter(backend);
    uint32_t status = backend->ops->cursor_next(cursor, ret_entries, capacity, ret_count, error);
    backend_leave(backend);
    assert(status != CISTERN_OK || *ret_count <= capacity);
    return status;
}

void cistern_cursor_close(struct cistern_cursor *cursor)
{
    if (cursor == NULL) {
        return;
    }
    struct cistern_backend *backend = cursor->state->backend;
    backend_enter(backend);
    backend->ops->cursor_close(cursor);
    backend_leave(backend);
}
