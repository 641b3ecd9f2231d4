"""The paper's views on the traffic of a replay: how good an arm's model and uncertainty are."""

import math
from typing import Any, TypeVar

import polars as pl

from models.tasks import TaskSet
from stream.offpolicy.calibration import calibration
from stream.offpolicy.passing import passing_strategies, residual_traffic
from stream.offpolicy.rejection import rejection_curves
from stream.report.tables import Tables
from stream.report.text import shown
from stream.report.view_content import (
    CalibrationBin,
    RejectionPoint,
    ResidualPoint,
    StrategyPoint,
    Views,
)

Point = TypeVar("Point")


def views(tables: Tables, arm: str, tasks: TaskSet, passes: float) -> Views:
    """All views of an arm, over the requests that the log could pass.

    Args:
        tables: The replay.
        arm: The arm.
        tasks: The tasks; the last is the one whose events passing strategies are judged by.
        passes: Share of the requests that pass.
    """
    requests, labels = tables.requests(tables.all), tables.labels(tables.all)
    decisions = tables.decisions(tables.all, arm)
    known = decisions.lazy().collect_schema().names()
    names = [name for name in tasks.names if f"score_{name}" in known]
    uncertain = [name for name in names if f"uncertainty_{name}" in known]
    frames = (requests, labels, decisions, tasks)
    residual = [
        residual_traffic(*frames, task, source) for task in uncertain for source in uncertain
    ]
    rejection = [rejection_curves(*frames, task) for task in uncertain]
    calibrated = [calibration(*frames, task) for task in names]
    strategies = []
    if uncertain:
        strategies = [passing_strategies(*frames, tasks.names[-1], passes=passes)]
    return Views(
        arm=shown(arm),
        task=tasks.names[-1],
        passes=passes,
        residual=_points(residual, ResidualPoint),
        strategies=_points(strategies, StrategyPoint),
        rejection=_points(rejection, RejectionPoint),
        calibration=_points(calibrated, CalibrationBin),
    )


def _points(frames: list[pl.DataFrame], kind: type[Point]) -> list[Point]:
    names = list(kind.__annotations__)
    return [
        kind(**{name: _plain(row[name]) for name in names})
        for frame in frames
        for row in frame.iter_rows(named=True)
    ]


def _plain(value: Any) -> Any:
    """A value as JSON has it: no NaN, and text bounded."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return shown(value) if isinstance(value, str) else value
