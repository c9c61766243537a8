/*
 * list.h -- list state: elements in the order they were appended, per address.
 *
 * An empty list does not exist: replacing by nothing is clearing. Appending costs what is appended,
 * not what is there. With TTL every element has a written time of its own (OnReadAndWrite: reading
 * an element renews it). The clear, keys and merge calls are in keys.h.
 * Threads, borrowed spans, errors: backend.h. value_bytes of the descriptor is an element's size.
 */
#ifndef CISTERN_LIST_H
#define CISTERN_LIST_H

#include "cistern/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All of the elements or none (LIMIT). count: at most CISTERN_BATCH_COUNT_MAX; 0 changes nothing.
 * INVALID: an element is absent (Flink's lists hold no null) or of a size that is not allowed. */
CISTERN_MUST_USE uint32_t cistern_list_append_many(struct cistern_state *state,
    const struct cistern_address *address, const struct cistern_span *elements, uint32_t count,
    struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_list_append(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span element,
    struct cistern_error *error);
/* What was there is gone, or, after LIMIT, still there whole. count 0: the list is cleared. */
CISTERN_MUST_USE uint32_t cistern_list_replace(struct cistern_state *state,
    const struct cistern_address *address, const struct cistern_span *elements, uint32_t count,
    struct cistern_error *error);
/* A cursor over the elements in order: entry.value is the element, entry.address the list's.
 * Elements appended while it is open are seen; once the list was replaced, cleared or merged away
 * the cursor is at its end. The list need not exist. */
CISTERN_MUST_USE uint32_t cistern_list_open(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_cursor **ret_cursor,
    struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
