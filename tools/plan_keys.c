/* plan_keys.c -- mistyped and outdated keys. Flink ignores what it does not know, so a typing error
 * there is a default in production; here it is said. */
#include "complaint.h"
#include "plan.h"
#include "suggest.h"

#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

/* Whoever writes below these means the memory model. */
static const char *const roofs[] = {
    "taskmanager.memory.", "taskmanager.network.memory.", "state.backend.rocksdb.memory."};
/* Older, and no size of the model: buffers are counted, not sized, by these. */
static const char *const neighbours[] = {"taskmanager.network.memory.buffers-per-channel",
    "taskmanager.network.memory.floating-buffers-per-gate",
    "taskmanager.network.memory.max-buffers-per-channel",
    "taskmanager.network.memory.max-overdraft-buffers-per-gate",
    "taskmanager.network.memory.exclusive-buffers-request-timeout-ms",
    "taskmanager.network.memory.read-buffer.required-per-gate.max"};

static int is_under_roof(const char *key)
{
    for (uint32_t i = 0; i < sizeof neighbours / sizeof neighbours[0]; i++) {
        if (strcmp(key, neighbours[i]) == 0) {
            return 0;
        }
    }
    for (uint32_t i = 0; i < sizeof roofs / sizeof roofs[0]; i++) {
        if (strncmp(key, roofs[i], strlen(roofs[i])) == 0) {
            return !(strstr(key, ".buffer-debloat.") != NULL);
        }
    }
    return 0;
}

/* The key that was meant: any near one below our roofs, elsewhere only one within two letters. */
static const char *key_meant(const char *key, int under_roof)
{
    struct suggest suggest = suggest_begin(key);
    const char *name;
    for (uint32_t i = 0; (name = cistern_process_key_name(i)) != NULL; i++) {
        suggest_offer(&suggest, name);
    }
    return under_roof || suggest.distance <= 2 ? suggest.best : NULL;
}

static void place_write(const struct conf_origin *origin, char place[320])
{
    if (origin->file != NULL) {
        snprintf(place, 320, "%.300s:%u: ", origin->file, origin->line);
    } else {
        place[0] = '\0';
    }
}

uint32_t plan_keys_check(const struct plan *plan, struct cistern_error *error)
{
    for (uint32_t i = 0; i < plan->conf.count; i++) {
        const char *key = plan->conf.settings[i].key;
        const struct conf_origin *origin = &plan->conf.origins[i];
        const char *newer;
        char place[320];
        uint32_t kind = cistern_process_key_kind(key, &newer);
        place_write(origin, place);
        if (kind == CISTERN_PROCESS_KEY_DEPRECATED) {
            complaint_warn("%s%s is deprecated%s%s", place, key,
                newer != NULL ? "; its name today is " : " and gone in Flink 2.0",
                newer != NULL ? newer : "");
        }
        if (kind != CISTERN_PROCESS_KEY_FOREIGN) {
            continue;
        }
        int under_roof = is_under_roof(key);
        const char *meant = key_meant(key, under_roof);
        if (meant == NULL && !under_roof) {
            continue;
        }
        if (origin->file == NULL) {
            return cistern_fail(error, CISTERN_INVALID, "-D", "unknown key %s%s%s%s", key,
                meant != NULL ? "; did you mean " : "", meant != NULL ? meant : "",
                meant != NULL ? "?" : "");
        }
        complaint_warn("%sunknown key %s, which Flink ignores%s%s%s", place, key,
            meant != NULL ? "; did you mean " : "", meant != NULL ? meant : "",
            meant != NULL ? "?" : "");
    }
    return CISTERN_OK;
}
