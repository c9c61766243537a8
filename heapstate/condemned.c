/*
 * condemned.c -- members of cleared objects, dropped in small steps; see member_private.h.
 *
 * Full when: memory for the list is refused: then the members are dropped at once.
 */
#include "map_item_private.h"
#include "version_private.h"
#include "cistern/alloc.h"

#define AT_ONCE_MAX 64u /* members: some 10 us */

/* What a page of a map keeps apart goes first. */
static void drop_solos(struct heap *heap, uint64_t id, const struct member_view *page)
{
    const struct heap_state *state = heap_state_of(heap, page->owner_id);
    if (state->base.descriptor.kind != CISTERN_MAP) {
        return;
    }
    struct item_format format = item_format_of(state, (page->flags & MEMBER_STAMPED) != 0);
    struct item item;
    for (uint64_t at = 0; at < page->used; at += item.bytes) {
        item_parse(&format, page->items + at, &item);
        if (item.form == ITEM_SOLO) {
            member_drop(heap, id, item.serial | MEMBER_SOLO_BIT);
        }
    }
}

void member_drop(struct heap *heap, uint64_t id, uint32_t number)
{
    struct member member;
    member_address(id, number, &member);
    struct lookup lookup = lookup_make(heap, MEMBER_STATE_ID, &member.address);
    struct index_slot slot;
    if (!lookup_find(heap, &lookup, &slot)) {
        return;
    }
    const struct entry *entry = entry_in(heap, slot);
    struct entry_view view;
    struct member_view page;
    entry_parse(entry, entry->flags, lookup.layout, &view);
    member_parse(view.value, &page);
    if ((number & MEMBER_SOLO_BIT) == 0) {
        drop_solos(heap, id, &page);
        (void)lookup_find(heap, &lookup, &slot); /* the index may have moved it */
    }
    version_drop(heap, slot, lookup.hash, &view);
    index_shrink(&heap->index, 1);
}

static void drop_range(struct heap *heap, struct condemned_range *range, uint32_t count)
{
    while (range->next < range->end && count-- > 0) {
        member_drop(heap, range->id, range->next++);
    }
}

void condemned_add(struct heap *heap, uint64_t id, uint32_t first, uint32_t count)
{
    struct condemned *condemned = &heap->condemned;
    struct condemned_range range = {.id = id, .next = first, .end = first + count};
    if (count <= AT_ONCE_MAX) {
        drop_range(heap, &range, count);
        return;
    }
    if (condemned->count == condemned->capacity) {
        uint32_t capacity = condemned->capacity == 0 ? 16 : condemned->capacity * 2;
        struct condemned_range *ranges =
            cistern_reallocate(condemned->ranges, (uint64_t)capacity * sizeof *ranges);
        if (ranges == NULL) {
            drop_range(heap, &range, count);
            return;
        }
        condemned->ranges = ranges;
        condemned->capacity = capacity;
    }
    condemned->ranges[condemned->count++] = range;
}

int condemned_step(struct heap *heap, uint32_t count)
{
    struct condemned *condemned = &heap->condemned;
    while (condemned->count != 0) {
        struct condemned_range *range = &condemned->ranges[condemned->count - 1];
        uint32_t left = range->end - range->next;
        drop_range(heap, range, count);
        if (left > count) {
            return 1;
        }
        count -= left;
        condemned->count--;
    }
    return 0;
}

int condemned_holds(const struct condemned_range *ranges, uint32_t range_count, uint64_t id)
{
    for (uint32_t i = 0; i < range_count; i++) {
        if (ranges[i].id == id) {
            return 1;
        }
    }
    return 0;
}
