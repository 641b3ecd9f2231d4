from collections.abc import Callable

import numpy as np
import torch

from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from models.nets.teacher import TeacherNet, build_teacher


def reference(net: TeacherNet, ids_NC: torch.Tensor) -> torch.Tensor:
    """The same net written out expert by expert, task by task."""
    x = net.embedding(ids_NC)
    config, experts_net = net.backbone.config, net.backbone.experts
    width, shared, tasks = experts_net.width, config.shared_experts, net.backbone.shape.tasks
    experts = []
    for e in range(shared + tasks):
        rows = slice(e * width, (e + 1) * width)
        hidden = x @ experts_net.expert_in.weight[rows].T + experts_net.expert_in.bias[rows]
        out = experts_net.expert_out
        experts.append((hidden.relu() @ out.weight_EIO[e] + out.bias_E1O[e]).relu())
    logits = []
    for task in range(tasks):
        rows = slice(task * (shared + 1), (task + 1) * (shared + 1))
        gate = (x @ net.backbone.gates.weight[rows].T + net.backbone.gates.bias[rows]).softmax(1)
        mine = [*experts[:shared], experts[shared + task]]
        mixed = sum(gate[:, [k]] * expert for k, expert in enumerate(mine))
        tower = (mixed @ net.tower_in.weight_EIO[task] + net.tower_in.bias_E1O[task]).relu()
        logits.append(tower @ net.tower_out.weight_EIO[task] + net.tower_out.bias_E1O[task])
    return torch.cat(logits, dim=1)


def test_the_batched_net_is_cgc(
    layout: FeatureLayout, random_ids: Callable[[int], np.ndarray]
) -> None:
    """The batched products compute gates over shared experts and the task's own, then towers."""
    torch.manual_seed(0)
    net = build_teacher(layout, 4, TeacherConfig(embedding=5, expert=6, tower=3))
    with torch.no_grad():
        net.embedding.table_RD.mul_(40)
    ids_NC = torch.from_numpy(random_ids(50)).long()
    logits_NT = net(ids_NC)
    assert logits_NT.shape == (50, 4)
    assert logits_NT.std(0).min() > 1e-3
    torch.testing.assert_close(logits_NT, reference(net, ids_NC), atol=1e-5, rtol=1e-4)


def test_a_tasks_own_expert_serves_that_task_only(
    layout: FeatureLayout, random_ids: Callable[[int], np.ndarray]
) -> None:
    """The gradient of one task reaches the shared experts and its own, no other task's."""
    net = build_teacher(layout, 3, TeacherConfig(embedding=4, expert=5, tower=3))
    net(torch.from_numpy(random_ids(64)).long())[:, 1].sum().backward()
    gradient = net.backbone.experts.expert_out.weight_EIO.grad
    assert gradient is not None
    touched = [bool(gradient[expert].any()) for expert in range(6)]
    assert touched == [True, True, True, False, True, False]
