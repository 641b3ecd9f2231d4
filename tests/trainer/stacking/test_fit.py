from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.nets.embedding import FeatureLayout
from tests.trainer.small_world import CONFIG, SPEC, TASKS
from trainer.stacking import fit
from trainer.stacking.blended import SHARES, UNDECIDED, BlendedLabeller
from trainer.stacking.fit import blend
from trainer.training.checkpoint import Checkpoint
from trainer.training.config import TrainConfig
from trainer.training.context import FitContext
from trainer.training.objective.funnel import Funnel
from trainer.training.row_range import RowRange

LAYOUT = FeatureLayout.of(SPEC)
ROWS = 3000
QUICK = replace(CONFIG, teacher=replace(CONFIG.teacher, epochs=1, snapshots=2))


class Net:
    """A net that knows nothing."""

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        shape = (len(ids_NC), len(TASKS))
        return torch.full(shape, 0.5), torch.full(shape, 0.1)

    def redrawn(self, _number: int) -> "Net":
        return self


def labelled(rows: int = ROWS, *, old: int = 0) -> RowRange:
    """Rows whose site decides about clicks; in the first ``old`` ones the other way round."""
    rng = np.random.default_rng(1)
    ids_NC = rng.integers(1, 12, (rows, 4))
    good_N = (ids_NC[:, 0] % 2 == 0) ^ (np.arange(rows) < old)
    chances_NT = np.stack([np.where(good_N, 0.9, 0.1), np.full(rows, 0.5), np.full(rows, 0.5)], 1)
    happens_NT = rng.random((rows, 3)) < chances_NT
    labels_NT = np.logical_and.accumulate(happens_NT, axis=1).astype(np.float32)
    targets_NT = labels_NT.copy()
    targets_NT[labels_NT[:, 0] == 0, 1] = np.nan
    return RowRange(
        torch.from_numpy((ids_NC + np.array([0, 12, 12, 24])).astype(np.int16)),
        torch.from_numpy(labels_NT),
        torch.from_numpy(targets_NT),
        torch.ones(rows),
    )


def fitted(
    rows: RowRange,
    config: TrainConfig = QUICK,
    context: FitContext | None = None,
    weights_N: Tensor | None = None,
) -> BlendedLabeller:
    context = context or FitContext(3, funnel=Funnel.of(TASKS))
    found = blend(Net(), LAYOUT, rows, weights_N=weights_N, config=config, context=context)
    assert isinstance(found, BlendedLabeller)
    return found


def test_held_out_rows_choose_unless_the_settings_do() -> None:
    """``auto`` has a weight per task, ``stacked`` all of it for the stacked models."""
    assert set(fitted(labelled()).shares_T) <= {*SHARES, UNDECIDED}
    found = fitted(labelled(), replace(QUICK, score="stacked"))
    assert found.shares_T == (1.0, 1.0, 1.0)
    mean_NT, _ = found.predict(labelled().ids_KC)
    np.testing.assert_allclose(
        mean_NT, found.stacked.predict(labelled().ids_KC.numpy()), rtol=1e-4, atol=1e-6
    )


def test_only_the_newest_rows_are_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What older rows say, which is the opposite, is not learned."""
    monkeypatch.setattr(fit, "MOST_ROWS", 1500)
    rows = labelled(6000, old=4500)
    found = fitted(rows, replace(QUICK, score="stacked"))
    good_N = rows.ids_KC.numpy()[:, 0] % 2 == 0
    click_N = found.stacked.predict(rows.ids_KC.numpy())[:, 0]
    assert click_N[good_N].min() > click_N[~good_N].max()


def test_rows_count_as_much_as_they_weigh() -> None:
    """Rows that weigh nothing teach nothing."""
    rows = labelled(6000, old=3000)
    weights_N = torch.ones(6000)
    weights_N[:3000] = 1e-6
    found = fitted(rows, replace(QUICK, score="stacked"), weights_N=weights_N)
    good_N = rows.ids_KC.numpy()[:, 0] % 2 == 0
    click_N = found.stacked.predict(rows.ids_KC.numpy())[:, 0]
    assert click_N[good_N].min() > click_N[~good_N].max()


def test_what_a_checkpoint_keeps_is_not_fitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run has the same models, and torch's random state is what it was."""
    context = FitContext(3, funnel=Funnel.of(TASKS))
    kept = replace(context, checkpoint=Checkpoint(tmp_path / "c", {}))
    torch.manual_seed(1)
    first = fitted(labelled(), context=kept)
    after = torch.rand(1)
    monkeypatch.setattr(fit, "fit_stacked", None)
    torch.manual_seed(1)
    again = fitted(labelled(), context=kept)
    assert torch.rand(1) == after
    assert again.shares_T == first.shares_T
    for one, other in zip(
        again.predict(labelled().ids_KC), first.predict(labelled().ids_KC), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
