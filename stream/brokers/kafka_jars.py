"""Fetches Apache Kafka's jars with Maven, once, and runs them with Java.

`pom.xml` names the jars; it and `log4j2.properties` are installed with this package.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stream.brokers.process import BrokerError

_FILES: Final = Path(__file__).parent
_POM: Final = _FILES / "pom.xml"
_FETCH_S: Final = 600.0


def available() -> bool:
    """Whether Java and Maven are installed."""
    return shutil.which("java") is not None and shutil.which("mvn") is not None


def fetch_jars(folder: Path, log: Path) -> None:
    """Fetch the jars that the pom names into ``folder``, unless they are there already.

    Raises:
        BrokerError: If Maven is missing or fails.
    """
    stamp = folder / _POM.name
    if stamp.is_file() and stamp.read_bytes() == _POM.read_bytes():
        return
    goal = ("dependency:copy-dependencies", f"-DoutputDirectory={folder.resolve()}")
    run_all([[_program("mvn"), "-q", "-B", "-f", str(_POM), *goal]], log)
    stamp.write_bytes(_POM.read_bytes())


def java_command(jars: Path, main: str, *arguments: str, options: Sequence[str]) -> list[str]:
    """The command that runs a main class of Kafka.

    Raises:
        BrokerError: If Java is missing.
    """
    logging = f"-Dlog4j2.configurationFile={_FILES / 'log4j2.properties'}"
    return [_program("java"), *options, logging, "-cp", f"{jars}/*", main, *arguments]


def run_all(commands: Sequence[Sequence[str]], log: Path) -> None:
    """Run commands in parallel and wait for all.

    Raises:
        BrokerError: If one fails; names the program and the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        running = [
            subprocess.Popen(  # noqa: S603 - our own commands, no shell
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            for command in commands
        ]
        try:
            statuses = [process.wait(_FETCH_S) for process in running]
        finally:
            for process in running:
                process.kill()
                process.wait()
    for command, status in zip(commands, statuses, strict=True):
        if status:
            program = Path(command[0]).name
            raise BrokerError(f"{program} ended with status {status}; see {log}")


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BrokerError(f"{name} is not installed; Kafka needs Java 17 or newer, and Maven")
    return path
