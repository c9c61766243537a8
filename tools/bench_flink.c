/*
 * bench_flink.c -- runs the workloads of flink-benchmarks through a backend; see bench_flink.h.
 *
 * Rates are per second of the process's CPU time, because Flink's were taken so: flushes and
 * compactions of other threads count.
 */
#include "bench_flink.h"
#include "complaint.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <string.h>

#define BLOCK_OPERATIONS 2000u /* between two looks at the clock */
#define SHUFFLE_SEED 0x2545F4914F6CDD1DULL

static const struct flink_kind *const kinds[] = {
    &flink_value_kind, &flink_list_kind, &flink_map_kind};

/* first, first + 1, ... in an order that is the same in every run. Source: Fisher and Yates. */
static uint64_t *shuffled(uint64_t first, uint64_t count)
{
    uint64_t *numbers = cistern_allocate(count * sizeof *numbers);
    if (numbers == NULL) {
        return NULL;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t other = (bench_scatter(SHUFFLE_SEED + first + i) >> 32) * (i + 1) >> 32;
        numbers[i] = numbers[other];
        numbers[other] = first + i;
    }
    return numbers;
}

uint32_t flink_missing(const struct flink *flink, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_NOT_FOUND, cistern_backend_name(flink->backend),
        "the %s backend does not find what was put", cistern_backend_name(flink->backend));
}

static uint32_t sample_run(struct flink *flink, const struct flink_case *at, uint64_t *next,
    double *ret_rate, struct cistern_error *error)
{
    uint64_t operations = 0;
    int64_t busy_ns = 0;
    uint32_t status = CISTERN_OK;
    int more = 1;
    while (more && status == CISTERN_OK) {
        uint32_t count = BLOCK_OPERATIONS;
        if (at->sample_operations != 0 && at->sample_operations - operations < count) {
            count = (uint32_t)(at->sample_operations - operations);
        }
        int64_t begin_ns = bench_process_cpu_ns();
        status = at->run(flink, *next, count, error);
        busy_ns += bench_process_cpu_ns() - begin_ns;
        operations += count;
        *next += count;
        more = at->sample_operations != 0 ? operations < at->sample_operations
                                          : busy_ns < bench_sample_ns(flink->bench);
    }
    uint32_t units = at->unit_count != 0 ? at->unit_count : 1;
    *ret_rate = (double)(operations * units) * 1000 / (double)busy_ns;
    return status;
}

/* The figures are of Flink 1.20.3 on one core of an EPYC (Zen 4), garbage collection and background
 * work included. */
static void references_set(const struct flink_case *at, int heap, struct bench_result *result)
{
    struct bench_reference *reference = result->references;
    if (heap && at->heap_g1 > 0) {
        *reference++ = (struct bench_reference){"Flink heap, G1", at->heap_g1};
    }
    if (heap && at->heap_parallel > 0) {
        *reference++ = (struct bench_reference){"Flink heap, Parallel", at->heap_parallel};
    }
    if (!heap && at->rocksdb > 0) {
        *reference++ = (struct bench_reference){"Flink RocksDB", at->rocksdb};
    }
}

static uint32_t case_measure(
    struct flink *flink, const struct flink_case *at, struct cistern_error *error)
{
    struct bench_result result = {.name = at->name, .unit = "Mop/s"};
    uint64_t next = 0;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        double rate = 0;
        status = sample_run(flink, at, &next, &rate, error);
        bench_series_add(&result.ours, rate);
    }
    if (status == CISTERN_OK) {
        references_set(at, strcmp(cistern_backend_name(flink->backend), "heap") == 0, &result);
        bench_result_print(flink->bench, &result);
    }
    return status;
}

static uint32_t kind_measure(
    struct flink *flink, const struct flink_kind *kind, struct cistern_error *error)
{
    uint32_t status = kind->prepare(flink, error);
    if (status == CISTERN_UNSUPPORTED) {
        complaint_warn("%s", error->message);
        cistern_error_clear(error);
        return CISTERN_OK;
    }
    for (uint32_t i = 0; i < kind->case_count && status == CISTERN_OK; i++) {
        status = case_measure(flink, &kind->cases[i], error);
    }
    return status;
}

uint32_t bench_flink(
    struct bench *bench, struct cistern_backend *backend, struct cistern_error *error)
{
    struct flink flink = {
        .bench = bench,
        .backend = backend,
        .setup_keys = shuffled(0, FLINK_KEY_COUNT),
        .new_keys = shuffled(FLINK_KEY_COUNT, FLINK_KEY_COUNT),
        .values = shuffled(0, FLINK_VALUE_COUNT),
    };
    uint64_t entries = bench->entries;
    bench->entries = FLINK_KEY_COUNT;
    uint32_t status = CISTERN_OK;
    if (flink.setup_keys == NULL || flink.new_keys == NULL || flink.values == NULL) {
        status = cistern_fail(error, CISTERN_NO_MEMORY, "keys", "no memory for the keys");
    }
    for (uint32_t i = 0; i < sizeof kinds / sizeof kinds[0] && status == CISTERN_OK; i++) {
        status = kind_measure(&flink, kinds[i], error);
    }
    bench->entries = entries;
    cistern_release(flink.setup_keys);
    cistern_release(flink.new_keys);
    cistern_release(flink.values);
    return status;
}
