/* descriptor_test.c -- descriptors as stored text: round trip, and every way in which the text
 * can be wrong. */
#include "cistern/alloc.h"
#include "cistern/backend_ops.h"
#include "test.h"

#include <string.h>

static const char good[] =
    "{\"id\":3,\"key_bytes\":16,\"kind\":\"reducing\",\"name\":\"words\",\"namespace_bytes\":0,"
    "\"reduce\":\"sum_i64\",\"serializer\":\"00ff7f\",\"ttl\":{\"return_expired\":0,"
    "\"time_to_live_ms\":60000,\"update_on_read\":1},\"user_key_bytes\":0,\"value_bytes\":8}";

static const char good_event_time[] =
    "{\"id\":3,\"key_bytes\":16,\"kind\":\"reducing\",\"name\":\"words\",\"namespace_bytes\":0,"
    "\"reduce\":\"sum_i64\",\"serializer\":\"00ff7f\",\"ttl\":{\"event_time\":1,"
    "\"return_expired\":0,\"time_to_live_ms\":60000,\"update_on_read\":1,"
    "\"watermark_ms\":\"-9223372036854775808\"},\"user_key_bytes\":0,\"value_bytes\":8}";

static void test_known_text(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_state_descriptor descriptor = {.name = "words",
        .kind = CISTERN_REDUCING,
        .key_bytes = 16,
        .value_bytes = 8,
        .reduce = CISTERN_REDUCE_SUM_I64,
        .ttl = {.time_to_live_ms = 60000, .update_on_read = 1},
        .serializer = {"\x00\xff\x7f", 3}};
    char *text;
    assert_ok(cistern_descriptor_encode(&descriptor, 3, &text, &error), error);
    assert_string_equal(text, good);
    cistern_release(text);
}

static void round_trip(const struct cistern_state_descriptor *descriptor, uint32_t id)
{
    struct cistern_error error;
    char *text;
    assert_ok(cistern_descriptor_encode(descriptor, id, &text, &error), error);
    struct cistern_state_descriptor back;
    uint32_t back_id;
    void *storage;
    assert_ok(
        cistern_descriptor_decode(text, strlen(text), "test", &back, &back_id, &storage, &error),
        error);
    assert_int_equal(back_id, id);
    assert_string_equal(back.name, descriptor->name);
    assert_int_equal(back.kind, descriptor->kind);
    assert_int_equal(back.key_bytes, descriptor->key_bytes);
    assert_int_equal(back.namespace_bytes, descriptor->namespace_bytes);
    assert_int_equal(back.user_key_bytes, descriptor->user_key_bytes);
    assert_int_equal(back.value_bytes, descriptor->value_bytes);
    assert_int_equal(back.reduce, descriptor->reduce);
    assert_null(back.reduce_fn);
    assert_memory_equal(&back.ttl, &descriptor->ttl, sizeof back.ttl);
    assert_int_equal(back.serializer.bytes, descriptor->serializer.bytes);
    if (back.serializer.bytes > 0) {
        assert_memory_equal(
            back.serializer.data, descriptor->serializer.data, back.serializer.bytes);
    }
    cistern_release(storage);
    cistern_release(text);
}

static void test_round_trips(void **state)
{
    (void)state;
    uint64_t held = cistern_allocation_count();
    uint64_t random = test_seed("test_descriptor", 5);
    static uint8_t serializer[4096];
    char name[201];
    for (uint32_t i = 0; i < 300; i++) {
        uint64_t name_bytes = 1 + (test_random(&random) >> 33) % 200;
        for (uint64_t k = 0; k < name_bytes; k++) {
            name[k] = "ABCxyz019._-"[(test_random(&random) >> 33) % 12];
        }
        name[name_bytes] = '\0';
        for (uint64_t k = 0; k < sizeof serializer; k++) {
            serializer[k] = (uint8_t)(test_random(&random) >> 33);
        }
        struct cistern_state_descriptor descriptor = {.name = name,
            .kind = 1 + (uint32_t)(test_random(&random) >> 33) % 5, /* kinds that may have a TTL */
            .key_bytes = (uint32_t)(test_random(&random) >> 33) % 65536,
            .namespace_bytes = (uint32_t)(test_random(&random) >> 33) % 65536,
            .user_key_bytes = (uint32_t)(test_random(&random) >> 33) % 65536,
            .value_bytes = (uint32_t)(test_random(&random) >> 32)};
        descriptor.serializer =
            (struct cistern_span){serializer, (test_random(&random) >> 33) % 4097};
        if (i % 2) {
            descriptor.ttl = (struct cistern_ttl){
                .time_to_live_ms = 1 + (int64_t)(test_random(&random) >> (1 + i % 60)),
                .update_on_read = i % 4 == 1,
                .return_expired = i % 3 == 0,
                .event_time = i % 5 == 0};
            if (descriptor.ttl.event_time) { /* any watermark, also beyond what a double holds */
                descriptor.ttl.watermark_ms = (int64_t)(test_random(&random) << (i % 50));
            }
        }
        round_trip(&descriptor, 1 + i % 250);
    }
    struct cistern_state_descriptor timers = {.name = "t", .kind = CISTERN_TIMERS};
    round_trip(&timers, 1);
    struct cistern_state_descriptor longest = {
        .name = "t", .kind = CISTERN_VALUE, .ttl = {.time_to_live_ms = INT64_MAX}};
    round_trip(&longest, 250);
    assert_int_equal(cistern_allocation_count(), held);
}

/* Files from before there was event time have neither of its fields, and new ones without it do
 * not either: older builds read them. */
static void test_event_time(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_state_descriptor descriptor = {.name = "words",
        .kind = CISTERN_REDUCING,
        .key_bytes = 16,
        .value_bytes = 8,
        .reduce = CISTERN_REDUCE_SUM_I64,
        .ttl = {.time_to_live_ms = 60000,
            .update_on_read = 1,
            .event_time = 1,
            .watermark_ms = INT64_MIN},
        .serializer = {"\x00\xff\x7f", 3}};
    char *text;
    assert_ok(cistern_descriptor_encode(&descriptor, 3, &text, &error), error);
    assert_string_equal(text, good_event_time);
    cistern_release(text);
    descriptor.ttl.event_time = 0;
    assert_ok(cistern_descriptor_encode(&descriptor, 3, &text, &error), error);
    assert_string_equal(text, good); /* the watermark is nobody's */
    cistern_release(text);
    const int64_t watermarks[] = {
        INT64_MIN, INT64_MIN + 1, -(INT64_C(1) << 53), -1, 0, 1, INT64_C(1) << 53, INT64_MAX};
    descriptor.ttl.event_time = 1;
    for (uint32_t i = 0; i < sizeof watermarks / sizeof watermarks[0]; i++) {
        descriptor.ttl.watermark_ms = watermarks[i];
        round_trip(&descriptor, 3);
    }
}

/* `source` with its first `from` replaced. */
static void bad_of(const char *source, const char *from, const char *to, uint32_t expected)
{
    char text[2048];
    const char *at = strstr(source, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - source), source, to, at + strlen(from));
    struct cistern_error error = {0};
    struct cistern_state_descriptor descriptor;
    uint32_t id;
    void *storage = NULL;
    uint64_t held = cistern_allocation_count();
    uint32_t status =
        cistern_descriptor_decode(text, strlen(text), "table", &descriptor, &id, &storage, &error);
    if (status != expected) {
        print_error("%s -> %s: %s (%s)\n", from, to, cistern_status_name(status), error.message);
        fail();
    }
    if (status == CISTERN_OK) {
        cistern_release(storage);
    } else {
        assert_int_equal(error.status, expected);
        assert_true(error.message[0] != '\0');
        assert_null(storage);
    }
    assert_int_equal(cistern_allocation_count(), held);
}

static void bad(const char *from, const char *to, uint32_t expected)
{
    bad_of(good, from, to, expected);
}

static void test_bad_event_time(void **state)
{
    (void)state;
    const struct {
        const char *from;
        const char *to;
        uint32_t expected;
    } cases[] = {
        {"\"event_time\":1,", "\"event_time\":0,", CISTERN_OK},
        {"\"event_time\":1,", "\"event_time\":2,", CISTERN_CORRUPT},
        {"\"event_time\":1,", "\"event_time\":true,", CISTERN_CORRUPT},
        {"\"event_time\":1,", "\"event_time\":-1,", CISTERN_CORRUPT},
        {",\"watermark_ms\":\"-9223372036854775808\"", "", CISTERN_CORRUPT}, /* which moment? */
        {"\"-9223372036854775808\"", "7", CISTERN_OK},
        {"\"-9223372036854775808\"", "\"7\"", CISTERN_CORRUPT}, /* one spelling */
        {"\"-9223372036854775808\"", "-9007199254740992", CISTERN_CORRUPT},
        {"\"-9223372036854775808\"", "\"-9223372036854775809\"", CISTERN_CORRUPT},
        {"\"-9223372036854775808\"", "null", CISTERN_CORRUPT},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bad_of(good_event_time, cases[i].from, cases[i].to, cases[i].expected);
    }
}

static void test_bad_text(void **state)
{
    (void)state;
    const char *const fields[] = {"\"id\":3,", "\"key_bytes\":16,", "\"kind\":\"reducing\",",
        "\"name\":\"words\",", "\"namespace_bytes\":0,", "\"reduce\":\"sum_i64\",",
        "\"serializer\":\"00ff7f\",", "\"user_key_bytes\":0,", ",\"value_bytes\":8",
        "\"return_expired\":0,", "\"time_to_live_ms\":60000,", ",\"update_on_read\":1"};
    for (uint32_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        bad(fields[i], "", CISTERN_CORRUPT); /* each field is needed */
    }
    const struct {
        const char *from;
        const char *to;
        uint32_t expected;
    } cases[] = {
        {"{\"id\"", "{\"x_note\":[1],\"id\"", CISTERN_OK},
        {"{\"id\"", "{\"note\":1,\"id\"", CISTERN_UNSUPPORTED},
        {"{\"return", "{\"note\":1,\"return", CISTERN_UNSUPPORTED},
        {"{\"id\":3", "{\"id\":3,\"id\":3", CISTERN_CORRUPT},
        {":3", ":0", CISTERN_CORRUPT},
        {":3", ":251", CISTERN_CORRUPT},
        {":3", ":-1", CISTERN_CORRUPT},
        {":3", ":3.0", CISTERN_CORRUPT},
        {":3", ":\"3\"", CISTERN_CORRUPT},
        {":3", ":null", CISTERN_CORRUPT},
        {":16", ":65536", CISTERN_CORRUPT},
        {":8}", ":4294967296}", CISTERN_CORRUPT},
        {":8}", ":9}", CISTERN_CORRUPT},        /* a built-in reducer works on 8 bytes */
        {"reducing", "value", CISTERN_CORRUPT}, /* which takes no reducer */
        {"reducing", "kind-of-2030", CISTERN_UNSUPPORTED},
        {"sum_i64", "product", CISTERN_UNSUPPORTED},
        {"\"reducing\"", "4", CISTERN_CORRUPT},
        {"\"words\"", "\"\"", CISTERN_CORRUPT},
        {"\"words\"", "\"two words\"", CISTERN_CORRUPT},
        {"\"words\"", "7", CISTERN_CORRUPT},
        {"00ff7f", "00ff7", CISTERN_CORRUPT},
        {"00ff7f", "00ff7g", CISTERN_CORRUPT},
        {"00ff7f", "00FF7F", CISTERN_CORRUPT},
        {"\"00ff7f\"", "null", CISTERN_CORRUPT},
        {":60000", ":0", CISTERN_CORRUPT},
        {":60000", ":9007199254740992", CISTERN_CORRUPT}, /* above 2^53-1 it is a string */
        {":60000", ":\"9007199254740992\"", CISTERN_OK},
        {":60000", ":\"9223372036854775807\"", CISTERN_OK},
        {":60000", ":\"9223372036854775808\"", CISTERN_CORRUPT},
        {":60000", ":\"60000\"", CISTERN_CORRUPT},
        {":60000", ":\" 9007199254740992\"", CISTERN_CORRUPT},
        {":60000", ":true", CISTERN_CORRUPT},
        {"read\":1", "read\":2", CISTERN_CORRUPT},
        {"{\"return_expired\":0,\"time_to_live_ms\":60000,\"update_on_read\":1}", "null",
            CISTERN_OK},
        {"{\"return_expired\":0,\"time_to_live_ms\":60000,\"update_on_read\":1}", "7",
            CISTERN_CORRUPT},
        {"{\"id\"", "[{\"id\"", CISTERN_CORRUPT},
        {"{\"id\"", "", CISTERN_CORRUPT},
        {"words",
            "wor\xff"
            "ds",
            CISTERN_CORRUPT},
        {":8}", ":8}x", CISTERN_CORRUPT},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bad(cases[i].from, cases[i].to, cases[i].expected);
    }
}

static void test_every_length(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_state_descriptor descriptor;
    uint32_t id;
    void *storage;
    for (uint64_t bytes = 0; bytes < sizeof good - 1; bytes++) {
        char *cut = malloc(bytes + 1);
        memcpy(cut, good, bytes);
        assert_status(
            cistern_descriptor_decode(cut, bytes, "cut", &descriptor, &id, &storage, &error),
            CISTERN_CORRUPT);
        free(cut);
    }
    static char deep[20000];
    memset(deep, '[', sizeof deep);
    assert_status(
        cistern_descriptor_decode(deep, 16384, "deep", &descriptor, &id, &storage, &error),
        CISTERN_CORRUPT);
    assert_status(
        cistern_descriptor_decode(deep, 20000, "long", &descriptor, &id, &storage, &error),
        CISTERN_CORRUPT);
}

static void test_allocations(void **state)
{
    (void)state;
    uint64_t held = cistern_allocation_count();
    int failed = 1;
    for (uint64_t nth = 1; failed; nth++) {
        struct cistern_error error = {0};
        struct cistern_state_descriptor descriptor;
        uint32_t id;
        void *storage = NULL;
        char *text = NULL;
        cistern_allocation_fail_at(nth);
        uint32_t status = cistern_descriptor_decode(
            good, sizeof good - 1, "good", &descriptor, &id, &storage, &error);
        if (status == CISTERN_OK) {
            status = cistern_descriptor_encode(&descriptor, id, &text, &error);
        }
        failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_status(status, failed ? CISTERN_NO_MEMORY : CISTERN_OK);
        cistern_release(storage);
        cistern_release(text);
        assert_int_equal(cistern_allocation_count(), held);
        assert_true(failed || nth == 4); /* one block to decode, hex and text to encode */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_text),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_event_time),
        cmocka_unit_test(test_bad_event_time),
        cmocka_unit_test(test_bad_text),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
