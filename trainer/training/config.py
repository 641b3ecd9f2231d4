"""Configuration of a training: one frozen tree, stored in the manifest of the artifact."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from models.choices import chosen_from
from models.nets.config import StudentConfig, Target, TeacherConfig
from models.settings import SettingsError
from models.suggestions import did_you_mean
from models.validation import reason

Choice = Literal["auto", "cpu", "cuda"]
"""Device that nets are trained on."""

UNCERTAINTIES: Final[Mapping[str, str]] = {
    "swag": "trainer.uncertainty.swag:swag",
    "mc_dropout": "trainer.uncertainty.dropout:mc_dropout",
    "ensemble": "trainer.uncertainty.ensemble:ensemble",
    "gaussian": "trainer.uncertainty.heads:gaussian",
    "evidential": "trainer.uncertainty.heads:evidential",
    "disagreement": "trainer.uncertainty.disagreement:disagreement",
    "confirmed": "trainer.uncertainty.confirmed:confirmed",
    "deup": "trainer.uncertainty.deup:deup",
    "laplace": "trainer.uncertainty.laplace:laplace",
    "priors": "trainer.uncertainty.ensemble:priors",
    "count": "trainer.uncertainty.count:count",
}
"""The uncertainty methods: the function behind each fits it on a lab."""
SWAG: Final = "swag"
AUTO: Final = "auto"
"""Selects the most valuable method."""
Uncertainty = Annotated[str, chosen_from(UNCERTAINTIES, AUTO)]

NET: Final = "net"
STACKED: Final = "stacked"
Score = Literal["auto", "net", "stacked"]
"""Whose score the student learns: the teacher net's, that of the stacked models
(:mod:`trainer.stacking`), or a blend that held-out rows choose for each task."""

DELAYS: Final[Mapping[str, str]] = {
    "wait": "trainer.training.delay.waiting:WAIT",
    "mask": "trainer.training.delay.waiting:MASK",
    "fnw": "trainer.training.delay.fnw:FNW",
    "es-dfm": "trainer.training.delay.elapsed:ES_DFM",
    "defer": "trainer.training.delay.elapsed:DEFER",
    "censoring": "trainer.training.delay.censoring:CENSORING",
}
"""The methods that learn from labels that are not final yet."""
Delay = Annotated[str, chosen_from(DELAYS)]


OBJECTIVES: Final[Mapping[str, str]] = {
    "masked": "trainer.training.objective.objective:Masked",
    "entire-space": "trainer.training.objective.entire_space:EntireSpace",
    "counterfactual-ips": "trainer.training.objective.counterfactual:InversePropensity",
    "counterfactual-dr": "trainer.training.objective.counterfactual:DoublyRobust",
    "dependence": "trainer.training.objective.nesting:Dependence",
    "calibrator": "trainer.training.objective.nesting:Calibrator",
}
"""What the teacher minimises."""
MASKED: Final = "masked"
OBJECTIVE_OF_KIND: Final[Mapping[str, str]] = {
    "esmm": "entire-space",
    "escm2": "counterfactual-dr",
    "aitm": "calibrator",
    "apem": "dependence",
}
"""The objective of the paper of a kind of teacher, which ``auto`` takes; else ``masked``."""
ObjectiveName = Annotated[str, chosen_from(OBJECTIVES, AUTO)]


@dataclass(frozen=True, slots=True)
class DelayTraining:
    """Learning from labels that are not final yet.

    Attributes:
        method: A name of ``DELAYS``.
    """

    method: Delay = "censoring"


@dataclass(frozen=True, slots=True)
class TeacherTraining:
    """Training of the teacher, followed by SWAG.

    Attributes:
        batch: Rows per step.
        epochs: Epochs with a cosine-decayed learning rate.
        min_steps: Where those epochs make fewer steps than this, as with small tables, early
            stopping on a validation slice chooses the number of steps, based on at most this many
            (:mod:`trainer.training.early_stopping`).
        steps: Number of steps with the decaying rate; None derives it from ``epochs`` and
            ``min_steps``.
        learning_rate: Initial learning rate.
        swag_learning_rate: Learning rate at the end of the decay and while snapshots are taken.
        snapshots: Number of snapshots of the weights.
        snapshots_per_epoch: Snapshots per epoch, evenly spaced.
        rank: Number of deviations kept (K).
        scale: Factor on SWAG's covariance.
        samples: Weight sets drawn for mean and standard deviation (M).
        spread_embeddings: Whether the embedding table contributes to the spread, or to the mean
            only.
        weight_decay: AdamW's weight decay, on all weights.
        objective: What is minimised: a name of ``OBJECTIVES``, or ``auto`` for that of the kind's
            own paper.
        task_weights: Weights of the tasks' losses: "equal", "learned" from each task's uncertainty,
            "pcgrad" for equal ones whose conflicting gradients are projected, or one number per
            task in their order.
    """

    batch: int = 256
    epochs: int = 2
    min_steps: int = 900
    steps: int | None = None
    learning_rate: float = 7e-4
    swag_learning_rate: float = 1.5e-4
    snapshots: int = 10
    snapshots_per_epoch: int = 10
    rank: int = 10
    scale: float = 0.5
    samples: int = 20
    spread_embeddings: bool = True
    weight_decay: float = 0.05
    objective: ObjectiveName = AUTO
    task_weights: Literal["equal", "learned", "pcgrad"] | tuple[float, ...] = "equal"


@dataclass(frozen=True, slots=True)
class StudentTraining:
    """Training of the student by distillation.

    Attributes:
        batch: Rows per step.
        epochs: Epochs with a cosine-decayed learning rate, over labelled and unlabelled rows.
        min_steps: Least number of steps, so that few rows are seen more often: soft labels are
            hardly overfitted.
        learning_rate: Initial learning rate.
        target: Target of the uncertainty head (:mod:`models.nets.scale`).
        uncertainty_weight: Weight of the uncertainty's loss relative to that of the scores.
        hard_weight: Weight of the hard labels in the targets of the scores, where they are known.
    """

    batch: int = 512
    epochs: int = 3
    min_steps: int = 1500
    learning_rate: float = 3e-3
    target: Target = "quantile"
    uncertainty_weight: float = 1.0
    hard_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that determines an artifact besides its examples, spec and seed.

    Attributes:
        held_out: Share of the rows with final labels, the newest, that is held out for the metrics.
        propensity_clip: Greatest weight that a row has for its propensity p, the probability of the
            decision by which it passed: it counts min(1 / p, propensity_clip) in the losses of
            teacher and student and in the weighted metrics, so that rows which passed by
            exploration stand for those that were blocked. 1 weighs all rows alike.
        threads: Threads of torch. The last digits of sums depend on it; 1 gives the same result on
            machines with any number of cores.
        device: Device of teacher and student; "auto" selects CUDA when it is available.
        net: Kind and sizes of the teacher.
        teacher: Training of the teacher.
        delay: How the teacher learns from labels that are not final yet.
        student: Sizes of the student.
        distillation: Training of the student.
        score: Whose score the student learns.
        uncertainty: Method whose uncertainty the student learns; ``auto`` fits all of them and
            selects the one whose direct passes gain value, else ``swag``.
        auto_rate: Intercepted share at which direct passes are evaluated.
        auto_weights: Value of one positive per task in that evaluation; 1 where not given.
    """

    held_out: float = 0.15
    propensity_clip: Annotated[float, Field(ge=1)] = 10.0
    threads: int = 1
    device: Choice = "auto"
    net: TeacherConfig = field(default_factory=TeacherConfig)
    teacher: TeacherTraining = field(default_factory=TeacherTraining)
    delay: DelayTraining = field(default_factory=DelayTraining)
    student: StudentConfig = field(default_factory=StudentConfig)
    distillation: StudentTraining = field(default_factory=StudentTraining)
    score: Score = "auto"
    uncertainty: Uncertainty = SWAG
    auto_rate: float = 0.6
    auto_weights: dict[str, float] = field(
        default_factory=lambda: {"click": 1.0, "online": 1.0, "cart": 5.0, "deal": 20.0}
    )

    def quick(self) -> Self:
        """The same configuration with small nets and little training, for a trial run."""
        return replace(
            self,
            net=replace(self.net, embedding=4, expert=16, tower=8),
            teacher=TeacherTraining(
                batch=128,
                epochs=3,
                min_steps=300,
                learning_rate=2e-3,
                swag_learning_rate=4e-4,
                snapshots=4,
                snapshots_per_epoch=4,
                samples=6,
            ),
            distillation=replace(self.distillation, batch=256, epochs=2, min_steps=300),
            score="net",
        )

    @classmethod
    def of(cls, training: Mapping[str, Any], *, quick: bool = False) -> Self:
        """The configuration that the settings' table ``training`` describes.

        Args:
            training: Values that differ from the defaults, nested like this class.
            quick: Whether to start from :meth:`quick`.

        Raises:
            SettingsError: If a key is unknown or a value is invalid; one line per error.
        """
        start = cls().quick() if quick else cls()
        try:
            return TypeAdapter(cls).validate_python(_merged(start, training, "training"))
        except ValidationError as error:
            lines = []
            for fault in error.errors():
                key = ".".join(["training", *map(str, fault["loc"])])
                lines.append(f"{key}: {reason(fault)} (found {fault['input']!r})")
            raise SettingsError("\n".join(lines)) from error

    def to_dict(self) -> dict[str, Any]:
        """The tree as JSON values, as the manifest stores it."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


def _merged(start: Any, tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The fields of a dataclass as a tree, with the values of ``tree`` replacing its own."""
    known = {each.name: getattr(start, each.name) for each in fields(start)}
    merged = {
        name: _merged(value, {}, path) if is_dataclass(value) else value
        for name, value in known.items()
    }
    for name, value in tree.items():
        if name not in known:
            raise SettingsError(f"{path}.{name}: unknown key; {did_you_mean(name, known)}")
        nested = is_dataclass(known[name]) and isinstance(value, Mapping)
        merged[name] = _merged(known[name], value, f"{path}.{name}") if nested else value
    return merged
