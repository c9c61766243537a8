/* expand.c -- see expand_private.h. */
#include "expand_private.h"
#include "timer_private.h"
#include "cistern/alloc.h"
#include "cistern/seg.h"

#include <stdlib.h>

uint32_t expand_prepare(struct expand *expand, const struct heap *heap, int is_canonical)
{
    uint32_t state_count = heap->base.state_count;
    uint32_t condemned_count = heap->condemned.count;
    expand->states = cistern_allocate_zeroed(state_count + 1ULL, sizeof *expand->states);
    expand->condemned = cistern_allocate_zeroed(condemned_count + 1ULL, sizeof *expand->condemned);
    if (expand->states == NULL || expand->condemned == NULL) {
        return CISTERN_NO_MEMORY; /* the caller deinits */
    }
    for (uint32_t i = 0; i < state_count; i++) {
        const struct cistern_state *state = heap->base.states[i];
        if (state != NULL) {
            expand->states[i] = (struct expand_state){
                .ttl = state->descriptor.ttl,
                .now_ms =
                    state->descriptor.ttl.time_to_live_ms != 0 ? cistern_state_now_ms(state) : 0,
                .kind = state->descriptor.kind,
                .user_key_bytes = state->descriptor.user_key_bytes,
                .value_bytes = state->descriptor.value_bytes,
            };
        }
    }
    if (condemned_count != 0) {
        memcpy(
            expand->condemned, heap->condemned.ranges, condemned_count * sizeof *expand->condemned);
    }
    expand->condemned_count = condemned_count;
    expand->is_canonical = (uint32_t)is_canonical;
    expand->has_merged_lists = heap->has_merged_lists;
    return CISTERN_OK;
}

void expand_deinit(struct expand *expand)
{
    cistern_release(expand->states);
    cistern_release(expand->condemned);
    cistern_release(expand->pieces);
}

static int is_expired(const struct expand_state *state, int stamped, int64_t written_ms)
{
    return stamped && cistern_ttl_expired(&state->ttl, written_ms, state->now_ms);
}

/* ---- merged lists ---- */

static uint32_t learn_piece(struct expand *expand, const struct expand_piece *piece)
{
    if (expand->piece_count == expand->piece_capacity) {
        uint64_t capacity = expand->piece_capacity == 0 ? 256 : expand->piece_capacity * 2;
        struct expand_piece *pieces = cistern_reallocate(expand->pieces, capacity * sizeof *pieces);
        if (pieces == NULL) {
            return CISTERN_NO_MEMORY;
        }
        expand->pieces = pieces;
        expand->piece_capacity = capacity;
    }
    expand->pieces[expand->piece_count++] = *piece;
    return CISTERN_OK;
}

uint32_t expand_learn(
    struct expand *expand, const struct entry *entry, uint8_t flags, const struct entry_view *view)
{
    if (entry->state_id == MEMBER_STATE_ID || (flags & ENTRY_TOMBSTONE) ||
        expand->states[entry->state_id - 1].kind != CISTERN_LIST) {
        return CISTERN_OK;
    }
    struct list_head head;
    list_head_parse(view->value, &head);
    uint64_t run = 0;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; (head.flags & LIST_MERGED) && i < head.piece_count; i++) {
        struct list_piece piece = list_piece_read(head.pieces, i);
        struct expand_piece learned = {
            .id = piece.id,
            .first = piece.first,
            .count = piece.count,
            .run_first = run,
            .key = view->key,
            .name_space = view->name_space,
        };
        run += piece.count;
        status = status == CISTERN_OK ? learn_piece(expand, &learned) : status;
    }
    return status;
}

static int compare_pieces(const void *a, const void *b)
{
    const struct expand_piece *left = a;
    const struct expand_piece *right = b;
    if (left->id != right->id) {
        return left->id < right->id ? -1 : 1;
    }
    return (left->first > right->first) - (left->first < right->first);
}

void expand_learned(struct expand *expand)
{
    if (expand->piece_count != 0) {
        qsort(expand->pieces, expand->piece_count, sizeof *expand->pieces, compare_pieces);
    }
}

/* The piece of a merged list that the chunk belongs to; NULL = it was never merged. */
static const struct expand_piece *find_piece(
    const struct expand *expand, uint64_t id, uint32_t number)
{
    uint64_t low = 0;
    uint64_t high = expand->piece_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const struct expand_piece *piece = &expand->pieces[middle];
        if (piece->id < id || (piece->id == id && piece->first + piece->count <= number)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct expand_piece *piece = &expand->pieces[low];
    return low < expand->piece_count && piece->id == id && piece->first <= number ? piece : NULL;
}

/* ---- what an entry holds ---- */

struct addressed { /* the address of what is written out */
    uint32_t state_id;
    uint32_t key_group;
    struct cistern_span key;
    struct cistern_span name_space;
};

static struct cistern_seg_entry seg_entry_at(const struct addressed *addressed)
{
    return (struct cistern_seg_entry){
        .state_id = addressed->state_id,
        .key_group = addressed->key_group,
        .key = addressed->key,
        .name_space = addressed->name_space,
    };
}

/* One entry per item; those kept apart are written where they stand. */
static uint32_t expand_items(struct expand *expand, struct cistern_seg_writer *writer,
    const struct addressed *addressed, const uint8_t *items, uint64_t used, int stamped,
    struct cistern_error *error)
{
    const struct expand_state *state = &expand->states[addressed->state_id - 1];
    struct item_format format =
        item_format_make(state->user_key_bytes, state->value_bytes, stamped);
    struct item item;
    for (; expand->item_offset < used; expand->item_offset += item.bytes) {
        item_parse(&format, items + expand->item_offset, &item);
        if (item.form == ITEM_SOLO || is_expired(state, stamped, item.written_ms)) {
            continue;
        }
        struct cistern_seg_entry out = seg_entry_at(addressed);
        out.user_key = item.user_key;
        out.value = item.value;
        out.written_ms = item.written_ms;
        out.has_written = (uint32_t)stamped;
        uint32_t status = cistern_seg_writer_add(writer, &out, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

/* A run of frames; its user key is its place in the list. */
static uint32_t expand_run(struct cistern_seg_writer *writer, const struct addressed *addressed,
    uint64_t place, struct cistern_span frames, int stamped, struct cistern_error *error)
{
    if (frames.bytes == 0) {
        return CISTERN_OK;
    }
    uint8_t user_key[sizeof place];
    cistern_put_u64_be(user_key, place);
    struct cistern_seg_entry out = seg_entry_at(addressed);
    out.user_key = (struct cistern_span){user_key, sizeof user_key};
    out.value = frames;
    out.has_written = (uint32_t)stamped;
    return cistern_seg_writer_add(writer, &out, error);
}

static uint32_t canonical_member(struct expand *expand, struct cistern_seg_writer *writer,
    const struct entry_view *view, struct cistern_error *error)
{
    uint64_t id;
    uint32_t number;
    struct member_view member;
    member_key_read(view->key.data, &id, &number);
    member_parse(view->value, &member);
    struct addressed addressed = {
        .state_id = member.owner_id,
        .key_group = view->key_group,
        .key = member.key,
        .name_space = member.name_space,
    };
    int stamped = (member.flags & MEMBER_STAMPED) != 0;
    if (condemned_holds(expand->condemned, expand->condemned_count, id)) {
        return CISTERN_OK;
    }
    if (expand->states[member.owner_id - 1].kind == CISTERN_MAP) {
        return expand_items(expand, writer, &addressed, member.items, member.used, stamped, error);
    }
    uint64_t place = number;
    const struct expand_piece *piece = find_piece(expand, id, number);
    if (piece != NULL) {
        place = piece->run_first + (number - piece->first);
        addressed.key = piece->key;
        addressed.name_space = piece->name_space;
    }
    struct cistern_span frames = {member.items, member.used};
    return expand_run(writer, &addressed, place, frames, stamped, error);
}

static uint32_t canonical_head(struct expand *expand, struct cistern_seg_writer *writer,
    const struct addressed *addressed, const struct entry_view *view, struct cistern_error *error)
{
    if (expand->states[addressed->state_id - 1].kind == CISTERN_MAP) {
        struct map_head head;
        map_head_parse(view->value, &head);
        return expand_items(expand, writer, addressed, head.items, head.used,
            (head.flags & MAP_STAMPED) != 0, error);
    }
    struct list_head head;
    list_head_parse(view->value, &head);
    struct cistern_span frames = {head.frames, head.used};
    return expand_run(writer, addressed, 0, frames, (head.flags & LIST_STAMPED) != 0, error);
}

static uint32_t native_member(struct expand *expand, struct cistern_seg_writer *writer,
    const struct entry_view *view, struct cistern_error *error)
{
    uint8_t user_key[EXPAND_MEMBER_KEY_BYTES];
    uint64_t id;
    uint32_t number;
    struct member_view member;
    member_key_read(view->key.data, &id, &number);
    if (condemned_holds(expand->condemned, expand->condemned_count, id)) {
        return CISTERN_OK;
    }
    member_parse(view->value, &member);
    memcpy(user_key, view->key.data, MEMBER_KEY_BYTES);
    user_key[MEMBER_KEY_BYTES] = member.flags & MEMBER_STAMPED;
    struct cistern_seg_entry out = {
        .state_id = member.owner_id,
        .key_group = view->key_group,
        .key = member.key,
        .name_space = member.name_space,
        .user_key = {user_key, sizeof user_key},
        .value = {member.items, member.used},
    };
    return cistern_seg_writer_add(writer, &out, error);
}

/* Without the slack at its end. */
static struct cistern_span head_value(const struct expand_state *state, struct cistern_span value)
{
    if (state->kind == CISTERN_MAP) {
        struct map_head head;
        map_head_parse(value, &head);
        value.bytes = (head.flags & MAP_PAGED) ? value.bytes : MAP_HEAD_BYTES + head.used;
    } else {
        struct list_head head;
        list_head_parse(value, &head);
        value.bytes = (head.flags & LIST_CHUNKED) ? value.bytes : LIST_HEAD_BYTES + head.used;
    }
    return value;
}

static uint32_t add_value(struct cistern_seg_writer *writer, const struct addressed *addressed,
    uint8_t flags, const struct entry_view *view, struct cistern_error *error)
{
    struct cistern_seg_entry out = seg_entry_at(addressed);
    out.value = view->value;
    out.written_ms = view->written_ms;
    out.has_written = (flags & ENTRY_TTL) != 0;
    out.tombstone = (flags & ENTRY_TOMBSTONE) != 0;
    return cistern_seg_writer_add(writer, &out, error);
}

/* The time stands in front of the stored key, and is the user key in files. */
static uint32_t add_timer(struct cistern_seg_writer *writer, struct addressed *addressed,
    uint8_t flags, const struct entry_view *view, struct cistern_error *error)
{
    static const uint8_t empty[1];
    struct cistern_seg_entry out = seg_entry_at(addressed);
    out.user_key = (struct cistern_span){view->key.data, TIMER_TIME_BYTES};
    (void)timer_key_split(&out.key);
    out.tombstone = (flags & ENTRY_TOMBSTONE) != 0;
    out.value = (struct cistern_span){out.tombstone ? NULL : empty, 0};
    return cistern_seg_writer_add(writer, &out, error);
}

static uint32_t expand_any(struct expand *expand, struct cistern_seg_writer *writer,
    const struct entry *entry, uint8_t flags, const struct entry_view *view,
    struct cistern_error *error)
{
    if (entry->state_id == MEMBER_STATE_ID) {
        return expand->is_canonical ? canonical_member(expand, writer, view, error)
                                    : native_member(expand, writer, view, error);
    }
    const struct expand_state *state = &expand->states[entry->state_id - 1];
    struct addressed addressed = {
        .state_id = entry->state_id,
        .key_group = view->key_group,
        .key = view->key,
        .name_space = view->name_space,
    };
    if (state->kind == CISTERN_TIMERS) {
        return add_timer(writer, &addressed, flags, view, error);
    }
    if ((state->kind != CISTERN_MAP && state->kind != CISTERN_LIST) || (flags & ENTRY_TOMBSTONE)) {
        int is_old = !(flags & ENTRY_TOMBSTONE) &&
                     is_expired(state, (flags & ENTRY_TTL) != 0, view->written_ms);
        return is_old ? CISTERN_OK : add_value(writer, &addressed, flags, view, error);
    }
    if (expand->is_canonical) {
        return canonical_head(expand, writer, &addressed, view, error);
    }
    struct entry_view trimmed = *view;
    trimmed.value = head_value(state, view->value);
    return add_value(writer, &addressed, flags, &trimmed, error);
}

uint32_t expand_entry(struct expand *expand, struct cistern_seg_writer *writer,
    const struct entry *entry, uint8_t flags, const struct entry_view *view,
    struct cistern_error *error)
{
    uint32_t status = expand_any(expand, writer, entry, flags, view, error);
    if (status == CISTERN_OK) {
        expand->item_offset = 0;
    }
    return status;
}
