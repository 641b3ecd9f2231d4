from dataclasses import replace

import numpy as np
import pytest
import torch

from models.data.examples import Examples
from models.nets.losses import bce_by_task, masked_mean
from models.tasks import Task, TaskSet
from trainer.training.config import DELAYS
from trainer.training.delay.maturity import closing_ages, is_aged, usable
from trainer.training.delay.method import Correction, FitPlan, delay_method
from trainer.training.row_range import RowRange, range_of

HOUR_MS = 3_600_000
TASKS = TaskSet(
    [
        Task(name="click", window_s=3600),
        Task(name="online", population="click", window_s=24 * 3600),
        Task(name="deal", window_s=24 * 3600),
    ]
)
RATES_ST = np.array([[0.5, 0.4, 0.10], [0.3, 0.7, 0.25]])
"""Probabilities of two segments of requests; of online among clicked ones."""
MEAN_H = np.array([0.1, 6.0, 8.0])
ROWS = 60_000
PLAN = FitPlan(TASKS.names, 4, 0)


def store(seed: int, new_ST: np.ndarray | None = None) -> Examples:
    """A snapshot of two days with a known delay law; delays are exponential within the window.

    Args:
        seed: Seed.
        new_ST: Rates of two more segments, which all rows younger than 20 hours are of.
    """
    rng = np.random.default_rng(seed)
    segment_N = rng.integers(0, 2, ROWS)
    age_N = rng.uniform(0, 48, ROWS)
    rates_ST = RATES_ST
    if new_ST is not None:
        segment_N[age_N < 20] += 2
        rates_ST = np.concatenate([RATES_ST, new_ST])
    rate_NT = rates_ST[segment_N]
    event_NT = rng.random((ROWS, 3)) < rate_NT
    event_NT[:, 1] &= event_NT[:, 0]
    window_T = np.array([task.window_s / 3600 for task in TASKS])
    share_T = 1 - np.exp(-window_T / MEAN_H)
    delay_NT = -np.log1p(-rng.random((ROWS, 3)) * share_T) * MEAN_H
    seen_NT = event_NT & (delay_NT <= age_N[:, None])
    closed_NT = age_N[:, None] > window_T
    labels_NT = np.where(seen_NT, 1, np.where(closed_NT, 0, np.nan))
    return Examples(
        ts_N=(-age_N * HOUR_MS).astype(np.int64),
        features_NC=segment_N[:, None].astype(np.int32),
        labels_NT=labels_NT.astype(np.float32),
        propensity_N=np.ones(ROWS),
        elapsed_N=(age_N * HOUR_MS).astype(np.int64),
        delay_NT=np.where(seen_NT, delay_NT * HOUR_MS, np.nan),
    )


def rows_for(name: str, examples: Examples) -> RowRange:
    closing_T = closing_ages(examples)
    aged_NT = is_aged(examples.elapsed, closing_T)
    used_N = usable(~np.isnan(examples.labels_NT), aged_NT, delay_method(name).uses)
    order_K = np.flatnonzero(used_N)[np.argsort(examples.ts_N[used_N], kind="stable")]
    return range_of(examples.take(order_K), closing_T, TASKS)


def minimiser(rows: RowRange, correction: Correction | None) -> np.ndarray:
    """Probabilities (S, T) of the segments that minimise the loss of all rows."""
    logits_ST = torch.zeros(4, 3, requires_grad=True)
    segment_N, every_N = rows.ids_KC[:, 0].long(), torch.arange(len(rows))
    optimizer = torch.optim.Adam([logits_ST], lr=0.1)
    for step in range(240):
        optimizer.param_groups[0]["lr"] = 0.1 if step < 120 else 0.02
        optimizer.zero_grad()
        logits_NT = logits_ST[segment_N]
        if correction is None:
            loss = bce_by_task(logits_NT, rows.targets_KT).sum()
        else:
            losses_NT = correction.losses(logits_NT, every_N)
            loss = mean_loss(losses_NT, correction.targets_NT)
        torch.autograd.backward(loss)
        optimizer.step()
    return logits_ST.detach().sigmoid().numpy()


def mean_loss(losses_NT: torch.Tensor, targets_NT: torch.Tensor) -> torch.Tensor:
    return masked_mean(lambda _: losses_NT, targets_NT).sum()


@pytest.mark.parametrize("name", [name for name in DELAYS if name != "fnw"])
def test_a_method_is_unbiased_under_a_known_delay_law(name: str) -> None:
    """The tolerance is five standard errors of a rate among the fewest final rows of a task.

    There are 15,000 per segment, of which half are clicked: 5 * sqrt(p (1 - p) / n).
    """
    rows = rows_for(name, store(1))

    found_ST = minimiser(rows, delay_method(name).correction(rows, PLAN))[:2]

    n_ST = np.array([[15_000, 15_000 * 0.5, 15_000], [15_000, 15_000 * 0.3, 15_000]])
    error_ST = np.sqrt(RATES_ST * (1 - RATES_ST) / n_ST)
    assert (np.abs(found_ST - RATES_ST) < 5 * error_ST).all(), found_ST


def test_fake_negatives_converge_to_what_was_seen_by_now() -> None:
    """Events that are still to come are not in a snapshot: the method is biased by their share."""
    rows = rows_for("fnw", store(1))
    assert rows.opened is not None

    found_ST = minimiser(rows, delay_method("fnw").correction(rows, PLAN))[:2]

    seen_NT, segment_N = rows.opened.seen_KT.numpy(), rows.ids_KC[:, 0].numpy()
    seen_ST = np.stack([np.nanmean(seen_NT[segment_N == s], axis=0) for s in (0, 1)])
    np.testing.assert_allclose(found_ST, seen_ST, rtol=0.02)
    assert (found_ST[:, 2] < 0.95 * RATES_ST[:, 2]).all()


def test_censoring_learns_segments_that_have_no_final_label_yet() -> None:
    new_ST = np.array([[0.5, 0.6, 0.3], [0.4, 0.2, 0.05]])
    rows = rows_for("censoring", store(2, new_ST))
    assert rows.targets_KT[rows.ids_KC[:, 0] >= 2, 2].isnan().all()

    found_ST = minimiser(rows, delay_method("censoring").correction(rows, PLAN))

    # 12,500 rows per new segment, of whose deals two thirds were seen: about 8,000 final ones.
    error_S = np.sqrt(new_ST[:, 2] * (1 - new_ST[:, 2]) / 8_000)
    assert (np.abs(found_ST[2:, 2] - new_ST[:, 2]) < 5 * error_S).all(), found_ST
    assert (np.abs(found_ST[:2, 2] - RATES_ST[:, 2]) < 0.02).all()


def test_positives_that_are_seen_early_do_not_flatter_masked_targets() -> None:
    rows = rows_for("mask", store(3))

    share_T = np.nanmean(rows.targets_KT.numpy(), axis=0)

    assert abs(share_T[2] - RATES_ST[:, 2].mean()) < 0.01
    seen = np.nanmean(np.where(rows.labels_KT.isnan(), np.nan, rows.labels_KT)[:, 2])
    assert abs(seen - RATES_ST[:, 2].mean()) < 0.01


def test_a_row_belongs_to_a_population_once_that_is_final() -> None:
    rows = rows_for("censoring", store(4))
    assert rows.opened is not None

    seen_NT, labels_NT = rows.opened.seen_KT, rows.labels_KT
    young_N = rows.opened.elapsed_K < rows.opened.closing_T[0]
    assert young_N.any()
    assert seen_NT[young_N, 1].isnan().all()
    assert (~seen_NT[:, 1].isnan() == (labels_NT[:, 0] == 1)).all()


@pytest.mark.parametrize("name", DELAYS)
def test_final_labels_give_cross_entropy(name: str) -> None:
    examples = store(5)
    final = examples.take(np.flatnonzero(examples.elapsed > 30 * HOUR_MS))
    final = replace(final, elapsed_N=None, delay_NT=None)

    rows = replace(rows_for(name, final), opened=None)

    assert len(rows) == len(final)
    assert delay_method(name).correction(rows, PLAN) is None


@pytest.mark.parametrize("name", ["fnw", "es-dfm", "defer", "censoring"])
def test_no_row_pulls_beyond_the_stated_bounds(name: str) -> None:
    """The derivative by the logit: at most 10 for learned weights, 2 for ``fnw``, else 1."""
    most = {"fnw": 2.0, "censoring": 1.0}.get(name, 10.0)
    rows = rows_for(name, store(6))
    correction = delay_method(name).correction(rows, PLAN)
    assert correction is not None
    every_N, counts_NT = torch.arange(len(rows)), ~correction.targets_NT.isnan()

    for logit in (-30.0, -3.0, 0.0, 3.0, 30.0):
        logits_NT = torch.full((len(rows), 3), logit, requires_grad=True)
        losses_NT = correction.losses(logits_NT, every_N)
        torch.autograd.backward(losses_NT[counts_NT].sum())
        assert losses_NT[counts_NT].isfinite().all()
        assert logits_NT.grad is not None
        assert logits_NT.grad.isfinite().all()
        assert logits_NT.grad.abs().max() <= most


def test_a_method_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="'censor' is unknown"):
        delay_method("censor")
