/*
 * key_private.h -- how an address becomes a RocksDB key, and back. Three forms:
 *
 * plain (value, reducing, aggregating): group, key, namespace if there is one, tail; the tail is
 * what the sizes in the descriptor leave open, read from the end:
 *                 key fixed,    void namespace             nothing
 *                 key fixed,    namespace fixed            nothing (its size tells it from void)
 *                 key fixed,    namespace variable         01
 *                 key variable, void namespace             00
 *                 key variable, namespace fixed            01
 *                 both variable: ambiguous, so the key's length is stored: u16 big-endian, 02
 *
 * prefix (lists and maps): group, body, rest. The rest is a map's user key as given, or a list
 * chunk's number, u64 big-endian. The body says by itself where it ends, so that no address is a
 * prefix of another one and all of one address is one range:
 *                 u16 big-endian length of the key, if that is variable
 *                 key
 *                 00 = void namespace, 01 = one follows
 *                 u16 big-endian length of the namespace, if that is variable
 *                 namespace
 *
 * timed (timers): group, u64 big-endian time with its sign bit flipped, body: the earliest timer of
 * a group is its first key.
 *
 * group: 1 byte if max_parallelism <= 128, else 2, big-endian: groups are contiguous, so a range
 * is one scan. Two addresses of one state never share a key, and every key of a state decodes to
 * one address. Threads: pure functions.
 */
#ifndef CISTERN_ROCKS_KEY_PRIVATE_H
#define CISTERN_ROCKS_KEY_PRIVATE_H

#include "cistern/backend.h"

#define KEY_TAIL_BYTES_MAX 3u
#define KEY_GROUP_BYTES_MAX 2u
#define KEY_NUMBER_BYTES 8u /* of a list chunk's number, and of a timer's time */

enum key_form { KEY_PLAIN, KEY_PREFIX, KEY_TIMED };

struct key_layout {
    uint32_t group_bytes;
    uint32_t key_bytes;       /* 0 = variable */
    uint32_t namespace_bytes; /* likewise */
    uint32_t form;            /* enum key_form; follows from the kind */
};

struct key_layout key_layout_of(
    uint32_t max_parallelism, const struct cistern_state_descriptor *descriptor);
/* Of the plain form, and of the prefix form without its rest. */
uint64_t key_encoded_bytes(const struct key_layout *layout, const struct cistern_address *address);
/* Writes exactly key_encoded_bytes(); returns how many. */
uint64_t key_encode(
    const struct key_layout *layout, const struct cistern_address *address, uint8_t *into);
/* The timed form: key_timer_bytes() bytes. */
uint64_t key_timer_bytes(const struct key_layout *layout, const struct cistern_address *address);
uint64_t key_timer_encode(const struct key_layout *layout, const struct cistern_address *address,
    int64_t time_ms, uint8_t *into);
/* Any form. CORRUPT without detail when the bytes are no key of this layout. Spans point into `encoded`.
 * ret_rest: what follows the prefix form (its data is never NULL), the flipped time of the timed
 * one, absent in the plain one; may be NULL. */
CISTERN_MUST_USE uint32_t key_decode(const struct key_layout *layout, struct cistern_span encoded,
    struct cistern_address *ret_address, struct cistern_span *ret_rest);
/* A time as it stands in a key, and back. */
static inline uint64_t key_time_flip(int64_t time_ms)
{
    return (uint64_t)time_ms ^ (UINT64_C(1) << 63);
}
static inline int64_t key_time_of(uint64_t flipped)
{
    return (int64_t)(flipped ^ (UINT64_C(1) << 63));
}
/* The least key of a group. One past the last group there can be gives 0: no bound; else the
 * number of bytes written. */
uint32_t key_group_bound(
    const struct key_layout *layout, uint32_t key_group, uint8_t into[KEY_GROUP_BYTES_MAX]);
/* Makes of the bytes the least ones that are greater than everything that begins with them:
 * returns how many are left, 0 = there is no bound. */
uint64_t key_successor(uint8_t *bytes, uint64_t count);

#endif
