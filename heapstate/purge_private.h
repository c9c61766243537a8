/*
 * purge_private.h -- expired items of maps and elements of lists go, an entry at a time.
 *
 * Elements of lists go only while no cursor over a list is open: its place is an offset.
 * Threads: owner only.
 */
#ifndef CISTERN_HEAPSTATE_PURGE_PRIVATE_H
#define CISTERN_HEAPSTATE_PURGE_PRIVATE_H

#include "heap_private.h"

/* Takes what is expired out of an indexed head, page or chunk. 1 = something went: entries may have
 * moved, and buckets may hold other entries. */
int purge_entry(struct heap *heap, uint32_t handle);
/* Every entry, at once: after a restore, before the host may register other times to live. */
void purge_all(struct heap *heap);

#endif
