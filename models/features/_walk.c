/* The walk down decoded requests, compiled: what reader.py does column by column, request by
 * request. models/features/native.py makes the plan; nothing else calls this.
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
    Py_ssize_t column; /* of ids_NC; of times_NT for TIME */
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

typedef struct {
    PyObject_HEAD
    PyObject *nodes;
    PyObject *number_of;
    Node *node;
    Op *op;
    double *boundary;
    int32_t *missing;
    Py_ssize_t node_count, op_count, boundary_count, columns, times, depth;
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

static int
walk_all(const Plan *plan, PyObject *requests, int32_t *ids_NC, double *times_NT)
{
    PyObject **held = PyMem_Calloc(plan->depth + 1, sizeof *held);
    if (held == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int failed = 0;
    for (Py_ssize_t n = 0; !failed && n < PyTuple_GET_SIZE(requests); n++) {
        PyObject *request = PyTuple_GET_ITEM(requests, n);
        int32_t *ids_C = ids_NC + n * plan->columns;
        double *times_T = times_NT + n * plan->times;
        if (!PyDict_Check(request)) {
            PyErr_Format(PyExc_TypeError, "request %zd of the batch is a %s, not a dict", n,
                         Py_TYPE(request)->tp_name);
            failed = 1;
            break;
        }
        memcpy(ids_C, plan->missing, plan->columns * sizeof *ids_C);
        for (Py_ssize_t t = 0; t < plan->times; t++) {
            times_T[t] = Py_NAN;
        }
        failed = walk(plan, request, held, ids_C, times_T) < 0;
    }
    for (Py_ssize_t depth = 0; depth <= plan->depth; depth++) {
        Py_XDECREF(held[depth]);
    }
    PyMem_Free(held);
    return failed ? -1 : 0;
}

static int
fits(const Py_buffer *view, Py_ssize_t count, Py_ssize_t width, size_t item)
{
    return width == 0 ? view->len == 0
                      : view->len / (Py_ssize_t)item / width == count &&
                            view->len == count * width * (Py_ssize_t)item;
}

static PyObject *
plan_fill(Plan *plan, PyObject *args)
{
    PyObject *given;
    Py_buffer ids = {0}, times = {0};
    if (!PyArg_ParseTuple(args, "Ow*w*:fill", &given, &ids, &times)) {
        return NULL;
    }
    int failed = 1;
    PyObject *requests = PySequence_Tuple(given); /* ours: no callback can change it */
    if (requests != NULL) {
        Py_ssize_t count = PyTuple_GET_SIZE(requests);
        if (!fits(&ids, count, plan->columns, sizeof(int32_t)) ||
            !fits(&times, count, plan->times, sizeof(double))) {
            PyErr_SetString(PyExc_ValueError, "fill: a buffer has not the plan's shape");
        }
        else {
            failed = walk_all(plan, requests, ids.buf, times.buf) < 0;
        }
        Py_DECREF(requests);
    }
    PyBuffer_Release(&ids);
    PyBuffer_Release(&times);
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
read_plan(Plan *plan, const Py_buffer *missing, const Py_buffer *boundaries)
{
    plan->columns = missing->len / (Py_ssize_t)sizeof(int32_t);
    plan->boundary_count = boundaries->len / (Py_ssize_t)sizeof(double);
    plan->node_count = PyTuple_GET_SIZE(plan->nodes);
    plan->node = PyMem_Calloc(plan->node_count + 1, sizeof(Node));
    if (plan->times < 0 || plan->node == NULL) {
        return plan->node == NULL ? (PyErr_NoMemory(), -1) : bad_plan("times is negative");
    }
    if ((plan->missing = copied(missing)) == NULL || (plan->boundary = copied(boundaries)) == NULL) {
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
    PyObject *nodes, *number_of;
    Py_buffer missing = {0}, boundaries = {0};
    Py_ssize_t times;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Plan takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!y*y*nO:Plan", &PyTuple_Type, &nodes, &missing, &boundaries,
                          &times, &number_of)) {
        return NULL;
    }
    Plan *plan = (Plan *)type->tp_alloc(type, 0);
    if (plan != NULL) {
        plan->nodes = Py_NewRef(nodes);
        plan->number_of = Py_NewRef(number_of);
        plan->times = times;
        if (read_plan(plan, &missing, &boundaries) < 0) {
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
    type->tp_free(plan);
    Py_DECREF(type);
}

static PyMethodDef plan_methods[] = {
    {"fill", (PyCFunction)plan_fill, METH_VARARGS,
     "fill(requests, ids_NC, times_NT): write N requests' ids (int32) and times (float64)."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "Plan(nodes, missing_C, boundaries, times, number_of): see native.py."},
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
