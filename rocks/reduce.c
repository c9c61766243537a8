/*
 * reduce.c -- add for REDUCING and AGGREGATING states: read each distinct key of a batch once,
 * combine in order, write once.
 *
 * Invariant: nothing of a slab is written before all of it is combined; the items that are applied
 *            are a prefix of the batch.
 */
#include "rocks_private.h"
#include "cistern/error.h"

#include <string.h>

#define PAGE_BYTES 4096u
#define REDUCE_REPEAT_MAX 64u /* how often a reducer may ask for more room for one result */

struct adding { /* one slab of one add_many */
    struct rocks *rocks;
    struct rocks_state *state;
    const struct cistern_span *inputs;
    struct cistern_span head;
    int64_t now_ms;
    uint64_t bytes_max;
    uint32_t is_full;      /* the write batch passed bytes_max: fewer items at a time */
    uint32_t failed_index; /* the least item whose combination failed; UINT32_MAX = none */
    uint32_t failed_status;
    struct cistern_error failed_error;
};

static uint32_t combine(struct adding *adding, struct cistern_span old_value,
    struct cistern_span input, struct cistern_bytes *result, uint64_t *ret_bytes,
    struct cistern_error *error)
{
    const struct cistern_state_descriptor *descriptor = &adding->state->base.descriptor;
    uint32_t status = CISTERN_LIMIT;
    uint64_t wanted = 8;
    for (uint32_t i = 0; i < REDUCE_REPEAT_MAX && status == CISTERN_LIMIT; i++) {
        uint32_t room = scratch_sum_reserve(result, wanted, error);
        if (room != CISTERN_OK) {
            return room;
        }
        status = cistern_reduce_apply(descriptor, old_value, input, *result, &wanted, error);
        uint64_t value_bytes_max = adding->rocks->base.options.value_bytes_max;
        if ((status == CISTERN_OK || status == CISTERN_LIMIT) && wanted > value_bytes_max) {
            return cistern_fail(error, CISTERN_INVALID, descriptor->name,
                "state \"%s\": the reducer made a value of %llu bytes; value_bytes_max is %llu",
                descriptor->name, (unsigned long long)wanted, (unsigned long long)value_bytes_max);
        }
    }
    if (status == CISTERN_LIMIT) {
        return cistern_fail(error, CISTERN_INVALID, descriptor->name,
            "state \"%s\": the reducer asked for more room %u times in a row", descriptor->name,
            REDUCE_REPEAT_MAX);
    }
    if (status == CISTERN_OK && descriptor->value_bytes != 0 && wanted != descriptor->value_bytes) {
        return cistern_fail(error, CISTERN_INVALID, descriptor->name,
            "state \"%s\": the reducer made a value of %llu bytes; the descriptor says %u",
            descriptor->name, (unsigned long long)wanted, descriptor->value_bytes);
    }
    *ret_bytes = wanted;
    return status;
}

static void fail_at(
    struct adding *adding, uint32_t index, uint32_t status, const struct cistern_error *error)
{
    if (index < adding->failed_index) {
        adding->failed_index = index;
        adding->failed_status = status;
        adding->failed_error = *error;
    }
}

/* The chain of one key, in order, onto what was stored; the result goes into the write batch. */
static uint32_t add_key(
    struct adding *adding, uint32_t first, struct cistern_span stored, struct cistern_error *error)
{
    struct scratch *scratch = &adding->rocks->scratch;
    struct cistern_error detail;
    struct cistern_span sum = {NULL, 0};
    int64_t written_ms = 0;
    uint32_t status = CISTERN_OK;
    const struct cistern_ttl *ttl = &adding->state->base.descriptor.ttl;
    if (stored.data != NULL &&
        (!value_unwrap(
             adding->state, stored, adding->now_ms, &sum, &written_ms, &status, &detail) ||
            (ttl->return_expired && cistern_ttl_expired(ttl, written_ms, adding->now_ms)))) {
        sum = (struct cistern_span){NULL, 0}; /* what expired may be seen, but is not added to */
    }
    uint32_t side = 0;
    for (uint32_t i = first; i != UINT32_MAX; i = scratch->next[i]) {
        uint64_t bytes = 0;
        if (status == CISTERN_OK) {
            status = combine(adding, sum, adding->inputs[i], &scratch->sums[side], &bytes, &detail);
        }
        if (status != CISTERN_OK) {
            fail_at(adding, i, status, &detail);
            return CISTERN_OK;
        }
        sum = (struct cistern_span){scratch->sums[side].data, bytes};
        side ^= 1;
    }
    gate_value_seen(adding->rocks, sum.bytes);
    return shim_batch_put(adding->rocks->batch, adding->state->family, scratch->keys[first],
        adding->head, sum, error);
}

static uint32_t add_chunk(
    struct adding *adding, uint32_t from, uint32_t count, struct cistern_error *error)
{
    struct scratch *scratch = &adding->rocks->scratch;
    for (uint32_t i = 0; i < count; i++) {
        scratch->sorted[i] = scratch->keys[scratch->order[from + i].index];
    }
    gate_read(adding->rocks, (uint64_t)count * PAGE_BYTES);
    uint32_t status = shim_get_many(adding->rocks->inner_reader, adding->state->family,
        scratch->sorted, count, 1, scratch->found, error);
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        status = add_key(adding, scratch->order[from + i].index, scratch->found[i], error);
    }
    return status;
}

/* Combines a slab into the write batch; writes nothing. */
static uint32_t add_slab(struct adding *adding, const struct cistern_address *addresses,
    uint32_t count, struct cistern_error *error)
{
    struct scratch *scratch = &adding->rocks->scratch;
    shim_batch_clear(adding->rocks->batch);
    adding->failed_index = UINT32_MAX;
    adding->is_full = 0;
    uint32_t status = scratch_encode(scratch, &adding->state->layout, addresses, count, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint32_t distinct = scratch_group(scratch, count);
    uint32_t chunk = read_chunk_count(adding->rocks);
    for (uint32_t from = 0; from < distinct && status == CISTERN_OK; from += chunk) {
        uint32_t part = distinct - from < chunk ? distinct - from : chunk;
        status = add_chunk(adding, from, part, error);
        adding->is_full = shim_batch_bytes(adding->rocks->batch) > adding->bytes_max;
        if (adding->is_full && count > 1) {
            return status;
        }
    }
    return status;
}

/* Applies [0, *ret_done) of the slab; less than count without a failure when its results are
 * large. */
static uint32_t add_some(struct adding *adding, const struct cistern_address *addresses,
    uint32_t count, uint32_t *ret_done, struct cistern_error *error)
{
    *ret_done = 0;
    struct cistern_error failed_error;
    uint32_t failed_status = CISTERN_OK;
    for (;;) { /* count falls with each turn */
        uint32_t status = add_slab(adding, addresses, count, error);
        if (status != CISTERN_OK) {
            return status;
        }
        if (adding->is_full && count > 1) {
            count /= 2;
            failed_status = CISTERN_OK;
        } else if (adding->failed_index != UINT32_MAX) {
            count = adding->failed_index;
            failed_status = adding->failed_status;
            failed_error = adding->failed_error;
        } else {
            break;
        }
        if (count == 0) {
            break;
        }
    }
    uint32_t status = count != 0 ? value_flush_batch(adding->rocks, error) : CISTERN_OK;
    if (status != CISTERN_OK) {
        return status;
    }
    *ret_done = count;
    if (failed_status != CISTERN_OK && error != NULL) {
        *error = failed_error;
    }
    return failed_status;
}

uint32_t reduce_add_many(struct cistern_state *base, const struct cistern_address *addresses,
    const struct cistern_span *inputs, uint32_t count, uint32_t *ret_done,
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
    int64_t now_ms = value_now_ms(state);
    struct adding adding = {.rocks = rocks, .state = state, .now_ms = now_ms};
    adding.head = value_head(state, now_ms, 0, head_bytes);
    adding.bytes_max = value_batch_bytes_max(rocks);
    while (*ret_done < count && status == CISTERN_OK) {
        uint32_t from = *ret_done;
        uint32_t part = count - from < ROCKS_SLAB_COUNT_MAX ? count - from : ROCKS_SLAB_COUNT_MAX;
        uint32_t done = 0;
        adding.inputs = inputs + from;
        status = add_some(&adding, addresses + from, part, &done, error);
        *ret_done += done;
    }
    shim_reader_reset(rocks->inner_reader);
    value_begin(rocks);
    return status;
}
