import torch

from models.nets.config import TeacherConfig
from models.nets.kinds.apem import ANNEALING_STEPS, Generator, dynamic_activation, selected


def test_the_dynamic_activation_rises_from_0_to_1_over_gamma() -> None:
    """Equation 13: 0 below, 1/2 in the middle, 1 above, and the cubic between."""
    gamma = torch.tensor(4.0)
    z = torch.tensor([-9.0, -2.0, -1.0, 0.0, 1.0, 2.0, 9.0])
    cubic = -2 / 64 * 1.0 + 3 / 8 * 1.0 + 0.5
    expected = torch.tensor([0.0, 0.0, 1 - cubic, 0.5, cubic, 1.0, 1.0])
    torch.testing.assert_close(dynamic_activation(z, gamma), expected)


def test_the_activation_becomes_a_step_in_training_only() -> None:
    """Gamma falls with the steps taken in training; predictions change nothing."""
    torch.manual_seed(0)
    generator = Generator(5, TeacherConfig("apem", embedding=4, expert=8, inducing=3))
    h_NFD = torch.randn(10, 5, 4)
    generator.eval()
    before = generator(h_NFD)
    torch.testing.assert_close(generator(h_NFD), before)
    generator.train()
    for _ in range(3):
        generator(h_NFD)
    assert int(generator.steps) == 3
    generator.steps.fill_(ANNEALING_STEPS)
    generator.eval()
    assert not torch.equal(generator(h_NFD), before)


def test_inducing_points_that_are_switched_off_ask_nothing() -> None:
    """A selector of 0 makes a point's query 0, so it reads the mean of all features (eq. 14)."""
    torch.manual_seed(1)
    config = TeacherConfig("apem", embedding=4, expert=8, inducing=3)
    generator = Generator(5, config).eval()
    with torch.no_grad():
        generator.steps.fill_(ANNEALING_STEPS)
        generator.selector_out.weight.zero_()
        generator.selector_out.bias.copy_(torch.tensor([-1.0, 1.0, -1.0]))
    h_NFD = torch.randn(10, 5, 4)
    out_NKD = generator(h_NFD)
    values_NFD = generator.keys_values(h_NFD)[:, :, 4:]
    mean_ND = generator.norm(generator.mix(values_NFD.mean(1)))
    torch.testing.assert_close(out_NKD[:, 0], mean_ND, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(out_NKD[:, 2], mean_ND, atol=1e-5, rtol=1e-4)
    assert (out_NKD[:, 1] - mean_ND).abs().max() > 1e-2


def test_a_selector_reads_what_its_indicator_asks_for() -> None:
    """A long indicator along one point's direction reads that point (eq. 18)."""
    y_NKD = torch.eye(4).expand(2, 4, 4)
    found_NTD = selected(torch.eye(4)[[2, 0]] * 200, y_NKD)
    torch.testing.assert_close(found_NTD, torch.eye(4)[[2, 0]].expand(2, 2, 4))
