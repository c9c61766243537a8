/* cycle.c -- see cycle.h. */
#include "cycle.h"

#include "io_private.h"

#include "cistern/endian.h"

#include <string.h>

#define SLOT_BYTES (3u << 20)
#define TEXT_BYTES_MAX 600u

void cycle_init(struct cycle *cycle, uint64_t seed)
{
    memset(cycle, 0, sizeof *cycle);
    cycle->disk = sim_disk_create(seed);
    assert_non_null(cycle->disk);
}

void cycle_deinit(struct cycle *cycle)
{
    sim_disk_destroy(cycle->disk);
}

uint64_t cycle_newest(const struct cycle *cycle, enum cycle_fate fate)
{
    for (uint64_t id = cycle->newest_id; id > 0; id--) {
        if (cycle->fates[id] == fate) {
            return id;
        }
    }
    return 0;
}

/* ---- keys, values, the model ---- */
struct key {
    struct cistern_address address;
    char text[32];
};

static void key_make(struct key *key, uint32_t number)
{
    int bytes = snprintf(key->text, sizeof key->text, "%s%u", number % 2 ? "k" : "longer-", number);
    key->address = (struct cistern_address){
        .key = {key->text, number == 0 ? 0 : (uint64_t)bytes},
        .key_group = number % CYCLE_MAX_PARALLELISM,
    };
    if (number % 3 == 0) {
        key->address.name_space = (struct cistern_span){"window", number % 7};
    }
}

static struct cistern_span text_make(
    uint8_t text[TEXT_BYTES_MAX], uint32_t number, uint32_t version)
{
    uint32_t bytes = (number * 37 + version * 101) % TEXT_BYTES_MAX;
    for (uint32_t at = 0; at < bytes; at++) {
        text[at] = (uint8_t)(number * 7 + version * 31 + at);
    }
    return (struct cistern_span){text, bytes};
}

static uint32_t slot_of(uint32_t number)
{
    return cistern_key_group_owner(
        number % CYCLE_MAX_PARALLELISM, CYCLE_MAX_PARALLELISM, CYCLE_SLOTS);
}

static uint32_t change_one(struct cycle *cycle, uint32_t number, uint32_t round)
{
    struct cycle_backend *at = &cycle->slots[slot_of(number)];
    struct cycle_model *now = &cycle->now;
    struct key key;
    uint8_t amount[8];
    uint8_t text[TEXT_BYTES_MAX];
    key_make(&key, number);
    if ((number + round) % 5 == 0) {
        uint32_t status = cistern_value_remove(at->sums, &key.address, &cycle->error);
        now->sums[number] = status == CISTERN_OK ? 0 : now->sums[number];
        if (status == CISTERN_OK) {
            status = cistern_value_remove(at->texts, &key.address, &cycle->error);
            now->versions[number] = status == CISTERN_OK ? 0 : now->versions[number];
        }
        return status;
    }
    cistern_put_u64_be(amount, number + round + 1);
    uint32_t status = cistern_value_add(
        at->sums, &key.address, (struct cistern_span){amount, 8}, &cycle->error);
    if (status != CISTERN_OK) {
        return status;
    }
    now->sums[number] += number + round + 1;
    status = cistern_value_put(
        at->texts, &key.address, text_make(text, number, round), &cycle->error);
    now->versions[number] = status == CISTERN_OK ? round : now->versions[number];
    return status;
}

static uint32_t change(struct cycle *cycle, uint32_t round, uint32_t step)
{
    for (uint32_t number = round % step; number < CYCLE_KEYS; number += step) {
        uint32_t status = change_one(cycle, number, round);
        if (status != CISTERN_OK) {
            return status;
        }
    }
    return CISTERN_OK;
}

static void compare_one(const struct cycle_backend *at, const struct cycle_model *model,
    uint32_t number)
{
    struct key key;
    struct cistern_span value;
    struct cistern_error error;
    uint8_t text[TEXT_BYTES_MAX];
    key_make(&key, number);
    uint32_t status = cistern_value_get(at->sums, &key.address, &value, &error);
    if (model->sums[number] == 0) {
        assert_status(status, CISTERN_NOT_FOUND);
    } else {
        assert_ok(status, error);
        assert_int_equal(cistern_get_u64_be(value.data), model->sums[number]);
    }
    status = cistern_value_get(at->texts, &key.address, &value, &error);
    if (model->versions[number] == 0) {
        assert_status(status, CISTERN_NOT_FOUND);
    } else {
        assert_ok(status, error);
        struct cistern_span expected = text_make(text, number, model->versions[number]);
        assert_int_equal(value.bytes, expected.bytes);
        assert_memory_equal(value.data, expected.data, expected.bytes);
    }
}

/* ---- one heap ---- */
static uint32_t backend_open(struct cycle *cycle, struct cycle_backend *at,
    struct cistern_key_group_range range)
{
    struct cistern_slot_options slot = {.limit_bytes = SLOT_BYTES};
    struct cistern_heap_options heap = {
        .backend = {.max_parallelism = CYCLE_MAX_PARALLELISM, .range = range}, .hash_seed = 9};
    uint32_t status = cistern_slot_open(cycle->pool, &slot, &at->slot, &cycle->error);
    return status == CISTERN_OK ? cistern_heap_open(at->slot, &heap, &at->backend, &cycle->error)
                                : status;
}

static uint32_t backend_register(struct cycle *cycle, struct cycle_backend *at)
{
    struct cistern_state_descriptor sums = {.name = "sums",
        .kind = CISTERN_REDUCING,
        .value_bytes = 8,
        .reduce = CISTERN_REDUCE_SUM_I64};
    struct cistern_state_descriptor texts = {.name = "texts", .kind = CISTERN_VALUE};
    uint32_t status = cistern_state_register(at->backend, &sums, &at->sums, &cycle->error);
    return status == CISTERN_OK
               ? cistern_state_register(at->backend, &texts, &at->texts, &cycle->error)
               : status;
}

static void backend_shut(struct cycle_backend *at)
{
    struct cistern_error error;
    if (at->backend != NULL) {
        assert_ok(cistern_backend_close(at->backend, &error), error);
    }
    if (at->slot != NULL) {
        assert_int_equal(cistern_slot_used_bytes(at->slot), 0);
        assert_ok(cistern_slot_close(at->slot, &error), error);
    }
    memset(at, 0, sizeof *at);
}

/* NOT_FOUND: nothing is published. */
static uint32_t backend_restore(struct cycle *cycle, struct cycle_backend *at, const char *pointer,
    struct cistern_key_group_range range, uint64_t *ret_id)
{
    struct cistern_restore *restore;
    struct cistern_restore_info info;
    struct cistern_source source;
    struct cistern_error *error = &cycle->error;
    uint32_t status =
        cistern_restore_open(cycle->io, cycle->store, pointer, NULL, &restore, error);
    if (status != CISTERN_OK) {
        return status;
    }
    cistern_restore_info(restore, &info);
    *ret_id = info.checkpoint_id;
    assert_int_equal(info.job_state.bytes, sizeof info.checkpoint_id);
    assert_memory_equal(info.job_state.data, &info.checkpoint_id, sizeof info.checkpoint_id);
    status = cistern_restore_source(restore, range, &source, error);
    if (status == CISTERN_OK) {
        status = cistern_backend_restore(at->backend, &source, error);
        cistern_restore_source_close(&source);
    }
    cistern_restore_close(restore);
    return status;
}

/* Restores into a heap of all key groups and compares it with the model. */
static uint32_t restore_and_compare(struct cycle *cycle, const char *pointer, uint64_t *ret_id)
{
    struct cistern_key_group_range all = {0, CYCLE_MAX_PARALLELISM - 1};
    struct cycle_backend whole = {0};
    uint32_t status = backend_open(cycle, &whole, all);
    if (status == CISTERN_OK) {
        status = backend_restore(cycle, &whole, pointer, all, ret_id);
    }
    if (status == CISTERN_OK) {
        status = backend_register(cycle, &whole);
    }
    if (status == CISTERN_OK) {
        for (uint32_t number = 0; number < CYCLE_KEYS; number++) {
            compare_one(&whole, &cycle->models[*ret_id], number);
        }
    }
    backend_shut(&whole);
    return status;
}

/* ---- the job ---- */
struct found {
    const struct cycle *cycle;
    uint32_t complete[CYCLE_IDS];
    uint64_t ids[CYCLE_IDS];
    uint32_t count;
};

static void found_row(void *arg, const struct cistern_checkpoint_row *row)
{
    struct found *found = arg;
    if (row->complete == 1) {
        assert_true(row->checkpoint_id <= found->cycle->newest_id);
        found->complete[row->checkpoint_id] = 1;
        found->ids[found->count++] = row->checkpoint_id;
    }
}

static uint32_t coordinator_open(struct cycle *cycle)
{
    struct found found = {.cycle = cycle};
    struct cistern_coordinator_options options = {
        .slot_count = CYCLE_SLOTS, .failures_tolerated = UINT32_MAX};
    uint32_t status =
        cistern_checkpoints_list(cycle->io, cycle->store, found_row, &found, &cycle->error);
    if (status != CISTERN_OK) {
        return status;
    }
    /* an attempt of a dead writer may have had an id that the log does not know */
    return cistern_coordinator_create(&options, cycle->newest_id, found.ids, found.count,
        &cycle->coordinator, &cycle->error);
}

static uint32_t storage_open(struct cycle *cycle)
{
    struct cistern_writer_options options = {.job_name = "cycle",
        .key_group_hash = "bytes-xxh3",
        .max_parallelism = CYCLE_MAX_PARALLELISM,
        .start = CISTERN_START_CONTINUE,
        .slot_count = CYCLE_SLOTS};
    uint32_t status = io_create_simulated(cycle->pool, cycle->disk, 0, &cycle->io, &cycle->error);
    if (status == CISTERN_OK) {
        status = cistern_store_open(cycle->io, CYCLE_ROOT, 1, &cycle->store, &cycle->error);
    }
    return status == CISTERN_OK
               ? cistern_writer_open(cycle->store, &options, &cycle->writer, &cycle->error)
               : status;
}

static uint32_t slot_start(struct cycle *cycle, uint32_t index)
{
    struct cistern_key_group_range range =
        cistern_key_group_range_of(index, CYCLE_MAX_PARALLELISM, CYCLE_SLOTS);
    uint32_t status = backend_open(cycle, &cycle->slots[index], range);
    if (status == CISTERN_OK && cistern_writer_latest_checkpoint_id(cycle->writer) != 0) {
        uint64_t id;
        status = backend_restore(cycle, &cycle->slots[index], "latest", range, &id);
        if (status == CISTERN_OK) {
            cycle->now = cycle->models[id];
        } else if (status == CISTERN_NOT_FOUND) {
            status = CISTERN_OK; /* its only ids were never published */
        }
    }
    return status == CISTERN_OK ? backend_register(cycle, &cycle->slots[index]) : status;
}

uint32_t cycle_open(struct cycle *cycle)
{
    struct cistern_pool_options options = {.budget_bytes = 24u << 20,
        .process_reserve_bytes = 8u << 20,
        .slot_count_max = CYCLE_SLOTS + 1,
        .allocator = CISTERN_ALLOCATOR_OWN};
    memset(&cycle->now, 0, sizeof cycle->now);
    cycle->confirmed = 0;
    uint32_t status = cistern_pool_create(&options, &cycle->pool, &cycle->error);
    if (status == CISTERN_OK) {
        status = storage_open(cycle);
    }
    for (uint32_t index = 0; index < CYCLE_SLOTS && status == CISTERN_OK; index++) {
        status = slot_start(cycle, index);
    }
    return status == CISTERN_OK ? coordinator_open(cycle) : status;
}

void cycle_close(struct cycle *cycle)
{
    struct cistern_error error;
    assert_int_equal(cycle->uploads, 0);
    cistern_coordinator_destroy(cycle->coordinator);
    cistern_writer_close(cycle->writer);
    for (uint32_t index = 0; index < CYCLE_SLOTS; index++) {
        backend_shut(&cycle->slots[index]);
    }
    cistern_store_close(cycle->store);
    cistern_io_destroy(cycle->io);
    if (cycle->pool != NULL) {
        assert_ok(cistern_pool_destroy(cycle->pool, &error), error);
    }
    cycle->coordinator = NULL;
    cycle->writer = NULL;
    cycle->store = NULL;
    cycle->io = NULL;
    cycle->pool = NULL;
}

/* ---- a checkpoint: the coordinator's actions, carried out ---- */
static void upload_done(void *arg, const struct cistern_upload_result *result)
{
    struct cycle *cycle = arg;
    cycle->uploads--;
    if (result->status == CISTERN_OK) {
        /* NO_MEMORY: the coordinator has discarded the attempt */
        if (cistern_coordinator_acknowledge(cycle->coordinator, result->checkpoint_id,
                result->slot_index, result->slice) != CISTERN_OK) {
            cycle->error.status = CISTERN_NO_MEMORY;
        }
        return;
    }
    cycle->error = *result->error;
    cistern_coordinator_decline(
        cycle->coordinator, result->checkpoint_id, result->slot_index, result->error);
}

static uint32_t slot_barrier(
    struct cycle *cycle, uint32_t index, const struct cistern_action *action)
{
    struct cistern_snapshot *snapshot;
    struct cistern_backend *backend = cycle->slots[index].backend;
    struct cistern_snapshot_request request = {.checkpoint_id = action->checkpoint_id,
        .base_checkpoint_id = action->base_checkpoint_id,
        .kind = action->snapshot_kind,
        .ready = cistern_writer_ready,
        .ready_arg = cycle->writer};
    struct cistern_upload_options options = {.slot_index = index,
        .kind = action->snapshot_kind,
        .checkpoint_id = action->checkpoint_id,
        .base_checkpoint_id = action->base_checkpoint_id,
        .range = cistern_backend_options_of(backend)->range,
        .backend = cistern_backend_name(backend),
        .done = upload_done,
        .arg = cycle};
    uint32_t status = cistern_snapshot_begin(backend, &request, &snapshot, &cycle->error);
    if (status == CISTERN_OK) {
        status =
            cistern_upload_begin(cycle->writer, snapshot, &options, NULL, &cycle->error);
        cycle->uploads += status == CISTERN_OK;
    }
    return status;
}

static void run_barrier(struct cycle *cycle, const struct cistern_action *action)
{
    assert_true(action->checkpoint_id < CYCLE_IDS);
    cycle->newest_id = action->checkpoint_id;
    cycle->models[action->checkpoint_id] = cycle->now;
    for (uint32_t index = 0; index < CYCLE_SLOTS; index++) {
        if (slot_barrier(cycle, index, action) != CISTERN_OK) {
            cistern_coordinator_decline(
                cycle->coordinator, action->checkpoint_id, index, &cycle->error);
            break;
        }
    }
    while (cistern_io_step(cycle->io) != 0) {
    }
}

static void run_publish(struct cycle *cycle, const struct cistern_action *action)
{
    uint64_t id = action->checkpoint_id;
    struct cistern_publish publish = {.checkpoint_id = id,
        .base_checkpoint_id = action->base_checkpoint_id,
        .kind = action->snapshot_kind,
        .slice_count = CYCLE_SLOTS,
        .slices = action->slices,
        .job_state = {&id, sizeof id},
        .operator_name = "cycle"};
    cycle->fates[id] = FATE_DOUBT;
    uint32_t status = cistern_writer_publish(cycle->writer, &publish, &cycle->error);
    cycle->fates[id] = status == CISTERN_OK ? FATE_PUBLISHED : FATE_DOUBT;
    cistern_coordinator_published(cycle->coordinator, id, status, &cycle->error);
}

static void notify(struct cycle *cycle, uint64_t id, uint32_t outcome)
{
    for (uint32_t index = 0; index < CYCLE_SLOTS; index++) {
        cistern_backend_notify(cycle->slots[index].backend, id, outcome);
    }
}

/* One that failed before is tried again. */
static uint32_t retire_all(struct cycle *cycle)
{
    uint32_t worst = CISTERN_OK;
    for (uint64_t id = 1; id <= cycle->newest_id; id++) {
        if (cycle->fates[id] == FATE_RETIRING) {
            uint32_t status = cistern_writer_retire(cycle->writer, id, &cycle->error);
            cycle->fates[id] = status == CISTERN_OK ? FATE_RETIRED : FATE_RETIRING;
            worst = status == CISTERN_OK ? worst : status;
        }
    }
    return worst;
}

static uint32_t act(struct cycle *cycle, const struct cistern_action *action)
{
    uint32_t status = CISTERN_OK;
    switch (action->kind) {
    case CISTERN_ACTION_BARRIER:
        run_barrier(cycle, action);
        break;
    case CISTERN_ACTION_PUBLISH:
        run_publish(cycle, action);
        break;
    case CISTERN_ACTION_CONFIRM:
        cycle->confirmed++;
        notify(cycle, action->checkpoint_id, CISTERN_CONFIRMED);
        break;
    case CISTERN_ACTION_DISCARD:
        status = action->error != NULL ? action->error->status : CISTERN_ABORTED;
        notify(cycle, action->checkpoint_id, CISTERN_DISCARDED);
        cistern_writer_discard(cycle->writer, action->checkpoint_id);
        while (cistern_io_step(cycle->io) != 0) {
        }
        break;
    case CISTERN_ACTION_SUBSUME:
        notify(cycle, action->checkpoint_id, CISTERN_SUBSUMED);
        cycle->fates[action->checkpoint_id] = FATE_RETIRING;
        status = retire_all(cycle);
        break;
    default:
        fail();
    }
    return status;
}

static uint32_t checkpoint(struct cycle *cycle)
{
    uint64_t id;
    uint32_t worst = cistern_coordinator_trigger(
        cycle->coordinator, cycle->clock_ms++, NULL, &id, &cycle->error);
    for (;;) {
        struct cistern_action action;
        cistern_coordinator_next(cycle->coordinator, &action);
        if (action.kind == CISTERN_ACTION_NONE) {
            break;
        }
        uint32_t status = act(cycle, &action);
        worst = worst == CISTERN_OK ? status : worst;
    }
    assert_int_equal(cycle->uploads, 0);
    assert_int_equal(cistern_coordinator_in_flight(cycle->coordinator), 0);
    return worst;
}

uint32_t cycle_story(struct cycle *cycle)
{
    uint32_t status = CISTERN_OK;
    for (uint32_t round = 1; round <= 2 && status == CISTERN_OK; round++) {
        status = change(cycle, round, round);
        if (status == CISTERN_OK) {
            status = checkpoint(cycle);
        }
    }
    if (status == CISTERN_OK) {
        uint64_t id;
        status = restore_and_compare(cycle, "latest", &id);
        if (status == CISTERN_OK) {
            assert_int_equal(id, cycle->newest_id);
        }
    }
    return status;
}

/* ---- what must be true ---- */
void cycle_check(struct cycle *cycle)
{
    struct found found = {.cycle = cycle};
    uint64_t published = cycle_newest(cycle, FATE_PUBLISHED);
    uint64_t id = 0;
    for (uint32_t number = 0; number < CYCLE_KEYS && cycle->coordinator != NULL; number++) {
        compare_one(&cycle->slots[slot_of(number)], &cycle->now, number);
    }
    uint32_t status = restore_and_compare(cycle, "latest", &id);
    if (status == CISTERN_NOT_FOUND) {
        assert_int_equal(published, 0);
    } else {
        assert_ok(status, cycle->error);
        assert_true(id == published || (id > published && cycle->fates[id] == FATE_DOUBT));
    }
    status = cistern_checkpoints_list(cycle->io, cycle->store, found_row, &found, &cycle->error);
    assert_ok(status, cycle->error);
    for (id = 1; id <= cycle->newest_id; id++) {
        enum cycle_fate fate = cycle->fates[id];
        assert_true(found.complete[id] || fate != FATE_PUBLISHED);
        assert_true(!found.complete[id] || (fate != FATE_NONE && fate != FATE_RETIRED));
    }
}

static void print_problem(void *arg, const struct cistern_check_problem *problem)
{
    (void)arg;
    print_error("%s: %s: %s\n", problem->path, problem->kind, problem->message);
}

void cycle_check_root(struct cycle *cycle)
{
    struct cistern_check_report report;
    assert_ok(cistern_check(cycle->io, CYCLE_ROOT, 1, print_problem, NULL, NULL, &report,
                  &cycle->error),
        cycle->error);
    assert_int_equal(report.problem_count, 0);
    assert_true(report.files_checked > 0);
}
