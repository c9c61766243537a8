/*
 * timer.c -- timers: keys of the timed form without values, so that putting one twice changes
 * nothing and each group's first key is its earliest. What is known of them in memory: heads.c.
 * Threads: owner only.
 */
#include "heads_private.h"
#include "cistern/endian.h"
#include "cistern/error.h"

static uint32_t write_many(struct rocks_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, int is_add, uint32_t *ret_done,
    struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(state->base.backend);
    struct cistern_span none = {NULL, 0};
    uint64_t bytes_max = value_batch_bytes_max(rocks);
    uint32_t status = CISTERN_OK;
    shim_batch_clear(rocks->batch);
    for (uint32_t i = 0; i < count && status == CISTERN_OK; i++) {
        uint32_t group = addresses[i].key_group;
        status = scratch_encode_timer(
            &rocks->scratch, &state->layout, &addresses[i], timestamps_ms[i], error);
        if (status != CISTERN_OK) {
            break;
        }
        struct cistern_span key = rocks->scratch.keys[0];
        if (is_add) {
            heads_add(state->heads, group, key, timestamps_ms[i]);
            status = shim_batch_put(rocks->batch, state->family, key, none, none, error);
        } else {
            heads_remove(state->heads, group, key, timestamps_ms[i]);
            status = shim_batch_remove(rocks->batch, state->family, key, error);
        }
        int is_full = i + 1 == count || shim_batch_bytes(rocks->batch) >= bytes_max;
        if (status == CISTERN_OK && is_full) {
            status = value_flush_batch(rocks, error);
            *ret_done = status == CISTERN_OK ? i + 1 : *ret_done;
        }
    }
    if (status != CISTERN_OK) {
        heads_forget(state->heads);
    }
    value_begin(rocks);
    return status;
}

uint32_t timer_add_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = rocks_usable(rocks_of(state->backend), error);
    return status == CISTERN_OK ? write_many(rocks_state_of(state), timestamps_ms, addresses, count,
                                      1, ret_done, error)
                                : status;
}

uint32_t timer_remove_many(struct cistern_state *state, const int64_t *timestamps_ms,
    const struct cistern_address *addresses, uint32_t count, uint32_t *ret_done,
    struct cistern_error *error)
{
    *ret_done = 0;
    uint32_t status = rocks_usable(rocks_of(state->backend), error);
    return status == CISTERN_OK ? write_many(rocks_state_of(state), timestamps_ms, addresses, count,
                                      0, ret_done, error)
                                : status;
}

uint32_t timer_next(
    struct cistern_state *base, int64_t *ret_timestamp_ms, struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(base->backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    value_begin(rocks);
    struct rocks_state *state = rocks_state_of(base);
    status = heads_know(state, error);
    struct head *head = heads_top(state->heads);
    while (status == CISTERN_OK && head != NULL && !head->is_exact) {
        status = heads_fill(state, head, error);
        head = heads_top(state->heads);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    if (head == NULL) {
        return CISTERN_NOT_FOUND;
    }
    *ret_timestamp_ms = head->time_ms;
    return CISTERN_OK;
}

struct popping { /* one pop_due */
    struct rocks *rocks;
    struct rocks_state *state;
    struct cistern_entry *timers;
    uint32_t count;   /* taken */
    uint32_t written; /* of those, out of the database */
};

static uint32_t pop_write(struct popping *popping, struct cistern_error *error)
{
    uint32_t status = value_flush_batch(popping->rocks, error);
    if (status == CISTERN_OK) {
        popping->written = popping->count;
    }
    return status;
}

/* The group's first timer into the result and its delete into the write batch. */
static uint32_t pop_one(struct popping *popping, struct head *head, struct cistern_error *error)
{
    struct rocks_state *state = popping->state;
    struct cistern_span key = heads_first(head);
    struct cistern_entry *entry = &popping->timers[popping->count];
    struct cistern_span time;
    void *copy = results_add(&popping->rocks->results, key.data, key.bytes);
    if (copy == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, state->base.descriptor.name,
            "no memory to hand out a timer of %llu bytes", (unsigned long long)key.bytes);
    }
    key.data = copy;
    *entry = (struct cistern_entry){.user_key = {NULL, 0}};
    if (key_decode(&state->layout, key, &entry->address, &time) != CISTERN_OK) {
        return cistern_fail_corrupt(error, state->base.descriptor.name, UINT64_MAX,
            "a stored key of %llu bytes is no key of this state's layout",
            (unsigned long long)key.bytes);
    }
    entry->written_ms = key_time_of(cistern_get_u64_be(time.data));
    uint32_t status = shim_batch_remove(popping->rocks->batch, state->family, key, error);
    if (status != CISTERN_OK) {
        return status;
    }
    heads_pop(state->heads, &state->layout, head);
    popping->count++;
    return shim_batch_bytes(popping->rocks->batch) >= value_batch_bytes_max(popping->rocks)
               ? pop_write(popping, error)
               : CISTERN_OK;
}

static uint32_t pop_some(
    struct popping *popping, int64_t up_to_ms, uint32_t capacity, struct cistern_error *error)
{
    uint32_t status = heads_know(popping->state, error);
    while (status == CISTERN_OK && popping->count < capacity) {
        struct head *head = heads_top(popping->state->heads);
        if (head == NULL || head->time_ms > up_to_ms) {
            break;
        }
        if (head->first != head->end) {
            status = pop_one(popping, head, error);
            continue;
        }
        if (!head->has_last) {
            status = pop_write(popping, error);
        }
        if (status == CISTERN_OK) {
            status = heads_fill(popping->state, head, error);
        }
    }
    return status;
}

uint32_t timer_pop_due(struct cistern_state *base, int64_t up_to_ms,
    struct cistern_entry *ret_timers, uint32_t capacity, uint32_t *ret_count,
    struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(base->backend);
    *ret_count = 0;
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    value_begin(rocks);
    struct popping popping = {.rocks = rocks, .state = rocks_state_of(base), .timers = ret_timers};
    uint64_t results_before = rocks->results.bytes;
    shim_batch_clear(rocks->batch);
    status = pop_some(&popping, up_to_ms, capacity, error);
    if (status == CISTERN_OK) {
        status = pop_write(&popping, error);
    }
    if (status != CISTERN_OK) {
        shim_batch_clear(rocks->batch);
        heads_forget(popping.state->heads);
    }
    if (results_before != rocks->results.bytes) {
        gate_report_results(rocks);
    }
    *ret_count = popping.written;
    return status;
}

void timer_restored(struct rocks_state *state)
{
    heads_forget(state->heads);
}
