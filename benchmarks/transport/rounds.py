"""One round: throughput and CPU of a freshly started contender on the backlog.

Progress is sampled from outside, at the broker. Rate and CPU are measured between two samples, the
first after the warm-up and the last before the backlog or the time is used up, so that neither the
start of Python nor an idle end counts.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.transport.audit import Audit, audit
from benchmarks.transport.contender import Contender, Running
from benchmarks.transport.workload import Outputs, StallDetector
from models.settings import Settings

SAMPLE_S: Final = 0.1


@dataclass(frozen=True)
class Effort:
    """Size of a measurement.

    Attributes:
        requests: Records of the backlog.
        warm_up: Records after which the measurement begins.
        seconds: Its maximum duration.
    """

    requests: int
    warm_up: int
    seconds: float


@dataclass(frozen=True)
class Round:
    """Result of a round.

    Attributes:
        contender: Its name.
        requests: Records between the first sample and the last.
        per_second: Requests per second of wall-clock time.
        cpu_us: Microseconds of CPU per request, user and system, all threads and children.
        peak_bytes: Peak resident memory since the start of the process.
        audit: Audit of its outputs.
    """

    contender: str
    requests: int
    per_second: float
    cpu_us: float
    peak_bytes: int
    audit: Audit


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a running contender."""

    at_s: float
    requests: int
    cpu_s: float


async def run_round(
    contender: Contender, settings: Settings, effort: Effort, name: str, folder: Path
) -> Round:
    """Measure one round and check what it wrote.

    Raises:
        StalledError: If there is no progress for :data:`STALLED_S`.
        ContenderError: If the contender fails.
    """
    async with Outputs(settings.override(contender.overrides), name) as outputs:
        with Running(contender, outputs.settings, folder / f"{name}.log") as running:
            first, last, peak = await _watch(outputs, running, effort)
            await asyncio.to_thread(running.stop)
        found = await audit(outputs.settings, await outputs.committed())
    requests = last.requests - first.requests
    return Round(
        contender=contender.name,
        requests=requests,
        per_second=requests / (last.at_s - first.at_s),
        cpu_us=1e6 * (last.cpu_s - first.cpu_s) / requests,
        peak_bytes=peak,
        audit=found,
    )


async def _watch(outputs: Outputs, running: Running, effort: Effort) -> tuple[Sample, Sample, int]:
    """The first sample that counts, the last one, and the peak of the memory in bytes."""
    stall = StallDetector(running)
    samples = [Sample(time.monotonic(), 0, running.usage().cpu_s)]
    start_s: float | None = None
    peak = 0
    while True:
        await asyncio.sleep(SAMPLE_S)
        usage = running.usage()
        peak = max(peak, usage.resident)
        sample = Sample(time.monotonic(), await outputs.done(), usage.cpu_s)
        stall.observe(sample.requests)
        if not sample.requests:
            samples = [sample]
        if sample.requests == samples[-1].requests:
            continue
        samples.append(sample)
        if start_s is None and sample.requests >= effort.warm_up:
            start_s = sample.at_s
        late = start_s is not None and sample.at_s - start_s > effort.seconds
        if late or sample.requests >= effort.requests:
            return *span(samples, effort), peak


def span(samples: list[Sample], effort: Effort) -> tuple[Sample, Sample]:
    """The two samples to measure between, of those with progress; the last one ends a run.

    From the first after the warm-up to the last but one, for the end of a backlog is idle. A
    backlog that is through within so few samples is measured as a whole, from the sample before it.
    """
    busy = [sample for sample in samples[:-1] if sample.requests >= effort.warm_up]
    if len(busy) >= 2:
        return busy[0], busy[-1]
    return (busy or samples[-2:])[0], samples[-1]
