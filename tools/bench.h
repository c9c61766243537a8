/*
 * bench.h -- the harness of `cistern bench`: a case is measured BENCH_SAMPLES times, its median and
 * spread are printed.
 *
 * Threads: main only; a case may start its own.
 */
#ifndef CISTERN_BENCH_H
#define CISTERN_BENCH_H

#include "option.h"

#include "cistern/backend.h"
#include "cistern/io.h"

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
    uint64_t seconds; /* for the whole of one case, about */
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
};
/* One case: its samples are sorted here. peer: NULL = none. Higher is better when unit says "per
 *           second". */
void bench_print(struct bench *bench, const char *name, const char *unit,
    double samples[BENCH_SAMPLES], const char *peer, double *peer_samples);
int64_t bench_sample_ns(const struct bench *bench); /* how long one sample should run */
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
CISTERN_MUST_USE uint32_t bench_heap(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_rocks(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_checkpoint(struct bench *bench, struct cistern_error *error);
CISTERN_MUST_USE uint32_t bench_io(struct bench *bench, struct cistern_error *error);

#endif
