/*
 * clear.c -- whole lists and maps go: a delete for each of their entries, in write batches of
 * bounded size. No delete by range: it would make restores that import files wrong.
 *
 * A call that fails between two batches says that part of what it should clear is gone; most maps
 * and lists fit into one batch, which is applied whole or not at all.
 * Threads: owner only.
 */
#include "rocks_private.h"
#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

#define DELETES_SHARE 16u /* of the limit: deletes of a list's chunks that are one batch */
#define BLOCKS_BYTES (256ull << 10) /* what an iterator may load at its safe point */

/* Puts deletes into rocks->batch from `place` on until it is full or the range is at its end. The
 * iterator ends before the batch is written: it pins memtables, for whose flush the gate may have
 * to wait. place->data: the first key that is left, in scratch; its bytes are 0 at the end. */
static uint32_t clear_some(struct rocks_state *state, const struct range *range, uint64_t bytes_max,
    struct cistern_span *place, struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(state->base.backend);
    struct shim_iterator *iterator = NULL;
    gate_read(rocks, BLOCKS_BYTES);
    uint32_t status =
        shim_iterator_open(state->family, NULL, range->lower, range->upper, &iterator, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_span key = {NULL, 0};
    struct cistern_span value;
    int is_left = 0;
    shim_iterator_seek(iterator, *place);
    while (status == CISTERN_OK && (is_left = shim_iterator_entry(iterator, &key, &value)) &&
           shim_batch_bytes(rocks->batch) < bytes_max) {
        status = shim_batch_remove(rocks->batch, state->family, key, error);
        shim_iterator_next(iterator);
    }
    *place = (struct cistern_span){NULL, 0};
    if (status == CISTERN_OK && !is_left) {
        status = shim_iterator_status(iterator, error);
    } else if (status == CISTERN_OK) {
        struct cistern_bytes *kept = &rocks->scratch.sums[0];
        status = scratch_sum_reserve(kept, key.bytes, error);
        if (status == CISTERN_OK) {
            memcpy(kept->data, key.data, key.bytes);
            *place = (struct cistern_span){kept->data, key.bytes};
        }
    }
    shim_iterator_close(iterator);
    return status;
}

uint32_t clear_range(struct rocks_state *state, const struct range *range, uint64_t bytes_max,
    uint32_t *ret_written, struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(state->base.backend);
    struct cistern_span place = range->lower;
    uint32_t status = clear_some(state, range, bytes_max, &place, error);
    while (status == CISTERN_OK && place.bytes != 0) {
        status = value_flush_batch(rocks, error);
        if (status == CISTERN_OK) {
            *ret_written = 1;
            status = clear_some(state, range, bytes_max, &place, error);
        }
    }
    return status;
}

void clear_say_partly(struct cistern_error *error)
{
    static const char advice[] = " (part of what was to go is gone: do it again)";
    if (error != NULL) {
        size_t used = strlen(error->message);
        size_t room = sizeof error->message - sizeof advice;
        snprintf(error->message + (used < room ? used : room), sizeof advice, "%s", advice);
    }
}

/* One address: its own write batch, so that *ret_done is exact. */
static uint32_t clear_one(
    struct rocks_state *state, const struct cistern_address *address, struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(state->base.backend);
    uint32_t status = scratch_encode(&rocks->scratch, &state->layout, address, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    int is_list = state->base.descriptor.kind == CISTERN_LIST;
    uint64_t bytes_max =
        is_list ? rocks->limit_bytes / DELETES_SHARE : value_batch_bytes_max(rocks);
    uint32_t written = 0;
    struct range range = {.bytes = NULL};
    shim_batch_clear(rocks->batch);
    status = range_init_prefix(&range, rocks->scratch.keys[0], error);
    if (status == CISTERN_OK) {
        status = clear_range(state, &range, bytes_max, &written, error);
    }
    if (status == CISTERN_OK) {
        status = value_flush_batch(rocks, error);
    }
    if (status == CISTERN_OK || written) {
        cursor_end_address(state, range.lower);
    }
    if (status != CISTERN_OK && written) {
        clear_say_partly(error);
    }
    range_deinit(&range);
    return status;
}

uint32_t clear_many(struct cistern_state *base, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    *ret_done = 0;
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        status = clear_one(state, &addresses[i], error);
        *ret_done = status == CISTERN_OK ? i + 1 : i;
    }
    value_begin(rocks);
    return status;
}
