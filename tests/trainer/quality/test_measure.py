"""Live quality from arrays."""

from dataclasses import replace

import numpy as np
import pytest

from models.tasks import Task, TaskSet
from trainer.quality.figures import MIN_POSITIVES
from trainer.quality.measure import LiveRows, measure_reasons, measure_tasks

TASKS = TaskSet(
    [
        Task(name="click", window_s=60),
        Task(name="online", population="click", window_s=120),
        Task(name="deal", window_s=3600),
    ]
)
N = 20_000


def world(seed: int = 0, *, too_high: float = 1.0) -> tuple[LiveRows, np.ndarray]:
    """Requests of 2,000 s, and scores that are right, or `too_high` by a factor.

    All windows of click and online have closed; those of deal only for the first half.
    """
    rng = np.random.default_rng(seed)
    p_NT = rng.beta(2, 8, (N, 3))
    happened_NT = rng.random((N, 3)) < p_NT
    ts_N = np.arange(N, dtype=np.int64) * 100
    labels_NT = happened_NT.astype(np.float32)
    final_NT = np.ones((N, 3), np.bool_)
    final_NT[:, 2] = ts_N < N * 50
    labels_NT[~final_NT & ~happened_NT] = np.nan
    delay_NT = np.where(happened_NT, rng.exponential(10_000.0, (N, 3)), np.nan)
    rows = LiveRows(
        ts_N=ts_N,
        labels_NT=labels_NT,
        final_NT=final_NT,
        delay_NT=delay_NT,
        weight_N=np.ones(N),
        reason_N=np.where(np.arange(N) % 10 == 0, "explore", "score"),
        scenario_N=np.zeros(N, np.int32),
    )
    return rows, np.clip(p_NT * too_high, 0, 1)


def test_right_scores_are_calibrated() -> None:
    """Observed over expected is 1 within three standard errors; ECE small; AUC that of p."""
    rows, scores_NT = world()
    found = measure_tasks(rows, scores_NT, TASKS, learned_until_ms=-1)
    click = found["click"]
    assert click.calibration is not None
    assert click.error is not None
    assert abs(click.calibration - 1) < 3 * click.error
    assert click.error < 0.02
    assert click.ece is not None
    assert click.ece < 0.02
    assert click.auc is not None
    assert 0.6 < click.auc < 0.8
    assert (click.rows, click.learned_from) == (N, False)


def test_scores_that_are_too_high_are_seen() -> None:
    """By a half: observed over expected is two thirds, many standard errors off."""
    rows, scores_NT = world(too_high=1.5)
    click = measure_tasks(rows, scores_NT, TASKS, -1)["click"]
    assert click.calibration == pytest.approx(2 / 3, abs=0.03)
    assert click.error is not None
    assert click.calibration is not None
    assert (1 - click.calibration) / click.error > 10


def test_a_task_is_measured_on_its_population() -> None:
    """Online among those that clicked, although its label is known of all."""
    rows, scores_NT = world()
    found = measure_tasks(rows, scores_NT, TASKS, -1)["online"]
    clicked_N = rows.labels_NT[:, 0] == 1
    assert found.rows == clicked_N.sum()
    assert found.positives == rows.labels_NT[clicked_N, 1].sum()


def test_positives_of_open_windows_do_not_flatter() -> None:
    """Half of the deals are open, and only their positives known: the rate is that of the rest."""
    rows, scores_NT = world()
    deal = measure_tasks(rows, scores_NT, TASKS, -1)["deal"]
    assert deal.rows == N // 2
    assert deal.calibration is not None
    assert deal.error is not None
    assert abs(deal.calibration - 1) < 3 * deal.error
    known_N = ~np.isnan(rows.labels_NT[:, 2])
    biased = rows.labels_NT[known_N, 2].mean() / scores_NT[known_N, 2].mean()
    assert (biased - 1) / deal.error > 5


def test_requests_that_the_model_learned_from_count_only_for_want_of_newer_ones() -> None:
    """And then it says so."""
    rows, scores_NT = world()
    some = measure_tasks(rows, scores_NT, TASKS, learned_until_ms=N * 75)["click"]
    assert (some.rows, some.learned_from) == (N // 4 - 1, False)
    none = measure_tasks(rows, scores_NT, TASKS, learned_until_ms=N * 100)["click"]
    assert (none.rows, none.learned_from) == (N, True)


def test_few_positives_give_no_figure() -> None:
    """Less than fifty positives: the rate is there, calibration and AUC are not."""
    rows, scores_NT = world()
    labels_NT = rows.labels_NT.copy()
    happened = np.flatnonzero(labels_NT[:, 0] == 1)[MIN_POSITIVES - 1 :]
    labels_NT[happened, 0] = 0
    few = replace(rows, labels_NT=labels_NT)
    click = measure_tasks(few, scores_NT, TASKS, -1)["click"]
    assert click.positives == MIN_POSITIVES - 1
    assert click.label_rate == pytest.approx(click.positives / N)
    assert (click.calibration, click.error, click.ece, click.auc) == (None, None, None, None)


def test_nothing_yet() -> None:
    """Without requests: no figure, no error."""
    empty = LiveRows(
        np.empty(0, np.int64),
        np.empty((0, 3), np.float32),
        np.empty((0, 3), np.bool_),
        np.empty((0, 3)),
        np.empty(0),
        np.empty(0, "U8"),
        np.empty(0, np.int32),
    )
    found = measure_tasks(empty, np.empty((0, 3)), TASKS, -1)
    assert [(each.rows, each.label_rate) for each in found.values()] == [(0, None)] * 3
    assert measure_reasons(empty, TASKS, {"click": 1.0}) == {}


def test_delays_are_quantiles_in_seconds() -> None:
    """Of an exponential with a mean of 10 s: its median is 6.9 s, its 99th percentile 46 s."""
    rows, scores_NT = world()
    median, ninety, most = measure_tasks(rows, scores_NT, TASKS, -1)["click"].delays_s
    assert median == pytest.approx(6.93, rel=0.1)
    assert ninety == pytest.approx(23.0, rel=0.1)
    assert most == pytest.approx(46.1, rel=0.2)


def test_value_by_reason() -> None:
    """A tenth explored; the value per request is the sum of the rates times the values."""
    rows, _ = world()
    found = measure_reasons(rows, TASKS, {"click": 1.0, "deal": 20.0})
    assert found["explore"].share == pytest.approx(0.1)
    explored_N = rows.reason_N == "explore"
    click = rows.labels_NT[explored_N, 0].mean()
    deal = rows.labels_NT[explored_N & rows.final_NT[:, 2], 2].mean()
    assert found["explore"].value == pytest.approx(click + 20 * deal)


def test_weights_stand_for_requests() -> None:
    """Every second row at weight 2 gives the rates of the rows twice."""
    rows, scores_NT = world()
    half = LiveRows(
        rows.ts_N[::2],
        rows.labels_NT[::2],
        rows.final_NT[::2],
        rows.delay_NT[::2],
        np.full(N // 2, 2.0),
        rows.reason_N[::2],
        rows.scenario_N[::2],
    )
    found = measure_tasks(half, scores_NT[::2], TASKS, -1)["click"]
    assert found.label_rate == pytest.approx(rows.labels_NT[::2, 0].mean())
    assert found.error == pytest.approx(
        np.sqrt((scores_NT[::2, 0] * (1 - scores_NT[::2, 0])).sum()) / scores_NT[::2, 0].sum()
    )
