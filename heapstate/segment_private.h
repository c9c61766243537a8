/*
 * segment_private.h -- the segments of the log: equal pieces of one region, charged while they
 * hold memory.
 *
 * Owns:       the region of all segments and the table with one row per segment.
 * Invariant:  a row says EMPTY, OPEN, SEALED, RUN or TAIL iff its memory is committed and
 *             charged.
 * Threads:    owner only, but for `owed`: a snapshot's reader moves it from TODO over READING to
 *             NONE.
 * Full when:  the slot refuses the charge, or the reserved range is used up -> SEGMENT_NONE.
 */
#ifndef CISTERN_HEAPSTATE_SEGMENT_PRIVATE_H
#define CISTERN_HEAPSTATE_SEGMENT_PRIVATE_H

#include "cistern/region.h"
#include "entry_private.h"

#define SEGMENT_BYTES_MIN (64u << 10)
#define SEGMENT_BYTES_MAX (2u << 20)
#define SEGMENT_NONE UINT32_MAX
/* Nothing lies here: handle 0 can mean none, and entries of 64 bytes are one cache line each */
#define SEGMENT_HEAD_BYTES 64u
/* Empty segments that only the cleaner and, down to two, deletes may take */
#define SEGMENT_RESERVE 4u
#define HANDLE_SPACE_BYTES ((uint64_t)ENTRY_ALIGN << 32)

enum segment_use {
    SEGMENT_ABSENT, /* no memory behind the number */
    SEGMENT_EMPTY,  /* charged, waiting on the empty list */
    SEGMENT_OPEN,
    SEGMENT_SEALED,
    SEGMENT_RUN, /* first of run_count segments that hold one big entry */
    SEGMENT_TAIL /* the rest of a run */
};
enum segment_owed {
    SEGMENT_OWED_NONE, /* no snapshot in flight needs what stands here */
    SEGMENT_OWED_TODO,
    SEGMENT_OWED_READING
};

struct segment {
    uint64_t base_epoch; /* entry stamps count from here */
    uint64_t epoch_max;  /* youngest stamp that stands here */
    /* An increment with a base below it scans the segment; else the dirty list suffices */
    uint64_t scan_epoch;
    uint64_t tombstone_epoch_max; /* 0 = no tombstones counted in live_bytes */
    uint64_t tombstone_pruned;    /* tombstones with a stamp up to here count no more */
    uint64_t tombstone_bytes;
    uint64_t fill;       /* first unused byte */
    uint64_t live_bytes; /* indexed entries, and tombstones no confirmed checkpoint covers */
    uint32_t dirty_head; /* block number + 1; 0 = empty list */
    uint32_t dirty_count;
    uint32_t run_count;
    uint32_t next_empty; /* EMPTY: next on the list */
    uint32_t use;
    /* Atomic: pairs with the reader's claim and its end. Last: resetting a row leaves it */
    uint32_t owed;
};

struct segment_table {
    struct cistern_region *region;
    struct cistern_region *row_region;
    uint8_t *base;
    struct segment *rows;
    uint64_t segment_bytes;
    uint32_t shift; /* log2 of segment_bytes */
    uint32_t count_max;
    uint32_t frontier;    /* numbers below it have a row */
    uint32_t row_count;   /* rows with memory behind them */
    uint32_t absent_hint; /* no ABSENT number is below it */
    uint32_t empty_head;  /* number + 1 */
    uint32_t empty_count;
    uint64_t release_count; /* segments and runs released so far */
    uint32_t used_count;    /* OPEN, SEALED, RUN and TAIL */
    uint64_t fill_bytes;    /* of the used ones, heads excluded */
    uint64_t live_bytes;
    uint64_t tombstone_bytes;
};

CISTERN_MUST_USE uint32_t segment_table_init(struct segment_table *table,
    struct cistern_component *component, struct cistern_component *row_component,
    uint64_t segment_bytes, uint64_t reserve_bytes, uint32_t huge_pages,
    struct cistern_error *error);
void segment_table_deinit(struct segment_table *table);
/* An OPEN segment: from the empty list while that leaves `keep` there, else newly charged; else
 * SEGMENT_NONE. */
uint32_t segment_take(struct segment_table *table, uint32_t keep, uint64_t base_epoch);
/* count neighbours as one RUN, newly charged; else SEGMENT_NONE. */
uint32_t segment_take_run(struct segment_table *table, uint32_t count, uint64_t base_epoch);
/* One more on the empty list, newly charged. 0 = refused. */
int segment_add_empty(struct segment_table *table);
/* Nobody may need what stands there. The segment, or each of the run, goes to the empty list or
 * back to the slot. */
void segment_release(struct segment_table *table, uint32_t number);
/* Gives empty segments back to the slot until `keep` are left; returns the bytes. */
uint64_t segment_trim(struct segment_table *table, uint32_t keep);
/* The same for at most `count` of them: each is a system call that unmaps a segment's pages. */
uint64_t segment_trim_some(struct segment_table *table, uint32_t keep, uint32_t count);

static inline struct entry *segment_entry(const struct segment_table *table, uint32_t handle)
{
    return (struct entry *)(table->base + (uint64_t)handle * ENTRY_ALIGN);
}

static inline uint32_t segment_number_of(const struct segment_table *table, uint32_t handle)
{
    return (uint32_t)(((uint64_t)handle * ENTRY_ALIGN) >> table->shift);
}

static inline struct segment *segment_of(const struct segment_table *table, uint32_t handle)
{
    return &table->rows[segment_number_of(table, handle)];
}

static inline int segment_is_owed(const struct segment *segment)
{
    return __atomic_load_n(&segment->owed, __ATOMIC_ACQUIRE) != SEGMENT_OWED_NONE;
}

#endif
