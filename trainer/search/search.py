"""AutoMTL's Algorithm 1, first order: weights on training rows, architecture on validation rows.

Weights and expert selection take AdamW steps on training rows. After each step the architecture's
parameters, which do not take part in it, take an Adam step on a batch of validation rows, with the
weights as they are: the first-order approximation. During the warm-up the selection stays fixed.
The Jensen-Shannon loss and the auxiliary skip connections decay to 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.nets.backbone import Shape
from models.nets.config import Architecture, TeacherConfig
from models.nets.embedding import FeatureEmbedding, FeatureLayout
from models.nets.heads import LOGIT
from models.nets.interaction import NoInteraction
from models.nets.losses import bce_by_task
from models.nets.teacher import TeacherNet
from trainer.search.supernet import ARCHITECTURE, SuperNet
from trainer.training.config import TeacherTraining
from trainer.training.context import FitContext
from trainer.training.loop import cosine, run_steps
from trainer.training.teacher import base_rates
from trainer.uncertainty.method import Rows


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Sizes of a search.

    Attributes:
        experts: Experts of the net.
        blocks: Blocks of an expert.
        selected: Experts that each task keeps.
        steps: Steps of the search.
        warm_up: Share of the steps in which the selection is fixed.
        architecture_rate: Adam's learning rate of the architecture.
    """

    experts: int = 4
    blocks: int = 2
    selected: int = 3
    steps: int = 1_500
    warm_up: float = 0.2
    architecture_rate: float = 3e-3


def search(
    layout: FeatureLayout,
    train: Rows,
    valid: Rows,
    *,
    config: TeacherConfig,
    training: TeacherTraining,
    plan: SearchPlan,
    context: FitContext,
) -> Architecture:
    """Search an architecture for these rows; with torch's generator, so a seed determines it.

    Args:
        layout: Rows of the embedding table by column.
        train: Rows that train weights and selection.
        valid: Rows that train the architecture.
        config: Widths of the net.
        training: Batch, learning rate and weight decay of the weights.
        plan: Sizes of the search.
        context: Devices, progress bars and checkpoint: a search that is interrupted resumes.
    """
    tasks = train.targets_NT.shape[1]
    backbone = SuperNet(Shape(layout.features, tasks), config, plan.experts, plan.blocks)
    embedding = FeatureEmbedding(layout, config.embedding, config.numeric)
    net = TeacherNet(embedding, NoInteraction(layout.features, config), backbone)
    targets_NT = torch.from_numpy(train.targets_NT)
    net.start_at(LOGIT.start(base_rates(targets_NT)))
    net.to(context.devices.device)
    step = _Step(net, backbone, train, valid, training, plan, context)
    run_steps(
        net,
        rows=len(train),
        batch=training.batch,
        steps=plan.steps,
        learning_rate=lambda taken: cosine(taken, plan.steps, training.learning_rate, 0.0),
        loss=step.loss,
        after_step=step.update_architecture,
        name="search",
        context=context,
        weight_decay=training.weight_decay,
        extra_state=step,
    )
    return backbone.found(plan.selected)


class _Step:
    """The two losses of a step, and the optimizer of the architecture; arguments as of `search`."""

    def __init__(
        self,
        net: TeacherNet,
        backbone: SuperNet,
        train: Rows,
        valid: Rows,
        training: TeacherTraining,
        plan: SearchPlan,
        context: FitContext,
    ) -> None:
        self._net, self._backbone, self._plan = net, backbone, plan
        self._put, self._batch = context.devices.put, training.batch
        self._train = _tensors(train)
        self._valid = _tensors(valid)
        named = backbone.named_parameters()
        self._architecture = [weight for name, weight in named if name.startswith(ARCHITECTURE)]
        self._optimizer = torch.optim.Adam(
            self._architecture, lr=plan.architecture_rate, betas=(0.5, 0.999)
        )
        self._train_architecture(False)

    def loss(self, rows_B: Tensor, step: int) -> Tensor:
        """Loss of the weights and, after the warm-up, the selection, on training rows."""
        left = 1.0 - step / self._plan.steps
        self._backbone.skip_weight = left
        warm = step < self._plan.warm_up * self._plan.steps
        self._backbone.selection_TE.requires_grad_(not warm)
        return self._losses(self._train, rows_B) + left * self._backbone.divergence()

    def update_architecture(self, taken: int) -> None:
        """A step of the architecture on the next validation rows."""
        rows_B = (torch.arange(self._batch) + (taken - 1) * self._batch) % len(self._valid[0])
        self._train_architecture(True)
        loss = self._losses(self._valid, rows_B)
        gradients = torch.autograd.grad(loss, self._architecture)
        for weight, gradient in zip(self._architecture, gradients, strict=True):
            weight.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._train_architecture(False)

    def _train_architecture(self, trained: bool) -> None:
        for weight in self._architecture:
            weight.requires_grad_(trained)

    def _losses(self, rows: tuple[Tensor, Tensor], rows_B: Tensor) -> Tensor:
        ids_NC, targets_NT = rows
        logits_BT = self._net(self._put(ids_NC[rows_B]))
        return bce_by_task(logits_BT, self._put(targets_NT[rows_B])).sum()

    def state_dict(self) -> Mapping[str, Tensor]:
        """State of the architecture's optimizer."""
        slots = self._optimizer.state_dict()["state"]
        return {
            f"{number}.{key}": torch.as_tensor(value)
            for number, slot in slots.items()
            for key, value in slot.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state that `state_dict` returned."""
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            number, _, field = key.partition(".")
            slots.setdefault(int(number), {})[field] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _tensors(rows: Rows) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(rows.ids_NC), torch.from_numpy(rows.targets_NT)
