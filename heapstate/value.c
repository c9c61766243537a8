/*
 * value.c -- the data calls of value, reducing and aggregating states; see heap_private.h.
 *
 * A batch runs in groups of 16: first every bucket line is asked for, then every entry line,
 * then the items are done in order, each with a lookup of its own, so repeated keys see each
 * other. Space is found before anything is written: an item that ends with LIMIT has changed
 * nothing.
 */
#include "heap_private.h"
#include "inputs_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/endian.h"
#include "cistern/error.h"

/* 2^64 / golden ratio: spreads small ids over all bits */
#define HASH_STATE_FACTOR 0x9E3779B97F4A7C15ULL
#define DELETE_KEEP 2u /* empty segments that a tombstone leaves to the cleaner */

struct call { /* what is the same for every item of one call */
    struct heap *heap;
    struct heap_state *state;
    const struct entry_layout *layout;
    int64_t now_ms;
    uint8_t state_id;
    uint8_t has_ttl;
};

/* ---- lookup ---- */

static inline uint64_t hash_address(
    const struct heap *heap, uint32_t state_id, const struct cistern_address *address)
{
    uint64_t seed = heap->hash_seed ^ (state_id * HASH_STATE_FACTOR);
    uint64_t hash = cistern_hash64_seeded(address->key.data, address->key.bytes, seed);
    if (address->name_space.data != NULL) {
        hash = cistern_hash64_seeded(address->name_space.data, address->name_space.bytes, hash);
    }
    return hash;
}

struct lookup lookup_make(
    const struct heap *heap, uint32_t state_id, const struct cistern_address *address)
{
    struct lookup lookup = {
        .address = address,
        .hash = hash_address(heap, state_id, address),
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

static inline int find(
    const struct heap *heap, const struct lookup *lookup, struct index_slot *ret_slot)
{
    return index_find(&heap->index, lookup->hash, entry_matches, lookup, ret_slot);
}

static inline struct entry *entry_in(const struct heap *heap, struct index_slot slot)
{
    return segment_entry(&heap->segments, slot.bucket->handles[slot.at]);
}

/* Asks for the lines of a group of lookups: first all buckets, then all entries whose tag fits. */
static inline void prefetch_group(const struct call *call, const struct cistern_address *addresses,
    uint32_t count, struct lookup *lookups)
{
    const struct index *index = &call->heap->index;
    for (uint32_t i = 0; i < count; i++) {
        lookups[i].address = &addresses[i];
        lookups[i].hash = hash_address(call->heap, call->state_id, &addresses[i]);
        lookups[i].layout = call->layout;
        lookups[i].state_id = call->state_id;
        __builtin_prefetch(index_bucket(index, lookups[i].hash));
    }
    if (count == 1) {
        return; /* nothing to overlap with */
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct bucket *bucket = index_bucket(index, lookups[i].hash);
        uint32_t bits = bucket_match(bucket, index_tag(lookups[i].hash));
        if (bits != 0) {
            uint32_t handle = bucket->handles[__builtin_ctz(bits)];
            __builtin_prefetch(segment_entry(&call->heap->segments, handle));
        }
    }
}

static struct call call_make(struct cistern_state *base)
{
    struct heap_state *state = (struct heap_state *)base;
    struct heap *heap = heap_of(base->backend);
    struct call call = {
        .heap = heap,
        .state = state,
        .layout = &heap->layouts[base->id],
        .state_id = (uint8_t)base->id,
        .has_ttl = (uint8_t)state_has_ttl(state),
    };
    if (call.has_ttl) {
        call.now_ms = cistern_state_now_ms(base);
    }
    return call;
}

/* ---- store ---- */

static void count_entry(struct heap_state *state, const struct entry_view *view, int add)
{
    uint64_t bytes = view->key.bytes + view->name_space.bytes + view->value.bytes;
    state->entries += add ? 1 : UINT64_MAX;
    state->bytes += add ? bytes : -bytes;
}

void value_drop(
    struct heap *heap, struct index_slot slot, uint64_t hash, const struct entry_view *view)
{
    uint32_t handle = slot.bucket->handles[slot.at];
    struct entry *entry = segment_entry(&heap->segments, handle);
    count_entry(heap_state_of(heap, entry->state_id), view, 0);
    index_remove(&heap->index, hash, slot);
    log_kill(heap, entry, handle, view->bytes);
}

static inline void write_written(struct entry *entry, int64_t written_ms)
{
    if (entry->flags & ENTRY_TTL) {
        memcpy((uint8_t *)(entry + 1) + sizeof(uint16_t), &written_ms, sizeof written_ms);
    }
}

/* Overwrites where the entry stands, when the new value takes as much room. 0 = append instead. */
static int overwrite_in_place(
    const struct call *call, struct index_slot slot, struct cistern_span value, int64_t written_ms)
{
    struct heap *heap = call->heap;
    struct entry *entry = entry_in(heap, slot);
    struct entry_view view;
    entry_parse(entry, entry->flags, call->layout, &view);
    uint64_t used = (uint64_t)((const uint8_t *)view.value.data - (const uint8_t *)entry);
    int fits = entry_align(used + value.bytes) == view.bytes &&
               (call->layout->value_bytes != 0 ||
                   varint_bytes(value.bytes) == varint_bytes(view.value.bytes)) &&
               ((entry->flags & ENTRY_TTL) != 0) == call->has_ttl;
    if (!fits || !log_touch(heap, entry, slot.bucket->handles[slot.at])) {
        return 0;
    }
    if (call->layout->value_bytes == 0 && value.bytes != view.value.bytes) {
        uint8_t *length = (uint8_t *)entry + used - view.key.bytes - view.name_space.bytes -
                          varint_bytes(value.bytes);
        varint_write(length, value.bytes);
        call->state->bytes += value.bytes - view.value.bytes;
    }
    if (value.bytes != 0) {
        memmove((uint8_t *)entry + used, value.data, value.bytes);
    }
    write_written(entry, written_ms);
    heap->in_place_count++;
    heap->overwrite_count++;
    return 1;
}

static void content_fill(const struct call *call, const struct lookup *lookup,
    struct cistern_span value, struct entry_content *content)
{
    *content = (struct entry_content){
        .key = lookup->address->key,
        .name_space = lookup->address->name_space,
        .value = value,
        .hash = (uint32_t)lookup->hash,
        .key_group = (uint16_t)lookup->address->key_group,
        .state_id = call->state_id,
        .flags = call->has_ttl ? ENTRY_TTL : 0,
    };
}

/* Replaces what `slot` names by the entry at `handle`. */
static void replace_entry(struct heap *heap, struct index_slot slot, uint32_t handle)
{
    uint32_t old_handle = slot.bucket->handles[slot.at];
    struct entry *old = segment_entry(&heap->segments, old_handle);
    struct entry_view view;
    entry_parse_in(heap, old, old->flags, &view);
    count_entry(heap_state_of(heap, old->state_id), &view, 0);
    slot.bucket->handles[slot.at] = handle;
    log_kill(heap, old, old_handle, view.bytes);
    heap->overwrite_count++;
}

/* A place in the index; what the slot lent comes back for it, empty segments beyond the reserve
 * make way, and the cleaner makes some when there are none. Only sealed segments are cleaned: a
 * place in the open one stays. */
static uint32_t reserve_slot(struct heap *heap, uint64_t hash, struct index_slot *ret_place)
{
    uint32_t status = index_reserve(&heap->index, hash, ret_place);
    if (status != CISTERN_OK && heap_recall(heap, heap->index.overflow_granule_bytes)) {
        status = index_reserve(&heap->index, hash, ret_place);
    }
    if (status != CISTERN_OK && heap->segments.empty_count <= SEGMENT_RESERVE && !heap->pinned) {
        (void)cleaner_make_room(heap, SEGMENT_RESERVE);
    }
    if (status != CISTERN_OK && segment_trim(&heap->segments, SEGMENT_RESERVE) != 0) {
        status = index_reserve(&heap->index, hash, ret_place);
    }
    if (status != CISTERN_OK) {
        heap->wanted_bytes = heap->index.overflow_granule_bytes;
    }
    return status;
}

/* Appends a new version. *slot is where the old one is indexed, if `found`. */
static uint32_t append_value(const struct call *call, const struct lookup *lookup, int found,
    struct index_slot slot, struct cistern_span value, int64_t written_ms)
{
    struct heap *heap = call->heap;
    struct entry_content content;
    content_fill(call, lookup, value, &content);
    content.written_ms = written_ms;
    uint64_t bytes = entry_bytes(&content, call->layout);
    uint32_t handle;
    int moved;
    uint32_t status = log_place(heap, bytes, SEGMENT_RESERVE, &handle, &moved);
    if (status != CISTERN_OK) {
        return status;
    }
    found = moved ? find(heap, lookup, &slot) : found;
    struct index_slot place;
    if (!found && (status = reserve_slot(heap, lookup->hash, &place)) != CISTERN_OK) {
        log_cancel(heap, handle);
        return status;
    }
    const struct entry *old = found ? entry_in(heap, slot) : NULL;
    int is_new = old == NULL ||
                 ((old->flags & ENTRY_NEW) &&
                     entry_stamp(segment_of(&heap->segments, slot.bucket->handles[slot.at]), old) ==
                         heap->epoch);
    /* An expired entry leaves without a tombstone, so with TTL the address may be in a
     * checkpoint though it is not here. */
    content.flags |= is_new && !call->has_ttl ? ENTRY_NEW : 0;
    struct entry *entry = segment_entry(&heap->segments, handle);
    entry_write(entry, &content, call->layout, bytes);
    log_commit(heap, handle, bytes, 0);
    struct entry_view view = {.key = content.key, .name_space = content.name_space, .value = value};
    count_entry(call->state, &view, 1);
    if (found) {
        replace_entry(heap, slot, handle);
    } else {
        index_insert(&heap->index, place, lookup->hash, handle);
        index_grow(&heap->index);
    }
    return CISTERN_OK;
}

static inline uint32_t store(const struct call *call, const struct lookup *lookup,
    struct cistern_span value, int64_t written_ms)
{
    struct index_slot slot = {0};
    int found = find(call->heap, lookup, &slot);
    if (found && overwrite_in_place(call, slot, value, written_ms)) {
        return CISTERN_OK;
    }
    return append_value(call, lookup, found, slot, value, written_ms);
}

uint32_t value_store(struct heap *heap, struct heap_state *state, const struct lookup *lookup,
    struct cistern_span value, int64_t written_ms)
{
    struct call call = {
        .heap = heap,
        .state = state,
        .layout = lookup->layout,
        .state_id = lookup->state_id,
        .has_ttl = (uint8_t)state_has_ttl(state),
    };
    return store(&call, lookup, value, written_ms);
}

int value_is_current(struct heap *heap, const struct lookup *lookup)
{
    struct index_slot slot;
    if (!find(heap, lookup, &slot)) {
        return 0;
    }
    const struct entry *entry = entry_in(heap, slot);
    return entry_stamp(segment_of(&heap->segments, slot.bucket->handles[slot.at]), entry) ==
           heap->epoch;
}

/* ---- remove ---- */

/* No increment can hold the address, or need to hear of its end. */
static int leaves_no_trace(const struct heap *heap, struct index_slot slot)
{
    const struct entry *entry = entry_in(heap, slot);
    return heap->chain.record_count == 0 ||
           ((entry->flags & ENTRY_NEW) &&
               entry_stamp(segment_of(&heap->segments, slot.bucket->handles[slot.at]), entry) ==
                   heap->epoch);
}

static uint32_t append_tombstone(
    struct heap *heap, const struct lookup *lookup, int *found, struct index_slot *slot)
{
    struct entry_content content = {
        .key = lookup->address->key,
        .name_space = lookup->address->name_space,
        .hash = (uint32_t)lookup->hash,
        .key_group = (uint16_t)lookup->address->key_group,
        .state_id = lookup->state_id,
        .flags = ENTRY_TOMBSTONE,
    };
    uint64_t bytes = entry_bytes(&content, lookup->layout);
    uint32_t handle;
    int moved;
    uint32_t status = log_place(heap, bytes, DELETE_KEEP, &handle, &moved);
    if (status != CISTERN_OK) {
        return status;
    }
    *found = moved ? find(heap, lookup, slot) : 1;
    entry_write(segment_entry(&heap->segments, handle), &content, lookup->layout, bytes);
    log_commit(heap, handle, bytes, 1);
    return CISTERN_OK;
}

uint32_t value_erase(struct heap *heap, const struct lookup *lookup)
{
    struct index_slot slot;
    int found = find(heap, lookup, &slot);
    if (!found) {
        return CISTERN_OK;
    }
    if (!leaves_no_trace(heap, slot)) {
        if (heap->segments.tombstone_bytes >
            cistern_slot_share_bytes(heap->base.slot) / HEAP_TOMBSTONE_SHARE) {
            /* The next snapshot is a full one: better than to run out of memory by deleting. */
            chain_forget(&heap->chain);
            heap_prune(heap);
        } else {
            uint32_t status = append_tombstone(heap, lookup, &found, &slot);
            if (status != CISTERN_OK) {
                return status;
            }
        }
    }
    if (found) {
        const struct entry *entry = entry_in(heap, slot);
        struct entry_view view;
        entry_parse(entry, entry->flags, lookup->layout, &view);
        value_drop(heap, slot, lookup->hash, &view);
        index_shrink(&heap->index, 1);
    }
    return CISTERN_OK;
}

/* ---- add ---- */

static inline uint64_t combine(uint32_t reduce, uint64_t value, uint64_t input)
{
    if (reduce == CISTERN_REDUCE_SUM_I64) {
        return value + input; /* wraps like Java's long */
    }
    int less = (int64_t)input < (int64_t)value;
    return less == (reduce == CISTERN_REDUCE_MIN_I64) ? input : value;
}

/* A built-in reducer on a value that may be changed where it stands. 0 = take the long way. */
static inline int add_in_place(const struct call *call, struct entry *entry, uint32_t handle,
    const struct entry_view *view, struct cistern_span input)
{
    uint32_t reduce = call->state->base.descriptor.reduce;
    if (reduce == CISTERN_REDUCE_NONE || view->value.bytes != 8 || input.bytes != 8 ||
        ((entry->flags & ENTRY_TTL) != 0) != call->has_ttl ||
        !log_touch(call->heap, entry, handle)) {
        return 0;
    }
    uint64_t value =
        combine(reduce, cistern_get_u64_be(view->value.data), cistern_get_u64_be(input.data));
    cistern_put_u64_be(
        (uint8_t *)entry + ((const uint8_t *)view->value.data - (const uint8_t *)entry), value);
    write_written(entry, call->now_ms);
    call->heap->in_place_count++;
    call->heap->overwrite_count++;
    return 1;
}

/* Reduces into memory of its own, then stores. */
static uint32_t add_through_scratch(const struct call *call, const struct lookup *lookup,
    struct cistern_span old_value, struct cistern_span input, struct cistern_error *error)
{
    const struct cistern_state_descriptor *descriptor = &call->state->base.descriptor;
    uint8_t small[HEAP_REDUCE_SCRATCH_BYTES];
    struct cistern_bytes result = {.data = small, .capacity_bytes = sizeof small};
    uint8_t *large = NULL;
    uint64_t bytes = 0;
    uint32_t status = cistern_reduce_apply(descriptor, old_value, input, result, &bytes, error);
    if (status == CISTERN_LIMIT && bytes > sizeof small &&
        bytes <= call->heap->base.options.value_bytes_max) {
        large = cistern_allocate(bytes);
        if (large == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, descriptor->name,
                "no memory for a reduced value of %llu bytes", (unsigned long long)bytes);
        }
        result = (struct cistern_bytes){.data = large, .capacity_bytes = bytes};
        status = cistern_reduce_apply(descriptor, old_value, input, result, &bytes, error);
    }
    if (status == CISTERN_LIMIT || (status == CISTERN_OK && descriptor->value_bytes != 0 &&
                                       bytes != descriptor->value_bytes)) {
        status = cistern_fail(error, CISTERN_INVALID, descriptor->name,
            "state \"%s\": the reducer made a value of %llu bytes; at most %llu (value_bytes_max), "
            "fixed size %u",
            descriptor->name, (unsigned long long)bytes,
            (unsigned long long)call->heap->base.options.value_bytes_max, descriptor->value_bytes);
    } else if (status == CISTERN_OK) {
        status = store(call, lookup, (struct cistern_span){result.data, bytes}, call->now_ms);
    }
    cistern_release(large);
    return status;
}

static inline uint32_t add_item(const struct call *call, const struct lookup *lookup,
    struct cistern_span input, struct cistern_error *error)
{
    struct index_slot slot;
    struct cistern_span old_value = {NULL, 0};
    if (find(call->heap, lookup, &slot)) {
        struct entry *entry = entry_in(call->heap, slot);
        struct entry_view view;
        entry_parse(entry, entry->flags, call->layout, &view);
        if (!call->has_ttl ||
            !entry_expired(call->state, entry->flags, view.written_ms, call->now_ms)) {
            if (add_in_place(call, entry, slot.bucket->handles[slot.at], &view, input)) {
                return CISTERN_OK;
            }
            old_value = view.value;
        }
    }
    return add_through_scratch(call, lookup, old_value, input, error);
}

/* ---- get ---- */

/* What a read of an entry with TTL does to it: too old, it goes; else it may get a younger
 * stamp. The bytes that `ret_value` points to stay: while the heap is pinned no segment is
 * freed, and an append that would need the cleaner is a LIMIT. */
static uint32_t get_with_ttl(const struct call *call, const struct lookup *lookup,
    struct index_slot slot, const struct entry_view *view, struct cistern_span *ret_value)
{
    const struct cistern_ttl *ttl = &call->state->base.descriptor.ttl;
    struct entry *entry = entry_in(call->heap, slot);
    if (entry_expired(call->state, entry->flags, view->written_ms, call->now_ms)) {
        if (ttl->return_expired) {
            *ret_value = view->value;
        }
        value_drop(call->heap, slot, lookup->hash, view);
        return CISTERN_OK;
    }
    *ret_value = view->value;
    if (!ttl->update_on_read || view->written_ms == call->now_ms) {
        return CISTERN_OK;
    }
    if ((entry->flags & ENTRY_TTL) && log_touch(call->heap, entry, slot.bucket->handles[slot.at])) {
        write_written(entry, call->now_ms);
        return CISTERN_OK;
    }
    return append_value(call, lookup, 1, slot, view->value, call->now_ms);
}

static inline uint32_t get_item(
    const struct call *call, const struct lookup *lookup, struct cistern_span *ret_value)
{
    struct index_slot slot;
    *ret_value = (struct cistern_span){NULL, 0};
    if (!find(call->heap, lookup, &slot)) {
        return CISTERN_OK;
    }
    const struct entry *entry = entry_in(call->heap, slot);
    struct entry_view view;
    entry_parse(entry, entry->flags, call->layout, &view);
    if (call->has_ttl) {
        return get_with_ttl(call, lookup, slot, &view, ret_value);
    }
    *ret_value = view.value;
    return CISTERN_OK;
}

/* ---- batches ---- */

static inline uint32_t group_count(uint32_t left)
{
    return left < HEAP_PREFETCH_GROUP ? left : HEAP_PREFETCH_GROUP;
}

/* The cleaner's turn comes after a batch: one check of the pace for all of it. */
static inline void end_batch(struct heap *heap)
{
    if (heap->cleaner.appended >= heap->segments.segment_bytes / 64) {
        uint64_t appended = heap->cleaner.appended;
        heap->cleaner.appended = 0;
        cleaner_pace(heap, appended);
    }
}

uint32_t heap_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error)
{
    (void)error;
    struct call call = call_make(state);
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    uint32_t status = CISTERN_OK;
    call.heap->pinned = 1;
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += HEAP_PREFETCH_GROUP) {
        uint32_t group = group_count(count - from);
        prefetch_group(&call, addresses + from, group, lookups);
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            status = get_item(&call, &lookups[i], &ret_values[from + i]);
        }
    }
    call.heap->pinned = 0;
    return status;
}

static uint32_t put_batch(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    (void)error;
    struct call call = call_make(state);
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    uint32_t status = CISTERN_OK;
    uint32_t done = 0;
    while (done < count && status == CISTERN_OK) {
        uint32_t group = group_count(count - done);
        prefetch_group(&call, addresses + done, group, lookups);
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            status = store(&call, &lookups[i], values[done], call.now_ms);
            done += status == CISTERN_OK;
        }
    }
    end_batch(call.heap);
    *ret_done = done;
    return status;
}

static uint32_t add_batch(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *inputs, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    struct call call = call_make(state);
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    uint32_t status = CISTERN_OK;
    uint32_t done = 0;
    while (done < count && status == CISTERN_OK) {
        uint32_t group = group_count(count - done);
        prefetch_group(&call, addresses + done, group, lookups);
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            status = add_item(&call, &lookups[i], inputs[done], error);
            done += status == CISTERN_OK;
        }
    }
    end_batch(call.heap);
    *ret_done = done;
    return status;
}

static uint32_t remove_batch(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    (void)values;
    (void)error;
    struct call call = call_make(state);
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    uint32_t status = CISTERN_OK;
    uint32_t done = 0;
    while (done < count && status == CISTERN_OK) {
        uint32_t group = group_count(count - done);
        prefetch_group(&call, addresses + done, group, lookups);
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            status = value_erase(call.heap, &lookups[i]);
            done += status == CISTERN_OK;
        }
    }
    end_batch(call.heap);
    *ret_done = done;
    return status;
}

typedef uint32_t (*batch_fn)(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);

/* Runs a batch, on a copy of its inputs when they point into the log. */
static inline uint32_t run_batch(batch_fn batch, struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    const struct heap *heap = heap_of(state->backend);
    if (__builtin_expect(!inputs_are_borrowed(&heap->segments, addresses, values, count), 1)) {
        return batch(state, addresses, values, count, ret_done, error);
    }
    struct inputs inputs;
    uint32_t status = inputs_copy(&inputs, addresses, values, count, error);
    if (status == CISTERN_OK) {
        status = batch(state, inputs.addresses, inputs.values, count, ret_done, error);
        inputs_deinit(&inputs);
    }
    return status;
}

uint32_t heap_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    return run_batch(put_batch, state, addresses, values, count, ret_done, error);
}

uint32_t heap_add_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *inputs, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    return run_batch(add_batch, state, addresses, inputs, count, ret_done, error);
}

uint32_t heap_remove_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error)
{
    return run_batch(remove_batch, state, addresses, NULL, count, ret_done, error);
}
