"""The plan of a comparison of nets, and the space that each net is tuned in."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np

from models.errors import UserError
from models.nets.config import KINDS, TeacherConfig
from models.suggestions import did_you_mean
from trainer.experiments.data import Sizes
from trainer.training.config import TeacherTraining, TrainConfig

LEAST_RATE, MOST_RATE = 3e-4, 3e-3
"""Bounds of the learning rate, drawn on a logarithmic scale; its default is within."""
EMBEDDINGS: Final = (8, 12, 16)
WIDTHS: Final = (32, 48, 64)
DROPOUTS: Final = (0.0, 0.1)
DECAYS: Final = (0.01, 0.05, 0.2)
LEAVES: Final = (8, 16, 32, 64)
LEAST_LEAF: Final = (20, 50, 100, 300)
FEATURE_SHARES: Final = (0.2, 0.5, 0.8)


@dataclass(frozen=True, slots=True)
class ZooPlan:
    """Sizes, seeds and budgets of a comparison.

    Attributes:
        preset: ``full`` or ``quick``.
        seeds: Number of seeds; a seed determines a world and everything random in training.
        kinds: The nets.
        trials: Settings that are tried for each net, and for boosting, of which the lowest loss on
            the validation rows is taken. The first trial has the defaults.
        sizes: Rows of a world.
        rate: Intercepted share r at which the value passed is measured.
        config: Configuration that the trials vary.
    """

    preset: str = "full"
    seeds: int = 5
    kinds: tuple[str, ...] = KINDS
    trials: int = 4
    sizes: Sizes = Sizes(train=100_000, small=1_000, unlabelled=1_000, valid=20_000, test=40_000)
    rate: float = 0.8
    config: TrainConfig = field(default_factory=TrainConfig)

    @classmethod
    def quick(cls) -> "ZooPlan":
        """A plan that runs every part on few rows; its figures are meaningless."""
        config = TrainConfig().quick()
        teacher = replace(config.teacher, epochs=1, min_steps=10, snapshots=2, samples=2)
        return cls(
            preset="quick",
            seeds=2,
            trials=2,
            sizes=Sizes(train=1_500, small=500, unlabelled=500, valid=800, test=1_000),
            config=replace(config, teacher=replace(teacher, snapshots_per_epoch=2)),
        )

    def with_options(
        self,
        *,
        kinds: Sequence[str] = KINDS,
        seeds: int | None = None,
        trials: int | None = None,
        rows: int | None = None,
    ) -> "ZooPlan":
        """The plan with what was asked for; None keeps its own.

        Raises:
            UserError: If a kind is unknown.
        """
        for kind in kinds:
            if kind not in KINDS:
                raise UserError(f"--kinds: {kind!r} is unknown; {did_you_mean(kind, KINDS)}")
        sizes = self.sizes if rows is None else replace(self.sizes, train=rows)
        return replace(
            self,
            kinds=tuple(kinds),
            seeds=seeds or self.seeds,
            trials=trials or self.trials,
            sizes=sizes,
        )

    def fingerprint(self, source: str) -> str:
        """Everything that determines a unit's results but the seeds and kinds, which may grow."""
        values: dict[str, Any] = asdict(replace(self, seeds=0, kinds=()))
        return json.dumps({"source": source, **values}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Trial:
    """The settings of a net."""

    net: TeacherConfig
    training: TeacherTraining


def net_trials(plan: ZooPlan, kind: str, seed: int) -> list[Trial]:
    """The trials of a kind; the draws are those of every other kind under the same seed."""
    config = plan.config
    net = replace(config.net, kind=kind)
    trials = [Trial(net, config.teacher)]
    rng = np.random.default_rng([seed, 0x200])
    for _ in range(1, plan.trials):
        rate = float(np.exp(rng.uniform(np.log(LEAST_RATE), np.log(MOST_RATE))))
        ratio = config.teacher.swag_learning_rate / config.teacher.learning_rate
        drawn = replace(
            net,
            embedding=int(rng.choice(EMBEDDINGS)),
            expert=int(rng.choice(WIDTHS)),
            dropout=float(rng.choice(DROPOUTS)),
        )
        training = replace(
            config.teacher,
            learning_rate=rate,
            swag_learning_rate=ratio * rate,
            weight_decay=float(rng.choice(DECAYS)),
        )
        trials.append(Trial(drawn, training))
    return trials


def boosting_trials(plan: ZooPlan, seed: int) -> list[dict[str, Any]]:
    """Parameters of LightGBM that replace the default ones, as many trials as a net has."""
    rng = np.random.default_rng([seed, 0x201])
    drawn = [
        {
            "num_leaves": int(rng.choice(LEAVES)),
            "min_data_in_leaf": int(rng.choice(LEAST_LEAF)),
            "feature_fraction": float(rng.choice(FEATURE_SHARES)),
        }
        for _ in range(1, plan.trials)
    ]
    return [{}, *drawn]
