"""Every kind of net with every uncertainty, for a few steps."""

from dataclasses import replace

import numpy as np
import pytest

from models.nets.config import KINDS
from tests.trainer.uncertainty.tiny_funnel import LAYOUT, NET, TRAINING, make_world
from trainer.training.context import FitContext
from trainer.training.objective.funnel import Funnel
from trainer.uncertainty import METHODS
from trainer.uncertainty.lab import Lab


@pytest.mark.parametrize("kind", KINDS)
def test_every_uncertainty_works_with_the_net(kind: str) -> None:
    """Scores are probabilities, spreads finite and not all 0, for each of the methods."""
    lab = Lab(
        LAYOUT,
        make_world(400, 1).rows,
        teacher=replace(NET, kind=kind, expert=8, tower=4, inducing=4, scenario=("one",)),
        training=replace(TRAINING, epochs=1, steps=6, snapshots=3, samples=3),
        context=FitContext(funnel=Funnel((None, 0))),
    )
    fresh_NC = make_world(60, 2).rows.ids_NC
    for name, method in METHODS.items():
        found = method(lab).predict(fresh_NC)
        for values_NT in (found.mean_NT, found.epistemic_NT, found.aleatoric_NT):
            assert values_NT.shape == (60, 2), name
            assert np.isfinite(values_NT).all(), name
        assert ((found.mean_NT > 0) & (found.mean_NT < 1)).all(), name
        assert (found.epistemic_NT >= 0).all(), name
        assert found.epistemic_NT.any(), name
