"""Worlds of the simulator; every seed is a market with its own effects.

Training rows come in stretches spread over the stream's second week, test rows over its third, so
that every hour and weekday is included.
"""

from typing import Final

import numpy as np

from models.features import FeatureSpec
from models.nets.embedding import FeatureLayout
from models.tasks import DEFAULT_TASKS, TaskSet
from trainer.experiments.data import Dataset, Fit, Score, Sizes, World, joined, selected
from trainer.simulation.funnel import FunnelShape
from trainer.simulation.markets import STANDARD, Market
from trainer.simulation.simulator import Simulator
from trainer.traffic.examples import extract

WEEK: Final = 1_400_000
"""Requests of a simulated week."""
DAYS: Final = 7
STRETCHES: Final = 28
MIN_STRETCH: Final = 1024
STEP: Final = WEEK // STRETCHES
TURN: Final = 0.5
"""Radians by which effects have turned when the test rows of ``drift`` begin: cosine 0.88."""
TRAIN, UNLABELLED, VALID = 0, 12_000, 40_000
"""Offsets of training, unlabelled and validation rows within the six hours of each stretch."""


class SimulatedSource:
    """Simulated traffic.

    Args:
        spec: Feature spec.
        shape: Label rates of the funnel's tasks, and their correlation; None for the market's.
        market: Family of the markets.

    Attributes:
        name: Name in the report.
        market: Family of the markets.
    """

    def __init__(
        self, spec: FeatureSpec, shape: FunnelShape | None = None, market: Market = STANDARD
    ) -> None:
        self.market = market
        self.name = "simulated" if market is STANDARD else f"simulated, {market.name}"
        self.tasks: TaskSet = DEFAULT_TASKS
        self.layout = FeatureLayout.of(spec)
        self._extractor = spec.extractor()
        self._shape = shape
        self._seed = -1
        self._simulators: dict[float, Simulator] = {}
        self._parts: dict[tuple[float, int, int], Dataset] = {}

    def world(self, setting: str, seed: int, sizes: Sizes, fit: Fit, rate: float) -> World:
        """Make a world (see :class:`trainer.experiments.data.Source`).

        Raises:
            ValueError: If more training rows are requested than a simulated week holds.
        """
        if max(sizes.train, sizes.small) > STRETCHES * UNLABELLED:
            raise ValueError(f"experiments: at most {STRETCHES * UNLABELLED} training rows")
        if seed != self._seed:
            self._seed, self._simulators, self._parts = seed, {}, {}
        if setting == "selected":
            train = self._passed(sizes, fit(self._part(WEEK + TRAIN, sizes.small)), rate)
        else:
            train = self._part(WEEK + TRAIN, sizes.small if setting == "small" else sizes.train)
        drift = TURN / (2 * DAYS) if setting == "drift" else 0.0
        return World(
            tasks=self.tasks,
            layout=self.layout,
            train=train,
            unlabelled_NC=self._part(WEEK + UNLABELLED, sizes.unlabelled).ids_NC,
            valid=self._part(WEEK + VALID, sizes.valid),
            test=self._part(2 * WEEK, sizes.test, drift),
        )

    def _passed(self, sizes: Sizes, score: Score, rate: float) -> Dataset:
        """``sizes.train`` rows of the first week that the policy passed."""
        stretches = _stretches(0, round(sizes.train / (1 - rate)))
        return joined([selected(self._read(*each, 0.0), score, rate) for each in stretches])

    def _part(self, start: int, count: int, drift: float = 0.0) -> Dataset:
        key = (drift, start, count)
        if key not in self._parts:
            self._parts[key] = joined(
                [self._read(first, size, drift) for first, size in _stretches(start, count)]
            )
        return self._parts[key]

    def _read(self, start: int, count: int, drift: float) -> Dataset:
        if drift not in self._simulators:
            self._simulators[drift] = Simulator(
                self._seed, drift, shape=self._shape, market=self.market
            )
        traffic = self._simulators[drift].batch(start, count)
        return Dataset(
            extract(self._extractor, traffic.values, traffic.timestamps),
            traffic.reached.astype(np.float32),
            traffic.p_true,
            traffic.data_poor,
        )


def _stretches(start: int, count: int) -> list[tuple[int, int]]:
    """First request and size of each stretch of ``count`` requests over the week from start."""
    number = max(min(STRETCHES, count // MIN_STRETCH), 1)
    sizes = np.diff(np.linspace(0, count, number + 1).astype(int)).tolist()
    return [(start + k * (WEEK // number), size) for k, size in enumerate(sizes)]
