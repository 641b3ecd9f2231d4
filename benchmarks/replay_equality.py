"""Do the files of a replay depend on how it was run? They must not, in any byte.

Run from the repository root: ``PYTHONPATH=. python benchmarks/replay_equality.py JD_FOLDER [N]``.
Replays N simulated requests and N of JD's real ones, with the shipped artifacts, exploration and
direct passes: with 1, 2 and 4 processes, chunks of 1 to 5,000 requests, from lines, packed lines,
a table, and three files that are merged by time. Prints the number of table files that differ from
those of the first run; parts of three files are compared by content, as their offsets differ.
"""

import asyncio
import gzip
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from models.settings import Settings
from stream.replay.folder import ReplayFolder
from stream.replay.replay import ReplayOptions, run_replay
from trainer.simulation.simulator import Simulator
from trainer.simulation.traffic import Traffic
from trainer.traffic.jd import JdRequests

CASES = [
    ("jsonl", 1, 1000), ("jsonl", 1, 1), ("jsonl", 2, 5000), ("jsonl", 4, 100),
    ("jsonl.gz", 2, 1000), ("parquet", 1, 5000), ("parquet", 4, 64),
    ("parts", 1, 1000), ("parts", 2, 17), ("parts", 4, 5000),
]  # fmt: skip


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


def tables(folder: Path, *, whole: bool) -> dict[str, Any]:
    """Content of the tables, byte for byte, or as frames without coordinates."""
    if whole:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*-*.parquet"))
        }
    found = ReplayFolder(folder)
    frame = found.decisions().drop("partition", "offset").collect()
    return {"decisions": frame.write_ndjson().encode()}


def compare(name: str, traffic: Traffic, settings: Settings, folder: Path) -> None:
    """Replay one stream in all ways."""
    sources = write(folder, traffic)
    first: dict[bool, dict[str, Any]] = {}
    for kind, processes, chunk_size in CASES:
        out = folder / f"{kind}-{processes}-{chunk_size}"
        options = ReplayOptions(
            sources[kind], out, chunk_size=chunk_size, processes=processes,
            piece_bytes=200_000, rows_per_part=2000,
        )  # fmt: skip
        summary = asyncio.run(run_replay(settings, options))
        differ = {}
        for whole in (True, False):
            if whole and kind == "parts":
                continue
            found = tables(out, whole=whole)
            before = first.setdefault(whole, found)
            differ[whole] = sum(found[each] != before.get(each) for each in found)
            differ[whole] += len(before.keys() ^ found.keys())
        print(
            f"{name}: {kind}, {processes} processes, chunks of {chunk_size}: "
            f"{summary['decided']:,} decided, {summary['blocked']:,} blocked, "
            f"files that differ: {max(differ.values())}",
            flush=True,
        )


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
        with tempfile.TemporaryDirectory(dir="var") as folder:
            compare(name, traffic, settings, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
