"""Time and memory of `weir train` by number of rows; prints a table.

Run from the repository root: ``PYTHONPATH=. python benchmarks/training.py [ROWS ...]``, 100,000
simulated rows by default. Every number of rows is trained in a process of its own, watched from
outside. Anonymous memory is what training itself holds at most; mapped files (rows and libraries)
come on top as far as the kernel has room, and give way when it has none.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from models.features import FeatureSpec
from trainer.pipeline.train import train
from trainer.simulation.simulator import Simulator
from trainer.traffic.examples import write_examples
from trainer.training.config import TrainConfig

REPOSITORY = Path(__file__).parents[1]
MIB = 2**20


def main() -> None:
    """Measure each number of rows and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="*", default=[100_000], help="Numbers of rows.")
    parser.add_argument("--threads", type=int, default=1, help="Number of threads.")
    parser.add_argument("--child", type=Path, help="Folder of examples: train once on these.")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_train(arguments.child, arguments.threads)))
        return
    table = Table("rows", "part", "s", "MiB anonymous", "MiB with files")
    for rows in arguments.rows:
        with _examples(rows) as folder:
            parts, anonymous, resident = _watch(folder, arguments.threads)
        for part, seconds in parts.items():
            whole = part == "all, of CPU"
            sizes = (f"{size / MIB:,.0f}" if whole else "" for size in (anonymous, resident))
            table.add_row(f"{rows:,}", part, f"{seconds:,.1f}", *sizes)
    Console().print(table)


@contextmanager
def _examples(rows: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        path = Path(folder) / "examples.parquet"
        write_examples(Simulator(1), rows, path, FeatureSpec.load("openrtb"))
        yield Path(folder)


def _watch(folder: Path, threads: int) -> tuple[dict[str, float], int, int]:
    """Seconds of each part, and the most bytes of anonymous and of all resident memory."""
    command = [sys.executable, __file__, "--child", str(folder), "--threads", str(threads)]
    anonymous = resident = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as child:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            memory = process.memory_info()
            anonymous = max(anonymous, memory.rss - memory.shared)
            resident = max(resident, memory.rss)
            time.sleep(0.1)
        text, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"the training ended with status {child.returncode}")
    return json.loads(text), anonymous, resident


def _train(folder: Path, threads: int) -> dict[str, float]:
    progress = Progress(disable=True)
    begun = time.perf_counter()
    train(
        folder / "examples.parquet",
        FeatureSpec.load("openrtb"),
        folder / "artifact",
        replace(TrainConfig(), threads=threads),
        0,
        created=datetime.now(UTC),
        progress=progress,
    )
    parts = {task.description: task.finished_time or 0.0 for task in progress.tasks}
    return parts | {"all": time.perf_counter() - begun, "all, of CPU": time.process_time()}


if __name__ == "__main__":
    main()
