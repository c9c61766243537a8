/*
 * process_private.h -- what the files of the process model share: numbers as Java reads and prints
 * them, options with their fallback keys, and the words of a refusal.
 */
#ifndef CISTERN_PROCESS_PRIVATE_H
#define CISTERN_PROCESS_PRIVATE_H

#include "cistern/process.h"

#include <locale.h>
#include <stddef.h>

#define PROCESS_BYTES_MAX ((uint64_t)INT64_MAX)

/* ---- process_number.c. Call between enter and leave: digits are read and printed with a point,
 * whatever locale the host has set. */
locale_t process_locale_enter(void);
void process_locale_leave(locale_t before);

/* A decimal number: mantissa x 10^exponent. */
struct process_decimal {
    uint64_t mantissa;
    int exponent;
};
/* The shortest decimal that reads back as this double (value >= 0, finite). */
struct process_decimal process_decimal_of(double value);
/* bytes x value, cut off; 0: the product is more than 2^63 - 1. */
int process_multiply(uint64_t bytes, double value, uint64_t *ret_product);
/* Java's Float.parseFloat and Double.parseDouble: 0 when the text is no number. */
int process_float_parse(const char *text, double *ret_value);
int process_double_parse(const char *text, double *ret_value);
int process_int_parse(const char *text, int32_t *ret_value);
/* a / b to 16 digits behind the point, cut off, then a double; b > 0. */
double process_fraction_cut(uint64_t a, uint64_t b);

/* ---- process_option.c */
enum process_option {
    PROCESS_TOTAL_SIZE,
    PROCESS_FLINK_SIZE,
    PROCESS_FRAMEWORK_HEAP_SIZE,
    PROCESS_FRAMEWORK_OFF_HEAP_SIZE,
    PROCESS_TASK_HEAP_SIZE,
    PROCESS_TASK_OFF_HEAP_SIZE,
    PROCESS_MANAGED_SIZE,
    PROCESS_MANAGED_FRACTION,
    PROCESS_NETWORK_MIN,
    PROCESS_NETWORK_MAX,
    PROCESS_NETWORK_FRACTION,
    PROCESS_NETWORK_BUFFERS,
    PROCESS_METASPACE_SIZE,
    PROCESS_OVERHEAD_MIN,
    PROCESS_OVERHEAD_MAX,
    PROCESS_OVERHEAD_FRACTION,
    PROCESS_SEGMENT_SIZE,
    PROCESS_CONSUMER_WEIGHTS,
    PROCESS_SLOTS,
    PROCESS_CPU_CORES,
    PROCESS_KUBERNETES_CPU,
    PROCESS_HEAP_SIZE,
    PROCESS_HEAP_MB,
    PROCESS_ROCKSDB_MANAGED,
    PROCESS_ROCKSDB_FIXED_SLOT,
    PROCESS_ROCKSDB_FIXED_TM,
    PROCESS_ROCKSDB_WRITE_RATIO,
    PROCESS_ROCKSDB_HIGH_RATIO,
    PROCESS_ROCKSDB_WRITE_BUFFER,
    PROCESS_OPTION_COUNT
};
struct process_reader {
    const struct cistern_process_setting *settings;
    uint32_t setting_count;
    struct cistern_process_refusal *refusal; /* never NULL */
};
const char *process_option_key(enum process_option option);
/* The configured text, by the key or the first fallback key present; NULL = not configured. */
const char *process_option_text(const struct process_reader *reader, enum process_option option);
/* The text behind `prefix` + `name`, NULL = none: maps given as one key per entry. */
const char *process_option_entry(
    const struct process_reader *reader, enum process_option option, const char *name);
/* Readers: configured or default. 0: refused, and the refusal is written. */
int process_option_size(
    const struct process_reader *reader, enum process_option option, uint64_t *ret_bytes);
int process_option_fraction(
    const struct process_reader *reader, enum process_option option, double *ret_fraction);
int process_option_double(const struct process_reader *reader, enum process_option option,
    double fallback, double *ret_value);
int process_option_int(const struct process_reader *reader, enum process_option option,
    int32_t fallback, int32_t *ret_value);
int process_option_flag(
    const struct process_reader *reader, enum process_option option, int *ret_flag);
/* Flink's ConfigOption.toString(). */
void process_option_describe(enum process_option option, char *text, size_t capacity);

/* ---- process_refusal.c: each returns 0, so that a refusal is one line. */
int process_refuse(struct cistern_process_refusal *refusal, enum process_option option,
    const char *advice, const char *format, ...) CISTERN_PRINTF(4, 5);
/* The same for what Flink throws as something other than IllegalConfigurationException. */
int process_refuse_as(struct cistern_process_refusal *refusal, const char *exception,
    enum process_option option, const char *advice, const char *format, ...) CISTERN_PRINTF(5, 6);
void process_refusal_cause(struct cistern_process_refusal *refusal, const char *format, ...)
    CISTERN_PRINTF(2, 3);
/* What was refused becomes the cause of `message`. */
int process_refusal_wrap(struct cistern_process_refusal *refusal, const char *message);
int process_refuse_overflow(struct cistern_process_refusal *refusal);
/* Cuts the fallback keys out of message and causes, and writes `logged`. Last. is_memory: refused
 * by the derivation of sizes or cores, whose failures Flink wraps in one sentence. */
void process_refusal_finish(struct cistern_process_refusal *refusal, int is_memory);

/* ---- process_rocksdb.c, process_slot.c: their part of derive. 0 = refused. */
int process_rocksdb_read(const struct process_reader *reader, struct cistern_process_spec *spec);
int process_weights_read(const struct process_reader *reader, struct cistern_process_spec *spec);

#endif
