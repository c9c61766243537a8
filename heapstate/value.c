/*
 * value.c -- the data calls of value, reducing and aggregating states; see heap_private.h.
 *
 * A batch runs in groups of 16: first every bucket line is asked for, then every entry line,
 * then the items are done in order, each with a lookup of its own, so repeated keys see each
 * other. Space is found before anything is written: an item that ends with LIMIT has changed
 * nothing.
 */
#include "inputs_private.h"
#include "list_private.h"
#include "map_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/endian.h"
#include "cistern/error.h"

struct call { /* what is the same for every item of one call */
    struct heap *heap;
    struct heap_state *state;
    const struct entry_layout *layout;
    int64_t now_ms;
    uint8_t state_id;
    uint8_t has_ttl;
};

/* ---- lookup ---- */

/* Asks for the lines of a group of lookups: first all buckets, then all entries whose tag fits. */
static inline void prefetch_group(const struct call *call, const struct cistern_address *addresses,
    uint32_t count, struct lookup *lookups)
{
    const struct index *index = &call->heap->index;
    for (uint32_t i = 0; i < count; i++) {
        lookups[i].address = &addresses[i];
        lookups[i].hash = lookup_hash(call->heap, call->state_id, &addresses[i]);
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

/* Appends a new version. *slot is where the old one is indexed, if `found`. */
static uint32_t append_value(const struct call *call, const struct lookup *lookup, int found,
    struct index_slot slot, struct cistern_span value, int64_t written_ms)
{
    struct version version = {
        .heap = call->heap,
        .lookup = lookup,
        .value_bytes = value.bytes,
        .written_ms = written_ms,
        .has_written = call->has_ttl,
        .found = (uint32_t)found,
        .slot = slot,
    };
    uint32_t status = version_begin(&version);
    if (status != CISTERN_OK) {
        return status;
    }
    span_write(version.value, value);
    version_publish(&version);
    return CISTERN_OK;
}

static inline uint32_t store(const struct call *call, const struct lookup *lookup,
    struct cistern_span value, int64_t written_ms)
{
    struct index_slot slot = {0};
    int found = lookup_find(call->heap, lookup, &slot);
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
    if (!lookup_find(heap, lookup, &slot)) {
        return 0;
    }
    const struct entry *entry = entry_in(heap, slot);
    return entry_stamp(segment_of(&heap->segments, slot.bucket->handles[slot.at]), entry) ==
           heap->epoch;
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
    if (lookup_find(call->heap, lookup, &slot)) {
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
        version_drop(call->heap, slot, lookup->hash, view);
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
    if (!lookup_find(call->heap, lookup, &slot)) {
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
    version_end_batch(call.heap);
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
    version_end_batch(call.heap);
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
            status = version_erase(call.heap, &lookups[i]);
            done += status == CISTERN_OK;
        }
    }
    version_end_batch(call.heap);
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
    struct inputs inputs = {
        .addresses = addresses,
        .address_count = count,
        .spans = {values},
        .span_counts = {values != NULL ? count : 0},
    };
    uint32_t status = inputs_own(&inputs, &heap_of(state->backend)->segments, error);
    if (status == CISTERN_OK) {
        status = batch(state, inputs.addresses, inputs.spans[0], count, ret_done, error);
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

/* ---- any kind ---- */

static uint32_t clear_batch(struct cistern_state *base, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    (void)values;
    (void)error;
    struct call call = call_make(base);
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    uint32_t status = CISTERN_OK;
    uint32_t done = 0;
    while (done < count && status == CISTERN_OK) {
        uint32_t group = group_count(count - done);
        prefetch_group(&call, addresses + done, group, lookups);
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            status = base->descriptor.kind == CISTERN_MAP
                         ? map_clear(call.heap, call.state, &lookups[i])
                         : list_clear(call.state, &addresses[done]);
            done += status == CISTERN_OK;
        }
    }
    version_end_batch(call.heap);
    *ret_done = done;
    return status;
}

uint32_t heap_clear_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error)
{
    return run_batch(clear_batch, state, addresses, NULL, count, ret_done, error);
}

void heap_prefetch(
    struct cistern_state *state, const struct cistern_address *addresses, uint32_t count)
{
    struct call call = {
        .heap = heap_of(state->backend),
        .state = (struct heap_state *)state,
        .layout = &heap_of(state->backend)->layouts[state->id],
        .state_id = (uint8_t)state->id,
    };
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    for (uint32_t from = 0; from < count; from += HEAP_PREFETCH_GROUP) {
        prefetch_group(&call, addresses + from, group_count(count - from), lookups);
    }
}
