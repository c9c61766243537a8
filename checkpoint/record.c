/* record.c -- fields of a JSON record; see record_private.h. */
#include "record_private.h"

#include "frame_private.h"

#include "cistern/error.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int key_is_known(const char *key, const char *const *keys)
{
    if (strncmp(key, "x_", 2) == 0) {
        return 1;
    }
    for (uint32_t index = 0; keys[index] != NULL; index++) {
        if (strcmp(key, keys[index]) == 0) {
            return 1;
        }
    }
    return 0;
}

static void check_keys(struct record *record, const char *const *keys)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)record->object, key, value)
    {
        if (!key_is_known(key, keys)) {
            record->status = cistern_fail(record->error, CISTERN_UNSUPPORTED, record->path,
                "the key \"%.60s\" is not one this build (format version %u) knows: a newer "
                "version wrote it",
                key, FRAME_VERSION);
            if (record->error != NULL) {
                record->error->file_offset = record->offset;
            }
            return;
        }
    }
}

void record_open(struct record *record, const json_t *object, const char *const *keys,
    const char *path, uint64_t offset, struct cistern_error *error)
{
    *record = (struct record){object, path, offset, CISTERN_OK, error};
    if (!json_is_object(object)) {
        record->status = cistern_fail_corrupt(error, path, offset, "an object was expected");
        return;
    }
    check_keys(record, keys);
}

void record_open_inner(struct record *record, const struct record *parent, const json_t *object,
    const char *const *keys)
{
    if (parent->status != CISTERN_OK) {
        *record = *parent;
        return;
    }
    record_open(record, object, keys, parent->path, parent->offset, parent->error);
}

void record_corrupt(struct record *record, const char *key, const char *why)
{
    if (record->status == CISTERN_OK) {
        record->status = cistern_fail_corrupt(
            record->error, record->path, record->offset, "\"%s\" %s", key, why);
    }
}

static const json_t *find(struct record *record, const char *key)
{
    if (record->status != CISTERN_OK) {
        return NULL;
    }
    const json_t *value = json_object_get(record->object, key);
    if (value == NULL) {
        record_corrupt(record, key, "is missing");
    }
    return value;
}

int record_has(const struct record *record, const char *key)
{
    return record->status == CISTERN_OK && json_object_get(record->object, key) != NULL;
}

/* Integers above FRAME_INTEGER_MAX travel as decimal text. */
static int read_integer(const json_t *value, uint64_t *ret_number)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *ret_number = (uint64_t)json_integer_value(value);
        return *ret_number <= FRAME_INTEGER_MAX;
    }
    const char *text = json_string_value(value);
    char canonical[24];
    if (text == NULL) {
        return 0;
    }
    *ret_number = strtoull(text, NULL, 10);
    snprintf(canonical, sizeof canonical, "%llu", (unsigned long long)*ret_number);
    return strcmp(text, canonical) == 0;
}

uint64_t record_u64(struct record *record, const char *key, uint64_t max)
{
    const json_t *value = find(record, key);
    uint64_t number;
    if (value == NULL) {
        return 0;
    }
    if (!read_integer(value, &number) || number > max) {
        record_corrupt(record, key, "is not an integer in its range");
        return 0;
    }
    return number;
}

uint32_t record_u32(struct record *record, const char *key, uint32_t max)
{
    return (uint32_t)record_u64(record, key, max);
}

int64_t record_time(struct record *record, const char *key)
{
    return (int64_t)record_u64(record, key, INT64_MAX);
}

const char *record_text(struct record *record, const char *key, uint64_t bytes_max)
{
    const json_t *value = find(record, key);
    if (value == NULL) {
        return "";
    }
    if (!json_is_string(value) || json_string_length(value) > bytes_max) {
        record_corrupt(record, key, "is not a text of a size it may have");
        return "";
    }
    return json_string_value(value);
}

void record_text_copy(struct record *record, const char *key, char *into, uint64_t into_bytes)
{
    const char *text = record_text(record, key, into_bytes - 1);
    memcpy(into, text, strlen(text) + 1);
}

void record_hex(struct record *record, const char *key, uint8_t *into, uint64_t bytes)
{
    const char *text = record_text(record, key, 2 * bytes);
    if (record->status == CISTERN_OK && cistern_hex_parse(into, bytes, text) != CISTERN_OK) {
        record_corrupt(record, key, "is not hexadecimal of its length");
    }
}

struct cistern_key_group_range record_groups(struct record *record, const char *key)
{
    struct cistern_key_group_range range = {0, 0};
    const json_t *value = record_array(record, key, 2);
    uint64_t first;
    uint64_t last;
    if (value == NULL) {
        return range;
    }
    if (json_array_size(value) != 2 || !read_integer(json_array_get(value, 0), &first) ||
        !read_integer(json_array_get(value, 1), &last) || first > last ||
        last >= CISTERN_MAX_PARALLELISM_MAX) {
        record_corrupt(record, key, "is not a range of key groups");
        return range;
    }
    range.first = (uint32_t)first;
    range.last = (uint32_t)last;
    return range;
}

const json_t *record_array(struct record *record, const char *key, uint64_t count_max)
{
    const json_t *value = find(record, key);
    if (value != NULL && (!json_is_array(value) || json_array_size(value) > count_max)) {
        record_corrupt(record, key, "is not a list of a length it may have");
        return NULL;
    }
    return value;
}

int record_put_u64(json_t *object, const char *key, uint64_t value)
{
    if (value <= FRAME_INTEGER_MAX) {
        return json_object_set_new(object, key, json_integer((json_int_t)value));
    }
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return json_object_set_new(object, key, json_string(text));
}

int record_put_text(json_t *object, const char *key, const char *text)
{
    return json_object_set_new(object, key, json_string(text));
}

int record_put_hex(json_t *object, const char *key, const uint8_t *data, uint64_t bytes)
{
    char text[65];
    assert(bytes <= 32);
    cistern_hex_format(text, data, bytes);
    return json_object_set_new(object, key, json_string(text));
}

int record_put_groups(json_t *object, const char *key, struct cistern_key_group_range range)
{
    json_t *array = json_array();
    int failed = json_array_append_new(array, json_integer(range.first));
    failed |= json_array_append_new(array, json_integer(range.last));
    if (failed) {
        json_decref(array);
        return -1;
    }
    return json_object_set_new(object, key, array);
}
