"""Sizes of the experiment on unseen sources, and the configuration of its small models."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from models.features import FeatureSpec
from models.nets.config import TeacherConfig
from trainer.simulation.arrivals import ArrivalShape
from trainer.training.config import TeacherTraining

SPEC: Final = FeatureSpec.load(str(Path(__file__).with_name("spec.toml")))
"""Features of the experiment."""
PER_DAY: Final = 8_000
"""Requests of a simulated day: four rounds of the full plan."""


@dataclass(frozen=True, slots=True)
class UnseenPlan:
    """Sizes and parameters of a run.

    Attributes:
        warm_rows: Requests before the first round; nothing arrives, and all of them have labels.
        rounds: Rebuilds.
        round_rows: Requests between two rebuilds.
        rate: Intercepted share r.
        first_epochs: Epochs of the first model.
        epochs: Further epochs of every rebuild, which starts at the weights of the one before.
        snapshots: Snapshots of SWAG at the end of their steps, ``gap`` steps apart.
        gap: Steps between two snapshots.
        sets: Weight sets drawn, M.
        confirmed_every: Rebuilds between two fits of ``confirmed``, which takes eight models.
        net: Kind and sizes of the teacher.
        training: Batch and learning rates.
    """

    warm_rows: int = 9_000
    rounds: int = 20
    round_rows: int = 2_000
    rate: float = 0.8
    first_epochs: int = 8
    epochs: int = 1
    snapshots: int = 4
    gap: int = 2
    sets: int = 4
    confirmed_every: int = 10
    net: TeacherConfig = field(
        default_factory=lambda: TeacherConfig(kind="shared-bottom", embedding=4, expert=24, tower=8)
    )
    training: TeacherTraining = field(
        default_factory=lambda: TeacherTraining(
            batch=1024, learning_rate=1e-2, swag_learning_rate=3e-3, steps=40
        )
    )

    @classmethod
    def quick(cls) -> "UnseenPlan":
        """A plan that runs everything on few rows; its figures are meaningless."""
        return cls(
            warm_rows=1500, rounds=2, round_rows=600, first_epochs=2, snapshots=3, gap=1, sets=3,
            confirmed_every=2,
            net=TeacherConfig(kind="shared-bottom", embedding=2, expert=8, tower=4),
            training=TeacherTraining(
                batch=128, learning_rate=8e-3, swag_learning_rate=2e-3, steps=10
            ),
        )  # fmt: skip

    @property
    def requests(self) -> int:
        """Requests of a run."""
        return self.warm_rows + self.rounds * self.round_rows

    def families(self) -> dict[str, ArrivalShape]:
        """How sources arrive, by name: a quarter of the traffic is theirs in both families."""
        start = self.warm_rows / PER_DAY
        return {
            "frequent": ArrivalShape(per_day=12.0, share=0.01, stay_days=2.0, start_day=start),
            "rare": ArrivalShape(per_day=1.2, share=0.1, stay_days=2.0, start_day=start),
        }

    def fingerprint(self) -> str:
        """Everything that determines the results, besides seed, family and rule."""
        return json.dumps({**asdict(self), "spec": SPEC.hash}, sort_keys=True)
