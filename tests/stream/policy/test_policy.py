import math
from copy import deepcopy
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact.manifest import AutoEvidence
from models.settings import PolicySettings, WindowSettings
from models.tasks import DEFAULT_TASKS
from stream.messages import Reason
from stream.policy import Decisions, Policy
from stream.policy.scenario_index import scenario_row
from stream.policy.value.confidence import resolve_auto

COUNT = 4000
GENERATOR = np.random.default_rng(11)
HASHES = GENERATOR.integers(0, 2**64, COUNT, dtype=np.uint64)
TIMES = np.cumsum(GENERATOR.integers(-20, 60, COUNT)).astype(np.int64)
SCORES = np.round(GENERATOR.beta(0.7, 6, (COUNT, 4)), 2).astype(np.float32)
UNCERTAINTIES = np.round(GENERATOR.random((COUNT, 4)), 2).astype(np.float32)
SCORES[GENERATOR.random(COUNT) < 0.01] = np.nan

POLICIES: list[dict[str, Any]] = [
    {},
    {"explore": 0.1, "direct_share": 0.05, "window": WindowSettings(seconds=3.0, requests=300)},
    {"confidence": "optimistic", "reward": "exp(deal) + cart * click", "rate": 0.93},
    {"confidence": "score", "reward": "funnel-value", "explore": 0.3, "rate": 0.8},
    {"rate": 0.0, "explore": 0.1},
    {"rate": 1.0, "explore": 0.1},
]


def policy(**values: Any) -> Policy:
    return Policy(PolicySettings(**values), DEFAULT_TASKS)


def decide(subject: Policy, start: int = 0, stop: int = COUNT) -> Decisions:
    part = slice(start, stop)
    return subject.decide(HASHES[part], TIMES[part], SCORES[part], UNCERTAINTIES[part])


def same(one: Decisions, parts: list[Decisions]) -> None:
    for column in fields(Decisions):
        whole = getattr(one, column.name)
        joined = np.concatenate([getattr(part, column.name) for part in parts])
        assert np.array_equal(whole[: len(joined)], joined, equal_nan=True), column.name
        assert whole.dtype == joined.dtype


@pytest.mark.parametrize("values", POLICIES)
@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, COUNT), max_size=40))
def test_decisions_do_not_depend_on_how_the_stream_is_split(
    values: dict[str, Any], cuts: list[int]
) -> None:
    """Any split into chunks, empty ones included, gives exactly the arrays of one call."""
    edges = [0, *sorted(cuts), COUNT]
    subject = policy(**values)
    parts = [decide(subject, a, b) for a, b in pairwise(edges)]
    same(decide(policy(**values)), parts)


@pytest.mark.parametrize("values", POLICIES)
def test_one_by_one_is_the_same_too(values: dict[str, Any]) -> None:
    """Chunks of a single request decide as one single call does."""
    subject = policy(**values)
    same(decide(policy(**values)), [decide(subject, at, at + 1) for at in range(1500)])


@pytest.mark.parametrize(("rate", "passed"), [(0.0, True), (1.0, False)])
def test_rates_zero_and_one_are_exact(rate: float, passed: bool) -> None:
    """Everything passes at r = 0, nothing at r = 1, exploration or not."""
    decisions = decide(policy(rate=rate, explore=0.2))
    assert (decisions.passed_N == passed).all()
    assert (decisions.propensity_N == 1.0).all()


def test_the_rate_counts_every_reason_to_pass() -> None:
    """Direct passes and exploration are inside 1 - r, each near its own share."""
    decisions = decide(policy(rate=0.7, direct_share=0.05, explore=0.1))
    shares = np.bincount(decisions.reason_N[decisions.passed_N], minlength=4) / COUNT
    assert 1 - decisions.passed_N.mean() == pytest.approx(0.7, abs=0.004)
    assert shares[Reason.UNCERTAIN] == pytest.approx(0.05, abs=0.004)
    blocked_by_score = 0.7 / 0.9
    assert shares[Reason.EXPLORE] == pytest.approx(0.1 * blocked_by_score, abs=0.015)
    assert (decisions.reason_N[~decisions.passed_N] == Reason.SCORE).all()


def test_auto_follows_the_evidence_of_the_serving_artifact() -> None:
    """Without evidence nothing passes directly; with it, its share by its source, from then on."""
    evidence = AutoEvidence(rate=0.6, weights={}, source="cart", direct_share=0.1, table=())
    subject = policy()
    before = decide(subject, 0, COUNT // 2)
    assert not (before.reason_N == Reason.UNCERTAIN).any()
    subject.use_evidence(evidence)
    after = decide(subject, COUNT // 2)
    direct_N = after.reason_N == Reason.UNCERTAIN
    assert direct_N.mean() == pytest.approx(0.1, abs=0.02)
    cart_N = UNCERTAINTIES[COUNT // 2 :, 2]
    assert cart_N[direct_N].mean() > 0.9
    assert 1 - after.passed_N.mean() == pytest.approx(0.6, abs=0.02)
    subject.use_evidence(None)
    assert not (decide(subject).reason_N == Reason.UNCERTAIN).any()


def test_settings_other_than_auto_are_kept() -> None:
    """A share or a source that is configured is not replaced by the artifact's."""
    evidence = AutoEvidence(rate=0.6, weights={}, source="cart", direct_share=0.1, table=())
    for values, share, source in (
        ({"direct_share": 0.02}, 0.02, dict.fromkeys(DEFAULT_TASKS.names, "cart")),
        ({"uncertainty_source": "daum"}, 0.1, "daum"),
    ):
        kept = resolve_auto(PolicySettings(**values), evidence, DEFAULT_TASKS)
        assert (kept.direct_share, kept.uncertainty_source) == (share, source)


def test_the_most_uncertain_pass_directly() -> None:
    """Once settled, what passes as uncertain ranks, but for the slack, above what does not."""
    decisions = decide(policy(direct_share=0.1, uncertainty_source="own", weights={"click": 1.0}))
    click_N = UNCERTAINTIES[1500:, 0]
    direct_N = decisions.reason_N[1500:] == Reason.UNCERTAIN
    assert click_N[direct_N].min() > 0.8
    assert direct_N[click_N > 0.97].mean() > 0.95


def test_nan_rewards_are_blocked_while_others_suffice() -> None:
    """A request without a score passes only directly or by exploring; its reward is NaN."""
    decisions = decide(policy(confidence="score"))
    lost_N = np.isnan(SCORES[:, 0])
    assert np.isnan(decisions.reward_N[lost_N]).all()
    assert not decisions.passed_N[lost_N].any()
    assert np.isfinite(decisions.threshold_N).all()


def test_propensity_is_the_frequency_of_the_verdict_over_seeds() -> None:
    """From one state, over many seeds, the frequency of each verdict is its propensity."""
    base = {"rate": 0.7, "explore": 0.15, "direct_share": 0.05}
    trained = policy(**base)
    decide(trained, 0, 3000)
    seeds = 800
    for at in range(3000, 3024):
        passed = 0
        seen: set[tuple[bool, int, float]] = set()
        for seed in range(seeds if at < 3004 else 60):
            subject = deepcopy(trained)
            subject._seed = seed
            one = decide(subject, at, at + 1)
            passed += int(one.passed_N[0])
            seen.add((bool(one.passed_N[0]), int(one.reason_N[0]), float(one.propensity_N[0])))
        if len(seen) == 1:
            assert seen <= {(True, Reason.SCORE, 1.0), (True, Reason.UNCERTAIN, 1.0)}
        else:
            assert seen == {(True, Reason.EXPLORE, 0.15), (False, Reason.SCORE, 0.85)}
            if at < 3004:
                assert passed / seeds == pytest.approx(0.15, abs=4 * math.sqrt(0.15 * 0.85 / seeds))


def test_weighting_by_propensity_recovers_what_was_blocked() -> None:
    """Explored requests over eps estimate the total over all that the score would block."""
    decisions = decide(policy(rate=0.6, explore=0.2, confidence="score"))
    worth_N = HASHES / 2.0**64
    explored_N = decisions.reason_N == Reason.EXPLORE
    would_block_N = explored_N | ~decisions.passed_N
    estimate = (worth_N[explored_N] / decisions.propensity_N[explored_N]).sum()
    assert estimate == pytest.approx(worth_N[would_block_N].sum(), rel=0.15)


def test_exploration_beyond_the_budget_is_cut_to_it() -> None:
    """Where 1 - r leaves less room than eps asks for, eps is what fits, and the rate holds."""
    decisions = decide(policy(rate=0.95, explore=0.5, direct_share=0.01))
    room = (0.05 - 0.01) / 0.99
    explored_N = decisions.reason_N == Reason.EXPLORE
    assert decisions.propensity_N[explored_N] == pytest.approx(room)
    assert 1 - decisions.passed_N.mean() == pytest.approx(0.95, abs=0.01)


def test_retargeting_changes_the_rate_from_the_next_request() -> None:
    """After retarget the intercepted share and ``target`` are the new ones."""
    subject = policy(rate=0.6)
    decide(subject, 0, 2000)
    subject.apply_change("*", {"rate": 0.9})
    later = decide(subject, 2000)
    assert subject.target == 0.9
    assert 1 - later.passed_N.mean() == pytest.approx(0.9, abs=0.012)


def test_the_target_rate_is_that_of_rate_or_capacity() -> None:
    """It is r under a rate, and nine tenths under a capacity of a tenth of the traffic."""
    n = 4000
    times = np.arange(n, dtype=np.int64)  # one a millisecond
    arguments = (
        np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        times,
        np.full((n, len(DEFAULT_TASKS)), 0.5, np.float32),
        np.full((n, len(DEFAULT_TASKS)), 0.1, np.float32),
    )
    by_rate = Policy(PolicySettings(rate=0.7), DEFAULT_TASKS)
    assert by_rate.decide(*arguments).target_rate_N.sum() == pytest.approx(0.7 * n)
    assert by_rate.capacity == 0.0
    limited = Policy(PolicySettings(capacity=100.0), DEFAULT_TASKS)
    made = limited.decide(*arguments)
    assert made.target_rate_N.mean() == pytest.approx(0.9, abs=0.005)
    assert made.target_rate_N.sum() == pytest.approx((~made.passed_N).sum(), abs=20)
    assert limited.capacity == 100.0


def test_a_reward_of_ones_own_takes_the_place_of_that_of_the_settings() -> None:
    """In every scenario, whatever its settings ask for."""
    values = {"scenario_path": "site.id", "scenarios": {"a": {"reward": "funnel-value"}}}
    mine = Policy(PolicySettings(**values), DEFAULT_TASKS, reward=lambda t_NT: t_NT[:, 3])
    rows_N = np.array([scenario_row("a"), 7], np.int32)
    found = mine.rewards(SCORES[:2], UNCERTAINTIES[:2], rows_N)
    assert np.array_equal(found, SCORES[:2, 3], equal_nan=True)


def test_the_debt_of_a_scenario_is_passes_owed_less_passes_given() -> None:
    """A scenario without a name shares that of ``*``."""
    mine = policy(rate=0.5)
    assert mine.debt("*") == 0.0
    passed = int(decide(mine, 0, 101).passed_N.sum())
    assert mine.debt("*") == pytest.approx(101 * 0.5 - passed)
    assert mine.debt("nobody") == mine.debt("*")
