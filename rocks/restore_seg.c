/*
 * restore_seg.c -- entries of a `.seg` container, heap's or canonical, into the database; the
 * reader checks every block.
 *
 * Threads: owner only.
 */
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"
#include "cistern/seg.h"

#include <string.h>

struct seg_restore {
    struct rocks *rocks;
    const struct cistern_source *source;
    const char *object;
    struct cistern_seg_reader *reader;
    struct rocks_state *states[CISTERN_STATE_COUNT_MAX + 1]; /* by the container's state id */
    uint64_t list_bound; /* runs of lists have places below it */
    uint32_t is_canonical;
};

static uint32_t read_exactly(
    void *arg, uint64_t offset, struct cistern_bytes into, struct cistern_error *error)
{
    const struct seg_restore *restore = arg;
    uint64_t done = 0;
    while (done < into.capacity_bytes) {
        struct cistern_bytes rest = {(uint8_t *)into.data + done, into.capacity_bytes - done};
        uint64_t got = 0;
        uint32_t status =
            restore->source->read(restore->source->arg, offset + done, rest, &got, error);
        if (status != CISTERN_OK) {
            return status;
        }
        if (got == 0 || got > rest.capacity_bytes) {
            return cistern_fail_corrupt(error, restore->object, offset + done,
                "the container ends %llu bytes early", (unsigned long long)rest.capacity_bytes);
        }
        done += got;
    }
    return CISTERN_OK;
}

/* In its own files the heap keeps a map or list as parts that refer to each other. */
static uint32_t kind_check(const struct seg_restore *restore,
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error)
{
    int has_parts = descriptor->kind == CISTERN_MAP || descriptor->kind == CISTERN_LIST;
    if (restore->is_canonical || !has_parts) {
        return CISTERN_OK;
    }
    return cistern_fail(error, CISTERN_UNSUPPORTED, restore->object,
        "the rocks backend cannot read state \"%s\" of kind %s from a checkpoint of the heap "
        "backend; take a canonical savepoint with that backend and restore it",
        descriptor->name, cistern_state_kind_name(descriptor->kind));
}

static uint32_t state_learn(
    struct seg_restore *restore, uint32_t index, struct cistern_error *error)
{
    uint32_t id = 0;
    const char *text = NULL;
    uint32_t status = cistern_seg_reader_state(restore->reader, index, &id, &text, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (id == 0 || id > CISTERN_STATE_COUNT_MAX || restore->states[id] != NULL) {
        return cistern_fail_corrupt(
            error, restore->object, UINT64_MAX, "state id %u is out of range or there twice", id);
    }
    struct cistern_state_descriptor descriptor;
    uint32_t stored_id = 0;
    void *storage = NULL;
    status = cistern_descriptor_decode(
        text, strlen(text), restore->object, &descriptor, &stored_id, &storage, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_state *state = NULL;
    status = kind_check(restore, &descriptor, error);
    if (status != CISTERN_OK) {
        cistern_release(storage);
        return status;
    }
    status = cistern_backend_state_restored(&restore->rocks->base, &descriptor, id, &state, error);
    if (status == CISTERN_OK) {
        restore->states[id] = rocks_state_of(state);
    }
    cistern_release(storage);
    return status;
}

static int size_fits(uint32_t fixed_bytes, struct cistern_span span)
{
    return fixed_bytes == 0 ? span.bytes <= CISTERN_KEY_BYTES_MAX : span.bytes == fixed_bytes;
}

static int user_key_fits(const struct rocks_state *state, const struct cistern_seg_entry *entry)
{
    const struct cistern_state_descriptor *descriptor = &state->base.descriptor;
    switch (descriptor->kind) {
    case CISTERN_MAP:
        return entry->user_key.data != NULL &&
               size_fits(descriptor->user_key_bytes, entry->user_key);
    case CISTERN_LIST: /* a run's place */
        return entry->user_key.bytes == KEY_NUMBER_BYTES &&
               cistern_get_u64_be(entry->user_key.data) <= INT32_MAX;
    case CISTERN_TIMERS:
        return entry->user_key.bytes == KEY_NUMBER_BYTES;
    default:
        return entry->user_key.data == NULL;
    }
}

/* The container is whole, but what it says must also fit the descriptor: key_encode() asserts
 * what is checked here. */
static int entry_fits(const struct rocks_state *state, const struct cistern_seg_entry *entry)
{
    const struct key_layout *layout = &state->layout;
    return size_fits(layout->key_bytes, entry->key) &&
           (entry->name_space.data == NULL ||
               size_fits(layout->namespace_bytes, entry->name_space)) &&
           user_key_fits(state, entry) &&
           (entry->tombstone || entry->value.data != NULL ||
               state->base.descriptor.kind == CISTERN_MAP);
}

/* A list's run with stamps where the state has none, or the other way round: its frames are
 * written anew, into scratch. */
static uint32_t run_convert(struct seg_restore *restore, const struct rocks_state *state,
    const struct cistern_seg_entry *entry, struct cistern_span *ret_run,
    struct cistern_error *error)
{
    *ret_run = entry->value;
    if ((entry->has_written != 0) == (state->stamped != 0)) {
        return CISTERN_OK;
    }
    struct cistern_frame_format from = {state->base.descriptor.value_bytes, entry->has_written};
    struct cistern_frame_format to = list_format(state);
    struct cistern_bytes *room = &restore->rocks->scratch.sums[0];
    /* the frames' lengths do not change, and an element takes at least one byte or a stamp */
    uint32_t status =
        scratch_sum_reserve(room, (1 + ROCKS_STAMP_BYTES) * entry->value.bytes, error);
    uint8_t *end = room->data;
    struct cistern_frame frame;
    for (uint64_t at = 0; at < entry->value.bytes && status == CISTERN_OK; at += frame.bytes) {
        if (!cistern_frame_read(&from, entry->value, at, &frame)) {
            return list_fail_frame(state, at, error);
        }
        end = cistern_frame_write(&to, end, frame.element, value_now_ms(state));
    }
    if (status == CISTERN_OK) {
        *ret_run = (struct cistern_span){room->data, (uint64_t)(end - (uint8_t *)room->data)};
    }
    return status;
}

static uint32_t key_make(struct seg_restore *restore, const struct rocks_state *state,
    const struct cistern_seg_entry *entry, struct cistern_error *error)
{
    struct scratch *scratch = &restore->rocks->scratch;
    struct cistern_address address = {
        .key = entry->key, .name_space = entry->name_space, .key_group = entry->key_group};
    if (state->layout.form == KEY_TIMED) {
        int64_t time_ms = key_time_of(cistern_get_u64_be(entry->user_key.data));
        return scratch_encode_timer(scratch, &state->layout, &address, time_ms, error);
    }
    const struct cistern_span *rest = entry->user_key.data != NULL ? &entry->user_key : NULL;
    return scratch_encode_items(scratch, &state->layout, &address, rest, 1, error);
}

static uint32_t entry_put(struct seg_restore *restore, struct rocks_state *state,
    const struct cistern_seg_entry *entry, struct cistern_error *error)
{
    struct rocks *rocks = restore->rocks;
    struct cistern_span key = rocks->scratch.keys[0];
    struct cistern_span value = entry->value;
    if (state->base.descriptor.kind == CISTERN_LIST) {
        uint64_t number = cistern_get_u64_be(entry->user_key.data);
        restore->list_bound = number >= restore->list_bound ? number + 1 : restore->list_bound;
        uint32_t status = run_convert(restore, state, entry, &value, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    uint8_t head_bytes[ROCKS_HEAD_BYTES_MAX];
    int64_t written_ms = entry->has_written ? entry->written_ms : value_now_ms(state);
    struct cistern_span head = value_head(state, written_ms, value.data == NULL, head_bytes);
    gate_value_seen(rocks, value.bytes);
    return shim_batch_put(rocks->batch, state->family, key, head, value, error);
}

static uint32_t entry_apply(
    struct seg_restore *restore, const struct cistern_seg_entry *entry, struct cistern_error *error)
{
    struct rocks *rocks = restore->rocks;
    struct rocks_state *state =
        entry->state_id <= CISTERN_STATE_COUNT_MAX ? restore->states[entry->state_id] : NULL;
    if (state == NULL || !entry_fits(state, entry)) {
        return cistern_fail_corrupt(error, restore->object, UINT64_MAX,
            "an entry of state %u (key group %u, key of %llu bytes) does not fit the states of the "
            "container",
            entry->state_id, entry->key_group, (unsigned long long)entry->key.bytes);
    }
    uint32_t status = key_make(restore, state, entry, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (entry->tombstone) {
        return shim_batch_remove(rocks->batch, state->family, rocks->scratch.keys[0], error);
    }
    return entry_put(restore, state, entry, error);
}

static uint32_t entries_apply(struct seg_restore *restore, struct cistern_error *error)
{
    struct rocks *rocks = restore->rocks;
    uint64_t bytes_max = value_batch_bytes_max(rocks);
    struct cistern_seg_entry entry;
    uint32_t end = 0;
    shim_batch_clear(rocks->batch);
    cistern_seg_reader_rewind(restore->reader, rocks->base.options.range);
    uint32_t status = cistern_seg_reader_next(restore->reader, &entry, &end, error);
    while (status == CISTERN_OK && !end) {
        status = entry_apply(restore, &entry, error);
        if (status == CISTERN_OK && shim_batch_bytes(rocks->batch) >= bytes_max) {
            status = value_flush_batch(rocks, error);
        }
        if (status == CISTERN_OK) {
            status = cistern_seg_reader_next(restore->reader, &entry, &end, error);
        }
    }
    return status == CISTERN_OK ? value_flush_batch(rocks, error) : status;
}

uint32_t restore_seg(struct rocks *rocks, const struct cistern_source *source,
    const struct cistern_part *part, struct cistern_error *error)
{
    struct seg_restore *restore = cistern_allocate_zeroed(1, sizeof *restore);
    if (restore == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, rocks->base.options.operator_id, "no memory for a restore");
    }
    restore->rocks = rocks;
    restore->source = source;
    restore->object = source->describe(source->arg);
    uint32_t status = cistern_seg_reader_open(
        read_exactly, restore, part->bytes, restore->object, &restore->reader, error);
    if (status == CISTERN_OK) {
        struct cistern_seg_info info;
        cistern_seg_reader_info(restore->reader, &info);
        restore->is_canonical = info.role == CISTERN_ROLE_CANONICAL;
        for (uint32_t i = 0; i < info.state_count && status == CISTERN_OK; i++) {
            status = state_learn(restore, i, error);
        }
        if (status == CISTERN_OK) {
            status = entries_apply(restore, error);
        }
        if (status == CISTERN_OK) {
            status = tails_raise(rocks, restore->list_bound, error);
        }
        cistern_seg_reader_close(restore->reader);
    }
    cistern_release(restore);
    return status;
}
