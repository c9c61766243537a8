/*
 * table.c -- the states as the database itself knows them: a column family "s<id>" each, and in the
 * default family
 *
 *   meta         "cistern-rocks 1 max_parallelism=<n>"
 *   state/<id>   the state's descriptor, cistern_descriptor_encode(); id in three digits; with the
 *                watermark as of the last snapshot if its TTL runs on event time
 *   lists        u64 big-endian: list chunks have numbers below it, or of this database's life
 *
 * so that a restored database says what it holds. Threads: owner only.
 */
#include "heads_private.h"
#include "rocks_private.h"
#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/error.h"

#include <stdio.h>
#include <string.h>

#define META_KEY "meta"
#define META_FORMAT "cistern-rocks 1 max_parallelism=%u"
#define META_BYTES_MAX 64u
#define LISTS_KEY "lists"
#define STATE_PREFIX "state/"
#define STATE_PREFIX_END "state0" /* '0' follows '/' */
#define STATE_KEY_BYTES_MAX 16u

static struct cistern_span span_of_text(const char *text)
{
    return (struct cistern_span){text, strlen(text)};
}

static uint32_t record_write(
    struct rocks *rocks, const char *key, struct cistern_span value, struct cistern_error *error)
{
    shim_batch_clear(rocks->batch);
    uint32_t status = shim_batch_put(rocks->batch, shim_family_default(rocks->db),
        span_of_text(key), (struct cistern_span){NULL, 0}, value, error);
    if (status == CISTERN_OK) {
        status = shim_write(rocks->db, rocks->batch, error);
    }
    shim_batch_clear(rocks->batch);
    return status;
}

uint32_t table_meta_write(struct rocks *rocks, struct cistern_error *error)
{
    char text[META_BYTES_MAX];
    snprintf(text, sizeof text, META_FORMAT, rocks->base.options.max_parallelism);
    return record_write(rocks, META_KEY, span_of_text(text), error);
}

uint32_t table_meta_check(
    struct rocks *rocks, struct shim_db *db, const char *object, struct cistern_error *error)
{
    struct cistern_span key = span_of_text(META_KEY);
    struct cistern_span value = {NULL, 0};
    uint32_t status =
        shim_get_many(rocks->reader, shim_family_default(db), &key, 1, 1, &value, error);
    if (status != CISTERN_OK) {
        return status;
    }
    char text[META_BYTES_MAX] = "";
    if (value.data != NULL && value.bytes < sizeof text) {
        memcpy(text, value.data, value.bytes);
        text[value.bytes] = '\0';
    }
    shim_reader_reset(rocks->reader);
    uint32_t max_parallelism = 0;
    if (sscanf(text, META_FORMAT, &max_parallelism) != 1) {
        return cistern_fail(error, CISTERN_CORRUPT, object,
            "the database has no readable `meta` record (\"%.40s\")", text);
    }
    if (max_parallelism != rocks->base.options.max_parallelism) {
        return cistern_fail(error, CISTERN_MISMATCH, object,
            "written with max_parallelism %u, this backend has %u: key groups do not agree",
            max_parallelism, rocks->base.options.max_parallelism);
    }
    return CISTERN_OK;
}

static uint32_t descriptor_write(struct rocks *rocks,
    const struct cistern_state_descriptor *descriptor, uint32_t id, struct cistern_error *error)
{
    struct cistern_state_descriptor stored = *descriptor;
    stored.ttl.watermark_ms = stored.ttl.event_time ? rocks->base.watermark_ms : 0;
    char *text = NULL;
    uint32_t status = cistern_descriptor_encode(&stored, id, &text, error);
    if (status != CISTERN_OK) {
        return status;
    }
    char key[STATE_KEY_BYTES_MAX];
    snprintf(key, sizeof key, STATE_PREFIX "%03u", id);
    status = record_write(rocks, key, span_of_text(text), error);
    cistern_release(text);
    return status;
}

uint32_t table_watermark_write(struct rocks *rocks, struct cistern_error *error)
{
    if (rocks->watermark_written_ms == rocks->base.watermark_ms) {
        return CISTERN_OK;
    }
    uint32_t status = CISTERN_OK;
    for (uint32_t i = 0; i < rocks->base.state_count && status == CISTERN_OK; i++) {
        const struct cistern_state *state = rocks->base.states[i];
        if (state != NULL && state->descriptor.ttl.event_time) {
            status = descriptor_write(rocks, &state->descriptor, state->id, error);
        }
    }
    if (status == CISTERN_OK) {
        rocks->watermark_written_ms = rocks->base.watermark_ms;
    }
    return status;
}

static uint32_t family_of(
    struct rocks *rocks, uint32_t id, struct shim_family **ret_family, struct cistern_error *error)
{
    char name[SHIM_FAMILY_NAME_BYTES_MAX];
    snprintf(name, sizeof name, "s%u", id);
    *ret_family = shim_family_find(rocks->db, name);
    return *ret_family != NULL ? CISTERN_OK
                               : shim_family_create(rocks->db, name, ret_family, error);
}

static int kind_is_held(uint32_t kind)
{
    return kind >= CISTERN_VALUE && kind <= CISTERN_TIMERS;
}

static void ttl_tell(struct rocks_state *state, const struct cistern_state_descriptor *descriptor)
{
    struct shim_ttl ttl = {
        .time_to_live_ms = descriptor->ttl.time_to_live_ms,
        .event_time = descriptor->ttl.event_time,
        .is_list = descriptor->kind == CISTERN_LIST,
        .element_bytes = descriptor->kind == CISTERN_LIST ? descriptor->value_bytes : 0,
    };
    shim_family_set_ttl(state->family, &ttl);
}

static uint32_t head_bytes_of(const struct cistern_state_descriptor *descriptor)
{
    if (descriptor->kind == CISTERN_LIST || descriptor->kind == CISTERN_TIMERS) {
        return 0;
    }
    uint32_t stamp_bytes = descriptor->ttl.time_to_live_ms != 0 ? ROCKS_STAMP_BYTES : 0;
    return stamp_bytes + (descriptor->kind == CISTERN_MAP ? 1 : 0);
}

uint32_t table_state_create(struct cistern_backend *backend,
    const struct cistern_state_descriptor *descriptor, uint32_t id,
    struct cistern_state **ret_state, struct cistern_error *error)
{
    struct rocks *rocks = rocks_of(backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (!kind_is_held(descriptor->kind)) {
        return cistern_fail(error, CISTERN_UNSUPPORTED, descriptor->name,
            "state \"%s\" is of kind %s; the rocks backend holds value, list, map, reducing, "
            "aggregating and timers",
            descriptor->name, cistern_state_kind_name(descriptor->kind));
    }
    value_begin(rocks);
    struct rocks_state *state = cistern_allocate_zeroed(1, sizeof *state);
    if (state == NULL) {
        return cistern_fail(error, CISTERN_NO_MEMORY, descriptor->name, "no memory for a state");
    }
    status = cistern_state_init(&state->base, backend, descriptor, id, error);
    if (status != CISTERN_OK) {
        cistern_release(state);
        return status;
    }
    state->layout = key_layout_of(backend->options.max_parallelism, descriptor);
    state->stamped = descriptor->ttl.time_to_live_ms != 0;
    state->head_bytes = head_bytes_of(descriptor);
    status = family_of(rocks, id, &state->family, error);
    if (status == CISTERN_OK && descriptor->kind == CISTERN_LIST) {
        status = tails_open(rocks, error);
    }
    if (status == CISTERN_OK && descriptor->kind == CISTERN_TIMERS) {
        status = heads_create(rocks, &state->heads, error);
    }
    if (status == CISTERN_OK) {
        status = descriptor_write(rocks, descriptor, id, error);
    }
    if (status != CISTERN_OK) {
        table_state_destroy(&state->base);
        return status;
    }
    ttl_tell(state, descriptor);
    *ret_state = &state->base;
    return CISTERN_OK;
}

uint32_t table_state_adopt(struct cistern_state *base,
    const struct cistern_state_descriptor *descriptor, struct cistern_error *error)
{
    struct rocks_state *state = rocks_state_of(base);
    struct rocks *rocks = rocks_of(base->backend);
    uint32_t status = rocks_usable(rocks, error);
    if (status != CISTERN_OK) {
        return status;
    }
    uint32_t stamped = descriptor->ttl.time_to_live_ms != 0;
    if (stamped != state->stamped) {
        return cistern_fail(error, CISTERN_MISMATCH, descriptor->name,
            "state \"%s\" was stored %s time to live and is registered %s: its stored values %s "
            "time stamps",
            descriptor->name, state->stamped ? "with" : "without", stamped ? "with one" : "without",
            state->stamped ? "carry" : "have no");
    }
    value_begin(rocks);
    status = descriptor_write(rocks, descriptor, base->id, error);
    if (status == CISTERN_OK) {
        ttl_tell(state, descriptor);
    }
    return status;
}

void table_state_destroy(struct cistern_state *state)
{
    heads_destroy(rocks_of(state->backend), rocks_state_of(state)->heads);
    cistern_state_deinit(state);
    cistern_release(rocks_state_of(state));
}

uint32_t table_state_measure(struct cistern_state *base, uint64_t *ret_entries, uint64_t *ret_bytes,
    struct cistern_error *error)
{
    uint32_t status = rocks_usable(rocks_of(base->backend), error);
    if (status == CISTERN_OK) {
        shim_family_measure(rocks_state_of(base)->family, ret_entries, ret_bytes);
    }
    return status;
}

uint32_t table_lists_read(
    struct rocks *rocks, struct shim_db *db, uint64_t *ret_bound, struct cistern_error *error)
{
    struct cistern_span key = span_of_text(LISTS_KEY);
    struct cistern_span value = {NULL, 0};
    uint32_t status =
        shim_get_many(rocks->inner_reader, shim_family_default(db), &key, 1, 1, &value, error);
    *ret_bound = status == CISTERN_OK && value.data != NULL && value.bytes == sizeof *ret_bound
                     ? cistern_get_u64_be(value.data)
                     : 0;
    shim_reader_reset(rocks->inner_reader);
    return status;
}

uint32_t table_lists_write(struct rocks *rocks, uint64_t bound, struct cistern_error *error)
{
    uint8_t bytes[sizeof bound];
    cistern_put_u64_be(bytes, bound);
    return record_write(rocks, LISTS_KEY, (struct cistern_span){bytes, sizeof bytes}, error);
}

static uint32_t restore_one(struct rocks *rocks, struct shim_db *db, struct cistern_span text,
    const char *object, table_visit_fn visit, void *arg, struct cistern_error *error)
{
    struct cistern_state_descriptor descriptor;
    uint32_t id = 0;
    void *storage = NULL;
    uint32_t status =
        cistern_descriptor_decode(text.data, text.bytes, object, &descriptor, &id, &storage, error);
    if (status != CISTERN_OK) {
        return status;
    }
    char name[SHIM_FAMILY_NAME_BYTES_MAX];
    snprintf(name, sizeof name, "s%u", id);
    struct shim_family *family = shim_family_find(db, name);
    struct cistern_state *state = NULL;
    if (family == NULL) {
        status = cistern_fail(error, CISTERN_CORRUPT, object,
            "state \"%s\" is recorded, but its column family %s is missing", descriptor.name, name);
    } else {
        status = cistern_backend_state_restored(&rocks->base, &descriptor, id, &state, error);
    }
    if (status == CISTERN_OK &&
        rocks_state_of(state)->stamped != (descriptor.ttl.time_to_live_ms != 0)) {
        status = cistern_fail(error, CISTERN_MISMATCH, object,
            "state \"%s\" has a time to live in one slice and none in another", descriptor.name);
    }
    if (status == CISTERN_OK && visit != NULL) {
        status = visit(arg, rocks_state_of(state), family, error);
    }
    cistern_release(storage);
    return status;
}

uint32_t table_restore(struct rocks *rocks, struct shim_db *db, const char *object,
    table_visit_fn visit, void *arg, struct cistern_error *error)
{
    uint32_t status = table_meta_check(rocks, db, object, error);
    uint64_t lists = 0;
    if (status == CISTERN_OK) {
        status = table_lists_read(rocks, db, &lists, error);
    }
    if (status == CISTERN_OK && lists != 0) {
        status = tails_raise(rocks, lists, error);
    }
    if (status != CISTERN_OK) {
        return status;
    }
    struct shim_iterator *iterator = NULL;
    struct cistern_span lower = span_of_text(STATE_PREFIX);
    status = shim_iterator_open(
        shim_family_default(db), NULL, lower, span_of_text(STATE_PREFIX_END), &iterator, error);
    if (status != CISTERN_OK) {
        return status;
    }
    struct cistern_span key;
    struct cistern_span text;
    shim_iterator_seek(iterator, lower);
    for (uint32_t i = 0; i < CISTERN_STATE_COUNT_MAX && shim_iterator_entry(iterator, &key, &text);
         i++) {
        status = restore_one(rocks, db, text, object, visit, arg, error);
        if (status != CISTERN_OK) {
            break;
        }
        shim_iterator_next(iterator);
    }
    if (status == CISTERN_OK) {
        status = shim_iterator_status(iterator, error);
    }
    shim_iterator_close(iterator);
    return status;
}
