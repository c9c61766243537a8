/* publish.c -- an attempt becomes a checkpoint or savepoint: self-check, manifest, log record;
 * see writer.h. */
#include "writer_private.h"

#include "failpoint_private.h"
#include "store_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/log.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct publication { /* of one call */
    struct cistern_writer *writer;
    const struct cistern_publish *publish;
    struct place place;              /* the root, or the savepoint's own store */
    struct cistern_store *savepoint; /* owned */
    struct checkpoint_name name;
    char directory[NAME_BYTES_MAX]; /* in `place`; "" for a savepoint */
    struct manifest manifest;
    struct text text; /* of the manifest */
};

uint32_t writer_append(
    struct cistern_writer *writer, struct commit_record *record, struct cistern_error *error)
{
    uint32_t status = commit_log_append(&writer->log, record, error);
    if (writer->log.has_doubt) {
        writer->doubt_checkpoint_id = record->checkpoint_id;
        writer->doubt_kind = record->kind;
    }
    return status;
}

void writer_adopt(
    struct cistern_writer *writer, struct published *published, const struct commit_record *record)
{
    published->checkpoint_id = record->checkpoint_id;
    published->epoch = record->epoch;
    published->number = record->number;
    published->slices = writer_take_attempt(writer, record->checkpoint_id);
    pthread_mutex_lock(&writer->lock);
    published->next = writer->published;
    writer->published = published;
    pthread_mutex_unlock(&writer->lock);
}

/* ---- checks ---- */
static uint32_t check_request(const struct cistern_writer *writer,
    const struct cistern_publish *publish, struct cistern_error *error)
{
    uint64_t name_bytes = publish->operator_name == NULL ? 0 : strlen(publish->operator_name);
    if (name_bytes == 0 || name_bytes > MANIFEST_NAME_BYTES_MAX ||
        !text_is_utf8(publish->operator_name)) {
        return cistern_fail(error, CISTERN_INVALID, "operator_name",
            "must be UTF-8 text of 1 to %u bytes", MANIFEST_NAME_BYTES_MAX);
    }
    if (publish->slice_count != writer->slot_count) {
        return cistern_fail(error, CISTERN_INVALID, "slice_count",
            "%u slices, the writer has %u slots", publish->slice_count, writer->slot_count);
    }
    if (publish->job_state.bytes > CISTERN_JOB_STATE_BYTES_MAX) {
        return cistern_fail(error, CISTERN_LIMIT, "job_state", "%llu bytes; at most %u are kept",
            (unsigned long long)publish->job_state.bytes, CISTERN_JOB_STATE_BYTES_MAX);
    }
    return CISTERN_OK;
}

static const struct stored *find_attempt(
    const struct cistern_writer *writer, uint64_t checkpoint_id, uint32_t slot_index)
{
    for (const struct stored *at = writer->attempts; at != NULL; at = at->next) {
        if (at->checkpoint_id == checkpoint_id && at->slot_index == slot_index) {
            return at;
        }
    }
    return NULL;
}

/* Parts nobody else holds are new, and were never looked at since they were written; the others
 * are members of a published checkpoint. */
static uint32_t check_files(const struct publication *publication, const struct part_list *list,
    struct cistern_error *error)
{
    for (uint32_t index = 0; index < list->count; index++) {
        const struct part *part = list->parts[index];
        char name[NAME_BYTES_MAX];
        uint64_t bytes;
        if (part->refs > 1) {
            continue;
        }
        data_name_format(name, &part->name);
        uint32_t status = place_size(&publication->place, name, &bytes, error);
        if (status != CISTERN_OK) {
            return status;
        }
        if (bytes != part->bytes) {
            return cistern_fail_corrupt(error, name, bytes,
                "the file has %llu bytes, %llu were written", (unsigned long long)bytes,
                (unsigned long long)part->bytes);
        }
    }
    return CISTERN_OK;
}

static uint32_t check_slice(
    struct publication *publication, uint32_t slot, struct cistern_error *error)
{
    const struct cistern_publish *publish = publication->publish;
    struct manifest_slice *slice = &publication->manifest.slices[slot];
    char file[32];
    manifest_slice_file(file, slot, publication->manifest.operator_id);
    uint32_t status = slice_decode(file, publish->slices[slot], &slice->slice, error);
    if (status != CISTERN_OK) {
        return status;
    }
    slice->has_slice = 1;
    slice->file_bytes = publish->slices[slot].bytes;
    slice->file_hash = cistern_hash128(publish->slices[slot].data, publish->slices[slot].bytes);
    memcpy(slice->file, file, sizeof file);
    const struct stored *stored = find_attempt(publication->writer, publish->checkpoint_id, slot);
    if (stored == NULL || slice->slice.slot_index != slot ||
        slice->slice.checkpoint_id != publish->checkpoint_id ||
        (stored->savepoint_directory == NULL) != (publish->savepoint_directory == NULL)) {
        return cistern_fail(error, CISTERN_INVALID, file,
            "the slice is not what an upload of this writer returned for slot %u of %llu", slot,
            (unsigned long long)publish->checkpoint_id);
    }
    publication->manifest.state_bytes += slice->slice.state_bytes;
    publication->manifest.new_bytes += slice->slice.new_bytes;
    publication->manifest.files += slice->slice.files_new + slice->slice.files_reused;
    status = check_files(publication, &stored->parts, error);
    return status == CISTERN_OK ? check_files(publication, &stored->files, error) : status;
}

/* ---- the manifest ---- */
static uint32_t fill_manifest(struct publication *publication, struct cistern_error *error)
{
    const struct cistern_publish *publish = publication->publish;
    const struct cistern_writer *writer = publication->writer;
    struct manifest *manifest = &publication->manifest;
    struct cistern_hash128 operator_id =
        cistern_hash128(publish->operator_name, strlen(publish->operator_name));
    manifest->checkpoint_id = publish->checkpoint_id;
    manifest->base_checkpoint_id = publish->base_checkpoint_id;
    manifest->epoch = writer->log.epoch;
    manifest->created_ms = cistern_io_wall_ms(writer->io);
    manifest->is_savepoint = publish->savepoint_directory != NULL;
    manifest->snapshot_kind = publish->kind;
    manifest->max_parallelism = writer->job.max_parallelism;
    memcpy(manifest->job_id, writer->job.id, sizeof manifest->job_id);
    memcpy(manifest->job_name, writer->job.name, sizeof manifest->job_name);
    memcpy(manifest->key_group_hash, writer->job.key_group_hash, sizeof manifest->key_group_hash);
    snprintf(manifest->operator_name, sizeof manifest->operator_name, "%s", publish->operator_name);
    memcpy(manifest->operator_id, operator_id.bytes, sizeof manifest->operator_id);
    manifest->slices = cistern_allocate_zeroed(publish->slice_count, sizeof *manifest->slices);
    manifest->job_state = cistern_allocate(publish->job_state.bytes);
    if (manifest->slices == NULL || manifest->job_state == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a manifest");
    }
    manifest->slice_count = publish->slice_count;
    manifest->job_state_bytes = publish->job_state.bytes;
    if (publish->job_state.bytes > 0) {
        memcpy(manifest->job_state, publish->job_state.data, publish->job_state.bytes);
    }
    uint32_t status = CISTERN_OK;
    for (uint32_t slot = 0; slot < publish->slice_count && status == CISTERN_OK; slot++) {
        status = check_slice(publication, slot, error);
    }
    return status == CISTERN_OK ? manifest_encode(manifest, &publication->text, error) : status;
}

static uint32_t write_manifest(struct publication *publication, struct cistern_error *error)
{
    const char *directory = publication->directory;
    const char *slash = directory[0] == '\0' ? "" : "/";
    char path[2 * NAME_BYTES_MAX];
    uint32_t status = directory[0] == '\0'
                          ? CISTERN_OK
                          : place_make_directory(&publication->place, directory, error);
    for (uint32_t slot = 0; slot < publication->manifest.slice_count && status == CISTERN_OK;
         slot++) {
        const struct manifest_slice *slice = &publication->manifest.slices[slot];
        if (!slice->is_inline) {
            snprintf(path, sizeof path, "%s%s%s", directory, slash, slice->file);
            status =
                place_publish(&publication->place, path, publication->publish->slices[slot], error);
        }
    }
    if (status == CISTERN_OK) {
        snprintf(path, sizeof path, "%s%sMANIFEST", directory, slash);
        failpoint("manifest");
        status = place_publish(&publication->place, path,
            (struct cistern_span){publication->text.data, publication->text.bytes}, error);
    }
    return status;
}

/* ---- savepoints ---- */
static uint32_t open_savepoint(struct publication *publication, struct cistern_error *error)
{
    const char *directory = publication->publish->savepoint_directory;
    uint64_t bytes;
    if (cistern_store_path(publication->writer->store) == NULL) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, directory,
            "checkpoints are kept in memory: a savepoint needs a store that is a directory");
    }
    uint32_t status =
        cistern_store_open(publication->writer->io, directory, 1, &publication->savepoint, error);
    if (status != CISTERN_OK) {
        return status;
    }
    publication->place = place_of_store(publication->savepoint);
    const char *path = cistern_store_path(publication->savepoint);
    if (strlen(path) > LOG_DIRECTORY_BYTES_MAX || !text_is_utf8(path)) {
        return cistern_fail(error, CISTERN_INVALID, path,
            "a savepoint's path must be UTF-8 of at most %u bytes", LOG_DIRECTORY_BYTES_MAX);
    }
    status = place_size(&publication->place, "MANIFEST", &bytes, error);
    if (status == CISTERN_OK) {
        return cistern_fail(error, CISTERN_EXISTS, path,
            "there is a savepoint here already: choose another directory");
    }
    return status == CISTERN_NOT_FOUND ? CISTERN_OK : status;
}

/* The directories an upload made: each entry on the way down, from data/e<epoch> up to the root
 * of the file system, as far as we may open them. */
static uint32_t sync_savepoint(struct publication *publication, struct cistern_error *error)
{
    char name[NAME_BYTES_MAX];
    char path[STORE_PATH_BYTES_MAX];
    snprintf(name, sizeof name, "data/e%04llx", (unsigned long long)publication->writer->log.epoch);
    uint32_t status = place_sync_directory(&publication->place, name, error);
    if (status == CISTERN_OK) {
        status = place_sync_directory(&publication->place, "data", error);
    }
    if (status == CISTERN_OK) {
        status = place_sync_directory(&publication->place, "", error);
    }
    snprintf(path, sizeof path, "%s", cistern_store_path(publication->savepoint));
    for (char *slash = strrchr(path, '/'); slash != NULL && slash != path && status == CISTERN_OK;
         slash = strrchr(path, '/')) {
        *slash = '\0';
        struct cistern_io_operation open = {
            .opcode = CISTERN_IO_OPEN, .path = path, .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC};
        if (cistern_io_run(publication->writer->io, &open) < 0) {
            break; /* not ours to open: it was there before us */
        }
        struct cistern_io_operation sync = {.opcode = CISTERN_IO_FSYNC, .fd = (int32_t)open.result};
        struct cistern_io_operation close = {
            .opcode = CISTERN_IO_CLOSE, .fd = (int32_t)open.result};
        int64_t result = cistern_io_run(publication->writer->io, &sync);
        (void)cistern_io_run(publication->writer->io, &close);
        if (result < 0) {
            status = cistern_fail_errno(error, (int32_t)-result, path, "fsync the directory");
        }
    }
    return status;
}

/* ---- publishing ---- */
static void take_back_file(struct publication *publication, const char *name)
{
    struct cistern_error ignored;
    if (place_remove(&publication->place, name, &ignored) != CISTERN_OK) {
        cistern_log(CISTERN_LOG_WARNING, "%s: %s: a file of an unfinished savepoint stays",
            ignored.object, ignored.message);
    }
}

static void take_back(struct publication *publication)
{
    if (publication->savepoint == NULL) {
        checkpoint_remove_directory(publication->writer, &publication->name);
        return;
    }
    take_back_file(publication, "MANIFEST");
    for (uint32_t slot = 0; slot < publication->manifest.slice_count; slot++) {
        if (!publication->manifest.slices[slot].is_inline) {
            take_back_file(publication, publication->manifest.slices[slot].file);
        }
    }
}

static uint32_t commit(struct publication *publication, struct cistern_error *error)
{
    struct cistern_writer *writer = publication->writer;
    struct commit_record record = {
        .kind = publication->savepoint == NULL ? COMMIT_CHECKPOINT : COMMIT_SAVEPOINT,
        .checkpoint_id = publication->publish->checkpoint_id,
        .manifest_bytes = publication->text.bytes,
        .manifest_hash = cistern_hash128(publication->text.data, publication->text.bytes)};
    if (publication->savepoint != NULL) {
        snprintf(record.directory, sizeof record.directory, "%s",
            cistern_store_path(publication->savepoint));
    }
    /* after the record nothing may fail */
    struct published *published = cistern_allocate_zeroed(1, sizeof *published);
    uint32_t status = published == NULL ? cistern_fail(error, CISTERN_NO_MEMORY, NULL,
                                              "no memory for one more checkpoint")
                                        : writer_append(writer, &record, error);
    if (status != CISTERN_OK) {
        cistern_release(published);
        if (!writer->log.has_doubt) {
            take_back(publication);
        }
        return status;
    }
    if (record.checkpoint_id > writer->latest_checkpoint_id) {
        writer->latest_checkpoint_id = record.checkpoint_id;
    }
    if (publication->savepoint != NULL) {
        cistern_release(published);
        writer_drop_attempt(writer, record.checkpoint_id); /* the directory is its holder now */
    } else {
        writer_adopt(writer, published, &record);
    }
    return CISTERN_OK;
}

static uint32_t publish_steps(struct publication *publication, struct cistern_error *error)
{
    /* a stopped writer writes nothing more */
    uint32_t status = commit_log_probe(&publication->writer->log, error);
    if (status == CISTERN_OK && publication->publish->savepoint_directory != NULL) {
        status = open_savepoint(publication, error);
    }
    if (status == CISTERN_OK) {
        status = fill_manifest(publication, error);
    }
    if (status == CISTERN_OK && publication->savepoint != NULL) {
        status = sync_savepoint(publication, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    status = write_manifest(publication, error);
    if (status == CISTERN_EXISTS && publication->savepoint != NULL) {
        /* somebody else's savepoint appeared meanwhile: nothing here is ours to take back */
        return status;
    }
    if (status != CISTERN_OK) {
        take_back(publication);
        return status;
    }
    return commit(publication, error);
}

static uint64_t oldest_number(const struct cistern_writer *writer)
{
    uint64_t oldest = UINT64_MAX;
    for (const struct published *at = writer->published; at != NULL; at = at->next) {
        oldest = at->number < oldest ? at->number : oldest;
    }
    return oldest;
}

/* What follows a publication and must not make it fail. */
static void tidy(struct cistern_writer *writer)
{
    struct cistern_error error;
    if (!writer->swept) {
        writer->swept = 1;
        writer_sweep(writer);
    }
    writer_remove_dead(writer);
    if (writer->damaged_records == 0 &&
        commit_log_trim(&writer->log, oldest_number(writer), &error) != CISTERN_OK) {
        cistern_log(
            CISTERN_LOG_WARNING, "%s: %s: old log records stay", error.object, error.message);
    }
}

uint32_t cistern_writer_publish(struct cistern_writer *writer,
    const struct cistern_publish *publish, struct cistern_error *error)
{
    struct publication publication = {.writer = writer, .publish = publish, .place = writer->place};
    uint32_t status = check_request(writer, publish, error);
    if (status == CISTERN_OK) {
        status = writer_settle(writer, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    publication.name = (struct checkpoint_name){publish->checkpoint_id, writer->log.epoch};
    if (publish->savepoint_directory == NULL) {
        checkpoint_name_format(publication.directory, &publication.name);
    }
    status = publish_steps(&publication, error);
    manifest_deinit(&publication.manifest);
    text_release(&publication.text);
    cistern_store_close(publication.savepoint);
    if (status == CISTERN_OK) {
        tidy(writer);
    }
    return status;
}
