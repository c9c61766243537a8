/* kind.c -- the append-only numbers of kinds, reducers and part roles, and their names on disk
 * and in messages. */
#include "cistern/backend.h"
#include "cistern/snapshot.h"

#include <string.h>

static const char *const kind_names[] = {
    [CISTERN_VALUE] = "value",
    [CISTERN_LIST] = "list",
    [CISTERN_MAP] = "map",
    [CISTERN_REDUCING] = "reducing",
    [CISTERN_AGGREGATING] = "aggregating",
    [CISTERN_TIMERS] = "timers",
    [CISTERN_OPERATOR_LIST] = "operator_list",
    [CISTERN_OPERATOR_UNION] = "operator_union",
    [CISTERN_BROADCAST] = "broadcast",
};
static const char *const reduce_names[] = {
    [CISTERN_REDUCE_NONE] = "none",
    [CISTERN_REDUCE_SUM_I64] = "sum_i64",
    [CISTERN_REDUCE_MIN_I64] = "min_i64",
    [CISTERN_REDUCE_MAX_I64] = "max_i64",
};
static const char *const role_names[] = {
    [CISTERN_ROLE_SST] = "sst",
    [CISTERN_ROLE_ROCKS_MANIFEST] = "rocks-manifest",
    [CISTERN_ROLE_HEAP_BASE] = "heap-base",
    [CISTERN_ROLE_HEAP_INCREMENT] = "heap-increment",
    [CISTERN_ROLE_CANONICAL] = "canonical",
};
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

const char *cistern_state_kind_name(uint32_t kind)
{
    return kind < COUNT_OF(kind_names) ? kind_names[kind] : NULL;
}

const char *cistern_reduce_name(uint32_t reduce)
{
    return reduce < COUNT_OF(reduce_names) ? reduce_names[reduce] : NULL;
}

const char *cistern_part_role_name(uint32_t role)
{
    return role < COUNT_OF(role_names) ? role_names[role] : NULL;
}

uint32_t cistern_part_role_parse(const char *name, uint32_t *ret_role)
{
    for (uint32_t role = 0; role < COUNT_OF(role_names); role++) {
        if (role_names[role] != NULL && strcmp(role_names[role], name) == 0) {
            *ret_role = role;
            return CISTERN_OK;
        }
    }
    return CISTERN_NOT_FOUND;
}
