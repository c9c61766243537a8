/* flink_keys.c -- see flink_keys.h. Keys: Flink documentation, "Configuration" (1.20 names and
 * the older ones they replace). */
#include "flink_keys.h"
#include "complaint.h"
#include "suggest.h"

#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

static const struct flink_key {
    const char *name;
    uint32_t option; /* enum run_option */
    uint32_t is_backend;
} flink_keys[] = {
    {"taskmanager.memory.managed.size", RUN_MANAGED, 0},
    {"taskmanager.numberOfTaskSlots", RUN_SLOTS, 0},
    {"state.backend.type", RUN_BACKEND, 1},
    {"state.backend", RUN_BACKEND, 1},
    {"execution.checkpointing.interval", RUN_CHECKPOINT_INTERVAL, 0},
    {"execution.checkpointing.dir", RUN_CHECKPOINT_DIR, 0},
    {"state.checkpoints.dir", RUN_CHECKPOINT_DIR, 0},
    {"execution.checkpointing.num-retained", RUN_RETAIN, 0},
    {"state.checkpoints.num-retained", RUN_RETAIN, 0},
    {"state.backend.rocksdb.localdir", RUN_WORK_DIR, 0},
};
static const struct {
    const char *flink;
    const char *ours;
} backends[] = {{"hashmap", "heap"}, {"rocksdb", "rocks"}, {"heap", "heap"}, {"rocks", "rocks"}};

static const struct flink_key *key_find(const char *name)
{
    for (uint32_t i = 0; i < sizeof flink_keys / sizeof flink_keys[0]; i++) {
        if (strcmp(flink_keys[i].name, name) == 0) {
            return &flink_keys[i];
        }
    }
    return NULL;
}

/* Flink ignores a mistyped key; on our command line it is an error. */
static uint32_t refuse_unknown(const char *name, struct cistern_error *error)
{
    struct suggest suggest = suggest_begin(name);
    const char *known;
    for (uint32_t i = 0; i < sizeof flink_keys / sizeof flink_keys[0]; i++) {
        suggest_offer(&suggest, flink_keys[i].name);
    }
    for (uint32_t i = 0; (known = cistern_process_key_name(i)) != NULL; i++) {
        suggest_offer(&suggest, known);
    }
    if (suggest.best != NULL) {
        return cistern_fail(
            error, CISTERN_INVALID, "-D", "unknown key %s; did you mean %s?", name, suggest.best);
    }
    return cistern_fail(error, CISTERN_INVALID, "-D",
        "unknown key %s; known here: taskmanager.numberOfTaskSlots, state.backend.type, "
        "execution.checkpointing.{interval,dir,num-retained} and the keys of Flink's memory model",
        name);
}

static const char *backend_translate(const char *value)
{
    for (uint32_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        if (strcmp(backends[i].flink, value) == 0) {
            return backends[i].ours;
        }
    }
    return NULL;
}

/* One key and value; what is said on the command line by an option of ours wins. */
static uint32_t setting_apply(struct run_settings *settings, const char *name, const char *text,
    int from_command_line, struct cistern_error *error)
{
    const struct flink_key *key = key_find(name);
    if (key == NULL) {
        const char *newer;
        return from_command_line &&
                       cistern_process_key_kind(name, &newer) == CISTERN_PROCESS_KEY_FOREIGN
                   ? refuse_unknown(name, error)
                   : CISTERN_OK;
    }
    const char *value = key->is_backend ? backend_translate(text) : text;
    if (value == NULL) {
        return cistern_fail(
            error, CISTERN_INVALID, key->name, "\"%s\" is not one of hashmap, rocksdb", text);
    }
    return run_given(settings, key->option)
               ? CISTERN_OK
               : option_set(&run_options[key->option], &settings->base, key->name, value, error);
}

/* Is any size given from which Flink would derive managed memory? */
static int model_is_given(const struct conf *conf)
{
    for (uint32_t i = 0; i < conf->count; i++) {
        const char *newer;
        const char *key = conf->settings[i].key;
        uint32_t kind = cistern_process_key_kind(key, &newer);
        if ((kind == CISTERN_PROCESS_KEY_READ || kind == CISTERN_PROCESS_KEY_DEPRECATED) &&
            (strncmp(key, "taskmanager.memory.", 19) == 0 ||
                strncmp(key, "taskmanager.heap.", 17) == 0)) {
            return 1;
        }
    }
    return 0;
}

/* The budget is what Flink would give to managed memory. */
static uint32_t managed_derive(struct run_settings *settings, struct cistern_error *error)
{
    static struct cistern_process_refusal refusal;
    struct cistern_process_spec spec;
    uint32_t status = cistern_process_spec_derive(
        settings->conf.settings, settings->conf.count, &spec, &refusal, error);
    if (status == CISTERN_INVALID) {
        complaint_note("%s: %s%s", refusal.exception, refusal.wrapper, refusal.message);
        return cistern_fail(error, CISTERN_INVALID,
            refusal.option[0] != '\0' ? refusal.option : "taskmanager.memory",
            "Flink would not start with these sizes; `cistern plan` explains them, --managed SIZE "
            "does without");
    }
    if (status == CISTERN_OK) {
        settings->managed_bytes = spec.parts[CISTERN_PROCESS_MANAGED].bytes;
    }
    return status;
}

static void skipped_warn(void *arg, const char *text)
{
    (void)arg;
    complaint_warn("%s", text);
}

uint32_t flink_keys_apply(struct run_settings *settings, struct cistern_error *error)
{
    struct conf *conf = &settings->conf;
    conf->warn = skipped_warn;
    uint32_t status =
        settings->config != NULL ? conf_load(conf, settings->config, error) : CISTERN_OK;
    for (uint32_t i = 0; status == CISTERN_OK && i < settings->defines.count; i++) {
        status = conf_define(conf, settings->defines.items[i], error);
    }
    for (uint32_t i = 0; status == CISTERN_OK && i < conf->count; i++) {
        status = setting_apply(settings, conf->settings[i].key, conf->settings[i].value,
            conf->origins[i].file == NULL, error);
    }
    if (status == CISTERN_OK && !run_given(settings, RUN_MANAGED) && model_is_given(conf)) {
        int has_size = 0;
        for (uint32_t i = 0; i < conf->count; i++) {
            has_size |= strcmp(conf->settings[i].key, "taskmanager.memory.managed.size") == 0;
        }
        status = has_size ? CISTERN_OK : managed_derive(settings, error);
    }
    return status;
}
