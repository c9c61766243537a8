/* bench_result.c -- what a case has measured, for a person and as JSON; see bench.h. */
#include "bench.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void series_sort(struct bench_series *series)
{
    qsort(series->values, series->count, sizeof series->values[0], double_compare);
}

void bench_series_add(struct bench_series *series, double value)
{
    assert(series->count < BENCH_SAMPLES);
    series->values[series->count++] = value;
}

double bench_series_median(const struct bench_series *series)
{
    struct bench_series sorted = *series;
    series_sort(&sorted);
    return sorted.values[sorted.count / 2];
}

/* (largest - smallest) / median, of a sorted series */
static double spread_of(const struct bench_series *series)
{
    double median = series->values[series->count / 2];
    return median > 0 ? (series->values[series->count - 1] - series->values[0]) / median : 0;
}

static json_t *peers_json(const struct bench_result *result, double value)
{
    json_t *peers = json_array();
    for (uint32_t i = 0; i < result->peer_count; i++) {
        double median = bench_series_median(&result->peers[i]);
        json_array_append_new(
            peers, json_pack("{s:s, s:f, s:f, s:f}", "name", result->peer_names[i], "value", median,
                       "spread", spread_of(&result->peers[i]), "ratio", value / median));
    }
    return peers;
}

static json_t *references_json(const struct bench_result *result, double value)
{
    json_t *references = json_array();
    for (uint32_t i = 0; i < BENCH_REFERENCES_MAX && result->references[i].name != NULL; i++) {
        const struct bench_reference *reference = &result->references[i];
        json_array_append_new(
            references, json_pack("{s:s, s:f, s:f}", "name", reference->name, "value",
                            reference->value, "ratio", value / reference->value));
    }
    return references;
}

static void print_json(const struct bench *bench, const struct bench_result *result)
{
    const struct bench_series *ours = &result->ours;
    double value = ours->values[ours->count / 2];
    json_t *line = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:i}", "suite", bench->suite,
        "case", result->name, "unit", result->unit, "value", value, "spread", spread_of(ours),
        "min", ours->values[0], "max", ours->values[ours->count - 1], "samples", (int)ours->count);
    if (bench->entries > 0) {
        json_object_set_new(line, "entries", json_integer((json_int_t)bench->entries));
    }
    if (bench->build != NULL) {
        json_object_set_new(line, "build", json_string(bench->build));
    }
    if (result->peer_count > 0) {
        double median = bench_series_median(&result->peers[0]);
        json_object_set_new(line, "peer", json_string(result->peer_names[0]));
        json_object_set_new(line, "peer_value", json_real(median));
        json_object_set_new(line, "ratio", json_real(value / median));
        json_object_set_new(line, "peers", peers_json(result, value));
    }
    if (result->references[0].name != NULL) {
        json_object_set_new(line, "reference", json_real(result->references[0].value));
        json_object_set_new(line, "reference_name", json_string(result->references[0].name));
        json_object_set_new(line, "references", references_json(result, value));
    }
    (void)json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(line);
}

static void print_text(const struct bench *bench, const struct bench_result *result)
{
    const struct bench_series *ours = &result->ours;
    double value = ours->values[ours->count / 2];
    if (bench->cases == 0) {
        printf("%-10s %-28s %10s  %-8s %8s  %s\n", "SUITE", "CASE", "MEDIAN", "UNIT", "SPREAD",
            "BESIDE");
    }
    printf("%-10s %-28s %10.4g  %-8s %7.1f%%  ", bench->suite, result->name, value, result->unit,
        100 * spread_of(ours));
    const char *separator = "";
    for (uint32_t i = 0; i < result->peer_count; i++) {
        double median = bench_series_median(&result->peers[i]);
        printf("%s%s %.4g, ratio %.2f", separator, result->peer_names[i], median, value / median);
        separator = "; ";
    }
    for (uint32_t i = 0; i < BENCH_REFERENCES_MAX && result->references[i].name != NULL; i++) {
        const struct bench_reference *reference = &result->references[i];
        printf("%s%s %.4g, %.2f times", separator, reference->name, reference->value,
            value / reference->value);
        separator = "; ";
    }
    if (bench->build != NULL) {
        printf("  [%s]", bench->build);
    }
    putchar('\n');
}

void bench_result_print(struct bench *bench, struct bench_result *result)
{
    assert(result->ours.count > 0);
    series_sort(&result->ours);
    for (uint32_t i = 0; i < result->peer_count; i++) {
        series_sort(&result->peers[i]);
    }
    if (bench->settings->json) {
        print_json(bench, result);
    } else {
        print_text(bench, result);
    }
    (void)fflush(stdout);
    bench->cases++;
}

void bench_print(struct bench *bench, const char *name, const char *unit,
    double samples[BENCH_SAMPLES], const char *peer, double *peer_samples)
{
    struct bench_result result = {.name = name, .unit = unit};
    result.ours.count = BENCH_SAMPLES;
    memcpy(result.ours.values, samples, sizeof result.ours.values);
    if (peer != NULL) {
        result.peer_names[result.peer_count] = peer;
        result.peers[result.peer_count].count = BENCH_SAMPLES;
        memcpy(result.peers[result.peer_count].values, peer_samples, sizeof result.ours.values);
        result.peer_count++;
    }
    bench_result_print(bench, &result);
}

void bench_value_print(struct bench *bench, const char *name, const char *unit, double value)
{
    struct bench_result result = {.name = name, .unit = unit};
    bench_series_add(&result.ours, value);
    bench_result_print(bench, &result);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t bench_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

int64_t bench_process_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* smaps_rollup walks the page tables; the counters of statm are batched per CPU and lag. */
uint64_t bench_rss_bytes(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (file == NULL) {
        return 0;
    }
    char line[128];
    unsigned long long kib = 0;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "Rss: %llu kB", &kib) != 1) {
    }
    (void)fclose(file);
    return kib * 1024;
}
