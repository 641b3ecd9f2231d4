"""Replay: historical requests through the decision code of the worker.

The source is a topic between two timestamps, or a file. The decisions are those of one worker that
consumes these requests in publishing order, whatever the chunk size: the interceptor is the same,
and nothing in it depends on how the stream is cut. A topic's partitions are merged by (time,
publisher's sequence number, partition, offset), where time is the timestamp as the partition's
clock follows it, so that a wrong timestamp does not hold back the records after it.
"""

import heapq
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from aiokafka import ConsumerRecord, TopicPartition

from models.data.request_files import is_file, read_requests
from models.errors import UserError
from models.settings import KafkaSettings, Settings
from stream.intercept.interceptor import Intercepted, Interceptor, timestamps
from stream.intercept.loaded_model import load_model
from stream.intercept.metrics import NoMetrics
from stream.kafka.reader import TopicReader, read_topic
from stream.kafka.times import parse_time_ms
from stream.messages import REASON_LABELS, Outcome, RecordError, sequence_number
from stream.policy import Policy
from stream.policy.rate.partition_clock import PartitionClock, in_milliseconds
from stream.replay.decision_writer import DecisionWriter, read_decisions
from stream.replay.evaluation import evaluate, outcome_frame, read_outcomes
from stream.transport import FetchedRecord

Order = tuple[int, int, int, int]


class ReplayError(UserError, ValueError):
    """A replay whose options are wrong; the message names the option's value and the fix."""


async def merge_topic(
    kafka: KafkaSettings, topic: str, start_ms: int | None = None, end_ms: int | None = None
) -> AsyncIterator[ConsumerRecord]:
    """Records of ``topic`` in publishing order across its partitions.

    Args:
        kafka: Brokers.
        topic: Name of the topic.
        start_ms: First timestamp to include; None for the beginning of the topic.
        end_ms: First timestamp to exclude; None for the present end of the topic.

    Raises:
        TopicError: If the topic does not exist.
    """
    async with TopicReader(kafka, topic, keep=True) as reader:
        if start_ms is not None:
            await reader.from_time(start_ms)
        heads: list[tuple[Order, ConsumerRecord]] = []
        ahead = {tp.partition: _read_partition(reader, tp) for tp in reader.partitions}
        for records in ahead.values():
            await _push_next(heads, records)
        while heads:
            _order, record = heapq.heappop(heads)
            # the search by time may begin early, and timestamps need not be in order
            after = start_ms is None or start_ms <= record.timestamp
            if after and (end_ms is None or record.timestamp < end_ms):
                yield record
            await _push_next(heads, ahead[record.partition])


async def _read_partition(
    reader: TopicReader, tp: TopicPartition
) -> AsyncIterator[tuple[Order, ConsumerRecord]]:
    """The records of one partition, each with its sort key in the merged history."""
    clock, started = PartitionClock(), 0
    while not await reader.at_end(tp):
        fetched = (await reader.fetch([tp])).get(tp, ())
        records = [record for record in fetched if record.offset < reader.ends[tp]]
        times_N = in_milliseconds(timestamps(records))
        started = started or next((time for time in times_N.tolist() if time > 0), 0)
        for record, position in zip(records, clock.read(times_N).tolist(), strict=True):
            order = (
                started + position,
                sequence_number(record.headers),
                record.partition,
                record.offset,
            )
            yield order, record


async def _push_next(
    heads: list[tuple[Order, ConsumerRecord]],
    records: AsyncIterator[tuple[Order, ConsumerRecord]],
) -> None:
    head = await anext(records, None)
    if head is not None:
        heapq.heappush(heads, head)


@dataclass
class Replay:
    """Feeds records to the interceptor in chunks and writes its decisions.

    Args:
        interceptor: The interceptor, with its model installed (or none, to fail open).
        writer: Writes the decisions.
        chunk_size: Records per chunk; decisions do not depend on it.
        on_chunk: Called after every chunk with the number of records so far.
    """

    interceptor: Interceptor
    writer: DecisionWriter
    chunk_size: int
    on_chunk: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        self._pending: list[FetchedRecord] = []
        self._requests = 0
        self._passed = 0
        self._blocked = 0
        self._rejects: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def feed(self, record: FetchedRecord) -> None:
        """Add the next record."""
        self._pending.append(record)
        if len(self._pending) >= self.chunk_size:
            self.flush()

    def flush(self) -> None:
        """Decide the pending records."""
        records, self._pending = self._pending, []
        if not records:
            return
        result = self.interceptor.intercept(records)
        model = self.interceptor.model
        self.writer.write(model.version if model else "", result)
        self._requests += len(records)
        if self.on_chunk is not None:
            self.on_chunk(self._requests)
        self._count(result)

    def _count(self, result: Intercepted) -> None:
        self._passed += len(result.passed)
        self._blocked += len(result.blocked)
        self._rejects.update(code.value for code in result.reject_codes)
        if result.scored is None:
            self._reasons["pass fail-open"] += len(result.passed)
            return
        decisions = result.scored.decisions
        for verdict, mask_N in (
            ("pass", decisions.passed_N),
            ("block", ~decisions.passed_N),
        ):
            counts = np.bincount(decisions.reason_N[mask_N], minlength=len(REASON_LABELS))
            for label, count in zip(REASON_LABELS, counts.tolist(), strict=True):
                if count:
                    self._reasons[f"{verdict} {label}"] += count

    def summary(self) -> dict[str, Any]:
        """Counts of verdicts, rejects and reasons, and the achieved rate."""
        decided = self._passed + self._blocked
        return {
            "requests": self._requests,
            "passed": self._passed,
            "blocked": self._blocked,
            "rejected": sum(self._rejects.values()),
            "rejects": dict(self._rejects),
            "reasons": dict(self._reasons),
            "achieved_rate": self._blocked / decided if decided else None,
        }


@dataclass(frozen=True)
class ReplayOptions:
    """Options of `weir replay`.

    Attributes:
        source: Path of a file, or name of a topic, with requests.
        out: New folder for decisions and summary.
        outcomes: Path of a file, or name of a topic, with outcomes; None to evaluate nothing.
        start: First time of a topic to include, ISO 8601 or epoch ms.
        end: First time of a topic to exclude.
        chunk_size: Records per chunk.
    """

    source: str
    out: Path
    outcomes: str | None = None
    start: str | None = None
    end: str | None = None
    chunk_size: int = 1000


async def run_replay(
    settings: Settings, options: ReplayOptions, on_chunk: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Replay a source and write ``decisions-*.parquet`` and ``summary.json``.

    Args:
        settings: Brokers, policy, artifact.
        options: Source, outcomes and output folder.
        on_chunk: Called after every chunk with the number of requests so far.

    Returns:
        The summary.

    Raises:
        ReplayError: If a time is given for a file.
        TimeError: If a time cannot be read.
        ArtifactError: If the artifact cannot serve.
    """
    if is_file(options.source) and (options.start or options.end):
        raise ReplayError(
            f"{options.source} is a file; --from and --to select records of a topic, leave them out"
        )
    tasks = settings.task_set
    policy = Policy(settings.policy, tasks)
    limit = settings.worker.max_value_bytes
    interceptor = Interceptor(policy, NoMetrics(), max_value_bytes=limit)
    interceptor.model = model = load_model(settings.model.artifact, tasks, settings)
    writer = DecisionWriter(options.out, tasks)
    replay = Replay(interceptor, writer, options.chunk_size, on_chunk)
    if is_file(options.source):
        for record in read_requests(Path(options.source)):
            replay.feed(record)
    else:
        span = (parse_time_ms(options.start), parse_time_ms(options.end))
        async for record in merge_topic(settings.kafka, options.source, *span):
            replay.feed(record)
    replay.flush()
    writer.close()
    summary = {
        # The name of a file need not be UTF-8, but JSON must be.
        "source": os.fsencode(options.source).decode(errors="backslashreplace"),
        "model_version": model.version,
        "target_rate": settings.policy.rate,
        **replay.summary(),
        "distrusted_stamps": policy.distrusted_stamps,
    }
    if options.outcomes is not None:
        outcomes = await _outcomes(settings, options.outcomes)
        summary["tasks"] = evaluate(read_decisions(options.out), outcomes, tasks)
    write_summary(options.out / "summary.json", summary)
    return summary


async def _outcomes(settings: Settings, source: str) -> pl.DataFrame:
    if is_file(source):
        return read_outcomes(Path(source))
    rows = []
    async for record in read_topic(settings.kafka, source):
        try:
            outcome = Outcome.from_bytes(record.value)
        except RecordError:
            continue  # the feedback worker counts and logs these; here they are not outcomes
        rows.append((outcome.request_id, outcome.task, outcome.ts))
    return outcome_frame(rows)


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write ``summary`` as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
