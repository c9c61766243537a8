/* catalog.c -- published checkpoints, and loading one; see catalog_private.h. */
#include "catalog_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/writer.h"

#include <string.h>

void catalog_deinit(struct catalog *catalog)
{
    for (uint32_t index = 0; index < catalog->count; index++) {
        cistern_release(catalog->entries[index].directory);
    }
    cistern_release(catalog->entries);
    memset(catalog, 0, sizeof *catalog);
}

static void remove_id(struct catalog *catalog, uint64_t checkpoint_id, uint32_t is_savepoint)
{
    for (uint32_t index = 0; index < catalog->count; index++) {
        struct catalog_entry *entry = &catalog->entries[index];
        if (entry->checkpoint_id == checkpoint_id && entry->is_savepoint == is_savepoint) {
            cistern_release(entry->directory);
            catalog->count--;
            memmove(entry, entry + 1, (catalog->count - index) * sizeof *entry);
            return;
        }
    }
}

static uint32_t add(struct catalog *catalog, const struct commit_record *record)
{
    if (catalog->count == catalog->capacity) {
        uint32_t capacity = catalog->capacity == 0 ? 16 : 2 * catalog->capacity;
        struct catalog_entry *entries =
            cistern_reallocate(catalog->entries, capacity * sizeof *entries);
        if (entries == NULL) {
            return CISTERN_NO_MEMORY;
        }
        catalog->entries = entries;
        catalog->capacity = capacity;
    }
    struct catalog_entry entry = {.checkpoint_id = record->checkpoint_id,
        .epoch = record->epoch,
        .number = record->number,
        .manifest_bytes = record->manifest_bytes,
        .manifest_hash = record->manifest_hash,
        .time_ms = record->time_ms,
        .is_savepoint = record->kind == COMMIT_SAVEPOINT};
    if (entry.is_savepoint) {
        entry.directory = cistern_duplicate_string(record->directory);
        if (entry.directory == NULL) {
            return CISTERN_NO_MEMORY;
        }
    }
    remove_id(catalog, entry.checkpoint_id, entry.is_savepoint);
    catalog->entries[catalog->count++] = entry;
    return CISTERN_OK;
}

static uint32_t apply(void *arg, uint64_t number, const struct commit_record *record,
    const struct cistern_error *error)
{
    struct catalog *catalog = arg;
    (void)number;
    if (record == NULL) {
        catalog->damaged_records++;
        catalog->damage = *error;
        return CISTERN_OK;
    }
    if (record->checkpoint_id > catalog->checkpoint_id_max) {
        catalog->checkpoint_id_max = record->checkpoint_id;
    }
    if (record->epoch > catalog->epoch_max) {
        catalog->epoch_max = record->epoch;
    }
    if (record->kind == COMMIT_CHECKPOINT || record->kind == COMMIT_SAVEPOINT) {
        return add(catalog, record);
    }
    if (record->kind == COMMIT_RETIRE) {
        remove_id(catalog, record->checkpoint_id, 0);
    }
    for (uint32_t index = 0; record->kind == COMMIT_FINISH && index < catalog->count; index++) {
        catalog->entries[index].finished |=
            catalog->entries[index].checkpoint_id == record->checkpoint_id;
    }
    return CISTERN_OK;
}

uint32_t catalog_load(struct catalog *catalog, struct commit_log *log, struct cistern_error *error)
{
    memset(catalog, 0, sizeof *catalog);
    uint32_t status = commit_log_each(log, apply, catalog, error);
    if (status == CISTERN_NO_MEMORY) {
        (void)cistern_fail(
            error, CISTERN_NO_MEMORY, "log", "no memory for the list of checkpoints");
    }
    if (status != CISTERN_OK) {
        catalog_deinit(catalog);
    }
    return status;
}

static uint32_t check_expected(const char *path, const struct text *text,
    const struct catalog_entry *expected, const struct manifest *manifest,
    struct cistern_error *error)
{
    struct cistern_hash128 hash = cistern_hash128(text->data, text->bytes);
    if (text->bytes != expected->manifest_bytes ||
        !cistern_hash128_equal(&hash, &expected->manifest_hash)) {
        return cistern_fail_corrupt(error, path, 0,
            "the manifest is not the one the commit log recorded (%llu bytes)",
            (unsigned long long)expected->manifest_bytes);
    }
    if (manifest->checkpoint_id != expected->checkpoint_id) {
        return cistern_fail_corrupt(error, path, 0,
            "the manifest is of checkpoint %llu, the log says %llu",
            (unsigned long long)manifest->checkpoint_id,
            (unsigned long long)expected->checkpoint_id);
    }
    return CISTERN_OK;
}

static uint32_t load_slice_file(const struct place *place, const char *path,
    struct manifest_slice *slice, struct cistern_error *error)
{
    struct text text = {0};
    uint32_t slot = slice->slice.slot_index;
    uint32_t status = place_load(place, path, CISTERN_SLICE_BYTES_MAX, &text, error);
    if (status == CISTERN_OK) {
        struct cistern_hash128 hash = cistern_hash128(text.data, text.bytes);
        status =
            slice_decode(path, (struct cistern_span){text.data, text.bytes}, &slice->slice, error);
        slice->has_slice = status == CISTERN_OK;
        if (status == CISTERN_OK &&
            (text.bytes != slice->file_bytes || !cistern_hash128_equal(&hash, &slice->file_hash))) {
            status =
                cistern_fail_corrupt(error, path, 0, "the slice is not the one its manifest names");
        }
    }
    if (status == CISTERN_OK && slice->slice.slot_index != slot) {
        status = cistern_fail_corrupt(
            error, path, 0, "the slice is of slot %u, not of %u", slice->slice.slot_index, slot);
    }
    text_release(&text);
    return status;
}

/* States that were too large for their slice. */
static uint32_t load_states_file(
    const struct place *place, struct slice *slice, struct cistern_error *error)
{
    static const char *const keys[] = {"states", NULL};
    char name[NAME_BYTES_MAX];
    struct text text = {0};
    struct frame_header header;
    json_t *body;
    data_name_format(name, &slice->states_file.name);
    uint32_t status = place_load(place, name, LIST_BYTES_MAX / 64, &text, error);
    if (status == CISTERN_OK) {
        status = frame_decode(
            name, "states", (struct cistern_span){text.data, text.bytes}, &header, &body, error);
    }
    if (status == CISTERN_OK) {
        struct record record;
        struct cistern_hash128 hash = cistern_hash128(text.data, text.bytes);
        record_open(&record, body, keys, name, header.header_bytes, error);
        if (text.bytes != slice->states_file.bytes ||
            !cistern_hash128_equal(&hash, &slice->states_file.hash)) {
            record_corrupt(&record, "states", "are not the ones the slice names");
        }
        if (record_array(&record, "states", CISTERN_STATE_COUNT_MAX) != NULL) {
            slice->states = json_incref(json_object_get(body, "states"));
        }
        status = record.status;
        json_decref(body);
    }
    text_release(&text);
    return status;
}

static uint32_t load_slices(const struct place *place, const char *directory, int with_states,
    struct manifest *manifest, struct cistern_error *error)
{
    for (uint32_t index = 0; index < manifest->slice_count; index++) {
        struct manifest_slice *slice = &manifest->slices[index];
        char path[2 * NAME_BYTES_MAX];
        snprintf(
            path, sizeof path, "%s%s%s", directory, directory[0] == '\0' ? "" : "/", slice->file);
        uint32_t status =
            slice->is_inline ? CISTERN_OK : load_slice_file(place, path, slice, error);
        if (status == CISTERN_OK && with_states && slice->slice.has_states_file &&
            slice->slice.states == NULL) {
            status = load_states_file(place, &slice->slice, error);
        }
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

static uint32_t load(const struct place *place, const char *directory, int with_states,
    const struct catalog_entry *expected, struct manifest *ret_manifest,
    struct cistern_error *error)
{
    char path[2 * NAME_BYTES_MAX];
    struct text text = {0};
    struct manifest manifest = {0};
    snprintf(path, sizeof path, "%s%sMANIFEST", directory, directory[0] == '\0' ? "" : "/");
    uint32_t status = place_load(place, path, MANIFEST_BYTES_MAX, &text, error);
    if (status == CISTERN_OK) {
        status =
            manifest_decode(path, (struct cistern_span){text.data, text.bytes}, &manifest, error);
    }
    if (status == CISTERN_OK && expected != NULL) {
        status = check_expected(path, &text, expected, &manifest, error);
    }
    text_release(&text);
    if (status == CISTERN_OK) {
        status = load_slices(place, directory, with_states, &manifest, error);
    }
    if (status != CISTERN_OK) {
        manifest_deinit(&manifest);
        return status;
    }
    *ret_manifest = manifest;
    return CISTERN_OK;
}

uint32_t checkpoint_load(const struct place *place, const char *directory,
    const struct catalog_entry *expected, struct manifest *ret_manifest,
    struct cistern_error *error)
{
    return load(place, directory, 1, expected, ret_manifest, error);
}

uint32_t checkpoint_load_bare(
    const struct place *place, struct manifest *ret_manifest, struct cistern_error *error)
{
    return load(place, "", 0, NULL, ret_manifest, error);
}

uint32_t list_feed_read(void *arg, const char *name, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct list_feed *feed = arg;
    if (feed->file.name == NULL || strcmp(feed->file.name, name) != 0) {
        place_file_close(&feed->file);
        uint32_t status = place_file_open(feed->place, name, &feed->file, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return place_file_read(&feed->file, offset, into, ret_bytes, error);
}

uint32_t slice_load_parts(const struct place *place, const struct slice *slice,
    struct part_list *parts, struct cistern_error *error)
{
    struct list_feed feed = {.place = place, .file = {.fd = -1}};
    struct list_merge *merge = NULL;
    struct part *part = NULL;
    uint32_t status =
        list_merge_open(list_feed_read, &feed, slice->lists, slice->list_count, &merge, error);
    while (status == CISTERN_OK && (status = list_merge_next(merge, &part, error)) == CISTERN_OK &&
           part != NULL) {
        status = part_list_add(parts, part);
        if (status != CISTERN_OK) {
            status = cistern_fail(
                error, status, NULL, "no room for %u parts of one slice", parts->count);
            part_drop(part, NULL);
        }
    }
    list_merge_close(merge);
    place_file_close(&feed.file);
    if (status != CISTERN_OK) {
        part_list_release(parts, NULL);
    }
    return status;
}
