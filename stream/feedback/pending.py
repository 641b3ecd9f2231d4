"""Binary encoding of the join's records and state: pending requests, held outcomes, progress.

`feedback-joins` carries two kinds of records, distinguished by their first byte: a `PendingRequest`
and an `Outcome` (a JSON object). The join's state holds the pending requests as they arrived, with
only a few bytes of the head changed, so that an arrival is not encoded again; in addition,
`HeldOutcomes` that arrived before their request, and one `Progress` per partition. Everything that
is decoded here comes from topics to which others may write: out of bounds is a `RecordError`.
"""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash
from msgspec import Meta, Struct

from models import bounds
from stream.messages import Decision, Reason
from stream.messages.decision import Offset
from stream.messages.fields import Millis
from stream.messages.parsing import RecordError, decode

REQUEST_KIND: Final = b"P"
HELD_KIND: Final = b"H"
PROGRESS_KEY: Final = b"\x00"

_HEAD: Final = struct.Struct("<cIIBqiqdddBqBBH")
"""Kind; hits, tasks, halvings; ts, partition, offset; e, threshold, propensity, reason and offset
of the decision; bytes of a feature id, of the spec's hash, of the model's version."""
_STATUS: Final = struct.Struct("<IIB")
_STATUS_AT: Final = 1
_TS: Final = struct.Struct("<q")
_TS_AT: Final = _STATUS_AT + _STATUS.size
_HELD: Final = struct.Struct("<Bq")
_TASKS: Final = struct.Struct("<I")
_ID_TYPES: Final[dict[int, str]] = {2: "<u2", 4: "<i4"}


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A passed request whose labels have not all matured.

    Attributes:
        ts: Event time of the request, milliseconds since the epoch.
        partition: Partition of the pass topic that it came from.
        offset: Its offset there; with `partition` it distinguishes a redelivery from a new request.
        spec: Hash of the feature spec of `features`.
        decision: The decision in its `weir` header.
        features: Ids of shape (C,): uint16 takes two bytes each, any other type four.
        hits: Bit t is set when task t's event happened within its window.
        tasks: Digest of the tasks of `hits`, see `tasks_digest`.
        halvings: The join sampled 1 / 2^halvings of all requests when this one arrived.
    """

    ts: int
    partition: int
    offset: int
    spec: str
    decision: Decision
    features: npt.NDArray[np.integer]
    hits: int = 0
    tasks: int = 0
    halvings: int = 0

    def to_bytes(self) -> bytes:
        """Encode: fixed head, spec, model, then the feature ids, little-endian."""
        decision = self.decision
        spec, model = self.spec.encode(), decision.model.encode()
        width = 2 if self.features.dtype == np.uint16 else 4
        head = _HEAD.pack(
            *(REQUEST_KIND, self.hits, self.tasks, self.halvings),
            *(self.ts, self.partition, self.offset),
            math.nan if decision.e is None else decision.e,
            math.nan if decision.threshold is None else decision.threshold,
            *(decision.propensity, decision.reason, decision.offset),
            *(width, len(spec), len(model)),
        )
        ids = self.features.astype(_ID_TYPES[width], copy=False).tobytes()
        return b"".join((head, spec, model, ids))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Decode a pending request.

        Raises:
            RecordError: If it is truncated, of another kind, or out of bounds.
        """
        try:
            head = _HEAD.unpack_from(raw)
            kind, hits, tasks, halvings, ts, partition, offset = head[:7]
            e, threshold, propensity, reason, source_offset = head[7:12]
            width, spec_size, model_size = head[12:]
            spec_end = _HEAD.size + spec_size
            model_end = spec_end + model_size
            ids = raw[model_end:]
            if kind != REQUEST_KIND or len(raw) < model_end or len(ids) % width:
                raise RecordError(f"pending request: kind {kind!r}, {len(raw)} bytes")
            decision = Decision(
                model=raw[spec_end:model_end].decode(),
                e=None if math.isnan(e) else e,
                threshold=None if math.isnan(threshold) else threshold,
                reason=Reason(reason),
                propensity=propensity,
                offset=source_offset,
            )
            request = cls(
                ts=ts,
                partition=partition,
                offset=offset,
                spec=raw[_HEAD.size : spec_end].decode(),
                decision=decision,
                features=np.frombuffer(ids, _ID_TYPES[width]),
                hits=hits,
                tasks=tasks,
                halvings=halvings,
            )
        except (struct.error, ValueError, KeyError, ZeroDivisionError) as error:
            raise RecordError(f"pending request of {len(raw)} bytes: {error}") from error
        request._check()
        return request

    def _check(self) -> None:
        """Refuse values that no feedback worker writes."""
        decision = self.decision
        figures = (decision.e or 0.0, decision.threshold or 0.0)
        within = (
            0 <= self.ts <= bounds.MAX_TIME_MS
            and 0 <= self.partition <= bounds.MAX_PARTITION
            and self.offset >= 0
            and decision.offset >= 0
            and 0 < decision.propensity <= 1
            and all(map(math.isfinite, figures))
            and self.halvings <= bounds.MAX_HALVINGS
            and len(self.spec) <= bounds.MAX_SPEC_HASH
            and len(decision.model) <= bounds.MAX_VERSION
            and len(self.features) <= bounds.MAX_FEATURES
            and (self.features.dtype.itemsize == 2 or not (self.features < 0).any())
        )
        if not within:
            raise RecordError(
                f"pending request: out of bounds: ts {self.ts}, partition {self.partition}, "
                f"offset {self.offset}, {len(self.features)} features, {decision}"
            )


def tasks_digest(names: Iterable[str]) -> int:
    """Hash of the names of the tasks in order, in 32 bits."""
    return xxhash.xxh32_intdigest("\n".join(names).encode())


def status(raw: bytes) -> tuple[int, int, int]:
    """Hits, tasks and halvings of a pending request, without decoding the rest."""
    hits, tasks, halvings = _STATUS.unpack_from(raw, _STATUS_AT)
    return hits, tasks, halvings


def with_status(raw: bytes, hits: int, tasks: int, halvings: int) -> bytes:
    """Replace the status of an encoded pending request."""
    return raw[:_STATUS_AT] + _STATUS.pack(hits, tasks, halvings) + raw[_TS_AT:]


def event_time(raw: bytes) -> int:
    """Event time of a pending request in ms, without decoding the rest."""
    ts: int = _TS.unpack_from(raw, _TS_AT)[0]
    return ts


@dataclass(frozen=True, slots=True)
class HeldOutcomes:
    """Outcomes that arrived before their request.

    Attributes:
        tasks: Digest of the tasks of the events, see `tasks_digest`.
        events: Pairs of task index and event time in ms.
    """

    tasks: int
    events: tuple[tuple[int, int], ...]

    def to_bytes(self) -> bytes:
        """Encode: kind, tasks, then nine bytes per event."""
        head = HELD_KIND + _TASKS.pack(self.tasks)
        return head + b"".join(_HELD.pack(task, ts) for task, ts in self.events)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Decode held outcomes.

        Raises:
            RecordError: If they are truncated, of another kind, or too many.
        """
        try:
            tasks: int = _TASKS.unpack_from(raw, 1)[0]
            events = tuple((task, ts) for task, ts in _HELD.iter_unpack(raw[1 + _TASKS.size :]))
        except struct.error as error:
            raise RecordError(f"held outcomes of {len(raw)} bytes: {error}") from error
        if raw[:1] != HELD_KIND or len(events) > bounds.MAX_HELD_PER_REQUEST:
            raise RecordError(f"held outcomes: kind {raw[:1]!r}, {len(events)} events")
        return cls(tasks, events)


Mark = tuple[Offset, Millis]


class _ProgressJson(Struct):
    """A `Progress` in JSON, whose keys are strings."""

    watermark: Millis | None
    seen: Annotated[dict[str, Mark], Meta(max_length=bounds.MAX_JOIN_SOURCES)]


_PROGRESS: Final = msgspec.json.Decoder(_ProgressJson)


@dataclass(slots=True)
class Progress:
    """How far the join of one partition has come.

    Attributes:
        watermark: Stream time in ms, None before the first request.
        seen: Per partition of the pass topic: the highest offset added, and the newest event time.
    """

    watermark: int | None = None
    seen: dict[int, tuple[int, int]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Encode as JSON."""
        seen = {str(partition): mark for partition, mark in self.seen.items()}
        return msgspec.json.encode(_ProgressJson(self.watermark, seen))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Decode from JSON.

        Raises:
            RecordError: Naming the field that is wrong.
        """
        doc = decode(raw, _PROGRESS, "progress", bounds.MAX_PROGRESS_BYTES)
        try:
            return cls(doc.watermark, {int(number): mark for number, mark in doc.seen.items()})
        except ValueError as error:
            raise RecordError(f"progress.seen: {error}") from error

    def advance(self, partition: int, offset: int, ts: int) -> bool:
        """Advance to a record of the pass topic; False if it is a redelivery.

        Every collector forwards records in order and without gaps from the committed offset on, so
        everything up to the highest offset has been added. A record below that offset with an
        event time newer than all of them means that the topic was recreated: no redelivery.

        Raises:
            RecordError: If there are too many partitions of the pass topic.
        """
        last, newest = self.seen.get(partition, (-1, -1))
        if offset <= last and ts <= newest:
            return False
        if last < 0 and len(self.seen) >= bounds.MAX_JOIN_SOURCES:
            raise RecordError(
                f"pending request: partition {partition}; requests of "
                f"{bounds.MAX_JOIN_SOURCES} others came before"
            )
        self.seen[partition] = (offset, max(ts, newest))
        return True


def check_entry(key: bytes | None, value: bytes | None) -> None:
    """Refuse a changelog record that no join wrote.

    Raises:
        RecordError: If the key is missing or too long, or the value is of no kind of the state.
    """
    if not key or len(key) > bounds.MAX_JOIN_KEY_BYTES:
        raise RecordError(f"key of {len(key or b'')} bytes: {bounds.MAX_JOIN_KEY_BYTES} at most")
    if value is None:
        return
    if key == PROGRESS_KEY:
        Progress.from_bytes(value)
    elif value[:1] == HELD_KIND:
        HeldOutcomes.from_bytes(value)
    else:
        try:
            key.decode()
        except UnicodeDecodeError as error:
            raise RecordError(f"key of {len(key)} bytes: not UTF-8") from error
        PendingRequest.from_bytes(value)
