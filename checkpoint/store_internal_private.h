/* store_internal_private.h -- the inside of a store, for store.c and store_lock.c alone. */
#ifndef CISTERN_CHECKPOINT_STORE_INTERNAL_H
#define CISTERN_CHECKPOINT_STORE_INTERNAL_H

#include "store_private.h"

struct cistern_store {
    struct cistern_io *io; /* borrowed, or memory:'s own */
    char *uri;
    char *root; /* absolute, no slash at the end */
    uint32_t in_memory;
    int32_t lock_fd; /* -1 = not held. Threads: the writer's only */
};

#endif
