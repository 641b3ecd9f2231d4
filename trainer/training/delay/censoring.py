"""``censoring``: the likelihood of what was seen by now, with the delay law estimated.

A row of age a shows its event with probability p F(a | x). The loss is the negative log-likelihood
of that:

    seen:          -log p            not seen yet:  -log(1 - p F(a | x))

whose gradient is that of cross-entropy with the expected label p (1 - F) / (1 - p F) of a row
without event so far, the E-step of Chapelle's delayed feedback model (KDD 2014). F is not a
parametric family there learned with p, but estimated first (:mod:`trainer.training.delay.arrival`):
from events alone, so that it is not confounded with rates that have changed. With F = 1 it is
cross-entropy. With the true F its minimiser is p, whatever the ages of the rows; no row is weighted
by an inverse probability, the derivative by the logit is within [-1, 1], and a row as young
as F = 0 has no influence.
"""

import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from trainer.training.delay.arrival import Events, fit_arrival
from trainer.training.delay.maturity import OPEN, Booleans, Uses
from trainer.training.delay.method import FitPlan
from trainer.training.delay.survival import Floats
from trainer.training.row_range import OpenLabels, RowRange

LEAST_OPEN: Final = 0.02
"""Least share of open rows for which the delay law may depend on features."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeenLikelihood:
    """Likelihood of what was seen.

    Attributes:
        targets_NT: 1 seen, 0 not seen, NaN where the row does not count.
        unseen_NT: log(1 - F), the log share of events that are still to come; -inf if final.
    """

    targets_NT: Tensor
    unseen_NT: Tensor

    def losses(self, logits_BT: Tensor, rows_B: Tensor) -> Tensor:
        """Negative log-likelihoods (B, T)."""
        device = logits_BT.device
        seen_BT = self.targets_NT[rows_B].to(device)
        unseen_BT = self.unseen_NT[rows_B].to(device)
        above_BT = functional.softplus(logits_BT)
        # log(1 - p F) = softplus(l + log(1 - F)) - softplus(l)
        not_seen_BT = above_BT - functional.softplus(logits_BT + unseen_BT)
        return torch.where(seen_BT == 1, above_BT - logits_BT, not_seen_BT)


@dataclass(frozen=True, slots=True)
class Censoring:
    """The method.

    Attributes:
        uses: Rows with open labels, too.
        features: Whether the delay law may depend on the features.
    """

    uses: Uses = OPEN
    features: bool = True

    def correction(self, rows: RowRange, fit: FitPlan) -> SeenLikelihood | None:
        """Estimate every task's delay law, and prepare the loss."""
        if rows.opened is None:
            return None
        unseen_NT = torch.full_like(rows.opened.seen_KT, -torch.inf)
        for task, name in enumerate(fit.names):
            open_K = np.flatnonzero(is_open(rows.opened, task))
            if not len(open_K):
                continue
            events = events_of(rows, task)
            featured = self.features and len(open_K) >= LEAST_OPEN * len(rows)
            arrival = fit_arrival(events, fit.table_rows if featured else 0, fit.seed)
            ages_K = rows.opened.elapsed_K.numpy()[open_K].astype(np.float64)
            seen_K = arrival.seen(rows.ids_KC.numpy(), open_K, ages_K)
            unseen_NT[open_K, task] = torch.from_numpy(log_unseen(seen_K))
            logger.info(
                "%s: %d rows are open and show %.0f %% of their events; delays of %d events %s",
                name,
                len(open_K),
                100 * seen_K.mean(),
                len(events),
                f"depend on features (C = {arrival.penalty:g})" if arrival.penalty else "alone",
            )
        return SeenLikelihood(rows.opened.seen_KT, unseen_NT)


CENSORING = Censoring()


def is_open(opened: OpenLabels, task: int) -> Booleans:
    """Rows that count for the task and whose label is not final, (N,)."""
    young_N = opened.elapsed_K.numpy() < int(opened.closing_T[task])
    return np.asarray(young_N & ~opened.seen_KT[:, task].isnan().numpy())


def events_of(rows: RowRange, task: int) -> Events:
    """The task's events with a known delay, in the order of the rows."""
    opened = rows.opened
    assert opened is not None
    delays_N = opened.delays_KT[:, task].numpy()
    events_E = np.flatnonzero((opened.seen_KT[:, task].numpy() == 1) & ~np.isnan(delays_N))
    elapsed_E = opened.elapsed_K.numpy()[events_E]
    return Events(
        ids_NC=rows.ids_KC.numpy(),
        rows_E=events_E,
        delays_E=delays_N[events_E],
        ages_E=np.where(elapsed_E < int(opened.closing_T[task]), elapsed_E, np.inf),
        weights_E=rows.weights_K.numpy()[events_E].astype(np.float64),
    )


def log_unseen(seen_K: Floats) -> npt.NDArray[np.float32]:
    """log(1 - F), finite: at most all but a millionth of an open row's events were seen."""
    return np.asarray(np.log1p(-seen_K.clip(0.0, 1 - 1e-6)), np.float32)
