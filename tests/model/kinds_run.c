/* kinds_run.c -- places and values of the model test of all kinds, and the comparison with a
 * backend. */
#include "model/kinds_run.h"

#include "cistern/endian.h"

#include <string.h>

static struct cistern_error error;

void run_log(struct kinds_run *run, const char *format, ...)
{
    char *line = run->log[run->log_count++ % LOG_LINES];
    int used = snprintf(line, LOG_LINE_BYTES, "%u ", run->step);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + used, LOG_LINE_BYTES - (size_t)used, format, arguments);
    va_end(arguments);
}

uint32_t run_pick(struct kinds_run *run, uint32_t below)
{
    return (uint32_t)((test_random(&run->random) >> 16) % below);
}

/* ---- names ---- */

const struct kinds_place *place_at(uint32_t place)
{
    static struct kinds_place places[MODEL_PLACES];
    static const struct cistern_span name_spaces[MODEL_NAMESPACES] = {
        {NULL, 0}, {"", 0}, {"w", 1}, {"window-of-sixteen-bytes", 16}};
    struct kinds_place *at = &places[place];
    if (at->address.key.data == NULL) {
        uint32_t key = place / MODEL_NAMESPACES;
        int length = snprintf(at->text, sizeof at->text, "%0*u", (int)(2 + key % 9), key);
        at->address.key = (struct cistern_span){at->text, (uint64_t)length};
        at->address.key_group = cistern_key_group_bytes(at->address.key, 128);
        at->address.name_space = name_spaces[place % MODEL_NAMESPACES];
    }
    return at;
}

struct cistern_span user_key_at(uint32_t user_key)
{
    static char texts[MODEL_USER_KEYS][16];
    int length =
        snprintf(texts[user_key], sizeof texts[0], "%0*u", (int)(2 + user_key % 7), user_key);
    return (struct cistern_span){texts[user_key], (uint64_t)length};
}

int64_t time_at(uint32_t time)
{
    return ((int64_t)time - MODEL_TIMES / 2) * 300;
}

static uint64_t length_of(int32_t tag)
{
    uint64_t random = (uint64_t)tag * 0x9E3779B97F4A7C15u >> 33;
    return 4 + random % (tag % 97 == 0 ? VALUE_BYTES_MAX - 4 : tag % 4 == 0 ? 1800 : 40);
}

struct cistern_span kinds_value(int32_t tag, uint8_t *buffer)
{
    if (tag == NULL_TAG) {
        return (struct cistern_span){NULL, 0};
    }
    uint64_t bytes = length_of(tag);
    cistern_put_u32_be(buffer, (uint32_t)tag);
    for (uint64_t i = 4; i < bytes; i++) {
        buffer[i] = (uint8_t)((uint64_t)tag * 31 + i * 7);
    }
    return (struct cistern_span){buffer, bytes};
}

int32_t kinds_tag(struct cistern_span value)
{
    static uint8_t expected[VALUE_BYTES_MAX];
    if (value.data == NULL) {
        return NULL_TAG;
    }
    assert_true(value.bytes >= 4);
    int32_t tag = (int32_t)cistern_get_u32_be(value.data);
    assert_true(tag >= 0);
    assert_int_equal(value.bytes, kinds_value(tag, expected).bytes);
    assert_memory_equal(value.data, expected, value.bytes);
    return tag;
}

uint32_t run_answer(struct kinds_run *run, uint32_t status, const struct cistern_error *detail)
{
    if (status == CISTERN_LIMIT && run->is_tiny) {
        run->limits++;
        run_log(run, "  LIMIT");
    } else if (status == CISTERN_NO_MEMORY && run->fails_allocations) {
        run->no_memories++;
        run_log(run, "  NO_MEMORY");
    } else {
        assert_ok(status, *detail);
    }
    return status;
}

/* ---- comparison ---- */

void run_states(struct kinds_run *run, struct cistern_backend *backend,
    struct cistern_state *states[CISTERN_TIMERS + 1])
{
    for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
        states[kind] = NULL;
        if (run->semantics->kinds & KIND_BIT(kind)) {
            states[kind] = state_with_ttl(backend, kind, run->ttl[kind]);
        }
    }
}

static void scalars_compare(struct cistern_state *const *states, const struct model_place *place,
    const struct cistern_address *address)
{
    struct cistern_span got = {NULL, 0};
    uint32_t status = cistern_value_get(states[CISTERN_VALUE], address, &got, &error);
    assert_status(status, place->value.tag == ABSENT_TAG ? CISTERN_NOT_FOUND : CISTERN_OK);
    if (status == CISTERN_OK) {
        assert_int_equal(kinds_tag(got), place->value.tag);
    }
    status = cistern_value_get(states[CISTERN_REDUCING], address, &got, &error);
    assert_status(status, place->sum.tag == ABSENT_TAG ? CISTERN_NOT_FOUND : CISTERN_OK);
    if (status == CISTERN_OK) {
        assert_int_equal(got.bytes, 8);
        assert_true((int64_t)cistern_get_u64_be(got.data) == place->sum_of);
    }
}

static void list_compare(struct cistern_state *list, const struct model_place *place,
    const struct cistern_address *address)
{
    struct cistern_cursor *cursor;
    struct cistern_entry entries[17];
    uint32_t total = 0;
    uint32_t count = 0;
    assert_ok(cistern_list_open(list, address, &cursor, &error), error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 17, &count, &error), error);
        assert_true(total + count <= place->list_count);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(kinds_tag(entries[i].value), place->list[total++].tag);
        }
    } while (count != 0);
    cistern_cursor_close(cursor);
    assert_int_equal(total, place->list_count);
}

static void map_compare(struct cistern_state *map, const struct model_place *place,
    const struct cistern_address *address)
{
    struct cistern_address addresses[MODEL_USER_KEYS];
    struct cistern_span user_keys[MODEL_USER_KEYS];
    struct cistern_span values[MODEL_USER_KEYS];
    uint8_t present[MODEL_USER_KEYS];
    uint64_t count = 0;
    uint32_t is_empty = 0;
    for (uint32_t u = 0; u < MODEL_USER_KEYS; u++) {
        addresses[u] = *address;
        user_keys[u] = user_key_at(u);
    }
    assert_ok(
        cistern_map_get_many(map, addresses, user_keys, MODEL_USER_KEYS, values, present, &error),
        error);
    for (uint32_t u = 0; u < MODEL_USER_KEYS; u++) {
        if (present[u] != (place->map[u].tag != ABSENT_TAG)) {
            print_error("map at %.*s, user key %u: expected tag %d, %s\n", (int)address->key.bytes,
                (const char *)address->key.data, u, place->map[u].tag,
                present[u] ? "is there" : "is not there");
        }
        assert_int_equal(present[u], place->map[u].tag != ABSENT_TAG);
        if (present[u]) {
            assert_int_equal(kinds_tag(values[u]), place->map[u].tag);
        }
    }
    assert_ok(cistern_map_count(map, address, &count, &error), error);
    assert_int_equal(count, kinds_model_map_count(place));
    assert_ok(cistern_map_is_empty(map, address, &is_empty, &error), error);
    assert_int_equal(is_empty, count == 0);
}

/* Each timer of the walk is one of the model's; their number is compared with the entries'. */
static void timers_compare(struct cistern_state *timers, const struct kinds_model *model)
{
    struct cistern_cursor *cursor;
    struct cistern_entry entries[13];
    uint32_t count = 0;
    assert_ok(cistern_entries_open(timers, &cursor, &error), error);
    do {
        assert_ok(cistern_cursor_next(cursor, entries, 13, &count, &error), error);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t time = (uint32_t)(entries[i].written_ms / 300 + MODEL_TIMES / 2);
            uint32_t found = 0;
            assert_true(time < MODEL_TIMES && time_at(time) == entries[i].written_ms);
            for (uint32_t p = 0; p < MODEL_PLACES && !found; p++) {
                const struct cistern_address *at = &place_at(p)->address;
                const struct cistern_span *name = &entries[i].address.name_space;
                found = model->places[p].timers[time] &&
                        at->key.bytes == entries[i].address.key.bytes &&
                        memcmp(at->key.data, entries[i].address.key.data, at->key.bytes) == 0 &&
                        (at->name_space.data == NULL) == (name->data == NULL) &&
                        at->name_space.bytes == name->bytes;
            }
            assert_true(found);
        }
    } while (count != 0);
    cistern_cursor_close(cursor);
}

/* What reading renews in the model: values and lists of OnReadAndWrite. */
static void model_renew(struct kinds_run *run, struct model_place *place)
{
    if (run->ttl[CISTERN_VALUE].update_on_read) {
        place->value.written_ms = run->now_ms;
    }
    for (uint32_t i = 0; run->ttl[CISTERN_LIST].update_on_read && i < place->list_count; i++) {
        place->list[i].written_ms = run->now_ms;
    }
}

void run_compare(struct kinds_run *run, struct cistern_backend *backend, struct kinds_model *model,
    struct cistern_key_group_range range)
{
    struct cistern_state *states[CISTERN_TIMERS + 1];
    uint64_t entries[CISTERN_TIMERS + 1] = {0};
    run_states(run, backend, states);
    for (uint32_t p = 0; p < MODEL_PLACES; p++) {
        struct model_place *place = &model->places[p];
        const struct cistern_address *address = &place_at(p)->address;
        if (address->key_group < range.first || address->key_group > range.last) {
            continue;
        }
        scalars_compare(states, place, address);
        if (states[CISTERN_LIST] != NULL) {
            list_compare(states[CISTERN_LIST], place, address);
        }
        if (states[CISTERN_MAP] != NULL) {
            map_compare(states[CISTERN_MAP], place, address);
        }
        model_renew(run, place);
        for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
            entries[kind] += kinds_model_entries(model, kind, p);
        }
    }
    for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
        if (states[kind] != NULL && kind != CISTERN_AGGREGATING) {
            check_entries(states[kind], entries[kind]);
        }
    }
    if (states[CISTERN_TIMERS] != NULL) {
        timers_compare(states[CISTERN_TIMERS], model);
    }
}
