/*
 * words.h -- splits bytes into words: maximal runs of anything but space, \t, \n, \v, \f and \r, 64
 * bytes a step.
 *
 * The text must be readable for WORDS_PAD_BYTES behind its limit (what stands there is never
 * believed).
 * Threads: owner only.
 */
#ifndef CISTERN_WORDS_H
#define CISTERN_WORDS_H

#include <stddef.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define WORDS_PAD_BYTES 64u

struct words {
    const uint8_t *block; /* the 64 bytes that the masks speak of */
    const uint8_t *limit;
    const uint8_t *start; /* the unfinished word's first byte; NULL = between words */
    uint64_t separators;  /* bit i: block[i] separates, or lies behind the limit */
    uint64_t ahead;       /* bit i: block[i] is not looked at yet */
};

/* Bit i: at[i] is one of the six separators. */
static inline uint64_t words_separators(const uint8_t *at)
{
    uint64_t mask = 0;
#if defined(__SSE2__)
    for (unsigned part = 0; part < 4; part++) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * part));
        __m128i control = _mm_sub_epi8(bytes, _mm_set1_epi8(9)); /* \t..\r become 0..4 */
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(control, _mm_set1_epi8(4)), control),
            _mm_cmpeq_epi8(bytes, _mm_set1_epi8(' ')));
        mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(hit) << (16 * part);
    }
#else
    for (unsigned i = 0; i < 64; i++) {
        mask |= (uint64_t)(at[i] == ' ' || (uint8_t)(at[i] - 9) <= 4) << i;
    }
#endif
    return mask;
}

static inline void words_load(struct words *words)
{
    uint64_t left = (uint64_t)(words->limit - words->block);
    words->separators = words_separators(words->block);
    words->ahead = ~(uint64_t)0;
    if (left < 64) {
        words->separators |= ~(uint64_t)0 << left;
    }
}

/* unfinished: the first byte of a word that began before `from`, contiguous with it; NULL =
 *             none. */
static inline struct words words_begin(
    const uint8_t *from, const uint8_t *limit, const uint8_t *unfinished)
{
    struct words words = {.block = from, .limit = limit, .start = unfinished};
    if (from < limit) {
        words_load(&words);
    }
    return words;
}

/* The next word that ends before the limit. 0: no more; words->start is the unfinished word, if
 * there is one. */
static inline int words_next(struct words *words, const uint8_t **ret_word, uint64_t *ret_bytes)
{
    while (words->block < words->limit) {
        if (words->start == NULL) {
            uint64_t letters = ~words->separators & words->ahead;
            if (letters != 0) {
                unsigned at = (unsigned)__builtin_ctzll(letters);
                words->start = words->block + at;
                words->ahead = ~(uint64_t)0 << at;
            }
        }
        if (words->start != NULL) {
            uint64_t ends = words->separators & words->ahead;
            if (ends != 0) {
                unsigned at = (unsigned)__builtin_ctzll(ends);
                const uint8_t *end = words->block + at;
                if (end >= words->limit) {
                    words->block = words->limit;
                    return 0;
                }
                *ret_word = words->start;
                *ret_bytes = (uint64_t)(end - words->start);
                words->start = NULL;
                words->ahead = ~(uint64_t)0 << at;
                return 1;
            }
        }
        words->block += 64;
        if (words->block < words->limit) {
            words_load(words);
        }
    }
    return 0;
}

#endif
