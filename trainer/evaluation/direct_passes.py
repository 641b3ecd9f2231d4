"""Does passing uncertain requests directly pay? Judged on held-out labels at an equal budget.

Direct passes are counted inside the budget: each one takes the place of the request with the next
best reward. The paper's experiments grow the budget instead, which flatters every uncertainty.

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
ERRORS: Final = 2.0
"""Standard errors that a gain must exceed."""
Floats = npt.NDArray[np.float32]


def judge_direct_passes(
    scores_NT: Floats,
    uncertainties: Mapping[str, Floats],
    labels_NT: Floats,
    tasks: TaskSet,
    *,
    rate: float,
    weights: Mapping[str, float],
) -> AutoEvidence | None:
    """Compare score alone with every method, source and share of direct passes.

    The best of many candidates gains by luck, even where none is worth anything. So every other
    row, in the order given, picks the candidate, and the rows between test that one alone: a single
    comparison, whose standard error needs no correction. Dividing the error rate by the number of
    candidates instead (Bonferroni) would use all rows, but asks for 3.6 standard errors with ten
    methods, against the 2.8 that two on half of the rows amount to, and relies on the far tail of a
    sum over a few valuable requests.

    Args:
        scores_NT: Probabilities on each task's own population.
        uncertainties: ``u_NT`` by the name of its method.
        labels_NT: Whether the events happened; rows with a masked label are left out.
        tasks: The tasks.
        rate: Intercepted share.
        weights: Value of one positive per task; 1 where not given.

    Returns:
        The table of the picking rows, the best candidate on the testing rows, and the pick: that
        one if its gain there exceeds two standard errors, else none. None when either half of the
        rows holds no value at all.
    """
    known_N = ~np.isnan(labels_NT).any(axis=1)
    weights_T = np.array([weights.get(name, 1.0) for name in tasks.names])
    reward_N = tasks.on_all_requests(scores_NT[known_N]) @ weights_T
    values_N = labels_NT[known_N] @ weights_T
    halves = [slice(first, None, 2) for first in (0, 1)]
    if min(values_N[half].sum() for half in halves) <= 0:
        return None
    picking, testing = (_Rows(reward_N[half], values_N[half], rate) for half in halves)
    u = {
        (method, source): _uncertainty(u_NT[known_N], weights_T, source, tasks)
        for method, u_NT in uncertainties.items()
        for source in (OWN, *tasks.names)
    }
    table = [
        picking.judge(method, source, share, u_N[halves[0]])
        for (method, source), u_N in u.items()
        for share in SHARES
    ]
    best = max(table, key=lambda row: row.gain)
    tested = testing.judge(
        best.method, best.source, best.direct_share, u[best.method, best.source][halves[1]]
    )
    pays = best.gain > 0 and tested.gain > ERRORS * tested.gain_error
    first = next(iter(uncertainties))
    alone = AutoRow(
        method=first, source=OWN, direct_share=0.0, value=picking.kept, gain=0.0, gain_error=0.0
    )
    return AutoEvidence(
        rate=rate,
        weights=dict(zip(tasks.names, weights_T.tolist(), strict=True)),
        method=best.method if pays else first,
        source=best.source if pays else OWN,
        direct_share=best.direct_share if pays else 0.0,
        tested=tested,
        table=(alone, *table),
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """Requests with their reward, their value, and the share that is intercepted."""

    reward_N: npt.NDArray[np.float64]
    values_N: npt.NDArray[np.float64]
    rate: float

    @property
    def budget(self) -> int:
        """How many pass."""
        return round((1 - self.rate) * len(self.reward_N))

    @property
    def kept(self) -> float:
        """Share of all value that passes by score alone."""
        by_score_N = _best(self.reward_N, self.budget)
        return float(self.values_N[by_score_N].sum() / self.values_N.sum())

    def judge(
        self, method: str, source: str, share: float, u_N: npt.NDArray[np.float64]
    ) -> AutoRow:
        """Pass the most uncertain ``share`` directly and the rest of the budget by reward."""
        by_score_N = _best(self.reward_N, self.budget)
        passed_N = _best(u_N, min(round(share * len(u_N)), self.budget))
        rest = self.budget - int(passed_N.sum())
        passed_N |= _best(np.where(passed_N, -np.inf, self.reward_N), rest)
        change_N = (passed_N.astype(np.float64) - by_score_N) * self.values_N / self.values_N.sum()
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
    uncertainties_NT: Floats,
    weights_T: npt.NDArray[np.float64],
    source: str,
    tasks: TaskSet,
) -> npt.NDArray[np.float64]:
    """What direct passes are ranked by: one task's u, or every task's own under the weights."""
    if source == OWN:
        blended_N: npt.NDArray[np.float64] = uncertainties_NT @ weights_T
        return blended_N
    return uncertainties_NT[:, tasks.index(source)].astype(np.float64)


def _best(values_N: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.bool_]:
    """Mask of the ``count`` largest values, the earlier row first among equals."""
    chosen_N = np.zeros(len(values_N), np.bool_)
    chosen_N[np.argsort(-values_N, kind="stable")[:count]] = True
    return chosen_N
