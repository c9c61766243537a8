/*
 * list_private.h -- the head of a list and its chunks.
 *
 * A list of up to LIST_INLINE_BYTES_MAX bytes of frames (cistern/list_frame.h) is the value of its
 * head:
 *   u8 flags, u16 used, frames, slack
 * A longer one has chunks, which are members (member_private.h), in pieces; a piece is the chunks
 * [first, first + count) of one object. A list that was never merged has one piece:
 *   u8 flags, u8[3] 0, u32 piece_count, piece_count x {u64 object id, u32 first, u32 count}
 * Appending writes into the last chunk's slack or makes a new chunk; merging moves pieces, not
 * elements. A number within a piece that has no chunk holds nothing.
 * Threads: owner only; a snapshot's reader parses what it has claimed.
 */
#ifndef CISTERN_HEAPSTATE_LIST_PRIVATE_H
#define CISTERN_HEAPSTATE_LIST_PRIVATE_H

#include "member_private.h"
#include "version_private.h"
#include "cistern/list_frame.h"

#define LIST_INLINE_BYTES_MAX 512u
#define LIST_HEAD_BYTES 3u
#define LIST_PIECES_HEAD_BYTES 8u
#define LIST_PIECE_BYTES 16u
#define LIST_CHUNK_BYTES_MAX 4096u  /* of frames; a longer frame has a chunk of its own */
#define LIST_CHUNKS_MAX 0x7fffffffu /* of a piece */

/* MERGED: a chunk's own address or number may not tell where its list is now. */
enum list_flag { LIST_CHUNKED = 1, LIST_STAMPED = 2, LIST_MERGED = 4 };

struct list_piece {
    uint64_t id;
    uint32_t first;
    uint32_t count;
};
struct list_head {
    uint8_t flags;
    uint32_t used; /* not chunked */
    uint32_t capacity;
    uint8_t *frames;
    uint32_t piece_count; /* chunked */
    uint8_t *pieces;
};

static inline void list_head_parse(struct cistern_span value, struct list_head *head)
{
    uint8_t *at = (uint8_t *)(uintptr_t)value.data;
    *head = (struct list_head){.flags = at[0]};
    if (head->flags & LIST_CHUNKED) {
        memcpy(&head->piece_count, at + 4, 4);
        head->pieces = at + LIST_PIECES_HEAD_BYTES;
        return;
    }
    uint16_t used;
    memcpy(&used, at + 1, sizeof used);
    head->used = used;
    head->frames = at + LIST_HEAD_BYTES;
    head->capacity = (uint32_t)(value.bytes - LIST_HEAD_BYTES);
}

static inline void list_set_used(uint8_t *at, uint32_t used)
{
    uint16_t word = (uint16_t)used;
    memcpy(at + 1, &word, sizeof word);
}

static inline struct list_piece list_piece_read(const uint8_t *pieces, uint32_t index)
{
    struct list_piece piece;
    memcpy(&piece.id, pieces + (uint64_t)index * LIST_PIECE_BYTES, 8);
    memcpy(&piece.first, pieces + (uint64_t)index * LIST_PIECE_BYTES + 8, 4);
    memcpy(&piece.count, pieces + (uint64_t)index * LIST_PIECE_BYTES + 12, 4);
    return piece;
}

static inline void list_piece_write(uint8_t *pieces, uint32_t index, struct list_piece piece)
{
    memcpy(pieces + (uint64_t)index * LIST_PIECE_BYTES, &piece.id, 8);
    memcpy(pieces + (uint64_t)index * LIST_PIECE_BYTES + 8, &piece.first, 4);
    memcpy(pieces + (uint64_t)index * LIST_PIECE_BYTES + 12, &piece.count, 4);
}

static inline struct cistern_frame_format list_format_of(
    const struct heap_state *state, int stamped)
{
    return (struct cistern_frame_format){
        .element_bytes = state->base.descriptor.value_bytes, .has_written = stamped != 0};
}

struct chunk {            /* a chunk where it stands */
    struct member member; /* lookup.address points to it */
    struct lookup lookup;
    struct index_slot slot;
    uint32_t found;
    uint32_t used;
    uint32_t capacity;
    uint32_t stamped;
    uint8_t *frames;
};
/* found = 0: there is none. */
void list_load_chunk(const struct heap *heap, uint64_t id, uint32_t number, struct chunk *chunk);

struct list_call { /* what is the same for all of one call */
    struct heap *heap;
    struct heap_state *state;
    const struct cistern_address *address;
    struct lookup lookup;
    struct cistern_frame_format format; /* of what is written */
    int64_t now_ms;
};

struct elements { /* what a call brings */
    const struct cistern_span *spans;
    uint32_t count;
};

/* The pieces of a list as a copy, so that they can go once the head has: NULL and 0 for a short
 * one. */
struct pieces {
    struct list_piece *items;
    struct list_piece few[4];
    uint32_t count;
};

struct list_call list_call_make(struct cistern_state *base, const struct cistern_address *address);
int list_head_find(struct list_call *call, struct list_head *head, struct index_slot *slot);
/* NO_MEMORY. */
CISTERN_MUST_USE uint32_t list_pieces_copy(const struct list_head *head, struct pieces *pieces);
void list_pieces_deinit(struct pieces *pieces);
/* The head with these pieces, in place of what was there. flags: LIST_MERGED or 0. */
CISTERN_MUST_USE uint32_t list_publish_pieces(
    struct list_call *call, const struct list_piece *pieces, uint32_t count, uint8_t flags);
/* A chunk with room for `capacity` bytes of frames, of which the caller writes `used` at *ret_to
 * before anything else happens: it is published already. */
CISTERN_MUST_USE uint32_t list_chunk_make(struct list_call *call, uint64_t id, uint32_t number,
    int stamped, uint64_t used, uint64_t capacity, uint8_t **ret_to);
void list_drop_chunks(struct list_call *call, uint64_t id, uint32_t first, uint32_t count);
/* The frames of a head, as the state writes them now. */
uint64_t list_converted_bytes(const struct list_call *call, const struct list_head *head);
uint8_t *list_converted_write(
    const struct list_call *call, const struct list_head *head, uint8_t *to);
/* The whole list; OK when there is none. */
CISTERN_MUST_USE uint32_t list_clear(
    struct heap_state *state, const struct cistern_address *address);

/* ---- list_cursor.c ---- */
/* The list was replaced, cleared or merged away: cursors over it are at their end for good. */
void list_walks_end(const struct list_call *call);

/* ---- list_cursor.c ---- */
/* heap_list_open(); renews 0: walking over all entries of a state is not reading them, and
 * renews no stamps. */
CISTERN_MUST_USE uint32_t list_walk_open(struct cistern_state *state,
    const struct cistern_address *address, int renews, struct cistern_cursor **ret_cursor,
    struct cistern_error *error);

/* ---- list_merge.c ---- */
/* Adds a run of frames as chunk `number` of the list; for restores, whose runs come in any
 * order. */
CISTERN_MUST_USE uint32_t list_store_run(struct heap_state *state,
    const struct cistern_address *address, uint32_t number, struct cistern_span frames,
    int stamped);

#endif
