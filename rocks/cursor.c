/*
 * cursor.c -- opened over a whole state, its keys, one map or one list; hands out what fill.c has
 * copied. See cursor_private.h.
 */
#include "cursor_private.h"
#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <string.h>

/* The caller fills in the rest; its inputs are not needed any more. */
static uint32_t cursor_create(
    struct cistern_state *state, struct rocks_cursor **ret_cursor, struct cistern_error *error)
{
    struct rocks_cursor *cursor = cistern_allocate_zeroed(1, sizeof *cursor);
    if (cursor == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, state->descriptor.name, "no memory for a cursor");
    }
    cursor->base.state = state;
    *ret_cursor = cursor;
    return CISTERN_OK;
}

static uint32_t open_state(
    struct rocks_state *state, struct rocks_cursor **ret_cursor, struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(state->base.backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status == CISTERN_OK) {
        status = cursor_create(&state->base, ret_cursor, error);
    }
    if (status == CISTERN_OK) {
        status = range_init_groups(
            &(*ret_cursor)->range, &state->layout, &rocks->base.options.range, error);
    }
    return status;
}

static uint32_t give(
    uint32_t status, struct rocks_cursor *cursor, struct cistern_cursor **ret_cursor)
{
    if (status == CISTERN_OK) {
        *ret_cursor = &cursor->base;
    } else if (cursor != NULL) {
        cursor_close(&cursor->base);
    }
    return status;
}

uint32_t cursor_open(
    struct cistern_state *base, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    struct rocks_cursor *cursor = NULL;
    uint32_t status = open_state(state, &cursor, error);
    if (status == CISTERN_OK) {
        status = shim_view_open(rocks->db, &cursor->view, error);
    }
    value_begin(rocks);
    return give(status, cursor, ret_cursor);
}

uint32_t cursor_open_keys(struct cistern_state *base, const struct cistern_span *name_space,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks_cursor *cursor = NULL;
    uint32_t status = open_state(state, &cursor, error);
    if (status == CISTERN_OK) {
        cursor->is_keys = 1;
        cursor->is_any_name = name_space == NULL;
    }
    if (status == CISTERN_OK && name_space != NULL && name_space->data != NULL) {
        cursor->name_copy = cistern_allocate(name_space->bytes + 1);
        if (cursor->name_copy == NULL) {
            status = cistern_fail(
                error, CISTERN_NO_MEMORY, base->descriptor.name, "no memory for a cursor");
        } else {
            memcpy(cursor->name_copy, name_space->data, name_space->bytes);
            cursor->name_space = (struct cistern_span){cursor->name_copy, name_space->bytes};
        }
    }
    value_begin(rocks_of(base->backend));
    return give(status, cursor, ret_cursor);
}

uint32_t cursor_open_address(struct cistern_state *base, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(state->base.backend);
    struct rocks_cursor *cursor = NULL;
    uint32_t status = rocks_usable(rocks, error);
    if (status == CISTERN_OK) {
        status = cursor_create(&state->base, &cursor, error);
    }
    if (status == CISTERN_OK) {
        cursor->touches = state->stamped && state->base.descriptor.ttl.update_on_read;
        status = scratch_encode(&rocks->scratch, &state->layout, address, 1, error);
    }
    if (status == CISTERN_OK) {
        status = range_init_prefix(&cursor->range, rocks->scratch.keys[0], error);
    }
    if (status == CISTERN_OK) {
        cursor->is_address = 1;
        cursor->next = state->address_cursors;
        if (cursor->next != NULL) {
            cursor->next->previous = cursor;
        }
        state->address_cursors = cursor;
    }
    value_begin(rocks);
    return give(status, cursor, ret_cursor);
}

static int is_on(const struct rocks_cursor *cursor, struct cistern_span prefix)
{
    return cursor->range.lower.bytes == prefix.bytes &&
           memcmp(cursor->range.lower.data, prefix.data, prefix.bytes) == 0;
}

void cursor_end_address(struct rocks_state *state, struct cistern_span prefix)
{
    for (struct rocks_cursor *cursor = state->address_cursors; cursor != NULL;
         cursor = cursor->next) {
        cursor->ended |= (uint32_t)is_on(cursor, prefix);
    }
}

int cursor_has_read(const struct rocks_state *state, struct cistern_span prefix, uint64_t number)
{
    for (struct rocks_cursor *cursor = state->address_cursors; cursor != NULL;
         cursor = cursor->next) {
        if (cursor->last_bytes != 0 && is_on(cursor, prefix)) {
            const uint8_t *last = cursor->last.data;
            if (cistern_get_u64_be(last + cursor->last_bytes - KEY_NUMBER_BYTES) >= number) {
                return 1;
            }
        }
    }
    return 0;
}

/* The next visible element of the buffered chunk. 0: there is none, or *ret_status says what is
 * wrong. */
static int element_next(struct rocks_cursor *cursor, struct cistern_span run, int64_t now_ms,
    struct cistern_entry *ret_entry, uint32_t *ret_status, struct cistern_error *error)
{
    const struct rocks_state *state = rocks_state_of(cursor->base.state);
    const struct cistern_ttl *ttl = &state->base.descriptor.ttl;
    struct cistern_frame_format format = list_format(state);
    struct cistern_frame frame;
    while (cursor->frame_next < run.bytes) {
        if (!cistern_frame_read(&format, run, cursor->frame_next, &frame)) {
            *ret_status = list_fail_frame(state, cursor->frame_next, error);
            return 0;
        }
        cursor->frame_next += frame.bytes;
        if (!state->stamped || ttl->return_expired ||
            !cistern_ttl_expired(ttl, frame.written_ms, now_ms)) {
            ret_entry->value = frame.element;
            ret_entry->written_ms = frame.written_ms;
            return 1;
        }
    }
    return 0;
}

/* What the buffer's next entry gives. 1: *ret_entry was written. 0: nothing (more) of it is
 * visible, or *ret_status says what is wrong with it. */
static int entry_decode(struct rocks_cursor *cursor, int64_t now_ms,
    struct cistern_entry *ret_entry, uint32_t *ret_status, struct cistern_error *error)
{
    const struct rocks_state *state = rocks_state_of(cursor->base.state);
    const struct buffered *buffered = &cursor->entries[cursor->entry_next];
    const uint8_t *bytes = cursor->buffer + buffered->offset;
    struct cistern_span stored = {bytes + buffered->key_bytes, buffered->value_bytes};
    struct cistern_span key = {bytes, buffered->key_bytes};
    struct cistern_span rest;
    memset(ret_entry, 0, sizeof *ret_entry);
    if (key_decode(&state->layout, key, &ret_entry->address, &rest) != CISTERN_OK) {
        *ret_status = cistern_fail_corrupt(error, cursor->base.state->descriptor.name, UINT64_MAX,
            "a stored key of %u bytes is no key of this state's layout", buffered->key_bytes);
        return 0;
    }
    if (cursor->is_keys) {
        return 1;
    }
    switch (state->base.descriptor.kind) {
    case CISTERN_LIST:
        return element_next(cursor, stored, now_ms, ret_entry, ret_status, error);
    case CISTERN_TIMERS:
        ret_entry->written_ms = key_time_of(cistern_get_u64_be(rest.data));
        return 1;
    case CISTERN_MAP:
        ret_entry->user_key = rest;
        break;
    default:
        break;
    }
    return value_unwrap(
        state, stored, now_ms, &ret_entry->value, &ret_entry->written_ms, ret_status, error);
}

uint32_t cursor_next(struct cistern_cursor *base, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    struct rocks_cursor *cursor = rocks_cursor_of(base);
    struct rocks *rocks = rocks_of(base->state->backend);
    uint32_t status = rocks_usable(rocks, error);
    *ret_count = 0;
    if (status != CISTERN_OK || cursor->ended) {
        return status;
    }
    value_begin(rocks);
    int is_chunk = base->state->descriptor.kind == CISTERN_LIST && !cursor->is_keys;
    int64_t now_ms = value_now_ms(rocks_state_of(base->state));
    uint32_t count = 0;
    cursor->at_end = cursor->at_end && !(is_chunk && cursor->is_address); /* it may have grown */
    while (count == 0 && status == CISTERN_OK) {
        if (cursor->entry_next == cursor->entry_count) {
            if (cursor->at_end) {
                break;
            }
            status = fill_run(cursor, error);
        }
        while (
            count < capacity && cursor->entry_next < cursor->entry_count && status == CISTERN_OK) {
            int is_one = entry_decode(cursor, now_ms, &ret_entries[count], &status, error);
            count += (uint32_t)is_one;
            if (!is_chunk || !is_one) {
                cursor->entry_next++;
                cursor->frame_next = 0;
            }
        }
    }
    *ret_count = count;
    return status;
}

void cursor_close(struct cistern_cursor *base)
{
    struct rocks_cursor *cursor = rocks_cursor_of(base);
    struct rocks_state *state = rocks_state_of(base->state);
    if (cursor->previous != NULL) {
        cursor->previous->next = cursor->next;
    } else if (cursor->is_address) {
        state->address_cursors = cursor->next;
    }
    if (cursor->next != NULL) {
        cursor->next->previous = cursor->previous;
    }
    shim_view_close(cursor->view);
    range_deinit(&cursor->range);
    cistern_release(cursor->name_copy);
    cistern_release(cursor->buffer);
    cistern_release(cursor->last.data);
    cistern_release(cursor->skip.data);
    cistern_release(cursor);
}
