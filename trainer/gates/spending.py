"""Alpha spending: one stated error over all candidates that are tried against one serving model.

The k-th candidate is tested at level alpha_k = alpha g_k with sum_k g_k <= 1. By the union bound,
the probability that any candidate that is not better is ever accepted, out of arbitrarily many, is
at most alpha. This needs no independence: candidates may share training and held-out rows, and the
decision to try another one may depend on all earlier results (Foster and Stine 2008 call it alpha
spending; Tian and Ramdas 2021 compare sequences).

g_k = 1 / (C k log^2(k + 1)) falls more slowly than 1 / k^2: the first candidate has 61 % of alpha,
the hundredth 1.4e-4 of it, the five-hundredth 1.5e-5.
"""

import math
from typing import Final

TOTAL: Final = 3.3878
"""At least the sum of 1 / (k log^2(k + 1)) over all k >= 1 (see the test)."""


def spent_by(trial: int, alpha: float) -> float:
    """alpha_k, the level of the k-th candidate, k from 1.

    Raises:
        ValueError: If ``trial`` is below 1.
    """
    if trial < 1:
        raise ValueError(f"trial {trial}: candidates are counted from 1")
    return alpha / (TOTAL * trial * math.log(trial + 1) ** 2)
