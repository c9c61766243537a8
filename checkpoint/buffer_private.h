/*
 * buffer_private.h -- the data buffers of one io: equal parts of one charged region.
 *
 * Full when: all are out -> NULL, at once: the caller waits for one of its own to come back.
 * Threads:   any.
 */
#ifndef CISTERN_CHECKPOINT_BUFFER_H
#define CISTERN_CHECKPOINT_BUFFER_H

#include "cistern/pool.h"

#include <pthread.h>

#define BUFFER_BYTES                                                                               \
    (128u << 10) /* two 64 KiB writes: large enough for a disk, small enough for a 32 MiB budget */
#define BUFFER_COUNT_MAX 64u

struct buffer_set {
    pthread_mutex_t lock;
    struct cistern_component *component; /* NULL: not charged */
    struct cistern_region *region;
    void *uncharged; /* instead of the region */
    uint32_t count;
    uint32_t free_count;          /* Guarded by: lock */
    void *free[BUFFER_COUNT_MAX]; /* Guarded by: lock */
};
/* pool NULL: from the allocator instead. bytes is rounded to whole buffers, at least 2. LIMIT:
 * the process slot is full. */
CISTERN_MUST_USE uint32_t buffer_set_init(
    struct buffer_set *set, struct cistern_pool *pool, uint64_t bytes, struct cistern_error *error);
void buffer_set_deinit(struct buffer_set *set); /* every buffer is back */

#endif
