/* value.c -- get, put and remove in batches, each through its safe point; see rocks_private.h. */
#include "rocks_private.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <assert.h>
#include <string.h>

#define BATCH_BYTES_MIN (64ull << 10)
#define BATCH_BYTES_MAX (1ull << 20)
#define BATCH_BYTES_EMPTY 12u /* RocksDB's head of a write batch */

static_assert(ROCKS_SLAB_COUNT_MAX >= CISTERN_BATCH_COUNT_MAX, "one call is one slab");

void value_begin(struct rocks *rocks)
{
    shim_reader_reset(rocks->reader);
    if (rocks->results.newest != NULL) {
        uint64_t before = rocks->results.bytes;
        results_clear(&rocks->results);
        if (before != rocks->results.bytes) {
            gate_report_results(rocks);
        }
    }
    if (rocks->watermark_told_ms != rocks->base.watermark_ms && rocks->db != NULL) {
        rocks->watermark_told_ms = rocks->base.watermark_ms;
        shim_db_set_watermark(rocks->db, rocks->watermark_told_ms);
    }
}

uint64_t value_batch_bytes_max(const struct rocks *rocks)
{
    uint64_t bytes = rocks->limit_bytes / 256;
    if (bytes < BATCH_BYTES_MIN) {
        return BATCH_BYTES_MIN;
    }
    return bytes > BATCH_BYTES_MAX ? BATCH_BYTES_MAX : bytes;
}

int value_unwrap(const struct rocks_state *state, struct cistern_span stored, int64_t now_ms,
    struct cistern_span *ret_value, int64_t *ret_written_ms, uint32_t *ret_status,
    struct cistern_error *error)
{
    const uint8_t *bytes = stored.data;
    uint64_t head_bytes = state->head_bytes;
    *ret_written_ms = 0;
    *ret_value = stored;
    if (head_bytes == 0) {
        return 1;
    }
    if (stored.bytes < head_bytes) {
        *ret_status = cistern_fail_corrupt(error, state->base.descriptor.name, UINT64_MAX,
            "a stored value has %llu bytes, fewer than the %llu that stand before it",
            (unsigned long long)stored.bytes, (unsigned long long)head_bytes);
        return 0;
    }
    ret_value->data = bytes + head_bytes;
    ret_value->bytes = stored.bytes - head_bytes;
    if (state->layout.form == KEY_PREFIX && bytes[head_bytes - 1] != 0) {
        *ret_value = (struct cistern_span){NULL, 0};
    }
    if (!state->stamped) {
        return 1;
    }
    *ret_written_ms = (int64_t)cistern_get_u64_be(bytes);
    const struct cistern_ttl *ttl = &state->base.descriptor.ttl;
    return ttl->return_expired || !cistern_ttl_expired(ttl, *ret_written_ms, now_ms);
}

struct cistern_span value_head(const struct rocks_state *state, int64_t written_ms, int is_null,
    uint8_t into[ROCKS_HEAD_BYTES_MAX])
{
    if (state->head_bytes == 0) {
        return (struct cistern_span){NULL, 0};
    }
    if (state->stamped) {
        cistern_put_u64_be(into, (uint64_t)written_ms);
    }
    if (state->layout.form == KEY_PREFIX) {
        into[state->head_bytes - 1] = is_null != 0;
    }
    return (struct cistern_span){into, state->head_bytes};
}

int64_t value_now_ms(const struct rocks_state *state)
{
    return state->stamped ? cistern_state_now_ms(&state->base) : 0;
}

uint32_t value_flush_batch(struct rocks *rocks, struct cistern_error *error)
{
    uint64_t bytes = shim_batch_bytes(rocks->batch);
    if (bytes <= BATCH_BYTES_EMPTY) {
        return CISTERN_OK;
    }
    uint32_t status = gate_write(rocks, bytes, error);
    if (status == CISTERN_OK) {
        status = shim_write(rocks->db, rocks->batch, error);
    }
    shim_batch_clear(rocks->batch);
    return status;
}

uint32_t value_flush_full(struct rocks *rocks, struct cistern_error *error)
{
    return shim_batch_bytes(rocks->batch) >= value_batch_bytes_max(rocks)
               ? value_flush_batch(rocks, error)
               : CISTERN_OK;
}

uint32_t value_get_many(struct cistern_state *base, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status == CISTERN_OK) {
        status = scratch_encode(&rocks->scratch, &state->layout, addresses, count, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    value_begin(rocks);
    struct reading reading = {.state = state, .values = ret_values};
    return read_many(&reading, count, error);
}

/* One item at a time into rocks->batch, so that a batch never grows past its bound by more than
 * one value. */
static uint32_t batch_item(struct rocks *rocks, struct rocks_state *state,
    const struct cistern_address *address, const struct cistern_span *value,
    struct cistern_span head, struct cistern_error *error)
{
    uint32_t status = scratch_encode(&rocks->scratch, &state->layout, address, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_span key = rocks->scratch.keys[0];
    if (value == NULL) {
        return shim_batch_remove(rocks->batch, state->family, key, error);
    }
    gate_value_seen(rocks, value->bytes);
    return shim_batch_put(rocks->batch, state->family, key, head, *value, error);
}

/* values NULL = remove. */
static uint32_t write_many(struct cistern_state *base, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    *ret_done = 0;
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint8_t head_bytes[ROCKS_HEAD_BYTES_MAX];
    struct cistern_span head = value_head(state, value_now_ms(state), 0, head_bytes);
    uint64_t bytes_max = value_batch_bytes_max(rocks);
    shim_batch_clear(rocks->batch);
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        const struct cistern_span *value = values != NULL ? &values[i] : NULL;
        status = batch_item(rocks, state, &addresses[i], value, head, error);
        int is_full = i + 1 == count || shim_batch_bytes(rocks->batch) >= bytes_max;
        if (status == CISTERN_OK && is_full) {
            status = value_flush_batch(rocks, error);
            *ret_done = status == CISTERN_OK ? i + 1 : *ret_done;
        }
    }
    value_begin(rocks);
    return status;
}

uint32_t value_put_many(struct cistern_state *state, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    return write_many(state, addresses, values, count, ret_done, error);
}

uint32_t value_remove_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error)
{
    return write_many(state, addresses, NULL, count, ret_done, error);
}
