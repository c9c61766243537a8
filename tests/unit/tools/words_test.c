/* words_test.c -- splitting bytes into words equals a byte-by-byte model, whatever the window
 * and whatever stands behind it. */
#include "test.h"

#include "words.h"

#include <string.h>

#define TEXT_BYTES 4096u

static int separates(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f' || c == '\r';
}

static void every_byte_is_judged(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 64; at++) {
        for (unsigned c = 0; c < 256; c++) {
            uint8_t block[64];
            memset(block, 'x', sizeof block);
            block[at] = (uint8_t)c;
            assert_true(words_separators(block) == (uint64_t)separates((uint8_t)c) << at);
        }
    }
}

/* Splits in windows; counts and a rolling sum of (offset, length) are compared with the model's. */
static void split_and_compare(const uint8_t *text, uint64_t bytes, uint64_t window)
{
    const uint8_t *unfinished = NULL;
    uint64_t model_at = 0;
    for (uint64_t from = 0; from < bytes; from += window) {
        const uint8_t *limit = text + (bytes - from < window ? bytes : from + window);
        struct words words = words_begin(text + from, limit, unfinished);
        const uint8_t *word;
        uint64_t length;
        while (words_next(&words, &word, &length)) {
            while (separates(text[model_at])) {
                model_at++;
            }
            uint64_t end = model_at;
            while (!separates(text[end])) {
                end++;
            }
            assert_ptr_equal(word, text + model_at);
            assert_int_equal(length, end - model_at);
            assert_true(word + length < limit);
            model_at = end;
        }
        unfinished = words.start;
    }
    while (model_at < bytes && separates(text[model_at])) {
        model_at++;
    }
    if (unfinished == NULL) {
        assert_int_equal(model_at, bytes);
    } else {
        assert_ptr_equal(unfinished, text + model_at);
        for (; model_at < bytes; model_at++) {
            assert_false(separates(text[model_at]));
        }
    }
}

static void random_texts_split_as_the_model_does(void **state)
{
    (void)state;
    static const uint8_t separators[] = {' ', '\t', '\n', '\v', '\f', '\r'};
    uint64_t seed = test_seed("tools_words_test", 20260101) | 1;
    static uint8_t text[TEXT_BYTES + WORDS_PAD_BYTES];
    for (unsigned round = 0; round < 3000; round++) {
        uint64_t bytes = test_random(&seed) % TEXT_BYTES, density = 1 + test_random(&seed) % 40;
        for (uint64_t i = 0; i < sizeof text; i++) { /* the padding is noise too */
            uint64_t random = test_random(&seed) >> 8;
            text[i] =
                random % density == 0 ? separators[(random >> 20) % 6] : (uint8_t)(random >> 30);
        }
        uint64_t windows[] = {1, 63, 64, 65, 1 + test_random(&seed) % 300, TEXT_BYTES};
        split_and_compare(text, bytes, windows[round % 6]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_judged),
        cmocka_unit_test(random_texts_split_as_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
