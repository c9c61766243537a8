/* rules.c -- names what is wrong with the inputs of a data call; see rules_private.h. */
#include "rules_private.h"
#include "cistern/error.h"

#include <stdio.h>

#define KIND_NAMES_BYTES 128u

uint32_t span_fail(const struct cistern_state *state, uint32_t index, const char *what,
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

static uint32_t name_space_fail(const struct cistern_state *state, const struct address_rule *rule,
    struct cistern_span name_space, uint32_t index, struct cistern_error *error)
{
    const char *name = state->descriptor.name;
    if (name_space.data == NULL) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\", item %u: the namespace has %llu bytes and no data; void is data NULL "
            "and bytes 0",
            name, index, (unsigned long long)name_space.bytes);
    }
    return span_fail(
        state, index, "namespace", rule->name_space, name_space, "CISTERN_KEY_BYTES_MAX", error);
}

static uint32_t address_fail(const struct cistern_state *state, const struct address_rule *rule,
    const struct cistern_address *address, uint32_t index, struct cistern_error *error)
{
    const char *name = state->descriptor.name;
    if (address->key.data == NULL || !size_is_good(rule->key, address->key.bytes)) {
        return span_fail(
            state, index, "key", rule->key, address->key, "CISTERN_KEY_BYTES_MAX", error);
    }
    if (address->key_group - rule->group_first > rule->group_slack) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\", item %u: key group %u is not one of %u to %u, which this backend owns",
            name, index, address->key_group, rule->group_first,
            rule->group_first + rule->group_slack);
    }
    return name_space_fail(state, rule, address->name_space, index, error);
}

/* "value, reducing and aggregating" */
static void kinds_format(char *text, uint32_t kinds)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t kind = 0; kinds != 0; kind++) {
        if ((kinds & KIND_BIT(kind)) == 0) {
            continue;
        }
        kinds &= ~KIND_BIT(kind);
        const char *glue = used == 0 ? "" : kinds == 0 ? " and " : ", ";
        int wrote = snprintf(
            text + used, KIND_NAMES_BYTES - used, "%s%s", glue, cistern_state_kind_name(kind));
        used += wrote > 0 && (size_t)wrote < KIND_NAMES_BYTES - used ? (size_t)wrote : 0;
    }
}

uint32_t call_validate(const struct cistern_state *state, const char *call, uint32_t kinds,
    uint32_t count, struct cistern_error *error)
{
    uint32_t kind = state->descriptor.kind;
    const char *name = state->descriptor.name;
    if (count > CISTERN_BATCH_COUNT_MAX) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": %u items in one call, at most %u are possible", name, count,
            CISTERN_BATCH_COUNT_MAX);
    }
    if (KIND_BIT(kind) & kinds) {
        return CISTERN_OK;
    }
    char names[KIND_NAMES_BYTES];
    kinds_format(names, kinds);
    return cistern_fail(error, CISTERN_INVALID, name, "state \"%s\" is of kind %s: %s works on %s",
        name, cistern_state_kind_name(kind), call, names);
}

uint32_t addresses_validate(const struct cistern_state *state,
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

uint32_t namespaces_validate(const struct cistern_state *state,
    const struct cistern_span *namespaces, uint32_t count, struct cistern_error *error)
{
    const struct address_rule rule = address_rule_make(state);
    for (uint32_t i = 0; i < count; i++) {
        if (!name_space_is_good(&rule, namespaces[i])) {
            return name_space_fail(state, &rule, namespaces[i], i, error);
        }
    }
    return CISTERN_OK;
}

uint32_t spans_validate(const struct cistern_state *state, struct size_rule rule,
    const struct cistern_span *spans, uint32_t count, const char *what, const char *limit_name,
    struct cistern_error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        if (__builtin_expect(spans[i].data == NULL || !size_is_good(rule, spans[i].bytes), 0)) {
            return span_fail(state, i, what, rule, spans[i], limit_name, error);
        }
    }
    return CISTERN_OK;
}
