/*
 * snapshot_test.c -- native snapshots are exact: random operations with flushes and compactions
 * under way, barriers at random moments, and every captured set of files opened again and compared
 * with the state at its barrier.
 */
#include "rocks_fixture.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/endian.h"
#include "cistern/hash.h"
#include "rocks_private.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GROUPS 128u
#define UNIVERSE 4000u
#define STATES 3u
#define BARRIERS 24u
#define VALUE_BYTES_MAX 600u

struct model { /* 0 = absent; else the seed of the value's bytes */
    uint32_t values[STATES][UNIVERSE];
};

static uint64_t value_fill(uint8_t *into, uint32_t seed)
{
    uint64_t random = seed;
    uint64_t bytes = 8 + seed % (VALUE_BYTES_MAX - 8);
    for (uint64_t i = 0; i < bytes; i++) {
        into[i] = (uint8_t)test_random(&random);
    }
    return bytes;
}

static void operate(
    struct fixture *fixture, struct cistern_state **states, struct model *model, uint64_t *random)
{
    static struct test_address storage[64];
    static struct cistern_address addresses[64];
    static uint8_t bytes[64][VALUE_BYTES_MAX];
    static struct cistern_span values[64];
    uint32_t s = test_random(random) % 2 == 0 ? 0 : (uint32_t)(test_random(random) % STATES);
    uint32_t count = 1 + (uint32_t)(test_random(random) % 64);
    int removes = test_random(random) % 5 == 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (uint32_t)(test_random(random) % UNIVERSE);
        uint32_t seed = removes ? 0 : 1 + (uint32_t)(test_random(random) % 1000000);
        addresses[i] = fixture_address(&storage[i], index, GROUPS);
        values[i] = (struct cistern_span){bytes[i], removes ? 0 : value_fill(bytes[i], seed)};
        model->values[s][index] = seed;
    }
    uint32_t done = 0;
    uint32_t status =
        removes
            ? cistern_value_remove_many(states[s], addresses, count, &done, &fixture->error)
            : cistern_value_put_many(states[s], addresses, values, count, &done, &fixture->error);
    assert_ok(status, fixture->error);
}

static void states_register(
    struct fixture *fixture, struct cistern_backend *backend, struct cistern_state **states)
{
    static const char *const names[STATES] = {"a", "b", "c"};
    for (uint32_t s = 0; s < STATES; s++) {
        struct cistern_state_descriptor descriptor = {
            .name = names[s], .kind = CISTERN_VALUE, .key_bytes = 8};
        states[s] = fixture_state(fixture, backend, &descriptor);
    }
}

static void compare(
    struct fixture *fixture, struct cistern_state **states, const struct model *model)
{
    uint8_t wanted[VALUE_BYTES_MAX];
    struct test_address storage[500];
    struct cistern_address addresses[500];
    struct cistern_span got[500];
    for (uint32_t s = 0; s < STATES; s++) {
        for (uint32_t from = 0; from < UNIVERSE; from += 500) {
            for (uint32_t i = 0; i < 500; i++) {
                addresses[i] = fixture_address(&storage[i], from + i, GROUPS);
            }
            assert_ok(cistern_value_get_many(states[s], addresses, 500, got, &fixture->error),
                fixture->error);
            for (uint32_t i = 0; i < 500; i++) {
                uint32_t seed = model->values[s][from + i];
                assert_int_equal(got[i].data != NULL, seed != 0);
                if (seed != 0) {
                    assert_int_equal(got[i].bytes, value_fill(wanted, seed));
                    assert_memory_equal(got[i].data, wanted, got[i].bytes);
                }
            }
        }
    }
}

static void check_restored(struct fixture *fixture, struct taken *taken, const struct model *model)
{
    struct test_source source;
    test_source_init(&source, "rocks", &taken, 1);
    struct cistern_backend *backend = fixture_backend(fixture, 1, "again", GROUPS, 0, GROUPS - 1);
    assert_ok(cistern_backend_restore(backend, &source.source, &fixture->error), fixture->error);
    struct cistern_state *states[STATES];
    states_register(fixture, backend, states);
    compare(fixture, states, model);
    /* It is a live database: it takes writes and snapshots of its own, and knows its old files
     * by their origin. */
    struct taken *next = fixture_take(
        fixture, fixture_begin(fixture, backend, 1, CISTERN_SNAPSHOT_INCREMENT), "next");
    uint32_t same = 0;
    uint32_t tables = 0;
    for (uint32_t i = 0; i < taken->part_count; i++) {
        tables += taken->parts[i].part.role == CISTERN_ROLE_SST;
        for (uint32_t k = 0; k < next->part_count; k++) {
            same += taken->parts[i].part.role == CISTERN_ROLE_SST &&
                    memcmp(taken->parts[i].part.origin, next->parts[k].part.origin,
                        CISTERN_ORIGIN_BYTES) == 0;
        }
    }
    assert_true(same > 0 || tables > 4); /* a compaction at open may have merged some */
    for (uint32_t k = 0; k < next->part_count; k++) {
        unlink(next->parts[k].path);
    }
    rmdir(fixture_path(fixture, "next"));
    free(next);
    assert_ok(cistern_backend_close(backend, &fixture->error), fixture->error);
}

/* The hash that was taken while the file was written is the file's. */
static void check_hash(const struct taken_part *taken)
{
    static const uint8_t zero[CISTERN_ORIGIN_BYTES];
    assert_int_equal(taken->part.has_hash, 1);
    assert_memory_not_equal(taken->part.origin, zero, sizeof zero);
    int fd = open(taken->path, O_RDONLY);
    assert_true(fd >= 0);
    void *bytes = mmap(NULL, taken->part.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(bytes != MAP_FAILED);
    struct cistern_hash128 hash = cistern_hash128(bytes, taken->part.bytes);
    assert_memory_equal(hash.bytes, taken->part.content_hash, sizeof hash.bytes);
    munmap(bytes, taken->part.bytes);
    close(fd);
}

static uint32_t shared_with(const struct taken *a, const struct taken *b)
{
    uint32_t shared = 0;
    for (uint32_t i = 0; i < a->part_count; i++) {
        for (uint32_t k = 0; k < b->part_count; k++) {
            int same =
                a->parts[i].part.role == CISTERN_ROLE_SST &&
                memcmp(a->parts[i].part.origin, b->parts[k].part.origin, CISTERN_ORIGIN_BYTES) == 0;
            if (same) {
                assert_memory_equal(
                    a->parts[i].part.content_hash, b->parts[k].part.content_hash, 16);
                shared++;
            }
        }
    }
    return shared;
}

static void test_exact(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 96u << 20, 2, CISTERN_ACCOUNTING_GUEST);
    uint64_t random = test_seed("rocks_snapshot_test", 5);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *states[STATES];
    states_register(&fixture, backend, states);
    static struct model model;
    static struct model at_barrier[BARRIERS];
    struct taken *taken[BARRIERS];
    struct cistern_snapshot *open_snapshot = NULL;
    for (uint32_t b = 0; b < BARRIERS; b++) {
        uint32_t operations = 20 + (uint32_t)(test_random(&random) % 400);
        for (uint32_t i = 0; i < operations; i++) {
            operate(&fixture, states, &model, &random);
            if (test_random(&random) % 60 == 0) { /* small tables, hence compactions all the time */
                assert_ok(shim_db_flush(rocks_of(backend)->db, &fixture.error), fixture.error);
            }
        }
        at_barrier[b] = model;
        open_snapshot = fixture_begin(&fixture, backend, b + 1, CISTERN_SNAPSHOT_INCREMENT);
        for (uint32_t i = 0; i < 100; i++) { /* the owner goes on while the barrier's flush runs */
            operate(&fixture, states, &model, &random);
        }
        char name[16];
        snprintf(name, sizeof name, "%u", b);
        taken[b] = fixture_take(&fixture, open_snapshot, name);
    }
    struct cistern_rocks_statistics statistics;
    cistern_rocks_statistics(backend, &statistics);
    assert_true(statistics.flush_count >= BARRIERS && statistics.compaction_count > 0);
    compare(&fixture, states, &model);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    uint32_t shared = 0;
    for (uint32_t b = 0; b < BARRIERS; b++) {
        for (uint32_t i = 0; i < taken[b]->part_count; i++) {
            if (taken[b]->parts[i].part.role == CISTERN_ROLE_SST) {
                check_hash(&taken[b]->parts[i]);
            }
        }
        shared += b > 0 ? shared_with(taken[b], taken[b - 1]) : 0;
        check_restored(&fixture, taken[b], &at_barrier[b]);
    }
    assert_true(shared > 0);
    print_message("%u barriers, %u tables shared with the one before, %u compactions\n", BARRIERS,
        shared, (uint32_t)statistics.compaction_count);
    for (uint32_t b = 0; b < BARRIERS; b++) {
        free(taken[b]);
    }
    fixture_close(&fixture);
}

static void count_ready(void *arg)
{
    __atomic_fetch_add((uint32_t *)arg, 1, __ATOMIC_SEQ_CST);
}

/* Releasing is aborting: the database goes on, and the next snapshot is whole. */
static void test_released_early(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 96u << 20, 2, CISTERN_ACCOUNTING_GUEST);
    uint64_t random = test_seed("rocks_snapshot_test", 6);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *states[STATES];
    states_register(&fixture, backend, states);
    static struct model model;
    memset(&model, 0, sizeof model);
    static uint32_t ready;
    uint32_t begun = 0;
    for (uint32_t id = 1; id <= 30; id++) {
        operate(&fixture, states, &model, &random);
        struct cistern_snapshot_request request = {
            .checkpoint_id = id, .ready = count_ready, .ready_arg = &ready};
        struct cistern_snapshot *snapshot = NULL;
        uint32_t status = cistern_snapshot_begin(backend, &request, &snapshot, &fixture.error);
        /* BUSY: the flush of the released one still runs */
        assert_true(status == CISTERN_OK || status == CISTERN_BUSY);
        if (status == CISTERN_OK) {
            begun++;
            assert_status(cistern_backend_close(backend, &fixture.error), CISTERN_BUSY);
            cistern_snapshot_release(snapshot);
        }
    }
    assert_true(begun > 0);
    uint32_t status = CISTERN_BUSY;
    struct cistern_snapshot *snapshot = NULL;
    for (uint32_t i = 0; i < 10000 && status == CISTERN_BUSY; i++) {
        struct cistern_snapshot_request request = {.checkpoint_id = 100};
        status = cistern_snapshot_begin(backend, &request, &snapshot, &fixture.error);
        cistern_sleep_ns(1000000);
    }
    assert_ok(status, fixture.error);
    struct taken *taken = fixture_take(&fixture, snapshot, "taken");
    /* Close at once after a begin: its flush may still be pending. */
    snapshot = fixture_begin(&fixture, backend, 101, CISTERN_SNAPSHOT_FULL);
    cistern_snapshot_release(snapshot);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    check_restored(&fixture, taken, &model);
    free(taken);
    fixture_close(&fixture);
}

/* A database that goes away under a pending barrier says so to whoever holds the snapshot. */
static void test_aborted(void **unused)
{
    (void)unused;
    struct fixture fixture;
    fixture_open(&fixture, 96u << 20, 2, CISTERN_ACCOUNTING_GUEST);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", GROUPS, 0, GROUPS - 1);
    struct cistern_state *states[STATES];
    states_register(&fixture, backend, states);
    struct rocks *rocks = rocks_of(backend);
    uint32_t ready = 0;
    uint32_t stalled = 0;
    struct shim_barrier_options options = {
        .id = 1, .wait_max_ns = 1000000000, .ready = count_ready, .ready_arg = &ready};
    struct shim_capture *capture = NULL;
    assert_ok(shim_barrier(rocks->db, &options, &capture, &stalled, &fixture.error), fixture.error);
    struct shim_db *db = rocks->db;
    rocks->db = NULL;
    assert_ok(shim_db_close(db, &fixture.error), fixture.error);
    assert_int_equal(__atomic_load_n(&ready, __ATOMIC_SEQ_CST), 1);
    uint32_t status = shim_capture_poll(capture, &fixture.error);
    /* OK: the flush was faster than the close */
    assert_true(status == CISTERN_ABORTED || status == CISTERN_OK);
    if (status == CISTERN_ABORTED) {
        assert_non_null(strstr(fixture.error.message, "closed"));
    }
    shim_capture_release(capture);
    struct cistern_span value;
    struct test_address storage;
    struct cistern_address address = fixture_address(&storage, 1, GROUPS);
    assert_status(cistern_value_get(states[0], &address, &value, &fixture.error), CISTERN_CLOSED);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_released_early),
        cmocka_unit_test(test_aborted),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
