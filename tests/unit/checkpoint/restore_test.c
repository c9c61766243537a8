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

/* ---- a checkpoint's directory that was copied out of its root, alone ---- */
static void copy_file(struct rig *rig, const char *from, const char *to)
{
    static uint8_t data[128u << 10];
    struct cistern_io_operation open = {.opcode = CISTERN_IO_OPEN, .path = from, .flags = O_RDONLY};
    int64_t fd = cistern_io_run(rig->io, &open);
    assert_true(fd >= 0);
    struct cistern_io_operation read = {
        .opcode = CISTERN_IO_READ, .fd = (int32_t)fd, .data = data, .bytes = sizeof data};
    int64_t bytes = cistern_io_run(rig->io, &read);
    struct cistern_io_operation close = {.opcode = CISTERN_IO_CLOSE, .fd = (int32_t)fd};
    assert_true(bytes >= 0 && bytes < (int64_t)sizeof data);
    assert_int_equal(cistern_io_run(rig->io, &close), 0);
    struct cistern_io_operation create = {
        .opcode = CISTERN_IO_OPEN, .path = to, .flags = O_RDWR | O_CREAT, .mode = 0644};
    fd = cistern_io_run(rig->io, &create);
    assert_true(fd >= 0);
    struct cistern_io_operation write = {
        .opcode = CISTERN_IO_WRITE, .fd = (int32_t)fd, .data = data, .bytes = (uint64_t)bytes};
    assert_int_equal(cistern_io_run(rig->io, &write), bytes);
    close.fd = (int32_t)fd;
    assert_int_equal(cistern_io_run(rig->io, &close), 0);
}

static void copy_tree(struct rig *rig, const char *from, const char *to)
{
    struct place place = {.io = rig->io, .directory = ""};
    struct place_entry *entries;
    struct cistern_error error;
    struct cistern_io_operation make = {.opcode = CISTERN_IO_MKDIR, .path = to, .mode = 0755};
    assert_int_equal(cistern_io_run(rig->io, &make), 0);
    assert_ok(place_list(&place, from + 1, &entries, &error), error);
    for (struct place_entry *entry = entries; entry != NULL; entry = entry->next) {
        char source[300];
        char target[300];
        snprintf(source, sizeof source, "%s/%s", from, entry->name);
        snprintf(target, sizeof target, "%s/%s", to, entry->name);
        (entry->is_directory ? copy_tree : copy_file)(rig, source, target);
    }
    place_list_free(entries);
}

struct file_counts {
    uint32_t there;
    uint32_t missing;
};

static void note_file(void *arg, const struct cistern_file_row *row)
{
    struct file_counts *counts = arg;
    assert_true(row->exists < 2);
    assert_int_equal(row->exists, strncmp(row->path, "data/", 5) != 0);
    counts->there += row->exists;
    counts->missing += !row->exists;
}

static void note_unknown(void *arg, const struct cistern_checkpoint_row *row)
{
    uint32_t *count = arg;
    ++*count;
    assert_int_equal(row->complete, 2);
    assert_int_equal(row->checkpoint_id, 2);
    assert_non_null(row->problem);
}

static void test_a_bare_copy_shows(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    struct cistern_restore *restore;
    struct cistern_restore_info info;
    struct cistern_source source;
    struct file_counts counts = {0};
    struct cistern_store *store;
    uint32_t rows = 0;
    uint64_t id;
    uint64_t held = cistern_allocation_count();
    rig_open(&rig, 7);
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_ok(rig_checkpoint(&rig, 2, 1, &error), error);
    rig_shut(&rig);
    copy_tree(&rig, RIG_ROOT "/chk/0000000002-e0001", "/copy");
    assert_ok(cistern_restore_open(rig.io, NULL, "/copy", NULL, &restore, &error), error);
    cistern_restore_info(restore, &info);
    assert_int_equal(info.checkpoint_id, 2);
    assert_int_equal(info.complete, 2);
    assert_int_equal(info.is_bare, 1);
    assert_string_equal(info.path, "/copy");
    assert_int_equal(info.job_state.bytes, 8);
    assert_non_null(strstr(cistern_restore_manifest_json(restore), "\"name\": \"words\""));
    assert_ok(cistern_restore_files(restore, note_file, &counts, &error), error);
    assert_int_equal(counts.there, 1); /* the MANIFEST */
    /* each slot's base list and delta; what they name is not known */
    assert_int_equal(counts.missing, 2 * RIG_SLOTS);
    assert_status(
        cistern_restore_source(restore, (struct cistern_key_group_range){0, 127}, &source, &error),
        CISTERN_NOT_FOUND);
    assert_non_null(strstr(error.message, "without its data files"));
    cistern_restore_close(restore);
    assert_ok(cistern_store_open(rig.io, "/copy", 0, &store, &error), error);
    assert_ok(cistern_checkpoints_list(rig.io, store, note_unknown, &rows, &error), error);
    assert_int_equal(rows, 1);
    cistern_store_close(store);
    /* a damaged one is still damaged */
    assert_int_equal(sim_disk_flip(rig.disk, "/copy/MANIFEST", 500, 1), 1);
    assert_status(
        cistern_restore_open(rig.io, NULL, "/copy", NULL, &restore, &error), CISTERN_CORRUPT);
    assert_int_equal(sim_disk_flip(rig.disk, "/copy/MANIFEST", 500, 1), 1);
    /* with its data beside the manifest it restores; without a list it does not */
    copy_tree(&rig, RIG_ROOT "/data", "/copy/data");
    assert_ok(rig_restore(&rig, NULL, "/copy", &id, &error), error);
    assert_int_equal(id, 2);
    assert_ok(cistern_restore_open(rig.io, NULL, "/copy", NULL, &restore, &error), error);
    cistern_restore_info(restore, &info);
    assert_int_equal(info.complete, 2);
    assert_int_equal(info.is_bare, 0);
    cistern_restore_close(restore);
    struct cistern_io_operation unlink = {
        .opcode = CISTERN_IO_UNLINK, .path = "/copy/data/e0001/w0001/000001.sst"};
    assert_int_equal(cistern_io_run(rig.io, &unlink), 0);
    assert_status(rig_restore(&rig, NULL, "/copy", &id, &error), CISTERN_CORRUPT);
    assert_string_equal(error.object, "data/e0001/w0001/000001.sst");
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), held);
}

/* `show` reads a slot's fields where this says they are. */
static void test_json_has_slices_expanded(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    struct cistern_restore *restore;
    rig_open(&rig, 9);
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_ok(cistern_restore_open(rig.io, rig.store, "1", NULL, &restore, &error), error);
    json_t *manifest = json_loads(cistern_restore_manifest_json(restore), 0, NULL);
    json_t *slices =
        json_object_get(json_array_get(json_object_get(manifest, "operators"), 0), "slices");
    assert_int_equal(json_array_size(slices), RIG_SLOTS);
    json_t *slice = json_array_get(slices, 1);
    assert_int_equal(json_integer_value(json_object_get(slice, "slot")), 1);
    assert_string_equal(json_string_value(json_object_get(slice, "backend")), "rig");
    json_t *groups = json_object_get(slice, "groups");
    assert_int_equal(json_integer_value(json_array_get(groups, 0)), 64);
    assert_int_equal(json_integer_value(json_array_get(groups, 1)), 127);
    assert_true(json_integer_value(json_object_get(slice, "bytes")) > 10000);
    assert_int_equal(json_array_size(json_object_get(slice, "states")), 1);
    json_decref(manifest);
    cistern_restore_close(restore);
    rig_close(&rig);
}

/* In its root the log has the word, and its data files are looked for. */
static void test_complete_is_the_logs_word(void **state)
{
    (void)state;
    struct cistern_error error;
    struct rig rig;
    struct cistern_restore *restore;
    struct cistern_restore_info info;
    rig_open(&rig, 8);
    assert_ok(rig_checkpoint(&rig, 1, 0, &error), error);
    assert_ok(rig_upload(&rig, rig.writer, 2, 0, "/sav/a"), rig.error);
    assert_ok(rig_publish(&rig, rig.writer, 2, 0, "/sav/a", &error), error);
    static const char *const pointers[] = {
        "1", "latest", RIG_ROOT "/chk/0000000001-e0001", "/sav/a"};
    for (uint32_t index = 0; index < 4; index++) {
        assert_ok(cistern_restore_open(rig.io, rig.store, pointers[index], NULL, &restore, &error),
            error);
        cistern_restore_info(restore, &info);
        assert_int_equal(info.complete, 1);
        assert_int_equal(info.is_bare, 0);
        cistern_restore_close(restore);
    }
    /* a savepoint whose data/ is gone is damaged, not bare */
    struct cistern_io_operation move = {
        .opcode = CISTERN_IO_RENAME, .path = "/sav/a/data", .path2 = "/sav/gone"};
    assert_int_equal(cistern_io_run(rig.io, &move), 0);
    assert_status(
        cistern_restore_open(rig.io, rig.store, "/sav/a", NULL, &restore, &error), CISTERN_CORRUPT);
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
        cmocka_unit_test(test_a_bare_copy_shows),
        cmocka_unit_test(test_complete_is_the_logs_word),
        cmocka_unit_test(test_json_has_slices_expanded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
