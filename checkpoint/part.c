/* part.c -- stored files and ordered sets of them; see part_private.h. */
#include "part_private.h"

#include "cistern/alloc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct part *part_create(const char *restore_name)
{
    uint64_t name_bytes = strlen(restore_name) + 1;
    struct part *part = cistern_allocate_zeroed(1, sizeof *part + name_bytes);
    if (part != NULL) {
        memcpy(part->restore_name, restore_name, name_bytes);
        part->refs = 1;
    }
    return part;
}

/* The first index whose name is not below `name`. */
static uint32_t lower_bound(const struct part_list *list, const struct data_name *name)
{
    uint32_t low = 0;
    uint32_t high = list->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (data_name_compare(&list->parts[middle]->name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint32_t part_list_add(struct part_list *list, struct part *part)
{
    if (list->count == PART_COUNT_MAX) {
        return CISTERN_LIMIT;
    }
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? 8 : 2 * list->capacity;
        struct part **parts = cistern_reallocate(list->parts, capacity * sizeof *parts);
        if (parts == NULL) {
            return CISTERN_NO_MEMORY;
        }
        list->parts = parts;
        list->capacity = capacity;
    }
    uint32_t at = lower_bound(list, &part->name);
    if (at < list->count && data_name_compare(&list->parts[at]->name, &part->name) == 0) {
        return CISTERN_EXISTS;
    }
    memmove(list->parts + at + 1, list->parts + at, (list->count - at) * sizeof *list->parts);
    list->parts[at] = part;
    list->count++;
    return CISTERN_OK;
}

void part_list_remove_at(struct part_list *list, uint32_t index)
{
    assert(index < list->count);
    list->count--;
    memmove(
        list->parts + index, list->parts + index + 1, (list->count - index) * sizeof *list->parts);
}

struct part *part_list_find(const struct part_list *list, const struct data_name *name)
{
    uint32_t at = lower_bound(list, name);
    if (at < list->count && data_name_compare(&list->parts[at]->name, name) == 0) {
        return list->parts[at];
    }
    return NULL;
}

static int compare_origins(const void *a, const void *b)
{
    const struct part *const *left = a;
    const struct part *const *right = b;
    return memcmp((*left)->origin, (*right)->origin, CISTERN_ORIGIN_BYTES);
}

uint32_t origin_index_init(struct origin_index *index, const struct part_list *list)
{
    index->parts = cistern_allocate(list->count * sizeof *index->parts);
    if (index->parts == NULL) {
        return CISTERN_NO_MEMORY;
    }
    index->count = list->count;
    if (list->count > 0) {
        memcpy(index->parts, list->parts, list->count * sizeof *index->parts);
        qsort(index->parts, index->count, sizeof *index->parts, compare_origins);
    }
    return CISTERN_OK;
}

struct part *origin_index_find(
    const struct origin_index *index, const uint8_t origin[CISTERN_ORIGIN_BYTES])
{
    static const uint8_t nobody[CISTERN_ORIGIN_BYTES];
    if (memcmp(origin, nobody, sizeof nobody) == 0) {
        return NULL;
    }
    uint32_t low = 0;
    uint32_t high = index->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = memcmp(index->parts[middle]->origin, origin, CISTERN_ORIGIN_BYTES);
        if (order == 0) {
            return index->parts[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

void origin_index_deinit(struct origin_index *index)
{
    cistern_release(index->parts);
    memset(index, 0, sizeof *index);
}

void part_drop(struct part *part, struct part **dead)
{
    assert(part->refs > 0);
    if (--part->refs > 0) {
        return;
    }
    if (dead == NULL) {
        cistern_release(part);
        return;
    }
    part->next_dead = *dead;
    *dead = part;
}

void part_list_release(struct part_list *list, struct part **dead)
{
    for (uint32_t index = 0; index < list->count; index++) {
        part_drop(list->parts[index], dead);
    }
    cistern_release(list->parts);
    memset(list, 0, sizeof *list);
}
