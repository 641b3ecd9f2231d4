"""Checks that the trainer's store works on an object store, by doing there all that a trainer does.

    PYTHONPATH=. python benchmarks/object_store.py s3://BUCKET/EMPTY_PREFIX

Credentials and endpoint come from the environment, for Delta Lake and for fsspec alike; s3fs has
to be installed. Without an object store, moto is one: ``moto_server -p 5000``, a bucket in it, and

    AWS_ENDPOINT_URL=http://127.0.0.1:5000 AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
    AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=y

Lease, appends of both tables, the fence against a second writer, snapshot, compaction, thinning,
retention, vacuum and the ledger of trials are checked against what a folder gives; one line each.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl

from models.features import FeatureSpec
from models.tasks import Task, TaskSet
from stream.messages import Decision, Outcome, Reason, TrainingExample
from trainer.gates.ledger import Ledger
from trainer.store.event_table import AnotherWriterError, EventTable
from trainer.store.example_store import (
    EXAMPLES,
    OUTCOMES,
    ExampleStore,
    batch_of,
    example_rows,
    outcome_rows,
)
from trainer.store.lease import Lease
from trainer.store.maintenance import compact, drop_expired, vacuum
from trainer.store.snapshot import write_snapshot
from trainer.store.thinning import thin
from trainer.store.windows import AttributionWindows

SPEC = FeatureSpec.load("openrtb")
WINDOWS = AttributionWindows(TaskSet([Task(name="click", window_s=60)]), 1.0, 5.0)
START = 1_790_000_000_000 // 3_600_000 * 3_600_000
FLUSHES, ROWS = 12, 200
DAY_MS = 86_400_000
NO_FEATURES = [0] * SPEC.columns


def filled(url: str) -> ExampleStore:
    """A store with twelve flushes of an hour; every fourth request is clicked."""
    store = ExampleStore(url, "examples", "outcomes")
    for flush in range(FLUSHES):
        ts = START + flush * 60_000
        append(store, [f"r{flush}-{n}" for n in range(ROWS)], ts)
    append(store, [], START + DAY_MS)
    return store


def append(store: ExampleStore, ids: list[str], ts: int) -> None:
    """Append requests and the clicks of every fourth, up to a watermark."""
    first, second = store.offset("examples", 0), store.offset("outcomes", 0)
    decision = Decision("m1", 0.5, None, Reason.SCORE, 1.0, 7)
    made = [TrainingExample(rid, ts, SPEC.hash, NO_FEATURES, decision) for rid in ids]
    hits = [Outcome(rid, "click", ts + 5) for rid in ids[::4]]
    batch = batch_of(
        example_rows(made, 0, first),
        outcome_rows(hits, 0, second),
        {0: first + len(made)},
        {0: second + len(hits)},
    )
    store.append(batch, ts)


def labels(url: str) -> tuple[int, int, float]:
    """Requests, clicks and the sum of weights in a snapshot."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "snapshot"
        write_snapshot(url, folder, SPEC, WINDOWS, 10**6, START + DAY_MS)
        rows = pl.read_parquet(folder / "*.parquet")
    return len(rows), int(rows["label_click"].sum()), float(rows["weight"].sum())


def check_lease(url: str) -> str:
    """One writer: a second one is told who it is, and takes over when the first has stopped."""
    first, second = Lease(url, "first"), Lease(url, "second")
    second._mine = msgspec.structs.replace(second._mine, host="elsewhere")
    assert first.acquire() is None
    holder = second.acquire()
    assert holder is not None
    first.renew()
    first.release()
    assert second.acquire() is None
    second.release()
    return f"a second writer was refused: {holder}"


def check_store(url: str) -> str:
    """Rows, labels, offsets and watermark are there for another process."""
    filled(url)
    again = ExampleStore(url, "examples", "outcomes")
    assert again.offset("examples", 0) == again.rows == FLUSHES * ROWS
    assert again.watermark == START + DAY_MS
    assert labels(url)[:2] == (FLUSHES * ROWS, FLUSHES * ROWS // 4)
    return f"{again.rows} requests in {len(again.examples.files)} files"


def check_fence(url: str) -> str:
    """A writer that did not see another's append cannot append."""
    one, late = (ExampleStore(url, "examples", "outcomes") for _ in range(2))
    append(one, ["new"], START + DAY_MS)
    try:
        append(late, ["lost"], START + DAY_MS + 1)
    except AnotherWriterError as error:
        return str(error)
    raise AssertionError("two writers appended the same offsets")


def check_compaction(url: str) -> str:
    """Fewer files, the same snapshot."""
    before, files = labels(url), len(EventTable(url, EXAMPLES).files)
    for name in (EXAMPLES, OUTCOMES):
        compact(EventTable(url, name), START + DAY_MS, 10)
    after = len(EventTable(url, EXAMPLES).files)
    assert after < files
    assert labels(url) == before
    return f"{files} files became {after}"


def check_thinning(url: str) -> str:
    """Every click stays, a quarter of the others with four times the weight."""
    rows, clicks, _ = labels(url)
    with tempfile.TemporaryDirectory() as folder:
        tables = EventTable(url, EXAMPLES), EventTable(url, OUTCOMES)
        done = thin(*tables, WINDOWS, 0.25, Path(folder), 1)
    kept = labels(url)
    assert done.dropped > 0
    assert kept[1] == clicks
    assert abs(kept[2] - rows) < 0.1 * rows
    return f"{done.dropped} of {done.rows} rows dropped"


def check_retention(url: str) -> str:
    """Hours that have expired are dropped; replaced files that are old enough are removed."""
    dropped = drop_expired(EventTable(url, EXAMPLES), START + 40 * DAY_MS, 10)
    assert EventTable(url, EXAMPLES).rows == 0
    vacuum(EventTable(url, EXAMPLES))
    return f"{dropped} rows expired"


def check_ledger(url: str) -> str:
    """A trial is there for another process before it has ended, and after."""
    k, trial = Ledger(url, "a" * 64).open("candidate", "rows", 0.05)
    assert Ledger(url, "a" * 64).trials == (trial,)
    Ledger(url, "a" * 64).close(k, ["auc-pr deal"])
    assert Ledger(url, "a" * 64).trials[0].starved == ("auc-pr deal",)
    return f"{k} trial at level {trial.alpha_k:.3f}"


CHECKS: tuple[Callable[[str], str], ...] = (
    check_lease,
    check_store,
    check_fence,
    check_compaction,
    check_thinning,
    check_retention,
    check_ledger,
)


def main() -> None:
    """Run all checks on an empty prefix."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("url", help="an empty prefix of a bucket, or an empty folder")
    url = parser.parse_args().url
    for check in CHECKS:
        began = time.monotonic()
        found = check(url)
        name = check.__name__.removeprefix("check_")
        print(f"{name}: {found} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
