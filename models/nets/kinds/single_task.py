"""A net for each task alone: no weights are shared, the embedding neither."""

from typing import ClassVar

from torch import Tensor

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig


class SingleTask(Backbone):
    """One expert per task on that task's own embedding: what sharing is measured against."""

    embeddings_per_task: ClassVar[bool] = True

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        self.experts = self.make_experts(shape.tasks)

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H); ``x_NI`` is (T, N, I)."""
        del scenarios_NL
        experts_TNH: Tensor = self.experts(x_NI)
        return experts_TNH
