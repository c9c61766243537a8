/*
 * seg_entry_private.h -- one entry of a block as bytes and as a struct (docs/FORMAT.md, "Data
 * container", "Entry").
 *
 * The only place that knows the layout. Threads: pure functions; pieces belong to one thread.
 */
#ifndef CISTERN_SEG_ENTRY_PRIVATE_H
#define CISTERN_SEG_ENTRY_PRIVATE_H

#include "cistern/seg.h"

enum seg_entry_flag { /* on disk */
    SEG_ENTRY_TOMBSTONE = 1,
    SEG_ENTRY_WRITTEN = 2,
    SEG_ENTRY_NAMESPACE = 4,
    SEG_ENTRY_USER_KEY = 8,
    SEG_ENTRY_RANGE_TOMBSTONE = 16, /* not in version 1 */
    SEG_ENTRY_NULL_VALUE = 32,
    SEG_ENTRY_MEMBER = 64, /* not in version 1 */
    SEG_ENTRY_BIG = 128    /* not in version 1 */
};

/* flags 1, group 2, varints of key 3, namespace 3, user key 5, written 8, varint of value 10 =
 * 32 */
#define SEG_ENTRY_SMALL_BYTES_MAX 32u
#define SEG_ENTRY_PIECES_MAX 8u

/* An encoded entry as a list of spans: into the caller's key, namespace, user key and value, and
 * into `small`. Not to be moved in memory once filled. */
struct seg_pieces {
    struct cistern_span spans[SEG_ENTRY_PIECES_MAX];
    uint32_t count;
    uint32_t reserved;
    uint64_t bytes; /* the sum of the spans */
    uint8_t small[SEG_ENTRY_SMALL_BYTES_MAX];
};

/* has_group: the block spans more than one group. */
uint64_t seg_entry_size(const struct cistern_seg_entry *entry, int has_group);
/* Writes exactly seg_entry_size() bytes; returns the place behind them. */
uint8_t *seg_entry_encode(uint8_t *to, const struct cistern_seg_entry *entry, int has_group);
void seg_entry_pieces(
    const struct cistern_seg_entry *entry, int has_group, struct seg_pieces *ret_pieces);

/* Decodes the entry at from[*position]. state_id and range are the block's. On failure
 * *ret_problem is a phrase, *position where it is. CORRUPT; UNSUPPORTED: a flag of a later
 * version. */
CISTERN_MUST_USE uint32_t seg_entry_decode(const uint8_t *from, uint64_t bytes,
    struct cistern_key_group_range range, uint64_t *position, struct cistern_seg_entry *ret_entry,
    const char **ret_problem);

#endif
