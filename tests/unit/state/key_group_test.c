/* key_group_test.c -- Flink's key groups: vectors computed from its formulas, and the ranges of
 * every kind of job. */
#include "cistern/backend.h"
#include "cistern/hash.h"
#include "test.h"

#include <string.h>

static void test_vectors(void **state)
{
    (void)state;
    const struct {
        uint32_t hash;
        uint32_t group_of_128;
        uint32_t group_of_32768;
        /* a group of a maximum that is no power of two shows the rest of the hash */
        uint32_t murmur;
    } vectors[] = {
        {0, 94, 31198, 593689054}, {1, 86, 16342, 68075478}, {2, 127, 15231, 1085422463},
        {42, 29, 28189, 1134849565}, {127, 27, 26779, 1931274395}, {128, 41, 7209, 132521001},
        {500000, 98, 13538, 2139796706}, {(uint32_t)-1, 80, 15184, 1982413648},
        {INT32_MAX, 62, 19646, 1653689534}, {(uint32_t)INT32_MIN, 108, 10348, 1718298732},
        {99162322, 35, 31395, 1715862179}, /* "hello" */
    };
    for (uint32_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        assert_int_equal(cistern_key_group_java(vectors[i].hash, 128), vectors[i].group_of_128);
        assert_int_equal(cistern_key_group_java(vectors[i].hash, 32768), vectors[i].group_of_32768);
        assert_int_equal(cistern_key_group_java(vectors[i].hash, 1), 0);
        for (uint32_t max = 3; max < 32768; max = max * 2 + 1) {
            assert_int_equal(cistern_key_group_java(vectors[i].hash, max), vectors[i].murmur % max);
        }
    }
}

static void test_bytes(void **state)
{
    (void)state;
    const char *keys[] = {"", "a", "hello", "the quick brown fox"};
    for (uint32_t i = 0; i < 4; i++) {
        struct cistern_span key = {keys[i], strlen(keys[i])};
        uint32_t hash = (uint32_t)cistern_hash64(key.data, key.bytes);
        assert_int_equal(cistern_key_group_bytes(key, 128), cistern_key_group_java(hash, 128));
        assert_int_equal(cistern_key_group_bytes(key, 1000), cistern_key_group_java(hash, 1000));
    }
    /* XXH3-64("") is 2d06800538d394c2; its low half is a published value. */
    assert_int_equal((uint32_t)cistern_hash64("", 0), 0x38d394c2u);
}

static void ranges_check(uint32_t max_parallelism, uint32_t parallelism)
{
    uint32_t group = 0;
    for (uint32_t index = 0; index < parallelism; index++) {
        struct cistern_key_group_range range =
            cistern_key_group_range_of(index, max_parallelism, parallelism);
        assert_int_equal(range.first, group); /* without a gap */
        assert_true(range.last >= range.first);
        for (; group <= range.last; group++) {
            assert_int_equal(cistern_key_group_owner(group, max_parallelism, parallelism), index);
        }
    }
    assert_int_equal(group, max_parallelism);
}

static void test_ranges(void **state)
{
    (void)state;
    for (uint32_t max = 1; max <= 130; max++) {
        for (uint32_t parallelism = 1; parallelism <= max; parallelism++) {
            ranges_check(max, parallelism);
        }
    }
    const uint32_t maxima[] = {1000, 4096, 32767, 32768};
    const uint32_t parallelisms[] = {1, 2, 3, 7, 100, 511, 999, 1000};
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < 8; k++) {
            ranges_check(maxima[i], parallelisms[k]);
        }
        ranges_check(maxima[i], maxima[i]);
    }
    const struct cistern_key_group_range expected[] = {{0, 42}, {43, 85}, {86, 127}};
    for (uint32_t index = 0; index < 3; index++) {
        struct cistern_key_group_range range = cistern_key_group_range_of(index, 128, 3);
        assert_int_equal(range.first, expected[index].first);
        assert_int_equal(range.last, expected[index].last);
    }
}

static void test_default(void **state)
{
    (void)state;
    const uint32_t cases[][2] = {{1, 128}, {85, 128}, {86, 256}, {170, 256}, {171, 256}, {172, 512},
        {1000, 2048}, {21845, 32768}, {21846, 32768}, {32768, 32768}, {UINT32_MAX, 32768}};
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(cistern_max_parallelism_default(cases[i][0]), cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
