/*
 * hash.h -- the one hash library (xxHash, XXH3): 64 bits for tables and checks, 128 bits for the
 * identity of a file.
 *
 * Threads: pure functions; a stream belongs to one thread. Source:
 *          https://github.com/Cyan4973/xxHash
 */
#ifndef CISTERN_HASH_H
#define CISTERN_HASH_H

#include "cistern/base.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_hash128 { /* big-endian (canonical) form, so that hex text and bytes agree */
    uint8_t bytes[16];
};

static inline uint64_t cistern_hash64(const void *data, uint64_t bytes)
{
    return XXH3_64bits(data, bytes);
}

static inline uint64_t cistern_hash64_seeded(const void *data, uint64_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, bytes, seed);
}

/* The `check` word of our containers: the low 32 bits of XXH3-64 (docs/FORMAT.md). */
static inline uint32_t cistern_check32(const void *data, uint64_t bytes)
{
    return (uint32_t)XXH3_64bits(data, bytes);
}

struct cistern_hash128 cistern_hash128(const void *data, uint64_t bytes);
/* A running 128-bit hash. create returns NULL when there is no memory. finish leaves the stream
 * usable for more bytes. */
struct cistern_hash_stream;
struct cistern_hash_stream *cistern_hash_stream_create(void);
void cistern_hash_stream_reset(struct cistern_hash_stream *stream);
void cistern_hash_stream_update(
    struct cistern_hash_stream *stream, const void *data, uint64_t bytes);
struct cistern_hash128 cistern_hash_stream_finish(const struct cistern_hash_stream *stream);
void cistern_hash_stream_destroy(struct cistern_hash_stream *stream);

static inline int cistern_hash128_equal(
    const struct cistern_hash128 *a, const struct cistern_hash128 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Lower-case hex; text holds 2 * bytes + 1. parse returns INVALID unless text is exactly 2 *
 * bytes hex digits. */
void cistern_hex_format(char *text, const uint8_t *data, uint64_t bytes);
CISTERN_MUST_USE uint32_t cistern_hex_parse(uint8_t *data, uint64_t bytes, const char *text);

#ifdef __cplusplus
}
#endif
#endif
