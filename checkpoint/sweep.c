/*
 * sweep.c -- removes what dead attempts of earlier epochs left; once, after the first publication
 * of this epoch.
 *
 * Never touches the own epoch or a later one, and no data file while a checkpoint cannot be read:
 * what it refers to is unknown. A failure is logged and ends the sweep; the next holder of the root
 * sweeps again.
 */
#include "writer_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int is_held(const struct cistern_writer *writer, const struct data_name *name)
{
    for (const struct published *at = writer->published; at != NULL; at = at->next) {
        for (const struct stored *slice = at->slices; slice != NULL; slice = slice->next) {
            if (part_list_find(name->kind >= DATA_LIST ? &slice->files : &slice->parts, name) !=
                NULL) {
                return 1;
            }
        }
    }
    return 0;
}

static uint32_t sweep_writer(
    struct cistern_writer *writer, const char *directory, struct cistern_error *error)
{
    struct place_entry *entries;
    uint32_t status = place_list(&writer->place, directory, &entries, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL && status == CISTERN_OK;
         entry = entry->next) {
        struct data_name name;
        char path[3 * NAME_BYTES_MAX];
        int bytes = snprintf(path, sizeof path, "%s/%s", directory, entry->name);
        if (bytes < (int)sizeof path && data_name_parse(path, &name) && !is_held(writer, &name)) {
            status = place_remove(&writer->place, path, error);
        }
    }
    place_list_free(entries);
    return status == CISTERN_OK ? place_remove_directory(&writer->place, directory, error) : status;
}

static uint32_t sweep_epoch(
    struct cistern_writer *writer, const char *directory, struct cistern_error *error)
{
    struct place_entry *entries;
    uint32_t status = place_list(&writer->place, directory, &entries, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL && status == CISTERN_OK;
         entry = entry->next) {
        char path[2 * NAME_BYTES_MAX];
        if (entry->is_directory &&
            snprintf(path, sizeof path, "%s/%s", directory, entry->name) < (int)sizeof path) {
            status = sweep_writer(writer, path, error);
        }
    }
    place_list_free(entries);
    return status == CISTERN_OK ? place_remove_directory(&writer->place, directory, error) : status;
}

static uint32_t sweep_data(struct cistern_writer *writer, struct cistern_error *error)
{
    struct place_entry *entries;
    uint32_t status = place_list(&writer->place, "data", &entries, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL && status == CISTERN_OK;
         entry = entry->next) {
        uint64_t epoch = epoch_of_temporary(entry->name);
        char path[NAME_BYTES_MAX];
        if (epoch != 0 && epoch < writer->log.epoch &&
            snprintf(path, sizeof path, "data/%s", entry->name) < (int)sizeof path) {
            status = sweep_epoch(writer, path, error);
        }
    }
    place_list_free(entries);
    return status;
}

static int is_published(const struct cistern_writer *writer, const struct checkpoint_name *name)
{
    for (const struct published *at = writer->published; at != NULL; at = at->next) {
        if (at->checkpoint_id == name->checkpoint_id && at->epoch == name->epoch) {
            return 1;
        }
    }
    return 0;
}

/* Manifests without a record, and retired ones whose removal was cut short. */
static uint32_t sweep_manifests(struct cistern_writer *writer, struct cistern_error *error)
{
    struct place_entry *entries;
    uint32_t status = place_list(&writer->place, "chk", &entries, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL; entry = entry->next) {
        struct checkpoint_name name;
        if (checkpoint_name_parse(entry->name, &name) && name.epoch < writer->log.epoch &&
            !is_published(writer, &name)) {
            checkpoint_remove_directory(writer, &name);
        }
    }
    place_list_free(entries);
    return CISTERN_OK;
}

static uint32_t sweep_temporary(struct cistern_writer *writer, struct cistern_error *error)
{
    struct place_entry *entries;
    uint32_t status = place_list(&writer->place, "tmp", &entries, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (struct place_entry *entry = entries; entry != NULL && status == CISTERN_OK;
         entry = entry->next) {
        uint64_t epoch = epoch_of_temporary(entry->name);
        if (epoch == 0 || epoch >= writer->log.epoch) {
            continue;
        }
        char *path = text_path("tmp/%s", entry->name);
        if (path == NULL) {
            status = cistern_fail(error, CISTERN_NO_MEMORY, "tmp", "no memory for a path");
        } else if (entry->is_directory) {
            status = place_remove_tree(&writer->place, path, 0, error);
        } else {
            status = place_remove(&writer->place, path, error);
        }
        cistern_release(path);
    }
    place_list_free(entries);
    return status;
}

static int may_sweep_data(const struct cistern_writer *writer)
{
    for (const struct published *at = writer->published; at != NULL; at = at->next) {
        if (at->is_unreadable) {
            cistern_log(CISTERN_LOG_WARNING,
                "checkpoint %llu cannot be read: no data file of earlier writers is removed",
                (unsigned long long)at->checkpoint_id);
            return 0;
        }
    }
    if (writer->damaged_records > 0) {
        cistern_log(CISTERN_LOG_WARNING,
            "%u records of the commit log cannot be read: nothing of earlier writers is removed",
            writer->damaged_records);
        return 0;
    }
    return 1;
}

void writer_sweep(struct cistern_writer *writer)
{
    struct cistern_error error;
    uint32_t status = sweep_temporary(writer, &error);
    if (may_sweep_data(writer)) {
        if (status == CISTERN_OK) {
            status = sweep_data(writer, &error);
        }
        if (status == CISTERN_OK) {
            status = sweep_manifests(writer, &error);
        }
    }
    if (status != CISTERN_OK) {
        cistern_log(CISTERN_LOG_WARNING, "%s: %s: what earlier writers left stays", error.object,
            error.message);
    }
}
