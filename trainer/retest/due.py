"""When a held candidate is to be tried again: when enough labels of newer requests are final.

A candidate is held for want of evidence, such as deals, of which a week passes until they are
final. Requests that came after those that it learned from are new evidence. It is tried on them
once they are at least twice as many as those of its last trial, and as many as the gates that held
it said were needed. So the number of retests grows with the logarithm of the evidence only.

Each retest is a trial of its own in the ledger (:mod:`trainer.gates.ledger`), at the next level.
By the union bound the error over all trials stays what it is, however candidates and retests take
turns (:mod:`trainer.gates.spending`): when to try, and whom, may depend on all earlier results.
"""

import math
from collections.abc import Mapping
from typing import Final

from models.tasks import ALL_REQUESTS, TaskSet
from trainer.gates.report import GateReport, GateResult, Promise, Verdict

MIN_REQUESTS: Final = 1_000
"""Newer requests without which nothing is tried again."""


def wanted(report: GateReport, tasks: TaskSet) -> dict[str, int] | None:
    """How many newer requests must have a final label of each task; the tasks that matter.

    Args:
        report: Verdict of the last trial.
        tasks: The tasks.

    Returns:
        None if the candidate is not held, or if by its figures no number of requests would help.
    """
    if report.verdict is not Verdict.HOLD:
        return None
    found: dict[str, int] = {}
    for gate in report.gates:
        if gate.verdict is not Verdict.HOLD:
            continue
        if gate.figure is not None and gate.needed is None:
            return None
        task = _root(gate.task, tasks) if gate.task else _largest(report, tasks)
        rows = report.promised[task].rows
        number = rows + max(rows, _needed(gate, report.promised, rows))
        found[task] = max(found.get(task, MIN_REQUESTS), number)
    return found


def is_due(report: GateReport, tasks: TaskSet, newer: Mapping[str, int]) -> bool:
    """Whether a candidate is to be tried again.

    Args:
        report: Verdict of its last trial.
        tasks: The tasks.
        newer: Number of requests after those that it learned from whose label is final, by task.
    """
    numbers = wanted(report, tasks)
    return numbers is not None and all(newer[task] >= number for task, number in numbers.items())


def _needed(gate: GateResult, promised: Mapping[str, Promise], rows: int) -> int:
    """The gate's figure ``needed`` as a number of requests; 0 if it has none."""
    if gate.needed is None or gate.task is None:
        return gate.needed or 0
    of_task = promised[gate.task]
    rarer = min(of_task.positives, of_task.rows - of_task.positives)
    return math.ceil(gate.needed * rows / rarer) if rarer > 0 else 0


def _root(name: str, tasks: TaskSet) -> str:
    """The task whose population is all requests, from which a task's population comes."""
    populations = {task.name: task.population for task in tasks}
    while populations[name] != ALL_REQUESTS:
        name = populations[name]
    return name


def _largest(report: GateReport, tasks: TaskSet) -> str:
    """The task whose label is known of the most requests."""
    return max(
        (task.name for task in tasks if task.population == ALL_REQUESTS),
        key=lambda name: report.promised[name].rows,
    )
