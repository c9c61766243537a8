/*
 * bench_flink.h -- the state workloads of flink-benchmarks: 500,000 Long keys, each visited once
 * per 500,000 operations in an order that was shuffled once; as its micro-benchmarks do it.
 *
 * A kind of state is a file: it makes its states, fills them, and has one function per operation.
 * Threads: one.
 */
#ifndef CISTERN_BENCH_FLINK_H
#define CISTERN_BENCH_FLINK_H

#include "bench.h"

#define FLINK_KEY_COUNT 500000u    /* of set-up keys, and of new ones */
#define FLINK_VALUE_COUNT 1000000u /* random values */
#define FLINK_LONG_BYTES 8u        /* a Long as LongSerializer writes it */
#define FLINK_GROUP_COUNT 128u
#define FLINK_BATCH 16u /* of the cases whose name ends with it: a host that takes records so */

struct flink {
    struct bench *bench;
    struct cistern_backend *backend;
    struct cistern_state *state; /* of the kind at hand */
    uint64_t *setup_keys;        /* [FLINK_KEY_COUNT] 0 .. 499,999, shuffled */
    uint64_t *new_keys;          /* [FLINK_KEY_COUNT] 500,000 .. 999,999, shuffled */
    uint64_t *values;            /* [FLINK_VALUE_COUNT] 0 .. 999,999, shuffled */
    uint64_t sum;                /* of what was read: so that it is */
};

/* Operations first .. first + count - 1 of a case. */
typedef uint32_t (*flink_run_fn)(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error);
struct flink_case {
    const char *name;
    flink_run_fn run;
    /* 0: as many as its time allows; else what a sample does, because an operation can be done
     * once per key (add, remove) */
    uint32_t sample_operations;
    uint32_t unit_count; /* what an operation counts as; 0 = 1 */
    /* Million per second of Flink, on another machine: heap with G1, with the Parallel collector
     * (0 = not measured), RocksDB. Source: reference sheet, section 1.1 */
    double heap_g1;
    double heap_parallel;
    double rocksdb;
};
struct flink_kind {
    const char *name;
    /* UNSUPPORTED: the backend does not hold this kind. */
    uint32_t (*prepare)(struct flink *flink, struct cistern_error *error);
    const struct flink_case *cases;
    uint32_t case_count;
};
extern const struct flink_kind flink_value_kind;
extern const struct flink_kind flink_list_kind;
extern const struct flink_kind flink_map_kind;

/* NOT_FOUND with a message: what was put is not there, so the case measures something else. */
CISTERN_MUST_USE uint32_t flink_missing(const struct flink *flink, struct cistern_error *error);

/* What a host does before each operation: the key's bytes and its group, as Flink's
 * setCurrentKey() does (Long.hashCode(), murmur). `bytes` stays the address's. */
static inline void flink_address(
    struct cistern_address *address, uint8_t bytes[FLINK_LONG_BYTES], uint64_t key)
{
    for (uint32_t i = 0; i < FLINK_LONG_BYTES; i++) {
        bytes[i] = (uint8_t)(key >> (56 - 8 * i));
    }
    address->key = (struct cistern_span){bytes, FLINK_LONG_BYTES};
    address->key_group = cistern_key_group_java((uint32_t)(key ^ key >> 32), FLINK_GROUP_COUNT);
}

static inline uint64_t flink_word(struct cistern_span value)
{
    uint64_t word = 0;
    for (uint32_t i = 0; i < FLINK_LONG_BYTES && value.data != NULL; i++) {
        word = word << 8 | ((const uint8_t *)value.data)[i];
    }
    return word;
}

#endif
