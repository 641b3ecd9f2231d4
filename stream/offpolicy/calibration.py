"""Calibration of scores against events of all requests, per task and scenario."""

from typing import Final

import numpy as np
import polars as pl

from models.tasks import TaskSet
from stream.offpolicy.cells import Frame
from stream.offpolicy.intervals import rate_limits
from stream.offpolicy.ranking import kish
from stream.offpolicy.rows import labelled_rows

BINS: Final = 10
ALL: Final = "*"
"""The scenario of all requests."""
MAX_SCENARIOS: Final = 20
"""Scenarios that have their own rows: those with the most labels."""


def calibration(
    requests: Frame, labels: Frame, arm: Frame, tasks: TaskSet, task: str
) -> pl.DataFrame:
    """Mean score and rate of events in bins of equal count, of all and of the largest scenarios.

    Args:
        requests: Logged decisions.
        labels: Labels of the same requests.
        arm: Decisions of an arm about them.
        tasks: The tasks.
        task: The task, on its own population.

    Returns:
        Per scenario (``*`` for all) and bin: ``task``, ``scenario``, ``bin``, ``score``, ``rate``
        with ``low`` and ``high`` (95 %), ``rows``, ``ess``, and ``ece``, the scenario's mean
        distance of score and rate. Empty without labels.
    """
    frame = labelled_rows(requests, labels, arm, tasks, task).frame
    frame = frame.rename({f"score_{task}": "score"}).filter(pl.col("score").is_not_nan())
    named = frame.filter(pl.col("scenario").is_not_null())
    largest = named.group_by("scenario").len().sort("len", "scenario", descending=[True, False])
    names = largest["scenario"].head(MAX_SCENARIOS).to_list()
    parts = [(ALL, frame), *((name, named.filter(pl.col("scenario") == name)) for name in names)]
    made = [_bins(part, task, name) for name, part in parts if part.height]
    return pl.concat(made) if made else pl.DataFrame(schema=_SCHEMA)


def _bins(frame: pl.DataFrame, task: str, scenario: str) -> pl.DataFrame:
    score_N = frame["score"].cast(pl.Float64).to_numpy()
    label_N = frame["label"].cast(pl.Float64).to_numpy()
    weight_N = frame["weight"].to_numpy()
    order_N = np.argsort(score_N, kind="stable")
    parts = [part for part in np.array_split(order_N, BINS) if len(part)]
    ess_B = np.array([kish(weight_N[part]) for part in parts])
    rate_B = np.array([np.average(label_N[part], weights=weight_N[part]) for part in parts])
    mean_B = np.array([np.average(score_N[part], weights=weight_N[part]) for part in parts])
    total_B = np.array([weight_N[part].sum() for part in parts])
    low_B, high_B = rate_limits(rate_B * ess_B, ess_B, 0.95)
    return pl.DataFrame(
        {
            "task": [task] * len(parts),
            "scenario": [scenario] * len(parts),
            "bin": np.arange(len(parts)),
            "score": mean_B,
            "rate": rate_B,
            "low": low_B,
            "high": high_B,
            "rows": [len(part) for part in parts],
            "ess": ess_B,
            "ece": np.full(len(parts), np.average(np.abs(mean_B - rate_B), weights=total_B)),
        },
        schema=_SCHEMA,
    )


_SCHEMA: Final = {
    "task": pl.String,
    "scenario": pl.String,
    "bin": pl.Int64,
    "score": pl.Float64,
    "rate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "rows": pl.Int64,
    "ess": pl.Float64,
    "ece": pl.Float64,
}
