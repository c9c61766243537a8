/* report.c -- see report.h. */
#include "report.h"
#include "text.h"

#include "cistern/alloc.h"
#include "cistern/cgroup.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/rocks.h"
#include "cistern/size.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_INTERVAL_NS 200000000
#define HOLDERS_MAX 256u

static uint32_t file_open(
    const char *path, const char *mode, FILE **ret_file, struct cistern_error *error)
{
    *ret_file = path != NULL ? fopen(path, mode) : NULL;
    return path == NULL || *ret_file != NULL
               ? CISTERN_OK
               : cistern_fail_errno(error, errno, path, "cannot open it for writing");
}

uint32_t report_init(struct report *report, const char *file, const char *metrics,
    int64_t metrics_interval_ns, struct cistern_error *error)
{
    memset(report, 0, sizeof *report);
    report->file_path = file;
    report->metrics_path = metrics;
    report->metrics_interval_ns = metrics_interval_ns;
    report->on_terminal = (uint32_t)isatty(STDERR_FILENO);
    uint32_t status = file_open(file, "we", &report->file, error);
    /* Appended: the runs that a kill divides are one job. */
    return status == CISTERN_OK ? file_open(metrics, "ae", &report->metrics, error) : status;
}

void report_deinit(struct report *report)
{
    if (report->file != NULL) {
        (void)fclose(report->file);
        report->file = NULL;
    }
    if (report->metrics != NULL) {
        (void)fclose(report->metrics);
        report->metrics = NULL;
    }
}

void report_start(struct report *report, uint64_t records_restored)
{
    report->started_ns = report->last_ns = cistern_now_ns();
    report->records_restored = report->last_records = report->records = records_restored;
    report->next_metrics_ns =
        report->metrics != NULL ? report->started_ns + report->metrics_interval_ns : INT64_MAX;
    report->next_progress_ns = report->on_terminal ? report->started_ns : INT64_MAX;
}

void report_checkpoint(struct report *report, const struct report_checkpoint *checkpoint)
{
    report->checkpoints[report->checkpoint_count++ % REPORT_CHECKPOINTS_MAX] = *checkpoint;
}

static double rate_of(uint64_t records, int64_t ns)
{
    return ns > 0 ? (double)records * 1e9 / (double)ns : 0;
}

static json_t *holders_make(struct cistern_pool *pool)
{
    struct cistern_holder *holders = cistern_allocate_zeroed(HOLDERS_MAX, sizeof *holders);
    uint32_t count = 0;
    json_t *array = json_array();
    if (holders != NULL && cistern_pool_holders(pool, holders, HOLDERS_MAX, &count) == CISTERN_OK) {
        for (uint32_t i = 0; i < count && i < HOLDERS_MAX; i++) {
            json_array_append_new(array,
                json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "slot", holders[i].slot,
                    "component", holders[i].component, "used_bytes",
                    (json_int_t)holders[i].used_bytes, "limit_bytes",
                    (json_int_t)holders[i].limit_bytes, "debt_bytes",
                    (json_int_t)holders[i].debt_bytes, "lent_bytes",
                    (json_int_t)holders[i].lent_bytes, "peak_bytes",
                    (json_int_t)holders[i].peak_bytes, "peak_ms", (json_int_t)holders[i].peak_ms,
                    "refusal_count", (json_int_t)holders[i].refusal_count));
        }
    }
    cistern_release(holders);
    return array;
}

/* What the slots' stores hold, of what the budget is: the rest is the process's own and slack. */
static uint64_t useful_bytes(struct cistern_pool *pool)
{
    struct cistern_holder *holders = cistern_allocate_zeroed(HOLDERS_MAX, sizeof *holders);
    uint32_t count = 0;
    uint64_t useful = 0;
    if (holders != NULL && cistern_pool_holders(pool, holders, HOLDERS_MAX, &count) == CISTERN_OK) {
        for (uint32_t i = 0; i < count && i < HOLDERS_MAX; i++) {
            useful += strcmp(holders[i].slot, "process") == 0 ? 0 : holders[i].used_bytes;
        }
    }
    cistern_release(holders);
    return useful;
}

/* Resident growth since the baseline, never negative. */
static uint64_t growth_of(uint64_t now, uint64_t baseline)
{
    return now > baseline ? now - baseline : 0;
}

/* Percent of time that tasks of the control group (else of the machine) waited for memory; nothing
 * where the kernel does not say. */
static void pressure_add(json_t *line)
{
    struct cistern_pressure pressure;
    if (cistern_pressure_read(NULL, &pressure, NULL) == CISTERN_OK &&
        pressure.source != CISTERN_PRESSURE_NONE) {
        (void)json_object_set_new(
            line, "pressure_some_10s", json_real(pressure.some.average_10s / 100.0));
        (void)json_object_set_new(
            line, "pressure_full_10s", json_real(pressure.full.average_10s / 100.0));
    }
}

static void metrics_print(struct report *report, const struct cistern_pool_usage *usage,
    struct cistern_pool *pool, int64_t now_ns)
{
    json_t *line = json_pack("{s:I, s:f, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
        "time_ms", (json_int_t)cistern_wall_ms(), "seconds",
        (double)(now_ns - report->started_ns) / 1e9, "records", (json_int_t)report->records,
        "records_per_second",
        rate_of(report->records - report->last_records, now_ns - report->last_ns), "managed_bytes",
        (json_int_t)usage->budget_bytes, "charged_bytes", (json_int_t)usage->charged_bytes,
        "useful_bytes", (json_int_t)useful_bytes(pool), "rss_bytes", (json_int_t)usage->rss_bytes,
        "rss_growth_bytes", (json_int_t)growth_of(usage->rss_bytes, usage->rss_baseline_bytes),
        "anon_growth_bytes", (json_int_t)growth_of(usage->anon_bytes, usage->anon_baseline_bytes),
        "checkpoints", (json_int_t)report->checkpoint_count, "holders", holders_make(pool));
    if (line != NULL) {
        pressure_add(line);
        (void)json_dumpf(line, report->metrics, JSON_COMPACT | JSON_REAL_PRECISION(9));
        (void)fputc('\n', report->metrics);
        (void)fflush(report->metrics);
        json_decref(line);
    }
    report->last_ns = now_ns;
    report->last_records = report->records;
}

static void progress_print(
    const struct report *report, const struct cistern_pool_usage *usage, int64_t now_ns)
{
    char records[TEXT_NUMBER_BYTES], charged[16], grown[16], budget[16];
    fprintf(stderr,
        "\r\033[K%s records  %.2f M/s  charged %s, resident +%s of %s  checkpoints %llu",
        text_number(records, report->records),
        rate_of(report->records - report->records_restored, now_ns - report->started_ns) / 1e6,
        cistern_size_format(charged, usage->charged_bytes),
        cistern_size_format(grown, growth_of(usage->rss_bytes, usage->rss_baseline_bytes)),
        cistern_size_format(budget, usage->budget_bytes),
        (unsigned long long)report->checkpoint_count);
    (void)fflush(stderr);
}

int64_t report_tick(struct report *report, struct cistern_pool *pool, uint64_t records)
{
    int64_t now_ns = cistern_now_ns();
    report->records = records;
    if (now_ns >= report->next_metrics_ns || now_ns >= report->next_progress_ns) {
        struct cistern_pool_usage usage;
        cistern_pool_usage(pool, &usage);
        if (now_ns >= report->next_metrics_ns) {
            metrics_print(report, &usage, pool, now_ns);
            report->next_metrics_ns = now_ns + report->metrics_interval_ns;
        }
        if (now_ns >= report->next_progress_ns) {
            progress_print(report, &usage, now_ns);
            report->next_progress_ns = now_ns + PROGRESS_INTERVAL_NS;
        }
    }
    return report->next_metrics_ns < report->next_progress_ns ? report->next_metrics_ns
                                                              : report->next_progress_ns;
}

void report_progress_end(struct report *report)
{
    if (report->on_terminal && report->next_progress_ns != INT64_MAX) {
        fputs("\r\033[K", stderr);
    }
}

static json_t *checkpoints_make(const struct report *report)
{
    json_t *array = json_array();
    uint64_t first = report->checkpoint_count > REPORT_CHECKPOINTS_MAX
                         ? report->checkpoint_count - REPORT_CHECKPOINTS_MAX
                         : 0;
    for (uint64_t i = first; i < report->checkpoint_count; i++) {
        const struct report_checkpoint *row = &report->checkpoints[i % REPORT_CHECKPOINTS_MAX];
        json_array_append_new(array,
            json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "id", (json_int_t)row->id,
                "kind", row->savepoint ? "savepoint" : "checkpoint", "trigger_ms",
                (json_int_t)row->trigger_ms, "sync_us", (json_int_t)row->sync_us, "async_ms",
                (json_int_t)row->async_ms, "state_bytes", (json_int_t)row->state_bytes,
                "uploaded_bytes", (json_int_t)row->uploaded_bytes, "files_new",
                (json_int_t)row->files_new, "files_reused", (json_int_t)row->files_reused));
    }
    return array;
}

static json_t *document_make(const struct report *report, struct cistern_pool *pool)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(pool, &usage);
    int64_t ns = report->finished_ns - report->started_ns;
    json_t *document = json_pack("{s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I}", "records",
        (json_int_t)report->records, "records_restored", (json_int_t)report->records_restored,
        "seconds", (double)ns / 1e9, "records_per_second",
        rate_of(report->records - report->records_restored, ns), "managed_bytes",
        (json_int_t)usage.budget_bytes, "managed_peak_bytes", (json_int_t)usage.charged_peak_bytes,
        "rss_baseline_bytes", (json_int_t)usage.rss_baseline_bytes, "rss_peak_bytes",
        (json_int_t)usage.rss_peak_bytes, "anon_baseline_bytes",
        (json_int_t)usage.anon_baseline_bytes, "anon_peak_bytes",
        (json_int_t)usage.anon_peak_bytes);
    json_t *more = json_pack("{s:I, s:s, s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o}",
        "entries", (json_int_t)report->entries, "backend", report->backend, "slots",
        (int)report->slot_count, "accounting",
        usage.accounting == CISTERN_ACCOUNTING_OWNED ? "owned" : "guest", "allocator",
        usage.allocator == CISTERN_ALLOCATOR_JEMALLOC ? "jemalloc" : "own", "io", report->io_engine,
        "rocksdb", cistern_rocks_build(), "overrun_count", (json_int_t)usage.overrun_count,
        "restored_checkpoint_id", (json_int_t)report->restored_id, "checkpoint_count",
        (json_int_t)report->checkpoint_count, "checkpoints_failed",
        (json_int_t)report->checkpoints_failed, "checkpoints", checkpoints_make(report), "holders",
        holders_make(pool));
    if (document == NULL || more == NULL || json_object_update(document, more) != 0) {
        json_decref(document);
        document = NULL;
    }
    json_decref(more);
    return document;
}

uint32_t report_write(struct report *report, struct cistern_pool *pool, struct cistern_error *error)
{
    if (report->metrics != NULL && ferror(report->metrics)) {
        return cistern_fail(
            error, CISTERN_IO, report->metrics_path, "the metrics could not be written");
    }
    if (report->file == NULL) {
        return CISTERN_OK;
    }
    json_t *document = document_make(report, pool);
    if (document == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, report->file_path, "no memory for the report");
    }
    int failed = json_dumpf(document, report->file, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0;
    failed |= fputc('\n', report->file) == EOF;
    failed |= fclose(report->file) != 0;
    report->file = NULL;
    json_decref(document);
    return failed ? cistern_fail(
                        error, CISTERN_IO, report->file_path, "the report could not be written")
                  : CISTERN_OK;
}
