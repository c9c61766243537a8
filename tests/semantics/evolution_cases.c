/* evolution_cases.c -- a restored state is registered with the next version of its serializer:
 * values take the new form, keys do not change, renamed states are found out. */
#include "semantics/world.h"

#include <stdio.h>
#include <string.h>

#define V KIND_BIT(CISTERN_VALUE)
#define L KIND_BIT(CISTERN_LIST)
#define M KIND_BIT(CISTERN_MAP)

/* The new form of "x" is "<x>". */
static uint64_t bracket(void *arg, struct cistern_span old_value, struct cistern_bytes result)
{
    ++*(uint32_t *)arg;
    if (result.capacity_bytes >= old_value.bytes + 2) {
        char *to = result.data;
        to[0] = '<';
        memcpy(to + 1, old_value.data, old_value.bytes);
        to[old_value.bytes + 1] = '>';
    }
    return old_value.bytes + 2;
}

static struct cistern_state_descriptor version_of(uint32_t kind, const char *serializer)
{
    struct cistern_state_descriptor descriptor = descriptor_of(kind);
    descriptor.serializer = span_of(serializer);
    return descriptor;
}

static struct cistern_state *register_version(
    struct cistern_backend *backend, uint32_t kind, const char *serializer)
{
    struct cistern_state_descriptor descriptor = version_of(kind, serializer);
    return register_state(backend, &descriptor);
}

/* What was stored under "v1", in a backend of its own. */
static struct cistern_backend *restored(struct world *world)
{
    put_value(register_version(world->backend, CISTERN_VALUE, "v1"), "a", "one");
    put_value(register_version(world->backend, CISTERN_VALUE, "v1"), "b@w", "two");
    append_list(register_version(world->backend, CISTERN_LIST, "v1"), "a", "x y z");
    put_map(register_version(world->backend, CISTERN_MAP, "v1"), "a@w", "k=v l= m");
    struct capture *capture = capture_of(world, CISTERN_SNAPSHOT_CANONICAL);
    struct cistern_backend *backend =
        restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
    capture_free(capture);
    return backend;
}

static struct cistern_state *evolve(
    struct cistern_backend *backend, uint32_t kind, cistern_migrate_fn migrate, uint32_t *calls)
{
    struct cistern_state_descriptor descriptor = version_of(kind, "v2");
    descriptor.replaces = SPAN("v1");
    descriptor.migrate_fn = migrate;
    descriptor.migrate_arg = calls;
    return register_state(backend, &descriptor);
}

static void values_take_the_new_form(struct world *world)
{
    struct cistern_backend *backend = restored(world);
    uint32_t calls = 0;
    struct cistern_state *value = evolve(backend, CISTERN_VALUE, bracket, &calls);
    check_value(value, "a", "<one>");
    check_value(value, "b@w", "<two>");
    check_list(evolve(backend, CISTERN_LIST, bracket, &calls), "a", "<x> <y> <z>");
    check_map(evolve(backend, CISTERN_MAP, bracket, &calls), "a@w", "k=<v> l=<> m");
    assert_true(calls >= 7);
    calls = 0; /* a second registration finds the new form */
    check_value(evolve(backend, CISTERN_VALUE, bracket, &calls), "a", "<one>");
    assert_int_equal(calls, 0);
    close_backend(backend);
}

static void values_may_keep_their_form(struct world *world)
{
    struct cistern_backend *backend = restored(world);
    struct cistern_state *value = evolve(backend, CISTERN_VALUE, NULL, NULL);
    check_value(value, "a", "one");
    put_value(value, "a", "new");
    check_value(value, "b@w", "two");
    close_backend(backend);
}

static void many_values_are_migrated_once(struct world *world)
{
    struct cistern_state *state = register_version(world->backend, CISTERN_VALUE, "v1");
    char place[16];
    for (uint32_t i = 0; i < 2000; i++) {
        snprintf(place, sizeof place, "key%u", i);
        put_value(state, place, place);
    }
    struct capture *capture = capture_of(world, CISTERN_SNAPSHOT_CANONICAL);
    struct cistern_backend *backend =
        restore_backend(world->semantics, world->slots[1], &capture, 1, all_groups);
    capture_free(capture);
    uint32_t calls = 0;
    state = evolve(backend, CISTERN_VALUE, bracket, &calls);
    for (uint32_t i = 0; i < 2000; i++) {
        char expected[20];
        snprintf(place, sizeof place, "key%u", i);
        snprintf(expected, sizeof expected, "<%s>", place);
        check_value(state, place, expected);
    }
    close_backend(backend);
}

static void the_new_serializer_is_what_is_stored(struct world *world)
{
    struct cistern_backend *backend = restored(world);
    uint32_t calls = 0;
    (void)evolve(backend, CISTERN_VALUE, bracket, &calls);
    struct cistern_error error;
    struct cistern_state *state = NULL;
    struct cistern_state_descriptor older = version_of(CISTERN_VALUE, "v1");
    assert_status(cistern_state_register(backend, &older, &state, &error), CISTERN_EXISTS);
    close_backend(backend);
}

static void another_serializer_is_refused(struct world *world)
{
    struct cistern_backend *backend = restored(world);
    struct cistern_error error;
    struct cistern_state *state = NULL;
    struct cistern_state_descriptor other = version_of(CISTERN_VALUE, "v3");
    assert_status(cistern_state_register(backend, &other, &state, &error), CISTERN_MISMATCH);
    other.replaces = SPAN("v2"); /* not what is there */
    assert_status(cistern_state_register(backend, &other, &state, &error), CISTERN_MISMATCH);
    close_backend(backend);
}

static void a_renamed_state_is_found_out(struct world *world)
{
    struct cistern_backend *backend = restored(world);
    struct cistern_error error;
    struct cistern_state_descriptor renamed = version_of(CISTERN_VALUE, "v1");
    renamed.name = "another";
    (void)register_state(backend, &renamed);
    (void)register_version(backend, CISTERN_LIST, "v1");
    (void)register_version(backend, CISTERN_MAP, "v1");
    assert_status(cistern_backend_check_registered(backend, &error), CISTERN_MISMATCH);
    assert_non_null(strstr(error.message, "\"value\""));
    struct cistern_state *value = register_version(backend, CISTERN_VALUE, "v1");
    assert_ok(cistern_backend_check_registered(backend, &error), error);
    check_value(value, "a", "one"); /* nothing was lost meanwhile */
    close_backend(backend);
}

const struct semantics_case evolution_cases[] = {
    CASE(V | L | M | KEYS, values_take_the_new_form),
    CASE(V | L | M, values_may_keep_their_form),
    CASE(V | KEYS, many_values_are_migrated_once),
    CASE(V | L | M | KEYS, the_new_serializer_is_what_is_stored),
    CASE(V | L | M, another_serializer_is_refused),
    CASE(V | L | M, a_renamed_state_is_found_out),
    CASE_END,
};
