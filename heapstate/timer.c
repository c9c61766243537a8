/* timer.c -- the calls of timer states; see timer_private.h and order_private.h. */
#include "inputs_private.h"
#include "timer_private.h"
#include "version_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#define STALE_CHECKS 4u
#define KEYS_ON_STACK_BYTES 2048u

/* ---- addresses of a group, with the time in front of the key ---- */

struct timer_group {
    uint32_t count;
    struct cistern_address addresses[HEAP_PREFETCH_GROUP];
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    uint8_t small[KEYS_ON_STACK_BYTES];
    uint8_t *large;
};

static uint32_t group_make(struct timer_group *group, const struct heap *heap, uint32_t state_id,
    const int64_t *timestamps_ms, const struct cistern_address *addresses, uint32_t count,
    struct cistern_error *error)
{
    group->count = count < HEAP_PREFETCH_GROUP ? count : HEAP_PREFETCH_GROUP;
    group->large = NULL;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        bytes += TIMER_TIME_BYTES + addresses[i].key.bytes;
    }
    uint8_t *at = group->small;
    if (bytes > sizeof group->small) {
        at = group->large = cistern_allocate(bytes);
        if (at == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, "timers",
                "no memory for %llu bytes of keys", (unsigned long long)bytes);
        }
    }
    for (uint32_t i = 0; i < group->count; i++) {
        group->addresses[i] = addresses[i];
        group->addresses[i].key =
            (struct cistern_span){at, TIMER_TIME_BYTES + addresses[i].key.bytes};
        timer_time_write(at, timestamps_ms[i]);
        at = span_write(at + TIMER_TIME_BYTES, addresses[i].key);
        group->lookups[i] = lookup_make(heap, state_id, &group->addresses[i]);
        __builtin_prefetch(index_bucket(&heap->index, group->lookups[i].hash));
    }
    return CISTERN_OK;
}

static void group_deinit(struct timer_group *group)
{
    cistern_release(group->large);
}

/* ---- items and their entries ---- */

struct timer_match {
    int64_t timestamp_ms;
    uint32_t hash;
    uint8_t state_id;
    const struct entry_layout *layout;
};

static inline int item_matches(const struct entry *entry, const void *arg)
{
    const struct timer_match *match = arg;
    if (entry->hash_or_died != match->hash || entry->state_id != match->state_id) {
        return 0;
    }
    struct entry_view view;
    entry_parse(entry, entry->flags, match->layout, &view);
    return timer_key_split(&view.key) == match->timestamp_ms;
}

/* Any timer of that time and hash: its own, or one that is due at the same time and whose item then
 * finds this one. */
static int item_find_entry(const struct heap *heap, const struct heap_state *state,
    struct order_item item, struct index_slot *ret_slot)
{
    struct timer_match match = {
        .timestamp_ms = item.timestamp_ms,
        .hash = (uint32_t)item.hash,
        .state_id = (uint8_t)state->base.id,
        .layout = &heap->layouts[state->base.id],
    };
    return index_find(&heap->index, item.hash, item_matches, &match, ret_slot);
}

static void forget_stale(struct heap *heap, struct heap_state *state)
{
    struct order *order = &state->order;
    for (uint32_t i = 0; i < STALE_CHECKS && order->stale_count * 2 > order->count; i++) {
        struct index_slot slot;
        if (order->inspected >= order->count) {
            order->inspected = 0;
        }
        if (order->count == 0) {
            order->stale_count = 0;
        } else if (item_find_entry(heap, state, order->items[order->inspected], &slot)) {
            order->inspected++;
        } else {
            order_remove(order, order->inspected);
            order->stale_count--;
        }
    }
}

/* The first item that has an entry comes to the front. 0 = there is none. */
static int settle_front(struct heap *heap, struct heap_state *state)
{
    struct order *order = &state->order;
    struct index_slot slot;
    while (order->count != 0 && !item_find_entry(heap, state, order->items[0], &slot)) {
        order_remove(order, 0);
        order->stale_count -= order->stale_count != 0;
    }
    return order->count != 0;
}

/* ---- add and remove ---- */

static uint32_t reserve_item(struct heap *heap, struct order *order)
{
    uint32_t status = order_reserve(order);
    if (status != CISTERN_OK && cleaner_make_room(heap, SEGMENT_RESERVE) &&
        segment_trim(&heap->segments, SEGMENT_RESERVE) != 0) {
        status = order_reserve(order);
    }
    return status;
}

static uint32_t add_item(
    struct heap *heap, struct heap_state *state, const struct lookup *lookup, int64_t timestamp_ms)
{
    struct version version = {.heap = heap, .lookup = lookup};
    if (lookup_find(heap, lookup, &version.slot)) {
        return CISTERN_OK;
    }
    uint32_t status = reserve_item(heap, &state->order);
    if (status == CISTERN_OK) {
        status = version_begin(&version);
    }
    if (status == CISTERN_OK) {
        version_publish(&version);
        order_push(
            &state->order, (struct order_item){.timestamp_ms = timestamp_ms, .hash = lookup->hash});
    }
    return status;
}

static uint32_t remove_item(
    struct heap *heap, struct heap_state *state, const struct lookup *lookup, int64_t timestamp_ms)
{
    (void)timestamp_ms;
    uint64_t entries = state->entries;
    uint32_t status = version_erase(heap, lookup);
    if (state->entries != entries) {
        state->order.stale_count++;
        forget_stale(heap, state);
    }
    return status;
}

typedef uint32_t (*item_fn)(
    struct heap *heap, struct heap_state *state, const struct lookup *lookup, int64_t timestamp_ms);

static uint32_t run_batch(item_fn item, struct cistern_state *base, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    struct heap *heap = heap_of(base->backend);
    struct inputs inputs = {.addresses = addresses, .address_count = count};
    uint32_t status = inputs_own(&inputs, &heap->segments, error);
    uint32_t done = 0;
    while (status == CISTERN_OK && done < count) {
        struct timer_group group;
        uint32_t from = done;
        status = group_make(&group, heap, base->id, timestamps_ms + from, inputs.addresses + from,
            count - from, error);
        for (uint32_t i = 0; status == CISTERN_OK && i < group.count; i++) {
            status =
                item(heap, (struct heap_state *)base, &group.lookups[i], timestamps_ms[from + i]);
            done += status == CISTERN_OK;
        }
        group_deinit(&group);
    }
    version_end_batch(heap);
    inputs_deinit(&inputs);
    *ret_done = done;
    return status;
}

uint32_t heap_timer_add_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    return run_batch(add_item, state, timestamps_ms, addresses, count, ret_done, error);
}

uint32_t heap_timer_remove_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    return run_batch(remove_item, state, timestamps_ms, addresses, count, ret_done, error);
}

/* The entry is of the present epoch afterwards: a tombstone of the same file spares it. */
static uint32_t restore_item(
    struct heap *heap, struct heap_state *state, const struct lookup *lookup, int64_t timestamp_ms)
{
    struct index_slot slot;
    struct entry *entry;
    return lookup_find(heap, lookup, &slot) ? version_make_writable(heap, lookup, &slot, &entry)
                                            : add_item(heap, state, lookup, timestamp_ms);
}

static uint32_t restore_tombstone(
    struct heap *heap, struct heap_state *state, const struct lookup *lookup, int64_t timestamp_ms)
{
    return value_is_current(heap, lookup) ? CISTERN_OK
                                          : remove_item(heap, state, lookup, timestamp_ms);
}

uint32_t timer_restore(struct heap_state *state, const struct cistern_address *address,
    int64_t timestamp_ms, int is_tombstone)
{
    uint32_t done;
    return run_batch(is_tombstone ? restore_tombstone : restore_item, &state->base, &timestamp_ms,
        address, 1, &done, NULL);
}

/* ---- what is due ---- */

uint32_t heap_timer_next(
    struct cistern_state *base, int64_t *ret_timestamp_ms, struct cistern_error *error)
{
    (void)error;
    struct heap_state *state = (struct heap_state *)base;
    if (!settle_front(heap_of(base->backend), state)) {
        return CISTERN_NOT_FOUND;
    }
    *ret_timestamp_ms = state->order.items[0].timestamp_ms;
    return CISTERN_OK;
}

/* Items that are due leave the order; their index lines are on their way. */
static uint32_t take_due(const struct heap *heap, struct order *order, int64_t up_to_ms,
    uint32_t count_max, struct order_item *items)
{
    uint32_t count = 0;
    while (count < count_max && order->count != 0 && order->items[0].timestamp_ms <= up_to_ms) {
        items[count] = order->items[0];
        order_remove(order, 0);
        __builtin_prefetch(index_bucket(&heap->index, items[count].hash));
        count++;
    }
    return count;
}

static uint32_t pop_item(struct heap *heap, struct heap_state *state, struct order_item item,
    struct cistern_entry *ret_timers, uint32_t *count)
{
    struct index_slot slot;
    if (!item_find_entry(heap, state, item, &slot)) {
        state->order.stale_count -= state->order.stale_count != 0;
        return CISTERN_OK;
    }
    const struct entry *entry = entry_in(heap, slot);
    struct entry_view view;
    entry_parse_in(heap, entry, entry->flags, &view);
    struct cistern_address address = {
        .key = view.key, .name_space = view.name_space, .key_group = view.key_group};
    struct lookup lookup = lookup_make(heap, state->base.id, &address);
    uint32_t status = version_erase(heap, &lookup);
    if (status == CISTERN_OK) {
        int64_t timestamp_ms = timer_key_split(&address.key);
        ret_timers[(*count)++] =
            (struct cistern_entry){.address = address, .written_ms = timestamp_ms};
    }
    return status;
}

/* The bytes of popped entries stay until the next call: while the heap is pinned nothing is freed,
 * and a tombstone that would need the cleaner ends the call early. */
static uint32_t pop_due(struct heap *heap, struct heap_state *state, int64_t up_to_ms,
    struct cistern_entry *ret_timers, uint32_t capacity, uint32_t *count)
{
    uint32_t status = CISTERN_OK;
    while (status == CISTERN_OK && *count < capacity) {
        struct order_item items[HEAP_PREFETCH_GROUP];
        uint32_t wanted =
            capacity - *count < HEAP_PREFETCH_GROUP ? capacity - *count : HEAP_PREFETCH_GROUP;
        uint32_t due = take_due(heap, &state->order, up_to_ms, wanted, items);
        if (due == 0) {
            break;
        }
        uint32_t done = 0;
        while (done < due && status == CISTERN_OK) {
            status = pop_item(heap, state, items[done], ret_timers, count);
            done += status == CISTERN_OK;
        }
        for (; done < due; done++) {
            order_push(&state->order, items[done]); /* into the room it left */
        }
    }
    return status;
}

uint32_t heap_timer_pop_due(struct cistern_state *base, int64_t up_to_ms,
    struct cistern_entry *ret_timers, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error)
{
    (void)error;
    struct heap_state *state = (struct heap_state *)base;
    struct heap *heap = heap_of(base->backend);
    version_end_batch(heap); /* what the last call's timers left behind */
    uint32_t count = 0;
    heap->pinned = 1;
    uint32_t status = pop_due(heap, state, up_to_ms, ret_timers, capacity, &count);
    heap->pinned = 0;
    if (status == CISTERN_LIMIT && count == 0) {
        /* Nothing was handed out yet: room may be made. */
        (void)cleaner_make_room(heap, SEGMENT_RESERVE);
        heap->pinned = 1;
        status = pop_due(heap, state, up_to_ms, ret_timers, capacity, &count);
        heap->pinned = 0;
    }
    *ret_count = count;
    return count != 0 ? CISTERN_OK : status;
}
