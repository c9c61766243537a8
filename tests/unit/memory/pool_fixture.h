/* pool_fixture.h -- a GUEST pool with one slot and one component, as most tests of memory/ need
 * it. */
#ifndef CISTERN_POOL_FIXTURE_H
#define CISTERN_POOL_FIXTURE_H

#include "test.h"

#include "cistern/alloc.h"
#include "cistern/pool.h"

#define FIXTURE_MIB (UINT64_C(1) << 20)

struct pool_fixture {
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    struct cistern_component *component;
    struct cistern_error error;
};

static inline void fixture_open(struct pool_fixture *fixture, uint64_t budget_bytes,
    uint64_t limit_bytes, uint64_t debt_max_bytes)
{
    struct cistern_pool_options pool_options = {.budget_bytes = budget_bytes, .slot_count_max = 2};
    assert_ok(cistern_pool_create(&pool_options, &fixture->pool, &fixture->error), fixture->error);
    struct cistern_slot_options slot_options = {
        .limit_bytes = limit_bytes, .debt_max_bytes = debt_max_bytes};
    assert_ok(cistern_slot_open(fixture->pool, &slot_options, &fixture->slot, &fixture->error),
        fixture->error);
    struct cistern_component_options component_options = {
        .name = "state", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_component_open(
                  fixture->slot, &component_options, &fixture->component, &fixture->error),
        fixture->error);
}

static inline void fixture_close(struct pool_fixture *fixture)
{
    cistern_component_close(fixture->component);
    assert_int_equal(cistern_slot_used_bytes(fixture->slot), 0);
    assert_ok(cistern_slot_close(fixture->slot, &fixture->error), fixture->error);
    assert_ok(cistern_pool_destroy(fixture->pool, &fixture->error), fixture->error);
    assert_int_equal(cistern_allocation_count(), 0);
}

#endif
