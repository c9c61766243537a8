/*
 * resident_private.h -- what the kernel says this process holds, and the baseline it is compared
 * with.
 *
 * Threads: resident_read and resident_sample from any thread; init and deinit by the thread that
 *          creates or destroys the pool.
 * The kernel batches these counters per CPU: they may be off by 0.3 MiB on a small machine.
 */
#ifndef CISTERN_RESIDENT_PRIVATE_H
#define CISTERN_RESIDENT_PRIVATE_H

#include <stdint.h>

struct resident {
    /* kept open: a pread costs about 2 us; -1 = /proc is not there, every figure is 0 */
    int statm_fd;
    uint64_t rss_baseline;
    uint64_t anon_baseline;
    uint64_t measured_baseline; /* host's measure() at the start */
    _Atomic uint64_t anon_peak;
};

struct resident_figures {
    uint64_t rss;
    uint64_t rss_peak;
    uint64_t anon; /* RssAnon + RssShmem */
};

void resident_init(struct resident *resident);
void resident_deinit(struct resident *resident);
/* Faults every file mapping of the process in, so that program text cannot appear as growth
 * later. Process-wide. */
void resident_prefault(void);
/* Reads the baseline; reset_peak: asks the kernel to restart VmHWM from here (process-wide;
 * ignored when not permitted). */
void resident_baseline_read(struct resident *resident, int reset_peak);
/* From /proc/self/status: about 30 us. */
void resident_read(struct resident_figures *ret_figures);
/* From /proc/self/statm: VmRSS now; raises anon_peak. 0 when it cannot be read. */
uint64_t resident_sample(struct resident *resident);

#endif
