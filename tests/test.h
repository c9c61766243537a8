/* test.h -- cmocka with the headers it wants, and the two lines every test of ours needs. */
#ifndef CISTERN_TEST_H
#define CISTERN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cistern/base.h"

#include <stdio.h>
#include <stdlib.h>

/* A call that must succeed: prints the whole detail when it does not. */
#define assert_ok(expression, error)                                                               \
    do {                                                                                           \
        uint32_t assert_ok_status = (expression);                                                  \
        if (assert_ok_status != CISTERN_OK) {                                                      \
            print_error("%s: %s: %s (%s)\n", #expression, cistern_status_name(assert_ok_status),   \
                (error).message, (error).object);                                                  \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

#define assert_status(expression, expected)                                                        \
    do {                                                                                           \
        uint32_t assert_status_got = (expression);                                                 \
        if (assert_status_got != (expected)) {                                                     \
            print_error("%s: got %s, expected %s\n", #expression,                                  \
                cistern_status_name(assert_status_got), cistern_status_name(expected));            \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

/* The seed of a randomised test: CISTERN_SEED, or the given default. Printed with the line that
 * repeats the run. */
static inline uint64_t test_seed(const char *test, uint64_t default_seed)
{
    const char *text = getenv("CISTERN_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : default_seed;
    print_message("seed %llu; repeat with: CISTERN_SEED=%llu %s\n", (unsigned long long)seed,
        (unsigned long long)seed, test);
    return seed;
}

/* How many rounds a random test runs: CISTERN_ROUNDS, or its short form. */
static inline uint64_t test_rounds(uint64_t short_form)
{
    const char *text = getenv("CISTERN_ROUNDS");
    return text != NULL ? strtoull(text, NULL, 10) : short_form;
}

/* xorshift64*: enough for choosing operations; never for hashing. */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1DULL;
}

#endif
