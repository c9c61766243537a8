/*
 * cleaner.c -- takes what is live out of the emptiest segments, so that whole segments come
 * free; see heap_private.h.
 *
 * Invariant: an entry keeps its stamp when it moves, so cleaning changes nothing for increments.
 *            Segments that a snapshot owes are no victims. Runs are never moved.
 */
#include "purge_private.h"
#include "version_private.h"
#include "cistern/clock.h"

#define CLEAN_LIVE_64THS_MAX 63u     /* fuller victims than this gain nothing worth their copying */
#define PACE_FACTOR_MAX 64u          /* bytes scanned per byte appended, at most */
#define CONDEMNED_PER_CLEANING 1024u /* members dropped before a segment is cleaned */
#define SWEEP_CHANGES_MAX 64u        /* maps and lists changed in one sweep */
#define PACE_SEGMENTS 12u            /* pressure begins with fewer segments than these to be had */

static int is_free_of_use(const struct segment *segment)
{
    return segment->live_bytes == 0 &&
           (segment->use == SEGMENT_SEALED || segment->use == SEGMENT_RUN) &&
           !segment_is_owed(segment);
}

static void free_segment(struct heap *heap, uint32_t number)
{
    dirty_free(&heap->dirty, &heap->segments.rows[number]);
    segment_release(&heap->segments, number);
}

void cleaner_free_empties(struct heap *heap)
{
    if (!heap->empties_hint) {
        return;
    }
    heap->empties_hint = 0;
    for (uint32_t i = 0; i < heap->segments.frontier; i++) {
        struct segment *segment = &heap->segments.rows[i];
        if (is_free_of_use(segment)) {
            if (heap->cleaner.victim == i + 1) {
                heap->cleaner.victim = 0;
            }
            free_segment(heap, i);
        } else if (segment->live_bytes == 0 && segment_is_owed(segment)) {
            heap->empties_hint = 1; /* once the snapshot is done with it */
        }
    }
}

/* The sealed segment with the fewest live bytes, if it is worth cleaning. */
static uint32_t pick_victim(const struct heap *heap, uint32_t live_64ths)
{
    uint64_t least = heap->segments.segment_bytes / 64 * live_64ths + 1;
    uint32_t best = SEGMENT_NONE;
    for (uint32_t i = 0; i < heap->segments.frontier; i++) {
        const struct segment *segment = &heap->segments.rows[i];
        if (segment->use == SEGMENT_SEALED && segment->live_bytes < least &&
            !segment_is_owed(segment)) {
            least = segment->live_bytes;
            best = i;
        }
    }
    return best;
}

/* Copies one entry to the survivors. 0 = there is no segment for it. */
static int copy_entry(struct heap *heap, struct segment *from, struct entry *entry, uint64_t bytes,
    uint32_t *ret_handle)
{
    uint32_t handle = log_survivor_place(heap, bytes);
    if (handle == 0) {
        return 0;
    }
    uint32_t number = segment_number_of(&heap->segments, handle);
    struct segment *to = &heap->segments.rows[number];
    uint64_t stamp = entry_stamp(from, entry);
    stamp = stamp < to->base_epoch ? to->base_epoch : stamp;
    struct entry *copy = segment_entry(&heap->segments, handle);
    memcpy(copy, entry, bytes);
    copy->delta = (uint16_t)(stamp - to->base_epoch);
    to->fill += bytes;
    to->live_bytes += bytes;
    heap->segments.fill_bytes += bytes;
    heap->segments.live_bytes += bytes;
    to->epoch_max = stamp > to->epoch_max ? stamp : to->epoch_max;
    if (copy->flags & ENTRY_TOMBSTONE) {
        to->tombstone_bytes += bytes;
        to->tombstone_epoch_max = stamp > to->tombstone_epoch_max ? stamp : to->tombstone_epoch_max;
        heap->segments.tombstone_bytes += bytes;
    }
    if (stamp > heap->chain.confirmed_epoch && heap->chain.record_count != 0) {
        log_list_dirty(heap, to, number, handle);
    }
    heap->cleaner.cleaned_bytes += bytes;
    *ret_handle = handle;
    return 1;
}

/* A tombstone's bytes stop counting as live in its segment. */
static void discount_tombstone(
    struct heap *heap, struct segment *segment, uint64_t stamp, uint64_t bytes)
{
    if (stamp > segment->tombstone_pruned) { /* else heap_prune() has done it */
        segment->tombstone_bytes -= bytes;
        segment->live_bytes -= bytes;
        heap->segments.tombstone_bytes -= bytes;
        heap->segments.live_bytes -= bytes;
    }
}

static int move_tombstone(
    struct heap *heap, struct segment *from, struct entry *entry, uint64_t bytes)
{
    uint32_t copy;
    uint64_t stamp = entry_stamp(from, entry);
    int needed = heap->chain.record_count != 0 && stamp > heap->chain.confirmed_epoch;
    if (needed && !copy_entry(heap, from, entry, bytes, &copy)) {
        return 0;
    }
    discount_tombstone(heap, from, stamp, bytes);
    entry_kill(entry, (uint32_t)(heap->epoch - from->base_epoch));
    return 1;
}

static int move_live(struct heap *heap, struct segment *from, uint32_t handle,
    const struct entry_view *view, int64_t now_ms)
{
    struct entry *entry = segment_entry(&heap->segments, handle);
    uint32_t hash = entry_hash(entry);
    struct index_slot slot = index_locate(&heap->index, hash, handle);
    if (entry->state_id != MEMBER_STATE_ID && entry_expired(heap_state_of(heap, entry->state_id),
                                                  entry->flags, view->written_ms, now_ms)) {
        version_drop(heap, slot, hash, view);
        return 1;
    }
    uint32_t copy;
    if (!copy_entry(heap, from, entry, view->bytes, &copy)) {
        return 0;
    }
    slot.bucket->handles[slot.at] = copy;
    log_kill(heap, entry, handle, view->bytes);
    return 1;
}

struct clean_group { /* entries whose index lines are on their way */
    uint32_t count;
    uint32_t handles[HEAP_PREFETCH_GROUP];
    struct entry_view views[HEAP_PREFETCH_GROUP];
};

/* Collects the next entries of the victim that need work, and moves the offset behind them. */
static void collect_group(
    struct heap *heap, const struct segment *victim, struct clean_group *group)
{
    uint64_t start = (uint64_t)(victim - heap->segments.rows) << heap->segments.shift;
    group->count = 0;
    while (heap->cleaner.offset < victim->fill && group->count < HEAP_PREFETCH_GROUP) {
        uint32_t handle = (uint32_t)((start + heap->cleaner.offset) / ENTRY_ALIGN);
        const struct entry *entry = segment_entry(&heap->segments, handle);
        struct entry_view *view = &group->views[group->count];
        entry_parse_in(heap, entry, entry->flags, view);
        heap->cleaner.offset += view->bytes;
        if (!(entry->flags & ENTRY_DEAD)) {
            if (!(entry->flags & ENTRY_TOMBSTONE)) {
                __builtin_prefetch(index_bucket(&heap->index, entry_hash(entry)), 1);
            }
            group->handles[group->count++] = handle;
        }
    }
}

/* 0 = no segment for the survivors; the victim stays as it is, half moved. */
static int clean_group(struct heap *heap, struct segment *victim, int64_t now_ms)
{
    struct clean_group group;
    collect_group(heap, victim, &group);
    for (uint32_t i = 0; i < group.count; i++) {
        struct entry *entry = segment_entry(&heap->segments, group.handles[i]);
        int moved = (entry->flags & ENTRY_TOMBSTONE)
                        ? move_tombstone(heap, victim, entry, group.views[i].bytes)
                        : move_live(heap, victim, group.handles[i], &group.views[i], now_ms);
        if (!moved) {
            return 0;
        }
    }
    return 1;
}

/* The victim at hand, or a new one. */
static struct segment *current_victim(struct heap *heap, uint32_t live_64ths)
{
    struct cleaner *cleaner = &heap->cleaner;
    if (cleaner->victim != 0) {
        struct segment *victim = &heap->segments.rows[cleaner->victim - 1];
        if (victim->use == SEGMENT_SEALED && !segment_is_owed(victim)) {
            return victim;
        }
        cleaner->victim = 0; /* a snapshot has begun: the rest of it waits */
    }
    uint32_t number = pick_victim(heap, live_64ths);
    if (number == SEGMENT_NONE) {
        return NULL;
    }
    cleaner->victim = number + 1;
    cleaner->offset = SEGMENT_HEAD_BYTES;
    return &heap->segments.rows[number];
}

int cleaner_run(struct heap *heap, uint64_t bytes, uint32_t live_64ths)
{
    struct cleaner *cleaner = &heap->cleaner;
    int64_t now_ms = heap->ttl_state_count != 0 ? cistern_wall_ms() : 0;
    uint64_t scanned = 0;
    while (scanned < bytes) {
        struct segment *victim = current_victim(heap, live_64ths);
        if (victim == NULL) {
            return 0;
        }
        uint64_t from = cleaner->offset;
        if (!clean_group(heap, victim, now_ms)) {
            cleaner->victim = 0;
            return 0;
        }
        scanned += cleaner->offset - from;
        if (cleaner->offset >= victim->fill) {
            free_segment(heap, cleaner->victim - 1);
            cleaner->victim = 0;
        }
    }
    return 1;
}

int cleaner_make_room(struct heap *heap, uint32_t keep)
{
    heap_reap(heap);
    heap->empties_hint = 1;
    cleaner_free_empties(heap);
    for (uint32_t i = 0; i < HEAP_CLEAN_SEGMENTS_MAX; i++) {
        if (condemned_step(heap, CONDEMNED_PER_CLEANING)) {
            cleaner_free_empties(heap);
        }
        if (heap->segments.empty_count > keep) {
            return 1;
        }
        if (!cleaner_run(heap, heap->segments.segment_bytes, CLEAN_LIVE_64THS_MAX)) {
            return heap->segments.empty_count > keep;
        }
    }
    return heap->segments.empty_count > keep;
}

/* Bytes that can still be had without cleaning. */
static uint64_t room_bytes(const struct heap *heap)
{
    uint64_t limit = cistern_slot_share_bytes(heap->base.slot);
    uint64_t used = cistern_slot_used_bytes(heap->base.slot);
    uint32_t empty = heap->segments.empty_count > SEGMENT_RESERVE
                         ? heap->segments.empty_count - SEGMENT_RESERVE
                         : 0;
    return (limit > used ? limit - used : 0) + (uint64_t)empty * heap->segments.segment_bytes;
}

void cleaner_pace(struct heap *heap, uint64_t appended)
{
    uint64_t segment_bytes = heap->segments.segment_bytes;
    uint64_t pressure_segments = heap->segments.used_count / 8;
    pressure_segments = pressure_segments < PACE_SEGMENTS ? PACE_SEGMENTS : pressure_segments;
    heap_reap(heap);
    if (room_bytes(heap) >= pressure_segments * segment_bytes) {
        return;
    }
    cleaner_free_empties(heap);
    uint32_t victim = heap->cleaner.victim != 0 ? heap->cleaner.victim - 1
                                                : pick_victim(heap, CLEAN_LIVE_64THS_MAX);
    if (victim == SEGMENT_NONE) {
        return;
    }
    /* To gain one byte at a live share u, u / (1 - u) are copied and as many scanned again: 1 /
     * (1 - u), and one more so that the cleaner stays ahead. */
    uint64_t live = heap->segments.rows[victim].live_bytes;
    uint64_t gain = segment_bytes > live ? segment_bytes - live : 1;
    uint64_t factor = segment_bytes / gain + 1;
    cleaner_run(heap, appended * (factor < PACE_FACTOR_MAX ? factor : PACE_FACTOR_MAX),
        CLEAN_LIVE_64THS_MAX);
}

/* Primary slots of a bucket only: a chain's overflow moves forward as they empty. Returns how many
 * objects were changed. */
static uint32_t sweep_bucket(struct heap *heap, uint32_t number, int64_t now_ms)
{
    uint32_t changed = 0;
    struct index_slot slot = {.bucket = &heap->index.buckets[number]};
    while (slot.at < BUCKET_SLOTS && slot.bucket->handles[slot.at] != 0 &&
           changed < SWEEP_CHANGES_MAX) {
        uint32_t handle = slot.bucket->handles[slot.at];
        const struct entry *entry = segment_entry(&heap->segments, handle);
        struct entry_view view;
        entry_parse_in(heap, entry, entry->flags, &view);
        if (entry->state_id != MEMBER_STATE_ID &&
            entry_expired(
                heap_state_of(heap, entry->state_id), entry->flags, view.written_ms, now_ms)) {
            /* puts the chain's last slot here */
            version_drop(heap, slot, entry_hash(entry), &view);
        } else if (purge_entry(heap, handle)) {
            changed++;
            slot.at = 0;
            if (number >= heap->index.bucket_count) {
                break;
            }
        } else {
            slot.at++;
        }
    }
    return changed;
}

uint32_t cleaner_sweep_expired(struct heap *heap, uint32_t count, int64_t now_ms)
{
    uint32_t changed = 0;
    uint32_t done = 0;
    while (done < count && changed < SWEEP_CHANGES_MAX) {
        heap->sweep_bucket =
            heap->sweep_bucket + 1 < heap->index.bucket_count ? heap->sweep_bucket + 1 : 0;
        changed += sweep_bucket(heap, heap->sweep_bucket, now_ms);
        done++;
    }
    return done;
}
