/*
 * process_slot.c -- slots: what each is given, how consumers divide its managed memory, and slots
 * made to measure until the worker is full.
 *
 * Source: Flink documentation, "Set up TaskManager Memory" (consumer weights) and "Fine-Grained
 * Resource Management".
 */
#include "process_private.h"

#include "cistern/error.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *older; /* accepted up to 1.20 where the name is missing */
    uint32_t weight;
} consumers[CISTERN_PROCESS_CONSUMER_COUNT] = {
    [CISTERN_PROCESS_OPERATOR] = {"OPERATOR", "DATAPROC", 70},
    [CISTERN_PROCESS_STATE_BACKEND] = {"STATE_BACKEND", "DATAPROC", 70},
    [CISTERN_PROCESS_PYTHON] = {"PYTHON", NULL, 30},
};

const char *cistern_process_consumer_name(uint32_t consumer)
{
    return consumer < CISTERN_PROCESS_CONSUMER_COUNT ? consumers[consumer].name : "?";
}

/* ---- weights: "A:1,B:2", or a key per entry, or a YAML map on one line */

/* The text behind `name` in a list of name:number; 1 = found, cut at the end of the entry. */
static int entry_find(const char *list, const char *name, char value[24])
{
    size_t length = strlen(name);
    const char *at = list;
    while (*at != '\0') {
        at += strspn(at, " \t,{}");
        size_t entry = strcspn(at, ",}");
        size_t key = strcspn(at, ":,}");
        size_t trimmed = key;
        while (trimmed > 0 && (at[trimmed - 1] == ' ' || at[trimmed - 1] == '\t')) {
            trimmed--;
        }
        if (key < entry && trimmed == length && memcmp(at, name, length) == 0) {
            const char *begin = at + key + 1;
            size_t blanks = strspn(begin, " \t");
            size_t end = entry - key - 1;
            while (end > blanks && (begin[end - 1] == ' ' || begin[end - 1] == '\t')) {
                end--;
            }
            size_t bytes = end > blanks ? end - blanks : 0;
            snprintf(value, 24, "%.*s", (int)(bytes < 23 ? bytes : 23), begin + blanks);
            return 1;
        }
        at += entry;
    }
    return 0;
}

static int weight_find(const struct process_reader *reader, const char *name, char value[24])
{
    const char *list = process_option_text(reader, PROCESS_CONSUMER_WEIGHTS);
    if (list != NULL) {
        return entry_find(list, name, value);
    }
    const char *single = process_option_entry(reader, PROCESS_CONSUMER_WEIGHTS, name);
    if (single == NULL) {
        return 0;
    }
    snprintf(value, 24, "%s", single);
    return 1;
}

static int weights_configured(const struct process_reader *reader)
{
    char value[24];
    if (process_option_text(reader, PROCESS_CONSUMER_WEIGHTS) != NULL) {
        return 1;
    }
    for (uint32_t i = 0; i < CISTERN_PROCESS_CONSUMER_COUNT; i++) {
        if (weight_find(reader, consumers[i].name, value) ||
            (consumers[i].older != NULL && weight_find(reader, consumers[i].older, value))) {
            return 1;
        }
    }
    return 0;
}

/* Every entry must be name:value; Flink refuses the whole map else. */
static int list_check(const struct process_reader *reader)
{
    const char *list = process_option_text(reader, PROCESS_CONSUMER_WEIGHTS);
    if (list == NULL) {
        return 1;
    }
    for (const char *at = list + strspn(list, " \t,{}"); *at != '\0'; at += strspn(at, " \t,{}")) {
        size_t entry = strcspn(at, ",}");
        if (memchr(at, ':', entry) == NULL) {
            return process_refuse_as(reader->refusal, "IllegalArgumentException",
                PROCESS_CONSUMER_WEIGHTS, "write it as OPERATOR:70,STATE_BACKEND:70,PYTHON:30",
                "Could not parse value '%.200s' for key '%s'.", list,
                process_option_key(PROCESS_CONSUMER_WEIGHTS));
        }
        at += entry;
    }
    return 1;
}

int process_weights_read(const struct process_reader *reader, struct cistern_process_spec *spec)
{
    if (!list_check(reader)) {
        return 0;
    }
    int configured = weights_configured(reader);
    for (uint32_t i = 0; i < CISTERN_PROCESS_CONSUMER_COUNT; i++) {
        char value[24];
        int32_t weight = configured ? 0 : (int32_t)consumers[i].weight;
        if (configured &&
            (weight_find(reader, consumers[i].name, value) ||
                (consumers[i].older != NULL && weight_find(reader, consumers[i].older, value)))) {
            if (!process_int_parse(value, &weight)) {
                return process_refuse_as(reader->refusal, "NumberFormatException",
                    PROCESS_CONSUMER_WEIGHTS, "write whole numbers", "For input string: \"%s\"",
                    value);
            }
        }
        if (weight < 0) {
            return process_refuse(reader->refusal, PROCESS_CONSUMER_WEIGHTS,
                "write a weight of 0 or more",
                "Managed memory weight should not be negative. Configured weight for %s is %d.",
                consumers[i].name, weight);
        }
        spec->weights[i] = (uint32_t)weight;
    }
    return 1;
}

/* ---- shares of a slot */

void cistern_process_slot_divide(
    const struct cistern_process_spec *spec, uint32_t present, struct cistern_process_slot *slot)
{
    assert(present < 1u << CISTERN_PROCESS_CONSUMER_COUNT);
    locale_t before = process_locale_enter();
    uint64_t total = 0;
    for (uint32_t i = 0; i < CISTERN_PROCESS_CONSUMER_COUNT; i++) {
        total += (present >> i & 1) != 0 ? spec->weights[i] : 0;
    }
    for (uint32_t i = 0; i < CISTERN_PROCESS_CONSUMER_COUNT; i++) {
        struct cistern_process_share share = {0, 0};
        if (total > 0 && (present >> i & 1) != 0) {
            share.fraction = process_fraction_cut(spec->weights[i], total);
            share.bytes = (uint64_t)((double)slot->profile.managed_bytes * share.fraction);
        }
        slot->consumers[i] = share;
    }
    process_locale_leave(before);
    uint64_t bytes = spec->rocksdb_scope == CISTERN_PROCESS_ROCKSDB_MANAGED
                         ? slot->consumers[CISTERN_PROCESS_STATE_BACKEND].bytes
                         : spec->rocksdb_fixed_bytes;
    uint64_t half = PROCESS_BYTES_MAX / 2;
    cistern_process_rocksdb_size(bytes < half ? bytes : half, spec->write_buffer_ratio,
        spec->high_priority_pool_ratio, spec->write_buffer_bytes, &slot->rocksdb);
    slot->rocksdb.scope = spec->rocksdb_scope;
}

/* ---- the worker */

void cistern_process_worker_init(
    struct cistern_process_worker *worker, const struct cistern_process_spec *spec)
{
    assert(spec->slot_count > 0);
    const struct cistern_process_part *parts = spec->parts;
    struct cistern_process_profile total = {
        .cpu_e8 = spec->cpu_e8,
        .task_heap_bytes = parts[CISTERN_PROCESS_TASK_HEAP].bytes,
        .task_off_heap_bytes = parts[CISTERN_PROCESS_TASK_OFF_HEAP].bytes,
        .managed_bytes = parts[CISTERN_PROCESS_MANAGED].bytes,
        .network_bytes = parts[CISTERN_PROCESS_NETWORK].bytes,
    };
    uint64_t count = spec->slot_count;
    *worker = (struct cistern_process_worker){
        .total = total,
        .available = total,
        .default_profile = {total.cpu_e8 / count, total.task_heap_bytes / count,
            total.task_off_heap_bytes / count, total.managed_bytes / count,
            total.network_bytes / count},
        .slot_count = spec->slot_count,
    };
}

static int profile_fits(
    const struct cistern_process_profile *room, const struct cistern_process_profile *wanted)
{
    return wanted->cpu_e8 <= room->cpu_e8 && wanted->task_heap_bytes <= room->task_heap_bytes &&
           wanted->task_off_heap_bytes <= room->task_off_heap_bytes &&
           wanted->managed_bytes <= room->managed_bytes &&
           wanted->network_bytes <= room->network_bytes;
}

/* The first dimension that does not fit, for people. */
static const char *profile_shortage(
    const struct cistern_process_profile *room, const struct cistern_process_profile *wanted)
{
    return wanted->cpu_e8 > room->cpu_e8                             ? "CPU cores"
           : wanted->task_heap_bytes > room->task_heap_bytes         ? "task heap"
           : wanted->task_off_heap_bytes > room->task_off_heap_bytes ? "task off-heap"
           : wanted->managed_bytes > room->managed_bytes             ? "managed memory"
                                                                     : "network memory";
}

uint32_t cistern_process_worker_allocate(struct cistern_process_worker *worker,
    const struct cistern_process_profile *wanted, uint32_t index,
    struct cistern_process_slot *ret_slot, struct cistern_error *error)
{
    int is_dynamic = wanted != NULL || index >= worker->slot_count;
    if (wanted != NULL && (wanted->cpu_e8 == 0 || wanted->task_heap_bytes == 0)) {
        return cistern_fail(error, CISTERN_INVALID, "slot",
            "The cpu cores and task heap memory are required when specifying the resource of a "
            "slot sharing group. You need to explicitly configure them with positive value.");
    }
    const struct cistern_process_profile *profile =
        wanted != NULL ? wanted : &worker->default_profile;
    struct cistern_process_profile *room = &worker->available;
    if (!profile_fits(room, profile)) {
        return cistern_fail(error, CISTERN_LIMIT, profile_shortage(room, profile),
            "Cannot allocate the requested resources: %s is used up; left are %.8g cores, %llu "
            "bytes of task heap, %llu off-heap, %llu managed, %llu network",
            profile_shortage(room, profile), (double)room->cpu_e8 / 1e8,
            (unsigned long long)room->task_heap_bytes,
            (unsigned long long)room->task_off_heap_bytes, (unsigned long long)room->managed_bytes,
            (unsigned long long)room->network_bytes);
    }
    room->cpu_e8 -= profile->cpu_e8;
    room->task_heap_bytes -= profile->task_heap_bytes;
    room->task_off_heap_bytes -= profile->task_off_heap_bytes;
    room->managed_bytes -= profile->managed_bytes;
    room->network_bytes -= profile->network_bytes;
    *ret_slot = (struct cistern_process_slot){
        .index = is_dynamic ? worker->slot_count + worker->dynamic_count : index,
        .is_dynamic = (uint32_t)is_dynamic,
        .profile = *profile,
    };
    worker->dynamic_count += (uint32_t)is_dynamic;
    return CISTERN_OK;
}

void cistern_process_worker_release(
    struct cistern_process_worker *worker, const struct cistern_process_slot *slot)
{
    struct cistern_process_profile *room = &worker->available;
    room->cpu_e8 += slot->profile.cpu_e8;
    room->task_heap_bytes += slot->profile.task_heap_bytes;
    room->task_off_heap_bytes += slot->profile.task_off_heap_bytes;
    room->managed_bytes += slot->profile.managed_bytes;
    room->network_bytes += slot->profile.network_bytes;
    assert(profile_fits(&worker->total, room)); /* a slot is released once */
}

uint32_t cistern_process_cpu_parse(
    const char *text, uint64_t *ret_cpu_e8, struct cistern_error *error)
{
    double cores;
    locale_t before = process_locale_enter();
    int is_good = process_double_parse(text, &cores) && cores > 0 && cores <= 1e9 &&
                  process_multiply(100000000, cores, ret_cpu_e8) && *ret_cpu_e8 > 0;
    process_locale_leave(before);
    if (!is_good) {
        return cistern_fail(
            error, CISTERN_INVALID, "cpu", "\"%s\" is not a number of cores such as 0.25", text);
    }
    return CISTERN_OK;
}
