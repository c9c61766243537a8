/*
 * process_option.c -- the options of the memory model: keys, the older keys behind them, defaults,
 * and how a text becomes a value or a refusal in Flink's words.
 *
 * Source: Flink documentation, "Configuration" (1.20; the older keys are gone in 2.0).
 */
#include "process_private.h"

#include "cistern/size.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MIB ((uint64_t)1 << 20)
#define NO_DEFAULT UINT64_MAX

static const struct {
    const char *key;
    const char *fallback;     /* an older key, NULL = none */
    const char *default_text; /* as Flink prints it */
    uint64_t default_bytes;   /* sizes */
    /* 1: the key itself is of the past, without a successor of its kind */
    uint32_t is_past;
} options[PROCESS_OPTION_COUNT] = {
    [PROCESS_TOTAL_SIZE] = {"taskmanager.memory.process.size", NULL, "null", NO_DEFAULT, 0},
    [PROCESS_FLINK_SIZE] = {"taskmanager.memory.flink.size", NULL, "null", NO_DEFAULT, 0},
    [PROCESS_FRAMEWORK_HEAP_SIZE] = {"taskmanager.memory.framework.heap.size", NULL, "128 mb",
        128 * MIB, 0},
    [PROCESS_FRAMEWORK_OFF_HEAP_SIZE] = {"taskmanager.memory.framework.off-heap.size", NULL,
        "128 mb", 128 * MIB, 0},
    [PROCESS_TASK_HEAP_SIZE] = {"taskmanager.memory.task.heap.size", NULL, "null", NO_DEFAULT, 0},
    [PROCESS_TASK_OFF_HEAP_SIZE] = {"taskmanager.memory.task.off-heap.size", NULL, "0 bytes", 0, 0},
    [PROCESS_MANAGED_SIZE] = {"taskmanager.memory.managed.size", "taskmanager.memory.size", "null",
        NO_DEFAULT, 0},
    [PROCESS_MANAGED_FRACTION] = {"taskmanager.memory.managed.fraction", NULL, "0.4", 0, 0},
    [PROCESS_NETWORK_MIN] = {"taskmanager.memory.network.min", "taskmanager.network.memory.min",
        "64 mb", 64 * MIB, 0},
    [PROCESS_NETWORK_MAX] = {"taskmanager.memory.network.max", "taskmanager.network.memory.max",
        "9223372036854775807 bytes", PROCESS_BYTES_MAX, 0},
    [PROCESS_NETWORK_FRACTION] = {"taskmanager.memory.network.fraction",
        "taskmanager.network.memory.fraction", "0.1", 0, 0},
    [PROCESS_NETWORK_BUFFERS] = {"taskmanager.network.numberOfBuffers", NULL, "2048", 0, 1},
    [PROCESS_METASPACE_SIZE] = {"taskmanager.memory.jvm-metaspace.size", NULL, "256 mb", 256 * MIB,
        0},
    [PROCESS_OVERHEAD_MIN] = {"taskmanager.memory.jvm-overhead.min", NULL, "192 mb", 192 * MIB, 0},
    [PROCESS_OVERHEAD_MAX] = {"taskmanager.memory.jvm-overhead.max", NULL, "1 gb", 1024 * MIB, 0},
    [PROCESS_OVERHEAD_FRACTION] = {"taskmanager.memory.jvm-overhead.fraction", NULL, "0.1", 0, 0},
    [PROCESS_SEGMENT_SIZE] = {"taskmanager.memory.segment-size", NULL, "32 kb", 32768, 0},
    [PROCESS_CONSUMER_WEIGHTS] = {"taskmanager.memory.managed.consumer-weights", NULL,
        "{OPERATOR=70, STATE_BACKEND=70, PYTHON=30}", 0, 0},
    [PROCESS_SLOTS] = {"taskmanager.numberOfTaskSlots", NULL, "1", 0, 0},
    [PROCESS_CPU_CORES] = {"taskmanager.cpu.cores", NULL, "null", 0, 0},
    [PROCESS_KUBERNETES_CPU] = {"kubernetes.taskmanager.cpu.amount", "kubernetes.taskmanager.cpu",
        "-1.0", 0, 0},
    [PROCESS_HEAP_SIZE] = {"taskmanager.heap.size", NULL, "null", NO_DEFAULT, 1},
    [PROCESS_HEAP_MB] = {"taskmanager.heap.mb", NULL, "null", NO_DEFAULT, 1},
    [PROCESS_ROCKSDB_MANAGED] = {"state.backend.rocksdb.memory.managed", NULL, "true", 0, 0},
    [PROCESS_ROCKSDB_FIXED_SLOT] = {"state.backend.rocksdb.memory.fixed-per-slot", NULL, "null",
        NO_DEFAULT, 0},
    [PROCESS_ROCKSDB_FIXED_TM] = {"state.backend.rocksdb.memory.fixed-per-tm", NULL, "null",
        NO_DEFAULT, 0},
    [PROCESS_ROCKSDB_WRITE_RATIO] = {"state.backend.rocksdb.memory.write-buffer-ratio", NULL, "0.5",
        0, 0},
    [PROCESS_ROCKSDB_HIGH_RATIO] = {"state.backend.rocksdb.memory.high-prio-pool-ratio", NULL,
        "0.1", 0, 0},
    [PROCESS_ROCKSDB_WRITE_BUFFER] = {"state.backend.rocksdb.writebuffer.size", NULL, "64 mb",
        64 * MIB, 0},
};
/* Flink's own, under the same roofs; none moves a byte between components. */
static const char *const unused[] = {
    "taskmanager.memory.framework.off-heap.batch-shuffle.size",
    "taskmanager.memory.min-segment-size",
    "taskmanager.memory.starting-segment-size",
    "taskmanager.memory.fraction",
    "taskmanager.memory.off-heap",
    "taskmanager.memory.preallocate",
    "state.backend.rocksdb.memory.partitioned-index-filters",
    "kubernetes.taskmanager.memory.limit-factor",
    "kubernetes.taskmanager.cpu.limit-factor",
};

const char *process_option_key(enum process_option option)
{
    return options[option].key;
}

static const char *setting_find(const struct process_reader *reader, const char *key)
{
    for (uint32_t i = reader->setting_count; i > 0; i--) {
        if (strcmp(reader->settings[i - 1].key, key) == 0) {
            return reader->settings[i - 1].value;
        }
    }
    return NULL;
}

const char *process_option_text(const struct process_reader *reader, enum process_option option)
{
    const char *text = setting_find(reader, options[option].key);
    if (text == NULL && options[option].fallback != NULL) {
        text = setting_find(reader, options[option].fallback);
    }
    return text;
}

const char *process_option_entry(
    const struct process_reader *reader, enum process_option option, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", options[option].key, name);
    return setting_find(reader, key);
}

static int unparsable(
    const struct process_reader *reader, enum process_option option, const char *text)
{
    return process_refuse_as(reader->refusal, "IllegalArgumentException", option, "write a number",
        "Could not parse value '%.200s' for key '%s'.", text, options[option].key);
}

/* Blanks as Java's trim() sees them: every character up to the space. */
static size_t blanks_skip(const char *text)
{
    size_t count = 0;
    while (text[count] != '\0' && (unsigned char)text[count] <= ' ') {
        count++;
    }
    return count;
}

/* Why a text is no size, as the innermost cause. digits and unit: its two halves, trimmed. */
static void size_explain(
    struct cistern_process_refusal *refusal, const char *text, const char *digits, const char *unit)
{
    if (digits[0] == '\0' && unit[0] == '\0') {
        process_refusal_cause(refusal, "argument is an empty- or whitespace-only string");
        return;
    }
    if (digits[0] == '\0') {
        process_refusal_cause(refusal, "text does not start with a number");
        return;
    }
    uint64_t count;
    if (cistern_size_parse(digits, &count, NULL) != CISTERN_OK) {
        process_refusal_cause(refusal,
            "The value '%.200s' cannot be re represented as 64bit number (numeric overflow).",
            digits);
        return;
    }
    char one[64];
    snprintf(one, sizeof one, "1 %.32s", unit);
    if (strlen(unit) <= 32 && cistern_size_parse(one, &count, NULL) == CISTERN_OK) {
        process_refusal_cause(refusal,
            "The value '%.200s' cannot be re represented as 64bit number of bytes (numeric "
            "overflow).",
            text);
        return;
    }
    process_refusal_cause(refusal,
        "Memory size unit '%.200s' does not match any of the recognized units: (b | bytes) / (k | "
        "kb | kibibytes) / (m | mb | mebibytes) / (g | gb | gibibytes) / (t | tb | tebibytes)",
        unit);
}

static int size_read(const struct process_reader *reader, enum process_option option,
    const char *text, uint64_t *ret_bytes)
{
    char joined[256] = "", digits[256], unit[256];
    const char *at = text + blanks_skip(text);
    size_t count = strspn(at, "0123456789");
    snprintf(digits, sizeof digits, "%.*s", (int)(count < 255 ? count : 255), at);
    at += count;
    at += blanks_skip(at);
    snprintf(unit, sizeof unit, "%s", at);
    for (size_t end = strlen(unit); end > 0 && (unsigned char)unit[end - 1] <= ' '; end--) {
        unit[end - 1] = '\0';
    }
    for (char *letter = unit; *letter != '\0'; letter++) {
        *letter = (char)tolower((unsigned char)*letter);
    }
    int joined_bytes = snprintf(joined, sizeof joined, "%s %s", digits, unit);
    if (joined_bytes < (int)sizeof joined &&
        cistern_size_parse(joined, ret_bytes, NULL) == CISTERN_OK) {
        return 1;
    }
    (void)process_refuse(reader->refusal, option, "write a size such as 64m, 4g or 1048576",
        "Cannot read memory size from config option '%s'.", options[option].key);
    process_refusal_cause(
        reader->refusal, "Could not parse value '%.200s' for key '%s'.", text, options[option].key);
    size_explain(reader->refusal, text, digits, unit);
    return 0;
}

int process_option_size(
    const struct process_reader *reader, enum process_option option, uint64_t *ret_bytes)
{
    const char *text = process_option_text(reader, option);
    if (text == NULL) {
        assert(options[option].default_bytes != NO_DEFAULT);
        *ret_bytes = options[option].default_bytes;
        return 1;
    }
    return size_read(reader, option, text, ret_bytes);
}

int process_option_fraction(
    const struct process_reader *reader, enum process_option option, double *ret_fraction)
{
    const char *text = process_option_text(reader, option);
    const char *number = text != NULL ? text : options[option].default_text;
    return process_float_parse(number, ret_fraction) ? 1 : unparsable(reader, option, text);
}

int process_option_double(const struct process_reader *reader, enum process_option option,
    double fallback, double *ret_value)
{
    const char *text = process_option_text(reader, option);
    if (text == NULL) {
        *ret_value = fallback;
        return 1;
    }
    return process_double_parse(text, ret_value) ? 1 : unparsable(reader, option, text);
}

int process_option_int(const struct process_reader *reader, enum process_option option,
    int32_t fallback, int32_t *ret_value)
{
    const char *text = process_option_text(reader, option);
    if (text == NULL) {
        *ret_value = fallback;
        return 1;
    }
    return process_int_parse(text, ret_value) ? 1 : unparsable(reader, option, text);
}

int process_option_flag(
    const struct process_reader *reader, enum process_option option, int *ret_flag)
{
    const char *text = process_option_text(reader, option);
    const char *word = text != NULL ? text : options[option].default_text;
    if (strcasecmp(word, "true") != 0 && strcasecmp(word, "false") != 0) {
        return process_refuse_as(reader->refusal, "IllegalArgumentException", option,
            "write true or false", "Could not parse value '%.200s' for key '%s'.", word,
            options[option].key);
    }
    *ret_flag = strcasecmp(word, "true") == 0;
    return 1;
}

void process_option_describe(enum process_option option, char *text, size_t capacity)
{
    const char *fallback = options[option].fallback;
    snprintf(text, capacity, "Key: '%s' , default: %s (fallback keys: [%s%s%s])",
        options[option].key, options[option].default_text, fallback != NULL ? "{key=" : "",
        fallback != NULL ? fallback : "", fallback != NULL ? ", isDeprecated=true}" : "");
}

uint32_t cistern_process_key_kind(const char *key, const char **ret_replacement)
{
    *ret_replacement = NULL;
    for (uint32_t i = 0; i < PROCESS_OPTION_COUNT; i++) {
        if (strcmp(options[i].key, key) == 0) {
            return options[i].is_past ? CISTERN_PROCESS_KEY_DEPRECATED : CISTERN_PROCESS_KEY_READ;
        }
        if (options[i].fallback != NULL && strcmp(options[i].fallback, key) == 0) {
            *ret_replacement = options[i].key;
            return CISTERN_PROCESS_KEY_DEPRECATED;
        }
    }
    for (uint32_t i = 0; i < sizeof unused / sizeof unused[0]; i++) {
        if (strcmp(unused[i], key) == 0) {
            return CISTERN_PROCESS_KEY_UNUSED;
        }
    }
    const char *weights = options[PROCESS_CONSUMER_WEIGHTS].key;
    size_t length = strlen(weights);
    return strncmp(key, weights, length) == 0 && key[length] == '.' ? CISTERN_PROCESS_KEY_READ
                                                                    : CISTERN_PROCESS_KEY_FOREIGN;
}

const char *cistern_process_key_name(uint32_t index)
{
    if (index < PROCESS_OPTION_COUNT) {
        return options[index].key;
    }
    index -= PROCESS_OPTION_COUNT;
    for (uint32_t i = 0; i < PROCESS_OPTION_COUNT; i++) {
        if (options[i].fallback != NULL && index-- == 0) {
            return options[i].fallback;
        }
    }
    return index < sizeof unused / sizeof unused[0] ? unused[index] : NULL;
}
