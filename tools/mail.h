/*
 * mail.h -- what the source, the workers and the I/O thread tell the main thread.
 *
 * Threads: any posts, main takes. Guarded by: mail.lock. Full when: mail.capacity messages wait ->
 *          the poster waits; main takes
 * until everyone has left, so nobody waits for ever. mail.event_fd is readable while messages wait,
 * for poll().
 */
#ifndef CISTERN_MAIL_H
#define CISTERN_MAIL_H

#include "position.h"

#include <pthread.h>

enum message_kind {
    MESSAGE_CHECKPOINT_WANTED, /* source: --checkpoint-every was passed */
    MESSAGE_BARRIER_SENT,      /* source: checkpoint_id, position */
    MESSAGE_SOURCE_DONE,       /* source: position; reads no more, still sends barriers */
    MESSAGE_SOURCE_LEFT,       /* source: the thread ends; error.status says why */
    MESSAGE_UPLOAD_BEGUN,      /* worker: checkpoint_id, sync_ns */
    MESSAGE_DECLINED,          /* worker: checkpoint_id, error */
    MESSAGE_UPLOADED,          /* I/O thread: checkpoint_id, slice or error */
    MESSAGE_WORKER_LEFT        /* worker: the thread ends; error.status says why */
};
struct message {
    uint32_t kind;
    uint32_t worker_index;
    uint64_t checkpoint_id;
    struct position position;
    int64_t sync_ns;
    uint64_t state_bytes;
    uint64_t uploaded_bytes;
    uint32_t files_new;
    uint32_t files_reused;
    void *slice; /* the taker releases it */
    uint64_t slice_bytes;
    struct cistern_error error; /* error.status OK = none */
};
struct mail {
    pthread_mutex_t lock;
    pthread_cond_t taken;
    struct message *messages;
    uint32_t capacity;
    uint64_t posted;
    uint64_t consumed;
    int event_fd;
};
CISTERN_MUST_USE uint32_t mail_init(
    struct mail *mail, uint32_t capacity, struct cistern_error *error);
void mail_deinit(struct mail *mail);
void mail_post(struct mail *mail, const struct message *message);
/* 1 = taken, 0 = none; never waits */
int mail_take(struct mail *mail, struct message *ret_message);

#endif
