/* cursor.c -- walks over a state: opened by the calls that say over what, the same for all; see
 * backend.h. */
#include "backend_private.h"
#include "cistern/error.h"

#include <assert.h>
#include <stddef.h>

uint32_t cursor_give(struct cistern_state *state, uint32_t status, struct cistern_cursor *cursor,
    struct cistern_cursor **ret_cursor)
{
    if (status == CISTERN_OK) {
        cursor->state = state;
        *ret_cursor = cursor;
    }
    return status;
}

uint32_t cistern_entries_open(
    struct cistern_state *state, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct cistern_cursor *cursor = NULL;
    backend_enter(state->backend);
    uint32_t status = state->backend->ops->entries_open(state, &cursor, error);
    backend_leave(state->backend);
    return cursor_give(state, status, cursor, ret_cursor);
}

uint32_t cistern_cursor_next(struct cistern_cursor *cursor, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    struct cistern_backend *backend = cursor->state->backend;
    if (capacity == 0) {
        return cistern_fail(error, CISTERN_INVALID, cursor->state->descriptor.name,
            "a cursor needs room for at least one entry");
    }
    backend_enter(backend);
    uint32_t status = backend->ops->cursor_next(cursor, ret_entries, capacity, ret_count, error);
    backend_leave(backend);
    assert(status != CISTERN_OK || *ret_count <= capacity);
    return status;
}

void cistern_cursor_close(struct cistern_cursor *cursor)
{
    if (cursor == NULL) {
        return;
    }
    struct cistern_backend *backend = cursor->state->backend;
    backend_enter(backend);
    backend->ops->cursor_close(cursor);
    backend_leave(backend);
}
