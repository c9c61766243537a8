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
#include "cursor_private.h"
#include "list_private.h"
#include "timer_private.h"
#include "version_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"

#include <stdlib.h>

#define GATHER_MIN 64u

struct found { /* an entry of the bucket at hand */
    uint32_t position;
    const struct entry *entry;
    struct entry_view view;
};

struct heap_cursor {
    struct walk walk;
    uint32_t keys_only;
    uint32_t has_filter;            /* only entries of name_space */
    struct cistern_span name_space; /* a copy */
    uint64_t position; /* bit-reversed hash from where on entries are still to be returned */
    /* Of position's hash group, entries up to this key + namespace were returned; absent: none */
    struct cistern_span last;
    uint64_t last_key_bytes; /* where the key ends and the namespace begins in `last` */
    uint32_t last_has_namespace;
    uint32_t gather_capacity;
    struct found *gathered;
};

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
        return cistern_fail(error, CISTERN_NO_MEMORY, cursor->walk.base.state->descriptor.name,
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
            if (found->entry->state_id != cursor->walk.base.state->id) {
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
        return cistern_fail(error, CISTERN_NO_MEMORY, cursor->walk.base.state->descriptor.name,
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

static void fill_entry(
    const struct heap_cursor *cursor, const struct found *found, struct cistern_entry *ret_entry)
{
    *ret_entry = (struct cistern_entry){
        .address = {.key = found->view.key,
            .name_space = found->view.name_space,
            .key_group = found->view.key_group},
    };
    if (cursor->walk.base.state->descriptor.kind == CISTERN_TIMERS) {
        ret_entry->written_ms = timer_key_split(&ret_entry->address.key);
    } else if (!cursor->keys_only) {
        ret_entry->value = found->view.value;
        ret_entry->written_ms = found->view.written_ms;
    }
}

static int is_wanted(const struct heap_cursor *cursor, const struct found *found, int64_t now_ms)
{
    const struct heap_state *state = (const struct heap_state *)cursor->walk.base.state;
    if (cursor->has_filter &&
        ((cursor->name_space.data != NULL) != (found->view.name_space.data != NULL) ||
            !span_equal(cursor->name_space, found->view.name_space))) {
        return 0;
    }
    return state->base.descriptor.ttl.return_expired ||
           !entry_expired(state, found->entry->flags, found->view.written_ms, now_ms);
}

/* Hands out the bucket at hand; the cursor moves behind what was handed out. */
static uint32_t drain_bucket(struct heap_cursor *cursor, const struct heap *heap, uint32_t gathered,
    int64_t now_ms, struct cistern_entry *ret_entries, uint32_t capacity, uint32_t *count,
    struct cistern_error *error)
{
    uint64_t end = interval_end(heap->index.bucket_count, heap->index.mask, cursor->position);
    for (uint32_t i = 0; i < gathered; i++) {
        const struct found *found = &cursor->gathered[i];
        if (!is_wanted(cursor, found, now_ms)) {
            continue;
        }
        fill_entry(cursor, found, &ret_entries[(*count)++]);
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

static uint32_t index_next_entries(struct cistern_cursor *base, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    struct heap_cursor *cursor = (struct heap_cursor *)base;
    const struct heap *heap = heap_of(base->state->backend);
    const struct heap_state *state = (const struct heap_state *)base->state;
    int64_t now_ms = state_has_ttl(state) ? cistern_state_now_ms(base->state) : 0;
    uint32_t count = 0;
    while (count < capacity && cursor->position < POSITION_END) {
        uint64_t next = interval_end(heap->index.bucket_count, heap->index.mask, cursor->position);
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

static void index_close(struct cistern_cursor *base)
{
    struct heap_cursor *cursor = (struct heap_cursor *)base;
    cistern_release((void *)cursor->last.data);
    cistern_release((void *)cursor->name_space.data);
    cistern_release(cursor->gathered);
    cistern_release(cursor);
}

static uint32_t fail_no_memory(const struct cistern_state *state, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_NO_MEMORY, state->descriptor.name, "no memory for a cursor");
}

static uint32_t index_open(struct cistern_state *state, const struct cistern_span *name_space,
    int keys_only, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct heap_cursor *cursor = cistern_allocate_zeroed(1, sizeof *cursor);
    if (cursor == NULL) {
        return fail_no_memory(state, error);
    }
    cursor->walk.base.state = state;
    cursor->walk.next = index_next_entries;
    cursor->walk.close = index_close;
    cursor->keys_only = (uint32_t)keys_only;
    cursor->has_filter = name_space != NULL;
    if (name_space != NULL && name_space->data != NULL) {
        void *copy = cistern_allocate(name_space->bytes + 1);
        if (copy == NULL) {
            cistern_release(cursor);
            return fail_no_memory(state, error);
        }
        memcpy(copy, name_space->data, name_space->bytes);
        cursor->name_space = (struct cistern_span){copy, name_space->bytes};
    }
    *ret_cursor = &cursor->walk.base;
    return CISTERN_OK;
}

/* ---- maps and lists: every item of every head ---- */

struct nested {
    struct walk walk;
    struct cistern_cursor *keys;
    struct cistern_cursor *items; /* of the head at hand; NULL = none */
};

static uint32_t nested_next(struct cistern_cursor *base, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    struct nested *nested = (struct nested *)base;
    struct cistern_state *state = base->state;
    uint32_t status = CISTERN_OK;
    *ret_count = 0;
    while (status == CISTERN_OK && *ret_count < capacity) {
        uint32_t count = 0;
        if (nested->items == NULL) {
            struct cistern_entry key;
            status = heap_cursor_next(nested->keys, &key, 1, &count, error);
            if (status != CISTERN_OK || count == 0) {
                return status;
            }
            status = state->descriptor.kind == CISTERN_MAP
                         ? heap_map_open(state, &key.address, &nested->items, error)
                         : list_walk_open(state, &key.address, 0, &nested->items, error);
            continue;
        }
        status = heap_cursor_next(
            nested->items, ret_entries + *ret_count, capacity - *ret_count, &count, error);
        *ret_count += count;
        if (status == CISTERN_OK && count == 0 && *ret_count != 0) {
            return CISTERN_OK; /* the addresses handed out are the open cursor's */
        }
        if (status == CISTERN_OK && count == 0) {
            heap_cursor_close(nested->items);
            nested->items = NULL;
        }
    }
    return status;
}

static void nested_close(struct cistern_cursor *base)
{
    struct nested *nested = (struct nested *)base;
    heap_cursor_close(nested->items);
    heap_cursor_close(nested->keys);
    cistern_release(nested);
}

static uint32_t nested_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct nested *nested = cistern_allocate_zeroed(1, sizeof *nested);
    if (nested == NULL) {
        return fail_no_memory(state, error);
    }
    nested->walk.base.state = state;
    nested->walk.next = nested_next;
    nested->walk.close = nested_close;
    uint32_t status = index_open(state, NULL, 1, &nested->keys, error);
    if (status != CISTERN_OK) {
        cistern_release(nested);
        return status;
    }
    *ret_cursor = &nested->walk.base;
    return CISTERN_OK;
}

/* ---- the operations ---- */

void *walk_allocate(struct heap *heap)
{
    void *walk = heap->spare_walk;
    if (walk == NULL) {
        return cistern_allocate_zeroed(1, WALK_BYTES);
    }
    heap->spare_walk = NULL;
    memset(walk, 0, WALK_BYTES);
    return walk;
}

void walk_release(struct heap *heap, void *walk)
{
    cistern_release(heap->spare_walk);
    heap->spare_walk = walk;
}

uint32_t owned_address_make(struct owned_address *owned, const struct cistern_address *address,
    const char *object, struct cistern_error *error)
{
    uint64_t bytes = address->key.bytes + address->name_space.bytes;
    uint8_t *at = owned->small;
    if (bytes > sizeof owned->small) {
        at = owned->storage = cistern_allocate(bytes);
        if (at == NULL) {
            return cistern_fail(
                error, CISTERN_NO_MEMORY, object, "no memory for a cursor's address");
        }
    }
    owned->address = *address;
    owned->address.key.data = at;
    at = span_write(at, address->key);
    if (address->name_space.data != NULL) {
        owned->address.name_space.data = at;
        span_write(at, address->name_space);
    }
    return CISTERN_OK;
}

void owned_address_deinit(struct owned_address *owned)
{
    cistern_release(owned->storage);
}

uint32_t heap_entries_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    uint32_t kind = state->descriptor.kind;
    return kind == CISTERN_MAP || kind == CISTERN_LIST
               ? nested_open(state, ret_cursor, error)
               : index_open(state, NULL, 0, ret_cursor, error);
}

uint32_t heap_keys_open(struct cistern_state *state, const struct cistern_span *name_space,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    return index_open(state, name_space, 1, ret_cursor, error);
}

uint32_t heap_cursor_next(struct cistern_cursor *cursor, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    return ((struct walk *)cursor)->next(cursor, ret_entries, capacity, ret_count, error);
}

void heap_cursor_close(struct cistern_cursor *cursor)
{
    if (cursor != NULL) {
        ((struct walk *)cursor)->close(cursor);
    }
}
