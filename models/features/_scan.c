/* The scanner: from the bytes of bid requests to ids, without decoding them.
 * models/features/native.py makes the plan; nothing else calls this.
 *
 * One pass reads a value as strictly as orjson does, follows the plan's paths and checks the rest.
 * Rows start as "missing"; only what is there is written. Whatever is unusual (no JSON, no bid
 * request, a field of the plan given twice, an escaped name beside one) makes it give up on that
 * value, and the caller goes the way of the reference. So it may give up too often, but must never
 * read otherwise than the reference does.
 *
 * The functions of the grammar take where to read and return where they stopped, or NULL for
 * giving up. They need no bounds: a value is copied to where zeros follow it, and a zero belongs
 * to no JSON.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are read as little-endian; without this extension features are read in Python"
#endif

#include "_xxh3.h"

enum { PAD = 16 };      /* bytes around a value that may be read */
enum { DEEPEST = 64 };  /* levels that are followed; orjson reads more */
enum { FINITE = 300 };  /* powers of ten that are surely finite */
enum { TEXT = 1, NUMBER = 2, BOOLEAN = 4, NOTHING = 8, OBJECT = 16, LIST = 32 }; /* types */

/* What is done with a value; native.py numbers them alike. */
enum { BUCKET, TIME, ROW, NEXT, TAG, SPLIT, IDENTITY, DEMAND, KINDS };

/* The plan as native.py writes it: records of unsigned words. Node 0 stands for none. */

typedef struct {
    uint64_t types;            /* those that are no reason to give up */
    uint64_t op, op_end;       /* what is done with the value */
    uint64_t field_count;      /* how many fields are followed */
    uint64_t element, element_end, rest; /* nodes of elements by index; of all others */
} Node;

typedef struct {
    uint64_t kind;
    uint64_t column;  /* of ids_C; TIME: of times_T; NEXT: a counter; DEMAND: bits */
    uint64_t first;   /* BUCKET: its first boundary; TAG: its counter; SPLIT: its separator */
    uint64_t size;    /* BUCKET: how many boundaries; TAG, SPLIT: how many slots */
    uint64_t buckets; /* ROW, TAG, SPLIT: of the hash */
    uint64_t seed;    /* ROW, TAG, SPLIT: of the hash */
    uint64_t length;  /* SPLIT: of the separator */
} Op;

typedef struct {
    uint64_t parent, name, size, node;
} Field;

typedef struct {
    uint64_t index, node;
} Element;

enum { HOUR_OF_DAY, DAY_OF_WEEK, HOUR_OF_WEEK, PARTS };

typedef struct {
    uint64_t column, time, shift, part;
} Time;

typedef struct {
    uint64_t column, counter, first, size;
} Count;

typedef struct {
    uint64_t column, seed, buckets, part, part_end;
} Cross;

/* A field where its hash puts it. */
typedef struct {
    uint64_t head, tail; /* its name's first and last bytes */
    const uint8_t *name;
    uint32_t size, parent, node;
} Slot;

typedef struct {
    PyObject_HEAD
    Node *node;
    Op *op;
    Field *field;
    Element *element;
    uint8_t *names; /* of fields; and separators */
    double *boundary;
    int32_t *missing;
    Time *time;
    Count *count;
    Cross *cross;
    uint64_t *part; /* columns of the crosses' parts */
    size_t nodes, ops, fields, elements, name_bytes, boundaries, columns, times_, counts, crosses;
    size_t parts;
    Slot *slot;
    size_t mask;      /* of slots, their number less one */
    size_t times;     /* slots of times_T; one more stays unknown */
    size_t counters;
    uint64_t demands; /* bits that a request must have set */
} Plan;

typedef struct {
    const uint8_t *at;
    size_t size;
    int escaped;
} Text;

typedef struct {
    uint64_t digits;  /* as one whole number, if they are 19 or fewer */
    int64_t count;    /* how many digits */
    int64_t exponent; /* value = digits * 10^exponent */
    int negative, whole;
} Number;

typedef struct {
    int type;
    int truth;
    Text text; /* of a number: its characters */
    Number number;
} Value;

/* One scan's own room: another may run while an allocation calls back into Python. */
typedef struct {
    const Plan *plan;
    uint8_t *document, *plain; /* `room` bytes, and PAD on either side */
    size_t room;
    uint64_t *seen;  /* for each slot, in which object its field was */
    uint64_t object; /* the number of the newest object */
    uint64_t *counter;
    double *times_T;
    int32_t *ids_C;
    uint64_t demands;
    Text identity;
    int depth;
    char said[32];
} Scan;

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

/* Past an escape, of two halves where it is a surrogate. */
static const uint8_t *
check_escape(const uint8_t *p)
{
    if (p[1] != 'u') {
        return p[1] != 0 && strchr("\"\\/bfnrt", p[1]) != NULL ? p + 2 : NULL;
    }
    int code = hexadecimal(p + 2);
    if (code < 0 || (code & 0xFC00) == 0xDC00) {
        return NULL;
    }
    if ((code & 0xFC00) != 0xD800) {
        return p + 6;
    }
    int low = p[6] == '\\' && p[7] == 'u' ? hexadecimal(p + 8) : -1;
    return low >= 0 && (low & 0xFC00) == 0xDC00 ? p + 12 : NULL;
}

/* Past one character of two to four bytes of UTF-8 (table 3-7 of the Unicode standard). */
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

/* Bit 7 of bytes that are a quote, a backslash, a control or not ASCII; above the lowest such
 * byte there may be more bits than that. */
static inline uint64_t
special(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t quote = (word ^ ones * '"') - ones, backslash = (word ^ ones * '\\') - ones;
    return (quote | backslash | (word - ones * ' ') | word) & ones * 0x80;
}

/* A text, from after its opening quote to after its closing one. */
static inline const uint8_t *
read_text(const uint8_t *p, Text *text)
{
    text->at = p;
    text->escaped = 0;
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
        p = *p == '\\' ? check_escape(p) : check_utf8(p);
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

/* What a checked text says: itself, or with its escapes resolved in `plain`. */
static Text
resolved(const Scan *scan, Text text)
{
    if (!text.escaped) {
        return text;
    }
    uint8_t *to = scan->plain;
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
    return (Text){scan->plain, (size_t)(to - scan->plain), 0};
}

/* --- Numbers --------------------------------------------------------------------------------- */

static inline const uint8_t *
read_digits(const uint8_t *p, Number *number)
{
    const uint8_t *first = p;
    uint64_t digits = number->digits;
    for (; is_digit(*p); p++) {
        digits = digits * 10 + (uint64_t)(*p - '0'); /* wraps beyond 19 digits, which count tells */
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

/* A number by the grammar of JSON; NULL also where it may not be finite. */
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

/* The nearest double. Two exact doubles give it in one operation (Clinger, "How to read floating
 * point numbers accurately", 1990); Python reads what is longer. */
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

/* values.number_of; 0, or -1 for giving up. */
static int
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
        Number number;
        const uint8_t *end = read_number(value->text.at, &number);
        if (end == value->text.at + value->text.size) {
            *result = number_value(&number, &value->text);
            return 0;
        }
        Text text = resolved(scan, value->text);
        PyObject *said = PyUnicode_DecodeUTF8((const char *)text.at, (Py_ssize_t)text.size, NULL);
        PyObject *found = said == NULL ? NULL : PyFloat_FromString(said);
        Py_XDECREF(said);
        if (found != NULL) {
            *result = PyFloat_AS_DOUBLE(found);
            Py_DECREF(found);
        }
        else if (PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
        }
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* --- Rows ------------------------------------------------------------------------------------ */

/* The bucket after "missing" that a finite number falls into: how many boundaries are <= it. */
static inline void
set_bucket(const Scan *scan, uint64_t column, uint64_t first, uint64_t size, double value)
{
    if (!isfinite(value)) {
        return;
    }
    const double *low = scan->plan->boundary + first, *from = low;
    while (size > 1) {
        uint64_t half = size / 2;
        low += low[half - 1] <= value ? half : 0;
        size -= half;
    }
    low += size == 1 && *low <= value;
    scan->ids_C[column] += 1 + (int32_t)(low - from);
}

/* RowMemo.row_of a text. */
static inline void
set_row(const Scan *scan, const Op *op, uint64_t column, const uint8_t *at, size_t size)
{
    if (size == 0) {
        return;
    }
    uint64_t bucket = op->buckets == 1 ? 0 : xxh3(at, size, op->seed) % op->buckets;
    scan->ids_C[column] += 1 + (int32_t)bucket;
}

/* values.text_of a number; 0, or -1 for giving up. */
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
    double said = number_value(number, &value->text);
    if (said == floor(said)) {
        int size = snprintf(scan->said, sizeof scan->said, "%.0f", said == 0 ? 0.0 : said);
        *text = (Text){(const uint8_t *)scan->said, (size_t)size, 0};
        return fabs(said) < 1e15 ? 0 : -1;
    }
    char *shortest = PyOS_double_to_string(said, 'r', 0, 0, NULL);
    size_t size = shortest == NULL ? sizeof scan->said : strlen(shortest);
    int fits = size < sizeof scan->said;
    if (fits) {
        memcpy(scan->said, shortest, size);
        *text = (Text){(const uint8_t *)scan->said, size, 0};
    }
    PyMem_Free(shortest);
    return fits ? 0 : -1;
}

/* The text that a value is hashed by, of no size where it has none; 0, or -1 for giving up. */
static int
text_of(Scan *scan, const Value *value, Text *text)
{
    *text = (Text){(const uint8_t *)"", 0, 0};
    if (value->type == TEXT) {
        *text = resolved(scan, value->text);
    }
    else if (value->type == BOOLEAN) {
        *text = (Text){(const uint8_t *)(value->truth ? "1" : "0"), 1, 0};
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

/* str.strip of UTF-8. */
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
    return (Text){at, (size_t)(end - at), 0};
}

/* values.split_tags, and the rows of the first ones. */
static void
set_split(const Scan *scan, const Op *op, Text text)
{
    const uint8_t *separator = scan->plan->names + op->first, *end = text.at + text.size;
    uint64_t slot = 0;
    for (const uint8_t *at = text.at; slot < op->size && at <= end;) {
        const uint8_t *stop = at;
        while (stop < end && ((size_t)(end - stop) < op->length ||
                              memcmp(stop, separator, op->length) != 0)) {
            stop++;
        }
        Text tag = stripped(at, stop);
        if (tag.size > 0) {
            set_row(scan, op, op->column + slot++, tag.at, tag.size);
        }
        at = stop < end ? stop + op->length : end + 1;
    }
}

/* Do with a value what the plan says; 0, or -1 for giving up. */
static int
apply(Scan *scan, const Op *op, const Value *value)
{
    double number;
    Text text;
    uint64_t place;
    switch (op->kind) {
    case BUCKET:
        if (number_of(scan, value, &number) < 0) {
            return -1;
        }
        set_bucket(scan, op->column, op->first, op->size, number);
        return 0;
    case TIME:
        return number_of(scan, value, scan->times_T + op->column);
    case ROW:
        if (text_of(scan, value, &text) < 0) {
            return -1;
        }
        set_row(scan, op, op->column, text.at, text.size);
        return 0;
    case NEXT:
        scan->counter[op->column]++;
        return 0;
    case TAG:
        place = scan->counter[op->first] - 1;
        if (place < op->size) {
            if (text_of(scan, value, &text) < 0) {
                return -1;
            }
            set_row(scan, op, op->column + place, text.at, text.size);
        }
        return 0;
    case SPLIT:
        if (value->type == TEXT) {
            set_split(scan, op, resolved(scan, value->text));
        }
        return 0;
    case IDENTITY:
        scan->identity = value->text;
        return value->text.size > 0 ? 0 : -1;
    default:
        scan->demands |= op->column;
        return 0;
    }
}

/* --- The grammar ----------------------------------------------------------------------------- */

static const uint8_t *read_value(Scan *scan, const uint8_t *p, const Node *node);

static inline const Node *
node_at(const Plan *plan, uint64_t number)
{
    return number == 0 ? NULL : plan->node + number;
}

static inline uint64_t
name_hash(uint64_t head, uint64_t tail, size_t size, uint64_t parent)
{
    uint64_t hash = (head ^ rotated(tail, 29) ^ (parent << 8 | size)) * PRIME64_1;
    return hash ^ hash >> 32;
}

/* The first and the last eight bytes of a name, PAD bytes around it being readable. */
static inline void
name_words(const uint8_t *at, size_t size, uint64_t *head, uint64_t *tail)
{
    *head = *tail = 0;
    if (size >= 8) {
        *head = load8(at);
        *tail = load8(at + size - 8);
    }
    else if (size > 0) {
        *head = load8(at) << 8 * (8 - size);
    }
}

/* Where in the table a field of `parent` is, or where it would be. */
static inline size_t
slot_of(const Plan *plan, uint64_t parent, const uint8_t *at, size_t size)
{
    uint64_t head, tail;
    name_words(at, size, &head, &tail);
    size_t i = name_hash(head, tail, size, parent) & plan->mask;
    for (;; i = (i + 1) & plan->mask) {
        const Slot *slot = plan->slot + i;
        if (slot->node == 0 || (slot->head == head && slot->tail == tail && slot->size == size &&
                                slot->parent == parent &&
                                (size <= 16 || memcmp(slot->name, at, size) == 0))) {
            return i;
        }
    }
}

/* One field, from its name's opening quote to the end of its value. */
static inline const uint8_t *
read_field(Scan *scan, const uint8_t *p, const Node *node, uint64_t object)
{
    Text name;
    const Node *below = NULL;
    if (*p != '"' || (p = read_text(p + 1, &name)) == NULL) {
        return NULL;
    }
    p = skip_blank(p);
    if (*p != ':') {
        return NULL;
    }
    if (node != NULL && node->field_count > 0) {
        if (name.escaped) {
            return NULL;
        }
        size_t i = slot_of(scan->plan, (uint64_t)(node - scan->plan->node), name.at, name.size);
        if (scan->plan->slot[i].node != 0) {
            if (scan->seen[i] == object) {
                return NULL;
            }
            scan->seen[i] = object;
            below = scan->plan->node + scan->plan->slot[i].node;
        }
    }
    return read_value(scan, skip_blank(p + 1), below);
}

static const uint8_t *
read_object(Scan *scan, const uint8_t *p, const Node *node)
{
    uint64_t object = ++scan->object;
    p = skip_blank(p + 1);
    if (*p == '}') {
        return p + 1;
    }
    for (;;) {
        if ((p = read_field(scan, p, node, object)) == NULL) {
            return NULL;
        }
        p = skip_blank(p);
        if (*p != ',') {
            return *p == '}' ? p + 1 : NULL;
        }
        p = skip_blank(p + 1);
    }
}

static const uint8_t *
read_list(Scan *scan, const uint8_t *p, const Node *node)
{
    const Plan *plan = scan->plan;
    const Element *element = NULL, *end = NULL;
    const Node *rest = NULL;
    if (node != NULL) {
        element = plan->element + node->element;
        end = plan->element + node->element_end;
        rest = node_at(plan, node->rest);
    }
    p = skip_blank(p + 1);
    if (*p == ']') {
        return p + 1;
    }
    for (uint64_t index = 0;; index++) {
        const Node *below = rest;
        if (element != end && element->index == index) {
            below = node_at(plan, element++->node);
        }
        if ((p = read_value(scan, p, below)) == NULL) {
            return NULL;
        }
        p = skip_blank(p);
        if (*p != ',') {
            return *p == ']' ? p + 1 : NULL;
        }
        p = skip_blank(p + 1);
    }
}

/* A value that is neither object nor list, or the mere type of one that is. */
static inline const uint8_t *
read_scalar(const uint8_t *p, Value *value)
{
    value->text = (Text){p, 0, 0};
    switch (*p) {
    case '"':
        value->type = TEXT;
        return read_text(p + 1, &value->text);
    case '{':
        value->type = OBJECT;
        return p;
    case '[':
        value->type = LIST;
        return p;
    case 't':
        value->type = BOOLEAN;
        value->truth = 1;
        return memcmp(p, "true", 4) == 0 ? p + 4 : NULL;
    case 'f':
        value->type = BOOLEAN;
        value->truth = 0;
        return memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
    case 'n':
        value->type = NOTHING;
        return memcmp(p, "null", 4) == 0 ? p + 4 : NULL;
    default:
        value->type = NUMBER;
        const uint8_t *end = read_number(p, &value->number);
        value->text.size = end == NULL ? 0 : (size_t)(end - p);
        return end;
    }
}

static const uint8_t *
read_value(Scan *scan, const uint8_t *p, const Node *node)
{
    Value value;
    if ((p = read_scalar(p, &value)) == NULL) {
        return NULL;
    }
    if (node != NULL) {
        if ((node->types & (uint64_t)value.type) == 0) {
            return NULL;
        }
        const Op *end = scan->plan->op + node->op_end;
        for (const Op *op = scan->plan->op + node->op; op < end; op++) {
            if (apply(scan, op, &value) < 0) {
                return NULL;
            }
        }
    }
    if (value.type != OBJECT && value.type != LIST) {
        return p;
    }
    if (++scan->depth > DEEPEST) {
        return NULL;
    }
    p = value.type == OBJECT ? read_object(scan, p, node) : read_list(scan, p, node);
    scan->depth--;
    return p;
}

/* --- Requests -------------------------------------------------------------------------------- */

static int64_t
calendar(double ms, uint64_t part)
{
    int64_t hour = (int64_t)floor(ms / 3600000.0) % 24;
    int64_t day = ((int64_t)floor(ms / 86400000.0) + 3) % 7; /* 1970-01-01 was a Thursday */
    hour += hour < 0 ? 24 : 0;
    day += day < 0 ? 7 : 0;
    return part == HOUR_OF_DAY ? hour : part == DAY_OF_WEEK ? day : day * 24 + hour;
}

static void
set_times(const Scan *scan)
{
    const Plan *plan = scan->plan;
    for (const Time *time = plan->time; time < plan->time + plan->times_; time++) {
        double ms = scan->times_T[time->time];
        if (isfinite(scan->times_T[time->shift])) {
            volatile double shift = scan->times_T[time->shift] * 60000.0; /* no fused add */
            ms += shift;
        }
        if (fabs(ms) < 9007199254740992.0) {
            scan->ids_C[time->column] += 1 + (int32_t)calendar(ms, time->part);
        }
    }
}

static void
set_counts(const Scan *scan)
{
    const Plan *plan = scan->plan;
    for (const Count *count = plan->count; count < plan->count + plan->counts; count++) {
        if (scan->counter[count->counter] > 0) {
            set_bucket(scan, count->column, count->first, count->size,
                       (double)scan->counter[count->counter]);
        }
    }
}

/* values.cross_rows. */
static void
set_crosses(const Scan *scan)
{
    const Plan *plan = scan->plan;
    for (const Cross *cross = plan->cross; cross < plan->cross + plan->crosses; cross++) {
        uint64_t state = cross->seed;
        int known = 1;
        for (uint64_t p = cross->part; p < cross->part_end; p++) {
            uint64_t column = plan->part[p];
            uint64_t row = (uint64_t)(scan->ids_C[column] - plan->missing[column]);
            known = known && row != 0;
            state += row + 0x9E3779B97F4A7C15u;
            state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
            state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
            state ^= state >> 31;
        }
        if (known) {
            scan->ids_C[cross->column] += 1 + (int32_t)(state % cross->buckets);
        }
    }
}

/* Whether the value is a bid request whose ids now stand in ids_C, its id in `identity`. */
static int
scan_request(Scan *scan, const char *bytes, size_t size)
{
    const Plan *plan = scan->plan;
    memcpy(scan->document, bytes, size);
    memset(scan->document + size, 0, PAD);
    memcpy(scan->ids_C, plan->missing, plan->columns * sizeof *scan->ids_C);
    memset(scan->counter, 0, plan->counters * sizeof *scan->counter);
    for (size_t t = 0; t <= plan->times; t++) {
        scan->times_T[t] = Py_NAN;
    }
    scan->demands = 0;
    scan->depth = 0;
    const uint8_t *p = read_value(scan, skip_blank(scan->document), plan->node + 1);
    if (p == NULL || skip_blank(p) != scan->document + size || scan->demands != plan->demands) {
        return 0;
    }
    set_times(scan);
    set_counts(scan);
    set_crosses(scan);
    return 1;
}

/* The id of one value as a text, or None for giving up; NULL on error. */
static PyObject *
scan_value(Scan *scan, PyObject *value, Py_ssize_t max_bytes, uint64_t *hash)
{
    if (!PyBytes_CheckExact(value) || PyBytes_GET_SIZE(value) > max_bytes) {
        Py_RETURN_NONE;
    }
    if (!scan_request(scan, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value))) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    Text id = resolved(scan, scan->identity);
    *hash = xxh3(id.at, id.size, 0);
    return PyUnicode_DecodeUTF8((const char *)id.at, (Py_ssize_t)id.size, NULL);
}

static PyObject *
scan_values(Scan *scan, PyObject *values, Py_ssize_t max_bytes, int32_t *ids_NC, uint64_t *hashes_N)
{
    PyObject *identities = PyList_New(PyTuple_GET_SIZE(values));
    for (Py_ssize_t n = 0; identities != NULL && n < PyTuple_GET_SIZE(values); n++) {
        scan->ids_C = ids_NC + (size_t)n * scan->plan->columns;
        PyObject *id = scan_value(scan, PyTuple_GET_ITEM(values, n), max_bytes, hashes_N + n);
        if (id == NULL) {
            Py_CLEAR(identities);
        }
        else {
            PyList_SET_ITEM(identities, n, id);
        }
    }
    return identities;
}

/* Room for the longest value, of this call alone. */
static PyObject *
scan_with_room(const Plan *plan, PyObject *values, Py_ssize_t max_bytes, int32_t *ids_NC,
               uint64_t *hashes_N)
{
    Py_ssize_t longest = 0;
    for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(values); n++) {
        PyObject *value = PyTuple_GET_ITEM(values, n);
        if (PyBytes_CheckExact(value) && PyBytes_GET_SIZE(value) <= max_bytes) {
            longest = Py_MAX(longest, PyBytes_GET_SIZE(value));
        }
    }
    size_t room = (size_t)longest + 2 * PAD;
    Scan scan = {
        .plan = plan,
        .document = PyMem_Malloc(room),
        .plain = PyMem_Malloc(room),
        .seen = PyMem_Calloc(plan->mask + 1, sizeof *scan.seen),
        .counter = PyMem_Calloc(plan->counters + 1, sizeof *scan.counter),
        .times_T = PyMem_Calloc(plan->times + 1, sizeof *scan.times_T),
    };
    uint8_t *document = scan.document;
    PyObject *identities = NULL;
    if (scan.document == NULL || scan.plain == NULL || scan.seen == NULL || scan.counter == NULL ||
        scan.times_T == NULL) {
        PyErr_NoMemory();
    }
    else {
        memset(scan.document, 0, PAD);
        scan.document += PAD;
        identities = scan_values(&scan, values, max_bytes, ids_NC, hashes_N);
    }
    PyMem_Free(document);
    PyMem_Free(scan.plain);
    PyMem_Free(scan.seen);
    PyMem_Free(scan.counter);
    PyMem_Free(scan.times_T);
    return identities;
}

static PyObject *
plan_scan(Plan *plan, PyObject *args)
{
    PyObject *given, *identities = NULL;
    Py_ssize_t max_bytes;
    Py_buffer ids = {0}, hashes = {0};
    if (!PyArg_ParseTuple(args, "Onw*w*:scan", &given, &max_bytes, &ids, &hashes)) {
        return NULL;
    }
    PyObject *values = PySequence_Tuple(given); /* ours: nobody can change it */
    if (values != NULL) {
        size_t count = (size_t)PyTuple_GET_SIZE(values);
        if ((size_t)ids.len != count * plan->columns * sizeof(int32_t) ||
            (size_t)hashes.len != count * sizeof(uint64_t)) {
            PyErr_SetString(PyExc_ValueError, "scan: ids_NC or hashes_N has not the right shape");
        }
        else {
            identities = scan_with_room(plan, values, max_bytes, ids.buf, hashes.buf);
        }
        Py_DECREF(values);
    }
    PyBuffer_Release(&ids);
    PyBuffer_Release(&hashes);
    return identities;
}

/* --- The plan -------------------------------------------------------------------------------- */

static int
within(uint64_t first, uint64_t count, uint64_t limit)
{
    return count <= limit && first <= limit - count;
}

static int
op_is_sound(const Plan *plan, const Op *op)
{
    int hashed = op->kind == ROW || op->kind == TAG || op->kind == SPLIT;
    if (hashed && op->buckets < 1) {
        return 0;
    }
    switch (op->kind) {
    case BUCKET:
        return within(op->column, 1, plan->columns) &&
               within(op->first, op->size, plan->boundaries);
    case TIME:
        return within(op->column, 1, plan->times);
    case ROW:
        return within(op->column, 1, plan->columns);
    case NEXT:
        return within(op->column, 1, plan->counters);
    case TAG:
        return within(op->column, op->size, plan->columns) && within(op->first, 1, plan->counters);
    case SPLIT:
        return within(op->column, op->size, plan->columns) && op->length > 0 &&
               within(op->first, op->length, plan->name_bytes);
    default:
        return op->kind < KINDS;
    }
}

static int
tree_is_sound(const Plan *plan)
{
    for (size_t i = 0; i < plan->nodes; i++) {
        const Node *node = plan->node + i;
        if (node->op > node->op_end || node->op_end > plan->ops ||
            node->element > node->element_end || node->element_end > plan->elements ||
            node->rest >= plan->nodes) {
            return 0;
        }
    }
    for (size_t i = 0; i < plan->fields; i++) {
        const Field *field = plan->field + i;
        if (field->parent >= plan->nodes || field->node < 1 || field->node >= plan->nodes ||
            !within(field->name, field->size, plan->name_bytes)) {
            return 0;
        }
    }
    for (size_t i = 0; i < plan->elements; i++) {
        if (plan->element[i].node >= plan->nodes) {
            return 0;
        }
    }
    return plan->nodes >= 2;
}

static int
rest_is_sound(const Plan *plan)
{
    for (size_t i = 0; i < plan->times_; i++) {
        const Time *time = plan->time + i;
        if (time->column >= plan->columns || time->time > plan->times ||
            time->shift > plan->times || time->part >= PARTS) {
            return 0;
        }
    }
    for (size_t i = 0; i < plan->counts; i++) {
        const Count *count = plan->count + i;
        if (count->column >= plan->columns || count->counter >= plan->counters ||
            !within(count->first, count->size, plan->boundaries)) {
            return 0;
        }
    }
    for (size_t i = 0; i < plan->crosses; i++) {
        const Cross *cross = plan->cross + i;
        if (cross->column >= plan->columns || cross->buckets < 1 || cross->part > cross->part_end ||
            cross->part_end > plan->parts) {
            return 0;
        }
    }
    for (size_t i = 0; i < plan->parts; i++) {
        if (plan->part[i] >= plan->columns) {
            return 0;
        }
    }
    return 1;
}

/* Every field into the table, which stays half empty. */
static int
place_fields(Plan *plan)
{
    size_t size = 8;
    while (size < 2 * plan->fields + 2) {
        size *= 2;
    }
    plan->mask = size - 1;
    plan->slot = PyMem_Calloc(size, sizeof(Slot));
    if (plan->slot == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (const Field *field = plan->field; field < plan->field + plan->fields; field++) {
        const uint8_t *name = plan->names + field->name;
        Slot *slot = plan->slot + slot_of(plan, field->parent, name, field->size);
        name_words(name, field->size, &slot->head, &slot->tail);
        slot->name = name;
        slot->size = (uint32_t)field->size;
        slot->parent = (uint32_t)field->parent;
        slot->node = (uint32_t)field->node;
        plan->node[field->parent].field_count++;
    }
    return 0;
}

/* An array of the plan from a buffer, with room behind it; its length is counted in items. */
static int
copy_array(PyObject *given, size_t item, void *array, size_t *count)
{
    Py_buffer view;
    if (PyObject_GetBuffer(given, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    uint8_t *copy = PyMem_Calloc((size_t)view.len + item + PAD, 1);
    if (copy != NULL) {
        memcpy(copy, view.buf, (size_t)view.len);
        memcpy(array, &copy, sizeof copy);
        *count = (size_t)view.len / item;
    }
    PyBuffer_Release(&view);
    return copy == NULL ? (PyErr_NoMemory(), -1) : 0;
}

static int
read_plan(Plan *plan, PyObject *arrays)
{
    struct {
        void *array;
        size_t item, *count;
    } all[] = {
        {&plan->node, sizeof(Node), &plan->nodes},
        {&plan->op, sizeof(Op), &plan->ops},
        {&plan->field, sizeof(Field), &plan->fields},
        {&plan->element, sizeof(Element), &plan->elements},
        {&plan->names, 1, &plan->name_bytes},
        {&plan->boundary, sizeof(double), &plan->boundaries},
        {&plan->missing, sizeof(int32_t), &plan->columns},
        {&plan->time, sizeof(Time), &plan->times_},
        {&plan->count, sizeof(Count), &plan->counts},
        {&plan->cross, sizeof(Cross), &plan->crosses},
        {&plan->part, sizeof(uint64_t), &plan->parts},
    };
    const size_t arrays_expected = sizeof all / sizeof all[0];
    if ((size_t)PyTuple_GET_SIZE(arrays) != arrays_expected) {
        PyErr_SetString(PyExc_ValueError, "plan: an array is missing");
        return -1;
    }
    for (size_t i = 0; i < arrays_expected; i++) {
        if (copy_array(PyTuple_GET_ITEM(arrays, (Py_ssize_t)i), all[i].item, all[i].array,
                       all[i].count) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < plan->ops; i++) {
        if (!op_is_sound(plan, plan->op + i)) {
            PyErr_Format(PyExc_ValueError, "plan: op %zu is outside its arrays", i);
            return -1;
        }
    }
    if (!tree_is_sound(plan) || !rest_is_sound(plan)) {
        PyErr_SetString(PyExc_ValueError, "plan: a record is outside its arrays");
        return -1;
    }
    return place_fields(plan);
}

static PyObject *
plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *arrays;
    Py_ssize_t times, counters;
    unsigned long long demands;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Plan takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!nnK:Plan", &PyTuple_Type, &arrays, &times, &counters,
                          &demands)) {
        return NULL;
    }
    if (times < 0 || counters < 0) {
        PyErr_SetString(PyExc_ValueError, "plan: times and counters must not be negative");
        return NULL;
    }
    Plan *plan = (Plan *)type->tp_alloc(type, 0);
    if (plan != NULL) {
        plan->times = (size_t)times;
        plan->counters = (size_t)counters;
        plan->demands = demands;
        if (read_plan(plan, arrays) < 0) {
            Py_CLEAR(plan);
        }
    }
    return (PyObject *)plan;
}

static void
plan_dealloc(Plan *plan)
{
    PyTypeObject *type = Py_TYPE(plan);
    void *owned[] = {plan->node,    plan->op,   plan->field, plan->element, plan->names, plan->slot,
                     plan->missing, plan->time, plan->count, plan->cross,   plan->part,
                     plan->boundary};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
        PyMem_Free(owned[i]);
    }
    type->tp_free(plan);
    Py_DECREF(type);
}

static PyMethodDef plan_methods[] = {
    {"scan", (PyCFunction)plan_scan, METH_VARARGS,
     "scan(values, max_bytes, ids_NC, hashes_N): write ids and hashes; a list of ids or None."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "Plan(arrays, times, counters, demands): see native.py."},
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_methods, plan_methods},
    {0, NULL},
};

static PyType_Spec plan_spec = {
    .name = "models.features._scan.Plan",
    .basicsize = sizeof(Plan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = plan_slots,
};

static int
module_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &plan_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_scan",
    .m_doc = "From the bytes of bid requests to ids.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__scan(void)
{
    return PyModuleDef_Init(&module_def);
}
