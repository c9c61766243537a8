/*
 * order_private.h -- the order of a timer state: a heap of {time, hash} with four children per
 * node, in a region of its own.
 *
 * Items name no entry: the cleaner may move those. Whoever pops looks the entry up by time and
 * hash; a removed timer's item stays behind and finds none. While more than half of the items are
 * such, every removal looks at some of them in turn (timer.c): no pause, and memory follows.
 * Threads: owner only. Full when: the slot refuses a granule -> LIMIT from order_reserve().
 */
#ifndef CISTERN_HEAPSTATE_ORDER_PRIVATE_H
#define CISTERN_HEAPSTATE_ORDER_PRIVATE_H

#include "cistern/region.h"

struct order_item {
    int64_t timestamp_ms;
    uint64_t hash;
};
struct order {
    struct cistern_region *region;
    struct order_item *items;
    uint64_t count;
    uint64_t capacity; /* items with memory behind them */
    uint64_t capacity_max;
    uint64_t stale_count; /* items that find no entry, about */
    uint64_t inspected;   /* where the search for them goes on */
};

CISTERN_MUST_USE uint32_t order_init(struct order *order, struct cistern_component *component,
    uint64_t reserve_bytes, struct cistern_error *error);
void order_deinit(struct order *order);
/* Room for one item more. */
CISTERN_MUST_USE uint32_t order_reserve(struct order *order);
/* Room was reserved. */
void order_push(struct order *order, struct order_item item);
/* Takes the item at a place below count out; items[0] is the first in time. */
void order_remove(struct order *order, uint64_t at);

#endif
