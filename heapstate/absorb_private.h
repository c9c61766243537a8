/*
 * absorb_private.h -- one entry of a file becomes one of the heap: the inverse of
 * expand_private.h.
 *
 * Threads: owner only.
 */
#ifndef CISTERN_HEAPSTATE_ABSORB_PRIVATE_H
#define CISTERN_HEAPSTATE_ABSORB_PRIVATE_H

#include "heap_private.h"
#include "cistern/seg.h"

struct absorb {
    struct heap *heap;
    int64_t now_ms; /* the wall clock */
    uint32_t is_canonical;
    uint32_t has_objects; /* heads or members came in: reach_settle() has work */
};

/* What is wrong with an entry from a file, given the sizes its state allows; NULL = nothing. */
const char *absorb_problem(const struct absorb *absorb, const struct heap_state *state,
    const struct cistern_seg_entry *entry);
/* Asks for the index line of an entry, which need not have been checked. */
void absorb_prefetch(const struct absorb *absorb, const struct heap_state *state,
    const struct cistern_seg_entry *entry);
/* Puts it in place of what older files brought. The entry was checked. LIMIT. */
CISTERN_MUST_USE uint32_t absorb_entry(
    struct absorb *absorb, struct heap_state *state, const struct cistern_seg_entry *entry);

/* ---- reach.c ---- */
/* After the last file: members that no head reaches go, and every head's sums are checked against
 * its members. CORRUPT names the state. */
CISTERN_MUST_USE uint32_t reach_settle(struct heap *heap, struct cistern_error *error);

#endif
