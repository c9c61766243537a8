/* elastic_private.h -- one cache + write buffer pair, as the governor sees it. */
#ifndef CISTERN_ELASTIC_PRIVATE_H
#define CISTERN_ELASTIC_PRIVATE_H

#include "pool_private.h"

#define ELASTIC_TICKET_COUNT_MAX                                                                   \
    32 /* threads with a background job at one time; RocksDB is given 2 */
#define ELASTIC_CACHE_MIN (2 * MIB)
#define ELASTIC_EVICT_STEP (4 * MIB) /* the evict lock is let go between steps: 1-2 ms each */
#define ELASTIC_EVICT_EXTRA                                                                        \
    (512 * KIB) /* evicted beyond the need, so that the next caller finds room */
#define ELASTIC_EVICT_ROUNDS_MAX 65536 /* 256 GiB in steps */

struct elastic_ticket {
    int32_t thread; /* kernel thread id; 0 = free */
    uint64_t bytes;
};

struct cistern_elastic {
    struct cistern_slot *slot;
    struct cistern_elastic_options options; /* name points to name_copy */
    char name_copy[POOL_NAME_BYTES];
    pthread_mutex_t lock; /* one resize at a time; held across cache and write buffer callbacks */
    /* Atomic: raised under governor.lock, lowered with release; close waits with acquire */
    _Atomic uint32_t user_count;
    _Atomic uint64_t capacity; /* last value given to cache_set_capacity */
    _Atomic uint64_t allowance;
    _Atomic uint64_t value_max;
    _Atomic uint32_t ticket_lock;                            /* spin; a leaf */
    struct elastic_ticket tickets[ELASTIC_TICKET_COUNT_MAX]; /* Guarded by: ticket_lock */
    /* Thread: governor only, one tick */
    uint64_t tick_usage;
    int64_t tick_room;
    int64_t tick_beyond; /* what the process would give beyond what the slot may take */
};

/* Takes references on every elastic of the pool, so that none closes while it is used; returns
 * how many. */
uint32_t elastic_set_acquire(
    struct cistern_pool *pool, struct cistern_elastic *ret_elastics[GOVERNOR_ELASTIC_COUNT_MAX]);
void elastic_set_release(struct cistern_elastic **elastics, uint32_t count);
/* whether an elastic of the slot is open */
int elastic_set_serves(const struct cistern_slot *slot);
/* Gives every warm run of the pool back. Takes no lock that is held across a callback: safe
 * under foreign locks. */
void elastic_set_drain(struct cistern_pool *pool);
/* Shrinks caches of the pool until its ledger has `bytes` free or every cache is at its floor;
 * `first` may be NULL. No foreign lock may be held. Returns 1 when there is room. */
int elastic_set_make_room(struct cistern_pool *pool, struct cistern_elastic *first, uint64_t bytes);
/* Shrinks the caches of one slot until its own limit (not its loan) has `bytes` free, or with 0
 * until nothing of it is used beyond limit and loan, or every cache is at its floor. No foreign
 * lock may be held. */
void elastic_slot_evict(struct cistern_slot *slot, uint64_t bytes);
/* Caller holds elastic.lock. */
void elastic_capacity_set(struct cistern_elastic *elastic, uint64_t bytes);
void elastic_allowance_set(struct cistern_elastic *elastic, uint64_t bytes);

#endif
