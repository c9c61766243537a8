/* check_test.c -- each flipped bit of a root's text files, each damaged, cut or missing file:
 * found, and named. */
#include "frame_private.h"
#include "rig.h"

#include "cistern/seg.h"

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

/* ---- containers: the place of a wrong byte is told, not only that there is one ---- */
#define CONTAINER_BYTES_MAX (2u << 20)
#define CONTAINER_ENTRIES 30000u

struct container {
    uint8_t *data;
    uint64_t bytes;
};
struct container_snapshot {
    struct cistern_snapshot base; /* first */
    const struct container *container;
    uint64_t offset;
    uint32_t handed_out;
};

static void take_output(struct cistern_seg_writer *writer, struct container *container)
{
    struct cistern_error error;
    uint64_t bytes;
    do {
        assert_ok(cistern_seg_writer_take(writer,
                      (struct cistern_bytes){container->data + container->bytes,
                          CONTAINER_BYTES_MAX - container->bytes},
                      &bytes, &error),
            error);
        container->bytes += bytes;
    } while (bytes > 0);
}

static struct container container_build(uint32_t slot)
{
    struct container container = {.data = malloc(CONTAINER_BYTES_MAX)};
    struct cistern_seg_writer_options options = {.role = CISTERN_ROLE_HEAP_BASE,
        .slot_index = slot,
        .checkpoint_id = 1,
        .range = {slot * 64, slot * 64 + 63},
        .buffer_bytes = 256u << 10};
    struct cistern_state_descriptor descriptor = {.name = "words", .kind = CISTERN_VALUE};
    struct cistern_seg_writer *writer;
    struct cistern_error error;
    char *text = NULL;
    assert_non_null(container.data);
    assert_ok(cistern_seg_writer_create(&options, &writer, &error), error);
    assert_ok(cistern_descriptor_encode(&descriptor, 1, &text, &error), error);
    assert_ok(cistern_seg_writer_state(writer, 1, text, &error), error);
    cistern_release(text);
    for (uint32_t number = 0; number < CONTAINER_ENTRIES; number++) {
        uint64_t value = number * 2654435761u;
        struct cistern_seg_entry entry = {.state_id = 1,
            .key_group = slot * 64 + number % 64,
            .key = {&number, sizeof number},
            .value = {&value, sizeof value}};
        while (cistern_seg_writer_add(writer, &entry, &error) == CISTERN_BUSY) {
            take_output(writer, &container);
        }
    }
    assert_ok(cistern_seg_writer_finish(writer, &error), error);
    take_output(writer, &container);
    assert_int_equal(cistern_seg_writer_entry_count(writer), CONTAINER_ENTRIES);
    cistern_seg_writer_destroy(writer);
    return container;
}

static uint32_t container_next(
    struct cistern_snapshot *given, struct cistern_part *part, struct cistern_error *error)
{
    struct container_snapshot *snapshot = (struct container_snapshot *)given;
    (void)error;
    if (snapshot->handed_out++ > 0) {
        return CISTERN_NOT_FOUND;
    }
    *part = (struct cistern_part){
        .kind = CISTERN_PART_STREAM, .role = CISTERN_ROLE_HEAP_BASE, .range = {0, 127}};
    return CISTERN_OK;
}

static uint32_t container_read(struct cistern_snapshot *given, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct container_snapshot *snapshot = (struct container_snapshot *)given;
    uint64_t left = snapshot->container->bytes - snapshot->offset;
    (void)error;
    *ret_bytes = left < into.capacity_bytes ? left : into.capacity_bytes;
    memcpy(into.data, snapshot->container->data + snapshot->offset, *ret_bytes);
    snapshot->offset += *ret_bytes;
    return CISTERN_OK;
}

static void containers_publish(struct rig *rig, const struct container containers[RIG_SLOTS])
{
    static const struct cistern_backend_ops ops = {.size = sizeof ops,
        .name = "heap",
        .snapshot_next = container_next,
        .snapshot_read = container_read,
        .snapshot_release = rig_release};
    static struct cistern_backend backend = {.ops = &ops};
    struct cistern_error error;
    for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
        struct container_snapshot *snapshot = calloc(1, sizeof *snapshot);
        struct cistern_upload_options options = {.slot_index = slot,
            .kind = CISTERN_SNAPSHOT_FULL,
            .checkpoint_id = 1,
            .range = {slot * 64, slot * 64 + 63},
            .backend = "heap",
            .done = rig_done,
            .arg = rig};
        assert_non_null(snapshot);
        snapshot->base.backend = &backend;
        snapshot->base.checkpoint_id = 1;
        snapshot->container = &containers[slot];
        __atomic_add_fetch(&backend.snapshots_in_flight, 1, __ATOMIC_RELAXED);
        assert_ok(
            cistern_upload_begin(rig->writer, &snapshot->base, &options, NULL, &error), error);
    }
    rig_settle(rig);
    assert_int_equal(rig->done_count, RIG_SLOTS);
    assert_ok(rig->statuses[0], rig->error);
    assert_ok(rig_publish(rig, rig->writer, 1, 0, NULL, &error), error);
}

static uint32_t container_fetch(
    void *arg, uint64_t offset, struct cistern_bytes into, struct cistern_error *error)
{
    const struct container *container = arg;
    (void)error;
    memcpy(into.data, container->data + offset, into.capacity_bytes);
    return CISTERN_OK;
}

/* A flip at `at`: the problem's offset lies in the same block (header, payload and padding), and
 * not behind the byte. */
static void flip_in_block(struct rig *rig, const char *name, uint64_t at, uint64_t begin)
{
    char path[200];
    snprintf(path, sizeof path, RIG_ROOT "/%s", name);
    assert_int_equal(sim_disk_flip(rig->disk, path, at, (uint32_t)(at % 8)), 1);
    assert_int_equal(check(rig, RIG_ROOT, 0).count, 0);
    struct found found = check(rig, RIG_ROOT, 1);
    if (found.count != 1 || found.offset < begin || found.offset > at + 64) {
        print_error("%s: byte %llu: %u problems, the first in %s at %llu\n", name,
            (unsigned long long)at, found.count, found.path, (unsigned long long)found.offset);
        fail();
    }
    assert_string_equal(found.path, name);
    assert_string_equal(found.kind, "corrupt");
    assert_int_equal(sim_disk_flip(rig->disk, path, at, (uint32_t)(at % 8)), 1);
}

static void test_containers(void **state)
{
    (void)state;
    static const char name[] = "data/e0001/w0002/000001.seg";
    struct rig rig;
    struct cistern_seg_reader *reader;
    struct cistern_seg_info info;
    struct cistern_error error;
    struct container containers[RIG_SLOTS] = {container_build(0), container_build(1)};
    struct container *container = &containers[1];
    uint64_t seed = test_seed("check_test", 4);
    uint64_t data_end = 0;
    rig_open(&rig, 4);
    containers_publish(&rig, containers);
    rig_shut(&rig);
    assert_int_equal(check(&rig, RIG_ROOT, 1).count, 0);
    assert_ok(cistern_seg_reader_open(
                  container_fetch, container, container->bytes, "own", &reader, &error),
        error);
    cistern_seg_reader_info(reader, &info);
    assert_true(info.block_count > 4);
    for (uint32_t index = 0; index < info.block_count; index++) {
        struct cistern_seg_block_info block;
        assert_ok(cistern_seg_reader_block(reader, index, &block, &error), error);
        data_end = block.offset + 48 + block.stored_bytes;
        flip_in_block(&rig, name, block.offset + test_random(&seed) % 48, block.offset);
        flip_in_block(&rig, name, block.offset + 48, block.offset);
        flip_in_block(&rig, name, data_end - 1, block.offset);
        flip_in_block(
            &rig, name, block.offset + 48 + test_random(&seed) % block.stored_bytes, block.offset);
    }
    cistern_seg_reader_close(reader);
    for (uint64_t at = 0; at < 64; at += 3) {
        flip_in_block(&rig, name, at, 0);
    }
    for (uint64_t at = data_end; at < container->bytes; at += 1 + test_random(&seed) % 40) {
        flip_in_block(&rig, name, at, 0); /* padding, index, state table, trailer */
    }
    assert_int_equal(check(&rig, RIG_ROOT, 1).count, 0);
    cut(&rig, RIG_ROOT "/data/e0001/w0002/000001.seg", container->bytes - 1);
    expect_one(&rig, name, "size", container->bytes - 1);
    rig_close(&rig);
    free(containers[0].data);
    free(containers[1].data);
}

int main(void)
{
    frame_use_allocator();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_bit_of_the_text),
        cmocka_unit_test(test_data_bits),
        cmocka_unit_test(test_cut_and_missing_files),
        cmocka_unit_test(test_containers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
