/*
 * engine_memory.c -- operations on a disk in memory, run by the I/O thread itself: what stands
 * under a memory: store.
 *
 * Threads: see io_private.h; only `woken` is touched by others.
 */
#include "io_private.h"
#include "sim_private.h"

#include "cistern/alloc.h"

struct engine_memory {
    struct io_engine engine; /* first member */
    struct sim_disk *disk;   /* owned */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t woken; /* Guarded by: lock */
};

static uint32_t memory_start(struct io_engine *engine, struct cistern_error *error)
{
    (void)engine;
    (void)error;
    return CISTERN_OK;
}

static void memory_submit(struct io_engine *engine, struct cistern_io_operation *operation)
{
    sim_disk_submit(((struct engine_memory *)engine)->disk, operation);
}

static struct cistern_io_operation *memory_wait(struct io_engine *engine, int may_sleep)
{
    struct engine_memory *memory = (struct engine_memory *)engine;
    struct cistern_io_operation *operation = sim_disk_complete_one(memory->disk);
    if (operation != NULL) {
        operation->next = NULL;
        return operation;
    }
    pthread_mutex_lock(&memory->lock);
    while (may_sleep && !memory->woken) {
        pthread_cond_wait(&memory->changed, &memory->lock);
    }
    memory->woken = 0;
    pthread_mutex_unlock(&memory->lock);
    return NULL;
}

static void memory_wake(struct io_engine *engine)
{
    struct engine_memory *memory = (struct engine_memory *)engine;
    pthread_mutex_lock(&memory->lock);
    memory->woken = 1;
    pthread_cond_signal(&memory->changed);
    pthread_mutex_unlock(&memory->lock);
}

static void memory_stop(struct io_engine *engine)
{
    (void)engine;
}

static void memory_destroy(struct io_engine *engine)
{
    struct engine_memory *memory = (struct engine_memory *)engine;
    sim_disk_destroy(memory->disk);
    pthread_cond_destroy(&memory->changed);
    pthread_mutex_destroy(&memory->lock);
    cistern_release(memory);
}

static const struct io_engine_ops memory_ops = {
    .start = memory_start,
    .submit = memory_submit,
    .wait = memory_wait,
    .wake = memory_wake,
    .stop = memory_stop,
    .destroy = memory_destroy,
};

struct io_engine *engine_memory_create(void)
{
    struct engine_memory *memory = cistern_allocate_zeroed(1, sizeof *memory);
    if (memory == NULL) {
        return NULL;
    }
    memory->engine.ops = &memory_ops;
    memory->disk = sim_disk_create_reliable();
    if (memory->disk == NULL) {
        cistern_release(memory);
        return NULL;
    }
    pthread_mutex_init(&memory->lock, NULL);
    pthread_cond_init(&memory->changed, NULL);
    return &memory->engine;
}
