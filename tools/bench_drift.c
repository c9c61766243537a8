/*
 * bench_drift.c -- what a full store holds when sizes change: entries of one size are overwritten
 * by ones eight times as large while the live bytes stay where they are.
 *
 * The heap store fills its slot to DRIFT_LIVE_PERCENT, overwrites at constant sizes (the cost to
 * compare with), then drifts. The peer does the same with malloc and an array, and has no limit:
 * what it needs beyond its live bytes is read from resident memory.
 */
#include "bench.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/heap.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRIFT_BUDGET_BYTES ((uint64_t)160 << 20)
#define DRIFT_LIVE_PERCENT 82u /* entries; the index comes on top */
#define DRIFT_VALUE_FIRST 64u
#define DRIFT_VALUE_LAST 512u
#define DRIFT_ENTRY_OVERHEAD 32u /* header, key, padding: for the number of keys only */
#define DRIFT_STEPS 32u          /* the mean size grows this many times */
#define DRIFT_KEY_BYTES 8u
#define HOLD_EACH 16u /* puts between two looks at the live bytes */

/* One of the two stores. Sizes are of values; 0 = not there. */
struct drift {
    uint32_t (*put)(struct drift *drift, uint64_t key, uint32_t bytes, struct cistern_error *error);
    uint32_t (*remove)(struct drift *drift, uint64_t key, struct cistern_error *error);
    uint64_t (*live_bytes)(struct drift *drift); /* values and what the store adds to each */
    uint64_t target_bytes;
    uint64_t keys;
    uint64_t random;
    uint64_t refused;
    uint32_t *sizes;
    uint8_t value[2 * DRIFT_VALUE_LAST];
    /* the heap store */
    struct cistern_backend *backend;
    struct cistern_state *state;
    /* the peer */
    void **objects;
    uint64_t object_bytes;
};

static uint64_t drift_random(struct drift *drift)
{
    return bench_scatter(drift->random++) >> 8;
}

static uint32_t mean_size_of(struct drift *drift, uint32_t mean)
{
    return mean / 2 + (uint32_t)(drift_random(drift) % mean);
}

/* ---------------------------------------------------------------- the heap store */

static struct cistern_address heap_address(uint64_t *storage, uint64_t key)
{
    *storage = bench_scatter(key);
    return (struct cistern_address){
        .key = {storage, DRIFT_KEY_BYTES}, .key_group = (uint32_t)(*storage % 128)};
}

static uint32_t heap_put(
    struct drift *drift, uint64_t key, uint32_t bytes, struct cistern_error *error)
{
    uint64_t storage;
    struct cistern_address address = heap_address(&storage, key);
    return cistern_value_put(
        drift->state, &address, (struct cistern_span){drift->value, bytes}, error);
}

static uint32_t heap_remove(struct drift *drift, uint64_t key, struct cistern_error *error)
{
    uint64_t storage;
    struct cistern_address address = heap_address(&storage, key);
    return cistern_value_remove(drift->state, &address, error);
}

static uint64_t heap_live(struct drift *drift)
{
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(drift->backend, &statistics);
    return statistics.live_bytes;
}

/* ---------------------------------------------------------------- malloc */

static uint32_t malloc_put(
    struct drift *drift, uint64_t key, uint32_t bytes, struct cistern_error *error)
{
    void *object = malloc(bytes);
    if (object == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "malloc", "no memory for the peer");
    }
    memcpy(object, drift->value, bytes);
    free(drift->objects[key]);
    drift->objects[key] = object;
    drift->object_bytes += (uint64_t)bytes - drift->sizes[key];
    return CISTERN_OK;
}

static uint32_t malloc_remove(struct drift *drift, uint64_t key, struct cistern_error *error)
{
    (void)error;
    free(drift->objects[key]);
    drift->objects[key] = NULL;
    drift->object_bytes -= drift->sizes[key];
    return CISTERN_OK;
}

static uint64_t malloc_live(struct drift *drift)
{
    return drift->object_bytes;
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%*u %llu", &pages) != 1) {
            pages = 0;
        }
        fclose(file);
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---------------------------------------------------------------- the workload */

/* Makes room for a larger value by removing others, so that the live bytes stay. */
static uint32_t hold_live(struct drift *drift, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; status == CISTERN_OK && i < 8 * HOLD_EACH; i++) {
        if (drift->live_bytes(drift) <= drift->target_bytes) {
            return CISTERN_OK;
        }
        uint64_t key = drift_random(drift) % drift->keys;
        if (drift->sizes[key] != 0) {
            status = drift->remove(drift, key, error);
            drift->sizes[key] = 0;
        }
    }
    return status;
}

static uint32_t overwrite(
    struct drift *drift, uint64_t count, uint32_t mean, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = 0; i < count && status == CISTERN_OK; i++) {
        uint64_t key = drift_random(drift) % drift->keys;
        uint32_t bytes = mean_size_of(drift, mean);
        status = i % HOLD_EACH == 0 ? hold_live(drift, error) : CISTERN_OK;
        if (status == CISTERN_OK) {
            status = drift->put(drift, key, bytes, error);
        }
        if (status == CISTERN_OK) {
            drift->sizes[key] = bytes;
        } else if (status == CISTERN_LIMIT) {
            drift->refused++;
            status = CISTERN_OK;
        }
    }
    return status;
}

struct drift_result {
    double steady_ns; /* mean of constant small sizes before, and of constant large ones after */
    double drift_ns;
};

/* A part of the workload, in ns for each put. */
static uint32_t overwrite_timed(
    struct drift *drift, uint64_t count, uint32_t mean, double *ret_ns, struct cistern_error *error)
{
    int64_t begin_ns = cistern_now_ns();
    uint32_t status = overwrite(drift, count, mean, error);
    *ret_ns = (double)(cistern_now_ns() - begin_ns) / (double)count;
    return status;
}

static uint32_t drift_run(
    struct drift *drift, struct drift_result *ret_result, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t key = 0; key < drift->keys && status == CISTERN_OK; key++) {
        uint32_t bytes = mean_size_of(drift, DRIFT_VALUE_FIRST);
        if (key % HOLD_EACH == 0 && drift->live_bytes(drift) > drift->target_bytes) {
            break;
        }
        status = drift->put(drift, key, bytes, error);
        drift->sizes[key] = bytes;
    }
    double small_ns = 0;
    double large_ns = 0;
    double step_ns = 0;
    if (status == CISTERN_OK) {
        status = overwrite_timed(drift, drift->keys, DRIFT_VALUE_FIRST, &small_ns, error);
    }
    ret_result->drift_ns = 0;
    for (uint32_t i = 1; i <= DRIFT_STEPS && status == CISTERN_OK; i++) {
        uint32_t mean =
            DRIFT_VALUE_FIRST + (DRIFT_VALUE_LAST - DRIFT_VALUE_FIRST) * i / DRIFT_STEPS;
        status = overwrite_timed(drift, drift->keys / DRIFT_STEPS, mean, &step_ns, error);
        ret_result->drift_ns += step_ns / DRIFT_STEPS;
    }
    if (status == CISTERN_OK) {
        status = overwrite_timed(drift, drift->keys / 2, DRIFT_VALUE_LAST, &large_ns, error);
    }
    ret_result->steady_ns = (small_ns + large_ns) / 2;
    return status;
}

static uint32_t heap_drift(struct bench *bench, struct drift *drift,
    struct drift_result *ret_result, double *ret_live_percent, struct cistern_error *error)
{
    struct cistern_heap_options options = {.backend = {.max_parallelism = 128, .range = {0, 127}}};
    struct cistern_state_descriptor descriptor = {
        .name = "values", .kind = CISTERN_VALUE, .key_bytes = DRIFT_KEY_BYTES};
    uint32_t status = cistern_heap_open(bench->slot, &options, &drift->backend, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = cistern_state_register(drift->backend, &descriptor, &drift->state, error);
    if (status == CISTERN_OK) {
        status = drift_run(drift, ret_result, error);
    }
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(drift->backend, &statistics);
    *ret_live_percent = 100.0 * (double)(statistics.live_bytes + statistics.index_bytes) /
                        (double)cistern_slot_limit_bytes(bench->slot);
    uint32_t closed = cistern_backend_close(drift->backend, status == CISTERN_OK ? error : NULL);
    return status == CISTERN_OK ? closed : status;
}

static uint32_t malloc_drift(struct drift *drift, struct drift_result *ret_result,
    double *ret_live_percent, struct cistern_error *error)
{
    drift->objects = calloc(drift->keys, sizeof *drift->objects);
    if (drift->objects == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "malloc", "no memory for the peer");
    }
    uint64_t before = resident_bytes();
    uint32_t status = drift_run(drift, ret_result, error);
    uint64_t after = resident_bytes();
    *ret_live_percent =
        after > before ? 100.0 * (double)drift->object_bytes / (double)(after - before) : 100.0;
    for (uint64_t key = 0; key < drift->keys; key++) {
        free(drift->objects[key]);
    }
    free(drift->objects);
    return status;
}

static uint32_t drift_open(struct drift *drift, uint64_t limit, struct cistern_error *error)
{
    drift->target_bytes = limit / 100 * DRIFT_LIVE_PERCENT;
    drift->keys = drift->target_bytes / (DRIFT_VALUE_FIRST + DRIFT_ENTRY_OVERHEAD);
    drift->random = 1;
    drift->refused = 0;
    drift->sizes = cistern_allocate_zeroed(drift->keys, sizeof *drift->sizes);
    memset(drift->value, 0x5a, sizeof drift->value);
    return drift->sizes != NULL
               ? CISTERN_OK
               : cistern_fail(error, CISTERN_NO_MEMORY, "sizes", "no memory for the sizes");
}

static void drift_print(struct bench *bench, const char *name, const char *unit, double ours,
    const char *peer_name, double theirs)
{
    double samples[BENCH_SAMPLES];
    double peer[BENCH_SAMPLES];
    for (uint32_t i = 0; i < BENCH_SAMPLES; i++) {
        samples[i] = ours;
        peer[i] = theirs;
    }
    bench_print(bench, name, unit, samples, peer_name, peer);
}

uint32_t bench_drift(struct bench *bench, struct cistern_error *error)
{
    struct drift_result heap = {0};
    struct drift_result peer = {0};
    double heap_percent = 0;
    double peer_percent = 0;
    uint32_t status = bench_pool_open(bench, DRIFT_BUDGET_BYTES, 1, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct drift drift = {.put = heap_put, .remove = heap_remove, .live_bytes = heap_live};
    status = drift_open(&drift, cistern_slot_limit_bytes(bench->slot), error);
    if (status == CISTERN_OK) {
        status = heap_drift(bench, &drift, &heap, &heap_percent, error);
    }
    uint64_t refused = drift.refused;
    if (status == CISTERN_OK) {
        memset(drift.sizes, 0, drift.keys * sizeof *drift.sizes);
        drift.put = malloc_put;
        drift.remove = malloc_remove;
        drift.live_bytes = malloc_live;
        drift.random = 1;
        status = malloc_drift(&drift, &peer, &peer_percent, error);
    }
    cistern_release(drift.sizes);
    bench_pool_close(bench);
    if (status == CISTERN_OK) {
        drift_print(bench, "drift_live_share", "%", heap_percent, "malloc", peer_percent);
        drift_print(bench, "drift_put", "ns", heap.drift_ns, "malloc", peer.drift_ns);
        drift_print(bench, "steady_put", "ns", heap.steady_ns, "malloc", peer.steady_ns);
        drift_print(bench, "drift_refused", "puts", (double)refused, NULL, 0);
    }
    return status;
}
