/* Extraction, compiled: what reader.py does column by column, request by request.
 * models/features/native.py makes the plan; nothing else calls this.
 *
 * A plan is a tree of paths in preorder. Every node knows its depth and where its subtree ends,
 * so a request is walked without recursion, each nested object is fetched once, and what is
 * absent is skipped with all that lies below it. Rows start as "missing"; only what is there
 * is written.
 *
 * References: the plan's own objects are kept by the tuple `nodes`. During a walk, `held` owns
 * the value at each depth, for a callback may do anything to the containers it came from.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { NUMBER, TIME, ROW, TAGS, COUNT, KINDS };

typedef struct {
    int kind;
    Py_ssize_t column; /* of ids_NC; of times_T for TIME */
    Py_ssize_t first;  /* NUMBER, COUNT: its first boundary */
    Py_ssize_t size;   /* NUMBER, COUNT: how many boundaries; TAGS: how many slots */
    PyObject *memo;    /* ROW, TAGS: the RowMemo */
    PyObject *list_of; /* TAGS, COUNT: from the value to the list it stands for; None: itself */
} Op;

typedef struct {
    PyObject *key;    /* a field of an object, or NULL for an element of a list */
    Py_ssize_t index; /* of that element */
    Py_ssize_t depth; /* 1 for a field of the request */
    Py_ssize_t end;   /* the node after the subtree */
    Py_ssize_t op, op_end;
} Node;

enum { HOUR_OF_DAY, DAY_OF_WEEK, HOUR_OF_WEEK, PARTS };

typedef struct {
    int part;
    Py_ssize_t column, time, shift; /* shift: where the minutes to add are, or -1 */
} Time;

typedef struct {
    Py_ssize_t column, part, part_end;
    unsigned long long seed, buckets;
} Cross;

typedef struct {
    PyObject_HEAD
    PyObject *nodes;
    PyObject *number_of;
    Node *node;
    Op *op;
    double *boundary;
    int32_t *missing;
    Time *time;
    Cross *cross;
    Py_ssize_t *part; /* columns of the crosses' parts */
    Py_ssize_t node_count, boundary_count, time_count, cross_count, columns, times, depth;
} Plan;

/* --- One walk -------------------------------------------------------------------------------- */

/* 1 and a new reference, 0 if there is none, -1 on error. */
static int
child(PyObject *parent, const Node *node, PyObject **value)
{
    if (node->key != NULL) {
        /* The request itself may be of any kind of dict. */
        if (!(PyDict_CheckExact(parent) || (node->depth == 1 && PyDict_Check(parent)))) {
            return 0;
        }
        *value = PyDict_GetItemWithError(parent, node->key);
        if (*value == NULL) {
            return PyErr_Occurred() ? -1 : 0;
        }
    }
    else {
        if (!PyList_CheckExact(parent) || node->index >= PyList_GET_SIZE(parent)) {
            return 0;
        }
        *value = PyList_GET_ITEM(parent, node->index);
    }
    Py_INCREF(*value);
    return 1;
}

/* values.number_of; only texts and the like go back to it. */
static int
number(const Plan *plan, PyObject *value, double *result)
{
    if (PyFloat_CheckExact(value)) {
        *result = PyFloat_AS_DOUBLE(value);
        return 0;
    }
    if (PyLong_CheckExact(value) || PyBool_Check(value)) {
        *result = PyLong_AsDouble(value);
        if (*result == -1.0 && PyErr_Occurred()) {
            if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
                return -1;
            }
            PyErr_Clear();
            *result = Py_NAN;
        }
        return 0;
    }
    PyObject *said = PyObject_CallOneArg(plan->number_of, value);
    if (said == NULL) {
        return -1;
    }
    *result = PyFloat_AsDouble(said);
    Py_DECREF(said);
    return *result == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* The bucket after "missing" that a finite number falls into: how many boundaries are <= it. */
static void
bucket(const Plan *plan, const Op *op, double value, int32_t *ids_C)
{
    const double *low = plan->boundary + op->first;
    Py_ssize_t count = op->size;
    if (!isfinite(value)) {
        return;
    }
    while (count > 0) {
        Py_ssize_t half = count / 2;
        if (low[half] <= value) {
            low += half + 1;
            count -= half + 1;
        }
        else {
            count = half;
        }
    }
    ids_C[op->column] += 1 + (int32_t)(low - (plan->boundary + op->first));
}

/* The row of a hashed value: what the memo has, computes, or says of what cannot be a key. */
static int
hashed(PyObject *memo, PyObject *value, int32_t *id)
{
    if (value == Py_None) {
        return 0;
    }
    PyObject *row = PyDict_GetItemWithError(memo, value);
    if (row != NULL) {
        Py_INCREF(row);
    }
    else if (!PyErr_Occurred()) {
        row = PyObject_GetItem(memo, value);
    }
    if (row == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        row = PyObject_CallMethod(memo, "row_of", "(O)", value);
    }
    if (row == NULL) {
        return -1;
    }
    long known = PyLong_AsLong(row);
    Py_DECREF(row);
    if (known == -1 && PyErr_Occurred()) {
        return -1;
    }
    *id = (int32_t)known;
    return 0;
}

/* A new reference to the list that a value stands for; Py_None if it stands for none. */
static PyObject *
listed(const Op *op, PyObject *value)
{
    PyObject *list = op->list_of == Py_None ? Py_NewRef(value)
                                            : PyObject_CallOneArg(op->list_of, value);
    if (list != NULL && !PyList_CheckExact(list)) {
        Py_SETREF(list, Py_NewRef(Py_None));
    }
    return list;
}

static int
tags(const Op *op, PyObject *value, int32_t *ids_C)
{
    PyObject *list = listed(op, value);
    if (list == NULL) {
        return -1;
    }
    int failed = 0;
    for (Py_ssize_t i = 0; list != Py_None && !failed && i < op->size; i++) {
        if (i >= PyList_GET_SIZE(list)) {
            break;
        }
        PyObject *tag = Py_NewRef(PyList_GET_ITEM(list, i));
        failed = hashed(op->memo, tag, ids_C + op->column + i) < 0;
        Py_DECREF(tag);
    }
    Py_DECREF(list);
    return failed ? -1 : 0;
}

static int
counted(const Plan *plan, const Op *op, PyObject *value, int32_t *ids_C)
{
    PyObject *list = listed(op, value);
    if (list == NULL) {
        return -1;
    }
    if (list != Py_None && PyList_GET_SIZE(list) > 0) {
        bucket(plan, op, (double)PyList_GET_SIZE(list), ids_C);
    }
    Py_DECREF(list);
    return 0;
}

static int
apply(const Plan *plan, const Op *op, PyObject *value, int32_t *ids_C, double *times_T)
{
    double said = Py_NAN;
    switch (op->kind) {
    case NUMBER:
        if (number(plan, value, &said) < 0) {
            return -1;
        }
        bucket(plan, op, said, ids_C);
        return 0;
    case TIME:
        return number(plan, value, times_T + op->column);
    case ROW:
        return hashed(op->memo, value, ids_C + op->column);
    case TAGS:
        return tags(op, value, ids_C);
    default:
        return counted(plan, op, value, ids_C);
    }
}

static int
walk(const Plan *plan, PyObject *request, PyObject **held, int32_t *ids_C, double *times_T)
{
    Py_XSETREF(held[0], Py_NewRef(request));
    for (Py_ssize_t i = 0; i < plan->node_count;) {
        const Node *node = plan->node + i;
        PyObject *value = NULL;
        int found = child(held[node->depth - 1], node, &value);
        if (found < 0) {
            return -1;
        }
        if (found == 0) {
            i = node->end;
            continue;
        }
        Py_XSETREF(held[node->depth], value);
        if (value == Py_None) { /* missing, as is all below it */
            i = node->end;
            continue;
        }
        for (Py_ssize_t op = node->op; op < node->op_end; op++) {
            if (apply(plan, plan->op + op, value, ids_C, times_T) < 0) {
                return -1;
            }
        }
        i++;
    }
    return 0;
}

static int64_t
calendar(double ms, int part)
{
    int64_t hour = (int64_t)floor(ms / 3600000.0) % 24;
    int64_t day = ((int64_t)floor(ms / 86400000.0) + 3) % 7; /* 1970-01-01 was a Thursday */
    hour += hour < 0 ? 24 : 0;
    day += day < 0 ? 7 : 0;
    return part == HOUR_OF_DAY ? hour : part == DAY_OF_WEEK ? day : day * 24 + hour;
}

static void
set_times(const Plan *plan, const double *times_T, int32_t *ids_C)
{
    for (const Time *time = plan->time; time < plan->time + plan->time_count; time++) {
        double ms = times_T[time->time];
        if (time->shift >= 0 && isfinite(times_T[time->shift])) {
            volatile double shift = times_T[time->shift] * 60000.0; /* no fused multiply-add */
            ms += shift;
        }
        if (fabs(ms) < 9007199254740992.0) {
            ids_C[time->column] += 1 + (int32_t)calendar(ms, time->part);
        }
    }
}

/* values.cross_rows. */
static void
set_crosses(const Plan *plan, int32_t *ids_C)
{
    for (const Cross *cross = plan->cross; cross < plan->cross + plan->cross_count; cross++) {
        uint64_t state = cross->seed;
        int known = 1;
        for (Py_ssize_t p = cross->part; p < cross->part_end; p++) {
            Py_ssize_t column = plan->part[p];
            uint64_t row = (uint64_t)(ids_C[column] - plan->missing[column]);
            known = known && row != 0;
            state += row + 0x9E3779B97F4A7C15u;
            state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
            state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
            state ^= state >> 31;
        }
        if (known) {
            ids_C[cross->column] += 1 + (int32_t)(state % cross->buckets);
        }
    }
}

static int
fill(const Plan *plan, PyObject *requests, int32_t *ids_C, PyObject **held, double *times_T)
{
    for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(requests); n++, ids_C += plan->columns) {
        PyObject *request = PyTuple_GET_ITEM(requests, n);
        if (!PyDict_Check(request)) {
            PyErr_Format(PyExc_TypeError, "request %zd of the batch is a %s, not a dict", n,
                         Py_TYPE(request)->tp_name);
            return -1;
        }
        memcpy(ids_C, plan->missing, plan->columns * sizeof *ids_C);
        for (Py_ssize_t t = 0; t < plan->times; t++) {
            times_T[t] = Py_NAN;
        }
        if (walk(plan, request, held, ids_C, times_T) < 0) {
            return -1;
        }
        set_times(plan, times_T, ids_C);
        set_crosses(plan, ids_C);
    }
    return 0;
}

/* Room for one walk, of this call alone: a callback may come back with the same plan. */
static int
fill_with_room(const Plan *plan, PyObject *requests, int32_t *ids_NC)
{
    PyObject **held = PyMem_Calloc(plan->depth + 1, sizeof *held);
    double *times_T = PyMem_Calloc(plan->times + 1, sizeof *times_T);
    int failed = 1;
    if (held == NULL || times_T == NULL) {
        PyErr_NoMemory();
    }
    else {
        failed = fill(plan, requests, ids_NC, held, times_T) < 0;
        for (Py_ssize_t depth = 0; depth <= plan->depth; depth++) {
            Py_XDECREF(held[depth]);
        }
    }
    PyMem_Free(held);
    PyMem_Free(times_T);
    return failed ? -1 : 0;
}

static PyObject *
plan_fill(Plan *plan, PyObject *args)
{
    PyObject *given;
    Py_buffer ids = {0};
    if (!PyArg_ParseTuple(args, "Ow*:fill", &given, &ids)) {
        return NULL;
    }
    int failed = 1;
    PyObject *requests = PySequence_Tuple(given); /* ours: no callback can change it */
    if (requests != NULL) {
        Py_ssize_t width = plan->columns * (Py_ssize_t)sizeof(int32_t);
        if (ids.len % width != 0 || ids.len / width != PyTuple_GET_SIZE(requests)) {
            PyErr_SetString(PyExc_ValueError, "fill: ids_NC has not the plan's shape");
        }
        else {
            failed = fill_with_room(plan, requests, ids.buf) < 0;
        }
        Py_DECREF(requests);
    }
    PyBuffer_Release(&ids);
    if (failed) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- The plan -------------------------------------------------------------------------------- */

static int
bad_plan(const char *what)
{
    PyErr_Format(PyExc_ValueError, "plan: %s", what);
    return -1;
}

static int
read_op(const Plan *plan, PyObject *given, Op *op)
{
    if (!PyTuple_Check(given)) {
        return bad_plan("an op must be a tuple");
    }
    if (!PyArg_ParseTuple(given, "innnOO", &op->kind, &op->column, &op->first, &op->size, &op->memo,
                          &op->list_of)) {
        return -1;
    }
    int number = op->kind == NUMBER || op->kind == COUNT;
    Py_ssize_t width = op->kind == TIME ? plan->times : plan->columns;
    Py_ssize_t slots = op->kind == TAGS ? op->size : 1;
    if (op->kind < 0 || op->kind >= KINDS || slots < 1 || slots > width || op->column < 0 ||
        op->column > width - slots) {
        return bad_plan("an op of no kind, or outside the columns");
    }
    if (number && (op->first < 0 || op->size < 0 || op->first > plan->boundary_count ||
                   op->size > plan->boundary_count - op->first)) {
        return bad_plan("an op outside the boundaries");
    }
    if ((op->kind == ROW || op->kind == TAGS) && !PyDict_Check(op->memo)) {
        return bad_plan("a memo must be a dict");
    }
    return 0;
}

static int
read_node(Plan *plan, Py_ssize_t i, Py_ssize_t *op_count)
{
    Node *node = plan->node + i;
    PyObject *given = PyTuple_GET_ITEM(plan->nodes, i), *key, *ops;
    if (!PyTuple_Check(given)) {
        return bad_plan("a node must be a tuple");
    }
    if (!PyArg_ParseTuple(given, "OnnO!", &key, &node->depth, &node->end, &PyTuple_Type, &ops)) {
        return -1;
    }
    Py_ssize_t deepest = i == 0 ? 1 : plan->node[i - 1].depth + 1;
    if (node->depth < 1 || node->depth > deepest || node->end <= i ||
        node->end > plan->node_count) {
        return bad_plan("nodes must be in preorder");
    }
    node->key = PyUnicode_CheckExact(key) ? key : NULL;
    node->index = node->key == NULL ? PyLong_AsSsize_t(key) : 0;
    if (node->index < 0) {
        return PyErr_Occurred() ? -1 : bad_plan("an index must not be negative");
    }
    node->op = *op_count;
    node->op_end = *op_count += PyTuple_GET_SIZE(ops);
    plan->depth = Py_MAX(plan->depth, node->depth);
    Op *grown = PyMem_Realloc(plan->op, (*op_count + 1) * sizeof(Op));
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    plan->op = grown;
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(ops); k++) {
        if (read_op(plan, PyTuple_GET_ITEM(ops, k), plan->op + node->op + k) < 0) {
            return -1;
        }
    }
    return 0;
}

/* A skipped subtree must not leave a stale parent behind: `end` is the next node no deeper. */
static int
check_ends(const Plan *plan)
{
    for (Py_ssize_t i = 0; i < plan->node_count; i++) {
        Py_ssize_t end = i + 1;
        while (end < plan->node_count && plan->node[end].depth > plan->node[i].depth) {
            end++;
        }
        if (plan->node[i].end != end) {
            return bad_plan("a subtree must end at the next node that is no deeper");
        }
    }
    return 0;
}

static int
outside(Py_ssize_t index, Py_ssize_t count)
{
    return index < 0 || index >= count;
}

static int
read_times(Plan *plan, PyObject *given)
{
    plan->time_count = PyTuple_GET_SIZE(given);
    plan->time = PyMem_Calloc(plan->time_count + 1, sizeof(Time));
    if (plan->time == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < plan->time_count; i++) {
        Time *time = plan->time + i;
        PyObject *item = PyTuple_GET_ITEM(given, i);
        if (!PyTuple_Check(item)) {
            return bad_plan("a time must be a tuple");
        }
        if (!PyArg_ParseTuple(item, "nnni", &time->column, &time->time, &time->shift,
                              &time->part)) {
            return -1;
        }
        if (outside(time->column, plan->columns) || outside(time->time, plan->times) ||
            time->shift < -1 || time->shift >= plan->times || outside(time->part, PARTS)) {
            return bad_plan("a time outside its columns");
        }
    }
    return 0;
}

static int
read_parts(Plan *plan, Cross *cross, PyObject *given, Py_ssize_t *count)
{
    cross->part = *count;
    cross->part_end = *count += PyTuple_GET_SIZE(given);
    Py_ssize_t *grown = PyMem_Realloc(plan->part, (*count + 1) * sizeof *grown);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    plan->part = grown;
    for (Py_ssize_t p = cross->part; p < cross->part_end; p++) {
        plan->part[p] = PyLong_AsSsize_t(PyTuple_GET_ITEM(given, p - cross->part));
        if (outside(plan->part[p], plan->columns)) {
            return PyErr_Occurred() ? -1 : bad_plan("a part outside the columns");
        }
    }
    return 0;
}

static int
read_crosses(Plan *plan, PyObject *given)
{
    Py_ssize_t parts = 0;
    plan->cross_count = PyTuple_GET_SIZE(given);
    plan->cross = PyMem_Calloc(plan->cross_count + 1, sizeof(Cross));
    if (plan->cross == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < plan->cross_count; i++) {
        Cross *cross = plan->cross + i;
        PyObject *item = PyTuple_GET_ITEM(given, i), *columns;
        if (!PyTuple_Check(item)) {
            return bad_plan("a cross must be a tuple");
        }
        if (!PyArg_ParseTuple(item, "nKKO!", &cross->column, &cross->seed, &cross->buckets,
                              &PyTuple_Type, &columns) ||
            read_parts(plan, cross, columns, &parts) < 0) {
            return -1;
        }
        if (outside(cross->column, plan->columns) || cross->buckets < 1) {
            return bad_plan("a cross without buckets, or outside the columns");
        }
    }
    return 0;
}

static void *
copied(const Py_buffer *view)
{
    void *copy = PyMem_Malloc(view->len + 1);
    if (copy == NULL) {
        return PyErr_NoMemory();
    }
    memcpy(copy, view->buf, view->len);
    return copy;
}

static int
read_nodes(Plan *plan, const Py_buffer *missing, const Py_buffer *boundaries)
{
    plan->columns = missing->len / (Py_ssize_t)sizeof(int32_t);
    plan->boundary_count = boundaries->len / (Py_ssize_t)sizeof(double);
    plan->node_count = PyTuple_GET_SIZE(plan->nodes);
    if (plan->columns < 1 || plan->times < 0) {
        return bad_plan("no columns");
    }
    plan->missing = copied(missing);
    plan->boundary = copied(boundaries);
    plan->node = PyMem_Calloc(plan->node_count + 1, sizeof(Node));
    if (plan->missing == NULL || plan->boundary == NULL || plan->node == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t op_count = 0;
    for (Py_ssize_t i = 0; i < plan->node_count; i++) {
        if (read_node(plan, i, &op_count) < 0) {
            return -1;
        }
    }
    return check_ends(plan);
}

static PyObject *
plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *nodes, *times, *crosses, *number_of;
    Py_buffer missing = {0}, boundaries = {0};
    Py_ssize_t slots;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Plan takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!y*y*nO!O!O:Plan", &PyTuple_Type, &nodes, &missing, &boundaries,
                          &slots, &PyTuple_Type, &times, &PyTuple_Type, &crosses, &number_of)) {
        return NULL;
    }
    Plan *plan = (Plan *)type->tp_alloc(type, 0);
    if (plan != NULL) {
        plan->nodes = Py_NewRef(nodes);
        plan->number_of = Py_NewRef(number_of);
        plan->times = slots;
        if (read_nodes(plan, &missing, &boundaries) < 0 || read_times(plan, times) < 0 ||
            read_crosses(plan, crosses) < 0) {
            Py_CLEAR(plan);
        }
    }
    PyBuffer_Release(&missing);
    PyBuffer_Release(&boundaries);
    return (PyObject *)plan;
}

static int
plan_traverse(Plan *plan, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(plan));
    Py_VISIT(plan->nodes);
    Py_VISIT(plan->number_of);
    return 0;
}

static void
plan_dealloc(Plan *plan)
{
    PyTypeObject *type = Py_TYPE(plan);
    PyObject_GC_UnTrack(plan);
    Py_XDECREF(plan->nodes);
    Py_XDECREF(plan->number_of);
    PyMem_Free(plan->node);
    PyMem_Free(plan->op);
    PyMem_Free(plan->boundary);
    PyMem_Free(plan->missing);
    PyMem_Free(plan->time);
    PyMem_Free(plan->cross);
    PyMem_Free(plan->part);
    type->tp_free(plan);
    Py_DECREF(type);
}

static PyMethodDef plan_methods[] = {
    {"fill", (PyCFunction)plan_fill, METH_VARARGS,
     "fill(requests, ids_NC): write the ids (int32) of N requests."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "Plan(nodes, missing_C, boundaries, slots, times, crosses, number_of): see native.py."},
    {Py_tp_new, plan_new},
    {Py_tp_traverse, plan_traverse},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_methods, plan_methods},
    {0, NULL},
};

static PyType_Spec plan_spec = {
    .name = "models.features._walk.Plan",
    .basicsize = sizeof(Plan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
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
    .m_name = "_walk",
    .m_doc = "The walk down decoded requests, compiled.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__walk(void)
{
    return PyModuleDef_Init(&module_def);
}
