/*
 * catalog_private.h -- what the commit log says is there: checkpoints that were published and not
 * retired.
 *
 * Also loads one checkpoint whole: manifest, slices, and on demand the parts of a slice. Both the
 * writer (what may be removed) and restore (what may be read) ask here. Threads: owner only;
 * blocks.
 */
#ifndef CISTERN_CHECKPOINT_CATALOG_H
#define CISTERN_CHECKPOINT_CATALOG_H

#include "log_private.h"
#include "manifest_private.h"
#include "place_private.h"

struct catalog_entry {
    uint64_t checkpoint_id;
    uint64_t epoch;
    uint64_t number; /* of its record */
    uint64_t manifest_bytes;
    struct cistern_hash128 manifest_hash;
    int64_t time_ms;
    uint32_t is_savepoint;
    uint32_t finished;
    char *directory; /* savepoints: owned */
};
struct catalog {
    struct catalog_entry *entries; /* by record number, oldest first */
    uint32_t count;
    uint32_t capacity;
    uint32_t damaged_records;
    uint64_t checkpoint_id_max; /* of any record */
    uint64_t epoch_max;
    struct cistern_error damage; /* of the last damaged record */
};
/* Reads the whole kept log. Damaged records are counted, not fatal. */
CISTERN_MUST_USE uint32_t catalog_load(
    struct catalog *catalog, struct commit_log *log, struct cistern_error *error);
void catalog_deinit(struct catalog *catalog);

/* The manifest in `directory` ("" = the place itself) and all its slices. expected (may be
 * NULL): what the log recorded. */
CISTERN_MUST_USE uint32_t checkpoint_load(const struct place *place, const char *directory,
    const struct catalog_entry *expected, struct manifest *ret_manifest,
    struct cistern_error *error);
/* The same of the place itself, without what lies in its data/: states that are a file of their own
 * stay out. */
CISTERN_MUST_USE uint32_t checkpoint_load_bare(
    const struct place *place, struct manifest *ret_manifest, struct cistern_error *error);

/* Feeds list readers from a place; keeps the last file open. */
struct list_feed {
    const struct place *place;
    struct place_file file;
};
uint32_t list_feed_read(void *arg, const char *name, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error);
/* Every part of a slice, each with one reference, into `parts`. */
CISTERN_MUST_USE uint32_t slice_load_parts(const struct place *place, const struct slice *slice,
    struct part_list *parts, struct cistern_error *error);

#endif
