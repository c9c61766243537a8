/*
 * migrate.c -- the values of a restored state take the form of the serializer it is registered
 * with.
 *
 * A key at a time: what it holds is copied out, converted, and put back, so that the walk over the
 * keys sees each once. Time stamps become those of now.
 */
#include "backend_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/keys.h"
#include "cistern/list.h"
#include "cistern/map.h"

#include <string.h>

struct piece { /* a converted value: offsets into the buffer, which may move */
    uint64_t user_key_offset;
    uint64_t user_key_bytes;
    uint64_t offset;
    uint64_t bytes;
    uint32_t is_null;
};
struct migration {
    const struct cistern_state_descriptor *descriptor;
    uint8_t *buffer;
    uint64_t used;
    uint64_t capacity;
    struct piece *pieces;
    uint64_t piece_count;
    uint64_t piece_capacity;
};

static uint32_t fail_no_memory(const struct migration *migration, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_NO_MEMORY, migration->descriptor->name,
        "no memory to migrate what one key of state \"%s\" holds", migration->descriptor->name);
}

static uint32_t buffer_reserve(
    struct migration *migration, uint64_t bytes, struct cistern_error *error)
{
    uint64_t wanted = migration->used + bytes + 1; /* an empty value has a place, too */
    if (wanted <= migration->capacity) {
        return CISTERN_OK;
    }
    uint64_t capacity = wanted > 2 * migration->capacity ? wanted : 2 * migration->capacity;
    uint8_t *buffer = cistern_reallocate(migration->buffer, capacity);
    if (buffer == NULL) {
        return fail_no_memory(migration, error);
    }
    migration->buffer = buffer;
    migration->capacity = capacity;
    return CISTERN_OK;
}

static uint32_t piece_new(
    struct migration *migration, struct piece **ret_piece, struct cistern_error *error)
{
    if (migration->piece_count == migration->piece_capacity) {
        uint64_t capacity = migration->piece_capacity == 0 ? 64 : 2 * migration->piece_capacity;
        struct piece *pieces = cistern_reallocate(migration->pieces, capacity * sizeof *pieces);
        if (pieces == NULL) {
            return fail_no_memory(migration, error);
        }
        migration->pieces = pieces;
        migration->piece_capacity = capacity;
    }
    *ret_piece = &migration->pieces[migration->piece_count++];
    memset(*ret_piece, 0, sizeof **ret_piece);
    return CISTERN_OK;
}

/* Converts a value into the buffer. */
static uint32_t convert(struct migration *migration, struct cistern_span user_key,
    struct cistern_span value, struct cistern_error *error)
{
    struct piece *piece = NULL;
    uint32_t status = piece_new(migration, &piece, error);
    if (status == CISTERN_OK) {
        status = buffer_reserve(migration, user_key.bytes + value.bytes, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    piece->user_key_offset = migration->used;
    piece->user_key_bytes = user_key.bytes;
    if (user_key.bytes != 0) {
        memcpy(migration->buffer + migration->used, user_key.data, user_key.bytes);
    }
    migration->used += user_key.bytes;
    piece->offset = migration->used;
    piece->is_null = value.data == NULL;
    uint64_t room = value.bytes;
    while (status == CISTERN_OK && !piece->is_null) {
        struct cistern_bytes result = {migration->buffer + migration->used, room};
        piece->bytes =
            migration->descriptor->migrate_fn(migration->descriptor->migrate_arg, value, result);
        if (piece->bytes <= room) {
            break;
        }
        room = piece->bytes;
        status = buffer_reserve(migration, room, error);
    }
    migration->used += piece->bytes;
    return status;
}

static struct cistern_span piece_value(const struct migration *migration, const struct piece *piece)
{
    return (struct cistern_span){
        piece->is_null ? NULL : migration->buffer + piece->offset, piece->bytes};
}

static struct cistern_span piece_user_key(
    const struct migration *migration, const struct piece *piece)
{
    return (struct cistern_span){migration->buffer + piece->user_key_offset, piece->user_key_bytes};
}

/* Everything a map or list holds, converted. */
static uint32_t convert_all(struct migration *migration, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error)
{
    struct cistern_cursor *cursor = NULL;
    uint32_t status = state->descriptor.kind == CISTERN_MAP
                          ? cistern_map_open(state, address, &cursor, error)
                          : cistern_list_open(state, address, &cursor, error);
    uint32_t count = 1;
    while (status == CISTERN_OK && count != 0) {
        struct cistern_entry entries[64];
        status = cistern_cursor_next(cursor, entries, 64, &count, error);
        for (uint32_t i = 0; status == CISTERN_OK && i < count; i++) {
            status = convert(migration, entries[i].user_key, entries[i].value, error);
        }
    }
    cistern_cursor_close(cursor);
    return status;
}

static uint32_t migrate_map(struct migration *migration, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error)
{
    uint32_t status = convert_all(migration, state, address, error);
    for (uint64_t i = 0; status == CISTERN_OK && i < migration->piece_count; i++) {
        const struct piece *piece = &migration->pieces[i];
        status = cistern_map_put(
            state, address, piece_user_key(migration, piece), piece_value(migration, piece), error);
    }
    return status;
}

static uint32_t migrate_list(struct migration *migration, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error)
{
    uint32_t status = convert_all(migration, state, address, error);
    for (uint64_t from = 0; status == CISTERN_OK && from < migration->piece_count;) {
        struct cistern_span elements[64];
        uint32_t count = 0;
        for (; count < 64 && from + count < migration->piece_count; count++) {
            elements[count] = piece_value(migration, &migration->pieces[from + count]);
        }
        status = from == 0 ? cistern_list_replace(state, address, elements, count, error)
                           : cistern_list_append_many(state, address, elements, count, error);
        from += count;
    }
    return status;
}

static uint32_t migrate_value(struct migration *migration, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error)
{
    struct cistern_span none = {NULL, 0};
    struct cistern_span value;
    uint32_t status = cistern_value_get(state, address, &value, error);
    if (status == CISTERN_NOT_FOUND) {
        return CISTERN_OK; /* it has expired since the walk saw it */
    }
    if (status == CISTERN_OK) {
        status = convert(migration, none, value, error);
    }
    return status == CISTERN_OK ? cistern_value_put(state, address,
                                      piece_value(migration, &migration->pieces[0]), error)
                                : status;
}

static uint32_t migrate_key(void *arg, struct cistern_state *state,
    const struct cistern_address *address, struct cistern_error *error)
{
    struct migration *migration = arg;
    migration->used = 0;
    migration->piece_count = 0;
    switch (state->descriptor.kind) {
    case CISTERN_MAP:
        return migrate_map(migration, state, address, error);
    case CISTERN_LIST:
        return migrate_list(migration, state, address, error);
    default:
        return migrate_value(migration, state, address, error);
    }
}

uint32_t state_migrate(struct cistern_state *state,
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error)
{
    if (state->descriptor.kind == CISTERN_TIMERS) {
        return CISTERN_OK; /* they have no values */
    }
    struct migration migration = {.descriptor = descriptor};
    uint32_t status = keys_for_all(state, migrate_key, &migration, error);
    cistern_release(migration.buffer);
    cistern_release(migration.pieces);
    return status;
}
