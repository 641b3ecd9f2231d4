"""An expert per task on a shared embedding (the baseline of AESM2; the body of ESMM and ESCM2).

ESMM (Ma et al., SIGIR 2018) and ESCM2 (Wang et al., SIGIR 2022) have the same net: the embedding is
shared, and there is a net for each step of the funnel. What makes them is the objective,
``entire-space`` and ``counterfactual-dr``; see :mod:`trainer.training.objective`.
"""

from torch import Tensor

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig


class ParallelDnn(Backbone):
    """Tasks share the embedding, and nothing else."""

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        self.experts = self.make_experts(shape.tasks)

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        experts_TNH: Tensor = self.experts(x_NI)
        return experts_TNH
