"""What travels on ``control``, ``consumption`` and ``rate-state``: keys and values, JSON both ways.

Keys name the scenario (``*`` for all) and, on ``rate-state``, the partition before it.
"""

import base64
import binascii
import math
from typing import Any

import numpy as np
import orjson

from stream.policy.fleet import PartitionState
from stream.policy.pacing import Spending
from stream.records import RecordError


def read_scenario(key: bytes | None) -> str:
    """The scenario that a key names.

    Raises:
        RecordError: If there is none.
    """
    try:
        name = (key or b"").decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"key: not UTF-8: {error}") from error
    if not name:
        raise RecordError("key: empty; a scenario is expected, or * for all")
    return name


def read_change(value: bytes | None) -> dict[str, Any] | None:
    """The change that a record of ``control`` asks for; None takes the last one back.

    Raises:
        RecordError: If it is not a JSON object.
    """
    return None if value is None else _object(value, "control")


def write_change(change: dict[str, Any] | None) -> bytes | None:
    """Value of a record on ``control``."""
    return None if change is None else orjson.dumps(change)


def read_spending(value: bytes | None) -> Spending:
    """A record of ``consumption``.

    Raises:
        RecordError: Naming the field that is missing or cannot be.
    """
    doc = _object(value, "consumption")
    budget, spent = (_number(doc, name, "consumption") for name in ("budget", "spent"))
    start, end, ts = (int(_number(doc, name, "consumption")) for name in ("start", "end", "ts"))
    if end <= start:
        raise RecordError(f"consumption.end: {end} is not after start ({start})")
    return Spending(budget, spent, start, end, ts)


def write_spending(spending: Spending) -> bytes:
    """Value of a record on ``consumption``."""
    return orjson.dumps(spending)


def write_state(state: PartitionState) -> tuple[bytes, bytes]:
    """Key and value of a record on ``rate-state``."""
    rewards = base64.b64encode(state.rewards_Q.astype("<f4").tobytes()).decode()
    value = {
        "due": state.due,
        "per_second": state.per_second,
        "rewards": rewards,
        "worker": state.worker,
        "tenure": state.tenure,
    }
    return f"{state.partition}:{state.scenario}".encode(), orjson.dumps(value)


def read_state(key: bytes | None, value: bytes | None) -> PartitionState:
    """A record of ``rate-state``.

    Raises:
        RecordError: Naming the field that is missing or cannot be.
    """
    number, colon, scenario = read_scenario(key).partition(":")
    if not colon or not scenario or not number.isdecimal():
        raise RecordError(f"rate-state: key {key!r} is not PARTITION:SCENARIO")
    doc = _object(value, "rate-state")
    try:
        raw = base64.b64decode(str(doc.get("rewards")), validate=True)
        rewards_Q = np.frombuffer(raw, "<f4").astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"rate-state.rewards: {error}") from error
    if np.isnan(rewards_Q).any():
        raise RecordError("rate-state.rewards: not all are numbers")
    due, per_second = (_number(doc, name, "rate-state") for name in ("due", "per_second"))
    worker = doc.get("worker")
    if not isinstance(worker, str):
        raise RecordError(f"rate-state.worker: a text is expected, {worker!r} found")
    tenure = doc.get("tenure")
    if isinstance(tenure, bool) or not isinstance(tenure, int):
        raise RecordError(f"rate-state.tenure: an integer is expected, {tenure!r} found")
    return PartitionState(scenario, int(number), due, per_second, rewards_Q, worker, tenure)


def _object(value: bytes | None, what: str) -> dict[str, Any]:
    try:
        doc = orjson.loads(value or b"")
    except orjson.JSONDecodeError as error:
        raise RecordError(f"{what}: not JSON: {error}") from error
    if not isinstance(doc, dict):
        raise RecordError(f"{what}: a JSON object is expected, not {type(doc).__name__}")
    return doc


def _number(doc: dict[str, Any], name: str, what: str) -> float:
    value = doc.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RecordError(f"{what}.{name}: a number is expected, {value!r} found")
    return float(value)
