/* io_test.c -- every operation on every engine: the real file system through the ring and
 * through threads, the disk in memory, the simulated one. They must agree. */
#include "io_private.h"
#include "sim_private.h"
#include "test.h"

#include "cistern/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    struct cistern_pool *pool;
    struct cistern_io *io;
    char root[64]; /* a directory that exists on the engine's disk */
    uint64_t held;
};

static void fixture_open(struct fixture *f, uint32_t engine)
{
    struct cistern_error error;
    struct cistern_pool_options pool_options = {.budget_bytes = 64 << 20};
    f->held = cistern_allocation_count();
    assert_ok(cistern_pool_create(&pool_options, &f->pool, &error), error);
    struct cistern_io_options options = {.engine = engine, .seed = 42};
    uint32_t status = cistern_io_create(f->pool, &options, &f->io, &error);
    if (status == CISTERN_UNSUPPORTED && engine == CISTERN_IO_URING) {
        print_message("SKIPPED: %s\n",
            error.message); /* a kernel or container that refuses rings: threads are tested */
        assert_ok(cistern_pool_destroy(f->pool, &error), error);
        f->io = NULL;
        return;
    }
    assert_ok(status, error);
    assert_int_equal(cistern_io_engine_of(f->io), engine);
    if (engine == CISTERN_IO_SIMULATED) {
        strcpy(f->root, "/root");
        struct cistern_io_operation mkdir = {
            .opcode = CISTERN_IO_MKDIR, .path = f->root, .mode = 0777};
        assert_int_equal(cistern_io_run(f->io, &mkdir), 0);
    } else {
        strcpy(f->root, "/tmp/cistern-io-XXXXXX");
        assert_non_null(mkdtemp(f->root));
    }
}

static void fixture_close(struct fixture *f)
{
    struct cistern_error error;
    struct cistern_io_operation rmdir = {.opcode = CISTERN_IO_RMDIR, .path = f->root};
    assert_int_equal(cistern_io_run(f->io, &rmdir), 0); /* also: nothing was left behind in it */
    cistern_io_destroy(f->io);
    assert_ok(cistern_pool_destroy(f->pool, &error), error);
    assert_int_equal(cistern_allocation_count(), f->held);
}

static int64_t run(struct fixture *f, uint32_t opcode, const char *path, const char *path2)
{
    struct cistern_io_operation operation = {
        .opcode = opcode, .path = path, .path2 = path2, .mode = 0777};
    return cistern_io_run(f->io, &operation);
}

static int64_t run_fd(
    struct fixture *f, uint32_t opcode, int64_t fd, void *data, uint64_t bytes, uint64_t offset)
{
    struct cistern_io_operation operation = {
        .opcode = opcode, .fd = (int32_t)fd, .data = data, .bytes = bytes, .offset = offset};
    return cistern_io_run(f->io, &operation);
}

static int64_t open_file(struct fixture *f, const char *path, uint32_t flags)
{
    struct cistern_io_operation operation = {
        .opcode = CISTERN_IO_OPEN, .path = path, .flags = flags, .mode = 0666};
    return cistern_io_run(f->io, &operation);
}

static void count_entry(void *arg, const char *name, uint32_t is_directory)
{
    uint32_t *counts = arg;
    counts[is_directory]++;
    assert_true(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
}

static void files_exercise(struct fixture *f)
{
    char a[96];
    char b[96];
    char data[10] = {0};
    snprintf(a, sizeof a, "%s/a", f->root);
    snprintf(b, sizeof b, "%s/b", f->root);
    int64_t fd = open_file(f, a, O_RDWR | O_CREAT | O_EXCL);
    assert_true(fd >= 0);
    assert_int_equal(open_file(f, a, O_RDWR | O_CREAT | O_EXCL), -EEXIST);
    assert_int_equal(run_fd(f, CISTERN_IO_ALLOCATE, fd, NULL, 4096, 0), 0);
    assert_int_equal(run_fd(f, CISTERN_IO_WRITE, fd, (char[]){"hello, disk"}, 11, 0), 11);
    assert_int_equal(run_fd(f, CISTERN_IO_FSYNC, fd, NULL, 0, 0), 0);
    /* short only at the end */
    assert_int_equal(run_fd(f, CISTERN_IO_READ, fd, data, sizeof data, 7), 4);
    assert_memory_equal(data, "disk", 4);
    assert_int_equal(run_fd(f, CISTERN_IO_READ, fd, data, sizeof data, 100), 0);
    assert_int_equal(run_fd(f, CISTERN_IO_CLOSE, fd, NULL, 0, 0), 0);
    assert_int_equal(run(f, CISTERN_IO_LINK, a, b), 0);
    assert_int_equal(run(f, CISTERN_IO_LINK, a, b), -EEXIST);
    struct cistern_io_operation stat = {.opcode = CISTERN_IO_STAT, .path = b};
    assert_int_equal(cistern_io_run(f->io, &stat), 0);
    assert_int_equal(stat.result_stat.bytes, 11);
    assert_int_equal(stat.result_stat.link_count, 2);
    assert_int_equal(stat.result_stat.is_directory, 0);
    assert_int_equal(run(f, CISTERN_IO_UNLINK, a, NULL), 0);
    assert_int_equal(run(f, CISTERN_IO_UNLINK, a, NULL), -ENOENT);
    assert_int_equal(run(f, CISTERN_IO_RENAME, b, a), 0);
    assert_int_equal(open_file(f, b, O_RDONLY), -ENOENT);
    assert_int_equal(run(f, CISTERN_IO_UNLINK, a, NULL), 0);
}

static void directories_exercise(struct fixture *f)
{
    char directory[96];
    char file[128];
    snprintf(directory, sizeof directory, "%s/sub", f->root);
    snprintf(file, sizeof file, "%s/file", directory);
    assert_int_equal(run(f, CISTERN_IO_MKDIR, file, NULL), -ENOENT);
    assert_int_equal(run(f, CISTERN_IO_MKDIR, directory, NULL), 0);
    assert_int_equal(run(f, CISTERN_IO_MKDIR, directory, NULL), -EEXIST);
    int64_t fd = open_file(f, file, O_WRONLY | O_CREAT);
    assert_true(fd >= 0);
    assert_int_equal(run_fd(f, CISTERN_IO_CLOSE, fd, NULL, 0, 0), 0);
    int64_t directory_fd = open_file(f, directory, O_RDONLY | O_DIRECTORY);
    assert_true(directory_fd >= 0);
    assert_int_equal(run_fd(f, CISTERN_IO_FSYNC, directory_fd, NULL, 0, 0), 0);
    assert_int_equal(run_fd(f, CISTERN_IO_CLOSE, directory_fd, NULL, 0, 0), 0);
    assert_int_equal(run(f, CISTERN_IO_RMDIR, directory, NULL), -ENOTEMPTY);
    uint32_t counts[2] = {0, 0};
    struct cistern_io_operation list = {
        .opcode = CISTERN_IO_LIST, .path = f->root, .entry = count_entry, .entry_arg = counts};
    assert_int_equal(cistern_io_run(f->io, &list), 0);
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1], 1);
    assert_int_equal(run(f, CISTERN_IO_UNLINK, file, NULL), 0);
    assert_int_equal(run(f, CISTERN_IO_RMDIR, directory, NULL), 0);
    assert_int_equal(run(f, 999, directory, NULL) < 0, 1);
}

static _Atomic uint32_t outstanding;

static void write_done(struct cistern_io_operation *operation)
{
    if (operation->result != (int64_t)operation->bytes) {
        abort(); /* cmocka may not be called from the I/O thread */
    }
    atomic_fetch_sub(&outstanding, 1);
}

static void task_done(struct cistern_io_task *task)
{
    atomic_fetch_sub((_Atomic uint32_t *)task->arg, 1);
}

/* More operations than the queue is deep, submitted at once from here; all complete, each whole. */
static void many_at_once(struct fixture *f)
{
    enum { COUNT = 200, BYTES = 5000 };
    static uint8_t data[COUNT][BYTES];
    static struct cistern_io_operation writes[COUNT];
    static struct cistern_io_task task;
    char path[96];
    snprintf(path, sizeof path, "%s/many", f->root);
    int64_t fd = open_file(f, path, O_RDWR | O_CREAT);
    assert_true(fd >= 0);
    atomic_store(&outstanding, COUNT + 1);
    for (uint32_t i = 0; i < COUNT; i++) {
        memset(data[i], (int)i, BYTES);
        writes[i] = (struct cistern_io_operation){.opcode = CISTERN_IO_WRITE,
            .fd = (int32_t)fd,
            .data = data[i],
            .bytes = BYTES,
            .offset = (uint64_t)i * BYTES,
            .done = write_done};
        cistern_io_submit(f->io, &writes[i]);
    }
    task = (struct cistern_io_task){.run = task_done, .arg = (void *)&outstanding};
    cistern_io_post(f->io, &task);
    while (atomic_load(&outstanding) > 0) {
        if (cistern_io_engine_of(f->io) == CISTERN_IO_SIMULATED) {
            assert_true(cistern_io_step(f->io) > 0);
        } else {
            usleep(100);
        }
    }
    static uint8_t back[BYTES];
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(run_fd(f, CISTERN_IO_READ, fd, back, BYTES, (uint64_t)i * BYTES), BYTES);
        assert_memory_equal(back, data[i], BYTES);
    }
    assert_int_equal(run_fd(f, CISTERN_IO_CLOSE, fd, NULL, 0, 0), 0);
    assert_int_equal(run(f, CISTERN_IO_UNLINK, path, NULL), 0);
}

static void buffers_exercise(struct fixture *f)
{
    void *buffers[64];
    uint32_t count = 0;
    while (count < 64 && (buffers[count] = cistern_io_buffer_acquire(f->io)) != NULL) {
        memset(buffers[count], 1, cistern_io_buffer_bytes(f->io));
        count++;
    }
    assert_in_range(count, 2, 63);
    while (count > 0) {
        cistern_io_buffer_release(f->io, buffers[--count]);
    }
}

static void engine_exercise(uint32_t engine)
{
    struct fixture f = {0};
    fixture_open(&f, engine);
    if (f.io == NULL) {
        return;
    }
    files_exercise(&f);
    directories_exercise(&f);
    many_at_once(&f);
    buffers_exercise(&f);
    fixture_close(&f);
}

static void test_uring(void **state)
{
    (void)state;
    engine_exercise(CISTERN_IO_URING);
}

static void test_threads(void **state)
{
    (void)state;
    engine_exercise(CISTERN_IO_THREADS);
}

static void test_simulated(void **state)
{
    (void)state;
    engine_exercise(CISTERN_IO_SIMULATED);
}

static void test_memory(void **state)
{
    (void)state;
    struct cistern_error error;
    struct fixture f = {.root = "/root", .held = cistern_allocation_count()};
    assert_ok(io_create_memory(&f.io, &error), error);
    assert_int_equal(run(&f, CISTERN_IO_MKDIR, f.root, NULL), 0);
    files_exercise(&f);
    directories_exercise(&f);
    assert_int_equal(run(&f, CISTERN_IO_RMDIR, f.root, NULL), 0);
    cistern_io_destroy(f.io);
    assert_int_equal(cistern_allocation_count(), f.held);
}

static void test_automatic_takes_one_that_works(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_pool *pool;
    struct cistern_io *io;
    struct cistern_pool_options options = {.budget_bytes = 64 << 20};
    assert_ok(cistern_pool_create(&options, &pool, &error), error);
    assert_ok(cistern_io_create(pool, NULL, &io, &error), error);
    assert_true(cistern_io_engine_of(io) == CISTERN_IO_URING ||
                cistern_io_engine_of(io) == CISTERN_IO_THREADS);
    assert_string_not_equal(cistern_io_engine_name(cistern_io_engine_of(io)), "?");
    cistern_io_destroy(io);
    struct cistern_io_options bad = {.engine = 9};
    assert_status(cistern_io_create(pool, &bad, &io, &error), CISTERN_INVALID);
    assert_ok(cistern_pool_destroy(pool, &error), error);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_pool *pool;
    struct cistern_pool_options pool_options = {.budget_bytes = 64 << 20};
    assert_ok(cistern_pool_create(&pool_options, &pool, &error), error);
    for (uint32_t engine = CISTERN_IO_THREADS; engine <= CISTERN_IO_SIMULATED; engine++) {
        uint64_t held = cistern_allocation_count();
        uint32_t status = CISTERN_NO_MEMORY;
        for (uint64_t n = 1; status != CISTERN_OK; n++) {
            assert_true(n < 100);
            struct cistern_io *io = NULL;
            struct cistern_io_options options = {.engine = engine};
            cistern_allocation_fail_at(n);
            status = cistern_io_create(pool, &options, &io, &error);
            cistern_allocation_fail_at(0);
            if (status == CISTERN_OK) {
                cistern_io_destroy(io);
            } else {
                assert_status(status, CISTERN_NO_MEMORY);
            }
            assert_int_equal(cistern_allocation_count(), held);
        }
    }
    assert_ok(cistern_pool_destroy(pool, &error), error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uring),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_simulated),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_automatic_takes_one_that_works),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
