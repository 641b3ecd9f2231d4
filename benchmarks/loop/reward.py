"""True reward that an arm's last rebuild passed, against the frozen first model.

The first model ranks the same requests by its own rewards, and passes the best of them: as many as
the arm passed, explored requests included. So both pass the same number, and what exploring costs
counts against the arm.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import weir
from benchmarks.loop.arm import DAY_REQUESTS, Market, Played
from stream.policy.value.reward import build_reward
from trainer.experiments.report.stats import Estimate, estimate
from trainer.simulation.simulator import Simulator
from trainer.traffic.examples import write_requests

BLOCKS: Final = 60
"""Blocks of consecutive requests, whose means are taken as independent."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """True reward per request, of the requests that the last rebuild decided.

    Attributes:
        rebuilds: Rebuilds by what the gates said.
        seconds: Time that the arm took.
        requests: Requests that are evaluated.
        passed: Share of them that passed.
        turned: Radians by which the effects had turned since the first model learned.
        frozen: Reward of those that the first model passes.
        loop: Reward of those that the last rebuild passed.
        oracle: Reward of the best ones.
        gain: Relative difference of loop and frozen.
        half: Half of its 95 % interval.
    """

    rebuilds: dict[str, int]
    seconds: float
    requests: int
    passed: float
    turned: float
    frozen: float
    loop: float
    oracle: float
    gain: float
    half: float

    @property
    def shown(self) -> bool:
        """Whether the loop lies above the frozen model outside the interval."""
        return self.gain > self.half

    def figures(self) -> dict[str, Any]:
        """The figures for JSON."""
        return asdict(self)


async def compare(played: Played, market: Market) -> Comparison:
    """Rank the evaluated requests with the first model, and pair the rewards."""
    simulator = Simulator(market.seed, market.drift)
    numbers_N = np.array(sorted(played.passed))
    first, count = int(numbers_N[0]), int(numbers_N[-1] - numbers_N[0]) + 1
    traffic = simulator.batch(first, count)
    policy = played.settings.policy
    reward = build_reward(policy.reward, policy.weights, simulator.tasks)
    value_N = reward(traffic.p_true.astype(np.float32)).astype(np.float64)[numbers_N - first]
    ranked = await first_rewards(played, simulator, first, count)
    ranks_N = np.array([ranked[traffic.ids[number - first]] for number in numbers_N.tolist()])
    loop_N = np.array([played.passed[number] for number in numbers_N.tolist()])
    frozen_N, oracle_N = (best(scores_N, int(loop_N.sum())) for scores_N in (ranks_N, value_N))
    gained = paired_gain(value_N, loop_N, frozen_N)
    return Comparison(
        rebuilds=played.rebuilds,
        seconds=played.seconds,
        requests=len(value_N),
        passed=float(loop_N.mean()),
        turned=market.drift * first / DAY_REQUESTS,
        frozen=float((value_N * frozen_N).mean()),
        loop=float((value_N * loop_N).mean()),
        oracle=float((value_N * oracle_N).mean()),
        gain=gained.mean,
        half=gained.half,
    )


async def first_rewards(
    played: Played, simulator: Simulator, first: int, count: int
) -> dict[str, float]:
    """Expected reward of these requests by the first model, by id."""
    with tempfile.TemporaryDirectory(prefix="weir-loop-") as folder:
        requests = Path(folder) / "requests.jsonl"
        write_requests(simulator, count, requests, first)
        replayed = await weir.replay(played.settings, requests)
    return dict(replayed.decisions.select("request_id", "e").iter_rows())


def best(scores_N: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.bool_]:
    """The ``count`` highest scores; of equal ones the first."""
    chosen_N = np.zeros(len(scores_N), np.bool_)
    chosen_N[np.argsort(-scores_N, kind="stable")[:count]] = True
    return chosen_N


def paired_gain(
    value_N: npt.NDArray[np.float64],
    loop_N: npt.NDArray[np.bool_],
    frozen_N: npt.NDArray[np.bool_],
) -> Estimate:
    """What the loop passed more than the frozen model, as a share of what that passed.

    The interval is Student's t over the means of consecutive blocks.
    """
    gained_N = value_N * (loop_N.astype(np.float64) - frozen_N)
    frozen = float((value_N * frozen_N).mean())
    blocks = np.array_split(gained_N, BLOCKS)
    return estimate({at: float(block.mean()) / frozen for at, block in enumerate(blocks)})
