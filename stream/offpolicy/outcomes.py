"""Outcomes as a frame: the first of each request and task, whatever the order of their records."""

from collections.abc import Callable, Iterable

import polars as pl

from stream.messages import Outcome, RecordError

Reject = Callable[[str, str], None]


def read_outcomes(records: Iterable[tuple[str, bytes | None]], reject: Reject) -> pl.DataFrame:
    """Read the values of outcome records, from wherever they come.

    Args:
        records: Pairs of a place (file and line, or partition and offset) and a value.
        reject: Called with place and reason of each that is malformed; it is left out.

    Returns:
        A frame of :func:`outcome_frame`.
    """
    rows = []
    for place, value in records:
        try:
            outcome = Outcome.from_bytes(value)
        except RecordError as error:
            reject(place, str(error))
            continue
        rows.append((outcome.request_id, outcome.task, outcome.ts))
    return outcome_frame(rows)


def outcome_frame(rows: Iterable[tuple[str, str, int]]) -> pl.DataFrame:
    """The first outcome of each request and task: ``request_id``, ``task``, ``ts`` (ms)."""
    frame = pl.DataFrame(
        list(rows), schema={"request_id": pl.String, "task": pl.String, "ts": pl.Int64},
        orient="row",
    )  # fmt: skip
    return frame.group_by("request_id", "task", maintain_order=True).agg(pl.col("ts").min())
