/*
 * backend_ops.h -- how a backend plugs in. For implementers (heapstate/, rocks/, a host's own);
 * hosts use backend.h.
 *
 * state/ validates before it calls: kinds, sizes, key groups, counts and overlap of threads are
 * already right when an op runs. Each object's first member is the struct below, filled by
 * cistern_backend_init() / the op that creates it.
 */
#ifndef CISTERN_BACKEND_OPS_H
#define CISTERN_BACKEND_OPS_H

#include "cistern/backend.h"
#include "cistern/pool.h"
#include "cistern/snapshot.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_backend_ops {
    /* sizeof(struct cistern_backend_ops) of the implementer: a backend built against an older
     * table is refused */
    uint64_t size;
    const char *name;
    uint32_t (*close)(struct cistern_backend *backend, struct cistern_error *error);
    uint32_t (*step)(
        struct cistern_backend *backend, int64_t deadline_ns, struct cistern_error *error);
    uint32_t (*explain)(struct cistern_backend *backend, struct cistern_error *error);
    /* Creates the state; calls cistern_state_init() on it, which enters it nowhere: state/ does
     * that after OK. The descriptor is validated; a restored twin was compared. */
    uint32_t (*state_create)(struct cistern_backend *backend,
        const struct cistern_state_descriptor *descriptor, uint32_t id,
        struct cistern_state **ret_state, struct cistern_error *error);
    /* A restored twin gets its live descriptor (reduce function, TTL) when the host registers
     * it. state->descriptor still is the stored one inside the op; state/ puts reducer and TTL
     * into it after OK. NULL: nothing to do. */
    uint32_t (*state_adopt)(struct cistern_state *state,
        const struct cistern_state_descriptor *descriptor, struct cistern_error *error);
    void (*state_destroy)(struct cistern_state *state);
    uint32_t (*value_get_many)(struct cistern_state *state, const struct cistern_address *addresses,
        uint32_t count, struct cistern_span *ret_values, struct cistern_error *error);
    uint32_t (*value_put_many)(struct cistern_state *state, const struct cistern_address *addresses,
        const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
        struct cistern_error *error);
    uint32_t (*value_add_many)(struct cistern_state *state, const struct cistern_address *addresses,
        const struct cistern_span *inputs, uint32_t count, uint32_t *ret_done,
        struct cistern_error *error);
    uint32_t (*value_remove_many)(struct cistern_state *state,
        const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
        struct cistern_error *error);
    uint32_t (*entries_open)(struct cistern_state *state, struct cistern_cursor **ret_cursor,
        struct cistern_error *error);
    uint32_t (*cursor_next)(struct cistern_cursor *cursor, struct cistern_entry *ret_entries,
        uint32_t capacity, uint32_t *ret_count, struct cistern_error *error);
    void (*cursor_close)(struct cistern_cursor *cursor);
    uint32_t (*state_measure)(struct cistern_state *state, uint64_t *ret_entries,
        uint64_t *ret_bytes, struct cistern_error *error);
    uint32_t (*snapshot_begin)(struct cistern_backend *backend,
        const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
        struct cistern_error *error);
    uint32_t (*snapshot_next)(struct cistern_snapshot *snapshot, struct cistern_part *ret_part,
        struct cistern_error *error);
    uint32_t (*snapshot_read)(struct cistern_snapshot *snapshot, struct cistern_bytes into,
        uint64_t *ret_bytes, struct cistern_error *error);
    void (*snapshot_release)(struct cistern_snapshot *snapshot);
    void (*notify)(struct cistern_backend *backend, uint64_t checkpoint_id, uint32_t outcome);
    uint32_t (*restore)(struct cistern_backend *backend, const struct cistern_source *source,
        struct cistern_error *error);
    /* ---- kinds: those below may be NULL as long as state_create refuses the kind. Meaning:
     * list.h, map.h, timer.h, keys.h. All inputs may be spans that the backend itself handed
     * out. ---- */
    uint32_t (*list_append)(struct cistern_state *state, const struct cistern_address *address,
        const struct cistern_span *elements, uint32_t count, struct cistern_error *error);
    /* count > 0 */
    uint32_t (*list_replace)(struct cistern_state *state, const struct cistern_address *address,
        const struct cistern_span *elements, uint32_t count, struct cistern_error *error);
    uint32_t (*list_merge)(struct cistern_state *state, const struct cistern_address *target,
        const struct cistern_span *source_namespaces, uint32_t source_count,
        struct cistern_error *error);
    uint32_t (*list_open)(struct cistern_state *state, const struct cistern_address *address,
        struct cistern_cursor **ret_cursor, struct cistern_error *error);
    /* ret_present may be NULL */
    uint32_t (*map_get_many)(struct cistern_state *state, const struct cistern_address *addresses,
        const struct cistern_span *user_keys, uint32_t count, struct cistern_span *ret_values,
        uint8_t *ret_present, struct cistern_error *error);
    uint32_t (*map_put_many)(struct cistern_state *state, const struct cistern_address *addresses,
        const struct cistern_span *user_keys, const struct cistern_span *values, uint32_t count,
        uint32_t *ret_done, struct cistern_error *error);
    uint32_t (*map_remove_many)(struct cistern_state *state,
        const struct cistern_address *addresses, const struct cistern_span *user_keys,
        uint32_t count, uint32_t *ret_done, struct cistern_error *error);
    /* Counts no further than count_max. */
    uint32_t (*map_count)(struct cistern_state *state, const struct cistern_address *address,
        uint64_t count_max, uint64_t *ret_count, struct cistern_error *error);
    uint32_t (*map_open)(struct cistern_state *state, const struct cistern_address *address,
        struct cistern_cursor **ret_cursor, struct cistern_error *error);
    uint32_t (*timer_add_many)(struct cistern_state *state, const int64_t *timestamps_ms,
        const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
        struct cistern_error *error);
    uint32_t (*timer_remove_many)(struct cistern_state *state, const int64_t *timestamps_ms,
        const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
        struct cistern_error *error);
    uint32_t (*timer_next)(
        struct cistern_state *state, int64_t *ret_timestamp_ms, struct cistern_error *error);
    uint32_t (*timer_pop_due)(struct cistern_state *state, int64_t up_to_ms,
        struct cistern_entry *ret_timers, uint32_t capacity, uint32_t *ret_count,
        struct cistern_error *error);
    /* Lists and maps. */
    uint32_t (*clear_many)(struct cistern_state *state, const struct cistern_address *addresses,
        uint32_t count, uint32_t *ret_done, struct cistern_error *error);
    /* name_space NULL = every one; its bytes are copied. Any kind but timers. */
    uint32_t (*keys_open)(struct cistern_state *state, const struct cistern_span *name_space,
        struct cistern_cursor **ret_cursor, struct cistern_error *error);
    /* Optional: one address; *ret_value absent = not there. NULL: value_get_many is called. */
    uint32_t (*value_get)(struct cistern_state *state, const struct cistern_address *address,
        struct cistern_span *ret_value, struct cistern_error *error);
    /* Optional. */
    void (*prefetch)(
        struct cistern_state *state, const struct cistern_address *addresses, uint32_t count);
};

struct cistern_backend {
    const struct cistern_backend_ops *ops;
    struct cistern_slot *slot;
    /* operator_id is a copy of ours; value_bytes_max is resolved */
    struct cistern_backend_options options;
    struct cistern_state **states; /* [CISTERN_STATE_COUNT_MAX]; id - 1 is the index */
    /* the highest id in use; after a restore with gaps states[id - 1] below it may be NULL */
    uint32_t state_count;
    /* written by begin (owner) and release (transfer thread): __atomic builtins */
    uint32_t snapshots_in_flight;
    uint64_t inside;             /* thread inside, 0 = none; checked when assertions are on */
    uint64_t checkpoint_id_last; /* of the last snapshot begun; owner only */
    int64_t watermark_ms;        /* the clock of event-time TTL; INT64_MIN at first */
};

struct cistern_state {
    struct cistern_backend *backend;
    struct cistern_state_descriptor descriptor; /* name and serializer are copies of ours */
    uint32_t id;
    uint32_t registered;         /* 0 = restored, the host has not registered it yet */
    uint8_t serializer_hash[16]; /* XXH3-128; zero when there is no serializer */
};

struct cistern_cursor {
    struct cistern_state *state;
};

struct cistern_snapshot {
    struct cistern_backend *backend;
    uint64_t checkpoint_id;
    struct cistern_state_info *states; /* filled by cistern_snapshot_begin() */
    uint32_t state_count;
    uint32_t reserved;
};

/* Fills `backend`; validates and copies options. value_bytes_max_default is used when options
 * leave it 0. */
CISTERN_MUST_USE uint32_t cistern_backend_init(struct cistern_backend *backend,
    const struct cistern_backend_ops *ops, struct cistern_slot *slot,
    const struct cistern_backend_options *options, uint64_t value_bytes_max_default,
    struct cistern_error *error);
/* Destroys the states that are left (state_destroy) and what init allocated. */
void cistern_backend_deinit(struct cistern_backend *backend);
/* Copies the descriptor into `state`. */
CISTERN_MUST_USE uint32_t cistern_state_init(struct cistern_state *state,
    struct cistern_backend *backend, const struct cistern_state_descriptor *descriptor, uint32_t id,
    struct cistern_error *error);
void cistern_state_deinit(struct cistern_state *state);
/* Restore: creates a state from a stored descriptor, not yet registered by the host. stored_id:
 *          what cistern_descriptor_decode()
 * gave; kept when it is free, else (slices whose hosts registered in another order) the next
 * free one: read ret_state->id. The same name twice (two slices, or a chain of files) returns
 * the first; another kind, size or serializer is MISMATCH and names the field; reducer and TTL
 * of the later one win. */
CISTERN_MUST_USE uint32_t cistern_backend_state_restored(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint32_t stored_id,
    struct cistern_state **ret_state, struct cistern_error *error);

/* A descriptor as stored bytes: JSON, keys sorted; what `.seg` tables and RocksDB's own copy
 * hold (docs/FORMAT.md).
 * encode: *ret_text is allocated with cistern_allocate(). decode: strings and serializer are
 *         allocated into one block that
 * *ret_storage owns. */
CISTERN_MUST_USE uint32_t cistern_descriptor_encode(
    const struct cistern_state_descriptor *descriptor, uint32_t id, char **ret_text,
    struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_descriptor_decode(const char *text, uint64_t text_bytes,
    const char *object, struct cistern_state_descriptor *ret_descriptor, uint32_t *ret_id,
    void **ret_storage, struct cistern_error *error);

/* Applies a reducer to one value. result must have room for 8 bytes with a built-in one.
 * INVALID: an operand that is not 8 bytes;
 * LIMIT: *ret_bytes > capacity, repeat with room. */
CISTERN_MUST_USE uint32_t cistern_reduce_apply(const struct cistern_state_descriptor *descriptor,
    struct cistern_span old_value, struct cistern_span input, struct cistern_bytes result,
    uint64_t *ret_bytes, struct cistern_error *error);

/* TTL rule of Flink: expired iff written + min(ttl, INT64_MAX - written if written > 0) <= now. */
int cistern_ttl_expired(const struct cistern_ttl *ttl, int64_t written_ms, int64_t now_ms);
/* The present moment for a state's TTL: the wall clock or the backend's watermark. */
int64_t cistern_state_now_ms(const struct cistern_state *state);

#ifdef __cplusplus
}
#endif
#endif
