/* bench_io.c -- a durable 64 MiB write through each engine, beside write() and fsync() in a
 * loop. */
#include "bench.h"

#include "cistern/clock.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUDGET_BYTES ((uint64_t)64 << 20)
#define FILE_BYTES ((uint64_t)64 << 20)
#define FLIGHT_MAX 8u

struct flight { /* writes under way */
    pthread_mutex_t lock;
    pthread_cond_t landed;
    struct cistern_io *io;
    uint32_t count;
    int64_t failure; /* -errno of the first that failed */
};
struct write_node {
    struct cistern_io_operation operation;
    struct flight *flight;
    uint32_t busy;
};

static void write_done(struct cistern_io_operation *operation)
{
    struct write_node *node = operation->arg;
    struct flight *flight = node->flight;
    pthread_mutex_lock(&flight->lock);
    if (operation->result < 0 && flight->failure == 0) {
        flight->failure = operation->result;
    }
    cistern_io_buffer_release(flight->io, operation->data);
    node->busy = 0;
    flight->count--;
    pthread_cond_signal(&flight->landed);
    pthread_mutex_unlock(&flight->lock);
}

/* A node and a buffer for the next write; waits for one of ours to come back. */
static struct write_node *node_take(
    struct flight *flight, struct write_node *nodes, void **ret_buffer)
{
    pthread_mutex_lock(&flight->lock);
    for (;;) {
        for (uint32_t i = 0; i < FLIGHT_MAX; i++) {
            if (!nodes[i].busy) {
                *ret_buffer = cistern_io_buffer_acquire(flight->io);
                if (*ret_buffer != NULL) {
                    nodes[i].busy = 1;
                    flight->count++;
                    pthread_mutex_unlock(&flight->lock);
                    return &nodes[i];
                }
                break;
            }
        }
        pthread_cond_wait(&flight->landed, &flight->lock);
    }
}

static int64_t flight_wait(struct flight *flight)
{
    pthread_mutex_lock(&flight->lock);
    while (flight->count > 0) {
        pthread_cond_wait(&flight->landed, &flight->lock);
    }
    pthread_mutex_unlock(&flight->lock);
    return flight->failure;
}

static int64_t engine_write(struct cistern_io *io, int fd)
{
    struct flight flight = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .landed = PTHREAD_COND_INITIALIZER, .io = io};
    struct write_node nodes[FLIGHT_MAX];
    memset(nodes, 0, sizeof nodes);
    uint64_t step = cistern_io_buffer_bytes(io);
    for (uint64_t at = 0; at < FILE_BYTES; at += step) {
        void *buffer;
        struct write_node *node = node_take(&flight, nodes, &buffer);
        uint64_t bytes = FILE_BYTES - at < step ? FILE_BYTES - at : step;
        memset(buffer, (int)(at / step), bytes);
        node->flight = &flight;
        node->operation = (struct cistern_io_operation){.opcode = CISTERN_IO_WRITE,
            .fd = fd,
            .data = buffer,
            .bytes = bytes,
            .offset = at,
            .done = write_done,
            .arg = node};
        cistern_io_submit(io, &node->operation);
    }
    int64_t failure = flight_wait(&flight);
    struct cistern_io_operation sync = {.opcode = CISTERN_IO_FSYNC, .fd = fd};
    return failure < 0 ? failure : cistern_io_run(io, &sync);
}

static int64_t loop_write(int fd)
{
    static uint8_t buffer[256 << 10];
    for (uint64_t at = 0; at < FILE_BYTES; at += sizeof buffer) {
        memset(buffer, (int)(at / sizeof buffer), sizeof buffer);
        for (uint64_t done = 0; done < sizeof buffer;) {
            ssize_t bytes = pwrite(fd, buffer + done, sizeof buffer - done, (off_t)(at + done));
            if (bytes <= 0) {
                return -errno;
            }
            done += (uint64_t)bytes;
        }
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

/* io NULL: the plain loop. */
static uint32_t file_measure(
    struct bench *bench, struct cistern_io *io, double *ret_rate, struct cistern_error *error)
{
    char path[600];
    snprintf(path, sizeof path, "%s/file", bench->directory);
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        return cistern_fail_errno(error, errno, path, "cannot create the file to write");
    }
    int64_t begin_ns = cistern_now_ns();
    int64_t result = io != NULL ? engine_write(io, fd) : loop_write(fd);
    *ret_rate = (double)FILE_BYTES / (1 << 20) * 1e9 / (double)(cistern_now_ns() - begin_ns);
    (void)close(fd);
    (void)unlink(path);
    return result >= 0 ? CISTERN_OK
                       : cistern_fail_errno(error, (int32_t)-result, path, "cannot write the file");
}

static uint32_t engine_case(struct bench *bench, uint32_t engine, struct cistern_error *error)
{
    struct cistern_io_options options = {.engine = engine, .buffer_bytes = 4 << 20};
    struct cistern_io *io = NULL;
    double ours[BENCH_SAMPLES], loop[BENCH_SAMPLES];
    uint32_t status = cistern_io_create(bench->pool, &options, &io, error);
    if (status == CISTERN_UNSUPPORTED) {
        fprintf(stderr, "cistern: %s is left out: %s\n", cistern_io_engine_name(engine),
            error->message);
        return CISTERN_OK;
    }
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        status = file_measure(bench, NULL, &loop[i], error);
        if (status == CISTERN_OK) {
            status = file_measure(bench, io, &ours[i], error);
        }
    }
    cistern_io_destroy(io);
    if (status == CISTERN_OK) {
        char name[64];
        snprintf(name, sizeof name, "durable_write_%s", cistern_io_engine_name(engine));
        bench_print(bench, name, "MiB/s", ours, "write loop", loop);
    }
    return status;
}

uint32_t bench_io(struct bench *bench, struct cistern_error *error)
{
    uint32_t status = bench_pool_open(bench, BUDGET_BYTES, 1, error);
    if (status == CISTERN_OK) {
        status = engine_case(bench, CISTERN_IO_THREADS, error);
    }
    return status == CISTERN_OK ? engine_case(bench, CISTERN_IO_URING, error) : status;
}
