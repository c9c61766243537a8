/*
 * key_private.h -- how an address becomes a RocksDB key, and back.
 *
 *   key group   1 byte if max_parallelism <= 128, else 2, big-endian: groups are contiguous, so a
 *   range is one scan key         as given namespace   as given, if there is one tail        what
 *   the sizes in the descriptor leave open, read from the end:
 *                 key fixed,    void namespace             nothing
 *                 key fixed,    namespace fixed            nothing (its size tells it from void)
 *                 key fixed,    namespace variable         01
 *                 key variable, void namespace             00
 *                 key variable, namespace fixed            01
 *                 both variable: ambiguous, so the key's length is stored: u16 big-endian, 02
 *
 * Two addresses of one state never share a key, and every key of a state decodes to one address.
 * Threads: pure functions.
 */
#ifndef CISTERN_ROCKS_KEY_PRIVATE_H
#define CISTERN_ROCKS_KEY_PRIVATE_H

#include "cistern/backend.h"

#define KEY_TAIL_BYTES_MAX 3u
#define KEY_GROUP_BYTES_MAX 2u

struct key_layout {
    uint32_t group_bytes;
    uint32_t key_bytes;       /* 0 = variable */
    uint32_t namespace_bytes; /* likewise */
};

struct key_layout key_layout_of(
    uint32_t max_parallelism, const struct cistern_state_descriptor *descriptor);
uint64_t key_encoded_bytes(const struct key_layout *layout, const struct cistern_address *address);
/* Writes exactly key_encoded_bytes(); returns how many. */
uint64_t key_encode(
    const struct key_layout *layout, const struct cistern_address *address, uint8_t *into);
/* CORRUPT without detail when the bytes are no key of this layout. Spans point into `encoded`. */
CISTERN_MUST_USE uint32_t key_decode(const struct key_layout *layout, struct cistern_span encoded,
    struct cistern_address *ret_address);
/* The least key of a group. One past the last group there can be gives 0: no bound; else the
 * number of bytes written. */
uint32_t key_group_bound(
    const struct key_layout *layout, uint32_t key_group, uint8_t into[KEY_GROUP_BYTES_MAX]);

#endif
