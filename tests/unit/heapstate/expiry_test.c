/* expiry_test.c -- time to live per item of a map and per element of a list: seen, renewed, purged,
 * restored; small objects and large ones. */
#include "support.h"
#include "cistern/clock.h"
#include "cistern/list.h"
#include "cistern/map.h"

#include <string.h>

static const struct cistern_key_group_range all_groups = {0, TEST_MAX_PARALLELISM - 1};
static int64_t fake_wall_ms;

static int64_t read_fake_clock(void *arg)
{
    (void)arg;
    return fake_wall_ms;
}

struct fixture {
    struct rig rig;
    struct cistern_state *map;
    struct cistern_state *list;
    struct test_key key;
};

static void register_both(struct fixture *fixture, struct cistern_ttl ttl)
{
    struct cistern_state_descriptor map = {.name = "map", .kind = CISTERN_MAP, .ttl = ttl};
    struct cistern_state_descriptor list = {.name = "list", .kind = CISTERN_LIST, .ttl = ttl};
    struct rig *rig = &fixture->rig;
    assert_ok(cistern_state_register(rig->backend, &map, &fixture->map, &rig->error), rig->error);
    assert_ok(cistern_state_register(rig->backend, &list, &fixture->list, &rig->error), rig->error);
}

static void fixture_open(struct fixture *fixture, struct cistern_ttl ttl)
{
    struct cistern_host host = {.wall_ms = read_fake_clock};
    fake_wall_ms = 1000;
    assert_status(cistern_host_install(&host), CISTERN_OK);
    rig_open(&fixture->rig, 16u << 20, all_groups);
    test_key_make(&fixture->key, 5);
    register_both(fixture, ttl);
}

static void fixture_close(struct fixture *fixture)
{
    rig_close(&fixture->rig);
    assert_status(cistern_host_install(NULL), CISTERN_OK);
}

/* Items and elements [first, first + count): item i has i's bytes, every 50th a large value. */
static void put_range(struct fixture *fixture, uint32_t first, uint32_t count)
{
    static uint8_t value[2000];
    for (uint32_t i = first; i < first + count; i++) {
        struct cistern_span user_key = {&i, sizeof i};
        struct cistern_span span = {value, i % 50 == 0 ? sizeof value : 20};
        memset(value, (int)i, sizeof value);
        assert_ok(cistern_map_put(
                      fixture->map, &fixture->key.address, user_key, span, &fixture->rig.error),
            fixture->rig.error);
        assert_ok(cistern_list_append(
                      fixture->list, &fixture->key.address, user_key, &fixture->rig.error),
            fixture->rig.error);
    }
}

static uint32_t count_walk(struct fixture *fixture, struct cistern_cursor *cursor)
{
    struct cistern_entry entries[100];
    uint32_t total = 0;
    uint32_t got;
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 100, &got, &fixture->rig.error),
            fixture->rig.error);
        total += got;
    } while (got != 0);
    cistern_cursor_close(cursor);
    return total;
}

/* Items and elements [first, first + count) are seen, and nothing else. */
static void expect_range(struct fixture *fixture, uint32_t first, uint32_t count, uint32_t all)
{
    struct rig *rig = &fixture->rig;
    const struct cistern_address *address = &fixture->key.address;
    uint64_t counted;
    assert_ok(cistern_map_count(fixture->map, address, &counted, &rig->error), rig->error);
    assert_int_equal(counted, count);
    uint32_t is_empty;
    assert_ok(cistern_map_is_empty(fixture->map, address, &is_empty, &rig->error), rig->error);
    assert_int_equal(is_empty, count == 0);
    for (uint32_t i = 0; i < all; i++) {
        struct cistern_span value;
        struct cistern_span user_key = {&i, sizeof i};
        int is_there = i >= first && i < first + count;
        assert_int_equal(cistern_map_get(fixture->map, address, user_key, &value, &rig->error),
            is_there ? CISTERN_OK : CISTERN_NOT_FOUND);
        if (is_there) {
            assert_int_equal(value.bytes, i % 50 == 0 ? 2000 : 20);
            assert_int_equal(((const uint8_t *)value.data)[0], (uint8_t)i);
        }
    }
    struct cistern_cursor *cursor;
    assert_ok(cistern_map_open(fixture->map, address, &cursor, &rig->error), rig->error);
    assert_int_equal(count_walk(fixture, cursor), count);
    assert_ok(cistern_list_open(fixture->list, address, &cursor, &rig->error), rig->error);
    assert_int_equal(count_walk(fixture, cursor), count);
}

static uint64_t live_bytes(struct fixture *fixture)
{
    struct cistern_heap_statistics statistics;
    cistern_heap_statistics(fixture->rig.backend, &statistics);
    return statistics.live_bytes;
}

static void items_expire_one_by_one(void **context)
{
    (void)context;
    static const uint32_t sizes[] = {3, 20, 4000};
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t size = sizes[i];
        struct fixture fixture;
        fixture_open(&fixture, (struct cistern_ttl){.time_to_live_ms = 100});
        put_range(&fixture, 0, size);
        fake_wall_ms = 1050;
        put_range(&fixture, size, size);
        expect_range(&fixture, 0, 2 * size, 2 * size);
        fake_wall_ms = 1100;
        expect_range(&fixture, size, size, 2 * size);
        uint64_t before = live_bytes(&fixture);
        assert_ok(cistern_backend_step(fixture.rig.backend, INT64_MAX, &fixture.rig.error),
            fixture.rig.error);
        assert_true(live_bytes(&fixture) < before); /* what nobody sees goes in idle time */
        expect_range(&fixture, size, size, 2 * size);
        put_range(&fixture, 0, 1); /* and may come again */
        struct cistern_state_info info[2];
        uint32_t count;
        assert_ok(cistern_backend_states(fixture.rig.backend, info, 2, &count, &fixture.rig.error),
            fixture.rig.error);
        assert_int_equal(info[0].entries, size + 1);
        fake_wall_ms = 2000;
        assert_ok(cistern_backend_step(fixture.rig.backend, INT64_MAX, &fixture.rig.error),
            fixture.rig.error);
        expect_range(&fixture, 0, 0, 2 * size);
        assert_int_equal(live_bytes(&fixture), 0);
        fixture_close(&fixture);
    }
}

static void reads_may_renew(void **context)
{
    (void)context;
    struct fixture fixture;
    fixture_open(&fixture, (struct cistern_ttl){.time_to_live_ms = 100, .update_on_read = 1});
    put_range(&fixture, 0, 500);
    for (uint32_t i = 0; i < 5; i++) {
        fake_wall_ms += 90;
        expect_range(&fixture, 0, 500, 500);
    }
    fake_wall_ms += 100;
    expect_range(&fixture, 0, 0, 500);
    fixture_close(&fixture);
}

static void expired_items_may_be_returned_until_cleaned(void **context)
{
    (void)context;
    struct fixture fixture;
    fixture_open(&fixture, (struct cistern_ttl){.time_to_live_ms = 100, .return_expired = 1});
    put_range(&fixture, 0, 300);
    fake_wall_ms = 5000;
    expect_range(&fixture, 0, 300, 300);
    assert_ok(cistern_backend_step(fixture.rig.backend, INT64_MAX, &fixture.rig.error),
        fixture.rig.error);
    expect_range(&fixture, 0, 0, 300);
    fixture_close(&fixture);
}

static void event_time_expires_by_the_watermark(void **context)
{
    (void)context;
    struct fixture fixture;
    fixture_open(&fixture, (struct cistern_ttl){.time_to_live_ms = 100, .event_time = 1});
    cistern_backend_set_watermark(fixture.rig.backend, 10);
    put_range(&fixture, 0, 300);
    fake_wall_ms = 1000000; /* means nothing here */
    cistern_backend_set_watermark(fixture.rig.backend, 109);
    expect_range(&fixture, 0, 300, 300);
    cistern_backend_set_watermark(fixture.rig.backend, 50); /* it never goes back */
    cistern_backend_set_watermark(fixture.rig.backend, 110);
    expect_range(&fixture, 0, 0, 300);
    assert_ok(cistern_backend_step(fixture.rig.backend, INT64_MAX, &fixture.rig.error),
        fixture.rig.error);
    assert_int_equal(live_bytes(&fixture), 0);
    fixture_close(&fixture);
}

/* A restore shows nothing that had expired, whatever the TTL is now. */
static void restored(uint32_t kind, struct cistern_ttl before, struct cistern_ttl after)
{
    struct fixture fixture;
    struct vault vault = {.file_count = 0};
    struct stored stored;
    fixture_open(&fixture, before);
    cistern_backend_set_watermark(fixture.rig.backend, 1000);
    put_range(&fixture, 0, 700);
    fake_wall_ms = 1050;
    cistern_backend_set_watermark(fixture.rig.backend, 1050);
    put_range(&fixture, 700, 700);
    cistern_backend_set_watermark(fixture.rig.backend, 1100);
    vault_snapshot(&vault, &fixture.rig, 1, 0, kind, &stored);
    rig_close(&fixture.rig);
    rig_open(&fixture.rig, 16u << 20, all_groups);
    fake_wall_ms = 1100;
    const char *backend = kind == CISTERN_SNAPSHOT_CANONICAL ? "canonical" : "heap";
    assert_ok(vault_restore(&vault, &stored, 1, backend, &fixture.rig), fixture.rig.error);
    register_both(&fixture, after);
    expect_range(&fixture, 700, 700, 1400);
    put_range(&fixture, 1400, 3); /* appended to what has the stored form */
    expect_range(&fixture, 700, 703, 1400);
    vault_deinit(&vault);
    fixture_close(&fixture);
}

static void restores_resurrect_nothing(void **context)
{
    (void)context;
    static const uint32_t kinds[] = {CISTERN_SNAPSHOT_FULL, CISTERN_SNAPSHOT_CANONICAL};
    struct cistern_ttl ttl = {.time_to_live_ms = 100};
    struct cistern_ttl event = {.time_to_live_ms = 100, .event_time = 1};
    for (uint32_t i = 0; i < 2; i++) {
        restored(kinds[i], ttl, ttl);
        restored(kinds[i], ttl, (struct cistern_ttl){0});
        restored(kinds[i], event, event);
        restored(kinds[i], event, (struct cistern_ttl){0});
    }
}

/* State without TTL gets one: what is there starts to age when it is written next. */
static void a_ttl_may_come_later(void **context)
{
    (void)context;
    struct fixture fixture;
    struct vault vault = {.file_count = 0};
    struct stored stored;
    fixture_open(&fixture, (struct cistern_ttl){0});
    put_range(&fixture, 0, 40);
    vault_snapshot(&vault, &fixture.rig, 1, 0, CISTERN_SNAPSHOT_FULL, &stored);
    rig_close(&fixture.rig);
    rig_open(&fixture.rig, 16u << 20, all_groups);
    assert_ok(vault_restore(&vault, &stored, 1, "heap", &fixture.rig), fixture.rig.error);
    register_both(&fixture, (struct cistern_ttl){.time_to_live_ms = 100});
    expect_range(&fixture, 0, 40, 40);
    put_range(&fixture, 40, 400); /* the whole of it takes the new form */
    expect_range(&fixture, 0, 440, 440);
    fake_wall_ms = 5000;
    uint64_t count;
    assert_ok(cistern_map_count(fixture.map, &fixture.key.address, &count, &fixture.rig.error),
        fixture.rig.error);
    assert_true(count <= 40);
    assert_ok(cistern_backend_step(fixture.rig.backend, INT64_MAX, &fixture.rig.error),
        fixture.rig.error);
    vault_deinit(&vault);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_expire_one_by_one),
        cmocka_unit_test(reads_may_renew),
        cmocka_unit_test(expired_items_may_be_returned_until_cleaned),
        cmocka_unit_test(event_time_expires_by_the_watermark),
        cmocka_unit_test(restores_resurrect_nothing),
        cmocka_unit_test(a_ttl_may_come_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
