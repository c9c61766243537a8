/*
 * soft_cache.h -- clean cache as a component sees it: bytes that any thread can evict, less what is
 * pinned. Threads: any. Guarded by: lock.
 */
#ifndef CISTERN_SOFT_CACHE_H
#define CISTERN_SOFT_CACHE_H

#include "test.h"

#include "cistern/pool.h"

#include <pthread.h>

struct soft_cache {
    pthread_mutex_t lock;
    struct cistern_component *component;
    uint64_t bytes;
    uint64_t pinned;
    uint64_t asked_count;
};

static inline uint64_t soft_evict(void *arg, uint64_t target_bytes, int64_t deadline_ns)
{
    (void)deadline_ns;
    struct soft_cache *cache = arg;
    pthread_mutex_lock(&cache->lock);
    uint64_t most = cache->bytes > cache->pinned ? cache->bytes - cache->pinned : 0;
    uint64_t freed = target_bytes < most ? target_bytes : most;
    cache->bytes -= freed;
    cache->asked_count++;
    pthread_mutex_unlock(&cache->lock);
    cistern_component_uncharge(cache->component, freed);
    return freed;
}

/* 1 when the bytes were granted. With a reserve in front, as an owner that wants more would. */
static inline int soft_fill(struct soft_cache *cache, uint64_t bytes)
{
    if (cistern_component_charge(cache->component, bytes) != CISTERN_OK &&
        (cistern_component_reserve(cache->component, bytes, 0, NULL) != CISTERN_OK ||
            cistern_component_charge(cache->component, bytes) != CISTERN_OK)) {
        return 0;
    }
    pthread_mutex_lock(&cache->lock);
    cache->bytes += bytes;
    pthread_mutex_unlock(&cache->lock);
    return 1;
}

static inline void soft_open(struct soft_cache *cache, struct cistern_slot *slot)
{
    struct cistern_error error;
    *cache = (struct soft_cache){.bytes = 0};
    pthread_mutex_init(&cache->lock, NULL);
    struct cistern_component_options options = {.name = "cache",
        .reclaim_class = CISTERN_RECLAIM_INSTANT,
        .reclaim_from_any_thread = 1,
        .reclaim = soft_evict,
        .arg = cache};
    assert_ok(cistern_component_open(slot, &options, &cache->component, &error), error);
}

static inline void soft_close(struct soft_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    cache->pinned = 0;
    pthread_mutex_unlock(&cache->lock);
    (void)soft_evict(cache, UINT64_MAX, 0);
    cistern_component_close(cache->component);
    pthread_mutex_destroy(&cache->lock);
}

#endif
