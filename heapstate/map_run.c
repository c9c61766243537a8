/* map_run.c -- the items of a head or a page: found, edited where they stand or in a new entry; see
 * map_private.h. */
#include "map_private.h"

#define PAGE_LINES 7u /* cache lines of a page as full as most are */

int map_item_expired(const struct map_call *call, const struct run *run, const struct item *item)
{
    return call->ttl != NULL && run->format.stamped &&
           cistern_ttl_expired(call->ttl, item->written_ms, call->now_ms);
}

/* ---- runs ---- */

void map_load_head(const struct heap_state *state, const struct lookup *lookup,
    struct index_slot slot, const struct map_head *head, struct run *run)
{
    run->lookup = *lookup;
    run->slot = slot;
    run->found = 1;
    run->is_page = 0;
    run->used = head->used;
    run->capacity = head->capacity;
    run->items = head->items;
    run->format = item_format_of(state, (head->flags & MAP_STAMPED) != 0);
}

void map_run_refresh(const struct heap_state *state, struct run *run, struct cistern_span value)
{
    if (run->is_page) {
        struct member_view page;
        member_parse(value, &page);
        run->used = page.used;
        run->capacity = page.capacity;
        run->items = page.items;
        run->format = item_format_of(state, (page.flags & MEMBER_STAMPED) != 0);
    } else {
        struct map_head head;
        map_head_parse(value, &head);
        map_load_head(state, &run->lookup, run->slot, &head, run);
    }
}

void map_load_page(const struct heap *heap, const struct heap_state *state, uint64_t id,
    uint32_t page, struct run *run)
{
    *run = (struct run){.is_page = 1, .format = item_format_of(state, state_has_ttl(state))};
    member_address(id, page, &run->member);
    run->lookup = lookup_make(heap, MEMBER_STATE_ID, &run->member.address);
    run->found = (uint32_t)lookup_find(heap, &run->lookup, &run->slot);
    if (run->found) {
        const uint8_t *entry = (const uint8_t *)entry_in(heap, run->slot);
        for (uint32_t line = 1; line < PAGE_LINES; line++) {
            __builtin_prefetch(entry + line * 64);
        }
        map_run_refresh(state, run, version_value(&run->lookup, entry_in(heap, run->slot)));
    }
}

int map_load_solo(const struct heap *heap, const struct heap_state *state, uint64_t id,
    uint32_t serial, struct cistern_span *ret_value)
{
    struct run run;
    map_load_page(heap, state, id, serial | MEMBER_SOLO_BIT, &run);
    if (!run.found) {
        return 0;
    }
    struct item item;
    item_parse(&run.format, run.items, &item);
    *ret_value = item.value;
    return 1;
}

/* The run's `used`, in the entry. */
void map_run_set_used(struct run *run, const struct entry *entry, uint32_t used)
{
    uint8_t *value = (uint8_t *)(uintptr_t)version_value(&run->lookup, entry).data;
    run->used = used;
    if (run->is_page) {
        member_set_used(value, used);
    } else {
        map_set_used(value, used);
    }
}

uint32_t map_count_items(const struct run *run)
{
    uint32_t count = 0;
    struct item item;
    for (uint64_t at = 0; at < run->used; at += item.bytes) {
        item_parse(&run->format, run->items + at, &item);
        count++;
    }
    return count;
}

/* ---- changing a run ---- */

uint64_t map_edit_bytes(const struct map_call *call, const struct map_edit *edit)
{
    return edit->item == NULL ? 0
                              : item_bytes(&call->format, edit->item->user_key.bytes,
                                    edit->item->form, edit->item->value.bytes);
}

int map_same_format(const struct item_format *a, const struct item_format *b)
{
    return a->stamped == b->stamped;
}

/* The bytes of a run after an edit that writes it anew. */
uint64_t map_edit_measure(const struct map_call *call, const struct run *run, struct map_edit *edit)
{
    uint64_t bytes = map_edit_bytes(call, edit);
    edit->dropped = 0;
    struct item item;
    for (uint64_t at = 0; at < run->used; at += item.bytes) {
        item_parse(&run->format, run->items + at, &item);
        if (at == edit->old_offset) {
            continue;
        }
        if (item.form != ITEM_SOLO && map_item_expired(call, run, &item)) {
            edit->dropped++;
        } else {
            bytes += item_bytes(&call->format, item.user_key.bytes, item.form, item.value.bytes);
        }
    }
    return bytes;
}

/* Writes the run after an edit; the bytes are those of map_edit_measure(). */
void map_edit_write(
    const struct map_call *call, const struct run *run, const struct map_edit *edit, uint8_t *to)
{
    struct item item;
    for (uint64_t at = 0; at < run->used; at += item.bytes) {
        item_parse(&run->format, run->items + at, &item);
        if (at == edit->old_offset ||
            (item.form != ITEM_SOLO && map_item_expired(call, run, &item))) {
            continue;
        }
        if (!run->format.stamped) {
            item.written_ms = call->now_ms;
        }
        to = item_write(&call->format, to, &item);
    }
    if (edit->item != NULL) {
        item_write(&call->format, to, edit->item);
    }
}

/* Room to grow by a quarter: n items are written some log n times, and memory is not wasted. */
uint64_t map_capacity_for(uint64_t bytes, uint64_t bytes_max)
{
    uint64_t capacity = bytes + bytes / 4;
    return capacity > bytes_max && bytes <= bytes_max ? bytes_max : capacity;
}

uint32_t map_run_begin(
    const struct map_call *call, struct run *run, uint64_t value_bytes, struct version *version)
{
    *version = (struct version){
        .heap = call->heap,
        .lookup = &run->lookup,
        .value_bytes = value_bytes,
        .found = run->found,
        .slot = run->slot,
    };
    uint32_t status = version_begin(version);
    if (status == CISTERN_OK && version->found) {
        run->slot = version->slot;
        map_run_refresh(call->state, run, version->old.value);
    }
    return status;
}

/* The whole run in a new entry: a page's, or a head's that stays small. */
uint32_t map_run_rewrite(struct map_call *call, struct run *run,
    const struct cistern_address *owner, struct map_edit *edit, uint64_t bytes)
{
    uint8_t stamped = call->format.stamped != 0;
    uint64_t prefix = run->is_page ? member_prefix_bytes(owner) : MAP_HEAD_BYTES;
    int is_first = !run->found && !run->is_page;
    uint64_t room = is_first
                        ? bytes
                        : map_capacity_for(bytes, run->is_page ? UINT32_MAX : MAP_INLINE_BYTES_MAX);
    struct version version;
    uint32_t status = map_run_begin(call, run, prefix + room, &version);
    if (status != CISTERN_OK) {
        return status;
    }
    uint8_t *items;
    if (run->is_page) {
        items = member_write_prefix(
            version.value, call->state->base.id, stamped ? MEMBER_STAMPED : 0, owner);
        member_set_used(version.value, (uint32_t)bytes);
    } else {
        version.value[0] = stamped ? MAP_STAMPED : 0;
        map_set_used(version.value, (uint32_t)bytes);
        items = version.value + MAP_HEAD_BYTES;
    }
    map_edit_write(call, run, edit, items);
    version_publish(&version);
    return CISTERN_OK;
}

/* The edit where the run stands, if it fits: 1. Else, or when there is no room for a copy that may
 * be changed: 0. */
int map_run_edit(struct map_call *call, struct run *run, const struct map_edit *edit)
{
    uint64_t item_size = map_edit_bytes(call, edit);
    if (!run->found || (edit->item != NULL && !map_same_format(&run->format, &call->format))) {
        return 0;
    }
    uint64_t old_size = 0;
    if (edit->old_offset != NOT_THERE) {
        struct item old;
        item_parse(&run->format, run->items + edit->old_offset, &old);
        old_size = old.bytes;
    }
    if (run->used - old_size + item_size > run->capacity) {
        return 0;
    }
    struct entry *entry;
    if (version_make_writable(call->heap, &run->lookup, &run->slot, &entry) != CISTERN_OK) {
        /* In looking for room the run may have been moved. */
        int found = lookup_find(call->heap, &run->lookup, &run->slot);
        assert(found);
        (void)found;
        entry = entry_in(call->heap, run->slot);
        map_run_refresh(call->state, run, version_value(&run->lookup, entry));
        return 0;
    }
    map_run_refresh(call->state, run, version_value(&run->lookup, entry));
    if (old_size == item_size && old_size != 0) {
        item_write(&call->format, run->items + edit->old_offset, edit->item);
        return 1;
    }
    if (old_size != 0) {
        uint8_t *old = run->items + edit->old_offset;
        memmove(old, old + old_size, run->used - edit->old_offset - old_size);
    }
    uint64_t kept = run->used - old_size;
    if (edit->item != NULL) {
        item_write(&call->format, run->items + kept, edit->item);
    }
    map_run_set_used(run, entry, (uint32_t)(kept + item_size));
    return 1;
}
