/* host_test.c -- the host's callbacks: clock, log and allocator, and when they may be exchanged. */
#include "cistern/alloc.h"
#include "cistern/clock.h"
#include "cistern/log.h"
#include "test.h"

#include <string.h>

struct host_notes {
    char text[2000];
    uint32_t level;
    uint32_t allocated;
    uint32_t released;
};

static void note_log(void *arg, uint32_t level, const char *text)
{
    struct host_notes *notes = arg;
    notes->level = level;
    snprintf(notes->text, sizeof notes->text, "%s", text);
}
static int64_t note_now(void *arg)
{
    (void)arg;
    return 123;
}
static int64_t note_wall(void *arg)
{
    (void)arg;
    return 456;
}
static void *note_allocate(void *arg, uint64_t bytes)
{
    ((struct host_notes *)arg)->allocated++;
    return bytes > 1000000 ? NULL : malloc(bytes);
}
static void note_release(void *arg, void *memory)
{
    ((struct host_notes *)arg)->released++;
    free(memory);
}

static void test_callbacks(void **state)
{
    (void)state;
    static struct host_notes notes;
    const struct cistern_host host = {
        &notes, note_log, note_now, note_wall, note_allocate, note_release};
    cistern_log(CISTERN_LOG_ERROR, "nobody listens");
    assert_int_equal(cistern_host_install(&host), CISTERN_OK);
    assert_int_equal(cistern_host_install(&host), CISTERN_OK);
    assert_int_equal(cistern_now_ns(), 123);
    assert_int_equal(cistern_wall_ms(), 456);
    cistern_log(CISTERN_LOG_WARNING, "%d of %s", 2, "three");
    assert_string_equal(notes.text, "2 of three");
    assert_int_equal(notes.level, CISTERN_LOG_WARNING);
    static char long_text[5000];
    memset(long_text, 'x', sizeof long_text - 1);
    cistern_log(CISTERN_LOG_INFO, "%s", long_text);
    assert_int_equal(strlen(notes.text), 1023);
    void *memory = cistern_allocate(10);
    assert_non_null(memory);
    assert_null(cistern_allocate(2000000));
    assert_int_equal(cistern_host_install(NULL), CISTERN_BUSY); /* its allocator is in use */
    assert_int_equal(cistern_now_ns(), 123);
    cistern_release(memory);
    assert_int_equal(notes.allocated, 2);
    assert_int_equal(notes.released, 1);
    assert_int_equal(cistern_host_install(NULL), CISTERN_OK);
}

static void test_default_clocks(void **state)
{
    (void)state;
    int64_t before = cistern_now_ns();
    cistern_sleep_ns(2000000);
    int64_t after = cistern_now_ns();
    assert_true(after - before >= 2000000);
    assert_true(cistern_wall_ms() > INT64_C(1600000000000)); /* September 2020 */
    cistern_sleep_ns(0);
    cistern_sleep_ns(-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_default_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
