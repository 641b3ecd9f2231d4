/* A bid request as a whole: its values are read, then what depends on several of them is written. */

#ifndef WEIR_REQUEST_H
#define WEIR_REQUEST_H

#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "_grammar.h"
#include "_plan.h"
#include "_values.h"

static int64_t
calendar(double ms, uint64_t part)
{
    int64_t hour = (int64_t)floor(ms / 3600000.0) % 24;
    int64_t day = ((int64_t)floor(ms / 86400000.0) + 3) % 7; /* 1970-01-01 was a Thursday */
    hour += hour < 0 ? 24 : 0;
    day += day < 0 ? 7 : 0;
    return part == HOUR_OF_DAY ? hour : part == DAY_OF_WEEK ? day : day * 24 + hour;
}

/* values.milliseconds, of one time. */
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
            double offset = scan->times_T[plan->choice[c]];
            minutes = fabs(offset) <= 1440.0 ? offset : Py_NAN;
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

/* Copies the rows of a feature's later places where all places before them are missing. */
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

/* kinds.cross.cross_rows. */
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

/* Whether the value is a bid request; its feature ids are then in ids_E, its id in `identity`. */
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
    scan->times_T[RECORD_TIME] = (double)record_ms;
    scan->present = 0;
    scan->depth = 0;
    const uint8_t *p = read_value(scan, skip_blank(scan->document), plan->node + 1);
    if (p == NULL || skip_blank(p) != scan->document + size || scan->present != plan->required) {
        return 0;
    }
    set_times(scan);
    set_counts(scan);
    set_fallbacks(scan);
    set_crosses(scan);
    return 1;
}

#endif
