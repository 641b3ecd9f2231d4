"""Speed and memory of a replay: CPU per request by stage, wall time by processes, resident memory.

Run from the repository root::

    PYTHONPATH=. python benchmarks/replay.py speed [REQUESTS]
    PYTHONPATH=. python benchmarks/replay.py processes [REQUESTS]
    PYTHONPATH=. python benchmarks/replay.py memory [REQUESTS]

Requests have every field of the OpenRTB spec and are decided with the shipped artifact, 108
features. Speed is CPU time of this process, all its threads included, without the loading of the
model, so that other programs on the machine count little. `memory` writes one Parquet file by
repeating 100,000 requests, and shows resident memory after every half million: anonymous, and
mapped from files.
"""

import asyncio
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from benchmarks.features import _request
from models.settings import Settings
from stream.replay.replay import Progress, ReplayOptions, run_replay

REPEATED = 100_000
START_MS = 1_700_000_000_000


def requests(count: int) -> list[bytes]:
    """Requests as they would be on a topic."""
    rng = random.Random(1)
    made = [_request(rng) for _ in range(count)]
    for at, request in enumerate(made):
        request["ext"]["ts"] = START_MS + at
    return [orjson.dumps(request) for request in made]


def write(folder: Path, count: int) -> dict[str, Path]:
    """The same requests as lines, packed lines, and a table."""
    values = requests(count)
    lines, table = folder / "r.jsonl", folder / "r.parquet"
    lines.write_bytes(b"\n".join(values) + b"\n")
    pl.DataFrame({"value": values, "timestamp": range(START_MS, START_MS + count)}).write_parquet(
        table
    )
    print(f"{count:,} requests of {sum(map(len, values)) / count:,.0f} bytes")
    return {"jsonl": lines, "parquet": table}


def own_and_children_s() -> tuple[float, float]:
    """CPU time of this process, and of the children that ended."""
    own, children = (resource.getrusage(who) for who in (0, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


def cpu_s() -> float:
    """CPU time of both."""
    return sum(own_and_children_s())


def replay(
    source: Path, out: Path, on_progress: Callable[[Progress], None] | None = None, **kw: Any
) -> None:
    """Replay one file."""
    options = ReplayOptions(str(source), out, **kw)
    asyncio.run(run_replay(Settings(), options, on_progress))


def speed(folder: Path, count: int) -> None:
    """CPU per request from each kind of file; that of a small file is taken off."""
    files = write(folder, count)
    few = write(folder / "few", 1000)
    for kind, path in files.items():
        replay(few[kind], folder / f"warm-{kind}")
        costs = []
        for size, source in ((1000, few[kind]), (count, path)):
            began, wall = cpu_s(), time.perf_counter()
            replay(source, folder / f"out-{kind}-{size}")
            costs.append((cpu_s() - began, time.perf_counter() - wall))
        cpu = costs[1][0] - costs[0][0]
        per_core = (count - 1000) / cpu
        print(f"{kind}: {1e6 * cpu / (count - 1000):.1f} us of CPU, {per_core:,.0f}/s per core")


def processes(folder: Path, count: int) -> None:
    """Wall time with one and two processes, and CPU of this process and of its children."""
    files = write(folder, count)
    walls: dict[tuple[str, int], list[float]] = {}
    for number in (1, 2, 1, 2):
        for kind, path in files.items():
            began, before = time.perf_counter(), own_and_children_s()
            replay(path, folder / f"out-{kind}-{number}-{began}", processes=number)
            walls.setdefault((kind, number), []).append(time.perf_counter() - began)
            own, children = (
                after - earlier for after, earlier in zip(own_and_children_s(), before, strict=True)
            )
            print(
                f"{kind}, {number}: {walls[kind, number][-1]:.2f} s; CPU {own:.2f} s here, "
                f"{children:.2f} s in children (among them a trial of the model)",
                flush=True,
            )
    for kind in files:
        print(f"{kind}: {min(walls[kind, 1]) / min(walls[kind, 2]):.2f} times as fast")


def write_repeated(path: Path, count: int) -> None:
    """A table of many requests, a millisecond apart."""
    values = pl.Series("value", requests(REPEATED))
    parts = []
    for start in range(0, count, REPEATED):
        times = pl.int_range(START_MS + start, START_MS + start + REPEATED, eager=True)
        parts.append(pl.LazyFrame({"value": values, "timestamp": times}))
    pl.concat(parts).sink_parquet(path, row_group_size=50_000)


def memory(folder: Path, count: int) -> None:
    """Resident memory after every half million requests; another process makes the file."""
    path = folder / "r.parquet"
    maker = multiprocessing.get_context("spawn").Process(target=write_repeated, args=(path, count))
    maker.start()
    maker.join()
    print(f"{count:,} requests, {path.stat().st_size / 1e6:,.0f} MB", flush=True)
    shown = 0

    def show(progress: Progress) -> None:
        nonlocal shown
        if progress.requests >= shown:
            shown += 500_000
            print(f"{progress.requests:,}: {resident_mb()} MB", flush=True)

    replay(path, folder / "out", show)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"end: {resident_mb()} MB; most {most:,.0f} MB")


def resident_mb() -> str:
    """Resident memory: anonymous, and mapped from files."""
    found = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    anonymous, mapped = (int(found[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile"))
    return f"{anonymous} + {mapped}"


def main() -> None:
    """Run one of the measurements."""
    measures = {"speed": speed, "processes": processes, "memory": memory}
    measure = measures[sys.argv[1]]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    with tempfile.TemporaryDirectory(dir="var") as name:
        (Path(name) / "few").mkdir()
        measure(Path(name), count)


if __name__ == "__main__":
    main()
