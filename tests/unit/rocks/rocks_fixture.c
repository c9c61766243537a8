/* rocks_fixture.c -- see rocks_fixture.h. */
#include "rocks_fixture.h"

#include "cistern/clock.h"
#include "cistern/endian.h"

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READY_POLLS_MAX 60000

void fixture_open(
    struct fixture *fixture, uint64_t budget_bytes, uint32_t slot_count, uint32_t accounting)
{
    memset(fixture, 0, sizeof *fixture);
    const char *tmp = getenv("TMPDIR");
    snprintf(
        fixture->root, sizeof fixture->root, "%s/cistern-rocks-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(fixture->root));
    struct cistern_pool_options options = {
        .budget_bytes = budget_bytes, .slot_count_max = slot_count, .accounting = accounting};
    assert_ok(cistern_pool_create(&options, &fixture->pool, &fixture->error), fixture->error);
    for (uint32_t i = 0; i < slot_count; i++) {
        struct cistern_slot_options slot = {0};
        assert_ok(cistern_slot_open(fixture->pool, &slot, &fixture->slots[i], &fixture->error),
            fixture->error);
    }
    fixture->slot_count = slot_count;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

void fixture_close(struct fixture *fixture)
{
    for (uint32_t i = 0; i < fixture->slot_count; i++) {
        assert_ok(cistern_slot_close(fixture->slots[i], &fixture->error), fixture->error);
    }
    assert_ok(cistern_pool_destroy(fixture->pool, &fixture->error), fixture->error);
    assert_int_equal(nftw(fixture->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

const char *fixture_path(const struct fixture *fixture, const char *name)
{
    static char paths[4][FIXTURE_PATH_MAX * 2];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", fixture->root, name);
    return path;
}

struct cistern_backend *fixture_backend(struct fixture *fixture, uint32_t slot, const char *name,
    uint32_t max_parallelism, uint32_t first, uint32_t last)
{
    struct cistern_rocks_options options = {
        .backend = {.max_parallelism = max_parallelism, .range = {first, last}},
        .directory = fixture_path(fixture, name),
    };
    struct cistern_backend *backend = NULL;
    assert_ok(cistern_rocks_open(fixture->slots[slot], &options, &backend, &fixture->error),
        fixture->error);
    return backend;
}

struct cistern_state *fixture_state(struct fixture *fixture, struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor)
{
    struct cistern_state *state = NULL;
    assert_ok(cistern_state_register(backend, descriptor, &state, &fixture->error), fixture->error);
    return state;
}

struct cistern_snapshot *fixture_begin(
    struct fixture *fixture, struct cistern_backend *backend, uint64_t id, uint32_t kind)
{
    struct cistern_snapshot_request request = {.checkpoint_id = id, .kind = kind};
    struct cistern_snapshot *snapshot = NULL;
    assert_ok(
        cistern_snapshot_begin(backend, &request, &snapshot, &fixture->error), fixture->error);
    return snapshot;
}

static void copy_stream(
    struct fixture *fixture, struct cistern_snapshot *snapshot, struct taken_part *taken)
{
    static uint8_t buffer[100003]; /* no multiple of any block */
    int fd = open(taken->path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    assert_true(fd >= 0);
    uint64_t got = 0;
    do {
        struct cistern_bytes into = {buffer, sizeof buffer};
        assert_ok(cistern_snapshot_read(snapshot, into, &got, &fixture->error), fixture->error);
        assert_int_equal(write(fd, buffer, got), (ssize_t)got);
        taken->part.bytes += got;
    } while (got != 0);
    close(fd);
}

struct taken *fixture_take(
    struct fixture *fixture, struct cistern_snapshot *snapshot, const char *name)
{
    struct taken *taken = calloc(1, sizeof *taken);
    assert_non_null(taken);
    const char *directory = fixture_path(fixture, name);
    assert_int_equal(mkdir(directory, 0777), 0);
    uint32_t polls = 0;
    for (;;) {
        struct cistern_part part;
        uint32_t status = cistern_snapshot_next(snapshot, &part, &fixture->error);
        if (status == CISTERN_BUSY && polls++ < READY_POLLS_MAX) {
            cistern_sleep_ns(1000000);
            continue;
        }
        if (status == CISTERN_NOT_FOUND) {
            break;
        }
        assert_ok(status, fixture->error);
        assert_true(taken->part_count < FIXTURE_PARTS_MAX);
        struct taken_part *kept = &taken->parts[taken->part_count++];
        kept->part = part;
        const char *part_name = part.restore_name != NULL ? part.restore_name : "stream";
        snprintf(kept->name, sizeof kept->name, "%s", part_name);
        snprintf(kept->path, sizeof kept->path, "%.300s/%.64s", directory, part_name);
        if (part.kind == CISTERN_PART_FILE) {
            assert_int_equal(part.local_path[0], '/');
            assert_int_equal(link(part.local_path, kept->path), 0);
        } else {
            copy_stream(fixture, snapshot, kept);
        }
    }
    cistern_snapshot_release(snapshot);
    return taken;
}

static uint32_t source_next(void *arg, struct cistern_part *ret_part, struct cistern_error *error)
{
    struct test_source *source = arg;
    (void)error;
    while (source->slice < source->source.slice_count &&
           source->next == source->slices[source->slice]->part_count) {
        source->slice++;
        source->next = 0;
    }
    if (source->slice == source->source.slice_count) {
        return CISTERN_NOT_FOUND;
    }
    source->current = &source->slices[source->slice]->parts[source->next++];
    *ret_part = source->current->part;
    ret_part->restore_name = source->current->name;
    ret_part->local_path = NULL;
    ret_part->slice_index = source->slice;
    return CISTERN_OK;
}

static uint32_t source_read(void *arg, uint64_t offset_bytes, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct test_source *source = arg;
    (void)error;
    int fd = open(source->current->path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t got = pread(fd, into.data, into.capacity_bytes, (off_t)offset_bytes);
    assert_true(got >= 0);
    close(fd);
    *ret_bytes = (uint64_t)got;
    return CISTERN_OK;
}

static uint32_t source_link(void *arg, const char *local_path, struct cistern_error *error)
{
    struct test_source *source = arg;
    (void)error;
    assert_int_equal(link(source->current->path, local_path), 0);
    return CISTERN_OK;
}

static const char *source_describe(void *arg)
{
    return ((struct test_source *)arg)->current->path;
}

void test_source_init(
    struct test_source *source, const char *backend, struct taken **slices, uint32_t slice_count)
{
    memset(source, 0, sizeof *source);
    source->slices = slices;
    source->source = (struct cistern_source){
        .arg = source,
        .backend = backend,
        .slice_count = slice_count,
        .next = source_next,
        .read = source_read,
        .link = source_link,
        .describe = source_describe,
    };
}

struct cistern_address fixture_address(
    struct test_address *storage, uint64_t index, uint32_t max_parallelism)
{
    struct cistern_address address = {0};
    cistern_put_u64_be(storage->key, index * UINT64_C(0x9E3779B97F4A7C15));
    address.key = (struct cistern_span){storage->key, 8};
    address.key_group = (uint32_t)(index % max_parallelism);
    return address;
}
