/* restore.c -- opens a checkpoint or savepoint and says what is in it; see restore.h. */
#include "restore_private.h"

#include "store_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- every file of a checkpoint ---- */
static uint32_t visit_ref(const struct list_ref *ref, uint32_t slice_index, file_visit_fn visit,
    void *arg, struct cistern_error *error)
{
    struct part *part = part_create("");
    if (part == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a file's description");
    }
    part->name = ref->name;
    part->bytes = ref->bytes;
    part->hash = ref->hash;
    uint32_t status = visit(arg, part, slice_index, error);
    part_drop(part, NULL);
    return status;
}

static uint32_t visit_named(const struct slice *slice, uint32_t slice_index, file_visit_fn visit,
    void *arg, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t index = 0; index < slice->list_count && status == CISTERN_OK; index++) {
        status = visit_ref(&slice->lists[index], slice_index, visit, arg, error);
    }
    if (status == CISTERN_OK && slice->has_states_file) {
        status = visit_ref(&slice->states_file, slice_index, visit, arg, error);
    }
    return status;
}

uint32_t checkpoint_each_named_file(
    const struct manifest *manifest, file_visit_fn visit, void *arg, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t index = 0; index < manifest->slice_count && status == CISTERN_OK; index++) {
        status = visit_named(&manifest->slices[index].slice, index, visit, arg, error);
    }
    return status;
}

static uint32_t visit_slice(const struct place *place, const struct slice *slice,
    uint32_t slice_index, file_visit_fn visit, void *arg, struct cistern_error *error)
{
    struct list_feed feed = {.place = place, .file = {.fd = -1}};
    struct list_merge *merge = NULL;
    struct part *part = NULL;
    uint32_t status = visit_named(slice, slice_index, visit, arg, error);
    if (status == CISTERN_OK) {
        status =
            list_merge_open(list_feed_read, &feed, slice->lists, slice->list_count, &merge, error);
    }
    while (status == CISTERN_OK && (status = list_merge_next(merge, &part, error)) == CISTERN_OK &&
           part != NULL) {
        status = visit(arg, part, slice_index, error);
        part_drop(part, NULL);
    }
    list_merge_close(merge);
    place_file_close(&feed.file);
    return status;
}

uint32_t checkpoint_each_file(const struct place *place, const struct manifest *manifest,
    file_visit_fn visit, void *arg, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t index = 0; index < manifest->slice_count && status == CISTERN_OK; index++) {
        status = visit_slice(place, &manifest->slices[index].slice, index, visit, arg, error);
        if (status == CISTERN_ABORTED) {
            status = CISTERN_OK;
        }
    }
    return status;
}

static uint32_t check_size(
    void *arg, const struct part *part, uint32_t slice_index, struct cistern_error *error)
{
    const struct place *place = arg;
    char name[NAME_BYTES_MAX];
    uint64_t bytes;
    (void)slice_index;
    data_name_format(name, &part->name);
    uint32_t status = place_size(place, name, &bytes, error);
    if (status == CISTERN_NOT_FOUND) {
        return cistern_fail_corrupt(error, name, 0, "the file is missing");
    }
    if (status == CISTERN_OK && bytes != part->bytes) {
        return cistern_fail_corrupt(error, name, bytes < part->bytes ? bytes : part->bytes,
            "the file has %llu bytes, %llu were recorded", (unsigned long long)bytes,
            (unsigned long long)part->bytes);
    }
    return status;
}

/* ---- opening ---- */
static uint32_t load(struct cistern_restore *restore, const struct catalog_entry *expected,
    struct cistern_error *error)
{
    uint32_t status =
        checkpoint_load(&restore->place, restore->directory, expected, &restore->manifest, error);
    if (status == CISTERN_NOT_FOUND && expected != NULL) {
        status = error == NULL ? CISTERN_CORRUPT
                               : cistern_fail_corrupt(error, restore->directory, 0,
                                     "a file of the checkpoint is missing");
    }
    if (status == CISTERN_OK) {
        status = checkpoint_each_file(
            &restore->place, &restore->manifest, check_size, &restore->place, error);
    }
    if (status != CISTERN_OK) {
        manifest_deinit(&restore->manifest);
    }
    return status;
}

static uint32_t describe_path(struct cistern_restore *restore, struct cistern_error *error)
{
    char path[STORE_PATH_BYTES_MAX];
    if (restore->place.store == NULL) {
        snprintf(path, sizeof path, "%s%s%s", restore->place.directory,
            restore->directory[0] == '\0' ? "" : "/", restore->directory);
    } else if (cistern_store_path(restore->place.store) == NULL) {
        snprintf(path, sizeof path, "memory:/%s", restore->directory);
    } else {
        uint32_t status =
            store_absolute_path(restore->place.store, restore->directory, path, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    restore->path = cistern_duplicate_string(path);
    return restore->path == NULL
               ? cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a path")
               : CISTERN_OK;
}

static uint32_t try_entry(
    struct cistern_restore *restore, const struct catalog_entry *entry, struct cistern_error *error)
{
    checkpoint_name_format(
        restore->directory, &(struct checkpoint_name){entry->checkpoint_id, entry->epoch});
    restore->finished = entry->finished;
    return load(restore, entry, error);
}

static int is_damage(uint32_t status)
{
    return status == CISTERN_CORRUPT || status == CISTERN_NOT_FOUND || status == CISTERN_IO;
}

static uint32_t nothing_published(struct cistern_store *store,
    const struct cistern_restore_options *options, struct cistern_error *error)
{
    const char *root = cistern_store_uri(store);
    if (cistern_store_path(store) == NULL) {
        return cistern_fail(error, CISTERN_NOT_FOUND, root,
            "nothing to restore: checkpoints were kept in memory and ended with their process");
    }
    if (options != NULL && options->older_than_id != 0) {
        return cistern_fail(error, CISTERN_NOT_FOUND, root,
            "no checkpoint older than %llu is there", (unsigned long long)options->older_than_id);
    }
    return cistern_fail(error, CISTERN_NOT_FOUND, root,
        "no checkpoint was ever published in this root, or all were retired");
}

static uint32_t open_latest(struct cistern_restore *restore, const struct catalog *catalog,
    const struct cistern_restore_options *options, struct cistern_error *error)
{
    struct cistern_error detail;
    uint32_t tried = 0;
    for (uint32_t index = catalog->count; index > 0; index--) {
        const struct catalog_entry *entry = &catalog->entries[index - 1];
        if (entry->is_savepoint || (options != NULL && options->older_than_id != 0 &&
                                       entry->checkpoint_id >= options->older_than_id)) {
            continue;
        }
        uint32_t status = try_entry(restore, entry, &detail);
        if (status == CISTERN_OK || !is_damage(status)) {
            if (status != CISTERN_OK && error != NULL) {
                *error = detail;
            }
            return status;
        }
        tried++;
        if (options != NULL && options->skipped != NULL) {
            options->skipped(options->arg, entry->checkpoint_id, &detail);
        }
    }
    if (tried > 0) {
        if (error != NULL) {
            *error = detail; /* of the oldest; each was reported */
        }
        return detail.status;
    }
    return catalog->damaged_records > 0
               ? (error != NULL ? (*error = catalog->damage, CISTERN_CORRUPT) : CISTERN_CORRUPT)
               : nothing_published(restore->place.store, options, error);
}

static uint32_t open_id(struct cistern_restore *restore, const struct catalog *catalog, uint64_t id,
    struct cistern_error *error)
{
    for (uint32_t index = 0; index < catalog->count; index++) {
        if (catalog->entries[index].checkpoint_id == id && !catalog->entries[index].is_savepoint) {
            return try_entry(restore, &catalog->entries[index], error);
        }
    }
    return cistern_fail(error, CISTERN_NOT_FOUND, cistern_store_uri(restore->place.store),
        "checkpoint %llu was not published here, or is retired", (unsigned long long)id);
}

static uint32_t open_in_root(struct cistern_restore *restore, struct cistern_store *store,
    const char *pointer, const struct cistern_restore_options *options, struct cistern_error *error)
{
    struct commit_log log;
    struct catalog catalog;
    struct job job;
    restore->place = place_of_store(store);
    uint32_t status = job_load(&restore->place, &job, error);
    if (status == CISTERN_NOT_FOUND) {
        return cistern_store_path(store) == NULL
                   ? nothing_published(store, options, error)
                   : cistern_fail(error, CISTERN_NOT_FOUND, cistern_store_uri(store),
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
    status = strcmp(pointer, "latest") == 0
                 ? open_latest(restore, &catalog, options, error)
                 : open_id(restore, &catalog, strtoull(pointer, NULL, 10), error);
    catalog_deinit(&catalog);
    return status;
}

uint32_t pointer_resolve(struct cistern_io *io, const char *path, struct pointer *ret_pointer,
    struct cistern_error *error)
{
    struct pointer pointer = {0};
    uint64_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/') {
        bytes--;
    }
    if (bytes > 9 && strncmp(path + bytes - 9, "/MANIFEST", 9) == 0) {
        bytes -= 9;
    }
    pointer.root = text_path("%.*s", (int)bytes, path);
    if (pointer.root == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a path");
    }
    char *last = strrchr(pointer.root, '/');
    struct checkpoint_name name;
    if (last != NULL && last - pointer.root > 4 && strncmp(last - 4, "/chk", 4) == 0 &&
        checkpoint_name_parse(last + 1, &name)) {
        struct place place = {.io = io, .directory = pointer.root};
        uint64_t job_bytes;
        *(last - 4) = '\0';
        pointer.in_root = place_size(&place, "JOB", &job_bytes, NULL) == CISTERN_OK;
        *(last - 4) = '/';
        if (pointer.in_root) {
            checkpoint_name_format(pointer.directory, &name);
            *(last - 4) = '\0';
        }
    }
    *ret_pointer = pointer;
    return CISTERN_OK;
}

/* A path into a root: the log has the last word. */
static uint32_t open_published(
    struct cistern_restore *restore, const struct pointer *pointer, struct cistern_error *error)
{
    struct commit_log log;
    struct catalog catalog;
    uint32_t status = cistern_store_open(restore->io, pointer->root, 0, &restore->own_store, error);
    if (status == CISTERN_OK) {
        status = commit_log_open(&log, restore->own_store, error);
    }
    if (status == CISTERN_OK) {
        status = catalog_load(&catalog, &log, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    restore->place = place_of_store(restore->own_store);
    for (uint32_t index = 0; index < catalog.count; index++) {
        char directory[NAME_BYTES_MAX];
        const struct catalog_entry *entry = &catalog.entries[index];
        checkpoint_name_format(
            directory, &(struct checkpoint_name){entry->checkpoint_id, entry->epoch});
        if (!entry->is_savepoint && strcmp(directory, pointer->directory) == 0) {
            status = try_entry(restore, entry, error);
            catalog_deinit(&catalog);
            return status;
        }
    }
    catalog_deinit(&catalog);
    return cistern_fail(error, CISTERN_NOT_FOUND, pointer->directory,
        "this checkpoint was never published, or is retired: the commit log of %.100s does not "
        "list it",
        pointer->root);
}

/* A savepoint has everything with it; a checkpoint's directory that was copied out of its root has
 * its files only when data/ was copied into it. */
static uint32_t open_standalone(struct cistern_restore *restore, struct cistern_error *error)
{
    uint64_t bytes;
    struct cistern_error detail;
    uint32_t has_data = place_size(&restore->place, "data", &bytes, &detail) != CISTERN_NOT_FOUND;
    uint32_t status = checkpoint_load_bare(&restore->place, &restore->manifest, error);
    if (status != CISTERN_OK) {
        return status;
    }
    restore->is_copy = !restore->manifest.is_savepoint;
    restore->is_bare = restore->is_copy && !has_data;
    if (restore->is_bare) {
        return CISTERN_OK;
    }
    manifest_deinit(&restore->manifest);
    return load(restore, NULL, error);
}

static uint32_t open_path(
    struct cistern_restore *restore, const char *path, struct cistern_error *error)
{
    struct pointer pointer;
    uint32_t status = pointer_resolve(restore->io, path, &pointer, error);
    if (status != CISTERN_OK) {
        return status;
    }
    restore->root = pointer.root;
    if (pointer.in_root) {
        return open_published(restore, &pointer, error);
    }
    restore->place = (struct place){.io = restore->io, .directory = pointer.root};
    return open_standalone(restore, error);
}

static int is_id(const char *pointer)
{
    return pointer[0] != '\0' && strspn(pointer, "0123456789") == strlen(pointer) &&
           strlen(pointer) <= 20;
}

uint32_t cistern_restore_open(struct cistern_io *io, struct cistern_store *store,
    const char *pointer, const struct cistern_restore_options *options,
    struct cistern_restore **ret_restore, struct cistern_error *error)
{
    uint32_t in_root = strcmp(pointer, "latest") == 0 || is_id(pointer);
    if (in_root && store == NULL) {
        return cistern_fail(error, CISTERN_INVALID, pointer,
            "needs the directory of a job's checkpoints to look in");
    }
    struct cistern_restore *restore = cistern_allocate_zeroed(1, sizeof *restore);
    if (restore == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a restore");
    }
    restore->io = in_root ? store_io(store) : io;
    uint32_t status = in_root ? open_in_root(restore, store, pointer, options, error)
                              : open_path(restore, pointer, error);
    if (status == CISTERN_OK) {
        status = describe_path(restore, error);
    }
    if (status != CISTERN_OK) {
        cistern_restore_close(restore);
        return status;
    }
    *ret_restore = restore;
    return CISTERN_OK;
}

void cistern_restore_close(struct cistern_restore *restore)
{
    if (restore != NULL) {
        manifest_deinit(&restore->manifest);
        text_release(&restore->json);
        cistern_store_close(restore->own_store);
        cistern_release(restore->root);
        cistern_release(restore->path);
        cistern_release(restore);
    }
}

void cistern_restore_info(
    const struct cistern_restore *restore, struct cistern_restore_info *ret_info)
{
    const struct manifest *manifest = &restore->manifest;
    *ret_info = (struct cistern_restore_info){.checkpoint_id = manifest->checkpoint_id,
        .kind = manifest->snapshot_kind,
        .slice_count = manifest->slice_count,
        .max_parallelism = manifest->max_parallelism,
        .finished = restore->finished,
        .complete = restore->is_copy ? 2 : 1,
        .is_bare = restore->is_bare,
        .path = restore->path,
        .job_state = {manifest->job_state, manifest->job_state_bytes},
        .state_bytes = manifest->state_bytes,
        .created_ms = manifest->created_ms};
    memcpy(ret_info->job_name, manifest->job_name, sizeof ret_info->job_name);
    memcpy(ret_info->key_group_hash, manifest->key_group_hash, sizeof ret_info->key_group_hash);
    memcpy(ret_info->backend, manifest->slices[0].slice.backend, sizeof ret_info->backend);
}

const char *cistern_restore_manifest_json(struct cistern_restore *restore)
{
    if (restore->json.data == NULL &&
        manifest_expand(&restore->manifest, &restore->json, NULL) != CISTERN_OK) {
        text_release(&restore->json);
    }
    return restore->json.data;
}
