/*
 * io_private.h -- what io.c asks of an engine, and how an engine hands completions back.
 *
 * Threads: start, submit, wait and stop run on the I/O thread; wake from any thread. The simulated
 *          engine has no thread: its ops
 * run on whoever drives it (cistern_io_run, cistern_io_step).
 */
#ifndef CISTERN_CHECKPOINT_IO_PRIVATE_H
#define CISTERN_CHECKPOINT_IO_PRIVATE_H

#include "cistern/io.h"

#include <pthread.h>

struct io_engine {
    const struct io_engine_ops *ops;
};
struct io_engine_ops {
    /* On the I/O thread, once, before anything else. UNSUPPORTED: refused by the kernel; error
     * says by what. */
    uint32_t (*start)(struct io_engine *engine, struct cistern_error *error);
    void (*submit)(struct io_engine *engine, struct cistern_io_operation *operation);
    /* Returns finished operations as a list (result set), or NULL; sleeps until there is one or
     * wake() was called when may_sleep. */
    struct cistern_io_operation *(*wait)(struct io_engine *engine, int may_sleep);
    void (*wake)(struct io_engine *engine);
    void (*stop)(struct io_engine *engine); /* nothing is in flight */
    void (*destroy)(struct io_engine *engine);
};
CISTERN_MUST_USE struct io_engine *engine_uring_create(uint32_t queue_depth_max);
CISTERN_MUST_USE struct io_engine *engine_threads_create(uint32_t thread_count);

CISTERN_MUST_USE struct io_engine *engine_memory_create(void);

/* Runs one operation with plain system calls, completing short reads and writes; sets result. */
void io_execute(struct cistern_io_operation *operation);

/* An io on a fresh disk in memory with a thread of its own, for a memory: store. Its buffers are
 * malloc's. */
CISTERN_MUST_USE uint32_t io_create_memory(struct cistern_io **ret_io, struct cistern_error *error);

struct sim_disk;
/* The same as cistern_io_create() with engine SIMULATED, on a disk that outlives the io
 * (sim_private.h). pool may be NULL: the buffers are then not charged (the memory: store's own). */
CISTERN_MUST_USE uint32_t io_create_simulated(struct cistern_pool *pool, struct sim_disk *disk,
    uint64_t buffer_bytes, struct cistern_io **ret_io, struct cistern_error *error);

#endif
