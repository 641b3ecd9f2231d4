"""The state of the fleet in one scenario, which its coordinator publishes on ``rate-state``.

Keys are names of scenarios. The state is a function of all summaries on the scenario's slot of
``rate-summaries`` before the offset `FleetState.through`, so that two coordinators of a slot agree.
"""

from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from models import bounds
from stream.messages.control import read_scenario
from stream.messages.parsing import RecordError, decode
from stream.messages.rate_summary import (
    Debt,
    Offset,
    PackedFloats,
    PerSecond,
    Versions,
    pack,
    unpack,
)


@dataclass(frozen=True, slots=True)
class FleetState:
    """The fleet's requests in one scenario: the mixture of all workers' summaries.

    Attributes:
        scenario: Name of the scenario, or ``*``.
        through: Summaries at smaller offsets of the slot are in it, and no others.
        workers: Number of workers with recent requests.
        per_second: Requests per second of all of them.
        debt: Passes owed so far less passes given, of all workers that there ever were.
        held: The part of the debt that the workers' controllers pay back by themselves, and that
            is expected to be gone by the drifts since their summaries.
        rewards_K: Rewards, strictly rising, float32 of shape (K,); the last is the greatest of all.
        above_K: Share of the requests with a greater reward than each, float32 of shape (K,); the
            last is 0.
        versions: Partitions that each version decides; only in the state of ``*``.
    """

    scenario: str
    through: int
    workers: int
    per_second: float
    debt: float
    held: float
    rewards_K: npt.NDArray[np.float32]
    above_K: npt.NDArray[np.float32]
    versions: dict[str, int] = field(default_factory=dict)


class _State(Struct):
    """The JSON value of a `FleetState`; the scenario is the key."""

    through: Offset
    workers: Annotated[int, Meta(ge=0, le=bounds.MAX_WORKERS)]
    per_second: PerSecond
    debt: Debt
    held: Debt
    rewards: PackedFloats
    above: PackedFloats
    versions: Versions = {}


_STATE: Final = msgspec.json.Decoder(_State)


def write_state(state: FleetState) -> tuple[bytes, bytes]:
    """Key and value of a record on ``rate-state``."""
    value = _State(
        state.through,
        state.workers,
        state.per_second,
        state.debt,
        state.held,
        pack(state.rewards_K),
        pack(state.above_K),
        state.versions,
    )
    return state.scenario.encode(), msgspec.json.encode(value)


def read_state(key: bytes | None, value: bytes | None) -> FleetState:
    """The state in a record of ``rate-state``.

    Raises:
        RecordError: Naming the field that is missing or out of bounds.
    """
    scenario = read_scenario(key)
    found = decode(value, _STATE, "rate-state", bounds.MAX_STATE_BYTES)
    rewards_K = unpack(found.rewards, "rate-state.rewards")
    above_K = unpack(found.above, "rate-state.above")
    if len(rewards_K) != len(above_K):
        raise RecordError(f"rate-state.above: {len(above_K)} of {len(rewards_K)} rewards")
    if (rewards_K[1:] <= rewards_K[:-1]).any():
        raise RecordError("rate-state.rewards: not strictly rising")
    if len(above_K) and (above_K[0] > 1 or above_K[-1] != 0 or (np.diff(above_K) > 0).any()):
        raise RecordError("rate-state.above: does not fall from at most 1 to 0")
    return FleetState(
        scenario,
        found.through,
        found.workers,
        found.per_second,
        found.debt,
        found.held,
        rewards_K,
        above_K,
        found.versions,
    )
