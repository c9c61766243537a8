/*
 * io.c -- the I/O thread: one queue of operations and tasks from any thread, one engine that runs
 * them.
 *
 * Invariant: done() and tasks run on the I/O thread only (simulated: on the driving thread), never
 *            inside submit or post.
 */
#include "io_private.h"

#include "buffer_private.h"
#include "sim_private.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/log.h"

#include <assert.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>

#define QUEUE_DEPTH_DEFAULT 32u
#define QUEUE_DEPTH_MAX 1024u
#define IO_STACK_BYTES (256u << 10)
#define BUFFER_TOTAL_MIN ((uint64_t)512 << 10)
#define BUFFER_TOTAL_MAX ((uint64_t)8 << 20)

struct cistern_io {
    struct io_engine *engine;
    struct sim_disk *sim; /* SIMULATED: there is no engine and no thread */
    uint32_t sim_owned;
    uint32_t engine_kind;
    uint32_t queue_depth_max;
    pthread_t thread;
    uint32_t thread_started;
    pthread_mutex_t lock;
    pthread_cond_t started;
    struct cistern_io_operation *posted_head; /* Guarded by: lock, like all below */
    struct cistern_io_operation *posted_tail;
    struct cistern_io_task *task_head;
    struct cistern_io_task *task_tail;
    uint32_t stopping;
    uint32_t start_done;
    uint32_t start_status;
    struct cistern_error start_error;
    uint32_t in_flight; /* I/O thread only */
    struct buffer_set buffers;
};

/* ---- the thread ---- */

static int io_sleep_wanted(struct cistern_io *io)
{
    pthread_mutex_lock(&io->lock);
    int idle =
        io->task_head == NULL && (io->posted_head == NULL || io->in_flight >= io->queue_depth_max);
    int stop = io->stopping && io->in_flight == 0;
    pthread_mutex_unlock(&io->lock);
    return idle && !stop;
}

static struct cistern_io_task *task_take(struct cistern_io *io)
{
    pthread_mutex_lock(&io->lock);
    struct cistern_io_task *task = io->task_head;
    if (task != NULL) {
        io->task_head = task->next;
    }
    pthread_mutex_unlock(&io->lock);
    return task;
}

static struct cistern_io_operation *operation_take(struct cistern_io *io)
{
    pthread_mutex_lock(&io->lock);
    struct cistern_io_operation *operation = io->posted_head;
    if (operation != NULL) {
        io->posted_head = operation->next;
    }
    pthread_mutex_unlock(&io->lock);
    return operation;
}

static int io_round(struct cistern_io *io)
{
    const struct io_engine_ops *ops = io->engine->ops;
    struct cistern_io_task *task = task_take(io);
    if (task != NULL) {
        task->run(task);
    }
    while (io->in_flight < io->queue_depth_max) {
        struct cistern_io_operation *operation = operation_take(io);
        if (operation == NULL) {
            break;
        }
        io->in_flight++;
        ops->submit(io->engine, operation);
    }
    struct cistern_io_operation *finished = ops->wait(io->engine, io_sleep_wanted(io));
    while (finished != NULL) {
        struct cistern_io_operation *operation = finished;
        finished = operation->next;
        io->in_flight--;
        operation->done(operation);
    }
    pthread_mutex_lock(&io->lock);
    int end =
        io->stopping && io->in_flight == 0 && io->posted_head == NULL && io->task_head == NULL;
    pthread_mutex_unlock(&io->lock);
    return !end;
}

static void *io_thread(void *arg)
{
    struct cistern_io *io = arg;
    pthread_setname_np(pthread_self(), "cistern-io");
    uint32_t status = io->engine->ops->start(io->engine, &io->start_error);
    pthread_mutex_lock(&io->lock);
    io->start_status = status;
    io->start_done = 1;
    pthread_cond_signal(&io->started);
    pthread_mutex_unlock(&io->lock);
    if (status == CISTERN_OK) {
        while (io_round(io)) {
        }
        io->engine->ops->stop(io->engine);
    }
    return NULL;
}

static uint32_t thread_start(struct cistern_io *io, struct cistern_error *error)
{
    io->start_done = 0;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, IO_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread is born with every signal blocked */
    int refused = pthread_create(&io->thread, &attributes, io_thread, io);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (refused != 0) {
        return cistern_fail_errno(
            error, refused, "io thread", "the I/O thread could not be started");
    }
    pthread_mutex_lock(&io->lock);
    while (!io->start_done) {
        pthread_cond_wait(&io->started, &io->lock);
    }
    pthread_mutex_unlock(&io->lock);
    if (io->start_status != CISTERN_OK) {
        pthread_join(io->thread, NULL);
        if (error != NULL) {
            *error = io->start_error;
        }
        return io->start_status;
    }
    io->thread_started = 1;
    return CISTERN_OK;
}

/* ---- create, destroy ---- */

/* Starts the thread on an engine that was just created; owns the engine, NULL included. */
static uint32_t engine_start(
    struct cistern_io *io, uint32_t kind, struct io_engine *engine, struct cistern_error *error)
{
    io->engine_kind = kind;
    io->engine = engine;
    if (io->engine == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "io", "no memory for the I/O engine");
    }
    uint32_t status = thread_start(io, error);
    if (status != CISTERN_OK) {
        io->engine->ops->destroy(io->engine);
        io->engine = NULL;
    }
    return status;
}

static uint32_t engine_try(struct cistern_io *io, uint32_t kind,
    const struct cistern_io_options *options, struct cistern_error *error)
{
    struct io_engine *engine = kind == CISTERN_IO_URING
                                   ? engine_uring_create(io->queue_depth_max)
                                   : engine_threads_create(options->thread_count);
    return engine_start(io, kind, engine, error);
}

static uint32_t engine_choose(
    struct cistern_io *io, const struct cistern_io_options *options, struct cistern_error *error)
{
    if (options->engine == CISTERN_IO_SIMULATED) {
        io->engine_kind = CISTERN_IO_SIMULATED;
        io->sim_owned = 1;
        io->sim = sim_disk_create(options->seed);
        return io->sim != NULL ? CISTERN_OK
                               : cistern_fail(error, CISTERN_NO_MEMORY, "io",
                                     "no memory for the simulated disk");
    }
    if (options->engine != CISTERN_IO_AUTO) {
        return engine_try(io, options->engine, options, error);
    }
    struct cistern_error refusal;
    uint32_t status = engine_try(io, CISTERN_IO_URING, options, &refusal);
    if (status == CISTERN_UNSUPPORTED) {
        cistern_log(CISTERN_LOG_WARNING, "io_uring is not available (%s): running on threads",
            refusal.message);
        return engine_try(io, CISTERN_IO_THREADS, options, error);
    }
    if (status != CISTERN_OK && error != NULL) {
        *error = refusal;
    }
    return status;
}

static struct cistern_io *io_allocate(void)
{
    struct cistern_io *io = cistern_allocate_zeroed(1, sizeof *io);
    if (io != NULL) {
        pthread_mutex_init(&io->lock, NULL);
        pthread_cond_init(&io->started, NULL);
    }
    return io;
}

static void io_free(struct cistern_io *io)
{
    pthread_cond_destroy(&io->started);
    pthread_mutex_destroy(&io->lock);
    cistern_release(io);
}

uint32_t cistern_io_create_sized(struct cistern_pool *pool, const struct cistern_io_options *given,
    uint64_t options_bytes, struct cistern_io **ret_io, struct cistern_error *error)
{
    struct cistern_io_options options;
    uint32_t status = cistern_options_read(
        &options, sizeof options, given, options_bytes, "cistern_io_options", error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (options.engine > CISTERN_IO_SIMULATED || options.gentle != 0 ||
        options.queue_depth_max > QUEUE_DEPTH_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "cistern_io_options",
            "engine is 0 to 3, gentle is 0, queue_depth_max at most %u", QUEUE_DEPTH_MAX);
    }
    struct cistern_io *io = io_allocate();
    if (io == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "io", "no memory for the I/O thread");
    }
    io->queue_depth_max =
        options.queue_depth_max == 0 ? QUEUE_DEPTH_DEFAULT : options.queue_depth_max;
    uint64_t bytes = options.buffer_bytes;
    if (bytes == 0 && pool != NULL) {
        struct cistern_pool_usage usage;
        cistern_pool_usage(pool, &usage);
        bytes = usage.budget_bytes / 64;
        bytes = bytes < BUFFER_TOTAL_MIN   ? BUFFER_TOTAL_MIN
                : bytes > BUFFER_TOTAL_MAX ? BUFFER_TOTAL_MAX
                                           : bytes;
    }
    status = buffer_set_init(&io->buffers, pool, bytes == 0 ? BUFFER_TOTAL_MIN : bytes, error);
    if (status != CISTERN_OK) {
        io_free(io);
        return status;
    }
    status = engine_choose(io, &options, error);
    if (status != CISTERN_OK) {
        buffer_set_deinit(&io->buffers);
        io_free(io);
        return status;
    }
    *ret_io = io;
    return CISTERN_OK;
}

uint32_t io_create_memory(struct cistern_io **ret_io, struct cistern_error *error)
{
    struct cistern_io *io = io_allocate();
    if (io == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "io", "no memory for the memory: store");
    }
    io->queue_depth_max = QUEUE_DEPTH_DEFAULT;
    uint32_t status = buffer_set_init(&io->buffers, NULL, BUFFER_TOTAL_MIN, error);
    if (status == CISTERN_OK) {
        status = engine_start(io, CISTERN_IO_SIMULATED, engine_memory_create(), error);
        if (status != CISTERN_OK) {
            buffer_set_deinit(&io->buffers);
        }
    }
    if (status != CISTERN_OK) {
        io_free(io);
        return status;
    }
    *ret_io = io;
    return CISTERN_OK;
}

uint32_t io_create_simulated(struct cistern_pool *pool, struct sim_disk *disk,
    uint64_t buffer_bytes, struct cistern_io **ret_io, struct cistern_error *error)
{
    struct cistern_io *io = io_allocate();
    if (io == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "io", "no memory for the simulated io");
    }
    uint32_t status = buffer_set_init(
        &io->buffers, pool, buffer_bytes == 0 ? BUFFER_TOTAL_MIN : buffer_bytes, error);
    if (status != CISTERN_OK) {
        io_free(io);
        return status;
    }
    io->engine_kind = CISTERN_IO_SIMULATED;
    io->sim = disk;
    io->queue_depth_max = QUEUE_DEPTH_DEFAULT;
    *ret_io = io;
    return CISTERN_OK;
}

void cistern_io_destroy(struct cistern_io *io)
{
    if (io == NULL) {
        return;
    }
    if (io->sim != NULL) {
        while (cistern_io_step(io) != 0) {
        }
        if (io->sim_owned) {
            sim_disk_destroy(io->sim);
        }
    } else {
        pthread_mutex_lock(&io->lock);
        io->stopping = 1;
        pthread_mutex_unlock(&io->lock);
        io->engine->ops->wake(io->engine);
        pthread_join(io->thread, NULL);
        io->engine->ops->destroy(io->engine);
    }
    buffer_set_deinit(&io->buffers);
    io_free(io);
}

/* ---- submitting ---- */

void cistern_io_submit(struct cistern_io *io, struct cistern_io_operation *operation)
{
    assert(operation->done != NULL);
    operation->next = NULL;
    pthread_mutex_lock(&io->lock);
    if (io->posted_head == NULL) {
        io->posted_head = operation;
    } else {
        io->posted_tail->next = operation;
    }
    io->posted_tail = operation;
    pthread_mutex_unlock(&io->lock);
    if (io->engine != NULL) {
        io->engine->ops->wake(io->engine);
    }
}

void cistern_io_post(struct cistern_io *io, struct cistern_io_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&io->lock);
    if (io->task_head == NULL) {
        io->task_head = task;
    } else {
        io->task_tail->next = task;
    }
    io->task_tail = task;
    pthread_mutex_unlock(&io->lock);
    if (io->engine != NULL) {
        io->engine->ops->wake(io->engine);
    }
}

struct waiter { /* Guarded by: its own lock; lives on the stack of cistern_io_run() */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t finished;
};

static void waiter_done(struct cistern_io_operation *operation)
{
    struct waiter *waiter = operation->arg;
    pthread_mutex_lock(&waiter->lock);
    waiter->finished = 1;
    pthread_cond_signal(&waiter->changed);
    pthread_mutex_unlock(&waiter->lock);
}

int64_t cistern_io_run(struct cistern_io *io, struct cistern_io_operation *operation)
{
    struct waiter waiter = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    assert(io->sim != NULL || !pthread_equal(pthread_self(), io->thread));
    operation->done = waiter_done;
    operation->arg = &waiter;
    cistern_io_submit(io, operation);
    if (io->sim != NULL) {
        while (!waiter.finished) {
            uint32_t stepped = cistern_io_step(io);
            assert(stepped != 0);
            (void)stepped;
        }
        return operation->result;
    }
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.finished) {
        pthread_cond_wait(&waiter.changed, &waiter.lock);
    }
    pthread_mutex_unlock(&waiter.lock);
    pthread_cond_destroy(&waiter.changed);
    pthread_mutex_destroy(&waiter.lock);
    return operation->result;
}

uint32_t cistern_io_step(struct cistern_io *io)
{
    assert(io->sim != NULL);
    struct cistern_io_task *task = task_take(io);
    if (task != NULL) {
        task->run(task);
        return 1;
    }
    struct cistern_io_operation *operation;
    while (sim_disk_pending(io->sim) < io->queue_depth_max &&
           (operation = operation_take(io)) != NULL) {
        sim_disk_submit(io->sim, operation);
    }
    operation = sim_disk_complete_one(io->sim);
    if (operation == NULL) {
        return 0;
    }
    operation->done(operation);
    return 1;
}

/* ---- the small questions ---- */

uint32_t cistern_io_engine_of(const struct cistern_io *io)
{
    return io->engine_kind;
}

const char *cistern_io_engine_name(uint32_t engine)
{
    static const char *const names[] = {"auto", "uring", "threads", "simulated"};
    return engine < sizeof names / sizeof names[0] ? names[engine] : "?";
}

int64_t cistern_io_wall_ms(struct cistern_io *io)
{
    return io->sim != NULL ? sim_disk_wall_ms(io->sim) : cistern_wall_ms();
}

uint64_t cistern_io_random(struct cistern_io *io)
{
    if (io->sim != NULL) {
        return sim_disk_random(io->sim);
    }
    uint64_t random = 0;
    while (getrandom(&random, sizeof random, 0) != sizeof random) {
    }
    return random;
}

uint64_t cistern_io_buffer_bytes(const struct cistern_io *io)
{
    (void)io;
    return BUFFER_BYTES;
}

void *cistern_io_buffer_acquire(struct cistern_io *io)
{
    pthread_mutex_lock(&io->buffers.lock);
    void *buffer = io->buffers.free_count > 0 ? io->buffers.free[--io->buffers.free_count] : NULL;
    pthread_mutex_unlock(&io->buffers.lock);
    return buffer;
}

void cistern_io_buffer_release(struct cistern_io *io, void *buffer)
{
    pthread_mutex_lock(&io->buffers.lock);
    assert(io->buffers.free_count < io->buffers.count);
    io->buffers.free[io->buffers.free_count++] = buffer;
    pthread_mutex_unlock(&io->buffers.lock);
}
