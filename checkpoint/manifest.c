/* manifest.c -- writes a manifest; see manifest_private.h. */
#include "manifest_private.h"

#include "base64_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/writer.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define JOB_STATE_PIECE_BYTES                                                                      \
    3072u /* 4096 characters of base64: the longest string a record may hold */

void manifest_deinit(struct manifest *manifest)
{
    for (uint32_t index = 0; manifest->slices != NULL && index < manifest->slice_count; index++) {
        slice_deinit(&manifest->slices[index].slice);
    }
    cistern_release(manifest->slices);
    cistern_release(manifest->job_state);
    memset(manifest, 0, sizeof *manifest);
}

void manifest_slice_file(char file[32], uint32_t slot_index, const uint8_t operator_id[16])
{
    char hex[9];
    assert(slot_index <= SLICE_SLOT_MAX);
    cistern_hex_format(hex, operator_id, 4);
    snprintf(file, 32, "slice-%03u-%s.json", slot_index, hex);
}

static json_t *build_job_state(const struct manifest *manifest)
{
    json_t *pieces = json_array();
    char text[JOB_STATE_PIECE_BYTES / 3 * 4 + 1];
    for (uint64_t at = 0; at < manifest->job_state_bytes; at += JOB_STATE_PIECE_BYTES) {
        uint64_t bytes = manifest->job_state_bytes - at;
        base64_encode(text, manifest->job_state + at,
            bytes < JOB_STATE_PIECE_BYTES ? bytes : JOB_STATE_PIECE_BYTES);
        if (json_array_append_new(pieces, json_string(text)) != 0) {
            json_decref(pieces);
            return NULL;
        }
    }
    return pieces;
}

/* The slice's own fields, wherever they stand on disk, and for one in a file of its own which. */
static json_t *expand_slice(const struct manifest_slice *slice)
{
    json_t *object = NULL;
    int failed = slice_build(&slice->slice, &object, NULL) != CISTERN_OK;
    if (!failed && !slice->is_inline) {
        failed |= record_put_text(object, "file", slice->file);
        failed |=
            record_put_hex(object, "xxh128", slice->file_hash.bytes, sizeof slice->file_hash.bytes);
    }
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *build_slice(const struct manifest_slice *slice)
{
    json_t *object = json_object();
    json_t *body = NULL;
    int failed = 0;
    if (slice->is_inline) {
        failed |= slice_build(&slice->slice, &body, NULL) != CISTERN_OK;
        failed |= json_object_set_new(object, "inline", body);
    }
    if (!slice->is_inline) {
        failed |= record_put_u64(object, "bytes", slice->file_bytes);
        failed |= record_put_text(object, "file", slice->file);
        failed |=
            record_put_hex(object, "xxh128", slice->file_hash.bytes, sizeof slice->file_hash.bytes);
    }
    failed |= record_put_u64(object, "slot", slice->slice.slot_index);
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *build_operators(const struct manifest *manifest, int expand)
{
    json_t *operators = json_array();
    json_t *operator= json_object();
    json_t *slices = json_array();
    int failed =
        record_put_hex(operator, "id", manifest->operator_id, sizeof manifest->operator_id);
    failed |= record_put_u64(operator, "max_parallelism", manifest->max_parallelism);
    failed |= record_put_text(operator, "name", manifest->operator_name);
    failed |= record_put_u64(operator, "parallelism", manifest->slice_count);
    for (uint32_t index = 0; index < manifest->slice_count && !failed; index++) {
        const struct manifest_slice *slice = &manifest->slices[index];
        failed |= json_array_append_new(slices, expand ? expand_slice(slice) : build_slice(slice));
    }
    failed |= json_object_set_new(operator, "slices", slices);
    failed |= record_put_text(operator, "uid", manifest->operator_name);
    failed |= json_array_append_new(operators, operator);
    if (failed) {
        json_decref(operators);
        return NULL;
    }
    return operators;
}

static const char *kind_name(const struct manifest *manifest)
{
    if (!manifest->is_savepoint) {
        return "checkpoint";
    }
    return manifest->snapshot_kind == CISTERN_SNAPSHOT_CANONICAL ? "savepoint-canonical"
                                                                 : "savepoint-native";
}

static json_t *build_sums(const struct manifest *manifest)
{
    json_t *sums = json_object();
    int failed = record_put_u64(sums, "bytes", manifest->state_bytes);
    failed |= record_put_u64(sums, "files", manifest->files);
    failed |= record_put_u64(sums, "new_bytes", manifest->new_bytes);
    if (failed) {
        json_decref(sums);
        return NULL;
    }
    return sums;
}

static json_t *build(const struct manifest *manifest, int expand)
{
    json_t *object = json_object();
    int failed = record_put_u64(object, "base_checkpoint_id", manifest->base_checkpoint_id);
    failed |= record_put_u64(object, "checkpoint_id", manifest->checkpoint_id);
    failed |= record_put_u64(object, "created_ms", (uint64_t)manifest->created_ms);
    failed |= record_put_u64(object, "epoch", manifest->epoch);
    failed |= record_put_hex(object, "job_id", manifest->job_id, sizeof manifest->job_id);
    failed |= record_put_text(object, "job_name", manifest->job_name);
    failed |= json_object_set_new(object, "job_state", build_job_state(manifest));
    failed |= record_put_text(object, "key_group_hash", manifest->key_group_hash);
    failed |= record_put_text(object, "kind", kind_name(manifest));
    failed |= record_put_u64(object, "max_parallelism", manifest->max_parallelism);
    failed |= json_object_set_new(object, "operators", build_operators(manifest, expand));
    failed |= json_object_set_new(object, "sums", build_sums(manifest));
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static uint32_t encode_once(
    struct manifest *manifest, struct text *text, struct cistern_error *error)
{
    json_t *object = build(manifest, 0);
    if (object == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a manifest");
    }
    uint32_t status = frame_encode("manifest", object, text, error);
    json_decref(object);
    return status;
}

uint32_t manifest_encode(struct manifest *manifest, struct text *text, struct cistern_error *error)
{
    for (uint32_t index = 0; index < manifest->slice_count; index++) {
        manifest->slices[index].is_inline =
            manifest->slices[index].file_bytes < MANIFEST_INLINE_BYTES_MAX;
    }
    uint32_t status = encode_once(manifest, text, error);
    if (status == CISTERN_OK && text->bytes > MANIFEST_BYTES_MAX) {
        for (uint32_t index = 0; index < manifest->slice_count; index++) {
            manifest->slices[index].is_inline = 0;
        }
        text_release(text);
        status = encode_once(manifest, text, error);
    }
    if (status == CISTERN_OK && text->bytes > MANIFEST_BYTES_MAX) {
        status = cistern_fail(error, CISTERN_LIMIT, NULL,
            "a manifest of %llu bytes; at most %u are kept", (unsigned long long)text->bytes,
            MANIFEST_BYTES_MAX);
    }
    return status;
}

static int append_to_text(const char *data, size_t bytes, void *arg)
{
    struct text *text = arg;
    text_append(text, data, bytes);
    return text->failed ? -1 : 0;
}

uint32_t manifest_expand(
    const struct manifest *manifest, struct text *text, struct cistern_error *error)
{
    json_t *object = build(manifest, 1);
    if (object == NULL ||
        json_dump_callback(object, append_to_text, text, JSON_SORT_KEYS | JSON_INDENT(2)) != 0) {
        text->failed = 1;
    }
    text_append(text, "\n", 1);
    json_decref(object);
    return text_check(text, error);
}
