"""Confidence h (eq. 9): a score and its uncertainty become one number, t = h(s, u).

Every h is non-decreasing in s and in u: requests that the model is uncertain about rank higher.
The uncertainty used for a task may be that of another one, by a mapping from task to task.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.artifact.manifest import OWN, AutoEvidence
from models.settings import ScenarioSettings
from models.tasks import TaskSet
from stream.policy.errors import PolicyError
from stream.policy.value.reward import weigh

PRESETS: dict[str, dict[str, str]] = {
    "auto": {},
    "own": {},
    "daum": {"cart": "click", "deal": "click"},
}
"""Named mappings from a task to the task whose uncertainty it uses; others use their own.

``auto`` is ``own`` until an artifact gives evidence (:func:`resolve_auto`).
"""


def resolve_auto(
    settings: ScenarioSettings, evidence: AutoEvidence | None, tasks: TaskSet
) -> ScenarioSettings:
    """The settings with every ``auto`` replaced: by the evidence, or by no direct passes.

    Args:
        settings: The configured settings.
        evidence: Evidence of the artifact that serves; None if it has none.
        tasks: The tasks of the student.
    """
    source: str | dict[str, str] = OWN
    if evidence is not None and evidence.source != OWN:
        source = dict.fromkeys(tasks.names, evidence.source)
    share = 0.0 if evidence is None else evidence.direct_share
    picked = {"uncertainty_source": source, "direct_share": share}
    update = {key: value for key, value in picked.items() if getattr(settings, key) == "auto"}
    return settings.model_copy(update=update)


def uncertainty_columns(source: str | Mapping[str, str], tasks: TaskSet) -> npt.NDArray[np.intp]:
    """Column of the uncertainty that each task uses, shape (T,).

    Args:
        source: ``own`` or ``auto``, ``daum`` (cart and deal take click's, where the tasks have
            them), or a mapping task -> task; a task that a mapping does not name keeps its own.
        tasks: The tasks of the student.

    Raises:
        PolicyError: If a preset or a task is unknown.
    """
    known = ", ".join(tasks.names)
    if isinstance(source, str):
        if source not in PRESETS:
            raise PolicyError(
                f"policy.uncertainty_source: {source!r} is not known; use "
                f"{', '.join(PRESETS)}, or a table from task to task"
            )
        names = set(tasks.names)
        mapping = {task: by for task, by in PRESETS[source].items() if {task, by} <= names}
    else:
        mapping = dict(source)
        for name in [*mapping, *mapping.values()]:
            if name not in tasks.names:
                raise PolicyError(
                    f"policy.uncertainty_source: {name!r} is not a task; the tasks are {known}"
                )
    return np.array([tasks.index(mapping.get(name, name)) for name in tasks.names], np.intp)


class Confidence:
    """h of the settings, for all tasks at once.

    - ``score`` and ``pass-uncertain``: t = s. (``pass-uncertain`` passes the most uncertain
      requests beside h, see :meth:`direct`.)
    - ``optimistic``: t = s + kappa u.
    - ``probability-of-improvement``: a score below its task's reference c is raised towards c by
      the probability that the true value lies above c: t = s + 2 P(s + u X > c) (c - s), X
      logistic with variance 1; scores at or above c stay. So t = s when u = 0 and t -> c as u
      grows. (The bare probability would fall with u above c, and h must not.)

    Args:
        settings: ``confidence``, ``kappa``, ``reference``, ``uncertainty_source``, ``weights``.
        tasks: The tasks of the student.

    Raises:
        PolicyError: If the mapping, a reference or the weights are invalid.
    """

    def __init__(self, settings: ScenarioSettings, tasks: TaskSet) -> None:
        self._kind = settings.confidence
        self._kappa = np.float32(settings.kappa)
        self._columns = uncertainty_columns(settings.uncertainty_source, tasks)
        self._reference_T = np.array(
            [settings.reference.get(name, -math.inf) for name in tasks.names], np.float64
        )
        for name in settings.reference:
            if name not in tasks.names:
                raise PolicyError(
                    f"policy.reference: {name!r} is not a task; the tasks are "
                    f"{', '.join(tasks.names)}"
                )
        if self._kind == "probability-of-improvement" and not settings.reference:
            raise PolicyError(
                "policy.reference: probability-of-improvement needs the score to reach for at "
                "least one task, such as {deal = 0.05}"
            )
        weights_T = np.abs([settings.weights.get(name, 0.0) for name in tasks.names])
        if self.passes_uncertain and not weights_T.sum() > 0.0:
            raise PolicyError(
                "policy.weights: all are zero, so pass-uncertain has nothing to weigh "
                "uncertainties by; give one task a weight, or set policy.confidence = 'score'"
            )
        total = weights_T.sum() or 1.0
        self._weights_T = (weights_T / total).astype(np.float32)

    @property
    def passes_uncertain(self) -> bool:
        """Whether the most uncertain requests pass directly."""
        return self._kind == "pass-uncertain"

    def __call__(
        self, scores_NT: npt.NDArray[np.float32], uncertainties_NT: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """t_NT = h(s_NT, u_NT), each in the units of its task's score.

        Args:
            scores_NT: Probabilities, each on its task's own population.
            uncertainties_NT: Standard deviations of those probabilities.

        Returns:
            float32 of shape (N, T).
        """
        if self._kind == "optimistic":
            return scores_NT + self._kappa * uncertainties_NT[:, self._columns]
        if self._kind == "probability-of-improvement":
            return self._improve(scores_NT, uncertainties_NT[:, self._columns])
        return scores_NT

    def direct(self, uncertainties_NT: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The uncertainty of each request that direct passing ranks by, shape (N,).

        The mean over tasks of the uncertainty that serves each task, weighted by the task's
        |weight| in the reward: under ``daum`` and the default weights, nearly click's alone.
        """
        return weigh(uncertainties_NT[:, self._columns], self._weights_T)

    def _improve(
        self, scores_NT: npt.NDArray[np.float32], uncertainties_NT: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        gap_NT = np.maximum(self._reference_T - scores_NT, 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            odds_NT = np.exp(gap_NT / uncertainties_NT * (math.pi / math.sqrt(3.0)))
            raised_NT = scores_NT + 2.0 / (1.0 + odds_NT) * gap_NT
        return np.where(gap_NT > 0.0, raised_NT, scores_NT).astype(np.float32)
