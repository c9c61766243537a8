/*
 * cursor.c -- every entry of a state exactly once, while the index splits and merges under the
 * cursor.
 *
 * Order is the bit-reversed hash: in it, a bucket is one interval, a split halves an interval
 * and a merge joins two. So the place of the last entry returned, as a number, stays meaningful:
 * what lies before it was returned, whatever the buckets are now. Entries of one hash are
 * ordered by key and namespace; only inside such a group must the last key be remembered.
 *
 * Spans point into the log, nothing is copied and nothing pinned between calls.
 */
#include "heap_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"

#include <stdlib.h>

#define POSITION_END (1ULL << 32)
#define GATHER_MIN 64u

struct found { /* an entry of the bucket at hand */
    uint32_t position;
    const struct entry *entry;
    struct entry_view view;
};

struct heap_cursor {
    struct cistern_cursor base;
    uint64_t position; /* bit-reversed hash from where on entries are still to be returned */
    /* Of position's hash group, entries up to this key + namespace were returned; absent: none */
    struct cistern_span last;
    uint64_t last_key_bytes; /* where the key ends and the namespace begins in `last` */
    uint32_t last_has_namespace;
    uint32_t gather_capacity;
    struct found *gathered;
};

static uint32_t reverse_bits(uint32_t value)
{
    value = (value >> 1 & 0x55555555u) | (value & 0x55555555u) << 1;
    value = (value >> 2 & 0x33333333u) | (value & 0x33333333u) << 2;
    value = (value >> 4 & 0x0f0f0f0fu) | (value & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(value);
}

static int compare_spans(struct cistern_span a, struct cistern_span b)
{
    uint64_t common = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

/* Void sorts before the empty namespace. */
static int compare_addresses(struct cistern_span key, struct cistern_span name_space,
    struct cistern_span other_key, struct cistern_span other_namespace)
{
    int order = compare_spans(key, other_key);
    if (order != 0) {
        return order;
    }
    order = (name_space.data != NULL) - (other_namespace.data != NULL);
    return order != 0 ? order : compare_spans(name_space, other_namespace);
}

static int compare_found(const void *a, const void *b)
{
    const struct found *left = a;
    const struct found *right = b;
    if (left->position != right->position) {
        return left->position < right->position ? -1 : 1;
    }
    return compare_addresses(
        left->view.key, left->view.name_space, right->view.key, right->view.name_space);
}

static int was_returned(const struct heap_cursor *cursor, const struct found *found)
{
    if (found->position != cursor->position || cursor->last.data == NULL) {
        return found->position < cursor->position;
    }
    const uint8_t *bytes = cursor->last.data;
    struct cistern_span key = {bytes, cursor->last_key_bytes};
    struct cistern_span name_space = {NULL, 0};
    if (cursor->last_has_namespace) {
        name_space = (struct cistern_span){
            bytes + cursor->last_key_bytes, cursor->last.bytes - cursor->last_key_bytes};
    }
    return compare_addresses(found->view.key, found->view.name_space, key, name_space) <= 0;
}

/* Where the interval of the bucket at `position` ends. */
static uint64_t interval_end(const struct index *index, uint64_t position)
{
    uint32_t hash = reverse_bits((uint32_t)position);
    uint32_t low = hash & index->mask;
    uint32_t high = hash & (index->mask << 1 | 1);
    /* Split already, or split off: the bucket is known by one bit more. */
    uint32_t high_bit = index->mask + 1;
    int is_split =
        high < index->bucket_count && (high != low || low + high_bit < index->bucket_count);
    uint32_t bits = (uint32_t)__builtin_ctz(high_bit) + (uint32_t)is_split;
    uint64_t width = 1ULL << (32 - bits);
    return (position & ~(width - 1)) + width;
}

static uint32_t gather_reserve(
    struct heap_cursor *cursor, uint32_t count, struct cistern_error *error)
{
    if (count <= cursor->gather_capacity) {
        return CISTERN_OK;
    }
    uint32_t capacity =
        cursor->gather_capacity * 2 > GATHER_MIN ? cursor->gather_capacity * 2 : GATHER_MIN;
    struct found *gathered =
        cistern_reallocate(cursor->gathered, (uint64_t)capacity * sizeof *gathered);
    if (gathered == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, cursor->base.state->descriptor.name,
            "no memory for %u entries of one bucket", capacity);
    }
    cursor->gathered = gathered;
    cursor->gather_capacity = capacity;
    return CISTERN_OK;
}

static void prefetch_entries(const struct heap *heap, const struct bucket *bucket)
{
    for (uint32_t i = 0; i < BUCKET_SLOTS && bucket->handles[i] != 0; i++) {
        __builtin_prefetch(segment_entry(&heap->segments, bucket->handles[i]));
    }
}

/* The entries of the bucket at the cursor's position that are still to be returned, in order. */
static uint32_t gather_bucket(struct heap_cursor *cursor, const struct heap *heap,
    uint32_t *ret_count, struct cistern_error *error)
{
    uint32_t count = 0;
    const struct bucket *bucket =
        index_bucket(&heap->index, reverse_bits((uint32_t)cursor->position));
    for (; bucket != NULL; bucket = index_next(&heap->index, bucket)) {
        uint32_t status = gather_reserve(cursor, count + BUCKET_SLOTS, error);
        if (status != CISTERN_OK) {
            return status;
        }
        prefetch_entries(heap, bucket);
        for (uint32_t i = 0; i < BUCKET_SLOTS && bucket->handles[i] != 0; i++) {
            struct found *found = &cursor->gathered[count];
            found->entry = segment_entry(&heap->segments, bucket->handles[i]);
            if (found->entry->state_id != cursor->base.state->id) {
                continue;
            }
            found->position = reverse_bits(entry_hash(found->entry));
            entry_parse_in(heap, found->entry, found->entry->flags, &found->view);
            count += !was_returned(cursor, found);
        }
    }
    qsort(cursor->gathered, count, sizeof *cursor->gathered, compare_found);
    *ret_count = count;
    return CISTERN_OK;
}

/* The call ends inside a bucket: the next one goes on behind `found`. */
static uint32_t remember(
    struct heap_cursor *cursor, const struct found *found, struct cistern_error *error)
{
    uint64_t bytes = found->view.key.bytes + found->view.name_space.bytes;
    uint8_t *copy = cistern_allocate(bytes + 1);
    if (copy == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, cursor->base.state->descriptor.name,
            "no memory for a cursor's place of %llu bytes", (unsigned long long)bytes);
    }
    memcpy(copy, found->view.key.data, found->view.key.bytes);
    if (found->view.name_space.bytes != 0) {
        memcpy(copy + found->view.key.bytes, found->view.name_space.data,
            found->view.name_space.bytes);
    }
    cistern_release((void *)cursor->last.data);
    cursor->last = (struct cistern_span){copy, bytes};
    cursor->last_key_bytes = found->view.key.bytes;
    cursor->last_has_namespace = found->view.name_space.data != NULL;
    cursor->position = found->position;
    return CISTERN_OK;
}

static void move_to(struct heap_cursor *cursor, uint64_t position)
{
    cistern_release((void *)cursor->last.data);
    cursor->last = (struct cistern_span){NULL, 0};
    cursor->position = position;
}

static void fill_entry(const struct found *found, struct cistern_entry *ret_entry)
{
    *ret_entry = (struct cistern_entry){
        .address = {.key = found->view.key,
            .name_space = found->view.name_space,
            .key_group = found->view.key_group},
        .value = found->view.value,
        .written_ms = found->view.written_ms,
    };
}

/* Hands out the bucket at hand; the cursor moves behind what was handed out. */
static uint32_t drain_bucket(struct heap_cursor *cursor, const struct heap *heap, uint32_t gathered,
    int64_t now_ms, struct cistern_entry *ret_entries, uint32_t capacity, uint32_t *count,
    struct cistern_error *error)
{
    const struct heap_state *state = (const struct heap_state *)cursor->base.state;
    uint64_t end = interval_end(&heap->index, cursor->position);
    for (uint32_t i = 0; i < gathered; i++) {
        const struct found *found = &cursor->gathered[i];
        if (!state->base.descriptor.ttl.return_expired &&
            entry_expired(state, found->entry->flags, found->view.written_ms, now_ms)) {
            continue;
        }
        fill_entry(found, &ret_entries[(*count)++]);
        if (*count == capacity && i + 1 < gathered) {
            if (cursor->gathered[i + 1].position != found->position) {
                move_to(cursor, cursor->gathered[i + 1].position);
                return CISTERN_OK;
            }
            return remember(cursor, found, error);
        }
    }
    move_to(cursor, end);
    return CISTERN_OK;
}

uint32_t heap_cursor_next(struct cistern_cursor *base, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    struct heap_cursor *cursor = (struct heap_cursor *)base;
    const struct heap *heap = heap_of(base->state->backend);
    int64_t now_ms = state_has_ttl((const struct heap_state *)base->state)
                         ? cistern_state_now_ms(base->state)
                         : 0;
    uint32_t count = 0;
    while (count < capacity && cursor->position < POSITION_END) {
        uint64_t next = interval_end(&heap->index, cursor->position);
        if (next < POSITION_END) {
            __builtin_prefetch(index_bucket(&heap->index, reverse_bits((uint32_t)next)));
        }
        uint32_t gathered = 0;
        uint32_t status = gather_bucket(cursor, heap, &gathered, error);
        if (status == CISTERN_OK) {
            status =
                drain_bucket(cursor, heap, gathered, now_ms, ret_entries, capacity, &count, error);
        }
        if (status != CISTERN_OK) {
            return status;
        }
    }
    *ret_count = count;
    return CISTERN_OK;
}

uint32_t heap_entries_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct heap_cursor *cursor = cistern_allocate_zeroed(1, sizeof *cursor);
    if (cursor == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, state->descriptor.name, "no memory for a cursor");
    }
    cursor->base.state = state;
    *ret_cursor = &cursor->base;
    return CISTERN_OK;
}

void heap_cursor_close(struct cistern_cursor *base)
{
    struct heap_cursor *cursor = (struct heap_cursor *)base;
    if (cursor == NULL) {
        return;
    }
    cistern_release((void *)cursor->last.data);
    cistern_release(cursor->gathered);
    cistern_release(cursor);
}
