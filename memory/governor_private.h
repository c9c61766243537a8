/*
 * governor_private.h -- the thread that turns the ledger into cache capacities, and the set of
 * elastics it serves.
 *
 * Never:      decides whether bytes are admitted: it only makes room sooner than a safe point
 *             would.
 * Threads:    one thread per pool, named cistern-governor, all signals blocked. start, stop by the
 *             pool's owner or the first elastic_open, under governor.lock.
 */
#ifndef CISTERN_GOVERNOR_PRIVATE_H
#define CISTERN_GOVERNOR_PRIVATE_H

#include "cistern/governor.h"

#include <pthread.h>
#include <stdatomic.h>

#define GOVERNOR_ELASTIC_COUNT_MAX 64
#define GOVERNOR_PERIOD_NS INT64_C(1000000) /* while elastics are in use */
#define GOVERNOR_PERIOD_QUIET_NS                                                                   \
    INT64_C(16000000) /* no elastic, or nothing moved for GOVERNOR_QUIET_TICKS */
#define GOVERNOR_QUIET_TICKS 64
#define GOVERNOR_STACK_BYTES (256 * 1024)
#define GOVERNOR_PURGE_GAP_NS INT64_C(10000000)
#define GOVERNOR_PURGE_SAFE_POINT_GAP_NS INT64_C(1000000)
#define GOVERNOR_METADATA_TICKS 16
#define GOVERNOR_CREDIT_TICKS 64
#define GOVERNOR_ALLOWANCE_TICKS 8
#define GOVERNOR_RETURN_TICKS 256 /* unused loans go back this often */
#define GOVERNOR_CREDIT_MARGIN (INT64_C(2) << 20)
#define GOVERNOR_RESIDENT_MARGIN (INT64_C(512) << 10)

struct governor {
    /* the array and the start of the thread; never held across a callback or an allocation */
    pthread_mutex_t lock;
    /* NULL = free; Guarded by: lock */
    struct cistern_elastic *elastics[GOVERNOR_ELASTIC_COUNT_MAX];
    _Atomic uint32_t elastic_count;
    uint32_t is_running; /* Guarded by: lock */
    pthread_t thread;
    _Atomic uint32_t wake; /* futex word: 1 = somebody kicked */
    _Atomic uint32_t stop;
    _Atomic uint32_t paused;
    _Atomic int64_t last_purge_ns;
    _Atomic uint32_t is_ready; /* the baseline has been read: ticks may begin */
    /* Thread: governor only */
    uint64_t tick_count;
    int64_t slack_low[2]; /* lowest used - resident of this and of the previous credit window */
    int64_t last_used;
    uint32_t quiet_ticks;
};

void governor_init(struct governor *governor);
void governor_deinit(struct governor *governor);
int governor_start(struct cistern_pool *pool); /* 0 or an errno; idempotent */
void governor_stop(struct cistern_pool *pool); /* joins; idempotent */
void governor_wake(struct cistern_pool *pool);
/* OWNED: gives malloc's dirty pages back, unless that was done within the last gap_ns. No
 *        foreign lock may be held. */
void governor_purge(struct cistern_pool *pool, int64_t gap_ns);
/* One pass of the algorithm; the thread calls it each period. */
void governor_tick(struct cistern_pool *pool);

#endif
