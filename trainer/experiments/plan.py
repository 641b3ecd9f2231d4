"""Plans of a run: the full one, and a quick one that runs every part on few rows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from models.nets.config import TeacherConfig
from trainer.experiments.data import SETTINGS, Sizes
from trainer.simulation.funnel import RATES_T
from trainer.training.config import TrainConfig

Rates = tuple[float, float, float, float]
TEACHERS: Final[Mapping[str, tuple[str, str]]] = {
    "mlp": ("shared-bottom", "mlp"),
    "transformer": ("shared-bottom", "transformer"),
    "ple-mlp": ("cgc", "mlp"),
    "ple-transformer": ("cgc", "transformer"),
}
"""The teachers of the DAUM paper's Table I by their names there: kind of net and of experts."""
PAPER: Final = "ple-transformer"
"""The paper's teacher."""


def sized(net: TeacherConfig, teacher: str) -> TeacherConfig:
    """The net with the kinds of a teacher of ``TEACHERS``, and its own sizes."""
    kind, experts = TEACHERS[teacher]
    return replace(net, kind=kind, experts=experts)


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes, seeds and parameters of a run.

    Attributes:
        preset: ``full`` or ``quick``.
        seeds: Number of seeds; a seed determines a world and everything random in training.
        transformer_seeds: Number of seeds for the kinds with Transformer experts.
        shape_seeds: Number of seeds for the rounds and for worlds of other shapes.
        teacher: The teacher of the sweeps, a name of ``TEACHERS``.
        config: Configuration of the training.
        sizes: Rows of a world.
        kind_rows: Training rows of Table I.
        sweep_rows: Training rows of the sweeps of shapes and sensitivity.
        sweep_test: Test rows of these sweeps, of the rounds, and of Table I.
        settings: Settings in which every method is evaluated.
        teachers: Teachers of Table I.
        rate: Intercepted share r.
        share: Direct passes, as a share of all requests.
        balanced_ratios: Passing ratios of Table II for the balanced task.
        sparse_ratios: Passing ratios of Table II for the sparse task.
        ratios: Passing ratios of Figures 2 to 4.
        rounds: Rounds of select-and-retrain.
        round_rows: Requests of a round.
        shared: Strengths of correlation between tasks (see ``FunnelShape``).
        sparsity: Base rates per level.
        snapshots: Values of k, the number of snapshots, in the sensitivity sweep.
        samples: Values of M, the number of samples, in the sensitivity sweep.
        scales: Covariance scales in the sensitivity sweep.
        timing_rounds: Rounds in which teachers and student are timed alternately.
    """

    preset: str
    seeds: int
    transformer_seeds: int = 3
    shape_seeds: int = 5
    teacher: str = "ple-mlp"
    config: TrainConfig = field(default_factory=TrainConfig)
    sizes: Sizes = Sizes(train=100_000, small=20_000, unlabelled=200_000, valid=20_000, test=40_000)
    kind_rows: int = 30_000
    sweep_rows: int = 20_000
    sweep_test: int = 20_000
    settings: tuple[str, ...] = SETTINGS
    teachers: tuple[str, ...] = tuple(TEACHERS)
    rate: float = 0.8
    share: float = 0.05
    balanced_ratios: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2)
    sparse_ratios: tuple[float, ...] = (0.0, 0.005, 0.01, 0.015, 0.02)
    ratios: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
    rounds: int = 3
    round_rows: int = 20_000
    shared: tuple[float, ...] = (0.0, 0.5, 0.9)
    sparsity: tuple[tuple[str, Rates], ...] = (
        ("dense", (0.61, 0.57, 0.2, 0.12)),
        ("as_is", RATES_T),
        ("sparse", (0.15, 0.57, 0.016, 0.006)),
    )
    snapshots: tuple[int, ...] = (3, 5, 10, 20)
    samples: tuple[int, ...] = (5, 10, 20, 50)
    scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    timing_rounds: int = 10

    @classmethod
    def full(cls, seeds: int, teacher: str) -> "Plan":
        """The plan behind docs/experiments.md."""
        config = TrainConfig()
        config = replace(config, net=sized(config.net, teacher))
        return cls("full", seeds, teacher=teacher, config=config)

    @classmethod
    def quick(cls, seeds: int, teacher: str) -> "Plan":
        """A plan that runs every part on few rows; its figures are meaningless."""
        config = TrainConfig().quick()
        config = replace(
            config,
            net=sized(config.net, teacher),
            teacher=replace(
                config.teacher, epochs=1, snapshots=3, snapshots_per_epoch=3, samples=4
            ),
            distillation=replace(config.distillation, epochs=1, min_steps=60),
        )
        return cls(
            "quick",
            seeds,
            transformer_seeds=2,
            shape_seeds=2,
            teacher=teacher,
            config=config,
            sizes=Sizes(train=1500, small=800, unlabelled=1000, valid=900, test=1000),
            kind_rows=500,
            sweep_rows=700,
            sweep_test=1000,
            rounds=1,
            round_rows=500,
            shared=(0.0, 0.9),
            sparsity=(("dense", (0.61, 0.57, 0.2, 0.12)),),
            snapshots=(2, 3),
            samples=(2, 4),
            scales=(0.5, 1.0),
            timing_rounds=2,
        )

    def fingerprint(self, source: str) -> str:
        """Everything that determines a unit's results except its seed; seeds may be added later."""
        values: dict[str, Any] = asdict(replace(self, seeds=0, transformer_seeds=0, shape_seeds=0))
        return json.dumps({"source": source, **values}, sort_keys=True)
