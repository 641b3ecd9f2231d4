"""Where the milliseconds go: a trace in one table.

Chunks are weighed by their requests, so that the figures are those of a request. The column of the
slowest requests says where a p99 comes from: the phases of the chunks that hold the slowest 1 %.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import UserError
from stream.trace.span import Span
from stream.trace.tracer import CHUNK

SLOWEST: Final = 0.01
_COUNT: Final = "messaging.batch.message_count"
_MOST_REQUESTS: Final = 2**31
"""More are no chunk's, and would be no weight."""


@dataclass(frozen=True, slots=True)
class Row:
    """One phase, or one kind of span that belongs to no chunk.

    Attributes:
        name: Its name.
        count: Chunks that have it, or number of spans.
        mean_ms: Mean over all requests, also of those whose chunk does not have it; for others of
            the spans.
        p50_ms: Median.
        p99_ms: 99th percentile.
        max_ms: Maximum.
        slowest_ms: Mean over the slowest :data:`SLOWEST` of the requests; None for others.
    """

    name: str
    count: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    slowest_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What a trace says.

    Attributes:
        chunks: Number of chunks.
        requests: Number of requests in them.
        phases: The phases of chunks in their order, the whole life last.
        others: Requests to brokers and pauses, by name.
        seconds: Time from the first span to the last.
    """

    chunks: int
    requests: int
    phases: list[Row]
    others: list[Row]
    seconds: float


@dataclass(slots=True)
class _Chunk:
    requests: int
    ms: float
    phases: dict[str, float] = field(default_factory=dict)


def summarize(spans: Iterable[Span], since_ns: int = 0) -> Summary:
    """The summary of a trace; chunks without a request are left out.

    Args:
        spans: Its spans, those of a chunk together.
        since_ns: Chunks and others that began before, in nanoseconds since the epoch, are left out.

    Raises:
        UserError: If a chunk does not say how many requests it has.
    """
    chunks: dict[str, _Chunk] = {}
    others: dict[str, list[float]] = {}
    order: dict[str, None] = {}
    first_ns = last_ns = 0
    for span in spans:
        if span.trace_id not in chunks if span.parent_id else span.start_ns < since_ns:
            continue
        first_ns = min(first_ns or span.start_ns, span.start_ns)
        last_ns = max(last_ns, span.end_ns)
        if span.name == CHUNK and not span.parent_id:
            chunks[span.trace_id] = _Chunk(_requests(span), span.ms)
        elif span.parent_id:
            phases = chunks[span.trace_id].phases
            phases[span.name] = phases.get(span.name, 0.0) + span.ms
            order.setdefault(span.name)
        else:
            others.setdefault(span.name, []).append(span.ms)
    full = [chunk for chunk in chunks.values() if chunk.requests]
    return Summary(
        chunks=len(full),
        requests=sum(chunk.requests for chunk in full),
        phases=_phases(full, list(order)) if full else [],
        others=[_other(name, np.array(ms)) for name, ms in sorted(others.items())],
        seconds=(last_ns - first_ns) / 1e9,
    )


def _requests(chunk: Span) -> int:
    count = chunk.attributes.get(_COUNT, 0)
    if not isinstance(count, int) or not 0 <= count <= _MOST_REQUESTS:
        raise UserError(
            f"span {chunk.span_id!r}: {_COUNT} {count!r}: expected a number of requests"
        )
    return count


def _phases(chunks: list[_Chunk], names: list[str]) -> list[Row]:
    weights_N = np.array([chunk.requests for chunk in chunks], np.float64)
    whole_N = np.array([chunk.ms for chunk in chunks])
    slow_N = _slowest(whole_N, weights_N)
    rows = []
    for name in names:
        ms_N = np.array([chunk.phases.get(name, 0.0) for chunk in chunks])
        count = sum(name in chunk.phases for chunk in chunks)
        rows.append(_row(name, count, ms_N, weights_N, slow_N))
    return [*rows, _row("all", len(chunks), whole_N, weights_N, slow_N)]


def _row(
    name: str,
    count: int,
    ms_N: npt.NDArray[np.float64],
    weights_N: npt.NDArray[np.float64],
    slow_N: npt.NDArray[np.float64],
) -> Row:
    return Row(
        name,
        count,
        float(np.average(ms_N, weights=weights_N)),
        quantile(ms_N, weights_N, 0.5),
        quantile(ms_N, weights_N, 0.99),
        float(ms_N.max()),
        float(np.average(ms_N, weights=slow_N)),
    )


def _other(name: str, ms_N: npt.NDArray[np.float64]) -> Row:
    p50, p99 = np.percentile(ms_N, (50, 99))
    return Row(name, len(ms_N), float(ms_N.mean()), float(p50), float(p99), float(ms_N.max()))


def quantile(
    values_N: npt.NDArray[np.float64], weights_N: npt.NDArray[np.float64], share: float
) -> float:
    """The smallest value that this share of the weight does not exceed."""
    order_N = np.argsort(values_N)
    reached_N = np.cumsum(weights_N[order_N])
    return float(values_N[order_N[np.searchsorted(reached_N, share * reached_N[-1])]])


def _slowest(
    ms_N: npt.NDArray[np.float64], weights_N: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The weights of the slowest :data:`SLOWEST` of the weight, 0 elsewhere."""
    order_N = np.argsort(-ms_N)
    before_N = np.cumsum(weights_N[order_N]) - weights_N[order_N]
    slow_N = np.zeros_like(weights_N)
    left = SLOWEST * weights_N.sum()
    slow_N[order_N] = np.clip(left - before_N, 0.0, weights_N[order_N])
    return slow_N
