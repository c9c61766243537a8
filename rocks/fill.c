/* fill.c -- a cursor's buffer of copies: entries, or addresses each once; see cursor_private.h. */
#include "cursor_private.h"
#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <string.h>

#define BUFFER_BYTES (56u << 10)    /* with the entries' table below 64 KiB */
#define BLOCKS_BYTES (256ull << 10) /* what an iterator may load at its safe point */
#define SKIP_STEPS_MAX 16u          /* entries of an address that are stepped over before a seek */

static uint32_t buffer_reserve(
    struct rocks_cursor *cursor, uint64_t bytes, struct cistern_error *error)
{
    uint64_t wanted = bytes > BUFFER_BYTES ? bytes : BUFFER_BYTES;
    if (wanted == cursor->buffer_capacity) {
        return CISTERN_OK;
    }
    uint8_t *buffer = cistern_allocate(wanted);
    if (buffer == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, cursor->base.state->descriptor.name,
            "no memory for an entry of %llu bytes", (unsigned long long)bytes);
    }
    cistern_release(cursor->buffer);
    cursor->buffer = buffer;
    cursor->buffer_capacity = wanted;
    return CISTERN_OK;
}

/* Copies one entry. *ret_added 0: the buffer is full. *used counts its bytes. */
static uint32_t buffer_add(struct rocks_cursor *cursor, struct cistern_span key,
    struct cistern_span value, uint64_t *used, int *ret_added, struct cistern_error *error)
{
    uint64_t bytes = key.bytes + value.bytes;
    *ret_added = 0;
    if (cursor->entry_count == 0) {
        uint32_t status = buffer_reserve(cursor, bytes, error);
        if (status != CISTERN_OK) {
            return status;
        }
    } else if (cursor->entry_count == CURSOR_COUNT_MAX || *used + bytes > cursor->buffer_capacity) {
        return CISTERN_OK;
    }
    struct buffered *entry = &cursor->entries[cursor->entry_count++];
    entry->offset = *used;
    entry->key_bytes = (uint32_t)key.bytes;
    entry->value_bytes = value.bytes;
    memcpy(cursor->buffer + *used, key.data, key.bytes);
    if (value.bytes != 0) {
        memcpy(cursor->buffer + *used + key.bytes, value.data, value.bytes);
    }
    *used += bytes;
    *ret_added = 1;
    return CISTERN_OK;
}

/* cursor->last has room for it. */
static void last_key_set(struct rocks_cursor *cursor, struct cistern_span key)
{
    memcpy(cursor->last.data, key.data, key.bytes);
    cursor->last_bytes = key.bytes;
}

static uint32_t entries_copy(
    struct rocks_cursor *cursor, struct shim_iterator *iterator, struct cistern_error *error)
{
    uint64_t used = 0;
    int added = 1;
    uint32_t status = CISTERN_OK;
    struct cistern_span key;
    struct cistern_span value;
    while (added && shim_iterator_entry(iterator, &key, &value)) {
        status = buffer_add(cursor, key, value, &used, &added, error);
        if (status != CISTERN_OK) {
            return status;
        }
        if (added) {
            shim_iterator_next(iterator);
        }
    }
    cursor->at_end = added != 0;
    return cursor->at_end ? shim_iterator_status(iterator, error) : CISTERN_OK;
}

/* ---- keys ---- */

/* Whether an element of the run is visible. */
static int run_is_visible(const struct rocks_state *state, struct cistern_span run, int64_t now_ms,
    uint32_t *ret_status, struct cistern_error *error)
{
    const struct cistern_ttl *ttl = &state->base.descriptor.ttl;
    struct cistern_frame_format format = list_format(state);
    struct cistern_frame frame;
    for (uint64_t at = 0; at < run.bytes; at += frame.bytes) {
        if (!cistern_frame_read(&format, run, at, &frame)) {
            *ret_status = list_fail_frame(state, at, error);
            return 0;
        }
        if (!state->stamped || ttl->return_expired ||
            !cistern_ttl_expired(ttl, frame.written_ms, now_ms)) {
            return 1;
        }
    }
    return 0;
}

static int is_visible(const struct rocks_state *state, struct cistern_span stored, int64_t now_ms,
    uint32_t *ret_status, struct cistern_error *error)
{
    if (state->base.descriptor.kind == CISTERN_LIST) {
        return run_is_visible(state, stored, now_ms, ret_status, error);
    }
    struct cistern_span value;
    int64_t written_ms;
    return value_unwrap(state, stored, now_ms, &value, &written_ms, ret_status, error);
}

static int is_wanted(const struct rocks_cursor *cursor, const struct cistern_address *address)
{
    struct cistern_span wanted = cursor->name_space;
    struct cistern_span there = address->name_space;
    return cursor->is_any_name ||
           ((wanted.data != NULL) == (there.data != NULL) && wanted.bytes == there.bytes &&
               (wanted.bytes == 0 || memcmp(wanted.data, there.data, wanted.bytes) == 0));
}

static int begins_with(struct cistern_span key, struct cistern_span prefix)
{
    return key.bytes >= prefix.bytes && memcmp(key.data, prefix.data, prefix.bytes) == 0;
}

static uint32_t seek_behind(struct rocks_cursor *cursor, struct shim_iterator *iterator,
    struct cistern_span prefix, struct cistern_error *error)
{
    uint32_t status = scratch_sum_reserve(&cursor->skip, prefix.bytes, error);
    if (status != CISTERN_OK) {
        return status;
    }
    memcpy(cursor->skip.data, prefix.data, prefix.bytes);
    uint64_t bytes = key_successor(cursor->skip.data, prefix.bytes);
    if (bytes == 0) {
        /* Every byte of the prefix is ff, so it is the last there can be. */
        struct cistern_span key;
        struct cistern_span value;
        while (shim_iterator_entry(iterator, &key, &value)) {
            shim_iterator_next(iterator);
        }
        return CISTERN_OK;
    }
    shim_iterator_seek(iterator, (struct cistern_span){cursor->skip.data, bytes});
    return CISTERN_OK;
}

/* To the first entry of another address. `last` holds the prefix. */
static uint32_t prefix_leave(
    struct rocks_cursor *cursor, struct shim_iterator *iterator, struct cistern_error *error)
{
    if (rocks_state_of(cursor->base.state)->layout.form != KEY_PREFIX) {
        shim_iterator_next(iterator); /* an entry is an address, and may begin like the next one */
        return CISTERN_OK;
    }
    struct cistern_span prefix = {cursor->last.data, cursor->last_bytes};
    struct cistern_span key;
    struct cistern_span value;
    for (uint32_t i = 0; i < SKIP_STEPS_MAX; i++) {
        shim_iterator_next(iterator);
        if (!shim_iterator_entry(iterator, &key, &value) || !begins_with(key, prefix)) {
            return CISTERN_OK;
        }
    }
    return seek_behind(cursor, iterator, prefix, error);
}

/* One entry of the walk over keys. *ret_added 0: the buffer is full, and the iterator stands. */
static uint32_t key_step(struct rocks_cursor *cursor, struct shim_iterator *iterator,
    int64_t now_ms, uint64_t *used, int *ret_added, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(cursor->base.state);
    struct cistern_span key;
    struct cistern_span stored;
    struct cistern_span rest;
    struct cistern_address address;
    (void)shim_iterator_entry(iterator, &key, &stored);
    if (key_decode(&state->layout, key, &address, &rest) != CISTERN_OK) {
        return cistern_fail_corrupt(error, cursor->base.state->descriptor.name, UINT64_MAX,
            "a stored key of %llu bytes is no key of this state's layout",
            (unsigned long long)key.bytes);
    }
    uint32_t status = CISTERN_OK;
    struct cistern_span prefix = {key.data, key.bytes - rest.bytes};
    int is_other = !is_wanted(cursor, &address);
    if (!is_other && !is_visible(state, stored, now_ms, &status, error)) {
        *ret_added = 1;
        shim_iterator_next(iterator); /* another entry of the same address may be visible */
        return status;
    }
    *ret_added = 1;
    status = scratch_sum_reserve(&cursor->last, prefix.bytes, error);
    if (status == CISTERN_OK && !is_other) {
        struct cistern_span nothing = {NULL, 0};
        status = buffer_add(cursor, prefix, nothing, used, ret_added, error);
    }
    if (status != CISTERN_OK || !*ret_added) {
        return status;
    }
    last_key_set(cursor, prefix);
    if (state->layout.form != KEY_PREFIX) {
        shim_iterator_next(iterator); /* one entry per address, and it may begin another's key */
        return CISTERN_OK;
    }
    return prefix_leave(cursor, iterator, error);
}

static uint32_t keys_copy(
    struct rocks_cursor *cursor, struct shim_iterator *iterator, struct cistern_error *error)
{
    uint64_t used = 0;
    int added = 1;
    uint32_t status = CISTERN_OK;
    struct cistern_span key;
    struct cistern_span value;
    int64_t now_ms = value_now_ms(rocks_state_of(cursor->base.state));
    while (status == CISTERN_OK && added && shim_iterator_entry(iterator, &key, &value)) {
        status = key_step(cursor, iterator, now_ms, &used, &added, error);
    }
    cursor->at_end = added != 0;
    return status == CISTERN_OK && cursor->at_end ? shim_iterator_status(iterator, error) : status;
}

/* ---- any ---- */

static uint32_t seek_past_last(
    struct rocks_cursor *cursor, struct shim_iterator *iterator, struct cistern_error *error)
{
    struct cistern_span last = {cursor->last.data, cursor->last_bytes};
    if (last.bytes == 0) {
        shim_iterator_seek(iterator, cursor->range.lower);
        return CISTERN_OK;
    }
    struct cistern_span key;
    struct cistern_span value;
    int is_prefix =
        cursor->is_keys && rocks_state_of(cursor->base.state)->layout.form == KEY_PREFIX;
    if (is_prefix) {
        return seek_behind(cursor, iterator, last, error);
    }
    shim_iterator_seek(iterator, last);
    if (shim_iterator_entry(iterator, &key, &value) && key.bytes == last.bytes &&
        memcmp(key.data, last.data, last.bytes) == 0) {
        shim_iterator_next(iterator);
    }
    return CISTERN_OK;
}

/* New stamps for the elements of a buffered chunk that are alive. Returns whether there are any. */
static int run_touch(const struct rocks_state *state, uint8_t *bytes, uint64_t count,
    int64_t now_ms, uint32_t *ret_status, struct cistern_error *error)
{
    const struct cistern_ttl *ttl = &state->base.descriptor.ttl;
    struct cistern_frame_format format = list_format(state);
    struct cistern_span run = {bytes, count};
    struct cistern_frame frame;
    int touched = 0;
    for (uint64_t at = 0; at < count; at += frame.bytes) {
        if (!cistern_frame_read(&format, run, at, &frame)) {
            *ret_status = list_fail_frame(state, at, error);
            return 0;
        }
        if (!cistern_ttl_expired(ttl, frame.written_ms, now_ms)) {
            uint64_t element = (uint64_t)((const uint8_t *)frame.element.data - bytes);
            cistern_put_u64_le(bytes + element - ROCKS_STAMP_BYTES, (uint64_t)now_ms);
            touched = 1;
        }
    }
    return touched;
}

/* What the buffer holds and is alive is written again with a new stamp: now, since the owner may
 * change it before it is handed out. */
static uint32_t buffer_touch(struct rocks_cursor *cursor, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(cursor->base.state);
    struct rocks *rocks = rocks_of(state->base.backend);
    int64_t now_ms = value_now_ms(state);
    uint32_t status = CISTERN_OK;
    shim_batch_clear(rocks->batch);
    for (uint32_t i = 0; i < cursor->entry_count && status == CISTERN_OK; i++) {
        const struct buffered *entry = &cursor->entries[i];
        uint8_t *bytes = cursor->buffer + entry->offset;
        struct cistern_span key = {bytes, entry->key_bytes};
        struct cistern_span stored = {bytes + entry->key_bytes, entry->value_bytes};
        struct cistern_span value;
        struct cistern_span none = {NULL, 0};
        int64_t written_ms;
        int is_alive;
        if (state->base.descriptor.kind == CISTERN_LIST) {
            is_alive = run_touch(
                state, bytes + entry->key_bytes, entry->value_bytes, now_ms, &status, error);
        } else {
            is_alive = value_unwrap(state, stored, now_ms, &value, &written_ms, &status, error) &&
                       !cistern_ttl_expired(&state->base.descriptor.ttl, written_ms, now_ms);
            if (is_alive) {
                cistern_put_u64_be(bytes + entry->key_bytes, (uint64_t)now_ms);
            }
        }
        if (is_alive) {
            status = shim_batch_put(rocks->batch, state->family, key, none, stored, error);
        }
    }
    return status == CISTERN_OK ? value_flush_batch(rocks, error) : status;
}

static uint32_t fill_read(struct rocks_cursor *cursor, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(cursor->base.state);
    struct shim_iterator *iterator = NULL;
    gate_read(rocks_of(state->base.backend), BLOCKS_BYTES);
    uint32_t status = shim_iterator_open(
        state->family, cursor->view, cursor->range.lower, cursor->range.upper, &iterator, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = seek_past_last(cursor, iterator, error);
    if (status == CISTERN_OK) {
        status = cursor->is_keys ? keys_copy(cursor, iterator, error)
                                 : entries_copy(cursor, iterator, error);
    }
    shim_iterator_close(iterator);
    return status;
}

uint32_t fill_run(struct rocks_cursor *cursor, struct cistern_error *error)
{
    cursor->entry_count = 0;
    cursor->entry_next = 0;
    cursor->frame_next = 0;
    uint32_t status = fill_read(cursor, error);
    if (cursor->is_keys) {
        cursor->at_end = cursor->at_end && status == CISTERN_OK;
        return status; /* what is in the buffer fits what `last` says, whatever failed */
    }
    if (status == CISTERN_OK && cursor->touches) {
        status = buffer_touch(cursor, error);
    }
    if (status == CISTERN_OK && cursor->entry_count != 0) {
        const struct buffered *entry = &cursor->entries[cursor->entry_count - 1];
        struct cistern_span key = {cursor->buffer + entry->offset, entry->key_bytes};
        status = scratch_sum_reserve(&cursor->last, key.bytes, error);
        if (status == CISTERN_OK) {
            last_key_set(cursor, key);
        }
    }
    if (status != CISTERN_OK) {
        cursor->entry_count = 0;
        cursor->at_end = 0;
    }
    return status;
}
