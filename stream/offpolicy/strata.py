"""Strata of a log: requests with one probability mu of passing and one difference between arms.

The labelled requests of a stratum are a simple random sample of all of its requests.
"""

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from stream.offpolicy.cells import DIGITS, Cells, Doubles

THIN: Final = 10
"""Labelled requests below which a stratum has no rate of its own."""
MAX_STRATA: Final = 64
"""Strata up to which propensities count as few."""


@dataclass(frozen=True, slots=True)
class Strata:
    """Sums over the requests of S strata that the arms treat differently; arrays of shape (S,).

    Attributes:
        mu_S: Probability (the largest) that the log passes a request.
        weight_S: d N_s / N, the events per request of all that the stratum adds at a rate of 1.
        requests_S: Number of requests N_s.
        labelled_S: Number of those with a label.
        events_S: Number of those whose event happened.
        scores_S: Sum of the scores of all requests.
        labelled_scores_S: Sum of the scores of the labelled ones.
        squares_S: Sum of the squares of these.
        event_scores_S: Sum of the scores of those whose event happened.
    """

    mu_S: Doubles
    weight_S: Doubles
    requests_S: Doubles
    labelled_S: Doubles
    events_S: Doubles
    scores_S: Doubles
    labelled_scores_S: Doubles
    squares_S: Doubles
    event_scores_S: Doubles

    def __len__(self) -> int:
        return len(self.weight_S)

    def where(self, chosen_S: npt.NDArray[np.bool_]) -> Self:
        """Some of the strata."""
        return type(self)(*(getattr(self, field.name)[chosen_S] for field in fields(self)))


def strata_of(cells: Cells) -> Strata:
    """The strata of (mu, d) whose d is not 0."""
    return _grouped(cells, cells.mu_C, np.round(cells.difference_C, DIGITS))


def judged_strata(cells: Cells) -> Strata:
    """The strata by which support is judged: exact if they are few, else by rounded propensities.

    Those are one per half octave of mu and sign of d, so that requests whose propensities differ a
    little speak for each other.
    """
    exact = strata_of(cells)
    if len(exact) <= MAX_STRATA:
        return exact
    octave_C = np.round(2 * np.log2(np.maximum(cells.mu_C, 1e-9)))
    sign_C = np.sign(np.round(cells.difference_C, DIGITS))
    return _grouped(cells, np.where(cells.mu_C > 0, octave_C, -np.inf), sign_C)


def _grouped(cells: Cells, first_C: Doubles, second_C: Doubles) -> Strata:
    """Sums by two keys, where the second is not 0."""
    differs_C = second_C != 0
    keys_2C = np.stack([first_C, second_C])[:, differs_C]
    keys, place_C = np.unique(keys_2C, axis=1, return_inverse=True)
    rows = max(cells.rows, 1)
    mu_S = np.zeros(keys.shape[1])
    np.maximum.at(mu_S, place_C.reshape(-1), cells.mu_C[differs_C])
    sums = [
        np.bincount(place_C.reshape(-1), values_C[differs_C], minlength=len(mu_S)).astype(float)
        for values_C in (
            cells.difference_C * cells.requests_C / rows,
            cells.requests_C,
            cells.labelled_C,
            cells.events_C,
            cells.scores_C,
            cells.labelled_scores_C,
            cells.squares_C,
            cells.event_scores_C,
        )
    ]
    return Strata(mu_S, *sums)


def effective(weight_S: Doubles, labelled_S: Doubles) -> float:
    """Kish's effective sample size of labelled requests that weigh ``weight / labelled`` each.

    A stratum without any counts as if it had one.
    """
    squares = float((weight_S**2 / np.maximum(labelled_S, 1.0)).sum())
    return float(np.abs(weight_S).sum()) ** 2 / squares if squares else 0.0
