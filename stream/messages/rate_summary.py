"""The summary that a worker publishes of one scenario, on the topic ``rate-summaries``.

Keys are names of scenarios. A summary goes to the partition (the *slot*) of its scenario, which the
coordinator of that slot reads.
"""

import base64
import binascii
import zlib
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from models import bounds
from stream.messages.control import read_scenario
from stream.messages.parsing import RecordError, decode

Floats32 = npt.NDArray[np.float32]

PackedFloats = Annotated[str, Meta(max_length=bounds.MAX_QUANTILES * 6)]
"""Float32 values, little-endian, in base64."""
Debt = Annotated[float, Meta(ge=-bounds.MAX_DEBT, le=bounds.MAX_DEBT)]
PerSecond = Annotated[float, Meta(ge=0, le=bounds.MAX_PER_SECOND)]
Drift = Annotated[float, Meta(ge=-bounds.MAX_PER_SECOND, le=bounds.MAX_PER_SECOND)]
Offset = Annotated[int, Meta(ge=0, le=bounds.MAX_OFFSET)]
Versions = Annotated[
    dict[
        Annotated[str, Meta(max_length=bounds.MAX_VERSION)],
        Annotated[int, Meta(ge=0, le=bounds.MAX_PARTITION)],
    ],
    Meta(max_length=bounds.MAX_VERSIONS_AT_ONCE),
]
"""Partitions that each version decides."""


@dataclass(frozen=True, slots=True)
class RateSummary:
    """One worker's requests in one scenario.

    Attributes:
        scenario: Name of the scenario, or ``*``.
        worker: Name of the worker.
        sequence: Number of the summary; each of a worker's is greater than the one before.
        owed: Passes owed less passes given since the worker started.
        owed_before: ``owed`` of the worker's last summary that the broker has acknowledged.
        held: Debt of the worker's controller, which it pays back by itself.
        drift: Passes per second by which ``owed`` changes under the common threshold: a worker with
            the better requests gives more than it owes, and the others less.
        per_second: Requests per second; 0 without recent requests.
        rewards_Q: Quantiles of the rewards, rising, float32 of shape (Q,).
        versions: Partitions that each version decides; only in summaries of ``*``.
    """

    scenario: str
    worker: str
    sequence: int
    owed: float
    owed_before: float
    held: float
    drift: float
    per_second: float
    rewards_Q: Floats32
    versions: dict[str, int] = field(default_factory=dict)


class _Summary(Struct):
    """The JSON value of a `RateSummary`; the scenario is the key."""

    worker: Annotated[str, Meta(max_length=bounds.MAX_WORKER_NAME)]
    sequence: Annotated[int, Meta(ge=0, le=bounds.MAX_OFFSET)]
    owed: Debt
    owed_before: Debt
    held: Debt
    drift: Drift
    per_second: PerSecond
    rewards: PackedFloats
    versions: Versions = {}


_SUMMARY: Final = msgspec.json.Decoder(_Summary)


def slot_of(scenario: str, slots: int) -> int:
    """The partition of ``rate-summaries`` for a scenario: the CRC-32 of its name, modulo ``slots``.

    All workers and coordinators must agree on it.
    """
    return zlib.crc32(scenario.encode()) % slots


def write_summary(summary: RateSummary) -> tuple[bytes, bytes]:
    """Key and value of a record on ``rate-summaries``."""
    value = _Summary(
        summary.worker,
        summary.sequence,
        summary.owed,
        summary.owed_before,
        summary.held,
        summary.drift,
        summary.per_second,
        pack(summary.rewards_Q),
        summary.versions,
    )
    return summary.scenario.encode(), msgspec.json.encode(value)


def read_summary(key: bytes | None, value: bytes | None) -> RateSummary:
    """The summary in a record of ``rate-summaries``.

    Raises:
        RecordError: Naming the field that is missing or out of bounds.
    """
    scenario = read_scenario(key)
    found = decode(value, _SUMMARY, "rate-summaries", bounds.MAX_STATE_BYTES)
    rewards_Q = unpack(found.rewards, "rate-summaries.rewards")
    if len(rewards_Q) > 1 and (rewards_Q[1:] < rewards_Q[:-1]).any():
        raise RecordError("rate-summaries.rewards: not rising")
    return RateSummary(
        scenario,
        found.worker,
        found.sequence,
        found.owed,
        found.owed_before,
        found.held,
        found.drift,
        found.per_second,
        rewards_Q,
        found.versions,
    )


def pack(values_M: npt.NDArray[np.floating]) -> str:
    """Values as `PackedFloats`."""
    return base64.b64encode(values_M.astype("<f4").tobytes()).decode()


def unpack(packed: str, name: str) -> Floats32:
    """The values in `PackedFloats`: finite float32.

    Raises:
        RecordError: Naming the field.
    """
    try:
        values_M = np.frombuffer(base64.b64decode(packed, validate=True), "<f4").astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"{name}: {error}") from error
    if not np.isfinite(values_M).all():
        raise RecordError(f"{name}: not all are finite numbers")
    if len(values_M) > bounds.MAX_QUANTILES:
        raise RecordError(f"{name}: more than {bounds.MAX_QUANTILES}")
    return values_M
