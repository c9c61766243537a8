/*
 * bench_heap.h -- what the cases of `cistern bench heap` share: one heap in one slot with one state
 * of 16-byte keys and 32-byte values.
 *
 * Threads: one at a time; a snapshot's reader is a thread of its case.
 */
#ifndef CISTERN_BENCH_HEAP_H
#define CISTERN_BENCH_HEAP_H

#include "bench.h"

#include "cistern/heap.h"

#define BENCH_RAW_BYTES (BENCH_KEY_BYTES + BENCH_VALUE_BYTES) /* of an entry: its own bytes */
/* What a slot gives per entry where room is not the question: entries, index, copies that a
 * snapshot keeps. */
#define BENCH_ROOMY_BYTES 200u
#define BENCH_ROOMY_BASE ((uint64_t)96 << 20)

struct bench_heap {
    struct bench *bench;
    struct cistern_backend *backend;
    struct cistern_state *values;
    uint64_t checkpoint_id; /* of the last snapshot begun */
};
struct bench_heap_options {
    uint64_t share_bytes;     /* what the slot may hold; 0 = roomy for bench->entries */
    uint32_t any_value_bytes; /* 1 = values of any size; 0 = of 32 bytes */
};
CISTERN_MUST_USE uint32_t bench_heap_open(struct bench *bench,
    const struct bench_heap_options *options, struct bench_heap *ret_heap,
    struct cistern_error *error);
/* Returns `status`, or why closing failed. */
CISTERN_MUST_USE uint32_t bench_heap_close(
    struct bench_heap *heap, uint32_t status, struct cistern_error *error);
/* `count` records of a block by put_many in batches of `batch` <= CISTERN_BATCH_COUNT_MAX. */
CISTERN_MUST_USE uint32_t bench_heap_put(struct bench_heap *heap, const struct bench_block *block,
    uint32_t count, uint32_t batch, struct cistern_error *error);
/* Ids 0 .. entries - 1, each once. */
CISTERN_MUST_USE uint32_t bench_heap_fill(struct bench_heap *heap, struct cistern_error *error);

/* Reads a snapshot to its end and throws the bytes away. read_bytes: what flowed; total_bytes: with
 * the parts that stay from earlier checkpoints. ABORTED: the heap gave it up. Any thread. */
struct bench_stream {
    uint64_t read_bytes;
    uint64_t total_bytes;
    int64_t cpu_ns;
};
CISTERN_MUST_USE uint32_t bench_snapshot_read(struct cistern_snapshot *snapshot,
    struct bench_stream *ret_stream, struct cistern_error *error);
/* begin, read, release, confirm; `kind` and its base as in snapshot.h. */
CISTERN_MUST_USE uint32_t bench_snapshot_take(struct bench_heap *heap, uint32_t kind,
    struct bench_stream *ret_stream, struct cistern_error *error);

/* The cases. Each opens a heap of its own. */
CISTERN_MUST_USE uint32_t bench_heap_access(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_heap_long(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_heap_grow(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_heap_stall(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_heap_space(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_heap_snapshot(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_heap_chain(struct bench *bench, struct cistern_error *error);

#endif
