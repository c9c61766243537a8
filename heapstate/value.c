/*
 * value.c -- the data calls of value, reducing and aggregating states; see heap_private.h.
 *
 * A batch runs in groups of 16 through three stages: bucket lines are asked for; the entry whose
 * tag fits is asked for; the items are done in order. While one group is done the next two are on
 * their way. What the second stage found is a guess: it is checked when the item is done, and
 * looked up again when it does not hold, so repeated keys see each other. Space is found before
 * anything is
 * written: an item that ends with LIMIT has changed nothing.
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
    uint8_t is_flat; /* see lookup_is_flat(), but for the namespace */
};

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
    call.is_flat = call.layout->key_bytes != 0 && call.layout->value_bytes != 0;
    if (call.has_ttl) {
        call.now_ms = cistern_state_now_ms(base);
    }
    return call;
}

/* ---- items on their way ---- */

struct ask {
    uint64_t hash;
    uint32_t handle; /* of the entry that its tag promises; 0 = none */
};
#define STAGES 3u
#define ASKS (STAGES * HEAP_PREFETCH_GROUP)

static inline struct ask *group_of(struct ask *asks, uint32_t group)
{
    return asks + (group % STAGES) * HEAP_PREFETCH_GROUP;
}

static inline uint32_t group_count(uint32_t left)
{
    return left < HEAP_PREFETCH_GROUP ? left : HEAP_PREFETCH_GROUP;
}

static inline void ask_buckets(const struct call *call, const struct cistern_address *addresses,
    uint32_t count, struct ask *asks)
{
    for (uint32_t i = 0; i < count; i++) {
        asks[i].hash = lookup_hash(call->heap, call->state_id, &addresses[i]);
        __builtin_prefetch(index_bucket(&call->heap->index, asks[i].hash));
    }
}

static inline void ask_entries(const struct call *call, uint32_t count, struct ask *asks)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct bucket *bucket = index_bucket(&call->heap->index, asks[i].hash);
        uint32_t bits = bucket_match(bucket, index_tag(asks[i].hash));
        asks[i].handle = bits != 0 ? bucket->handles[__builtin_ctz(bits)] : 0;
        __builtin_prefetch(segment_entry(&call->heap->segments, asks[i].handle));
    }
}

/* Moves the first two stages on by a group: returns how many items the third one has to do, which
 * are those from *ret_from. */
static inline uint32_t pipe_step(const struct call *call, const struct cistern_address *addresses,
    uint32_t count, uint32_t step, struct ask *asks, uint32_t *ret_from)
{
    uint32_t from = step * HEAP_PREFETCH_GROUP;
    if (from < count) {
        ask_buckets(call, addresses + from, group_count(count - from), group_of(asks, step));
    }
    if (step >= 1 && from - HEAP_PREFETCH_GROUP < count) {
        from -= HEAP_PREFETCH_GROUP;
        ask_entries(call, group_count(count - from), group_of(asks, step - 1));
    }
    if (step < 2) {
        return 0;
    }
    *ret_from = (step - 2) * HEAP_PREFETCH_GROUP;
    return *ret_from < count ? group_count(count - *ret_from) : 0;
}

static inline struct lookup ask_lookup(
    const struct call *call, const struct cistern_address *address, const struct ask *ask)
{
    return (struct lookup){
        .address = address,
        .hash = ask->hash,
        .layout = call->layout,
        .state_id = call->state_id,
    };
}

/* The promised entry, if it is what the lookup looks for. */
static inline struct entry *ask_entry(
    const struct call *call, const struct lookup *lookup, const struct ask *ask)
{
    struct entry *entry = segment_entry(&call->heap->segments, ask->handle);
    return ask->handle != 0 && !(entry->flags & ENTRY_DEAD) && entry_matches(entry, lookup) ? entry
                                                                                            : NULL;
}

/* Asks for the lines of a group of lookups: first all buckets, then all entries whose tag fits. */
static inline void prefetch_group(const struct call *call, const struct cistern_address *addresses,
    uint32_t count, struct lookup *lookups)
{
    struct ask asks[HEAP_PREFETCH_GROUP];
    ask_buckets(call, addresses, count, asks);
    if (count > 1) { /* else there is nothing to overlap with */
        ask_entries(call, count, asks);
    }
    for (uint32_t i = 0; i < count; i++) {
        lookups[i] = ask_lookup(call, &addresses[i], &asks[i]);
    }
}

/* ---- store ---- */

static inline void write_written(struct entry *entry, int64_t written_ms)
{
    if (entry->flags & ENTRY_TTL) {
        memcpy((uint8_t *)(entry + 1) + sizeof(uint16_t), &written_ms, sizeof written_ms);
    }
}

/* Overwrites where the entry stands, when the new value takes as much room. 0 = append instead. */
static inline int overwrite_in_place(const struct call *call, struct entry *entry, uint32_t handle,
    struct cistern_span value, int64_t written_ms)
{
    struct heap *heap = call->heap;
    struct entry_view view;
    entry_parse(entry, entry->flags, call->layout, &view);
    uint64_t used = (uint64_t)((const uint8_t *)view.value.data - (const uint8_t *)entry);
    int fits = entry_align(used + value.bytes) == view.bytes &&
               (call->layout->value_bytes != 0 ||
                   varint_bytes(value.bytes) == varint_bytes(view.value.bytes)) &&
               ((entry->flags & ENTRY_TTL) != 0) == call->has_ttl;
    if (!fits || !log_touch(heap, entry, handle)) {
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
    int found = lookup_is_flat(lookup) && !call->has_ttl
                    ? index_find(&call->heap->index, lookup->hash, flat_matches, lookup, &slot)
                    : lookup_find(call->heap, lookup, &slot);
    if (found && overwrite_in_place(call, entry_in(call->heap, slot), slot.bucket->handles[slot.at],
                     value, written_ms)) {
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

static inline uint32_t get_asked(const struct call *call, const struct cistern_address *address,
    const struct ask *ask, struct cistern_span *ret_value)
{
    struct lookup lookup = ask_lookup(call, address, ask);
    const struct entry *entry = call->has_ttl ? NULL : ask_entry(call, &lookup, ask);
    if (__builtin_expect(entry == NULL, 0)) {
        return get_item(call, &lookup, ret_value);
    }
    struct entry_view view;
    entry_parse(entry, entry->flags, call->layout, &view);
    *ret_value = view.value;
    return CISTERN_OK;
}

uint32_t heap_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error)
{
    (void)error;
    struct call call = call_make(state);
    struct ask asks[ASKS];
    uint32_t status = CISTERN_OK;
    uint32_t done = 0;
    call.heap->pinned = 1;
    for (uint32_t step = 0; done < count && status == CISTERN_OK; step++) {
        uint32_t from = 0;
        uint32_t group = pipe_step(&call, addresses, count, step, asks, &from);
        const struct ask *ready = group_of(asks, step + 1); /* the group of two steps ago */
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++, done++) {
            status = get_asked(&call, &addresses[from + i], &ready[i], &ret_values[from + i]);
        }
    }
    call.heap->pinned = 0;
    return status;
}

/* Short on purpose: the next call's misses begin while this one waits for its own. */
static inline int get_flat(
    const struct heap *heap, const struct lookup *lookup, struct cistern_span *ret_value)
{
    struct index_slot slot;
    if (!index_find(&heap->index, lookup->hash, flat_matches, lookup, &slot)) {
        return 0;
    }
    ret_value->data =
        (const uint8_t *)entry_in(heap, slot) + FLAT_KEY_OFFSET + lookup->layout->key_bytes;
    ret_value->bytes = lookup->layout->value_bytes;
    return 1;
}

uint32_t heap_get(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span *ret_value, struct cistern_error *error)
{
    struct heap *heap = heap_of(state->backend);
    struct lookup lookup = lookup_make(heap, state->id, address);
    if (state->descriptor.ttl.time_to_live_ms == 0 && lookup_is_flat(&lookup) &&
        get_flat(heap, &lookup, ret_value)) {
        return CISTERN_OK;
    }
    return heap_get_many(state, address, 1, ret_value, error);
}

/* Promises hold as long as no segment was freed since they were made: what they point to may be
 * something else by now. */
static inline void break_promises(const struct call *call, struct ask *asks, uint64_t *released)
{
    if (__builtin_expect(*released != call->heap->segments.release_count, 0)) {
        *released = call->heap->segments.release_count;
        for (uint32_t i = 0; i < ASKS; i++) {
            asks[i].handle = 0;
        }
    }
}

static inline uint32_t put_asked(const struct call *call, const struct cistern_address *address,
    const struct ask *ask, struct cistern_span value)
{
    struct lookup lookup = ask_lookup(call, address, ask);
    struct entry *entry = ask_entry(call, &lookup, ask);
    if (entry != NULL && overwrite_in_place(call, entry, ask->handle, value, call->now_ms)) {
        return CISTERN_OK;
    }
    return store(call, &lookup, value, call->now_ms);
}

/* One item has nothing to overlap with. */
static uint32_t put_one(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span value, uint32_t *ret_done)
{
    struct call call = call_make(state);
    struct lookup lookup = lookup_make(call.heap, state->id, address);
    uint32_t status = store(&call, &lookup, value, call.now_ms);
    version_end_batch(call.heap);
    *ret_done = status == CISTERN_OK;
    return status;
}

static uint32_t put_batch(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    (void)error;
    if (count == 1) {
        return put_one(state, addresses, values[0], ret_done);
    }
    struct call call = call_make(state);
    struct ask asks[ASKS] = {{0}};
    uint64_t released = call.heap->segments.release_count;
    uint32_t status = CISTERN_OK;
    uint32_t done = 0;
    for (uint32_t step = 0; done < count && status == CISTERN_OK; step++) {
        uint32_t from = 0;
        uint32_t group = pipe_step(&call, addresses, count, step, asks, &from);
        const struct ask *ready = group_of(asks, step + 1); /* the group of two steps ago */
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            status = put_asked(&call, &addresses[from + i], &ready[i], values[from + i]);
            done += status == CISTERN_OK;
            break_promises(&call, asks, &released);
        }
    }
    version_end_batch(call.heap);
    *ret_done = done;
    return status;
}

static inline uint32_t add_asked(const struct call *call, const struct cistern_address *address,
    const struct ask *ask, struct cistern_span input, struct cistern_error *error)
{
    struct lookup lookup = ask_lookup(call, address, ask);
    struct entry *entry = call->has_ttl ? NULL : ask_entry(call, &lookup, ask);
    if (entry != NULL) {
        struct entry_view view;
        entry_parse(entry, entry->flags, call->layout, &view);
        if (add_in_place(call, entry, ask->handle, &view, input)) {
            return CISTERN_OK;
        }
    }
    return add_item(call, &lookup, input, error);
}

static uint32_t add_batch(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *inputs, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    struct call call = call_make(state);
    struct ask asks[ASKS] = {{0}};
    uint64_t released = call.heap->segments.release_count;
    uint32_t status = CISTERN_OK;
    uint32_t done = 0;
    for (uint32_t step = 0; done < count && status == CISTERN_OK; step++) {
        uint32_t from = 0;
        uint32_t group = pipe_step(&call, addresses, count, step, asks, &from);
        const struct ask *ready = group_of(asks, step + 1); /* the group of two steps ago */
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            status = add_asked(&call, &addresses[from + i], &ready[i], inputs[from + i], error);
            done += status == CISTERN_OK;
            break_promises(&call, asks, &released);
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
