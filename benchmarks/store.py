"""What the trainer's store costs in memory, disk and time, by number of requests.

    PYTHONPATH=. python benchmarks/store.py [REQUESTS ...]

A store of the default spec: requests over half a day with random feature ids (of 32, so that they
compress as those of simulated requests do), 2 % of them delivered twice, 0.7 outcomes per request,
appended 20,000 at a time. Intake, writing, compaction and the snapshot each run in a process of
their own; shown are their peaks of resident memory, and what the libraries take of it.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from models.features import FeatureSpec
from models.tasks import DEFAULT_TASKS
from stream.messages import Decision, Outcome, Reason, TrainingExample
from trainer.pipeline.validation import read_example, read_outcome
from trainer.store.event_table import EventTable
from trainer.store.example_store import EXAMPLES, OUTCOMES, Batch, ExampleStore
from trainer.store.maintenance import compact
from trainer.store.schemas import (
    EXAMPLE_COLUMNS,
    HOUR,
    HOUR_MS,
    OUTCOME_COLUMNS,
    StoredExample,
    StoredOutcome,
)
from trainer.store.snapshot import write_snapshot
from trainer.store.watermark import Watermark
from trainer.store.windows import AttributionWindows

VAR = Path("var")
BATCH = 20_000
SPEC = FeatureSpec.load("openrtb")
START = 1_790_000_000_000
SPAN_MS = 12 * HOUR_MS


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def with_hour(columns: dict[str, object], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    hour = pl.from_epoch("ts", "ms").dt.strftime("%Y-%m-%dT%H").alias(HOUR)
    names = {name: kind for name, kind in schema.items() if name != HOUR}
    return pl.DataFrame(columns, schema=names).with_columns(hour)


def write(store: str, requests: int) -> None:
    """Append all batches as the daemon does."""
    rng = np.random.default_rng(1)
    examples = EventTable(store, EXAMPLES, EXAMPLE_COLUMNS)
    outcomes = EventTable(store, OUTCOMES, OUTCOME_COLUMNS)
    for first in range(0, requests, BATCH):
        numbers = np.arange(first, min(first + BATCH, requests))
        again = rng.random(len(numbers)) < 0.02
        numbers = np.where(again, np.maximum(0, numbers - 7), numbers)
        ids = [
            f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}-{number}" for number in numbers.tolist()
        ]
        ts = START + (numbers * (SPAN_MS / requests)).astype(np.int64)
        count = len(numbers)
        frame = with_hour(
            {
                "request_id": ids,
                "ts": ts,
                "spec": [SPEC.hash] * count,
                "features": pl.Series(
                    rng.integers(0, 32, (count, SPEC.columns), dtype=np.int32)
                ).arr.to_list(),
                "model": ["20260101T000000-0123abcd"] * count,
                "reason": ["score"] * count,
                "e": rng.random(count),
                "threshold": rng.random(count),
                "propensity": np.ones(count),
                "weight": np.ones(count),
                "scenario": np.zeros(count, np.int32),
                "partition": numbers % 8,
                "offset": numbers,
                "thinned": np.zeros(count, np.int8),
            },
            EXAMPLE_COLUMNS,
        )
        hits = np.flatnonzero(rng.random(count) < 0.7)
        reported = with_hour(
            {
                "request_id": [ids[hit] for hit in hits],
                "task": [DEFAULT_TASKS.names[hit % len(DEFAULT_TASKS.names)] for hit in hits],
                "ts": ts[hits] + rng.integers(1, HOUR_MS, len(hits)),
                "partition": hits % 8,
                "offset": hits,
            },
            OUTCOME_COLUMNS,
        )
        outcomes.append(reported, OUTCOMES, {0: first + BATCH}, int(ts[-1]))
        examples.append(frame, EXAMPLES, {0: first + BATCH}, int(ts[-1]))


def measure(step: str, store: str, requests: int) -> None:
    """One step; run in a process of its own."""
    base, began = peak_mib(), time.monotonic()
    note = ""
    if step == "write":
        write(store, requests)
    elif step == "compact":
        files = {}
        for name in (EXAMPLES, OUTCOMES):
            before = len(EventTable(store, name).files)
            compact(EventTable(store, name), START + 9 * SPAN_MS, 10_000)
            EventTable(store, name).delta.vacuum(0, False, enforce_retention_duration=False)
            files[name] = f"{before} to {len(EventTable(store, name).files)}"
        note = f"; files: {files}"
    else:
        note = intake(store) if step == "intake" else snapshot(store)
    took = time.monotonic() - began
    print(
        f"  {step}: {took:.0f} s, peak {peak_mib():.0f} MiB, libraries {base:.0f}{note}", flush=True
    )


def intake(store: str) -> str:
    """CPU of the daemon's intake: reading 40,000 records of each topic, and storing them."""
    rng, now, batch = np.random.default_rng(1), int(time.time() * 1000), Batch()
    mark = Watermark(600_000, None, now)
    decision = Decision("20260101T000000-0123abcd", 0.5, 0.4, Reason.SCORE, 1.0, 1)
    ids_NC = rng.integers(0, SPEC.rows, (40_000, SPEC.columns)).tolist()
    examples = [
        TrainingExample(f"{n:032x}", now - n, SPEC.hash, ids, decision).to_bytes()
        for n, ids in enumerate(ids_NC)
    ]
    outcomes = [Outcome(f"{n:032x}", "click", now).to_bytes() for n in range(len(examples))]
    marks = [time.process_time()]
    for offset, value in enumerate(examples):
        example = read_example(value, SPEC, now, 30.0)
        batch.add_example(StoredExample.of(example, 0, offset))
        mark.observe(example.ts, now)
    marks.append(time.process_time())
    for offset, value in enumerate(outcomes):
        outcome = read_outcome(value, DEFAULT_TASKS, now, 30.0)
        batch.add_outcome(StoredOutcome(outcome, 0, offset))
    marks.append(time.process_time())
    batch.example_offsets = batch.outcome_offsets = {0: len(examples)}
    ExampleStore(f"{store}-intake", EXAMPLES, OUTCOMES).append(batch, now)
    marks.append(time.process_time())
    read, reported, stored = (np.diff(marks) / len(examples) * 1e6).tolist()
    return (
        f"; us of CPU: {read:.1f} to read an example, {reported:.1f} an outcome, "
        f"{stored:.1f} to store both"
    )


def snapshot(store: str) -> str:
    """Write a snapshot of all requests."""
    windows = AttributionWindows(DEFAULT_TASKS, 1.0, 60.0)
    with tempfile.TemporaryDirectory(dir=VAR) as folder:
        watermark_ms = START + 30 * 24 * HOUR_MS
        done = write_snapshot(store, Path(folder) / "s", SPEC, windows, 10**9, watermark_ms)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return f"; {done.rows} requests, {size / done.rows:.0f} bytes of disk each"


def main() -> None:
    """Make and measure one store after the other."""
    if sys.argv[1:2] == ["--step"]:
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    for requests in [int(text) for text in sys.argv[1:]] or [500_000, 5_000_000]:
        VAR.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=VAR) as folder:
            store = Path(folder) / "store"
            print(f"{requests} requests", flush=True)
            for step in ("intake", "write", "compact", "snapshot"):
                command = [sys.executable, __file__, "--step", step, str(store), str(requests)]
                subprocess.run(command, check=True)
            for name in (EXAMPLES, OUTCOMES):
                size = sum(file.size for file in EventTable(str(store), name).files)
                print(f"  {name}: {size / requests:.0f} bytes on disk per request", flush=True)


if __name__ == "__main__":
    main()
