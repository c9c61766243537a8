/* parts_test.c -- the parts under the heap, each alone: entry layout, segments, dirty lists,
 * chain records, the index. */
#include "support.h"
#include "cistern/alloc.h"

#include <string.h>

/* ---- entry ---- */

static void check_round_trip(const struct entry_content *content, const struct entry_layout *layout)
{
    _Alignas(8) uint8_t room[512];
    memset(room, 0xAA, sizeof room);
    uint64_t bytes = entry_bytes(content, layout);
    struct entry *entry = (struct entry *)room;
    entry_write(entry, content, layout, bytes);
    assert_int_equal(room[bytes], 0xAA); /* not one byte further */
    struct entry_view view;
    entry_parse(entry, entry->flags, layout, &view);
    assert_int_equal(view.bytes, bytes);
    assert_true(span_equal(view.key, content->key));
    assert_true(span_equal(view.name_space, content->name_space));
    assert_int_equal(view.name_space.data != NULL, content->name_space.data != NULL);
    assert_int_equal(view.key_group, content->key_group);
    if (!(content->flags & ENTRY_TOMBSTONE)) {
        assert_true(span_equal(view.value, content->value));
    } else {
        assert_null(view.value.data);
    }
    if (content->flags & ENTRY_TTL) {
        assert_int_equal(view.written_ms, content->written_ms);
    }
}

static void entry_layouts_round_trip(void **context)
{
    (void)context;
    uint8_t bytes[300];
    for (uint32_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    for (uint32_t form = 0; form < 128; form++) {
        struct entry_layout layout = {.key_bytes = form & 1 ? 16 : 0,
            .namespace_bytes = form & 2 ? 8 : 0,
            .value_bytes = form & 4 ? 8 : 0};
        struct entry_content content = {
            .key = {bytes, form & 1 ? 16 : (form & 64 ? 130 : 3)},
            .value = {bytes + 5, form & 4 ? 8 : (form & 64 ? 0 : 129)},
            .written_ms = -77,
            .hash = 0x12345678,
            .key_group = 32767,
            .state_id = 250,
            .flags = (uint8_t)((form & 16 ? ENTRY_TTL : 0) | (form & 32 ? ENTRY_TOMBSTONE : 0)),
        };
        if (form & 8) {
            content.name_space =
                (struct cistern_span){bytes + 1, form & 2 ? 8 : (form & 64 ? 0 : 20)};
        }
        check_round_trip(&content, &layout);
    }
}

static void fixed_entries_have_the_documented_size(void **context)
{
    (void)context;
    uint8_t bytes[32] = {0};
    struct entry_layout layout = {.key_bytes = 16, .value_bytes = 32};
    struct entry_content content = {.key = {bytes, 16}, .value = {bytes, 32}};
    assert_int_equal(entry_bytes(&content, &layout), 64); /* 8 header + 2 group + 48, aligned */
}

/* ---- segments ---- */

struct parts {
    struct rig rig; /* only its pool and slot are used */
    struct cistern_component *component;
};

static void parts_open(struct parts *parts, uint64_t limit)
{
    memset(parts, 0, sizeof *parts);
    struct cistern_pool_options options = {
        .budget_bytes = limit + (64u << 20),
        .process_reserve_bytes = 32u << 20,
        .allocator = CISTERN_ALLOCATOR_OWN,
    };
    struct rig *rig = &parts->rig;
    assert_ok(cistern_pool_create(&options, &rig->pool, &rig->error), rig->error);
    struct cistern_slot_options slot = {.limit_bytes = limit, .debt_max_bytes = 4096};
    assert_ok(cistern_slot_open(rig->pool, &slot, &rig->slot, &rig->error), rig->error);
    struct cistern_component_options component = {
        .name = "test", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(
        cistern_component_open(rig->slot, &component, &parts->component, &rig->error), rig->error);
}

static void parts_close(struct parts *parts)
{
    assert_int_equal(cistern_slot_used_bytes(parts->rig.slot), 0);
    cistern_component_close(parts->component);
    assert_ok(cistern_slot_close(parts->rig.slot, &parts->rig.error), parts->rig.error);
    assert_ok(cistern_pool_destroy(parts->rig.pool, &parts->rig.error), parts->rig.error);
}

static void segments_are_charged_while_they_hold_memory(void **context)
{
    (void)context;
    struct parts parts;
    parts_open(&parts, 8u << 20);
    struct segment_table table;
    assert_ok(segment_table_init(&table, parts.component, parts.component, 64u << 10, 4u << 20, 0,
                  &parts.rig.error),
        parts.rig.error);
    uint64_t before = cistern_slot_used_bytes(parts.rig.slot);
    uint32_t first = segment_take(&table, 0, 1);
    assert_int_equal(first, 0);
    uint64_t rows = 4096;
    assert_int_equal(cistern_slot_used_bytes(parts.rig.slot), before + (64u << 10) + rows);
    uint32_t run = segment_take_run(&table, 3, 1);
    assert_int_equal(run, 1);
    assert_int_equal(table.rows[run].run_count, 3);
    assert_int_equal(table.used_count, 4);
    assert_int_equal(segment_take_run(&table, 64, 1), SEGMENT_NONE); /* more than the range has */
    segment_release(&table, run);
    assert_int_equal(table.used_count, 1);
    uint64_t trimmed = segment_trim(&table, 0);
    assert_int_equal(trimmed, 3 * (64u << 10));
    assert_int_equal(segment_take(&table, 0, 9), 1); /* lowest number first */
    assert_int_equal(table.rows[1].base_epoch, 9);
    assert_int_equal(table.rows[1].run_count, 0);
    segment_table_deinit(&table);
    parts_close(&parts);
}

static void segments_run_out_at_the_limit(void **context)
{
    (void)context;
    struct parts parts;
    parts_open(&parts, 1u << 20);
    struct segment_table table;
    assert_ok(segment_table_init(&table, parts.component, parts.component, 64u << 10, 64u << 20, 0,
                  &parts.rig.error),
        parts.rig.error);
    uint32_t taken = 0;
    while (segment_take(&table, 0, 1) != SEGMENT_NONE) {
        taken++;
        assert_true(taken <= 16);
    }
    assert_true(taken >= 12);
    assert_true(cistern_slot_used_bytes(parts.rig.slot) <= 1u << 20);
    segment_release(&table, 5);
    assert_int_equal(segment_take(&table, 1, 1), SEGMENT_NONE); /* the one empty segment is kept */
    assert_int_equal(segment_take(&table, 0, 1), 5);
    segment_table_deinit(&table);
    parts_close(&parts);
}

/* ---- dirty lists ---- */

static uint32_t dirty_length(const struct dirty_pool *pool, const struct segment *segment)
{
    uint32_t count = 0;
    for (uint32_t at = segment->dirty_head; at != 0; at = pool->blocks[at - 1].link) {
        count += pool->blocks[at - 1].count;
    }
    return count;
}

static void dirty_lists_are_cut_by_epoch(void **context)
{
    (void)context;
    struct parts parts;
    parts_open(&parts, 8u << 20);
    struct dirty_pool pool;
    struct segment segment = {.scan_epoch = 2};
    assert_ok(dirty_pool_init(&pool, parts.component, 1u << 20, &parts.rig.error), parts.rig.error);
    dirty_push(&pool, &segment, 64, 2, 100);
    /* the whole segment is scanned for this epoch anyway */
    assert_int_equal(segment.dirty_head, 0);
    for (uint64_t epoch = 3; epoch <= 5; epoch++) {
        for (uint64_t i = 0; i < 20; i++) {
            dirty_push(&pool, &segment, 8 * i, epoch, 100);
        }
    }
    assert_int_equal(dirty_length(&pool, &segment), 60);
    dirty_prune(&pool, &segment, 4);
    assert_int_equal(dirty_length(&pool, &segment), 20);
    assert_int_equal(segment.dirty_count, 20);
    assert_int_equal(pool.blocks[segment.dirty_head - 1].epoch, 5);
    dirty_prune(&pool, &segment, 5);
    assert_int_equal(segment.dirty_head, 0);
    assert_int_equal(pool.used_count, 0);
    dirty_pool_trim(&pool);
    assert_int_equal(cistern_slot_used_bytes(parts.rig.slot), 0);
    dirty_pool_deinit(&pool);
    parts_close(&parts);
}

static void long_dirty_lists_become_scans(void **context)
{
    (void)context;
    struct parts parts;
    parts_open(&parts, 8u << 20);
    struct dirty_pool pool;
    struct segment segment = {.scan_epoch = 1};
    assert_ok(dirty_pool_init(&pool, parts.component, 1u << 20, &parts.rig.error), parts.rig.error);
    for (uint64_t i = 0; i < 200; i++) {
        dirty_push(&pool, &segment, 8 * i, 7, 50);
    }
    assert_int_equal(segment.scan_epoch, 7);
    assert_int_equal(segment.dirty_head, 0);
    segment.owed = SEGMENT_OWED_TODO; /* a reader may hold the list: it stays until the prune */
    for (uint64_t i = 0; i < 200; i++) {
        dirty_push(&pool, &segment, 8 * i, 8, 50);
    }
    assert_int_equal(segment.scan_epoch, 8);
    assert_true(dirty_length(&pool, &segment) >= 48);
    segment.owed = SEGMENT_OWED_NONE;
    dirty_free(&pool, &segment);
    assert_int_equal(pool.used_count, 0);
    dirty_pool_deinit(&pool);
    parts_close(&parts);
}

/* ---- chain ---- */

static void chain_knows_what_may_be_a_base(void **context)
{
    (void)context;
    struct chain chain;
    chain_init(&chain);
    assert_null(chain_base(&chain, 0));
    assert_non_null(chain_add(&chain, 1, 10, CISTERN_ROLE_HEAP_BASE, NULL));
    assert_null(chain_base(&chain, 1)); /* its stream was not read to the end */
    chain_complete(&chain, 1, 1000);
    struct chain_record *one = chain_base(&chain, 1);
    assert_non_null(one);
    struct chain_record *two = chain_add(&chain, 2, 11, CISTERN_ROLE_HEAP_INCREMENT, one);
    assert_int_equal(two->part_count, 2);
    assert_int_equal(two->parts[0].bytes, 1000);
    assert_memory_not_equal(two->parts[0].origin, two->parts[1].origin, CISTERN_ORIGIN_BYTES);
    chain_complete(&chain, 2, 10);
    assert_int_equal(chain_increment_bytes(two), 10);
    assert_true(chain_notify(&chain, 2, CISTERN_CONFIRMED));
    assert_false(chain_notify(&chain, 2, CISTERN_CONFIRMED)); /* repeats are harmless */
    assert_null(chain_base(&chain, 1));                       /* overtaken */
    assert_false(chain_notify(&chain, 1, CISTERN_CONFIRMED)); /* too late */
    assert_false(chain_notify(&chain, 99, CISTERN_DISCARDED));
    assert_non_null(chain_base(&chain, 2));
    assert_false(chain_notify(&chain, 2, CISTERN_SUBSUMED));
    assert_null(chain_base(&chain, 2));
    for (uint64_t i = 0; i < CHAIN_RECORDS_MAX * 2; i++) {
        assert_non_null(chain_add(&chain, 100 + i, 100 + i, CISTERN_ROLE_HEAP_BASE, NULL));
    }
    assert_int_equal(chain.record_count, CHAIN_RECORDS_MAX);
    chain_deinit(&chain);
    assert_int_equal(cistern_allocation_count(), 0);
}

/* ---- index ---- */

struct fake_log { /* entries of 8 bytes: the index needs nothing but their hash */
    struct entry *entries;
    uint64_t *hashes;
    uint8_t *present;
    uint32_t count;
};

static int is_handle(const struct entry *entry, const void *arg)
{
    return entry == arg;
}

static int fake_find(
    const struct index *index, const struct fake_log *log, uint32_t i, struct index_slot *slot)
{
    return index_find(index, log->hashes[i], is_handle, &log->entries[i], slot);
}

static void fake_insert(struct index *index, struct fake_log *log, uint32_t i)
{
    struct index_slot place;
    assert_status(index_reserve(index, log->hashes[i], &place), CISTERN_OK);
    index_insert(index, place, log->hashes[i], i);
    index_grow(index);
    log->present[i] = 1;
}

static void fake_remove(struct index *index, struct fake_log *log, uint32_t i)
{
    struct index_slot slot;
    assert_true(fake_find(index, log, i, &slot));
    struct index_slot located = index_locate(index, (uint32_t)log->hashes[i], i);
    assert_ptr_equal(located.bucket, slot.bucket);
    index_remove(index, log->hashes[i], slot);
    index_shrink(index, 2);
    log->present[i] = 0;
}

static void fake_check(const struct index *index, const struct fake_log *log)
{
    uint64_t present = 0;
    for (uint32_t i = 1; i < log->count; i++) {
        struct index_slot slot;
        assert_int_equal(fake_find(index, log, i, &slot), log->present[i]);
        present += log->present[i];
    }
    assert_int_equal(index->entry_count, present);
}

static void index_follows_a_model(void **context)
{
    (void)context;
    uint64_t random = test_seed("heapstate_parts", 7);
    struct parts parts;
    parts_open(&parts, 32u << 20);
    struct fake_log log = {.count = 60000};
    log.entries = calloc(log.count, sizeof *log.entries);
    log.hashes = calloc(log.count, sizeof *log.hashes);
    log.present = calloc(log.count, 1);
    for (uint32_t i = 0; i < log.count; i++) {
        log.hashes[i] = test_random(&random);
        if (i % 50 == 0) {
            log.hashes[i] = log.hashes[0]; /* one long chain that no split can break */
        }
        log.entries[i].hash_or_died = (uint32_t)log.hashes[i];
    }
    struct index index;
    assert_ok(index_init(&index, parts.component, (const uint8_t *)log.entries, 64u << 10,
                  16u << 20, 0, &parts.rig.error),
        parts.rig.error);
    for (uint32_t i = 1; i < log.count; i++) {
        fake_insert(&index, &log, i);
    }
    assert_true(index.bucket_count > 8000);
    fake_check(&index, &log);
    uint64_t bytes_full = index_bytes(&index);
    for (uint32_t round = 0; round < 100000; round++) {
        uint32_t i = 1 + (uint32_t)(test_random(&random) % (log.count - 1));
        if (log.present[i]) {
            fake_remove(&index, &log, i);
        } else if (test_random(&random) % 4 == 0) {
            fake_insert(&index, &log, i);
        }
    }
    fake_check(&index, &log);
    for (uint32_t i = 1; i < log.count; i++) {
        if (log.present[i]) {
            fake_remove(&index, &log, i);
        }
    }
    while (index_shrink(&index, 64)) {
    }
    fake_check(&index, &log);
    assert_int_equal(index.bucket_count, index.bucket_min);
    assert_int_equal(index.overflow_used, 0);
    assert_true(index_bytes(&index) * 4 < bytes_full);
    index_deinit(&index);
    free(log.entries);
    free(log.hashes);
    free(log.present);
    parts_close(&parts);
}

static void tags_are_matched_in_every_slot(void **context)
{
    (void)context;
    for (uint32_t at = 0; at < BUCKET_SLOTS; at++) {
        struct bucket bucket = {0};
        bucket.tags[at] = 0x8001;
        assert_int_equal(bucket_match(&bucket, 0x8001), 1u << at);
        assert_int_equal(bucket_match(&bucket, 1), 0);
        assert_int_equal(bucket_match(&bucket, 0), 0x3ffu & ~(1u << at));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_layouts_round_trip),
        cmocka_unit_test(fixed_entries_have_the_documented_size),
        cmocka_unit_test(segments_are_charged_while_they_hold_memory),
        cmocka_unit_test(segments_run_out_at_the_limit),
        cmocka_unit_test(dirty_lists_are_cut_by_epoch),
        cmocka_unit_test(long_dirty_lists_become_scans),
        cmocka_unit_test(chain_knows_what_may_be_a_base),
        cmocka_unit_test(index_follows_a_model),
        cmocka_unit_test(tags_are_matched_in_every_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
