/*
 * seg_format_private.h -- the fixed-size parts of a `.seg` container as bytes and as structs
 * (docs/FORMAT.md).
 *
 * The only place that knows their layout. decode takes bytes from outside: it verifies the check
 * word and each field that has a meaning of its own, and names object and file offset of what is
 * wrong. Threads: pure functions.
 */
#ifndef CISTERN_SEG_FORMAT_PRIVATE_H
#define CISTERN_SEG_FORMAT_PRIVATE_H

#include "cistern/seg.h"

#define SEG_HEADER_BYTES 64u
#define SEG_BLOCK_HEADER_BYTES 48u
#define SEG_INDEX_ENTRY_BYTES 40u
#define SEG_TRAILER_BYTES 64u
#define SEG_ALIGNMENT 8u
#define SEG_CODEC_NONE 0u
#define SEG_BLOCK_FLAGS_KNOWN (CISTERN_SEG_SORTED | CISTERN_SEG_TOMBSTONES | CISTERN_SEG_CONTINUES)
#define SEG_ENTRY_BYTES_MIN 2u /* flags, an empty key, no value: a tombstone */

struct seg_header {
    uint32_t role;
    uint32_t slot_index;
    uint8_t job_id[16];
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    struct cistern_key_group_range range;
};
struct seg_block {   /* what the block's header and its index entry both say */
    uint64_t offset; /* of the header, from the start of the file; only in the index */
    uint32_t stored_bytes;
    uint32_t raw_bytes; /* only in the header */
    uint32_t entry_count;
    struct cistern_key_group_range range;
    uint32_t state_id;
    uint32_t codec; /* only in the header */
    uint32_t flags;
    uint64_t epoch_max;
    uint64_t payload_hash;
};
struct seg_trailer {
    uint64_t index_offset;
    uint64_t index_bytes;
    uint64_t table_offset;
    uint64_t table_bytes;
    uint64_t index_hash;
    uint64_t table_hash;
    uint64_t file_bytes;
};

static inline uint64_t seg_padded(uint64_t bytes)
{
    return (bytes + SEG_ALIGNMENT - 1) & ~(uint64_t)(SEG_ALIGNMENT - 1);
}

/* Bytes of a block in the file: header, payload, padding. */
static inline uint64_t seg_block_bytes(const struct seg_block *block)
{
    return SEG_BLOCK_HEADER_BYTES + seg_padded(block->stored_bytes);
}

void seg_header_encode(uint8_t to[SEG_HEADER_BYTES], const struct seg_header *header);
CISTERN_MUST_USE uint32_t seg_header_decode(const uint8_t from[SEG_HEADER_BYTES],
    const char *object, struct seg_header *ret_header, struct cistern_error *error);
void seg_block_encode(uint8_t to[SEG_BLOCK_HEADER_BYTES], const struct seg_block *block);
/* `expected`: the index entry, which must say the same. */
CISTERN_MUST_USE uint32_t seg_block_decode(const uint8_t from[SEG_BLOCK_HEADER_BYTES],
    const struct seg_block *expected, const char *object, struct seg_block *ret_block,
    struct cistern_error *error);
void seg_index_entry_encode(uint8_t to[SEG_INDEX_ENTRY_BYTES], const struct seg_block *block);
/* The index as a whole is covered by the trailer's hash; what its entries mean is the reader's
 * to check. */
void seg_index_entry_decode(const uint8_t from[SEG_INDEX_ENTRY_BYTES], struct seg_block *ret_block);
void seg_trailer_encode(uint8_t to[SEG_TRAILER_BYTES], const struct seg_trailer *trailer);
/* The parts must follow each other without a gap and end at the trailer. */
CISTERN_MUST_USE uint32_t seg_trailer_decode(const uint8_t from[SEG_TRAILER_BYTES],
    uint64_t file_bytes, const char *object, struct seg_trailer *ret_trailer,
    struct cistern_error *error);

#endif
