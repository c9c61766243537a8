/* run.c -- a job's life: acquire in order, run, write the result, give back in reverse; see
 * run.h. */
#include "run.h"
#include "complaint.h"
#include "reading.h"
#include "sorter.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CURSOR_ENTRIES 256u
#define HOLDERS_TEXT_BYTES 8192u
#define JOB_NAME "wordcount"
#define MAIL_BASE 32u
#define MAIL_PER_WORKER 8u /* begun, declined or uploaded, left: of at most two attempts */

/* ---- before anything is made ---- */

static int is_memory(const char *uri)
{
    return uri != NULL && strncmp(uri, "memory:", 7) == 0;
}

/* What a run of ours makes in a root: a folder with nothing else may be one that was killed
 * before its JOB was there. */
static int name_is_ours(const char *name)
{
    static const char *const ours[] = {".", "..", "LOCK", "log", "chk", "data", "tmp", "sav"};
    for (uint32_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (strcmp(name, ours[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* --restore latest wants a root; it must not make one out of a wrong path. */
static uint32_t root_check(struct run *run)
{
    const struct run_settings *settings = run->settings;
    if (settings->restore == NULL) {
        return CISTERN_OK;
    }
    if (strcmp(settings->restore, "latest") != 0) {
        return restore_check(run);
    }
    if (is_memory(settings->checkpoint_dir)) {
        return cistern_fail(&run->error, CISTERN_NOT_FOUND, settings->checkpoint_dir,
            "nothing to restore: checkpoints were kept in memory, and went with the process that "
            "took them");
    }
    const char *path = reading_path(settings->checkpoint_dir);
    DIR *directory = opendir(path);
    if (directory == NULL) {
        if (reading_refuse_foreign(path, &run->error) == CISTERN_UNSUPPORTED) {
            return CISTERN_UNSUPPORTED;
        }
        return cistern_fail_errno(&run->error, errno, path, "nothing to restore");
    }
    uint32_t has_job = 0, has_other = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        has_job |= strcmp(entry->d_name, "JOB") == 0;
        has_other |= (uint32_t)!name_is_ours(entry->d_name);
    }
    (void)closedir(directory);
    if (!has_job && has_other) {
        return cistern_fail(&run->error, CISTERN_NOT_FOUND, path,
            "nothing to restore: it is no folder of checkpoints (no JOB)");
    }
    return CISTERN_OK;
}

static uint32_t inputs_find(struct run *run)
{
    const struct run_settings *settings = run->settings;
    const char *const written[] = {settings->output, settings->report, settings->metrics,
        settings->savepoint, settings->work_dir,
        settings->checkpoint_dir != NULL && !is_memory(settings->checkpoint_dir)
            ? reading_path(settings->checkpoint_dir)
            : NULL};
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < sizeof written / sizeof written[0] && status == CISTERN_OK; i++) {
        if (written[i] != NULL) {
            status = input_list_exclude(&run->inputs, written[i], &run->error);
        }
    }
    for (uint32_t i = 0; i < run->settings->inputs.count && status == CISTERN_OK; i++) {
        status = input_list_add(&run->inputs, run->settings->inputs.items[i], &run->error);
    }
    return status;
}

static void signals_block(void)
{
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGINT);
    sigaddset(&both, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &both,
        NULL); /* main takes them through a descriptor; threads inherit the block */
}

/* Everything that is part of the baseline: allocated and touched before the pool is there. */
static uint32_t buffers_init(struct run *run)
{
    run->workers = cistern_allocate_zeroed(run->slot_count, sizeof run->workers[0]);
    run->inboxes = cistern_allocate_zeroed(run->slot_count, sizeof run->inboxes[0]);
    if (run->workers == NULL || run->inboxes == NULL) {
        return cistern_fail(
            &run->error, CISTERN_NO_MEMORY, "--slots", "no memory for %u slots", run->slot_count);
    }
    uint32_t status =
        mail_init(&run->mail, MAIL_BASE + MAIL_PER_WORKER * run->slot_count, &run->error);
    for (uint32_t i = 0; i < run->slot_count && status == CISTERN_OK; i++) {
        status = worker_init(&run->workers[i], i, &run->mail, &run->error);
        run->inboxes[i] = &run->workers[i].inbox;
    }
    return status == CISTERN_OK ? source_init(&run->source, run->slot_count, &run->error) : status;
}

/* ---- the library's objects ---- */

static uint32_t pool_open(struct run *run)
{
    struct cistern_pool_options options = {.budget_bytes = run->settings->managed_bytes,
        .slot_count_max = run->slot_count,
        .accounting = CISTERN_ACCOUNTING_OWNED};
    uint32_t status = cistern_pool_create(&options, &run->pool, &run->error);
    if (status == CISTERN_UNSUPPORTED) {
        complaint_warn("%s; the budget covers what cistern allocates, the rest is estimated",
            run->error.message);
        options.accounting = CISTERN_ACCOUNTING_GUEST;
        status = cistern_pool_create(&options, &run->pool, &run->error);
    }
    run->too_small = status == CISTERN_INVALID;
    if (run->too_small) {
        run->error.object[0] = '\0'; /* the message names the option */
    }
    return status;
}

static uint32_t io_open(struct run *run)
{
    static const char *const engines[] = {
        [CISTERN_IO_AUTO] = "auto", [CISTERN_IO_URING] = "uring", [CISTERN_IO_THREADS] = "threads"};
    struct cistern_io_options options = {0};
    for (uint32_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        options.engine = strcmp(engines[i], run->settings->io) == 0 ? i : options.engine;
    }
    uint32_t status = cistern_io_create(run->pool, &options, &run->io, &run->error);
    if (status == CISTERN_OK) {
        run->report.io_engine = cistern_io_engine_name(cistern_io_engine_of(run->io));
    }
    return status;
}

/* JOB and LOCK are made here, as early as can be: from now on a restart finds a root. */
static uint32_t writer_open(struct run *run)
{
    const struct run_settings *settings = run->settings;
    if (settings->checkpoint_dir == NULL) {
        return settings->restore != NULL ? io_open(run) : CISTERN_OK;
    }
    uint32_t status = io_open(run);
    if (status == CISTERN_OK) {
        status = cistern_store_open(run->io, settings->checkpoint_dir, 1, &run->store, &run->error);
    }
    if (status == CISTERN_OK) {
        struct cistern_writer_options options = {.job_name = JOB_NAME,
            .key_group_hash = "bytes-xxh3",
            .max_parallelism = run->max_parallelism,
            .takeover = settings->takeover,
            .slot_count = run->slot_count,
            .start = settings->restore != NULL ? CISTERN_START_CONTINUE : CISTERN_START_NEW};
        status = cistern_writer_open(run->store, &options, &run->writer, &run->error);
    }
    return status;
}

static const char *scratch_parent(const struct run *run)
{
    if (run->settings->work_dir != NULL) {
        return run->settings->work_dir;
    }
    if (run->output.directory != NULL && !run->output.in_place) {
        return run->output.directory;
    }
    const char *directory = getenv("TMPDIR");
    return directory != NULL && directory[0] != '\0' ? directory : "/tmp";
}

/* Before anything is counted: a folder that cannot be made must not be found out at the end. */
static uint32_t work_directory_make(struct run *run)
{
    const char *directory = run->settings->work_dir;
    if (directory != NULL && mkdir(directory, 0777) != 0 && errno != EEXIST) {
        return cistern_fail_errno(
            &run->error, errno, directory, "cannot make the directory for working files");
    }
    return CISTERN_OK;
}

static uint32_t local_directory_open(struct run *run)
{
    const char *ready = run->writer != NULL ? cistern_writer_local_directory(run->writer) : NULL;
    if (ready != NULL && run->settings->work_dir == NULL) {
        run->local_directory = cistern_duplicate_string(ready);
        return run->local_directory != NULL
                   ? CISTERN_OK
                   : cistern_fail(&run->error, CISTERN_NO_MEMORY, ready, "no memory for its name");
    }
    char directory[4200];
    const char *parent = scratch_parent(run);
    int length = snprintf(directory, sizeof directory, "%s/cistern-XXXXXX", parent);
    if (length < 0 || (size_t)length >= sizeof directory) {
        return cistern_fail(&run->error, CISTERN_INVALID, parent, "the path is too long");
    }
    if (mkdtemp(directory) == NULL) {
        return cistern_fail_errno(
            &run->error, errno, parent, "cannot make a directory for working files");
    }
    run->own_local = 1;
    run->local_directory = cistern_duplicate_string(directory);
    if (run->local_directory == NULL) {
        (void)rmdir(directory);
        return cistern_fail(&run->error, CISTERN_NO_MEMORY, directory, "no memory for its name");
    }
    return CISTERN_OK;
}

static uint32_t slots_open(struct run *run)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < run->slot_count && status == CISTERN_OK; i++) {
        status = cistern_slot_open(run->pool, NULL, &run->workers[i].slot, &run->error);
        run->workers[i].writer = run->writer;
    }
    return status;
}

/* ---- the result ---- */

static uint32_t worker_drain(
    struct worker *worker, struct sorter *sorter, struct cistern_error *error)
{
    struct cistern_entry entries[CURSOR_ENTRIES];
    struct cistern_cursor *cursor = NULL;
    uint32_t status = cistern_entries_open(worker->words, &cursor, error);
    while (status == CISTERN_OK) {
        uint32_t count = 0;
        status = cistern_cursor_next(cursor, entries, CURSOR_ENTRIES, &count, error);
        if (status != CISTERN_OK || count == 0) {
            break;
        }
        for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
            status = sorter_add(
                sorter, entries[i].address.key, cistern_get_u64_be(entries[i].value.data), error);
        }
    }
    if (cursor != NULL) {
        cistern_cursor_close(cursor);
    }
    return status;
}

static uint32_t line_emit(
    void *arg, struct cistern_span word, uint64_t count, struct cistern_error *error)
{
    return output_line(arg, word, count, error);
}

static uint32_t result_sort(struct run *run, struct cistern_component *component)
{
    struct sorter *sorter = NULL;
    struct sorter_options options = {.component = component, .directory = scratch_parent(run)};
    uint32_t status = sorter_create(&options, &sorter, &run->error);
    for (uint32_t i = 0; i < run->slot_count && status == CISTERN_OK; i++) {
        status = worker_drain(&run->workers[i], sorter, &run->error);
    }
    /* A fenced writer must write nothing, and standard output cannot be taken back: asked before
     * the first byte. */
    if (status == CISTERN_OK && run->writer != NULL) {
        status = cistern_writer_check(run->writer, &run->error);
    }
    if (status == CISTERN_OK) {
        status = output_open(&run->output, &run->error);
    }
    if (status == CISTERN_OK) {
        status = sorter_finish(sorter, line_emit, &run->output, &run->error);
    }
    sorter_destroy(sorter);
    return status;
}

static uint32_t result_write(struct run *run)
{
    struct cistern_component_options options = {
        .name = "sort", .reclaim_class = CISTERN_RECLAIM_NEVER};
    struct cistern_component *component = NULL;
    uint32_t status = cistern_component_open(
        cistern_pool_process_slot(run->pool), &options, &component, &run->error);
    if (status == CISTERN_OK) {
        status = result_sort(run, component);
        cistern_component_close(component);
    }
    if (status == CISTERN_OK) {
        status = output_sync(&run->output, &run->error);
    }
    if (status == CISTERN_OK && run->writer != NULL) {
        status = cistern_writer_check(run->writer, &run->error);
    }
    if (status == CISTERN_OK) {
        status = output_commit(&run->output, &run->error);
    }
    run->report.entries = run->output.line_count;
    if (status != CISTERN_OK || run->writer == NULL) {
        return status;
    }
    if (run->confirmed_id == 0) {
        complaint_warn("the output is complete, but no checkpoint holds its end: a restart counts "
                       "from the last one");
        return CISTERN_OK;
    }
    if (run->confirmed_id == run->restored_id && run->restored_finished) {
        return CISTERN_OK; /* finished before: the same output was written again */
    }
    return cistern_writer_finish(run->writer, run->confirmed_id, &run->error);
}

/* ---- a life ---- */

uint32_t run_ask_fence(struct run *run, uint32_t status, struct cistern_error *error)
{
    struct cistern_error fenced;
    cistern_error_clear(&fenced);
    if (status == CISTERN_OK || status == CISTERN_FENCED || run->writer == NULL ||
        cistern_writer_check(run->writer, &fenced) != CISTERN_FENCED) {
        return status;
    }
    fenced.status = CISTERN_FENCED;
    *error = fenced;
    return CISTERN_FENCED;
}

static uint32_t job_prepare(struct run *run)
{
    uint32_t status = inputs_find(run);
    if (status == CISTERN_OK) {
        status = root_check(run);
    }
    if (status == CISTERN_OK) {
        status = savepoint_check(run);
    }
    if (status == CISTERN_OK) {
        status = output_init(&run->output, run->settings->output, &run->error);
    }
    if (status == CISTERN_OK) {
        const struct run_settings *settings = run->settings;
        status = report_init(&run->report, settings->report, settings->metrics,
            settings->metrics_interval_ns, &run->error);
        run->report.backend = run->settings->backend;
        run->report.io_engine = "none";
        run->report.slot_count = run->slot_count;
    }
    return status == CISTERN_OK ? buffers_init(run) : status;
}

/* Who holds what, while they still hold it: a refusal alone names one slot. */
static void holders_show(const struct run *run)
{
    char text[HOLDERS_TEXT_BYTES];
    (void)cistern_pool_describe(run->pool, text, sizeof text);
    fputs(text, stderr);
}

static uint32_t job_live(struct run *run)
{
    uint32_t status = work_directory_make(run);
    if (status == CISTERN_OK) {
        status = pool_open(run);
    }
    if (status == CISTERN_OK) {
        status = writer_open(run);
    }
    if (status == CISTERN_OK && (run->use_rocks || run->settings->restore != NULL)) {
        status = local_directory_open(run);
    }
    if (status == CISTERN_OK) {
        status = slots_open(run);
    }
    if (status == CISTERN_OK) {
        status = restore_job(run);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    status = loop_run(run);
    if (status == CISTERN_OK && run->stopped) {
        complaint_note("stopped after %llu records; continue with --restore latest",
            (unsigned long long)run->report.records);
    } else if (status == CISTERN_OK) {
        status = result_write(run);
    }
    status = run_ask_fence(run, status, &run->error);
    if (status == CISTERN_LIMIT) {
        holders_show(run);
    }
    struct cistern_error error;
    cistern_error_clear(&error);
    if (run->report.finished_ns != 0) {
        run->report.finished_ns = cistern_now_ns(); /* the output is part of the job's time */
        uint32_t reported = report_write(&run->report, run->pool, &error);
        if (status == CISTERN_OK && reported != CISTERN_OK) {
            run->error = error;
            status = reported;
        }
    }
    return status;
}

static void leak_warn(uint32_t status, const struct cistern_error *error)
{
    if (status != CISTERN_OK) {
        complaint_warn("%s (%s)", error->message, error->object);
    }
}

static void job_end(struct run *run)
{
    struct cistern_error error;
    cistern_error_clear(&error);
    for (uint32_t i = 0; run->workers != NULL && i < run->slot_count; i++) {
        if (run->workers[i].backend != NULL) {
            leak_warn(cistern_backend_close(run->workers[i].backend, &error), &error);
        }
        if (run->workers[i].slot != NULL) {
            leak_warn(cistern_slot_close(run->workers[i].slot, &error), &error);
        }
        worker_deinit(&run->workers[i]);
    }
    cistern_writer_close(run->writer);
    if (run->store != NULL) {
        cistern_store_close(run->store);
    }
    cistern_io_destroy(run->io);
    leak_warn(cistern_pool_destroy(run->pool, &error), &error);
    if (run->own_local && run->local_directory != NULL) {
        (void)rmdir(run->local_directory);
    }
    cistern_release(run->local_directory);
    source_deinit(&run->source);
    mail_deinit(&run->mail);
    report_deinit(&run->report);
    output_deinit(&run->output);
    input_list_deinit(&run->inputs);
    cistern_release(run->inboxes);
    cistern_release(run->workers);
}

/* RocksDB's live files are what fills the checkpoint's disk unless they are told to be elsewhere. */
static const char *advice_for_space(const struct run *run)
{
    if (!run->use_rocks || run->settings->work_dir != NULL || run->writer == NULL) {
        return NULL;
    }
    return "free space, or put RocksDB's live files on another disk with --work-dir DIR; the last "
           "checkpoint stays usable: --restore latest";
}

static const char *advice_for(const struct run *run, uint32_t status)
{
    if (run->too_small) {
        return "raise --managed (or use fewer --slots)";
    }
    switch (status) {
    case CISTERN_LIMIT:
        return "raise --managed, or use --backend rocks; the last checkpoint stays usable: "
               "--restore latest";
    case CISTERN_EXISTS:
        return "continue with --restore latest, or choose another --checkpoint-dir";
    case CISTERN_BUSY:
        return "wait for the other run to end, or take its place with --takeover";
    case CISTERN_NOT_FOUND:
        return "check the path";
    case CISTERN_UNSUPPORTED:
        if (run->io == NULL && strcmp(run->settings->io, "uring") == 0 &&
            strcmp(run->error.object, "io_uring") == 0) {
            return "--io auto takes what there is, --io threads needs no ring";
        }
        return NULL;
    case CISTERN_NO_SPACE:
        return advice_for_space(run);
    default:
        return NULL;
    }
}

int run_wordcount(const struct run_settings *settings)
{
    struct run *run = cistern_allocate_zeroed(1, sizeof *run);
    if (run == NULL) {
        complaint_note("no memory to begin with");
        return EXIT_OPERATIONAL;
    }
    run->settings = settings;
    run->slot_count = (uint32_t)settings->slots;
    run->max_parallelism = (uint32_t)settings->max_parallelism;
    run->use_rocks = strcmp(settings->backend, "rocks") == 0;
    run->output.fd = run->source.fd = run->mail.event_fd = -1;
    cistern_error_clear(&run->error);
    signals_block();
    uint32_t status = job_prepare(run);
    if (status == CISTERN_OK) {
        status = job_live(run);
    }
    int code = EXIT_DONE;
    if (status == CISTERN_OK && settings->savepoint != NULL && !run->savepoint_taken) {
        complaint_note(
            "the savepoint %s was not taken; repeat with --restore latest --savepoint PATH",
            settings->savepoint);
        code = EXIT_OPERATIONAL;
    } else if (status != CISTERN_OK) {
        run->error.status = status;
        code = complaint_print(&run->error, advice_for(run, status));
        code = run->too_small ? EXIT_USAGE : code;
    }
    job_end(run);
    cistern_release(run);
    return code;
}
