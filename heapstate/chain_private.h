/*
 * chain_private.h -- what the heap remembers of checkpoints it took: their epoch and the files
 * they consist of.
 *
 * A record can be the base of an increment until it is discarded, subsumed or overtaken by a
 * younger confirmed one. Stamps, dirty lists and tombstones younger than confirmed_epoch must be
 * kept; older ones mean nothing any more.
 * Threads: owner only. Bound: CHAIN_RECORDS_MAX records; when a further one is needed the oldest
 *          is forgotten, which costs a full snapshot at most.
 */
#ifndef CISTERN_HEAPSTATE_CHAIN_PRIVATE_H
#define CISTERN_HEAPSTATE_CHAIN_PRIVATE_H

#include "cistern/snapshot.h"

#define CHAIN_RECORDS_MAX 64u
/* Mostly the bytes end a chain: above the live bytes a new base is taken. */
#define CHAIN_INCREMENTS_MAX 128u
#define CHAIN_PARTS_MAX (CHAIN_INCREMENTS_MAX + 1u)

struct chain_part {
    uint8_t origin[CISTERN_ORIGIN_BYTES];
    uint64_t bytes;
    uint32_t role;
};

struct chain_record {
    uint64_t checkpoint_id;
    uint64_t epoch;      /* entries with a younger stamp are not in it */
    uint32_t complete;   /* its stream was read to the end */
    uint32_t part_count; /* base, increments in order; the last is its own stream */
    struct chain_part parts[CHAIN_PARTS_MAX];
};

struct chain {
    struct chain_record *records[CHAIN_RECORDS_MAX]; /* in order of epoch */
    uint32_t record_count;
    uint64_t confirmed_epoch; /* 0 = none */
    uint64_t confirmed_id;
    uint64_t origin_head[2]; /* random, of this backend's life */
    uint64_t origin_sequence;
};

void chain_init(struct chain *chain);
void chain_deinit(struct chain *chain);
/* The record an increment may be based on: complete and not older than the last confirmed one;
 * else NULL. */
struct chain_record *chain_base(struct chain *chain, uint64_t checkpoint_id);
/* A new record whose last part is a file with a new origin; base == NULL: its only part. NULL
 * when there is no memory. */
struct chain_record *chain_add(struct chain *chain, uint64_t checkpoint_id, uint64_t epoch,
    uint32_t role, const struct chain_record *base);
/* A file id that no other backend, life or snapshot has. */
void chain_origin(struct chain *chain, uint8_t ret_origin[CISTERN_ORIGIN_BYTES]);
void chain_complete(struct chain *chain, uint64_t checkpoint_id, uint64_t stream_bytes);
/* 1 when confirmed_epoch rose. */
int chain_notify(struct chain *chain, uint64_t checkpoint_id, uint32_t outcome);
/* No increment can be based on anything taken so far. */
void chain_forget(struct chain *chain);
/* Bytes of the increments of a record. */
uint64_t chain_increment_bytes(const struct chain_record *record);

#endif
