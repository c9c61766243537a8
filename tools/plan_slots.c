/* plan_slots.c -- the slots of a plan: the default ones, or those that --slot asks for, in order. */
#include "plan.h"
#include "suggest.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/size.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
} dimensions[] = {
    {"task-heap", offsetof(struct cistern_process_profile, task_heap_bytes)},
    {"task-off-heap", offsetof(struct cistern_process_profile, task_off_heap_bytes)},
    {"managed", offsetof(struct cistern_process_profile, managed_bytes)},
    {"network", offsetof(struct cistern_process_profile, network_bytes)},
};
#define DIMENSION_COUNT (sizeof dimensions / sizeof dimensions[0])

static uint32_t dimension_set(struct cistern_process_profile *profile, const char *name,
    const char *value, struct cistern_error *error)
{
    struct suggest suggest = suggest_begin(name);
    suggest_offer(&suggest, "cpu");
    uint32_t status = CISTERN_INVALID;
    if (strcmp(name, "cpu") == 0) {
        status = cistern_process_cpu_parse(value, &profile->cpu_e8, error);
    } else {
        uint32_t i = 0;
        while (i < DIMENSION_COUNT && strcmp(dimensions[i].name, name) != 0) {
            suggest_offer(&suggest, dimensions[i++].name);
        }
        if (i == DIMENSION_COUNT) {
            return cistern_fail(error, CISTERN_INVALID, "--slot",
                "unknown part \"%s\"%s%s%s; there are cpu, task-heap, task-off-heap, managed, "
                "network",
                name, suggest.best != NULL ? "; did you mean " : "",
                suggest.best != NULL ? suggest.best : "", suggest.best != NULL ? "?" : "");
        }
        status = cistern_size_parse(
            value, (uint64_t *)(void *)((char *)profile + dimensions[i].offset), error);
    }
    if (status != CISTERN_OK && error != NULL) {
        snprintf(error->object, sizeof error->object, "--slot %s", name);
    }
    return status;
}

/* "cpu=0.25,task-heap=512m,managed=256m" */
static uint32_t profile_parse(
    const char *text, struct cistern_process_profile *ret_profile, struct cistern_error *error)
{
    char copy[256];
    if (strlen(text) >= sizeof copy) {
        return cistern_fail(error, CISTERN_INVALID, "--slot", "a request of more than 255 bytes");
    }
    snprintf(copy, sizeof copy, "%s", text);
    *ret_profile = (struct cistern_process_profile){0};
    char *rest = copy;
    for (char *part = strsep(&rest, ","); part != NULL; part = strsep(&rest, ",")) {
        char *equals = strchr(part, '=');
        if (equals == NULL) {
            return cistern_fail(error, CISTERN_INVALID, "--slot",
                "\"%s\" is not NAME=VALUE, as in cpu=0.25,task-heap=512m,managed=256m", part);
        }
        *equals = '\0';
        uint32_t status = dimension_set(ret_profile, part, equals + 1, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

static uint32_t request_open(
    struct plan *plan, const char *text, uint32_t index, struct cistern_error *error)
{
    struct cistern_process_profile profile;
    struct cistern_process_slot *slot = &plan->slots[index];
    uint32_t status;
    if (text == NULL) {
        status = cistern_process_worker_allocate(&plan->worker, NULL, index, slot, error);
    } else if (strcmp(text, "default") == 0) {
        status = cistern_process_worker_allocate(
            &plan->worker, NULL, plan->spec.slot_count, slot, error);
    } else {
        status = profile_parse(text, &profile, error);
        if (status == CISTERN_OK) {
            status = cistern_process_worker_allocate(&plan->worker, &profile, index, slot, error);
        }
    }
    if (status == CISTERN_OK) {
        cistern_process_slot_divide(&plan->spec, plan->present, slot);
    }
    return status;
}

uint32_t plan_slots_open(
    struct plan *plan, const struct plan_settings *settings, struct cistern_error *error)
{
    plan->is_fine_grained = settings->slots.count > 0;
    uint32_t count = plan->is_fine_grained ? settings->slots.count : plan->spec.slot_count;
    cistern_process_worker_init(&plan->worker, &plan->spec);
    plan->slots = cistern_allocate_zeroed(count, sizeof plan->slots[0]);
    if (plan->slots == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for %u slots", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t status =
            request_open(plan, plan->is_fine_grained ? settings->slots.items[i] : NULL, i, error);
        if (status != CISTERN_OK) {
            return status;
        }
        plan->slot_count++;
    }
    return CISTERN_OK;
}

uint32_t plan_consumers_parse(const char *text, uint32_t *ret_present, struct cistern_error *error)
{
    char copy[96];
    uint32_t present = 0;
    snprintf(copy, sizeof copy, "%s", text);
    char *rest = copy;
    for (char *name = strsep(&rest, ","); name != NULL; name = strsep(&rest, ",")) {
        uint32_t i = 0;
        while (i < CISTERN_PROCESS_CONSUMER_COUNT &&
               strcmp(cistern_process_consumer_name(i), name) != 0) {
            i++;
        }
        if (i == CISTERN_PROCESS_CONSUMER_COUNT) {
            return cistern_fail(error, CISTERN_INVALID, "--consumers",
                "\"%s\" is not one of OPERATOR, STATE_BACKEND, PYTHON", name);
        }
        present |= 1u << i;
    }
    *ret_present = present;
    return CISTERN_OK;
}
