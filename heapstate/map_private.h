/*
 * map_private.h -- the head of a map and its pages.
 *
 * A map of up to MAP_INLINE_BYTES_MAX bytes of items is the value of its head:
 *   u8 flags, u16 used, items, slack
 * A larger one has pages, which are members (member_private.h) 0 .. page_count - 1:
 *   u8 flags, u8[3] 0, u32 page_count, u64 object id, u64 count, u64 bytes, u32 solo_next,
 *   u32 seed
 * A user key's page follows from its hash by linear hashing, so a page is split or joined at a time
 * and a map grows without a stall. The hash has a seed of the map's own, made of the secret one of
 * the process that gave the map its pages: whoever chooses user keys cannot know it, and a restored
 * page is where its user keys are looked for. Bytes are those of the items in pages.
 * Threads: owner only; a snapshot's reader parses what it has claimed.
 */
#ifndef CISTERN_HEAPSTATE_MAP_PRIVATE_H
#define CISTERN_HEAPSTATE_MAP_PRIVATE_H

#include "map_item_private.h"
#include "member_private.h"
#include "version_private.h"

#define MAP_INLINE_BYTES_MAX 512u
#define MAP_HEAD_BYTES 3u
#define MAP_PAGED_HEAD_BYTES 40u
#define MAP_PAGE_FILL_BYTES 384u /* items per page on average: above, a page is split */

enum map_flag { MAP_PAGED = 1, MAP_STAMPED = 2 };

struct map_head {
    uint8_t flags;
    uint32_t used; /* not paged */
    uint32_t capacity;
    uint8_t *items;
    uint32_t page_count; /* paged */
    uint32_t solo_next;
    uint32_t seed;
    uint64_t id;
    uint64_t count;
    uint64_t bytes;
};

static inline void map_head_parse(struct cistern_span value, struct map_head *head)
{
    uint8_t *at = (uint8_t *)(uintptr_t)value.data;
    *head = (struct map_head){.flags = at[0]};
    if (head->flags & MAP_PAGED) {
        memcpy(&head->page_count, at + 4, 4);
        memcpy(&head->id, at + 8, 8);
        memcpy(&head->count, at + 16, 8);
        memcpy(&head->bytes, at + 24, 8);
        memcpy(&head->solo_next, at + 32, 4);
        memcpy(&head->seed, at + 36, 4);
        return;
    }
    uint16_t used;
    memcpy(&used, at + 1, sizeof used);
    head->used = used;
    head->items = at + MAP_HEAD_BYTES;
    head->capacity = (uint32_t)(value.bytes - MAP_HEAD_BYTES);
}

/* Of a paged map, all but flags, id and seed, which never change. */
static inline void map_head_write(uint8_t *at, const struct map_head *head)
{
    memcpy(at + 4, &head->page_count, 4);
    memcpy(at + 16, &head->count, 8);
    memcpy(at + 24, &head->bytes, 8);
    memcpy(at + 32, &head->solo_next, 4);
}

static inline void map_set_used(uint8_t *at, uint32_t used)
{
    uint16_t word = (uint16_t)used;
    memcpy(at + 1, &word, sizeof word);
}

/* Of a map that has no pages yet: cursors over it go by it, and it keeps it when it gets pages. */
static inline uint32_t map_seed_make(const struct lookup *lookup)
{
    return (uint32_t)(lookup->hash >> 24);
}

static inline uint32_t map_user_key_hash(uint32_t seed, struct cistern_span user_key)
{
    return (uint32_t)cistern_hash64_seeded(user_key.data, user_key.bytes, seed);
}

/* The page of a hash among page_count > 0. */
static inline uint32_t map_page_of(uint32_t hash, uint32_t page_count)
{
    uint32_t high = (2u << (31 - __builtin_clz(page_count))) - 1;
    uint32_t page = hash & high;
    return page < page_count ? page : hash & (high >> 1);
}

/* The page that is split when page number `page` > 0 is added, and joined when it goes. */
static inline uint32_t map_buddy_of(uint32_t page)
{
    return page - (1u << (31 - __builtin_clz(page)));
}

struct run {              /* items and where they stand: a head's or a page's */
    struct member member; /* of a page: lookup.address points to it */
    struct lookup lookup;
    struct index_slot slot;
    uint32_t found;
    uint32_t is_page;
    uint32_t used;
    uint32_t capacity;
    uint8_t *items;
    struct item_format format; /* as the items are stored */
};

/* Finds a page; found = 0: there is none, it holds nothing. */
void map_load_page(const struct heap *heap, const struct heap_state *state, uint64_t id,
    uint32_t page, struct run *run);
/* A head's own items. */
void map_load_head(const struct heap_state *state, const struct lookup *lookup,
    struct index_slot slot, const struct map_head *head, struct run *run);
/* The value of a solo item; 0 = it is not there. */
int map_load_solo(const struct heap *heap, const struct heap_state *state, uint64_t id,
    uint32_t serial, struct cistern_span *ret_value);

uint32_t map_count_items(const struct run *run);

#define NOT_THERE UINT64_MAX

struct map_call { /* what is the same for every item of one call */
    struct heap *heap;
    struct heap_state *state;
    const struct cistern_ttl *ttl; /* NULL = none */
    struct item_format format;     /* of what is written */
    int64_t now_ms;
};

struct map_edit {            /* one item goes, one comes */
    uint64_t old_offset;     /* NOT_THERE = none goes */
    const struct item *item; /* NULL = none comes */
    uint32_t dropped;        /* expired items that go besides; set by map_edit_measure() */
};

/* What stands at a user key of a paged map. */
struct map_found {
    struct run run;
    struct item item;
    uint64_t offset; /* NOT_THERE */
};

/* ---- map_run.c ---- */
int map_item_expired(const struct map_call *call, const struct run *run, const struct item *item);
/* The run again, from the value of the entry that holds it. */
void map_run_refresh(const struct heap_state *state, struct run *run, struct cistern_span value);
void map_run_set_used(struct run *run, const struct entry *entry, uint32_t used);
int map_same_format(const struct item_format *a, const struct item_format *b);
uint64_t map_edit_bytes(const struct map_call *call, const struct map_edit *edit);
/* The bytes of a run after an edit that writes it anew. */
uint64_t map_edit_measure(
    const struct map_call *call, const struct run *run, struct map_edit *edit);
/* Writes the run after an edit; the bytes are those of map_edit_measure(). */
void map_edit_write(
    const struct map_call *call, const struct run *run, const struct map_edit *edit, uint8_t *to);
/* Room to grow by a quarter: n items are written some log n times, and memory is not wasted. */
uint64_t map_capacity_for(uint64_t bytes, uint64_t bytes_max);
/* version_begin() for the entry of a run, which is loaded again from where it then stands. */
CISTERN_MUST_USE uint32_t map_run_begin(
    const struct map_call *call, struct run *run, uint64_t value_bytes, struct version *version);
/* The whole run in a new entry: a page's (owner: the head's address), or a head's that stays
 * small. */
CISTERN_MUST_USE uint32_t map_run_rewrite(struct map_call *call, struct run *run,
    const struct cistern_address *owner, struct map_edit *edit, uint64_t bytes);
/* The edit where the run stands, if it fits: 1. Else, or when there is no room for a copy that may
 * be changed: 0. */
int map_run_edit(struct map_call *call, struct run *run, const struct map_edit *edit);

/* ---- map_page.c ---- */
/* Finds the head again after entries may have moved. It must be there. Returns its value. */
uint8_t *map_head_reload(struct map_call *call, const struct lookup *lookup, struct map_head *head);
/* Changes the head's sums where it stands: map_head_make_writable() came before. */
void map_head_add(struct map_call *call, const struct lookup *lookup, int64_t count, int64_t bytes,
    int64_t pages);
void map_find_in_pages(struct map_call *call, const struct map_head *head,
    struct cistern_span user_key, struct map_found *found);
CISTERN_MUST_USE uint32_t map_head_make_writable(
    struct map_call *call, const struct lookup *lookup);
/* The edit of a page, and the head's sums; the head may be changed where it stands. */
CISTERN_MUST_USE uint32_t map_page_edit(struct map_call *call, const struct lookup *lookup,
    struct map_found *found, struct map_edit *edit);
CISTERN_MUST_USE uint32_t map_store_paged(struct map_call *call, const struct lookup *lookup,
    const struct map_head *head, struct item *item, struct cistern_span value);
/* The items of a head that gets too long, and the one that comes, move to page 0. */
CISTERN_MUST_USE uint32_t map_become_paged(struct map_call *call, struct run *run,
    struct map_edit *edit, struct item *item, struct cistern_span value);
/* As the calls of the host have it. */
struct map_call map_call_make(struct cistern_state *base);
/* Joins the last page to its buddy while pages are a quarter full. */
void map_join_if_empty(struct map_call *call, const struct lookup *lookup);

/* ---- map.c ---- */
/* Puts one item, whatever was there; for restores. */
CISTERN_MUST_USE uint32_t map_store(struct heap *heap, struct heap_state *state,
    const struct lookup *lookup, struct cistern_span user_key, struct cistern_span value,
    int64_t written_ms);
/* The whole map; OK when there is none. */
CISTERN_MUST_USE uint32_t map_clear(
    struct heap *heap, struct heap_state *state, const struct lookup *lookup);

#endif
