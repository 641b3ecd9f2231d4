"""Finds one request by its id in topics and files: its decision, its dead letter, or itself alone.

Records are filtered by the bytes of the id first, and only those that may have it are read, by the
same reader as a worker's (:func:`models.features.intake.ingest`), so a million records of another
id cost a search for a text each.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import orjson

from models.data.request_files import is_file, read_requests
from models.errors import UserError
from models.features import Extractor
from models.features.intake import ingest
from models.settings import Settings
from stream.intercept.interceptor import timestamps
from stream.kafka.reader import TopicReader
from stream.messages import DECISION_HEADER, Decision, RecordError
from stream.messages.dead_letter import ERROR_HEADER, DeadLetter
from stream.transport import FetchedRecord

MAX_ID: Final = 4096
"""Characters of an id that is searched for; a key and a value may well be longer than an id."""
_SHOWN: Final = 10
_BATCH: Final = 1024


class ExplainError(UserError, ValueError):
    """A decision that cannot be explained; the message says why, and where it was looked for."""


class Kind(StrEnum):
    """What a found record is."""

    PASSED = "passed"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    REQUEST = "request"
    DECIDED = "decided"
    """Of a file, which keeps the decision but not from which topic it came."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record of the request.

    Attributes:
        kind: What it is.
        record: The record.
        decision: The decision in its header; None without one.
        letter: What its headers say, if it is a dead letter.
        source: The source that it was found in.
    """

    kind: Kind
    record: FetchedRecord
    decision: Decision | None = None
    letter: DeadLetter | None = None
    source: str = ""

    @property
    def where(self) -> str:
        """``topic[partition]@offset``; of a file its name in place of the topic."""
        return place_of(self.record)

    @property
    def source_offset(self) -> int:
        """Offset of the request in its source partition."""
        if self.decision is not None:
            return self.decision.offset
        return self.record.offset if self.letter is None else self.letter.offset


@dataclass(slots=True)
class Finds:
    """What was found, and where it was looked for.

    Attributes:
        places: Topics and files that were read.
        records: Number of records that were read.
        outputs: Records with a decision, and dead letters.
        requests: Records of the request itself.
        unreadable: Batches that could not be read.
    """

    places: list[str] = field(default_factory=list)
    records: int = 0
    outputs: list[Found] = field(default_factory=list)
    requests: list[Found] = field(default_factory=list)
    unreadable: int = 0

    def add(self, found: Iterable[Found], source: str = "") -> None:
        """Keep what was found; of a million copies the first thousand are enough to refuse."""
        for each in found:
            kept = self.requests if each.kind is Kind.REQUEST else self.outputs
            if len(kept) < _BATCH:
                kept.append(replace(each, source=source))


def place_of(record: FetchedRecord) -> str:
    """``topic[partition]@offset`` of a record."""
    return f"{record.topic}[{record.partition}]@{record.offset}"


def check_id(request_id: str) -> None:
    """Refuse what no request can have as its id.

    Raises:
        ExplainError: Naming what is wrong.
    """
    if not request_id:
        raise ExplainError("REQUEST_ID: empty; give the id of a bid request, its field `id`")
    if len(request_id) > MAX_ID:
        raise ExplainError(
            f"REQUEST_ID: {len(request_id)} characters; ids of up to {MAX_ID} are searched for"
        )
    try:
        request_id.encode()
    except UnicodeEncodeError as error:
        raise ExplainError("REQUEST_ID: not UTF-8; ids of bid requests are") from error


class Matcher:
    """Finds the records of one request id in batches of records.

    Args:
        request_id: The id.
        max_bytes: Longest value that is read as a bid request.
    """

    def __init__(self, request_id: str, max_bytes: int) -> None:
        check_id(request_id)
        self._id = request_id
        self._needle = orjson.dumps(request_id)[1:-1]
        named = rb'"id"\s*:\s*"' + re.escape(self._needle) + rb'"'
        self._named = re.compile(named)
        self._max_bytes = max_bytes
        self._no_features = Extractor(())

    def find(self, records: Sequence[FetchedRecord], kind: Kind) -> list[Found]:
        """The records of the request among these.

        Args:
            records: Records of one topic or file.
            kind: What records of this topic are; ``DECIDED`` for those of a file.

        Raises:
            ExplainError: If the header of one of them is not what Weir writes.
        """
        near = [
            r
            for r in records
            if r.value is not None and (self._needle in r.value or b"\\" in r.value)
        ]
        if kind is Kind.REJECTED or kind is Kind.DECIDED:
            letters = [r for r in near if _has(r, ERROR_HEADER)]
            found = [self._letter(r) for r in letters if self._named.search(r.value or b"")]
            if kind is Kind.REJECTED:
                return found
            near = [r for r in near if not _has(r, ERROR_HEADER)]
        else:
            found = []
        if not near:
            return found
        read = ingest(self._no_features, [r.value for r in near], timestamps(near), self._max_bytes)
        same = [near[k] for k, i in zip(read.kept, read.request_ids, strict=True) if i == self._id]
        return found + [self._decided(record, kind) for record in same]

    @staticmethod
    def _letter(record: FetchedRecord) -> Found:
        try:
            letter = DeadLetter.from_headers(record.headers)
        except RecordError as error:
            raise ExplainError(f"{place_of(record)}: {error}") from error
        return Found(Kind.REJECTED, record, letter=letter)

    @staticmethod
    def _decided(record: FetchedRecord, kind: Kind) -> Found:
        if kind is Kind.REQUEST or (kind is Kind.DECIDED and not _has(record, DECISION_HEADER)):
            return Found(Kind.REQUEST, record)
        try:
            return Found(kind, record, decision=Decision.from_headers(record.headers))
        except RecordError as error:
            raise ExplainError(f"{place_of(record)}: {error}") from error


def _has(record: FetchedRecord, header: str) -> bool:
    return any(name == header for name, _ in record.headers)


async def search(
    settings: Settings,
    request_id: str,
    sources: Sequence[str] = (),
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> Finds:
    """Look for a request.

    Args:
        settings: Brokers, topics, and the longest value.
        request_id: Its id.
        sources: Files or topics; without any, the four topics of requests and decisions.
        start_ms: First timestamp of records of topics to read; None for their beginning.
        end_ms: First timestamp to leave out; None for their end.

    Raises:
        ExplainError: If the id is none, or a found record has a header that Weir does not write.
        TopicError: If a topic does not exist.
    """
    topics = settings.topics
    kinds = {
        topics.passed: Kind.PASSED,
        topics.blocked: Kind.BLOCKED,
        topics.rejected: Kind.REJECTED,
        topics.requests: Kind.REQUEST,
    }
    matcher = Matcher(request_id, settings.worker.max_value_bytes)
    finds = Finds()
    for source in sources or list(kinds):
        finds.places.append(source)
        if is_file(source):
            for records in _in_batches(read_requests(source)):
                finds.records += len(records)
                finds.add(matcher.find(records, Kind.DECIDED), source)
            continue
        kind = kinds.get(source, Kind.DECIDED)
        async for records in _read(settings, source, finds, start_ms, end_ms):
            finds.add(matcher.find(records, kind), source)
    return finds


def _in_batches(records: Iterable[FetchedRecord]) -> Iterator[Sequence[FetchedRecord]]:
    batch: list[FetchedRecord] = []
    for record in records:
        batch.append(record)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _read(
    settings: Settings, topic: str, finds: Finds, start_ms: int | None, end_ms: int | None
) -> AsyncIterator[Sequence[FetchedRecord]]:
    def count_refused(_batch: object) -> None:
        finds.unreadable += 1

    async with TopicReader(settings.kafka, topic, count_refused) as reader:
        if start_ms is not None:
            await reader.from_time(start_ms)
        async for _, records in reader.batches():
            finds.records += len(records)
            kept = [
                record
                for record in records
                if (start_ms is None or start_ms <= record.timestamp)
                and (end_ms is None or record.timestamp < end_ms)
            ]
            if kept:
                yield kept


def choose(finds: Finds, request_id: str, at: str | None) -> Found:
    """The one record that is to be explained.

    Args:
        finds: What was found.
        request_id: The id.
        at: Place of the wanted one, ``topic[partition]@offset``; None where there is only one.

    Raises:
        ExplainError: If the request is nowhere, or more than once and ``at`` names none of them.
    """
    candidates = finds.outputs or finds.requests
    shown = request_id if len(request_id) <= 100 else f"{request_id[:100]}..."
    if not candidates:
        raise ExplainError(
            f"{shown}: no such request among {finds.records:,} records of "
            f"{', '.join(finds.places)}; retention may have deleted it, or it lies outside of "
            "--from and --to"
        )
    places = [found.where for found in candidates]
    if at is not None:
        wanted = [found for found in [*finds.outputs, *finds.requests] if found.where == at]
        if not wanted:
            raise ExplainError(f"--at {at}: {shown} is not there; it is at {_listed(places)}")
        return wanted[0]
    if len(candidates) > 1:
        raise ExplainError(
            f"{shown}: occurs {len(candidates)} times, at {_listed(places)}; say which with --at"
        )
    return candidates[0]


def _listed(places: Sequence[str]) -> str:
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
