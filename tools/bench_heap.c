/* bench_heap.c -- opens the heaps that its cases measure; see bench_heap.h. */
#include "bench_heap.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <assert.h>
#include <string.h>

#define SEGMENT_BYTES ((uint64_t)2 << 20)
#define PROCESS_RESERVE_MIN ((uint64_t)8 << 20)
#define FLINK_BUDGET ((uint64_t)4 << 30)

/* The budget of a pool whose one slot may hold share_bytes: a 32nd of the slot is debt, a 16th of
 * the pool is the process's (pool.h). */
static uint64_t budget_of(uint64_t share_bytes)
{
    uint64_t limit = share_bytes + share_bytes / 31 + 4096;
    uint64_t reserve = limit / 15 + 4096;
    return limit + (reserve < PROCESS_RESERVE_MIN ? PROCESS_RESERVE_MIN : reserve);
}

uint32_t bench_heap_open(struct bench *bench, const struct bench_heap_options *options,
    struct bench_heap *ret_heap, struct cistern_error *error)
{
    uint64_t share = options->share_bytes != 0
                         ? options->share_bytes
                         : BENCH_ROOMY_BASE + bench->entries * BENCH_ROOMY_BYTES;
    int huge = strcmp(bench->settings->pages, "huge") == 0;
    struct cistern_heap_options heap_options = {
        .backend = {.max_parallelism = 128, .range = {0, 127}},
        .segment_bytes = huge ? SEGMENT_BYTES : 0,
        .huge_pages = huge ? 2 : 1,
    };
    const struct cistern_state_descriptor descriptor = {.name = "value",
        .kind = CISTERN_VALUE,
        .key_bytes = BENCH_KEY_BYTES,
        .value_bytes = options->any_value_bytes ? 0 : BENCH_VALUE_BYTES};
    *ret_heap = (struct bench_heap){.bench = bench};
    uint32_t status = bench_pool_open(bench, budget_of(share), 1, error);
    if (status == CISTERN_OK) {
        status = cistern_heap_open(bench->slot, &heap_options, &ret_heap->backend, error);
    }
    if (status == CISTERN_OK) {
        status = cistern_state_register(ret_heap->backend, &descriptor, &ret_heap->values, error);
    }
    return status == CISTERN_OK ? status : bench_heap_close(ret_heap, status, error);
}

uint32_t bench_heap_close(struct bench_heap *heap, uint32_t status, struct cistern_error *error)
{
    if (status == CISTERN_LIMIT && heap->backend != NULL &&
        cistern_backend_explain(heap->backend, error) == CISTERN_OK) {
        status = cistern_fail(
            error, CISTERN_LIMIT, "--entries", "the state does not fit the benchmark's budget");
    }
    if (heap->backend != NULL) {
        uint32_t closed = cistern_backend_close(heap->backend, status == CISTERN_OK ? error : NULL);
        status = status == CISTERN_OK ? closed : status;
    }
    bench_pool_close(heap->bench);
    heap->backend = NULL;
    return status;
}

uint32_t bench_heap_put(struct bench_heap *heap, const struct bench_block *block, uint32_t count,
    uint32_t batch, struct cistern_error *error)
{
    struct cistern_address addresses[CISTERN_BATCH_COUNT_MAX];
    struct cistern_span values[CISTERN_BATCH_COUNT_MAX];
    assert(batch >= 1 && batch <= CISTERN_BATCH_COUNT_MAX);
    uint32_t status = CISTERN_OK;
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += batch) {
        uint32_t items = count - from < batch ? count - from : batch;
        for (uint32_t i = 0; i < items; i++) {
            const uint8_t *key = block->keys[from + i];
            addresses[i] = (struct cistern_address){
                .key = {key, BENCH_KEY_BYTES}, .key_group = bench_key_group(key)};
            values[i] = (struct cistern_span){block->values[from + i], BENCH_VALUE_BYTES};
        }
        uint32_t done;
        status = cistern_value_put_many(heap->values, addresses, values, items, &done, error);
    }
    return status;
}

uint32_t bench_heap_fill(struct bench_heap *heap, struct cistern_error *error)
{
    struct bench_block *block = cistern_allocate_zeroed(1, sizeof *block);
    if (block == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "fill", "no memory for a block");
    }
    uint64_t entries = heap->bench->entries;
    uint32_t status = CISTERN_OK;
    for (uint64_t at = 0; at < entries && status == CISTERN_OK; at += BENCH_BLOCK) {
        bench_block_sequence(block, at);
        uint64_t left = entries - at;
        status = bench_heap_put(
            heap, block, left < BENCH_BLOCK ? (uint32_t)left : BENCH_BLOCK, 64, error);
    }
    cistern_release(block);
    return status;
}

/* The heap for the workloads of flink-benchmarks: states of their own, 500 k keys. */
static uint32_t flink_measure(struct bench *bench, struct cistern_error *error)
{
    const struct bench_heap_options options = {.share_bytes = FLINK_BUDGET};
    struct bench_heap heap;
    uint32_t status = bench_heap_open(bench, &options, &heap, error);
    if (status != CISTERN_OK) {
        return status;
    }
    return bench_heap_close(&heap, bench_flink(bench, heap.backend, error), error);
}

uint32_t bench_heap(struct bench *bench, struct cistern_error *error)
{
    static const struct {
        const char *name; /* as in --part */
        uint32_t (*run)(struct bench *bench, struct cistern_error *error);
    } parts[] = {
        {"access", bench_heap_access},
        {"long", bench_heap_long},
        {"grow", bench_heap_grow},
        {"stall", bench_heap_stall},
        {"space", bench_heap_space},
        {"snapshot", bench_heap_snapshot},
        {"chain", bench_heap_chain},
        {"flink", flink_measure},
    };
    const char *wanted = bench->settings->part;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < sizeof parts / sizeof parts[0] && status == CISTERN_OK; i++) {
        if (wanted == NULL || strcmp(wanted, parts[i].name) == 0) {
            status = parts[i].run(bench, error);
        }
    }
    return status;
}
