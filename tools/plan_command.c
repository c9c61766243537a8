/* plan_command.c -- `cistern plan`: reads a configuration, derives, prints; and how a refusal is
 * told. */
#include "command.h"
#include "complaint.h"
#include "plan.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

#define FIELD(name) (uint16_t) offsetof(struct plan_settings, name)

static const struct option plan_options[] = {
    {"config", 0, OPTION_TEXT, FIELD(config), "FILE|DIR", NULL,
        "config.yaml, flink-conf.yaml, or a directory with one of them"},
    {"define", 'D', OPTION_LIST, FIELD(defines), "KEY=VALUE", NULL,
        "one of Flink's option keys; wins over the file, the last one over the others"},
    {"consumers", 0, OPTION_TEXT, FIELD(consumers), "NAME,...", NULL,
        "who shares a slot's managed memory: OPERATOR, STATE_BACKEND, PYTHON (all)"},
    {"slot", 0, OPTION_LIST, FIELD(slots), "NAME=SIZE,...", NULL,
        "a slot made to measure, may be repeated: cpu=0.25,task-heap=512m,managed=256m; or "
        "default"},
    {"json", 0, OPTION_FLAG, FIELD(json), NULL, NULL, "one JSON document"},
    {"explain", 0, OPTION_FLAG, FIELD(explain), NULL, NULL, "each formula with its numbers"},
};
static const struct option_table plan_table = {
    plan_options, sizeof plan_options / sizeof plan_options[0], 0, 0, ""};

const char *plan_scope_name(uint32_t scope)
{
    static const char *const names[] = {
        [CISTERN_PROCESS_ROCKSDB_MANAGED] = "managed",
        [CISTERN_PROCESS_ROCKSDB_FIXED_SLOT] = "fixed-per-slot",
        [CISTERN_PROCESS_ROCKSDB_FIXED_TM] = "fixed-per-tm",
        [CISTERN_PROCESS_ROCKSDB_UNBOUNDED] = "unbounded",
    };
    return scope < sizeof names / sizeof names[0] ? names[scope] : "?";
}

static void skipped_warn(void *arg, const char *text)
{
    (void)arg;
    complaint_warn("%s", text);
}

static uint32_t conf_fill(
    struct plan *plan, const struct plan_settings *settings, struct cistern_error *error)
{
    plan->conf.warn = skipped_warn;
    uint32_t status = CISTERN_OK;
    if (settings->config != NULL) {
        status = conf_load(&plan->conf, settings->config, error);
    }
    for (uint32_t i = 0; status == CISTERN_OK && i < settings->defines.count; i++) {
        status = conf_define(&plan->conf, settings->defines.items[i], error);
    }
    if (status == CISTERN_OK) {
        status = plan_keys_check(plan, error);
    }
    if (status == CISTERN_OK && settings->consumers != NULL) {
        status = plan_consumers_parse(settings->consumers, &plan->present, error);
    }
    return status;
}

/* Where the option named by a refusal was written: the last line that counts. */
static void origin_print(const struct plan *plan, const char *key)
{
    for (uint32_t i = plan->conf.count; i > 0; i--) {
        const struct conf_origin *origin = &plan->conf.origins[i - 1];
        if (strcmp(plan->conf.settings[i - 1].key, key) == 0) {
            if (origin->file != NULL) {
                fprintf(stderr, "  %s:%u: %s: %s\n", origin->file, origin->line, key,
                    plan->conf.settings[i - 1].value);
            } else {
                fprintf(stderr, "  -D %s=%s\n", key, plan->conf.settings[i - 1].value);
            }
            return;
        }
    }
}

/* Flink's message first, whole, so that it can be found; then the log's line where that has more;
 * then the place and what to do. */
static int refusal_print(const struct plan *plan, const struct cistern_process_refusal *refusal)
{
    fprintf(stderr, "cistern: %s: %s%s\n", refusal->exception, refusal->wrapper, refusal->message);
    for (const char *line = refusal->causes; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        fprintf(stderr, "  caused by: %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
    const char *logged = refusal->logged + strlen(refusal->wrapper);
    if (strcmp(logged, refusal->message) != 0) {
        fprintf(stderr, "  in Flink's log: %s\n", logged);
    }
    origin_print(plan, refusal->option);
    fprintf(stderr, "  what to do: %s\n", refusal->advice);
    return EXIT_USAGE;
}

static int plan_make(struct plan *plan, const struct plan_settings *settings, const char *path)
{
    struct cistern_error error;
    struct cistern_process_refusal refusal;
    cistern_error_clear(&error);
    plan->present = PLAN_CONSUMERS_ALL;
    plan->warnings = json_array();
    uint32_t status = plan->warnings == NULL
                          ? cistern_fail(&error, CISTERN_NO_MEMORY, NULL, "no memory for the plan")
                          : conf_fill(plan, settings, &error);
    if (status == CISTERN_OK) {
        if (cistern_process_spec_derive(plan->conf.settings, plan->conf.count, &plan->spec,
                &refusal, &error) != CISTERN_OK) {
            return refusal_print(plan, &refusal);
        }
        status = plan_slots_open(plan, settings, &error);
    }
    if (status == CISTERN_INVALID) {
        return complaint_usage(&error, path);
    }
    if (status == CISTERN_LIMIT) {
        return complaint_print(&error, "ask for less, or give the worker more");
    }
    return status == CISTERN_OK ? EXIT_DONE : complaint_print(&error, NULL);
}

static int plan_run(struct option_settings *base, const char *path)
{
    const struct plan_settings *settings = (const struct plan_settings *)base;
    struct plan plan = {0};
    int code = plan_make(&plan, settings, path);
    if (code == EXIT_DONE) {
        plan_warnings_collect(&plan);
        if (settings->json) {
            code =
                plan_print_json(&plan, (int)settings->explain) == 0 ? EXIT_DONE : EXIT_OPERATIONAL;
        } else {
            plan_print_text(&plan);
            if (settings->explain) {
                plan_print_explanation(&plan);
            }
        }
    }
    json_decref(plan.warnings);
    cistern_release(plan.slots);
    conf_deinit(&plan.conf);
    return code;
}

const struct command plan_command = {
    .name = "plan",
    .summary = "Show what a Flink configuration comes to: every component of a worker's memory.",
    .details = "Sizes follow from Flink's own option keys, to the byte. A configuration that Flink "
               "would refuse: exit 2, with Flink's\nmessage. Without --config only -D counts.",
    .table = &plan_table,
    .settings_bytes = sizeof(struct plan_settings),
    .run = plan_run,
};
