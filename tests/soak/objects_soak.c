/*
 * objects_soak.c -- DECISIONS section 3, test 10: big and tiny objects in one slot: maps of one
 * entry, a map of millions, a list of gigabytes, timers, values of 1 byte and of hundreds of
 * megabytes. The big map is walked while every second entry is removed and a snapshot is in flight;
 * two long lists are merged; the big map is cleared.
 *
 *   objects_soak [DIVISOR]    default 1: 5 M maps, 10 M entries, 3 GiB, 10 M timers, 300 MiB; some
 *                             16 GiB of memory, half of it for the snapshot's copy
 */
#include "soak/soak_check.h"
#include "support/capture.h"

#include "cistern/heap.h"
#include "cistern/keys.h"
#include "cistern/list.h"
#include "cistern/map.h"
#include "cistern/timer.h"

#include <string.h>

#define BATCH 256u
#define ELEMENT_BYTES 1000u
#define STEP_NS 1000000

static struct cistern_error error;
static uint64_t divisor = 1;

struct objects {
    struct cistern_pool *pool;
    struct cistern_slot *slots[2];
    struct cistern_backend *backend;
    struct cistern_state *values;
    struct cistern_state *lists;
    struct cistern_state *maps;
    struct cistern_state *timers;
};

static void states_register(struct objects *objects)
{
    struct cistern_state **states[] = {
        &objects->values, &objects->lists, &objects->maps, &objects->timers};
    const uint32_t kinds[] = {CISTERN_VALUE, CISTERN_LIST, CISTERN_MAP, CISTERN_TIMERS};
    for (uint32_t i = 0; i < 4; i++) {
        struct cistern_state_descriptor descriptor = {
            .name = cistern_state_kind_name(kinds[i]), .kind = kinds[i]};
        CHECK_OK(cistern_state_register(objects->backend, &descriptor, states[i], &error), error);
    }
}

static struct cistern_backend *heap_open(struct cistern_slot *slot)
{
    struct cistern_heap_options options = {.backend = {.max_parallelism = 128, .range = {0, 127}}};
    struct cistern_backend *backend;
    CHECK_OK(cistern_heap_open(slot, &options, &backend, &error), error);
    return backend;
}

static void objects_open(struct objects *objects)
{
    uint64_t limit = (6ull << 30) / divisor + (64u << 20);
    struct cistern_pool_options pool = {
        .budget_bytes = 2 * limit + limit / 2 + (64u << 20), .slot_count_max = 2};
    struct cistern_slot_options slot = {.limit_bytes = limit};
    CHECK_OK(cistern_pool_create(&pool, &objects->pool, &error), error);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_OK(cistern_slot_open(objects->pool, &slot, &objects->slots[i], &error), error);
    }
    objects->backend = heap_open(objects->slots[0]);
    states_register(objects);
}

static struct cistern_address address_of(uint64_t *number)
{
    return (struct cistern_address){.key = {number, 8}, .key_group = (uint32_t)(*number % 128)};
}

static void report(struct objects *objects, const char *what, uint64_t count, int64_t start_ns)
{
    double seconds = seconds_since(start_ns);
    printf("%-42s %10llu in %7.2f s, %7.2f M/s; the slot holds %.0f MB\n", what,
        (unsigned long long)count, seconds, (double)count / seconds / 1e6,
        (double)cistern_slot_used_bytes(objects->slots[0]) / 1e6);
}

/* A map of one entry beside a value of the same bytes: what it costs more. */
static void small_maps(struct objects *objects, uint64_t count)
{
    int64_t start_ns = cistern_now_ns();
    static uint64_t numbers[BATCH];
    static struct cistern_address addresses[BATCH];
    static struct cistern_span user_keys[BATCH];
    static struct cistern_span values[BATCH];
    struct cistern_heap_statistics before;
    struct cistern_heap_statistics after;
    cistern_heap_statistics(objects->backend, &before);
    for (uint64_t at = 0; at < count; at += BATCH) {
        uint32_t done;
        for (uint32_t i = 0; i < BATCH; i++) {
            numbers[i] = at + i;
            addresses[i] = address_of(&numbers[i]);
            user_keys[i] = (struct cistern_span){"u", 1};
            values[i] = (struct cistern_span){&numbers[i], 8};
        }
        CHECK_OK(
            cistern_map_put_many(objects->maps, addresses, user_keys, values, BATCH, &done, &error),
            error);
    }
    cistern_heap_statistics(objects->backend, &after);
    double each = (double)(after.live_bytes - before.live_bytes) / (double)count;
    report(objects, "maps of one entry", count, start_ns);
    printf(
        "  %.1f bytes each without index, with a key of 8, a user key of 1, a value of 8\n", each);
    CHECK(each <= 8 + 8 + 8 + 4 + 1 + 12 + 7, "a map of one entry costs %.1f bytes", each);
}

static void big_map_put(struct objects *objects, struct cistern_address *big, uint64_t count)
{
    int64_t start_ns = cistern_now_ns();
    static uint64_t numbers[BATCH];
    static struct cistern_address addresses[BATCH];
    static struct cistern_span spans[BATCH];
    for (uint64_t at = 0; at < count; at += BATCH) {
        uint32_t batch = (uint32_t)(count - at < BATCH ? count - at : BATCH);
        uint32_t done;
        for (uint32_t i = 0; i < batch; i++) {
            numbers[i] = at + i;
            addresses[i] = *big;
            spans[i] = (struct cistern_span){&numbers[i], 8};
        }
        CHECK_OK(cistern_map_put_many(objects->maps, addresses, spans, spans, batch, &done, &error),
            error);
    }
    report(objects, "entries of one map", count, start_ns);
}

/* Sees each of `count` once; removes the odd ones when asked to. */
static void big_map_walk(
    struct objects *objects, struct cistern_address *big, uint64_t count, int removes)
{
    int64_t start_ns = cistern_now_ns();
    static struct cistern_entry entries[BATCH];
    static uint64_t numbers[BATCH];
    uint8_t *seen = calloc(count, 1);
    struct cistern_cursor *cursor;
    uint64_t total = 0;
    uint32_t got;
    CHECK_OK(cistern_map_open(objects->maps, big, &cursor, &error), error);
    do {
        CHECK_OK(cistern_cursor_next(cursor, entries, BATCH, &got, &error), error);
        for (uint32_t i = 0; i < got; i++) {
            memcpy(&numbers[i], entries[i].user_key.data, 8);
            CHECK(numbers[i] < count && seen[numbers[i]]++ == 0, "entry %llu is seen twice",
                (unsigned long long)numbers[i]);
            CHECK(memcmp(entries[i].value.data, &numbers[i], 8) == 0, "a value is another's");
        }
        total += got;
        for (uint32_t i = 0; i < got && removes; i++) {
            if (numbers[i] % 2 == 1) {
                struct cistern_span user_key = {&numbers[i], 8};
                CHECK_OK(cistern_map_remove(objects->maps, big, user_key, &error), error);
            }
        }
    } while (got != 0);
    cistern_cursor_close(cursor);
    free(seen);
    CHECK(total == count, "%llu of %llu entries were seen", (unsigned long long)total,
        (unsigned long long)count);
    report(objects, removes ? "entries walked, every second removed" : "entries walked", count,
        start_ns);
}

static void list_append(
    struct objects *objects, struct cistern_address *address, uint64_t count, uint64_t bytes_each)
{
    int64_t start_ns = cistern_now_ns();
    static uint8_t bytes[BATCH][ELEMENT_BYTES];
    static struct cistern_span spans[BATCH];
    for (uint64_t at = 0; at < count; at += BATCH) {
        uint32_t batch = (uint32_t)(count - at < BATCH ? count - at : BATCH);
        for (uint32_t i = 0; i < batch; i++) {
            uint64_t number = at + i;
            memcpy(bytes[i], &number, 8);
            spans[i] = (struct cistern_span){bytes[i], bytes_each};
        }
        CHECK_OK(cistern_list_append_many(objects->lists, address, spans, batch, &error), error);
    }
    report(objects, "elements appended", count, start_ns);
}

/* Numbers from 0 to first - 1, then from 0 again. */
static void list_compare(struct objects *objects, struct cistern_address *address, uint64_t first,
    uint64_t second, const char *what)
{
    int64_t start_ns = cistern_now_ns();
    static struct cistern_entry entries[BATCH];
    struct cistern_cursor *cursor;
    uint64_t total = 0;
    uint32_t got;
    CHECK_OK(cistern_list_open(objects->lists, address, &cursor, &error), error);
    do {
        CHECK_OK(cistern_cursor_next(cursor, entries, BATCH, &got, &error), error);
        for (uint32_t i = 0; i < got; i++, total++) {
            uint64_t number;
            memcpy(&number, entries[i].value.data, 8);
            CHECK(number == (total < first ? total : total - first), "element %llu is element %llu",
                (unsigned long long)total, (unsigned long long)number);
        }
    } while (got != 0);
    cistern_cursor_close(cursor);
    CHECK(total == first + second, "%llu elements", (unsigned long long)total);
    report(objects, what, total, start_ns);
}

static void merge_lists(struct objects *objects, uint64_t count)
{
    uint64_t number = 7;
    struct cistern_address target = address_of(&number);
    struct cistern_address source = target;
    struct cistern_heap_statistics before;
    struct cistern_heap_statistics after;
    source.name_space = (struct cistern_span){"b", 1};
    target.name_space = (struct cistern_span){"a", 1};
    list_append(objects, &target, count, 16);
    list_append(objects, &source, count, 16);
    cistern_heap_statistics(objects->backend, &before);
    int64_t start_ns = cistern_now_ns();
    CHECK_OK(cistern_state_merge(objects->lists, &target, &source.name_space, 1, &error), error);
    double seconds = seconds_since(start_ns);
    cistern_heap_statistics(objects->backend, &after);
    printf("  merged in %.3f ms, %llu bytes appended\n", seconds * 1e3,
        (unsigned long long)(after.appended_bytes - before.appended_bytes));
    CHECK(after.appended_bytes - before.appended_bytes < 64 << 10, "merging moved elements");
    list_compare(objects, &target, count, count, "elements after the merge");
    list_compare(objects, &source, 0, 0, "elements left in the source");
}

static void timers_add(struct objects *objects, uint64_t count)
{
    int64_t start_ns = cistern_now_ns();
    static uint64_t numbers[BATCH];
    static int64_t times[BATCH];
    static struct cistern_address addresses[BATCH];
    for (uint64_t at = 0; at < count; at += BATCH) {
        uint32_t done;
        for (uint32_t i = 0; i < BATCH; i++) {
            numbers[i] = at + i;
            times[i] = (int64_t)((at + i) * 0x9E3779B97F4A7C15u >> 34);
            addresses[i] = address_of(&numbers[i]);
        }
        CHECK_OK(
            cistern_timer_add_many(objects->timers, times, addresses, BATCH, &done, &error), error);
    }
    report(objects, "timers added", count, start_ns);
}

static void timers_pop(struct objects *objects, uint64_t expected)
{
    int64_t start_ns = cistern_now_ns();
    static struct cistern_entry due[BATCH];
    int64_t last = INT64_MIN;
    uint64_t total = 0;
    uint32_t got;
    do {
        CHECK_OK(
            cistern_timer_pop_due(objects->timers, INT64_MAX, due, BATCH, &got, &error), error);
        for (uint32_t i = 0; i < got; i++) {
            CHECK(due[i].written_ms >= last, "timers fire out of order");
            last = due[i].written_ms;
        }
        total += got;
    } while (got != 0);
    CHECK(total == expected, "%llu timers fired", (unsigned long long)total);
    report(objects, "timers popped", total, start_ns);
}

static void values_put(struct objects *objects, uint64_t big_bytes)
{
    uint8_t *bytes = malloc(big_bytes);
    uint64_t number = 1;
    struct cistern_address address = address_of(&number);
    memset(bytes, 'x', big_bytes);
    for (uint32_t i = 0; i < 3; i++) {
        struct cistern_span value = {bytes, i % 2 == 0 ? big_bytes : 1};
        struct cistern_span got;
        CHECK_OK(cistern_value_put(objects->values, &address, value, &error), error);
        CHECK_OK(cistern_value_get(objects->values, &address, &got, &error), error);
        CHECK(got.bytes == value.bytes && memcmp(got.data, bytes, got.bytes) == 0,
            "a value of %llu bytes is not as it was", (unsigned long long)value.bytes);
    }
    free(bytes);
}

/* At once for who asks; the memory follows in steps. */
static void clear_big_map(struct objects *objects, struct cistern_address *big)
{
    uint64_t before = cistern_slot_used_bytes(objects->slots[0]);
    int64_t start_ns = cistern_now_ns();
    CHECK_OK(cistern_state_clear(objects->maps, big, &error), error);
    double clear_ms = seconds_since(start_ns) * 1e3;
    uint32_t is_empty;
    CHECK_OK(cistern_map_is_empty(objects->maps, big, &is_empty, &error), error);
    CHECK(is_empty, "the cleared map holds something");
    double longest_ms = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        int64_t step_ns = cistern_now_ns();
        CHECK_OK(cistern_backend_step(objects->backend, step_ns + STEP_NS, &error), error);
        double ms = seconds_since(step_ns) * 1e3;
        longest_ms = ms > longest_ms ? ms : longest_ms;
    }
    printf("cleared in %.3f ms, longest step %.2f ms, %.0f MB came back\n", clear_ms, longest_ms,
        (double)(before - cistern_slot_used_bytes(objects->slots[0])) / 1e6);
    CHECK(clear_ms <= 5.0, "clearing took %.2f ms", clear_ms); /* 1 ms on a quiet machine */
}

static void restore_and_compare(struct objects *objects, struct capture *capture,
    struct cistern_address *big, uint64_t entry_count, struct cistern_address *list,
    uint64_t element_count, uint64_t timer_count)
{
    struct objects again = {.pool = objects->pool, .slots = {objects->slots[1], NULL}};
    again.backend = heap_open(objects->slots[1]);
    struct cistern_source source = capture_source(&capture, 1);
    int64_t start_ns = cistern_now_ns();
    CHECK_OK(cistern_backend_restore(again.backend, &source, &error), error);
    printf(
        "restored %.0f MB in %.2f s\n", (double)capture->new_bytes / 1e6, seconds_since(start_ns));
    capture_source_close(&source);
    states_register(&again);
    big_map_walk(&again, big, entry_count, 0);
    list_compare(&again, list, element_count, 0, "elements of the restored list");
    timers_pop(&again, timer_count);
    CHECK_OK(cistern_backend_close(again.backend, &error), error);
}

int main(int argc, char **argv)
{
    struct objects objects;
    struct cistern_snapshot *snapshot;
    divisor = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    CHECK(divisor >= 1 && divisor <= 1000, "usage: objects_soak [DIVISOR, 1 to 1000]");
    uint64_t map_count = 5000000 / divisor / BATCH * BATCH;
    uint64_t entry_count = 10000000 / divisor;
    uint64_t timer_count = 10000000 / divisor / BATCH * BATCH;
    uint64_t element_count = (3ull << 30) / divisor / ELEMENT_BYTES;
    uint64_t big_number = UINT64_MAX;
    uint64_t list_number = UINT64_MAX - 1;
    struct cistern_address big = address_of(&big_number);
    struct cistern_address list = address_of(&list_number);
    objects_open(&objects);
    small_maps(&objects, map_count);
    big_map_put(&objects, &big, entry_count);
    big_map_walk(&objects, &big, entry_count, 0);
    list_append(&objects, &list, element_count, ELEMENT_BYTES);
    list_compare(&objects, &list, element_count, 0, "elements read");
    timers_add(&objects, timer_count);
    values_put(&objects, (300ull << 20) / divisor);
    struct cistern_snapshot_request request = {.checkpoint_id = 1, .kind = CISTERN_SNAPSHOT_FULL};
    int64_t begin_ns = cistern_now_ns();
    CHECK_OK(cistern_snapshot_begin(objects.backend, &request, &snapshot, &error), error);
    printf("snapshot begun in %.1f us\n", seconds_since(begin_ns) * 1e6);
    big_map_walk(&objects, &big, entry_count, 1);
    struct capture *capture = capture_take(snapshot, "heap", NULL);
    cistern_backend_notify(objects.backend, 1, CISTERN_CONFIRMED);
    restore_and_compare(&objects, capture, &big, entry_count, &list, element_count, timer_count);
    capture_free(capture);
    merge_lists(&objects, 1000000 / divisor);
    clear_big_map(&objects, &big);
    timers_pop(&objects, timer_count);
    CHECK_OK(cistern_backend_close(objects.backend, &error), error);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_OK(cistern_slot_close(objects.slots[i], &error), error);
    }
    CHECK_OK(cistern_pool_destroy(objects.pool, &error), error);
    printf("ok\n");
    return 0;
}
