/* store_test.c -- one contract for file: and memory:, and the lock between processes. */
#include "store_private.h"
#include "test.h"

#include "cistern/alloc.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    struct cistern_pool *pool;
    struct cistern_io *io;
    char directory[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    struct cistern_error error;
    struct cistern_pool_options options = {.budget_bytes = 64 << 20};
    assert_ok(cistern_pool_create(&options, &f->pool, &error), error);
    struct cistern_io_options io_options = {.engine = CISTERN_IO_THREADS};
    assert_ok(cistern_io_create(f->pool, &io_options, &f->io, &error), error);
    strcpy(f->directory, "/tmp/cistern-store-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", f->directory);
    assert_int_equal(system(command), 0);
    cistern_io_destroy(f->io);
    assert_ok(cistern_pool_destroy(f->pool, &error), error);
    free(f);
    return 0;
}

static struct cistern_span span(const char *text)
{
    return (struct cistern_span){text, strlen(text)};
}

static void count_entry(void *arg, const char *name, uint32_t is_directory)
{
    (void)name;
    (void)is_directory;
    ++*(uint32_t *)arg;
}

static void expect_content(struct cistern_store *store, const char *name, const char *expected)
{
    struct cistern_error error;
    void *data;
    uint64_t bytes;
    assert_ok(store_read(store, name, 1 << 20, &data, &bytes, &error), error);
    assert_int_equal(bytes, strlen(expected));
    assert_string_equal(data, expected);
    cistern_release(data);
}

static void contract(struct cistern_store *store)
{
    struct cistern_error error;
    void *data;
    uint64_t bytes;
    assert_ok(store_make_directory(store, "log/deep/deeper", &error), error);
    assert_ok(store_make_directory(store, "log/deep/deeper", &error), error);
    assert_ok(store_publish_exclusive(store, "log/0001", span("first"), &error), error);
    assert_status(
        store_publish_exclusive(store, "log/0001", span("second"), &error), CISTERN_EXISTS);
    expect_content(store, "log/0001", "first");
    assert_ok(store_replace(store, "log/0001", span("second"), &error), error);
    expect_content(store, "log/0001", "second");
    assert_ok(store_publish_exclusive(store, "empty", span(""), &error), error);
    expect_content(store, "empty", "");
    assert_status(store_read(store, "log/0001", 5, &data, &bytes, &error), CISTERN_CORRUPT);
    assert_status(store_read(store, "nothing", 5, &data, &bytes, &error), CISTERN_NOT_FOUND);
    uint32_t count = 0;
    assert_ok(store_list(store, "tmp", count_entry, &count, &error), error);
    assert_int_equal(count, 0); /* temporaries are gone */
    assert_status(store_list(store, "nothing", count_entry, &count, &error), CISTERN_NOT_FOUND);
    struct cistern_io_stat stat;
    assert_ok(store_stat(store, "log/0001", &stat, &error), error);
    assert_int_equal(stat.bytes, 6);
    assert_int_equal(stat.link_count, 1);
    assert_status(store_remove_directory(store, "log", &error), CISTERN_BUSY);
    assert_ok(store_remove(store, "log/0001", &error), error);
    assert_ok(store_remove(store, "log/0001", &error), error);
    assert_ok(store_remove_directory(store, "log/deep/deeper", &error), error);
    assert_ok(store_sync_directory(store, "log", &error), error);
}

static void test_contract_file(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    struct cistern_store *store;
    char uri[128];
    snprintf(uri, sizeof uri, "file://%s/a/b/", f->directory);
    assert_status(cistern_store_open(f->io, uri, 0, &store, &error), CISTERN_NOT_FOUND);
    assert_ok(cistern_store_open(f->io, uri, 1, &store, &error), error);
    contract(store);
    assert_int_equal(store_part_bytes_max(store), UINT64_MAX);
    cistern_store_close(store);
    uint32_t count = 0;
    assert_ok(cistern_store_open(f->io, uri, 0, &store, &error), error);
    assert_ok(store_list(store, "", count_entry, &count, &error), error);
    assert_int_equal(count, 3); /* log, tmp, empty; no probe is left */
    cistern_store_close(store);
}

static void test_contract_memory(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    struct cistern_store *store;
    assert_ok(cistern_store_open(f->io, "memory:", 1, &store, &error), error);
    assert_null(cistern_store_path(store));
    assert_int_equal(store_part_bytes_max(store), 5 << 20);
    contract(store);
    cistern_store_close(store);
}

static void test_names_are_checked(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    struct cistern_store *store;
    assert_ok(cistern_store_open(f->io, f->directory, 1, &store, &error), error);
    static const char *const bad[] = {
        "../x", "a/../b", "/etc/passwd", "a//b", "a/", ".", "a b", "a\nb", "\xC3\xA4"};
    char path[STORE_PATH_BYTES_MAX];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_status(store_absolute_path(store, bad[i], path, &error), CISTERN_INVALID);
    }
    char longest[STORE_NAME_BYTES_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[STORE_NAME_BYTES_MAX + 1] = '\0';
    assert_status(store_absolute_path(store, longest, path, &error), CISTERN_INVALID);
    longest[STORE_NAME_BYTES_MAX] = '\0';
    assert_ok(store_absolute_path(store, longest, path, &error), error);
    cistern_store_close(store);
}

static void test_bad_places_are_named(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    struct cistern_store *store;
    char path[128];
    snprintf(path, sizeof path, "%s/file", f->directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_status(cistern_store_open(f->io, path, 0, &store, &error), CISTERN_INVALID);
    assert_non_null(strstr(error.object, "/file"));
    assert_int_not_equal(
        cistern_store_open(f->io, "/proc/none/such", 1, &store, &error), CISTERN_OK);
    assert_status(
        cistern_store_open(f->io, "s3://bucket/prefix", 1, &store, &error), CISTERN_UNSUPPORTED);
}

static void test_lock_between_processes(void **state)
{
    struct fixture *f = *state;
    struct cistern_error error;
    struct cistern_store *store;
    struct store_lock_holder holder;
    assert_ok(cistern_store_open(f->io, f->directory, 1, &store, &error), error);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    char path[96];
    char ready_fd[16];
    snprintf(path, sizeof path, "%s/LOCK", f->directory);
    snprintf(ready_fd, sizeof ready_fd, "%d", ready[1]);
    pid_t child = fork();
    if (child == 0) { /* only system calls of its own: the parent's threads are not here */
        execlp("python3", "python3", "-c",
            "import fcntl,os,struct,sys,time\n"
            "f=open(sys.argv[1],'w+')\n"
            "fcntl.fcntl(f,37,struct.pack('hhqqi4x',fcntl.F_WRLCK,0,0,0,0))\n"
            "b=open('/proc/sys/kernel/random/boot_id').read().strip()\n"
            "f.write('host=here\\nboot_id=%s\\npid=%d\\nepoch=3\\nsince=now\\n'%(b,os.getpid()))\n"
            "f.flush()\nos.write(int(sys.argv[2]),b'x')\ntime.sleep(60)\n",
            path, ready_fd, (char *)NULL);
        _exit(127);
    }
    close(ready[1]);
    char byte;
    if (read(ready[0], &byte, 1) != 1) {
        print_message(
            "SKIPPED: no python3 on this machine to hold the lock from another process\n");
        waitpid(child, NULL, 0);
        cistern_store_close(store);
        return;
    }
    assert_status(store_lock(store, &holder, &error), CISTERN_BUSY);
    assert_int_equal(holder.state, STORE_HOLDER_ALIVE);
    assert_int_equal(holder.pid, child);
    assert_int_equal(holder.epoch, 3);
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(waitpid(child, NULL, WUNTRACED), child);
    assert_status(store_lock(store, &holder, &error), CISTERN_BUSY);
    assert_int_equal(holder.state, STORE_HOLDER_STOPPED);
    assert_ok(store_lock_take_over(store, &error), error);
    struct cistern_store *third;
    assert_ok(cistern_store_open(f->io, f->directory, 1, &third, &error), error);
    /* sees us, not the stopped one */
    assert_status(store_lock(third, &holder, &error), CISTERN_BUSY);
    assert_int_equal(holder.pid, getpid());
    store_unlock(store);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_ok(store_lock(third, &holder, &error), error);
    assert_ok(store_lock_describe(third, 9, &error), error);
    cistern_store_close(third);
    cistern_store_close(store);
    close(ready[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contract_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_contract_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_places_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock_between_processes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
