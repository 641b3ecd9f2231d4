"""The rate bars on streams short enough for every run; `make bench-rate` runs them long."""

import pytest

from benchmarks.rate import held
from benchmarks.rate.frontier import KINDS, OWN, frontier, leads
from benchmarks.rate.traffic import (
    RATE,
    Weir,
    long_run_error,
    reward_percent,
    run,
    scores,
    window_error,
)

COUNT = 120_000


@pytest.mark.parametrize(
    ("case", "least_reward"),
    [
        ("stationary", 99.7),
        ("ramp", 99.7),
        ("diurnal", 99.7),
        ("fast", 98.9),
        ("spikes", 97.0),
        ("constant", 100.0),
        ("two_valued", 99.7),
    ],
)
def test_every_window_holds_the_rate_and_catches_the_reward(case: str, least_reward: float) -> None:
    """Window error at most 0.30 points, reward at least the bar, long-run error at most 0.02."""
    score_N = scores(case, COUNT)
    passed_N = run(Weir(), score_N)
    assert window_error(passed_N, RATE) <= 0.30
    assert reward_percent(passed_N, score_N, RATE) >= least_reward - 1e-9
    assert long_run_error(passed_N, RATE) <= 0.02


def test_an_adversarial_order_cannot_move_the_rate() -> None:
    """Values that rise within every block leave every window and the long run in bounds."""
    passed_N = run(Weir(), scores("adversarial", COUNT))
    assert window_error(passed_N, RATE) <= 0.30
    assert long_run_error(passed_N, RATE) <= 0.02


def test_a_step_and_a_new_target_are_settled_within_one_window() -> None:
    """From one window after the change, every window is within 0.30 points."""
    assert all(error <= 0.30 for error in held.changes(COUNT).values())


def test_a_rate_of_99_percent_passes_the_few_that_are_owed() -> None:
    """Passes in every window within 10 % of the 100 owed, catching 98 % of the reward."""
    figures = held.tight(COUNT)
    assert figures["window_percent"] <= 10.0
    assert figures["reward_percent"] >= 98.0


def test_no_naive_controller_is_as_near_the_rate_and_captures_as_much() -> None:
    """At a naive one's window error Weir is ahead of it, and by its own share at r itself too."""
    kinds = ("P-square (requests until anew)", "t-digest (window)", *OWN)
    points = frontier(COUNT, {kind: KINDS[kind] for kind in kinds})
    assert min(leads(points, "reward_percent").values()) > 0.5
    at_r = [p for p in points if p["controller"] != OWN[-1]]
    assert min(leads(at_r, "own_share_reward_percent", within=5.0).values()) > 0.0


def test_direct_passes_leave_the_rate_where_it_was() -> None:
    """With a budget for uncertain requests, every window still holds the rate."""
    subject = Weir(direct_share=0.05)
    passed_N = run(subject, scores("fast", COUNT))
    assert window_error(passed_N, RATE) <= 0.30
    assert abs(subject.controller.achieved - RATE) <= 0.003
