/*
 * check.c -- is a checkpoint, or a whole root, what it was when it was written? See restore.h.
 *
 * Every problem is reported with the file and the first offset known to be wrong; nothing is
 * changed. Threads: one call each.
 */
#include "restore_private.h"

#include "store_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/seg.h"

#include <stdio.h>
#include <string.h>

struct check {
    struct cistern_io *io;
    uint32_t read_data;
    void (*problem)(void *arg, const struct cistern_check_problem *problem);
    void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total);
    void *arg;
    struct cistern_check_report report;
    uint64_t bytes_total;
    const struct place *place; /* of the checkpoint being looked at */
};

static void report(
    struct check *check, const char *kind, const char *path, uint64_t offset, const char *message)
{
    struct cistern_check_problem problem = {
        .path = path, .offset = offset, .kind = kind, .message = message};
    check->report.problem_count++;
    check->problem(check->arg, &problem);
}

/* What a failed read tells about the data; anything else (no memory) ends the check. */
static uint32_t report_error(struct check *check, const char *kind, const char *path,
    uint32_t status, const struct cistern_error *detail, struct cistern_error *error)
{
    if (status == CISTERN_NO_MEMORY || status == CISTERN_INVALID) {
        if (error != NULL) {
            *error = *detail;
        }
        return status;
    }
    const char *object = detail->object[0] != '\0' ? detail->object : path;
    report(check, status == CISTERN_NOT_FOUND ? "missing" : kind, object, detail->file_offset,
        detail->message);
    return CISTERN_OK;
}

static void advance(void *arg, uint64_t bytes)
{
    struct check *check = arg;
    check->report.bytes_checked += bytes;
    if (check->progress != NULL) {
        check->progress(check->arg, check->report.bytes_checked, check->bytes_total);
    }
}

static uint32_t read_exactly(
    void *arg, uint64_t offset, struct cistern_bytes into, struct cistern_error *error)
{
    const struct place_file *file = arg;
    uint64_t bytes;
    uint32_t status = place_file_read(file, offset, into, &bytes, error);
    if (status == CISTERN_OK && bytes != into.capacity_bytes) {
        status = cistern_fail_corrupt(error, file->name, offset + bytes, "the file ends here");
    }
    return status;
}

/* A container knows where in it a byte is wrong; its hash only that one is. */
static uint32_t verify_container(
    const struct place *place, const char *name, struct cistern_error *detail)
{
    struct place_file file;
    struct cistern_seg_reader *reader = NULL;
    uint32_t status = place_file_open(place, name, &file, detail);
    if (status != CISTERN_OK) {
        return status;
    }
    status = cistern_seg_reader_open(read_exactly, &file, file.bytes, name, &reader, detail);
    if (status == CISTERN_OK) {
        status = cistern_seg_reader_verify(reader, detail);
    }
    cistern_seg_reader_close(reader);
    place_file_close(&file);
    return status;
}

static uint32_t read_whole(
    struct check *check, const char *name, const struct part *part, struct cistern_error *error)
{
    struct cistern_error detail;
    uint64_t bytes;
    struct cistern_hash128 hash;
    uint64_t problems = check->report.problem_count;
    if (part->name.kind == DATA_SEG) {
        uint32_t status = verify_container(check->place, name, &detail);
        if (status != CISTERN_OK &&
            (status = report_error(check, "corrupt", name, status, &detail, error)) != CISTERN_OK) {
            return status;
        }
    }
    uint32_t status = place_hash(check->place, name, &bytes, &hash, advance, check, &detail);
    if (status != CISTERN_OK) {
        return report_error(check, "corrupt", name, status, &detail, error);
    }
    if (check->report.problem_count == problems && !cistern_hash128_equal(&hash, &part->hash)) {
        report(check, "corrupt", name, 0, "the file does not have the hash its list records");
    }
    return CISTERN_OK;
}

static uint32_t check_file(
    void *arg, const struct part *part, uint32_t slice_index, struct cistern_error *error)
{
    struct check *check = arg;
    struct cistern_error detail;
    char name[NAME_BYTES_MAX];
    uint64_t bytes;
    (void)slice_index;
    data_name_format(name, &part->name);
    check->report.files_checked++;
    uint32_t status = place_size(check->place, name, &bytes, &detail);
    if (status != CISTERN_OK) {
        status = report_error(check, "corrupt", name, status, &detail, error);
        return status == CISTERN_OK && part->name.kind >= DATA_LIST ? CISTERN_ABORTED : status;
    }
    if (bytes != part->bytes) {
        char message[128];
        snprintf(message, sizeof message, "the file has %llu bytes, %llu were recorded",
            (unsigned long long)bytes, (unsigned long long)part->bytes);
        report(check, "size", name, bytes < part->bytes ? bytes : part->bytes, message);
        return part->name.kind < DATA_LIST ? CISTERN_OK : CISTERN_ABORTED;
    }
    if (part->name.kind < DATA_LIST) {
        return check->read_data ? read_whole(check, name, part, error) : CISTERN_OK;
    }
    uint64_t problems = check->report.problem_count;
    status = read_whole(check, name, part,
        error); /* lists are always read: what a damaged one says is not looked for */
    return status == CISTERN_OK && check->report.problem_count != problems ? CISTERN_ABORTED
                                                                           : status;
}

static uint32_t check_checkpoint(struct check *check, const struct place *place,
    const char *directory, const struct catalog_entry *expected, struct cistern_error *error)
{
    struct cistern_error detail;
    struct manifest manifest = {0};
    uint32_t status = checkpoint_load(place, directory, expected, &manifest, &detail);
    check->report.files_checked++;
    if (status != CISTERN_OK) {
        return report_error(check, "corrupt", directory, status, &detail, error);
    }
    check->place = place;
    check->bytes_total += manifest.state_bytes;
    for (uint32_t index = 0; index < manifest.slice_count; index++) {
        check->report.files_checked += !manifest.slices[index].is_inline;
    }
    status = checkpoint_each_file(place, &manifest, check_file, check, &detail);
    manifest_deinit(&manifest);
    return status == CISTERN_OK ? status
                                : report_error(check, "corrupt", directory, status, &detail, error);
}

/* ---- a root ---- */
static uint32_t check_record(void *arg, uint64_t number, const struct commit_record *record,
    const struct cistern_error *error)
{
    struct check *check = arg;
    (void)number;
    check->report.files_checked++;
    if (record == NULL) {
        report(check, "log", error->object, error->file_offset, error->message);
    }
    return CISTERN_OK;
}

static void check_strangers(
    struct check *check, const struct commit_log *log, const struct place_entry *entries)
{
    for (const struct place_entry *entry = entries; entry != NULL; entry = entry->next) {
        uint64_t number = 0;
        int known = log_name_parse(entry->name, &number) || strcmp(entry->name, "FLOOR") == 0;
        if (!known || number >= log->next_number) {
            char path[NAME_BYTES_MAX];
            snprintf(path, sizeof path, "log/%.80s", entry->name);
            report(check, "log", path, 0,
                known ? "records before this one are missing"
                      : "does not belong into the commit log");
        }
    }
}

static uint32_t check_log(struct check *check, struct commit_log *log, struct cistern_error *error)
{
    struct place_entry *entries;
    struct place place = place_of_store(log->store);
    uint32_t status = commit_log_each(log, check_record, check, error);
    if (status == CISTERN_OK) {
        status = place_list(&place, "log", &entries, error);
    }
    if (status == CISTERN_OK) {
        check_strangers(check, log, entries);
        place_list_free(entries);
    }
    return status;
}

static uint32_t check_root(
    struct check *check, struct cistern_store *store, struct cistern_error *error)
{
    struct place place = place_of_store(store);
    struct cistern_error detail;
    struct commit_log log;
    struct catalog catalog;
    struct job job;
    uint32_t status = job_load(&place, &job, &detail);
    check->report.files_checked++;
    if (status != CISTERN_OK &&
        (status = report_error(check, "job", "JOB", status, &detail, error)) != CISTERN_OK) {
        return status;
    }
    status = commit_log_open(&log, store, &detail);
    if (status != CISTERN_OK) {
        return report_error(check, "log", "log", status, &detail, error);
    }
    status = check_log(check, &log, error);
    if (status == CISTERN_OK) {
        status = catalog_load(&catalog, &log, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    for (uint32_t index = 0; index < catalog.count && status == CISTERN_OK; index++) {
        char directory[NAME_BYTES_MAX];
        const struct catalog_entry *entry = &catalog.entries[index];
        checkpoint_name_format(
            directory, &(struct checkpoint_name){entry->checkpoint_id, entry->epoch});
        /* a savepoint may be moved or deleted by its owner; it is checked by its path */
        if (!entry->is_savepoint) {
            status = check_checkpoint(check, &place, directory, entry, error);
        }
    }
    catalog_deinit(&catalog);
    return status;
}

static uint32_t find_expected(struct cistern_store *store, const char *directory,
    struct catalog_entry *ret_entry, struct cistern_error *error)
{
    struct commit_log log;
    struct catalog catalog;
    uint32_t status = commit_log_open(&log, store, error);
    if (status == CISTERN_OK) {
        status = catalog_load(&catalog, &log, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    status = CISTERN_NOT_FOUND;
    for (uint32_t index = 0; index < catalog.count; index++) {
        char name[NAME_BYTES_MAX];
        checkpoint_name_format(name, &(struct checkpoint_name){catalog.entries[index].checkpoint_id,
                                         catalog.entries[index].epoch});
        if (!catalog.entries[index].is_savepoint && strcmp(name, directory) == 0) {
            *ret_entry = catalog.entries[index];
            ret_entry->directory = NULL;
            status = CISTERN_OK;
        }
    }
    catalog_deinit(&catalog);
    return status;
}

static uint32_t check_path(
    struct check *check, const struct pointer *pointer, struct cistern_error *error)
{
    struct place plain = {.io = check->io, .directory = pointer->root};
    struct cistern_store *store = NULL;
    struct catalog_entry expected;
    uint64_t bytes;
    if (!pointer->in_root && place_size(&plain, "MANIFEST", &bytes, NULL) == CISTERN_OK) {
        return check_checkpoint(check, &plain, "", NULL, error);
    }
    uint32_t status = cistern_store_open(check->io, pointer->root, 0, &store, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (pointer->in_root) {
        struct place place = place_of_store(store);
        status = find_expected(store, pointer->directory, &expected, error);
        if (status == CISTERN_NOT_FOUND) {
            report(check, "unexpected", pointer->directory, UINT64_MAX,
                "the commit log does not list this checkpoint");
            status = CISTERN_OK;
        } else if (status == CISTERN_OK) {
            status = check_checkpoint(check, &place, pointer->directory, &expected, error);
        }
    } else if (place_size(&plain, "JOB", &bytes, NULL) == CISTERN_NOT_FOUND &&
               place_size(&plain, "log", &bytes, NULL) == CISTERN_NOT_FOUND) {
        status = cistern_fail(error, CISTERN_NOT_FOUND, pointer->root,
            "neither a checkpoint (no MANIFEST) nor a job's root (no JOB)");
    } else {
        status = check_root(check, store, error);
    }
    cistern_store_close(store);
    return status;
}

uint32_t cistern_check(struct cistern_io *io, const char *path, uint32_t read_data,
    void (*problem)(void *arg, const struct cistern_check_problem *problem),
    void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total), void *arg,
    struct cistern_check_report *ret_report, struct cistern_error *error)
{
    struct check check = {
        .io = io, .read_data = read_data, .problem = problem, .progress = progress, .arg = arg};
    struct pointer pointer;
    uint32_t status = pointer_resolve(io, path, &pointer, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = check_path(&check, &pointer, error);
    cistern_release(pointer.root);
    if (status == CISTERN_OK) {
        *ret_report = check.report;
    }
    return status;
}
