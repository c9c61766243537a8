/*
 * stress_test.c -- nine threads at once over everything a pool does: open, charge, borrow, recall,
 * resize, close, look. What must hold at any moment is asserted inside; what must hold in the end,
 * after.
 */
#include "support/soft_cache.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define OWNER_COUNT 7
#define SLOT_BYTES (16 * MIB)
#define BUDGET_BYTES (16 * MIB + OWNER_COUNT * SLOT_BYTES)
#define SMALL_BYTES (BUDGET_BYTES / 4 * 3)
#ifdef __SANITIZE_THREAD__
#define LIVES 2000
#else
#define LIVES 4000
#endif

struct owner {
    struct cistern_pool *pool;
    uint64_t random;
    uint64_t refused_opens;
    uint64_t refused_charges;
};

static _Atomic uint32_t owners_left;

/* An assertion of cmocka in a thread that is not its own ends the process without a word. */
static void require(int condition, const char *what, const struct cistern_error *error)
{
    if (!condition) {
        fprintf(stderr, "FAILED: %s: %s %s (%s)\n", what, cistern_status_name(error->status),
            error->message, error->object);
        abort();
    }
}

/* A share of its own, filled, shrunk and filled again; all of it given back. */
static void use_slot(struct owner *owner, struct cistern_slot *slot)
{
    struct cistern_error error = {0};
    struct soft_cache cache;
    struct cistern_component *hard;
    struct cistern_component_options options = {
        .name = "state", .reclaim_class = CISTERN_RECLAIM_NEVER, .is_exclusive = 1};
    uint64_t held = 0;
    require(cistern_component_open(slot, &options, &hard, &error) == CISTERN_OK, "component open",
        &error);
    soft_open(&cache, slot);
    for (uint32_t i = 0; i < 100; i++) {
        uint64_t bytes = (test_random(&owner->random) % 64 + 1) * (32 << 10);
        switch (test_random(&owner->random) % 4) {
        case 0:
            if (cistern_component_charge(hard, bytes) == CISTERN_OK ||
                (cistern_component_reserve(hard, bytes, 0, NULL) == CISTERN_OK &&
                    cistern_component_charge(hard, bytes) == CISTERN_OK)) {
                held += bytes;
            } else {
                owner->refused_charges++;
            }
            break;
        case 1:
            bytes = bytes < held ? bytes : held;
            cistern_component_uncharge(hard, bytes);
            held -= bytes;
            break;
        default:
            (void)soft_fill(&cache, bytes);
        }
        require(held <= SLOT_BYTES, "more than the slot is held", &error);
    }
    cistern_component_uncharge(hard, held);
    cistern_component_close(hard);
    soft_close(&cache);
    require(cistern_slot_close(slot, &error) == CISTERN_OK, "slot close", &error);
}

static void *owner_main(void *arg)
{
    struct owner *owner = arg;
    struct cistern_slot_options options = {.limit_bytes = SLOT_BYTES / 2, .debt_max_bytes = MIB};
    for (uint32_t life = 0; life < LIVES; life++) {
        struct cistern_error error = {0};
        struct cistern_slot *slot;
        uint32_t status = cistern_slot_open(owner->pool, &options, &slot, &error);
        if (status == CISTERN_OK) {
            use_slot(owner, slot);
        } else {
            /* a resize is going on, or what a closed slot lent is still pinned */
            require(status == CISTERN_BUSY || status == CISTERN_LIMIT, "slot open", &error);
            owner->refused_opens++;
            cistern_sleep_ns(100000);
        }
    }
    atomic_fetch_sub(&owners_left, 1);
    return NULL;
}

static void *resizer_main(void *arg)
{
    struct cistern_pool *pool = arg;
    uint32_t grown = 0;
    uint32_t shrunk = 0;
    while (atomic_load(&owners_left) > 0) {
        struct cistern_error error = {0};
        uint64_t reached;
        int64_t deadline = grown % 2 == 0 ? 0 : cistern_now_ns() + 20000000;
        uint32_t status = cistern_pool_resize(pool, SMALL_BYTES, deadline, &reached, &error);
        require(status == CISTERN_OK || status == CISTERN_LIMIT || status == CISTERN_TIMEOUT,
            "shrink", &error);
        require(reached >= SMALL_BYTES && reached <= BUDGET_BYTES, "reached", &error);
        require((reached == SMALL_BYTES) == (status == CISTERN_OK), "reached and not", &error);
        shrunk += status == CISTERN_OK;
        cistern_sleep_ns(1000000);
        require(cistern_pool_resize(pool, BUDGET_BYTES, 0, &reached, &error) == CISTERN_OK, "grow",
            &error);
        grown++;
        cistern_sleep_ns(2000000);
    }
    print_message("%u times smaller, %u times back\n", shrunk, grown);
    return NULL;
}

/* Somebody looks at all of it, all the time, and changes nothing. */
static void *observer_main(void *arg)
{
    struct cistern_pool *pool = arg;
    uint64_t looks = 0;
    while (atomic_load(&owners_left) > 0) {
        struct cistern_error error = {0};
        struct cistern_holder holders[2 * OWNER_COUNT];
        struct cistern_pool_usage usage;
        char text[4000];
        uint32_t count;
        require(cistern_pool_holders(pool, holders, 2 * OWNER_COUNT, &count) == CISTERN_OK,
            "holders", &error);
        require(count <= 2 * OWNER_COUNT, "more holders than components", &error);
        for (uint32_t i = 0; i < count; i++) {
            require(strncmp(holders[i].slot, "slot ", 5) == 0, "a holder's slot", &error);
            require(holders[i].used_bytes <= BUDGET_BYTES, "a holder's bytes", &error);
        }
        uint64_t bytes = cistern_pool_describe(pool, text, sizeof text);
        require(bytes < sizeof text && strlen(text) == bytes, "description", &error);
        require(strncmp(text, "budget ", 7) == 0 && text[bytes - 1] == '\n', "lines", &error);
        cistern_pool_usage(pool, &usage);
        require(usage.budget_bytes == BUDGET_BYTES || usage.budget_bytes == SMALL_BYTES, "budget",
            &error);
        looks++;
        cistern_sleep_ns(200000);
    }
    print_message("looked at %llu times\n", (unsigned long long)looks);
    return NULL;
}

static void everything_at_once(void **state)
{
    (void)state;
    struct cistern_pool *pool;
    struct cistern_error error;
    struct owner owners[OWNER_COUNT];
    pthread_t threads[OWNER_COUNT + 2];
    uint64_t seed = test_seed("memory_stress_test", (uint64_t)cistern_now_ns() | 1);
    struct cistern_pool_options options = {.budget_bytes = BUDGET_BYTES,
        .process_reserve_bytes = 16 * MIB,
        .slot_count_max = OWNER_COUNT};
    assert_ok(cistern_pool_create(&options, &pool, &error), error);
    atomic_store(&owners_left, OWNER_COUNT);
    for (uint32_t i = 0; i < OWNER_COUNT; i++) {
        owners[i] = (struct owner){.pool = pool, .random = seed + 2 * i};
        assert_int_equal(pthread_create(&threads[i], NULL, owner_main, &owners[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[OWNER_COUNT], NULL, resizer_main, pool), 0);
    assert_int_equal(pthread_create(&threads[OWNER_COUNT + 1], NULL, observer_main, pool), 0);
    uint64_t refused = 0;
    for (uint32_t i = 0; i < OWNER_COUNT + 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        refused += i < OWNER_COUNT ? owners[i].refused_opens : 0;
    }
    print_message("%llu opens refused meanwhile\n", (unsigned long long)refused);
    /* nothing is lost: the whole budget can be granted and charged again */
    struct cistern_slot *slots[OWNER_COUNT];
    for (uint32_t i = 0; i < OWNER_COUNT; i++) {
        assert_ok(cistern_slot_open(pool, NULL, &slots[i], &error), error);
        assert_int_equal(cistern_slot_limit_bytes(slots[i]) + SLOT_BYTES / 32, SLOT_BYTES);
        assert_int_equal(cistern_slot_used_bytes(slots[i]), 0);
        assert_int_equal(cistern_slot_loan_bytes(slots[i]), 0);
        assert_int_equal(cistern_slot_lent_bytes(slots[i]), 0);
    }
    for (uint32_t i = 0; i < OWNER_COUNT; i++) {
        assert_ok(cistern_slot_close(slots[i], &error), error);
    }
    assert_ok(cistern_pool_destroy(pool, &error), error);
    assert_int_equal(cistern_allocation_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
