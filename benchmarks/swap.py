"""Swaps under full load: the longest gap between two batches, and what is lost or doubled.

Run from the repository root: ``PYTHONPATH=. python benchmarks/swap.py``. A worker filters a backlog
of simulated requests with the pretrained artifact, while versions are announced: serve, roll back,
canary, promote, roll back, shadow. The gap is the time between the end of a batch of requests and
the start of the next one, in the worker; it is shown for each change, from its announcement until
the worker shows the version in its role, and for the time between the changes. Afterwards every
request is accounted for. ``worker FILE`` is the worker: it writes its times to FILE.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.artifact import PRETRAINED_FOLDER, fetch_artifact, write_artifact
from models.artifact.artifact import open_artifact
from models.artifact.canary import CanaryBatch
from models.artifact.manifest import CANARY_FILE, MANIFEST_FILE, sha256
from models.artifact.registry import Registry
from models.artifact.scorer import Scorer
from models.settings import Settings, load_settings
from stream.brokers.children import free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.intercept.interceptor import Intercepted, Interceptor
from stream.intercept.worker import run_worker
from stream.kafka.client import client_options
from stream.kafka.topics import ensure_topics
from stream.messages import Cause, ModelAnnouncement, ModelRole
from stream.messages.models_topic import announce
from stream.metrics.scrape import read_metrics
from stream.transport import ChunkSink, Outgoing
from stream.verify.verifier import account
from trainer.simulation.simulator import Simulator

SETTLE_S = 1.5
LIMIT_S = 120.0
PARTITIONS = 4
SERVE, CANARY, SHADOW = ModelRole.SERVE, ModelRole.CANARY, ModelRole.SHADOW
CHANGES: list[tuple[str, str, ModelRole, dict[str, str]]] = [
    ("serve v2", "v2", SERVE, {"serve": "v2"}),
    ("roll back to v1", "v1", SERVE, {"serve": "v1"}),
    ("canary v3", "v3", CANARY, {"serve": "v1", "canary": "v3"}),
    ("promote v3", "v3", SERVE, {"serve": "v3"}),
    ("roll back to v1", "v1", SERVE, {"serve": "v1"}),
    ("shadow v2", "v2", SHADOW, {"serve": "v1", "shadow": "v2"}),
    ("serve v2", "v2", SERVE, {"serve": "v2"}),
]


def worker(out: Path) -> None:
    """Run a worker that notes when each batch began and ended: time, and the process's CPU time."""
    times = array("d")
    intercept = Interceptor.intercept

    def timed(self: Interceptor, *arguments: Any, **options: Any) -> Intercepted:
        times.extend((time.monotonic(), time.process_time()))
        result = intercept(self, *arguments, **options)
        times.extend((time.monotonic(), time.process_time()))
        return result

    Interceptor.intercept = timed  # type: ignore[method-assign]
    try:
        run_worker(load_settings())
    finally:
        out.write_bytes(times.tobytes())


def version_of(folder: Path, version: str) -> Path:
    """The pretrained artifact as another version, with a canary batch."""
    files = fetch_artifact(PRETRAINED_FOLDER / "openrtb")
    artifact = open_artifact(files)
    rng = np.random.default_rng(0)
    ids_NC = rng.integers(0, artifact.spec.rows, (64, artifact.spec.columns), np.int32)
    canary = CanaryBatch.of(ids_NC, Scorer(artifact).score).to_bytes()
    contents = {n: c for n, c in files.contents.items() if n != MANIFEST_FILE}
    contents[CANARY_FILE] = canary
    hashes = {name: sha256(content) for name, content in contents.items()}
    changes = {"version": version, "files": hashes}
    write_artifact(folder / version, files.manifest.model_copy(update=changes), contents)
    return folder / version


async def publish(settings: Settings, count: int) -> None:
    """A backlog of requests on all partitions."""
    values = Simulator(seed=3, requests_per_day=20_000_000).batch(0, 20_000).values
    async with ChunkSink(client_options(settings.kafka)) as sink:
        for first in range(0, count, 2_000):
            rows = [
                Outgoing(b"%d" % n, values[n % len(values)], 1_767_268_800_000 + n, ())
                for n in range(first, first + 2_000)
            ]
            await sink.send(settings.topics.requests, first // 2_000 % PARTITIONS, rows)


async def in_roles(port: int, versions: dict[str, str]) -> dict[str, float]:
    """Wait until the worker shows these versions; its counters then."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        samples = await asyncio.to_thread(read_metrics, port) or ()
        shown = {
            s.labels["role"]: s.labels["version"]
            for s in samples
            if "role" in s.labels and s.name == "weir_model_info"
        }
        if shown == versions:
            return {s.name: s.value for s in samples if not s.labels}
        await asyncio.sleep(0.5)  # each answer takes some milliseconds of the worker
    raise TimeoutError(f"the worker does not show {versions}; it shows {shown}")


async def run(count: int, folder: Path) -> None:
    """Publish, start the worker, change versions, account."""
    with EmbeddedBroker(folder / "broker.log") as broker:
        port, out = free_port(), folder / "times"
        settings = Settings().override(
            {
                "kafka.bootstrap": broker.bootstrap,
                "kafka.partitions": PARTITIONS,
                "model.registry": str(folder / "registry"),
                "worker.metrics_port": port,
            }
        )
        await ensure_topics(settings.kafka, settings.topics)
        registry, made = Registry(settings.model.registry), {}
        for version in ("v1", "v2", "v3"):
            url = registry.publish(version_of(folder, version), version)
            digest = registry.manifest_sha256(url)
            made[version] = ModelAnnouncement(version, url, digest, 1)
        await publish(settings, count)
        await announced(settings, made["v1"], SERVE)
        log = (folder / "worker.log").open("wb")
        environment = {**settings.environment(), "PYTHONPATH": ".", "PATH": "/usr/bin:/bin"}
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "worker", str(out)), env=environment, stdout=log, stderr=log
        )
        try:
            await in_roles(port, {"serve": "v1"})
            while (await in_roles(port, {"serve": "v1"}))["weir_requests_total"] < 20_000:
                await asyncio.sleep(0.5)
            spans = []
            for name, version, role, shown in CHANGES:
                began = time.monotonic()
                await announced(settings, made[version], role)
                counters = await in_roles(port, shown)
                spans.append((name, began, time.monotonic() + 0.1))
                left = count - counters["weir_requests_total"]
                print(f"{name}: {time.monotonic() - began:.2f} s, {left:.0f} requests waiting")
                await asyncio.sleep(SETTLE_S)
            while (await in_roles(port, shown))["weir_requests_total"] < count:
                await asyncio.sleep(0.2)
        finally:
            child.terminate()
            await child.wait()
        report(np.frombuffer(out.read_bytes(), np.float64).reshape(-1, 4), spans)
        found = await account(settings)
        print(
            f"{found.requests} requests, exact: {found.exact}; {found.missing} lost; "
            f"{dict(found.counts)} faults"
        )


async def announced(settings: Settings, made: ModelAnnouncement, role: ModelRole) -> None:
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    now_ms = int(time.time() * 1000)
    more = {"ts": now_ms, "role": role, "share": 0.5, "cause": Cause.PROMOTE}
    await announce(settings, ModelAnnouncement(**fields | more))


def report(times_N4: np.ndarray, spans: Sequence[tuple[str, float, float]]) -> None:
    """Print the gaps of each change, and those between the changes.

    The CPU time of the whole process in a gap is what the gap would be on an idle machine, if
    nothing ran in parallel.
    """
    gap_N2 = (times_N4[1:, :2] - times_N4[:-1, 2:]) * 1e3
    at_N = times_N4[1:, 0]
    first, last = spans[0][1] - SETTLE_S, spans[-1][2]
    quiet_N = (at_N > first) & (at_N < last)
    for name, began, ended in spans:
        during_N = (at_N >= began) & (at_N <= ended)
        quiet_N &= ~during_N
        line(name, gap_N2[during_N])
    line("between the changes", gap_N2[quiet_N])
    batch_N2 = (times_N4[:, 2:] - times_N4[:, :2]) * 1e3
    wall, cpu = np.median(batch_N2, axis=0)
    print(f"a batch takes {wall:.1f} ms, {cpu:.1f} ms of CPU (median)")


def line(name: str, gap_K2: np.ndarray) -> None:
    if not len(gap_K2):
        print(f"{name:24s} no batch")
        return
    (wall, cpu), high = gap_K2.max(axis=0), np.percentile(gap_K2, 99, axis=0)
    print(
        f"{name:24s} longest gap {wall:6.1f} ms (p99 {high[0]:5.1f}); of CPU {cpu:5.1f} ms "
        f"(p99 {high[1]:4.1f}); {len(gap_K2)} batches"
    )


def main() -> None:
    """Run the benchmark, or the worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", nargs="?", choices=["run", "worker"], default="run")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--requests", type=int, default=240_000)
    arguments = parser.parse_args()
    if arguments.mode == "worker":
        worker(arguments.file)
        return
    folder = Path(tempfile.mkdtemp(prefix="weir-swap-"))
    try:
        asyncio.run(run(arguments.requests, folder))
    except BaseException:
        print(
            (folder / "worker.log").read_text()[-2000:] if (folder / "worker.log").exists() else ""
        )
        raise
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
