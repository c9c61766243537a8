/* mailbox_test.c -- records grouped by key: order within a key, room, failures, large records. */
#include "test.h"
#include "cistern/alloc.h"
#include "cistern/mailbox.h"

#include <string.h>

#define KEYS 50u
#define RECORDS 20000u

struct seen {
    uint32_t next[KEYS]; /* the number the key's next record must have */
    uint32_t calls;
    uint32_t records;
    uint32_t fail_at; /* call number that fails; 0 = none */
};

static struct cistern_span span_of(const uint32_t *number)
{
    return (struct cistern_span){number, sizeof *number};
}

static uint32_t process(void *arg, const struct cistern_address *address,
    const struct cistern_span *records, uint32_t count, struct cistern_error *error)
{
    (void)error;
    struct seen *seen = arg;
    uint32_t key;
    if (++seen->calls == seen->fail_at) {
        return CISTERN_LIMIT;
    }
    assert_int_equal(address->key.bytes, sizeof key);
    memcpy(&key, address->key.data, sizeof key);
    assert_int_equal(address->key_group, key % 7);
    assert_true(count > 0);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number;
        memcpy(&number, records[i].data, sizeof number);
        assert_int_equal(number, seen->next[key]++);
        seen->records++;
    }
    return CISTERN_OK;
}

static struct cistern_mailbox *open_mailbox(struct seen *seen, uint32_t records, uint64_t bytes)
{
    struct cistern_error error;
    struct cistern_mailbox *mailbox = NULL;
    struct cistern_mailbox_options options = {
        .process = process, .arg = seen, .record_count_max = records, .bytes_max = bytes};
    assert_ok(cistern_mailbox_create(&options, &mailbox, &error), error);
    return mailbox;
}

static void every_record_once_in_order(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 16, 255, 256, 1024};
    for (uint32_t size = 0; size < 6; size++) {
        struct seen seen = {.calls = 0};
        struct cistern_error error;
        struct cistern_mailbox *mailbox = open_mailbox(&seen, sizes[size], size % 2 ? 0 : 1000);
        uint32_t added[KEYS] = {0};
        uint64_t random = test_seed("mailbox", size + 1);
        for (uint32_t i = 0; i < RECORDS; i++) {
            uint32_t key = (uint32_t)(test_random(&random) % KEYS);
            assert_ok(
                cistern_mailbox_add(mailbox, span_of(&key), key % 7, span_of(&added[key]), &error),
                error);
            added[key]++;
        }
        assert_int_equal(seen.records + cistern_mailbox_waiting(mailbox), RECORDS);
        assert_ok(cistern_mailbox_flush(mailbox, &error), error);
        assert_int_equal(seen.records, RECORDS);
        assert_int_equal(cistern_mailbox_waiting(mailbox), 0);
        assert_memory_equal(added, seen.next, sizeof added);
        assert_true(sizes[size] < 256 || seen.calls < RECORDS / 2); /* keys were grouped */
        cistern_mailbox_destroy(mailbox);
    }
}

static void a_failure_loses_nothing(void **state)
{
    (void)state;
    struct seen seen = {.fail_at = 3};
    struct cistern_error error;
    struct cistern_mailbox *mailbox = open_mailbox(&seen, 8, 0);
    for (uint32_t key = 0; key < 8; key++) {
        uint32_t number = 0;
        assert_ok(
            cistern_mailbox_add(mailbox, span_of(&key), key % 7, span_of(&number), &error), error);
    }
    uint32_t key = 1;
    uint32_t number = 1;
    assert_status(cistern_mailbox_add(mailbox, span_of(&key), 1, span_of(&number), &error),
        CISTERN_LIMIT); /* the ninth needs a flush */
    assert_int_equal(seen.records, 2);
    assert_int_equal(cistern_mailbox_waiting(mailbox), 6);
    assert_ok(cistern_mailbox_add(mailbox, span_of(&key), 1, span_of(&number), &error), error);
    assert_int_equal(seen.records, 8);
    assert_ok(cistern_mailbox_flush(mailbox, &error), error);
    assert_int_equal(seen.records, 9);
    cistern_mailbox_destroy(mailbox);
}

static uint32_t measure(void *arg, const struct cistern_address *address,
    const struct cistern_span *records, uint32_t count, struct cistern_error *error)
{
    (void)address;
    (void)error;
    for (uint32_t i = 0; i < count; i++) {
        *(uint64_t *)arg += records[i].bytes;
    }
    return CISTERN_OK;
}

static void records_of_any_size(void **state)
{
    (void)state;
    uint64_t total = 0;
    uint64_t expected = 0;
    uint8_t bytes[300] = {0};
    struct cistern_error error;
    struct cistern_mailbox *mailbox = NULL;
    struct cistern_mailbox_options options = {.process = measure, .arg = &total, .bytes_max = 100};
    assert_ok(cistern_mailbox_create(&options, &mailbox, &error), error);
    for (uint32_t size = 0; size < 300; size++) {
        struct cistern_span key = {bytes, size % 3}; /* an empty key is a key */
        assert_ok(cistern_mailbox_add(mailbox, key, 0, (struct cistern_span){bytes, size}, &error),
            error);
        expected += size;
    }
    assert_ok(cistern_mailbox_flush(mailbox, &error), error);
    assert_int_equal(total, expected);
    struct cistern_span absent = {NULL, 0};
    assert_status(cistern_mailbox_add(mailbox, absent, 0, absent, &error), CISTERN_INVALID);
    cistern_mailbox_destroy(mailbox);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    struct cistern_error error;
    struct cistern_mailbox *mailbox = NULL;
    struct cistern_mailbox_options none = {0};
    assert_status(cistern_mailbox_create(&none, &mailbox, &error), CISTERN_INVALID);
    struct cistern_mailbox_options many = {.process = measure, .record_count_max = 1025};
    assert_status(cistern_mailbox_create(&many, &mailbox, &error), CISTERN_INVALID);
    assert_non_null(strstr(error.message, "1025"));
    uint64_t held = cistern_allocation_count();
    struct cistern_mailbox_options good = {.process = measure};
    for (uint64_t nth = 1;; nth++) {
        cistern_allocation_fail_at(nth);
        uint32_t status = cistern_mailbox_create(&good, &mailbox, &error);
        int failed = cistern_allocation_failed();
        cistern_allocation_fail_at(0);
        assert_int_equal(status, failed ? CISTERN_NO_MEMORY : CISTERN_OK);
        if (!failed) {
            cistern_mailbox_destroy(mailbox);
            break;
        }
    }
    assert_int_equal(cistern_allocation_count(), held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_record_once_in_order),
        cmocka_unit_test(a_failure_loses_nothing),
        cmocka_unit_test(records_of_any_size),
        cmocka_unit_test(wrong_options_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
