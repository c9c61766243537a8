/*
 * loan_private.h -- moves unused limit from idle slots to slots whose cache is full, and back.
 *
 * Owns:       slot.lent (lent_in_hand), slot.quota.loan; pool.orphaned (_in_hand), what closed slots
 *             had lent and pinned caches still hold: it counts as granted until it comes back.
 * Invariant:  the sum of all limits and loans never grows: a piece is lowered here, looked at, and
 *             only then raised there. Between the two steps it belongs to nobody.
 * Rules:      only clean cache that any thread can evict may fill a loan (the quota sees to it), so
 *             that a recall never waits for the borrower's owner. A slot that borrows does not
 *             lend, one that lends does not borrow. What is lent is free room beyond
 *             max(LOAN_KEEP_MIN, share / LOAN_KEEP_PART), and not within LOAN_REST_NS of a recall.
 * Threads:    any; no lock of ours may be held: callbacks run. Moves take pool.lock.
 */
#ifndef CISTERN_LOAN_PRIVATE_H
#define CISTERN_LOAN_PRIVATE_H

#include "pool_private.h"

#define LOAN_PIECE_MIN (1 * MIB)       /* less is not worth a move */
#define LOAN_RECALL_PIECE (4 * MIB)    /* evicted and handed over at a time: 1-2 ms */
#define LOAN_RECALL_AT_ONCE (16 * MIB) /* what a waking owner asks for beyond its need */
#define LOAN_KEEP_MIN (1 * MIB)        /* stays with the lender for its next few charges */
#define LOAN_KEEP_PART 8
#define LOAN_REST_NS INT64_C(1000000000)

/* Lends `slot` up to `bytes` of what other slots leave free; returns how many. */
uint64_t loan_borrow(struct cistern_slot *slot, uint64_t bytes);
/* Takes up to `bytes` of what `slot` lent back, piece by piece, evicting the borrowers' caches as
 * far as needed; stops at deadline_ns (absolute, cistern_now_ns(); 0 = after one pass). Returns how
 * many came back: each piece can be used from the moment it came. */
uint64_t loan_recall(struct cistern_slot *slot, uint64_t bytes, int64_t deadline_ns);
/* The same of what slots had lent that are closed now: it is granted to nobody afterwards. */
uint64_t loan_recall_orphaned(struct cistern_pool *pool, uint64_t bytes, int64_t deadline_ns);
/* Gives up to `bytes` of the loan that `slot` does not use back to the lenders. */
uint64_t loan_return(struct cistern_slot *slot, uint64_t bytes);
/* The free room of `slot` that it could lend now. */
uint64_t loan_spare(const struct cistern_slot *slot);

#endif
