"""The experiment on unseen sources: every rule does what its formula says, and figures add up."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.unseen.learner import (
    LAYOUT,
    SOURCES,
    Fitted,
    count_spread,
    rebuild,
    source_spread,
)
from benchmarks.unseen.market import Market, make_market
from benchmarks.unseen.measures import best_by_round, measure, waiting_times
from benchmarks.unseen.plan import UnseenPlan
from benchmarks.unseen.play import Played, play
from benchmarks.unseen.rules import RULES, Chooser, Rule, draw_sets
from benchmarks.unseen.table import tables
from trainer.uncertainty.log_odds import logits, spread_of
from trainer.uncertainty.method import Rows

PLAN = UnseenPlan.quick()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def market() -> Market:
    return make_market(PLAN, "frequent", 3)


@pytest.fixture(scope="module")
def fitted(market: Market) -> Fitted:
    warm = slice(0, PLAN.warm_rows)
    rows = Rows(market.ids_NC[warm], market.targets_NT[warm])
    return rebuild(None, rows, np.ones(PLAN.warm_rows, np.float32), PLAN, 5)


def chooser(rule: Rule, market: Market, fitted: Fitted) -> Chooser:
    found = Chooser(rule, PLAN, market.ids_NC[: PLAN.warm_rows])
    found.use(fitted)
    return found


def next_ids(market: Market) -> np.ndarray:
    return market.ids_NC[PLAN.warm_rows : PLAN.warm_rows + PLAN.round_rows]


def test_greedy_and_exploring_rules_rank_by_the_score_alone(market: Market, fitted: Fitted) -> None:
    """Their scores are those at the mean of the snapshots, and no uncertainty is added."""
    for name in ("greedy", "explore-0.01", "explore-0.01-weighted", "oracle"):
        scores_NT, u_NT = chooser(RULES[name], market, fitted).predict(next_ids(market), 1)
        assert np.array_equal(scores_NT, fitted.scores(next_ids(market)))
        assert not u_NT.any()
        settings = RULES[name].settings(PLAN, 1)
        assert (settings.confidence, settings.explore) == ("score", RULES[name].explore)


def test_optimism_adds_kappa_standard_deviations(market: Market, fitted: Fitted) -> None:
    """The u of SWAG is the deviation over its weight sets; the policy adds kappa of it."""
    rule = RULES["optimistic-1"]
    scores_NT, u_NT = chooser(rule, market, fitted).predict(next_ids(market), 1)
    assert np.array_equal(scores_NT, fitted.scores(next_ids(market)))
    assert u_NT == pytest.approx(fitted.by_set(next_ids(market)).std(axis=0))
    assert u_NT.max() > 0
    settings = rule.settings(PLAN, 1)
    assert (settings.confidence, settings.kappa, settings.explore) == ("optimistic", 1.0, 0.0)


def test_thompson_sampling_scores_each_request_by_one_weight_set(
    market: Market, fitted: Fitted
) -> None:
    """Every set has its share of the requests, by the seed."""
    ids_NC = next_ids(market)
    by_set_MNT = fitted.by_set(ids_NC)
    scores_NT, u_NT = chooser(RULES["thompson"], market, fitted).predict(ids_NC, 7)
    set_N = draw_sets(len(ids_NC), PLAN.sets, 7)
    assert np.array_equal(scores_NT, by_set_MNT[set_N, np.arange(len(ids_NC))])
    assert not u_NT.any()
    shares_M = np.bincount(set_N, minlength=PLAN.sets) / len(set_N)
    assert shares_M == pytest.approx(np.full(PLAN.sets, 1 / PLAN.sets), abs=0.08)
    assert np.array_equal(set_N, draw_sets(len(ids_NC), PLAN.sets, 7))


def test_count_based_u_follows_its_formula(market: Market, fitted: Fitted) -> None:
    """The logit's variance is the sum of 1 / (C + I(id)) over the C columns."""
    ids_NC = next_ids(market)[:20]
    mean_NT, information_RT = fitted.scores(ids_NC), fitted.information()
    u_NT = count_spread(information_RT, ids_NC, mean_NT)
    for row in range(20):
        for task in range(4):
            information_C = information_RT[ids_NC[row], task].astype(np.float64)
            std = np.sqrt((1 / (LAYOUT.columns + information_C)).sum())
            wanted = spread_of(mean_NT[row : row + 1, [task]], np.full((1, 1), std, np.float32))
            assert u_NT[row, task] == pytest.approx(wanted[0, 0], rel=1e-3)


def test_only_new_ids_of_sources_make_a_request_uncertain() -> None:
    """Prior variance 1 per new id without labels, 1 / (1 + I) with labels, 0 for known ids."""
    ids_NC = np.zeros((3, LAYOUT.columns), np.int32)
    for column in SOURCES:
        ids_NC[:, column] = [10 + column, 20 + column, 30 + column]
    new_R = np.zeros(LAYOUT.rows, np.bool_)
    new_R[[20 + SOURCES[0], 30 + SOURCES[0], 30 + SOURCES[1]]] = True
    information_RT = np.zeros((LAYOUT.rows, 1), np.float32)
    information_RT[30 + SOURCES[0]] = 3.0
    mean_NT = np.full((3, 1), 0.3, np.float32)
    found_NT = source_spread(information_RT, new_R, ids_NC, mean_NT)
    variances = [0.0, 1.0, 1 / 4 + 1]
    wanted_NT = spread_of(mean_NT, np.sqrt(np.array(variances, np.float32))[:, None])
    assert found_NT == pytest.approx(wanted_NT, abs=1e-6)
    assert found_NT[0, 0] == pytest.approx(0.0, abs=1e-4)
    assert logits(mean_NT)[0, 0] < 0


def test_the_oracle_learns_from_all_and_the_others_from_what_passed(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the second rebuild: the warm-up, and one round of passes, or the whole round."""
    sizes: list[int] = []

    def spied(before: Fitted | None, rows: Rows, *others: object) -> Fitted:
        sizes.append(len(rows))
        return rebuild(before, rows, *others)

    monkeypatch.setattr("benchmarks.unseen.play.rebuild", spied)
    for name in ("greedy", "oracle"):
        play(market, RULES[name], PLAN, 1)
    passed = round((1 - PLAN.rate) * PLAN.round_rows)
    assert sizes[0] == sizes[2] == PLAN.warm_rows
    assert sizes[1] - PLAN.warm_rows == pytest.approx(passed, abs=14)
    assert sizes[3] - PLAN.warm_rows == PLAN.round_rows


def test_every_rule_passes_as_many_and_exploration_its_share(market: Market) -> None:
    """R holds within the controller's slack, whatever the rule; runs are reproducible."""
    rounds = PLAN.rounds * PLAN.round_rows
    for rule in (Rule(), Rule(explore=0.1), Rule("per-request"), Rule(spread="count", kappa=4.0)):
        played = play(market, rule, PLAN, 2)
        assert abs(played.passed_N.sum() - (1 - PLAN.rate) * rounds) <= 14
        again = play(market, rule, PLAN, 2)
        assert np.array_equal(played.passed_N, again.passed_N)
        explored = played.explored_N.sum() / rounds
        # eps of those that would be blocked: 1 - c, with c + eps (1 - c) = 1 - r
        share = (1 - PLAN.rate - rule.explore) / (1 - rule.explore)
        assert explored == pytest.approx(rule.explore * (1 - share), abs=0.02)
        assert not (played.explored_N & ~played.passed_N).any()


def test_figures_of_the_truths_own_choice(market: Market) -> None:
    """Whoever passes what the truth passes has 100 % of its value, from new sources too."""
    rounds = slice(PLAN.warm_rows, None)
    best_RN = best_by_round(market.value_N[rounds].reshape(PLAN.rounds, -1), PLAN.rate)
    assert best_RN.sum(axis=1).tolist() == [round(0.2 * PLAN.round_rows)] * PLAN.rounds
    played = Played(best_RN.ravel(), np.zeros(best_RN.size, np.bool_))
    figures = measure(market, played, PLAN).figures
    assert figures["run.value"] == figures["run.late"] == figures["run.new"] == 100
    assert figures["run.passes"] == pytest.approx(20)


def test_waiting_times_by_hand() -> None:
    """A good source gets its share in its third round, another never; a bad one does not count."""
    arrived_RN = np.full((5, 100), -1)
    arrived_RN[1:, :40], arrived_RN[2:, 40:60], arrived_RN[:, 60:90] = 7, 8, 9
    best_RN = (arrived_RN == 7) | (arrived_RN == 8)
    passed_RN = np.zeros((5, 100), np.bool_)
    passed_RN[3, :40] = True
    waits, reached = waiting_times(arrived_RN, passed_RN, best_RN)
    assert waits == [4.0, 3.0]  # their whole stay
    assert reached == [False, False]
    passed_RN[4, :25] = True  # 65 of 120 over rounds 2 to 4
    waits, reached = waiting_times(arrived_RN, passed_RN, best_RN)
    assert (waits, reached) == ([3.0, 3.0], [True, False])


def test_tables_compare_within_the_seed(market: Market) -> None:
    """Differences to greedy and to the oracle are paired by seed."""
    found = measure(market, Played(*(np.zeros(PLAN.rounds * PLAN.round_rows, np.bool_),) * 2), PLAN)
    done = {}
    for seed, level in ((1, 70.0), (2, 80.0)):
        for rule, more in (("greedy", 0.0), ("oracle", 5.0), ("thompson", 1.0 + seed)):
            figures = found.figures | {"run.value": level + more}
            done[f"frequent/{rule}", seed] = replace(found, figures=figures)
    lines = tables(done, ["frequent"]).splitlines()
    row = next(line for line in lines if line.startswith("| thompson"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1].startswith("77.50 ±")
    assert cells[2].startswith("+2.50 ±")
    assert cells[3].startswith("2.50 ±")
