"""Do the files of a replay depend on how it was run? They must not, in any byte.

Run from the repository root: ``PYTHONPATH=. python benchmarks/replay_equality.py JD_FOLDER [N]``.
Replays N simulated requests and N of JD's real ones, with the shipped artifacts, exploration and
direct passes: with 1, 2 and 4 processes and with two on a local Ray cluster (extra ``weir[ray]``),
chunks of 1 to 5,000 requests, from lines, packed lines, a table, and three files that are merged by
time. Prints the number of table files that differ in any byte from those of the first run from the
same kind of source, one file or three; and whether one and three give the same decisions: they do
where no two requests have one timestamp, as nothing tells which of these came first.
"""

import asyncio
import gzip
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import polars as pl

from models.settings import Settings
from stream.replay.folder import ReplayFolder
from stream.replay.on_ray import LOCAL, connected
from stream.replay.replay import ReplayOptions, run_replay
from trainer.simulation.simulator import Simulator
from trainer.simulation.traffic import Traffic
from trainer.traffic.jd import JdRequests

CASES = [
    ("jsonl", 1, 1000), ("jsonl", 1, 1), ("jsonl", 2, 5000), ("jsonl", 4, 100),
    ("jsonl.gz", 2, 1000), ("parquet", 1, 5000), ("parquet", 4, 64),
    ("parts", 1, 1000), ("parts", 2, 17), ("parts", 4, 5000),
]  # fmt: skip
#: On a local Ray cluster of two processes.
ON_RAY = [("jsonl", 2, 1000), ("jsonl.gz", 2, 500), ("parquet", 2, 5000), ("parts", 2, 17)]


def write(folder: Path, traffic: Traffic) -> dict[str, str]:
    """The same requests in files of every kind."""
    rows = list(zip(traffic.values, traffic.timestamps.tolist(), strict=True))
    lines = [orjson.dumps({"value": orjson.Fragment(value), "timestamp": at}) for value, at in rows]
    (folder / "r.jsonl").write_bytes(b"\n".join(lines))
    (folder / "r.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines), 1))
    table = {"value": traffic.values, "timestamp": traffic.timestamps}
    pl.DataFrame(table).write_parquet(folder / "r.parquet", row_group_size=1500)
    for number in range(3):
        (folder / f"part-{number}.jsonl").write_bytes(b"\n".join(lines[number::3]))
    kinds = {kind: str(folder / f"r.{kind}") for kind in ("jsonl", "jsonl.gz", "parquet")}
    return kinds | {"parts": str(folder / "part-*.jsonl")}


def tables(folder: Path) -> dict[str, bytes]:
    """Content of the tables."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*-*.parquet"))
    }


def decided(folder: Path) -> pl.DataFrame:
    """The decisions, without coordinates."""
    return ReplayFolder(folder).decisions().drop("partition", "offset").collect()


def compare(name: str, traffic: Traffic, settings: Settings, folder: Path) -> None:
    """Replay one stream in all ways."""
    sources = write(folder, traffic)
    first: dict[bool, Path] = {}
    cases = [(*case, None) for case in CASES] + [(*case, LOCAL) for case in ON_RAY]
    for kind, processes, chunk_size, ray in cases:
        out = folder / f"{kind}-{processes}-{chunk_size}-{ray}"
        options = ReplayOptions(
            sources[kind], out, chunk_size=chunk_size, processes=processes, ray=ray,
            piece_bytes=200_000, rows_per_part=2000,
        )  # fmt: skip
        summary = asyncio.run(run_replay(settings, options))
        before = tables(first.setdefault(kind == "parts", out))
        found = tables(out)
        differ = sum(found.get(each) != before.get(each) for each in found.keys() | before.keys())
        print(
            f"{name}: {kind}, {processes} processes{' on Ray' if ray else ''}, "
            f"chunks of {chunk_size}: {summary['decided']:,} decided, "
            f"{summary['blocked']:,} blocked, files that differ: {differ}",
            flush=True,
        )
    same = decided(first[True]).equals(decided(first[False]))
    ties = traffic.timestamps.size - np.unique(traffic.timestamps).size
    print(f"{name}: one file and three decide the same: {same}; requests without an order: {ties}")


def main(words: Sequence[str]) -> None:
    """Compare both streams."""
    count = int(words[1]) if len(words) > 1 else 5000
    policy = {"policy.explore": "0.02", "policy.direct_share": "0.02"}
    simulator = Simulator(1)
    jd = JdRequests.load(words[0], Settings().task_set)
    streams = [
        ("simulated", simulator.batch(0, count), Settings().override(policy)),
        (
            "jd",
            Traffic.joined(list(jd.batches()))[:count],
            Settings().override({**policy, "model.artifact": "pretrained:jd"}),
        ),
    ]
    for name, traffic, settings in streams:
        with tempfile.TemporaryDirectory(dir="var") as folder, connected(LOCAL, 2):
            compare(name, traffic, settings, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
