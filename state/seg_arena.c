/* seg_arena.c -- open and sealed blocks of a container's writer; see seg_arena_private.h. */
#include "seg_arena_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/hash.h"

#include <assert.h>
#include <string.h>

static_assert(SEG_CHUNK_BYTES % SEG_ALIGNMENT == 0, "a chunk has room for a block's padding");
static_assert(SEG_BLOCK_HEADER_BYTES < SEG_CHUNK_BYTES, "the header stands in the first chunk");

uint32_t seg_arena_init(struct seg_arena *arena, uint64_t buffer_bytes, struct cistern_error *error)
{
    uint32_t count = (uint32_t)(buffer_bytes / SEG_CHUNK_BYTES);
    *arena = (struct seg_arena){.out_first = SEG_CHUNK_NONE, .out_last = SEG_CHUNK_NONE};
    arena->memory = cistern_allocate((uint64_t)count * SEG_CHUNK_BYTES);
    arena->chunks = cistern_allocate_zeroed(count, sizeof *arena->chunks);
    if (arena->memory == NULL || arena->chunks == NULL) {
        seg_arena_deinit(arena);
        return cistern_fail(error, CISTERN_NO_MEMORY, "data container",
            "no memory for %llu bytes of block buffers", (unsigned long long)buffer_bytes);
    }
    for (uint32_t i = 0; i < count; i++) {
        arena->chunks[i].next = i + 1 < count ? i + 1 : SEG_CHUNK_NONE;
    }
    arena->chunk_count = count;
    arena->free_count = count;
    return CISTERN_OK;
}

void seg_arena_deinit(struct seg_arena *arena)
{
    cistern_release(arena->memory);
    cistern_release(arena->chunks);
    memset(arena, 0, sizeof *arena);
}

static uint8_t *chunk_memory(const struct seg_arena *arena, uint32_t chunk)
{
    return arena->memory + (uint64_t)chunk * SEG_CHUNK_BYTES;
}

static uint64_t room_bytes(const struct seg_arena *arena, const struct seg_open_block *block)
{
    return block->chunk_first == SEG_CHUNK_NONE
               ? 0
               : SEG_CHUNK_BYTES - arena->chunks[block->chunk_last].used_bytes;
}

uint64_t seg_arena_chunks_wanted(
    const struct seg_arena *arena, const struct seg_open_block *block, uint64_t bytes)
{
    uint64_t room = room_bytes(arena, block);
    uint64_t wanted = bytes + (block->chunk_first == SEG_CHUNK_NONE ? SEG_BLOCK_HEADER_BYTES : 0);
    return wanted <= room ? 0 : (wanted - room + SEG_CHUNK_BYTES - 1) / SEG_CHUNK_BYTES;
}

static void chunk_add(struct seg_arena *arena, struct seg_open_block *block)
{
    assert(arena->free_count > 0);
    uint32_t chunk = arena->free_first;
    arena->free_first = arena->chunks[chunk].next;
    arena->free_count--;
    arena->chunks[chunk].next = SEG_CHUNK_NONE;
    arena->chunks[chunk].used_bytes = 0;
    if (block->chunk_first == SEG_CHUNK_NONE) {
        arena->chunks[chunk].used_bytes = SEG_BLOCK_HEADER_BYTES;
        block->chunk_first = chunk;
    } else {
        arena->chunks[block->chunk_last].next = chunk;
    }
    block->chunk_last = chunk;
}

uint8_t *seg_arena_extend(struct seg_arena *arena, struct seg_open_block *block, uint64_t bytes)
{
    if (bytes > room_bytes(arena, block)) {
        return NULL;
    }
    struct seg_chunk *chunk = &arena->chunks[block->chunk_last];
    uint8_t *to = chunk_memory(arena, block->chunk_last) + chunk->used_bytes;
    chunk->used_bytes += (uint32_t)bytes;
    block->raw_bytes += (uint32_t)bytes;
    return to;
}

static void append_span(
    struct seg_arena *arena, struct seg_open_block *block, const uint8_t *from, uint64_t bytes)
{
    while (bytes > 0) {
        uint64_t room = room_bytes(arena, block);
        if (room == 0) {
            chunk_add(arena, block);
            continue;
        }
        uint64_t step = bytes < room ? bytes : room;
        memcpy(seg_arena_extend(arena, block, step), from, step);
        from += step;
        bytes -= step;
    }
}

void seg_arena_append(struct seg_arena *arena, struct seg_open_block *block,
    const struct seg_pieces *pieces, uint64_t offset, uint64_t bytes)
{
    assert(offset + bytes <= pieces->bytes);
    for (uint32_t i = 0; i < pieces->count && bytes > 0; i++) {
        const struct cistern_span *span = &pieces->spans[i];
        if (offset >= span->bytes) {
            offset -= span->bytes;
            continue;
        }
        uint64_t step = span->bytes - offset < bytes ? span->bytes - offset : bytes;
        append_span(arena, block, (const uint8_t *)span->data + offset, step);
        offset = 0;
        bytes -= step;
    }
    assert(bytes == 0);
}

static uint64_t payload_hash(const struct seg_arena *arena, const struct seg_open_block *block)
{
    uint32_t chunk = block->chunk_first;
    const uint8_t *payload = chunk_memory(arena, chunk) + SEG_BLOCK_HEADER_BYTES;
    if (chunk == block->chunk_last) {
        return cistern_hash64(payload, block->raw_bytes);
    }
    XXH3_state_t state; /* 576 bytes, aligned by its own type */
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, payload, arena->chunks[chunk].used_bytes - SEG_BLOCK_HEADER_BYTES);
    for (chunk = arena->chunks[chunk].next; chunk != SEG_CHUNK_NONE;
         chunk = arena->chunks[chunk].next) {
        XXH3_64bits_update(&state, chunk_memory(arena, chunk), arena->chunks[chunk].used_bytes);
    }
    return XXH3_64bits_digest(&state);
}

void seg_arena_seal(struct seg_arena *arena, struct seg_open_block *block, struct seg_block *header)
{
    assert(block->raw_bytes > 0 && block->raw_bytes <= CISTERN_SEG_BLOCK_BYTES_MAX);
    header->stored_bytes = block->raw_bytes;
    header->raw_bytes = block->raw_bytes;
    header->entry_count = block->entry_count;
    header->range = (struct cistern_key_group_range){block->group_first, block->group_last};
    header->state_id = block->state_id;
    header->codec = SEG_CODEC_NONE;
    header->flags = block->flags;
    header->payload_hash = payload_hash(arena, block);
    seg_block_encode(chunk_memory(arena, block->chunk_first), header);
    struct seg_chunk *last = &arena->chunks[block->chunk_last];
    uint32_t padded = (uint32_t)seg_padded(last->used_bytes);
    memset(chunk_memory(arena, block->chunk_last) + last->used_bytes, 0, padded - last->used_bytes);
    last->used_bytes = padded;
    if (arena->out_first == SEG_CHUNK_NONE) {
        arena->out_first = block->chunk_first;
    } else {
        arena->chunks[arena->out_last].next = block->chunk_first;
    }
    arena->out_last = block->chunk_last;
    block->chunk_first = SEG_CHUNK_NONE;
    block->chunk_last = SEG_CHUNK_NONE;
    block->raw_bytes = 0;
    block->entry_count = 0;
    block->flags = 0;
}

int seg_arena_has_output(const struct seg_arena *arena)
{
    return arena->out_first != SEG_CHUNK_NONE;
}

uint64_t seg_arena_take(struct seg_arena *arena, uint8_t *into, uint64_t capacity_bytes)
{
    uint64_t taken = 0;
    while (taken < capacity_bytes && arena->out_first != SEG_CHUNK_NONE) {
        uint32_t first = arena->out_first;
        struct seg_chunk *chunk = &arena->chunks[first];
        uint64_t left = chunk->used_bytes - arena->out_offset;
        uint64_t step = left < capacity_bytes - taken ? left : capacity_bytes - taken;
        memcpy(into + taken, chunk_memory(arena, first) + arena->out_offset, step);
        taken += step;
        arena->out_offset += (uint32_t)step;
        if (arena->out_offset < chunk->used_bytes) {
            break;
        }
        arena->out_first = chunk->next;
        arena->out_offset = 0;
        chunk->next = arena->free_first;
        arena->free_first = first;
        arena->free_count++;
    }
    return taken;
}
