/* inspect.c -- what the command's `ls` and `files` print; see restore.h. */
#include "restore_private.h"

#include "store_private.h"

#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

/* ---- files ---- */
struct file_rows {
    struct cistern_restore *restore;
    void (*row)(void *arg, const struct cistern_file_row *row);
    void *arg;
};

static uint32_t exists_as(const struct place *place, const char *name, uint64_t expected)
{
    uint64_t bytes;
    if (place_size(place, name, &bytes, NULL) != CISTERN_OK) {
        return 0;
    }
    return bytes == expected ? 1 : 2;
}

static uint32_t emit_file(
    void *arg, const struct part *part, uint32_t slice_index, struct cistern_error *error)
{
    const struct file_rows *rows = arg;
    const struct manifest *manifest = &rows->restore->manifest;
    char name[NAME_BYTES_MAX];
    (void)error;
    data_name_format(name, &part->name);
    struct cistern_file_row row = {.path = name,
        .bytes = part->bytes,
        .references = 1,
        .role = part->role,
        .slice_index = slice_index,
        .exists = exists_as(&rows->restore->place, name, part->bytes)};
    /* An upload's files have consecutive sequences, data first: below them is what an earlier
     * checkpoint made. */
    const struct slice *slice = &manifest->slices[slice_index].slice;
    const struct data_name *newest_list = &slice->lists[slice->list_count - 1].name;
    uint32_t is_older =
        slice->files_new == 0 || part->name.sequence + slice->files_new < newest_list->sequence;
    row.shared =
        part->name.epoch != manifest->epoch || (slice->base_checkpoint_id != 0 && is_older);
    cistern_hex_format(row.checksum, part->hash.bytes, sizeof part->hash.bytes);
    rows->row(rows->arg, &row);
    return CISTERN_OK;
}

static uint32_t emit_text(const struct file_rows *rows, const char *file, uint32_t slice_index,
    struct cistern_error *error)
{
    char name[2 * NAME_BYTES_MAX];
    struct cistern_hash128 hash;
    struct cistern_file_row row = {
        .path = name, .references = 1, .exists = 1, .slice_index = slice_index};
    snprintf(name, sizeof name, "%s%s%s", rows->restore->directory,
        rows->restore->directory[0] == '\0' ? "" : "/", file);
    uint32_t status = place_hash(&rows->restore->place, name, &row.bytes, &hash, NULL, NULL, error);
    if (status == CISTERN_OK) {
        cistern_hex_format(row.checksum, hash.bytes, sizeof hash.bytes);
        rows->row(rows->arg, &row);
    }
    return status;
}

uint32_t cistern_restore_files(struct cistern_restore *restore,
    void (*row)(void *arg, const struct cistern_file_row *row), void *arg,
    struct cistern_error *error)
{
    struct file_rows rows = {restore, row, arg};
    uint32_t status = emit_text(&rows, "MANIFEST", 0, error);
    for (uint32_t index = 0; index < restore->manifest.slice_count && status == CISTERN_OK;
         index++) {
        if (!restore->manifest.slices[index].is_inline) {
            status = emit_text(&rows, restore->manifest.slices[index].file, index, error);
        }
    }
    if (status != CISTERN_OK) {
        return status;
    }
    return restore->is_bare
               ? checkpoint_each_named_file(&restore->manifest, emit_file, &rows, error)
               : checkpoint_each_file(&restore->place, &restore->manifest, emit_file, &rows, error);
}

/* ---- the checkpoints of a root ---- */
static void list_one(const struct place *place, const struct catalog_entry *entry,
    const struct cistern_checkpoint_row *partial,
    void (*row)(void *arg, const struct cistern_checkpoint_row *row), void *arg)
{
    char directory[NAME_BYTES_MAX] = "";
    char path[STORE_PATH_BYTES_MAX];
    struct cistern_error detail;
    struct manifest manifest = {0};
    struct cistern_checkpoint_row result = *partial;
    struct place own = *place;
    if (entry->is_savepoint) {
        own = (struct place){.io = place->io, .directory = entry->directory};
        snprintf(path, sizeof path, "%s", entry->directory);
    } else {
        checkpoint_name_format(
            directory, &(struct checkpoint_name){entry->checkpoint_id, entry->epoch});
        if (place_path(place, directory, path, NULL) != CISTERN_OK) {
            snprintf(path, sizeof path, "%s", directory);
        }
    }
    result.path = path;
    if (checkpoint_load(&own, directory, entry, &manifest, &detail) == CISTERN_OK) {
        result.created_ms = manifest.created_ms;
        result.state_bytes = manifest.state_bytes;
        result.new_bytes = manifest.new_bytes;
    } else {
        result.complete = 0;
        result.problem = detail.message;
    }
    row(arg, &result);
    manifest_deinit(&manifest);
}

/* Directories under chk/ without a record: attempts that were never published, and retired ones
 * not yet removed; or, without a log, nobody knows. */
static void list_unlisted(const struct place *place, const struct checkpoint_name *name,
    void (*row)(void *arg, const struct cistern_checkpoint_row *row), void *arg)
{
    char directory[NAME_BYTES_MAX];
    char path[STORE_PATH_BYTES_MAX];
    uint64_t bytes;
    checkpoint_name_format(directory, name);
    if (place_path(place, directory, path, NULL) != CISTERN_OK) {
        snprintf(path, sizeof path, "%s", directory);
    }
    uint32_t has_log = place_size(place, "log", &bytes, NULL) != CISTERN_NOT_FOUND;
    row(arg, &(struct cistern_checkpoint_row){.checkpoint_id = name->checkpoint_id,
                 .path = path,
                 .complete = has_log ? 0 : 2,
                 .problem = has_log ? "never published, or retired: the commit log does not list it"
                                    : "there is no commit log to say whether it was published"});
}

static uint32_t list_unpublished(const struct place *place, const struct catalog *catalog,
    void (*row)(void *arg, const struct cistern_checkpoint_row *row), void *arg,
    struct cistern_error *error)
{
    struct place_entry *entries;
    uint32_t status = place_list(place, "chk", &entries, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL; entry = entry->next) {
        struct checkpoint_name name;
        uint32_t known = !checkpoint_name_parse(entry->name, &name);
        for (uint32_t index = 0; index < catalog->count && !known; index++) {
            known = catalog->entries[index].checkpoint_id == name.checkpoint_id &&
                    catalog->entries[index].epoch == name.epoch;
        }
        if (!known) {
            list_unlisted(place, &name, row, arg);
        }
    }
    place_list_free(entries);
    return CISTERN_OK;
}

/* A directory that is a checkpoint itself: a savepoint, or a copy. */
static uint32_t list_standalone(const struct place *place,
    void (*row)(void *arg, const struct cistern_checkpoint_row *row), void *arg,
    struct cistern_error *error)
{
    struct manifest manifest = {0};
    char path[STORE_PATH_BYTES_MAX];
    uint32_t status = place_path(place, "", path, error);
    if (status == CISTERN_OK) {
        status = checkpoint_load_bare(place, &manifest, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    row(arg,
        &(struct cistern_checkpoint_row){.checkpoint_id = manifest.checkpoint_id,
            .path = path,
            .is_savepoint = manifest.is_savepoint,
            .complete = manifest.is_savepoint ? 1 : 2,
            .created_ms = manifest.created_ms,
            .state_bytes = manifest.state_bytes,
            .new_bytes = manifest.new_bytes,
            .problem = manifest.is_savepoint
                           ? NULL
                           : "a copy: there is no commit log to say whether it was published"});
    manifest_deinit(&manifest);
    return CISTERN_OK;
}

uint32_t cistern_checkpoints_list(struct cistern_io *io, struct cistern_store *store,
    void (*row)(void *arg, const struct cistern_checkpoint_row *row), void *arg,
    struct cistern_error *error)
{
    struct place place = place_of_store(store);
    struct commit_log log;
    struct catalog catalog;
    struct job job;
    uint64_t bytes;
    (void)io;
    uint32_t status = job_load(&place, &job, error);
    if (status == CISTERN_NOT_FOUND && place_size(&place, "MANIFEST", &bytes, NULL) == CISTERN_OK) {
        return list_standalone(&place, row, arg, error);
    }
    if (status == CISTERN_NOT_FOUND) {
        return cistern_fail(error, CISTERN_NOT_FOUND, cistern_store_uri(store),
            "no checkpoints here: this is no job's root (no JOB file)");
    }
    if (status == CISTERN_OK) {
        status = commit_log_open(&log, store, error);
    }
    if (status == CISTERN_OK) {
        status = catalog_load(&catalog, &log, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    for (uint32_t index = 0; index < catalog.count; index++) {
        const struct catalog_entry *entry = &catalog.entries[index];
        struct cistern_checkpoint_row partial = {.checkpoint_id = entry->checkpoint_id,
            .is_savepoint = entry->is_savepoint,
            .complete = 1,
            .created_ms = entry->time_ms};
        list_one(&place, entry, &partial, row, arg);
    }
    status = list_unpublished(&place, &catalog, row, arg, error);
    catalog_deinit(&catalog);
    return status;
}
