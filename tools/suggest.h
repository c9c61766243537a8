/* suggest.h -- the nearest name to a mistyped one. Threads: pure functions. */
#ifndef CISTERN_SUGGEST_H
#define CISTERN_SUGGEST_H

#include <stdint.h>

#define SUGGEST_BYTES_MAX 64u /* longer words are never near to anything */

/* Edits between two words: insert, delete, replace, swap of neighbours each cost 1. UINT32_MAX:
 * one is too long. */
uint32_t suggest_distance(const char *a, const char *b);

/* The best of many, offered one by one. */
struct suggest {
    const char *word;
    /* NULL = nothing near enough: at most a third of the word's letters, and at least 2 edits
     * allowed */
    const char *best;
    uint32_t distance;
};
struct suggest suggest_begin(const char *word);
void suggest_offer(struct suggest *suggest, const char *candidate);

#endif
