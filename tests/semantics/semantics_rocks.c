/* semantics_rocks.c -- RocksDB under the semantic suite. */
#include "semantics/world.h"

#include "cistern/rocks.h"

static struct cistern_backend *open_rocks(
    struct cistern_slot *slot, struct cistern_key_group_range range)
{
    char directory[] = "/tmp/cistern-semantics-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct cistern_rocks_options options = {
        .backend = {.max_parallelism = 128, .range = range}, .directory = directory};
    struct cistern_backend *backend;
    struct cistern_error error;
    assert_ok(cistern_rocks_open(slot, &options, &backend, &error), error);
    return backend;
}

const struct semantics_backend semantics_rocks = {
    .name = "rocks",
    .kinds = KIND_BIT(CISTERN_VALUE) | KIND_BIT(CISTERN_REDUCING) | KIND_BIT(CISTERN_AGGREGATING) |
             KIND_BIT(CISTERN_LIST) | KIND_BIT(CISTERN_MAP) | KIND_BIT(CISTERN_TIMERS) | KEYS |
             EVENT_TIME,
    .native = 1,
    .open = open_rocks,
};
