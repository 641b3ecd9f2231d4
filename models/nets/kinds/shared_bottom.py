"""One expert for all tasks (Caruana 1997, Multitask Learning)."""

from torch import Tensor

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig


class SharedBottom(Backbone):
    """All tasks read the same values; only their towers differ."""

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        self.experts = self.make_experts(1)

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        experts_1NH: Tensor = self.experts(x_NI)
        return experts_1NH.expand(self.shape.tasks, -1, -1)
