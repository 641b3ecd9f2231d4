"""Spending reports, on the topic ``consumption``; the key names the scenario."""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from models import bounds
from stream.messages.parsing import RecordError, decode

Amount = Annotated[float, Meta(ge=-bounds.MAX_AMOUNT, le=bounds.MAX_AMOUNT)]
Moment = Annotated[float, Meta(ge=0, le=bounds.MAX_TIME_MS)]


@dataclass(frozen=True, slots=True)
class Spending:
    """Spending of a budget so far; amounts in any currency, times in milliseconds since the epoch.

    Attributes:
        budget: Amount that may be spent from ``start`` to ``end``.
        spent: Amount spent by ``ts``.
        start: Start of the budget's period.
        end: End of the budget's period.
        ts: Time of the report.
    """

    budget: float
    spent: float
    start: int
    end: int
    ts: int


class _Report(Struct):
    """JSON form of a `Spending`: times may be written as any number."""

    budget: Amount
    spent: Amount
    start: Moment
    end: Moment
    ts: Moment


_REPORT: Final = msgspec.json.Decoder(_Report)


def read_spending(value: bytes | None) -> Spending:
    """Read the value of a record on ``consumption``.

    Raises:
        RecordError: Naming the field that is missing or out of bounds.
    """
    report = decode(value, _REPORT, "consumption", bounds.MAX_CONSUMPTION_BYTES)
    start, end, ts = int(report.start), int(report.end), int(report.ts)
    if end <= start:
        raise RecordError(f"consumption.end: {end} is not after start ({start})")
    return Spending(report.budget, report.spent, start, end, ts)


def write_spending(spending: Spending) -> bytes:
    """Value of a record on ``consumption``."""
    return msgspec.json.encode(spending)
