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
    assert_status(key_decode(layout, (struct cistern_span){encoded, bytes}, &decoded), CISTERN_OK);
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
        assert_status(key_decode(&both, (struct cistern_span){bad[i].bytes, bad[i].size}, &address),
            CISTERN_CORRUPT);
    }
    struct key_layout fixed = layout_of(129, 8, 4);
    assert_status(
        key_decode(&fixed, (struct cistern_span){"\0\1abcdefghi", 11}, &address), CISTERN_CORRUPT);
    assert_status(key_decode(&fixed, (struct cistern_span){"\0", 1}, &address), CISTERN_CORRUPT);
    struct key_layout half = layout_of(128, 4, 0);
    assert_status(
        key_decode(&half, (struct cistern_span){"\0abcdn\2", 7}, &address), CISTERN_CORRUPT);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_distinct),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
