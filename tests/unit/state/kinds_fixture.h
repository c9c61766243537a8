/* kinds_fixture.h -- the table backend with one state of each keyed kind. */
#ifndef KINDS_FIXTURE_H
#define KINDS_FIXTURE_H

#include "cistern/alloc.h"
#include "cistern/keys.h"
#include "cistern/list.h"
#include "cistern/map.h"
#include "cistern/timer.h"
#include "support/table_backend.h"
#include "test.h"

#include <string.h>

#define SPAN(text) ((struct cistern_span){(text), sizeof(text) - 1})
#define ABSENT ((struct cistern_span){NULL, 0})

struct kinds_fixture {
    struct table_backend *table;
    struct cistern_backend *backend;
    struct cistern_state *states[CISTERN_TIMERS + 1]; /* by kind */
    uint64_t held;
    struct cistern_error error;
};

/* Joins with a comma: the order of what is combined shows. */
static uint64_t kinds_join(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    (void)arg;
    uint64_t wanted = (old_value.data != NULL ? old_value.bytes + 1 : 0) + input.bytes;
    if (wanted <= result.capacity_bytes) {
        char *to = result.data;
        if (old_value.data != NULL) {
            memcpy(to, old_value.data, old_value.bytes);
            to[old_value.bytes] = ',';
            to += old_value.bytes + 1;
        }
        memcpy(to, input.data, input.bytes);
    }
    return wanted;
}

static inline int kinds_open(void **state)
{
    struct kinds_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->held = cistern_allocation_count();
    f->table = table_backend_open((struct cistern_key_group_range){10, 19});
    f->backend = &f->table->backend;
    for (uint32_t kind = CISTERN_VALUE; kind <= CISTERN_TIMERS; kind++) {
        int reduced = kind == CISTERN_REDUCING || kind == CISTERN_AGGREGATING;
        struct cistern_state_descriptor descriptor = {.name = cistern_state_kind_name(kind),
            .kind = kind,
            .reduce_fn = reduced ? kinds_join : NULL};
        assert_ok(
            cistern_state_register(f->backend, &descriptor, &f->states[kind], &f->error), f->error);
    }
    *state = f;
    return 0;
}

static inline int kinds_close(void **state)
{
    struct kinds_fixture *f = *state;
    assert_ok(cistern_backend_close(f->backend, &f->error), f->error);
    assert_int_equal(cistern_allocation_count(), f->held);
    free(f);
    return 0;
}

/* "key" or "key@namespace", in key group 10; "key@" is the empty namespace. */
static inline struct cistern_address kinds_at(const char *place)
{
    const char *cut = strchr(place, '@');
    struct cistern_address address = {.key_group = 10};
    address.key =
        (struct cistern_span){place, cut != NULL ? (uint64_t)(cut - place) : strlen(place)};
    if (cut != NULL) {
        address.name_space = (struct cistern_span){cut + 1, strlen(cut + 1)};
    }
    return address;
}

static inline void kinds_put(
    struct kinds_fixture *f, uint32_t kind, const char *place, const char *text)
{
    struct cistern_address address = kinds_at(place);
    struct cistern_span value = {text, strlen(text)};
    assert_ok(cistern_value_put(f->states[kind], &address, value, &f->error), f->error);
}

/* text NULL: nothing is there. */
static inline void kinds_expect(
    struct kinds_fixture *f, uint32_t kind, const char *place, const char *text)
{
    struct cistern_address address = kinds_at(place);
    struct cistern_span value = ABSENT;
    uint32_t status = cistern_value_get(f->states[kind], &address, &value, &f->error);
    if (text == NULL) {
        assert_status(status, CISTERN_NOT_FOUND);
        return;
    }
    assert_ok(status, f->error);
    assert_int_equal(value.bytes, strlen(text));
    assert_memory_equal(value.data, text, value.bytes);
}

#endif
