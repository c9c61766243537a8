/*
 * restore.c -- feeds a checkpoint's `.seg` files back through the ordinary put path, oldest
 * first.
 *
 * Each file is one epoch: a tombstone removes what older files brought and spares what its own
 *                         file did, so the order of
 * entries within a file does not matter. Only groups of the backend's own range are read. An
 * entry past its time to live under the stored descriptor stays out: the host may have dropped
 * the TTL since.
 */
#include "absorb_private.h"
#include "purge_private.h"
#include "version_private.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/seg.h"

#define RESTORE_GROUP 32u /* entries whose index lines are on their way at once */

struct restore {
    struct absorb absorb;
    const struct cistern_source *source;
    struct cistern_seg_reader *reader;
    /* by the id in the file at hand; NULL = the file does not name it */
    struct heap_state *states[CISTERN_STATE_COUNT_MAX + 1];
};

static uint32_t read_part(
    void *arg, uint64_t offset, struct cistern_bytes into, struct cistern_error *error)
{
    const struct cistern_source *source = ((struct restore *)arg)->source;
    uint64_t total = 0;
    while (total < into.capacity_bytes) {
        struct cistern_bytes rest = {(uint8_t *)into.data + total, into.capacity_bytes - total};
        uint64_t bytes = 0;
        uint32_t status = source->read(source->arg, offset + total, rest, &bytes, error);
        if (status != CISTERN_OK) {
            return status;
        }
        if (bytes == 0) {
            return cistern_fail_corrupt(error, source->describe(source->arg), offset + total,
                "the file ends %llu bytes early",
                (unsigned long long)(into.capacity_bytes - total));
        }
        total += bytes;
    }
    return CISTERN_OK;
}

static uint32_t restore_state(
    struct restore *restore, const char *text, uint32_t stored_id, struct cistern_error *error)
{
    struct cistern_state_descriptor descriptor;
    void *storage = NULL;
    uint32_t id = 0;
    const char *object = restore->source->describe(restore->source->arg);
    uint32_t status =
        cistern_descriptor_decode(text, strlen(text), object, &descriptor, &id, &storage, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_state *state = NULL;
    status = cistern_backend_state_restored(
        &restore->absorb.heap->base, &descriptor, stored_id, &state, error);
    cistern_release(storage);
    if (status == CISTERN_OK) {
        restore->states[stored_id] = (struct heap_state *)state;
    }
    return status;
}

static uint32_t restore_states(struct restore *restore, struct cistern_error *error)
{
    struct cistern_seg_info info;
    cistern_seg_reader_info(restore->reader, &info);
    memset(restore->states, 0, sizeof restore->states);
    for (uint32_t i = 0; i < info.state_count; i++) {
        uint32_t id = 0;
        const char *text = NULL;
        uint32_t status = cistern_seg_reader_state(restore->reader, i, &id, &text, error);
        if (status == CISTERN_OK && id > CISTERN_STATE_COUNT_MAX) {
            status = cistern_fail(error, CISTERN_CORRUPT,
                restore->source->describe(restore->source->arg), "state id %u is above %u", id,
                CISTERN_STATE_COUNT_MAX);
        }
        if (status == CISTERN_OK) {
            status = restore_state(restore, text, id, error);
        }
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

static uint32_t fail_entry(const struct restore *restore, const struct cistern_seg_entry *entry,
    const char *what, struct cistern_error *error)
{
    return cistern_fail(error, CISTERN_CORRUPT, restore->source->describe(restore->source->arg),
        "an entry of state %u, key group %u: %s", entry->state_id, entry->key_group, what);
}

static int size_fits(uint32_t fixed, uint64_t bytes, uint64_t bytes_max)
{
    return fixed != 0 ? bytes == fixed : bytes <= bytes_max;
}

/* Of values, the user's own: parts of lists and maps may be larger. */
static uint32_t check_value(const struct restore *restore, const struct heap_state *state,
    const struct cistern_seg_entry *entry, struct cistern_error *error)
{
    const struct cistern_state_descriptor *descriptor = &state->base.descriptor;
    uint64_t value_bytes_max = restore->absorb.heap->base.options.value_bytes_max;
    int is_null = entry->value.data == NULL && descriptor->kind == CISTERN_MAP;
    if (is_null || (descriptor->kind == CISTERN_TIMERS && entry->value.bytes == 0)) {
        return CISTERN_OK;
    }
    if (entry->value.data == NULL ||
        (descriptor->value_bytes != 0 && entry->value.bytes != descriptor->value_bytes) ||
        descriptor->kind == CISTERN_TIMERS) {
        return fail_entry(
            restore, entry, "its value has a size that the state does not allow", error);
    }
    if (entry->value.bytes > value_bytes_max) {
        return cistern_fail(error, CISTERN_INVALID, restore->source->describe(restore->source->arg),
            "state \"%s\" holds a value of %llu bytes, value_bytes_max is %llu: raise it, or the "
            "slot's limit",
            descriptor->name, (unsigned long long)entry->value.bytes,
            (unsigned long long)value_bytes_max);
    }
    return CISTERN_OK;
}

/* Bytes from disk: sizes that the descriptor forbids would be read back wrongly. */
static uint32_t check_entry(const struct restore *restore, const struct cistern_seg_entry *entry,
    struct cistern_error *error)
{
    const struct heap_state *state =
        entry->state_id <= CISTERN_STATE_COUNT_MAX ? restore->states[entry->state_id] : NULL;
    if (state == NULL) {
        return fail_entry(restore, entry, "the file does not describe this state", error);
    }
    const struct cistern_state_descriptor *descriptor = &state->base.descriptor;
    if (entry->key.data == NULL ||
        !size_fits(descriptor->key_bytes, entry->key.bytes, CISTERN_KEY_BYTES_MAX)) {
        return fail_entry(
            restore, entry, "its key has a size that the state does not allow", error);
    }
    if (entry->name_space.data != NULL &&
        !size_fits(descriptor->namespace_bytes, entry->name_space.bytes, CISTERN_KEY_BYTES_MAX)) {
        return fail_entry(
            restore, entry, "its namespace has a size that the state does not allow", error);
    }
    const char *problem = absorb_problem(&restore->absorb, state, entry);
    if (problem != NULL) {
        return fail_entry(restore, entry, problem, error);
    }
    int is_user_item = descriptor->kind == CISTERN_MAP && restore->absorb.is_canonical;
    if (is_user_item &&
        !size_fits(descriptor->user_key_bytes, entry->user_key.bytes, CISTERN_KEY_BYTES_MAX)) {
        return fail_entry(
            restore, entry, "its user key has a size that the state does not allow", error);
    }
    int is_part = descriptor->kind == CISTERN_LIST || descriptor->kind == CISTERN_MAP;
    return entry->tombstone || (is_part && !is_user_item)
               ? CISTERN_OK
               : check_value(restore, state, entry, error);
}

static uint32_t apply_entry(
    struct restore *restore, const struct cistern_seg_entry *entry, struct cistern_error *error)
{
    uint32_t status = check_entry(restore, entry, error);
    return status == CISTERN_OK
               ? absorb_entry(&restore->absorb, restore->states[entry->state_id], entry)
               : status;
}

/* The file's entries in the backend's range, roughly: whole blocks. */
static uint64_t entries_to_come(struct restore *restore, struct cistern_error *error)
{
    const struct cistern_key_group_range *range = &restore->absorb.heap->base.options.range;
    struct cistern_seg_info info;
    cistern_seg_reader_info(restore->reader, &info);
    uint64_t entries = 0;
    for (uint32_t i = 0; i < info.block_count; i++) {
        struct cistern_seg_block_info block;
        if (cistern_seg_reader_block(restore->reader, i, &block, error) == CISTERN_OK &&
            block.range.first <= range->last && block.range.last >= range->first) {
            entries += block.entry_count;
        }
    }
    return entries;
}

static uint32_t apply_group(struct restore *restore, const struct cistern_seg_entry *entries,
    uint32_t count, struct cistern_error *error)
{
    struct heap *heap = restore->absorb.heap;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < count; i++) {
        absorb_prefetch(&restore->absorb,
            entries[i].state_id <= CISTERN_STATE_COUNT_MAX ? restore->states[entries[i].state_id]
                                                           : NULL,
            &entries[i]);
    }
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        status = apply_entry(restore, &entries[i], error);
        if (status == CISTERN_LIMIT) {
            status = heap->base.ops->explain(&heap->base, error);
            status = status == CISTERN_OK ? apply_entry(restore, &entries[i], error) : status;
        }
    }
    version_end_batch(heap);
    return status;
}

static uint32_t apply_file(struct restore *restore, struct cistern_error *error)
{
    struct heap *heap = restore->absorb.heap;
    cistern_seg_reader_rewind(restore->reader, heap->base.options.range);
    index_presize(&heap->index, entries_to_come(restore, error));
    heap->epoch++;
    for (;;) {
        struct cistern_seg_entry entries[RESTORE_GROUP];
        uint32_t count = 0;
        uint32_t status =
            cistern_seg_reader_next_many(restore->reader, entries, RESTORE_GROUP, &count, error);
        if (status != CISTERN_OK || count == 0) {
            return status;
        }
        status = apply_group(restore, entries, count, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
}

static uint32_t restore_file(
    struct restore *restore, const struct cistern_part *part, struct cistern_error *error)
{
    const char *object = restore->source->describe(restore->source->arg);
    if (part->role != CISTERN_ROLE_HEAP_BASE && part->role != CISTERN_ROLE_HEAP_INCREMENT &&
        part->role != CISTERN_ROLE_CANONICAL) {
        const char *role = cistern_part_role_name(part->role);
        return cistern_fail(error, CISTERN_UNSUPPORTED, object,
            "the heap backend does not read parts of role %s", role != NULL ? role : "?");
    }
    uint32_t status =
        cistern_seg_reader_open(read_part, restore, part->bytes, object, &restore->reader, error);
    if (status != CISTERN_OK) {
        return status;
    }
    restore->absorb.is_canonical = part->role == CISTERN_ROLE_CANONICAL;
    status = restore_states(restore, error);
    if (status == CISTERN_OK) {
        status = apply_file(restore, error);
    }
    cistern_seg_reader_close(restore->reader);
    restore->reader = NULL;
    return status;
}

static uint32_t restore_files(struct restore *restore, struct cistern_error *error)
{
    for (;;) {
        struct cistern_part part;
        uint32_t status = restore->source->next(restore->source->arg, &part, error);
        if (status == CISTERN_NOT_FOUND) {
            return CISTERN_OK;
        }
        if (status == CISTERN_OK) {
            status = restore_file(restore, &part, error);
        }
        if (status != CISTERN_OK) {
            return status;
        }
    }
}

uint32_t heap_restore(struct cistern_backend *backend, const struct cistern_source *source,
    struct cistern_error *error)
{
    struct heap *heap = heap_of(backend);
    const char *operator_id = heap->base.options.operator_id;
    if (strcmp(source->backend, "heap") != 0 && strcmp(source->backend, "canonical") != 0) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, operator_id,
            "the checkpoint was written by backend %s; heap cannot read it: take a canonical "
            "savepoint there (--savepoint) "
            "and restore that",
            source->backend);
    }
    if (heap->index.entry_count != 0) {
        return cistern_fail(error, CISTERN_BUSY, operator_id,
            "the backend holds %llu entries already", (unsigned long long)heap->index.entry_count);
    }
    struct restore *restore = cistern_allocate_zeroed(1, sizeof *restore);
    if (restore == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, operator_id, "no memory for a restore");
    }
    restore->absorb.heap = heap;
    restore->source = source;
    restore->absorb.now_ms = cistern_wall_ms();
    heap->sweep_held = 1;
    uint32_t status = restore_files(restore, error);
    if (status == CISTERN_OK && restore->absorb.has_objects) {
        status = reach_settle(heap, error);
    }
    heap->sweep_held = 0;
    if (status == CISTERN_OK && heap->ttl_state_count != 0) {
        purge_all(heap); /* the host may come with another time to live, or with none */
    }
    cistern_release(restore);
    return status;
}
