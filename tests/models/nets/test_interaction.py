from itertools import combinations

import torch

from models.nets.config import TeacherConfig
from models.nets.interaction import CrossNetwork, FactorizationMachine, SelfAttention

CONFIG = TeacherConfig(embedding=4, heads=2)
FEATURES = 5


def test_fm_appends_the_sum_of_products_of_all_pairs() -> None:
    """The closed form is the sum over pairs; the features' own vectors stay."""
    x_NI = torch.randn(7, FEATURES * 4)
    net = FactorizationMachine(FEATURES, CONFIG)
    out_NFD = net(x_NI).unflatten(1, (-1, 4))
    vectors = x_NI.unflatten(1, (-1, 4))
    torch.testing.assert_close(out_NFD[:, :FEATURES], vectors)
    pairs = sum(vectors[:, i] * vectors[:, j] for i, j in combinations(range(FEATURES), 2))
    torch.testing.assert_close(out_NFD[:, FEATURES], pairs, atol=1e-5, rtol=1e-4)
    assert net.out_features == FEATURES + 1


def test_cross_layers_are_those_of_dcn_v2() -> None:
    """x0 * (U V' x + b) + x, layer after layer."""
    net = CrossNetwork(FEATURES, CONFIG)
    x = torch.randn(7, FEATURES * 4)
    crossed = x
    for down, up in zip(net.down, net.up, strict=True):
        crossed = x * (crossed @ down.weight.T @ up.weight.T + up.bias) + crossed
    torch.testing.assert_close(net(x), crossed)


def test_attention_does_not_depend_on_the_order_of_features() -> None:
    """Swapping two features swaps their vectors, for one request as for a task's own embedding."""
    net = SelfAttention(FEATURES, CONFIG)
    x_NFD = torch.randn(7, FEATURES, 4)
    order = [3, 1, 2, 0, 4]
    straight = net(x_NFD.flatten(1)).unflatten(1, (-1, 4))
    swapped = net(x_NFD[:, order].flatten(1)).unflatten(1, (-1, 4))
    torch.testing.assert_close(straight[:, order], swapped, atol=1e-5, rtol=1e-4)
    both = net(x_NFD.flatten(1).expand(2, -1, -1))
    torch.testing.assert_close(both[1], net(x_NFD.flatten(1)), atol=1e-5, rtol=1e-4)
