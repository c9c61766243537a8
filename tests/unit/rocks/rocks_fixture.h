/*
 * rocks_fixture.h -- what tests of rocks/ share: a pool with slots, a backend in a directory of its
 * own, a source that hands out what a snapshot gave, and a model of the state as an array.
 */
#ifndef CISTERN_TEST_ROCKS_FIXTURE_H
#define CISTERN_TEST_ROCKS_FIXTURE_H

#include "cistern/backend.h"
#include "cistern/pool.h"
#include "cistern/rocks.h"
#include "cistern/snapshot.h"
#include "test.h"

#define FIXTURE_PATH_MAX 512
#define FIXTURE_PARTS_MAX 400

struct fixture {
    struct cistern_pool *pool;
    struct cistern_slot *slots[4];
    uint32_t slot_count;
    char root[FIXTURE_PATH_MAX]; /* a fresh directory; removed at the end */
    struct cistern_error error;
};

void fixture_open(
    struct fixture *fixture, uint64_t budget_bytes, uint32_t slot_count, uint32_t accounting);
void fixture_close(struct fixture *fixture);
/* "<root>/<name>" in one of a few static buffers. */
const char *fixture_path(const struct fixture *fixture, const char *name);
/* A backend for groups [first, last] of max_parallelism on slot index, in <root>/<name>. */
struct cistern_backend *fixture_backend(struct fixture *fixture, uint32_t slot, const char *name,
    uint32_t max_parallelism, uint32_t first, uint32_t last);
struct cistern_state *fixture_state(struct fixture *fixture, struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor);

struct taken_part {
    struct cistern_part part;
    char path[FIXTURE_PATH_MAX];
    char name[64];
};
struct taken { /* what one snapshot gave, kept in a directory */
    uint32_t part_count;
    struct taken_part parts[FIXTURE_PARTS_MAX];
};
/* Waits until it is ready, links files, copies streams into <root>/<name>; releases the
 * snapshot. */
struct taken *fixture_take(
    struct fixture *fixture, struct cistern_snapshot *snapshot, const char *name);
struct cistern_snapshot *fixture_begin(
    struct fixture *fixture, struct cistern_backend *backend, uint64_t id, uint32_t kind);

struct test_source {
    struct cistern_source source;
    struct taken **slices;
    uint32_t slice;
    uint32_t next; /* part of the slice */
    const struct taken_part *current;
};
void test_source_init(
    struct test_source *source, const char *backend, struct taken **slices, uint32_t slice_count);

/* The address of entry `index`: an 8-byte key; group by the index; buffers live in the caller's
 * storage. */
struct test_address {
    uint8_t key[16];
    uint8_t name_space[8];
};
struct cistern_address fixture_address(
    struct test_address *storage, uint64_t index, uint32_t max_parallelism);

#endif
