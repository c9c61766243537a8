/*
 * restore_seg.c -- entries of a `.seg` container, heap's or canonical, into the database; the
 * reader checks every block.
 *
 * Threads: owner only.
 */
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/seg.h"

#include <string.h>

struct seg_restore {
    struct rocks *rocks;
    const struct cistern_source *source;
    const char *object;
    struct cistern_seg_reader *reader;
    struct rocks_state *states[CISTERN_STATE_COUNT_MAX + 1]; /* by the container's state id */
    int64_t now_ms;
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
    status = cistern_backend_state_restored(&restore->rocks->base, &descriptor, id, &state, error);
    if (status == CISTERN_OK) {
        restore->states[id] = rocks_state_of(state);
    }
    cistern_release(storage);
    return status;
}

/* The container is whole, but what it says must also fit the descriptor: key_encode() asserts
 * what is checked here. */
static int entry_fits(const struct rocks_state *state, const struct cistern_seg_entry *entry)
{
    const struct key_layout *layout = &state->layout;
    int key_fits = entry->key.bytes <= CISTERN_KEY_BYTES_MAX &&
                   (layout->key_bytes == 0 || entry->key.bytes == layout->key_bytes);
    int namespace_fits = entry->name_space.data == NULL || layout->namespace_bytes == 0 ||
                         entry->name_space.bytes == layout->namespace_bytes;
    return key_fits && namespace_fits && entry->user_key.data == NULL &&
           (entry->tombstone || entry->value.data != NULL);
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
    struct cistern_address address = {
        .key = entry->key, .name_space = entry->name_space, .key_group = entry->key_group};
    uint32_t status = scratch_encode(&rocks->scratch, &state->layout, &address, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (entry->tombstone) {
        return shim_batch_remove(rocks->batch, state->family, rocks->scratch.keys[0], error);
    }
    uint8_t stamp_bytes[ROCKS_STAMP_BYTES];
    int64_t written_ms = entry->has_written ? entry->written_ms : restore->now_ms;
    struct cistern_span stamp = value_stamp(state, written_ms, stamp_bytes);
    gate_value_seen(rocks, entry->value.bytes);
    return shim_batch_put(
        rocks->batch, state->family, rocks->scratch.keys[0], stamp, entry->value, error);
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
    restore->now_ms = cistern_wall_ms();
    uint32_t status = cistern_seg_reader_open(
        read_exactly, restore, part->bytes, restore->object, &restore->reader, error);
    if (status == CISTERN_OK) {
        struct cistern_seg_info info;
        cistern_seg_reader_info(restore->reader, &info);
        for (uint32_t i = 0; i < info.state_count && status == CISTERN_OK; i++) {
            status = state_learn(restore, i, error);
        }
        if (status == CISTERN_OK) {
            status = entries_apply(restore, error);
        }
        cistern_seg_reader_close(restore->reader);
    }
    cistern_release(restore);
    return status;
}
