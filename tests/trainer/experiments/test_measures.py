import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trainer.experiments import measures

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with ties, uncertainties, and values of a few requests."""
    rng = np.random.default_rng(seed)
    score_N = rng.integers(0, 8, rows) / 8
    return score_N, rng.integers(0, 12, rows) / 12, rng.random(rows)


def ranked(values_N: np.ndarray) -> list[int]:
    """Rows from the largest value down, the earlier row first among equals."""
    return sorted(range(len(values_N)), key=lambda n: (-values_N[n], n))


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.05, 0.2, 0.5]), st.sampled_from([0.5, 0.8]))
def test_a_fixed_budget_is_filled_and_never_exceeded(seed: int, share: float, rate: float) -> None:
    """The most uncertain pass first, then the best of the rest until the budget is full."""
    score_N, u_N, value_N = draw(seed)
    passed = measures.pass_fixed(score_N, u_N, rate, share)
    budget = round((1 - rate) * len(score_N))
    direct = ranked(u_N)[: min(round(share * len(u_N)), budget)]
    rest = [n for n in ranked(score_N) if n not in direct][: budget - len(direct)]
    assert set(np.flatnonzero(passed.direct_N)) == set(direct)
    assert set(np.flatnonzero(passed.scored_N)) == set(rest)
    expected = sum(value_N[n] for n in direct + rest) / value_N.sum()
    assert measures.kept(passed, value_N) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.1, 0.3]))
def test_a_growing_budget_leaves_the_score_alone(seed: int, share: float) -> None:
    """Whoever passes by score alone passes still, and the direct passes come on top."""
    score_N, u_N, value_N = draw(seed)
    alone = measures.pass_fixed(score_N, u_N, 0.8, 0.0)
    passed = measures.pass_growing(score_N, u_N, 0.8, share)
    together_N = passed.direct_N | passed.scored_N
    assert not (passed.direct_N & passed.scored_N).any()
    assert (together_N == (alone.scored_N | passed.direct_N)).all()
    assert measures.kept(passed, value_N) >= measures.kept(alone, value_N)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.02, 0.3]))
def test_deals_passed_directly_reach_the_share_with_the_fewest_requests(
    seed: int, share: float
) -> None:
    """Figure 2d's direct passes hold at least the share of deals, and one fewer would not."""
    score_N, u_N, value_N = draw(seed)
    direct: list[int] = []
    for n in ranked(u_N):
        if sum(value_N[m] for m in direct) >= share * value_N.sum():
            break
        direct.append(n)
    best = set(ranked(score_N)[: round(0.2 * len(score_N))]) - set(direct)
    rest = [n for n in range(len(score_N)) if n not in direct]
    expected = sum(value_N[n] for n in best) / sum(value_N[n] for n in rest)
    found = measures.deals_by_direct_deals(score_N, u_N, value_N, 0.8, share)
    assert found == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_within_bins_is_the_mean_rank_correlation_of_the_bins(seed: int) -> None:
    """Each bin of rows with nearly equal p counts alike."""
    rng = np.random.default_rng(seed)
    p_N, u_N, error_N = rng.random((3, 80))
    order_N = np.argsort(p_N)
    expected = np.mean(
        [stats.spearmanr(u_N[part], error_N[part])[0] for part in np.array_split(order_N, 4)]
    )
    assert measures.within_bins(u_N, error_N, p_N, bins=4) == pytest.approx(expected)


def test_what_follows_the_score_knows_nothing_within_bins() -> None:
    """An error and a u that both depend on p alone correlate overall, but not within bins."""
    rng = np.random.default_rng(0)
    p_N = rng.random(20_000)
    error_N = p_N * rng.random(20_000)
    u_N = p_N + 1e-6 * rng.random(20_000)
    assert stats.spearmanr(u_N, error_N)[0] > 0.5
    assert abs(measures.within_bins(u_N, error_N, p_N)) < 0.06


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_the_worst_tenth_is_found_by_pairs(seed: int) -> None:
    """AUROC is the share of (worst, other) pairs that u ranks rightly, ties half."""
    _, u_N, error_N = draw(seed)
    worst = ranked(error_N)[:6]
    others = [n for n in range(60) if n not in worst]
    wins = [(u_N[a] > u_N[b]) + 0.5 * (u_N[a] == u_N[b]) for a in worst for b in others]
    assert measures.worst_auroc(u_N, error_N) == pytest.approx(np.mean(wins))


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_areas_under_rejection_are_sums_over_prefixes(seed: int) -> None:
    """AURC averages the mean risk of every most trusted prefix; the risk itself is the best u."""
    _, u_N, risk_N = draw(seed)
    order = sorted(range(60), key=lambda n: (u_N[n], n))
    expected = np.mean([np.mean([risk_N[n] for n in order[:k]]) for k in range(1, 61)])
    assert measures.aurc(u_N, risk_N) == pytest.approx(expected)
    assert measures.rejection_ratio(risk_N, risk_N) == pytest.approx(1.0)
    assert measures.rejection_ratio(u_N, risk_N) <= 1.0 + 1e-12


def test_residual_areas_leave_out_masked_rows_and_the_most_uncertain() -> None:
    """Rows without a label take no part, and the passed ones are gone before the area."""
    p_N = np.array([0.9, 0.1, 0.8, 0.2, 0.5, 0.6])
    labels_N = np.array([1.0, 0.0, 0.0, 1.0, np.nan, 1.0])
    u_N = np.array([0.0, 0.0, 9.0, 8.0, 99.0, 0.0])
    assert measures.residual(p_N, labels_N, u_N, 0.4).roc == 1.0
    assert measures.residual(p_N, labels_N, u_N, 0.0).roc == pytest.approx(4 / 6)


def test_ratios_and_overlaps() -> None:
    """Means of the two groups, and the share of the largest that two rankings have in common."""
    values_N = np.array([4.0, 2.0, 1.0, 1.0])
    assert measures.poor_ratio(values_N, np.array([True, True, False, False])) == 3.0
    assert np.isnan(measures.poor_ratio(values_N, np.zeros(4, np.bool_)))
    a_N = np.arange(20.0)
    assert measures.overlap(a_N, a_N) == 1.0
    assert measures.overlap(a_N, -a_N) == 0.0
    assert measures.overlap(a_N, np.where(a_N == 19, -1, a_N)) == 0.5


def test_agreement_with_sets_beside_what_they_reach_with_each_other() -> None:
    """The mean over sets, and over their pairs; what knows the sets' common part is above these."""
    rng = np.random.default_rng(3)
    common_N = rng.random(4000)
    sets = [common_N + rng.normal(0, 0.3, 4000) for _ in range(4)]
    pairs = [measures.overlap(sets[i], sets[j]) for i in range(4) for j in range(i)]
    own = measures.agreement(measures.overlap, sets[0], sets[1:])
    assert own.value == pytest.approx(np.mean([measures.overlap(sets[0], x) for x in sets[1:]]))
    found = measures.agreement(measures.overlap, common_N, sets)
    assert found.ceiling == pytest.approx(np.mean(pairs))
    assert (found.low, found.high) == (min(pairs), max(pairs))
    assert found.of_ceiling == pytest.approx(found.value / found.ceiling)
    assert found.of_ceiling > 1.1
    assert np.isnan(measures.agreement(lambda _a, _b: 0.0, common_N, sets).of_ceiling)
