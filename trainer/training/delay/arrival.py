"""P(delay <= age | event, x): the delay law given the features.

The delays are divided into bins at quantiles of the product-limit estimate. A logistic regression
on the features models the reversed hazard of every bin: P(delay in bin j | delay within bin j or
before). A row of age a informs the bins that end before a, so truncation is accounted for as in
:mod:`trainer.training.delay.survival`. The ridge penalty is chosen on a fifth of the events; where
no model predicts these better than the law without features, beyond two standard errors, that law
is used.

E events, N rows, C columns of ids, J bins, times in ms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, hstack
from sklearn.linear_model import LogisticRegression

from trainer.training.delay.survival import DelayLaw, Floats, product_limit

Ids = npt.NDArray[np.int32] | npt.NDArray[np.int16]
Integers = npt.NDArray[np.int64]

BINS: Final = 10
PENALTIES: Final = (0.002, 0.02)
"""Inverse strengths of the ridge penalty that are tried (``C`` of scikit-learn)."""
MARGIN: Final = 2.0
"""Standard errors by which a law with features must be better than the one without."""
LEAST_EVENTS: Final = 200
"""Fewest events from which a law with features is estimated."""
MOST_EVENTS: Final = 10_000
"""Events, the newest, that the law with features is estimated from."""
BIN_SCALE: Final = 10.0
"""Value of a bin's indicator: its intercept is hardly penalised."""
CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Events:
    """Events of a task with the rows that they belong to.

    Attributes:
        ids_NC: Feature ids of all rows, which may be mapped from a disk.
        rows_E: The events' rows.
        delays_E: Time from the request to the event.
        ages_E: Age of the row, at least the delay; infinite if its window has closed.
        weights_E: Number of events that each stands for.
    """

    ids_NC: Ids
    rows_E: Integers
    delays_E: Floats
    ages_E: Floats
    weights_E: Floats

    def __len__(self) -> int:
        return len(self.delays_E)

    def take(self, rows_K: Integers) -> "Events":
        """The events with these numbers."""
        return Events(
            self.ids_NC,
            self.rows_E[rows_K],
            self.delays_E[rows_K],
            self.ages_E[rows_K],
            self.weights_E[rows_K],
        )

    @property
    def ids_EC(self) -> Ids:
        """Feature ids of the events' rows."""
        return self.ids_NC[self.rows_E]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A fitted law.

    Attributes:
        law: The law without features.
        edges_J: Ends of the bins, ascending; the last is infinite.
        bias_J: Logit of the reversed hazard per bin, without features.
        effect_R: Effect of every id on these logits.
        penalty: The chosen ``C``; 0 where the law without features is used.
    """

    law: DelayLaw
    edges_J: Floats
    bias_J: Floats
    effect_R: Floats
    penalty: float

    def seen(self, ids_NC: Ids, rows_K: Integers, ages_K: Floats) -> Floats:
        """Share of the events that happen within the ages of rows, (K,), in [0, 1].

        Args:
            ids_NC: Feature ids of all rows, which may be mapped from a disk.
            rows_K: The rows in question.
            ages_K: Their ages.
        """
        if not self.penalty:
            return self.law(ages_K)
        parts = [self._seen(ids_NC[rows_K[span]], ages_K[span]) for span in spans(len(rows_K))]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _seen(self, ids_NC: Ids, ages_N: Floats) -> Floats:
        shift_N = self.effect_R[ids_NC].sum(axis=1)
        bins = len(self.edges_J)
        # F at the ends of the bins: the product of the later bins' stays.
        stays_NJ = _sigmoid(-(self.bias_J + shift_N[:, None]))
        ends_NJ = np.ones((len(ages_N), bins))
        ends_NJ[:, :-1] = np.cumprod(stays_NJ[:, :0:-1], axis=1)[:, ::-1]
        bin_N = np.searchsorted(self.edges_J, ages_N, side="left").clip(0, bins - 1)
        rows_N = np.arange(len(ages_N))
        high_N = ends_NJ[rows_N, bin_N]
        low_N = np.where(bin_N > 0, ends_NJ[rows_N, bin_N - 1], 0.0)
        # Within a bin, as the law without features.
        marks_J = self.law(self.edges_J)
        start_N = np.where(bin_N > 0, marks_J[bin_N - 1], 0.0)
        width_N = np.maximum(marks_J[bin_N] - start_N, 1e-12)
        part_N = ((self.law(ages_N) - start_N) / width_N).clip(0.0, 1.0)
        return np.asarray(low_N + (high_N - low_N) * part_N)


def spans(count: int) -> Iterator[slice]:
    """Chunks of this many rows."""
    for start in range(0, count, CHUNK):
        yield slice(start, start + CHUNK)


def fit_arrival(events: Events, rows: int, seed: int) -> Arrival:
    """Estimate the delay law of a task.

    Args:
        events: The events that were seen.
        rows: Rows of the embedding table, R; 0 for a law without features.
        seed: Seed of the choice of the penalty.
    """
    law = product_limit(events.delays_E, events.ages_E, events.weights_E)
    plain = Arrival(law, np.array([np.inf]), np.zeros(1), np.zeros(rows), 0.0)
    if not rows or len(events) < LEAST_EVENTS:
        return plain
    events = events.take(np.arange(max(len(events) - MOST_EVENTS, 0), len(events)))
    edges_J = np.unique(law.quantiles(np.arange(1, BINS) / BINS))
    edges_J = np.append(edges_J, np.inf)
    apart_E = np.random.default_rng(seed).permutation(len(events)) % 5 == 0
    fitted, judged = (events.take(np.flatnonzero(mask)) for mask in (~apart_E, apart_E))
    plain_E = _surprise(judged, edges_J, _plain_bias(fitted, edges_J), np.zeros(rows))
    gains = {
        penalty: plain_E - _surprise(judged, edges_J, *_fit(fitted, edges_J, rows, penalty))
        for penalty in PENALTIES
    }
    penalty = max(gains, key=lambda each: float(gains[each].sum()))
    if not _beyond_noise(gains[penalty]):
        return plain
    return Arrival(law, edges_J, *_fit(events, edges_J, rows, penalty), penalty)


def _beyond_noise(gain_E: Floats) -> bool:
    """Whether the mean is above ``MARGIN`` of its standard errors."""
    error = float(gain_E.std()) / max(len(gain_E), 1) ** 0.5
    return bool(gain_E.mean() > MARGIN * error)


@dataclass(frozen=True, slots=True)
class _Trials:
    """Whether an event of bin j or before is in j: one row per event and bin that informs on it."""

    event_M: Integers
    bin_M: Integers
    hit_M: npt.NDArray[np.bool_]


def _trials(events: Events, edges_J: Floats) -> _Trials:
    bin_E = np.searchsorted(edges_J, events.delays_E, side="left")
    # The first bin starts at 0: every event that is in it or before is in it.
    last_E = np.searchsorted(edges_J, events.ages_E, side="right") - 1
    last_E = np.where(np.isinf(events.ages_E), len(edges_J) - 1, last_E)
    parts = list(_by_bin(bin_E, last_E, len(edges_J)))
    event_M, bin_M = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _Trials(event_M, bin_M, bin_E[event_M] == bin_M)


def _by_bin(bin_E: Integers, last_E: Integers, bins: int) -> Iterator[tuple[Integers, Integers]]:
    for number in range(1, bins):
        event_M = np.flatnonzero((bin_E <= number) & (number <= last_E))
        yield event_M, np.full(len(event_M), number)


def _plain_bias(events: Events, edges_J: Floats) -> Floats:
    trials = _trials(events, edges_J)
    weight_M = events.weights_E[trials.event_M]
    total_J = np.bincount(trials.bin_M, weight_M, len(edges_J)) + 1.0
    hits_J = np.bincount(trials.bin_M, weight_M * trials.hit_M, len(edges_J)) + 0.5
    return np.log(hits_J / (total_J - hits_J))


def _fit(events: Events, edges_J: Floats, rows: int, penalty: float) -> tuple[Floats, Floats]:
    trials = _trials(events, edges_J)
    if not len(trials.event_M) or trials.hit_M.all() or not trials.hit_M.any():
        return _plain_bias(events, edges_J), np.zeros(rows)
    design: Any = hstack(
        [
            one_hot(events.ids_EC[trials.event_M], rows),
            one_hot(trials.bin_M[:, None], len(edges_J)) * BIN_SCALE,
        ],
        format="csr",
    )
    model = LogisticRegression(C=penalty, fit_intercept=False, max_iter=300, tol=3e-3)
    model.fit(design, trials.hit_M, sample_weight=events.weights_E[trials.event_M])
    weights = np.asarray(model.coef_[0], np.float64)
    return weights[rows:] * BIN_SCALE, weights[:rows]


def _surprise(events: Events, edges_J: Floats, bias_J: Floats, effect_R: Floats) -> Floats:
    """Negative log-likelihood of every event's bin, times its weight, (E,)."""
    trials = _trials(events, edges_J)
    shift_E = effect_R[events.ids_EC].sum(axis=1)
    logit_M = bias_J[trials.bin_M] + shift_E[trials.event_M]
    loss_M = np.logaddexp(0.0, np.where(trials.hit_M, -logit_M, logit_M))
    loss_M *= events.weights_E[trials.event_M]
    return np.asarray(np.bincount(trials.event_M, loss_M, len(events)), np.float64)


def one_hot(ids_NC: Ids | Integers, rows: int) -> csr_array:
    """Indicators of the ids, (N, R); a row's ids are distinct, as every column has its own."""
    count, columns = ids_NC.shape
    ends_N = np.arange(count + 1, dtype=np.int64) * columns
    ones = np.ones(count * columns)
    return csr_array((ones, ids_NC.astype(np.int64).ravel(), ends_N), shape=(count, rows))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logits.clip(-60.0, 60.0))))
