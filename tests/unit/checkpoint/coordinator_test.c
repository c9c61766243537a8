/* coordinator_test.c -- stories of single checkpoints, and random events against the promises of
 * coordinator.h. */
#include "test.h"

#include "cistern/alloc.h"
#include "cistern/coordinator.h"
#include "cistern/error.h"
#include "cistern/snapshot.h"

#include <string.h>

static struct cistern_coordinator *create(struct cistern_coordinator_options options)
{
    struct cistern_error error;
    struct cistern_coordinator *coordinator;
    assert_ok(cistern_coordinator_create(&options, 0, NULL, 0, &coordinator, &error), error);
    return coordinator;
}

static struct cistern_action next(struct cistern_coordinator *coordinator)
{
    struct cistern_action action;
    cistern_coordinator_next(coordinator, &action);
    return action;
}

static void expect(struct cistern_coordinator *coordinator, uint32_t kind, uint64_t id)
{
    struct cistern_action action = next(coordinator);
    assert_int_equal(action.kind, kind);
    assert_int_equal(action.checkpoint_id, id);
}

static void acknowledge(struct cistern_coordinator *coordinator, uint64_t id, uint32_t slot)
{
    char slice[32];
    int bytes = snprintf(slice, sizeof slice, "slice %u of %u", slot, (unsigned)id);
    assert_status(cistern_coordinator_acknowledge(
                      coordinator, id, slot, (struct cistern_span){slice, (uint64_t)bytes}),
        CISTERN_OK);
}

static void complete(struct cistern_coordinator *coordinator, uint64_t id, uint32_t slots)
{
    expect(coordinator, CISTERN_ACTION_BARRIER, id);
    for (uint32_t slot = 0; slot < slots; slot++) {
        acknowledge(coordinator, id, slot);
    }
    expect(coordinator, CISTERN_ACTION_PUBLISH, id);
    cistern_coordinator_published(coordinator, id, CISTERN_OK, NULL);
    expect(coordinator, CISTERN_ACTION_CONFIRM, id);
}

static void test_interval_and_increments(void **state)
{
    (void)state;
    struct cistern_coordinator *c = create((struct cistern_coordinator_options){
        .interval_ms = 100, .slot_count = 2, .retain_count = 2});
    assert_int_equal(cistern_coordinator_wake_ms(c), INT64_MAX);
    cistern_coordinator_tick(c, 1000);
    assert_int_equal(next(c).kind, CISTERN_ACTION_NONE);
    assert_int_equal(cistern_coordinator_wake_ms(c), 1100);
    cistern_coordinator_tick(c, 1100);
    struct cistern_action barrier = next(c);
    assert_int_equal(barrier.kind, CISTERN_ACTION_BARRIER);
    assert_int_equal(barrier.snapshot_kind, CISTERN_SNAPSHOT_FULL);
    cistern_coordinator_tick(c, 1250); /* one is under way: no second */
    assert_int_equal(next(c).kind, CISTERN_ACTION_NONE);
    acknowledge(c, 1, 1);
    acknowledge(c, 1, 1); /* a repeat counts once */
    acknowledge(c, 7, 0); /* unknown */
    assert_int_equal(next(c).kind, CISTERN_ACTION_NONE);
    acknowledge(c, 1, 0);
    struct cistern_action publish = next(c);
    assert_int_equal(publish.kind, CISTERN_ACTION_PUBLISH);
    assert_memory_equal(publish.slices[1].data, "slice 1 of 1", 12);
    cistern_coordinator_published(c, 1, CISTERN_OK, NULL);
    expect(c, CISTERN_ACTION_CONFIRM, 1);
    cistern_coordinator_tick(c, 1251);
    barrier = next(c);
    assert_int_equal(barrier.snapshot_kind, CISTERN_SNAPSHOT_INCREMENT);
    assert_int_equal(barrier.base_checkpoint_id, 1);
    cistern_coordinator_destroy(c);
}

static void test_retention_subsumes_the_oldest(void **state)
{
    (void)state;
    struct cistern_coordinator_options options = {.slot_count = 1, .retain_count = 2};
    struct cistern_error error;
    struct cistern_coordinator *c;
    static const uint64_t kept[] = {3, 5};
    assert_ok(cistern_coordinator_create(&options, 6, kept, 2, &c, &error), error);
    uint64_t id;
    assert_ok(cistern_coordinator_trigger(c, 0, NULL, &id, &error), error);
    assert_int_equal(id, 7);
    struct cistern_action barrier = next(c);
    assert_int_equal(barrier.base_checkpoint_id, 0); /* a restored checkpoint is no base */
    acknowledge(c, 7, 0);
    expect(c, CISTERN_ACTION_PUBLISH, 7);
    cistern_coordinator_published(c, 7, CISTERN_OK, NULL);
    expect(c, CISTERN_ACTION_CONFIRM, 7);
    expect(c, CISTERN_ACTION_SUBSUME, 3);
    assert_int_equal(next(c).kind, CISTERN_ACTION_NONE);
    cistern_coordinator_destroy(c);
}

static void test_savepoints_are_nobodys_base(void **state)
{
    (void)state;
    struct cistern_coordinator *c = create((struct cistern_coordinator_options){.slot_count = 1});
    struct cistern_error error;
    uint64_t id;
    assert_ok(cistern_coordinator_trigger(c, 0, NULL, &id, &error), error);
    complete(c, 1, 1);
    assert_ok(cistern_coordinator_trigger(c, 0, "/save/here", &id, &error), error);
    struct cistern_action barrier = next(c);
    assert_int_equal(barrier.snapshot_kind, CISTERN_SNAPSHOT_CANONICAL);
    assert_string_equal(barrier.savepoint_directory, "/save/here");
    acknowledge(c, 2, 0);
    struct cistern_action publish = next(c);
    assert_string_equal(publish.savepoint_directory, "/save/here");
    cistern_coordinator_published(c, 2, CISTERN_OK, NULL);
    expect(c, CISTERN_ACTION_CONFIRM, 2);
    assert_int_equal(next(c).kind, CISTERN_ACTION_NONE); /* 1 is still the only checkpoint kept */
    assert_ok(cistern_coordinator_trigger(c, 0, NULL, &id, &error), error);
    barrier = next(c);
    assert_int_equal(barrier.base_checkpoint_id, 1);
    cistern_coordinator_destroy(c);
}

static void test_failures(void **state)
{
    (void)state;
    struct cistern_coordinator *c = create((struct cistern_coordinator_options){
        .slot_count = 2, .failures_tolerated = 1, .timeout_ms = 50});
    struct cistern_error error;
    uint64_t id;
    cistern_coordinator_tick(c, 0);
    assert_ok(cistern_coordinator_trigger(c, 0, NULL, &id, &error), error);
    assert_status(cistern_coordinator_trigger(c, 0, NULL, &id, &error), CISTERN_BUSY);
    expect(c, CISTERN_ACTION_BARRIER, 1);
    cistern_fail(&error, CISTERN_NO_SPACE, "disk", "full");
    cistern_coordinator_decline(c, 1, 1, &error);
    struct cistern_action discard = next(c);
    assert_int_equal(discard.kind, CISTERN_ACTION_DISCARD);
    assert_string_equal(discard.error->message, "full");
    acknowledge(c, 1, 0); /* late */
    assert_ok(cistern_coordinator_trigger(c, 10, NULL, &id, &error), error);
    expect(c, CISTERN_ACTION_BARRIER, 2);
    cistern_coordinator_tick(c, 59);
    assert_int_equal(next(c).kind, CISTERN_ACTION_NONE);
    cistern_coordinator_tick(c, 60);
    expect(c, CISTERN_ACTION_DISCARD, 2);
    struct cistern_action fail = next(c);
    assert_int_equal(fail.kind, CISTERN_ACTION_FAIL_JOB);
    assert_int_equal(fail.error->status, CISTERN_TIMEOUT);
    cistern_coordinator_destroy(c);
}

static void test_bad_options(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_coordinator *c;
    struct cistern_coordinator_options none = {0};
    assert_status(cistern_coordinator_create(&none, 0, NULL, 0, &c, &error), CISTERN_INVALID);
    struct cistern_coordinator_options many = {.slot_count = 1, .retain_count = 100000};
    assert_status(cistern_coordinator_create(&many, 0, NULL, 0, &c, &error), CISTERN_LIMIT);
}

/* ---- random events ---- */

#define ID_MAX 4000u
struct book { /* what happened to each checkpoint, as the host sees it */
    uint8_t barrier[ID_MAX];
    uint8_t complete[ID_MAX];
    uint8_t published[ID_MAX];
    uint8_t ended[ID_MAX]; /* CONFIRM or DISCARD */
    uint8_t subsumed[ID_MAX];
    uint64_t newest;
    uint32_t kept;
};

static void actions_take(
    struct cistern_coordinator *c, struct book *book, uint32_t retain, uint64_t *random)
{
    for (struct cistern_action action = next(c); action.kind != CISTERN_ACTION_NONE;
         action = next(c)) {
        uint64_t id = action.checkpoint_id;
        assert_in_range(id, 1, ID_MAX - 1);
        switch (action.kind) {
        case CISTERN_ACTION_BARRIER:
            assert_true(id > book->newest && !book->barrier[id]);
            assert_true(
                action.base_checkpoint_id == 0 || book->published[action.base_checkpoint_id]);
            assert_true(
                action.base_checkpoint_id == 0 || !book->subsumed[action.base_checkpoint_id]);
            book->barrier[id] = 1;
            book->newest = id;
            break;
        case CISTERN_ACTION_PUBLISH:
            assert_true(book->barrier[id] && !book->complete[id] && !book->ended[id]);
            book->complete[id] = 1;
            break;
        case CISTERN_ACTION_CONFIRM:
            assert_true(book->published[id] && !book->ended[id]);
            book->ended[id] = 1;
            book->kept++;
            break;
        case CISTERN_ACTION_DISCARD:
            assert_true(!book->published[id] && !book->ended[id]);
            book->ended[id] = 1;
            break;
        default:
            assert_int_equal(action.kind, CISTERN_ACTION_SUBSUME);
            assert_true(book->published[id] && !book->subsumed[id]);
            assert_true(--book->kept >= retain);
            book->subsumed[id] = 1;
        }
        if (test_random(random) % 4 == 0) {
            return; /* the host may leave actions for later */
        }
    }
}

static void test_random_events(void **state)
{
    (void)state;
    uint64_t random = test_seed("coordinator_test", 99);
    static struct book book;
    memset(&book, 0, sizeof book);
    struct cistern_coordinator_options options = {.slot_count = 3,
        .retain_count = 3,
        .in_flight_max = 3,
        .interval_ms = 20,
        .timeout_ms = 40,
        .failures_tolerated = UINT32_MAX};
    struct cistern_coordinator *c = create(options);
    struct cistern_error error;
    cistern_fail(&error, CISTERN_IO, "slot", "failed");
    int64_t now = 0;
    uint64_t started;
    for (uint32_t step = 0; step < 60000 && book.newest < ID_MAX - 8; step++) {
        uint64_t id =
            book.newest > 6 ? book.newest - test_random(&random) % 6 : 1 + test_random(&random) % 7;
        switch (test_random(&random) % 10) {
        case 0:
            cistern_coordinator_tick(c, now += (int64_t)(test_random(&random) % 15));
            break;
        case 1:
            cistern_coordinator_decline(c, id, (uint32_t)(test_random(&random) % 5), &error);
            break;
        case 2:
            (void)!cistern_coordinator_trigger(c, now, NULL, &started, NULL);
            break;
        case 3:
        case 4: {
            uint32_t ok = test_random(&random) % 5 != 0;
            if (book.complete[id] && !book.published[id] && !book.ended[id]) {
                book.published[id] = (uint8_t)ok;
                cistern_coordinator_published(
                    c, id, ok ? CISTERN_OK : CISTERN_IO, ok ? NULL : &error);
            }
            break;
        }
        default:
            acknowledge(c, id, (uint32_t)(test_random(&random) % 4));
        }
        actions_take(c, &book, options.retain_count, &random);
        assert_true(cistern_coordinator_in_flight(c) <= options.in_flight_max);
    }
    assert_true(book.newest > 1000);
    cistern_coordinator_destroy(c);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t held = cistern_allocation_count();
    uint32_t clean = 0;
    for (uint64_t n = 1; !clean; n++) {
        assert_true(n < 50);
        struct cistern_coordinator_options options = {.slot_count = 2};
        struct cistern_coordinator *c = NULL;
        uint64_t id;
        cistern_allocation_fail_at(n);
        uint32_t status = cistern_coordinator_create(&options, 0, NULL, 0, &c, NULL);
        if (status == CISTERN_OK) {
            status = cistern_coordinator_trigger(c, 0, "/save", &id, NULL);
        }
        for (uint32_t slot = 0; slot < 2 && status == CISTERN_OK; slot++) {
            status =
                cistern_coordinator_acknowledge(c, id, slot, (struct cistern_span){"slice", 5});
        }
        cistern_allocation_fail_at(0);
        assert_true(status == CISTERN_OK || status == CISTERN_NO_MEMORY);
        clean = status == CISTERN_OK;
        cistern_coordinator_destroy(c);
        assert_int_equal(cistern_allocation_count(), held);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interval_and_increments),
        cmocka_unit_test(test_retention_subsumes_the_oldest),
        cmocka_unit_test(test_savepoints_are_nobodys_base),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_random_events),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
