/*
 * bound_test.c -- resident growth of a process that owns its budget: 300 MB written and read back
 * through 64 MiB stay within budget + 2 MiB, at every moment (VmHWM), with the governor running and
 * with it stopped.
 */
#include "rocks_fixture.h"

#include "cistern/governor.h"

#include <string.h>
#include <sys/prctl.h>

#define BUDGET_BYTES (64ull << 20)
#define TOLERANCE_BYTES (2ull << 20)
#define VALUE_BYTES 1000u
#define KEYS 150000u
#define WRITES 300000u
#define BATCH 100u

const char *malloc_conf; /* read by jemalloc before main */
const char *malloc_conf =
    "narenas:4,muzzy_decay_ms:0,oversize_threshold:0,retain:false,dirty_decay_ms:100";

static void fill(uint8_t *value, uint64_t seed)
{
    uint64_t random = seed + 1;
    for (uint32_t b = 0; b < VALUE_BYTES; b += 8) {
        /* not to be compressed: the bytes count as they are */
        uint64_t word = test_random(&random);
        memcpy(value + b, &word, 8);
    }
}

static void check_bound(struct fixture *fixture, const char *when)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(fixture->pool, &usage);
    uint64_t anon = usage.anon_peak_bytes - usage.anon_baseline_bytes;
    uint64_t rss = usage.rss_peak_bytes - usage.rss_baseline_bytes;
    print_message("%s: growth of anonymous memory %.1f MiB, of VmHWM %.1f MiB, budget %.1f MiB, "
                  "overruns %llu\n",
        when, (double)anon / 1048576, (double)rss / 1048576, (double)usage.budget_bytes / 1048576,
        (unsigned long long)usage.overrun_count);
    assert_true(anon <= BUDGET_BYTES + TOLERANCE_BYTES);
    assert_true(rss <= BUDGET_BYTES + TOLERANCE_BYTES);
}

static void run(struct fixture *fixture, struct cistern_state *state, uint64_t *random)
{
    static struct test_address storage[BATCH];
    static struct cistern_address addresses[BATCH];
    static struct cistern_span values[BATCH];
    static uint8_t bytes[BATCH][VALUE_BYTES];
    for (uint32_t i = 0; i < WRITES / BATCH; i++) {
        uint64_t indexes[BATCH];
        uint32_t done = 0;
        for (uint32_t k = 0; k < BATCH; k++) {
            indexes[k] = test_random(random) % KEYS;
            addresses[k] = fixture_address(&storage[k], indexes[k], 128);
            fill(bytes[k], indexes[k]);
            values[k] = (struct cistern_span){bytes[k], VALUE_BYTES};
        }
        assert_ok(cistern_value_put_many(state, addresses, values, BATCH, &done, &fixture->error),
            fixture->error);
        struct cistern_span got[BATCH];
        for (uint32_t k = 0; k < BATCH; k++) {
            indexes[k] = test_random(random) % KEYS;
            addresses[k] = fixture_address(&storage[k], indexes[k], 128);
        }
        assert_ok(
            cistern_value_get_many(state, addresses, BATCH, got, &fixture->error), fixture->error);
        for (uint32_t k = 0; k < BATCH; k++) {
            if (got[k].data != NULL) {
                uint8_t wanted[VALUE_BYTES];
                fill(wanted, indexes[k]);
                assert_int_equal(got[k].bytes, VALUE_BYTES);
                assert_memory_equal(got[k].data, wanted, VALUE_BYTES);
            }
        }
    }
}

static void test_bound(void **unused)
{
    (void)unused;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* a sanitizer brings its own malloc: this accounting mode cannot be had */
#endif
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    struct fixture fixture;
    fixture_open(&fixture, BUDGET_BYTES, 1, CISTERN_ACCOUNTING_OWNED);
    uint64_t random = test_seed("rocks_bound_test", 9);
    struct cistern_backend *backend = fixture_backend(&fixture, 0, "db", 128, 0, 127);
    struct cistern_state_descriptor descriptor = {
        .name = "v", .kind = CISTERN_VALUE, .key_bytes = 8};
    struct cistern_state *state = fixture_state(&fixture, backend, &descriptor);
    run(&fixture, state, &random);
    check_bound(&fixture, "governor on");
    cistern_governor_pause(fixture.pool, 1);
    run(&fixture, state, &random);
    check_bound(&fixture, "governor stopped");
    cistern_governor_pause(fixture.pool, 0);
    struct cistern_rocks_statistics statistics;
    cistern_rocks_statistics(backend, &statistics);
    print_message("cache %.1f MiB, write buffers %.1f of %.1f MiB, %llu flushes, %llu compactions, "
                  "%llu gate waits, %.2f s\n",
        (double)statistics.block_cache_bytes / 1048576,
        (double)statistics.write_buffer_bytes / 1048576,
        (double)statistics.write_buffer_allowance_bytes / 1048576,
        (unsigned long long)statistics.flush_count, (unsigned long long)statistics.compaction_count,
        (unsigned long long)statistics.gate_wait_count, (double)statistics.gate_wait_ns / 1e9);
    assert_true(statistics.flush_count > 0 && statistics.compaction_count > 0);
    assert_ok(cistern_backend_close(backend, &fixture.error), fixture.error);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bound)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
