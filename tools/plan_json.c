/* plan_json.c -- a plan as one JSON document. The fields are a contract: docs/MEMORY.md. */
#include "plan.h"

#include <stdio.h>

static int json_failed; /* set by any step that found no memory */

static json_t *kept(json_t *value)
{
    json_failed |= value == NULL;
    return value;
}

static void number_set(json_t *object, const char *field, uint64_t number)
{
    json_failed |= json_object_set_new(object, field, json_integer((json_int_t)number)) != 0;
}

static void value_set(json_t *object, const char *field, json_t *value)
{
    json_failed |= json_object_set_new(object, field, kept(value)) != 0;
}

static json_t *consumers_make(const struct plan *plan, const struct cistern_process_slot *slot)
{
    json_t *object = kept(json_object());
    for (uint32_t i = 0; i < CISTERN_PROCESS_CONSUMER_COUNT; i++) {
        if ((plan->present >> i & 1) == 0 || plan->spec.weights[i] == 0) {
            continue; /* a consumer without a weight gets nothing, and a job that has it fails */
        }
        json_t *share = kept(json_object());
        value_set(share, "fraction", json_real(slot->consumers[i].fraction));
        number_set(share, "bytes", slot->consumers[i].bytes);
        number_set(share, "weight", plan->spec.weights[i]);
        value_set(object, cistern_process_consumer_name(i), share);
    }
    return object;
}

static json_t *rocksdb_make(const struct plan *plan, const struct cistern_process_slot *slot)
{
    const struct cistern_process_rocksdb *rocksdb = &slot->rocksdb;
    json_t *object = kept(json_object());
    value_set(object, "scope", json_string(plan_scope_name(rocksdb->scope)));
    number_set(object, "total_bytes", rocksdb->total_bytes);
    number_set(object, "cache_bytes", rocksdb->cache_bytes);
    number_set(object, "write_buffer_manager_bytes", rocksdb->write_buffer_manager_bytes);
    number_set(object, "mutable_limit_bytes", rocksdb->mutable_limit_bytes);
    number_set(object, "arena_block_bytes", rocksdb->arena_block_bytes);
    number_set(object, "arena_block_actual_bytes", rocksdb->arena_block_actual_bytes);
    value_set(object, "write_buffer_ratio", json_real(plan->spec.write_buffer_ratio));
    value_set(object, "high_priority_pool_ratio", json_real(plan->spec.high_priority_pool_ratio));
    number_set(object, "high_priority_pool_bytes", rocksdb->high_priority_pool_bytes);
    number_set(object, "write_buffer_bytes", plan->spec.write_buffer_bytes);
    value_set(object, "is_bounded", json_boolean((int)rocksdb->is_bounded));
    value_set(object, "flushes_constantly", json_boolean((int)rocksdb->flushes_constantly));
    number_set(object, "states_max", rocksdb->states_max);
    return object;
}

static void profile_set(json_t *object, const struct cistern_process_profile *profile)
{
    value_set(object, "cpu_cores", json_real((double)profile->cpu_e8 / 1e8));
    number_set(object, "task_heap_bytes", profile->task_heap_bytes);
    number_set(object, "task_off_heap_bytes", profile->task_off_heap_bytes);
    number_set(object, "managed_bytes", profile->managed_bytes);
    number_set(object, "network_bytes", profile->network_bytes);
}

static json_t *slot_make(const struct plan *plan, const struct cistern_process_slot *slot)
{
    json_t *object = kept(json_object());
    number_set(object, "index", slot->index);
    value_set(object, "is_dynamic", json_boolean((int)slot->is_dynamic));
    profile_set(object, &slot->profile);
    number_set(object, "managed_pages", slot->profile.managed_bytes / plan->spec.page_bytes);
    value_set(object, "consumers", consumers_make(plan, slot));
    value_set(object, "rocksdb", rocksdb_make(plan, slot));
    return object;
}

static void formulas_set(const struct plan *plan, json_t *document)
{
    json_t *object = kept(json_object());
    for (uint32_t i = 0; i < CISTERN_PROCESS_COMPONENT_COUNT; i++) {
        char text[PLAN_FORMULA_BYTES], field[48];
        snprintf(field, sizeof field, "%s_bytes", plan_names[i].field);
        value_set(object, field, json_string(plan_formula(&plan->spec, i, text)));
    }
    value_set(document, "explain", object);
}

int plan_print_json(const struct plan *plan, int explain)
{
    json_failed = 0;
    json_t *document = kept(json_object());
    for (uint32_t i = CISTERN_PROCESS_COMPONENT_COUNT; i > 0; i--) {
        char field[48];
        snprintf(field, sizeof field, "%s_bytes", plan_names[i - 1].field);
        number_set(document, field, plan->spec.parts[i - 1].bytes);
    }
    number_set(document, "jvm_xmx_bytes", plan->spec.jvm_xmx_bytes);
    number_set(document, "jvm_max_direct_bytes", plan->spec.jvm_max_direct_bytes);
    value_set(document, "cpu_cores", json_real((double)plan->spec.cpu_e8 / 1e8));
    number_set(document, "page_bytes", plan->spec.page_bytes);
    json_t *slots = kept(json_array());
    for (uint32_t i = 0; i < plan->slot_count; i++) {
        json_failed |= json_array_append_new(slots, kept(slot_make(plan, &plan->slots[i]))) != 0;
    }
    value_set(document, "slots", slots);
    json_t *available = kept(json_object());
    profile_set(available, &plan->worker.available);
    value_set(document, "available", available);
    value_set(document, "warnings", json_incref(plan->warnings));
    if (explain) {
        formulas_set(plan, document);
    }
    json_failed |= json_dumpf(document, stdout, JSON_INDENT(2)) != 0;
    json_decref(document);
    putchar('\n');
    return json_failed;
}
