/* plan_explain.c -- each number with the formula it came from. */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>

const struct plan_name plan_names[CISTERN_PROCESS_COMPONENT_COUNT] = {
    [CISTERN_PROCESS_FRAMEWORK_HEAP] = {"framework_heap", "Framework heap"},
    [CISTERN_PROCESS_TASK_HEAP] = {"task_heap", "Task heap"},
    [CISTERN_PROCESS_MANAGED] = {"managed", "Managed memory"},
    [CISTERN_PROCESS_FRAMEWORK_OFF_HEAP] = {"framework_off_heap", "Framework off-heap"},
    [CISTERN_PROCESS_TASK_OFF_HEAP] = {"task_off_heap", "Task off-heap"},
    [CISTERN_PROCESS_NETWORK] = {"network", "Network"},
    [CISTERN_PROCESS_FLINK] = {"flink", "Total Flink memory"},
    [CISTERN_PROCESS_JVM_METASPACE] = {"jvm_metaspace", "JVM metaspace"},
    [CISTERN_PROCESS_JVM_OVERHEAD] = {"jvm_overhead", "JVM overhead"},
    [CISTERN_PROCESS_TOTAL] = {"process", "Total process memory"},
};

/* What a component is the rest of, or the sum of. */
static const uint32_t flink_parts[] = {CISTERN_PROCESS_FRAMEWORK_HEAP, CISTERN_PROCESS_TASK_HEAP,
    CISTERN_PROCESS_MANAGED, CISTERN_PROCESS_FRAMEWORK_OFF_HEAP, CISTERN_PROCESS_TASK_OFF_HEAP,
    CISTERN_PROCESS_NETWORK};
static const uint32_t total_parts[] = {
    CISTERN_PROCESS_FLINK, CISTERN_PROCESS_JVM_METASPACE, CISTERN_PROCESS_JVM_OVERHEAD};

static int list_write(const struct cistern_process_spec *spec, const uint32_t *parts,
    uint32_t count, uint32_t left_out, const char *sign, char *text, size_t capacity)
{
    int used = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (parts[i] != left_out) {
            used += snprintf(text + used, capacity - (size_t)used, "%s%" PRIu64 " %s",
                used > 0 ? sign : "", spec->parts[parts[i]].bytes, plan_names[parts[i]].words);
        }
    }
    return used;
}

static void sum_write(const struct cistern_process_spec *spec, uint32_t component, uint32_t whole,
    const char *sign, char *text, size_t capacity)
{
    const uint32_t *parts = whole == CISTERN_PROCESS_TOTAL ? total_parts : flink_parts;
    uint32_t count = whole == CISTERN_PROCESS_TOTAL ? 3 : 6;
    (void)list_write(spec, parts, count, component, sign, text, capacity);
}

const char *plan_formula(
    const struct cistern_process_spec *spec, uint32_t component, char text[PLAN_FORMULA_BYTES])
{
    const struct cistern_process_part *part = &spec->parts[component];
    char factor[32], list[PLAN_FORMULA_BYTES - 128];
    uint32_t whole = component == CISTERN_PROCESS_JVM_OVERHEAD || component == CISTERN_PROCESS_FLINK
                         ? CISTERN_PROCESS_TOTAL
                         : CISTERN_PROCESS_FLINK;
    switch (part->rule) {
    case CISTERN_PROCESS_CONFIGURED:
        snprintf(text, PLAN_FORMULA_BYTES, "configured");
        break;
    case CISTERN_PROCESS_DEFAULT:
        snprintf(text, PLAN_FORMULA_BYTES, "default");
        break;
    case CISTERN_PROCESS_BUFFERS:
        snprintf(text, PLAN_FORMULA_BYTES, "%" PRIu64 " buffers x %" PRIu64 " segment size",
            part->bytes / spec->page_bytes, spec->page_bytes);
        break;
    case CISTERN_PROCESS_SUM:
        sum_write(spec, UINT32_MAX, component, " + ", list, sizeof list);
        snprintf(text, PLAN_FORMULA_BYTES, "%s", list);
        break;
    case CISTERN_PROCESS_REST:
        sum_write(spec, component, whole, " - ", list, sizeof list);
        snprintf(text, PLAN_FORMULA_BYTES, "the rest: %" PRIu64 " %s - %s", part->base_bytes,
            plan_names[whole].words, list);
        break;
    default:
        snprintf(list, sizeof list, "%" PRIu64 " x %s%s = %" PRIu64, part->base_bytes,
            cistern_process_number_format(factor, part->factor),
            part->rule == CISTERN_PROCESS_INVERSE ? " (f / (1 - f) of everything else)" : "",
            part->product_bytes);
        snprintf(text, PLAN_FORMULA_BYTES, "%s%s", list,
            part->clamp == CISTERN_PROCESS_RAISED ? ", raised to the min"
            : part->clamp == CISTERN_PROCESS_CUT  ? ", cut to the max"
                                                  : "");
    }
    return text;
}

static void slot_explain(const struct plan *plan, const struct cistern_process_slot *slot)
{
    char text[32];
    const struct cistern_process_rocksdb *rocksdb = &slot->rocksdb;
    for (uint32_t i = 0; i < CISTERN_PROCESS_CONSUMER_COUNT; i++) {
        if ((plan->present >> i & 1) != 0) {
            printf("  %-30s %12" PRIu64 " = %" PRIu64 " x %s (weight %u of those present)\n",
                cistern_process_consumer_name(i), slot->consumers[i].bytes,
                slot->profile.managed_bytes,
                cistern_process_number_format(text, slot->consumers[i].fraction),
                plan->spec.weights[i]);
        }
    }
    char w[32];
    cistern_process_number_format(w, plan->spec.write_buffer_ratio);
    printf("  %-30s %12" PRIu64 " = (3 - %s) x %" PRIu64 " / 3\n", "RocksDB block cache",
        rocksdb->cache_bytes, w, rocksdb->total_bytes);
    printf("  %-30s %12" PRIu64 " = 2 x %" PRIu64 " x %s / 3\n", "RocksDB write buffer manager",
        rocksdb->write_buffer_manager_bytes, rocksdb->total_bytes, w);
    printf("  %-30s %12" PRIu64 " = %" PRIu64 " x 7 / 8, then memtables are flushed\n",
        "RocksDB mutable limit", rocksdb->mutable_limit_bytes, rocksdb->write_buffer_manager_bytes);
    printf("  %-30s %12" PRIu64 " = %" PRIu64 " write buffer / 8, in whole 4 KiB (RocksDB since "
           "6.21: %" PRIu64 ")\n",
        "Arena block", rocksdb->arena_block_bytes, plan->spec.write_buffer_bytes,
        rocksdb->arena_block_actual_bytes);
}

void plan_print_explanation(const struct plan *plan)
{
    static const char *const modes[] = {
        [CISTERN_PROCESS_BY_PARTS] = "task heap and managed memory are configured: the totals "
                                     "follow from the parts",
        [CISTERN_PROCESS_BY_FLINK] = "total Flink memory is configured: its parts and the process "
                                     "total follow from it",
        [CISTERN_PROCESS_BY_TOTAL] = "total process memory is configured: everything follows from "
                                     "it",
    };
    printf("\nHow: %s.\nProducts are cut off, never rounded; a fraction is the 32-bit float "
           "nearest to what is written.\n",
        modes[plan->spec.mode]);
    for (uint32_t i = 0; i < CISTERN_PROCESS_COMPONENT_COUNT; i++) {
        char text[PLAN_FORMULA_BYTES];
        printf("  %-30s %12" PRIu64 " = %s\n", plan_names[i].words, plan->spec.parts[i].bytes,
            plan_formula(&plan->spec, i, text));
    }
    printf(
        "  %-30s %12" PRIu64 " = framework heap + task heap\n", "-Xmx", plan->spec.jvm_xmx_bytes);
    printf("  %-30s %12" PRIu64 " = framework off-heap + task off-heap + network\n",
        "-XX:MaxDirectMemorySize", plan->spec.jvm_max_direct_bytes);
    if (!plan->is_fine_grained) {
        printf("  %-30s %12" PRIu64 " = %" PRIu64 " managed memory / %u slots\n",
            "Managed memory of a slot", plan->slots[0].profile.managed_bytes,
            plan->spec.parts[CISTERN_PROCESS_MANAGED].bytes, plan->spec.slot_count);
    }
    slot_explain(plan, &plan->slots[0]);
}
