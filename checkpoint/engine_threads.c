/*
 * engine_threads.c -- operations on worker threads, where the kernel refuses a ring or a person
 * asks for it.
 *
 * Owns:    thread_count workers named cistern-io-N, all signals blocked; two lists under one lock:
 *          waiting and finished.
 * Threads: see io_private.h; the workers touch only the lists.
 */
#include "io_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <stdio.h>

#define WORKER_COUNT_DEFAULT 4u
#define WORKER_COUNT_MAX 32u
#define WORKER_STACK_BYTES (256u << 10)

struct engine_threads {
    struct io_engine engine; /* first member */
    pthread_mutex_t lock;
    pthread_cond_t work;                       /* something is waiting, or stopping */
    pthread_cond_t finished;                   /* something finished, or wake() */
    struct cistern_io_operation *waiting_head; /* Guarded by: lock, like all below */
    struct cistern_io_operation *waiting_tail;
    struct cistern_io_operation *finished_head;
    struct cistern_io_operation *finished_tail;
    uint32_t woken;
    uint32_t stopping;
    uint32_t worker_count;
    pthread_t workers[WORKER_COUNT_MAX];
};

static void list_append(struct cistern_io_operation **head, struct cistern_io_operation **tail,
    struct cistern_io_operation *operation)
{
    operation->next = NULL;
    if (*head == NULL) {
        *head = operation;
    } else {
        (*tail)->next = operation;
    }
    *tail = operation;
}

static void *worker_run(void *arg)
{
    struct engine_threads *threads = arg;
    pthread_mutex_lock(&threads->lock);
    for (;;) {
        while (threads->waiting_head == NULL && !threads->stopping) {
            pthread_cond_wait(&threads->work, &threads->lock);
        }
        struct cistern_io_operation *operation = threads->waiting_head;
        if (operation == NULL) {
            break;
        }
        threads->waiting_head = operation->next;
        pthread_mutex_unlock(&threads->lock);
        io_execute(operation);
        pthread_mutex_lock(&threads->lock);
        list_append(&threads->finished_head, &threads->finished_tail, operation);
        pthread_cond_signal(&threads->finished);
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

static void threads_stop(struct io_engine *engine)
{
    struct engine_threads *threads = (struct engine_threads *)engine;
    pthread_mutex_lock(&threads->lock);
    threads->stopping = 1;
    pthread_cond_broadcast(&threads->work);
    pthread_mutex_unlock(&threads->lock);
    for (uint32_t i = 0; i < threads->worker_count; i++) {
        pthread_join(threads->workers[i], NULL);
    }
    threads->worker_count = 0;
}

static uint32_t threads_start(struct io_engine *engine, struct cistern_error *error)
{
    struct engine_threads *threads = (struct engine_threads *)engine;
    uint32_t wanted = threads->worker_count;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    int refused = 0;
    for (threads->worker_count = 0; threads->worker_count < wanted && refused == 0;) {
        pthread_t *worker = &threads->workers[threads->worker_count];
        /* inherits blocked signals */
        refused = pthread_create(worker, &attributes, worker_run, threads);
        if (refused == 0) {
            char name[16];
            snprintf(name, sizeof name, "cistern-io-%u", threads->worker_count);
            pthread_setname_np(*worker, name);
            threads->worker_count++;
        }
    }
    pthread_attr_destroy(&attributes);
    if (threads->worker_count == 0) {
        return cistern_fail_errno(
            error, refused, "io threads", "no worker thread could be started");
    }
    return CISTERN_OK; /* fewer workers than wanted still work */
}

static void threads_submit(struct io_engine *engine, struct cistern_io_operation *operation)
{
    struct engine_threads *threads = (struct engine_threads *)engine;
    pthread_mutex_lock(&threads->lock);
    list_append(&threads->waiting_head, &threads->waiting_tail, operation);
    pthread_cond_signal(&threads->work);
    pthread_mutex_unlock(&threads->lock);
}

static struct cistern_io_operation *threads_wait(struct io_engine *engine, int may_sleep)
{
    struct engine_threads *threads = (struct engine_threads *)engine;
    pthread_mutex_lock(&threads->lock);
    while (may_sleep && threads->finished_head == NULL && !threads->woken) {
        pthread_cond_wait(&threads->finished, &threads->lock);
    }
    threads->woken = 0;
    struct cistern_io_operation *finished = threads->finished_head;
    threads->finished_head = NULL;
    pthread_mutex_unlock(&threads->lock);
    return finished;
}

static void threads_wake(struct io_engine *engine)
{
    struct engine_threads *threads = (struct engine_threads *)engine;
    pthread_mutex_lock(&threads->lock);
    threads->woken = 1;
    pthread_cond_signal(&threads->finished);
    pthread_mutex_unlock(&threads->lock);
}

static void threads_destroy(struct io_engine *engine)
{
    struct engine_threads *threads = (struct engine_threads *)engine;
    pthread_cond_destroy(&threads->finished);
    pthread_cond_destroy(&threads->work);
    pthread_mutex_destroy(&threads->lock);
    cistern_release(threads);
}

static const struct io_engine_ops threads_ops = {
    .start = threads_start,
    .submit = threads_submit,
    .wait = threads_wait,
    .wake = threads_wake,
    .stop = threads_stop,
    .destroy = threads_destroy,
};

struct io_engine *engine_threads_create(uint32_t thread_count)
{
    struct engine_threads *threads = cistern_allocate_zeroed(1, sizeof *threads);
    if (threads == NULL) {
        return NULL;
    }
    threads->engine.ops = &threads_ops;
    threads->worker_count = thread_count == 0 ? WORKER_COUNT_DEFAULT : thread_count;
    if (threads->worker_count > WORKER_COUNT_MAX) {
        threads->worker_count = WORKER_COUNT_MAX;
    }
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->work, NULL);
    pthread_cond_init(&threads->finished, NULL);
    return &threads->engine;
}
