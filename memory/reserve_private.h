/* reserve_private.h -- the part of the hard path that others use. */
#ifndef CISTERN_RESERVE_PRIVATE_H
#define CISTERN_RESERVE_PRIVATE_H

#include "pool_private.h"

/* Asks the slot's clean caches that any thread may evict for `bytes`, each at most once; returns
 * how many they say they freed. No lock of ours may be held. */
uint64_t reserve_evict(struct cistern_slot *slot, uint64_t bytes, int64_t deadline_ns);
/* The same of what any thread may write out. */
uint64_t reserve_write_out(struct cistern_slot *slot, uint64_t bytes, int64_t deadline_ns);

#endif
