/* workload.c -- see workload.h. */
#include "workload.h"

#include "cistern/backend.h"
#include "cistern/clock.h"
#include "cistern/heap.h"
#include "cistern/pool.h"
#include "cistern/rocks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define MAX_PARALLELISM 128
#define CURSOR_COUNT 6
#define HEADER_BYTES 16 /* key number and length, so that a read can tell a wrong value */
#define OPERATIONS_MAX 400000
#define REFUSED_IN_A_ROW_MAX 10000

enum phase {
    PHASE_FILL,
    PHASE_DRIFT, /* sizes grow from small to large, or the other way */
    PHASE_DELETE,
    PHASE_READ,
    PHASE_ITERATE,
    PHASE_REOPEN,
    PHASE_COUNT
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint64_t x = *state;
    return (x ^ (x >> 29)) * UINT64_C(0x9E3779B97F4A7C15) >> 16;
}

static uint64_t between(uint64_t *state, uint64_t low, uint64_t high)
{
    return low + next_random(state) % (high - low + 1);
}

void workload_generate(uint64_t seed, int64_t run_ns, struct workload *ret_workload)
{
    uint64_t random = seed;
    (void)next_random(&random);
    uint32_t slot_count = (uint32_t)between(&random, 1, WORKLOAD_SLOTS_MAX);
    /* mostly small ones: there the data outgrows the budget soonest */
    uint64_t budget = 12 + 12 * slot_count;
    budget = (budget + between(&random, 0, UINT64_C(160) >> between(&random, 0, 4))) * MIB;
    /* rocks takes a 40th of its slot's limit: the share of what is not the process's, less debt */
    uint64_t process = budget / 16 < 8 * MIB ? 8 * MIB : budget / 16;
    uint64_t largest = (budget - process) / slot_count / 48;
    largest = largest < 4 * MIB ? largest : 4 * MIB;
    uint64_t value_max = UINT64_C(64) << between(&random, 0, 16);
    *ret_workload = (struct workload){.seed = seed,
        .budget_bytes = budget,
        .value_bytes_max = value_max < largest ? value_max : largest,
        .slot_count = slot_count,
        .phase_count = (uint32_t)between(&random, 3, 9),
        .run_ns = run_ns};
}

/* ---------------------------------------------------------------- one slot's thread */

struct slot_run {
    const struct workload *workload;
    const char *directory;
    struct cistern_pool *pool;
    uint32_t index;
    uint64_t random;
    int64_t end_ns;
    /* open between two PHASE_REOPEN */
    struct cistern_slot *slot;
    struct cistern_backend *backend;
    struct cistern_state *state;
    int is_rocks;
    uint64_t key_count; /* keys are 0 .. key_count - 1 */
    uint8_t *value;
    struct workload_result *result; /* of this slot alone until the threads are joined */
    struct cistern_error error;
};

static int fail(struct slot_run *run, const char *what)
{
    if (!run->result->failed) {
        run->result->failed = 1;
        snprintf(run->result->text, sizeof run->result->text, "slot %u (%s): %s: %s %s (%s)",
            run->index + 1, run->is_rocks ? "rocks" : "heap", what,
            cistern_status_name(run->error.status), run->error.message, run->error.object);
    }
    return 0;
}

static struct cistern_address address_of(uint64_t *storage, uint64_t key)
{
    *storage = key;
    struct cistern_span span = {storage, sizeof *storage};
    return (struct cistern_address){
        .key = span, .key_group = cistern_key_group_bytes(span, MAX_PARALLELISM)};
}

static uint32_t backend_open(struct slot_run *run)
{
    struct cistern_backend_options backend = {
        .max_parallelism = MAX_PARALLELISM, .range = {0, MAX_PARALLELISM - 1}};
    if (!run->is_rocks) {
        struct cistern_heap_options options = {.backend = backend};
        return cistern_heap_open(run->slot, &options, &run->backend, &run->error);
    }
    char path[512];
    snprintf(
        path, sizeof path, "%s/db-%u-%u", run->directory, run->index, run->result->reopened_count);
    struct cistern_rocks_options options = {.backend = backend, .directory = path};
    return cistern_rocks_open(run->slot, &options, &run->backend, &run->error);
}

static int slot_run_open(struct slot_run *run)
{
    run->is_rocks = next_random(&run->random) % 5 >= 2;
    uint64_t bytes_wanted = run->workload->budget_bytes / run->workload->slot_count *
                            between(&run->random, 1, run->is_rocks ? 4 : 1);
    run->key_count = bytes_wanted / (run->workload->value_bytes_max / 2 + 40) + 1;
    struct cistern_state_descriptor descriptor = {
        .name = "values", .kind = CISTERN_VALUE, .key_bytes = 8};
    if (cistern_slot_open(run->pool, NULL, &run->slot, &run->error) != CISTERN_OK) {
        return fail(run, "slot open");
    }
    if (backend_open(run) != CISTERN_OK) {
        return fail(run, "backend open");
    }
    if (cistern_state_register(run->backend, &descriptor, &run->state, &run->error) != CISTERN_OK) {
        return fail(run, "state register");
    }
    return 1;
}

static int slot_run_close(struct slot_run *run)
{
    if (run->backend != NULL && cistern_backend_close(run->backend, &run->error) != CISTERN_OK) {
        return fail(run, "backend close");
    }
    run->backend = NULL;
    if (run->slot != NULL && cistern_slot_close(run->slot, &run->error) != CISTERN_OK) {
        return fail(run, "slot close");
    }
    run->slot = NULL;
    return 1;
}

/* ---------------------------------------------------------------- operations */

static int is_over(const struct slot_run *run, uint64_t count)
{
    return run->result->failed || (count % 64 == 0 && cistern_now_ns() >= run->end_ns);
}

static int remove_key(struct slot_run *run, uint64_t key)
{
    uint64_t storage;
    struct cistern_address address = address_of(&storage, key);
    uint32_t status = cistern_value_remove(run->state, &address, &run->error);
    /* the heap store owes tombstones to nobody here; at its limit it may still need room to move */
    return status == CISTERN_OK || (status == CISTERN_LIMIT && !run->is_rocks) ||
           fail(run, "remove");
}

/* LIMIT brings no detail: it is asked for. */
static int fail_explained(struct slot_run *run, const char *what)
{
    return cistern_backend_explain(run->backend, &run->error) == CISTERN_OK
               ? fail(run, "refused, although there is room now")
               : fail(run, what);
}

/* At the limit the heap store answers LIMIT and nothing has happened: room comes by removing. */
static int put(struct slot_run *run, uint64_t key, uint64_t bytes)
{
    uint64_t storage;
    struct cistern_address address = address_of(&storage, key);
    memcpy(run->value, &key, sizeof key);
    memcpy(run->value + 8, &bytes, sizeof bytes);
    struct cistern_span value = {run->value, bytes};
    for (uint32_t tries = 0; tries < REFUSED_IN_A_ROW_MAX; tries++) {
        uint32_t status = cistern_value_put(run->state, &address, value, &run->error);
        if (status == CISTERN_OK) {
            run->result->put_count++;
            run->result->put_bytes += bytes;
            return 1;
        }
        if (status != CISTERN_LIMIT || run->is_rocks) {
            return status == CISTERN_LIMIT ? fail_explained(run, "put") : fail(run, "put");
        }
        run->result->refused_count++;
        if (!remove_key(run, next_random(&run->random) % run->key_count)) {
            return 0;
        }
    }
    return fail_explained(run, "put refused again and again");
}

static int check_value(struct slot_run *run, uint64_t key, struct cistern_span value)
{
    uint64_t seen[2];
    if (value.bytes < HEADER_BYTES) {
        return fail(run, "a value came back short");
    }
    memcpy(seen, value.data, sizeof seen);
    return (seen[0] == key && seen[1] == value.bytes) || fail(run, "a wrong value came back");
}

static int get(struct slot_run *run, uint64_t key)
{
    uint64_t storage;
    struct cistern_address address = address_of(&storage, key);
    struct cistern_span value;
    uint32_t status = cistern_value_get(run->state, &address, &value, &run->error);
    if (status == CISTERN_NOT_FOUND) {
        return 1;
    }
    return status == CISTERN_OK ? check_value(run, key, value) : fail(run, "get");
}

static uint64_t log_uniform(uint64_t *random, uint64_t low, uint64_t high)
{
    uint64_t bits = 0;
    while (low << (bits + 1) <= high) {
        bits++;
    }
    uint64_t base = low << between(random, 0, bits);
    uint64_t top = base * 2 < high ? base * 2 : high;
    return between(random, base, top > base ? top : base);
}

/* ---------------------------------------------------------------- phases */

static int phase_fill(struct slot_run *run, int drifts)
{
    uint64_t count = run->key_count < OPERATIONS_MAX ? run->key_count : OPERATIONS_MAX;
    uint64_t high = run->workload->value_bytes_max;
    int grows = next_random(&run->random) % 2 != 0;
    for (uint64_t i = 0; i < count && !is_over(run, i); i++) {
        uint64_t bytes = log_uniform(&run->random, HEADER_BYTES, high);
        if (drifts) {
            uint64_t at = grows ? i : count - 1 - i;
            uint64_t middle = HEADER_BYTES + (high - HEADER_BYTES) * at / count;
            bytes = between(
                &run->random, middle / 2 < HEADER_BYTES ? HEADER_BYTES : middle / 2, middle);
        }
        if (!put(run, next_random(&run->random) % run->key_count, bytes)) {
            return 0;
        }
    }
    return 1;
}

static int phase_delete(struct slot_run *run)
{
    uint64_t count = run->key_count < OPERATIONS_MAX ? run->key_count : OPERATIONS_MAX;
    for (uint64_t key = 0; key < count && !is_over(run, key); key++) {
        if (next_random(&run->random) % 10 != 0 && !remove_key(run, key)) {
            return 0;
        }
    }
    return 1;
}

static int phase_read(struct slot_run *run)
{
    uint64_t count = run->key_count < OPERATIONS_MAX / 2 ? run->key_count : OPERATIONS_MAX / 2;
    for (uint64_t i = 0; i < count && !is_over(run, i); i++) {
        if (!get(run, next_random(&run->random) % run->key_count)) {
            return 0;
        }
    }
    return 1;
}

static int cursor_step(struct slot_run *run, struct cistern_cursor *cursor)
{
    struct cistern_entry entries[16];
    uint32_t count;
    if (cistern_cursor_next(cursor, entries, 16, &count, &run->error) != CISTERN_OK) {
        return fail(run, "cursor next");
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key;
        memcpy(&key, entries[i].address.key.data, sizeof key);
        if (!check_value(run, key, entries[i].value)) {
            return 0;
        }
    }
    return 1;
}

/* Cursors stay open and move a little now and then, while the owner goes on writing. */
static int phase_iterate(struct slot_run *run)
{
    struct cistern_cursor *cursors[CURSOR_COUNT] = {NULL};
    int is_fine = 1;
    for (uint32_t i = 0; i < CURSOR_COUNT && is_fine; i++) {
        is_fine = cistern_entries_open(run->state, &cursors[i], &run->error) == CISTERN_OK ||
                  fail(run, "cursor open");
    }
    uint64_t count = run->key_count < OPERATIONS_MAX / 4 ? run->key_count : OPERATIONS_MAX / 4;
    for (uint64_t i = 0; i < count && is_fine && !is_over(run, i); i++) {
        is_fine = put(run, next_random(&run->random) % run->key_count,
            log_uniform(&run->random, HEADER_BYTES, run->workload->value_bytes_max));
        if (is_fine && i % 32 == 0) {
            is_fine = cursor_step(run, cursors[next_random(&run->random) % CURSOR_COUNT]);
        }
    }
    for (uint32_t i = 0; i < CURSOR_COUNT; i++) {
        if (cursors[i] != NULL) {
            cistern_cursor_close(cursors[i]);
        }
    }
    return is_fine;
}

static int phase_run(struct slot_run *run, enum phase phase)
{
    switch (phase) {
    case PHASE_FILL:
        return phase_fill(run, 0);
    case PHASE_DRIFT:
        return phase_fill(run, 1);
    case PHASE_DELETE:
        return phase_delete(run);
    case PHASE_READ:
        return phase_read(run);
    case PHASE_ITERATE:
        return phase_iterate(run);
    case PHASE_REOPEN:
    case PHASE_COUNT:
        break;
    }
    run->result->reopened_count++;
    return slot_run_close(run) && slot_run_open(run);
}

static void *slot_main(void *arg)
{
    struct slot_run *run = arg;
    if (slot_run_open(run) && phase_fill(run, 0)) {
        for (uint32_t i = 0; i < run->workload->phase_count && !is_over(run, 0); i++) {
            if (!phase_run(run, (enum phase)(next_random(&run->random) % PHASE_COUNT))) {
                break;
            }
        }
    }
    (void)slot_run_close(run);
    return NULL;
}

/* ---------------------------------------------------------------- the process */

static void result_add(struct workload_result *total, const struct workload_result *part)
{
    total->put_count += part->put_count;
    total->put_bytes += part->put_bytes;
    total->refused_count += part->refused_count;
    total->reopened_count += part->reopened_count;
    if (part->failed && !total->failed) {
        total->failed = 1;
        memcpy(total->text, part->text, sizeof total->text);
    }
}

static void bound_check(
    struct cistern_pool *pool, const struct workload *workload, struct workload_result *result)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(pool, &usage);
    result->growth_bytes = usage.rss_peak_bytes - usage.rss_baseline_bytes;
    result->overrun_count = usage.overrun_count;
    if (!result->failed &&
        result->growth_bytes > workload->budget_bytes + WORKLOAD_TOLERANCE_BYTES) {
        result->failed = 1;
        snprintf(result->text, sizeof result->text,
            "resident growth %.1f MiB is above the budget of %.1f MiB + 2 MiB (anonymous %.1f MiB)",
            (double)result->growth_bytes / (double)MIB,
            (double)workload->budget_bytes / (double)MIB,
            (double)(usage.anon_peak_bytes - usage.anon_baseline_bytes) / (double)MIB);
    }
}

void workload_run(
    const struct workload *workload, const char *directory, struct workload_result *ret_result)
{
    static struct slot_run runs[WORKLOAD_SLOTS_MAX];
    static struct workload_result results[WORKLOAD_SLOTS_MAX];
    pthread_t threads[WORKLOAD_SLOTS_MAX];
    struct cistern_pool *pool;
    struct cistern_error error;
    memset(ret_result, 0, sizeof *ret_result);
    for (uint32_t i = 0; i < workload->slot_count; i++) { /* before the baseline: not state */
        runs[i].value = malloc(workload->value_bytes_max);
        if (runs[i].value == NULL) {
            abort();
        }
        memset(runs[i].value, 0x5a, workload->value_bytes_max);
    }
    struct cistern_pool_options options = {.budget_bytes = workload->budget_bytes,
        .slot_count_max = workload->slot_count,
        .accounting = CISTERN_ACCOUNTING_OWNED};
    if (cistern_pool_create(&options, &pool, &error) != CISTERN_OK) {
        ret_result->failed = 1;
        snprintf(ret_result->text, sizeof ret_result->text, "pool: %s", error.message);
        return;
    }
    int64_t end_ns = cistern_now_ns() + workload->run_ns;
    for (uint32_t i = 0; i < workload->slot_count; i++) {
        runs[i].workload = workload;
        runs[i].directory = directory;
        runs[i].pool = pool;
        runs[i].index = i;
        runs[i].random = workload->seed * 31 + i;
        runs[i].end_ns = end_ns;
        runs[i].result = &results[i];
        if (pthread_create(&threads[i], NULL, slot_main, &runs[i]) != 0) {
            abort();
        }
    }
    for (uint32_t i = 0; i < workload->slot_count; i++) {
        pthread_join(threads[i], NULL);
        result_add(ret_result, &results[i]);
        free(runs[i].value);
    }
    bound_check(pool, workload, ret_result);
    if (cistern_pool_destroy(pool, &error) != CISTERN_OK && !ret_result->failed) {
        ret_result->failed = 1;
        snprintf(ret_result->text, sizeof ret_result->text, "pool close: %s", error.message);
    }
}
