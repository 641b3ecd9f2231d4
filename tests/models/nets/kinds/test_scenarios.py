"""star, hmoe and aesm2 against the same nets request by request."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.nets.backbone import Scenarios, of_scenario
from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from models.nets.kinds.aesm2 import Aesm2
from models.nets.kinds.hmoe import Hmoe
from models.nets.kinds.star import StarLinear
from models.nets.teacher import TeacherNet, build_teacher

Ids = Callable[[int], np.ndarray]
TASKS = 2


def built(layout: FeatureLayout, kind: str, **fields: object) -> TeacherNet:
    torch.manual_seed(0)
    config = TeacherConfig(
        kind, embedding=4, expert=6, tower=3, shared_experts=2, scenario=("site",), **fields
    )
    net = build_teacher(layout, TASKS, config)
    with torch.no_grad():
        net.embedding.table_RD.mul_(30)
        for weight in net.backbone.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return net


def test_scenarios_are_combinations_from_the_coarsest_to_the_finest() -> None:
    """Two features of 3 and 4 values make 12; none makes one."""
    pairs_NL = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    assert Scenarios((3, 4))(pairs_NL).tolist() == list(range(12))
    assert Scenarios(()).count == 1
    assert Scenarios(())(torch.empty(5, 0, dtype=torch.int64)).tolist() == [0] * 5
    values_SNH = torch.arange(24.0).view(3, 4, 2)
    found_NH = of_scenario(values_SNH, torch.tensor([2, 0, 1, 2]))
    torch.testing.assert_close(found_NH, values_SNH[[2, 0, 1, 2], torch.arange(4)])


def test_a_star_layer_multiplies_the_centre_s_weights_with_the_scenario_s() -> None:
    """W = W_shared * W_s, b = b_shared + b_s, request by request (STAR, eq. 6, 7)."""
    torch.manual_seed(1)
    layer = StarLinear(3, 4, 2)
    with torch.no_grad():
        layer.weight_SIO.copy_(torch.randn(3, 4, 2))
        layer.bias_S1O.copy_(torch.randn(3, 1, 2))
    x_NI, at_N = torch.randn(7, 4), torch.tensor([0, 1, 2, 2, 1, 0, 1])
    for row, scenario in enumerate(at_N.tolist()):
        weight = layer.centre.weight.T * layer.weight_SIO[scenario]
        expected = x_NI[row] @ weight + layer.centre.bias + layer.bias_S1O[scenario, 0]
        torch.testing.assert_close(layer(x_NI, at_N)[row], expected)


def test_a_request_trains_the_experts_of_its_own_scenario_only(
    layout: FeatureLayout, random_ids: Ids
) -> None:
    """The others are read, but their gradient is cut."""
    net = built(layout, "hmoe")
    backbone = net.backbone
    assert isinstance(backbone, Hmoe)
    ids_NC = torch.from_numpy(random_ids(30))
    ids_NC[:, layout.single("site").column] = 5
    net(ids_NC).sum().backward()
    gradient = backbone.experts.expert_out.weight_EIO.grad
    assert gradient is not None
    trained_TS = gradient.abs().sum((1, 2)).unflatten(0, (TASKS, 8)) > 0
    assert trained_TS.nonzero().tolist() == [[0, 5], [1, 5]]


def test_aesm2_selects_by_the_distances_of_equations_10_to_14(
    layout: FeatureLayout, random_ids: Ids
) -> None:
    """Per request: K experts nearest to its one-hot vector, K nearest to uniform; others get 0."""
    backbone = built(layout, "aesm2", selected=2).backbone
    assert isinstance(backbone, Aesm2)
    groups, rows, experts = 5, 40, 9
    gates_GNE = torch.randn(groups, rows, experts, generator=torch.Generator().manual_seed(2)) * 2
    at_N = torch.arange(rows) % groups
    found_1NE, penalty = backbone._selected(gates_GNE, at_N.unsqueeze(0))
    penalties = []
    for row in range(rows):
        table_EG = gates_GNE[:, row].T.softmax(1)
        one_hot = functional.one_hot(at_N[row], groups).float()
        uniform = torch.full((groups,), 1 / groups)
        specific = [kl(one_hot, table_EG[e]) for e in range(experts)]
        shared = [kl(uniform, table_EG[e]) for e in range(experts)]
        nearest = [sorted(range(experts), key=d.__getitem__)[:2] for d in (specific, shared)]
        taken = set(nearest[0]) | set(nearest[1])
        gate_E = gates_GNE[at_N[row], row].clone()
        gate_E[[e for e in range(experts) if e not in taken]] = -torch.inf
        torch.testing.assert_close(found_1NE[0, row], gate_E.softmax(0), atol=1e-5, rtol=1e-4)
        penalties.append(sum(specific[e] for e in nearest[0]) + sum(shared[e] for e in nearest[1]))
    assert torch.isclose(penalty, torch.tensor(penalties).mean(), atol=1e-4)


def kl(p: Tensor, q: Tensor) -> float:
    inside = p > 0
    return float((p[inside] * (p[inside] / q[inside]).log()).sum())


def test_aesm2_is_guided_and_noisy_in_training_only(layout: FeatureLayout, random_ids: Ids) -> None:
    """Two passes differ in training, and set a penalty; predictions do not."""
    net = built(layout, "aesm2")
    ids_NC = torch.from_numpy(random_ids(30))
    net.eval()
    assert torch.equal(net(ids_NC), net(ids_NC))
    assert net.penalty == 0.0
    net.train()
    assert not torch.equal(net(ids_NC), net(ids_NC))
    assert torch.as_tensor(net.penalty).item() > 0
    net.eval()
    assert net.penalty == 0.0
    torch.testing.assert_close(deepcopy(net)(ids_NC), net(ids_NC))
