/*
 * bench_heap_chain.c -- how much an increment carries when 1 % of the entries have changed and the
 * cleaner is at work, and what a hundred such checkpoints upload and leave to a restore.
 */
#include "bench_heap.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"

#define CHANGED_SHARE 100u /* one entry in so many changes between two checkpoints */
#define REMOVED_SHARE 5u   /* one in so many is gone before, so that there is work to clean */
#define CHAIN_CHECKPOINTS 100u
#define CLEAN_NS INT64_C(1000000000)
#define PUT_BATCH 64u

struct chain {
    struct bench_heap heap;
    struct bench_block block;
    uint64_t at; /* ids changed so far */
};

/* What is there once one entry in REMOVED_SHARE is gone, and how many of it change each time. */
static uint64_t live_count(const struct bench *bench)
{
    return bench->entries - (bench->entries + REMOVED_SHARE - 1) / REMOVED_SHARE;
}

static uint64_t changed_count(const struct bench *bench)
{
    return live_count(bench) / CHANGED_SHARE;
}

/* Changes one live entry in CHANGED_SHARE: others each time, all over the log. An id is i * stride
 * modulo the entries, with a stride that has no factor in common with them; where that one was
 * removed, its neighbour changes. */
static uint32_t change(struct chain *chain, uint64_t stride, struct cistern_error *error)
{
    uint64_t entries = chain->heap.bench->entries;
    uint64_t left = changed_count(chain->heap.bench);
    uint32_t status = CISTERN_OK;
    while (left > 0 && status == CISTERN_OK) {
        uint32_t count = left < BENCH_BLOCK ? (uint32_t)left : BENCH_BLOCK;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t id = chain->at++ % entries * stride % entries;
            id += id % REMOVED_SHARE == 0 && id + 1 < entries ? 1 : 0;
            bench_key_make(chain->block.keys[i], id);
            chain->block.values[i][0]++;
        }
        status = bench_heap_put(&chain->heap, &chain->block, count, PUT_BATCH, error);
        left -= count;
    }
    return status;
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint64_t stride_for(uint64_t entries)
{
    uint64_t stride = entries / 8 * 5 + 1;
    while (common_divisor(stride, entries) != 1) {
        stride++;
    }
    return stride;
}

/* Removes one entry in REMOVED_SHARE, all over the log. */
static uint32_t thin_out(struct chain *chain, struct cistern_error *error)
{
    uint64_t entries = chain->heap.bench->entries;
    uint32_t status = CISTERN_OK;
    for (uint64_t id = 0; id < entries && status == CISTERN_OK; id += REMOVED_SHARE) {
        bench_key_make(chain->block.keys[0], id);
        const struct cistern_address address = {.key = {chain->block.keys[0], BENCH_KEY_BYTES},
            .key_group = bench_key_group(chain->block.keys[0])};
        status = cistern_value_remove(chain->heap.values, &address, error);
    }
    return status;
}

static uint64_t cleaned_bytes(const struct chain *chain)
{
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(chain->heap.backend, &statistics);
    return statistics.cleaned_bytes;
}

/* base, 1 % changed, the cleaner's idle work, increment. */
static uint32_t increment_measure(struct chain *chain, uint64_t stride, struct cistern_error *error)
{
    struct bench *bench = chain->heap.bench;
    struct bench_stream full = {0};
    struct bench_stream increment = {0};
    uint32_t status = thin_out(chain, error);
    if (status == CISTERN_OK) {
        status = bench_snapshot_take(&chain->heap, CISTERN_SNAPSHOT_FULL, &full, error);
    }
    if (status == CISTERN_OK) {
        status = change(chain, stride, error);
    }
    uint64_t before = cleaned_bytes(chain);
    if (status == CISTERN_OK) {
        status = cistern_backend_step(chain->heap.backend, cistern_now_ns() + CLEAN_NS, error);
    }
    uint64_t cleaned = cleaned_bytes(chain) - before;
    if (status == CISTERN_OK) {
        status = bench_snapshot_take(&chain->heap, CISTERN_SNAPSHOT_INCREMENT, &increment, error);
    }
    if (status == CISTERN_OK) {
        bench_value_print(bench, "increment_of_1pct", "% of full",
            100 * (double)increment.read_bytes / (double)full.read_bytes);
        bench_value_print(bench, "increment_cleaned_before", "% of full",
            100 * (double)cleaned / (double)full.read_bytes);
    }
    return status;
}

static uint32_t chain_measure(struct chain *chain, uint64_t stride, struct cistern_error *error)
{
    struct bench *bench = chain->heap.bench;
    uint64_t changed_bytes = 0;
    uint64_t uploaded_bytes = 0;
    uint64_t restore_max_bytes = 0;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < CHAIN_CHECKPOINTS && status == CISTERN_OK; i++) {
        struct bench_stream stream = {0};
        status = change(chain, stride, error);
        if (status == CISTERN_OK) {
            status = bench_snapshot_take(&chain->heap, CISTERN_SNAPSHOT_INCREMENT, &stream, error);
        }
        changed_bytes += changed_count(bench) * BENCH_RAW_BYTES;
        uploaded_bytes += stream.read_bytes;
        restore_max_bytes =
            stream.total_bytes > restore_max_bytes ? stream.total_bytes : restore_max_bytes;
    }
    if (status == CISTERN_OK) {
        uint64_t live_bytes = live_count(bench) * BENCH_RAW_BYTES;
        bench_value_print(
            bench, "chain_100_upload", "x changed", (double)uploaded_bytes / (double)changed_bytes);
        bench_value_print(
            bench, "chain_100_restore", "x live", (double)restore_max_bytes / (double)live_bytes);
    }
    return status;
}

uint32_t bench_heap_chain(struct bench *bench, struct cistern_error *error)
{
    const struct bench_heap_options options = {0};
    struct chain *chain = cistern_allocate_zeroed(1, sizeof *chain);
    if (chain == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "chain", "no memory for a block");
    }
    uint64_t stride = stride_for(bench->entries);
    uint32_t status = bench_heap_open(bench, &options, &chain->heap, error);
    if (status == CISTERN_OK) {
        status = bench_heap_fill(&chain->heap, error);
        status = status == CISTERN_OK ? increment_measure(chain, stride, error) : status;
        status = status == CISTERN_OK ? chain_measure(chain, stride, error) : status;
        status = bench_heap_close(&chain->heap, status, error);
    }
    cistern_release(chain);
    return status;
}
