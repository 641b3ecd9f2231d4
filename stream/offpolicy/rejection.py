"""Rejection curves: how much smaller the error gets when the most uncertain are left out.

The error is the Brier score, (score - label)^2. An uncertainty that knows no more than the score
itself does not beat p (1 - p), the spread of a label with that score; a random order is chance.
"""

from typing import Final

import numpy as np
import polars as pl

from models.tasks import TaskSet
from stream.offpolicy.cells import Doubles, Frame
from stream.offpolicy.rows import labelled_rows

SHARES: Final = tuple(round(0.05 * step, 2) for step in range(20))
"""Shares of the rows that are left out."""
UNCERTAINTY, SPREAD, CHANCE = "uncertainty", "p(1-p)", "chance"


def rejection_curves(
    requests: Frame, labels: Frame, arm: Frame, tasks: TaskSet, task: str
) -> pl.DataFrame:
    """Error of what remains, by the order in which rows are left out.

    Args:
        requests: Logged decisions.
        labels: Labels of the same requests.
        arm: Decisions of an arm about them.
        tasks: The tasks.
        task: The task, on its own population.

    Returns:
        Per order (``uncertainty``, ``p(1-p)``, ``chance``) and share: ``task``, ``order``,
        ``rejected``, ``error`` with ``low`` and ``high`` (95 %), ``rows``, and ``aurc``, the area
        under the whole curve of the order (smaller is better).
    """
    rows = labelled_rows(requests, labels, arm, tasks, task)
    p_N, label_N, weight_N = rows.column(f"score_{task}"), rows.label_N, rows.weight_N
    known_N = ~np.isnan(p_N)
    p_N, label_N, weight_N = p_N[known_N], label_N[known_N], weight_N[known_N]
    error_N = (p_N - label_N) ** 2
    orders = {
        UNCERTAINTY: rows.column(f"uncertainty_{task}")[known_N],
        SPREAD: p_N * (1 - p_N),
        CHANCE: None,
    }
    made = []
    for name, key_N in orders.items():
        order_N = np.arange(len(p_N)) if key_N is None else np.argsort(key_N, kind="stable")
        error_M, radius_M, count_M = _curve(error_N[order_N], weight_N[order_N])
        if key_N is None:
            error_M, radius_M = (
                np.full_like(error_M, error_M[0]),
                np.full_like(radius_M, radius_M[0]),
            )
        area = _area(error_N[order_N], weight_N[order_N]) if key_N is not None else _mean(error_M)
        made += [
            {
                "task": task,
                "order": name,
                "rejected": share,
                "error": error,
                "low": error - radius,
                "high": error + radius,
                "rows": count,
                "aurc": area,
            }
            for share, error, radius, count in zip(
                SHARES, error_M.tolist(), radius_M.tolist(), count_M.tolist(), strict=True
            )
        ]
    return pl.DataFrame(made)


def _curve(error_N: Doubles, weight_N: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Mean error of the first rows, its 95 % radius and the number of rows, per share left out."""
    passed_N = np.cumsum(weight_N)
    total = passed_N[-1] if len(passed_N) else 0.0
    figures = np.full((3, len(SHARES)), np.nan)
    for place, share in enumerate(SHARES):
        count = int(np.searchsorted(passed_N, (1 - share) * total * (1 + 1e-12), side="right"))
        figures[2, place] = count
        if count:
            kept_N, errors_N = weight_N[:count], error_N[:count]
            mean = float(kept_N @ errors_N / kept_N.sum())
            spread = float(np.sqrt((kept_N**2) @ (errors_N - mean) ** 2) / kept_N.sum())
            figures[:2, place] = mean, 1.96 * spread
    return figures[0], figures[1], figures[2].astype(np.int64)


def _area(error_N: Doubles, weight_N: Doubles) -> float:
    """Mean over all coverages of the mean error of the rows within it (AURC)."""
    if not len(error_N):
        return float("nan")
    within_N = np.cumsum(weight_N)
    return float(weight_N @ (np.cumsum(weight_N * error_N) / within_N) / within_N[-1])


def _mean(error_M: Doubles) -> float:
    return float(error_M[0]) if len(error_M) else float("nan")
