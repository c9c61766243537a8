/*
 * bench_flink_list.c -- ListStateBenchmark of flink-benchmarks; see bench_flink.h.
 *
 * Getting comes before what makes lists longer. Flink hands out the whole list at once: here a get
 * reads the first elements, and iterating goes on to the end.
 */
#include "bench_flink.h"

#include "cistern/endian.h"
#include "cistern/list.h"

#define LIST_VALUE_COUNT 100u /* of listAddAll */
#define CURSOR_COUNT 16u

static uint64_t setup_key(const struct flink *flink, uint64_t i)
{
    return flink->setup_keys[i % FLINK_KEY_COUNT];
}

static void value_make(const struct flink *flink, uint64_t i, uint8_t value[FLINK_LONG_BYTES])
{
    cistern_put_u64_be(value, flink->values[i % FLINK_VALUE_COUNT]);
}

static uint32_t replace_one(
    struct flink *flink, uint64_t key, uint64_t i, struct cistern_error *error)
{
    uint8_t bytes[FLINK_LONG_BYTES];
    uint8_t value[FLINK_LONG_BYTES];
    struct cistern_address address = {0};
    flink_address(&address, bytes, key);
    value_make(flink, i, value);
    const struct cistern_span element = {value, sizeof value};
    return cistern_list_replace(flink->state, &address, &element, 1, error);
}

static uint32_t list_update(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = replace_one(flink, setup_key(flink, i), i, error);
    }
    return status;
}

static uint32_t list_add(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = replace_one(flink, flink->new_keys[i % FLINK_KEY_COUNT], i, error);
    }
    return status;
}

static uint32_t list_append(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint8_t bytes[FLINK_LONG_BYTES];
    uint8_t value[FLINK_LONG_BYTES];
    struct cistern_address address = {0};
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        flink_address(&address, bytes, setup_key(flink, i));
        value_make(flink, i, value);
        status = cistern_list_append(
            flink->state, &address, (struct cistern_span){value, sizeof value}, error);
    }
    return status;
}

static uint32_t list_add_all(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint8_t bytes[FLINK_LONG_BYTES];
    uint8_t values[LIST_VALUE_COUNT][FLINK_LONG_BYTES];
    struct cistern_span elements[LIST_VALUE_COUNT];
    struct cistern_address address = {0};
    for (uint32_t j = 0; j < LIST_VALUE_COUNT; j++) {
        value_make(flink, j, values[j]);
        elements[j] = (struct cistern_span){values[j], sizeof values[j]};
    }
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        flink_address(&address, bytes, setup_key(flink, i));
        status =
            cistern_list_append_many(flink->state, &address, elements, LIST_VALUE_COUNT, error);
    }
    return status;
}

/* The first elements, or all of them. */
static uint32_t read_one(struct flink *flink, uint64_t key, int all, struct cistern_error *error)
{
    uint8_t bytes[FLINK_LONG_BYTES];
    struct cistern_address address = {0};
    struct cistern_cursor *cursor;
    flink_address(&address, bytes, key);
    uint32_t status = cistern_list_open(flink->state, &address, &cursor, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint32_t got;
    uint32_t seen = 0;
    do {
        struct cistern_entry entries[CURSOR_COUNT];
        got = 0;
        status = cistern_cursor_next(cursor, entries, CURSOR_COUNT, &got, error);
        for (uint32_t j = 0; j < got; j++) {
            flink->sum += flink_word(entries[j].value);
        }
        seen += got;
    } while (all && status == CISTERN_OK && got > 0);
    cistern_cursor_close(cursor);
    return status == CISTERN_OK && seen == 0 ? flink_missing(flink, error) : status;
}

static uint32_t list_get(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = read_one(flink, setup_key(flink, i), 0, error);
    }
    return status;
}

static uint32_t list_get_and_iterate(
    struct flink *flink, uint64_t first, uint32_t count, struct cistern_error *error)
{
    uint32_t status = CISTERN_OK;
    for (uint64_t i = first; i < first + count && status == CISTERN_OK; i++) {
        status = read_one(flink, setup_key(flink, i), 1, error);
    }
    return status;
}

/* 500,000 keys, each with a list of one random Long. */
static uint32_t list_prepare(struct flink *flink, struct cistern_error *error)
{
    const struct cistern_state_descriptor descriptor = {.name = "listState",
        .kind = CISTERN_LIST,
        .key_bytes = FLINK_LONG_BYTES,
        .value_bytes = FLINK_LONG_BYTES};
    uint32_t status = cistern_state_register(flink->backend, &descriptor, &flink->state, error);
    return status == CISTERN_OK ? list_append(flink, 0, FLINK_KEY_COUNT, error) : status;
}

static const struct flink_case list_cases[] = {
    {"listGet", list_get, 0, 1, 2.154, 0, 0.488},
    {"listGetAndIterate", list_get_and_iterate, 0, 1, 2.532, 0, 0.451},
    {"listUpdate", list_update, 0, 1, 0.684, 0, 0.283},
    {"listAppend", list_append, FLINK_KEY_COUNT / BENCH_SAMPLES, 1, 2.495, 0, 0.433},
    {"listAdd", list_add, FLINK_KEY_COUNT / BENCH_SAMPLES, 1, 1.928, 0, 0.400},
    {"listAddAll", list_add_all, 40000, 1, 0.466, 0, 0.218},
};
const struct flink_kind flink_list_kind = {
    "list", list_prepare, list_cases, sizeof list_cases / sizeof list_cases[0]};
