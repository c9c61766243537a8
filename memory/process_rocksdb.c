/*
 * process_rocksdb.c -- RocksDB's share of a slot in Flink's formulas: a write buffer manager may
 * stand at 1.5 times its size while it flushes, and cache and manager together shall be T then.
 *
 * Source: Flink documentation, "Memory Management" of the RocksDB state backend; RocksDB's own
 * arena rule since 6.21 (at most 1 MiB).
 */
#include "process_private.h"

#include <assert.h>

#define ARENA_ALIGN ((uint64_t)4096)
#define ARENA_ACTUAL_MAX ((uint64_t)1 << 20)

static int ratio_check(
    const struct process_reader *reader, enum process_option option, double ratio)
{
    if (ratio >= 0 && ratio <= 1) {
        return 1;
    }
    char text[32];
    return process_refuse_as(reader->refusal, "IllegalArgumentException", option,
        "write a ratio between 0 and 1", "%s must be in [0, 1], was: %s",
        process_option_key(option), cistern_process_number_format(text, ratio));
}

/* Fixed per slot wins, then managed, then fixed per worker. */
static int scope_read(const struct process_reader *reader, struct cistern_process_spec *spec)
{
    int is_managed;
    if (process_option_text(reader, PROCESS_ROCKSDB_FIXED_SLOT) != NULL) {
        spec->rocksdb_scope = CISTERN_PROCESS_ROCKSDB_FIXED_SLOT;
        return process_option_size(reader, PROCESS_ROCKSDB_FIXED_SLOT, &spec->rocksdb_fixed_bytes);
    }
    if (!process_option_flag(reader, PROCESS_ROCKSDB_MANAGED, &is_managed)) {
        return 0;
    }
    if (is_managed) {
        spec->rocksdb_scope = CISTERN_PROCESS_ROCKSDB_MANAGED;
        return 1;
    }
    if (process_option_text(reader, PROCESS_ROCKSDB_FIXED_TM) != NULL &&
        !process_option_size(reader, PROCESS_ROCKSDB_FIXED_TM, &spec->rocksdb_fixed_bytes)) {
        return 0;
    }
    spec->rocksdb_scope = spec->rocksdb_fixed_bytes > 0 ? CISTERN_PROCESS_ROCKSDB_FIXED_TM
                                                        : CISTERN_PROCESS_ROCKSDB_UNBOUNDED;
    return 1;
}

int process_rocksdb_read(const struct process_reader *reader, struct cistern_process_spec *spec)
{
    double w, h;
    if (!process_option_double(reader, PROCESS_ROCKSDB_WRITE_RATIO, 0.5, &w) ||
        !process_option_double(reader, PROCESS_ROCKSDB_HIGH_RATIO, 0.1, &h) ||
        !ratio_check(reader, PROCESS_ROCKSDB_WRITE_RATIO, w) ||
        !ratio_check(reader, PROCESS_ROCKSDB_HIGH_RATIO, h) || !scope_read(reader, spec) ||
        !process_option_size(reader, PROCESS_ROCKSDB_WRITE_BUFFER, &spec->write_buffer_bytes)) {
        return 0;
    }
    if (2 * w / (3 - w) + h >= 1) {
        char first[32], second[32];
        return process_refuse_as(reader->refusal, "IllegalArgumentException",
            PROCESS_ROCKSDB_WRITE_RATIO,
            "lower one of the two: with a pool of 0.1 the write buffer ratio must be below 0.931",
            "Invalid configuration: writeBufferRatio %s with highPriPoolRatio %s",
            cistern_process_number_format(first, w), cistern_process_number_format(second, h));
    }
    spec->write_buffer_ratio = w;
    spec->high_priority_pool_ratio = h;
    return 1;
}

void cistern_process_rocksdb_size(uint64_t total_bytes, double write_buffer_ratio,
    double high_priority_pool_ratio, uint64_t write_buffer_bytes,
    struct cistern_process_rocksdb *ret_sizes)
{
    assert(total_bytes <= PROCESS_BYTES_MAX / 2);
    assert(write_buffer_ratio >= 0 && write_buffer_ratio <= 1);
    struct cistern_process_rocksdb sizes = {.total_bytes = total_bytes};
    double total = (double)total_bytes, twice = (double)(2 * total_bytes);
    sizes.cache_bytes = (uint64_t)((3 - write_buffer_ratio) * total / 3);
    sizes.write_buffer_manager_bytes = (uint64_t)(twice * write_buffer_ratio / 3);
    sizes.mutable_limit_bytes = sizes.write_buffer_manager_bytes * 7 / 8;
    sizes.high_priority_pool_bytes =
        (uint64_t)((double)sizes.cache_bytes * high_priority_pool_ratio);
    uint64_t arena = write_buffer_bytes / 8;
    sizes.arena_block_bytes = (arena + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    sizes.arena_block_actual_bytes =
        sizes.arena_block_bytes < ARENA_ACTUAL_MAX ? sizes.arena_block_bytes : ARENA_ACTUAL_MAX;
    sizes.flushes_constantly = sizes.arena_block_bytes > sizes.mutable_limit_bytes;
    uint64_t states = sizes.arena_block_actual_bytes == 0
                          ? 0
                          : sizes.mutable_limit_bytes / sizes.arena_block_actual_bytes;
    sizes.states_max = (uint32_t)(states < UINT32_MAX ? states : UINT32_MAX);
    /* a write buffer manager of 0 bytes is none at all */
    sizes.is_bounded = sizes.cache_bytes > 0 && sizes.write_buffer_manager_bytes > 0;
    *ret_sizes = sizes;
}
