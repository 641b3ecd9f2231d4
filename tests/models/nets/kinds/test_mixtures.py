"""mmoe, ple, cross-stitch and aitm against the same nets written out task by task."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from models.nets.experts import MlpExperts
from models.nets.kinds.aitm import Aitm
from models.nets.kinds.cross_stitch import CrossStitch
from models.nets.kinds.mmoe import Mmoe
from models.nets.kinds.ple import Ple
from models.nets.teacher import TeacherNet, build_teacher

TASKS, WIDTH, SHARED = 3, 6, 2
Ids = Callable[[int], np.ndarray]
Written = Callable[[TeacherNet, Tensor], Tensor]


def expert(experts: MlpExperts, number: int, x: Tensor) -> Tensor:
    """One expert of a stack."""
    rows = slice(number * experts.width, (number + 1) * experts.width)
    hidden = (x @ experts.expert_in.weight[rows].T + experts.expert_in.bias[rows]).relu()
    out = experts.expert_out
    return (hidden @ out.weight_EIO[number] + out.bias_E1O[number]).relu()


def mixture(gate: Tensor, experts: list[Tensor]) -> Tensor:
    return sum((gate[:, [k]] * one for k, one in enumerate(experts)), torch.zeros(1))


def mmoe(net: TeacherNet, x: Tensor) -> Tensor:
    backbone = net.backbone
    assert isinstance(backbone, Mmoe)
    count = SHARED + TASKS
    all_of_them = [expert(backbone.experts, e, x) for e in range(count)]
    read = []
    for task in range(TASKS):
        rows = slice(task * count, (task + 1) * count)
        gate = (x @ backbone.gates.weight[rows].T + backbone.gates.bias[rows]).softmax(1)
        read.append(mixture(gate, all_of_them))
    return torch.stack(read)


def ple(net: TeacherNet, x: Tensor) -> Tensor:
    """Two levels: the second one's task experts read the tasks' mixtures, the shared ones' that."""
    backbone = net.backbone
    assert isinstance(backbone, Ple)
    first = backbone.first
    below = [expert(first.experts, e, x) for e in range(SHARED + TASKS)]
    own_inputs = []
    for task in range(TASKS):
        rows = slice(task * (SHARED + 1), (task + 1) * (SHARED + 1))
        gate = (x @ first.gates.weight[rows].T + first.gates.bias[rows]).softmax(1)
        own_inputs.append(mixture(gate, [*below[:SHARED], below[SHARED + task]]))
    shared_input = mixture(backbone.first_shared_gate(x).softmax(1), below)
    (level,) = backbone.levels
    shared = [expert(level.experts, e, shared_input) for e in range(SHARED)]
    read = []
    for task, mine in enumerate(own_inputs):
        own = expert(level.experts, SHARED + task, mine)
        read.append(mixture(level.gates[task](mine).softmax(1), [*shared, own]))
    return torch.stack(read)


def cross_stitch(net: TeacherNet, x: Tensor) -> Tensor:
    backbone = net.backbone
    assert isinstance(backbone, CrossStitch)
    values = [expert(backbone.experts, task, x) for task in range(TASKS)]
    (layer,) = backbone.layers
    for level in range(2):
        stitch = backbone.stitches_LTT[level]
        values = [
            sum((stitch[task, other] * values[other] for other in range(TASKS)), torch.zeros(1))
            for task in range(TASKS)
        ]
        if level == 0:
            values = [
                (one @ layer.weight_EIO[task] + layer.bias_E1O[task]).relu()
                for task, one in enumerate(values)
            ]
    return torch.stack(values)


def aitm(net: TeacherNet, x: Tensor) -> Tensor:
    backbone = net.backbone
    assert isinstance(backbone, Aitm)
    read = [expert(backbone.experts, 0, x)]
    for step in range(TASKS - 1):
        transferred = backbone.transfers[step](read[-1]).relu()
        own = expert(backbone.experts, step + 1, x)
        h1, h2, h3 = backbone.attentions[step].weight.split(WIDTH)
        fits = torch.stack(
            [((v @ h1.T) * (v @ h2.T)).sum(1) / WIDTH**0.5 for v in (transferred, own)], dim=1
        ).softmax(1)
        read.append(fits[:, [0]] * (transferred @ h3.T) + fits[:, [1]] * (own @ h3.T))
    return torch.stack(read)


@pytest.mark.parametrize(
    ("kind", "written"),
    [("mmoe", mmoe), ("ple", ple), ("cross-stitch", cross_stitch), ("aitm", aitm)],
)
def test_the_batched_backbone_is_the_one_written_out(
    layout: FeatureLayout, random_ids: Ids, kind: str, written: Written
) -> None:
    """Weights far from zero, so that every part shows."""
    torch.manual_seed(0)
    config = TeacherConfig(kind, embedding=5, expert=WIDTH, tower=3, shared_experts=SHARED)
    net = build_teacher(layout, TASKS, config).eval()
    with torch.no_grad():
        net.embedding.table_RD.mul_(40)
        for weight in net.backbone.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    x_NI = net.embedding(torch.from_numpy(random_ids(50)))
    read_TNH = net.backbone(x_NI, torch.empty(50, 0, dtype=torch.int64))
    assert read_TNH.shape == (TASKS, 50, WIDTH)
    assert read_TNH.std(1).max() > 1e-2
    torch.testing.assert_close(read_TNH, written(net, x_NI), atol=1e-5, rtol=1e-4)
