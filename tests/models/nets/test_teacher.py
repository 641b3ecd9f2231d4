from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.nets.config import KINDS, TeacherConfig, TeacherKind
from models.nets.embedding import FeatureLayout
from models.nets.teacher import build_teacher

ANY_KIND = pytest.mark.parametrize("kind", KINDS)


def tiny(kind: TeacherKind) -> TeacherConfig:
    return TeacherConfig(kind, embedding=4, expert=8, tower=4, heads=2, shared_experts=2)


@ANY_KIND
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_every_kind_has_a_logit_per_task(
    layout: FeatureLayout, random_ids: Callable[[int], np.ndarray], kind: TeacherKind, tasks: int
) -> None:
    """Any number of tasks; logits start at what they are told, and depend on the request."""
    net = build_teacher(layout, tasks, tiny(kind), outputs=2)
    net.start_at(torch.arange(2.0 * tasks).view(tasks, 2) * 100)
    outputs_NTO = net.outputs(torch.from_numpy(random_ids(40)))
    assert outputs_NTO.shape == (40, tasks, 2)
    torch.testing.assert_close(
        outputs_NTO.mean(0), torch.arange(2.0 * tasks).view(tasks, 2) * 100, atol=5.0, rtol=0
    )
    assert outputs_NTO.std(0).max() > 0


@ANY_KIND
def test_a_requests_logits_do_not_depend_on_its_batch(
    layout: FeatureLayout, random_ids: Callable[[int], np.ndarray], kind: TeacherKind
) -> None:
    """A request alone has the logits that it has among others: experts and rows are not mixed."""
    torch.manual_seed(2)
    net = build_teacher(layout, 3, tiny(kind))
    with torch.no_grad():
        net.embedding.table_RD.mul_(20)
    ids_NC = torch.from_numpy(random_ids(17))
    together_NT = net(ids_NC)
    alone_NT = torch.cat([net(ids_1C) for ids_1C in ids_NC.split(1)])
    torch.testing.assert_close(together_NT, alone_NT, atol=1e-5, rtol=1e-4)
    assert together_NT.std(0).min() > 1e-3


def test_what_cannot_be_built_is_refused(layout: FeatureLayout) -> None:
    """An unknown kind, or an embedding that the heads do not divide, is an error that says so."""
    with pytest.raises(ValueError, match="'rnn' is unknown"):
        build_teacher(layout, 2, TeacherConfig("rnn"))
    with pytest.raises(ValueError, match="embedding 4 is not a multiple of 3"):
        build_teacher(layout, 2, TeacherConfig("transformer", embedding=4, heads=3))
