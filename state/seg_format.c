/* seg_format.c -- bytes of the container's fixed-size parts to structs and back; see
 * seg_format_private.h. */
#include "seg_format_private.h"
#include "cistern/error.h"
#include "cistern/hash.h"

#include <assert.h>
#include <endian.h>
#include <stddef.h>
#include <string.h>

static const char header_magic[8] = {'C', 'I', 'S', 'T', 'S', 'E', 'G', '1'};
static const char block_magic[4] = {'B', 'L', 'K', '1'};
static const char trailer_magic[4] = {'T', 'S', 'I', 'C'};

/* On disk every integer is little-endian and stands at a multiple of its size, so that a plain
 * struct has no holes. */
struct header_wire {
    char magic[8];
    uint16_t version;
    uint16_t role;
    uint32_t flags;
    uint8_t job_id[16];
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    uint32_t slot_index;
    uint16_t group_first;
    uint16_t group_last;
    uint32_t zero;
    uint32_t check;
};
struct block_wire {
    char magic[4];
    uint32_t stored_bytes;
    uint32_t raw_bytes;
    uint32_t entry_count;
    uint16_t group_first;
    uint16_t group_last;
    uint16_t state_id;
    uint8_t codec;
    uint8_t flags;
    uint64_t epoch_max;
    uint64_t payload_hash;
    uint32_t zero;
    uint32_t check;
};
struct index_wire {
    uint64_t offset;
    uint32_t stored_bytes;
    uint32_t entry_count;
    uint16_t group_first;
    uint16_t group_last;
    uint16_t state_id;
    uint16_t flags;
    uint64_t epoch_max;
    uint64_t payload_hash;
};
struct trailer_wire {
    uint64_t index_offset;
    uint64_t index_bytes;
    uint64_t table_offset;
    uint64_t table_bytes;
    uint64_t index_hash;
    uint64_t table_hash;
    uint64_t file_bytes;
    uint32_t check;
    char magic[4];
};
static_assert(sizeof(struct header_wire) == SEG_HEADER_BYTES, "file header");
static_assert(offsetof(struct header_wire, check) == 60, "the file header's check covers 60 bytes");
static_assert(sizeof(struct block_wire) == SEG_BLOCK_HEADER_BYTES, "block header");
static_assert(offsetof(struct block_wire, check) == 44, "the block header's check covers 44 bytes");
static_assert(sizeof(struct index_wire) == SEG_INDEX_ENTRY_BYTES, "index entry");
static_assert(sizeof(struct trailer_wire) == SEG_TRAILER_BYTES, "trailer");
static_assert(offsetof(struct trailer_wire, check) == 56, "the trailer's check covers 56 bytes");
static_assert(SEG_HEADER_BYTES % SEG_ALIGNMENT == 0 &&
                  SEG_BLOCK_HEADER_BYTES % SEG_ALIGNMENT == 0 &&
                  SEG_INDEX_ENTRY_BYTES % SEG_ALIGNMENT == 0,
    "blocks and index start at multiples of 8");
static_assert(
    CISTERN_MAX_PARALLELISM_MAX - 1 <= UINT16_MAX && CISTERN_STATE_COUNT_MAX <= UINT16_MAX,
    "groups and state ids are 16 bits on disk");

void seg_header_encode(uint8_t to[SEG_HEADER_BYTES], const struct seg_header *header)
{
    struct header_wire wire = {
        .version = htole16(CISTERN_SEG_VERSION),
        .role = htole16((uint16_t)header->role),
        .checkpoint_id = htole64(header->checkpoint_id),
        .base_checkpoint_id = htole64(header->base_checkpoint_id),
        .slot_index = htole32(header->slot_index),
        .group_first = htole16((uint16_t)header->range.first),
        .group_last = htole16((uint16_t)header->range.last),
    };
    memcpy(wire.magic, header_magic, sizeof wire.magic);
    memcpy(wire.job_id, header->job_id, sizeof wire.job_id);
    wire.check = htole32(cistern_check32(&wire, offsetof(struct header_wire, check)));
    memcpy(to, &wire, sizeof wire);
}

static uint32_t header_magic_check(
    const struct header_wire *wire, const char *object, struct cistern_error *error)
{
    if (memcmp(wire->magic, header_magic, sizeof header_magic) == 0) {
        return CISTERN_OK;
    }
    if (memcmp(wire->magic, header_magic, sizeof header_magic - 1) == 0 && wire->magic[7] > '1' &&
        wire->magic[7] <= '9') {
        return cistern_fail(error, CISTERN_UNSUPPORTED, object,
            "data container of format CISTSEG%c; this build reads up to CISTSEG1", wire->magic[7]);
    }
    return cistern_fail_corrupt(
        error, object, 0, "the file does not start with CISTSEG1: no data container");
}

uint32_t seg_header_decode(const uint8_t from[SEG_HEADER_BYTES], const char *object,
    struct seg_header *ret_header, struct cistern_error *error)
{
    struct header_wire wire;
    memcpy(&wire, from, sizeof wire);
    uint32_t status = header_magic_check(&wire, object, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (le32toh(wire.check) != cistern_check32(from, offsetof(struct header_wire, check))) {
        return cistern_fail_corrupt(error, object, 0, "the file header fails its check word");
    }
    uint32_t version = le16toh(wire.version);
    if (version != CISTERN_SEG_VERSION || wire.flags != 0) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, object,
            "data container of version %u with flags 0x%x; this build reads version %u without "
            "flags",
            version, le32toh(wire.flags), CISTERN_SEG_VERSION);
    }
    uint32_t role = le16toh(wire.role);
    if (role < CISTERN_ROLE_HEAP_BASE || role > CISTERN_ROLE_CANONICAL) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, object,
            "data container of role %u, which this build does not know", role);
    }
    uint32_t first = le16toh(wire.group_first);
    uint32_t last = le16toh(wire.group_last);
    if (wire.zero != 0 || first > last || last >= CISTERN_MAX_PARALLELISM_MAX) {
        return cistern_fail_corrupt(error, object, offsetof(struct header_wire, group_first),
            "the file header's key groups %u to %u are no range, or its unused field is not 0",
            first, last);
    }
    *ret_header = (struct seg_header){
        .role = role,
        .slot_index = le32toh(wire.slot_index),
        .checkpoint_id = le64toh(wire.checkpoint_id),
        .base_checkpoint_id = le64toh(wire.base_checkpoint_id),
        .range = {first, last},
    };
    memcpy(ret_header->job_id, wire.job_id, sizeof wire.job_id);
    return CISTERN_OK;
}

void seg_block_encode(uint8_t to[SEG_BLOCK_HEADER_BYTES], const struct seg_block *block)
{
    struct block_wire wire = {
        .stored_bytes = htole32(block->stored_bytes),
        .raw_bytes = htole32(block->raw_bytes),
        .entry_count = htole32(block->entry_count),
        .group_first = htole16((uint16_t)block->range.first),
        .group_last = htole16((uint16_t)block->range.last),
        .state_id = htole16((uint16_t)block->state_id),
        .codec = (uint8_t)block->codec,
        .flags = (uint8_t)block->flags,
        .epoch_max = htole64(block->epoch_max),
        .payload_hash = htole64(block->payload_hash),
    };
    memcpy(wire.magic, block_magic, sizeof wire.magic);
    wire.check = htole32(cistern_check32(&wire, offsetof(struct block_wire, check)));
    memcpy(to, &wire, sizeof wire);
}

static int block_agrees(const struct seg_block *block, const struct seg_block *expected)
{
    return block->stored_bytes == expected->stored_bytes &&
           block->entry_count == expected->entry_count &&
           block->range.first == expected->range.first &&
           block->range.last == expected->range.last && block->state_id == expected->state_id &&
           block->flags == expected->flags && block->epoch_max == expected->epoch_max &&
           block->payload_hash == expected->payload_hash;
}

uint32_t seg_block_decode(const uint8_t from[SEG_BLOCK_HEADER_BYTES],
    const struct seg_block *expected, const char *object, struct seg_block *ret_block,
    struct cistern_error *error)
{
    struct block_wire wire;
    memcpy(&wire, from, sizeof wire);
    if (memcmp(wire.magic, block_magic, sizeof block_magic) != 0) {
        return cistern_fail_corrupt(
            error, object, expected->offset, "no block starts where the index says one does");
    }
    if (le32toh(wire.check) != cistern_check32(from, offsetof(struct block_wire, check)) ||
        wire.zero != 0) {
        return cistern_fail_corrupt(
            error, object, expected->offset, "a block's header fails its check word");
    }
    struct seg_block block = {
        .offset = expected->offset,
        .stored_bytes = le32toh(wire.stored_bytes),
        .raw_bytes = le32toh(wire.raw_bytes),
        .entry_count = le32toh(wire.entry_count),
        .range = {le16toh(wire.group_first), le16toh(wire.group_last)},
        .state_id = le16toh(wire.state_id),
        .codec = wire.codec,
        .flags = wire.flags,
        .epoch_max = le64toh(wire.epoch_max),
        .payload_hash = le64toh(wire.payload_hash),
    };
    if (!block_agrees(&block, expected)) {
        return cistern_fail_corrupt(
            error, object, block.offset, "a block's header and its index entry disagree");
    }
    if (block.codec != SEG_CODEC_NONE) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, object,
            "the block at offset %llu is compressed with codec %u; this build reads codec 0 (none) "
            "only",
            (unsigned long long)block.offset, block.codec);
    }
    if (block.raw_bytes != block.stored_bytes ||
        block.entry_count > block.raw_bytes / SEG_ENTRY_BYTES_MIN) {
        return cistern_fail_corrupt(error, object, block.offset,
            "a block of %u stored bytes claims %u raw bytes and %u entries", block.stored_bytes,
            block.raw_bytes, block.entry_count);
    }
    *ret_block = block;
    return CISTERN_OK;
}

void seg_index_entry_encode(uint8_t to[SEG_INDEX_ENTRY_BYTES], const struct seg_block *block)
{
    struct index_wire wire = {
        .offset = htole64(block->offset),
        .stored_bytes = htole32(block->stored_bytes),
        .entry_count = htole32(block->entry_count),
        .group_first = htole16((uint16_t)block->range.first),
        .group_last = htole16((uint16_t)block->range.last),
        .state_id = htole16((uint16_t)block->state_id),
        .flags = htole16((uint16_t)block->flags),
        .epoch_max = htole64(block->epoch_max),
        .payload_hash = htole64(block->payload_hash),
    };
    memcpy(to, &wire, sizeof wire);
}

void seg_index_entry_decode(const uint8_t from[SEG_INDEX_ENTRY_BYTES], struct seg_block *ret_block)
{
    struct index_wire wire;
    memcpy(&wire, from, sizeof wire);
    *ret_block = (struct seg_block){
        .offset = le64toh(wire.offset),
        .stored_bytes = le32toh(wire.stored_bytes),
        .entry_count = le32toh(wire.entry_count),
        .range = {le16toh(wire.group_first), le16toh(wire.group_last)},
        .state_id = le16toh(wire.state_id),
        .flags = le16toh(wire.flags),
        .epoch_max = le64toh(wire.epoch_max),
        .payload_hash = le64toh(wire.payload_hash),
    };
}

void seg_trailer_encode(uint8_t to[SEG_TRAILER_BYTES], const struct seg_trailer *trailer)
{
    struct trailer_wire wire = {
        .index_offset = htole64(trailer->index_offset),
        .index_bytes = htole64(trailer->index_bytes),
        .table_offset = htole64(trailer->table_offset),
        .table_bytes = htole64(trailer->table_bytes),
        .index_hash = htole64(trailer->index_hash),
        .table_hash = htole64(trailer->table_hash),
        .file_bytes = htole64(trailer->file_bytes),
    };
    wire.check = htole32(cistern_check32(&wire, offsetof(struct trailer_wire, check)));
    memcpy(wire.magic, trailer_magic, sizeof wire.magic);
    memcpy(to, &wire, sizeof wire);
}

/* The sums cannot wrap: each term was compared with what is left of the file before it was
 * added. */
static int trailer_parts_fit(const struct seg_trailer *trailer)
{
    uint64_t end = trailer->file_bytes - SEG_TRAILER_BYTES;
    return trailer->index_offset >= SEG_HEADER_BYTES && trailer->index_offset <= end &&
           trailer->index_offset % SEG_ALIGNMENT == 0 &&
           trailer->index_bytes % SEG_INDEX_ENTRY_BYTES == 0 &&
           trailer->index_bytes / SEG_INDEX_ENTRY_BYTES <= UINT32_MAX &&
           trailer->index_bytes <= end - trailer->index_offset &&
           trailer->table_offset == trailer->index_offset + trailer->index_bytes &&
           trailer->table_bytes == end - trailer->table_offset;
}

uint32_t seg_trailer_decode(const uint8_t from[SEG_TRAILER_BYTES], uint64_t file_bytes,
    const char *object, struct seg_trailer *ret_trailer, struct cistern_error *error)
{
    assert(file_bytes >= SEG_HEADER_BYTES + SEG_TRAILER_BYTES);
    uint64_t offset = file_bytes - SEG_TRAILER_BYTES;
    struct trailer_wire wire;
    memcpy(&wire, from, sizeof wire);
    if (memcmp(wire.magic, trailer_magic, sizeof trailer_magic) != 0) {
        return cistern_fail_corrupt(error, object, offset,
            "the file does not end with a trailer: cut short or overwritten");
    }
    if (le32toh(wire.check) != cistern_check32(from, offsetof(struct trailer_wire, check))) {
        return cistern_fail_corrupt(error, object, offset, "the trailer fails its check word");
    }
    struct seg_trailer trailer = {
        .index_offset = le64toh(wire.index_offset),
        .index_bytes = le64toh(wire.index_bytes),
        .table_offset = le64toh(wire.table_offset),
        .table_bytes = le64toh(wire.table_bytes),
        .index_hash = le64toh(wire.index_hash),
        .table_hash = le64toh(wire.table_hash),
        .file_bytes = le64toh(wire.file_bytes),
    };
    if (trailer.file_bytes != file_bytes) {
        return cistern_fail_corrupt(error, object, offset,
            "the file has %llu bytes, its trailer says %llu", (unsigned long long)file_bytes,
            (unsigned long long)trailer.file_bytes);
    }
    if (!trailer_parts_fit(&trailer)) {
        return cistern_fail_corrupt(error, object, offset,
            "index and state table do not fill the place before the trailer");
    }
    *ret_trailer = trailer;
    return CISTERN_OK;
}
