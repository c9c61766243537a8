/*
 * map_cursor.c -- every user key of one map exactly once, while its pages split and join under the
 * cursor.
 *
 * The order is that of cursor.c: the user key's hash, bits reversed, in which a page is one
 * interval; a map in its head is one page. Usually a page is handed out whole, as it stands. Only
 * when the caller has no room for it, it is sorted, and the last user key is remembered.
 */
#include "cursor_private.h"
#include "map_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#include <stdlib.h>

#define PREFETCH_PAGES 8u

struct sorted { /* an item of the page at hand */
    uint32_t position;
    struct item item;
};

struct map_cursor {
    struct walk walk;
    struct owned_address owned;
    struct lookup lookup;
    uint64_t position;        /* user keys before it were returned */
    struct cistern_span last; /* at position: user keys up to this one were; data NULL: none */
    struct sorted *sorted;
    uint32_t sorted_capacity;
};
static_assert(sizeof(struct map_cursor) <= WALK_BYTES, "cursors over one object share a block");

struct page_walk { /* the page at the cursor's position */
    struct map_head head;
    struct run run;
    uint64_t end;
    uint32_t count;
    uint32_t whole; /* nothing of it was returned yet */
};

static int compare_user_keys(struct cistern_span a, struct cistern_span b)
{
    uint64_t common = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static int compare_sorted(const void *a, const void *b)
{
    const struct sorted *left = a;
    const struct sorted *right = b;
    if (left->position != right->position) {
        return left->position < right->position ? -1 : 1;
    }
    return compare_user_keys(left->item.user_key, right->item.user_key);
}

/* The page to come soon, so that it is there then. */
static void prefetch_page(
    const struct heap *heap, const struct map_head *head, uint32_t page, int entry_too)
{
    struct member member;
    member_address(head->id, page, &member);
    uint64_t hash = lookup_hash(heap, MEMBER_STATE_ID, &member.address);
    const struct bucket *bucket = index_bucket(&heap->index, hash);
    if (!entry_too) {
        __builtin_prefetch(bucket);
        return;
    }
    uint32_t bits = bucket_match(bucket, index_tag(hash));
    if (bits != 0) {
        const uint8_t *entry =
            (const uint8_t *)segment_entry(&heap->segments, bucket->handles[__builtin_ctz(bits)]);
        for (uint32_t line = 0; line < 8; line++) {
            __builtin_prefetch(entry + line * 64);
        }
    }
}

static uint64_t page_end(const struct map_head *head, uint64_t position)
{
    uint32_t mask = (1u << (31 - __builtin_clz(head->page_count))) - 1;
    return interval_end(head->page_count, mask, position);
}

static uint32_t page_at(const struct map_head *head, uint64_t position)
{
    return map_page_of(reverse_bits((uint32_t)position), head->page_count);
}

static void prefetch_ahead(const struct heap *heap, const struct map_head *head, uint64_t position)
{
    for (uint32_t i = 0; i < PREFETCH_PAGES && position < POSITION_END; i++) {
        if (i == PREFETCH_PAGES / 2) {
            prefetch_page(heap, head, page_at(head, position), 1);
        }
        uint64_t next = page_end(head, position);
        if (i == PREFETCH_PAGES - 1) {
            prefetch_page(heap, head, page_at(head, position), 0);
        }
        position = next;
    }
}

/* 0 = there is no map (any more). */
static int load(struct map_cursor *cursor, struct page_walk *page)
{
    struct heap *heap = heap_of(cursor->walk.base.state->backend);
    const struct heap_state *state = (const struct heap_state *)cursor->walk.base.state;
    struct index_slot slot;
    if (!lookup_find(heap, &cursor->lookup, &slot)) {
        return 0;
    }
    struct entry_view view;
    const struct entry *entry = entry_in(heap, slot);
    entry_parse(entry, entry->flags, cursor->lookup.layout, &view);
    map_head_parse(view.value, &page->head);
    page->whole = cursor->last.data == NULL;
    if (page->head.flags & MAP_PAGED) {
        uint64_t start = cursor->position;
        page->end = page_end(&page->head, start);
        map_load_page(heap, state, page->head.id, page_at(&page->head, start), &page->run);
        prefetch_ahead(heap, &page->head, page->end);
        /* the position is where an interval begins, unless pages were joined since */
        uint32_t mask = (1u << (31 - __builtin_clz(page->head.page_count))) - 1;
        page->whole &= start == 0 || interval_end(page->head.page_count, mask, start - 1) == start;
    } else {
        page->end = POSITION_END;
        map_load_head(state, &cursor->lookup, slot, &page->head, &page->run);
        page->whole &= cursor->position == 0;
    }
    page->count = 0;
    struct item item;
    for (uint64_t at = 0; at < page->run.used; at += item.bytes) {
        item_parse(&page->run.format, page->run.items + at, &item);
        page->count++;
    }
    return 1;
}

/* 1: the item is seen; ret_entry is filled. */
static int fill(const struct map_cursor *cursor, const struct page_walk *page,
    const struct item *item, int64_t now_ms, struct cistern_entry *ret_entry)
{
    const struct heap_state *state = (const struct heap_state *)cursor->walk.base.state;
    const struct cistern_ttl *ttl = &state->base.descriptor.ttl;
    if (page->run.format.stamped && state_has_ttl(state) && !ttl->return_expired &&
        cistern_ttl_expired(ttl, item->written_ms, now_ms)) {
        return 0;
    }
    *ret_entry = (struct cistern_entry){
        .address = cursor->owned.address,
        .user_key = item->user_key,
        .value = item->value,
        .written_ms = item->written_ms,
    };
    return item->form != ITEM_SOLO || map_load_solo(heap_of(state->base.backend), state,
                                          page->head.id, item->serial, &ret_entry->value);
}

static void move_to(struct map_cursor *cursor, uint64_t position)
{
    cistern_release((void *)cursor->last.data);
    cursor->last = (struct cistern_span){NULL, 0};
    cursor->position = position;
}

static uint32_t remember(
    struct map_cursor *cursor, const struct sorted *sorted, struct cistern_error *error)
{
    uint8_t *copy = cistern_allocate(sorted->item.user_key.bytes + 1);
    if (copy == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, cursor->walk.base.state->descriptor.name,
            "no memory for a cursor's place");
    }
    memcpy(copy, sorted->item.user_key.data, sorted->item.user_key.bytes);
    move_to(cursor, sorted->position);
    cursor->last = (struct cistern_span){copy, sorted->item.user_key.bytes};
    return CISTERN_OK;
}

/* The page's items that are still to be returned, in order. */
static uint32_t sort_page(struct map_cursor *cursor, const struct page_walk *page,
    uint32_t *ret_count, struct cistern_error *error)
{
    uint32_t seed =
        (page->head.flags & MAP_PAGED) ? page->head.seed : map_seed_make(&cursor->lookup);
    if (page->count > cursor->sorted_capacity) {
        struct sorted *sorted =
            cistern_reallocate(cursor->sorted, (uint64_t)page->count * sizeof *sorted);
        if (sorted == NULL) {
            return cistern_fail(error, CISTERN_NO_MEMORY, cursor->walk.base.state->descriptor.name,
                "no memory for %u entries of one page", page->count);
        }
        cursor->sorted = sorted;
        cursor->sorted_capacity = page->count;
    }
    uint32_t count = 0;
    struct item item;
    for (uint64_t at = 0; at < page->run.used; at += item.bytes) {
        item_parse(&page->run.format, page->run.items + at, &item);
        uint32_t position = reverse_bits(map_user_key_hash(seed, item.user_key));
        int was_returned = position < cursor->position ||
                           (position == cursor->position && cursor->last.data != NULL &&
                               compare_user_keys(item.user_key, cursor->last) <= 0);
        if (!was_returned) {
            cursor->sorted[count++] = (struct sorted){position, item};
        }
    }
    qsort(cursor->sorted, count, sizeof *cursor->sorted, compare_sorted);
    *ret_count = count;
    return CISTERN_OK;
}

static uint32_t drain_sorted(struct map_cursor *cursor, const struct page_walk *page,
    int64_t now_ms, struct cistern_entry *ret_entries, uint32_t capacity, uint32_t *count,
    struct cistern_error *error)
{
    uint32_t sorted_count = 0;
    uint32_t status = sort_page(cursor, page, &sorted_count, error);
    if (status != CISTERN_OK) {
        return status;
    }
    for (uint32_t i = 0; i < sorted_count; i++) {
        if (*count == capacity) {
            return remember(cursor, &cursor->sorted[i - 1], error);
        }
        *count +=
            (uint32_t)fill(cursor, page, &cursor->sorted[i].item, now_ms, &ret_entries[*count]);
    }
    move_to(cursor, page->end);
    return CISTERN_OK;
}

static uint32_t drain_whole(struct map_cursor *cursor, const struct page_walk *page, int64_t now_ms,
    struct cistern_entry *ret_entries)
{
    uint32_t count = 0;
    struct item item;
    for (uint64_t at = 0; at < page->run.used; at += item.bytes) {
        item_parse(&page->run.format, page->run.items + at, &item);
        count += (uint32_t)fill(cursor, page, &item, now_ms, &ret_entries[count]);
    }
    cursor->position = page->end;
    return count;
}

static uint32_t map_cursor_next(struct cistern_cursor *base, struct cistern_entry *ret_entries,
    uint32_t capacity, uint32_t *ret_count, struct cistern_error *error)
{
    struct map_cursor *cursor = (struct map_cursor *)base;
    const struct heap_state *state = (const struct heap_state *)base->state;
    int64_t now_ms = state_has_ttl(state) ? cistern_state_now_ms(base->state) : 0;
    uint32_t count = 0;
    uint32_t status = CISTERN_OK;
    struct page_walk page;
    while (status == CISTERN_OK && count < capacity && cursor->position < POSITION_END &&
           load(cursor, &page)) {
        if (page.whole && page.count <= capacity - count) {
            count += drain_whole(cursor, &page, now_ms, ret_entries + count);
        } else if (count != 0) {
            break; /* the next call has more room */
        } else {
            status = drain_sorted(cursor, &page, now_ms, ret_entries, capacity, &count, error);
        }
    }
    *ret_count = count;
    return status;
}

static void map_cursor_close(struct cistern_cursor *base)
{
    struct map_cursor *cursor = (struct map_cursor *)base;
    owned_address_deinit(&cursor->owned);
    cistern_release((void *)cursor->last.data);
    cistern_release(cursor->sorted);
    walk_release(heap_of(base->state->backend), cursor);
}

uint32_t heap_map_open(struct cistern_state *state, const struct cistern_address *address,
    struct cistern_cursor **ret_cursor, struct cistern_error *error)
{
    struct map_cursor *cursor = walk_allocate(heap_of(state->backend));
    if (cursor == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, state->descriptor.name, "no memory for a cursor");
    }
    cursor->walk.base.state = state;
    cursor->walk.next = map_cursor_next;
    cursor->walk.close = map_cursor_close;
    uint32_t status = owned_address_make(&cursor->owned, address, state->descriptor.name, error);
    if (status != CISTERN_OK) {
        walk_release(heap_of(state->backend), cursor);
        return status;
    }
    cursor->lookup = lookup_make(heap_of(state->backend), state->id, &cursor->owned.address);
    *ret_cursor = &cursor->walk.base;
    return CISTERN_OK;
}
