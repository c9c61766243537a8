/*
 * bench_charge.c -- what permission costs: a page charged and uncharged, by one thread and by eight
 * on eight slots; by a component with one caller at a time, and by one that any thread may charge.
 *
 * There is room for every charge: a refusal is an error of the case.
 */
#include "bench.h"

#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/pool.h"

#include <pthread.h>
#include <time.h>

#define CHARGE_BUDGET_BYTES ((uint64_t)256 << 20)
#define CHARGE_BYTES 4096u
#define CHARGE_SLOTS 8u
#define CHARGE_ROUNDS 4096u

struct charger {
    struct cistern_component *component;
    int64_t run_ns;
    double ns_each; /* of this thread's own time: eight of them may share fewer cores */
    uint64_t refused;
};

struct charge_house {
    struct cistern_slot *slots[CHARGE_SLOTS];
    struct cistern_component *exclusive[CHARGE_SLOTS];
    struct cistern_component *any_thread[CHARGE_SLOTS];
};

static int64_t thread_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *charger_main(void *arg)
{
    struct charger *charger = arg;
    int64_t begin_ns = thread_now_ns(), now_ns = begin_ns;
    uint64_t count = 0;
    while (now_ns - begin_ns < charger->run_ns) {
        for (uint32_t i = 0; i < CHARGE_ROUNDS; i++) {
            if (cistern_component_charge(charger->component, CHARGE_BYTES) == CISTERN_OK) {
                cistern_component_uncharge(charger->component, CHARGE_BYTES);
            } else {
                charger->refused++;
            }
        }
        count += CHARGE_ROUNDS;
        now_ns = thread_now_ns();
    }
    charger->ns_each = (double)(now_ns - begin_ns) / (double)count;
    return NULL;
}

/* The mean of `count` threads, each on its own component. */
static uint32_t sample_run(struct bench *bench, struct cistern_component *const *components,
    uint32_t count, double *ret_ns, struct cistern_error *error)
{
    struct charger chargers[CHARGE_SLOTS];
    pthread_t threads[CHARGE_SLOTS];
    uint32_t started = 0;
    double total_ns = 0;
    uint64_t refused = 0;
    while (started < count) {
        chargers[started] = (struct charger){
            .component = components[started], .run_ns = bench_sample_ns(bench) / count};
        if (pthread_create(&threads[started], NULL, charger_main, &chargers[started]) != 0) {
            break;
        }
        started++;
    }
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        total_ns += chargers[i].ns_each;
        refused += chargers[i].refused;
    }
    *ret_ns = total_ns / count;
    if (started < count) {
        return cistern_fail(error, CISTERN_IO, "thread", "cannot start %u threads", count);
    }
    return refused == 0 ? CISTERN_OK
                        : cistern_fail(error, CISTERN_LIMIT, "charge",
                              "%llu charges were refused although there was room",
                              (unsigned long long)refused);
}

static uint32_t case_run(struct bench *bench, const char *name,
    struct cistern_component *const *components, uint32_t count, struct cistern_error *error)
{
    double samples[BENCH_SAMPLES];
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        status = sample_run(bench, components, count, &samples[i], error);
    }
    if (status == CISTERN_OK) {
        bench_print(bench, name, "ns", samples, NULL, NULL);
    }
    return status;
}

static uint32_t house_open(
    struct bench *bench, struct charge_house *house, struct cistern_error *error)
{
    struct cistern_component_options options = {
        .name = "bench", .reclaim_class = CISTERN_RECLAIM_NEVER};
    uint32_t status = bench_pool_open(bench, CHARGE_BUDGET_BYTES, CHARGE_SLOTS, error);
    for (uint32_t i = 0; i < CHARGE_SLOTS && status == CISTERN_OK; i++) {
        house->slots[i] = bench->slot;
        if (i > 0) {
            house->slots[i] = NULL;
            status = cistern_slot_open(bench->pool, NULL, &house->slots[i], error);
        }
        options.is_exclusive = 0;
        if (status == CISTERN_OK) {
            status =
                cistern_component_open(house->slots[i], &options, &house->any_thread[i], error);
        }
        options.is_exclusive = 1;
        if (status == CISTERN_OK) {
            status = cistern_component_open(house->slots[i], &options, &house->exclusive[i], error);
        }
    }
    return status;
}

/* bench->slot is closed with the pool. */
static uint32_t house_close(struct charge_house *house, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < CHARGE_SLOTS; i++) {
        cistern_component_close(house->exclusive[i]);
        cistern_component_close(house->any_thread[i]);
        if (i > 0 && house->slots[i] != NULL && status == CISTERN_OK) {
            status = cistern_slot_close(house->slots[i], error);
        }
    }
    return status;
}

uint32_t bench_charge(struct bench *bench, struct cistern_error *error)
{
    struct charge_house house = {0};
    uint32_t status = house_open(bench, &house, error);
    if (status == CISTERN_OK) {
        status = case_run(bench, "charge_uncharge", house.exclusive, 1, error);
    }
    if (status == CISTERN_OK) {
        status = case_run(bench, "charge_uncharge_8_slots", house.exclusive, CHARGE_SLOTS, error);
    }
    if (status == CISTERN_OK) {
        status = case_run(bench, "charge_uncharge_any_thread", house.any_thread, 1, error);
    }
    if (status == CISTERN_OK) {
        status = case_run(
            bench, "charge_uncharge_any_thread_8_slots", house.any_thread, CHARGE_SLOTS, error);
    }
    uint32_t closed = house_close(&house, status == CISTERN_OK ? error : NULL);
    bench_pool_close(bench);
    return status == CISTERN_OK ? closed : status;
}
