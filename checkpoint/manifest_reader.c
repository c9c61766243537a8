/* manifest_reader.c -- reads a manifest, trusting nothing; see manifest_private.h. */
#include "manifest_private.h"

#include "base64_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/writer.h"

#include <string.h>

static void parse_job_state(struct record *record, struct manifest *manifest)
{
    const json_t *pieces =
        record_array(record, "job_state", CISTERN_JOB_STATE_BYTES_MAX / 3072 + 1);
    if (pieces == NULL) {
        return;
    }
    manifest->job_state = cistern_allocate(json_array_size(pieces) * 3072 + 1);
    if (manifest->job_state == NULL) {
        record->status = cistern_fail(
            record->error, CISTERN_NO_MEMORY, record->path, "no memory for the job's state");
        return;
    }
    for (size_t index = 0; index < json_array_size(pieces); index++) {
        const json_t *piece = json_array_get(pieces, index);
        uint64_t bytes = 0;
        if (!json_is_string(piece) ||
            !base64_decode(json_string_value(piece), json_string_length(piece),
                manifest->job_state + manifest->job_state_bytes, &bytes)) {
            record_corrupt(record, "job_state", "is not base64");
            return;
        }
        manifest->job_state_bytes += bytes;
    }
}

static uint32_t parse_slice(struct record *parent, const json_t *object, struct manifest *manifest,
    struct manifest_slice *slice)
{
    static const char *const keys[] = {"bytes", "file", "inline", "slot", "xxh128", NULL};
    struct record record;
    record_open_inner(&record, parent, object, keys);
    uint32_t slot = record_u32(&record, "slot", SLICE_SLOT_MAX);
    slice->is_inline = (uint32_t)record_has(&record, "inline");
    if (slice->is_inline) {
        record.status = slice_parse(record.path, record.offset,
            json_object_get(record.object, "inline"), &slice->slice, record.error);
        slice->has_slice = record.status == CISTERN_OK;
        if (record.status == CISTERN_OK && slice->slice.slot_index != slot) {
            record_corrupt(&record, "slot", "is not the slice's own");
        }
    } else {
        char expected[32];
        slice->slice.slot_index = slot;
        slice->file_bytes = record_u64(&record, "bytes", CISTERN_SLICE_BYTES_MAX);
        record_text_copy(&record, "file", slice->file, sizeof slice->file);
        record_hex(&record, "xxh128", slice->file_hash.bytes, sizeof slice->file_hash.bytes);
        manifest_slice_file(expected, slot, manifest->operator_id);
        if (strcmp(expected, slice->file) != 0) {
            record_corrupt(&record, "file", "is not the name of a slice");
        }
    }
    return record.status;
}

static void parse_operator(struct record *parent, const json_t *object, struct manifest *manifest)
{
    static const char *const keys[] = {
        "id", "max_parallelism", "name", "parallelism", "slices", "uid", NULL};
    struct record record;
    record_open_inner(&record, parent, object, keys);
    record_hex(&record, "id", manifest->operator_id, sizeof manifest->operator_id);
    if (record_u32(&record, "max_parallelism", CISTERN_MAX_PARALLELISM_MAX) !=
        manifest->max_parallelism) {
        record_corrupt(&record, "max_parallelism", "is not the job's");
    }
    record_text_copy(&record, "name", manifest->operator_name, sizeof manifest->operator_name);
    uint32_t count = record_u32(&record, "parallelism", MANIFEST_SLICES_MAX);
    const json_t *slices = record_array(&record, "slices", MANIFEST_SLICES_MAX);
    if (slices != NULL && (count == 0 || json_array_size(slices) != count)) {
        record_corrupt(&record, "slices", "are not as many as the parallelism says");
    }
    if (record.status == CISTERN_OK) {
        manifest->slices = cistern_allocate_zeroed(count, sizeof *manifest->slices);
        manifest->slice_count = count;
        if (manifest->slices == NULL) {
            record.status = cistern_fail(
                record.error, CISTERN_NO_MEMORY, record.path, "no memory for %u slices", count);
        }
    }
    for (uint32_t index = 0; index < count && record.status == CISTERN_OK; index++) {
        record.status =
            parse_slice(&record, json_array_get(slices, index), manifest, &manifest->slices[index]);
        if (record.status == CISTERN_OK && manifest->slices[index].slice.slot_index != index) {
            record_corrupt(&record, "slices", "are not in the order of their slots");
        }
    }
    parent->status = record.status;
}

static void parse_kind(struct record *record, struct manifest *manifest)
{
    const char *kind = record_text(record, "kind", 32);
    manifest->is_savepoint = strcmp(kind, "checkpoint") != 0;
    if (strcmp(kind, "savepoint-canonical") == 0) {
        manifest->snapshot_kind = CISTERN_SNAPSHOT_CANONICAL;
    } else if (!manifest->is_savepoint || strcmp(kind, "savepoint-native") == 0) {
        manifest->snapshot_kind =
            manifest->base_checkpoint_id == 0 ? CISTERN_SNAPSHOT_FULL : CISTERN_SNAPSHOT_INCREMENT;
    } else {
        record_corrupt(record, "kind", "is not a kind of checkpoint this build knows");
    }
}

static void parse_sums(struct record *parent, struct manifest *manifest)
{
    static const char *const keys[] = {"bytes", "files", "new_bytes", NULL};
    struct record record;
    record_open_inner(&record, parent, json_object_get(parent->object, "sums"), keys);
    manifest->state_bytes = record_u64(&record, "bytes", UINT64_MAX);
    manifest->files = record_u64(&record, "files", UINT64_MAX);
    manifest->new_bytes = record_u64(&record, "new_bytes", UINT64_MAX);
    parent->status = record.status;
}

static uint32_t parse(const char *path, uint64_t offset, const json_t *body,
    struct manifest *manifest, struct cistern_error *error)
{
    static const char *const keys[] = {"base_checkpoint_id", "checkpoint_id", "created_ms", "epoch",
        "job_id", "job_name", "job_state", "key_group_hash", "kind", "max_parallelism", "operators",
        "sums", NULL};
    struct record record;
    record_open(&record, body, keys, path, offset, error);
    manifest->base_checkpoint_id = record_u64(&record, "base_checkpoint_id", UINT64_MAX);
    manifest->checkpoint_id = record_u64(&record, "checkpoint_id", UINT64_MAX);
    manifest->created_ms = record_time(&record, "created_ms");
    manifest->epoch = record_u64(&record, "epoch", UINT64_MAX);
    record_hex(&record, "job_id", manifest->job_id, sizeof manifest->job_id);
    record_text_copy(&record, "job_name", manifest->job_name, sizeof manifest->job_name);
    parse_job_state(&record, manifest);
    record_text_copy(
        &record, "key_group_hash", manifest->key_group_hash, sizeof manifest->key_group_hash);
    parse_kind(&record, manifest);
    manifest->max_parallelism = record_u32(&record, "max_parallelism", CISTERN_MAX_PARALLELISM_MAX);
    const json_t *operators = record_array(&record, "operators", 1);
    if (operators != NULL && json_array_size(operators) != 1) {
        record_corrupt(&record, "operators", "is not a list of one");
    }
    if (record.status == CISTERN_OK) {
        parse_operator(&record, json_array_get(operators, 0), manifest);
    }
    parse_sums(&record, manifest);
    return record.status;
}

uint32_t manifest_decode(const char *path, struct cistern_span data, struct manifest *ret_manifest,
    struct cistern_error *error)
{
    json_t *body;
    struct frame_header header;
    struct manifest manifest = {0};
    if (data.bytes > MANIFEST_BYTES_MAX) {
        return cistern_fail_corrupt(
            error, path, MANIFEST_BYTES_MAX, "a manifest has at most %u bytes", MANIFEST_BYTES_MAX);
    }
    uint32_t status = frame_decode(path, "manifest", data, &header, &body, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = parse(path, header.header_bytes, body, &manifest, error);
    json_decref(body);
    if (status != CISTERN_OK) {
        manifest_deinit(&manifest);
        return status;
    }
    *ret_manifest = manifest;
    return CISTERN_OK;
}
