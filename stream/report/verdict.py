"""The verdict on an arm: ship, hold, or not enough evidence; and why, in two sentences.

A task is *lost* if its interval lies below 0 and its estimate below minus the margin; *safe* if the
interval lies above minus the margin; *gained* if it lies above 0. That every task is safe needs no
correction for their number, but some task of T seems gained or lost by chance more often than the
level says: for these two the intervals are widened as those of normal estimates, to the level
1 - (1 - level) / T (Bonferroni).
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

from stream.report.content import HOLD, SHIP, UNKNOWN, Interval, TaskChange, Verdict
from stream.report.text import signed

MIN_SAVING: Final = 0.005
"""Share of the requests that counts as more or less traffic."""


def judge(
    tasks: Sequence[TaskChange],
    base_passed: float,
    arm_passed: float,
    *,
    arm: str,
    base: str,
    level: float,
    margin: float,
) -> tuple[Verdict, str]:
    """Judge an arm.

    Args:
        tasks: Its value by task; empty without outcomes.
        base_passed: Share of the requests that the base passes.
        arm_passed: Share of the requests that the arm passes.
        arm: Its name.
        base: Name of the base.
        level: Confidence of the intervals.
        margin: Percent of a task's events that a change may cost.
    """
    if not tasks:
        return UNKNOWN, (
            f"Without outcomes nobody knows what {arm} would gain or lose. Replay with --outcomes."
        )
    known = {task.task: task.kept for task in tasks if task.kept is not None}
    wide = {name: widened(kept, level, len(tasks)) for name, kept in known.items()}
    lost = [name for name, kept in wide.items() if kept.high < 0 and known[name].value < -margin]
    if lost:
        traffic = _traffic(base_passed, arm_passed, base)
        return HOLD, f"{arm} loses {_changes(known, lost)} against {base}. {traffic}"
    refused = [task for task in tasks if task.kept is None]
    unsafe = [name for name, kept in known.items() if kept.low < -margin]
    if refused or unsafe:
        return UNKNOWN, _unknown(refused, known, unsafe, margin)
    gained = _changes(known, [name for name, kept in wide.items() if kept.low > 0])
    more = arm_passed - base_passed
    if gained and more > MIN_SAVING and (worse := _worse_at_equal_rate(tasks)):
        return HOLD, (
            f"{arm} gains {gained} only by passing {100 * more:.1f} points more of the requests. "
            f"With {base}'s share of them it would lose {worse}."
        )
    return _safe(gained, base_passed, arm_passed, arm, base, margin)


def _safe(
    gained: str, base_passed: float, arm_passed: float, arm: str, base: str, margin: float
) -> tuple[Verdict, str]:
    """The verdict on an arm that loses nothing."""
    traffic = _traffic(base_passed, arm_passed, base)
    if gained:
        text = f"{arm} gains {gained} and no event is lost by more than {margin:g} %."
        return SHIP, f"{text} {traffic}"
    if base_passed - arm_passed > MIN_SAVING:
        text = f"{arm} loses no event by more than {margin:g} %, and spares traffic."
        return SHIP, f"{text} {traffic}"
    text = f"{arm} gains nothing that is certain, and loses no event by more than {margin:g} %."
    return HOLD, f"{text} {traffic}"


def widened(interval: Interval, level: float, claims: int) -> Interval:
    """An interval at the level at which ``claims`` of them hold together."""
    normal = NormalDist()
    factor = normal.inv_cdf(1 - (1 - level) / (2 * claims)) / normal.inv_cdf((1 + level) / 2)
    value = interval.value
    low, high = (value + factor * (limit - value) for limit in (interval.low, interval.high))
    return Interval(value, low, high)


def _changes(kept: dict[str, Interval], names: Sequence[str]) -> str:
    return " and ".join(
        f"{name} ({signed(kept[name].value)} %, {signed(kept[name].low)} to "
        f"{signed(kept[name].high)})"
        for name in names
    )


def _traffic(base_passed: float, arm_passed: float, base: str) -> str:
    return f"It passes {100 * arm_passed:.1f} % of the requests, {base} {100 * base_passed:.1f} %."


def _unknown(
    refused: Sequence[TaskChange], known: dict[str, Interval], unsafe: Sequence[str], margin: float
) -> str:
    if refused:
        names = ", ".join(task.task for task in refused)
        return f"The log cannot say what becomes of {names}. It says: {refused[0].why}."
    width, name = max(((known[name].high - known[name].low) / 2, name) for name in unsafe)
    most = known[name]
    text = (
        f"{name} may change by {signed(most.low)} % to {signed(most.high)} %, and a loss of more "
        f"than {margin:g} % cannot be ruled out."
    )
    factor = (width / max(margin, 1e-9)) ** 2
    if factor > 1.5:
        return f"{text} It would take about {factor:,.0f} times as many logged requests to tell."
    return f"{text} Log for longer, or explore more."


def _worse_at_equal_rate(tasks: Sequence[TaskChange]) -> str:
    return " and ".join(
        f"{-task.equal_rate.change.value:.1f} points of {task.task}"
        for task in tasks
        if task.equal_rate is not None and task.equal_rate.change.high < 0
    )
