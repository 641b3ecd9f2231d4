"""Every contender under the same absolute loads, taking turns, and what is said of it.

The loads are fixed rates, and a share of the capacity of the slowest contender that is level with
Weir, so that nobody is measured beyond what it can do and the rate means the same for all. The
capacity is the throughput beside the same sender and reader while more is offered than can be
processed. Weir is measured at the same share of its own capacity, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.transport.contender import EXACTLY_ONCE, WEIR
from benchmarks.transport.latency.cell import Latency, Load

LEVEL: Final = 0.75
"""A contender is level with Weir if it has this share of its capacity, or more."""

LEVEL_LOAD: Final = "level"
OWN_LOAD: Final = "own"
HAND_WRITTEN: Final = {
    False: ("aiokafka_loop", "confluent_loop"),
    True: ("confluent_transactional_loop",),
}
FIGURES: Final = ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")


@dataclass(frozen=True)
class Cell:
    """One contender under one load, in one round.

    Attributes:
        contender: Its name.
        load: Name of the load: the rate, :data:`LEVEL_LOAD` or :data:`OWN_LOAD`.
        per_second: Requests per second.
        found: What was measured; None if the load was too much.
        transactional: Whether the contender commits offsets together with outputs.
    """

    contender: str
    load: str
    per_second: float
    found: Latency | None
    transactional: bool = False


@dataclass(frozen=True)
class Loads:
    """The loads of a run.

    Attributes:
        rates: Requests per second.
        share: Share of capacities; 0 for rates only.
        seconds: Duration of each measurement.
        window_s: Duration of a window of the warm-up.
        warm_up_s: Maximum duration of the warm-up.
    """

    rates: tuple[float, ...]
    share: float
    seconds: float
    window_s: float
    warm_up_s: float

    def load(self, per_second: float) -> Load:
        """The load of a rate."""
        return Load(per_second, self.seconds, self.window_s, self.warm_up_s)

    def of(
        self, names: Sequence[str], capacity: Mapping[str, float]
    ) -> dict[str, dict[str, float]]:
        """Loads by name, and the rate at which each contender is measured."""
        loads = {f"{rate:,.0f}": dict.fromkeys(names, rate) for rate in self.rates}
        if self.share and capacity:
            level = level_capacity(capacity)
            loads[LEVEL_LOAD] = dict.fromkeys(names, self.share * level)
            own = {name: capacity[name] for name in (WEIR, EXACTLY_ONCE) if name in capacity}
            loads[OWN_LOAD] = {name: self.share * most for name, most in own.items()}
        return loads


def level_capacity(capacity: Mapping[str, float]) -> float:
    """Capacity of the slowest contender that is level with the slowest Weir."""
    weir = min((capacity[name] for name in (WEIR, EXACTLY_ONCE) if name in capacity), default=0.0)
    return min(most for most in capacity.values() if most >= LEVEL * weir)


def summary(cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
    """By load and contender: medians over the rounds, and the ratio to the best hand-written loop.

    The ratio is that of the p99 in each round, against the lowest p99 of the hand-written loops of
    the same guarantee in the same round; its median over the rounds.
    """
    by_load: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        by_load.setdefault(cell.load, {}).setdefault(cell.contender, []).append(cell)
    return {
        load: {
            name: _row(own, _best(rows, transactional=own[0].transactional))
            for name, own in rows.items()
        }
        for load, rows in by_load.items()
    }


def _best(rows: Mapping[str, Sequence[Cell]], *, transactional: bool) -> list[float | None]:
    """The lowest p99 of the hand-written loops, round by round; None where there is none."""
    peers = [rows[name] for name in HAND_WRITTEN[transactional] if name in rows]
    rounds = zip(*peers, strict=True)
    return [
        min((cell.found.p99_ms for cell in row if cell.found is not None), default=None)
        for row in rounds
    ]


def _row(cells: Sequence[Cell], best: Sequence[float | None]) -> dict[str, Any]:
    measured = [cell.found for cell in cells if cell.found is not None]
    row: dict[str, Any] = {"requests_per_second": round(cells[0].per_second, 1)}
    if len(measured) < len(cells):
        return row | {"overloaded": len(cells) - len(measured)}
    row |= {name: round(median(getattr(one, name) for one in measured), 2) for name in FIGURES}
    row["warm"] = all(one.warm for one in measured)
    row["rounds"] = [one.json() for one in measured]
    pairs = zip(measured, best, strict=bool(best))
    ratios = [one.p99_ms / least for one, least in pairs if least is not None]
    if ratios and cells[0].contender not in HAND_WRITTEN[False] + HAND_WRITTEN[True]:
        row["p99_of_best_loop"] = round(median(ratios), 3)
    return row
