/* bench_flink_value.c -- ValueStateBenchmark of flink-benchmarks; see bench_flink.h. */
#include "bench_flink.h"

#include "cistern/endian.h"

#include <string.h>

static uint32_t put_one(struct flink *flink, uint64_t key, uint64_t i, struct cistern_error *error)
{
    uint8_t bytes[FLINK_LONG_BYTES];
    uint8_t value[FLINK_LONG_BYTES];
    struct cistern_address address = {0};
    flink_address(&address, bytes, key);
    cistern_put_u64_be(value, flink->values[i % FLINK_VALUE_COUNT]);
    return cistern_value_put(
        flink->state, &address, (struct cistern_span){value, sizeof value}, error);
}

static uint32_t value_update(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = put_one(flink, flink->setup_keys[i % FLINK_KEY_COUNT], i, error);
    }
    return status;
}

static uint32_t value_add(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = put_one(flink, flink->new_keys[i % FLINK_KEY_COUNT], i, error);
    }
    return status;
}

static uint32_t value_get(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint8_t bytes[FLINK_LONG_BYTES];
    struct cistern_address address = {0};
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        struct cistern_span value;
        flink_address(&address, bytes, flink->setup_keys[i % FLINK_KEY_COUNT]);
        status = cistern_value_get(flink->state, &address, &value, error);
        flink->sum += status == CISTERN_OK ? flink_word(value) : 0;
        status = status == CISTERN_NOT_FOUND ? flink_missing(flink, error) : status;
    }
    return status;
}

/* ---- the same, a micro-batch of records at a time ---- */

struct batch {
    uint8_t keys[FLINK_BATCH][FLINK_LONG_BYTES];
    uint8_t values[FLINK_BATCH][FLINK_LONG_BYTES];
    struct cistern_address addresses[FLINK_BATCH];
    struct cistern_span spans[FLINK_BATCH];
};

static inline uint32_t batch_fill(
    const struct flink *flink, struct batch *batch, uint64_t first, uint64_t end)
{
    uint32_t items = end - first < FLINK_BATCH ? (uint32_t)(end - first) : FLINK_BATCH;
    for (uint32_t i = 0; i < items; i++) {
        flink_address(
            &batch->addresses[i], batch->keys[i], flink->setup_keys[(first + i) % FLINK_KEY_COUNT]);
    }
    return items;
}

static uint32_t value_update_16(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    struct batch batch;
    memset(&batch, 0, sizeof batch);
    uint32_t status = CISTERN_OK;
    for (uint64_t at = first; at < first + count && status == CISTERN_OK; at += FLINK_BATCH) {
        uint32_t items = batch_fill(flink, &batch, at, first + count);
        for (uint32_t i = 0; i < items; i++) {
            cistern_put_u64_be(batch.values[i], flink->values[(at + i) % FLINK_VALUE_COUNT]);
            batch.spans[i] = (struct cistern_span){batch.values[i], FLINK_LONG_BYTES};
        }
        uint32_t done;
        status =
            cistern_value_put_many(flink->state, batch.addresses, batch.spans, items, &done, error);
    }
    return status;
}

static uint32_t value_get_16(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    struct batch batch;
    memset(&batch, 0, sizeof batch);
    uint32_t status = CISTERN_OK;
    for (uint64_t at = first; at < first + count && status == CISTERN_OK; at += FLINK_BATCH) {
        uint32_t items = batch_fill(flink, &batch, at, first + count);
        status = cistern_value_get_many(flink->state, batch.addresses, items, batch.spans, error);
        for (uint32_t i = 0; i < items && status == CISTERN_OK; i++) {
            flink->sum += flink_word(batch.spans[i]);
            status = batch.spans[i].data != NULL ? CISTERN_OK : flink_missing(flink, error);
        }
    }
    return status;
}

/* 500,000 keys, each with a random Long. */
static uint32_t value_prepare(struct flink *flink, struct cistern_error *error)
{
    const struct cistern_state_descriptor descriptor = {.name = "valueState",
        .kind = CISTERN_VALUE,
        .key_bytes = FLINK_LONG_BYTES,
        .value_bytes = FLINK_LONG_BYTES};
    uint32_t status = cistern_state_register(flink->backend, &descriptor, &flink->state, error);
    return status == CISTERN_OK ? value_update(flink, 0, FLINK_KEY_COUNT, error) : status;
}

static const struct flink_case value_cases[] = {
    {"valueUpdate", value_update, 0, 1, 1.159, 4.789, 0.260},
    {"valueUpdate_16", value_update_16, 0, 1, 1.159, 4.789, 0.260},
    {"valueGet", value_get, 0, 1, 3.344, 5.005, 0.375},
    {"valueGet_16", value_get_16, 0, 1, 3.344, 5.005, 0.375},
    {"valueAdd", value_add, FLINK_KEY_COUNT / BENCH_SAMPLES, 1, 1.667, 2.810, 0.333},
};
const struct flink_kind flink_value_kind = {
    "value", value_prepare, value_cases, sizeof value_cases / sizeof value_cases[0]};
