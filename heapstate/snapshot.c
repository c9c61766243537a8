/*
 * snapshot.c -- begin marks the moment; next and read hand out parts on the transfer thread; see
 * snapshot_private.h.
 *
 * begin costs O(segments): a list of {segment, fill mark} in order of emptiness, a word per
 * segment, one step of the epoch. No entry is touched. All that can fail comes before the first
 * change.
 */
#include "snapshot_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#define EMPTINESS_CLASSES 65u
/* All open blocks of the writer together. More than fits a core's cache costs more than longer
 * blocks save: 8 MiB streamed at four fifths of the rate. */
#define BUFFER_BYTES_MAX (2u << 20)
#define BUFFER_BYTES_MIN (256u << 10)
#define BUFFERS_PER_LIMIT 64u /* small slots get small block buffers */

static uint32_t fail_no_memory(
    const struct heap *heap, uint64_t checkpoint_id, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_NO_MEMORY, heap->base.options.operator_id,
        "no memory to begin checkpoint %llu", (unsigned long long)checkpoint_id);
}

/* ---- begin ---- */

static int is_wanted(const struct heap_snapshot *snapshot, const struct segment *segment)
{
    int in_use = segment->use == SEGMENT_OPEN || segment->use == SEGMENT_SEALED ||
                 segment->use == SEGMENT_RUN;
    if (!in_use || segment->live_bytes == 0 || segment->epoch_max <= snapshot->base_epoch) {
        return 0;
    }
    return snapshot->base_epoch < segment->scan_epoch || snapshot->base_epoch == 0 ||
           segment->dirty_head != 0;
}

static struct snapshot_item item_of(
    const struct heap_snapshot *snapshot, uint32_t number, const struct segment *segment)
{
    int scan = snapshot->base_epoch == 0 || snapshot->base_epoch < segment->scan_epoch;
    struct snapshot_item item = {
        .number = number,
        .dirty_head = scan ? 0 : segment->dirty_head,
        .fill = segment->fill,
        .base_epoch = segment->base_epoch,
        .live_bytes = segment->live_bytes,
    };
    return item;
}

static uint32_t emptiness_class(const struct segment_table *table, const struct segment *segment)
{
    uint64_t live_64ths = segment->live_bytes * 64 >> table->shift;
    return live_64ths < EMPTINESS_CLASSES ? (uint32_t)live_64ths : EMPTINESS_CLASSES - 1;
}

/* Emptiest first: what the reader lets go first is what the cleaner wants most. A counting sort:
 * begin must be short. */
static uint32_t list_items(struct heap_snapshot *snapshot)
{
    const struct segment_table *table = &snapshot->heap->segments;
    uint32_t starts[EMPTINESS_CLASSES + 1] = {0};
    for (uint32_t i = 0; i < table->frontier; i++) {
        if (is_wanted(snapshot, &table->rows[i])) {
            starts[emptiness_class(table, &table->rows[i]) + 1]++;
        }
    }
    for (uint32_t i = 0; i < EMPTINESS_CLASSES; i++) {
        starts[i + 1] += starts[i];
    }
    snapshot->item_count = starts[EMPTINESS_CLASSES];
    snapshot->items = cistern_allocate_zeroed(snapshot->item_count, sizeof *snapshot->items);
    if (snapshot->items == NULL) {
        return CISTERN_NO_MEMORY;
    }
    for (uint32_t i = 0; i < table->frontier; i++) {
        if (is_wanted(snapshot, &table->rows[i])) {
            snapshot->items[starts[emptiness_class(table, &table->rows[i])]++] =
                item_of(snapshot, i, &table->rows[i]);
        }
    }
    return CISTERN_OK;
}

static uint32_t copy_texts(struct heap_snapshot *snapshot, struct cistern_error *error)
{
    struct heap *heap = snapshot->heap;
    snapshot->texts = cistern_allocate_zeroed(heap->base.state_count, sizeof *snapshot->texts);
    if (snapshot->texts == NULL) {
        return fail_no_memory(heap, snapshot->checkpoint_id, error);
    }
    for (uint32_t i = 0; i < heap->base.state_count; i++) {
        struct heap_state *state = (struct heap_state *)heap->base.states[i];
        if (state == NULL) {
            continue;
        }
        uint32_t status = state_refresh_text(state, error);
        if (status != CISTERN_OK) {
            return status;
        }
        struct snapshot_text *copy = &snapshot->texts[snapshot->text_count];
        copy->state_id = state->base.id;
        copy->text = cistern_duplicate_string(state->text);
        if (copy->text == NULL) {
            return fail_no_memory(heap, snapshot->checkpoint_id, error);
        }
        snapshot->text_count++;
    }
    return CISTERN_OK;
}

/* What an increment is based on; NULL when the answer is a full snapshot. */
static const struct chain_record *choose_base(
    struct heap *heap, const struct cistern_snapshot_request *request)
{
    if (request->kind != CISTERN_SNAPSHOT_INCREMENT) {
        return NULL;
    }
    const struct chain_record *base = chain_base(&heap->chain, request->base_checkpoint_id);
    if (base == NULL || base->part_count == CHAIN_PARTS_MAX) {
        return NULL;
    }
    /* Beyond the size of a base, a chain costs more to restore and to keep than a new base costs
     * to write: at most twice the live bytes are restored, at most twice the changed ones are
     * written. The increment to come is expected to be as long as the last one. */
    uint64_t base_bytes = base->parts[0].bytes;
    uint64_t live_bytes = heap->segments.live_bytes;
    uint64_t last_bytes = base->part_count > 1 ? base->parts[base->part_count - 1].bytes : 0;
    return chain_increment_bytes(base) + last_bytes >
                   (base_bytes < live_bytes ? base_bytes : live_bytes)
               ? NULL
               : base;
}

/* The parts: those of the base, then the new stream. Savepoints leave no record: they never
 * become a base. */
static uint32_t list_parts(struct heap_snapshot *snapshot,
    const struct cistern_snapshot_request *request, const struct chain_record *base,
    struct cistern_error *error)
{
    struct heap *heap = snapshot->heap;
    if (request->kind == CISTERN_SNAPSHOT_CANONICAL) {
        snapshot->role = CISTERN_ROLE_CANONICAL;
        snapshot->part_count = 1;
        snapshot->parts[0].role = snapshot->role;
        chain_origin(&heap->chain, snapshot->parts[0].origin);
        return CISTERN_OK;
    }
    snapshot->role = base != NULL ? CISTERN_ROLE_HEAP_INCREMENT : CISTERN_ROLE_HEAP_BASE;
    const struct chain_record *record =
        chain_add(&heap->chain, request->checkpoint_id, snapshot->epoch, snapshot->role, base);
    if (record == NULL) {
        return fail_no_memory(heap, request->checkpoint_id, error);
    }
    snapshot->part_count = record->part_count;
    memcpy(snapshot->parts, record->parts, sizeof snapshot->parts);
    return CISTERN_OK;
}

static void destroy_snapshot(struct heap_snapshot *snapshot)
{
    for (uint32_t i = 0; i < snapshot->text_count; i++) {
        cistern_release(snapshot->texts[i].text);
    }
    cistern_release(snapshot->texts);
    cistern_release(snapshot->items);
    expand_deinit(&snapshot->expand);
    cistern_release(snapshot);
}

/* From here on nothing fails: the heap moves to its next epoch and the segments are owed. */
static void mark_moment(struct heap_snapshot *snapshot)
{
    struct heap *heap = snapshot->heap;
    for (uint32_t i = 0; i < snapshot->item_count; i++) {
        __atomic_store_n(&heap->segments.rows[snapshot->items[i].number].owed, SEGMENT_OWED_TODO,
            __ATOMIC_RELEASE);
    }
    heap->epoch++;
    heap->flight = (struct flight){
        .checkpoint_id = snapshot->role == CISTERN_ROLE_CANONICAL ? 0 : snapshot->checkpoint_id,
    };
    __atomic_store_n(&heap->flight.active, 1, __ATOMIC_RELEASE);
}

static uint32_t prepare_snapshot(struct heap_snapshot *snapshot,
    const struct cistern_snapshot_request *request, struct cistern_error *error)
{
    struct heap *heap = snapshot->heap;
    const struct chain_record *base = choose_base(heap, request);
    snapshot->epoch = heap->epoch;
    snapshot->base_epoch = base != NULL ? base->epoch : 0;
    snapshot->checkpoint_id = request->checkpoint_id;
    snapshot->base_checkpoint_id = base != NULL ? base->checkpoint_id : 0;
    snapshot->range = heap->base.options.range;
    snapshot->slot_index = cistern_slot_index(heap->base.slot);
    uint32_t status = copy_texts(snapshot, error);
    if (status == CISTERN_OK && expand_prepare(&snapshot->expand, heap,
                                    request->kind == CISTERN_SNAPSHOT_CANONICAL) != CISTERN_OK) {
        status = fail_no_memory(heap, request->checkpoint_id, error);
    }
    if (status == CISTERN_OK && list_items(snapshot) != CISTERN_OK) {
        status = fail_no_memory(heap, request->checkpoint_id, error);
    }
    return status == CISTERN_OK ? list_parts(snapshot, request, base, error) : status;
}

uint32_t heap_snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error)
{
    struct heap *heap = heap_of(backend);
    heap_reap(heap);
    assert(heap->flight.reaped);
    struct heap_snapshot *snapshot = cistern_allocate_zeroed(1, sizeof *snapshot);
    if (snapshot == NULL) {
        return fail_no_memory(heap, request->checkpoint_id, error);
    }
    snapshot->heap = heap;
    uint32_t status = prepare_snapshot(snapshot, request, error);
    if (status != CISTERN_OK) {
        destroy_snapshot(snapshot);
        return status;
    }
    mark_moment(snapshot);
    *ret_snapshot = &snapshot->base;
    if (request->ready != NULL) {
        request->ready(request->ready_arg); /* nothing to wait for; it may only post a message */
    }
    return CISTERN_OK;
}

/* ---- the transfer thread ---- */

uint32_t heap_snapshot_next(
    struct cistern_snapshot *base, struct cistern_part *ret_part, struct cistern_error *error)
{
    struct heap_snapshot *snapshot = (struct heap_snapshot *)base;
    if (__atomic_load_n(&snapshot->heap->flight.given_up, __ATOMIC_ACQUIRE) &&
        !snapshot->completed) {
        return reader_fail_given_up(snapshot, error);
    }
    if (snapshot->part_next == snapshot->part_count) {
        return CISTERN_NOT_FOUND;
    }
    const struct chain_part *part = &snapshot->parts[snapshot->part_next++];
    int is_stream = snapshot->part_next == snapshot->part_count;
    *ret_part = (struct cistern_part){
        .kind = is_stream ? CISTERN_PART_STREAM : CISTERN_PART_REUSE,
        .role = part->role,
        .bytes = is_stream ? 0 : part->bytes,
        .range = snapshot->range,
    };
    memcpy(ret_part->origin, part->origin, sizeof ret_part->origin);
    return CISTERN_OK;
}

static uint32_t open_writer(struct heap_snapshot *snapshot, struct cistern_error *error)
{
    uint64_t buffers = cistern_slot_share_bytes(snapshot->heap->base.slot) / BUFFERS_PER_LIMIT;
    buffers = buffers < BUFFER_BYTES_MIN ? BUFFER_BYTES_MIN : buffers;
    struct cistern_seg_writer_options options = {
        .role = snapshot->role,
        .slot_index = snapshot->slot_index,
        .checkpoint_id = snapshot->checkpoint_id,
        .base_checkpoint_id = snapshot->base_checkpoint_id,
        .range = snapshot->range,
        .buffer_bytes = buffers < BUFFER_BYTES_MAX ? buffers : BUFFER_BYTES_MAX,
    };
    uint32_t status = cistern_seg_writer_create(&options, &snapshot->writer, error);
    for (uint32_t i = 0; i < snapshot->text_count && status == CISTERN_OK; i++) {
        status = cistern_seg_writer_state(
            snapshot->writer, snapshot->texts[i].state_id, snapshot->texts[i].text, error);
    }
    return status;
}

/* Moves output to the caller, or feeds the writer when there is none. *ret_end: there will be no
 * more. */
static uint32_t read_some(struct heap_snapshot *snapshot, struct cistern_bytes into,
    uint64_t *ret_bytes, int *ret_end, struct cistern_error *error)
{
    uint64_t taken = 0;
    uint32_t status = cistern_seg_writer_take(snapshot->writer, into, &taken, error);
    if (status != CISTERN_OK || taken != 0) {
        *ret_bytes = taken;
        return status;
    }
    if (snapshot->reader.finished) {
        *ret_end = 1;
        return CISTERN_OK;
    }
    status = reader_feed(snapshot, error);
    return status == CISTERN_BUSY ? CISTERN_OK : status;
}

uint32_t heap_snapshot_read(struct cistern_snapshot *base, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    struct heap_snapshot *snapshot = (struct heap_snapshot *)base;
    if (snapshot->part_next != snapshot->part_count) {
        return cistern_fail(error, CISTERN_INVALID, snapshot->heap->base.options.operator_id,
            "checkpoint %llu: the current part is no stream",
            (unsigned long long)snapshot->checkpoint_id);
    }
    uint32_t status = snapshot->writer == NULL ? open_writer(snapshot, error) : CISTERN_OK;
    uint64_t total = 0;
    int end = snapshot->completed != 0;
    while (status == CISTERN_OK && !end && total < into.capacity_bytes) {
        struct cistern_bytes rest = {(uint8_t *)into.data + total, into.capacity_bytes - total};
        uint64_t bytes = 0;
        status = read_some(snapshot, rest, &bytes, &end, error);
        total += bytes;
    }
    if (status != CISTERN_OK) {
        return status;
    }
    snapshot->stream_bytes += total;
    snapshot->completed = (uint32_t)end;
    *ret_bytes = total;
    return CISTERN_OK;
}

void heap_snapshot_release(struct cistern_snapshot *base)
{
    struct heap_snapshot *snapshot = (struct heap_snapshot *)base;
    struct heap *heap = snapshot->heap;
    reader_deinit(snapshot);
    cistern_seg_writer_destroy(snapshot->writer);
    heap->flight.completed = snapshot->completed;
    heap->flight.stream_bytes = snapshot->stream_bytes;
    destroy_snapshot(snapshot);
    /* last: the owner may act on it at once */
    __atomic_store_n(&heap->flight.active, 0, __ATOMIC_RELEASE);
}
