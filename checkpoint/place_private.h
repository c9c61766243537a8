/*
 * place_private.h -- files of a root or of a savepoint by their names inside it: the blocking calls
 * of this half of the module.
 *
 * A place is a store, or a plain directory (a savepoint, a copied checkpoint): reading is the same
 * for both. What must appear atomically goes through the store's two functions (exclusive
 * publication, replacement).
 * Threads: owner only per place_file; a place may be used by several threads. Never on the I/O
 *          thread.
 */
#ifndef CISTERN_CHECKPOINT_PLACE_H
#define CISTERN_CHECKPOINT_PLACE_H

#include "text_private.h"

#include "cistern/hash.h"
#include "cistern/store.h"

struct place {
    struct cistern_io *io;
    struct cistern_store *store; /* borrowed; NULL = a plain directory that is only read */
    const char *directory;       /* borrowed; only without a store */
};
struct place place_of_store(struct cistern_store *store);
/* The absolute path of a file. INVALID: too long, or no name of a store's. path holds
 * STORE_PATH_BYTES_MAX. */
CISTERN_MUST_USE uint32_t place_path(
    const struct place *place, const char *name, char *path, struct cistern_error *error);

struct place_file {
    const struct place *place;
    char *name; /* owned; NULL = none is open */
    int32_t fd;
    uint64_t bytes;
};
/* NOT_FOUND names the whole path. */
CISTERN_MUST_USE uint32_t place_file_open(const struct place *place, const char *name,
    struct place_file *ret_file, struct cistern_error *error);
/* Fewer bytes than asked only at the end of the file. */
CISTERN_MUST_USE uint32_t place_file_read(const struct place_file *file, uint64_t offset,
    struct cistern_bytes into, uint64_t *ret_bytes, struct cistern_error *error);
void place_file_close(struct place_file *file);

CISTERN_MUST_USE uint32_t place_size(
    const struct place *place, const char *name, uint64_t *ret_bytes, struct cistern_error *error);
/* A whole small file. CORRUPT: larger than bytes_max. */
CISTERN_MUST_USE uint32_t place_load(const struct place *place, const char *name,
    uint64_t bytes_max, struct text *text, struct cistern_error *error);
/* Length and hash of a whole file, read in pieces; progress (may be NULL) hears of each. */
CISTERN_MUST_USE uint32_t place_hash(const struct place *place, const char *name,
    uint64_t *ret_bytes, struct cistern_hash128 *ret_hash,
    void (*progress)(void *arg, uint64_t bytes), void *arg, struct cistern_error *error);
struct place_entry {
    struct place_entry *next;
    uint32_t is_directory;
    char name[];
};
/* Names in a directory, in no order; a directory that is not there has none. The caller frees
 * them with place_list_free(). */
CISTERN_MUST_USE uint32_t place_list(const struct place *place, const char *name,
    struct place_entry **ret_entries, struct cistern_error *error);
void place_list_free(struct place_entry *entries);

/* ---- changing; the place has a store ---- */
CISTERN_MUST_USE uint32_t place_publish(const struct place *place, const char *name,
    struct cistern_span data, struct cistern_error *error); /* EXISTS */
CISTERN_MUST_USE uint32_t place_replace(const struct place *place, const char *name,
    struct cistern_span data, struct cistern_error *error);
CISTERN_MUST_USE uint32_t place_make_directory(
    const struct place *place, const char *name, struct cistern_error *error);
CISTERN_MUST_USE uint32_t place_sync_directory(
    const struct place *place, const char *name, struct cistern_error *error);
/* What is not there counts as removed. */
CISTERN_MUST_USE uint32_t place_remove(
    const struct place *place, const char *name, struct cistern_error *error);
/* An empty directory; one that is not empty stays, which is OK. */
CISTERN_MUST_USE uint32_t place_remove_directory(
    const struct place *place, const char *name, struct cistern_error *error);
/* With everything below it, to a depth of PLACE_DEPTH_MAX. */
#define PLACE_DEPTH_MAX 8u
CISTERN_MUST_USE uint32_t place_remove_tree(
    const struct place *place, const char *name, uint32_t depth, struct cistern_error *error);

#endif
