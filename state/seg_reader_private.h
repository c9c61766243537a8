/*
 * seg_reader_private.h -- a container's reader, shared by the file that opens it and the file that
 * walks its blocks.
 *
 * Invariant: after open every offset, size and state id of the index was checked: blocks follow
 *            each other without a gap from the header to the index, and chains of blocks are whole.
 * Threads:   one at a time.
 */
#ifndef CISTERN_SEG_READER_PRIVATE_H
#define CISTERN_SEG_READER_PRIVATE_H

#include "seg_format_private.h"
#include "seg_table_private.h"

struct seg_cursor { /* where cistern_seg_reader_next() stands */
    struct cistern_key_group_range range;
    struct cistern_key_group_range block_range;
    uint32_t block_next; /* index of the block to look at next */
    uint32_t state_id;
    uint32_t entries_left; /* of the loaded payload */
    uint32_t is_loaded;
    const uint8_t *payload; /* inside block_buffer or chain_buffer */
    uint64_t payload_bytes;
    uint64_t payload_offset; /* in the file, of the payload's first byte */
    uint64_t position;
};
struct cistern_seg_reader {
    cistern_seg_read_fn read;
    void *arg;
    char *object;
    uint64_t file_bytes;
    struct seg_header header;
    struct seg_trailer trailer;
    uint8_t header_bytes[SEG_HEADER_BYTES]; /* as read: what verify compares the file with */
    uint8_t trailer_bytes[SEG_TRAILER_BYTES];
    uint8_t *index;
    char *record; /* of the state table */
    struct seg_table table;
    uint32_t block_count;
    uint32_t reserved;
    uint64_t entry_count;
    /* of the largest block, header and padding included; at most 4 MiB and a header */
    uint64_t block_bytes_max;
    uint8_t *block_buffer; /* [block_bytes_max], allocated with the first block read */
    uint8_t *chain_buffer; /* an entry larger than a block */
    uint64_t chain_capacity_bytes;
    struct seg_cursor cursor;
};

static inline void reader_block(
    const struct cistern_seg_reader *reader, uint32_t index, struct seg_block *ret_block)
{
    seg_index_entry_decode(reader->index + (uint64_t)index * SEG_INDEX_ENTRY_BYTES, ret_block);
}

static inline uint32_t reader_read(const struct cistern_seg_reader *reader, uint64_t offset,
    void *into, uint64_t bytes, struct cistern_error *error)
{
    return reader->read(reader->arg, offset, (struct cistern_bytes){into, bytes}, error);
}

static inline int ranges_overlap(struct cistern_key_group_range a, struct cistern_key_group_range b)
{
    return a.first <= b.last && b.first <= a.last;
}

#endif
