/* segment.c -- takes segments from the slot and gives them back; see segment_private.h. */
#include "segment_private.h"
#include "cistern/error.h"

#include <stddef.h>

#define ROW_GRANULE_BYTES 4096u

uint32_t segment_table_init(struct segment_table *table, struct cistern_component *component,
    struct cistern_component *row_component, uint64_t segment_bytes, uint64_t reserve_bytes,
    uint32_t huge_pages, struct cistern_error *error)
{
    assert(segment_bytes >= SEGMENT_BYTES_MIN && (segment_bytes & (segment_bytes - 1)) == 0);
    memset(table, 0, sizeof *table);
    table->segment_bytes = segment_bytes;
    table->shift = (uint32_t)__builtin_ctzll(segment_bytes);
    table->count_max = (uint32_t)(reserve_bytes >> table->shift);
    struct cistern_region_options options = {
        .reserve_bytes = (uint64_t)table->count_max << table->shift,
        .granule_bytes = segment_bytes > SEGMENT_BYTES_MAX ? SEGMENT_BYTES_MAX : segment_bytes,
        .huge_pages = huge_pages,
    };
    uint32_t status = cistern_region_create(component, &options, &table->region, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint64_t row_bytes = (uint64_t)table->count_max * sizeof(struct segment);
    row_bytes = (row_bytes + ROW_GRANULE_BYTES - 1) & ~(uint64_t)(ROW_GRANULE_BYTES - 1);
    struct cistern_region_options row_options = {
        .reserve_bytes = row_bytes, .granule_bytes = ROW_GRANULE_BYTES};
    status = cistern_region_create(row_component, &row_options, &table->row_region, error);
    if (status != CISTERN_OK) {
        return status;
    }
    table->base = cistern_region_base(table->region);
    table->rows = cistern_region_base(table->row_region);
    return CISTERN_OK;
}

void segment_table_deinit(struct segment_table *table)
{
    cistern_region_destroy(table->region);
    cistern_region_destroy(table->row_region);
    memset(table, 0, sizeof *table);
}

/* Rows for the numbers below `frontier`. 0 = the slot refused the page. */
static int rows_reach(struct segment_table *table, uint32_t frontier)
{
    while (table->row_count < frontier) {
        uint64_t committed = cistern_region_committed_bytes(table->row_region);
        if (committed == cistern_region_reserve_bytes(table->row_region) ||
            cistern_region_commit(table->row_region, committed, ROW_GRANULE_BYTES) != CISTERN_OK) {
            return 0;
        }
        table->row_count = (uint32_t)((committed + ROW_GRANULE_BYTES) / sizeof(struct segment));
    }
    if (table->frontier < frontier) {
        table->frontier = frontier; /* new rows are zero: ABSENT */
    }
    return 1;
}

/* The lowest `count` neighbouring numbers without memory, or SEGMENT_NONE. */
static uint32_t find_absent(struct segment_table *table, uint32_t count)
{
    uint32_t length = 0;
    uint32_t number = table->absent_hint;
    while (number < table->frontier && length < count) {
        length = table->rows[number].use == SEGMENT_ABSENT ? length + 1 : 0;
        number++;
    }
    uint32_t first = number - length;
    if (count > table->count_max || first > table->count_max - count ||
        !rows_reach(table, first + count)) {
        return SEGMENT_NONE;
    }
    return first;
}

static uint32_t commit_segments(struct segment_table *table, uint32_t count)
{
    uint32_t first = find_absent(table, count);
    if (first == SEGMENT_NONE) {
        return SEGMENT_NONE;
    }
    uint64_t offset = (uint64_t)first << table->shift;
    if (cistern_region_commit(table->region, offset, (uint64_t)count << table->shift) !=
        CISTERN_OK) {
        return SEGMENT_NONE;
    }
    if (count == 1) {
        table->absent_hint = first + 1;
    }
    return first;
}

/* All of a row but `owed`, which a reader that lost its snapshot may still look at. */
static void reset_row(struct segment *row)
{
    memset(row, 0, offsetof(struct segment, owed));
}

static void open_row(
    struct segment_table *table, uint32_t number, uint32_t use, uint64_t base_epoch)
{
    struct segment *row = &table->rows[number];
    assert(row->use == SEGMENT_ABSENT || row->use == SEGMENT_EMPTY);
    reset_row(row);
    row->use = use;
    row->base_epoch = base_epoch;
    row->fill = SEGMENT_HEAD_BYTES;
    table->used_count++;
}

static uint32_t pop_empty(struct segment_table *table)
{
    uint32_t number = table->empty_head - 1;
    table->empty_head = table->rows[number].next_empty;
    table->empty_count--;
    return number;
}

static void push_empty(struct segment_table *table, uint32_t number)
{
    struct segment *row = &table->rows[number];
    reset_row(row);
    row->use = SEGMENT_EMPTY;
    row->next_empty = table->empty_head;
    table->empty_head = number + 1;
    table->empty_count++;
}

uint32_t segment_take(struct segment_table *table, uint32_t keep, uint64_t base_epoch)
{
    uint32_t number = table->empty_count > keep ? pop_empty(table) : commit_segments(table, 1);
    if (number != SEGMENT_NONE) {
        open_row(table, number, SEGMENT_OPEN, base_epoch);
    }
    return number;
}

uint32_t segment_take_run(struct segment_table *table, uint32_t count, uint64_t base_epoch)
{
    uint32_t first = commit_segments(table, count);
    if (first == SEGMENT_NONE) {
        return SEGMENT_NONE;
    }
    open_row(table, first, SEGMENT_RUN, base_epoch);
    table->rows[first].run_count = count;
    for (uint32_t i = 1; i < count; i++) {
        open_row(table, first + i, SEGMENT_TAIL, base_epoch);
    }
    return first;
}

int segment_add_empty(struct segment_table *table)
{
    uint32_t number = commit_segments(table, 1);
    if (number == SEGMENT_NONE) {
        return 0;
    }
    push_empty(table, number);
    return 1;
}

static void decommit_segment(struct segment_table *table, uint32_t number)
{
    reset_row(&table->rows[number]);
    cistern_region_decommit(table->region, (uint64_t)number << table->shift, table->segment_bytes);
    if (number < table->absent_hint) {
        table->absent_hint = number;
    }
}

void segment_release(struct segment_table *table, uint32_t number)
{
    table->release_count++;
    struct segment *row = &table->rows[number];
    assert(row->use == SEGMENT_OPEN || row->use == SEGMENT_SEALED || row->use == SEGMENT_RUN);
    assert(row->live_bytes == 0 && row->dirty_head == 0 && !segment_is_owed(row));
    uint32_t count = row->use == SEGMENT_RUN ? row->run_count : 1;
    table->fill_bytes -= row->fill - SEGMENT_HEAD_BYTES;
    table->used_count -= count;
    /* A sixteenth of what is in use stays at hand: committing and returning the same pages in
     * turn would cost page faults. */
    uint32_t empty_max = SEGMENT_RESERVE + 1 + table->used_count / 16;
    for (uint32_t i = 0; i < count; i++) {
        if (table->empty_count < empty_max) {
            push_empty(table, number + i);
        } else {
            decommit_segment(table, number + i);
        }
    }
}

uint64_t segment_trim_some(struct segment_table *table, uint32_t keep, uint32_t count)
{
    uint64_t bytes = 0;
    while (table->empty_count > keep && count-- > 0) {
        decommit_segment(table, pop_empty(table));
        bytes += table->segment_bytes;
    }
    return bytes;
}

uint64_t segment_trim(struct segment_table *table, uint32_t keep)
{
    return segment_trim_some(table, keep, UINT32_MAX);
}
