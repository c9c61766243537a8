/*
 * lookup_private.h -- from an address to the entry that holds it: the hot path, inlined where it is
 * used. Threads: owner only.
 */
#ifndef CISTERN_HEAPSTATE_LOOKUP_PRIVATE_H
#define CISTERN_HEAPSTATE_LOOKUP_PRIVATE_H

#include "heap_private.h"

/* 2^64 / golden ratio: spreads small ids over all bits */
#define HASH_STATE_FACTOR 0x9E3779B97F4A7C15ULL

static inline uint64_t lookup_hash(
    const struct heap *heap, uint32_t state_id, const struct cistern_address *address)
{
    uint64_t seed = heap->hash_seed ^ (state_id * HASH_STATE_FACTOR);
    uint64_t hash = cistern_hash64_seeded(address->key.data, address->key.bytes, seed);
    if (address->name_space.data != NULL) {
        hash = cistern_hash64_seeded(address->name_space.data, address->name_space.bytes, hash);
    }
    return hash;
}

static inline struct lookup lookup_make(
    const struct heap *heap, uint32_t state_id, const struct cistern_address *address)
{
    struct lookup lookup = {
        .address = address,
        .hash = lookup_hash(heap, state_id, address),
        .layout = &heap->layouts[state_id],
        .state_id = (uint8_t)state_id,
    };
    return lookup;
}

static inline int bytes_equal(const uint8_t *a, const uint8_t *b, uint64_t bytes)
{
    if (bytes >= 8 && bytes <= 16) { /* the common keys: two overlapping words instead of a call */
        uint64_t head;
        uint64_t tail;
        uint64_t other_head;
        uint64_t other_tail;
        memcpy(&head, a, 8);
        memcpy(&other_head, b, 8);
        memcpy(&tail, a + bytes - 8, 8);
        memcpy(&other_tail, b + bytes - 8, 8);
        return ((head ^ other_head) | (tail ^ other_tail)) == 0;
    }
    return memcmp(a, b, bytes) == 0;
}

/* Keys and values of fixed sizes in the void namespace: the key stands at a fixed place, and one
 * word tells hash, state and form. NEW says nothing about the form, and the stamp delta may be
 * any. */
#define FLAT_HEAD_MASK ((uint64_t)(uint8_t)~ENTRY_NEW << 56 | 0xffULL << 48 | 0xffffffffULL)
#define FLAT_KEY_OFFSET (sizeof(struct entry) + sizeof(uint16_t))

static inline int lookup_is_flat(const struct lookup *lookup)
{
    return lookup->layout->key_bytes != 0 && lookup->layout->value_bytes != 0 &&
           lookup->address->name_space.data == NULL;
}

static inline int flat_matches(const struct entry *entry, const void *arg)
{
    const struct lookup *lookup = arg;
    uint64_t head;
    memcpy(&head, entry, sizeof head);
    return (head & FLAT_HEAD_MASK) == ((uint64_t)lookup->state_id << 48 | (uint32_t)lookup->hash) &&
           bytes_equal((const uint8_t *)entry + FLAT_KEY_OFFSET, lookup->address->key.data,
               lookup->layout->key_bytes);
}

static inline int entry_matches(const struct entry *entry, const void *arg)
{
    const struct lookup *lookup = arg;
    if (entry->hash_or_died != (uint32_t)lookup->hash || entry->state_id != lookup->state_id) {
        return 0;
    }
    struct entry_view view;
    entry_parse(entry, entry->flags, lookup->layout, &view);
    const struct cistern_address *address = lookup->address;
    return view.key.bytes == address->key.bytes &&
           view.name_space.bytes == address->name_space.bytes &&
           (view.name_space.data != NULL) == (address->name_space.data != NULL) &&
           bytes_equal(view.key.data, address->key.data, view.key.bytes) &&
           (view.name_space.bytes == 0 ||
               memcmp(view.name_space.data, address->name_space.data, view.name_space.bytes) == 0);
}

static inline int lookup_find(
    const struct heap *heap, const struct lookup *lookup, struct index_slot *ret_slot)
{
    return index_find(&heap->index, lookup->hash, entry_matches, lookup, ret_slot);
}

static inline struct entry *entry_in(const struct heap *heap, struct index_slot slot)
{
    return segment_entry(&heap->segments, slot.bucket->handles[slot.at]);
}

#endif
