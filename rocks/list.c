/*
 * list.c -- lists: chunks of frames (list_frame.h), keyed by the address in prefix form and the
 * chunk's number, ascending in the order of the elements.
 *
 * A chunk holds at most LIST_CHUNK_BYTES of frames, or one element that is larger. What is added by
 * one call goes to the end of the present chunk if all of it fits there, by a merge operand and
 * without a read; else to new chunks only, so that a call that fails after its first write batch
 * takes them back. While a cursor has read the present chunk, a new one is begun.
 * Threads: owner only.
 */
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

/* A cursor copies a chunk whole and may hold 64 KiB; with key and trailer ten pages and a rest. */
#define LIST_CHUNK_BYTES (40u << 10)
#define RUN_BYTES_KEEP (64u << 10)  /* a staging buffer that grew past this is given back */
#define BLOCKS_BYTES (256ull << 10) /* what an iterator may load at its safe point */
#define DELETES_SHARE 16u           /* of the limit: deletes that are one write batch */

struct adding { /* one call that puts elements behind a list's last one */
    struct rocks *rocks;
    struct rocks_state *state;
    struct cistern_span prefix; /* of the list; eight bytes more follow it in scratch */
    struct tail *tail;
    struct cistern_bytes *run; /* frames that are not in the write batch yet */
    uint64_t run_bytes;
    uint64_t fresh_first; /* the first chunk that only this call has written to */
    uint32_t is_fresh;    /* 1 = tail->number is such a chunk, and so is all of this call */
    uint32_t replaces;    /* 1 = what the present chunk holds is overwritten */
    uint32_t written;     /* 1 = part of it is in the database */
};

uint32_t list_fail_frame(
    const struct rocks_state *state, uint64_t offset, struct cistern_error *error)
{
    return cistern_fail_corrupt(error, state->base.descriptor.name, UINT64_MAX,
        "what stands %llu bytes into a stored chunk is no element", (unsigned long long)offset);
}

static struct cistern_span chunk_key(struct adding *adding, uint64_t number)
{
    uint8_t *bytes = adding->rocks->scratch.sums[1].data;
    cistern_put_u64_be(bytes + adding->prefix.bytes, number);
    return (struct cistern_span){bytes, adding->prefix.bytes + KEY_NUMBER_BYTES};
}

static void chunk_advance(struct adding *adding)
{
    adding->tail->number++;
    adding->tail->bytes = 0;
    if (!adding->is_fresh) {
        adding->is_fresh = 1;
        adding->fresh_first = adding->tail->number;
    }
}

static uint32_t adding_begin(struct adding *adding, struct rocks_state *state,
    const struct cistern_address *address, struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(state->base.backend);
    struct scratch *scratch = &rocks->scratch;
    uint32_t status = scratch_encode(scratch, &state->layout, address, 1, error);
    if (status == CISTERN_OK) {
        status = scratch_sum_reserve(
            &scratch->sums[1], scratch->keys[0].bytes + KEY_NUMBER_BYTES, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    memcpy(scratch->sums[1].data, scratch->keys[0].data, scratch->keys[0].bytes);
    *adding = (struct adding){.rocks = rocks, .state = state, .run = &scratch->run};
    adding->prefix = (struct cistern_span){scratch->sums[1].data, scratch->keys[0].bytes};
    adding->tail = tails_find(rocks, state, adding->prefix);
    if (cursor_has_read(state, adding->prefix, adding->tail->number)) {
        adding->tail->number++;
        adding->tail->bytes = 0;
    }
    shim_batch_clear(rocks->batch);
    return CISTERN_OK;
}

/* The staged frames into the write batch. */
static uint32_t run_emit(struct adding *adding, struct cistern_error *error)
{
    struct cistern_span none = {NULL, 0};
    struct cistern_span run = {adding->run->data, adding->run_bytes};
    if (run.bytes == 0) {
        return CISTERN_OK;
    }
    struct rocks *rocks = adding->rocks;
    struct shim_family *family = adding->state->family;
    struct cistern_span key = chunk_key(adding, adding->tail->number);
    adding->tail->bytes += run.bytes;
    adding->run_bytes = 0;
    gate_value_seen(rocks, adding->tail->bytes);
    if (adding->is_fresh || adding->replaces) {
        return shim_batch_put(rocks->batch, family, key, none, run, error);
    }
    return shim_batch_append(rocks->batch, family, key, run, error);
}

static uint32_t flush_full(struct adding *adding, struct cistern_error *error)
{
    struct rocks *rocks = adding->rocks;
    if (shim_batch_bytes(rocks->batch) < value_batch_bytes_max(rocks)) {
        return CISTERN_OK;
    }
    uint32_t status = value_flush_batch(rocks, error);
    adding->written |= status == CISTERN_OK;
    return status;
}

/* Room for one more frame behind the staged ones. */
static uint32_t frame_reserve(struct adding *adding, uint64_t bytes, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    uint64_t there = adding->is_fresh ? 0 : adding->tail->bytes;
    if (!adding->is_fresh && there + adding->run_bytes + bytes > LIST_CHUNK_BYTES) {
        chunk_advance(adding);
    }
    if (adding->run_bytes != 0 && adding->run_bytes + bytes > LIST_CHUNK_BYTES) {
        status = run_emit(adding, error);
        if (status == CISTERN_OK) {
            status = flush_full(adding, error);
        }
        chunk_advance(adding);
    }
    uint64_t wanted = adding->run_bytes + bytes;
    if (status != CISTERN_OK || wanted <= adding->run->capacity_bytes) {
        return status;
    }
    uint64_t capacity = wanted > LIST_CHUNK_BYTES ? wanted : LIST_CHUNK_BYTES;
    void *grown = cistern_reallocate(adding->run->data, capacity);
    if (grown == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, adding->state->base.descriptor.name,
            "no memory for %llu bytes of elements", (unsigned long long)wanted);
    }
    *adding->run = (struct cistern_bytes){grown, capacity};
    return CISTERN_OK;
}

static uint32_t elements_add(struct adding *adding, const struct cistern_span *elements,
    uint32_t count, struct cistern_error *error)
{
    struct cistern_frame_format format = list_format(adding->state);
    int64_t now_ms = value_now_ms(adding->state);
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        uint64_t bytes = cistern_frame_bytes(&format, elements[i].bytes);
        status = frame_reserve(adding, bytes, error);
        if (status == CISTERN_OK) {
            uint8_t *to = (uint8_t *)adding->run->data + adding->run_bytes;
            (void)cistern_frame_write(&format, to, elements[i], now_ms);
            adding->run_bytes += bytes;
        }
    }
    return status;
}

/* Stored frames as they are, stamps included. */
static uint32_t frames_add(
    struct adding *adding, struct cistern_span run, struct cistern_error *error)
{
    struct cistern_frame_format format = list_format(adding->state);
    struct cistern_frame frame;
    for (uint64_t at = 0; at < run.bytes; at += frame.bytes) {
        if (!cistern_frame_read(&format, run, at, &frame)) {
            return list_fail_frame(adding->state, at, error);
        }
        uint32_t status = frame_reserve(adding, frame.bytes, error);
        if (status != CISTERN_OK) {
            return status;
        }
        memcpy((uint8_t *)adding->run->data + adding->run_bytes, (const uint8_t *)run.data + at,
            frame.bytes);
        adding->run_bytes += frame.bytes;
    }
    return CISTERN_OK;
}

/* A call that cannot be finished: what it has written goes again, past the gate, since a delete
 * needs next to no room. */
static void adding_undo(struct adding *adding, struct cistern_error *error)
{
    static const char advice[] = " (and what was written of it could not be taken back)";
    struct rocks *rocks = adding->rocks;
    uint32_t status = CISTERN_OK;
    shim_batch_clear(rocks->batch);
    for (uint64_t number = adding->fresh_first;
         number <= adding->tail->number && status == CISTERN_OK; number++) {
        status =
            shim_batch_remove(rocks->batch, adding->state->family, chunk_key(adding, number), NULL);
    }
    if (status == CISTERN_OK) {
        status = shim_write(rocks->db, rocks->batch, NULL);
    }
    shim_batch_clear(rocks->batch);
    if (status != CISTERN_OK && error != NULL) {
        size_t used = strlen(error->message);
        size_t room = sizeof error->message - sizeof advice;
        snprintf(error->message + (used < room ? used : room), sizeof advice, "%s", advice);
    }
}

/* status: how it went so far; what is in the write batch and staged becomes one last batch. */
static uint32_t adding_end(struct adding *adding, uint32_t status, struct cistern_error *error)
{
    struct rocks *rocks = adding->rocks;
    if (status == CISTERN_OK) {
        status = value_flush_batch(rocks, error);
    }
    if (status != CISTERN_OK && adding->written && adding->is_fresh) {
        adding_undo(adding, error);
    }
    if (adding->run->capacity_bytes > RUN_BYTES_KEEP) {
        cistern_release(adding->run->data);
        *adding->run = (struct cistern_bytes){NULL, 0};
    }
    value_begin(rocks);
    return status;
}

uint32_t list_append(struct cistern_state *base, const struct cistern_address *address,
    const struct cistern_span *elements, uint32_t count, struct cistern_error *error)
{
    struct adding adding;
    uint32_t status = rocks_usable(rocks_of(base->backend), error);
    if (status == CISTERN_OK) {
        status = adding_begin(&adding, rocks_state_of(base), address, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    status = elements_add(&adding, elements, count, error);
    if (status == CISTERN_OK) {
        status = run_emit(&adding, error);
    }
    return adding_end(&adding, status, error);
}

/* Deletes of every chunk in [lower, upper). They join what is in the write batch, so that all of it
 * is visible together; only where they alone would be a large part of the budget it is written in
 * between. */
static uint32_t chunks_remove(struct adding *adding, struct cistern_span lower,
    struct cistern_span upper, struct cistern_error *error)
{
    struct range range = {.lower = lower, .upper = upper};
    uint64_t bytes_max = adding->rocks->limit_bytes / DELETES_SHARE;
    uint32_t written = 0;
    uint32_t status = clear_range(adding->state, &range, bytes_max, &written, error);
    if (written) {
        adding->written = 0; /* what was there is gone in part: nothing to go back to */
        if (status != CISTERN_OK) {
            clear_say_partly(error);
        }
    }
    return status;
}

uint32_t list_replace(struct cistern_state *base, const struct cistern_address *address,
    const struct cistern_span *elements, uint32_t count, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct adding adding;
    uint32_t status = rocks_usable(rocks_of(base->backend), error);
    if (status == CISTERN_OK) {
        status = adding_begin(&adding, state, address, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    adding.replaces = 1;
    status = elements_add(&adding, elements, count, error);
    if (status == CISTERN_OK) {
        status = run_emit(&adding, error);
    }
    struct range range = {.bytes = NULL};
    if (status == CISTERN_OK) {
        uint64_t first = adding.is_fresh ? adding.fresh_first : adding.tail->number;
        status = range_init_prefix(&range, adding.prefix, error);
        if (status == CISTERN_OK) {
            status = chunks_remove(&adding, range.lower, chunk_key(&adding, first), error);
        }
    }
    range_deinit(&range);
    status = adding_end(&adding, status, error);
    if (status == CISTERN_OK) {
        struct cistern_span prefix = adding.prefix;
        cursor_end_address(state, prefix);
    }
    return status;
}

/* ---- merge ---- */

/* Adds a source's chunks from *place on until the write batch is full. The iterator ends before the
 * batch is written: it pins memtables. place->bytes 0: all of it is added. */
static uint32_t source_add_some(struct adding *adding, const struct range *range,
    struct cistern_span *place, struct cistern_error *error)
{
    struct rocks *rocks = adding->rocks;
    struct shim_iterator *iterator = NULL;
    uint64_t bytes_max = value_batch_bytes_max(rocks) / 2;
    gate_read(rocks, BLOCKS_BYTES);
    uint32_t status = shim_iterator_open(
        adding->state->family, NULL, range->lower, range->upper, &iterator, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_span key = {NULL, 0};
    struct cistern_span run;
    int is_left = 0;
    shim_iterator_seek(iterator, *place);
    while (status == CISTERN_OK && (is_left = shim_iterator_entry(iterator, &key, &run)) &&
           shim_batch_bytes(rocks->batch) < bytes_max) {
        status = frames_add(adding, run, error);
        shim_iterator_next(iterator);
    }
    *place = (struct cistern_span){NULL, 0};
    if (status == CISTERN_OK && !is_left) {
        status = shim_iterator_status(iterator, error);
    } else if (status == CISTERN_OK) {
        struct cistern_bytes *kept = &rocks->scratch.sums[0];
        status = scratch_sum_reserve(kept, key.bytes, error);
        if (status == CISTERN_OK) {
            memcpy(kept->data, key.data, key.bytes);
            *place = (struct cistern_span){kept->data, key.bytes};
        }
    }
    shim_iterator_close(iterator);
    return status;
}

static uint32_t source_add(
    struct adding *adding, struct cistern_span prefix, struct cistern_error *error)
{
    struct range range = {.bytes = NULL};
    uint32_t status = range_init_prefix(&range, prefix, error);
    struct cistern_span place = range.lower;
    while (status == CISTERN_OK && place.bytes != 0) {
        status = source_add_some(adding, &range, &place, error);
        if (status == CISTERN_OK && place.bytes != 0) {
            status = value_flush_batch(adding->rocks, error);
            adding->written |= status == CISTERN_OK;
        }
    }
    range_deinit(&range);
    return status;
}

static uint32_t source_remove(
    struct adding *adding, struct cistern_span prefix, struct cistern_error *error)
{
    struct range range = {.bytes = NULL};
    uint32_t status = range_init_prefix(&range, prefix, error);
    if (status == CISTERN_OK) {
        status = chunks_remove(adding, range.lower, range.upper, error);
    }
    range_deinit(&range);
    return status;
}

/* The prefixes of the sources into scratch->keys; is_source[i] 0: the target itself, or named
 * before. */
static uint32_t sources_encode(struct adding *adding, const struct cistern_address *target,
    const struct cistern_span *namespaces, uint32_t count, uint8_t *is_source,
    struct cistern_error *error)
{
    struct scratch *scratch = &adding->rocks->scratch;
    struct cistern_address *addresses = cistern_allocate_zeroed(count, sizeof *addresses);
    if (addresses == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, adding->state->base.descriptor.name,
            "no memory for %u namespaces", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        addresses[i] = *target;
        addresses[i].name_space = namespaces[i];
    }
    uint32_t status = scratch_encode(scratch, &adding->state->layout, addresses, count, error);
    cistern_release(addresses);
    if (status != CISTERN_OK) {
        return status;
    }
    memset(is_source, 0, count);
    uint32_t distinct = scratch_group(scratch, count);
    for (uint32_t i = 0; i < distinct; i++) {
        uint32_t index = scratch->order[i].index;
        struct cistern_span prefix = scratch->keys[index];
        is_source[index] = prefix.bytes != adding->prefix.bytes ||
                           memcmp(prefix.data, adding->prefix.data, prefix.bytes) != 0;
    }
    return CISTERN_OK;
}

static uint32_t merge_run(
    struct adding *adding, const uint8_t *is_source, uint32_t count, struct cistern_error *error)
{
    const struct cistern_span *prefixes = adding->rocks->scratch.keys;
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        if (is_source[i]) {
            status = source_add(adding, prefixes[i], error);
        }
    }
    if (status == CISTERN_OK) {
        status = run_emit(adding, error);
    }
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        if (is_source[i]) {
            status = source_remove(adding, prefixes[i], error);
        }
    }
    status = adding_end(adding, status, error);
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        if (is_source[i]) {
            cursor_end_address(adding->state, prefixes[i]);
        }
    }
    return status;
}

uint32_t list_merge(struct cistern_state *base, const struct cistern_address *target,
    const struct cistern_span *source_namespaces, uint32_t source_count,
    struct cistern_error *error)
{
    struct adding adding;
    uint8_t is_source[CISTERN_BATCH_COUNT_MAX];
    uint32_t status = rocks_usable(rocks_of(base->backend), error);
    if (status == CISTERN_OK) {
        status = adding_begin(&adding, rocks_state_of(base), target, error);
    }
    if (status == CISTERN_OK) {
        status = sources_encode(&adding, target, source_namespaces, source_count, is_source, error);
    }
    return status == CISTERN_OK ? merge_run(&adding, is_source, source_count, error) : status;
}
