/*
 * managed.h -- the budget of `cistern run` against the memory limit that the process runs under.
 *
 *     room   = limit - held by this process at its start - held by others under the same limit
 *     budget = the most with budget + max(16 MiB, budget / 16) <= room        (docs/MEMORY.md)
 *
 * The 16 MiB or 16th is for what counts in a control group and not in a budget: page tables, page
 * cache in use, kernel objects.
 * Threads: main only, before others start.
 */
#ifndef CISTERN_MANAGED_H
#define CISTERN_MANAGED_H

#include "run_settings.h"

struct managed_room {
    uint64_t limit_bytes;  /* of control groups, or of the machine when that is less */
    uint64_t held_bytes;   /* by this process: anonymous, shared, every mapped file, what starts */
    uint64_t others_bytes; /* anonymous and shared, by others under the same limit */
    uint64_t budget_bytes; /* the most that fits; 0 = nothing does */
    uint32_t is_limited;   /* 0: no control group sets a limit, and the rest is 0 */
    uint32_t slots;        /* in: threads that will start */
    char limit_file[512];
};

/* root: as cistern_cgroup_read(). CORRUPT, IO: a control group's file. */
CISTERN_MUST_USE uint32_t managed_room_read(
    const char *root, uint32_t slots, struct managed_room *ret_room, struct cistern_error *error);
/* --managed auto becomes a size; INVALID: there is no limit, or it leaves less than the least
 * budget. A size that does not fit is warned of. */
CISTERN_MUST_USE uint32_t managed_resolve(
    const char *root, struct run_settings *settings, struct cistern_error *error);

#endif
