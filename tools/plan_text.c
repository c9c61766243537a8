/* plan_text.c -- a plan as people draw it: the boxes of Flink's documentation, one bar each, where
 * a bar begins where the one before it ends. */
#include "plan.h"
#include "text.h"

#include "cistern/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BAR_CELLS 40u
/* LEDGER_GUEST_FACTOR_PERCENT of memory/ledger_private.h, less 100 */
#define GUEST_MODELLED_PERCENT 15u

/* cells of BAR_CELLS up to `bytes` of `total`; the one rule for both ends, so that bars meet */
static uint32_t cells_of(uint64_t bytes, uint64_t total)
{
    return total == 0 ? 0 : (uint32_t)(((unsigned __int128)bytes * BAR_CELLS + total / 2) / total);
}

static void bar_print(uint64_t from, uint64_t bytes, uint64_t total)
{
    uint32_t begin = cells_of(from, total), end = cells_of(from + bytes, total);
    if (end == begin && bytes > 0) { /* something is there: it shows */
        begin = begin < BAR_CELLS ? begin : BAR_CELLS - 1;
        end = begin + 1;
    }
    char bar[BAR_CELLS + 1];
    for (uint32_t i = 0; i < BAR_CELLS; i++) {
        bar[i] = i >= begin && i < end ? '#' : '.';
    }
    bar[BAR_CELLS] = '\0';
    printf(" |%s|\n", bar);
}

static void line_print(
    const char *words, uint32_t indent, uint64_t from, uint64_t bytes, uint64_t total)
{
    char size[16], number[TEXT_NUMBER_BYTES];
    printf("%*s%-*s %10s %18s", (int)indent, "", (int)(32 - indent), words,
        cistern_size_format(size, bytes), text_number(number, bytes));
    bar_print(from, bytes, total);
}

static void picture_print(const struct cistern_process_spec *spec)
{
    static const struct {
        uint8_t component, indent, is_box, members; /* a box's bytes: itself or its members' */
        const char *words;
    } lines[] = {
        {CISTERN_PROCESS_TOTAL, 0, 1, 0, "Total process memory"},
        {CISTERN_PROCESS_FLINK, 2, 1, 0, "Total Flink memory"},
        {CISTERN_PROCESS_FRAMEWORK_HEAP, 4, 1, 2, "JVM heap (-Xmx)"},
        {CISTERN_PROCESS_FRAMEWORK_HEAP, 6, 0, 0, "Framework heap"},
        {CISTERN_PROCESS_TASK_HEAP, 6, 0, 0, "Task heap"},
        {CISTERN_PROCESS_MANAGED, 4, 0, 0, "Managed memory"},
        {CISTERN_PROCESS_FRAMEWORK_OFF_HEAP, 4, 1, 3, "Direct (MaxDirectMemory)"},
        {CISTERN_PROCESS_FRAMEWORK_OFF_HEAP, 6, 0, 0, "Framework off-heap"},
        {CISTERN_PROCESS_TASK_OFF_HEAP, 6, 0, 0, "Task off-heap"},
        {CISTERN_PROCESS_NETWORK, 6, 0, 0, "Network"},
        {CISTERN_PROCESS_JVM_METASPACE, 2, 0, 0, "JVM metaspace"},
        {CISTERN_PROCESS_JVM_OVERHEAD, 2, 0, 0, "JVM overhead"},
    };
    uint64_t total = spec->parts[CISTERN_PROCESS_TOTAL].bytes, at = 0;
    for (uint32_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        uint64_t bytes = spec->parts[lines[i].component].bytes;
        for (uint32_t j = 1; j < lines[i].members; j++) {
            bytes += spec->parts[lines[i].component + j].bytes;
        }
        line_print(lines[i].words, lines[i].indent, at, bytes, total);
        at += lines[i].is_box ? 0 : bytes;
    }
}

static int slots_equal(const struct cistern_process_slot *a, const struct cistern_process_slot *b)
{
    return memcmp(&a->profile, &b->profile, sizeof a->profile) == 0;
}

static void slot_print(
    const struct plan *plan, const struct cistern_process_slot *slot, uint32_t last_index)
{
    char name[48], a[16], b[16], c[16];
    if (last_index > slot->index) {
        snprintf(name, sizeof name, "Slots %u-%u, each", slot->index, last_index);
    } else {
        snprintf(name, sizeof name, "Slot %u%s", slot->index, slot->is_dynamic ? " (dynamic)" : "");
    }
    printf("\n%s: %.8g cores, task heap %s, managed %s (%" PRIu64 "), network %s\n", name,
        (double)slot->profile.cpu_e8 / 1e8, cistern_size_format(a, slot->profile.task_heap_bytes),
        cistern_size_format(b, slot->profile.managed_bytes), slot->profile.managed_bytes,
        cistern_size_format(c, slot->profile.network_bytes));
    uint64_t at = 0;
    for (uint32_t i = 0; i < CISTERN_PROCESS_CONSUMER_COUNT; i++) {
        if ((plan->present >> i & 1) != 0) {
            line_print(cistern_process_consumer_name(i), 4, at, slot->consumers[i].bytes,
                slot->profile.managed_bytes);
            at += slot->consumers[i].bytes;
        }
    }
    const struct cistern_process_rocksdb *rocksdb = &slot->rocksdb;
    printf("    RocksDB (%s): cache %s, write buffers %s, flush at %s, arena block %s\n",
        plan_scope_name(rocksdb->scope), cistern_size_format(name, rocksdb->cache_bytes),
        cistern_size_format(a, rocksdb->write_buffer_manager_bytes),
        cistern_size_format(b, rocksdb->mutable_limit_bytes),
        cistern_size_format(c, rocksdb->arena_block_actual_bytes));
}

void plan_print_text(const struct plan *plan)
{
    const struct cistern_process_spec *spec = &plan->spec;
    picture_print(spec);
    printf("\nJVM: -Xmx%" PRIu64 " -Xms%" PRIu64 " -XX:MaxDirectMemorySize=%" PRIu64
           " -XX:MaxMetaspaceSize=%" PRIu64 "\n",
        spec->jvm_xmx_bytes, spec->jvm_xmx_bytes, spec->jvm_max_direct_bytes,
        spec->parts[CISTERN_PROCESS_JVM_METASPACE].bytes);
    for (uint32_t i = 0; i < plan->slot_count;) {
        uint32_t next = i + 1;
        while (next < plan->slot_count && slots_equal(&plan->slots[i], &plan->slots[next])) {
            next++;
        }
        slot_print(plan, &plan->slots[i], plan->slots[next - 1].index);
        i = next;
    }
    const struct cistern_process_profile *left = &plan->worker.available;
    if (plan->is_fine_grained) {
        char a[16], b[16], c[16];
        printf("\nLeft of the worker: %.8g cores, task heap %s, managed %s, network %s\n",
            (double)left->cpu_e8 / 1e8, cistern_size_format(a, left->task_heap_bytes),
            cistern_size_format(b, left->managed_bytes),
            cistern_size_format(c, left->network_bytes));
    }
    printf("\nManaged memory is cistern's budget: hard in a process of its own. Inside another "
           "process (GUEST "
           "accounting) the\nheap store keeps it exactly, RocksDB's malloc share is modelled, +%u "
           "%%.\n",
        GUEST_MODELLED_PERCENT);
    if (plan->present == PLAN_CONSUMERS_ALL) {
        printf("\nShares are those of a slot in which every kind of consumer runs. A kind that a "
               "job does not have leaves its\nshare to the others: a streaming job with keyed "
               "state alone has `--consumers STATE_BACKEND`.\n");
    }
}
