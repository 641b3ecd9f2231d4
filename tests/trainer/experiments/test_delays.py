import os
from pathlib import Path

import numpy as np
import pytest

from models.features import FeatureSpec
from models.tasks import DEFAULT_TASKS
from trainer.experiments.delay_laws import LAWS, Covariate, draw_delays, share_within
from trainer.experiments.delays import (
    DelayPlan,
    Market,
    expected_loss,
    make_market,
    measure_delays,
    observe,
)
from trainer.experiments.delays_jd import jd_tasks, measure_jd, snapshots
from trainer.traffic.jd import JdRequests
from trainer.training.config import TeacherTraining
from trainer.training.context import FitContext

DATA = Path(os.environ.get("WEIR_SHARED_DATA", Path(__file__).parents[4] / "shared/data"))
JD = DATA / "jd_openmldb"
PLAN = DelayPlan(
    per_day=500, test_days=2, earlier=1000, training=TeacherTraining(batch=128, epochs=1)
)
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def market() -> Market:
    return make_market(FeatureSpec.load("openrtb"), PLAN, FitContext(3))


def test_the_filter_passes_its_share_of_two_weeks(market: Market) -> None:
    assert len(market.snapshot) == pytest.approx(0.2 * 14 * 500, abs=2)
    assert len(market.passed) == len(market.unfiltered) == pytest.approx(0.2 * 2 * 500, abs=2)
    assert 0 < market.age_N.min() < 0.1 * DAY_MS
    assert 13.9 * DAY_MS < market.age_N.max() <= 14 * DAY_MS
    assert market.passed.p_true_NT is not None
    assert market.unfiltered.p_true_NT is not None
    # The filter knows what it does: what it passes is worth more.
    gain_T = market.passed.p_true_NT.mean(axis=0) / market.unfiltered.p_true_NT.mean(axis=0)
    assert gain_T[3] > 1.5


@pytest.mark.parametrize("law", LAWS)
def test_a_snapshot_shows_what_happened_within_its_rows_ages(market: Market, law: str) -> None:
    now, known = observe(market, law, 3)

    window_T = np.array([task.window_s * 1000 for task in DEFAULT_TASKS])
    age_N1 = now.elapsed[:, None]
    closed_NT = age_N1 > window_T
    np.testing.assert_array_equal(now.labels_NT[closed_NT], known.labels_NT[closed_NT])
    assert (np.isnan(now.labels_NT) | closed_NT | (now.labels_NT == 1)).all()
    assert (now.labels_NT == 1).sum() < (known.labels_NT == 1).sum()
    seen_NT = ~np.isnan(now.delays)
    assert (seen_NT == (now.labels_NT == 1)).all()
    assert (now.delays[seen_NT] <= np.broadcast_to(age_N1, seen_NT.shape)[seen_NT]).all()


@pytest.mark.parametrize("law", LAWS)
def test_shares_within_are_those_of_the_draws(market: Market, law: str) -> None:
    window_T = np.array([task.window_s * 1000 for task in DEFAULT_TASKS])
    hidden_N = market.covariate(market.snapshot.ids_NC)
    assert hidden_N.std() == pytest.approx(1.5, abs=0.01)

    drawn_NT = draw_delays(law, np.random.default_rng(0), hidden_N) <= window_T

    share_NT = share_within(law, 1, hidden_N, window_T)
    # Five standard errors of a share of 1,400 draws.
    np.testing.assert_allclose(drawn_NT.mean(axis=0), share_NT.mean(axis=0), atol=0.067)


def test_the_covariate_is_a_function_of_the_features() -> None:
    ids_NC = np.random.default_rng(0).integers(0, 20, (400, 6)).astype(np.int32)
    covariate = Covariate.drawn(ids_NC, 20, 0)

    np.testing.assert_array_equal(covariate(ids_NC[:5]), covariate(ids_NC)[:5])


def test_the_true_probabilities_have_the_least_expected_loss() -> None:
    truth_NT = np.random.default_rng(0).uniform(0.1, 0.9, (500, 4))
    least = expected_loss(truth_NT, truth_NT, DEFAULT_TASKS)

    other = expected_loss(truth_NT.clip(0.2, 0.8), truth_NT, DEFAULT_TASKS)

    assert all(least[name] < other[name] for name in DEFAULT_TASKS.names)


def test_methods_are_measured_side_by_side(market: Market) -> None:
    names = ("wait", "censoring", "oracle")

    found = measure_delays(market, "exponential", names, PLAN, FitContext(3))

    assert set(found) == set(names)
    keys = {f"{part}.{task}" for part in ("passed", "all") for task in DEFAULT_TASKS.names}
    assert all(set(losses) == keys for losses in found.values())
    # Waiting has half of the rows only: it differs from what uses all.
    assert found["wait"] != found["censoring"]
    again = measure_delays(market, "exponential", ("wait",), PLAN, FitContext(3))
    assert again["wait"] == found["wait"]


@pytest.mark.skipif(not JD.is_dir(), reason="JD's requests absent: set WEIR_SHARED_DATA")
def test_censoring_predicts_the_rates_of_jd_before_their_windows_close() -> None:
    """On real delays its error is below that of waiting, for every task."""
    jd = JdRequests.load(JD, jd_tasks(7 * 86_400))
    assert len(list(snapshots(jd))) == 12

    found = measure_jd(jd, ("wait", "fnw", "censoring"))

    error = {name: np.sqrt((np.log(ratios) ** 2).mean(axis=0)) for name, ratios in found.items()}
    assert (error["censoring"] < error["wait"]).all()
    assert (error["censoring"] < error["fnw"]).all()
    assert np.abs(found["censoring"].mean(axis=0) - 1).max() < 0.02


def test_jd_needs_tasks_of_all_requests() -> None:
    jd = JdRequests.__new__(JdRequests)
    jd.tasks = DEFAULT_TASKS
    with pytest.raises(ValueError, match="population"):
        measure_jd(jd, ("wait",))
