/*
 * coordinator.h -- when a checkpoint starts, when it is complete, what is forgotten: a pure state
 * machine.
 *
 * No thread, no I/O, no clock, no randomness: events in (with the time), actions out. The same one
 * serves a process with slots and a cluster: the host carries slices and actions by call, RPC or
 * files. One caller at a time.
 * Invariant: a checkpoint is CONFIRMed only after its publication was reported OK; a checkpoint is
 *            SUBSUMEd only while retain_count newer or equal published ones stay; every BARRIER
 *            ends in exactly one of CONFIRM or DISCARD.
 */
#ifndef CISTERN_COORDINATOR_H
#define CISTERN_COORDINATOR_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_coordinator;

#define CISTERN_IN_FLIGHT_MAX 4u

struct cistern_coordinator_options {
    int64_t interval_ms;    /* 0 = only on request */
    int64_t pause_min_ms;   /* between the end of one and the start of the next */
    int64_t timeout_ms;     /* 0 = 10 min; a checkpoint not published by then is discarded */
    uint32_t in_flight_max; /* 0 = 1; at most CISTERN_IN_FLIGHT_MAX */
    /* consecutive failed checkpoints before FAIL_JOB; UINT32_MAX = any number */
    uint32_t failures_tolerated;
    uint32_t retain_count; /* 0 = 1 */
    uint32_t slot_count;   /* required */
};
enum cistern_action_kind {
    CISTERN_ACTION_NONE, /* nothing to do until the next event */
    /* send barrier checkpoint_id (snapshot_kind, base_checkpoint_id) to every slot */
    CISTERN_ACTION_BARRIER,
    /* all slots acknowledged: publish with the slices, then call published() */
    CISTERN_ACTION_PUBLISH,
    CISTERN_ACTION_CONFIRM, /* tell every slot CONFIRMED */
    CISTERN_ACTION_DISCARD, /* tell every slot DISCARDED, drop the attempt's files */
    CISTERN_ACTION_SUBSUME, /* tell every slot SUBSUMED, retire the checkpoint */
    CISTERN_ACTION_FAIL_JOB /* too many failures: `error` of the last one */
};
struct cistern_action {
    uint32_t kind;
    uint32_t snapshot_kind;
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    const char *savepoint_directory;   /* NULL = a checkpoint; valid until the next call */
    const struct cistern_span *slices; /* PUBLISH: [slot_count]; valid until the next call */
    const struct cistern_error *error; /* DISCARD, FAIL_JOB: why; valid until the next call */
};
/* latest_checkpoint_id: the largest id ever used in this root (the first new one is one more).
 * restored_checkpoint_ids: published checkpoints that are kept now, oldest first: they take part
 *                          in retention, and are no
 * base for increments (a restored backend starts with a full snapshot). */
CISTERN_MUST_USE uint32_t cistern_coordinator_create_sized(
    const struct cistern_coordinator_options *options, uint64_t options_bytes,
    uint64_t latest_checkpoint_id, const uint64_t *restored_checkpoint_ids, uint32_t restored_count,
    struct cistern_coordinator **ret_coordinator, struct cistern_error *error);
#define cistern_coordinator_create(options, latest, ids, count, ret_coordinator, error)            \
    cistern_coordinator_create_sized((options), sizeof(struct cistern_coordinator_options),        \
        (latest), (ids), (count), (ret_coordinator), (error))
void cistern_coordinator_destroy(struct cistern_coordinator *coordinator);

/* Events. now_ms only grows. Late, repeated and unknown ones are ignored. */
void cistern_coordinator_tick(struct cistern_coordinator *coordinator, int64_t now_ms);
/* Asks for a checkpoint now (savepoint_directory NULL) or a savepoint. BUSY: in_flight_max are
 * under way. */
CISTERN_MUST_USE uint32_t cistern_coordinator_trigger(struct cistern_coordinator *coordinator,
    int64_t now_ms, const char *savepoint_directory, uint64_t *ret_checkpoint_id,
    struct cistern_error *error);
/* The slice is copied. */
CISTERN_MUST_USE uint32_t cistern_coordinator_acknowledge(struct cistern_coordinator *coordinator,
    uint64_t checkpoint_id, uint32_t slot_index, struct cistern_span slice);
void cistern_coordinator_decline(struct cistern_coordinator *coordinator, uint64_t checkpoint_id,
    uint32_t slot_index, const struct cistern_error *error);
void cistern_coordinator_published(struct cistern_coordinator *coordinator, uint64_t checkpoint_id,
    uint32_t status, const struct cistern_error *error);
/* Takes the next action; NONE = wait for an event. */
void cistern_coordinator_next(
    struct cistern_coordinator *coordinator, struct cistern_action *ret_action);
uint32_t cistern_coordinator_in_flight(const struct cistern_coordinator *coordinator);
/* When tick() has something to do next, absolute ms; INT64_MAX = never. */
int64_t cistern_coordinator_wake_ms(const struct cistern_coordinator *coordinator);

#ifdef __cplusplus
}
#endif
#endif
