/* The plan of a scan: records of unsigned 64-bit words, as models/features/plan.py writes them. They
 * are validated once, so that a scan need not check indices. */

#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "_json.h"

/* Operations on a value; the same numbers as plan.OpCode, which explains them. */
enum { BUCKET, TIME, ROW, NEXT, TAG, SPLIT, COUNT_PARTS, INSIDE, IDENTITY, PRESENT, OP_CODES };

/* A place in a request. Node 0 means none, node 1 is the request itself. */
typedef struct {
    uint64_t types;       /* of values that are not declined */
    uint64_t op, op_end;  /* operations on the value */
    uint64_t field_count; /* number of fields with nodes of their own */
    uint64_t element, element_end; /* elements of a list with nodes of their own, by index */
    uint64_t rest;                 /* the node of all other elements */
} Node;

typedef struct {
    uint64_t kind;
    uint64_t column;  /* of ids_E; TIME: of times_T; NEXT: a counter; PRESENT: bits */
    uint64_t first;   /* BUCKET: its first boundary; SPLIT, COUNT_PARTS: its separator */
    uint64_t size;    /* BUCKET: number of boundaries; TAG, SPLIT: number of slots */
    uint64_t buckets; /* ROW, TAG, SPLIT: number of hash buckets */
    uint64_t seed;    /* ROW, TAG, SPLIT: seed of the hash */
    uint64_t counter; /* TAG, SPLIT, COUNT_PARTS: of elements so far */
    uint64_t flag;    /* ROW: zeros are missing; SPLIT, COUNT_PARTS: length of the separator */
} Op;

typedef struct {
    uint64_t parent, name, size, node; /* name: index in `names` */
} Field;

typedef struct {
    uint64_t index, node;
} Element;

enum { HOUR_OF_DAY, DAY_OF_WEEK, HOUR_OF_WEEK, CALENDAR };
enum { RECORD_TIME }; /* slot of times_T that holds the timestamp of the record */

/* Of its choices, the first valid time in [time, shift) and UTC offset in [shift, end) count. */
typedef struct {
    uint64_t column, time, shift, end, part;
} Time;

typedef struct {
    uint64_t column, counter, first, size;
} Count;

/* Columns to copy to the feature's own ones if these are all missing. */
typedef struct {
    uint64_t to, from, slots;
} Fallback;

typedef struct {
    uint64_t column, seed, buckets, part, part_end;
} Cross;

/* A field in the hash table. */
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
    uint8_t *names; /* of fields; also separators */
    double *boundary;
    int32_t *missing; /* of E columns, of which the first `visible` are returned */
    Time *time;
    uint64_t *choice; /* columns of times_T */
    Count *count;
    Fallback *fallback;
    Cross *cross;
    uint64_t *part; /* columns of the crosses' parts */
    size_t nodes, ops, fields, elements, name_bytes, boundaries, columns, times, choices;
    size_t counts, fallbacks, crosses, parts, visible;
    Slot *slot;        /* a hash table with open addressing */
    size_t mask;       /* number of slots minus one */
    size_t time_slots; /* of times_T */
    size_t counters;
    uint64_t required; /* bits that a bid request sets */
} Plan;

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

/* The slot of a field of `parent`, or the free one where it would be. */
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

static int
within(uint64_t first, uint64_t count, uint64_t limit)
{
    return count <= limit && first <= limit - count;
}

static int
op_is_valid(const Plan *plan, const Op *op)
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
        return within(op->column, 1, plan->time_slots);
    case ROW:
        return within(op->column, 1, plan->columns);
    case NEXT:
        return within(op->column, 1, plan->counters);
    case TAG:
        return within(op->column, op->size, plan->columns) &&
               within(op->counter, 1, plan->counters);
    case SPLIT:
    case COUNT_PARTS:
        return within(op->column, op->size, plan->columns) &&
               within(op->counter, 1, plan->counters) && op->flag > 0 &&
               within(op->first, op->flag, plan->name_bytes);
    default:
        return op->kind < OP_CODES;
    }
}

static int
tree_is_valid(const Plan *plan)
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
rest_is_valid(const Plan *plan)
{
    for (size_t i = 0; i < plan->times; i++) {
        const Time *time = plan->time + i;
        if (time->column >= plan->columns || time->time > time->shift ||
            time->shift > time->end || time->end > plan->choices || time->part >= CALENDAR) {
            return 0;
        }
    }
    for (size_t i = 0; i < plan->choices; i++) {
        if (plan->choice[i] >= plan->time_slots) {
            return 0;
        }
    }
    for (size_t i = 0; i < plan->fallbacks; i++) {
        const Fallback *fallback = plan->fallback + i;
        if (!within(fallback->to, fallback->slots, plan->columns) ||
            !within(fallback->from, fallback->slots, plan->columns)) {
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
    return plan->visible <= plan->columns && plan->time_slots > RECORD_TIME;
}

/* Puts every field into the hash table, which stays half empty. */
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

/* Copies an array of the plan from a buffer, with padding behind it; *count is in items. */
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
        {&plan->time, sizeof(Time), &plan->times},
        {&plan->choice, sizeof(uint64_t), &plan->choices},
        {&plan->count, sizeof(Count), &plan->counts},
        {&plan->fallback, sizeof(Fallback), &plan->fallbacks},
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
        if (!op_is_valid(plan, plan->op + i)) {
            PyErr_Format(PyExc_ValueError, "plan: op %zu is outside its arrays", i);
            return -1;
        }
    }
    if (!tree_is_valid(plan) || !rest_is_valid(plan)) {
        PyErr_SetString(PyExc_ValueError, "plan: a record is outside its arrays");
        return -1;
    }
    return place_fields(plan);
}

#endif
