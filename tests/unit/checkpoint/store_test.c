/* store_test.c -- one contract for file: and memory:, durability on the simulated disk, and the
 * lock between processes. */
#include "io_private.h"
#include "sim_private.h"
#include "store_private.h"
#include "test.h"

#include "cistern/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
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
    /* a host, or a path with a slash too few: never a folder below the working directory */
    assert_status(
        cistern_store_open(f->io, "file://bucket/prefix", 1, &store, &error), CISTERN_INVALID);
    assert_status(cistern_store_open(f->io, "memory:name", 1, &store, &error), CISTERN_INVALID);
}

/* ---- on the simulated disk: what a lost reply and a power cut leave ---- */

struct simulated {
    struct sim_disk *disk;
    struct cistern_io *io;
    struct cistern_store *store;
};

static void simulated_open(struct simulated *s, uint64_t seed)
{
    struct cistern_error error;
    s->disk = sim_disk_create(seed);
    assert_non_null(s->disk);
    assert_ok(io_create_simulated(NULL, s->disk, 0, &s->io, &error), error);
    assert_ok(cistern_store_open(s->io, "/root", 1, &s->store, &error), error);
}

static void simulated_close(struct simulated *s)
{
    cistern_store_close(s->store);
    cistern_io_destroy(s->io);
    sim_disk_destroy(s->disk);
}

/* The lights go out; the same disk is opened by a new io and a new store. */
static void simulated_reopen(struct simulated *s, uint64_t seed)
{
    struct cistern_error error;
    cistern_store_close(s->store);
    cistern_io_destroy(s->io);
    sim_disk_power_cut(s->disk, seed);
    assert_ok(io_create_simulated(NULL, s->disk, 0, &s->io, &error), error);
    assert_ok(cistern_store_open(s->io, "/root", 0, &s->store, &error), error);
}

static void test_published_survives_a_power_cut(void **state)
{
    (void)state;
    struct cistern_error error;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct simulated s;
        simulated_open(&s, seed);
        assert_ok(store_make_directory(s.store, "log/deep", &error), error);
        assert_ok(store_publish_exclusive(s.store, "log/deep/1", span("one"), &error), error);
        assert_ok(store_replace(s.store, "log/FLOOR", span("old"), &error), error);
        assert_ok(store_replace(s.store, "log/FLOOR", span("new"), &error), error);
        simulated_reopen(&s, seed);
        expect_content(s.store, "log/deep/1", "one");
        expect_content(s.store, "log/FLOOR", "new");
        simulated_close(&s);
    }
}

/* A directory that an earlier, failed or killed call made is not durable yet: whoever finds it
 * there makes it so. Each operation of the first call fails once. */
static void test_a_directory_found_is_made_durable(void **state)
{
    (void)state;
    struct cistern_error error;
    for (uint64_t nth = 1, refused = 1; refused; nth++) {
        assert_true(nth < 50);
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct simulated s;
            simulated_open(&s, seed);
            sim_disk_fail_at(s.disk, nth, EIO);
            refused = store_make_directory(s.store, "a/b/c", &error) != CISTERN_OK;
            sim_disk_fail_at(s.disk, 0, 0);
            assert_ok(store_make_directory(s.store, "a/b/c", &error), error);
            assert_ok(store_publish_exclusive(s.store, "a/b/c/x", span("kept"), &error), error);
            simulated_reopen(&s, seed);
            expect_content(s.store, "a/b/c/x", "kept");
            simulated_close(&s);
        }
    }
}

/* The root itself, too. */
static void test_a_root_found_is_made_durable(void **state)
{
    (void)state;
    struct cistern_error error;
    for (uint64_t nth = 1, refused = 1; refused; nth++) {
        assert_true(nth < 50);
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct simulated s = {.disk = sim_disk_create(seed)};
            assert_non_null(s.disk);
            assert_ok(io_create_simulated(NULL, s.disk, 0, &s.io, &error), error);
            sim_disk_fail_at(s.disk, nth, EIO);
            refused = cistern_store_open(s.io, "/up/root", 1, &s.store, &error) != CISTERN_OK;
            if (!refused) {
                cistern_store_close(s.store);
            }
            sim_disk_fail_at(s.disk, 0, 0);
            assert_ok(cistern_store_open(s.io, "/up/root", 1, &s.store, &error), error);
            assert_ok(store_publish_exclusive(s.store, "x", span("kept"), &error), error);
            cistern_store_close(s.store);
            sim_disk_power_cut(s.disk, seed);
            assert_ok(cistern_store_open(s.io, "/up/root", 0, &s.store, &error), error);
            expect_content(s.store, "x", "kept");
            simulated_close(&s);
        }
    }
}

static void test_a_lost_reply_to_a_link_is_our_own(void **state)
{
    (void)state;
    struct cistern_error error;
    static const int32_t answers[] = {EEXIST, EIO, ETIMEDOUT};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct simulated s;
        simulated_open(&s, 1);
        sim_disk_lose_reply(s.disk, CISTERN_IO_LINK, answers[i]);
        assert_ok(store_publish_exclusive(s.store, "record", span("ours"), &error), error);
        expect_content(s.store, "record", "ours");
        /* The same answer about somebody else's file is what it says. */
        assert_status(
            store_publish_exclusive(s.store, "record", span("theirs"), &error), CISTERN_EXISTS);
        expect_content(s.store, "record", "ours");
        uint32_t count = 0;
        assert_ok(store_list(s.store, "tmp", count_entry, &count, &error), error);
        assert_int_equal(count, 0);
        simulated_close(&s);
    }
}

static void test_a_file_system_without_directory_sync_is_refused(void **state)
{
    (void)state;
    struct cistern_error error;
    struct simulated s = {.disk = sim_disk_create(1)};
    assert_non_null(s.disk);
    assert_ok(io_create_simulated(NULL, s.disk, 0, &s.io, &error), error);
    struct cistern_io_operation mkdir = {.opcode = CISTERN_IO_MKDIR, .path = "/root"};
    assert_int_equal(cistern_io_run(s.io, &mkdir), 0);
    sim_disk_lose_reply(s.disk, CISTERN_IO_FSYNC, EINVAL);
    assert_status(cistern_store_open(s.io, "/root", 1, &s.store, &error), CISTERN_UNSUPPORTED);
    assert_non_null(strstr(error.message, "fsync"));
    sim_disk_lose_reply(s.disk, CISTERN_IO_LINK, EPERM);
    assert_ok(cistern_store_open(s.io, "/root", 1, &s.store, &error), error);
    simulated_close(&s);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    struct cistern_error error;
    static const char *const uris[] = {"/root", "memory:"};
    for (size_t i = 0; i < sizeof uris / sizeof uris[0]; i++) {
        uint64_t held = cistern_allocation_count();
        uint32_t status = CISTERN_NO_MEMORY;
        for (uint64_t n = 1; status != CISTERN_OK; n++) {
            assert_true(n < 500);
            struct sim_disk *disk = sim_disk_create(1);
            struct cistern_io *io;
            struct cistern_store *store = NULL;
            void *data = NULL;
            uint64_t bytes;
            assert_non_null(disk);
            assert_ok(io_create_simulated(NULL, disk, 0, &io, &error), error);
            cistern_allocation_fail_at(n);
            status = cistern_store_open(io, uris[i], 1, &store, &error);
            if (status == CISTERN_OK) {
                status = store_make_directory(store, "log", &error);
            }
            if (status == CISTERN_OK) {
                status = store_publish_exclusive(store, "log/1", span("record"), &error);
            }
            if (status == CISTERN_OK) {
                status = store_replace(store, "log/1", span("another"), &error);
            }
            if (status == CISTERN_OK) {
                status = store_read(store, "log/1", 100, &data, &bytes, &error);
            }
            cistern_allocation_fail_at(0);
            assert_true(status == CISTERN_OK || status == CISTERN_NO_MEMORY);
            cistern_release(data);
            cistern_store_close(store);
            cistern_io_destroy(io);
            sim_disk_destroy(disk);
            assert_int_equal(cistern_allocation_count(), held);
        }
    }
}

/* ---- the lock ---- */

/* Another process that holds the lock, made while this one has no threads, so that what runs after
 * fork() is an ordinary program. An heir is its child, which keeps the lock when it is killed. */
static pid_t holder_start(const char *directory, int with_heir, int *ret_heir_end)
{
    int ready[2];
    int end[2];
    char byte = 'x';
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(end), 0);
    pid_t holder = fork();
    if (holder == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no process behind */
        close(end[1]);
        struct cistern_error error;
        struct cistern_io *io;
        struct cistern_store *store;
        struct store_lock_holder other;
        struct cistern_pool *pool;
        struct cistern_pool_options pool_options = {.budget_bytes = 64 << 20};
        struct cistern_io_options options = {.engine = CISTERN_IO_THREADS, .thread_count = 1};
        if (cistern_pool_create(&pool_options, &pool, &error) != CISTERN_OK ||
            cistern_io_create(pool, &options, &io, &error) != CISTERN_OK ||
            cistern_store_open(io, directory, 1, &store, &error) != CISTERN_OK ||
            store_lock(store, &other, &error) != CISTERN_OK ||
            store_lock_describe(store, 3, &error) != CISTERN_OK) {
            _exit(1);
        }
        if (with_heir && fork() == 0) { /* system calls only: the threads are not here */
            (void)!read(end[0], &byte, 1);
            _exit(0);
        }
        (void)!write(ready[1], &byte, 1);
        for (;;) {
            pause();
        }
    }
    close(ready[1]);
    close(end[0]);
    assert_true(holder > 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    *ret_heir_end = end[1];
    return holder;
}

static void holder_kill(pid_t holder)
{
    assert_int_equal(kill(holder, SIGKILL), 0);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
}

static void directory_make(char directory[64])
{
    strcpy(directory, "/tmp/cistern-lock-XXXXXX");
    assert_non_null(mkdtemp(directory));
}

static struct fixture *fixture_on(const char *directory)
{
    void *made;
    assert_int_equal(setup(&made), 0);
    struct fixture *f = made;
    assert_int_equal(rmdir(f->directory), 0);
    strcpy(f->directory, directory);
    return f;
}

static void test_lock_between_processes(void **state)
{
    (void)state;
    char directory[64];
    int end;
    directory_make(directory);
    pid_t holder_pid = holder_start(directory, 0, &end);
    struct fixture *f = fixture_on(directory);
    struct cistern_error error;
    struct cistern_store *store;
    struct cistern_store *third;
    struct store_lock_holder holder;
    assert_ok(cistern_store_open(f->io, directory, 1, &store, &error), error);
    assert_status(store_lock(store, &holder, &error), CISTERN_BUSY);
    assert_int_equal(holder.state, STORE_HOLDER_ALIVE);
    assert_int_equal(holder.pid, holder_pid);
    assert_int_equal(holder.epoch, 3);
    assert_non_null(strstr(error.message, holder.text));
    assert_int_equal(kill(holder_pid, SIGSTOP), 0);
    assert_int_equal(waitpid(holder_pid, NULL, WUNTRACED), holder_pid);
    assert_status(store_lock(store, &holder, &error), CISTERN_BUSY);
    assert_int_equal(holder.state, STORE_HOLDER_STOPPED);
    assert_ok(store_lock_take_over(store, &error), error);
    assert_ok(cistern_store_open(f->io, directory, 1, &third, &error), error);
    /* sees us, not the stopped one */
    assert_status(store_lock(third, &holder, &error), CISTERN_BUSY);
    assert_int_equal(holder.pid, getpid());
    assert_int_equal(holder.state, STORE_HOLDER_ALIVE);
    store_unlock(store);
    holder_kill(holder_pid);
    assert_ok(store_lock(third, &holder, &error), error);
    assert_ok(store_lock_describe(third, 9, &error), error);
    cistern_store_close(third);
    cistern_store_close(store);
    close(end);
    void *made = f;
    assert_int_equal(teardown(&made), 0);
}

/* The lock's text with one line changed, as another machine would have written it. */
static void text_change(const char *directory, const char *key, const char *value)
{
    char path[96];
    char text[512];
    snprintf(path, sizeof path, "%s/LOCK", directory);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    size_t bytes = fread(text, 1, sizeof text - 1, file);
    text[bytes] = '\0';
    char *line = strstr(text, key);
    assert_non_null(line);
    char *rest = strchr(line, '\n');
    assert_non_null(rest);
    rewind(file);
    assert_true(fprintf(file, "%.*s%s%s%s", (int)(line - text), text, key, value, rest) > 0);
    assert_int_equal(fflush(file), 0);
    assert_int_equal(ftruncate(fileno(file), ftell(file)), 0);
    assert_int_equal(fclose(file), 0);
}

/* What a store that wants the lock now is told about its holder. */
static void holder_seen(const char *directory, struct store_lock_holder *ret_holder)
{
    struct fixture *f = fixture_on(directory);
    struct cistern_error error;
    struct cistern_store *store;
    assert_ok(cistern_store_open(f->io, directory, 1, &store, &error), error);
    assert_status(store_lock(store, ret_holder, &error), CISTERN_BUSY);
    cistern_store_close(store);
    void *made = f;
    assert_int_equal(teardown(&made), 0);
}

static void test_a_holder_that_is_gone(void **state)
{
    (void)state;
    char directory[64];
    int heir_end;
    struct store_lock_holder holder;
    directory_make(directory);
    pid_t holder_pid = holder_start(directory, 1, &heir_end);
    holder_kill(holder_pid); /* its heir still holds the lock */
    holder_seen(directory, &holder);
    assert_int_equal(holder.state, STORE_HOLDER_NONE);
    assert_int_equal(holder.pid, holder_pid);
    close(heir_end);
}

/* A pid means something on its own host, since its own boot, among its own processes: elsewhere
 * "no such process" must not pass for "gone". */
static void test_a_holder_elsewhere_is_not_looked_up_here(void **state)
{
    (void)state;
    static const char *const keys[] = {"host=", "boot_id=", "pid_namespace="};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char directory[64];
        int heir_end;
        struct store_lock_holder holder;
        directory_make(directory);
        pid_t holder_pid = holder_start(directory, 0, &heir_end);
        text_change(directory, keys[i], "another");
        holder_seen(directory, &holder);
        assert_int_equal(holder.state, STORE_HOLDER_ELSEWHERE);
        assert_int_equal(holder.pid, holder_pid);
        holder_kill(holder_pid);
        close(heir_end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contract_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_contract_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_places_are_named, setup, teardown),
        cmocka_unit_test(test_published_survives_a_power_cut),
        cmocka_unit_test(test_a_directory_found_is_made_durable),
        cmocka_unit_test(test_a_root_found_is_made_durable),
        cmocka_unit_test(test_a_lost_reply_to_a_link_is_our_own),
        cmocka_unit_test(test_a_file_system_without_directory_sync_is_refused),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_lock_between_processes),
        cmocka_unit_test(test_a_holder_that_is_gone),
        cmocka_unit_test(test_a_holder_elsewhere_is_not_looked_up_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
