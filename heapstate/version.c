/* version.c -- see version_private.h. Space is found before anything is written. */
#include "version_private.h"

#define DELETE_KEEP 2u /* empty segments that a tombstone leaves to the cleaner */

/* ---- the account of a state ---- */

struct heap_state *version_owner(
    struct heap *heap, const struct entry *entry, const struct entry_view *view)
{
    uint32_t id =
        entry->state_id == MEMBER_STATE_ID ? member_owner_id(view->value.data) : entry->state_id;
    return heap_state_of(heap, id);
}

/* User keys of maps are counted where they come and go; here, what has an address of its own. */
static void count_entry(
    struct heap *heap, const struct entry *entry, const struct entry_view *view, int add)
{
    struct heap_state *state = version_owner(heap, entry, view);
    uint64_t bytes = view->key.bytes + view->name_space.bytes + view->value.bytes;
    int is_counted =
        entry->state_id != MEMBER_STATE_ID && state->base.descriptor.kind != CISTERN_MAP;
    state->entries += is_counted ? (add ? 1 : UINT64_MAX) : 0;
    state->bytes += add ? bytes : -bytes;
}

void version_drop(
    struct heap *heap, struct index_slot slot, uint64_t hash, const struct entry_view *view)
{
    uint32_t handle = slot.bucket->handles[slot.at];
    struct entry *entry = segment_entry(&heap->segments, handle);
    count_entry(heap, entry, view, 0);
    index_remove(&heap->index, hash, slot);
    log_kill(heap, entry, handle, view->bytes);
}

/* ---- a new version ---- */

/* A place in the index; what the slot lent comes back for it, empty segments beyond the reserve
 * make way, and the cleaner makes some when there are none. Only sealed segments are cleaned: a
 * place in the open one stays. */
static uint32_t reserve_slot(struct heap *heap, uint64_t hash, struct index_slot *ret_place)
{
    uint32_t status = index_reserve(&heap->index, hash, ret_place);
    if (status != CISTERN_OK && heap_recall(heap, heap->index.overflow_granule_bytes)) {
        status = index_reserve(&heap->index, hash, ret_place);
    }
    if (status != CISTERN_OK && heap->segments.empty_count <= SEGMENT_RESERVE && !heap->pinned) {
        (void)cleaner_make_room(heap, SEGMENT_RESERVE);
    }
    if (status != CISTERN_OK && segment_trim(&heap->segments, SEGMENT_RESERVE) != 0) {
        status = index_reserve(&heap->index, hash, ret_place);
    }
    if (status != CISTERN_OK) {
        heap->wanted_bytes = heap->index.overflow_granule_bytes;
    }
    return status;
}

/* No snapshot has seen the address: its last version was made after all of them. */
static int is_new(const struct version *version)
{
    if (!version->found) {
        return 1;
    }
    uint32_t handle = version->slot.bucket->handles[version->slot.at];
    const struct entry *old = segment_entry(&version->heap->segments, handle);
    return (old->flags & ENTRY_NEW) &&
           entry_stamp(segment_of(&version->heap->segments, handle), old) == version->heap->epoch;
}

uint32_t version_begin(struct version *version)
{
    struct heap *heap = version->heap;
    const struct lookup *lookup = version->lookup;
    struct entry_content content = {
        .key = lookup->address->key,
        .name_space = lookup->address->name_space,
        .value = {NULL, version->value_bytes},
        .written_ms = version->written_ms,
        .hash = (uint32_t)lookup->hash,
        .key_group = (uint16_t)lookup->address->key_group,
        .state_id = lookup->state_id,
        .flags = version->has_written ? ENTRY_TTL : 0,
    };
    version->bytes = entry_bytes(&content, lookup->layout);
    int moved;
    uint32_t status = log_place(heap, version->bytes, SEGMENT_RESERVE, &version->handle, &moved);
    if (status != CISTERN_OK) {
        return status;
    }
    if (moved) {
        version->found = (uint32_t)lookup_find(heap, lookup, &version->slot);
    }
    if (!version->found) {
        status = reserve_slot(heap, lookup->hash, &version->place);
        if (status != CISTERN_OK) {
            log_cancel(heap, version->handle);
            return status;
        }
    } else {
        const struct entry *old = entry_in(heap, version->slot);
        entry_parse_in(heap, old, old->flags, &version->old);
    }
    /* An expired entry leaves without a tombstone, so with TTL the address may be in a
     * checkpoint though it is not here. */
    content.flags |= !version->has_written && is_new(version) ? ENTRY_NEW : 0;
    version->entry = segment_entry(&heap->segments, version->handle);
    version->value = entry_write_head(version->entry, &content, lookup->layout, version->bytes);
    return CISTERN_OK;
}

void version_cancel(struct version *version)
{
    log_cancel(version->heap, version->handle);
}

/* Replaces what `slot` names by the entry at `handle`. */
static void replace_entry(struct heap *heap, struct index_slot slot, uint32_t handle)
{
    uint32_t old_handle = slot.bucket->handles[slot.at];
    struct entry *old = segment_entry(&heap->segments, old_handle);
    struct entry_view view;
    entry_parse_in(heap, old, old->flags, &view);
    count_entry(heap, old, &view, 0);
    slot.bucket->handles[slot.at] = handle;
    log_kill(heap, old, old_handle, view.bytes);
    heap->overwrite_count++;
}

void version_publish(struct version *version)
{
    struct heap *heap = version->heap;
    const struct cistern_address *address = version->lookup->address;
    log_commit(heap, version->handle, version->bytes, 0);
    struct entry_view view = {
        .key = address->key,
        .name_space = address->name_space,
        .value = {version->value, version->value_bytes},
    };
    count_entry(heap, version->entry, &view, 1);
    if (version->found) {
        replace_entry(heap, version->slot, version->handle);
    } else {
        index_insert(&heap->index, version->place, version->lookup->hash, version->handle);
        index_grow(&heap->index);
    }
}

uint32_t version_make_writable(struct heap *heap, const struct lookup *lookup,
    struct index_slot *slot, struct entry **ret_entry)
{
    *ret_entry = entry_in(heap, *slot);
    if (log_touch(heap, *ret_entry, slot->bucket->handles[slot->at])) {
        return CISTERN_OK;
    }
    struct entry_view view;
    entry_parse(*ret_entry, (*ret_entry)->flags, lookup->layout, &view);
    struct version version = {
        .heap = heap,
        .lookup = lookup,
        .value_bytes = view.value.bytes,
        .written_ms = view.written_ms,
        .has_written = ((*ret_entry)->flags & ENTRY_TTL) != 0,
        .found = 1,
        .slot = *slot,
    };
    uint32_t status = version_begin(&version);
    if (status != CISTERN_OK) {
        return status;
    }
    memcpy(version.value, version.old.value.data, version.old.value.bytes);
    version_publish(&version);
    *slot = version.slot;
    *ret_entry = version.entry;
    return CISTERN_OK;
}

/* ---- the end of an address ---- */

/* No increment can hold the address, or need to hear of its end. */
static int leaves_no_trace(const struct heap *heap, struct index_slot slot)
{
    const struct entry *entry = entry_in(heap, slot);
    return heap->chain.record_count == 0 ||
           ((entry->flags & ENTRY_NEW) &&
               entry_stamp(segment_of(&heap->segments, slot.bucket->handles[slot.at]), entry) ==
                   heap->epoch);
}

static uint32_t append_tombstone(
    struct heap *heap, const struct lookup *lookup, int *found, struct index_slot *slot)
{
    struct entry_content content = {
        .key = lookup->address->key,
        .name_space = lookup->address->name_space,
        .hash = (uint32_t)lookup->hash,
        .key_group = (uint16_t)lookup->address->key_group,
        .state_id = lookup->state_id,
        .flags = ENTRY_TOMBSTONE,
    };
    uint64_t bytes = entry_bytes(&content, lookup->layout);
    uint32_t handle;
    int moved;
    uint32_t status = log_place(heap, bytes, DELETE_KEEP, &handle, &moved);
    if (status != CISTERN_OK) {
        return status;
    }
    *found = moved ? lookup_find(heap, lookup, slot) : 1;
    entry_write(segment_entry(&heap->segments, handle), &content, lookup->layout, bytes);
    log_commit(heap, handle, bytes, 1);
    return CISTERN_OK;
}

uint32_t version_erase(struct heap *heap, const struct lookup *lookup)
{
    struct index_slot slot;
    int found = lookup_find(heap, lookup, &slot);
    if (!found) {
        return CISTERN_OK;
    }
    if (!leaves_no_trace(heap, slot)) {
        if (heap->segments.tombstone_bytes >
            cistern_slot_share_bytes(heap->base.slot) / HEAP_TOMBSTONE_SHARE) {
            /* The next snapshot is a full one: better than to run out of memory by deleting. */
            chain_forget(&heap->chain);
            heap_prune(heap);
        } else {
            if (append_tombstone(heap, lookup, &found, &slot) != CISTERN_OK) {
                chain_forget(&heap->chain); /* likewise: deleting works in a full slot */
                heap_prune(heap);
                found = lookup_find(heap, lookup, &slot);
            }
        }
    }
    if (found) {
        const struct entry *entry = entry_in(heap, slot);
        struct entry_view view;
        entry_parse(entry, entry->flags, lookup->layout, &view);
        version_drop(heap, slot, lookup->hash, &view);
        index_shrink(&heap->index, 1);
    }
    return CISTERN_OK;
}

void version_erase_anyway(struct heap *heap, const struct lookup *lookup)
{
    if (version_erase(heap, lookup) != CISTERN_OK) {
        chain_forget(&heap->chain);
        heap_prune(heap);
        uint32_t status = version_erase(heap, lookup);
        assert(status == CISTERN_OK);
        (void)status;
    }
}
