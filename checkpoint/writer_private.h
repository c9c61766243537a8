/*
 * writer_private.h -- the inside of the one writer: which files each published checkpoint holds,
 * and what is under way.
 *
 * Invariant: a data file is removed only when no stored slice and no upload holds its part: `refs`
 *            counts both.
 * Guarded by: writer.lock: attempts, published, dead, uploads, sequences, every part's refs. The
 *             rest belongs to the thread that calls the blocking functions (one at a time) or is
 *             fixed after open. The I/O thread takes the lock briefly.
 */
#ifndef CISTERN_CHECKPOINT_WRITER_H
#define CISTERN_CHECKPOINT_WRITER_H

#include "catalog_private.h"
#include "job_private.h"

#include "cistern/writer.h"

#include <pthread.h>

struct stored { /* one slot's share: of an attempt, or of a published checkpoint */
    struct stored *next;
    uint64_t checkpoint_id;
    uint32_t slot_index;
    uint32_t is_new; /* made by this writer: its new files are looked at before publication */
    char *savepoint_directory; /* owned; NULL = in the root */
    struct slice slice;
    struct part_list parts; /* data */
    struct part_list files; /* lists and state tables */
};
struct published {
    struct published *next;
    uint64_t checkpoint_id;
    uint64_t epoch;
    uint64_t number; /* of its commit record */
    /* its files are not known: nothing of its epoch or older may be removed */
    uint32_t is_unreadable;
    struct stored *slices;
};

struct cistern_writer {
    struct cistern_store *store;
    struct cistern_io *io;
    struct place place;
    struct job job;
    struct commit_log log;
    uint64_t latest_checkpoint_id;
    uint32_t slot_count;
    uint32_t swept;
    uint32_t damaged_records;
    uint32_t is_locked;
    char *local_directory;
    uint64_t doubt_checkpoint_id; /* log.has_doubt: what the record in doubt is about, */
    uint32_t doubt_kind;          /* and its enum commit_kind */
    pthread_mutex_t lock;
    struct stored *attempts;
    struct published *published;
    struct part *dead;
    struct cistern_upload *uploads;
    uint64_t *sequences; /* [slot_count]: the last one handed out */
    struct cistern_io_task wake;
    _Atomic uint32_t wake_state; /* enum wake_state */
};

enum wake_state { WAKE_IDLE, WAKE_POSTED, WAKE_RUNNING, WAKE_AGAIN };

/* ---- under writer.lock ---- */
struct data_name writer_name(struct cistern_writer *writer, uint32_t slot_index, uint32_t kind);
struct stored *writer_find_base(
    const struct cistern_writer *writer, uint64_t checkpoint_id, uint32_t slot_index);

/* Drops the references; parts nobody holds go to *dead (NULL: nothing of them exists to be
 * removed). */
void stored_release(struct stored *stored, struct part **dead);
void published_release(struct published *published, struct part **dead);

/* ---- writer.c; blocks ---- */
/* Appends a record and remembers what a doubt would be about. */
CISTERN_MUST_USE uint32_t writer_append(
    struct cistern_writer *writer, struct commit_record *record, struct cistern_error *error);
/* The attempt's slices become `published`, which the writer owns from here. */
void writer_adopt(
    struct cistern_writer *writer, struct published *published, const struct commit_record *record);
/* Takes the attempt's slices out of the list. */
struct stored *writer_take_attempt(struct cistern_writer *writer, uint64_t checkpoint_id);
void writer_drop_attempt(struct cistern_writer *writer, uint64_t checkpoint_id);

/* ---- retire.c: removing; blocks ---- */
/* Removes every file on writer.dead that may be removed; a failure is logged and left for the
 * next epoch's sweep. */
void writer_remove_dead(struct cistern_writer *writer);
void writer_remove_savepoint_files(struct cistern_writer *writer, const struct stored *stored);
void writer_sweep(struct cistern_writer *writer);
/* What earlier epochs published: parts are shared with the checkpoints already loaded. */
CISTERN_MUST_USE uint32_t writer_load_published(
    struct cistern_writer *writer, const struct catalog *catalog, struct cistern_error *error);
/* A `retire` record, then the files. */
CISTERN_MUST_USE uint32_t writer_retire_published(
    struct cistern_writer *writer, uint64_t checkpoint_id, struct cistern_error *error);
void checkpoint_remove_directory(struct cistern_writer *writer, const struct checkpoint_name *name);
/* After an append that left a doubt: decides it, and retires what turns out to be published
 * though it was reported not to be. */
CISTERN_MUST_USE uint32_t writer_settle(struct cistern_writer *writer, struct cistern_error *error);

/* ---- upload.c: I/O thread ---- */
void uploads_wake(struct cistern_writer *writer);
void uploads_cancel(struct cistern_writer *writer, uint64_t checkpoint_id);

#endif
