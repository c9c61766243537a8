/*
 * checkpoint_show.c -- `cistern checkpoint show`: one document from manifest, slices and file
 * lists; the table is printed from it.
 */
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

struct show {
    json_t *files; /* array of {path, bytes, role, shared, slice} */
    uint32_t failed;
};

static void file_add(void *arg, const struct cistern_file_row *row)
{
    struct show *show = arg;
    const char *role = row->role != 0 ? cistern_part_role_name(row->role) : "meta";
    json_t *file = json_pack("{s:s, s:I, s:s, s:b, s:i}", "path", row->path, "bytes",
        (json_int_t)row->bytes, "role", role != NULL ? role : "?", "shared", (int)row->shared,
        "slice", (int)row->slice_index);
    if (file == NULL || json_array_append_new(show->files, file) != 0) {
        show->failed = 1;
    }
}

/* The data files of one slice, without the slice's number. Borrowed rows are copied: a shared
 * row may belong to two slices. */
static json_t *files_of_slice(const json_t *files, json_int_t slice)
{
    json_t *chosen = json_array();
    size_t index;
    json_t *file;
    json_array_foreach((json_t *)files, index, file)
    {
        const char *role = json_string_value(json_object_get(file, "role"));
        if (json_integer_value(json_object_get(file, "slice")) == slice && role != NULL &&
            strcmp(role, "meta") != 0) {
            json_t *copy = json_copy(file);
            json_object_del(copy, "slice");
            json_array_append_new(chosen, copy);
        }
    }
    return chosen;
}

static json_t *borrowed(json_t *value)
{
    return value != NULL ? json_incref(value) : json_null();
}

/* A manifest writes numbers that a double cannot hold as text (FORMAT.md). */
static json_int_t integer_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) ? (json_int_t)strtoull(json_string_value(value), NULL, 10)
                                 : json_integer_value(value);
}

static json_t *state_make(const json_t *source)
{
    const char *hash = json_string_value(json_object_get(source, "serializer_xxh128"));
    int has_serializer = integer_of(source, "serializer_bytes") > 0 && hash != NULL;
    json_int_t ttl_ms = integer_of(source, "ttl_ms");
    return json_pack("{s:I, s:o, s:o, s:I, s:I, s:b, s:o, s:o}", "id", integer_of(source, "id"),
        "name", borrowed(json_object_get(source, "name")), "kind",
        borrowed(json_object_get(source, "kind")), "entries", (json_int_t)0, "bytes", (json_int_t)0,
        "entries_estimated", 0, "ttl_ms", ttl_ms > 0 ? json_integer(ttl_ms) : json_null(),
        "serializer_xxh128", has_serializer ? json_string(hash) : json_null());
}

/* The row of that name in `states`, made when it is new. NULL: no memory. */
static json_t *state_row(json_t *states, const json_t *source)
{
    size_t index;
    json_t *row;
    json_array_foreach(states, index, row)
    {
        if (json_equal(json_object_get(row, "name"), json_object_get(source, "name"))) {
            return row;
        }
    }
    row = state_make(source);
    return row != NULL && json_array_append_new(states, row) == 0 ? row : NULL;
}

/* Each slice lists its own states: an operator has their union, sizes added up. */
static void states_add(json_t *states, const json_t *slice)
{
    const char *backend = json_string_value(json_object_get(slice, "backend"));
    size_t index;
    json_t *source;
    json_array_foreach(json_object_get(slice, "states"), index, source)
    {
        json_t *row = state_row(states, source);
        if (row == NULL) {
            continue; /* no memory: the printer will say so */
        }
        json_object_set_new(row, "entries",
            json_integer(integer_of(row, "entries") + integer_of(source, "entries")));
        json_object_set_new(
            row, "bytes", json_integer(integer_of(row, "bytes") + integer_of(source, "bytes")));
        /* RocksDB counts what it has not merged yet, and a savepoint does not say who wrote it */
        if (backend == NULL || strcmp(backend, "heap") != 0) {
            json_object_set_new(row, "entries_estimated", json_true());
        }
    }
}

static json_t *subtask_make(json_t *slice, size_t position, const json_t *files)
{
    json_t *slot = json_object_get(slice, "slot");
    json_int_t index = slot != NULL ? json_integer_value(slot) : (json_int_t)position;
    return json_pack("{s:I, s:o, s:o, s:I, s:I, s:o}", "index", index, "key_groups",
        borrowed(json_object_get(slice, "groups")), "backend",
        borrowed(json_object_get(slice, "backend")), "state_bytes", integer_of(slice, "bytes"),
        "new_bytes", integer_of(slice, "new_bytes"), "files", files_of_slice(files, index));
}

static json_t *operator_make(json_t *source, const json_t *files)
{
    json_t *subtasks = json_array();
    json_t *states = json_array();
    json_int_t bytes = 0;
    size_t index;
    json_t *slice;
    json_array_foreach(json_object_get(source, "slices"), index, slice)
    {
        bytes += integer_of(slice, "bytes");
        states_add(states, slice);
        json_array_append_new(subtasks, subtask_make(slice, index, files));
    }
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o}", "operator_id",
        borrowed(json_object_get(source, "id")), "name", borrowed(json_object_get(source, "name")),
        "uid", borrowed(json_object_get(source, "uid")), "parallelism",
        integer_of(source, "parallelism"), "max_parallelism", integer_of(source, "max_parallelism"),
        "state_bytes", bytes, "states", states, "subtasks", subtasks);
}

/* What was published as job state, when it is JSON (ours is); otherwise its size. */
static json_t *job_state_make(const struct cistern_restore_info *info)
{
    json_t *parsed = info->job_state.bytes > 0
                         ? json_loadb(info->job_state.data, info->job_state.bytes, 0, NULL)
                         : NULL;
    return parsed != NULL ? parsed : json_pack("{s:I}", "bytes", (json_int_t)info->job_state.bytes);
}

static json_t *document_make(struct cistern_restore *restore, const json_t *files)
{
    struct cistern_restore_info info;
    cistern_restore_info(restore, &info);
    json_t *manifest = json_loads(cistern_restore_manifest_json(restore), 0, NULL);
    json_t *operators = json_array();
    size_t index;
    json_t *operator;
    json_array_foreach(json_object_get(manifest, "operators"), index, operator)
    {
        json_array_append_new(operators, operator_make(operator, files));
    }
    char created[TEXT_TIME_BYTES], absolute[PATH_MAX];
    const char *path = realpath(info.path, absolute) != NULL ? absolute : info.path; /* as in ls */
    json_t *complete = info.complete == 2 ? json_null() : json_boolean(info.complete == 1);
    json_t *document = json_pack(
        "{s:s, s:i, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:b, s:b, s:s, s:o, s:o}", "format",
        "cistern", "metadata_version", 1, "checkpoint_id", (json_int_t)info.checkpoint_id, "kind",
        info.kind == CISTERN_SNAPSHOT_CANONICAL ? "savepoint" : "checkpoint", "path", path, "job",
        info.job_name, "created", text_time(created, info.created_ms), "created_ms",
        (json_int_t)info.created_ms, "state_bytes", (json_int_t)info.state_bytes, "complete",
        complete, "bare", (int)info.is_bare, "finished", (int)info.finished, "key_group_hash",
        info.key_group_hash, "job_state", job_state_make(&info), "operators", operators);
    json_decref(manifest);
    return document;
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "-";
}

static void subtask_print(const json_t *subtask)
{
    char bytes[16];
    json_t *groups = json_object_get(subtask, "key_groups");
    printf("    subtask %lld  key groups %lld..%lld  %s  %s\n",
        (long long)integer_of(subtask, "index"),
        (long long)json_integer_value(json_array_get(groups, 0)),
        (long long)json_integer_value(json_array_get(groups, 1)), string_of(subtask, "backend"),
        cistern_size_format(bytes, (uint64_t)integer_of(subtask, "state_bytes")));
    size_t index;
    json_t *file;
    json_array_foreach(json_object_get(subtask, "files"), index, file)
    {
        printf("      %10s  %-14s  %s  ",
            cistern_size_format(bytes, (uint64_t)integer_of(file, "bytes")),
            string_of(file, "role"),
            json_is_true(json_object_get(file, "shared")) ? "shared" : "own   ");
        text_print_escaped(stdout, string_of(file, "path"));
        putchar('\n');
    }
}

/* What can be said of how whole it is, without a look at the data (`check` does that). */
static const char *complete_text(const json_t *document)
{
    if (json_is_true(json_object_get(document, "bare"))) {
        return "unknown (no commit log); a copy without its data files: it shows, but does not "
               "restore";
    }
    const json_t *complete = json_object_get(document, "complete");
    return json_is_true(complete)   ? "yes"
           : json_is_null(complete) ? "unknown (no commit log)"
                                    : "no";
}

static void states_print(const json_t *states)
{
    char bytes[16], entries[TEXT_NUMBER_BYTES];
    size_t index;
    json_t *state;
    json_array_foreach((json_t *)states, index, state)
    {
        json_int_t ttl_ms = integer_of(state, "ttl_ms");
        printf("    state ");
        text_print_escaped(stdout, string_of(state, "name"));
        printf("  %s  %s%s entries, %s", string_of(state, "kind"),
            json_is_true(json_object_get(state, "entries_estimated")) ? "about " : "",
            text_number(entries, (uint64_t)integer_of(state, "entries")),
            cistern_size_format(bytes, (uint64_t)integer_of(state, "bytes")));
        if (ttl_ms > 0) {
            printf(", ttl %lld ms", (long long)ttl_ms);
        }
        putchar('\n');
    }
}

static void document_print(const json_t *document)
{
    char bytes[16];
    printf("%s %lld of job %s, %s, %s, format cistern v%lld%s\n", string_of(document, "kind"),
        (long long)integer_of(document, "checkpoint_id"), string_of(document, "job"),
        string_of(document, "created"),
        cistern_size_format(bytes, (uint64_t)integer_of(document, "state_bytes")),
        (long long)integer_of(document, "metadata_version"),
        json_is_true(json_object_get(document, "finished")) ? ", the job finished with it" : "");
    printf("  complete: %s\n", complete_text(document));
    size_t i, j;
    json_t *operator, * subtask;
    json_array_foreach(json_object_get(document, "operators"), i, operator)
    {
        printf("  operator %s  parallelism %lld of %lld  %s\n", string_of(operator, "name"),
            (long long)integer_of(operator, "parallelism"),
            (long long)integer_of(operator, "max_parallelism"),
            cistern_size_format(bytes, (uint64_t)integer_of(operator, "state_bytes")));
        states_print(json_object_get(operator, "states"));
        json_array_foreach(json_object_get(operator, "subtasks"), j, subtask)
        {
            subtask_print(subtask);
        }
    }
}

int checkpoint_show(struct option_settings *base, const char *path)
{
    (void)path;
    struct checkpoint_settings *settings = (struct checkpoint_settings *)base;
    struct cistern_error error;
    cistern_error_clear(&error);
    struct reading reading;
    struct cistern_restore *restore = NULL;
    uint32_t status = reading_init(&reading, &error);
    if (status != CISTERN_OK) {
        return complaint_print(&error, NULL);
    }
    struct show show = {.files = json_array()};
    status =
        reading_open_checkpoint(&reading, reading_path(base->arguments.items[0]), &restore, &error);
    if (status == CISTERN_OK) {
        status = cistern_restore_files(restore, file_add, &show, &error);
    }
    if (status == CISTERN_OK) {
        json_t *document = show.failed ? NULL : document_make(restore, show.files);
        if (document != NULL && !settings->json) {
            document_print(document);
            json_decref(document);
        } else {
            status = reading_print_json(document, 1, &error);
        }
    }
    if (restore != NULL) {
        cistern_restore_close(restore);
    }
    json_decref(show.files);
    int code = status == CISTERN_OK ? EXIT_DONE : complaint_print(&error, NULL);
    reading_deinit(&reading);
    return code;
}
