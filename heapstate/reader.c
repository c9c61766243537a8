/* reader.c -- the transfer thread's walk over the segments of a snapshot; see
 * snapshot_private.h. */
#include "snapshot_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#include <stdlib.h>

#define READ_AHEAD_BYTES 256u

static int is_given_up(const struct heap_snapshot *snapshot)
{
    return __atomic_load_n(&snapshot->heap->flight.given_up, __ATOMIC_ACQUIRE) != 0;
}

uint32_t reader_fail_given_up(const struct heap_snapshot *snapshot, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_ABORTED, snapshot->heap->base.options.operator_id,
        "checkpoint %llu was given up: the slot ran out of memory while it held old versions",
        (unsigned long long)snapshot->checkpoint_id);
}

static struct segment *item_segment(
    const struct heap_snapshot *snapshot, const struct snapshot_item *item)
{
    return &snapshot->heap->segments.rows[item->number];
}

static const struct entry *item_entry(
    const struct heap_snapshot *snapshot, const struct snapshot_item *item, uint64_t offset)
{
    const struct segment_table *table = &snapshot->heap->segments;
    return (const struct entry *)(table->base + ((uint64_t)item->number << table->shift) + offset);
}

static int compare_offsets(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static uint32_t offsets_reserve(struct reader *reader, uint32_t count, struct cistern_error *error)
{
    if (count <= reader->offset_capacity) {
        return CISTERN_OK;
    }
    uint32_t *offsets = cistern_reallocate(reader->offsets, (uint64_t)count * sizeof *offsets);
    if (offsets == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "snapshot",
            "no memory for a list of %u changed entries", count);
    }
    reader->offsets = offsets;
    reader->offset_capacity = count;
    return CISTERN_OK;
}

/* Copies the dirty list as it was at begin, sorted, each offset once. */
static uint32_t collect_offsets(
    struct heap_snapshot *snapshot, const struct snapshot_item *item, struct cistern_error *error)
{
    struct reader *reader = &snapshot->reader;
    const struct dirty_block *blocks = snapshot->heap->dirty.blocks;
    uint32_t count = 0;
    for (uint32_t at = item->dirty_head; at != 0; at = blocks[at - 1].link) {
        count += blocks[at - 1].count;
    }
    uint32_t status = offsets_reserve(reader, count, error);
    if (status != CISTERN_OK) {
        return status;
    }
    count = 0;
    for (uint32_t at = item->dirty_head; at != 0; at = blocks[at - 1].link) {
        memcpy(reader->offsets + count, blocks[at - 1].offsets,
            blocks[at - 1].count * sizeof *reader->offsets);
        count += blocks[at - 1].count;
    }
    qsort(reader->offsets, count, sizeof *reader->offsets, compare_offsets);
    uint32_t unique = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (unique == 0 || reader->offsets[unique - 1] != reader->offsets[i]) {
            reader->offsets[unique++] = reader->offsets[i];
        }
    }
    reader->offset_count = unique;
    reader->offset_next = 0;
    return CISTERN_OK;
}

/* Whether the snapshot holds the entry: written by its moment and not dead by then, and, in an
 * increment, after the base. */
static int is_visible(const struct heap_snapshot *snapshot, const struct snapshot_item *item,
    const struct entry *entry, uint8_t flags)
{
    uint64_t stamp = item->base_epoch + entry->delta;
    if (stamp > snapshot->epoch || stamp <= snapshot->base_epoch) {
        return 0;
    }
    if ((flags & ENTRY_DEAD) && item->base_epoch + entry_hash(entry) <= snapshot->epoch) {
        return 0;
    }
    return !(flags & ENTRY_TOMBSTONE) || snapshot->base_epoch != 0;
}

/* BUSY: the entry at the reader's place was not taken; else the size to move on by. */
static uint32_t feed_entry(struct heap_snapshot *snapshot, const struct snapshot_item *item,
    uint64_t offset, uint64_t *ret_bytes, struct cistern_error *error)
{
    const struct entry *entry = item_entry(snapshot, item, offset);
    uint8_t flags = entry_flags_acquire(entry);
    struct entry_view view;
    entry_parse(entry, flags, &snapshot->heap->layouts[entry->state_id], &view);
    *ret_bytes = view.bytes;
    return is_visible(snapshot, item, entry, flags)
               ? expand_entry(&snapshot->expand, snapshot->writer, entry, flags, &view, error)
               : CISTERN_OK;
}

static uint32_t feed_item(
    struct heap_snapshot *snapshot, const struct snapshot_item *item, struct cistern_error *error)
{
    struct reader *reader = &snapshot->reader;
    uint32_t status = CISTERN_OK;
    uint64_t bytes = 0;
    if (item->dirty_head != 0) {
        while (status == CISTERN_OK && reader->offset_next < reader->offset_count) {
            uint64_t offset = (uint64_t)reader->offsets[reader->offset_next] * ENTRY_ALIGN;
            status = feed_entry(snapshot, item, offset, &bytes, error);
            reader->offset_next += status == CISTERN_OK;
        }
        return status;
    }
    while (status == CISTERN_OK && reader->offset < item->fill) {
        __builtin_prefetch(item_entry(snapshot, item, reader->offset + READ_AHEAD_BYTES));
        status = feed_entry(snapshot, item, reader->offset, &bytes, error);
        reader->offset += status == CISTERN_OK ? bytes : 0;
    }
    return status;
}

static uint32_t fail_no_memory(struct cistern_error *error)
{
    return cistern_fail(
        error, CISTERN_NO_MEMORY, "snapshot", "no memory for a table of the merged lists");
}

/* The item is the reader's until release_item(). Does nothing when it is already. */
static uint32_t claim_item(
    struct heap_snapshot *snapshot, const struct snapshot_item *item, struct cistern_error *error)
{
    uint32_t todo = SEGMENT_OWED_TODO;
    if (!snapshot->reader.learned &&
        !__atomic_compare_exchange_n(&item_segment(snapshot, item)->owed, &todo,
            SEGMENT_OWED_READING, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        /* only the owner takes a segment back, and then all of them */
        return reader_fail_given_up(snapshot, error);
    }
    return CISTERN_OK;
}

static uint32_t start_item(
    struct heap_snapshot *snapshot, const struct snapshot_item *item, struct cistern_error *error)
{
    uint32_t status = claim_item(snapshot, item, error);
    if (status != CISTERN_OK) {
        return status;
    }
    snapshot->reader.claimed = 1;
    snapshot->reader.offset = SEGMENT_HEAD_BYTES;
    return item->dirty_head != 0 ? collect_offsets(snapshot, item, error) : CISTERN_OK;
}

static void release_item(struct heap_snapshot *snapshot, const struct snapshot_item *item)
{
    __atomic_store_n(&item_segment(snapshot, item)->owed, SEGMENT_OWED_NONE, __ATOMIC_RELEASE);
    snapshot->reader.claimed = 0;
}

static uint32_t learn_item(
    struct heap_snapshot *snapshot, const struct snapshot_item *item, struct cistern_error *error)
{
    for (uint64_t offset = SEGMENT_HEAD_BYTES; offset < item->fill;) {
        const struct entry *entry = item_entry(snapshot, item, offset);
        uint8_t flags = entry_flags_acquire(entry);
        struct entry_view view;
        entry_parse(entry, flags, &snapshot->heap->layouts[entry->state_id], &view);
        offset += view.bytes;
        if (is_visible(snapshot, item, entry, flags) &&
            expand_learn(&snapshot->expand, entry, flags, &view) != CISTERN_OK) {
            return fail_no_memory(error);
        }
    }
    return CISTERN_OK;
}

/* Which list the chunks of merged ones belong to is known only from heads, and those may stand
 * anywhere: all segments are looked through before the first is written. */
static uint32_t learn_all(struct heap_snapshot *snapshot, struct cistern_error *error)
{
    uint32_t claimed = 0;
    uint32_t status = CISTERN_OK;
    while (status == CISTERN_OK && claimed < snapshot->item_count) {
        status = claim_item(snapshot, &snapshot->items[claimed], error);
        claimed += status == CISTERN_OK;
    }
    for (uint32_t i = 0; i < claimed && status == CISTERN_OK; i++) {
        status = learn_item(snapshot, &snapshot->items[i], error);
    }
    if (status == CISTERN_OK) {
        expand_learned(&snapshot->expand);
        snapshot->reader.learned = 1;
        return CISTERN_OK;
    }
    for (uint32_t i = 0; i < claimed; i++) {
        release_item(snapshot, &snapshot->items[i]);
    }
    return status;
}

uint32_t reader_feed(struct heap_snapshot *snapshot, struct cistern_error *error)
{
    struct reader *reader = &snapshot->reader;
    const struct expand *expand = &snapshot->expand;
    if (expand->is_canonical && expand->has_merged_lists && !reader->learned) {
        uint32_t status = learn_all(snapshot, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    while (reader->item < snapshot->item_count) {
        const struct snapshot_item *item = &snapshot->items[reader->item];
        if (is_given_up(snapshot)) {
            return reader_fail_given_up(snapshot, error);
        }
        uint32_t status = reader->claimed ? CISTERN_OK : start_item(snapshot, item, error);
        if (status == CISTERN_OK) {
            status = feed_item(snapshot, item, error);
        }
        if (status != CISTERN_OK) {
            return status;
        }
        if (reader->learned) {
            reader->claimed = 0; /* keys of heads that stand there are still needed */
        } else {
            release_item(snapshot, item);
        }
        reader->item++;
    }
    reader->finished = 1;
    return cistern_seg_writer_finish(snapshot->writer, error);
}

void reader_deinit(struct heap_snapshot *snapshot)
{
    uint32_t first = snapshot->reader.item;
    if (snapshot->reader.learned) {
        for (uint32_t i = 0; i < snapshot->item_count; i++) {
            release_item(snapshot, &snapshot->items[i]);
        }
        first = snapshot->item_count;
    } else if (snapshot->reader.claimed) {
        release_item(snapshot, &snapshot->items[first++]);
    }
    for (uint32_t i = first; i < snapshot->item_count; i++) {
        /* Unless the owner took it back and uses it for something else by now. */
        uint32_t todo = SEGMENT_OWED_TODO;
        __atomic_compare_exchange_n(&item_segment(snapshot, &snapshot->items[i])->owed, &todo,
            SEGMENT_OWED_NONE, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
    cistern_release(snapshot->reader.offsets);
    snapshot->reader.offsets = NULL;
}
