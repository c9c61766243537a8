/*
 * snapshot.c -- a snapshot's begin on the owner's thread and its life on the transfer thread; see
 * snapshot.h.
 *
 * Invariant: backend->snapshots_in_flight counts the handles between a successful begin and its
 *            release, at most CISTERN_SNAPSHOTS_IN_FLIGHT_MAX.
 * Threads:   begin is a call of the backend's owner; the handle belongs to one transfer thread at a
 *            time and never takes the backend's guard.
 */
#include "backend_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#include <string.h>

static uint32_t request_validate(const struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_error *error)
{
    const char *object = backend->options.operator_id;
    if (request->kind > CISTERN_SNAPSHOT_CANONICAL) {
        return cistern_fail(
            error, CISTERN_INVALID, object, "%u is no kind of snapshot", request->kind);
    }
    if (request->reserved != 0) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, object,
            "snapshot request: reserved is %u, must be 0", request->reserved);
    }
    if (request->checkpoint_id <= backend->checkpoint_id_last) {
        return cistern_fail(error, CISTERN_INVALID, object,
            "checkpoint id %llu is not above %llu, the last one begun",
            (unsigned long long)request->checkpoint_id,
            (unsigned long long)backend->checkpoint_id_last);
    }
    if (request->base_checkpoint_id >= request->checkpoint_id) {
        return cistern_fail(error, CISTERN_INVALID, object,
            "base checkpoint %llu is not below checkpoint %llu",
            (unsigned long long)request->base_checkpoint_id,
            (unsigned long long)request->checkpoint_id);
    }
    return CISTERN_OK;
}

static uint32_t snapshot_acquire(struct cistern_backend *backend, struct cistern_error *error)
{
    uint32_t count = __atomic_load_n(&backend->snapshots_in_flight, __ATOMIC_RELAXED);
    while (count < CISTERN_SNAPSHOTS_IN_FLIGHT_MAX) {
        if (__atomic_compare_exchange_n(&backend->snapshots_in_flight, &count, count + 1, 0,
                __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            return CISTERN_OK;
        }
    }
    return cistern_fail(error, CISTERN_BUSY, backend->options.operator_id,
        "%u snapshots of this backend are in flight, at most %u may be", count,
        CISTERN_SNAPSHOTS_IN_FLIGHT_MAX);
}

/* The states are described before the backend marks the moment: what can fail comes first, and
 * nothing runs in between. */
static uint32_t snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error)
{
    struct cistern_state_info *infos = cistern_allocate_zeroed(backend->state_count, sizeof *infos);
    if (infos == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, backend->options.operator_id,
            "no memory for a snapshot's states");
    }
    uint32_t info_count = 0;
    struct cistern_snapshot *snapshot = NULL;
    uint32_t status = backend_describe(backend, infos, &info_count, error);
    if (status == CISTERN_OK) {
        status = backend->ops->snapshot_begin(backend, request, &snapshot, error);
    }
    if (status != CISTERN_OK) {
        cistern_release(infos);
        return status;
    }
    snapshot->backend = backend;
    snapshot->checkpoint_id = request->checkpoint_id;
    snapshot->states = infos;
    snapshot->state_count = info_count;
    backend->checkpoint_id_last = request->checkpoint_id;
    *ret_snapshot = snapshot;
    return CISTERN_OK;
}

uint32_t cistern_snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error)
{
    backend_enter(backend);
    uint32_t status = request_validate(backend, request, error);
    if (status == CISTERN_OK) {
        status = snapshot_acquire(backend, error);
    }
    if (status == CISTERN_OK) {
        status = snapshot_begin(backend, request, ret_snapshot, error);
        if (status != CISTERN_OK) {
            __atomic_sub_fetch(&backend->snapshots_in_flight, 1, __ATOMIC_RELEASE);
        }
    }
    backend_leave(backend);
    return status;
}

uint32_t cistern_snapshot_next(
    struct cistern_snapshot *snapshot, struct cistern_part *ret_part, struct cistern_error *error)
{
    struct cistern_part part = {0};
    uint32_t status = snapshot->backend->ops->snapshot_next(snapshot, &part, error);
    if (status == CISTERN_OK) {
        *ret_part = part;
    }
    return status;
}

uint32_t cistern_snapshot_read(struct cistern_snapshot *snapshot, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    /* 0 bytes read would look like the part's end */
    if (into.data == NULL || into.capacity_bytes == 0) {
        return cistern_fail(error, CISTERN_INVALID, snapshot->backend->options.operator_id,
            "reading a snapshot needs room for at least one byte");
    }
    return snapshot->backend->ops->snapshot_read(snapshot, into, ret_bytes, error);
}

uint32_t cistern_snapshot_states(struct cistern_snapshot *snapshot,
    struct cistern_state_info *ret_states, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error)
{
    *ret_count = snapshot->state_count;
    if (capacity < snapshot->state_count) {
        return cistern_fail(error, CISTERN_LIMIT, snapshot->backend->options.operator_id,
            "the snapshot has %u states, the caller has room for %u", snapshot->state_count,
            capacity);
    }
    if (snapshot->state_count > 0) {
        memcpy(ret_states, snapshot->states, snapshot->state_count * sizeof *ret_states);
    }
    return CISTERN_OK;
}

void cistern_snapshot_release(struct cistern_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    struct cistern_backend *backend = snapshot->backend;
    cistern_release(snapshot->states);
    snapshot->states = NULL;
    backend->ops->snapshot_release(snapshot);
    /* Last: from here on the owner may close the backend. */
    __atomic_sub_fetch(&backend->snapshots_in_flight, 1, __ATOMIC_RELEASE);
}
