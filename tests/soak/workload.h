/*
 * workload.h -- one generated workload: what a seed says, and a run of it in a process of its own.
 *
 * A workload is a budget, one to three slots with a backend each, and phases per slot: fill with a
 * size distribution that may drift, delete nine keys of ten, read, iterate with cursors that stay
 * open, close the slot and open it again, maybe with the other backend. Everything comes from the
 * seed, so a seed repeats a workload up to the interleaving of its threads.
 */
#ifndef CISTERN_WORKLOAD_H
#define CISTERN_WORKLOAD_H

#include <stdint.h>

#define WORKLOAD_SLOTS_MAX 3
#define WORKLOAD_TOLERANCE_BYTES (UINT64_C(2) << 20)

struct workload {
    uint64_t seed;
    uint64_t budget_bytes;
    uint64_t value_bytes_max; /* budget / 40 at most, and what each slot takes */
    uint32_t slot_count;
    uint32_t phase_count; /* of each slot */
    int64_t run_ns;       /* phases are cut short at this */
};

struct workload_result {
    uint64_t growth_bytes; /* highest resident growth over the baseline, by VmHWM */
    uint64_t overrun_count;
    uint64_t put_count;
    uint64_t put_bytes;
    uint64_t refused_count; /* of the heap store at its limit: answered, then deleted for */
    uint32_t reopened_count;
    uint32_t failed; /* 1 = text says what */
    char text[600];
};

void workload_generate(uint64_t seed, int64_t run_ns, struct workload *ret_workload);
/* Runs in this process, which must not have run one before: the baseline is read once. directory
 * must exist; RocksDB's files live and die in it. */
void workload_run(
    const struct workload *workload, const char *directory, struct workload_result *ret_result);

#endif
