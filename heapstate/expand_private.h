/*
 * expand_private.h -- how an entry of the log leaves it: native files hold heads and members as
 * they are, canonical ones what they mean (docs/FORMAT.md, "Heap entries").
 *
 * Threads: the transfer thread's, but for expand_prepare(), which is begin's.
 */
#ifndef CISTERN_HEAPSTATE_EXPAND_PRIVATE_H
#define CISTERN_HEAPSTATE_EXPAND_PRIVATE_H

#include "list_private.h"
#include "map_private.h"
#include "cistern/seg.h"

struct expand_state { /* a state as of begin */
    struct cistern_ttl ttl;
    int64_t now_ms;
    uint32_t kind;
    uint32_t user_key_bytes;
    uint32_t value_bytes;
};
struct expand_piece { /* where the chunks of a merged list are now */
    uint64_t id;
    uint32_t first;
    uint32_t count;
    uint64_t run_first; /* the first chunk's place in the list */
    struct cistern_span key;
    struct cistern_span name_space;
};
struct expand {
    struct expand_state *states;       /* by state id - 1 */
    struct condemned_range *condemned; /* a copy, as of begin */
    uint32_t condemned_count;
    uint32_t is_canonical;
    uint32_t has_merged_lists;
    uint32_t reserved;
    uint64_t item_offset;        /* of the entry at hand: what comes next of it */
    struct expand_piece *pieces; /* sorted by id and first; canonical, with merged lists */
    uint64_t piece_count;
    uint64_t piece_capacity;
};

/* NO_MEMORY. */
CISTERN_MUST_USE uint32_t expand_prepare(
    struct expand *expand, const struct heap *heap, int is_canonical);
void expand_deinit(struct expand *expand);
/* Before the first entry of a canonical file with merged lists: sees every visible entry once.
 * NO_MEMORY. */
CISTERN_MUST_USE uint32_t expand_learn(
    struct expand *expand, const struct entry *entry, uint8_t flags, const struct entry_view *view);
void expand_learned(struct expand *expand);
/* Adds what the entry holds to the writer. BUSY: take output, then call again with the same
 * entry. */
CISTERN_MUST_USE uint32_t expand_entry(struct expand *expand, struct cistern_seg_writer *writer,
    const struct entry *entry, uint8_t flags, const struct entry_view *view,
    struct cistern_error *error);

/* In native files a member's user key: the object id, its number, its flags. */
#define EXPAND_MEMBER_KEY_BYTES (MEMBER_KEY_BYTES + 1u)

#endif
