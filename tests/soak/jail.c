/* jail.c -- see jail.h. */
#include "jail.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define PROCESS_BYTES (32 * MIB) /* program, libraries, page cache of the files being written */

static char directory[256];

static int file_write(const char *name, uint64_t value)
{
    char path[320];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "r+"); /* only what the kernel has put there */
    int is_written = file != NULL && fprintf(file, "%llu\n", (unsigned long long)value) > 0;
    return file != NULL && fclose(file) == 0 && is_written;
}

static int limit_set(uint64_t bytes)
{
    return file_write("memory.max", bytes) || file_write("memory.limit_in_bytes", bytes);
}

const char *jail_make(void)
{
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/memory"};
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
        snprintf(directory, sizeof directory, "%s/cistern-soak-%ld", roots[i], (long)getpid());
        if (mkdir(directory, 0777) == 0) {
            if (limit_set(UINT64_C(1) << 40)) {
                return directory;
            }
            rmdir(directory);
        }
    }
    directory[0] = '\0';
    return directory;
}

int jail_enter(uint64_t budget_bytes)
{
    uint64_t spare = budget_bytes / 16 > 16 * MIB ? budget_bytes / 16 : 16 * MIB;
    return directory[0] == '\0' || (limit_set(budget_bytes + spare + PROCESS_BYTES) &&
                                       file_write("cgroup.procs", (uint64_t)getpid()));
}

void jail_remove(void)
{
    if (directory[0] != '\0') {
        (void)rmdir(directory);
    }
}
