/*
 * ledger_private.h -- one sum over everything a pool's budget pays for, and the answer to "is there
 * room?".
 *
 * Owns:       the terms that no slot holds: malloc (read from the hooks), jemalloc's metadata, the
 *             fixed part, job tickets.
 * Invariant:  OWNED: growth of anonymous resident memory <= ledger_used(), up to what `fixed` has
 *             yet to learn.
 *             GUEST: the same sum with malloc modelled from reports; nothing here is measured
 *                    unless the host measures.
 * Threads:    any, without a lock: the sum is read term by term. Each term is exact; the sum may be
 *             one charge old. Called from allocator hooks: nothing here allocates or takes a lock
 *             that is held across an allocation.
 */
#ifndef CISTERN_LEDGER_PRIVATE_H
#define CISTERN_LEDGER_PRIVATE_H

#include "cistern/pool.h"

#include <stdatomic.h>

/* Stacks, the first metadata block, .data pages touched late: measured 1.5 MiB, raised when
 * resident growth shows more. */
#define LEDGER_FIXED_BYTES (INT64_C(1536) << 10)
/* GUEST: a reported byte counts as 1.15 bytes of malloc (size classes, slab ends, metadata).
 *        Declared, not measured. */
#define LEDGER_GUEST_FACTOR_PERCENT 115
/* A forced charge above the limit waits this long for the governor, then is admitted. */
#define LEDGER_WAIT_NS INT64_C(2000000)
#define LEDGER_WAIT_STEP_NS INT64_C(50000)

struct ledger {
    /* Atomic: relaxed; each is a statistic or a threshold, none publishes memory. */
    _Atomic int64_t limit; /* budget + credit; written by the governor */
    _Atomic int64_t kick;  /* above it a charge wakes the governor */
    _Atomic int64_t tickets;
    _Atomic int64_t metadata;
    _Atomic int64_t fixed;
    _Atomic int64_t measured_rest; /* GUEST with measure(): native bytes that no charge explains */
    _Atomic uint64_t peak;
    _Atomic uint64_t overrun_count;
    /* hooks' count when the baseline was read; written before the pool is handed out */
    int64_t malloc_baseline;
};

void ledger_init(struct cistern_pool *pool);
/* Until the governor's next look. */
void ledger_limit_set(struct cistern_pool *pool, int64_t bytes);
/* What is kept free of every budget for what happens between two looks: 1 MiB + budget / 128. */
int64_t ledger_slack(uint64_t budget_bytes);
int64_t ledger_used(const struct cistern_pool *pool);
int64_t ledger_free(const struct cistern_pool *pool); /* limit - used; tickets not subtracted */
int64_t ledger_malloc(const struct cistern_pool
        *pool); /* OWNED: hooks' bytes since the baseline + metadata; GUEST: 0 */
/* What holders add up to: charges, reports, and malloc that nobody reported. */
uint64_t ledger_charged(const struct cistern_pool *pool);
void ledger_peak_update(struct cistern_pool *pool);
/* After bytes were added that could not be refused: wakes the governor, drops warm runs, waits
 * at most LEDGER_WAIT_NS, counts an overrun. slot may be NULL (allocator hooks). */
void ledger_admit(struct cistern_pool *pool, const struct cistern_slot *slot);

/* A thread that is evicting must never wait for an eviction. Nests. */
void ledger_evict_begin(void);
void ledger_evict_end(void);
int ledger_evicting(void);

#endif
