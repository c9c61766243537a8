/* value.c -- get, put and remove in batches, each through its safe point; see rocks_private.h. */
#include "rocks_private.h"
#include "cistern/clock.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <string.h>

#define CHUNK_COUNT_MIN 32u
#define PAGE_BYTES 4096u
#define BATCH_BYTES_MIN (64ull << 10)
#define BATCH_BYTES_MAX (1ull << 20)

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
}

uint32_t value_chunk_count(const struct rocks *rocks)
{
    uint64_t count = rocks->limit_bytes / 512 / PAGE_BYTES;
    if (count < CHUNK_COUNT_MIN) {
        count = CHUNK_COUNT_MIN;
    }
    if (count > ROCKS_CHUNK_COUNT_MAX) {
        count = ROCKS_CHUNK_COUNT_MAX;
    }
    /* Large values: a read pins at most 1/64 of the slot. */
    uint64_t value_bytes = cistern_elastic_value_bytes_max(rocks->elastic);
    if (value_bytes * count > rocks->limit_bytes / 64) {
        count = rocks->limit_bytes / 64 / value_bytes;
    }
    return count != 0 ? (uint32_t)count : 1;
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
    *ret_written_ms = 0;
    *ret_value = stored;
    if (!state->stamped) {
        return 1;
    }
    if (stored.bytes < ROCKS_STAMP_BYTES) {
        *ret_status = cistern_fail_corrupt(error, state->base.descriptor.name, UINT64_MAX,
            "a stored value has %llu bytes, less than its time stamp",
            (unsigned long long)stored.bytes);
        return 0;
    }
    *ret_written_ms = (int64_t)cistern_get_u64_be(stored.data);
    ret_value->data = (const uint8_t *)stored.data + ROCKS_STAMP_BYTES;
    ret_value->bytes = stored.bytes - ROCKS_STAMP_BYTES;
    const struct cistern_ttl *ttl = &state->base.descriptor.ttl;
    return ttl->return_expired || !cistern_ttl_expired(ttl, *ret_written_ms, now_ms);
}

struct cistern_span value_stamp(
    const struct rocks_state *state, int64_t written_ms, uint8_t into[ROCKS_STAMP_BYTES])
{
    if (!state->stamped) {
        return (struct cistern_span){NULL, 0};
    }
    cistern_put_u64_be(into, (uint64_t)written_ms);
    return (struct cistern_span){into, ROCKS_STAMP_BYTES};
}

uint32_t value_flush_batch(struct rocks *rocks, struct cistern_error *error)
{
    uint32_t status = gate_write(rocks, shim_batch_bytes(rocks->batch), error);
    if (status == CISTERN_OK) {
        status = shim_write(rocks->db, rocks->batch, error);
    }
    shim_batch_clear(rocks->batch);
    return status;
}

static int64_t now_if_stamped(const struct rocks_state *state)
{
    return state->stamped ? cistern_wall_ms() : 0;
}

struct reading { /* one get_many */
    struct rocks *rocks;
    struct rocks_state *state;
    struct cistern_span *values;
    int64_t now_ms;
    uint32_t copies; /* 1 = results come in several reads, so each is copied out of the reader */
};

static uint32_t result_set(struct reading *reading, struct cistern_span stored,
    struct cistern_span *ret_value, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    int64_t written_ms = 0;
    struct cistern_span value = {NULL, 0};
    if (stored.data == NULL || !value_unwrap(reading->state, stored, reading->now_ms, &value,
                                   &written_ms, &status, error)) {
        *ret_value = (struct cistern_span){NULL, 0};
        return status;
    }
    gate_value_seen(reading->rocks, value.bytes);
    if (reading->copies) { /* with its stamp, if there is one: touch() looks at it */
        const uint8_t *copy = results_add(&reading->rocks->results, stored.data, stored.bytes);
        if (copy == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, reading->state->base.descriptor.name,
                "no memory to hand out %llu bytes", (unsigned long long)value.bytes);
        }
        value.data = copy + (stored.bytes - value.bytes);
    }
    *ret_value = value;
    return CISTERN_OK;
}

static uint32_t read_chunk(struct reading *reading, uint32_t from, uint32_t count,
    struct cistern_span *values, struct cistern_error *error)
{
    struct scratch *scratch = &reading->rocks->scratch;
    for (uint32_t i = 0; i < count; i++) {
        scratch->sorted[i] = scratch->keys[scratch->order[from + i].index];
    }
    gate_read(reading->rocks, (uint64_t)count * PAGE_BYTES);
    uint32_t status = shim_get_many(reading->rocks->reader, reading->state->family, scratch->sorted,
        count, 1, scratch->found, error);
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        status =
            result_set(reading, scratch->found[i], &values[scratch->order[from + i].index], error);
    }
    return status;
}

static uint32_t read_slab(struct reading *reading, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *values, struct cistern_error *error)
{
    struct scratch *scratch = &reading->rocks->scratch;
    uint32_t status = scratch_encode(scratch, &reading->state->layout, addresses, count, error);
    if (status != CISTERN_OK) {
        return status;
    }
    scratch_sort(scratch, count);
    uint32_t chunk = value_chunk_count(reading->rocks);
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += chunk) {
        uint32_t part = count - from < chunk ? count - from : chunk;
        status = read_chunk(reading, from, part, values, error);
    }
    return status;
}

/* OnReadAndWrite: what was found and is still alive gets a new stamp. */
static uint32_t touch(struct reading *reading, const struct cistern_address *addresses,
    uint32_t count, struct cistern_error *error);

uint32_t value_get_many(struct cistern_state *base, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    value_begin(rocks);
    struct reading reading = {
        .rocks = rocks, .state = state, .values = ret_values, .now_ms = now_if_stamped(state)};
    int touches = state->stamped && base->descriptor.ttl.update_on_read;
    reading.copies = touches || count > value_chunk_count(rocks);
    uint64_t results_before = rocks->results.bytes;
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += ROCKS_SLAB_COUNT_MAX) {
        uint32_t part = count - from < ROCKS_SLAB_COUNT_MAX ? count - from : ROCKS_SLAB_COUNT_MAX;
        status = read_slab(&reading, addresses + from, part, ret_values + from, error);
    }
    if (results_before != rocks->results.bytes) {
        gate_report_results(rocks);
    }
    return status == CISTERN_OK && touches ? touch(&reading, addresses, count, error) : status;
}

/* One item at a time into rocks->batch, so that a batch never grows past its bound by more than
 * one value. */
static uint32_t batch_item(struct rocks *rocks, struct rocks_state *state,
    const struct cistern_address *address, const struct cistern_span *value,
    struct cistern_span stamp, struct cistern_error *error)
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
    return shim_batch_put(rocks->batch, state->family, key, stamp, *value, error);
}

static int is_alive(const struct reading *reading, struct cistern_span value)
{
    if (value.data == NULL) {
        return 0;
    }
    int64_t written_ms =
        (int64_t)cistern_get_u64_be((const uint8_t *)value.data - ROCKS_STAMP_BYTES);
    return !cistern_ttl_expired(&reading->state->base.descriptor.ttl, written_ms, reading->now_ms);
}

static uint32_t touch(struct reading *reading, const struct cistern_address *addresses,
    uint32_t count, struct cistern_error *error)
{
    struct rocks *rocks = reading->rocks;
    uint8_t stamp_bytes[ROCKS_STAMP_BYTES];
    struct cistern_span stamp = value_stamp(reading->state, reading->now_ms, stamp_bytes);
    uint64_t bytes_max = value_batch_bytes_max(rocks);
    uint32_t status = CISTERN_OK;
    shim_batch_clear(rocks->batch);
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        if (is_alive(reading, reading->values[i])) {
            status =
                batch_item(rocks, reading->state, &addresses[i], &reading->values[i], stamp, error);
        }
        if (status == CISTERN_OK && shim_batch_bytes(rocks->batch) >= bytes_max) {
            status = value_flush_batch(rocks, error);
        }
    }
    return status == CISTERN_OK ? value_flush_batch(rocks, error) : status;
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
    value_begin(rocks);
    uint8_t stamp_bytes[ROCKS_STAMP_BYTES];
    struct cistern_span stamp = value_stamp(state, now_if_stamped(state), stamp_bytes);
    uint64_t bytes_max = value_batch_bytes_max(rocks);
    shim_batch_clear(rocks->batch);
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        const struct cistern_span *value = values != NULL ? &values[i] : NULL;
        status = batch_item(rocks, state, &addresses[i], value, stamp, error);
        int is_full = i + 1 == count || shim_batch_bytes(rocks->batch) >= bytes_max;
        if (status == CISTERN_OK && is_full) {
            status = value_flush_batch(rocks, error);
            *ret_done = status == CISTERN_OK ? i + 1 : *ret_done;
        }
    }
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
