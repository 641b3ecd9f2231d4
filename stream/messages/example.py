"""Training examples: passed requests as the trainer reads them, on ``training-examples``."""

from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta, Struct

from models import bounds
from stream.messages.decision import Decision, DecisionOnTheWire
from stream.messages.fields import Millis, RequestId
from stream.messages.parsing import decode

FeatureId = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class TrainingExample(Struct, frozen=True):
    """A passed request with its features, on the ``training-examples`` topic.

    Labels are not part of it: the trainer joins examples with ``outcomes`` when it reads them. The
    same example may be written more than once, and an id may be used again; the newest request of
    an id counts.

    Attributes:
        request_id: The ``id`` of the bid request.
        ts: Time of the request, milliseconds since the epoch.
        spec: Hash of the feature spec that ``features`` were extracted by.
        features: Feature ids of shape (C,), as the spec's extractor returns them.
        decision: The decision by which the request passed.
        weight: Number of passed requests that the example represents: the inverse of
            ``feedback.keep_share``.
        scenario: Hash of the request's scenario (:mod:`stream.policy.scenario_index`); 0 without
            one, or without ``policy.scenario_path``.
    """

    request_id: str
    ts: int
    spec: str
    features: list[int]
    decision: Decision
    weight: float = 1.0
    scenario: int = 0

    def to_bytes(self) -> bytes:
        """Value of a record on the ``training-examples`` topic."""
        return msgspec.json.encode(
            _ExampleOnTheWire(
                self.request_id,
                self.ts,
                self.spec,
                self.features,
                DecisionOnTheWire.of(self.decision),
                self.weight,
                self.scenario,
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
            read.decision.decision(),
            read.weight,
            read.scenario,
        )


class _ExampleOnTheWire(Struct):
    """JSON form of a `TrainingExample`."""

    request_id: RequestId
    ts: Millis
    spec: Annotated[str, Meta(max_length=bounds.MAX_SPEC_HASH)]
    features: Annotated[list[FeatureId], Meta(max_length=bounds.MAX_FEATURES)]
    decision: DecisionOnTheWire
    weight: Annotated[float, Meta(ge=1, le=1 / bounds.MIN_KEEP_SHARE)] = 1.0
    scenario: FeatureId = 0


_EXAMPLE: Final = msgspec.json.Decoder(_ExampleOnTheWire)
