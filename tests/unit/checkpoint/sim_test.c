/* sim_test.c -- what the simulated disk keeps and loses at a power cut, and that its failures
 * are the ones asked for. */
#include "io_private.h"
#include "sim_private.h"
#include "test.h"

#include "cistern/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct fixture {
    struct sim_disk *disk;
    struct cistern_io *io;
};

static struct fixture fixture_open(uint64_t seed)
{
    struct cistern_error error;
    struct fixture f = {.disk = sim_disk_create(seed)};
    assert_non_null(f.disk);
    assert_ok(io_create_simulated(NULL, f.disk, 0, &f.io, &error), error);
    return f;
}

static void fixture_close(struct fixture *f)
{
    cistern_io_destroy(f->io);
    sim_disk_destroy(f->disk);
}

static int64_t run(struct fixture *f, uint32_t opcode, const char *path, const char *path2)
{
    struct cistern_io_operation operation = {.opcode = opcode, .path = path, .path2 = path2};
    return cistern_io_run(f->io, &operation);
}

/* Creates or appends to a file; syncs its data and its directory as asked. */
static void put(
    struct fixture *f, const char *path, const char *text, int sync_file, int sync_directory)
{
    struct cistern_io_operation open = {
        .opcode = CISTERN_IO_OPEN, .path = path, .flags = O_RDWR | O_CREAT};
    int64_t fd = cistern_io_run(f->io, &open);
    assert_true(fd >= 0);
    struct cistern_io_operation write = {.opcode = CISTERN_IO_WRITE,
        .fd = (int32_t)fd,
        .data = (void *)(uintptr_t)text,
        .bytes = strlen(text)};
    assert_int_equal(cistern_io_run(f->io, &write), strlen(text));
    struct cistern_io_operation sync = {.opcode = CISTERN_IO_FSYNC, .fd = (int32_t)fd};
    if (sync_file) {
        assert_int_equal(cistern_io_run(f->io, &sync), 0);
    }
    struct cistern_io_operation close = {.opcode = CISTERN_IO_CLOSE, .fd = (int32_t)fd};
    assert_int_equal(cistern_io_run(f->io, &close), 0);
    if (sync_directory) {
        struct cistern_io_operation open_root = {
            .opcode = CISTERN_IO_OPEN, .path = "/", .flags = O_DIRECTORY};
        fd = cistern_io_run(f->io, &open_root);
        assert_true(fd >= 0);
        sync.fd = (int32_t)fd;
        assert_int_equal(cistern_io_run(f->io, &sync), 0);
        close.fd = (int32_t)fd;
        assert_int_equal(cistern_io_run(f->io, &close), 0);
    }
}

/* -1 = no such file; else its size, text in `into`. */
static int64_t get(struct fixture *f, const char *path, char into[64])
{
    struct cistern_io_operation open = {.opcode = CISTERN_IO_OPEN, .path = path, .flags = O_RDONLY};
    int64_t fd = cistern_io_run(f->io, &open);
    if (fd < 0) {
        assert_int_equal(fd, -ENOENT);
        return -1;
    }
    struct cistern_io_operation read = {
        .opcode = CISTERN_IO_READ, .fd = (int32_t)fd, .data = into, .bytes = 63};
    int64_t bytes = cistern_io_run(f->io, &read);
    assert_true(bytes >= 0);
    into[bytes] = '\0';
    struct cistern_io_operation close = {.opcode = CISTERN_IO_CLOSE, .fd = (int32_t)fd};
    assert_int_equal(cistern_io_run(f->io, &close), 0);
    return bytes;
}

static void test_synced_survives(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct fixture f = fixture_open(seed);
        char text[64];
        put(&f, "/kept", "durable", 1, 1);
        sim_disk_power_cut(f.disk, seed);
        assert_int_equal(get(&f, "/kept", text), 7);
        assert_string_equal(text, "durable");
        fixture_close(&f);
    }
}

static void test_unsynced_is_kept_torn_or_lost(void **state)
{
    (void)state;
    uint32_t whole = 0;
    uint32_t torn = 0;
    uint32_t empty = 0;
    uint32_t nameless = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct fixture f = fixture_open(seed);
        char text[64];
        put(&f, "/data", "0123456789", 0, 1); /* the name is durable, the bytes are not */
        put(&f, "/name", "0123456789", 1, 0); /* the bytes are durable, the name is not */
        sim_disk_power_cut(f.disk, seed);
        int64_t bytes = get(&f, "/data", text);
        assert_in_range(bytes, 0, 10);
        assert_memory_equal(text, "0123456789", (size_t)bytes);
        whole += bytes == 10;
        empty += bytes == 0;
        torn += bytes > 0 && bytes < 10;
        int64_t named = get(&f, "/name", text);
        assert_true(named == -1 || named == 10);
        nameless += named == -1;
        fixture_close(&f);
    }
    /* Each fate takes place: a disk that only ever does one of them would test nothing. */
    assert_true(whole > 40 && torn > 40 && empty > 40);
    assert_in_range(nameless, 100, 300);
}

static void test_unsynced_unlink_may_come_back(void **state)
{
    (void)state;
    uint32_t back = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct fixture f = fixture_open(seed);
        char text[64];
        put(&f, "/gone", "text", 1, 1);
        assert_int_equal(run(&f, CISTERN_IO_UNLINK, "/gone", NULL), 0);
        sim_disk_power_cut(f.disk, seed);
        back += get(&f, "/gone", text) == 4;
        fixture_close(&f);
    }
    assert_in_range(back, 20, 80);
}

static void test_failures_are_the_ones_asked_for(void **state)
{
    (void)state;
    struct fixture f = fixture_open(1);
    char text[64];
    sim_disk_fail_at(f.disk, 1, EDQUOT);
    assert_int_equal(run(&f, CISTERN_IO_MKDIR, "/d", NULL), -EDQUOT);
    assert_int_equal(run(&f, CISTERN_IO_MKDIR, "/d", NULL), 0);
    sim_disk_space(f.disk, 3);
    struct cistern_io_operation open = {.opcode = CISTERN_IO_OPEN, .path = "/f", .flags = O_CREAT};
    int64_t fd = cistern_io_run(f.io, &open);
    struct cistern_io_operation write = {
        .opcode = CISTERN_IO_WRITE, .fd = (int32_t)fd, .data = text, .bytes = 4};
    assert_int_equal(cistern_io_run(f.io, &write), -ENOSPC);
    write.bytes = 3;
    assert_int_equal(cistern_io_run(f.io, &write), 3);
    assert_int_equal(sim_disk_bytes(f.disk), 3);
    sim_disk_halt_at(f.disk, 1);
    assert_int_equal(run(&f, CISTERN_IO_MKDIR, "/e", NULL), -EIO);
    assert_int_equal(run(&f, CISTERN_IO_RMDIR, "/d", NULL), -EIO);
    sim_disk_power_cut(f.disk, 1);
    assert_int_equal(run(&f, CISTERN_IO_MKDIR, "/e", NULL), 0);
    fixture_close(&f);
}

static void test_the_seed_decides_everything(void **state)
{
    (void)state;
    char outcomes[2][32];
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t seed = 0; seed < 32; seed++) {
            struct fixture f = fixture_open(seed);
            char text[64];
            put(&f, "/x", "0123456789", 0, 1);
            sim_disk_power_cut(f.disk, 7);
            outcomes[pass][seed] = (char)get(&f, "/x", text);
            fixture_close(&f);
        }
    }
    assert_memory_equal(outcomes[0], outcomes[1], 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synced_survives),
        cmocka_unit_test(test_unsynced_is_kept_torn_or_lost),
        cmocka_unit_test(test_unsynced_unlink_may_come_back),
        cmocka_unit_test(test_failures_are_the_ones_asked_for),
        cmocka_unit_test(test_the_seed_decides_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
