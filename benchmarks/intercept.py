"""Cost of intercepting a request: ingest, score, decide and route, with the pretrained artifact.

Run from the repository root: ``PYTHONPATH=. python benchmarks/intercept.py``. Prints the median CPU
time per request of chunks of 2,000 simulated requests, with the metrics of a worker, without, and
with a shadow that scores a tenth of them in a thread of its own, which is not counted.
To compare two versions, run both several times in turn and compare the medians.
"""

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from models.artifact import load_artifact
from models.settings import Settings
from stream.intercept.candidates import Candidate
from stream.intercept.challengers import Challenger
from stream.intercept.interceptor import Interceptor
from stream.intercept.loaded_model import LoadedModel
from stream.intercept.metrics import InterceptMetrics, NoMetrics
from stream.intercept.shadow import Shadow
from stream.messages import Headers, ModelRole, sequence_header
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy
from trainer.simulation.simulator import Simulator

CHUNK = 2_000
CHUNKS = 10
ROUNDS = 5


class Fetched(NamedTuple):
    """A consumed record."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


def _requests() -> list[Fetched]:
    traffic = Simulator(seed=3, requests_per_day=20_000_000).batch(0, CHUNK * CHUNKS)
    return [
        Fetched(
            "bid-requests", 0, n, b"k%d" % n, value, 1_767_268_800_000 + n, [sequence_header(n)]
        )
        for n, value in enumerate(traffic.values)
    ]


def _interceptor(metrics: InterceptMetrics) -> Interceptor:
    settings = Settings()
    policy = Policy(settings.policy, settings.task_set)
    interceptor = Interceptor(policy, metrics, max_value_bytes=settings.worker.max_value_bytes)
    interceptor.model = LoadedModel(load_artifact("pretrained:openrtb"), threads=1, batch=64)
    return interceptor


def _shadowed() -> Interceptor:
    """An interceptor whose shadow is the serving model itself."""
    metrics = WorkerMetrics()
    interceptor = _interceptor(metrics)
    settings = Settings()
    policy = Policy(settings.policy, settings.task_set)
    shadow = Shadow(policy, metrics, lambda *_: None, most=0.1, max_value_bytes=10**6)
    candidate = Candidate("registry/shadow", "shadow", "0" * 64)
    shadow.challenger = Challenger(candidate, ModelRole.SHADOW, 0.1, interceptor.model)
    interceptor.shadow = shadow
    return interceptor


async def _measure(interceptor: Interceptor, records: Sequence[Fetched]) -> list[float]:
    """Microseconds of CPU per request, of each chunk."""
    times = []
    for first in range(0, len(records), CHUNK):
        started = time.thread_time()
        interceptor.intercept(records[first : first + CHUNK])
        for _ in range(5):
            await asyncio.sleep(0.001)  # the shadow's answer comes in between
        times.append((time.thread_time() - started) / CHUNK * 1e6)
    return times


async def measure() -> None:
    """Measure and print; the garbage collector is set up as in a worker."""
    records = _requests()
    ways = {
        "worker's metrics": _interceptor(WorkerMetrics()),
        "no metrics": _interceptor(NoMetrics()),
        "with a shadow": _shadowed(),
    }
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1 + ROUNDS):
        for name, interceptor in ways.items():
            measured = await _measure(interceptor, records)
            times[name] += measured if number else []
    lines = [f"{name}: {statistics.median(times[name]):.2f} us per request" for name in ways]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    asyncio.run(measure())
