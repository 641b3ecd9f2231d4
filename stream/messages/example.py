"""Training examples: passed requests joined with their outcomes, on ``training-examples``."""

from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta, Struct

from models import bounds
from stream.messages.decision import Decision, DecisionOnTheWire
from stream.messages.fields import Millis, RequestId, TaskName
from stream.messages.parsing import decode

Label = Annotated[int, Meta(ge=0, le=1)]
FeatureId = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class TrainingExample(Struct, frozen=True):
    """A passed request joined with its outcomes, on the ``training-examples`` topic.

    A request is emitted again whenever another of its labels is final; the newest example counts.

    Attributes:
        request_id: The ``id`` of the bid request.
        ts: Time of the request, milliseconds since the epoch.
        spec: Hash of the feature spec that ``features`` were extracted by.
        features: Feature ids of shape (C,), as the spec's extractor returns them.
        labels: Per task 1 (the event happened within its window), 0 (the window closed without
            it) or None (the window is still open: the label is masked, never guessed).
        decision: The decision by which the request passed.
        weight: Number of requests that the example represents: more than 1 where the join had
            memory for only a part of them (`stream/feedback/sampling.py`).
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
        """Whether no label is masked."""
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
                DecisionOnTheWire.of(self.decision),
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
            read.decision.decision(),
            read.weight,
        )


class _ExampleOnTheWire(Struct):
    """JSON form of a `TrainingExample`."""

    request_id: RequestId
    ts: Millis
    spec: Annotated[str, Meta(max_length=bounds.MAX_SPEC_HASH)]
    features: Annotated[list[FeatureId], Meta(max_length=bounds.MAX_FEATURES)]
    labels: Annotated[dict[TaskName, Label | None], Meta(max_length=bounds.MAX_TASKS)]
    decision: DecisionOnTheWire
    weight: Annotated[float, Meta(ge=1, le=2**bounds.MAX_HALVINGS)] = 1.0


_EXAMPLE: Final = msgspec.json.Decoder(_ExampleOnTheWire)
