"""Adaptive pattern extraction multi-task learning (APEM).

N requests, F features, D embedding width, K inducing points, T tasks, H expert width.
"""

import torch
from torch import Tensor, nn

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig
from models.nets.parallel import ParallelLinear

SHARPEST = 1e-3
WIDEST = 10.0
ANNEALING_STEPS = 2_000
"""Gamma falls from 10 to 0.001 over so many steps (section 3.1; 500,000 there)."""


class Apem(Backbone):
    """Levels of adaptive sample-wise representation generators, each read by a pattern selector.

    Equation 17 adds the input H to the attention's output, whose shapes are F x D and K x D. Here
    the residual is the query, as in the Set Transformer's attention block that it is taken from.
    """

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        width = config.embedding
        tokens = [shape.features] + [config.inducing] * (config.levels - 1)
        self.generators = nn.ModuleList(Generator(count, config) for count in tokens)
        self.indicators_LTD = nn.Parameter(torch.randn(config.levels, shape.tasks, width) * 0.1)
        self.selector_norms = nn.ModuleList(nn.LayerNorm(width) for _ in tokens)
        self.readout = ParallelLinear(shape.tasks, width, config.expert)

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        y_NKD = x_NI.view(len(x_NI), -1, self.config.embedding)
        tasks_NTD = torch.zeros(1)
        for number, (generator, norm) in enumerate(
            zip(self.generators, self.selector_norms, strict=True)
        ):
            y_NKD = generator(y_NKD)
            found_NTD = selected(self.indicators_LTD[number], y_NKD)
            tasks_NTD = norm(found_NTD if number == 0 else tasks_NTD + found_NTD)
        read_TNH: Tensor = self.readout(tasks_NTD.transpose(0, 1)).relu()
        return read_TNH


def selected(indicators_TD: Tensor, y_NKD: Tensor) -> Tensor:
    """The explicit pattern selector: attention of a task's indicator over the points (eq. 18)."""
    scale = y_NKD.shape[2] ** -0.5
    shares_NTK = (torch.einsum("td,nkd->ntk", indicators_TD, y_NKD) * scale).softmax(2)
    read_NTD: Tensor = shares_NTK @ y_NKD
    return read_NTD


class Generator(nn.Module):
    """The adaptive sample-wise representation generator: (N, F, D) to (N, K, D); eq. 11 to 17.

    Args:
        tokens: F, the number of vectors that it reads.
        config: Sizes; ``inducing`` is K.
    """

    steps: Tensor

    def __init__(self, tokens: int, config: TeacherConfig) -> None:
        super().__init__()
        width, points = config.embedding, config.inducing
        if width % config.heads:
            raise ValueError(
                f"teacher: embedding {width} is not a multiple of {config.heads} attention heads"
            )
        self.heads = config.heads
        self.selector_in = nn.Linear(tokens * width, config.expert)
        self.selector_out = nn.Linear(config.expert, points)
        self.inducing_KD = nn.Parameter(torch.randn(points, width) * 0.5)
        self.keys_values = nn.Linear(width, 2 * width, bias=False)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, h_NFD: Tensor) -> Tensor:
        """The representation, (N, K, D)."""
        gamma = (WIDEST * (1 - self.steps / ANNEALING_STEPS)).clamp(min=SHARPEST)
        if self.training:
            self.steps += 1
        z_NK = self.selector_out(self.selector_in(h_NFD.flatten(1)).relu())
        queries_NKD = self.inducing_KD * dynamic_activation(z_NK, gamma).unsqueeze(2)
        keys_NFD, values_NFD = self.keys_values(h_NFD).chunk(2, dim=2)
        q_NKMd, k_NFMd, v_NFMd = (
            part.unflatten(2, (self.heads, -1)) for part in (queries_NKD, keys_NFD, values_NFD)
        )
        scale = q_NKMd.shape[3] ** -0.5
        shares_NMKF = (torch.einsum("nkmd,nfmd->nmkf", q_NKMd, k_NFMd) * scale).softmax(3)
        read_NKD = torch.einsum("nmkf,nfmd->nkmd", shares_NMKF, v_NFMd).flatten(2)
        out_NKD: Tensor = self.norm(queries_NKD + self.mix(read_NKD))
        return out_NKD


def dynamic_activation(z: Tensor, gamma: Tensor) -> Tensor:
    """A step from 0 to 1 over an interval of length gamma, once differentiable (eq. 13)."""
    z = z.clamp(-gamma / 2, gamma / 2)
    return -2 / gamma**3 * z**3 + 3 / (2 * gamma) * z + 0.5
