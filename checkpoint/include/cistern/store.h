/*
 * store.h -- where the checkpoints of one job are kept: a root directory (docs/FORMAT.md,
 * "Directory of one job").
 *
 * file: (a directory, local or NFS) and memory: (inside this process, lost with it). The layout,
 *       the names and the commit log
 * are the same for both. Threads: any; calls block and must not run on the I/O thread.
 */
#ifndef CISTERN_STORE_H
#define CISTERN_STORE_H

#include "cistern/io.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_store;

#define CISTERN_MEMORY_STORE_PART_BYTES_MAX                                                        \
    (5u << 20) /* Flink's JobManagerCheckpointStorage: 5 MiB per state part */

/* uri: a plain path, "file:PATH", "file:///PATH" or "memory:". create: 1 = make the directory
 *      (parents included) when it is not
 * there; 0 = NOT_FOUND. Probes for hard links and directory fsync; UNSUPPORTED names what a file
 * system lacks. */
CISTERN_MUST_USE uint32_t cistern_store_open(struct cistern_io *io, const char *uri,
    uint32_t create, struct cistern_store **ret_store, struct cistern_error *error);
void cistern_store_close(struct cistern_store *store);
const char *cistern_store_uri(const struct cistern_store *store);  /* as given */
const char *cistern_store_path(const struct cistern_store *store); /* absolute; NULL for memory: */

#ifdef __cplusplus
}
#endif
#endif
