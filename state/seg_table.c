/* seg_table.c -- builds and reads the state table of a container; see seg_table_private.h. */
#include "seg_table_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/hash.h"
#include "descriptor_private.h"
#include "json_text_private.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define FRAME_BYTES_MAX 256u
static const char frame_start[] = "CISTERN states v1 ";
static const char body_start[] = "{\"states\":[";
static const char body_end[] = "\n]}\n";

static_assert(CISTERN_STATE_COUNT_MAX * (DESCRIPTOR_TEXT_BYTES_MAX + 2) + FRAME_BYTES_MAX + 64 <=
                  SEG_TABLE_BYTES_MAX,
    "a full table fits its limit");

uint32_t seg_table_init(struct seg_table *table, struct cistern_error *error)
{
    memset(table, 0, sizeof *table);
    table->states = cistern_allocate_zeroed(CISTERN_STATE_COUNT_MAX, sizeof *table->states);
    if (table->states == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "state table", "no memory for a state table");
    }
    return CISTERN_OK;
}

void seg_table_deinit(struct seg_table *table)
{
    for (uint32_t i = 0; i < table->state_count; i++) {
        cistern_release(table->states[i].text);
        cistern_release(table->states[i].storage);
    }
    cistern_release(table->states);
    memset(table, 0, sizeof *table);
}

int seg_table_has(const struct seg_table *table, uint32_t state_id)
{
    return state_id <= CISTERN_STATE_COUNT_MAX &&
           (table->is_known[state_id / 8] >> (state_id % 8) & 1) != 0;
}

/* Whether the table holds exactly this state already (OK, *ret_is_there), or something that
 * contradicts it (EXISTS). */
static uint32_t twin_check(const struct seg_table *table, uint32_t state_id, const char *name,
    const char *text, int *ret_is_there, struct cistern_error *error)
{
    *ret_is_there = 0;
    for (uint32_t i = 0; i < table->state_count; i++) {
        const struct seg_table_state *state = &table->states[i];
        if (state->id != state_id && strcmp(state->name, name) != 0) {
            continue;
        }
        if (state->id == state_id && strcmp(state->text, text) == 0) {
            *ret_is_there = 1;
            continue;
        }
        return cistern_fail(error, CISTERN_EXISTS, name,
            "state %u \"%s\" is in the table already as state %u \"%s\" with another descriptor",
            state_id, name, state->id, state->name);
    }
    return CISTERN_OK;
}

static uint32_t state_enter(struct seg_table *table, uint32_t state_id, const char *text,
    const char *name, void *storage, struct cistern_error *error)
{
    int is_there;
    uint32_t status = twin_check(table, state_id, name, text, &is_there, error);
    if (status != CISTERN_OK || is_there) {
        cistern_release(storage);
        return status;
    }
    char *copy = cistern_duplicate_string(text);
    if (copy == NULL) {
        cistern_release(storage);
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "state table", "no memory for a state's descriptor");
    }
    assert(table->state_count < CISTERN_STATE_COUNT_MAX); /* ids are 1..250 and differ */
    table->states[table->state_count++] =
        (struct seg_table_state){.id = state_id, .text = copy, .name = name, .storage = storage};
    table->is_known[state_id / 8] |= (uint8_t)(1u << (state_id % 8));
    return CISTERN_OK;
}

/* state_id 0: whatever the text says. */
static uint32_t text_add(struct seg_table *table, uint32_t state_id, const char *text,
    const char *object, struct cistern_error *error)
{
    struct cistern_state_descriptor descriptor;
    uint32_t text_id;
    void *storage;
    uint64_t bytes = strnlen(text, DESCRIPTOR_TEXT_BYTES_MAX + 1);
    uint32_t status =
        cistern_descriptor_decode(text, bytes, object, &descriptor, &text_id, &storage, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (state_id != 0 && text_id != state_id) {
        cistern_release(storage);
        return cistern_fail(error, CISTERN_INVALID, object,
            "state %u was given the descriptor of state %u", state_id, text_id);
    }
    return state_enter(table, text_id, text, descriptor.name, storage, error);
}

uint32_t seg_table_add(struct seg_table *table, uint32_t state_id, const char *text,
    const char *object, struct cistern_error *error)
{
    if (state_id == 0 || state_id > CISTERN_STATE_COUNT_MAX) {
        return cistern_fail(error, CISTERN_INVALID, object, "state id %u is not one of 1 to %u",
            state_id, CISTERN_STATE_COUNT_MAX);
    }
    return text_add(table, state_id, text, object, error);
}

static void frame_format(char frame[FRAME_BYTES_MAX], const char *body, uint64_t body_bytes)
{
    char hex[33];
    struct cistern_hash128 hash = cistern_hash128(body, body_bytes);
    cistern_hex_format(hex, hash.bytes, sizeof hash.bytes);
    snprintf(frame, FRAME_BYTES_MAX, "%sbytes=%llu xxh128=%s\n", frame_start,
        (unsigned long long)body_bytes, hex);
}

/* One state per line: a person finds it with `less`. */
static uint64_t body_format(const struct seg_table *table, char *body)
{
    char *to = stpcpy(body, body_start);
    for (uint32_t i = 0; i < table->state_count; i++) {
        to = stpcpy(to, i == 0 ? "\n" : ",\n");
        to = stpcpy(to, table->states[i].text);
    }
    to = stpcpy(to, body_end);
    return (uint64_t)(to - body);
}

uint32_t seg_table_encode(const struct seg_table *table, char **ret_record, uint64_t *ret_bytes,
    struct cistern_error *error)
{
    uint64_t bytes_max = FRAME_BYTES_MAX + sizeof body_start + sizeof body_end;
    for (uint32_t i = 0; i < table->state_count; i++) {
        bytes_max += 2 + strlen(table->states[i].text);
    }
    char *record = cistern_allocate(bytes_max);
    if (record == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "state table", "no memory for the state table");
    }
    char *body = record + FRAME_BYTES_MAX;
    uint64_t body_bytes = body_format(table, body);
    char frame[FRAME_BYTES_MAX];
    frame_format(frame, body, body_bytes);
    uint64_t frame_bytes = strlen(frame);
    memmove(record + frame_bytes, body, body_bytes + 1);
    memcpy(record, frame, frame_bytes);
    *ret_record = record;
    *ret_bytes = frame_bytes + body_bytes;
    return CISTERN_OK;
}

/* The frame of a body is a function of the body: it is made again and compared. */
static uint32_t frame_check(const char *record, uint64_t bytes, const char *object, uint64_t offset,
    uint64_t *ret_frame_bytes, struct cistern_error *error)
{
    static const char any_version[] = "CISTERN states v";
    const char *newline = memchr(record, '\n', bytes < FRAME_BYTES_MAX ? bytes : FRAME_BYTES_MAX);
    if (newline == NULL || bytes < sizeof frame_start ||
        memcmp(record, any_version, sizeof any_version - 1) != 0) {
        return cistern_fail_corrupt(
            error, object, offset, "the state table does not start with \"CISTERN states v\"");
    }
    if (memcmp(record, frame_start, sizeof frame_start - 1) != 0) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, object,
            "state table of version %.8s; this build reads version 1",
            record + sizeof any_version - 1);
    }
    uint64_t frame_bytes = (uint64_t)(newline + 1 - record);
    char frame[FRAME_BYTES_MAX];
    frame_format(frame, newline + 1, bytes - frame_bytes);
    if (strlen(frame) != frame_bytes || memcmp(frame, record, frame_bytes) != 0) {
        return cistern_fail_corrupt(error, object, offset,
            "the state table's length or hash is not what its first line says");
    }
    *ret_frame_bytes = frame_bytes;
    return CISTERN_OK;
}

static uint32_t array_decode(struct seg_table *table, const json_t *array, const char *object,
    uint64_t offset, struct cistern_error *error)
{
    size_t index;
    json_t *item;
    if (json_array_size(array) > CISTERN_STATE_COUNT_MAX) {
        return cistern_fail_corrupt(error, object, offset,
            "the state table has %zu states, at most %u are possible", json_array_size(array),
            CISTERN_STATE_COUNT_MAX);
    }
    json_array_foreach(array, index, item)
    {
        char *text = json_text_dump(item);
        if (text == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, object, "no memory for the state table");
        }
        uint32_t count = table->state_count;
        uint32_t status = text_add(table, 0, text, object, error);
        cistern_release(text);
        if (status == CISTERN_EXISTS || (status == CISTERN_OK && table->state_count == count)) {
            return cistern_fail_corrupt(
                error, object, offset, "two states of the table have one id or one name");
        }
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

static uint32_t body_decode(struct seg_table *table, const json_t *root, const char *object,
    uint64_t offset, struct cistern_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)root, key, value)
    {
        if (strcmp(key, "states") != 0 && strncmp(key, "x_", 2) != 0) {
            return cistern_fail(error, CISTERN_UNSUPPORTED, object,
                "state table: this build does not know the field \"%.64s\"", key);
        }
    }
    const json_t *states = json_object_get(root, "states");
    if (!json_is_array(states)) {
        return cistern_fail_corrupt(
            error, object, offset, "the state table is not an object with an array \"states\"");
    }
    return array_decode(table, states, object, offset, error);
}

uint32_t seg_table_decode(struct seg_table *table, const char *record, uint64_t bytes,
    const char *object, uint64_t offset, struct cistern_error *error)
{
    uint64_t frame_bytes = 0;
    uint32_t status = frame_check(record, bytes, object, offset, &frame_bytes, error);
    if (status != CISTERN_OK) {
        return status;
    }
    json_error_t json_error;
    json_t *root;
    status = json_text_load(record + frame_bytes, bytes - frame_bytes, &root, &json_error);
    if (status == CISTERN_NO_MEMORY) {
        return cistern_fail(error, status, object, "no memory for the state table");
    }
    if (status != CISTERN_OK) {
        return cistern_fail_corrupt(
            error, object, offset + frame_bytes, "state table: %s", json_error.text);
    }
    status = body_decode(table, root, object, offset, error);
    json_decref(root);
    return status;
}
