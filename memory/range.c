/* range.c -- see range_private.h. */
#include "range_private.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* A 64th of the range, so that a small range does not hold 64 MiB of commit charge under
 * vm.overcommit_memory=2. */
static uint64_t choose_step(uint64_t bytes, uint64_t alignment)
{
    uint64_t step = bytes / 64;
    step = step < RANGE_STEP_BYTES_MIN ? RANGE_STEP_BYTES_MIN : step;
    step = step > RANGE_STEP_BYTES_MAX ? RANGE_STEP_BYTES_MAX : step;
    return round_up(step, alignment);
}

int range_reserve(struct range *range, uint64_t bytes, uint64_t alignment, int huge_pages)
{
    assert(bytes > 0 && bytes % RANGE_PAGE_BYTES == 0);
    assert(alignment >= RANGE_PAGE_BYTES && (alignment & (alignment - 1)) == 0);
    if (bytes > UINT64_MAX / 2) {
        return ENOMEM;
    }
    uint64_t mapping_bytes = bytes + (alignment - RANGE_PAGE_BYTES);
    void *mapping =
        mmap(NULL, mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        return errno;
    }
    /* A host under mlockall(MCL_FUTURE) would fault the frontier in before it is charged, and
     * refuse MADV_DONTNEED. */
    (void)munlock(mapping, mapping_bytes);
    (void)madvise(mapping, mapping_bytes, MADV_DONTDUMP);
    (void)madvise(mapping, mapping_bytes, MADV_DONTFORK);
    (void)madvise(mapping, mapping_bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    uint64_t lead = round_up((uintptr_t)mapping, alignment) - (uintptr_t)mapping;
    *range = (struct range){.base = (char *)mapping + lead,
        .bytes = bytes,
        .step = choose_step(bytes, alignment),
        .mapping = mapping,
        .mapping_bytes = mapping_bytes};
    return 0;
}

void range_unreserve(struct range *range)
{
    if (range->mapping != NULL) {
        int result = munmap(range->mapping, range->mapping_bytes);
        assert(result == 0);
        (void)result;
    }
    *range = (struct range){0};
}

int range_extend(struct range *range, uint64_t end)
{
    assert(end <= range->bytes);
    if (end <= range->frontier) {
        return 0;
    }
    uint64_t frontier = round_up(end, range->step);
    frontier = frontier > range->bytes ? range->bytes : frontier;
    if (mprotect(range->base + range->frontier, frontier - range->frontier,
            PROT_READ | PROT_WRITE) != 0) {
        /* The step may be what the kernel will not promise: ask for no more than is needed now. */
        frontier = round_up(end, RANGE_PAGE_BYTES);
        if (mprotect(range->base + range->frontier, frontier - range->frontier,
                PROT_READ | PROT_WRITE) != 0) {
            return errno;
        }
    }
    range->frontier = frontier;
    return 0;
}

int range_reopen(struct range *range, uint64_t offset, uint64_t bytes)
{
    assert(offset + bytes <= range->bytes);
    return range->is_guarded && mprotect(range->base + offset, bytes, PROT_READ | PROT_WRITE) != 0
               ? errno
               : 0;
}

static void give_back(char *start, uint64_t bytes)
{
    if (madvise(start, bytes, MADV_DONTNEED) == 0) {
        return;
    }
    /* Locked by the host after we unlocked it: unlocked pages can be dropped. */
    int result = munlock(start, bytes);
    result |= madvise(start, bytes, MADV_DONTNEED);
    assert(result == 0);
    (void)result;
}

void range_discard(struct range *range, uint64_t offset, uint64_t bytes)
{
    /* the frontier may be moving: another thread's business */
    assert(offset + bytes <= range->bytes);
    give_back(range->base + offset, bytes);
    if (range->is_guarded) {
        /* refused when the process has too many mappings: then this piece goes unguarded */
        (void)mprotect(range->base + offset, bytes, PROT_NONE);
    }
}
