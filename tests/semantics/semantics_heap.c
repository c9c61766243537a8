/* semantics_heap.c -- the heap store under the semantic suite. */
#include "semantics/world.h"

#include "cistern/heap.h"

static struct cistern_backend *open_heap(
    struct cistern_slot *slot, struct cistern_key_group_range range)
{
    /* Small segments: big values and long lists meet their borders. */
    struct cistern_heap_options options = {.backend = {.max_parallelism = 128, .range = range},
        .segment_bytes = 64 << 10,
        .hash_seed = world_hash_seed++};
    struct cistern_backend *backend;
    struct cistern_error error;
    assert_ok(cistern_heap_open(slot, &options, &backend, &error), error);
    return backend;
}

const struct semantics_backend semantics_heap = {
    .name = "heap",
    .kinds = KIND_BIT(CISTERN_VALUE) | KIND_BIT(CISTERN_REDUCING) | KIND_BIT(CISTERN_AGGREGATING) |
             KIND_BIT(CISTERN_LIST) | KIND_BIT(CISTERN_MAP) | KIND_BIT(CISTERN_TIMERS) | KEYS |
             EVENT_TIME,
    .native = 1,
    .open = open_heap,
};
