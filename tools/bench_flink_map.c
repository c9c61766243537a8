/*
 * bench_flink_map.c -- MapStateBenchmark of flink-benchmarks: 500,000 maps of ten entries, Long to
 * Double; see bench_flink.h.
 *
 * Operation i works on set-up key i and user key i modulo ten, so a key always meets the same user
 * key, as in the original. Removing comes last.
 */
#include "bench_flink.h"

#include "cistern/endian.h"
#include "cistern/map.h"

#include <string.h>

#define MAP_KEY_COUNT 10u
#define CURSOR_COUNT 16u

struct item { /* one operation's inputs; the spans point into it */
    uint8_t key[FLINK_LONG_BYTES];
    uint8_t user_key[FLINK_LONG_BYTES];
    uint8_t value[FLINK_LONG_BYTES];
    struct cistern_address address;
};

static inline struct cistern_span span_of(const uint8_t bytes[FLINK_LONG_BYTES])
{
    return (struct cistern_span){bytes, FLINK_LONG_BYTES};
}

static inline void item_make(
    const struct flink *flink, struct item *item, uint64_t key, uint64_t user_key, uint64_t i)
{
    flink_address(&item->address, item->key, key);
    cistern_put_u64_be(item->user_key, user_key);
    cistern_put_u64_be(item->value, flink->values[i % FLINK_VALUE_COUNT]);
}

static uint64_t setup_key(const struct flink *flink, uint64_t i)
{
    return flink->setup_keys[i % FLINK_KEY_COUNT];
}

static uint32_t map_update(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    struct item item = {0};
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        item_make(flink, &item, setup_key(flink, i), i % MAP_KEY_COUNT, i);
        status = cistern_map_put(
            flink->state, &item.address, span_of(item.user_key), span_of(item.value), error);
    }
    return status;
}

static uint32_t map_add(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    struct item item = {0};
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        item_make(flink, &item, flink->new_keys[i % FLINK_KEY_COUNT], i % MAP_KEY_COUNT, i);
        status = cistern_map_put(
            flink->state, &item.address, span_of(item.user_key), span_of(item.value), error);
    }
    return status;
}

/* factor 1: every user key is there; 2: every second one. */
static uint32_t look_up(struct flink *flink, uint64_t first, uint32_t count, uint64_t factor,
    struct cistern_error *error)
{
    struct item item = {0};
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        struct cistern_span value;
        item_make(flink, &item, setup_key(flink, i), i % MAP_KEY_COUNT * factor, i);
        status =
            cistern_map_get(flink->state, &item.address, span_of(item.user_key), &value, error);
        flink->sum += status == CISTERN_OK ? flink_word(value) : 0;
        if (status == CISTERN_NOT_FOUND) {
            status = factor == 1 ? flink_missing(flink, error) : CISTERN_OK;
        }
    }
    return status;
}

static uint32_t map_get(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    return look_up(flink, first, count, 1, error);
}

static uint32_t map_contains(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    return look_up(flink, first, count, 2, error);
}

static uint32_t map_is_empty(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    struct item item = {0};
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        uint32_t is_empty = 0;
        item_make(flink, &item, setup_key(flink, i), 0, i);
        status = cistern_map_is_empty(flink->state, &item.address, &is_empty, error);
        flink->sum += is_empty;
    }
    return status;
}

static uint32_t map_remove(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    struct item item = {0};
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        item_make(flink, &item, setup_key(flink, i), i % MAP_KEY_COUNT, i);
        status = cistern_map_remove(flink->state, &item.address, span_of(item.user_key), error);
    }
    return status;
}

/* ---- whole maps ---- */

static uint32_t put_all(struct flink *flink, uint64_t key, uint64_t i, struct cistern_error *error)
{
    struct item items[MAP_KEY_COUNT];
    struct cistern_address addresses[MAP_KEY_COUNT];
    struct cistern_span user_keys[MAP_KEY_COUNT];
    struct cistern_span values[MAP_KEY_COUNT];
    memset(items, 0, sizeof items);
    for (uint32_t j = 0; j < MAP_KEY_COUNT; j++) {
        item_make(flink, &items[j], key, j, i + j);
        addresses[j] = items[j].address;
        user_keys[j] = span_of(items[j].user_key);
        values[j] = span_of(items[j].value);
    }
    uint32_t done;
    return cistern_map_put_many(
        flink->state, addresses, user_keys, values, MAP_KEY_COUNT, &done, error);
}

static uint32_t map_put_all(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = put_all(flink, setup_key(flink, i), i, error);
    }
    return status;
}

static uint32_t iterate_one(
    struct flink *flink, uint64_t key, int keys, int values, struct cistern_error *error)
{
    struct cistern_address address = {0};
    uint8_t bytes[FLINK_LONG_BYTES];
    struct cistern_cursor *cursor;
    flink_address(&address, bytes, key);
    uint32_t status = cistern_map_open(flink->state, &address, &cursor, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint32_t got = 1;
    uint32_t seen = 0;
    while (status == CISTERN_OK && got > 0) {
        struct cistern_entry entries[CURSOR_COUNT];
        got = 0;
        status = cistern_cursor_next(cursor, entries, CURSOR_COUNT, &got, error);
        for (uint32_t j = 0; j < got; j++) {
            flink->sum += keys ? flink_word(entries[j].user_key) : 0;
            flink->sum += values ? flink_word(entries[j].value) : 0;
        }
        seen += got;
    }
    cistern_cursor_close(cursor);
    return status == CISTERN_OK && seen != MAP_KEY_COUNT ? flink_missing(flink, error) : status;
}

static uint32_t map_keys(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = iterate_one(flink, setup_key(flink, i), 1, 0, error);
    }
    return status;
}

static uint32_t map_values(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = iterate_one(flink, setup_key(flink, i), 0, 1, error);
    }
    return status;
}

/* Flink's entries() and iterator() are one call here. */
static uint32_t map_entries(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = iterate_one(flink, setup_key(flink, i), 1, 1, error);
    }
    return status;
}

/* ---- a micro-batch of records at a time ---- */

struct batch {
    struct item items[FLINK_BATCH];
    struct cistern_address addresses[FLINK_BATCH];
    struct cistern_span user_keys[FLINK_BATCH];
    struct cistern_span values[FLINK_BATCH];
};

static inline uint32_t batch_fill(
    const struct flink *flink, struct batch *batch, uint64_t first, uint64_t end)
{
    uint32_t items = end - first < FLINK_BATCH ? (uint32_t)(end - first) : FLINK_BATCH;
    for (uint32_t j = 0; j < items; j++) {
        struct item *item = &batch->items[j];
        item_make(flink, item, setup_key(flink, first + j), (first + j) % MAP_KEY_COUNT, first + j);
        batch->addresses[j] = item->address;
        batch->user_keys[j] = span_of(item->user_key);
        batch->values[j] = span_of(item->value);
    }
    return items;
}

static uint32_t map_update_16(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    struct batch batch;
    memset(&batch, 0, sizeof batch);
    uint32_t status = CISTERN_OK;
    for (uint64_t at = first; at < first + count && status == CISTERN_OK; at += FLINK_BATCH) {
        uint32_t items = batch_fill(flink, &batch, at, first + count);
        uint32_t done;
        status = cistern_map_put_many(
            flink->state, batch.addresses, batch.user_keys, batch.values, items, &done, error);
    }
    return status;
}

static uint32_t map_get_16(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    struct batch batch;
    memset(&batch, 0, sizeof batch);
    uint32_t status = CISTERN_OK;
    for (uint64_t at = first; at < first + count && status == CISTERN_OK; at += FLINK_BATCH) {
        uint32_t items = batch_fill(flink, &batch, at, first + count);
        status = cistern_map_get_many(
            flink->state, batch.addresses, batch.user_keys, items, batch.values, NULL, error);
        for (uint32_t j = 0; j < items && status == CISTERN_OK; j++) {
            flink->sum += flink_word(batch.values[j]);
            status = batch.values[j].data != NULL ? CISTERN_OK : flink_missing(flink, error);
        }
    }
    return status;
}

/* 500,000 keys x 10 entries. */
static uint32_t map_prepare(struct flink *flink, struct cistern_error *error)
{
    const struct cistern_state_descriptor descriptor = {.name = "mapState",
        .kind = CISTERN_MAP,
        .key_bytes = FLINK_LONG_BYTES,
        .user_key_bytes = FLINK_LONG_BYTES,
        .value_bytes = FLINK_LONG_BYTES};
    uint32_t status = cistern_state_register(flink->backend, &descriptor, &flink->state, error);
    return status == CISTERN_OK ? map_put_all(flink, 0, FLINK_KEY_COUNT, error) : status;
}

static const struct flink_case map_cases[] = {
    {"mapGet", map_get, 0, 1, 2.713, 0, 0.205},
    {"mapGet_16", map_get_16, 0, 1, 2.713, 0, 0.205},
    {"mapContains", map_contains, 0, 1, 2.451, 0, 0.274},
    {"mapIsEmpty", map_is_empty, 0, 1, 2.848, 0, 0.222},
    {"mapKeys", map_keys, 0, MAP_KEY_COUNT, 9.304, 0, 1.290},
    {"mapValues", map_values, 0, MAP_KEY_COUNT, 10.601, 0, 1.211},
    {"mapEntries", map_entries, 0, MAP_KEY_COUNT, 10.879, 0, 1.253},
    {"mapIterator", map_entries, 0, MAP_KEY_COUNT, 10.469, 0, 1.093},
    {"mapUpdate", map_update, 0, 1, 0.628, 2.580, 0.230},
    {"mapUpdate_16", map_update_16, 0, 1, 0.628, 2.580, 0.230},
    {"mapPutAll", map_put_all, 0, 1, 0.419, 0, 0.074},
    {"mapAdd", map_add, FLINK_KEY_COUNT / BENCH_SAMPLES, 1, 0.868, 0, 0.200},
    {"mapRemove", map_remove, FLINK_KEY_COUNT / BENCH_SAMPLES, 1, 2.622, 0, 0.345},
};
const struct flink_kind flink_map_kind = {
    "map", map_prepare, map_cases, sizeof map_cases / sizeof map_cases[0]};
