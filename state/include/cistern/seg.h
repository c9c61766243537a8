/*
 * seg.h -- the `.seg` container (docs/FORMAT.md, "Data container"): heap bases, heap increments,
 * canonical savepoints.
 *
 * One format, one encoder, one decoder. The writer is pulled: the caller adds entries, the
 * container hands out bytes; it seeks nowhere, so it streams to any store. The reader takes bytes
 * by offset through a callback, trusts nothing, and needs memory for one block at a time.
 * Threads: one at a time per object.
 */
#ifndef CISTERN_SEG_H
#define CISTERN_SEG_H

#include "cistern/backend.h"
#include "cistern/snapshot.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CISTERN_SEG_VERSION 1u
#define CISTERN_SEG_BLOCK_BYTES_MAX                                                                \
    (4u << 20) /* raw bytes of a block; a larger entry continues over blocks */

enum cistern_seg_block_flag {
    CISTERN_SEG_SORTED = 1,
    CISTERN_SEG_TOMBSTONES = 2,
    CISTERN_SEG_CONTINUES = 4
};

/* one entry as stored; the file format's entry flags follow from what is present */
struct cistern_seg_entry {
    uint32_t state_id;
    uint32_t key_group;
    struct cistern_span key;
    struct cistern_span name_space; /* absent = void */
    struct cistern_span user_key;   /* absent = none */
    struct cistern_span value;      /* absent together with tombstone = 1 */
    int64_t written_ms;
    uint32_t has_written; /* TTL stamp present */
    uint32_t tombstone;
};

/* ---- writer ---- */
struct cistern_seg_writer;
struct cistern_seg_writer_options {
    uint32_t role; /* HEAP_BASE, HEAP_INCREMENT or CANONICAL */
    uint32_t slot_index;
    uint8_t job_id[16]; /* zero when not known */
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    struct cistern_key_group_range range; /* what the file may hold */
    uint64_t buffer_bytes; /* all open block buffers together; 0 = 8 MiB, at least 256 KiB */
};
/* Entries may be added in any order: the writer partitions them into at most 256 group-range
 * buckets per state whose open buffers share buffer_bytes, and emits a block when one is full. */
CISTERN_MUST_USE uint32_t cistern_seg_writer_create(
    const struct cistern_seg_writer_options *options, struct cistern_seg_writer **ret_writer,
    struct cistern_error *error);
/* Every state that entries will name, before the first entry of it. text:
 * cistern_descriptor_encode(). */
CISTERN_MUST_USE uint32_t cistern_seg_writer_state(struct cistern_seg_writer *writer,
    uint32_t state_id, const char *text, struct cistern_error *error);
/* BUSY: take the output until none is left (cistern_seg_writer_take), then add the SAME entry
 *       again; it does not count as added
 * (one larger than a block leaves piece by piece, hence the same one). A value that is absent
 * without tombstone is a null value and needs a user key. */
CISTERN_MUST_USE uint32_t cistern_seg_writer_add(struct cistern_seg_writer *writer,
    const struct cistern_seg_entry *entry, struct cistern_error *error);
/* No more entries: flushes the buffers, then the index, the state table and the trailer follow
 *                  through take. */
CISTERN_MUST_USE uint32_t cistern_seg_writer_finish(
    struct cistern_seg_writer *writer, struct cistern_error *error);
/* Moves output into the caller's buffer. *ret_bytes 0: nothing pending (before finish: add more;
 * after finish: the end). */
CISTERN_MUST_USE uint32_t cistern_seg_writer_take(struct cistern_seg_writer *writer,
    struct cistern_bytes into, uint64_t *ret_bytes, struct cistern_error *error);
uint64_t cistern_seg_writer_entry_count(const struct cistern_seg_writer *writer);
void cistern_seg_writer_destroy(struct cistern_seg_writer *writer);

/* ---- reader ---- */
struct cistern_seg_reader;
/* Reads exactly into.capacity_bytes at offset, or fails. */
typedef uint32_t (*cistern_seg_read_fn)(
    void *arg, uint64_t offset, struct cistern_bytes into, struct cistern_error *error);
/* Reads trailer, header, index and state table and verifies them (CORRUPT names `object` and the
 * offset; UNSUPPORTED another version, naming both). object: for messages; copied. */
CISTERN_MUST_USE uint32_t cistern_seg_reader_open(cistern_seg_read_fn read, void *arg,
    uint64_t file_bytes, const char *object, struct cistern_seg_reader **ret_reader,
    struct cistern_error *error);
void cistern_seg_reader_close(struct cistern_seg_reader *reader);

struct cistern_seg_info {
    uint32_t role;
    uint32_t slot_index;
    uint8_t job_id[16];
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    struct cistern_key_group_range range;
    uint64_t entry_count; /* tombstones included */
    uint32_t block_count;
    uint32_t state_count;
};
void cistern_seg_reader_info(
    const struct cistern_seg_reader *reader, struct cistern_seg_info *ret_info);
/* The index-th state's stored descriptor text (NUL-terminated, owned by the reader) and id. */
CISTERN_MUST_USE uint32_t cistern_seg_reader_state(struct cistern_seg_reader *reader,
    uint32_t index, uint32_t *ret_state_id, const char **ret_text, struct cistern_error *error);
struct cistern_seg_block_info {
    uint64_t offset;
    uint32_t stored_bytes;
    uint32_t entry_count;
    struct cistern_key_group_range range;
    uint32_t state_id;
    uint32_t flags;
};
CISTERN_MUST_USE uint32_t cistern_seg_reader_block(struct cistern_seg_reader *reader,
    uint32_t index, struct cistern_seg_block_info *ret_block, struct cistern_error *error);
/* Entries whose group lies in `range`, file order; only blocks that overlap it are read. Spans
 * live until the next call. *ret_end 1 = no more. Call rewind to set the range and start (over). */
void cistern_seg_reader_rewind(
    struct cistern_seg_reader *reader, struct cistern_key_group_range range);
CISTERN_MUST_USE uint32_t cistern_seg_reader_next(struct cistern_seg_reader *reader,
    struct cistern_seg_entry *ret_entry, uint32_t *ret_end, struct cistern_error *error);
/* Up to `capacity` of them, all from one block; *ret_count 0 = no more. After an error none
 * counts. */
CISTERN_MUST_USE uint32_t cistern_seg_reader_next_many(struct cistern_seg_reader *reader,
    struct cistern_seg_entry *ret_entries, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error);
/* Reads every byte of the file and checks each against header, hash or zero. */
CISTERN_MUST_USE uint32_t cistern_seg_reader_verify(
    struct cistern_seg_reader *reader, struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
