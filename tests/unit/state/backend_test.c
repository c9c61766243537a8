/* backend_test.c -- what state/ refuses before a backend sees it, and what it passes on. */
#include "fake_backend.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    struct fake_backend *fake;
    struct cistern_backend *backend;
    uint64_t held;
    struct cistern_error error;
};

static int fixture_open(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->held = cistern_allocation_count();
    fixture->fake = fake_open();
    fixture->backend = &fixture->fake->backend;
    *state = fixture;
    return 0;
}

static int fixture_close(void **state)
{
    struct fixture *fixture = *state;
    assert_ok(cistern_backend_close(fixture->backend, &fixture->error), fixture->error);
    assert_int_equal(cistern_allocation_count(), fixture->held);
    free(fixture);
    return 0;
}

static struct cistern_state *state_make(
    struct fixture *fixture, const char *name, uint32_t kind, uint32_t reduce)
{
    struct cistern_state_descriptor descriptor = {.name = name, .kind = kind, .reduce = reduce};
    struct cistern_state *state;
    assert_ok(cistern_state_register(fixture->backend, &descriptor, &state, &fixture->error),
        fixture->error);
    return state;
}

static uint64_t any_reduce(void *arg, struct cistern_span old_value, struct cistern_span input,
    struct cistern_bytes result)
{
    (void)arg;
    (void)old_value;
    (void)result;
    return input.bytes;
}

static void test_init(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_backend backend;
    struct cistern_backend_ops old_ops = fake_ops;
    old_ops.size -= sizeof(void *);
    struct cistern_backend_options options = {.max_parallelism = 128, .range = {0, 127}};
    assert_status(
        cistern_backend_init(&backend, &old_ops, NULL, &options, 1, &error), CISTERN_UNSUPPORTED);
    const struct cistern_backend_options wrong[] = {
        {.max_parallelism = 0, .range = {0, 0}},
        {.max_parallelism = 32769, .range = {0, 0}},
        {.max_parallelism = 128, .range = {0, 128}},
        {.max_parallelism = 128, .range = {5, 4}},
        {.max_parallelism = 128, .range = {0, 127}, .operator_id = ""},
        {.max_parallelism = 128, .range = {0, 127}, .operator_id = "a\nb"},
    };
    for (uint32_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_status(
            cistern_backend_init(&backend, &fake_ops, NULL, &wrong[i], 1, &error), CISTERN_INVALID);
    }
    options.operator_id = "count words";
    assert_ok(cistern_backend_init(&backend, &fake_ops, NULL, &options, 123, &error), error);
    assert_string_equal(cistern_backend_options_of(&backend)->operator_id, "count words");
    assert_int_equal(cistern_backend_options_of(&backend)->value_bytes_max, 123);
    assert_string_equal(cistern_backend_name(&backend), "fake");
    cistern_backend_deinit(&backend);
}

static void test_register_refuses(void **state)
{
    struct fixture *fixture = *state;
    char long_name[202];
    memset(long_name, 'n', 201);
    long_name[201] = '\0';
    const struct {
        struct cistern_state_descriptor descriptor;
        uint32_t expected;
    } cases[] = {
        {{.name = NULL, .kind = CISTERN_VALUE}, CISTERN_INVALID},
        {{.name = "", .kind = CISTERN_VALUE}, CISTERN_INVALID},
        {{.name = "a b", .kind = CISTERN_VALUE}, CISTERN_INVALID},
        {{.name = long_name, .kind = CISTERN_VALUE}, CISTERN_INVALID},
        {{.name = "s", .kind = 0}, CISTERN_INVALID},
        {{.name = "s", .kind = 10}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .key_bytes = 65536}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .value_bytes = 1001}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .reduce = CISTERN_REDUCE_SUM_I64}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .reduce_fn = any_reduce}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_REDUCING}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_REDUCING, .reduce = 4}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_REDUCING, .reduce = 1, .value_bytes = 4}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_REDUCING, .reduce = 1, .reduce_fn = any_reduce},
            CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .ttl = {.time_to_live_ms = -1}}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .ttl = {.update_on_read = 1}}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .ttl = {.time_to_live_ms = 1, .update_on_read = 2}},
            CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_TIMERS, .ttl = {.time_to_live_ms = 1}}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .ttl = {.time_to_live_ms = 1, .event_time = 2}},
            CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .ttl = {.event_time = 1}}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_TIMERS, .value_bytes = 8}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_REDUCING, .reduce = 1, .merge_fn = any_reduce},
            CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .serializer = {NULL, 3}}, CISTERN_INVALID},
        {{.name = "s", .kind = CISTERN_VALUE, .serializer = {long_name, 4097}}, CISTERN_INVALID},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cistern_state *made = NULL;
        memset(&fixture->error, 0, sizeof fixture->error);
        uint32_t status =
            cistern_state_register(fixture->backend, &cases[i].descriptor, &made, &fixture->error);
        if (status != cases[i].expected) {
            print_error("case %u: %s\n", i, cistern_status_name(status));
            fail();
        }
        assert_null(made);
        assert_true(fixture->error.message[0] != '\0');
    }
    assert_int_equal(fixture->backend->state_count, 0);
}

static void test_register_again(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_state_descriptor descriptor = {
        .name = "s", .kind = CISTERN_VALUE, .key_bytes = 8};
    struct cistern_state *first;
    struct cistern_state *again;
    assert_ok(cistern_state_register(fixture->backend, &descriptor, &first, &fixture->error),
        fixture->error);
    assert_ok(cistern_state_register(fixture->backend, &descriptor, &again, &fixture->error),
        fixture->error);
    assert_ptr_equal(first, again);
    assert_int_equal(first->id, 1);
    descriptor.ttl.time_to_live_ms = 5;
    assert_status(cistern_state_register(fixture->backend, &descriptor, &again, &fixture->error),
        CISTERN_EXISTS);
    assert_non_null(strstr(fixture->error.message, "time_to_live_ms"));
    fixture->fake->state_status = CISTERN_UNSUPPORTED;
    descriptor.name = "t";
    assert_status(cistern_state_register(fixture->backend, &descriptor, &again, &fixture->error),
        CISTERN_UNSUPPORTED);
    assert_int_equal(fixture->backend->state_count, 1);
    fixture->fake->state_status = CISTERN_OK;
    char name[16];
    for (uint32_t i = 2; i <= CISTERN_STATE_COUNT_MAX; i++) {
        snprintf(name, sizeof name, "s%u", i);
        assert_int_equal(state_make(fixture, name, CISTERN_VALUE, 0)->id, i);
    }
    descriptor.name = "one-too-many";
    assert_status(cistern_state_register(fixture->backend, &descriptor, &again, &fixture->error),
        CISTERN_LIMIT);
}

static uint32_t source_next(void *arg, struct cistern_part *ret_part, struct cistern_error *error)
{
    (void)arg;
    (void)ret_part;
    (void)error;
    return CISTERN_NOT_FOUND;
}
static uint32_t source_read(void *arg, uint64_t offset, struct cistern_bytes into,
    uint64_t *ret_bytes, struct cistern_error *error)
{
    (void)arg;
    (void)offset;
    (void)into;
    (void)ret_bytes;
    (void)error;
    return CISTERN_IO;
}
static const char *source_describe(void *arg)
{
    (void)arg;
    return "source";
}

static void test_restored_states(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_state_descriptor stored[] = {
        {.name = "a", .kind = CISTERN_REDUCING, .serializer = {"v1", 2}},
        {.name = "b", .kind = CISTERN_VALUE, .ttl = {.time_to_live_ms = 7}},
        {.name = "a", .kind = CISTERN_REDUCING, .serializer = {"v1", 2}}, /* the second slice */
    };
    struct cistern_source source = {
        .arg = stored, .backend = "heap", .slice_count = 3, .read = source_read};
    assert_status(
        cistern_backend_restore(fixture->backend, &source, &fixture->error), CISTERN_INVALID);
    source.next = source_next;
    source.describe = source_describe;
    assert_ok(cistern_backend_restore(fixture->backend, &source, &fixture->error), fixture->error);
    assert_status(
        cistern_backend_restore(fixture->backend, &source, &fixture->error), CISTERN_BUSY);
    assert_int_equal(fixture->backend->state_count, 5); /* 4 was kept, 5 is the next free one */
    struct cistern_state *restored;
    struct cistern_state_descriptor live = {
        .name = "a", .kind = CISTERN_REDUCING, .reduce_fn = any_reduce};
    const struct {
        uint32_t kind;
        uint32_t key_bytes;
        struct cistern_span serializer;
        const char *names;
    } wrong[] = {
        {CISTERN_AGGREGATING, 0, {"v1", 2}, "kind is reducing there and aggregating"},
        {CISTERN_REDUCING, 9, {"v1", 2}, "key_bytes is 0 there and 9"},
        {CISTERN_REDUCING, 0, {"v22", 3}, "serializer is 2 bytes"},
    };
    for (uint32_t i = 0; i < 3; i++) {
        live.kind = wrong[i].kind;
        live.key_bytes = wrong[i].key_bytes;
        live.serializer = wrong[i].serializer;
        assert_status(cistern_state_register(fixture->backend, &live, &restored, &fixture->error),
            CISTERN_MISMATCH);
        assert_non_null(strstr(fixture->error.message, wrong[i].names));
    }
    live.kind = CISTERN_REDUCING;
    live.key_bytes = 0;
    live.serializer = (struct cistern_span){"v1", 2};
    live.ttl.time_to_live_ms = 1000;
    assert_int_equal(fixture->fake->adopted, 0);
    assert_ok(cistern_state_register(fixture->backend, &live, &restored, &fixture->error),
        fixture->error);
    assert_int_equal(fixture->fake->adopted, 1);
    assert_int_equal(restored->id, 4);
    assert_int_equal(restored->descriptor.ttl.time_to_live_ms, 1000);
    assert_ptr_equal(restored->descriptor.reduce_fn, any_reduce);
    struct cistern_state_info infos[2];
    uint32_t count = 0;
    assert_status(
        cistern_backend_states(fixture->backend, infos, 1, &count, &fixture->error), CISTERN_LIMIT);
    assert_int_equal(count, 2);
    assert_ok(cistern_backend_states(fixture->backend, infos, 2, &count, &fixture->error),
        fixture->error);
    assert_string_equal(infos[0].name, "a");
    assert_int_equal(infos[0].serializer_bytes, 2);
    assert_true(infos[0].serializer_hash[0] != 0 || infos[0].serializer_hash[1] != 0);
    assert_string_equal(infos[1].name, "b");
    assert_int_equal(infos[1].entries, 50);
}

static void test_restored_states_that_differ(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_state_descriptor stored[] = {
        {.name = "a", .kind = CISTERN_VALUE}, {.name = "a", .kind = CISTERN_MAP}};
    struct cistern_source source = {.arg = stored,
        .backend = "heap",
        .slice_count = 2,
        .next = source_next,
        .read = source_read,
        .describe = source_describe};
    assert_status(
        cistern_backend_restore(fixture->backend, &source, &fixture->error), CISTERN_MISMATCH);
}

/* The clock of event time only goes forward, and a checkpoint brings it along. */
static void test_watermark(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_state_descriptor stored[] = {
        {.name = "a",
            .kind = CISTERN_VALUE,
            .ttl = {.time_to_live_ms = 5, .event_time = 1, .watermark_ms = 400}},
        {.name = "b",
            .kind = CISTERN_VALUE,
            .ttl = {.time_to_live_ms = 5, .event_time = 1, .watermark_ms = 300}},
        {.name = "c", .kind = CISTERN_VALUE, .ttl = {.time_to_live_ms = 5, .watermark_ms = 900}},
    };
    struct cistern_source source = {.arg = stored,
        .backend = "heap",
        .slice_count = 3,
        .next = source_next,
        .read = source_read,
        .describe = source_describe};
    assert_true(fixture->backend->watermark_ms == INT64_MIN);
    assert_ok(cistern_backend_restore(fixture->backend, &source, &fixture->error), fixture->error);
    assert_int_equal(fixture->backend->watermark_ms, 400);
    cistern_backend_set_watermark(fixture->backend, 399);
    assert_int_equal(fixture->backend->watermark_ms, 400);
    cistern_backend_set_watermark(fixture->backend, 401);
    assert_int_equal(fixture->backend->watermark_ms, 401);
}

static void test_addresses(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_state_descriptor descriptor = {
        .name = "s", .kind = CISTERN_VALUE, .namespace_bytes = 2};
    struct cistern_state *values;
    assert_ok(cistern_state_register(fixture->backend, &descriptor, &values, &fixture->error),
        fixture->error);
    descriptor.name = "fixed";
    descriptor.key_bytes = 4;
    struct cistern_state *fixed;
    assert_ok(cistern_state_register(fixture->backend, &descriptor, &fixed, &fixture->error),
        fixture->error);
    const struct {
        struct cistern_state *state;
        struct cistern_address address;
        uint32_t expected;
        const char *names;
    } cases[] = {
        {values, {.key = {"k", 1}, .key_group = 10}, CISTERN_OK, ""},
        {values, {.key = {"k", 1}, .key_group = 19, .name_space = {"ns", 2}}, CISTERN_OK, ""},
        {values, {.key = {"", 0}, .key_group = 19}, CISTERN_NOT_FOUND, ""},
        {values, {.key = {"k", 65535}, .key_group = 12}, CISTERN_OK, ""},
        {values, {.key = {"k", 1}, .key_group = 9}, CISTERN_INVALID, "key group 9"},
        {values, {.key = {"k", 1}, .key_group = 20}, CISTERN_INVALID, "10 to 19"},
        {values, {.key = {"k", 1}, .key_group = UINT32_MAX}, CISTERN_INVALID, "key group"},
        {values, {.key = {NULL, 0}, .key_group = 12}, CISTERN_INVALID, "no key"},
        {values, {.key = {"k", 65536}, .key_group = 12}, CISTERN_INVALID,
            "65536 bytes, at most 65535"},
        {values, {.key = {"k", 1}, .key_group = 12, .name_space = {"n", 1}}, CISTERN_INVALID,
            "the descriptor says 2"},
        {values, {.key = {"k", 1}, .key_group = 12, .name_space = {"", 0}}, CISTERN_INVALID,
            "namespace has 0"},
        {values, {.key = {"k", 1}, .key_group = 12, .name_space = {NULL, 2}}, CISTERN_INVALID,
            "no data"},
        {fixed, {.key = {"1234", 4}, .key_group = 12}, CISTERN_OK, ""},
        {fixed, {.key = {"1234", 3}, .key_group = 12}, CISTERN_INVALID,
            "3 bytes, the descriptor says 4"},
        {fixed, {.key = {"1234", 0}, .key_group = 12}, CISTERN_INVALID, "0 bytes"},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cistern_span value;
        uint32_t calls = fixture->fake->calls;
        memset(&fixture->error, 0, sizeof fixture->error);
        uint32_t status =
            cistern_value_get(cases[i].state, &cases[i].address, &value, &fixture->error);
        if (status != cases[i].expected || strstr(fixture->error.message, cases[i].names) == NULL) {
            print_error(
                "case %u: %s (%s)\n", i, cistern_status_name(status), fixture->error.message);
            fail();
        }
        assert_int_equal(fixture->fake->calls, calls + (status != CISTERN_INVALID));
        assert_int_equal(fixture->error.status, status == CISTERN_INVALID ? CISTERN_INVALID : 0);
        if (status == CISTERN_INVALID) { /* the other calls check the same */
            assert_status(cistern_value_put(cases[i].state, &cases[i].address,
                              (struct cistern_span){"v", 1}, &fixture->error),
                CISTERN_INVALID);
            assert_status(cistern_value_remove(cases[i].state, &cases[i].address, &fixture->error),
                CISTERN_INVALID);
            assert_int_equal(fixture->fake->calls, calls);
        }
    }
}

static void test_values(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t bytes[1001];
    struct cistern_address address = {.key = {"k", 1}, .key_group = 10};
    struct cistern_error *error = &fixture->error;
    struct cistern_state *values = state_make(fixture, "v", CISTERN_VALUE, 0);
    struct cistern_state *sums =
        state_make(fixture, "sum", CISTERN_REDUCING, CISTERN_REDUCE_SUM_I64);
    struct cistern_state *maps = state_make(fixture, "map", CISTERN_MAP, 0);
    struct cistern_state_descriptor descriptor = {
        .name = "avg", .kind = CISTERN_AGGREGATING, .value_bytes = 16, .reduce_fn = any_reduce};
    struct cistern_state *averages;
    assert_ok(cistern_state_register(fixture->backend, &descriptor, &averages, error), *error);
    assert_ok(
        cistern_value_put(values, &address, (struct cistern_span){bytes, 1000}, error), *error);
    assert_ok(cistern_value_put(values, &address, (struct cistern_span){bytes, 0}, error), *error);
    assert_status(cistern_value_put(values, &address, (struct cistern_span){bytes, 1001}, error),
        CISTERN_INVALID);
    assert_non_null(strstr(error->message, "1001 bytes, at most 1000"));
    assert_status(cistern_value_put(values, &address, (struct cistern_span){NULL, 0}, error),
        CISTERN_INVALID);
    assert_status(cistern_value_add(values, &address, (struct cistern_span){bytes, 8}, error),
        CISTERN_INVALID);
    assert_non_null(strstr(error->message, "of kind value"));
    assert_ok(cistern_value_add(sums, &address, (struct cistern_span){bytes, 8}, error), *error);
    assert_ok(cistern_value_put(sums, &address, (struct cistern_span){bytes, 8}, error), *error);
    assert_status(
        cistern_value_add(sums, &address, (struct cistern_span){bytes, 7}, error), CISTERN_INVALID);
    assert_status(
        cistern_value_put(sums, &address, (struct cistern_span){bytes, 9}, error), CISTERN_INVALID);
    assert_ok(
        cistern_value_add(averages, &address, (struct cistern_span){bytes, 3}, error), *error);
    assert_status(cistern_value_put(averages, &address, (struct cistern_span){bytes, 3}, error),
        CISTERN_INVALID);
    struct cistern_span value;
    assert_status(cistern_value_get(maps, &address, &value, error), CISTERN_INVALID);
    assert_status(cistern_value_remove(maps, &address, error), CISTERN_INVALID);
}

static void test_batches(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_error *error = &fixture->error;
    struct cistern_state *values = state_make(fixture, "v", CISTERN_VALUE, 0);
    static struct cistern_address addresses[CISTERN_BATCH_COUNT_MAX + 1];
    static struct cistern_span spans[CISTERN_BATCH_COUNT_MAX + 1];
    for (uint32_t i = 0; i <= CISTERN_BATCH_COUNT_MAX; i++) {
        addresses[i] = (struct cistern_address){.key = {"key", 3}, .key_group = 10 + i % 10};
        spans[i] = (struct cistern_span){"v", 1};
    }
    uint32_t done = 99;
    assert_ok(cistern_value_put_many(values, addresses, spans, 0, &done, error), *error);
    assert_int_equal(done, 0);
    assert_int_equal(fixture->fake->calls, 0);
    assert_ok(
        cistern_value_put_many(values, addresses, spans, CISTERN_BATCH_COUNT_MAX, &done, error),
        *error);
    assert_int_equal(done, CISTERN_BATCH_COUNT_MAX);
    assert_int_equal(fixture->fake->last_count, CISTERN_BATCH_COUNT_MAX);
    assert_status(
        cistern_value_put_many(values, addresses, spans, CISTERN_BATCH_COUNT_MAX + 1, &done, error),
        CISTERN_INVALID);
    assert_int_equal(done, 0);
    addresses[700].key_group = 20;
    assert_status(
        cistern_value_remove_many(values, addresses, 1000, &done, error), CISTERN_INVALID);
    assert_non_null(strstr(error->message, "item 700"));
    assert_status(cistern_value_get_many(values, addresses, 1000, spans, error), CISTERN_INVALID);
    assert_ok(cistern_value_get_many(values, addresses, 700, spans, error), *error);
    assert_ptr_equal(spans[699].data, addresses[699].key.data);
    /* LIMIT passes with the items done, and without detail. */
    memset(error, 0, sizeof *error);
    fixture->fake->answer = CISTERN_LIMIT;
    assert_status(
        cistern_value_put_many(values, addresses, spans, 100, &done, error), CISTERN_LIMIT);
    assert_int_equal(done, 50);
    assert_int_equal(error->status, 0);
    assert_status(cistern_backend_explain(fixture->backend, error), CISTERN_LIMIT);
    assert_string_equal(error->object, "operator");
    fixture->fake->answer = CISTERN_OK;
    assert_ok(cistern_backend_step(fixture->backend, 0, error), *error);
}

static void test_cursor(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_error *error = &fixture->error;
    struct cistern_state *values = state_make(fixture, "v", CISTERN_VALUE, 0);
    struct cistern_cursor *cursor;
    struct cistern_entry entry;
    uint32_t count;
    assert_ok(cistern_entries_open(values, &cursor, error), *error);
    assert_status(cistern_cursor_next(cursor, &entry, 0, &count, error), CISTERN_INVALID);
    assert_ok(cistern_cursor_next(cursor, &entry, 1, &count, error), *error);
    assert_int_equal(count, 0);
    cistern_cursor_close(cursor);
    cistern_cursor_close(NULL);
}

static void test_snapshot(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_error *error = &fixture->error;
    state_make(fixture, "v", CISTERN_VALUE, 0);
    struct cistern_snapshot *snapshot;
    struct cistern_snapshot *second;
    struct cistern_snapshot_request request = {
        .checkpoint_id = 5, .base_checkpoint_id = 4, .kind = 3};
    assert_status(
        cistern_snapshot_begin(fixture->backend, &request, &snapshot, error), CISTERN_INVALID);
    request.kind = CISTERN_SNAPSHOT_INCREMENT;
    request.base_checkpoint_id = 5;
    assert_status(
        cistern_snapshot_begin(fixture->backend, &request, &snapshot, error), CISTERN_INVALID);
    request.base_checkpoint_id = 4;
    fixture->fake->begin_status = CISTERN_LIMIT;
    assert_status(
        cistern_snapshot_begin(fixture->backend, &request, &snapshot, error), CISTERN_LIMIT);
    fixture->fake->begin_status = CISTERN_OK;
    assert_ok(cistern_snapshot_begin(fixture->backend, &request, &snapshot, error),
        *error); /* the same id again */
    request.checkpoint_id = 6;
    assert_status(cistern_snapshot_begin(fixture->backend, &request, &second, error), CISTERN_BUSY);
    assert_status(cistern_backend_close(fixture->backend, error), CISTERN_BUSY);
    struct cistern_state_info info;
    uint32_t count;
    state_make(fixture, "later", CISTERN_VALUE, 0);
    assert_ok(cistern_snapshot_states(snapshot, &info, 1, &count, error), *error); /* as of begin */
    assert_int_equal(count, 1);
    assert_string_equal(info.name, "v");
    assert_status(cistern_snapshot_states(snapshot, &info, 0, &count, error), CISTERN_LIMIT);
    struct cistern_part part = {.bytes = 1};
    assert_status(cistern_snapshot_next(snapshot, &part, error), CISTERN_NOT_FOUND);
    assert_int_equal(part.bytes, 1); /* outputs are written on success only */
    uint64_t bytes;
    assert_status(cistern_snapshot_read(snapshot, (struct cistern_bytes){&info, 0}, &bytes, error),
        CISTERN_INVALID);
    assert_ok(
        cistern_snapshot_read(snapshot, (struct cistern_bytes){&info, 1}, &bytes, error), *error);
    cistern_snapshot_release(snapshot);
    cistern_snapshot_release(NULL);
    request.checkpoint_id = 5;
    assert_status(
        cistern_snapshot_begin(fixture->backend, &request, &snapshot, error), CISTERN_INVALID);
    request.checkpoint_id = 7;
    assert_ok(cistern_snapshot_begin(fixture->backend, &request, &snapshot, error), *error);
    cistern_snapshot_release(snapshot);
    cistern_backend_notify(fixture->backend, 5, CISTERN_CONFIRMED);
    assert_int_equal(fixture->fake->notified, 1);
}

/* Registering, restoring and snapshotting with the n-th allocation failing leave nothing behind
 * and can be repeated. */
static void test_allocations(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_error *error = &fixture->error;
    struct cistern_state_descriptor descriptor = {
        .name = "s", .kind = CISTERN_VALUE, .serializer = {"x", 1}};
    struct cistern_snapshot_request request = {.checkpoint_id = 1};
    int failed = 1;
    for (uint64_t nth = 1; failed; nth++) {
        struct cistern_state *made = NULL;
        struct cistern_snapshot *snapshot = NULL;
        cistern_allocation_fail_at(nth);
        uint32_t status = cistern_state_register(fixture->backend, &descriptor, &made, error);
        if (status == CISTERN_OK) {
            status = cistern_snapshot_begin(fixture->backend, &request, &snapshot, error);
        }
        failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_status(status, failed ? CISTERN_NO_MEMORY : CISTERN_OK);
        assert_int_equal(fixture->backend->snapshots_in_flight, failed ? 0 : 1);
        cistern_snapshot_release(snapshot);
        assert_true(nth < 20);
    }
    struct cistern_backend backend;
    struct cistern_backend_options options = {.max_parallelism = 1};
    for (uint64_t nth = 1; nth <= 2; nth++) {
        cistern_allocation_fail_at(nth);
        assert_status(
            cistern_backend_init(&backend, &fake_ops, NULL, &options, 1, error), CISTERN_NO_MEMORY);
    }
    cistern_allocation_fail_at(0);
}

#ifndef NDEBUG
/* A second thread inside one backend, or a reducer that calls the library, stops a build with
 * assertions. */
static void test_overlap(void **state)
{
    struct fixture *fixture = *state;
    struct cistern_state *values = state_make(fixture, "v", CISTERN_VALUE, 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(1);
        }
        struct cistern_address address = {.key = {"k", 1}, .key_group = 10};
        struct cistern_span value;
        fixture->backend->inside = 1;
        _exit(cistern_value_get(values, &address, &value, NULL) == CISTERN_OK ? 2 : 3);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGABRT);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifndef NDEBUG
        cmocka_unit_test_setup_teardown(test_overlap, fixture_open, fixture_close),
#endif
        cmocka_unit_test(test_init),
        cmocka_unit_test_setup_teardown(test_register_refuses, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_register_again, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_restored_states, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(
            test_restored_states_that_differ, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_watermark, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_addresses, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_values, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_batches, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_cursor, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_snapshot, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_allocations, fixture_open, fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
