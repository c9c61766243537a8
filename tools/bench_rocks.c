/* bench_rocks.c -- RocksDB inside a slot of 256 MiB, live files in the scratch directory. */
#include "bench.h"

#include "cistern/rocks.h"

#include <stdio.h>

#define BUDGET_BYTES ((uint64_t)256 << 20)

uint32_t bench_rocks(struct bench *bench, struct cistern_error *error)
{
    uint32_t status = bench_pool_open(bench, BUDGET_BYTES, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    char directory[600];
    snprintf(directory, sizeof directory, "%s/db", bench->directory);
    struct cistern_rocks_options options = {
        .backend = {.max_parallelism = 128, .range = {0, 127}}, .directory = directory};
    struct cistern_backend *backend = NULL;
    status = cistern_rocks_open(bench->slot, &options, &backend, error);
    if (status == CISTERN_OK) {
        status = bench_backend(bench, backend, error);
        uint32_t closed = cistern_backend_close(backend, status == CISTERN_OK ? error : NULL);
        status = status == CISTERN_OK ? closed : status;
    }
    return status;
}
