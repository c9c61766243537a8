/*
 * backend_private.h -- the guard around every call of a backend's owner.
 *
 * Threads: exclusive, not affine. In builds with assertions backend->inside holds the thread that
 *          is in a call; a second one
 * (another thread, or a reducer that calls the library) is the caller's bug and stops the process.
 * Without assertions: nothing.
 */
#ifndef CISTERN_BACKEND_PRIVATE_H
#define CISTERN_BACKEND_PRIVATE_H

#include "cistern/backend_ops.h"
#include "cistern/keys.h"

#ifdef NDEBUG
static inline void backend_enter(struct cistern_backend *backend)
{
    (void)backend;
}
static inline void backend_leave(struct cistern_backend *backend)
{
    (void)backend;
}
#else
void backend_enter(struct cistern_backend *backend);
void backend_leave(struct cistern_backend *backend);
#endif

/* Fills in a cursor that an op opened and hands it out, if status is OK; returns status. */
uint32_t cursor_give(struct cistern_state *state, uint32_t status, struct cistern_cursor *cursor,
    struct cistern_cursor **ret_cursor);
/* The state of that name, or NULL. Linear: 250 states at most, and never on a data path. */
struct cistern_state *backend_state_find(const struct cistern_backend *backend, const char *name);
/* cistern_state_apply_to_all_keys() over every namespace. Outside the guard. */
CISTERN_MUST_USE uint32_t keys_for_all(
    struct cistern_state *state, cistern_apply_fn apply, void *arg, struct cistern_error *error);
/* Every value of a state that was just taken over goes through descriptor->migrate_fn. Outside the
 * guard. */
CISTERN_MUST_USE uint32_t state_migrate(struct cistern_state *state,
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error);
/* One line of cistern_backend_states() and of a snapshot; measures through the ops. */
CISTERN_MUST_USE uint32_t state_describe(
    struct cistern_state *state, struct cistern_state_info *ret_info, struct cistern_error *error);
/* The lines of all states into infos[backend->state_count]; *ret_count is how many there are. */
CISTERN_MUST_USE uint32_t backend_describe(struct cistern_backend *backend,
    struct cistern_state_info *infos, uint32_t *ret_count, struct cistern_error *error);

#endif
