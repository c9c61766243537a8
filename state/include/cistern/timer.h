/*
 * timer.h -- timers: a set of (time, key, namespace) per state, in order of time within a backend.
 *
 * Adding what is there already changes nothing. Event time and processing time are two states; what
 * the time means is the host's matter. Timers have no value, no user key and no TTL. Equal times
 * are returned in no particular order. cistern_entries_open() (backend.h) walks over all of them,
 * unordered; an entry's written_ms is the timer's time.
 * Threads, borrowed spans, errors: backend.h.
 */
#ifndef CISTERN_TIMER_H
#define CISTERN_TIMER_H

#include "cistern/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Any time is allowed, negative ones too. LIMIT: not added. */
CISTERN_MUST_USE uint32_t cistern_timer_add(struct cistern_state *state, int64_t timestamp_ms,
    const struct cistern_address *address, struct cistern_error *error);
/* OK whether it was there or not. */
CISTERN_MUST_USE uint32_t cistern_timer_remove(struct cistern_state *state, int64_t timestamp_ms,
    const struct cistern_address *address, struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_timer_add_many(struct cistern_state *state,
    const int64_t *timestamps_ms, const struct cistern_address *addresses, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_timer_remove_many(struct cistern_state *state,
    const int64_t *timestamps_ms, const struct cistern_address *addresses, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error);
/* The earliest time. NOT_FOUND: there is no timer. */
CISTERN_MUST_USE uint32_t cistern_timer_next(
    struct cistern_state *state, int64_t *ret_timestamp_ms, struct cistern_error *error);
/* Takes up to `capacity` timers with time <= up_to_ms out of the set, earliest first; written_ms is
 * the time. *ret_count 0: none is due. After an error the timers in [0, *ret_count) are out. */
CISTERN_MUST_USE uint32_t cistern_timer_pop_due(struct cistern_state *state, int64_t up_to_ms,
    struct cistern_entry *ret_timers, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
