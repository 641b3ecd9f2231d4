from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from models.nets.config import EXPERTS, INTERACTIONS, KINDS, TeacherConfig, TeacherKind
from models.nets.embedding import FeatureLayout
from models.nets.teacher import TeacherNet, build_teacher

ANY_KIND = pytest.mark.parametrize("kind", KINDS)
Ids = Callable[[int], np.ndarray]
SCENARIOS = ("site", "app")


def tiny(kind: TeacherKind, **fields: object) -> TeacherConfig:
    sizes = TeacherConfig(
        kind, embedding=4, expert=16, tower=8, heads=2, shared_experts=2, scenario=SCENARIOS
    )
    return replace(sizes, **fields)


def evaluated(net: TeacherNet) -> TeacherNet:
    """The net with vectors large enough to matter, as it predicts."""
    with torch.no_grad():
        net.embedding.table_RD.mul_(20)
    return net.eval()


@ANY_KIND
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_every_kind_has_a_logit_per_task(
    layout: FeatureLayout, random_ids: Ids, kind: TeacherKind, tasks: int
) -> None:
    """Any number of tasks; logits start at what they are told, and depend on the request."""
    torch.manual_seed(1)
    net = build_teacher(layout, tasks, tiny(kind), outputs=2)
    net.start_at(torch.arange(2.0 * tasks).view(tasks, 2) * 100)
    outputs_NTO = net.outputs(torch.from_numpy(random_ids(40)))
    assert outputs_NTO.shape == (40, tasks, 2)
    torch.testing.assert_close(
        outputs_NTO.mean(0), torch.arange(2.0 * tasks).view(tasks, 2) * 100, atol=5.0, rtol=0
    )
    assert outputs_NTO.std(0).max() > 0


@ANY_KIND
@pytest.mark.parametrize("experts", EXPERTS)
@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_a_requests_logits_do_not_depend_on_its_batch(
    layout: FeatureLayout, random_ids: Ids, kind: TeacherKind, experts: str, interaction: str
) -> None:
    """A request alone has the logits that it has among others: experts and rows are not mixed."""
    torch.manual_seed(2)
    config = tiny(kind, experts=experts, interaction=interaction, numeric="periodic")
    net = evaluated(build_teacher(layout, 3, config))
    ids_NC = torch.from_numpy(random_ids(17))
    together_NT = net(ids_NC)
    alone_NT = torch.cat([net(ids_1C) for ids_1C in ids_NC.split(1)])
    torch.testing.assert_close(together_NT, alone_NT, atol=1e-6, rtol=1e-4)
    assert together_NT.std(0).min() > 1e-4


@ANY_KIND
def test_every_weight_is_trained(layout: FeatureLayout, random_ids: Ids, kind: TeacherKind) -> None:
    """Each parameter has a gradient from some task's logit, or from the penalty."""
    torch.manual_seed(4)
    config = tiny(kind, levels=3, numeric="periodic", interaction="cross")
    net = build_teacher(layout, 3, config).train()
    logits_NT = net(torch.from_numpy(random_ids(400)))
    (logits_NT.square().sum() + net.penalty).backward()
    untouched = [name for name, weight in net.named_parameters() if not touched(weight)]
    assert untouched == []


def touched(weight: Tensor) -> bool:
    return weight.grad is not None and bool(weight.grad.any())


@pytest.mark.parametrize("kind", ["star", "hmoe", "aesm2"])
def test_scenarios_are_told_apart(
    layout: FeatureLayout, random_ids: Ids, kind: TeacherKind
) -> None:
    """Only the column of the scenario changes, and its vector is the same: the logits differ."""
    torch.manual_seed(5)
    net = evaluated(build_teacher(layout, 2, tiny(kind)))
    with torch.no_grad():
        net.embedding.table_RD[:8] = 0.5  # all sites look alike
        for weight in net.backbone.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    ids_NC = torch.from_numpy(random_ids(60))
    by_site = [ids_NC.clone() for _ in range(3)]
    for site, ids in enumerate(by_site, 1):
        ids[:, layout.single("site").column] = site
    logits = [net(ids) for ids in by_site]
    if kind == "hmoe":  # the scenario says which expert is trained, not how it is read
        assert all(torch.equal(one, other) for one, other in pairwise(logits))
    else:
        assert all((one - other).abs().max() > 1e-4 for one, other in pairwise(logits))


def test_what_cannot_be_built_is_refused(layout: FeatureLayout) -> None:
    """An error says which name or number is wrong, and what would do."""
    with pytest.raises(ValueError, match="'rnn' is unknown"):
        build_teacher(layout, 2, TeacherConfig("rnn"))
    odd = TeacherConfig("shared-bottom", experts="transformer", embedding=4, heads=3)
    with pytest.raises(ValueError, match="embedding 4 is not a multiple of 3"):
        build_teacher(layout, 2, odd)
    with pytest.raises(ValueError, match=r"teacher\.scenario: 'sote' .*did you mean 'site'"):
        build_teacher(layout, 2, TeacherConfig("star", scenario=("sote",)))
    with pytest.raises(ValueError, match=r"site, app, floor give 384 scenarios, more than 64"):
        build_teacher(layout, 2, TeacherConfig("star", scenario=("site", "app", "floor")))
