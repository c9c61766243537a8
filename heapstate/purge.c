/* purge.c -- see purge_private.h. When there is no room for a copy that may be changed, an item
 * stays until the next time. */
#include "purge_private.h"
#include "cursor_private.h"
#include "list_private.h"
#include "map_private.h"

/* ---- maps ---- */

struct expired { /* of a run */
    uint32_t count;
    uint64_t bytes;
};

static struct expired find_expired(const struct map_call *call, const struct run *run)
{
    struct expired expired = {0};
    struct item item;
    for (uint64_t at = 0; at < run->used; at += item.bytes) {
        item_parse(&run->format, run->items + at, &item);
        if (map_item_expired(call, run, &item)) {
            expired.count++;
            expired.bytes += item.bytes;
        }
    }
    return expired;
}

/* Closes the gaps of what is expired; id: where its large values stand, 0 = it has none. */
static void close_gaps(
    struct map_call *call, struct run *run, const struct entry *entry, uint64_t id)
{
    uint64_t kept = 0;
    struct item item;
    for (uint64_t at = 0; at < run->used; at += item.bytes) {
        item_parse(&run->format, run->items + at, &item);
        if (!map_item_expired(call, run, &item)) {
            memmove(run->items + kept, run->items + at, item.bytes);
            kept += item.bytes;
        } else if (item.form == ITEM_SOLO) {
            member_drop(call->heap, id, item.serial | MEMBER_SOLO_BIT);
        }
    }
    map_run_set_used(run, entry, (uint32_t)kept);
}

static void drop_head(struct heap *heap, const struct lookup *lookup)
{
    struct index_slot slot = {0};
    struct entry_view view;
    int found = lookup_find(heap, lookup, &slot);
    assert(found);
    (void)found;
    const struct entry *entry = entry_in(heap, slot);
    entry_parse(entry, entry->flags, lookup->layout, &view);
    version_drop(heap, slot, lookup->hash, &view);
}

static int purge_small_map(struct map_call *call, const struct lookup *lookup,
    struct index_slot slot, const struct map_head *head)
{
    struct run run;
    struct entry *entry;
    map_load_head(call->state, lookup, slot, head, &run);
    struct expired expired = find_expired(call, &run);
    if (expired.count == 0) {
        return 0;
    }
    if (expired.bytes == run.used) {
        drop_head(call->heap, lookup);
    } else if (version_make_writable(call->heap, lookup, &run.slot, &entry) == CISTERN_OK) {
        map_run_refresh(call->state, &run, version_value(lookup, entry));
        close_gaps(call, &run, entry, 0);
    } else {
        return 0;
    }
    call->state->entries -= expired.count;
    return 1;
}

/* lookup: of the map's head. */
static int purge_page(
    struct map_call *call, const struct lookup *lookup, uint64_t id, uint32_t page)
{
    struct index_slot slot = {0};
    struct map_head head;
    if ((page & MEMBER_SOLO_BIT) || !lookup_find(call->heap, lookup, &slot)) {
        return 0;
    }
    map_head_parse(version_value(lookup, entry_in(call->heap, slot)), &head);
    if ((head.flags & MAP_PAGED) == 0 || head.id != id || page >= head.page_count) {
        return 0; /* condemned: it goes anyway */
    }
    struct run run;
    struct entry *entry;
    map_load_page(call->heap, call->state, id, page, &run);
    struct expired expired = find_expired(call, &run);
    if (expired.count == 0) {
        return 0;
    }
    if (expired.count == head.count) {
        /* With a tombstone: an increment may hold members of what a base's head reaches. */
        if (version_erase(call->heap, lookup) != CISTERN_OK) {
            return 0;
        }
        call->state->entries -= head.count;
        condemned_add(call->heap, id, 0, head.page_count);
        return 1;
    }
    if (map_head_make_writable(call, lookup) != CISTERN_OK) {
        return 0;
    }
    map_load_page(call->heap, call->state, id, page, &run);
    if (version_make_writable(call->heap, &run.lookup, &run.slot, &entry) == CISTERN_OK) {
        map_run_refresh(call->state, &run, version_value(&run.lookup, entry));
        close_gaps(call, &run, entry, id);
        map_head_add(call, lookup, -(int64_t)expired.count, -(int64_t)expired.bytes, 0);
        return 1;
    }
    return 0;
}

/* ---- lists ---- */

/* Bytes of the elements that are not expired. */
static uint64_t fresh_bytes(const struct list_call *call, struct cistern_span run, int stamped)
{
    const struct cistern_ttl *ttl = &call->state->base.descriptor.ttl;
    struct cistern_frame_format format = list_format_of(call->state, stamped);
    struct cistern_frame frame;
    uint64_t fresh = 0;
    for (uint64_t at = 0; stamped && cistern_frame_read(&format, run, at, &frame);
         at += frame.bytes) {
        fresh += cistern_ttl_expired(ttl, frame.written_ms, call->now_ms) ? 0 : frame.bytes;
    }
    return stamped ? fresh : run.bytes;
}

/* Moves them together. */
static void close_frame_gaps(const struct list_call *call, uint8_t *frames, uint64_t used)
{
    const struct cistern_ttl *ttl = &call->state->base.descriptor.ttl;
    struct cistern_frame_format format = list_format_of(call->state, 1);
    struct cistern_span run = {frames, used};
    struct cistern_frame frame;
    uint64_t kept = 0;
    for (uint64_t at = 0; cistern_frame_read(&format, run, at, &frame);) {
        uint64_t bytes = frame.bytes;
        if (!cistern_ttl_expired(ttl, frame.written_ms, call->now_ms)) {
            memmove(frames + kept, frames + at, bytes);
            kept += bytes;
        }
        at += bytes;
    }
}

static int purge_small_list(
    struct list_call *call, struct index_slot slot, const struct list_head *head)
{
    struct cistern_span run = {head->frames, head->used};
    uint64_t fresh = fresh_bytes(call, run, (head->flags & LIST_STAMPED) != 0);
    struct entry *entry;
    if (fresh == head->used) {
        return 0;
    }
    if (fresh == 0) {
        drop_head(call->heap, &call->lookup);
        return 1;
    }
    if (version_make_writable(call->heap, &call->lookup, &slot, &entry) != CISTERN_OK) {
        return 0;
    }
    uint8_t *value = (uint8_t *)(uintptr_t)version_value(&call->lookup, entry).data;
    close_frame_gaps(call, value + LIST_HEAD_BYTES, head->used);
    list_set_used(value, (uint32_t)fresh);
    return 1;
}

/* call: any of the chunk's state. */
static int purge_chunk(struct list_call *call, uint64_t id, uint32_t number)
{
    struct chunk chunk;
    struct entry *entry;
    list_load_chunk(call->heap, id, number, &chunk);
    struct cistern_span run = {chunk.frames, chunk.used};
    uint64_t fresh = fresh_bytes(call, run, (int)chunk.stamped);
    if (fresh == chunk.used ||
        version_make_writable(call->heap, &chunk.lookup, &chunk.slot, &entry) != CISTERN_OK) {
        return 0;
    }
    struct member_view member;
    struct cistern_span value = version_value(&chunk.lookup, entry);
    member_parse(value, &member);
    close_frame_gaps(call, member.items, member.used);
    member_set_used((uint8_t *)(uintptr_t)value.data, (uint32_t)fresh);
    return 1;
}

static int drop_first_piece(struct list_call *call, const struct list_head *head)
{
    struct pieces pieces;
    uint32_t status = list_pieces_copy(head, &pieces);
    if (status == CISTERN_OK) {
        status = list_publish_pieces(call, pieces.items + 1, pieces.count - 1, LIST_MERGED);
    }
    list_pieces_deinit(&pieces);
    return status == CISTERN_OK;
}

/* The first chunk of a list goes when nothing is left of it. */
static int purge_first_chunk(
    struct list_call *call, struct index_slot slot, const struct list_head *head)
{
    struct list_piece piece = list_piece_read(head->pieces, 0);
    struct chunk chunk;
    struct entry *entry;
    list_load_chunk(call->heap, piece.id, piece.first, &chunk);
    struct cistern_span run = {chunk.frames, chunk.used};
    if (chunk.found && fresh_bytes(call, run, (int)chunk.stamped) != 0) {
        return 0;
    }
    if (piece.count == 1 && head->piece_count == 1) {
        if (version_erase(call->heap, &call->lookup) != CISTERN_OK) {
            return 0;
        }
    } else if (piece.count == 1) {
        if (!drop_first_piece(call, head)) {
            return 0;
        }
    } else {
        if (version_make_writable(call->heap, &call->lookup, &slot, &entry) != CISTERN_OK) {
            return 0;
        }
        struct list_head now;
        struct list_piece shorter = {piece.id, piece.first + 1, piece.count - 1};
        list_head_parse(version_value(&call->lookup, entry), &now);
        list_piece_write(now.pieces, 0, shorter);
    }
    member_drop(call->heap, piece.id, piece.first);
    return 1;
}

/* ---- any entry ---- */

static int purge_list(struct heap_state *state, const struct cistern_address *address)
{
    struct list_call call = list_call_make(&state->base, address);
    struct list_head head;
    struct index_slot slot;
    if (call.heap->list_walk_count != 0 || !list_head_find(&call, &head, &slot)) {
        return 0;
    }
    return (head.flags & LIST_CHUNKED) ? purge_first_chunk(&call, slot, &head)
                                       : purge_small_list(&call, slot, &head);
}

static int purge_map(struct heap_state *state, const struct cistern_address *address)
{
    struct map_call call = map_call_make(&state->base);
    struct lookup lookup = lookup_make(call.heap, state->base.id, address);
    struct index_slot slot = {0};
    struct map_head head;
    if (!lookup_find(call.heap, &lookup, &slot)) {
        return 0;
    }
    map_head_parse(version_value(&lookup, entry_in(call.heap, slot)), &head);
    return (head.flags & MAP_PAGED) ? 0 : purge_small_map(&call, &lookup, slot, &head);
}

static int purge_member(struct heap *heap, const struct entry_view *view)
{
    uint64_t id;
    uint32_t number;
    struct member_view member;
    struct owned_address owned = {.storage = NULL};
    member_key_read(view->key.data, &id, &number);
    member_parse(view->value, &member);
    struct heap_state *state = heap_state_of(heap, member.owner_id);
    if (!state_has_ttl(state)) {
        return 0;
    }
    struct cistern_address address = {
        .key = member.key, .name_space = member.name_space, .key_group = view->key_group};
    if (state->base.descriptor.kind == CISTERN_LIST) {
        struct list_call call = list_call_make(&state->base, &address);
        return heap->list_walk_count == 0 && purge_chunk(&call, id, number);
    }
    if (owned_address_make(&owned, &address, "purge", NULL) != CISTERN_OK) {
        return 0;
    }
    struct map_call call = map_call_make(&state->base);
    struct lookup lookup = lookup_make(heap, state->base.id, &owned.address);
    int changed = purge_page(&call, &lookup, id, number);
    owned_address_deinit(&owned);
    return changed;
}

/* What stands in the log may move meanwhile: the address is copied. */
static int purge_head(struct heap_state *state, const struct entry_view *view)
{
    struct owned_address owned = {.storage = NULL};
    struct cistern_address address = {
        .key = view->key, .name_space = view->name_space, .key_group = view->key_group};
    if (owned_address_make(&owned, &address, "purge", NULL) != CISTERN_OK) {
        return 0;
    }
    int changed = state->base.descriptor.kind == CISTERN_MAP ? purge_map(state, &owned.address)
                                                             : purge_list(state, &owned.address);
    owned_address_deinit(&owned);
    return changed;
}

int purge_entry(struct heap *heap, uint32_t handle)
{
    const struct entry *entry = segment_entry(&heap->segments, handle);
    struct entry_view view;
    entry_parse_in(heap, entry, entry->flags, &view);
    if (entry->state_id == MEMBER_STATE_ID) {
        return purge_member(heap, &view);
    }
    struct heap_state *state = heap_state_of(heap, entry->state_id);
    uint32_t kind = state->base.descriptor.kind;
    return state_has_ttl(state) && (kind == CISTERN_MAP || kind == CISTERN_LIST)
               ? purge_head(state, &view)
               : 0;
}

static int purge_chain(struct heap *heap, uint32_t number)
{
    const struct bucket *bucket = &heap->index.buckets[number];
    for (; bucket != NULL; bucket = index_next(&heap->index, bucket)) {
        for (uint32_t i = 0; i < BUCKET_SLOTS && bucket->handles[i] != 0; i++) {
            if (purge_entry(heap, bucket->handles[i])) {
                return 1;
            }
        }
    }
    return 0;
}

void purge_all(struct heap *heap)
{
    for (uint32_t number = 0; number < heap->index.bucket_count; number++) {
        while (number < heap->index.bucket_count && purge_chain(heap, number)) {
        }
    }
}
