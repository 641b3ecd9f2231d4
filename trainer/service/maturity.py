"""How far the labels of a store have matured, from the metadata of its files and their weights."""

from dataclasses import dataclass
from typing import Final, Protocol

from models.bounds import MAX_TIME_MS
from trainer.store.windows import AttributionWindows

DAY_MS: Final = 86_400_000


class CountedRequests(Protocol):
    """A store whose requests can be counted by event time."""

    def requests_between(self, first_ms: int, end_ms: int) -> int:
        """Number of passed requests in [first, end) that the stored examples stand for."""
        ...


@dataclass(frozen=True, slots=True)
class Maturity:
    """Maturity of the labels of one task.

    Attributes:
        known: Share of the requests that the store stands for whose label is final; 0 of an empty
            store.
        open: Number of requests whose label is not final yet.
        due: Those of them whose label becomes final within a day of the watermark.
    """

    known: float
    open: int
    due: int


def maturity(
    store: CountedRequests, windows: AttributionWindows, watermark_ms: int
) -> dict[str, Maturity]:
    """Maturity of every task's labels, as of a watermark."""
    requests = store.requests_between(0, MAX_TIME_MS)
    found = {}
    for task, name in enumerate(windows.names):
        final_ms = max(0, windows.final_before(task, watermark_ms))
        final = store.requests_between(0, final_ms)
        due = store.requests_between(
            final_ms, max(0, windows.final_before(task, watermark_ms + DAY_MS))
        )
        found[name] = Maturity(final / requests if requests else 0.0, requests - final, due)
    return found
