/*
 * keys.h -- calls for states of any keyed kind: clear, the keys of a namespace, merging and
 * dropping namespaces, hints.
 *
 * Threads, borrowed spans, errors: backend.h.
 */
#ifndef CISTERN_KEYS_H
#define CISTERN_KEYS_H

#include "cistern/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whatever the address holds is gone: the value, the list, the whole map. OK when there was
 * nothing. Visible at once, also for large maps and lists: their memory follows in small steps.
 * INVALID: timers are removed one by one. */
CISTERN_MUST_USE uint32_t cistern_state_clear(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_state_clear_many(struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
/* A cursor over the keys that hold something in a namespace (absent span = the void one), each
 * once, in no order: entry.address only. A list or map of which all has expired may be listed
 * until it is cleaned up. What cistern_entries_open() says about changes meanwhile holds here
 * too. */
CISTERN_MUST_USE uint32_t cistern_keys_open(struct cistern_state *state,
    struct cistern_span name_space, struct cistern_cursor **ret_cursor,
    struct cistern_error *error);
/* The same over every namespace: (key, namespace) pairs. */
CISTERN_MUST_USE uint32_t cistern_keys_and_namespaces_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error);
/* Calls `apply` for every key of a namespace. It may use the backend as it likes, also change and
 * clear the key at hand; spans of its argument are copies. What it returns other than OK ends the
 * call and is its result. */
typedef uint32_t (*cistern_apply_fn)(void *arg, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_state_apply_to_all_keys(struct cistern_state *state,
    struct cistern_span name_space, cistern_apply_fn apply, void *arg, struct cistern_error *error);
/* What the source namespaces of target->key hold is added to target, in the order given, and is
 * gone from the sources. Sources that hold nothing, and the target's own namespace, are passed
 * over. LIST: elements are appended; REDUCING and AGGREGATING: accumulators are combined with
 * merge_fn, or with the reducer where it is NULL. LIMIT: nothing has happened. INVALID: other
 * kinds do not merge. source_count: at most CISTERN_BATCH_COUNT_MAX. */
CISTERN_MUST_USE uint32_t cistern_state_merge(struct cistern_state *state,
    const struct cistern_address *target, const struct cistern_span *source_namespaces,
    uint32_t source_count, struct cistern_error *error);
/* Clears every key of the namespace. Costs a walk over the state's keys. After an error part of it
 * may be cleared: call again. */
CISTERN_MUST_USE uint32_t cistern_state_drop_namespace(
    struct cistern_state *state, struct cistern_span name_space, struct cistern_error *error);
/* Hints that these addresses are used next; never fails. Asking for 16 or more and then making
 * single calls is about as fast as one batch call. */
void cistern_state_prefetch(
    struct cistern_state *state, const struct cistern_address *addresses, uint32_t count);

#ifdef __cplusplus
}
#endif
#endif
