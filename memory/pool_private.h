/* pool_private.h -- the structs behind pool.h, shared by pool.c, slot.c, component.c, reserve.c,
 * holders.c, the ledger and the governor. */
#ifndef CISTERN_POOL_PRIVATE_H
#define CISTERN_POOL_PRIVATE_H

#include "cistern/pool.h"
#include "governor_private.h"
#include "ledger_private.h"
#include "quota_private.h"
#include "resident_private.h"

#include <pthread.h>
#include <stdatomic.h>

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * 1024)

#define POOL_NAME_BYTES 32
#define POOL_SLOT_COUNT_MAX 4096
#define SLOT_COMPONENT_COUNT_MAX 1024
#define CACHE_LINE_BYTES 64
/* What an exclusive component keeps of what it gave back, so that the next charge finds it without
 * an atomic step: at most this, and at most this part of the slot's limit. */
#define COMPONENT_STASH_BYTES (64 * KIB)
#define COMPONENT_STASH_PART 1024

#define POOL_BUDGET_BYTES_MAX (UINT64_C(1) << 46) /* what 47 bits of addresses can reserve twice */

/* Terms of cistern_pool_budget_min(); docs/MEMORY.md gives the reason for each. */
#define BUDGET_PROCESS_RESERVE_MIN (8 * MIB)
#define BUDGET_DEBT_MIN (512 * KIB)
#define BUDGET_INDEX_MIN (256 * KIB)
#define BUDGET_SEGMENT_MIN (64 * KIB)
#define BUDGET_CLEANER_SEGMENTS 4
#define BUDGET_OPEN_SEGMENTS 2
#define BUDGET_CACHE_FLOOR (2 * MIB)
#define BUDGET_WRITE_BUFFER_MIN (1 * MIB)
#define BUDGET_STATE_MIN (96 * KIB)

struct page_store;   /* page_store_private.h */
struct shared_entry; /* shared.c */

struct cistern_component {
    struct cistern_slot *slot;
    char name[POOL_NAME_BYTES];
    uint32_t reclaim_class;
    uint32_t reclaim_from_any_thread;
    uint32_t is_exclusive;
    uint32_t may_borrow; /* clean cache that any thread can evict: the slot's loan is for it */
    uint64_t (*reclaim)(void *arg, uint64_t target_bytes, int64_t deadline_ns);
    void *arg;
    uint32_t is_quiet;              /* its callback is not called any more; Guarded by: pool.lock */
    uint64_t sequence;              /* order of opening within the slot; Guarded by: pool.lock */
    struct cistern_component *next; /* Guarded by: pool.lock */
    /* set with its first page, cleared when it closes, both under pool.lock; pairs with the loads
     * of its own threads */
    struct page_store *_Atomic page_store;
    uint32_t page_head;  /* Guarded by: the store's lock */
    uint32_t page_count; /* Guarded by: the store's lock */
    char padding[CACHE_LINE_BYTES];
    /* Atomic: relaxed; statistics of what the slot's quota already decided. Of an exclusive
     *         component they change by a load and a store, there being one caller at a time. */
    _Atomic uint64_t used;
    _Atomic uint64_t reported;
    _Atomic uint64_t stash; /* exclusive: charged at the slot, given back by the owner, kept */
    _Atomic uint64_t peak;
    _Atomic uint64_t peak_timed; /* the peak when peak_ms was read: a clock each time costs more */
    _Atomic int64_t peak_ms;
    _Atomic uint64_t refusal_count;
    /* Atomic: set under pool.lock; cleared with release, close waits with acquire */
    _Atomic uint32_t in_reclaim;
};

struct cistern_slot {
    struct cistern_pool *pool; /* this, name and index: written once, before the pool is handed out */
    char name[POOL_NAME_BYTES];
    uint32_t index;
    uint32_t is_open;      /* Guarded by: pool.lock */
    uint32_t recall_count; /* recalls that have this slot in hand; Guarded by: pool.lock */
    uint32_t is_closing;   /* neither lends nor borrows; Guarded by: pool.lock */
    uint32_t weight;
    uint32_t component_count; /* Guarded by: pool.lock */
    /* limit + lent + lent_in_hand + debt_max; Guarded by: pool.lock */
    uint64_t granted_bytes;
    uint64_t guarantee_bytes;
    _Atomic uint64_t debt_max;            /* Written by: open and resize, under pool.lock */
    uint64_t component_sequence;          /* Guarded by: pool.lock */
    struct cistern_component *components; /* in order of opening; Guarded by: pool.lock */
    struct page_store *page_store;        /* Guarded by: pool.lock */
    uint32_t page_owner_count;            /* components that use it; Guarded by: pool.lock */
    uint64_t lease_sequence;              /* Guarded by: pool.lock */
    struct shared_entry *shared;          /* what is leased; Guarded by: pool.lock */
    char padding[CACHE_LINE_BYTES];
    struct quota quota;
    _Atomic uint64_t lent;         /* part of the limit that is another's loan; under pool.lock */
    _Atomic uint64_t lent_in_hand; /* part that is in a recall now; under pool.lock */
    _Atomic int64_t recalled_ns;   /* when the owner last asked for it back; 0 = never */
    _Atomic uint64_t reported;     /* the part of `used` that was reported, not charged */
    _Atomic uint64_t peak;
    char padding_after[CACHE_LINE_BYTES];
};

struct cistern_pool {
    _Atomic uint64_t budget_bytes;          /* Written by: resize, under pool.lock */
    _Atomic uint64_t process_reserve_bytes; /* Written by: resize, under pool.lock */
    uint32_t is_resizing;                   /* Guarded by: pool.lock */
    _Atomic uint64_t orphaned;              /* loans whose lenders are closed; under pool.lock */
    _Atomic uint64_t orphaned_in_hand;      /* of them, in a recall now; under pool.lock */
    uint64_t page_bytes;
    uint32_t slot_count_max;
    uint32_t accounting;
    uint32_t allocator;
    uint32_t huge_pages;
    uint32_t guard;
    uint64_t (*measure)(void *arg);
    void *measure_arg;
    /* grants, the lists of slots and components; never held across a callback */
    pthread_mutex_t lock;
    struct ledger ledger;
    struct resident resident;
    struct governor governor;
    struct cistern_slot slots[]; /* slot_count_max + 1; [0] is the process */
};

/* Once, when the pool is made: what a slot is called is read by any thread, open or not. */
void slot_init(struct cistern_slot *slot, struct cistern_pool *pool, uint32_t index);
/* The reserve of a budget when the options give none; and what the process slot may charge of a
 * reserve: without the parts that nobody charges (ledger slack, fixed part). */
uint64_t pool_process_reserve(uint64_t budget_bytes);
uint64_t pool_process_limit(uint64_t budget_bytes, uint64_t reserve_bytes);
/* What is used beyond limit and loan. */
uint64_t slot_debt(const struct cistern_slot *slot);
int64_t slot_free(const struct cistern_slot *slot); /* limit + loan - used; negative: debt */
/* cistern_slot_share_bytes() while no loan moves; takes pool.lock. */
uint64_t slot_share_exact(struct cistern_slot *slot);
/* Of the limit alone, for what may not fill a loan. */
int64_t slot_free_own(const struct cistern_slot *slot);
/* Records a new high of the slot (and through it of the pool). */
void slot_peak_update(struct cistern_slot *slot, uint64_t used);
void counter_raise(_Atomic uint64_t *counter, uint64_t value);

/* After `used` grew by another way than a charge: pages that change their owner. */
void component_peak_update(struct cistern_component *component);

/* 1 while this thread runs a reclaim callback: charging there is the caller's bug. */
int reserve_in_callback(void);

#endif
