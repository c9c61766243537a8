/*
 * descriptor_json.c -- a state descriptor as stored bytes and back; see backend_ops.h and
 * docs/FORMAT.md, "State descriptor".
 *
 * The text comes from outside: decode checks each field and its type and trusts no length.
 */
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/hash.h"
#include "descriptor_private.h"
#include "json_text_private.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Larger integers are written as decimal strings, so that readers whose numbers are doubles keep
 * every bit. */
#define JSON_INTEGER_MAX ((INT64_C(1) << 53) - 1)

/* Exact in every reader's numbers. */
static int fits_json(int64_t value)
{
    return value <= JSON_INTEGER_MAX && value >= -JSON_INTEGER_MAX;
}

/* ---- encode ---- */

static json_t *integer_encode(int64_t value)
{
    return fits_json(value) ? json_integer(value) : json_sprintf("%lld", (long long)value);
}

static json_t *ttl_encode(const struct cistern_ttl *ttl)
{
    if (ttl->time_to_live_ms == 0) {
        return json_null();
    }
    /* The two of event time only where it runs: older files have neither. */
    return json_pack("{s:i, s:o, s:i, s:o*, s:o*}", "return_expired", (int)ttl->return_expired,
        "time_to_live_ms", integer_encode(ttl->time_to_live_ms), "update_on_read",
        (int)ttl->update_on_read, "event_time", ttl->event_time ? json_integer(1) : NULL,
        "watermark_ms", ttl->event_time ? integer_encode(ttl->watermark_ms) : NULL);
}

static json_t *serializer_encode(struct cistern_span serializer)
{
    char *hex = cistern_allocate(2 * serializer.bytes + 1);
    if (hex == NULL) {
        return NULL;
    }
    cistern_hex_format(hex, serializer.data, serializer.bytes);
    json_t *text = json_string(hex);
    cistern_release(hex);
    return text;
}

uint32_t cistern_descriptor_encode(const struct cistern_state_descriptor *descriptor, uint32_t id,
    char **ret_text, struct cistern_error *error)
{
    uint32_t status = descriptor_validate(descriptor, error);
    if (status != CISTERN_OK) {
        return status;
    }
    char *text = NULL;
    json_t *serializer = serializer_encode(descriptor->serializer);
    json_t *ttl = serializer == NULL ? NULL : ttl_encode(&descriptor->ttl);
    /* json_pack takes both references, whether it succeeds or not; it fails on a NULL one. */
    json_t *object =
        ttl == NULL
            ? NULL
            : json_pack("{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:o, s:o}", "id", (json_int_t)id,
                  "name", descriptor->name, "kind", cistern_state_kind_name(descriptor->kind),
                  "key_bytes", (json_int_t)descriptor->key_bytes, "namespace_bytes",
                  (json_int_t)descriptor->namespace_bytes, "user_key_bytes",
                  (json_int_t)descriptor->user_key_bytes, "value_bytes",
                  (json_int_t)descriptor->value_bytes, "reduce",
                  cistern_reduce_name(descriptor->reduce), "ttl", ttl, "serializer", serializer);
    if (ttl == NULL) {
        json_decref(serializer);
    }
    if (object != NULL) {
        text = json_text_dump(object);
        json_decref(object);
    }
    if (text == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, descriptor->name,
            "no memory for the descriptor of state \"%s\"", descriptor->name);
    }
    *ret_text = text;
    return CISTERN_OK;
}

/* ---- decode ---- */

struct decoding { /* one call of decode; on its stack */
    const json_t *root;
    const char *object;
    struct cistern_error *error;
};

static uint32_t field_fail(const struct decoding *decoding, const char *field, const char *expected)
{
    return cistern_fail(decoding->error, CISTERN_CORRUPT, decoding->object,
        "state descriptor: \"%s\" is not %s", field, expected);
}

static uint32_t keys_check(
    const struct decoding *decoding, const json_t *object, const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        int is_known = strncmp(key, "x_", 2) == 0;
        for (uint32_t i = 0; known[i] != NULL && !is_known; i++) {
            is_known = strcmp(key, known[i]) == 0;
        }
        if (!is_known) {
            return cistern_fail(decoding->error, CISTERN_UNSUPPORTED, decoding->object,
                "state descriptor: this build does not know the field \"%.64s\"", key);
        }
    }
    return CISTERN_OK;
}

static uint32_t integer_decode(const struct decoding *decoding, const json_t *object,
    const char *field, int64_t min, int64_t max, int64_t *ret_value)
{
    static const char rule[] = "an integer up to 2^53-1 in size, or a larger one as a string";
    const json_t *value = json_object_get(object, field);
    int64_t number;
    if (json_is_integer(value)) {
        number = json_integer_value(value);
        if (!fits_json(number)) {
            return field_fail(decoding, field, rule);
        }
    } else if (json_is_string(value)) {
        /* One spelling only: what the number would be written as. */
        char text[24];
        number = strtoll(json_string_value(value), NULL, 10);
        snprintf(text, sizeof text, "%lld", (long long)number);
        if (fits_json(number) || strcmp(text, json_string_value(value)) != 0) {
            return field_fail(decoding, field, rule);
        }
    } else {
        return field_fail(decoding, field, "there as an integer");
    }
    if (number < min || number > max) {
        return field_fail(decoding, field, "in its range");
    }
    *ret_value = number;
    return CISTERN_OK;
}

static uint32_t u32_decode(const struct decoding *decoding, const json_t *object, const char *field,
    uint32_t max, uint32_t *ret_value)
{
    int64_t value;
    uint32_t status = integer_decode(decoding, object, field, 0, max, &value);
    if (status == CISTERN_OK) {
        *ret_value = (uint32_t)value;
    }
    return status;
}

/* A number by its name. A name of the future is a version question, not damage. */
static uint32_t name_decode(const struct decoding *decoding, const char *field,
    const char *(*name_of)(uint32_t), uint32_t number_max, uint32_t *ret_number)
{
    const json_t *value = json_object_get(decoding->root, field);
    if (!json_is_string(value)) {
        return field_fail(decoding, field, "there as a string");
    }
    for (uint32_t number = 0; number <= number_max; number++) {
        const char *name = name_of(number);
        if (name != NULL && strcmp(name, json_string_value(value)) == 0) {
            *ret_number = number;
            return CISTERN_OK;
        }
    }
    return cistern_fail(decoding->error, CISTERN_UNSUPPORTED, decoding->object,
        "state descriptor: this build does not know the %s \"%.64s\"", field,
        json_string_value(value));
}

static uint32_t ttl_decode(const struct decoding *decoding, struct cistern_ttl *ret_ttl)
{
    static const char *const known[] = {
        "event_time", "return_expired", "time_to_live_ms", "update_on_read", "watermark_ms", NULL};
    const json_t *ttl = json_object_get(decoding->root, "ttl");
    if (json_is_null(ttl)) {
        return CISTERN_OK;
    }
    if (!json_is_object(ttl)) {
        return field_fail(decoding, "ttl", "there as null or an object");
    }
    uint32_t status = keys_check(decoding, ttl, known);
    if (status == CISTERN_OK) {
        status = integer_decode(
            decoding, ttl, "time_to_live_ms", 0, INT64_MAX, &ret_ttl->time_to_live_ms);
    }
    if (status == CISTERN_OK && ret_ttl->time_to_live_ms == 0) {
        status = field_fail(decoding, "time_to_live_ms", "above 0");
    }
    if (status == CISTERN_OK) {
        status = u32_decode(decoding, ttl, "update_on_read", 1, &ret_ttl->update_on_read);
    }
    if (status == CISTERN_OK) {
        status = u32_decode(decoding, ttl, "return_expired", 1, &ret_ttl->return_expired);
    }
    if (status == CISTERN_OK && json_object_get(ttl, "event_time") != NULL) {
        status = u32_decode(decoding, ttl, "event_time", 1, &ret_ttl->event_time);
    }
    if (status == CISTERN_OK && ret_ttl->event_time) {
        status = integer_decode(
            decoding, ttl, "watermark_ms", INT64_MIN, INT64_MAX, &ret_ttl->watermark_ms);
    }
    return status;
}

static uint32_t numbers_decode(const struct decoding *decoding,
    struct cistern_state_descriptor *ret_descriptor, uint32_t *ret_id)
{
    const struct {
        const char *field;
        uint32_t max;
        uint32_t *ret_value;
    } fields[] = {
        {"id", CISTERN_STATE_COUNT_MAX, ret_id},
        {"key_bytes", CISTERN_KEY_BYTES_MAX, &ret_descriptor->key_bytes},
        {"namespace_bytes", CISTERN_KEY_BYTES_MAX, &ret_descriptor->namespace_bytes},
        {"user_key_bytes", CISTERN_KEY_BYTES_MAX, &ret_descriptor->user_key_bytes},
        {"value_bytes", UINT32_MAX, &ret_descriptor->value_bytes},
    };
    for (uint32_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        uint32_t status = u32_decode(
            decoding, decoding->root, fields[i].field, fields[i].max, fields[i].ret_value);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    uint32_t status = name_decode(
        decoding, "kind", cistern_state_kind_name, CISTERN_BROADCAST, &ret_descriptor->kind);
    if (status == CISTERN_OK) {
        status = name_decode(decoding, "reduce", cistern_reduce_name, CISTERN_REDUCE_MAX_I64,
            &ret_descriptor->reduce);
    }
    return status == CISTERN_OK ? ttl_decode(decoding, &ret_descriptor->ttl) : status;
}

/* Name and serializer into one block: the name first. */
static uint32_t strings_decode(const struct decoding *decoding,
    struct cistern_state_descriptor *ret_descriptor, void **ret_storage)
{
    const json_t *name = json_object_get(decoding->root, "name");
    const json_t *serializer = json_object_get(decoding->root, "serializer");
    if (!json_is_string(name) || !json_is_string(serializer)) {
        return field_fail(
            decoding, json_is_string(name) ? "serializer" : "name", "there as a string");
    }
    uint64_t name_bytes = json_string_length(name) + 1;
    uint64_t serializer_bytes = json_string_length(serializer) / 2;
    uint8_t *storage = cistern_allocate(name_bytes + serializer_bytes);
    if (storage == NULL) {
        return cistern_fail(decoding->error, CISTERN_NO_MEMORY, decoding->object,
            "no memory for a state descriptor");
    }
    memcpy(storage, json_string_value(name), name_bytes);
    if (json_string_length(serializer) % 2 != 0 ||
        cistern_hex_parse(storage + name_bytes, serializer_bytes, json_string_value(serializer)) !=
            CISTERN_OK) {
        cistern_release(storage);
        return field_fail(decoding, "serializer", "text of hex digits in pairs");
    }
    ret_descriptor->name = (const char *)storage;
    ret_descriptor->serializer.data = serializer_bytes > 0 ? storage + name_bytes : NULL;
    ret_descriptor->serializer.bytes = serializer_bytes;
    *ret_storage = storage;
    return CISTERN_OK;
}

static uint32_t root_decode(const struct decoding *decoding,
    struct cistern_state_descriptor *ret_descriptor, uint32_t *ret_id, void **ret_storage)
{
    static const char *const known[] = {"id", "key_bytes", "kind", "name", "namespace_bytes",
        "reduce", "serializer", "ttl", "user_key_bytes", "value_bytes", NULL};
    if (!json_is_object(decoding->root)) {
        return cistern_fail(decoding->error, CISTERN_CORRUPT, decoding->object,
            "a state descriptor is not an object");
    }
    uint32_t status = keys_check(decoding, decoding->root, known);
    if (status == CISTERN_OK) {
        status = numbers_decode(decoding, ret_descriptor, ret_id);
    }
    if (status == CISTERN_OK && *ret_id == 0) {
        status = field_fail(decoding, "id", "above 0");
    }
    if (status == CISTERN_OK) {
        status = strings_decode(decoding, ret_descriptor, ret_storage);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    status = descriptor_validate(ret_descriptor, decoding->error);
    if (status != CISTERN_OK) {
        cistern_release(*ret_storage);
        if (decoding->error != NULL && status == CISTERN_INVALID) {
            decoding->error->status = CISTERN_CORRUPT;
        }
        return status == CISTERN_INVALID ? CISTERN_CORRUPT : status;
    }
    return CISTERN_OK;
}

uint32_t cistern_descriptor_decode(const char *text, uint64_t text_bytes, const char *object,
    struct cistern_state_descriptor *ret_descriptor, uint32_t *ret_id, void **ret_storage,
    struct cistern_error *error)
{
    if (text_bytes > DESCRIPTOR_TEXT_BYTES_MAX) {
        return cistern_fail(error, CISTERN_CORRUPT, object,
            "a state descriptor of %llu bytes, at most %u are possible",
            (unsigned long long)text_bytes, DESCRIPTOR_TEXT_BYTES_MAX);
    }
    json_error_t json_error;
    json_t *root;
    uint32_t status = json_text_load(text, text_bytes, &root, &json_error);
    if (status == CISTERN_NO_MEMORY) {
        return cistern_fail(error, status, object, "no memory for a state descriptor");
    }
    if (status != CISTERN_OK) {
        return cistern_fail(error, status, object, "state descriptor: %s at byte %d",
            json_error.text, json_error.position);
    }
    struct decoding decoding = {.root = root, .object = object, .error = error};
    struct cistern_state_descriptor descriptor = {0};
    uint32_t id = 0;
    void *storage = NULL;
    status = root_decode(&decoding, &descriptor, &id, &storage);
    json_decref(root);
    if (status == CISTERN_OK) {
        *ret_descriptor = descriptor;
        *ret_id = id;
        *ret_storage = storage;
    }
    return status;
}
