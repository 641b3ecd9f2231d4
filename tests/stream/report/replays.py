"""Folders of replays of a simulated market with known probabilities, written as a replay does."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from models.tasks import Task, TaskSet

TASKS = TaskSet(
    [
        Task(name="click", window_s=1800),
        Task(name="cart", window_s=86_400),
        Task(name="deal", window_s=7 * 86_400),
    ]
)
RATES = {"click": 0.12, "cart": 0.05, "deal": 0.02}
COUNTRIES = ("DE", "FR", "IT", "ES", "PL", "NL", "SE", "AT")
START_MS = 1_767_225_600_000


def write_replay(
    folder: Path,
    *,
    rows: int = 20_000,
    arms: dict[str, tuple[float, float]] | None = None,
    explore: float = 0.2,
    rate: float = 0.6,
    outcomes: bool = True,
    exchanges: tuple[str, ...] = ("ex-north", "ex-south", "ex-west", "ex-east"),
    source: str = "requests.parquet",
    seed: int = 1,
) -> Path:
    """Write a replay.

    Args:
        folder: New folder.
        rows: Number of requests.
        arms: By name the passing ratio and the noise of the ranking, 0 for one that knows every
            probability; the base has noise 1 and the logged policy noise 1.5.
        explore: Probability with which the logged policy passes what it would block.
        rate: Passing ratio of the base and of the logged policy.
        outcomes: Whether labels are written.
        exchanges: Names of the exchanges, which differ in value.
        source: Name of the source.
        seed: Seed of all draws.
    """
    rng = np.random.default_rng(seed)
    exchange_N = rng.integers(0, len(exchanges), rows)
    interest_N = rng.normal(size=rows) + 0.6 * (exchange_N == 0) - 0.4 * (exchange_N == 1)
    ids = pl.Series([f"r{number}" for number in range(rows)])
    keys: dict[str, Any] = {
        "request_id": ids,
        "partition": np.zeros(rows, dtype=np.int64),
        "offset": np.arange(rows),
        "timestamp": START_MS + np.arange(rows) * 60,
    }
    logged_N = _highest(interest_N + 1.5 * rng.normal(size=rows), rate)
    passed_N = logged_N | (rng.random(rows) < explore)
    pass_propensity_N = np.where(logged_N, 1.0, explore)
    folder.mkdir(parents=True)
    requests = pl.DataFrame(
        keys
        | {
            "scenario": rng.choice(["app", "site"], rows),
            "logged_verdict": np.where(passed_N, "pass", "block"),
            "logged_reason": np.where(logged_N, "score", "explore"),
            "logged_propensity": np.where(passed_N, pass_propensity_N, 1 - pass_propensity_N),
            "logged_model": ["v1"] * rows,
            "by_exchange": np.array(exchanges)[exchange_N],
            "by_device.geo.country": rng.choice(COUNTRIES, rows),
        }
    )
    requests.write_parquet(folder / "requests-00000.parquet")
    labels: dict[str, Any] = {"request_id": ids}
    chances = {
        task: np.clip(rate_ * np.exp(1.2 * interest_N - 0.8), 0, 0.9)
        for task, rate_ in RATES.items()
    }
    for task, chance_N in chances.items():
        happened = pl.Series(rng.random(rows) < chance_N)
        labels[f"label_{task}"] = pl.select(pl.when(pl.Series(passed_N)).then(happened)).to_series()
        labels[f"delay_{task}"] = pl.Series([None] * rows, dtype=pl.Int64)
    if outcomes:
        pl.DataFrame(labels).write_parquet(folder / "labels.parquet")
    chosen = {"base": (rate, 1.0)} | ({"b": (rate, 0.3)} if arms is None else arms)
    for name, (passing, noise) in chosen.items():
        score_N = interest_N + noise * rng.normal(size=rows)
        _write_arm(folder / "arms" / name, keys, score_N, passing, chances, name)
    pl.DataFrame(
        {
            "place": ["requests.parquet:17", "requests.parquet:90"],
            "code": ["invalid-json", "no-request-id"],
            "reason": ["line 1 column 5", "id is missing"],
        }
    ).write_parquet(folder / "rejects.parquet")
    summary = {
        "source": source,
        "rows": rows,
        "arms": list(chosen),
        "task_names": list(TASKS.names),
        "by": ["exchange", "device.geo.country"],
        "complete": True,
    }
    (folder / "summary.json").write_bytes(orjson.dumps(summary))
    return folder


def _write_arm(
    folder: Path,
    keys: dict[str, Any],
    score_N: npt.NDArray[np.float64],
    rate: float,
    chances: dict[str, npt.NDArray[np.float64]],
    name: str,
) -> None:
    folder.mkdir(parents=True)
    passed_N = _highest(score_N, rate)
    pl.DataFrame(
        keys
        | {
            "verdict": np.where(passed_N, "pass", "block"),
            "reason": ["score"] * len(score_N),
            "e": score_N.astype(np.float32),
            "threshold": np.full(len(score_N), 0.5, dtype=np.float32),
            "propensity": np.ones(len(score_N)),
            **{f"score_{task}": chance_N.astype(np.float32) for task, chance_N in chances.items()},
            **{
                f"uncertainty_{task}": (0.1 + 0.5 * np.abs(np.sin(7 * score_N + place))).astype(
                    np.float32
                )
                for place, task in enumerate(chances)
            },
            "model": [f"model-{name}"] * len(score_N),
        }
    ).write_parquet(folder / "decisions-00000.parquet")


def _highest(score_N: npt.NDArray[np.float64], rate: float) -> npt.NDArray[np.bool_]:
    return score_N > np.quantile(score_N, 1 - rate)
