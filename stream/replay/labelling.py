"""Outcomes of the replayed requests: read from a file or a topic, written as labels."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from models.data.request_files import is_file
from models.data.request_lines import whole_lines
from models.data.request_streams import TABLE, RequestFileError, expand, printable, read_stream
from models.settings import Settings
from models.tasks import TaskSet
from stream.kafka.reader import read_topic
from stream.offpolicy.labels import Labeller, latest_moment
from stream.offpolicy.outcomes import read_outcomes
from stream.offpolicy.summary import summarise
from stream.replay.folder import ARMS, DECISIONS, LABELS, REQUESTS, part

#: Malformed outcomes that the summary names.
_NAMED: Final = 10
_LABELS: Final = "labels"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes, and those that could not be read.

    Attributes:
        frame: The first of each request and task: ``request_id``, ``task``, ``ts`` (ms).
        malformed: Number of malformed ones.
        named: Place and reason of the first of them.
    """

    frame: pl.DataFrame
    malformed: int
    named: list[str] = field(default_factory=list)


async def find_outcomes(settings: Settings, source: str) -> Outcomes:
    """Read outcomes; malformed ones are counted.

    Args:
        settings: Brokers.
        source: Files of JSON lines (a path, a glob or a URL, plain or packed), or a topic.

    Raises:
        RequestFileError: If there are no such files.
        TopicError: If there is no such topic.
    """
    named: list[str] = []
    malformed = 0

    def reject(place: str, reason: str) -> None:
        nonlocal malformed
        malformed += 1
        if len(named) < _NAMED:
            named.append(f"{place}: {reason}")

    records: Any
    if is_file(source):
        records = _lines(expand(source))
    else:
        records = [
            (f"{source}[{record.partition}]@{record.offset}", record.value)
            async for record in read_topic(settings.kafka, source)
        ]
    frame = read_outcomes(records, reject)
    return Outcomes(frame, malformed, named)


def _lines(paths: list[str]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        if path.endswith(TABLE):
            raise RequestFileError(f"{path}: outcomes are read from JSON lines, not from tables")
        number = 0
        for data in whole_lines(block for block, _ in read_stream(path)):
            for number, line in enumerate(data.splitlines(), number + 1):  # noqa: B020
                if line.strip():
                    yield f"{printable(path)}:{number}", line


def write_labels(
    folder: Path, parts: int, outcomes: Outcomes, tasks: TaskSet, as_of_ms: int | None
) -> dict[str, Any]:
    """Label the requests of a replay.

    Args:
        folder: Folder of the replay.
        parts: Its parts.
        outcomes: The outcomes.
        tasks: The tasks.
        as_of_ms: Moment up to which outcomes are complete, ms since the epoch; None for the latest
            moment of requests and outcomes.

    Returns:
        What became of the outcomes, for the summary.
    """
    if as_of_ms is None:
        now_ms = int(time.time() * 1000)
        as_of_ms = max(
            latest_moment(_read(folder, number), outcomes.frame, now_ms) for number in range(parts)
        )
    labeller = Labeller(outcomes.frame, tasks, as_of_ms)
    for number in range(parts):
        with part(folder, _LABELS, number).open("wb") as file:
            labeller.label(_read(folder, number)).write_parquet(file)
    paths = [part(folder, _LABELS, number) for number in range(parts)]
    with (folder / LABELS).open("wb") as file:
        pl.concat([pl.scan_parquet(path.open("rb")) for path in paths]).sink_parquet(file)
    for path in paths:
        path.unlink()
    return {
        **labeller.counts().as_dict(),
        "malformed": outcomes.malformed,
        "malformed_first": outcomes.named,
        "as_of_ms": as_of_ms,
    }


def _read(folder: Path, number: int) -> pl.DataFrame:
    with part(folder, REQUESTS, number).open("rb") as file:
        return pl.read_parquet(file, columns=["request_id", "timestamp", "logged_verdict"])


def judge(folder: Path, parts: int, arm: str, tasks: TaskSet) -> dict[str, Any]:
    """What an arm keeps and how its scores rank; see :func:`stream.offpolicy.summary.summarise`.

    Args:
        folder: Folder of the replay, with labels.
        parts: Its parts.
        arm: Name of the arm.
        tasks: The tasks.
    """
    requests = [part(folder, REQUESTS, number) for number in range(parts)]
    decisions = [part(folder / ARMS / arm, DECISIONS, number) for number in range(parts)]
    labels = pl.scan_parquet((folder / LABELS).open("rb"))
    return summarise(_scan(requests), labels, _scan(decisions), tasks)


def _scan(paths: list[Path]) -> pl.LazyFrame:
    return pl.concat([pl.scan_parquet(path.open("rb")) for path in paths])
