/* kinds_run.h -- one run of the model test of all kinds: backend, model, open cursors, snapshot in
 * flight, and the log of what was done. */
#ifndef CISTERN_KINDS_RUN_H
#define CISTERN_KINDS_RUN_H

#include "model/kinds_model.h"
#include "semantics/world.h"

#define VALUE_BYTES_MAX 12000u
#define CURSORS_MAX 4u
#define LOG_LINES 400u
#define LOG_LINE_BYTES 120u

struct open_cursor {
    struct cistern_cursor *cursor; /* NULL = free */
    uint32_t kind;
    uint32_t place;   /* of a map or a list */
    uint32_t is_keys; /* else a map's entries or a list's elements */
    uint32_t name_space;
    uint32_t list_birth;
    uint32_t list_at;                             /* elements seen */
    uint8_t stable[MODEL_KEYS + MODEL_USER_KEYS]; /* there since open, never touched */
    uint8_t seen[MODEL_KEYS + MODEL_USER_KEYS];
};
struct in_flight { /* a snapshot on its way; handle NULL = none */
    struct cistern_snapshot *snapshot;
    struct capture *capture;
    struct kinds_model frozen;
    uint64_t id;
    uint32_t form;
};
struct kinds_run {
    const struct semantics_backend *semantics;
    struct cistern_pool *pool;
    struct cistern_slot *slots[2]; /* the first may be tiny, the second never is */
    struct cistern_backend *backend;
    struct cistern_state *states[CISTERN_TIMERS + 1]; /* NULL = the backend does not hold it */
    struct cistern_ttl ttl[CISTERN_TIMERS + 1];
    struct kinds_model model;
    struct open_cursor cursors[CURSORS_MAX];
    struct in_flight in_flight;
    struct capture *base; /* the last confirmed native one; NULL = none */
    uint64_t checkpoint_id;
    uint64_t random;
    int64_t now_ms;
    uint32_t is_tiny;           /* slot 0 is full most of the time: LIMIT is an answer */
    uint32_t fails_allocations; /* NO_MEMORY is an answer */
    uint32_t step;
    uint32_t limits; /* answers seen */
    uint32_t no_memories;
    uint32_t aborts;
    uint32_t restores;
    uint32_t is_done; /* else the log is printed at the end */
    char log[LOG_LINES][LOG_LINE_BYTES];
    uint32_t log_count;
};

/* ---- kinds_run.c ---- */

struct kinds_place { /* an address with its bytes */
    struct cistern_address address;
    char text[24];
};
void run_log(struct kinds_run *run, const char *format, ...) CISTERN_PRINTF(2, 3);
uint32_t run_pick(struct kinds_run *run, uint32_t below);
const struct kinds_place *place_at(uint32_t place);
struct cistern_span user_key_at(uint32_t user_key);
int64_t time_at(uint32_t time);
/* Bytes of a tag; `buffer` is the caller's, of VALUE_BYTES_MAX. NULL_TAG: absent. */
struct cistern_span kinds_value(int32_t tag, uint8_t *buffer);
int32_t kinds_tag(struct cistern_span value); /* and back; fails the test on torn bytes */
/* LIMIT and NO_MEMORY where this run allows them; fails the test on anything else but OK. */
uint32_t run_answer(struct kinds_run *run, uint32_t status, const struct cistern_error *error);
void run_states(struct kinds_run *run, struct cistern_backend *backend,
    struct cistern_state *states[CISTERN_TIMERS + 1]);
/* Everything in the groups of `range` is as the model says; renews what reading renews. */
void run_compare(struct kinds_run *run, struct cistern_backend *backend, struct kinds_model *model,
    struct cistern_key_group_range range);

/* ---- kinds_ops.c: one random operation ---- */

void run_operation(struct kinds_run *run);

/* ---- kinds_cursors.c ---- */

void cursors_touch(struct kinds_run *run, uint32_t kind, uint32_t place, uint32_t user_key);
void cursors_touch_all(struct kinds_run *run); /* the clock moved */
void cursors_open_one(struct kinds_run *run);
void cursors_advance(struct kinds_run *run);
void cursors_close_all(struct kinds_run *run);

/* ---- kinds_snapshots.c ---- */

void snapshot_start(struct kinds_run *run);
void snapshot_advance(struct kinds_run *run);
void snapshot_give_up(struct kinds_run *run);

#endif
