"""Judgement of one arm in a few figures: what `weir replay` writes into its summary."""

from dataclasses import asdict
from typing import Any

from models.tasks import TaskSet
from stream.offpolicy.cells import Frame
from stream.offpolicy.estimate import LEVEL, Estimate, compare
from stream.offpolicy.ranking import auc_limits, kish, roc_auc
from stream.offpolicy.rows import labelled_rows


def summarise(requests: Frame, labels: Frame, arm: Frame, tasks: TaskSet) -> dict[str, Any]:
    """What an arm keeps, and how well its scores rank, with the certainty of both.

    Args:
        requests: Logged decisions.
        labels: Labels of the same requests in the same order.
        arm: Decisions of the arm about them.
        tasks: The tasks.

    Returns:
        Per task: ``labelled`` and ``events`` of its own population, ``value`` (events that pass per
        1,000 requests, an :class:`Estimate` as a dict), and ``auc`` of the scores with ``auc_low``
        and ``auc_high``, about all requests that the log can pass (``covered``, a share). Figures
        that the labels do not give are None.

    Raises:
        OffPolicyError: If the frames do not fit together.
    """
    first: dict[str, Estimate] = {}
    for estimate in compare(requests, labels, arm, None, tasks):
        first.setdefault(estimate.task, estimate)
    report = {}
    for name in tasks.names:
        rows = labelled_rows(requests, labels, arm, tasks, name)
        auc, low, high = None, None, None
        if f"score_{name}" in rows.frame.columns:
            score_N = rows.column(f"score_{name}")
            auc = roc_auc(score_N, rows.label_N, rows.weight_N)
        if auc is not None:
            low, high = auc_limits(auc, rows.label_N, rows.weight_N, LEVEL)
        report[name] = {
            "labelled": rows.frame.height,
            "events": int(rows.label_N.sum()),
            "ess": kish(rows.weight_N),
            "covered": rows.covered,
            "value": asdict(first[name]),
            "auc": auc,
            "auc_low": low,
            "auc_high": high,
        }
    return report
