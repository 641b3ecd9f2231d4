"""Which labels are final, and which rows are held out: by age alone, never by what is known.

The label of a task is final once its attribution window has closed. A positive is known as soon as
its event is, so among young rows the known labels are positives only: a rule that looks at them
would train on, or be evaluated on, nothing but positives. So all rules here look at the age.

N rows, T tasks.
"""

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from models.data.examples import FINAL_MS, Examples

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Uses = Literal["final", "closed", "open"]
"""Rows that a method learns from: those whose labels are all final, those with a final label, or
those with open labels, too."""
FINAL: Final[Uses] = "final"
CLOSED: Final[Uses] = "closed"
OPEN: Final[Uses] = "open"


def closing_ages(examples: Examples) -> Integers:
    """Age from which the labels of each task are final, ms, shape (T,).

    A label is 0 only where the window has closed, so this is the age of the youngest such row;
    :data:`~models.data.examples.FINAL_MS` without any. Windows, their scale and the lateness need
    not be known.
    """
    ages_NT = np.where(examples.labels_NT == 0, examples.elapsed[:, None], FINAL_MS)
    return np.asarray(ages_NT.min(axis=0, initial=FINAL_MS))


def is_aged(elapsed_N: Integers, closing_T: Integers) -> Booleans:
    """Whether rows are so old that the label of each task is final, bool (N, T)."""
    return np.asarray(elapsed_N[:, None] >= closing_T)


def final_labels(examples: Examples, closing_T: Integers) -> Floats:
    """Labels (N, T); those that are not final are NaN, even if the event has happened."""
    aged_NT = is_aged(examples.elapsed, closing_T)
    return np.where(aged_NT, examples.labels_NT, np.float32(np.nan))


def seen_events(examples: Examples, closing_T: Integers) -> Floats:
    """1 where the event happened by now, 0 where it did not, NaN where masked; float32 (N, T).

    An event counts from its delay on, so that a row of age a shows what happened within a.
    """
    labels_NT, elapsed_N1 = examples.labels_NT, examples.elapsed[:, None]
    ahead_NT = np.nan_to_num(examples.delays) > elapsed_N1
    seen_NT = np.where((labels_NT == 1) & ~ahead_NT, np.float32(1), np.float32(0))
    masked_NT = np.isnan(labels_NT) & is_aged(examples.elapsed, closing_T)
    return np.where(masked_NT, np.float32(np.nan), seen_NT)


def usable(known_NT: Booleans, aged_NT: Booleans, uses: Uses) -> Booleans:
    """Rows that a method learns from, bool (N,).

    Args:
        known_NT: Whether a label is stored.
        aged_NT: Whether the row is so old that it is final.
        uses: What the method needs.
    """
    final_N = (known_NT & aged_NT).any(axis=1)
    if uses == FINAL:
        return np.asarray(final_N & aged_NT.all(axis=1))
    return np.asarray(final_N if uses == CLOSED else final_N | ~aged_NT.all(axis=1))


def held_out_rows(
    ts_N: Integers, known_NT: Booleans, elapsed_N: Integers, closing_T: Integers, share: float
) -> Integers:
    """Rows to hold out, in order of time, shape (K,).

    Of every task the newest rows whose window has closed are held out, ``share`` of them, slowest
    task first; rows that a slower task holds out count for the faster ones. Together they are
    ``share`` of the rows with a final label. So every task is evaluated on the newest rows that
    can be evaluated, and which rows these are depends on their age only.

    Args:
        ts_N: Times of the requests.
        known_NT: Whether a label is stored.
        elapsed_N: Ages.
        closing_T: Ages from which labels are final.
        share: Share of the rows with a final label.
    """
    aged_NT = is_aged(elapsed_N, closing_T)
    rows_K = np.flatnonzero((known_NT & aged_NT).any(axis=1))
    rows_K = rows_K[np.argsort(ts_N[rows_K], kind="stable")]
    held_K = np.zeros(len(rows_K), np.bool_)
    for task in np.argsort(-closing_T, kind="stable"):
        aged_K = aged_NT[rows_K, task]
        missing = round(share * int(aged_K.sum())) - int((held_K & aged_K).sum())
        free_F = np.flatnonzero(aged_K & ~held_K)
        held_K[free_F[len(free_F) - max(missing, 0) :]] = True
    return np.asarray(rows_K[held_K])
