/* key_test.c -- every address has a key of its own, and every key says which address it is. */
#include "test.h"

#include "key_private.h"

#include <string.h>

static struct key_layout layout_of(
    uint32_t max_parallelism, uint32_t key_bytes, uint32_t namespace_bytes)
{
    struct cistern_state_descriptor descriptor = {
        .key_bytes = key_bytes, .namespace_bytes = namespace_bytes};
    return key_layout_of(max_parallelism, &descriptor);
}

static void round_trip(const struct key_layout *layout, const struct cistern_address *address)
{
    uint8_t encoded[256];
    uint64_t bytes = key_encode(layout, address, encoded);
    assert_int_equal(bytes, key_encoded_bytes(layout, address));
    struct cistern_address decoded;
    assert_status(
        key_decode(layout, (struct cistern_span){encoded, bytes}, &decoded, NULL), CISTERN_OK);
    assert_int_equal(decoded.key_group, address->key_group);
    assert_int_equal(decoded.key.bytes, address->key.bytes);
    assert_memory_equal(decoded.key.data, address->key.data, address->key.bytes);
    assert_int_equal(decoded.name_space.data == NULL, address->name_space.data == NULL);
    if (address->name_space.data != NULL) {
        assert_int_equal(decoded.name_space.bytes, address->name_space.bytes);
        assert_memory_equal(
            decoded.name_space.data, address->name_space.data, address->name_space.bytes);
    }
}

static void test_bytes(void **unused)
{
    (void)unused;
    struct cistern_address address = {.key = {"abcdefgh", 8}, .key_group = 0x7f};
    uint8_t encoded[64];
    struct key_layout fixed = layout_of(128, 8, 0);
    assert_int_equal(key_encode(&fixed, &address, encoded), 9);
    assert_memory_equal(encoded,
        "\x7f"
        "abcdefgh",
        9);
    struct key_layout wide = layout_of(129, 8, 4);
    address.key_group = 0x0102;
    address.name_space = (struct cistern_span){"WXYZ", 4};
    assert_int_equal(key_encode(&wide, &address, encoded), 14);
    assert_memory_equal(encoded,
        "\x01\x02"
        "abcdefghWXYZ",
        14);
    struct key_layout ambiguous = layout_of(128, 0, 0);
    address.key_group = 5;
    assert_int_equal(key_encode(&ambiguous, &address, encoded), 16);
    assert_memory_equal(encoded,
        "\x05"
        "abcdefghWXYZ\x00\x08\x02",
        16);
}

static void test_round_trip(void **unused)
{
    (void)unused;
    uint64_t random = test_seed("rocks_key_test", 7);
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t max_parallelism = test_random(&random) % 2 == 0 ? 128 : 32768;
        uint32_t key_fixed =
            test_random(&random) % 2 == 0 ? 0 : 1 + (uint32_t)(test_random(&random) % 16);
        uint32_t namespace_fixed =
            test_random(&random) % 2 == 0 ? 0 : 1 + (uint32_t)(test_random(&random) % 16);
        struct key_layout layout = layout_of(max_parallelism, key_fixed, namespace_fixed);
        uint8_t key[16];
        uint8_t name_space[16];
        for (uint32_t b = 0; b < 16;
             b++) { /* few byte values: what could pass for a tail is common */
            key[b] = (uint8_t)(test_random(&random) % 4);
            name_space[b] = (uint8_t)(test_random(&random) % 4);
        }
        struct cistern_address address = {
            .key_group = (uint32_t)(test_random(&random) % max_parallelism)};
        address.key.data = key;
        address.key.bytes = key_fixed != 0 ? key_fixed : test_random(&random) % 16;
        if (test_random(&random) % 3 != 0) {
            address.name_space.data = name_space;
            address.name_space.bytes =
                namespace_fixed != 0 ? namespace_fixed : test_random(&random) % 16;
        }
        round_trip(&layout, &address);
    }
}

/* All keys and namespaces of at most two bytes over a small alphabet, both sizes variable: no
 * two share an encoding. */
static void test_distinct(void **unused)
{
    (void)unused;
    static const uint8_t alphabet[] = {0, 1, 2};
    static uint8_t all[400][16];
    static uint64_t sizes[400];
    uint32_t count = 0;
    struct key_layout layout = layout_of(128, 0, 0);
    for (uint32_t k = 0; k < 13; k++) {
        for (uint32_t n = 0; n < 14; n++) {
            uint8_t key[2] = {alphabet[k % 3], alphabet[k / 3 % 3]};
            uint8_t name_space[2] = {alphabet[n % 3], alphabet[n / 3 % 3]};
            struct cistern_address address = {.key = {key, k < 9 ? 2 : k < 12 ? 1 : 0}};
            if (n < 13) {
                address.name_space = (struct cistern_span){name_space, n < 9 ? 2 : n < 12 ? 1 : 0};
            }
            sizes[count] = key_encode(&layout, &address, all[count]);
            for (uint32_t i = 0; i < count; i++) {
                assert_false(sizes[i] == sizes[count] && memcmp(all[i], all[count], sizes[i]) == 0);
            }
            count++;
        }
    }
    assert_int_equal(count, 13 * 14);
}

static void test_damaged(void **unused)
{
    (void)unused;
    struct cistern_address address;
    struct key_layout both = layout_of(128, 0, 0);
    static const struct {
        const char *bytes;
        uint64_t size;
    } bad[] = {{"", 0}, {"\x01", 1}, {"\x01zz\x05", 4}, {"\x01z\x00\x09\x02", 5}, {"\x01\x02", 2},
        {"\x01z\x01", 3}};
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_status(
            key_decode(&both, (struct cistern_span){bad[i].bytes, bad[i].size}, &address, NULL),
            CISTERN_CORRUPT);
    }
    struct key_layout fixed = layout_of(129, 8, 4);
    assert_status(key_decode(&fixed, (struct cistern_span){"\0\1abcdefghi", 11}, &address, NULL),
        CISTERN_CORRUPT);
    assert_status(
        key_decode(&fixed, (struct cistern_span){"\0", 1}, &address, NULL), CISTERN_CORRUPT);
    struct key_layout half = layout_of(128, 4, 0);
    assert_status(
        key_decode(&half, (struct cistern_span){"\0abcdn\2", 7}, &address, NULL), CISTERN_CORRUPT);
}

static void test_bounds(void **unused)
{
    (void)unused;
    uint8_t bound[KEY_GROUP_BYTES_MAX];
    struct key_layout narrow = layout_of(128, 8, 0);
    struct key_layout wide = layout_of(32768, 8, 0);
    assert_int_equal(key_group_bound(&narrow, 128, bound), 1);
    assert_int_equal(bound[0], 128);
    assert_int_equal(key_group_bound(&narrow, 256, bound), 0);
    assert_int_equal(key_group_bound(&wide, 32768, bound), 2);
    assert_memory_equal(bound, "\x80\x00", 2);
}

static struct key_layout layout_of_kind(
    uint32_t kind, uint32_t max_parallelism, uint32_t key_bytes, uint32_t namespace_bytes)
{
    struct cistern_state_descriptor descriptor = {
        .kind = kind, .key_bytes = key_bytes, .namespace_bytes = namespace_bytes};
    return key_layout_of(max_parallelism, &descriptor);
}

static void test_prefix_bytes(void **unused)
{
    (void)unused;
    uint8_t encoded[64];
    struct cistern_address address = {.key = {"ab", 2}, .key_group = 5};
    struct key_layout open = layout_of_kind(CISTERN_MAP, 128, 0, 0);
    assert_int_equal(key_encode(&open, &address, encoded), 6);
    assert_memory_equal(encoded,
        "\x05\x00\x02"
        "ab\x00",
        6);
    address.name_space = (struct cistern_span){"N", 1};
    assert_int_equal(key_encode(&open, &address, encoded), 9);
    assert_memory_equal(encoded,
        "\x05\x00\x02"
        "ab\x01\x00\x01N",
        9);
    struct key_layout fixed = layout_of_kind(CISTERN_LIST, 300, 2, 1);
    assert_int_equal(key_encode(&fixed, &address, encoded), 6);
    assert_memory_equal(encoded,
        "\x00\x05"
        "ab\x01N",
        6);
    struct key_layout timers = layout_of_kind(CISTERN_TIMERS, 128, 2, 1);
    assert_int_equal(key_timer_encode(&timers, &address, -2, encoded), 13);
    assert_memory_equal(encoded,
        "\x05\x7f\xff\xff\xff\xff\xff\xff\xfe"
        "ab\x01N",
        13);
}

/* Every address of short keys and namespaces: none is a prefix of another one, what follows it is
 * found again, and cutting it short is noticed. */
static void test_prefix(void **unused)
{
    (void)unused;
    static uint8_t all[400][16];
    static uint64_t sizes[400];
    uint32_t count = 0;
    struct key_layout layout = layout_of_kind(CISTERN_MAP, 128, 0, 0);
    for (uint32_t k = 0; k < 13; k++) {
        for (uint32_t n = 0; n < 14; n++) {
            uint8_t key[2] = {(uint8_t)(k % 3), (uint8_t)(k / 3 % 3)};
            uint8_t name_space[2] = {(uint8_t)(n % 3), (uint8_t)(n / 3 % 3)};
            struct cistern_address address = {.key = {key, k < 9 ? 2 : k < 12 ? 1 : 0}};
            if (n < 13) {
                address.name_space = (struct cistern_span){name_space, n < 9 ? 2 : n < 12 ? 1 : 0};
            }
            sizes[count] = key_encode(&layout, &address, all[count]);
            assert_int_equal(sizes[count], key_encoded_bytes(&layout, &address));
            for (uint32_t i = 0; i < count; i++) {
                uint64_t shorter = sizes[i] < sizes[count] ? sizes[i] : sizes[count];
                assert_int_not_equal(memcmp(all[i], all[count], shorter), 0);
            }
            uint8_t *end = all[count] + sizes[count];
            memcpy(end, "xyz", 3);
            struct cistern_address decoded;
            struct cistern_span rest;
            struct cistern_span whole = {all[count], sizes[count] + 3};
            assert_status(key_decode(&layout, whole, &decoded, &rest), CISTERN_OK);
            assert_int_equal(decoded.key.bytes, address.key.bytes);
            assert_memory_equal(decoded.key.data, key, address.key.bytes);
            assert_int_equal(decoded.name_space.data == NULL, n == 13);
            assert_int_equal(decoded.name_space.bytes, address.name_space.bytes);
            assert_true(rest.data == end && rest.bytes == 3);
            for (uint64_t cut = 0; cut < sizes[count]; cut++) {
                struct cistern_span part = {all[count], cut};
                assert_status(key_decode(&layout, part, &decoded, &rest), CISTERN_CORRUPT);
            }
            count++;
        }
    }
}

static void test_timed(void **unused)
{
    (void)unused;
    static const int64_t times[] = {INT64_MIN, -1000, -1, 0, 1, 1000, INT64_MAX};
    struct key_layout layout = layout_of_kind(CISTERN_TIMERS, 300, 0, 4);
    struct cistern_address address = {
        .key = {"key", 3}, .name_space = {"name", 4}, .key_group = 299};
    uint8_t previous[64] = {0};
    uint8_t encoded[64];
    for (uint32_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        uint64_t bytes = key_timer_encode(&layout, &address, times[i], encoded);
        assert_int_equal(bytes, key_timer_bytes(&layout, &address));
        assert_true(memcmp(previous, encoded, bytes) < 0); /* in the order of time */
        memcpy(previous, encoded, bytes);
        struct cistern_address decoded;
        struct cistern_span rest;
        struct cistern_span whole = {encoded, bytes};
        assert_status(key_decode(&layout, whole, &decoded, &rest), CISTERN_OK);
        assert_int_equal(decoded.key_group, 299);
        assert_memory_equal(decoded.key.data, "key", 3);
        assert_memory_equal(decoded.name_space.data, "name", 4);
        assert_int_equal(rest.bytes, KEY_NUMBER_BYTES);
        whole.bytes = bytes + 1;
        assert_status(key_decode(&layout, whole, &decoded, &rest), CISTERN_CORRUPT);
        whole.bytes = bytes - 1;
        assert_status(key_decode(&layout, whole, &decoded, &rest), CISTERN_CORRUPT);
    }
}

static void test_successor(void **unused)
{
    (void)unused;
    uint8_t bytes[3] = {1, 2, 3};
    assert_int_equal(key_successor(bytes, 3), 3);
    assert_memory_equal(bytes, "\1\2\4", 3);
    uint8_t carried[3] = {1, 255, 255};
    assert_int_equal(key_successor(carried, 3), 1);
    assert_int_equal(carried[0], 2);
    uint8_t last[2] = {255, 255};
    assert_int_equal(key_successor(last, 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_distinct),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_prefix_bytes),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_timed),
        cmocka_unit_test(test_successor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
