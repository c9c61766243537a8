/* process_slot_test.c -- slots of a planned worker: consumers' shares, RocksDB's sizes, slots made
 * to measure. */
#include "process_fixture.h"

static void test_slots_divide_managed_memory(void **state)
{
    (void)state;
    static const struct
    { /* managed, slots, slot, OPERATOR and STATE_BACKEND, 70/170, 30/170, 0.7 */
        const char *managed;
        const char *slots;
        uint64_t slot, half, most, least, seven;
    } rows[] = {
        {"536870920", "1", 536870920, 268435460, 221064496, 94741927, 375809644},
        {"536870920", "3", 178956973, 89478486, 73688165, 31580642, 125269881},
        {"536870920", "8", 67108865, 33554432, 27633062, 11842740, 46976205},
        {"1438814063", "2", 719407031, 359703515, 296226424, 126954181, 503584921},
        {"1438814063", "4", 359703515, 179851757, 148113212, 63477090, 251792460},
    };
    enum { OPERATOR = 1, BACKEND = 2, PYTHON = 4 };
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        const struct cistern_process_setting settings[] = {{PREFIX "process.size", "8g"},
            {PREFIX "managed.size", rows[i].managed},
            {"taskmanager.numberOfTaskSlots", rows[i].slots}};
        struct cistern_process_spec spec = derived(settings, 3);
        struct cistern_process_worker worker;
        struct cistern_process_slot slot;
        struct cistern_error error;
        cistern_process_worker_init(&worker, &spec);
        assert_ok(cistern_process_worker_allocate(&worker, NULL, 0, &slot, &error), error);
        assert_int_equal(slot.profile.managed_bytes, rows[i].slot);
        cistern_process_slot_divide(&spec, OPERATOR | BACKEND, &slot);
        assert_int_equal(slot.consumers[CISTERN_PROCESS_STATE_BACKEND].bytes, rows[i].half);
        assert_int_equal(slot.consumers[CISTERN_PROCESS_PYTHON].bytes, 0);
        cistern_process_slot_divide(&spec, OPERATOR | BACKEND | PYTHON, &slot);
        assert_int_equal(slot.consumers[CISTERN_PROCESS_OPERATOR].bytes, rows[i].most);
        assert_int_equal(slot.consumers[CISTERN_PROCESS_PYTHON].bytes, rows[i].least);
        assert_int_equal(slot.rocksdb.total_bytes, rows[i].most);
        cistern_process_slot_divide(&spec, BACKEND | PYTHON, &slot);
        assert_int_equal(slot.consumers[CISTERN_PROCESS_STATE_BACKEND].bytes, rows[i].seven);
        cistern_process_slot_divide(&spec, BACKEND, &slot);
        assert_int_equal(slot.rocksdb.total_bytes, rows[i].slot);
    }
}

static void test_weights_have_three_spellings(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        uint32_t weights[3];
    } rows[] = {
        {"other", "", {70, 70, 30}},
        {PREFIX "managed.consumer-weights", "PYTHON:222, OPERATOR : 333,STATE_BACKEND:444",
            {333, 444, 222}},
        {PREFIX "managed.consumer-weights", "{STATE_BACKEND: 5}", {0, 5, 0}},
        {PREFIX "managed.consumer-weights", "DATAPROC:7,PYTHON:3", {7, 7, 3}},
        {PREFIX "managed.consumer-weights", "DATAPROC:7,OPERATOR:1,UNKNOWN:9", {1, 7, 0}},
        {PREFIX "managed.consumer-weights", "", {0, 0, 0}},
        {PREFIX "managed.consumer-weights.STATE_BACKEND", "9", {0, 9, 0}},
    };
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        const struct cistern_process_setting settings[] = {
            {PREFIX "process.size", "1728m"}, {rows[i].key, rows[i].value}};
        struct cistern_process_spec spec = derived(settings, 2);
        for (uint32_t j = 0; j < 3; j++) {
            assert_int_equal(spec.weights[j], rows[i].weights[j]);
        }
        struct cistern_process_slot slot = {.profile.managed_bytes = 1000};
        cistern_process_slot_divide(&spec, 7, &slot);
        uint64_t sum = 0;
        for (uint32_t j = 0; j < 3; j++) {
            sum += slot.consumers[j].bytes;
        }
        assert_true(sum <= 1000);
    }
}

static void test_rocksdb_sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t total;
        double ratio;
        uint64_t cache, manager, mutable_limit;
    } rows[] = {
        {2048, 0.5, 1706, 682, 596},
        {16777216, 0.5, 13981013, 5592405, 4893354},
        {134217728, 0.5, 111848106, 44739242, 39146836},
        {268435460, 0.5, 223696216, 89478486, 78293675},
        {536870920, 0.5, 447392433, 178956973, 156587351},
        {1438814063, 0.5, 1199011719, 479604687, 419654101},
        {10737418240, 0.5, 8947848533, 3579139413, 3131746986},
        {2048, 0.8, 1501, 1092, 955},
        {157286400, 0.8, 115343360, 83886080, 73400320},
        {4294967296, 0.8, 3149642683, 2290649224, 2004318071},
        {0, 0.5, 0, 0, 0},
    };
    struct cistern_process_rocksdb sizes;
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        cistern_process_rocksdb_size(rows[i].total, rows[i].ratio, 0.1, 64 * MIB, &sizes);
        assert_int_equal(sizes.cache_bytes, rows[i].cache);
        assert_int_equal(sizes.write_buffer_manager_bytes, rows[i].manager);
        assert_int_equal(sizes.mutable_limit_bytes, rows[i].mutable_limit);
        assert_int_equal(sizes.is_bounded, rows[i].total > 0);
        assert_int_equal(sizes.arena_block_bytes, 8 * MIB);
        assert_int_equal(sizes.arena_block_actual_bytes, 1 * MIB);
    }
    /* the least total with which a write buffer of 64 MiB does not flush at each block */
    static const struct {
        double ratio;
        uint64_t total;
    } least[] = {{0.5, 28760943}, {0.8, 17975590}, {0.3, 47934905}};
    for (uint32_t i = 0; i < COUNT_OF(least); i++) {
        cistern_process_rocksdb_size(least[i].total, least[i].ratio, 0.1, 64 * MIB, &sizes);
        assert_false(sizes.flushes_constantly);
        cistern_process_rocksdb_size(least[i].total - 1, least[i].ratio, 0.1, 64 * MIB, &sizes);
        assert_true(sizes.flushes_constantly);
    }
    cistern_process_rocksdb_size(134217728, 0.5, 0.1, 64 * MIB - 1, &sizes);
    assert_int_equal(sizes.arena_block_bytes, 8388608);
    assert_int_equal(sizes.states_max, 37);
    cistern_process_rocksdb_size(134217728, 0.5, 0.1, 64 * MIB + 8, &sizes);
    assert_int_equal(sizes.arena_block_bytes, 8392704);
    cistern_process_rocksdb_size(134217728, 0.5, 0.1, 1000, &sizes);
    assert_int_equal(sizes.arena_block_bytes, 4096);
    assert_int_equal(sizes.arena_block_actual_bytes, 4096);
}

static void test_rocksdb_scopes(void **state)
{
    (void)state;
#define ROCKSDB "state.backend.rocksdb.memory."
    static const struct {
        const char *slot, *managed, *worker; /* "" = not set */
        uint32_t scope;
        uint64_t total;
    } rows[] = {
        {"", "", "", CISTERN_PROCESS_ROCKSDB_MANAGED, 1000},
        {"", "false", "", CISTERN_PROCESS_ROCKSDB_UNBOUNDED, 0},
        {"", "true", "1m", CISTERN_PROCESS_ROCKSDB_MANAGED, 1000},
        {"2m", "true", "1m", CISTERN_PROCESS_ROCKSDB_FIXED_SLOT, 2 * MIB},
        {"2m", "", "", CISTERN_PROCESS_ROCKSDB_FIXED_SLOT, 2 * MIB},
        {"", "FALSE", "1m", CISTERN_PROCESS_ROCKSDB_FIXED_TM, 1 * MIB},
        {"", "false", "0", CISTERN_PROCESS_ROCKSDB_UNBOUNDED, 0},
    };
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        const struct cistern_process_setting settings[] = {{PREFIX "process.size", "1728m"},
            {rows[i].slot[0] != '\0' ? ROCKSDB "fixed-per-slot" : "other", rows[i].slot},
            {rows[i].managed[0] != '\0' ? ROCKSDB "managed" : "other", rows[i].managed},
            {rows[i].worker[0] != '\0' ? ROCKSDB "fixed-per-tm" : "other", rows[i].worker}};
        struct cistern_process_spec spec = derived(settings, 4);
        struct cistern_process_slot slot = {.profile.managed_bytes = 1000};
        cistern_process_slot_divide(&spec, 1u << CISTERN_PROCESS_STATE_BACKEND, &slot);
        assert_int_equal(slot.rocksdb.scope, rows[i].scope);
        assert_int_equal(slot.rocksdb.total_bytes, rows[i].total);
    }
}

/* Flink's documentation draws 1 core and 4 GB with slots of 0.25 core and 1 GB. */
static void test_slots_to_measure_until_the_worker_is_full(void **state)
{
    (void)state;
    const struct cistern_process_setting settings[] = {{PREFIX "task.heap.size", "2g"},
        {PREFIX "managed.size", "2g"}, {PREFIX "task.off-heap.size", "10"},
        {"taskmanager.cpu.cores", "1"}, {"taskmanager.numberOfTaskSlots", "2"}};
    struct cistern_process_spec spec = derived(settings, COUNT_OF(settings));
    struct cistern_process_worker worker;
    struct cistern_process_slot slots[4], other;
    struct cistern_error error;
    cistern_process_worker_init(&worker, &spec);
    const struct cistern_process_profile empty = worker.total;
    struct cistern_process_profile quarter = {0, 512 * MIB, 0, 512 * MIB, 0};
    assert_status(
        cistern_process_worker_allocate(&worker, &quarter, 0, &other, &error), CISTERN_INVALID);
    assert_ok(cistern_process_cpu_parse("0.25", &quarter.cpu_e8, &error), error);
    for (uint32_t i = 0; i < 4; i++) {
        assert_ok(cistern_process_worker_allocate(&worker, &quarter, 0, &slots[i], &error), error);
        assert_int_equal(slots[i].index, 2 + i);
        assert_true(slots[i].is_dynamic);
    }
    assert_status(
        cistern_process_worker_allocate(&worker, &quarter, 0, &other, &error), CISTERN_LIMIT);
    assert_string_equal(error.object, "CPU cores");
    assert_status(cistern_process_worker_allocate(&worker, NULL, 0, &other, &error), CISTERN_LIMIT);
    for (uint32_t i = 0; i < 4; i++) {
        cistern_process_worker_release(&worker, &slots[i]);
    }
    assert_memory_equal(&worker.available, &empty, sizeof empty);
    /* default slots lose what does not divide; the rest of the worker takes a dynamic one */
    assert_ok(cistern_process_worker_allocate(&worker, NULL, 0, &slots[0], &error), error);
    assert_int_equal(slots[0].index, 0);
    assert_int_equal(slots[0].profile.cpu_e8, 50000000);
    assert_int_equal(slots[0].profile.task_heap_bytes, 1024 * MIB);
    assert_ok(cistern_process_worker_allocate(&worker, NULL, 2, &slots[1], &error), error);
    assert_true(slots[1].is_dynamic);
    quarter.managed_bytes = 1;
    quarter.task_heap_bytes = 1;
    assert_status(
        cistern_process_worker_allocate(&worker, &quarter, 0, &other, &error), CISTERN_LIMIT);
    assert_non_null(strstr(error.message, "CPU cores is used up"));
    static const char *const bad[] = {"", "x", "-1", "0", "1e-9", "1e30", "NaN"};
    for (uint32_t i = 0; i < COUNT_OF(bad); i++) {
        assert_status(cistern_process_cpu_parse(bad[i], &quarter.cpu_e8, &error), CISTERN_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_divide_managed_memory),
        cmocka_unit_test(test_weights_have_three_spellings),
        cmocka_unit_test(test_rocksdb_sizes),
        cmocka_unit_test(test_rocksdb_scopes),
        cmocka_unit_test(test_slots_to_measure_until_the_worker_is_full),
    };
    return cmocka_run_group_tests_name("process_slot", tests, NULL, NULL);
}
