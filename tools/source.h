/*
 * source.h -- the reader: one thread that turns files into words, words into batches, and puts
 * barriers between them.
 *
 * Owns:       one read buffer, the source position, the batches being filled.
 * Invariant:  a barrier's position splits the input: every word before it is in batches pushed
 *             before it, none after it is.
 * Threads:    source_start/stop/barrier/finish/abort/join by main; the rest is the reader thread's
 *             own. Commands: source.lock.
 * Full when:  an inbox is full -> the reader waits for that worker.
 */
#ifndef CISTERN_SOURCE_H
#define CISTERN_SOURCE_H

#include "inbox.h"
#include "mail.h"

#define SOURCE_READ_BYTES (256u << 10)  /* stays in the second-level cache */
#define SOURCE_WINDOW_BYTES (16u << 10) /* commands are looked at between windows */

struct source_options {
    const struct input_list *inputs;
    struct position start;
    struct inbox *const *inboxes; /* [worker_count] */
    uint32_t worker_count;
    uint32_t max_parallelism;
    uint64_t records_per_second; /* 0 = as fast as it goes */
    uint64_t checkpoint_every;   /* records; 0 = never asks */
    struct mail *mail;
};
struct source {
    struct source_options options;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t command;
    uint32_t barrier_wanted; /* Guarded by: lock, like the four below */
    uint32_t stop_wanted;
    uint32_t finish_wanted;
    uint32_t abort_wanted;
    struct barrier barrier;
    uint32_t attention;        /* Atomic: 1 = a command may be waiting */
    uint32_t checkpoint_asked; /* Atomic: a MESSAGE_CHECKPOINT_WANTED is under way */
    uint64_t records_seen;     /* Atomic: for progress */

    /* Thread: reader only. */
    struct batch **open_batches; /* [worker_count]; NULL = none */
    /* CISTERN_KEY_BYTES_MAX + 1 for an unfinished word, then what was read, then padding */
    uint8_t *memory;
    const uint8_t *window; /* next byte to split */
    const uint8_t *data_end;
    const uint8_t *unfinished; /* a word that began before `window` */
    uint64_t data_offset;      /* file offset of the first byte behind the carry area */
    uint32_t file_index;
    int fd;
    uint64_t records;
    uint64_t next_wanted; /* records at which the next checkpoint is asked for */
    uint64_t window_bytes;
    uint64_t records_at_start;
    int64_t started_ns;
    uint32_t reading;
    uint32_t leaving;
    struct cistern_error error;
};
/* Allocates and touches the buffers; no thread yet. */
CISTERN_MUST_USE uint32_t source_init(
    struct source *source, uint32_t worker_count, struct cistern_error *error);
void source_deinit(struct source *source);
CISTERN_MUST_USE uint32_t source_start(
    struct source *source, const struct source_options *options, struct cistern_error *error);
/* Each may be called at any time after start; the source answers by mail. */
/* replaces one that was not sent yet */
void source_barrier(struct source *source, const struct barrier *barrier);
void source_stop(struct source *source);   /* reads no further */
void source_finish(struct source *source); /* tells the workers that no more comes, and leaves */
void source_abort(struct source *source);  /* leaves at once */
void source_join(struct source *source);

#endif
