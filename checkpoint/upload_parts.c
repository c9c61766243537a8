/* upload_parts.c -- the steps of an upload: directories, parts, lists, states, slice; see
 * upload_private.h. */
#include "upload_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void next_part(struct cistern_upload *upload);
static void write_states(struct cistern_upload *upload);
static void open_directory(struct cistern_upload *upload);

static int take(struct cistern_upload *upload, struct part *part, struct part_list *list)
{
    pthread_mutex_lock(&upload->writer->lock);
    uint32_t status = part_list_add(list, part);
    part->refs += status == CISTERN_OK;
    pthread_mutex_unlock(&upload->writer->lock);
    if (status != CISTERN_OK) {
        upload_fail(upload, cistern_fail(&upload->error, status, NULL,
                                "a part cannot be entered twice, or there is no memory"));
    }
    return status == CISTERN_OK;
}

/* ---- parts ---- */
static void reuse(struct cistern_upload *upload, struct part *part)
{
    if (take(upload, part, &upload->stored->parts)) {
        upload->stored->slice.files_reused++;
        upload->stored->slice.state_bytes += part->bytes;
        upload->then = next_part;
    }
}

static void part_stored(struct cistern_upload *upload)
{
    struct slice *slice = &upload->stored->slice;
    slice->files_new++;
    slice->state_bytes += upload->current->bytes;
    slice->new_bytes += upload->current->bytes;
    upload->then = next_part;
}

static uint32_t fill_from_snapshot(
    struct cistern_upload *upload, struct cistern_bytes into, uint64_t *ret_bytes)
{
    return cistern_snapshot_read(upload->snapshot, into, ret_bytes, &upload->error);
}

static void store_part(struct cistern_upload *upload)
{
    const struct cistern_part *part = &upload->part;
    const char *restore_name = part->restore_name == NULL ? "" : part->restore_name;
    if ((restore_name[0] != '\0' && !restore_name_valid(restore_name)) ||
        cistern_part_role_name(part->role) == NULL || part->range.first > part->range.last ||
        part->range.last >= CISTERN_MAX_PARALLELISM_MAX) {
        upload_fail(upload, cistern_fail(&upload->error, CISTERN_INVALID, restore_name,
                                "the backend handed out a part with a name, role or range of key "
                                "groups that cannot be stored"));
        return;
    }
    struct part *made = upload_file_new(
        upload, &upload->stored->parts, data_kind_of_role(part->role), restore_name);
    if (made == NULL || upload->status != CISTERN_OK) {
        return;
    }
    made->role = part->role;
    made->range = part->range;
    memcpy(made->origin, part->origin, sizeof made->origin);
    upload->after_file = part_stored;
    if (part->kind == CISTERN_PART_FILE) {
        upload_file_link(upload);
    } else {
        upload->fill = fill_from_snapshot;
        upload_file_stream(upload);
    }
}

static void dispatch_part(struct cistern_upload *upload)
{
    struct part *known = upload->part.kind == CISTERN_PART_STREAM
                             ? NULL
                             : origin_index_find(&upload->origins, upload->part.origin);
    if (known != NULL) {
        reuse(upload, known);
    } else if (upload->part.kind == CISTERN_PART_REUSE) {
        upload_fail(upload,
            cistern_fail(&upload->error, CISTERN_INVALID, upload->part.restore_name,
                "checkpoint %llu, the base, does not hold a part of slot %u that is to be reused",
                (unsigned long long)upload->options.base_checkpoint_id,
                upload->options.slot_index));
    } else {
        store_part(upload);
    }
}

/* ---- file lists ---- */
static uint32_t fill_from_list(
    struct cistern_upload *upload, struct cistern_bytes into, uint64_t *ret_bytes)
{
    *ret_bytes = list_encoder_take(upload->encoder, into);
    return CISTERN_OK;
}

static void list_stored(struct cistern_upload *upload)
{
    struct slice *slice = &upload->stored->slice;
    struct list_ref *ref = &slice->lists[slice->list_count++];
    ref->name = upload->current->name;
    ref->bytes = upload->current->bytes;
    ref->hash = upload->current->hash;
    slice->new_bytes += ref->bytes;
    upload->then = write_states;
}

static int same_parts(const struct part_list *a, const struct part_list *b)
{
    return a->count == b->count &&
           (a->count == 0 || memcmp(a->parts, b->parts, a->count * sizeof *a->parts) == 0);
}

/* The base's lists serve again; their files get one more holder. */
static int keep_base_lists(struct cistern_upload *upload)
{
    struct slice *slice = &upload->stored->slice;
    memcpy(slice->lists, upload->base_slice.lists, sizeof slice->lists);
    slice->list_count = upload->base_slice.list_count;
    for (uint32_t index = 0; index < slice->list_count; index++) {
        struct part *file = part_list_find(&upload->base_files, &slice->lists[index].name);
        if (file == NULL) {
            upload_fail(upload, cistern_fail(&upload->error, CISTERN_INVALID, NULL,
                                    "a list of checkpoint %llu, the base, is not among its files",
                                    (unsigned long long)upload->options.base_checkpoint_id));
            return 0;
        }
        if (!take(upload, file, &upload->stored->files)) {
            return 0;
        }
    }
    return 1;
}

/* Deltas together stay below a quarter of their base, and at most LIST_DELTAS_MAX. */
static int delta_is_worth_it(const struct cistern_upload *upload, uint64_t delta_bytes)
{
    const struct slice *base = &upload->base_slice;
    uint64_t sum = delta_bytes;
    for (uint32_t index = 1; index < base->list_count; index++) {
        sum += base->lists[index].bytes;
    }
    return base->list_count < LIST_COUNT_MAX && sum <= base->lists[0].bytes / 4;
}

static void write_list(struct cistern_upload *upload)
{
    struct slice *slice = &upload->stored->slice;
    uint64_t bytes;
    struct cistern_hash128 hash;
    uint32_t status = CISTERN_OK;
    uint32_t is_delta = 0;
    if (upload->has_base && same_parts(&upload->base_parts, &upload->stored->parts)) {
        if (keep_base_lists(upload)) {
            upload->then = write_states;
        }
        return;
    }
    if (upload->has_base) {
        status = list_encoder_begin(upload->encoder, &upload->base_parts, &upload->stored->parts,
            &bytes, &hash, &upload->error);
        is_delta = status == CISTERN_OK && delta_is_worth_it(upload, bytes);
        if (is_delta && !keep_base_lists(upload)) {
            return;
        }
    }
    if (status == CISTERN_OK && !is_delta) {
        status = list_encoder_begin(
            upload->encoder, NULL, &upload->stored->parts, &bytes, &hash, &upload->error);
    }
    if (status != CISTERN_OK) {
        upload_fail(upload, status);
        return;
    }
    slice->lists[slice->list_count].is_delta = is_delta;
    if (upload_file_new(upload, &upload->stored->files, DATA_LIST, "") != NULL &&
        upload->status == CISTERN_OK) {
        upload->fill = fill_from_list;
        upload->after_file = list_stored;
        upload_file_stream(upload);
    }
}

static void next_part(struct cistern_upload *upload)
{
    uint32_t status = cistern_snapshot_next(upload->snapshot, &upload->part, &upload->error);
    if (status == CISTERN_BUSY) {
        upload->then = next_part;
        upload->waits = UPLOAD_WAITS_READY;
    } else if (status == CISTERN_NOT_FOUND) {
        upload->then = write_list;
    } else if (status != CISTERN_OK) {
        upload_fail(upload, status);
    } else {
        dispatch_part(upload);
    }
}

/* ---- states ---- */
static uint32_t fill_from_text(
    struct cistern_upload *upload, struct cistern_bytes into, uint64_t *ret_bytes)
{
    uint64_t left = upload->text.bytes - upload->text_taken;
    *ret_bytes = left < into.capacity_bytes ? left : into.capacity_bytes;
    memcpy(into.data, upload->text.data + upload->text_taken, *ret_bytes);
    upload->text_taken += *ret_bytes;
    return CISTERN_OK;
}

static void states_stored(struct cistern_upload *upload)
{
    struct slice *slice = &upload->stored->slice;
    slice->has_states_file = 1;
    slice->states_file.name = upload->current->name;
    slice->states_file.bytes = upload->current->bytes;
    slice->states_file.hash = upload->current->hash;
    slice->new_bytes += upload->current->bytes;
    slice_deinit(slice);
    upload->then = open_directory;
}

static uint32_t collect_states(struct cistern_upload *upload)
{
    uint32_t count;
    struct cistern_state_info *states = cistern_allocate(CISTERN_STATE_COUNT_MAX * sizeof *states);
    if (states == NULL) {
        return cistern_fail(
            &upload->error, CISTERN_NO_MEMORY, NULL, "no memory for the table of states");
    }
    uint32_t status = cistern_snapshot_states(
        upload->snapshot, states, CISTERN_STATE_COUNT_MAX, &count, &upload->error);
    if (status == CISTERN_OK) {
        status = slice_states_build(states, count, &upload->stored->slice.states, &upload->error);
    }
    cistern_release(states);
    return status;
}

static void write_states(struct cistern_upload *upload)
{
    uint32_t status = collect_states(upload);
    json_t *object = json_object();
    if (status == CISTERN_OK &&
        json_object_set(object, "states", upload->stored->slice.states) != 0) {
        status = cistern_fail(
            &upload->error, CISTERN_NO_MEMORY, NULL, "no memory for the table of states");
    }
    if (status == CISTERN_OK) {
        status = frame_encode("states", object, &upload->text, &upload->error);
    }
    json_decref(object);
    if (status != CISTERN_OK) {
        upload_fail(upload, status);
    } else if (upload->text.bytes <= SLICE_STATES_BYTES_MAX) {
        upload->then = open_directory;
    } else if (upload_file_new(upload, &upload->stored->files, DATA_STATES, "") != NULL &&
               upload->status == CISTERN_OK) {
        upload->fill = fill_from_text;
        upload->after_file = states_stored;
        upload_file_stream(upload);
    }
}

/* ---- the directory's entries, then the slice ---- */
static int failed(struct cistern_upload *upload, const char *what)
{
    if (upload->operation.result >= 0) {
        return 0;
    }
    upload_fail(upload,
        cistern_fail_errno(&upload->error, (int32_t)-upload->operation.result, upload->path, what));
    return 1;
}

static void directory_closed(struct cistern_upload *upload)
{
    text_release(&upload->text);
    uint32_t status = slice_encode(&upload->stored->slice, &upload->text, &upload->error);
    if (status != CISTERN_OK) {
        upload_fail(upload, status);
        return;
    }
    upload_complete(upload);
}

static void directory_synced(struct cistern_upload *upload)
{
    if (!failed(upload, "fsync the directory")) {
        upload->operation.fd = upload->fd;
        upload->fd = -1;
        upload_submit(upload, CISTERN_IO_CLOSE, directory_closed);
    }
}

static void directory_opened(struct cistern_upload *upload)
{
    if (!failed(upload, "open the directory")) {
        upload->fd = (int32_t)upload->operation.result;
        upload->operation.fd = upload->fd;
        upload_submit(upload, CISTERN_IO_FSYNC, directory_synced);
    }
}

static void open_directory(struct cistern_upload *upload)
{
    char name[NAME_BYTES_MAX];
    snprintf(name, sizeof name, "data/e%04llx/w%04x", (unsigned long long)upload->writer->log.epoch,
        upload->options.slot_index + 1);
    upload_path(upload, upload->path, name);
    if (upload->status == CISTERN_OK) {
        upload->operation = (struct cistern_io_operation){
            .path = upload->path, .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC};
        upload_submit(upload, CISTERN_IO_OPEN, directory_opened);
    }
}

/* ---- savepoints bring their own directories; publish makes them durable ---- */
static void make_directories(struct cistern_upload *upload);

static void directory_made(struct cistern_upload *upload)
{
    if (upload->operation.result != -EEXIST && failed(upload, "make the directory")) {
        return;
    }
    upload->then = upload->path[upload->directory_depth] == '\0' &&
                           upload->path2[upload->directory_depth] == '\0'
                       ? next_part
                       : make_directories;
}

/* path2 is the whole path, path its first directory_depth bytes. */
static void make_directories(struct cistern_upload *upload)
{
    uint32_t end = upload->directory_depth + 1;
    while (upload->path2[end] != '\0' && upload->path2[end] != '/') {
        end++;
    }
    memcpy(upload->path, upload->path2, end);
    upload->path[end] = '\0';
    upload->directory_depth = end;
    upload->operation = (struct cistern_io_operation){.path = upload->path, .mode = 0755};
    upload_submit(upload, CISTERN_IO_MKDIR, directory_made);
}

static void manifest_looked_for(struct cistern_upload *upload)
{
    if (upload->operation.result >= 0) {
        upload_fail(upload,
            cistern_fail(&upload->error, CISTERN_EXISTS, upload->stored->savepoint_directory,
                "there is a savepoint here already: choose another directory"));
        return;
    }
    char name[NAME_BYTES_MAX];
    snprintf(name, sizeof name, "data/e%04llx/w%04x", (unsigned long long)upload->writer->log.epoch,
        upload->options.slot_index + 1);
    upload_path(upload, upload->path2, name);
    if (upload->status == CISTERN_OK) {
        upload->directory_depth = 0;
        upload->then = make_directories;
    }
}

void upload_start(struct cistern_upload *upload)
{
    if (upload->stored->savepoint_directory == NULL) {
        upload->then = next_part;
        return;
    }
    upload_path(upload, upload->path, "MANIFEST");
    if (upload->status == CISTERN_OK) {
        upload->operation = (struct cistern_io_operation){.path = upload->path};
        upload_submit(upload, CISTERN_IO_STAT, manifest_looked_for);
    }
}
