"""The contenders: which command runs each, and the child process that is measured."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from models.settings import Settings

STOP_S: Final = 30.0
ROOT: Final = Path(__file__).resolve().parents[2]
_PEERS: Final = "benchmarks.transport.contenders"


class ContenderError(RuntimeError):
    """A contender exited or stalled; names its log file."""


@dataclass(frozen=True)
class Contender:
    """A program that filters requests from the input topic to the output topics.

    Attributes:
        name: Its key in ``transport.json``.
        module: Module for ``python -m``.
        arguments: Arguments of the module.
        overrides: Settings to override, dotted key to value.
        folder: Checkout that its code is taken from.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    overrides: dict[str, str] = field(default_factory=dict)
    folder: Path = ROOT

    @property
    def transactional(self) -> bool:
        """Whether its offsets are committed together with its outputs."""
        return self.overrides.get("worker.guarantee") == "exactly-once"


WEIR: Final = "weir"
EXACTLY_ONCE: Final = "weir_exactly_once"
TRANSACTIONAL_LOOP: Final = "confluent_transactional_loop"
_TRANSACTIONS: Final = {"worker.guarantee": "exactly-once"}
CONTENDERS: Final = {
    contender.name: contender
    for contender in (
        Contender(WEIR, "stream.cli", ("worker",)),
        Contender(EXACTLY_ONCE, "stream.cli", ("worker",), _TRANSACTIONS),
        Contender("stock_faust", f"{_PEERS}.stock_faust", ("worker",)),
        Contender("quix_streams", f"{_PEERS}.quix_streams"),
        Contender("aiokafka_loop", f"{_PEERS}.aiokafka_loop"),
        Contender("confluent_loop", f"{_PEERS}.confluent_loop"),
        Contender(TRANSACTIONAL_LOOP, f"{_PEERS}.{TRANSACTIONAL_LOOP}", (), _TRANSACTIONS),
    )
}


def against(folder: Path, contenders: Sequence[Contender]) -> list[Contender]:
    """Those contenders that are Weir, as it is in another checkout."""
    return [
        replace(contender, name=f"{contender.name}_against", folder=folder)
        for contender in contenders
        if contender.name in (WEIR, EXACTLY_ONCE)
    ]


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used by a process and its children, and their resident bytes now."""

    cpu_s: float
    resident: int


class Running:
    """A contender's process; a context manager that stops it.

    Args:
        contender: The contender to run.
        settings: Settings, passed in the environment.
        log: Log file.
    """

    def __init__(self, contender: Contender, settings: Settings, log: Path) -> None:
        self.name = contender.name
        self._command = [sys.executable, "-m", contender.module, *contender.arguments]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
        self._folder = contender.folder
        path = os.pathsep.join(filter(None, [str(self._folder), os.environ.get("PYTHONPATH")]))
        self._environment = inherited | _changed(settings) | {"PYTHONPATH": path}
        self.log = log

    def __enter__(self) -> Self:
        """Start it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = psutil.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill it if it is still running."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def usage(self) -> Usage:
        """CPU and memory use.

        Raises:
            ContenderError: If it has ended.
        """
        if self._process.poll() is not None:
            raise ContenderError(
                f"{self.name} ended with status {self._process.returncode}; see {self.log}"
            )
        family = [self._process, *self._process.children(recursive=True)]
        times = [process.cpu_times() for process in family]
        resident = sum(process.memory_info().rss for process in family)
        return Usage(sum(each.user + each.system for each in times), resident)

    def stop(self) -> None:
        """Send SIGTERM and wait for the exit.

        Raises:
            ContenderError: If it does not end, or not well.
        """
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                raise ContenderError(f"{self.name} did not stop in {STOP_S:g} s; see {self.log}")
            time.sleep(0.05)
        if self._process.returncode not in {0, -signal.SIGTERM}:
            raise ContenderError(
                f"{self.name} ended with status {self._process.returncode}; see {self.log}"
            )


def _changed(settings: Settings) -> dict[str, str]:
    """The settings that are not the default; another checkout may not have all of them."""
    defaults = {key: json.loads(value) for key, value in Settings().environment().items()}
    changed = {}
    for key, value in settings.environment().items():
        section, default = json.loads(value), defaults[key]
        if isinstance(section, dict):
            section = {name: one for name, one in section.items() if default.get(name) != one}
            default = {}
        if section != default:
            changed[key] = json.dumps(section)
    return changed
