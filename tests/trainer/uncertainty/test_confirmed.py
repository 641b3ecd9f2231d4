from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.uncertainty.tiny_funnel import LAYOUT, NET, TRAINING, make_lab, make_world
from trainer.training.context import FitContext
from trainer.uncertainty.confirmed import SHARE, confirmed, confirmed_share
from trainer.uncertainty.disagreement import disagreement
from trainer.uncertainty.lab import HeldOut, Lab
from trainer.uncertainty.log_odds import logits
from trainer.uncertainty.method import Float32Array, Ids, Rows
from trainer.uncertainty.smoothing import fit_smoother


def held_and_labels(weight: float, rows: int = 40_000) -> tuple[HeldOut, Float32Array]:
    """Two models' scores of requests, and labels whose true logit is ``weight`` of the way."""
    rng = np.random.default_rng(0)
    net_NT = rng.uniform(0.1, 0.9, (rows, 2)).astype(np.float32)
    difference_NT = rng.normal(0.0, 0.6, (rows, 2))
    net_logits_NT = logits(net_NT).astype(np.float64)
    boosting_NT = (1 / (1 + np.exp(-net_logits_NT - difference_NT))).astype(np.float32)
    true_NT = 1 / (1 + np.exp(-net_logits_NT - weight * difference_NT))
    return HeldOut(net_NT, boosting_NT), (rng.random((rows, 2)) < true_NT).astype(np.float32)


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.8])
def test_labels_tell_how_much_of_a_difference_is_error(weight: float) -> None:
    """The share is how far the truth lies from the net towards boosting."""
    found_T = confirmed_share(*held_and_labels(weight))
    np.testing.assert_allclose(found_T, weight, atol=0.06)


def test_labels_that_confirm_nothing_leave_the_least() -> None:
    """Where the net is right, and where it is boosting that errs twice, the share is the least."""
    for weight in (0.0, -1.0):
        assert (confirmed_share(*held_and_labels(weight)) <= SHARE[0] + 0.03).all()
    held, targets_NT = held_and_labels(0.5, 100)
    assert (confirmed_share(held, np.full_like(targets_NT, np.nan)) == SHARE[0]).all()


def test_unknown_labels_take_no_part() -> None:
    """Rows whose label is masked change nothing, whatever they are."""
    held, targets_NT = held_and_labels(0.5)
    twice = HeldOut(*(np.concatenate([each, 1 - each]) for each in (held.net_NT, held.boosting_NT)))
    masked_NT = np.concatenate([targets_NT, np.full_like(targets_NT, np.nan)])
    np.testing.assert_allclose(
        confirmed_share(twice, masked_NT), confirmed_share(held, targets_NT), rtol=1e-9
    )


def test_a_row_is_uncertain_where_its_own_scores_differ(lab: Lab, fresh_ids: Ids) -> None:
    """At boosting's own score nothing but the rows like it counts; the farther, the larger."""
    estimator = confirmed(lab)
    boosting = logits(lab.boosting().predict(fresh_ids))
    spreads = []
    for distance in (0.0, 0.5, 1.0):
        mean_NT = (1 / (1 + np.exp(-boosting - distance))).astype(np.float32)
        spreads.append(estimator.spread(fresh_ids, mean_NT) / (mean_NT * (1 - mean_NT)))
    assert (spreads[0] > 0).all()
    assert (np.diff([np.median(each, axis=0) for each in spreads], axis=0) > 0).all()
    share_T = confirmed_share(lab.held_out(), lab.rows.targets_NT)
    # The spread of p is that of the logit times p (1 - p), for small ones.
    squares_NT = spreads[1] ** 2 - spreads[0] ** 2
    np.testing.assert_allclose(np.median(squares_NT, axis=0), (0.5 * share_T) ** 2, rtol=0.35)


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
    """Of two requests alike but for ids never seen, the unseen one has the larger spread.

    Where both models agree, only what is left after their difference counts.
    """
    estimator = confirmed(lab)
    unseen_NC = fresh_ids.copy()
    unseen_NC[:, 1] = 37
    spreads = []
    for ids_NC in (fresh_ids, unseen_NC):
        mean_NT = lab.boosting().predict(ids_NC)
        spreads.append(estimator.spread(ids_NC, mean_NT) / (mean_NT * (1 - mean_NT)))
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
