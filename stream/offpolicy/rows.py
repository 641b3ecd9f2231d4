"""Labelled rows of an arm, each with the number of requests that it stands for.

A request that the log passed with probability mu stands for 1 / mu of all. So figures of the rows
are about all requests that the log can pass, not about those that it liked.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from models.tasks import ALL_REQUESTS, TaskSet
from stream.offpolicy.cells import Doubles, Frame, passing, select

MAX_ROWS: Final = 500_000
"""Rows that a view reads at most; more are sampled by their ids."""


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Labelled requests.

    Attributes:
        frame: ``label`` (Boolean), ``scenario`` (String), ``weight`` (1 / mu), ``e`` and all
            ``score_*`` and ``uncertainty_*`` columns of the arm.
        covered: Share of the requests that the log can pass; the rows say nothing of the others.
    """

    frame: pl.DataFrame
    covered: float

    @property
    def label_N(self) -> Doubles:
        """Events, 0 or 1."""
        return self.column("label")

    @property
    def weight_N(self) -> Doubles:
        """Requests that each row stands for."""
        return self.column("weight")

    def column(self, name: str) -> Doubles:
        """A column as float64; null is NaN."""
        return self.frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy()


def labelled_rows(
    requests: Frame,
    labels: Frame,
    arm: Frame,
    tasks: TaskSet,
    task: str,
    *,
    on_population: bool = True,
    limit: int = MAX_ROWS,
) -> LabelledRows:
    """The labelled rows of one task.

    Args:
        requests: Logged decisions.
        labels: Labels of the same requests in the same order.
        arm: Decisions of an arm about them.
        tasks: The tasks.
        task: Name of the task.
        on_population: Whether only requests of the task's own population are rows.
        limit: Rows at most.

    Raises:
        OffPolicyError: If a column is missing.
    """
    population = tasks[task].population
    within = pl.lit(value=True)
    if on_population and population != ALL_REQUESTS:
        within = pl.col(f"label_{population}")
    known = arm.lazy().collect_schema().names()
    figures = [name for name in known if name.startswith(("score_", "uncertainty_")) or name == "e"]
    scenario = pl.lit(None, pl.String)
    if "scenario" in requests.lazy().collect_schema().names():
        scenario = pl.col("scenario")
    joined = pl.concat(
        [
            select(
                requests,
                "requests",
                id=pl.col("request_id"),
                scenario=scenario,
                passed=pl.col("logged_verdict") == "pass",
                mu=passing("logged_verdict", "logged_propensity"),
            ),
            select(labels, "labels", label=pl.col(f"label_{task}"), within=within),
            select(arm, "arm", **{name: pl.col(name) for name in figures}),
        ],
        how="horizontal",
    )
    can = pl.col("mu").fill_null(0.0) > 0
    total, able = joined.select(pl.len(), can.sum().alias("can")).collect(engine="streaming").row(0)
    rows = joined.filter(can & pl.col("passed") & pl.col("label").is_not_null() & pl.col("within"))
    count = rows.select(pl.len()).collect(engine="streaming").item()
    if count > limit:
        keep = pl.col("id").hash(0) <= int((2**64 - 1) * (limit / count))
        rows = rows.filter(keep)
    frame = rows.with_columns(weight=1 / pl.col("mu")).drop("id", "mu", "passed", "within")
    return LabelledRows(frame.collect(engine="streaming"), able / total if total else 0.0)
