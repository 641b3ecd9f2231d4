"""Worlds with known truth: simulated requests, models of them, and policies over them.

A world is a market of the simulator: its requests and the true probability of every event. Models
of it are the true logits with noise of their own and an uncertainty that knows part of the noise;
so they are as good as models are, and differ as models do. The policies are Weir's own.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash

from models.settings import PolicySettings
from models.tasks import TaskSet
from stream.policy import Policy
from trainer.simulation.funnel import FunnelShape
from trainer.simulation.simulator import Simulator

Doubles = npt.NDArray[np.float64]
RATES: Final = (
    (0.61, 0.57, 0.064, 0.023),  # the paper's
    (0.25, 0.40, 0.030, 0.010),
    (0.08, 0.50, 0.020, 0.008),
)
"""Label rates of worlds, by turns: of a filter behind an auction, and of rarer clicks."""


@dataclass(frozen=True, slots=True)
class World:
    """N requests of a simulated market.

    Attributes:
        hashes_N: Hashes of their ids.
        timestamps_N: Their times, ms.
        p_NT: True probability of each task on its own population.
        tasks: The tasks.
    """

    hashes_N: npt.NDArray[np.uint64]
    timestamps_N: npt.NDArray[np.int64]
    p_NT: Doubles
    tasks: TaskSet

    @classmethod
    def simulated(cls, seed: int, count: int) -> "World":
        """A market of the simulator with this seed."""
        shape = FunnelShape(rates_T=RATES[seed % len(RATES)], shared=0.3 * (seed % 2))
        simulator = Simulator(seed, requests_per_day=count, shape=shape)
        traffic = simulator.batch(0, count)
        hashes_N = np.array(
            [xxhash.xxh3_64_intdigest(name.encode()) for name in traffic.ids], np.uint64
        )
        return cls(hashes_N, traffic.timestamps, traffic.p_true, simulator.tasks)

    @property
    def on_all_NT(self) -> Doubles:
        """True probability of each event over all requests."""
        all_NT = self.p_NT.copy()
        for column, task in enumerate(self.tasks):
            if task.population != "all":
                all_NT[:, column] *= all_NT[:, self.tasks.index(task.population)]
        return all_NT

    def events(self, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Draw whether each event happens, bool (N, T); one of a population needs both."""
        happens_NT = rng.random(self.p_NT.shape) < self.p_NT
        for column, task in enumerate(self.tasks):
            if task.population != "all":
                happens_NT[:, column] &= happens_NT[:, self.tasks.index(task.population)]
        return happens_NT


@dataclass(frozen=True, slots=True)
class Model:
    """Scores and uncertainties of a model of a world, float32 (N, T)."""

    scores_NT: npt.NDArray[np.float32]
    uncertainties_NT: npt.NDArray[np.float32]

    @classmethod
    def of(cls, world: World, rng: np.random.Generator) -> "Model":
        """A model whose logits are off by noise, by a bias and by their scale."""
        logit_NT = np.log(world.p_NT / (1 - world.p_NT))
        noise = rng.uniform(0.3, 1.2)
        spread_N1 = noise * rng.lognormal(0, 0.5, (len(logit_NT), 1))
        scale, bias = rng.uniform(0.7, 1.3), rng.normal(0, 0.2)
        wrong_NT = scale * logit_NT + bias + spread_N1 * rng.normal(size=logit_NT.shape)
        scores_NT = 1 / (1 + np.exp(-wrong_NT))
        uncertainties_NT = spread_N1 * scores_NT * (1 - scores_NT)
        return cls(scores_NT.astype(np.float32), uncertainties_NT.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Decided:
    """What a policy decided: whether each request passed, and with which probability."""

    passed_N: npt.NDArray[np.bool_]
    pi_N: Doubles


def decide(world: World, model: Model, settings: PolicySettings) -> Decided:
    """The decisions of Weir's policy about all requests of a world, in order."""
    policy = Policy(settings, world.tasks)
    made = policy.decide(
        world.hashes_N, world.timestamps_N, model.scores_NT, model.uncertainties_NT
    )
    pi_N = np.where(made.passed_N, made.propensity_N, 1.0 - made.propensity_N)
    return Decided(made.passed_N, pi_N)


def draw_settings(rng: np.random.Generator, explore: float = 0.0) -> PolicySettings:
    """A policy with its own r, reward and h, as owners choose them."""
    rewards = (
        {"reward": "weighted-sum"},
        {"reward": "deal * 20 + cart"},
        {"reward": "weighted-sum", "weights": {"click": 1.0}},
    )
    confidences = (
        {"confidence": "score"},
        {"confidence": "optimistic", "kappa": 0.5},
        {"confidence": "pass-uncertain", "direct_share": 0.05, "uncertainty_source": "daum"},
    )
    return PolicySettings.model_validate(
        {
            "rate": float(rng.choice([0.4, 0.5, 0.6, 0.7, 0.8])),
            "explore": explore,
            "seed": int(rng.integers(2**31)),
            **rewards[rng.integers(len(rewards))],
            **confidences[rng.integers(len(confidences))],
        }
    )
