/*
 * rules_private.h -- what the inputs of a data call must keep to; checked before a backend sees
 * them.
 *
 * The checks stand on a path of some 60 ns per item, so each item costs three comparisons of the
 * form (x - min) <= (max - min) in unsigned arithmetic; what exactly is wrong is found out only
 * after one of them failed (rules.c). Threads: pure functions.
 */
#ifndef CISTERN_RULES_PRIVATE_H
#define CISTERN_RULES_PRIVATE_H

#include "backend_private.h"

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

/* Of value, reducing and aggregating states: what is stored. */
static inline struct size_rule value_rule_make(const struct cistern_state *state)
{
    uint64_t fixed_bytes =
        state->descriptor.reduce != CISTERN_REDUCE_NONE ? I64_BYTES : state->descriptor.value_bytes;
    return size_rule_make(fixed_bytes, state->backend->options.value_bytes_max);
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

static inline int name_space_is_good(
    const struct address_rule *rule, struct cistern_span name_space)
{
    return name_space.data == NULL ? name_space.bytes == 0
                                   : size_is_good(rule->name_space, name_space.bytes);
}

static inline int address_is_good(
    const struct address_rule *rule, const struct cistern_address *address)
{
    return name_space_is_good(rule, address->name_space) && address->key.data != NULL &&
           size_is_good(rule->key, address->key.bytes) &&
           address->key_group - rule->group_first <= rule->group_slack;
}

/* INVALID, naming the call, the state's kind, and which kinds it works on. kinds: bit k = kind k.
 */
CISTERN_MUST_USE uint32_t call_validate(const struct cistern_state *state, const char *call,
    uint32_t kinds, uint32_t count, struct cistern_error *error);
#define KIND_BIT(kind) (1u << (kind))
#define KINDS_REDUCED (KIND_BIT(CISTERN_REDUCING) | KIND_BIT(CISTERN_AGGREGATING))
#define KINDS_VALUE (KIND_BIT(CISTERN_VALUE) | KINDS_REDUCED)
#define KINDS_CLEARED (KINDS_VALUE | KIND_BIT(CISTERN_LIST) | KIND_BIT(CISTERN_MAP))
#define KINDS_KEYED (KINDS_CLEARED | KIND_BIT(CISTERN_TIMERS))

CISTERN_MUST_USE uint32_t addresses_validate(const struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, struct cistern_error *error);
CISTERN_MUST_USE uint32_t namespaces_validate(const struct cistern_state *state,
    const struct cistern_span *namespaces, uint32_t count, struct cistern_error *error);
/* what: "value", "element", "user key"; limit_name: what to raise. */
CISTERN_MUST_USE uint32_t spans_validate(const struct cistern_state *state, struct size_rule rule,
    const struct cistern_span *spans, uint32_t count, const char *what, const char *limit_name,
    struct cistern_error *error);
/* The fallback of spans_validate() for callers with a loop of their own. */
CISTERN_MUST_USE uint32_t span_fail(const struct cistern_state *state, uint32_t index,
    const char *what, struct size_rule rule, struct cistern_span span, const char *limit_name,
    struct cistern_error *error);

#endif
