/* retire.c -- forgetting: discarded attempts, retired checkpoints, what dead writers left; see
 * writer.h and writer_private.h. */
#include "writer_private.h"

#include "store_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/log.h"

#include <stdio.h>
#include <string.h>

static void warn(const struct cistern_error *error, const char *consequence)
{
    cistern_log(CISTERN_LOG_WARNING, "%s: %s: %s", error->object, error->message, consequence);
}

/* ---- removing ---- */
/* Files of an epoch an unreadable checkpoint may refer to are never removed. */
static uint64_t protected_epoch(const struct cistern_writer *writer)
{
    uint64_t epoch = writer->damaged_records > 0 ? writer->log.epoch - 1 : 0;
    for (const struct published *at = writer->published; at != NULL; at = at->next) {
        if (at->is_unreadable && at->epoch > epoch) {
            epoch = at->epoch;
        }
    }
    return epoch;
}

void writer_remove_dead(struct cistern_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    struct part *dead = writer->dead;
    writer->dead = NULL;
    pthread_mutex_unlock(&writer->lock);
    uint64_t kept = protected_epoch(writer);
    while (dead != NULL) {
        struct part *next = dead->next_dead;
        char name[NAME_BYTES_MAX];
        struct cistern_error error;
        data_name_format(name, &dead->name);
        if (dead->name.epoch > kept && place_remove(&writer->place, name, &error) != CISTERN_OK) {
            warn(&error, "the file stays until the root is opened anew");
        }
        cistern_release(dead);
        dead = next;
    }
}

void writer_remove_savepoint_files(struct cistern_writer *writer, const struct stored *stored)
{
    const struct part_list *lists[] = {&stored->parts, &stored->files};
    for (uint32_t which = 0; which < 2; which++) {
        for (uint32_t index = 0; index < lists[which]->count; index++) {
            char name[NAME_BYTES_MAX];
            data_name_format(name, &lists[which]->parts[index]->name);
            char *path = text_path("%s/%s", stored->savepoint_directory, name);
            struct cistern_io_operation unlink = {.opcode = CISTERN_IO_UNLINK, .path = path};
            if (path == NULL || cistern_io_run(writer->io, &unlink) < 0) {
                cistern_log(CISTERN_LOG_WARNING, "%s/%s of an unfinished savepoint stays",
                    stored->savepoint_directory, name);
            }
            cistern_release(path);
        }
    }
}

void writer_drop_attempt(struct cistern_writer *writer, uint64_t checkpoint_id)
{
    struct stored *taken = writer_take_attempt(writer, checkpoint_id);
    while (taken != NULL) {
        struct stored *next = taken->next;
        pthread_mutex_lock(&writer->lock);
        stored_release(taken, taken->savepoint_directory == NULL ? &writer->dead : NULL);
        pthread_mutex_unlock(&writer->lock);
        taken = next;
    }
}

void cistern_writer_discard(struct cistern_writer *writer, uint64_t checkpoint_id)
{
    uploads_cancel(writer, checkpoint_id);
    if (writer->log.has_doubt && writer->doubt_checkpoint_id == checkpoint_id) {
        return; /* it may be published: writer_settle() decides before the next record */
    }
    for (const struct published *at = writer->published; at != NULL; at = at->next) {
        if (at->checkpoint_id == checkpoint_id) {
            return;
        }
    }
    struct stored *taken = writer_take_attempt(writer, checkpoint_id);
    while (taken != NULL) {
        struct stored *next = taken->next;
        if (taken->savepoint_directory != NULL) {
            writer_remove_savepoint_files(writer, taken);
        }
        pthread_mutex_lock(&writer->lock);
        stored_release(taken, taken->savepoint_directory == NULL ? &writer->dead : NULL);
        pthread_mutex_unlock(&writer->lock);
        taken = next;
    }
    writer_remove_dead(writer);
}

static uint32_t empty_directory(
    struct cistern_writer *writer, const char *directory, struct cistern_error *error)
{
    struct place_entry *entries;
    uint32_t status = place_list(&writer->place, directory, &entries, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL && status == CISTERN_OK;
         entry = entry->next) {
        char *name = text_path("%s/%s", directory, entry->name);
        status = name == NULL
                     ? cistern_fail(error, CISTERN_NO_MEMORY, directory, "no memory for a path")
                     : place_remove(&writer->place, name, error);
        cistern_release(name);
    }
    place_list_free(entries);
    return status == CISTERN_OK ? place_remove_directory(&writer->place, directory, error) : status;
}

void checkpoint_remove_directory(struct cistern_writer *writer, const struct checkpoint_name *name)
{
    char directory[NAME_BYTES_MAX];
    struct cistern_error error;
    checkpoint_name_format(directory, name);
    if (empty_directory(writer, directory, &error) != CISTERN_OK) {
        warn(&error, "the directory stays until the root is opened anew");
    }
}

/* ---- retiring ---- */
static void forget(struct cistern_writer *writer, uint64_t checkpoint_id)
{
    struct checkpoint_name name = {checkpoint_id, 0};
    pthread_mutex_lock(&writer->lock);
    for (struct published **link = &writer->published; *link != NULL; link = &(*link)->next) {
        struct published *at = *link;
        if (at->checkpoint_id == checkpoint_id) {
            *link = at->next;
            name.epoch = at->epoch;
            published_release(at, &writer->dead);
            break;
        }
    }
    pthread_mutex_unlock(&writer->lock);
    if (name.epoch != 0) {
        checkpoint_remove_directory(writer, &name);
        writer_remove_dead(writer);
    }
}

uint32_t writer_retire_published(
    struct cistern_writer *writer, uint64_t checkpoint_id, struct cistern_error *error)
{
    struct commit_record record = {.kind = COMMIT_RETIRE, .checkpoint_id = checkpoint_id};
    uint32_t status = writer_append(writer, &record, error);
    if (status == CISTERN_OK) {
        forget(writer, checkpoint_id);
    }
    return status;
}

/* The host was told that it failed, so it is no base and nobody will retire it: done here. */
static uint32_t retire_landed(struct cistern_writer *writer, struct published *published,
    uint64_t checkpoint_id, struct cistern_error *error)
{
    struct commit_record record = {.kind = COMMIT_CHECKPOINT,
        .checkpoint_id = checkpoint_id,
        .epoch = writer->log.epoch,
        .number = writer->log.next_number - 1};
    writer_adopt(writer, published, &record);
    return writer_retire_published(writer, checkpoint_id, error);
}

uint32_t writer_settle(struct cistern_writer *writer, struct cistern_error *error)
{
    uint32_t landed;
    uint64_t id = writer->doubt_checkpoint_id;
    if (!writer->log.has_doubt) {
        return CISTERN_OK;
    }
    struct published *published = cistern_allocate_zeroed(1, sizeof *published);
    if (published == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory to settle checkpoint %llu",
            (unsigned long long)id);
    }
    uint32_t status = commit_log_settle(&writer->log, &landed, error);
    if (status == CISTERN_OK && landed && writer->doubt_kind == COMMIT_CHECKPOINT) {
        return retire_landed(writer, published, id, error);
    }
    cistern_release(published);
    if (status != CISTERN_OK) {
        return status;
    }
    if (landed && writer->doubt_kind == COMMIT_RETIRE) {
        forget(writer, id);
    } else if (writer->doubt_kind == COMMIT_CHECKPOINT) {
        checkpoint_remove_directory(writer, &(struct checkpoint_name){id, writer->log.epoch});
        cistern_writer_discard(writer, id);
    } else if (writer->doubt_kind == COMMIT_SAVEPOINT) {
        writer_drop_attempt(writer, id); /* whole in its own directory, recorded or not */
    }
    return CISTERN_OK;
}

static const struct published *find_published(
    const struct cistern_writer *writer, uint64_t checkpoint_id)
{
    const struct published *at = writer->published;
    while (at != NULL && at->checkpoint_id != checkpoint_id) {
        at = at->next;
    }
    return at;
}

uint32_t cistern_writer_retire(
    struct cistern_writer *writer, uint64_t checkpoint_id, struct cistern_error *error)
{
    uint32_t status = writer_settle(writer, error);
    if (status != CISTERN_OK || find_published(writer, checkpoint_id) == NULL) {
        return status; /* what is not there any more is retired */
    }
    return writer_retire_published(writer, checkpoint_id, error);
}

uint32_t cistern_writer_finish(
    struct cistern_writer *writer, uint64_t checkpoint_id, struct cistern_error *error)
{
    struct commit_record record = {.kind = COMMIT_FINISH, .checkpoint_id = checkpoint_id};
    uint32_t status = writer_settle(writer, error);
    return status == CISTERN_OK ? writer_append(writer, &record, error) : status;
}

/* ---- taking over what is there ---- */
static struct part *find_part(const struct cistern_writer *writer, const struct data_name *name)
{
    for (const struct published *at = writer->published; at != NULL; at = at->next) {
        for (const struct stored *slice = at->slices; slice != NULL; slice = slice->next) {
            struct part *part =
                part_list_find(name->kind >= DATA_LIST ? &slice->files : &slice->parts, name);
            if (part != NULL) {
                return part;
            }
        }
    }
    return NULL;
}

/* The same file in two checkpoints is one part with two references. */
static void share_known(const struct cistern_writer *writer, struct part_list *list)
{
    for (uint32_t index = 0; index < list->count; index++) {
        struct part *known = find_part(writer, &list->parts[index]->name);
        if (known != NULL) {
            part_drop(list->parts[index], NULL);
            known->refs++;
            list->parts[index] = known;
        }
    }
}

static uint32_t add_file(struct part_list *files, const struct list_ref *ref)
{
    struct part *part = part_create("");
    if (part == NULL) {
        return CISTERN_NO_MEMORY;
    }
    part->name = ref->name;
    part->bytes = ref->bytes;
    part->hash = ref->hash;
    uint32_t status = part_list_add(files, part);
    if (status != CISTERN_OK) {
        part_drop(part, NULL);
    }
    return status;
}

static uint32_t load_stored(struct cistern_writer *writer, const struct manifest_slice *from,
    struct stored **ret_stored, struct cistern_error *error)
{
    struct stored *stored = cistern_allocate_zeroed(1, sizeof *stored);
    if (stored == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for the files of a slot");
    }
    stored->checkpoint_id = from->slice.checkpoint_id;
    stored->slot_index = from->slice.slot_index;
    uint32_t status = slice_load_parts(&writer->place, &from->slice, &stored->parts, error);
    for (uint32_t index = 0; index < from->slice.list_count && status == CISTERN_OK; index++) {
        status = add_file(&stored->files, &from->slice.lists[index]);
    }
    if (status == CISTERN_OK && from->slice.has_states_file) {
        status = add_file(&stored->files, &from->slice.states_file);
    }
    if (status != CISTERN_OK) {
        stored_release(stored, NULL);
        return status == CISTERN_NO_MEMORY
                   ? cistern_fail(error, status, NULL, "no memory for the files of a slot")
                   : status;
    }
    share_known(writer, &stored->parts);
    share_known(writer, &stored->files);
    *ret_stored = stored;
    return CISTERN_OK;
}

static uint32_t load_one(struct cistern_writer *writer, const struct catalog_entry *entry,
    struct published *published, struct cistern_error *error)
{
    char directory[NAME_BYTES_MAX];
    struct manifest manifest = {0};
    checkpoint_name_format(
        directory, &(struct checkpoint_name){entry->checkpoint_id, entry->epoch});
    uint32_t status = checkpoint_load(&writer->place, directory, entry, &manifest, error);
    for (uint32_t index = 0; status == CISTERN_OK && index < manifest.slice_count; index++) {
        struct stored *stored = NULL;
        status = load_stored(writer, &manifest.slices[index], &stored, error);
        if (status == CISTERN_OK) {
            stored->next = published->slices;
            published->slices = stored;
        }
    }
    manifest_deinit(&manifest);
    return status;
}

uint32_t writer_load_published(
    struct cistern_writer *writer, const struct catalog *catalog, struct cistern_error *error)
{
    for (uint32_t index = 0; index < catalog->count; index++) {
        const struct catalog_entry *entry = &catalog->entries[index];
        struct cistern_error detail;
        if (entry->is_savepoint) {
            continue;
        }
        struct published *published = cistern_allocate_zeroed(1, sizeof *published);
        if (published == NULL) {
            return cistern_fail(
                error, CISTERN_NO_MEMORY, NULL, "no memory for the list of checkpoints");
        }
        published->checkpoint_id = entry->checkpoint_id;
        published->epoch = entry->epoch;
        published->number = entry->number;
        published->next = writer->published;
        writer->published = published;
        uint32_t status = load_one(writer, entry, published, &detail);
        if (status == CISTERN_NO_MEMORY) {
            *(error != NULL ? error : &detail) = detail;
            return status;
        }
        /* its files are not known, so none that it may refer to is ever removed */
        if (status != CISTERN_OK) {
            published->is_unreadable = 1;
            warn(&detail,
                "the checkpoint cannot be read; data files of its epoch and older ones are kept");
        }
    }
    return CISTERN_OK;
}
