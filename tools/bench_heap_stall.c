/*
 * bench_heap_stall.c -- the longest puts while a heap grows to bench->entries in a slot that makes
 * it clean, and a second thread reads one snapshot after the other.
 *
 * Three of four puts overwrite an entry with a value of another size, so there is always something
 * dead. A put is timed in CPU time of its thread; what reading that clock costs (half a
 * microsecond in a virtual machine) is inside. Peers only insert: they have neither cleaner nor
 * snapshot.
 */
#include "bench_heap.h"
#include "bench_peer.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define STALL_SAMPLES 3u
#define STALL_ENTRIES_ONCE 1000000u /* from here on one sample has to do */
#define CLOCK_READS 1000000u
#define BUCKET_NS 100u
#define BUCKET_COUNT 100000u /* up to 10 ms; what is longer counts as that, and in the maximum */
/* Values of 8, 16, .. 56 bytes; live entries are some 76 bytes with their index. */
#define SIZE_STEPS 7u
#define OVERWRITES 3u
#define SHARE_BYTES_PER_ENTRY 84u
#define SHARE_BASE ((uint64_t)36 << 20)

struct stall_times {
    uint64_t count;
    int64_t max_ns;
    uint32_t buckets[BUCKET_COUNT];
};
/* Handed to the reader thread and back. */
struct handover {
    pthread_t thread;
    struct cistern_snapshot *snapshot;
    uint32_t status;
    uint32_t is_done; /* Atomic: the reader sets it last */
};
struct stall { /* one growth of ours */
    struct bench_heap heap;
    struct handover handover;
    uint32_t is_reading;
    uint32_t snapshot_count;
    uint32_t given_up_count;
    uint64_t cleaned_bytes;
    struct stall_times *times;
};

static void time_add(struct stall_times *times, int64_t ns)
{
    uint64_t bucket = (uint64_t)ns / BUCKET_NS;
    times->buckets[bucket < BUCKET_COUNT ? bucket : BUCKET_COUNT - 1]++;
    times->max_ns = ns > times->max_ns ? ns : times->max_ns;
    times->count++;
}

/* The time that all but one in 10,000 keep, in microseconds: the upper end of its bucket. */
static double time_p9999(const struct stall_times *times)
{
    uint64_t beyond = times->count / 10000;
    uint64_t seen = 0;
    uint32_t bucket = BUCKET_COUNT;
    while (bucket > 0 && seen <= beyond) {
        seen += times->buckets[--bucket];
    }
    return (double)(bucket + 1) * BUCKET_NS / 1000;
}

/* ---- snapshots beside it ---- */

static void *reader_run(void *arg)
{
    struct handover *handover = arg;
    struct bench_stream stream;
    handover->status = bench_snapshot_read(handover->snapshot, &stream, NULL);
    cistern_snapshot_release(handover->snapshot);
    __atomic_store_n(&handover->is_done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static uint32_t reader_start(struct stall *stall, struct cistern_error *error)
{
    struct handover *handover = &stall->handover;
    const struct cistern_snapshot_request request = {
        .checkpoint_id = ++stall->heap.checkpoint_id, .kind = CISTERN_SNAPSHOT_FULL};
    *handover = (struct handover){0};
    uint32_t status =
        cistern_snapshot_begin(stall->heap.backend, &request, &handover->snapshot, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (pthread_create(&handover->thread, NULL, reader_run, handover) != 0) {
        cistern_snapshot_release(handover->snapshot);
        return cistern_fail(error, CISTERN_NO_MEMORY, "snapshot", "no thread to read it");
    }
    stall->is_reading = 1;
    return CISTERN_OK;
}

static uint32_t reader_finish(struct stall *stall, struct cistern_error *error)
{
    pthread_join(stall->handover.thread, NULL);
    stall->is_reading = 0;
    uint32_t status = stall->handover.status;
    stall->snapshot_count += status == CISTERN_OK;
    stall->given_up_count += status == CISTERN_ABORTED;
    cistern_backend_notify(stall->heap.backend, stall->heap.checkpoint_id,
        status == CISTERN_OK ? CISTERN_CONFIRMED : CISTERN_DISCARDED);
    return status == CISTERN_OK || status == CISTERN_ABORTED
               ? CISTERN_OK
               : cistern_fail(error, status, "snapshot", "reading it has failed");
}

/* ---- ours ---- */

static uint32_t put_timed(struct stall *stall, uint64_t id, uint64_t random, int64_t *last_ns,
    struct cistern_error *error)
{
    uint8_t key[BENCH_KEY_BYTES];
    uint8_t value[8 * SIZE_STEPS];
    bench_key_make(key, id);
    uint64_t bytes = 8 + 8 * (random % SIZE_STEPS);
    memset(value, (int)(id & 0xFF), sizeof value);
    const struct cistern_address address = {
        .key = {key, BENCH_KEY_BYTES}, .key_group = bench_key_group(key)};
    uint32_t status =
        cistern_value_put(stall->heap.values, &address, (struct cistern_span){value, bytes}, error);
    int64_t now_ns = bench_cpu_ns();
    time_add(stall->times, now_ns - *last_ns);
    *last_ns = now_ns;
    return status;
}

static uint32_t stall_run(struct stall *stall, struct cistern_error *error)
{
    uint64_t entries = stall->heap.bench->entries;
    uint32_t status = CISTERN_OK;
    for (uint64_t i = 0; i < entries && status == CISTERN_OK; i++) {
        if (stall->is_reading && __atomic_load_n(&stall->handover.is_done, __ATOMIC_ACQUIRE)) {
            status = reader_finish(stall, error);
        }
        if (status == CISTERN_OK && !stall->is_reading) {
            status = reader_start(stall, error);
        }
        uint64_t random = bench_scatter(i + 0x632BE59BD9B4E019ULL);
        int64_t last_ns = bench_cpu_ns();
        if (status == CISTERN_OK) {
            status = put_timed(stall, i, random >> 50, &last_ns, error);
        }
        for (uint32_t j = 0; j < OVERWRITES && status == CISTERN_OK; j++) {
            random = bench_scatter(random);
            status = put_timed(
                stall, ((random & UINT32_MAX) * (i + 1)) >> 32, random >> 40, &last_ns, error);
        }
    }
    if (stall->is_reading) {
        uint32_t read = reader_finish(stall, status == CISTERN_OK ? error : NULL);
        status = status == CISTERN_OK ? read : status;
    }
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(stall->heap.backend, &statistics);
    stall->cleaned_bytes += statistics.cleaned_bytes;
    return status;
}

static uint32_t stall_sample(struct bench *bench, struct stall *stall, struct cistern_error *error)
{
    const struct bench_heap_options options = {
        .share_bytes = SHARE_BASE + bench->entries * SHARE_BYTES_PER_ENTRY, .any_value_bytes = 1};
    memset(stall->times, 0, sizeof *stall->times);
    uint32_t status = bench_heap_open(bench, &options, &stall->heap, error);
    return status == CISTERN_OK ? bench_heap_close(&stall->heap, stall_run(stall, error), error)
                                : status;
}

/* ---- the peers ---- */

static uint32_t peer_sample(
    struct bench *bench, uint32_t kind, struct stall_times *times, struct cistern_error *error)
{
    memset(times, 0, sizeof *times);
    struct peer *peer = peer_create(kind, strcmp(bench->settings->pages, "huge") == 0);
    int done = peer != NULL;
    int64_t last_ns = bench_cpu_ns();
    for (uint64_t i = 0; i < bench->entries && done; i++) {
        uint8_t key[1][BENCH_KEY_BYTES];
        uint8_t value[1][BENCH_VALUE_BYTES];
        bench_key_make(key[0], i);
        memset(value[0], (int)(i & 0xFF), BENCH_VALUE_BYTES);
        done = (int)peer_put(peer, key, value, 1);
        int64_t now_ns = bench_cpu_ns();
        time_add(times, now_ns - last_ns);
        last_ns = now_ns;
    }
    peer_destroy(peer);
    return done ? CISTERN_OK
                : cistern_fail(error, CISTERN_NO_MEMORY, "peer", "no memory for the peer's table");
}

/* The longest time between two looks at the clock with nothing between them: what the machine does
 * to any thread. */
static double clock_max_us(void)
{
    int64_t longest_ns = 0;
    int64_t last_ns = bench_cpu_ns();
    for (uint32_t i = 0; i < CLOCK_READS; i++) {
        int64_t now_ns = bench_cpu_ns();
        longest_ns = now_ns - last_ns > longest_ns ? now_ns - last_ns : longest_ns;
        last_ns = now_ns;
    }
    return (double)longest_ns / 1000;
}

static uint32_t stall_measure(
    struct bench *bench, struct stall_times *times, struct cistern_error *error)
{
    struct bench_result p9999 = {.name = "grow_put_p9999", .unit = "us"};
    struct bench_result longest = {.name = "grow_put_max", .unit = "us"};
    struct stall stall = {.times = times};
    uint32_t samples = bench->entries < STALL_ENTRIES_ONCE ? STALL_SAMPLES : 1;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < samples && status == CISTERN_OK; i++) {
        status = stall_sample(bench, &stall, error);
        bench_series_add(&p9999.ours, time_p9999(times));
        bench_series_add(&longest.ours, (double)times->max_ns / 1000);
        for (uint32_t j = 0; j < PEER_KIND_COUNT && status == CISTERN_OK; j++) {
            status = peer_sample(bench, j, times, error);
            p9999.peer_names[j] = longest.peer_names[j] = peer_name(j);
            bench_series_add(&p9999.peers[j], time_p9999(times));
            bench_series_add(&longest.peers[j], (double)times->max_ns / 1000);
        }
    }
    if (status == CISTERN_OK) {
        p9999.peer_count = longest.peer_count = PEER_KIND_COUNT;
        bench_result_print(bench, &p9999);
        bench_result_print(bench, &longest);
        bench_value_print(bench, "grow_clock_alone_max", "us", clock_max_us());
        bench_value_print(bench, "grow_snapshots", "count", (double)stall.snapshot_count / samples);
        bench_value_print(
            bench, "grow_snapshots_given_up", "count", (double)stall.given_up_count / samples);
        bench_value_print(bench, "grow_cleaned", "MiB",
            (double)stall.cleaned_bytes / (double)(1 << 20) / samples);
    }
    return status;
}

uint32_t bench_heap_stall(struct bench *bench, struct cistern_error *error)
{
    struct stall_times *times = cistern_allocate_zeroed(1, sizeof *times);
    if (times == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "stall", "no memory for a histogram");
    }
    uint32_t status = stall_measure(bench, times, error);
    cistern_release(times);
    return status;
}
