/*
 * shared.h -- one resource for all who name it: a cache and write buffers that every store of a
 * slot uses, a Python process that every operator talks to.
 *
 * Owns:       per slot a table of resources by type. Per process: cistern_pool_process_slot().
 * Invariant:  a resource exists while somebody leases it. Its bytes are charged to a component of
 *             the resource's type from before it is created until after it is destroyed.
 * Never:      holds a lock across a callback. Does not watch what the resource really uses: the
 *             lessee is trusted to stay within lease.bytes, or charges components of its own and
 *             asks for an external one.
 * Threads:    any. create and destroy of one type never overlap.
 *
 * Semantics of Flink's SharedResources and OpaqueMemoryResource, but for two things: managed and
 * external resources of one type are different resources, and what is given back at the end is what
 * was reserved at the beginning, whoever ends it (docs/MEMORY.md, "shared resources").
 */
#ifndef CISTERN_SHARED_H
#define CISTERN_SHARED_H

#include "cistern/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In the caller's storage. Zero = no lease. */
struct cistern_lease {
    void *resource;
    uint64_t bytes; /* of the resource: what its first lease asked for */
    struct cistern_slot *slot;
    uint64_t id; /* unique in the slot, never used again */
};

struct cistern_shared_options {
    const char *type; /* required, at most 31 characters; copied; also the component's name */
    /* What the first lease reserves; later ones get the resource as it is, whatever they ask for.
     * Required, but for an external one. */
    uint64_t bytes;
    /* 1 = reserves nothing: paid for elsewhere, or by a fixed size outside of the budget */
    uint32_t is_external;
    uint32_t reserved;
    /* Who leases, by address; the same holder twice is one lease, and its first release ends it.
     * NULL = somebody new. */
    const void *holder;
    /* Makes the resource; may fail, with any status but OK, and then nothing is left. May lease
     * other types, not this one. Required. */
    uint32_t (*create)(void *arg, uint64_t bytes, void **ret_resource, struct cistern_error *error);
    /* Ends it; called once, by whoever releases the last lease, with the arg of the lease that
     * created it. Its status goes to that caller; the bytes are given back whatever it is. NULL =
     * nothing to do. */
    uint32_t (*destroy)(void *arg, void *resource, struct cistern_error *error);
    void *arg;
    /* While another thread creates or destroys the same type: absolute cistern_now_ns() until which
     * to wait for it; 0 = never waits. The reservation itself never waits. */
    int64_t deadline_ns;
};
/* OK: *ret_lease is the caller's until released.
 * LIMIT: the slot has no room for `bytes` even after clean cache was evicted; the message names the
 * holders. BUSY (deadline 0), TIMEOUT: another thread is creating or destroying it; BUSY too when
 * create() asks for its own type. INVALID: an option makes no sense. NO_MEMORY. Else: what create()
 * returned. After a failure nothing is reserved, open or leased that was not before. */
CISTERN_MUST_USE uint32_t cistern_shared_lease_sized(struct cistern_slot *slot,
    const struct cistern_shared_options *options, uint64_t options_bytes,
    struct cistern_lease *ret_lease, struct cistern_error *error);
#define cistern_shared_lease(slot, options, ret_lease, error)                                      \
    cistern_shared_lease_sized(                                                                    \
        (slot), (options), sizeof(struct cistern_shared_options), (ret_lease), (error))
/* Ends a lease and zeroes it; the last one of a resource destroys it. A lease that has ended (a
 * zeroed one, or a copy) is passed over: OK. Else the status of destroy(). */
CISTERN_MUST_USE uint32_t cistern_shared_release(
    struct cistern_lease *lease, struct cistern_error *error);
/* How many leases the resource has; 0 = it does not exist. */
uint32_t cistern_shared_lease_count(
    struct cistern_slot *slot, const char *type, uint32_t is_external);

#ifdef __cplusplus
}
#endif
#endif
