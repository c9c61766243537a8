/* bench.c -- see bench.h. */
#include "bench.h"
#include "command.h"
#include "complaint.h"

#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/endian.h"
#include "cistern/error.h"
#include "cistern/size.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELD(name) (uint16_t) offsetof(struct bench_settings, name)
#define SECONDS_DEFAULT 1u
#define SECONDS_MAX 3600u
#define ENTRIES_MAX 1000000000u

enum { OPTION_JSON, OPTION_SECONDS, OPTION_ENTRIES, OPTION_PAGES, OPTION_PART, OPTION_DIR };
static const struct option options[] = {
    [OPTION_JSON] = {"json", 0, OPTION_FLAG, FIELD(json), NULL, NULL, "an object per line"},
    [OPTION_SECONDS] = {"seconds", 0, OPTION_COUNT, FIELD(seconds), "S", NULL,
        "time for one case, about (1)"},
    [OPTION_ENTRIES] = {"entries", 0, OPTION_LIST, FIELD(entries), "N", NULL,
        "state size; may be repeated (the suite's own)"},
    [OPTION_PAGES] = {"pages", 0, OPTION_CHOICE, FIELD(pages), "KIND", "huge|small",
        "heap: pages of the state and of the peers beside it: huge or small (huge)"},
    [OPTION_PART] = {"part", 0, OPTION_CHOICE, FIELD(part), "NAME",
        "access|long|grow|stall|space|snapshot|chain|flink", "heap: only this part of the suite"},
    [OPTION_DIR] = {"dir", 0, OPTION_TEXT, FIELD(directory), "DIR", NULL,
        "where scratch files go (TMPDIR)"},
};
static const struct option_table table = {options, sizeof options / sizeof options[0], 0, 0, ""};

static const struct suite {
    const char *name;
    uint32_t (*run)(struct bench *bench, struct cistern_error *error);
    uint64_t entries;
    uint32_t wants_directory;
} suites[] = {
    {"memory", bench_memory, 0, 0},
    {"heap", bench_heap, 1000000, 0},
    {"rocks", bench_rocks, 200000, 1},
    {"checkpoint", bench_checkpoint, 500000, 1},
    {"io", bench_io, 0, 1},
};

int64_t bench_sample_ns(const struct bench *bench)
{
    return (int64_t)bench->settings->seconds * 1000000000 / BENCH_SAMPLES;
}

uint32_t bench_pool_open(
    struct bench *bench, uint64_t budget_bytes, uint32_t slot_count, struct cistern_error *error)
{
    struct cistern_pool_options pool = {.budget_bytes = budget_bytes, .slot_count_max = slot_count};
    uint32_t status = cistern_pool_create(&pool, &bench->pool, error);
    return status == CISTERN_OK ? cistern_slot_open(bench->pool, NULL, &bench->slot, error)
                                : status;
}

void bench_pool_close(struct bench *bench)
{
    struct cistern_error error;
    if (bench->slot != NULL && cistern_slot_close(bench->slot, &error) != CISTERN_OK) {
        complaint_warn("%s (%s)", error.message, error.object);
    }
    if (bench->pool != NULL && cistern_pool_destroy(bench->pool, &error) != CISTERN_OK) {
        complaint_warn("%s (%s)", error.message, error.object);
    }
    bench->slot = NULL;
    bench->pool = NULL;
}

/* ---- load ---- */

void bench_batch_fill(struct bench_batch *batch, uint64_t first, uint64_t entries)
{
    for (uint32_t i = 0; i < BENCH_BATCH; i++) {
        uint64_t id = bench_scatter((first + i) % entries);
        cistern_put_u64_be(batch->keys[i], id);
        cistern_put_u64_be(batch->keys[i] + 8, ~id);
        memset(batch->values[i], (int)(first + i) & 0xFF, BENCH_VALUE_BYTES);
        batch->addresses[i] = (struct cistern_address){
            .key = {batch->keys[i], BENCH_KEY_BYTES}, .key_group = id % 128};
        batch->spans[i] = (struct cistern_span){batch->values[i], BENCH_VALUE_BYTES};
    }
}

static uint32_t verb_run(struct cistern_state *state, uint32_t verb, struct bench_batch *batch,
    struct cistern_error *error)
{
    uint32_t done = 0, status;
    switch (verb) {
    case BENCH_PUT:
        status = cistern_value_put_many(
            state, batch->addresses, batch->spans, BENCH_BATCH, &done, error);
        break;
    case BENCH_GET:
        status =
            cistern_value_get_many(state, batch->addresses, BENCH_BATCH, batch->results, error);
        break;
    default:
        for (uint32_t i = 0; i < BENCH_BATCH; i++) {
            batch->spans[i].bytes = 8;
        }
        status = cistern_value_add_many(
            state, batch->addresses, batch->spans, BENCH_BATCH, &done, error);
    }
    return status;
}

/* One batch on ours (state) or on the peer (state NULL). */
static uint32_t batch_run(struct bench *bench, struct cistern_state *state, uint32_t verb,
    struct bench_batch *batch, struct cistern_error *error)
{
    return state != NULL ? verb_run(state, verb, batch, error)
                         : bench->peer(bench->peer_arg, verb, batch, error);
}

/* One sample: batches until its time is up. Only the calls are timed, not making the keys. */
static uint32_t sample_run(struct bench *bench, struct cistern_state *state, uint32_t verb,
    struct bench_batch *batch, uint64_t *at, double *ret_rate, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    uint64_t operations = 0;
    int64_t busy_ns = 0;
    while (busy_ns < bench_sample_ns(bench) && status == CISTERN_OK) {
        /* A stride far from any power of two: neighbours in time are no neighbours in the order
         * of insertion. */
        bench_batch_fill(batch, *at += 7919 * BENCH_BATCH, bench->entries);
        int64_t begin_ns = cistern_now_ns();
        status = batch_run(bench, state, verb, batch, error);
        busy_ns += cistern_now_ns() - begin_ns;
        operations += BENCH_BATCH;
    }
    *ret_rate = (double)operations * 1000 / (double)busy_ns;
    return status;
}

static uint32_t verb_measure(struct bench *bench, struct cistern_state *state, uint32_t verb,
    const char *name, struct cistern_error *error)
{
    double samples[BENCH_SAMPLES];
    double peer_samples[BENCH_SAMPLES];
    struct bench_batch *batch = cistern_allocate_zeroed(1, sizeof *batch);
    uint32_t status = batch != NULL
                          ? CISTERN_OK
                          : cistern_fail(error, CISTERN_NO_MEMORY, name, "no memory for a batch");
    uint64_t at = 0;
    uint64_t peer_at = 0; /* the peer sees the same keys */
    for (uint32_t i = 0; i < BENCH_SAMPLES && status == CISTERN_OK; i++) {
        status = sample_run(bench, state, verb, batch, &at, &samples[i], error);
        if (status == CISTERN_OK && bench->peer != NULL) {
            status = sample_run(bench, NULL, verb, batch, &peer_at, &peer_samples[i], error);
        }
    }
    cistern_release(batch);
    if (status == CISTERN_OK) {
        bench_print(bench, name, "Mop/s", samples, bench->peer != NULL ? bench->peer_name : NULL,
            peer_samples);
    }
    return status;
}

static uint32_t state_fill(
    struct bench *bench, struct cistern_state *state, uint32_t verb, struct cistern_error *error)
{
    struct bench_batch *batch = cistern_allocate_zeroed(1, sizeof *batch);
    uint32_t status = batch != NULL
                          ? CISTERN_OK
                          : cistern_fail(error, CISTERN_NO_MEMORY, "fill", "no memory for a batch");
    for (uint64_t at = 0; at < bench->entries && status == CISTERN_OK; at += BENCH_BATCH) {
        bench_batch_fill(batch, at, bench->entries);
        status = verb_run(state, verb, batch, error);
        if (status == CISTERN_OK && bench->peer != NULL) {
            status = batch_run(bench, NULL, verb, batch, error);
        }
    }
    cistern_release(batch);
    return status;
}

uint32_t bench_backend(
    struct bench *bench, struct cistern_backend *backend, struct cistern_error *error)
{
    const struct cistern_state_descriptor value = {.name = "value",
        .kind = CISTERN_VALUE,
        .key_bytes = BENCH_KEY_BYTES,
        .value_bytes = BENCH_VALUE_BYTES};
    const struct cistern_state_descriptor sum = {.name = "sum",
        .kind = CISTERN_REDUCING,
        .key_bytes = BENCH_KEY_BYTES,
        .value_bytes = 8,
        .reduce = CISTERN_REDUCE_SUM_I64};
    struct cistern_state *values = NULL, *sums = NULL;
    uint32_t status = cistern_state_register(backend, &value, &values, error);
    if (status == CISTERN_OK) {
        status = cistern_state_register(backend, &sum, &sums, error);
    }
    if (status == CISTERN_OK) {
        status = state_fill(bench, values, BENCH_PUT, error);
    }
    if (status == CISTERN_OK) {
        status = verb_measure(bench, values, BENCH_PUT, "put", error);
    }
    if (status == CISTERN_OK) {
        status = verb_measure(bench, values, BENCH_GET, "get", error);
    }
    if (status == CISTERN_OK) {
        status = state_fill(bench, sums, BENCH_ADD, error);
    }
    if (status == CISTERN_OK) {
        status = verb_measure(bench, sums, BENCH_ADD, "add", error);
    }
    if (status == CISTERN_LIMIT && cistern_backend_explain(backend, error) == CISTERN_OK) {
        status = cistern_fail(
            error, CISTERN_LIMIT, "--entries", "the state does not fit the benchmark's budget");
    }
    return status;
}

/* ---- the command ---- */

static uint32_t directory_make(struct bench *bench, struct cistern_error *error)
{
    const char *parent =
        bench->settings->directory != NULL ? bench->settings->directory : getenv("TMPDIR");
    parent = parent != NULL && parent[0] != '\0' ? parent : "/tmp";
    int length =
        snprintf(bench->directory, sizeof bench->directory, "%s/cistern-bench-XXXXXX", parent);
    if (length < 0 || (size_t)length >= sizeof bench->directory) {
        bench->directory[0] = '\0';
        return cistern_fail(error, CISTERN_INVALID, parent, "the path is too long");
    }
    if (mkdtemp(bench->directory) == NULL) {
        bench->directory[0] = '\0';
        return cistern_fail_errno(error, errno, parent, "cannot make a scratch directory");
    }
    return CISTERN_OK;
}

static uint32_t round_run(
    const struct suite *suite, struct bench *bench, struct cistern_error *error)
{
    uint32_t status = suite->wants_directory ? directory_make(bench, error) : CISTERN_OK;
    if (status == CISTERN_OK) {
        status = suite->run(bench, error);
    }
    bench_pool_close(bench);
    if (bench->directory[0] != '\0' && rmdir(bench->directory) != 0) {
        complaint_warn("%s could not be removed: %s", bench->directory, strerror(errno));
    }
    bench->directory[0] = '\0';
    return status;
}

static int bench_run(struct option_settings *base, const char *path)
{
    struct bench_settings *settings = (struct bench_settings *)base;
    struct cistern_error error;
    cistern_error_clear(&error);
    const char *name = strrchr(path, ' ') + 1;
    const struct suite *suite = suites;
    while (strcmp(suite->name, name) != 0) {
        suite++; /* the command tree offers the names of this table only */
    }
    if ((base->given & 1u << OPTION_SECONDS) == 0) {
        settings->seconds = SECONDS_DEFAULT;
    }
    settings->pages = settings->pages != NULL ? settings->pages : "huge";
    if (settings->seconds < 1 || settings->seconds > SECONDS_MAX) {
        (void)cistern_fail(
            &error, CISTERN_INVALID, "--seconds", "a number of seconds, 1..%u", SECONDS_MAX);
        return complaint_usage(&error, path);
    }
    struct bench bench = {.settings = settings, .suite = suite->name};
    uint32_t rounds = settings->entries.count == 0 ? 1 : settings->entries.count;
    for (uint32_t i = 0; i < rounds; i++) {
        bench.entries = suite->entries;
        if (settings->entries.count > 0 &&
            (cistern_count_parse(settings->entries.items[i], &bench.entries, &error) !=
                    CISTERN_OK ||
                bench.entries < BENCH_BATCH || bench.entries > ENTRIES_MAX)) {
            (void)cistern_fail(&error, CISTERN_INVALID, "--entries", "a number of entries, %u..%u",
                BENCH_BATCH, ENTRIES_MAX);
            return complaint_usage(&error, path);
        }
        if (round_run(suite, &bench, &error) != CISTERN_OK) {
            return complaint_print(&error, NULL);
        }
    }
    return EXIT_DONE;
}

#define SUITE(suite_name, text)                                                                    \
    {                                                                                              \
        .name = suite_name, .summary = text, .table = &table,                                      \
        .settings_bytes = sizeof(struct bench_settings), .run = bench_run                          \
    }
static const struct command suite_commands[] = {
    SUITE("memory", "Charging, returning, committing pages."),
    SUITE("heap", "The heap backend beside hash maps and Flink: access, growth, space, snapshots."),
    SUITE("rocks", "RocksDB inside a slot, beside a bare one and Flink."),
    SUITE("checkpoint", "Upload, publication, a whole checkpoint cycle, full and incremental."),
    SUITE("io", "A durable write through each engine, beside a plain loop."),
};
const struct command bench_command = {
    .name = "bench",
    .summary = "Measure one module on this machine.",
    .children = suite_commands,
    .child_count = sizeof suite_commands / sizeof suite_commands[0],
};
