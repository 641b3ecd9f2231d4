"""Does passing uncertain requests directly pay? Judged on held-out labels at an equal budget.

Direct passes are counted inside the budget: each one takes the place of the request with the next
best reward. The paper's experiments grow the budget instead, which flatters every uncertainty.
"""

import numpy as np
import numpy.typing as npt

from models.manifest import OWN, AutoEvidence, AutoRow
from models.tasks import TaskSet

SHARES = (0.01, 0.02, 0.05)


def judge_direct_passes(
    scores_NT: npt.NDArray[np.float32],
    uncertainties_NT: npt.NDArray[np.float32],
    labels_NT: npt.NDArray[np.float32],
    tasks: TaskSet,
    *,
    rate: float,
    weights: dict[str, float],
) -> AutoEvidence | None:
    """Compare score alone with every uncertainty source at a few direct shares.

    Args:
        scores_NT: Probabilities on each task's own population.
        uncertainties_NT: Their uncertainties.
        labels_NT: Whether the events happened; rows with a masked label are left out.
        tasks: The tasks.
        rate: Intercepted share.
        weights: Value of one positive per task; 1 where not given.

    Returns:
        The table and the pick: the best one if its gain exceeds two standard errors, else none.
        None when the rows hold no value at all.
    """
    known_N = ~np.isnan(labels_NT).any(axis=1)
    weights_T = np.array([weights.get(name, 1.0) for name in tasks.names])
    values_N = labels_NT[known_N] @ weights_T
    total = float(values_N.sum())
    if total <= 0:
        return None
    reward_N = tasks.on_all_requests(scores_NT[known_N]) @ weights_T
    budget = round((1 - rate) * len(reward_N))
    by_score_N = _best(reward_N, budget)
    kept = float(values_N[by_score_N].sum()) / total
    table = []
    for source in (OWN, *tasks.names):
        u_N = _uncertainty(uncertainties_NT[known_N], weights_T, source, tasks)
        for share in SHARES:
            passed_N = _best(u_N, min(round(share * len(u_N)), budget))
            passed_N |= _best(np.where(passed_N, -np.inf, reward_N), budget - int(passed_N.sum()))
            change_N = (passed_N.astype(np.float64) - by_score_N) * values_N / total
            gain = float(change_N.sum())
            error = float(np.sqrt((change_N**2).sum()))
            table.append(_row(source, share, kept + gain, gain, error))
    best = max(table, key=lambda row: row.gain)
    pays = best.gain > 2 * best.gain_error
    return AutoEvidence(
        rate=rate,
        weights=dict(zip(tasks.names, weights_T.tolist(), strict=True)),
        source=best.source if pays else OWN,
        direct_share=best.direct_share if pays else 0.0,
        table=(_row(OWN, 0.0, kept, 0.0, 0.0), *table),
    )


def _row(source: str, share: float, value: float, gain: float, error: float) -> AutoRow:
    return AutoRow(source=source, direct_share=share, value=value, gain=gain, gain_error=error)


def _uncertainty(
    uncertainties_NT: npt.NDArray[np.float32],
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
