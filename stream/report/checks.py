"""Conditions that make a report a check: ``--fail-if "deal.kept < -0.5"``.

::

    condition = [ARM ":"] figure ("<" | "<=" | ">" | ">=") number
    figure    = "passed" | "differ" | TASK "." field
    field     = "kept" | "kept_low" | "kept_high" | "change" | "change_low" | "change_high" | "ess"

``kept`` is the change in percent of the events that the base keeps, ``change`` the same in events
per 1,000 requests, ``_low`` and ``_high`` are confidence limits, ``passed`` is the change of the
share of passed requests and ``differ`` the share of decisions that differ, both in points. Without
an arm every arm is judged. A figure that the log refuses cannot be judged, and fails: a check that
passes for want of evidence would be worse than none.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from models.errors import UserError
from stream.report.content import Check, Comparison, Interval, TaskChange
from stream.report.text import shown

_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FIELDS: Final[Mapping[str, Callable[[TaskChange], float | None]]] = {
    "kept": lambda task: _part(task.kept, "value"),
    "kept_low": lambda task: _part(task.kept, "low"),
    "kept_high": lambda task: _part(task.kept, "high"),
    "change": lambda task: _part(task.change_per_1000, "value"),
    "change_low": lambda task: _part(task.change_per_1000, "low"),
    "change_high": lambda task: _part(task.change_per_1000, "high"),
    "ess": lambda task: task.ess,
}
_OF_ARMS: Final[Mapping[str, Callable[[Comparison], float]]] = {
    "passed": lambda one: 100 * (one.arm_passed - one.base_passed),
    "differ": lambda one: 100 * one.differ / max(one.requests, 1),
}
_CONDITION: Final = re.compile(
    r"(?:(?P<arm>.{1,200}):)?\s*(?:(?P<task>[a-z][a-z0-9_]{0,99})\.)?(?P<field>[a-z_]{1,20})\s*"
    r"(?P<sign><=|>=|<|>)\s*(?P<limit>[-+]?\d{1,12}(?:\.\d{1,12})?)\s*",
    re.ASCII,
)


class CheckError(UserError, ValueError):
    """A condition that cannot be read, or names an arm or task that is not there."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as it was read; ``arm`` and ``task`` are empty where it names none."""

    text: str
    arm: str
    task: str
    field: str
    sign: str
    limit: float


def parse_checks(texts: Sequence[str]) -> list[Condition]:
    """Read conditions.

    Raises:
        CheckError: Naming the one that cannot be read.
    """
    return [_parse(text) for text in texts]


def _parse(text: str) -> Condition:
    found = _CONDITION.fullmatch(text.strip())
    fields = _OF_ARMS if found is None or not found["task"] else _FIELDS
    if found is None or found["field"] not in fields:
        raise CheckError(
            f"--fail-if {shown(text)!r}: write FIGURE < NUMBER, such as 'deal.kept < -0.5'; "
            f"figures are TASK.{{{', '.join(_FIELDS)}}}, {' and '.join(_OF_ARMS)}"
        )
    return Condition(
        text.strip(),
        (found["arm"] or "").strip(),
        found["task"] or "",
        found["field"],
        found["sign"],
        float(found["limit"]),
    )


def run_checks(conditions: Sequence[Condition], comparisons: Sequence[Comparison]) -> list[Check]:
    """Judge conditions; one result for each condition and arm that it is about.

    Raises:
        CheckError: If a condition names an arm or task that is not there.
    """
    return [check for one in conditions for check in _judge(one, comparisons)]


def _judge(condition: Condition, comparisons: Sequence[Comparison]) -> Iterator[Check]:
    about = [one for one in comparisons if condition.arm in {"", one.arm}]
    if not about:
        names = ", ".join(one.arm for one in comparisons) or "none"
        raise CheckError(
            f"--fail-if {shown(condition.text)!r}: nothing is compared under that name; compared "
            f"arms: {names}"
        )
    for one in about:
        value, why = _figure(condition, one)
        if value is None:
            failed, words = True, f"not known, which fails: {why}"
        else:
            failed = _OPERATORS[condition.sign](value, condition.limit)
            words = f"{value:.6g} is {'' if failed else 'not '}{condition.sign} {condition.limit:g}"
        yield Check(shown(condition.text, 200), one.arm, value, failed, words)


def _figure(condition: Condition, comparison: Comparison) -> tuple[float | None, str]:
    if not condition.task:
        return _OF_ARMS[condition.field](comparison), ""
    if not comparison.tasks:
        return None, "no outcomes were given"
    for task in comparison.tasks:
        if task.task == condition.task:
            return _FIELDS[condition.field](task), task.why
    names = ", ".join(task.task for task in comparison.tasks)
    raise CheckError(
        f"--fail-if {shown(condition.text)!r}: no task {condition.task}; there are {names}"
    )


def _part(interval: Interval | None, name: str) -> float | None:
    return None if interval is None else float(getattr(interval, name))
