/* plan_advice.c -- plans that start and then disappoint: said before, with the option to change. */
#include "complaint.h"
#include "plan.h"

#include "cistern/pool.h"
#include "cistern/size.h"

#include <stdarg.h>
#include <stdio.h>

static void warning_add(struct plan *plan, const char *format, ...) CISTERN_PRINTF(2, 3);

static void warning_add(struct plan *plan, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    complaint_warn("%s", text);
    (void)json_array_append_new(plan->warnings, json_string(text)); /* said on stderr already */
}

/* The least T with which one arena block stays below the mutable limit: 7/8 x 2 T w / 3. */
static uint64_t total_least(const struct cistern_process_spec *spec, uint64_t arena_bytes)
{
    double w = spec->write_buffer_ratio;
    return w > 0 ? (uint64_t)((double)arena_bytes * 12 / 7 / w) + 4 : UINT64_MAX;
}

static void rocksdb_check(struct plan *plan, const struct cistern_process_slot *slot)
{
    const struct cistern_process_rocksdb *rocksdb = &slot->rocksdb;
    char a[16], b[16], c[16];
    if (rocksdb->scope == CISTERN_PROCESS_ROCKSDB_UNBOUNDED) {
        warning_add(plan, "state.backend.rocksdb.memory.managed is false and nothing else is set: "
                          "every column family has a cache and memtables of its own, and nothing "
                          "bounds their sum");
    } else if (!rocksdb->is_bounded) {
        warning_add(plan,
            "slot %u gives RocksDB %llu bytes: a write buffer manager of 0 bytes limits nothing, "
            "and Flink starts without a word. Raise taskmanager.memory.managed.size or "
            "managed.fraction, or STATE_BACKEND in consumer-weights",
            slot->index, (unsigned long long)rocksdb->total_bytes);
    } else if (rocksdb->flushes_constantly) {
        warning_add(plan,
            "slot %u: Flink will warn that RocksDB flushes memtables constantly: an arena block of "
            "%s is more than the mutable limit of %s. RocksDB since 6.21 takes at most 1 MiB, so "
            "only older ones suffer. It needs %s for RocksDB, or a smaller "
            "state.backend.rocksdb.writebuffer.size",
            slot->index, cistern_size_format(a, rocksdb->arena_block_bytes),
            cistern_size_format(b, rocksdb->mutable_limit_bytes),
            cistern_size_format(c, total_least(&plan->spec, rocksdb->arena_block_bytes)));
    }
}

static void weights_check(struct plan *plan)
{
    for (uint32_t i = 0; i < CISTERN_PROCESS_CONSUMER_COUNT; i++) {
        if (plan->spec.weights[i] == 0 && i == CISTERN_PROCESS_STATE_BACKEND &&
            plan->spec.rocksdb_scope == CISTERN_PROCESS_ROCKSDB_MANAGED) {
            warning_add(plan, "STATE_BACKEND has no weight in "
                              "taskmanager.memory.managed.consumer-weights: a job with RocksDB "
                              "fails when its state is opened");
        }
    }
}

static void pool_check(struct plan *plan)
{
    char a[16], b[16];
    uint64_t managed = plan->spec.parts[CISTERN_PROCESS_MANAGED].bytes;
    uint32_t slots = plan->slot_count;
    uint64_t least = slots <= 256 ? cistern_pool_budget_min(slots, 1) : 0;
    if (managed < least) {
        warning_add(plan,
            "managed memory is %s: `cistern run` needs at least %s for %u slot%s with one state",
            cistern_size_format(a, managed), cistern_size_format(b, least), slots,
            slots == 1 ? "" : "s");
    }
}

void plan_warnings_collect(struct plan *plan)
{
    weights_check(plan);
    for (uint32_t i = 0; i < plan->slot_count; i++) {
        rocksdb_check(plan, &plan->slots[i]);
        if (!plan->is_fine_grained) {
            break; /* the others are equal */
        }
    }
    pool_check(plan);
}
