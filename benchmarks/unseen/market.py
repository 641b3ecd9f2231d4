"""The requests of one run, the same for every rule."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from benchmarks.unseen.plan import PER_DAY, SPEC, UnseenPlan
from models.data.examples import population_targets
from models.settings.policy import DEFAULT_WEIGHTS
from models.tasks import TaskSet
from trainer.simulation.simulator import Simulator
from trainer.traffic.examples import extract

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Market:
    """N requests: those of the warm-up, then those of all rounds.

    Attributes:
        tasks: The tasks.
        ids_NC: Feature ids, int32.
        targets_NT: Labels, NaN outside a task's population, float32.
        value_N: True value of a pass: the expected reward f of its events.
        arrived_N: Number of the source that it comes from; -1 for known inventory.
        times_N: Times, ms.
        hashes_N: Hashes of the request ids, uint64.
    """

    tasks: TaskSet
    ids_NC: npt.NDArray[np.int32]
    targets_NT: npt.NDArray[np.float32]
    value_N: Floats
    arrived_N: Ints
    times_N: Ints
    hashes_N: npt.NDArray[np.uint64]


def make_market(plan: UnseenPlan, family: str, seed: int) -> Market:
    """Simulate and extract the requests of a run."""
    simulator = Simulator(seed, requests_per_day=PER_DAY, arrivals=plan.families()[family])
    traffic, tasks = simulator.batch(0, plan.requests), simulator.tasks
    weights_T = np.array([DEFAULT_WEIGHTS[name] for name in tasks.names])
    p_NT = tasks.on_all_requests(traffic.p_true.astype(np.float32))
    return Market(
        tasks=tasks,
        ids_NC=extract(SPEC.extractor(), traffic.values, traffic.timestamps),
        targets_NT=population_targets(traffic.reached.astype(np.float32), tasks),
        value_N=p_NT.astype(np.float64) @ weights_T,
        arrived_N=traffic.arrived,
        times_N=traffic.timestamps,
        hashes_N=np.array([xxh3_64_intdigest(each.encode()) for each in traffic.ids], np.uint64),
    )
