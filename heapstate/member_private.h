/*
 * member_private.h -- the parts of maps and lists that are too large for one entry.
 *
 * A small map or list is the value of one entry, its head. A large one has an object id in its
 * head, and members: entries of their own, addressed by (object id, number) under a state id that
 * no state has. A member carries the address of the head it was made for, so that it can be told
 * without the head what it belongs to.
 *
 *   key of a member:    u64 object id, u32 number
 *   value of a member:  u32 used, u8 mark, u8 owner, u8 flags, u8 0, u16 key bytes,
 *                       u16 namespace bytes, key, namespace, `used` bytes of items, slack
 *
 * Object ids: the key group in the upper 16 bits, a counter below. A key group has one owner at a
 * time and its next one counts on from the highest it restores, so an id is never given twice.
 *
 * A member is reached only through a head that names its id and a range of numbers. It needs no
 * tombstone: what no head reaches is dropped at the end of a restore (mark), and when a large
 *            object
 * is cleared its members follow in small steps (condemned.c).
 * Threads: owner only; a snapshot's reader reads what it has claimed.
 */
#ifndef CISTERN_HEAPSTATE_MEMBER_PRIVATE_H
#define CISTERN_HEAPSTATE_MEMBER_PRIVATE_H

#include "heap_private.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
    "heads and members go to disk as they stand in memory, which is little-endian");

#define MEMBER_STATE_ID (CISTERN_STATE_COUNT_MAX + 1u)
#define MEMBER_KEY_BYTES 12u
#define MEMBER_PREFIX_BYTES 12u
#define MEMBER_ID_COUNTER_BITS 48u
#define MEMBER_ID_COUNTER_MAX ((1ULL << MEMBER_ID_COUNTER_BITS) - 1)

#define MEMBER_MARK_OFFSET 4u /* only set within reach_settle() */

enum member_flag { MEMBER_NAMESPACE = 1, MEMBER_STAMPED = 2 };

struct member_key {
    uint8_t bytes[MEMBER_KEY_BYTES];
};

struct member_view { /* of a member's value; spans point into it */
    uint32_t used;
    uint32_t capacity;
    uint8_t mark;
    uint8_t owner_id;
    uint8_t flags;
    struct cistern_span key;
    struct cistern_span name_space; /* absent = void */
    uint8_t *items;
};

static inline uint32_t member_owner_id(const void *value)
{
    return ((const uint8_t *)value)[5];
}

static inline struct member_key member_key_make(uint64_t id, uint32_t number)
{
    struct member_key key;
    memcpy(key.bytes, &id, sizeof id);
    memcpy(key.bytes + sizeof id, &number, sizeof number);
    return key;
}

static inline void member_key_read(const void *bytes, uint64_t *ret_id, uint32_t *ret_number)
{
    memcpy(ret_id, bytes, sizeof *ret_id);
    memcpy(ret_number, (const uint8_t *)bytes + sizeof *ret_id, sizeof *ret_number);
}

static inline uint32_t member_id_group(uint64_t id)
{
    return (uint32_t)(id >> MEMBER_ID_COUNTER_BITS);
}

/* Bytes before the items. */
static inline uint64_t member_prefix_bytes(const struct cistern_address *address)
{
    return MEMBER_PREFIX_BYTES + address->key.bytes + address->name_space.bytes;
}

static inline void member_parse(struct cistern_span value, struct member_view *view)
{
    uint8_t *at = (uint8_t *)(uintptr_t)value.data;
    uint16_t key_bytes;
    uint16_t name_space_bytes;
    memcpy(&view->used, at, sizeof view->used);
    view->mark = at[4];
    view->owner_id = at[5];
    view->flags = at[6];
    memcpy(&key_bytes, at + 8, sizeof key_bytes);
    memcpy(&name_space_bytes, at + 10, sizeof name_space_bytes);
    at += MEMBER_PREFIX_BYTES;
    view->key = (struct cistern_span){at, key_bytes};
    at += key_bytes;
    view->name_space =
        (struct cistern_span){(view->flags & MEMBER_NAMESPACE) ? at : NULL, name_space_bytes};
    view->items = at + name_space_bytes;
    view->capacity = (uint32_t)(value.bytes - MEMBER_PREFIX_BYTES - key_bytes - name_space_bytes);
}

/* Writes the prefix; returns where the items go. */
static inline uint8_t *member_write_prefix(
    uint8_t *value, uint32_t owner_id, uint8_t flags, const struct cistern_address *address)
{
    uint16_t key_bytes = (uint16_t)address->key.bytes;
    uint16_t name_space_bytes = (uint16_t)address->name_space.bytes;
    flags |= address->name_space.data != NULL ? MEMBER_NAMESPACE : 0;
    memset(value, 0, sizeof(uint32_t) + 1);
    value[5] = (uint8_t)owner_id;
    value[6] = flags;
    value[7] = 0;
    memcpy(value + 8, &key_bytes, sizeof key_bytes);
    memcpy(value + 10, &name_space_bytes, sizeof name_space_bytes);
    uint8_t *at = span_write(value + MEMBER_PREFIX_BYTES, address->key);
    return span_write(at, address->name_space);
}

static inline void member_set_used(uint8_t *value, uint32_t used)
{
    memcpy(value, &used, sizeof used);
}

struct member { /* a member of an object, as far as it was looked up */
    struct member_key key;
    struct cistern_address address;
};

/* The address of (id, number); it points into `member`. */
static inline void member_address(uint64_t id, uint32_t number, struct member *member)
{
    member->key = member_key_make(id, number);
    member->address = (struct cistern_address){
        .key = {member->key.bytes, MEMBER_KEY_BYTES},
        .key_group = member_id_group(id),
    };
}

/* A new object id in a key group. */
static inline uint64_t member_id_new(struct heap *heap, uint32_t key_group)
{
    assert(heap->object_id_last < MEMBER_ID_COUNTER_MAX);
    return (uint64_t)key_group << MEMBER_ID_COUNTER_BITS | ++heap->object_id_last;
}

/* ---- condemned.c ---- */
/* The members [first, first + count) of an object are no longer reached: few go at once, many in
 * steps. What maps keep apart from their pages goes with the page. */
void condemned_add(struct heap *heap, uint64_t id, uint32_t first, uint32_t count);
/* Drops at most `count` members; 0 = nothing is left to do. */
int condemned_step(struct heap *heap, uint32_t count);
/* 1 when the object's members wait to be dropped: ids are condemned whole. */
int condemned_holds(const struct condemned_range *ranges, uint32_t range_count, uint64_t id);
/* Drops one member, if it is there, and what it keeps apart. */
void member_drop(struct heap *heap, uint64_t id, uint32_t number);

#endif
