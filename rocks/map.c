/* map.c -- maps: an entry per user key, its key the address in prefix form and the user key, its
 * value [stamp] [1 = null] bytes. Threads: owner only. */
#include "rocks_private.h"

#include <string.h>

#define BLOCKS_BYTES (256ull << 10) /* what an iterator may load at its safe point */

uint32_t map_get_many(struct cistern_state *base, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, uint32_t count, struct cistern_span *ret_values,
    uint8_t *ret_present, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status == CISTERN_OK) {
        status = scratch_encode_items(
            &rocks->scratch, &state->layout, addresses, user_keys, count, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    value_begin(rocks);
    struct reading reading = {.state = state, .values = ret_values, .present = ret_present};
    return read_many(&reading, count, error);
}

/* value NULL = remove. */
static uint32_t batch_item(struct rocks *rocks, struct rocks_state *state,
    const struct cistern_address *address, const struct cistern_span *user_key,
    const struct cistern_span *value, int64_t now_ms, struct cistern_error *error)
{
    uint32_t status =
        scratch_encode_items(&rocks->scratch, &state->layout, address, user_key, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_span key = rocks->scratch.keys[0];
    if (value == NULL) {
        return shim_batch_remove(rocks->batch, state->family, key, error);
    }
    uint8_t head_bytes[ROCKS_HEAD_BYTES_MAX];
    struct cistern_span head = value_head(state, now_ms, value->data == NULL, head_bytes);
    gate_value_seen(rocks, value->bytes);
    return shim_batch_put(rocks->batch, state->family, key, head, *value, error);
}

/* values NULL = remove. */
static uint32_t write_many(struct cistern_state *base, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    *ret_done = 0;
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    int64_t now_ms = value_now_ms(state);
    uint64_t bytes_max = value_batch_bytes_max(rocks);
    shim_batch_clear(rocks->batch);
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        const struct cistern_span *value = values != NULL ? &values[i] : NULL;
        status = batch_item(rocks, state, &addresses[i], &user_keys[i], value, now_ms, error);
        int is_full = i + 1 == count || shim_batch_bytes(rocks->batch) >= bytes_max;
        if (status == CISTERN_OK && is_full) {
            status = value_flush_batch(rocks, error);
            *ret_done = status == CISTERN_OK ? i + 1 : *ret_done;
        }
    }
    value_begin(rocks);
    return status;
}

uint32_t map_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    return write_many(state, addresses, user_keys, values, count, ret_done, error);
}

uint32_t map_remove_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *user_keys, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    return write_many(state, addresses, user_keys, NULL, count, ret_done, error);
}

static uint32_t count_range(struct rocks_state *state, const struct range *range,
    uint64_t count_max, uint64_t *ret_count, struct cistern_error *error)
{
    int64_t now_ms = value_now_ms(state);
    struct shim_iterator *iterator = NULL;
    gate_read(rocks_of(state->base.backend), BLOCKS_BYTES);
    uint32_t status =
        shim_iterator_open(state->family, NULL, range->lower, range->upper, &iterator, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_span key;
    struct cistern_span stored;
    struct cistern_span value;
    int64_t written_ms;
    uint64_t count = 0;
    shim_iterator_seek(iterator, range->lower);
    while (
        status == CISTERN_OK && count < count_max && shim_iterator_entry(iterator, &key, &stored)) {
        count += (uint64_t)value_unwrap(state, stored, now_ms, &value, &written_ms, &status, error);
        shim_iterator_next(iterator);
    }
    if (status == CISTERN_OK && count < count_max) {
        status = shim_iterator_status(iterator, error);
    }
    shim_iterator_close(iterator);
    *ret_count = count;
    return status;
}

uint32_t map_count(struct cistern_state *base, const struct cistern_address *address,
    uint64_t count_max, uint64_t *ret_count, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status == CISTERN_OK) {
        status = scratch_encode(&rocks->scratch, &state->layout, address, 1, error);
    }
    struct range range = {.bytes = NULL};
    if (status == CISTERN_OK) {
        value_begin(rocks);
        status = range_init_prefix(&range, rocks->scratch.keys[0], error);
    }
    if (status == CISTERN_OK) {
        status = count_range(state, &range, count_max, ret_count, error);
    }
    range_deinit(&range);
    return status;
}
