/* range.c -- the bounds of an iterator; see rocks_private.h. */
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

#include <string.h>

uint32_t range_init_prefix(
    struct range *range, struct cistern_span prefix, struct cistern_error *error)
{
    range->bytes = cistern_allocate(2 * prefix.bytes);
    if (range->bytes == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "rocks",
            "no memory for the bounds of a key of %llu bytes", (unsigned long long)prefix.bytes);
    }
    uint8_t *upper = range->bytes + prefix.bytes;
    memcpy(range->bytes, prefix.data, prefix.bytes);
    memcpy(upper, prefix.data, prefix.bytes);
    uint64_t upper_bytes = key_successor(upper, prefix.bytes);
    range->lower = (struct cistern_span){range->bytes, prefix.bytes};
    range->upper = (struct cistern_span){upper_bytes != 0 ? upper : NULL, upper_bytes};
    return CISTERN_OK;
}

uint32_t range_init_groups(struct range *range, const struct key_layout *layout,
    const struct cistern_key_group_range *groups, struct cistern_error *error)
{
    range->bytes = cistern_allocate(2 * KEY_GROUP_BYTES_MAX);
    if (range->bytes == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "rocks", "no memory for the bounds of an iterator");
    }
    uint8_t *upper = range->bytes + KEY_GROUP_BYTES_MAX;
    uint64_t lower_bytes = key_group_bound(layout, groups->first, range->bytes);
    uint64_t upper_bytes = key_group_bound(layout, groups->last + 1, upper);
    range->lower = (struct cistern_span){range->bytes, lower_bytes};
    range->upper = (struct cistern_span){upper_bytes != 0 ? upper : NULL, upper_bytes};
    return CISTERN_OK;
}

void range_deinit(struct range *range)
{
    cistern_release(range->bytes);
    range->bytes = NULL;
}
