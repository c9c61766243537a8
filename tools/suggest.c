/* suggest.c -- edit distance with swaps (optimal string alignment), three rows at a time. */
#include "suggest.h"

#include <string.h>

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t suggest_distance(const char *a, const char *b)
{
    uint32_t rows[3][SUGGEST_BYTES_MAX + 1];
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > SUGGEST_BYTES_MAX || b_length > SUGGEST_BYTES_MAX) {
        return UINT32_MAX;
    }
    for (uint32_t j = 0; j <= b_length; j++) {
        rows[0][j] = j;
    }
    for (uint32_t i = 1; i <= a_length; i++) {
        uint32_t *row = rows[i % 3], *above = rows[(i - 1) % 3];
        row[0] = i;
        for (uint32_t j = 1; j <= b_length; j++) {
            uint32_t cost = least(above[j] + 1, row[j - 1] + 1);
            cost = least(cost, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                cost = least(cost, rows[(i - 2) % 3][j - 2] + 1);
            }
            row[j] = cost;
        }
    }
    return rows[a_length % 3][b_length];
}

struct suggest suggest_begin(const char *word)
{
    uint32_t allowed = (uint32_t)(strlen(word) / 3);
    return (struct suggest){
        .word = word, .best = NULL, .distance = (allowed < 2 ? 2 : allowed) + 1};
}

void suggest_offer(struct suggest *suggest, const char *candidate)
{
    uint32_t distance = suggest_distance(suggest->word, candidate);
    if (distance < suggest->distance && distance < strlen(candidate)) {
        suggest->distance = distance;
        suggest->best = candidate;
    }
}
