/*
 * loop.c -- the host of one job: turns the coordinator's actions into calls, and everyone's
 * messages into its events.
 *
 * Phases: RUNNING until the source is done (or a signal stops it), then a last checkpoint, then the
 *         savepoint if one is asked for,
 * then LEAVING. A failure goes to LEAVING from anywhere. The loop ends when source and workers have
 * left and no upload is under way.
 * Threads: main only; the others are heard through run.mail.
 */
#include "complaint.h"
#include "run.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/coordinator.h"
#include "cistern/error.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define DISCARDS_PENDING_MAX 16u
#define RETAINED_MAX 4096u

enum phase { PHASE_RUNNING, PHASE_LAST_CHECKPOINT, PHASE_SAVEPOINT, PHASE_LEAVING };

struct attempt { /* the checkpoint under way: one at a time */
    uint64_t id;
    uint64_t base_id;
    uint32_t snapshot_kind;
    uint32_t over; /* confirmed or discarded */
    const char *savepoint_directory;
    struct position position;
    int64_t trigger_ns;
    struct report_checkpoint row;
};
struct loop {
    struct run *run;
    struct cistern_coordinator *coordinator; /* NULL = no checkpoints */
    uint32_t phase;
    uint32_t asked;  /* in this phase a checkpoint was triggered */
    uint32_t wanted; /* --checkpoint-every was passed */
    uint32_t workers_left;
    uint32_t source_left;
    uint32_t uploads_active;
    uint32_t failed;
    int signal_fd;
    struct position end; /* where the source stopped */
    struct attempt attempt;
    uint64_t discards[DISCARDS_PENDING_MAX]; /* given up while an upload of theirs was under way */
    uint32_t discard_count;
};

static int64_t now_ms(void)
{
    return cistern_now_ns() / 1000000;
}

static void loop_fail(struct loop *loop, const struct cistern_error *error)
{
    if (loop->failed) {
        return; /* what follows from the first failure is not another reason */
    }
    loop->failed = 1;
    loop->run->error = *error;
    loop->run->error.status = run_ask_fence(loop->run, error->status, &loop->run->error);
    loop->phase = PHASE_LEAVING;
    source_abort(&loop->run->source);
    for (uint32_t i = 0; i < loop->run->slot_count; i++) {
        inbox_close(&loop->run->workers[i].inbox);
        worker_cancel_upload(&loop->run->workers[i], loop->attempt.id);
    }
}

static void notify_all(struct loop *loop, uint64_t checkpoint_id, uint32_t outcome)
{
    for (uint32_t i = 0; i < loop->run->slot_count; i++) {
        inbox_notify(&loop->run->workers[i].inbox, (struct notice){checkpoint_id, outcome});
    }
}

/* ---- the coordinator's actions ---- */

static void action_barrier(struct loop *loop, const struct cistern_action *action)
{
    const char *directory =
        action->savepoint_directory != NULL ? loop->run->settings->savepoint : NULL;
    loop->attempt = (struct attempt){.id = action->checkpoint_id,
        .base_id = action->base_checkpoint_id,
        .snapshot_kind = action->snapshot_kind,
        .savepoint_directory = directory,
        .trigger_ns = cistern_now_ns()};
    loop->attempt.row.id = action->checkpoint_id;
    loop->attempt.row.savepoint = directory != NULL;
    loop->attempt.row.trigger_ms =
        (uint64_t)(loop->attempt.trigger_ns - loop->run->report.started_ns) / 1000000;
    struct barrier barrier = {.checkpoint_id = action->checkpoint_id,
        .base_checkpoint_id = action->base_checkpoint_id,
        .snapshot_kind = action->snapshot_kind,
        .savepoint_directory = directory};
    source_barrier(&loop->run->source, &barrier);
}

static uint32_t attempt_publish(
    struct loop *loop, const struct cistern_action *action, struct cistern_error *error)
{
    char *text = cistern_allocate(POSITION_TEXT_BYTES_MAX);
    uint64_t text_bytes = 0;
    if (text == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "job state", "no memory for the source position");
    }
    uint32_t status =
        position_encode(&loop->attempt.position, &loop->run->inputs, text, &text_bytes, error);
    if (status == CISTERN_OK) {
        struct cistern_publish publish = {.checkpoint_id = action->checkpoint_id,
            .base_checkpoint_id = loop->attempt.base_id,
            .kind = loop->attempt.snapshot_kind,
            .slice_count = loop->run->slot_count,
            .slices = action->slices,
            .job_state = {text, text_bytes},
            .savepoint_directory = loop->attempt.savepoint_directory,
            .operator_name = "count"};
        status = cistern_writer_publish(loop->run->writer, &publish, error);
    }
    cistern_release(text);
    return status;
}

static void action_publish(struct loop *loop, const struct cistern_action *action)
{
    struct cistern_error error;
    cistern_error_clear(&error);
    uint32_t status = attempt_publish(loop, action, &error);
    if (status == CISTERN_FENCED) {
        loop_fail(loop, &error);
    }
    error.status = status;
    cistern_coordinator_published(loop->coordinator, action->checkpoint_id, status, &error);
}

static void action_confirm(struct loop *loop, const struct cistern_action *action)
{
    struct attempt *attempt = &loop->attempt;
    notify_all(loop, action->checkpoint_id, CISTERN_CONFIRMED);
    if (action->checkpoint_id != attempt->id) {
        return;
    }
    attempt->over = 1;
    attempt->row.async_ms = (uint64_t)(cistern_now_ns() - attempt->trigger_ns) / 1000000;
    report_checkpoint(&loop->run->report, &attempt->row);
    loop->run->savepoint_taken |= attempt->savepoint_directory != NULL;
    if (attempt->savepoint_directory == NULL && loop->phase >= PHASE_LAST_CHECKPOINT &&
        attempt->position.records == loop->end.records) {
        loop->run->confirmed_id = attempt->id;
    }
}

static void action_discard(struct loop *loop, const struct cistern_action *action)
{
    struct cistern_error error;
    cistern_error_clear(&error);
    loop->run->report.checkpoints_failed++;
    loop->attempt.over |= action->checkpoint_id == loop->attempt.id;
    if (!loop->failed && run_ask_fence(loop->run, CISTERN_ABORTED, &error) == CISTERN_FENCED) {
        loop_fail(loop, &error); /* a fenced job does not go on */
    }
    if (!loop->failed) {
        const struct cistern_error *why = action->error;
        complaint_warn("%s %" PRIu64 " failed, the job goes on: %s (%s)",
            loop->phase == PHASE_SAVEPOINT ? "savepoint" : "checkpoint", action->checkpoint_id,
            why != NULL && why->message[0] != '\0' ? why->message : "no reason was given",
            why != NULL ? why->object : "");
    }
    notify_all(loop, action->checkpoint_id, CISTERN_DISCARDED);
    for (uint32_t i = 0; i < loop->run->slot_count; i++) {
        worker_cancel_upload(&loop->run->workers[i], action->checkpoint_id);
    }
    if (loop->uploads_active > 0 && loop->discard_count < DISCARDS_PENDING_MAX) {
        loop->discards[loop->discard_count++] = action->checkpoint_id;
    } else {
        cistern_writer_discard(loop->run->writer, action->checkpoint_id);
    }
}

static void action_subsume(struct loop *loop, const struct cistern_action *action)
{
    struct cistern_error error;
    cistern_error_clear(&error);
    notify_all(loop, action->checkpoint_id, CISTERN_SUBSUMED);
    uint32_t status = cistern_writer_retire(loop->run->writer, action->checkpoint_id, &error);
    if (status == CISTERN_FENCED) {
        loop_fail(loop, &error);
    } else if (status != CISTERN_OK) {
        complaint_warn("checkpoint %" PRIu64 " could not be removed: %s (%s)",
            action->checkpoint_id, error.message, error.object);
    }
}

static void actions_take(struct loop *loop)
{
    struct cistern_action action;
    for (cistern_coordinator_next(loop->coordinator, &action); action.kind != CISTERN_ACTION_NONE;
         cistern_coordinator_next(loop->coordinator, &action)) {
        switch (action.kind) {
        case CISTERN_ACTION_BARRIER:
            action_barrier(loop, &action);
            break;
        case CISTERN_ACTION_PUBLISH:
            action_publish(loop, &action);
            break;
        case CISTERN_ACTION_CONFIRM:
            action_confirm(loop, &action);
            break;
        case CISTERN_ACTION_DISCARD:
            action_discard(loop, &action);
            break;
        case CISTERN_ACTION_SUBSUME:
            action_subsume(loop, &action);
            break;
        default:
            if (action.error != NULL) {
                loop_fail(loop, action.error);
            }
        }
    }
}

/* ---- messages ---- */

static void message_uploaded(struct loop *loop, const struct message *message)
{
    loop->uploads_active--;
    if (message->checkpoint_id == loop->attempt.id && message->error.status == CISTERN_OK) {
        struct report_checkpoint *row = &loop->attempt.row;
        row->state_bytes += message->state_bytes;
        row->uploaded_bytes += message->uploaded_bytes;
        row->files_new += message->files_new;
        row->files_reused += message->files_reused;
    }
    if (message->error.status != CISTERN_OK) {
        cistern_coordinator_decline(
            loop->coordinator, message->checkpoint_id, message->worker_index, &message->error);
    } else {
        struct cistern_span slice = {message->slice, message->slice_bytes};
        uint32_t status = cistern_coordinator_acknowledge(
            loop->coordinator, message->checkpoint_id, message->worker_index, slice);
        if (status != CISTERN_OK) {
            struct cistern_error error;
            (void)cistern_fail(&error, status, "slice", "the slice of slot %u could not be kept",
                message->worker_index);
            cistern_coordinator_decline(
                loop->coordinator, message->checkpoint_id, message->worker_index, &error);
        }
    }
    /* given up meanwhile: its files and snapshot are not wanted */
    if (message->checkpoint_id != loop->attempt.id || loop->attempt.over) {
        notify_all(loop, message->checkpoint_id, CISTERN_DISCARDED);
        cistern_writer_discard(loop->run->writer, message->checkpoint_id);
    }
    if (loop->uploads_active == 0) {
        for (uint32_t i = 0; i < loop->discard_count; i++) {
            cistern_writer_discard(loop->run->writer, loop->discards[i]);
        }
        loop->discard_count = 0;
    }
}

static void message_left(struct loop *loop, const struct message *message)
{
    if (message->kind == MESSAGE_SOURCE_LEFT) {
        loop->source_left = 1;
    } else {
        loop->workers_left++;
    }
    if (message->error.status != CISTERN_OK && message->error.status != CISTERN_ABORTED) {
        loop_fail(loop, &message->error);
    }
}

static void message_handle(struct loop *loop, const struct message *message)
{
    switch (message->kind) {
    case MESSAGE_CHECKPOINT_WANTED:
        __atomic_store_n(&loop->run->source.checkpoint_asked, 0, __ATOMIC_RELEASE);
        loop->wanted = 1;
        break;
    case MESSAGE_BARRIER_SENT:
        if (message->checkpoint_id == loop->attempt.id) {
            loop->attempt.position = message->position;
        }
        break;
    case MESSAGE_SOURCE_DONE:
        loop->end = message->position;
        loop->phase = loop->phase == PHASE_RUNNING ? PHASE_LAST_CHECKPOINT : loop->phase;
        loop->asked = 0;
        break;
    case MESSAGE_UPLOAD_BEGUN:
        loop->uploads_active++;
        if (message->checkpoint_id == loop->attempt.id &&
            loop->attempt.row.sync_us < (uint64_t)message->sync_ns / 1000) {
            loop->attempt.row.sync_us = (uint64_t)message->sync_ns / 1000;
        }
        break;
    case MESSAGE_DECLINED:
        cistern_coordinator_decline(
            loop->coordinator, message->checkpoint_id, message->worker_index, &message->error);
        break;
    case MESSAGE_UPLOADED:
        message_uploaded(loop, message);
        break;
    default:
        message_left(loop, message);
    }
}

/* ---- phases ---- */

static int trigger(struct loop *loop, const char *savepoint_directory)
{
    uint64_t id;
    struct cistern_error error;
    cistern_error_clear(&error);
    uint32_t status =
        cistern_coordinator_trigger(loop->coordinator, now_ms(), savepoint_directory, &id, &error);
    if (status != CISTERN_OK && status != CISTERN_BUSY) {
        complaint_warn(
            "no %s: %s", savepoint_directory != NULL ? "savepoint" : "checkpoint", error.message);
    }
    return status != CISTERN_BUSY;
}

static void phase_enter(struct loop *loop, uint32_t phase)
{
    loop->phase = phase;
    loop->asked = 0;
    if (phase == PHASE_LEAVING) {
        source_finish(&loop->run->source);
    }
}

/* The root already has a checkpoint of exactly this end: a finished or just-restored run that
 * read nothing new. */
static int end_is_restored(const struct loop *loop)
{
    return loop->run->restored_id != 0 && loop->end.records == loop->run->start.records &&
           loop->end.file_index == loop->run->start.file_index;
}

static void phase_advance(struct loop *loop)
{
    struct run *run = loop->run;
    if (loop->phase == PHASE_LEAVING ||
        (loop->coordinator != NULL && cistern_coordinator_in_flight(loop->coordinator) > 0)) {
        return;
    }
    if (loop->phase == PHASE_RUNNING) {
        if (loop->wanted && loop->coordinator != NULL && trigger(loop, NULL)) {
            loop->wanted = 0;
        }
        return;
    }
    if (loop->coordinator == NULL) {
        phase_enter(loop, PHASE_LEAVING);
        return;
    }
    if (loop->phase == PHASE_LAST_CHECKPOINT) {
        if (end_is_restored(loop)) {
            run->confirmed_id = run->restored_id;
            loop->asked = 1;
        }
        if (!loop->asked) {
            loop->asked = (uint32_t)trigger(loop, NULL);
            return;
        }
        phase_enter(loop, PHASE_SAVEPOINT);
    }
    if (run->settings->savepoint != NULL && !loop->asked &&
        savepoint_is_there(run, loop->end.records)) {
        complaint_note(
            "the savepoint %s was taken before, at this very end", run->settings->savepoint);
        run->savepoint_taken = 1;
    } else if (run->settings->savepoint != NULL && !loop->asked) {
        loop->asked = (uint32_t)trigger(loop, run->settings->savepoint);
        return;
    }
    phase_enter(loop, PHASE_LEAVING);
}

static void signal_take(struct loop *loop)
{
    struct signalfd_siginfo info;
    if (read(loop->signal_fd, &info, sizeof info) != sizeof info) {
        return;
    }
    report_progress_end(&loop->run->report);
    complaint_note("stopping after signal %u%s; once more ends at once", info.ssi_signo,
        loop->coordinator != NULL ? ": a last checkpoint first" : "");
    loop->run->stopped = 1;
    source_stop(&loop->run->source);
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGINT);
    sigaddset(&both, SIGTERM);
    pthread_sigmask(SIG_UNBLOCK, &both, NULL);
    (void)close(loop->signal_fd);
    loop->signal_fd = -1;
}

static void loop_sleep(struct loop *loop, int64_t report_ns)
{
    int64_t wait_ms = report_ns == INT64_MAX ? 1000 : (report_ns - cistern_now_ns()) / 1000000 + 1;
    if (loop->coordinator != NULL) {
        int64_t wake_ms = cistern_coordinator_wake_ms(loop->coordinator);
        int64_t until_ms = wake_ms == INT64_MAX ? wait_ms : wake_ms - now_ms();
        wait_ms = until_ms < wait_ms ? until_ms : wait_ms;
    }
    wait_ms = wait_ms < 0 ? 0 : wait_ms > 1000 ? 1000 : wait_ms;
    struct pollfd wait_for[2] = {{.fd = loop->run->mail.event_fd, .events = POLLIN},
        {.fd = loop->signal_fd, .events = POLLIN}};
    if (poll(wait_for, 2, (int)wait_ms) > 0) {
        uint64_t rung;
        if (wait_for[0].revents != 0 && read(loop->run->mail.event_fd, &rung, sizeof rung) < 0) {
            /* another reader was never there: nothing was lost, the mail is looked at anyway */
            rung = 0;
        }
        if (loop->signal_fd >= 0 && wait_for[1].revents != 0) {
            signal_take(loop);
        }
    }
}

static void loop_turn(struct loop *loop)
{
    struct message message;
    while (mail_take(&loop->run->mail, &message)) {
        message_handle(loop, &message);
        cistern_release(message.slice);
        if (loop->coordinator != NULL && !loop->failed) {
            actions_take(loop);
        }
    }
    if (loop->coordinator != NULL && !loop->failed) {
        if (loop->phase != PHASE_LEAVING) {
            cistern_coordinator_tick(loop->coordinator, now_ms());
        }
        actions_take(loop);
        phase_advance(loop);
        actions_take(loop);
    } else {
        phase_advance(loop);
    }
}

/* ---- beginning and end ---- */

struct retained {
    uint64_t ids[RETAINED_MAX];
    uint32_t count;
};

static void retained_row(void *arg, const struct cistern_checkpoint_row *row)
{
    struct retained *retained = arg;
    if (!row->is_savepoint && row->complete == 1 && retained->count < RETAINED_MAX) {
        retained->ids[retained->count++] = row->checkpoint_id;
    }
}

static uint32_t coordinator_open(struct loop *loop)
{
    struct run *run = loop->run;
    const struct run_settings *settings = run->settings;
    struct retained *retained = cistern_allocate_zeroed(1, sizeof *retained);
    if (retained == NULL) {
        return cistern_fail(
            &run->error, CISTERN_NO_MEMORY, "coordinator", "no memory for the list of checkpoints");
    }
    uint32_t status =
        cistern_checkpoints_list(run->io, run->store, retained_row, retained, &run->error);
    if (status == CISTERN_OK || status == CISTERN_NOT_FOUND) {
        struct cistern_coordinator_options options = {
            .interval_ms =
                settings->checkpoint_every > 0 ? 0 : settings->checkpoint_interval_ns / 1000000,
            .failures_tolerated = UINT32_MAX,
            .retain_count = (uint32_t)settings->retain,
            .slot_count = run->slot_count,
        };
        status =
            cistern_coordinator_create(&options, cistern_writer_latest_checkpoint_id(run->writer),
                retained->ids, retained->count, &loop->coordinator, &run->error);
    }
    cistern_release(retained);
    return status;
}

static uint32_t threads_start(struct loop *loop)
{
    struct run *run = loop->run;
    uint32_t status = CISTERN_OK;
    uint32_t workers = 0;
    for (; workers < run->slot_count && status == CISTERN_OK; workers++) {
        status = worker_start(&run->workers[workers], &run->error);
    }
    struct source_options source = {.inputs = &run->inputs,
        .start = run->start,
        .inboxes = run->inboxes,
        .worker_count = run->slot_count,
        .max_parallelism = run->max_parallelism,
        .records_per_second = run->settings->rate,
        .checkpoint_every = loop->coordinator != NULL ? run->settings->checkpoint_every : 0,
        .mail = &run->mail};
    if (status == CISTERN_OK) {
        status = source_start(&run->source, &source, &run->error);
    }
    if (status != CISTERN_OK) {
        for (uint32_t i = 0; i < run->slot_count; i++) {
            inbox_close(&run->workers[i].inbox);
            worker_join(&run->workers[i]);
        }
    }
    return status;
}

static int signals_open(void)
{
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGINT);
    sigaddset(&both, SIGTERM);
    /* both are blocked since before the first thread */
    return signalfd(-1, &both, SFD_CLOEXEC | SFD_NONBLOCK);
}

uint32_t loop_run(struct run *run)
{
    struct loop loop = {.run = run, .signal_fd = -1};
    uint32_t status = run->writer != NULL ? coordinator_open(&loop) : CISTERN_OK;
    if (status == CISTERN_OK) {
        report_start(&run->report, run->start.records);
        loop.signal_fd = signals_open();
        status = threads_start(&loop);
    }
    if (status == CISTERN_OK) {
        while (
            loop.workers_left < run->slot_count || !loop.source_left || loop.uploads_active > 0) {
            uint64_t records = __atomic_load_n(&run->source.records_seen, __ATOMIC_RELAXED);
            int64_t report_ns = report_tick(&run->report, run->pool, records);
            loop_turn(&loop);
            if (loop.workers_left < run->slot_count || !loop.source_left ||
                loop.uploads_active > 0) {
                loop_sleep(&loop, report_ns);
            }
        }
        source_join(&run->source);
        for (uint32_t i = 0; i < run->slot_count; i++) {
            worker_join(&run->workers[i]);
        }
        if (loop.failed && loop.attempt.id != 0 && !loop.attempt.over &&
            run->error.status != CISTERN_FENCED) {
            cistern_writer_discard(run->writer, loop.attempt.id);
        }
        run->stopped &= loop.end.file_index < run->inputs.count;
        run->report.records = run->source.records;
        run->report.finished_ns = cistern_now_ns();
        report_progress_end(&run->report);
        status = loop.failed ? run->error.status : CISTERN_OK;
    }
    if (loop.signal_fd >= 0) {
        (void)close(loop.signal_fd);
    }
    cistern_coordinator_destroy(loop.coordinator);
    return status;
}
