/*
 * inbox.h -- the way from the source to one worker: a ring of batches, barriers in band, and
 * notices beside it.
 *
 * Owns:       INBOX_BATCHES batches, allocated and touched once.
 * Threads:    one producer (the source), one consumer (the worker); notices and close from any.
 *             Guarded by: inbox.lock.
 * Full when:  every batch is filled -> the producer waits: that is the back-pressure. Notices:
 *             INBOX_NOTICES_MAX, which no coordinator with one checkpoint in flight reaches between
 *             two batches; the oldest goes when it does, since outcomes may be repeated but need
 *             not all be heard.
 */
#ifndef CISTERN_INBOX_H
#define CISTERN_INBOX_H

#include "cistern/backend.h"

#include <assert.h>
#include <pthread.h>

#define BATCH_RECORDS_MAX 1024u
#define BATCH_WORD_BYTES (65536u) /* one word of the largest size fits an empty batch */
#define BATCH_PAD_BYTES 16u       /* words are copied 16 bytes at a time */
#define INBOX_BATCHES 8u
#define INBOX_NOTICES_MAX 64u
static_assert(BATCH_WORD_BYTES > CISTERN_KEY_BYTES_MAX, "a word must fit a batch");

enum batch_kind { BATCH_RECORDS, BATCH_BARRIER, BATCH_END };

struct barrier {
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    uint32_t snapshot_kind;
    const char *savepoint_directory; /* lives as long as the job; NULL = a checkpoint */
};
struct batch {
    uint32_t kind;
    uint32_t count;
    uint64_t bytes; /* of `words` in use */
    struct barrier barrier;
    uint16_t lengths[BATCH_RECORDS_MAX];
    uint16_t groups[BATCH_RECORDS_MAX]; /* key groups are below 32,768 */
    uint8_t words[BATCH_WORD_BYTES + BATCH_PAD_BYTES];
};
struct notice { /* the outcome of a checkpoint, for cistern_backend_notify() */
    uint64_t checkpoint_id;
    uint32_t outcome;
};
struct inbox {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_cond_t emptied;
    struct batch *batches; /* [INBOX_BATCHES] */
    uint64_t pushed;
    uint64_t popped;
    struct notice notices[INBOX_NOTICES_MAX];
    uint32_t notice_count;
    uint32_t closed;
};
CISTERN_MUST_USE uint32_t inbox_init(struct inbox *inbox, struct cistern_error *error);
void inbox_deinit(struct inbox *inbox);
/* Producer: an empty batch to fill; waits for one. NULL: closed. */
struct batch *inbox_acquire(struct inbox *inbox);
void inbox_push(struct inbox *inbox); /* the batch of the last acquire */
/* Consumer: the oldest batch, still in the ring. NULL: closed, or nothing came within wait_ns,
 *           or a notice did. */
struct batch *inbox_peek(struct inbox *inbox, int64_t wait_ns, uint32_t *ret_closed);
void inbox_pop(struct inbox *inbox);
void inbox_notify(struct inbox *inbox, struct notice notice);
uint32_t inbox_notices(struct inbox *inbox,
    struct notice ret_notices[INBOX_NOTICES_MAX]); /* takes them; returns how many */
void inbox_close(struct inbox *inbox);             /* gives up: both sides come back at once */

#endif
