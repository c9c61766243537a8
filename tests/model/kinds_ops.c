/* kinds_ops.c -- one random operation on backend and model; the model changes only by what the
 * backend said it has done. */
#include "model/kinds_run.h"

#include "cistern/alloc.h"
#include "cistern/endian.h"

#include <string.h>

#define BATCH_MAX 24u
#define AMOUNT_MAX 1000u

static struct cistern_error error;
static uint8_t bytes[BATCH_MAX][VALUE_BYTES_MAX];

/* Half of them meet in few places, so that things pile up. */
static uint32_t pick_place(struct kinds_run *run)
{
    return run_pick(run, run_pick(run, 2) ? MODEL_PLACES : 12);
}

/* In a tiny slot many are long, so that it fills up. */
static int32_t pick_tag(struct kinds_run *run)
{
    int32_t tag = (int32_t)run_pick(run, 100000);
    return run->is_tiny && run_pick(run, 5) == 0 ? tag - tag % 97 : tag;
}

/* ---- value and sum ---- */

static void op_put(struct kinds_run *run)
{
    struct cistern_address addresses[BATCH_MAX];
    struct cistern_span values[BATCH_MAX];
    uint32_t places[BATCH_MAX];
    int32_t tags[BATCH_MAX];
    uint32_t count = 1 + run_pick(run, BATCH_MAX);
    uint32_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        places[i] = pick_place(run);
        tags[i] = pick_tag(run);
        addresses[i] = place_at(places[i])->address;
        values[i] = kinds_value(tags[i], bytes[i]);
    }
    run_log(run, "put %u values, first at %u tag %d", count, places[0], tags[0]);
    uint32_t status =
        cistern_value_put_many(run->states[CISTERN_VALUE], addresses, values, count, &done, &error);
    assert_true((run_answer(run, status, &error) == CISTERN_OK) == (done == count));
    for (uint32_t i = 0; i < done; i++) {
        run->model.places[places[i]].value = (struct model_item){tags[i], run->now_ms};
        cursors_touch(run, CISTERN_VALUE, places[i], 0);
    }
}

static void op_add(struct kinds_run *run)
{
    struct cistern_address addresses[BATCH_MAX];
    struct cistern_span inputs[BATCH_MAX];
    uint32_t places[BATCH_MAX];
    int64_t amounts[BATCH_MAX];
    uint32_t count = 1 + run_pick(run, BATCH_MAX);
    uint32_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        places[i] = pick_place(run);
        amounts[i] = (int64_t)run_pick(run, AMOUNT_MAX) - 300;
        addresses[i] = place_at(places[i])->address;
        cistern_put_u64_be(bytes[i], (uint64_t)amounts[i]);
        inputs[i] = (struct cistern_span){bytes[i], 8};
    }
    run_log(run, "add %u amounts, first at %u", count, places[0]);
    uint32_t status = cistern_value_add_many(
        run->states[CISTERN_REDUCING], addresses, inputs, count, &done, &error);
    assert_true((run_answer(run, status, &error) == CISTERN_OK) == (done == count));
    for (uint32_t i = 0; i < done; i++) {
        struct model_place *place = &run->model.places[places[i]];
        place->sum_of = amounts[i] + (place->sum.tag != ABSENT_TAG ? place->sum_of : 0);
        place->sum = (struct model_item){0, run->now_ms};
        cursors_touch(run, CISTERN_REDUCING, places[i], 0);
    }
}

/* ---- lists ---- */

static void op_list(struct kinds_run *run)
{
    struct cistern_span elements[BATCH_MAX];
    int32_t tags[BATCH_MAX];
    uint32_t place = pick_place(run);
    struct model_place *at = &run->model.places[place];
    uint32_t is_replace = run_pick(run, 8) == 0;
    uint32_t count = run_pick(run, is_replace ? BATCH_MAX : 6);
    if (!is_replace && at->list_count + count > MODEL_LIST_MAX / MODEL_NAMESPACES) {
        is_replace = 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        tags[i] = pick_tag(run);
        elements[i] = kinds_value(tags[i], bytes[i]);
    }
    run_log(run, "%s %u elements at %u, %u there", is_replace ? "replace by" : "append", count,
        place, at->list_count);
    const struct cistern_address *address = &place_at(place)->address;
    struct cistern_state *list = run->states[CISTERN_LIST];
    uint32_t status = is_replace ? cistern_list_replace(list, address, elements, count, &error)
                                 : cistern_list_append_many(list, address, elements, count, &error);
    if (run_answer(run, status, &error) != CISTERN_OK) {
        return; /* all or nothing */
    }
    if (is_replace) {
        kinds_model_clear(&run->model, CISTERN_LIST, place);
    }
    for (uint32_t i = 0; i < count; i++) {
        at->list[at->list_count++] = (struct model_item){tags[i], run->now_ms};
    }
    cursors_touch(run, CISTERN_LIST, place, 0);
}

/* ---- maps ---- */

static void op_map(struct kinds_run *run)
{
    struct cistern_address addresses[BATCH_MAX];
    struct cistern_span user_keys[BATCH_MAX];
    struct cistern_span values[BATCH_MAX];
    uint32_t places[BATCH_MAX];
    uint32_t users[BATCH_MAX];
    int32_t tags[BATCH_MAX];
    uint32_t count = 1 + run_pick(run, BATCH_MAX);
    uint32_t is_remove = run_pick(run, 3) == 0;
    uint32_t first = pick_place(run);
    uint32_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        places[i] = run_pick(run, 3) ? first : pick_place(run);
        users[i] = run_pick(run, run_pick(run, 3) ? MODEL_USER_KEYS : 4);
        tags[i] = is_remove ? ABSENT_TAG : run_pick(run, 6) ? pick_tag(run) : NULL_TAG;
        addresses[i] = place_at(places[i])->address;
        user_keys[i] = user_key_at(users[i]);
        values[i] = is_remove ? ABSENT : kinds_value(tags[i], bytes[i]);
    }
    run_log(run, "map %s %u entries, first at %u user key %u", is_remove ? "remove" : "put", count,
        places[0], users[0]);
    struct cistern_state *map = run->states[CISTERN_MAP];
    uint32_t status =
        is_remove ? cistern_map_remove_many(map, addresses, user_keys, count, &done, &error)
                  : cistern_map_put_many(map, addresses, user_keys, values, count, &done, &error);
    assert_true((run_answer(run, status, &error) == CISTERN_OK) == (done == count));
    for (uint32_t i = 0; i < done; i++) {
        run->model.places[places[i]].map[users[i]] = (struct model_item){tags[i], run->now_ms};
        cursors_touch(run, CISTERN_MAP, places[i], users[i]);
    }
}

/* ---- timers ---- */

static void op_timers(struct kinds_run *run)
{
    struct cistern_address addresses[BATCH_MAX];
    int64_t times[BATCH_MAX];
    uint32_t places[BATCH_MAX];
    uint32_t indexes[BATCH_MAX];
    uint32_t count = 1 + run_pick(run, BATCH_MAX);
    uint32_t is_add = run_pick(run, 3) != 0;
    uint32_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        places[i] = pick_place(run);
        indexes[i] = run_pick(run, MODEL_TIMES);
        addresses[i] = place_at(places[i])->address;
        times[i] = time_at(indexes[i]);
    }
    run_log(run, "%s %u timers, first at %u time %u", is_add ? "add" : "remove", count, places[0],
        indexes[0]);
    struct cistern_state *timers = run->states[CISTERN_TIMERS];
    uint32_t status =
        is_add ? cistern_timer_add_many(timers, times, addresses, count, &done, &error)
               : cistern_timer_remove_many(timers, times, addresses, count, &done, &error);
    assert_true((run_answer(run, status, &error) == CISTERN_OK) == (done == count));
    for (uint32_t i = 0; i < done; i++) {
        run->model.places[places[i]].timers[indexes[i]] = (uint8_t)is_add;
    }
}

/* The least time of the model; MODEL_TIMES = there is none. */
static uint32_t model_first_time(const struct kinds_model *model)
{
    for (uint32_t t = 0; t < MODEL_TIMES; t++) {
        for (uint32_t p = 0; p < MODEL_PLACES; p++) {
            if (model->places[p].timers[t]) {
                return t;
            }
        }
    }
    return MODEL_TIMES;
}

static void timer_take(struct kinds_run *run, const struct cistern_entry *timer)
{
    uint32_t first = model_first_time(&run->model);
    assert_true(first < MODEL_TIMES && timer->written_ms == time_at(first));
    for (uint32_t p = 0; p < MODEL_PLACES; p++) {
        const struct cistern_address *at = &place_at(p)->address;
        const struct cistern_address *got = &timer->address;
        if (run->model.places[p].timers[first] && at->key.bytes == got->key.bytes &&
            at->name_space.bytes == got->name_space.bytes &&
            (at->name_space.data == NULL) == (got->name_space.data == NULL) &&
            memcmp(at->key.data, got->key.data, at->key.bytes) == 0) {
            run->model.places[p].timers[first] = 0;
            return;
        }
    }
    fail_msg("a timer of time %u fired that is not there", first);
}

static void op_pop(struct kinds_run *run)
{
    struct cistern_entry due[BATCH_MAX];
    struct cistern_state *timers = run->states[CISTERN_TIMERS];
    uint32_t up_to = run_pick(run, MODEL_TIMES / 2);
    uint32_t capacity = 1 + run_pick(run, BATCH_MAX);
    uint32_t count = 0;
    run_log(run, "pop up to time %u, at most %u", up_to, capacity);
    uint32_t status = cistern_timer_pop_due(timers, time_at(up_to), due, capacity, &count, &error);
    status = run_answer(run, status, &error);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(due[i].written_ms <= time_at(up_to));
        timer_take(run, &due[i]);
    }
    uint32_t first = model_first_time(&run->model);
    /* in a full slot some may come, and the rest with the next call; none means none is due */
    int is_short = run->is_tiny && count != 0;
    assert_true(status != CISTERN_OK || count == capacity || is_short || first > up_to);
    int64_t next = 0;
    status = cistern_timer_next(timers, &next, &error);
    assert_status(status, first < MODEL_TIMES ? CISTERN_OK : CISTERN_NOT_FOUND);
    assert_true(status != CISTERN_OK || next == time_at(first));
}

/* ---- any kind ---- */

static uint32_t pick_kind(struct kinds_run *run, uint32_t among)
{
    uint32_t kind;
    do {
        kind = 1 + run_pick(run, CISTERN_TIMERS);
    } while ((among & KIND_BIT(kind)) == 0);
    return kind;
}

static uint32_t kinds_held(const struct kinds_run *run)
{
    return run->semantics->kinds & (KIND_BIT(CISTERN_VALUE) | KIND_BIT(CISTERN_REDUCING) |
                                       KIND_BIT(CISTERN_LIST) | KIND_BIT(CISTERN_MAP));
}

static void op_clear(struct kinds_run *run)
{
    struct cistern_address addresses[4];
    uint32_t places[4];
    uint32_t count = 1 + run_pick(run, 4);
    uint32_t kind = pick_kind(run, kinds_held(run));
    uint32_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        places[i] = pick_place(run);
        addresses[i] = place_at(places[i])->address;
    }
    run_log(
        run, "clear %s at %u and %u others", cistern_state_kind_name(kind), places[0], count - 1);
    uint32_t status = cistern_state_clear_many(run->states[kind], addresses, count, &done, &error);
    assert_true((run_answer(run, status, &error) == CISTERN_OK) == (done == count));
    for (uint32_t i = 0; i < done; i++) {
        kinds_model_clear(&run->model, kind, places[i]);
        cursors_touch(run, kind, places[i], UINT32_MAX);
    }
}

static void op_merge(struct kinds_run *run)
{
    uint32_t kind =
        pick_kind(run, kinds_held(run) & (KIND_BIT(CISTERN_REDUCING) | KIND_BIT(CISTERN_LIST)));
    uint32_t target = pick_place(run);
    uint32_t names[MODEL_NAMESPACES];
    struct cistern_span spans[MODEL_NAMESPACES];
    uint32_t count = 1 + run_pick(run, MODEL_NAMESPACES);
    uint32_t key = target - target % MODEL_NAMESPACES;
    uint32_t total = 0;
    for (uint32_t i = 0; i < MODEL_NAMESPACES; i++) {
        total += run->model.places[key + i].list_count;
    }
    if (total > MODEL_LIST_MAX) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        names[i] = run_pick(run, MODEL_NAMESPACES);
        spans[i] = place_at(key + names[i])->address.name_space;
    }
    run_log(run, "merge %s into %u, %u sources, first %u", cistern_state_kind_name(kind), target,
        count, names[0]);
    uint32_t status =
        cistern_state_merge(run->states[kind], &place_at(target)->address, spans, count, &error);
    if (run_answer(run, status, &error) == CISTERN_OK) {
        kinds_model_merge(&run->model, kind, target, names, count, run->now_ms);
        for (uint32_t i = 0; i < MODEL_NAMESPACES; i++) {
            cursors_touch(run, kind, key + i, UINT32_MAX);
        }
    }
}

static void op_drop(struct kinds_run *run)
{
    uint32_t kind = pick_kind(run, kinds_held(run));
    uint32_t name = run_pick(run, MODEL_NAMESPACES);
    uint32_t status = CISTERN_LIMIT;
    run_log(run, "drop namespace %u of %s", name, cistern_state_kind_name(kind));
    for (uint32_t tries = 0; status != CISTERN_OK; tries++) { /* a part may be gone: again */
        assert_true(tries < 3);
        status = cistern_state_drop_namespace(
            run->states[kind], place_at(name)->address.name_space, &error);
        (void)run_answer(run, status, &error);
        cistern_allocation_fail_at(0);
    }
    for (uint32_t place = name; place < MODEL_PLACES; place += MODEL_NAMESPACES) {
        kinds_model_clear(&run->model, kind, place);
        cursors_touch(run, kind, place, UINT32_MAX);
    }
}

/* Results of one call are the inputs of the next. */
static void op_borrow(struct kinds_run *run)
{
    struct cistern_span got = {NULL, 0};
    uint32_t from = pick_place(run);
    uint32_t to = pick_place(run);
    struct model_item item = run->model.places[from].value;
    run_log(run, "borrow the value of %u for %u", from, to);
    uint32_t status =
        cistern_value_get(run->states[CISTERN_VALUE], &place_at(from)->address, &got, &error);
    if (status == CISTERN_NOT_FOUND || run_answer(run, status, &error) != CISTERN_OK) {
        assert_true(status != CISTERN_NOT_FOUND || item.tag == ABSENT_TAG);
        return;
    }
    if (run->ttl[CISTERN_VALUE].update_on_read) {
        run->model.places[from].value.written_ms = run->now_ms;
    }
    status = cistern_value_put(run->states[CISTERN_VALUE], &place_at(to)->address, got, &error);
    if (run_answer(run, status, &error) == CISTERN_OK) {
        run->model.places[to].value = (struct model_item){item.tag, run->now_ms};
        cursors_touch(run, CISTERN_VALUE, to, 0);
    }
}

static void op_clock(struct kinds_run *run)
{
    run->now_ms += run_pick(run, 20) == 0 ? 700 : run_pick(run, 40);
    run_log(run, "clock %lld", (long long)run->now_ms);
    world_clock_set(run->now_ms);
    kinds_model_expire(&run->model, run->now_ms);
    cursors_touch_all(run);
}

static void op_step(struct kinds_run *run)
{
    struct cistern_error detail;
    run_log(run, "step");
    cistern_allocation_fail_at(0);
    assert_ok(cistern_backend_step(run->backend, 0, &detail), detail);
}

static const struct {
    void (*run)(struct kinds_run *run);
    uint32_t weight;
    uint32_t kinds;    /* that it needs */
    uint32_t may_fail; /* an allocation in it */
} operations[] = {
    {op_put, 6, 0, 1},
    {op_add, 4, 0, 1},
    {op_list, 10, KIND_BIT(CISTERN_LIST), 1},
    {op_map, 10, KIND_BIT(CISTERN_MAP), 1},
    {op_timers, 6, KIND_BIT(CISTERN_TIMERS), 1},
    {op_pop, 2, KIND_BIT(CISTERN_TIMERS), 1},
    {op_clear, 2, 0, 1},
    {op_merge, 2, 0, 1},
    {op_drop, 1, KEYS, 1},
    {op_borrow, 2, 0, 1},
    {op_clock, 4, 0, 0},
    {op_step, 2, 0, 0},
    {cursors_open_one, 2, 0, 0},
    {cursors_advance, 6, 0, 0},
    {snapshot_start, 1, 0, 0},
    {snapshot_advance, 12, 0, 0},
};
#define OPERATION_COUNT (sizeof operations / sizeof operations[0])

void run_operation(struct kinds_run *run)
{
    uint32_t total = 0;
    uint32_t index = 0;
    for (uint32_t i = 0; i < OPERATION_COUNT; i++) {
        total += operations[i].weight;
    }
    do {
        uint32_t at = run_pick(run, total);
        for (index = 0; at >= operations[index].weight; index++) {
            at -= operations[index].weight;
        }
    } while ((operations[index].kinds & ~run->semantics->kinds) != 0);
    int fails = operations[index].may_fail && run->fails_allocations && run_pick(run, 8) == 0;
    cistern_allocation_fail_at(fails ? 1 + run_pick(run, 4) : 0);
    operations[index].run(run);
    cistern_allocation_fail_at(0);
}
