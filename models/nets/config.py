"""Kinds and sizes of the nets, apart from the nets: what is configured needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from models.choices import chosen_from

TEACHERS: Final[Mapping[str, str]] = {
    "mlp": "models.nets.backbones:mlp",
    "transformer": "models.nets.backbones:transformer",
    "ple-mlp": "models.nets.backbones:ple_mlp",
    "ple-transformer": "models.nets.backbones:ple_transformer",
}
"""The kinds of teacher: the function behind each makes its backbone."""
KINDS: Final = tuple(TEACHERS)
TeacherKind = Annotated[str, chosen_from(TEACHERS)]


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Kind and sizes of the teacher.

    Attributes:
        kind: A name of ``TEACHERS``. "mlp" and "transformer" have one expert for all tasks, the
            "ple" ones gated experts.
        embedding: Width of a feature's vector.
        shared_experts: Experts that all tasks share (ple).
        expert: Width of an expert (H): of both layers of an MLP, of a Transformer's read-out.
        tower: Width of a task's tower (W).
        heads: Attention heads (transformer).
        blocks: Transformer blocks (transformer).
        dropout: Share of units dropped in training, before and after the towers' first layer.
    """

    kind: TeacherKind = "ple-mlp"
    embedding: int = 8
    shared_experts: int = 3
    expert: int = 32
    tower: int = 16
    heads: int = 1
    blocks: int = 1
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Sizes of the student.

    Attributes:
        embedding: Width of a feature's vector.
        hidden: Widths of the hidden layers.
    """

    embedding: int = 6
    hidden: tuple[int, ...] = (96, 48)


Target = Literal["mean", "log_variance", "rank", "quantile"]
"""Target of the student's uncertainty head; see :mod:`models.nets.scale`."""
