"""The decision about one request: the ``weir`` header of a record on the pass and block topics."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta, Struct

from models import bounds
from stream.messages.headers import DECISION_HEADER, Headers
from stream.messages.parsing import RecordError, decode

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
        """Name in records and metrics, e.g. ``fail-open``."""
        return self.name.lower().replace("_", "-")


REASON_LABELS: Final = tuple(reason.label for reason in Reason)
_ENCODED_LABELS: Final = tuple(label.encode() for label in REASON_LABELS)


class Decision(Struct, frozen=True):
    """What Weir decided about one request: the content of the ``weir`` header.

    Attributes:
        model: Version of the artifact that scored the request, "" if none did.
        e: Reward (eq. 8), or None if the request was not scored.
        threshold: Reward that was needed to pass by score, or None.
        reason: Why the request passed or was blocked.
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

    def to_header(self) -> tuple[str, bytes]:
        """The ``weir`` header."""
        return DECISION_HEADER, self.to_bytes()

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> "Decision":
        """Read the value of the ``weir`` header.

        Raises:
            RecordError: Naming the field that is missing, of the wrong type, or out of bounds.
        """
        return decode(raw, _DECISION, "weir header", bounds.MAX_DECISION_BYTES).decision()

    @classmethod
    def from_headers(cls, headers: Headers) -> "Decision":
        """Read the decision from the headers of a passed or blocked record.

        The worker appends its header, so the last one counts and any before it is foreign.

        Raises:
            RecordError: If there is no such header, or naming what is wrong with it.
        """
        for name, value in reversed(headers):
            if name == DECISION_HEADER:
                return cls.from_bytes(value)
        raise RecordError(f"the header {DECISION_HEADER!r} is missing")


class DecisionOnTheWire(Struct):
    """JSON form of a `Decision`: the reason is its label."""

    model: Version
    e: float | None
    threshold: float | None
    reason: Annotated[str, Meta(pattern=rf"\A({'|'.join(REASON_LABELS)})\Z")]
    propensity: Annotated[float, Meta(gt=0, le=1)]
    offset: Offset

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """The JSON form of a decision."""
        return cls(
            decision.model,
            decision.e,
            decision.threshold,
            decision.reason.label,
            decision.propensity,
            decision.offset,
        )

    def decision(self) -> Decision:
        """The decision."""
        return Decision(
            self.model,
            self.e,
            self.threshold,
            Reason(REASON_LABELS.index(self.reason)),
            self.propensity,
            self.offset,
        )


_DECISION: Final = msgspec.json.Decoder(DecisionOnTheWire)


def encode_decisions(
    model: str,
    rewards: Iterable[float],
    thresholds: Iterable[float],
    reasons: Iterable[int],
    propensities: Iterable[float],
    offsets: Iterable[int],
) -> list[bytes]:
    """The ``weir`` headers of N decisions of one model, as :meth:`Decision.to_bytes` but faster.

    Figures have nine digits, as many as float32 holds.

    Args:
        model: Version of the artifact.
        rewards: N rewards; NaN is written as null.
        thresholds: N thresholds.
        reasons: N reasons, by number.
        propensities: N probabilities.
        offsets: N source offsets.
    """
    form = (
        b'{"model":%s,"e":%%b,"threshold":%%.9g,"reason":"%%b","propensity":%%.9g,"offset":%%d}'
        % msgspec.json.encode(model).replace(b"%", b"%%")
    )
    rows = zip(rewards, thresholds, reasons, propensities, offsets, strict=True)
    return [
        form
        % (
            b"%.9g" % e if e == e else b"null",  # noqa: PLR0124 - NaN has no JSON
            threshold,
            _ENCODED_LABELS[reason],
            propensity,
            offset,
        )
        for e, threshold, reason, propensity, offset in rows
    ]


def encode_fail_open(offsets: Iterable[int]) -> list[bytes]:
    """The ``weir`` headers of requests that passed because no model served."""
    open_at = Decision("", None, None, Reason.FAIL_OPEN, 1.0, 0).to_bytes()
    form = open_at.replace(b'"offset":0', b'"offset":%d')
    return [form % offset for offset in offsets]
