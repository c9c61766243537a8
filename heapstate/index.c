/* index.c -- linear hashing over cache-line buckets; see index_private.h. */
#include "index_private.h"
#include "cistern/error.h"

#define OVERFLOW_GRANULE_BYTES_MIN (16u << 10)
#define INDEX_BUCKETS_MAX (1u << 31)

uint32_t index_init(struct index *index, struct cistern_component *component,
    const uint8_t *entries, uint64_t granule_bytes, uint64_t reserve_bytes, uint32_t huge_pages,
    struct cistern_error *error)
{
    memset(index, 0, sizeof *index);
    index->entries = entries;
    index->granule_bytes = granule_bytes;
    index->overflow_granule_bytes = huge_pages ? granule_bytes : OVERFLOW_GRANULE_BYTES_MIN;
    struct cistern_region_options options = {
        .reserve_bytes = (reserve_bytes + granule_bytes - 1) / granule_bytes * granule_bytes,
        .granule_bytes = granule_bytes,
        .huge_pages = huge_pages,
    };
    uint32_t status = cistern_region_create(component, &options, &index->region, error);
    if (status != CISTERN_OK) {
        return status;
    }
    options.granule_bytes = index->overflow_granule_bytes;
    status = cistern_region_create(component, &options, &index->overflow_region, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = cistern_region_commit(index->region, 0, granule_bytes);
    if (status != CISTERN_OK) {
        return status;
    }
    index->buckets = cistern_region_base(index->region);
    index->overflow = cistern_region_base(index->overflow_region);
    index->bucket_min = (uint32_t)(granule_bytes / sizeof(struct bucket));
    index->bucket_count = index->bucket_min;
    index->mask = index->bucket_min - 1;
    return CISTERN_OK;
}

void index_deinit(struct index *index)
{
    cistern_region_destroy(index->region);
    cistern_region_destroy(index->overflow_region);
    memset(index, 0, sizeof *index);
}

uint64_t index_bytes(const struct index *index)
{
    return cistern_region_committed_bytes(index->region) +
           cistern_region_committed_bytes(index->overflow_region);
}

/* Puts memory behind one more overflow bucket on the free list. 0 = refused. */
static int overflow_prepare(struct index *index)
{
    if (index->overflow_free != 0) {
        return 1;
    }
    uint64_t committed = cistern_region_committed_bytes(index->overflow_region);
    if ((uint64_t)index->overflow_frontier * sizeof(struct bucket) == committed) {
        if (committed == cistern_region_reserve_bytes(index->overflow_region) ||
            cistern_region_commit(
                index->overflow_region, committed, index->overflow_granule_bytes) != CISTERN_OK) {
            return 0;
        }
    }
    index->overflow[index->overflow_frontier].link = 0;
    index->overflow_free = ++index->overflow_frontier;
    return 1;
}

static uint32_t overflow_take(struct index *index)
{
    uint32_t taken = index->overflow_free;
    assert(taken != 0);
    struct bucket *bucket = &index->overflow[taken - 1];
    index->overflow_free = bucket->link;
    memset(bucket, 0, sizeof *bucket);
    index->overflow_used++;
    return taken;
}

static void overflow_release(struct index *index, uint32_t number)
{
    index->overflow[number - 1].link = index->overflow_free;
    index->overflow_free = number;
    index->overflow_used--;
}

static uint32_t bucket_count_of(const struct bucket *bucket)
{
    uint32_t free_bits = bucket_match(bucket, 0);
    return free_bits == 0 ? BUCKET_SLOTS : (uint32_t)__builtin_ctz(free_bits);
}

static struct bucket *chain_last(const struct index *index, struct bucket *bucket)
{
    while (bucket->link != 0) {
        bucket = index_next(index, bucket);
    }
    return bucket;
}

uint32_t index_reserve(struct index *index, uint64_t hash, struct index_slot *ret_place)
{
    struct bucket *last = chain_last(index, index_bucket(index, hash));
    uint32_t count = bucket_count_of(last);
    if (count == BUCKET_SLOTS && !overflow_prepare(index)) {
        return CISTERN_LIMIT;
    }
    ret_place->bucket = last;
    ret_place->at = count; /* BUCKET_SLOTS: insert links the prepared overflow bucket */
    return CISTERN_OK;
}

void index_insert(struct index *index, struct index_slot place, uint64_t hash, uint32_t handle)
{
    if (place.at == BUCKET_SLOTS) {
        place.bucket->link = overflow_take(index);
        place.bucket = index_next(index, place.bucket);
        place.at = 0;
    }
    assert(place.bucket->handles[place.at] == 0);
    place.bucket->handles[place.at] = handle;
    place.bucket->tags[place.at] = index_tag(hash);
    index->entry_count++;
}

void index_remove(struct index *index, uint64_t hash, struct index_slot slot)
{
    struct bucket *before = NULL;
    struct bucket *last = index_bucket(index, hash);
    while (last->link != 0) {
        before = last;
        last = index_next(index, last);
    }
    uint32_t at = bucket_count_of(last) - 1;
    slot.bucket->handles[slot.at] = last->handles[at];
    slot.bucket->tags[slot.at] = last->tags[at];
    last->handles[at] = 0;
    last->tags[at] = 0;
    if (at == 0 && before != NULL) {
        uint32_t number = before->link;
        before->link = 0;
        overflow_release(index, number);
    }
    index->entry_count--;
}

struct index_slot index_locate(const struct index *index, uint32_t hash, uint32_t handle)
{
    struct index_slot slot = {.bucket = index_bucket(index, hash)};
    for (;;) {
        for (slot.at = 0; slot.at < BUCKET_SLOTS; slot.at++) {
            if (slot.bucket->handles[slot.at] == handle) {
                return slot;
            }
        }
        slot.bucket = index_next(index, slot.bucket);
        assert(slot.bucket != NULL);
    }
}

/* Appends one slot to the chain of `bucket`. An overflow bucket, if one is needed, is on the
 * free list. */
static struct bucket *chain_append(
    struct index *index, struct bucket *last, uint32_t handle, uint16_t tag)
{
    uint32_t at = bucket_count_of(last);
    if (at == BUCKET_SLOTS) {
        last->link = overflow_take(index);
        last = index_next(index, last);
        at = 0;
    }
    last->handles[at] = handle;
    last->tags[at] = tag;
    return last;
}

static uint32_t stored_hash(const struct index *index, uint32_t handle)
{
    return entry_hash((const struct entry *)(index->entries + (uint64_t)handle * ENTRY_ALIGN));
}

/* Deals the chain of bucket `from` out to `from` and `to`, the new last bucket. Each overflow
 * bucket is given back before its ten slots are dealt: two dense chains never need more buckets
 * than one chain of the same slots, plus the new primary. */
static void split_bucket(struct index *index, uint32_t from, uint32_t to, uint32_t to_bit)
{
    struct bucket *stay = &index->buckets[from];
    struct bucket *move = &index->buckets[to];
    struct bucket old = *stay;
    memset(stay, 0, sizeof *stay);
    memset(move, 0, sizeof *move);
    for (;;) {
        for (uint32_t i = 0; i < BUCKET_SLOTS && old.handles[i] != 0; i++) {
            __builtin_prefetch(index->entries + (uint64_t)old.handles[i] * ENTRY_ALIGN);
        }
        for (uint32_t i = 0; i < BUCKET_SLOTS && old.handles[i] != 0; i++) {
            if (stored_hash(index, old.handles[i]) & to_bit) {
                move = chain_append(index, move, old.handles[i], old.tags[i]);
            } else {
                stay = chain_append(index, stay, old.handles[i], old.tags[i]);
            }
        }
        if (old.link == 0) {
            return;
        }
        uint32_t next = old.link;
        old = index->overflow[next - 1];
        overflow_release(index, next);
    }
}

void index_grow(struct index *index)
{
    uint32_t count = index->bucket_count;
    if (index->entry_count <= (uint64_t)count * INDEX_GROW_PER_BUCKET ||
        count == INDEX_BUCKETS_MAX) {
        return;
    }
    uint64_t committed = cistern_region_committed_bytes(index->region);
    if ((uint64_t)count * sizeof(struct bucket) == committed) {
        if (committed == cistern_region_reserve_bytes(index->region) ||
            cistern_region_commit(index->region, committed, index->granule_bytes) != CISTERN_OK) {
            return;
        }
    }
    split_bucket(index, count - (index->mask + 1), count, index->mask + 1);
    index->bucket_count++;
    if (index->bucket_count == (index->mask + 1) << 1) {
        index->mask = index->mask << 1 | 1;
    }
}

void index_presize(struct index *index, uint64_t entries)
{
    if (index->entry_count != 0) {
        return;
    }
    uint64_t wanted = entries / INDEX_GROW_PER_BUCKET + 1;
    wanted = wanted < INDEX_BUCKETS_MAX ? wanted : INDEX_BUCKETS_MAX;
    uint64_t reserve = cistern_region_reserve_bytes(index->region);
    uint64_t committed = cistern_region_committed_bytes(index->region);
    while (committed < wanted * sizeof(struct bucket) && committed < reserve &&
           cistern_region_commit(index->region, committed, index->granule_bytes) == CISTERN_OK) {
        committed += index->granule_bytes;
    }
    uint64_t room = committed / sizeof(struct bucket);
    wanted = wanted < room ? wanted : room;
    if (wanted > index->bucket_count) { /* all are empty: nothing moves */
        index->bucket_count = (uint32_t)wanted;
        index->mask = (1u << (31 - __builtin_clz(index->bucket_count))) - 1;
    }
}

/* Moves the chain of the last bucket behind that of the bucket it was split from. 0 = no
 * overflow bucket to be had. */
static int merge_last_bucket(struct index *index)
{
    if (!overflow_prepare(index)) {
        return 0;
    }
    uint32_t from = index->bucket_count - 1;
    uint32_t mask = from == index->mask ? index->mask >> 1 : index->mask;
    struct bucket *last = chain_last(index, &index->buckets[from & mask]);
    struct bucket old = index->buckets[from];
    for (;;) {
        for (uint32_t i = 0; i < BUCKET_SLOTS && old.handles[i] != 0; i++) {
            last = chain_append(index, last, old.handles[i], old.tags[i]);
        }
        if (old.link == 0) {
            break;
        }
        uint32_t next = old.link;
        old = index->overflow[next - 1];
        overflow_release(index, next);
    }
    index->bucket_count = from;
    index->mask = mask;
    return 1;
}

static int load_is_low(const struct index *index)
{
    return index->bucket_count > index->bucket_min &&
           index->entry_count * 2 < (uint64_t)index->bucket_count * INDEX_GROW_PER_BUCKET;
}

int index_shrink(struct index *index, uint32_t count)
{
    if (!load_is_low(index)) {
        return 0;
    }
    int more = 1;
    for (uint32_t i = 0; i < count && more; i++) {
        more = load_is_low(index) && merge_last_bucket(index);
    }
    uint64_t committed = cistern_region_committed_bytes(index->region);
    uint64_t used = (uint64_t)index->bucket_count * sizeof(struct bucket);
    while (committed - index->granule_bytes >= used) {
        committed -= index->granule_bytes;
        cistern_region_decommit(index->region, committed, index->granule_bytes);
    }
    committed = cistern_region_committed_bytes(index->overflow_region);
    if (index->overflow_used == 0 && committed > index->overflow_granule_bytes) {
        cistern_region_decommit(index->overflow_region, 0, committed);
        index->overflow_free = 0;
        index->overflow_frontier = 0;
    }
    return more;
}
