"""Labels of logged requests: what happened to them, and where nobody can know.

A label is null unless the log says that the request passed *and* the windows of its task are
closed. An event that came before its window closed does not count earlier than a missing one would:
otherwise the newest requests would all be positive. The label of a task whose population is another
task is about all requests: it is true if the event of that task happened as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import polars as pl

from models.tasks import ALL_REQUESTS, TaskSet
from stream.offpolicy.errors import OffPolicyError

_ROW: Final = "_outcome_row"


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """What became of the outcomes; each counts once, in the first place that applies.

    Attributes:
        outcomes: All of them, the first of each request and task.
        unknown_task: Of tasks that are not configured.
        unknown_request: Of requests that are not among those replayed.
        unlogged: Of requests without a logged verdict.
        blocked: Of requests that the log says were blocked.
        before: Earlier than their request.
        late: After their window.
        open: Within a window that was not closed.
        used: Behind a true label, or without the event of the task's population.
    """

    outcomes: int
    unknown_task: int
    unknown_request: int
    unlogged: int
    blocked: int
    before: int
    late: int
    open: int
    used: int

    def as_dict(self) -> dict[str, int]:
        """Counts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_FATES: Final = tuple(field.name for field in fields(OutcomeCounts))[2:]


class Labeller:
    """Labels requests, part by part; outcomes are held in memory, requests are not.

    Args:
        outcomes: Frame of `stream.offpolicy.outcomes`.
        tasks: The tasks, with their populations and windows.
        as_of_ms: Moment up to which outcomes are complete, ms since the epoch.
    """

    def __init__(self, outcomes: pl.DataFrame, tasks: TaskSet, as_of_ms: int) -> None:
        self._tasks, self._as_of_ms = tasks, as_of_ms
        known = pl.col("task").is_in(tasks.names)
        self._unknown_task = outcomes.filter(~known).height
        self._outcomes = outcomes.filter(known).with_row_index(_ROW)
        self._fate = np.full(self._outcomes.height, _FATES.index("unknown_request"), np.uint8)

    def label(self, requests: pl.DataFrame) -> pl.DataFrame:
        """Label a part of the requests.

        Args:
            requests: Columns ``request_id``, ``timestamp``, ``logged_verdict``.

        Returns:
            ``request_id``, and per task ``label_<task>`` (Boolean, null where it is not known) and
            ``delay_<task>`` (Int64, ms from the request to the event; null without a known event).

        Raises:
            OffPolicyError: If a column is missing.
        """
        for needed in ("request_id", "timestamp", "logged_verdict"):
            if needed not in requests.columns:
                raise OffPolicyError(f"requests: the column {needed!r} is missing")
        frame = requests.select("request_id", "timestamp", "logged_verdict")
        for task in self._tasks:
            frame = self._label(frame, task.name)
        made = [(f"label_{name}", f"delay_{name}") for name in self._tasks.names]
        return frame.select("request_id", *(column for pair in made for column in pair))

    def counts(self) -> OutcomeCounts:
        """What became of the outcomes, by the requests so far."""
        counted = np.bincount(self._fate, minlength=len(_FATES)).tolist()
        return OutcomeCounts(
            self._outcomes.height + self._unknown_task,
            self._unknown_task,
            **dict(zip(_FATES, counted, strict=True)),
        )

    def _label(self, frame: pl.DataFrame, name: str) -> pl.DataFrame:
        window_ms = int(self._tasks[name].window_s * 1000)
        of_task = self._outcomes.filter(pl.col("task") == name).select("request_id", _ROW, "ts")
        # timestamps are hostile: no difference may leave 64 bits
        delay = pl.col("ts") - pl.col("timestamp").clip(-(2**62), 2**62)
        closed = pl.col("timestamp") <= self._as_of_ms - max(self._windows_ms(name))
        verdict = pl.col("logged_verdict")
        fate = (
            pl.when(pl.col("ts").is_null())
            .then(None)
            .when(verdict.is_null())
            .then(_FATES.index("unlogged"))
            .when(verdict != "pass")
            .then(_FATES.index("blocked"))
            .when(pl.col("ts") < pl.col("timestamp"))
            .then(_FATES.index("before"))
            .when(delay > window_ms)
            .then(_FATES.index("late"))
            .when(~closed)
            .then(_FATES.index("open"))
            .otherwise(_FATES.index("used"))
            .cast(pl.UInt8)
        )
        joined = frame.join(of_task, on="request_id", how="left", maintain_order="left")
        joined = joined.with_columns(fate=fate)
        seen = joined.filter(pl.col("fate").is_not_null())
        self._fate[seen[_ROW].to_numpy()] = seen["fate"].to_numpy()
        used = (pl.col("fate") == _FATES.index("used")).fill_null(value=False)
        population = self._tasks[name].population
        happened = used if population == ALL_REQUESTS else used & pl.col(f"label_{population}")
        label = pl.when(closed & (verdict == "pass")).then(happened)
        return joined.with_columns(
            label.alias(f"label_{name}"),
            pl.when(label).then(delay).alias(f"delay_{name}"),
        ).drop(_ROW, "ts", "fate")

    def _windows_ms(self, name: str) -> Iterator[int]:
        """The windows of a task and of the tasks that must have happened."""
        while name != ALL_REQUESTS:
            yield int(self._tasks[name].window_s * 1000)
            name = self._tasks[name].population


def latest_moment(requests: pl.DataFrame, outcomes: pl.DataFrame, now_ms: int) -> int:
    """The latest moment of requests and outcomes that is not in the future: a default as-of.

    Outcomes may still be missing up to the delay of their topic; a caller that knows better says
    so. 0 without any.
    """
    moments = pl.concat([requests["timestamp"], outcomes["ts"]])
    latest = moments.filter(moments <= now_ms).max()
    return 0 if latest is None else int(latest)  # type: ignore[arg-type]
