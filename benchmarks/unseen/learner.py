"""The model of a run: a small SWAG teacher that every rebuild trains further, on all labels so far.

It serves by itself: no student is distilled from it, so that rules are compared and not students.
M weight sets, N requests, T tasks.
"""

from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import functional_call

from benchmarks.unseen.plan import SPEC, UnseenPlan
from models.nets.embedding import FeatureLayout
from models.nets.heads import LOGIT
from models.nets.swag import SwagPosterior
from models.nets.teacher import TeacherNet, build_teacher
from models.nets.weight_sets import Weights
from trainer.training.context import FitContext
from trainer.training.loop import cosine, deterministic, steps_per_epoch
from trainer.training.teacher import Teacher, base_rates, fit_net
from trainer.uncertainty.count import pseudo_counts
from trainer.uncertainty.lab import Lab, tensors
from trainer.uncertainty.log_odds import spread_of
from trainer.uncertainty.method import Float32Array, Ids, Rows

BATCH = 1024
"""Rows per forward pass."""
LAYOUT = FeatureLayout.of(SPEC)
SOURCES = tuple(
    each.column for each in SPEC.features if each.name in ("site_id", "publisher", "geo_region")
)
"""Columns of the ids of sources."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The model after one rebuild.

    Attributes:
        net: The net, at the mean of the snapshots.
        posterior: The SWAG posterior.
        rows: The rows that it was fitted on.
        sets: M.
        seed: Seed of the rebuild.
    """

    net: TeacherNet
    posterior: SwagPosterior
    rows: Rows
    sets: int
    seed: int

    def scores(self, ids_NC: Ids) -> Float32Array:
        """Probabilities at the mean of the snapshots, (N, T)."""
        return _run(self.net, {}, ids_NC)

    def by_set(self, ids_NC: Ids) -> Float32Array:
        """Probabilities by every weight set, (M, N, T)."""
        samples = self.posterior.sample(self.sets, self.seed)
        return np.stack([_run(self.net, each, ids_NC) for each in samples])

    def information(self) -> Float32Array:
        """I(id) of ``trainer/uncertainty/count.py``, per id and task, (R, T)."""
        return pseudo_counts(self.rows, self.scores(self.rows.ids_NC), LAYOUT.rows)

    def lab(self, plan: UnseenPlan) -> Lab:
        """A lab on the same rows, for methods that fit further models."""
        context = FitContext(self.seed)
        samples = self.posterior.sample(self.sets, self.seed)
        teacher = Teacher(self.net, self.posterior, samples, self.seed)
        return Lab(
            LAYOUT, self.rows, teacher=plan.net, training=plan.training, context=context,
            fitted=teacher,
        )  # fmt: skip


def rebuild(
    before: Fitted | None, rows: Rows, weights_N: Float32Array, plan: UnseenPlan, seed: int
) -> Fitted:
    """Train the model further.

    Args:
        before: The model of the rebuild before; None starts with a new one.
        rows: All rows with labels so far.
        weights_N: Weight of each.
        plan: Sizes and steps.
        seed: Seed of this rebuild.
    """
    ids_NC, targets_NT = tensors(rows)
    epochs = plan.first_epochs if before is None else plan.epochs
    steps = epochs * steps_per_epoch(len(rows), plan.training.batch)
    start = max(steps - plan.snapshots * plan.gap, 0)
    posterior = SwagPosterior(plan.snapshots, plan.training.scale)

    def after_step(taken: int) -> None:
        if taken > start and (taken - start) % plan.gap == 0:
            posterior.collect(dict(net.named_parameters()))

    with deterministic(1, seed):
        if before is None:
            net = build_teacher(LAYOUT, targets_NT.shape[1], plan.net)
            net.start_at(LOGIT.start(base_rates(targets_NT)))
        else:
            net = deepcopy(before.net)
        fit_net(
            net,
            ids_NC,
            targets_NT,
            name="teacher",
            training=replace(plan.training, steps=steps),
            steps=steps,
            learning_rate=lambda step: cosine(
                step, start, plan.training.learning_rate, plan.training.swag_learning_rate
            ),
            context=FitContext(seed),
            after_step=after_step,
            weights_N=torch.from_numpy(weights_N),
        )
    net.load_state_dict(posterior.mean_weights(), strict=False)
    return Fitted(net, posterior, rows, plan.sets, seed)


def count_spread(information_RT: Float32Array, ids_NC: Ids, mean_NT: Float32Array) -> Float32Array:
    """U of ``trainer/uncertainty/count.py``: the variance of a logit falls with its ids' counts."""
    weight_variance_RT = 1 / (LAYOUT.columns + information_RT)
    variance_NT = sum(weight_variance_RT[ids_N] for ids_N in ids_NC.T)
    return spread_of(mean_NT, np.sqrt(variance_NT).astype(np.float32))


def source_spread(
    information_RT: Float32Array, new_R: npt.NDArray[np.bool_], ids_NC: Ids, mean_NT: Float32Array
) -> Float32Array:
    """U of new sources alone: each of their ids has a random effect on the logit.

    The effect has a normal prior of variance 1 and a posterior variance of 1 / (1 + I(id)), I as in
    ``trainer/uncertainty/count.py``: an id without any label leaves the logit a standard deviation
    of 1, whatever the other features say. Ids that are not new add nothing.

    Args:
        information_RT: I(id) per id and task.
        new_R: Whether an id is new.
        ids_NC: Feature ids.
        mean_NT: Scores.
    """
    variance_RT = (new_R[:, None] / (1 + information_RT)).astype(np.float32)
    variance_NT = sum(variance_RT[ids_NC[:, column]] for column in SOURCES)
    return spread_of(mean_NT, np.sqrt(variance_NT).astype(np.float32))


@torch.no_grad()
def _run(net: TeacherNet, weights: Weights, ids_NC: Ids) -> npt.NDArray[np.float32]:
    def run(ids_BC: Tensor) -> Tensor:
        found_BT: Tensor = functional_call(net, weights, (ids_BC,))
        return found_BT

    parts = [run(part).sigmoid() for part in torch.split(torch.from_numpy(ids_NC), BATCH)]
    found_NT: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return found_NT
