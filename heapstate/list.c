/* list.c -- the data calls of list states; see list_private.h. */
#include "inputs_private.h"
#include "list_private.h"
#include "cistern/alloc.h"

#include <stddef.h>

struct list_call list_call_make(struct cistern_state *base, const struct cistern_address *address)
{
    struct heap_state *state = (struct heap_state *)base;
    struct heap *heap = heap_of(base->backend);
    struct list_call call = {
        .heap = heap,
        .state = state,
        .address = address,
        .lookup = lookup_make(heap, base->id, address),
        .format = list_format_of(state, state_has_ttl(state)),
        .now_ms = state_has_ttl(state) ? cistern_state_now_ms(base) : 0,
    };
    return call;
}

static uint64_t list_elements_bytes(const struct list_call *call, const struct elements *elements)
{
    uint64_t bytes = 0;
    if (call->format.element_bytes != 0) {
        return elements->count * cistern_frame_bytes(&call->format, call->format.element_bytes);
    }
    for (uint32_t i = 0; i < elements->count; i++) {
        bytes += cistern_frame_bytes(&call->format, elements->spans[i].bytes);
    }
    return bytes;
}

static uint8_t *elements_write(
    const struct list_call *call, const struct elements *elements, uint8_t *to)
{
    if (call->format.element_bytes == sizeof(uint64_t) && !call->format.has_written) {
        for (uint32_t i = 0; i < elements->count; i++, to += sizeof(uint64_t)) {
            memcpy(to, elements->spans[i].data, sizeof(uint64_t)); /* one move: the common size */
        }
        return to;
    }
    for (uint32_t i = 0; i < elements->count; i++) {
        to = cistern_frame_write(&call->format, to, elements->spans[i], call->now_ms);
    }
    return to;
}

/* How many of the elements fit into `room`, and their bytes. */
static uint32_t elements_fitting(const struct list_call *call, const struct elements *elements,
    uint64_t room, uint64_t *ret_bytes)
{
    uint64_t bytes = 0;
    if (call->format.element_bytes != 0) {
        uint64_t frame = cistern_frame_bytes(&call->format, call->format.element_bytes);
        uint64_t fitting = room / frame < elements->count ? room / frame : elements->count;
        *ret_bytes = fitting * frame;
        return (uint32_t)fitting;
    }
    for (uint32_t i = 0; i < elements->count; i++) {
        uint64_t frame = cistern_frame_bytes(&call->format, elements->spans[i].bytes);
        if (bytes + frame > room) {
            *ret_bytes = bytes;
            return i;
        }
        bytes += frame;
    }
    *ret_bytes = bytes;
    return elements->count;
}

static struct elements elements_from(const struct elements *elements, uint32_t from)
{
    return (struct elements){elements->spans + from, elements->count - from};
}

/* ---- chunks ---- */

static void chunk_refresh(struct chunk *chunk, struct cistern_span value)
{
    struct member_view view;
    member_parse(value, &view);
    chunk->used = view.used;
    chunk->capacity = view.capacity;
    chunk->stamped = (view.flags & MEMBER_STAMPED) != 0;
    chunk->frames = view.items;
}

void list_load_chunk(const struct heap *heap, uint64_t id, uint32_t number, struct chunk *chunk)
{
    *chunk = (struct chunk){.found = 0};
    member_address(id, number, &chunk->member);
    chunk->lookup = lookup_make(heap, MEMBER_STATE_ID, &chunk->member.address);
    chunk->found = (uint32_t)lookup_find(heap, &chunk->lookup, &chunk->slot);
    if (chunk->found) {
        chunk_refresh(chunk, version_value(&chunk->lookup, entry_in(heap, chunk->slot)));
    }
}

uint32_t list_chunk_make(struct list_call *call, uint64_t id, uint32_t number, int stamped,
    uint64_t used, uint64_t capacity, uint8_t **ret_to)
{
    struct member member;
    member_address(id, number, &member);
    struct lookup lookup = lookup_make(call->heap, MEMBER_STATE_ID, &member.address);
    struct version version = {
        .heap = call->heap,
        .lookup = &lookup,
        .value_bytes = member_prefix_bytes(call->address) + capacity,
    };
    uint32_t status = version_begin(&version);
    if (status != CISTERN_OK) {
        return status;
    }
    uint8_t *frames = member_write_prefix(
        version.value, call->state->base.id, stamped ? MEMBER_STAMPED : 0, call->address);
    member_set_used(version.value, (uint32_t)used);
    version_publish(&version);
    *ret_to = frames;
    return CISTERN_OK;
}

/* A frame that is larger than any chunk has one of its own, without slack. */
static uint64_t capacity_for(uint64_t used, uint64_t before)
{
    uint64_t capacity = before * 2 < LIST_INLINE_BYTES_MAX ? LIST_INLINE_BYTES_MAX : before * 2;
    capacity = capacity > LIST_CHUNK_BYTES_MAX ? LIST_CHUNK_BYTES_MAX : capacity;
    return used > capacity ? used : capacity;
}

void list_drop_chunks(struct list_call *call, uint64_t id, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        member_drop(call->heap, id, first + i);
    }
}

/* Elements as new chunks (id, first), (id, first + 1), ...: not reached yet. LIMIT: none is there.
 */
static uint32_t make_chunks(struct list_call *call, uint64_t id, uint32_t first,
    uint64_t capacity_before, struct elements elements, uint32_t *ret_count)
{
    *ret_count = 0;
    while (elements.count != 0) {
        uint64_t used;
        uint32_t fitting = elements_fitting(call, &elements, LIST_CHUNK_BYTES_MAX, &used);
        struct elements part = {elements.spans, fitting == 0 ? 1 : fitting};
        used = fitting == 0 ? list_elements_bytes(call, &part) : used;
        capacity_before = capacity_for(used, capacity_before);
        uint8_t *to;
        uint32_t status = list_chunk_make(call, id, first + *ret_count,
            (int)call->format.has_written, used, capacity_before, &to);
        if (status != CISTERN_OK) {
            list_drop_chunks(call, id, first, *ret_count);
            return status;
        }
        elements_write(call, &part, to);
        elements = elements_from(&elements, part.count);
        (*ret_count)++;
    }
    return CISTERN_OK;
}

/* ---- heads ---- */

/* A new version of the head with value_bytes of value, which the caller fills and publishes. */
static uint32_t head_begin(struct list_call *call, uint64_t value_bytes, struct version *version)
{
    struct index_slot slot = {0};
    *version = (struct version){
        .heap = call->heap,
        .lookup = &call->lookup,
        .value_bytes = value_bytes,
        .found = (uint32_t)lookup_find(call->heap, &call->lookup, &slot),
    };
    version->slot = slot;
    return version_begin(version);
}

uint32_t list_publish_pieces(
    struct list_call *call, const struct list_piece *pieces, uint32_t count, uint8_t flags)
{
    struct version version;
    uint32_t status =
        head_begin(call, LIST_PIECES_HEAD_BYTES + (uint64_t)count * LIST_PIECE_BYTES, &version);
    if (status != CISTERN_OK) {
        return status;
    }
    memset(version.value, 0, LIST_PIECES_HEAD_BYTES);
    version.value[0] = LIST_CHUNKED | flags;
    memcpy(version.value + 4, &count, sizeof count);
    for (uint32_t i = 0; i < count; i++) {
        list_piece_write(version.value + LIST_PIECES_HEAD_BYTES, i, pieces[i]);
    }
    version_publish(&version);
    return CISTERN_OK;
}

int list_head_find(struct list_call *call, struct list_head *head, struct index_slot *slot)
{
    if (!lookup_find(call->heap, &call->lookup, slot)) {
        return 0;
    }
    list_head_parse(version_value(&call->lookup, entry_in(call->heap, *slot)), head);
    return 1;
}

static void list_condemn(struct list_call *call, const struct list_piece *pieces, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        condemned_add(call->heap, pieces[i].id, pieces[i].first, pieces[i].count);
    }
}

/* ---- runs in a head ---- */

/* Frames of an older format take another size in the present one. */
uint64_t list_converted_bytes(const struct list_call *call, const struct list_head *head)
{
    int stamped = (head->flags & LIST_STAMPED) != 0;
    if (stamped == (int)call->format.has_written) {
        return head->used;
    }
    struct cistern_frame_format format = list_format_of(call->state, stamped);
    struct cistern_span run = {head->frames, head->used};
    struct cistern_frame frame;
    uint64_t bytes = 0;
    for (uint64_t at = 0; cistern_frame_read(&format, run, at, &frame); at += frame.bytes) {
        bytes += cistern_frame_bytes(&call->format, frame.element.bytes);
    }
    return bytes;
}

uint8_t *list_converted_write(
    const struct list_call *call, const struct list_head *head, uint8_t *to)
{
    int stamped = (head->flags & LIST_STAMPED) != 0;
    if (stamped == (int)call->format.has_written) {
        return span_write(to, (struct cistern_span){head->frames, head->used});
    }
    struct cistern_frame_format format = list_format_of(call->state, stamped);
    struct cistern_span run = {head->frames, head->used};
    struct cistern_frame frame;
    for (uint64_t at = 0; cistern_frame_read(&format, run, at, &frame); at += frame.bytes) {
        to = cistern_frame_write(&call->format, to, frame.element, call->now_ms);
    }
    return to;
}

/* The head with all its frames in one entry: what it held (unless `keep` is 0), then the elements.
 */
static uint32_t list_rewrite_inline(struct list_call *call, int keep,
    const struct elements *elements, uint64_t used, uint64_t capacity)
{
    struct version version;
    uint32_t status = head_begin(call, LIST_HEAD_BYTES + capacity, &version);
    if (status != CISTERN_OK) {
        return status;
    }
    version.value[0] = call->format.has_written ? LIST_STAMPED : 0;
    list_set_used(version.value, (uint32_t)used);
    uint8_t *to = version.value + LIST_HEAD_BYTES;
    if (keep && version.found) {
        struct list_head head;
        list_head_parse(version.old.value, &head);
        to = list_converted_write(call, &head, to);
    }
    elements_write(call, elements, to);
    version_publish(&version);
    return CISTERN_OK;
}

/* Frames that stand in the head, in place: 1; they do not fit, or may not be changed there: 0. */
static int write_in_place(struct list_call *call, struct list_head *head, struct index_slot slot,
    uint32_t from, const struct elements *elements, uint64_t bytes)
{
    int stamped = (head->flags & LIST_STAMPED) != 0;
    struct entry *entry;
    if (stamped != (int)call->format.has_written || from + bytes > head->capacity ||
        version_make_writable(call->heap, &call->lookup, &slot, &entry) != CISTERN_OK) {
        return 0;
    }
    uint8_t *value = (uint8_t *)(uintptr_t)version_value(&call->lookup, entry).data;
    elements_write(call, elements, value + LIST_HEAD_BYTES + from);
    list_set_used(value, (uint32_t)(from + bytes));
    return 1;
}

/* ---- append ---- */

/* The head's frames become chunk 0 of a new object, the elements follow. */
static uint32_t list_become_chunked(
    struct list_call *call, const struct list_head *head, struct elements elements)
{
    struct list_piece piece = {.id = member_id_new(call->heap, call->address->key_group)};
    uint64_t kept = head != NULL ? list_converted_bytes(call, head) : 0;
    uint64_t capacity = LIST_INLINE_BYTES_MAX;
    uint32_t status = CISTERN_OK;
    if (kept != 0) {
        uint64_t added;
        uint32_t fitting = elements_fitting(call, &elements, LIST_CHUNK_BYTES_MAX - kept, &added);
        uint8_t *to;
        capacity = capacity_for(kept + added, kept);
        status = list_chunk_make(
            call, piece.id, 0, (int)call->format.has_written, kept + added, capacity, &to);
        if (status != CISTERN_OK) {
            return status;
        }
        struct list_head old;
        struct index_slot slot;
        int found = list_head_find(call, &old, &slot);
        assert(found);
        (void)found;
        struct elements part = {elements.spans, fitting};
        elements_write(call, &part, list_converted_write(call, &old, to));
        elements = elements_from(&elements, fitting);
        piece.count = 1;
    }
    uint32_t made;
    status = make_chunks(call, piece.id, piece.count, capacity, elements, &made);
    if (status == CISTERN_OK) {
        piece.count += made;
        status = list_publish_pieces(call, &piece, 1, 0);
    }
    if (status != CISTERN_OK) {
        list_drop_chunks(call, piece.id, 0, piece.count);
    }
    return status;
}

static uint32_t append_inline(struct list_call *call, struct list_head *head,
    struct index_slot slot, const struct elements *elements)
{
    uint64_t bytes = list_elements_bytes(call, elements);
    if (write_in_place(call, head, slot, head->used, elements, bytes)) {
        return CISTERN_OK;
    }
    struct list_head now; /* a copy that was refused may have moved it */
    int found = list_head_find(call, &now, &slot);
    assert(found);
    (void)found;
    uint64_t used = list_converted_bytes(call, &now) + bytes;
    if (used > LIST_INLINE_BYTES_MAX) {
        return list_become_chunked(call, &now, *elements);
    }
    uint64_t capacity = used + used / 2;
    return list_rewrite_inline(call, 1, elements, used,
        capacity < LIST_INLINE_BYTES_MAX ? capacity : LIST_INLINE_BYTES_MAX);
}

/* The last piece's last chunk, if it is there. */
static struct list_piece tail_of(
    struct list_call *call, const struct list_head *head, struct chunk *tail)
{
    struct list_piece piece = list_piece_read(head->pieces, head->piece_count - 1);
    list_load_chunk(call->heap, piece.id, piece.first + piece.count - 1, tail);
    return piece;
}

/* The last piece holds `made` chunks more. The head may be changed where it stands. */
static void head_extend(struct list_call *call, uint32_t made)
{
    struct list_head head;
    struct index_slot slot;
    int found = list_head_find(call, &head, &slot);
    assert(found);
    (void)found;
    struct list_piece piece = list_piece_read(head.pieces, head.piece_count - 1);
    piece.count += made;
    list_piece_write(head.pieces, head.piece_count - 1, piece);
}

static void tail_write(
    struct list_call *call, const struct list_piece *piece, const struct elements *part)
{
    struct chunk tail;
    list_load_chunk(call->heap, piece->id, piece->first + piece->count - 1, &tail);
    assert(tail.found);
    uint8_t *end = elements_write(call, part, tail.frames + tail.used);
    uint8_t *value =
        (uint8_t *)(uintptr_t)version_value(&tail.lookup, entry_in(call->heap, tail.slot)).data;
    member_set_used(value, (uint32_t)(end - tail.frames));
}

static uint32_t append_chunked(
    struct list_call *call, const struct list_head *head, const struct elements *elements)
{
    struct chunk tail;
    struct list_piece piece = tail_of(call, head, &tail);
    uint64_t bytes = 0;
    uint32_t fitting = 0;
    uint32_t status = CISTERN_OK;
    if (tail.found && tail.stamped == call->format.has_written) {
        fitting = elements_fitting(call, elements, tail.capacity - tail.used, &bytes);
    }
    if (fitting != 0) {
        struct entry *entry;
        status = version_make_writable(call->heap, &tail.lookup, &tail.slot, &entry);
    }
    struct elements rest = elements_from(elements, fitting);
    if (status == CISTERN_OK && rest.count != 0) {
        struct index_slot slot;
        struct entry *entry;
        int found = lookup_find(call->heap, &call->lookup, &slot);
        assert(found);
        (void)found;
        status = version_make_writable(call->heap, &call->lookup, &slot, &entry);
        uint32_t made = 0;
        if (status == CISTERN_OK) {
            status = make_chunks(call, piece.id, piece.first + piece.count,
                tail.found ? tail.capacity : 0, rest, &made);
        }
        if (status == CISTERN_OK) {
            head_extend(call, made);
        }
    }
    if (status == CISTERN_OK && fitting != 0) {
        struct elements part = {elements->spans, fitting};
        tail_write(call, &piece, &part);
    }
    return status;
}

static uint32_t append(struct list_call *call, const struct elements *elements)
{
    struct list_head head;
    struct index_slot slot;
    if (list_head_find(call, &head, &slot)) {
        return (head.flags & LIST_CHUNKED) ? append_chunked(call, &head, elements)
                                           : append_inline(call, &head, slot, elements);
    }
    uint64_t bytes = list_elements_bytes(call, elements);
    return bytes <= LIST_INLINE_BYTES_MAX ? list_rewrite_inline(call, 0, elements, bytes, bytes)
                                          : list_become_chunked(call, NULL, *elements);
}

/* ---- replace and clear ---- */

uint32_t list_pieces_copy(const struct list_head *head, struct pieces *pieces)
{
    pieces->items = pieces->few;
    pieces->count = (head->flags & LIST_CHUNKED) ? head->piece_count : 0;
    if (pieces->count > sizeof pieces->few / sizeof pieces->few[0]) {
        pieces->items = cistern_allocate((uint64_t)pieces->count * sizeof *pieces->items);
        if (pieces->items == NULL) {
            return CISTERN_NO_MEMORY;
        }
    }
    for (uint32_t i = 0; i < pieces->count; i++) {
        pieces->items[i] = list_piece_read(head->pieces, i);
    }
    return CISTERN_OK;
}

void list_pieces_deinit(struct pieces *pieces)
{
    if (pieces->items != pieces->few) {
        cistern_release(pieces->items);
    }
}

static uint32_t replace_all(struct list_call *call, const struct elements *elements)
{
    uint64_t bytes = list_elements_bytes(call, elements);
    if (bytes <= LIST_INLINE_BYTES_MAX) {
        return list_rewrite_inline(call, 0, elements, bytes, bytes);
    }
    return list_become_chunked(call, NULL, *elements);
}

static uint32_t replace_any(struct list_call *call, const struct elements *elements)
{
    struct list_head head;
    struct index_slot slot;
    if (!list_head_find(call, &head, &slot)) {
        return replace_all(call, elements);
    }
    if ((head.flags & LIST_CHUNKED) == 0) {
        uint64_t bytes = list_elements_bytes(call, elements);
        return write_in_place(call, &head, slot, 0, elements, bytes) ? CISTERN_OK
                                                                     : replace_all(call, elements);
    }
    struct pieces pieces;
    uint32_t status = list_pieces_copy(&head, &pieces);
    if (status == CISTERN_OK) {
        status = replace_all(call, elements);
    }
    if (status == CISTERN_OK) {
        list_condemn(call, pieces.items, pieces.count);
    }
    list_pieces_deinit(&pieces);
    return status;
}

static uint32_t replace(struct list_call *call, const struct elements *elements)
{
    uint32_t status = replace_any(call, elements);
    if (status == CISTERN_OK) {
        list_walks_end(call);
    }
    return status;
}

static uint32_t clear(struct list_call *call)
{
    struct list_head head;
    struct index_slot slot;
    if (!list_head_find(call, &head, &slot)) {
        return CISTERN_OK;
    }
    struct pieces pieces;
    uint32_t status = list_pieces_copy(&head, &pieces);
    if (status == CISTERN_OK) {
        status = version_erase(call->heap, &call->lookup);
    }
    if (status == CISTERN_OK) {
        list_condemn(call, pieces.items, pieces.count);
    }
    list_pieces_deinit(&pieces);
    return status;
}

/* ---- the operations ---- */

uint32_t list_clear(struct heap_state *state, const struct cistern_address *address)
{
    struct list_call call = list_call_make(&state->base, address);
    uint32_t status = clear(&call);
    if (status == CISTERN_OK) {
        list_walks_end(&call);
    }
    return status;
}

typedef uint32_t (*change_fn)(struct list_call *call, const struct elements *elements);

static uint32_t change(struct cistern_state *state, const struct cistern_address *address,
    const struct cistern_span *spans, uint32_t count, change_fn change, struct cistern_error *error)
{
    struct inputs inputs = {
        .addresses = address,
        .address_count = 1,
        .spans = {spans},
        .span_counts = {count},
    };
    uint32_t status = inputs_own(&inputs, &heap_of(state->backend)->segments, error);
    if (status == CISTERN_OK) {
        struct list_call call = list_call_make(state, inputs.addresses);
        struct elements elements = {inputs.spans[0], count};
        status = change(&call, &elements);
        version_end_batch(call.heap);
        inputs_deinit(&inputs);
    }
    return status;
}

uint32_t heap_list_append(struct cistern_state *state, const struct cistern_address *address,
    const struct cistern_span *elements, uint32_t count, struct cistern_error *error)
{
    return change(state, address, elements, count, append, error);
}

uint32_t heap_list_replace(struct cistern_state *state, const struct cistern_address *address,
    const struct cistern_span *elements, uint32_t count, struct cistern_error *error)
{
    return change(state, address, elements, count, replace, error);
}
