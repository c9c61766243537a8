/* slice.c -- one slot's share of a checkpoint, as text and back; see slice_private.h. */
#include "slice_private.h"

#include "cistern/error.h"
#include "cistern/writer.h"

#include <stdio.h>
#include <string.h>

void slice_deinit(struct slice *slice)
{
    json_decref(slice->states);
    slice->states = NULL;
}

static json_t *build_state(const struct cistern_state_info *state)
{
    json_t *object = json_object();
    const char *kind = cistern_state_kind_name(state->kind);
    int failed = record_put_u64(object, "bytes", state->bytes);
    failed |= record_put_u64(object, "entries", state->entries);
    failed |= record_put_u64(object, "id", state->id);
    failed |= record_put_text(object, "kind", kind == NULL ? "?" : kind);
    failed |= record_put_text(object, "name", state->name);
    failed |= record_put_u64(object, "serializer_bytes", state->serializer_bytes);
    failed |= record_put_hex(
        object, "serializer_xxh128", state->serializer_hash, sizeof state->serializer_hash);
    failed |= record_put_u64(
        object, "ttl_ms", state->time_to_live_ms > 0 ? (uint64_t)state->time_to_live_ms : 0);
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

uint32_t slice_states_build(const struct cistern_state_info *states, uint32_t count,
    json_t **ret_states, struct cistern_error *error)
{
    json_t *array = json_array();
    int failed = array == NULL;
    for (uint32_t index = 0; index < count && !failed; index++) {
        failed = json_array_append_new(array, build_state(&states[index]));
    }
    if (failed) {
        json_decref(array);
        return cistern_fail(
            error, CISTERN_NO_MEMORY, NULL, "no memory for the table of %u states", count);
    }
    *ret_states = array;
    return CISTERN_OK;
}

static json_t *build_ref(const struct list_ref *ref, int with_kind)
{
    char name[NAME_BYTES_MAX];
    json_t *object = json_object();
    data_name_format(name, &ref->name);
    int failed = record_put_u64(object, "bytes", ref->bytes);
    failed |= record_put_text(object, "file", name);
    failed |= with_kind ? record_put_text(object, "kind", ref->is_delta ? "delta" : "base") : 0;
    failed |= record_put_hex(object, "xxh128", ref->hash.bytes, sizeof ref->hash.bytes);
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

uint32_t slice_build(const struct slice *slice, json_t **ret_object, struct cistern_error *error)
{
    json_t *object = json_object();
    json_t *lists = json_array();
    int failed = record_put_text(object, "backend", slice->backend);
    failed |= record_put_u64(object, "base_checkpoint_id", slice->base_checkpoint_id);
    failed |= record_put_u64(object, "bytes", slice->state_bytes);
    failed |= record_put_u64(object, "checkpoint_id", slice->checkpoint_id);
    failed |= record_put_u64(object, "epoch", slice->epoch);
    failed |= record_put_u64(object, "files_new", slice->files_new);
    failed |= record_put_u64(object, "files_reused", slice->files_reused);
    failed |= record_put_groups(object, "groups", slice->range);
    for (uint32_t index = 0; index < slice->list_count; index++) {
        failed |= json_array_append_new(lists, build_ref(&slice->lists[index], 1));
    }
    failed |= json_object_set_new(object, "lists", lists);
    failed |= record_put_u64(object, "new_bytes", slice->new_bytes);
    failed |= record_put_u64(object, "slot", slice->slot_index);
    if (slice->has_states_file) {
        failed |= json_object_set_new(object, "states_file", build_ref(&slice->states_file, 0));
    }
    if (slice->states != NULL) {
        failed |= json_object_set(object, "states", slice->states);
    }
    if (failed) {
        json_decref(object);
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for the slice of slot %u",
            slice->slot_index);
    }
    *ret_object = object;
    return CISTERN_OK;
}

uint32_t slice_encode(const struct slice *slice, struct text *text, struct cistern_error *error)
{
    json_t *object;
    uint32_t status = slice_build(slice, &object, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = frame_encode("slice", object, text, error);
    json_decref(object);
    if (status == CISTERN_OK && text->bytes > CISTERN_SLICE_BYTES_MAX) {
        status = cistern_fail(error, CISTERN_LIMIT, NULL,
            "the slice of slot %u has %llu bytes; at most %u are kept", slice->slot_index,
            (unsigned long long)text->bytes, CISTERN_SLICE_BYTES_MAX);
    }
    return status;
}

static uint32_t parse_ref(
    const struct record *parent, const json_t *object, int with_kind, struct list_ref *ret_ref)
{
    static const char *const keys[] = {"bytes", "file", "kind", "xxh128", NULL};
    struct record record;
    record_open_inner(&record, parent, object, keys);
    struct list_ref ref = {0};
    ref.bytes = record_u64(&record, "bytes", LIST_BYTES_MAX);
    uint32_t wanted = with_kind ? DATA_LIST : DATA_STATES;
    if (!data_name_parse(record_text(&record, "file", NAME_BYTES_MAX), &ref.name) ||
        ref.name.kind != wanted) {
        record_corrupt(&record, "file", "is not the name of such a data file");
    }
    record_hex(&record, "xxh128", ref.hash.bytes, sizeof ref.hash.bytes);
    if (with_kind) {
        const char *kind = record_text(&record, "kind", 8);
        ref.is_delta = strcmp(kind, "delta") == 0;
        if (!ref.is_delta && strcmp(kind, "base") != 0) {
            record_corrupt(&record, "kind", "is neither base nor delta");
        }
    }
    *ret_ref = ref;
    return record.status;
}

static void parse_lists(struct record *record, struct slice *slice)
{
    const json_t *lists = record_array(record, "lists", LIST_COUNT_MAX);
    uint32_t count = lists == NULL ? 0 : (uint32_t)json_array_size(lists);
    for (uint32_t index = 0; index < count && record->status == CISTERN_OK; index++) {
        record->status = parse_ref(record, json_array_get(lists, index), 1, &slice->lists[index]);
        if (record->status == CISTERN_OK && slice->lists[index].is_delta != (index > 0)) {
            record_corrupt(record, "lists", "is not one base and then deltas");
        }
    }
    if (count == 0) {
        record_corrupt(record, "lists", "is empty");
    }
    slice->list_count = count;
}

static void parse_states(struct record *record, struct slice *slice)
{
    slice->has_states_file = (uint32_t)record_has(record, "states_file");
    if (slice->has_states_file) {
        record->status = parse_ref(
            record, json_object_get(record->object, "states_file"), 0, &slice->states_file);
        return;
    }
    const json_t *states = record_array(record, "states", CISTERN_STATE_COUNT_MAX);
    if (record->status == CISTERN_OK) {
        slice->states = json_incref(json_object_get(record->object, "states"));
    }
    (void)states;
}

uint32_t slice_parse(const char *path, uint64_t offset, const json_t *object,
    struct slice *ret_slice, struct cistern_error *error)
{
    static const char *const keys[] = {"backend", "base_checkpoint_id", "bytes", "checkpoint_id",
        "epoch", "files_new", "files_reused", "groups", "lists", "new_bytes", "slot", "states",
        "states_file", NULL};
    struct record record;
    struct slice slice = {0};
    record_open(&record, object, keys, path, offset, error);
    record_text_copy(&record, "backend", slice.backend, sizeof slice.backend);
    slice.base_checkpoint_id = record_u64(&record, "base_checkpoint_id", UINT64_MAX);
    slice.state_bytes = record_u64(&record, "bytes", UINT64_MAX);
    slice.checkpoint_id = record_u64(&record, "checkpoint_id", UINT64_MAX);
    slice.epoch = record_u64(&record, "epoch", UINT64_MAX);
    slice.files_new = record_u32(&record, "files_new", UINT32_MAX);
    slice.files_reused = record_u32(&record, "files_reused", UINT32_MAX);
    slice.range = record_groups(&record, "groups");
    slice.new_bytes = record_u64(&record, "new_bytes", UINT64_MAX);
    slice.slot_index = record_u32(&record, "slot", SLICE_SLOT_MAX);
    parse_lists(&record, &slice);
    if (record.status == CISTERN_OK) {
        parse_states(&record, &slice);
    }
    if (record.status != CISTERN_OK) {
        slice_deinit(&slice);
        return record.status;
    }
    *ret_slice = slice;
    return CISTERN_OK;
}

uint32_t slice_decode(const char *path, struct cistern_span data, struct slice *ret_slice,
    struct cistern_error *error)
{
    json_t *body;
    struct frame_header header;
    if (data.bytes > CISTERN_SLICE_BYTES_MAX) {
        return cistern_fail_corrupt(error, path, CISTERN_SLICE_BYTES_MAX,
            "a slice has at most %u bytes", CISTERN_SLICE_BYTES_MAX);
    }
    uint32_t status = frame_decode(path, "slice", data, &header, &body, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = slice_parse(path, header.header_bytes, body, ret_slice, error);
    json_decref(body);
    return status;
}
