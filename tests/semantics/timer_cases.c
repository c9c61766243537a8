/* timer_cases.c -- timers: a set, in order of time. */
#include "semantics/world.h"

#include <string.h>

#define T KIND_BIT(CISTERN_TIMERS)

static struct cistern_error error;

static void next_expect(struct cistern_state *timers, int64_t expected)
{
    int64_t time = 0;
    assert_ok(cistern_timer_next(timers, &time, &error), error);
    assert_true(time == expected);
}

static void none_expect(struct cistern_state *timers)
{
    int64_t time = 77;
    assert_status(cistern_timer_next(timers, &time, &error), CISTERN_NOT_FOUND);
    assert_int_equal(time, 77);
    check_due(timers, INT64_MAX, "");
    check_entries(timers, 0);
}

static void timers_are_a_set(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    none_expect(timers);
    add_timers(timers, "5:k 5:k 5:k@w 5:k@ 5:kk 6:k 5:k");
    check_entries(timers, 5);
    check_due(timers, 5, "5:k 5:k@ 5:k@w 5:kk");
    check_due(timers, 5, "");
    add_timers(timers, "5:k"); /* it fired: it is a new one */
    check_due(timers, 6, "5:k 6:k");
    none_expect(timers);
}

static void timers_pop_in_time_order(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    add_timers(timers, "30:a 10:b 20:c@w 10:d 40:a 256:e 1000:a 255:e 65536:e");
    next_expect(timers, 10);
    check_due(timers, 9, "");
    check_due(timers, 20, "10:b 10:d 20:c@w");
    next_expect(timers, 30);
    add_timers(timers, "15:late 35:x");
    next_expect(timers, 15);
    check_due(timers, 300, "15:late 30:a 35:x 40:a 255:e 256:e");
    check_due(timers, INT64_MAX, "1000:a 65536:e");
    none_expect(timers);
}

static void timer_removed_does_not_fire(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    add_timers(timers, "1:a 2:b 3:c 4:d 2:b@w");
    remove_timers(timers, "1:a 3:c 9:nobody 4:a 2:b@");
    next_expect(timers, 2);
    check_entries(timers, 3);
    add_timers(timers, "3:c");
    remove_timers(timers, "2:b");
    check_due(timers, 10, "2:b@w 3:c 4:d");
    none_expect(timers);
    remove_timers(timers, "2:b");
    none_expect(timers);
}

static void timers_negative_times(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    add_timers(timers, "0:z -1:m 1:p 9223372036854775807:max -9223372036854775808:min -256:x");
    next_expect(timers, INT64_MIN);
    check_due(timers, INT64_MIN, "-9223372036854775808:min");
    check_due(timers, -1, "-256:x -1:m");
    check_due(timers, INT64_MAX - 1, "0:z 1:p");
    next_expect(timers, INT64_MAX);
    check_due(timers, INT64_MAX, "9223372036854775807:max");
    none_expect(timers);
}

static void timers_pop_no_more_than_asked(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    add_timers(timers, "1:a 2:b 3:c 4:d 5:e");
    check_text(text_of_timers(timers, 10, 1), "1:a", "one");
    check_text(text_of_timers(timers, 10, 2), "2:b 3:c", "two");
    check_text(text_of_timers(timers, 4, 2), "4:d", "what is due");
    check_text(text_of_timers(timers, 10, 1), "5:e", "the last");
    none_expect(timers);
}

/* What the firing of a timer registers for a time that has come fires in the same round. */
static void timers_added_while_popping(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    add_timers(timers, "10:a 20:b");
    check_text(text_of_timers(timers, 20, 1), "10:a", "first");
    add_timers(timers, "10:a 5:early 15:c");
    check_text(text_of_timers(timers, 20, 1), "5:early", "second");
    remove_timers(timers, "15:c");
    check_due(timers, 20, "10:a 20:b");
}

static void event_and_processing_time_are_two_states(struct world *world)
{
    struct cistern_state_descriptor descriptor = {.name = "event", .kind = CISTERN_TIMERS};
    struct cistern_state *event = register_state(world->backend, &descriptor);
    descriptor.name = "processing";
    struct cistern_state *processing = register_state(world->backend, &descriptor);
    add_timers(event, "5:k 6:k");
    add_timers(processing, "5:k 4:k");
    check_due(event, 5, "5:k");
    next_expect(processing, 4);
    remove_timers(processing, "4:k");
    check_due(processing, 9, "5:k");
    check_due(event, 9, "6:k");
}

static void batches_of_timers(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    struct cistern_address addresses[5] = {at("a"), at("b"), at("a"), at("a@w"), at("c")};
    const int64_t times[5] = {3, 2, 3, 3, 1};
    uint32_t done = 0;
    assert_ok(cistern_timer_add_many(timers, times, addresses, 5, &done, &error), error);
    assert_int_equal(done, 5);
    check_entries(timers, 4);
    assert_ok(cistern_timer_remove_many(timers, times, addresses, 2, &done, &error), error);
    assert_int_equal(done, 2);
    check_due(timers, 9, "1:c 3:a@w");
}

/* Popped timers are results: they may be the inputs of the next call. */
static void borrowed_timers_as_inputs(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    struct cistern_entry due[3];
    struct cistern_address addresses[3];
    int64_t times[3];
    uint32_t count = 0;
    uint32_t done = 0;
    add_timers(timers, "1:key-a@window 2:key-b 3:key-c@");
    assert_ok(cistern_timer_pop_due(timers, 9, due, 3, &count, &error), error);
    assert_int_equal(count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        addresses[i] = due[i].address;
        times[i] = due[i].written_ms + 100;
    }
    assert_ok(cistern_timer_add_many(timers, times, addresses, 3, &done, &error), error);
    check_due(timers, 900, "101:key-a@window 102:key-b 103:key-c@");
}

#define MANY 20000u

static int time_compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Many are added, every third is removed, the rest comes out sorted and complete. */
static void many_timers_come_out_sorted(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    uint32_t count = strcmp(world->semantics->name, "table") == 0 ? 500 : MANY;
    static int64_t expected[MANY];
    uint32_t expected_count = 0;
    uint64_t random = 77;
    for (uint32_t i = 0; i < count; i++) {
        char place[40];
        snprintf(place, sizeof place, "key-%u@%u", i % 1000, i); /* distinct */
        struct cistern_address address = at(place);
        int64_t time = (int64_t)(test_random(&random) % 3000) - 1500;
        assert_ok(cistern_timer_add(timers, time, &address, &error), error);
        if (i % 3 == 0) {
            assert_ok(cistern_timer_remove(timers, time, &address, &error), error);
        } else {
            expected[expected_count++] = time;
        }
    }
    qsort(expected, expected_count, sizeof expected[0], time_compare);
    check_entries(timers, expected_count);
    static struct cistern_entry due[1000];
    uint32_t got = 0;
    for (uint32_t from = 0; from < expected_count; from += got) {
        int64_t first = expected[from];
        assert_ok(
            cistern_timer_pop_due(timers, first + 3, due, 1 + from % 1000, &got, &error), error);
        assert_true(got > 0);
        for (uint32_t i = 0; i < got; i++) {
            assert_true(due[i].written_ms == expected[from + i]);
        }
    }
    none_expect(timers);
}

/* A walk sees each timer once, with its time, while timers come and go. */
static void timers_are_walked_once(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    struct cistern_cursor *cursor;
    struct cistern_entry entries[3];
    uint8_t seen[200] = {0};
    uint32_t count = 0;
    uint32_t total = 0;
    for (uint32_t i = 0; i < 200; i++) {
        char text[64];
        snprintf(text, sizeof text, "%u:k%u@w", i, i % 10);
        add_timers(timers, text);
    }
    assert_ok(cistern_entries_open(timers, &cursor, &error), error);
    do {
        int64_t times[3];
        assert_ok(cistern_cursor_next(cursor, entries, 3, &count, &error), error);
        for (uint32_t i = 0; i < count; i++) {
            times[i] = entries[i].written_ms;
            assert_null(entries[i].value.data);
            assert_null(entries[i].user_key.data);
            assert_int_equal(entries[i].address.name_space.bytes, times[i] < 200);
        }
        for (uint32_t i = 0; i < count; i++) {
            char text[64];
            if (times[i] >= 200) {
                continue;
            }
            assert_int_equal(seen[times[i]], 0);
            seen[times[i]] = 1;
            total++;
            snprintf(text, sizeof text, "%d:k%d@w", (int)times[i], (int)times[i] % 10);
            remove_timers(timers, text);
            snprintf(text, sizeof text, "%d:new", (int)times[i] + 1000);
            add_timers(timers, text);
        }
    } while (count != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(total, 200);
    check_entries(timers, 200);
}

const struct semantics_case timer_cases[] = {
    CASE(T, timers_are_a_set),
    CASE(T, timers_pop_in_time_order),
    CASE(T, timer_removed_does_not_fire),
    CASE(T, timers_negative_times),
    CASE(T, timers_pop_no_more_than_asked),
    CASE(T, timers_added_while_popping),
    CASE(T, event_and_processing_time_are_two_states),
    CASE(T, batches_of_timers),
    CASE(T, borrowed_timers_as_inputs),
    CASE(T, many_timers_come_out_sorted),
    CASE(T, timers_are_walked_once),
    CASE_END,
};
