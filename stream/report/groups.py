"""Who gains and who loses: the requests that two arms treat differently, by a property."""

from typing import Final

import polars as pl

from models.tasks import TaskSet
from stream.offpolicy.estimate import Estimate, compare
from stream.report.content import Group, Grouping, Interval
from stream.report.tables import Tables
from stream.report.text import shown

MAX_GROUPS: Final = 20
MAX_PROPERTIES: Final = 8
WITH_VALUE: Final = 8
"""Largest groups whose change in value is estimated; the others have counts only."""
NONE: Final = "(none)"


def groupings(
    tables: Tables, arm: str, base: str, tasks: TaskSet | None, level: float
) -> list[Grouping]:
    """The groups of all properties that have more than one value.

    Args:
        tables: The replay.
        arm: The arm.
        base: What it is compared with.
        tasks: The tasks; None without labels.
        level: Confidence of the intervals.
    """
    found = (
        _grouping(tables, column, arm, base, tasks, level)
        for column in tables.properties[:MAX_PROPERTIES]
    )
    return [grouping for grouping in found if grouping is not None]


def _grouping(
    tables: Tables, column: str, arm: str, base: str, tasks: TaskSet | None, level: float
) -> Grouping | None:
    counts = _counts(tables, column, arm, base)
    if counts.height < 2:
        return None
    groups = []
    for number, row in enumerate(counts.head(MAX_GROUPS).iter_rows(named=True)):
        changes: dict[str, Interval | None] = {}
        if tasks is not None and number < WITH_VALUE:
            changes = _changes(tables, column, row["value"], arm, base, tasks, level)
        requests = row["requests"]
        groups.append(
            Group(
                value=NONE if row["value"] is None else shown(row["value"]),
                requests=requests,
                base_passed=row["base"] / requests,
                arm_passed=row["arm"] / requests,
                newly_passed=row["newly_passed"],
                newly_blocked=row["newly_blocked"],
                change_per_1000=changes,
            )
        )
    rest = counts.slice(MAX_GROUPS)
    return Grouping(
        shown(column.removeprefix("by_")), groups, rest.height, int(rest["requests"].sum())
    )


def _counts(tables: Tables, column: str, arm: str, base: str) -> pl.DataFrame:
    """Rows ``value``, ``requests``, ``base``, ``arm``, ``newly_passed``, ``newly_blocked``."""
    by_arm, by_base = tables.passed(arm), tables.passed(base)
    return (
        tables.all.lazy()
        .filter(by_arm.is_not_null() & by_base.is_not_null())
        .group_by(value=pl.col(column))
        .agg(
            requests=pl.len(),
            base=by_base.sum(),
            arm=by_arm.sum(),
            newly_passed=(by_arm & ~by_base).sum(),
            newly_blocked=(by_base & ~by_arm).sum(),
        )
        .sort(["requests", "value"], descending=[True, False])
        .collect(engine="streaming")
    )


def _changes(
    tables: Tables,
    column: str,
    value: str | None,
    arm: str,
    base: str,
    tasks: TaskSet,
    level: float,
) -> dict[str, Interval | None]:
    rows = tables.all.filter(pl.col(column).eq_missing(pl.lit(value, pl.String)))
    first: dict[str, Interval | None] = {}
    for estimate in compare(
        tables.requests(rows),
        tables.labels(rows),
        tables.decisions(rows, arm),
        tables.decisions(rows, base),
        tasks,
        level=level,
    ):
        first.setdefault(estimate.task, interval_of(estimate))
    return first


def interval_of(estimate: Estimate) -> Interval | None:
    """The figure of an estimate with its limits, or None where it is refused."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    return Interval(estimate.value, estimate.low, estimate.high)
