"""The simulator: an endless stream of bid requests with their true probabilities and outcomes.

    simulator = Simulator(seed=0)
    traffic = simulator.batch(start=0, count=10_000)

Request i is the same in every batch: requests are generated in fixed blocks, each from its own
seed. The stream starts on a Monday at midnight UTC, and its load varies over the day. With an
:class:`ArrivalShape` publishers, apps and geographies arrive and leave all the time.
"""

from functools import partial

import numpy as np
import numpy.typing as npt

from models.tasks import DEFAULT_TASKS
from trainer.simulation.arrivals import KNOWN, Arrivals, ArrivalShape
from trainer.simulation.effects import STEPS
from trainer.simulation.funnel import Funnel, FunnelShape
from trainer.simulation.markets import STANDARD, Market
from trainer.simulation.requests import Renderer
from trainer.simulation.traffic import Traffic
from trainer.simulation.world import DAY_MS, Float64Array, Ints, World

BLOCK = 4096
START_MS = 1_740_960_000_000
"""Monday 2025-03-03, 00:00 UTC."""
SAMPLE = 40_000
DELAY_MEDIAN_S = (15.0, 60.0, 2400.0, 43_200.0)
"""Median of each step's delay after the step before it."""
DELAY_SIGMA = (1.3, 1.0, 1.4, 1.2)
"""Standard deviation of the delays' logarithm: a few events come after their window."""


class Simulator:
    """Simulated traffic of one seed.

    Args:
        seed: Seed of the market and of all requests.
        drift: Radians per simulated day by which the effects rotate away from the initial ones; at
            pi / 2 in total, nothing learned at the start is valid.
        requests_per_day: Requests per simulated day.
        shape: Label rates of the tasks, their correlation, and AUCs; None for the market's.
        arrivals: How sources arrive and leave; None for a fixed inventory.
        market: Family of the market.

    Attributes:
        tasks: The tasks of the funnel.
        arrivals: The sources that arrive; None for a fixed inventory.
    """

    def __init__(
        self,
        seed: int,
        drift: float = 0.0,
        requests_per_day: int = 200_000,
        shape: FunnelShape | None = None,
        arrivals: ArrivalShape | None = None,
        market: Market = STANDARD,
    ) -> None:
        self.tasks = DEFAULT_TASKS
        self._seed, self._drift, self._per_day = seed, drift, requests_per_day
        self._salt = market.salt
        world = World(seed, market.world, self._salt)
        self._world, self._renderer = world, Renderer(world)
        rng = np.random.default_rng(np.random.SeedSequence([seed, 2, *self._salt]))
        sample = world.scene(rng, self._times(rng.integers(0, 7 * requests_per_day, SAMPLE)))
        effects, later = market.effects(rng, sample), market.effects(rng, sample)
        self._funnel = Funnel(effects, later, sample, shape or market.shape)
        self.arrivals = None if arrivals is None else Arrivals(arrivals, seed, START_MS)
        if self.arrivals is not None:
            self.arrivals.centre(partial(self._funnel.centre, sample), SAMPLE)
        self._kept: tuple[int, Traffic] | None = None

    def batch(self, start: int, count: int) -> Traffic:
        """Requests ``start`` to ``start + count - 1`` of the stream.

        Raises:
            ValueError: If ``start`` is negative or ``count`` is not positive.
        """
        if start < 0 or count < 1:
            raise ValueError(f"batch: start {start} must be >= 0 and count {count} >= 1")
        parts = []
        for block in range(start // BLOCK, (start + count - 1) // BLOCK + 1):
            first = block * BLOCK
            rows = slice(max(start - first, 0), min(start + count - first, BLOCK))
            parts.append(self._block(block)[rows])
        return Traffic.joined(parts)

    def _block(self, block: int) -> Traffic:
        if self._kept is not None and self._kept[0] == block:
            return self._kept[1]
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, 3, block, *self._salt]))
        index_N = np.arange(block * BLOCK, (block + 1) * BLOCK)
        ts_N = self._times(index_N)
        scene = self._world.scene(rng, ts_N)
        turn_N = self._drift * (ts_N - START_MS) / DAY_MS
        arrived_N, shift_NT, names = np.full(BLOCK, KNOWN, np.int64), None, None
        if self.arrivals is not None:
            whose = np.random.default_rng(np.random.SeedSequence([self._seed, 5, block]))
            placed = self.arrivals.place(whose, scene, ts_N, self._world)
            scene, arrived_N, shift_NT = placed.scene, placed.number_N, placed.shift_NT
            names = placed.names
        truth = self._funnel.truth(scene, turn_N, shift_NT)
        happens_NT = rng.random(truth.step_NT.shape) < truth.step_NT
        steps_NT = rng.lognormal(np.log(DELAY_MEDIAN_S), DELAY_SIGMA, (BLOCK, STEPS))
        bits_NK = rng.integers(0, 2**32, (BLOCK, 5))
        ids = self._ids(index_N)
        traffic = Traffic(
            ids=ids,
            values=self._renderer.render(scene, ids, ts_N, bits_NK, names),
            timestamps=ts_N,
            p_true=truth.p_true_NT,
            reached=np.logical_and.accumulate(happens_NT, axis=1),
            delays_s=np.cumsum(steps_NT, axis=1),
            data_poor=scene.data_poor,
            arrived=arrived_N,
        )
        self._kept = (block, traffic)
        return traffic

    def _times(self, index_N: Ints) -> Ints:
        day_N, part_N = np.divmod(index_N, self._per_day)
        within_N = np.interp(part_N / self._per_day, _LOAD, np.linspace(0.0, 1.0, len(_LOAD)))
        return START_MS + day_N * DAY_MS + (within_N * DAY_MS).astype(np.int64)

    def _ids(self, index_N: Ints) -> list[str]:
        key_N = index_N.astype(np.uint64) + _GAMMA + np.uint64(self._seed % 2**31 << 32)
        for salt in self._salt:
            key_N = _mixed(key_N ^ np.uint64(salt))
        mixed_N = _mixed(key_N)
        return [f"{value:016x}" for value in mixed_N.tolist()]


_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mixed(x_N: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64, a bijection: ids never collide."""
    x_N = (x_N ^ (x_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x_N = (x_N ^ (x_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x_N ^ (x_N >> np.uint64(31))


def _daily_load() -> Float64Array:
    """Cumulative share of a day's requests by minute: low at night, high in the evening."""
    minute_M = np.arange(1440) / 1440
    rate_M = 1 + 0.6 * np.sin(2 * np.pi * (minute_M - 0.45)) + 0.15 * np.sin(4 * np.pi * minute_M)
    return np.concatenate([[0.0], np.cumsum(rate_M) / rate_M.sum()])


_LOAD = _daily_load()
