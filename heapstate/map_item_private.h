/*
 * map_item_private.h -- user keys and values of a map, one behind the other, in a head or a page.
 *
 *   item:  [varint user key length] user key
 *          state: when value_bytes is 0, varint 0 = null, 1 = solo, else value length + 2;
 *                 when it is not, one byte 0 = null, 1 = solo, 2 = here
 *          [i64 written_ms] [u32 serial | value]
 *
 * With fixed sizes every item of a run has the same size: null ones and solo ones are padded. A
 * value above ITEM_VALUE_BYTES_MAX stands in a member of its own (solo: one item in full); the item
 * keeps the member's serial, so that changing its neighbours does not copy it.
 * Threads: pure functions.
 */
#ifndef CISTERN_HEAPSTATE_MAP_ITEM_PRIVATE_H
#define CISTERN_HEAPSTATE_MAP_ITEM_PRIVATE_H

#include "heap_private.h"

#define ITEM_VALUE_BYTES_MAX 1024u
#define ITEM_SERIAL_BYTES 4u
#define MEMBER_SOLO_BIT 0x80000000u /* of a member's number; pages are numbered below it */

enum item_form { ITEM_NULL, ITEM_SOLO, ITEM_HERE };

struct item_format {
    uint32_t user_key_bytes; /* 0 = variable */
    uint32_t value_bytes;    /* 0 = variable */
    uint32_t stamped;
    uint32_t stride; /* bytes of every item; 0 = they differ */
};
struct item {
    struct cistern_span user_key;
    struct cistern_span value; /* ITEM_HERE; points into the run */
    int64_t written_ms;
    uint32_t form;
    uint32_t serial;         /* ITEM_SOLO */
    uint32_t offset_written; /* of the stamp, from the item's start */
    uint32_t offset_value;
    uint64_t bytes;
};

/* What a fixed value takes in its item. */
static inline uint32_t item_room_fixed(uint32_t value_bytes)
{
    return value_bytes > ITEM_VALUE_BYTES_MAX ? ITEM_SERIAL_BYTES : value_bytes;
}

static inline struct item_format item_format_make(
    uint32_t user_key_bytes, uint32_t value_bytes, int stamped)
{
    struct item_format format = {
        .user_key_bytes = user_key_bytes,
        .value_bytes = value_bytes,
        .stamped = stamped != 0,
    };
    if (user_key_bytes != 0 && value_bytes != 0) {
        format.stride = user_key_bytes + 1 + (stamped ? (uint32_t)sizeof(int64_t) : 0) +
                        item_room_fixed(value_bytes);
    }
    return format;
}

static inline struct item_format item_format_of(const struct heap_state *state, int stamped)
{
    const struct cistern_state_descriptor *descriptor = &state->base.descriptor;
    return item_format_make(descriptor->user_key_bytes, descriptor->value_bytes, stamped);
}

static inline void item_parse(
    const struct item_format *format, const uint8_t *from, struct item *item)
{
    const uint8_t *at = from;
    uint64_t length = format->user_key_bytes;
    if (length == 0) {
        at = varint_read(at, &length);
    }
    item->user_key = (struct cistern_span){at, length};
    at += length;
    uint64_t code;
    uint64_t room;
    if (format->value_bytes == 0) {
        at = varint_read(at, &code);
        item->form = code < ITEM_HERE ? (uint32_t)code : ITEM_HERE;
        item->value.bytes = code < ITEM_HERE ? 0 : code - ITEM_HERE;
        room = code == ITEM_SOLO ? ITEM_SERIAL_BYTES : item->value.bytes;
    } else {
        item->form = *at++;
        item->value.bytes = item->form == ITEM_HERE ? format->value_bytes : 0;
        room = item_room_fixed(format->value_bytes);
        room = item->value.bytes > room ? item->value.bytes : room; /* a solo member's own */
    }
    item->written_ms = 0;
    item->offset_written = (uint32_t)(at - from);
    if (format->stamped) {
        memcpy(&item->written_ms, at, sizeof item->written_ms);
        at += sizeof item->written_ms;
    }
    item->offset_value = (uint32_t)(at - from);
    item->value.data = item->form == ITEM_HERE ? at : NULL;
    item->serial = 0;
    if (item->form == ITEM_SOLO) {
        memcpy(&item->serial, at, sizeof item->serial);
    }
    item->bytes = (uint64_t)(at - from) + room;
}

/* How the value of a new item is kept. in_solo: in the solo member itself it stands in full. */
static inline uint32_t item_form_for(struct cistern_span value, int in_solo)
{
    if (value.data == NULL) {
        return ITEM_NULL;
    }
    return value.bytes > ITEM_VALUE_BYTES_MAX && !in_solo ? ITEM_SOLO : ITEM_HERE;
}

/* The size of an item; a solo member's own has room for the value whatever its size. */
static inline uint64_t item_bytes(
    const struct item_format *format, uint64_t user_key_bytes, uint32_t form, uint64_t value_bytes)
{
    uint64_t bytes = user_key_bytes + (format->stamped ? sizeof(int64_t) : 0);
    bytes += format->user_key_bytes == 0 ? varint_bytes(user_key_bytes) : 0;
    if (format->value_bytes == 0) {
        bytes += form == ITEM_HERE   ? varint_bytes(value_bytes + ITEM_HERE) + value_bytes
                 : form == ITEM_SOLO ? 1 + ITEM_SERIAL_BYTES
                                     : 1;
        return bytes;
    }
    uint64_t room = item_room_fixed(format->value_bytes);
    return bytes + 1 + (form == ITEM_HERE && value_bytes > room ? value_bytes : room);
}

/* Writes exactly item_bytes(). */
static inline uint8_t *item_write(
    const struct item_format *format, uint8_t *to, const struct item *item)
{
    uint8_t *at = to;
    if (format->user_key_bytes == 0) {
        at = varint_write(at, item->user_key.bytes);
    }
    at = span_write(at, item->user_key);
    if (format->value_bytes == 0) {
        at = varint_write(at, item->form == ITEM_HERE ? item->value.bytes + ITEM_HERE : item->form);
    } else {
        *at++ = (uint8_t)item->form;
    }
    if (format->stamped) {
        memcpy(at, &item->written_ms, sizeof item->written_ms);
        at += sizeof item->written_ms;
    }
    uint8_t *end = to + item_bytes(format, item->user_key.bytes, item->form, item->value.bytes);
    if (item->form == ITEM_SOLO) {
        memcpy(at, &item->serial, sizeof item->serial);
        at += sizeof item->serial;
    } else if (item->form == ITEM_HERE) {
        at = span_write(at, item->value);
    }
    memset(at, 0, (size_t)(end - at));
    return end;
}

/* The item with this user key among used bytes of items: 1 and where it starts. */
static inline int item_find(const struct item_format *format, const uint8_t *items, uint64_t used,
    struct cistern_span user_key, uint64_t *ret_offset)
{
    if (format->stride != 0 && user_key.bytes == sizeof(uint64_t)) { /* the common keys */
        uint64_t wanted;
        memcpy(&wanted, user_key.data, sizeof wanted);
        for (uint64_t at = 0; at < used; at += format->stride) {
            uint64_t there;
            memcpy(&there, items + at, sizeof there);
            if (there == wanted) {
                *ret_offset = at;
                return 1;
            }
        }
        return 0;
    }
    struct item item;
    for (uint64_t at = 0; at < used; at += item.bytes) {
        item_parse(format, items + at, &item);
        if (span_equal(item.user_key, user_key)) {
            *ret_offset = at;
            return 1;
        }
    }
    return 0;
}

#endif
