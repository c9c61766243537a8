/* ttl_cases.c -- time to live, with a clock that stands still until a case moves it. Worlds start
 * at 1,000,000 ms; the time to live is 100 ms. */
#include "semantics/world.h"

#define V KIND_BIT(CISTERN_VALUE)
#define R KIND_BIT(CISTERN_REDUCING)
#define A KIND_BIT(CISTERN_AGGREGATING)
#define L KIND_BIT(CISTERN_LIST)
#define M KIND_BIT(CISTERN_MAP)
#define START 1000000

static struct cistern_error error;

static const struct cistern_ttl on_write = {.time_to_live_ms = 100};
static const struct cistern_ttl on_read = {.time_to_live_ms = 100, .update_on_read = 1};
static const struct cistern_ttl lazy = {.time_to_live_ms = 100, .return_expired = 1};
static const struct cistern_ttl by_watermark = {.time_to_live_ms = 100, .event_time = 1};

static void ttl_on_create_and_write(struct world *world)
{
    for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
        if ((world->semantics->kinds & KIND_BIT(kind)) == 0) {
            continue;
        }
        struct cistern_state *state = state_with_ttl(world->backend, kind, on_write);
        world_clock_set(START);
        put_thing(state, "k", "one");
        world_clock_set(START + 99);
        check_thing(state, "k", "one"); /* reading does not renew */
        world_clock_set(START + 100);
        check_nothing(state, "k");
        put_thing(state, "k", "two");
        world_clock_set(START + 150);
        put_thing(state, "k", "three"); /* writing does */
        world_clock_set(START + 249);
        check_thing(state, "k", "three");
        world_clock_set(START + 250);
        check_nothing(state, "k");
    }
}

static void ttl_on_read_and_write(struct world *world)
{
    for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
        if ((world->semantics->kinds & KIND_BIT(kind)) == 0 || kind == CISTERN_MAP) {
            continue;
        }
        struct cistern_state *state = state_with_ttl(world->backend, kind, on_read);
        world_clock_set(START);
        put_thing(state, "k", "one");
        for (int64_t ms = START; ms <= START + 1000; ms += 90) {
            world_clock_set(ms);
            check_thing(state, "k", "one");
        }
        world_clock_set(START + 990 + 100);
        check_nothing(state, "k");
    }
}

static void ttl_on_read_of_a_map_renews_what_was_read(struct world *world)
{
    struct cistern_state *map = state_with_ttl(world->backend, CISTERN_MAP, on_read);
    struct cistern_address address = at("k");
    struct cistern_span value = ABSENT;
    put_map(map, "k", "u=1 v=2 n");
    for (int64_t ms = START; ms <= START + 900; ms += 90) {
        world_clock_set(ms);
        assert_ok(cistern_map_get(map, &address, SPAN("u"), &value, &error), error);
        assert_ok(cistern_map_get(map, &address, SPAN("n"), &value, &error), error);
        assert_null(value.data);
    }
    check_map(map, "k", "n u=1");
    assert_status(cistern_map_get(map, &address, SPAN("v"), &value, &error), CISTERN_NOT_FOUND);
}

/* Also of keys with a value; that of a list or map whose things have all expired may be listed
 * until they are cleaned up, as in Flink. */
static void ttl_never_return_expired(struct world *world)
{
    for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
        if ((world->semantics->kinds & KIND_BIT(kind)) == 0) {
            continue;
        }
        struct cistern_state *state = state_with_ttl(world->backend, kind, on_write);
        world_clock_set(START);
        put_thing(state, "old", "x");
        put_thing(state, "old@w", "x");
        world_clock_set(START + 50);
        put_thing(state, "young", "x");
        world_clock_set(START + 100);
        check_nothing(state, "old"); /* no reading call shows it */
        check_entries(state, 1);
        int is_value = kind != CISTERN_LIST && kind != CISTERN_MAP;
        if (is_value) {
            check_keys(state, "", "young");
            check_pairs(state, "young");
        }
        world_clock_set(START + 150);
        check_entries(state, 0);
        if (is_value) {
            check_pairs(state, "");
        }
    }
}

/* Nobody cleaned up: it is still returned. A clock that goes back makes it younger again. */
static void ttl_return_expired_if_not_cleaned_up(struct world *world)
{
    for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
        if ((world->semantics->kinds & KIND_BIT(kind)) == 0 || kind == CISTERN_MAP) {
            continue; /* a map's count leaves expired ones out: the next case */
        }
        struct cistern_state *state = state_with_ttl(world->backend, kind, lazy);
        world_clock_set(START);
        put_thing(state, "k", "one");
        world_clock_set(START + 100000);
        check_thing(state, "k", "one");
        clear_place(state, "k");
        check_nothing(state, "k");
    }
}

static void ttl_return_expired_of_a_map(struct world *world)
{
    struct cistern_state *map = state_with_ttl(world->backend, CISTERN_MAP, lazy);
    struct cistern_address address = at("k");
    struct cistern_span value = ABSENT;
    put_map(map, "k", "u=1 v");
    world_clock_set(START + 50);
    put_map(map, "k", "w=2");
    world_clock_set(START + 100);
    assert_ok(cistern_map_get(map, &address, SPAN("u"), &value, &error), error);
    assert_memory_equal(value.data, "1", 1);
    char *seen = text_of_map(map, "k");
    check_text(seen, "u=1 v w=2", "a walk over what nobody cleaned up");
}

static void ttl_clock_that_goes_back(struct world *world)
{
    struct cistern_state *state = state_with_ttl(world->backend, CISTERN_VALUE, on_write);
    put_value(state, "k", "one");
    world_clock_set(START - 500000);
    check_value(state, "k", "one");
    put_value(state, "l", "two");
    world_clock_set(START - 500000 + 100);
    check_value(state, "k", "one");
    check_value(state, "l", NULL);
    world_clock_set(START + 100);
    check_value(state, "k", NULL);
}

static void ttl_longest(struct world *world)
{
    struct cistern_ttl forever = {.time_to_live_ms = INT64_MAX};
    struct cistern_state *state = state_with_ttl(world->backend, CISTERN_VALUE, forever);
    put_value(state, "k", "one");
    world_clock_set(INT64_MAX - 1);
    check_value(state, "k", "one");
    put_value(state, "l", "two");
    check_value(state, "l", "two");
}

static void ttl_per_list_element(struct world *world)
{
    struct cistern_state *list = state_with_ttl(world->backend, CISTERN_LIST, on_write);
    append_list(list, "k", "a b");
    world_clock_set(START + 40);
    append_list(list, "k", "c");
    append_list(list, "k@w", "x");
    world_clock_set(START + 80);
    append_list(list, "k", "d");
    check_list(list, "k", "a b c d");
    world_clock_set(START + 100);
    check_list(list, "k", "c d");
    merge_places(list, "k@w", "none");
    world_clock_set(START + 140);
    check_list(list, "k", "d");
    check_list(list, "k@w", "");
    append_list(list, "k", "e");
    world_clock_set(START + 180);
    check_list(list, "k", "e");
    world_clock_set(START + 240);
    check_list(list, "k", "");
    check_entries(list, 0);
    append_list(list, "k", "f");
    check_list(list, "k", "f");
}

/* A clock that went back leaves a list whose expired elements are not at its front. */
static void ttl_per_list_element_in_any_order(struct world *world)
{
    struct cistern_state *list = state_with_ttl(world->backend, CISTERN_LIST, on_write);
    append_list(list, "k", "a");
    world_clock_set(START - 1000);
    append_list(list, "k", "b");
    world_clock_set(START + 10);
    append_list(list, "k", "c");
    check_list(list, "k", "a c");
    world_clock_set(START + 105);
    check_list(list, "k", "c");
}

static void ttl_of_merged_elements_is_kept(struct world *world)
{
    struct cistern_state *list = state_with_ttl(world->backend, CISTERN_LIST, on_write);
    append_list(list, "k@a", "a");
    world_clock_set(START + 50);
    append_list(list, "k@b", "b");
    append_list(list, "k@t", "t");
    world_clock_set(START + 60);
    merge_places(list, "k@t", "a b"); /* merging is no writing */
    check_list(list, "k@t", "t a b");
    world_clock_set(START + 100);
    check_list(list, "k@t", "t b");
    world_clock_set(START + 150);
    check_list(list, "k@t", "");
}

static void ttl_per_map_entry(struct world *world)
{
    struct cistern_state *map = state_with_ttl(world->backend, CISTERN_MAP, on_write);
    put_map(map, "k", "u=1 v=2 n");
    world_clock_set(START + 50);
    put_map(map, "k", "v=3 w=4");
    check_map(map, "k", "n u=1 v=3 w=4");
    world_clock_set(START + 100);
    check_map(map, "k", "v=3 w=4");
    check_keys(map, "", "k");
    world_clock_set(START + 150);
    check_map(map, "k", "");
    put_map(map, "k", "u=5");
    check_map(map, "k", "u=5");
}

static void ttl_of_a_big_map(struct world *world)
{
    struct cistern_state *map = state_with_ttl(world->backend, CISTERN_MAP, on_write);
    struct cistern_address address = at("k");
    uint64_t count = 0;
    char entry[40];
    for (uint32_t i = 0; i < 300; i++) {
        world_clock_set(START + i);
        snprintf(entry, sizeof entry, "u%u=%u", i, i);
        put_map(map, "k", entry);
    }
    assert_ok(cistern_map_count(map, &address, &count, &error), error);
    assert_int_equal(count, 100);
    check_entries(map, 100);
    world_clock_set(START + 398);
    check_map(map, "k", "u299=299");
    world_clock_set(START + 399);
    check_map(map, "k", "");
}

/* What has expired is not added to, whatever may be returned. */
static void ttl_adds_begin_anew(struct world *world)
{
    struct cistern_ttl ttls[2] = {on_write, lazy};
    for (uint32_t i = 0; i < 2; i++) {
        struct cistern_state_descriptor descriptor = descriptor_of(CISTERN_AGGREGATING);
        descriptor.name = i == 0 ? "never" : "lazy";
        descriptor.ttl = ttls[i];
        struct cistern_state *state = register_state(world->backend, &descriptor);
        world_clock_set(START);
        add_value(state, "k", "a");
        world_clock_set(START + 60);
        add_value(state, "k", "b");
        world_clock_set(START + 159);
        check_value(state, "k", "a,b"); /* each add renews */
        world_clock_set(START + 160);
        add_value(state, "k", "c");
        check_value(state, "k", "c");
    }
}

static void ttl_event_time(struct world *world)
{
    for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
        struct world own;
        if ((world->semantics->kinds & KIND_BIT(kind)) == 0) {
            continue;
        }
        world_open(&own, world->semantics);
        struct cistern_state *state = state_with_ttl(own.backend, kind, by_watermark);
        put_thing(state, "before", "x"); /* before there was any watermark */
        cistern_backend_set_watermark(own.backend, 500);
        put_thing(state, "k", "one");
        world_clock_set(INT64_MAX); /* nobody asks the wall clock */
        check_thing(state, "k", "one");
        cistern_backend_set_watermark(own.backend, 400); /* it does not go back */
        cistern_backend_set_watermark(own.backend, 599);
        check_thing(state, "k", "one");
        put_thing(state, "l", "two");
        cistern_backend_set_watermark(own.backend, 600);
        check_nothing(state, "k");
        check_thing(state, "l", "two");
        check_thing(state, "before", "x");
        cistern_backend_set_watermark(own.backend, 699);
        check_nothing(state, "l");
        check_thing(state, "before", "x");
        check_entries(state, 1);
        world_close(&own);
    }
}

/* A restore brings the watermark along: nothing expired is seen, and new writes are stamped by
 * it. */
static void ttl_event_time_after_restore(struct world *world)
{
    struct cistern_state *state = state_with_ttl(world->backend, CISTERN_VALUE, by_watermark);
    cistern_backend_set_watermark(world->backend, 500);
    put_value(state, "k", "one");
    cistern_backend_set_watermark(world->backend, 560);
    put_value(state, "l", "two");
    cistern_backend_set_watermark(world->backend, 605);
    struct capture *capture = capture_of(world, CISTERN_SNAPSHOT_CANONICAL);
    struct cistern_backend *restored =
        restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
    state = state_with_ttl(restored, CISTERN_VALUE, by_watermark);
    check_value(state, "k", NULL);
    check_value(state, "l", "two");
    put_value(state, "m", "three");
    cistern_backend_set_watermark(restored, 660);
    check_value(state, "l", NULL);
    check_value(state, "m", "three");
    cistern_backend_set_watermark(restored, 705);
    check_value(state, "m", NULL);
    close_backend(restored);
    capture_free(capture);
}

/* Stamps travel: what expired before or while it lay in a checkpoint is not seen after. */
static void ttl_after_restore(struct world *world)
{
    for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
        if (world->semantics->kinds & KIND_BIT(kind)) {
            struct cistern_state *state = state_with_ttl(world->backend, kind, on_write);
            world_clock_set(START);
            put_thing(state, "dead", "x");
            world_clock_set(START + 60);
            put_thing(state, "dying", "x");
            world_clock_set(START + 90);
            put_thing(state, "young", "x");
        }
    }
    world_clock_set(START + 100);
    const uint32_t forms[] = {CISTERN_SNAPSHOT_CANONICAL, CISTERN_SNAPSHOT_FULL};
    for (uint32_t i = 0; i < 1 + world->semantics->native; i++) {
        world_clock_set(START + 100);
        struct capture *capture = capture_of(world, forms[i]);
        world_clock_set(START + 170);
        struct cistern_backend *restored =
            restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
        for (uint32_t kind = CISTERN_VALUE; kind < CISTERN_TIMERS; kind++) {
            if (world->semantics->kinds & KIND_BIT(kind)) {
                struct cistern_state *state = state_with_ttl(restored, kind, on_write);
                world_clock_set(START + 170);
                check_nothing(state, "dead");
                check_nothing(state, "dying");
                check_thing(state, "young", "x");
                check_entries(state, 1);
                world_clock_set(START + 190);
                check_nothing(state, "young");
            }
        }
        close_backend(restored);
        capture_free(capture);
    }
}

const struct semantics_case ttl_cases[] = {
    CASE(V, ttl_on_create_and_write),
    CASE(V, ttl_on_read_and_write),
    CASE(M, ttl_on_read_of_a_map_renews_what_was_read),
    CASE(V | KEYS, ttl_never_return_expired),
    CASE(V, ttl_return_expired_if_not_cleaned_up),
    CASE(M, ttl_return_expired_of_a_map),
    CASE(V, ttl_clock_that_goes_back),
    CASE(V, ttl_longest),
    CASE(L, ttl_per_list_element),
    CASE(L, ttl_per_list_element_in_any_order),
    CASE(L, ttl_of_merged_elements_is_kept),
    CASE(M, ttl_per_map_entry),
    CASE(M, ttl_of_a_big_map),
    CASE(A, ttl_adds_begin_anew),
    CASE(V | EVENT_TIME, ttl_event_time),
    CASE(V | EVENT_TIME, ttl_event_time_after_restore),
    CASE(V, ttl_after_restore),
    CASE_END,
};
