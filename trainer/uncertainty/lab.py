"""Models that several methods share on one set of rows, each fitted at most once, on demand."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from models.nets.heads import LOGIT, Head
from models.nets.teacher import OutputNet, TeacherNet, build_teacher
from models.nets.weight_sets import predict_moments
from trainer.training.config import TeacherTraining
from trainer.training.context import FitContext
from trainer.training.loop import deterministic
from trainer.training.teacher import Teacher, base_rates, fit_single, fit_teacher
from trainer.uncertainty.blend import BlendEstimator
from trainer.uncertainty.boosting import Boosting, fit_boosting
from trainer.uncertainty.log_odds import logits
from trainer.uncertainty.method import Estimator, Float32Array, Ids, Rows
from trainer.uncertainty.sampled import SampledEstimator
from trainer.uncertainty.smoothing import Smoother, fit_smoother

Net = TypeVar("Net", bound=OutputNet)
FOLDS: Final = 3
REMEMBERED: Final = 4
"""Arrays of requests for which scores are cached: training, validation, test rows and one more."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores of labelled rows by two kinds of models, each fitted on the other folds.

    Attributes:
        net_NT: Scores of one net with a decayed learning rate.
        boosting_NT: Scores of gradient boosting.
    """

    net_NT: Float32Array
    boosting_NT: Float32Array

    @property
    def difference_NT(self) -> Float32Array:
        """The boosting's logit minus the net's."""
        return logits(self.boosting_NT) - logits(self.net_NT)


class Lab:
    """Labelled rows, and the models fitted on them so far.

    Args:
        layout: Rows of the embedding table by column.
        rows: Training rows.
        teacher: Kind and sizes of every net.
        training: Schedule of every net.
        context: Seed of everything random, and progress bars; nets are fitted on the CPU.
        fitted: The SWAG teacher of these rows, on the CPU, if it was fitted before.
    """

    def __init__(
        self,
        layout: FeatureLayout,
        rows: Rows,
        *,
        teacher: TeacherConfig,
        training: TeacherTraining,
        context: FitContext,
        fitted: Teacher | None = None,
    ) -> None:
        self.layout = layout
        self.rows = rows
        self.config = teacher
        self.training = training
        self.context = context.on_cpu()
        self._fitted = fitted
        self._scored: deque[tuple[Ids, Float32Array]] = deque(maxlen=REMEMBERED)

    @property
    def tasks(self) -> int:
        """Number of tasks, T."""
        return int(self.rows.targets_NT.shape[1])

    def teacher(self) -> Teacher:
        """The SWAG teacher; its mean is the score of every method without a score of its own."""
        return self._teacher

    def single(self) -> Estimator:
        """A single net with a decayed learning rate, not averaged; its epistemic spread is 0."""
        return SampledEstimator(self.single_net, [dict(self.single_net.named_parameters())])

    @cached_property
    def single_net(self) -> TeacherNet:
        """The net of :meth:`single`."""
        return self.fit_net("net")

    def boosting(self) -> Boosting:
        """Gradient boosting on the same rows."""
        return self._boosting

    def blend(self) -> Estimator:
        """Mean of teacher's and boosting's probabilities, with their spread as epistemic spread."""
        return BlendEstimator(self.scores, self.boosting())

    def held_out(self) -> HeldOut:
        """Scores of the lab's own rows by models that were fitted without them."""
        return self._held_out

    def distance(self) -> Smoother:
        """Model of the mean distance of the two held-out logits: H of ``disagreement.py``."""
        return self._distance

    def scores(self, ids_NC: Ids) -> Float32Array:
        """The teacher's mean for these requests, cached for the last few arrays."""
        for known_NC, mean_NT in self._scored:
            if known_NC is ids_NC:
                return mean_NT
        teacher = self.teacher()
        mean_NT = predict_moments(teacher.net, teacher.samples, torch.from_numpy(ids_NC))[0].numpy()
        self._scored.append((ids_NC, mean_NT))
        return mean_NT

    def fit_net(
        self,
        label: str,
        member: int = 0,
        *,
        config: TeacherConfig | None = None,
        head: Head = LOGIT,
        rows: Rows | None = None,
    ) -> TeacherNet:
        """Train one more net of the lab's kind; see :meth:`fit`.

        Args:
            label: Label of its progress bar.
            member: Number within its label.
            config: Kind and sizes, if not the lab's.
            head: Interpretation of its outputs.
            rows: Training rows, if not all.
        """

        def make() -> TeacherNet:
            return build_teacher(self.layout, self.tasks, config or self.config, head.size)

        return self.fit(make, label, member, head=head, rows=rows)

    def fit(
        self,
        make: Callable[[], Net],
        label: str,
        member: int = 0,
        *,
        head: Head = LOGIT,
        rows: Rows | None = None,
    ) -> Net:
        """Train a net with a decayed learning rate, starting at the base rates.

        Args:
            make: Constructs the net; its initial weights come from torch's generator.
            label: Label of its progress bar; with ``member`` it determines the seed.
            member: Number within its label.
            head: Interpretation of its outputs.
            rows: Training rows, if not all.
        """
        ids_NC, targets_NT = tensors(rows or self.rows)
        with deterministic(torch.get_num_threads(), self.seed_of(label, member)):
            net = make()
            net.start_at(head.start(base_rates(targets_NT)))
            fit_single(
                net,
                ids_NC,
                targets_NT,
                name=label,
                training=self.training,
                context=self.context,
                head=head,
            )
        return net

    def seed_of(self, what: str, number: int = 0) -> int:
        """A seed for one part, independent of those of the other parts."""
        entropy = [self.context.seed, number, *what.encode()]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    @cached_property
    def _teacher(self) -> Teacher:
        if self._fitted is not None:
            return self._fitted
        ids_NC, targets_NT = tensors(self.rows)
        with deterministic(torch.get_num_threads(), self.seed_of("teacher")):
            return fit_teacher(
                self.layout,
                ids_NC,
                targets_NT,
                config=self.config,
                training=self.training,
                context=self.context.with_seed(self.seed_of("samples")),
            )

    @cached_property
    def _boosting(self) -> Boosting:
        return fit_boosting(self.rows.ids_NC, self.rows.targets_NT, seed=self.seed_of("boosting"))

    @cached_property
    def _distance(self) -> Smoother:
        apart_NT = np.abs(self.held_out().difference_NT)
        return fit_smoother(self.rows.ids_NC, apart_NT, self.seed_of("disagreement"))

    @cached_property
    def _held_out(self) -> HeldOut:
        rows = self.rows
        rng = np.random.default_rng(self.seed_of("folds"))
        fold_N = rng.permutation(len(rows)) % FOLDS
        held = HeldOut(np.zeros_like(rows.targets_NT), np.zeros_like(rows.targets_NT))
        for fold in range(FOLDS):
            out_N = fold_N == fold
            others = Rows(rows.ids_NC[~out_N], rows.targets_NT[~out_N])
            net = self.fit_net("fold net", fold, rows=others)
            ids_NC = rows.ids_NC[out_N]
            mean_NT, _ = predict_moments(
                net, [dict(net.named_parameters())], torch.from_numpy(ids_NC)
            )
            held.net_NT[out_N] = mean_NT.numpy()
            boosting = fit_boosting(
                others.ids_NC, others.targets_NT, seed=self.seed_of("fold boosting", fold)
            )
            held.boosting_NT[out_N] = boosting.predict(ids_NC)
        return held


def tensors(rows: Rows) -> tuple[Tensor, Tensor]:
    """``ids_NC`` and ``targets_NT`` for torch, without a copy."""
    return torch.from_numpy(rows.ids_NC), torch.from_numpy(rows.targets_NT)
