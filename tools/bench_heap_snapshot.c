/*
 * bench_heap_snapshot.c -- what a snapshot costs: to begin, to the owner while it is read, and to
 * read. Times are CPU time of the thread that spends it.
 */
#include "bench_heap.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"

#include <pthread.h>

#define READ_BYTES (256u << 10)
#define OWNER_BATCH 64u
#define READ_WAIT_NS 100000

uint32_t bench_snapshot_read(
    struct cistern_snapshot *snapshot, struct bench_stream *ret_stream, struct cistern_error *error)
{
    struct cistern_bytes into = {cistern_allocate(READ_BYTES), READ_BYTES};
    if (into.data == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "snapshot", "no memory to read it");
    }
    struct bench_stream stream = {0};
    int64_t begin_ns = bench_cpu_ns();
    uint32_t status = CISTERN_OK;
    while (status == CISTERN_OK) {
        struct cistern_part part;
        uint64_t bytes = 1;
        status = cistern_snapshot_next(snapshot, &part, error);
        if (status == CISTERN_BUSY) {
            cistern_sleep_ns(READ_WAIT_NS);
            status = CISTERN_OK;
            continue;
        }
        if (status == CISTERN_OK && part.kind != CISTERN_PART_STREAM) {
            stream.total_bytes += part.bytes;
            continue;
        }
        while (status == CISTERN_OK && bytes > 0) {
            status = cistern_snapshot_read(snapshot, into, &bytes, error);
            stream.read_bytes += status == CISTERN_OK ? bytes : 0;
        }
    }
    cistern_release(into.data);
    stream.total_bytes += stream.read_bytes;
    stream.cpu_ns = bench_cpu_ns() - begin_ns;
    *ret_stream = stream;
    return status == CISTERN_NOT_FOUND ? CISTERN_OK : status;
}

uint32_t bench_snapshot_take(struct bench_heap *heap, uint32_t kind,
    struct bench_stream *ret_stream, struct cistern_error *error)
{
    const struct cistern_snapshot_request request = {.checkpoint_id = heap->checkpoint_id + 1,
        .base_checkpoint_id = heap->checkpoint_id,
        .kind = kind};
    struct cistern_snapshot *snapshot;
    uint32_t status = cistern_snapshot_begin(heap->backend, &request, &snapshot, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = bench_snapshot_read(snapshot, ret_stream, error);
    cistern_snapshot_release(snapshot);
    heap->checkpoint_id++;
    cistern_backend_notify(heap->backend, heap->checkpoint_id,
        status == CISTERN_OK ? CISTERN_CONFIRMED : CISTERN_DISCARDED);
    return status;
}

/* ---- the owner beside a reader ---- */

struct reading { /* the reader's; status and stream are the owner's after join */
    struct cistern_snapshot *snapshot;
    struct bench_stream stream;
    uint32_t status;
    uint32_t is_done; /* Atomic: the reader sets it last */
};

static void *reader_run(void *arg)
{
    struct reading *reading = arg;
    reading->status = bench_snapshot_read(reading->snapshot, &reading->stream, NULL);
    __atomic_store_n(&reading->is_done, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* Overwrites random entries until `is_done` is set, or, without one, until the time is up. */
static uint32_t owner_run(struct bench_heap *heap, struct bench_block *block, uint64_t *at,
    const uint32_t *is_done, double *ret_rate, struct cistern_error *error)
{
    int64_t busy_ns = 0;
    uint64_t operations = 0;
    uint32_t status = CISTERN_OK;
    int more = 1;
    while (more && status == CISTERN_OK) {
        bench_block_random(block, (*at)++, heap->bench->entries);
        int64_t begin_ns = bench_cpu_ns();
        status = bench_heap_put(heap, block, BENCH_BLOCK, OWNER_BATCH, error);
        busy_ns += bench_cpu_ns() - begin_ns;
        operations += BENCH_BLOCK;
        more = is_done != NULL ? !__atomic_load_n(is_done, __ATOMIC_ACQUIRE)
                               : busy_ns < bench_sample_ns(heap->bench);
    }
    *ret_rate = (double)operations * 1000 / (double)busy_ns;
    return status;
}

struct snapshot_results {
    struct bench_result begin;
    struct bench_result owner;
    struct bench_result stream;
    struct bench_result idle;
};

static uint32_t beside_sample(struct bench_heap *heap, struct bench_block *block, uint64_t *at,
    struct snapshot_results *results, struct cistern_error *error)
{
    double before = 0;
    double during = 0;
    uint32_t status = owner_run(heap, block, at, NULL, &before, error);
    if (status != CISTERN_OK) {
        return status;
    }
    const struct cistern_snapshot_request request = {
        .checkpoint_id = ++heap->checkpoint_id, .kind = CISTERN_SNAPSHOT_FULL};
    struct reading reading = {0};
    int64_t begin_ns = bench_cpu_ns();
    status = cistern_snapshot_begin(heap->backend, &request, &reading.snapshot, error);
    int64_t begun_ns = bench_cpu_ns();
    if (status != CISTERN_OK) {
        return status;
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, reader_run, &reading) != 0) {
        cistern_snapshot_release(reading.snapshot);
        return cistern_fail(error, CISTERN_NO_MEMORY, "snapshot", "no thread to read it");
    }
    status = owner_run(heap, block, at, &reading.is_done, &during, error);
    pthread_join(thread, NULL);
    cistern_snapshot_release(reading.snapshot);
    cistern_backend_notify(heap->backend, heap->checkpoint_id,
        reading.status == CISTERN_OK ? CISTERN_CONFIRMED : CISTERN_DISCARDED);
    if (status == CISTERN_OK && reading.status != CISTERN_OK) {
        status = cistern_fail(error, reading.status, "snapshot", "it was not read to its end");
    }
    bench_series_add(&results->begin.ours, (double)(begun_ns - begin_ns) / 1000);
    bench_series_add(&results->owner.ours, during);
    bench_series_add(&results->owner.peers[0], before);
    bench_series_add(
        &results->stream.ours, (double)reading.stream.read_bytes / (double)reading.stream.cpu_ns);
    return status;
}

static uint32_t snapshot_measure(
    struct bench_heap *heap, struct bench_block *block, struct cistern_error *error)
{
    struct snapshot_results results = {
        .begin = {.name = "snapshot_begin", .unit = "us"},
        .owner = {.name = "put_many_64_in_snapshot",
            .unit = "Mop/s",
            .peer_names = {"before the snapshot"},
            .peer_count = 1},
        .stream = {.name = "snapshot_stream", .unit = "GB/s"},
        .idle = {.name = "snapshot_stream_owner_idle", .unit = "GB/s"},
    };
    uint64_t at = 0;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        status = beside_sample(heap, block, &at, &results, error);
    }
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        struct bench_stream stream;
        status = bench_snapshot_take(heap, CISTERN_SNAPSHOT_FULL, &stream, error);
        bench_series_add(&results.idle.ours,
            status == CISTERN_OK ? (double)stream.read_bytes / (double)stream.cpu_ns : 0);
    }
    if (status == CISTERN_OK) {
        bench_result_print(heap->bench, &results.begin);
        bench_result_print(heap->bench, &results.owner);
        bench_result_print(heap->bench, &results.stream);
        bench_result_print(heap->bench, &results.idle);
    }
    return status;
}

uint32_t bench_heap_snapshot(struct bench *bench, struct cistern_error *error)
{
    const struct bench_heap_options options = {0};
    struct bench_heap heap;
    struct bench_block *block = cistern_allocate_zeroed(1, sizeof *block);
    if (block == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "snapshot", "no memory for a block");
    }
    uint32_t status = bench_heap_open(bench, &options, &heap, error);
    if (status == CISTERN_OK) {
        status = bench_heap_fill(&heap, error);
        status = status == CISTERN_OK ? snapshot_measure(&heap, block, error) : status;
        status = bench_heap_close(&heap, status, error);
    }
    cistern_release(block);
    return status;
}
