/*
 * embed.c -- the least a host does: a budget, a slot, a backend, a state; count some words; say who
 * holds what.
 *
 * Build it against an installed cistern:  cc embed.c $(pkg-config --cflags --libs cistern) -o embed
 */
#include <cistern/heap.h>

#include <stdio.h>
#include <string.h>

static uint32_t words_count(struct cistern_state *words, struct cistern_error *error)
{
    static const char *const text[] = {
        "the", "budget", "is", "a", "fact", "the", "fact", "is", "the", "budget"};
    static const uint8_t one[8] = {
        0, 0, 0, 0, 0, 0, 0, 1}; /* built-in reducers speak 8-byte big-endian integers */
    struct cistern_address addresses[10];
    struct cistern_span inputs[10];
    for (uint32_t i = 0; i < 10; i++) {
        struct cistern_span key = {text[i], strlen(text[i])};
        addresses[i] =
            (struct cistern_address){.key = key, .key_group = cistern_key_group_bytes(key, 128)};
        inputs[i] = (struct cistern_span){one, sizeof one};
    }
    uint32_t done;
    return cistern_value_add_many(words, addresses, inputs, 10, &done, error);
}

static uint32_t words_print(struct cistern_state *words, struct cistern_error *error)
{
    struct cistern_cursor *cursor;
    struct cistern_entry entries[16];
    uint32_t status = cistern_entries_open(words, &cursor, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint32_t count;
    while ((status = cistern_cursor_next(cursor, entries, 16, &count, error)) == CISTERN_OK &&
           count > 0) {
        for (uint32_t i = 0; i < count; i++) {
            const uint8_t *value = entries[i].value.data;
            printf("%.*s\t%d\n", (int)entries[i].address.key.bytes,
                (const char *)entries[i].address.key.data, value[7]);
        }
    }
    cistern_cursor_close(cursor);
    return status;
}

static uint32_t job_run(struct cistern_slot *slot, struct cistern_error *error)
{
    struct cistern_heap_options options = {.backend = {.max_parallelism = 128, .range = {0, 127}}};
    struct cistern_backend *backend;
    uint32_t status = cistern_heap_open(slot, &options, &backend, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_state_descriptor descriptor = {.name = "words",
        .kind = CISTERN_REDUCING,
        .value_bytes = 8,
        .reduce = CISTERN_REDUCE_SUM_I64};
    struct cistern_state *words;
    status = cistern_state_register(backend, &descriptor, &words, error);
    if (status == CISTERN_OK) {
        status = words_count(words, error);
    }
    if (status == CISTERN_OK) {
        status = words_print(words, error);
    }
    uint32_t closed = cistern_backend_close(backend, status == CISTERN_OK ? error : NULL);
    return status != CISTERN_OK ? status : closed;
}

int main(void)
{
    struct cistern_error error = {0};
    struct cistern_pool_options options = {
        .budget_bytes = 64 << 20}; /* GUEST accounting: nothing process-wide is touched */
    struct cistern_pool *pool;
    struct cistern_slot *slot;
    uint32_t status = cistern_pool_create(&options, &pool, &error);
    if (status == CISTERN_OK) {
        status = cistern_slot_open(pool, NULL, &slot, &error);
        if (status == CISTERN_OK) {
            status = job_run(slot, &error);
            uint32_t closed = cistern_slot_close(slot, NULL);
            status = status != CISTERN_OK ? status : closed;
        }
        uint32_t destroyed = cistern_pool_destroy(pool, NULL);
        status = status != CISTERN_OK ? status : destroyed;
    }
    if (status != CISTERN_OK) {
        fprintf(stderr, "%s: %s (%s): %s\n", cistern_status_name(status), error.message,
            error.object, cistern_status_advice(status));
    }
    return status != CISTERN_OK;
}
