/* map.c -- the data calls of map states; see map_private.h. */
#include "inputs_private.h"
#include "map_private.h"

#include <stddef.h>

struct map_call map_call_make(struct cistern_state *base)
{
    struct heap_state *state = (struct heap_state *)base;
    struct map_call call = {
        .heap = heap_of(base->backend),
        .state = state,
        .format = item_format_of(state, state_has_ttl(state)),
    };
    if (state_has_ttl(state)) {
        call.ttl = &base->descriptor.ttl;
        call.now_ms = cistern_state_now_ms(base);
    }
    return call;
}

/* ---- put ---- */

static uint32_t store_inline(
    struct map_call *call, struct run *run, struct item *item, struct cistern_span value)
{
    struct map_edit edit = {.old_offset = NOT_THERE, .item = item};
    (void)item_find(&run->format, run->items, run->used, item->user_key, &edit.old_offset);
    int is_more = edit.old_offset == NOT_THERE;
    if (item->form != ITEM_SOLO && map_run_edit(call, run, &edit)) {
        call->state->entries += (uint64_t)is_more;
        return CISTERN_OK;
    }
    uint64_t bytes = map_edit_measure(call, run, &edit);
    if (item->form == ITEM_SOLO || bytes > MAP_INLINE_BYTES_MAX) {
        return map_become_paged(call, run, &edit, item, value);
    }
    uint32_t status = map_run_rewrite(call, run, NULL, &edit, bytes);
    if (status == CISTERN_OK) {
        call->state->entries += (uint64_t)is_more - edit.dropped;
    }
    return status;
}

static uint32_t store_item(struct map_call *call, const struct lookup *lookup,
    struct cistern_span user_key, struct cistern_span value, int64_t written_ms)
{
    struct item item = {
        .user_key = user_key,
        .value = value,
        .written_ms = written_ms,
        .form = item_form_for(value, 0),
    };
    struct run run = {.lookup = *lookup, .format = call->format};
    run.found = (uint32_t)lookup_find(call->heap, lookup, &run.slot);
    if (run.found) {
        struct map_head head;
        map_head_parse(version_value(lookup, entry_in(call->heap, run.slot)), &head);
        if (head.flags & MAP_PAGED) {
            return map_store_paged(call, lookup, &head, &item, value);
        }
        map_load_head(call->state, lookup, run.slot, &head, &run);
    }
    return store_inline(call, &run, &item, value);
}

uint32_t map_store(struct heap *heap, struct heap_state *state, const struct lookup *lookup,
    struct cistern_span user_key, struct cistern_span value, int64_t written_ms)
{
    struct map_call call = map_call_make(&state->base);
    assert(call.heap == heap);
    (void)heap;
    return store_item(&call, lookup, user_key, value, written_ms);
}

/* ---- clear and remove ---- */

uint32_t map_clear(struct heap *heap, struct heap_state *state, const struct lookup *lookup)
{
    struct index_slot slot = {0};
    if (!lookup_find(heap, lookup, &slot)) {
        return CISTERN_OK;
    }
    struct map_head head;
    map_head_parse(version_value(lookup, entry_in(heap, slot)), &head);
    uint64_t count = head.count;
    if ((head.flags & MAP_PAGED) == 0) {
        struct run run;
        map_load_head(state, lookup, slot, &head, &run);
        count = map_count_items(&run);
    }
    uint32_t status = version_erase(heap, lookup);
    if (status != CISTERN_OK) {
        return status;
    }
    state->entries -= count;
    if (head.flags & MAP_PAGED) {
        condemned_add(heap, head.id, 0, head.page_count);
    }
    return CISTERN_OK;
}

static uint32_t remove_paged(struct map_call *call, const struct lookup *lookup,
    const struct map_head *head, struct cistern_span user_key)
{
    struct map_found found;
    map_find_in_pages(call, head, user_key, &found);
    if (found.offset == NOT_THERE) {
        return CISTERN_OK;
    }
    if (head->count == 1) {
        return map_clear(call->heap, call->state, lookup);
    }
    uint32_t status = map_head_make_writable(call, lookup);
    if (status != CISTERN_OK) {
        return status;
    }
    map_find_in_pages(call, head, user_key, &found);
    struct map_edit edit = {.old_offset = found.offset};
    status = map_page_edit(call, lookup, &found, &edit);
    if (status == CISTERN_OK && found.item.form == ITEM_SOLO) {
        member_drop(call->heap, head->id, found.item.serial | MEMBER_SOLO_BIT);
    }
    if (status == CISTERN_OK) {
        map_join_if_empty(call, lookup);
    }
    return status;
}

static uint32_t remove_item(
    struct map_call *call, const struct lookup *lookup, struct cistern_span user_key)
{
    struct run run;
    struct index_slot slot = {0};
    if (!lookup_find(call->heap, lookup, &slot)) {
        return CISTERN_OK;
    }
    struct map_head head;
    map_head_parse(version_value(lookup, entry_in(call->heap, slot)), &head);
    if (head.flags & MAP_PAGED) {
        return remove_paged(call, lookup, &head, user_key);
    }
    map_load_head(call->state, lookup, slot, &head, &run);
    struct map_edit edit = {.old_offset = NOT_THERE};
    if (!item_find(&run.format, run.items, run.used, user_key, &edit.old_offset)) {
        return CISTERN_OK;
    }
    struct item item;
    item_parse(&run.format, run.items + edit.old_offset, &item);
    if (item.bytes == run.used) {
        return map_clear(call->heap, call->state, lookup);
    }
    if (!map_run_edit(call, &run, &edit)) {
        return CISTERN_LIMIT; /* no room for a copy that a snapshot does not hold */
    }
    call->state->entries--;
    return CISTERN_OK;
}

/* ---- get ---- */

/* A younger stamp, in the run as it stands or in a copy of it. Spans into the old one stay valid:
 * while the heap is pinned nothing is freed. */
static uint32_t renew_stamp(struct map_call *call, struct run *run, uint64_t offset)
{
    struct entry *entry;
    uint32_t status = version_make_writable(call->heap, &run->lookup, &run->slot, &entry);
    if (status == CISTERN_OK) {
        map_run_refresh(call->state, run, version_value(&run->lookup, entry));
        struct item item;
        item_parse(&run->format, run->items + offset, &item);
        memcpy(run->items + offset + item.offset_written, &call->now_ms, sizeof call->now_ms);
    }
    return status;
}

/* Of a value that stands apart, both stamps: canonical files are written from where it stands. */
static uint32_t renew_stamps(
    struct map_call *call, const struct map_head *head, struct map_found *found)
{
    uint32_t status = renew_stamp(call, &found->run, found->offset);
    if (status == CISTERN_OK && found->item.form == ITEM_SOLO) {
        struct run solo;
        map_load_page(
            call->heap, call->state, head->id, found->item.serial | MEMBER_SOLO_BIT, &solo);
        status = solo.found && solo.format.stamped ? renew_stamp(call, &solo, 0) : CISTERN_OK;
    }
    return status;
}

static uint32_t get_item(struct map_call *call, const struct lookup *lookup,
    struct cistern_span user_key, struct cistern_span *ret_value, uint8_t *ret_present)
{
    struct map_found found = {.offset = NOT_THERE};
    struct index_slot slot = {0};
    struct map_head head;
    *ret_value = (struct cistern_span){NULL, 0};
    *ret_present = 0;
    if (!lookup_find(call->heap, lookup, &slot)) {
        return CISTERN_OK;
    }
    map_head_parse(version_value(lookup, entry_in(call->heap, slot)), &head);
    if (head.flags & MAP_PAGED) {
        map_find_in_pages(call, &head, user_key, &found);
    } else {
        map_load_head(call->state, lookup, slot, &head, &found.run);
        if (item_find(
                &found.run.format, found.run.items, found.run.used, user_key, &found.offset)) {
            item_parse(&found.run.format, found.run.items + found.offset, &found.item);
        }
    }
    if (found.offset == NOT_THERE || (call->ttl != NULL && !call->ttl->return_expired &&
                                         map_item_expired(call, &found.run, &found.item))) {
        return CISTERN_OK;
    }
    *ret_present = 1;
    *ret_value = found.item.value;
    if (found.item.form == ITEM_SOLO) {
        *ret_present =
            (uint8_t)map_load_solo(call->heap, call->state, head.id, found.item.serial, ret_value);
    }
    if (call->ttl != NULL && call->ttl->update_on_read && found.run.format.stamped &&
        found.item.written_ms != call->now_ms && !map_item_expired(call, &found.run, &found.item)) {
        return renew_stamps(call, &head, &found);
    }
    return CISTERN_OK;
}

/* ---- batches ---- */

static uint32_t group_count(uint32_t left)
{
    return left < HEAP_PREFETCH_GROUP ? left : HEAP_PREFETCH_GROUP;
}

#define LINE_BYTES 64u
#define HEAD_LINES 3u /* most maps are small: all of it is asked for */

static void prefetch_entry(const struct heap *heap, uint64_t hash, uint32_t lines)
{
    const struct bucket *bucket = index_bucket(&heap->index, hash);
    uint32_t bits = bucket_match(bucket, index_tag(hash));
    if (bits != 0) {
        const uint8_t *entry =
            (const uint8_t *)segment_entry(&heap->segments, bucket->handles[__builtin_ctz(bits)]);
        for (uint32_t i = 0; i < lines; i++) {
            __builtin_prefetch(entry + i * LINE_BYTES);
        }
    }
}

static void make_lookups(const struct map_call *call, const struct cistern_address *addresses,
    uint32_t count, struct lookup *lookups)
{
    const struct heap *heap = call->heap;
    for (uint32_t i = 0; i < count; i++) {
        lookups[i] = lookup_make(heap, call->state->base.id, &addresses[i]);
        __builtin_prefetch(index_bucket(&heap->index, lookups[i].hash));
    }
    for (uint32_t i = 0; i < count && count > 1; i++) {
        prefetch_entry(heap, lookups[i].hash, HEAD_LINES);
    }
}

/* The pages that a group of user keys stands in. */
static void prefetch_pages(const struct map_call *call, const struct lookup *lookups,
    const struct cistern_span *user_keys, uint32_t count)
{
    const struct heap *heap = call->heap;
    uint64_t hashes[HEAP_PREFETCH_GROUP];
    uint32_t pages = 0;
    for (uint32_t i = 0; i < count && count > 1; i++) {
        struct index_slot slot = {0};
        struct map_head head;
        if (!lookup_find(heap, &lookups[i], &slot)) {
            continue;
        }
        map_head_parse(version_value(&lookups[i], entry_in(heap, slot)), &head);
        if (head.flags & MAP_PAGED) {
            struct member member;
            uint32_t hash = map_user_key_hash(head.seed, user_keys[i]);
            member_address(head.id, map_page_of(hash, head.page_count), &member);
            hashes[pages] = lookup_hash(heap, MEMBER_STATE_ID, &member.address);
            __builtin_prefetch(index_bucket(&heap->index, hashes[pages++]));
        }
    }
    for (uint32_t i = 0; i < pages; i++) {
        prefetch_entry(heap, hashes[i], HEAD_LINES + 4);
    }
}

uint32_t heap_map_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, uint32_t count, struct cistern_span *ret_values,
    uint8_t *ret_present, struct cistern_error *error)
{
    (void)error;
    struct map_call call = map_call_make(state);
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    uint32_t status = CISTERN_OK;
    call.heap->pinned = 1;
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += HEAP_PREFETCH_GROUP) {
        uint32_t group = group_count(count - from);
        make_lookups(&call, addresses + from, group, lookups);
        prefetch_pages(&call, lookups, user_keys + from, group);
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            uint8_t present;
            status =
                get_item(&call, &lookups[i], user_keys[from + i], &ret_values[from + i], &present);
            if (ret_present != NULL) {
                ret_present[from + i] = present;
            }
        }
    }
    call.heap->pinned = 0;
    return status;
}

static uint32_t put_batch(
    struct cistern_state *state, const struct inputs *inputs, uint32_t *ret_done)
{
    struct map_call call = map_call_make(state);
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    uint32_t status = CISTERN_OK;
    uint32_t done = 0;
    while (done < inputs->address_count && status == CISTERN_OK) {
        uint32_t group = group_count(inputs->address_count - done);
        make_lookups(&call, inputs->addresses + done, group, lookups);
        prefetch_pages(&call, lookups, inputs->spans[0] + done, group);
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            status = store_item(
                &call, &lookups[i], inputs->spans[0][done], inputs->spans[1][done], call.now_ms);
            done += status == CISTERN_OK;
        }
    }
    version_end_batch(call.heap);
    *ret_done = done;
    return status;
}

static uint32_t remove_batch(
    struct cistern_state *state, const struct inputs *inputs, uint32_t *ret_done)
{
    struct map_call call = map_call_make(state);
    struct lookup lookups[HEAP_PREFETCH_GROUP];
    uint32_t status = CISTERN_OK;
    uint32_t done = 0;
    while (done < inputs->address_count && status == CISTERN_OK) {
        uint32_t group = group_count(inputs->address_count - done);
        make_lookups(&call, inputs->addresses + done, group, lookups);
        prefetch_pages(&call, lookups, inputs->spans[0] + done, group);
        for (uint32_t i = 0; i < group && status == CISTERN_OK; i++) {
            status = remove_item(&call, &lookups[i], inputs->spans[0][done]);
            done += status == CISTERN_OK;
        }
    }
    version_end_batch(call.heap);
    *ret_done = done;
    return status;
}

uint32_t heap_map_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    struct inputs inputs = {
        .addresses = addresses,
        .address_count = count,
        .spans = {user_keys, values},
        .span_counts = {count, count},
    };
    uint32_t status = inputs_own(&inputs, &heap_of(state->backend)->segments, error);
    if (status == CISTERN_OK) {
        status = put_batch(state, &inputs, ret_done);
        inputs_deinit(&inputs);
    }
    return status;
}

uint32_t heap_map_remove_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    struct inputs inputs = {
        .addresses = addresses,
        .address_count = count,
        .spans = {user_keys, NULL},
        .span_counts = {count, 0},
    };
    uint32_t status = inputs_own(&inputs, &heap_of(state->backend)->segments, error);
    if (status == CISTERN_OK) {
        status = remove_batch(state, &inputs, ret_done);
        inputs_deinit(&inputs);
    }
    return status;
}

/* Counts a run's items that are there to be seen, up to count_max. */
static uint64_t count_seen(const struct map_call *call, const struct run *run, uint64_t count_max)
{
    uint64_t count = 0;
    struct item item;
    for (uint64_t at = 0; at < run->used && count < count_max; at += item.bytes) {
        item_parse(&run->format, run->items + at, &item);
        count += !map_item_expired(call, run, &item) || call->ttl->return_expired;
    }
    return count;
}

uint32_t heap_map_count(struct cistern_state *state, const struct cistern_address *address,
    uint64_t count_max, uint64_t *ret_count, struct cistern_error *error)
{
    (void)error;
    struct map_call call = map_call_make(state);
    struct lookup lookup = lookup_make(call.heap, state->id, address);
    struct index_slot slot = {0};
    struct map_head head;
    *ret_count = 0;
    if (!lookup_find(call.heap, &lookup, &slot)) {
        return CISTERN_OK;
    }
    map_head_parse(version_value(&lookup, entry_in(call.heap, slot)), &head);
    if ((head.flags & MAP_PAGED) == 0) {
        struct run run;
        map_load_head(call.state, &lookup, slot, &head, &run);
        *ret_count = count_seen(&call, &run, count_max);
        return CISTERN_OK;
    }
    if (call.ttl == NULL) {
        *ret_count = head.count < count_max ? head.count : count_max;
        return CISTERN_OK;
    }
    for (uint32_t page = 0; page < head.page_count && *ret_count < count_max; page++) {
        struct run run;
        map_load_page(call.heap, call.state, head.id, page, &run);
        *ret_count += count_seen(&call, &run, count_max - *ret_count);
    }
    return CISTERN_OK;
}
