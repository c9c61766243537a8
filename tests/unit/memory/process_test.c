/* process_test.c -- the process model: Flink's arithmetic, the vectors' invariants on random
 * configurations, refusals; and a fuzz loop over values. */
#include "process_fixture.h"
#include "process_private.h"

#include <inttypes.h>

/* ---- numbers. Expected values: what a JVM prints. */

static void test_sizes_are_printed_as_flink_does(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 bytes"},
        {1024, "1024 bytes"}, /* the unit must be strictly less */
        {1025, "1.001kb (1025 bytes)"},
        {2112, "2.063kb (2112 bytes)"}, /* 2.0625: half up, where C rounds half to even */
        {1048576, "1024.000kb (1048576 bytes)"},
        {209715203, "200.000mb (209715203 bytes)"},
        {1073741824, "1024.000mb (1073741824 bytes)"},
        {1153433600, "1.074gb (1153433600 bytes)"},
        {(uint64_t)1 << 40, "1024.000gb (1099511627776 bytes)"},
        {INT64_MAX, "8388608.000tb (9223372036854775807 bytes)"},
    };
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        char text[64];
        assert_string_equal(cistern_process_size_format(text, rows[i].bytes), rows[i].text);
    }
}

static void test_numbers_are_printed_as_java_does(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0, "0.0"},
        {1, "1.0"},
        {0.5, "0.5"},
        {100, "100.0"},
        {1234567, "1234567.0"},
        {1e7, "1.0E7"},
        {12345678.5, "1.23456785E7"},
        {0.001, "0.001"},
        {0.0025, "0.0025"},
        {1e-4, "1.0E-4"},
        {-0.1, "-0.1"},
        {(double)0.1f, "0.10000000149011612"},
        {(double)0.6f, "0.6000000238418579"},
        {-(double)0.1f, "-0.10000000149011612"},
        {1e300, "1.0E300"},
        {-1.7976931348623157e308, "-1.7976931348623157E308"},
        {4.9e-324, "4.9E-324"},
    };
    char text[32];
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        assert_string_equal(cistern_process_number_format(text, rows[i].value), rows[i].text);
    }
    double zero = 0;
    assert_string_equal(cistern_process_number_format(text, zero / zero) + (text[0] == '-'), "NaN");
    assert_string_equal(cistern_process_number_format(text, 1 / zero), "Infinity");
}

static void test_products_are_cut_off_on_the_shortest_decimal(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        double factor;
        uint64_t product;
    } rows[] = {
        {4294967296, (double)0.1f, 429496736}, /* exact 0.1 would give 429496729 */
        {1342177280, (double)0.4f, 536870920},
        {1000, 0, 0},
        {INT64_MAX, 1, INT64_MAX},
        {INT64_MAX, 0.5, 4611686018427387903},
        {3, 2.5, 7},
        {1, 16777215.5, 16777215},
        {INT64_MAX, 1e-300, 0},
        {100, -0.0, 0},
    };
    uint64_t product;
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        assert_true(process_multiply(rows[i].bytes, rows[i].factor, &product));
        assert_int_equal(product, rows[i].product);
    }
    assert_false(process_multiply(INT64_MAX, 1.0000001, &product));
    assert_false(process_multiply(2, 1e19, &product));
    assert_false(process_multiply(1, 1e300, &product));
}

static void test_texts_become_numbers_as_in_java(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0.4", " 0.4 ", "0.4f", "0.4D", ".4", "4e-1", "+0.4", "0.4000000059604645", "00.4"};
    static const char *const bad[] = {"", " ", "0,4", "abc", "0.4x", "0.4ff", "1e", ".", "--1",
        "0x1p3", "inf", "nan", "infinity", "0.4 0"};
    double value;
    for (uint32_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(process_float_parse(good[i], &value));
        assert_true(value == (double)0.4f);
    }
    for (uint32_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(process_float_parse(bad[i], &value));
        assert_false(process_double_parse(bad[i], &value));
    }
    int32_t number;
    assert_true(process_int_parse("-2147483648", &number) && number == INT32_MIN);
    assert_true(process_int_parse("+7", &number) && number == 7);
    assert_false(process_int_parse("2147483648", &number));
    assert_false(process_int_parse(" 7", &number));
    assert_false(process_int_parse("", &number));
    assert_true(process_fraction_cut(70, 170) == 0.4117647058823529);
    assert_true(process_fraction_cut(2, 3) == 0.6666666666666666);
    assert_true(process_fraction_cut(7, 7) == 1.0);
    assert_true(process_fraction_cut(0, 7) == 0.0);
}

/* ---- what is configured, by which key */

static void test_older_keys_stand_in_for_missing_ones(void **state)
{
    (void)state;
    const struct cistern_process_setting older[] = {
        {PREFIX "flink.size", "1280m"},
        {PREFIX "size", "200m"},
        {"taskmanager.network.memory.min", "100m"},
        {"taskmanager.network.memory.max", "1g"},
        {"taskmanager.network.memory.fraction", "0.2"},
    };
    struct cistern_process_spec spec = derived(older, COUNT_OF(older));
    assert_int_equal(bytes_of(&spec, CISTERN_PROCESS_MANAGED), 200 * MIB);
    assert_int_equal(bytes_of(&spec, CISTERN_PROCESS_NETWORK), 268435460);
    const struct cistern_process_setting both[] = {{PREFIX "flink.size", "1280m"},
        {PREFIX "managed.size", "100m"}, {PREFIX "size", "200m"}, {PREFIX "managed.size", "50m"}};
    spec = derived(both, COUNT_OF(both));
    assert_int_equal(
        bytes_of(&spec, CISTERN_PROCESS_MANAGED), 50 * MIB); /* newest key, last line */
    const struct cistern_process_setting heap[] = {{"taskmanager.heap.size", "1280m"}};
    spec = derived(heap, 1);
    assert_int_equal(bytes_of(&spec, CISTERN_PROCESS_TOTAL), 1811939328);
    const struct cistern_process_setting mb[] = {{"taskmanager.heap.mb", "1280"}};
    spec = derived(mb, 1);
    assert_int_equal(bytes_of(&spec, CISTERN_PROCESS_TOTAL), 1811939328);
    const struct cistern_process_setting buffers[] = {
        {PREFIX "flink.size", "1280m"}, {"taskmanager.network.numberOfBuffers", "4096"}};
    spec = derived(buffers, 2);
    assert_int_equal(bytes_of(&spec, CISTERN_PROCESS_NETWORK), 4096 * 32768);
    assert_int_equal(spec.parts[CISTERN_PROCESS_NETWORK].rule, CISTERN_PROCESS_BUFFERS);
}

static void test_the_way_it_came_is_told(void **state)
{
    (void)state;
    const struct cistern_process_setting total[] = {{PREFIX "process.size", "1g"}};
    struct cistern_process_spec spec = derived(total, 1);
    assert_int_equal(spec.mode, CISTERN_PROCESS_BY_TOTAL);
    const struct cistern_process_part *overhead = &spec.parts[CISTERN_PROCESS_JVM_OVERHEAD];
    assert_int_equal(overhead->rule, CISTERN_PROCESS_FRACTION);
    assert_int_equal(overhead->clamp, CISTERN_PROCESS_RAISED);
    assert_int_equal(overhead->product_bytes, 107374184);
    assert_int_equal(overhead->bytes, 192 * MIB);
    assert_int_equal(spec.parts[CISTERN_PROCESS_TASK_HEAP].rule, CISTERN_PROCESS_REST);
    assert_int_equal(spec.parts[CISTERN_PROCESS_FRAMEWORK_HEAP].rule, CISTERN_PROCESS_DEFAULT);
    assert_int_equal(spec.parts[CISTERN_PROCESS_TOTAL].rule, CISTERN_PROCESS_CONFIGURED);
}

/* What fits to the byte starts; a byte more does not. */
static void test_exact_fits_start(void **state)
{
    (void)state;
    struct cistern_process_setting parts[] = {{PREFIX "flink.size", "520m"},
        {PREFIX "managed.size", "200m"}, {PREFIX "network.min", "64m"},
        {PREFIX "network.max", "64m"}, {"other", "0"}};
    struct cistern_process_spec spec = derived(parts, 5);
    assert_int_equal(bytes_of(&spec, CISTERN_PROCESS_TASK_HEAP), 0);
    assert_int_equal(spec.parts[CISTERN_PROCESS_NETWORK].clamp, CISTERN_PROCESS_RAISED);
    parts[0].value = "545259519"; /* 520 MiB less 1 */
    assert_memory_equal(refused(parts, 5).message, "Sum of configured Framework Heap", 32);
    parts[0].value = "1g";
    spec = derived(parts, 5);
    assert_int_equal(spec.parts[CISTERN_PROCESS_NETWORK].clamp, CISTERN_PROCESS_CUT);
    /* task heap fixed: network may be 0 where its min is */
    struct cistern_process_setting fixed[] = {{PREFIX "flink.size", "556m"},
        {PREFIX "managed.size", "200m"}, {PREFIX "task.heap.size", "100m"},
        {PREFIX "network.min", "0"}, {PREFIX "process.size", "812m"},
        {PREFIX "jvm-overhead.min", "0"}};
    spec = derived(fixed, 6);
    assert_int_equal(bytes_of(&spec, CISTERN_PROCESS_NETWORK), 0);
    assert_int_equal(bytes_of(&spec, CISTERN_PROCESS_JVM_OVERHEAD), 0);
    fixed[4].value = "851443711"; /* 812 MiB less 1 */
    assert_memory_equal(refused(fixed, 6).message, "The configured Total Process Memory", 35);
    fixed[0].value = "583008255"; /* 556 MiB less 1 */
    assert_memory_equal(refused(fixed, 6).message, "Sum of configured Framework Heap", 32);
}

static void test_cores_and_slots(void **state)
{
    (void)state;
    struct cistern_process_setting settings[] = {{PREFIX "process.size", "4g"},
        {"taskmanager.numberOfTaskSlots", "3"}, {"taskmanager.cpu.cores", "1.5"},
        {"kubernetes.taskmanager.cpu.amount", "2.5"}};
    assert_int_equal(derived(settings, 4).cpu_e8, 150000000);
    settings[2].key = "other";
    assert_int_equal(derived(settings, 4).cpu_e8, 250000000);
    settings[3].key = "other";
    assert_int_equal(derived(settings, 4).cpu_e8, 300000000);
    settings[1].value = "0";
    assert_string_equal(refused(settings, 4).message,
        "TaskExecutors need to be started with a positive number of CPU cores. Please configure "
        "taskmanager.cpu.cores accordingly.");
    settings[2].key = "taskmanager.cpu.cores";
    assert_string_equal(refused(settings, 4).message,
        "Invalid configuration value for taskmanager.numberOfTaskSlots : 0 - Number of task slots "
        "must be at least one.");
    settings[1].value = "-1";
    assert_int_equal(derived(settings, 4).slot_count, 1);
    settings[1].value = "70000";
    assert_string_equal(refused(settings, 4).option, "taskmanager.numberOfTaskSlots");
    settings[1].value = "two";
    assert_string_equal(refused(settings, 4).message,
        "Could not parse value 'two' for key 'taskmanager.numberOfTaskSlots'.");
    settings[1].value = "2";
    settings[2] = (struct cistern_process_setting){"taskmanager.cpu.cores", "NaN"};
    assert_non_null(strstr(refused(settings, 4).message, "positive number of CPU cores"));
}

/* ---- refusals beyond the vectors */

static void test_unreadable_sizes_say_why(void **state)
{
    (void)state;
    static const struct {
        const char *value, *cause;
    } rows[] = {
        {"-1", "text does not start with a number"},
        {"abc", "text does not start with a number"},
        {"", "argument is an empty- or whitespace-only string"},
        {" \t", "argument is an empty- or whitespace-only string"},
        {"1.5g", "Memory size unit '.5g' does not match any of the recognized units: (b | bytes) / "
                 "(k | kb | kibibytes) / (m | mb | mebibytes) / (g | gb | gibibytes) / (t | tb | "
                 "tebibytes)"},
        {"64 MiB", NULL},
        {"1 0m", NULL},
        {"9223372036854775808",
            "The value '9223372036854775808' cannot be re represented as 64bit number (numeric "
            "overflow)."},
        {"9007199254740992k", "The value '9007199254740992k' cannot be re represented as 64bit "
                              "number of bytes (numeric overflow)."},
    };
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        const struct cistern_process_setting setting = {PREFIX "process.size", rows[i].value};
        struct cistern_process_refusal refusal = refused(&setting, 1);
        char first[256];
        assert_string_equal(refusal.message,
            "Cannot read memory size from config option 'taskmanager.memory.process.size'.");
        snprintf(first, sizeof first, "Could not parse value '%s' for key '%s'.\n", rows[i].value,
            setting.key);
        assert_memory_equal(refusal.causes, first, strlen(first));
        const char *cause = refusal.causes + strlen(first);
        if (rows[i].cause != NULL) {
            assert_string_equal(cause, rows[i].cause);
        } else {
            assert_memory_equal(cause, "Memory size unit '", 18);
        }
    }
    const struct cistern_process_setting blanks = {PREFIX "process.size", "\t1728 \n MB\r "};
    assert_int_equal(
        bytes_of((struct cistern_process_spec[]){derived(&blanks, 1)}, CISTERN_PROCESS_TOTAL),
        1728 * MIB);
}

static void test_a_bad_range_under_a_fixed_task_heap_is_a_cause(void **state)
{
    (void)state;
    const struct cistern_process_setting settings[] = {{PREFIX "flink.size", "1280m"},
        {PREFIX "task.heap.size", "100m"}, {PREFIX "network.min", "2g"},
        {PREFIX "network.max", "1g"}};
    struct cistern_process_refusal refusal = refused(settings, COUNT_OF(settings));
    assert_memory_equal(refusal.message, "If Total Flink, Task Heap", 25);
    assert_string_equal(refusal.causes,
        "Inconsistently configured Key: 'taskmanager.memory.network.fraction' , default: 0.1 "
        "(0.10000000149011612) and its min (2.000gb (2147483648 bytes)), max (1024.000mb "
        "(1073741824 bytes)) value\nmin value must be less or equal to max value");
    assert_string_equal(refusal.wrapper, "TaskManager memory configuration failed: ");
}

static void test_the_log_has_the_fallback_keys(void **state)
{
    (void)state;
    const struct cistern_process_setting settings[] = {
        {PREFIX "flink.size", "1280m"}, {PREFIX "network.fraction", "1.0"}};
    struct cistern_process_refusal refusal = refused(settings, 2);
    assert_string_equal(refusal.logged,
        "TaskManager memory configuration failed: Inconsistently configured Key: "
        "'taskmanager.memory.network.fraction' , default: 0.1 (fallback keys: "
        "[{key=taskmanager.network.memory.fraction, isDeprecated=true}]) (1.0) and its min "
        "(64.000mb (67108864 bytes)), max (8388608.000tb (9223372036854775807 bytes)) value");
    assert_null(strstr(refusal.message, "fallback"));
    assert_string_equal(refusal.causes, "fraction must be in range [0, 1)");
}

static void test_other_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *exception, *message;
    } rows[] = {
        {PREFIX "managed.fraction", "half", "IllegalArgumentException",
            "Could not parse value 'half' for key 'taskmanager.memory.managed.fraction'."},
        {PREFIX "managed.fraction", "NaN", "IllegalConfigurationException",
            "Inconsistently configured Key: 'taskmanager.memory.managed.fraction' , default: 0.4 "
            "(NaN) and its min (0 bytes), max (8388608.000tb (9223372036854775807 bytes)) value"},
        {PREFIX "segment-size", "2048", "IllegalConfigurationException",
            "Invalid configuration value for taskmanager.memory.segment-size : 2048 - Minimum "
            "memory segment size is 4096"},
        {PREFIX "segment-size", "40000", "IllegalConfigurationException",
            "Invalid configuration value for taskmanager.memory.segment-size : 40000 - Memory "
            "segment size must be a power of 2."},
        {PREFIX "segment-size", "2g", "IllegalArgumentException",
            "Cannot downcast long value 2147483648 to integer."},
        {PREFIX "jvm-metaspace.size", "1600m", "IllegalConfigurationException",
            "Sum of configured JVM Metaspace (1.563gb (1677721600 bytes)) and JVM Overhead "
            "(192.000mb (201326592 bytes)) exceed configured Total Process Memory (1.688gb "
            "(1811939328 bytes))."},
        {PREFIX "managed.consumer-weights", "STATE_BACKEND:-123", "IllegalConfigurationException",
            "Managed memory weight should not be negative. Configured weight for STATE_BACKEND is "
            "-123."},
        {PREFIX "managed.consumer-weights", "STATE_BACKEND:x", "NumberFormatException",
            "For input string: \"x\""},
        {PREFIX "managed.consumer-weights", "STATE_BACKEND", "IllegalArgumentException",
            "Could not parse value 'STATE_BACKEND' for key "
            "'taskmanager.memory.managed.consumer-weights'."},
        {"state.backend.rocksdb.memory.write-buffer-ratio", "0.95", "IllegalArgumentException",
            "Invalid configuration: writeBufferRatio 0.95 with highPriPoolRatio 0.1"},
        {"state.backend.rocksdb.memory.write-buffer-ratio", "1.5", "IllegalArgumentException",
            "state.backend.rocksdb.memory.write-buffer-ratio must be in [0, 1], was: 1.5"},
        {"state.backend.rocksdb.memory.managed", "yes", "IllegalArgumentException",
            "Could not parse value 'yes' for key 'state.backend.rocksdb.memory.managed'."},
        {"taskmanager.network.numberOfBuffers", "-5", "IllegalArgumentException",
            "bytes must be >= 0"},
        {PREFIX "network.min", "9223372036854775807", "ArithmeticException", "long overflow"},
    };
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        const struct cistern_process_setting settings[] = {
            {PREFIX "process.size", "1728m"}, {rows[i].key, rows[i].value}};
        struct cistern_process_refusal refusal = refused(settings, 2);
        assert_string_equal(refusal.exception, rows[i].exception);
        assert_string_equal(refusal.message, rows[i].message);
    }
}

static void test_keys_are_told_apart(void **state)
{
    (void)state;
    const char *newer;
    assert_int_equal(
        cistern_process_key_kind(PREFIX "process.size", &newer), CISTERN_PROCESS_KEY_READ);
    assert_null(newer);
    assert_int_equal(
        cistern_process_key_kind(PREFIX "size", &newer), CISTERN_PROCESS_KEY_DEPRECATED);
    assert_string_equal(newer, PREFIX "managed.size");
    assert_int_equal(
        cistern_process_key_kind("taskmanager.heap.mb", &newer), CISTERN_PROCESS_KEY_DEPRECATED);
    assert_null(newer);
    assert_int_equal(cistern_process_key_kind(PREFIX "managed.consumer-weights.PYTHON", &newer),
        CISTERN_PROCESS_KEY_READ);
    assert_int_equal(
        cistern_process_key_kind(PREFIX "min-segment-size", &newer), CISTERN_PROCESS_KEY_UNUSED);
    assert_int_equal(
        cistern_process_key_kind("parallelism.default", &newer), CISTERN_PROCESS_KEY_FOREIGN);
    uint32_t count = 0;
    for (const char *name; (name = cistern_process_key_name(count)) != NULL; count++) {
        assert_int_not_equal(cistern_process_key_kind(name, &newer), CISTERN_PROCESS_KEY_FOREIGN);
    }
    assert_true(count > 30);
}

/* ---- random configurations */

#define VALUES_MAX 16u

struct draw {
    char values[VALUES_MAX][32];
    struct cistern_process_setting settings[VALUES_MAX];
    uint32_t count;
};

static void size_draw(
    struct draw *draw, uint64_t *seed, uint32_t chance, const char *key, uint64_t most_mib)
{
    if (test_random(seed) % 100 >= chance) {
        return;
    }
    uint64_t bytes = test_random(seed) % (most_mib * MIB);
    static const char *const units[] = {"", "b", "k", "m"};
    uint32_t unit = (uint32_t)(test_random(seed) % 4);
    bytes >>= unit < 2 ? 0 : 10 * (unit - 1);
    snprintf(draw->values[draw->count], 32, "%" PRIu64 "%s", bytes, units[unit]);
    draw->settings[draw->count] = (struct cistern_process_setting){key, draw->values[draw->count]};
    draw->count++;
}

static void fraction_draw(struct draw *draw, uint64_t *seed, uint32_t chance, const char *key)
{
    if (test_random(seed) % 100 < chance) {
        snprintf(draw->values[draw->count], 32, "0.%03u", (unsigned)(test_random(seed) % 500));
        draw->settings[draw->count] =
            (struct cistern_process_setting){key, draw->values[draw->count]};
        draw->count++;
    }
}

/* *draw points into itself: it stays where it is. */
static void configuration_draw(struct draw *draw, uint64_t *seed)
{
    draw->count = 0;
    uint32_t way = (uint32_t)(test_random(seed) % 3);
    size_draw(draw, seed, way == 0 ? 100 : 10, PREFIX "process.size", 16384);
    size_draw(draw, seed, way == 1 ? 100 : 5, PREFIX "flink.size", 12288);
    size_draw(draw, seed, way == 2 ? 100 : 20, PREFIX "task.heap.size", 4096);
    size_draw(draw, seed, way == 2 ? 100 : 20, PREFIX "managed.size", 4096);
    size_draw(draw, seed, 20, PREFIX "framework.heap.size", 256);
    size_draw(draw, seed, 20, PREFIX "framework.off-heap.size", 256);
    size_draw(draw, seed, 20, PREFIX "task.off-heap.size", 256);
    size_draw(draw, seed, 20, PREFIX "network.min", 256);
    size_draw(draw, seed, 20, PREFIX "network.max", 2048);
    size_draw(draw, seed, 20, PREFIX "jvm-metaspace.size", 512);
    size_draw(draw, seed, 20, PREFIX "jvm-overhead.min", 256);
    size_draw(draw, seed, 20, PREFIX "jvm-overhead.max", 2048);
    fraction_draw(draw, seed, 30, PREFIX "managed.fraction");
    fraction_draw(draw, seed, 30, PREFIX "network.fraction");
    fraction_draw(draw, seed, 30, PREFIX "jvm-overhead.fraction");
}

static void range_assert(
    const struct cistern_process_spec *spec, uint32_t component, double tolerance)
{
    const struct cistern_process_part *part = &spec->parts[component];
    if (part->rule != CISTERN_PROCESS_FRACTION && part->rule != CISTERN_PROCESS_INVERSE) {
        if (part->rule == CISTERN_PROCESS_REST && part->max_bytes > 0) {
            assert_true(part->bytes >= part->min_bytes && part->bytes <= part->max_bytes);
        }
        return;
    }
    assert_true(part->bytes >= part->min_bytes && part->bytes <= part->max_bytes);
    double product = (double)part->base_bytes * part->factor;
    assert_true((double)part->product_bytes <= product + tolerance);
    assert_true((double)part->product_bytes >= product - 1 - tolerance);
    if (part->clamp == CISTERN_PROCESS_WITHIN) {
        assert_int_equal(part->bytes, part->product_bytes);
    }
    if (part->rule == CISTERN_PROCESS_INVERSE && part->clamp == CISTERN_PROCESS_WITHIN) {
        double whole = (double)part->base_bytes + (double)part->bytes; /* f of the whole again */
        double again = whole * part->fraction - (double)part->bytes;
        assert_true(again > -3 && again < 3);
    }
}

static void invariants_assert(const struct cistern_process_spec *spec)
{
    uint64_t heap =
        bytes_of(spec, CISTERN_PROCESS_FRAMEWORK_HEAP) + bytes_of(spec, CISTERN_PROCESS_TASK_HEAP);
    uint64_t direct = bytes_of(spec, CISTERN_PROCESS_FRAMEWORK_OFF_HEAP) +
                      bytes_of(spec, CISTERN_PROCESS_TASK_OFF_HEAP) +
                      bytes_of(spec, CISTERN_PROCESS_NETWORK);
    assert_int_equal(spec->jvm_xmx_bytes, heap);
    assert_int_equal(spec->jvm_max_direct_bytes, direct);
    assert_int_equal(heap + direct + bytes_of(spec, CISTERN_PROCESS_MANAGED),
        bytes_of(spec, CISTERN_PROCESS_FLINK));
    assert_int_equal(bytes_of(spec, CISTERN_PROCESS_FLINK) +
                         bytes_of(spec, CISTERN_PROCESS_JVM_METASPACE) +
                         bytes_of(spec, CISTERN_PROCESS_JVM_OVERHEAD),
        bytes_of(spec, CISTERN_PROCESS_TOTAL));
    for (uint32_t i = 0; i < CISTERN_PROCESS_COMPONENT_COUNT; i++) {
        range_assert(spec, i, 4);
    }
}

/* What a worker is started with is fixed in every part; deriving from that gives the same parts. */
static void restart_assert(const struct cistern_process_spec *spec)
{
    static const struct {
        uint32_t component;
        const char *key;
    } rows[] = {
        {CISTERN_PROCESS_FRAMEWORK_HEAP, PREFIX "framework.heap.size"},
        {CISTERN_PROCESS_FRAMEWORK_OFF_HEAP, PREFIX "framework.off-heap.size"},
        {CISTERN_PROCESS_TASK_HEAP, PREFIX "task.heap.size"},
        {CISTERN_PROCESS_TASK_OFF_HEAP, PREFIX "task.off-heap.size"},
        {CISTERN_PROCESS_NETWORK, PREFIX "network.min"},
        {CISTERN_PROCESS_NETWORK, PREFIX "network.max"},
        {CISTERN_PROCESS_MANAGED, PREFIX "managed.size"},
        {CISTERN_PROCESS_JVM_METASPACE, PREFIX "jvm-metaspace.size"},
        {CISTERN_PROCESS_JVM_OVERHEAD, PREFIX "jvm-overhead.min"},
        {CISTERN_PROCESS_JVM_OVERHEAD, PREFIX "jvm-overhead.max"},
    };
    char values[COUNT_OF(rows)][32];
    struct cistern_process_setting settings[COUNT_OF(rows)];
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        snprintf(values[i], 32, "%" PRIu64 "b", bytes_of(spec, rows[i].component));
        settings[i] = (struct cistern_process_setting){rows[i].key, values[i]};
    }
    struct cistern_process_spec again = derived(settings, COUNT_OF(rows));
    for (uint32_t i = 0; i < CISTERN_PROCESS_COMPONENT_COUNT; i++) {
        assert_int_equal(bytes_of(&again, i), bytes_of(spec, i));
    }
}

static void test_random_configurations_keep_flinks_invariants(void **state)
{
    (void)state;
    uint64_t seed = test_seed("memory_process_test", 4242);
    uint32_t started = 0, refused_count = 0;
    for (uint64_t round = 0, rounds = test_rounds(20000); round < rounds; round++) {
        struct draw draw;
        configuration_draw(&draw, &seed);
        struct cistern_process_spec spec;
        struct cistern_process_refusal refusal;
        if (cistern_process_spec_derive(draw.settings, draw.count, &spec, &refusal, NULL) !=
            CISTERN_OK) {
            assert_true(refusal.message[0] != '\0' && refusal.advice != NULL);
            refused_count++;
            continue;
        }
        started++;
        invariants_assert(&spec);
        restart_assert(&spec);
    }
    print_message("%u started, %u were refused\n", started, refused_count);
    assert_true(started > 3000 && refused_count > 3000);
}

/* Any text as any value: a refusal or a plan, never more. */
static void test_any_text_is_a_value(void **state)
{
    (void)state;
    uint64_t seed = test_seed("memory_process_test", 99);
    static const char letters[] = "0123456789.eE+-kKmMgGtTbB :,{}_NaIfity\t\xC2\xB5\n";
    uint32_t started = 0;
    for (uint64_t round = 0, rounds = test_rounds(30000); round < rounds; round++) {
        char values[3][40];
        struct cistern_process_setting settings[4] = {{PREFIX "process.size", "4g"}};
        for (uint32_t i = 0; i < 3; i++) {
            uint32_t length = (uint32_t)(test_random(&seed) % 39) / (uint32_t)(1 + round % 8);
            for (uint32_t j = 0; j < length; j++) {
                values[i][j] = letters[test_random(&seed) % (sizeof letters - 1)];
            }
            values[i][length] = '\0';
            settings[i + 1] = (struct cistern_process_setting){
                cistern_process_key_name((uint32_t)(test_random(&seed) % 40)), values[i]};
            if (settings[i + 1].key == NULL) {
                settings[i + 1].key = PREFIX "managed.consumer-weights.PYTHON";
            }
        }
        struct cistern_process_spec spec;
        if (cistern_process_spec_derive(settings, 4, &spec, NULL, NULL) == CISTERN_OK) {
            invariants_assert(&spec);
            started++;
        }
    }
    assert_true(started > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_are_printed_as_flink_does),
        cmocka_unit_test(test_numbers_are_printed_as_java_does),
        cmocka_unit_test(test_products_are_cut_off_on_the_shortest_decimal),
        cmocka_unit_test(test_texts_become_numbers_as_in_java),
        cmocka_unit_test(test_older_keys_stand_in_for_missing_ones),
        cmocka_unit_test(test_the_way_it_came_is_told),
        cmocka_unit_test(test_exact_fits_start),
        cmocka_unit_test(test_cores_and_slots),
        cmocka_unit_test(test_unreadable_sizes_say_why),
        cmocka_unit_test(test_a_bad_range_under_a_fixed_task_heap_is_a_cause),
        cmocka_unit_test(test_the_log_has_the_fallback_keys),
        cmocka_unit_test(test_other_refusals),
        cmocka_unit_test(test_keys_are_told_apart),
        cmocka_unit_test(test_random_configurations_keep_flinks_invariants),
        cmocka_unit_test(test_any_text_is_a_value),
    };
    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
