/*
 * heads_private.h -- what is in memory of a timer state: per key group the time of its earliest
 * timer, or a bound below it, in a binary heap over the groups; and of some groups the next few
 * timers' keys, so that a group is not looked up for each of its timers.
 *
 * Invariants: no timer of a group is earlier than its `time`; with exact = 1 there is one at that
 *             time. The keys of a run are all the timers there are from its first key to its last.
 * Bounded:    arrays by the number of groups; blocks all together by blocks_bytes_max, beyond which
 *             a block is taken from a group whose turn is late.
 * Threads:    owner only.
 */
#ifndef CISTERN_ROCKS_HEADS_PRIVATE_H
#define CISTERN_ROCKS_HEADS_PRIVATE_H

#include "rocks_private.h"

struct head { /* one key group */
    int64_t time_ms;
    uint8_t *block;    /* the run: [u32 native size, key] one behind the other; NULL = none */
    uint32_t capacity; /* of the block */
    uint32_t first;    /* the first key that was not taken yet; first == end: the run is empty */
    uint32_t end;      /* behind the last key */
    uint32_t last;     /* where the last key stands, taken or not; has_last says whether it does */
    uint32_t position; /* in the heap */
    uint8_t is_exact;  /* 1 = a timer has just this time */
    uint8_t is_empty;  /* 1 = the group has none */
    uint8_t is_complete; /* 1 = behind the last key the group has none */
    uint8_t has_last;    /* 1 = nothing that is not in the run lies before its last key */
};

struct heads {
    struct head *groups; /* by key group, from the backend's first on */
    uint32_t *heap;      /* indexes of groups; the earliest first, the empty ones last */
    uint32_t count;
    uint32_t group_first;
    uint32_t is_known; /* 0 = nothing of this is known: it is read before it is needed */
    uint64_t blocks_bytes;
    uint64_t blocks_bytes_max;
};

CISTERN_MUST_USE uint32_t heads_create(
    struct rocks *rocks, struct heads **ret_heads, struct cistern_error *error);
void heads_destroy(struct rocks *rocks, struct heads *heads);
/* A timer was put, or removed, or will be by the write batch at hand: if that is not written, call
 * heads_forget(). */
void heads_add(struct heads *heads, uint32_t key_group, struct cistern_span key, int64_t time_ms);
void heads_remove(
    struct heads *heads, uint32_t key_group, struct cistern_span key, int64_t time_ms);
void heads_forget(struct heads *heads);
/* Learns the earliest time of every group, if that is not known. */
CISTERN_MUST_USE uint32_t heads_know(struct rocks_state *state, struct cistern_error *error);
/* The group with the least time; NULL = there is no timer at all. That group's time may be no more
 * than a bound: then its run is empty, and heads_fill() makes it exact or another group the top. */
struct head *heads_top(const struct heads *heads);
/* Reads the group's next keys; it may prove empty. Sees nothing that is in a write batch: without
 * has_last what this call has taken from the group must be written first. */
CISTERN_MUST_USE uint32_t heads_fill(
    struct rocks_state *state, struct head *head, struct cistern_error *error);
/* The run's first key; the run is not empty. */
struct cistern_span heads_first(const struct head *head);
/* It is taken. */
void heads_pop(struct heads *heads, const struct key_layout *layout, struct head *head);

#endif
