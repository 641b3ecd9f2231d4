"""Requests and outcomes for tests of the store, and the store's contents by brute force."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from models.features import FeatureSpec
from models.tasks import Task, TaskSet
from stream.messages import Decision, Outcome, Reason, TrainingExample
from trainer.store.example_store import (
    ExampleStore,
    batch_of,
    example_rows,
    outcome_rows,
)
from trainer.store.windows import AttributionWindows

SPEC = FeatureSpec.parse(
    """
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 12
""",
    "test",
)
TASKS = TaskSet([Task(name="click", window_s=60), Task(name="deal", window_s=7_200)])
WINDOWS = AttributionWindows(TASKS, 1.0, 5.0)
EXAMPLES, OUTCOMES = "examples-topic", "outcomes-topic"
START = 1_790_000_000_000 // 3_600_000 * 3_600_000
"""Start of an hour in 2026, ms."""


def example(rid: str, ts: int, site: int = 3, spec: str = SPEC.hash) -> TrainingExample:
    decision = Decision("m1", 0.5, None, Reason.EXPLORE, 0.25, 7)
    return TrainingExample(rid, ts, spec, [site], decision, 2.0, 9)


def store_at(folder: Path | str) -> ExampleStore:
    return ExampleStore(str(folder), EXAMPLES, OUTCOMES)


def append(
    store: ExampleStore,
    examples: Sequence[TrainingExample] = (),
    outcomes: Sequence[Outcome] = (),
    watermark_ms: int | None = None,
    partition: int = 0,
) -> None:
    """Append what follows in partition 0 of both topics."""
    first = store.offset(EXAMPLES, partition), store.offset(OUTCOMES, partition)
    batch = batch_of(
        example_rows(examples, partition, first[0]),
        outcome_rows(outcomes, partition, first[1]),
        {partition: first[0] + len(examples)},
        {partition: first[1] + len(outcomes)},
    )
    store.append(batch, watermark_ms)


def read(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in sorted(folder.glob("*.parquet"))])


def brute_force(
    deliveries: Iterable[tuple[TrainingExample, int, int]],
    outcomes: Iterable[Outcome],
    watermark_ms: int | None,
    windows: AttributionWindows = WINDOWS,
) -> dict[str, dict[str, Any]]:
    """What a snapshot must say of each request, by id, from lists in memory.

    Args:
        deliveries: Examples with partition and offset of their records.
        outcomes: Outcomes.
        watermark_ms: The watermark.
        windows: The windows.
    """
    newest: dict[str, tuple[tuple[int, int, int], TrainingExample]] = {}
    for made, partition, offset in deliveries:
        key = (made.ts, partition, offset)
        if made.request_id not in newest or key > newest[made.request_id][0]:
            newest[made.request_id] = (key, made)
    events: dict[tuple[str, str], list[int]] = {}
    for outcome in outcomes:
        events.setdefault((outcome.request_id, outcome.task), []).append(outcome.ts)
    rows = {}
    for rid, (_, made) in newest.items():
        row: dict[str, Any] = {
            "ts": made.ts,
            "site": made.features[0],
            "elapsed": max(0, (watermark_ms or 0) - made.ts),
        }
        for name, window_ms in zip(windows.names, windows.windows_ms, strict=True):
            delays = [ts - made.ts for ts in events.get((rid, name), [])]
            hits = [delay for delay in delays if 0 < delay <= window_ms]
            closed = (
                watermark_ms is not None
                and watermark_ms > made.ts + window_ms + windows.lateness_ms
            )
            row[f"delay_{name}"] = min(hits, default=None)
            row[f"label_{name}"] = 1 if hits else (0 if closed else None)
        rows[rid] = row
    return rows


def contents(folder: Path) -> dict[str, dict[str, Any]]:
    """What a written snapshot says of each request, by id."""
    rows = {}
    for row in read(folder).iter_rows(named=True):
        assert row["request_id"] not in rows, "a request is in the snapshot twice"
        names = ["ts", "elapsed", *(name for name in row if name.startswith(("label_", "delay_")))]
        rows[row["request_id"]] = {name: row[name] for name in names} | {"site": row["features"][0]}
    return rows
