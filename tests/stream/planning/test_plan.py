"""Plans: the arithmetic, its limits, and what it is made of."""

from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.planning.figures import FIGURES, SOURCES, Figures
from stream.planning.plan import Load, PlanError, explain, make_plan

FIGURES_ONCE = FIGURES["at-least-once"]


def test_a_plan_is_what_the_figures_say() -> None:
    """A load of one's own figures, worked out by hand."""
    figures = Figures(20.0, 10.0, 1000.0, 20.0, 0.7, 300.0, 0.2, 100.0, 100.0, 4000)
    plan = make_plan(Load(1_000_000, 2000, 40.0, rate=0.75, replication=2), figures)
    assert plan.utilisation == pytest.approx(0.5)
    assert plan.worker_requests == pytest.approx(0.5 * 1e6 / 30.0)
    assert (plan.workers, plan.spare, plan.partitions) == (63, 3, 252)
    assert plan.read_mb == pytest.approx(2000.0)
    assert plan.written_mb == pytest.approx(420.0)
    assert plan.passed_mb == pytest.approx(105.0)
    assert plan.broker_in_mb == pytest.approx(4840.0)
    assert plan.brokers == 49
    assert plan.replicas == 2 * 6 * 252
    assert plan.worker_memory_mb == pytest.approx(63 * 300.0)
    assert plan.interval_s == pytest.approx(0.252)


@given(
    requests=st.floats(1, 1e8),
    size=st.floats(10, 1e6),
    p99=st.floats(25, 10_000),
    more=st.floats(1.0, 10.0),
)
def test_more_of_a_load_never_needs_less(
    requests: float, size: float, p99: float, more: float
) -> None:
    """More requests, larger ones, and less time need as many workers and brokers or more."""
    load = Load(requests, size, p99)
    plan = make_plan(load, FIGURES_ONCE)
    assert plan.workers * plan.worker_requests >= requests
    assert (plan.workers - plan.spare) * plan.worker_requests >= requests * (1 - 1e-9)
    for other in (
        replace(load, requests=requests * more),
        replace(load, bytes=size * more),
        replace(load, p99_ms=max(20.0, p99 / more)),
        replace(load, replication=5),
    ):
        found = make_plan(other, FIGURES_ONCE)
        assert found.workers >= plan.workers
        assert found.brokers >= plan.brokers


def test_a_latency_that_no_worker_has_is_refused() -> None:
    """The error says what is possible."""
    with pytest.raises(PlanError, match="p99 50 ms: an idle worker has 80 ms; allow more"):
        make_plan(Load(1000, 1400, 50.0), FIGURES["exactly-once"])


def test_every_figure_has_a_source_and_every_need_a_reason() -> None:
    """Nothing in a plan is unexplained."""
    assert set(SOURCES) == {each.name for each in fields(Figures)} == set(asdict(FIGURES_ONCE))
    load = Load(2_000_000, 1400, 50.0)
    rows = explain(load, make_plan(load, FIGURES_ONCE))
    assert [name for name, _, _ in rows][:4] == [
        "workers",
        "cores",
        "memory of workers",
        "partitions",
    ]
    assert all(value and reason for _, value, reason in rows)
