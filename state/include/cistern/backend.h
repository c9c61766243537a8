/*
 * backend.h -- keyed state: what a host reads and writes, whichever backend holds it.
 *
 * Threads:  exclusive, not affine. At most one thread is inside one backend (and its cursors) at a
 *           time; any thread may be the next. The caller supplies the happens-before (a mailbox or
 *           a lock does). Builds with assertions detect overlap. Snapshots belong to other threads
 *           (snapshot.h).
 * Borrowed: spans in results stay valid until the next call on the same backend, of whatever kind.
 *           Inputs are copied before the call returns.
 * Errors:   NOT_FOUND and LIMIT from a data call fill no detail (formatting it would be the slow
 *           path's slow path); after LIMIT ask cistern_backend_explain(). After LIMIT nothing of
 *           that item is applied; in *_many the items [0, done) are applied and the rest are
 *           untouched.
 * Calls per kind: here for value, reducing and aggregating states; list.h, map.h, timer.h for the
 * others; keys.h for what concerns whole keys and namespaces.
 * Constructors live with their modules: cistern_heap_open() (heap.h), cistern_rocks_open()
 * (rocks.h).
 */
#ifndef CISTERN_BACKEND_H
#define CISTERN_BACKEND_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_backend;
struct cistern_state;
struct cistern_cursor;

#define CISTERN_MAX_PARALLELISM_MAX 32768u /* Flink's upper bound */
#define CISTERN_KEY_BYTES_MAX 65535u       /* of a key, and of a namespace */
#define CISTERN_BATCH_COUNT_MAX 1024u      /* items of one *_many call; more is INVALID */
#define CISTERN_STATE_COUNT_MAX 250u
#define CISTERN_STATE_NAME_BYTES_MAX 200u

struct cistern_key_group_range { /* inclusive */
    uint32_t first;
    uint32_t last;
};

/* Shared by every constructor. */
struct cistern_backend_options {
    uint32_t max_parallelism;             /* required: 1..32768 */
    struct cistern_key_group_range range; /* required: what this backend owns */
    uint32_t reserved;
    /* NULL = "operator"; names the operator in messages and in manifests */
    const char *operator_id;
    /* 0 = slot limit / 4 (heap), / 40 (rocks); above it INVALID names both numbers */
    uint64_t value_bytes_max;
};

CISTERN_MUST_USE uint32_t cistern_backend_close(
    struct cistern_backend *backend, struct cistern_error *error);
/* Idle work: cleaner, reclaim asked for by others. Returns at the deadline (absolute
 *            cistern_now_ns()) at the latest, give or
 * take one step of 1 ms. */
CISTERN_MUST_USE uint32_t cistern_backend_step(
    struct cistern_backend *backend, int64_t deadline_ns, struct cistern_error *error);
/* Why the last call answered LIMIT: tries once more to make room without waiting, and if there
 * is none fills the detail with slot, component, bytes, holders and the option to raise. OK:
 * there is room now, repeat the call. */
CISTERN_MUST_USE uint32_t cistern_backend_explain(
    struct cistern_backend *backend, struct cistern_error *error);
/* The clock of states whose TTL runs on event time: entries are stamped with it and expire by it.
 * INT64_MIN at first, and what is written then does not expire; a value below the present one is
 * ignored. It is part of a checkpoint. */
void cistern_backend_set_watermark(struct cistern_backend *backend, int64_t watermark_ms);
const char *cistern_backend_name(const struct cistern_backend *backend); /* "heap", "rocks" */
const struct cistern_backend_options *cistern_backend_options_of(
    const struct cistern_backend *backend);

/* Key groups, Flink's formulas, exact. Source: KeyGroupRangeAssignment and MathUtils.murmurHash
 * of Apache Flink. */
uint32_t cistern_key_group_java(uint32_t java_hash_code, uint32_t max_parallelism);
/* For hosts whose keys are plain bytes: murmur over the low 32 bits of XXH3-64(key); recorded as
 * "bytes-xxh3" in JOB. */
uint32_t cistern_key_group_bytes(struct cistern_span key, uint32_t max_parallelism);
/* The operator (slot) index that owns a key group: group * parallelism / max_parallelism. */
uint32_t cistern_key_group_owner(
    uint32_t key_group, uint32_t max_parallelism, uint32_t parallelism);
/* The inclusive range of operator `index`: [ceil(index * max / parallelism), ceil((index + 1) *
 * max / parallelism) - 1]. */
struct cistern_key_group_range cistern_key_group_range_of(
    uint32_t index, uint32_t max_parallelism, uint32_t parallelism);
/* min(max(round up to a power of two(1.5 x parallelism), 128), 32768). */
uint32_t cistern_max_parallelism_default(uint32_t parallelism);

enum cistern_state_kind {
    CISTERN_VALUE = 1,
    CISTERN_LIST = 2,
    CISTERN_MAP = 3,
    CISTERN_REDUCING = 4,
    CISTERN_AGGREGATING = 5,
    CISTERN_TIMERS = 6,
    CISTERN_OPERATOR_LIST = 7,
    CISTERN_OPERATOR_UNION = 8,
    CISTERN_BROADCAST = 9
};
/* "value", "list", ...; NULL for a number that is none */
const char *cistern_state_kind_name(uint32_t kind);

/* Reducers inside the library: the value is an 8-byte big-endian two's-complement integer
 * (Flink's LongSerializer). */
enum cistern_reduce {
    CISTERN_REDUCE_NONE,
    CISTERN_REDUCE_SUM_I64,
    CISTERN_REDUCE_MIN_I64,
    CISTERN_REDUCE_MAX_I64
};
/* "none", "sum_i64", ...; NULL for a number that is none */
const char *cistern_reduce_name(uint32_t reduce);
/* Combines into an accumulator: old_value may be absent; writes at most result.capacity_bytes
 * and returns the size wanted (the call is repeated with room if that is larger). Must not call
 * the library. */
typedef uint64_t (*cistern_reduce_fn)(void *arg, struct cistern_span old_value,
    struct cistern_span input, struct cistern_bytes result);

/* Turns a stored value into the form of the serializer at hand; same rules as cistern_reduce_fn. */
typedef uint64_t (*cistern_migrate_fn)(
    void *arg, struct cistern_span old_value, struct cistern_bytes result);

struct cistern_ttl { /* all zero = no TTL */
    int64_t time_to_live_ms;
    uint32_t update_on_read; /* 0 = OnCreateAndWrite, 1 = OnReadAndWrite */
    uint32_t return_expired; /* 0 = NeverReturnExpired, 1 = ReturnExpiredIfNotCleanedUp */
    uint32_t event_time;     /* 0 = processing time, 1 = cistern_backend_set_watermark() */
    uint32_t reserved;
    /* of a stored descriptor: the watermark when the checkpoint was taken. Not looked at
     * elsewhere */
    int64_t watermark_ms;
};

struct cistern_state_descriptor {
    const char *name; /* [A-Za-z0-9._-], 1..200 bytes; copied */
    uint32_t kind;    /* enum cistern_state_kind */
    /* 0 = variable; else every key has this size, and it is not stored per entry */
    uint32_t key_bytes;
    uint32_t namespace_bytes; /* likewise; only looked at when a namespace is given */
    uint32_t user_key_bytes;
    uint32_t value_bytes;
    uint32_t reduce; /* enum cistern_reduce; REDUCING and AGGREGATING need this or reduce_fn */
    cistern_reduce_fn reduce_fn;
    void *reduce_arg;
    struct cistern_ttl ttl;
    /* opaque; stored, compared on restore, shown by the tools; at most 4096 bytes; copied */
    struct cistern_span serializer;
    /* AGGREGATING with reduce_fn: combines two accumulators (cistern_state_merge()); called with
     * reduce_arg. NULL: reduce_fn does that, too */
    cistern_reduce_fn merge_fn;
    /* Evolution: the serializer that `serializer` is the next version of; absent = none. A restored
     * state that has it is taken over with the new one. Only values may change their form: keys,
     * namespaces and user keys must stay as they are */
    struct cistern_span replaces;
    /* Called for every value, element or user value of such a state before the registration
     * returns. NULL: they stay as they are, and the host reads both forms */
    cistern_migrate_fn migrate_fn;
    void *migrate_arg;
};
/* MISMATCH: the state was restored with another kind, size or serializer: names the field and
 *           both values. A migrate_fn that cannot be carried through (LIMIT, IO, ...) leaves
 *           some values in the new form: close the backend and restore again. UNSUPPORTED: the
 * backend does not hold this kind (it names which it does). INVALID; LIMIT:
 * CISTERN_STATE_COUNT_MAX. EXISTS: registered twice with another descriptor (the same one again
 * returns the same state). */
CISTERN_MUST_USE uint32_t cistern_state_register_sized(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint64_t descriptor_bytes,
    struct cistern_state **ret_state, struct cistern_error *error);
#define cistern_state_register(backend, descriptor, ret_state, error)                              \
    cistern_state_register_sized(                                                                  \
        (backend), (descriptor), sizeof(struct cistern_state_descriptor), (ret_state), (error))

/* After the last registration: MISMATCH names a restored state that nobody registered, because it
 * was renamed or dropped. Its entries are kept, and in every checkpoint, until somebody does. */
CISTERN_MUST_USE uint32_t cistern_backend_check_registered(
    const struct cistern_backend *backend, struct cistern_error *error);

struct cistern_address {     /* where a value lives */
    struct cistern_span key; /* at most CISTERN_KEY_BYTES_MAX */
    /* absent = the void namespace, which is not the empty one; at most the same size */
    struct cistern_span name_space;
    /* the CALLER computes it: Flink's group hashes the Java object, not these bytes */
    uint32_t key_group;
    uint32_t reserved;
};
struct cistern_entry {
    struct cistern_address address;
    struct cistern_span user_key;
    struct cistern_span value;
    int64_t written_ms; /* with TTL: when it was last written; else 0 */
};

/* value, reducing, aggregating. The batch calls are the primitive; a single call is a batch of
 * one. An address whose group is outside the backend's range, or a key, namespace or value of a
 * size the descriptor forbids, is INVALID with detail. */
CISTERN_MUST_USE uint32_t cistern_value_get(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span *ret_value,
    struct cistern_error *error); /* NOT_FOUND */
CISTERN_MUST_USE uint32_t cistern_value_put(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span value, struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_value_add(struct cistern_state *state,
    const struct cistern_address *address, struct cistern_span input,
    struct cistern_error *error); /* REDUCING and AGGREGATING only */
CISTERN_MUST_USE uint32_t cistern_value_remove(struct cistern_state *state,
    const struct cistern_address *address,
    struct cistern_error *error); /* OK whether it was there or not */
CISTERN_MUST_USE uint32_t cistern_value_get_many(struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, struct cistern_span *ret_values,
    struct cistern_error *error); /* absent = data NULL */
CISTERN_MUST_USE uint32_t cistern_value_put_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_value_add_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *inputs, uint32_t count,
    uint32_t *ret_done,
    struct cistern_error *error); /* repeated keys in one batch are applied in order */
CISTERN_MUST_USE uint32_t cistern_value_remove_many(struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error);

/* Every entry of a state, any namespace, in no order: of a map one per user key, of a list one
 * per element (those of one list in order), of timers one per timer. A cursor sees every entry
 * present from open to close exactly once; an entry added or changed meanwhile is seen in its
 * new form, its old form or not at all; removing what was returned is always allowed. It pins no
 * memory between calls beyond 64 KiB. */
CISTERN_MUST_USE uint32_t cistern_entries_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error);
/* ret_count 0 = end. Spans stay valid until the next call on the backend. capacity >= 1. */
CISTERN_MUST_USE uint32_t cistern_cursor_next(struct cistern_cursor *cursor,
    struct cistern_entry *ret_entries, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error);
void cistern_cursor_close(struct cistern_cursor *cursor);

struct cistern_state_info { /* one registered or restored state */
    char name[CISTERN_STATE_NAME_BYTES_MAX + 1];
    uint32_t id; /* 1.. in order of registration; kept across restores of one backend */
    uint32_t kind;
    uint64_t entries; /* exact for heap; RocksDB's estimate for rocks */
    uint64_t bytes;   /* live bytes of keys, namespaces and values; an estimate for rocks */
    int64_t time_to_live_ms;
    uint64_t serializer_bytes;
    uint8_t serializer_hash[16]; /* XXH3-128; zero when serializer_bytes is 0 */
};
CISTERN_MUST_USE uint32_t cistern_backend_states(struct cistern_backend *backend,
    struct cistern_state_info *ret_states, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
