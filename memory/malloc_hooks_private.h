/*
 * malloc_hooks_private.h -- jemalloc, when the process runs on it: extent hooks on every arena that
 * count each page of malloc before it can be touched.
 *
 * The library does not link jemalloc: its functions are weak symbols, absent in most hosts. Hooks
 * cannot be taken out again: they stay for the life of the process and count for the pool that owns
 * them, or for none.
 * Threads: any; install and release under the owning pool's creation and destruction.
 */
#ifndef CISTERN_MALLOC_HOOKS_PRIVATE_H
#define CISTERN_MALLOC_HOOKS_PRIVATE_H

#include "cistern/pool.h"

/* whether the process has jemalloc's control function; calls nothing */
int malloc_hooks_possible(void);
/* Makes `pool` the one the hooks charge. UNSUPPORTED: no jemalloc, or an option of it that
 * breaks the account (named).
 * BUSY: another pool owns the hooks. NO_MEMORY: no address space. */
CISTERN_MUST_USE uint32_t malloc_hooks_install(
    struct cistern_pool *pool, struct cistern_error *error);
/* returns when no hook looks at the pool any more */
void malloc_hooks_release(struct cistern_pool *pool);
int64_t malloc_hooks_bytes(void);          /* committed by malloc since the hooks were installed */
int64_t malloc_hooks_metadata_bytes(void); /* resident bytes of jemalloc's own blocks, by mincore */
void malloc_hooks_purge(void);             /* gives dirty pages of every arena back */

#endif
