/*
 * list_cursor.c -- the elements of one list in order, chunk by chunk.
 *
 * The place is (piece, chunk, offset in the chunk): frames are never moved within a chunk, only
 * appended behind, and the frames of a short list keep their offsets when they become the first
 * chunk of a long one.
 */
#include "cursor_private.h"
#include "list_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#define PREFETCH_CHUNKS 4u

struct list_cursor {
    struct walk walk;
    struct owned_address owned;
    struct list_call call;
    uint32_t piece;
    uint32_t chunk; /* within the piece */
    uint64_t offset;
    int64_t now_ms;
    struct list_cursor *next_open; /* of the heap's */
    uint32_t ended;                /* the list it walked over is gone */
    uint32_t renews; /* reading renews stamps */
};
static_assert(sizeof(struct list_cursor) <= WALK_BYTES, "cursors over one object share a block");

struct output { /* where elements go */
    struct cistern_entry *entries;
    uint32_t capacity;
    uint32_t count;
};

/* Where the frames of a head or a chunk begin. */
static uint8_t *frames_of(const struct lookup *lookup, const struct entry *entry)
{
    struct entry_view view;
    entry_parse(entry, entry->flags, lookup->layout, &view);
    if (lookup->state_id != MEMBER_STATE_ID) {
        return (uint8_t *)(uintptr_t)view.value.data + LIST_HEAD_BYTES;
    }
    struct member_view member;
    member_parse(view.value, &member);
    return member.items;
}

/* Renews the stamps of what was handed out of a run, in place or in a copy of it. What is too old
 * to be seen stays so. */
static uint32_t renew_stamps(const struct list_cursor *cursor, const struct lookup *lookup,
    struct index_slot slot, uint64_t from, uint64_t to)
{
    struct entry *entry;
    uint32_t status = version_make_writable(cursor->call.heap, lookup, &slot, &entry);
    if (status != CISTERN_OK) {
        return status;
    }
    const struct cistern_ttl *ttl = &cursor->walk.base.state->descriptor.ttl;
    uint8_t *frames = frames_of(lookup, entry);
    struct cistern_span run = {frames, to};
    struct cistern_frame frame;
    for (uint64_t at = from; cistern_frame_read(&cursor->call.format, run, at, &frame);
         at += frame.bytes) {
        if (!cistern_ttl_expired(ttl, frame.written_ms, cursor->now_ms)) {
            cistern_frame_write(&cursor->call.format, frames + at, frame.element, cursor->now_ms);
        }
    }
    return CISTERN_OK;
}

/* Hands out what fits of a run. *ret_end: its last frame was passed. */
static uint64_t drain_run(struct list_cursor *cursor, struct cistern_span run, int stamped,
    uint64_t offset, struct output *output, int *ret_end)
{
    const struct cistern_ttl *ttl = &cursor->walk.base.state->descriptor.ttl;
    struct cistern_frame_format format = list_format_of(cursor->call.state, stamped);
    int checks = stamped && ttl->time_to_live_ms != 0 && !ttl->return_expired;
    struct cistern_frame frame;
    *ret_end = 0;
    while (output->count < output->capacity) {
        if (!cistern_frame_read(&format, run, offset, &frame)) {
            *ret_end = 1;
            return offset;
        }
        offset += frame.bytes;
        if (!checks || !cistern_ttl_expired(ttl, frame.written_ms, cursor->now_ms)) {
            output->entries[output->count++] = (struct cistern_entry){
                .address = cursor->owned.address,
                .value = frame.element,
                .written_ms = frame.written_ms,
            };
        }
    }
    return offset;
}

static int renews(const struct list_cursor *cursor, int stamped)
{
    return stamped && cursor->renews && cursor->call.format.has_written;
}

static uint32_t next_inline(struct list_cursor *cursor, const struct list_head *head,
    struct index_slot slot, struct output *output)
{
    int end;
    int stamped = (head->flags & LIST_STAMPED) != 0;
    uint64_t from = cursor->offset;
    struct cistern_span run = {head->frames, head->used};
    cursor->offset = drain_run(cursor, run, stamped, from, output, &end);
    return renews(cursor, stamped) && cursor->offset != from
               ? renew_stamps(cursor, &cursor->call.lookup, slot, from, cursor->offset)
               : CISTERN_OK;
}

static void prefetch_chunk(const struct heap *heap, const struct list_piece *piece, uint32_t chunk)
{
    if (chunk < piece->count) {
        struct member member;
        member_address(piece->id, piece->first + chunk, &member);
        __builtin_prefetch(
            index_bucket(&heap->index, lookup_hash(heap, MEMBER_STATE_ID, &member.address)));
    }
}

static uint32_t next_chunked(
    struct list_cursor *cursor, const struct list_head *head, struct output *output)
{
    const struct heap *heap = cursor->call.heap;
    while (cursor->piece < head->piece_count && output->count < output->capacity) {
        struct list_piece piece = list_piece_read(head->pieces, cursor->piece);
        int is_last = cursor->piece + 1 == head->piece_count;
        if (cursor->chunk >= piece.count) {
            if (is_last) {
                return CISTERN_OK; /* more may be appended */
            }
            cursor->piece++;
            cursor->chunk = 0;
            cursor->offset = 0;
            continue;
        }
        struct chunk chunk;
        int end = 1;
        list_load_chunk(heap, piece.id, piece.first + cursor->chunk, &chunk);
        prefetch_chunk(heap, &piece, cursor->chunk + PREFETCH_CHUNKS);
        uint64_t from = cursor->offset;
        if (chunk.found) {
            struct cistern_span run = {chunk.frames, chunk.used};
            cursor->offset = drain_run(cursor, run, (int)chunk.stamped, from, output, &end);
        }
        if (chunk.found && renews(cursor, (int)chunk.stamped) && cursor->offset != from) {
            uint32_t status = renew_stamps(cursor, &chunk.lookup, chunk.slot, from, cursor->offset);
            if (status != CISTERN_OK) {
                return status;
            }
        }
        if (end && is_last && cursor->chunk + 1 == piece.count) {
            return CISTERN_OK; /* the chunk may get longer */
        }
        if (end) {
            cursor->chunk++;
            cursor->offset = 0;
        }
    }
    return CISTERN_OK;
}

static uint32_t list_cursor_next(struct cistern_cursor *base, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    (void)error;
    struct list_cursor *cursor = (struct list_cursor *)base;
    struct heap *heap = cursor->call.heap;
    struct output output = {.entries = ret_entries, .capacity = capacity};
    struct list_head head;
    struct index_slot slot;
    uint32_t status = CISTERN_OK;
    cursor->now_ms = state_has_ttl(cursor->call.state) ? cistern_state_now_ms(base->state) : 0;
    heap->pinned = 1;
    if (!cursor->ended && list_head_find(&cursor->call, &head, &slot)) {
        status = (head.flags & LIST_CHUNKED) ? next_chunked(cursor, &head, &output)
                                             : next_inline(cursor, &head, slot, &output);
    }
    heap->pinned = 0;
    *ret_count = output.count;
    return status;
}

void list_walks_end(const struct list_call *call)
{
    for (struct list_cursor *one = call->heap->list_walks; one != NULL; one = one->next_open) {
        const struct cistern_address *address = &one->owned.address;
        one->ended |=
            one->call.state == call->state && span_equal(address->key, call->address->key) &&
            (address->name_space.data == NULL) == (call->address->name_space.data == NULL) &&
            span_equal(address->name_space, call->address->name_space);
    }
}

static void list_cursor_close(struct cistern_cursor *base)
{
    struct list_cursor *cursor = (struct list_cursor *)base;
    struct list_cursor **link = &cursor->call.heap->list_walks;
    while (*link != cursor) {
        link = &(*link)->next_open;
    }
    *link = cursor->next_open;
    cursor->call.heap->list_walk_count--;
    owned_address_deinit(&cursor->owned);
    walk_release(heap_of(base->state->backend), cursor);
}

uint32_t heap_list_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    return list_walk_open(state, address, 1, ret_cursor, error);
}

uint32_t list_walk_open(struct cistern_state *state, const struct cistern_address *address,
    int renews, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct list_cursor *cursor = walk_allocate(heap_of(state->backend));
    if (cursor == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, state->descriptor.name, "no memory for a cursor");
    }
    cursor->walk.base.state = state;
    cursor->walk.next = list_cursor_next;
    cursor->walk.close = list_cursor_close;
    uint32_t status = owned_address_make(&cursor->owned, address, state->descriptor.name, error);
    if (status != CISTERN_OK) {
        walk_release(heap_of(state->backend), cursor);
        return status;
    }
    cursor->renews = (uint32_t)renews && state->descriptor.ttl.update_on_read;
    cursor->call = list_call_make(state, &cursor->owned.address);
    cursor->call.heap->list_walk_count++;
    cursor->next_open = cursor->call.heap->list_walks;
    cursor->call.heap->list_walks = cursor;
    *ret_cursor = &cursor->walk.base;
    return CISTERN_OK;
}
