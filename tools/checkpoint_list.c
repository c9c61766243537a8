/* checkpoint_list.c -- `cistern checkpoint ls`, `files` and `check`: answers that come a row at
 * a time. */
#include "checkpoint_command.h"
#include "complaint.h"
#include "reading.h"
#include "text.h"

#include "cistern/error.h"
#include "cistern/size.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK_PASSES_MAX 5u
#define LIST_PAUSE_NS 40000000 /* longer than a publication is under way */
#define LIST_PASSES_MAX 20u    /* each is a few small reads */

struct listing {
    uint32_t json;
    uint64_t rows;
    uint64_t troubled; /* rows that are not whole */
    uint32_t status;   /* of printing */
    json_t *found;     /* what a pass found: rows of ls, problems of check */
    struct cistern_error *error;
    uint32_t on_terminal;
    const char *only; /* ls: the path of the one that was asked for; NULL = all */
};

static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

static const char *row_text(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text != NULL ? text : "";
}

static uint64_t row_number(const json_t *row, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(row, key));
}

static int has_problem(const json_t *row)
{
    return json_is_string(json_object_get(row, "problem"));
}

static void ls_row_print(const json_t *row, uint64_t number)
{
    const json_t *complete = json_object_get(row, "complete");
    char state[16], fresh[16];
    if (number == 0) {
        printf("%6s  %-10s  %-8s  %-24s  %10s  %10s  %s\n", "ID", "KIND", "COMPLETE", "CREATED",
            "STATE", "NEW", "PATH");
    }
    printf("%6" PRIu64 "  %-10s  %-8s  %-24s  %10s  %10s  ", row_number(row, "id"),
        row_text(row, "kind"),
        json_is_null(complete)   ? "unknown"
        : json_is_true(complete) ? "yes"
                                 : "no",
        row_text(row, "created"), cistern_size_format(state, row_number(row, "state_bytes")),
        cistern_size_format(fresh, row_number(row, "new_bytes")));
    text_print_escaped(stdout, row_text(row, "path"));
    if (has_problem(row)) {
        printf("  ! ");
        text_print_escaped(stdout, row_text(row, "problem"));
    }
    putchar('\n');
}

static void ls_row(void *arg, const struct cistern_checkpoint_row *row)
{
    struct listing *listing = arg;
    if (listing->only != NULL && strcmp(listing->only, row->path) != 0) {
        return;
    }
    char created[TEXT_TIME_BYTES];
    json_t *complete = row->complete == 2 ? json_null() : json_boolean(row->complete == 1);
    json_t *object = json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:o, s:I, s:I, s:o}", "id",
        (json_int_t)row->checkpoint_id, "path", row->path, "kind",
        row->is_savepoint ? "savepoint" : "checkpoint", "format", "cistern", "created",
        text_time(created, row->created_ms), "created_ms", (json_int_t)row->created_ms, "complete",
        complete, "state_bytes", (json_int_t)row->state_bytes, "new_bytes",
        (json_int_t)row->new_bytes, "problem", text_or_null(row->problem));
    listing->troubled += row->problem != NULL;
    if (object == NULL || json_array_append_new(listing->found, object) != 0) {
        listing->status = cistern_fail(
            listing->error, CISTERN_NO_MEMORY, NULL, "no memory for the list of checkpoints");
    }
}

/* Lists until two passes agree, or nothing is wrong: a job that publishes and retires meanwhile
 * makes rows look damaged that are only leaving. */
static uint32_t ls_repeatedly(struct reading *reading, struct listing *listing)
{
    uint32_t status = CISTERN_OK;
    int again = 1;
    json_t *before = NULL;
    for (uint32_t pass = 0; pass < LIST_PASSES_MAX && again; pass++) {
        if (pass > 0) {
            const struct timespec moment = {0, LIST_PAUSE_NS};
            (void)nanosleep(&moment, NULL);
        }
        json_decref(before);
        before = listing->found;
        listing->found = json_array();
        listing->troubled = 0;
        status =
            cistern_checkpoints_list(reading->io, reading->store, ls_row, listing, listing->error);
        again = status == CISTERN_OK && listing->status == CISTERN_OK && listing->troubled > 0 &&
                (pass == 0 || !json_equal(before, listing->found));
    }
    json_decref(before);
    return status == CISTERN_OK ? listing->status : status;
}

static uint32_t ls_print(struct listing *listing)
{
    size_t index;
    json_t *row;
    uint32_t status = CISTERN_OK;
    json_array_foreach(listing->found, index, row)
    {
        if (!listing->json) {
            ls_row_print(row, index);
        } else if (status == CISTERN_OK) {
            status = reading_print_json(json_incref(row), 0, listing->error);
        }
    }
    return status;
}

/* Of a checkpoint inside its root the root's log tells whether it is complete: the root is read,
 * and that one's row printed. Returns the folder to open. */
static const char *ls_target(
    const char *path, char root[PATH_MAX], char only[PATH_MAX], struct listing *listing)
{
    char above[PATH_MAX];
    int length = snprintf(above, sizeof above, "%s/../..", path);
    if (length < 0 || (size_t)length >= sizeof above || !reading_holds(path, "MANIFEST") ||
        !reading_holds(above, "JOB") || realpath(above, root) == NULL ||
        realpath(path, only) == NULL) {
        return path;
    }
    listing->only = only;
    return root;
}

int checkpoint_ls(struct option_settings *base, const char *path)
{
    (void)path;
    struct checkpoint_settings *settings = (struct checkpoint_settings *)base;
    struct cistern_error error;
    cistern_error_clear(&error);
    struct listing listing = {.json = settings->json, .error = &error};
    struct reading reading;
    uint32_t status = reading_init(&reading, &error);
    if (status != CISTERN_OK) {
        return complaint_print(&error, NULL);
    }
    char root[PATH_MAX], only[PATH_MAX];
    const char *target = ls_target(reading_path(base->arguments.items[0]), root, only, &listing);
    status = reading_open_store(&reading, target, &error);
    if (status == CISTERN_OK) {
        status = ls_repeatedly(&reading, &listing);
    }
    if (status == CISTERN_OK) {
        status = ls_print(&listing);
    }
    json_decref(listing.found);
    int code = status == CISTERN_OK ? EXIT_DONE : complaint_print(&error, NULL);
    reading_deinit(&reading);
    return code == EXIT_DONE && listing.troubled > 0 ? EXIT_PARTIAL : code;
}

static const char *role_name(const struct cistern_file_row *row)
{
    const char *name = row->role != 0 ? cistern_part_role_name(row->role) : "meta";
    return name != NULL ? name : "?";
}

static void files_row(void *arg, const struct cistern_file_row *row)
{
    static const char *const exists[] = {"missing", "yes", "size"};
    struct listing *listing = arg;
    listing->troubled += row->exists != 1;
    if (listing->json) {
        json_t *object = json_pack("{s:s, s:I, s:b, s:i, s:s, s:b, s:s, s:i}", "path", row->path,
            "bytes", (json_int_t)row->bytes, "shared", (int)row->shared, "references",
            (int)row->references, "checksum", row->checksum, "exists", row->exists == 1, "role",
            role_name(row), "slice", (int)row->slice_index);
        uint32_t status = reading_print_json(object, 0, listing->error);
        listing->status = listing->status == CISTERN_OK ? status : listing->status;
    } else {
        if (listing->rows == 0) {
            printf("%12s  %-6s  %4s  %-7s  %-14s  %-32s  %s\n", "BYTES", "SHARED", "REFS", "EXISTS",
                "ROLE", "XXH128", "PATH");
        }
        printf("%12" PRIu64 "  %-6s  %4u  %-7s  %-14s  %-32s  ", row->bytes,
            row->shared ? "yes" : "no", row->references, exists[row->exists < 3 ? row->exists : 0],
            role_name(row), row->checksum);
        text_print_escaped(stdout, row->path);
        putchar('\n');
    }
    listing->rows++;
}

int checkpoint_files(struct option_settings *base, const char *path)
{
    (void)path;
    struct checkpoint_settings *settings = (struct checkpoint_settings *)base;
    struct cistern_error error;
    cistern_error_clear(&error);
    struct listing listing = {.json = settings->json, .error = &error};
    struct reading reading;
    struct cistern_restore *restore = NULL;
    uint32_t status = reading_init(&reading, &error);
    if (status != CISTERN_OK) {
        return complaint_print(&error, NULL);
    }
    status =
        reading_open_checkpoint(&reading, reading_path(base->arguments.items[0]), &restore, &error);
    if (status == CISTERN_OK) {
        status = cistern_restore_files(restore, files_row, &listing, &error);
        cistern_restore_close(restore);
    }
    status = status == CISTERN_OK ? listing.status : status;
    int code = status == CISTERN_OK ? EXIT_DONE : complaint_print(&error, NULL);
    reading_deinit(&reading);
    return code == EXIT_DONE && listing.troubled > 0 ? EXIT_PARTIAL : code;
}

static void check_problem(void *arg, const struct cistern_check_problem *problem)
{
    struct listing *listing = arg;
    json_t *offset =
        problem->offset == UINT64_MAX ? json_null() : json_integer((json_int_t)problem->offset);
    json_t *object = json_pack("{s:s, s:o, s:s, s:s}", "path", problem->path, "offset", offset,
        "kind", problem->kind, "message", problem->message);
    if (object == NULL || json_array_append_new(listing->found, object) != 0) {
        listing->status = cistern_fail(
            listing->error, CISTERN_NO_MEMORY, NULL, "no memory for the list of problems");
    }
}

static void check_progress(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
    struct listing *listing = arg;
    char done[16], total[16];
    if (listing->on_terminal) {
        fprintf(stderr, "\r\033[K%s of %s", cistern_size_format(done, bytes_done),
            cistern_size_format(total, bytes_total));
    }
}

/* Keeps of `problems` what `before` has too. */
static void problems_intersect(json_t *problems, const json_t *before)
{
    for (size_t i = json_array_size(problems); i-- > 0;) {
        size_t found = 0;
        while (found < json_array_size(before) &&
               !json_equal(json_array_get(problems, i), json_array_get(before, found))) {
            found++;
        }
        if (found == json_array_size(before)) {
            json_array_remove(problems, i);
        }
    }
}

/* A writer that publishes and retires while its folder is read makes records and files come and
 * go; damage stays. So what is found is looked for again, until two passes agree. */
static uint32_t check_repeatedly(struct reading *reading, const char *target, uint32_t read_data,
    struct listing *listing, struct cistern_check_report *report)
{
    uint32_t status = cistern_check(reading->io, target, read_data, check_problem, check_progress,
        listing, report, listing->error);
    int agree = json_array_size(listing->found) == 0;
    for (uint32_t pass = 1;
         pass < CHECK_PASSES_MAX && !agree && status == CISTERN_OK && listing->status == CISTERN_OK;
         pass++) {
        json_t *before = listing->found;
        listing->found = json_array();
        status = cistern_check(reading->io, target, read_data, check_problem, check_progress,
            listing, report, listing->error);
        agree = json_equal(before, listing->found);
        problems_intersect(listing->found, before);
        agree |= json_array_size(listing->found) == 0;
        json_decref(before);
    }
    report->problem_count = json_array_size(listing->found);
    return status;
}

static void problem_print(const json_t *problem)
{
    const json_t *offset = json_object_get(problem, "offset");
    text_print_escaped(stdout, json_string_value(json_object_get(problem, "path")));
    if (json_is_integer(offset)) {
        printf(": offset %lld", (long long)json_integer_value(offset));
    }
    printf(": %s: ", json_string_value(json_object_get(problem, "kind")));
    text_print_escaped(stdout, json_string_value(json_object_get(problem, "message")));
    putchar('\n');
}

static uint32_t check_print(struct listing *listing, const struct cistern_check_report *report)
{
    if (listing->on_terminal) {
        fputs("\r\033[K", stderr);
    }
    if (listing->json) {
        json_t *problems = listing->found;
        listing->found = NULL;
        return reading_print_json(
            json_pack("{s:b, s:o, s:I, s:I}", "ok", report->problem_count == 0, "problems",
                problems, "files_checked", (json_int_t)report->files_checked, "bytes_checked",
                (json_int_t)report->bytes_checked),
            1, listing->error);
    }
    char bytes[16];
    size_t index;
    json_t *problem;
    json_array_foreach(listing->found, index, problem)
    {
        problem_print(problem);
    }
    printf("%s: %" PRIu64 " problems, %" PRIu64 " files checked, %s read\n",
        report->problem_count == 0 ? "ok" : "NOT WHOLE", report->problem_count,
        report->files_checked, cistern_size_format(bytes, report->bytes_checked));
    return CISTERN_OK;
}

int checkpoint_check(struct option_settings *base, const char *path)
{
    (void)path;
    struct checkpoint_settings *settings = (struct checkpoint_settings *)base;
    const char *target = reading_path(base->arguments.items[0]);
    struct cistern_error error;
    cistern_error_clear(&error);
    struct reading reading;
    struct cistern_check_report report = {0};
    uint32_t status = reading_init(&reading, &error);
    if (status != CISTERN_OK) {
        return complaint_print(&error, NULL);
    }
    struct listing listing = {.json = settings->json,
        .error = &error,
        .found = json_array(),
        .on_terminal = (uint32_t)isatty(STDERR_FILENO)};
    status = reading_refuse_foreign(target, &error);
    if (status == CISTERN_OK) {
        status = check_repeatedly(&reading, target, settings->read_data, &listing, &report);
    }
    status = status == CISTERN_OK ? listing.status : status;
    if (status == CISTERN_OK) {
        status = check_print(&listing, &report);
    }
    json_decref(listing.found);
    int code = status == CISTERN_OK ? EXIT_DONE : complaint_print(&error, NULL);
    reading_deinit(&reading);
    return code == EXIT_DONE && report.problem_count > 0 ? EXIT_INTEGRITY : code;
}
