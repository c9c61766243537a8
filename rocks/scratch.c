/* scratch.c -- the memory a batch call works in: encoded keys, their order, chains of equal
 * ones, copies handed out. */
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"
#include "cistern/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_COUNT (2u * ROCKS_SLAB_COUNT_MAX) /* at most half full */
#define KEY_BYTES_KEEP (512u << 10)            /* a key buffer that grew past this is given back */
#define RESULTS_BLOCK_BYTES (64u << 10)
#define PREFIX_BYTES 8u

static_assert((SLOT_COUNT & (SLOT_COUNT - 1)) == 0, "slots are found by a mask");

struct results_block {
    struct results_block *older;
    uint64_t capacity;
    uint64_t used;
    uint8_t data[];
};

uint32_t scratch_init(struct scratch *scratch, struct cistern_error *error)
{
    memset(scratch, 0, sizeof *scratch);
    scratch->keys = cistern_allocate_zeroed(ROCKS_SLAB_COUNT_MAX, sizeof *scratch->keys);
    scratch->order = cistern_allocate_zeroed(ROCKS_SLAB_COUNT_MAX, sizeof *scratch->order);
    scratch->sorted = cistern_allocate_zeroed(ROCKS_CHUNK_COUNT_MAX, sizeof *scratch->sorted);
    scratch->found = cistern_allocate_zeroed(ROCKS_CHUNK_COUNT_MAX, sizeof *scratch->found);
    scratch->next = cistern_allocate_zeroed(ROCKS_SLAB_COUNT_MAX, sizeof *scratch->next);
    scratch->last = cistern_allocate_zeroed(ROCKS_SLAB_COUNT_MAX, sizeof *scratch->last);
    scratch->slots = cistern_allocate_zeroed(SLOT_COUNT, sizeof *scratch->slots);
    if (scratch->keys == NULL || scratch->order == NULL || scratch->sorted == NULL ||
        scratch->found == NULL || scratch->next == NULL || scratch->last == NULL ||
        scratch->slots == NULL) {
        scratch_deinit(scratch);
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "rocks", "no memory for a backend's scratch arrays");
    }
    return CISTERN_OK;
}

void scratch_deinit(struct scratch *scratch)
{
    cistern_release(scratch->keys);
    cistern_release(scratch->order);
    cistern_release(scratch->sorted);
    cistern_release(scratch->found);
    cistern_release(scratch->next);
    cistern_release(scratch->last);
    cistern_release(scratch->slots);
    cistern_release(scratch->key_bytes);
    cistern_release(scratch->sums[0].data);
    cistern_release(scratch->sums[1].data);
    cistern_release(scratch->run.data);
    memset(scratch, 0, sizeof *scratch);
}

static uint32_t key_buffer_reserve(
    struct scratch *scratch, uint64_t bytes, struct cistern_error *error)
{
    int is_large = scratch->key_capacity > KEY_BYTES_KEEP && bytes <= KEY_BYTES_KEEP;
    if (bytes <= scratch->key_capacity && !is_large) {
        return CISTERN_OK;
    }
    uint64_t capacity = 4096;
    while (capacity < bytes) {
        capacity *= 2;
    }
    uint8_t *grown = cistern_allocate(capacity);
    if (grown == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "rocks",
            "no memory for the %llu key bytes of a batch", (unsigned long long)bytes);
    }
    cistern_release(scratch->key_bytes);
    scratch->key_bytes = grown;
    scratch->key_capacity = capacity;
    return CISTERN_OK;
}

uint32_t scratch_encode_items(struct scratch *scratch, const struct key_layout *layout,
    const struct cistern_address *addresses, const struct cistern_span *rests, uint32_t count,
    struct cistern_error *error)
{
    assert(count <= ROCKS_SLAB_COUNT_MAX);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += key_encoded_bytes(layout, &addresses[i]) + (rests != NULL ? rests[i].bytes : 0);
    }
    uint32_t status = key_buffer_reserve(scratch, bytes, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint8_t *into = scratch->key_bytes;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t used = key_encode(layout, &addresses[i], into);
        if (rests != NULL && rests[i].bytes != 0) {
            memcpy(into + used, rests[i].data, rests[i].bytes);
            used += rests[i].bytes;
        }
        scratch->keys[i] = (struct cistern_span){into, used};
        into += used;
    }
    return CISTERN_OK;
}

uint32_t scratch_encode(struct scratch *scratch, const struct key_layout *layout,
    const struct cistern_address *addresses, uint32_t count, struct cistern_error *error)
{
    return scratch_encode_items(scratch, layout, addresses, NULL, count, error);
}

uint32_t scratch_encode_timer(struct scratch *scratch, const struct key_layout *layout,
    const struct cistern_address *address, int64_t time_ms, struct cistern_error *error)
{
    uint64_t bytes = key_timer_bytes(layout, address);
    uint32_t status = key_buffer_reserve(scratch, bytes, error);
    if (status == CISTERN_OK) {
        (void)key_timer_encode(layout, address, time_ms, scratch->key_bytes);
        scratch->keys[0] = (struct cistern_span){scratch->key_bytes, bytes};
    }
    return status;
}

static uint64_t prefix_of(struct cistern_span key)
{
    if (key.bytes >= PREFIX_BYTES) {
        return cistern_get_u64_be(key.data);
    }
    uint8_t padded[PREFIX_BYTES] = {0};
    memcpy(padded, key.data, key.bytes);
    return cistern_get_u64_be(padded);
}

static int compare_keys(struct cistern_span a, struct cistern_span b)
{
    uint64_t shorter = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = memcmp(a.data, b.data, shorter);
    if (order != 0) {
        return order;
    }
    return (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static int compare_order(const void *left, const void *right, void *arg)
{
    const struct scratch_order *a = left;
    const struct scratch_order *b = right;
    const struct cistern_span *keys = arg;
    if (a->prefix != b->prefix) {
        return a->prefix < b->prefix ? -1 : 1;
    }
    int order = compare_keys(keys[a->index], keys[b->index]);
    return order != 0 ? order : (a->index > b->index) - (a->index < b->index);
}

static void order_sort(struct scratch *scratch, uint32_t count)
{
    if (count > 1) {
        qsort_r(scratch->order, count, sizeof *scratch->order, compare_order, scratch->keys);
    }
}

void scratch_sort(struct scratch *scratch, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        scratch->order[i].index = i;
        scratch->order[i].prefix = prefix_of(scratch->keys[i]);
    }
    order_sort(scratch, count);
}

static uint32_t chain_add(struct scratch *scratch, uint32_t index)
{
    struct cistern_span key = scratch->keys[index];
    uint32_t slot = (uint32_t)cistern_hash64(key.data, key.bytes) & (SLOT_COUNT - 1);
    scratch->next[index] = UINT32_MAX;
    while (scratch->slots[slot] != 0) {
        uint32_t first = scratch->slots[slot] - 1;
        if (scratch->keys[first].bytes == key.bytes &&
            memcmp(scratch->keys[first].data, key.data, key.bytes) == 0) {
            scratch->next[scratch->last[first]] = index;
            scratch->last[first] = index;
            return 0;
        }
        slot = (slot + 1) & (SLOT_COUNT - 1);
    }
    scratch->slots[slot] = index + 1;
    scratch->last[index] = index;
    return 1;
}

uint32_t scratch_group(struct scratch *scratch, uint32_t count)
{
    memset(scratch->slots, 0, SLOT_COUNT * sizeof *scratch->slots);
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (chain_add(scratch, i)) {
            scratch->order[distinct].index = i;
            scratch->order[distinct].prefix = prefix_of(scratch->keys[i]);
            distinct++;
        }
    }
    order_sort(scratch, distinct);
    return distinct;
}

uint32_t scratch_sum_reserve(struct cistern_bytes *sum, uint64_t bytes, struct cistern_error *error)
{
    if (bytes <= sum->capacity_bytes) {
        return CISTERN_OK;
    }
    void *grown = cistern_allocate(bytes);
    if (grown == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "rocks",
            "no memory for an accumulator of %llu bytes", (unsigned long long)bytes);
    }
    cistern_release(sum->data);
    sum->data = grown;
    sum->capacity_bytes = bytes;
    return CISTERN_OK;
}

void *results_add(struct results *results, const void *data, uint64_t bytes)
{
    struct results_block *block = results->newest;
    if (block == NULL || block->capacity - block->used < bytes) {
        uint64_t capacity = bytes > RESULTS_BLOCK_BYTES ? bytes : RESULTS_BLOCK_BYTES;
        block = cistern_allocate(sizeof *block + capacity);
        if (block == NULL) {
            return NULL;
        }
        block->older = results->newest;
        block->capacity = capacity;
        block->used = 0;
        results->newest = block;
        results->bytes += capacity;
    }
    void *copy = block->data + block->used;
    if (bytes != 0) {
        memcpy(copy, data, bytes);
    }
    block->used += bytes;
    return copy;
}

/* Keeps one ordinary block for the next call. */
void results_clear(struct results *results)
{
    struct results_block *kept = NULL;
    while (results->newest != NULL) {
        struct results_block *block = results->newest;
        results->newest = block->older;
        if (kept == NULL && block->capacity == RESULTS_BLOCK_BYTES) {
            kept = block;
            kept->older = NULL;
            kept->used = 0;
        } else {
            cistern_release(block);
        }
    }
    results->newest = kept;
    results->bytes = kept != NULL ? kept->capacity : 0;
}
