/*
 * fake_elastic.h -- a cache of chunks and a write buffer that is only a number, behind the
 * callbacks of an elastic.
 *
 * Chunks come from malloc, or from a component by forced charges without memory. Guarded by: lock.
 */
#ifndef CISTERN_FAKE_ELASTIC_H
#define CISTERN_FAKE_ELASTIC_H

#include "cistern/governor.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_CHUNK_MAX 65536

struct fake_cache {
    pthread_mutex_t lock;
    struct cistern_component *component; /* NULL: chunks are malloc'ed and touched */
    uint64_t chunk_bytes;
    void *chunks[FAKE_CHUNK_MAX];
    uint64_t count;
    uint64_t capacity;
    _Atomic uint64_t write_buffer;
    _Atomic uint64_t allowance;
    _Atomic uint64_t set_count;
    _Atomic uint64_t park_count;
    _Atomic uint64_t drain_count;
};

/* Caller holds cache.lock. */
static inline void fake_evict_one(struct fake_cache *cache)
{
    cache->count--;
    if (cache->component != NULL) {
        cistern_component_uncharge(cache->component, cache->chunk_bytes);
    } else {
        free(cache->chunks[cache->count]);
    }
}

static inline uint64_t fake_usage(void *arg)
{
    struct fake_cache *cache = arg;
    pthread_mutex_lock(&cache->lock);
    uint64_t usage = cache->count * cache->chunk_bytes;
    pthread_mutex_unlock(&cache->lock);
    return usage;
}

static inline void fake_set_capacity(void *arg, uint64_t bytes)
{
    struct fake_cache *cache = arg;
    pthread_mutex_lock(&cache->lock);
    cache->capacity = bytes;
    while (cache->count * cache->chunk_bytes > bytes) {
        fake_evict_one(cache);
    }
    pthread_mutex_unlock(&cache->lock);
    atomic_fetch_add(&cache->set_count, 1);
}

/* Adds one chunk, evicting when the cache is at its capacity. */
static inline void fake_insert(struct fake_cache *cache)
{
    void *chunk = NULL;
    if (cache->component != NULL) {
        cistern_component_charge_forced(cache->component, cache->chunk_bytes);
    } else {
        chunk = malloc(cache->chunk_bytes);
        memset(chunk, 0x77, cache->chunk_bytes);
    }
    pthread_mutex_lock(&cache->lock);
    while (cache->count > 0 && ((cache->count + 1) * cache->chunk_bytes > cache->capacity ||
                                   cache->count == FAKE_CHUNK_MAX)) {
        fake_evict_one(cache);
    }
    cache->chunks[cache->count++] = chunk;
    pthread_mutex_unlock(&cache->lock);
}

static inline uint64_t fake_write_buffer(void *arg)
{
    return atomic_load(&((struct fake_cache *)arg)->write_buffer);
}

static inline void fake_set_allowance(void *arg, uint64_t bytes)
{
    atomic_store(&((struct fake_cache *)arg)->allowance, bytes);
}

static inline uint64_t fake_drain(void *arg)
{
    atomic_fetch_add(&((struct fake_cache *)arg)->drain_count, 1);
    return 0;
}

static inline void fake_park(void *arg)
{
    atomic_fetch_add(&((struct fake_cache *)arg)->park_count, 1);
}

static inline struct cistern_elastic_options fake_options(struct fake_cache *cache)
{
    return (struct cistern_elastic_options){.name = "fake",
        .arg = cache,
        .cache_usage = fake_usage,
        .cache_set_capacity = fake_set_capacity,
        .write_buffer_usage = fake_write_buffer,
        .write_buffer_set_allowance = fake_set_allowance,
        .drain = fake_drain,
        .park_idle = fake_park};
}

#endif
