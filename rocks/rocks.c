/*
 * rocks.c -- opens and closes a RocksDB backend inside a slot; its table of operations; see
 * rocks.h.
 *
 * Order: cache and write buffer manager stand before the elastic that steers them, the elastic
 *        before the database whose jobs take tickets from it; close goes backwards.
 */
#include "cistern/rocks.h"
#include "cistern/alloc.h"
#include "cistern/error.h"
#include "directory_private.h"
#include "rocks_private.h"

#include <stdio.h>
#include <string.h>

#define WRITE_WAIT_DEFAULT_MS 10000
#define WRITE_WAIT_MAX_MS (24ll * 3600 * 1000)
#define COMPACTIONS_MAX 64u
#define VALUE_SHARE 40u /* the bound is proven for budgets of 40 values and more */
#define CACHE_BYTES_AT_OPEN (2ull << 20)
#define BATCH_RESERVE_BYTES (64ull << 10)
#define OPEN_TICKET_BYTES (4ull << 20)

uint32_t rocks_usable(const struct rocks *rocks, struct cistern_error *error)
{
    if (rocks->db != NULL) {
        return CISTERN_OK;
    }
    return cistern_fail(error, CISTERN_CLOSED, rocks->base.options.operator_id,
        "a restore into this backend failed; close it and open another");
}

uint32_t rocks_database_open(struct rocks *rocks, const char *directory, uint32_t read_only,
    struct shim_db **ret_db, struct cistern_error *error)
{
    struct shim_db_options options = {
        .directory = directory,
        .memory = rocks->memory,
        .limit_bytes = rocks->limit_bytes,
        .allowance_bytes_min = rocks->limit_bytes / 4,
        .allowance_bytes_max = rocks->limit_bytes / 4 * 3,
        .compactions_max = rocks->compactions_max,
        .read_only = read_only,
        .hooks = {.arg = rocks, .job_begin = gate_job_begin, .job_end = gate_job_end},
    };
    cistern_elastic_ticket(rocks->elastic, OPEN_TICKET_BYTES);
    uint32_t status = shim_db_open(&options, ret_db, error);
    rocks->watermark_told_ms = read_only ? rocks->watermark_told_ms : INT64_MIN;
    cistern_elastic_ticket(rocks->elastic, 0);
    return status;
}

uint32_t rocks_database_start(struct rocks *rocks, struct cistern_error *error)
{
    uint32_t status = rocks_database_open(rocks, rocks->directory, 0, &rocks->db, error);
    return status != CISTERN_OK ? status : table_meta_write(rocks, error);
}

static uint32_t rocks_close(struct cistern_backend *backend, struct cistern_error *error);

static uint32_t rocks_step(
    struct cistern_backend *backend, int64_t deadline_ns, struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(backend);
    (void)
        /* RocksDB works on its own threads: all there is to do is to say what it holds */
        deadline_ns;
    uint32_t status = rocks_usable(rocks, error);
    if (status == CISTERN_OK) {
        value_begin(rocks);
        gate_report(rocks);
    }
    return status;
}

static uint32_t rocks_explain(struct cistern_backend *backend, struct cistern_error *error)
{
    return rocks_usable(rocks_of(backend), error); /* no call of this backend ends with LIMIT */
}

static void rocks_notify(struct cistern_backend *backend, uint64_t checkpoint_id, uint32_t outcome)
{
    /* Nothing is kept between snapshots: every one lists all its files, and their origins say
     * which are stored. */
    (void)backend;
    (void)checkpoint_id;
    (void)outcome;
}

static const struct cistern_backend_ops operations = {
    .size = sizeof(struct cistern_backend_ops),
    .name = "rocks",
    .close = rocks_close,
    .step = rocks_step,
    .explain = rocks_explain,
    .state_create = table_state_create,
    .state_adopt = table_state_adopt,
    .state_destroy = table_state_destroy,
    .value_get_many = value_get_many,
    .value_put_many = value_put_many,
    .value_add_many = reduce_add_many,
    .value_remove_many = value_remove_many,
    .entries_open = cursor_open,
    .cursor_next = cursor_next,
    .cursor_close = cursor_close,
    .list_append = list_append,
    .list_replace = list_replace,
    .list_merge = list_merge,
    .list_open = cursor_open_address,
    .map_get_many = map_get_many,
    .map_put_many = map_put_many,
    .map_remove_many = map_remove_many,
    .map_count = map_count,
    .map_open = cursor_open_address,
    .timer_add_many = timer_add_many,
    .timer_remove_many = timer_remove_many,
    .timer_next = timer_next,
    .timer_pop_due = timer_pop_due,
    .clear_many = clear_many,
    .keys_open = cursor_open_keys,
    .state_measure = table_state_measure,
    .snapshot_begin = snapshot_begin,
    .snapshot_next = snapshot_next,
    .snapshot_read = snapshot_read,
    .snapshot_release = snapshot_release,
    .notify = rocks_notify,
    .restore = restore_run,
};

static uint32_t options_check(
    const struct cistern_rocks_options *options, uint64_t limit_bytes, struct cistern_error *error)
{
    if (options->directory == NULL || options->directory[0] == '\0') {
        return cistern_fail(error, CISTERN_INVALID, "directory",
            "a rocks backend needs a directory for its live database");
    }
    if (options->background_compactions_max > COMPACTIONS_MAX) {
        return cistern_fail(error, CISTERN_INVALID, "background_compactions_max",
            "background_compactions_max is %u, at most %u is possible",
            options->background_compactions_max, COMPACTIONS_MAX);
    }
    if (options->write_wait_max_ms < 0 || options->write_wait_max_ms > WRITE_WAIT_MAX_MS) {
        return cistern_fail(error, CISTERN_INVALID, "write_wait_max_ms",
            "write_wait_max_ms is %lld, possible are 0 to %lld",
            (long long)options->write_wait_max_ms, WRITE_WAIT_MAX_MS);
    }
    if (limit_bytes < ROCKS_SLOT_BYTES_MIN) {
        uint32_t status = cistern_fail(error, CISTERN_LIMIT, options->directory,
            "RocksDB needs a slot of at least %llu bytes, this one has %llu: raise --managed "
            "(budget_bytes, or the slot's limit_bytes) by %llu bytes a slot",
            (unsigned long long)ROCKS_SLOT_BYTES_MIN, (unsigned long long)limit_bytes,
            (unsigned long long)(ROCKS_SLOT_BYTES_MIN - limit_bytes));
        if (error != NULL) {
            error->bytes_missing = ROCKS_SLOT_BYTES_MIN - limit_bytes;
        }
        return status;
    }
    return CISTERN_OK;
}

static uint32_t components_open(struct rocks *rocks, struct cistern_error *error)
{
    struct cistern_component_options blocks = {
        .name = "rocks blocks",
        .reclaim_class = CISTERN_RECLAIM_INSTANT,
        .reclaim_from_any_thread = 1,
        .reclaim = gate_reclaim,
        .arg = rocks,
    };
    struct cistern_component_options buffers = {
        .name = "rocks write buffers", .reclaim_class = CISTERN_RECLAIM_NEVER};
    struct cistern_component_options readers = {
        .name = "rocks table readers", .reclaim_class = CISTERN_RECLAIM_NEVER};
    struct cistern_slot *slot = rocks->base.slot;
    uint32_t status = cistern_component_open(slot, &blocks, &rocks->blocks_component, error);
    if (status == CISTERN_OK) {
        status = cistern_component_open(slot, &buffers, &rocks->buffers_component, error);
    }
    if (status == CISTERN_OK) {
        status = cistern_component_open(slot, &readers, &rocks->readers_component, error);
    }
    return status;
}

static uint32_t memory_open(struct rocks *rocks, struct cistern_error *error)
{
    struct cistern_block_pool_options pool = {.ensure = gate_make_room, .arg = rocks};
    uint32_t status =
        cistern_block_pool_create(rocks->blocks_component, &pool, &rocks->blocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct shim_memory_options memory = {
        .blocks = rocks->blocks,
        .limit_bytes = rocks->limit_bytes,
        .cache_bytes = CACHE_BYTES_AT_OPEN, /* the elastic raises it to what is free */
        .allowance_bytes = rocks->limit_bytes / 4,
    };
    status = shim_memory_create(&memory, &rocks->memory, error);
    if (status == CISTERN_OK) {
        status = gate_elastic_open(rocks, error);
    }
    if (status == CISTERN_OK) {
        shim_write_buffer_set_allowance(
            rocks->memory, cistern_elastic_write_buffer_allowance(rocks->elastic));
    }
    return status;
}

static uint32_t workspace_open(
    struct rocks *rocks, const struct cistern_rocks_options *options, struct cistern_error *error)
{
    rocks->directory = cistern_duplicate_string(options->directory);
    if (rocks->directory == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, options->directory, "no memory for a rocks backend");
    }
    uint32_t status = scratch_init(&rocks->scratch, error);
    if (status == CISTERN_OK) {
        status = shim_reader_create(ROCKS_CHUNK_COUNT_MAX, &rocks->reader, error);
    }
    if (status == CISTERN_OK) {
        status = shim_reader_create(ROCKS_CHUNK_COUNT_MAX, &rocks->inner_reader, error);
    }
    if (status == CISTERN_OK) {
        status = shim_batch_create(BATCH_RESERVE_BYTES, &rocks->batch, error);
    }
    return status;
}

/* Tolerates a half-built backend. owns_directory: we created what is in it. */
static uint32_t rocks_destroy(struct rocks *rocks, int owns_directory, struct cistern_error *error)
{
    if (rocks->reader != NULL) {
        shim_reader_reset(rocks->reader);
    }
    uint32_t status = shim_db_close(rocks->db, error);
    cistern_component_quiesce(rocks->blocks_component); /* another slot may want our cache's room */
    cistern_elastic_close(rocks->elastic);
    rocks->elastic = NULL;
    shim_reader_destroy(rocks->reader);
    shim_reader_destroy(rocks->inner_reader);
    shim_batch_destroy(rocks->batch);
    shim_memory_destroy(rocks->memory);
    rocks->memory = NULL;
    cistern_block_pool_destroy(rocks->blocks);
    cistern_component_close(rocks->blocks_component);
    cistern_component_close(rocks->buffers_component);
    cistern_component_close(rocks->readers_component);
    cistern_pool_trim(cistern_slot_pool(rocks->base.slot)); /* memtables were malloc's */
    if (owns_directory && !rocks->keep_directory) {
        uint32_t cleared =
            directory_clear(rocks->directory, 1, status == CISTERN_OK ? error : NULL);
        status = status != CISTERN_OK ? status : cleared;
    }
    results_clear(&rocks->results);
    cistern_release(rocks->results.newest);
    scratch_deinit(&rocks->scratch);
    tails_close(rocks);
    cistern_release(rocks->directory);
    cistern_backend_deinit(&rocks->base);
    cistern_release(rocks);
    return status;
}

static uint32_t rocks_close(struct cistern_backend *backend, struct cistern_error *error)
{
    return rocks_destroy(rocks_of(backend), 1, error);
}

static uint32_t rocks_fill(struct rocks *rocks, const struct cistern_rocks_options *options,
    int *ret_owns_directory, struct cistern_error *error)
{
    uint32_t status = workspace_open(rocks, options, error);
    if (status == CISTERN_OK) {
        status = components_open(rocks, error);
    }
    if (status == CISTERN_OK) {
        status = memory_open(rocks, error);
    }
    if (status == CISTERN_OK) {
        status = directory_create(rocks->directory, error);
    }
    if (status == CISTERN_OK) {
        *ret_owns_directory = 1;
        status = rocks_database_start(rocks, error);
    }
    return status;
}

uint32_t cistern_rocks_open_sized(struct cistern_slot *slot,
    const struct cistern_rocks_options *options, uint64_t options_bytes,
    struct cistern_backend **ret_backend, struct cistern_error *error)
{
    struct cistern_rocks_options known;
    uint32_t status =
        cistern_options_read(&known, sizeof known, options, options_bytes, "rocks options", error);
    uint64_t limit_bytes = cistern_slot_share_bytes(slot);
    if (status == CISTERN_OK) {
        status = options_check(&known, limit_bytes, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    struct rocks *rocks = cistern_allocate_zeroed(1, sizeof *rocks);
    if (rocks == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, known.directory, "no memory for a rocks backend");
    }
    status = cistern_backend_init(
        &rocks->base, &operations, slot, &known.backend, limit_bytes / VALUE_SHARE, error);
    if (status != CISTERN_OK) {
        cistern_release(rocks);
        return status;
    }
    rocks->limit_bytes = limit_bytes;
    rocks->watermark_told_ms = INT64_MIN;
    rocks->watermark_written_ms = INT64_MIN;
    rocks->compactions_max =
        known.background_compactions_max != 0 ? known.background_compactions_max : 1;
    rocks->keep_directory = known.keep_directory;
    int64_t wait_ms =
        known.write_wait_max_ms != 0 ? known.write_wait_max_ms : WRITE_WAIT_DEFAULT_MS;
    rocks->write_wait_max_ns = wait_ms * 1000000;
    int owns_directory = 0;
    status = rocks_fill(rocks, &known, &owns_directory, error);
    if (status != CISTERN_OK) {
        (void)!rocks_destroy(rocks, owns_directory, NULL);
        return status;
    }
    *ret_backend = &rocks->base;
    return CISTERN_OK;
}

static uint64_t counter_read(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void cistern_rocks_statistics(
    struct cistern_backend *backend, struct cistern_rocks_statistics *ret_statistics)
{
    struct rocks *rocks = rocks_of(backend);
    struct cistern_rocks_statistics statistics = {0};
    statistics.block_cache_bytes = shim_cache_usage(rocks->memory);
    statistics.block_cache_capacity_bytes = shim_cache_capacity(rocks->memory);
    statistics.write_buffer_bytes = shim_write_buffer_usage(rocks->memory);
    statistics.write_buffer_allowance_bytes =
        cistern_elastic_write_buffer_allowance(rocks->elastic);
    if (rocks->db != NULL) {
        struct shim_numbers numbers;
        shim_db_measure(rocks->db, &numbers);
        statistics.table_reader_bytes = numbers.table_reader_bytes;
        statistics.file_count = numbers.file_count;
        statistics.file_bytes = numbers.file_bytes;
    }
    statistics.gate_wait_count = counter_read(&rocks->counters.gate_wait_count);
    statistics.gate_wait_ns = counter_read(&rocks->counters.gate_wait_ns);
    statistics.flush_count = counter_read(&rocks->counters.flush_count);
    statistics.compaction_count = counter_read(&rocks->counters.compaction_count);
    statistics.barrier_stall_count = counter_read(&rocks->counters.barrier_stall_count);
    *ret_statistics = statistics;
}

const char *cistern_rocks_build(void)
{
    return shim_build();
}
