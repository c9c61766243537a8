/*
 * capture.h -- a checkpoint held in a test's memory: takes a snapshot's parts, resolves REUSE by
 * origin, and serves them as the source of a restore. It stands where checkpoint/ stands in the
 * product, so that backends are tested without it.
 *
 * Threads: one at a time. Memory comes from malloc: it is the test's, not the library's.
 */
#ifndef CISTERN_TEST_CAPTURE_H
#define CISTERN_TEST_CAPTURE_H

#include "cistern/snapshot.h"

struct captured_part {
    struct cistern_part part; /* local_path NULL; restore_name points into `name` */
    char name[128];
    uint8_t *bytes;
    uint32_t reused;
};
struct capture {
    struct captured_part *parts;
    uint32_t part_count;
    char backend[16]; /* as cistern_source.backend: "heap", "rocks", "canonical" */
    uint64_t checkpoint_id;
    uint64_t new_bytes; /* parts that were not reused */
    uint32_t streaming; /* capture_step(): the last part is not read to its end yet */
};

/* Pulls every part; waits while next() answers BUSY; a FILE part whose origin is in `base`
 * counts as reused. Releases the snapshot. Fails the test on any error. */
struct capture *capture_take(
    struct cistern_snapshot *snapshot, const char *backend, const struct capture *base);
/* The same in pieces, so that a test decides what happens in between. Takes one part, or at most
 * `bytes` of a stream. OK: there is more; NOT_FOUND: complete; BUSY: not ready yet; another status
 * is the snapshot's own. Releases nothing. Start with a zeroed capture whose backend is set. */
CISTERN_MUST_USE uint32_t capture_step(struct capture *capture, struct cistern_snapshot *snapshot,
    const struct capture *base, uint64_t bytes, struct cistern_error *error);
void capture_free(struct capture *capture);

/* Several captures = several slices. The source lives until capture_source_close(). */
struct cistern_source capture_source(struct capture *const *captures, uint32_t count);
void capture_source_close(struct cistern_source *source);

#endif
