/*
 * range_private.h -- reserved addresses with a read-write frontier: what regions and the block pool
 * stand on.
 *
 * Owns:    one mapping. PROT_NONE beyond the frontier, so that it costs no commit charge where the
 *          kernel keeps one.
 * Never:   charges: its users do.
 * Threads: extend by one thread at a time; discard of disjoint ranges by any.
 */
#ifndef CISTERN_RANGE_PRIVATE_H
#define CISTERN_RANGE_PRIVATE_H

#include <stdint.h>

#define RANGE_PAGE_BYTES UINT64_C(4096)
#define RANGE_STEP_BYTES_MAX (UINT64_C(64) << 20)
#define RANGE_STEP_BYTES_MIN (UINT64_C(1) << 20)

struct range {
    char *base; /* aligned as asked */
    uint64_t bytes;
    uint64_t frontier; /* [0, frontier) is read-write */
    uint64_t step;
    int is_guarded; /* debugging: what was discarded faults until it is reopened */
    char *mapping;  /* what munmap gets: base minus the part lost to alignment */
    uint64_t mapping_bytes;
};

/* alignment: a power of two >= RANGE_PAGE_BYTES. Returns 0 or an errno. */
int range_reserve(struct range *range, uint64_t bytes, uint64_t alignment, int huge_pages);
void range_unreserve(struct range *range); /* a range that was never reserved (all zero) is fine */
/* Makes [0, end) read-write. Returns 0 or an errno, nothing changed. */
int range_extend(struct range *range, uint64_t end);
/* The pages go back to the system; the next touch finds zeros, or faults in a guarded range. */
void range_discard(struct range *range, uint64_t offset, uint64_t bytes);
/* Before the first touch after a discard; does nothing but in a guarded range. 0 or an errno. */
int range_reopen(struct range *range, uint64_t offset, uint64_t bytes);

#endif
