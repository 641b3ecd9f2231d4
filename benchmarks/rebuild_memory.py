"""What a rebuild's input costs in memory, by rows of the example store.

    PYTHONPATH=. python benchmarks/rebuild_memory.py [ROWS ...]

A store of the default spec in parts of 10,000 rows, each request stored twice (masked, then
mature). Snapshot and laying out run in a process of their own, as in a rebuild; shown are the peaks
of its resident memory beyond what the libraries take, and how long it took.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from rich.progress import Progress
from trainer.pipeline.snapshot import write_snapshot

from models.data.examples import WEIGHT, example_schema
from models.features import FeatureSpec
from models.tasks import DEFAULT_TASKS
from trainer.training.rows import lay_out

PART = 10_000
SPEC = FeatureSpec.load("openrtb")
SCHEMA = example_schema(DEFAULT_TASKS) | {WEIGHT: pl.Float64()}


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_store(folder: Path, rows: int) -> None:
    """`rows` examples of half as many requests."""
    rng = np.random.default_rng(1)
    for number in range(rows // PART):
        ids_NC = rng.integers(0, SPEC.rows, (PART, SPEC.columns), dtype=np.int32)
        mature = number % 2 == 1
        first = number // 2 * PART
        pl.DataFrame(
            {
                "request_id": [f"{n:032x}-{n % 7}" for n in range(first, first + PART)],
                "ts": [first + n for n in range(PART)],
                "spec": [SPEC.hash] * PART,
                "features": pl.Series(ids_NC).arr.to_list(),
                **{
                    f"label_{name}": rng.integers(0, 2, PART).tolist() if mature else None
                    for name in DEFAULT_TASKS.names
                },
                "model": "20260101T000000-0123abcd",
                "reason": "score",
                "e": rng.random(PART),
                "threshold": rng.random(PART),
                "propensity": 1.0,
                WEIGHT: 1.0,
            },
            schema=SCHEMA,
        ).write_parquet(folder / f"part-{number:010d}.parquet", metadata={"weir.offsets": "{}"})


def measure(store: Path) -> None:
    """Measure snapshot and rows; run in a process of its own."""
    base, began = peak_mib(), time.monotonic()
    with tempfile.TemporaryDirectory(dir=store.parent) as folder:
        parts = sorted(store.glob("*.parquet"))
        done = write_snapshot(parts, Path(folder) / "s", SPEC, DEFAULT_TASKS, 10**9)
        snapshot = peak_mib()
        (Path(folder) / "rows").mkdir()
        lay_out(
            Path(folder) / "s",
            None,
            SPEC,
            DEFAULT_TASKS,
            held_out=0.15,
            folder=Path(folder) / "rows",
            progress=Progress(disable=True),
        )
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    print(
        f"{len(parts) * PART} rows, {done.rows} requests: libraries {base:.0f} MiB, with the "
        f"snapshot {snapshot:.0f}, with the rows {peak_mib():.0f}; {size / done.rows:.0f} bytes of "
        f"disk per request; {time.monotonic() - began:.0f} s"
    )


def main() -> None:
    """Make and measure one store after the other."""
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
        return
    for rows in [int(text) for text in sys.argv[1:]] or [500_000, 2_000_000]:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            store = Path(folder) / "store"
            store.mkdir()
            make_store(store, rows)
            subprocess.run([sys.executable, __file__, "--measure", str(store)], check=True)


if __name__ == "__main__":
    main()
