/* bench_load.c -- random keys, and contenders that work on the same ones in turn; see bench.h. */
#include "bench.h"

#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <assert.h>
#include <string.h>

uint64_t bench_scatter(uint64_t i)
{
    i = (i ^ (i >> 31)) * 0x7FB5D329728EA185ULL;
    i = (i ^ (i >> 27)) * 0x81DADEF4BC2DD44DULL;
    return i ^ (i >> 33);
}

void bench_key_make(uint8_t key[BENCH_KEY_BYTES], uint64_t id)
{
    uint64_t word = bench_scatter(id);
    cistern_put_u64_be(key, word);
    cistern_put_u64_be(key + 8, ~word);
}

static void record_make(struct bench_block *block, uint32_t i, uint64_t id)
{
    block->ids[i] = id;
    bench_key_make(block->keys[i], id);
    memset(block->values[i], (int)(id & 0xFF), BENCH_VALUE_BYTES);
}

void bench_block_random(struct bench_block *block, uint64_t at, uint64_t entries)
{
    for (uint32_t i = 0; i < BENCH_BLOCK; i++) {
        /* The high half of a product maps 32 random bits onto 0 .. entries - 1. */
        uint64_t random = bench_scatter(at * BENCH_BLOCK + i + 0x5851F42D4C957F2DULL) >> 32;
        record_make(block, i, random * entries >> 32);
    }
}

void bench_block_sequence(struct bench_block *block, uint64_t first)
{
    for (uint32_t i = 0; i < BENCH_BLOCK; i++) {
        record_make(block, i, first + i);
    }
}

static uint32_t sample(struct bench *bench, const struct bench_contender *contender,
    uint32_t contender_count, struct bench_block *block, uint64_t *at, double *ret_rate,
    struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    uint64_t operations = 0;
    int64_t busy_ns = 0;
    int64_t wanted_ns = bench_sample_ns(bench) / contender_count;
    while (busy_ns < wanted_ns && status == CISTERN_OK) {
        bench_block_random(block, (*at)++, bench->entries);
        int64_t begin_ns = bench_cpu_ns();
        status = contender->run(contender->arg, block, BENCH_BLOCK, error);
        busy_ns += bench_cpu_ns() - begin_ns;
        operations += BENCH_BLOCK;
    }
    *ret_rate = (double)operations * 1000 / (double)busy_ns;
    return status;
}

uint32_t bench_contest(struct bench *bench, const struct bench_contender *contenders,
    uint32_t count, struct bench_result *result, struct cistern_error *error)
{
    assert(count >= 1 && count <= 1 + BENCH_PEERS_MAX);
    struct bench_block *block = cistern_allocate_zeroed(1, sizeof *block);
    if (block == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, result->name, "no memory for a block");
    }
    uint64_t ats[1 + BENCH_PEERS_MAX] = {0};
    uint32_t status = CISTERN_OK;
    result->unit = "Mop/s";
    result->peer_count = count - 1;
    for (uint32_t round = 0; round < BENCH_SAMPLES; round++) {
        for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
            double rate = 0;
            status = sample(bench, &contenders[i], count, block, &ats[i], &rate, error);
            bench_series_add(i == 0 ? &result->ours : &result->peers[i - 1], rate);
            if (i > 0) {
                result->peer_names[i - 1] = contenders[i].name;
            }
        }
    }
    cistern_release(block);
    return status;
}
