/* flink_keys.c -- see flink_keys.h. Keys: Flink documentation, "Configuration" (1.20 names and
 * the older ones they replace). */
#include "flink_keys.h"
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

static const struct flink_key *key_find(
    const char *name, size_t length, struct cistern_error *error)
{
    char text[128];
    snprintf(text, sizeof text, "%.*s", (int)(length < 120 ? length : 120), name);
    struct suggest suggest = suggest_begin(text);
    for (uint32_t i = 0; i < sizeof flink_keys / sizeof flink_keys[0]; i++) {
        if (strcmp(flink_keys[i].name, text) == 0) {
            return &flink_keys[i];
        }
        suggest_offer(&suggest, flink_keys[i].name);
    }
    if (suggest.best != NULL) {
        (void)cistern_fail(
            error, CISTERN_INVALID, "-D", "unknown key %s; did you mean %s?", text, suggest.best);
    } else {
        (void)cistern_fail(error, CISTERN_INVALID, "-D",
            "unknown key %s; known here: taskmanager.memory.managed.size, "
            "taskmanager.numberOfTaskSlots, state.backend.type, "
            "execution.checkpointing.{interval,dir,num-retained}",
            text);
    }
    return NULL;
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

uint32_t flink_keys_apply(struct run_settings *settings, struct cistern_error *error)
{
    for (uint32_t i = 0; i < settings->defines.count; i++) {
        const char *define = settings->defines.items[i];
        const char *equals = strchr(define, '=');
        if (equals == NULL) {
            return cistern_fail(error, CISTERN_INVALID, "-D", "\"%s\" is not KEY=VALUE", define);
        }
        const struct flink_key *key = key_find(define, (size_t)(equals - define), error);
        if (key == NULL) {
            return CISTERN_INVALID;
        }
        const char *value = key->is_backend ? backend_translate(equals + 1) : equals + 1;
        if (value == NULL) {
            return cistern_fail(error, CISTERN_INVALID, key->name,
                "\"%s\" is not one of hashmap, rocksdb", equals + 1);
        }
        if (run_given(settings, key->option)) {
            continue;
        }
        uint32_t status =
            option_set(&run_options[key->option], &settings->base, key->name, value, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}
