/*
 * writer.h -- the one writer of a job: uploads parts, publishes checkpoints, retires old ones.
 *
 * At most one writer completes checkpoints of a root: it appends `takeover` to the commit log when
 * it opens, and every later record must be the next number of that dense log. A writer that finds
 * its number taken is FENCED: stop, commit nothing.
 * Nothing is lost: data is durable before the manifest, the manifest before the log record, and the
 *                  record is one atomic
 * create. Nothing is invented: what has no record was never a checkpoint.
 * Threads: open, publish, retire, finish, close: one at a time, not the I/O thread (they block).
 *          upload_begin: any thread; the upload itself runs on the I/O thread.
 */
#ifndef CISTERN_WRITER_H
#define CISTERN_WRITER_H

#include "cistern/snapshot.h"
#include "cistern/store.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_writer;
struct cistern_upload;

#define CISTERN_SLICE_BYTES_MAX (64u << 10)
#define CISTERN_JOB_STATE_BYTES_MAX (20u << 10)

enum cistern_writer_start {
    /* EXISTS: the root has a checkpoint of this job (the message says how to continue from it) */
    CISTERN_START_NEW,
    /* goes on after the newest record; creates the job when the root is empty */
    CISTERN_START_CONTINUE,
};
struct cistern_writer_options {
    /* required: [a-z0-9._-], 1..64 bytes. MISMATCH: the root belongs to another job */
    const char *job_name;
    /* "bytes-xxh3" or "java"; recorded in JOB. MISMATCH when it differs */
    const char *key_group_hash;
    uint32_t max_parallelism; /* required. MISMATCH when the root has another one */
    uint32_t start;           /* enum cistern_writer_start */
    /* 1 = take the root from a live writer on this host (it will find itself fenced) */
    uint32_t takeover;
    uint32_t slot_count; /* required: slices per checkpoint */
};
/* BUSY: another writer holds LOCK; the message names host, pid and since when, and says how to
 *       take over. A holder that is
 * stopped (SIGSTOP) or gone is taken over with a warning in the log. MISMATCH, EXISTS: see
 * options. CORRUPT: JOB or the log's newest records. Sweeps nothing: what earlier attempts left
 * goes with the first publish. */
CISTERN_MUST_USE uint32_t cistern_writer_open_sized(struct cistern_store *store,
    const struct cistern_writer_options *options, uint64_t options_bytes,
    struct cistern_writer **ret_writer, struct cistern_error *error);
#define cistern_writer_open(store, options, ret_writer, error)                                     \
    cistern_writer_open_sized(                                                                     \
        (store), (options), sizeof(struct cistern_writer_options), (ret_writer), (error))
/* Uploads must be done. NULL is fine. */
void cistern_writer_close(struct cistern_writer *writer);
uint64_t cistern_writer_epoch(const struct cistern_writer *writer);
/* newest in the log at open; 0 = none */
uint64_t cistern_writer_latest_checkpoint_id(const struct cistern_writer *writer);
/* A directory on the root's file system for this writer's own working files (RocksDB's live
 * files): tmp/local-e<epoch>. Created; swept by the next holder. NULL for memory:. */
const char *cistern_writer_local_directory(const struct cistern_writer *writer);

/* For cistern_snapshot_request.ready, with the writer as ready_arg: wakes every upload of it
 * that waits. Any thread, also before the upload began. The writer must outlive the snapshot. An
 * upload whose snapshot was begun with another ready() that never calls this one waits for ever
 * when a part is not ready at once. */
void cistern_writer_ready(void *writer);

/* What an upload came to. */
struct cistern_upload_result {
    uint64_t checkpoint_id;
    uint32_t slot_index;
    uint32_t status; /* OK, or why not: error has the detail */
    /* OK: self-checked text, at most CISTERN_SLICE_BYTES_MAX; valid inside done() only */
    struct cistern_span slice;
    uint64_t state_bytes;    /* all parts */
    uint64_t uploaded_bytes; /* written or linked anew; 0 for reused parts */
    uint32_t files_new;
    uint32_t files_reused;
    const struct cistern_error *error;
};
/* on the I/O thread; once */
typedef void (*cistern_upload_done_fn)(void *arg, const struct cistern_upload_result *result);

struct cistern_upload_options {
    uint32_t slot_index;
    uint32_t kind; /* enum cistern_snapshot_kind of the snapshot */
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id; /* 0 = none: the published checkpoint whose parts may be reused */
    struct cistern_key_group_range range;
    const char *backend; /* cistern_backend_name() */
    /* NULL = a checkpoint in the root; else a self-contained directory */
    const char *savepoint_directory;
    cistern_upload_done_fn done;
    void *arg;
};
/* Owns the snapshot from here, also on failure (then done() is not called). NO_MEMORY, CLOSED. */
CISTERN_MUST_USE uint32_t cistern_upload_begin(struct cistern_writer *writer,
    struct cistern_snapshot *snapshot, const struct cistern_upload_options *options,
    struct cistern_upload **ret_upload, struct cistern_error *error);
/* Any thread; done(ABORTED) still comes, once, unless it was already on its way. The handle is
 * dead after done(). */
void cistern_upload_cancel(struct cistern_upload *upload);

struct cistern_publish {
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    uint32_t kind;                     /* enum cistern_snapshot_kind */
    uint32_t slice_count;              /* = slot_count */
    const struct cistern_span *slices; /* by slot index, as uploads returned them */
    /* opaque to us: source positions; at most CISTERN_JOB_STATE_BYTES_MAX */
    struct cistern_span job_state;
    const char *savepoint_directory;
    const char *operator_name; /* "count" */
};
/* Self-check, manifest, log record. OK = durable AND ours. FENCED: another writer took over.
 * NO_SPACE, IO: not published, may be tried again with the next id. Afterwards sweeps what dead
 * attempts of earlier epochs left (once). */
CISTERN_MUST_USE uint32_t cistern_writer_publish(struct cistern_writer *writer,
    const struct cistern_publish *publish, struct cistern_error *error);
/* An attempt that will not be published: its data files are removed. */
void cistern_writer_discard(struct cistern_writer *writer, uint64_t checkpoint_id);
/* A durable `retire` record, then the manifest directory and every data file that no kept
 * checkpoint refers to. */
CISTERN_MUST_USE uint32_t cistern_writer_retire(
    struct cistern_writer *writer, uint64_t checkpoint_id, struct cistern_error *error);
/* Appends `finish`: the job's output is complete as of that checkpoint. */
CISTERN_MUST_USE uint32_t cistern_writer_finish(
    struct cistern_writer *writer, uint64_t checkpoint_id, struct cistern_error *error);
/* Is the root still ours? FENCED when not; one probe of the log. Ask it before effects outside. */
CISTERN_MUST_USE uint32_t cistern_writer_check(
    struct cistern_writer *writer, struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
