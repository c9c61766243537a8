/*
 * content.h -- something of every kind under ITEM_COUNT keys, whose whole content follows from how
 * often each was changed: a snapshot's truth is a copy of the counts.
 *
 * Each change replaces the value, appends to or replaces the list, adds, overwrites and removes map
 * entries, adds to the sum and to the text, moves the timers; every fifth clears. Half of the keys
 * have a namespace.
 */
#ifndef CISTERN_SEMANTICS_CONTENT_H
#define CISTERN_SEMANTICS_CONTENT_H

#include "semantics/world.h"

#define ITEM_COUNT 240u

struct content {
    uint32_t changes[ITEM_COUNT]; /* the last change's number, from 0 */
};

/* kinds: KIND_BIT() of those that take part. */
void fill_content(struct cistern_backend *backend, uint32_t kinds, struct content *content);
void change_content(
    struct cistern_backend *backend, uint32_t kinds, struct content *content, uint32_t index);
/* Every item of the range is as it should be, and no state holds more than that. */
void check_content(struct cistern_backend *backend, uint32_t kinds, const struct content *content,
    struct cistern_key_group_range range);

#endif
