/*
 * bench.h -- the harness of `cistern bench`: a case is measured some times, its median and spread
 * are printed.
 *
 * Threads: main only; a case may start its own.
 */
#ifndef CISTERN_BENCH_H
#define CISTERN_BENCH_H

#include "option.h"

#include "cistern/backend.h"
#include "cistern/io.h"
#include "cistern/snapshot.h"

#define BENCH_SAMPLES 5u

/* 16-byte keys and 32-byte values of entry i, scattered; the same for every backend. */
#define BENCH_KEY_BYTES 16u
#define BENCH_VALUE_BYTES 32u
#define BENCH_BATCH 256u
struct bench_batch {
    uint8_t keys[BENCH_BATCH][BENCH_KEY_BYTES];
    uint8_t values[BENCH_BATCH][BENCH_VALUE_BYTES];
    struct cistern_address addresses[BENCH_BATCH];
    struct cistern_span spans[BENCH_BATCH];
    struct cistern_span results[BENCH_BATCH];
};
enum bench_verb { BENCH_PUT, BENCH_GET, BENCH_ADD };

struct bench_settings {
    struct option_settings base;
    uint32_t json;
    const char *directory;
    const char *pages; /* "huge" or "small": of the heap and of what stands beside it */
    const char *part;  /* of the heap suite; NULL = all */
    uint64_t seconds;  /* for the whole of one case, about */
    struct option_list entries;
};
struct bench {
    const struct bench_settings *settings;
    const char *suite;
    uint64_t entries;    /* of this round */
    uint32_t cases;      /* printed so far */
    char directory[512]; /* scratch; "" = the suite needs none */
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    /* Runs one batch on the peer that is measured beside ours, in turn; NULL = none. */
    uint32_t (*peer)(
        void *arg, uint32_t verb, const struct bench_batch *batch, struct cistern_error *error);
    void *peer_arg;
    const char *peer_name;
    const char *build; /* which build of a library the figures speak of; NULL = only ours */
};
/* One case: its samples are sorted here. peer: NULL = none. Higher is better when unit says "per
 *           second". */
void bench_print(struct bench *bench, const char *name, const char *unit,
    double samples[BENCH_SAMPLES], const char *peer, double *peer_samples);
int64_t bench_sample_ns(const struct bench *bench); /* how long one sample should run */
int64_t bench_cpu_ns(void);                         /* the calling thread's CPU time */
int64_t bench_process_cpu_ns(void);                 /* of all its threads */
uint64_t bench_rss_bytes(void);                     /* resident, exact; 0 = not to be had */

/* ---- results with several peers, and with figures measured elsewhere (bench_result.c) ---- */

#define BENCH_PEERS_MAX 2u
#define BENCH_REFERENCES_MAX 2u
struct bench_series {
    double values[BENCH_SAMPLES];
    uint32_t count; /* 1..BENCH_SAMPLES */
};
struct bench_reference { /* not of this machine or this run */
    const char *name;    /* NULL = none */
    double value;        /* in the case's unit */
};
struct bench_result {
    const char *name;
    const char *unit;
    struct bench_series ours;
    const char *peer_names[BENCH_PEERS_MAX];
    struct bench_series peers[BENCH_PEERS_MAX];
    uint32_t peer_count;
    struct bench_reference references[BENCH_REFERENCES_MAX];
};
/* Sorts the series. The first peer is JSON's `peer`, all are in `peers`; references likewise. */
void bench_result_print(struct bench *bench, struct bench_result *result);
void bench_series_add(struct bench_series *series, double value);
double bench_series_median(const struct bench_series *series); /* sorts nothing */
/* One value and nothing beside it. */
void bench_value_print(struct bench *bench, const char *name, const char *unit, double value);

/* ---- a load of random keys, run by contenders in turn (bench_load.c) ---- */

#define BENCH_BLOCK 2048u
struct bench_block { /* what a contender works on between two looks at the clock */
    uint64_t ids[BENCH_BLOCK];
    uint8_t keys[BENCH_BLOCK][BENCH_KEY_BYTES];
    uint8_t values[BENCH_BLOCK][BENCH_VALUE_BYTES];
};
void bench_key_make(uint8_t key[BENCH_KEY_BYTES], uint64_t id);
/* Block number `at` of a random sequence over ids 0 .. entries - 1. */
void bench_block_random(struct bench_block *block, uint64_t at, uint64_t entries);
/* Ids first, first + 1, ...: each once. */
void bench_block_sequence(struct bench_block *block, uint64_t first);
/* The caller's part: a host computes its groups. These keys carry theirs. */
static inline uint32_t bench_key_group(const uint8_t key[BENCH_KEY_BYTES])
{
    return key[BENCH_KEY_BYTES - 1] & 127u;
}

struct bench_contender {
    const char *name; /* NULL = ours */
    uint32_t (*run)(
        void *arg, const struct bench_block *block, uint32_t count, struct cistern_error *error);
    void *arg;
};
/* Each contender in turn, BENCH_SAMPLES times, the same random keys for all; Mop/s of the
 * thread's CPU time. The first is ours. */
CISTERN_MUST_USE uint32_t bench_contest(struct bench *bench,
    const struct bench_contender *contenders, uint32_t count, struct bench_result *result,
    struct cistern_error *error);
/* A pool of one slot under GUEST accounting. */
CISTERN_MUST_USE uint32_t bench_pool_open(
    struct bench *bench, uint64_t budget_bytes, uint32_t slot_count, struct cistern_error *error);
void bench_pool_close(struct bench *bench);

void bench_batch_fill(struct bench_batch *batch, uint64_t first, uint64_t entries);
uint64_t bench_scatter(uint64_t i); /* a bijection of 64 bits */
/* put, get, add through `backend`, named "<prefix>_put" ...; fills it with bench->entries first. */
CISTERN_MUST_USE uint32_t bench_backend(
    struct bench *bench, struct cistern_backend *backend, struct cistern_error *error);

CISTERN_MUST_USE uint32_t bench_memory(struct bench *bench, struct cistern_error *error);
/* Cases of the memory suite. What permission costs. */
CISTERN_MUST_USE uint32_t bench_charge(struct bench *bench, struct cistern_error *error);
/* A store at its limit while sizes change. */
CISTERN_MUST_USE uint32_t bench_drift(struct bench *bench, struct cistern_error *error);
/* A slot takes back what it lent. */
CISTERN_MUST_USE uint32_t bench_loan(struct bench *bench, struct cistern_error *error);
/* A page of managed memory, recycled and fresh. */
CISTERN_MUST_USE uint32_t bench_pages(struct bench *bench, struct cistern_error *error);
/* The state workloads of flink-benchmarks (bench_flink.c), through any backend that is empty. */
CISTERN_MUST_USE uint32_t bench_flink(
    struct bench *bench, struct cistern_backend *backend, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_heap(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_rocks(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_checkpoint(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_io(struct bench *bench, struct cistern_error *error);

#endif
