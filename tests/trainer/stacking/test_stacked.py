import numpy as np
import pytest
import torch

from models.nets.embedding import FeatureLayout
from tests.trainer.small_world import SPEC, TASKS
from trainer.stacking import saved
from trainer.stacking.stacked import Stacked, fit_stacked
from trainer.training.objective.funnel import Funnel

ROWS, HELD_OUT = 12_000, 1_200
LAYOUT = FeatureLayout.of(SPEC)


def market(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, targets, and true click probabilities: sites alone, but the apps turn them around."""
    rng = np.random.default_rng(seed)
    ids_NC = rng.integers(1, 12, (ROWS, 4))
    effect_N = (ids_NC[:, 0] - 6) / 3
    click_N = 1 / (1 + np.exp(-np.where(ids_NC[:, 3] > 8, -effect_N, effect_N)))
    steps_NT = np.stack([click_N, np.full(ROWS, 0.6), 1 - click_N], axis=1)
    happens_NT = rng.random((ROWS, 3)) < steps_NT
    targets_NT = np.logical_and.accumulate(happens_NT, axis=1).astype(np.float32)
    targets_NT[targets_NT[:, 0] == 0, 1] = np.nan
    return (ids_NC + np.array([0, 12, 12, 24])).astype(np.int32), targets_NT, click_N


def fitted(seed: int = 1) -> tuple[Stacked, np.ndarray]:
    ids_NC, targets_NT, _ = market(0)
    return fit_stacked(
        LAYOUT,
        ids_NC,
        targets_NT,
        np.ones(ROWS),
        funnel=Funnel.of(TASKS),
        held_out=HELD_OUT,
        seed=seed,
    )


@pytest.fixture(scope="module")
def models() -> tuple[Stacked, np.ndarray]:
    return fitted()


def test_boosting_finds_what_a_linear_model_cannot(models: tuple[Stacked, np.ndarray]) -> None:
    """An interaction that hides the sites' effects from the sum is in the scores."""
    stacked, _ = models
    ids_NC, _, click_N = market(5)
    matrix = stacked.design.matrix(ids_NC)
    linear_N = 1 / (1 + np.exp(-stacked.linears[0].logits(matrix)))
    error = np.abs(stacked.predict(ids_NC)[:, 0] - click_N).mean()
    assert error < 0.05
    assert error < np.abs(linear_N - click_N).mean() / 3


def test_the_deal_is_the_product_of_its_steps(models: tuple[Stacked, np.ndarray]) -> None:
    """The true probability of a deal over all requests is found."""
    stacked, _ = models
    assert stacked.steps.parents == (None, 0, 1)
    ids_NC, _, click_N = market(6)
    deal_N = click_N * 0.6 * (1 - click_N)
    assert np.abs(stacked.predict(ids_NC)[:, 2] - deal_N).mean() < 0.03


def test_held_out_scores_are_of_models_without_those_rows(
    models: tuple[Stacked, np.ndarray],
) -> None:
    """Labels of the held-out rows do not touch their own scores, as shuffled ones show."""
    _, honest_VT = models
    ids_NC, targets_NT, click_N = market(0)
    assert np.abs(honest_VT[:, 0] - click_N[-HELD_OUT:]).mean() < 0.06
    rng = np.random.default_rng(3)
    noise_NT = (rng.random(targets_NT.shape) < 0.5).astype(np.float32)
    _, blind_VT = fit_stacked(
        LAYOUT,
        ids_NC,
        noise_NT,
        np.ones(ROWS),
        funnel=Funnel.of(TASKS),
        held_out=HELD_OUT,
        seed=1,
    )
    last_V = noise_NT[-HELD_OUT:, 0]
    gap = blind_VT[last_V == 1, 0].mean() - blind_VT[last_V == 0, 0].mean()
    assert abs(gap) < 0.02


def test_the_same_seed_gives_the_same_models(models: tuple[Stacked, np.ndarray]) -> None:
    """To the last bit, and what a checkpoint keeps of them too."""
    stacked, honest_VT = models
    again, honest_again_VT = fitted()
    ids_NC, _, _ = market(7)
    np.testing.assert_array_equal(honest_again_VT, honest_VT)
    np.testing.assert_array_equal(again.predict(ids_NC), stacked.predict(ids_NC))
    state = {
        key: tensor.clone() for key, tensor in saved.state_of(stacked, (0.5, 1.0, 0.0)).items()
    }
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    restored, shares_T = saved.restored(state, LAYOUT)
    assert shares_T == (0.5, 1.0, 0.0)
    np.testing.assert_array_equal(restored.predict(ids_NC), stacked.predict(ids_NC))


def test_a_task_without_events_has_its_rate() -> None:
    """Nothing can be learned from three events; the score is the base rate."""
    ids_NC, targets_NT, _ = market(0)
    targets_NT[:, 2] = 0
    targets_NT[:3, 2] = 1
    stacked, _ = fit_stacked(
        LAYOUT,
        ids_NC,
        targets_NT,
        np.ones(ROWS),
        funnel=Funnel.of(TASKS),
        held_out=HELD_OUT,
        seed=1,
    )
    np.testing.assert_allclose(stacked.predict(ids_NC[:9])[:, 2], 3 / ROWS, rtol=0.01)
