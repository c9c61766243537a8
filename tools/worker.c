/* worker.c -- see worker.h. */
#include "worker.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

#define IDLE_WAIT_NS 10000000 /* how long a worker sleeps before it gives its backend idle time */
#define IDLE_STEP_NS 1000000
#define LIMIT_REPEATS_MAX 100000u /* times in a row that room was promised and not found */
#define TIMEOUT_REPEATS_MAX 30u   /* x 10 s that a write waits for RocksDB to make room */

static const uint8_t one_be[8] = {0, 0, 0, 0, 0, 0, 0, 1};

uint32_t worker_init(
    struct worker *worker, uint32_t index, struct mail *mail, struct cistern_error *error)
{
    memset(worker, 0, sizeof *worker);
    worker->index = index;
    worker->mail = mail;
    for (uint32_t i = 0; i < WORKER_BATCH_MAX; i++) {
        worker->inputs[i] = (struct cistern_span){one_be, sizeof one_be};
    }
    uint32_t status = inbox_init(&worker->inbox, error);
    if (status == CISTERN_OK) {
        pthread_mutex_init(&worker->upload_lock, NULL);
    }
    return status;
}

void worker_deinit(struct worker *worker)
{
    if (worker->inbox.batches != NULL) {
        pthread_mutex_destroy(&worker->upload_lock);
        inbox_deinit(&worker->inbox);
    }
}

/* After LIMIT or TIMEOUT: OK = try again. */
static uint32_t worker_make_room(struct worker *worker, uint32_t status, uint32_t *repeats)
{
    ++*repeats;
    if (status == CISTERN_TIMEOUT && *repeats <= TIMEOUT_REPEATS_MAX) {
        return CISTERN_OK;
    }
    if (status == CISTERN_LIMIT) {
        status = cistern_backend_explain(worker->backend, &worker->error);
        if (status == CISTERN_OK && *repeats > LIMIT_REPEATS_MAX) {
            return cistern_fail(&worker->error, CISTERN_LIMIT, "--managed",
                "slot %u found no room for a word although room was made %u times; raise --managed",
                worker->index, LIMIT_REPEATS_MAX);
        }
    }
    return status;
}

static uint32_t worker_add(struct worker *worker, uint32_t count)
{
    uint32_t at = 0, repeats = 0;
    while (at < count) {
        uint32_t done = 0;
        uint32_t status = cistern_value_add_many(worker->words, worker->addresses + at,
            worker->inputs, count - at, &done, &worker->error);
        if (status == CISTERN_OK) {
            return CISTERN_OK;
        }
        at += done;
        repeats = done > 0 ? 0 : repeats;
        status = worker_make_room(worker, status, &repeats);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

static uint32_t worker_records(struct worker *worker, const struct batch *batch)
{
    const uint8_t *word = batch->words;
    for (uint32_t at = 0; at < batch->count;) {
        uint32_t count =
            batch->count - at < WORKER_BATCH_MAX ? batch->count - at : WORKER_BATCH_MAX;
        for (uint32_t i = 0; i < count; i++) {
            worker->addresses[i] = (struct cistern_address){
                .key = {word, batch->lengths[at + i]}, .key_group = batch->groups[at + i]};
            word += batch->lengths[at + i];
        }
        uint32_t status = worker_add(worker, count);
        if (status != CISTERN_OK) {
            return status;
        }
        at += count;
    }
    return CISTERN_OK;
}

/* ---- checkpoints ---- */

static void upload_done(void *arg, const struct cistern_upload_result *result)
{
    struct worker *worker = arg;
    struct message message = {.kind = MESSAGE_UPLOADED,
        .worker_index = worker->index,
        .checkpoint_id = result->checkpoint_id,
        .state_bytes = result->state_bytes,
        .uploaded_bytes = result->uploaded_bytes,
        .files_new = result->files_new,
        .files_reused = result->files_reused};
    pthread_mutex_lock(&worker->upload_lock);
    worker->upload = NULL;
    pthread_mutex_unlock(&worker->upload_lock);
    if (result->status == CISTERN_OK) {
        message.slice = cistern_allocate(result->slice.bytes);
        message.slice_bytes = result->slice.bytes;
        if (message.slice != NULL) {
            memcpy(message.slice, result->slice.data, result->slice.bytes);
        } else {
            (void)cistern_fail(
                &message.error, CISTERN_NO_MEMORY, "slice", "no memory for a checkpoint's slice");
        }
    } else if (result->error != NULL) {
        message.error = *result->error;
        message.error.status = result->status;
    } else {
        (void)cistern_fail(&message.error, result->status, "upload", "the upload ended with %s",
            cistern_status_name(result->status));
    }
    mail_post(worker->mail, &message);
}

static uint32_t upload_start(struct worker *worker, const struct barrier *barrier,
    struct cistern_snapshot *snapshot, struct cistern_error *error)
{
    const struct cistern_backend_options *backend = cistern_backend_options_of(worker->backend);
    struct cistern_upload_options options = {
        .slot_index = worker->index,
        .kind = barrier->snapshot_kind,
        .checkpoint_id = barrier->checkpoint_id,
        .base_checkpoint_id = barrier->base_checkpoint_id,
        .range = backend->range,
        .backend = cistern_backend_name(worker->backend),
        .savepoint_directory = barrier->savepoint_directory,
        .done = upload_done,
        .arg = worker,
    };
    /* The lock is held over begin, so that done() of a very quick upload finds the handle
     * already stored. */
    pthread_mutex_lock(&worker->upload_lock);
    uint32_t status =
        cistern_upload_begin(worker->writer, snapshot, &options, &worker->upload, error);
    worker->upload_id = barrier->checkpoint_id;
    if (status != CISTERN_OK) {
        worker->upload = NULL;
    }
    pthread_mutex_unlock(&worker->upload_lock);
    return status;
}

static void worker_barrier(struct worker *worker, const struct barrier *barrier)
{
    struct message message = {.kind = MESSAGE_UPLOAD_BEGUN,
        .worker_index = worker->index,
        .checkpoint_id = barrier->checkpoint_id};
    struct cistern_snapshot_request request = {.checkpoint_id = barrier->checkpoint_id,
        .base_checkpoint_id = barrier->base_checkpoint_id,
        .kind = barrier->snapshot_kind,
        .ready = cistern_writer_ready,
        .ready_arg = worker->writer};
    struct cistern_snapshot *snapshot = NULL;
    int64_t begin_ns = cistern_now_ns();
    uint32_t status = cistern_snapshot_begin(worker->backend, &request, &snapshot, &message.error);
    message.sync_ns = cistern_now_ns() - begin_ns;
    if (status != CISTERN_OK) {
        message.error.status = status;
        message.kind = MESSAGE_DECLINED;
        mail_post(worker->mail, &message);
        return;
    }
    mail_post(worker->mail, &message); /* before the upload's own message can come */
    struct cistern_error error = {0};
    status = upload_start(worker, barrier, snapshot, &error);
    if (status != CISTERN_OK) {
        message.kind = MESSAGE_UPLOADED;
        message.error = error;
        message.error.status = status;
        mail_post(worker->mail, &message);
    }
}

void worker_cancel_upload(struct worker *worker, uint64_t checkpoint_id)
{
    pthread_mutex_lock(&worker->upload_lock);
    if (worker->upload != NULL && worker->upload_id == checkpoint_id) {
        cistern_upload_cancel(worker->upload);
    }
    pthread_mutex_unlock(&worker->upload_lock);
}

/* ---- thread ---- */

static void worker_notices(struct worker *worker)
{
    struct notice notices[INBOX_NOTICES_MAX];
    uint32_t count = inbox_notices(&worker->inbox, notices);
    for (uint32_t i = 0; i < count; i++) {
        cistern_backend_notify(worker->backend, notices[i].checkpoint_id, notices[i].outcome);
    }
}

/* One thing. Returns 1 while there is more to come. */
static int worker_turn(struct worker *worker, uint32_t *ret_status)
{
    uint32_t closed;
    struct batch *batch = inbox_peek(&worker->inbox, IDLE_WAIT_NS, &closed);
    worker_notices(worker);
    if (closed) {
        *ret_status = cistern_fail(&worker->error, CISTERN_ABORTED, NULL, "the job was given up");
        return 0;
    }
    if (batch == NULL) {
        *ret_status =
            cistern_backend_step(worker->backend, cistern_now_ns() + IDLE_STEP_NS, &worker->error);
        return *ret_status == CISTERN_OK;
    }
    uint32_t kind = batch->kind;
    if (kind == BATCH_RECORDS) {
        *ret_status = worker_records(worker, batch);
    } else if (kind == BATCH_BARRIER) {
        worker_barrier(worker, &batch->barrier);
    }
    inbox_pop(&worker->inbox);
    return *ret_status == CISTERN_OK && kind != BATCH_END;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    char name[16];
    snprintf(name, sizeof name, "cistern-slot%u", worker->index % 1000);
    pthread_setname_np(pthread_self(), name);
    uint32_t status = CISTERN_OK;
    while (worker_turn(worker, &status)) {
    }
    struct message message = {.kind = MESSAGE_WORKER_LEFT, .worker_index = worker->index};
    if (status != CISTERN_OK) {
        message.error = worker->error;
        message.error.status = status;
    }
    mail_post(worker->mail, &message);
    return NULL;
}

uint32_t worker_start(struct worker *worker, struct cistern_error *error)
{
    int os_errno = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (os_errno != 0) {
        return cistern_fail_errno(error, os_errno, "slot", "cannot start a slot's thread");
    }
    worker->started = 1;
    return CISTERN_OK;
}

void worker_join(struct worker *worker)
{
    if (worker->started) {
        pthread_join(worker->thread, NULL);
        worker->started = 0;
    }
}
