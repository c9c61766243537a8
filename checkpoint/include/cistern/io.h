/*
 * io.h -- everything checkpoint/ asks of the outside: files, directories, time, randomness;
 * asynchronous, on one I/O thread.
 *
 * One ring on one thread per process; any thread posts operations. Three engines behind one table:
 * io_uring, threads, and a simulated disk that delays, tears, fails, drops unsynced data and
 * unsynced directory entries.
 * Threads:  io_submit and io_post from any thread. done() runs on the I/O thread and may only
 *           submit, post or signal: it never runs inside the call that submitted. cistern_io_run()
 *           blocks and must not be called on the I/O thread.
 * Full when: queue_depth_max operations are in the engine: more wait in the queue, bounded by their
 *            submitters.
 */
#ifndef CISTERN_IO_H
#define CISTERN_IO_H

#include "cistern/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_io;

enum cistern_io_engine {
    CISTERN_IO_AUTO,
    CISTERN_IO_URING,
    CISTERN_IO_THREADS,
    CISTERN_IO_SIMULATED
};

struct cistern_io_options {
    /* enum cistern_io_engine; AUTO = io_uring, or threads where it is refused (said once in the
     * log) */
    uint32_t engine;
    uint32_t queue_depth_max; /* 0 = 32 */
    uint32_t thread_count;    /* THREADS: 0 = 4 */
    uint32_t gentle;          /* reserved for O_DIRECT on both sides; must be 0 */
    /* all data buffers together; 0 = budget / 64, 512 KiB..8 MiB, charged to the process slot */
    uint64_t buffer_bytes;
    uint64_t seed; /* SIMULATED: the whole behaviour follows from it */
};
/* UNSUPPORTED: URING asked for and refused by the kernel; the message says by what (sysctl,
 *              seccomp, errno). */
CISTERN_MUST_USE uint32_t cistern_io_create_sized(struct cistern_pool *pool,
    const struct cistern_io_options *options, uint64_t options_bytes, struct cistern_io **ret_io,
    struct cistern_error *error);
#define cistern_io_create(pool, options, ret_io, error)                                            \
    cistern_io_create_sized((pool), (options), sizeof(struct cistern_io_options), (ret_io), (error))
/* Waits for what was submitted, then ends the thread. NULL is fine. */
void cistern_io_destroy(struct cistern_io *io);
uint32_t cistern_io_engine_of(const struct cistern_io *io); /* the one in use, never AUTO */
const char *cistern_io_engine_name(uint32_t engine);        /* "uring", "threads", "simulated" */

enum cistern_io_opcode {
    CISTERN_IO_OPEN,  /* path, flags (O_*), mode -> result = file descriptor */
    CISTERN_IO_CLOSE, /* fd */
    /* fd, offset, data, bytes -> result = bytes read (short only at the end of the file) */
    CISTERN_IO_READ,
    /* fd, offset, data, bytes -> result = bytes (always all of them, or an error) */
    CISTERN_IO_WRITE,
    CISTERN_IO_FSYNC,    /* fd of a file or a directory */
    CISTERN_IO_ALLOCATE, /* fd, bytes: fallocate keep-size; EOPNOTSUPP is a success */
    CISTERN_IO_LINK,     /* path -> path2; EEXIST is an error */
    CISTERN_IO_RENAME,   /* path -> path2, replacing */
    CISTERN_IO_UNLINK,   /* path: a file */
    CISTERN_IO_RMDIR,    /* path: an empty directory */
    CISTERN_IO_MKDIR,    /* path, mode; EEXIST is an error */
    CISTERN_IO_STAT,     /* path -> result_stat */
    CISTERN_IO_LIST /* path -> calls entry(arg, name, is_directory) for each name but . and .. */
};
struct cistern_io_stat {
    uint64_t bytes;
    uint64_t link_count;
    uint64_t inode;
    uint64_t device;
    int64_t mtime_ns;
    uint32_t is_directory;
    uint32_t reserved;
};
struct cistern_io_operation { /* the submitter's storage until done() has been called */
    uint32_t opcode;
    int32_t fd;
    uint32_t flags;
    uint32_t mode;
    const char *path;
    const char *path2;
    void *data;
    uint64_t bytes;
    uint64_t offset;
    void (*entry)(void *arg, const char *name,
        uint32_t is_directory); /* LIST: called on the thread that runs the operation */
    void *entry_arg;
    struct cistern_io_stat result_stat;
    int64_t result; /* >= 0, or -errno */
    void (*done)(struct cistern_io_operation *operation);
    void *arg;
    struct cistern_io_operation *next; /* the engine's */
    uint64_t engine_private;
};
void cistern_io_submit(struct cistern_io *io, struct cistern_io_operation *operation);
/* Submits and waits; returns operation->result. The simulated disk runs inside this call, on the
 * caller's thread. */
int64_t cistern_io_run(struct cistern_io *io, struct cistern_io_operation *operation);

/* Runs task(arg) on the I/O thread, in order of posting. The node is the caller's until it ran. */
struct cistern_io_task {
    void (*run)(struct cistern_io_task *task);
    void *arg;
    struct cistern_io_task *next;
};
void cistern_io_post(struct cistern_io *io, struct cistern_io_task *task);
/* SIMULATED only: runs one pending task or completes one pending operation, in the seeded order;
 *                 0 = nothing was pending. */
uint32_t cistern_io_step(struct cistern_io *io);

int64_t cistern_io_wall_ms(struct cistern_io *io);
/* seeded when simulated, from the kernel otherwise */
uint64_t cistern_io_random(struct cistern_io *io);

/* Buffers for data: fixed size, from the charged region; NULL when all are out (back-pressure:
 * wait for one of yours). */
/* of one buffer, a multiple of 4096 */
uint64_t cistern_io_buffer_bytes(const struct cistern_io *io);
void *cistern_io_buffer_acquire(struct cistern_io *io);
void cistern_io_buffer_release(struct cistern_io *io, void *buffer);

#ifdef __cplusplus
}
#endif
#endif
