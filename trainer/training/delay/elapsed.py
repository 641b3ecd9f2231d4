"""``es-dfm`` and ``defer``: importance weights learned with sampled elapsed times.

Elapsed-time sampling (ES-DFM, Yang et al., AAAI 2021) watches every request for a time e; an event
that comes later is a second example. Models fitted on requests whose labels are final learn what a
request watched for e turns out to be: p_dp(x, e), an event that comes later, and p_rn(x, e), no
event at all given none within e. DEFER (Gu et al., KDD 2021) sends real negatives a second time,
too, when their window has closed.

A snapshot watches every row for its age. So e is drawn from the ages of the open rows and
given to the rows with final labels, on which one multinomial logistic regression learns three
outcomes: an event seen within e (s), one that comes later (d), none (n). With
q(1 | x) = p(s | x, e), as no second example of an open row is there yet, the importance weights
are

    positives  p / q(1) = (s + d) / s         negatives  (1 - p) / q(0) = n / (n + d) = p_rn

and final rows weigh 1. ``es-dfm`` uses these. ``defer`` uses every final row twice, each
half: as it looked at a drawn e and as it ended; of both together q(1) = p - p_dp / 2, so its
weights are p / (p - p_dp / 2) and (1 - p) / (1 - p + p_dp / 2) with the net's own p, without its
gradient. Weights of positives are limited to [1, 10], those of negatives to [0, 1]. p_rn contains
the rate of events at the time of the final rows: where it has changed since, both are biased.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from scipy.sparse import hstack
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from trainer.training.delay.arrival import BIN_SCALE, Ids, one_hot, spans
from trainer.training.delay.censoring import LEAST_OPEN, is_open
from trainer.training.delay.fnw import weighted_losses
from trainer.training.delay.maturity import OPEN, Integers, Uses
from trainer.training.delay.method import FitPlan
from trainer.training.delay.survival import Floats
from trainer.training.row_range import RowRange

MOST_WEIGHT: Final = 10.0
MOST_ROWS: Final = 20_000
"""Final rows, the newest, that the outcomes are learned from."""
BINS: Final = 12
PENALTY: Final = 0.01
SEEN, LATER, NONE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Probabilities of what becomes of a row that was watched for its age.

    Attributes:
        edges_J: Ends of the bins of the age, ascending.
        weights_DR: Weights per outcome of ids and bins.
    """

    edges_J: Floats
    weights_DR: Floats

    def predict(self, ids_NC: Ids, rows_K: Integers, ages_K: Floats) -> Floats:
        """Probabilities of seen, later, none, (K, 3).

        Args:
            ids_NC: Feature ids of all rows, which may be mapped from a disk.
            rows_K: The rows in question.
            ages_K: The time for which each is watched.
        """
        parts = []
        for span in spans(len(rows_K)):
            design = _design(ids_NC[rows_K[span]], ages_K[span], self)
            logits_N3 = np.asarray(design @ self.weights_DR.T)
            e_N3 = np.exp(logits_N3 - logits_N3.max(axis=1, keepdims=True))
            parts.append(e_N3 / e_N3.sum(axis=1, keepdims=True))
        return np.concatenate(parts) if parts else np.zeros((0, 3))


def _design(ids_NC: Ids, ages_N: Floats, outcomes: Outcomes) -> Any:
    bins = len(outcomes.edges_J) + 1
    bin_N1 = np.searchsorted(outcomes.edges_J, ages_N)[:, None]
    ids = one_hot(ids_NC, outcomes.weights_DR.shape[1] - bins)
    return hstack([ids, one_hot(bin_N1, bins) * BIN_SCALE], format="csr")


def fit_outcomes(
    ids_NC: Ids, delays_N: Floats, ages_N: Floats, weights_N: Floats, table_rows: int
) -> Outcomes | None:
    """Learn the outcomes from rows with final labels; None if one of the three does not occur.

    Args:
        ids_NC: Feature ids.
        delays_N: Delay of the event; infinite without one.
        ages_N: The time for which each row is watched.
        weights_N: Number of requests that each row stands for.
        table_rows: Rows of the embedding table.
    """
    edges_J = np.unique(np.quantile(ages_N, np.arange(1, BINS) / BINS))
    outcome_N = np.where(delays_N <= ages_N, SEEN, np.where(np.isfinite(delays_N), LATER, NONE))
    found = Outcomes(edges_J, np.zeros((3, table_rows + len(edges_J) + 1)))
    classes = np.unique(outcome_N)
    if len(classes) < 3:
        return None
    model = LogisticRegression(C=PENALTY, fit_intercept=False, max_iter=300, tol=3e-3)
    model.fit(_design(ids_NC, ages_N, found), outcome_N, sample_weight=weights_N)
    return Outcomes(edges_J, np.asarray(model.coef_, np.float64))


@dataclass(frozen=True, slots=True)
class ImportanceWeights:
    """Weighted cross-entropy of what was seen: the loss of ``es-dfm``.

    Attributes:
        targets_NT: 1 seen, 0 not seen, NaN where the row does not count.
        positive_NT: Weights where the event was seen.
        negative_NT: Weights where it was not.
    """

    targets_NT: Tensor
    positive_NT: Tensor
    negative_NT: Tensor

    def losses(self, logits_BT: Tensor, rows_B: Tensor) -> Tensor:
        """Weighted cross-entropies (B, T)."""
        device = logits_BT.device
        seen_BT = self.targets_NT[rows_B].to(device) == 1
        positive_BT = self.positive_NT[rows_B].to(device) * seen_BT
        negative_BT = self.negative_NT[rows_B].to(device) * ~seen_BT
        return weighted_losses(logits_BT, positive_BT, negative_BT)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The loss of ``defer``: that of ``es-dfm`` on open rows, two halves of every final row.

    Attributes:
        targets_NT: 1 seen, 0 not seen, NaN where the row does not count.
        single: Weights of the open rows.
        watched_NT: Whether a final row's event came within the drawn time; 0 or 1.
        later_NT: p_dp of final rows at the drawn time.
        open_NT: Whether the label is open.
    """

    targets_NT: Tensor
    single: ImportanceWeights
    watched_NT: Tensor
    later_NT: Tensor
    open_NT: Tensor

    def losses(self, logits_BT: Tensor, rows_B: Tensor) -> Tensor:
        """Weighted cross-entropies (B, T)."""
        device = logits_BT.device
        seen_BT = self.targets_NT[rows_B].to(device).nan_to_num()
        halves_BT = (seen_BT + self.watched_NT[rows_B].to(device)) / 2
        later_BT = self.later_NT[rows_B].to(device)
        p_BT = torch.maximum(logits_BT.detach().sigmoid(), later_BT).clamp(min=1e-6)
        positive_BT = (p_BT / (p_BT - later_BT / 2)).clamp(1.0, MOST_WEIGHT)
        negative_BT = (1 - p_BT) / (1 - p_BT + later_BT / 2).clamp(min=1e-6)
        twice_BT = weighted_losses(
            logits_BT, positive_BT * halves_BT, negative_BT * (1 - halves_BT)
        )
        once_BT = self.single.losses(logits_BT, rows_B)
        return torch.where(self.open_NT[rows_B].to(device), once_BT, twice_BT)


@dataclass(frozen=True, slots=True)
class ElapsedSampling:
    """Both methods.

    Attributes:
        duplicates: Whether final rows are used twice: ``defer``.
        uses: Rows with open labels, too.
    """

    duplicates: bool
    uses: Uses = OPEN

    def correction(self, rows: RowRange, fit: FitPlan) -> ImportanceWeights | Duplicates | None:
        """Learn the outcomes of every task, and prepare the loss."""
        opened = rows.opened
        if opened is None:
            return None
        single = ImportanceWeights(
            opened.seen_KT, torch.ones_like(opened.seen_KT), torch.ones_like(opened.seen_KT)
        )
        twice = Duplicates(
            opened.seen_KT,
            single,
            opened.seen_KT.nan_to_num(),
            torch.zeros_like(opened.seen_KT),
            torch.zeros_like(opened.seen_KT, dtype=torch.bool),
        )
        for task in range(len(fit.names)):
            self._learn(rows, task, fit, twice)
        return twice if self.duplicates else single

    def _learn(self, rows: RowRange, task: int, fit: FitPlan, twice: Duplicates) -> None:
        """Fill in the column of a task."""
        opened = rows.opened
        assert opened is not None
        open_N = is_open(opened, task)
        seen_N, ids_NC, table_rows = opened.seen_KT[:, task].numpy(), rows.ids_KC.numpy(), 0
        final_K = np.flatnonzero(~open_N & ~np.isnan(seen_N))
        open_K = np.flatnonzero(open_N)
        if not len(open_K) or not len(final_K):
            return
        if len(open_K) >= LEAST_OPEN * len(rows):
            table_rows = fit.table_rows
        else:
            ids_NC = ids_NC[:, :0]
        rng = np.random.default_rng([fit.seed, task])
        ages_K = _ages(opened.elapsed_K, open_K)
        drawn_K = rng.choice(ages_K, len(final_K))
        delays_K = opened.delays_KT[:, task].numpy()[final_K]
        # An event of unknown delay counts as seen at once.
        delays_K = np.where(seen_N[final_K] == 1, np.nan_to_num(delays_K), np.inf)
        learn = slice(max(len(final_K) - MOST_ROWS, 0), None)
        weights_K = rows.weights_K.numpy()[final_K].astype(np.float64)
        outcomes = fit_outcomes(
            ids_NC[final_K[learn]],
            delays_K[learn],
            drawn_K[learn],
            weights_K[learn],
            table_rows,
        )
        twice.open_NT[open_K, task] = True
        if outcomes is None:
            # Nothing is known of these ages: the open rows do not count.
            twice.single.positive_NT[open_K, task] = 0.0
            twice.single.negative_NT[open_K, task] = 0.0
            return
        self._weigh(outcomes.predict(ids_NC, open_K, ages_K), open_K, task, twice)
        later_K = outcomes.predict(ids_NC, final_K, drawn_K)[:, LATER]
        twice.watched_NT[final_K, task] = _float32(delays_K <= drawn_K)
        twice.later_NT[final_K, task] = _float32(later_K)

    def _weigh(self, found_K3: Floats, open_K: Integers, task: int, twice: Duplicates) -> None:
        seen_K, later_K, none_K = found_K3.T
        positive_K = ((seen_K + later_K) / seen_K.clip(1e-9)).clip(1.0, MOST_WEIGHT)
        twice.single.positive_NT[open_K, task] = _float32(positive_K)
        twice.single.negative_NT[open_K, task] = _float32(none_K / (none_K + later_K))


ES_DFM = ElapsedSampling(duplicates=False)
DEFER = ElapsedSampling(duplicates=True)


def _ages(elapsed_N: Tensor, rows_K: Integers) -> Floats:
    return np.asarray(elapsed_N.numpy()[rows_K], np.float64)


def _float32(values: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
