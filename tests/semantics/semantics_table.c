/* semantics_table.c -- the array of rows under the semantic suite: a case that fails here asks for
 * the wrong thing. */
#include "semantics/world.h"

#include "support/table_backend.h"

static struct cistern_backend *open_table(
    struct cistern_slot *slot, struct cistern_key_group_range range)
{
    (void)slot;
    struct table_backend *table = table_backend_open(range);
    table->backend.options.value_bytes_max = 8u << 20;
    return &table->backend;
}

const struct semantics_backend semantics_table = {
    .name = "table",
    .kinds = KIND_BIT(CISTERN_VALUE) | KIND_BIT(CISTERN_REDUCING) | KIND_BIT(CISTERN_AGGREGATING) |
             KIND_BIT(CISTERN_LIST) | KIND_BIT(CISTERN_MAP) | KIND_BIT(CISTERN_TIMERS) | KEYS |
             EVENT_TIME,
    .native = 0,
    .open = open_table,
};
