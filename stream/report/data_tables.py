"""The tables of a report: rows of cells, each with the text that is shown and what it sorts by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from stream.report.content import Comparison, Interval, Report
from stream.report.text import count, share, shown, signed

DASH: Final = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell.

    Attributes:
        text: What it shows.
        key: Number that it sorts by; None to sort by the text.
    """

    text: str
    key: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table; columns whose cells have keys are numbers and aligned to the right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def tables(report: Report, most: int) -> list[Table]:
    """All tables; ``most`` bounds the rows of each."""
    found = [_verdicts(report, most), _arms(report, most)] if report.comparisons else []
    found += [table for one in report.comparisons for table in _of(one, most)]
    if report.curves:
        found.append(_curves(report, most))
    if report.checks:
        found.append(_checks(report, most))
    if report.rejects:
        found.append(_rejects(report, most))
    return found


def _verdicts(report: Report, most: int) -> Table:
    head = [
        "arm",
        "base",
        "verdict",
        "arm passes",
        "base passes",
        "differ",
        "only arm",
        "only base",
    ]
    rows = [
        [
            Cell(one.arm),
            Cell(one.base),
            Cell(one.verdict),
            _share(one.arm_passed),
            _share(one.base_passed),
            _share(one.differ / max(one.requests, 1)),
            _count(one.newly_passed),
            _count(one.newly_blocked),
        ]
        for one in report.comparisons[:most]
    ]
    return Table("Verdicts, and decisions that differ", head, rows)


def _arms(report: Report, most: int) -> Table:
    rows = [
        [Cell(arm.name), _share(arm.passed), Cell(shown(", ".join(arm.models), 120) or DASH)]
        for arm in report.arms[:most]
    ]
    return Table("Arms", ["arm", "passed", "model"], rows)


def _of(comparison: Comparison, most: int) -> Iterator[Table]:
    title = f"{comparison.arm} against {comparison.base}"
    if comparison.tasks:
        head = ["task", "estimator", "change per 1,000", "low", "high", "effective", "rests on"]
        rows = [
            [Cell(task.task), Cell(one.name), *_limits(one.change), _count(one.ess), Cell(one.why)]
            for task in comparison.tasks
            for one in task.methods
        ]
        yield Table(f"Events per 1,000 requests, {title}", head, rows[:most])
        head = ["task", "kept by base", "change, %", "low", "high", "worst", "best"]
        rows = [
            [
                Cell(task.task),
                _number(task.base_per_1000),
                *_limits(task.kept, 1),
                _number(task.worst),
                _number(task.best),
            ]
            for task in comparison.tasks
        ]
        note = (
            "Kept, worst and best are events per 1,000 requests. Worst and best hold whatever "
            "became of the requests that the log cannot see."
        )
        yield Table(f"Value, {title}", head, rows[:most], note)
        at_rate = [(task.task, task.equal_rate) for task in comparison.tasks if task.equal_rate]
        if at_rate:
            head = ["task", "passed", "base keeps", "arm keeps", "change, points", "low", "high"]
            rows = [
                [
                    Cell(name),
                    _share(one.passed),
                    _share(one.base),
                    _share(one.arm),
                    *_limits(one.change, 1),
                ]
                for name, one in at_rate
            ]
            yield Table(f"Value at equal r, {title}", head, rows[:most])
    for grouping in comparison.groups:
        names = [task.task for task in comparison.tasks]
        head = [grouping.by, "requests", "base passes", "arm passes", "change, points",
                "only arm", "only base", *(f"{name} per 1,000" for name in names)]  # fmt: skip
        rows = [
            [
                Cell(group.value),
                _count(group.requests),
                _share(group.base_passed),
                _share(group.arm_passed),
                _signed(100 * (group.arm_passed - group.base_passed)),
                _count(group.newly_passed),
                _count(group.newly_blocked),
                *(_change(group.change_per_1000.get(name)) for name in names),
            ]
            for group in grouping.groups[:most]
        ]
        hidden = len(grouping.groups) - len(rows) + grouping.others
        note = f"{count(hidden)} further values are not shown." if hidden else ""
        yield Table(f"By {grouping.by}, {title}", head, rows, note)


def _curves(report: Report, most: int) -> Table:
    drawn = [curve for curve in report.curves if curve.rates]
    names = list(dict.fromkeys(arm.arm for curve in drawn for arm in curve.arms))
    head = ["task", "passed", "oracle", *names]
    rows = [
        [Cell(curve.task), _share(rate), _share(curve.oracle[at])]
        + [_share(arm.kept[at]) for arm in curve.arms]
        for curve in drawn
        for at, rate in enumerate(curve.rates)
        if at % 4 == 0
    ]
    note = "Every fourth point; all points and their limits are in report.json."
    return Table("Share of events kept by passing ratio", head, rows[: 11 * most], note)


def _checks(report: Report, most: int) -> Table:
    rows = [
        [Cell("fails" if one.failed else "holds"), Cell(one.expression), Cell(one.arm),
         _number(one.value, 3), Cell(one.why)]
        for one in report.checks[:most]
    ]  # fmt: skip
    return Table("Checks", ["result", "fails if", "arm", "figure", "in words"], rows)


def _rejects(report: Report, most: int) -> Table:
    rows = [[Cell(code), _count(number)] for code, number in report.rejects.items()]
    note = "Records that could not be decided; each is in rejects.parquet with its place."
    return Table("Rejected records", ["code", "records"], rows[:most], note)


def _limits(interval: Interval | None, digits: int = 2) -> list[Cell]:
    if interval is None:
        return [Cell(DASH, float("-inf"))] * 3
    return [_signed(v, digits) for v in (interval.value, interval.low, interval.high)]


def _change(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell(DASH, float("-inf"))
    text = f"{signed(interval.value, 2)} ({signed(interval.low, 2)} to {signed(interval.high, 2)})"
    return Cell(text, interval.value)


def _number(value: float | None, digits: int = 2) -> Cell:
    return Cell(DASH, float("-inf")) if value is None else Cell(f"{value:,.{digits}f}", value)


def _signed(value: float, digits: int = 1) -> Cell:
    return Cell(signed(value, digits), value)


def _count(value: float) -> Cell:
    return Cell(count(value), value)


def _share(value: float) -> Cell:
    return Cell(share(value), value)
