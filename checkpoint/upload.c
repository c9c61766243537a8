/* upload.c -- the machine an upload runs on: begin, wait, cancel, fail, finish; see
 * upload_private.h. */
#include "upload_private.h"

#include "io_private.h"
#include "store_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static void clean_up(struct cistern_upload *upload);

void upload_post(struct cistern_upload *upload)
{
    if (atomic_exchange(&upload->posted, 1) == 0) {
        cistern_io_post(upload->writer->io, &upload->task);
    }
}

static int format_path(const struct cistern_upload *upload, char path[UPLOAD_PATH_BYTES_MAX],
    const char *name, struct cistern_error *error)
{
    const char *directory = upload->stored->savepoint_directory;
    if (directory == NULL) {
        return store_absolute_path(upload->writer->store, name, path, error) == CISTERN_OK;
    }
    if (snprintf(path, UPLOAD_PATH_BYTES_MAX, "%s/%s", directory, name) >=
        (int)UPLOAD_PATH_BYTES_MAX) {
        return cistern_fail(error, CISTERN_INVALID, directory, "the path is too long") ==
               CISTERN_OK;
    }
    return 1;
}

void upload_path(struct cistern_upload *upload, char path[UPLOAD_PATH_BYTES_MAX], const char *name)
{
    if (!format_path(upload, path, name, &upload->error)) {
        path[0] = '\0'; /* what is submitted with it fails; the detail is here already */
        upload_fail(upload, CISTERN_INVALID);
    }
}

static void operation_done(struct cistern_io_operation *operation)
{
    struct cistern_upload *upload = operation->arg;
    upload->waits = UPLOAD_RUNS;
    upload_post(upload);
}

void upload_submit(struct cistern_upload *upload, uint32_t opcode, upload_step_fn then)
{
    upload->operation.opcode = opcode;
    upload->operation.done = operation_done;
    upload->operation.arg = upload;
    upload->then = then;
    upload->waits = UPLOAD_WAITS_OPERATION;
    cistern_io_submit(upload->writer->io, &upload->operation);
}

void upload_submit_source(struct cistern_upload *upload, uint32_t opcode, upload_step_fn then)
{
    if (cistern_store_path(upload->writer->store) != NULL) {
        upload_submit(upload, opcode, then);
        return;
    }
    upload->operation.opcode = opcode;
    io_execute(&upload->operation);
    upload->then = then;
}

void upload_fail(struct cistern_upload *upload, uint32_t status)
{
    assert(status != CISTERN_OK);
    upload->status = status;
    upload->then = clean_up;
    upload->waits = UPLOAD_RUNS;
}

static void destroy(struct cistern_upload *upload)
{
    cistern_hash_stream_destroy(upload->hash);
    cistern_release(upload->encoder);
    text_release(&upload->text);
    cistern_release(upload);
}

/* Gives back what is shared with the writer. After this only done() and the upload's own memory
 * are left. */
static void detach(struct cistern_upload *upload)
{
    struct cistern_writer *writer = upload->writer;
    uint32_t in_root = upload->options.savepoint_directory == NULL;
    pthread_mutex_lock(&writer->lock);
    part_list_release(&upload->made, in_root ? &writer->dead : NULL);
    part_list_release(&upload->base_parts, &writer->dead);
    part_list_release(&upload->base_files, &writer->dead);
    if (upload->status != CISTERN_OK) {
        stored_release(upload->stored, in_root ? &writer->dead : NULL);
        upload->stored = NULL;
    }
    for (struct cistern_upload **link = &writer->uploads; *link != NULL; link = &(*link)->next) {
        if (*link == upload) {
            *link = upload->next;
            break;
        }
    }
    pthread_mutex_unlock(&writer->lock);
    origin_index_deinit(&upload->origins);
}

static void finish(struct cistern_upload *upload, struct cistern_upload_result *result)
{
    result->checkpoint_id = upload->options.checkpoint_id;
    result->slot_index = upload->options.slot_index;
    result->status = upload->status;
    cistern_snapshot_release(upload->snapshot);
    detach(upload);
    upload->finished = 1;
    upload->options.done(upload->options.arg, result);
}

/* Published to discard() in the same moment in which cancelling becomes too late. */
void upload_complete(struct cistern_upload *upload)
{
    struct cistern_writer *writer = upload->writer;
    /* the writer's own after this: discard() may end it */
    const struct slice *slice = &upload->stored->slice;
    struct cistern_upload_result result = {.slice = {upload->text.data, upload->text.bytes},
        .state_bytes = slice->state_bytes,
        .uploaded_bytes = slice->new_bytes,
        .files_new = slice->files_new,
        .files_reused = slice->files_reused};
    pthread_mutex_lock(&writer->lock);
    uint32_t cancelled = atomic_load(&upload->cancelled);
    if (!cancelled) {
        upload->stored->next = writer->attempts;
        writer->attempts = upload->stored;
    }
    pthread_mutex_unlock(&writer->lock);
    if (cancelled) {
        upload_fail(upload,
            cistern_fail(&upload->error, CISTERN_ABORTED, NULL, "the upload was cancelled"));
        return;
    }
    finish(upload, &result);
}

/* ---- failure: every file is closed, then removed, then done() ---- */
static void unlinked(struct cistern_upload *upload)
{
    struct part *part = upload->made.parts[upload->made_index++];
    if (upload->operation.result >= 0 || upload->operation.result == -ENOENT) {
        /* is not there any more: nothing to remove when the last reference goes */
        part->name.epoch = 0;
    }
    upload->then = clean_up;
}

static void close_one(struct cistern_upload *upload, int32_t *fd)
{
    int is_source = fd == &upload->source_fd;
    upload->operation = (struct cistern_io_operation){.fd = *fd};
    *fd = -1;
    (is_source ? upload_submit_source : upload_submit)(upload, CISTERN_IO_CLOSE, clean_up);
}

static void clean_up(struct cistern_upload *upload)
{
    if (upload->writes_in_flight > 0) {
        upload->then = clean_up;
        upload->waits = UPLOAD_WAITS_BUFFER;
        return;
    }
    if (upload->buffer != NULL) {
        cistern_io_buffer_release(upload->writer->io, upload->buffer);
        upload->buffer = NULL;
    }
    if (upload->fd >= 0) {
        close_one(upload, &upload->fd);
    } else if (upload->source_fd >= 0) {
        close_one(upload, &upload->source_fd);
    } else if (upload->made_index < upload->made.count) {
        char name[NAME_BYTES_MAX];
        data_name_format(name, &upload->made.parts[upload->made_index]->name);
        if (!format_path(upload, upload->path, name, NULL)) {
            upload->made_index++; /* a path that was too long was never created */
            upload->then = clean_up;
            return;
        }
        upload->operation = (struct cistern_io_operation){.path = upload->path};
        upload_submit(upload, CISTERN_IO_UNLINK, unlinked);
    } else {
        struct cistern_upload_result result = {.error = &upload->error};
        finish(upload, &result);
    }
}

/* ---- running ---- */
static void run(struct cistern_upload *upload)
{
    while (!upload->finished && upload->waits == UPLOAD_RUNS) {
        if (upload->status == CISTERN_OK && atomic_load(&upload->cancelled)) {
            upload_fail(upload,
                cistern_fail(&upload->error, CISTERN_ABORTED, NULL, "the upload was cancelled"));
        }
        upload_step_fn step = upload->then;
        upload->then = NULL;
        step(upload);
    }
}

static void run_task(struct cistern_io_task *task)
{
    struct cistern_upload *upload = task->arg;
    if (!upload->finished) {
        atomic_store(&upload->posted, 0);
        if (upload->waits != UPLOAD_WAITS_OPERATION) {
            upload->waits = UPLOAD_RUNS;
        }
        run(upload);
        if (!upload->finished || atomic_exchange(&upload->posted, 1) == 1) {
            return; /* not over, or a post is on its way: the last one destroys */
        }
    }
    destroy(upload);
}

void uploads_wake(struct cistern_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    for (struct cistern_upload *upload = writer->uploads; upload != NULL; upload = upload->next) {
        if (upload->waits == UPLOAD_WAITS_READY || upload->waits == UPLOAD_WAITS_BUFFER) {
            upload_post(upload);
        }
    }
    pthread_mutex_unlock(&writer->lock);
}

void uploads_cancel(struct cistern_writer *writer, uint64_t checkpoint_id)
{
    pthread_mutex_lock(&writer->lock);
    for (struct cistern_upload *upload = writer->uploads; upload != NULL; upload = upload->next) {
        if (upload->options.checkpoint_id == checkpoint_id) {
            cistern_upload_cancel(upload);
        }
    }
    pthread_mutex_unlock(&writer->lock);
}

void cistern_upload_cancel(struct cistern_upload *upload)
{
    atomic_store(&upload->cancelled, 1);
    upload_post(upload);
}

/* ---- begin ---- */
static uint32_t share(struct part_list *into, const struct part_list *from)
{
    for (uint32_t index = 0; index < from->count; index++) {
        uint32_t status = part_list_add(into, from->parts[index]);
        if (status != CISTERN_OK) {
            return status;
        }
        from->parts[index]->refs++;
    }
    return CISTERN_OK;
}

/* Takes its own references, so that the base may be retired while the upload runs. */
static uint32_t take_base(struct cistern_upload *upload)
{
    const struct stored *base = writer_find_base(
        upload->writer, upload->options.base_checkpoint_id, upload->options.slot_index);
    if (base == NULL) {
        return CISTERN_OK; /* a part that is to be reused will not be found, and says so */
    }
    upload->has_base = 1;
    upload->base_slice = base->slice;
    upload->base_slice.states = NULL;
    uint32_t status = share(&upload->base_parts, &base->parts);
    if (status == CISTERN_OK) {
        status = share(&upload->base_files, &base->files);
    }
    return status == CISTERN_OK ? origin_index_init(&upload->origins, &upload->base_parts) : status;
}

static void describe(struct cistern_upload *upload)
{
    const struct cistern_upload_options *options = &upload->options;
    struct stored *stored = upload->stored;
    stored->checkpoint_id = options->checkpoint_id;
    stored->slot_index = options->slot_index;
    stored->is_new = 1;
    stored->slice.checkpoint_id = options->checkpoint_id;
    stored->slice.base_checkpoint_id = upload->has_base ? options->base_checkpoint_id : 0;
    stored->slice.epoch = upload->writer->log.epoch;
    stored->slice.slot_index = options->slot_index;
    stored->slice.range = options->range;
    snprintf(stored->slice.backend, sizeof stored->slice.backend, "%s",
        options->kind == CISTERN_SNAPSHOT_CANONICAL ? "canonical" : options->backend);
}

static uint32_t set_up(struct cistern_upload *upload)
{
    upload->stored = cistern_allocate_zeroed(1, sizeof *upload->stored);
    upload->hash = cistern_hash_stream_create();
    upload->encoder = cistern_allocate(sizeof *upload->encoder);
    if (upload->stored == NULL || upload->hash == NULL || upload->encoder == NULL) {
        return CISTERN_NO_MEMORY;
    }
    if (upload->options.savepoint_directory != NULL) {
        upload->stored->savepoint_directory =
            cistern_duplicate_string(upload->options.savepoint_directory);
        if (upload->stored->savepoint_directory == NULL) {
            return CISTERN_NO_MEMORY;
        }
    }
    pthread_mutex_lock(&upload->writer->lock);
    uint32_t status = upload->options.base_checkpoint_id == 0 ? CISTERN_OK : take_base(upload);
    pthread_mutex_unlock(&upload->writer->lock);
    return status;
}

static void undo(struct cistern_upload *upload)
{
    upload->status = CISTERN_NO_MEMORY;
    detach(upload);
    destroy(upload);
}

uint32_t cistern_upload_begin(struct cistern_writer *writer, struct cistern_snapshot *snapshot,
    const struct cistern_upload_options *options, struct cistern_upload **ret_upload,
    struct cistern_error *error)
{
    assert(options->done != NULL && options->backend != NULL &&
           options->slot_index < writer->slot_count);
    assert(options->savepoint_directory == NULL || options->base_checkpoint_id == 0);
    if (options->savepoint_directory != NULL && cistern_store_path(writer->store) == NULL) {
        cistern_snapshot_release(snapshot);
        return cistern_fail(error, CISTERN_UNSUPPORTED, options->savepoint_directory,
            "checkpoints are kept in memory: a savepoint needs a store that is a directory");
    }
    struct cistern_upload *upload = cistern_allocate_zeroed(1, sizeof *upload);
    if (upload != NULL) {
        upload->writer = writer;
        upload->options = *options;
        upload->fd = -1;
        upload->source_fd = -1;
        upload->part_bytes_max = store_part_bytes_max(writer->store);
        upload->task = (struct cistern_io_task){.run = run_task, .arg = upload};
        if (set_up(upload) != CISTERN_OK) {
            undo(upload);
            upload = NULL;
        }
    }
    if (upload == NULL) {
        cistern_snapshot_release(snapshot);
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for an upload");
    }
    describe(upload);
    upload->snapshot = snapshot;
    upload->then = upload_start;
    pthread_mutex_lock(&writer->lock);
    upload->next = writer->uploads;
    writer->uploads = upload;
    pthread_mutex_unlock(&writer->lock);
    if (ret_upload != NULL) {
        *ret_upload = upload;
    }
    upload_post(upload);
    return CISTERN_OK;
}
