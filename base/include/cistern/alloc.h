/*
 * alloc.h -- every control structure of cistern is allocated here, so that a host can lend its
 * allocator and a test can make the n-th allocation fail. State never comes from here: it lives in
 * regions, which are charged (memory/region.h).
 *
 * Threads: any.
 */
#ifndef CISTERN_ALLOC_H
#define CISTERN_ALLOC_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All return NULL when there is no memory; bytes == 0 gives a unique pointer. Aligned for any
 * scalar type. */
CISTERN_MUST_USE void *cistern_allocate(uint64_t bytes);
/* NULL too when the product overflows */
CISTERN_MUST_USE void *cistern_allocate_zeroed(uint64_t count, uint64_t bytes_each);
/* Like realloc: on NULL the old block is untouched. */
CISTERN_MUST_USE void *cistern_reallocate(void *memory, uint64_t bytes);
CISTERN_MUST_USE char *cistern_duplicate_string(const char *text);
void cistern_release(void *memory); /* NULL is fine */

uint64_t cistern_allocation_count(void); /* blocks held now; a test asserts 0 at its end */

/* Tests: the n-th allocation from now (1 = the next) fails, once; 0 = never. Process-wide. */
void cistern_allocation_fail_at(uint64_t nth);
int cistern_allocation_failed(void); /* 1 when the armed failure has fired since it was armed */

#ifdef __cplusplus
}
#endif
#endif
