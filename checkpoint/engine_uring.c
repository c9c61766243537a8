/*
 * engine_uring.c -- operations through io_uring: the only file that knows liburing.
 *
 * Owns:    one ring, created, registered and entered by the I/O thread alone (SINGLE_ISSUER is
 *          task-affine), and an eventfd that other threads write to wake it.
 * Never:   links chains of operations: the upload in user space re-uses its buffers better.
 *          Directory listings and stat run inline on the I/O thread: they are rare and the ring of
 *          liburing 2.3 has no opcode for the former.
 * Full when: the submission queue is full -> it is submitted at once and the next entry taken.
 */
#include "io_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAKE_TAG 1u /* user_data of the eventfd's read; operations are pointers and never 1 */

struct engine_uring {
    struct io_engine engine; /* first member */
    struct io_uring ring;
    int wake_fd;
    uint32_t ring_ready;
    uint32_t wake_armed;
    uint32_t depth;
    uint64_t wake_value;
    struct cistern_io_operation *finished_head;
    struct cistern_io_operation *finished_tail;
};

static const int opcodes_needed[] = {IORING_OP_OPENAT, IORING_OP_CLOSE, IORING_OP_READ,
    IORING_OP_WRITE, IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_LINKAT, IORING_OP_RENAMEAT,
    IORING_OP_UNLINKAT, IORING_OP_MKDIRAT};

static void finished_append(struct engine_uring *uring, struct cistern_io_operation *operation)
{
    operation->next = NULL;
    if (uring->finished_head == NULL) {
        uring->finished_head = operation;
    } else {
        uring->finished_tail->next = operation;
    }
    uring->finished_tail = operation;
}

static struct io_uring_sqe *entry_get(struct engine_uring *uring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    while (entry == NULL) {
        io_uring_submit(&uring->ring);
        entry = io_uring_get_sqe(&uring->ring);
    }
    return entry;
}

static void wake_arm(struct engine_uring *uring)
{
    if (!uring->wake_armed) {
        struct io_uring_sqe *entry = entry_get(uring);
        io_uring_prep_read(entry, uring->wake_fd, &uring->wake_value, sizeof uring->wake_value, 0);
        io_uring_sqe_set_data64(entry, WAKE_TAG);
        uring->wake_armed = 1;
    }
}

static uint32_t ring_refused(int refused, struct cistern_error *error)
{
    const char *by = refused == EPERM    ? "sysctl kernel.io_uring_disabled or a seccomp profile"
                     : refused == ENOSYS ? "a kernel without io_uring, or a seccomp profile"
                     : refused == ENOMEM ? "RLIMIT_MEMLOCK"
                                         : "the kernel";
    uint32_t status = cistern_fail(
        error, CISTERN_UNSUPPORTED, "io_uring", "refused by %s: %s", by, strerrordesc_np(refused));
    if (error != NULL) {
        error->os_errno = refused;
    }
    return status;
}

static uint32_t opcodes_probe(struct engine_uring *uring, struct cistern_error *error)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&uring->ring);
    if (probe == NULL) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, "io_uring",
            "the kernel does not say which operations it has");
    }
    uint32_t status = CISTERN_OK;
    for (size_t i = 0; i < sizeof opcodes_needed / sizeof opcodes_needed[0] && status == CISTERN_OK;
         i++) {
        if (!io_uring_opcode_supported(probe, opcodes_needed[i])) {
            status = cistern_fail(error, CISTERN_UNSUPPORTED, "io_uring",
                "the kernel lacks operation %d (Linux 5.15 has all)", opcodes_needed[i]);
        }
    }
    io_uring_free_probe(probe);
    return status;
}

static uint32_t uring_start(struct io_engine *engine, struct cistern_error *error)
{
    struct engine_uring *uring = (struct engine_uring *)engine;
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    int result = io_uring_queue_init_params(uring->depth, &uring->ring, &params);
    if (result == -EINVAL) { /* before Linux 6.1 */
        memset(&params, 0, sizeof params);
        result = io_uring_queue_init_params(uring->depth, &uring->ring, &params);
    }
    if (result < 0) {
        return ring_refused(-result, error);
    }
    uring->ring_ready = 1;
    uint32_t status = opcodes_probe(uring, error);
    if (status == CISTERN_OK) {
        wake_arm(uring);
    } else {
        io_uring_queue_exit(&uring->ring);
        uring->ring_ready = 0;
    }
    return status;
}

static void operation_prepare(struct io_uring_sqe *entry, struct cistern_io_operation *operation)
{
    /* bytes that a short read or write has moved already */
    uint64_t done = operation->engine_private;
    char *data = (char *)operation->data + done;
    uint64_t left = operation->bytes - done;
    unsigned piece = (unsigned)(left < (1u << 30) ? left : (1u << 30));
    switch (operation->opcode) {
    case CISTERN_IO_OPEN:
        io_uring_prep_openat(entry, AT_FDCWD, operation->path, (int)operation->flags | O_CLOEXEC,
            (mode_t)operation->mode);
        break;
    case CISTERN_IO_CLOSE:
        io_uring_prep_close(entry, operation->fd);
        break;
    case CISTERN_IO_READ:
        io_uring_prep_read(entry, operation->fd, data, piece, operation->offset + done);
        break;
    case CISTERN_IO_WRITE:
        io_uring_prep_write(entry, operation->fd, data, piece, operation->offset + done);
        break;
    case CISTERN_IO_FSYNC:
        io_uring_prep_fsync(entry, operation->fd, 0);
        break;
    case CISTERN_IO_ALLOCATE:
        io_uring_prep_fallocate(
            entry, operation->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)operation->bytes);
        break;
    case CISTERN_IO_LINK:
        io_uring_prep_linkat(entry, AT_FDCWD, operation->path, AT_FDCWD, operation->path2, 0);
        break;
    case CISTERN_IO_RENAME:
        io_uring_prep_renameat(entry, AT_FDCWD, operation->path, AT_FDCWD, operation->path2, 0);
        break;
    case CISTERN_IO_UNLINK:
        io_uring_prep_unlinkat(entry, AT_FDCWD, operation->path, 0);
        break;
    case CISTERN_IO_RMDIR:
        io_uring_prep_unlinkat(entry, AT_FDCWD, operation->path, AT_REMOVEDIR);
        break;
    default:
        assert(operation->opcode == CISTERN_IO_MKDIR);
        io_uring_prep_mkdirat(entry, AT_FDCWD, operation->path, (mode_t)operation->mode);
    }
    io_uring_sqe_set_data(entry, operation);
}

static void uring_submit(struct io_engine *engine, struct cistern_io_operation *operation)
{
    struct engine_uring *uring = (struct engine_uring *)engine;
    if (operation->opcode >= CISTERN_IO_STAT) { /* also an opcode that is none: io_execute refuses it */
        io_execute(operation);
        finished_append(uring, operation);
        return;
    }
    operation->engine_private = 0;
    operation_prepare(entry_get(uring), operation);
}

/* Returns 0 when the operation goes on (a short read or write was re-submitted). */
static int operation_finish(
    struct engine_uring *uring, struct cistern_io_operation *operation, int32_t result)
{
    int moves = operation->opcode == CISTERN_IO_READ || operation->opcode == CISTERN_IO_WRITE;
    if (result == -EINTR || result == -EAGAIN) {
        operation_prepare(entry_get(uring), operation);
        return 0;
    }
    if (moves && result > 0 && operation->engine_private + (uint64_t)result < operation->bytes) {
        operation->engine_private += (uint64_t)result;
        operation_prepare(entry_get(uring), operation);
        return 0;
    }
    operation->result = result;
    if (moves && result >= 0) {
        operation->result = (int64_t)operation->engine_private + result;
        if (operation->opcode == CISTERN_IO_WRITE && result == 0 && operation->bytes > 0) {
            operation->result = -ENOSPC;
        }
    }
    if (operation->opcode == CISTERN_IO_ALLOCATE && result == -EOPNOTSUPP) {
        operation->result = 0;
    }
    return 1;
}

static void completions_reap(struct engine_uring *uring)
{
    struct io_uring_cqe *entry;
    while (io_uring_peek_cqe(&uring->ring, &entry) == 0) {
        uint64_t tag = io_uring_cqe_get_data64(entry);
        int32_t result = entry->res;
        io_uring_cqe_seen(&uring->ring, entry);
        if (tag == WAKE_TAG) {
            uring->wake_armed = 0;
            continue;
        }
        struct cistern_io_operation *operation = (struct cistern_io_operation *)(uintptr_t)tag;
        if (operation_finish(uring, operation, result)) {
            finished_append(uring, operation);
        }
    }
}

static struct cistern_io_operation *uring_wait(struct io_engine *engine, int may_sleep)
{
    struct engine_uring *uring = (struct engine_uring *)engine;
    wake_arm(uring);
    unsigned wanted = may_sleep && uring->finished_head == NULL ? 1 : 0;
    int result;
    do {
        result = io_uring_submit_and_get_events(&uring->ring);
    } while (result == -EINTR);
    completions_reap(uring);
    if (wanted != 0 && uring->finished_head == NULL && uring->wake_armed) {
        /* Submits too: reaping may have prepared the rest of a short read. A signal only means
         * that the next round sleeps again. */
        (void)io_uring_submit_and_wait(&uring->ring, 1);
        completions_reap(uring);
    }
    struct cistern_io_operation *finished = uring->finished_head;
    uring->finished_head = NULL;
    return finished;
}

static void uring_wake(struct io_engine *engine)
{
    struct engine_uring *uring = (struct engine_uring *)engine;
    uint64_t one = 1;
    ssize_t put = write(uring->wake_fd, &one,
        sizeof one); /* fails only when the counter is full: then it wakes anyway */
    (void)put;
}

static void uring_stop(struct io_engine *engine)
{
    struct engine_uring *uring = (struct engine_uring *)engine;
    io_uring_queue_exit(&uring->ring);
    uring->ring_ready = 0;
}

static void uring_destroy(struct io_engine *engine)
{
    struct engine_uring *uring = (struct engine_uring *)engine;
    assert(!uring->ring_ready);
    close(uring->wake_fd);
    cistern_release(uring);
}

static const struct io_engine_ops uring_ops = {
    .start = uring_start,
    .submit = uring_submit,
    .wait = uring_wait,
    .wake = uring_wake,
    .stop = uring_stop,
    .destroy = uring_destroy,
};

struct io_engine *engine_uring_create(uint32_t queue_depth_max)
{
    struct engine_uring *uring = cistern_allocate_zeroed(1, sizeof *uring);
    if (uring == NULL) {
        return NULL;
    }
    uring->engine.ops = &uring_ops;
    uring->depth = queue_depth_max + 1; /* the wake-up read stands in the ring too */
    uring->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (uring->wake_fd < 0) {
        cistern_release(uring);
        return NULL;
    }
    return &uring->engine;
}
