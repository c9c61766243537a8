/* map_page.c -- maps with pages: one page is split or joined at a time; see map_private.h. */
#include "map_private.h"

#define SPLITS_PER_PUT 4u

/* ---- the head of a paged map ---- */

/* Finds the head again after entries may have moved. It must be there. */
uint8_t *map_head_reload(struct map_call *call, const struct lookup *lookup, struct map_head *head)
{
    struct index_slot slot = {0};
    int found = lookup_find(call->heap, lookup, &slot);
    assert(found);
    (void)found;
    struct cistern_span value = version_value(lookup, entry_in(call->heap, slot));
    map_head_parse(value, head);
    return (uint8_t *)(uintptr_t)value.data;
}

/* As above, and what it says may be changed: version_make_writable() was called in this item. */
void map_head_add(
    struct map_call *call, const struct lookup *lookup, int64_t count, int64_t bytes, int64_t pages)
{
    struct map_head head;
    uint8_t *at = map_head_reload(call, lookup, &head);
    head.count += (uint64_t)count;
    head.bytes += (uint64_t)bytes;
    head.page_count += (uint32_t)pages;
    map_head_write(at, &head);
    call->state->entries += (uint64_t)count;
}

uint32_t map_head_make_writable(struct map_call *call, const struct lookup *lookup)
{
    struct index_slot slot = {0};
    struct entry *entry;
    int found = lookup_find(call->heap, lookup, &slot);
    assert(found);
    (void)found;
    return version_make_writable(call->heap, lookup, &slot, &entry);
}

/* ---- splitting and joining pages ---- */

/* Of the items of `run`, those of page `page` among page_count, or the others, are written to `to`.
 * Returns their bytes. */
static uint64_t copy_items(uint32_t seed, const struct run *run, uint32_t page, uint32_t page_count,
    int wanted, uint8_t *to)
{
    uint64_t bytes = 0;
    struct item item;
    for (uint64_t at = 0; at < run->used; at += item.bytes) {
        item_parse(&run->format, run->items + at, &item);
        uint32_t hash = map_user_key_hash(seed, item.user_key);
        if ((map_page_of(hash, page_count) == page) == wanted) {
            if (to != NULL) {
                memmove(to + bytes, run->items + at, item.bytes);
            }
            bytes += item.bytes;
        }
    }
    return bytes;
}

/* A page that holds part of another's items, in the other's format; not reached yet. */
static uint32_t split_off(struct map_call *call, const struct cistern_address *owner,
    const struct map_head *head, struct run *from, uint64_t bytes)
{
    struct run made;
    uint32_t page = head->page_count;
    map_load_page(call->heap, call->state, head->id, page, &made);
    uint64_t room = map_capacity_for(bytes, UINT32_MAX);
    struct version version;
    uint32_t status = map_run_begin(call, &made, member_prefix_bytes(owner) + room, &version);
    if (status != CISTERN_OK) {
        return status;
    }
    map_load_page(call->heap, call->state, head->id, map_buddy_of(page), from);
    uint8_t *items = member_write_prefix(
        version.value, call->state->base.id, from->format.stamped ? MEMBER_STAMPED : 0, owner);
    member_set_used(version.value, (uint32_t)bytes);
    copy_items(head->seed, from, page, page + 1, 1, items);
    version_publish(&version);
    return CISTERN_OK;
}

/* One page more. The head may be changed in place. Nothing is changed when there is no room. */
static uint32_t split_page(
    struct map_call *call, const struct lookup *lookup, const struct map_head *head)
{
    uint32_t page = head->page_count;
    struct run run;
    map_load_page(call->heap, call->state, head->id, map_buddy_of(page), &run);
    struct entry *entry;
    uint32_t status = CISTERN_OK;
    uint64_t bytes = copy_items(head->seed, &run, page, page + 1, 1, NULL);
    if (bytes != 0) {
        status = version_make_writable(call->heap, &run.lookup, &run.slot, &entry);
    }
    if (status == CISTERN_OK) {
        status = split_off(call, lookup->address, head, &run, bytes);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    if (bytes != 0) {
        map_load_page(call->heap, call->state, head->id, map_buddy_of(page), &run);
        uint64_t kept = copy_items(head->seed, &run, page, page + 1, 0, run.items);
        map_run_set_used(&run, entry_in(call->heap, run.slot), (uint32_t)kept);
    }
    map_head_add(call, lookup, 0, 0, 1);
    return CISTERN_OK;
}

static void split_if_full(struct map_call *call, const struct lookup *lookup)
{
    for (uint32_t i = 0; i < SPLITS_PER_PUT; i++) {
        struct map_head head;
        map_head_reload(call, lookup, &head);
        if (head.bytes <= (uint64_t)head.page_count * MAP_PAGE_FILL_BYTES ||
            head.page_count >= MEMBER_SOLO_BIT - 1 ||
            map_head_make_writable(call, lookup) != CISTERN_OK ||
            split_page(call, lookup, &head) != CISTERN_OK) {
            return; /* pages get longer until there is memory */
        }
    }
}

/* Joins the last page to its buddy while pages are a quarter full. */
void map_join_if_empty(struct map_call *call, const struct lookup *lookup)
{
    struct map_head head;
    map_head_reload(call, lookup, &head);
    if (head.page_count == 1 ||
        head.bytes >= (uint64_t)head.page_count * (MAP_PAGE_FILL_BYTES / 4) ||
        map_head_make_writable(call, lookup) != CISTERN_OK) {
        return;
    }
    struct run last;
    struct run into;
    map_load_page(call->heap, call->state, head.id, head.page_count - 1, &last);
    map_load_page(call->heap, call->state, head.id, map_buddy_of(head.page_count - 1), &into);
    if (last.found && last.used != 0) {
        struct entry *entry;
        if (!into.found || into.capacity - into.used < last.used ||
            !map_same_format(&into.format, &last.format) ||
            version_make_writable(call->heap, &into.lookup, &into.slot, &entry) != CISTERN_OK) {
            return;
        }
        map_run_refresh(call->state, &into, version_value(&into.lookup, entry));
        map_load_page(call->heap, call->state, head.id, head.page_count - 1, &last);
        memcpy(into.items + into.used, last.items, last.used);
        map_run_set_used(&into, entry, into.used + last.used);
    }
    if (last.found) {
        struct entry_view view;
        const struct entry *entry = entry_in(call->heap, last.slot);
        entry_parse(entry, entry->flags, last.lookup.layout, &view);
        version_drop(call->heap, last.slot, last.lookup.hash, &view);
    }
    map_head_add(call, lookup, 0, 0, -1);
}

/* ---- put ---- */

/* A member that holds one item in full. */
static uint32_t solo_store(struct map_call *call, const struct cistern_address *owner, uint64_t id,
    uint32_t serial, const struct item *stub, struct cistern_span value)
{
    struct run run;
    map_load_page(call->heap, call->state, id, serial | MEMBER_SOLO_BIT, &run);
    struct item item = *stub;
    item.form = ITEM_HERE;
    item.value = value;
    uint64_t bytes = item_bytes(&call->format, item.user_key.bytes, item.form, item.value.bytes);
    struct version version;
    uint32_t status = map_run_begin(call, &run, member_prefix_bytes(owner) + bytes, &version);
    if (status != CISTERN_OK) {
        return status;
    }
    uint8_t *items = member_write_prefix(
        version.value, call->state->base.id, call->format.stamped ? MEMBER_STAMPED : 0, owner);
    member_set_used(version.value, (uint32_t)bytes);
    item_write(&call->format, items, &item);
    version_publish(&version);
    return CISTERN_OK;
}

/* A serial no solo member of the map has. */
static uint32_t solo_serial(struct map_call *call, const struct lookup *lookup)
{
    struct map_head head;
    uint8_t *at = map_head_reload(call, lookup, &head);
    struct run run;
    do {
        head.solo_next = (head.solo_next + 1) & ~MEMBER_SOLO_BIT;
        map_load_page(call->heap, call->state, head.id, head.solo_next | MEMBER_SOLO_BIT, &run);
    } while (run.found);
    map_head_write(at, &head);
    return head.solo_next;
}

void map_find_in_pages(struct map_call *call, const struct map_head *head,
    struct cistern_span user_key, struct map_found *found)
{
    uint32_t hash = map_user_key_hash(head->seed, user_key);
    map_load_page(
        call->heap, call->state, head->id, map_page_of(hash, head->page_count), &found->run);
    found->offset = NOT_THERE;
    if (item_find(
            &found->run.format, found->run.items, found->run.used, user_key, &found->offset)) {
        item_parse(&found->run.format, found->run.items + found->offset, &found->item);
    }
}

/* The edit of a page, and the head's sums. */
uint32_t map_page_edit(struct map_call *call, const struct lookup *lookup, struct map_found *found,
    struct map_edit *edit)
{
    struct run *run = &found->run;
    uint32_t used = run->used;
    edit->dropped = 0;
    if (!map_run_edit(call, run, edit)) {
        uint64_t bytes = map_edit_measure(call, run, edit);
        uint32_t status = map_run_rewrite(call, run, lookup->address, edit, bytes);
        if (status != CISTERN_OK) {
            return status;
        }
        map_head_add(call, lookup, 0, (int64_t)bytes - (int64_t)used, 0);
    } else {
        map_head_add(call, lookup, 0, (int64_t)run->used - (int64_t)used, 0);
    }
    int64_t count = (edit->item != NULL) - (edit->old_offset != NOT_THERE) - (int64_t)edit->dropped;
    if (count != 0) {
        map_head_add(call, lookup, count, 0, 0);
    }
    return CISTERN_OK;
}

uint32_t map_store_paged(struct map_call *call, const struct lookup *lookup,
    const struct map_head *head, struct item *item, struct cistern_span value)
{
    struct map_found found;
    map_find_in_pages(call, head, item->user_key, &found);
    int was_solo = found.offset != NOT_THERE && found.item.form == ITEM_SOLO;
    struct map_edit edit = {.old_offset = found.offset, .item = item};
    if (found.offset != NOT_THERE && !was_solo && item->form != ITEM_SOLO &&
        map_edit_bytes(call, &edit) == found.item.bytes && map_run_edit(call, &found.run, &edit)) {
        return CISTERN_OK; /* the head does not change */
    }
    uint32_t status = map_head_make_writable(call, lookup);
    if (status == CISTERN_OK && item->form == ITEM_SOLO) {
        item->serial = was_solo ? found.item.serial : solo_serial(call, lookup);
        status = solo_store(call, lookup->address, head->id, item->serial, item, value);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    map_find_in_pages(call, head, item->user_key, &found);
    status = map_page_edit(call, lookup, &found, &edit);
    if (status != CISTERN_OK) {
        if (item->form == ITEM_SOLO && !was_solo) {
            member_drop(call->heap, head->id, item->serial | MEMBER_SOLO_BIT);
        }
        return status;
    }
    if (was_solo && item->form != ITEM_SOLO) {
        member_drop(call->heap, head->id, found.item.serial | MEMBER_SOLO_BIT);
    }
    split_if_full(call, lookup);
    return CISTERN_OK;
}

/* A head for pages, in place of what was there. */
static uint32_t publish_paged_head(
    struct map_call *call, const struct lookup *lookup, const struct map_head *head)
{
    struct index_slot slot = {0};
    struct version version = {
        .heap = call->heap,
        .lookup = lookup,
        .value_bytes = MAP_PAGED_HEAD_BYTES,
        .found = (uint32_t)lookup_find(call->heap, lookup, &slot),
    };
    version.slot = slot;
    uint32_t status = version_begin(&version);
    if (status != CISTERN_OK) {
        return status;
    }
    memset(version.value, 0, MAP_PAGED_HEAD_BYTES);
    version.value[0] = MAP_PAGED;
    memcpy(version.value + 8, &head->id, sizeof head->id);
    memcpy(version.value + 36, &head->seed, sizeof head->seed);
    map_head_write(version.value, head);
    version_publish(&version);
    return CISTERN_OK;
}

/* The items of a head that gets too long, and the one that comes, move to page 0. */
uint32_t map_become_paged(struct map_call *call, struct run *run, struct map_edit *edit,
    struct item *item, struct cistern_span value)
{
    const struct lookup *lookup = &run->lookup;
    uint32_t count_before = run->found ? map_count_items(run) : 0;
    uint64_t bytes = map_edit_measure(call, run, edit);
    struct map_head head = {
        .page_count = 1,
        .seed = map_seed_make(lookup),
        .id = member_id_new(call->heap, lookup->address->key_group),
        .count = count_before - edit->dropped + (edit->old_offset == NOT_THERE),
        .bytes = bytes,
    };
    uint32_t status = CISTERN_OK;
    if (item->form == ITEM_SOLO) {
        status = solo_store(call, lookup->address, head.id, 0, item, value);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    struct run page;
    struct version version;
    uint64_t room = map_capacity_for(bytes, UINT32_MAX);
    map_load_page(call->heap, call->state, head.id, 0, &page);
    status = map_run_begin(call, &page, member_prefix_bytes(lookup->address) + room, &version);
    if (status == CISTERN_OK) {
        struct index_slot slot = {0};
        if (lookup_find(call->heap, lookup, &slot)) { /* it may have moved */
            run->slot = slot;
            map_run_refresh(call->state, run, version_value(lookup, entry_in(call->heap, slot)));
        }
        uint8_t *items = member_write_prefix(version.value, call->state->base.id,
            call->format.stamped ? MEMBER_STAMPED : 0, lookup->address);
        member_set_used(version.value, (uint32_t)bytes);
        map_edit_write(call, run, edit, items);
        version_publish(&version);
        status = publish_paged_head(call, lookup, &head);
        if (status != CISTERN_OK) {
            member_drop(call->heap, head.id, 0); /* and the solo with it */
        }
    } else if (item->form == ITEM_SOLO) {
        member_drop(call->heap, head.id, MEMBER_SOLO_BIT);
    }
    if (status == CISTERN_OK) {
        call->state->entries += head.count - count_before;
        split_if_full(call, lookup);
    }
    return status;
}
