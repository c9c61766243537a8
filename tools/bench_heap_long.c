/*
 * bench_heap_long.c -- Long keys with 32-byte values in random order, bench->entries of them:
 * what Flink's heap was measured with at 1 M and 10 M.
 */
#include "bench_flink.h"
#include "bench_heap.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <string.h>

#define LONG_BATCH 16u
#define SMALL_ENTRIES 1000000u
#define LARGE_ENTRIES 10000000u

struct long_arm {
    struct cistern_state *state;
    uint8_t keys[LONG_BATCH][FLINK_LONG_BYTES];
    struct cistern_address addresses[LONG_BATCH];
    struct cistern_span spans[LONG_BATCH];
    uint64_t sum;
};

static inline void keys_set(struct long_arm *arm, const uint64_t *ids)
{
    for (uint32_t i = 0; i < LONG_BATCH; i++) {
        flink_address(&arm->addresses[i], arm->keys[i], ids[i]);
    }
}

static uint32_t long_update(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    struct long_arm *arm = arg;
    uint32_t status = CISTERN_OK;
    for (uint32_t from = 0; from + LONG_BATCH <= count && status == CISTERN_OK;
         from += LONG_BATCH) {
        keys_set(arm, block->ids + from);
        for (uint32_t i = 0; i < LONG_BATCH; i++) {
            arm->spans[i] = (struct cistern_span){block->values[from + i], BENCH_VALUE_BYTES};
        }
        uint32_t done;
        status = cistern_value_put_many(
            arm->state, arm->addresses, arm->spans, LONG_BATCH, &done, error);
    }
    return status;
}

static uint32_t long_get(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    struct long_arm *arm = arg;
    uint32_t status = CISTERN_OK;
    for (uint32_t from = 0; from + LONG_BATCH <= count && status == CISTERN_OK;
         from += LONG_BATCH) {
        keys_set(arm, block->ids + from);
        status = cistern_value_get_many(arm->state, arm->addresses, LONG_BATCH, arm->spans, error);
        for (uint32_t i = 0; i < LONG_BATCH && status == CISTERN_OK; i++) {
            arm->sum += flink_word(arm->spans[i]);
        }
    }
    return status;
}

/* Flink 1.20.3, heap, G1, 6 GB; it was measured at two sizes, and nothing is said about others.
 * Source: reference sheet, section 1.2. */
static struct bench_reference reference(const struct bench *bench, double small, double large)
{
    struct bench_reference none = {NULL, 0};
    if (bench->entries == SMALL_ENTRIES) {
        return (struct bench_reference){"Flink heap, G1, 1 M", small};
    }
    return bench->entries == LARGE_ENTRIES ? (struct bench_reference){"Flink heap, G1, 10 M", large}
                                           : none;
}

static uint32_t long_measure(
    struct bench *bench, struct long_arm *arm, uint64_t rss_bytes, struct cistern_error *error)
{
    struct bench_block *block = cistern_allocate_zeroed(1, sizeof *block);
    uint32_t status = block != NULL
                          ? CISTERN_OK
                          : cistern_fail(error, CISTERN_NO_MEMORY, "long", "no memory for a block");
    for (uint64_t at = 0; at < bench->entries && status == CISTERN_OK; at += BENCH_BLOCK) {
        bench_block_sequence(block, at); /* up to a block too many */
        status = long_update(arm, block, BENCH_BLOCK, error);
    }
    cistern_release(block);
    struct bench_result bytes = {.name = "long_bytes_per_entry", .unit = "B"};
    bench_series_add(&bytes.ours, (double)(bench_rss_bytes() - rss_bytes) / (double)bench->entries);
    bytes.references[0] = reference(bench, 121.4, 118.8);
    struct bench_result update = {.name = "long_update_16"};
    struct bench_result get = {.name = "long_get_16"};
    const struct bench_contender updates = {NULL, long_update, arm};
    const struct bench_contender gets = {NULL, long_get, arm};
    status = status == CISTERN_OK ? bench_contest(bench, &updates, 1, &update, error) : status;
    status = status == CISTERN_OK ? bench_contest(bench, &gets, 1, &get, error) : status;
    if (status == CISTERN_OK) {
        update.references[0] = reference(bench, 0.576, 0.490);
        get.references[0] = reference(bench, 3.771, 2.533);
        bench_result_print(bench, &update);
        bench_result_print(bench, &get);
        bench_result_print(bench, &bytes);
    }
    return status;
}

uint32_t bench_heap_long(struct bench *bench, struct cistern_error *error)
{
    const struct bench_heap_options options = {0};
    const struct cistern_state_descriptor descriptor = {.name = "long",
        .kind = CISTERN_VALUE,
        .key_bytes = FLINK_LONG_BYTES,
        .value_bytes = BENCH_VALUE_BYTES};
    struct bench_heap heap;
    struct long_arm arm;
    memset(&arm, 0, sizeof arm);
    uint64_t rss_bytes = bench_rss_bytes();
    uint32_t status = bench_heap_open(bench, &options, &heap, error);
    if (status == CISTERN_OK) {
        status = cistern_state_register(heap.backend, &descriptor, &arm.state, error);
        status = status == CISTERN_OK ? long_measure(bench, &arm, rss_bytes, error) : status;
        status = bench_heap_close(&heap, status, error);
    }
    return status;
}
