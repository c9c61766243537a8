/*
 * restore_job.c -- how a job starts: with empty backends, or with what a checkpoint holds.
 *
 * `latest` takes the newest whole checkpoint and says aloud what it skipped; damage that shows only
 * while data is read leads to the next older one. It never starts from nothing when there was
 * something.
 */
#include "complaint.h"
#include "reading.h"
#include "run.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/heap.h"
#include "cistern/rocks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RESTORE_ATTEMPTS_MAX 64u /* damaged checkpoints tried, newest first */

struct attempt {
    struct run *run;
    uint64_t older_than_id;
    uint32_t skipped; /* damaged ones passed over by open */
    struct cistern_restore *restore;
    struct cistern_restore_info info;
};

uint32_t backend_open(struct run *run, uint32_t index, uint32_t rocks,
    struct cistern_backend **ret_backend, struct cistern_error *error)
{
    struct cistern_backend_options common = {.max_parallelism = run->max_parallelism,
        .range = cistern_key_group_range_of(index, run->max_parallelism, run->slot_count),
        .operator_id = "count"};
    if (!rocks) {
        struct cistern_heap_options options = {.backend = common};
        return cistern_heap_open(run->workers[index].slot, &options, ret_backend, error);
    }
    char directory[4200]; /* each its own: a directory is used once */
    snprintf(directory, sizeof directory, "%.4096s/slot-%u-%u", run->local_directory, index,
        run->local_sequence++);
    struct cistern_rocks_options options = {.backend = common, .directory = directory};
    return cistern_rocks_open(run->workers[index].slot, &options, ret_backend, error);
}

static uint32_t state_register(struct worker *worker, struct cistern_error *error)
{
    const struct cistern_state_descriptor words = {.name = "words",
        .kind = CISTERN_REDUCING,
        .value_bytes = 8,
        .reduce = CISTERN_REDUCE_SUM_I64};
    return cistern_state_register(worker->backend, &words, &worker->words, error);
}

static void backends_close(struct run *run)
{
    struct cistern_error error;
    for (uint32_t i = 0; i < run->slot_count; i++) {
        cistern_error_clear(&error);
        if (run->workers[i].backend != NULL &&
            cistern_backend_close(run->workers[i].backend, &error) != CISTERN_OK) {
            complaint_warn("%s (%s)", error.message, error.object);
        }
        run->workers[i].backend = NULL;
        run->workers[i].words = NULL;
    }
}

static uint32_t source_feed(
    struct attempt *attempt, uint32_t index, const struct cistern_source *source)
{
    struct run *run = attempt->run;
    if (!run->use_rocks && strcmp(attempt->info.backend, "rocks") == 0) {
        return convert_restore(run, index, source, &run->error);
    }
    return cistern_backend_restore(run->workers[index].backend, source, &run->error);
}

/* attempt NULL: starts empty. */
static uint32_t slot_fill(struct run *run, uint32_t index, struct attempt *attempt)
{
    struct worker *worker = &run->workers[index];
    if (attempt == NULL || run->use_rocks || strcmp(attempt->info.backend, "rocks") != 0) {
        uint32_t status = backend_open(run, index, run->use_rocks, &worker->backend, &run->error);
        if (status != CISTERN_OK) {
            run->too_small = status == CISTERN_LIMIT;
            return status;
        }
    }
    if (attempt != NULL) {
        struct cistern_source source;
        struct cistern_key_group_range range =
            cistern_key_group_range_of(index, run->max_parallelism, run->slot_count);
        uint32_t status = cistern_restore_source(attempt->restore, range, &source, &run->error);
        if (status == CISTERN_OK) {
            status = source_feed(attempt, index, &source);
            cistern_restore_source_close(&source);
        }
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return state_register(worker, &run->error);
}

static uint32_t slots_fill(struct run *run, struct attempt *attempt)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < run->slot_count && status == CISTERN_OK; i++) {
        status = slot_fill(run, i, attempt);
    }
    if (status != CISTERN_OK) {
        backends_close(run);
    }
    return status;
}

static void skipped_warn(void *arg, uint64_t checkpoint_id, const struct cistern_error *error)
{
    struct attempt *attempt = arg;
    attempt->skipped++;
    if (error->file_offset != UINT64_MAX) {
        complaint_warn("checkpoint %" PRIu64 " is SKIPPED, it is damaged: %s (%s, offset %" PRIu64
                       ")",
            checkpoint_id, error->message, error->object, error->file_offset);
    } else {
        complaint_warn("checkpoint %" PRIu64 " is SKIPPED, it is damaged: %s (%s)", checkpoint_id,
            error->message, error->object);
    }
}

static uint32_t info_check(struct attempt *attempt)
{
    struct run *run = attempt->run;
    const struct cistern_restore_info *info = &attempt->info;
    if (strcmp(info->job_name, "wordcount") != 0) {
        return cistern_fail(&run->error, CISTERN_MISMATCH, info->path,
            "the checkpoint belongs to the job \"%s\", not wordcount", info->job_name);
    }
    if (info->max_parallelism != run->max_parallelism) {
        return cistern_fail(&run->error, CISTERN_MISMATCH, info->path,
            "the checkpoint has max parallelism %u, this run %u; pass --max-parallelism %u",
            info->max_parallelism, run->max_parallelism, info->max_parallelism);
    }
    return position_decode(info->job_state, &run->inputs, &run->start, &run->error);
}

/* A checkpoint of the root that this run writes to, which it need not take again. */
static int in_own_root(const struct attempt *attempt)
{
    const char *root = attempt->run->store != NULL ? cistern_store_path(attempt->run->store) : NULL;
    return root != NULL && attempt->info.kind != CISTERN_SNAPSHOT_CANONICAL &&
           strncmp(attempt->info.path, root, strlen(root)) == 0 &&
           attempt->info.path[strlen(root)] == '/';
}

static uint32_t attempt_restore(struct attempt *attempt)
{
    struct run *run = attempt->run;
    cistern_restore_info(attempt->restore, &attempt->info);
    uint32_t status = info_check(attempt);
    if (status == CISTERN_OK) {
        status = slots_fill(run, attempt);
    }
    if (status == CISTERN_OK) {
        run->restored_id = in_own_root(attempt) ? attempt->info.checkpoint_id : 0;
        run->restored_finished = attempt->info.finished;
        run->report.restored_id = attempt->info.checkpoint_id;
        complaint_note("restored %s %" PRIu64 ": %" PRIu64 " records were counted before it",
            attempt->info.kind == CISTERN_SNAPSHOT_CANONICAL ? "savepoint" : "checkpoint",
            attempt->info.checkpoint_id, run->start.records);
    }
    return status;
}

/* Nothing whole is there. */
static uint32_t nothing_found(struct attempt *attempt, uint32_t status)
{
    struct run *run = attempt->run;
    if (attempt->skipped > 0 || attempt->older_than_id != 0) {
        return cistern_fail(&run->error, CISTERN_CORRUPT, run->settings->checkpoint_dir,
            "every checkpoint is damaged; nothing was restored and nothing was touched");
    }
    if (run->store == NULL || cistern_writer_latest_checkpoint_id(run->writer) != 0) {
        return status;
    }
    complaint_note("no checkpoint was completed in %s yet: starting from the beginning",
        run->settings->checkpoint_dir);
    return slots_fill(run, NULL);
}

/* A number is a checkpoint's id in the folder of --checkpoint-dir; all else is a path. */
static int is_id(const struct run *run, const char *pointer)
{
    return run->settings->checkpoint_dir != NULL && pointer[strspn(pointer, "0123456789")] == '\0';
}

static uint32_t pointer_restore(struct attempt *attempt, int latest)
{
    struct run *run = attempt->run;
    struct cistern_restore_options options = {
        .older_than_id = attempt->older_than_id, .skipped = skipped_warn, .arg = attempt};
    const char *pointer = run->settings->restore;
    char path[4200]; /* a bare name must not be taken for an id */
    if (!latest && !is_id(run, pointer)) {
        pointer = reading_path(pointer);
        int length =
            snprintf(path, sizeof path, "%s%s", strchr(pointer, '/') == NULL ? "./" : "", pointer);
        if (length < 0 || (size_t)length >= sizeof path) {
            return cistern_fail(&run->error, CISTERN_INVALID, "--restore", "the path is too long");
        }
        pointer = path;
    }
    uint32_t status = cistern_restore_open(
        run->io, run->store, pointer, &options, &attempt->restore, &run->error);
    if (status == CISTERN_NOT_FOUND && latest) {
        return nothing_found(attempt, status);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    status = attempt_restore(attempt);
    if (status == CISTERN_CORRUPT && latest) {
        skipped_warn(attempt, attempt->info.checkpoint_id, &run->error);
        attempt->older_than_id = attempt->info.checkpoint_id;
        status = CISTERN_BUSY; /* again, with an older one */
    }
    cistern_restore_close(attempt->restore);
    attempt->restore = NULL;
    return status;
}

uint32_t savepoint_check(struct run *run)
{
    const struct run_settings *settings = run->settings;
    const char *path = settings->savepoint;
    struct cistern_error error;
    if (path == NULL) {
        return CISTERN_OK;
    }
    if (strncmp(settings->checkpoint_dir, "memory:", 7) == 0) {
        return cistern_fail(&run->error, CISTERN_INVALID, "--savepoint",
            "checkpoints are kept in memory: a savepoint needs a --checkpoint-dir on disk");
    }
    uint32_t status = reading_refuse_foreign(path, &error);
    if (status == CISTERN_NOT_FOUND) {
        return CISTERN_OK; /* it will be made */
    }
    /* a restart finds the one of its earlier life: compared when it is due */
    if (status == CISTERN_OK && settings->restore == NULL && reading_holds(path, "MANIFEST")) {
        return cistern_fail(&run->error, CISTERN_INVALID, path,
            "there is a savepoint here already; choose another --savepoint");
    }
    run->error = status == CISTERN_OK ? run->error : error;
    return status;
}

int savepoint_is_there(struct run *run, uint64_t records)
{
    struct cistern_restore *restore = NULL;
    struct cistern_restore_info info;
    struct cistern_error error;
    struct position position;
    char path[4200];
    snprintf(path, sizeof path, "%s%.4096s", strchr(run->settings->savepoint, '/') ? "" : "./",
        run->settings->savepoint);
    if (!reading_holds(path, "MANIFEST") ||
        cistern_restore_open(run->io, NULL, path, NULL, &restore, &error) != CISTERN_OK) {
        return 0;
    }
    cistern_restore_info(restore, &info);
    int same = info.kind == CISTERN_SNAPSHOT_CANONICAL && strcmp(info.job_name, "wordcount") == 0 &&
               position_decode(info.job_state, &run->inputs, &position, &error) == CISTERN_OK &&
               position.records == records;
    cistern_restore_close(restore);
    return same;
}

uint32_t restore_check(struct run *run)
{
    if (is_id(run, run->settings->restore)) {
        return CISTERN_OK;
    }
    const char *path = reading_path(run->settings->restore);
    uint32_t status = reading_refuse_foreign(path, &run->error);
    if (status != CISTERN_OK || reading_holds(path, "MANIFEST")) {
        return status;
    }
    if (reading_holds(path, "JOB")) {
        return cistern_fail(&run->error, CISTERN_NOT_FOUND, path,
            "this is a folder of checkpoints: name one of those in its chk/, or pass it as "
            "--checkpoint-dir with --restore latest");
    }
    return cistern_fail(&run->error, CISTERN_NOT_FOUND, path,
        "nothing to restore: neither a checkpoint nor a savepoint (no MANIFEST)");
}

uint32_t restore_job(struct run *run)
{
    const char *pointer = run->settings->restore;
    if (pointer == NULL) {
        return slots_fill(run, NULL);
    }
    int latest = strcmp(pointer, "latest") == 0;
    struct attempt attempt = {.run = run};
    for (uint32_t i = 0; i < RESTORE_ATTEMPTS_MAX; i++) {
        uint64_t older_than_id = attempt.older_than_id;
        uint32_t status = pointer_restore(&attempt, latest);
        if (status != CISTERN_BUSY || attempt.older_than_id == older_than_id) {
            return status;
        }
    }
    return cistern_fail(&run->error, CISTERN_CORRUPT, run->settings->checkpoint_dir,
        "the newest %u checkpoints are damaged", RESTORE_ATTEMPTS_MAX);
}
