/*
 * worker.h -- one slot's thread: takes batches, adds them to its backend, begins a snapshot at each
 * barrier.
 *
 * Owns:    nothing of the backend but the right to call it, from worker_start() to worker_join().
 * Threads: the worker's own; `upload` is shared with the I/O thread and main. Guarded by:
 *          worker.upload_lock.
 */
#ifndef CISTERN_WORKER_H
#define CISTERN_WORKER_H

#include "inbox.h"
#include "mail.h"

#include "cistern/writer.h"

#define WORKER_BATCH_MAX                                                                           \
    256u /* addresses made at a time: 10 KiB, which stays in the first-level cache */

struct worker {
    uint32_t index;
    uint32_t started;
    pthread_t thread;
    struct inbox inbox;
    struct mail *mail;
    struct cistern_writer *writer; /* NULL = no checkpoints */
    struct cistern_slot *slot;
    struct cistern_backend *backend;
    struct cistern_state *words;
    pthread_mutex_t upload_lock;
    struct cistern_upload *upload; /* under way; NULL = none */
    uint64_t upload_id;
    struct cistern_address addresses[WORKER_BATCH_MAX];
    struct cistern_span inputs[WORKER_BATCH_MAX]; /* each the same big-endian 1 */
    struct cistern_error error;
};
CISTERN_MUST_USE uint32_t worker_init(
    struct worker *worker, uint32_t index, struct mail *mail, struct cistern_error *error);
void worker_deinit(struct worker *worker);
/* slot, backend, words and writer are set. */
CISTERN_MUST_USE uint32_t worker_start(struct worker *worker, struct cistern_error *error);
void worker_join(struct worker *worker); /* does nothing when it was not started */
/* Any thread: gives the upload of that checkpoint up, if it is still under way; its
 *             MESSAGE_UPLOADED still comes. */
void worker_cancel_upload(struct worker *worker, uint64_t checkpoint_id);

#endif
