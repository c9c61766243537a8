/*
 * report.h -- what a run tells about itself: --report at the end, --metrics while it runs, the
 * progress line on a terminal.
 *
 * Full when: REPORT_CHECKPOINTS_MAX checkpoints are listed; the oldest give way, `checkpoint_count`
 *            counts all.
 * Threads: main only.
 */
#ifndef CISTERN_REPORT_H
#define CISTERN_REPORT_H

#include "cistern/pool.h"

#include <stdio.h>

#define REPORT_CHECKPOINTS_MAX 1024u

struct report_checkpoint {
    uint64_t id;
    uint64_t trigger_ms; /* since the job's start */
    uint64_t sync_us;    /* the slowest slot's begin */
    uint64_t async_ms;   /* from trigger to published */
    uint64_t state_bytes;
    uint64_t uploaded_bytes;
    uint32_t files_new;
    uint32_t files_reused;
    uint32_t savepoint;
    uint32_t reserved;
};
struct report {
    FILE *file;    /* --report; NULL = none */
    FILE *metrics; /* --metrics; NULL = none */
    const char *file_path;
    const char *metrics_path;
    const char *backend;
    const char *io_engine;
    uint32_t slot_count;
    uint32_t on_terminal;
    int64_t metrics_interval_ns;
    int64_t next_metrics_ns;
    int64_t next_progress_ns;
    int64_t started_ns;
    int64_t finished_ns;
    int64_t last_ns; /* of the last metrics line */
    uint64_t last_records;
    uint64_t records;
    uint64_t records_restored;
    uint64_t entries;
    uint64_t checkpoint_count;
    uint64_t checkpoints_failed;
    uint64_t restored_id;
    struct report_checkpoint checkpoints[REPORT_CHECKPOINTS_MAX]; /* ring, by checkpoint_count */
};
/* Opens the files, so that a path that cannot be written is known before anything is done. */
CISTERN_MUST_USE uint32_t report_init(struct report *report, const char *file, const char *metrics,
    int64_t metrics_interval_ns, struct cistern_error *error);
void report_deinit(struct report *report);
void report_start(struct report *report, uint64_t records_restored);
void report_checkpoint(struct report *report, const struct report_checkpoint *checkpoint);
/* Prints what is due; returns when (absolute cistern_now_ns()) it wants to be called again,
 * INT64_MAX = never. */
int64_t report_tick(struct report *report, struct cistern_pool *pool, uint64_t records);
void report_progress_end(struct report *report);
CISTERN_MUST_USE uint32_t report_write(
    struct report *report, struct cistern_pool *pool, struct cistern_error *error);

#endif
