/* cursor_test.c -- a cursor sees every lasting entry exactly once, whatever happens to the index
 * meanwhile. */
#include "support.h"
#include "lookup_private.h"
#include "cistern/alloc.h"

#include <string.h>

/* The number a key of test_key_make() was made from. */
static uint32_t number_of(const struct cistern_entry *entry)
{
    char text[32] = {0};
    assert_true(entry->address.key.bytes < sizeof text);
    memcpy(text, entry->address.key.data, entry->address.key.bytes);
    const char *digits = strpbrk(text, "0123456789");
    assert_non_null(digits);
    return (uint32_t)strtoul(digits, NULL, 10);
}

static void check_entry(
    const struct model *model, const struct cistern_entry *entry, uint32_t number)
{
    struct test_key key;
    test_key_make(&key, number);
    assert_true(span_equal(entry->address.key, key.address.key));
    assert_true(span_equal(entry->address.name_space, key.address.name_space));
    assert_int_equal(entry->address.name_space.data != NULL, key.address.name_space.data != NULL);
    assert_int_equal(entry->address.key_group, key.address.key_group);
    if (model->items[number].present) {
        assert_int_equal(entry->value.bytes, model->items[number].bytes);
    }
}

struct tour {
    struct rig rig;
    struct model model;
    uint8_t *seen;
    uint8_t *lasting; /* present from open to close */
    uint64_t random;
};

static void tour_open(struct tour *tour, uint32_t count, uint32_t present, uint64_t seed)
{
    memset(tour, 0, sizeof *tour);
    tour->random = test_seed("heapstate_cursor", seed);
    rig_open_value(&tour->rig, 32u << 20);
    struct cistern_state *state = tour->rig.state;
    struct cistern_state_descriptor other = {.name = "other", .kind = CISTERN_VALUE};
    rig_register(&tour->rig, &other); /* entries of another state stand in the same buckets */
    struct cistern_state *second = tour->rig.state;
    model_init(&tour->model, count);
    struct model ignored;
    model_init(&ignored, count);
    tour->seen = calloc(count, 1);
    tour->lasting = calloc(count, 1);
    for (uint32_t i = 0; i < present; i++) {
        tour->rig.state = second;
        assert_status(model_put(&ignored, &tour->rig, i, 9, 1), CISTERN_OK);
        tour->rig.state = state;
        assert_status(model_put(&tour->model, &tour->rig, i, 20, 1), CISTERN_OK);
        tour->lasting[i] = 1;
    }
    model_deinit(&ignored);
}

static void tour_close(struct tour *tour)
{
    for (uint32_t i = 0; i < tour->model.count; i++) {
        assert_true(!tour->lasting[i] || tour->seen[i] == 1);
    }
    free(tour->seen);
    free(tour->lasting);
    model_deinit(&tour->model);
    rig_close(&tour->rig);
}

typedef void (*between_fn)(struct tour *tour, uint32_t last_seen);

static void walk(struct tour *tour, uint32_t capacity, between_fn between)
{
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[64];
    assert_true(capacity <= 64);
    assert_ok(cistern_entries_open(tour->rig.state, &cursor, &tour->rig.error), tour->rig.error);
    uint32_t count = 1;
    while (count != 0) {
        assert_ok(cistern_cursor_next(cursor, entries, capacity, &count, &tour->rig.error),
            tour->rig.error);
        uint32_t last = 0;
        for (uint32_t i = 0; i < count; i++) {
            last = number_of(&entries[i]);
            check_entry(&tour->model, &entries[i], last);
            assert_int_equal(tour->seen[last], 0);
            tour->seen[last] = 1;
        }
        if (between != NULL && count != 0) {
            between(tour, last);
        }
    }
    cistern_cursor_close(cursor);
}

static void every_entry_once(void **context)
{
    (void)context;
    for (uint32_t capacity = 1; capacity <= 64; capacity *= 8) {
        struct tour tour;
        tour_open(&tour, 20000, 20000, capacity);
        walk(&tour, capacity, NULL);
        tour_close(&tour);
    }
}

static void grow(struct tour *tour, uint32_t last)
{
    (void)last;
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t number = (uint32_t)(test_random(&tour->random) % tour->model.count);
        if (!tour->lasting[number]) {
            assert_status(model_put(&tour->model, &tour->rig, number, 20, 2), CISTERN_OK);
        }
    }
}

static void every_entry_once_while_growing(void **context)
{
    (void)context;
    struct tour tour;
    tour_open(&tour, 60000, 5000, 1);
    uint32_t before = rig_heap(&tour.rig)->index.bucket_count;
    walk(&tour, 7, grow);
    assert_true(rig_heap(&tour.rig)->index.bucket_count > before * 2);
    tour_close(&tour);
}

static void remove_what_was_returned(struct tour *tour, uint32_t last)
{
    assert_status(model_remove(&tour->model, &tour->rig, last), CISTERN_OK);
    for (uint32_t i = 0; i < 6;
         i++) { /* and others, seen or not: those need not be seen any more */
        uint32_t number = (uint32_t)(test_random(&tour->random) % tour->model.count);
        if (number % 4 != 0) {
            tour->lasting[number] = 0;
            assert_status(model_remove(&tour->model, &tour->rig, number), CISTERN_OK);
        }
    }
}

static void every_lasting_entry_once_while_shrinking(void **context)
{
    (void)context;
    struct tour tour;
    tour_open(&tour, 60000, 60000, 2);
    uint32_t before = rig_heap(&tour.rig)->index.bucket_count;
    walk(&tour, 1, remove_what_was_returned);
    assert_true(rig_heap(&tour.rig)->index.bucket_count < before);
    tour_close(&tour);
}

static void move_about(struct tour *tour, uint32_t last)
{
    (void)last;
    for (uint32_t i = 0; i < 20; i++) {
        uint32_t number = (uint32_t)(test_random(&tour->random) % tour->model.count);
        uint32_t bytes = (uint32_t)(test_random(&tour->random) % 60);
        assert_status(model_put(&tour->model, &tour->rig, number, bytes, 3), CISTERN_OK);
    }
    cleaner_run(rig_heap(&tour->rig), 64u << 10, 63);
}

static void every_entry_once_while_entries_move(void **context)
{
    (void)context;
    struct tour tour;
    tour_open(&tour, 20000, 20000, 3);
    walk(&tour, 13, move_about);
    tour_close(&tour);
}

/* Results are passed on as inputs, in batches, in a slot so full that the cleaner runs inside
 * the calls. */
static void results_may_be_inputs(void **context)
{
    (void)context;
    struct rig rig;
    struct model model;
    rig_open_value(&rig, 4u << 20);
    model_init(&model, 20000);
    for (uint32_t i = 0; i < model.count; i++) {
        assert_status(model_put(&model, &rig, i, 60, 1), CISTERN_OK);
    }
    /* so that removing appends tombstones */
    cistern_snapshot_release(snapshot_begin(&rig, 1, 0, CISTERN_SNAPSHOT_FULL));
    struct cistern_cursor *cursor = NULL;
    struct cistern_entry entries[64];
    struct cistern_address addresses[64];
    struct cistern_span values[64];
    assert_ok(cistern_entries_open(rig.state, &cursor, &rig.error), rig.error);
    uint32_t count = 1;
    for (uint32_t round = 0; count != 0; round++) {
        assert_ok(cistern_cursor_next(cursor, entries, 64, &count, &rig.error), rig.error);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t number = number_of(&entries[i]);
            addresses[i] = entries[i].address;
            values[i] = entries[(i + 1) % count].value; /* each gets its neighbour's value */
            uint32_t neighbour = number_of(&entries[(i + 1) % count]);
            model.items[number].present = round % 2;
            model.items[number].seed = neighbour; /* whose value it is now; checked below */
        }
        uint32_t done = 0;
        uint32_t status =
            round % 2
                ? cistern_value_put_many(rig.state, addresses, values, count, &done, &rig.error)
                : cistern_value_remove_many(rig.state, addresses, count, &done, &rig.error);
        assert_ok(status, rig.error);
        assert_int_equal(done, count);
    }
    cistern_cursor_close(cursor);
    for (uint32_t i = 0; i < model.count; i++) {
        struct test_key key;
        uint8_t expected[60];
        test_key_make(&key, i);
        struct cistern_span got = {NULL, 0};
        uint32_t status = cistern_value_get(rig.state, &key.address, &got, &rig.error);
        assert_status(status, model.items[i].present ? CISTERN_OK : CISTERN_NOT_FOUND);
        if (model.items[i].present) {
            test_value_fill(expected, sizeof expected, model.items[i].seed, 1);
            assert_int_equal(got.bytes, sizeof expected);
            assert_memory_equal(got.data, expected, sizeof expected);
        }
    }
    model_deinit(&model);
    rig_close(&rig);
}

/* Entries of one 32-bit hash: only the remembered key tells which were returned. The hashes are
 * made equal by hand. */
static void one_hash_for_many_entries(void **context)
{
    (void)context;
    struct tour tour;
    tour_open(&tour, 40, 0, 4);
    struct heap *heap = rig_heap(&tour.rig);
    for (uint32_t i = 0; i < tour.model.count; i++) {
        struct test_key key;
        test_key_make(&key, i);
        struct lookup lookup = lookup_make(heap, tour.rig.state->id, &key.address);
        lookup.hash = (lookup.hash & 0xffffffff00000000ULL) | 12345;
        struct heap_state *state = (struct heap_state *)tour.rig.state;
        uint8_t value[20] = {0};
        assert_status(
            value_store(heap, state, &lookup, (struct cistern_span){value, 20}, 0), CISTERN_OK);
        tour.model.items[i] = (struct model_item){.present = 1, .bytes = 20};
        tour.lasting[i] = 1;
    }
    walk(&tour, 1, NULL);
    memset(tour.seen, 0, tour.model.count);
    walk(&tour, 3, NULL);
    tour_close(&tour);
    assert_int_equal(cistern_allocation_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_once),
        cmocka_unit_test(every_entry_once_while_growing),
        cmocka_unit_test(every_lasting_entry_once_while_shrinking),
        cmocka_unit_test(every_entry_once_while_entries_move),
        cmocka_unit_test(results_may_be_inputs),
        cmocka_unit_test(one_hash_for_many_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
