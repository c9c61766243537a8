/* error_test.c -- the error detail, the table of outcomes, and options of another size than
 * ours. */
#include "cistern/error.h"
#include "test.h"

#include <errno.h>
#include <string.h>

static void test_fail(void **state)
{
    (void)state;
    struct cistern_error error;
    memset(&error, 0xff, sizeof error);
    assert_int_equal(cistern_fail(&error, CISTERN_LIMIT, "slot 1", "%d bytes", 7), CISTERN_LIMIT);
    assert_int_equal(error.status, CISTERN_LIMIT);
    assert_int_equal(error.os_errno, 0);
    assert_true(error.file_offset == UINT64_MAX);
    assert_int_equal(error.bytes_missing, 0);
    assert_string_equal(error.object, "slot 1");
    assert_string_equal(error.message, "7 bytes");
    assert_int_equal(cistern_fail(NULL, CISTERN_BUSY, NULL, "x"), CISTERN_BUSY);
    assert_int_equal(cistern_fail(&error, CISTERN_BUSY, NULL, "x"), CISTERN_BUSY);
    assert_string_equal(error.object, "");
    char long_text[1000];
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    assert_int_equal(cistern_fail(&error, CISTERN_BUSY, long_text, "%s", long_text), CISTERN_BUSY);
    assert_int_equal(strlen(error.object), sizeof error.object - 1);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    assert_int_equal(cistern_fail_corrupt(&error, "f.seg", 4096, "bad"), CISTERN_CORRUPT);
    assert_int_equal(error.file_offset, 4096);
    assert_int_equal(cistern_fail_corrupt(NULL, "f.seg", 1, "bad"), CISTERN_CORRUPT);
    cistern_error_clear(&error);
    assert_int_equal(error.status, CISTERN_OK);
    assert_true(error.file_offset == UINT64_MAX);
    cistern_error_clear(NULL);
}

static void test_errno(void **state)
{
    (void)state;
    const struct {
        int32_t os_errno;
        uint32_t status;
    } cases[] = {{ENOSPC, CISTERN_NO_SPACE}, {EDQUOT, CISTERN_NO_SPACE},
        {ENOENT, CISTERN_NOT_FOUND}, {EEXIST, CISTERN_EXISTS}, {ENOMEM, CISTERN_NO_MEMORY},
        {ECANCELED, CISTERN_ABORTED}, {EIO, CISTERN_IO}, {EACCES, CISTERN_IO}};
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cistern_error error;
        assert_int_equal(
            cistern_fail_errno(&error, cases[i].os_errno, "f", "open"), cases[i].status);
        assert_int_equal(error.os_errno, cases[i].os_errno);
        assert_int_equal(strncmp(error.message, "open: ", 6), 0);
        assert_int_equal(cistern_fail_errno(NULL, cases[i].os_errno, "f", "open"), cases[i].status);
    }
}

static void test_statuses(void **state)
{
    (void)state;
    for (uint32_t status = 0; status < CISTERN_STATUS_COUNT; status++) {
        assert_true(strlen(cistern_status_name(status)) > 1);
        assert_true(strlen(cistern_status_advice(status)) > 5);
        for (uint32_t other = 0; other < status; other++) {
            assert_string_not_equal(cistern_status_name(status), cistern_status_name(other));
        }
    }
    assert_string_equal(cistern_status_name(CISTERN_STATUS_COUNT), "?");
    assert_true(strlen(cistern_status_advice(UINT32_MAX)) > 5);
    assert_int_equal(cistern_abi_version(), CISTERN_ABI);
    assert_true(strlen(cistern_version()) > 0);
}

struct options {
    uint64_t a;
    uint32_t b;
    uint32_t c;
};

static void test_options(void **state)
{
    (void)state;
    struct cistern_error error;
    struct options known = {9, 9, 9};
    struct {
        struct options options;
        uint64_t newer;
    } given = {{1, 2, 3}, 0};
    assert_ok(cistern_options_read(&known, sizeof known, &given, sizeof given, "x options", &error),
        error);
    assert_true(known.a == 1 && known.b == 2 && known.c == 3); /* newer caller, new field unused */
    assert_ok(cistern_options_read(&known, sizeof known, &given, 12, "x options", &error), error);
    assert_true(known.a == 1 && known.b == 2 && known.c == 0); /* older caller */
    assert_ok(cistern_options_read(&known, sizeof known, NULL, 0, "x options", &error), error);
    assert_true(known.a == 0 && known.b == 0 && known.c == 0);
    assert_status(cistern_options_read(&known, sizeof known, &given, 0, "x options", &error),
        CISTERN_INVALID);
    given.newer = (uint64_t)1 << 63;
    assert_status(
        cistern_options_read(&known, sizeof known, &given, sizeof given, "x options", &error),
        CISTERN_UNSUPPORTED);
    assert_non_null(strstr(error.message, "x options"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
