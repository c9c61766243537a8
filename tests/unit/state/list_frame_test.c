/* list_frame_test.c -- runs of list elements: round trip, joined runs, and every way in which the
 * bytes can be wrong. */
#include "cistern/list_frame.h"
#include "test.h"

#include <string.h>

#define RUN_BYTES (1u << 20)

static const struct cistern_frame_format formats[] = {{0, 0}, {0, 1}, {5, 0}, {5, 1}};

static void test_golden(void **state)
{
    (void)state;
    uint8_t run[512];
    uint8_t element[300];
    memset(element, 7, sizeof element);
    const struct cistern_frame_format stamped = {0, 1};
    uint8_t *end = cistern_frame_write(&stamped, run, (struct cistern_span){element, 300}, 0x0102);
    const uint8_t head[] = {0xac, 0x02, 0x02, 0x01, 0, 0, 0, 0, 0, 0, 7};
    assert_memory_equal(run, head, sizeof head);
    assert_int_equal(end - run, 2 + 8 + 300);
    end = cistern_frame_write(&formats[2], run, (struct cistern_span){"fixed", 5}, 99);
    assert_int_equal(end - run, 5);
    assert_memory_equal(run, "fixed", 5);
}

/* Lengths at each border of the varint. */
static const uint32_t lengths[] = {0, 1, 127, 128, 129, 16383, 16384, 200000};
#define LENGTH_COUNT (sizeof lengths / sizeof lengths[0])

static uint8_t byte_of(uint64_t element, uint64_t index)
{
    return (uint8_t)(element * 31 + index * 7);
}

static void test_round_trip(void **state)
{
    (void)state;
    uint8_t *run = malloc(RUN_BYTES);
    uint8_t *element = malloc(RUN_BYTES);
    for (uint32_t k = 0; k < 4; k++) {
        const struct cistern_frame_format *format = &formats[k];
        uint8_t *to = run;
        for (uint32_t i = 0; i < LENGTH_COUNT; i++) {
            uint64_t bytes = format->element_bytes != 0 ? format->element_bytes : lengths[i];
            for (uint64_t b = 0; b < bytes; b++) {
                element[b] = byte_of(i, b);
            }
            uint8_t *end = cistern_frame_write(
                format, to, (struct cistern_span){element, bytes}, (int64_t)i - 3);
            assert_int_equal(end - to, cistern_frame_bytes(format, bytes));
            to = end;
        }
        struct cistern_span all = {run, (uint64_t)(to - run)};
        struct cistern_frame frame;
        uint64_t offset = 0;
        for (uint32_t i = 0; i < LENGTH_COUNT; i++, offset += frame.bytes) {
            assert_true(cistern_frame_read(format, all, offset, &frame));
            assert_int_equal(frame.element.bytes,
                format->element_bytes != 0 ? format->element_bytes : lengths[i]);
            assert_true(frame.written_ms == (format->has_written ? (int64_t)i - 3 : 0));
            for (uint64_t b = 0; b < frame.element.bytes; b++) {
                assert_int_equal(((const uint8_t *)frame.element.data)[b], byte_of(i, b));
            }
        }
        assert_int_equal(offset, all.bytes);
        assert_false(cistern_frame_read(format, all, offset, &frame));
    }
    free(element);
    free(run);
}

static void test_every_stamp(void **state)
{
    (void)state;
    const int64_t stamps[] = {INT64_MIN, -1, 0, 1, 1795384800000, INT64_MAX};
    for (uint32_t i = 0; i < sizeof stamps / sizeof stamps[0]; i++) {
        uint8_t run[16];
        struct cistern_frame frame;
        cistern_frame_write(&formats[3], run, (struct cistern_span){"12345", 5}, stamps[i]);
        assert_true(cistern_frame_read(&formats[3], (struct cistern_span){run, 13}, 0, &frame));
        assert_true(frame.written_ms == stamps[i]);
    }
}

/* Each cut of a run is told from a whole one; the reader looks at nothing behind the cut (a block
 * of exactly that size, under a sanitizer). */
static void test_every_cut(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 4; k++) {
        uint64_t size = formats[k].element_bytes != 0 ? formats[k].element_bytes : 200;
        uint8_t element[200] = {1};
        uint8_t whole[256];
        uint8_t *end =
            cistern_frame_write(&formats[k], whole, (struct cistern_span){element, size}, 42);
        uint64_t bytes = (uint64_t)(end - whole);
        for (uint64_t cut = 0; cut < bytes; cut++) {
            uint8_t *part = malloc(cut + 1); /* never of 0 bytes */
            memcpy(part + 1, whole, cut);
            struct cistern_frame frame;
            assert_false(
                cistern_frame_read(&formats[k], (struct cistern_span){part + 1, cut}, 0, &frame));
            free(part);
        }
        struct cistern_frame frame;
        struct cistern_span run = {whole, bytes};
        assert_true(cistern_frame_read(&formats[k], run, 0, &frame));
        assert_false(cistern_frame_read(&formats[k], run, bytes, &frame));
        assert_false(cistern_frame_read(&formats[k], run, UINT64_MAX, &frame));
    }
}

static void test_bad_lengths(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[16];
        uint32_t count;
    } cases[] = {
        {{0x80}, 1},                                                           /* no end */
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1}, 11}, /* 2^64 - 1 */
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 1}, 11}, /* above 64 bits */
        {{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0}, 11}, /* 11 bytes */
        {{0x05, 'a', 'b', 'c', 'd'}, 5},
        {{0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1, 2, 3}, 13}, /* wraps */
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (uint32_t k = 0; k < 2; k++) {
            struct cistern_frame frame;
            uint8_t *exact = malloc(cases[i].count);
            memcpy(exact, cases[i].bytes, cases[i].count);
            assert_false(cistern_frame_read(
                &formats[k], (struct cistern_span){exact, cases[i].count}, 0, &frame));
            free(exact);
        }
    }
}

/* Any bytes: what is read lies inside, and every step goes forward. */
static void test_any_bytes(void **state)
{
    (void)state;
    uint64_t random = test_seed("state_list_frame_test", 11);
    for (uint64_t round = 0; round < test_rounds(20000); round++) {
        uint64_t bytes = test_random(&random) % 64;
        uint8_t *run = malloc(bytes + 1);
        for (uint64_t i = 0; i < bytes; i++) {
            run[i] = (uint8_t)(test_random(&random) % 3 == 0 ? test_random(&random) : i % 5);
        }
        for (uint32_t k = 0; k < 4; k++) {
            struct cistern_frame frame;
            uint64_t offset = 0;
            while (cistern_frame_read(
                &formats[k], (struct cistern_span){run, bytes}, offset, &frame)) {
                const uint8_t *element = frame.element.data;
                assert_true(frame.bytes > 0 && frame.bytes <= bytes - offset);
                assert_true(element >= run + offset);
                assert_true(element + frame.element.bytes == run + offset + frame.bytes);
                offset += frame.bytes;
            }
        }
        free(run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_stamp),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_bad_lengths),
        cmocka_unit_test(test_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
