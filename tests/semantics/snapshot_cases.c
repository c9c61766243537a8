/* snapshot_cases.c -- snapshots, increments, restores with other ranges, for every kind that the
 * backend holds. What a savepoint says to the other backend: savepoint_test.c. */
#include "semantics/content.h"

#include <string.h>

#define V KIND_BIT(CISTERN_VALUE)
#define L KIND_BIT(CISTERN_LIST)
#define M KIND_BIT(CISTERN_MAP)
#define T KIND_BIT(CISTERN_TIMERS)

static const struct cistern_key_group_range low = {0, 41};
static const struct cistern_key_group_range high = {42, 127};

/* Both forms, or the canonical one where there is no other. */
static const uint32_t forms[] = {CISTERN_SNAPSHOT_CANONICAL, CISTERN_SNAPSHOT_FULL};

static uint32_t form_count(const struct world *world)
{
    return 1 + world->semantics->native;
}

static void restored_expect(struct world *world, struct capture *const *captures, uint32_t count,
    const struct content *content, struct cistern_key_group_range range)
{
    struct cistern_backend *restored =
        restore_backend(world->semantics, world->slots[1], captures, count, range);
    check_content(restored, world->semantics->kinds, content, range);
    close_backend(restored);
}

static void change_some(struct world *world, struct content *content, uint32_t step)
{
    for (uint32_t index = 0; index < ITEM_COUNT; index += step) {
        change_content(world->backend, world->semantics->kinds, content, index);
    }
}

static void snapshots_do_not_see_later_changes(struct world *world)
{
    struct content content;
    fill_content(world->backend, world->semantics->kinds, &content);
    check_content(world->backend, world->semantics->kinds, &content, all_groups);
    for (uint32_t i = 0; i < form_count(world); i++) {
        for (uint32_t round = 0; round < 3; round++) {
            struct content frozen = content;
            struct cistern_snapshot *snapshot = begin_snapshot(world, forms[i]);
            change_some(world, &content, 1 + round);
            change_some(world, &content, 2);
            struct capture *capture = finish_snapshot(world, snapshot, forms[i], NULL);
            restored_expect(world, &capture, 1, &frozen, all_groups);
            check_content(world->backend, world->semantics->kinds, &content, all_groups);
            capture_free(capture);
        }
    }
}

static void snapshot_of_nothing(struct world *world)
{
    for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
        if (world->semantics->kinds & KIND_BIT(kind)) {
            (void)state_of(world->backend, kind);
        }
    }
    for (uint32_t i = 0; i < form_count(world); i++) {
        struct capture *capture = capture_of(world, forms[i]);
        struct cistern_backend *restored =
            restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
        struct content content;
        fill_content(restored, world->semantics->kinds, &content);
        check_content(restored, world->semantics->kinds, &content, all_groups);
        close_backend(restored);
        capture_free(capture);
    }
}

static void snapshot_given_up_leaves_the_state(struct world *world)
{
    struct content content;
    fill_content(world->backend, world->semantics->kinds, &content);
    for (uint32_t i = 0; i < 6; i++) {
        struct cistern_error error;
        struct cistern_part part;
        uint8_t bytes[512];
        struct cistern_snapshot *snapshot = begin_snapshot(world, forms[i % form_count(world)]);
        change_some(world, &content, 3);
        for (uint32_t pulls = 0; pulls < i / 2; pulls++) {
            uint64_t got = 0;
            if (cistern_snapshot_next(snapshot, &part, &error) == CISTERN_OK &&
                part.kind == CISTERN_PART_STREAM) {
                struct cistern_bytes room = {bytes, sizeof bytes};
                assert_ok(cistern_snapshot_read(snapshot, room, &got, &error), error);
            }
        }
        cistern_snapshot_release(snapshot);
        cistern_backend_notify(world->backend, world->checkpoint_id, CISTERN_DISCARDED);
        check_content(world->backend, world->semantics->kinds, &content, all_groups);
    }
    struct capture *capture = capture_of(world, CISTERN_SNAPSHOT_CANONICAL);
    restored_expect(world, &capture, 1, &content, all_groups);
    capture_free(capture);
}

static void restore_same_split_and_joined_ranges(struct world *world)
{
    struct content content;
    fill_content(world->backend, world->semantics->kinds, &content);
    change_some(world, &content, 3);
    change_some(world, &content, 5);
    for (uint32_t i = 0; i < form_count(world); i++) {
        struct capture *whole = capture_of(world, forms[i]);
        restored_expect(world, &whole, 1, &content, all_groups);
        restored_expect(world, &whole, 1, &content, low);
        restored_expect(world, &whole, 1, &content, high);
        /* Two slots of their own, whose snapshots become one slot's again, and other two's. */
        struct capture *parts[2];
        for (uint32_t part = 0; part < 2; part++) {
            struct world split = *world;
            split.backend = restore_backend(
                world->semantics, world->slots[2], &whole, 1, part == 0 ? low : high);
            split.checkpoint_id = 100;
            (void)state_of(split.backend, CISTERN_VALUE); /* as a host does */
            parts[part] = capture_of(&split, forms[i]);
            close_backend(split.backend);
        }
        restored_expect(world, parts, 2, &content, all_groups);
        restored_expect(world, parts, 2, &content, (struct cistern_key_group_range){20, 90});
        capture_free(parts[0]);
        capture_free(parts[1]);
        capture_free(whole);
    }
}

static void life_goes_on_after_a_restore(struct world *world)
{
    struct content content;
    uint32_t kinds = world->semantics->kinds;
    fill_content(world->backend, kinds, &content);
    for (uint32_t i = 0; i < 2 * form_count(world); i++) {
        uint32_t form = forms[i % form_count(world)];
        struct capture *capture = capture_of(world, form);
        close_backend(world->backend);
        world->backend =
            restore_backend(world->semantics, world->slots[0], &capture, 1, all_groups);
        check_content(world->backend, kinds, &content, all_groups);
        change_some(world, &content, 2);
        change_some(world, &content, 3);
        check_content(world->backend, kinds, &content, all_groups);
        capture_free(capture);
    }
}

/* A chain of increments, each on the one before, with all sorts of changes between. */
static void increments_hold_what_changed(struct world *world)
{
    struct content content;
    fill_content(world->backend, world->semantics->kinds, &content);
    struct capture *base = NULL;
    for (uint32_t i = 0; i < 12 && world->semantics->native; i++) {
        uint32_t form = i == 0 ? CISTERN_SNAPSHOT_FULL : CISTERN_SNAPSHOT_INCREMENT;
        struct content frozen = content;
        struct cistern_snapshot *snapshot = begin_snapshot(world, form);
        change_some(world, &content, 7 + i);
        struct capture *capture = finish_snapshot(world, snapshot, form, base);
        if (i % 3 == 2) {
            restored_expect(world, &capture, 1, &frozen, all_groups);
            restored_expect(world, &capture, 1, &frozen, high);
        }
        capture_free(base);
        base = capture;
        change_some(world, &content, 5);
    }
    capture_free(base);
    check_content(world->backend, world->semantics->kinds, &content, all_groups);
}

/* Whole lists, maps and namespaces go between a base and its increment. */
static void increments_know_what_is_gone(struct world *world)
{
    struct cistern_error error;
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    append_list(list, "k@a", "a1 a2");
    append_list(list, "k@b", "b1");
    append_list(list, "k@t", "t1");
    append_list(list, "gone@x", "x");
    put_map(map, "k", "u=1 v=2 n");
    put_map(map, "cleared", "u=1 v");
    put_map(map, "gone@x", "u");
    for (uint32_t i = 0; i < 100; i++) {
        char entry[40];
        snprintf(entry, sizeof entry, "u%u=%u", i, i);
        put_map(map, "big", entry);
        put_map(map, "big2", entry);
    }
    struct capture *base = world->semantics->native ? capture_of(world, CISTERN_SNAPSHOT_FULL)
                                                    : capture_of(world, CISTERN_SNAPSHOT_CANONICAL);
    merge_places(list, "k@t", "a b");
    assert_ok(cistern_state_drop_namespace(list, SPAN("x"), &error), error);
    assert_ok(cistern_state_drop_namespace(map, SPAN("x"), &error), error);
    clear_place(map, "cleared");
    clear_place(map, "big");
    clear_place(map, "big2");
    put_map(map, "big2", "u5=again");
    remove_map(map, "k", "u");
    put_map(map, "k", "v");
    uint32_t form =
        world->semantics->native ? CISTERN_SNAPSHOT_INCREMENT : CISTERN_SNAPSHOT_CANONICAL;
    struct capture *capture = finish_snapshot(world, begin_snapshot(world, form), form, base);
    struct cistern_backend *restored =
        restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
    list = state_of(restored, CISTERN_LIST);
    map = state_of(restored, CISTERN_MAP);
    check_list(list, "k@t", "t1 a1 a2 b1");
    check_pairs(list, "k@t");
    check_map(map, "k", "n v");
    check_map(map, "big2", "u5=again");
    check_pairs(map, "big2 k");
    check_entries(map, 3);
    check_entries(list, 4);
    close_backend(restored);
    capture_free(capture);
    capture_free(base);
}

/* A list keeps its order when it grew over many checkpoints. */
static void lists_keep_their_order_over_increments(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    struct capture *base = NULL;
    char expected[4000] = "";
    for (uint32_t i = 0; i < 10; i++) {
        char elements[200] = "";
        for (uint32_t k = 0; k < 8; k++) {
            snprintf(elements + strlen(elements), 24, "%se%u.%u", k > 0 ? " " : "", i, k);
        }
        append_list(list, "k@w", elements);
        strcat(strcat(expected, i > 0 ? " " : ""), elements);
        uint32_t form = !world->semantics->native ? CISTERN_SNAPSHOT_CANONICAL
                        : i == 0                  ? CISTERN_SNAPSHOT_FULL
                                                  : CISTERN_SNAPSHOT_INCREMENT;
        struct capture *capture = finish_snapshot(world, begin_snapshot(world, form), form, base);
        struct cistern_backend *restored =
            restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
        struct cistern_state *again = state_of(restored, CISTERN_LIST);
        check_list(again, "k@w", expected);
        append_list(again, "k@w", "after");
        check_entries(again, 8 * (i + 1) + 1);
        close_backend(restored);
        capture_free(base);
        base = capture;
    }
    capture_free(base);
}

/* A map or list of each size that a backend may hold in another way, changed while its snapshot is
 * on its way. */
static const uint32_t sizes[] = {1, 2, 5, 15, 31, 33, 64, 150, 600};
#define SIZE_COUNT (sizeof sizes / sizeof sizes[0])

static char *numbered(uint32_t from, uint32_t to, const char *format)
{
    char *text = calloc(to + 1, 64);
    assert_non_null(text);
    size_t used = 0;
    for (uint32_t i = from; i < to; i++) {
        used += (size_t)sprintf(text + used, "%s", i > from ? " " : "");
        used += (size_t)sprintf(text + used, format, i, i);
    }
    return text;
}

static void maps_of_each_size_travel(struct world *world)
{
    struct cistern_state *map = state_of(world->backend, CISTERN_MAP);
    for (uint32_t i = 0; i < SIZE_COUNT * form_count(world); i++) {
        uint32_t size = sizes[i / form_count(world)];
        uint32_t form = forms[i % form_count(world)];
        char place[24];
        char *entries = numbered(100, 100 + size, "u%u=value%u");
        char *user_keys = numbered(100, 100 + size, "u%u");
        char *later = numbered(90, 90 + size, "u%u=later%u");
        snprintf(place, sizeof place, "k%u@w", i);
        put_map(map, place, entries);
        struct cistern_snapshot *snapshot = begin_snapshot(world, form);
        put_map(map, place, later);
        remove_map(map, place, user_keys);
        struct capture *capture = finish_snapshot(world, snapshot, form, NULL);
        struct cistern_backend *restored =
            restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
        struct cistern_state *again = state_of(restored, CISTERN_MAP);
        check_map(again, place, entries);
        put_map(again, place, later);
        remove_map(again, place, user_keys);
        char *left = text_of_map(map, place);
        check_map(again, place, left);
        free(left);
        close_backend(restored);
        capture_free(capture);
        free(entries);
        free(user_keys);
        free(later);
    }
}

static void lists_of_each_size_travel(struct world *world)
{
    struct cistern_state *list = state_of(world->backend, CISTERN_LIST);
    for (uint32_t i = 0; i < SIZE_COUNT * form_count(world); i++) {
        uint32_t size = sizes[i / form_count(world)];
        uint32_t form = forms[i % form_count(world)];
        char place[24];
        char *elements = numbered(0, size, "e%u.%u");
        snprintf(place, sizeof place, "k%u@w", i);
        append_list(list, place, elements);
        struct cistern_snapshot *snapshot = begin_snapshot(world, form);
        if (i % 3 == 0) {
            replace_list(list, place, "x");
        } else {
            append_list(list, place, elements);
        }
        struct capture *capture = finish_snapshot(world, snapshot, form, NULL);
        struct cistern_backend *restored =
            restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
        struct cistern_state *again = state_of(restored, CISTERN_LIST);
        check_list(again, place, elements);
        append_list(again, place, "after");
        close_backend(restored);
        capture_free(capture);
        free(elements);
    }
}

static void timers_fire_in_order_after_a_restore(struct world *world)
{
    struct cistern_state *timers = state_of(world->backend, CISTERN_TIMERS);
    add_timers(timers, "30:a 10:b@w -5:c 20:d@ 20:e");
    remove_timers(timers, "20:e");
    for (uint32_t i = 0; i < form_count(world); i++) {
        struct capture *capture = capture_of(world, forms[i]);
        struct cistern_backend *restored =
            restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
        struct cistern_state *again = state_of(restored, CISTERN_TIMERS);
        add_timers(again, "10:b@w 15:new"); /* still a set */
        check_due(again, 15, "-5:c 10:b@w 15:new");
        check_due(again, 100, "20:d@ 30:a");
        close_backend(restored);
        capture_free(capture);
    }
}

const struct semantics_case snapshot_cases[] = {
    CASE(V, snapshots_do_not_see_later_changes),
    CASE(V, snapshot_of_nothing),
    CASE(V, snapshot_given_up_leaves_the_state),
    CASE(V, restore_same_split_and_joined_ranges),
    CASE(V, life_goes_on_after_a_restore),
    CASE(V, increments_hold_what_changed),
    CASE(L | M, increments_know_what_is_gone),
    CASE(L, lists_keep_their_order_over_increments),
    CASE(M, maps_of_each_size_travel),
    CASE(L, lists_of_each_size_travel),
    CASE(T, timers_fire_in_order_after_a_restore),
    CASE_END,
};
