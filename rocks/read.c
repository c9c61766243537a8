/*
 * read.c -- the values of many keys: in key order, some at a time, each through its safe point.
 *
 * Results of one read stay pinned in the reader; those of several are copies. What an
 * OnReadAndWrite state finds alive is written again with a new stamp as it is met.
 * Threads: owner only.
 */
#include "rocks_private.h"
#include "cistern/error.h"

#include <string.h>

#define CHUNK_COUNT_MIN 32u
#define PAGE_BYTES 4096u

struct pass { /* one read_many() */
    const struct reading *reading;
    struct rocks *rocks;
    int64_t now_ms;
    uint32_t copies;  /* 1 = results come in several reads, so each is copied out of the reader */
    uint32_t touches; /* 1 = what is alive gets a new stamp */
};

uint32_t read_chunk_count(const struct rocks *rocks)
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

/* stored: the copy of a value that is alive, with its head. */
static uint32_t touch(
    struct pass *pass, uint32_t index, struct cistern_span stored, struct cistern_error *error)
{
    const struct rocks_state *state = pass->reading->state;
    uint8_t head_bytes[ROCKS_HEAD_BYTES_MAX];
    const uint8_t *bytes = stored.data;
    int is_null = state->head_bytes > ROCKS_STAMP_BYTES && bytes[ROCKS_STAMP_BYTES] != 0;
    struct cistern_span head = value_head(state, pass->now_ms, is_null, head_bytes);
    struct cistern_span rest = {bytes + head.bytes, stored.bytes - head.bytes};
    uint32_t status = shim_batch_put(
        pass->rocks->batch, state->family, pass->rocks->scratch.keys[index], head, rest, error);
    return status == CISTERN_OK ? value_flush_full(pass->rocks, error) : status;
}

static uint32_t result_set(
    struct pass *pass, uint32_t index, struct cistern_span stored, struct cistern_error *error)
{
    const struct reading *reading = pass->reading;
    uint32_t status = CISTERN_OK;
    int64_t written_ms = 0;
    struct cistern_span value = {NULL, 0};
    int is_visible = stored.data != NULL && value_unwrap(reading->state, stored, pass->now_ms,
                                                &value, &written_ms, &status, error);
    if (reading->present != NULL) {
        reading->present[index] = (uint8_t)is_visible;
    }
    if (!is_visible) {
        reading->values[index] = (struct cistern_span){NULL, 0};
        return status;
    }
    gate_value_seen(pass->rocks, value.bytes);
    if (pass->copies) {
        const uint8_t *copy = results_add(&pass->rocks->results, stored.data, stored.bytes);
        if (copy == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, reading->state->base.descriptor.name,
                "no memory to hand out %llu bytes", (unsigned long long)value.bytes);
        }
        stored.data = copy;
        value.data = value.data != NULL ? copy + (stored.bytes - value.bytes) : NULL;
    }
    reading->values[index] = value;
    const struct cistern_ttl *ttl = &reading->state->base.descriptor.ttl;
    if (pass->touches && !cistern_ttl_expired(ttl, written_ms, pass->now_ms)) {
        status = touch(pass, index, stored, error);
    }
    return status;
}

static uint32_t read_chunk(
    struct pass *pass, uint32_t from, uint32_t count, struct cistern_error *error)
{
    struct scratch *scratch = &pass->rocks->scratch;
    for (uint32_t i = 0; i < count; i++) {
        scratch->sorted[i] = scratch->keys[scratch->order[from + i].index];
    }
    gate_read(pass->rocks, (uint64_t)count * PAGE_BYTES);
    uint32_t status = shim_get_many(pass->rocks->reader, pass->reading->state->family,
        scratch->sorted, count, 1, scratch->found, error);
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        status = result_set(pass, scratch->order[from + i].index, scratch->found[i], error);
    }
    return status;
}

uint32_t read_many(const struct reading *reading, uint32_t count, struct cistern_error *error)
{
    struct rocks_state *state = reading->state;
    struct rocks *rocks = rocks_of(state->base.backend);
    uint32_t chunk = read_chunk_count(rocks);
    struct pass pass = {.reading = reading, .rocks = rocks, .now_ms = value_now_ms(state)};
    pass.touches = state->stamped && state->base.descriptor.ttl.update_on_read;
    pass.copies = pass.touches || count > chunk;
    uint64_t results_before = rocks->results.bytes;
    uint32_t status = CISTERN_OK;
    shim_batch_clear(rocks->batch);
    scratch_sort(&rocks->scratch, count);
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += chunk) {
        status = read_chunk(&pass, from, count - from < chunk ? count - from : chunk, error);
    }
    if (results_before != rocks->results.bytes) {
        gate_report_results(rocks);
    }
    return status == CISTERN_OK && pass.touches ? value_flush_batch(rocks, error) : status;
}
