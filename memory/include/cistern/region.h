/*
 * region.h -- a reserved range of addresses whose pages are charged before they can be touched.
 *
 * Owns:       address space of one component. Pages become usable by commit and are given back by
 *             decommit.
 * Invariant:  resident bytes of the range <= bytes the component was charged for it, at every
 *             return.
 * Threads:    commit, decommit and destroy of one region by one thread at a time; the pages
 *             themselves by anyone.
 * Full when:  the slot refuses the charge -> LIMIT, nothing changed; the range is used up -> LIMIT
 *             with `reserve_bytes` named.
 *
 * A reservation is PROT_NONE; a read-write frontier grows in steps of at most 64 MiB, so that a
 * region is two mappings and works under vm.overcommit_memory=2. Pages are kept out of core dumps
 * and out of a forked child.
 */
#ifndef CISTERN_REGION_H
#define CISTERN_REGION_H

#include "cistern/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_region;

struct cistern_region_options {
    uint64_t reserve_bytes; /* required: address space, a multiple of granule_bytes */
    /* commits are multiples of it, and the base is aligned to it; 0 = 4096; at most 2 MiB */
    uint64_t granule_bytes;
    /* 1 = ask for huge pages (only with a granule of 2 MiB); 0 = keep them away */
    uint32_t huge_pages;
    uint32_t reserved;
};
/* INVALID: a granule that is no power of two from 4096 bytes to 2 MiB, a reservation that is no
 * multiple of it, huge pages with a smaller granule than 2 MiB. NO_MEMORY: the address space is not
 * to be had (ulimit -v); the message says how much was asked for. */
CISTERN_MUST_USE uint32_t cistern_region_create(struct cistern_component *component,
    const struct cistern_region_options *options, struct cistern_region **ret_region,
    struct cistern_error *error);
/* gives every page back, then uncharges; NULL is fine */
void cistern_region_destroy(struct cistern_region *region);

void *cistern_region_base(const struct cistern_region *region);
uint64_t cistern_region_reserve_bytes(const struct cistern_region *region);
uint64_t cistern_region_committed_bytes(const struct cistern_region *region);

/* [offset, offset + bytes) becomes charged and usable, zero-filled. The range must be
 * uncommitted and granule-aligned (asserted). OK, LIMIT (the slot refused: nothing changed),
 * NO_MEMORY (the kernel refused the frontier). No detail is made: the caller that gives up asks
 * cistern_component_reserve() for the sentence. */
CISTERN_MUST_USE uint32_t cistern_region_commit(
    struct cistern_region *region, uint64_t offset, uint64_t bytes);
/* The pages go back to the system, then the charge is undone. */
void cistern_region_decommit(struct cistern_region *region, uint64_t offset, uint64_t bytes);

#ifdef __cplusplus
}
#endif
#endif
