"""Fits the stacked models beside a fitted net, and says how much each task's score is theirs.

K labelled rows, C columns of ids, T tasks.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from models.nets.heads import LOGIT
from models.nets.teacher import TeacherNet, build_teacher
from trainer.stacking import saved
from trainer.stacking.blended import BlendedLabeller, choose_shares
from trainer.stacking.stacked import fit_stacked
from trainer.training.config import STACKED, TrainConfig
from trainer.training.context import FitContext
from trainer.training.loop import cosine
from trainer.training.row_range import RowRange
from trainer.training.soft_labels import CHUNK, Labeller
from trainer.training.teacher import Schedule, base_rates, fit_net
from trainer.uncertainty.method import Float32Array

HELD_OUT: Final = 0.1
"""Share of the labelled rows, the newest, that stop the boosting and choose the weights."""
MOST_ROWS: Final = 200_000
"""Most labelled rows, the newest, of the stacked models: they hold them in memory, at 3 KB each."""


def blend(
    net: Labeller,
    layout: FeatureLayout,
    labelled: RowRange,
    *,
    weights_N: Tensor | None,
    config: TrainConfig,
    context: FitContext,
) -> Labeller:
    """The labeller whose score the configuration names.

    A run that resumes takes what was fitted from the checkpoint. Every process of several fits the
    same models.

    Args:
        net: The fitted net.
        layout: Rows of the embedding table by column.
        labelled: The labelled rows in order of time; only final labels are learned from.
        weights_N: Weight of each row; None if all are equal.
        config: ``score``, and kind and schedule of the net.
        context: Seed, progress bars, funnel and checkpoint.
    """
    state_file = context.state("stacked")
    if state_file is not None and (state := state_file.load()) is not None:
        stacked, shares_T = saved.restored(state, layout)
        return BlendedLabeller(net, stacked, shares_T)
    bar = context.progress.add_task("stacked models", total=1)
    counts_N = np.ones(len(labelled)) if weights_N is None else weights_N.numpy().astype(np.float64)
    held_out = max(round(HELD_OUT * min(len(labelled), MOST_ROWS)), 1)
    newest = labelled.slice(max(len(labelled) - MOST_ROWS, 0), len(labelled))
    counts_K = counts_N[len(labelled) - len(newest) :]
    targets_KT = newest.targets_KT.numpy()
    stacked, held_VT = fit_stacked(
        layout,
        newest.ids_KC.numpy(),
        targets_KT,
        counts_K,
        funnel=context.funnel,
        held_out=held_out,
        seed=context.seed,
    )
    shares_T = (1.0,) * targets_KT.shape[1]
    if config.score != STACKED:
        net_VT = _pilot_scores(layout, labelled, weights_N, held_out, config, context)
        last = slice(len(newest) - held_out, None)
        shares_T = choose_shares(net_VT, held_VT, targets_KT[last], counts_K[last])
    if state_file is not None:
        state_file.save(saved.state_of(stacked, shares_T))
    context.progress.update(bar, completed=1)
    return BlendedLabeller(net, stacked, shares_T)


def _pilot_scores(
    layout: FeatureLayout,
    labelled: RowRange,
    weights_N: Tensor | None,
    held_out: int,
    config: TrainConfig,
    context: FitContext,
) -> Float32Array:
    """Scores (V, T) of the newest rows by a net that was fitted on the others."""
    cut = len(labelled) - held_out
    older = labelled.slice(0, cut)
    training, devices = config.teacher, context.devices
    steps = Schedule.of(cut, training).steps
    cuda = [devices.device] if devices.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(context.seed)
        net = _started(layout, older.targets_KT, config.net)
        fit_net(
            net,
            older.ids_KC,
            older.targets_KT,
            name="net without the newest rows",
            training=training,
            steps=steps,
            learning_rate=lambda step: cosine(step, steps, training.learning_rate, 0.0),
            context=context.without_checkpoint(),
            weights_N=None if weights_N is None else weights_N[:cut],
        )
    return _scores(net, labelled.slice(cut, len(labelled)).ids_KC, context)


def _started(layout: FeatureLayout, targets_KT: Tensor, config: TeacherConfig) -> TeacherNet:
    net = build_teacher(layout, targets_KT.shape[1], config)
    net.start_at(LOGIT.start(base_rates(targets_KT)))
    return net


@torch.no_grad()
def _scores(net: TeacherNet, ids_VC: Tensor, context: FitContext) -> Float32Array:
    net.eval()
    put = context.devices.put
    parts = [net(put(ids_BC)).float().sigmoid().cpu() for ids_BC in torch.split(ids_VC, CHUNK)]
    scores_VT: Float32Array = torch.cat(parts).numpy()
    return scores_VT
