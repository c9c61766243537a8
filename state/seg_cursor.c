/*
 * seg_cursor.c -- walks the blocks of an open container: loads one, verifies it, hands out its
 * entries; see seg.h.
 *
 * One block is in memory at a time. An entry that continues over blocks is put together in a buffer
 * of its own, whose size is the sum of blocks that the index has already bound to the file's size.
 */
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/hash.h"
#include "seg_entry_private.h"
#include "seg_reader_private.h"

#include <assert.h>
#include <string.h>

/* ---- loading ---- */

static uint32_t block_buffer_make(struct cistern_seg_reader *reader, struct cistern_error *error)
{
    if (reader->block_buffer != NULL) {
        return CISTERN_OK;
    }
    reader->block_buffer = cistern_allocate(reader->block_bytes_max);
    if (reader->block_buffer == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, reader->object,
            "no memory for a block of %llu bytes", (unsigned long long)reader->block_bytes_max);
    }
    return CISTERN_OK;
}

/* The block's bytes into block_buffer; every one of them is checked. */
static uint32_t block_read(struct cistern_seg_reader *reader, const struct seg_block *expected,
    struct cistern_error *error)
{
    uint64_t bytes = seg_block_bytes(expected);
    assert(bytes <= reader->block_bytes_max);
    uint32_t status = reader_read(reader, expected->offset, reader->block_buffer, bytes, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct seg_block block;
    status = seg_block_decode(reader->block_buffer, expected, reader->object, &block, error);
    if (status != CISTERN_OK) {
        return status;
    }
    const uint8_t *payload = reader->block_buffer + SEG_BLOCK_HEADER_BYTES;
    uint64_t payload_offset = block.offset + SEG_BLOCK_HEADER_BYTES;
    if (cistern_hash64(payload, block.stored_bytes) != block.payload_hash) {
        return cistern_fail_corrupt(error, reader->object, payload_offset,
            "a block of %u bytes fails its hash", block.stored_bytes);
    }
    for (uint64_t i = block.stored_bytes; i < bytes - SEG_BLOCK_HEADER_BYTES; i++) {
        if (payload[i] != 0) {
            return cistern_fail_corrupt(
                error, reader->object, payload_offset + i, "a block's padding is not zero");
        }
    }
    return CISTERN_OK;
}

static uint32_t chain_buffer_make(
    struct cistern_seg_reader *reader, uint64_t bytes, struct cistern_error *error)
{
    if (bytes <= reader->chain_capacity_bytes) {
        return CISTERN_OK;
    }
    /* its old bytes are not wanted: no reallocation that would copy them */
    cistern_release(reader->chain_buffer);
    reader->chain_capacity_bytes = 0;
    reader->chain_buffer = cistern_allocate(bytes);
    if (reader->chain_buffer == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, reader->object,
            "no memory for an entry of %llu bytes", (unsigned long long)bytes);
    }
    reader->chain_capacity_bytes = bytes;
    return CISTERN_OK;
}

/* Blocks [first, *ret_end) hold one entry; the sum of their bytes. */
static uint64_t chain_measure(
    const struct cistern_seg_reader *reader, uint32_t first, uint32_t *ret_end)
{
    uint64_t bytes = 0;
    struct seg_block block;
    uint32_t index = first;
    do {
        reader_block(reader, index++, &block);
        bytes += block.stored_bytes;
        /* open proved that the last block does not continue */
    } while ((block.flags & CISTERN_SEG_CONTINUES) != 0);
    *ret_end = index;
    return bytes;
}

static uint32_t chain_load(
    struct cistern_seg_reader *reader, uint32_t first, struct cistern_error *error)
{
    uint32_t end;
    uint64_t bytes = chain_measure(reader, first, &end);
    uint32_t status = chain_buffer_make(reader, bytes, error);
    uint64_t done = 0;
    for (uint32_t index = first; index < end && status == CISTERN_OK; index++) {
        struct seg_block block;
        reader_block(reader, index, &block);
        status = block_read(reader, &block, error);
        if (status == CISTERN_OK) {
            memcpy(reader->chain_buffer + done, reader->block_buffer + SEG_BLOCK_HEADER_BYTES,
                block.stored_bytes);
            done += block.stored_bytes;
        }
    }
    if (status != CISTERN_OK) {
        return status;
    }
    reader->cursor.payload = reader->chain_buffer;
    reader->cursor.payload_bytes = bytes;
    reader->cursor.block_next = end;
    return CISTERN_OK;
}

static uint32_t single_load(
    struct cistern_seg_reader *reader, const struct seg_block *block, struct cistern_error *error)
{
    uint32_t status = block_read(reader, block, error);
    if (status == CISTERN_OK) {
        reader->cursor.payload = reader->block_buffer + SEG_BLOCK_HEADER_BYTES;
        reader->cursor.payload_bytes = block->stored_bytes;
        reader->cursor.block_next++;
    }
    return status;
}

/* The next block that overlaps the range, or *ret_end. The blocks of a chain have one range:
 * none is skipped alone. */
static uint32_t next_load(
    struct cistern_seg_reader *reader, uint32_t *ret_end, struct cistern_error *error)
{
    struct seg_cursor *cursor = &reader->cursor;
    struct seg_block block;
    cursor->is_loaded = 0;
    for (;; cursor->block_next++) {
        if (cursor->block_next == reader->block_count) {
            *ret_end = 1;
            return CISTERN_OK;
        }
        reader_block(reader, cursor->block_next, &block);
        if (ranges_overlap(block.range, cursor->range)) {
            break;
        }
    }
    uint32_t status = block_buffer_make(reader, error);
    if (status == CISTERN_OK) {
        status = (block.flags & CISTERN_SEG_CONTINUES) != 0
                     ? chain_load(reader, cursor->block_next, error)
                     : single_load(reader, &block, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    cursor->state_id = block.state_id;
    cursor->block_range = block.range;
    cursor->entries_left = block.entry_count;
    cursor->payload_offset = block.offset + SEG_BLOCK_HEADER_BYTES;
    cursor->position = 0;
    cursor->is_loaded = 1;
    *ret_end = 0;
    return CISTERN_OK;
}

/* ---- entries ---- */

static uint32_t entry_next(struct cistern_seg_reader *reader, struct cistern_seg_entry *ret_entry,
    struct cistern_error *error)
{
    struct seg_cursor *cursor = &reader->cursor;
    const char *problem = NULL;
    uint32_t status = seg_entry_decode(cursor->payload, cursor->payload_bytes, cursor->block_range,
        &cursor->position, ret_entry, &problem);
    uint64_t place = cursor->payload_offset + cursor->position;
    if (status == CISTERN_UNSUPPORTED) {
        return cistern_fail(error, status, reader->object, "at offset %llu: %s",
            (unsigned long long)place, problem);
    }
    if (status != CISTERN_OK) {
        return cistern_fail_corrupt(error, reader->object, place, "%s", problem);
    }
    cursor->entries_left--;
    if (cursor->entries_left == 0 && cursor->position != cursor->payload_bytes) {
        return cistern_fail_corrupt(error, reader->object, place,
            "%llu bytes follow a block's last entry",
            (unsigned long long)(cursor->payload_bytes - cursor->position));
    }
    ret_entry->state_id = cursor->state_id;
    return CISTERN_OK;
}

void cistern_seg_reader_rewind(
    struct cistern_seg_reader *reader, struct cistern_key_group_range range)
{
    reader->cursor = (struct seg_cursor){.range = range};
}

uint32_t cistern_seg_reader_next_many(struct cistern_seg_reader *reader,
    struct cistern_seg_entry *ret_entries, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error)
{
    struct seg_cursor *cursor = &reader->cursor;
    uint32_t count = 0;
    *ret_count = 0;
    while (count == 0) { /* ends: each round uses up entries or a block */
        if (!cursor->is_loaded || cursor->entries_left == 0) {
            uint32_t end;
            uint32_t status = next_load(reader, &end, error);
            if (status != CISTERN_OK || end) {
                return status;
            }
        }
        while (count < capacity && cursor->entries_left != 0) {
            struct cistern_seg_entry *entry = &ret_entries[count];
            uint32_t status = entry_next(reader, entry, error);
            if (status != CISTERN_OK) {
                return status;
            }
            count +=
                entry->key_group >= cursor->range.first && entry->key_group <= cursor->range.last;
        }
    }
    *ret_count = count;
    return CISTERN_OK;
}

uint32_t cistern_seg_reader_next(struct cistern_seg_reader *reader,
    struct cistern_seg_entry *ret_entry, uint32_t *ret_end, struct cistern_error *error)
{
    uint32_t count;
    uint32_t status = cistern_seg_reader_next_many(reader, ret_entry, 1, &count, error);
    if (status == CISTERN_OK) {
        *ret_end = count == 0;
    }
    return status;
}

/* ---- verify ---- */

/* What open keeps in memory against the file as it is now, in steps of a page. */
static uint32_t kept_compare(struct cistern_seg_reader *reader, uint64_t offset, const void *kept,
    uint64_t bytes, struct cistern_error *error)
{
    uint8_t step_bytes[4096];
    for (uint64_t done = 0; done < bytes;) {
        uint64_t step = bytes - done < sizeof step_bytes ? bytes - done : sizeof step_bytes;
        uint32_t status = reader_read(reader, offset + done, step_bytes, step, error);
        if (status != CISTERN_OK) {
            return status;
        }
        if (memcmp(step_bytes, (const uint8_t *)kept + done, step) != 0) {
            return cistern_fail_corrupt(error, reader->object, offset + done,
                "header, index, state table or trailer changed since the file was opened");
        }
        done += step;
    }
    return CISTERN_OK;
}

static uint32_t metadata_verify(struct cistern_seg_reader *reader, struct cistern_error *error)
{
    const struct seg_trailer *trailer = &reader->trailer;
    uint32_t status = kept_compare(reader, 0, reader->header_bytes, SEG_HEADER_BYTES, error);
    if (status == CISTERN_OK) {
        status =
            kept_compare(reader, trailer->index_offset, reader->index, trailer->index_bytes, error);
    }
    if (status == CISTERN_OK) {
        status = kept_compare(
            reader, trailer->table_offset, reader->record, trailer->table_bytes, error);
    }
    if (status == CISTERN_OK) {
        uint64_t trailer_offset = reader->file_bytes - SEG_TRAILER_BYTES;
        status =
            kept_compare(reader, trailer_offset, reader->trailer_bytes, SEG_TRAILER_BYTES, error);
    }
    return status;
}

/* Leaves the cursor at the end of the file's whole range. */
uint32_t cistern_seg_reader_verify(struct cistern_seg_reader *reader, struct cistern_error *error)
{
    uint32_t status = metadata_verify(reader, error);
    cistern_seg_reader_rewind(reader, reader->header.range);
    struct cistern_seg_entry entry;
    uint32_t end = 0;
    while (status == CISTERN_OK && !end) {
        status = cistern_seg_reader_next(reader, &entry, &end, error);
    }
    return status;
}
