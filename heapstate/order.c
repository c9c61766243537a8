/* order.c -- a heap with four children per node; see order_private.h. */
#include "order_private.h"

#include <assert.h>
#include <string.h>

#define GRANULE_BYTES (64u << 10)
#define CHILDREN 4u

uint32_t order_init(struct order *order, struct cistern_component *component,
    uint64_t reserve_bytes, struct cistern_error *error)
{
    memset(order, 0, sizeof *order);
    struct cistern_region_options options = {
        .reserve_bytes = (reserve_bytes + GRANULE_BYTES - 1) & ~(uint64_t)(GRANULE_BYTES - 1),
        .granule_bytes = GRANULE_BYTES,
    };
    uint32_t status = cistern_region_create(component, &options, &order->region, error);
    if (status == CISTERN_OK) {
        order->items = cistern_region_base(order->region);
        order->capacity_max = options.reserve_bytes / sizeof *order->items;
    }
    return status;
}

void order_deinit(struct order *order)
{
    cistern_region_destroy(order->region);
    memset(order, 0, sizeof *order);
}

uint32_t order_reserve(struct order *order)
{
    if (order->count < order->capacity) {
        return CISTERN_OK;
    }
    if (order->capacity == order->capacity_max) {
        return CISTERN_LIMIT;
    }
    uint32_t status =
        cistern_region_commit(order->region, order->capacity * sizeof *order->items, GRANULE_BYTES);
    if (status == CISTERN_OK) {
        order->capacity += GRANULE_BYTES / sizeof *order->items;
    }
    return status;
}

/* One granule is kept, so that a timer that comes and goes at its edge costs no system call. */
static void give_back(struct order *order)
{
    uint64_t per_granule = GRANULE_BYTES / sizeof *order->items;
    while (order->capacity - order->count >= 2 * per_granule) {
        order->capacity -= per_granule;
        cistern_region_decommit(
            order->region, order->capacity * sizeof *order->items, GRANULE_BYTES);
    }
}

static void sift_up(struct order *order, uint64_t at, struct order_item item)
{
    while (at != 0) {
        uint64_t parent = (at - 1) / CHILDREN;
        if (order->items[parent].timestamp_ms <= item.timestamp_ms) {
            break;
        }
        order->items[at] = order->items[parent];
        at = parent;
    }
    order->items[at] = item;
}

static void sift_down(struct order *order, uint64_t at, struct order_item item)
{
    for (;;) {
        uint64_t first = at * CHILDREN + 1;
        if (first >= order->count) {
            break;
        }
        uint64_t end = first + CHILDREN < order->count ? first + CHILDREN : order->count;
        uint64_t least = first;
        for (uint64_t i = first + 1; i < end; i++) {
            if (order->items[i].timestamp_ms < order->items[least].timestamp_ms) {
                least = i;
            }
        }
        if (order->items[least].timestamp_ms >= item.timestamp_ms) {
            break;
        }
        order->items[at] = order->items[least];
        at = least;
    }
    order->items[at] = item;
}

void order_push(struct order *order, struct order_item item)
{
    assert(order->count < order->capacity);
    sift_up(order, order->count++, item);
}

void order_remove(struct order *order, uint64_t at)
{
    assert(at < order->count);
    struct order_item last = order->items[--order->count];
    if (at < order->count) {
        if (at != 0 && last.timestamp_ms < order->items[(at - 1) / CHILDREN].timestamp_ms) {
            sift_up(order, at, last);
        } else {
            sift_down(order, at, last);
        }
    }
    give_back(order);
}
