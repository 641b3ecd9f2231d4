"""The processes under attack: started, watched for memory and unexpected exits, stopped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from chaos.hostile.report import Report
from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.metrics.scrape import read_metrics


class Process(NamedTuple):
    """A running process and the port of its metrics."""

    child: ChildProcess
    port: int


Processes = Mapping[str, Process]


@asynccontextmanager
async def running_roles(
    settings: Settings,
    roles: Mapping[str, Sequence[str]],
    run: str,
    folder: Path,
    report: Report,
) -> AsyncIterator[Processes]:
    """Run all roles; at the end stop each with SIGTERM and note its exit status.

    Args:
        settings: Settings of every process.
        roles: Commands of the processes, by name.
        run: Prefix of their names and log files.
        folder: Folder of the logs.
        report: Takes memory, unexpected exits and exit statuses.
    """
    processes: dict[str, Process] = {}
    async with AsyncExitStack() as stack:
        for name, command in roles.items():
            port = free_port()
            section = "trainer" if command[0] == "trainer" else "worker"
            environment = settings.override({f"{section}.metrics_port": port}).environment()
            log = folder / f"{run}-{name}.log"
            child = ChildProcess(f"{run} {name}", command, log, environment)
            processes[name] = Process(await stack.enter_async_context(child), port)
        watching = asyncio.create_task(_watch(processes, report))
        try:
            yield processes
        finally:
            watching.cancel()
        for child, _ in processes.values():
            await child.stop()
            report.stopped[child.name] = child.returncode or 0


async def _watch(processes: Processes, report: Report) -> None:
    """Note peak memory and unexpected exits, twice a second."""
    while True:
        for child, _ in processes.values():
            if child.returncode is not None and child.name not in report.ended:
                report.ended[child.name] = child.log.read_text(errors="replace")[-3000:]
            with contextlib.suppress(psutil.NoSuchProcess):
                memory_mb = psutil.Process(child.pid).memory_info().rss / 2**20
                peak = report.peak_mb.get(child.name, 0.0)
                report.peak_mb[child.name] = max(peak, round(memory_mb))
        await asyncio.sleep(0.5)


def count_refusals(processes: Processes, report: Report) -> None:
    """Add refused messages and dead letters of all processes to the report."""
    for _, port in processes.values():
        for (name, label), value in metrics(port).items():
            if name == "weir_refused_messages_total":
                report.refused[label] += int(value)
            if name == "weir_rejects_total" and value:
                report.rejects[label] += int(value)


def metrics(port: int) -> dict[tuple[str, str], float]:
    """Read metrics by name and version, or value of the first label ("" without labels).

    Returns:
        Nothing while the process does not answer.
    """
    return {
        (
            sample.name,
            sample.labels.get("version") or next(iter(sample.labels.values()), ""),
        ): sample.value
        for sample in read_metrics(port, timeout_s=10.0) or ()
    }
