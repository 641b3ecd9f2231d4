"""Star topology adaptive recommender (Sheng et al., CIKM 2021).

N requests, I inputs, S scenarios, H expert width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.backbone import Backbone, Scenarios, Shape, of_scenario
from models.nets.config import TeacherConfig


class Star(Backbone):
    """Two layers whose weights are a shared centre times those of the scenario (their eq. 6, 7).

    Inputs are normalised per scenario. Batch statistics fit one set of weights only, so that is a
    layer normalisation with a gain and shift of the scenario, in place of their partitioned batch
    normalisation. The auxiliary net reads the scenario's vector with the request; it adds to the
    values that the towers read, in place of the logit, since there are several tasks.
    """

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        width = config.expert
        self.scenarios = Scenarios(shape.scenarios)
        count = self.scenarios.count
        self.gain_SI = nn.Parameter(torch.ones(count, self.inputs))
        self.shift_SI = nn.Parameter(torch.zeros(count, self.inputs))
        self.layer_in = StarLinear(count, self.inputs, width)
        self.layer_out = StarLinear(count, width, width)
        self.vectors_SD = nn.Parameter(torch.randn(count, config.embedding) * 0.05)
        self.auxiliary = nn.Linear(self.inputs + config.embedding, width)

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        at_N = self.scenarios(scenarios_NL)
        normal_NI = functional.layer_norm(x_NI, x_NI.shape[1:])
        normal_NI = normal_NI * functional.embedding(at_N, self.gain_SI)
        normal_NI = normal_NI + functional.embedding(at_N, self.shift_SI)
        values_NH = self.layer_out(self.layer_in(normal_NI, at_N).relu(), at_N).relu()
        known_N = torch.cat([x_NI, functional.embedding(at_N, self.vectors_SD)], dim=1)
        values_NH = values_NH + self.auxiliary(known_N).relu()
        tasks_TNH: Tensor = values_NH.expand(self.shape.tasks, -1, -1)
        return tasks_TNH


class StarLinear(nn.Module):
    """A linear layer with the weights W * W_s and the bias b + b_s."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.centre = nn.Linear(inputs, outputs)
        self.weight_SIO = nn.Parameter(torch.ones(count, inputs, outputs))
        self.bias_S1O = nn.Parameter(torch.zeros(count, 1, outputs))

    def forward(self, x_NI: Tensor, scenarios_N: Tensor) -> Tensor:
        """Outputs of shape (N, O)."""
        weight_SIO = self.weight_SIO * self.centre.weight.T
        bias_S1O = self.bias_S1O + self.centre.bias
        all_SNO = torch.baddbmm(bias_S1O, x_NI.expand(len(weight_SIO), -1, -1), weight_SIO)
        return of_scenario(all_SNO, scenarios_N)
