/* The scanner: from the bytes of bid requests to ids, without decoding them.
 * models/features/scanner.py calls it with a plan that models/features/plan.py builds.
 *
 * One pass reads a value as strictly as orjson does, follows the plan's paths and validates the
 * rest. Rows start as "missing"; only what is found is written. The scanner declines every value
 * with anything unusual (not JSON, not a bid request, a field of the plan given twice, an escaped
 * field name beside one, half a surrogate pair in a value that is read); the caller then uses the
 * reference reader. So it may decline too often, but must never read a value differently from the
 * reference.
 *
 * _json.h reads texts and numbers, _plan.h defines the plan, _values.h turns values into rows,
 * _grammar.h reads objects and lists, _request.h a whole request; here is the Python module. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "_json.h"
#include "_plan.h"
#include "_request.h"
#include "_values.h"

/* The output and time arrays of one call, N values each. */
typedef struct {
    Py_buffer times, ids, hashes;
} Arrays;

/* The request id in value n as a str, or None if it is declined; NULL on error. */
static PyObject *
scan_value(Scan *scan, PyObject *value, Py_ssize_t max_bytes, const Arrays *arrays, size_t n)
{
    const Plan *plan = scan->plan;
    if (!PyBytes_CheckExact(value) || PyBytes_GET_SIZE(value) > max_bytes) {
        Py_RETURN_NONE;
    }
    int64_t record_ms = ((const int64_t *)arrays->times.buf)[n];
    if (!scan_request(scan, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value),
                      record_ms)) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    memcpy((int32_t *)arrays->ids.buf + n * plan->visible, scan->ids_E,
           plan->visible * sizeof *scan->ids_E);
    Text id = resolved(scan->identity, scan->plain);
    ((uint64_t *)arrays->hashes.buf)[n] = xxh3(id.at, id.size, 0);
    return PyUnicode_DecodeUTF8((const char *)id.at, (Py_ssize_t)id.size, NULL);
}

static PyObject *
scan_values(Scan *scan, PyObject *values, Py_ssize_t max_bytes, const Arrays *arrays)
{
    PyObject *identities = PyList_New(PyTuple_GET_SIZE(values));
    for (Py_ssize_t n = 0; identities != NULL && n < PyTuple_GET_SIZE(values); n++) {
        PyObject *id =
            scan_value(scan, PyTuple_GET_ITEM(values, n), max_bytes, arrays, (size_t)n);
        if (id == NULL) {
            Py_CLEAR(identities);
        }
        else {
            PyList_SET_ITEM(identities, n, id);
        }
    }
    return identities;
}

/* Scans with buffers that fit the longest value; they belong to this call alone. */
static PyObject *
scan_with_buffers(const Plan *plan, PyObject *values, Py_ssize_t max_bytes, const Arrays *arrays)
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
        .document = PyMem_Calloc(room, 1),
        .plain = PyMem_Malloc(room),
        .inner = PyMem_Calloc(room, 1),
        .seen = PyMem_Calloc(plan->mask + 1, sizeof *scan.seen),
        .counter = PyMem_Calloc(plan->counters + 1, sizeof *scan.counter),
        .times_T = PyMem_Calloc(plan->time_slots, sizeof *scan.times_T),
        .ids_E = PyMem_Calloc(plan->columns + 1, sizeof *scan.ids_E),
    };
    void *owned[] = {scan.document, scan.plain,   scan.inner, scan.seen,
                     scan.counter,  scan.times_T, scan.ids_E};
    size_t allocated = 0;
    while (allocated < sizeof owned / sizeof owned[0] && owned[allocated] != NULL) {
        allocated++;
    }
    PyObject *identities = NULL;
    if (allocated < sizeof owned / sizeof owned[0]) {
        PyErr_NoMemory();
    }
    else {
        scan.document += PAD;
        identities = scan_values(&scan, values, max_bytes, arrays);
    }
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
        PyMem_Free(owned[i]);
    }
    return identities;
}

static PyObject *
plan_scan(Plan *plan, PyObject *args)
{
    PyObject *given, *identities = NULL;
    Py_ssize_t max_bytes;
    Arrays arrays = {0};
    if (!PyArg_ParseTuple(args, "Ony*w*w*:scan", &given, &max_bytes, &arrays.times, &arrays.ids,
                          &arrays.hashes)) {
        return NULL;
    }
    PyObject *values = PySequence_Tuple(given); /* a copy that nobody can change */
    if (values != NULL) {
        size_t count = (size_t)PyTuple_GET_SIZE(values);
        if ((size_t)arrays.ids.len != count * plan->visible * sizeof(int32_t) ||
            (size_t)arrays.hashes.len != count * sizeof(uint64_t) ||
            (size_t)arrays.times.len != count * sizeof(int64_t)) {
            PyErr_SetString(PyExc_ValueError,
                            "scan: times_N, ids_NC or hashes_N has the wrong shape");
        }
        else {
            identities = scan_with_buffers(plan, values, max_bytes, &arrays);
        }
        Py_DECREF(values);
    }
    PyBuffer_Release(&arrays.times);
    PyBuffer_Release(&arrays.ids);
    PyBuffer_Release(&arrays.hashes);
    return identities;
}

/* --- The module ------------------------------------------------------------------------------ */

static PyObject *
plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *arrays;
    Py_ssize_t visible, time_slots, counters;
    unsigned long long required;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Plan takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!nnnK:Plan", &PyTuple_Type, &arrays, &visible,
                          &time_slots, &counters, &required)) {
        return NULL;
    }
    if (visible < 0 || time_slots < 0 || counters < 0) {
        PyErr_SetString(PyExc_ValueError,
                        "plan: visible, time_slots and counters must not be negative");
        return NULL;
    }
    Plan *plan = (Plan *)type->tp_alloc(type, 0);
    if (plan != NULL) {
        plan->visible = (size_t)visible;
        plan->time_slots = (size_t)time_slots;
        plan->counters = (size_t)counters;
        plan->required = required;
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
    void *owned[] = {plan->node, plan->op,      plan->field,  plan->element, plan->names,
                     plan->slot, plan->missing, plan->time,   plan->choice,  plan->count,
                     plan->part, plan->cross,   plan->boundary, plan->fallback};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
        PyMem_Free(owned[i]);
    }
    type->tp_free(plan);
    Py_DECREF(type);
}

static PyMethodDef plan_methods[] = {
    {"scan", (PyCFunction)plan_scan, METH_VARARGS,
     "scan(values, max_bytes, times_N, ids_NC, hashes_N): writes feature ids and hashes; returns "
     "request ids, None for each value that was declined."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "Plan(arrays, visible, time_slots, counters, required): see models/features/plan.py."},
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
    .m_doc = "Reads the ids of bid requests from their bytes.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__scan(void)
{
    return PyModuleDef_Init(&module_def);
}
