/*
 * pool.h -- divides one byte budget among the slots of a process, and says who holds what.
 *
 * Owns:       the counters of one budget. It hands out permission, never memory.
 * Never:      waits on the data path; refuses one slot because of another; prints; exits.
 * Invariant:  sum(slot.limit) + process reserve <= budget, always; slot.used <= slot.limit +
 *             slot.debt, and debt <= slot.debt_max, which is part of the budget.
 * Order:      charge, then touch the page; give the page back, then uncharge.
 * Threads:    any thread may call anything here; charges are one compare-exchange on their slot,
 *             only grants (resize, open, close) take pool.lock.
 * Full when:  a slot's limit is used up -> CISTERN_LIMIT, at once; cistern_component_reserve() is
 *             the way to ask for more.
 */
#ifndef CISTERN_POOL_H
#define CISTERN_POOL_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_pool;
struct cistern_slot;
struct cistern_component;

enum cistern_reclaim_class {
    CISTERN_RECLAIM_INSTANT, /* clean cache: freed at once, from any thread */
    CISTERN_RECLAIM_WITH_IO, /* memtables, dirty state: freed by writing it out */
    CISTERN_RECLAIM_NEVER    /* pins, indexes, live objects */
};
enum cistern_allocator {
    CISTERN_ALLOCATOR_AUTO,
    CISTERN_ALLOCATOR_OWN,
    CISTERN_ALLOCATOR_JEMALLOC
};
enum cistern_accounting {
    /* touches nothing process-wide; own regions exact, malloc'ed shares modelled and said to be */
    CISTERN_ACCOUNTING_GUEST,
    /* hooks every jemalloc arena, steers resident growth to <= budget + 2 MiB */
    CISTERN_ACCOUNTING_OWNED
};

struct cistern_pool_options {
    uint64_t budget_bytes; /* required; at least cistern_pool_budget_min() */
    /* I/O buffers, threads, malloc slack; 0 = budget / 16, at least 8 MiB */
    uint64_t process_reserve_bytes;
    uint64_t page_bytes;     /* 0 = 32 KiB; a power of two >= 4 KiB */
    uint32_t slot_count_max; /* 0 = 1 */
    uint32_t allocator;      /* enum cistern_allocator; AUTO = jemalloc if the process runs on it */
    uint32_t huge_pages;     /* 0 = when a slot's segments are 2 MiB; 1 = never; 2 = always */
    uint32_t accounting;     /* enum cistern_accounting; OWNED without jemalloc is UNSUPPORTED */
    /* GUEST, optional: the host's own estimate of native bytes that are ours */
    uint64_t (*measure)(void *arg);
    void *measure_arg;
    /* optional: installed for the process before anything is allocated */
    const struct cistern_host *host;
    /* 1 = debugging: what regions, pages and block pools (but for the blocks that malloc serves)
     * give back faults when it is touched before it is handed out again. An mprotect and a mapping
     * for each piece: slow, and bounded by vm.max_map_count, beyond which pieces go unguarded */
    uint32_t guard;
    uint32_t reserved;
};

/* The least budget that opens: process reserve + per slot the fixed parts (index, cleaner
 * reserve, debt, write buffers per state). Each term is written out in docs/MEMORY.md. */
uint64_t cistern_pool_budget_min(uint32_t slot_count, uint32_t state_count);

/* In OWNED accounting this installs the allocator hooks, faults the program's text in and starts
 * the governor thread; the baseline of resident memory is read last. INVALID: budget below the
 * minimum (the message names it and its terms), page size no power of two. UNSUPPORTED: OWNED
 * and the process does not run on jemalloc. NO_MEMORY. */
CISTERN_MUST_USE uint32_t cistern_pool_create_sized(const struct cistern_pool_options *options,
    uint64_t options_bytes, struct cistern_pool **ret_pool, struct cistern_error *error);
#define cistern_pool_create(options, ret_pool, error)                                              \
    cistern_pool_create_sized((options), sizeof(struct cistern_pool_options), (ret_pool), (error))
/* BUSY: a slot, or a component or an elastic of the process slot, is still open; the message names it
 * and its holders. NULL is fine. */
CISTERN_MUST_USE uint32_t cistern_pool_destroy(
    struct cistern_pool *pool, struct cistern_error *error);
/* Gives a pool that is in use another budget; each slot keeps its share. Growing is at once.
 * Shrinking lowers every limit, evicts what any thread can evict, and waits for the owners to give
 * the rest back (their next charges are refused) until deadline_ns (absolute cistern_now_ns(); 0 =
 * one pass). Whole or not at all: after anything but OK the old budget and limits are in force.
 * ret_reached_bytes (may be NULL): the budget that could have been reached; after OK budget_bytes.
 * Loans between slots end. Threads: any; no reclaim callback may call it. The least size of RocksDB
 * and heap slots stays that of cistern_pool_budget_min().
 * LIMIT (deadline 0), TIMEOUT: something is held; the message names the slot, its largest holder
 * and how far it got. INVALID: below the minimum. BUSY: another resize is going on. */
CISTERN_MUST_USE uint32_t cistern_pool_resize(struct cistern_pool *pool, uint64_t budget_bytes,
    int64_t deadline_ns, uint64_t *ret_reached_bytes, struct cistern_error *error);
uint64_t cistern_pool_page_bytes(const struct cistern_pool *pool); /* the option, or its default */
uint32_t cistern_pool_huge_pages(const struct cistern_pool *pool); /* the option */

struct cistern_slot_options {
    uint64_t limit_bytes;     /* 0 = an even share: (budget - process reserve) / slot_count_max */
    uint64_t guarantee_bytes; /* 0 = limit */
    /* part of the limit kept for forced charges; 0 = limit / 32, at least 512 KiB */
    uint64_t debt_max_bytes;
    uint32_t weight; /* 0 = 1 */
    uint32_t reserved;
};
/* LIMIT: slot_count_max slots are open, or the sum of limits would pass the budget. BUSY: the pool
 * is being resized. INVALID: debt_max_bytes or guarantee_bytes does not fit limit_bytes. */
CISTERN_MUST_USE uint32_t cistern_slot_open_sized(struct cistern_pool *pool,
    const struct cistern_slot_options *options, uint64_t options_bytes,
    struct cistern_slot **ret_slot, struct cistern_error *error);
#define cistern_slot_open(pool, options, ret_slot, error)                                          \
    cistern_slot_open_sized(                                                                       \
        (pool), (options), sizeof(struct cistern_slot_options), (ret_slot), (error))
/* BUSY: a component is open (names it, and the largest holders with their bytes), or an elastic of
 * the slot is open. What it lent and other slots' caches pin stays granted until it comes back. */
CISTERN_MUST_USE uint32_t cistern_slot_close(
    struct cistern_slot *slot, struct cistern_error *error);
/* The process's own slot, for components that serve every slot (I/O buffers, coordinator).
 * Always open; index 0. */
struct cistern_slot *cistern_pool_process_slot(struct cistern_pool *pool);
struct cistern_pool *cistern_slot_pool(struct cistern_slot *slot);
/* 0 = process slot, 1.. = the host's slots */
uint32_t cistern_slot_index(const struct cistern_slot *slot);
/* What voluntary charges may reach now: limit_bytes of the options without debt_max_bytes, less
 * what is lent. */
uint64_t cistern_slot_limit_bytes(const struct cistern_slot *slot);
/* The same with what is lent: its own share, which a charge may reach after a
 * cistern_component_reserve() has asked for it back. A look at several words: one that moves is
 * missed for some nanoseconds. */
uint64_t cistern_slot_share_bytes(const struct cistern_slot *slot);
/* What other slots lent this one, for clean cache that any thread can evict; and what it lent. */
uint64_t cistern_slot_loan_bytes(const struct cistern_slot *slot);
uint64_t cistern_slot_lent_bytes(const struct cistern_slot *slot);
uint64_t cistern_slot_used_bytes(const struct cistern_slot *slot);

/* A component is a line of the account: who, which class, how to get bytes back. */
struct cistern_component_options {
    const char *name;       /* required, at most 31 characters; copied */
    uint32_t reclaim_class; /* enum cistern_reclaim_class */
    /* 0 = only inside the owner's calls (cistern_component_reserve of the same slot) */
    uint32_t reclaim_from_any_thread;
    /* Frees up to target_bytes, returns how many; called with no lock held, must not charge, may
     * be called twice. */
    uint64_t (*reclaim)(void *arg, uint64_t target_bytes, int64_t deadline_ns);
    void *arg;
    /* 1 = one thread at a time charges and uncharges this component (any may be next; its reclaim
     * callback is no exception): its own count then needs no atomic addition, and up to 64 KiB
     * (limit / 1024 of a small slot) of what it gave back stay charged for its next charge: a fifth
     * of the cost. They go back when the slot is above its limit, with the next larger charge, and
     * at close; no reserve of another component takes them */
    uint32_t is_exclusive;
    uint32_t reserved;
};
/* INVALID: no name, too long a one, no reclaim class, or NEVER with a callback. LIMIT: the slot has 1024
 * components already. NO_MEMORY. */
CISTERN_MUST_USE uint32_t cistern_component_open_sized(struct cistern_slot *slot,
    const struct cistern_component_options *options, uint64_t options_bytes,
    struct cistern_component **ret_component, struct cistern_error *error);
#define cistern_component_open(slot, options, ret_component, error)                                \
    cistern_component_open_sized(                                                                  \
        (slot), (options), sizeof(struct cistern_component_options), (ret_component), (error))
/* Returns when no reclaim callback of this component is running, and none begins again: what the
 * callback stands on may be taken down while bytes are still held. NULL is fine. */
void cistern_component_quiesce(struct cistern_component *component);
/* Reports 0. Pages that it still has are released, with a warning in the host's log (pages.h). Other
 * bytes that nobody gave back are the caller's bug: an error in the host's log names slot, component
 * and bytes, builds with assertions stop there, others take them off the account. NULL is fine. */
void cistern_component_close(struct cistern_component *component);
struct cistern_slot *cistern_component_slot(struct cistern_component *component);

/* The four verbs. */
/* OK or LIMIT, at once, without detail: one compare-exchange on the slot. In OWNED accounting
 * LIMIT is also the answer when the ledger of the whole process is full (malloc outgrew the
 * process reserve): the bound comes before the slot's limit. */
CISTERN_MUST_USE uint32_t cistern_component_charge(
    struct cistern_component *component, uint64_t bytes);
void cistern_component_uncharge(struct cistern_component *component, uint64_t bytes);
/* For callers that cannot stop (RocksDB's block allocator): always admitted. What passes the
 * limit is debt: no voluntary charge of the slot succeeds before it is repaid. */
void cistern_component_charge_forced(struct cistern_component *component, uint64_t bytes);
/* Absolute: what the component holds that we can observe but not hook (memtables, table readers).
 * Replaces the last report. */
void cistern_component_report(struct cistern_component *component, uint64_t bytes);
/* The hard path: makes room for `bytes` (does not charge them): what the slot lent comes back, then
 * the reclaim callbacks of the slot, INSTANT class first, then WITH_IO. deadline_ns: absolute
 * cistern_now_ns(); 0 = never waits. LIMIT: error names the slot, the component, the bytes missing,
 * the largest holders of the slot, and the option to raise. TIMEOUT: the deadline passed with room
 * still missing. */
CISTERN_MUST_USE uint32_t cistern_component_reserve(struct cistern_component *component,
    uint64_t bytes, int64_t deadline_ns, struct cistern_error *error);

struct cistern_holder {
    char slot[32];
    char component[32];
    uint32_t reclaim_class;
    uint32_t reserved;
    uint64_t used_bytes;  /* charged + reported */
    uint64_t limit_bytes; /* of the slot */
    uint64_t debt_bytes;  /* of the slot */
    uint64_t lent_bytes;
    uint64_t peak_bytes;
    uint64_t refusal_count;
    int64_t peak_ms; /* wall clock when the peak was reached, up to its last 32nd; 0 = never */
};
/* Every component of every slot, and in OWNED accounting the process lines `malloc` (what the
 * hooks saw and nobody reported) and `unattributed` (resident growth that no line explains):
 * together they are the resident growth. Writes at most holder_capacity; ret_count is the number
 * there are. */
CISTERN_MUST_USE uint32_t cistern_pool_holders(struct cistern_pool *pool,
    struct cistern_holder *ret_holders, uint32_t holder_capacity, uint32_t *ret_count);

/* The same for a person: a line per holder with a bar of its slot's limit, and what is in debt,
 * lent and borrowed. Writes at most capacity bytes with the NUL, whole lines only; returns the
 * bytes of the whole text without it. */
uint64_t cistern_pool_describe(struct cistern_pool *pool, char *text, uint64_t capacity);

struct cistern_pool_usage {
    uint64_t budget_bytes;
    uint64_t charged_bytes; /* charged + reported of all slots, and malloc in OWNED accounting */
    uint64_t charged_peak_bytes;
    uint64_t rss_bytes;          /* VmRSS now */
    uint64_t rss_peak_bytes;     /* VmHWM since the baseline was read */
    uint64_t rss_baseline_bytes; /* after start-up with the text faulted in, before state */
    uint64_t anon_bytes;         /* RssAnon + RssShmem */
    uint64_t anon_peak_bytes;    /* highest seen by the governor's samples and by this call */
    uint64_t anon_baseline_bytes;
    uint32_t accounting;
    uint32_t allocator;     /* the one in use: OWN or JEMALLOC */
    uint64_t overrun_count; /* forced charges that were admitted above the ledger's limit */
};
void cistern_pool_usage(struct cistern_pool *pool, struct cistern_pool_usage *ret_usage);

#ifdef __cplusplus
}
#endif
#endif
