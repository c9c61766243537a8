/* absorb.c -- see absorb_private.h. */
#include "absorb_private.h"
#include "expand_private.h"
#include "timer_private.h"

#define PLACES_MAX 0x7fffffffu /* runs of a list in the canonical form */

/* ---- checks: bytes from outside ---- */

static int varint_is_whole(const uint8_t *at, const uint8_t *end)
{
    for (uint32_t i = 0; i < 10 && at + i < end; i++) {
        if ((at[i] & 0x80) == 0) {
            return i < 9 || at[i] <= 1;
        }
    }
    return 0;
}

/* Items that end exactly where their bytes do. solo: one, with its value in full. */
static int items_are_whole(
    const struct item_format *format, const uint8_t *items, uint64_t used, int solo)
{
    const uint8_t *end = items + used;
    uint32_t count = 0;
    for (const uint8_t *at = items; at < end; count++) {
        uint64_t left = (uint64_t)(end - at);
        const uint8_t *from = at;
        uint64_t length = format->user_key_bytes;
        if (length == 0) {
            if (!varint_is_whole(at, end)) {
                return 0;
            }
            from = varint_read(at, &length);
        }
        left = (uint64_t)(end - from);
        if (length >= left || length > CISTERN_KEY_BYTES_MAX) {
            return 0; /* the state of the value takes a byte at least */
        }
        from += length;
        if (format->value_bytes == 0 ? !varint_is_whole(from, end) : *from > ITEM_HERE) {
            return 0;
        }
        uint64_t code = *from;
        from = format->value_bytes == 0 ? varint_read(from, &code) : from + 1;
        uint64_t fixed =
            (format->stamped ? sizeof(int64_t) : 0) + (code == ITEM_SOLO ? ITEM_SERIAL_BYTES : 0);
        if ((uint64_t)(end - from) < fixed) {
            return 0;
        }
        struct item item;
        item_parse(format, at, &item);
        left = (uint64_t)(end - at);
        int is_short = item.form == ITEM_HERE && item.value.bytes > ITEM_VALUE_BYTES_MAX;
        if (item.bytes > left || item.offset_value > left || (is_short && !solo) ||
            (solo && item.form != ITEM_HERE)) {
            return 0;
        }
        at += item.bytes;
    }
    return !solo || count == 1;
}

static int frames_are_whole(const struct cistern_frame_format *format, struct cistern_span run)
{
    struct cistern_frame frame;
    uint64_t at = 0;
    while (cistern_frame_read(format, run, at, &frame)) {
        at += frame.bytes;
    }
    return at == run.bytes;
}

static const char *map_head_problem(
    const struct heap_state *state, const struct cistern_seg_entry *entry)
{
    struct map_head head;
    const uint8_t *at = entry->value.data;
    if (entry->value.bytes < MAP_HEAD_BYTES || (at[0] & ~(MAP_PAGED | MAP_STAMPED)) != 0 ||
        ((at[0] & MAP_PAGED) && entry->value.bytes != MAP_PAGED_HEAD_BYTES)) {
        return "its value is no head of a map";
    }
    map_head_parse(entry->value, &head);
    if (head.flags & MAP_PAGED) {
        return head.page_count == 0 || head.page_count >= MEMBER_SOLO_BIT || head.count == 0 ||
                       member_id_group(head.id) != entry->key_group
                   ? "the head of a map has no pages, no entries, or another group's id"
                   : NULL;
    }
    struct item_format format = item_format_of(state, (head.flags & MAP_STAMPED) != 0);
    return head.used != head.capacity || head.used == 0 ||
                   !items_are_whole(&format, head.items, head.used, 0)
               ? "the user keys and values of a map do not end where its value does"
               : NULL;
}

static const char *list_head_problem(
    const struct heap_state *state, const struct cistern_seg_entry *entry)
{
    struct list_head head;
    const uint8_t *at = entry->value.data;
    uint64_t bytes = entry->value.bytes;
    if (bytes < LIST_HEAD_BYTES || (at[0] & ~(LIST_CHUNKED | LIST_STAMPED | LIST_MERGED)) != 0 ||
        ((at[0] & LIST_CHUNKED) && bytes < LIST_PIECES_HEAD_BYTES)) {
        return "its value is no head of a list";
    }
    list_head_parse(entry->value, &head);
    if (head.flags & LIST_CHUNKED) {
        if (head.piece_count == 0 ||
            bytes != LIST_PIECES_HEAD_BYTES + (uint64_t)head.piece_count * LIST_PIECE_BYTES) {
            return "the head of a list names another number of pieces than it holds";
        }
        for (uint32_t i = 0; i < head.piece_count; i++) {
            struct list_piece piece = list_piece_read(head.pieces, i);
            if (member_id_group(piece.id) != entry->key_group || piece.count == 0 ||
                piece.count > LIST_CHUNKS_MAX || piece.first > LIST_CHUNKS_MAX) {
                return "a piece of a list has no chunks, too many, or another group's id";
            }
        }
        return NULL;
    }
    struct cistern_frame_format format = list_format_of(state, (head.flags & LIST_STAMPED) != 0);
    struct cistern_span run = {head.frames, head.used};
    return head.used != head.capacity || !frames_are_whole(&format, run)
               ? "the elements of a list do not end where its value does"
               : NULL;
}

static const char *member_problem(
    const struct heap_state *state, const struct cistern_seg_entry *entry)
{
    uint64_t id;
    uint32_t number;
    if (entry->user_key.bytes != EXPAND_MEMBER_KEY_BYTES) {
        return "its user key is none of a part of a map or list";
    }
    uint8_t flags = ((const uint8_t *)entry->user_key.data)[MEMBER_KEY_BYTES];
    member_key_read(entry->user_key.data, &id, &number);
    if ((flags & ~MEMBER_STAMPED) != 0 || member_id_group(id) != entry->key_group ||
        entry->value.bytes > UINT32_MAX) {
        return "a part of a map or list has unknown flags or another group's id";
    }
    int stamped = (flags & MEMBER_STAMPED) != 0;
    if (state->base.descriptor.kind == CISTERN_LIST) {
        struct cistern_frame_format format = list_format_of(state, stamped);
        return frames_are_whole(&format, entry->value)
                   ? NULL
                   : "the elements of a part of a list do not end where it does";
    }
    struct item_format format = item_format_of(state, stamped);
    return items_are_whole(
               &format, entry->value.data, entry->value.bytes, (number & MEMBER_SOLO_BIT) != 0)
               ? NULL
               : "the user keys and values of a part of a map do not end where it does";
}

static const char *canonical_problem(
    const struct heap_state *state, const struct cistern_seg_entry *entry)
{
    if (state->base.descriptor.kind == CISTERN_MAP) {
        return NULL; /* sizes are the caller's to check */
    }
    struct cistern_frame_format format = list_format_of(state, entry->has_written != 0);
    if (entry->user_key.bytes != sizeof(uint64_t) ||
        cistern_get_u64_be(entry->user_key.data) > PLACES_MAX) {
        return "its user key is no place in a list";
    }
    return entry->value.data != NULL && frames_are_whole(&format, entry->value)
               ? NULL
               : "the elements of a run do not end where it does";
}

const char *absorb_problem(const struct absorb *absorb, const struct heap_state *state,
    const struct cistern_seg_entry *entry)
{
    uint32_t kind = state->base.descriptor.kind;
    if (kind == CISTERN_TIMERS) {
        return entry->user_key.bytes != TIMER_TIME_BYTES
                   ? "a timer's time is its user key and has 8 bytes"
                   : NULL;
    }
    if (kind != CISTERN_MAP && kind != CISTERN_LIST) {
        return entry->user_key.data != NULL ? "it has a user key, which states of this kind do not"
                                            : NULL;
    }
    if (absorb->is_canonical) {
        return entry->tombstone || entry->user_key.data == NULL
                   ? "entries of maps and lists have a user key"
                   : canonical_problem(state, entry);
    }
    if (entry->tombstone) {
        return NULL;
    }
    if (entry->value.data == NULL) {
        return "it has no value";
    }
    if (entry->user_key.data != NULL) {
        return member_problem(state, entry);
    }
    return kind == CISTERN_MAP ? map_head_problem(state, entry) : list_head_problem(state, entry);
}

/* ---- into the heap ---- */

static void note_id(struct heap *heap, uint64_t id)
{
    uint64_t counter = id & MEMBER_ID_COUNTER_MAX;
    heap->object_id_last = counter > heap->object_id_last ? counter : heap->object_id_last;
}

/* A value as it is, whatever was there. */
static uint32_t store_raw(
    struct heap *heap, const struct lookup *lookup, uint64_t value_bytes, struct version *version)
{
    struct index_slot slot = {0};
    *version = (struct version){
        .heap = heap,
        .lookup = lookup,
        .value_bytes = value_bytes,
        .found = (uint32_t)lookup_find(heap, lookup, &slot),
    };
    version->slot = slot;
    return version_begin(version);
}

static uint32_t absorb_head(struct heap *heap, const struct heap_state *state,
    const struct lookup *lookup, struct cistern_span value)
{
    struct version version;
    uint32_t status = store_raw(heap, lookup, value.bytes, &version);
    if (status != CISTERN_OK) {
        return status;
    }
    span_write(version.value, value);
    version_publish(&version);
    if (state->base.descriptor.kind == CISTERN_MAP) {
        struct map_head head;
        map_head_parse(value, &head);
        note_id(heap, head.id);
        return CISTERN_OK;
    }
    struct list_head head;
    list_head_parse(value, &head);
    heap->has_merged_lists |= (head.flags & LIST_MERGED) != 0;
    for (uint32_t i = 0; i < head.piece_count; i++) {
        note_id(heap, list_piece_read(head.pieces, i).id);
    }
    return CISTERN_OK;
}

static uint32_t absorb_member(struct heap *heap, const struct heap_state *state,
    const struct cistern_address *owner, const struct cistern_seg_entry *entry)
{
    uint64_t id;
    uint32_t number;
    struct member member;
    struct version version;
    member_key_read(entry->user_key.data, &id, &number);
    member_address(id, number, &member);
    struct lookup lookup = lookup_make(heap, MEMBER_STATE_ID, &member.address);
    uint32_t status =
        store_raw(heap, &lookup, member_prefix_bytes(owner) + entry->value.bytes, &version);
    if (status == CISTERN_OK) {
        uint8_t flags = ((const uint8_t *)entry->user_key.data)[MEMBER_KEY_BYTES];
        uint8_t *items = member_write_prefix(version.value, state->base.id, flags, owner);
        member_set_used(version.value, (uint32_t)entry->value.bytes);
        span_write(items, entry->value);
        version_publish(&version);
        note_id(heap, id);
    }
    return status;
}

static int is_expired(const struct absorb *absorb, const struct heap_state *state,
    const struct cistern_seg_entry *entry)
{
    return entry->has_written && entry_expired(state, ENTRY_TTL, entry->written_ms, absorb->now_ms);
}

static uint32_t absorb_tombstone(struct heap *heap, const struct lookup *lookup)
{
    return value_is_current(heap, lookup) ? CISTERN_OK : version_erase(heap, lookup);
}

static uint32_t absorb_timer(struct heap_state *state, const struct cistern_address *address,
    const struct cistern_seg_entry *entry)
{
    struct cistern_span time_key = entry->user_key;
    return timer_restore(state, address, timer_key_split(&time_key), entry->tombstone != 0);
}

static uint32_t absorb_canonical(struct absorb *absorb, struct heap_state *state,
    const struct cistern_address *address, const struct cistern_seg_entry *entry)
{
    struct heap *heap = absorb->heap;
    if (state->base.descriptor.kind == CISTERN_LIST) {
        return list_store_run(state, address, (uint32_t)cistern_get_u64_be(entry->user_key.data),
            entry->value, entry->has_written != 0);
    }
    if (is_expired(absorb, state, entry)) {
        return CISTERN_OK;
    }
    struct lookup lookup = lookup_make(heap, state->base.id, address);
    return map_store(heap, state, &lookup, entry->user_key, entry->value,
        entry->has_written ? entry->written_ms : absorb->now_ms);
}

void absorb_prefetch(const struct absorb *absorb, const struct heap_state *state,
    const struct cistern_seg_entry *entry)
{
    if (state != NULL && entry->user_key.data == NULL && entry->key.data != NULL) {
        struct cistern_address address = {.key = entry->key, .name_space = entry->name_space};
        __builtin_prefetch(
            index_bucket(&absorb->heap->index, lookup_hash(absorb->heap, state->base.id, &address)),
            1);
    }
}

uint32_t absorb_entry(
    struct absorb *absorb, struct heap_state *state, const struct cistern_seg_entry *entry)
{
    struct heap *heap = absorb->heap;
    struct cistern_address address = {
        .key = entry->key, .name_space = entry->name_space, .key_group = entry->key_group};
    uint32_t kind = state->base.descriptor.kind;
    if (kind == CISTERN_TIMERS) {
        return absorb_timer(state, &address, entry);
    }
    struct lookup lookup = lookup_make(heap, state->base.id, &address);
    if (kind == CISTERN_MAP || kind == CISTERN_LIST) {
        absorb->has_objects = 1;
        if (absorb->is_canonical) {
            return absorb_canonical(absorb, state, &address, entry);
        }
        if (entry->tombstone) {
            return absorb_tombstone(heap, &lookup);
        }
        return entry->user_key.data != NULL ? absorb_member(heap, state, &address, entry)
                                            : absorb_head(heap, state, &lookup, entry->value);
    }
    if (entry->tombstone || is_expired(absorb, state, entry)) {
        return absorb_tombstone(heap, &lookup);
    }
    return value_store(heap, state, &lookup, entry->value,
        entry->has_written ? entry->written_ms : absorb->now_ms);
}
