"""Kinds and sizes of the nets, apart from the nets: what is configured needs no torch."""

from dataclasses import dataclass
from typing import Literal, get_args

TeacherKind = Literal["mlp", "transformer", "ple-mlp", "ple-transformer"]
KINDS: tuple[TeacherKind, ...] = get_args(TeacherKind)


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Kind and sizes of the teacher.

    Attributes:
        kind: "mlp" and "transformer" have one expert for all tasks, the "ple" ones gated experts.
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
