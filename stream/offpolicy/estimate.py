"""Estimates of what an arm of a replay would have kept, from the log of another policy.

A label exists only where the logged policy passed the request. A log that explores passes every
request with a known probability mu, so that the events of those that it passed stand for those that
it blocked. Where mu is 0 nothing stands for anything: such a claim is refused and bounded instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from models.tasks import TaskSet
from stream.offpolicy.cells import Cells, Frame, read_cells
from stream.offpolicy.regression import doubly_robust
from stream.offpolicy.strata import MAX_STRATA, strata_of
from stream.offpolicy.stratified import stratified
from stream.offpolicy.support import UNLABELLED, Interval
from stream.offpolicy.weighted import (
    Weights,
    inverse_propensity,
    refused_or,
    self_normalised,
    sequence,
    switch,
)

LEVEL: Final = 0.95
PER: Final = 1000.0
"""Values are events per this many requests."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One figure from a log, with its certainty, or the reason why there is none.

    All values are events per 1,000 requests.

    Attributes:
        task: The event that is counted.
        method: How it was estimated: ``dr`` (doubly robust, by strata), ``stratified``, ``snips``
            (bootstrap), ``ips``, ``switch``, ``sequence`` (IPS, valid however often one looks).
        value: The estimate; None where it is refused.
        low: Lower limit of its confidence interval; None where it is refused.
        high: Upper limit.
        level: Confidence of the interval, e.g. 0.95.
        ess: Effective number of labelled requests behind it (Kish): as many of equal weight would
            say as much.
        rows: Requests that it is about: those whose window was closed.
        supported: Whether the log supports the claim.
        why: In words, why it is refused, or what it rests on.
        worst: Lower bound, whatever would have become of requests without support.
        best: Upper bound.
    """

    task: str
    method: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    ess: float
    rows: int
    supported: bool
    why: str
    worst: float
    best: float

    @classmethod
    def of(cls, task: str, method: str, level: float, cells: Cells, found: Interval) -> "Estimate":
        """An interval in events per request as an estimate per 1,000."""
        shown = found.supported
        return cls(
            task=task,
            method=method,
            value=PER * found.value if shown else None,
            low=PER * found.low if shown else None,
            high=PER * found.high if shown else None,
            level=level,
            ess=found.ess,
            rows=cells.rows,
            supported=shown,
            why=found.why,
            worst=PER * found.worst,
            best=PER * found.best,
        )


def compare(
    requests: Frame,
    labels: Frame,
    arm_a: Frame,
    arm_b: Frame | None,
    tasks: TaskSet,
    *,
    level: float = LEVEL,
) -> list[Estimate]:
    """How many more events pass under ``arm_a`` than under ``arm_b``, per 1,000 requests.

    The value of an arm is the expected number of events of the requests that it passes, per 1,000
    of *these* requests: sum of pi_i p_i over their number, with pi_i the probability that the arm
    passes request i and p_i that its event happens. What is random is whether each event happens
    and which requests the log explored; the requests are given. Requests that both arms treat alike
    cancel and add no uncertainty.

    All frames have the same requests in the same order.

    Args:
        requests: Logged decisions of the requests, as a replay writes them.
        labels: Labels of `stream.offpolicy.labels`.
        arm_a: Decisions of an arm.
        arm_b: Decisions of another arm; None for one that passes nothing, so that the estimates are
            of the value of ``arm_a`` itself.
        tasks: The tasks.
        level: Confidence of the intervals.

    Returns:
        Per task the estimates of all methods that apply; the first of each task is the one to use.

    Raises:
        OffPolicyError: If the frames do not fit together; names frame and column.
    """
    return list(_estimates(requests, labels, arm_a, arm_b, tasks, level))


def _estimates(
    requests: Frame, labels: Frame, arm_a: Frame, arm_b: Frame | None, tasks: TaskSet, level: float
) -> Iterator[Estimate]:
    for task in tasks:
        cells = read_cells(requests, labels, arm_a, arm_b, tasks, task.name)
        for method, found in intervals(cells, level).items():
            yield Estimate.of(task.name, method, level, cells, found)


def intervals(cells: Cells, level: float) -> dict[str, Interval]:
    """The interval of every method that applies; the first is the one to use.

    With few propensities it is the doubly robust one by strata, otherwise the self-normalised one.
    """
    if not cells.rows:
        return {"dr": UNLABELLED}
    weights = Weights.of(cells)
    made: dict[str, Interval] = {}
    if len(strata_of(cells)) <= MAX_STRATA:
        made = {"dr": doubly_robust(cells, level), "stratified": stratified(cells, level)}
    rng = np.random.default_rng(cells.rows)
    made["snips"] = refused_or(cells, self_normalised(weights, level, rng), level)
    made["ips"] = refused_or(cells, inverse_propensity(weights, level), level)
    *found, only = switch(cells, level)
    why = f"the scores alone speak for {only:,} requests; how wrong they are is not in the interval"
    made["switch"] = refused_or(cells, (found[0], found[1], found[2]), level, why if only else "")
    made["sequence"] = refused_or(cells, sequence(weights, level), level)
    return made


def as_frame(estimates: list[Estimate]) -> pl.DataFrame:
    """Estimates as a frame, one row each; its columns are the attributes."""
    return pl.DataFrame(estimates, schema=_SCHEMA)


_SCHEMA: Final = {
    "task": pl.String,
    "method": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "level": pl.Float64,
    "ess": pl.Float64,
    "rows": pl.Int64,
    "supported": pl.Boolean,
    "why": pl.String,
    "worst": pl.Float64,
    "best": pl.Float64,
}
