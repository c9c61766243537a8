/* bench_rocks.c -- RocksDB inside a slot of 256 MiB, beside a bare RocksDB loop with the same
 * options and the same nominal budget; live files of both in the scratch directory. */
#include "bench.h"

#include "cistern/rocks.h"
#include "cistern/rocks_bare.h"

#include <stdio.h>

#define BUDGET_BYTES ((uint64_t)256 << 20)

static uint32_t bare_run(
    void *arg, uint32_t verb, const struct bench_batch *batch, struct cistern_error *error)
{
    struct cistern_span keys[BENCH_BATCH];
    struct cistern_span sums[BENCH_BATCH];
    for (uint32_t i = 0; i < BENCH_BATCH; i++) {
        keys[i] = batch->addresses[i].key;
        sums[i] = (struct cistern_span){batch->values[i], 8};
    }
    switch (verb) {
    case BENCH_PUT:
        return cistern_rocks_bare_put(arg, keys, batch->spans, BENCH_BATCH, error);
    case BENCH_GET:
        return cistern_rocks_bare_get(arg, keys, BENCH_BATCH, error);
    default:
        return cistern_rocks_bare_add(arg, keys, sums, BENCH_BATCH, error);
    }
}

static uint32_t backend_measure(struct bench *bench, struct cistern_error *error)
{
    char directory[600];
    snprintf(directory, sizeof directory, "%s/db", bench->directory);
    struct cistern_rocks_options options = {
        .backend = {.max_parallelism = 128, .range = {0, 127}}, .directory = directory};
    struct cistern_backend *backend = NULL;
    uint32_t status = cistern_rocks_open(bench->slot, &options, &backend, error);
    if (status == CISTERN_OK) {
        status = bench_backend(bench, backend, error);
        status = status == CISTERN_OK ? bench_flink(bench, backend, error) : status;
        uint32_t closed = cistern_backend_close(backend, status == CISTERN_OK ? error : NULL);
        status = status == CISTERN_OK ? closed : status;
    }
    return status;
}

uint32_t bench_rocks(struct bench *bench, struct cistern_error *error)
{
    uint32_t status = bench_pool_open(bench, BUDGET_BYTES, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    char directory[600];
    snprintf(directory, sizeof directory, "%s/bare", bench->directory);
    struct cistern_rocks_bare *bare = NULL;
    status =
        cistern_rocks_bare_open(directory, cistern_slot_limit_bytes(bench->slot), &bare, error);
    if (status == CISTERN_OK) {
        bench->peer = bare_run;
        bench->peer_arg = bare;
        bench->peer_name = "bare RocksDB";
        bench->build = cistern_rocks_build();
        status = backend_measure(bench, error);
    }
    cistern_rocks_bare_close(bare);
    bench->peer = NULL;
    bench->build = NULL;
    return status;
}
