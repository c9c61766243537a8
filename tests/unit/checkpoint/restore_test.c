/* restore_test.c -- reading: newest whole one, by id, by path, savepoints, ranges, links,
 * listing; and what is not there. */
#include "frame_private.h"
#include "rig.h"

#include "catalog_private.h"

struct skips {
    uint32_t count;
    uint64_t last_id;
    char object[232];
};

static void note_skip(void *arg, uint64_t checkpoint_id, const struct cistern_error *error)
{
    struct skips *skips = arg;
    skips->count++;
    skips->last_id = checkpoint_id;
    memcpy(skips->object, error->object, sizeof skips->object);
}

static void test_nothing_to_restore(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    uint64_t id;
    rig_disk(&rig, 1);
    assert_ok(cistern_store_open(rig.io, RIG_ROOT, 1, &rig.store, &error), error);
    assert_status(rig_restore(&rig, rig.store, "latest", &id, &error), CISTERN_NOT_FOUND);
    assert_non_null(strstr(error.message, "no checkpoints here"));
    assert_ok(rig_try_writer(&rig, &rig.writer, 0, &error), error);
    assert_status(rig_restore(&rig, rig.store, "latest", &id, &error), CISTERN_NOT_FOUND);
    assert_non_null(strstr(error.message, "no checkpoint was ever published"));
    assert_status(rig_restore(&rig, NULL, "/nowhere", &id, &error), CISTERN_NOT_FOUND);
    assert_status(rig_restore(&rig, NULL, "latest", &id, &error), CISTERN_INVALID);
    rig_close(&rig);
}

static void test_falls_back_loudly(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    struct skips skips = {0};
    struct cistern_restore *restore;
    struct cistern_restore_info info;
    struct cistern_restore_options options = {.skipped = note_skip, .arg = &skips};
    rig_open(&rig, 2);
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_ok(rig_checkpoint(&rig, 2, 1, &error), error);
    assert_int_equal(sim_disk_flip(rig.disk, RIG_ROOT "/chk/0000000002-e0001/MANIFEST", 300, 3), 1);
    assert_ok(cistern_restore_open(rig.io, rig.store, "latest", &options, &restore, &error), error);
    cistern_restore_info(restore, &info);
    assert_int_equal(info.checkpoint_id, 1);
    assert_int_equal(skips.count, 1);
    assert_int_equal(skips.last_id, 2);
    assert_string_equal(skips.object, "chk/0000000002-e0001/MANIFEST");
    cistern_restore_close(restore);
    assert_status(
        cistern_restore_open(rig.io, rig.store, "2", NULL, &restore, &error), CISTERN_CORRUPT);
    options.older_than_id = 1;
    assert_status(cistern_restore_open(rig.io, rig.store, "latest", &options, &restore, &error),
        CISTERN_NOT_FOUND);
    rig_close(&rig);
}

/* Only the verdict: the bytes are wrong on purpose. */
static uint32_t rig_restore_checked(struct rig *rig, struct cistern_error *error)
{
    struct cistern_restore *restore;
    struct cistern_source source;
    struct cistern_part part;
    uint8_t piece[512];
    assert_ok(cistern_restore_open(rig->io, rig->store, "latest", NULL, &restore, error), *error);
    assert_ok(
        cistern_restore_source(restore, (struct cistern_key_group_range){0, 127}, &source, error),
        *error);
    assert_ok(source.next(source.arg, &part, error), *error);
    uint32_t status = CISTERN_OK;
    uint64_t bytes = sizeof piece;
    for (uint64_t offset = 0; status == CISTERN_OK && bytes == sizeof piece; offset += bytes) {
        status = source.read(
            source.arg, offset, (struct cistern_bytes){piece, sizeof piece}, &bytes, error);
    }
    cistern_restore_source_close(&source);
    cistern_restore_close(restore);
    return status;
}

static void test_damaged_data_is_found_when_read(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    uint64_t id;
    rig_open(&rig, 3);
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_ok(rig_restore(&rig, NULL, RIG_ROOT "/chk/0000000001-e0001", &id, &error), error);
    assert_ok(rig_restore(&rig, NULL, RIG_ROOT "/chk/0000000001-e0001/", &id, &error), error);
    assert_int_equal(sim_disk_flip(rig.disk, RIG_ROOT "/data/e0001/w0001/000001.sst", 1000, 0), 1);
    assert_status(rig_restore_checked(&rig, &error), CISTERN_CORRUPT);
    assert_string_equal(error.object, "data/e0001/w0001/000001.sst");
    rig_close(&rig);
}

static void test_savepoint(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    uint64_t id;
    uint64_t held = cistern_allocation_count();
    rig_open(&rig, 4);
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_ok(rig_upload(&rig, rig.writer, 2, 0, "/sav/a"), rig.error);
    assert_ok(rig_publish(&rig, rig.writer, 2, 0, "/sav/a", &error), error);
    assert_status(rig_upload(&rig, rig.writer, 3, 0, "/sav/a"), CISTERN_EXISTS);
    assert_ok(rig_upload(&rig, rig.writer, 4, 0, "/sav/b"), rig.error); /* never published */
    cistern_writer_discard(rig.writer, 4);
    assert_ok(rig_checkpoint(&rig, 5, 1, &error), error); /* a savepoint never advances the base */
    assert_int_equal(rig.results[0].files_reused, 5);
    assert_ok(rig_restore(&rig, rig.store, "latest", &id, &error), error);
    assert_int_equal(id, 5);
    rig_shut(&rig);
    assert_ok(rig_restore(&rig, NULL, "/sav/a", &id, &error), error);
    assert_int_equal(id, 2);
    assert_status(rig_restore(&rig, NULL, "/sav/b", &id, &error), CISTERN_NOT_FOUND);
    struct cistern_io_operation move = {
        .opcode = CISTERN_IO_RENAME, .path = "/sav/a", .path2 = "/sav/moved"};
    assert_int_equal(cistern_io_run(rig.io, &move), 0);
    assert_ok(rig_restore(&rig, NULL, "/sav/moved/MANIFEST", &id, &error),
        error); /* self-contained: it may be moved */
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_ranges_and_links(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    struct cistern_restore *restore;
    struct cistern_source source;
    struct cistern_part part;
    uint64_t last = 0;
    uint32_t count = 0;
    rig_open(&rig, 5);
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_ok(rig_checkpoint(&rig, 2, 1, &error), error);
    assert_ok(cistern_restore_open(rig.io, rig.store, "latest", NULL, &restore, &error), error);
    assert_non_null(strstr(cistern_restore_manifest_json(restore), "\"name\": \"words\""));
    assert_ok(
        cistern_restore_source(restore, (struct cistern_key_group_range){70, 80}, &source, &error),
        error);
    assert_string_equal(source.backend, "rig");
    while (source.next(source.arg, &part, &error) == CISTERN_OK) {
        char path[64];
        assert_int_equal(part.slice_index, 1); /* slot 0 has no group of 70..80 */
        assert_non_null(strstr(source.describe(source.arg), "data/e0001/w0002/"));
        uint32_t origin = (uint32_t)part.origin[1] | (uint32_t)part.origin[2] << 8;
        assert_true(origin > last || origin == 50 || last == 50 || last > 100); /* oldest first */
        last = origin;
        snprintf(path, sizeof path, "/restored-%s", part.restore_name);
        assert_ok(source.link(source.arg, path, &error), error);
        struct cistern_io_operation stat = {.opcode = CISTERN_IO_STAT, .path = path};
        assert_int_equal(cistern_io_run(rig.io, &stat), 0);
        assert_int_equal(stat.result_stat.bytes, part.bytes);
        count++;
    }
    assert_int_equal(count, 7);
    cistern_restore_source_close(&source);
    cistern_restore_close(restore);
    rig_close(&rig);
}

struct rows {
    uint32_t count;
    uint32_t complete;
    uint32_t savepoints;
};

static void note_row(void *arg, const struct cistern_checkpoint_row *row)
{
    struct rows *rows = arg;
    rows->count++;
    rows->complete += row->complete == 1;
    rows->savepoints += row->is_savepoint;
    assert_true((row->problem == NULL) == (row->complete == 1));
}

static void test_listing(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    struct rows rows = {0};
    rig_open(&rig, 6);
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_ok(rig_checkpoint(&rig, 2, 1, &error), error);
    assert_ok(rig_upload(&rig, rig.writer, 3, 0, "/sav/a"), rig.error);
    assert_ok(rig_publish(&rig, rig.writer, 3, 0, "/sav/a", &error), error);
    assert_ok(cistern_checkpoints_list(rig.io, rig.store, note_row, &rows, &error), error);
    assert_int_equal(rows.count, 3);
    assert_int_equal(rows.complete, 3);
    assert_int_equal(rows.savepoints, 1);
    assert_ok(cistern_writer_retire(rig.writer, 1, &error), error);
    memset(&rows, 0, sizeof rows);
    assert_ok(cistern_checkpoints_list(rig.io, rig.store, note_row, &rows, &error), error);
    assert_int_equal(rows.count, 2);
    rig_close(&rig);
}

int main(void)
{
    frame_use_allocator();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_restore),
        cmocka_unit_test(test_falls_back_loudly),
        cmocka_unit_test(test_damaged_data_is_found_when_read),
        cmocka_unit_test(test_savepoint),
        cmocka_unit_test(test_ranges_and_links),
        cmocka_unit_test(test_listing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
