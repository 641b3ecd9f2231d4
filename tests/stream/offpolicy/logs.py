"""A log with known truth: requests of a few kinds, each with its probability of an event."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from models.tasks import Task, TaskSet

TASKS = TaskSet([Task(name="click", window_s=60.0)])


@dataclass(frozen=True)
class Log:
    """Frames as a replay writes them, and the true difference per 1,000 requests."""

    requests: pl.DataFrame
    labels: pl.DataFrame
    arm_a: pl.DataFrame
    arm_b: pl.DataFrame
    truth: float


def make_log(
    rng: np.random.Generator,
    mu_N: npt.NDArray[np.float64],
    pi_a_N: npt.NDArray[np.float64],
    pi_b_N: npt.NDArray[np.float64],
    p_N: npt.NDArray[np.float64],
) -> Log:
    """Draw a log: passes with probability ``mu_N``, events with ``p_N``; arms pass with ``pi``."""
    ids = [f"r{number}" for number in range(len(mu_N))]
    passed_N = rng.random(len(mu_N)) < mu_N
    event_N = rng.random(len(mu_N)) < p_N
    requests = pl.DataFrame(
        {
            "request_id": ids,
            "timestamp": np.arange(len(mu_N)),
            "logged_verdict": np.where(passed_N, "pass", "block"),
            "logged_propensity": np.where(passed_N, mu_N, 1 - mu_N),
        }
    )
    label = pl.Series("label_click", event_N).to_frame()
    labels = pl.DataFrame({"request_id": ids}).with_columns(
        label.select(
            pl.when(pl.Series(passed_N)).then(pl.col("label_click")).alias("label_click")
        ).to_series()
    )
    arms = [
        pl.DataFrame(
            {
                "request_id": ids,
                "verdict": np.where(pi_N > 0, "pass", "block"),
                "propensity": np.where(pi_N > 0, pi_N, 1.0),
                "score_click": p_N.astype(np.float32),
            }
        )
        for pi_N in (pi_a_N, pi_b_N)
    ]
    truth = 1000 * float(((pi_a_N - pi_b_N) * p_N).mean())
    return Log(requests, labels, arms[0], arms[1], truth)
