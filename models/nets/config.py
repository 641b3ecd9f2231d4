"""Kinds and sizes of the nets, apart from the nets: what is configured needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from models.choices import chosen_from, one_of

TEACHERS: Final[Mapping[str, str]] = {
    "single-task": "models.nets.kinds.single_task:SingleTask",
    "shared-bottom": "models.nets.kinds.shared_bottom:SharedBottom",
    "mmoe": "models.nets.kinds.mmoe:Mmoe",
    "cgc": "models.nets.kinds.cgc:Cgc",
    "ple": "models.nets.kinds.ple:Ple",
    "cross-stitch": "models.nets.kinds.cross_stitch:CrossStitch",
    "parallel-dnn": "models.nets.kinds.parallel_dnn:ParallelDnn",
    "esmm": "models.nets.kinds.parallel_dnn:ParallelDnn",
    "escm2": "models.nets.kinds.parallel_dnn:ParallelDnn",
    "aitm": "models.nets.kinds.aitm:Aitm",
    "apem": "models.nets.kinds.apem:Apem",
    "star": "models.nets.kinds.star:Star",
    "hmoe": "models.nets.kinds.hmoe:Hmoe",
    "aesm2": "models.nets.kinds.aesm2:Aesm2",
    "automtl": "models.nets.kinds.automtl:AutoMtl",
}
"""The kinds of teacher: the backbone of each, see :mod:`models.nets.backbone`."""
KINDS: Final = tuple(TEACHERS)
TeacherKind = Annotated[str, chosen_from(TEACHERS)]

EXPERTS: Final[Mapping[str, str]] = {
    "mlp": "models.nets.experts:mlp_experts",
    "transformer": "models.nets.experts:transformer_experts",
}
"""The architectures of an expert that reads the embedded request."""
Experts = Annotated[str, chosen_from(EXPERTS)]

INTERACTIONS: Final[Mapping[str, str]] = {
    "none": "models.nets.interaction:NoInteraction",
    "fm": "models.nets.interaction:FactorizationMachine",
    "cross": "models.nets.interaction:CrossNetwork",
    "attention": "models.nets.interaction:SelfAttention",
}
"""What combines the features' vectors before the backbone."""
Interaction = Annotated[str, chosen_from(INTERACTIONS)]

SEARCHED_INTERACTIONS: Final = ("none", "cross", "attention", "mlp")
"""Feature interactions that an architecture may have; see :mod:`models.nets.kinds.automtl`."""
BLOCKS: Final = ("skip", "gate", "mlp-16", "mlp-32", "mlp-64", "conv-3", "conv-5")
"""Blocks of an expert of an architecture."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A net that ``weir search`` found, or that was written by hand.

    Attributes:
        interaction: A name of ``SEARCHED_INTERACTIONS``.
        experts: For each expert its blocks, from the input on; names of ``BLOCKS``.
        selected: For each task the numbers of the experts that its gate mixes.
    """

    interaction: Literal["none", "cross", "attention", "mlp"] = "none"
    experts: tuple[tuple[Annotated[str, one_of(BLOCKS)], ...], ...] = (
        ("mlp-32",),
        ("gate", "mlp-32"),
    )
    selected: tuple[tuple[int, ...], ...] = ()


Numeric = Literal["buckets", "soft", "periodic"]
"""How numeric features are embedded; see :mod:`models.nets.numeric`."""


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Kind and sizes of the teacher.

    Attributes:
        kind: A name of ``TEACHERS``.
        experts: Architecture of the parts that read the embedded request; a name of ``EXPERTS``.
        interaction: What combines the features' vectors before; a name of ``INTERACTIONS``.
        numeric: How numeric features are embedded.
        scenario: Names of the features that say the scenario, from the coarsest to the finest; the
            kinds "star", "hmoe" and "aesm2" read them. All requests are one scenario without.
        embedding: Width of a feature's vector.
        shared_experts: Experts that all tasks share (mmoe, cgc, ple), or that are selected from
            (aesm2, per layer).
        levels: Levels of extraction (ple), of inducing points (apem), cross-stitched layers
            (cross-stitch), or task layers (aesm2).
        inducing: Inducing points per level (apem).
        selected: Specific experts, and as many shared ones, that are selected (aesm2).
        selection_weight: Weight of the loss that guides the selection (aesm2).
        expert: Width of an expert (H): of both layers of an MLP, of a Transformer's read-out.
        tower: Width of a task's tower (W).
        heads: Attention heads (transformer experts, apem, the interaction "attention").
        blocks: Transformer blocks (transformer experts).
        dropout: Share of units dropped in training, before and after the towers' first layer.
        architecture: The architecture (automtl).
    """

    kind: TeacherKind = "cgc"
    experts: Experts = "mlp"
    interaction: Interaction = "none"
    numeric: Numeric = "buckets"
    scenario: tuple[str, ...] = ()
    embedding: int = 8
    shared_experts: int = 3
    levels: Annotated[int, Field(ge=1)] = 2
    inducing: Annotated[int, Field(ge=1)] = 16
    selected: Annotated[int, Field(ge=1)] = 1
    selection_weight: float = 0.01
    expert: int = 32
    tower: int = 16
    heads: int = 1
    blocks: int = 1
    dropout: float = 0.0
    architecture: Architecture = Architecture()


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
