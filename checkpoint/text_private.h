/*
 * text_private.h -- a growing byte buffer for the text this module writes: records, list lines,
 * paths.
 *
 * Invariant:  data is NULL or NUL-terminated at data[bytes]; after a failed append `failed` stays 1
 *             and appends do nothing, so that a chain of appends is checked once, at its end.
 * Threads:    owner only.
 * Full when:  TEXT_BYTES_MAX -> failed.
 */
#ifndef CISTERN_CHECKPOINT_TEXT_H
#define CISTERN_CHECKPOINT_TEXT_H

#include "cistern/base.h"

#define TEXT_BYTES_MAX                                                                             \
    (16u << 20) /* the largest text is a manifest with its slices expanded: 192 x 64 KiB */

struct text {
    char *data;
    uint64_t bytes;
    uint64_t capacity;
    uint32_t failed;
};
void text_append(struct text *text, const void *data, uint64_t bytes);
void text_format(struct text *text, const char *format, ...) CISTERN_PRINTF(2, 3);
/* OK, or NO_MEMORY when an append failed. */
CISTERN_MUST_USE uint32_t text_check(const struct text *text, struct cistern_error *error);
void text_release(struct text *text);
/* A new string owned by the caller (cistern_release); NULL = no memory. */
char *text_path(const char *format, ...) CISTERN_PRINTF(1, 2);
/* What JSON can hold as a string. */
int text_is_utf8(const char *text);

#endif
