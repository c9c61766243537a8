/* inbox.c -- see inbox.h. */
#include "inbox.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <assert.h>
#include <string.h>
#include <time.h>

uint32_t inbox_init(struct inbox *inbox, struct cistern_error *error)
{
    *inbox = (struct inbox){0};
    inbox->batches = cistern_allocate(INBOX_BATCHES * sizeof inbox->batches[0]);
    if (inbox->batches == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "inbox", "no memory for %u batches", INBOX_BATCHES);
    }
    /* Touched now, so that these pages belong to the baseline of resident memory and not to its
     * growth. */
    memset(inbox->batches, 0, INBOX_BATCHES * sizeof inbox->batches[0]);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&inbox->lock, NULL);
    pthread_cond_init(&inbox->filled, &monotonic);
    pthread_cond_init(&inbox->emptied, NULL);
    pthread_condattr_destroy(&monotonic);
    return CISTERN_OK;
}

void inbox_deinit(struct inbox *inbox)
{
    if (inbox->batches != NULL) {
        pthread_cond_destroy(&inbox->emptied);
        pthread_cond_destroy(&inbox->filled);
        pthread_mutex_destroy(&inbox->lock);
        cistern_release(inbox->batches);
        inbox->batches = NULL;
    }
}

struct batch *inbox_acquire(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    while (inbox->pushed - inbox->popped == INBOX_BATCHES && !inbox->closed) {
        pthread_cond_wait(&inbox->emptied, &inbox->lock);
    }
    struct batch *batch = inbox->closed ? NULL : &inbox->batches[inbox->pushed % INBOX_BATCHES];
    pthread_mutex_unlock(&inbox->lock);
    if (batch != NULL) {
        batch->kind = BATCH_RECORDS;
        batch->count = 0;
        batch->bytes = 0;
    }
    return batch;
}

void inbox_push(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    assert(inbox->pushed - inbox->popped < INBOX_BATCHES);
    inbox->pushed++;
    pthread_cond_signal(&inbox->filled);
    pthread_mutex_unlock(&inbox->lock);
}

static struct timespec deadline_after(int64_t wait_ns)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t nanoseconds = at.tv_nsec + wait_ns;
    at.tv_sec += (time_t)(nanoseconds / 1000000000);
    at.tv_nsec = (long)(nanoseconds % 1000000000);
    return at;
}

struct batch *inbox_peek(struct inbox *inbox, int64_t wait_ns, uint32_t *ret_closed)
{
    struct batch *batch = NULL;
    pthread_mutex_lock(&inbox->lock);
    if (inbox->pushed == inbox->popped && !inbox->closed && inbox->notice_count == 0 &&
        wait_ns > 0) {
        struct timespec deadline = deadline_after(wait_ns);
        int timed_out = 0;
        while (inbox->pushed == inbox->popped && !inbox->closed && inbox->notice_count == 0 &&
               !timed_out) {
            timed_out = pthread_cond_timedwait(&inbox->filled, &inbox->lock, &deadline) != 0;
        }
    }
    *ret_closed = inbox->closed;
    if (inbox->pushed != inbox->popped && !inbox->closed) {
        batch = &inbox->batches[inbox->popped % INBOX_BATCHES];
    }
    pthread_mutex_unlock(&inbox->lock);
    return batch;
}

void inbox_pop(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    assert(inbox->pushed > inbox->popped);
    inbox->popped++;
    pthread_cond_signal(&inbox->emptied);
    pthread_mutex_unlock(&inbox->lock);
}

void inbox_notify(struct inbox *inbox, struct notice notice)
{
    pthread_mutex_lock(&inbox->lock);
    if (inbox->notice_count == INBOX_NOTICES_MAX) {
        memmove(
            inbox->notices, inbox->notices + 1, (INBOX_NOTICES_MAX - 1) * sizeof inbox->notices[0]);
        inbox->notice_count--;
    }
    inbox->notices[inbox->notice_count++] = notice;
    pthread_cond_signal(&inbox->filled);
    pthread_mutex_unlock(&inbox->lock);
}

uint32_t inbox_notices(struct inbox *inbox, struct notice ret_notices[INBOX_NOTICES_MAX])
{
    pthread_mutex_lock(&inbox->lock);
    uint32_t count = inbox->notice_count;
    memcpy(ret_notices, inbox->notices, count * sizeof ret_notices[0]);
    inbox->notice_count = 0;
    pthread_mutex_unlock(&inbox->lock);
    return count;
}

void inbox_close(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    inbox->closed = 1;
    pthread_cond_broadcast(&inbox->filled);
    pthread_cond_broadcast(&inbox->emptied);
    pthread_mutex_unlock(&inbox->lock);
}
