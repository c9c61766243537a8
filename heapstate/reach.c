/*
 * reach.c -- after a restore: what heads reach is whole, and what none reaches goes; see
 * member_private.h.
 *
 * The first pass goes from each head to its members and marks them; the second drops what is not
 * marked. Costs a lookup per member, no memory.
 */
#include "absorb_private.h"
#include "list_private.h"
#include "map_private.h"
#include "cistern/error.h"

struct reach {
    struct heap *heap;
    struct cistern_error *error;
    uint64_t members; /* in the index */
};

typedef uint32_t (*visit_fn)(struct reach *reach, uint32_t handle);

/* Every indexed entry; nothing may be inserted or removed meanwhile. */
static uint32_t visit_all(struct reach *reach, visit_fn visit)
{
    const struct index *index = &reach->heap->index;
    uint32_t status = CISTERN_OK;
    for (uint32_t number = 0; number < index->bucket_count; number++) {
        for (const struct bucket *bucket = &index->buckets[number];
             bucket != NULL && status == CISTERN_OK; bucket = index_next(index, bucket)) {
            for (uint32_t i = 0; i < BUCKET_SLOTS && bucket->handles[i] != 0; i++) {
                status = status == CISTERN_OK ? visit(reach, bucket->handles[i]) : status;
            }
        }
    }
    return status;
}

static uint32_t fail(const struct reach *reach, const struct heap_state *state, const char *what)
{
    return cistern_fail(reach->error, CISTERN_CORRUPT, state->base.descriptor.name,
        "state \"%s\": %s", state->base.descriptor.name, what);
}

static struct cistern_span value_of(const struct heap *heap, const struct entry *entry)
{
    struct entry_view view;
    entry_parse_in(heap, entry, entry->flags, &view);
    return view.value;
}

/* Marks a member that belongs to the state; 0 = it is not there or another state's. */
static int mark(struct reach *reach, const struct heap_state *state, uint64_t id, uint32_t number,
    struct cistern_span *ret_value)
{
    struct member member;
    member_address(id, number, &member);
    struct lookup lookup = lookup_make(reach->heap, MEMBER_STATE_ID, &member.address);
    struct index_slot slot;
    if (!lookup_find(reach->heap, &lookup, &slot)) {
        return 0;
    }
    *ret_value = value_of(reach->heap, entry_in(reach->heap, slot));
    ((uint8_t *)(uintptr_t)ret_value->data)[MEMBER_MARK_OFFSET] = 1;
    return member_owner_id(ret_value->data) == state->base.id;
}

static uint32_t reach_page(struct reach *reach, const struct heap_state *state,
    const struct map_head *head, struct cistern_span value, uint64_t *count, uint64_t *bytes)
{
    struct member_view page;
    member_parse(value, &page);
    struct item_format format = item_format_of(state, (page.flags & MEMBER_STAMPED) != 0);
    struct item item;
    for (uint64_t at = 0; at < page.used; at += item.bytes, ++*count) {
        item_parse(&format, page.items + at, &item);
        struct cistern_span solo;
        if (item.form == ITEM_SOLO &&
            !mark(reach, state, head->id, item.serial | MEMBER_SOLO_BIT, &solo)) {
            return fail(reach, state, "a large value of a map is missing");
        }
    }
    *bytes += page.used;
    return CISTERN_OK;
}

static uint32_t reach_map(struct reach *reach, struct heap_state *state, struct cistern_span value)
{
    struct map_head head;
    map_head_parse(value, &head);
    if ((head.flags & MAP_PAGED) == 0) {
        struct run run = {.used = head.used, .items = head.items};
        run.format = item_format_of(state, (head.flags & MAP_STAMPED) != 0);
        state->entries += map_count_items(&run);
        return CISTERN_OK;
    }
    uint64_t count = 0;
    uint64_t bytes = 0;
    uint32_t status = CISTERN_OK;
    for (uint32_t page = 0; page < head.page_count && status == CISTERN_OK; page++) {
        struct cistern_span page_value;
        status = mark(reach, state, head.id, page, &page_value)
                     ? reach_page(reach, state, &head, page_value, &count, &bytes)
                     : fail(reach, state, "a part of a map is missing");
    }
    if (status == CISTERN_OK && (count != head.count || bytes != head.bytes)) {
        status = fail(reach, state, "a map holds another number of entries than its head says");
    }
    state->entries += count;
    return status;
}

/* Numbers without a chunk are allowed (list_private.h), but not without end. */
static uint32_t reach_list(
    struct reach *reach, const struct heap_state *state, struct cistern_span value)
{
    struct list_head head;
    list_head_parse(value, &head);
    uint64_t missing = 0;
    for (uint32_t i = 0; (head.flags & LIST_CHUNKED) && i < head.piece_count; i++) {
        struct list_piece piece = list_piece_read(head.pieces, i);
        uint64_t found = 0;
        for (uint32_t chunk = 0; chunk < piece.count; chunk++) {
            struct cistern_span chunk_value;
            int is_there = mark(reach, state, piece.id, piece.first + chunk, &chunk_value);
            found += (uint64_t)is_there;
            missing += !is_there;
            if (missing > reach->members) {
                return fail(reach, state, "parts of a list are missing");
            }
        }
        if (found == 0) {
            return fail(reach, state, "a piece of a list is missing");
        }
    }
    return CISTERN_OK;
}

static uint32_t count_member(struct reach *reach, uint32_t handle)
{
    reach->members += segment_entry(&reach->heap->segments, handle)->state_id == MEMBER_STATE_ID;
    return CISTERN_OK;
}

static uint32_t reach_head(struct reach *reach, uint32_t handle)
{
    const struct entry *entry = segment_entry(&reach->heap->segments, handle);
    if (entry->state_id == MEMBER_STATE_ID) {
        return CISTERN_OK;
    }
    struct heap_state *state = heap_state_of(reach->heap, entry->state_id);
    if (state->base.descriptor.kind == CISTERN_MAP) {
        return reach_map(reach, state, value_of(reach->heap, entry));
    }
    return state->base.descriptor.kind == CISTERN_LIST
               ? reach_list(reach, state, value_of(reach->heap, entry))
               : CISTERN_OK;
}

/* The first unmarked member of a chain of buckets goes; 1 = there was one. Marks are taken off the
 * others. */
static int drop_unmarked(struct heap *heap, uint32_t number)
{
    struct index *index = &heap->index;
    for (struct bucket *bucket = &index->buckets[number]; bucket != NULL;
         bucket = index_next(index, bucket)) {
        for (uint32_t i = 0; i < BUCKET_SLOTS && bucket->handles[i] != 0; i++) {
            struct entry *entry = segment_entry(&heap->segments, bucket->handles[i]);
            struct entry_view view;
            entry_parse_in(heap, entry, entry->flags, &view);
            if (entry->state_id == MEMBER_STATE_ID &&
                !((const uint8_t *)view.value.data)[MEMBER_MARK_OFFSET]) {
                struct index_slot slot = {bucket, i};
                version_drop(heap, slot, entry_hash(entry), &view);
                return 1;
            }
        }
    }
    return 0;
}

static uint32_t take_mark_off(struct reach *reach, uint32_t handle)
{
    const struct entry *entry = segment_entry(&reach->heap->segments, handle);
    if (entry->state_id == MEMBER_STATE_ID) {
        ((uint8_t *)(uintptr_t)value_of(reach->heap, entry).data)[MEMBER_MARK_OFFSET] = 0;
    }
    return CISTERN_OK;
}

uint32_t reach_settle(struct heap *heap, struct cistern_error *error)
{
    struct reach reach = {.heap = heap, .error = error};
    for (uint32_t i = 0; i < heap->base.state_count; i++) {
        struct heap_state *state = (struct heap_state *)heap->base.states[i];
        if (state != NULL && state->base.descriptor.kind == CISTERN_MAP) {
            state->entries = 0; /* heads came in as they are: counted here */
        }
    }
    uint32_t status = visit_all(&reach, count_member);
    status = status == CISTERN_OK ? visit_all(&reach, reach_head) : status;
    if (status != CISTERN_OK) {
        return status;
    }
    for (uint32_t number = 0; number < heap->index.bucket_count; number++) {
        while (drop_unmarked(heap, number)) {
        }
    }
    return visit_all(&reach, take_mark_off);
}
