/*
 * support.h -- what the heap tests share: a pool with one slot and a heap in it, a model of the
 * state, and a vault that keeps the files of snapshots and feeds them back as a cistern_source.
 *
 * Keys are numbers: test_key() makes bytes of them, every third in a namespace. The model is an
 *                   array by key number.
 */
#ifndef CISTERN_HEAPSTATE_SUPPORT_H
#define CISTERN_HEAPSTATE_SUPPORT_H

#include "heap_private.h"
#include "test.h"

#define TEST_MAX_PARALLELISM 128u
#define TEST_VALUE_BYTES_MAX 512u

struct rig {
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    struct cistern_backend *backend;
    struct cistern_state *state;
    struct cistern_error error;
};
/* A pool with one slot of `limit` bytes and an open heap that owns `range`, without states. */
void rig_open(struct rig *rig, uint64_t limit, struct cistern_key_group_range range);
void rig_register(struct rig *rig, const struct cistern_state_descriptor *descriptor);
/* A variable-size VALUE state "s" in a heap that owns all groups. */
void rig_open_value(struct rig *rig, uint64_t limit);
void rig_close(struct rig *rig);
struct heap *rig_heap(struct rig *rig);

struct test_key { /* an address made of a number; spans point into it */
    struct cistern_address address;
    uint8_t key[24];
    uint8_t name_space[8];
};
void test_key_make(struct test_key *key, uint32_t number);
/* Bytes of a value of `bytes` bytes that only this key and seed have. */
void test_value_fill(uint8_t *value, uint32_t bytes, uint32_t number, uint32_t seed);

struct model_item {
    uint32_t present;
    uint32_t bytes;
    uint32_t seed;
};
struct model {
    uint32_t count;
    struct model_item *items;
};
void model_init(struct model *model, uint32_t count);
void model_copy(struct model *to, const struct model *from);
void model_deinit(struct model *model);
/* Puts into both. Returns the status; on LIMIT the model is untouched. */
uint32_t model_put(
    struct model *model, struct rig *rig, uint32_t number, uint32_t bytes, uint32_t seed);
uint32_t model_remove(struct model *model, struct rig *rig, uint32_t number);
/* Every key, by get_many, and the number of entries; groups outside [first, last] must be
 * absent. */
void model_check(const struct model *model, struct rig *rig, struct cistern_key_group_range range);

#define VAULT_FILES_MAX 512u
#define STORED_PARTS_MAX 160u
struct vault_file {
    uint8_t origin[CISTERN_ORIGIN_BYTES];
    uint32_t role;
    uint64_t bytes;
    uint8_t *data;
};
struct vault {
    struct vault_file files[VAULT_FILES_MAX];
    uint32_t file_count;
};
struct stored { /* a checkpoint of one slot: indexes into the vault */
    uint64_t checkpoint_id;
    uint32_t parts[STORED_PARTS_MAX];
    uint32_t part_count;
    uint64_t new_bytes; /* of its own stream */
    uint32_t new_role;
};
void vault_deinit(struct vault *vault);
struct cistern_snapshot *snapshot_begin(struct rig *rig, uint64_t id, uint64_t base, uint32_t kind);
/* Pulls all parts into the vault and releases the snapshot. step: bytes per read. Returns the
 * status of the first failure. */
uint32_t vault_take(struct vault *vault, struct cistern_snapshot *snapshot, uint64_t step,
    struct stored *ret_stored, struct cistern_error *error);
/* begin + take, asserting success. */
void vault_snapshot(struct vault *vault, struct rig *rig, uint64_t id, uint64_t base, uint32_t kind,
    struct stored *ret_stored);
/* Restores slices (one stored checkpoint per old slot) into a rig that is open and empty. */
uint32_t vault_restore(const struct vault *vault, const struct stored *slices, uint32_t slice_count,
    const char *backend, struct rig *rig);

#endif
