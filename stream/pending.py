"""The bytes of the feedback join: a passed request that waits for its outcomes, and the rest.

`feedback-joins` carries two kinds of records, told apart by their first byte: a `PendingRequest`
and an `Outcome` as its producer wrote it (a JSON object). The join's state holds the pending
requests exactly as they arrived, so that an arrival costs no coding at all, `HeldOutcomes` that
came before their request, and one `Progress` per partition.
"""

import struct
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import orjson

from stream.records import Decision, RecordError

REQUEST_KIND: Final = b"R"
HELD_KIND: Final = b"H"
PROGRESS_KEY: Final = b"\x00"

_HEAD: Final = struct.Struct(
    "<cIqiqBH"
)  # kind, hits, ts, partition, offset, len(spec), len(decision)
_HITS: Final = struct.Struct("<I")
_HITS_AT: Final = 1
_TS: Final = struct.Struct("<q")
_TS_AT: Final = 5
_HELD: Final = struct.Struct("<Bq")
MAX_HELD_PER_REQUEST: Final = 64


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A passed request on its way through the join.

    Attributes:
        ts: Time of the request, milliseconds since the epoch.
        partition: Partition of the pass topic that it came from.
        offset: Its offset there; with `partition` it tells a redelivery from a new request.
        spec: Hash of the feature spec that made `features`.
        decision: Value of its `weir` header.
        features: Ids of shape (C,), int32.
        hits: Bit t is set when task t's event happened within its window.
    """

    ts: int
    partition: int
    offset: int
    spec: str
    decision: bytes
    features: npt.NDArray[np.int32]
    hits: int = 0

    def to_bytes(self) -> bytes:
        """Fixed head, spec, decision, then the ids as little-endian int32."""
        spec = self.spec.encode()
        head = _HEAD.pack(
            REQUEST_KIND,
            self.hits,
            self.ts,
            self.partition,
            self.offset,
            len(spec),
            len(self.decision),
        )
        return b"".join((head, spec, self.decision, self.features.astype("<i4").tobytes()))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read one.

        Raises:
            RecordError: If it is cut short or of another kind.
        """
        try:
            kind, hits, ts, partition, offset, spec_size, decision_size = _HEAD.unpack_from(raw)
            spec_end = _HEAD.size + spec_size
            decision_end = spec_end + decision_size
            if kind != REQUEST_KIND or len(raw) < decision_end:
                raise RecordError(f"pending request: kind {kind!r}, {len(raw)} bytes")
            return cls(
                ts=ts,
                partition=partition,
                offset=offset,
                spec=raw[_HEAD.size : spec_end].decode(),
                decision=raw[spec_end:decision_end],
                features=np.frombuffer(raw, "<i4", offset=decision_end),
                hits=hits,
            )
        except (struct.error, ValueError) as error:
            raise RecordError(f"pending request of {len(raw)} bytes: {error}") from error

    def read_decision(self) -> Decision:
        """The `weir` header.

        Raises:
            RecordError: If it is not one.
        """
        return Decision.from_bytes(self.decision)


def hits_and_ts(raw: bytes) -> tuple[int, int]:
    """Hits and time of a pending request, without reading the rest."""
    return _HITS.unpack_from(raw, _HITS_AT)[0], _TS.unpack_from(raw, _TS_AT)[0]


def with_hits(raw: bytes, hits: int) -> bytes:
    """The same pending request with other hits."""
    return raw[:_HITS_AT] + _HITS.pack(hits) + raw[_TS_AT:]


@dataclass(frozen=True, slots=True)
class HeldOutcomes:
    """Outcomes that came before their request: pairs of task index and time in ms."""

    events: tuple[tuple[int, int], ...]

    def to_bytes(self) -> bytes:
        """Kind, then nine bytes per event."""
        return HELD_KIND + b"".join(_HELD.pack(task, ts) for task, ts in self.events)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read them; `raw` comes from the join's own state."""
        return cls(tuple((task, ts) for task, ts in _HELD.iter_unpack(raw[1:])))


@dataclass(slots=True)
class Progress:
    """How far the join of one partition is.

    Attributes:
        tasks: Names of the tasks, in the order of the hits' bits.
        watermark: Stream time in ms, None before the first request.
        seen: Per partition of the pass topic: the highest offset taken, and the newest time.
    """

    tasks: tuple[str, ...]
    watermark: int | None = None
    seen: dict[int, tuple[int, int]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """JSON."""
        seen = {str(partition): mark for partition, mark in self.seen.items()}
        return orjson.dumps({"tasks": self.tasks, "watermark": self.watermark, "seen": seen})

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read it; `raw` comes from the join's own state."""
        doc = orjson.loads(raw)
        seen = {int(partition): (mark[0], mark[1]) for partition, mark in doc["seen"].items()}
        return cls(tasks=tuple(doc["tasks"]), watermark=doc["watermark"], seen=seen)

    def take(self, partition: int, offset: int, ts: int) -> bool:
        """Note a record of the pass topic; False when it was taken before.

        Every collector sends what it reads in order and without holes from the committed offset
        on, so whatever lies at or below the highest offset was taken. A record below it that is
        newer than all of them says that the topic was made anew: it is not a repetition.
        """
        last, newest = self.seen.get(partition, (-1, -1))
        if offset <= last and ts <= newest:
            return False
        self.seen[partition] = (offset, max(ts, newest))
        return True
