/*
 * log.c -- the ends of the log: places for new entries, and what becomes of old ones; see
 * heap_private.h.
 *
 * Two segments are open: one takes what the owner writes, stamped with the present epoch; one
 *                        takes survivors of cleaning,
 * which keep their stamps. A stamp at or below the confirmed epoch means "not changed" to every
 * increment to come, so a survivor's stamp may be raised to its segment's base epoch.
 */
#include "heap_private.h"

static uint32_t entry_bytes_max(const struct heap *heap)
{
    /* above it an entry gets a run: sealing wastes less than a quarter */
    return (uint32_t)(heap->segments.segment_bytes / 4);
}

static int fits_open(const struct heap *heap, uint32_t number, uint64_t bytes)
{
    if (number == SEGMENT_NONE) {
        return 0;
    }
    const struct segment *segment = &heap->segments.rows[number];
    return segment->fill + bytes <= heap->segments.segment_bytes &&
           heap->epoch - segment->base_epoch <= ENTRY_DELTA_MAX;
}

static void seal(struct heap *heap, enum log_end end)
{
    if (heap->open[end] != SEGMENT_NONE) {
        struct segment *segment = &heap->segments.rows[heap->open[end]];
        segment->use = SEGMENT_SEALED;
        heap->empties_hint |= segment->live_bytes == 0;
        heap->open[end] = SEGMENT_NONE;
    }
}

static uint32_t handle_at(const struct heap *heap, uint32_t number, uint64_t offset)
{
    return (uint32_t)((((uint64_t)number << heap->segments.shift) + offset) / ENTRY_ALIGN);
}

/* How many segments a run for `bytes` takes. */
static uint64_t run_segments(const struct heap *heap, uint64_t bytes)
{
    return (bytes + SEGMENT_HEAD_BYTES + heap->segments.segment_bytes - 1) >> heap->segments.shift;
}

static uint32_t take_segments(struct heap *heap, uint64_t bytes, uint32_t keep)
{
    if (bytes <= entry_bytes_max(heap)) {
        return segment_take(&heap->segments, keep, heap->epoch);
    }
    uint64_t count = run_segments(heap, bytes);
    return count > heap->segments.count_max
               ? SEGMENT_NONE
               : segment_take_run(&heap->segments, (uint32_t)count, heap->epoch);
}

/* Takes segments after making room for them: free ones first, then the cleaner, then the
 * snapshot in flight goes. */
static uint32_t take_hard(struct heap *heap, uint64_t bytes, uint32_t keep)
{
    int is_run = bytes > entry_bytes_max(heap);
    uint64_t count = is_run ? run_segments(heap, bytes) : 1;
    if (is_run && count << heap->segments.shift > cistern_slot_share_bytes(heap->base.slot)) {
        return SEGMENT_NONE;
    }
    for (uint64_t round = 0; round < count + 2; round++) {
        if (!cleaner_make_room(heap, keep)) {
            break;
        }
        if (is_run) { /* it needs neighbours: memory goes back and is asked for again */
            segment_trim(&heap->segments, keep);
        }
        uint32_t number = take_segments(heap, bytes, keep);
        if (number != SEGMENT_NONE) {
            return number;
        }
    }
    return SEGMENT_NONE;
}

uint32_t log_place(
    struct heap *heap, uint64_t bytes, uint32_t keep, uint32_t *ret_handle, int *ret_moved)
{
    int is_run = bytes > entry_bytes_max(heap);
    *ret_moved = 0;
    if (!is_run && fits_open(heap, heap->open[LOG_FRESH], bytes)) {
        *ret_handle =
            handle_at(heap, heap->open[LOG_FRESH], heap->segments.rows[heap->open[LOG_FRESH]].fill);
        return CISTERN_OK;
    }
    if (heap->empties_hint && !heap->pinned) {
        heap_reap(heap);
        cleaner_free_empties(heap);
    }
    uint32_t number = take_segments(heap, bytes, keep);
    if (number == SEGMENT_NONE &&
        heap_recall(heap, is_run ? run_segments(heap, bytes) << heap->segments.shift
                                 : heap->segments.segment_bytes)) {
        number = take_segments(heap, bytes, keep);
    }
    if (number == SEGMENT_NONE && !heap->pinned) {
        *ret_moved = 1;
        number = take_hard(heap, bytes, keep);
        if (number == SEGMENT_NONE && !heap->flight.given_up && heap_in_flight(heap)) {
            heap_give_up_flight(heap);
            number = take_hard(heap, bytes, keep);
        }
    }
    if (number == SEGMENT_NONE) {
        heap->wanted_bytes = is_run ? run_segments(heap, bytes) << heap->segments.shift
                                    : heap->segments.segment_bytes;
        return CISTERN_LIMIT;
    }
    if (!is_run) {
        seal(heap, LOG_FRESH);
        heap->open[LOG_FRESH] = number;
    }
    *ret_handle = handle_at(heap, number, SEGMENT_HEAD_BYTES);
    return CISTERN_OK;
}

void log_commit(struct heap *heap, uint32_t handle, uint64_t bytes, int tombstone)
{
    struct segment_table *table = &heap->segments;
    struct segment *segment = segment_of(table, handle);
    struct entry *entry = segment_entry(table, handle);
    entry->delta = (uint16_t)(heap->epoch - segment->base_epoch);
    segment->fill += bytes;
    segment->live_bytes += bytes;
    segment->epoch_max = heap->epoch;
    segment->scan_epoch = heap->epoch;
    table->fill_bytes += bytes;
    table->live_bytes += bytes;
    heap->appended_bytes += bytes;
    heap->cleaner.appended += bytes;
    if (tombstone) {
        segment->tombstone_bytes += bytes;
        segment->tombstone_epoch_max = heap->epoch;
        table->tombstone_bytes += bytes;
        heap->tombstone_count++;
    }
}

void log_cancel(struct heap *heap, uint32_t handle)
{
    uint32_t number = segment_number_of(&heap->segments, handle);
    if (heap->segments.rows[number].use == SEGMENT_RUN) {
        segment_release(&heap->segments, number);
    }
}

void log_kill(struct heap *heap, struct entry *entry, uint32_t handle, uint64_t bytes)
{
    struct segment *segment = segment_of(&heap->segments, handle);
    uint64_t died = heap->epoch - segment->base_epoch;
    entry_kill(entry, died < UINT32_MAX ? (uint32_t)died : UINT32_MAX);
    segment->live_bytes -= bytes;
    heap->segments.live_bytes -= bytes;
    heap->empties_hint |= segment->live_bytes == 0 && segment->use != SEGMENT_OPEN;
}

void log_list_dirty(struct heap *heap, struct segment *segment, uint32_t number, uint32_t handle)
{
    uint64_t offset = (uint64_t)handle * ENTRY_ALIGN - ((uint64_t)number << heap->segments.shift);
    /* A quarter of a segment of 64-byte entries: from there on reading all of it costs less than
     * the list. */
    dirty_push(
        &heap->dirty, segment, offset, heap->epoch, (uint32_t)(heap->segments.segment_bytes / 256));
}

int log_touch(struct heap *heap, struct entry *entry, uint32_t handle)
{
    uint32_t number = segment_number_of(&heap->segments, handle);
    struct segment *segment = &heap->segments.rows[number];
    uint64_t delta = heap->epoch - segment->base_epoch;
    if (entry->delta == delta) {
        return 1; /* younger than every snapshot */
    }
    if (delta > ENTRY_DELTA_MAX || segment_is_owed(segment)) {
        return 0;
    }
    entry->delta = (uint16_t)delta;
    entry->flags &= (uint8_t)~ENTRY_NEW;
    segment->epoch_max = heap->epoch;
    if (heap->chain.record_count != 0) {
        log_list_dirty(heap, segment, number, handle);
    }
    return 1;
}

uint32_t log_survivor_place(struct heap *heap, uint64_t bytes)
{
    if (!fits_open(heap, heap->open[LOG_SURVIVORS], bytes)) {
        uint64_t base = heap->epoch > HEAP_EPOCH_SPAN ? heap->epoch - HEAP_EPOCH_SPAN : 0;
        base = base < heap->chain.confirmed_epoch ? heap->chain.confirmed_epoch : base;
        uint32_t number = segment_take(&heap->segments, 0, base);
        if (number == SEGMENT_NONE) {
            return 0;
        }
        seal(heap, LOG_SURVIVORS);
        heap->open[LOG_SURVIVORS] = number;
    }
    return handle_at(
        heap, heap->open[LOG_SURVIVORS], heap->segments.rows[heap->open[LOG_SURVIVORS]].fill);
}
