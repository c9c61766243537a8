/*
 * seg_arena_private.h -- the writer's open block buffers: chunks of 4 KiB out of one allocation,
 * shared by all buckets.
 *
 * Owns:       the chunks, the list of free ones, and the queue of sealed blocks that wait to be
 *             taken.
 * Never:      allocates after init.
 * Invariant:  a chunk is free, in one open block, or in the queue; free_count says how many are
 *             free.
 * Threads:    one at a time.
 * Full when:  free_count is 0: the caller seals an open block and waits until it was taken.
 *
 * Chunks instead of a buffer per bucket: an empty bucket costs nothing, and a crowded one gets what
 * the others do not use.
 */
#ifndef CISTERN_SEG_ARENA_PRIVATE_H
#define CISTERN_SEG_ARENA_PRIVATE_H

#include "seg_entry_private.h"
#include "seg_format_private.h"

#define SEG_CHUNK_BYTES 4096u
#define SEG_CHUNK_NONE UINT32_MAX

struct seg_chunk {
    uint32_t next; /* SEG_CHUNK_NONE = the last of its list */
    uint32_t used_bytes;
};
struct seg_arena {
    uint8_t *memory;
    struct seg_chunk *chunks;
    uint32_t chunk_count;
    uint32_t free_count;
    uint32_t free_first;
    uint32_t out_first; /* sealed blocks, chunk by chunk */
    uint32_t out_last;
    uint32_t out_offset; /* bytes of out_first that were taken */
};
struct seg_open_block {   /* header room and payload so far, in chunks */
    uint32_t chunk_first; /* SEG_CHUNK_NONE = empty */
    uint32_t chunk_last;
    uint32_t raw_bytes;
    uint32_t entry_count;
    uint16_t group_first;
    uint16_t group_last;
    uint16_t state_id;
    uint16_t flags;
};

CISTERN_MUST_USE uint32_t seg_arena_init(
    struct seg_arena *arena, uint64_t buffer_bytes, struct cistern_error *error);
void seg_arena_deinit(struct seg_arena *arena);
/* Free chunks that `bytes` more of payload would take. */
uint64_t seg_arena_chunks_wanted(
    const struct seg_arena *arena, const struct seg_open_block *block, uint64_t bytes);
/* Where `bytes` can be written at once, already counted as written; NULL when they do not fit
 * the last chunk. */
uint8_t *seg_arena_extend(struct seg_arena *arena, struct seg_open_block *block, uint64_t bytes);
/* Appends bytes [offset, offset + bytes) of the pieces; the chunks must be free. */
void seg_arena_append(struct seg_arena *arena, struct seg_open_block *block,
    const struct seg_pieces *pieces, uint64_t offset, uint64_t bytes);
/* Fills in `header` from the block, writes it, pads, queues the block and leaves it empty. */
void seg_arena_seal(
    struct seg_arena *arena, struct seg_open_block *block, struct seg_block *header);
int seg_arena_has_output(const struct seg_arena *arena);
/* Moves queued bytes out; returns how many. */
uint64_t seg_arena_take(struct seg_arena *arena, uint8_t *into, uint64_t capacity_bytes);

#endif
