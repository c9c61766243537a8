/*
 * list_merge.c -- lists joined without copying their elements; see list_private.h.
 *
 * Long lists hand over their pieces; the frames of short ones (at most 512 bytes each) are copied
 * into one new chunk per run of short ones. All that can be refused happens before the target's new
 * head is published; then the sources go.
 */
#include "inputs_private.h"
#include "list_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#include <stddef.h>

struct merge {
    struct list_call target;
    struct cistern_address *sources; /* those that hold something, target's own head first */
    uint32_t source_count;
    struct list_piece *pieces;
    uint32_t piece_count;
    uint32_t piece_capacity;
    uint64_t made_id; /* object of the chunks made for short lists; 0 = none yet */
    uint32_t made_count;
};

static int same_name_space(struct cistern_span a, struct cistern_span b)
{
    return (a.data != NULL) == (b.data != NULL) && span_equal(a, b);
}

/* The heads to merge, each once. */
static uint32_t collect_sources(struct merge *merge, const struct cistern_address *target,
    const struct cistern_span *name_spaces, uint32_t count)
{
    merge->sources = cistern_allocate((count + 1ULL) * sizeof *merge->sources);
    if (merge->sources == NULL) {
        return CISTERN_NO_MEMORY;
    }
    for (uint32_t i = 0; i <= count; i++) {
        struct cistern_address address = *target;
        address.name_space = i == 0 ? target->name_space : name_spaces[i - 1];
        int is_known = 0;
        for (uint32_t j = 0; j < merge->source_count && !is_known; j++) {
            is_known = same_name_space(merge->sources[j].name_space, address.name_space);
        }
        struct list_call call = list_call_make(&merge->target.state->base, &address);
        struct list_head head;
        struct index_slot slot;
        if (!is_known && list_head_find(&call, &head, &slot)) {
            merge->sources[merge->source_count++] = address;
        }
    }
    return CISTERN_OK;
}

static uint32_t add_piece(struct merge *merge, struct list_piece piece)
{
    if (merge->piece_count == merge->piece_capacity) {
        uint32_t capacity = merge->piece_capacity == 0 ? 16 : merge->piece_capacity * 2;
        struct list_piece *pieces =
            cistern_reallocate(merge->pieces, (uint64_t)capacity * sizeof *pieces);
        if (pieces == NULL) {
            return CISTERN_NO_MEMORY;
        }
        merge->pieces = pieces;
        merge->piece_capacity = capacity;
    }
    merge->pieces[merge->piece_count++] = piece;
    return CISTERN_OK;
}

static struct list_call source_call(struct merge *merge, uint32_t index)
{
    return list_call_make(&merge->target.state->base, &merge->sources[index]);
}

static void source_head(struct merge *merge, uint32_t index, struct list_head *head)
{
    struct list_call call = source_call(merge, index);
    struct index_slot slot;
    int found = list_head_find(&call, head, &slot);
    assert(found);
    (void)found;
}

/* Sources [from, ret_to) are short and fit one chunk together: it is made. */
static uint32_t merge_short_ones(struct merge *merge, uint32_t from, uint32_t *ret_to)
{
    struct list_call *call = &merge->target;
    struct list_head head;
    uint64_t used = 0;
    uint32_t to = from;
    for (; to < merge->source_count; to++) {
        source_head(merge, to, &head);
        uint64_t bytes = (head.flags & LIST_CHUNKED) ? 0 : list_converted_bytes(call, &head);
        if ((head.flags & LIST_CHUNKED) || used + bytes > LIST_CHUNK_BYTES_MAX) {
            break;
        }
        used += bytes;
    }
    if (merge->made_id == 0) {
        merge->made_id = member_id_new(call->heap, call->address->key_group);
    }
    uint8_t *at;
    uint32_t status = list_chunk_make(call, merge->made_id, merge->made_count,
        (int)call->format.has_written, used, LIST_CHUNK_BYTES_MAX, &at);
    if (status != CISTERN_OK) {
        return status;
    }
    for (uint32_t i = from; i < to; i++) {
        source_head(merge, i, &head);
        at = list_converted_write(call, &head, at);
    }
    struct list_piece piece = {.id = merge->made_id, .first = merge->made_count++, .count = 1};
    *ret_to = to;
    return add_piece(merge, piece);
}

static uint32_t collect_pieces(struct merge *merge)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < merge->source_count && status == CISTERN_OK;) {
        struct list_head head;
        source_head(merge, i, &head);
        if ((head.flags & LIST_CHUNKED) == 0) {
            status = merge_short_ones(merge, i, &i);
            continue;
        }
        for (uint32_t p = 0; p < head.piece_count && status == CISTERN_OK; p++) {
            status = add_piece(merge, list_piece_read(head.pieces, p));
        }
        i++;
    }
    return status;
}

/* All sources are short, and together still are. 0 = not so. */
static uint32_t short_bytes(struct merge *merge, uint64_t *ret_bytes)
{
    *ret_bytes = 0;
    for (uint32_t i = 0; i < merge->source_count; i++) {
        struct list_head head;
        source_head(merge, i, &head);
        if (head.flags & LIST_CHUNKED) {
            return 0;
        }
        *ret_bytes += list_converted_bytes(&merge->target, &head);
    }
    return *ret_bytes <= LIST_INLINE_BYTES_MAX;
}

static uint32_t publish_short(struct merge *merge, uint64_t bytes)
{
    struct list_call *call = &merge->target;
    uint8_t all[LIST_INLINE_BYTES_MAX];
    uint8_t *to = all;
    for (uint32_t i = 0; i < merge->source_count; i++) {
        struct list_head head;
        source_head(merge, i, &head);
        to = list_converted_write(call, &head, to);
    }
    struct index_slot slot = {0};
    struct version version = {
        .heap = call->heap,
        .lookup = &call->lookup,
        .value_bytes = LIST_HEAD_BYTES + bytes,
        .found = (uint32_t)lookup_find(call->heap, &call->lookup, &slot),
    };
    version.slot = slot;
    uint32_t status = version_begin(&version);
    if (status == CISTERN_OK) {
        version.value[0] = call->format.has_written ? LIST_STAMPED : 0;
        list_set_used(version.value, (uint32_t)bytes);
        memcpy(version.value + LIST_HEAD_BYTES, all, bytes);
        version_publish(&version);
    }
    return status;
}

static uint32_t merge_run(struct merge *merge)
{
    uint64_t bytes;
    uint32_t status;
    if (short_bytes(merge, &bytes)) {
        status = publish_short(merge, bytes);
    } else {
        status = collect_pieces(merge);
        if (status == CISTERN_OK) {
            status =
                list_publish_pieces(&merge->target, merge->pieces, merge->piece_count, LIST_MERGED);
            merge->target.heap->has_merged_lists |= status == CISTERN_OK;
        }
        if (status != CISTERN_OK) {
            list_drop_chunks(&merge->target, merge->made_id, 0, merge->made_count);
        }
    }
    for (uint32_t i = 0; i < merge->source_count && status == CISTERN_OK; i++) {
        if (!same_name_space(merge->sources[i].name_space, merge->target.address->name_space)) {
            struct list_call call = source_call(merge, i);
            version_erase_anyway(call.heap, &call.lookup);
            list_walks_end(&call);
        }
    }
    return status;
}

static int only_target(const struct merge *merge)
{
    return merge->source_count == 0 ||
           (merge->source_count == 1 &&
               same_name_space(merge->sources[0].name_space, merge->target.address->name_space));
}

uint32_t heap_list_merge(struct cistern_state *state, const struct cistern_address *target,
    const struct cistern_span *name_spaces, uint32_t count, struct cistern_error *error)
{
    struct inputs inputs = {
        .addresses = target,
        .address_count = 1,
        .spans = {name_spaces},
        .span_counts = {count},
    };
    uint32_t status = inputs_own(&inputs, &heap_of(state->backend)->segments, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct merge merge = {.target = list_call_make(state, inputs.addresses)};
    status = collect_sources(&merge, inputs.addresses, inputs.spans[0], count);
    if (status == CISTERN_OK && !only_target(&merge)) {
        status = merge_run(&merge);
        version_end_batch(merge.target.heap);
    }
    if (status == CISTERN_NO_MEMORY) {
        status = cistern_fail(error, status, state->descriptor.name, "no memory to merge %u lists",
            merge.source_count);
    }
    cistern_release(merge.sources);
    cistern_release(merge.pieces);
    inputs_deinit(&inputs);
    return status;
}

/* ---- restore ---- */

/* The list's only piece comes to hold the number. */
static uint32_t widen(struct list_call *call, struct list_piece piece, uint32_t number)
{
    uint32_t end = piece.first + piece.count;
    struct list_piece wider = piece;
    wider.first = number < piece.first ? number : piece.first;
    wider.count = (number >= end ? number + 1 : end) - wider.first;
    return wider.first == piece.first && wider.count == piece.count
               ? CISTERN_OK
               : list_publish_pieces(call, &wider, 1, 0);
}

uint32_t list_store_run(struct heap_state *state, const struct cistern_address *address,
    uint32_t number, struct cistern_span frames, int stamped)
{
    struct list_call call = list_call_make(&state->base, address);
    struct list_piece piece = {.first = number, .count = 0};
    struct list_head head;
    struct index_slot slot;
    uint32_t status = CISTERN_OK;
    if (list_head_find(&call, &head, &slot)) {
        piece = list_piece_read(head.pieces, 0);
    } else {
        piece.id = member_id_new(call.heap, address->key_group);
    }
    uint8_t *to;
    status = list_chunk_make(&call, piece.id, number, stamped, frames.bytes, frames.bytes, &to);
    if (status == CISTERN_OK) {
        memcpy(to, frames.data, frames.bytes);
        status = widen(&call, piece, number);
    }
    return status;
}
