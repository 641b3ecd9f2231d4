"""Reports on budgets, on the topic ``consumption``; the key names the scenario."""

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
    """A report on a budget; amounts in any currency, times in milliseconds since the epoch.

    Attributes:
        budget: What may be spent from ``start`` to ``end``.
        spent: What was spent of it by ``ts``.
        start: When the budget begins.
        end: When it ends.
        ts: When this was so.
    """

    budget: float
    spent: float
    start: int
    end: int
    ts: int


class _Report(Struct):
    """A `Spending` as JSON has it: times may be written as any number."""

    budget: Amount
    spent: Amount
    start: Moment
    end: Moment
    ts: Moment


_REPORT: Final = msgspec.json.Decoder(_Report)


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
