/* resident.c -- see resident_private.h. Reads /proc without stdio: it runs on the governor's
 * thread each millisecond. */
#include "resident_private.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES UINT64_C(4096)
#define STATUS_TEXT_BYTES 8192
#define MAPS_LINE_BYTES 1024

#ifndef MADV_POPULATE_READ /* Linux 5.14; older kernels answer EINVAL, which is ignored */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

void resident_init(struct resident *resident)
{
    *resident = (struct resident){.statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)};
}

void resident_deinit(struct resident *resident)
{
    if (resident->statm_fd >= 0) {
        close(resident->statm_fd);
    }
    resident->statm_fd = -1;
}

/* One line of /proc/self/maps: "start-end rwxp offset dev inode path". */
static void prefault_line(const char *line)
{
    unsigned long long start;
    unsigned long long end;
    char permissions[5];
    int path_at = 0;
    if (sscanf(line, "%llx-%llx %4s %*s %*s %*s %n", &start, &end, permissions, &path_at) < 3 ||
        path_at == 0 || line[path_at] != '/' || permissions[0] != 'r') {
        return;
    }
    int advice = permissions[1] == 'w' ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    (void)madvise((void *)(uintptr_t)start, (size_t)(end - start), advice);
}

void resident_prefault(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL) {
        return;
    }
    char line[MAPS_LINE_BYTES];
    while (fgets(line, sizeof line, maps) != NULL) {
        prefault_line(line);
    }
    fclose(maps);
}

/* "<name>   123 kB" of a status text, in bytes; 0 when it is not there. */
static uint64_t status_field(const char *text, const char *name)
{
    const char *found = strstr(text, name);
    return found == NULL ? 0 : strtoull(found + strlen(name), NULL, 10) * 1024;
}

void resident_read(struct resident_figures *ret_figures)
{
    *ret_figures = (struct resident_figures){0};
    char text[STATUS_TEXT_BYTES];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    if (bytes <= 0) {
        return;
    }
    text[bytes] = '\0';
    ret_figures->rss = status_field(text, "VmRSS:");
    ret_figures->rss_peak = status_field(text, "VmHWM:");
    ret_figures->anon = status_field(text, "RssAnon:") + status_field(text, "RssShmem:");
}

static void raise_peak(struct resident *resident, uint64_t anon)
{
    uint64_t seen = atomic_load_explicit(&resident->anon_peak, memory_order_relaxed);
    while (anon > seen && !atomic_compare_exchange_weak(&resident->anon_peak, &seen, anon)) {
    }
}

static void reset_high_water(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t written = write(fd, "5", 1);
        (void)written; /* not permitted: VmHWM then counts from the start of the process */
        close(fd);
    }
}

void resident_baseline_read(struct resident *resident, int reset_peak)
{
    if (reset_peak) {
        reset_high_water();
    }
    struct resident_figures figures;
    resident_read(&figures);
    resident->rss_baseline = figures.rss;
    resident->anon_baseline = figures.anon;
    raise_peak(resident, figures.anon);
}

uint64_t resident_sample(struct resident *resident)
{
    char text[128];
    ssize_t bytes =
        resident->statm_fd < 0 ? -1 : pread(resident->statm_fd, text, sizeof text - 1, 0);
    if (bytes <= 0) {
        return 0;
    }
    text[bytes] = '\0';
    char *at = text;
    (void)strtoull(at, &at, 10); /* size */
    uint64_t resident_pages = strtoull(at, &at, 10);
    /* file mappings and shared memory: we create neither */
    uint64_t shared_pages = strtoull(at, &at, 10);
    if (resident_pages > shared_pages) {
        raise_peak(resident, (resident_pages - shared_pages) * PAGE_BYTES);
    }
    return resident_pages * PAGE_BYTES;
}
