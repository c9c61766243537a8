/*
 * shim.h -- the part of RocksDB's C++ interface that rocks/ needs, as a plain C header. RocksDB's
 * own C interface has no event listener, no memory allocator, no multi-family flush, no live-file
 * listing and no checksum generator.
 *
 * Owns:    every C++ object. No exception leaves it: each entry is noexcept and turns what was
 *          thrown into a status.
 * Never:   decides anything about budgets, keys or states; that is C, in the files beside it.
 * Threads: a shim_db is called by the backend's owner; shim_memory by any thread; a shim_capture by
 *          the transfer thread, after the barrier that made it. Hooks run on RocksDB's background
 *          threads.
 */
#ifndef CISTERN_ROCKS_SHIM_H
#define CISTERN_ROCKS_SHIM_H

#include "cistern/block_pool.h"
#include "cistern/snapshot.h"

#ifdef __cplusplus
extern "C" {
#define SHIM_NOEXCEPT noexcept
#else
#define SHIM_NOEXCEPT
#endif

#define SHIM_FAMILY_NAME_BYTES_MAX 16u /* "s250", "default", "barrier" */
#define SHIM_CHECKSUM_NAME "cistern.xxh128.v1"

/* ---- block cache and write buffer manager ---- */
struct shim_memory;
struct shim_memory_options {
    struct cistern_block_pool *blocks; /* must outlive the shim_memory */
    uint64_t limit_bytes;              /* the slot's: chooses the number of shards */
    uint64_t cache_bytes;
    uint64_t allowance_bytes; /* W: what memtables may use at most */
};
CISTERN_MUST_USE uint32_t shim_memory_create(const struct shim_memory_options *options,
    struct shim_memory **ret_memory, struct cistern_error *error) SHIM_NOEXCEPT;
/* after every shim_db on it; NULL is fine */
void shim_memory_destroy(struct shim_memory *memory) SHIM_NOEXCEPT;
uint64_t shim_cache_usage(const struct shim_memory *memory) SHIM_NOEXCEPT;
uint64_t shim_cache_capacity(const struct shim_memory *memory) SHIM_NOEXCEPT;
/* evicts down to it */
void shim_cache_set_capacity(struct shim_memory *memory, uint64_t bytes) SHIM_NOEXCEPT;
void shim_cache_clear(struct shim_memory *memory)
    SHIM_NOEXCEPT; /* drops what nobody refers to: keys of a closed database */
uint64_t shim_write_buffer_usage(const struct shim_memory *memory) SHIM_NOEXCEPT;
void shim_write_buffer_set_allowance(struct shim_memory *memory, uint64_t bytes) SHIM_NOEXCEPT;

/* ---- database and column families ---- */
struct shim_db;
struct shim_family;
struct shim_hooks { /* on RocksDB's threads; no lock of RocksDB is held */
    void *arg;
    void (*job_begin)(void *arg, uint32_t is_compaction);
    void (*job_end)(void *arg, uint32_t is_compaction);
};
struct shim_db_options {
    const char *directory;
    struct shim_memory *memory;
    uint64_t limit_bytes;
    uint64_t allowance_bytes_min; /* what W begins with */
    uint64_t allowance_bytes_max; /* what it may become */
    uint32_t compactions_max;
    uint32_t read_only; /* 1: a finished database, opened to be read out */
    struct shim_hooks hooks;
};
/* Opens with all column families there are; a new database gets `default` and the barrier's
 * family. */
CISTERN_MUST_USE uint32_t shim_db_open(const struct shim_db_options *options,
    struct shim_db **ret_db, struct cistern_error *error) SHIM_NOEXCEPT;
/* Ends a pending barrier as aborted, waits for background work. NULL is fine. */
CISTERN_MUST_USE uint32_t shim_db_close(
    struct shim_db *db, struct cistern_error *error) SHIM_NOEXCEPT;
/* NULL = none */
struct shim_family *shim_family_find(struct shim_db *db, const char *name) SHIM_NOEXCEPT;
struct shim_family *shim_family_default(struct shim_db *db) SHIM_NOEXCEPT;
CISTERN_MUST_USE uint32_t shim_family_create(struct shim_db *db, const char *name,
    struct shim_family **ret_family, struct cistern_error *error) SHIM_NOEXCEPT;
struct shim_ttl {
    int64_t time_to_live_ms; /* 0 = nothing is stamped */
    uint32_t event_time;     /* 1 = by shim_db_set_watermark() */
    uint32_t is_list;        /* 1 = a value is a run of frames (list_frame.h), each stamped; 0 = a
                                value begins with an 8-byte written_ms */
    uint32_t element_bytes;  /* of a list, as in struct cistern_frame_format */
};
/* Compactions that begin from now on drop what is too old by then. Only time_to_live_ms may differ
 * from one call on a family to the next. */
void shim_family_set_ttl(struct shim_family *family, const struct shim_ttl *ttl) SHIM_NOEXCEPT;
/* INT64_MIN in a new shim_db. */
void shim_db_set_watermark(struct shim_db *db, int64_t watermark_ms) SHIM_NOEXCEPT;
/* Counts and sizes RocksDB keeps: keys and live bytes of a family, estimates. */
void shim_family_measure(
    struct shim_family *family, uint64_t *ret_entries, uint64_t *ret_bytes) SHIM_NOEXCEPT;
struct shim_numbers {
    uint64_t table_reader_bytes;
    uint64_t file_count;
    uint64_t file_bytes;
};
uint64_t shim_table_reader_bytes(struct shim_db *db) SHIM_NOEXCEPT;
void shim_db_measure(struct shim_db *db, struct shim_numbers *ret_numbers) SHIM_NOEXCEPT;
/* Seals every family's memtable without waiting; nothing while a barrier is pending (its own
 * flush does the same). */
CISTERN_MUST_USE uint32_t shim_db_flush(
    struct shim_db *db, struct cistern_error *error) SHIM_NOEXCEPT;
/* Waits until everything is in files and no compaction is left to do; for tests and for restore. */
CISTERN_MUST_USE uint32_t shim_db_settle(
    struct shim_db *db, uint32_t compact, struct cistern_error *error) SHIM_NOEXCEPT;

/* ---- reading ---- */
struct shim_reader; /* holds what the last read pinned */
CISTERN_MUST_USE uint32_t shim_reader_create(
    uint32_t capacity, struct shim_reader **ret_reader, struct cistern_error *error) SHIM_NOEXCEPT;
/* ends the life of the spans it gave out */
void shim_reader_reset(struct shim_reader *reader) SHIM_NOEXCEPT;
void shim_reader_destroy(struct shim_reader *reader) SHIM_NOEXCEPT;
/* count <= capacity. Absent keys get data NULL. sorted: keys are in byte order. Spans live until
 * the next call on the reader. */
CISTERN_MUST_USE uint32_t shim_get_many(struct shim_reader *reader, struct shim_family *family,
    const struct cistern_span *keys, uint32_t count, uint32_t sorted,
    struct cistern_span *ret_values, struct cistern_error *error) SHIM_NOEXCEPT;

struct shim_view; /* a moment of the whole database; pins no memory */
CISTERN_MUST_USE uint32_t shim_view_open(
    struct shim_db *db, struct shim_view **ret_view, struct cistern_error *error) SHIM_NOEXCEPT;
void shim_view_close(struct shim_view *view) SHIM_NOEXCEPT;
struct shim_iterator;
/* Keys in [lower, upper), at the view's moment (NULL = now). upper.data NULL = to the end.
 * Stands before the first: seek. */
CISTERN_MUST_USE uint32_t shim_iterator_open(struct shim_family *family, struct shim_view *view,
    struct cistern_span lower, struct cistern_span upper, struct shim_iterator **ret_iterator,
    struct cistern_error *error) SHIM_NOEXCEPT;
void shim_iterator_close(struct shim_iterator *iterator) SHIM_NOEXCEPT;
void shim_iterator_seek(struct shim_iterator *iterator,
    struct cistern_span key) SHIM_NOEXCEPT; /* the first key >= key */
void shim_iterator_next(struct shim_iterator *iterator) SHIM_NOEXCEPT;
/* 1: *ret_key and *ret_value live until the next call on the iterator. 0: at the end, or failed:
 * ask shim_iterator_status. */
int shim_iterator_entry(struct shim_iterator *iterator, struct cistern_span *ret_key,
    struct cistern_span *ret_value) SHIM_NOEXCEPT;
CISTERN_MUST_USE uint32_t shim_iterator_status(
    struct shim_iterator *iterator, struct cistern_error *error) SHIM_NOEXCEPT;

/* ---- writing ---- */
struct shim_batch;
CISTERN_MUST_USE uint32_t shim_batch_create(uint64_t reserve_bytes, struct shim_batch **ret_batch,
    struct cistern_error *error) SHIM_NOEXCEPT;
void shim_batch_destroy(struct shim_batch *batch) SHIM_NOEXCEPT;
/* gives an unusually large buffer back */
void shim_batch_clear(struct shim_batch *batch) SHIM_NOEXCEPT;
uint64_t shim_batch_bytes(const struct shim_batch *batch) SHIM_NOEXCEPT;
/* stamp.data NULL = none; else its bytes come before the value's. */
CISTERN_MUST_USE uint32_t shim_batch_put(struct shim_batch *batch, struct shim_family *family,
    struct cistern_span key, struct cistern_span stamp, struct cistern_span value,
    struct cistern_error *error) SHIM_NOEXCEPT;
/* Behind what the key holds, or as its value if it holds nothing. */
CISTERN_MUST_USE uint32_t shim_batch_append(struct shim_batch *batch, struct shim_family *family,
    struct cistern_span key, struct cistern_span bytes, struct cistern_error *error) SHIM_NOEXCEPT;
CISTERN_MUST_USE uint32_t shim_batch_remove(struct shim_batch *batch, struct shim_family *family,
    struct cistern_span key, struct cistern_error *error) SHIM_NOEXCEPT;
CISTERN_MUST_USE uint32_t shim_write(
    struct shim_db *db, struct shim_batch *batch, struct cistern_error *error) SHIM_NOEXCEPT;

/* ---- native snapshot: a memtable switch now, the list of files when the flush is done ---- */
struct shim_capture;
struct shim_barrier_options {
    uint64_t id;
    int64_t wait_max_ns;      /* how long a stalled database may hold the switch up */
    void (*ready)(void *arg); /* from the flush thread, or from whoever aborts; may be NULL */
    void *ready_arg;
};
/* BUSY: an earlier barrier's flush is not done. TIMEOUT. *ret_stalled 1: writes were stalled, so
 *       the switch had to wait. */
CISTERN_MUST_USE uint32_t shim_barrier(struct shim_db *db,
    const struct shim_barrier_options *options, struct shim_capture **ret_capture,
    uint32_t *ret_stalled, struct cistern_error *error) SHIM_NOEXCEPT;
/* OK: the list is there. BUSY: not yet. ABORTED: error says why. */
CISTERN_MUST_USE uint32_t shim_capture_poll(
    struct shim_capture *capture, struct cistern_error *error) SHIM_NOEXCEPT;
struct shim_file { /* strings live as long as the capture */
    const char *path;
    const char *name;
    uint64_t bytes;
    uint32_t is_manifest; /* the first `bytes` of the file only */
    uint32_t has_hash;
    uint8_t hash[16];
    uint8_t origin[CISTERN_ORIGIN_BYTES];
};
uint32_t shim_capture_count(const struct shim_capture *capture) SHIM_NOEXCEPT;
void shim_capture_file(
    const struct shim_capture *capture, uint32_t index, struct shim_file *ret_file) SHIM_NOEXCEPT;
/* Lets the files go; a closed database let them go already. NULL is fine. */
void shim_capture_release(struct shim_capture *capture) SHIM_NOEXCEPT;

/* "7.8.3, assertions on". Lives for ever. */
const char *shim_build(void) SHIM_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
