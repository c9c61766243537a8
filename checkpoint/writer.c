/* writer.c -- opening and closing the one writer of a root; see writer.h and writer_private.h. */
#include "writer_private.h"

#include "store_private.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/endian.h"
#include "cistern/error.h"
#include "cistern/log.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define TAKEOVER_TRIES_MAX                                                                         \
    3u /* two writers that open at once: the slower one reads the log again */

/* ---- shared ---- */
struct data_name writer_name(struct cistern_writer *writer, uint32_t slot_index, uint32_t kind)
{
    return (struct data_name){
        writer->log.epoch, ++writer->sequences[slot_index], slot_index + 1, kind};
}

struct stored *writer_find_base(
    const struct cistern_writer *writer, uint64_t checkpoint_id, uint32_t slot_index)
{
    for (struct published *at = writer->published; at != NULL; at = at->next) {
        for (struct stored *slice = at->slices; at->checkpoint_id == checkpoint_id && slice != NULL;
             slice = slice->next) {
            if (slice->slot_index == slot_index && slice->is_new) {
                return slice;
            }
        }
    }
    return NULL;
}

void stored_release(struct stored *stored, struct part **dead)
{
    if (stored != NULL) {
        part_list_release(&stored->parts, dead);
        part_list_release(&stored->files, dead);
        slice_deinit(&stored->slice);
        cistern_release(stored->savepoint_directory);
        cistern_release(stored);
    }
}

void published_release(struct published *published, struct part **dead)
{
    while (published != NULL && published->slices != NULL) {
        struct stored *next = published->slices->next;
        stored_release(published->slices, dead);
        published->slices = next;
    }
    cistern_release(published);
}

struct stored *writer_take_attempt(struct cistern_writer *writer, uint64_t checkpoint_id)
{
    struct stored *taken = NULL;
    pthread_mutex_lock(&writer->lock);
    for (struct stored **link = &writer->attempts; *link != NULL;) {
        struct stored *at = *link;
        if (at->checkpoint_id == checkpoint_id) {
            *link = at->next;
            at->next = taken;
            taken = at;
        } else {
            link = &at->next;
        }
    }
    pthread_mutex_unlock(&writer->lock);
    return taken;
}

/* ---- waking ---- */
static void run_wake(struct cistern_io_task *task)
{
    struct cistern_writer *writer = task->arg;
    uint32_t expected;
    do {
        atomic_store(&writer->wake_state, WAKE_RUNNING);
        uploads_wake(writer);
        expected = WAKE_RUNNING;
    } while (!atomic_compare_exchange_strong(&writer->wake_state, &expected, WAKE_IDLE));
}

void cistern_writer_ready(void *arg)
{
    struct cistern_writer *writer = arg;
    uint32_t state = atomic_load(&writer->wake_state);
    for (;;) {
        if (state == WAKE_POSTED || state == WAKE_AGAIN) {
            return;
        }
        uint32_t wanted = state == WAKE_IDLE ? WAKE_POSTED : WAKE_AGAIN;
        if (atomic_compare_exchange_weak(&writer->wake_state, &state, wanted)) {
            if (wanted == WAKE_POSTED) {
                cistern_io_post(writer->io, &writer->wake);
            }
            return;
        }
    }
}

/* ---- opening ---- */
static uint32_t read_options(
    const struct cistern_writer_options *options, struct job *job, struct cistern_error *error)
{
    if (options->job_name == NULL || options->key_group_hash == NULL) {
        return cistern_fail(error, CISTERN_INVALID,
            options->job_name == NULL ? "job_name" : "key_group_hash", "is required");
    }
    if (strlen(options->job_name) >= sizeof job->name ||
        strlen(options->key_group_hash) >= sizeof job->key_group_hash) {
        return cistern_fail(
            error, CISTERN_INVALID, options->job_name, "a job name has at most 64 bytes");
    }
    if (options->slot_count == 0 || options->slot_count > MANIFEST_SLICES_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "slot_count", "%u is not in 1..%u",
            options->slot_count, MANIFEST_SLICES_MAX);
    }
    snprintf(job->name, sizeof job->name, "%s", options->job_name);
    snprintf(job->key_group_hash, sizeof job->key_group_hash, "%s", options->key_group_hash);
    job->max_parallelism = options->max_parallelism;
    return job_check(job, error);
}

static uint32_t take_lock(
    struct cistern_writer *writer, uint32_t takeover, struct cistern_error *error)
{
    struct store_lock_holder holder = {0};
    uint32_t status = store_lock(writer->store, &holder, error);
    if (status == CISTERN_OK) {
        writer->is_locked = 1;
        return CISTERN_OK;
    }
    if (status != CISTERN_BUSY) {
        return status;
    }
    int gone = holder.state == STORE_HOLDER_STOPPED || holder.state == STORE_HOLDER_NONE;
    if (!takeover && !gone) {
        return cistern_fail(error, CISTERN_BUSY, cistern_store_uri(writer->store),
            "another writer holds this root: %.150s. End it, or take over: it will find itself "
            "fenced",
            holder.text);
    }
    cistern_log(CISTERN_LOG_WARNING, "%s: taking over from a writer that %s: %s",
        cistern_store_uri(writer->store), gone ? "is stopped or gone" : "lives", holder.text);
    status = store_lock_take_over(writer->store, error);
    writer->is_locked = status == CISTERN_OK;
    return status;
}

static uint32_t check_job(
    struct cistern_writer *writer, const struct job *wanted, struct cistern_error *error)
{
    const struct job *job = &writer->job;
    const char *root = cistern_store_uri(writer->store);
    if (strcmp(job->name, wanted->name) != 0) {
        return cistern_fail(error, CISTERN_MISMATCH, root,
            "the root belongs to job \"%s\", not to \"%s\"", job->name, wanted->name);
    }
    if (job->max_parallelism != wanted->max_parallelism) {
        return cistern_fail(error, CISTERN_MISMATCH, root,
            "the root has max parallelism %u, the job %u; it is fixed for ever",
            job->max_parallelism, wanted->max_parallelism);
    }
    if (strcmp(job->key_group_hash, wanted->key_group_hash) != 0) {
        return cistern_fail(error, CISTERN_MISMATCH, root,
            "the root's key groups come from \"%s\", the job's from \"%s\"", job->key_group_hash,
            wanted->key_group_hash);
    }
    return CISTERN_OK;
}

static uint32_t open_job(
    struct cistern_writer *writer, struct job *wanted, struct cistern_error *error)
{
    uint32_t status = job_load(&writer->place, &writer->job, error);
    if (status == CISTERN_NOT_FOUND) {
        cistern_put_u64_be(wanted->id, cistern_io_random(writer->io));
        cistern_put_u64_be(wanted->id + 8, cistern_io_random(writer->io));
        wanted->created_ms = cistern_io_wall_ms(writer->io);
        status = job_create(&writer->place, wanted, error);
        if (status == CISTERN_OK || status == CISTERN_EXISTS) {
            status = job_load(&writer->place, &writer->job, error);
        }
    }
    return status == CISTERN_OK ? check_job(writer, wanted, error) : status;
}

static uint32_t make_layout(struct cistern_writer *writer, struct cistern_error *error)
{
    static const char *const names[] = {"log", "chk", "data", "tmp"};
    uint32_t status = CISTERN_OK;
    for (uint32_t index = 0; index < sizeof names / sizeof *names && status == CISTERN_OK;
         index++) {
        status = place_make_directory(&writer->place, names[index], error);
    }
    return status;
}

static uint32_t newest_epoch(
    const struct commit_log *log, uint64_t *ret_epoch, struct cistern_error *error)
{
    struct commit_record newest;
    *ret_epoch = 0;
    if (log->next_number == log->floor) {
        return CISTERN_OK;
    }
    uint32_t status = commit_log_read(log, log->next_number - 1, &newest, error);
    *ret_epoch = status == CISTERN_OK ? newest.epoch : 0;
    return status;
}

static uint32_t refuse_existing(
    const struct cistern_writer *writer, const struct catalog *catalog, struct cistern_error *error)
{
    for (uint32_t index = 0; index < catalog->count; index++) {
        if (!catalog->entries[index].is_savepoint) {
            return cistern_fail(error, CISTERN_EXISTS, cistern_store_uri(writer->store),
                "the root holds checkpoint %llu of this job: restore latest to continue from it, "
                "or choose another directory",
                (unsigned long long)catalog->entries[index].checkpoint_id);
        }
    }
    return CISTERN_OK;
}

static uint32_t take_epoch(struct cistern_writer *writer, uint32_t start, struct catalog *catalog,
    struct cistern_error *error)
{
    uint32_t status = CISTERN_FENCED;
    for (uint32_t tries = 0; tries < TAKEOVER_TRIES_MAX && status == CISTERN_FENCED; tries++) {
        uint64_t epoch;
        catalog_deinit(catalog);
        status = commit_log_open(&writer->log, writer->store, error);
        if (status == CISTERN_OK) {
            status = newest_epoch(&writer->log, &epoch, error);
        }
        if (status == CISTERN_OK) {
            status = catalog_load(catalog, &writer->log, error);
        }
        if (status == CISTERN_OK && start == CISTERN_START_NEW) {
            status = refuse_existing(writer, catalog, error);
        }
        if (status == CISTERN_OK) {
            struct commit_record record = {
                .kind = COMMIT_TAKEOVER, .checkpoint_id = catalog->checkpoint_id_max};
            writer->log.epoch = epoch + 1;
            status = commit_log_append(&writer->log, &record, error);
        }
    }
    writer->latest_checkpoint_id = catalog->checkpoint_id_max;
    writer->damaged_records = catalog->damaged_records;
    return status;
}

static uint32_t make_own_directories(struct cistern_writer *writer, struct cistern_error *error)
{
    char name[NAME_BYTES_MAX];
    uint32_t status = CISTERN_OK;
    for (uint32_t slot = 0; slot < writer->slot_count && status == CISTERN_OK; slot++) {
        snprintf(name, sizeof name, "data/e%04llx/w%04x", (unsigned long long)writer->log.epoch,
            slot + 1);
        status = place_make_directory(&writer->place, name, error);
    }
    if (status != CISTERN_OK || cistern_store_path(writer->store) == NULL) {
        return status;
    }
    snprintf(name, sizeof name, "tmp/local-e%04llx", (unsigned long long)writer->log.epoch);
    status = place_make_directory(&writer->place, name, error);
    if (status == CISTERN_OK) {
        writer->local_directory = text_path("%s/%s", cistern_store_path(writer->store), name);
        if (writer->local_directory == NULL) {
            status = cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a path");
        }
    }
    return status;
}

static uint32_t open_root(struct cistern_writer *writer,
    const struct cistern_writer_options *options, struct job *job, struct cistern_error *error)
{
    struct catalog catalog = {0};
    uint32_t status = take_lock(writer, options->takeover, error);
    if (status == CISTERN_OK) {
        status = open_job(writer, job, error);
    }
    if (status == CISTERN_OK) {
        status = make_layout(writer, error);
    }
    if (status == CISTERN_OK) {
        status = take_epoch(writer, options->start, &catalog, error);
    }
    if (status == CISTERN_OK) {
        status = store_lock_describe(writer->store, writer->log.epoch, error);
    }
    if (status == CISTERN_OK) {
        status = make_own_directories(writer, error);
    }
    if (status == CISTERN_OK) {
        status = writer_load_published(writer, &catalog, error);
    }
    catalog_deinit(&catalog);
    return status;
}

uint32_t cistern_writer_open_sized(struct cistern_store *store,
    const struct cistern_writer_options *given, uint64_t options_bytes,
    struct cistern_writer **ret_writer, struct cistern_error *error)
{
    struct cistern_writer_options options;
    struct job job = {0};
    uint32_t status = cistern_options_read(
        &options, sizeof options, given, options_bytes, "cistern_writer_options", error);
    if (status == CISTERN_OK) {
        status = read_options(&options, &job, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_writer *writer = cistern_allocate_zeroed(1, sizeof *writer);
    if (writer == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a writer");
    }
    writer->store = store;
    writer->io = store_io(store);
    writer->place = place_of_store(store);
    writer->slot_count = options.slot_count;
    writer->wake = (struct cistern_io_task){.run = run_wake, .arg = writer};
    (void)pthread_mutex_init(&writer->lock, NULL);
    writer->sequences = cistern_allocate_zeroed(options.slot_count, sizeof *writer->sequences);
    status = writer->sequences == NULL
                 ? cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for a writer")
                 : open_root(writer, &options, &job, error);
    if (status != CISTERN_OK) {
        cistern_writer_close(writer);
        return status;
    }
    *ret_writer = writer;
    return CISTERN_OK;
}

/* Until the last wake-up that was posted has run. */
static void wait_for_wake(struct cistern_writer *writer)
{
    while (atomic_load(&writer->wake_state) != WAKE_IDLE) {
        if (cistern_io_engine_of(writer->io) != CISTERN_IO_SIMULATED ||
            cistern_io_step(writer->io) == 0) {
            cistern_sleep_ns(100000);
        }
    }
}

static void release_dead(struct cistern_writer *writer)
{
    while (writer->dead != NULL) {
        struct part *next = writer->dead->next_dead;
        cistern_release(writer->dead);
        writer->dead = next;
    }
}

void cistern_writer_close(struct cistern_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    assert(writer->uploads == NULL);
    wait_for_wake(writer);
    if (writer->log.epoch != 0 && !writer->log.has_doubt) {
        writer_remove_dead(writer);
    }
    /* files of attempts that were never discarded go with the next holder's sweep */
    while (writer->attempts != NULL) {
        struct stored *next = writer->attempts->next;
        stored_release(writer->attempts, &writer->dead);
        writer->attempts = next;
    }
    while (writer->published != NULL) {
        struct published *next = writer->published->next;
        published_release(writer->published, &writer->dead);
        writer->published = next;
    }
    release_dead(writer);
    if (writer->is_locked) {
        store_unlock(writer->store);
    }
    (void)pthread_mutex_destroy(&writer->lock);
    cistern_release(writer->local_directory);
    cistern_release(writer->sequences);
    cistern_release(writer);
}

uint64_t cistern_writer_epoch(const struct cistern_writer *writer)
{
    return writer->log.epoch;
}

uint64_t cistern_writer_latest_checkpoint_id(const struct cistern_writer *writer)
{
    return writer->latest_checkpoint_id;
}

const char *cistern_writer_local_directory(const struct cistern_writer *writer)
{
    return writer->local_directory;
}

uint32_t cistern_writer_check(struct cistern_writer *writer, struct cistern_error *error)
{
    return commit_log_probe(&writer->log, error);
}
