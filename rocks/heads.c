/* heads.c -- see heads_private.h. */
#include "heads_private.h"
#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <assert.h>
#include <string.h>

#define BLOCK_BYTES 4096u
#define SIZE_BYTES 4u               /* of a key's size in a block */
#define LIMIT_SHARE 64u             /* of the slot's budget, for the blocks of one state */
#define BLOCKS_BYTES (256ull << 10) /* what an iterator may load at its safe point */

/* ---- the heap ---- */

static int is_before(const struct head *a, const struct head *b)
{
    if (a->is_empty != b->is_empty) {
        return b->is_empty;
    }
    return a->time_ms < b->time_ms;
}

static void heap_set(struct heads *heads, uint32_t position, uint32_t index)
{
    heads->heap[position] = index;
    heads->groups[index].position = position;
}

static void heap_up(struct heads *heads, uint32_t position)
{
    uint32_t index = heads->heap[position];
    while (position != 0) {
        uint32_t parent = (position - 1) / 2;
        if (!is_before(&heads->groups[index], &heads->groups[heads->heap[parent]])) {
            break;
        }
        heap_set(heads, position, heads->heap[parent]);
        position = parent;
    }
    heap_set(heads, position, index);
}

static void heap_down(struct heads *heads, uint32_t position)
{
    uint32_t index = heads->heap[position];
    for (;;) {
        uint32_t child = 2 * position + 1;
        if (child >= heads->count) {
            break;
        }
        if (child + 1 < heads->count &&
            is_before(&heads->groups[heads->heap[child + 1]], &heads->groups[heads->heap[child]])) {
            child++;
        }
        if (!is_before(&heads->groups[heads->heap[child]], &heads->groups[index])) {
            break;
        }
        heap_set(heads, position, heads->heap[child]);
        position = child;
    }
    heap_set(heads, position, index);
}

static void heap_move(struct heads *heads, const struct head *head)
{
    heap_up(heads, head->position);
    heap_down(heads, head->position);
}

/* ---- life ---- */

static void report(struct rocks *rocks, uint64_t before, uint64_t after)
{
    rocks->index_bytes += after - before;
    gate_report_results(rocks);
}

static uint64_t arrays_bytes(const struct heads *heads)
{
    return heads->count * (sizeof *heads->groups + sizeof *heads->heap);
}

uint32_t heads_create(struct rocks *rocks, struct heads **ret_heads, struct cistern_error *error)
{
    const struct cistern_key_group_range *range = &rocks->base.options.range;
    struct heads *heads = cistern_allocate_zeroed(1, sizeof *heads);
    if (heads != NULL) {
        heads->count = range->last - range->first + 1;
        heads->group_first = range->first;
        heads->blocks_bytes_max = rocks->limit_bytes / LIMIT_SHARE;
        heads->groups = cistern_allocate_zeroed(heads->count, sizeof *heads->groups);
        heads->heap = cistern_allocate_zeroed(heads->count, sizeof *heads->heap);
    }
    if (heads == NULL || heads->groups == NULL || heads->heap == NULL) {
        heads_destroy(NULL, heads);
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "rocks", "no memory for the heads of a timer state");
    }
    for (uint32_t i = 0; i < heads->count; i++) {
        heap_set(heads, i, i);
    }
    report(rocks, 0, arrays_bytes(heads));
    *ret_heads = heads;
    return CISTERN_OK;
}

void heads_destroy(struct rocks *rocks, struct heads *heads)
{
    if (heads == NULL) {
        return;
    }
    for (uint32_t i = 0; i < heads->count && heads->groups != NULL; i++) {
        cistern_release(heads->groups[i].block);
    }
    if (rocks != NULL) {
        rocks->index_bytes -= arrays_bytes(heads) + heads->blocks_bytes;
    }
    cistern_release(heads->groups);
    cistern_release(heads->heap);
    cistern_release(heads);
}

static void run_drop(struct head *head)
{
    head->first = 0;
    head->end = 0;
    head->has_last = 0;
    head->is_complete = 0;
}

void heads_forget(struct heads *heads)
{
    heads->is_known = 0;
    for (uint32_t i = 0; i < heads->count; i++) {
        struct head *head = &heads->groups[i];
        run_drop(head);
        head->is_exact = 0;
        head->is_empty = 0;
        head->time_ms = INT64_MIN;
    }
}

/* ---- runs ---- */

static struct cistern_span key_at(const struct head *head, uint32_t offset)
{
    uint32_t bytes;
    memcpy(&bytes, head->block + offset, SIZE_BYTES);
    return (struct cistern_span){head->block + offset + SIZE_BYTES, bytes};
}

static int compare(struct cistern_span a, struct cistern_span b)
{
    uint64_t shorter = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = memcmp(a.data, b.data, shorter);
    return order != 0 ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

struct cistern_span heads_first(const struct head *head)
{
    assert(head->first != head->end);
    return key_at(head, head->first);
}

static int64_t time_of(const struct key_layout *layout, struct cistern_span key)
{
    const uint8_t *bytes = key.data;
    return key_time_of(cistern_get_u64_be(bytes + layout->group_bytes));
}

void heads_pop(struct heads *heads, const struct key_layout *layout, struct head *head)
{
    head->first += SIZE_BYTES + (uint32_t)heads_first(head).bytes;
    if (head->first != head->end) {
        head->time_ms = time_of(layout, heads_first(head));
        head->is_exact = 1;
    } else if (head->is_complete) {
        head->is_empty = 1;
    } else {
        head->time_ms = time_of(layout, key_at(head, head->last));
        head->is_exact = 0;
    }
    heap_move(heads, head);
}

/* Where the first key of the run stands that is not below `key`, and the one before it.
 * *ret_found 1: it is that key. */
static uint32_t run_find(
    const struct head *head, struct cistern_span key, uint32_t *ret_before, int *ret_found)
{
    uint32_t at = head->first;
    *ret_before = UINT32_MAX;
    *ret_found = 0;
    while (at != head->end) {
        struct cistern_span there = key_at(head, at);
        int order = compare(there, key);
        if (order >= 0) {
            *ret_found = order == 0;
            break;
        }
        *ret_before = at;
        at += SIZE_BYTES + (uint32_t)there.bytes;
    }
    return at;
}

/* The run ends before `at`: what stood behind it is read again when its turn comes. */
static void run_cut(struct head *head, uint32_t at, uint32_t before)
{
    head->end = at;
    head->is_complete = 0;
    if (before != UINT32_MAX) {
        head->last = before;
    } else {
        run_drop(head);
    }
}

void heads_add(struct heads *heads, uint32_t key_group, struct cistern_span key, int64_t time_ms)
{
    if (!heads->is_known) {
        return;
    }
    struct head *head = &heads->groups[key_group - heads->group_first];
    if (head->has_last && compare(key, key_at(head, head->last)) > 0) {
        head->is_complete = 0;
    } else if (head->has_last) {
        uint32_t before;
        int found;
        uint32_t at = run_find(head, key, &before, &found);
        if (found) {
            return;
        }
        run_cut(head, at, before);
    }
    if (head->is_empty || time_ms <= head->time_ms) {
        head->time_ms = time_ms;
        head->is_exact = 1;
        head->is_empty = 0;
        heap_move(heads, head);
    }
}

void heads_remove(struct heads *heads, uint32_t key_group, struct cistern_span key, int64_t time_ms)
{
    if (!heads->is_known) {
        return;
    }
    struct head *head = &heads->groups[key_group - heads->group_first];
    uint32_t before = UINT32_MAX;
    int found = 0;
    uint32_t at = head->first != head->end ? run_find(head, key, &before, &found) : 0;
    if (found) {
        run_cut(head, at, before);
    }
    if (!head->is_empty && head->first == head->end && time_ms == head->time_ms) {
        head->is_exact = 0;
    }
}

/* ---- reading ---- */

/* Takes a block from a group whose turn is late. 0 = there is none but for_head's. */
static int block_steal(struct heads *heads, const struct head *for_head)
{
    for (uint32_t i = heads->count; i != 0; i--) {
        struct head *head = &heads->groups[heads->heap[i - 1]];
        if (head->block != NULL && head != for_head) {
            heads->blocks_bytes -= head->capacity;
            cistern_release(head->block);
            head->block = NULL;
            head->capacity = 0;
            run_drop(head);
            return 1;
        }
    }
    return 0;
}

/* A block for at least one key of the size. What the present one holds is lost. */
static uint32_t block_reserve(
    struct rocks_state *state, struct head *head, uint64_t bytes, struct cistern_error *error)
{
    struct heads *heads = state->heads;
    uint64_t wanted = SIZE_BYTES + bytes > BLOCK_BYTES ? SIZE_BYTES + bytes : BLOCK_BYTES;
    if (head->capacity == wanted) {
        return CISTERN_OK;
    }
    uint64_t before = heads->blocks_bytes;
    while (heads->blocks_bytes - head->capacity + wanted > heads->blocks_bytes_max &&
           block_steal(heads, head)) {
    }
    uint8_t *block = cistern_allocate(wanted);
    if (block == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, state->base.descriptor.name,
            "no memory for the next timers of a key group");
    }
    cistern_release(head->block);
    heads->blocks_bytes += wanted - head->capacity;
    head->block = block;
    head->capacity = (uint32_t)wanted;
    report(rocks_of(state->base.backend), before, heads->blocks_bytes);
    return CISTERN_OK;
}

/* From where the iterator stands. After a failure the run is empty. */
static uint32_t run_read(struct rocks_state *state, struct head *head,
    struct shim_iterator *iterator, struct cistern_error *error)
{
    struct cistern_span key;
    struct cistern_span value;
    run_drop(head);
    head->is_complete = 1;
    while (shim_iterator_entry(iterator, &key, &value)) {
        if (head->end == 0) {
            uint32_t status = block_reserve(state, head, key.bytes, error);
            if (status != CISTERN_OK) {
                run_drop(head);
                return status;
            }
        } else if (head->end + SIZE_BYTES + key.bytes > head->capacity) {
            head->is_complete = 0;
            break;
        }
        uint32_t bytes = (uint32_t)key.bytes;
        memcpy(head->block + head->end, &bytes, SIZE_BYTES);
        memcpy(head->block + head->end + SIZE_BYTES, key.data, bytes);
        head->last = head->end;
        head->has_last = 1;
        head->end += SIZE_BYTES + bytes;
        shim_iterator_next(iterator);
    }
    uint32_t status = head->is_complete ? shim_iterator_status(iterator, error) : CISTERN_OK;
    if (status != CISTERN_OK) {
        run_drop(head);
    }
    return status;
}

/* After run_read(): what it says of the group. */
static void head_settle(struct heads *heads, const struct key_layout *layout, struct head *head)
{
    head->is_empty = head->first == head->end;
    if (!head->is_empty) {
        head->time_ms = time_of(layout, heads_first(head));
        head->is_exact = 1;
    }
    heap_move(heads, head);
}

static void seek_start(
    struct rocks_state *state, const struct head *head, struct shim_iterator *iterator)
{
    struct cistern_span key;
    struct cistern_span value;
    if (head->has_last) {
        struct cistern_span last = key_at(head, head->last);
        shim_iterator_seek(iterator, last);
        if (shim_iterator_entry(iterator, &key, &value) && compare(key, last) == 0) {
            shim_iterator_next(iterator);
        }
        return;
    }
    uint32_t key_group = state->heads->group_first + (uint32_t)(head - state->heads->groups);
    uint8_t bytes[KEY_GROUP_BYTES_MAX + KEY_NUMBER_BYTES];
    uint32_t used = key_group_bound(&state->layout, key_group, bytes);
    cistern_put_u64_be(bytes + used, key_time_flip(head->time_ms));
    shim_iterator_seek(iterator, (struct cistern_span){bytes, used + KEY_NUMBER_BYTES});
}

static uint32_t iterator_open(struct rocks_state *state, struct cistern_key_group_range groups,
    struct shim_iterator **ret_iterator, struct cistern_error *error)
{
    struct range range = {.bytes = NULL};
    gate_read(rocks_of(state->base.backend), BLOCKS_BYTES);
    uint32_t status = range_init_groups(&range, &state->layout, &groups, error);
    if (status == CISTERN_OK) {
        status =
            shim_iterator_open(state->family, NULL, range.lower, range.upper, ret_iterator, error);
    }
    range_deinit(&range);
    return status;
}

uint32_t heads_fill(struct rocks_state *state, struct head *head, struct cistern_error *error)
{
    assert(head->first == head->end);
    struct heads *heads = state->heads;
    uint32_t key_group = heads->group_first + (uint32_t)(head - heads->groups);
    struct cistern_key_group_range group = {key_group, key_group};
    struct shim_iterator *iterator = NULL;
    uint32_t status = iterator_open(state, group, &iterator, error);
    if (status != CISTERN_OK) {
        return status;
    }
    seek_start(state, head, iterator);
    status = run_read(state, head, iterator, error);
    shim_iterator_close(iterator);
    if (status == CISTERN_OK) {
        head_settle(heads, &state->layout, head);
    }
    return status;
}

/* The earliest timer of every group: one look per group that has any. */
static uint32_t learn(
    struct rocks_state *state, struct shim_iterator *iterator, struct cistern_error *error)
{
    struct heads *heads = state->heads;
    struct cistern_span key;
    struct cistern_span value;
    struct cistern_address address;
    heads_forget(heads);
    for (uint32_t i = 0; i < heads->count; i++) {
        heads->groups[i].is_empty = 1;
        heap_set(heads, i, i);
    }
    uint8_t bound[KEY_GROUP_BYTES_MAX];
    uint32_t group = heads->group_first;
    uint32_t used = key_group_bound(&state->layout, group, bound);
    while (used != 0 && group - heads->group_first < heads->count) {
        shim_iterator_seek(iterator, (struct cistern_span){bound, used});
        if (!shim_iterator_entry(iterator, &key, &value)) {
            break;
        }
        if (key_decode(&state->layout, key, &address, NULL) != CISTERN_OK) {
            return cistern_fail_corrupt(error, state->base.descriptor.name, UINT64_MAX,
                "a stored key of %llu bytes is no key of this state's layout",
                (unsigned long long)key.bytes);
        }
        struct head *head = &heads->groups[address.key_group - heads->group_first];
        head->is_empty = 0;
        head->is_exact = 1;
        head->time_ms = time_of(&state->layout, key);
        heap_move(heads, head);
        group = address.key_group + 1;
        used = key_group_bound(&state->layout, group, bound);
    }
    uint32_t status = shim_iterator_status(iterator, error);
    heads->is_known = status == CISTERN_OK;
    return status;
}

uint32_t heads_know(struct rocks_state *state, struct cistern_error *error)
{
    if (state->heads->is_known) {
        return CISTERN_OK;
    }
    struct shim_iterator *iterator = NULL;
    uint32_t status =
        iterator_open(state, rocks_of(state->base.backend)->base.options.range, &iterator, error);
    if (status == CISTERN_OK) {
        status = learn(state, iterator, error);
        shim_iterator_close(iterator);
    }
    return status;
}

struct head *heads_top(const struct heads *heads)
{
    struct head *head = &heads->groups[heads->heap[0]];
    return head->is_empty ? NULL : head;
}
