"""The coordinator's part: folds the summaries of all workers into one state per scenario.

A mixer reads the summaries of one slot in the order of the topic. The fleet's debt is the sum of
all *changes* of the workers' counts, so it outlives workers and partitions' moves, and it depends
on the summaries alone: a mixer that takes over continues from the last published state, and two at
once publish the same debt. The distribution of rewards is the mixture of the workers' newest
summaries, weighted by their requests per second, on a grid of rewards at which the share above is
exact.

Summaries are of different moments. Workers drift apart steadily (one passes more than its share of
the debt, the others less, which adds up to nothing), so each one's figure is taken on to the moment
of the state by its drift.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.bounds import (
    MAX_DEBT,
    MAX_PARTITION,
    MAX_PER_SECOND,
    MAX_SCENARIOS,
    MAX_VERSIONS_AT_ONCE,
    MAX_WORKERS,
)
from models.settings import EVERYTHING
from stream.messages.parsing import RecordError
from stream.messages.rate_state import FleetState
from stream.messages.rate_summary import RateSummary

GRID: Final = 128
"""Rewards of a state: the worst error of a share is that of a threshold within one cell."""
SAMPLE: Final = 16_384
"""Quantiles that the grid is chosen from; the shares above it are those of all."""
MIN_PER_SECOND: Final = 1e-6
"""Fewer requests per second count as none; sums with other workers would lose them."""
MOST_DEBT: Final = 2_000.0
"""The fleet's debt is limited to this, or to a second of traffic if more: no single summary can
lean the rate for longer than that takes to pay back."""

MAX_NAMES_BYTES: Final = 4_096
"""Of the versions' names in a state, as JSON: half of `models.bounds.MAX_STATE_BYTES`."""

Doubles = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Fold:
    """The summaries of one scenario so far."""

    debt: float = 0.0
    through: int = 0
    changed: bool = False
    newest: dict[str, RateSummary] = field(default_factory=dict)
    seen_s: dict[str, float] = field(default_factory=dict)


class Mixer:
    """Folds the summaries of one slot.

    Args:
        known: The last published states of the slot's scenarios; what they contain is not folded
            again.
    """

    def __init__(self, known: Iterable[FleetState] = ()) -> None:
        self._folds = {state.scenario: _Fold(state.debt, state.through) for state in known}

    def limit(self, end: int) -> None:
        """The slot ends here: a state that claims to contain more is wrong, or of another topic."""
        for fold in self._folds.values():
            fold.through = min(fold.through, end)

    def receive(self, summary: RateSummary, offset: int, now_s: float) -> None:
        """Fold the next summary of the slot.

        Args:
            summary: The summary.
            offset: Its offset; rising from call to call.
            now_s: Time of its arrival.

        Raises:
            RecordError: If its scenario is new, and there are more than any settings have.
        """
        fold = self._folds.get(summary.scenario)
        if fold is None:
            if len(self._folds) > MAX_SCENARIOS and summary.scenario != EVERYTHING:
                raise RecordError(f"rate-summaries: more than {MAX_SCENARIOS} scenarios")
            fold = self._folds[summary.scenario] = _Fold()
        last = fold.newest.get(summary.worker)
        if last is not None and summary.sequence <= last.sequence:
            return
        if offset >= fold.through:
            before = summary.owed_before if last is None else last.owed
            limit = max(MOST_DEBT, summary.per_second)
            fold.debt += min(max(summary.owed - before, -limit), limit)
            fold.through = offset + 1
        fold.newest[summary.worker], fold.seen_s[summary.worker] = summary, now_s
        fold.changed = True

    def expire(self, now_s: float, stale_s: Callable[[str], float]) -> None:
        """Count workers without a recent summary as without requests.

        Args:
            now_s: The time.
            stale_s: Greatest age of a summary, by scenario.
        """
        for name, fold in self._folds.items():
            before_s = now_s - stale_s(name)
            for worker in [other for other, seen_s in fold.seen_s.items() if seen_s < before_s]:
                del fold.newest[worker], fold.seen_s[worker]
                fold.changed = True

    def states(self, now_s: float, ahead_s: float) -> list[FleetState]:
        """The states of the scenarios that changed since the last call, as of now.

        Whatever the summaries say, a state is within the bounds of its message.

        Args:
            now_s: The time.
            ahead_s: Longest time by which a summary is taken on; its worker may be gone.
        """
        made = [
            self._state(name, fold, now_s, ahead_s)
            for name, fold in self._folds.items()
            if fold.changed
        ]
        for state in made:
            self._folds[state.scenario].changed = False
        return made

    def _state(self, scenario: str, fold: _Fold, now_s: float, ahead_s: float) -> FleetState:
        live = [
            s for s in fold.newest.values() if s.per_second >= MIN_PER_SECOND and len(s.rewards_Q)
        ]
        per_second = min(sum(summary.per_second for summary in live), MAX_PER_SECOND)
        limit = max(MOST_DEBT, per_second)
        fold.debt = min(max(fold.debt, -limit), limit)
        held = sum(s.held - s.drift * min(now_s - fold.seen_s[s.worker], ahead_s) for s in live)
        rewards_K, above_K = mixture(live)
        return FleetState(
            scenario,
            fold.through,
            min(len(live), MAX_WORKERS),
            per_second,
            fold.debt,
            min(max(held, -MAX_DEBT), MAX_DEBT),
            rewards_K,
            above_K,
            _add(summary.versions for summary in live),
        )


def mixture(live: list[RateSummary]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The mixture of summaries by their requests per second.

    The grid is denser at both ends, where small shares are read from it: its K cells have shares
    proportional to sin(pi k / K).

    Returns:
        Rewards, strictly rising, and the share above each; the last reward is the greatest of all.
    """
    if not live:
        return np.empty(0, np.float32), np.empty(0, np.float32)
    total = sum(summary.per_second for summary in live)
    rewards_M = np.concatenate([summary.rewards_Q for summary in live])
    weights_M = np.repeat(
        [s.per_second / total / len(s.rewards_Q) for s in live], [len(s.rewards_Q) for s in live]
    )
    stride = -(-len(rewards_M) // SAMPLE)
    sample_S, weights_S = rewards_M[::stride], weights_M[::stride]
    order_S = np.argsort(sample_S)
    reached_S = np.cumsum(weights_S[order_S])
    levels_K = (1.0 - np.cos(np.pi * np.arange(1, GRID) / GRID)) / 2.0
    at_K = np.searchsorted(reached_S, levels_K * reached_S[-1])
    rewards_K = np.unique(np.append(sample_S[order_S][at_K], rewards_M.max()))
    cell_M = np.searchsorted(rewards_K, rewards_M)
    mass_K = np.bincount(cell_M, weights_M, minlength=len(rewards_K))
    above_K = np.minimum(np.cumsum(mass_K[::-1])[::-1] - mass_K, 1.0)
    above_K[-1] = 0.0
    return rewards_K, np.minimum.accumulate(np.maximum(above_K, 0.0)).astype(np.float32)


def _add(versions: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Partitions of each version; those of most partitions, if a state cannot name them all."""
    total: dict[str, int] = {}
    for each in versions:
        for version, count in each.items():
            total[version] = total.get(version, 0) + count
    most = sorted(total, key=total.__getitem__, reverse=True)[:MAX_VERSIONS_AT_ONCE]
    sizes_V = np.cumsum([len(msgspec.json.encode(version)) for version in most])
    named = most[: np.searchsorted(sizes_V, MAX_NAMES_BYTES, side="right")]
    return {version: min(total[version], MAX_PARTITION) for version in named}
