/*
 * restore.h -- reads checkpoints and savepoints: what there is, whether it is whole, and its parts
 * for a backend.
 *
 * Reads only; holds no lock. Every byte is checked before it is believed. Threads: one at a time
 * per object; blocks.
 */
#ifndef CISTERN_RESTORE_H
#define CISTERN_RESTORE_H

#include "cistern/snapshot.h"
#include "cistern/store.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_restore;

struct cistern_restore_options {
    uint64_t older_than_id; /* with "latest": only checkpoints below this id; 0 = any */
    void (*skipped)(void *arg, uint64_t checkpoint_id,
        const struct cistern_error *error); /* "latest": each one not whole */
    void *arg;
};
/* pointer: "latest", a decimal id, or the path of a checkpoint or savepoint directory (store may
 *          then be NULL, io is used). A checkpoint directory that was copied out of its root alone
 *          opens too: its manifest and slices show, its files count as missing, and a source of it
 *          is NOT_FOUND.
 * "latest" takes the newest whole one and reports the damaged ones through `skipped`. NOT_FOUND:
 * nothing to restore (the message says what was looked for); CORRUPT; UNSUPPORTED (format
 * version, naming both). Verifies manifest, slices and lists, and that every file is there with
 * its size; data is verified as it is read. */
CISTERN_MUST_USE uint32_t cistern_restore_open(struct cistern_io *io, struct cistern_store *store,
    const char *pointer, const struct cistern_restore_options *options,
    struct cistern_restore **ret_restore, struct cistern_error *error);
void cistern_restore_close(struct cistern_restore *restore);

struct cistern_restore_info {
    uint64_t checkpoint_id;
    uint32_t kind; /* enum cistern_snapshot_kind: CANONICAL = savepoint */
    uint32_t slice_count;
    uint32_t max_parallelism;
    uint32_t finished; /* the log has a `finish` record for it */
    /* 1 yes: the commit log lists it, or it is a savepoint; 2 unknown: a copied checkpoint
     * directory has no commit log */
    uint32_t complete;
    uint32_t is_bare; /* a copied directory without its data files: shows, but does not restore */
    char job_name[65];
    char key_group_hash[16];
    char backend[16];              /* of the first slice; "canonical" for savepoints */
    const char *path;              /* of the checkpoint directory; lives as long as the restore */
    struct cistern_span job_state; /* as published; lives as long as the restore */
    uint64_t state_bytes;
    int64_t created_ms;
};
void cistern_restore_info(
    const struct cistern_restore *restore, struct cistern_restore_info *ret_info);
/* The parts that hold any of `range`. The source lives as long as the restore; one source at a
 * time is read from per thread, and several may be used by several threads. */
CISTERN_MUST_USE uint32_t cistern_restore_source(struct cistern_restore *restore,
    struct cistern_key_group_range range, struct cistern_source *ret_source,
    struct cistern_error *error);
void cistern_restore_source_close(struct cistern_source *source);

/* ---- inspection: what the command's `ls`, `show`, `files` and `check` print ---- */
struct cistern_checkpoint_row {
    uint64_t checkpoint_id;
    const char *path;
    uint32_t is_savepoint;
    uint32_t complete; /* 0 no, 1 yes, 2 unknown (no commit log) */
    int64_t created_ms;
    uint64_t state_bytes;
    uint64_t new_bytes;
    const char *problem; /* NULL = whole as far as the manifest tells */
};
/* Calls row() for each checkpoint of the root, oldest first; of a savepoint or a copied checkpoint
 * directory for itself. NOT_FOUND: neither is here. */
CISTERN_MUST_USE uint32_t cistern_checkpoints_list(struct cistern_io *io,
    struct cistern_store *store, void (*row)(void *arg, const struct cistern_checkpoint_row *row),
    void *arg, struct cistern_error *error);

/* The manifest and its slices as JSON text (manifest fields, `slices` expanded); lives as long
 * as the restore. */
const char *cistern_restore_manifest_json(struct cistern_restore *restore);
struct cistern_file_row {
    const char *path; /* relative to the root, or to the savepoint */
    uint64_t bytes;
    /* also part of another published checkpoint (its name has an older epoch or sequence than
     * its own) */
    uint32_t shared;
    uint32_t references; /* how often this checkpoint refers to it */
    uint32_t exists;   /* 1 = there with the right size; 0 = missing; 2 = there with another size */
    uint32_t role;     /* enum cistern_part_role; 0 = list, slice or manifest */
    char checksum[33]; /* XXH3-128, hex */
    uint32_t slice_index;
};
CISTERN_MUST_USE uint32_t cistern_restore_files(struct cistern_restore *restore,
    void (*row)(void *arg, const struct cistern_file_row *row), void *arg,
    struct cistern_error *error);

struct cistern_check_problem {
    const char *path;
    uint64_t offset;  /* UINT64_MAX = none */
    const char *kind; /* "missing", "size", "corrupt", "log", "job", "unexpected" */
    const char *message;
};
struct cistern_check_report {
    uint64_t files_checked;
    uint64_t bytes_checked;
    uint64_t problem_count;
};
/* One checkpoint (PATH) or a whole root (DIR): manifests, lists, sizes, and with read_data every
 * byte of every data file. Problems are reported, not returned: the status is OK unless the
 * check itself could not run. progress may be NULL. */
CISTERN_MUST_USE uint32_t cistern_check(struct cistern_io *io, const char *path, uint32_t read_data,
    void (*problem)(void *arg, const struct cistern_check_problem *problem),
    void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total), void *arg,
    struct cistern_check_report *ret_report, struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
