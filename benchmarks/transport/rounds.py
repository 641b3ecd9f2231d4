"""One round: a contender, started fresh, on the backlog; how fast it is while it is busy.

Progress is read off the broker, from outside. Rate and CPU are taken between two such looks, the
first one after the warm-up and the last one before the backlog or the time is used up, so that
neither the start of Python nor an idle end counts.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.transport.audit import Audit, audit
from benchmarks.transport.contender import Contender, Running
from benchmarks.transport.workload import Outputs, Patience
from models.settings import Settings

LOOK_S: Final = 0.1


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        requests: Records of the backlog.
        warm_up: Records after which a measurement begins.
        seconds: How long it goes on, at most.
    """

    requests: int
    warm_up: int
    seconds: float


@dataclass(frozen=True)
class Round:
    """What one round showed.

    Attributes:
        contender: Its name.
        requests: Records between the first look and the last.
        per_second: Requests per second of wall-clock time.
        cpu_us: Microseconds of CPU per request, user and system, all threads and children.
        peak_bytes: Most resident memory seen since the start of the process.
        audit: What its outputs are, from outside.
    """

    contender: str
    requests: int
    per_second: float
    cpu_us: float
    peak_bytes: int
    audit: Audit


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a running contender."""

    at_s: float
    requests: int
    cpu_s: float


async def run_round(
    contender: Contender, settings: Settings, effort: Effort, name: str, folder: Path
) -> Round:
    """Measure one round and check what it wrote.

    Raises:
        StalledError: If nothing moves for :data:`STALLED_S`.
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


async def _watch(outputs: Outputs, running: Running, effort: Effort) -> tuple[Look, Look, int]:
    """The first look that counts, the last one, and the peak of the memory in bytes."""
    patience = Patience(running)
    looks = [Look(time.monotonic(), 0, running.usage().cpu_s)]
    start_s: float | None = None
    peak = 0
    while True:
        await asyncio.sleep(LOOK_S)
        usage = running.usage()
        peak = max(peak, usage.resident)
        look = Look(time.monotonic(), await outputs.done(), usage.cpu_s)
        patience.see(look.requests)
        if not look.requests:
            looks = [look]
        if look.requests == looks[-1].requests:
            continue
        looks.append(look)
        if start_s is None and look.requests >= effort.warm_up:
            start_s = look.at_s
        late = start_s is not None and look.at_s - start_s > effort.seconds
        if late or look.requests >= effort.requests:
            return *span(looks, effort), peak


def span(looks: list[Look], effort: Effort) -> tuple[Look, Look]:
    """The two looks to measure between, out of those that saw progress; the last one ends a run.

    From the first after the warm-up to the last but one, for the end of a backlog is idle. A
    backlog that is through within so few looks is measured as a whole, from the look before it.
    """
    busy = [look for look in looks[:-1] if look.requests >= effort.warm_up]
    if len(busy) >= 2:
        return busy[0], busy[-1]
    return (busy or looks[-2:])[0], looks[-1]
