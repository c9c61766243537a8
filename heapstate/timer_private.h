/*
 * timer_private.h -- timers: entries of their own, and an order over them.
 *
 * The key of a timer's entry is 8 bytes of time, big-endian with the sign flipped, and the key; its
 * value is empty. So set semantics, snapshots and increments are those of any entry. The order is
 * order_private.h's; it is not stored, a restore makes it anew.
 */
#ifndef CISTERN_HEAPSTATE_TIMER_PRIVATE_H
#define CISTERN_HEAPSTATE_TIMER_PRIVATE_H

#include "heap_private.h"
#include "cistern/endian.h"

#define TIMER_TIME_BYTES 8u
#define TIMER_SIGN (1ULL << 63)

/* Cuts the time off a stored key. */
static inline int64_t timer_key_split(struct cistern_span *key)
{
    uint64_t flipped = cistern_get_u64_be(key->data);
    key->data = (const uint8_t *)key->data + TIMER_TIME_BYTES;
    key->bytes -= TIMER_TIME_BYTES;
    return (int64_t)(flipped ^ TIMER_SIGN);
}

static inline void timer_time_write(uint8_t *to, int64_t timestamp_ms)
{
    cistern_put_u64_be(to, (uint64_t)timestamp_ms ^ TIMER_SIGN);
}

/* What a file says of a timer. A tombstone spares what the same file brought. LIMIT. */
CISTERN_MUST_USE uint32_t timer_restore(struct heap_state *state,
    const struct cistern_address *address, int64_t timestamp_ms, int is_tombstone);

#endif
