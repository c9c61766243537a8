/* bench_memory.c -- the memory suite, and what fresh pages of a region cost. */
#include "bench.h"

#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/pool.h"
#include "cistern/region.h"

#include <string.h>

#define BUDGET_BYTES ((uint64_t)256 << 20)
#define COMMIT_BYTES (1u << 20)

static uint32_t commit_case(
    struct bench *bench, struct cistern_component *component, struct cistern_error *error)
{
    struct cistern_region_options options = {.reserve_bytes = COMMIT_BYTES};
    struct cistern_region *region = NULL;
    double samples[BENCH_SAMPLES];
    uint32_t status = cistern_region_create(component, &options, &region, error);
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        int64_t begin_ns = cistern_now_ns(), now_ns = begin_ns;
        uint64_t bytes = 0;
        while (now_ns - begin_ns < bench_sample_ns(bench) && status == CISTERN_OK) {
            status = cistern_region_commit(region, 0, COMMIT_BYTES);
            if (status == CISTERN_OK) {
                memset(cistern_region_base(region), 1, COMMIT_BYTES);
                cistern_region_decommit(region, 0, COMMIT_BYTES);
                bytes += COMMIT_BYTES;
            }
            now_ns = cistern_now_ns();
        }
        samples[i] = (double)bytes / (1 << 20) * 1e9 / (double)(now_ns - begin_ns);
    }
    if (status == CISTERN_OK) {
        bench_print(bench, "commit_touch_decommit", "MiB/s", samples, NULL, NULL);
    }
    cistern_region_destroy(region);
    return status;
}

uint32_t bench_memory(struct bench *bench, struct cistern_error *error)
{
    struct cistern_component *component = NULL;
    const struct cistern_component_options options = {
        .name = "bench", .reclaim_class = CISTERN_RECLAIM_NEVER};
    uint32_t status = bench_charge(bench, error);
    status = status == CISTERN_OK ? bench_drift(bench, error) : status;
    status = status == CISTERN_OK ? bench_loan(bench, error) : status;
    status = status == CISTERN_OK ? bench_pages(bench, error) : status;
    if (status == CISTERN_OK) {
        status = bench_pool_open(bench, BUDGET_BYTES, 1, error);
    }
    if (status == CISTERN_OK) {
        status = cistern_component_open(bench->slot, &options, &component, error);
    }
    if (status == CISTERN_OK) {
        status = commit_case(bench, component, error);
    }
    cistern_component_close(component);
    return status;
}
