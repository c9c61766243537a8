/*
 * bench_peer.h -- the hash maps that the heap backend is measured beside: boost::unordered_flat_map
 * and absl::flat_hash_map, as their users write them, on pages of the kind that the heap has.
 *
 * Threads: a map belongs to one thread. Memory: mappings of the map's own, none of the pool's.
 */
#ifndef CISTERN_BENCH_PEER_H
#define CISTERN_BENCH_PEER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PEER_KEY_BYTES 16u
#define PEER_VALUE_BYTES 32u

enum peer_kind { PEER_BOOST, PEER_ABSL, PEER_KIND_COUNT };
struct peer;

const char *peer_name(uint32_t kind);
/* NULL: no memory. huge_pages 1: tables of 2 MiB and more ask for huge pages; 0: 4 KiB pages. */
struct peer *peer_create(uint32_t kind, uint32_t huge_pages);
void peer_destroy(struct peer *peer);
uint64_t peer_entries(const struct peer *peer);

/* Loops over `count` keys, written and inlined where the map's type is known. get: the first word
 * of every value found is added to the result. 0 / 1 of put: 1 = done, 0 = no memory. */
uint64_t peer_get(const struct peer *peer, const uint8_t (*keys)[PEER_KEY_BYTES], uint32_t count);
uint32_t peer_put(struct peer *peer, const uint8_t (*keys)[PEER_KEY_BYTES],
    const uint8_t (*values)[PEER_VALUE_BYTES], uint32_t count);
void peer_remove(struct peer *peer, const uint8_t (*keys)[PEER_KEY_BYTES], uint32_t count);
/* get, then the user's work on what was found, record by record. */
uint64_t peer_get_and_work(const struct peer *peer, const uint8_t (*keys)[PEER_KEY_BYTES],
    uint32_t count, uint32_t rounds);

/* A user's work on a record: arithmetic that waits for `x` and fills the core, so that the next
 * record's memory access does not start before it (some 14 instructions a round). */
static inline uint64_t peer_user_work(uint64_t x, uint32_t rounds)
{
    uint64_t a = x;
    uint64_t b = ~x;
    uint64_t c = x + 0x9E3779B97F4A7C15u;
    uint64_t d = x ^ 0xD1B54A32D192ED03u;
    for (uint32_t i = 0; i < rounds; i++) {
        a = (a ^ a >> 29) * 0xBF58476D1CE4E5B9u;
        b = (b ^ b >> 31) * 0x94D049BB133111EBu;
        c = (c ^ c >> 27) * 0xBF58476D1CE4E5B9u;
        d = (d ^ d >> 30) * 0x94D049BB133111EBu;
    }
    return a ^ b ^ c ^ d;
}

#ifdef __cplusplus
}
#endif
#endif
