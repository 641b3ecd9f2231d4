"""Stacked models as tensors, for the checkpoint of a training."""

import json

import numpy as np
import torch
from torch import Tensor

from models.nets.embedding import FeatureLayout
from trainer.stacking.boosters import Boosters
from trainer.stacking.design import Design
from trainer.stacking.linear import Linear
from trainer.stacking.stacked import Stacked
from trainer.stacking.steps import Steps
from trainer.training.checkpoint import State


def state_of(stacked: Stacked, shares_T: tuple[float, ...]) -> State:
    """Everything that was fitted."""
    steps, boosters, linears = stacked.steps, stacked.boosters, stacked.linears
    text = json.dumps([steps.parents, steps.own_population, boosters.models, boosters.starts])
    return {
        "text": torch.from_numpy(np.frombuffer(text.encode(), np.uint8).copy()),
        "lowest_C": torch.from_numpy(boosters.lowest_C.astype(np.int32)),
        "shares_T": torch.tensor(shares_T, dtype=torch.float64),
        "weights_TQ": _stacked([linear.weights_Q for linear in linears]),
        "penalties_TJ": _stacked([linear.penalties_J for linear in linears]),
        "biases_T": torch.tensor([linear.bias for linear in linears], dtype=torch.float64),
    }


def restored(state: State, layout: FeatureLayout) -> tuple[Stacked, tuple[float, ...]]:
    """What :func:`state_of` saved."""
    parents, own_population, models, starts = json.loads(bytes(state["text"].tolist()))
    parts = (state["weights_TQ"].numpy(), state["biases_T"].tolist(), state["penalties_TJ"].numpy())
    stacked = Stacked(
        Design.of(layout),
        Steps(tuple(parents), tuple(own_population)),
        tuple(Linear(*each) for each in zip(*parts, strict=True)),
        Boosters(tuple(models), tuple(starts), state["lowest_C"].numpy()),
    )
    return stacked, tuple(state["shares_T"].tolist())


def _stacked(rows: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.float64))
