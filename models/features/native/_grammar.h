/* The grammar of JSON above texts and numbers, and what the plan does with each value on the way. */

#ifndef WEIR_GRAMMAR_H
#define WEIR_GRAMMAR_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "_json.h"
#include "_plan.h"
#include "_values.h"

enum { DEEPEST = 64 }; /* levels that are followed; orjson reads more */

static int read_inside(Scan *scan, const Text *text, const Node *node);

/* Apply an operation of the plan to a value; 0, or -1 to decline. */
static int
apply(Scan *scan, const Op *op, const Value *value, const Node *node)
{
    double number;
    Text text;
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
        if (op->flag == 0 || !only_zeros(&text)) {
            set_row(scan, op, op->column, text.at, text.size);
        }
        return 0;
    case NEXT:
        scan->counter[op->column]++;
        return 0;
    case TAG:
        if (scan->counter[op->counter] <= op->size) {
            if (text_of(scan, value, &text) < 0) {
                return -1;
            }
            uint64_t slot = scan->counter[op->counter] - 1;
            set_row(scan, op, op->column + slot, text.at, text.size);
        }
        return 0;
    case SPLIT:
    case COUNT_PARTS:
        return set_tags(scan, op, value);
    case INSIDE:
        return value->type == TEXT ? read_inside(scan, &value->text, node) : 0;
    case IDENTITY:
        scan->identity = value->text;
        return value->text.size > 0 ? 0 : -1;
    default:
        scan->present |= op->column;
        return 0;
    }
}

static const uint8_t *read_value(Scan *scan, const uint8_t *p, const Node *node);

static inline const Node *
node_at(const Plan *plan, uint64_t number)
{
    return number == 0 ? NULL : plan->node + number;
}

/* Reads one field, from the opening quote of its name to the end of its value. */
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

/* Reads a value that is neither object nor list; of these only the type. */
static inline const uint8_t *
read_scalar(const uint8_t *p, Value *value)
{
    value->text = (Text){.at = p};
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
        scan->uncertain |= value.type == NUMBER; /* it may be finite */
        return NULL;
    }
    if (node != NULL) {
        if ((node->types & (uint64_t)value.type) == 0) {
            return NULL;
        }
        const Op *end = scan->plan->op + node->op_end;
        if (value.text.halved && node->op < node->op_end) {
            return NULL;
        }
        for (const Op *op = scan->plan->op + node->op; op < end; op++) {
            if (apply(scan, op, &value, node) < 0) {
                return NULL;
            }
        }
    }
    if (value.type != OBJECT && value.type != LIST) {
        return p;
    }
    if (++scan->depth > DEEPEST) {
        scan->uncertain = 1;
        return NULL;
    }
    p = value.type == OBJECT ? read_object(scan, p, node) : read_list(scan, p, node);
    scan->depth--;
    return p;
}

/* values.embedded_json: reads the object inside a text as if it were the value at `node`;
 * 0, or -1 to decline. */
static int
read_inside(Scan *scan, const Text *text, const Node *node)
{
    uint8_t *inner = scan->inner + PAD;
    Text content = resolved(*text, inner);
    if (content.at != inner) {
        memcpy(inner, content.at, content.size);
    }
    memset(inner + content.size, 0, PAD);
    const uint8_t *first = skip_blank(inner), *end;
    if (*first != '{') {
        return 0; /* not an object, whether it is JSON or not */
    }
    int depth = scan->depth;
    scan->uncertain = 0;
    end = read_value(scan, first, NULL); /* validates it first: it may not be JSON */
    scan->depth = depth;
    if (end == NULL || skip_blank(end) != inner + content.size) {
        return scan->uncertain ? -1 : 0;
    }
    return read_object(scan, first, node) == NULL ? -1 : 0;
}

#endif
