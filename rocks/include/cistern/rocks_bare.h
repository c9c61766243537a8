/*
 * rocks_bare.h -- the peer of `cistern bench rocks`: plain RocksDB, one call a key, opened with the
 * very options a backend uses, but with a plain block cache (0.6 of the budget) and a plain write
 * buffer manager (a quarter of it). What a careful program would write without this library.
 *
 * Never:   used by a backend.
 * Threads: one at a time.
 */
#ifndef CISTERN_ROCKS_BARE_H
#define CISTERN_ROCKS_BARE_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cistern_rocks_bare;

/* directory: must not exist or be empty; removed at close. budget_bytes: a slot's limit. */
CISTERN_MUST_USE uint32_t cistern_rocks_bare_open(const char *directory, uint64_t budget_bytes,
    struct cistern_rocks_bare **ret_bare, struct cistern_error *error);
CISTERN_MUST_USE uint32_t cistern_rocks_bare_put(struct cistern_rocks_bare *bare,
    const struct cistern_span *keys, const struct cistern_span *values, uint32_t count,
    struct cistern_error *error);
/* A key that is not there is not an error. */
CISTERN_MUST_USE uint32_t cistern_rocks_bare_get(struct cistern_rocks_bare *bare,
    const struct cistern_span *keys, uint32_t count, struct cistern_error *error);
/* A get and a put each: adds 8-byte big-endian integers in a family of their own. */
CISTERN_MUST_USE uint32_t cistern_rocks_bare_add(struct cistern_rocks_bare *bare,
    const struct cistern_span *keys, const struct cistern_span *inputs, uint32_t count,
    struct cistern_error *error);
void cistern_rocks_bare_close(struct cistern_rocks_bare *bare); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
