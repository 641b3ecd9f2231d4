"""Evaluation of direct passes: do they gain value on held-out labels at an equal budget?

Direct passes are requests that pass because their score is uncertain. They count against the
budget: each one replaces the request with the next best reward. The paper's experiments add them to
the budget instead, which favours every uncertainty.

The best of many candidates gains by chance, even if none has a real gain. So every other row,
in the order given, selects the candidate, and the rows between test that one alone: a single
comparison, whose standard error needs no correction. Dividing the error rate by the number of
candidates instead (Bonferroni) would use all rows, but requires 3.6 standard errors with ten
methods, against the 2.8 that two on half of the rows amount to, and relies on the far tail of a sum
over a few valuable requests.

N requests, T tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.artifact.manifest import OWN, AutoEvidence, AutoRow
from models.tasks import TaskSet

SHARES: Final = (0.01, 0.02, 0.05)
"""Shares of direct passes that are compared."""
ERRORS: Final = 2.0
"""Standard errors that a gain must exceed."""
Floats32 = npt.NDArray[np.float32]
Floats64 = npt.NDArray[np.float64]


def evaluate_direct_passes(
    scores_NT: Floats32,
    uncertainties: Mapping[str, Floats32],
    labels_NT: Floats32,
    tasks: TaskSet,
    *,
    rate: float,
    weights: Mapping[str, float],
) -> AutoEvidence | None:
    """Compare score alone with every method, source and share of direct passes.

    Args:
        scores_NT: Probabilities on each task's own population.
        uncertainties: ``u_NT`` by name of the method.
        labels_NT: Whether the events happened; rows with a masked label are left out.
        tasks: The tasks.
        rate: Intercepted share.
        weights: Value of one positive per task; 1 where not given.

    Returns:
        The table of the selecting rows, the best candidate on the testing rows, and the choice:
        that candidate if its gain there exceeds two standard errors, else score alone. None if
        either half of the rows holds no value at all.
    """
    known_N = ~np.isnan(labels_NT).any(axis=1)
    weights_T = np.array([weights.get(name, 1.0) for name in tasks.names])
    reward_N = tasks.on_all_requests(scores_NT[known_N]) @ weights_T
    value_N = labels_NT[known_N] @ weights_T
    halves = [slice(first, None, 2) for first in (0, 1)]
    if min(value_N[half].sum() for half in halves) <= 0:
        return None
    selecting, testing = (_Rows(reward_N[half], value_N[half], rate) for half in halves)
    u = {
        (method, source): _uncertainty(u_NT[known_N], weights_T, source, tasks)
        for method, u_NT in uncertainties.items()
        for source in (OWN, *tasks.names)
    }
    table = [
        selecting.evaluate(method, source, share, u_N[halves[0]])
        for (method, source), u_N in u.items()
        for share in SHARES
    ]
    best = max(table, key=lambda row: row.gain)
    tested = testing.evaluate(
        best.method, best.source, best.direct_share, u[best.method, best.source][halves[1]]
    )
    alone = selecting.score_alone(next(iter(uncertainties)))
    gains = best.gain > 0 and tested.gain > ERRORS * tested.gain_error
    chosen = best if gains else alone
    return AutoEvidence(
        rate=rate,
        weights=dict(zip(tasks.names, weights_T.tolist(), strict=True)),
        method=chosen.method,
        source=chosen.source,
        direct_share=chosen.direct_share,
        tested=tested,
        table=(alone, *table),
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """Requests with their reward, their value, and the share that is intercepted."""

    reward_N: Floats64
    value_N: Floats64
    rate: float

    @property
    def budget(self) -> int:
        """Number of requests that pass."""
        return round((1 - self.rate) * len(self.reward_N))

    @property
    def kept(self) -> float:
        """Share of all value that passes by score alone."""
        by_score_N = _best(self.reward_N, self.budget)
        return float(self.value_N[by_score_N].sum() / self.value_N.sum())

    def score_alone(self, method: str) -> AutoRow:
        """The row of the table without direct passes."""
        return AutoRow(
            method=method, source=OWN, direct_share=0.0, value=self.kept, gain=0.0, gain_error=0.0
        )

    def evaluate(self, method: str, source: str, share: float, u_N: Floats64) -> AutoRow:
        """Pass the most uncertain ``share`` directly and the rest of the budget by reward."""
        by_score_N = _best(self.reward_N, self.budget)
        passed_N = _best(u_N, min(round(share * len(u_N)), self.budget))
        rest = self.budget - int(passed_N.sum())
        passed_N |= _best(np.where(passed_N, -np.inf, self.reward_N), rest)
        change_N = (passed_N.astype(np.float64) - by_score_N) * self.value_N / self.value_N.sum()
        gain = float(change_N.sum())
        return AutoRow(
            method=method,
            source=source,
            direct_share=share,
            value=self.kept + gain,
            gain=gain,
            gain_error=float(np.sqrt((change_N**2).sum())),
        )


def _uncertainty(
    uncertainties_NT: Floats32, weights_T: Floats64, source: str, tasks: TaskSet
) -> Floats64:
    """Ranking of direct passes: u of one task, or the weighted sum over all tasks (``OWN``)."""
    if source == OWN:
        blended_N: Floats64 = uncertainties_NT @ weights_T
        return blended_N
    return uncertainties_NT[:, tasks.index(source)].astype(np.float64)


def _best(values_N: Floats64, count: int) -> npt.NDArray[np.bool_]:
    """Mask of the ``count`` largest values; among equal ones, of the earlier rows."""
    chosen_N = np.zeros(len(values_N), np.bool_)
    chosen_N[np.argsort(-values_N, kind="stable")[:count]] = True
    return chosen_N
