"""The tables of a replay side by side, for the frames that a comparison takes.

Up to a million requests are kept in memory, so that each group is judged from there; above that
every figure is a pass over the files.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from stream.offpolicy.cells import Frame, passing
from stream.replay.folder import ReplayFolder
from stream.report.content import LOG

IN_MEMORY: Final = 1_000_000
_LOGGED: Final = ("logged_verdict", "logged_propensity")


class Tables:
    """Reads a folder of a replay.

    Args:
        folder: The folder.
        tasks: Names of the tasks that have labels.
    """

    def __init__(self, folder: ReplayFolder, tasks: Sequence[str]) -> None:
        self.arms = folder.arms
        self.tasks = tasks
        requests = folder.requests()
        names = requests.collect_schema().names()
        self.properties = [name for name in names if name == "scenario" or name.startswith("by_")]
        parts = [requests.select("request_id", "timestamp", *_LOGGED, *self.properties)]
        if (labels := folder.labels()) is not None:
            parts.append(
                labels.select(
                    pl.col("request_id").alias("labels_request_id"),
                    *(pl.col(f"label_{task}") for task in tasks),
                )
            )
        parts += [_arm(folder, arm, number) for number, arm in enumerate(self.arms)]
        joined = pl.concat(parts, how="horizontal")
        self.rows = int(requests.select(pl.len()).collect().item())
        self.all: Frame = joined.collect() if self.rows <= IN_MEMORY else joined

    def models(self, arm: str) -> list[str]:
        """Versions of the models that decided in an arm."""
        column = pl.col(self._column(arm, "model"))
        found = self.all.lazy().select(column.drop_nulls().unique().sort()).collect()
        return [str(version) for version in found.to_series().to_list()]

    def passed(self, arm: str) -> pl.Expr:
        """Whether an arm passes a request; of the log, null where its verdict was not kept."""
        name = "logged_verdict" if arm == LOG else self._column(arm, "verdict")
        return pl.col(name) == "pass"

    def e(self, arm: str) -> pl.Expr:
        """The expected reward by which an arm ranks."""
        return pl.col(self._column(arm, "e")).cast(pl.Float32)

    def closed(self, task: str) -> pl.Expr:
        """Whether a request is not later than the last one with a label of this task."""
        times = pl.col("timestamp")
        last = times.filter(pl.col(f"label_{task}").is_not_null()).max()
        return (times <= last).fill_null(value=False)

    @staticmethod
    def log_passes() -> pl.Expr:
        """Probability that the log passes a request; null where its verdict was not kept."""
        return passing(*_LOGGED)

    @staticmethod
    def requests(rows: Frame) -> Frame:
        """Logged decisions, as a comparison takes them."""
        names = ("request_id", "timestamp", *_LOGGED, "scenario")
        known = rows.lazy().collect_schema().names()
        return rows.select(name for name in names if name in known)

    def labels(self, rows: Frame) -> Frame:
        """Labels, as a comparison takes them."""
        return rows.select(
            pl.col("labels_request_id").alias("request_id"),
            *(f"label_{task}" for task in self.tasks),
        )

    def decisions(self, rows: Frame, arm: str) -> Frame:
        """Decisions of an arm or of the log, as a comparison takes them."""
        if arm == LOG:
            return rows.select(
                "request_id",
                verdict="logged_verdict",
                propensity="logged_propensity",
            )
        start = self._column(arm, "")
        names = rows.lazy().collect_schema().names()
        return rows.select(
            pl.col(name).alias(name.removeprefix(start)) for name in names if name.startswith(start)
        )

    def _column(self, arm: str, name: str) -> str:
        return f"arm{self.arms.index(arm)}:{name}"


def _arm(folder: ReplayFolder, arm: str, number: int) -> pl.LazyFrame:
    decisions = folder.decisions(arm)
    wanted = [
        name
        for name in decisions.collect_schema().names()
        if name in {"request_id", "verdict", "propensity", "e", "model"}
        or name.startswith(("score_", "uncertainty_"))
    ]
    return decisions.select(pl.col(name).alias(f"arm{number}:{name}") for name in wanted)
