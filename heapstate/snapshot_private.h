/*
 * snapshot_private.h -- a snapshot between begin and release, and the reader that turns segments
 * into a `.seg` stream.
 *
 * Owns:       the list of what it must read, fixed at begin; copies of all it needs from the
 *             heap that the owner may change.
 * Threads:    begin fills it on the owner's thread; afterwards it is the transfer thread's. It
 *             touches the heap's entries only in segments it has claimed (TODO -> READING), up
 *             to the fill mark of begin, and lets go with NONE (release).
 */
#ifndef CISTERN_HEAPSTATE_SNAPSHOT_PRIVATE_H
#define CISTERN_HEAPSTATE_SNAPSHOT_PRIVATE_H

#include "cistern/seg.h"
#include "expand_private.h"

struct snapshot_item { /* a segment to read */
    uint32_t number;
    uint32_t dirty_head; /* 0 = every entry is looked at; else the list of begin */
    uint64_t fill;
    uint64_t base_epoch;
    uint64_t live_bytes;
};

struct snapshot_text { /* a state as of begin */
    uint32_t state_id;
    char *text;
};

struct reader { /* where the transfer thread stands */
    uint32_t item;
    uint32_t claimed;  /* the item's segment is READING */
    uint64_t offset;   /* whole segment: next entry */
    uint32_t *offsets; /* dirty list, sorted, without repeats; room for offset_capacity */
    uint32_t offset_count;
    uint32_t offset_capacity;
    uint32_t offset_next;
    uint32_t finished; /* the writer was told */
    uint32_t learned;  /* see expand_learn(); every segment was claimed for it */
};

struct heap_snapshot {
    struct cistern_snapshot base;
    struct heap *heap;
    uint64_t epoch;
    uint64_t base_epoch; /* entries up to it are in the parts that are used again; 0 = none are */
    uint64_t checkpoint_id;
    uint64_t base_checkpoint_id;
    struct cistern_key_group_range range;
    uint32_t slot_index;
    uint32_t role;
    struct chain_part parts[CHAIN_PARTS_MAX];
    uint32_t part_count;
    uint32_t part_next;
    struct snapshot_item *items;
    uint32_t item_count;
    uint32_t text_count;
    struct snapshot_text *texts;
    /* made by the first read: its buffers are not begin's business */
    struct cistern_seg_writer *writer;
    struct reader reader;
    struct expand expand;
    uint64_t stream_bytes;
    uint32_t completed;
};

/* ---- reader.c ---- */
/* Adds entries to the writer until it wants its output taken, or all are in and it is finished.
 * ABORTED: given up. */
CISTERN_MUST_USE uint32_t reader_feed(struct heap_snapshot *snapshot, struct cistern_error *error);
void reader_deinit(struct heap_snapshot *snapshot);
CISTERN_MUST_USE uint32_t reader_fail_given_up(
    const struct heap_snapshot *snapshot, struct cistern_error *error);

#endif
