"""One measurement of latency: one contender under one load.

Latency is the time from a request's *intended* send time to the moment in which a
``read_committed`` consumer of the pass topic has received it; blocked requests are never visible
there and are not measured. What was due before the measurement was warm (`windows`) is left out.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from benchmarks.transport.contender import Contender, Running
from benchmarks.transport.latency.processes import AHEAD_S, Traffic
from benchmarks.transport.latency.windows import Window, is_overloaded, is_warm
from benchmarks.transport.traffic import Pool, Sender
from benchmarks.transport.workload import Outputs, until
from models.settings import Settings

PRIMERS: Final = 200
_LONGEST_US: Final = 600_000_000
_DIGITS: Final = 3
_OFFERED_WARM_UP_S: Final = 10.0


@dataclass(frozen=True)
class Load:
    """A constant load.

    Attributes:
        per_second: Requests per second.
        seconds: Duration of the measurement, after the warm-up.
        window_s: Duration of a window of the warm-up.
        warm_up_s: Maximum duration of the warm-up; the measurement then begins all the same, and
            says that it was not warm.
    """

    per_second: float
    seconds: float
    window_s: float = 3.0
    warm_up_s: float = 45.0

    @property
    def most(self) -> int:
        """Maximum number of requests."""
        return round(self.per_second * (self.warm_up_s + self.window_s + self.seconds + 5))


@dataclass(frozen=True)
class Latency:
    """Latencies of one measurement, in milliseconds.

    Attributes:
        measured: Number of requests.
        p50_ms: Median.
        p99_ms: 99th percentile.
        p99_9_ms: 99.9th percentile.
        max_ms: Maximum.
        warm: Whether the measurement began warm.
        warm_up_s: How long the warm-up took.
        began_ns: When the measurement began, in nanoseconds since the epoch.
    """

    measured: int
    p50_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float
    warm: bool
    warm_up_s: float
    began_ns: int = 0

    def json(self) -> dict[str, Any]:
        """For ``transport.json``."""
        return asdict(self)


async def measure_latency(
    contender: Contender, settings: Settings, load: Load, name: str, folder: Path
) -> Latency | None:
    """Measure the latency of passed requests under a load; None if it is too much for it.

    Raises:
        ContenderError: If the contender fails.
        StalledError: If it does not process all requests.
    """
    async with _run(contender, settings, name, folder) as (outputs, running):
        with Traffic(outputs.settings, PRIMERS, load.per_second, load.most) as traffic:
            start_ns = await traffic.begin()
            warm = await _warm_up(traffic, load, running)
            if warm is None:
                return None
            first_ns, began_ns = time.monotonic_ns(), time.time_ns()
            await asyncio.sleep(load.seconds)
            last_ns = time.monotonic_ns()
            sent = await traffic.end()
            await until(lambda: outputs.reached(PRIMERS + sent), running)
            await traffic.read_all()
            due_N, seen_N = traffic.times()
        await asyncio.to_thread(running.stop)
    counted_N = (due_N >= first_ns) & (due_N < last_ns)
    return Latency(
        measured=int(np.count_nonzero(counted_N)),
        **_percentiles((seen_N - due_N)[counted_N] / 1000),
        warm=warm,
        warm_up_s=round((first_ns - start_ns) / 1e9, 1),
        began_ns=began_ns,
    )


async def _warm_up(traffic: Traffic, load: Load, running: Running) -> bool | None:
    """Wait until latencies do not change any more: True; False: they do, None: they only grow."""
    windows: list[Window] = []
    seen = 0
    started_s = time.monotonic()
    await asyncio.sleep(AHEAD_S)
    while time.monotonic() - started_s < load.warm_up_s:
        await asyncio.sleep(load.window_s)
        running.usage()
        due_N, seen_N = traffic.times(seen)
        seen += len(due_N)
        windows.append(Window.of(seen_N - due_N))
        if is_warm(windows):
            return True
        if is_overloaded(windows):
            return None
    return False


async def measure_capacity(
    contender: Contender, settings: Settings, load: Load, name: str, folder: Path
) -> float:
    """Measure throughput while `load`, which should exceed the capacity, is offered.

    Raises:
        ContenderError: If the contender fails.
        StalledError: If it does not start.
    """
    async with _run(contender, settings, name, folder) as (outputs, _running):
        with Traffic(outputs.settings, PRIMERS, load.per_second, load.most) as traffic:
            await traffic.begin()
            await asyncio.sleep(AHEAD_S + _OFFERED_WARM_UP_S)
            first_s, first = time.monotonic(), await outputs.done()
            await asyncio.sleep(load.seconds)
            last_s, last = time.monotonic(), await outputs.done()
    return (last - first) / (last_s - first_s)


@asynccontextmanager
async def _run(
    contender: Contender, settings: Settings, name: str, folder: Path
) -> AsyncIterator[tuple[Outputs, Running]]:
    """Start a contender on its own topics, and wait until it has decided some requests."""
    overrides = {**contender.overrides, "topics.requests": f"{name}-requests"}
    async with Outputs(settings.override(overrides), name, own_input=True) as outputs:
        with Running(contender, outputs.settings, folder / f"{name}.log") as running:
            sender = Sender(outputs.settings, Pool(size=PRIMERS))
            sender.at_once(0, PRIMERS)
            await asyncio.to_thread(sender.flush)
            await until(lambda: outputs.reached(PRIMERS), running)
            yield outputs, running


def _percentiles(latency_us_N: npt.NDArray[np.float64]) -> dict[str, float]:
    histogram = HdrHistogram(1, _LONGEST_US, _DIGITS)
    for latency_us in latency_us_N.tolist():
        histogram.record_value(max(1, round(latency_us)))
    wanted = {"p50_ms": 50.0, "p99_ms": 99.0, "p99_9_ms": 99.9, "max_ms": 100.0}
    return {
        name: round(histogram.get_value_at_percentile(percent) / 1000, 2)
        for name, percent in wanted.items()
    }
