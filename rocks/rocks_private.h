/*
 * rocks_private.h -- the backend's own struct, and what its files call of each other.
 *
 * Threads: owner only, as backend.h says, except where a member says otherwise.
 */
#ifndef CISTERN_ROCKS_ROCKS_PRIVATE_H
#define CISTERN_ROCKS_ROCKS_PRIVATE_H

#include "cistern/backend_ops.h"
#include "cistern/block_pool.h"
#include "cistern/governor.h"
#include "cistern/list_frame.h"
#include "cistern/rocks.h"
#include "key_private.h"
#include "shim.h"

#define ROCKS_SLAB_COUNT_MAX                                                                       \
    CISTERN_BATCH_COUNT_MAX        /* addresses handled at a time: the scratch arrays' size */
#define ROCKS_CHUNK_COUNT_MAX 256u /* keys of one read: each pins a block until the next */
/* Cache floor 2 MiB, a quarter for memtables, and the ledger's slack: measured, 400,000 keys in a
 * slot of 7.5 MiB stay within the budget. */
#define ROCKS_SLOT_BYTES_MIN (6ull << 20)
#define ROCKS_STAMP_BYTES 8u /* big-endian written_ms before the value, with TTL */
/* What stands before a value: the stamp, then in maps whether the value is null. */
#define ROCKS_HEAD_BYTES_MAX (ROCKS_STAMP_BYTES + 1u)

struct results_block;

/* Copies of values that a call hands out: blocks of malloc, reported; all given back by the next
 * call. */
struct results {
    struct results_block *newest;
    uint64_t bytes;
};

/* What a batch call needs besides its result. Arrays of ROCKS_SLAB_COUNT_MAX unless stated. */
struct scratch {
    struct cistern_span *keys;   /* encoded; point into key_bytes */
    struct scratch_order *order; /* distinct keys in byte order */
    struct cistern_span *sorted; /* [ROCKS_CHUNK_COUNT_MAX] keys of one read */
    struct cistern_span *found;  /* [ROCKS_CHUNK_COUNT_MAX] */
    uint32_t *next;              /* chains addresses of one key; UINT32_MAX ends */
    uint32_t *last;              /* of the chain that begins at the index */
    uint32_t *slots; /* [2 * ROCKS_SLAB_COUNT_MAX] index + 1 of a chain's first address; 0 = free */
    uint8_t *key_bytes;
    uint64_t key_capacity;
    /* An accumulator and the next one; of lists and clears: a place, and a chunk's key. */
    struct cistern_bytes sums[2];
    struct cistern_bytes run; /* frames of a list on their way into the write batch */
};

struct scratch_order {
    /* the key's first 8 bytes, big-endian: decides most comparisons without touching the key */
    uint64_t prefix;
    uint32_t index;
};

struct rocks_counters { /* Atomic: written on RocksDB's threads too; read by statistics */
    uint64_t gate_wait_count;
    uint64_t gate_wait_ns;
    uint64_t flush_count;
    uint64_t compaction_count;
    uint64_t barrier_stall_count;
    uint64_t measure_due; /* 1 = files changed since table readers were measured */
};

/* Where lists are appended to; see tail.c. */
struct tail {
    uint64_t number; /* of the chunk that lists of this slot append to; none has a greater one */
    uint64_t bytes;  /* at least what any of them has in it */
};
struct tails {
    struct tail *slots; /* NULL until there is a list state */
    uint64_t count;     /* a power of two */
    uint64_t bound;     /* every chunk of an earlier life has a smaller number */
};

struct rocks {
    struct cistern_backend base;
    char *directory;
    uint32_t compactions_max;
    uint32_t keep_directory;
    int64_t write_wait_max_ns;
    uint64_t limit_bytes; /* the slot's at open */
    struct cistern_component *blocks_component;
    struct cistern_component *buffers_component; /* memtables, reported */
    struct cistern_component
        *readers_component; /* table readers, handed out copies, tails, timer heads */
    struct cistern_block_pool *blocks;
    struct cistern_elastic *elastic;
    struct shim_memory *memory;
    struct shim_db *db;               /* NULL = a restore failed: only close works */
    struct shim_reader *reader;       /* pins what the last call handed out */
    struct shim_reader *inner_reader; /* for reads of a call whose inputs may lie in the other */
    struct shim_batch *batch;
    struct scratch scratch;
    struct results results;
    uint64_t buffers_reported_bytes;
    uint64_t table_reader_bytes;
    uint64_t index_bytes; /* of tails and timer heads */
    int64_t measured_ns;
    int64_t watermark_told_ms;    /* what the database's compactions know of base.watermark_ms */
    int64_t watermark_written_ms; /* what the stored descriptors say of it */
    struct tails tails;
    struct rocks_counters counters;
};

struct rocks_cursor;
struct heads;
struct rocks_state {
    struct cistern_state base;
    struct shim_family *family;
    struct key_layout layout;
    /* values (of a list: elements) carry a stamp; fixed when the state is created, in the files */
    uint32_t stamped;
    uint32_t head_bytes;                  /* before each value; 0 in lists and timers */
    struct rocks_cursor *address_cursors; /* open over one map or list each */
    struct heads *heads;                  /* of timers: heads_private.h */
};

static inline struct rocks *rocks_of(struct cistern_backend *backend)
{
    return (struct rocks *)backend;
}
static inline struct rocks_state *rocks_state_of(struct cistern_state *state)
{
    return (struct rocks_state *)state;
}

/* CLOSED when a failed restore left no database. */
CISTERN_MUST_USE uint32_t rocks_usable(const struct rocks *rocks, struct cistern_error *error);
CISTERN_MUST_USE uint32_t rocks_database_open(struct rocks *rocks, const char *directory,
    uint32_t read_only, struct shim_db **ret_db, struct cistern_error *error);
/* Opens the backend's own database on its directory and checks or writes its `meta` record. */
CISTERN_MUST_USE uint32_t rocks_database_start(struct rocks *rocks, struct cistern_error *error);

/* gate.c */
/* Room for a batch of `bytes` in memtables, or TIMEOUT; also keeps the reported lines current. */
CISTERN_MUST_USE uint32_t gate_write(
    struct rocks *rocks, uint64_t bytes, struct cistern_error *error);
void gate_read(struct rocks *rocks,
    uint64_t bytes); /* safe point before a read that may load `bytes` of blocks */
void gate_value_seen(struct rocks *rocks, uint64_t bytes);
void gate_report(struct rocks *rocks); /* memtables now; table readers when due */
void gate_report_results(struct rocks *rocks);
void gate_job_begin(void *arg, uint32_t is_compaction);
void gate_job_end(void *arg, uint32_t is_compaction);
void gate_make_room(void *arg, uint64_t bytes); /* the block pool's safe point */
uint64_t gate_reclaim(void *arg, uint64_t target_bytes, int64_t deadline_ns);
CISTERN_MUST_USE uint32_t gate_elastic_open(struct rocks *rocks, struct cistern_error *error);

/* scratch.c */
CISTERN_MUST_USE uint32_t scratch_init(struct scratch *scratch, struct cistern_error *error);
void scratch_deinit(struct scratch *scratch);
/* Encodes the keys of count <= ROCKS_SLAB_COUNT_MAX addresses into scratch->keys. */
CISTERN_MUST_USE uint32_t scratch_encode(struct scratch *scratch, const struct key_layout *layout,
    const struct cistern_address *addresses, uint32_t count, struct cistern_error *error);
/* The same, each followed by its rest: a user key. */
CISTERN_MUST_USE uint32_t scratch_encode_items(struct scratch *scratch,
    const struct key_layout *layout, const struct cistern_address *addresses,
    const struct cistern_span *rests, uint32_t count, struct cistern_error *error);
/* One timer's key, into scratch->keys[0]. */
CISTERN_MUST_USE uint32_t scratch_encode_timer(struct scratch *scratch,
    const struct key_layout *layout, const struct cistern_address *address, int64_t time_ms,
    struct cistern_error *error);
/* scratch->order[0, count) by key, then by index */
void scratch_sort(struct scratch *scratch, uint32_t count);
/* Chains equal keys and puts each chain's first index into scratch->order; returns the number of
 * distinct keys. */
uint32_t scratch_group(struct scratch *scratch, uint32_t count);
CISTERN_MUST_USE uint32_t scratch_sum_reserve(
    struct cistern_bytes *sum, uint64_t bytes, struct cistern_error *error);
void *results_add(struct results *results, const void *data, uint64_t bytes); /* NULL: no memory */
void results_clear(struct results *results);

/* read.c: what value_get_many() and map_get_many() have in common */
struct reading {
    struct rocks_state *state;
    struct cistern_span *values;
    uint8_t *present; /* may be NULL */
};
/* The values of the keys in scratch->keys [0, count), which are encoded by then. */
CISTERN_MUST_USE uint32_t read_many(
    const struct reading *reading, uint32_t count, struct cistern_error *error);
/* keys of one read, by budget and largest value */
uint32_t read_chunk_count(const struct rocks *rocks);

/* value.c */
uint32_t value_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error);
uint32_t value_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
uint32_t value_remove_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error);
/* Ends the life of every span the backend handed out. Each call of the owner does it once, as soon
 * as it needs its inputs no more: they may be such spans. */
void value_begin(struct rocks *rocks);
uint64_t value_batch_bytes_max(const struct rocks *rocks);
/* Takes the head off a stored value. 1: visible; *ret_value is absent if it is null. 0: expired.
 * CORRUPT is told by *ret_status. */
int value_unwrap(const struct rocks_state *state, struct cistern_span stored, int64_t now_ms,
    struct cistern_span *ret_value, int64_t *ret_written_ms, uint32_t *ret_status,
    struct cistern_error *error);
/* What stands before a value; absent when that is nothing. */
struct cistern_span value_head(const struct rocks_state *state, int64_t written_ms, int is_null,
    uint8_t into[ROCKS_HEAD_BYTES_MAX]);
/* The present moment of a stamped state; 0 without a time to live. */
int64_t value_now_ms(const struct rocks_state *state);
/* Passes the gate, writes rocks->batch and empties it, whatever the outcome. */
CISTERN_MUST_USE uint32_t value_flush_batch(struct rocks *rocks, struct cistern_error *error);
/* The same once the batch has reached its bound; else nothing. */
CISTERN_MUST_USE uint32_t value_flush_full(struct rocks *rocks, struct cistern_error *error);

/* map.c */
uint32_t map_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, uint32_t count, struct cistern_span *ret_values,
    uint8_t *ret_present, struct cistern_error *error);
uint32_t map_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error);
uint32_t map_remove_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
uint32_t map_count(struct cistern_state *state, const struct cistern_address *address,
    uint64_t count_max, uint64_t *ret_count, struct cistern_error *error);

/* tail.c */
/* Before the first list state is used; OK when it is done already. */
CISTERN_MUST_USE uint32_t tails_open(struct rocks *rocks, struct cistern_error *error);
void tails_close(struct rocks *rocks);
/* Chunks with numbers below `bound` came in from elsewhere: what is appended from now on lies
 * behind them. */
CISTERN_MUST_USE uint32_t tails_raise(
    struct rocks *rocks, uint64_t bound, struct cistern_error *error);
struct tail *tails_find(
    struct rocks *rocks, const struct rocks_state *state, struct cistern_span prefix);

/* list.c */
uint32_t list_append(struct cistern_state *state, const struct cistern_address *address,
    const struct cistern_span *elements, uint32_t count, struct cistern_error *error);
uint32_t list_replace(struct cistern_state *state, const struct cistern_address *address,
    const struct cistern_span *elements, uint32_t count, struct cistern_error *error);
uint32_t list_merge(struct cistern_state *state, const struct cistern_address *target,
    const struct cistern_span *source_namespaces, uint32_t source_count,
    struct cistern_error *error);
static inline struct cistern_frame_format list_format(const struct rocks_state *state)
{
    return (struct cistern_frame_format){state->base.descriptor.value_bytes, state->stamped};
}
/* CORRUPT: what stands `offset` bytes into a chunk is no element. */
uint32_t list_fail_frame(
    const struct rocks_state *state, uint64_t offset, struct cistern_error *error);

/* timer.c */
uint32_t timer_add_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
uint32_t timer_remove_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
uint32_t timer_next(
    struct cistern_state *state, int64_t *ret_timestamp_ms, struct cistern_error *error);
uint32_t timer_pop_due(struct cistern_state *state, int64_t up_to_ms,
    struct cistern_entry *ret_timers, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error);
/* Entries came in by another way than the calls. */
void timer_restored(struct rocks_state *state);

/* clear.c */
uint32_t clear_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error);
/* Deletes for everything in a range, behind what rocks->batch holds already. Whenever that reaches
 * bytes_max it is written (*ret_written 1); the last of it is left in rocks->batch. */
struct range;
CISTERN_MUST_USE uint32_t clear_range(struct rocks_state *state, const struct range *range,
    uint64_t bytes_max, uint32_t *ret_written, struct cistern_error *error);
/* Adds to a message that a call has done part of its work. */
void clear_say_partly(struct cistern_error *error);

/* reduce.c */
uint32_t reduce_add_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *inputs, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);

/* range.c: an iterator over everything that begins with a prefix, or over the backend's groups */
struct range {
    uint8_t *bytes; /* lower, then upper; owned */
    struct cistern_span lower;
    struct cistern_span upper; /* absent = to the end */
};
CISTERN_MUST_USE uint32_t range_init_prefix(
    struct range *range, struct cistern_span prefix, struct cistern_error *error);
CISTERN_MUST_USE uint32_t range_init_groups(struct range *range, const struct key_layout *layout,
    const struct cistern_key_group_range *groups, struct cistern_error *error);
void range_deinit(struct range *range);

/* cursor.c */
uint32_t cursor_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error);
uint32_t cursor_open_keys(struct cistern_state *state, const struct cistern_span *name_space,
    struct cistern_cursor **ret_cursor, struct cistern_error *error);
/* Over one map or list. */
uint32_t cursor_open_address(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error);
/* The map or list at `prefix` is no longer the one that cursors were opened on. */
void cursor_end_address(struct rocks_state *state, struct cistern_span prefix);
/* 1 = a cursor over the list has read chunk `number` or a later one, and will not do it again. */
int cursor_has_read(const struct rocks_state *state, struct cistern_span prefix, uint64_t number);
uint32_t cursor_next(struct cistern_cursor *cursor, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error);
void cursor_close(struct cistern_cursor *cursor);

/* table.c: the states as the database knows them */
uint32_t table_state_create(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint32_t id,
    struct cistern_state **ret_state, struct cistern_error *error);
uint32_t table_state_adopt(struct cistern_state *state,
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error);
void table_state_destroy(struct cistern_state *state);
uint32_t table_state_measure(struct cistern_state *state, uint64_t *ret_entries,
    uint64_t *ret_bytes, struct cistern_error *error);
CISTERN_MUST_USE uint32_t table_meta_write(struct rocks *rocks, struct cistern_error *error);
/* MISMATCH: `db` was written with another max_parallelism. CORRUPT: it is no database of ours. */
CISTERN_MUST_USE uint32_t table_meta_check(
    struct rocks *rocks, struct shim_db *db, const char *object, struct cistern_error *error);
/* The watermark into the stored descriptors of states on event time: part of a native snapshot. */
CISTERN_MUST_USE uint32_t table_watermark_write(struct rocks *rocks, struct cistern_error *error);
/* The record `lists`; 0 = there is none. */
CISTERN_MUST_USE uint32_t table_lists_read(
    struct rocks *rocks, struct shim_db *db, uint64_t *ret_bound, struct cistern_error *error);
CISTERN_MUST_USE uint32_t table_lists_write(
    struct rocks *rocks, uint64_t bound, struct cistern_error *error);
/* Every state recorded in `db` becomes one of the backend, by name; visit (may be NULL) gets the
 * pair. */
typedef uint32_t (*table_visit_fn)(
    void *arg, struct rocks_state *state, struct shim_family *source, struct cistern_error *error);
CISTERN_MUST_USE uint32_t table_restore(struct rocks *rocks, struct shim_db *db, const char *object,
    table_visit_fn visit, void *arg, struct cistern_error *error);

/* snapshot.c, canonical.c */
uint32_t snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error);
uint32_t snapshot_next(
    struct cistern_snapshot *snapshot, struct cistern_part *ret_part, struct cistern_error *error);
uint32_t snapshot_read(struct cistern_snapshot *snapshot, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error);
void snapshot_release(struct cistern_snapshot *snapshot);
struct canonical;
CISTERN_MUST_USE uint32_t canonical_open(struct rocks *rocks,
    const struct cistern_snapshot_request *request, struct canonical **ret_canonical,
    struct cistern_error *error);
CISTERN_MUST_USE uint32_t canonical_read(struct canonical *canonical, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error);
void canonical_close(struct canonical *canonical);

/* restore.c, restore_native.c, restore_seg.c */
uint32_t restore_run(struct cistern_backend *backend, const struct cistern_source *source,
    struct cistern_error *error);
CISTERN_MUST_USE uint32_t restore_native(struct rocks *rocks, const struct cistern_source *source,
    const struct cistern_part *first, struct cistern_error *error);
CISTERN_MUST_USE uint32_t restore_seg(struct rocks *rocks, const struct cistern_source *source,
    const struct cistern_part *part, struct cistern_error *error);

#endif
