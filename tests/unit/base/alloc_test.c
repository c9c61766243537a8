/* alloc_test.c -- the allocator of control structures: counts, sizes, and the failure a test can
 * ask for. */
#include "cistern/alloc.h"
#include "test.h"

#include <string.h>

static void test_counts(void **state)
{
    (void)state;
    uint64_t held = cistern_allocation_count();
    void *a = cistern_allocate(100);
    void *empty = cistern_allocate(0);
    char *text = cistern_duplicate_string("hello");
    assert_non_null(a);
    assert_non_null(empty);
    assert_int_equal((uintptr_t)a % 16, 0);
    assert_string_equal(text, "hello");
    assert_int_equal(cistern_allocation_count(), held + 3);
    cistern_release(a);
    cistern_release(empty);
    cistern_release(text);
    cistern_release(NULL);
    assert_int_equal(cistern_allocation_count(), held);
}

static void test_zeroed_and_moved(void **state)
{
    (void)state;
    static const uint8_t zero[4096];
    uint8_t *memory = cistern_allocate_zeroed(64, 64);
    assert_memory_equal(memory, zero, 4096);
    memset(memory, 7, 4096);
    memory = cistern_reallocate(memory, 100000);
    assert_int_equal(memory[4095], 7);
    memory = cistern_reallocate(memory, 10);
    assert_int_equal(memory[9], 7);
    cistern_release(memory);
    memory = cistern_reallocate(NULL, 5);
    assert_non_null(memory);
    cistern_release(memory);
    assert_null(cistern_allocate_zeroed(UINT64_MAX / 2, 3));
    assert_null(cistern_allocate(UINT64_MAX));
    assert_null(cistern_allocate(UINT64_MAX - 15));
}

static void test_failure(void **state)
{
    (void)state;
    uint64_t held = cistern_allocation_count();
    cistern_allocation_fail_at(3);
    void *first = cistern_allocate(1);
    void *second = cistern_allocate_zeroed(1, 1);
    assert_true(first != NULL && second != NULL);
    assert_false(cistern_allocation_failed());
    assert_null(cistern_allocate(1));
    assert_true(cistern_allocation_failed());
    void *third = cistern_allocate(1); /* once only */
    assert_non_null(third);
    cistern_allocation_fail_at(1);
    assert_false(cistern_allocation_failed());
    uint8_t *grown = cistern_reallocate(first, 1 << 20);
    assert_null(grown); /* and the old block is untouched */
    cistern_allocation_fail_at(1);
    assert_null(cistern_duplicate_string("x"));
    cistern_allocation_fail_at(0);
    cistern_release(first);
    cistern_release(second);
    cistern_release(third);
    assert_int_equal(cistern_allocation_count(), held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_zeroed_and_moved),
        cmocka_unit_test(test_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
