/*
 * coordinator.c -- checkpoints as events and actions; see coordinator.h.
 *
 * Each checkpoint is an attempt with a phase; an event moves the phase and queues actions. Nothing
 * here blocks or looks at a clock.
 *   WAITING (slots work) -> COMPLETE (all acknowledged, PUBLISH was given) -> published: CONFIRM,
 *   or failed: DISCARD
 * Full when: in_flight_max attempts are open -> BUSY; the action queue is sized for the worst case
 *            of one event.
 */
#include "cistern/coordinator.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/snapshot.h"

#include <assert.h>
#include <string.h>

#define TIMEOUT_MS_DEFAULT 600000
#define RETAINED_MAX 1024u /* published checkpoints that are kept or wait for their SUBSUME */
#define SLOT_COUNT_MAX 4096u
#define ACTIONS_MAX                                                                                \
    (RETAINED_MAX +                                                                                \
        4u * CISTERN_IN_FLIGHT_MAX) /* a SUBSUME each, and at most two more per attempt */

enum phase { PHASE_FREE, PHASE_WAITING, PHASE_COMPLETE };

struct attempt {
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    int64_t started_ms;
    uint32_t phase;
    uint32_t snapshot_kind;
    uint32_t acknowledged_count;
    char *savepoint_directory;   /* owned */
    struct cistern_span *slices; /* [slot_count]; data owned */
};
struct queued { /* an action, with what it points to where the attempt is gone */
    struct cistern_action action;
    uint32_t has_error;
    struct cistern_error error;
};
struct cistern_coordinator {
    struct cistern_coordinator_options options;
    struct attempt attempts[CISTERN_IN_FLIGHT_MAX];
    uint64_t next_id;
    uint64_t base_id;                /* the last confirmed checkpoint of this run; 0 = none */
    uint64_t retained[RETAINED_MAX]; /* published checkpoints, oldest first */
    uint32_t retained_count;
    uint32_t failures; /* consecutive */
    int64_t last_start_ms;
    int64_t last_end_ms;
    uint32_t ever_ticked;
    uint32_t ended; /* an attempt ended since the last tick */
    uint32_t failed;
    struct queued *queue; /* ring of ACTIONS_MAX */
    uint32_t queue_first;
    uint32_t queue_count;
    struct cistern_error shown; /* what the last action's `error` points to */
};

static struct queued *action_queue(
    struct cistern_coordinator *coordinator, uint32_t kind, const struct attempt *attempt)
{
    assert(coordinator->queue_count < ACTIONS_MAX);
    struct queued *queued =
        &coordinator->queue[(coordinator->queue_first + coordinator->queue_count) % ACTIONS_MAX];
    coordinator->queue_count++;
    memset(queued, 0, sizeof *queued);
    queued->action.kind = kind;
    if (attempt != NULL) {
        queued->action.checkpoint_id = attempt->checkpoint_id;
        queued->action.base_checkpoint_id = attempt->base_checkpoint_id;
        queued->action.snapshot_kind = attempt->snapshot_kind;
    }
    return queued;
}

static void slices_free(struct cistern_coordinator *coordinator, struct attempt *attempt)
{
    for (uint32_t i = 0; attempt->slices != NULL && i < coordinator->options.slot_count; i++) {
        cistern_release((void *)(uintptr_t)attempt->slices[i].data);
    }
    cistern_release(attempt->slices);
    cistern_release(attempt->savepoint_directory);
    memset(attempt, 0, sizeof *attempt);
}

static struct attempt *attempt_find(struct cistern_coordinator *coordinator, uint64_t checkpoint_id)
{
    for (uint32_t i = 0; i < CISTERN_IN_FLIGHT_MAX; i++) {
        struct attempt *attempt = &coordinator->attempts[i];
        if (attempt->phase != PHASE_FREE && attempt->checkpoint_id == checkpoint_id) {
            return attempt;
        }
    }
    return NULL;
}

static void attempt_end(struct cistern_coordinator *coordinator, struct attempt *attempt)
{
    coordinator->ended = 1; /* the next tick says when that was */
    slices_free(coordinator, attempt);
}

static void attempt_discard(struct cistern_coordinator *coordinator, struct attempt *attempt,
    const struct cistern_error *error)
{
    struct queued *queued = action_queue(coordinator, CISTERN_ACTION_DISCARD, attempt);
    queued->has_error = error != NULL;
    if (error != NULL) {
        queued->error = *error;
    }
    uint32_t tolerated = coordinator->options.failures_tolerated;
    coordinator->failures++;
    if (tolerated != UINT32_MAX && coordinator->failures > tolerated && !coordinator->failed) {
        coordinator->failed = 1;
        struct queued *fail = action_queue(coordinator, CISTERN_ACTION_FAIL_JOB, attempt);
        fail->has_error = queued->has_error;
        fail->error = queued->error;
    }
    attempt_end(coordinator, attempt);
}

uint32_t cistern_coordinator_create_sized(const struct cistern_coordinator_options *given,
    uint64_t options_bytes, uint64_t latest_checkpoint_id, const uint64_t *restored_checkpoint_ids,
    uint32_t restored_count, struct cistern_coordinator **ret_coordinator,
    struct cistern_error *error)
{
    struct cistern_coordinator_options options;
    uint32_t status = cistern_options_read(
        &options, sizeof options, given, options_bytes, "cistern_coordinator_options", error);
    if (status != CISTERN_OK) {
        return status;
    }
    options.in_flight_max = options.in_flight_max == 0 ? 1 : options.in_flight_max;
    options.retain_count = options.retain_count == 0 ? 1 : options.retain_count;
    options.timeout_ms = options.timeout_ms == 0 ? TIMEOUT_MS_DEFAULT : options.timeout_ms;
    if (options.slot_count == 0 || options.slot_count > SLOT_COUNT_MAX ||
        options.in_flight_max > CISTERN_IN_FLIGHT_MAX || options.interval_ms < 0 ||
        options.pause_min_ms < 0 || options.timeout_ms < 0) {
        return cistern_fail(error, CISTERN_INVALID, "cistern_coordinator_options",
            "slot_count is 1 to %u, in_flight_max at most %u, times are not negative",
            SLOT_COUNT_MAX, CISTERN_IN_FLIGHT_MAX);
    }
    if (options.retain_count > RETAINED_MAX - CISTERN_IN_FLIGHT_MAX - 1 ||
        restored_count > RETAINED_MAX - CISTERN_IN_FLIGHT_MAX - 1) {
        return cistern_fail(error, CISTERN_LIMIT, "retain_count", "at most %u checkpoints are kept",
            RETAINED_MAX - CISTERN_IN_FLIGHT_MAX - 1);
    }
    struct cistern_coordinator *coordinator = cistern_allocate_zeroed(1, sizeof *coordinator);
    struct queued *queue =
        coordinator != NULL ? cistern_allocate_zeroed(ACTIONS_MAX, sizeof *queue) : NULL;
    if (queue == NULL) {
        cistern_release(coordinator);
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "coordinator", "no memory for the coordinator");
    }
    coordinator->options = options;
    coordinator->queue = queue;
    coordinator->next_id = latest_checkpoint_id + 1;
    for (uint32_t i = 0; i < restored_count; i++) {
        coordinator->retained[i] = restored_checkpoint_ids[i];
    }
    coordinator->retained_count = restored_count;
    *ret_coordinator = coordinator;
    return CISTERN_OK;
}

void cistern_coordinator_destroy(struct cistern_coordinator *coordinator)
{
    if (coordinator == NULL) {
        return;
    }
    for (uint32_t i = 0; i < CISTERN_IN_FLIGHT_MAX; i++) {
        slices_free(coordinator, &coordinator->attempts[i]);
    }
    cistern_release(coordinator->queue);
    cistern_release(coordinator);
}

/* ---- starting ---- */

uint32_t cistern_coordinator_in_flight(const struct cistern_coordinator *coordinator)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < CISTERN_IN_FLIGHT_MAX; i++) {
        count += coordinator->attempts[i].phase != PHASE_FREE;
    }
    return count;
}

static uint32_t attempt_start(struct cistern_coordinator *coordinator, int64_t now_ms,
    const char *savepoint_directory, uint64_t *ret_checkpoint_id, struct cistern_error *error)
{
    struct attempt *attempt = coordinator->attempts;
    while (attempt->phase != PHASE_FREE) {
        attempt++;
    }
    struct cistern_span *slices =
        cistern_allocate_zeroed(coordinator->options.slot_count, sizeof *slices);
    char *directory =
        savepoint_directory != NULL ? cistern_duplicate_string(savepoint_directory) : NULL;
    if (slices == NULL || (savepoint_directory != NULL && directory == NULL)) {
        cistern_release(slices);
        cistern_release(directory);
        return cistern_fail(error, CISTERN_NO_MEMORY, "coordinator", "no memory for a checkpoint");
    }
    *attempt = (struct attempt){.checkpoint_id = coordinator->next_id++,
        .started_ms = now_ms,
        .phase = PHASE_WAITING,
        .savepoint_directory = directory,
        .slices = slices};
    if (savepoint_directory != NULL) {
        attempt->snapshot_kind = CISTERN_SNAPSHOT_CANONICAL;
    } else {
        attempt->base_checkpoint_id = coordinator->base_id;
        attempt->snapshot_kind =
            coordinator->base_id != 0 ? CISTERN_SNAPSHOT_INCREMENT : CISTERN_SNAPSHOT_FULL;
        coordinator->last_start_ms = now_ms;
    }
    action_queue(coordinator, CISTERN_ACTION_BARRIER, attempt);
    *ret_checkpoint_id = attempt->checkpoint_id;
    return CISTERN_OK;
}

uint32_t cistern_coordinator_trigger(struct cistern_coordinator *coordinator, int64_t now_ms,
    const char *savepoint_directory, uint64_t *ret_checkpoint_id, struct cistern_error *error)
{
    if (cistern_coordinator_in_flight(coordinator) >= coordinator->options.in_flight_max) {
        return cistern_fail(error, CISTERN_BUSY, "coordinator",
            "%u checkpoints are under way already", coordinator->options.in_flight_max);
    }
    return attempt_start(coordinator, now_ms, savepoint_directory, ret_checkpoint_id, error);
}

static int64_t next_start_ms(const struct cistern_coordinator *coordinator)
{
    const struct cistern_coordinator_options *options = &coordinator->options;
    if (options->interval_ms == 0 || !coordinator->ever_ticked || coordinator->failed ||
        cistern_coordinator_in_flight(coordinator) >= options->in_flight_max) {
        return INT64_MAX;
    }
    int64_t by_interval = coordinator->last_start_ms + options->interval_ms;
    int64_t by_pause = coordinator->last_end_ms + options->pause_min_ms;
    return by_interval > by_pause ? by_interval : by_pause;
}

void cistern_coordinator_tick(struct cistern_coordinator *coordinator, int64_t now_ms)
{
    if (!coordinator->ever_ticked) {
        coordinator->ever_ticked = 1;
        coordinator->last_start_ms = now_ms;
        coordinator->last_end_ms = now_ms;
    }
    for (uint32_t i = 0; i < CISTERN_IN_FLIGHT_MAX; i++) {
        struct attempt *attempt = &coordinator->attempts[i];
        /* A publication under way is never torn from under the host: it ends with published(). */
        if (attempt->phase == PHASE_WAITING &&
            now_ms - attempt->started_ms >= coordinator->options.timeout_ms) {
            struct cistern_error error;
            cistern_fail(&error, CISTERN_TIMEOUT, "checkpoint", "not complete after %lld ms",
                (long long)coordinator->options.timeout_ms);
            attempt_discard(coordinator, attempt, &error);
        }
    }
    if (coordinator->ended) {
        coordinator->ended = 0;
        coordinator->last_end_ms = now_ms;
    }
    if (now_ms >= next_start_ms(coordinator)) {
        uint64_t checkpoint_id;
        if (attempt_start(coordinator, now_ms, NULL, &checkpoint_id, NULL) != CISTERN_OK) {
            coordinator->last_start_ms = now_ms; /* no memory: the next interval tries again */
        }
    }
}

int64_t cistern_coordinator_wake_ms(const struct cistern_coordinator *coordinator)
{
    int64_t wake = next_start_ms(coordinator);
    for (uint32_t i = 0; i < CISTERN_IN_FLIGHT_MAX; i++) {
        const struct attempt *attempt = &coordinator->attempts[i];
        int64_t end = attempt->started_ms + coordinator->options.timeout_ms;
        if (attempt->phase == PHASE_WAITING && end < wake) {
            wake = end;
        }
    }
    return wake;
}

/* ---- ending ---- */

uint32_t cistern_coordinator_acknowledge(struct cistern_coordinator *coordinator,
    uint64_t checkpoint_id, uint32_t slot_index, struct cistern_span slice)
{
    struct attempt *attempt = attempt_find(coordinator, checkpoint_id);
    if (attempt == NULL || attempt->phase != PHASE_WAITING ||
        slot_index >= coordinator->options.slot_count || attempt->slices[slot_index].data != NULL) {
        return CISTERN_OK; /* late, repeated or unknown */
    }
    void *copy = cistern_allocate(slice.bytes + 1);
    if (copy == NULL) {
        struct cistern_error error;
        cistern_fail(&error, CISTERN_NO_MEMORY, "coordinator", "no memory to keep a slice");
        attempt_discard(coordinator, attempt, &error);
        return CISTERN_NO_MEMORY;
    }
    memcpy(copy, slice.data, slice.bytes);
    attempt->slices[slot_index] = (struct cistern_span){copy, slice.bytes};
    if (++attempt->acknowledged_count == coordinator->options.slot_count) {
        attempt->phase = PHASE_COMPLETE;
        action_queue(coordinator, CISTERN_ACTION_PUBLISH, attempt);
    }
    return CISTERN_OK;
}

void cistern_coordinator_decline(struct cistern_coordinator *coordinator, uint64_t checkpoint_id,
    uint32_t slot_index, const struct cistern_error *error)
{
    struct attempt *attempt = attempt_find(coordinator, checkpoint_id);
    if (attempt != NULL && attempt->phase == PHASE_WAITING &&
        slot_index < coordinator->options.slot_count) {
        attempt_discard(coordinator, attempt, error);
    }
}

static void retained_subsume(struct cistern_coordinator *coordinator)
{
    uint32_t gone = 0;
    while (coordinator->retained_count - gone > coordinator->options.retain_count) {
        struct queued *queued = action_queue(coordinator, CISTERN_ACTION_SUBSUME, NULL);
        queued->action.checkpoint_id = coordinator->retained[gone++];
    }
    coordinator->retained_count -= gone;
    memmove(coordinator->retained, coordinator->retained + gone,
        coordinator->retained_count * sizeof coordinator->retained[0]);
}

void cistern_coordinator_published(struct cistern_coordinator *coordinator, uint64_t checkpoint_id,
    uint32_t status, const struct cistern_error *error)
{
    struct attempt *attempt = attempt_find(coordinator, checkpoint_id);
    if (attempt == NULL || attempt->phase != PHASE_COMPLETE) {
        return;
    }
    if (status != CISTERN_OK) {
        attempt_discard(coordinator, attempt, error);
        return;
    }
    action_queue(coordinator, CISTERN_ACTION_CONFIRM, attempt);
    coordinator->failures = 0;
    if (attempt->savepoint_directory == NULL) {
        /* Attempts may end out of order: an older one that ends late is kept, but never becomes
         * the base again. */
        uint32_t at = coordinator->retained_count++;
        for (; at > 0 && coordinator->retained[at - 1] > checkpoint_id; at--) {
            coordinator->retained[at] = coordinator->retained[at - 1];
        }
        coordinator->retained[at] = checkpoint_id;
        coordinator->base_id =
            checkpoint_id > coordinator->base_id ? checkpoint_id : coordinator->base_id;
    }
    attempt_end(coordinator, attempt);
    retained_subsume(coordinator);
}

/* ---- actions ---- */

void cistern_coordinator_next(
    struct cistern_coordinator *coordinator, struct cistern_action *ret_action)
{
    if (coordinator->queue_count == 0) {
        memset(ret_action, 0, sizeof *ret_action);
        return;
    }
    struct queued *queued = &coordinator->queue[coordinator->queue_first];
    coordinator->queue_first = (coordinator->queue_first + 1) % ACTIONS_MAX;
    coordinator->queue_count--;
    *ret_action = queued->action;
    if (queued->has_error) {
        coordinator->shown = queued->error;
        ret_action->error = &coordinator->shown;
    }
    const struct attempt *attempt = attempt_find(coordinator, queued->action.checkpoint_id);
    if (attempt != NULL) {
        ret_action->savepoint_directory = attempt->savepoint_directory;
        if (queued->action.kind == CISTERN_ACTION_PUBLISH) {
            ret_action->slices = attempt->slices;
        }
    }
}
