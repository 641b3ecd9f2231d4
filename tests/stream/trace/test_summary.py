"""A trace in one table: means weighed by requests, and the phases of the slowest of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import UserError
from stream.trace.span import Span
from stream.trace.summary import quantile, summarize


def chunk(number: int, requests: int, **phases_ms: float) -> list[Span]:
    """The spans of one chunk with these phases."""
    trace_id, end_ns = f"{number:032x}", 0
    spans = []
    for name, ms in phases_ms.items():
        start_ns, end_ns = end_ns, end_ns + round(ms * 1e6)
        spans.append(Span(trace_id, f"{len(spans):016x}", "root", name, start_ns, end_ns, {}))
    attributes = {"messaging.batch.message_count": requests}
    return [Span(trace_id, "root", "", "chunk", 0, end_ns, attributes), *spans]


def test_phases_are_weighed_by_requests_and_the_slowest_are_told_apart() -> None:
    """A chunk of one request that took long says little of the mean, and all of the slowest."""
    spans = chunk(1, 99, queue=1.0, Produce=3.0) + chunk(2, 1, queue=101.0, EndTxn=4.0)
    found = summarize(spans)
    assert (found.chunks, found.requests) == (2, 100)
    rows = {row.name: row for row in found.phases}
    assert rows["queue"].mean_ms == pytest.approx(2.0)
    assert rows["queue"].slowest_ms == pytest.approx(101.0)
    assert rows["Produce"].slowest_ms == 0.0
    assert rows["Produce"].count == 1
    assert rows["all"].mean_ms == pytest.approx(0.99 * 4 + 0.01 * 105)
    assert [row.name for row in found.phases] == ["queue", "Produce", "EndTxn", "all"]


def test_what_belongs_to_no_chunk_is_listed_apart() -> None:
    """Requests to brokers and pauses; an empty chunk counts nowhere."""
    pauses = [Span("p", "p", "", "event loop late", 0, ms * 1_000_000, {}) for ms in (2, 4, 12)]
    found = summarize([*pauses, *chunk(1, 0, queue=5.0)])
    assert (found.chunks, found.phases) == (0, [])
    [row] = found.others
    assert (row.name, row.count, row.p50_ms, row.max_ms) == ("event loop late", 3, 4.0, 12.0)


def test_what_began_before_the_measurement_is_left_out() -> None:
    """The warm-up is no part of the figures."""
    pause = Span("p", "p", "", "event loop late", 3, 4, {})
    found = summarize([*chunk(1, 5, queue=1.0), pause], since_ns=2)
    assert (found.chunks, len(found.others)) == (0, 1)


def test_a_trace_without_spans_has_an_empty_summary() -> None:
    """Nothing to divide by."""
    assert summarize([]).requests == 0


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), min_size=1, max_size=20),
    st.floats(0.01, 1.0),
)
def test_a_weighted_quantile_is_that_of_the_values_repeated(
    pairs: list[tuple[float, int]], share: float
) -> None:
    """As numpy's inverted distribution function has it."""
    values_N = np.array([value for value, _ in pairs])
    weights_N = np.array([float(weight) for _, weight in pairs])
    repeated = np.repeat(values_N, [weight for _, weight in pairs])
    expected = np.quantile(repeated, share, method="inverted_cdf")
    assert quantile(values_N, weights_N, share) == pytest.approx(expected)


@pytest.mark.parametrize("count", ["5", -1, 2.0, 10**400])
def test_a_chunk_without_a_number_of_requests_is_refused(count: str | float) -> None:
    """Its figures would have no weight."""
    span = Span("t", "root", "", "chunk", 0, 1, {"messaging.batch.message_count": count})
    with pytest.raises(UserError, match=r"span .root.: .*expected a number of requests"):
        summarize([span])
