/* loan_test.c -- idle slots lend to caches; a waking owner gets its limit back. */
#include "fake_elastic.h"
#include "support/soft_cache.h"

#include "cistern/alloc.h"
#include "cistern/block_pool.h"
#include "cistern/clock.h"

#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define SLOT_COUNT_MAX 8

/* Slots of 32 MiB, 1 of it debt; each with a hard component and a cache. */
struct house {
    struct cistern_pool *pool;
    uint32_t slot_count;
    struct cistern_slot *slots[SLOT_COUNT_MAX];
    struct cistern_component *hard[SLOT_COUNT_MAX];
    struct soft_cache caches[SLOT_COUNT_MAX];
};

static void house_open(struct house *house, uint32_t slot_count)
{
    struct cistern_error error;
    house->slot_count = slot_count;
    struct cistern_pool_options options = {.budget_bytes = 16 * MIB + slot_count * 32 * MIB,
        .process_reserve_bytes = 16 * MIB,
        .slot_count_max = slot_count};
    struct cistern_slot_options slot = {.limit_bytes = 32 * MIB, .debt_max_bytes = 1 * MIB};
    struct cistern_component_options hard = {
        .name = "state", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_pool_create(&options, &house->pool, &error), error);
    for (uint32_t i = 0; i < slot_count; i++) {
        assert_ok(cistern_slot_open(house->pool, &slot, &house->slots[i], &error), error);
        assert_ok(cistern_component_open(house->slots[i], &hard, &house->hard[i], &error), error);
        soft_open(&house->caches[i], house->slots[i]);
    }
}

static void house_close(struct house *house)
{
    struct cistern_error error;
    for (uint32_t i = 0; i < house->slot_count; i++) {
        if (house->slots[i] != NULL) {
            soft_close(&house->caches[i]);
            cistern_component_close(house->hard[i]);
        }
    }
    for (uint32_t i = 0; i < house->slot_count; i++) {
        if (house->slots[i] != NULL) {
            assert_ok(cistern_slot_close(house->slots[i], &error), error);
        }
    }
    assert_ok(cistern_pool_destroy(house->pool, &error), error);
    assert_int_equal(cistern_allocation_count(), 0);
}

/* What is granted stays granted: limits and loans add up to the shares. */
static void expect_sum(const struct house *house)
{
    uint64_t total = 0;
    uint64_t lent = 0;
    uint64_t loan = 0;
    for (uint32_t i = 0; i < house->slot_count; i++) {
        total += cistern_slot_limit_bytes(house->slots[i]);
        lent += cistern_slot_lent_bytes(house->slots[i]);
        loan += cistern_slot_loan_bytes(house->slots[i]);
    }
    assert_int_equal(lent, loan);
    assert_int_equal(total + loan, house->slot_count * 31 * MIB);
}

static void fill(struct soft_cache *cache, uint64_t mib)
{
    for (uint64_t i = 0; i < mib; i++) {
        assert_true(soft_fill(cache, MIB));
    }
}

static void an_idle_slot_lends_to_a_cache(void **state)
{
    (void)state;
    struct house house = {0};
    house_open(&house, 2);
    fill(&house.caches[0], 50);
    assert_in_range(cistern_slot_loan_bytes(house.slots[0]), 19 * MIB, 28 * MIB);
    assert_int_equal(
        cistern_slot_lent_bytes(house.slots[1]), cistern_slot_loan_bytes(house.slots[0]));
    expect_sum(&house);
    /* an eighth stays with the lender: its next charge finds room */
    assert_int_equal(cistern_component_charge(house.hard[1], 3 * MIB), CISTERN_OK);
    cistern_component_uncharge(house.hard[1], 3 * MIB);
    house_close(&house);
}

static void a_loan_is_for_what_any_thread_can_evict(void **state)
{
    (void)state;
    struct house house = {0};
    struct cistern_error error;
    house_open(&house, 2);
    fill(&house.caches[0], 50);
    assert_int_equal(cistern_component_charge(house.hard[0], MIB), CISTERN_LIMIT);
    /* the hard path evicts the own cache first; beyond its own limit there is nothing for it */
    assert_ok(cistern_component_reserve(house.hard[0], 20 * MIB, 0, &error), error);
    assert_int_equal(cistern_component_charge(house.hard[0], 20 * MIB), CISTERN_OK);
    assert_status(cistern_component_reserve(house.hard[0], 12 * MIB, 0, &error), CISTERN_LIMIT);
    cistern_component_uncharge(house.hard[0], 20 * MIB);
    expect_sum(&house);
    house_close(&house);
}

static void a_waking_owner_gets_its_limit_back(void **state)
{
    (void)state;
    struct house house = {0};
    struct cistern_error error;
    house_open(&house, 2);
    fill(&house.caches[0], 55);
    for (uint32_t i = 0; i < 31; i++) {
        if (cistern_component_charge(house.hard[1], MIB) != CISTERN_OK) {
            assert_ok(cistern_component_reserve(house.hard[1], MIB, 0, &error), error);
            assert_int_equal(cistern_component_charge(house.hard[1], MIB), CISTERN_OK);
        }
        expect_sum(&house);
    }
    assert_int_equal(cistern_slot_lent_bytes(house.slots[1]), 0);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[1]), 31 * MIB);
    assert_true(house.caches[0].asked_count > 0);
    assert_true(house.caches[0].bytes <= 31 * MIB);
    /* within a second of that it does not lend again */
    cistern_component_uncharge(house.hard[1], 31 * MIB);
    assert_int_equal(cistern_component_charge(house.caches[0].component, 31 * MIB), CISTERN_LIMIT);
    assert_ok(cistern_component_reserve(house.caches[0].component, 31 * MIB, 0, &error), error);
    assert_int_equal(cistern_slot_loan_bytes(house.slots[0]), 0);
    house_close(&house);
}

static void what_is_pinned_stays_lent_and_is_said(void **state)
{
    (void)state;
    struct house house = {0};
    struct cistern_error error;
    house_open(&house, 2);
    fill(&house.caches[0], 55);
    house.caches[0].pinned = 40 * MIB; /* 9 of the loan */
    assert_status(cistern_component_reserve(house.hard[1], 31 * MIB, 0, &error), CISTERN_LIMIT);
    assert_int_equal(cistern_slot_lent_bytes(house.slots[1]), 9 * MIB);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[1]), 22 * MIB);
    assert_int_equal(error.bytes_missing, 9 * MIB);
    assert_int_equal(cistern_component_charge(house.hard[1], 22 * MIB), CISTERN_OK);
    cistern_component_uncharge(house.hard[1], 22 * MIB);
    expect_sum(&house);
    house_close(&house);
}

static void closing_returns_loans(void **state)
{
    (void)state;
    struct house house = {0};
    struct cistern_error error;
    house_open(&house, 3);
    fill(&house.caches[0], 60);
    assert_true(cistern_slot_loan_bytes(house.slots[0]) > 0);
    /* a lender that closes takes back what it lent, while the borrower goes on */
    uint32_t lender = cistern_slot_lent_bytes(house.slots[1]) > 0 ? 1 : 2;
    soft_close(&house.caches[lender]);
    cistern_component_close(house.hard[lender]);
    house.caches[0].pinned = house.caches[0].bytes;
    uint64_t loan = cistern_slot_loan_bytes(house.slots[0]);
    assert_ok(cistern_slot_close(house.slots[lender], &error), error);
    assert_int_equal(cistern_slot_loan_bytes(house.slots[0]), loan);
    /* ... and pins it: that much is not there for a new slot, until it is */
    struct cistern_slot_options slot = {.limit_bytes = 32 * MIB, .debt_max_bytes = 1 * MIB};
    assert_status(
        cistern_slot_open(house.pool, &slot, &house.slots[lender], &error), CISTERN_LIMIT);
    house.caches[0].pinned = 0;
    assert_ok(cistern_slot_open(house.pool, &slot, &house.slots[lender], &error), error);
    assert_int_equal(cistern_slot_limit_bytes(house.slots[lender]), 31 * MIB);
    assert_ok(cistern_slot_close(house.slots[lender], &error), error);
    /* a borrower that closes gives back */
    soft_close(&house.caches[0]);
    cistern_component_close(house.hard[0]);
    assert_ok(cistern_slot_close(house.slots[0], &error), error);
    house.slots[lender] = NULL;
    house.slots[0] = NULL;
    for (uint32_t i = 1; i < 3; i++) {
        if (house.slots[i] != NULL) {
            assert_int_equal(cistern_slot_lent_bytes(house.slots[i]), 0);
            assert_int_equal(cistern_slot_limit_bytes(house.slots[i]), 31 * MIB);
        }
    }
    house_close(&house);
}

/* A cache behind an elastic: the governor borrows for it while it is full, the other slot's owner
 * takes its limit back. */
static void an_elastic_borrows_and_yields(void **state)
{
    (void)state;
    static struct fake_cache cache;
    struct house house = {0};
    struct cistern_error error;
    struct cistern_component *blocks;
    struct cistern_elastic *elastic;
    house_open(&house, 2);
    cache = (struct fake_cache){.chunk_bytes = 64 << 10};
    pthread_mutex_init(&cache.lock, NULL);
    struct cistern_component_options options = {
        .name = "blocks", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_component_open(house.slots[0], &options, &blocks, &error), error);
    cache.component = blocks;
    struct cistern_elastic_options elastic_options = fake_options(&cache);
    assert_ok(cistern_elastic_open(house.slots[0], &elastic_options, &elastic, &error), error);
    int64_t deadline = cistern_now_ns() + INT64_C(20000000000);
    while (fake_usage(&cache) < 40 * MIB && cistern_now_ns() < deadline) {
        (void)cistern_elastic_ensure(elastic, cache.chunk_bytes);
        fake_insert(&cache);
    }
    assert_true(fake_usage(&cache) >= 40 * MIB);
    expect_sum(&house);
    assert_ok(cistern_component_reserve(house.hard[1], 31 * MIB, 0, &error), error);
    assert_int_equal(cistern_component_charge(house.hard[1], 31 * MIB), CISTERN_OK);
    assert_true(fake_usage(&cache) <= 31 * MIB);
    assert_int_equal(cistern_slot_loan_bytes(house.slots[0]), 0);
    cistern_component_uncharge(house.hard[1], 31 * MIB);
    cistern_elastic_close(elastic);
    fake_set_capacity(&cache, 0);
    cistern_component_close(blocks);
    pthread_mutex_destroy(&cache.lock);
    house_close(&house);
}

/* A backend that opens in a slot that has lent gets the sizes of the slot's share: the loan comes
 * back, sizes chosen once do not. */
static void what_opens_in_a_lender_is_sized_by_its_share(void **state)
{
    (void)state;
    static struct fake_cache cache;
    struct house house = {0};
    struct cistern_error error;
    struct cistern_block_pool *blocks;
    struct cistern_elastic *elastic;
    void *runs[48];
    house_open(&house, 2);
    fill(&house.caches[0], 50);
    assert_true(cistern_slot_lent_bytes(house.slots[1]) >= 16 * MIB);
    cistern_governor_pause(house.pool, 1); /* it would see to the elastic's first sizes */
    cache = (struct fake_cache){.chunk_bytes = 64 << 10};
    pthread_mutex_init(&cache.lock, NULL);
    struct cistern_elastic_options elastic_options = fake_options(&cache);
    assert_ok(cistern_elastic_open(house.slots[1], &elastic_options, &elastic, &error), error);
    assert_int_equal(atomic_load(&cache.allowance), 31 * MIB / 4);
    cistern_elastic_close(elastic);
    pthread_mutex_destroy(&cache.lock);
    /* a 128th stays warm: 248 KiB of 31 MiB */
    assert_ok(cistern_block_pool_create(house.hard[1], NULL, &blocks, &error), error);
    for (uint32_t i = 0; i < 48; i++) {
        runs[i] = cistern_block_pool_allocate(blocks, 4096);
        assert_non_null(runs[i]);
    }
    for (uint32_t i = 0; i < 48; i++) {
        cistern_block_pool_deallocate(blocks, runs[i]);
    }
    assert_int_equal(cistern_block_pool_warm_bytes(blocks), 48 * 4096);
    cistern_block_pool_destroy(blocks);
    house_close(&house);
}

/* ---------------------------------------------------------------- a recall under way */

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
        cistern_sleep_ns(100000);
    }
    return 0;
}

static void *recall_all(void *arg)
{
    (void)!cistern_component_reserve(arg, 30 * MIB, 0, NULL);
    return NULL;
}

/* Who lends does not borrow, and what is halfway back may stay lent. */
static void a_lender_does_not_borrow_while_it_recalls(void **state)
{
    (void)state;
    struct house house = {0};
    struct cistern_error error;
    struct cistern_component *pinned;
    struct slow_cache slow = {0};
    pthread_t thread;
    struct cistern_component_options options = {.name = "pinned",
        .reclaim_class = CISTERN_RECLAIM_INSTANT,
        .reclaim_from_any_thread = 1,
        .reclaim = slow_evict,
        .arg = &slow};
    house_open(&house, 3);
    assert_ok(cistern_component_open(house.slots[1], &options, &pinned, &error), error);
    assert_int_equal(cistern_component_charge(house.hard[2], 28 * MIB), CISTERN_OK);
    assert_int_equal(cistern_component_charge(pinned, 31 * MIB), CISTERN_OK);
    assert_ok(cistern_component_reserve(pinned, 4 * MIB, 0, &error), error);
    assert_int_equal(cistern_component_charge(pinned, 4 * MIB), CISTERN_OK);
    assert_int_equal(cistern_slot_lent_bytes(house.slots[0]), 4 * MIB);
    atomic_store(&slow.entered, 0);
    assert_int_equal(pthread_create(&thread, NULL, recall_all, house.hard[0]), 0);
    while (!atomic_load(&slow.entered)) {
        cistern_sleep_ns(100000);
    }
    /* its share is its share, whoever calls how much of it back */
    assert_int_equal(cistern_slot_share_bytes(house.slots[0]), 31 * MIB);
    int64_t deadline = cistern_now_ns() + 20000000;
    assert_status(cistern_component_reserve(house.hard[0], 31 * MIB, deadline, &error),
        CISTERN_TIMEOUT);
    cistern_component_uncharge(house.hard[2], 28 * MIB); /* somebody who could lend */
    for (uint32_t i = 0; i < 27; i++) {
        assert_int_equal(cistern_component_charge(house.caches[0].component, MIB), CISTERN_OK);
        house.caches[0].bytes += MIB;
    }
    assert_ok(cistern_component_reserve(house.caches[0].component, 2 * MIB, 0, &error), error);
    assert_int_equal(cistern_slot_loan_bytes(house.slots[0]), 0); /* it evicted its own */
    assert_int_equal(house.caches[0].bytes, 25 * MIB);
    atomic_store(&slow.go, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(cistern_slot_lent_bytes(house.slots[0]), 4 * MIB);
    expect_sum(&house);
    cistern_component_uncharge(pinned, 35 * MIB);
    cistern_component_close(pinned);
    house_close(&house);
}

struct opener {
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    uint32_t status;
};

static void *open_a_slot(void *arg)
{
    struct opener *opener = arg;
    struct cistern_slot_options options = {.limit_bytes = 32 * MIB, .debt_max_bytes = 1 * MIB};
    opener->status = cistern_slot_open(opener->pool, &options, &opener->slot, NULL);
    return NULL;
}

/* What a closed slot had lent stays granted until it is back: also while somebody calls it back. */
static void what_is_called_back_for_nobody_is_not_granted_twice(void **state)
{
    (void)state;
    struct house house = {0};
    struct cistern_error error;
    struct cistern_component *pinned;
    struct slow_cache slow = {0};
    pthread_t thread;
    struct cistern_component_options options = {.name = "pinned",
        .reclaim_class = CISTERN_RECLAIM_INSTANT,
        .reclaim_from_any_thread = 1,
        .reclaim = slow_evict,
        .arg = &slow};
    house_open(&house, 2); /* slots have all of the budget */
    assert_ok(cistern_component_open(house.slots[1], &options, &pinned, &error), error);
    assert_int_equal(cistern_component_charge(pinned, 31 * MIB), CISTERN_OK);
    assert_ok(cistern_component_reserve(pinned, 4 * MIB, 0, &error), error);
    assert_int_equal(cistern_component_charge(pinned, 4 * MIB), CISTERN_OK);
    atomic_store(&slow.go, 1);
    soft_close(&house.caches[0]);
    cistern_component_close(house.hard[0]);
    assert_ok(cistern_slot_close(house.slots[0], &error), error);
    house.slots[0] = NULL;
    atomic_store(&slow.go, 0);
    atomic_store(&slow.entered, 0);
    struct opener first = {.pool = house.pool};
    struct opener second = {.pool = house.pool};
    assert_int_equal(pthread_create(&thread, NULL, open_a_slot, &first), 0);
    while (!atomic_load(&slow.entered)) {
        cistern_sleep_ns(100000);
    }
    (void)open_a_slot(&second);
    atomic_store(&slow.go, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(second.status, CISTERN_LIMIT);
    assert_int_equal(first.status, CISTERN_LIMIT);
    assert_int_equal(cistern_slot_loan_bytes(house.slots[1]), 4 * MIB);
    cistern_component_uncharge(pinned, 35 * MIB);
    (void)open_a_slot(&first);
    assert_int_equal(first.status, CISTERN_OK);
    assert_ok(cistern_slot_close(first.slot, &error), error);
    cistern_component_close(pinned);
    house_close(&house);
}

/* ---------------------------------------------------------------- eight threads */

struct worker {
    struct house *house;
    uint32_t index;
    uint64_t seed;
    uint64_t refused_hard; /* although the slot's own share had room for it without any cache */
};

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* The owner of one slot: hard bytes come and go up to its whole share, its cache takes what it
 * can. Pauses make it idle for the others. */
static void *own_slot(void *arg)
{
    struct worker *worker = arg;
    struct house *house = worker->house;
    struct cistern_component *hard = house->hard[worker->index];
    uint64_t held = 0;
    for (uint32_t i = 0; i < 60000; i++) {
        uint64_t bytes = (next_random(&worker->seed) % 32 + 1) * (MIB / 8);
        switch (next_random(&worker->seed) % 4) {
        case 0:
            if (held + bytes <= 31 * MIB &&
                (cistern_component_charge(hard, bytes) == CISTERN_OK ||
                    (cistern_component_reserve(hard, bytes, cistern_now_ns() + 2000000000, NULL) ==
                            CISTERN_OK &&
                        cistern_component_charge(hard, bytes) == CISTERN_OK))) {
                held += bytes;
            } else if (held + bytes <= 31 * MIB) {
                worker->refused_hard++;
            }
            break;
        case 1:
            bytes = bytes < held ? bytes : held;
            cistern_component_uncharge(hard, bytes);
            held -= bytes;
            break;
        case 2:
            (void)soft_fill(&house->caches[worker->index], bytes);
            break;
        default:
            (void)soft_evict(&house->caches[worker->index], bytes, 0);
        }
    }
    cistern_component_uncharge(hard, held);
    return NULL;
}

static void eight_owners_borrow_and_recall(void **state)
{
    (void)state;
    struct house house = {0};
    pthread_t threads[SLOT_COUNT_MAX];
    struct worker workers[SLOT_COUNT_MAX];
    uint64_t seed = (uint64_t)cistern_now_ns();
    print_message("seed %llu\n", (unsigned long long)seed);
    house_open(&house, SLOT_COUNT_MAX);
    for (uint32_t i = 0; i < SLOT_COUNT_MAX; i++) {
        workers[i] = (struct worker){.house = &house, .index = i, .seed = seed + i};
        assert_int_equal(pthread_create(&threads[i], NULL, own_slot, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < SLOT_COUNT_MAX; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].refused_hard, 0);
    }
    expect_sum(&house);
    for (uint32_t i = 0; i < SLOT_COUNT_MAX; i++) {
        assert_true(
            cistern_slot_used_bytes(house.slots[i]) <=
            cistern_slot_limit_bytes(house.slots[i]) + cistern_slot_loan_bytes(house.slots[i]));
    }
    house_close(&house);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_slot_lends_to_a_cache),
        cmocka_unit_test(a_loan_is_for_what_any_thread_can_evict),
        cmocka_unit_test(a_waking_owner_gets_its_limit_back),
        cmocka_unit_test(what_is_pinned_stays_lent_and_is_said),
        cmocka_unit_test(closing_returns_loans),
        cmocka_unit_test(an_elastic_borrows_and_yields),
        cmocka_unit_test(what_opens_in_a_lender_is_sized_by_its_share),
        cmocka_unit_test(a_lender_does_not_borrow_while_it_recalls),
        cmocka_unit_test(what_is_called_back_for_nobody_is_not_granted_twice),
        cmocka_unit_test(eight_owners_borrow_and_recall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
