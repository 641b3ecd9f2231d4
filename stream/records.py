"""The records that travel between Weir's parts, and their bytes on the wire.

One place defines each: the ``weir`` header on decided requests, the headers of a rejected one,
an outcome, a training example, a model announcement. All JSON is written and read by orjson.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final, Self

import orjson

DECISION_HEADER: Final = "weir"
#: In which the publisher numbers what it sends; restores order across partitions.
SEQUENCE_HEADER: Final = "seq"


class RecordError(ValueError):
    """A record that cannot be read; the message names the field and what was expected."""


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


@dataclass(frozen=True, slots=True)
class Decision:
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
        return orjson.dumps(
            {
                "model": self.model,
                "e": self.e,
                "threshold": self.threshold,
                "reason": self.reason.label,
                "propensity": self.propensity,
                "offset": self.offset,
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read the ``weir`` header.

        Raises:
            RecordError: If it is not such JSON.
        """
        doc = _object(raw, "weir header")
        try:
            return cls(
                model=doc["model"],
                e=doc["e"],
                threshold=doc["threshold"],
                reason=Reason(REASON_LABELS.index(doc["reason"])),
                propensity=doc["propensity"],
                offset=doc["offset"],
            )
        except (KeyError, ValueError) as error:
            raise RecordError(f"weir header: field missing or unknown: {error}") from error


@dataclass(frozen=True, slots=True)
class Outcome:
    """A delayed event from downstream: request ``request_id`` reached ``task`` at ``ts``.

    Attributes:
        request_id: The ``id`` of the bid request.
        task: Task name, e.g. ``deal``.
        ts: Time of the event, milliseconds since the epoch.
    """

    request_id: str
    task: str
    ts: int

    def to_bytes(self) -> bytes:
        """Value of a record on the ``outcomes`` topic."""
        return orjson.dumps({"request_id": self.request_id, "task": self.task, "ts": self.ts})

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> Self:
        """Read a record of the ``outcomes`` topic.

        Raises:
            RecordError: Naming the field that is missing or of the wrong type.
        """
        doc = _object(raw, "outcome")
        return cls(
            request_id=_field(doc, "request_id", str, "outcome"),
            task=_field(doc, "task", str, "outcome"),
            ts=_field(doc, "ts", int, "outcome"),
        )


@dataclass(frozen=True, slots=True)
class TrainingExample:
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
    """

    request_id: str
    ts: int
    spec: str
    features: list[int]
    labels: dict[str, int | None]
    decision: Decision

    @property
    def mature(self) -> bool:
        """Whether no label is masked any more."""
        return None not in self.labels.values()

    def to_bytes(self) -> bytes:
        """Value of a record on the ``training-examples`` topic."""
        return orjson.dumps(
            {
                "request_id": self.request_id,
                "ts": self.ts,
                "spec": self.spec,
                "features": self.features,
                "labels": self.labels,
                "decision": orjson.Fragment(self.decision.to_bytes()),
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> Self:
        """Read a record of the ``training-examples`` topic.

        Raises:
            RecordError: Naming the field that is missing or of the wrong type.
        """
        doc = _object(raw, "training example")
        what = "training example"
        return cls(
            request_id=_field(doc, "request_id", str, what),
            ts=_field(doc, "ts", int, what),
            spec=_field(doc, "spec", str, what),
            features=_field(doc, "features", list, what),
            labels=_field(doc, "labels", dict, what),
            decision=Decision.from_bytes(orjson.dumps(_field(doc, "decision", dict, what))),
        )


@dataclass(frozen=True, slots=True)
class ModelAnnouncement:
    """A published artifact, on the compacted topic ``models`` (the newest one serves).

    Attributes:
        version: Version of the artifact.
        url: fsspec URL of the artifact's folder.
        manifest_sha256: Hash of its ``manifest.json``, so that a changed folder is refused.
        ts: Time of publication, milliseconds since the epoch.
        metrics: What the gates saw, for people.
    """

    version: str
    url: str
    manifest_sha256: str
    ts: int
    metrics: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Value of a record on the ``models`` topic."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> Self:
        """Read a record of the ``models`` topic.

        Raises:
            RecordError: Naming the field that is missing or of the wrong type.
        """
        doc = _object(raw, "model announcement")
        what = "model announcement"
        return cls(
            version=_field(doc, "version", str, what),
            url=_field(doc, "url", str, what),
            manifest_sha256=_field(doc, "manifest_sha256", str, what),
            ts=_field(doc, "ts", int, what),
            metrics=_field(doc, "metrics", dict, what) if "metrics" in doc else {},
        )


def _object(raw: bytes | None, what: str) -> dict[str, Any]:
    if not raw:
        raise RecordError(f"{what}: the value is empty; a JSON object is expected")
    try:
        doc = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RecordError(f"{what}: not JSON: {error}") from error
    if not isinstance(doc, dict):
        raise RecordError(f"{what}: a JSON object is expected, not {type(doc).__name__}")
    return doc


def _field(doc: dict[str, Any], name: str, kind: type, what: str) -> Any:
    value = doc.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RecordError(f"{what}.{name}: {kind.__name__} expected, {type(value).__name__} found")
    return value
