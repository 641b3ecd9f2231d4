"""The processes of a deployment under observation: memory, CPU, log lines, exit status."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import yaml

from stream.brokers.children import ChildProcess

ROOT: Final = Path(__file__).parents[2]
_UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def limits() -> dict[str, int]:
    """Memory limit in bytes of each service in the compose file."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    found = {}
    for name, service in services.items():
        text = service["deploy"]["resources"]["limits"]["memory"]
        found[name] = int(text[:-1]) * _UNITS[text[-1]]
    return found


@dataclass(slots=True)
class Role:
    """One process and its measurements.

    Attributes:
        name: Name in the report.
        service: Its service in the compose file.
        pid: Process id.
        child: The child process; None for a node of Kafka.
        port: Port of its metrics, 0 if it has none.
        memory: Unshared memory of it and its children in bytes, by second of the run.
        processor_s: CPU time so far.
        ended: Whether it exited unexpectedly.
        status: Exit status after SIGTERM.
    """

    name: str
    service: str
    pid: int
    child: ChildProcess | None = None
    port: int = 0
    memory: list[tuple[float, int]] = field(default_factory=list)
    processor_s: float = 0.0
    ended: bool = False
    status: int | None = None

    def sample(self, second: float) -> None:
        """Measure memory and CPU time."""
        if self.child is not None and self.child.returncode is not None:
            self.ended = True
            return
        own, processor_s = _measure(self.pid)
        self.memory.append((second, own))
        self.processor_s = max(self.processor_s, processor_s)

    def lines(self) -> int:
        """Number of lines logged."""
        return 0 if self.child is None else self.child.log.read_bytes().count(b"\n")

    async def stop(self) -> float:
        """Stop it with SIGTERM; returns the seconds until its exit."""
        assert self.child is not None
        start = time.monotonic()
        await self.child.stop()
        self.status = self.child.returncode
        return time.monotonic() - start


def _measure(pid: int) -> tuple[int, float]:
    """Unshared memory in bytes, which counts against a container's limit, and CPU seconds."""
    own, processor_s = 0, 0.0
    try:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            memory: Any = each.memory_info()
            own += memory.rss - memory.shared
            times = each.cpu_times()
            processor_s += times.user + times.system
    except psutil.NoSuchProcess:
        pass  # it has just exited, which the next sample notices
    return own, processor_s
