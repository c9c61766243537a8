/*
 * snapshot_test.c -- checkpoints one by one: what an increment holds, what may be its base,
 * rescaling, aborts, a snapshot given up for memory, a reader on another thread.
 */
#include "support.h"
#include "cistern/alloc.h"
#include "cistern/clock.h"

#include <pthread.h>
#include <string.h>

static const struct cistern_key_group_range all_groups = {0, TEST_MAX_PARALLELISM - 1};

static void fill(struct rig *rig, struct model *model, uint32_t count, uint32_t bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_status(model_put(model, rig, i, bytes, 1), CISTERN_OK);
    }
}

static void open_twin(struct rig *rig, uint64_t limit, struct cistern_key_group_range range,
    const struct vault *vault, const struct stored *slices, uint32_t slice_count)
{
    rig_open(rig, limit, range);
    assert_ok(vault_restore(vault, slices, slice_count, "heap", rig), rig->error);
    struct cistern_state_descriptor descriptor = {.name = "s", .kind = CISTERN_VALUE};
    rig_register(rig, &descriptor);
}

static void check_restored(
    const struct vault *vault, const struct stored *stored, const struct model *model)
{
    struct rig rig;
    open_twin(&rig, 16u << 20, all_groups, vault, stored, 1);
    model_check(model, &rig, all_groups);
    rig_close(&rig);
}

static void an_empty_heap_makes_a_file(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 10);
    struct stored stored;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_FULL, &stored);
    assert_int_equal(stored.part_count, 1);
    assert_true(stored.new_bytes > 0);
    check_restored(&vault, &stored, &model);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

static void increments_hold_what_changed(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 40000);
    fill(&rig, &model, 40000, 32);
    struct stored base;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_INCREMENT, &base); /* no base: a full one */
    assert_int_equal(base.new_role, CISTERN_ROLE_HEAP_BASE);
    cistern_backend_notify(rig.backend, 1, CISTERN_CONFIRMED);
    struct stored next;
    vault_snapshot(&vault, &rig, 2, 1, CISTERN_SNAPSHOT_INCREMENT, &next);
    assert_int_equal(next.new_role, CISTERN_ROLE_HEAP_INCREMENT);
    assert_int_equal(next.part_count, 2);
    uint64_t nothing = next.new_bytes;
    assert_true(nothing < 2000);
    cistern_backend_notify(rig.backend, 2, CISTERN_CONFIRMED);
    for (uint32_t i = 0; i < 400; i++) { /* 1 %, in place */
        assert_status(model_put(&model, &rig, i * 100, 32, 2), CISTERN_OK);
    }
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(rig.backend, &statistics);
    assert_int_equal(statistics.in_place_count, 400);
    vault_snapshot(&vault, &rig, 3, 2, CISTERN_SNAPSHOT_INCREMENT, &next);
    assert_int_equal(next.part_count, 3);
    assert_true(next.new_bytes - nothing <= (base.new_bytes / 100) * 13 / 10);
    check_restored(&vault, &next, &model);
    cistern_backend_notify(rig.backend, 3, CISTERN_CONFIRMED);
    for (uint32_t i = 0; i < 40; i++) {
        assert_status(model_remove(&model, &rig, i * 1000 + 1), CISTERN_OK);
    }
    vault_snapshot(&vault, &rig, 4, 3, CISTERN_SNAPSHOT_INCREMENT, &next);
    /* each may be alone in a block, which costs 88 bytes */
    assert_true(next.new_bytes - nothing < 40 * (32 + 88));
    check_restored(&vault, &next, &model);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

/* Each round changes 1 % and cleans a third of all segments: the increment must carry the
 * change, not the cleaning. */
static void cleaning_does_not_inflate_increments(void **context)
{
    (void)context;
    uint64_t random = test_seed("heapstate_snapshot", 21);
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 8u << 20);
    model_init(&model, 60000);
    fill(&rig, &model, 60000, 32);
    struct stored base;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_FULL, &base);
    cistern_backend_notify(rig.backend, 1, CISTERN_CONFIRMED);
    uint64_t total = 0;
    uint32_t increments = 0;
    for (uint64_t id = 2; id <= 40; id++) {
        for (uint32_t i = 0; i < 600; i++) {
            uint32_t number = (uint32_t)(test_random(&random) % model.count);
            uint32_t bytes =
                test_random(&random) % 2 ? 32 : 24 + (uint32_t)(test_random(&random) % 16);
            assert_status(model_put(&model, &rig, number, bytes, (uint32_t)id), CISTERN_OK);
        }
        for (uint32_t i = 0; i < 60; i++) {
            assert_status(
                model_remove(&model, &rig, (uint32_t)(test_random(&random) % model.count)),
                CISTERN_OK);
        }
        cleaner_run(rig_heap(&rig), (8u << 20) / 3, 64);
        struct stored stored;
        vault_snapshot(&vault, &rig, id, id - 1, CISTERN_SNAPSHOT_INCREMENT, &stored);
        cistern_backend_notify(rig.backend, id, CISTERN_CONFIRMED);
        cistern_backend_notify(rig.backend, id - 1, CISTERN_SUBSUMED);
        if (stored.new_role == CISTERN_ROLE_HEAP_INCREMENT) {
            assert_true(stored.new_bytes <= base.new_bytes / 1000 * 13 + 60 * 32 + 1000);
            total += stored.new_bytes;
            increments++;
        }
        if (id % 10 == 0) {
            check_restored(&vault, &stored, &model);
        }
    }
    assert_true(increments >= 35); /* 39 less the new base every 17 files */
    assert_true(total / increments <= base.new_bytes / 1000 * 26);
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(rig.backend, &statistics);
    assert_true(statistics.cleaned_bytes > base.new_bytes);
    assert_true(statistics.dirty_list_bytes < 1u << 20);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

static void an_aborted_checkpoint_takes_nothing_along(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 2000);
    fill(&rig, &model, 1000, 20);
    struct stored one;
    struct stored two;
    struct stored three;
    struct stored four;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_INCREMENT, &one);
    cistern_backend_notify(rig.backend, 1, CISTERN_CONFIRMED);
    assert_status(model_put(&model, &rig, 3, 20, 2), CISTERN_OK); /* A */
    assert_status(model_remove(&model, &rig, 4), CISTERN_OK);     /* D */
    /* every byte uploaded, then lost */
    vault_snapshot(&vault, &rig, 2, 1, CISTERN_SNAPSHOT_INCREMENT, &two);
    vault_snapshot(&vault, &rig, 3, 1, CISTERN_SNAPSHOT_INCREMENT, &three);
    struct model at_three;
    model_init(&at_three, model.count);
    model_copy(&at_three, &model);
    cistern_backend_notify(rig.backend, 3, CISTERN_CONFIRMED);
    assert_status(model_put(&model, &rig, 5, 20, 2), CISTERN_OK); /* B */
    cistern_backend_notify(rig.backend, 2, CISTERN_DISCARDED);    /* late, twice, out of order */
    cistern_backend_notify(rig.backend, 1, CISTERN_SUBSUMED);
    cistern_backend_notify(rig.backend, 2, CISTERN_DISCARDED);
    cistern_backend_notify(rig.backend, 1, CISTERN_CONFIRMED);
    cistern_backend_notify(rig.backend, 77, CISTERN_SUBSUMED);
    vault_snapshot(&vault, &rig, 4, 3, CISTERN_SNAPSHOT_INCREMENT, &four);
    assert_int_equal(four.new_role, CISTERN_ROLE_HEAP_INCREMENT);
    assert_int_equal(four.part_count, 3); /* 1, 3 and its own: nothing of 2 */
    for (uint32_t i = 0; i < four.part_count; i++) {
        assert_int_not_equal(four.parts[i], two.parts[two.part_count - 1]);
    }
    check_restored(&vault, &three, &at_three);
    check_restored(&vault, &four, &model);
    vault_deinit(&vault);
    model_deinit(&at_three);
    model_deinit(&model);
    rig_close(&rig);
}

static void only_confirmed_completed_checkpoints_are_bases(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 1000);
    fill(&rig, &model, 1000, 20);
    struct stored stored;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_FULL, &stored);
    cistern_backend_notify(rig.backend, 1, CISTERN_CONFIRMED);
    struct cistern_snapshot *snapshot = snapshot_begin(&rig, 2, 1, CISTERN_SNAPSHOT_INCREMENT);
    struct cistern_snapshot_request request = {.checkpoint_id = 3};
    struct cistern_snapshot *second = NULL;
    assert_status(cistern_snapshot_begin(rig.backend, &request, &second, &rig.error), CISTERN_BUSY);
    assert_status(cistern_backend_close(rig.backend, &rig.error), CISTERN_BUSY);
    cistern_snapshot_release(snapshot); /* aborted before its first byte */
    vault_snapshot(&vault, &rig, 4, 2, CISTERN_SNAPSHOT_INCREMENT, &stored);
    assert_int_equal(stored.new_role, CISTERN_ROLE_HEAP_BASE); /* 2 was never read to its end */
    vault_snapshot(&vault, &rig, 99, 55, CISTERN_SNAPSHOT_INCREMENT, &stored);
    assert_int_equal(stored.new_role, CISTERN_ROLE_HEAP_BASE); /* unknown */
    vault_snapshot(&vault, &rig, 100, 1, CISTERN_SNAPSHOT_CANONICAL, &stored);
    assert_int_equal(stored.new_role, CISTERN_ROLE_CANONICAL);
    assert_int_equal(stored.part_count, 1);
    check_restored(&vault, &stored, &model);
    vault_snapshot(&vault, &rig, 101, 1, CISTERN_SNAPSHOT_INCREMENT, &stored);
    /* the savepoint changed nothing */
    assert_int_equal(stored.new_role, CISTERN_ROLE_HEAP_INCREMENT);
    assert_int_equal(stored.part_count, 2);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

static void long_chains_get_a_new_base(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 5000);
    fill(&rig, &model, 5000, 20);
    struct stored stored;
    uint32_t longest = 0;
    for (uint64_t id = 1; id <= 200; id++) { /* small changes: bounded by files */
        assert_status(model_put(&model, &rig, (uint32_t)id, 20, (uint32_t)id), CISTERN_OK);
        vault_snapshot(&vault, &rig, id, id - 1, CISTERN_SNAPSHOT_INCREMENT, &stored);
        cistern_backend_notify(rig.backend, id, CISTERN_CONFIRMED);
        longest = stored.part_count > longest ? stored.part_count : longest;
    }
    assert_true(longest > 60 && longest <= CHAIN_PARTS_MAX);
    longest = 0;
    for (uint64_t id = 201; id <= 220; id++) { /* everything changes: bounded by bytes */
        fill(&rig, &model, 5000, 20);
        vault_snapshot(&vault, &rig, id, id - 1, CISTERN_SNAPSHOT_INCREMENT, &stored);
        cistern_backend_notify(rig.backend, id, CISTERN_CONFIRMED);
        longest = id > 205 && stored.part_count > longest ? stored.part_count : longest;
    }
    assert_true(longest <= 4);
    check_restored(&vault, &stored, &model);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

static void rescaling_takes_each_group_once(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 20000);
    fill(&rig, &model, 20000, 24);
    struct stored whole;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_FULL, &whole);
    cistern_backend_notify(rig.backend, 1, CISTERN_CONFIRMED);
    for (uint32_t i = 0; i < 3000; i++) {
        assert_status(
            i % 3 ? model_put(&model, &rig, i, 30, 2) : model_remove(&model, &rig, i), CISTERN_OK);
    }
    vault_snapshot(&vault, &rig, 2, 1, CISTERN_SNAPSHOT_INCREMENT, &whole);
    assert_int_equal(whole.part_count, 2);
    struct stored halves[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct cistern_key_group_range half =
            cistern_key_group_range_of(i, TEST_MAX_PARALLELISM, 2);
        struct rig part;
        open_twin(&part, 16u << 20, half, &vault, &whole, 1);
        model_check(&model, &part, half);
        vault_snapshot(&vault, &part, 3, 2, CISTERN_SNAPSHOT_INCREMENT, &halves[i]);
        /* a restored heap has no base */
        assert_int_equal(halves[i].new_role, CISTERN_ROLE_HEAP_BASE);
        rig_close(&part);
    }
    struct rig again;
    open_twin(&again, 16u << 20, all_groups, &vault, halves, 2);
    model_check(&model, &again, all_groups);
    rig_close(&again);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

static void restore_refuses_what_it_cannot_read(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 1000);
    fill(&rig, &model, 1000, 24);
    struct stored stored;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_FULL, &stored);
    struct rig twin;
    rig_open(&twin, 16u << 20, all_groups);
    assert_status(vault_restore(&vault, &stored, 1, "rocks", &twin), CISTERN_UNSUPPORTED);
    assert_non_null(strstr(twin.error.message, "--savepoint"));
    vault.files[0].role = CISTERN_ROLE_SST;
    assert_status(vault_restore(&vault, &stored, 1, "heap", &twin), CISTERN_UNSUPPORTED);
    vault.files[0].role = CISTERN_ROLE_HEAP_BASE;
    uint8_t *byte = vault.files[0].data + vault.files[0].bytes / 2;
    *byte ^= 0x10;
    assert_status(vault_restore(&vault, &stored, 1, "heap", &twin), CISTERN_CORRUPT);
    assert_string_equal(twin.error.object, "vault");
    rig_close(&twin);
    *byte ^= 0x10;
    vault.files[0].bytes -= 7;
    rig_open(&twin, 16u << 20, all_groups);
    assert_status(vault_restore(&vault, &stored, 1, "heap", &twin), CISTERN_CORRUPT);
    rig_close(&twin);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

/* While a slow reader holds old versions, every key is overwritten until memory is gone: the
 * checkpoint fails, the job not. */
static void memory_before_checkpoint(void **context)
{
    (void)context;
    struct rig rig;
    struct model model;
    rig_open_value(&rig, 4u << 20);
    model_init(&model, 30000);
    fill(&rig, &model, 30000, 48);
    struct cistern_snapshot *snapshot = snapshot_begin(&rig, 1, 0, CISTERN_SNAPSHOT_FULL);
    struct cistern_part part;
    assert_ok(cistern_snapshot_next(snapshot, &part, &rig.error), rig.error);
    static uint8_t bytes[1000];
    uint64_t got = 0;
    assert_ok(cistern_snapshot_read(
                  snapshot, (struct cistern_bytes){bytes, sizeof bytes}, &got, &rig.error),
        rig.error);
    for (uint32_t round = 2; round < 4; round++) {
        for (uint32_t i = 0; i < model.count; i++) {
            assert_status(model_put(&model, &rig, i, 48, round), CISTERN_OK);
        }
    }
    assert_true(rig_heap(&rig)->flight.given_up);
    uint32_t status = CISTERN_OK;
    while (status == CISTERN_OK && got != 0) {
        status = cistern_snapshot_read(
            snapshot, (struct cistern_bytes){bytes, sizeof bytes}, &got, &rig.error);
    }
    assert_status(status, CISTERN_ABORTED);
    assert_non_null(strstr(rig.error.message, "checkpoint 1"));
    cistern_snapshot_release(snapshot);
    model_check(&model, &rig, all_groups);
    struct vault vault = {0};
    struct stored stored;
    vault_snapshot(&vault, &rig, 2, 1, CISTERN_SNAPSHOT_INCREMENT, &stored);
    assert_int_equal(stored.new_role, CISTERN_ROLE_HEAP_BASE);
    check_restored(&vault, &stored, &model);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

/* Too many deletes for the tombstones' share: the next snapshot is a full one, and nothing is
 * lost. */
static void tombstones_do_not_eat_the_slot(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 4u << 20);
    model_init(&model, 30000);
    fill(&rig, &model, 30000, 16);
    struct stored stored;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_FULL, &stored);
    cistern_backend_notify(rig.backend, 1, CISTERN_CONFIRMED);
    for (uint32_t i = 0; i < 29000; i++) {
        assert_status(model_remove(&model, &rig, i), CISTERN_OK);
    }
    assert_true(rig_heap(&rig)->segments.tombstone_bytes <= (4u << 20) / HEAP_TOMBSTONE_SHARE + 64);
    vault_snapshot(&vault, &rig, 2, 1, CISTERN_SNAPSHOT_INCREMENT, &stored);
    assert_int_equal(stored.new_role, CISTERN_ROLE_HEAP_BASE);
    check_restored(&vault, &stored, &model);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

static void short_lived_keys_leave_no_tombstones(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 1000);
    fill(&rig, &model, 10, 16);
    struct stored stored;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_FULL, &stored);
    cistern_backend_notify(rig.backend, 1, CISTERN_CONFIRMED);
    for (uint32_t i = 100; i < 900; i++) {
        assert_status(model_put(&model, &rig, i, 16, 1), CISTERN_OK);
        assert_status(model_put(&model, &rig, i, 200, 2), CISTERN_OK);
        assert_status(model_remove(&model, &rig, i), CISTERN_OK);
    }
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(rig.backend, &statistics);
    assert_int_equal(statistics.tombstone_count, 0);
    assert_status(model_remove(&model, &rig, 3), CISTERN_OK);
    cistern_heap_statistics(rig.backend, &statistics);
    assert_int_equal(statistics.tombstone_count, 1);
    vault_snapshot(&vault, &rig, 2, 1, CISTERN_SNAPSHOT_INCREMENT, &stored);
    check_restored(&vault, &stored, &model);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

/* ---- two threads ---- */

struct transfer {
    struct vault *vault;
    struct cistern_snapshot *snapshot;
    struct stored stored;
    struct cistern_error error;
    uint32_t status;
    uint32_t done; /* atomic */
};

static void *run_transfer(void *arg)
{
    struct transfer *transfer = arg;
    transfer->status =
        vault_take(transfer->vault, transfer->snapshot, 4096, &transfer->stored, &transfer->error);
    __atomic_store_n(&transfer->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void owner_and_reader_run_side_by_side(void **context)
{
    (void)context;
    uint64_t random = test_seed("heapstate_snapshot", 9);
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    struct model at_begin;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 20000);
    model_init(&at_begin, 20000);
    fill(&rig, &model, 20000, 40);
    for (uint64_t id = 1; id <= 12; id++) {
        struct transfer transfer = {.vault = &vault};
        uint32_t kind = id % 5 == 0 ? CISTERN_SNAPSHOT_FULL : CISTERN_SNAPSHOT_INCREMENT;
        transfer.snapshot = snapshot_begin(&rig, id, id - 1, kind);
        model_copy(&at_begin, &model);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_transfer, &transfer), 0);
        uint32_t operations = 0;
        while (operations < 4000 || !__atomic_load_n(&transfer.done, __ATOMIC_ACQUIRE)) {
            uint32_t number = (uint32_t)(test_random(&random) % model.count);
            uint32_t bytes = test_random(&random) % 2 ? 40 : (uint32_t)(test_random(&random) % 90);
            uint32_t status = test_random(&random) % 8
                                  ? model_put(&model, &rig, number, bytes, ++operations)
                                  : model_remove(&model, &rig, number);
            assert_status(status, CISTERN_OK);
            operations++;
            if (operations % 500 == 0) {
                cleaner_run(rig_heap(&rig), 256u << 10, 63);
            }
        }
        pthread_join(thread, NULL);
        assert_ok(transfer.status, transfer.error);
        check_restored(&vault, &transfer.stored, &at_begin);
        cistern_backend_notify(rig.backend, id, CISTERN_CONFIRMED);
    }
    model_check(&model, &rig, all_groups);
    vault_deinit(&vault);
    model_deinit(&at_begin);
    model_deinit(&model);
    rig_close(&rig);
    assert_int_equal(cistern_allocation_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_makes_a_file),
        cmocka_unit_test(increments_hold_what_changed),
        cmocka_unit_test(cleaning_does_not_inflate_increments),
        cmocka_unit_test(an_aborted_checkpoint_takes_nothing_along),
        cmocka_unit_test(only_confirmed_completed_checkpoints_are_bases),
        cmocka_unit_test(long_chains_get_a_new_base),
        cmocka_unit_test(rescaling_takes_each_group_once),
        cmocka_unit_test(restore_refuses_what_it_cannot_read),
        cmocka_unit_test(memory_before_checkpoint),
        cmocka_unit_test(tombstones_do_not_eat_the_slot),
        cmocka_unit_test(short_lived_keys_leave_no_tombstones),
        cmocka_unit_test(owner_and_reader_run_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
