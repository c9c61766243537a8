/*
 * seg_reader.c -- opens a container: header, trailer, index and state table, each verified before
 * it is believed; see seg.h.
 *
 * Sizes are bounded by file_bytes, which the caller vouches for, before memory is asked for them.
 */
#include "seg_reader_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/hash.h"

#include <string.h>

static uint32_t memory_fail(
    const struct cistern_seg_reader *reader, uint64_t bytes, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_NO_MEMORY, reader->object,
        "no memory for %llu bytes of the container's metadata", (unsigned long long)bytes);
}

/* ---- index ---- */

/* What the walk over the index carries from block to block. */
struct index_walk {
    uint64_t offset; /* where the next block must stand */
    uint64_t entry_count;
    uint64_t block_bytes_max;
    struct seg_block chain; /* the block before, when it continues */
    int in_chain;
};

static const char *block_problem(const struct cistern_seg_reader *reader,
    const struct seg_block *block, const struct index_walk *walk)
{
    const struct cistern_key_group_range *range = &reader->header.range;
    if (block->offset != walk->offset) {
        return "does not stand behind the one before it";
    }
    if (block->stored_bytes == 0 || block->stored_bytes > CISTERN_SEG_BLOCK_BYTES_MAX ||
        seg_block_bytes(block) > reader->trailer.index_offset - block->offset) {
        return "has no bytes, more than 4 MiB, or more than fit before the index";
    }
    if (block->range.first > block->range.last || block->range.first < range->first ||
        block->range.last > range->last) {
        return "has key groups outside the file's";
    }
    if (!seg_table_has(&reader->table, block->state_id)) {
        return "is of a state that the state table does not have";
    }
    int continues = (block->flags & CISTERN_SEG_CONTINUES) != 0;
    if (!walk->in_chain) {
        return block->entry_count == 0 || (continues && block->entry_count != 1)
                   ? "has an impossible number of entries"
                   : NULL;
    }
    int same_place = block->state_id == walk->chain.state_id &&
                     block->range.first == walk->chain.range.first &&
                     block->range.last == walk->chain.range.last;
    return !same_place || block->entry_count != 0
               ? "does not continue the entry of the one before it"
               : NULL;
}

static uint32_t block_check(const struct cistern_seg_reader *reader, uint32_t index,
    struct index_walk *walk, struct cistern_error *error)
{
    struct seg_block block;
    reader_block(reader, index, &block);
    uint64_t place = reader->trailer.index_offset + (uint64_t)index * SEG_INDEX_ENTRY_BYTES;
    if ((block.flags & ~SEG_BLOCK_FLAGS_KNOWN) != 0) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, reader->object,
            "block %u has flags 0x%x, of which this build does not know all", index, block.flags);
    }
    const char *problem = block_problem(reader, &block, walk);
    if (problem != NULL) {
        return cistern_fail_corrupt(
            error, reader->object, place, "by the index, block %u %s", index, problem);
    }
    uint64_t bytes = seg_block_bytes(&block);
    walk->offset += bytes;
    walk->entry_count += block.entry_count;
    walk->block_bytes_max = bytes > walk->block_bytes_max ? bytes : walk->block_bytes_max;
    walk->in_chain = (block.flags & CISTERN_SEG_CONTINUES) != 0;
    walk->chain = block;
    return CISTERN_OK;
}

static uint32_t index_check(struct cistern_seg_reader *reader, struct cistern_error *error)
{
    struct index_walk walk = {.offset = SEG_HEADER_BYTES};
    for (uint32_t i = 0; i < reader->block_count; i++) {
        uint32_t status = block_check(reader, i, &walk, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    if (walk.offset != reader->trailer.index_offset || walk.in_chain) {
        return cistern_fail_corrupt(error, reader->object, reader->trailer.index_offset,
            "the index does not %s",
            walk.in_chain ? "end its last chain of blocks" : "account for all bytes before it");
    }
    reader->entry_count = walk.entry_count;
    reader->block_bytes_max = walk.block_bytes_max;
    return CISTERN_OK;
}

static uint32_t index_read(struct cistern_seg_reader *reader, struct cistern_error *error)
{
    const struct seg_trailer *trailer = &reader->trailer;
    reader->index = cistern_allocate(trailer->index_bytes);
    if (reader->index == NULL) {
        return memory_fail(reader, trailer->index_bytes, error);
    }
    uint32_t status = CISTERN_OK;
    if (trailer->index_bytes > 0) {
        status =
            reader_read(reader, trailer->index_offset, reader->index, trailer->index_bytes, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    if (cistern_hash64(reader->index, trailer->index_bytes) != trailer->index_hash) {
        return cistern_fail_corrupt(
            error, reader->object, trailer->index_offset, "the index fails its hash");
    }
    reader->block_count = (uint32_t)(trailer->index_bytes / SEG_INDEX_ENTRY_BYTES);
    return index_check(reader, error);
}

/* ---- state table ---- */

static uint32_t table_read(struct cistern_seg_reader *reader, struct cistern_error *error)
{
    const struct seg_trailer *trailer = &reader->trailer;
    if (trailer->table_bytes == 0 || trailer->table_bytes > SEG_TABLE_BYTES_MAX) {
        return cistern_fail_corrupt(error, reader->object, trailer->table_offset,
            "a state table of %llu bytes, possible are 1 to %u",
            (unsigned long long)trailer->table_bytes, SEG_TABLE_BYTES_MAX);
    }
    reader->record = cistern_allocate(trailer->table_bytes);
    if (reader->record == NULL) {
        return memory_fail(reader, trailer->table_bytes, error);
    }
    uint32_t status =
        reader_read(reader, trailer->table_offset, reader->record, trailer->table_bytes, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (cistern_hash64(reader->record, trailer->table_bytes) != trailer->table_hash) {
        return cistern_fail_corrupt(
            error, reader->object, trailer->table_offset, "the state table fails its hash");
    }
    return seg_table_decode(&reader->table, reader->record, trailer->table_bytes, reader->object,
        trailer->table_offset, error);
}

/* ---- open ---- */

static uint32_t ends_read(struct cistern_seg_reader *reader, struct cistern_error *error)
{
    uint64_t trailer_offset = reader->file_bytes - SEG_TRAILER_BYTES;
    uint32_t status =
        reader_read(reader, trailer_offset, reader->trailer_bytes, SEG_TRAILER_BYTES, error);
    if (status == CISTERN_OK) {
        status = reader_read(reader, 0, reader->header_bytes, SEG_HEADER_BYTES, error);
    }
    /* The header speaks first: it knows the version. */
    if (status == CISTERN_OK) {
        status = seg_header_decode(reader->header_bytes, reader->object, &reader->header, error);
    }
    if (status == CISTERN_OK) {
        status = seg_trailer_decode(
            reader->trailer_bytes, reader->file_bytes, reader->object, &reader->trailer, error);
    }
    return status;
}

static uint32_t reader_load(
    struct cistern_seg_reader *reader, const char *object, struct cistern_error *error)
{
    uint32_t status = seg_table_init(&reader->table, error);
    if (status != CISTERN_OK) {
        return status;
    }
    reader->object = cistern_duplicate_string(object);
    if (reader->object == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, object, "no memory for a container's reader");
    }
    if (reader->file_bytes < SEG_HEADER_BYTES + SEG_TRAILER_BYTES) {
        return cistern_fail_corrupt(error, object, reader->file_bytes,
            "the file ends after %llu bytes; the smallest data container has more",
            (unsigned long long)reader->file_bytes);
    }
    status = ends_read(reader, error);
    if (status == CISTERN_OK) {
        status = table_read(reader, error);
    }
    return status == CISTERN_OK ? index_read(reader, error) : status;
}

uint32_t cistern_seg_reader_open(cistern_seg_read_fn read, void *arg, uint64_t file_bytes,
    const char *object, struct cistern_seg_reader **ret_reader, struct cistern_error *error)
{
    struct cistern_seg_reader *reader = cistern_allocate_zeroed(1, sizeof *reader);
    if (reader == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, object, "no memory for a container's reader");
    }
    reader->read = read;
    reader->arg = arg;
    reader->file_bytes = file_bytes;
    uint32_t status = reader_load(reader, object, error);
    if (status != CISTERN_OK) {
        cistern_seg_reader_close(reader);
        return status;
    }
    cistern_seg_reader_rewind(reader, reader->header.range);
    *ret_reader = reader;
    return CISTERN_OK;
}

void cistern_seg_reader_close(struct cistern_seg_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    seg_table_deinit(&reader->table);
    cistern_release(reader->object);
    cistern_release(reader->index);
    cistern_release(reader->record);
    cistern_release(reader->block_buffer);
    cistern_release(reader->chain_buffer);
    cistern_release(reader);
}

/* ---- what is in it ---- */

void cistern_seg_reader_info(
    const struct cistern_seg_reader *reader, struct cistern_seg_info *ret_info)
{
    *ret_info = (struct cistern_seg_info){
        .role = reader->header.role,
        .slot_index = reader->header.slot_index,
        .checkpoint_id = reader->header.checkpoint_id,
        .base_checkpoint_id = reader->header.base_checkpoint_id,
        .range = reader->header.range,
        .entry_count = reader->entry_count,
        .block_count = reader->block_count,
        .state_count = reader->table.state_count,
    };
    memcpy(ret_info->job_id, reader->header.job_id, sizeof ret_info->job_id);
}

uint32_t cistern_seg_reader_state(struct cistern_seg_reader *reader, uint32_t index,
    uint32_t *ret_state_id, const char **ret_text, struct cistern_error *error)
{
    if (index >= reader->table.state_count) {
        return cistern_fail(error, CISTERN_INVALID, reader->object, "state %u of %u was asked for",
            index, reader->table.state_count);
    }
    *ret_state_id = reader->table.states[index].id;
    *ret_text = reader->table.states[index].text;
    return CISTERN_OK;
}

uint32_t cistern_seg_reader_block(struct cistern_seg_reader *reader, uint32_t index,
    struct cistern_seg_block_info *ret_block, struct cistern_error *error)
{
    if (index >= reader->block_count) {
        return cistern_fail(error, CISTERN_INVALID, reader->object, "block %u of %u was asked for",
            index, reader->block_count);
    }
    struct seg_block block;
    reader_block(reader, index, &block);
    *ret_block = (struct cistern_seg_block_info){
        .offset = block.offset,
        .stored_bytes = block.stored_bytes,
        .entry_count = block.entry_count,
        .range = block.range,
        .state_id = block.state_id,
        .flags = block.flags,
    };
    return CISTERN_OK;
}
