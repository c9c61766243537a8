/* backend.c -- a backend's life and the calls that concern it as a whole; see backend.h and
 * backend_ops.h. */
#include "backend_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/log.h"

#include <assert.h>
#include <string.h>

#define OPERATOR_ID_DEFAULT "operator"
#define OPERATOR_ID_BYTES_MAX 200u

#ifndef NDEBUG
#include <pthread.h>

static_assert(sizeof(pthread_t) <= sizeof(uint64_t), "a thread's name must fit the inside word");

void backend_enter(struct cistern_backend *backend)
{
    uint64_t self = (uint64_t)pthread_self();
    uint64_t holder = 0;
    if (!__atomic_compare_exchange_n(
            &backend->inside, &holder, self, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        cistern_log(CISTERN_LOG_ERROR,
            "thread %llx entered backend %s of %s while thread %llx was inside",
            (unsigned long long)self, backend->ops->name, backend->options.operator_id,
            (unsigned long long)holder);
        assert(0 && "two calls overlap in one backend");
    }
}

void backend_leave(struct cistern_backend *backend)
{
    assert(__atomic_load_n(&backend->inside, __ATOMIC_RELAXED) == (uint64_t)pthread_self());
    __atomic_store_n(&backend->inside, 0, __ATOMIC_RELEASE);
}
#endif

static uint32_t operator_id_validate(const char *operator_id, struct cistern_error *error)
{
    size_t bytes = strnlen(operator_id, OPERATOR_ID_BYTES_MAX + 1);
    if (bytes == 0 || bytes > OPERATOR_ID_BYTES_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "operator_id", "operator_id has 1 to %u bytes",
            OPERATOR_ID_BYTES_MAX);
    }
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)operator_id[i];
        if (c < 0x20 || c == 0x7f) {
            return cistern_fail(error, CISTERN_INVALID, "operator_id",
                "byte %zu (0x%02x) of operator_id is a control character", i, c);
        }
    }
    return CISTERN_OK;
}

static uint32_t options_validate(
    const struct cistern_backend_options *options, struct cistern_error *error)
{
    if (options->max_parallelism < 1 || options->max_parallelism > CISTERN_MAX_PARALLELISM_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "max_parallelism",
            "max_parallelism is 1 to %u, not %u", CISTERN_MAX_PARALLELISM_MAX,
            options->max_parallelism);
    }
    if (options->range.first > options->range.last ||
        options->range.last >= options->max_parallelism) {
        return cistern_fail(error, CISTERN_INVALID, "range",
            "key groups %u to %u are no range within the groups 0 to %u", options->range.first,
            options->range.last, options->max_parallelism - 1);
    }
    if (options->reserved != 0) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, "reserved",
            "backend options: reserved is %u, must be 0", options->reserved);
    }
    return options->operator_id == NULL ? CISTERN_OK
                                        : operator_id_validate(options->operator_id, error);
}

uint32_t cistern_backend_init(struct cistern_backend *backend,
    const struct cistern_backend_ops *ops, struct cistern_slot *slot,
    const struct cistern_backend_options *options, uint64_t value_bytes_max_default,
    struct cistern_error *error)
{
    memset(backend, 0, sizeof *backend);
    if (ops->size != sizeof *ops) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, "backend",
            "the backend's table of operations has %llu bytes, this library's has %llu: build both "
            "from one version",
            (unsigned long long)ops->size, (unsigned long long)sizeof *ops);
    }
    uint32_t status = options_validate(options, error);
    if (status != CISTERN_OK) {
        return status;
    }
    const char *operator_id =
        options->operator_id != NULL ? options->operator_id : OPERATOR_ID_DEFAULT;
    char *operator_id_copy = cistern_duplicate_string(operator_id);
    struct cistern_state **states =
        cistern_allocate_zeroed(CISTERN_STATE_COUNT_MAX, sizeof *states);
    if (operator_id_copy == NULL || states == NULL) {
        cistern_release(operator_id_copy);
        cistern_release(states);
        return cistern_fail(
            error, CISTERN_NO_MEMORY, operator_id, "no memory for a backend's table of states");
    }
    backend->ops = ops;
    backend->slot = slot;
    backend->options = *options;
    backend->options.operator_id = operator_id_copy;
    if (backend->options.value_bytes_max == 0) {
        backend->options.value_bytes_max = value_bytes_max_default;
    }
    backend->states = states;
    backend->watermark_ms = INT64_MIN;
    return CISTERN_OK;
}

void cistern_backend_deinit(struct cistern_backend *backend)
{
    for (uint32_t i = backend->state_count; i > 0; i--) {
        struct cistern_state *state = backend->states[i - 1];
        backend->states[i - 1] = NULL;
        if (state != NULL) {
            backend->ops->state_destroy(state);
        }
    }
    backend->state_count = 0;
    cistern_release(backend->states);
    cistern_release((void *)backend->options.operator_id);
    backend->states = NULL;
    backend->options.operator_id = NULL;
}

uint32_t cistern_backend_close(struct cistern_backend *backend, struct cistern_error *error)
{
    if (backend == NULL) {
        return CISTERN_OK;
    }
    if (__atomic_load_n(&backend->snapshots_in_flight, __ATOMIC_ACQUIRE) != 0) {
        return cistern_fail(error, CISTERN_BUSY, backend->options.operator_id,
            "a snapshot of this backend is still held; release it, then close");
    }
    backend_enter(backend);
    backend_leave(backend); /* nothing of the backend may be touched after its close */
    return backend->ops->close(backend, error);
}

uint32_t cistern_backend_step(
    struct cistern_backend *backend, int64_t deadline_ns, struct cistern_error *error)
{
    backend_enter(backend);
    uint32_t status = backend->ops->step(backend, deadline_ns, error);
    backend_leave(backend);
    return status;
}

uint32_t cistern_backend_explain(struct cistern_backend *backend, struct cistern_error *error)
{
    backend_enter(backend);
    uint32_t status = backend->ops->explain(backend, error);
    backend_leave(backend);
    return status;
}

void cistern_backend_set_watermark(struct cistern_backend *backend, int64_t watermark_ms)
{
    if (watermark_ms > backend->watermark_ms) {
        backend->watermark_ms = watermark_ms;
    }
}

const char *cistern_backend_name(const struct cistern_backend *backend)
{
    return backend->ops->name;
}

const struct cistern_backend_options *cistern_backend_options_of(
    const struct cistern_backend *backend)
{
    return &backend->options;
}

void cistern_backend_notify(
    struct cistern_backend *backend, uint64_t checkpoint_id, uint32_t outcome)
{
    assert(outcome <= CISTERN_SUBSUMED);
    backend_enter(backend);
    backend->ops->notify(backend, checkpoint_id, outcome);
    backend_leave(backend);
}

static uint32_t source_validate(const struct cistern_backend *backend,
    const struct cistern_source *source, struct cistern_error *error)
{
    const char *object = backend->options.operator_id;
    if (source->backend == NULL || source->next == NULL || source->read == NULL ||
        source->describe == NULL) {
        return cistern_fail(error, CISTERN_INVALID, object,
            "a source for restore needs backend, next, read and describe; one of them is NULL");
    }
    if (backend->state_count != 0) {
        return cistern_fail(error, CISTERN_BUSY, object,
            "the backend has %u states already; restore into a new one, and register states "
            "afterwards",
            backend->state_count);
    }
    if (__atomic_load_n(&backend->snapshots_in_flight, __ATOMIC_ACQUIRE) != 0) {
        return cistern_fail(error, CISTERN_BUSY, object,
            "a snapshot of this backend is still held; release it first");
    }
    return CISTERN_OK;
}

uint32_t cistern_backend_restore(struct cistern_backend *backend,
    const struct cistern_source *source, struct cistern_error *error)
{
    backend_enter(backend);
    uint32_t status = source_validate(backend, source, error);
    if (status == CISTERN_OK) {
        status = backend->ops->restore(backend, source, error);
    }
    backend_leave(backend);
    return status;
}

uint32_t backend_describe(struct cistern_backend *backend, struct cistern_state_info *infos,
    uint32_t *ret_count, struct cistern_error *error)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < backend->state_count; i++) {
        if (backend->states[i] == NULL) {
            continue;
        }
        uint32_t status = state_describe(backend->states[i], &infos[count], error);
        if (status != CISTERN_OK) {
            return status;
        }
        count++;
    }
    *ret_count = count;
    return CISTERN_OK;
}

static uint32_t states_list(struct cistern_backend *backend, struct cistern_state_info *ret_states,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < backend->state_count; i++) {
        count += backend->states[i] != NULL;
    }
    if (count > capacity) {
        *ret_count = count;
        return cistern_fail(error, CISTERN_LIMIT, backend->options.operator_id,
            "there are %u states, the caller has room for %u", count, capacity);
    }
    return backend_describe(backend, ret_states, ret_count, error);
}

uint32_t cistern_backend_states(struct cistern_backend *backend,
    struct cistern_state_info *ret_states, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error)
{
    backend_enter(backend);
    uint32_t status = states_list(backend, ret_states, capacity, ret_count, error);
    backend_leave(backend);
    return status;
}
