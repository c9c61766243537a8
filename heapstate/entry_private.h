/*
 * entry_private.h -- one entry of the log: 8 bytes of header, then only what its state's schema
 * leaves open.
 *
 *   u32 hash, or, once dead, the epoch it died in (relative to its segment)
 *   u16 stamp delta   u8 state id   u8 flags   u16 key group   [i64 written_ms]
 *   [varint key] [varint namespace] [varint value]   key   namespace   value   padding to 8
 *
 * The real stamp is segment.base_epoch + delta. A tombstone has no value and is never indexed.
 * Threads: a snapshot's reader may look at an entry while the owner kills it: both words the
 *          owner then writes are accessed with __atomic builtins (died relaxed, then the flag
 *          with release). Everything else is written only while no snapshot owes the segment.
 */
#ifndef CISTERN_HEAPSTATE_ENTRY_PRIVATE_H
#define CISTERN_HEAPSTATE_ENTRY_PRIVATE_H

#include "cistern/backend.h"

#include <assert.h>
#include <string.h>

enum entry_flag {
    ENTRY_DEAD = 1,
    /* Inserted, never yet updated in a later epoch: with stamp == now, no snapshot saw it. */
    ENTRY_NEW = 2,
    ENTRY_TTL = 4,
    ENTRY_NAMESPACE = 8,
    ENTRY_TOMBSTONE = 16
};

#define ENTRY_ALIGN 8u
#define ENTRY_DELTA_MAX 65535u

struct entry {
    uint32_t hash_or_died;
    uint16_t delta;
    uint8_t state_id;
    uint8_t flags;
};
static_assert(sizeof(struct entry) == 8, "the header is one word");

struct entry_layout { /* 0 = variable: the length stands in the entry */
    uint32_t key_bytes;
    uint32_t namespace_bytes;
    uint32_t value_bytes;
};

struct entry_view { /* spans point into the entry */
    struct cistern_span key;
    struct cistern_span name_space;
    struct cistern_span value;
    int64_t written_ms;
    uint64_t bytes; /* stored size, padding included */
    uint16_t key_group;
};

struct entry_content { /* what an entry is made from */
    struct cistern_span key;
    struct cistern_span name_space; /* absent = void */
    struct cistern_span value;
    int64_t written_ms;
    uint32_t hash;
    uint16_t key_group;
    uint16_t delta;
    uint8_t state_id;
    uint8_t flags; /* TTL, TOMBSTONE, NEW; NAMESPACE follows from the span */
};

static inline uint8_t entry_flags(const struct entry *entry)
{
    return __atomic_load_n(&entry->flags, __ATOMIC_RELAXED);
}

/* Pairs with entry_kill(): a reader that sees DEAD sees the epoch, too. */
static inline uint8_t entry_flags_acquire(const struct entry *entry)
{
    return __atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE);
}

static inline uint32_t entry_hash(const struct entry *entry)
{
    return __atomic_load_n(&entry->hash_or_died, __ATOMIC_RELAXED);
}

static inline void entry_kill(struct entry *entry, uint32_t died)
{
    __atomic_store_n(&entry->hash_or_died, died, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->flags, (uint8_t)(entry_flags(entry) | ENTRY_DEAD), __ATOMIC_RELEASE);
}

static inline uint64_t entry_align(uint64_t bytes)
{
    return (bytes + ENTRY_ALIGN - 1) & ~(uint64_t)(ENTRY_ALIGN - 1);
}

static inline uint32_t varint_bytes(uint64_t value)
{
    uint32_t bytes = 1;
    while (value >= 0x80) {
        value >>= 7;
        bytes++;
    }
    return bytes;
}

static inline uint8_t *varint_write(uint8_t *to, uint64_t value)
{
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

static inline const uint8_t *varint_read(const uint8_t *from, uint64_t *ret_value)
{
    uint64_t value = *from & 0x7f;
    for (uint32_t shift = 7; (*from++ & 0x80) != 0; shift += 7) {
        value |= (uint64_t)(*from & 0x7f) << shift;
    }
    *ret_value = value;
    return from;
}

static inline void entry_parse(const struct entry *entry, uint8_t flags,
    const struct entry_layout *layout, struct entry_view *view)
{
    const uint8_t *at = (const uint8_t *)(entry + 1);
    memcpy(&view->key_group, at, sizeof view->key_group);
    at += sizeof view->key_group;
    view->written_ms = 0;
    if (flags & ENTRY_TTL) {
        memcpy(&view->written_ms, at, sizeof view->written_ms);
        at += sizeof view->written_ms;
    }
    view->key.bytes = layout->key_bytes;
    view->name_space.bytes = 0;
    view->value.bytes = 0;
    if (layout->key_bytes == 0) {
        at = varint_read(at, &view->key.bytes);
    }
    if (flags & ENTRY_NAMESPACE) {
        view->name_space.bytes = layout->namespace_bytes;
        if (layout->namespace_bytes == 0) {
            at = varint_read(at, &view->name_space.bytes);
        }
    }
    if (!(flags & ENTRY_TOMBSTONE)) {
        view->value.bytes = layout->value_bytes;
        if (layout->value_bytes == 0) {
            at = varint_read(at, &view->value.bytes);
        }
    }
    view->key.data = at;
    at += view->key.bytes;
    view->name_space.data = (flags & ENTRY_NAMESPACE) ? at : NULL;
    at += view->name_space.bytes;
    view->value.data = (flags & ENTRY_TOMBSTONE) ? NULL : at;
    at += view->value.bytes;
    view->bytes = entry_align((uint64_t)(at - (const uint8_t *)entry));
}

/* The stored size of what entry_write() would write. */
static inline uint64_t entry_bytes(
    const struct entry_content *content, const struct entry_layout *layout)
{
    uint64_t bytes =
        sizeof(struct entry) + sizeof(uint16_t) + content->key.bytes + content->name_space.bytes;
    bytes += (content->flags & ENTRY_TTL) ? sizeof(int64_t) : 0;
    bytes += layout->key_bytes == 0 ? varint_bytes(content->key.bytes) : 0;
    if (content->name_space.data != NULL && layout->namespace_bytes == 0) {
        bytes += varint_bytes(content->name_space.bytes);
    }
    if (!(content->flags & ENTRY_TOMBSTONE)) {
        bytes += content->value.bytes +
                 (layout->value_bytes == 0 ? varint_bytes(content->value.bytes) : 0);
    }
    return entry_align(bytes);
}

static inline uint8_t *span_write(uint8_t *to, struct cistern_span span)
{
    if (span.bytes != 0) {
        memmove(to, span.data, span.bytes);
    }
    return to + span.bytes;
}

/* Everything but the value's bytes; returns where they go (NULL for a tombstone). */
static inline uint8_t *entry_write_head(struct entry *entry, const struct entry_content *content,
    const struct entry_layout *layout, uint64_t bytes)
{
    uint8_t flags = content->flags;
    flags |= content->name_space.data != NULL ? ENTRY_NAMESPACE : 0;
    uint8_t *at = (uint8_t *)(entry + 1);
    memset((uint8_t *)entry + bytes - ENTRY_ALIGN, 0, ENTRY_ALIGN);
    memcpy(at, &content->key_group, sizeof content->key_group);
    at += sizeof content->key_group;
    if (flags & ENTRY_TTL) {
        memcpy(at, &content->written_ms, sizeof content->written_ms);
        at += sizeof content->written_ms;
    }
    at = layout->key_bytes == 0 ? varint_write(at, content->key.bytes) : at;
    if ((flags & ENTRY_NAMESPACE) && layout->namespace_bytes == 0) {
        at = varint_write(at, content->name_space.bytes);
    }
    if (!(flags & ENTRY_TOMBSTONE) && layout->value_bytes == 0) {
        at = varint_write(at, content->value.bytes);
    }
    at = span_write(at, content->key);
    at = span_write(at, content->name_space);
    entry->hash_or_died = content->hash;
    entry->delta = content->delta;
    entry->state_id = content->state_id;
    entry->flags = flags;
    if (flags & ENTRY_TOMBSTONE) {
        return NULL;
    }
    assert(entry_align((uint64_t)(at - (uint8_t *)entry) + content->value.bytes) == bytes);
    return at;
}

static inline void entry_write(struct entry *entry, const struct entry_content *content,
    const struct entry_layout *layout, uint64_t bytes)
{
    uint8_t *value = entry_write_head(entry, content, layout, bytes);
    if (value != NULL) {
        span_write(value, content->value);
    }
}

static inline int span_equal(struct cistern_span a, struct cistern_span b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

#endif
