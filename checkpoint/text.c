/* text.c -- a growing byte buffer; see text_private.h. */
#include "text_private.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int reserve(struct text *text, uint64_t more)
{
    uint64_t wanted = text->bytes + more + 1;
    if (text->failed || wanted > TEXT_BYTES_MAX) {
        text->failed = 1;
        return 0;
    }
    if (wanted <= text->capacity) {
        return 1;
    }
    uint64_t capacity = text->capacity < 256 ? 256 : text->capacity;
    while (capacity < wanted) {
        capacity *= 2;
    }
    char *data = cistern_reallocate(text->data, capacity);
    if (data == NULL) {
        text->failed = 1;
        return 0;
    }
    text->data = data;
    text->capacity = capacity;
    return 1;
}

void text_append(struct text *text, const void *data, uint64_t bytes)
{
    if (reserve(text, bytes)) {
        if (bytes != 0) {
            memcpy(text->data + text->bytes, data, bytes);
        }
        text->bytes += bytes;
        text->data[text->bytes] = '\0';
    }
}

void text_format(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int bytes = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (bytes < 0) {
        text->failed = 1;
    } else if (reserve(text, (uint64_t)bytes)) {
        (void)vsnprintf(text->data + text->bytes, (size_t)bytes + 1, format, again);
        text->bytes += (uint64_t)bytes;
    }
    va_end(again);
}

uint32_t text_check(const struct text *text, struct cistern_error *error)
{
    if (text->failed) {
        return cistern_fail(error, CISTERN_NO_MEMORY, NULL, "no memory for %llu bytes of text",
            (unsigned long long)text->bytes);
    }
    return CISTERN_OK;
}

void text_release(struct text *text)
{
    cistern_release(text->data);
    memset(text, 0, sizeof *text);
}

char *text_path(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int bytes = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *path = bytes < 0 ? NULL : cistern_allocate((uint64_t)bytes + 1);
    if (path != NULL) {
        (void)vsnprintf(path, (size_t)bytes + 1, format, again);
    }
    va_end(again);
    return path;
}

/* Bytes of the character that starts here; 0 = none does. Overlong forms, surrogates and values
 * above 10FFFF are none. */
static uint32_t character_bytes(const unsigned char *at)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t bytes = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    uint32_t value = bytes == 1 ? at[0] : at[0] & (0x7fu >> bytes);
    if ((at[0] >= 0x80 && at[0] < 0xc0) || at[0] >= 0xf8) {
        return 0;
    }
    for (uint32_t index = 1; index < bytes; index++) {
        if ((at[index] & 0xc0) != 0x80) { /* a NUL ends here too */
            return 0;
        }
        value = value << 6 | (at[index] & 0x3fu);
    }
    int allowed = value >= least[bytes] && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff);
    return allowed ? bytes : 0;
}

int text_is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        uint32_t bytes = character_bytes(at);
        if (bytes == 0) {
            return 0;
        }
        at += bytes;
    }
    return 1;
}
