/*
 * size.h -- sizes and durations as people write them in Flink's configuration, in both directions.
 *
 * Source of the syntax: org.apache.flink.configuration.MemorySize and TimeUtils (Flink
 * documentation, "Configuration").
 */
#ifndef CISTERN_SIZE_H
#define CISTERN_SIZE_H

#include "cistern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "64m", "4 gb", "1024"; no fractions, as in Flink. Units (any case): b bytes; k kb kibibytes; m
 * mb mebibytes; g gb gibibytes; t tb tebibytes; powers of 1024; none = bytes. INVALID names what
 * is wrong, overflow included. */
CISTERN_MUST_USE uint32_t cistern_size_parse(
    const char *text, uint64_t *ret_bytes, struct cistern_error *error);
/* "250ms", "10 s", "5min", "2h", "1d", "100us", "7ns" and their long forms (seconds, minutes,
 * ...); none = milliseconds. */
CISTERN_MUST_USE uint32_t cistern_duration_parse(
    const char *text, int64_t *ret_ns, struct cistern_error *error);
/* A plain count: digits only. */
CISTERN_MUST_USE uint32_t cistern_count_parse(
    const char *text, uint64_t *ret_count, struct cistern_error *error);

/* "64.0 MiB", "512 B": for people, at most 15 characters and NUL. Returns text. */
const char *cistern_size_format(char text[16], uint64_t bytes);
/* "1.25 s", "310 us". Returns text. */
const char *cistern_duration_format(char text[16], int64_t nanoseconds);

#ifdef __cplusplus
}
#endif
#endif
