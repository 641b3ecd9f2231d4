from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from models.nets.experts import MlpExperts, TransformerBlock, TransformerExperts

MAKERS: list[Callable[[int], nn.Module]] = [
    partial(MlpExperts, inputs=12, width=5),
    partial(TransformerExperts, features=3, embedding=4, width=5, heads=2, blocks=2),
]


@pytest.mark.parametrize("make", MAKERS, ids=["mlp", "transformer"])
def test_an_expert_does_not_depend_on_the_others(make: Callable[[int], nn.Module]) -> None:
    """Three experts together compute what each of them does alone."""
    experts, x_NI = make(3), torch.randn(7, 12)
    together_ENH = experts(x_NI)
    assert together_ENH.shape == (3, 7, 5)
    for number in range(3):
        alone = make(1)
        alone.load_state_dict(
            {name: value.chunk(3)[number] for name, value in experts.state_dict().items()}
        )
        torch.testing.assert_close(alone(x_NI)[0], together_ENH[number])


def test_the_embedding_must_be_a_multiple_of_the_heads() -> None:
    """The message has both figures."""
    with pytest.raises(ValueError, match="embedding 4 is not a multiple of 3"):
        TransformerBlock(1, 4, 3)
