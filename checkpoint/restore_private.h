/*
 * restore_private.h -- the inside of an opened checkpoint.
 *
 * Threads: fixed after open; sources have their own place in it.
 */
#ifndef CISTERN_CHECKPOINT_RESTORE_H
#define CISTERN_CHECKPOINT_RESTORE_H

#include "catalog_private.h"
#include "job_private.h"

#include "cistern/restore.h"

struct cistern_restore {
    struct cistern_io *io;
    struct place place;              /* the root, or the savepoint's or copy's own directory */
    char *root;                      /* owned; place.directory when there is no store */
    struct cistern_store *own_store; /* a pointer that is a path into a root */
    char *path;                      /* of the checkpoint's directory; owned */
    char directory[NAME_BYTES_MAX];  /* inside place: "chk/…"; "" = place itself */
    struct manifest manifest;
    uint32_t finished;
    uint32_t is_copy; /* of a root's checkpoint directory: no commit log vouches for it */
    uint32_t is_bare; /* a copy without data/ */
    struct text json;
};
/* Calls visit() for each file of the checkpoint, a slice's lists before what they name. ABORTED
 * from visit() leaves out the rest of that slice; anything else but OK ends the walk. */
typedef uint32_t (*file_visit_fn)(
    void *arg, const struct part *part, uint32_t slice_index, struct cistern_error *error);
CISTERN_MUST_USE uint32_t checkpoint_each_file(const struct place *place,
    const struct manifest *manifest, file_visit_fn visit, void *arg, struct cistern_error *error);
/* The files its slices name themselves, not those their lists name: all there is to know without
 * data/. */
CISTERN_MUST_USE uint32_t checkpoint_each_named_file(
    const struct manifest *manifest, file_visit_fn visit, void *arg, struct cistern_error *error);

/* A decoded pointer to a directory on disk: its root and name inside it when it is chk/<name> of
 * a root, else itself. */
struct pointer {
    char *root; /* owned */
    char directory[NAME_BYTES_MAX];
    uint32_t in_root;
};
CISTERN_MUST_USE uint32_t pointer_resolve(struct cistern_io *io, const char *path,
    struct pointer *ret_pointer, struct cistern_error *error);

#endif
