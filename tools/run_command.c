/* run_command.c -- the table of `cistern run wordcount`, and what its options come to. */
#include "command.h"
#include "complaint.h"
#include "flink_keys.h"
#include "managed.h"
#include "reading.h"
#include "run.h"

#include "cistern/error.h"

#include <string.h>

#define MANAGED_BYTES_DEFAULT ((uint64_t)256 << 20)
#define INTERVAL_NS_DEFAULT 10000000000
#define METRICS_INTERVAL_NS_DEFAULT 1000000000
#define MAX_PARALLELISM_DEFAULT 128u

static const struct option_table run_table = {
    run_options, RUN_OPTION_COUNT, 0, OPTION_LIST_MAX, "--input FILE..."};

static uint32_t range_check(const struct run_settings *settings, struct cistern_error *error)
{
    if (settings->slots < 1 || settings->slots > RUN_SLOTS_MAX) {
        return cistern_fail(
            error, CISTERN_INVALID, "--slots", "slots must be 1..%u", RUN_SLOTS_MAX);
    }
    if (settings->max_parallelism < settings->slots ||
        settings->max_parallelism > CISTERN_MAX_PARALLELISM_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "--max-parallelism",
            "max parallelism must be %llu (slots) .. %u", (unsigned long long)settings->slots,
            CISTERN_MAX_PARALLELISM_MAX);
    }
    if (settings->retain < 1 || settings->retain > 1000) {
        return cistern_fail(
            error, CISTERN_INVALID, "--retain", "checkpoints to keep must be 1..1000");
    }
    if (settings->checkpoint_interval_ns < 1000000 || settings->metrics_interval_ns < 1000000) {
        return cistern_fail(error, CISTERN_INVALID,
            settings->metrics_interval_ns < 1000000 ? "--metrics-interval"
                                                    : "--checkpoint-interval",
            "at least 1ms");
    }
    if (run_given(settings, RUN_CHECKPOINT_EVERY) && settings->checkpoint_every == 0) {
        return cistern_fail(error, CISTERN_INVALID, "--checkpoint-every", "at least 1 record");
    }
    if (run_given(settings, RUN_RATE) && settings->rate == 0) {
        return cistern_fail(error, CISTERN_INVALID, "--rate", "at least 1 record per second");
    }
    return CISTERN_OK;
}

static uint32_t together_check(const struct run_settings *settings, struct cistern_error *error)
{
    if (settings->inputs.count == 0) {
        return cistern_fail(
            error, CISTERN_INVALID, "--input", "nothing to read: --input FILE is missing");
    }
    if (run_given(settings, RUN_CHECKPOINT_EVERY) && run_given(settings, RUN_CHECKPOINT_INTERVAL)) {
        return cistern_fail(error, CISTERN_INVALID, "--checkpoint-every",
            "--checkpoint-every and --checkpoint-interval exclude each other");
    }
    if (settings->checkpoint_dir != NULL) {
        return CISTERN_OK;
    }
    static const enum run_option needing[] = {
        RUN_CHECKPOINT_EVERY, RUN_CHECKPOINT_INTERVAL, RUN_RETAIN, RUN_SAVEPOINT};
    for (uint32_t i = 0; i < sizeof needing / sizeof needing[0]; i++) {
        if (run_given(settings, needing[i])) {
            return cistern_fail(error, CISTERN_INVALID, run_options[needing[i]].name,
                "--%s needs --checkpoint-dir", run_options[needing[i]].name);
        }
    }
    if (settings->restore != NULL && strcmp(settings->restore, "latest") == 0) {
        return cistern_fail(
            error, CISTERN_INVALID, "--restore", "--restore latest needs --checkpoint-dir");
    }
    return CISTERN_OK;
}

static uint32_t settings_resolve(struct run_settings *settings, struct cistern_error *error)
{
    static const struct {
        const char *preset, *backend, *directory;
    } presets[] = {{"memory", "heap", "memory:"}, {"fs", "heap", NULL}, {"rocksdb", "rocks", NULL}};
    settings->slots = run_given(settings, RUN_SLOTS) ? settings->slots : 1;
    settings->retain = run_given(settings, RUN_RETAIN) ? settings->retain : 1;
    settings->managed_bytes =
        run_given(settings, RUN_MANAGED) ? settings->managed_bytes : MANAGED_BYTES_DEFAULT;
    settings->max_parallelism = run_given(settings, RUN_MAX_PARALLELISM) ? settings->max_parallelism
                                                                         : MAX_PARALLELISM_DEFAULT;
    if (!run_given(settings, RUN_CHECKPOINT_INTERVAL)) {
        settings->checkpoint_interval_ns = INTERVAL_NS_DEFAULT;
    }
    if (!run_given(settings, RUN_METRICS_INTERVAL)) {
        settings->metrics_interval_ns = METRICS_INTERVAL_NS_DEFAULT;
    }
    uint32_t status = flink_keys_apply(settings, error);
    for (uint32_t i = 0; status == CISTERN_OK && i < settings->base.arguments.count; i++) {
        status = option_list_add(&settings->inputs, settings->base.arguments.items[i], error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    settings->preset = settings->preset != NULL ? settings->preset : "rocksdb";
    for (uint32_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        if (strcmp(settings->preset, presets[i].preset) == 0) {
            settings->backend = settings->backend != NULL ? settings->backend : presets[i].backend;
            settings->checkpoint_dir =
                settings->checkpoint_dir != NULL ? settings->checkpoint_dir : presets[i].directory;
        }
    }
    if (settings->savepoint != NULL) {
        settings->savepoint = reading_path(settings->savepoint);
    }
    settings->io = settings->io != NULL ? settings->io : "auto";
    status = range_check(settings, error);
    status = status == CISTERN_OK ? together_check(settings, error) : status;
    return status == CISTERN_OK ? managed_resolve(NULL, settings, error) : status;
}

static int wordcount_command(struct option_settings *base, const char *path)
{
    struct run_settings *settings = (struct run_settings *)base;
    struct cistern_error error;
    cistern_error_clear(&error);
    uint32_t status = settings_resolve(settings, &error);
    int code = 0;
    if (status == CISTERN_OK) {
        code = run_wordcount(settings);
    } else if (status == CISTERN_NOT_FOUND || status == CISTERN_IO) {
        code = complaint_print(&error, "check the path of --config");
    } else {
        code = complaint_usage(&error, path);
    }
    conf_deinit(&settings->conf);
    return code;
}

static const struct command jobs[] = {
    {.name = "wordcount",
        .summary = "Counts the words of its input: word<TAB>count, sorted bytewise by word.",
        .details = "A word is a maximal run of bytes other than space, \\t, \\r, \\n, \\f and \\v. "
                   "A record is a word.\n"
                   "The output of a run that is killed and restarted with --restore latest, as "
                   "often as one likes, equals that of\n"
                   "an undisturbed one. SIGTERM or SIGINT: a last checkpoint (and the savepoint, "
                   "if asked for), then exit 0.",
        .table = &run_table,
        .settings_bytes = sizeof(struct run_settings),
        .run = wordcount_command},
};
const struct command run_command = {
    .name = "run",
    .summary = "Run a job: a small reference worker with keyed state under one memory budget.",
    .children = jobs,
    .child_count = sizeof jobs / sizeof jobs[0],
};
