/*
 * cursor.c -- every entry of a state, through a buffer of copies.
 *
 * Between calls a cursor holds a moment of the database (which pins no memory), the last key, and
 * at most 64 KiB of copies: the RocksDB iterator lives only while the buffer is filled, so nothing
 * has to be parked under pressure.
 * Threads: owner only.
 */
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"

#include <string.h>

#define BUFFER_BYTES (56u << 10) /* with the entries' table below 64 KiB */
#define BUFFER_COUNT_MAX 128u
#define BLOCKS_BYTES (256ull << 10) /* what an iterator may load at its safe point */

struct buffered {
    uint64_t offset; /* of the key in the buffer; the value follows it */
    uint32_t key_bytes;
    uint64_t value_bytes;
};

struct rocks_cursor {
    struct cistern_cursor base;
    struct shim_view *view;
    uint8_t lower[KEY_GROUP_BYTES_MAX];
    uint8_t upper[KEY_GROUP_BYTES_MAX];
    uint32_t upper_bytes; /* 0 = the last group there can be */
    uint8_t *buffer;      /* grows for one entry larger than BUFFER_BYTES, and shrinks again */
    uint64_t buffer_capacity;
    struct buffered entries[BUFFER_COUNT_MAX];
    uint32_t entry_count;
    uint32_t entry_next;
    uint8_t *last_key; /* where the next fill goes on */
    uint64_t last_bytes;
    uint64_t last_capacity;
    uint32_t at_end;
};

uint32_t cursor_open(
    struct cistern_state *base, struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    value_begin(rocks);
    struct rocks_cursor *cursor = cistern_allocate_zeroed(1, sizeof *cursor);
    if (cursor == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, base->descriptor.name, "no memory for a cursor");
    }
    cursor->base.state = base;
    const struct cistern_key_group_range *range = &rocks->base.options.range;
    (void)key_group_bound(&state->layout, range->first, cursor->lower);
    cursor->upper_bytes = key_group_bound(&state->layout, range->last + 1, cursor->upper);
    status = shim_view_open(rocks->db, &cursor->view, error);
    if (status != CISTERN_OK) {
        cistern_release(cursor);
        return status;
    }
    *ret_cursor = &cursor->base;
    return CISTERN_OK;
}

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

static uint32_t last_key_set(
    struct rocks_cursor *cursor, struct cistern_span key, struct cistern_error *error)
{
    if (key.bytes > cursor->last_capacity) {
        uint8_t *grown = cistern_allocate(key.bytes);
        if (grown == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, cursor->base.state->descriptor.name,
                "no memory for a cursor's place");
        }
        cistern_release(cursor->last_key);
        cursor->last_key = grown;
        cursor->last_capacity = key.bytes;
    }
    memcpy(cursor->last_key, key.data, key.bytes);
    cursor->last_bytes = key.bytes;
    return CISTERN_OK;
}

/* Copies entries until the buffer or its table is full. *ret_used counts the buffer's bytes. */
static uint32_t buffer_copy(
    struct rocks_cursor *cursor, struct shim_iterator *iterator, struct cistern_error *error)
{
    uint64_t used = 0;
    struct cistern_span key;
    struct cistern_span value;
    cursor->at_end = 1;
    while (shim_iterator_entry(iterator, &key, &value)) {
        uint64_t bytes = key.bytes + value.bytes;
        int is_full =
            cursor->entry_count == BUFFER_COUNT_MAX || used + bytes > cursor->buffer_capacity;
        if (is_full && cursor->entry_count != 0) {
            cursor->at_end = 0;
            break;
        }
        if (cursor->entry_count == 0) {
            uint32_t status = buffer_reserve(cursor, bytes, error);
            if (status != CISTERN_OK) {
                return status;
            }
        }
        struct buffered *entry = &cursor->entries[cursor->entry_count++];
        entry->offset = used;
        entry->key_bytes = (uint32_t)key.bytes;
        entry->value_bytes = value.bytes;
        memcpy(cursor->buffer + used, key.data, key.bytes);
        memcpy(cursor->buffer + used + key.bytes, value.data, value.bytes);
        used += bytes;
        shim_iterator_next(iterator);
    }
    return cursor->at_end ? shim_iterator_status(iterator, error) : CISTERN_OK;
}

static void seek_past_last(
    struct rocks_cursor *cursor, struct shim_iterator *iterator, uint32_t group_bytes)
{
    if (cursor->last_bytes == 0) {
        shim_iterator_seek(iterator, (struct cistern_span){cursor->lower, group_bytes});
        return;
    }
    struct cistern_span last = {cursor->last_key, cursor->last_bytes};
    struct cistern_span key;
    struct cistern_span value;
    shim_iterator_seek(iterator, last);
    if (shim_iterator_entry(iterator, &key, &value) && key.bytes == last.bytes &&
        memcmp(key.data, last.data, last.bytes) == 0) {
        shim_iterator_next(iterator);
    }
}

static uint32_t buffer_fill(struct rocks_cursor *cursor, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(cursor->base.state);
    struct cistern_span upper = {
        cursor->upper_bytes != 0 ? cursor->upper : NULL, cursor->upper_bytes};
    struct cistern_span lower = {cursor->lower, state->layout.group_bytes};
    cursor->entry_count = 0;
    cursor->entry_next = 0;
    gate_read(rocks_of(cursor->base.state->backend), BLOCKS_BYTES);
    struct shim_iterator *iterator = NULL;
    uint32_t status =
        shim_iterator_open(state->family, cursor->view, lower, upper, &iterator, error);
    if (status != CISTERN_OK) {
        return status;
    }
    seek_past_last(cursor, iterator, state->layout.group_bytes);
    status = buffer_copy(cursor, iterator, error);
    shim_iterator_close(iterator);
    if (status == CISTERN_OK && cursor->entry_count != 0) {
        const struct buffered *last = &cursor->entries[cursor->entry_count - 1];
        status = last_key_set(
            cursor, (struct cistern_span){cursor->buffer + last->offset, last->key_bytes}, error);
    }
    if (status != CISTERN_OK) {
        cursor->entry_count = 0; /* a later call begins at the same place */
    }
    return status;
}

/* 1: *ret_entry was written. 0: expired, or *ret_status says what is wrong with it. */
static int entry_decode(struct rocks_cursor *cursor, const struct buffered *buffered,
    int64_t now_ms, struct cistern_entry *ret_entry, uint32_t *ret_status,
    struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(cursor->base.state);
    const uint8_t *bytes = cursor->buffer + buffered->offset;
    memset(ret_entry, 0, sizeof *ret_entry);
    struct cistern_span stored = {bytes + buffered->key_bytes, buffered->value_bytes};
    struct cistern_span key = {bytes, buffered->key_bytes};
    if (key_decode(&state->layout, key, &ret_entry->address) != CISTERN_OK) {
        *ret_status = cistern_fail_corrupt(error, cursor->base.state->descriptor.name, UINT64_MAX,
            "a stored key of %u bytes is no key of this state's layout", buffered->key_bytes);
        return 0;
    }
    return value_unwrap(
        state, stored, now_ms, &ret_entry->value, &ret_entry->written_ms, ret_status, error);
}

uint32_t cursor_next(struct cistern_cursor *base, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    struct rocks_cursor *cursor = (struct rocks_cursor *)base;
    struct rocks *rocks = rocks_of(base->state->backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    value_begin(rocks);
    int64_t now_ms = rocks_state_of(base->state)->stamped ? cistern_wall_ms() : 0;
    uint32_t count = 0;
    while (count == 0 && status == CISTERN_OK) {
        if (cursor->entry_next == cursor->entry_count) {
            if (cursor->at_end) {
                break;
            }
            status = buffer_fill(cursor, error);
        }
        while (
            count < capacity && cursor->entry_next < cursor->entry_count && status == CISTERN_OK) {
            const struct buffered *buffered = &cursor->entries[cursor->entry_next++];
            count += (uint32_t)entry_decode(
                cursor, buffered, now_ms, &ret_entries[count], &status, error);
        }
    }
    *ret_count = count;
    return status;
}

void cursor_close(struct cistern_cursor *base)
{
    struct rocks_cursor *cursor = (struct rocks_cursor *)base;
    shim_view_close(cursor->view);
    cistern_release(cursor->buffer);
    cistern_release(cursor->last_key);
    cistern_release(cursor);
}
