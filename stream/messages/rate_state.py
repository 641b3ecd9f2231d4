"""The state of a partition and scenario that workers publish on the topic ``rate-state``.

Keys are ``PARTITION:SCENARIO``.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from models import bounds
from stream.messages.control import read_scenario
from stream.messages.parsing import RecordError, decode

MAX_STATE_KEY: Final = bounds.MAX_SCENARIO_NAME + len(str(bounds.MAX_PARTITION)) + 1
_PARTITION: Final = re.compile(r"[0-9]{1,7}")


@dataclass(frozen=True, slots=True)
class PartitionState:
    """State of one partition's requests in one scenario, as its owner publishes it.

    Attributes:
        scenario: Name of the scenario, or ``*``.
        partition: Number of the partition.
        debt: Passes owed so far less passes given.
        per_second: Requests per second; 0 without recent requests.
        rewards_Q: Quantiles of the owner's rewards, rising, float32 of shape (Q,).
        worker: Name of the worker that published it.
        generation: Generation of that worker's assignment of the partition; each owner's is one
            more than that of the owner before.
        model: Version that decides the partition; "" if none does.
    """

    scenario: str
    partition: int
    debt: float
    per_second: float
    rewards_Q: npt.NDArray[np.float32]
    worker: str
    generation: int
    model: str = ""


class _State(Struct):
    """The JSON value of a `PartitionState`; scenario and partition are in the key."""

    rewards: Annotated[str, Meta(max_length=bounds.MAX_QUANTILES * 6)]
    debt: Annotated[float, Meta(ge=-bounds.MAX_DEBT, le=bounds.MAX_DEBT)]
    per_second: Annotated[float, Meta(ge=0, le=bounds.MAX_PER_SECOND)]
    worker: Annotated[str, Meta(max_length=bounds.MAX_WORKER_NAME)]
    generation: Annotated[int, Meta(ge=0, le=bounds.MAX_GENERATION)]
    model: Annotated[str, Meta(max_length=bounds.MAX_VERSION)] = ""


_STATE: Final = msgspec.json.Decoder(_State)


def write_state(state: PartitionState) -> tuple[bytes, bytes]:
    """Key and value of a record on ``rate-state``."""
    rewards = base64.b64encode(state.rewards_Q.astype("<f4").tobytes()).decode()
    value = _State(
        rewards, state.debt, state.per_second, state.worker, state.generation, state.model
    )
    return f"{state.partition}:{state.scenario}".encode(), msgspec.json.encode(value)


def read_state(key: bytes | None, value: bytes | None) -> PartitionState:
    """The state in a record of ``rate-state``.

    Raises:
        RecordError: Naming the field that is missing or out of bounds.
    """
    number, colon, scenario = read_scenario(key, MAX_STATE_KEY).partition(":")
    if not colon or not scenario or not _PARTITION.fullmatch(number):
        raise RecordError(f"rate-state: key {key!r} is not PARTITION:SCENARIO")
    state = decode(value, _STATE, "rate-state", bounds.MAX_STATE_BYTES)
    try:
        raw = base64.b64decode(state.rewards, validate=True)
        rewards_Q = np.frombuffer(raw, "<f4").astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"rate-state.rewards: {error}") from error
    if not np.isfinite(rewards_Q).all():
        raise RecordError("rate-state.rewards: not all are finite numbers")
    if len(rewards_Q) > bounds.MAX_QUANTILES:
        raise RecordError(f"rate-state.rewards: more than {bounds.MAX_QUANTILES}")
    return PartitionState(
        scenario,
        int(number),
        state.debt,
        state.per_second,
        rewards_Q,
        state.worker,
        state.generation,
        state.model,
    )
