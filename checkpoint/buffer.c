/* buffer.c -- see buffer_private.h. */
#include "buffer_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/region.h"

#include <assert.h>
#include <string.h>

static uint32_t charged_memory(struct buffer_set *set, struct cistern_pool *pool, uint64_t bytes,
    void **ret_memory, struct cistern_error *error)
{
    struct cistern_component_options options = {
        .name = "io buffers", .reclaim_class = CISTERN_RECLAIM_NEVER};
    uint32_t status =
        cistern_component_open(cistern_pool_process_slot(pool), &options, &set->component, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_region_options region_options = {.reserve_bytes = bytes};
    status = cistern_region_create(set->component, &region_options, &set->region, error);
    if (status != CISTERN_OK) {
        return status;
    }
    status = cistern_region_commit(set->region, 0, bytes);
    if (status == CISTERN_LIMIT) {
        status = cistern_component_reserve(set->component, bytes, 0, error);
        status = status == CISTERN_OK ? cistern_region_commit(set->region, 0, bytes) : status;
    }
    if (status != CISTERN_OK) {
        return status == CISTERN_LIMIT
                   ? status
                   : cistern_fail(error, status, "io buffers",
                         "no memory for %llu bytes of buffers", (unsigned long long)bytes);
    }
    *ret_memory = cistern_region_base(set->region);
    return CISTERN_OK;
}

uint32_t buffer_set_init(
    struct buffer_set *set, struct cistern_pool *pool, uint64_t bytes, struct cistern_error *error)
{
    memset(set, 0, sizeof *set);
    pthread_mutex_init(&set->lock, NULL);
    uint64_t count = bytes / BUFFER_BYTES;
    count = count < 2 ? 2 : count > BUFFER_COUNT_MAX ? BUFFER_COUNT_MAX : count;
    void *memory = NULL;
    uint32_t status = CISTERN_OK;
    if (pool != NULL) {
        status = charged_memory(set, pool, count * BUFFER_BYTES, &memory, error);
    } else {
        memory = set->uncharged = cistern_allocate(count * BUFFER_BYTES);
        if (memory == NULL) {
            status =
                cistern_fail(error, CISTERN_NO_MEMORY, "io buffers", "no memory for the buffers");
        }
    }
    if (status != CISTERN_OK) {
        buffer_set_deinit(set);
        return status;
    }
    set->count = (uint32_t)count;
    for (uint32_t i = 0; i < set->count; i++) {
        set->free[set->free_count++] = (char *)memory + (uint64_t)i * BUFFER_BYTES;
    }
    return CISTERN_OK;
}

void buffer_set_deinit(struct buffer_set *set)
{
    assert(set->free_count == set->count);
    cistern_region_destroy(set->region);
    cistern_component_close(set->component);
    cistern_release(set->uncharged);
    pthread_mutex_destroy(&set->lock);
}
