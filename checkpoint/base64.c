/* base64.c -- see base64_private.h. */
#include "base64_private.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(char *text, const uint8_t *data, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += 3) {
        uint64_t left = bytes - at;
        uint32_t group = (uint32_t)data[at] << 16;
        group |= left > 1 ? (uint32_t)data[at + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)data[at + 2] : 0;
        *text++ = alphabet[group >> 18];
        *text++ = alphabet[(group >> 12) & 63];
        *text++ = left > 1 ? alphabet[(group >> 6) & 63] : '=';
        *text++ = left > 2 ? alphabet[group & 63] : '=';
    }
    *text = '\0';
}

static int digit(char c)
{
    const char *found = c == '\0' ? NULL : strchr(alphabet, c);
    return found == NULL ? -1 : (int)(found - alphabet);
}

int base64_decode(const char *text, uint64_t text_bytes, uint8_t *data, uint64_t *ret_bytes)
{
    *ret_bytes = 0;
    if (text_bytes % 4 != 0) {
        return 0;
    }
    for (uint64_t at = 0; at < text_bytes; at += 4) {
        int last = at + 4 == text_bytes;
        uint32_t padding = last && text[at + 3] == '=' ? (text[at + 2] == '=' ? 2 : 1) : 0;
        uint32_t group = 0;
        for (uint32_t index = 0; index < 4; index++) {
            int value = index >= 4 - padding ? 0 : digit(text[at + index]);
            if (value < 0) {
                return 0;
            }
            group = group << 6 | (uint32_t)value;
        }
        uint32_t spare = padding == 2 ? group & 0xffff : padding == 1 ? group & 0xff : 0;
        if (spare != 0) {
            return 0;
        }
        for (uint32_t index = 0; index < 3 - padding; index++) {
            data[(*ret_bytes)++] = (uint8_t)(group >> (16 - 8 * index));
        }
    }
    return 1;
}
