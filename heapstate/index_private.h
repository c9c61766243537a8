/*
 * index_private.h -- linear-hash index from address hash to entry handle, in cache-line buckets.
 *
 * Ten slots of {16-bit tag, 32-bit handle} per bucket and a link to an overflow bucket. Grows
 * and shrinks one bucket at a time, between loads of 0.7 and 0.35, so there is no rehash stall
 * and no doubling peak. Bucket numbers come from the low 32 bits of the hash, which the entry
 * stores too: a split or the cleaner needs no key. Tags come from the top 16 bits.
 *
 * Invariant:  a chain is dense: only its last bucket has free slots, and they are its last ones;
 *             no overflow bucket is empty.
 * Threads:    owner only.
 * Full when:  the slot refuses an overflow bucket -> CISTERN_LIMIT from index_reserve(), nothing
 *             changed. A refused split is no failure: chains grow by overflow buckets until
 *             memory is there again.
 */
#ifndef CISTERN_HEAPSTATE_INDEX_PRIVATE_H
#define CISTERN_HEAPSTATE_INDEX_PRIVATE_H

#include "cistern/region.h"
#include "entry_private.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BUCKET_SLOTS 10u
#define INDEX_GROW_PER_BUCKET 7u /* entries per bucket above which a bucket is split: load 0.7 */

struct bucket {
    uint32_t handles[BUCKET_SLOTS]; /* 0 = free */
    uint32_t link;                  /* overflow bucket number + 1; 0 = none */
    uint16_t tags[BUCKET_SLOTS];    /* 0 = free */
};
static_assert(sizeof(struct bucket) == 64, "a bucket is a cache line");

struct index {
    struct cistern_region *region;
    struct cistern_region *overflow_region;
    struct bucket *buckets;
    struct bucket *overflow;
    const uint8_t *entries; /* handles count from here */
    uint64_t granule_bytes;
    uint64_t overflow_granule_bytes;
    uint64_t entry_count;
    uint32_t bucket_count;
    uint32_t bucket_min;    /* what the first granule holds */
    uint32_t mask;          /* 2^level - 1, where 2^level <= bucket_count < 2^(level + 1) */
    uint32_t overflow_free; /* number + 1 */
    uint32_t overflow_frontier;
    uint32_t overflow_used;
};

/* where an entry's handle stands; any insert, remove or cleaning makes it stale */
struct index_slot {
    struct bucket *bucket;
    uint32_t at;
};

CISTERN_MUST_USE uint32_t index_init(struct index *index, struct cistern_component *component,
    const uint8_t *entries, uint64_t granule_bytes, uint64_t reserve_bytes, uint32_t huge_pages,
    struct cistern_error *error);
void index_deinit(struct index *index);
/* Finds the place the next index_insert() of this hash takes. */
CISTERN_MUST_USE uint32_t index_reserve(
    struct index *index, uint64_t hash, struct index_slot *ret_place);
void index_insert(struct index *index, struct index_slot place, uint64_t hash, uint32_t handle);
/* hash: the low 32 bits suffice. */
void index_remove(struct index *index, uint64_t hash, struct index_slot slot);
/* Splits one bucket when the load calls for it and memory is there. */
void index_grow(struct index *index);
/* Of an empty index: buckets for so many entries, as far as memory is there. */
void index_presize(struct index *index, uint64_t entries);
/* Merges at most `count` buckets while the load is below 0.35; gives granules back. 0 = nothing
 * left to do. */
int index_shrink(struct index *index, uint32_t count);
/* The slot that holds `handle`, whose entry has this stored hash. It must be there. */
struct index_slot index_locate(const struct index *index, uint32_t hash, uint32_t handle);
uint64_t index_bytes(const struct index *index);

static inline uint32_t index_bucket_number(const struct index *index, uint32_t hash)
{
    uint32_t number = hash & (index->mask << 1 | 1);
    /* one bit less when that bucket is not there yet, without a branch */
    return number - (uint32_t)(number >= index->bucket_count) * (index->mask + 1);
}

static inline struct bucket *index_bucket(const struct index *index, uint64_t hash)
{
    return &index->buckets[index_bucket_number(index, (uint32_t)hash)];
}

static inline uint16_t index_tag(uint64_t hash)
{
    uint16_t tag = (uint16_t)(hash >> 48);
    return tag != 0 ? tag : 1;
}

/* Bit i is set when slot i has this tag. */
static inline uint32_t bucket_match(const struct bucket *bucket, uint16_t tag)
{
#ifdef __SSE2__
    __m128i want = _mm_set1_epi16((short)tag);
    __m128i low =
        _mm_cmpeq_epi16(_mm_loadu_si128((const __m128i *)(const void *)bucket->tags), want);
    __m128i high =
        _mm_cmpeq_epi16(_mm_loadu_si128((const __m128i *)(const void *)(bucket->tags + 2)), want);
    uint32_t bits = (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high));
    return (bits & 0xff) | (bits >> 14 << 8); /* the second load repeats tags 2 to 7 */
#else
    uint32_t bits = 0;
    for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
        bits |= (uint32_t)(bucket->tags[i] == tag) << i;
    }
    return bits;
#endif
}

static inline struct bucket *index_next(const struct index *index, const struct bucket *bucket)
{
    return bucket->link == 0 ? NULL : &index->overflow[bucket->link - 1];
}

typedef int (*index_match_fn)(const struct entry *entry, const void *arg);
/* 1 and the slot, or 0. Inlined with its match function: this is the hot path. */
static inline __attribute__((always_inline)) int index_find(const struct index *index,
    uint64_t hash, index_match_fn match, const void *arg, struct index_slot *ret_slot)
{
    uint16_t tag = index_tag(hash);
    for (struct bucket *bucket = index_bucket(index, hash); bucket != NULL;
         bucket = index_next(index, bucket)) {
        for (uint32_t bits = bucket_match(bucket, tag); bits != 0; bits &= bits - 1) {
            uint32_t at = (uint32_t)__builtin_ctz(bits);
            const struct entry *entry =
                (const struct entry *)(index->entries +
                                       (uint64_t)bucket->handles[at] * ENTRY_ALIGN);
            if (match(entry, arg)) {
                ret_slot->bucket = bucket;
                ret_slot->at = at;
                return 1;
            }
        }
    }
    return 0;
}

#endif
