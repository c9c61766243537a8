/*
 * heap_private.h -- the object store of one backend: what its parts share.
 *
 * Epochs: heap.epoch is the epoch entries are written in. begin of a snapshot takes the present
 *         one as its own and moves the heap to the next: an entry is in snapshot s iff stamp <=
 *         s < died. With one snapshot in flight at most, an entry younger than it is one stamped
 *         with the present epoch.
 * Flight: a snapshot's reader runs on another thread and shares with the owner: segment.owed,
 *         the two words of an entry that dies, and struct flight. Everything else here is the
 *         owner's.
 */
#ifndef CISTERN_HEAPSTATE_HEAP_PRIVATE_H
#define CISTERN_HEAPSTATE_HEAP_PRIVATE_H

#include "cistern/backend_ops.h"
#include "cistern/hash.h"
#include "cistern/heap.h"
#include "chain_private.h"
#include "dirty_private.h"
#include "index_private.h"
#include "order_private.h"
#include "segment_private.h"

/* Lookups in flight at once: more saturates the line-fill buffers */
#define HEAP_PREFETCH_GROUP 16u
#define HEAP_CLEAN_SEGMENTS_MAX 64u /* victims one failing call may clean: enough up to 98 % live */
/* Tombstones above 1/16 of the slot: bases are forgotten instead of them */
#define HEAP_TOMBSTONE_SHARE 16u
#define HEAP_EPOCH_SPAN (ENTRY_DELTA_MAX / 2u) /* survivors' stamps reach at most this far back */
#define HEAP_REDUCE_SCRATCH_BYTES 512u

enum log_end { LOG_FRESH, LOG_SURVIVORS, LOG_ENDS };

struct flight { /* the snapshot in flight, as the owner sees it */
    /* Atomic: set by begin, cleared by release; pairs with acquire in heap_reap() */
    uint32_t active;
    uint32_t given_up;      /* Atomic: the owner needed the memory; the reader answers ABORTED */
    uint32_t reaped;        /* owner only: the end was noticed */
    uint32_t completed;     /* written before `active` is cleared: the stream was read to its end */
    uint64_t stream_bytes;  /* likewise */
    uint64_t checkpoint_id; /* 0 = no record belongs to it */
};

struct cleaner {
    uint32_t victim;        /* segment number + 1; 0 = none */
    uint64_t offset;        /* of the next entry in it */
    uint64_t appended;      /* bytes since the pace was last set */
    uint64_t cleaned_bytes; /* statistics: survivors copied */
};

/* members of large maps and lists that no head reaches any more; see member_private.h */
struct condemned_range {
    uint64_t id;
    uint32_t next; /* numbers [next, end) are still there */
    uint32_t end;
};
struct condemned {
    struct condemned_range *ranges;
    uint32_t count;
    uint32_t capacity;
};

struct heap_state {
    struct cistern_state base;
    uint64_t entries; /* of maps: user keys */
    uint64_t bytes;
    struct order order; /* of timers */
    char *text; /* encoded descriptor, made from the two fields below and what never changes */
    struct cistern_ttl text_ttl;
    uint32_t text_reduce;
};

struct heap {
    struct cistern_backend base;
    struct cistern_component *log_component;
    struct cistern_component *index_component;
    struct segment_table segments;
    struct index index;
    struct dirty_pool dirty;
    struct chain chain;
    struct cleaner cleaner;
    struct flight flight;
    uint64_t epoch;
    uint64_t hash_seed;
    uint64_t wanted_bytes;   /* what the last LIMIT was refused */
    uint32_t open[LOG_ENDS]; /* segment numbers; SEGMENT_NONE */
    uint32_t pinned; /* a read is going on: spans were handed out, nothing may move or be freed */
    uint32_t empties_hint; /* a sealed segment or run may hold nothing live */
    uint32_t prune_wanted; /* confirmed_epoch rose while a snapshot was in flight */
    uint32_t ttl_state_count;
    uint32_t list_walk_count;       /* cursors over a list that are open */
    struct list_cursor *list_walks; /* the same, one behind the other */
    uint32_t sweep_credit;          /* batches since the last sweep */
    uint32_t sweep_held;            /* a restore is under way: objects come in parts */
    uint32_t sweep_bucket;          /* where the search for expired entries goes on */
    uint32_t has_merged_lists;      /* there may be heads with LIST_MERGED */
    uint64_t object_id_last;        /* counter of the last object id given or restored */
    struct condemned condemned;
    void *spare_walk; /* of the cursor closed last; NULL = none */
    uint64_t appended_bytes;
    uint64_t in_place_count;
    uint64_t overwrite_count;
    uint64_t tombstone_count;
    /* by state id; a row never changes once its state exists */
    struct entry_layout layouts[CISTERN_STATE_COUNT_MAX + 2]; /* the last one: of members */
};

static inline struct heap *heap_of(struct cistern_backend *backend)
{
    return (struct heap *)backend;
}

static inline struct heap_state *heap_state_of(struct heap *heap, uint32_t id)
{
    return (struct heap_state *)heap->base.states[id - 1];
}

/* Pairs with the release that ends a snapshot. */
static inline int heap_in_flight(const struct heap *heap)
{
    return __atomic_load_n(&heap->flight.active, __ATOMIC_ACQUIRE) != 0;
}

static inline int state_has_ttl(const struct heap_state *state)
{
    return state->base.descriptor.ttl.time_to_live_ms != 0;
}

/* now_ms: the wall clock's; states on event time go by the watermark. */
static inline int entry_expired(
    const struct heap_state *state, uint8_t flags, int64_t written_ms, int64_t now_ms)
{
    const struct cistern_ttl *ttl = &state->base.descriptor.ttl;
    return (flags & ENTRY_TTL) && cistern_ttl_expired(ttl, written_ms,
                                      ttl->event_time ? state->base.backend->watermark_ms : now_ms);
}

static inline uint64_t entry_stamp(const struct segment *segment, const struct entry *entry)
{
    return segment->base_epoch + entry->delta;
}

static inline void entry_parse_in(
    const struct heap *heap, const struct entry *entry, uint8_t flags, struct entry_view *view)
{
    entry_parse(entry, flags, &heap->layouts[entry->state_id], view);
}

/* ---- heap.c ---- */
/* Notices that the snapshot in flight has ended. Called at every entry that could profit. */
void heap_reap(struct heap *heap);
/* Takes `bytes` back of what the slot lent to others; 1 = there is room for them now. */
int heap_recall(struct heap *heap, uint64_t bytes);
/* Forgets what confirmed_epoch covers: dirty lists, tombstones. Waits for the snapshot in flight
 * to end. */
void heap_prune(struct heap *heap);
/* The snapshot in flight is given up: its segments are ordinary again, but for one its reader
 * may stand in. */
void heap_give_up_flight(struct heap *heap);

/* The state's descriptor as stored text: encoded anew only after it changed. */
CISTERN_MUST_USE uint32_t state_refresh_text(struct heap_state *state, struct cistern_error *error);

/* ---- log.c: where entries come to stand ---- */
/* A place for `bytes` (aligned) at the end of the log, or a run of its own; nothing is changed
 * until log_commit() but open segments. *ret_moved is set when entries may have moved: lookups
 * must be repeated. keep: empty segments to leave. LIMIT: no memory, and the cleaner gains none. */
CISTERN_MUST_USE uint32_t log_place(
    struct heap *heap, uint64_t bytes, uint32_t keep, uint32_t *ret_handle, int *ret_moved);
void log_commit(struct heap *heap, uint32_t handle, uint64_t bytes, int tombstone);
/* The place is not used after all. */
void log_cancel(struct heap *heap, uint32_t handle);
/* The entry is no longer indexed: dead for everybody but snapshots older than now. */
void log_kill(struct heap *heap, struct entry *entry, uint32_t handle, uint64_t bytes);
/* Stamps an entry that is about to be changed in place. 0 = it must not be: append instead. */
int log_touch(struct heap *heap, struct entry *entry, uint32_t handle);
/* The open end of the survivors' log with room for `bytes`; the place is committed by the
 * caller. 0 = no empty segment. */
uint32_t log_survivor_place(struct heap *heap, uint64_t bytes);
/* Lists an entry that differs from the last confirmed checkpoint. */
void log_list_dirty(struct heap *heap, struct segment *segment, uint32_t number, uint32_t handle);

/* ---- cleaner.c ---- */
/* Frees what is empty and cleans until more than `keep` empty segments are there, or nothing can
 * be gained: 0. */
int cleaner_make_room(struct heap *heap, uint32_t keep);
/* Cleans in proportion to `appended` bytes while memory is scarce. */
void cleaner_pace(struct heap *heap, uint64_t appended);
/* Scans up to `bytes` of victims whose live share is below the given part of 64. 0 = nothing to
 * gain. */
int cleaner_run(struct heap *heap, uint64_t bytes, uint32_t live_64ths);
/* Frees sealed segments and runs that hold nothing live. */
void cleaner_free_empties(struct heap *heap);
/* Looks at up to `count` buckets for expired entries; returns at how many: fewer where much had to
 * be changed. */
uint32_t cleaner_sweep_expired(struct heap *heap, uint32_t count, int64_t now_ms);

/* ---- value.c ---- */
struct lookup { /* an address with its hash */
    const struct cistern_address *address;
    uint64_t hash;
    const struct entry_layout *layout;
    uint8_t state_id;
};
/* Puts a value with its written time, whatever was there. */
CISTERN_MUST_USE uint32_t value_store(struct heap *heap, struct heap_state *state,
    const struct lookup *lookup, struct cistern_span value, int64_t written_ms);
/* For a restored file: 1 when the address is there, and when it was last written in the present
 * epoch. */
int value_is_current(struct heap *heap, const struct lookup *lookup);

uint32_t heap_get(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_span *ret_value, struct cistern_error *error);
uint32_t heap_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error);
uint32_t heap_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
uint32_t heap_add_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *inputs, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
uint32_t heap_remove_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error);

/* Lists and maps. */
uint32_t heap_clear_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error);
void heap_prefetch(
    struct cistern_state *state, const struct cistern_address *addresses, uint32_t count);

/* ---- list.c, list_merge.c, list_cursor.c ---- */
uint32_t heap_list_append(struct cistern_state *state, const struct cistern_address *address,
    const struct cistern_span *elements, uint32_t count, struct cistern_error *error);
uint32_t heap_list_replace(struct cistern_state *state, const struct cistern_address *address,
    const struct cistern_span *elements, uint32_t count, struct cistern_error *error);
uint32_t heap_list_merge(struct cistern_state *state, const struct cistern_address *target,
    const struct cistern_span *name_spaces, uint32_t count, struct cistern_error *error);
uint32_t heap_list_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error);

/* ---- map.c, map_cursor.c ---- */
uint32_t heap_map_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, uint32_t count, struct cistern_span *ret_values,
    uint8_t *ret_present, struct cistern_error *error);
uint32_t heap_map_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error);
uint32_t heap_map_remove_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
uint32_t heap_map_count(struct cistern_state *state, const struct cistern_address *address,
    uint64_t count_max, uint64_t *ret_count, struct cistern_error *error);
uint32_t heap_map_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error);

/* ---- timer.c ---- */
uint32_t heap_timer_add_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
uint32_t heap_timer_remove_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);
uint32_t heap_timer_next(
    struct cistern_state *state, int64_t *ret_timestamp_ms, struct cistern_error *error);
uint32_t heap_timer_pop_due(struct cistern_state *state, int64_t up_to_ms,
    struct cistern_entry *ret_timers, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error);

/* ---- cursor.c, snapshot.c, restore.c ---- */
uint32_t heap_keys_open(struct cistern_state *state, const struct cistern_span *name_space,
    struct cistern_cursor **ret_cursor, struct cistern_error *error);
uint32_t heap_entries_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error);
uint32_t heap_cursor_next(struct cistern_cursor *cursor, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error);
void heap_cursor_close(struct cistern_cursor *cursor);
uint32_t heap_snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error);
uint32_t heap_snapshot_next(
    struct cistern_snapshot *snapshot, struct cistern_part *ret_part, struct cistern_error *error);
uint32_t heap_snapshot_read(struct cistern_snapshot *snapshot, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error);
void heap_snapshot_release(struct cistern_snapshot *snapshot);
uint32_t heap_restore(struct cistern_backend *backend, const struct cistern_source *source,
    struct cistern_error *error);

#endif
