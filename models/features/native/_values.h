/* What a value means to a feature: its text, number, row and tags; the same as in
 * models/features/values.py. */

#ifndef WEIR_VALUES_H
#define WEIR_VALUES_H

#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "_json.h"
#include "_plan.h"

enum { TEXT = 1, NUMBER = 2, BOOLEAN = 4, NOTHING = 8, OBJECT = 16, LIST = 32 }; /* types */

typedef struct {
    int type;
    int truth;
    Text text; /* of a number: its characters */
    Number number;
} Value;

/* State of one scan. Scans share none, since another may run while an allocation calls Python. */
typedef struct {
    const Plan *plan;
    uint8_t *document; /* the value, with PAD bytes on either side */
    uint8_t *plain;    /* the last text with escapes, unescaped */
    uint8_t *inner;    /* content of the last text with JSON inside, PAD bytes on either side */
    uint64_t *seen;    /* per slot of the plan: number of the last object with its field */
    uint64_t object;   /* number of the last object */
    uint64_t *counter;
    double *times_T;
    int32_t *ids_E;
    uint64_t present;
    Text identity;
    int depth;
    int uncertain; /* whether what was rejected may be JSON after all */
    char digits[32];
} Scan;

/* float() of a text, NaN if it is not a number; 0, or -1 on error. */
static int
spelled_number(const Scan *scan, Text text, double *result)
{
    Number number;
    const uint8_t *end = read_number(text.at, &number);
    if (end == text.at + text.size) {
        *result = number_value(&number, &text);
        return 0;
    }
    text = resolved(text, scan->plain);
    PyObject *spelling = PyUnicode_DecodeUTF8((const char *)text.at, (Py_ssize_t)text.size, NULL);
    PyObject *found = spelling == NULL ? NULL : PyFloat_FromString(spelling);
    Py_XDECREF(spelling);
    if (found != NULL) {
        *result = PyFloat_AS_DOUBLE(found);
        Py_DECREF(found);
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* values.number_of; 0, or -1 on error. */
static inline int
number_of(const Scan *scan, const Value *value, double *result)
{
    *result = Py_NAN;
    if (value->type == NUMBER) {
        *result = number_value(&value->number, &value->text);
    }
    else if (value->type == BOOLEAN) {
        *result = value->truth;
    }
    else if (value->type == TEXT && value->text.size > 0) {
        return spelled_number(scan, value->text, result);
    }
    return 0;
}

/* Writes the bucket of a finite number: the number of boundaries <= it. Of several values the
 * first that is not missing counts. */
static inline void
set_bucket(const Scan *scan, uint64_t column, uint64_t first, uint64_t size, double value)
{
    if (!isfinite(value) || scan->ids_E[column] != scan->plan->missing[column]) {
        return;
    }
    const double *low = scan->plan->boundary + first, *from = low;
    while (size > 1) {
        uint64_t half = size / 2;
        low += low[half - 1] <= value ? half : 0;
        size -= half;
    }
    low += size == 1 && *low <= value;
    scan->ids_E[column] += 1 + (int32_t)(low - from);
}

/* Writes RowMemo.row_of a text; of several the first that is not missing counts. */
static inline void
set_row(const Scan *scan, const Op *op, uint64_t column, const uint8_t *at, size_t size)
{
    if (size == 0 || scan->ids_E[column] != scan->plan->missing[column]) {
        return;
    }
    uint64_t bucket = op->buckets == 1 ? 0 : xxh3(at, size, op->seed) % op->buckets;
    scan->ids_E[column] += 1 + (int32_t)bucket;
}

/* values.text_of, of a number; 0, or -1 to decline. */
static int
spell(Scan *scan, const Value *value, Text *text)
{
    const Number *number = &value->number;
    *text = value->text;
    if (number->whole) {
        int zero = number->negative && number->digits == 0;
        text->at += zero;
        text->size -= (size_t)zero;
        return number->count < 19 || (number->count == 19 && !number->negative) ? 0 : -1;
    }
    double rounded = number_value(number, &value->text);
    if (rounded == floor(rounded)) {
        int size = snprintf(scan->digits, sizeof scan->digits, "%.0f", rounded == 0 ? 0.0 : rounded);
        *text = (Text){.at = (const uint8_t *)scan->digits, .size = (size_t)size};
        return fabs(rounded) < 1e15 ? 0 : -1;
    }
    char *shortest = PyOS_double_to_string(rounded, 'r', 0, 0, NULL);
    size_t size = shortest == NULL ? sizeof scan->digits : strlen(shortest);
    int fits = size < sizeof scan->digits;
    if (fits) {
        memcpy(scan->digits, shortest, size);
        *text = (Text){.at = (const uint8_t *)scan->digits, .size = size};
    }
    PyMem_Free(shortest);
    return fits ? 0 : -1;
}

/* values.text_of: the text that a value is hashed by, empty if it has none; 0, or -1 to decline. */
static int
text_of(Scan *scan, const Value *value, Text *text)
{
    *text = (Text){.at = (const uint8_t *)""};
    if (value->type == TEXT) {
        *text = resolved(value->text, scan->plain);
    }
    else if (value->type == BOOLEAN) {
        *text = (Text){.at = (const uint8_t *)(value->truth ? "1" : "0"), .size = 1};
    }
    else if (value->type == NUMBER) {
        return spell(scan, value, text);
    }
    return 0;
}

static uint32_t
code_at(const uint8_t *p)
{
    return p[0] < 0x80   ? p[0]
           : p[0] < 0xE0 ? (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu)
           : p[0] < 0xF0 ? (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu)
                         : (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 |
                               (p[3] & 0x3Fu);
}

/* str.strip of a text in UTF-8. */
static Text
stripped(const uint8_t *at, const uint8_t *end)
{
    while (at < end && Py_UNICODE_ISSPACE(code_at(at))) {
        do {
            at++;
        } while (at < end && (*at & 0xC0) == 0x80);
    }
    while (end > at) {
        const uint8_t *last = end - 1;
        while (last > at && (*last & 0xC0) == 0x80) {
            last--;
        }
        if (!Py_UNICODE_ISSPACE(code_at(last))) {
            break;
        }
        end = last;
    }
    return (Text){.at = at, .size = (size_t)(end - at)};
}

/* Whether a text has nothing but zeros and hyphens. */
static int
only_zeros(const Text *text)
{
    size_t i = 0;
    while (i < text->size && (text->at[i] == '0' || text->at[i] == '-')) {
        i++;
    }
    return i == text->size;
}

/* Writes a tag into the next slot. */
static inline void
set_tag(const Scan *scan, const Op *op, const Text *tag)
{
    uint64_t slot = scan->counter[op->counter]++;
    if (slot < op->size) {
        set_row(scan, op, op->column + slot, tag->at, tag->size);
    }
}

/* values.tags_of: writes or counts the tags of a value; 0, or -1 to decline. */
static int
set_tags(Scan *scan, const Op *op, const Value *value)
{
    Text text = {0};
    if (value->type != TEXT) {
        if ((value->type & (NUMBER | BOOLEAN)) != 0) {
            if (op->kind == SPLIT && text_of(scan, value, &text) < 0) {
                return -1;
            }
            set_tag(scan, op, &text);
        }
        return 0;
    }
    text = resolved(value->text, scan->plain);
    const uint8_t *separator = scan->plan->names + op->first, *end = text.at + text.size;
    for (const uint8_t *at = text.at; at <= end;) {
        const uint8_t *stop = at;
        while (stop < end && ((size_t)(end - stop) < op->flag ||
                              memcmp(stop, separator, op->flag) != 0)) {
            stop++;
        }
        Text tag = stripped(at, stop);
        if (tag.size > 0) {
            set_tag(scan, op, &tag);
        }
        at = stop < end ? stop + op->flag : end + 1;
    }
    return 0;
}

#endif
