"""Loads, medians and ratios of contenders that were measured side by side."""

import pytest

from benchmarks.transport.contender import EXACTLY_ONCE, TRANSACTIONAL_LOOP, WEIR
from benchmarks.transport.latency.cell import Latency
from benchmarks.transport.latency.report import latency_bars, latency_table
from benchmarks.transport.latency.side_by_side import (
    LEVEL_LOAD,
    OWN_LOAD,
    Cell,
    Loads,
    level_capacity,
    summary,
)

LOADS = Loads(rates=(5000.0,), share=0.5, seconds=1.0, window_s=1.0, warm_up_s=1.0)


def latency(p99_ms: float) -> Latency:
    return Latency(10, p99_ms / 2, p99_ms, p99_ms, p99_ms, warm=True, warm_up_s=1.0)


def test_the_level_load_is_a_share_of_the_slowest_that_keeps_up_with_weir() -> None:
    """Stock Faust is not level with Weir, so nobody is measured at its pace."""
    capacity = {WEIR: 40_000.0, EXACTLY_ONCE: 36_000.0, "aiokafka_loop": 30_000.0,
                "confluent_loop": 50_000.0, "stock_faust": 5_000.0}  # fmt: skip
    assert level_capacity(capacity) == 30_000.0
    loads = LOADS.of(list(capacity), capacity)
    assert loads["5,000"] == dict.fromkeys(capacity, 5000.0)
    assert loads[LEVEL_LOAD] == dict.fromkeys(capacity, 15_000.0)
    assert loads[OWN_LOAD] == {WEIR: 20_000.0, EXACTLY_ONCE: 18_000.0}


def test_a_ratio_is_that_of_each_round_against_the_best_loop_of_the_same_guarantee() -> None:
    """Medians of the rounds' ratios; loops themselves have none."""
    p99s = {
        WEIR: (12.0, 30.0, 10.0),
        "aiokafka_loop": (10.0, 40.0, 40.0),
        "confluent_loop": (20.0, 20.0, 20.0),
        EXACTLY_ONCE: (50.0, 50.0, 50.0),
        TRANSACTIONAL_LOOP: (100.0, 25.0, 50.0),
    }
    cells = [
        Cell(
            name,
            "10,000",
            10_000.0,
            latency(p99s[name][number]),
            transactional=name in (EXACTLY_ONCE, TRANSACTIONAL_LOOP),
        )
        for number in range(3)
        for name in p99s
    ]
    rows = summary(cells)["10,000"]
    assert rows[WEIR]["p99_of_best_loop"] == 1.2
    assert rows[WEIR]["p99_ms"] == 12.0
    assert rows[EXACTLY_ONCE]["p99_of_best_loop"] == 1.0
    assert "p99_of_best_loop" not in rows["confluent_loop"]
    held = {bar.figure: bar.held for bar in latency_bars({"10,000": rows})}
    assert held == {
        "p99 at 10,000/s, weir of the best loop": True,
        "p99 at 10,000/s, weir_exactly_once of the best loop": True,
    }


@pytest.mark.parametrize("lost", [WEIR, "aiokafka_loop"])
def test_an_overloaded_contender_has_no_latency(lost: str) -> None:
    """It is said to be overloaded; without a loop to compare with there is no ratio."""
    cells = [
        Cell(name, "20,000", 20_000.0, None if name == lost else latency(10.0))
        for name in (WEIR, "aiokafka_loop")
    ]
    rows = summary(cells)["20,000"]
    assert rows[lost] == {"requests_per_second": 20_000.0, "overloaded": 1}
    assert "p99_of_best_loop" not in rows[WEIR]
    assert latency_table({"20,000": rows}).row_count == 2
