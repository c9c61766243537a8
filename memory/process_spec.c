/*
 * process_spec.c -- the derivation: which of three ways the size was said, what follows from it,
 * and what Flink refuses. The order of the checks is Flink's, since the first refusal is the one
 * that people see.
 *
 * Source: Flink documentation, "Set up TaskManager Memory" and "Configuration".
 */
#include "process_private.h"

#include "cistern/error.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct derivation {
    struct process_reader reader;
    struct cistern_process_spec *spec;
};
struct range {
    uint64_t min_bytes;
    uint64_t max_bytes;
    double fraction;
};
typedef char size_text[64];

static struct cistern_process_part *part_of(const struct derivation *at, uint32_t component)
{
    return &at->spec->parts[component];
}

static uint64_t bytes_of(const struct derivation *at, uint32_t component)
{
    return at->spec->parts[component].bytes;
}

static const char *text_of(const struct derivation *at, uint32_t component, size_text text)
{
    return cistern_process_size_format(text, bytes_of(at, component));
}

static int is_configured(const struct derivation *at, enum process_option option)
{
    return process_option_text(&at->reader, option) != NULL;
}

/* A component that is said outright, or has a default. */
static int part_read(const struct derivation *at, uint32_t component, enum process_option option)
{
    struct cistern_process_part *part = part_of(at, component);
    part->rule = is_configured(at, option) ? CISTERN_PROCESS_CONFIGURED : CISTERN_PROCESS_DEFAULT;
    return process_option_size(&at->reader, option, &part->bytes);
}

static int sum_take(
    const struct derivation *at, const uint32_t *components, uint32_t count, uint64_t *ret_sum)
{
    uint64_t sum = 0;
    *ret_sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += bytes_of(at, components[i]); /* both < 2^63 */
        if (sum > PROCESS_BYTES_MAX) {
            return process_refuse_overflow(at->reader.refusal);
        }
    }
    *ret_sum = sum;
    return 1;
}

/* Flink checks a range whenever it reads one. */
static int range_check(
    const struct derivation *at, enum process_option fraction_option, const struct range *range)
{
    int in_order = range->min_bytes <= range->max_bytes;
    if (in_order && range->fraction >= 0 && range->fraction < 1) {
        return 1;
    }
    char option[256], fraction[32];
    size_text min, max;
    process_option_describe(fraction_option, option, sizeof option);
    (void)process_refuse(at->reader.refusal, fraction_option,
        in_order ? "write a fraction of at least 0 and less than 1"
                 : "lower the min or raise the max",
        "Inconsistently configured %s (%s) and its min (%s), max (%s) value", option,
        cistern_process_number_format(fraction, range->fraction),
        cistern_process_size_format(min, range->min_bytes),
        cistern_process_size_format(max, range->max_bytes));
    process_refusal_cause(at->reader.refusal, "%s",
        in_order ? "fraction must be in range [0, 1)"
                 : "min value must be less or equal to max value");
    return 0;
}

static int network_range_read(const struct derivation *at, struct range *range)
{
    return process_option_size(&at->reader, PROCESS_NETWORK_MIN, &range->min_bytes) &&
           process_option_size(&at->reader, PROCESS_NETWORK_MAX, &range->max_bytes) &&
           process_option_fraction(&at->reader, PROCESS_NETWORK_FRACTION, &range->fraction) &&
           range_check(at, PROCESS_NETWORK_FRACTION, range);
}

static int overhead_range_read(const struct derivation *at, struct range *range)
{
    return process_option_size(&at->reader, PROCESS_OVERHEAD_MIN, &range->min_bytes) &&
           process_option_size(&at->reader, PROCESS_OVERHEAD_MAX, &range->max_bytes) &&
           process_option_fraction(&at->reader, PROCESS_OVERHEAD_FRACTION, &range->fraction) &&
           range_check(at, PROCESS_OVERHEAD_FRACTION, range);
}

/* base x factor within the range. INVERSE: base is what remains beside the component. */
static int part_multiply(const struct derivation *at, uint32_t component, uint32_t rule,
    uint64_t base_bytes, const struct range *range)
{
    struct cistern_process_part *part = part_of(at, component);
    double factor =
        rule == CISTERN_PROCESS_INVERSE ? range->fraction / (1 - range->fraction) : range->fraction;
    uint64_t product;
    if (!process_multiply(base_bytes, factor, &product)) {
        return process_refuse_overflow(at->reader.refusal);
    }
    *part = (struct cistern_process_part){.bytes = product,
        .rule = rule,
        .base_bytes = base_bytes,
        .product_bytes = product,
        .min_bytes = range->min_bytes,
        .max_bytes = range->max_bytes,
        .fraction = range->fraction,
        .factor = factor};
    if (product > range->max_bytes) {
        part->bytes = range->max_bytes;
        part->clamp = CISTERN_PROCESS_CUT;
    } else if (product < range->min_bytes) {
        part->bytes = range->min_bytes;
        part->clamp = CISTERN_PROCESS_RAISED;
    }
    return 1;
}

/* ---- Flink memory */

static const uint32_t beside_network[] = {CISTERN_PROCESS_FRAMEWORK_HEAP,
    CISTERN_PROCESS_FRAMEWORK_OFF_HEAP, CISTERN_PROCESS_TASK_HEAP, CISTERN_PROCESS_TASK_OFF_HEAP,
    CISTERN_PROCESS_MANAGED};
static const uint32_t beside_task_heap[] = {CISTERN_PROCESS_FRAMEWORK_HEAP,
    CISTERN_PROCESS_FRAMEWORK_OFF_HEAP, CISTERN_PROCESS_TASK_OFF_HEAP, CISTERN_PROCESS_MANAGED,
    CISTERN_PROCESS_NETWORK};
#define BESIDE_COUNT (sizeof beside_network / sizeof beside_network[0])
static_assert(sizeof beside_task_heap == sizeof beside_network, "both are five of six components");

static int framework_read(const struct derivation *at)
{
    return part_read(at, CISTERN_PROCESS_FRAMEWORK_HEAP, PROCESS_FRAMEWORK_HEAP_SIZE) &&
           part_read(at, CISTERN_PROCESS_FRAMEWORK_OFF_HEAP, PROCESS_FRAMEWORK_OFF_HEAP_SIZE) &&
           part_read(at, CISTERN_PROCESS_TASK_OFF_HEAP, PROCESS_TASK_OFF_HEAP_SIZE);
}

static int managed_derive(const struct derivation *at, uint64_t flink_bytes)
{
    if (is_configured(at, PROCESS_MANAGED_SIZE)) {
        return part_read(at, CISTERN_PROCESS_MANAGED, PROCESS_MANAGED_SIZE);
    }
    struct range range = {0, PROCESS_BYTES_MAX, 0};
    return process_option_fraction(&at->reader, PROCESS_MANAGED_FRACTION, &range.fraction) &&
           range_check(at, PROCESS_MANAGED_FRACTION, &range) &&
           part_multiply(
               at, CISTERN_PROCESS_MANAGED, CISTERN_PROCESS_FRACTION, flink_bytes, &range);
}

/* Up to 1.20 the network could be counted in buffers, as long as none of its sizes is said. */
static int counts_buffers(const struct derivation *at)
{
    return is_configured(at, PROCESS_NETWORK_BUFFERS) && !is_configured(at, PROCESS_NETWORK_MIN) &&
           !is_configured(at, PROCESS_NETWORK_MAX) && !is_configured(at, PROCESS_NETWORK_FRACTION);
}

#define PAGE_ADVICE "write a power of two of at least 4096 and less than 2g"

static int page_read(const struct derivation *at)
{
    uint64_t bytes;
    if (!process_option_size(&at->reader, PROCESS_SEGMENT_SIZE, &bytes)) {
        return 0;
    }
    if (bytes > INT32_MAX) {
        return process_refuse_as(at->reader.refusal, "IllegalArgumentException",
            PROCESS_SEGMENT_SIZE, PAGE_ADVICE, "Cannot downcast long value %llu to integer.",
            (unsigned long long)bytes);
    }
    const char *flaw = bytes < 4096                 ? "Minimum memory segment size is 4096"
                       : (bytes & (bytes - 1)) != 0 ? "Memory segment size must be a power of 2."
                                                    : NULL;
    if (flaw != NULL) {
        return process_refuse(at->reader.refusal, PROCESS_SEGMENT_SIZE, PAGE_ADVICE,
            "Invalid configuration value for %s : %llu - %s",
            process_option_key(PROCESS_SEGMENT_SIZE), (unsigned long long)bytes, flaw);
    }
    at->spec->page_bytes = bytes;
    return 1;
}

static int buffers_read(const struct derivation *at, uint64_t *ret_bytes)
{
    int32_t count;
    if (!process_option_int(&at->reader, PROCESS_NETWORK_BUFFERS, 2048, &count) || !page_read(at)) {
        return 0;
    }
    if (count < 0) { /* Flink's constructor of a size */
        return process_refuse_as(at->reader.refusal, "IllegalArgumentException",
            PROCESS_NETWORK_BUFFERS, "write a count of buffers", "bytes must be >= 0");
    }
    *ret_bytes = (uint64_t)count * at->spec->page_bytes;
    return 1;
}

static int network_derive(const struct derivation *at, uint32_t rule, uint64_t base_bytes)
{
    if (counts_buffers(at)) {
        struct cistern_process_part *part = part_of(at, CISTERN_PROCESS_NETWORK);
        part->rule = CISTERN_PROCESS_BUFFERS;
        return buffers_read(at, &part->bytes);
    }
    struct range range;
    return network_range_read(at, &range) &&
           part_multiply(at, CISTERN_PROCESS_NETWORK, rule, base_bytes, &range);
}

/* Network memory as the rest of Flink memory must fit what is said of it. */
static int network_rest_check(const struct derivation *at)
{
    struct cistern_process_part *network = part_of(at, CISTERN_PROCESS_NETWORK);
    size_text derived, min, max;
    text_of(at, CISTERN_PROCESS_NETWORK, derived);
    if (counts_buffers(at)) {
        uint64_t configured = 0;
        if (!buffers_read(at, &configured)) {
            return 0;
        }
        return configured == network->bytes ||
               process_refuse(at->reader.refusal, PROCESS_NETWORK_BUFFERS,
                   "let the network follow from the rest: remove numberOfBuffers",
                   "Derived Network Memory size (%s) does not match configured Network Memory size "
                   "(%s).",
                   derived, cistern_process_size_format(min, configured));
    }
    struct range range;
    if (!network_range_read(at, &range)) {
        return 0;
    }
    network->min_bytes = range.min_bytes;
    network->max_bytes = range.max_bytes;
    network->fraction = range.fraction;
    if (network->bytes >= range.min_bytes && network->bytes <= range.max_bytes) {
        return 1;
    }
    return process_refuse(at->reader.refusal, PROCESS_TASK_HEAP_SIZE,
        network->bytes < range.min_bytes
            ? "raise the total, or lower task heap or managed memory, or "
              "taskmanager.memory.network.min"
            : "lower the total, or raise task heap or managed memory, or "
              "taskmanager.memory.network.max",
        "Derived Network Memory size (%s) is not in configured Network Memory range [%s, %s].",
        derived, cistern_process_size_format(min, range.min_bytes),
        cistern_process_size_format(max, range.max_bytes));
}

/* Task heap is fixed, so network is what remains of `flink_bytes`. */
static int network_rest_derive(const struct derivation *at, uint64_t flink_bytes)
{
    uint64_t others;
    if (!sum_take(at, beside_network, BESIDE_COUNT, &others)) {
        return 0;
    }
    if (others > flink_bytes) {
        size_text a, b, c, d, e, total;
        return process_refuse(at->reader.refusal, PROCESS_TASK_HEAP_SIZE,
            "raise the total, or lower task heap or managed memory",
            "Sum of configured Framework Heap Memory (%s), Framework Off-Heap Memory (%s), Task "
            "Heap Memory (%s), Task Off-Heap Memory (%s) and Managed Memory (%s) exceed configured "
            "Total Flink Memory (%s).",
            text_of(at, CISTERN_PROCESS_FRAMEWORK_HEAP, a),
            text_of(at, CISTERN_PROCESS_FRAMEWORK_OFF_HEAP, b),
            text_of(at, CISTERN_PROCESS_TASK_HEAP, c),
            text_of(at, CISTERN_PROCESS_TASK_OFF_HEAP, d), text_of(at, CISTERN_PROCESS_MANAGED, e),
            cistern_process_size_format(total, flink_bytes));
    }
    *part_of(at, CISTERN_PROCESS_NETWORK) = (struct cistern_process_part){
        .bytes = flink_bytes - others, .rule = CISTERN_PROCESS_REST, .base_bytes = flink_bytes};
    if (network_rest_check(at)) {
        return 1;
    }
    if (strcmp(at->reader.refusal->exception, "IllegalConfigurationException") != 0) {
        return 0; /* Flink wraps only what is about configuration */
    }
    return process_refusal_wrap(at->reader.refusal,
        "If Total Flink, Task Heap and (or) Managed Memory sizes are explicitly configured then "
        "the Network Memory size is the rest of the Total Flink memory after subtracting all other "
        "configured types of memory, but the derived Network Memory is inconsistent with its "
        "configuration.");
}

static int task_heap_rest_derive(const struct derivation *at, uint64_t flink_bytes)
{
    uint64_t others;
    if (!network_derive(at, CISTERN_PROCESS_FRACTION, flink_bytes) ||
        !sum_take(at, beside_task_heap, BESIDE_COUNT, &others)) {
        return 0;
    }
    if (others > flink_bytes) {
        size_text a, b, c, d, e, total;
        return process_refuse(at->reader.refusal, PROCESS_OPTION_COUNT,
            "raise taskmanager.memory.process.size (or flink.size), or lower managed memory and "
            "the network's min",
            "Sum of configured Framework Heap Memory (%s), Framework Off-Heap Memory (%s), Task "
            "Off-Heap Memory (%s), Managed Memory (%s) and Network Memory (%s) exceed configured "
            "Total Flink Memory (%s).",
            text_of(at, CISTERN_PROCESS_FRAMEWORK_HEAP, a),
            text_of(at, CISTERN_PROCESS_FRAMEWORK_OFF_HEAP, b),
            text_of(at, CISTERN_PROCESS_TASK_OFF_HEAP, c), text_of(at, CISTERN_PROCESS_MANAGED, d),
            text_of(at, CISTERN_PROCESS_NETWORK, e),
            cistern_process_size_format(total, flink_bytes));
    }
    *part_of(at, CISTERN_PROCESS_TASK_HEAP) = (struct cistern_process_part){
        .bytes = flink_bytes - others, .rule = CISTERN_PROCESS_REST, .base_bytes = flink_bytes};
    return 1;
}

/* Total Flink memory is known. */
static int flink_divide(const struct derivation *at)
{
    uint64_t flink_bytes = bytes_of(at, CISTERN_PROCESS_FLINK);
    if (!framework_read(at)) {
        return 0;
    }
    if (is_configured(at, PROCESS_TASK_HEAP_SIZE)) {
        return part_read(at, CISTERN_PROCESS_TASK_HEAP, PROCESS_TASK_HEAP_SIZE) &&
               managed_derive(at, flink_bytes) && network_rest_derive(at, flink_bytes);
    }
    return managed_derive(at, flink_bytes) && task_heap_rest_derive(at, flink_bytes);
}

/* Task heap and managed memory are said. */
static int flink_add_up(const struct derivation *at)
{
    if (!part_read(at, CISTERN_PROCESS_TASK_HEAP, PROCESS_TASK_HEAP_SIZE) ||
        !part_read(at, CISTERN_PROCESS_MANAGED, PROCESS_MANAGED_SIZE) || !framework_read(at)) {
        return 0;
    }
    struct cistern_process_part *flink = part_of(at, CISTERN_PROCESS_FLINK);
    uint64_t others;
    if (!sum_take(at, beside_network, BESIDE_COUNT, &others)) {
        return 0;
    }
    if (is_configured(at, PROCESS_FLINK_SIZE)) {
        return part_read(at, CISTERN_PROCESS_FLINK, PROCESS_FLINK_SIZE) &&
               network_rest_derive(at, flink->bytes);
    }
    if (!network_derive(at, CISTERN_PROCESS_INVERSE, others)) {
        return 0;
    }
    flink->bytes = others + bytes_of(at, CISTERN_PROCESS_NETWORK);
    flink->rule = CISTERN_PROCESS_SUM;
    return flink->bytes <= PROCESS_BYTES_MAX || process_refuse_overflow(at->reader.refusal);
}

/* ---- the JVM's part */

/* Overhead is what process memory leaves beside Flink memory and metaspace. */
static int overhead_rest_derive(const struct derivation *at, uint64_t others)
{
    uint64_t total = bytes_of(at, CISTERN_PROCESS_TOTAL);
    size_text a, b, c;
    if (total < others) {
        return process_refuse(at->reader.refusal, PROCESS_TOTAL_SIZE,
            "raise taskmanager.memory.process.size, or leave it out and let it follow",
            "The configured Total Process Memory size (%s) is less than the sum of the derived "
            "Total Flink Memory size (%s) and the configured or default JVM Metaspace size  (%s).",
            text_of(at, CISTERN_PROCESS_TOTAL, a), text_of(at, CISTERN_PROCESS_FLINK, b),
            text_of(at, CISTERN_PROCESS_JVM_METASPACE, c));
    }
    struct range range;
    if (!overhead_range_read(at, &range)) {
        return 0;
    }
    struct cistern_process_part *overhead = part_of(at, CISTERN_PROCESS_JVM_OVERHEAD);
    *overhead = (struct cistern_process_part){.bytes = total - others,
        .rule = CISTERN_PROCESS_REST,
        .base_bytes = total,
        .min_bytes = range.min_bytes,
        .max_bytes = range.max_bytes,
        .fraction = range.fraction};
    if (overhead->bytes >= range.min_bytes && overhead->bytes <= range.max_bytes) {
        return 1;
    }
    return process_refuse(at->reader.refusal, PROCESS_TOTAL_SIZE,
        "give the total or its parts, not both; or widen taskmanager.memory.jvm-overhead.min/max",
        "Derived JVM Overhead size (%s) is not in configured JVM Overhead range [%s, %s].",
        text_of(at, CISTERN_PROCESS_JVM_OVERHEAD, a),
        cistern_process_size_format(b, range.min_bytes),
        cistern_process_size_format(c, range.max_bytes));
}

/* Flink memory is known; process memory is said, or follows. */
static int jvm_add(const struct derivation *at)
{
    struct cistern_process_part *total = part_of(at, CISTERN_PROCESS_TOTAL);
    if (!part_read(at, CISTERN_PROCESS_JVM_METASPACE, PROCESS_METASPACE_SIZE)) {
        return 0;
    }
    uint64_t others =
        bytes_of(at, CISTERN_PROCESS_FLINK) + bytes_of(at, CISTERN_PROCESS_JVM_METASPACE);
    if (others > PROCESS_BYTES_MAX) {
        return process_refuse_overflow(at->reader.refusal);
    }
    if (is_configured(at, PROCESS_TOTAL_SIZE)) {
        return part_read(at, CISTERN_PROCESS_TOTAL, PROCESS_TOTAL_SIZE) &&
               overhead_rest_derive(at, others);
    }
    struct range range;
    if (!overhead_range_read(at, &range) ||
        !part_multiply(at, CISTERN_PROCESS_JVM_OVERHEAD, CISTERN_PROCESS_INVERSE, others, &range)) {
        return 0;
    }
    total->bytes = others + bytes_of(at, CISTERN_PROCESS_JVM_OVERHEAD);
    total->rule = CISTERN_PROCESS_SUM;
    return total->bytes <= PROCESS_BYTES_MAX || process_refuse_overflow(at->reader.refusal);
}

/* Process memory is said, Flink memory is the rest. */
static int jvm_subtract(const struct derivation *at)
{
    struct range range;
    if (!part_read(at, CISTERN_PROCESS_TOTAL, PROCESS_TOTAL_SIZE)) {
        return 0;
    }
    uint64_t total = bytes_of(at, CISTERN_PROCESS_TOTAL);
    if (!part_read(at, CISTERN_PROCESS_JVM_METASPACE, PROCESS_METASPACE_SIZE) ||
        !overhead_range_read(at, &range) ||
        !part_multiply(at, CISTERN_PROCESS_JVM_OVERHEAD, CISTERN_PROCESS_FRACTION, total, &range)) {
        return 0;
    }
    uint64_t jvm =
        bytes_of(at, CISTERN_PROCESS_JVM_METASPACE) + bytes_of(at, CISTERN_PROCESS_JVM_OVERHEAD);
    if (jvm > PROCESS_BYTES_MAX) {
        return process_refuse_overflow(at->reader.refusal);
    }
    if (jvm > total) {
        size_text a, b, c;
        return process_refuse(at->reader.refusal, PROCESS_TOTAL_SIZE,
            "raise taskmanager.memory.process.size, or lower taskmanager.memory.jvm-overhead.min",
            "Sum of configured JVM Metaspace (%s) and JVM Overhead (%s) exceed configured Total "
            "Process Memory (%s).",
            text_of(at, CISTERN_PROCESS_JVM_METASPACE, a),
            text_of(at, CISTERN_PROCESS_JVM_OVERHEAD, b), text_of(at, CISTERN_PROCESS_TOTAL, c));
    }
    *part_of(at, CISTERN_PROCESS_FLINK) = (struct cistern_process_part){
        .bytes = total - jvm, .rule = CISTERN_PROCESS_REST, .base_bytes = total};
    return 1;
}

/* ---- the whole */

static int nothing_said(const struct derivation *at)
{
    char flink[128], total[128];
    process_option_describe(PROCESS_FLINK_SIZE, flink, sizeof flink);
    process_option_describe(PROCESS_TOTAL_SIZE, total, sizeof total);
    return process_refuse(at->reader.refusal, PROCESS_TOTAL_SIZE,
        "set taskmanager.memory.process.size to the size of the container",
        "Either required fine-grained memory (%s and %s), or Total Flink Memory size (%s), or "
        "Total Process Memory size (%s) need to be configured explicitly.",
        process_option_key(PROCESS_TASK_HEAP_SIZE), process_option_key(PROCESS_MANAGED_SIZE), flink,
        total);
}

/* taskmanager.heap.size (or .mb), of the time before 1.10, is read as total Flink memory where no
 * total is said, as Flink's start scripts do. */
static int heap_size_read(const struct derivation *at)
{
    struct cistern_process_part *flink = part_of(at, CISTERN_PROCESS_FLINK);
    int32_t mebibytes;
    flink->rule = CISTERN_PROCESS_CONFIGURED;
    if (is_configured(at, PROCESS_FLINK_SIZE)) {
        return process_option_size(&at->reader, PROCESS_FLINK_SIZE, &flink->bytes);
    }
    if (is_configured(at, PROCESS_HEAP_SIZE)) {
        return process_option_size(&at->reader, PROCESS_HEAP_SIZE, &flink->bytes);
    }
    if (!process_option_int(&at->reader, PROCESS_HEAP_MB, 0, &mebibytes)) {
        return 0;
    }
    if (mebibytes < 0) {
        return process_refuse_as(at->reader.refusal, "IllegalArgumentException", PROCESS_HEAP_MB,
            "write a count of mebibytes", "bytes must be >= 0");
    }
    flink->bytes = (uint64_t)mebibytes << 20;
    return 1;
}

static int memory_derive(const struct derivation *at)
{
    if (is_configured(at, PROCESS_TASK_HEAP_SIZE) && is_configured(at, PROCESS_MANAGED_SIZE)) {
        at->spec->mode = CISTERN_PROCESS_BY_PARTS;
        return flink_add_up(at) && jvm_add(at);
    }
    if (is_configured(at, PROCESS_FLINK_SIZE) ||
        ((is_configured(at, PROCESS_HEAP_SIZE) || is_configured(at, PROCESS_HEAP_MB)) &&
            !is_configured(at, PROCESS_TOTAL_SIZE))) {
        at->spec->mode = CISTERN_PROCESS_BY_FLINK;
        return heap_size_read(at) && flink_divide(at) && jvm_add(at);
    }
    if (is_configured(at, PROCESS_TOTAL_SIZE)) {
        at->spec->mode = CISTERN_PROCESS_BY_TOTAL;
        return jvm_subtract(at) && flink_divide(at);
    }
    return nothing_said(at);
}

/* Cores: said, else the container's, else one per slot. */
static int cpu_read(const struct derivation *at)
{
    int32_t slots;
    double container, cores;
    if (!process_option_double(&at->reader, PROCESS_KUBERNETES_CPU, -1, &container) ||
        !process_option_int(&at->reader, PROCESS_SLOTS, 1, &slots) ||
        !process_option_double(
            &at->reader, PROCESS_CPU_CORES, container > 0 ? container : (double)slots, &cores)) {
        return 0;
    }
    if (!(cores > 0)) {
        return process_refuse(at->reader.refusal, PROCESS_CPU_CORES, "write a number above 0",
            "TaskExecutors need to be started with a positive number of CPU cores. Please "
            "configure %s accordingly.",
            process_option_key(PROCESS_CPU_CORES));
    }
    slots = slots == -1 ? 1 : slots; /* as Flink reads old files, once the cores are known */
    if (slots < 1 || slots > (int32_t)CISTERN_PROCESS_SLOTS_MAX) {
        return process_refuse(at->reader.refusal, PROCESS_SLOTS, "write a number of 1 to 65536",
            "Invalid configuration value for %s : %d - Number of task slots must be at least "
            "one%s.",
            process_option_key(PROCESS_SLOTS), slots, slots < 1 ? "" : ", and at most 65536 here");
    }
    if (!(cores <= 1e9) || !process_multiply(100000000, cores, &at->spec->cpu_e8)) {
        return process_refuse(at->reader.refusal, PROCESS_CPU_CORES, "write the number of cores",
            "More CPU cores than any machine has.");
    }
    at->spec->slot_count = (uint32_t)slots;
    return 1;
}

static void totals_fill(struct cistern_process_spec *spec)
{
    const struct cistern_process_part *parts = spec->parts;
    spec->jvm_xmx_bytes =
        parts[CISTERN_PROCESS_FRAMEWORK_HEAP].bytes + parts[CISTERN_PROCESS_TASK_HEAP].bytes;
    spec->jvm_max_direct_bytes = parts[CISTERN_PROCESS_FRAMEWORK_OFF_HEAP].bytes +
                                 parts[CISTERN_PROCESS_TASK_OFF_HEAP].bytes +
                                 parts[CISTERN_PROCESS_NETWORK].bytes;
    assert(parts[CISTERN_PROCESS_FLINK].bytes ==
           spec->jvm_xmx_bytes + spec->jvm_max_direct_bytes + parts[CISTERN_PROCESS_MANAGED].bytes);
    assert(parts[CISTERN_PROCESS_TOTAL].bytes == parts[CISTERN_PROCESS_FLINK].bytes +
                                                     parts[CISTERN_PROCESS_JVM_METASPACE].bytes +
                                                     parts[CISTERN_PROCESS_JVM_OVERHEAD].bytes);
}

uint32_t cistern_process_spec_derive(const struct cistern_process_setting *settings,
    uint32_t setting_count, struct cistern_process_spec *ret_spec,
    struct cistern_process_refusal *ret_refusal, struct cistern_error *error)
{
    struct cistern_process_spec spec = {0};
    struct cistern_process_refusal refusal = {0};
    struct derivation at = {{settings, setting_count, &refusal}, &spec};
    locale_t before = process_locale_enter();
    int is_memory = !(memory_derive(&at) && cpu_read(&at));
    int done = !is_memory && page_read(&at) && process_weights_read(&at.reader, &spec) &&
               process_rocksdb_read(&at.reader, &spec);
    process_locale_leave(before);
    if (done) {
        totals_fill(&spec);
        *ret_spec = spec;
        return CISTERN_OK;
    }
    process_refusal_finish(&refusal, is_memory);
    if (ret_refusal != NULL) {
        *ret_refusal = refusal;
    }
    return cistern_fail(error, CISTERN_INVALID, refusal.option[0] != '\0' ? refusal.option : NULL,
        "%s", refusal.message);
}
