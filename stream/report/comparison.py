"""One arm against another: decisions that differ, value by task, groups, and the verdict."""

from collections.abc import Mapping
from itertools import groupby

import polars as pl

from models.tasks import TaskSet
from stream.offpolicy.estimate import Estimate, compare
from stream.report.content import LOG, Comparison, EqualRate, Interval, Method, TaskChange
from stream.report.curves import Ranked, equal_rate
from stream.report.groups import groupings, interval_of
from stream.report.tables import Tables
from stream.report.text import shown
from stream.report.verdict import judge


def compare_arms(
    tables: Tables,
    arm: str,
    base: str,
    tasks: TaskSet | None,
    ranked: Mapping[str, Ranked],
    *,
    level: float,
    margin: float,
) -> Comparison:
    """Compare an arm with a base.

    Args:
        tables: The replay.
        arm: Name of the arm.
        base: Name of the other arm, or ``log``.
        tasks: The tasks; None without labels.
        ranked: By task, what its curves are made from.
        level: Confidence of the intervals.
        margin: Percent of a task's events that a change may cost.
    """
    by_arm, by_base = tables.passed(arm), tables.passed(base)
    counts = (
        tables.all.lazy()
        .filter(by_base.is_not_null())
        .select(
            requests=pl.len(),
            arm=by_arm.sum(),
            base=by_base.sum(),
            newly_passed=(by_arm & ~by_base).sum(),
            newly_blocked=(by_base & ~by_arm).sum(),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    requests = max(counts["requests"], 1)
    arm_passed, base_passed = counts["arm"] / requests, counts["base"] / requests
    changes = [] if tasks is None else _changes(tables, arm, base, tasks, ranked, level)
    names = shown(arm), shown(base)
    verdict, why = judge(
        changes, base_passed, arm_passed, arm=names[0], base=names[1], level=level, margin=margin
    )
    return Comparison(
        arm=names[0],
        base=names[1],
        verdict=verdict,
        why=why,
        requests=counts["requests"],
        differ=counts["newly_passed"] + counts["newly_blocked"],
        newly_passed=counts["newly_passed"],
        newly_blocked=counts["newly_blocked"],
        base_passed=base_passed,
        arm_passed=arm_passed,
        tasks=changes,
        groups=groupings(tables, arm, base, tasks, level),
    )


def _changes(
    tables: Tables,
    arm: str,
    base: str,
    tasks: TaskSet,
    ranked: Mapping[str, Ranked],
    level: float,
) -> list[TaskChange]:
    requests, labels = tables.requests(tables.all), tables.labels(tables.all)
    of_arm, of_base = (tables.decisions(tables.all, name) for name in (arm, base))
    values: dict[str, Estimate] = {}
    for estimate in compare(requests, labels, of_base, None, tasks, level=level):
        values.setdefault(estimate.task, estimate)
    passed = tables.all.lazy().select(tables.passed(base).mean()).collect().item() or 0.0
    found = compare(requests, labels, of_arm, of_base, tasks, level=level)
    changes = []
    for task, group in groupby(found, key=lambda estimate: estimate.task):
        at_rate = None
        if base != LOG and task in ranked:
            at_rate = equal_rate(ranked[task], base, arm, passed, level)
        changes.append(_task_change(list(group), values[task].value, at_rate))
    return changes


def _task_change(
    estimates: list[Estimate], base_value: float | None, at_rate: EqualRate | None
) -> TaskChange:
    first = estimates[0]
    change = interval_of(first)
    kept = None
    if change is not None and base_value:
        kept = Interval(*(100 * v / base_value for v in (change.value, change.low, change.high)))
    why = first.why
    if change is not None and kept is None:
        why = "the base's own number of events is not known, so there is no percentage of it"
    return TaskChange(
        task=first.task,
        base_per_1000=base_value,
        change_per_1000=change,
        kept=kept,
        worst=first.worst,
        best=first.best,
        ess=first.ess,
        rows=first.rows,
        supported=first.supported,
        why=why,
        methods=[
            Method(one.method, interval_of(one), one.ess, one.supported, one.why)
            for one in estimates
        ],
        equal_rate=at_rate,
    )
