"""Automatic expert selection for several scenarios and tasks (AESM2, Zou et al., SIGIR 2022).

N requests, E experts of a layer, G groups of a layer (scenarios or tasks), H expert width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.backbone import Backbone, Shape, of_scenario
from models.nets.config import TeacherConfig
from models.nets.experts import MlpExperts
from models.nets.parallel import ParallelLinear

NOISE = 0.01
"""Deviation of the gates' noise in training, per expert of the layer (eq. 8: proportional)."""


class Aesm2(Backbone):
    """Scenario layers, one per scenario feature, below task layers; experts are selected in each.

    A layer has ``shared_experts`` + T experts. Without scenarios there is one layer of one group.
    """

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        counts, width = shape.scenarios or (1,), config.embedding
        experts = config.shared_experts + shape.tasks
        self.vectors = nn.ParameterList(torch.randn(count, width) * 0.05 for count in counts)
        self.task_vectors_TD = nn.Parameter(torch.randn(shape.tasks, width) * 0.05)
        self.scenario_experts = nn.ModuleList(
            self.make_experts(experts) if level == 0 else _upper(experts, config.expert)
            for level in range(len(counts))
        )
        self.scenario_gates = nn.ModuleList(
            ParallelLinear(count, self.inputs + width * (level + 1), experts)
            for level, count in enumerate(counts)
        )
        self.task_experts = nn.ModuleList(
            _upper(experts, config.expert) for _ in range(config.levels)
        )
        self.task_gates = nn.ModuleList(
            ParallelLinear(shape.tasks, self.inputs + width * (len(counts) + 1), experts)
            for _ in range(config.levels)
        )

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        if not self.shape.scenarios:
            scenarios_NL = torch.zeros(len(x_NI), 1, dtype=torch.int64, device=x_NI.device)
        penalties: list[Tensor] = []
        known_N, values = x_NI, x_NI
        layers = zip(self.vectors, self.scenario_experts, self.scenario_gates, strict=True)
        for (vectors_SD, experts, gate), at_N in zip(layers, scenarios_NL.T, strict=True):
            known_N = torch.cat([known_N, functional.embedding(at_N, vectors_SD)], dim=1)
            gates_GNE = self._noisy(gate(known_N.expand(len(vectors_SD), -1, -1)))
            own_1NE, penalty = self._selected(gates_GNE, at_N.unsqueeze(0))
            penalties.append(penalty)
            values = torch.einsum("gne,enh->gnh", own_1NE, experts(values)).squeeze(0)
        tasks, rows = self.shape.tasks, len(x_NI)
        at_TN = torch.arange(tasks, device=x_NI.device).unsqueeze(1).expand(-1, rows)
        known_TN = torch.cat(
            [
                known_N.expand(tasks, -1, -1),
                self.task_vectors_TD.unsqueeze(1).expand(-1, rows, -1),
            ],
            dim=2,
        )
        values_TNH = values.expand(tasks, -1, -1)
        for experts, gate in zip(self.task_experts, self.task_gates, strict=True):
            own_TNE, penalty = self._selected(self._noisy(gate(known_TN)), at_TN)
            penalties.append(penalty)
            read_ETNH = experts(values_TNH.flatten(0, 1)).unflatten(1, (tasks, rows))
            values_TNH = torch.einsum("tne,etnh->tnh", own_TNE, read_ETNH)
        if self.training:
            self.penalty = self.config.selection_weight * torch.stack(penalties).sum()
        return values_TNH

    def _noisy(self, gates_GNE: Tensor) -> Tensor:
        if not self.training:
            return gates_GNE
        return gates_GNE + torch.randn_like(gates_GNE) * NOISE * gates_GNE.shape[2]

    def _selected(self, gates_GNE: Tensor, at_QN: Tensor) -> tuple[Tensor, Tensor]:
        """Gates of Q groups over their selected experts, (Q, N, E), and the guiding loss.

        Args:
            gates_GNE: Relevance of each expert for each group (eq. 7).
            at_QN: The groups that are asked for, by request.
        """
        logs_GNE = gates_GNE.log_softmax(0)  # eq. 9: over the groups of each expert
        to_shared_NE = -logs_GNE.mean(0) - torch.log(torch.tensor(float(len(logs_GNE))))
        gates, penalties = [], []
        for at_N in at_QN:
            to_specific_NE = -of_scenario(logs_GNE, at_N)  # KL of a one-hot vector, eq. 11
            specific_NE = self._least(to_specific_NE)
            shared_NE = self._least(to_shared_NE)
            taken_NE = specific_NE | shared_NE
            own_NE = of_scenario(gates_GNE, at_N).masked_fill(~taken_NE, -torch.inf)  # eq. 14
            gates.append(own_NE.softmax(1))
            guided_NE = to_specific_NE * specific_NE + to_shared_NE * shared_NE
            penalties.append(guided_NE.sum(1).mean())  # eq. 20, 21
        return torch.stack(gates), torch.stack(penalties).sum()

    def _least(self, distances_NE: Tensor) -> Tensor:
        """Which experts are the nearest ones, (N, E); eq. 10, 12."""
        count = min(self.config.selected, distances_NE.shape[1])
        nearest_NK = distances_NE.topk(count, dim=1, largest=False).indices
        return functional.one_hot(nearest_NK, distances_NE.shape[1]).sum(1) > 0


def _upper(count: int, width: int) -> MlpExperts:
    """Experts that read what the layer below gives."""
    return MlpExperts(count, width, width, keep_scale=True)
