/* holders.c -- "who holds what": the lines of every slot, and in OWNED accounting the two lines
 * that complete the sum. */
#include "holders_private.h"

#include "cistern/size.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct holder_writer {
    struct cistern_holder *holders;
    uint32_t capacity;
    uint32_t count;
};

/* NULL when the caller's array is full: the line is counted all the same. */
static struct cistern_holder *next_line(struct holder_writer *writer)
{
    uint32_t index = writer->count++;
    if (index >= writer->capacity) {
        return NULL;
    }
    memset(&writer->holders[index], 0, sizeof writer->holders[index]);
    return &writer->holders[index];
}

/* Caller holds pool.lock. */
static void write_component(struct holder_writer *writer, const struct cistern_slot *slot,
    const struct cistern_component *component)
{
    struct cistern_holder *line = next_line(writer);
    if (line == NULL) {
        return;
    }
    memcpy(line->slot, slot->name, sizeof line->slot);
    memcpy(line->component, component->name, sizeof line->component);
    line->reclaim_class = component->reclaim_class;
    line->used_bytes = atomic_load(&component->used) + atomic_load(&component->reported) +
                       atomic_load(&component->stash);
    line->lent_bytes = atomic_load(&slot->lent);
    line->limit_bytes = cistern_slot_limit_bytes(slot);
    line->debt_bytes = slot_debt(slot);
    line->peak_bytes = atomic_load(&component->peak);
    line->peak_ms = atomic_load(&component->peak_ms);
    line->refusal_count = atomic_load(&component->refusal_count);
}

static void write_process(struct holder_writer *writer, const char *name, int64_t bytes)
{
    struct cistern_holder *line = next_line(writer);
    if (line == NULL) {
        return;
    }
    snprintf(line->slot, sizeof line->slot, "process");
    snprintf(line->component, sizeof line->component, "%s", name);
    line->reclaim_class = CISTERN_RECLAIM_NEVER;
    line->used_bytes = bytes < 0 ? 0 : (uint64_t)bytes;
}

static void write_remainder(struct cistern_pool *pool, struct holder_writer *writer)
{
    int64_t charged = 0;
    int64_t reported = 0;
    for (uint32_t i = 0; i <= pool->slot_count_max; i++) {
        int64_t slot_reported = (int64_t)atomic_load(&pool->slots[i].reported);
        charged += (int64_t)atomic_load(&pool->slots[i].quota.used) - slot_reported;
        reported += slot_reported;
    }
    struct resident_figures figures;
    resident_read(&figures);
    int64_t growth = (int64_t)figures.rss - (int64_t)pool->resident.rss_baseline;
    int64_t malloc_bytes = ledger_malloc(pool);
    int64_t unreported = malloc_bytes > reported ? malloc_bytes - reported : 0;
    write_process(writer, "malloc", unreported);
    write_process(writer, "unattributed", growth - charged - reported - unreported);
}

#define HOLDER_NAMED_MAX 16

struct holder_line {
    char name[POOL_NAME_BYTES];
    uint64_t bytes;
};

/* The largest holders of the slot, in order; ret_others counts those that did not fit. Caller holds
 * pool.lock. */
static uint32_t collect_holders(const struct cistern_slot *slot,
    struct holder_line lines[HOLDER_NAMED_MAX], uint32_t *ret_others)
{
    uint32_t count = 0;
    *ret_others = 0;
    for (const struct cistern_component *c = slot->components; c != NULL; c = c->next) {
        struct holder_line line = {.bytes = atomic_load(&c->used) + atomic_load(&c->reported)};
        memcpy(line.name, c->name, sizeof line.name);
        if (line.bytes == 0) {
            continue;
        }
        uint32_t at = count < HOLDER_NAMED_MAX ? count++ : HOLDER_NAMED_MAX;
        *ret_others += at == HOLDER_NAMED_MAX;
        for (; at > 0 && lines[at - 1].bytes < line.bytes; at--) {
            if (at < HOLDER_NAMED_MAX) {
                lines[at] = lines[at - 1];
            }
        }
        if (at < HOLDER_NAMED_MAX) {
            lines[at] = line;
        }
    }
    return count;
}

void holders_format(const struct cistern_slot *slot, char *text, size_t capacity)
{
    struct holder_line lines[HOLDER_NAMED_MAX];
    uint32_t others;
    uint32_t count = collect_holders(slot, lines, &others);
    size_t length = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        char item[64];
        char size[16];
        int bytes = snprintf(item, sizeof item, "%s%s %s", i == 0 ? "" : ", ", lines[i].name,
            cistern_size_format(size, lines[i].bytes));
        if (length + (size_t)bytes + sizeof ", 1000 more" > capacity) {
            others += count - i;
            break;
        }
        memcpy(text + length, item, (size_t)bytes + 1);
        length += (size_t)bytes;
    }
    if (count == 0) {
        snprintf(text, capacity, "nobody");
    } else if (others > 0) {
        snprintf(text + length, capacity - length, ", %u more", others);
    }
}

uint32_t cistern_pool_holders(struct cistern_pool *pool, struct cistern_holder *ret_holders,
    uint32_t holder_capacity, uint32_t *ret_count)
{
    assert(pool != NULL && ret_count != NULL && (ret_holders != NULL || holder_capacity == 0));
    struct holder_writer writer = {.holders = ret_holders, .capacity = holder_capacity};
    pthread_mutex_lock(&pool->lock);
    for (uint32_t i = 0; i <= pool->slot_count_max; i++) {
        for (const struct cistern_component *c = pool->slots[i].components; c != NULL;
             c = c->next) {
            write_component(&writer, &pool->slots[i], c);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    if (pool->accounting == CISTERN_ACCOUNTING_OWNED) {
        write_remainder(pool, &writer);
    }
    *ret_count = writer.count;
    return CISTERN_OK;
}

void cistern_pool_usage(struct cistern_pool *pool, struct cistern_pool_usage *ret_usage)
{
    assert(pool != NULL && ret_usage != NULL);
    struct resident_figures figures;
    resident_read(&figures);
    (void)resident_sample(&pool->resident);
    ledger_peak_update(pool);
    uint64_t anon_peak = atomic_load(&pool->resident.anon_peak);
    *ret_usage = (struct cistern_pool_usage){
        .budget_bytes = pool->budget_bytes,
        .charged_bytes = ledger_charged(pool),
        .charged_peak_bytes = atomic_load(&pool->ledger.peak),
        .rss_bytes = figures.rss,
        .rss_peak_bytes = figures.rss_peak,
        .rss_baseline_bytes = pool->resident.rss_baseline,
        .anon_bytes = figures.anon,
        .anon_peak_bytes = anon_peak > figures.anon ? anon_peak : figures.anon,
        .anon_baseline_bytes = pool->resident.anon_baseline,
        .accounting = pool->accounting,
        .allocator = pool->allocator,
        .overrun_count = atomic_load(&pool->ledger.overrun_count),
    };
}
