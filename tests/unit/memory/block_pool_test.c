/* block_pool_test.c -- runs of pages: never NULL at the limit, charged while resident, whole
 * under many threads. */
#include "pool_fixture.h"

#include "cistern/block_pool.h"

#include <pthread.h>
#include <string.h>

#define PAGE UINT64_C(4096)

struct ensure_log {
    uint64_t calls;
    uint64_t bytes;
};

static void note_ensure(void *arg, uint64_t bytes)
{
    struct ensure_log *log = arg;
    log->calls++;
    log->bytes = bytes;
}

static struct cistern_block_pool *open_blocks(
    struct pool_fixture *f, uint64_t reserve_bytes, uint64_t warm_bytes_max, struct ensure_log *log)
{
    struct cistern_block_pool *blocks = NULL;
    struct cistern_block_pool_options options = {
        .reserve_bytes = reserve_bytes, .warm_bytes_max = warm_bytes_max};
    if (log != NULL) {
        options.ensure = note_ensure;
        options.arg = log;
    }
    assert_ok(cistern_block_pool_create(f->component, &options, &blocks, &f->error), f->error);
    return blocks;
}

/* The pages of notes are charged beside the runs: one per 512 pages. */
static uint64_t note_bytes(const struct pool_fixture *f, const struct cistern_block_pool *blocks)
{
    return cistern_slot_used_bytes(f->slot) - cistern_block_pool_live_bytes(blocks) -
           cistern_block_pool_warm_bytes(blocks);
}

static void usable_bytes_are_whole_pages(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    struct cistern_block_pool *blocks = open_blocks(&f, 0, 0, NULL);
    const uint64_t sizes[] = {2049, 4032, 4096, 4097, 8192, 65000, FIXTURE_MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t pages = (sizes[i] + PAGE - 1) / PAGE;
        char *block = cistern_block_pool_allocate(blocks, sizes[i]);
        assert_non_null(block);
        memset(block, 0x5A, sizes[i]);
        assert_int_equal((uintptr_t)block % 16, 0);
        assert_int_equal(cistern_block_pool_usable_bytes(blocks, block, sizes[i]), pages * PAGE);
        assert_int_equal(cistern_block_pool_live_bytes(blocks), pages * PAGE);
        cistern_block_pool_deallocate(blocks, block);
        assert_int_equal(cistern_block_pool_live_bytes(blocks), 0);
    }
    char *small = cistern_block_pool_allocate(blocks, 2048);
    char *large = cistern_block_pool_allocate(blocks, FIXTURE_MIB + 1);
    assert_int_equal(cistern_block_pool_live_bytes(blocks), 0); /* both are malloc's */
    assert_true(cistern_block_pool_usable_bytes(blocks, large, FIXTURE_MIB + 1) > FIXTURE_MIB);
    /* GUEST: nobody else would count them */
    assert_true(cistern_slot_used_bytes(f.slot) > FIXTURE_MIB + 2048);
    cistern_block_pool_deallocate(blocks, small);
    cistern_block_pool_deallocate(blocks, large);
    cistern_block_pool_deallocate(blocks, NULL);
    cistern_block_pool_destroy(blocks);
    fixture_close(&f);
}

static void the_limit_never_gives_null(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, FIXTURE_MIB, 65536);
    struct cistern_block_pool *blocks = open_blocks(&f, 64 * FIXTURE_MIB, 0, NULL);
    void *held[512];
    for (uint32_t i = 0; i < 512; i++) {
        held[i] = cistern_block_pool_allocate(blocks, 4032);
        assert_non_null(held[i]);
        memset(held[i], (int)i, 4032);
    }
    /* 2 MiB in a slot of 1 MiB */
    assert_int_equal(cistern_block_pool_live_bytes(blocks), 512 * PAGE);
    assert_int_equal(cistern_component_charge(f.component, 1), CISTERN_LIMIT);
    struct cistern_pool_usage usage;
    cistern_pool_usage(f.pool, &usage);
    assert_true(usage.overrun_count > 0);
    for (uint32_t i = 0; i < 512; i++) {
        assert_int_equal(((unsigned char *)held[i])[4031], i % 256);
        cistern_block_pool_deallocate(blocks, held[i]);
    }
    cistern_block_pool_destroy(blocks);
    fixture_close(&f);
}

static void warm_runs_are_reused_and_drained(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    struct ensure_log log = {0};
    struct cistern_block_pool *blocks = open_blocks(&f, 64 * FIXTURE_MIB, 3 * PAGE, &log);
    void *held[6];
    for (uint32_t i = 0; i < 6; i++) {
        held[i] = cistern_block_pool_allocate(blocks, 4000);
        memset(held[i], 1, 4000);
    }
    assert_int_equal(log.calls, 6);
    assert_int_equal(log.bytes, PAGE);
    for (uint32_t i = 0; i < 6; i++) {
        cistern_block_pool_deallocate(blocks, held[i]);
    }
    /* the rest went back to the system */
    assert_int_equal(cistern_block_pool_warm_bytes(blocks), 3 * PAGE);
    assert_int_equal(note_bytes(&f, blocks), PAGE);
    void *warm = cistern_block_pool_allocate(blocks, 4000);
    assert_int_equal(log.calls, 6); /* a warm run is room already */
    assert_int_equal(cistern_block_pool_warm_bytes(blocks), 2 * PAGE);
    cistern_block_pool_deallocate(blocks, warm);
    assert_int_equal(cistern_block_pool_drain(blocks), 3 * PAGE);
    assert_int_equal(cistern_block_pool_drain(blocks), 0);
    assert_int_equal(cistern_slot_used_bytes(f.slot), PAGE);
    unsigned char *cold = cistern_block_pool_allocate(blocks, 4000);
    assert_int_equal(log.calls, 7);
    assert_int_equal(cold[2000], 0); /* its page really was given back */
    cistern_block_pool_deallocate(blocks, cold);
    cistern_block_pool_destroy(blocks);
    fixture_close(&f);
}

static void nothing_stays_warm_in_debt(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 4 * PAGE + 1000, 1000);
    struct cistern_block_pool *blocks = open_blocks(&f, 64 * FIXTURE_MIB, 100 * PAGE, NULL);
    void *held[8];
    for (uint32_t i = 0; i < 8; i++) {
        held[i] = cistern_block_pool_allocate(blocks, 4096);
    }
    cistern_block_pool_deallocate(blocks, held[0]);
    assert_int_equal(cistern_block_pool_warm_bytes(blocks), 0);
    for (uint32_t i = 1; i < 8; i++) {
        cistern_block_pool_deallocate(blocks, held[i]);
    }
    assert_in_range(cistern_block_pool_warm_bytes(blocks), PAGE, 4 * PAGE);
    cistern_block_pool_destroy(blocks);
    fixture_close(&f);
}

static void a_full_range_falls_back_to_malloc(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    struct cistern_block_pool *blocks = open_blocks(&f, 4 * PAGE, 0, NULL);
    void *held[6];
    for (uint32_t i = 0; i < 6; i++) {
        held[i] = cistern_block_pool_allocate(blocks, 4096);
        assert_non_null(held[i]);
    }
    assert_int_equal(cistern_block_pool_live_bytes(blocks), 3 * PAGE); /* page 0 is never used */
    for (uint32_t i = 0; i < 6; i++) {
        cistern_block_pool_deallocate(blocks, held[i]);
    }
    cistern_block_pool_destroy(blocks);
    fixture_close(&f);
}

#define CHURN_THREADS 4
#define CHURN_HELD 200

struct churn {
    struct cistern_block_pool *blocks;
    uint64_t seed;
    uint32_t failures;
};

struct churn_block {
    unsigned char *data;
    uint64_t bytes;
    unsigned char mark;
};

static void release_checked(struct churn *churn, struct churn_block *block)
{
    churn->failures +=
        block->data[0] != block->mark || block->data[block->bytes - 1] != block->mark;
    cistern_block_pool_deallocate(churn->blocks, block->data);
    block->data = NULL;
}

static void *run_churn(void *arg)
{
    struct churn *churn = arg;
    struct churn_block held[CHURN_HELD] = {{0}};
    for (uint32_t i = 0; i < 8000; i++) {
        uint64_t dice = test_random(&churn->seed);
        struct churn_block *block = &held[dice % CHURN_HELD];
        if (block->data != NULL) {
            release_checked(churn, block);
        }
        block->bytes = dice >> 60 == 0 ? 1 + (dice >> 20) % 200000 : 2049 + (dice >> 20) % 4000;
        block->mark = (unsigned char)(dice >> 8);
        block->data = cistern_block_pool_allocate(churn->blocks, block->bytes);
        if (block->data == NULL) {
            churn->failures++;
            return NULL;
        }
        block->data[0] = block->mark;
        block->data[block->bytes - 1] = block->mark;
        if (i % 1000 == 0) {
            (void)cistern_block_pool_drain(churn->blocks);
        }
    }
    for (uint32_t i = 0; i < CHURN_HELD; i++) {
        if (held[i].data != NULL) {
            release_checked(churn, &held[i]);
        }
    }
    return NULL;
}

static void four_threads_keep_their_blocks(void **state)
{
    (void)state;
    uint64_t seed = test_seed("memory_block_pool_test", 99);
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    struct cistern_block_pool *blocks = open_blocks(&f, 256 * FIXTURE_MIB, 0, NULL);
    struct churn churns[CHURN_THREADS];
    pthread_t threads[CHURN_THREADS];
    for (uint32_t i = 0; i < CHURN_THREADS; i++) {
        churns[i] = (struct churn){.blocks = blocks, .seed = seed + 1 + i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_churn, &churns[i]), 0);
    }
    for (uint32_t i = 0; i < CHURN_THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(churns[i].failures, 0);
    }
    assert_int_equal(cistern_block_pool_live_bytes(blocks), 0);
    (void)cistern_block_pool_drain(blocks);
    assert_int_equal(cistern_block_pool_warm_bytes(blocks), 0);
    assert_true(cistern_slot_used_bytes(f.slot) < FIXTURE_MIB); /* notes only */
    cistern_block_pool_destroy(blocks);
    fixture_close(&f);
}

static void every_failed_allocation_leaves_nothing(void **state)
{
    (void)state;
    struct pool_fixture f;
    fixture_open(&f, 64 * FIXTURE_MIB, 16 * FIXTURE_MIB, 0);
    uint64_t before = cistern_allocation_count();
    uint64_t nth = 1;
    for (;; nth++) {
        assert_true(nth < 20);
        struct cistern_block_pool *blocks = NULL;
        cistern_allocation_fail_at(nth);
        uint32_t status = cistern_block_pool_create(f.component, NULL, &blocks, &f.error);
        int fired = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        cistern_block_pool_destroy(blocks);
        assert_int_equal(cistern_allocation_count(), before);
        if (!fired) {
            assert_int_equal(status, CISTERN_OK);
            break;
        }
        assert_int_equal(status, CISTERN_NO_MEMORY);
    }
    assert_true(nth > 1);
    struct cistern_block_pool *blocks = NULL;
    struct cistern_block_pool_options options = {.reserve_bytes = UINT64_C(1) << 60};
    assert_status(
        cistern_block_pool_create(f.component, &options, &blocks, &f.error), CISTERN_INVALID);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usable_bytes_are_whole_pages),
        cmocka_unit_test(the_limit_never_gives_null),
        cmocka_unit_test(warm_runs_are_reused_and_drained),
        cmocka_unit_test(nothing_stays_warm_in_debt),
        cmocka_unit_test(a_full_range_falls_back_to_malloc),
        cmocka_unit_test(four_threads_keep_their_blocks),
        cmocka_unit_test(every_failed_allocation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
