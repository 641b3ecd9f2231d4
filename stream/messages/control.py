"""What travels on ``control``, ``consumption`` and ``rate-state``: keys and values, JSON both ways.

Keys name the scenario (``*`` for all) and, on ``rate-state``, the partition before it. What a
value may hold is its type here, with the bounds of `models/bounds.py`.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta, Struct

from models import bounds
from stream.parsing import RecordError, decode
from stream.policy.fleet import PartitionState
from stream.policy.pacing import Spending

Scalar = bool | int | float | str | None
Change = dict[str, Scalar | dict[str, Scalar]]
"""Settings of a scenario by name; the policy knows their types and bounds."""

Amount = Annotated[float, Meta(ge=-bounds.MAX_AMOUNT, le=bounds.MAX_AMOUNT)]
Moment = Annotated[float, Meta(ge=0, le=bounds.MAX_TIME_MS)]

MAX_STATE_KEY: Final = bounds.MAX_SCENARIO_NAME + len(str(bounds.MAX_PARTITION)) + 1
_PARTITION: Final = re.compile(r"[0-9]{1,7}")


class _Report(Struct):
    """A `Spending` as JSON has it: times may be written as any number."""

    budget: Amount
    spent: Amount
    start: Moment
    end: Moment
    ts: Moment


class _State(Struct):
    """A `PartitionState` as JSON has it; the key says whose it is."""

    rewards: Annotated[str, Meta(max_length=bounds.MAX_QUANTILES * 6)]
    due: Annotated[float, Meta(ge=-bounds.MAX_DUE, le=bounds.MAX_DUE)]
    per_second: Annotated[float, Meta(ge=0, le=bounds.MAX_PER_SECOND)]
    worker: Annotated[str, Meta(max_length=bounds.MAX_WORKER_NAME)]
    tenure: Annotated[int, Meta(ge=0, le=bounds.MAX_TENURE)]


_CHANGE: Final = msgspec.json.Decoder(Change)
_REPORT: Final = msgspec.json.Decoder(_Report)
_STATE: Final = msgspec.json.Decoder(_State)


def read_scenario(key: bytes | None, longest: int = bounds.MAX_SCENARIO_NAME) -> str:
    """The scenario that a key names.

    Raises:
        RecordError: If there is none, or its name is longer than so many characters.
    """
    try:
        name = (key or b"")[: 4 * longest + 4].decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"key: not UTF-8: {error.reason}") from error
    if not name:
        raise RecordError("key: empty; a scenario is expected, or * for all")
    if len(name) > longest:
        raise RecordError(f"key: longer than {longest} characters: {name[:60]!r}...")
    return name


def read_change(value: bytes | None) -> Change | None:
    """The change that a record of ``control`` asks for; None takes the last one back.

    Raises:
        RecordError: If it is not a JSON object of settings.
    """
    return None if value is None else decode(value, _CHANGE, "control", bounds.MAX_CONTROL_BYTES)


def write_change(change: Mapping[str, Any] | None) -> bytes | None:
    """Value of a record on ``control``."""
    return None if change is None else msgspec.json.encode(change)


def read_spending(value: bytes | None) -> Spending:
    """A record of ``consumption``.

    Raises:
        RecordError: Naming the field that is missing or cannot be.
    """
    report = decode(value, _REPORT, "consumption", bounds.MAX_CONSUMPTION_BYTES)
    start, end, ts = int(report.start), int(report.end), int(report.ts)
    if end <= start:
        raise RecordError(f"consumption.end: {end} is not after start ({start})")
    return Spending(report.budget, report.spent, start, end, ts)


def write_spending(spending: Spending) -> bytes:
    """Value of a record on ``consumption``."""
    return msgspec.json.encode(spending)


def write_state(state: PartitionState) -> tuple[bytes, bytes]:
    """Key and value of a record on ``rate-state``."""
    rewards = base64.b64encode(state.rewards_Q.astype("<f4").tobytes()).decode()
    value = _State(rewards, state.due, state.per_second, state.worker, state.tenure)
    return f"{state.partition}:{state.scenario}".encode(), msgspec.json.encode(value)


def read_state(key: bytes | None, value: bytes | None) -> PartitionState:
    """A record of ``rate-state``.

    Raises:
        RecordError: Naming the field that is missing or cannot be.
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
        scenario, int(number), state.due, state.per_second, rewards_Q, state.worker, state.tenure
    )
