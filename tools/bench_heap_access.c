/*
 * bench_heap_access.c -- get, put and add of entries that are there, in random order, beside the
 * peers.
 *
 * Ours makes its addresses inside the measured loop, as a host does; whoever reads a value reads
 * its first word.
 */
#include "bench_heap.h"
#include "bench_peer.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

#define WORK_NS 83.0 /* of the user, per record */
#define WORK_AHEAD 16u
#define CALIBRATION_ROUNDS 4000000u

struct arm { /* one way to reach ours */
    struct bench_heap *heap;
    struct cistern_state *state;
    uint32_t batch;
    uint32_t rounds; /* of user work per record */
    uint64_t sum;    /* of the words read: so that they are */
    struct cistern_address addresses[CISTERN_BATCH_COUNT_MAX];
    struct cistern_span spans[CISTERN_BATCH_COUNT_MAX];
};
struct peer_arm {
    struct peer *peer;
    uint32_t rounds;
    uint64_t sum;
};
struct access { /* what every case of this file works on */
    struct bench *bench;
    struct bench_heap heap;
    struct cistern_state *sums;
    struct arm ours;
    struct peer_arm peers[PEER_KIND_COUNT];
};

/* ---- ours ---- */

static inline uint64_t first_word(struct cistern_span value)
{
    uint64_t word = 0;
    if (value.data != NULL) {
        memcpy(&word, value.data, sizeof word);
    }
    return word;
}

static inline void address_set(struct cistern_address *address, const uint8_t *key)
{
    address->key.data = key;
    address->key_group = bench_key_group(key);
}

static uint32_t get_single(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    struct arm *arm = arg;
    struct cistern_address address = {.key.bytes = BENCH_KEY_BYTES};
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        struct cistern_span value;
        address_set(&address, block->keys[i]);
        status = cistern_value_get(arm->state, &address, &value, error);
        arm->sum += status == CISTERN_OK ? first_word(value) : 0;
    }
    return status;
}

static uint32_t put_single(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    struct arm *arm = arg;
    struct cistern_address address = {.key.bytes = BENCH_KEY_BYTES};
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        address_set(&address, block->keys[i]);
        status = cistern_value_put(arm->state, &address,
            (struct cistern_span){block->values[i], BENCH_VALUE_BYTES}, error);
    }
    return status;
}

static inline uint32_t next_batch(
    struct arm *arm, const struct bench_block *block, uint32_t from, uint32_t count)
{
    uint32_t items = count - from < arm->batch ? count - from : arm->batch;
    for (uint32_t i = 0; i < items; i++) {
        address_set(&arm->addresses[i], block->keys[from + i]);
    }
    return items;
}

static uint32_t get_batches(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    struct arm *arm = arg;
    uint32_t status = CISTERN_OK;
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += arm->batch) {
        uint32_t items = next_batch(arm, block, from, count);
        status = cistern_value_get_many(arm->state, arm->addresses, items, arm->spans, error);
        for (uint32_t i = 0; i < items && status == CISTERN_OK; i++) {
            arm->sum += first_word(arm->spans[i]);
        }
    }
    return status;
}

static uint32_t get_batches_and_work(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    struct arm *arm = arg;
    uint32_t status = CISTERN_OK;
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += arm->batch) {
        uint32_t items = next_batch(arm, block, from, count);
        status = cistern_value_get_many(arm->state, arm->addresses, items, arm->spans, error);
        for (uint32_t i = 0; i < items && status == CISTERN_OK; i++) {
            arm->sum += peer_user_work(first_word(arm->spans[i]), arm->rounds);
        }
    }
    return status;
}

static uint32_t put_batches(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    struct arm *arm = arg;
    uint32_t status = CISTERN_OK;
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += arm->batch) {
        uint32_t items = next_batch(arm, block, from, count);
        for (uint32_t i = 0; i < items; i++) {
            arm->spans[i] = (struct cistern_span){block->values[from + i], BENCH_VALUE_BYTES};
        }
        uint32_t done;
        status =
            cistern_value_put_many(arm->state, arm->addresses, arm->spans, items, &done, error);
    }
    return status;
}

static uint32_t add_batches(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    struct arm *arm = arg;
    uint32_t status = CISTERN_OK;
    for (uint32_t from = 0; from < count && status == CISTERN_OK; from += arm->batch) {
        uint32_t items = next_batch(arm, block, from, count);
        for (uint32_t i = 0; i < items; i++) {
            arm->spans[i] = (struct cistern_span){block->values[from + i], 8};
        }
        uint32_t done;
        status =
            cistern_value_add_many(arm->state, arm->addresses, arm->spans, items, &done, error);
    }
    return status;
}

/* ---- the peers ---- */

static uint32_t peer_get_run(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    (void)error;
    struct peer_arm *arm = arg;
    arm->sum += peer_get(arm->peer, block->keys, count);
    return CISTERN_OK;
}

static uint32_t peer_work_run(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    (void)error;
    struct peer_arm *arm = arg;
    arm->sum += peer_get_and_work(arm->peer, block->keys, count, arm->rounds);
    return CISTERN_OK;
}

static uint32_t peer_put_run(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error)
{
    struct peer_arm *arm = arg;
    return peer_put(arm->peer, block->keys, block->values, count)
               ? CISTERN_OK
               : cistern_fail(error, CISTERN_NO_MEMORY, "peer", "no memory for the peer's table");
}

/* ---- cases ---- */

typedef uint32_t (*run_fn)(
    void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error);

static uint32_t contest(struct access *access, run_fn ours, run_fn theirs, uint32_t batch,
    struct bench_result *result, struct cistern_error *error)
{
    struct bench_contender contenders[1 + PEER_KIND_COUNT] = {{NULL, ours, &access->ours}};
    access->ours.batch = batch;
    uint32_t count = 1;
    for (uint32_t i = 0; i < PEER_KIND_COUNT && theirs != NULL; i++) {
        contenders[count++] = (struct bench_contender){peer_name(i), theirs, &access->peers[i]};
    }
    return bench_contest(access->bench, contenders, count, result, error);
}

static uint32_t case_measure(struct access *access, const char *name, run_fn ours, run_fn theirs,
    uint32_t batch, struct cistern_error *error)
{
    struct bench_result result = {.name = name};
    uint32_t status = contest(access, ours, theirs, batch, &result, error);
    if (status == CISTERN_OK) {
        bench_result_print(access->bench, &result);
    }
    return status;
}

/* Rounds of user work that take WORK_NS, one record after the other. */
static uint32_t work_calibrate(double *ret_round_ns)
{
    volatile uint64_t sink = 1;
    double best = 1e9;
    for (uint32_t i = 0; i < BENCH_SAMPLES; i++) {
        int64_t begin_ns = bench_cpu_ns();
        sink = peer_user_work(sink, CALIBRATION_ROUNDS);
        double round_ns = (double)(bench_cpu_ns() - begin_ns) / CALIBRATION_ROUNDS;
        best = round_ns < best ? round_ns : best;
    }
    *ret_round_ns = best;
    return (uint32_t)(WORK_NS / best + 0.5);
}

/* Samples as rates of whole records, less the work: what the state costs in them. */
static void series_without_work(struct bench_series *series, double work_ns)
{
    for (uint32_t i = 0; i < series->count; i++) {
        double state_ns = 1000 / series->values[i] - work_ns;
        series->values[i] = state_ns > 1 ? 1000 / state_ns : 1000;
    }
}

static uint32_t work_measure(struct access *access, struct cistern_error *error)
{
    double round_ns;
    uint32_t rounds = work_calibrate(&round_ns);
    access->ours.rounds = rounds;
    for (uint32_t i = 0; i < PEER_KIND_COUNT; i++) {
        access->peers[i].rounds = rounds;
    }
    struct bench_result result = {.name = "get_16_with_83ns_of_work"};
    uint32_t status =
        contest(access, get_batches_and_work, peer_work_run, WORK_AHEAD, &result, error);
    if (status == CISTERN_OK) {
        bench_result_print(access->bench, &result);
        result.name = "get_16_with_work_less_work";
        series_without_work(&result.ours, rounds * round_ns);
        for (uint32_t i = 0; i < result.peer_count; i++) {
            series_without_work(&result.peers[i], rounds * round_ns);
        }
        bench_result_print(access->bench, &result);
    }
    return status;
}

static uint32_t access_measure(struct access *access, struct cistern_error *error)
{
    static const struct {
        const char *name;
        run_fn ours;
        run_fn theirs;
        uint32_t batch;
    } cases[] = {
        {"get", get_single, peer_get_run, 1},
        {"get_many_16", get_batches, peer_get_run, 16},
        {"get_many_64", get_batches, peer_get_run, 64},
        {"get_many_1024", get_batches, peer_get_run, 1024},
        {"put", put_single, peer_put_run, 1},
        {"put_many_16", put_batches, peer_put_run, 16},
        {"put_many_64", put_batches, peer_put_run, 64},
    };
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0] && status == CISTERN_OK; i++) {
        status = case_measure(
            access, cases[i].name, cases[i].ours, cases[i].theirs, cases[i].batch, error);
    }
    return status == CISTERN_OK ? work_measure(access, error) : status;
}

static uint32_t add_measure(struct access *access, struct cistern_error *error)
{
    const struct cistern_state_descriptor sum = {.name = "sum",
        .kind = CISTERN_REDUCING,
        .key_bytes = BENCH_KEY_BYTES,
        .value_bytes = 8,
        .reduce = CISTERN_REDUCE_SUM_I64};
    struct bench_block *block = cistern_allocate_zeroed(1, sizeof *block);
    if (block == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "add", "no memory for a block");
    }
    access->ours.batch = 64;
    uint32_t status =
        cistern_state_register(access->heap.backend, &sum, &access->ours.state, error);
    for (uint64_t at = 0; at < access->bench->entries && status == CISTERN_OK; at += BENCH_BLOCK) {
        bench_block_sequence(block, at); /* up to a block more than are asked for */
        status = add_batches(&access->ours, block, BENCH_BLOCK, error);
    }
    cistern_release(block);
    return status == CISTERN_OK ? case_measure(access, "add_many_64", add_batches, NULL, 64, error)
                                : status;
}

static uint32_t peers_fill(struct access *access, struct cistern_error *error)
{
    uint32_t huge = strcmp(access->bench->settings->pages, "huge") == 0;
    struct bench_block *block = cistern_allocate_zeroed(1, sizeof *block);
    uint32_t status = block != NULL ? CISTERN_OK : CISTERN_NO_MEMORY;
    for (uint32_t i = 0; i < PEER_KIND_COUNT && status == CISTERN_OK; i++) {
        access->peers[i].peer = peer_create(i, huge);
        status = access->peers[i].peer != NULL ? CISTERN_OK : CISTERN_NO_MEMORY;
    }
    for (uint64_t at = 0; at < access->bench->entries && status == CISTERN_OK; at += BENCH_BLOCK) {
        bench_block_sequence(block, at);
        uint64_t left = access->bench->entries - at;
        for (uint32_t i = 0; i < PEER_KIND_COUNT && status == CISTERN_OK; i++) {
            status = peer_put_run(
                &access->peers[i], block, left < BENCH_BLOCK ? (uint32_t)left : BENCH_BLOCK, error);
        }
    }
    cistern_release(block);
    return status == CISTERN_NO_MEMORY
               ? cistern_fail(error, status, "peer", "no memory for the peers' tables")
               : status;
}

uint32_t bench_heap_access(struct bench *bench, struct cistern_error *error)
{
    const struct bench_heap_options options = {0};
    struct access *access = cistern_allocate_zeroed(1, sizeof *access);
    if (access == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "access", "no memory for the addresses");
    }
    access->bench = bench;
    for (uint32_t i = 0; i < CISTERN_BATCH_COUNT_MAX; i++) {
        access->ours.addresses[i].key.bytes = BENCH_KEY_BYTES;
    }
    uint32_t status = bench_heap_open(bench, &options, &access->heap, error);
    if (status == CISTERN_OK) {
        access->ours.state = access->heap.values;
        status = bench_heap_fill(&access->heap, error);
        status = status == CISTERN_OK ? peers_fill(access, error) : status;
        status = status == CISTERN_OK ? access_measure(access, error) : status;
        status = status == CISTERN_OK ? add_measure(access, error) : status;
        status = bench_heap_close(&access->heap, status, error);
    }
    for (uint32_t i = 0; i < PEER_KIND_COUNT; i++) {
        peer_destroy(access->peers[i].peer);
    }
    cistern_release(access);
    return status;
}
