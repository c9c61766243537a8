/* fake_backend.h -- a backend that stores nothing and notes what reached it; for the tests of
 * validation and dispatch. */
#ifndef FAKE_BACKEND_H
#define FAKE_BACKEND_H

#include "cistern/alloc.h"
#include "cistern/backend_ops.h"
#include "cistern/error.h"
#include "test.h"

#include <string.h>

struct fake_backend {
    struct cistern_backend backend;
    uint32_t calls;      /* data ops since open */
    uint32_t last_count; /* items of the last one */
    uint32_t answer;     /* status that data ops give */
    uint32_t adopted;
    uint32_t notified;
    uint32_t begin_status;
    uint32_t state_status;
};

static struct fake_backend *fake_of(struct cistern_backend *backend)
{
    return (struct fake_backend *)(void *)backend;
}

static uint32_t fake_close(struct cistern_backend *backend, struct cistern_error *error)
{
    (void)error;
    cistern_backend_deinit(backend);
    cistern_release(backend);
    return CISTERN_OK;
}

static uint32_t fake_step(
    struct cistern_backend *backend, int64_t deadline_ns, struct cistern_error *error)
{
    (void)deadline_ns;
    (void)error;
    return fake_of(backend)->answer;
}

static uint32_t fake_explain(struct cistern_backend *backend, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_LIMIT, backend->options.operator_id, "holders");
}

static uint32_t fake_state_create(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint32_t id,
    struct cistern_state **ret_state, struct cistern_error *error)
{
    if (fake_of(backend)->state_status != CISTERN_OK) {
        return cistern_fail(
            error, fake_of(backend)->state_status, descriptor->name, "refused by the test");
    }
    struct cistern_state *state = cistern_allocate(sizeof *state);
    if (state == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, descriptor->name, "no memory");
    }
    uint32_t status = cistern_state_init(state, backend, descriptor, id, error);
    if (status != CISTERN_OK) {
        cistern_release(state);
        return status;
    }
    *ret_state = state;
    return CISTERN_OK;
}

static uint32_t fake_state_adopt(struct cistern_state *state,
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error)
{
    (void)descriptor;
    (void)error;
    fake_of(state->backend)->adopted++;
    return CISTERN_OK;
}

static void fake_state_destroy(struct cistern_state *state)
{
    cistern_state_deinit(state);
    cistern_release(state);
}

static uint32_t fake_note(struct cistern_state *state, uint32_t count)
{
    struct fake_backend *fake = fake_of(state->backend);
    fake->calls++;
    fake->last_count = count;
    return fake->answer;
}

static uint32_t fake_get_many(struct cistern_state *state, const struct cistern_address *addresses,
    uint32_t count, struct cistern_span *ret_values, struct cistern_error *error)
{
    (void)error;
    for (uint32_t i = 0; i < count; i++) { /* the key itself, but nothing for an empty key */
        ret_values[i] =
            addresses[i].key.bytes > 0 ? addresses[i].key : (struct cistern_span){NULL, 0};
    }
    return fake_note(state, count);
}

static uint32_t fake_write_many(struct cistern_state *state,
    const struct cistern_address *addresses, const struct cistern_span *values, uint32_t count,
    uint32_t *ret_done, struct cistern_error *error)
{
    (void)addresses;
    (void)values;
    (void)error;
    *ret_done = fake_of(state->backend)->answer == CISTERN_OK ? count : count / 2;
    return fake_note(state, count);
}

static uint32_t fake_remove_many(struct cistern_state *state,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    return fake_write_many(state, addresses, NULL, count, ret_done, error);
}

static uint32_t fake_entries_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    (void)state;
    (void)error;
    *ret_cursor = cistern_allocate_zeroed(1, sizeof **ret_cursor);
    return *ret_cursor != NULL ? CISTERN_OK : CISTERN_NO_MEMORY;
}

static uint32_t fake_cursor_next(struct cistern_cursor *cursor, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    (void)cursor;
    (void)ret_entries;
    (void)capacity;
    (void)error;
    *ret_count = 0;
    return CISTERN_OK;
}

static void fake_cursor_close(struct cistern_cursor *cursor)
{
    cistern_release(cursor);
}

static uint32_t fake_measure(struct cistern_state *state, uint64_t *ret_entries,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    (void)error;
    *ret_entries = 10 * state->id;
    *ret_bytes = 100 * state->id;
    return CISTERN_OK;
}

static uint32_t fake_snapshot_begin(struct cistern_backend *backend,
    const struct cistern_snapshot_request *request, struct cistern_snapshot **ret_snapshot,
    struct cistern_error *error)
{
    (void)request;
    if (fake_of(backend)->begin_status != CISTERN_OK) {
        return cistern_fail(error, fake_of(backend)->begin_status, "fake", "refused by the test");
    }
    *ret_snapshot = cistern_allocate_zeroed(1, sizeof **ret_snapshot);
    return *ret_snapshot != NULL ? CISTERN_OK
                                 : cistern_fail(error, CISTERN_NO_MEMORY, "fake", "no memory");
}

static uint32_t fake_snapshot_next(
    struct cistern_snapshot *snapshot, struct cistern_part *ret_part, struct cistern_error *error)
{
    (void)snapshot;
    (void)error;
    ret_part->bytes = 77;
    return CISTERN_NOT_FOUND;
}

static uint32_t fake_snapshot_read(struct cistern_snapshot *snapshot, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    (void)snapshot;
    (void)into;
    (void)error;
    *ret_bytes = 0;
    return CISTERN_OK;
}

static void fake_snapshot_release(struct cistern_snapshot *snapshot)
{
    cistern_release(snapshot);
}

static void fake_notify(struct cistern_backend *backend, uint64_t checkpoint_id, uint32_t outcome)
{
    (void)checkpoint_id;
    (void)outcome;
    fake_of(backend)->notified++;
}

/* Gives the backend two states as a restore of two slices would, the second with the first's id. */
static uint32_t fake_restore(struct cistern_backend *backend, const struct cistern_source *source,
    struct cistern_error *error)
{
    const struct cistern_state_descriptor *descriptors = source->arg;
    for (uint32_t i = 0; i < source->slice_count; i++) {
        struct cistern_state *state;
        uint32_t status =
            cistern_backend_state_restored(backend, &descriptors[i], 4, &state, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

static const struct cistern_backend_ops fake_ops = {
    .size = sizeof fake_ops,
    .name = "fake",
    .close = fake_close,
    .step = fake_step,
    .explain = fake_explain,
    .state_create = fake_state_create,
    .state_adopt = fake_state_adopt,
    .state_destroy = fake_state_destroy,
    .value_get_many = fake_get_many,
    .value_put_many = fake_write_many,
    .value_add_many = fake_write_many,
    .value_remove_many = fake_remove_many,
    .entries_open = fake_entries_open,
    .cursor_next = fake_cursor_next,
    .cursor_close = fake_cursor_close,
    .state_measure = fake_measure,
    .snapshot_begin = fake_snapshot_begin,
    .snapshot_next = fake_snapshot_next,
    .snapshot_read = fake_snapshot_read,
    .snapshot_release = fake_snapshot_release,
    .notify = fake_notify,
    .restore = fake_restore,
};

/* Groups 10..19 of 128, values up to 1000 bytes. */
static inline struct fake_backend *fake_open(void)
{
    struct cistern_error error;
    struct fake_backend *fake = cistern_allocate_zeroed(1, sizeof *fake);
    assert_non_null(fake);
    struct cistern_backend_options options = {.max_parallelism = 128, .range = {10, 19}};
    assert_ok(cistern_backend_init(&fake->backend, &fake_ops, NULL, &options, 1000, &error), error);
    return fake;
}

#endif
