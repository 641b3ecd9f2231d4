from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from models.nets.config import KINDS, TeacherConfig, TeacherKind
from models.nets.embedding import FeatureLayout
from models.nets.experts import TransformerBlock
from models.nets.teacher import build_teacher
from models.nets.weight_sets import Weights, predict_moments, runs_batched, stack_weights


@pytest.mark.parametrize("batched", [True, False])
def test_moments_of_probabilities_over_weight_sets(batched: bool) -> None:
    """Mean and deviation (divisor M) of the samples' probabilities, batch after batch."""
    net = nn.Linear(2, 1)
    samples = [
        {"weight": torch.tensor([[slope, 0.0]]), "bias": torch.tensor([0.5])}
        for slope in (-1.0, 0.0, 2.0)
    ]
    x_N = np.linspace(-3, 3, 5000)
    x_NI = torch.from_numpy(np.stack([x_N, np.ones(5000)], axis=1)).float()
    seen: list[int] = []
    mean_NT, std_NT = predict_moments(net, samples, x_NI, batched=batched, on_batch=seen.append)
    probabilities = np.array([1 / (1 + np.exp(-(slope * x_N + 0.5))) for slope in (-1.0, 0.0, 2.0)])
    np.testing.assert_allclose(mean_NT[:, 0], probabilities.mean(0), atol=1e-6)
    np.testing.assert_allclose(std_NT[:, 0], probabilities.std(0), atol=1e-6)
    assert sum(seen) == 5000
    assert len(seen) > 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("experts", ["mlp", "transformer"])
@pytest.mark.parametrize("embedding_takes_part", [True, False])
def test_the_batched_call_equals_the_loop(
    layout: FeatureLayout,
    random_ids: Callable[[int], np.ndarray],
    kind: TeacherKind,
    experts: str,
    embedding_takes_part: bool,
) -> None:
    """All sets at once predict what they predict one by one, whether they share tensors or not."""
    torch.manual_seed(3)
    net = build_teacher(
        layout, 3, TeacherConfig(kind, experts, embedding=4, expert=6, tower=3, heads=2)
    )
    net.eval()
    own = dict(net.named_parameters())
    table = own["embedding.table_RD"].detach() * 30
    samples: list[Weights] = []
    for _ in range(3):
        drawn = {name: weight + torch.randn_like(weight) / 5 for name, weight in own.items()}
        samples.append(drawn if embedding_takes_part else drawn | {"embedding.table_RD": table})
    stacked, shared = stack_weights(samples)
    assert list(shared) == ([] if embedding_takes_part else ["embedding.table_RD"])
    attends = any(isinstance(module, TransformerBlock) for module in net.modules())
    assert runs_batched(net, stacked, shared) == (not embedding_takes_part and not attends)
    ids_NC = torch.from_numpy(random_ids(300))
    together = predict_moments(net, samples, ids_NC, batched=True)
    alone = predict_moments(net, samples, ids_NC, batched=False)
    for batched_NT, looped_NT in zip(together, alone, strict=True):
        torch.testing.assert_close(batched_NT, looped_NT, atol=1e-5, rtol=1e-4)
    assert together[1].min() > 1e-4
