/* descriptor.c -- validates and compares state descriptors; see descriptor_private.h. */
#include "descriptor_private.h"
#include "cistern/error.h"
#include "cistern/hash.h"

#include <string.h>

#define I64_BYTES 8u

static int name_char_is_good(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static uint32_t name_validate(const char *name, struct cistern_error *error)
{
    if (name == NULL) {
        return cistern_fail(error, CISTERN_INVALID, "state", "a state needs a name");
    }
    size_t bytes = strnlen(name, CISTERN_STATE_NAME_BYTES_MAX + 1);
    if (bytes == 0 || bytes > CISTERN_STATE_NAME_BYTES_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "state",
            "a state's name has 1 to %u bytes; this one has %s", CISTERN_STATE_NAME_BYTES_MAX,
            bytes == 0 ? "none" : "more");
    }
    for (size_t i = 0; i < bytes; i++) {
        if (!name_char_is_good(name[i])) {
            return cistern_fail(error, CISTERN_INVALID, "state",
                "byte %zu (0x%02x) of a state's name is not one of A-Z a-z 0-9 . _ -", i,
                (unsigned char)name[i]);
        }
    }
    return CISTERN_OK;
}

static uint32_t size_validate(const char *name, const char *field, uint64_t bytes,
    uint64_t bytes_max, struct cistern_error *error)
{
    if (bytes <= bytes_max) {
        return CISTERN_OK;
    }
    return cistern_fail(error, CISTERN_INVALID, name,
        "state \"%s\": %s is %llu, at most %llu is possible", name, field,
        (unsigned long long)bytes, (unsigned long long)bytes_max);
}

static int kind_is_reduced(uint32_t kind)
{
    return kind == CISTERN_REDUCING || kind == CISTERN_AGGREGATING;
}

static uint32_t reduce_validate(
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error)
{
    const char *name = descriptor->name;
    if (cistern_reduce_name(descriptor->reduce) == NULL) {
        return cistern_fail(error, CISTERN_INVALID, name, "state \"%s\": %u is no reducer", name,
            descriptor->reduce);
    }
    if (descriptor->reduce == CISTERN_REDUCE_NONE) {
        return CISTERN_OK;
    }
    if (!kind_is_reduced(descriptor->kind)) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": a state of kind %s takes no reducer", name,
            cistern_state_kind_name(descriptor->kind));
    }
    if (descriptor->value_bytes != 0 && descriptor->value_bytes != I64_BYTES) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": the reducer %s needs values of 8 bytes, not %u", name,
            cistern_reduce_name(descriptor->reduce), descriptor->value_bytes);
    }
    return CISTERN_OK;
}

static uint32_t ttl_validate(
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error)
{
    const struct cistern_ttl *ttl = &descriptor->ttl;
    const char *name = descriptor->name;
    if (ttl->time_to_live_ms < 0 || ttl->update_on_read > 1 || ttl->return_expired > 1 ||
        ttl->event_time > 1 || ttl->reserved != 0) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": a TTL has time_to_live_ms >= 0 and 0 or 1 in its other fields", name);
    }
    if (ttl->time_to_live_ms == 0 &&
        (ttl->update_on_read != 0 || ttl->return_expired != 0 || ttl->event_time != 0)) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": TTL fields are set, but time_to_live_ms is 0", name);
    }
    if (ttl->time_to_live_ms != 0 && descriptor->kind > CISTERN_AGGREGATING) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": a state of kind %s has no TTL", name,
            cistern_state_kind_name(descriptor->kind));
    }
    return CISTERN_OK;
}

uint32_t descriptor_validate(
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error)
{
    const char *name = descriptor->name;
    uint32_t status = name_validate(name, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (cistern_state_kind_name(descriptor->kind) == NULL) {
        return cistern_fail(error, CISTERN_INVALID, name, "state \"%s\": %u is no kind of state",
            name, descriptor->kind);
    }
    if (descriptor->serializer.bytes != 0 && descriptor->serializer.data == NULL) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": serializer has %llu bytes and no data", name,
            (unsigned long long)descriptor->serializer.bytes);
    }
    if (descriptor->replaces.data == NULL &&
        (descriptor->replaces.bytes != 0 || descriptor->migrate_fn != NULL)) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": migrate_fn and the bytes of replaces go with a serializer to replace",
            name);
    }
    const struct {
        const char *field;
        uint64_t bytes;
        uint64_t bytes_max;
    } sizes[] = {
        {"key_bytes", descriptor->key_bytes, CISTERN_KEY_BYTES_MAX},
        {"namespace_bytes", descriptor->namespace_bytes, CISTERN_KEY_BYTES_MAX},
        {"user_key_bytes", descriptor->user_key_bytes, CISTERN_KEY_BYTES_MAX},
        {"serializer.bytes", descriptor->serializer.bytes, SERIALIZER_BYTES_MAX},
        {"replaces.bytes", descriptor->replaces.bytes, SERIALIZER_BYTES_MAX},
    };
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        status = size_validate(name, sizes[i].field, sizes[i].bytes, sizes[i].bytes_max, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    status = reduce_validate(descriptor, error);
    return status != CISTERN_OK ? status : ttl_validate(descriptor, error);
}

uint32_t descriptor_validate_live(const struct cistern_state_descriptor *descriptor,
    uint64_t value_bytes_max, struct cistern_error *error)
{
    uint32_t status = descriptor_validate(descriptor, error);
    if (status == CISTERN_OK) {
        status = size_validate(
            descriptor->name, "value_bytes", descriptor->value_bytes, value_bytes_max, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    const char *name = descriptor->name;
    int has_function = descriptor->reduce_fn != NULL;
    if (descriptor->merge_fn != NULL &&
        (descriptor->kind != CISTERN_AGGREGATING || !has_function)) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": merge_fn goes with kind aggregating and a reduce_fn", name);
    }
    int has_built_in = descriptor->reduce != CISTERN_REDUCE_NONE;
    if (!kind_is_reduced(descriptor->kind) && has_function) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": a state of kind %s takes no reducer", name,
            cistern_state_kind_name(descriptor->kind));
    }
    if (descriptor->kind == CISTERN_TIMERS &&
        (descriptor->value_bytes != 0 || descriptor->user_key_bytes != 0)) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": timers have neither values nor user keys: value_bytes and "
            "user_key_bytes must be 0",
            name);
    }
    if (kind_is_reduced(descriptor->kind) && has_function == has_built_in) {
        return cistern_fail(error, CISTERN_INVALID, name,
            "state \"%s\": a state of kind %s takes either reduce or reduce_fn; %s given", name,
            cistern_state_kind_name(descriptor->kind), has_function ? "both are" : "none is");
    }
    return CISTERN_OK;
}

static uint32_t number_compare(const char *name, const char *field, uint64_t there, uint64_t given,
    uint32_t status, struct cistern_error *error)
{
    if (there == given) {
        return CISTERN_OK;
    }
    return cistern_fail(error, status, name,
        "state \"%s\": %s is %llu there and %llu in this registration", name, field,
        (unsigned long long)there, (unsigned long long)given);
}

/* Enough of the hash for a person to tell two serializers apart; `tools` print it whole. */
static void serializer_brief(char text[17], struct cistern_span serializer)
{
    struct cistern_hash128 hash = cistern_hash128(serializer.data, serializer.bytes);
    cistern_hex_format(text, hash.bytes, 8);
}

static int same_bytes(struct cistern_span a, struct cistern_span b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static uint32_t serializer_compare(const char *name, struct cistern_span there,
    struct cistern_span given, uint32_t status, struct cistern_error *error)
{
    if (same_bytes(there, given)) {
        return CISTERN_OK;
    }
    char there_text[17];
    char given_text[17];
    serializer_brief(there_text, there);
    serializer_brief(given_text, given);
    return cistern_fail(error, status, name,
        "state \"%s\": serializer is %llu bytes (xxh128 %s..) there and %llu bytes (xxh128 %s..) "
        "in this registration",
        name, (unsigned long long)there.bytes, there_text, (unsigned long long)given.bytes,
        given_text);
}

static uint32_t live_compare(const struct cistern_state_descriptor *there,
    const struct cistern_state_descriptor *given, uint32_t status, struct cistern_error *error)
{
    const char *name = there->name;
    if (there->reduce_fn != given->reduce_fn || there->reduce_arg != given->reduce_arg ||
        there->merge_fn != given->merge_fn) {
        return cistern_fail(error, status, name,
            "state \"%s\": reduce_fn, reduce_arg or merge_fn is another one", name);
    }
    uint32_t result = number_compare(name, "ttl.time_to_live_ms",
        (uint64_t)there->ttl.time_to_live_ms, (uint64_t)given->ttl.time_to_live_ms, status, error);
    if (result == CISTERN_OK) {
        result = number_compare(name, "ttl.update_on_read", there->ttl.update_on_read,
            given->ttl.update_on_read, status, error);
    }
    if (result == CISTERN_OK) {
        result = number_compare(name, "ttl.return_expired", there->ttl.return_expired,
            given->ttl.return_expired, status, error);
    }
    if (result == CISTERN_OK) {
        result = number_compare(
            name, "ttl.event_time", there->ttl.event_time, given->ttl.event_time, status, error);
    }
    return result;
}

int descriptor_same_serializer(
    const struct cistern_state_descriptor *there, const struct cistern_state_descriptor *given)
{
    return same_bytes(there->serializer, given->serializer);
}

int descriptor_replaces(
    const struct cistern_state_descriptor *there, const struct cistern_state_descriptor *given)
{
    return given->replaces.data != NULL && same_bytes(there->serializer, given->replaces);
}

uint32_t descriptor_compare(const struct cistern_state_descriptor *there,
    const struct cistern_state_descriptor *given, int whole, uint32_t status,
    struct cistern_error *error)
{
    const char *name = there->name;
    if (there->kind != given->kind) {
        return cistern_fail(error, status, name,
            "state \"%s\": kind is %s there and %s in this registration", name,
            cistern_state_kind_name(there->kind), cistern_state_kind_name(given->kind));
    }
    /* A host may replace a built-in reducer by its own function after a restore, but not by
     * another built-in one. */
    int reducers_matter =
        whole || (there->reduce != CISTERN_REDUCE_NONE && given->reduce != CISTERN_REDUCE_NONE);
    if (reducers_matter && there->reduce != given->reduce) {
        return cistern_fail(error, status, name,
            "state \"%s\": reduce is %s there and %s in this registration", name,
            cistern_reduce_name(there->reduce), cistern_reduce_name(given->reduce));
    }
    const struct {
        const char *field;
        uint32_t there;
        uint32_t given;
    } sizes[] = {
        {"key_bytes", there->key_bytes, given->key_bytes},
        {"namespace_bytes", there->namespace_bytes, given->namespace_bytes},
        {"user_key_bytes", there->user_key_bytes, given->user_key_bytes},
        {"value_bytes", there->value_bytes, given->value_bytes},
    };
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint32_t result =
            number_compare(name, sizes[i].field, sizes[i].there, sizes[i].given, status, error);
        if (result != CISTERN_OK) {
            return result;
        }
    }
    uint32_t result =
        descriptor_replaces(there, given)
            ? CISTERN_OK
            : serializer_compare(name, there->serializer, given->serializer, status, error);
    /* A stamp of one clock means nothing to the other. */
    if (result == CISTERN_OK && there->ttl.time_to_live_ms != 0 &&
        given->ttl.time_to_live_ms != 0 && there->ttl.event_time != given->ttl.event_time) {
        static const char *const clocks[] = {"processing time", "event time"};
        result = cistern_fail(error, status, name,
            "state \"%s\": its time to live runs on %s there and on %s in this registration", name,
            clocks[there->ttl.event_time], clocks[given->ttl.event_time]);
    }
    return result != CISTERN_OK || !whole ? result : live_compare(there, given, status, error);
}
