/* The scanner: from the bytes of bid requests to ids, without decoding them.
 * models/features/scanner.py makes the plan; nothing else calls this.
 *
 * One pass reads a value as strictly as orjson does, follows the plan's paths and checks the rest.
 * Rows start as "missing"; only what is there is written. Whatever is unusual (no JSON, no bid
 * request, a field of the plan given twice, an escaped name beside one, half a surrogate pair where
 * something is read) makes it give up on that value, and the caller goes the way of the reference.
 * So it may give up too often, but must never read otherwise than the reference does.
 *
 * _json.h reads texts and numbers, _plan.h defines the plan, _values.h turns values into rows; here
 * are the grammar above them, the request as a whole, and the module.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "_json.h"
#include "_plan.h"
#include "_values.h"

enum { DEEPEST = 64 }; /* levels that are followed; orjson reads more */

static int read_inside(Scan *scan, const Text *text, const Node *node);

/* Do with a value what the plan says; 0, or -1 for giving up. */
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
            uint64_t place = scan->counter[op->counter] - 1;
            set_row(scan, op, op->column + place, text.at, text.size);
        }
        return 0;
    case SPLIT:
    case PARTS:
        return set_parts(scan, op, value);
    case INSIDE:
        return value->type == TEXT ? read_inside(scan, &value->text, node) : 0;
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
        scan->unsure |= value.type == NUMBER; /* it may be finite */
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
        scan->unsure = 1;
        return NULL;
    }
    p = value.type == OBJECT ? read_object(scan, p, node) : read_list(scan, p, node);
    scan->depth--;
    return p;
}

/* values.inside: the fields of the object that a text says, as if it stood at `node` itself;
 * 0, or -1 for giving up. */
static int
read_inside(Scan *scan, const Text *text, const Node *node)
{
    uint8_t *inner = scan->inner + PAD;
    Text said = resolved(*text, inner);
    if (said.at != inner) {
        memcpy(inner, said.at, said.size);
    }
    memset(inner + said.size, 0, PAD);
    const uint8_t *first = skip_blank(inner), *end;
    if (*first != '{') {
        return 0; /* nothing that has fields, be it JSON or not */
    }
    int depth = scan->depth;
    scan->unsure = 0;
    end = read_value(scan, first, NULL); /* before anything is done with what may be no JSON */
    scan->depth = depth;
    if (end == NULL || skip_blank(end) != inner + said.size) {
        return scan->unsure ? -1 : 0;
    }
    return read_object(scan, first, node) == NULL ? -1 : 0;
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

/* values.milliseconds of one time. */
static double
milliseconds(double time)
{
    const double earliest = 946684800.0, latest = 4102444800.0; /* 2000 and 2100, in seconds */
    return time >= earliest && time < latest               ? time * 1e3
           : time >= earliest * 1e3 && time < latest * 1e3 ? time
           : time >= earliest * 1e6 && time < latest * 1e6 ? time / 1e3
           : time >= earliest * 1e9 && time < latest * 1e9 ? time / 1e6
                                                           : Py_NAN;
}

static void
set_times(const Scan *scan)
{
    const Plan *plan = scan->plan;
    for (const Time *time = plan->time; time < plan->time + plan->times; time++) {
        double ms = Py_NAN, minutes = Py_NAN;
        for (uint64_t c = time->time; isnan(ms) && c < time->shift; c++) {
            ms = milliseconds(scan->times_T[plan->choice[c]]);
        }
        for (uint64_t c = time->shift; isnan(minutes) && c < time->end; c++) {
            double said = scan->times_T[plan->choice[c]];
            minutes = fabs(said) <= 1440.0 ? said : Py_NAN;
        }
        volatile double shift = isnan(minutes) ? 0.0 : minutes * 60000.0; /* no fused add */
        ms += shift;
        if (!isnan(ms)) {
            scan->ids_E[time->column] += 1 + (int32_t)calendar(ms, time->part);
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

/* What later places of a feature found, where all before them found nothing. */
static void
set_fallbacks(const Scan *scan)
{
    const Plan *plan = scan->plan;
    for (const Fallback *fallback = plan->fallback; fallback < plan->fallback + plan->fallbacks;
         fallback++) {
        int32_t *to = scan->ids_E + fallback->to;
        const int32_t *missing = plan->missing + fallback->to;
        uint64_t slot = 0;
        while (slot < fallback->slots && to[slot] == missing[slot]) {
            slot++;
        }
        if (slot == fallback->slots) {
            memcpy(to, scan->ids_E + fallback->from, fallback->slots * sizeof *to);
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
            uint64_t row = (uint64_t)(scan->ids_E[column] - plan->missing[column]);
            known = known && row != 0;
            state += row + 0x9E3779B97F4A7C15u;
            state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
            state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
            state ^= state >> 31;
        }
        if (known) {
            scan->ids_E[cross->column] += 1 + (int32_t)(state % cross->buckets);
        }
    }
}

/* Whether the value is a bid request whose ids now stand in ids_E, its id in `identity`. */
static int
scan_request(Scan *scan, const char *bytes, size_t size, int64_t record_ms)
{
    const Plan *plan = scan->plan;
    memcpy(scan->document, bytes, size);
    memset(scan->document + size, 0, PAD);
    memcpy(scan->ids_E, plan->missing, plan->columns * sizeof *scan->ids_E);
    memset(scan->counter, 0, plan->counters * sizeof *scan->counter);
    for (size_t t = 0; t < plan->time_slots; t++) {
        scan->times_T[t] = Py_NAN;
    }
    scan->times_T[RECORD] = (double)record_ms;
    scan->demands = 0;
    scan->depth = 0;
    const uint8_t *p = read_value(scan, skip_blank(scan->document), plan->node + 1);
    if (p == NULL || skip_blank(p) != scan->document + size || scan->demands != plan->demands) {
        return 0;
    }
    set_times(scan);
    set_counts(scan);
    set_fallbacks(scan);
    set_crosses(scan);
    return 1;
}

/* The arrays of one call, N values each. */
typedef struct {
    Py_buffer times, ids, hashes;
} Arrays;

/* The id of value n as a text, or None for giving up; NULL on error. */
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
    memcpy((int32_t *)arrays->ids.buf + n * plan->seen, scan->ids_E,
           plan->seen * sizeof *scan->ids_E);
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

/* Room for the longest value, of this call alone. */
static PyObject *
scan_with_room(const Plan *plan, PyObject *values, Py_ssize_t max_bytes, const Arrays *arrays)
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
    size_t there = 0;
    while (there < sizeof owned / sizeof owned[0] && owned[there] != NULL) {
        there++;
    }
    PyObject *identities = NULL;
    if (there < sizeof owned / sizeof owned[0]) {
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
    PyObject *values = PySequence_Tuple(given); /* ours: nobody can change it */
    if (values != NULL) {
        size_t count = (size_t)PyTuple_GET_SIZE(values);
        if ((size_t)arrays.ids.len != count * plan->seen * sizeof(int32_t) ||
            (size_t)arrays.hashes.len != count * sizeof(uint64_t) ||
            (size_t)arrays.times.len != count * sizeof(int64_t)) {
            PyErr_SetString(PyExc_ValueError,
                            "scan: times_N, ids_NC or hashes_N has not the right shape");
        }
        else {
            identities = scan_with_room(plan, values, max_bytes, &arrays);
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
    Py_ssize_t seen, times, counters;
    unsigned long long demands;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Plan takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!nnnK:Plan", &PyTuple_Type, &arrays, &seen, &times,
                          &counters, &demands)) {
        return NULL;
    }
    if (seen < 0 || times < 0 || counters < 0) {
        PyErr_SetString(PyExc_ValueError, "plan: seen, times, counters must not be negative");
        return NULL;
    }
    Plan *plan = (Plan *)type->tp_alloc(type, 0);
    if (plan != NULL) {
        plan->seen = (size_t)seen;
        plan->time_slots = (size_t)times;
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
     "scan(values, max_bytes, times_N, ids_NC, hashes_N): write ids and hashes; a list of ids or "
     "None."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "Plan(arrays, seen, times, counters, demands): see native.py."},
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
