/* Texts and numbers of JSON, read as strictly as orjson does, except for half a surrogate pair: it
 * is accepted and flagged (see models/features/lenient_json.py).
 *
 * The functions take the position to read from and return the one behind what they read, or NULL if
 * it is not JSON. They need no bounds: PAD bytes on either side of a document may be read, the
 * first one behind it is zero, and no JSON contains a zero byte. Words are read as little-endian. */

#ifndef WEIR_JSON_H
#define WEIR_JSON_H

#include <Python.h>
#include <float.h>
#include <stdint.h>
#include <string.h>

#include "_xxh3.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || FLT_EVAL_METHOD != 0
#error "without little-endian words and plain doubles, features are read in Python"
#endif

enum { PAD = 16 };
enum { FINITE = 300 }; /* powers of ten below are finite for certain */

typedef struct {
    const uint8_t *at;
    size_t size;
    int escaped, halved; /* halved: it contains half a surrogate pair */
} Text;

typedef struct {
    uint64_t digits;  /* as an integer, if there are at most 19 */
    int64_t count;    /* number of digits */
    int64_t exponent; /* value = digits * 10^exponent */
    int negative, whole;
} Number;

/* --- Characters ------------------------------------------------------------------------------ */

static inline const uint8_t *
skip_blank(const uint8_t *p)
{
    while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t') {
        p++;
    }
    return p;
}

static inline int
is_digit(uint8_t byte)
{
    return (uint8_t)(byte - '0') < 10;
}

/* The four digits after \u, or -1. */
static int
hexadecimal(const uint8_t *p)
{
    int code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = is_digit(p[i])                            ? p[i] - '0'
                    : (uint8_t)((p[i] | 32) - 'a') < 6 ? (p[i] | 32) - 'a' + 10
                                                              : -1;
        if (digit < 0) {
            return -1;
        }
        code = code << 4 | digit;
    }
    return code;
}

/* Skips an escape, or two if they are a surrogate pair. */
static const uint8_t *
check_escape(const uint8_t *p, Text *text)
{
    if (p[1] != 'u') {
        return p[1] != 0 && strchr("\"\\/bfnrt", p[1]) != NULL ? p + 2 : NULL;
    }
    int code = hexadecimal(p + 2);
    if (code < 0) {
        return NULL;
    }
    if ((code & 0xF800) != 0xD800) {
        return p + 6;
    }
    int low = code < 0xDC00 && p[6] == '\\' && p[7] == 'u' ? hexadecimal(p + 8) : -1;
    if (low >= 0 && (low & 0xFC00) == 0xDC00) {
        return p + 12;
    }
    text->halved = 1;
    return p + 6;
}

/* Skips a character of two to four bytes in UTF-8 (table 3-7 of the Unicode standard). */
static const uint8_t *
check_utf8(const uint8_t *p)
{
    uint8_t low = *p == 0xE0 ? 0xA0 : *p == 0xF0 ? 0x90 : 0x80;
    uint8_t high = *p == 0xED ? 0x9F : *p == 0xF4 ? 0x8F : 0xBF;
    int more = *p < 0xC2 ? 0 : *p < 0xE0 ? 1 : *p < 0xF0 ? 2 : *p < 0xF5 ? 3 : 0;
    if (more == 0 || p[1] < low || p[1] > high) {
        return NULL;
    }
    for (int i = 2; i <= more; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return NULL;
        }
    }
    return p + 1 + more;
}

/* Sets bit 7 of bytes that are a quote, a backslash, a control character or not ASCII; above the
 * lowest such byte other bits may be set, too. */
static inline uint64_t
special(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t quote = (word ^ ones * '"') - ones, backslash = (word ^ ones * '\\') - ones;
    return (quote | backslash | (word - ones * ' ') | word) & ones * 0x80;
}

/* Reads a text, from behind its opening quote to behind its closing one. */
static inline const uint8_t *
read_text(const uint8_t *p, Text *text)
{
    text->at = p;
    text->escaped = text->halved = 0;
    for (;;) {
        uint64_t found;
        while ((found = special(load8(p))) == 0) {
            p += 8;
        }
        p += __builtin_ctzll(found) / 8;
        if (*p == '"') {
            text->size = (size_t)(p - text->at);
            return p + 1;
        }
        text->escaped |= *p == '\\';
        p = *p == '\\' ? check_escape(p, text) : check_utf8(p);
        if (p == NULL) {
            return NULL;
        }
    }
}

static uint8_t *
put_utf8(uint8_t *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (uint8_t)code;
        return to;
    }
    if (code < 0x800) {
        *to++ = (uint8_t)(0xC0 | code >> 6);
    }
    else {
        if (code < 0x10000) {
            *to++ = (uint8_t)(0xE0 | code >> 12);
        }
        else {
            *to++ = (uint8_t)(0xF0 | code >> 18);
            *to++ = (uint8_t)(0x80 | (code >> 12 & 0x3F));
        }
        *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    }
    *to++ = (uint8_t)(0x80 | (code & 0x3F));
    return to;
}

/* A validated text without escapes: itself, or a copy in `plain`, which must be as long. */
static inline Text
resolved(Text text, uint8_t *plain)
{
    if (!text.escaped) {
        return text;
    }
    uint8_t *to = plain;
    for (const uint8_t *p = text.at; p < text.at + text.size;) {
        if (*p != '\\') {
            *to++ = *p++;
        }
        else if (p[1] != 'u') {
            const char *names = "bfnrt", *name = strchr(names, p[1]);
            *to++ = name == NULL ? p[1] : (uint8_t)"\b\f\n\r\t"[name - names];
            p += 2;
        }
        else {
            uint32_t code = (uint32_t)hexadecimal(p + 2);
            p += 6;
            if ((code & 0xFC00) == 0xD800) {
                code = 0x10000 + ((code & 0x3FF) << 10) + ((uint32_t)hexadecimal(p + 2) & 0x3FF);
                p += 6;
            }
            to = put_utf8(to, code);
        }
    }
    return (Text){plain, (size_t)(to - plain), 0, 0};
}

/* --- Numbers --------------------------------------------------------------------------------- */

static inline const uint8_t *
read_digits(const uint8_t *p, Number *number)
{
    const uint8_t *first = p;
    uint64_t digits = number->digits;
    for (; is_digit(*p); p++) {
        digits = digits * 10 + (uint64_t)(*p - '0'); /* overflows above 19 digits, see count */
    }
    number->digits = digits;
    number->count += p - first;
    return p == first ? NULL : p;
}

static const uint8_t *
read_exponent(const uint8_t *p, Number *number)
{
    int negative = *p == '-';
    p += *p == '-' || *p == '+';
    if (!is_digit(*p)) {
        return NULL;
    }
    int64_t exponent = 0;
    for (; is_digit(*p); p++) {
        exponent = exponent < 1000000 ? exponent * 10 + (*p - '0') : exponent;
    }
    number->exponent += negative ? -exponent : exponent;
    return p;
}

/* Reads a number by the grammar of JSON; NULL also if it may not be finite. */
static inline const uint8_t *
read_number(const uint8_t *p, Number *number)
{
    *number = (Number){.whole = 1, .negative = *p == '-'};
    p += number->negative;
    if (*p == '0') {
        number->count = 1;
        p++;
    }
    else if ((p = read_digits(p, number)) == NULL) {
        return NULL;
    }
    if (*p == '.') {
        int64_t before = number->count;
        number->whole = 0;
        if ((p = read_digits(p + 1, number)) == NULL) {
            return NULL;
        }
        number->exponent = before - number->count;
    }
    if ((*p | 32) == 'e') {
        number->whole = 0;
        if ((p = read_exponent(p + 1, number)) == NULL) {
            return NULL;
        }
    }
    return number->count + number->exponent > FINITE ? NULL : p;
}

/* The nearest double. One operation on two exact doubles gives it (Clinger, "How to read floating
 * point numbers accurately", 1990); longer numbers are left to Python. */
static double
number_value(const Number *number, const Text *text)
{
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (number->count <= 19 && number->digits <= (uint64_t)1 << 53 && number->exponent >= -22 &&
        number->exponent <= 22) {
        double value = (double)number->digits;
        value = number->exponent < 0 ? value / power[-number->exponent]
                                     : value * power[number->exponent];
        return number->negative ? -value : value;
    }
    uint8_t *end = (uint8_t *)text->at + text->size, kept = *end; /* in the scan's own copy */
    *end = 0;
    double value = PyOS_string_to_double((const char *)text->at, NULL, NULL);
    *end = kept;
    return value;
}

#endif
