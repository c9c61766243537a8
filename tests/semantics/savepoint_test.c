/* savepoint_test.c -- a canonical savepoint of each backend, taken in by each other: every kind
 * that both hold, with namespaces, time stamps and other ranges. The table writes and reads
 * docs/FORMAT.md on its own, so that two backends cannot agree on a mistake. */
#include "semantics/content.h"

#include "cistern/alloc.h"

static const struct semantics_backend *const backends[] = {
    &semantics_table, &semantics_heap, &semantics_rocks};
#define BACKEND_COUNT (sizeof backends / sizeof backends[0])
#define START 1000000

struct pair {
    const struct semantics_backend *from;
    const struct semantics_backend *to;
    uint32_t kinds; /* that both hold */
};

static struct pair pair_of(uint32_t number)
{
    struct pair pair = {backends[number / BACKEND_COUNT], backends[number % BACKEND_COUNT], 0};
    pair.kinds = pair.from->kinds & pair.to->kinds;
    print_message("%s -> %s\n", pair.from->name, pair.to->name);
    return pair;
}

static void test_everything_arrives(void **state)
{
    (void)state;
    static const struct cistern_key_group_range ranges[] = {{0, 127}, {0, 63}, {50, 127}};
    for (uint32_t number = 0; number < BACKEND_COUNT * BACKEND_COUNT; number++) {
        struct pair pair = pair_of(number);
        struct world world;
        struct content content;
        world_open(&world, pair.from);
        fill_content(world.backend, pair.kinds, &content);
        for (uint32_t index = 0; index < ITEM_COUNT; index += 2) {
            for (uint32_t times = 0; times < index % 7; times++) {
                change_content(world.backend, pair.kinds, &content, index);
            }
        }
        struct capture *capture = capture_of(&world, CISTERN_SNAPSHOT_CANONICAL);
        for (uint32_t i = 0; i < 3; i++) {
            struct cistern_backend *restored =
                restore_backend(pair.to, world.slots[1], &capture, 1, ranges[i]);
            check_content(restored, pair.kinds, &content, ranges[i]);
            close_backend(restored);
        }
        capture_free(capture);
        world_close(&world);
    }
}

static void test_there_and_back(void **state)
{
    (void)state;
    for (uint32_t number = 0; number < BACKEND_COUNT * BACKEND_COUNT; number++) {
        struct pair pair = pair_of(number);
        struct world world;
        struct content content;
        world_open(&world, pair.from);
        fill_content(world.backend, pair.kinds, &content);
        struct capture *capture = NULL;
        for (uint32_t leg = 0; leg < 4; leg++) {
            for (uint32_t index = leg; index < ITEM_COUNT; index += 3) {
                change_content(world.backend, pair.kinds, &content, index);
            }
            capture = capture_of(&world, CISTERN_SNAPSHOT_CANONICAL);
            close_backend(world.backend);
            const struct semantics_backend *next = leg % 2 == 0 ? pair.to : pair.from;
            world.backend = restore_backend(next, world.slots[0], &capture, 1, all_groups);
            check_content(world.backend, pair.kinds, &content, all_groups);
            capture_free(capture);
        }
        world_close(&world);
    }
}

static const struct cistern_ttl ttl = {.time_to_live_ms = 100};

static void fill_stamped(struct cistern_backend *backend, uint32_t kind)
{
    struct cistern_state *one = state_with_ttl(backend, kind, ttl);
    world_clock_set(START);
    put_thing(one, "a", "x");
    put_thing(one, "b@w", "x");
    world_clock_set(START + 50);
    put_thing(one, "c@", "y");
    if (kind == CISTERN_LIST) {
        append_list(one, "a", "later");
    } else if (kind == CISTERN_MAP) {
        put_map(one, "a", "later");
    }
}

static void check_stamped(struct cistern_backend *backend, uint32_t kind)
{
    struct cistern_state *one = state_with_ttl(backend, kind, ttl);
    int is_many = kind == CISTERN_LIST || kind == CISTERN_MAP;
    world_clock_set(START + 99);
    check_thing(one, "b@w", "x");
    check_entries(one, is_many ? 4 : 3);
    world_clock_set(START + 100);
    check_nothing(one, "b@w");
    check_thing(one, "c@", "y");
    if (kind == CISTERN_LIST) {
        check_list(one, "a", "later");
    } else if (kind == CISTERN_MAP) {
        check_map(one, "a", "later");
    }
    check_entries(one, is_many ? 2 : 1);
    world_clock_set(START + 150);
    check_entries(one, 0);
}

/* Each element and each map entry brings its own stamp; none is renewed by the journey. */
static void test_stamps_arrive(void **state)
{
    (void)state;
    for (uint32_t number = 0; number < BACKEND_COUNT * BACKEND_COUNT; number++) {
        struct pair pair = pair_of(number);
        struct world world;
        world_open(&world, pair.from);
        for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
            if (pair.kinds & KIND_BIT(kind)) {
                fill_stamped(world.backend, kind);
            }
        }
        struct capture *capture = capture_of(&world, CISTERN_SNAPSHOT_CANONICAL);
        world_clock_set(START + 99);
        struct cistern_backend *restored =
            restore_backend(pair.to, world.slots[1], &capture, 1, all_groups);
        for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
            if (pair.kinds & KIND_BIT(kind)) {
                check_stamped(restored, kind);
            }
        }
        close_backend(restored);
        capture_free(capture);
        world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_arrives),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_stamps_arrive),
    };
    int failures = cmocka_run_group_tests(tests, world_clock_install, NULL);
    return failures != 0 || cistern_allocation_count() != 0;
}
