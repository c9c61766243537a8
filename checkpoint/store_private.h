/*
 * store_private.h -- files of a root by their names inside it: what the log, the writer and the
 * readers are made of.
 *
 * Names are relative to the root, components [a-zA-Z0-9._-]+ joined by '/', no "." or "..", at most
 * 200 bytes; "" is the root itself. Anything else is INVALID. Two publishing primitives with two
 * names: store_publish_exclusive() never overwrites, store_replace() always does. Both leave the
 * data and the directory entry durable. Every call blocks and must not run on the I/O thread.
 * Threads: any; a store keeps no state between calls but its lock.
 *
 * The asynchronous data path (uploads) submits operations itself, on paths from
 * store_absolute_path(), to store_io(): for
 * memory: both lead into a simulated disk, so the same operations work on both kinds of store.
 */
#ifndef CISTERN_CHECKPOINT_STORE_PRIVATE_H
#define CISTERN_CHECKPOINT_STORE_PRIVATE_H

#include "cistern/io.h"
#include "cistern/store.h"

#define STORE_NAME_BYTES_MAX 200u
#define STORE_PATH_BYTES_MAX 4096u

/* Where operations on this store's files go: the io it was opened with, or the private simulated
 * disk of memory:. */
struct cistern_io *store_io(struct cistern_store *store);
/* INVALID: the name breaks the rules above, or the path would be too long. */
CISTERN_MUST_USE uint32_t store_absolute_path(const struct cistern_store *store, const char *name,
    char ret_path[STORE_PATH_BYTES_MAX], struct cistern_error *error);
/* The largest part the store takes: UINT64_MAX for file:, CISTERN_MEMORY_STORE_PART_BYTES_MAX
 * for memory:. */
uint64_t store_part_bytes_max(const struct cistern_store *store);

/* NOT_FOUND; CORRUPT: larger than bytes_max. *ret_data comes from cistern_allocate() and has a
 * NUL behind it. */
CISTERN_MUST_USE uint32_t store_read(struct cistern_store *store, const char *name,
    uint64_t bytes_max, void **ret_data, uint64_t *ret_bytes, struct cistern_error *error);
/* Creates `name` with these bytes, durable and complete or not at all: temporary (tmp/), fsync,
 * link, fsync of the directory.
 * EXISTS: somebody's file of that name is there (the caller compares its content to tell an own
 *         retry from a loss). */
CISTERN_MUST_USE uint32_t store_publish_exclusive(struct cistern_store *store, const char *name,
    struct cistern_span data, struct cistern_error *error);
/* The same, replacing what is there. */
CISTERN_MUST_USE uint32_t store_replace(struct cistern_store *store, const char *name,
    struct cistern_span data, struct cistern_error *error);
/* mkdir -p below the root, each new entry durable. OK when it is there. */
CISTERN_MUST_USE uint32_t store_make_directory(
    struct cistern_store *store, const char *name, struct cistern_error *error);
CISTERN_MUST_USE uint32_t store_sync_directory(
    struct cistern_store *store, const char *name, struct cistern_error *error);
CISTERN_MUST_USE uint32_t store_stat(struct cistern_store *store, const char *name,
    struct cistern_io_stat *ret_stat, struct cistern_error *error);
/* OK also when it is not there. */
CISTERN_MUST_USE uint32_t store_remove(
    struct cistern_store *store, const char *name, struct cistern_error *error);
/* An empty directory; BUSY: it is not empty. OK also when it is not there. */
CISTERN_MUST_USE uint32_t store_remove_directory(
    struct cistern_store *store, const char *name, struct cistern_error *error);
/* Calls entry() for each name in a directory; NOT_FOUND. */
CISTERN_MUST_USE uint32_t store_list(struct cistern_store *store, const char *name,
    void (*entry)(void *arg, const char *name, uint32_t is_directory), void *arg,
    struct cistern_error *error);

/* ---- LOCK: a courtesy between writers of one host; the log is the truth ---- */
enum store_holder {
    STORE_HOLDER_NONE,
    STORE_HOLDER_ALIVE,
    STORE_HOLDER_STOPPED,
    STORE_HOLDER_ELSEWHERE
};
struct store_lock_holder {
    uint32_t state; /* enum store_holder: ELSEWHERE = another host, boot or pid namespace */
    uint32_t pid;
    uint64_t epoch;
    char text[240]; /* "host H pid P since T", for the message */
};
/* Takes the OFD lock on LOCK and writes who we are. BUSY: held; ret_holder says by whom. memory:
 * always OK. */
CISTERN_MUST_USE uint32_t store_lock(
    struct cistern_store *store, struct store_lock_holder *ret_holder, struct cistern_error *error);
/* Puts a new LOCK in the holder's place (replaced by rename): the next writer sees us, the old
 * holder keeps a file nobody reads. */
CISTERN_MUST_USE uint32_t store_lock_take_over(
    struct cistern_store *store, struct cistern_error *error);
/* Rewrites the text with the epoch in it. */
CISTERN_MUST_USE uint32_t store_lock_describe(
    struct cistern_store *store, uint64_t epoch, struct cistern_error *error);
void store_unlock(struct cistern_store *store);

#endif
