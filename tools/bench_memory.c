/* bench_memory.c -- what permission and pages cost. */
#include "bench.h"

#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/pool.h"
#include "cistern/region.h"

#include <pthread.h>
#include <string.h>

#define BUDGET_BYTES ((uint64_t)256 << 20)
#define ROUNDS 4096u
#define COMMIT_BYTES (1u << 20)

struct charger {
    struct cistern_component *component;
    int64_t run_ns;
    double ns_each;
    uint32_t refused;
};

static void *charger_main(void *arg)
{
    struct charger *charger = arg;
    int64_t begin_ns = cistern_now_ns(), now_ns = begin_ns;
    uint64_t count = 0;
    while (now_ns - begin_ns < charger->run_ns) {
        for (uint32_t i = 0; i < ROUNDS; i++) {
            if (cistern_component_charge(charger->component, 4096) == CISTERN_OK) {
                cistern_component_uncharge(charger->component, 4096);
            } else {
                charger->refused++;
            }
        }
        count += ROUNDS;
        now_ns = cistern_now_ns();
    }
    charger->ns_each = (double)(now_ns - begin_ns) / (double)count;
    return NULL;
}

static uint32_t charge_case(struct bench *bench, struct cistern_component *first,
    struct cistern_component *second, struct cistern_error *error)
{
    double one[BENCH_SAMPLES], two[BENCH_SAMPLES];
    uint32_t refused = 0;
    for (uint32_t i = 0; i < BENCH_SAMPLES; i++) {
        struct charger a = {.component = first, .run_ns = bench_sample_ns(bench)}, b = a;
        b.component = second;
        (void)charger_main(&a);
        one[i] = a.ns_each;
        pthread_t thread;
        if (pthread_create(&thread, NULL, charger_main, &b) != 0) {
            return cistern_fail(error, CISTERN_IO, "thread", "cannot start a second thread");
        }
        (void)charger_main(&a);
        pthread_join(thread, NULL);
        two[i] = (a.ns_each + b.ns_each) / 2;
        refused += a.refused + b.refused;
    }
    if (refused > 0) {
        return cistern_fail(error, CISTERN_LIMIT, "charge",
            "%u charges were refused although there was room", refused);
    }
    bench_print(bench, "charge_uncharge", "ns", one, NULL, NULL);
    bench_print(bench, "charge_uncharge_2_slots", "ns", two, NULL, NULL);
    return CISTERN_OK;
}

static uint32_t commit_case(
    struct bench *bench, struct cistern_component *component, struct cistern_error *error)
{
    struct cistern_region_options options = {.reserve_bytes = COMMIT_BYTES};
    struct cistern_region *region = NULL;
    double samples[BENCH_SAMPLES];
    uint32_t status = cistern_region_create(component, &options, &region, error);
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        int64_t begin_ns = cistern_now_ns(), now_ns = begin_ns;
        uint64_t bytes = 0;
        while (now_ns - begin_ns < bench_sample_ns(bench) && status == CISTERN_OK) {
            status = cistern_region_commit(region, 0, COMMIT_BYTES);
            if (status == CISTERN_OK) {
                memset(cistern_region_base(region), 1, COMMIT_BYTES);
                cistern_region_decommit(region, 0, COMMIT_BYTES);
                bytes += COMMIT_BYTES;
            }
            now_ns = cistern_now_ns();
        }
        samples[i] = (double)bytes / (1 << 20) * 1e9 / (double)(now_ns - begin_ns);
    }
    if (status == CISTERN_OK) {
        bench_print(bench, "commit_touch_decommit", "MiB/s", samples, NULL, NULL);
    }
    cistern_region_destroy(region);
    return status;
}

uint32_t bench_memory(struct bench *bench, struct cistern_error *error)
{
    struct cistern_slot *other = NULL;
    struct cistern_component *first = NULL, *second = NULL;
    const struct cistern_component_options options = {
        .name = "bench", .reclaim_class = CISTERN_RECLAIM_NEVER, .is_exclusive = 1};
    uint32_t status = bench_drift(bench, error);
    status = status == CISTERN_OK ? bench_loan(bench, error) : status;
    status = status == CISTERN_OK ? bench_pages(bench, error) : status;
    if (status == CISTERN_OK) {
        status = bench_pool_open(bench, BUDGET_BYTES, 2, error);
    }
    if (status == CISTERN_OK) {
        status = cistern_slot_open(bench->pool, NULL, &other, error);
    }
    if (status == CISTERN_OK) {
        status = cistern_component_open(bench->slot, &options, &first, error);
    }
    if (status == CISTERN_OK) {
        status = cistern_component_open(other, &options, &second, error);
    }
    if (status == CISTERN_OK) {
        status = charge_case(bench, first, second, error);
    }
    if (status == CISTERN_OK) {
        status = commit_case(bench, first, error);
    }
    cistern_component_close(second);
    cistern_component_close(first);
    if (other != NULL) {
        uint32_t closed = cistern_slot_close(other, status == CISTERN_OK ? error : NULL);
        status = status == CISTERN_OK ? closed : status;
    }
    return status;
}
