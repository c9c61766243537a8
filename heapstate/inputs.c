/* inputs.c -- copies inputs that point into the log; see inputs_private.h. */
#include "inputs_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

int inputs_are_borrowed(const struct segment_table *table, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count)
{
    uintptr_t base = (uintptr_t)table->base;
    uint64_t bytes = (uint64_t)table->frontier << table->shift;
    int borrowed = 0;
    for (uint32_t i = 0; i < count; i++) {
        borrowed |= (uintptr_t)addresses[i].key.data - base < bytes;
        borrowed |= (uintptr_t)addresses[i].name_space.data - base < bytes;
        borrowed |= values != NULL && (uintptr_t)values[i].data - base < bytes;
    }
    return borrowed;
}

static uint64_t inputs_bytes(
    const struct cistern_address *addresses, const struct cistern_span *values, uint32_t count)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += addresses[i].key.bytes + addresses[i].name_space.bytes;
        bytes += values != NULL ? values[i].bytes : 0;
    }
    return bytes;
}

/* Moves a span into the block at *at. */
static void copy_span(struct cistern_span *span, uint8_t **at)
{
    if (span->bytes != 0) {
        memcpy(*at, span->data, span->bytes);
    }
    span->data = span->data != NULL ? *at : NULL;
    *at += span->bytes;
}

uint32_t inputs_copy(struct inputs *inputs, const struct cistern_address *addresses,
    const struct cistern_span *values, uint32_t count, struct cistern_error *error)
{
    uint64_t address_bytes = count * sizeof *addresses;
    uint64_t value_bytes = values != NULL ? count * sizeof *values : 0;
    uint64_t bytes = address_bytes + value_bytes + inputs_bytes(addresses, values, count);
    inputs->storage = cistern_allocate(bytes + 1);
    if (inputs->storage == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "batch",
            "no memory to copy %llu bytes of inputs that are results of the same backend",
            (unsigned long long)bytes);
    }
    inputs->addresses = inputs->storage;
    inputs->values = values != NULL ? (struct cistern_span *)(inputs->addresses + count) : NULL;
    uint8_t *at = (uint8_t *)inputs->storage + address_bytes + value_bytes;
    memcpy(inputs->addresses, addresses, address_bytes);
    if (values != NULL) {
        memcpy(inputs->values, values, value_bytes);
    }
    for (uint32_t i = 0; i < count; i++) {
        copy_span(&inputs->addresses[i].key, &at);
        copy_span(&inputs->addresses[i].name_space, &at);
        if (values != NULL) {
            copy_span(&inputs->values[i], &at);
        }
    }
    return CISTERN_OK;
}

void inputs_deinit(struct inputs *inputs)
{
    cistern_release(inputs->storage);
}
