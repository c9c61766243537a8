/*
 * quota_private.h -- the three words that decide whether a slot may have bytes, and the few steps in
 * which they change.
 *
 * Owns:       used, limit and loan of one slot. A voluntary charge is one compare-exchange.
 * Invariant:  used <= limit + loan whenever a charge has answered yes, up to forced charges; what
 *             only clean cache may fill (loan) never makes room for anything else, so that cache
 *             evicted by any thread always brings used back under limit.
 * Threads:    charge, uncharge, force: any, at any time. lower, raise: one thread at a time, under
 *             pool.lock.
 * Order:      every step is sequentially consistent: a charge that slipped in below a limit just
 *             lowered either is seen by lower(), or sees the new limit itself and takes its bytes
 *             back. tests/unit/memory/quota_test.c walks all interleavings: it defines QUOTA_STEP
 *             to be called before each access of shared memory.
 */
#ifndef CISTERN_QUOTA_PRIVATE_H
#define CISTERN_QUOTA_PRIVATE_H

#include <stdatomic.h>
#include <stdint.h>

#ifndef QUOTA_STEP
#define QUOTA_STEP() ((void)0)
#endif

struct quota {
    _Atomic uint64_t used;
    _Atomic uint64_t limit; /* the slot's own */
    _Atomic uint64_t loan;  /* of other slots; only for what any thread can evict */
};

static inline uint64_t quota_load(const _Atomic uint64_t *word)
{
    QUOTA_STEP();
    return atomic_load(word);
}

static inline uint64_t quota_bound(const struct quota *quota, int with_loan)
{
    uint64_t limit = quota_load(&quota->limit);
    return with_loan ? limit + quota_load(&quota->loan) : limit;
}

/* Takes bytes from what is used; release: they were given back before. */
static inline void quota_uncharge(struct quota *quota, uint64_t bytes)
{
    QUOTA_STEP();
    atomic_fetch_sub(&quota->used, bytes);
}

/* Returns the new `used`, or 0 when it was refused. bytes > 0. */
static inline uint64_t quota_charge(struct quota *quota, uint64_t bytes, int with_loan)
{
    uint64_t used = quota_load(&quota->used);
    int is_charged;
    do {
        uint64_t bound = quota_bound(quota, with_loan);
        if (bytes > bound || used > bound - bytes) {
            return 0;
        }
        QUOTA_STEP();
        is_charged = atomic_compare_exchange_weak(&quota->used, &used, used + bytes);
    } while (!is_charged);
    if (used + bytes > quota_bound(quota, with_loan)) {
        quota_uncharge(quota, bytes); /* the limit was lowered in between */
        return 0;
    }
    return used + bytes;
}

/* Always admitted; returns the new `used`. */
static inline uint64_t quota_force(struct quota *quota, uint64_t bytes)
{
    QUOTA_STEP();
    return atomic_fetch_add(&quota->used, bytes) + bytes;
}

static inline void quota_raise(_Atomic uint64_t *word, uint64_t bytes)
{
    QUOTA_STEP();
    atomic_fetch_add(word, bytes);
}

/* Lowers quota->limit or quota->loan, whichever `word` is. Returns how many bytes are used above
 * what is now allowed: 0 = nothing stands in the way, and nothing voluntary will. */
static inline uint64_t quota_lower(struct quota *quota, _Atomic uint64_t *word, uint64_t bytes)
{
    QUOTA_STEP();
    atomic_fetch_sub(word, bytes);
    uint64_t used = quota_load(&quota->used);
    uint64_t bound = quota_bound(quota, 1);
    return used > bound ? used - bound : 0;
}

#endif
