"""The plots of a report, each with a title that says what to see in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.plots import PAGE, Axis, Frame, Line, Plot, Row, row_plot
from stream.report.content import Comparison, Curve, Group, Grouping, Interval, Report, TaskChange
from stream.report.curves import FULL
from stream.report.text import count, share, shown, signed

FRAME: Final = Frame(width=340, height=250, left=46, right=14, top=10, bottom=40)
MAX_ROWS: Final = 8
MAX_CURVES: Final = 5
"""Arms in one plot; more cannot be told apart."""
SPAN: Final = 20.0
"""Points that an axis of passed shares spans at least, so that small moves look small."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with its words.

    Attributes:
        title: What to see.
        svg: The plot.
        note: What is drawn, the sample size, and how sure it is.
    """

    title: str
    svg: str
    note: str


def change_figure(comparison: Comparison, level: float) -> Figure | None:
    """Events kept by task, with intervals, in percent of the base's; bounds if all are refused."""
    if not comparison.tasks:
        return None
    limits = [v for task in comparison.tasks if task.kept for v in (task.kept.low, task.kept.high)]
    if not limits:
        return _bounds_figure(comparison)
    rows = [_change_row(task) for task in comparison.tasks]
    axis = Axis.around([*limits, 0.0], f"change of events kept, % of {comparison.base}'s")
    title = _change_title(comparison)
    svg = row_plot(rows, axis, zero=0.0, palette=PAGE, title=title)
    sizes = ", ".join(
        f"{task.task} {count(task.ess)}" for task in comparison.tasks if task.kept is not None
    )
    note = (
        f"{comparison.arm} against {comparison.base}, {count(comparison.tasks[0].rows)} requests. "
        f"Bars: {level:.0%} intervals. Effective labelled requests: {sizes}."
    )
    return Figure(title, svg, note)


def _bounds_figure(comparison: Comparison) -> Figure:
    """What is possible at worst and at best, where the log cannot say what is likely."""
    rows = [
        Row(
            task.task,
            f"{signed(task.worst)} to {signed(task.best)}",
            bounds=(task.worst, task.best),
        )
        for task in comparison.tasks
    ]
    limits = [v for task in comparison.tasks for v in (task.worst, task.best)]
    axis = Axis.around([*limits, 0.0], "change of events kept per 1,000 requests")
    title = f"{comparison.arm}: the log cannot say what changes, only what is possible"
    note = (
        f"{comparison.arm} against {comparison.base}, {count(comparison.tasks[0].rows)} requests. "
        "Bars: from the worst to the best case of what the log cannot see; no interval."
    )
    return Figure(title, row_plot(rows, axis, zero=0.0, palette=PAGE, title=title), note)


def _change_row(task: TaskChange) -> Row:
    if task.kept is None:
        return Row(task.task, "the log cannot say")
    kept = task.kept
    return Row(task.task, _with_limits(kept), [(kept.value, 1)], interval=(kept.low, kept.high))


def _with_limits(interval: Interval) -> str:
    return f"{signed(interval.value)} % ({signed(interval.low)} to {signed(interval.high)})"


def _change_title(comparison: Comparison) -> str:
    known = [(task.task, task.kept) for task in comparison.tasks if task.kept is not None]
    gained = [name for name, kept in known if kept.low > 0]
    lost = [name for name, kept in known if kept.high < 0]
    open_ = [name for name, kept in known if kept.low <= 0 <= kept.high]
    parts = []
    if gained:
        parts.append(f"more {', '.join(gained)}")
    if lost:
        parts.append(f"fewer {', '.join(lost)}")
    if open_:
        parts.append(f"{', '.join(open_)} may go either way")
    return f"{comparison.arm}: {'; '.join(parts)}"


def curve_figure(curve: Curve, report: Report) -> Figure:
    """Passing ratio against value with the oracle above and chance below."""
    if curve.why:
        return Figure(f"{curve.task}: no curve", "", f"{curve.why[0].upper()}{curve.why[1:]}.")
    plot = Plot(
        Axis(0.0, 100.0, "requests passed, %", (0, 25, 50, 75, 100)),
        Axis(0.0, 100.0, f"{curve.task}s kept, %", (0, 25, 50, 75, 100)),
        FRAME,
        PAGE,
    )
    rates = [100 * rate for rate in curve.rates]
    plot.line(Line([0.0, 100.0], [0.0, 100.0]), colour=PAGE.line, dash="1 4")
    plot.label(72.0, 60.0, "chance")
    oracle = [100 * value for value in curve.oracle]
    plot.line(Line(rates, oracle), colour=PAGE.line, dash="5 4")
    plot.label(100 * _full(curve) + 2, 92.0, "oracle")
    for number, arm in enumerate(curve.arms[:MAX_CURVES]):
        kept, low, high = ([100 * v for v in values] for values in (arm.kept, arm.low, arm.high))
        plot.line(Line(rates, kept, low, high), arm.arm, PAGE.series[number])
    rate = report.arms[0].passed if report.arms else 0.0
    whole = curve.share >= FULL
    title, place = _curve_title(curve, rate), f" Dotted line: where {report.arms[0].name} passes."
    if whole:
        plot.rule(100 * rate)
    else:
        title = f"Among the {share(curve.share, 0)} of requests that the log could pass, {title}"
        place = ""
    note = (
        f"Requests ranked by e. {count(curve.events)} events, as many as {count(curve.ess)} of "
        f"equal weight, in {count(curve.requests)} requests; bands: {report.level:.0%}.{place}"
    )
    return Figure(title, plot.svg(title), note)


def _full(curve: Curve) -> float:
    """Passing ratio from which the oracle keeps everything, at most one half."""
    return min(0.5, next((r for r, v in zip(curve.rates, curve.oracle, strict=True) if v >= 1), 0))


def _curve_title(curve: Curve, rate: float) -> str:
    at = min(range(len(curve.rates)), key=lambda number: abs(curve.rates[number] - rate))
    kept = ", ".join(f"{arm.arm} keeps {share(arm.kept[at], 0)}" for arm in curve.arms[:MAX_CURVES])
    best = share(curve.oracle[at], 0)
    return f"{curve.task} at r = {1 - curve.rates[at]:.2f}: {kept}; the best possible is {best}"


def group_figures(comparison: Comparison, level: float) -> list[Figure]:
    """For each property: where traffic moves, and where value does."""
    figures = []
    for grouping in comparison.groups:
        figures.append(_traffic_figure(grouping, comparison))
        if value := _value_figure(grouping, comparison, level):
            figures.append(value)
    return figures


def _traffic_figure(grouping: Grouping, comparison: Comparison) -> Figure:
    groups = sorted(grouping.groups, key=_moved)
    drawn = _extremes(groups)
    rows = [
        Row(
            shown(group.value, 30),
            f"{share(group.base_passed)} \N{RIGHTWARDS ARROW} {share(group.arm_passed)}",
            [(100 * group.base_passed, 0), (100 * group.arm_passed, 1)],
        )
        for group in drawn
    ]
    low, high = groups[0], groups[-1]
    title = f"By {grouping.by}, the share passed moves by less than a point everywhere"
    if max(abs(_moved(low)), abs(_moved(high))) >= 0.01:
        said = [
            f"{shown(group.value, 30)} {words} ({signed(100 * _moved(group))} points)"
            for group, words in ((high, "gains most traffic"), (low, "loses most"))
            if (_moved(group) > 0) == (group is high) and _moved(group)
        ]
        title = f"By {grouping.by}: {', '.join(said)}"
    values = [100 * v for group in drawn for v in (group.base_passed, group.arm_passed)]
    legend = [(shown(comparison.base, 20), 0), (shown(comparison.arm, 20), 1)]
    middle = (max(values) + min(values)) / 2
    axis = Axis.around([*values, middle - SPAN / 2, middle + SPAN / 2], "requests passed, %")
    svg = row_plot(rows, axis, palette=PAGE, title=title, legend=legend)
    total = sum(group.requests for group in drawn)
    note = (
        f"{len(drawn)} of {len(grouping.groups) + grouping.others} values of {grouping.by}, "
        f"{count(total)} requests. Counted, not estimated: no interval."
    )
    return Figure(title, svg, note)


def _value_figure(grouping: Grouping, comparison: Comparison, level: float) -> Figure | None:
    """Change in the rarest task that the log supports in two groups or more."""
    for task in reversed(comparison.tasks):
        known = [
            (group, change)
            for group in grouping.groups
            if (change := group.change_per_1000.get(task.task)) is not None
        ]
        if len(known) >= 2:
            return _value_rows(grouping, task.task, known, level)
    return None


def _value_rows(
    grouping: Grouping, task: str, known: Sequence[tuple[Group, Interval]], level: float
) -> Figure:
    known = sorted(known, key=lambda pair: pair[1].value, reverse=True)[:MAX_ROWS]
    rows = [
        Row(
            shown(group.value, 30),
            f"{signed(change.value, 2)} ({signed(change.low, 2)} to {signed(change.high, 2)})",
            [(change.value, 1)],
            interval=(change.low, change.high),
        )
        for group, change in known
    ]
    sure = [(group.value, change) for group, change in known if change.low > 0 or change.high < 0]
    title = f"By {grouping.by}: {task} certainly changes nowhere"
    if sure:
        ups = [shown(name, 30) for name, change in sure if change.low > 0]
        downs = [shown(name, 30) for name, change in sure if change.high < 0]
        words = [
            f"{verb} in {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}"
            for names, verb in ((ups, "rises"), (downs, "falls"))
            if names
        ]
        title = f"By {grouping.by}: {task} {' and '.join(words)}"
    limits = [v for _, change in known for v in (change.low, change.high)]
    axis = Axis.around([*limits, 0.0], f"change of {task} per 1,000 requests of the group")
    total = sum(group.requests for group, _ in known)
    note = (
        f"{count(total)} requests in {len(known)} groups. Bars: {level:.0%} intervals, each for "
        f"itself; one in {1 / (1 - level):.0f} misses by chance."
    )
    return Figure(title, row_plot(rows, axis, zero=0.0, palette=PAGE, title=title), note)


def _moved(group: Group) -> float:
    return group.arm_passed - group.base_passed


def _extremes(groups: Sequence[Group]) -> list[Group]:
    """The groups that move most, from the largest gain to the largest loss."""
    if len(groups) > MAX_ROWS:
        most = sorted(groups, key=lambda group: abs(_moved(group)), reverse=True)[:MAX_ROWS]
        groups = sorted(most, key=_moved)
    return list(reversed(groups))
