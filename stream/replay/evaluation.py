"""Evaluation of a replay: which outcomes its decisions would have kept, and which lost."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from models.errors import UserError
from models.tasks import ALL_REQUESTS, TaskSet
from stream.messages import Outcome, RecordError


class OutcomeError(UserError, ValueError):
    """A file of outcomes that cannot be read; names file and line."""


def read_outcomes(path: Path) -> pl.DataFrame:
    """Read outcomes from a JSON Lines file; the first of each request and task counts.

    Returns:
        Columns ``request_id``, ``task``, ``ts`` (ms).

    Raises:
        OutcomeError: Naming file and line of one that is malformed.
    """
    rows = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    outcome = Outcome.from_bytes(line)
                except RecordError as error:
                    raise OutcomeError(f"{path}:{number}: {error}") from error
                rows.append((outcome.request_id, outcome.task, outcome.ts))
    return outcome_frame(rows)


def outcome_frame(rows: Iterable[tuple[str, str, int]]) -> pl.DataFrame:
    """The first outcome of each request and task."""
    frame = pl.DataFrame(
        list(rows), schema={"request_id": pl.String, "task": pl.String, "ts": pl.Int64},
        orient="row",
    )  # fmt: skip
    return frame.group_by("request_id", "task").agg(pl.col("ts").min())


def evaluate(decisions: pl.DataFrame, outcomes: pl.DataFrame, tasks: TaskSet) -> dict[str, Any]:
    """Join decisions with outcomes and count what was kept.

    Args:
        decisions: Frame of `DecisionWriter`.
        outcomes: Frame of `read_outcomes`; outcomes outside their task's attribution window do
            not count.
        tasks: Tasks and their windows.

    Returns:
        Per task: ``outcomes``, ``blocked`` (outcomes of blocked requests, which would have been
        lost), ``kept_share``, and ``auc`` of the score on the task's population (None without
        both classes or without scores).
    """
    report: dict[str, Any] = {}
    labelled = decisions
    for task in tasks:
        of_task = outcomes.filter(pl.col("task") == task.name).select(
            "request_id", pl.col("ts").alias("outcome_ts")
        )
        delay = pl.col("outcome_ts") - pl.col("timestamp")
        inside = delay.is_between(0, task.window_s * 1000).fill_null(value=False)
        labelled = (
            labelled.join(of_task, on="request_id", how="left")
            .with_columns(inside.alias(f"label_{task.name}"))
            .drop("outcome_ts")
        )
    for task in tasks:
        label = pl.col(f"label_{task.name}")
        happened = int(labelled.select(label.sum()).item())
        blocked = int(labelled.filter(pl.col("verdict") == "block").select(label.sum()).item())
        population = (
            labelled
            if task.population == ALL_REQUESTS
            else labelled.filter(pl.col(f"label_{task.population}"))
        )
        report[task.name] = {
            "outcomes": happened,
            "blocked": blocked,
            "kept_share": 1 - blocked / happened if happened else None,
            "auc": _auc(population, task.name),
        }
    return report


def _auc(frame: pl.DataFrame, task: str) -> float | None:
    """Area under the ROC curve, as the rank-sum statistic with tied ranks averaged."""
    if f"score_{task}" not in frame.columns:
        return None
    ranked = frame.select(pl.col(f"score_{task}").rank("average"), label=f"label_{task}")
    positives = int(ranked["label"].sum())
    negatives = ranked.height - positives
    if positives == 0 or negatives == 0:
        return None
    rank_sum = float(ranked.filter("label")[f"score_{task}"].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
