/* resize_test.c -- another budget under load: whole or not at all. */
#include "support/soft_cache.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/governor.h"
#include "fake_elastic.h"

#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define SECOND_NS INT64_C(1000000000)

struct house {
    struct cistern_pool *pool;
    struct cistern_slot *slots[2];
    struct cistern_component *hard[2];
    struct soft_cache caches[2];
};

static void house_open(struct house *house)
{
    struct cistern_error error;
    struct cistern_pool_options options = {.budget_bytes = 256 * MIB, .slot_count_max = 2};
    struct cistern_component_options hard = {
        .name = "state", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_pool_create(&options, &house->pool, &error), error);
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(cistern_slot_open(house->pool, NULL, &house->slots[i], &error), error);
        assert_ok(cistern_component_open(house->slots[i], &hard, &house->hard[i], &error), error);
        soft_open(&house->caches[i], house->slots[i]);
    }
}

static void house_close(struct house *house)
{
    struct cistern_error error;
    for (uint32_t i = 0; i < 2; i++) {
        soft_close(&house->caches[i]);
        cistern_component_close(house->hard[i]);
        assert_ok(cistern_slot_close(house->slots[i], &error), error);
    }
    assert_ok(cistern_pool_destroy(house->pool, &error), error);
    assert_int_equal(cistern_allocation_count(), 0);
}

static uint64_t budget_of(struct cistern_pool *pool)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(pool, &usage);
    return usage.budget_bytes;
}

/* 120 MiB a slot at 256 MiB, less a 32nd of debt; each keeps its share. */
#define LIMIT_AT_256 (120 * MIB - 120 * MIB / 32)
#define LIMIT_AT_128 (60 * MIB - 60 * MIB / 32)

static void a_grown_budget_is_there_at_once(void **state)
{
    (void)state;
    struct house house;
    struct cistern_error error;
    uint64_t reached;
    house_open(&house);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[0]), LIMIT_AT_256);
    assert_ok(cistern_pool_resize(house.pool, 512 * MIB, 0, &reached, &error), error);
    assert_int_equal(reached, 512 * MIB);
    assert_int_equal(budget_of(house.pool), 512 * MIB);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[0]), 2 * LIMIT_AT_256);
    assert_ok(cistern_component_reserve(house.hard[0], 2 * LIMIT_AT_256, 0, &error), error);
    assert_ok(cistern_pool_resize(house.pool, 256 * MIB, 0, &reached, &error), error);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[0]), LIMIT_AT_256);
    house_close(&house);
}

static void caches_are_evicted_and_loans_end(void **state)
{
    (void)state;
    struct house house;
    struct cistern_error error;
    uint64_t reached;
    house_open(&house);
    for (uint32_t i = 0; i < 160; i++) { /* 44 MiB of them borrowed */
        assert_true(soft_fill(&house.caches[0], MIB));
    }
    assert_true(cistern_slot_loan_bytes(house.slots[0]) > 0);
    assert_ok(cistern_pool_resize(house.pool, 128 * MIB, 0, &reached, &error), error);
    assert_int_equal(reached, 128 * MIB);
    assert_int_equal(cistern_slot_loan_bytes(house.slots[0]), 0);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[0]), LIMIT_AT_128);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[1]), LIMIT_AT_128);
    assert_true(cistern_slot_used_bytes(house.slots[0]) <= LIMIT_AT_128);
    house_close(&house);
}

static void what_stands_in_the_way_is_named_and_nothing_is_half(void **state)
{
    (void)state;
    struct house house;
    struct cistern_error error;
    uint64_t reached;
    house_open(&house);
    assert_int_equal(cistern_component_charge(house.hard[1], 70 * MIB), CISTERN_OK);
    assert_status(cistern_pool_resize(house.pool, 128 * MIB, 0, &reached, &error), CISTERN_LIMIT);
    assert_string_equal(error.object, "slot 2");
    assert_non_null(strstr(error.message, "state"));
    assert_in_range(reached, 154 * MIB, 155 * MIB); /* 70 is 31/32 of half of 15/16 of it */
    assert_int_equal(error.bytes_missing, reached - 128 * MIB);
    assert_int_equal(budget_of(house.pool), 256 * MIB);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[0]), LIMIT_AT_256);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[1]), LIMIT_AT_256);
    int64_t begin_ns = cistern_now_ns();
    assert_status(
        cistern_pool_resize(house.pool, 128 * MIB, begin_ns + SECOND_NS / 20, &reached, &error),
        CISTERN_TIMEOUT);
    assert_true(cistern_now_ns() - begin_ns >= SECOND_NS / 20);
    assert_status(cistern_pool_resize(house.pool, MIB, 0, &reached, &error), CISTERN_INVALID);
    assert_int_equal(reached, 256 * MIB);
    /* how far it got is how far it gets */
    assert_status(cistern_pool_resize(house.pool, 128 * MIB, 0, &reached, &error), CISTERN_LIMIT);
    assert_ok(cistern_pool_resize(house.pool, reached, 0, &reached, &error), error);
    assert_true(cistern_slot_limit_bytes(house.slots[1]) >= 70 * MIB);
    assert_true(cistern_slot_limit_bytes(house.slots[1]) < 71 * MIB);
    cistern_component_uncharge(house.hard[1], 70 * MIB);
    house_close(&house);
}

/* An owner that is told LIMIT gives bytes back, as one under load does. */
struct owner {
    struct house *house;
    uint32_t index;
    _Atomic uint32_t stop;
    uint64_t refused_count;
};

static void *own_slot(void *arg)
{
    struct owner *owner = arg;
    struct cistern_component *hard = owner->house->hard[owner->index];
    uint64_t held = 0;
    while (!atomic_load(&owner->stop)) {
        if (cistern_component_charge(hard, MIB / 4) == CISTERN_OK) {
            held += MIB / 4;
        } else {
            owner->refused_count++;
            uint64_t back = held < 2 * MIB ? held : 2 * MIB;
            cistern_component_uncharge(hard, back);
            held -= back;
        }
    }
    cistern_component_uncharge(hard, held);
    return NULL;
}

static void half_under_load_again_and_again(void **state)
{
    (void)state;
    struct house house;
    struct cistern_error error;
    uint64_t reached;
    pthread_t threads[2];
    struct owner owners[2];
    house_open(&house);
    for (uint32_t i = 0; i < 2; i++) {
        owners[i] = (struct owner){.house = &house, .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, own_slot, &owners[i]), 0);
    }
    for (uint32_t round = 0; round < 50; round++) {
        int64_t deadline = cistern_now_ns() + 10 * SECOND_NS;
        assert_ok(cistern_pool_resize(house.pool, 128 * MIB, deadline, &reached, &error), error);
        for (uint32_t i = 0; i < 2; i++) {
            assert_true(cistern_slot_used_bytes(house.slots[i]) <= LIMIT_AT_128);
        }
        assert_ok(cistern_pool_resize(house.pool, 256 * MIB, 0, &reached, &error), error);
        cistern_sleep_ns(SECOND_NS / 1000);
    }
    for (uint32_t i = 0; i < 2; i++) {
        atomic_store(&owners[i].stop, 1);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(owners[i].refused_count > 0);
    }
    house_close(&house);
}

static void an_elastics_cache_shrinks_with_the_budget(void **state)
{
    (void)state;
    static struct fake_cache cache;
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    struct cistern_elastic *elastic;
    struct cistern_error error;
    uint64_t reached;
    struct cistern_pool_options options = {.budget_bytes = 256 * MIB};
    struct cistern_component_options blocks = {
        .name = "blocks", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_pool_create(&options, &pool, &error), error);
    assert_ok(cistern_slot_open(pool, NULL, &slot, &error), error);
    cache.chunk_bytes = 64 << 10;
    pthread_mutex_init(&cache.lock, NULL);
    assert_ok(cistern_component_open(slot, &blocks, &cache.component, &error), error);
    struct cistern_elastic_options elastic_options = fake_options(&cache);
    assert_ok(cistern_elastic_open(slot, &elastic_options, &elastic, &error), error);
    for (uint32_t i = 0; i < 3000; i++) {
        (void)cistern_elastic_ensure(elastic, cache.chunk_bytes);
        fake_insert(&cache);
    }
    assert_true(fake_usage(&cache) > 120 * MIB);
    assert_ok(
        cistern_pool_resize(pool, 96 * MIB, cistern_now_ns() + 5 * SECOND_NS, &reached, &error),
        error);
    assert_true(cistern_slot_used_bytes(slot) <= cistern_slot_limit_bytes(slot));
    assert_true(cistern_slot_limit_bytes(slot) < 96 * MIB);
    cistern_elastic_close(elastic);
    fake_set_capacity(&cache, 0);
    cistern_component_close(cache.component);
    assert_ok(cistern_slot_close(slot, &error), error);
    assert_ok(cistern_pool_destroy(pool, &error), error);
    pthread_mutex_destroy(&cache.lock);
}

/* ---------------------------------------------------------------- unusual shapes */

static void pool_of_one(struct cistern_pool **ret_pool, uint64_t budget, uint64_t reserve)
{
    struct cistern_error error;
    struct cistern_pool_options options = {
        .budget_bytes = budget, .process_reserve_bytes = reserve};
    assert_ok(cistern_pool_create(&options, ret_pool, &error), error);
}

static struct cistern_component *hard_open(struct cistern_slot *slot)
{
    struct cistern_error error;
    struct cistern_component *component;
    struct cistern_component_options options = {
        .name = "state", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_component_open(slot, &options, &component, &error), error);
    return component;
}

/* What cannot be created cannot be reached by shrinking either. */
static void a_given_reserve_leaves_slots_their_least(void **state)
{
    (void)state;
    struct cistern_pool *pool;
    struct cistern_error error;
    uint64_t least = cistern_pool_budget_min(1, 1) + 4 * MIB; /* with 4 MiB more of reserve */
    pool_of_one(&pool, 64 * MIB, 12 * MIB);
    assert_status(cistern_pool_resize(pool, least - 1, 0, NULL, &error), CISTERN_INVALID);
    assert_int_equal(budget_of(pool), 64 * MIB);
    assert_ok(cistern_pool_resize(pool, least, 0, NULL, &error), error);
    assert_ok(cistern_pool_destroy(pool, &error), error);
    pool_of_one(&pool, least, 12 * MIB);
    assert_ok(cistern_pool_destroy(pool, &error), error);
}

/* The ledger's slack grows with the budget, and with a given reserve at the expense of what the
 * process slot may charge: but not below what it could before. */
static void growing_takes_nothing_from_the_process_slot(void **state)
{
    (void)state;
    struct cistern_pool *pool;
    struct cistern_error error;
    pool_of_one(&pool, 256 * MIB, 15 * MIB);
    struct cistern_slot *process = cistern_pool_process_slot(pool);
    struct cistern_component *buffers = hard_open(process);
    uint64_t limit = cistern_slot_limit_bytes(process);
    assert_int_equal(cistern_component_charge(buffers, limit), CISTERN_OK);
    for (uint32_t round = 0; round < 3; round++) { /* and back, without drift */
        assert_ok(cistern_pool_resize(pool, 1024 * MIB, 0, NULL, &error), error);
        assert_true(cistern_slot_limit_bytes(process) >= limit);
        assert_true(cistern_slot_limit_bytes(process) <= 15 * MIB);
        assert_ok(cistern_pool_resize(pool, 256 * MIB, 0, NULL, &error), error);
        assert_int_equal(cistern_slot_limit_bytes(process), limit);
    }
    cistern_component_uncharge(buffers, limit);
    cistern_component_close(buffers);
    assert_ok(cistern_pool_destroy(pool, &error), error);
}

/* A slot so small that its share of the new budget is nothing, and a holder larger than any budget
 * could hold at its share. */
static void a_tiny_slot_stands_in_the_way(void **state)
{
    (void)state;
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    struct cistern_error error;
    uint64_t reached;
    uint64_t most = UINT64_C(1) << 46;
    struct cistern_slot_options options = {.limit_bytes = 4, .debt_max_bytes = 1};
    pool_of_one(&pool, most, 0);
    assert_ok(cistern_slot_open(pool, &options, &slot, &error), error);
    struct cistern_component *hard = hard_open(slot);
    cistern_component_charge_forced(hard, UINT64_C(1) << 40);
    assert_status(cistern_pool_resize(pool, most / 2, 0, &reached, &error), CISTERN_LIMIT);
    assert_int_equal(reached, most);
    cistern_component_uncharge(hard, UINT64_C(1) << 40);
    assert_ok(cistern_pool_resize(pool, 64 * MIB, 0, &reached, &error), error);
    assert_int_equal(cistern_slot_limit_bytes(slot), 0);
    cistern_component_charge_forced(hard, 1);
    assert_status(cistern_pool_resize(pool, 32 * MIB, 0, &reached, &error), CISTERN_LIMIT);
    assert_int_equal(reached, 64 * MIB);
    cistern_component_uncharge(hard, 1);
    cistern_component_close(hard);
    assert_ok(cistern_slot_close(slot, &error), error);
    assert_ok(cistern_pool_destroy(pool, &error), error);
}

/* ---------------------------------------------------------------- a loan on its way back */

/* A cache whose eviction takes as long as the test wants, and then finds everything pinned. */
struct slow_cache {
    _Atomic uint32_t entered;
    _Atomic uint32_t go;
};

static uint64_t slow_evict(void *arg, uint64_t target_bytes, int64_t deadline_ns)
{
    (void)target_bytes;
    (void)deadline_ns;
    struct slow_cache *cache = arg;
    atomic_store(&cache->entered, 1);
    while (!atomic_load(&cache->go)) {
        cistern_sleep_ns(SECOND_NS / 10000);
    }
    return 0;
}

static void *recall_all(void *arg)
{
    (void)!cistern_component_reserve(arg, 7 * MIB, 0, NULL);
    return NULL;
}

static void *shrink_to_20(void *arg)
{
    struct cistern_error error;
    int64_t deadline = cistern_now_ns() + SECOND_NS / 4;
    assert_status(cistern_pool_resize(arg, 20 * MIB, deadline, NULL, &error), CISTERN_TIMEOUT);
    return NULL;
}

/* Limits that are halfway from a borrower to a lender are nobody's: a shrink that counted on them
 * wrapped the lender's limit around, and it could charge anything. */
static void a_shrink_waits_for_recalls_under_way(void **state)
{
    (void)state;
    struct cistern_pool *pool;
    struct cistern_slot *slots[2];
    struct cistern_component *cache;
    struct cistern_error error;
    struct slow_cache slow = {0};
    pthread_t threads[2];
    uint64_t admitted = 0;
    struct cistern_pool_options options = {.budget_bytes = 64 * MIB, .slot_count_max = 2};
    struct cistern_slot_options slot = {.limit_bytes = 8 * MIB};
    struct cistern_component_options cache_options = {.name = "cache",
        .reclaim_class = CISTERN_RECLAIM_INSTANT,
        .reclaim_from_any_thread = 1,
        .reclaim = slow_evict,
        .arg = &slow};
    assert_ok(cistern_pool_create(&options, &pool, &error), error);
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(cistern_slot_open(pool, &slot, &slots[i], &error), error);
    }
    struct cistern_component *hard = hard_open(slots[0]);
    assert_ok(cistern_component_open(slots[1], &cache_options, &cache, &error), error);
    uint64_t own = cistern_slot_limit_bytes(slots[1]);
    assert_int_equal(cistern_component_charge(cache, own), CISTERN_OK);
    assert_ok(cistern_component_reserve(cache, 4 * MIB, 0, &error), error);
    assert_int_equal(cistern_component_charge(cache, 4 * MIB), CISTERN_OK);
    assert_int_equal(cistern_slot_lent_bytes(slots[0]), 4 * MIB);
    assert_int_equal(pthread_create(&threads[0], NULL, recall_all, hard), 0);
    while (!atomic_load(&slow.entered)) {
        cistern_sleep_ns(SECOND_NS / 10000);
    }
    assert_status(cistern_pool_resize(pool, 20 * MIB, 0, NULL, &error), CISTERN_LIMIT);
    assert_int_equal(pthread_create(&threads[1], NULL, shrink_to_20, pool), 0);
    int64_t end = cistern_now_ns() + SECOND_NS / 8;
    while (cistern_now_ns() < end) {
        if (cistern_component_charge(hard, 40 * MIB) == CISTERN_OK) {
            cistern_component_uncharge(hard, 40 * MIB);
            admitted++;
        }
    }
    assert_int_equal(pthread_join(threads[1], NULL), 0);
    atomic_store(&slow.go, 1);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(admitted, 0);
    assert_int_equal(cistern_slot_lent_bytes(slots[0]), 4 * MIB); /* pinned: still lent */
    assert_int_equal(cistern_slot_share_bytes(slots[0]), own);
    int64_t begin_ns = cistern_now_ns();
    assert_status(
        cistern_pool_resize(pool, 20 * MIB, begin_ns + SECOND_NS / 20, NULL, &error),
        CISTERN_TIMEOUT);
    assert_true(cistern_now_ns() - begin_ns >= SECOND_NS / 20); /* it may be unpinned yet */
    assert_non_null(strstr(error.message, "4.0 MiB that slots lent"));
    cistern_component_uncharge(cache, own + 4 * MIB);
    assert_ok(cistern_pool_resize(pool, 20 * MIB, 0, NULL, &error), error);
    assert_int_equal(cistern_slot_lent_bytes(slots[0]), 0);
    cistern_component_close(cache);
    cistern_component_close(hard);
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(cistern_slot_close(slots[i], &error), error);
    }
    assert_ok(cistern_pool_destroy(pool, &error), error);
    assert_int_equal(cistern_allocation_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grown_budget_is_there_at_once),
        cmocka_unit_test(caches_are_evicted_and_loans_end),
        cmocka_unit_test(what_stands_in_the_way_is_named_and_nothing_is_half),
        cmocka_unit_test(half_under_load_again_and_again),
        cmocka_unit_test(an_elastics_cache_shrinks_with_the_budget),
        cmocka_unit_test(a_given_reserve_leaves_slots_their_least),
        cmocka_unit_test(growing_takes_nothing_from_the_process_slot),
        cmocka_unit_test(a_shrink_waits_for_recalls_under_way),
        cmocka_unit_test(a_tiny_slot_stands_in_the_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
