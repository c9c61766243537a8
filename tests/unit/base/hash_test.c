/* hash_test.c -- known hashes, streams in any cut, hex, and the byte orders. */
#include "cistern/alloc.h"
#include "cistern/endian.h"
#include "cistern/hash.h"
#include "test.h"

static void test_known(void **state)
{
    (void)state;
    char text[33];
    /* XXH3 of the empty input with seed 0: xxHash's published test vectors. */
    assert_true(cistern_hash64("", 0) == 0x2d06800538d394c2u);
    assert_int_equal(cistern_check32("", 0), 0x38d394c2u);
    assert_true(cistern_hash64_seeded("", 0, 0) == cistern_hash64("", 0));
    assert_true(cistern_hash64_seeded("abc", 3, 1) != cistern_hash64("abc", 3));
    struct cistern_hash128 hash = cistern_hash128("", 0);
    cistern_hex_format(text, hash.bytes, 16);
    /* high half first: the canonical form */
    assert_string_equal(text, "99aa06d3014798d86001c324468d497f");
}

static void test_stream(void **state)
{
    (void)state;
    static uint8_t data[100000];
    uint64_t random = test_seed("test_hash", 3);
    for (uint32_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(test_random(&random) >> 40);
    }
    struct cistern_hash_stream *stream = cistern_hash_stream_create();
    assert_non_null(stream);
    for (int round = 0; round < 50; round++) {
        uint64_t bytes = (test_random(&random) >> 33) % sizeof data;
        cistern_hash_stream_reset(stream);
        for (uint64_t done = 0; done < bytes;) {
            uint64_t step = 1 + (test_random(&random) >> 33) % 5000;
            step = step < bytes - done ? step : bytes - done;
            cistern_hash_stream_update(stream, data + done, step);
            done += step;
            if (round % 2) { /* finish in between changes nothing */
                struct cistern_hash128 so_far = cistern_hash_stream_finish(stream);
                struct cistern_hash128 expected = cistern_hash128(data, done);
                assert_true(cistern_hash128_equal(&so_far, &expected));
            }
        }
        struct cistern_hash128 streamed = cistern_hash_stream_finish(stream);
        struct cistern_hash128 whole = cistern_hash128(data, bytes);
        assert_true(cistern_hash128_equal(&streamed, &whole));
    }
    cistern_hash_stream_destroy(stream);
    cistern_hash_stream_destroy(NULL);
    cistern_allocation_fail_at(1);
    assert_null(cistern_hash_stream_create());
}

static void test_hex(void **state)
{
    (void)state;
    uint8_t bytes[256];
    uint8_t back[256];
    char text[513];
    for (uint32_t i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    cistern_hex_format(text, bytes, 256);
    assert_int_equal(cistern_hex_parse(back, 256, text), CISTERN_OK);
    assert_memory_equal(bytes, back, 256);
    assert_int_equal(cistern_hex_parse(back, 255, text), CISTERN_INVALID); /* text left over */
    assert_int_equal(cistern_hex_parse(back, 2, "abc"), CISTERN_INVALID);
    assert_int_equal(cistern_hex_parse(back, 2, "abcg"), CISTERN_INVALID);
    assert_int_equal(cistern_hex_parse(back, 2, "ABCD"), CISTERN_INVALID); /* one spelling only */
    assert_int_equal(cistern_hex_parse(back, 1, " 1"), CISTERN_INVALID);
    assert_int_equal(cistern_hex_parse(back, 0, ""), CISTERN_OK);
    assert_int_equal(cistern_hex_parse(back, 1, ""), CISTERN_INVALID);
}

static void test_endian(void **state)
{
    (void)state;
    uint8_t bytes[9];
    cistern_put_u64_be(bytes + 1, 0x0102030405060708u); /* unaligned */
    assert_memory_equal(bytes + 1, "\1\2\3\4\5\6\7\10", 8);
    assert_true(cistern_get_u64_be(bytes + 1) == 0x0102030405060708u);
    assert_true(cistern_get_u64_le(bytes + 1) == 0x0807060504030201u);
    cistern_put_u32_le(bytes + 1, 0x01020304u);
    assert_memory_equal(bytes + 1, "\4\3\2\1", 4);
    assert_int_equal(cistern_get_u16_be(bytes + 1), 0x0403);
    assert_int_equal(cistern_get_u16_le(bytes + 1), 0x0304);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_endian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
