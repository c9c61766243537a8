/*
 * heap.c -- the heap backend's life: open, close, states, idle work, what a refusal means; see
 * heap.h and heap_private.h.
 */
#include "list_private.h"
#include "map_private.h"
#include "timer_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/size.h"

#include <assert.h>
#include <sys/random.h>

#define SEGMENTS_PER_LIMIT 256u /* segment size aims at this many segments per slot */
#define INDEX_GRANULE_SMALL (64u << 10)
/* What the cleaner scans between two looks at the clock: well under 1 ms */
#define STEP_BYTES (64u << 10)
#define STEP_BUCKETS 512u
#define STEP_MEMBERS 256u
#define STEP_LIVE_64THS 54u /* idle cleaning goes for segments that are at least 15 % dead */

static uint32_t heap_close(struct cistern_backend *backend, struct cistern_error *error);

/* ---- flight and what ends with it ---- */

void heap_reap(struct heap *heap)
{
    struct flight *flight = &heap->flight;
    if (flight->reaped || heap_in_flight(heap)) {
        return;
    }
    flight->reaped = 1;
    if (flight->completed && flight->checkpoint_id != 0) {
        chain_complete(&heap->chain, flight->checkpoint_id, flight->stream_bytes);
    }
    if (heap->prune_wanted) {
        heap_prune(heap);
    }
    heap->empties_hint = 1;
}

static void prune_segment(struct heap *heap, struct segment *segment, uint64_t covered)
{
    dirty_prune(&heap->dirty, segment, covered);
    if (segment->tombstone_epoch_max != 0 && segment->tombstone_epoch_max <= covered) {
        segment->live_bytes -= segment->tombstone_bytes;
        heap->segments.live_bytes -= segment->tombstone_bytes;
        heap->segments.tombstone_bytes -= segment->tombstone_bytes;
        segment->tombstone_bytes = 0;
        segment->tombstone_epoch_max = 0;
        segment->tombstone_pruned = covered;
    }
}

void heap_prune(struct heap *heap)
{
    if (heap_in_flight(heap)) {
        heap->prune_wanted = 1; /* its reader follows the lists as they were at begin */
        return;
    }
    heap->prune_wanted = 0;
    uint64_t covered = heap->chain.record_count == 0 ? heap->epoch : heap->chain.confirmed_epoch;
    for (uint32_t i = 0; i < heap->segments.frontier; i++) {
        struct segment *segment = &heap->segments.rows[i];
        if (segment->use == SEGMENT_OPEN || segment->use == SEGMENT_SEALED ||
            segment->use == SEGMENT_RUN) {
            prune_segment(heap, segment, covered);
        }
    }
    dirty_pool_trim(&heap->dirty);
    heap->empties_hint = 1;
}

void heap_give_up_flight(struct heap *heap)
{
    __atomic_store_n(&heap->flight.given_up, 1, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < heap->segments.frontier; i++) {
        uint32_t todo = SEGMENT_OWED_TODO;
        __atomic_compare_exchange_n(&heap->segments.rows[i].owed, &todo, SEGMENT_OWED_NONE, 0,
            __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
}

static void heap_notify(struct cistern_backend *backend, uint64_t checkpoint_id, uint32_t outcome)
{
    struct heap *heap = heap_of(backend);
    heap_reap(heap);
    uint32_t records = heap->chain.record_count;
    if (chain_notify(&heap->chain, checkpoint_id, outcome) ||
        (records != 0 && heap->chain.record_count == 0)) {
        heap_prune(heap);
    }
}

/* ---- states ---- */

static void heap_state_destroy(struct cistern_state *base)
{
    struct heap_state *state = (struct heap_state *)base;
    cistern_release(state->text);
    order_deinit(&state->order);
    cistern_state_deinit(&state->base);
    cistern_release(state);
}

uint32_t state_refresh_text(struct heap_state *state, struct cistern_error *error)
{
    struct cistern_state_descriptor *descriptor = &state->base.descriptor;
    descriptor->ttl.watermark_ms =
        descriptor->ttl.event_time ? state->base.backend->watermark_ms : 0;
    if (state->text != NULL && state->text_reduce == descriptor->reduce &&
        memcmp(&state->text_ttl, &descriptor->ttl, sizeof state->text_ttl) == 0) {
        return CISTERN_OK;
    }
    char *text = NULL;
    uint32_t status = cistern_descriptor_encode(descriptor, state->base.id, &text, error);
    if (status != CISTERN_OK) {
        return status;
    }
    cistern_release(state->text);
    state->text = text;
    state->text_reduce = descriptor->reduce;
    state->text_ttl = descriptor->ttl;
    return CISTERN_OK;
}

static int kind_is_held(uint32_t kind)
{
    return kind >= CISTERN_VALUE && kind <= CISTERN_TIMERS;
}

static struct entry_layout layout_of(const struct cistern_state_descriptor *descriptor)
{
    uint32_t kind = descriptor->kind;
    uint32_t time_bytes =
        kind == CISTERN_TIMERS && descriptor->key_bytes != 0 ? TIMER_TIME_BYTES : 0;
    int is_value = kind != CISTERN_MAP && kind != CISTERN_LIST;
    return (struct entry_layout){
        .key_bytes = descriptor->key_bytes + time_bytes,
        .namespace_bytes = descriptor->namespace_bytes,
        .value_bytes = is_value ? descriptor->value_bytes : 0,
    };
}

/* What a state has besides its descriptor. */
static uint32_t state_prepare(
    struct heap *heap, struct heap_state *state, struct cistern_error *error)
{
    uint32_t status = state_refresh_text(state, error); /* so that begin need not encode it */
    if (status == CISTERN_OK && state->base.descriptor.kind == CISTERN_TIMERS) {
        /* A timer's entry takes at least as much as its item. */
        uint64_t reserve = (uint64_t)heap->segments.count_max << heap->segments.shift;
        status = order_init(&state->order, heap->index_component, reserve, error);
    }
    return status;
}

static uint32_t heap_state_create(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint32_t id,
    struct cistern_state **ret_state, struct cistern_error *error)
{
    struct heap *heap = heap_of(backend);
    if (!kind_is_held(descriptor->kind)) {
        const char *name = cistern_state_kind_name(descriptor->kind);
        return cistern_fail(error, CISTERN_UNSUPPORTED, descriptor->name,
            "state \"%s\" is of kind %s; the heap backend holds value, list, map, reducing, "
            "aggregating and timers",
            descriptor->name, name != NULL ? name : "?");
    }
    struct heap_state *state = cistern_allocate_zeroed(1, sizeof *state);
    if (state == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, descriptor->name,
            "no memory for state \"%s\"", descriptor->name);
    }
    uint32_t status = cistern_state_init(&state->base, backend, descriptor, id, error);
    if (status != CISTERN_OK) {
        cistern_release(state);
        return status;
    }
    heap->layouts[id] = layout_of(descriptor);
    status = state_prepare(heap, state, error);
    if (status != CISTERN_OK) {
        heap_state_destroy(&state->base);
        return status;
    }
    heap->ttl_state_count += (uint32_t)state_has_ttl(state);
    *ret_state = &state->base;
    return CISTERN_OK;
}

/* state/ copies the live reducer and TTL itself; ours is to know whether any state has one. */
static uint32_t heap_state_adopt(struct cistern_state *base,
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error)
{
    (void)error;
    struct heap *heap = heap_of(base->backend);
    /* The text is made anew: the serializer may be another. */
    struct heap_state *state = (struct heap_state *)base;
    cistern_release(state->text);
    state->text = NULL;
    /* counts at least those that have one */
    heap->ttl_state_count += descriptor->ttl.time_to_live_ms != 0;
    return CISTERN_OK;
}

static uint32_t heap_state_measure(struct cistern_state *base, uint64_t *ret_entries,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    (void)error;
    const struct heap_state *state = (const struct heap_state *)base;
    *ret_entries = state->entries;
    *ret_bytes = state->bytes;
    return CISTERN_OK;
}

/* ---- idle work and refusals ---- */

static uint32_t heap_step(
    struct cistern_backend *backend, int64_t deadline_ns, struct cistern_error *error)
{
    (void)error;
    struct heap *heap = heap_of(backend);
    heap_reap(heap);
    cleaner_free_empties(heap);
    while (heap->segments.empty_count < SEGMENT_RESERVE && segment_add_empty(&heap->segments)) {
    }
    uint32_t buckets_left = heap->ttl_state_count != 0 ? heap->index.bucket_count : 0;
    int more = 1;
    while (more && cistern_now_ns() < deadline_ns) {
        more = condemned_step(heap, STEP_MEMBERS);
        more |= index_shrink(&heap->index, STEP_BUCKETS);
        if (buckets_left != 0) {
            uint32_t count = buckets_left < STEP_BUCKETS ? buckets_left : STEP_BUCKETS;
            buckets_left -= cleaner_sweep_expired(heap, count, cistern_wall_ms());
            more = 1;
        }
        more |= cleaner_run(heap, STEP_BYTES, STEP_LIVE_64THS);
        cleaner_free_empties(heap);
        more |= segment_trim_some(&heap->segments, SEGMENT_RESERVE, 1) != 0;
    }
    return CISTERN_OK;
}

int heap_recall(struct heap *heap, uint64_t bytes)
{
    return cistern_slot_lent_bytes(heap->base.slot) > 0 &&
           cistern_component_reserve(heap->log_component, bytes, 0, NULL) == CISTERN_OK;
}

static uint32_t heap_explain(struct cistern_backend *backend, struct cistern_error *error)
{
    struct heap *heap = heap_of(backend);
    uint64_t wanted = heap->wanted_bytes != 0 ? heap->wanted_bytes : heap->segments.segment_bytes;
    if (wanted <= heap->segments.segment_bytes && cleaner_make_room(heap, SEGMENT_RESERVE)) {
        if (wanted < heap->segments.segment_bytes) {
            segment_trim(&heap->segments,
                SEGMENT_RESERVE); /* the index wants it, and takes it from the slot */
        }
        return CISTERN_OK;
    }
    segment_trim(&heap->segments, SEGMENT_RESERVE);
    return cistern_component_reserve(heap->log_component, wanted, 0, error);
}

void cistern_heap_statistics(
    struct cistern_backend *backend, struct cistern_heap_statistics *ret_statistics)
{
    struct heap *heap = heap_of(backend);
    const struct segment_table *table = &heap->segments;
    *ret_statistics = (struct cistern_heap_statistics){
        .entries = heap->index.entry_count,
        .live_bytes = table->live_bytes - table->tombstone_bytes,
        .dead_bytes = table->fill_bytes - table->live_bytes,
        .segment_bytes = (uint64_t)table->used_count * table->segment_bytes,
        .index_bytes = index_bytes(&heap->index),
        .cleaned_bytes = heap->cleaner.cleaned_bytes,
        .appended_bytes = heap->appended_bytes,
        .in_place_count = heap->in_place_count,
        .overwrite_count = heap->overwrite_count,
        .tombstone_count = heap->tombstone_count,
        .dirty_list_bytes = (uint64_t)heap->dirty.used_count * sizeof(struct dirty_block),
    };
}

/* ---- open and close ---- */

static const struct cistern_backend_ops heap_ops = {
    .size = sizeof(struct cistern_backend_ops),
    .name = "heap",
    .close = heap_close,
    .step = heap_step,
    .explain = heap_explain,
    .state_create = heap_state_create,
    .state_adopt = heap_state_adopt,
    .state_destroy = heap_state_destroy,
    .value_get = heap_get,
    .value_get_many = heap_get_many,
    .value_put_many = heap_put_many,
    .value_add_many = heap_add_many,
    .value_remove_many = heap_remove_many,
    .entries_open = heap_entries_open,
    .cursor_next = heap_cursor_next,
    .cursor_close = heap_cursor_close,
    .state_measure = heap_state_measure,
    .snapshot_begin = heap_snapshot_begin,
    .snapshot_next = heap_snapshot_next,
    .snapshot_read = heap_snapshot_read,
    .snapshot_release = heap_snapshot_release,
    .notify = heap_notify,
    .restore = heap_restore,
    .list_append = heap_list_append,
    .list_replace = heap_list_replace,
    .list_merge = heap_list_merge,
    .list_open = heap_list_open,
    .map_get_many = heap_map_get_many,
    .map_put_many = heap_map_put_many,
    .map_remove_many = heap_map_remove_many,
    .map_count = heap_map_count,
    .map_open = heap_map_open,
    .timer_add_many = heap_timer_add_many,
    .timer_remove_many = heap_timer_remove_many,
    .timer_next = heap_timer_next,
    .timer_pop_due = heap_timer_pop_due,
    .clear_many = heap_clear_many,
    .keys_open = heap_keys_open,
    .prefetch = heap_prefetch,
};

static uint64_t power_of_two_floor(uint64_t value)
{
    return value == 0 ? 0 : 1ULL << (63 - __builtin_clzll(value));
}

static uint32_t choose_segment_bytes(const struct heap *heap,
    const struct cistern_heap_options *options, uint64_t *ret_bytes, struct cistern_error *error)
{
    uint64_t bytes = options->segment_bytes;
    if (bytes == 0) {
        /* The slot's limit comes without its debt reserve, a thirty-second: a slot of 512 MiB
         * shall have segments of 2 MiB. */
        uint64_t limit = cistern_slot_share_bytes(heap->base.slot);
        bytes = power_of_two_floor((limit + limit / 31) / SEGMENTS_PER_LIMIT);
        bytes = bytes < SEGMENT_BYTES_MIN ? SEGMENT_BYTES_MIN : bytes;
        bytes = bytes > SEGMENT_BYTES_MAX ? SEGMENT_BYTES_MAX : bytes;
    }
    if (bytes < SEGMENT_BYTES_MIN || bytes > SEGMENT_BYTES_MAX || (bytes & (bytes - 1)) != 0) {
        return cistern_fail(error, CISTERN_INVALID, "segment_bytes",
            "segment_bytes is %llu; it is a power of two from %u to %u, or 0",
            (unsigned long long)bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    }
    if (options->huge_pages > 2 || (options->huge_pages == 2 && bytes != SEGMENT_BYTES_MAX)) {
        return cistern_fail(error, CISTERN_INVALID, "huge_pages",
            "huge_pages is %u; it is 0, 1, or, with segments of 2 MiB, 2", options->huge_pages);
    }
    *ret_bytes = bytes;
    return CISTERN_OK;
}

/* The slot refused a fixed part: say what all of them need. */
static uint32_t fail_too_small(
    const struct heap *heap, uint64_t segment_bytes, uint64_t granule, struct cistern_error *error)
{
    char needed[16];
    char limit[16];
    /* Reserve, the two open segments, one index granule, and a page or granule each for rows,
     * overflow and dirty lists. */
    uint64_t least = (SEGMENT_RESERVE + 2) * segment_bytes + granule + (64u << 10);
    cistern_size_format(needed, least);
    cistern_size_format(limit, cistern_slot_share_bytes(heap->base.slot));
    return cistern_fail(error, CISTERN_LIMIT, heap->base.options.operator_id,
        "the slot has no room for a heap backend: its fixed parts (%u segments of %llu KiB in "
        "reserve, 2 open, index %llu KiB) "
        "need %s free; the slot's limit is %s",
        SEGMENT_RESERVE, (unsigned long long)segment_bytes >> 10, (unsigned long long)granule >> 10,
        needed, limit);
}

static uint32_t open_components(struct heap *heap, struct cistern_error *error)
{
    struct cistern_component_options log = {
        .name = "heap segments", .reclaim_class = CISTERN_RECLAIM_NEVER};
    struct cistern_component_options index = {
        .name = "heap index", .reclaim_class = CISTERN_RECLAIM_NEVER};
    uint32_t status = cistern_component_open(heap->base.slot, &log, &heap->log_component, error);
    if (status != CISTERN_OK) {
        return status;
    }
    return cistern_component_open(heap->base.slot, &index, &heap->index_component, error);
}

static uint32_t open_parts(
    struct heap *heap, uint64_t segment_bytes, uint32_t huge_pages, struct cistern_error *error)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(cistern_slot_pool(heap->base.slot), &usage);
    /* Limits move between slots: any slot may come to hold the whole budget. */
    uint64_t reserve =
        usage.budget_bytes < HANDLE_SPACE_BYTES ? usage.budget_bytes : HANDLE_SPACE_BYTES;
    reserve =
        reserve < segment_bytes * 16 ? segment_bytes * 16 : reserve / segment_bytes * segment_bytes;
    uint64_t granule = segment_bytes == SEGMENT_BYTES_MAX ? SEGMENT_BYTES_MAX : INDEX_GRANULE_SMALL;
    uint32_t status = segment_table_init(&heap->segments, heap->log_component,
        heap->index_component, segment_bytes, reserve, huge_pages, error);
    if (status == CISTERN_OK) {
        status = index_init(&heap->index, heap->index_component, heap->segments.base, granule,
            reserve / 2, huge_pages, error);
        if (status == CISTERN_LIMIT) {
            return fail_too_small(heap, segment_bytes, granule, error);
        }
    }
    if (status == CISTERN_OK) {
        status = dirty_pool_init(&heap->dirty, heap->index_component, reserve / 16, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    while (heap->segments.empty_count < SEGMENT_RESERVE) {
        if (!segment_add_empty(&heap->segments)) {
            return fail_too_small(heap, segment_bytes, granule, error);
        }
    }
    return CISTERN_OK;
}

static void deinit_parts(struct heap *heap)
{
    chain_deinit(&heap->chain);
    dirty_pool_deinit(&heap->dirty);
    index_deinit(&heap->index);
    segment_table_deinit(&heap->segments);
    cistern_component_close(heap->index_component);
    cistern_component_close(heap->log_component);
}

static uint32_t heap_close(struct cistern_backend *backend, struct cistern_error *error)
{
    (void)error;
    struct heap *heap = heap_of(backend);
    cistern_backend_deinit(&heap->base);
    cistern_release(heap->condemned.ranges);
    cistern_release(heap->spare_walk);
    deinit_parts(heap);
    cistern_release(heap);
    return CISTERN_OK;
}

static uint64_t random_seed(const struct heap *heap)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) {
        seed = ((uint64_t)cistern_now_ns() ^ (uint64_t)(uintptr_t)heap) * 0x9E3779B97F4A7C15ULL;
    }
    return seed;
}

static uint32_t open_heap(struct heap *heap, const struct cistern_heap_options *options,
    uint64_t segment_bytes, struct cistern_error *error)
{
    uint32_t huge_pages = options->huge_pages != 1 && segment_bytes == SEGMENT_BYTES_MAX;
    heap->flight.reaped = 1;
    heap->epoch = 1;
    heap->hash_seed = options->hash_seed != 0 ? options->hash_seed : random_seed(heap);
    heap->layouts[MEMBER_STATE_ID] = (struct entry_layout){.key_bytes = MEMBER_KEY_BYTES};
    heap->open[LOG_FRESH] = SEGMENT_NONE;
    heap->open[LOG_SURVIVORS] = SEGMENT_NONE;
    chain_init(&heap->chain);
    uint32_t status = open_components(heap, error);
    if (status == CISTERN_OK) {
        status = open_parts(heap, segment_bytes, huge_pages, error);
    }
    return status;
}

uint32_t cistern_heap_open_sized(struct cistern_slot *slot,
    const struct cistern_heap_options *options, uint64_t options_bytes,
    struct cistern_backend **ret_backend, struct cistern_error *error)
{
    struct cistern_heap_options known = {0};
    uint32_t status =
        cistern_options_read(&known, sizeof known, options, options_bytes, "heap options", error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct heap *heap = cistern_allocate_zeroed(1, sizeof *heap);
    if (heap == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, known.backend.operator_id, "no memory for a heap backend");
    }
    uint64_t segment_bytes = 0;
    status = cistern_backend_init(
        &heap->base, &heap_ops, slot, &known.backend, cistern_slot_share_bytes(slot) / 4, error);
    if (status != CISTERN_OK) {
        cistern_release(heap);
        return status;
    }
    status = choose_segment_bytes(heap, &known, &segment_bytes, error);
    if (status == CISTERN_OK) {
        status = open_heap(heap, &known, segment_bytes, error);
    }
    if (status != CISTERN_OK) {
        heap_close(&heap->base, NULL);
        return status;
    }
    *ret_backend = &heap->base;
    return CISTERN_OK;
}
