"""The records that travel between Weir's parts, and their bytes on the wire.

One place defines each: the ``weir`` header on decided requests, the headers of a rejected one,
an outcome, a training example, a model announcement. What a field may hold is its type here, with
the bounds of `models/bounds.py`; `stream/parsing.py` refuses everything else.
"""

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta, Struct

from models import bounds
from models.manifest import SHA256_PATTERN, VERSION_PATTERN
from stream.parsing import RecordError, decode

__all__ = [
    "DECISION_HEADER",
    "REASON_LABELS",
    "SEQUENCE_HEADER",
    "Decision",
    "ModelAnnouncement",
    "Outcome",
    "Reason",
    "RecordError",
    "RejectCode",
    "TrainingExample",
    "own_headers",
    "sequence_number",
]

DECISION_HEADER: Final = "weir"
#: In which the publisher numbers what it sends; restores order across partitions.
SEQUENCE_HEADER: Final = "seq"
#: Weir's own headers are named so or begin so; on a request they are removed.
_RESERVED: Final = (DECISION_HEADER, f"{DECISION_HEADER}-")

Headers = Sequence[tuple[str, bytes | None]]

Millis = Annotated[int, Meta(ge=0, le=bounds.MAX_TIME_MS)]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
RequestId = Annotated[str, Meta(max_length=bounds.MAX_REQUEST_ID)]
TaskName = Annotated[str, Meta(max_length=bounds.MAX_TASK_NAME)]
Version = Annotated[str, Meta(max_length=bounds.MAX_VERSION)]
VersionName = Annotated[str, Meta(max_length=bounds.MAX_VERSION, pattern=VERSION_PATTERN)]
Sha256 = Annotated[str, Meta(pattern=SHA256_PATTERN)]
Label = Annotated[int, Meta(ge=0, le=1)]
FeatureId = Annotated[int, Meta(ge=0, le=2**31 - 1)]


def own_headers(headers: Headers) -> Headers:
    """The headers that are the exchange's own, without those whose names Weir reserves."""
    for name, _ in headers:
        if name.startswith(DECISION_HEADER) and _is_reserved(name):
            return tuple(header for header in headers if not _is_reserved(header[0]))
    return headers


def _is_reserved(name: str) -> bool:
    return name == _RESERVED[0] or name.startswith(_RESERVED[1])


def sequence_number(headers: Headers) -> int:
    """The publisher's number of a record; 0 where there is none, or none that fits 63 bits."""
    number = dict(headers).get(SEQUENCE_HEADER) or b""
    return int.from_bytes(number, "big") if len(number) <= 8 and number < b"\x80" else 0


class Reason(IntEnum):
    """Why a request passed or was blocked. ``SCORE`` is the only reason to block."""

    SCORE = 0
    UNCERTAIN = 1
    EXPLORE = 2
    FAIL_OPEN = 3

    @property
    def label(self) -> str:
        """Name on the wire and in metrics, e.g. ``fail-open``."""
        return self.name.lower().replace("_", "-")


REASON_LABELS: Final = tuple(reason.label for reason in Reason)


class RejectCode(StrEnum):
    """Why a record went to the dead-letter topic."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    TOO_LARGE = "too-large"
    INVALID_UTF8 = "invalid-utf8"
    INVALID_JSON = "invalid-json"
    TOO_DEEP = "too-deep"
    NOT_AN_OBJECT = "not-an-object"
    MISSING_ID = "missing-id"
    MISSING_IMP = "missing-imp"
    WRONG_TYPE = "wrong-type"
    NUMBER_OUT_OF_RANGE = "number-out-of-range"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


class Decision(Struct, frozen=True):
    """What Weir decided about one request: the content of the ``weir`` header.

    Attributes:
        model: Version of the artifact that scored the request, "" when none did.
        e: Reward (eq. 8), or None when nothing was scored.
        threshold: Reward that was needed to pass by score, or None.
        reason: Why it passed or was blocked.
        propensity: Probability of the verdict given the request and the policy's state, in (0, 1].
        offset: Offset of the request in its source partition, for tracing and verification.
    """

    model: str
    e: float | None
    threshold: float | None
    reason: Reason
    propensity: float
    offset: int

    def to_bytes(self) -> bytes:
        """Compact JSON, the value of the ``weir`` header."""
        return msgspec.json.encode(_DecisionOnTheWire.of(self))

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> "Decision":
        """Read the ``weir`` header.

        Raises:
            RecordError: Naming the field that is missing, of the wrong type, or out of bounds.
        """
        return decode(raw, _DECISION, "weir header", bounds.MAX_DECISION_BYTES).read()


class _DecisionOnTheWire(Struct):
    """A `Decision` as JSON has it: the reason is its label."""

    model: Version
    e: float | None
    threshold: float | None
    reason: Annotated[str, Meta(pattern=rf"\A({'|'.join(REASON_LABELS)})\Z")]
    propensity: Annotated[float, Meta(gt=0, le=1)]
    offset: Offset

    @classmethod
    def of(cls, decision: Decision) -> Self:
        return cls(
            decision.model,
            decision.e,
            decision.threshold,
            decision.reason.label,
            decision.propensity,
            decision.offset,
        )

    def read(self) -> Decision:
        return Decision(
            self.model,
            self.e,
            self.threshold,
            Reason(REASON_LABELS.index(self.reason)),
            self.propensity,
            self.offset,
        )


class Outcome(Struct, frozen=True):
    """A delayed event from downstream: request ``request_id`` reached ``task`` at ``ts``.

    Attributes:
        request_id: The ``id`` of the bid request.
        task: Task name, e.g. ``deal``.
        ts: Time of the event, milliseconds since the epoch.
    """

    request_id: RequestId
    task: TaskName
    ts: Millis

    def to_bytes(self) -> bytes:
        """Value of a record on the ``outcomes`` topic."""
        return msgspec.json.encode(self)

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> "Outcome":
        """Read a record of the ``outcomes`` topic.

        Raises:
            RecordError: Naming the field that is missing, of the wrong type, or out of bounds.
        """
        return decode(raw, _OUTCOME, "outcome", bounds.MAX_OUTCOME_BYTES)


class TrainingExample(Struct, frozen=True):
    """A passed request joined with what became of it, on the ``training-examples`` topic.

    The same request is emitted again whenever more of it is known; the newest one counts.

    Attributes:
        request_id: The ``id`` of the bid request.
        ts: Time of the request, milliseconds since the epoch.
        spec: Hash of the feature spec that made ``features``.
        features: Ids of shape (C,), as the spec's extractor gives them.
        labels: Per task 1 (the event happened within its window), 0 (the window closed without
            it) or None (the window is still open: masked, never guessed).
        decision: What was decided when it passed.
        weight: For how many requests it stands: more than 1 where the join had memory for only a
            part of them (`stream/admission.py`).
    """

    request_id: str
    ts: int
    spec: str
    features: list[int]
    labels: dict[str, int | None]
    decision: Decision
    weight: float = 1.0

    @property
    def mature(self) -> bool:
        """Whether no label is masked any more."""
        return None not in self.labels.values()

    def to_bytes(self) -> bytes:
        """Value of a record on the ``training-examples`` topic."""
        return msgspec.json.encode(
            _ExampleOnTheWire(
                self.request_id,
                self.ts,
                self.spec,
                self.features,
                self.labels,
                _DecisionOnTheWire.of(self.decision),
                self.weight,
            )
        )

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> Self:
        """Read a record of the ``training-examples`` topic.

        Raises:
            RecordError: Naming the field that is missing, of the wrong type, or out of bounds.
        """
        read = decode(raw, _EXAMPLE, "training example", bounds.MAX_EXAMPLE_BYTES)
        return cls(
            read.request_id,
            read.ts,
            read.spec,
            read.features,
            read.labels,
            read.decision.read(),
            read.weight,
        )


class _ExampleOnTheWire(Struct):
    """A `TrainingExample` as JSON has it."""

    request_id: RequestId
    ts: Millis
    spec: Annotated[str, Meta(max_length=bounds.MAX_SPEC_HASH)]
    features: Annotated[list[FeatureId], Meta(max_length=bounds.MAX_FEATURES)]
    labels: Annotated[dict[TaskName, Label | None], Meta(max_length=bounds.MAX_TASKS)]
    decision: _DecisionOnTheWire
    weight: Annotated[float, Meta(ge=1, le=2**bounds.MAX_HALVINGS)] = 1.0


class ModelAnnouncement(Struct, frozen=True):
    """A published artifact, on the compacted topic ``models`` (the newest one serves).

    Attributes:
        version: Version of the artifact.
        url: fsspec URL of the artifact's folder.
        manifest_sha256: Hash of its ``manifest.json``, so that a changed folder is refused.
        ts: Time of publication, milliseconds since the epoch.
        metrics: What the gates saw, for people: figures per task by name of the metric.
    """

    version: VersionName
    url: Annotated[str, Meta(min_length=1, max_length=bounds.MAX_URL)]
    manifest_sha256: Sha256
    ts: Millis
    metrics: dict[str, float | dict[str, float | None] | None] = {}

    def to_bytes(self) -> bytes:
        """Value of a record on the ``models`` topic."""
        return msgspec.json.encode(self)

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> "ModelAnnouncement":
        """Read a record of the ``models`` topic.

        Raises:
            RecordError: Naming the field that is missing, of the wrong type, or out of bounds.
        """
        return decode(raw, _ANNOUNCEMENT, "model announcement", bounds.MAX_ANNOUNCEMENT_BYTES)


_DECISION: Final = msgspec.json.Decoder(_DecisionOnTheWire)
_OUTCOME: Final = msgspec.json.Decoder(Outcome)
_EXAMPLE: Final = msgspec.json.Decoder(_ExampleOnTheWire)
_ANNOUNCEMENT: Final = msgspec.json.Decoder(ModelAnnouncement)
