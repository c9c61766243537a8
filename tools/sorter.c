/* sorter.c -- pairs in memory: appended from the front of the region, their index from its back;
 * see sorter.h. */
#include "sorter_private.h"

#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"
#include "cistern/region.h"

#include <string.h>

#define SORTER_MEMORY_BYTES_WISHED (8u << 20)

struct item { /* of the index: the first 8 bytes decide nearly every comparison */
    uint64_t prefix;
    uint64_t offset;
};
struct sorter {
    struct cistern_region *region;
    uint8_t *memory;
    uint64_t memory_bytes;
    uint64_t used_bytes; /* pairs, behind the run buffer */
    uint64_t item_count; /* from the end downwards */
    struct runs runs;
};

int pair_compare(struct cistern_span a, struct cistern_span b)
{
    uint64_t common = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

uint64_t pair_write(uint8_t *to, struct cistern_span word, uint64_t count)
{
    cistern_put_u64_le(to, count);
    cistern_put_u32_le(to + 8, (uint32_t)word.bytes);
    memcpy(to + PAIR_HEADER_BYTES, word.data, word.bytes);
    return PAIR_HEADER_BYTES + word.bytes;
}

struct pair pair_read(const uint8_t *from)
{
    return (struct pair){.word = {from + PAIR_HEADER_BYTES, cistern_get_u32_le(from + 8)},
        .count = cistern_get_u64_le(from)};
}

static uint32_t memory_create(struct sorter *sorter, const struct sorter_options *options,
    uint64_t bytes, struct cistern_error *error)
{
    struct cistern_region_options region = {.reserve_bytes = bytes, .granule_bytes = 4096};
    uint32_t status = cistern_region_create(options->component, &region, &sorter->region, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = cistern_region_commit(sorter->region, 0, bytes);
    if (status != CISTERN_OK) {
        (void)cistern_fail(error, status, "sort",
            "the process reserve has no %llu bytes left to sort in; raise --managed",
            (unsigned long long)bytes);
        cistern_region_destroy(sorter->region);
        sorter->region = NULL;
        return status;
    }
    sorter->memory = cistern_region_base(sorter->region);
    sorter->memory_bytes = bytes;
    return CISTERN_OK;
}

uint32_t sorter_create(
    const struct sorter_options *options, struct sorter **ret_sorter, struct cistern_error *error)
{
    assert(options->memory_bytes == 0 || options->memory_bytes >= SORTER_MEMORY_BYTES_MIN);
    assert(options->memory_bytes % 4096 == 0);
    struct sorter *sorter = cistern_allocate_zeroed(1, sizeof *sorter);
    if (sorter == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "sort", "no memory for the sorter");
    }
    sorter->runs = (struct runs){.directory = options->directory, .fd = -1};
    uint64_t bytes =
        options->memory_bytes != 0 ? options->memory_bytes : SORTER_MEMORY_BYTES_WISHED;
    uint32_t status = memory_create(sorter, options, bytes, error);
    while (
        status == CISTERN_LIMIT && options->memory_bytes == 0 && bytes > SORTER_MEMORY_BYTES_MIN) {
        bytes /= 2;
        status = memory_create(sorter, options, bytes, error);
    }
    if (status != CISTERN_OK) {
        cistern_release(sorter);
        return status;
    }
    sorter->used_bytes = RUN_BUFFER_BYTES;
    *ret_sorter = sorter;
    return CISTERN_OK;
}

void sorter_destroy(struct sorter *sorter)
{
    if (sorter != NULL) {
        runs_deinit(&sorter->runs);
        cistern_region_destroy(sorter->region);
        cistern_release(sorter);
    }
}

uint64_t sorter_run_count(const struct sorter *sorter)
{
    return sorter->runs.written;
}

/* ---- sorting: quicksort, which turns to heapsort when the pivots are bad ---- */

static struct item *items_of(const struct sorter *sorter)
{
    return (struct item *)(void *)(sorter->memory + sorter->memory_bytes) - sorter->item_count;
}

static int item_less(const struct sorter *sorter, const struct item *a, const struct item *b)
{
    if (a->prefix != b->prefix) {
        return a->prefix < b->prefix;
    }
    return pair_compare(pair_read(sorter->memory + a->offset).word,
               pair_read(sorter->memory + b->offset).word) < 0;
}

static void item_swap(struct item *a, struct item *b)
{
    struct item c = *a;
    *a = *b;
    *b = c;
}

static void items_sift(const struct sorter *sorter, struct item *items, uint64_t at, uint64_t count)
{
    for (uint64_t child = 2 * at + 1; child < count; at = child, child = 2 * at + 1) {
        child += child + 1 < count && item_less(sorter, &items[child], &items[child + 1]);
        if (!item_less(sorter, &items[at], &items[child])) {
            return;
        }
        item_swap(&items[at], &items[child]);
    }
}

static void items_heapsort(const struct sorter *sorter, struct item *items, uint64_t count)
{
    for (uint64_t at = count / 2; at-- > 0;) {
        items_sift(sorter, items, at, count);
    }
    for (uint64_t end = count; end-- > 1;) {
        item_swap(&items[0], &items[end]);
        items_sift(sorter, items, 0, end);
    }
}

static void items_insertion_sort(const struct sorter *sorter, struct item *items, uint64_t count)
{
    for (uint64_t i = 1; i < count; i++) {
        for (uint64_t j = i; j > 0 && item_less(sorter, &items[j], &items[j - 1]); j--) {
            item_swap(&items[j], &items[j - 1]);
        }
    }
}

/* Hoare's partition around the median of three; returns the first index of the right part. */
static uint64_t items_partition(const struct sorter *sorter, struct item *items, uint64_t count)
{
    struct item *middle = &items[count / 2], *last = &items[count - 1];
    if (item_less(sorter, middle, items)) {
        item_swap(middle, items);
    }
    if (item_less(sorter, last, middle)) {
        item_swap(last, middle);
        if (item_less(sorter, middle, items)) {
            item_swap(middle, items);
        }
    }
    struct item pivot = *middle;
    uint64_t left = 0, right = count - 1;
    for (;;) {
        while (item_less(sorter, &items[left], &pivot)) {
            left++;
        }
        while (item_less(sorter, &pivot, &items[right])) {
            right--;
        }
        if (left >= right) {
            return right + 1;
        }
        item_swap(&items[left++], &items[right--]);
    }
}

/* Recurses into the smaller part only: the depth is at most log2(count) = 20. */
static void items_sort(
    const struct sorter *sorter, struct item *items, uint64_t count, uint32_t bad_pivots_left)
{
    while (count > 16) {
        if (bad_pivots_left == 0) {
            items_heapsort(sorter, items, count);
            return;
        }
        uint64_t split = items_partition(sorter, items, count);
        uint64_t smaller = split < count - split ? split : count - split;
        bad_pivots_left -= smaller < count / 16;
        if (split == smaller) {
            items_sort(sorter, items, split, bad_pivots_left);
            items += split;
            count -= split;
        } else {
            items_sort(sorter, items + split, count - split, bad_pivots_left);
            count = split;
        }
    }
    items_insertion_sort(sorter, items, count);
}

/* ---- pairs ---- */

static uint32_t memory_each(
    struct sorter *sorter, sorter_emit_fn emit, void *arg, struct cistern_error *error)
{
    struct item *items = items_of(sorter);
    items_sort(sorter, items, sorter->item_count, 32);
    uint32_t status = CISTERN_OK;
    for (uint64_t i = 0; i < sorter->item_count && status == CISTERN_OK; i++) {
        struct pair pair = pair_read(sorter->memory + items[i].offset);
        status = emit(arg, pair.word, pair.count, error);
    }
    return status;
}

static uint32_t run_emit(
    void *arg, struct cistern_span word, uint64_t count, struct cistern_error *error)
{
    struct pair pair = {word, count};
    return runs_append(arg, &pair, error);
}

static uint32_t memory_spill(struct sorter *sorter, struct cistern_error *error)
{
    uint32_t status = runs_begin(&sorter->runs, sorter->memory, error);
    if (status == CISTERN_OK) {
        status = memory_each(sorter, run_emit, &sorter->runs, error);
    }
    if (status == CISTERN_OK) {
        status = runs_end(&sorter->runs, error);
    }
    sorter->used_bytes = RUN_BUFFER_BYTES;
    sorter->item_count = 0;
    return status;
}

static uint64_t prefix_of(struct cistern_span word)
{
    uint8_t first[8] = {0};
    memcpy(first, word.data, word.bytes < 8 ? word.bytes : 8);
    return cistern_get_u64_be(first);
}

uint32_t sorter_add(
    struct sorter *sorter, struct cistern_span word, uint64_t count, struct cistern_error *error)
{
    assert(word.bytes > 0 && word.bytes <= SORTER_WORD_BYTES_MAX);
    uint64_t wanted = PAIR_HEADER_BYTES + word.bytes + sizeof(struct item);
    if (sorter->used_bytes + sorter->item_count * sizeof(struct item) + wanted >
        sorter->memory_bytes) {
        uint32_t status = memory_spill(sorter, error);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    sorter->item_count++;
    items_of(sorter)[0] = (struct item){.prefix = prefix_of(word), .offset = sorter->used_bytes};
    sorter->used_bytes += pair_write(sorter->memory + sorter->used_bytes, word, count);
    return CISTERN_OK;
}

uint32_t sorter_finish(
    struct sorter *sorter, sorter_emit_fn emit, void *arg, struct cistern_error *error)
{
    if (sorter->runs.count == 0) {
        return memory_each(sorter, emit, arg, error);
    }
    uint32_t status = sorter->item_count > 0 ? memory_spill(sorter, error) : CISTERN_OK;
    return status == CISTERN_OK
               ? runs_merge(&sorter->runs, sorter->memory, sorter->memory_bytes, emit, arg, error)
               : status;
}
