"""The decision about one request: the ``weir`` header of a record on the pass and block topics."""

from enum import IntEnum
from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta, Struct

from models import bounds
from stream.messages.parsing import decode

Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Version = Annotated[str, Meta(max_length=bounds.MAX_VERSION)]


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
        return msgspec.json.encode(DecisionOnTheWire.of(self))

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> "Decision":
        """Read the ``weir`` header.

        Raises:
            RecordError: Naming the field that is missing, of the wrong type, or out of bounds.
        """
        return decode(raw, _DECISION, "weir header", bounds.MAX_DECISION_BYTES).read()


class DecisionOnTheWire(Struct):
    """A `Decision` as JSON has it: the reason is its label."""

    model: Version
    e: float | None
    threshold: float | None
    reason: Annotated[str, Meta(pattern=rf"\A({'|'.join(REASON_LABELS)})\Z")]
    propensity: Annotated[float, Meta(gt=0, le=1)]
    offset: Offset

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """As it is written."""
        return cls(
            decision.model,
            decision.e,
            decision.threshold,
            decision.reason.label,
            decision.propensity,
            decision.offset,
        )

    def read(self) -> Decision:
        """As it was decided."""
        return Decision(
            self.model,
            self.e,
            self.threshold,
            Reason(REASON_LABELS.index(self.reason)),
            self.propensity,
            self.offset,
        )


_DECISION: Final = msgspec.json.Decoder(DecisionOnTheWire)
