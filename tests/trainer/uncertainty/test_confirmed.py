from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.uncertainty.tiny_funnel import LAYOUT, NET, TRAINING, make_lab, make_world
from trainer.training.context import FitContext
from trainer.uncertainty.confirmed import confirmations, confirmed, fit_confirmed
from trainer.uncertainty.disagreement import disagreement
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Floats, Ids, Rows
from trainer.uncertainty.smoothing import fit_smoother

WRONG = 3
"""Ids of the first column below this mark the segment where the score is wrong."""


def products(rng: np.random.Generator, rows: int, *, wrong: bool) -> tuple[Ids, np.ndarray]:
    """Products d (y - p) / s of a score of one half; d means something in one segment only.

    There the second opinion is right and the score is not; elsewhere the score is right and the
    second opinion is off by as much, at random.
    """
    ids_NC = np.stack([rng.integers(0, 12, rows), rng.integers(12, 14, rows)], 1).astype(np.int32)
    sign_N = np.where(ids_NC[:, 1] == 12, -1.0, 1.0)
    segment_N = (ids_NC[:, 0] < WRONG) & wrong
    true_N = np.where(segment_N, 0.5 + 0.3 * sign_N, 0.5)
    labels_N = rng.random(rows) < true_N
    distance_N = sign_N * np.log(0.8 / 0.2)
    return ids_NC, distance_N * (labels_N - 0.5) / 0.25


def test_labels_tell_where_a_disagreement_is_an_error() -> None:
    """The same disagreement counts where held-out labels side with the second opinion only."""
    ids_NC, products_N = products(np.random.default_rng(0), 20_000, wrong=True)
    found = fit_confirmed(ids_NC, products_N, seed=1)
    assert found is not None
    squared_N = found.predict(ids_NC)
    segment_N = ids_NC[:, 0] < WRONG
    # E[d (y - p) / s] = log(4) 0.3 / 0.25 in the segment.
    assert squared_N[segment_N].mean() == pytest.approx(np.log(4) * 1.2, rel=0.15)
    assert squared_N[~segment_N].mean() < 0.15 * squared_N[segment_N].mean()


def test_labels_that_confirm_nothing_are_left_out() -> None:
    """Where the score is right everywhere, and where rows are few, nothing is made of the noise."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        ids_NC, products_N = products(rng, 20_000, wrong=False)
        assert fit_confirmed(ids_NC, products_N, seed) is None
    ids_NC, products_N = products(rng, 300, wrong=True)
    assert fit_confirmed(ids_NC, products_N, 1) is None


def test_unknown_labels_take_no_part() -> None:
    """Rows whose label is masked change nothing, whatever they are."""
    ids_NC, products_N = products(np.random.default_rng(0), 20_000, wrong=True)
    known = fit_confirmed(ids_NC, products_N, seed=1)
    more_NC = np.concatenate([ids_NC, ids_NC[::-1]])
    masked = fit_confirmed(more_NC, np.concatenate([products_N, np.full(20_000, np.nan)]), seed=1)
    assert known is not None
    assert masked is not None
    np.testing.assert_array_equal(known.predict(ids_NC), masked.predict(ids_NC))


def test_products_are_the_error_times_the_difference_on_average(lab: Lab) -> None:
    """Their mean is that of d (q - p) / s with the true q, within four standard errors."""
    world = make_world(3000, 1)
    difference_NT = lab.held_out().difference_NT.astype(np.float64)
    products_NT, noise_NT = confirmations(lab, difference_NT)
    errors_NT = world.truth_NT - lab.held_out().net_NT.astype(np.float64)
    noise_free_NT = difference_NT * errors_NT / noise_NT
    gap_NT = products_NT - noise_free_NT
    known_NT = ~np.isnan(world.rows.targets_NT)
    assert (np.isnan(gap_NT) == ~known_NT).all()
    for gap_N in gap_NT.T:
        gap_K = gap_N[~np.isnan(gap_N)]
        assert abs(gap_K.mean()) < 4 * gap_K.std() / np.sqrt(len(gap_K))


def test_a_held_out_score_does_not_know_its_label() -> None:
    """Another label of a row changes what both models say of others, never what they say of it."""
    lab = make_lab()
    targets_NT = lab.rows.targets_NT.copy()
    targets_NT[0] = 1 - np.nan_to_num(targets_NT[0])
    changed = Lab(
        LAYOUT,
        replace(lab.rows, targets_NT=targets_NT),
        teacher=NET,
        training=TRAINING,
        context=FitContext(0),
    )
    before, after = lab.held_out(), changed.held_out()
    for one_NT, other_NT in (
        (before.net_NT, after.net_NT),
        (before.boosting_NT, after.boosting_NT),
    ):
        np.testing.assert_array_equal(one_NT[0], other_NT[0])
        assert (one_NT != other_NT).any()


def test_a_smoother_finds_the_mean_behind_the_noise(fresh_ids: Ids) -> None:
    """Means per group are found within a tenth, and are positive where every value was zero."""
    rng = np.random.default_rng(3)
    ids_NC = make_world(20_000, 4).rows.ids_NC
    values_N = np.where(ids_NC[:, 0] % 2, 2.0, 1.0) * rng.exponential(size=len(ids_NC))
    values_NT = np.stack([values_N, np.zeros_like(values_N)], 1).astype(np.float32)
    means_NT = fit_smoother(ids_NC, values_NT, seed=1).predict(fresh_ids)
    odd_N = fresh_ids[:, 0] % 2 == 1
    assert means_NT[odd_N, 0].mean() == pytest.approx(2.0, rel=0.1)
    assert means_NT[~odd_N, 0].mean() == pytest.approx(1.0, rel=0.1)
    assert (means_NT[:, 1] > 0).all()


def test_disagreement_is_half_the_distance_of_the_logits(lab: Lab, fresh_ids: Ids) -> None:
    """Spread over p (1 - p) is about half the mean distance of net and boosting there."""
    found = disagreement(lab).predict(fresh_ids)
    logit_spread_NT = found.epistemic_NT / (found.mean_NT * (1 - found.mean_NT))
    half_T = np.abs(lab.held_out().difference_NT).mean(axis=0) / 2
    np.testing.assert_allclose(logit_spread_NT.mean(axis=0), half_T, rtol=0.25)


def test_rare_ids_make_a_request_less_sure(lab: Lab, fresh_ids: Ids) -> None:
    """Of two requests alike but for ids never seen, the unseen one has the larger spread."""
    estimator = confirmed(lab)
    unseen_NC = fresh_ids.copy()
    unseen_NC[:, 1] = 37
    mean_NT: Floats = np.full((len(fresh_ids), 2), 0.3, np.float32)
    spreads = [estimator.spread(ids_NC, mean_NT) for ids_NC in (fresh_ids, unseen_NC)]
    assert (spreads[1].mean(axis=0) > spreads[0].mean(axis=0)).all()


def test_rows_without_labels_of_a_task_still_get_a_spread() -> None:
    """A task with hardly a positive falls back to what needs no labels."""
    world = make_world(1500, 1)
    targets_NT = np.zeros_like(world.rows.targets_NT)
    targets_NT[:, 0] = np.nan_to_num(world.rows.targets_NT[:, 0])
    targets_NT[:3, 1] = 1
    lab = Lab(
        LAYOUT,
        Rows(world.rows.ids_NC, targets_NT),
        teacher=NET,
        training=TRAINING,
        context=FitContext(0),
    )
    found = confirmed(lab).predict(world.rows.ids_NC[:200])
    assert np.isfinite(found.epistemic_NT).all()
    assert (found.epistemic_NT > 0).all()
