/*
 * rocks.h -- keyed state in RocksDB, inside a slot's budget: block pool, write gate, native
 * incremental snapshots.
 *
 * Holds VALUE, REDUCING and AGGREGATING states; a column family per state, write-ahead log off. A
 * state call never ends with
 * LIMIT: a full budget evicts clean blocks, then flushes, then waits, and only an unmovable one
 *        answers TIMEOUT.
 * Two accounting modes (pool.h): OWNED is exact for the process; GUEST charges blocks exactly and
 * memtables as reported.
 */
#ifndef CISTERN_ROCKS_H
#define CISTERN_ROCKS_H

#include "cistern/backend.h"
#include "cistern/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_rocks_options {
    struct cistern_backend_options backend;
    /* required: the live database; must not exist or be empty. Removed at close */
    const char *directory;
    uint32_t background_compactions_max; /* 0 = 1 */
    uint32_t keep_directory;             /* 1 = leave the files at close (tests, inspection) */
    int64_t write_wait_max_ms;           /* a gated write answers TIMEOUT after this; 0 = 10 s */
};
/* EXISTS: the directory holds something. IO, NO_SPACE. LIMIT: the slot is below the least that
 *         works; names it. */
CISTERN_MUST_USE uint32_t cistern_rocks_open_sized(struct cistern_slot *slot,
    const struct cistern_rocks_options *options, uint64_t options_bytes,
    struct cistern_backend **ret_backend, struct cistern_error *error);
#define cistern_rocks_open(slot, options, ret_backend, error)                                      \
    cistern_rocks_open_sized(                                                                      \
        (slot), (options), sizeof(struct cistern_rocks_options), (ret_backend), (error))

struct cistern_rocks_statistics {
    uint64_t block_cache_bytes;
    uint64_t block_cache_capacity_bytes;
    uint64_t write_buffer_bytes;
    uint64_t write_buffer_allowance_bytes;
    uint64_t table_reader_bytes;
    uint64_t file_count;
    uint64_t file_bytes;
    uint64_t gate_wait_count;
    uint64_t gate_wait_ns;
    uint64_t flush_count;
    uint64_t compaction_count;
    uint64_t barrier_stall_count; /* snapshot barriers that met a stalled write */
};
void cistern_rocks_statistics(
    struct cistern_backend *backend, struct cistern_rocks_statistics *ret_statistics);
/* "7.8.3, assertions on": which RocksDB a figure speaks of. */
const char *cistern_rocks_build(void);

#ifdef __cplusplus
}
#endif
#endif
