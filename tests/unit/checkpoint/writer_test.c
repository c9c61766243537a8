/* writer_test.c -- nothing published is ever lost, nothing unpublished is ever shown: cycles,
 * fences, failures, power cuts. */
#include "frame_private.h"
#include "rig.h"

#include "writer_private.h"

#include <errno.h>

static uint64_t count_data_files(struct rig *rig)
{
    struct place place = {.io = rig->io, .directory = RIG_ROOT};
    uint64_t count = 0;
    struct place_entry *epochs;
    struct cistern_error error;
    assert_ok(place_list(&place, "data", &epochs, &error), error);
    for (struct place_entry *epoch = epochs; epoch != NULL; epoch = epoch->next) {
        for (uint32_t slot = 1; slot <= RIG_SLOTS; slot++) {
            char name[64];
            struct place_entry *files;
            snprintf(name, sizeof name, "data/%s/w%04x", epoch->name, slot);
            assert_ok(place_list(&place, name, &files, &error), error);
            for (struct place_entry *file = files; file != NULL; file = file->next) {
                count++;
            }
            place_list_free(files);
        }
    }
    place_list_free(epochs);
    return count;
}

static void count_row(void *arg, const struct cistern_file_row *row)
{
    uint64_t *count = arg;
    assert_int_equal(row->exists, 1);
    *count += strncmp(row->path, "data/", 5) == 0;
}

static uint64_t count_referenced(struct rig *rig)
{
    struct cistern_restore *restore;
    struct cistern_error error;
    uint64_t count = 0;
    assert_ok(cistern_restore_open(rig->io, rig->store, "latest", NULL, &restore, &error), error);
    assert_ok(cistern_restore_files(restore, count_row, &count, &error), error);
    cistern_restore_close(restore);
    return count;
}

static void test_cycles_leave_nothing_behind(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    uint64_t held = cistern_allocation_count();
    rig_open(&rig, test_seed("writer_test", 1));
    for (uint64_t id = 1; id <= 40; id++) {
        uint64_t restored;
        assert_ok(rig_checkpoint(&rig, id, id == 1 ? 0 : id - 1, &error), error);
        if (id > 1) {
            assert_int_equal(rig.results[0].files_new, 1);
            assert_int_equal(rig.results[0].files_reused, 6);
            assert_ok(cistern_writer_retire(rig.writer, id - 1, &error), error);
        }
        assert_ok(rig_restore(&rig, rig.store, "latest", &restored, &error), error);
        assert_int_equal(restored, id);
        assert_int_equal(count_data_files(&rig),
            count_referenced(&rig)); /* retain 1: every file is the newest one's */
    }
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_aborted_base(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    uint64_t id;
    rig_open(&rig, test_seed("writer_test", 2));
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    uint64_t files = count_data_files(&rig);
    assert_ok(rig_upload(&rig, rig.writer, 2, 1, NULL), rig.error); /* uploaded, never published */
    assert_true(count_data_files(&rig) > files);
    cistern_writer_discard(rig.writer, 2);
    assert_int_equal(count_data_files(&rig), files);
    /* a base nobody published */
    assert_status(rig_upload(&rig, rig.writer, 4, 3, NULL), CISTERN_INVALID);
    assert_int_equal(count_data_files(&rig), files);
    assert_ok(rig_checkpoint(&rig, 3, 1, &error), error);
    assert_ok(cistern_writer_retire(rig.writer, 1, &error), error);
    assert_ok(rig_checkpoint(&rig, 4, 3, &error), error);
    assert_ok(rig_restore(&rig, rig.store, "3", &id, &error), error);
    assert_ok(rig_restore(&rig, rig.store, "4", &id, &error), error);
    assert_status(rig_restore(&rig, rig.store, "1", &id, &error), CISTERN_NOT_FOUND);
    assert_status(rig_restore(&rig, rig.store, "2", &id, &error), CISTERN_NOT_FOUND);
    rig_close(&rig);
}

static void test_zombie_is_fenced(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    uint64_t id;
    rig_open(&rig, test_seed("writer_test", 3));
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    struct cistern_writer *zombie = rig.writer;
    assert_ok(rig_upload(&rig, zombie, 2, 1, NULL), rig.error);
    assert_ok(rig_try_writer(&rig, &rig.writer, 1, &error), error);
    assert_int_equal(cistern_writer_epoch(rig.writer), cistern_writer_epoch(zombie) + 1);
    assert_int_equal(cistern_writer_latest_checkpoint_id(rig.writer), 1);
    uint64_t operations = sim_disk_operation_count(rig.disk);
    uint64_t bytes = sim_disk_bytes(rig.disk);
    assert_status(rig_publish(&rig, zombie, 2, 1, NULL, &error), CISTERN_FENCED);
    assert_true(sim_disk_operation_count(rig.disk) > operations);
    assert_int_equal(sim_disk_bytes(rig.disk), bytes);
    assert_status(cistern_writer_check(zombie, &error), CISTERN_FENCED);
    assert_status(cistern_writer_retire(zombie, 1, &error), CISTERN_FENCED);
    assert_ok(cistern_writer_check(rig.writer, &error), error);
    assert_ok(rig_checkpoint(&rig, 2, 0, &error), error);
    assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
    assert_int_equal(id, 2);
    assert_ok(rig_restore(&rig, rig.store, "1", &id, &error), error);
    cistern_writer_close(zombie);
    assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
    rig_close(&rig);
}

/* The successor retires what its predecessor published, and sweeps what it left. */
static void test_successor_sweeps(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    uint64_t id;
    uint64_t held = cistern_allocation_count();
    rig_open(&rig, test_seed("writer_test", 4));
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_ok(rig_checkpoint(&rig, 2, 1, &error), error);
    assert_ok(rig_upload(&rig, rig.writer, 3, 2, NULL), rig.error);
    rig_shut(&rig);
    assert_ok(rig_try_open(&rig, &error), error);
    assert_ok(rig_checkpoint(&rig, 4, 0, &error), error);
    assert_ok(rig_restore(&rig, rig.store, "2", &id, &error), error);
    assert_ok(cistern_writer_retire(rig.writer, 1, &error), error);
    assert_ok(rig_restore(&rig, rig.store, "2", &id, &error), error);
    assert_ok(cistern_writer_retire(rig.writer, 2, &error), error);
    assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
    assert_int_equal(id, 4);
    assert_int_equal(count_data_files(&rig), count_referenced(&rig));
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_options_must_match(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    struct cistern_writer *other;
    rig_open(&rig, 5);
    struct cistern_writer_options options = {.job_name = "rig",
        .key_group_hash = "bytes-xxh3",
        .max_parallelism = 128,
        .start = CISTERN_START_NEW,
        .takeover = 1,
        .slot_count = RIG_SLOTS};
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_status(cistern_writer_open(rig.store, &options, &other, &error), CISTERN_EXISTS);
    options.start = CISTERN_START_CONTINUE;
    options.job_name = "other";
    assert_status(cistern_writer_open(rig.store, &options, &other, &error), CISTERN_MISMATCH);
    options.job_name = "rig";
    options.max_parallelism = 64;
    assert_status(cistern_writer_open(rig.store, &options, &other, &error), CISTERN_MISMATCH);
    options.max_parallelism = 128;
    options.key_group_hash = "java";
    assert_status(cistern_writer_open(rig.store, &options, &other, &error), CISTERN_MISMATCH);
    options.job_name = "No Job";
    assert_status(cistern_writer_open(rig.store, &options, &other, &error), CISTERN_INVALID);
    rig_close(&rig);
}

/* What must hold after any failure: `id` restores, and an attempt that follows succeeds. */
static void assert_sound(struct rig *rig, uint64_t at_least)
{
    struct cistern_error error;
    uint64_t id;
    assert_ok(rig_restore(rig, rig->store, "latest", &id, &error), error);
    assert_true(id >= at_least);
    assert_ok(rig_checkpoint(rig, 10, 0, &error), error);
    assert_ok(rig_restore(rig, rig->store, "latest", &id, &error), error);
    assert_int_equal(id, 10);
    assert_ok(rig_restore(rig, rig->store, "1", &id, &error), error);
    for (uint64_t old = 1; old <= 2; old++) {
        assert_ok(cistern_writer_retire(rig->writer, old, &error), error);
    }
    assert_int_equal(count_data_files(rig), count_referenced(rig));
}

static void test_every_operation_fails_once(void **state)
{
    (void)state;
    struct cistern_error error;
    uint64_t seed = test_seed("writer_test", 6);
    uint32_t failures = 0;
    for (uint64_t nth = 1;; nth++) {
        struct rig rig;
        rig_open(&rig, seed + nth);
        assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
        uint64_t before = sim_disk_operation_count(rig.disk);
        sim_disk_fail_at(rig.disk, nth, nth % 2 == 0 ? EIO : ENOSPC);
        uint32_t status = rig_checkpoint(&rig, 2, 1, &error);
        uint64_t used = sim_disk_operation_count(rig.disk) - before;
        sim_disk_fail_at(rig.disk, 0, 0);
        failures += status != CISTERN_OK;
        assert_sound(&rig, status == CISTERN_OK ? 2 : 1);
        rig_close(&rig);
        if (nth > used) {
            break;
        }
    }
    assert_true(failures > 30);
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    struct cistern_error error;
    uint64_t held = cistern_allocation_count();
    for (uint64_t nth = 1;; nth++) {
        struct rig rig;
        rig_disk(&rig, nth);
        cistern_allocation_fail_at(nth);
        uint32_t status = rig_try_open(&rig, &error);
        if (status == CISTERN_OK) {
            status = rig_checkpoint(&rig, 1, 0, &error);
        }
        if (status == CISTERN_OK) {
            status = rig_checkpoint(&rig, 2, 1, &error);
        }
        uint32_t fired = cistern_allocation_failed() != 0;
        cistern_allocation_fail_at(0);
        assert_true(status == CISTERN_OK || status == CISTERN_NO_MEMORY);
        rig_close(&rig);
        assert_int_equal(cistern_allocation_count(), held);
        if (!fired) {
            assert_int_equal(status, CISTERN_OK);
            break;
        }
    }
}

/* The lights go out at the n-th operation of "publish 2, retire 1"; entries and data that were
 * not synced survive or not. */
static void power_cut_at(uint64_t nth, uint64_t seed, uint32_t *ret_reached_end)
{
    struct cistern_error error;
    struct rig rig;
    uint64_t id = 0;
    rig_open(&rig, seed);
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    uint64_t before = sim_disk_operation_count(rig.disk);
    sim_disk_halt_at(rig.disk, nth);
    uint32_t published = rig_checkpoint(&rig, 2, 1, &error) == CISTERN_OK;
    uint32_t retired = published && cistern_writer_retire(rig.writer, 1, &error) == CISTERN_OK;
    *ret_reached_end = sim_disk_operation_count(rig.disk) - before < nth;
    rig_shut(&rig);
    rig_settle(&rig);
    cistern_io_destroy(rig.io);
    sim_disk_power_cut(rig.disk, seed ^ nth);
    assert_ok(io_create_simulated(NULL, rig.disk, 0, &rig.io, &error), error);
    assert_ok(rig_try_open(&rig, &error), error);
    assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
    assert_true(id == 2 || (id == 1 && !published));
    if (!published) {
        assert_ok(rig_restore(&rig, rig.store, "1", &id, &error), error);
    }
    if (retired) {
        assert_status(rig_restore(&rig, rig.store, "1", &id, &error), CISTERN_NOT_FOUND);
    }
    rig_write_local(&rig);
    assert_ok(rig_checkpoint(&rig, 3, 0, &error), error);
    for (uint64_t old = 1; old <= 2; old++) {
        assert_ok(cistern_writer_retire(rig.writer, old, &error), error);
    }
    assert_int_equal(count_data_files(&rig), count_referenced(&rig));
    rig_close(&rig);
}

static void test_power_cut_at_every_operation(void **state)
{
    (void)state;
    uint64_t seed = test_seed("writer_test", 7);
    uint32_t reached_end = 0;
    for (uint64_t nth = 1; !reached_end; nth++) {
        for (uint64_t round = 0; round < 4; round++) {
            power_cut_at(nth, seed + 1000 * round, &reached_end);
        }
    }
}

static void test_disk_full(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    uint64_t id;
    rig_open(&rig, test_seed("writer_test", 8));
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    uint64_t used = sim_disk_bytes(rig.disk);
    for (uint64_t room = 0; room < 9000; room += 500) {
        sim_disk_space(rig.disk, used + room);
        uint32_t status = rig_checkpoint(&rig, 2 + room, 1, &error);
        sim_disk_space(rig.disk, UINT64_MAX);
        if (status == CISTERN_OK) {
            break;
        }
        assert_int_equal(status, CISTERN_NO_SPACE);
        assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
        assert_int_equal(id, 1);
    }
    assert_ok(rig_checkpoint(&rig, 9999, 0, &error), error);
    rig_close(&rig);
}

/* The same over an I/O thread: a real directory, and memory:. */
static void run_for_real(const char *uri, uint32_t engine, const char *local)
{
    struct cistern_error error;
    struct rig rig = {0};
    uint64_t id;
    struct cistern_io_options options = {.engine = engine};
    uint64_t held = cistern_allocation_count();
    assert_ok(cistern_io_create(NULL, &options, &rig.io, &error), error);
    rig_local = local;
    if (local != NULL) {
        rig_write_local(&rig);
    }
    assert_ok(cistern_store_open(rig.io, uri, 1, &rig.store, &error), error);
    assert_ok(rig_try_writer(&rig, &rig.writer, 0, &error), error);
    for (uint64_t round = 1; round <= 10; round++) {
        assert_ok(rig_checkpoint(&rig, round, round - 1, &error), error);
        assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
        assert_int_equal(id, round);
        if (round > 1) {
            assert_ok(cistern_writer_retire(rig.writer, round - 1, &error), error);
        }
    }
    rig_shut(&rig);
    for (uint32_t slot = 0; slot < RIG_SLOTS; slot++) {
        free(rig.slices[slot]);
    }
    cistern_io_destroy(rig.io);
    rig_local = RIG_LOCAL;
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_real_directory_and_memory(void **state)
{
    (void)state;
    char root[] = "/tmp/cistern-writer-XXXXXX";
    char local[64];
    char command[160];
    assert_non_null(mkdtemp(root));
    snprintf(local, sizeof local, "%s-local", root);
    run_for_real(root, CISTERN_IO_THREADS, local);
    snprintf(command, sizeof command, "rm -rf %s %s", root, local);
    assert_int_equal(system(command), 0);
    run_for_real("memory:", CISTERN_IO_THREADS, NULL);
}

int main(void)
{
    frame_use_allocator();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cycles_leave_nothing_behind),
        cmocka_unit_test(test_aborted_base),
        cmocka_unit_test(test_zombie_is_fenced),
        cmocka_unit_test(test_successor_sweeps),
        cmocka_unit_test(test_options_must_match),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_real_directory_and_memory),
        cmocka_unit_test(test_every_allocation_fails_once),
        cmocka_unit_test(test_every_operation_fails_once),
        cmocka_unit_test(test_power_cut_at_every_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
