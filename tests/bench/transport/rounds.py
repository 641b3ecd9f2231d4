"""One round: a contender, started fresh, on the backlog; how fast it is while it is busy.

Progress is read off the broker, from outside: records on the output topics, or, where a
transaction covers outputs and offsets, the committed offsets (markers of transactions count as
records on a topic). Rate and CPU are taken between two such looks, the first one after the
warm-up and the last one before the backlog or the time is used up, so that neither the start of
Python nor an idle end counts.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.settings import Settings
from tests.bench.transport.audit import Audit, audit
from tests.bench.transport.contender import Contender, ContenderError, Running
from tests.bench.transport.workload import Outputs

LOOK_S: Final = 0.1
STALLED_S: Final = 30.0


class StalledError(ContenderError):
    """Nothing moved for so long that the round is worth nothing."""


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
            first, last, peak = await _watch(contender, outputs, running, effort)
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


async def _watch(
    contender: Contender, outputs: Outputs, running: Running, effort: Effort
) -> tuple[Look, Look, int]:
    first: Look | None = None
    last = Look(time.monotonic(), 0, 0.0)
    peak = 0
    while True:
        await asyncio.sleep(LOOK_S)
        usage = running.usage()
        peak = max(peak, usage.resident)
        done = await _progress(contender, outputs)
        look = Look(time.monotonic(), done, usage.cpu_s)
        if done == last.requests:
            if look.at_s - last.at_s > STALLED_S:
                raise StalledError(f"{running.name} stands at {done:,}; see {running.log}")
            continue
        if first is not None and done >= effort.requests:
            return first, last, peak
        if first is None and done >= effort.warm_up:
            first = look
        last = look
        if first is not None and look.at_s - first.at_s > effort.seconds:
            return first, last, peak


async def _progress(contender: Contender, outputs: Outputs) -> int:
    if contender.transactional:
        return sum((await outputs.committed()).values())
    return await outputs.written()
