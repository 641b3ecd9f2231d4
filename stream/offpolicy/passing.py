"""Direct passing, as in Table II and Figure 2 of the DAUM paper, on the traffic of a replay.

Requests about which the model is uncertain pass directly; the rest is judged by score. Direct
passing by the uncertainty of another task (click's, for deal) is the paper's *indirect* passing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.tasks import TaskSet
from stream.offpolicy.cells import Doubles, Frame
from stream.offpolicy.ranking import auc_limits, average_precision, kish, roc_auc
from stream.offpolicy.rows import LabelledRows, labelled_rows

FREQUENT_RATIOS: Final = (0.0, 0.05, 0.10, 0.15, 0.20)
RARE_RATIOS: Final = (0.0, 0.005, 0.010, 0.015, 0.020)
"""Passing ratios of Table II, for C2S click and for deal."""
RATIOS: Final = tuple(round(0.02 * step, 2) for step in range(11))
"""Passing ratios of Figure 2."""
RARE: Final = 0.1
"""Share of positives below which a task is rare."""
FIXED, GROWING = "fixed", "growing"
LEVEL: Final = 0.95


def residual_traffic(
    requests: Frame, labels: Frame, arm: Frame, tasks: TaskSet, task: str, source: str
) -> pl.DataFrame:
    """Table II: how well scores rank what remains after the most uncertain passed directly.

    Args:
        requests: Logged decisions.
        labels: Labels of the same requests.
        arm: Decisions of an arm about them.
        tasks: The tasks.
        task: Task whose scores are judged, on its own population.
        source: Task whose uncertainty passes directly: ``task`` itself, or another (indirect).

    Returns:
        Per passing ratio: ``task``, ``source``, ``ratio``, ``auc_roc`` with ``low`` and ``high``
        (95 %), ``auc_pr``, ``rows``, ``ess``, ``covered``. Figures are null without both classes.
    """
    rows = labelled_rows(requests, labels, arm, tasks, task)
    weight_N, label_N = rows.weight_N, rows.label_N
    score_N, u_N = rows.column(f"score_{task}"), rows.column(f"uncertainty_{source}")
    rate = float(weight_N @ label_N / weight_N.sum()) if len(label_N) else 0.0
    made = []
    for ratio in RARE_RATIOS if rate < RARE else FREQUENT_RATIOS:
        rest_N = ~_top(u_N, weight_N, ratio)
        labels_R, weights_R = label_N[rest_N], weight_N[rest_N]
        auc = roc_auc(score_N[rest_N], labels_R, weights_R)
        low, high = (None, None) if auc is None else auc_limits(auc, labels_R, weights_R, LEVEL)
        made.append(
            {
                "task": task,
                "source": source,
                "ratio": ratio,
                "auc_roc": auc,
                "low": low,
                "high": high,
                "auc_pr": average_precision(score_N[rest_N], labels_R, weights_R),
                "rows": int(rest_N.sum()),
                "ess": kish(weights_R),
                "covered": rows.covered,
            }
        )
    return pl.DataFrame(made, schema_overrides=_FIGURES)


def passing_strategies(
    requests: Frame,
    labels: Frame,
    arm: Frame,
    tasks: TaskSet,
    task: str,
    *,
    passes: float,
    ratios: Sequence[float] = RATIOS,
) -> pl.DataFrame:
    """Figure 2: events that pass, by whose uncertainty passes directly, and how much of it.

    At a *fixed* budget direct passes replace the least of those that pass by reward; at a *growing*
    one, the paper's, they are added to it.

    Args:
        requests: Logged decisions.
        labels: Labels of the same requests.
        arm: Decisions of an arm, whose reward ``e`` ranks what does not pass directly.
        tasks: The tasks.
        task: Task whose events are counted, e.g. ``deal``.
        passes: Share of all requests that pass, 1 - r.
        ratios: Shares of all requests that pass directly.

    Returns:
        Per budget, source (a task) and ratio: ``direct`` events that pass directly, ``remaining``
        events that pass by reward, ``total`` of both with ``low`` and ``high`` (95 %; of the gain
        over the same strategy without direct passes), all per 1,000 requests, and ``rows``.
    """
    rows = labelled_rows(requests, labels, arm, tasks, task, on_population=False)
    return pl.DataFrame(
        [
            row
            for source in tasks.names
            if f"uncertainty_{source}" in rows.frame.columns
            for row in _strategy(rows, source, passes, ratios)
        ],
        schema=_STRATEGIES,
    )


def _strategy(
    rows: LabelledRows, source: str, passes: float, ratios: Sequence[float]
) -> Iterator[dict[str, Any]]:
    weight_N, e_N = rows.weight_N, rows.column("e")
    total = max(float(weight_N.sum()), 1e-12)
    value_N = 1000 * weight_N * rows.label_N / total
    u_N = rows.column(f"uncertainty_{source}")
    alone_N = _top(e_N, weight_N, passes)
    for budget in (FIXED, GROWING):
        for ratio in ratios:
            direct_N = _top(u_N, weight_N, min(ratio, passes) if budget == FIXED else ratio)
            spent = float(weight_N[direct_N].sum()) / total if budget == FIXED else 0.0
            left_N = np.where(direct_N, -np.inf, e_N)
            by_score_N = _top(left_N, weight_N, max(passes - spent, 0.0)) & ~direct_N
            change_N = ((direct_N | by_score_N).astype(np.float64) - alone_N) * value_N
            radius = 1.96 * float(np.sqrt((change_N**2).sum()))
            kept = float(value_N[direct_N | by_score_N].sum())
            yield {
                "budget": budget,
                "source": source,
                "ratio": ratio,
                "direct": float(value_N[direct_N].sum()),
                "remaining": float(value_N[by_score_N].sum()),
                "total": kept,
                "low": kept - radius,
                "high": kept + radius,
                "rows": len(value_N),
            }


def _top(values_N: Doubles, weight_N: Doubles, share: float) -> npt.NDArray[np.bool_]:
    """The rows of the largest values that stand for at most ``share`` of all requests."""
    order_N = np.argsort(-np.nan_to_num(values_N, nan=-np.inf), kind="stable")
    before_N = np.cumsum(weight_N[order_N])
    chosen_N = np.zeros(len(values_N), np.bool_)
    chosen_N[order_N[before_N <= share * weight_N.sum() * (1 + 1e-12)]] = True
    return chosen_N


_FIGURES: Final = {
    "auc_roc": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "auc_pr": pl.Float64,
}
_STRATEGIES: Final = {
    "budget": pl.String,
    "source": pl.String,
    "ratio": pl.Float64,
    "direct": pl.Float64,
    "remaining": pl.Float64,
    "total": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "rows": pl.Int64,
}
