/* inputs.c -- see inputs_private.h. */
#include "inputs_private.h"
#include "cistern/alloc.h"
#include "cistern/error.h"

static int is_borrowed(const struct inputs *inputs, const struct segment_table *table)
{
    uintptr_t base = (uintptr_t)table->base;
    uint64_t bytes = (uint64_t)table->frontier << table->shift;
    int borrowed = 0;
    for (uint32_t i = 0; i < inputs->address_count; i++) {
        borrowed |= (uintptr_t)inputs->addresses[i].key.data - base < bytes;
        borrowed |= (uintptr_t)inputs->addresses[i].name_space.data - base < bytes;
    }
    for (uint32_t set = 0; set < INPUTS_SETS; set++) {
        for (uint32_t i = 0; i < inputs->span_counts[set]; i++) {
            borrowed |= (uintptr_t)inputs->spans[set][i].data - base < bytes;
        }
    }
    return borrowed;
}

static uint64_t inputs_bytes(const struct inputs *inputs)
{
    uint64_t bytes = inputs->address_count * sizeof *inputs->addresses;
    for (uint32_t i = 0; i < inputs->address_count; i++) {
        bytes += inputs->addresses[i].key.bytes + inputs->addresses[i].name_space.bytes;
    }
    for (uint32_t set = 0; set < INPUTS_SETS; set++) {
        bytes += inputs->span_counts[set] * sizeof *inputs->spans[set];
        for (uint32_t i = 0; i < inputs->span_counts[set]; i++) {
            bytes += inputs->spans[set][i].bytes;
        }
    }
    return bytes;
}

/* Moves a span's bytes to *at. */
static void copy_span(struct cistern_span *span, uint8_t **at)
{
    if (span->bytes != 0) {
        memcpy(*at, span->data, span->bytes);
    }
    span->data = span->data != NULL ? *at : NULL;
    *at += span->bytes;
}

/* The arrays stand first, so that they are aligned; what they point to behind them. */
static void copy_all(struct inputs *inputs)
{
    struct cistern_address *addresses = inputs->storage;
    memcpy(addresses, inputs->addresses, inputs->address_count * sizeof *addresses);
    struct cistern_span *spans = (struct cistern_span *)(addresses + inputs->address_count);
    struct cistern_span *sets[INPUTS_SETS];
    for (uint32_t set = 0; set < INPUTS_SETS; set++) {
        sets[set] = spans;
        if (inputs->span_counts[set] != 0) {
            memcpy(spans, inputs->spans[set], inputs->span_counts[set] * sizeof *spans);
        }
        spans += inputs->span_counts[set];
    }
    uint8_t *at = (uint8_t *)spans;
    for (uint32_t i = 0; i < inputs->address_count; i++) {
        copy_span(&addresses[i].key, &at);
        copy_span(&addresses[i].name_space, &at);
    }
    for (uint32_t set = 0; set < INPUTS_SETS; set++) {
        for (uint32_t i = 0; i < inputs->span_counts[set]; i++) {
            copy_span(&sets[set][i], &at);
        }
        inputs->spans[set] = sets[set];
    }
    inputs->addresses = addresses;
}

uint32_t inputs_own(
    struct inputs *inputs, const struct segment_table *table, struct cistern_error *error)
{
    inputs->storage = NULL;
    if (__builtin_expect(!is_borrowed(inputs, table), 1)) {
        return CISTERN_OK;
    }
    uint64_t bytes = inputs_bytes(inputs);
    inputs->storage = cistern_allocate(bytes + 1); /* empty spans have a place, too */
    if (inputs->storage == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, "batch",
            "no memory to copy %llu bytes of inputs that are results of the same backend",
            (unsigned long long)bytes);
    }
    copy_all(inputs);
    return CISTERN_OK;
}

void inputs_deinit(struct inputs *inputs)
{
    cistern_release(inputs->storage);
}
