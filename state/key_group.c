/*
 * key_group.c -- which group a key belongs to and which operator owns a group; see backend.h.
 *
 * Source: MathUtils.murmurHash and KeyGroupRangeAssignment of Apache Flink. All arithmetic is
 *         32-bit two's complement there;
 * here it is unsigned, which gives the same bits. No product overflows: index, group and
 * parallelism are at most 2^15.
 */
#include "cistern/backend.h"
#include "cistern/hash.h"

#include <assert.h>

#define MAX_PARALLELISM_DEFAULT_MIN 128u

static uint32_t rotate_left(uint32_t value, uint32_t bits)
{
    return (value << bits) | (value >> (32 - bits));
}

static uint32_t bit_mix(uint32_t value)
{
    value ^= value >> 16;
    value *= 0x85ebca6bu;
    value ^= value >> 13;
    value *= 0xc2b2ae35u;
    return value ^ (value >> 16);
}

/* Never has the top bit set: Flink negates a negative hash and maps the one that has no positive
 * twin to 0. */
static uint32_t murmur_hash(uint32_t code)
{
    code *= 0xcc9e2d51u;
    code = rotate_left(code, 15);
    code *= 0x1b873593u;
    code = rotate_left(code, 13);
    code = code * 5 + 0xe6546b64u;
    code = bit_mix(code ^ 4);
    if (code == 0x80000000u) {
        return 0;
    }
    return (code & 0x80000000u) == 0 ? code : 0u - code;
}

uint32_t cistern_key_group_java(uint32_t java_hash_code, uint32_t max_parallelism)
{
    assert(max_parallelism >= 1 && max_parallelism <= CISTERN_MAX_PARALLELISM_MAX);
    uint32_t hash = murmur_hash(java_hash_code);
    /* once per record: the usual case costs no division */
    if ((max_parallelism & (max_parallelism - 1)) == 0) {
        return hash & (max_parallelism - 1);
    }
    return hash % max_parallelism;
}

uint32_t cistern_key_group_bytes(struct cistern_span key, uint32_t max_parallelism)
{
    return cistern_key_group_java((uint32_t)cistern_hash64(key.data, key.bytes), max_parallelism);
}

uint32_t cistern_key_group_owner(uint32_t key_group, uint32_t max_parallelism, uint32_t parallelism)
{
    assert(parallelism >= 1 && parallelism <= max_parallelism);
    assert(max_parallelism <= CISTERN_MAX_PARALLELISM_MAX && key_group < max_parallelism);
    return key_group * parallelism / max_parallelism;
}

struct cistern_key_group_range cistern_key_group_range_of(
    uint32_t index, uint32_t max_parallelism, uint32_t parallelism)
{
    assert(parallelism >= 1 && parallelism <= max_parallelism);
    assert(max_parallelism <= CISTERN_MAX_PARALLELISM_MAX && index < parallelism);
    struct cistern_key_group_range range = {
        .first = (index * max_parallelism + parallelism - 1) / parallelism,
        .last = ((index + 1) * max_parallelism - 1) / parallelism,
    };
    return range;
}

uint32_t cistern_max_parallelism_default(uint32_t parallelism)
{
    assert(parallelism >= 1);
    if (parallelism >= CISTERN_MAX_PARALLELISM_MAX) {
        return CISTERN_MAX_PARALLELISM_MAX;
    }
    uint32_t wanted = parallelism + parallelism / 2;
    uint32_t rounded = MAX_PARALLELISM_DEFAULT_MIN;
    while (rounded < wanted && rounded < CISTERN_MAX_PARALLELISM_MAX) {
        rounded <<= 1;
    }
    return rounded;
}
