/* reading.c -- see reading.h. */
#include "reading.h"
#include "complaint.h"

#include "cistern/error.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define READING_BUDGET_BYTES (16u << 20)

#define READING_PASSES_MAX 20u /* each is a few small reads */

uint32_t reading_init(struct reading *reading, struct cistern_error *error)
{
    uint64_t least = cistern_pool_budget_min(1, 1);
    struct cistern_pool_options pool = {
        .budget_bytes = least > READING_BUDGET_BYTES ? least : READING_BUDGET_BYTES};
    /* Threads, not io_uring: a short-lived reader gains nothing from a ring, and works where
     * rings are refused. */
    struct cistern_io_options io = {.engine = CISTERN_IO_THREADS, .thread_count = 2};
    *reading = (struct reading){0};
    uint32_t status = cistern_pool_create(&pool, &reading->pool, error);
    if (status == CISTERN_OK) {
        status = cistern_io_create(reading->pool, &io, &reading->io, error);
    }
    if (status != CISTERN_OK) {
        reading_deinit(reading);
    }
    return status;
}

void reading_deinit(struct reading *reading)
{
    if (reading->store != NULL) {
        cistern_store_close(reading->store);
    }
    cistern_io_destroy(reading->io);
    struct cistern_error error;
    cistern_error_clear(&error);
    if (cistern_pool_destroy(reading->pool, &error) != CISTERN_OK) {
        complaint_warn("%s (%s)", error.message, error.object);
    }
    *reading = (struct reading){0};
}

const char *reading_path(const char *uri)
{
    if (strncmp(uri, "file:", 5) == 0) {
        uri += 5;
        return strncmp(uri, "//", 2) == 0 ? uri + 2 : uri;
    }
    return uri;
}

uint32_t reading_refuse_foreign(const char *path, struct cistern_error *error)
{
    struct stat stat_of;
    size_t scheme = strcspn(path, ":/");
    if (strncmp(path + scheme, "://", 3) == 0 || strcmp(path, "memory:") == 0) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, path,
            "checkpoints are read from a directory (a path or file:PATH); this build knows no "
            "other store");
    }
    if (stat(path, &stat_of) != 0) {
        return cistern_fail_errno(error, errno, path, "cannot look at it");
    }
    if (!S_ISDIR(stat_of.st_mode)) {
        return cistern_fail(error, CISTERN_INVALID, path,
            "not a directory; a checkpoint is one, and so is a folder of them");
    }
    static const char *const patterns[] = {"/_metadata", "/*/_metadata"};
    for (uint32_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        char pattern[4200];
        int length = snprintf(pattern, sizeof pattern, "%s%s", path, patterns[i]);
        glob_t found;
        if (length > 0 && (size_t)length < sizeof pattern &&
            glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
            globfree(&found);
            return cistern_fail(
                error, CISTERN_UNSUPPORTED, path, "Flink checkpoints are not read by this version");
        }
    }
    return CISTERN_OK;
}

uint32_t reading_open_store(struct reading *reading, const char *path, struct cistern_error *error)
{
    uint32_t status = reading_refuse_foreign(path, error);
    return status == CISTERN_OK ? cistern_store_open(reading->io, path, 0, &reading->store, error)
                                : status;
}

int reading_holds(const char *path, const char *name)
{
    char file[4200];
    struct stat stat_of;
    int length = snprintf(file, sizeof file, "%s/%s", path, name);
    return length > 0 && (size_t)length < sizeof file && stat(file, &stat_of) == 0;
}

uint32_t reading_open_checkpoint(struct reading *reading, const char *path,
    struct cistern_restore **ret_restore, struct cistern_error *error)
{
    if (reading_holds(path, "JOB")) {
        uint32_t status = reading_open_store(reading, path, error);
        uint32_t opened = CISTERN_CORRUPT;
        /* Its job may retire the newest while that is read; damage is there each time. */
        for (uint32_t i = 0; i < READING_PASSES_MAX && status == CISTERN_OK &&
                             (opened == CISTERN_CORRUPT || opened == CISTERN_NOT_FOUND);
             i++) {
            opened = cistern_restore_open(
                reading->io, reading->store, "latest", NULL, ret_restore, error);
        }
        return status == CISTERN_OK ? opened : status;
    }
    uint32_t status = reading_refuse_foreign(path, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (!reading_holds(path, "MANIFEST")) {
        return cistern_fail(error, CISTERN_NOT_FOUND, path,
            "neither a checkpoint (no MANIFEST) nor a job's root (no JOB)");
    }
    char pointer[4200]; /* a bare name must not be taken for "latest" or an id */
    int length =
        snprintf(pointer, sizeof pointer, "%s%s", strchr(path, '/') == NULL ? "./" : "", path);
    if (length < 0 || (size_t)length >= sizeof pointer) {
        return cistern_fail(error, CISTERN_INVALID, path, "the path is too long");
    }
    return cistern_restore_open(reading->io, NULL, pointer, NULL, ret_restore, error);
}

uint32_t reading_print_json(json_t *value, uint32_t indented, struct cistern_error *error)
{
    if (value == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for the answer");
    }
    int failed = json_dumpf(value, stdout, indented ? JSON_INDENT(2) : JSON_COMPACT) != 0;
    json_decref(value);
    failed |= putchar('\n') == EOF;
    return failed
               ? cistern_fail_errno(error, errno, "standard output", "the answer cannot be written")
               : CISTERN_OK;
}
