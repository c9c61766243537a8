/* check_test.c -- each flipped bit of a root's text files, each damaged, cut or missing file:
 * found, and named. */
#include "frame_private.h"
#include "rig.h"

struct found {
    uint32_t count;
    char path[200];
    char kind[16];
    uint64_t offset;
};

static void note(void *arg, const struct cistern_check_problem *problem)
{
    struct found *found = arg;
    if (found->count++ == 0) {
        snprintf(found->path, sizeof found->path, "%s", problem->path);
        snprintf(found->kind, sizeof found->kind, "%s", problem->kind);
        found->offset = problem->offset;
    }
    assert_non_null(problem->message);
}

static struct found check(struct rig *rig, const char *path, uint32_t read_data)
{
    struct found found = {0};
    struct cistern_check_report report;
    struct cistern_error error;
    assert_ok(cistern_check(rig->io, path, read_data, note, NULL, &found, &report, &error), error);
    assert_int_equal(report.problem_count, found.count);
    assert_true(report.files_checked > 0);
    return found;
}

static void open_with_one(struct rig *rig)
{
    struct cistern_error error;
    rig_open(rig, 1);
    assert_ok(rig_checkpoint(rig, 1, 0, &error), error);
    rig_shut(rig);
    assert_int_equal(check(rig, RIG_ROOT, 1).count, 0);
    assert_int_equal(check(rig, RIG_ROOT "/chk/0000000001-e0001", 1).count, 0);
}

static void flip_every_bit(struct rig *rig, const char *name)
{
    char path[200];
    snprintf(path, sizeof path, RIG_ROOT "/%s", name);
    uint64_t bits = 0;
    while (sim_disk_flip(rig->disk, path, bits / 8, (uint32_t)(bits % 8))) {
        struct found found = check(rig, RIG_ROOT, 0);
        if (found.count == 0 || strcmp(found.path, name) != 0) {
            print_error("%s: bit %llu: %u problems, the first in %s\n", name,
                (unsigned long long)bits, found.count, found.path);
            fail();
        }
        assert_true(found.offset <= bits / 8 + 4096);
        assert_int_equal(sim_disk_flip(rig->disk, path, bits / 8, (uint32_t)(bits % 8)), 1);
        bits++;
    }
    assert_true(bits > 8 * 100);
}

static void test_every_bit_of_the_text(void **state)
{
    (void)state;
    struct rig rig;
    open_with_one(&rig);
    flip_every_bit(&rig, "JOB");
    flip_every_bit(&rig, "log/0000000001");
    flip_every_bit(&rig, "log/0000000002");
    flip_every_bit(&rig, "chk/0000000001-e0001/MANIFEST");
    flip_every_bit(&rig, "data/e0001/w0001/000007.lst");
    assert_int_equal(check(&rig, RIG_ROOT, 1).count, 0);
    rig_close(&rig);
}

static void test_data_bits(void **state)
{
    (void)state;
    struct rig rig;
    open_with_one(&rig);
    for (uint32_t file = 1; file <= 6; file++) {
        char name[64];
        char path[100];
        snprintf(name, sizeof name, "data/e0001/w0002/%06x.sst", file);
        snprintf(path, sizeof path, RIG_ROOT "/%s", name);
        if (!sim_disk_flip(rig.disk, path, 100, 5)) {
            continue; /* the empty one */
        }
        struct found found = check(&rig, RIG_ROOT, 1);
        /* sizes are right: only reading tells */
        assert_int_equal(check(&rig, RIG_ROOT, 0).count, 0);
        assert_true(found.count >= 1);
        assert_string_equal(found.kind, "corrupt");
        assert_int_equal(sim_disk_flip(rig.disk, path, 100, 5), 1);
    }
    rig_close(&rig);
}

static void cut(struct rig *rig, const char *path, uint64_t bytes)
{
    uint8_t *data = malloc(bytes + 1);
    struct cistern_io_operation open = {.opcode = CISTERN_IO_OPEN, .path = path, .flags = O_RDONLY};
    int64_t fd = cistern_io_run(rig->io, &open);
    assert_true(fd >= 0);
    struct cistern_io_operation read = {
        .opcode = CISTERN_IO_READ, .fd = (int32_t)fd, .data = data, .bytes = bytes};
    assert_int_equal(cistern_io_run(rig->io, &read), bytes);
    struct cistern_io_operation close = {.opcode = CISTERN_IO_CLOSE, .fd = (int32_t)fd};
    (void)cistern_io_run(rig->io, &close);
    struct cistern_io_operation unlink = {.opcode = CISTERN_IO_UNLINK, .path = path};
    assert_int_equal(cistern_io_run(rig->io, &unlink), 0);
    struct cistern_io_operation create = {
        .opcode = CISTERN_IO_OPEN, .path = path, .flags = O_RDWR | O_CREAT, .mode = 0644};
    fd = cistern_io_run(rig->io, &create);
    struct cistern_io_operation write = {
        .opcode = CISTERN_IO_WRITE, .fd = (int32_t)fd, .data = data, .bytes = bytes};
    if (bytes > 0) {
        assert_int_equal(cistern_io_run(rig->io, &write), bytes);
    }
    close.fd = (int32_t)fd;
    (void)cistern_io_run(rig->io, &close);
    free(data);
}

static void expect_one(struct rig *rig, const char *path, const char *kind, uint64_t offset)
{
    struct found found = check(rig, RIG_ROOT, 0);
    assert_true(found.count >= 1);
    assert_string_equal(found.path, path);
    assert_string_equal(found.kind, kind);
    assert_int_equal(found.offset, offset);
}

static void test_cut_and_missing_files(void **state)
{
    (void)state;
    struct rig rig;
    open_with_one(&rig);
    cut(&rig, RIG_ROOT "/data/e0001/w0001/000001.sst", 1000);
    expect_one(&rig, "data/e0001/w0001/000001.sst", "size", 1000);
    rig_close(&rig);
    open_with_one(&rig);
    cut(&rig, RIG_ROOT "/chk/0000000001-e0001/MANIFEST", 700);
    expect_one(&rig, "chk/0000000001-e0001/MANIFEST", "corrupt", 700);
    rig_close(&rig);
    open_with_one(&rig);
    struct cistern_io_operation unlink = {
        .opcode = CISTERN_IO_UNLINK, .path = RIG_ROOT "/log/0000000001"};
    assert_int_equal(cistern_io_run(rig.io, &unlink), 0);
    struct found found = check(&rig, RIG_ROOT, 0);
    assert_true(found.count >= 1);
    assert_string_equal(found.kind, "log");
    assert_string_equal(found.path, "log/0000000001");
    rig_close(&rig);
}

int main(void)
{
    frame_use_allocator();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_bit_of_the_text),
        cmocka_unit_test(test_data_bits),
        cmocka_unit_test(test_cut_and_missing_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
