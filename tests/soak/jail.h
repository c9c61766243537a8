/*
 * jail.h -- a memory cgroup around a test's child, where this process may make one (v1 or v2).
 *
 * The limit is baseline + budget + max(16 MiB, budget / 16): page tables and the page cache of what
 * is being written count there. Threads: one.
 */
#ifndef CISTERN_JAIL_H
#define CISTERN_JAIL_H

#include <stdint.h>

/* Returns its directory, or "" when none may be made here. */
const char *jail_make(void);
/* In the child: limits and enters it. 0 = could not; errno says why. Nothing without a jail. */
int jail_enter(uint64_t budget_bytes);
void jail_remove(void);

#endif
