/*
 * version_private.h -- versions of what stands at an address: a new one is given room, filled, then
 * published in place of the old one; the last one is dropped or erased.
 *
 * Between begin and publish nothing else may be begun, and the caller fills `value`; begin may move
 * entries (cleaning), so what points into the log must be looked up again after it: `old` is.
 * Publish cannot fail. Threads: owner only.
 */
#ifndef CISTERN_HEAPSTATE_VERSION_PRIVATE_H
#define CISTERN_HEAPSTATE_VERSION_PRIVATE_H

#include "lookup_private.h"
#include "member_private.h"
#include "cistern/clock.h"

#define BATCHES_PER_SWEEP 16u
#define BUCKETS_PER_SWEEP 4u    /* looked at for what is expired */
#define CONDEMNED_PER_BATCH 64u /* members dropped after a batch: some 10 us */

struct version {
    struct heap *heap;
    const struct lookup *lookup;
    uint64_t value_bytes;
    int64_t written_ms;
    uint32_t has_written;   /* the entry carries written_ms */
    uint32_t found;         /* an older version stands at `slot`; set by the caller */
    struct index_slot slot; /* of the older version */
    /* made by begin */
    struct index_slot place; /* in the index, when there is no older version */
    uint32_t handle;
    uint64_t bytes;
    struct entry *entry;
    uint8_t *value;
    struct entry_view old; /* the older version, where it stands now; if found */
};

/* LIMIT: nothing was changed. */
CISTERN_MUST_USE uint32_t version_begin(struct version *version);
void version_publish(struct version *version);
void version_cancel(struct version *version);
/* Makes the entry at *slot one that may be changed where it stands: it is, or a copy of it is
 * published. *ret_entry is the entry, *slot its place. LIMIT: it stays as it was. */
CISTERN_MUST_USE uint32_t version_make_writable(struct heap *heap, const struct lookup *lookup,
    struct index_slot *slot, struct entry **ret_entry);
/* Takes an indexed entry out without a tombstone. */
void version_drop(
    struct heap *heap, struct index_slot slot, uint64_t hash, const struct entry_view *view);
/* Removes the address if it is there, with a tombstone when an increment needs one. */
CISTERN_MUST_USE uint32_t version_erase(struct heap *heap, const struct lookup *lookup);
/* The same for callers past the point where they could give up: when there is no room for a
 * tombstone, all bases are forgotten instead. */
void version_erase_anyway(struct heap *heap, const struct lookup *lookup);

/* The state whose bytes an entry counts to. */
struct heap_state *version_owner(
    struct heap *heap, const struct entry *entry, const struct entry_view *view);

static inline struct cistern_span version_value(
    const struct lookup *lookup, const struct entry *entry)
{
    struct entry_view view;
    entry_parse(entry, entry->flags, lookup->layout, &view);
    return view.value;
}

/* What comes after a batch that changed something: parts of cleared objects, expired entries, and
 * the cleaner, with one check of the pace for all of it. */
static inline void version_end_batch(struct heap *heap)
{
    if (heap->condemned.count != 0) {
        (void)condemned_step(heap, CONDEMNED_PER_BATCH);
    }
    if (heap->ttl_state_count != 0 && !heap->sweep_held &&
        ++heap->sweep_credit >= BATCHES_PER_SWEEP) {
        heap->sweep_credit = 0;
        (void)cleaner_sweep_expired(heap, BUCKETS_PER_SWEEP, cistern_wall_ms());
    }
    if (heap->cleaner.appended >= heap->segments.segment_bytes / 64) {
        uint64_t appended = heap->cleaner.appended;
        heap->cleaner.appended = 0;
        cleaner_pace(heap, appended);
    }
}

#endif
