"""The paper's views: figures agree with scikit-learn and with plain counting."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from models.tasks import Task, TaskSet
from stream.offpolicy.calibration import calibration
from stream.offpolicy.passing import passing_strategies, residual_traffic
from stream.offpolicy.ranking import average_precision, kish, roc_auc
from stream.offpolicy.rejection import rejection_curves
from stream.offpolicy.rows import labelled_rows
from stream.offpolicy.summary import summarise

TASKS = TaskSet([Task(name="click", window_s=9), Task(name="deal", window_s=9)])
COUNT = 3000


def frames(explore: float = 0.25) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Requests, labels and an arm: scores are right up to noise that the uncertainty knows."""
    rng = np.random.default_rng(5)
    p_NT = rng.beta(1, 4, (COUNT, 2)) * [1.0, 0.3]
    noise_N = rng.choice([0.02, 0.5], COUNT)
    score_NT = np.clip(p_NT + (noise_N * rng.normal(size=COUNT))[:, None] * p_NT, 0, 1)
    mu_N = np.where(p_NT[:, 0] > 0.2, 1.0, explore)
    passed_N = rng.random(COUNT) < mu_N
    event_NT = rng.random((COUNT, 2)) < p_NT
    ids = [f"r{number}" for number in range(COUNT)]
    requests = pl.DataFrame(
        {
            "request_id": ids,
            "timestamp": np.arange(COUNT),
            "scenario": rng.choice(["app", "site"], COUNT),
            "logged_verdict": np.where(passed_N, "pass", "block"),
            "logged_propensity": np.where(passed_N, mu_N, 1 - mu_N),
        }
    )
    known = pl.Series(passed_N)
    labels = pl.DataFrame({"request_id": ids, "c": event_NT[:, 0], "d": event_NT[:, 1]}).select(
        "request_id",
        pl.when(known).then("c").alias("label_click"),
        pl.when(known).then("d").alias("label_deal"),
    )
    arm = pl.DataFrame(
        {
            "request_id": ids,
            "verdict": np.where(score_NT[:, 0] > 0.2, "pass", "block"),
            "propensity": np.ones(COUNT),
            "e": score_NT[:, 0].astype(np.float32),
            "score_click": score_NT[:, 0],
            "score_deal": score_NT[:, 1],
            "uncertainty_click": noise_N * p_NT[:, 0],
            "uncertainty_deal": noise_N * p_NT[:, 1],
        }
    )
    return requests, labels, arm


def test_weighted_metrics_agree_with_scikit_learn() -> None:
    """With ties, weights and both classes; None without."""
    rng = np.random.default_rng(0)
    score_N, weight_N = rng.random(300).round(1), rng.random(300)
    label_N = (rng.random(300) < score_N).astype(np.float64)
    assert roc_auc(score_N, label_N, weight_N) == pytest.approx(
        roc_auc_score(label_N, score_N, sample_weight=weight_N)
    )
    assert average_precision(score_N, label_N, weight_N) == pytest.approx(
        average_precision_score(label_N, score_N, sample_weight=weight_N)
    )
    assert roc_auc(score_N, np.ones(300), weight_N) is None
    assert average_precision(score_N, np.zeros(300), weight_N) is None
    assert kish(np.full(7, 3.0)) == pytest.approx(7)


def test_rows_stand_for_what_the_log_blocked() -> None:
    """Weights add up to the number of requests, and a limit samples them by id."""
    requests, labels, arm = frames()
    rows = labelled_rows(requests, labels, arm, TASKS, "click")
    assert rows.covered == 1.0
    assert rows.weight_N.sum() == pytest.approx(COUNT, rel=0.05)
    few = labelled_rows(requests, labels, arm, TASKS, "click", limit=200)
    assert 120 < few.frame.height < 280
    blind = labelled_rows(*frames(explore=0.0), TASKS, "click")
    assert 0.3 < blind.covered < 0.7


def test_residual_traffic_is_the_rest_of_the_most_uncertain() -> None:
    """Without direct passes the figures are those of all rows; the rest has fewer rows."""
    requests, labels, arm = frames()
    found = residual_traffic(requests, labels, arm, TASKS, "deal", "click")
    assert found["ratio"].to_list() == [0.0, 0.005, 0.01, 0.015, 0.02]
    rows = labelled_rows(requests, labels, arm, TASKS, "deal")
    whole = roc_auc_score(rows.label_N, rows.column("score_deal"), sample_weight=rows.weight_N)
    assert found["auc_roc"][0] == pytest.approx(whole)
    assert found["low"][0] < whole < found["high"][0]
    assert found["rows"].is_sorted(descending=True)
    assert found["rows"][4] < found["rows"][0]


def test_strategies_count_events_at_a_fixed_and_at_a_growing_budget() -> None:
    """A growing budget never passes less; the fixed one spends what it passes directly."""
    requests, labels, arm = frames()
    found = passing_strategies(requests, labels, arm, TASKS, "deal", passes=0.4)
    assert found.height == 2 * 2 * 11
    start = found.filter(pl.col("ratio") == 0)
    assert start["total"].n_unique() == 1
    assert (start["direct"] == 0).all()
    growing = found.filter(pl.col("budget") == "growing", pl.col("source") == "click")
    fixed = found.filter(pl.col("budget") == "fixed", pl.col("source") == "click")
    assert growing["total"].is_sorted()
    assert (growing["total"] >= fixed["total"]).all()
    assert (fixed["direct"] == growing["direct"]).all()
    rows = labelled_rows(requests, labels, arm, TASKS, "deal")
    every = 1000 * (rows.weight_N @ rows.label_N) / rows.weight_N.sum()
    all_pass = passing_strategies(requests, labels, arm, TASKS, "deal", passes=1.0)
    assert all_pass["total"].to_numpy() == pytest.approx(every)


def test_an_uncertainty_that_knows_the_noise_beats_chance() -> None:
    """Chance is flat, the area under p(1-p) is below it, and shares fall."""
    found = rejection_curves(*frames(), TASKS, "click")
    areas = dict(found.group_by("order").agg(pl.col("aurc").first()).iter_rows())
    assert areas["uncertainty"] < areas["chance"]
    assert areas["p(1-p)"] < areas["chance"]
    chance = found.filter(pl.col("order") == "chance")
    assert chance["error"].n_unique() == 1
    assert found.filter(pl.col("rejected") == 0)["error"].to_numpy() == pytest.approx(
        chance["error"][0]
    )
    assert found.height == 3 * 20


def test_calibration_is_per_scenario_with_limits() -> None:
    """True scores are within most limits; the bins of a scenario have its rows."""
    requests, labels, arm = frames()
    found = calibration(requests, labels, arm, TASKS, "click")
    assert set(found["scenario"]) == {"*", "app", "site"}
    rows = found.group_by("scenario").agg(pl.col("rows").sum())
    counts = dict(rows.iter_rows())
    assert counts["*"] == counts["app"] + counts["site"]
    assert (found["low"] <= found["rate"]).all()
    assert (found["rate"] <= found["high"]).all()
    assert found.filter(pl.col("scenario") == "*")["ece"][0] < 0.1


def test_a_summary_is_about_all_requests_and_not_about_passed_ones() -> None:
    """The weighted AUC is near the truth; the plain one of passed requests is not."""
    requests, labels, arm = frames()
    found = summarise(requests, labels, arm, TASKS)["click"]
    assert found["auc_low"] < found["auc"] < found["auc_high"]
    assert found["covered"] == 1.0
    assert found["value"]["supported"]
    assert found["events"] == labels["label_click"].sum()
    nothing = summarise(
        requests, labels.with_columns(label_click=pl.lit(None, pl.Boolean)), arm, TASKS
    )["click"]
    assert nothing["auc"] is None
    assert not nothing["value"]["supported"]
    assert nothing["labelled"] == 0
