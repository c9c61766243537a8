/*
 * run.h -- one job from its first to its last byte: what it holds, and in which order that comes
 * and goes.
 *
 * The buffers of source and workers are allocated before the pool, so that they are part of the
 * baseline of resident memory; state, checkpoint buffers and the sorter come after it and are
 * charged.
 * Threads: main, but where a member says otherwise.
 */
#ifndef CISTERN_RUN_H
#define CISTERN_RUN_H

#include "output.h"
#include "report.h"
#include "run_settings.h"
#include "source.h"
#include "worker.h"

#include "cistern/restore.h"
#include "cistern/writer.h"

struct run {
    const struct run_settings *settings;
    uint32_t slot_count;
    uint32_t max_parallelism;
    uint32_t use_rocks;
    struct input_list inputs;
    struct output output;
    struct report report;
    struct mail mail;
    struct source source;
    struct worker *workers; /* [slot_count] */
    struct inbox **inboxes; /* [slot_count], of the workers */
    struct cistern_pool *pool;
    struct cistern_io *io;
    struct cistern_store *store;
    struct cistern_writer *writer; /* NULL = no checkpoints */
    char *local_directory;         /* RocksDB's live files; ours to remove when own_local */
    uint32_t own_local;
    uint32_t local_sequence;
    struct position start;
    uint64_t restored_id; /* in our own root; 0 = none */
    uint32_t restored_finished;
    /* the newest checkpoint of this root that holds everything up to the end; 0 = none */
    uint64_t confirmed_id;
    uint32_t stopped;   /* by a signal: no output */
    uint32_t savepoint_taken;
    uint32_t too_small; /* the failure is a budget that does not open */
    struct cistern_error error;
};
/* run_command.c fills the settings' defaults; returns the exit code. */
int run_wordcount(const struct run_settings *settings);
/* Was that failure another writer's doing? It sweeps the working files of the one it replaces, and
 * what fails then is an open or a write. Returns FENCED with its error when so, else `status`.
 * Threads: main only. */
uint32_t run_ask_fence(struct run *run, uint32_t status, struct cistern_error *error);

/* restore_job.c: opens the backends, from a checkpoint or empty; start, restored_id and
 * restored_finished are set. */
CISTERN_MUST_USE uint32_t restore_job(struct run *run);
/* Can the savepoint that was asked for be taken there? Before anything is made. */
CISTERN_MUST_USE uint32_t savepoint_check(struct run *run);
/* An earlier life of the job took it at this very position. */
int savepoint_is_there(struct run *run, uint64_t records);
/* Of a PATH to restore (not "latest"): is a checkpoint there? Before anything is made. */
CISTERN_MUST_USE uint32_t restore_check(struct run *run);
CISTERN_MUST_USE uint32_t backend_open(struct run *run, uint32_t index, uint32_t rocks,
    struct cistern_backend **ret_backend, struct cistern_error *error);

/* loop.c: from the start of the threads to their end, checkpoints included. */
CISTERN_MUST_USE uint32_t loop_run(struct run *run);

/* convert.c: what RocksDB wrote, into the (empty) heap backend of a slot, by way of a canonical
 * file. */
CISTERN_MUST_USE uint32_t convert_restore(struct run *run, uint32_t index,
    const struct cistern_source *source, struct cistern_error *error);

#endif
