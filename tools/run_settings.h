/* run_settings.h -- what `cistern run` was asked for. Threads: main fills it, everyone reads it. */
#ifndef CISTERN_RUN_SETTINGS_H
#define CISTERN_RUN_SETTINGS_H

#include "conf.h"
#include "option.h"

#define RUN_SLOTS_MAX 256u

enum run_option {
    RUN_INPUT,
    RUN_OUTPUT,
    RUN_PRESET,
    RUN_BACKEND,
    RUN_SLOTS,
    RUN_MAX_PARALLELISM,
    RUN_MANAGED,
    RUN_CONFIG,
    RUN_DEFINE,
    RUN_CHECKPOINT_DIR,
    RUN_CHECKPOINT_INTERVAL,
    RUN_CHECKPOINT_EVERY,
    RUN_RETAIN,
    RUN_RESTORE,
    RUN_SAVEPOINT,
    RUN_TAKEOVER,
    RUN_WORK_DIR,
    RUN_IO,
    RUN_RATE,
    RUN_REPORT,
    RUN_METRICS,
    RUN_METRICS_INTERVAL,
    RUN_OPTION_COUNT
};
struct run_settings {
    struct option_settings base;
    struct option_list inputs;
    struct option_list defines;
    const char *config;
    struct conf conf; /* config and defines, read */
    const char *output; /* NULL = standard output */
    const char *preset;
    const char *backend;        /* "heap" or "rocks" */
    const char *checkpoint_dir; /* NULL = no checkpoints */
    const char *restore;
    const char *savepoint;
    const char *work_dir;
    const char *io;
    const char *report;
    const char *metrics;
    uint64_t slots;
    uint64_t max_parallelism;
    uint64_t managed_bytes;
    uint64_t checkpoint_every;
    uint64_t retain;
    uint64_t rate;
    int64_t checkpoint_interval_ns;
    int64_t metrics_interval_ns;
    uint32_t takeover;
};
extern const struct option run_options[RUN_OPTION_COUNT];

static inline int run_given(const struct run_settings *settings, enum run_option option)
{
    return (settings->base.given >> option & 1) != 0;
}

#endif
