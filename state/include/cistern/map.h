/*
 * map.h -- map state: user keys with values, per address.
 *
 * A value may be null: it is there and has no bytes (data == NULL). An empty map does not exist.
 * With TTL every user key has a written time of its own. The batch calls are the primitive; item i
 * of a batch is (addresses[i], user_keys[i]), so one call may touch many maps. The clear and keys
 * calls are in keys.h.
 * Threads, borrowed spans, errors: backend.h. A user key has at most CISTERN_KEY_BYTES_MAX bytes.
 */
#ifndef CISTERN_MAP_H
#define CISTERN_MAP_H

#include "cistern/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* NOT_FOUND: no such user key. OK with ret_value->data == NULL: its value is null. */
CISTERN_MUST_USE uint32_t cistern_map_get(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span user_key,
    struct cistern_span *ret_value, struct cistern_error *error);
/* value.data == NULL (and bytes 0): a null value, kept. */
CISTERN_MUST_USE uint32_t cistern_map_put(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span user_key, struct cistern_span value,
    struct cistern_error *error);
/* OK whether it was there or not. */
CISTERN_MUST_USE uint32_t cistern_map_remove(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span user_key,
    struct cistern_error *error);
/* ret_present[i]: 1 = there (its value may be null), 0 = absent; NULL when nobody asks. */
CISTERN_MUST_USE uint32_t cistern_map_get_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *user_keys, uint32_t count,
    struct cistern_span *ret_values, uint8_t *ret_present, struct cistern_error *error);
/* Repeated (address, user key) pairs in one batch are applied in order. After LIMIT the items
 * [0, *ret_done) are applied, the rest are untouched; likewise below. */
CISTERN_MUST_USE uint32_t cistern_map_put_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *user_keys,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_map_remove_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *user_keys, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error);
/* User keys of one map; 0 when there is none. Without TTL O(1) on the heap, a scan of the map on
 * RocksDB; with TTL what is not seen any more does not count, which costs a scan. */
CISTERN_MUST_USE uint32_t cistern_map_count(struct cistern_state *state,
    const struct cistern_address *address, uint64_t *ret_count, struct cistern_error *error);
/* Whether the map holds nothing: stops at the first user key it finds. */
CISTERN_MUST_USE uint32_t cistern_map_is_empty(struct cistern_state *state,
    const struct cistern_address *address, uint32_t *ret_is_empty, struct cistern_error *error);
/* A cursor over one map, in no order (RocksDB: bytewise by user key): entry.user_key and value.
 * What cistern_entries_open() says about changes meanwhile holds here too. The map need not exist.
 */
CISTERN_MUST_USE uint32_t cistern_map_open(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_cursor **ret_cursor,
    struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
