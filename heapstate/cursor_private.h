/*
 * cursor_private.h -- the cursors of the heap: what the operations call, whatever is walked over.
 *
 * Threads: owner only.
 */
#ifndef CISTERN_HEAPSTATE_CURSOR_PRIVATE_H
#define CISTERN_HEAPSTATE_CURSOR_PRIVATE_H

#include "heap_private.h"

typedef uint32_t (*cursor_next_fn)(struct cistern_cursor *cursor, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error);

struct walk { /* the first member of every cursor here */
    struct cistern_cursor base;
    cursor_next_fn next;
    void (*close)(struct cistern_cursor *cursor);
};

/* Zeroed memory for a cursor over one object: the one closed last, or new; NULL: no memory. */
void *walk_allocate(struct heap *heap);
/* Kept for the next one. */
void walk_release(struct heap *heap, void *walk);
#define WALK_BYTES 512u /* a cursor over one object takes at most so much */

/* An address as a copy that outlives calls. */
#define OWNED_SMALL_BYTES 64u
struct owned_address {
    struct cistern_address address;
    void *storage; /* NULL = it is in `small` */
    uint8_t small[OWNED_SMALL_BYTES];
};
CISTERN_MUST_USE uint32_t owned_address_make(struct owned_address *owned,
    const struct cistern_address *address, const char *object, struct cistern_error *error);
void owned_address_deinit(struct owned_address *owned);

/* Every entry of a bucket sequence is visited in the order of its hash with the bits reversed: in
 * it, a bucket is one interval, a split halves an interval and a merge joins two. */
static inline uint32_t reverse_bits(uint32_t value)
{
    value = (value >> 1 & 0x55555555u) | (value & 0x55555555u) << 1;
    value = (value >> 2 & 0x33333333u) | (value & 0x33333333u) << 2;
    value = (value >> 4 & 0x0f0f0f0fu) | (value & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(value);
}

/* Where the interval of the bucket at `position` ends, among bucket_count of linear hashing. mask:
 * 2^level - 1, where 2^level <= bucket_count < 2^(level + 1). */
static inline uint64_t interval_end(uint32_t bucket_count, uint32_t mask, uint64_t position)
{
    uint32_t hash = reverse_bits((uint32_t)position);
    uint32_t low = hash & mask;
    uint32_t high = hash & (mask << 1 | 1);
    /* Split already, or split off: the bucket is known by one bit more. */
    uint32_t high_bit = mask + 1;
    int is_split = high < bucket_count && (high != low || low + high_bit < bucket_count);
    uint32_t bits = (uint32_t)__builtin_ctz(high_bit) + (uint32_t)is_split;
    uint64_t width = 1ULL << (32 - bits);
    return (position & ~(width - 1)) + width;
}
#define POSITION_END (1ULL << 32)

#endif
