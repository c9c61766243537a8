/*
 * gate.c -- the safe points: where a call of the backend makes room before RocksDB allocates, and
 * waits when there is none.
 *
 * Invariant: a write enters RocksDB only when memtables and the ledger have room for it; reads
 *            never wait, they evict.
 * Threads:   gate_write, gate_read, gate_report*: owner. gate_job_*: RocksDB's threads.
 *            gate_make_room, gate_reclaim: any.
 * Full when: memtables stay at their allowance although they are being flushed -> TIMEOUT after
 *            write_wait_max_ms.
 */
#include "rocks_private.h"
#include "cistern/clock.h"
#include "cistern/error.h"
#include "cistern/size.h"

#include <stddef.h>

#define GATE_SLACK_BYTES (512ull << 10) /* what one operation may need besides its own bytes */
#define GATE_POLL_NS (100ll * 1000)
#define GATE_FLUSH_FIRST_NS                                                                        \
    (20ll * 1000000) /* a flush under way usually frees room earlier than this */
#define GATE_FLUSH_EVERY_NS (50ll * 1000000)
#define GATE_FLUSH_BYTES_MIN                                                                       \
    (256ull << 10) /* less in memtables than this: flushing would free nothing */
#define REPORT_STEP_BYTES (64ull << 10)
#define MEASURE_EVERY_NS (1000ll * 1000000)
#define JOB_BYTES_MIN (1ull << 20)

static void counter_add(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void gate_report_results(struct rocks *rocks)
{
    cistern_component_report(rocks->readers_component,
        rocks->table_reader_bytes + rocks->results.bytes + rocks->index_bytes);
}

void gate_report(struct rocks *rocks)
{
    uint64_t usage = shim_write_buffer_usage(rocks->memory);
    uint64_t reported = rocks->buffers_reported_bytes;
    if (usage > reported + REPORT_STEP_BYTES || usage + REPORT_STEP_BYTES < reported) {
        rocks->buffers_reported_bytes = usage;
        cistern_component_report(rocks->buffers_component, usage);
    }
    if (__atomic_load_n(&rocks->counters.measure_due, __ATOMIC_RELAXED) == 0) {
        return;
    }
    int64_t now_ns = cistern_now_ns();
    if (now_ns - rocks->measured_ns >= MEASURE_EVERY_NS) {
        rocks->measured_ns = now_ns;
        __atomic_store_n(&rocks->counters.measure_due, 0, __ATOMIC_RELAXED);
        rocks->table_reader_bytes = shim_table_reader_bytes(rocks->db);
        gate_report_results(rocks);
    }
}

void gate_value_seen(struct rocks *rocks, uint64_t bytes)
{
    if (bytes > cistern_elastic_value_bytes_max(rocks->elastic)) {
        cistern_elastic_value_seen(rocks->elastic, bytes);
    }
}

void gate_read(struct rocks *rocks, uint64_t bytes)
{
    uint64_t need = bytes + 2 * cistern_elastic_value_bytes_max(rocks->elastic);
    /* a read that finds no room goes on: its bytes become debt */
    (void)cistern_elastic_ensure(rocks->elastic, need);
}

static int memtables_have_room(struct rocks *rocks, uint64_t bytes)
{
    return shim_write_buffer_usage(rocks->memory) + bytes <=
           cistern_elastic_write_buffer_allowance(rocks->elastic);
}

static int ledger_has_room(struct rocks *rocks, uint64_t bytes)
{
    int64_t free_bytes = cistern_elastic_free_bytes(rocks->elastic);
    return free_bytes >= 0 && (uint64_t)free_bytes >= 2 * bytes;
}

static uint32_t gate_timeout(struct rocks *rocks, uint64_t bytes, struct cistern_error *error)
{
    char wanted[16];
    char used[16];
    char allowance[16];
    cistern_size_format(wanted, bytes);
    cistern_size_format(used, shim_write_buffer_usage(rocks->memory));
    cistern_size_format(allowance, cistern_elastic_write_buffer_allowance(rocks->elastic));
    uint32_t status = cistern_fail(error, CISTERN_TIMEOUT, rocks->base.options.operator_id,
        "a write of %s waited %lld ms: memtables hold %s of %s and %lld bytes are free; raise the "
        "slot's limit, or "
        "write_wait_max_ms if the disk is slow",
        wanted, (long long)(rocks->write_wait_max_ns / 1000000), used, allowance,
        (long long)cistern_elastic_free_bytes(rocks->elastic));
    if (error != NULL) {
        error->bytes_missing = bytes;
    }
    return status;
}

/* A batch that cannot fit even into empty memtables is let in alone, as soon as they are empty
 * but for a rest. */
static int gate_is_open(struct rocks *rocks, uint64_t bytes)
{
    if (memtables_have_room(rocks, bytes) ||
        shim_write_buffer_usage(rocks->memory) < GATE_FLUSH_BYTES_MIN) {
        return ledger_has_room(rocks, bytes) || cistern_elastic_ensure(rocks->elastic, 2 * bytes);
    }
    return 0;
}

static uint32_t gate_wait(struct rocks *rocks, uint64_t bytes, struct cistern_error *error)
{
    int64_t begin_ns = cistern_now_ns();
    int64_t flush_ns = begin_ns + GATE_FLUSH_FIRST_NS;
    uint32_t status = CISTERN_OK;
    while (status == CISTERN_OK && !gate_is_open(rocks, bytes)) {
        int64_t now_ns = cistern_now_ns();
        if (now_ns - begin_ns >= rocks->write_wait_max_ns) {
            status = gate_timeout(rocks, bytes, error);
        } else if (now_ns >= flush_ns) {
            flush_ns = now_ns + GATE_FLUSH_EVERY_NS;
            cistern_governor_kick(cistern_slot_pool(rocks->base.slot));
            if (shim_write_buffer_usage(rocks->memory) > GATE_FLUSH_BYTES_MIN) {
                status = shim_db_flush(rocks->db, error);
            }
        } else {
            cistern_sleep_ns(GATE_POLL_NS);
        }
        gate_report(rocks);
    }
    counter_add(&rocks->counters.gate_wait_count, 1);
    counter_add(&rocks->counters.gate_wait_ns, (uint64_t)(cistern_now_ns() - begin_ns));
    return status;
}

uint32_t gate_write(struct rocks *rocks, uint64_t bytes, struct cistern_error *error)
{
    gate_report(rocks);
    (void)cistern_elastic_ensure(rocks->elastic, 2 * bytes + GATE_SLACK_BYTES);
    if (gate_is_open(rocks, bytes)) {
        return CISTERN_OK;
    }
    return gate_wait(rocks, bytes, error);
}

void gate_job_begin(void *arg, uint32_t is_compaction)
{
    struct rocks *rocks = arg;
    uint64_t value_bytes = cistern_elastic_value_bytes_max(rocks->elastic);
    uint64_t bytes = JOB_BYTES_MIN + 2 * value_bytes;
    if (is_compaction) {
        uint64_t share = rocks->limit_bytes / 256; /* a sixteenth of a table file */
        bytes = (share > JOB_BYTES_MIN ? share : JOB_BYTES_MIN) + 4 * value_bytes;
    }
    cistern_elastic_ticket(rocks->elastic, bytes);
}

void gate_job_end(void *arg, uint32_t is_compaction)
{
    struct rocks *rocks = arg;
    cistern_elastic_ticket(rocks->elastic, 0);
    counter_add(
        is_compaction ? &rocks->counters.compaction_count : &rocks->counters.flush_count, 1);
    __atomic_store_n(&rocks->counters.measure_due, 1, __ATOMIC_RELAXED);
}

void gate_make_room(void *arg, uint64_t bytes)
{
    struct rocks *rocks = arg;
    if (rocks->elastic != NULL) {
        (void)cistern_elastic_ensure(rocks->elastic, bytes + GATE_SLACK_BYTES);
    }
}

/* INSTANT: clean blocks go, from any thread. */
uint64_t gate_reclaim(void *arg, uint64_t target_bytes, int64_t deadline_ns)
{
    struct rocks *rocks = arg;
    (void)deadline_ns; /* 0.25-0.45 ms per MiB: a whole cache of 256 MiB is a tenth of a second */
    /* another slot's thread may ask while this backend is being opened */
    struct cistern_elastic *elastic = __atomic_load_n(&rocks->elastic, __ATOMIC_ACQUIRE);
    if (elastic == NULL) {
        return 0;
    }
    uint64_t before = shim_cache_usage(rocks->memory);
    int64_t wanted = cistern_elastic_free_bytes(elastic) + (int64_t)target_bytes;
    (void)cistern_elastic_ensure(elastic, wanted > 0 ? (uint64_t)wanted : 0);
    uint64_t after = shim_cache_usage(rocks->memory);
    (void)cistern_block_pool_drain(rocks->blocks);
    return before > after ? before - after : 0;
}

static uint64_t elastic_cache_usage(void *arg)
{
    return shim_cache_usage(((struct rocks *)arg)->memory);
}

static void elastic_cache_set(void *arg, uint64_t bytes)
{
    shim_cache_set_capacity(((struct rocks *)arg)->memory, bytes);
}

static uint64_t elastic_buffer_usage(void *arg)
{
    return shim_write_buffer_usage(((struct rocks *)arg)->memory);
}

static void elastic_buffer_set(void *arg, uint64_t bytes)
{
    shim_write_buffer_set_allowance(((struct rocks *)arg)->memory, bytes);
}

static uint64_t elastic_drain(void *arg)
{
    return cistern_block_pool_drain(((struct rocks *)arg)->blocks);
}

/* No park callback: a cursor holds no iterator between calls. */
uint32_t gate_elastic_open(struct rocks *rocks, struct cistern_error *error)
{
    struct cistern_elastic_options options = {
        .name = "rocks",
        .arg = rocks,
        .cache_usage = elastic_cache_usage,
        .cache_set_capacity = elastic_cache_set,
        .write_buffer_usage = elastic_buffer_usage,
        .write_buffer_set_allowance = elastic_buffer_set,
        .drain = elastic_drain,
    };
    struct cistern_elastic *elastic;
    uint32_t status = cistern_elastic_open(rocks->base.slot, &options, &elastic, error);
    if (status == CISTERN_OK) {
        __atomic_store_n(&rocks->elastic, elastic, __ATOMIC_RELEASE);
    }
    return status;
}
