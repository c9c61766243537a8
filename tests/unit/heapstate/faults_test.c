/* faults_test.c -- the n-th allocation fails, the n-th charge is refused, for every n: nothing
 * is lost, nothing is left over. */
#include "support.h"
#include "cistern/alloc.h"

#include <string.h>

static const struct cistern_key_group_range all_groups = {0, TEST_MAX_PARALLELISM - 1};

struct story { /* one run over everything that allocates */
    struct rig *rig;
    struct cistern_backend *backend;
    struct cistern_cursor *cursor;
    struct cistern_snapshot *snapshot;
    struct vault vault;
};

static uint32_t read_story(struct story *story, struct cistern_error *error)
{
    struct stored stored;
    struct cistern_snapshot *snapshot = story->snapshot;
    story->snapshot = NULL;
    uint32_t status = vault_take(&story->vault, snapshot, 4096, &stored, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_entry entries[3];
    uint32_t count = 1;
    status = cistern_entries_open(story->rig->state, &story->cursor, error);
    while (status == CISTERN_OK && count != 0) {
        status = cistern_cursor_next(story->cursor, entries, 3, &count, error);
    }
    return status;
}

static uint32_t tell_story(struct story *story, struct cistern_error *error)
{
    struct cistern_heap_options options = {
        .backend = {.max_parallelism = TEST_MAX_PARALLELISM, .range = all_groups}};
    struct cistern_state_descriptor descriptor = {.name = "s", .kind = CISTERN_VALUE};
    uint32_t status = cistern_heap_open(story->rig->slot, &options, &story->backend, error);
    if (status != CISTERN_OK) {
        return status;
    }
    story->rig->backend = story->backend;
    status = cistern_state_register(story->backend, &descriptor, &story->rig->state, error);
    struct model model;
    model_init(&model, 200);
    for (uint32_t i = 0; status == CISTERN_OK && i < model.count; i++) {
        status = model_put(&model, story->rig, i, 30, 1);
    }
    model_deinit(&model);
    struct cistern_snapshot_request request = {
        .checkpoint_id = 1, .kind = CISTERN_SNAPSHOT_INCREMENT};
    if (status == CISTERN_OK) {
        status = cistern_snapshot_begin(story->backend, &request, &story->snapshot, error);
    }
    return status == CISTERN_OK ? read_story(story, error) : status;
}

static void end_story(struct story *story)
{
    cistern_cursor_close(story->cursor);
    cistern_snapshot_release(story->snapshot);
    struct cistern_error error;
    if (story->backend != NULL) {
        assert_ok(cistern_backend_close(story->backend, &error), error);
    }
    vault_deinit(&story->vault);
}

static void the_nth_allocation_fails(void **context)
{
    (void)context;
    struct rig rig;
    rig_open_value(&rig, 16u << 20);
    struct cistern_backend *first = rig.backend;
    struct cistern_state *first_state = rig.state;
    uint64_t held = cistern_allocation_count();
    uint64_t used = cistern_slot_used_bytes(rig.slot);
    uint32_t nth = 1;
    for (;; nth++) {
        struct story story = {.rig = &rig};
        struct cistern_error error = {0};
        cistern_allocation_fail_at(nth);
        uint32_t status = tell_story(&story, &error);
        int failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        end_story(&story);
        assert_int_equal(cistern_allocation_count(), held);
        assert_int_equal(cistern_slot_used_bytes(rig.slot), used);
        if (!failed) {
            assert_status(status, CISTERN_OK);
            break;
        }
        assert_status(status, CISTERN_NO_MEMORY);
        assert_true(error.message[0] != 0);
        assert_true(nth < 1000);
    }
    assert_true(nth > 15);
    rig.backend = first;
    rig.state = first_state;
    rig_close(&rig);
}

static void the_nth_allocation_of_a_restore_fails(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 500);
    for (uint32_t i = 0; i < model.count; i++) {
        assert_status(model_put(&model, &rig, i, 30, 1), CISTERN_OK);
    }
    struct stored stored;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_FULL, &stored);
    uint64_t held = cistern_allocation_count();
    for (uint32_t nth = 1, failed = 1; failed; nth++) {
        struct rig twin;
        rig_open(&twin, 16u << 20, all_groups);
        cistern_allocation_fail_at(nth);
        uint32_t status = vault_restore(&vault, &stored, 1, "heap", &twin);
        failed = (uint32_t)cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_status(status, failed ? CISTERN_NO_MEMORY : CISTERN_OK);
        rig_close(&twin);
        assert_int_equal(cistern_allocation_count(), held);
        assert_true(nth < 1000);
    }
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

/* The slot is left with ever more free bytes, from none: whatever is refused, the heap keeps
 * saying what it said. */
static void charges_are_refused_at_every_point(void **context)
{
    (void)context;
    uint64_t random = test_seed("heapstate_faults", 13);
    struct rig rig;
    struct model model;
    rig_open_value(&rig, 8u << 20);
    model_init(&model, 40000);
    struct cistern_component *hog = NULL;
    struct cistern_component_options options = {
        .name = "hog", .reclaim_class = CISTERN_RECLAIM_NEVER};
    assert_ok(cistern_component_open(rig.slot, &options, &hog, &rig.error), rig.error);
    uint64_t held = 0;
    while (cistern_component_charge(hog, 4096) == CISTERN_OK) {
        held += 4096;
    }
    uint64_t refusals = 0;
    uint64_t checkpoint = 0;
    uint64_t confirmed = 0;
    struct vault vault = {0};
    while (held >= 64u << 10) {
        for (uint32_t i = 0; i < 500; i++) {
            uint32_t number = (uint32_t)(test_random(&random) % model.count);
            uint32_t bytes =
                test_random(&random) % 400 == 0 ? 500 : (uint32_t)(test_random(&random) % 100);
            uint32_t status = test_random(&random) % 5 ? model_put(&model, &rig, number, bytes, i)
                                                       : model_remove(&model, &rig, number);
            assert_true(status == CISTERN_OK || status == CISTERN_LIMIT);
            refusals += status == CISTERN_LIMIT;
        }
        if (held % (512u << 10) < 64u << 10) {
            struct stored stored;
            vault_snapshot(
                &vault, &rig, checkpoint + 1, confirmed, CISTERN_SNAPSHOT_INCREMENT, &stored);
            confirmed = ++checkpoint;
            cistern_backend_notify(rig.backend, confirmed, CISTERN_CONFIRMED);
            model_check(&model, &rig, all_groups);
        }
        cistern_component_uncharge(hog, 24u << 10);
        held -= 24u << 10;
    }
    assert_true(refusals > 100);
    model_check(&model, &rig, all_groups);
    cistern_component_uncharge(hog, held);
    cistern_component_close(hog);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

static void a_restore_into_too_small_a_slot_says_so(void **context)
{
    (void)context;
    struct rig rig;
    struct vault vault = {0};
    struct model model;
    rig_open_value(&rig, 16u << 20);
    model_init(&model, 100000);
    for (uint32_t i = 0; i < model.count; i++) {
        assert_status(model_put(&model, &rig, i, 50, 1), CISTERN_OK);
    }
    struct stored stored;
    vault_snapshot(&vault, &rig, 1, 0, CISTERN_SNAPSHOT_FULL, &stored);
    struct rig twin;
    rig_open(&twin, 4u << 20, all_groups);
    assert_status(vault_restore(&vault, &stored, 1, "heap", &twin), CISTERN_LIMIT);
    assert_true(twin.error.message[0] != 0);
    rig_close(&twin);
    vault_deinit(&vault);
    model_deinit(&model);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(the_nth_allocation_of_a_restore_fails),
        cmocka_unit_test(charges_are_refused_at_every_point),
        cmocka_unit_test(a_restore_into_too_small_a_slot_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
