/*
 * snapshot.h -- how a backend's state leaves it (snapshot) and enters it (restore): parts, pulled
 * by whoever carries them.
 *
 * begin is the synchronous part: it marks the moment, copies nothing. The handle then belongs to
 * the transfer thread until release. Pull-based, so that the carrier decides when memory for the
 * next bytes exists; release at any moment = abort.
 */
#ifndef CISTERN_SNAPSHOT_H
#define CISTERN_SNAPSHOT_H

#include "cistern/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_snapshot;

#define CISTERN_SNAPSHOTS_IN_FLIGHT_MAX                                                            \
    1u /* a second begin answers BUSY until the first handle is released */
#define CISTERN_ORIGIN_BYTES 24u

enum cistern_snapshot_kind {
    CISTERN_SNAPSHOT_FULL, /* native, refers to no earlier checkpoint */
    /* native, refers to parts of base_checkpoint_id; a backend may answer with more */
    CISTERN_SNAPSHOT_INCREMENT,
    /* one container of all entries, the same from every backend: savepoints */
    CISTERN_SNAPSHOT_CANONICAL
};
struct cistern_snapshot_request {
    uint64_t checkpoint_id; /* > every earlier one */
    /* the last CONFIRMED one; 0 = none. An id the backend has no record of is treated as 0 */
    uint64_t base_checkpoint_id;
    uint32_t kind;
    uint32_t reserved;
    /* optional: next() answers BUSY until this was called; any thread; may only post a message */
    void (*ready)(void *arg);
    void *ready_arg;
};
CISTERN_MUST_USE uint32_t cistern_snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error);

enum cistern_part_kind {
    /* an immutable local file that outlives the snapshot's release only if linked or copied
     * before */
    CISTERN_PART_FILE,
    CISTERN_PART_STREAM, /* bytes, read with cistern_snapshot_read() */
    CISTERN_PART_REUSE   /* already stored with the base checkpoint: `origin` says which */
};
enum cistern_part_role { /* on disk: append-only numbers */
    CISTERN_ROLE_SST = 1,
    CISTERN_ROLE_ROCKS_MANIFEST = 2,
    CISTERN_ROLE_HEAP_BASE = 3,
    CISTERN_ROLE_HEAP_INCREMENT = 4,
    CISTERN_ROLE_CANONICAL = 5
};
/* "sst", "rocks-manifest", "heap-base", ...; NULL = none */
const char *cistern_part_role_name(uint32_t role);
CISTERN_MUST_USE uint32_t cistern_part_role_parse(const char *name, uint32_t *ret_role);

struct cistern_part {
    uint32_t kind;
    uint32_t role;
    const char *local_path; /* FILE only; valid until the next call on the snapshot */
    /* name inside the backend's own directory (rocks); NULL = none. Same validity */
    const char *restore_name;
    uint64_t bytes; /* FILE and REUSE: known; STREAM: 0 on the way out, known on restore */
    uint8_t content_hash[16]; /* XXH3-128 canonical; valid when has_hash */
    uint32_t has_hash;
    /* restore: which slice of the checkpoint the part belongs to; 0 on the way out */
    uint32_t slice_index;
    /* who made these bytes: RocksDB's unique id, or the heap's file id; never re-used */
    uint8_t origin[CISTERN_ORIGIN_BYTES];
    struct cistern_key_group_range range;
};
/* The next part. BUSY: not ready yet. NOT_FOUND: no more. ABORTED: the backend gave this
 * snapshot up; error says why. */
CISTERN_MUST_USE uint32_t cistern_snapshot_next(
    struct cistern_snapshot *snapshot, struct cistern_part *ret_part, struct cistern_error *error);
/* The current STREAM part's next bytes; 0 = its end. */
CISTERN_MUST_USE uint32_t cistern_snapshot_read(struct cistern_snapshot *snapshot,
    struct cistern_bytes into, uint64_t *ret_bytes, struct cistern_error *error);
/* The states as of begin. */
CISTERN_MUST_USE uint32_t cistern_snapshot_states(struct cistern_snapshot *snapshot,
    struct cistern_state_info *ret_states, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error);
void cistern_snapshot_release(struct cistern_snapshot *snapshot);

enum cistern_outcome { CISTERN_CONFIRMED, CISTERN_DISCARDED, CISTERN_SUBSUMED };
/* Owner's thread; any order, repeats and unknown ids allowed. */
void cistern_backend_notify(
    struct cistern_backend *backend, uint64_t checkpoint_id, uint32_t outcome);

/* What restore feeds a backend from; implemented by checkpoint/ and by anything that can hand
 * out parts in order: slice by slice, and inside a slice oldest first. */
struct cistern_source {
    void *arg;
    const char *backend; /* who wrote the parts: "heap", "rocks", "canonical" */
    uint32_t slice_count;
    uint32_t reserved;
    /* NOT_FOUND = no more parts. */
    uint32_t (*next)(void *arg, struct cistern_part *ret_part, struct cistern_error *error);
    /* Bytes of the current part. Fewer than asked only at its end; the bytes of a whole
     * sequential read are verified against the part's hash when its last byte is returned. */
    uint32_t (*read)(void *arg, uint64_t offset_bytes, struct cistern_bytes into,
        uint64_t *ret_bytes, struct cistern_error *error);
    /* Puts the current part at local_path by the cheapest way (hard link, else copy); the result
     * must not be written to. */
    uint32_t (*link)(void *arg, const char *local_path, struct cistern_error *error);
    /* Where the current part comes from, for messages. Never NULL. */
    const char *(*describe)(void *arg);
};
/* Into a backend that holds nothing yet (BUSY otherwise). Takes what lies in the backend's
 * key-group range from any number of slices. UNSUPPORTED: it cannot read what the other backend
 * wrote; the message says which way leads there. After a failure the backend is empty or must be
 * closed: the error says which. */
CISTERN_MUST_USE uint32_t cistern_backend_restore(struct cistern_backend *backend,
    const struct cistern_source *source, struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
