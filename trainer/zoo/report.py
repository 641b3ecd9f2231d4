"""The report of a comparison: tables of all nets, paired with boosting and the default kind."""

import math
from collections.abc import Sequence
from typing import Any

from models.nets.config import TeacherConfig
from models.tasks import TaskSet
from trainer.experiments.report.results import Results
from trainer.experiments.report.stats import Estimate
from trainer.experiments.report.table import Table, shown
from trainer.zoo.measure import BOOSTING, TRUTH

DEFAULT = TeacherConfig().kind


def zoo_tables(results: Results, tasks: TaskSet, rate: float) -> list[Table]:
    """All tables; rows are nets in the order of their log-loss."""
    names = results.names("nets")
    ranked = sorted(names, key=lambda name: _mean(results.figure(f"nets.{name}.log_loss")))
    return [
        _overall(results, ranked, rate),
        *(_of_task(results, ranked, task) for task in tasks.names),
        _cost(results, ranked),
    ]


def _overall(results: Results, names: Sequence[str], rate: float) -> Table:
    rows = [
        [
            name,
            shown(results.figure(f"nets.{name}.log_loss"), 4),
            _against(results, name, BOOSTING, "log_loss"),
            shown(results.figure(f"nets.{name}.kept"), 4),
            _against(results, name, DEFAULT, "kept"),
            shown(results.figure(f"nets.{name}.inconsistent"), 4),
        ]
        for name in names
    ]
    return Table(
        "Nets, by mean log-loss over the tasks",
        f"Kept: share of the value that passes at r = {rate:g}. Differences are paired by seed; "
        "below 0 is better for a loss, above 0 for what is kept. Inconsistent: share of steps that "
        "are predicted to be more probable than the step before.",
        [
            "net", "log-loss", f"against {BOOSTING}", "kept", f"against {DEFAULT}", "inconsistent",
        ],
        rows,
    )  # fmt: skip


def _of_task(results: Results, names: Sequence[str], task: str) -> Table:
    metrics = ("auc_roc", "auc_pr", "log_loss", "ece")
    rows = [
        [name, *(shown(results.figure(f"nets.{name}.{task}.{metric}"), 4) for metric in metrics)]
        for name in names
    ]
    head = ["net", "AUC-ROC", "AUC-PR", "log-loss", "ECE"]
    return Table(f"Task {task}", "On the task's own population.", head, rows)


def _cost(results: Results, names: Sequence[str]) -> Table:
    rows = [
        [
            name,
            shown(results.figure(f"nets.{name}.cost.parameters"), 0),
            shown(results.figure(f"nets.{name}.cost.train_s"), 1),
            shown(results.figure(f"nets.{name}.cost.teacher_us"), 2),
        ]
        for name in names
        if name != TRUTH
    ]
    return Table(
        "Cost",
        "Seconds per trial, and microseconds per request of one set of the teacher's weights, on "
        "one thread. A worker runs the student, whose time does not depend on the net.",
        ["net", "parameters", "train s", "us per request"],
        rows,
    )


def _against(results: Results, name: str, other: str, key: str) -> str:
    if name == other:
        return ""
    return shown(results.difference(f"nets.{name}.{key}", f"nets.{other}.{key}"), 4, signed=True)


def _mean(value: Estimate | None) -> float:
    return math.inf if value is None else value.mean


def zoo_json(results: Results) -> dict[str, Any]:
    """All figures with their intervals, as JSON values."""
    plain: dict[str, Any] = _plain(results.tree("nets"))
    return plain


def _plain(tree: Any) -> Any:
    if isinstance(tree, Estimate):
        return tree.model_dump()
    return {key: _plain(value) for key, value in tree.items()}
