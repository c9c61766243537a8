/*
 * bound_soak.c -- generated workloads, each in a process of its own, none above budget + 2 MiB.
 *
 *   bound_soak COUNT [SECONDS_EACH [FIRST_SEED]]
 *
 * A line per workload; the seed repeats it. Where this process may make a memory cgroup (v1 or v2),
 * each workload also runs under one of baseline + budget + max(16 MiB, budget / 16): it would be
 * killed. Exit 1 when one failed, 2 when called wrongly.
 */
#include "jail.h"
#include "workload.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

const char *malloc_conf; /* read by jemalloc before main */
const char *malloc_conf =
    "narenas:4,muzzy_decay_ms:0,oversize_threshold:0,retain:false,dirty_decay_ms:100";

/* ---------------------------------------------------------------- one workload */

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void child_main(
    const struct workload *workload, const char *directory, struct workload_result *shared)
{
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!jail_enter(workload->budget_bytes)) {
        snprintf(
            shared->text, sizeof shared->text, "the cgroup cannot be set: %s", strerror(errno));
        shared->failed = 1;
        _exit(0);
    }
    workload_run(workload, directory, shared);
    _exit(0);
}

static int run_one(const struct workload *workload, struct workload_result *shared)
{
    char directory[] = "/tmp/cistern-soak-XXXXXX";
    if (mkdtemp(directory) == NULL) {
        perror(directory);
        exit(2);
    }
    memset(shared, 0, sizeof *shared);
    pid_t child = fork();
    if (child == 0) {
        child_main(workload, directory, shared);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        shared->failed = 1;
        snprintf(shared->text, sizeof shared->text, "ended by signal %d%s", WTERMSIG(status),
            WTERMSIG(status) == SIGKILL ? " (the cgroup's limit?)" : "");
    }
    (void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    printf("%s seed %llu: budget %llu MiB, %u slot(s), values up to %llu: growth %.1f MiB (%+.1f), "
           "%llu puts of %.0f MiB, %llu refused, %u reopened, %llu overruns%s%s\n",
        shared->failed ? "FAILED" : "ok", (unsigned long long)workload->seed,
        (unsigned long long)(workload->budget_bytes / MIB), workload->slot_count,
        (unsigned long long)workload->value_bytes_max, (double)shared->growth_bytes / (double)MIB,
        ((double)shared->growth_bytes - (double)workload->budget_bytes) / (double)MIB,
        (unsigned long long)shared->put_count, (double)shared->put_bytes / (double)MIB,
        (unsigned long long)shared->refused_count, shared->reopened_count,
        (unsigned long long)shared->overrun_count, shared->failed ? ": " : "", shared->text);
    fflush(stdout);
    return !shared->failed;
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
    uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    if (count == 0 || seconds <= 0) {
        fprintf(stderr, "usage: bound_soak COUNT [SECONDS_EACH [FIRST_SEED]]\n");
        return 2;
    }
    struct workload_result *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    const char *jail = jail_make();
    printf("cgroup: %s\n", jail[0] != '\0' ? jail : "none may be made here");
    uint64_t failed = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct workload workload;
        workload_generate(first + i, (int64_t)(seconds * 1e9), &workload);
        failed += !run_one(&workload, shared);
    }
    jail_remove();
    printf("%llu workloads, %llu failed\n", (unsigned long long)count, (unsigned long long)failed);
    return failed != 0;
}
