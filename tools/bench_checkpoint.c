/* bench_checkpoint.c -- whole checkpoints of a heap backend into a directory: begin, upload,
 * publish; full, and with 1 % changed. */
#include "bench.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/heap.h"
#include "cistern/writer.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define BYTES_PER_ENTRY 160u
#define BUDGET_BASE ((uint64_t)64 << 20)
#define WALK_DEPTH 16

struct landing { /* of one upload */
    pthread_mutex_t lock;
    pthread_cond_t landed;
    uint32_t done;
    uint32_t status;
    uint64_t bytes;
    uint64_t slice_bytes;
    uint8_t slice[CISTERN_SLICE_BYTES_MAX];
    struct cistern_error error;
};
struct cycle { /* what one checkpoint took */
    double begin_us;
    double upload_mib_per_second;
    double publish_ms;
};
struct subject {
    struct cistern_backend *backend;
    struct cistern_state *state;
    struct cistern_writer *writer;
    struct landing *landing;
    uint64_t id; /* of the last checkpoint */
};

static void upload_done(void *arg, const struct cistern_upload_result *result)
{
    struct landing *landing = arg;
    pthread_mutex_lock(&landing->lock);
    landing->status = result->status;
    landing->bytes = result->uploaded_bytes;
    if (result->status == CISTERN_OK) {
        landing->slice_bytes = result->slice.bytes;
        memcpy(landing->slice, result->slice.data, result->slice.bytes);
    } else if (result->error != NULL) {
        landing->error = *result->error;
    }
    landing->done = 1;
    pthread_cond_signal(&landing->landed);
    pthread_mutex_unlock(&landing->lock);
}

static uint32_t upload_run(struct subject *subject, uint32_t kind, uint64_t base_id,
    struct cycle *cycle, struct cistern_error *error)
{
    struct landing *landing = subject->landing;
    struct cistern_snapshot_request request = {.checkpoint_id = subject->id,
        .base_checkpoint_id = base_id,
        .kind = kind,
        .ready = cistern_writer_ready,
        .ready_arg = subject->writer};
    struct cistern_upload_options options = {.kind = kind,
        .checkpoint_id = subject->id,
        .base_checkpoint_id = base_id,
        .range = {0, 127},
        .backend = "heap",
        .done = upload_done,
        .arg = landing};
    struct cistern_snapshot *snapshot = NULL;
    struct cistern_upload *upload = NULL;
    landing->done = 0;
    int64_t begin_ns = cistern_now_ns();
    uint32_t status = cistern_snapshot_begin(subject->backend, &request, &snapshot, error);
    cycle->begin_us = (double)(cistern_now_ns() - begin_ns) / 1e3;
    if (status == CISTERN_OK) {
        begin_ns = cistern_now_ns();
        status = cistern_upload_begin(subject->writer, snapshot, &options, &upload, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    pthread_mutex_lock(&landing->lock);
    while (!landing->done) {
        pthread_cond_wait(&landing->landed, &landing->lock);
    }
    pthread_mutex_unlock(&landing->lock);
    cycle->upload_mib_per_second =
        (double)landing->bytes / (1 << 20) * 1e9 / (double)(cistern_now_ns() - begin_ns);
    if (landing->status != CISTERN_OK && error != NULL) {
        *error = landing->error;
    }
    return landing->status;
}

static uint32_t cycle_run(
    struct subject *subject, uint32_t kind, struct cycle *cycle, struct cistern_error *error)
{
    uint64_t base_id = kind == CISTERN_SNAPSHOT_INCREMENT ? subject->id : 0;
    uint64_t previous = subject->id++;
    uint32_t status = upload_run(subject, kind, base_id, cycle, error);
    if (status == CISTERN_OK) {
        struct cistern_span slice = {subject->landing->slice, subject->landing->slice_bytes};
        struct cistern_publish publish = {.checkpoint_id = subject->id,
            .base_checkpoint_id = base_id,
            .kind = kind,
            .slice_count = 1,
            .slices = &slice,
            .operator_name = "bench"};
        int64_t begin_ns = cistern_now_ns();
        status = cistern_writer_publish(subject->writer, &publish, error);
        cycle->publish_ms = (double)(cistern_now_ns() - begin_ns) / 1e6;
    }
    if (status == CISTERN_OK) {
        cistern_backend_notify(subject->backend, subject->id, CISTERN_CONFIRMED);
        if (previous != 0) {
            status = cistern_writer_retire(subject->writer, previous, error);
            cistern_backend_notify(subject->backend, previous, CISTERN_SUBSUMED);
        }
    }
    return status;
}

static uint32_t entries_put(struct bench *bench, struct subject *subject, uint64_t first,
    uint64_t count, uint8_t stamp, struct cistern_error *error)
{
    struct bench_batch *batch = cistern_allocate_zeroed(1, sizeof *batch);
    uint32_t status = batch != NULL
                          ? CISTERN_OK
                          : cistern_fail(error, CISTERN_NO_MEMORY, "fill", "no memory for a batch");
    for (uint64_t at = first; at < first + count && status == CISTERN_OK; at += BENCH_BATCH) {
        uint32_t done = 0;
        bench_batch_fill(batch, at, bench->entries);
        memset(batch->values, stamp, sizeof batch->values);
        status = cistern_value_put_many(
            subject->state, batch->addresses, batch->spans, BENCH_BATCH, &done, error);
    }
    cistern_release(batch);
    return status;
}

static uint32_t cycles_measure(
    struct bench *bench, struct subject *subject, uint32_t kind, struct cistern_error *error)
{
    double begin[BENCH_SAMPLES], upload[BENCH_SAMPLES], publish[BENCH_SAMPLES];
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        struct cycle cycle = {0};
        status = entries_put(bench, subject, i * bench->entries / BENCH_SAMPLES,
            bench->entries / 100, (uint8_t)(i + kind * 16), error);
        if (status == CISTERN_OK) {
            status = cycle_run(subject, kind, &cycle, error);
        }
        begin[i] = cycle.begin_us;
        upload[i] = cycle.upload_mib_per_second;
        publish[i] = cycle.publish_ms;
    }
    if (status == CISTERN_OK) {
        int full = kind == CISTERN_SNAPSHOT_FULL;
        bench_print(bench, full ? "full_begin" : "increment_begin", "us", begin, NULL, NULL);
        bench_print(bench, full ? "full_upload" : "increment_upload", "MiB/s", upload, NULL, NULL);
        bench_print(bench, full ? "full_publish" : "increment_publish", "ms", publish, NULL, NULL);
    }
    return status;
}

static uint32_t subject_measure(
    struct bench *bench, struct subject *subject, struct cistern_error *error)
{
    const struct cistern_state_descriptor value = {.name = "value",
        .kind = CISTERN_VALUE,
        .key_bytes = BENCH_KEY_BYTES,
        .value_bytes = BENCH_VALUE_BYTES};
    uint32_t status = cistern_state_register(subject->backend, &value, &subject->state, error);
    if (status == CISTERN_OK) {
        status = entries_put(bench, subject, 0, bench->entries, 255, error);
    }
    if (status == CISTERN_OK) {
        status = cycles_measure(bench, subject, CISTERN_SNAPSHOT_FULL, error);
    }
    return status == CISTERN_OK ? cycles_measure(bench, subject, CISTERN_SNAPSHOT_INCREMENT, error)
                                : status;
}

static int tree_remove(const char *path, const struct stat *stat_of, int type, struct FTW *walk)
{
    (void)stat_of;
    (void)type;
    return walk->level == 0 ? 0 : remove(path);
}

static uint32_t writer_open(struct bench *bench, struct cistern_io *io,
    struct cistern_store **ret_store, struct subject *subject, struct cistern_error *error)
{
    char root[600];
    snprintf(root, sizeof root, "%s/root", bench->directory);
    uint32_t status = cistern_store_open(io, root, 1, ret_store, error);
    if (status == CISTERN_OK) {
        struct cistern_writer_options options = {.job_name = "bench",
            .key_group_hash = "bytes-xxh3",
            .max_parallelism = 128,
            .slot_count = 1};
        status = cistern_writer_open(*ret_store, &options, &subject->writer, error);
    }
    return status;
}

uint32_t bench_checkpoint(struct bench *bench, struct cistern_error *error)
{
    struct subject subject = {.landing = cistern_allocate_zeroed(1, sizeof *subject.landing)};
    struct cistern_io *io = NULL;
    struct cistern_store *store = NULL;
    const struct cistern_io_options automatic = {0};
    struct cistern_heap_options heap = {.backend = {.max_parallelism = 128, .range = {0, 127}}};
    if (subject.landing == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "bench", "no memory for a slice");
    }
    pthread_mutex_init(&subject.landing->lock, NULL);
    pthread_cond_init(&subject.landing->landed, NULL);
    uint32_t status =
        bench_pool_open(bench, BUDGET_BASE + bench->entries * BYTES_PER_ENTRY, 1, error);
    if (status == CISTERN_OK) {
        status = cistern_io_create(bench->pool, &automatic, &io, error);
    }
    if (status == CISTERN_OK) {
        status = writer_open(bench, io, &store, &subject, error);
    }
    if (status == CISTERN_OK) {
        status = cistern_heap_open(bench->slot, &heap, &subject.backend, error);
    }
    if (status == CISTERN_OK) {
        status = subject_measure(bench, &subject, error);
        uint32_t closed =
            cistern_backend_close(subject.backend, status == CISTERN_OK ? error : NULL);
        status = status == CISTERN_OK ? closed : status;
    }
    cistern_writer_close(subject.writer);
    if (store != NULL) {
        cistern_store_close(store);
    }
    cistern_io_destroy(io);
    pthread_cond_destroy(&subject.landing->landed);
    pthread_mutex_destroy(&subject.landing->lock);
    cistern_release(subject.landing);
    (void)nftw(bench->directory, tree_remove, WALK_DEPTH, FTW_DEPTH | FTW_PHYS);
    return status;
}
