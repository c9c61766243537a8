/*
 * canonical.c -- all entries at one moment as a `.seg` container, in key order, pulled by the
 * transfer thread.
 *
 * The moment is RocksDB's own; what is read here is never changed by the owner, who goes on
 * writing. An iterator lives at most for one call, so that a slow reader pins no memtable.
 * Threads: canonical_open is the owner's; the rest belongs to the transfer thread.
 */
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"
#include "cistern/seg.h"

#include <string.h>

#define WRITER_BYTES_MIN (256ull << 10)
#define WRITER_BYTES_MAX (8ull << 20)
#define ENTRIES_PER_ITERATOR_MAX 65536u

struct canonical_state { /* as of the moment */
    struct shim_family *family;
    struct key_layout layout;
    uint32_t id;
    uint32_t kind;
    uint32_t stamped;
    uint32_t head_bytes;
};

struct canonical {
    struct shim_view *view;
    struct cistern_seg_writer *writer;
    struct cistern_key_group_range range;
    struct canonical_state *states;
    uint32_t state_count;
    uint32_t state_next;
    struct shim_iterator *iterator; /* of states[state_next]; NULL between calls */
    uint8_t *place;                 /* the first key that was not added yet */
    uint64_t place_bytes;           /* 0 = the state's first */
    uint64_t place_capacity;
    uint8_t *list; /* the address, as the key begins, of the run added last */
    uint64_t list_bytes;
    uint64_t list_capacity;
    uint64_t run_count; /* of that list */
    uint32_t finished;
};

static uint32_t state_add(
    struct canonical *canonical, const struct rocks_state *state, struct cistern_error *error)
{
    struct canonical_state *entry = &canonical->states[canonical->state_count];
    entry->family = state->family;
    entry->layout = state->layout;
    entry->id = state->base.id;
    entry->kind = state->base.descriptor.kind;
    entry->stamped = state->stamped;
    entry->head_bytes = state->head_bytes;
    struct cistern_state_descriptor descriptor = state->base.descriptor;
    descriptor.ttl.watermark_ms = descriptor.ttl.event_time ? state->base.backend->watermark_ms : 0;
    char *text = NULL;
    uint32_t status = cistern_descriptor_encode(&descriptor, state->base.id, &text, error);
    if (status == CISTERN_OK) {
        status = cistern_seg_writer_state(canonical->writer, entry->id, text, error);
    }
    cistern_release(text);
    canonical->state_count++;
    return status;
}

static uint32_t writer_open(struct canonical *canonical, const struct rocks *rocks,
    const struct cistern_snapshot_request *request, struct cistern_error *error)
{
    struct cistern_seg_writer_options options = {
        .role = CISTERN_ROLE_CANONICAL,
        .checkpoint_id = request->checkpoint_id,
        .range = rocks->base.options.range,
        .buffer_bytes = rocks->limit_bytes / 64,
    };
    if (options.buffer_bytes < WRITER_BYTES_MIN) {
        options.buffer_bytes = WRITER_BYTES_MIN;
    }
    if (options.buffer_bytes > WRITER_BYTES_MAX) {
        options.buffer_bytes = WRITER_BYTES_MAX;
    }
    return cistern_seg_writer_create(&options, &canonical->writer, error);
}

uint32_t canonical_open(struct rocks *rocks, const struct cistern_snapshot_request *request,
    struct canonical **ret_canonical, struct cistern_error *error)
{
    struct canonical *canonical = cistern_allocate_zeroed(1, sizeof *canonical);
    if (canonical == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, rocks->base.options.operator_id, "no memory for a snapshot");
    }
    canonical->range = rocks->base.options.range;
    canonical->states = cistern_allocate_zeroed(CISTERN_STATE_COUNT_MAX, sizeof *canonical->states);
    uint32_t status = CISTERN_OK;
    if (canonical->states == NULL) {
        status = cistern_fail(
            error, CISTERN_NO_MEMORY, rocks->base.options.operator_id, "no memory for a snapshot");
    }
    if (status == CISTERN_OK) {
        status = writer_open(canonical, rocks, request, error);
    }
    for (uint32_t i = 0; i < rocks->base.state_count && status == CISTERN_OK; i++) {
        if (rocks->base.states[i] != NULL) {
            status = state_add(canonical, rocks_state_of(rocks->base.states[i]), error);
        }
    }
    if (status == CISTERN_OK) {
        status = shim_view_open(rocks->db, &canonical->view, error);
    }
    if (status != CISTERN_OK) {
        canonical_close(canonical);
        return status;
    }
    *ret_canonical = canonical;
    return CISTERN_OK;
}

static uint32_t iterator_start(struct canonical *canonical, struct cistern_error *error)
{
    const struct canonical_state *state = &canonical->states[canonical->state_next];
    uint8_t lower[KEY_GROUP_BYTES_MAX];
    uint8_t upper[KEY_GROUP_BYTES_MAX];
    uint32_t lower_bytes = key_group_bound(&state->layout, canonical->range.first, lower);
    uint32_t upper_bytes = key_group_bound(&state->layout, canonical->range.last + 1, upper);
    struct cistern_span upper_span = {upper_bytes != 0 ? upper : NULL, upper_bytes};
    uint32_t status = shim_iterator_open(state->family, canonical->view,
        (struct cistern_span){lower, lower_bytes}, upper_span, &canonical->iterator, error);
    if (status == CISTERN_OK) {
        struct cistern_span place = {canonical->place, canonical->place_bytes};
        struct cistern_span first = {lower, lower_bytes};
        shim_iterator_seek(canonical->iterator, canonical->place_bytes != 0 ? place : first);
    }
    return status;
}

static void iterator_stop(struct canonical *canonical)
{
    shim_iterator_close(canonical->iterator);
    canonical->iterator = NULL;
}

/* The state's entries are all added, or the iterator failed. */
static uint32_t state_end(struct canonical *canonical, struct cistern_error *error)
{
    uint32_t status = shim_iterator_status(canonical->iterator, error);
    if (status == CISTERN_OK) {
        iterator_stop(canonical);
        canonical->place_bytes = 0;
        canonical->list_bytes = 0;
        canonical->state_next++;
    }
    return status;
}

static uint32_t bytes_keep(uint8_t **kept, uint64_t *kept_bytes, uint64_t *capacity,
    struct cistern_span span, struct cistern_error *error)
{
    if (span.bytes > *capacity) {
        uint8_t *grown = cistern_reallocate(*kept, span.bytes);
        if (grown == NULL) {
            return cistern_fail(
                error, CISTERN_NO_MEMORY, "snapshot", "no memory for an iterator's place");
        }
        *kept = grown;
        *capacity = span.bytes;
    }
    memcpy(*kept, span.data, span.bytes);
    *kept_bytes = span.bytes;
    return CISTERN_OK;
}

/* Remembers where the iterator stands, and lets it go. */
static uint32_t iterator_park(struct canonical *canonical, struct cistern_error *error)
{
    struct cistern_span key;
    struct cistern_span value;
    if (canonical->iterator == NULL) {
        return CISTERN_OK;
    }
    if (!shim_iterator_entry(canonical->iterator, &key, &value)) {
        return state_end(canonical, error);
    }
    uint32_t status = bytes_keep(
        &canonical->place, &canonical->place_bytes, &canonical->place_capacity, key, error);
    if (status != CISTERN_OK) {
        return status;
    }
    iterator_stop(canonical);
    return CISTERN_OK;
}

/* The stored value, without its head, becomes the entry's. */
static void value_set(const struct canonical_state *state, struct cistern_span stored,
    struct cistern_seg_entry *entry)
{
    const uint8_t *bytes = stored.data;
    entry->has_written = state->stamped;
    entry->value =
        (struct cistern_span){bytes + state->head_bytes, stored.bytes - state->head_bytes};
    if (state->kind == CISTERN_LIST || state->kind == CISTERN_TIMERS) {
        return; /* the stamps of a list are in its frames */
    }
    if (state->stamped) {
        entry->written_ms = (int64_t)cistern_get_u64_be(bytes);
    }
    if (state->kind == CISTERN_MAP && bytes[state->head_bytes - 1] != 0) {
        entry->value = (struct cistern_span){NULL, 0};
    }
}

/* A run of a list: its place among the list's runs is its user key. The chunk's own number is of
 * no use to others. */
static uint32_t run_add(struct canonical *canonical, struct cistern_span prefix,
    struct cistern_seg_entry *entry, struct cistern_error *error)
{
    int is_same = canonical->list_bytes == prefix.bytes && canonical->list_bytes != 0 &&
                  memcmp(canonical->list, prefix.data, prefix.bytes) == 0;
    uint64_t place = is_same ? canonical->run_count : 0;
    uint8_t user_key[KEY_NUMBER_BYTES];
    cistern_put_u64_be(user_key, place);
    entry->user_key = (struct cistern_span){user_key, sizeof user_key};
    uint32_t status = CISTERN_OK;
    if (!is_same) { /* before it is added: after BUSY the same entry comes again */
        canonical->run_count = 0;
        status = bytes_keep(
            &canonical->list, &canonical->list_bytes, &canonical->list_capacity, prefix, error);
    }
    if (status == CISTERN_OK) {
        status = cistern_seg_writer_add(canonical->writer, entry, error);
    }
    if (status == CISTERN_OK) {
        canonical->run_count = place + 1;
    }
    return status;
}

static uint32_t entry_add(struct canonical *canonical, struct cistern_span key,
    struct cistern_span value, struct cistern_error *error)
{
    const struct canonical_state *state = &canonical->states[canonical->state_next];
    struct cistern_address address;
    struct cistern_span rest = {NULL, 0};
    if (key_decode(&state->layout, key, &address, &rest) != CISTERN_OK ||
        value.bytes < state->head_bytes) {
        return cistern_fail_corrupt(error, "snapshot", UINT64_MAX,
            "state %u holds an entry of %llu + %llu bytes that is none of its layout", state->id,
            (unsigned long long)key.bytes, (unsigned long long)value.bytes);
    }
    struct cistern_seg_entry entry = {
        .state_id = state->id,
        .key_group = address.key_group,
        .key = address.key,
        .name_space = address.name_space,
        .user_key = rest,
    };
    value_set(state, value, &entry);
    if (state->kind == CISTERN_LIST) {
        struct cistern_span prefix = {key.data, key.bytes - rest.bytes};
        return run_add(canonical, prefix, &entry, error);
    }
    return cistern_seg_writer_add(canonical->writer, &entry, error);
}

/* Adds entries until output is there. BUSY from the writer means just that. */
static uint32_t pull(struct canonical *canonical, struct cistern_error *error)
{
    for (uint32_t i = 0; i < ENTRIES_PER_ITERATOR_MAX; i++) {
        if (canonical->state_next == canonical->state_count) {
            canonical->finished = 1;
            return cistern_seg_writer_finish(canonical->writer, error);
        }
        uint32_t status =
            canonical->iterator == NULL ? iterator_start(canonical, error) : CISTERN_OK;
        if (status != CISTERN_OK) {
            return status;
        }
        struct cistern_span key;
        struct cistern_span value;
        if (shim_iterator_entry(canonical->iterator, &key, &value)) {
            status = entry_add(canonical, key, value, error);
            if (status != CISTERN_OK) {
                return status == CISTERN_BUSY ? CISTERN_OK : status;
            }
            shim_iterator_next(canonical->iterator);
        } else {
            status = state_end(canonical, error);
            if (status != CISTERN_OK) {
                return status;
            }
        }
    }
    return CISTERN_OK;
}

uint32_t canonical_read(struct canonical *canonical, struct cistern_bytes into, uint64_t *ret_bytes,
    struct cistern_error *error)
{
    *ret_bytes = 0;
    uint32_t status = cistern_seg_writer_take(canonical->writer, into, ret_bytes, error);
    while (status == CISTERN_OK && *ret_bytes == 0) {
        if (canonical->finished) {
            break;
        }
        status = pull(canonical, error);
        if (status == CISTERN_OK) {
            status = iterator_park(canonical, error);
        }
        if (status == CISTERN_OK) {
            status = cistern_seg_writer_take(canonical->writer, into, ret_bytes, error);
        }
    }
    if (status != CISTERN_OK) {
        iterator_stop(canonical);
    }
    return status;
}

void canonical_close(struct canonical *canonical)
{
    if (canonical == NULL) {
        return;
    }
    iterator_stop(canonical);
    shim_view_close(canonical->view);
    cistern_seg_writer_destroy(canonical->writer);
    cistern_release(canonical->states);
    cistern_release(canonical->place);
    cistern_release(canonical->list);
    cistern_release(canonical);
}
