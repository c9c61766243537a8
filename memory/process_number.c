/*
 * process_number.c -- numbers as a JVM reads, multiplies and prints them. Byte-exactness lives
 * here: a fraction is a 32-bit float, and a product is taken with the float's shortest decimal.
 */
#include "process_private.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

locale_t process_locale_enter(void)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc: static, cannot fail */
    return plain == (locale_t)0 ? (locale_t)0 : uselocale(plain);
}

void process_locale_leave(locale_t before)
{
    if (before != (locale_t)0) {
        uselocale(before);
    }
}

/* Java prints at least two digits, so of two shortest decimals the one of two digits nearest to
 * the value wins: the search begins at two. */
struct process_decimal process_decimal_of(double value)
{
    assert(value >= 0 && isfinite(value));
    value = fabs(value); /* -0.0 */
    char text[32];
    for (int digits = 2; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    struct process_decimal decimal = {0, 0};
    const char *at = text;
    int behind = 0;
    for (; *at != 'e'; at++) {
        if (*at == '.') {
            behind = 1;
            continue;
        }
        decimal.mantissa = decimal.mantissa * 10 + (uint64_t)(*at - '0');
        decimal.exponent -= behind;
    }
    decimal.exponent += (int)strtol(at + 1, NULL, 10);
    while (decimal.mantissa != 0 && decimal.mantissa % 10 == 0) {
        decimal.mantissa /= 10;
        decimal.exponent++;
    }
    return decimal;
}

/* bytes < 2^63, mantissa < 10^17 < 2^57: the product has at most 120 bits. */
int process_multiply(uint64_t bytes, double value, uint64_t *ret_product)
{
    assert(bytes <= PROCESS_BYTES_MAX);
    struct process_decimal decimal = process_decimal_of(value);
    unsigned __int128 product = (unsigned __int128)bytes * decimal.mantissa;
    unsigned __int128 rest = 0;
    for (int i = 0; i < decimal.exponent && product <= PROCESS_BYTES_MAX; i++) {
        product *= 10;
    }
    for (int i = 0; i < -decimal.exponent && (product != 0); i++) {
        rest |= product % 10;
        product /= 10;
    }
    if (product > PROCESS_BYTES_MAX || (product == PROCESS_BYTES_MAX && rest != 0)) {
        return 0;
    }
    *ret_product = (uint64_t)product;
    return 1;
}

/* [sign] digits [. digits] [e [sign] digits] [f|F|d|D] | [sign] NaN | [sign] Infinity, blanks
 * around it: Java's decimal floating-point literals. Copies the number without its suffix. */
static int number_cut(const char *text, char number[64])
{
    while (*text != '\0' && (unsigned char)*text <= ' ') {
        text++;
    }
    size_t length = strlen(text);
    while (length > 0 && (unsigned char)text[length - 1] <= ' ') {
        length--;
    }
    if (length == 0 || length >= 64) {
        return 0;
    }
    memcpy(number, text, length);
    number[length] = '\0';
    const char *at = number + (number[0] == '+' || number[0] == '-');
    if (strcmp(at, "NaN") == 0 || strcmp(at, "Infinity") == 0) {
        return 1;
    }
    size_t whole = strspn(at, "0123456789");
    at += whole;
    size_t behind = 0;
    if (*at == '.') {
        behind = strspn(at + 1, "0123456789");
        at += 1 + behind;
    }
    if (whole + behind == 0) {
        return 0;
    }
    if (*at == 'e' || *at == 'E') {
        at += 1 + (at[1] == '+' || at[1] == '-');
        size_t digits = strspn(at, "0123456789");
        if (digits == 0) {
            return 0;
        }
        at += digits;
    }
    size_t end = (size_t)(at - number);
    if (*at != '\0' && strchr("fFdD", *at) != NULL) {
        at++;
    }
    if (*at != '\0') {
        return 0;
    }
    number[end] = '\0';
    return 1;
}

int process_float_parse(const char *text, double *ret_value)
{
    char number[64];
    if (!number_cut(text, number)) {
        return 0;
    }
    *ret_value = (double)strtof(number, NULL);
    return 1;
}

int process_double_parse(const char *text, double *ret_value)
{
    char number[64];
    if (!number_cut(text, number)) {
        return 0;
    }
    *ret_value = strtod(number, NULL);
    return 1;
}

/* Integer.parseInt: no blanks, no suffix. */
int process_int_parse(const char *text, int32_t *ret_value)
{
    const char *at = text + (text[0] == '+' || text[0] == '-');
    size_t digits = strspn(at, "0123456789");
    if (digits == 0 || at[digits] != '\0') {
        return 0;
    }
    int64_t value = 0;
    for (; *at != '\0'; at++) {
        value = value * 10 + (*at - '0');
        if (value > (int64_t)INT32_MAX + 1) {
            return 0;
        }
    }
    value = text[0] == '-' ? -value : value;
    if (value > INT32_MAX) {
        return 0;
    }
    *ret_value = (int32_t)value;
    return 1;
}

double process_fraction_cut(uint64_t a, uint64_t b)
{
    assert(b > 0 && a <= b);
    const uint64_t scale = 10000000000000000; /* 10^16 */
    uint64_t digits = (uint64_t)((unsigned __int128)a * scale / b);
    char text[32];
    snprintf(text, sizeof text, "%llu.%016llu", (unsigned long long)(digits / scale),
        (unsigned long long)(digits % scale));
    return strtod(text, NULL);
}

/* Three digits behind the point, half up on the shortest decimal: Java's %.3f. (C's rounds the
 * binary value, half to even: 2.0625 would become 2.062.) value < 2^54. */
static uint64_t thousandths_round(double value)
{
    struct process_decimal decimal = process_decimal_of(value);
    uint64_t thousandths = decimal.mantissa;
    int exponent = decimal.exponent + 3;
    for (; exponent > 0; exponent--) {
        thousandths *= 10;
    }
    uint64_t last = 0;
    for (; exponent < 0; exponent++) {
        last = thousandths % 10;
        thousandths /= 10;
    }
    return thousandths + (last >= 5);
}

const char *cistern_process_size_format(char text[64], uint64_t bytes)
{
    static const char *const units[] = {"kb", "mb", "gb", "tb"};
    int unit = -1;
    while (unit < 3 && bytes > (uint64_t)1 << (10 * (unit + 2))) {
        unit++;
    }
    if (unit < 0) {
        snprintf(text, 64, "%llu bytes", (unsigned long long)bytes);
        return text;
    }
    double value = (double)bytes / (double)((uint64_t)1 << (10 * (unit + 1)));
    uint64_t thousandths = thousandths_round(value);
    snprintf(text, 64, "%llu.%03llu%s (%llu bytes)", (unsigned long long)(thousandths / 1000),
        (unsigned long long)(thousandths % 1000), units[unit], (unsigned long long)bytes);
    return text;
}

/* Digits of a decimal with the point behind the first `whole` of them (zeros fill the gap), at
 * least one digit on both sides. whole: -2 .. 7. */
static void digits_place(char text[64], const char *digits, int whole)
{
    static const char zeros[] = "0000000";
    int count = (int)strlen(digits);
    if (whole <= 0) {
        snprintf(text, 64, "0.%.*s%s", -whole, zeros, digits);
    } else if (whole >= count) {
        snprintf(text, 64, "%s%.*s.0", digits, whole - count, zeros);
    } else {
        snprintf(text, 64, "%.*s.%s", whole, digits, digits + whole);
    }
}

const char *cistern_process_number_format(char text[32], double value)
{
    if (isnan(value)) {
        snprintf(text, 32, "NaN");
        return text;
    }
    char sign[2] = "";
    if (signbit(value)) {
        sign[0] = '-';
        value = -value;
    }
    if (isinf(value)) {
        snprintf(text, 32, "%sInfinity", sign);
        return text;
    }
    locale_t before = process_locale_enter();
    struct process_decimal decimal = process_decimal_of(value);
    process_locale_leave(before);
    char digits[24], body[64], whole_text[96];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)decimal.mantissa);
    int whole = (int)strlen(digits) + decimal.exponent; /* digits before the point */
    if (value == 0) {
        snprintf(whole_text, sizeof whole_text, "%s0.0", sign);
    } else if (value >= 1e-3 && value < 1e7) {
        digits_place(body, digits, whole);
        snprintf(whole_text, sizeof whole_text, "%s%s", sign, body);
    } else {
        digits_place(body, digits, 1);
        snprintf(whole_text, sizeof whole_text, "%s%sE%d", sign, body, whole - 1);
    }
    snprintf(text, 32, "%.31s", whole_text); /* at most 24: -1.2345678901234567E-308 */
    return text;
}
