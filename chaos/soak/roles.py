"""The processes of a deployment, watched: memory against compose's limits, log lines, their end."""

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
    """Memory limit in bytes of each service of the compose file."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    found = {}
    for name, service in services.items():
        text = service["deploy"]["resources"]["limits"]["memory"]
        found[name] = int(text[:-1]) * _UNITS[text[-1]]
    return found


@dataclass(slots=True)
class Role:
    """One process and what was seen of it.

    Attributes:
        name: For the report.
        service: Its service in the compose file.
        pid: Its process.
        child: What started it; None for a node of Kafka.
        port: Of its metrics, 0 where it has none.
        memory: Bytes that are its own (and its children's), by second of the run.
        processor_s: Processor time so far.
        ended: Whether it ended unasked.
        status: Exit status once it was stopped.
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

    def look(self, second: float) -> None:
        """Take a sample."""
        if self.child is not None and self.child.returncode is not None:
            self.ended = True
            return
        own, processor_s = _measure(self.pid)
        self.memory.append((second, own))
        self.processor_s = max(self.processor_s, processor_s)

    def lines(self) -> int:
        """Lines that it has logged."""
        return 0 if self.child is None else self.child.log.read_bytes().count(b"\n")

    async def stop(self) -> float:
        """SIGTERM; returns the seconds until its end."""
        assert self.child is not None
        start = time.monotonic()
        await self.child.stop()
        self.status = self.child.returncode
        return time.monotonic() - start


def _measure(pid: int) -> tuple[int, float]:
    """Bytes that nobody shares, which a container's limit counts, and processor seconds."""
    own, processor_s = 0, 0.0
    try:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            memory: Any = each.memory_info()
            own += memory.rss - memory.shared
            times = each.cpu_times()
            processor_s += times.user + times.system
    except psutil.NoSuchProcess:
        pass  # it has just ended; whoever waits for it will see
    return own, processor_s
