/* size.c -- sizes and durations in Flink's syntax; see size.h. */
#include "cistern/size.h"
#include "cistern/error.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *labels; /* separated by spaces */
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"b bytes", 1},
    {"k kb kibibytes", (uint64_t)1 << 10},
    {"m mb mebibytes", (uint64_t)1 << 20},
    {"g gb gibibytes", (uint64_t)1 << 30},
    {"t tb tebibytes", (uint64_t)1 << 40},
    {NULL, 0},
};
static const struct unit duration_units[] = {
    {"ns nano nanos nanosecond nanoseconds", 1},
    {"us micro micros microsecond microseconds \xC2\xB5s", 1000},
    {"ms milli millis millisecond milliseconds", 1000000},
    {"s sec secs second seconds", 1000000000},
    {"m min minute minutes", 60000000000},
    {"h hour hours", 3600000000000},
    {"d day days", 86400000000000},
    {NULL, 0},
};

static const struct unit *unit_find(const struct unit *units, const char *label)
{
    size_t length = strlen(label);
    for (; units->labels != NULL; units++) {
        for (const char *at = units->labels; *at != '\0'; at += strspn(at, " ")) {
            size_t width = strcspn(at, " ");
            if (width == length && strncasecmp(at, label, width) == 0) {
                return units;
            }
            at += width;
        }
    }
    return NULL;
}

static uint32_t digits_parse(
    const char **text, uint64_t *ret_value, const char *whole, struct cistern_error *error)
{
    uint64_t value = 0;
    const char *at = *text;
    if (!isdigit((unsigned char)*at)) {
        return cistern_fail(
            error, CISTERN_INVALID, whole, "\"%s\" does not start with a number", whole);
    }
    for (; isdigit((unsigned char)*at); at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value)) {
            return cistern_fail(
                error, CISTERN_INVALID, whole, "\"%s\" is too large a number", whole);
        }
    }
    *text = at;
    *ret_value = value;
    return CISTERN_OK;
}

static uint32_t quantity_parse(const char *text, const struct unit *units, uint64_t default_factor,
    const char *expected, uint64_t *ret_value, struct cistern_error *error)
{
    const char *at = text + strspn(text, " \t");
    uint64_t value;
    uint32_t status = digits_parse(&at, &value, text, error);
    if (status != CISTERN_OK) {
        return status;
    }
    at += strspn(at, " \t");
    char label[16];
    size_t width = strcspn(at, " \t");
    if (width >= sizeof label || at[width + strspn(at + width, " \t")] != '\0') {
        return cistern_fail(error, CISTERN_INVALID, text, "\"%s\" is not %s", text, expected);
    }
    memcpy(label, at, width);
    label[width] = '\0';
    uint64_t factor = default_factor;
    if (width > 0) {
        const struct unit *unit = unit_find(units, label);
        if (unit == NULL) {
            return cistern_fail(error, CISTERN_INVALID, text,
                "\"%s\": unknown unit \"%s\"; expected %s", text, label, expected);
        }
        factor = unit->factor;
    }
    if (__builtin_mul_overflow(value, factor, &value) || value > INT64_MAX) {
        return cistern_fail(
            error, CISTERN_INVALID, text, "\"%s\" is more than 64 bits can hold", text);
    }
    *ret_value = value;
    return CISTERN_OK;
}

uint32_t cistern_size_parse(const char *text, uint64_t *ret_bytes, struct cistern_error *error)
{
    return quantity_parse(
        text, size_units, 1, "a size such as 64m, 4g or 1048576", ret_bytes, error);
}

uint32_t cistern_duration_parse(const char *text, int64_t *ret_ns, struct cistern_error *error)
{
    uint64_t nanoseconds;
    uint32_t status = quantity_parse(text, duration_units, 1000000,
        "a duration such as 250ms, 10s or 5min", &nanoseconds, error);
    if (status == CISTERN_OK) {
        *ret_ns = (int64_t)nanoseconds;
    }
    return status;
}

uint32_t cistern_count_parse(const char *text, uint64_t *ret_count, struct cistern_error *error)
{
    const char *at = text;
    uint64_t count;
    uint32_t status = digits_parse(&at, &count, text, error);
    if (status != CISTERN_OK) {
        return status;
    }
    if (*at != '\0') {
        return cistern_fail(error, CISTERN_INVALID, text, "\"%s\" is not a plain number", text);
    }
    *ret_count = count;
    return CISTERN_OK;
}

const char *cistern_size_format(char text[16], uint64_t bytes)
{
    static const char *const suffixes[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(text, 16, "%u B", (unsigned)bytes);
        return text;
    }
    double value = (double)bytes / 1024;
    unsigned suffix = 0;
    while (value >= 1023.95 && suffix < 5) {
        value /= 1024;
        suffix++;
    }
    snprintf(text, 16, "%.1f %s", value, suffixes[suffix]);
    return text;
}

const char *cistern_duration_format(char text[16], int64_t nanoseconds)
{
    static const struct {
        int64_t unit;
        const char *suffix;
    } steps[] = {{86400000000000, "d"}, {3600000000000, "h"}, {60000000000, "min"},
        {1000000000, "s"}, {1000000, "ms"}, {1000, "us"}};
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (nanoseconds >= steps[i].unit) {
            snprintf(
                text, 16, "%.3g %s", (double)nanoseconds / (double)steps[i].unit, steps[i].suffix);
            return text;
        }
    }
    snprintf(text, 16, "%d ns", (int)nanoseconds);
    return text;
}
