/* text.c -- see text.h. */
#include "text.h"

#include <string.h>
#include <time.h>

const char *text_number(char text[TEXT_NUMBER_BYTES], uint64_t number)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    char *to = text;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            *to++ = ',';
        }
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

const char *text_time(char text[TEXT_TIME_BYTES], int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    char date[24];
    if (wall_ms < 0 || gmtime_r(&seconds, &utc) == NULL ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
        snprintf(text, TEXT_TIME_BYTES, "?");
        return text;
    }
    snprintf(text, TEXT_TIME_BYTES, "%s.%03dZ", date, (int)(wall_ms % 1000));
    return text;
}

void text_print_escaped(FILE *to, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 32 || c == 127) {
            fprintf(to, "\\x%02x", c);
        } else {
            fputc(c, to);
        }
    }
}
