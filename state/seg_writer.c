/*
 * seg_writer.c -- entries in, a container's bytes out, in memory that does not grow with the file
 * but for 40 bytes per block; see seg.h.
 *
 * Each state has buckets, one per range of key groups, and a bucket has at most one open block. A
 * block leaves when it is full (raw_bytes_target) or when the fullest one must make room. An entry
 * larger than a block leaves at once as a chain of blocks that nothing interrupts; add answers BUSY
 * until its last piece is in.
 *
 * Invariant: file_bytes is where the next sealed block will stand; the index has an entry for each
 *            sealed block.
 */
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/hash.h"
#include "seg_arena_private.h"
#include "seg_table_private.h"

#include <assert.h>
#include <string.h>

#define BUFFER_BYTES_DEFAULT ((uint64_t)8 << 20)
#define BUFFER_BYTES_MIN ((uint64_t)256 << 10)
#define BUFFER_BYTES_MAX ((uint64_t)1 << 30)
#define RAW_BYTES_TARGET_MIN ((uint64_t)64 << 10)
#define RAW_BYTES_TARGET_MAX ((uint64_t)1 << 20)
#define BUCKET_COUNT_MAX 256u
#define INDEX_BLOCKS_FIRST 64u

static_assert(RAW_BYTES_TARGET_MAX <= CISTERN_SEG_BLOCK_BYTES_MAX,
    "a block of the writer is one a reader takes");
static_assert(2 * RAW_BYTES_TARGET_MIN <= BUFFER_BYTES_MIN,
    "a whole block fits the smallest arena beside others");

struct writer_state {      /* one state's buckets */
    uint64_t bucket_scale; /* bucket of a group = (group - first) * bucket_scale >> 32 */
    uint32_t bucket_count;
    uint32_t reserved;
    struct seg_open_block buckets[];
};
struct big_entry { /* the entry that is leaving as a chain; total_bytes 0 = none */
    uint64_t total_bytes;
    uint64_t done_bytes;
    uint32_t state_id;
    uint32_t key_group;
};
struct tail { /* what follows the blocks, made by finish */
    char *table;
    uint64_t table_bytes;
    uint64_t taken_bytes; /* of index, table and trailer together */
    uint8_t trailer[SEG_TRAILER_BYTES];
};
struct cistern_seg_writer {
    struct seg_arena arena;
    struct seg_table table;
    struct writer_state *states[CISTERN_STATE_COUNT_MAX + 1]; /* by id */
    struct seg_header header;
    struct big_entry big;
    struct tail tail;
    uint8_t *index;
    uint64_t index_capacity; /* blocks */
    uint64_t block_count;
    uint64_t file_bytes;
    uint64_t entry_count;
    uint64_t raw_bytes_target;
    uint32_t bucket_count; /* of all states */
    uint32_t header_taken_bytes;
    uint32_t finished;
    uint32_t reserved;
    uint8_t header_bytes[SEG_HEADER_BYTES];
};

static const char object_name[] = "data container";

/* ---- life ---- */

static uint32_t options_validate(
    const struct cistern_seg_writer_options *options, struct cistern_error *error)
{
    if (options->role < CISTERN_ROLE_HEAP_BASE || options->role > CISTERN_ROLE_CANONICAL) {
        return cistern_fail(error, CISTERN_INVALID, "role",
            "a data container is no part of role %u", options->role);
    }
    if (options->range.first > options->range.last ||
        options->range.last >= CISTERN_MAX_PARALLELISM_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "range",
            "key groups %u to %u are no range within 0 to %u", options->range.first,
            options->range.last, CISTERN_MAX_PARALLELISM_MAX - 1);
    }
    if (options->buffer_bytes != 0 &&
        (options->buffer_bytes < BUFFER_BYTES_MIN || options->buffer_bytes > BUFFER_BYTES_MAX)) {
        return cistern_fail(error, CISTERN_INVALID, "buffer_bytes",
            "buffer_bytes is %llu, possible are %llu to %llu",
            (unsigned long long)options->buffer_bytes, (unsigned long long)BUFFER_BYTES_MIN,
            (unsigned long long)BUFFER_BYTES_MAX);
    }
    return CISTERN_OK;
}

static uint64_t clamp(uint64_t value, uint64_t min, uint64_t max)
{
    return value < min ? min : value > max ? max : value;
}

static void writer_fill(struct cistern_seg_writer *writer,
    const struct cistern_seg_writer_options *options, uint64_t buffer_bytes)
{
    writer->header = (struct seg_header){
        .role = options->role,
        .slot_index = options->slot_index,
        .checkpoint_id = options->checkpoint_id,
        .base_checkpoint_id = options->base_checkpoint_id,
        .range = options->range,
    };
    memcpy(writer->header.job_id, options->job_id, sizeof writer->header.job_id);
    seg_header_encode(writer->header_bytes, &writer->header);
    writer->file_bytes = SEG_HEADER_BYTES;
    writer->raw_bytes_target = clamp(buffer_bytes / 8, RAW_BYTES_TARGET_MIN, RAW_BYTES_TARGET_MAX);
}

uint32_t cistern_seg_writer_create(const struct cistern_seg_writer_options *options,
    struct cistern_seg_writer **ret_writer, struct cistern_error *error)
{
    uint32_t status = options_validate(options, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_seg_writer *writer = cistern_allocate_zeroed(1, sizeof *writer);
    if (writer == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, object_name, "no memory for a container's writer");
    }
    uint64_t buffer_bytes =
        options->buffer_bytes != 0 ? options->buffer_bytes : BUFFER_BYTES_DEFAULT;
    writer_fill(writer, options, buffer_bytes);
    status = seg_table_init(&writer->table, error);
    if (status == CISTERN_OK) {
        status = seg_arena_init(&writer->arena, buffer_bytes, error);
    }
    if (status != CISTERN_OK) {
        cistern_seg_writer_destroy(writer);
        return status;
    }
    *ret_writer = writer;
    return CISTERN_OK;
}

void cistern_seg_writer_destroy(struct cistern_seg_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    for (uint32_t id = 0; id <= CISTERN_STATE_COUNT_MAX; id++) {
        cistern_release(writer->states[id]);
    }
    seg_table_deinit(&writer->table);
    seg_arena_deinit(&writer->arena);
    cistern_release(writer->index);
    cistern_release(writer->tail.table);
    cistern_release(writer);
}

uint64_t cistern_seg_writer_entry_count(const struct cistern_seg_writer *writer)
{
    return writer->entry_count;
}

/* ---- states and their buckets ---- */

/* A bucket should find a chunk: later states get fewer buckets, at least one. The sum stays
 * below chunks + states. */
static uint32_t bucket_count_choose(const struct cistern_seg_writer *writer, uint32_t group_count)
{
    uint64_t chunks = writer->arena.chunk_count;
    uint64_t share = writer->bucket_count < chunks ? (chunks - writer->bucket_count) / 2 : 0;
    uint64_t most = group_count < BUCKET_COUNT_MAX ? group_count : BUCKET_COUNT_MAX;
    return (uint32_t)clamp(share, 1, most);
}

static uint32_t bucket_of(const struct writer_state *state, uint32_t group_offset)
{
    return (uint32_t)(group_offset * state->bucket_scale >> 32);
}

/* With bucket_count <= group_count the scale is at most 2^32: neighbouring groups are in one
 * bucket or in neighbouring ones, so that every bucket's range is contiguous. The same function
 * that places an entry defines the ranges. */
static void buckets_fill(
    struct writer_state *state, uint32_t state_id, struct cistern_key_group_range range)
{
    for (uint32_t i = 0; i < state->bucket_count; i++) {
        state->buckets[i] = (struct seg_open_block){.chunk_first = SEG_CHUNK_NONE,
            .chunk_last = SEG_CHUNK_NONE,
            .state_id = (uint16_t)state_id};
    }
    uint32_t previous = UINT32_MAX;
    for (uint32_t group = range.first; group <= range.last; group++) {
        uint32_t bucket = bucket_of(state, group - range.first);
        assert(bucket < state->bucket_count);
        if (bucket != previous) {
            state->buckets[bucket].group_first = (uint16_t)group;
        }
        state->buckets[bucket].group_last = (uint16_t)group;
        previous = bucket;
    }
}

uint32_t cistern_seg_writer_state(struct cistern_seg_writer *writer, uint32_t state_id,
    const char *text, struct cistern_error *error)
{
    if (writer->finished) {
        return cistern_fail(error, CISTERN_INVALID, object_name,
            "the container is finished: no state can be added");
    }
    uint32_t status = seg_table_add(&writer->table, state_id, text, object_name, error);
    if (status != CISTERN_OK || writer->states[state_id] != NULL) {
        return status;
    }
    uint32_t group_count = writer->header.range.last - writer->header.range.first + 1;
    uint32_t bucket_count = bucket_count_choose(writer, group_count);
    struct writer_state *state =
        cistern_allocate(sizeof *state + (uint64_t)bucket_count * sizeof state->buckets[0]);
    if (state == NULL) { /* the table has the state already; a repeated call comes back here */
        return cistern_fail(error, CISTERN_NO_MEMORY, object_name,
            "no memory for the buckets of state %u", state_id);
    }
    state->bucket_count = bucket_count;
    state->bucket_scale = ((uint64_t)bucket_count << 32) / group_count;
    buckets_fill(state, state_id, writer->header.range);
    writer->states[state_id] = state;
    writer->bucket_count += bucket_count;
    return CISTERN_OK;
}

/* ---- sealing ---- */

static uint32_t index_reserve(
    struct cistern_seg_writer *writer, uint64_t blocks, struct cistern_error *error)
{
    if (writer->block_count + blocks <= writer->index_capacity) {
        return CISTERN_OK;
    }
    if (writer->block_count + blocks > UINT32_MAX) {
        return cistern_fail(
            error, CISTERN_LIMIT, object_name, "a container holds at most %u blocks", UINT32_MAX);
    }
    uint64_t capacity = clamp(
        2 * writer->index_capacity, writer->block_count + blocks + INDEX_BLOCKS_FIRST, UINT32_MAX);
    uint8_t *index = cistern_reallocate(writer->index, capacity * SEG_INDEX_ENTRY_BYTES);
    if (index == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, object_name,
            "no memory for an index of %llu blocks", (unsigned long long)capacity);
    }
    writer->index = index;
    writer->index_capacity = capacity;
    return CISTERN_OK;
}

/* There is room in the index. */
static void block_seal(struct cistern_seg_writer *writer, struct seg_open_block *block)
{
    assert(writer->block_count < writer->index_capacity);
    struct seg_block header = {
        .offset = writer->file_bytes, .epoch_max = writer->header.checkpoint_id};
    seg_arena_seal(&writer->arena, block, &header);
    seg_index_entry_encode(writer->index + writer->block_count * SEG_INDEX_ENTRY_BYTES, &header);
    writer->block_count++;
    writer->file_bytes += seg_block_bytes(&header);
}

static struct seg_open_block *block_fullest(struct cistern_seg_writer *writer)
{
    struct seg_open_block *fullest = NULL;
    for (uint32_t id = 1; id <= CISTERN_STATE_COUNT_MAX; id++) {
        struct writer_state *state = writer->states[id];
        for (uint32_t i = 0; state != NULL && i < state->bucket_count; i++) {
            if (fullest == NULL || state->buckets[i].raw_bytes > fullest->raw_bytes) {
                fullest = &state->buckets[i];
            }
        }
    }
    return fullest;
}

/* OK: `wanted` chunks are free. BUSY: the caller must take what waits and ask again; when
 *     nothing waited, the fullest block was
 * sealed. Every open block holds a chunk, so that this ends with all chunks free at the latest. */
static uint32_t chunks_make(
    struct cistern_seg_writer *writer, uint64_t wanted, struct cistern_error *error)
{
    assert(wanted <= writer->arena.chunk_count);
    if (wanted <= writer->arena.free_count) {
        return CISTERN_OK;
    }
    if (seg_arena_has_output(&writer->arena)) {
        return CISTERN_BUSY;
    }
    uint32_t status = index_reserve(writer, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct seg_open_block *fullest = block_fullest(writer);
    assert(fullest != NULL && fullest->raw_bytes > 0);
    block_seal(writer, fullest);
    return CISTERN_BUSY;
}

/* ---- adding ---- */

static uint32_t entry_fail(
    const struct cistern_seg_entry *entry, const char *problem, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_INVALID, object_name, "entry of state %u, key group %u: %s",
        entry->state_id, entry->key_group, problem);
}

static uint32_t entry_validate(const struct cistern_seg_writer *writer,
    const struct cistern_seg_entry *entry, struct cistern_error *error)
{
    const struct cistern_key_group_range *range = &writer->header.range;
    if (entry->state_id > CISTERN_STATE_COUNT_MAX || writer->states[entry->state_id] == NULL) {
        return entry_fail(entry, "the state was not given to cistern_seg_writer_state()", error);
    }
    if (entry->key_group - range->first > range->last - range->first) {
        return entry_fail(entry, "the key group is outside the container's range", error);
    }
    if (entry->key.data == NULL || entry->key.bytes > CISTERN_KEY_BYTES_MAX) {
        return entry_fail(entry, "the key is absent or has more than 65535 bytes", error);
    }
    if (entry->name_space.data != NULL && entry->name_space.bytes > CISTERN_KEY_BYTES_MAX) {
        return entry_fail(entry, "the namespace has more than 65535 bytes", error);
    }
    if (entry->tombstone ? entry->value.data != NULL
                         : entry->value.data == NULL && entry->user_key.data == NULL) {
        return entry_fail(
            entry, "a tombstone has no value, any other entry without a user key has one", error);
    }
    return CISTERN_OK;
}

/* The chunks that it takes are free. Short entries are written in place, those that cross a
 * chunk go piece by piece. */
static void entry_put(struct cistern_seg_writer *writer, struct seg_open_block *block,
    const struct cistern_seg_entry *entry, int has_group, uint64_t bytes)
{
    uint8_t *to = seg_arena_extend(&writer->arena, block, bytes);
    if (to != NULL) {
        uint8_t *end = seg_entry_encode(to, entry, has_group);
        assert(end == to + bytes);
        (void)end;
    } else {
        struct seg_pieces pieces;
        seg_entry_pieces(entry, has_group, &pieces);
        assert(pieces.bytes == bytes);
        seg_arena_append(&writer->arena, block, &pieces, 0, bytes);
    }
    block->entry_count++;
    block->flags |= entry->tombstone ? CISTERN_SEG_TOMBSTONES : 0;
    writer->entry_count++;
}

/* Piece by piece; every piece but the last is raw_bytes_target long. While the chain is under
 * way no other block is sealed, so that its blocks follow each other in the file: once
 * everything waiting was taken, a whole block's chunks are free, because they were when the
 * chain began. */
static uint32_t big_continue(struct cistern_seg_writer *writer, struct seg_open_block *bucket,
    const struct cistern_seg_entry *entry, int has_group, struct cistern_error *error)
{
    struct seg_pieces pieces;
    seg_entry_pieces(entry, has_group, &pieces);
    struct big_entry *big = &writer->big;
    if (big->state_id != entry->state_id || big->key_group != entry->key_group ||
        big->total_bytes != pieces.bytes) {
        return entry_fail(entry,
            "a larger entry is half-written: after BUSY the same one must be added again", error);
    }
    while (big->done_bytes < big->total_bytes) {
        uint64_t left = big->total_bytes - big->done_bytes;
        uint64_t step = left < writer->raw_bytes_target ? left : writer->raw_bytes_target;
        struct seg_open_block piece = *bucket;
        if (seg_arena_chunks_wanted(&writer->arena, &piece, step) > writer->arena.free_count) {
            assert(seg_arena_has_output(&writer->arena));
            return CISTERN_BUSY;
        }
        uint32_t status = index_reserve(writer, 1, error);
        if (status != CISTERN_OK) {
            return status;
        }
        seg_arena_append(&writer->arena, &piece, &pieces, big->done_bytes, step);
        piece.entry_count = big->done_bytes == 0;
        piece.flags = (uint16_t)((step < left ? CISTERN_SEG_CONTINUES : 0) |
                                 (entry->tombstone ? CISTERN_SEG_TOMBSTONES : 0));
        block_seal(writer, &piece);
        big->done_bytes += step;
    }
    *big = (struct big_entry){0};
    writer->entry_count++;
    return CISTERN_OK;
}

static uint32_t big_begin(struct cistern_seg_writer *writer, struct seg_open_block *bucket,
    const struct cistern_seg_entry *entry, int has_group, uint64_t bytes,
    struct cistern_error *error)
{
    const struct seg_open_block empty = {.chunk_first = SEG_CHUNK_NONE};
    uint64_t wanted = seg_arena_chunks_wanted(&writer->arena, &empty, writer->raw_bytes_target);
    uint32_t status = chunks_make(writer, wanted, error);
    /* what the bucket holds was added before */
    if (status == CISTERN_OK && bucket->raw_bytes > 0) {
        status = index_reserve(writer, 1, error);
        if (status == CISTERN_OK) {
            block_seal(writer, bucket);
        }
    }
    if (status != CISTERN_OK) {
        return status;
    }
    writer->big = (struct big_entry){
        .total_bytes = bytes, .state_id = entry->state_id, .key_group = entry->key_group};
    return big_continue(writer, bucket, entry, has_group, error);
}

uint32_t cistern_seg_writer_add(struct cistern_seg_writer *writer,
    const struct cistern_seg_entry *entry, struct cistern_error *error)
{
    if (writer->finished) {
        return entry_fail(entry, "the container is finished", error);
    }
    uint32_t status = entry_validate(writer, entry, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct writer_state *state = writer->states[entry->state_id];
    struct seg_open_block *bucket =
        &state->buckets[bucket_of(state, entry->key_group - writer->header.range.first)];
    int has_group = bucket->group_first != bucket->group_last;
    if (writer->big.total_bytes != 0) {
        return big_continue(writer, bucket, entry, has_group, error);
    }
    uint64_t bytes = seg_entry_size(entry, has_group);
    if (bytes > writer->raw_bytes_target) {
        return big_begin(writer, bucket, entry, has_group, bytes, error);
    }
    if (bucket->raw_bytes + bytes > writer->raw_bytes_target) {
        status = index_reserve(writer, 1, error);
        if (status != CISTERN_OK) {
            return status;
        }
        block_seal(writer, bucket);
    }
    status = chunks_make(writer, seg_arena_chunks_wanted(&writer->arena, bucket, bytes), error);
    if (status == CISTERN_OK) {
        entry_put(writer, bucket, entry, has_group, bytes);
    }
    return status;
}

/* ---- the end of the file ---- */

static uint64_t open_block_count(const struct cistern_seg_writer *writer)
{
    uint64_t count = 0;
    for (uint32_t id = 1; id <= CISTERN_STATE_COUNT_MAX; id++) {
        const struct writer_state *state = writer->states[id];
        for (uint32_t i = 0; state != NULL && i < state->bucket_count; i++) {
            count += state->buckets[i].raw_bytes > 0;
        }
    }
    return count;
}

/* By state, then by range: an increment that fits the buffers is sorted by group range. */
static void blocks_flush(struct cistern_seg_writer *writer)
{
    for (uint32_t id = 1; id <= CISTERN_STATE_COUNT_MAX; id++) {
        struct writer_state *state = writer->states[id];
        for (uint32_t i = 0; state != NULL && i < state->bucket_count; i++) {
            if (state->buckets[i].raw_bytes > 0) {
                block_seal(writer, &state->buckets[i]);
            }
        }
    }
}

static void trailer_make(struct cistern_seg_writer *writer)
{
    struct seg_trailer trailer = {
        .index_offset = writer->file_bytes,
        .index_bytes = writer->block_count * SEG_INDEX_ENTRY_BYTES,
        .table_bytes = writer->tail.table_bytes,
    };
    trailer.table_offset = trailer.index_offset + trailer.index_bytes;
    trailer.file_bytes = trailer.table_offset + trailer.table_bytes + SEG_TRAILER_BYTES;
    trailer.index_hash = cistern_hash64(writer->index, trailer.index_bytes);
    trailer.table_hash = cistern_hash64(writer->tail.table, trailer.table_bytes);
    seg_trailer_encode(writer->tail.trailer, &trailer);
}

uint32_t cistern_seg_writer_finish(struct cistern_seg_writer *writer, struct cistern_error *error)
{
    if (writer->finished) {
        return CISTERN_OK;
    }
    if (writer->big.total_bytes != 0) {
        return cistern_fail(error, CISTERN_INVALID, object_name,
            "an entry of state %u is half-written: after BUSY it must be added again",
            writer->big.state_id);
    }
    uint32_t status = index_reserve(writer, open_block_count(writer), error);
    if (status == CISTERN_OK) {
        status =
            seg_table_encode(&writer->table, &writer->tail.table, &writer->tail.table_bytes, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    blocks_flush(writer);
    trailer_make(writer);
    writer->finished = 1;
    return CISTERN_OK;
}

/* Bytes [*position, ...) of `from` into the caller's buffer; moves both on. */
static void part_take(const uint8_t *from, uint64_t bytes, uint64_t *position,
    struct cistern_bytes into, uint64_t *taken)
{
    uint64_t left = bytes - *position;
    uint64_t room = into.capacity_bytes - *taken;
    uint64_t step = left < room ? left : room;
    if (step > 0) {
        memcpy((uint8_t *)into.data + *taken, from + *position, step);
        *position += step;
        *taken += step;
    }
}

static void tail_take(struct cistern_seg_writer *writer, struct cistern_bytes into, uint64_t *taken)
{
    const struct {
        const uint8_t *data;
        uint64_t bytes;
    } parts[] = {
        {writer->index, writer->block_count * SEG_INDEX_ENTRY_BYTES},
        {(const uint8_t *)writer->tail.table, writer->tail.table_bytes},
        {writer->tail.trailer, SEG_TRAILER_BYTES},
    };
    uint64_t start = 0;
    for (uint32_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (writer->tail.taken_bytes < start + parts[i].bytes) {
            uint64_t position = writer->tail.taken_bytes - start;
            part_take(parts[i].data, parts[i].bytes, &position, into, taken);
            writer->tail.taken_bytes = start + position;
            if (position < parts[i].bytes) {
                return;
            }
        }
        start += parts[i].bytes;
    }
}

uint32_t cistern_seg_writer_take(struct cistern_seg_writer *writer, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    if (into.data == NULL || into.capacity_bytes == 0) { /* 0 bytes would look like the end */
        return cistern_fail(
            error, CISTERN_INVALID, object_name, "taking a container's bytes needs room for one");
    }
    uint64_t taken = 0;
    uint64_t position = writer->header_taken_bytes;
    part_take(writer->header_bytes, SEG_HEADER_BYTES, &position, into, &taken);
    writer->header_taken_bytes = (uint32_t)position;
    taken +=
        seg_arena_take(&writer->arena, (uint8_t *)into.data + taken, into.capacity_bytes - taken);
    if (writer->finished && !seg_arena_has_output(&writer->arena)) {
        tail_take(writer, into, &taken);
    }
    *ret_bytes = taken;
    return CISTERN_OK;
}
