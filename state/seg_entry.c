/* seg_entry.c -- encodes and decodes one entry of a block; see seg_entry_private.h. Lengths are
 * LEB128 varints. */
#include "seg_entry_private.h"
#include "cistern/endian.h"

#include <assert.h>
#include <string.h>

#define VARINT_BYTES_MAX 10u

static uint32_t varint_size(uint64_t value)
{
    uint32_t bits = 64 - (uint32_t)__builtin_clzll(value | 1);
    return (bits + 6) / 7;
}

static uint8_t *varint_put(uint8_t *to, uint64_t value)
{
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

static uint8_t flags_of(const struct cistern_seg_entry *entry)
{
    uint32_t flags = 0;
    if (entry->tombstone) {
        flags = SEG_ENTRY_TOMBSTONE;
    } else if (entry->value.data == NULL) {
        flags = SEG_ENTRY_NULL_VALUE;
    }
    flags |= entry->has_written ? SEG_ENTRY_WRITTEN : 0u;
    flags |= entry->name_space.data != NULL ? SEG_ENTRY_NAMESPACE : 0u;
    flags |= entry->user_key.data != NULL ? SEG_ENTRY_USER_KEY : 0u;
    return (uint8_t)flags;
}

static int has_value(const struct cistern_seg_entry *entry)
{
    return !entry->tombstone && entry->value.data != NULL;
}

static uint64_t span_size(struct cistern_span span)
{
    return span.data == NULL ? 0 : varint_size(span.bytes) + span.bytes;
}

uint64_t seg_entry_size(const struct cistern_seg_entry *entry, int has_group)
{
    return 1 + (has_group ? 2u : 0u) + span_size(entry->key) + span_size(entry->name_space) +
           span_size(entry->user_key) + (entry->has_written ? 8u : 0u) +
           (has_value(entry) ? span_size(entry->value) : 0);
}

static uint8_t *span_put(uint8_t *to, struct cistern_span span)
{
    to = varint_put(to, span.bytes);
    memcpy(to, span.data, span.bytes);
    return to + span.bytes;
}

uint8_t *seg_entry_encode(uint8_t *to, const struct cistern_seg_entry *entry, int has_group)
{
    *to++ = flags_of(entry);
    if (has_group) {
        cistern_put_u16_le(to, (uint16_t)entry->key_group);
        to += 2;
    }
    to = span_put(to, entry->key);
    if (entry->name_space.data != NULL) {
        to = span_put(to, entry->name_space);
    }
    if (entry->user_key.data != NULL) {
        to = span_put(to, entry->user_key);
    }
    if (entry->has_written) {
        cistern_put_u64_le(to, (uint64_t)entry->written_ms);
        to += 8;
    }
    return has_value(entry) ? span_put(to, entry->value) : to;
}

static void piece_add(struct seg_pieces *pieces, const void *data, uint64_t bytes)
{
    assert(pieces->count < SEG_ENTRY_PIECES_MAX);
    pieces->spans[pieces->count++] = (struct cistern_span){data, bytes};
    pieces->bytes += bytes;
}

/* What was put into `small` since `from` becomes a piece, and the span after it another. */
static uint8_t *piece_add_span(
    struct seg_pieces *pieces, const uint8_t *from, uint8_t *to, struct cistern_span span)
{
    to = varint_put(to, span.bytes);
    piece_add(pieces, from, (uint64_t)(to - from));
    piece_add(pieces, span.data, span.bytes);
    return to;
}

void seg_entry_pieces(
    const struct cistern_seg_entry *entry, int has_group, struct seg_pieces *ret_pieces)
{
    struct seg_pieces *pieces = ret_pieces;
    pieces->count = 0;
    pieces->bytes = 0;
    const uint8_t *from = pieces->small;
    uint8_t *to = pieces->small;
    *to++ = flags_of(entry);
    if (has_group) {
        cistern_put_u16_le(to, (uint16_t)entry->key_group);
        to += 2;
    }
    from = to = piece_add_span(pieces, from, to, entry->key);
    if (entry->name_space.data != NULL) {
        from = to = piece_add_span(pieces, from, to, entry->name_space);
    }
    if (entry->user_key.data != NULL) {
        from = to = piece_add_span(pieces, from, to, entry->user_key);
    }
    if (entry->has_written) {
        cistern_put_u64_le(to, (uint64_t)entry->written_ms);
        to += 8;
    }
    if (has_value(entry)) {
        to = piece_add_span(pieces, from, to, entry->value);
    } else if (to != from) {
        piece_add(pieces, from, (uint64_t)(to - from));
    }
    assert(to <= pieces->small + sizeof pieces->small);
}

/* ---- decode ---- */

struct input { /* one call of seg_entry_decode(); on its stack */
    const uint8_t *from;
    uint64_t bytes;
    uint64_t position;
    const char *problem; /* NULL = none yet */
};

static uint64_t varint_take(struct input *input)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < VARINT_BYTES_MAX && input->position < input->bytes; i++) {
        uint8_t byte = input->from[input->position++];
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) {
            break; /* bit 64 and above */
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
    input->problem = "a length is cut short or has more than 64 bits";
    return 0;
}

static struct cistern_span bytes_take(struct input *input, uint64_t bytes, const char *problem)
{
    struct cistern_span span = {input->from + input->position, bytes};
    if (input->problem == NULL && bytes > input->bytes - input->position) {
        input->problem = problem;
    }
    if (input->problem != NULL) {
        return (struct cistern_span){NULL, 0};
    }
    input->position += bytes;
    return span;
}

static struct cistern_span span_take(struct input *input, const char *problem)
{
    return bytes_take(input, varint_take(input), problem);
}

static const char *flags_problem(uint32_t flags)
{
    const uint32_t later = SEG_ENTRY_RANGE_TOMBSTONE | SEG_ENTRY_MEMBER | SEG_ENTRY_BIG;
    if ((flags & later) != 0) {
        return "an entry has a flag of a later version";
    }
    if ((flags & SEG_ENTRY_NULL_VALUE) != 0 && (flags & SEG_ENTRY_USER_KEY) == 0) {
        return "an entry without a user key has a null value";
    }
    if ((flags & SEG_ENTRY_NULL_VALUE) != 0 && (flags & SEG_ENTRY_TOMBSTONE) != 0) {
        return "an entry is a tombstone and has a null value";
    }
    return NULL;
}

static uint32_t group_take(struct input *input, struct cistern_key_group_range range)
{
    if (range.first == range.last) {
        return range.first;
    }
    struct cistern_span group_bytes =
        bytes_take(input, 2, "an entry is cut short in its key group");
    if (group_bytes.data == NULL) {
        return range.first;
    }
    uint32_t group = cistern_get_u16_le(group_bytes.data);
    if (group - range.first > range.last - range.first) {
        input->problem = "an entry's key group is not one of its block";
    }
    return group;
}

static void fields_take(struct input *input, uint32_t flags, struct cistern_seg_entry *entry)
{
    entry->key = span_take(input, "a key is longer than what is left of its block");
    if ((flags & SEG_ENTRY_NAMESPACE) != 0) {
        entry->name_space =
            span_take(input, "a namespace is longer than what is left of its block");
    }
    if ((flags & SEG_ENTRY_USER_KEY) != 0) {
        entry->user_key = span_take(input, "a user key is longer than what is left of its block");
    }
    if ((flags & SEG_ENTRY_WRITTEN) != 0) {
        struct cistern_span written = bytes_take(input, 8, "an entry is cut short in its time");
        entry->has_written = 1;
        entry->written_ms = written.data != NULL ? (int64_t)cistern_get_u64_le(written.data) : 0;
    }
    if ((flags & (SEG_ENTRY_TOMBSTONE | SEG_ENTRY_NULL_VALUE)) == 0) {
        entry->value = span_take(input, "a value is longer than what is left of its block");
    }
    if (input->problem == NULL && (entry->key.bytes > CISTERN_KEY_BYTES_MAX ||
                                      entry->name_space.bytes > CISTERN_KEY_BYTES_MAX)) {
        input->problem = "a key or namespace has more than 65535 bytes";
    }
}

uint32_t seg_entry_decode(const uint8_t *from, uint64_t bytes, struct cistern_key_group_range range,
    uint64_t *position, struct cistern_seg_entry *ret_entry, const char **ret_problem)
{
    struct input input = {.from = from, .bytes = bytes, .position = *position};
    if (input.position >= bytes) {
        *ret_problem = "a block ends before its last entry";
        return CISTERN_CORRUPT;
    }
    uint32_t flags = from[input.position];
    input.problem = flags_problem(flags);
    if (input.problem != NULL) {
        *ret_problem = input.problem;
        return flags >= SEG_ENTRY_MEMBER || (flags & SEG_ENTRY_RANGE_TOMBSTONE) != 0
                   ? CISTERN_UNSUPPORTED
                   : CISTERN_CORRUPT;
    }
    input.position++;
    struct cistern_seg_entry entry = {.tombstone = (flags & SEG_ENTRY_TOMBSTONE) != 0};
    entry.key_group = group_take(&input, range);
    fields_take(&input, flags, &entry);
    *position = input.position;
    if (input.problem != NULL) {
        *ret_problem = input.problem;
        return CISTERN_CORRUPT;
    }
    *ret_entry = entry;
    return CISTERN_OK;
}
