/* size_test.c -- sizes, durations and counts: every unit, the edges of 64 bits, and what is
 * refused. */
#include "cistern/size.h"
#include "test.h"

#include <string.h>

static void test_sizes(void **state)
{
    (void)state;
    const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"1024", 1024},
        {"1b", 1},
        {"3 bytes", 3},
        {"1k", 1024},
        {"1kb", 1024},
        {"2 kibibytes", 2048},
        {"64m", (uint64_t)64 << 20},
        {"64MB", (uint64_t)64 << 20},
        {"1 mebibytes", 1 << 20},
        {"4 gb", (uint64_t)4 << 30},
        {"4G", (uint64_t)4 << 30},
        {"1gibibytes", (uint64_t)1 << 30},
        {"2t", (uint64_t)2 << 40},
        {"1 TB", (uint64_t)1 << 40},
        {"1tebibytes", (uint64_t)1 << 40},
        {"  7\tk  ", 7168},
        {"9223372036854775807", INT64_MAX},
        {"8388607t", (uint64_t)8388607 << 40},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cistern_error error;
        uint64_t bytes = 1;
        assert_ok(cistern_size_parse(cases[i].text, &bytes, &error), error);
        assert_true(bytes == cases[i].bytes);
    }
}

static void test_durations(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t nanoseconds;
    } cases[] = {
        {"5", 5000000},
        {"7ns", 7},
        {"7 nano", 7},
        {"1nanos", 1},
        {"1nanosecond", 1},
        {"2nanoseconds", 2},
        {"100us", 100000},
        {"1micro", 1000},
        {"1 micros", 1000},
        {"1microsecond", 1000},
        {"1microseconds", 1000},
        {"3\xC2\xB5s", 3000},
        {"250ms", 250000000},
        {"1milli", 1000000},
        {"1millis", 1000000},
        {"1millisecond", 1000000},
        {"1milliseconds", 1000000},
        {"10 s", 10000000000},
        {"1sec", 1000000000},
        {"1secs", 1000000000},
        {"1second", 1000000000},
        {"2 SECONDS", 2000000000},
        {"5min", 300000000000},
        {"1m", 60000000000},
        {"1minute", 60000000000},
        {"1minutes", 60000000000},
        {"2h", 7200000000000},
        {"1hour", 3600000000000},
        {"1hours", 3600000000000},
        {"1d", 86400000000000},
        {"1day", 86400000000000},
        {"3 days", 259200000000000},
        {"9223372036854775807ns", INT64_MAX},
        {"106751d", 106751 * 86400000000000},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cistern_error error;
        int64_t nanoseconds = 1;
        assert_ok(cistern_duration_parse(cases[i].text, &nanoseconds, &error), error);
        assert_true(nanoseconds == cases[i].nanoseconds);
    }
}

static void test_refused(void **state)
{
    (void)state;
    const char *const junk[] = {"", " ", "m", "-1", "+1", "1.5g", "0x10", "1 m b", "1q", "1 mbx",
        "12 34", "1,000", "18446744073709551616", "9223372036854775808", "16777216t",
        "99999999999999999999999999", "1averyveryverylongunit", "1\n"};
    for (uint32_t i = 0; i < sizeof junk / sizeof junk[0]; i++) {
        struct cistern_error error = {0};
        uint64_t bytes = 77;
        int64_t nanoseconds = 77;
        uint64_t count = 77;
        assert_status(cistern_size_parse(junk[i], &bytes, &error), CISTERN_INVALID);
        assert_true(error.message[0] != '\0' && bytes == 77);
        assert_status(cistern_duration_parse(junk[i], &nanoseconds, NULL), CISTERN_INVALID);
        assert_true(nanoseconds == 77);
        if (strcmp(junk[i], "9223372036854775808") != 0) { /* a count has 64 bits */
            assert_status(cistern_count_parse(junk[i], &count, &error), CISTERN_INVALID);
            assert_true(count == 77);
        }
    }
    struct cistern_error error;
    int64_t nanoseconds;
    assert_status(cistern_duration_parse("106752d", &nanoseconds, &error), CISTERN_INVALID);
    assert_status(cistern_duration_parse("1kb", &nanoseconds, &error), CISTERN_INVALID);
    uint64_t bytes;
    assert_status(cistern_size_parse("1ms", &bytes, &error), CISTERN_INVALID);
    assert_non_null(strstr(error.message, "\"ms\""));
}

static void test_counts(void **state)
{
    (void)state;
    struct cistern_error error;
    uint64_t count;
    assert_ok(cistern_count_parse("18446744073709551615", &count, &error), error);
    assert_true(count == UINT64_MAX);
    assert_ok(cistern_count_parse("007", &count, &error), error);
    assert_true(count == 7);
    assert_status(cistern_count_parse("7k", &count, &error), CISTERN_INVALID);
    assert_status(cistern_count_parse("7 ", &count, &error), CISTERN_INVALID);
}

static void test_formats(void **state)
{
    (void)state;
    char text[16];
    assert_string_equal(cistern_size_format(text, 0), "0 B");
    assert_string_equal(cistern_size_format(text, 1023), "1023 B");
    assert_string_equal(cistern_size_format(text, 1024), "1.0 KiB");
    assert_string_equal(cistern_size_format(text, (uint64_t)64 << 20), "64.0 MiB");
    /* never "1024.0 MiB" */
    assert_string_equal(cistern_size_format(text, ((uint64_t)1 << 30) - 1), "1.0 GiB");
    assert_string_equal(cistern_size_format(text, UINT64_MAX), "16.0 EiB");
    assert_string_equal(cistern_duration_format(text, 7), "7 ns");
    assert_string_equal(cistern_duration_format(text, 310000), "310 us");
    assert_string_equal(cistern_duration_format(text, 1250000000), "1.25 s");
    assert_string_equal(cistern_duration_format(text, 90000000000), "1.5 min");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
