/* log_test.c -- the commit log over more records than it keeps: FLOOR, trimming, fencing below it,
 * and power cuts on the way. */
#include "frame_private.h"
#include "rig.h"

#include "catalog_private.h"

#include <errno.h>

struct log_rig {
    struct sim_disk *disk;
    struct cistern_io *io;
    struct cistern_store *store;
    struct commit_log log;
};

static void open_log(struct log_rig *rig, uint64_t epoch)
{
    struct cistern_error error;
    assert_ok(cistern_store_open(rig->io, RIG_ROOT, 1, &rig->store, &error), error);
    struct place place = place_of_store(rig->store);
    assert_ok(place_make_directory(&place, "log", &error), error);
    assert_ok(place_make_directory(&place, "tmp", &error), error);
    assert_ok(commit_log_open(&rig->log, rig->store, &error), error);
    rig->log.epoch = epoch;
}

static void create(struct log_rig *rig, uint64_t seed)
{
    struct cistern_error error;
    memset(rig, 0, sizeof *rig);
    rig->disk = sim_disk_create(seed);
    assert_ok(io_create_simulated(NULL, rig->disk, 0, &rig->io, &error), error);
    open_log(rig, 1);
}

static void destroy(struct log_rig *rig)
{
    cistern_store_close(rig->store);
    cistern_io_destroy(rig->io);
    sim_disk_destroy(rig->disk);
}

static uint32_t append(struct log_rig *rig, uint32_t kind, uint64_t id, struct cistern_error *error)
{
    struct commit_record record = {.kind = kind, .checkpoint_id = id};
    return commit_log_append(&rig->log, &record, error);
}

static void fill(struct log_rig *rig, uint64_t until)
{
    struct cistern_error error;
    while (rig->log.next_number < until) {
        assert_ok(append(rig, COMMIT_CHECKPOINT, rig->log.next_number, &error), error);
    }
}

/* How many records there are below `number`, and FLOOR is not counted. */
static uint64_t count_below(struct log_rig *rig, uint64_t number)
{
    struct place place = place_of_store(rig->store);
    struct place_entry *entries;
    struct cistern_error error;
    uint64_t count = 0;
    assert_ok(place_list(&place, "log", &entries, &error), error);
    for (struct place_entry *entry = entries; entry != NULL; entry = entry->next) {
        uint64_t own;
        count += log_name_parse(entry->name, &own) && own < number;
    }
    place_list_free(entries);
    return count;
}

static uint32_t count_one(void *arg, uint64_t number, const struct commit_record *record,
    const struct cistern_error *error)
{
    uint64_t *expected = arg;
    (void)error;
    assert_non_null(record);
    assert_int_equal(number, *expected);
    ++*expected;
    return CISTERN_OK;
}

/* Every kept record is there, in order, from the floor to the end. */
static void assert_dense(struct log_rig *rig, struct commit_log *log)
{
    struct cistern_error error;
    uint64_t expected = log->floor;
    assert_ok(commit_log_each(log, count_one, &expected, &error), error);
    assert_int_equal(expected, log->next_number);
    assert_int_equal(count_below(rig, UINT64_MAX), log->next_number - log->floor);
}

static void test_trims_in_batches(void **state)
{
    (void)state;
    struct log_rig rig;
    struct commit_log reader;
    struct cistern_error error;
    uint64_t held = cistern_allocation_count();
    create(&rig, 1);
    fill(&rig, LOG_KEPT_MIN + LOG_TRIM_BATCH);
    assert_ok(commit_log_trim(&rig.log, UINT64_MAX, &error), error);
    assert_int_equal(rig.log.floor, 1); /* not a batch yet */
    fill(&rig, LOG_KEPT_MIN + LOG_TRIM_BATCH + 1);
    assert_ok(commit_log_trim(&rig.log, 50, &error), error);
    assert_int_equal(rig.log.floor, 1); /* record 50 is still needed */
    assert_ok(commit_log_trim(&rig.log, UINT64_MAX, &error), error);
    assert_int_equal(rig.log.floor, LOG_TRIM_BATCH + 1);
    assert_dense(&rig, &rig.log);
    fill(&rig, 3 * LOG_KEPT_MIN);
    assert_ok(commit_log_trim(&rig.log, 500, &error), error);
    assert_int_equal(rig.log.floor, 500);
    assert_ok(commit_log_trim(&rig.log, UINT64_MAX, &error), error);
    assert_int_equal(rig.log.floor, 2 * LOG_KEPT_MIN);
    assert_dense(&rig, &rig.log);
    assert_ok(commit_log_open(&reader, rig.store, &error), error);
    assert_int_equal(reader.floor, 2 * LOG_KEPT_MIN);
    assert_int_equal(reader.next_number, 3 * LOG_KEPT_MIN);
    assert_dense(&rig, &reader);
    destroy(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

/* A writer that slept while a thousand records went by finds its number free: FLOOR stops it. */
static void test_floor_fences(void **state)
{
    (void)state;
    struct log_rig rig;
    struct cistern_error error;
    struct commit_record ignored;
    create(&rig, 2);
    fill(&rig, 10);
    struct commit_log sleeper = rig.log;
    struct commit_log reader = rig.log;
    rig.log.epoch = 2;
    fill(&rig, 1 + LOG_KEPT_MIN + LOG_TRIM_BATCH);
    assert_status(commit_log_probe(&sleeper, &error), CISTERN_FENCED);
    assert_ok(commit_log_trim(&rig.log, UINT64_MAX, &error), error);
    assert_status(commit_log_read(&sleeper, 10, &ignored, &error), CISTERN_NOT_FOUND);
    assert_status(commit_log_probe(&sleeper, &error), CISTERN_FENCED);
    struct commit_record record = {.kind = COMMIT_CHECKPOINT, .checkpoint_id = 99};
    assert_status(commit_log_append(&sleeper, &record, &error), CISTERN_FENCED);
    assert_non_null(strstr(error.message, "FLOOR"));
    assert_dense(&rig, &rig.log); /* its record is gone again */
    /* a reader that opened before the trim goes on above it */
    uint64_t expected = rig.log.floor;
    reader.next_number = rig.log.next_number;
    assert_ok(commit_log_each(&reader, count_one, &expected, &error), error);
    assert_int_equal(expected, rig.log.next_number);
    destroy(&rig);
}

/* The lights go out at each operation of a trim: what is left is read without a gap, and the next
 * trims leave no record behind. */
static void test_power_cut_in_a_trim(void **state)
{
    (void)state;
    uint64_t seed = test_seed("log_test", 3);
    uint32_t ended = 0;
    for (uint64_t nth = 1; !ended; nth += nth < 30 ? 1 : 17) {
        struct log_rig rig;
        struct cistern_error error;
        uint64_t expected;
        create(&rig, seed + nth);
        fill(&rig, LOG_KEPT_MIN + LOG_TRIM_BATCH + 1);
        sim_disk_halt_at(rig.disk, nth);
        ended = commit_log_trim(&rig.log, UINT64_MAX, &error) == CISTERN_OK;
        cistern_store_close(rig.store);
        cistern_io_destroy(rig.io);
        sim_disk_power_cut(rig.disk, seed ^ nth);
        assert_ok(io_create_simulated(NULL, rig.disk, 0, &rig.io, &error), error);
        open_log(&rig, 2);
        assert_int_equal(rig.log.next_number, LOG_KEPT_MIN + LOG_TRIM_BATCH + 1);
        assert_true(rig.log.floor == 1 || rig.log.floor == LOG_TRIM_BATCH + 1);
        expected = rig.log.floor;
        assert_ok(commit_log_each(&rig.log, count_one, &expected, &error), error);
        assert_int_equal(expected, rig.log.next_number);
        fill(&rig, LOG_KEPT_MIN + 2 * LOG_TRIM_BATCH + 1);
        assert_ok(commit_log_trim(&rig.log, UINT64_MAX, &error), error);
        assert_int_equal(rig.log.floor, 2 * LOG_TRIM_BATCH + 1);
        assert_dense(&rig, &rig.log);
        destroy(&rig);
    }
}

/* Through a writer: a long-lived job's log stays short, whatever was kept from its beginning
 * pins it, and check finds nothing wrong. */
static void none(void *arg, const struct cistern_check_problem *problem)
{
    (void)arg;
    print_error("%s: %s\n", problem->path, problem->message);
}

static void test_a_long_job(void **state)
{
    (void)state;
    struct rig rig;
    struct cistern_error error;
    struct cistern_check_report report;
    uint64_t id;
    uint64_t floor;
    uint64_t held = cistern_allocation_count();
    rig_open(&rig, test_seed("log_test", 4));
    struct commit_log log = {.store = rig.store, .io = rig.io};
    for (id = 1; id <= 700; id++) {
        assert_ok(rig_checkpoint(&rig, id, id == 1 ? 0 : id - 1, &error), error);
        if (id > 2) { /* 1 stays until the end */
            assert_ok(cistern_writer_retire(rig.writer, id - 1, &error), error);
        }
    }
    assert_ok(commit_log_floor(&log, &floor, &error), error);
    assert_int_equal(floor, 1);
    assert_ok(rig_restore(&rig, rig.store, "1", &id, &error), error);
    assert_ok(cistern_writer_retire(rig.writer, 1, &error), error);
    assert_ok(rig_checkpoint(&rig, 701, 700, &error), error);
    assert_ok(commit_log_floor(&log, &floor, &error), error);
    assert_true(floor > LOG_TRIM_BATCH && floor < 1400 - LOG_KEPT_MIN + 10);
    rig_shut(&rig);
    assert_ok(cistern_check(rig.io, RIG_ROOT, 1, none, NULL, NULL, &report, &error), error);
    assert_int_equal(report.problem_count, 0);
    assert_ok(rig_try_open(&rig, &error), error);
    assert_int_equal(cistern_writer_epoch(rig.writer), 2);
    assert_int_equal(cistern_writer_latest_checkpoint_id(rig.writer), 701);
    assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
    assert_int_equal(id, 701);
    assert_ok(rig_checkpoint(&rig, 702, 0, &error), error);
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

int main(void)
{
    frame_use_allocator();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trims_in_batches),
        cmocka_unit_test(test_floor_fences),
        cmocka_unit_test(test_power_cut_in_a_trim),
        cmocka_unit_test(test_a_long_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
