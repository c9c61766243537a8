/*
 * cgroup.h -- the memory limit that this process runs under, and how short of memory it is.
 *
 * Owns:    nothing; reads /proc and the control groups' files anew in each call.
 * Never:   assumes where control groups are mounted: /proc/self/mountinfo says. Needs no rights.
 * Threads: any. A call opens a dozen small files: for start-up and for reports, not for data paths.
 *
 * Control groups v2: memory.max (the kernel kills above it) and memory.high (it throttles) of the
 * process's own group and of every group above it that can be seen. v1: memory.limit_in_bytes,
 * upwards as long as memory.use_hierarchy says so, and hierarchical_memory_limit of memory.stat, which also
 * knows the groups that a container cannot see.
 * Source: kernel documentation, admin-guide/cgroup-v2, cgroup-v1/memory, accounting/psi.
 */
#ifndef CISTERN_CGROUP_H
#define CISTERN_CGROUP_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_cgroup {
    uint32_t version;     /* of the hierarchy with the memory controller: 1, 2; 0 = there is none */
    uint32_t is_throttle; /* 1: limit_bytes is a memory.high, above which the kernel slows down */
    uint64_t limit_bytes; /* the lowest of all levels; UINT64_MAX = none sets one */
    uint64_t kill_bytes;  /* the lowest without memory.high; UINT64_MAX = none */
    uint64_t current_bytes; /* of the process's own group, page cache included; 0 = not known */
    /* Anonymous and shared memory of everybody under the limit: what the kernel cannot take back
     * without swap. Where a group above has a higher limit but less room left, as much as leaves
     * that room of limit_bytes. 0 = not known. */
    uint64_t pinned_bytes;
    char limit_file[512]; /* the file that sets limit_bytes; "" = none */
};
/* root: a directory that stands for / (tests); NULL = /. No control groups, or none with a limit,
 * is no failure.
 * CORRUPT: a file holds what is no limit. IO: it cannot be read. */
CISTERN_MUST_USE uint32_t cistern_cgroup_read(
    const char *root, struct cistern_cgroup *ret_cgroup, struct cistern_error *error);

enum cistern_pressure_source {
    CISTERN_PRESSURE_NONE,   /* the kernel does not say (no PSI, or switched off) */
    CISTERN_PRESSURE_SYSTEM, /* the whole machine: /proc/pressure/memory */
    CISTERN_PRESSURE_CGROUP  /* the process's own group: memory.pressure */
};
/* Share of time in which tasks waited for memory, in hundredths of a percent (1234 = 12.34 %). */
struct cistern_pressure_line {
    uint32_t average_10s;
    uint32_t average_60s;
    uint32_t average_300s;
    uint32_t reserved;
    uint64_t total_us; /* waited since the start of the machine or group */
};
struct cistern_pressure {
    uint32_t source; /* enum cistern_pressure_source; NONE: all else is 0 */
    uint32_t reserved;
    struct cistern_pressure_line some; /* at least one task waited */
    struct cistern_pressure_line full; /* all did */
};
/* CORRUPT: the file is there but not of the kernel's form. */
CISTERN_MUST_USE uint32_t cistern_pressure_read(
    const char *root, struct cistern_pressure *ret_pressure, struct cistern_error *error);

#ifdef __cplusplus
}
#endif
#endif
