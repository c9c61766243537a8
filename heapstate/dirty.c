/* dirty.c -- lists of changed entries per segment; see dirty_private.h. */
#include "dirty_private.h"

#define DIRTY_GRANULE_BYTES (16u << 10)

uint32_t dirty_pool_init(struct dirty_pool *pool, struct cistern_component *component,
    uint64_t reserve_bytes, struct cistern_error *error)
{
    memset(pool, 0, sizeof *pool);
    struct cistern_region_options options = {
        .reserve_bytes =
            (reserve_bytes + DIRTY_GRANULE_BYTES - 1) & ~(uint64_t)(DIRTY_GRANULE_BYTES - 1),
        .granule_bytes = DIRTY_GRANULE_BYTES,
    };
    uint32_t status = cistern_region_create(component, &options, &pool->region, error);
    if (status == CISTERN_OK) {
        pool->blocks = cistern_region_base(pool->region);
    }
    return status;
}

void dirty_pool_deinit(struct dirty_pool *pool)
{
    cistern_region_destroy(pool->region);
    memset(pool, 0, sizeof *pool);
}

/* Block number + 1, or 0 when memory is refused. */
static uint32_t take_block(struct dirty_pool *pool)
{
    uint32_t taken = pool->free_head;
    if (taken != 0) {
        pool->free_head = pool->blocks[taken - 1].link;
    } else {
        uint64_t committed = cistern_region_committed_bytes(pool->region);
        if ((uint64_t)pool->frontier * sizeof(struct dirty_block) == committed) {
            if (committed == cistern_region_reserve_bytes(pool->region) ||
                cistern_region_commit(pool->region, committed, DIRTY_GRANULE_BYTES) != CISTERN_OK) {
                return 0;
            }
        }
        taken = ++pool->frontier;
    }
    pool->used_count++;
    return taken;
}

static void free_blocks(struct dirty_pool *pool, uint32_t head)
{
    while (head != 0) {
        struct dirty_block *block = &pool->blocks[head - 1];
        uint32_t next = block->link;
        block->link = pool->free_head;
        pool->free_head = head;
        pool->used_count--;
        head = next;
    }
}

void dirty_push(struct dirty_pool *pool, struct segment *segment, uint64_t offset, uint64_t epoch,
    uint32_t count_max)
{
    if (segment->scan_epoch >= epoch) {
        return;
    }
    struct dirty_block *head =
        segment->dirty_head != 0 ? &pool->blocks[segment->dirty_head - 1] : NULL;
    if (head == NULL || head->epoch != epoch || head->count == DIRTY_BLOCK_OFFSETS) {
        uint32_t block = segment->dirty_count < count_max ? take_block(pool) : 0;
        if (block == 0) {
            segment->scan_epoch = epoch;
            if (!segment_is_owed(segment)) {
                dirty_free(pool, segment);
            }
            return;
        }
        head = &pool->blocks[block - 1];
        head->link = segment->dirty_head;
        head->count = 0;
        head->epoch = epoch;
        segment->dirty_head = block;
    }
    head->offsets[head->count++] = (uint32_t)(offset / ENTRY_ALIGN);
    segment->dirty_count++;
}

void dirty_prune(struct dirty_pool *pool, struct segment *segment, uint64_t confirmed)
{
    assert(!segment_is_owed(segment));
    uint32_t *link = &segment->dirty_head;
    uint32_t kept = 0;
    while (*link != 0 && pool->blocks[*link - 1].epoch > confirmed) {
        kept += pool->blocks[*link - 1].count;
        link = &pool->blocks[*link - 1].link;
    }
    free_blocks(pool, *link);
    *link = 0;
    segment->dirty_count = kept;
}

void dirty_free(struct dirty_pool *pool, struct segment *segment)
{
    free_blocks(pool, segment->dirty_head);
    segment->dirty_head = 0;
    segment->dirty_count = 0;
}

void dirty_pool_trim(struct dirty_pool *pool)
{
    uint64_t committed = cistern_region_committed_bytes(pool->region);
    if (pool->used_count == 0 && committed != 0) {
        cistern_region_decommit(pool->region, 0, committed);
        pool->free_head = 0;
        pool->frontier = 0;
    }
}
