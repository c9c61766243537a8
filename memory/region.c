/* region.c -- see region.h. In builds with assertions a bitmap of granules proves that commits
 * and decommits match. */
#include "cistern/region.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "cistern/size.h"
#include "pool_private.h"
#include "range_private.h"

#include <assert.h>
#include <string.h>

#define REGION_GRANULE_BYTES_MAX (2 * MIB)

struct cistern_region { /* Thread: one at a time (region.h) */
    struct cistern_component *component;
    struct range range;
    uint64_t granule_bytes;
    uint64_t committed_bytes;
#ifndef NDEBUG
    uint8_t *granules; /* one bit per granule: committed */
#endif
};

#ifndef NDEBUG
static int tracking_create(struct cistern_region *region)
{
    region->granules =
        cistern_allocate_zeroed(region->range.bytes / region->granule_bytes / 8 + 1, 1);
    return region->granules != NULL;
}

static void tracking_destroy(struct cistern_region *region)
{
    cistern_release(region->granules);
}

static void tracking_change(
    struct cistern_region *region, uint64_t offset, uint64_t bytes, int committed)
{
    for (uint64_t i = offset / region->granule_bytes; i < (offset + bytes) / region->granule_bytes;
         i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));
        assert(((region->granules[i / 8] & bit) != 0) == !committed);
        region->granules[i / 8] ^= bit;
    }
}
#else
static int tracking_create(struct cistern_region *region)
{
    (void)region;
    return 1;
}

static void tracking_destroy(struct cistern_region *region)
{
    (void)region;
}

static void tracking_change(
    struct cistern_region *region, uint64_t offset, uint64_t bytes, int committed)
{
    (void)region;
    (void)offset;
    (void)bytes;
    (void)committed;
}
#endif

static uint32_t options_check(const struct cistern_region_options *options, uint64_t granule_bytes,
    struct cistern_error *error)
{
    if (granule_bytes < RANGE_PAGE_BYTES || granule_bytes > REGION_GRANULE_BYTES_MAX ||
        (granule_bytes & (granule_bytes - 1)) != 0) {
        return cistern_fail(error, CISTERN_INVALID, "granule_bytes",
            "a region's granule is a power of two from 4096 bytes to 2 MiB, not %llu",
            (unsigned long long)granule_bytes);
    }
    if (options->reserve_bytes == 0 || options->reserve_bytes % granule_bytes != 0) {
        return cistern_fail(error, CISTERN_INVALID, "reserve_bytes",
            "a region reserves a multiple of its granule (%llu bytes), not %llu bytes",
            (unsigned long long)granule_bytes, (unsigned long long)options->reserve_bytes);
    }
    if (options->huge_pages > 1 ||
        (options->huge_pages == 1 && granule_bytes != REGION_GRANULE_BYTES_MAX)) {
        return cistern_fail(error, CISTERN_INVALID, "huge_pages",
            "huge pages need a granule of 2 MiB: a smaller commit would make uncharged pages "
            "resident");
    }
    return CISTERN_OK;
}

uint32_t cistern_region_create(struct cistern_component *component,
    const struct cistern_region_options *options, struct cistern_region **ret_region,
    struct cistern_error *error)
{
    assert(component != NULL && options != NULL && ret_region != NULL);
    uint64_t granule_bytes =
        options->granule_bytes == 0 ? RANGE_PAGE_BYTES : options->granule_bytes;
    uint32_t status = options_check(options, granule_bytes, error);
    if (status != CISTERN_OK) {
        return status;
    }
    char size[16];
    struct cistern_region *region = cistern_allocate_zeroed(1, sizeof *region);
    if (region == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, component->name,
            "no memory for a region's control structure");
    }
    region->component = component;
    region->granule_bytes = granule_bytes;
    if (range_reserve(
            &region->range, options->reserve_bytes, granule_bytes, options->huge_pages == 1) != 0) {
        status = cistern_fail(error, CISTERN_NO_MEMORY, component->name,
            "no address space for a reservation of %s (see ulimit -v)",
            cistern_size_format(size, options->reserve_bytes));
        goto out;
    }
    region->range.is_guarded = (int)component->slot->pool->guard;
    if (!tracking_create(region)) {
        status = cistern_fail(error, CISTERN_NO_MEMORY, component->name,
            "no memory for a region's control structure");
        goto out;
    }
    *ret_region = region;
    return CISTERN_OK;
out:
    range_unreserve(&region->range);
    cistern_release(region);
    return status;
}

void cistern_region_destroy(struct cistern_region *region)
{
    if (region == NULL) {
        return;
    }
    range_unreserve(&region->range);
    if (region->committed_bytes > 0) {
        cistern_component_uncharge(region->component, region->committed_bytes);
    }
    tracking_destroy(region);
    cistern_release(region);
}

void *cistern_region_base(const struct cistern_region *region)
{
    return region->range.base;
}

uint64_t cistern_region_reserve_bytes(const struct cistern_region *region)
{
    return region->range.bytes;
}

uint64_t cistern_region_committed_bytes(const struct cistern_region *region)
{
    return region->committed_bytes;
}

uint32_t cistern_region_commit(struct cistern_region *region, uint64_t offset, uint64_t bytes)
{
    assert(offset % region->granule_bytes == 0 && bytes % region->granule_bytes == 0 && bytes > 0);
    if (offset > region->range.bytes || bytes > region->range.bytes - offset) {
        return CISTERN_LIMIT;
    }
    uint32_t status = cistern_component_charge(region->component, bytes);
    if (status != CISTERN_OK) {
        return status;
    }
    if (range_extend(&region->range, offset + bytes) != 0 ||
        range_reopen(&region->range, offset, bytes) != 0) {
        cistern_component_uncharge(region->component, bytes);
        return CISTERN_NO_MEMORY;
    }
    tracking_change(region, offset, bytes, 1);
    region->committed_bytes += bytes;
    assert(region->committed_bytes <= region->range.bytes);
    return CISTERN_OK;
}

void cistern_region_decommit(struct cistern_region *region, uint64_t offset, uint64_t bytes)
{
    assert(offset % region->granule_bytes == 0 && bytes % region->granule_bytes == 0 && bytes > 0);
    assert(bytes <= region->committed_bytes);
    tracking_change(region, offset, bytes, 0);
    range_discard(&region->range, offset, bytes);
    region->committed_bytes -= bytes;
    cistern_component_uncharge(region->component, bytes);
}
