/* guest.c -- see guest.h. */
#include "guest.h"

#include "cistern/backend.h"
#include "cistern/heap.h"
#include "cistern/pool.h"
#include "cistern/rocks.h"

#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define BUDGET_BYTES (144 * MIB) /* 9 for the process at a sixteenth, two slots of 67.5 */
#define VALUE_BYTES 1000
#define HEAP_KEYS 40000  /* 44 MiB of 64 */
#define ROCKS_KEYS 90000 /* 86 MiB: more than its slot */
#define ROUNDS 3

static struct {
    struct cistern_pool *pool;
    struct cistern_slot *slots[2];
    struct cistern_backend *backends[2]; /* heap, rocks */
    struct cistern_state *states[2];
    struct cistern_error error;
    char text[600];
} guest;

static const uint32_t key_counts[2] = {HEAP_KEYS, ROCKS_KEYS};

static const char *wrong(const char *what)
{
    snprintf(guest.text, sizeof guest.text, "%s: %s %s (%s)", what,
        cistern_status_name(guest.error.status), guest.error.message, guest.error.object);
    return guest.text;
}

/* LIMIT brings no detail: it is asked for. */
static const char *refused(uint32_t store, uint32_t status)
{
    if (status == CISTERN_LIMIT &&
        cistern_backend_explain(guest.backends[store], &guest.error) == CISTERN_OK) {
        return "refused, although there is room now";
    }
    return wrong(store == 0 ? "heap" : "rocks");
}

static const char *stores_open(const char *directory)
{
    struct cistern_backend_options backend = {.max_parallelism = 128, .range = {0, 127}};
    struct cistern_heap_options heap = {.backend = backend};
    struct cistern_rocks_options rocks = {.backend = backend, .directory = directory};
    struct cistern_state_descriptor descriptor = {
        .name = "values", .kind = CISTERN_VALUE, .key_bytes = 4};
    if (cistern_heap_open(guest.slots[0], &heap, &guest.backends[0], &guest.error) != CISTERN_OK ||
        cistern_rocks_open(guest.slots[1], &rocks, &guest.backends[1], &guest.error) !=
            CISTERN_OK) {
        return wrong("open a store");
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (cistern_state_register(
                guest.backends[i], &descriptor, &guest.states[i], &guest.error) != CISTERN_OK) {
            return wrong("register a state");
        }
    }
    return NULL;
}

const char *guest_open(const char *directory)
{
    struct cistern_pool_options options = {.budget_bytes = BUDGET_BYTES, .slot_count_max = 2};
    memset(&guest, 0, sizeof guest);
    if (cistern_pool_create(&options, &guest.pool, &guest.error) != CISTERN_OK ||
        cistern_slot_open(guest.pool, NULL, &guest.slots[0], &guest.error) != CISTERN_OK ||
        cistern_slot_open(guest.pool, NULL, &guest.slots[1], &guest.error) != CISTERN_OK) {
        return wrong("open the pool");
    }
    return stores_open(directory);
}

static void value_fill(uint8_t value[VALUE_BYTES], uint32_t key, uint32_t seed)
{
    uint64_t word = ((uint64_t)seed << 32 | key) * UINT64_C(0x9E3779B97F4A7C15) + 1;
    for (uint32_t i = 0; i < VALUE_BYTES; i += 8) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        memcpy(value + i, &word, 8);
    }
}

static struct cistern_address address_of(uint32_t *key)
{
    struct cistern_span span = {key, sizeof *key};
    return (struct cistern_address){.key = span, .key_group = cistern_key_group_bytes(span, 128)};
}

static const char *check_one(uint32_t store, uint32_t key, uint32_t seed)
{
    uint8_t wanted[VALUE_BYTES];
    struct cistern_address address = address_of(&key);
    struct cistern_span got;
    if (cistern_value_get(guest.states[store], &address, &got, &guest.error) != CISTERN_OK) {
        return wrong(store == 0 ? "heap get" : "rocks get");
    }
    value_fill(wanted, key, seed);
    return got.bytes == VALUE_BYTES && memcmp(got.data, wanted, VALUE_BYTES) == 0
               ? NULL
               : wrong("a value came back changed");
}

static const char *put_all(uint32_t store, uint32_t seed)
{
    uint8_t value[VALUE_BYTES];
    for (uint32_t key = 0; key < key_counts[store]; key++) {
        struct cistern_address address = address_of(&key);
        value_fill(value, key, seed);
        uint32_t status = cistern_value_put(
            guest.states[store], &address, (struct cistern_span){value, VALUE_BYTES}, &guest.error);
        if (status != CISTERN_OK) {
            return refused(store, status);
        }
    }
    return NULL;
}

static const char *remove_all(uint32_t store)
{
    for (uint32_t key = 0; key < key_counts[store]; key++) {
        struct cistern_address address = address_of(&key);
        uint32_t status = cistern_value_remove(guest.states[store], &address, &guest.error);
        if (status != CISTERN_OK) {
            return refused(store, status);
        }
    }
    return NULL;
}

const char *guest_check(uint32_t seed)
{
    const char *text = NULL;
    for (uint32_t store = 0; store < 2; store++) {
        for (uint32_t key = 0; key < key_counts[store] && text == NULL; key += 7) {
            text = check_one(store, key, seed);
        }
    }
    return text;
}

const char *guest_load(uint32_t seed)
{
    const char *text = NULL;
    for (uint32_t round = 0; round < ROUNDS && text == NULL; round++) {
        text = round > 0 ? remove_all(0) : NULL;
        for (uint32_t store = 0; store < 2 && text == NULL; store++) {
            text = put_all(store, seed);
        }
        text = text == NULL ? guest_check(seed) : text;
    }
    return text;
}

uint64_t guest_cache_bytes(void)
{
    struct cistern_rocks_statistics statistics;
    cistern_rocks_statistics(guest.backends[1], &statistics);
    return statistics.block_cache_capacity_bytes;
}

const char *guest_modes(void)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(guest.pool, &usage);
    snprintf(guest.text, sizeof guest.text, "allocator=%s accounting=%s",
        usage.allocator == CISTERN_ALLOCATOR_OWN ? "own" : "jemalloc",
        usage.accounting == CISTERN_ACCOUNTING_GUEST ? "guest" : "owned");
    return guest.text;
}

uint64_t guest_charged_bytes(void)
{
    struct cistern_pool_usage usage;
    cistern_pool_usage(guest.pool, &usage);
    return usage.charged_bytes;
}

uint64_t guest_budget_bytes(void)
{
    return BUDGET_BYTES;
}

const char *guest_close(void)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (cistern_backend_close(guest.backends[i], &guest.error) != CISTERN_OK ||
            cistern_slot_close(guest.slots[i], &guest.error) != CISTERN_OK) {
            return wrong("close");
        }
    }
    return cistern_pool_destroy(guest.pool, &guest.error) == CISTERN_OK ? NULL
                                                                        : wrong("close the pool");
}
