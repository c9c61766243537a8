/* position.c -- see position.h. */
#include "position.h"

#include "cistern/error.h"

#include <jansson.h>
#include <stdio.h>

uint32_t position_encode(const struct position *position, const struct input_list *inputs,
    char *text, uint64_t *ret_bytes, struct cistern_error *error)
{
    char identity[33];
    struct cistern_hash128 hash = input_list_identity(inputs);
    cistern_hex_format(identity, hash.bytes, sizeof hash.bytes);
    int length = snprintf(text, POSITION_TEXT_BYTES_MAX,
        "{\"file\": %u, \"inputs\": {\"bytes\": %llu, \"count\": %u, \"each\": \"",
        position->file_index, (unsigned long long)inputs->bytes, inputs->count);
    uint64_t at = (uint64_t)length;
    if (inputs->count <= POSITION_FILES_NAMED_MAX) {
        for (uint32_t i = 0; i < inputs->count; i++, at += 16) {
            snprintf(text + at, POSITION_TEXT_BYTES_MAX - at, "%016llx",
                (unsigned long long)inputs->files[i].identity);
        }
    }
    length = snprintf(text + at, POSITION_TEXT_BYTES_MAX - at,
        "\", \"identity\": \"%s\"}, \"job\": \"wordcount\", \"offset\": %llu, \"records\": %llu, "
        "\"version\": 1}",
        identity, (unsigned long long)position->offset_bytes,
        (unsigned long long)position->records);
    at += (uint64_t)length;
    if (at >= POSITION_TEXT_BYTES_MAX) {
        return cistern_fail(error, CISTERN_LIMIT, "job state",
            "the source position takes %llu bytes", (unsigned long long)at);
    }
    *ret_bytes = at;
    return CISTERN_OK;
}

static uint32_t inputs_check(
    const json_t *recorded, const struct input_list *inputs, struct cistern_error *error)
{
    char identity[33];
    struct cistern_hash128 hash = input_list_identity(inputs);
    cistern_hex_format(identity, hash.bytes, sizeof hash.bytes);
    const char *expected = json_string_value(json_object_get(recorded, "identity"));
    if (expected != NULL && strcmp(expected, identity) == 0) {
        return CISTERN_OK;
    }
    json_int_t count = json_integer_value(json_object_get(recorded, "count"));
    if (count != inputs->count) {
        return cistern_fail(error, CISTERN_MISMATCH, "--input",
            "the checkpoint was taken with %lld input files, there are %u now", (long long)count,
            inputs->count);
    }
    const char *each = json_string_value(json_object_get(recorded, "each"));
    if (each != NULL && strlen(each) == 16 * (size_t)inputs->count) {
        for (uint32_t i = 0; i < inputs->count; i++) {
            char now[17];
            snprintf(now, sizeof now, "%016llx", (unsigned long long)inputs->files[i].identity);
            if (memcmp(now, each + 16 * (size_t)i, 16) != 0) {
                return cistern_fail(error, CISTERN_MISMATCH, inputs->files[i].path,
                    "the input changed since the checkpoint was taken (path, size, time, inode or "
                    "first 64 KiB)");
            }
        }
    }
    return cistern_fail(error, CISTERN_MISMATCH, "--input",
        "one of the %u input files changed since the checkpoint was taken", inputs->count);
}

static uint32_t integer_get(
    const json_t *object, const char *key, uint64_t max, uint64_t *ret_value)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > max) {
        return CISTERN_INVALID;
    }
    *ret_value = (uint64_t)json_integer_value(value);
    return CISTERN_OK;
}

uint32_t position_decode(struct cistern_span text, const struct input_list *inputs,
    struct position *ret_position, struct cistern_error *error)
{
    json_t *object = text.bytes > 0 ? json_loadb(text.data, text.bytes, 0, NULL) : NULL;
    const char *job = json_string_value(json_object_get(object, "job"));
    uint64_t version = 0, file = 0, offset = 0, records = 0;
    uint32_t status = CISTERN_OK;
    if (job == NULL || strcmp(job, "wordcount") != 0) {
        status = cistern_fail(
            error, CISTERN_INVALID, "job state", "the checkpoint is not one of `run wordcount`");
    } else if (integer_get(object, "version", INT64_MAX, &version) != CISTERN_OK || version != 1) {
        status = cistern_fail(error, CISTERN_UNSUPPORTED, "job state",
            "the checkpoint's source position has version %llu, this build knows 1",
            (unsigned long long)version);
    } else if (integer_get(object, "file", UINT32_MAX, &file) != CISTERN_OK ||
               integer_get(object, "offset", INT64_MAX, &offset) != CISTERN_OK ||
               integer_get(object, "records", INT64_MAX, &records) != CISTERN_OK) {
        status = cistern_fail(
            error, CISTERN_INVALID, "job state", "the checkpoint's source position lacks a field");
    } else {
        status = inputs_check(json_object_get(object, "inputs"), inputs, error);
    }
    if (status == CISTERN_OK && file > inputs->count) {
        status = cistern_fail(
            error, CISTERN_INVALID, "job state", "the source position lies behind the last input");
    }
    json_decref(object);
    if (status == CISTERN_OK) {
        *ret_position = (struct position){
            .file_index = (uint32_t)file, .offset_bytes = offset, .records = records};
    }
    return status;
}
